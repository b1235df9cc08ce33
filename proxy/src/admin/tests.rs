//! Do the pages say what holds, and does nobody wait for them?

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, SystemTime};

use outrigger_config::Source;
use serde_json::{Value, json};

use super::*;
use crate::clock::now;
use crate::snapshot;
use crate::telemetry::{LineSink, Metrics};
use crate::worker::Phase;

const POLICY: &str = "
apiVersion: outrigger/v1
kind: Sidecar
name: holdings
outbound: {}
inbound: [{port: 8080, forwardTo: 127.0.0.1:8081}]
admin: {listen: 127.0.0.1:0, metrics: 127.0.0.1:0}
---
apiVersion: outrigger/v1
kind: Upstream
name: market-data
discovery: {static: [10.0.0.5:8000, 10.0.0.6:8000]}
---
apiVersion: outrigger/v1
kind: Upstream
name: rates
discovery: {dns: rates.internal, port: 8000}
";

/// The two servers around a data path that does nothing at all.
struct Rig {
    shared: Arc<Shared>,
    standing: Arc<Standing>,
    server: Server,
    admin: SocketAddr,
    metrics: SocketAddr,
}

fn rig() -> Rig {
    rig_at(POLICY)
}

fn rig_at(policy: &str) -> Rig {
    let source = Source { name: "a.yaml".to_owned(), text: policy.to_owned() };
    let config = outrigger_config::parse(&[source]).unwrap();
    let ports = Ports::bind(&config.sidecar.admin).unwrap();
    let [admin, metrics] = ports.addrs().unwrap().map(|addr| match addr {
        AdminAddress::Port(addr) => addr,
        AdminAddress::File(_) => SocketAddr::from(([0; 4], 0)),
    });
    let counters = Metrics::new(1, 1000);
    let (log, _) = LineSink::spawn(Box::new(io::sink()), counters.access_log_dropped()).unwrap();
    let shared = Shared::new(snapshot::build(config, None, None, &counters, &log, now()).unwrap(), counters);
    shared.life.advance(Phase::Serving);
    let standing = Arc::new(Standing::new(0xabc, SystemTime::UNIX_EPOCH));
    let server = ports.serve(Arc::clone(&shared), Arc::clone(&standing)).unwrap();
    Rig { shared, standing, server, admin, metrics }
}

/// Sends a request as it stands; answers the status, the head and the body.
fn ask(addr: SocketAddr, request: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    let (head, body) = response.split_once("\r\n\r\n").unwrap();
    (head[9..12].parse().unwrap(), head.to_owned(), body.to_owned())
}

fn get(addr: SocketAddr, path: &str) -> (u16, String) {
    let (status, _, body) = ask(addr, &format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n"));
    (status, body)
}

fn json_of(addr: SocketAddr, path: &str) -> Value {
    serde_json::from_str(&get(addr, path).1).unwrap()
}

#[test]
fn u2_readiness_fails_while_draining_and_liveness_does_not() {
    let rig = rig();
    assert_eq!(get(rig.metrics, "/readyz"), (200, "ready\n".to_owned()));
    rig.shared.life.advance(Phase::Draining);
    assert_eq!(get(rig.metrics, "/readyz"), (503, "draining\n".to_owned()));
    assert_eq!(get(rig.metrics, "/livez"), (200, "live\n".to_owned()));
    rig.server.stop();
}

#[test]
fn ob_1_the_scrape_is_served_apart_from_the_admin_pages() {
    let rig = rig();
    rig.shared.metrics.config().loaded(1, SystemTime::now());
    let (status, scrape) = get(rig.metrics, "/metrics");
    assert_eq!(status, 200);
    assert!(scrape.contains("\noutrigger_config_generation 1\n"), "{scrape}");
    assert_eq!(get(rig.admin, "/metrics").0, 404);
    assert_eq!(get(rig.metrics, "/config").0, 404);
}

#[test]
fn cf_1_a_rejected_policy_is_told_until_the_files_say_again_what_runs() {
    let rig = rig();
    let reasons = vec!["a.yaml:3:1: unknown field".to_owned()];
    rig.standing.rejected(reasons.clone(), SystemTime::UNIX_EPOCH);
    let told = json_of(rig.admin, "/config");
    assert_eq!((&told["in_sync"], &told["generation"]), (&json!(false), &json!(1)));
    assert_eq!(told["last_error"], json!({ "at": "1970-01-01T00:00:00.000Z", "reasons": reasons }));
    assert_eq!(told["config"]["upstreams"][0]["name"], "market-data");
    rig.standing.unchanged(0xdef);
    let told = json_of(rig.admin, "/config");
    assert_eq!((&told["in_sync"], &told["last_error"]), (&json!(true), &Value::Null));
    assert_eq!(told["hash"], "0000000000000def");
}

#[test]
fn upstreams_tell_endpoints_discovery_and_the_application() {
    let rig = rig();
    let told = json_of(rig.admin, "/upstreams");
    let names: Vec<_> = told.as_array().unwrap().iter().map(|upstream| &upstream["name"]).collect();
    assert_eq!(names, ["market-data", "rates", "inbound-8080"]);
    assert_eq!(told[0]["endpoints"][1]["address"], "10.0.0.6:8000");
    assert_eq!(told[0]["endpoints"][1]["learned_idle_limit_ms"], Value::Null);
    let known = ["health", "ejected", "breaker"].map(|key| told[0]["endpoints"][1][key].clone());
    assert_eq!((known, &told[0]["breaker"]), ([json!("unchecked"), json!(false), Value::Null], &Value::Null));
    assert_eq!(told[1]["discovery"]["name"], "rates.internal");
    assert_eq!(told[1]["discovery"]["answer_age_ms"], Value::Null, "nobody has asked");
    assert_eq!(told[2]["direction"], "inbound");
}

#[test]
fn what_is_only_to_be_read_is_not_acted_on_and_head_has_no_body() {
    let rig = rig();
    let (status, head, _) =
        ask(rig.admin, "POST /config HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\na=b");
    assert_eq!(status, 405);
    assert!(head.contains("\r\nallow: GET, HEAD"), "{head}");
    assert_eq!(ask(rig.metrics, "POST /metrics HTTP/1.1\r\nhost: a\r\n\r\n").0, 405);
    assert_eq!(ask(rig.admin, "GET /faults/end HTTP/1.1\r\nhost: a\r\n\r\n").0, 404, "looking ends nothing");
    let (status, head, body) = ask(rig.metrics, "HEAD /livez HTTP/1.1\r\nhost: a\r\n\r\n");
    assert_eq!((status, body.as_str()), (200, ""));
    assert!(head.contains("\r\ncontent-length: 5"), "{head}");
    assert_eq!(ask(rig.admin, "GET / HTTP/1.1\r\n\r\n").0, 400, "no host");
}

#[test]
fn a_request_is_bounded() {
    let rig = rig();
    let long = "a".repeat(9 << 10);
    assert_eq!(ask(rig.metrics, &format!("GET / HTTP/1.1\r\nhost: a\r\nx: {long}\r\n\r\n")).0, 431);
    assert_eq!(ask(rig.metrics, &format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", &long[..2000])).0, 414);
}

/// BH-5: who connects and says nothing, or has its answer and stays, does not keep others from being answered.
#[test]
fn bh_5_nobody_takes_all_places_before_a_probe() {
    let rig = rig();
    for said in ["", "GET /livez HTTP/1.1\r\nhost: a\r\n\r\n"] {
        let connect = |_| {
            let mut stream = TcpStream::connect(rig.metrics).unwrap();
            stream.write_all(said.as_bytes()).unwrap();
            stream
        };
        let staying: Vec<_> = (0..40).map(connect).collect();
        let start = std::time::Instant::now();
        assert_eq!(get(rig.metrics, "/livez").0, 200);
        assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
        drop(staying);
    }
    let scrape = get(rig.metrics, "/metrics").1;
    assert!(scrape.contains("outrigger_limit_exceeded_total{limit=\"admin-connections\"} "), "{scrape}");
}

/// What a socket file says; `None`: nobody is there.
fn knock(path: &Path) -> Option<String> {
    let mut stream = UnixStream::connect(path).ok()?;
    stream.write_all(b"GET /config HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    Some(response)
}

#[test]
fn se_4_a_socket_file_serves_its_owner_alone_and_goes_with_the_process() {
    let dir = tempfile::TempDir::new().unwrap();
    let path = dir.path().join("admin.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists(), "left by a process that is gone");
    let rig =
        rig_at(&POLICY.replace(
            "admin: {listen: 127.0.0.1:0,",
            &format!("admin: {{listen: \"unix:{}\",", path.display()),
        ));
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let answer = knock(&path).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.contains("\"generation\": 1"), "{answer}");
    let again = Door::bind(&AdminAddress::File(path.clone())).unwrap_err();
    assert_eq!(again.kind(), io::ErrorKind::AddrInUse);
    assert!(knock(&path).is_some(), "who comes second takes nothing away");
    rig.server.stop();
    assert!(!path.exists());
}

#[test]
fn se_4_a_file_that_is_no_socket_stays() {
    let dir = tempfile::TempDir::new().unwrap();
    let path = dir.path().join("notes");
    fs::write(&path, "mine").unwrap();
    assert!(Door::bind(&AdminAddress::File(path.clone())).is_err());
    assert_eq!(fs::read_to_string(path).unwrap(), "mine");
}
