//! What can be written of HTTP/2, gRPC and upgrades, and what does it mean?

mod documents;

use std::time::Duration;

use documents::{DEFAULTS, ROUTE, SIDECAR, UPSTREAM, config, read};
use http::Method;
use outrigger_config::model::{GrpcStatus, Protocol, RetryCondition, Upgrade};
use outrigger_config::{defaults, describe};

fn websocket() -> Upgrade {
    Upgrade::Protocol("websocket".to_owned())
}

#[test]
fn each_side_says_what_is_spoken_and_auto_is_the_callers_protocol() {
    let spoken = |inbound: &str, upstream: &str| {
        let sidecar = SIDECAR.replace("8081}", &format!("8081{inbound}}}"));
        let config = config(&[&sidecar, UPSTREAM, upstream]);
        (config.sidecar.inbound[0].application().protocol, config.upstreams[0].protocol)
    };
    assert_eq!(spoken("", ""), (Protocol::Auto, Protocol::Auto));
    assert_eq!(spoken(", protocol: http", "protocol: auto\n"), (Protocol::Auto, Protocol::Auto));
    assert_eq!(spoken(", protocol: http1", "protocol: http1\n"), (Protocol::Http1, Protocol::Http1));
    assert_eq!(spoken(", protocol: http2", "protocol: http2\n"), (Protocol::Http2, Protocol::Http2));
}

#[test]
fn limits_of_a_connection_follow_the_usual_order_value_by_value() {
    let defaults =
        format!("{DEFAULTS}limits: {{maxConnectionAge: 3m, http2: {{maxStreams: 7, resets: 8}}}}\n");
    let upstream = format!("{UPSTREAM}limits: {{http2: {{maxStreams: 9, streamWindow: 1MiB}}}}\n");
    let sidecar =
        format!("{SIDECAR}limits: {{maxConnectionAge: 1m, http2: {{headerList: 4KiB, emptyData: 1}}}}\n");
    let config = config(&[&sidecar, &upstream, &defaults]);
    let (limits, sidecar) = (config.upstreams[0].limits, config.sidecar.limits);
    assert_eq!(limits.max_connection_age, Duration::from_mins(3));
    assert_eq!((limits.http2.max_streams, limits.http2.resets), (9, 8));
    assert_eq!((limits.http2.stream_window, limits.http2.connection_window), (1 << 20, 1 << 20));
    assert_eq!(limits.http2.empty_data, defaults::HTTP2_EMPTY_DATA);
    assert_eq!(sidecar.max_connection_age, Duration::from_mins(1));
    assert_eq!((sidecar.header_list, sidecar.http2.empty_data), (4096, 1));
    assert_eq!(sidecar.http2.max_streams, defaults::HTTP2_STREAMS, "Defaults speak of upstreams");
}

#[test]
fn a_bound_that_would_bound_nothing_or_everything_is_refused() {
    let ends = [
        ("maxStreams: 1", "maxStreams: 0"),
        ("maxStreams: 10000", "maxStreams: 10001"),
        ("streamWindow: 1KiB", "streamWindow: 1023B"),
        ("streamWindow: 2147483647B, connectionWindow: 2147483647B", "streamWindow: 2048MiB"),
        ("connectionWindow: 64KiB", "connectionWindow: 63KiB"),
        ("headerList: 4KiB", "headerList: 4095B"),
        ("headerList: 1MiB", "headerList: 1025KiB"),
        ("resets: 1", "resets: 0"),
        ("controlFrames: 10/s", "controlFrames: 9.9/s"),
        ("emptyData: 1", "emptyData: 0"),
    ];
    for (allowed, refused) in ends {
        let sidecar = |http2: &str| format!("{SIDECAR}limits: {{http2: {{{http2}}}}}\n");
        config(&[&sidecar(allowed)]);
        let errors = read(&[&sidecar(refused)]).expect_err(refused);
        assert_eq!(errors.count(), 1, "{errors}");
    }
}

#[test]
fn windows_are_compared_after_all_layers_and_the_last_word_is_blamed() {
    let defaults = format!("{DEFAULTS}limits: {{http2: {{connectionWindow: 128KiB}}}}\n");
    let upstream = format!("{UPSTREAM}limits: {{http2: {{streamWindow: 256KiB}}}}\n");
    config(&[SIDECAR, UPSTREAM, &defaults]);
    config(&[SIDECAR, &upstream]);
    let errors = read(&[SIDECAR, &upstream, &defaults]).expect_err("a narrow connection");
    let places: Vec<_> = errors.iter().map(|error| error.location.to_string()).collect();
    assert_eq!(places, ["policy.yaml:11:32"], "{errors}");
}

#[test]
fn a_header_list_bounds_requests_so_no_upstream_has_one() {
    for document in [UPSTREAM, DEFAULTS] {
        let document = format!("{document}limits: {{http2: {{headerList: 64KiB}}}}\n");
        let errors = read(&[SIDECAR, &document]).expect_err("a header list");
        assert!(errors.to_string().contains("`responseHead`"), "{errors}");
    }
}

#[test]
fn each_grpc_status_that_can_be_retried_has_its_name() {
    let names = ["cancelled", "deadline-exceeded", "internal", "resource-exhausted", "unavailable"];
    let statuses = [
        GrpcStatus::Cancelled,
        GrpcStatus::DeadlineExceeded,
        GrpcStatus::Internal,
        GrpcStatus::ResourceExhausted,
        GrpcStatus::Unavailable,
    ];
    let upstream = format!("{UPSTREAM}retry: {{on: [refused-stream, {}]}}\n", names.join(", "));
    let retry = &config(&[SIDECAR, &upstream]).upstreams[0].policy.retry;
    assert_eq!(retry.on[0], RetryCondition::RefusedStream);
    assert_eq!(retry.on[1..], statuses.map(RetryCondition::Grpc));
    let written: Vec<_> = retry.on.iter().map(ToString::to_string).collect();
    assert_eq!(written[0], "refused-stream");
    assert_eq!(written[1..], names);
}

#[test]
fn upgrades_follow_the_usual_order_and_say_whence() {
    let defaults = format!("{DEFAULTS}upgrades: [connect, Irc]\n");
    let upstream = format!("{UPSTREAM}upgrades: [WebSocket]\n");
    let rule = format!("{ROUTE}    upgrades: []\n");
    let irc = Upgrade::Protocol("irc".to_owned());
    let effective = |documents: &[&str]| {
        let config = config(documents);
        let upgrades = config.routes[0].rules[0].backends[0].policy.upgrades.clone();
        (upgrades.value, upgrades.origin.to_string())
    };
    let built_in = "built-in default".to_owned();
    assert_eq!(effective(&[SIDECAR, UPSTREAM, ROUTE]), (vec![websocket(), Upgrade::Connect], built_in));
    let (value, origin) = effective(&[SIDECAR, UPSTREAM, ROUTE, &defaults]);
    assert_eq!((value, &*origin), (vec![Upgrade::Connect, irc], "Defaults, policy.yaml:22:11"));
    let (value, origin) = effective(&[SIDECAR, &upstream, ROUTE, &defaults]);
    assert_eq!((value, &*origin), (vec![websocket()], "Upstream, policy.yaml:11:11"));
    let (value, origin) = effective(&[SIDECAR, &upstream, &rule, &defaults]);
    assert_eq!((value, &*origin), (vec![], "rule, policy.yaml:19:15"));
}

#[test]
fn no_tunnel_leads_into_the_service() {
    let defaults = format!("{DEFAULTS}upgrades: [connect, websocket]\n");
    for documents in [vec![SIDECAR], vec![SIDECAR, &defaults]] {
        assert_eq!(*config(&documents).sidecar.inbound[0].policy.upgrades, [websocket()]);
    }
}

#[test]
fn a_rule_may_match_connect_and_no_retry_may_repeat_it() {
    let matched = format!("{ROUTE}    matches: [{{method: CONNECT}}]\n");
    let config = config(&[SIDECAR, UPSTREAM, &matched]);
    assert_eq!(config.routes[0].rules[0].matches[0].method, Some(Method::CONNECT));
    let retried = format!("{UPSTREAM}retry: {{methods: [GET, CONNECT]}}\n");
    assert_eq!(read(&[SIDECAR, &retried]).expect_err("a repeated tunnel").count(), 1);
}

#[test]
fn the_description_shows_protocols_limits_and_upgrades_as_they_are_written() {
    let described = describe(&config(&[SIDECAR, UPSTREAM]));
    let (sidecar, upstream) = (&described["sidecar"], &described["upstreams"][0]);
    assert_eq!((&sidecar["inbound"][0]["protocol"], &upstream["protocol"]), (&"http".into(), &"auto".into()));
    assert_eq!(sidecar["limits"]["http2"]["headerList"], "32KiB");
    assert_eq!(upstream["limits"]["http2"]["controlFrames"], "100/s");
    assert_eq!(upstream["limits"]["maxConnectionAge"], "10m");
    assert!(upstream["limits"]["http2"].get("headerList").is_none());
    let upgrades = serde_json::json!({ "value": ["websocket", "connect"], "origin": "built-in default" });
    assert_eq!(upstream["policy"]["upgrades"], upgrades);
}
