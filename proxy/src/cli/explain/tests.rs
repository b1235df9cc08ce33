//! Does it say what the data path would do? On the shipped examples, over every combination of what they look at.

use outrigger_config::Source;
use outrigger_config::model::Direction;

use super::decide::Decision;
use super::*;
use crate::http1::head::parse_request;
use crate::message::Scratch;

const ROUTING: &str = include_str!("../../../../config/examples/routing.yaml");
const SIDECAR: &str = include_str!("../../../../config/examples/sidecar.yaml");
const AUTHORIZATION: &str = include_str!("../../../../config/examples/authorization.yaml");
const CANARY: &str = include_str!("../../../../config/examples/canary.yaml");

const NOBODY: Asker = Asker { identity: None, source: IpAddr::V4(Ipv4Addr::LOCALHOST) };

fn snapshot(text: &str) -> Snapshot {
    let source = Source { name: "a.yaml".to_owned(), text: text.to_owned() };
    offline(outrigger_config::parse(&[source]).unwrap()).unwrap()
}

fn asked(method: &str, target: &str, headers: &[&str]) -> Asked {
    let headers: Vec<_> = headers.iter().map(ToString::to_string).collect();
    Asked::new(method, target, &headers, "holdings").unwrap()
}

/// Route, rule and upstream as the data path's own function names them.
fn decided(snapshot: &Snapshot, listener: ListenerId, request: &Asked) -> Option<(String, String, String)> {
    let (head, _) =
        parse_request(request.head.as_bytes(), &snapshot.head_limits, &Scratch::default()).unwrap().unwrap();
    let rule = snapshot.route(listener, head.host(), &head, None)?;
    let upstream = rule.backend(0).upstream.config.name.to_string();
    Some((rule.route.to_string(), rule.name.to_string(), upstream))
}

#[test]
fn d4_what_is_explained_is_what_happens() {
    const HEADERS: [&[&str]; 4] = [
        &[],
        &["x-tier: gold", "user-agent: holdings/1.2"],
        &["x-tier: gold", "user-agent: curl"],
        &["x-canary: yes"],
    ];
    let mut kinds = [0; 4];
    for text in [SIDECAR, ROUTING, CANARY] {
        let snapshot = snapshot(text);
        for listener in snapshot.listeners() {
            for host in ["market-data", "MARKET-DATA:80", "a.market-data.internal", "archive", "other"] {
                for path in
                    ["/", "/prices/eur", "/prices/eur/2019", "/prices?year=1999", "/history/x", "/reports"]
                {
                    for (method, headers) in ["GET", "POST"].into_iter().flat_map(|m| HEADERS.map(|h| (m, h)))
                    {
                        let request = asked(method, &format!("{host}{path}"), headers);
                        kinds[agrees(&snapshot, listener, &request)] += 1;
                    }
                }
            }
        }
    }
    assert!(kinds.iter().all(|count| *count > 0), "every kind of decision was met: {kinds:?}");
}

/// Asserts that both say the same; answers the kind of the decision.
fn agrees(snapshot: &Snapshot, listener: ListenerId, request: &Asked) -> usize {
    let told = explain(snapshot, listener, request, &NOBODY);
    let truth = decided(snapshot, listener, request);
    let upstream = told.backends.first().map(|target| target.upstream["name"].as_str().unwrap());
    assert_eq!(upstream, truth.as_ref().map(|(_, _, upstream)| upstream.as_str()), "{request:?}");
    let taken = told.tried.last().filter(|tried| tried.obstacle.is_none());
    match (&told.decision, truth) {
        (Decision::Route { route, rule, .. }, Some((true_route, true_rule, _))) => {
            assert_eq!((route, rule), (&true_route, &true_rule), "{request:?}");
            let taken = taken.map(|tried| (&tried.route, &tried.rule));
            assert_eq!(taken, Some((route, rule)), "the account ends with the decision: {request:?}");
            0
        }
        (Decision::UpstreamName, Some((route, ..))) => {
            assert!(
                route == "-" && taken.is_none() && listener.direction == Direction::Outbound,
                "{request:?}"
            );
            1
        }
        (Decision::Application, Some((route, ..))) => {
            assert!(
                route == "-" && taken.is_none() && listener.direction == Direction::Inbound,
                "{request:?}"
            );
            2
        }
        (Decision::Refused { status: 404, .. }, None) => {
            assert!(taken.is_none(), "{request:?}");
            3
        }
        (told, truth) => panic!("{told:?} is told of {truth:?} for {request:?}"),
    }
}

#[test]
fn d4_what_speaks_no_http_answers_no_request() {
    let snapshot = snapshot(
        "apiVersion: outrigger/v1\nkind: Sidecar\nname: a\noutbound: {}\n---\napiVersion: outrigger/v1\nkind: Upstream\n\
         name: ledger\ndiscovery: {static: [10.0.0.5:5432]}\nprotocol: tcp\n",
    );
    let told = explain(&snapshot, snapshot.listeners()[0], &asked("GET", "ledger/x", &[]), &NOBODY);
    assert!(
        matches!(told.decision, Decision::Refused { status: 404, reason: "no-route" }),
        "{:?}",
        told.decision
    );
}

#[test]
fn d4_each_failed_match_says_why_and_each_value_whence() {
    let snapshot = snapshot(CANARY);
    let listener = snapshot.listeners()[0];
    let text =
        explain(&snapshot, listener, &asked("GET", "market-data/x", &["x-canary: no"]), &NOBODY).to_string();
    for told in [
        "route prices, rule everyone (a.yaml:",
        "no: header x-canary is [\"no\"]",
        "95% to market-data: 10.0.0.5:8000, 10.0.0.6:8000",
        "5% to market-data-v2: 10.0.1.5:8000",
        "rule, a.yaml:",
        "websocket, connect",
        "built-in default",
    ] {
        assert!(text.contains(told), "{told} in\n{text}");
    }
}

/// Whatever the policy says of a request, it is told of each block that has a say.
#[test]
fn d4_no_block_of_a_policy_is_left_out() {
    let told = |text: &str, nth: usize, asked: &Asked| {
        let snapshot = snapshot(text);
        explain(&snapshot, snapshot.listeners()[nth], asked, &NOBODY).to_string()
    };
    let upstream = told(CANARY, 0, &asked("GET", "market-data/x", &[]));
    let described = outrigger_config::describe_upstream(&snapshot(CANARY).config.upstreams[0]);
    for (block, _) in described.as_object().unwrap() {
        let elsewhere =
            ["name", "hosts", "addresses", "discovery", "policy", "location"].contains(&block.as_str());
        assert!(elsewhere || upstream.contains(&format!("\n  {block}")), "{block} in\n{upstream}");
    }
    let faults = include_str!("../../../../config/examples/faults.yaml");
    let faulted = told(faults, 0, &asked("GET", "market-data/x", &["x-experiment: yes"]));
    for key in ["fault.seed", "fault.inject.0.delay", "fallback", "priority"] {
        assert!(faulted.contains(&format!("\n  {key} ")), "{key} in\n{faulted}");
    }
    let limits = include_str!("../../../../config/examples/rate-limits.yaml");
    let limited = told(limits, 0, &asked("GET", "/reports", &[]));
    for key in ["limited by holdings-in", "perKey.0.maxConcurrent", "concurrency.fairShare.order"] {
        assert!(limited.contains(key), "{key} in\n{limited}");
    }
    assert!(!limited.contains("quotes-quota") && !limited.contains("try-out"), "{limited}");
}

#[test]
fn what_the_parser_refuses_is_explained_too() {
    let snapshot = snapshot(CANARY);
    let listener = snapshot.listeners()[0];
    let told = explain(
        &snapshot,
        listener,
        &asked("GET", "a/x", &["content-length: 1", "content-length: 2"]),
        &NOBODY,
    );
    assert_eq!(told.decision, Decision::Refused { status: 400, reason: "ambiguous-framing" });
}

#[test]
fn the_port_must_be_clear() {
    let config = &snapshot(ROUTING).config;
    assert_eq!(listener(config, Way::Inbound, None).unwrap().addr.port(), 8080);
    assert_eq!(listener(config, Way::Inbound, Some(8080)).unwrap().addr.port(), 8080);
    assert!(listener(config, Way::Inbound, Some(1)).unwrap_err().contains("no inbound port 1"));
    assert!(listener(&snapshot(CANARY).config, Way::Inbound, None).is_err());
}

#[test]
fn se_4_who_may_is_explained_with_the_rule_that_says_so() {
    let snapshot = snapshot(AUTHORIZATION);
    let listener = listener(&snapshot.config, Way::Inbound, None).unwrap();
    let told = |method, path, identity: Option<&str>| {
        let identity = identity.map(|text| PeerIdentity::parse(text).unwrap());
        explain(&snapshot, listener, &asked(method, path, &[]), &Asker { identity, ..NOBODY }).to_string()
    };
    let ui = Some("spiffe://simplebank/ui");
    assert!(told("GET", "/holdings", ui).contains("holdings-callers allows it"));
    assert!(told("GET", "/x/../admin", ui).contains("denies it by its rule operators-only"));
    assert!(told("POST", "/holdings", ui).contains("denies it: none of its rules allows it"));
    assert!(
        told("GET", "/holdings", None)
            .contains("trial denies it: none of its rules allows it, which a dry run")
    );
    assert!(told("GET", "//admin", ui).contains("400 path-empty-segment"));
}
