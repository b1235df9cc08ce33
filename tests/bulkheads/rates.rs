//! How many requests may callers make? `RateLimitPolicy` between real processes.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use super::{Gate, begin};
use crate::support::caller::Caller;
use crate::support::draft::{ask, get};
use crate::support::origin::Origin;
use crate::support::peer::Peer;
use crate::support::rig::{Rig, Wishes, upstream};

/// A policy on what comes in, unless it says otherwise. Its slowest rate passes none while a test lasts.
pub fn policy(says: &str) -> String {
    format!("apiVersion: outrigger/v1\nkind: RateLimitPolicy\nname: gate\n{says}\n")
}

/// Two workers before an application.
pub fn before(app: SocketAddr, documents: &[String]) -> Rig {
    Rig::with(&Wishes { app: Some(app), workers: Some(2), ..Wishes::default() }, documents)
}

fn decided(rig: &Rig, mode: &str, decision: &str, count: u64) {
    let labels = [("policy", "gate"), ("mode", mode), ("decision", decision)];
    rig.counts("rate_limit_decisions_total", &labels, count);
}

#[test]
fn rl_1_above_the_rate_nobody_passes_over_two_workers() {
    let app = Origin::always(200);
    let rig = before(app.addr, &[policy("total: {rate: 0.001/s, burst: 20}")]);
    let mut statuses: Vec<_> = (0..60).map(|_| status_of_a_new_connection(&rig)).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [[200; 20].as_slice(), &[429; 40]].concat());
    assert_eq!(app.count(), 20, "who is denied reaches nobody");
    decided(&rig, "enforce", "allowed", 20);
    decided(&rig, "enforce", "denied-rate", 40);
    rig.counts("requests_total", &[("direction", "inbound"), ("flag", "RL"), ("code", "429")], 40);
}

fn status_of_a_new_connection(rig: &Rig) -> u16 {
    Caller::of(rig.inbound).send(&get("app")).unwrap().status()
}

#[test]
fn bp_1_callers_are_told_what_is_left_and_when_to_come_back() {
    let rig = before(Origin::always(200).addr, &[policy("total: {rate: 0.02/s, burst: 2}")]);
    let mut caller = Caller::of(rig.inbound);
    for left in ["1", "0"] {
        let answer = caller.send(&get("app")).unwrap();
        assert_eq!((answer.status(), answer.field("ratelimit-remaining")), (200, Some(left)));
        assert_eq!(answer.field("ratelimit-limit"), Some("2"));
        assert_eq!(answer.field("ratelimit-policy"), Some("1;w=50;burst=2"));
        assert_eq!(answer.field("retry-after"), None);
    }
    let denied = caller.send(&get("app")).unwrap();
    assert_eq!((denied.status(), denied.reason()), (429, "rate-limit"));
    assert!(denied.field("x-outrigger-reason").unwrap().ends_with("policy=gate"));
    let number = |name| denied.field(name).unwrap().parse::<u32>().unwrap();
    assert_eq!((number("ratelimit-limit"), number("ratelimit-remaining")), (2, 0));
    assert!((40..=50).contains(&number("retry-after")));
    assert_eq!(number("ratelimit-reset"), number("retry-after"));
}

#[test]
fn bp_1_what_the_application_tells_of_its_own_limit_stays() {
    let app = Origin::start(|_, _| {
        let answer = crate::support::draft::answer(200).with("ratelimit-limit", 7);
        crate::support::origin::Reply::Answer(answer)
    });
    let rig = before(app.addr, &[policy("total: {rate: 0.02/s, burst: 2}")]);
    let answer = Caller::of(rig.inbound).send(&get("app")).unwrap();
    assert_eq!((answer.fields("ratelimit-limit"), answer.field("ratelimit-remaining")), (vec!["7"], None));
}

#[test]
fn rl_1_grpc_callers_hear_it_in_their_words() {
    let rig = before(Origin::always(200).addr, &[policy("total: {rate: 0.001/s, burst: 1}")]);
    let mut caller = Caller::of(rig.inbound);
    let call =
        ask("POST", "/shop.Cart/Add", "app").with("content-type", "application/grpc").with("te", "trailers");
    caller.send(&get("app")).unwrap();
    let denied = caller.send(&call).unwrap();
    // RESOURCE_EXHAUSTED.
    assert_eq!((denied.status(), denied.field("grpc-status")), (200, Some("8")));
}

#[test]
fn rl_1_a_reload_forgives_nothing() {
    let app = Origin::always(200);
    let rig = before(app.addr, &[policy("total: {rate: 0.001/s, burst: 3}")]);
    let mut caller = Caller::of(rig.inbound);
    let mut passed = || (0..9).filter(|_| caller.send(&get("app")).unwrap().status() == 200).count();
    assert_eq!(passed(), 3);
    rig.reload(&[policy("total: {rate: 0.001/s, burst: 3}"), upstream("other", &[app.addr], "")]);
    assert_eq!(passed(), 0, "nothing of the policy has changed");
    rig.reload(&[policy("total: {rate: 0.001/s, burst: 5}")]);
    assert_eq!(passed(), 2, "only what the new burst has more");
}

#[test]
fn rl_4_one_caller_has_so_many_in_flight_and_no_more() {
    let gate = Gate::closed();
    let rig = before(gate.origin.addr, &[policy("perKey: [{by: [source], maxConcurrent: 2}]")]);
    let mut held: Vec<_> = (0..2).map(|_| begin(rig.inbound, &get("app"))).collect();
    decided(&rig, "enforce", "allowed", 2);
    let denied = Caller::of(rig.inbound).send(&get("app")).unwrap();
    assert_eq!(
        (denied.status(), denied.reason(), denied.field("retry-after")),
        (429, "limit-caller", Some("1"))
    );
    let mut other = from(Ipv4Addr::new(127, 0, 0, 2), rig.inbound);
    other.send(get("app").octets());
    decided(&rig, "enforce", "allowed", 3);
    gate.open();
    for peer in held.iter_mut().chain([&mut other]) {
        assert_eq!(peer.message().status(), 200);
    }
    rig.counts("requests_total", &[("direction", "inbound"), ("code", "200")], 3);
    assert_eq!(Caller::of(rig.inbound).send(&get("app")).unwrap().status(), 200);
}

/// A connection from another machine, as far as anybody can tell.
fn from(source: Ipv4Addr, to: SocketAddr) -> Peer {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((source, 0)).into()).unwrap();
    socket.connect(&to.into()).unwrap();
    Peer::new(TcpStream::from(socket))
}

#[test]
fn rl_7_limits_of_a_route_and_of_each_key() {
    let rig = before(
        Origin::always(200).addr,
        &[policy(
            "matches: [{path: {type: PathPrefix, value: /buy}}]\n\
             perKey: [{by: [\"header:x-tenant\"], rate: 0.001/s, burst: 1, maxKeys: 2}]",
        )],
    );
    let mut caller = Caller::of(rig.inbound);
    let mut of =
        |path, tenant| caller.send(&ask("GET", path, "app").with("x-tenant", tenant)).unwrap().status();
    assert_eq!([of("/buy", "a"), of("/buy", "b")], [200; 2]);
    assert_eq!([of("/buy/more", "a"), of("/look", "a")], [429, 200]);
    assert_eq!([of("/buy", "c"), of("/buy", "d")], [200, 429], "those for whom no cell is left share one");
    rig.counts("limit_exceeded_total", &[("limit", "rate-limit-keys")], 1);
}

#[test]
fn rl_8_a_dry_run_changes_nothing_and_reports_all() {
    let app = Origin::always(200);
    let rig = before(
        app.addr,
        &[policy(
            "mode: dryRun\ntotal: {rate: 0.001/s, burst: 2, queueTimeout: 10s}\nperKey: [{by: [source], rate: 0.001/s, burst: 9}]",
        )],
    );
    let mut caller = Caller::of(rig.inbound);
    for _ in 0..5 {
        let answer = caller.send(&get("app")).unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!((answer.field("ratelimit-limit"), answer.field("retry-after")), (None, None));
    }
    decided(&rig, "dry_run", "allowed", 2);
    decided(&rig, "dry_run", "denied-rate", 3);
    decided(&rig, "enforce", "denied-rate", 0);
    rig.counts("requests_total", &[("direction", "inbound"), ("flag", "-")], 5);
}

#[test]
fn rl_6_a_third_partys_quota_is_kept_by_waiting_then_by_denying() {
    let third = Origin::always(200);
    let limits = "direction: outbound\nhosts: [third]\ntotal: {rate: 20/s, burst: 1, queueTimeout: 10s, maxPending: 4}";
    let rig = Rig::start(&[policy(limits), upstream("third", &[third.addr], "")]);
    let began = Instant::now();
    let callers: Vec<_> = (0..5).map(|_| begin(rig.outbound, &get("third"))).collect();
    for mut peer in callers {
        assert_eq!(peer.message().status(), 200);
    }
    assert!(began.elapsed() >= Duration::from_millis(200), "four of them waited for their turn");
    decided(&rig, "enforce", "queued", 4);
    let mut calls: Vec<_> = (0..12).map(|_| begin(rig.outbound, &get("third"))).collect();
    let statuses: Vec<_> = calls.iter_mut().map(|peer| peer.message().status()).collect();
    assert!(statuses.contains(&429), "the queue has an end: {statuses:?}");
}

#[test]
fn rl_6_who_cannot_wait_for_its_token_is_told_at_once() {
    let third = Origin::always(200);
    let limits = "direction: outbound\nhosts: [third]\ntotal: {rate: 0.05/s, burst: 1, queueTimeout: 1m}";
    let rig = Rig::start(&[policy(limits), upstream("third", &[third.addr], "")]);
    let mut caller = rig.caller();
    assert_eq!(caller.send(&get("third")).unwrap().status(), 200);
    let denied = caller.send(&get("third").with("x-deadline", 10_000)).unwrap();
    assert_eq!((denied.status(), denied.reason()), (429, "rate-limit"));
    decided(&rig, "enforce", "denied-rate", 1);
    decided(&rig, "enforce", "abandoned", 0);
}

#[test]
fn rl_9_an_application_gone_mad_is_held_back_here() {
    let victim = Origin::always(200);
    let limits = "direction: outbound\nhosts: [victim]\ntotal: {rate: 0.001/s, burst: 5}";
    let rig = Rig::start(&[policy(limits), upstream("victim", &[victim.addr], "")]);
    rig.storm(4, 50, |caller, _| {
        assert!([200, 429].contains(&caller.send(&get("victim")).unwrap().status()));
    });
    assert_eq!(victim.count(), 5);
}
