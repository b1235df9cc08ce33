//! Does TLS pass unopened, to whom it asks for?

use super::{OUTBOUND, db, echo};
use crate::support::authority::Authority;
use crate::support::free_addr;
use crate::support::peer::{End, Peer};
use crate::support::rig::{Rig, Wishes, upstream};
use crate::support::scripted::Upstream;
use crate::support::secret::{self, Caller};

/// A server of TLS that has this name, and says it.
fn named(ca: &Authority, name: &'static str) -> Upstream {
    let pair = ca.issue_with(name, |params| {
        params.subject_alt_names = vec![rcgen::SanType::DnsName(name.try_into().unwrap())];
    });
    let config = secret::server(&pair, None);
    Upstream::new(move |call| {
        let _ = secret::serve(&config, &mut call.peer.stream, name, true);
    })
}

#[test]
fn tls_passes_by_the_name_that_it_asks_for() {
    let ca = Authority::new("root");
    let (one, other) = (named(&ca, "a.internal"), named(&ca, "b.other.internal"));
    let port = free_addr();
    let outbound = format!("tcp: [{{listen: \"{port}\"}}]");
    let route = "apiVersion: outrigger/v1\nkind: TCPRoute\nname: names\nrules:\n  \
                 - {matches: [{snis: [a.internal]}], backendRefs: [{name: one}]}\n  \
                 - {matches: [{snis: [\"*.internal\"]}], backendRefs: [{name: other}]}\n"
        .to_owned();
    let documents = [
        upstream("one", &[one.addr], "protocol: tcp"),
        upstream("other", &[other.addr], "protocol: tcp"),
        route,
    ];
    let rig = Rig::with(&Wishes { outbound, ..Wishes::default() }, &documents);
    for name in ["a.internal", "b.other.internal"] {
        let caller = Caller::new(&ca, None).asking_for(name);
        assert_eq!(caller.call(port).unwrap().ask("GET / HTTP/1.1\r\n\r\n").unwrap(), name, "end to end");
    }
    for upstream in ["one", "other"] {
        rig.counts("tcp_connections_total", &[("route", "names"), ("upstream", upstream), ("flag", "-")], 1);
    }
    rig.counts("detections_total", &[OUTBOUND, ("result", "tls")], 2);
    assert_eq!(rig.logged(2)[0]["authority"], format!("a.internal:{}", port.port()));
    // Who asks for nobody is nobody's.
    assert_eq!(Peer::connect(port).send("no TLS at all\r\n").rest(), (Vec::new(), End::Reset));
    rig.counts("tcp_connections_total", &[("route", "-"), ("flag", "NR")], 1);
}

#[test]
fn an_upstream_is_found_by_its_hosts_where_no_route_says_more() {
    let ca = Authority::new("root");
    let server = named(&ca, "a.internal");
    let outbound = "protocol: auto".to_owned();
    let documents = [upstream("one", &[server.addr], "hosts: [a.internal]"), db(&[echo().addr], "")];
    let rig = Rig::with(&Wishes { outbound, ..Wishes::default() }, &documents);
    let caller = Caller::new(&ca, None).asking_for("a.internal");
    assert_eq!(caller.call(rig.outbound).unwrap().ask("GET / HTTP/1.1\r\n\r\n").unwrap(), "a.internal");
    rig.counts("tcp_connections_total", &[("upstream", "one"), ("flag", "-")], 1);
}
