//! Does a caller get what its certificate entitles it to? Whole sidecars on both sides, within mutual TLS.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use super::{application, policy};
use crate::support::caller::Caller;
use crate::support::draft::{ask, get};
use crate::support::origin::Origin;
use crate::support::rig::{Rig, Wishes, upstream};

/// A root, and workloads of several trust domains that it signs.
struct Root(TempDir);

impl Root {
    fn new() -> Self {
        let root = Self(TempDir::new().unwrap());
        root.certs(&["init"]);
        root
    }

    fn certs(&self, words: &[&str]) {
        let made = Command::new(env!("CARGO_BIN_EXE_outrigger"))
            .arg("certs")
            .args(words)
            .arg("--dir")
            .arg(self.0.path())
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    }

    /// A directory for `certDir`.
    fn issue(&self, domain: &str, name: &str) -> PathBuf {
        self.certs(&["issue", name, "--trust-domain", domain]);
        self.0.path().join(name)
    }

    /// The sidecar of `spiffe://bank/holdings` before this application.
    fn holdings(&self, app: &Origin, inbound: &str, documents: &[String]) -> Rig {
        let mut wishes = identified(&self.issue("bank", "holdings"));
        (wishes.app, wishes.inbound) = (Some(app.addr), inbound.to_owned());
        Rig::with(&wishes, documents)
    }

    /// A sidecar of its caller.
    fn caller(&self, domain: &str, name: &str, holdings: SocketAddr) -> Rig {
        let tls = "tls: {mode: mutual, peerIdentities: [\"spiffe://bank/holdings\"]}";
        Rig::with(&identified(&self.issue(domain, name)), &[upstream("holdings", &[holdings], tls)])
    }
}

fn identified(certs: &std::path::Path) -> Wishes {
    let sidecar = format!("identity: {{certDir: {}}}\naccessLog: {{successSample: 100%}}", certs.display());
    Wishes { sidecar, ..Wishes::default() }
}

#[test]
fn se_4_an_identity_or_a_whole_trust_domain_gets_what_it_may_and_no_neighbour() {
    let (root, app) = (Root::new(), application());
    let rules = "allow:\n  - {name: ui, identities: [\"spiffe://bank/ui\"], paths: [/holdings]}\n  \
                 - {name: partners, identities: [\"spiffe://partners/*\"], methods: [GET]}";
    let holdings = root.holdings(&app, "", &[policy("callers", rules)]);
    let mut wrong = Vec::new();
    for (domain, name, [of_holdings, of_root, posted]) in [
        ("bank", "ui", [200, 403, 200]),
        ("bank", "ui2", [403, 403, 403]),
        ("partners", "anybody", [200, 200, 403]),
        ("partners.evil", "stranger", [403, 403, 403]),
        ("bankers", "teller", [403, 403, 403]),
    ] {
        let rig = root.caller(domain, name, holdings.inbound);
        let mut caller = rig.caller();
        let mut status = |method, path| caller.send(&ask(method, path, "holdings")).unwrap().status();
        let got = [status("GET", "/holdings/7"), status("GET", "/"), status("POST", "/holdings")];
        if got != [of_holdings, of_root, posted] {
            wrong.push((domain, name, got));
        }
    }
    assert_eq!(wrong, []);
    assert_eq!(app.count(), 4);
    let lines = holdings.logged(15);
    let denied =
        lines.iter().find(|line| line["identity"] == "spiffe://bank/ui2").expect("the log names callers");
    assert_eq!((&denied["status"], &denied["flag"]), (&403.into(), &"UAEX".into()));
}

#[test]
fn se_4_the_application_learns_who_called_and_nothing_forged() {
    let (root, app) = (Root::new(), application());
    let holdings = root.holdings(&app, "tls: permissive", &[]);
    let ui = root.caller("bank", "ui", holdings.inbound);
    let forged = get("holdings").with("x-forwarded-client-cert", "URI=spiffe://bank/root");
    assert_eq!(ui.caller().send(&forged).unwrap().status(), 200);
    let seen = app.seen().remove(0).message;
    let said = seen.fields("x-forwarded-client-cert");
    let [said] = said[..] else { panic!("one, and not {said:?}") };
    let hash = said
        .strip_prefix("By=spiffe://bank/holdings;Hash=")
        .and_then(|rest| rest.strip_suffix(";URI=spiffe://bank/ui"));
    assert!(
        hash.is_some_and(|hash| hash.len() == 64 && hash.bytes().all(|c| c.is_ascii_hexdigit())),
        "{said}"
    );
    assert_eq!(
        Caller::of(holdings.inbound).send(&forged).unwrap().status(),
        200,
        "plaintext is let in as well"
    );
    assert_eq!(app.seen()[1].message.field("x-forwarded-client-cert"), None);
}

#[test]
fn se_4_who_proves_nothing_is_nobody() {
    let (root, app) = (Root::new(), application());
    let rules = "allow: [{identities: [\"spiffe://bank/*\"]}, {paths: [{type: Exact, value: /ping}]}]";
    let holdings = root.holdings(&app, "tls: permissive", &[policy("callers", rules)]);
    let mut plaintext = Caller::of(holdings.inbound);
    assert_eq!(plaintext.send(&get("holdings")).unwrap().status(), 403);
    assert_eq!(plaintext.send(&ask("GET", "/ping", "holdings")).unwrap().status(), 200);
    let ui = root.caller("bank", "ui", holdings.inbound);
    assert_eq!(ui.caller().send(&get("holdings")).unwrap().status(), 200);
}

#[test]
fn se_4_rl_4_each_identity_has_a_limit_of_its_own() {
    let (root, app) = (Root::new(), application());
    let limit = "apiVersion: outrigger/v1\nkind: RateLimitPolicy\nname: few\nperIdentity: {rate: 0.001/s, burst: 1}\n";
    let holdings = root.holdings(&app, "", &[limit.to_owned()]);
    for name in ["ui", "orders"] {
        let rig = root.caller("bank", name, holdings.inbound);
        let got = [(); 2].map(|()| rig.caller().send(&get("holdings")).unwrap().status());
        assert_eq!(got, [200, 429], "{name} comes from where the other does, and is somebody else");
    }
}
