//! What does Prometheus see? Two sidecars with all that can be counted going on, and a real server that scrapes them.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use super::scrape::dashboard;
use super::{missing, path};
use crate::support::authority::Authority;
use crate::support::draft::{answer, ask, get};
use crate::support::origin::{Origin, Reply};
use crate::support::peer::Peer;
use crate::support::rig::{Rig, Wishes, eventually, upstream};
use crate::support::{self, free_addr};

/// A sidecar that calls, and one that is called.
pub struct Mesh {
    rigs: [Rig; 2],
    _certs: [TempDir; 2],
    _origins: Vec<Origin>,
}

const ROUTES: &str = "apiVersion: outrigger/v1
kind: HTTPRoute
name: calls
hosts: [breaks, slow, poor]
rules:
  - matches: [{path: {type: PathPrefix, value: /slow}}]
    backendRefs: [{name: slow}]
    timeouts: {request: 50ms}
  - matches: [{path: {type: PathPrefix, value: /poor}}]
    backendRefs: [{name: poor}]
    retry: {on: [5xx], attempts: 1, backoff: {base: 1ms, max: 1ms}}
  - backendRefs: [{name: breaks}]
    retry: {on: [5xx], attempts: 1, backoff: {base: 1ms, max: 1ms}}
    fallback: [{on: [any], static: {status: 200, body: instead}}]
";

const GUARDS: [&str; 2] = [
    "apiVersion: outrigger/v1
kind: AuthorizationPolicy
name: callers
allow: [{identities: [\"spiffe://tests/client\"]}]
",
    "apiVersion: outrigger/v1
kind: RateLimitPolicy
name: all
total: {rate: 1000/s, burst: 1000}
",
];

impl Mesh {
    /// Starts them, and has them count.
    pub fn start() -> Self {
        let (good, bad) = (Origin::always(200), Origin::always(503));
        let slow = Origin::start(|_, _| Reply::Late(Duration::from_secs(1), answer(200)));
        let ca = Authority::new("root");
        let certs = ["client", "server"].map(|name| ca.house(name));
        let [ours, theirs] =
            certs.each_ref().map(|dir| format!("identity: {{certDir: {}}}", dir.path().display()));
        let inbound = "protocol: http1, tls: strict".to_owned();
        let guarded = Wishes { app: Some(good.addr), inbound, sidecar: theirs, ..Wishes::default() };
        let server = Rig::with(&guarded, &GUARDS.map(str::to_owned));
        let calling = Wishes { sidecar: ours, ..Wishes::default() };
        let client = Rig::with(&calling, &policy(&[server.inbound, good.addr, bad.addr, slow.addr]));
        ca.furnish(certs[0].path(), &ca.issue("client"));
        Peer::connect(server.inbound).send(get("plaintext").octets()).message();
        for nth in 0..20 {
            let mut caller = client.caller();
            for name in ["origin", "breaks", "ejects"] {
                caller.send(&get(name)).unwrap();
            }
            caller.send(&ask("GET", "/poor", "poor")).unwrap();
            if nth == 0 {
                caller.send(&ask("GET", "/slow", "slow")).unwrap();
                let _ = caller.send(&ask("GET", &"/long".repeat(4 << 10), "origin"));
            }
        }
        Self { rigs: [client, server], _certs: certs, _origins: vec![good, bad, slow] }
    }

    /// What both show now.
    pub fn scrapes(&self) -> [String; 2] {
        self.rigs.each_ref().map(Rig::scrape)
    }

    /// What both show once nothing `lacks` in it.
    pub fn scrape_with(&self, lacks: impl Fn(&str) -> Vec<String>) -> String {
        let (mut scrape, mut missing) = (String::new(), Vec::new());
        let until = Instant::now() + support::PATIENCE;
        while Instant::now() < until {
            scrape = self.scrapes().concat();
            missing = lacks(&scrape);
            if missing.is_empty() {
                return scrape;
            }
            thread::sleep(Duration::from_millis(20));
        }
        panic!("never shown: {missing:?} in\n{scrape}");
    }
}

fn policy(to: &[SocketAddr; 4]) -> Vec<String> {
    let [server, good, bad, slow] = *to;
    let tls = "tls: {mode: mutual, peerIdentities: [\"spiffe://tests/server\"]}\ncache: {methods: [GET]}";
    let breaker = "circuitBreaker: {consecutive: 3, backoff: {base: 30s, max: 30s}}";
    let ejects = "loadBalancer: {policy: round-robin}\noutlierDetection: {consecutiveFailures: 2, baseEjectionTime: 30s}";
    let checked = "healthCheck: {http: /, interval: 100ms, timeout: 50ms}";
    vec![
        upstream("origin", &[server], tls),
        upstream("breaks", &[bad], breaker),
        upstream("ejects", &[bad, good], ejects),
        upstream("checked", &[bad], checked),
        upstream("slow", &[slow], ""),
        upstream("poor", &[bad], "retryBudget: {percent: 1%, minRate: 1/s}"),
        ROUTES.to_owned(),
    ]
}

/// A running server; gone with the value.
struct Prometheus {
    addr: SocketAddr,
    child: Child,
    _dir: TempDir,
}

impl Prometheus {
    /// `None`, said aloud: the machine has none.
    fn over(mesh: &Mesh) -> Option<Self> {
        let (addr, dir) = (free_addr(), TempDir::new().unwrap());
        let config = dir.path().join("prometheus.yaml");
        let [client, server] = mesh.rigs.each_ref().map(|rig| rig.admin);
        let rules = path(super::alerts::RULES);
        let text = format!(
            "global: {{scrape_interval: 200ms, scrape_timeout: 200ms, evaluation_interval: 200ms}}\n\
             rule_files: [{}]\nscrape_configs:\n\
             - {{job_name: client, static_configs: [{{targets: [\"{client}\"]}}]}}\n\
             - {{job_name: server, static_configs: [{{targets: [\"{server}\"]}}]}}\n",
            rules.canonicalize().unwrap().display()
        );
        fs::write(&config, text).unwrap();
        let spawned = Command::new("prometheus")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", dir.path().join("data").display()))
            .arg(format!("--web.listen-address={addr}"))
            .arg("--log.level=error")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        if spawned.is_err() {
            missing("prometheus", "Debian's `prometheus`");
        }
        Some(Self { addr, child: spawned.ok()?, _dir: dir })
    }

    /// `data` of what its API answers; `Null`: not yet, or not well.
    fn get(&self, target: &str) -> Value {
        // HTTP/1.0, so that the answer ends with the connection.
        let Ok(stream) = TcpStream::connect(self.addr) else { return Value::Null };
        let (answer, _) = Peer::new(stream).send(format!("GET {target} HTTP/1.0\r\n\r\n")).rest();
        let answer = String::from_utf8_lossy(&answer);
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        let answer: Value = serde_json::from_str(body).unwrap_or_default();
        assert_ne!(answer["status"], "error", "{target}: {answer}");
        answer["data"].clone()
    }

    /// The samples that an expression gives.
    fn query(&self, expr: &str) -> Vec<Value> {
        let quoted = expr.bytes().fold(String::new(), |quoted, octet| format!("{quoted}%{octet:02x}"));
        let data = self.get(&format!("/api/v1/query?query={quoted}"));
        data["result"].as_array().cloned().unwrap_or_default()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// As Grafana asks it, for everything.
fn filled_in(expr: &str) -> String {
    expr.replace("$__rate_interval", "1m").replace("$job", ".*").replace("$upstream", ".*")
}

#[test]
fn ob_1_ob_4_a_real_prometheus_scrapes_two_sidecars_and_every_panel_and_rule_has_its_numbers() {
    let mesh = Mesh::start();
    let Some(prometheus) = Prometheus::over(&mesh) else { return };
    support::eventually("two targets that are up", || prometheus.query("up == 1").len() == 2);
    let mut empty = dashboard();
    let until = Instant::now() + support::PATIENCE;
    while !empty.is_empty() {
        assert!(Instant::now() < until, "no panel shows anything of {empty:#?}");
        empty.retain(|expr| prometheus.query(&filled_in(expr)).is_empty());
    }
    let rules = prometheus.get("/api/v1/rules");
    let rules: Vec<&Value> =
        rules["groups"].as_array().unwrap().iter().flat_map(|of| of["rules"].as_array().unwrap()).collect();
    assert_eq!(rules.len(), super::alerts::rules().len());
    let faulty: Vec<_> = rules.iter().filter(|rule| rule["health"] == "err").collect();
    assert!(faulty.is_empty(), "{faulty:?}");
    eventually("what is recorded", || {
        (!prometheus.query("outrigger:requests_failed:rate5m").is_empty()).then_some(())
    });
}
