//! Does the scrape say what was counted, validly and in bounds? (OB-1, OB-11)

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use super::*;

const WORKER: WorkerId = WorkerId::new(0);
const TOOK: Duration = Duration::from_millis(7);

/// The text; checked to be valid: every sample after its family's TYPE, no family and no series twice.
fn text(metrics: &Metrics) -> String {
    let (content_type, text) = metrics.render();
    assert!(content_type.starts_with("text/plain; version=0.0.4"));
    let (mut families, mut series, mut family) = (BTreeSet::new(), BTreeSet::new(), "");
    for line in text.lines() {
        if let Some(kind) = line.strip_prefix("# TYPE ") {
            family = kind.split_once(' ').unwrap().0;
            assert!(families.insert(family), "twice: {line}");
        } else if !line.starts_with('#') {
            let (name, value) = line.rsplit_once(' ').unwrap();
            assert!(name.starts_with(family) && !family.is_empty(), "{line} under {family}");
            assert!(series.insert(name), "twice: {line}");
            value.parse::<f64>().unwrap();
        }
    }
    text
}

fn value(metrics: &Metrics, series: &str) -> Option<f64> {
    let text = text(metrics);
    let found = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    found.map(|value| value.parse().unwrap())
}

#[test]
fn ob_1_golden_signals_of_an_exchange() {
    let metrics = Metrics::new(2, 10_000);
    let exchange = metrics.exchange(Direction::Outbound, "prices", "market-data");
    exchange.record(WORKER, 200, Flag::None, TOOK);
    exchange.record(WorkerId::new(1), 200, Flag::None, TOOK);
    exchange.record(WORKER, 503, Flag::UpstreamOverflow, Duration::from_secs(20));

    let labels = r#"direction="outbound",route="prices",upstream="market-data""#;
    let requests = |rest| value(&metrics, &format!("outrigger_requests_total{{{labels},{rest}}}"));
    assert_eq!(requests(r#"code="200",flag="-""#), Some(2.0));
    assert_eq!(requests(r#"code="503",flag="UO""#), Some(1.0));
    let duration = |suffix, rest| {
        value(&metrics, &format!("outrigger_request_duration_seconds_{suffix}{{{labels}{rest}}}"))
    };
    assert_eq!(duration("bucket", r#",le="0.005""#), Some(0.0));
    assert_eq!(duration("bucket", r#",le="0.01""#), Some(2.0));
    assert_eq!(duration("bucket", r#",le="15""#), Some(2.0));
    assert_eq!(duration("bucket", r#",le="+Inf""#), Some(3.0));
    assert_eq!(duration("count", ""), Some(3.0));
    assert_eq!(duration("sum", ""), Some(20.014));
}

#[test]
fn ob_1_what_an_upstream_did() {
    let metrics = Metrics::new(1, 10_000);
    let upstream = metrics.upstream("market-data");
    upstream.attempt(WORKER, "success");
    upstream.attempt(WORKER, "connect-failure");
    upstream.attempt(WORKER, "success");
    upstream.retry(WORKER, "connect-failure");
    upstream.retry_refused(WORKER, "budget");
    upstream.stale_connection(WORKER);
    upstream.dns_refresh(WorkerId::CONTROL, "failure");
    upstream.set_endpoints(3);
    let waiting = upstream.pending(WORKER);

    let of = |name, rest| value(&metrics, &format!(r#"outrigger_{name}{{upstream="market-data"{rest}}}"#));
    assert_eq!(of("attempts_total", r#",outcome="success""#), Some(2.0));
    assert_eq!(of("attempts_total", r#",outcome="connect-failure""#), Some(1.0));
    assert_eq!(of("retries_total", r#",cause="connect-failure""#), Some(1.0));
    assert_eq!(of("retries_refused_total", r#",reason="budget""#), Some(1.0));
    assert_eq!(of("stale_connections_total", ""), Some(1.0));
    assert_eq!(of("dns_refreshes_total", r#",result="failure""#), Some(1.0));
    assert_eq!(of("endpoints", ""), Some(3.0));
    assert_eq!(of("pending_requests", ""), Some(1.0));
    drop(waiting);
    assert_eq!(of("pending_requests", ""), Some(0.0));
}

#[test]
fn ob_1_connections_limits_and_configuration() {
    let metrics = Metrics::new(1, 10_000);
    let inbound = metrics.downstream(Direction::Inbound);
    inbound.accepted(WORKER);
    inbound.refused(WORKER, "max-connections");
    inbound.protocol_error(WORKER, "head-too-large");
    let _open = inbound.active(WORKER, Protocol::Http2);
    metrics.limit_exceeded(WORKER, "requestHead");
    metrics.deadline_exceeded(WORKER, "connect");
    metrics.connection_panicked(WORKER);
    metrics.config().loaded(4, SystemTime::UNIX_EPOCH + Duration::from_secs(90));
    metrics.config().rejected();

    for (series, expected) in [
        (r#"connections_total{direction="inbound"}"#, 1.0),
        (r#"connections_total{direction="outbound"}"#, 0.0),
        (r#"connections_refused_total{direction="inbound",reason="max-connections"}"#, 1.0),
        (r#"protocol_errors_total{direction="inbound",reason="head-too-large"}"#, 1.0),
        (r#"connections_active{direction="inbound",protocol="http2"}"#, 1.0),
        (r#"limit_exceeded_total{limit="requestHead"}"#, 1.0),
        (r#"deadline_exceeded_total{where="connect"}"#, 1.0),
        ("connection_panics_total", 1.0),
        ("config_generation", 4.0),
        ("config_in_sync", 0.0),
        (r#"config_reloads_total{result="loaded"}"#, 1.0),
        (r#"config_reloads_total{result="rejected"}"#, 1.0),
        ("config_last_reload_success_timestamp_seconds", 90.0),
        (concat!(r#"build_info{version=""#, env!("CARGO_PKG_VERSION"), r#""}"#), 1.0),
    ] {
        assert_eq!(value(&metrics, &format!("outrigger_{series}")), Some(expected), "{series}");
    }
    assert!(value(&metrics, "process_resident_memory_bytes").unwrap() > 0.0);
}

#[test]
fn ob_1_counters_survive_a_reload_and_gauges_go_with_their_upstream() {
    let metrics = Metrics::new(1, 10_000);
    let first = metrics.exchange(Direction::Inbound, "r", "u");
    assert!(Arc::ptr_eq(&first, &metrics.exchange(Direction::Inbound, "r", "u")));
    assert!(!Arc::ptr_eq(&first, &metrics.exchange(Direction::Outbound, "r", "u")));

    let upstream = metrics.upstream("u");
    upstream.attempt(WORKER, "success");
    let endpoints = r#"outrigger_endpoints{upstream="u"}"#;
    assert_eq!(value(&metrics, endpoints), Some(0.0));
    drop(upstream);
    assert_eq!(value(&metrics, endpoints), None);
    assert_eq!(value(&metrics, r#"outrigger_attempts_total{upstream="u",outcome="success"}"#), Some(1.0));
    metrics.upstream("u").attempt(WORKER, "success");
    assert_eq!(value(&metrics, r#"outrigger_attempts_total{upstream="u",outcome="success"}"#), Some(2.0));
}

#[test]
fn ob_1_names_are_escaped_and_the_order_is_stable() {
    let metrics = Metrics::new(1, 10_000);
    for route in ["b", "a\"\\\n", "a"] {
        metrics.exchange(Direction::Outbound, route, "u").record(WORKER, 204, Flag::None, TOOK);
    }
    let series = |text: String| -> Vec<String> {
        let requests = text.lines().filter(|line| line.starts_with("outrigger_requests_total"));
        requests.map(str::to_owned).collect()
    };
    let found = series(text(&metrics));
    assert_eq!(found.len(), 3);
    assert!(found[1].contains(r#"route="a\"\\\n""#), "{}", found[1]);
    assert_eq!(found, series(text(&metrics)));
}

#[test]
fn ob_11_a_million_names_stay_under_the_cap() {
    const CAP: usize = 500;
    let metrics = Metrics::new(2, CAP);
    for name in 0..1_000_000_u32 {
        let name = format!("host-{name}.example");
        metrics.exchange(Direction::Outbound, "default", &name).record(WORKER, 200, Flag::None, TOOK);
        metrics.upstream(&name).attempt(WORKER, "success");
    }
    let text = text(&metrics);
    let named = |line: &&str| !line.starts_with('#') && line.contains("upstream=");
    let count = text.lines().filter(named).count();
    // What any upstream may come to show is set aside for it, shown or not.
    assert!((CAP * 9 / 20..=CAP).contains(&count), "{count} series");

    let total = |family: &str| -> u64 {
        let of = text.lines().filter(|line| line.starts_with(family));
        of.map(|line| line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap()).sum()
    };
    assert_eq!(total("outrigger_requests_total{"), 1_000_000, "nothing is lost from the total");
    assert_eq!(total("outrigger_attempts_total{"), 1_000_000);
    assert!(total("outrigger_series_dropped_total ") > 0);
}

#[test]
fn ob_11_random_codes_of_an_upstream_share_one_series() {
    let metrics = Metrics::new(1, 10_000);
    let exchange = metrics.exchange(Direction::Outbound, "r", "u");
    for code in 100..1000 {
        exchange.record(WORKER, code, Flag::None, TOOK);
    }
    let overflow = r#"outrigger_requests_total{direction="outbound",route="r",upstream="u",code="overflow",flag="overflow"}"#;
    assert_eq!(value(&metrics, overflow), Some(900.0 - 64.0));
    assert_eq!(value(&metrics, "outrigger_series_dropped_total"), Some(1.0));
}

#[test]
fn ob_11_the_name_overflow_is_no_second_series() {
    let metrics = Metrics::new(1, 10_000);
    let _named = metrics.upstream("overflow");
    let _beyond = (0..10_000).map(|n| metrics.upstream(&n.to_string())).collect::<Vec<_>>();
    text(&metrics);
}

#[test]
fn ob_11_racing_threads_find_one_counter_a_value() {
    let metrics = Metrics::new(4, 10_000);
    let exchange = metrics.exchange(Direction::Outbound, "r", "u");
    std::thread::scope(|scope| {
        for worker in 0..4_u16 {
            let exchange = &exchange;
            scope.spawn(move || {
                for code in 0..40 {
                    let code = 200 + (code + worker * 10) % 40;
                    exchange.record(WorkerId::new(worker.into()), code, Flag::None, TOOK);
                }
            });
        }
    });
    let text = text(&metrics);
    let requests: Vec<_> = text.lines().filter(|line| line.starts_with("outrigger_requests_total")).collect();
    assert_eq!(requests.len(), 40);
    assert!(requests.iter().all(|line| line.ends_with(" 4")));
}
