//! What happens to live connections when certificates, roots or lists of revoked ones change?

use std::fs;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use super::{calling, guarded};
use crate::support::authority::Authority;
use crate::support::draft::get;
use crate::support::origin::Origin;
use crate::support::peer::Peer;
use crate::support::rig::{Rig, eventually};
use crate::support::scripted::Upstream;
use crate::support::secret::Caller;

const SWITCHING: &str =
    "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
const UNENDING: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n";
const GET: &str = "GET / HTTP/1.1\r\nhost: origin\r\n\r\n";

/// Waits until the sidecar has taken up so many changes of its files.
fn taken_up(rig: &Rig, count: u64) {
    eventually("the files to be read", || {
        (rig.metric("identity_reloads_total", &[("result", "loaded")]) >= count).then_some(())
    });
}

fn write(dir: &Path, file: &str, text: &str) {
    let aside = dir.join(".new");
    fs::write(&aside, text).unwrap();
    fs::rename(aside, dir.join(file)).unwrap();
}

#[test]
fn se_7_a_list_ends_connections_of_those_whom_it_names_and_no_others() {
    let origin = Origin::always(200);
    let ca = Authority::new("root");
    let certs = ca.house("server");
    let server = guarded(origin.addr, certs.path(), "strict");
    let [bad, good] = ["bad", "good"].map(|name| ca.issue(name));
    let [mut bad, mut good] = [(&bad, &bad), (&good, &bad)].map(|(shown, revoked)| {
        let mut call = Caller::new(&ca, Some(shown)).call(server.inbound).unwrap();
        assert!(call.head(GET).unwrap().contains(" 200 "));
        (call, ca.revoke(&[revoked]))
    });
    write(certs.path(), "ca.crl", &bad.1);
    // Nobody asks for anything: an idle connection ends by itself.
    assert!(bad.0.head("").is_err());
    server.counts("tls_distrusted_total", &[("direction", "inbound"), ("reason", "revoked")], 1);
    assert!(good.0.head(GET).unwrap().contains(" 200 "));
}

#[test]
fn se_7_a_list_ends_shared_connections_too() {
    let origin = Origin::always(200);
    let ca = Authority::new("root");
    let [ours, theirs] = ["client", "server"].map(|name| ca.house(name));
    let shown = ca.issue("client");
    ca.furnish(ours.path(), &shown);
    let server = guarded(origin.addr, theirs.path(), "strict");
    let client = calling(&[server.inbound], ours.path(), "server", "protocol: http2");
    assert_eq!(client.caller().send(&get("origin")).unwrap().status(), 200);
    server.counts("connections_active", &[("direction", "inbound"), ("protocol", "http2")], 1);
    write(theirs.path(), "ca.crl", &ca.revoke(&[&shown]));
    server.counts("tls_distrusted_total", &[("direction", "inbound"), ("reason", "revoked")], 1);
    server.counts("connections_active", &[("direction", "inbound"), ("protocol", "http2")], 0);
    assert_eq!(client.caller().send(&get("origin")).unwrap().status(), 502);
}

/// What was begun may go on for days.
#[test]
fn se_7_a_list_ends_what_those_have_begun_whom_it_names() {
    let app = Upstream::new(|call| {
        if let Some(head) = call.head() {
            let upgrades = head.field("upgrade").is_some();
            call.peer.send(if upgrades { SWITCHING } else { UNENDING });
            call.peer.rest();
        }
    });
    let ca = Authority::new("root");
    let [ours, theirs] = ["client", "server"].map(|name| ca.house(name));
    let shown = ca.issue("client");
    ca.furnish(ours.path(), &shown);
    let server = guarded(app.addr, theirs.path(), "strict");
    let mut tunnel = Caller::new(&ca, Some(&shown)).call(server.inbound).unwrap();
    let upgrade = "connection: upgrade\r\nupgrade: websocket\r\n\r\n";
    assert!(tunnel.head(&GET.replace("\r\n\r\n", &format!("\r\n{upgrade}"))).unwrap().contains(" 101 "));
    let client = calling(&[server.inbound], ours.path(), "server", "protocol: http2");
    let mut stream = Peer::connect(client.outbound);
    assert_eq!(stream.send(get("origin").octets()).head().status(), 200);
    server.counts("connections_active", &[("direction", "inbound")], 2);
    write(theirs.path(), "ca.crl", &ca.revoke(&[&shown]));
    server.counts("tls_distrusted_total", &[("direction", "inbound"), ("reason", "revoked")], 2);
    server.counts("connections_active", &[("direction", "inbound")], 0);
    assert!(tunnel.head("").is_err());
    stream.rest();
}

#[test]
fn se_2_connections_of_an_old_identity_serve_their_last_and_go() {
    let origin = Origin::always(200);
    let ca = Authority::new("root");
    for settings in ["", "protocol: http2"] {
        let [ours, theirs] = ["client", "server"].map(|name| ca.house(name));
        let server = guarded(origin.addr, theirs.path(), "strict");
        let client = calling(&[server.inbound], ours.path(), "server", settings);
        let mut caller = client.caller();
        for round in 1..=5 {
            for _ in 0..5 {
                assert_eq!(caller.send(&get("origin")).unwrap().status(), 200);
            }
            // One for each identity.
            client.counts("tls_handshakes_total", &[("direction", "outbound")], round);
            let next = ca.issue("client");
            // A moment of mismatch is what files bring with them.
            write(ours.path(), "tls.key", &next.key);
            write(ours.path(), "tls.crt", &next.cert);
            taken_up(&client, round);
        }
        client.counts("requests_total", &[("code", "200")], 25);
    }
}

/// Relays to a server: the first connection at once, others once `open` is set.
fn gate(server: SocketAddr, open: &Arc<AtomicBool>) -> Upstream {
    let (count, open) = (AtomicUsize::new(0), Arc::clone(open));
    Upstream::new(move |call| {
        let first = count.fetch_add(1, Ordering::SeqCst) == 0;
        eventually("the gate to open", || (first || open.load(Ordering::SeqCst)).then_some(()));
        let ours = TcpStream::connect(server).unwrap();
        let theirs = &call.peer.stream;
        thread::scope(|ways| {
            for (mut from, mut to) in [(theirs, &ours), (&ours, theirs)] {
                ways.spawn(move || {
                    let _ = io::copy(&mut from, &mut to);
                    let _ = to.shutdown(Shutdown::Write);
                });
            }
        });
    })
}

/// Who is there when an identity is replaced calls over the old connection until there is a new one.
#[test]
fn se_2_a_steady_caller_waits_for_one_handshake_and_never_again() {
    let origin = Origin::always(200);
    let ca = Authority::new("root");
    for protocol in ["http1", "http2"] {
        let [ours, theirs] = ["client", "server"].map(|name| ca.house(name));
        let server = guarded(origin.addr, theirs.path(), "strict");
        let open = Arc::new(AtomicBool::new(false));
        let relay = gate(server.inbound, &open);
        let settings =
            format!("protocol: {protocol}\ntimeouts: {{connect: 8s}}\nlimits: {{idleTimeout: 1m}}");
        let client = calling(&[relay.addr], ours.path(), "server", &settings);
        let mut caller = client.caller();
        let mut call = || assert_eq!(caller.send(&get("origin")).unwrap().status(), 200, "{protocol}");
        let shaken = |count| client.counts("tls_handshakes_total", &[("direction", "outbound")], count);
        call();
        let next = ca.issue("client");
        write(ours.path(), "tls.key", &next.key);
        write(ours.path(), "tls.crt", &next.cert);
        taken_up(&client, 1);
        for _ in 0..5 {
            call();
        }
        shaken(1);
        assert_eq!(relay.connections(), 2, "one is on its way, and only one");
        open.store(true, Ordering::SeqCst);
        shaken(2);
        for _ in 0..5 {
            call();
        }
        server.counts("connections_active", &[("direction", "inbound")], 1);
        assert_eq!(relay.connections(), 2);
    }
}

#[test]
fn se_2_roots_change_with_an_overlap_and_without_a_failure() {
    let origin = Origin::always(200);
    let [old, new] = ["old", "new"].map(Authority::new);
    let [ours, theirs] = ["client", "server"].map(|name| old.house(name));
    let server = guarded(origin.addr, theirs.path(), "strict");
    let client = calling(&[server.inbound], ours.path(), "server", "");
    let mut caller = client.caller();
    let mut call = |step: &str| assert_eq!(caller.send(&get("origin")).unwrap().status(), 200, "{step}");
    call("as it was");
    let both = old.pem() + &new.pem();
    for (rig, dir) in [(&client, &ours), (&server, &theirs)] {
        write(dir.path(), "ca.crt", &both);
        taken_up(rig, 1);
    }
    call("both are trusted");
    for (rig, dir, name) in [(&server, &theirs, "server"), (&client, &ours, "client")] {
        let next = new.issue(name);
        write(dir.path(), "tls.key", &next.key);
        write(dir.path(), "tls.crt", &next.cert);
        taken_up(rig, 2);
        call("one shows the new one");
    }
    for (rig, dir) in [(&client, &ours), (&server, &theirs)] {
        write(dir.path(), "ca.crt", &new.pem());
        taken_up(rig, 3);
        call("the old one is forgotten");
    }
}
