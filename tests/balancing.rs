//! Who gets the next request? Shares of endpoints, and what happens to the one that is slow, busy or gone.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::thread;
use std::time::Duration;

use crate::support::draft::{answer, get};
use crate::support::origin::{Origin, Reply};
use crate::support::rig::{Rig, Wishes, eventually, upstream};

fn addrs(origins: &[Origin]) -> Vec<SocketAddr> {
    origins.iter().map(|origin| origin.addr).collect()
}

#[test]
fn lb_1_equal_endpoints_share_equally() {
    // Without waiting in line, since who is faster by chance may well get more.
    for (policy, callers, slack) in [("round-robin", 3, 25), ("least-request", 1, 75)] {
        let origins = [(); 3].map(|()| Origin::always(200));
        let rig =
            Rig::start(&[upstream("up", &addrs(&origins), &format!("loadBalancer: {{policy: {policy}}}"))]);
        rig.storm(callers, 1500 / callers, |caller, _| {
            assert_eq!(caller.send(&get("up")).unwrap().status(), 200);
        });
        for origin in &origins {
            assert!(origin.count().abs_diff(500) <= slack, "{policy}: {} of 1,500", origin.count());
        }
    }
}

#[test]
fn lb_2_a_slow_endpoint_gets_less() {
    let origins = [200, 20, 20]
        .map(|millis| Origin::start(move |_, _| Reply::Late(Duration::from_millis(millis), answer(200))));
    let rig = Rig::start(&[upstream("up", &addrs(&origins), "")]);
    rig.storm(6, 40, |caller, _| assert_eq!(caller.send(&get("up")).unwrap().status(), 200));
    assert!(origins[0].count() < 24, "{} of 240 went to the slow one", origins[0].count());
    assert!(origins[1].count() > 60 && origins[2].count() > 60, "the others share the rest");
}

#[test]
fn bp_3_who_pushes_back_gets_less() {
    let origins = [Origin::always(429), Origin::always(200), Origin::always(200)];
    let rig = Rig::start(&[upstream("up", &addrs(&origins), "")]);
    rig.storm(2, 150, |caller, _| assert!([200, 429].contains(&caller.send(&get("up")).unwrap().status())));
    assert!(origins[0].count() < 30, "{} of 300 went to who answers 429, and fast", origins[0].count());
}

/// A name server that knows one address for every name, as long as it lives.
fn name_server() -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let addr = socket.local_addr().unwrap();
    thread::spawn(move || {
        let mut query = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut query) {
            let question_end = 12 + query[12..length].iter().position(|octet| *octet == 0).unwrap() + 5;
            let is_a = query[question_end - 3] == 1;
            let known = query[12..question_end].starts_with(b"\x05known");
            // RFC 1035 §4.1.1: an answer, recursion available; code 3 is NXDOMAIN.
            let mut reply = query[..2].to_vec();
            reply.extend([
                0x81,
                if known { 0x80 } else { 0x83 },
                0,
                1,
                0,
                u8::from(known && is_a),
                0,
                0,
                0,
                0,
            ]);
            reply.extend(&query[12..question_end]);
            if known && is_a {
                reply.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
                reply.extend(Ipv4Addr::LOCALHOST.octets());
            }
            let _ = socket.send_to(&reply, from);
        }
    });
    addr
}

#[test]
fn lb_11_a_name_without_an_address_fails_alone() {
    let origin = Origin::always(200);
    let named = |name: &str, host: &str| {
        let port = origin.addr.port();
        format!(
            "apiVersion: outrigger/v1\nkind: Upstream\nname: {name}\ndiscovery: {{dns: {host}, port: {port}}}\n"
        )
    };
    let wishes = Wishes { env: vec![("OUTRIGGER_DNS", name_server().to_string())], ..Wishes::default() };
    let rig = Rig::with(&wishes, &[named("here", "known.test"), named("nowhere", "unknown.test")]);
    eventually("the name's address", || {
        (rig.caller().send(&get("here")).unwrap().status() == 200).then_some(())
    });
    let said = rig.caller().send(&get("nowhere")).unwrap();
    assert_eq!(said.status(), 503);
    assert!(said.reason() == "no-endpoint", "{}", said.reason());
    assert!(said.field("retry-after").is_some());
    eventually("the failure counted", || {
        (rig.metric("dns_refreshes_total", &[("upstream", "nowhere"), ("result", "failure")]) > 0)
            .then_some(())
    });
}

#[test]
fn lb_12_own_health() {
    let app = Origin::always(200);
    let rig = Rig::with(&Wishes { app: Some(app.addr), ..Wishes::default() }, &[]);
    assert_eq!((rig.probe("/livez"), rig.probe("/readyz")), (Some(200), Some(200)));
}
