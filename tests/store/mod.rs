//! Do replicas share one rate? Sidecars around a real Redis, there and away.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::caller::{Caller, timed};
use crate::support::draft::{ask, get};
use crate::support::origin::Origin;
use crate::support::rig::{Rig, Wishes, eventually};
use crate::support::servers::{Place, Server};
use crate::support::{PATIENCE, free_addr};
use rustix::process::Signal;

/// A sidecar with a policy whose total is counted there.
fn replica(app: &Origin, store: SocketAddr, says: &str) -> Rig {
    let policy = format!(
        "apiVersion: outrigger/v1\nkind: RateLimitPolicy\nname: gate\nshare: service\nstore: redis://{store}\n{says}\n"
    );
    Rig::with(&Wishes { app: Some(app.addr), workers: Some(2), ..Wishes::default() }, &[policy])
}

fn asked(rig: &Rig, result: &str) -> u64 {
    rig.metric("rate_limit_store_total", &[("policy", "gate"), ("result", result)])
}

fn local(rig: &Rig) -> u64 {
    rig.metric("rate_limit_local_total", &[("policy", "gate")])
}

/// How many of so many calls, one after the other, pass; the rest is denied for the rate.
#[track_caller]
fn passed(rig: &Rig, calls: usize) -> usize {
    let mut caller = Caller::of(rig.inbound);
    let answers = (0..calls).map(|_| caller.send(&get("app")).unwrap());
    let allowed = answers.map(|answer| match (answer.status(), answer.reason()) {
        (200, _) => true,
        (429, "rate-limit") => false,
        other => panic!("neither passed nor denied: {other:?}"),
    });
    allowed.filter(|passed| *passed).count()
}

#[test]
fn rl_1_four_sidecars_pass_no_more_and_no_less_than_what_they_share() {
    let Some(redis) = Server::redis(Place::here()) else { return };
    let app = Origin::always(200);
    let rigs = [(); 4].map(|()| replica(&app, redis.place.addr, "total: {rate: 100/s, burst: 20}"));
    let (start, lasts) = (Instant::now(), Duration::from_secs(6));
    // Unlike ones, together four times the rate.
    let passed: usize = thread::scope(|scope| {
        let callers = rigs.each_ref().map(|rig| scope.spawn(move || calls(rig, start + lasts)));
        callers.map(|caller| caller.join().unwrap()).iter().sum()
    });
    let most = 100.0 * start.elapsed().as_secs_f64() + 20.0;
    assert!((0.95 * most..=1.05 * most).contains(&(passed as f64)), "{passed} passed, of {most}");
    let trips: u64 = rigs.iter().map(|rig| asked(rig, "granted") + asked(rig, "denied")).sum();
    assert!(trips * 2 < passed as u64, "{trips} round trips for {passed} that passed");
}

/// A hundred calls a second until then; how many passed.
fn calls(rig: &Rig, until: Instant) -> usize {
    let (mut caller, mut passed, mut next) = (Caller::of(rig.inbound), 0, Instant::now());
    while next < until {
        thread::sleep(next.saturating_duration_since(Instant::now()));
        passed += usize::from(caller.send(&get("app")).unwrap().status() == 200);
        next += Duration::from_millis(10);
    }
    passed
}

#[test]
fn rl_1_a_killed_store_costs_no_request_and_leaves_each_its_share() {
    let Some(mut redis) = Server::redis(Place::here()) else { return };
    let app = Origin::always(200);
    let rigs = [(); 2].map(|()| replica(&app, redis.place.addr, "total: {rate: 0.001/s, burst: 40}"));
    for rig in [&rigs[0], &rigs[1], &rigs[0]] {
        assert_eq!(passed(rig, 1), 1);
        thread::sleep(Duration::from_millis(1100));
    }
    redis.kill();
    for rig in &rigs {
        assert_eq!(passed(rig, 60), 20, "a half of the burst, and what was leased has lapsed");
        assert!(asked(rig, "failed") > 0 && local(rig) >= 60);
        assert!(rig.complaints().contains("the store is away"), "{}", rig.complaints());
    }
    redis.revive();
    eventually("a lease of the new store", || {
        passed(&rigs[0], 1);
        rigs[0].complaints().contains("the store is back").then_some(())
    });
    let before = local(&rigs[0]);
    assert_eq!(passed(&rigs[0], 10), 10);
    assert_eq!(local(&rigs[0]), before, "by the new store's bucket, not by the share");
}

#[test]
fn rl_1_four_sidecars_lose_no_request_when_the_store_is_killed() {
    let Some(mut redis) = Server::redis(Place::here()) else { return };
    let app = Origin::always(200);
    // Even a fourth of it is far more than they ask for.
    let rigs = [(); 4].map(|()| replica(&app, redis.place.addr, "total: {rate: 4000/s, burst: 1600}"));
    let call = |rig: &Rig, caller: &mut Caller| {
        let answer = caller.send(&get("app")).unwrap();
        assert_eq!((answer.status(), answer.field("retry-after")), (200, None), "{}", rig.complaints());
    };
    let killed = AtomicBool::new(false);
    thread::scope(|scope| {
        for rig in &rigs {
            let killed = &killed;
            scope.spawn(move || {
                let mut caller = Caller::of(rig.inbound);
                // Before, meanwhile, and for a while after.
                while !killed.load(Ordering::SeqCst) || local(rig) < 50 {
                    (0..10).for_each(|_| call(rig, &mut caller));
                    thread::sleep(Duration::from_millis(20));
                }
            });
        }
        eventually("leases for all", || rigs.iter().all(|rig| asked(rig, "granted") > 0).then_some(()));
        redis.kill();
        killed.store(true, Ordering::SeqCst);
    });
    assert!(rigs.iter().all(|rig| asked(rig, "failed") > 0 && local(rig) >= 50));
}

#[test]
fn rl_2_a_part_of_the_shared_burst_is_for_the_worthier() {
    let Some(redis) = Server::redis(Place::here()) else { return };
    let app = Origin::always(200);
    let policy = "total: {rate: 0.001/s, burst: 20}\npriorities:\n\
        - {match: {path: {type: PathPrefix, value: /pay}}, class: critical}\n\
        - {match: {path: {type: PathPrefix, value: /report}}, class: sheddable}";
    let rigs = [(); 2].map(|()| replica(&app, redis.place.addr, policy));
    let passed = |path, calls| {
        let mut callers = rigs.each_ref().map(|rig| Caller::of(rig.inbound));
        let mut statuses =
            (0..calls).map(|nth: usize| callers[nth % 2].send(&ask("GET", path, "app")).unwrap().status());
        statuses.by_ref().filter(|status| *status == 200).count()
    };
    let sheddable = passed("/report", 30);
    assert!((8..=10).contains(&sheddable), "{sheddable}: a half, or less where tokens lapsed");
    assert_eq!(passed("/report", 2), 0);
    let default = passed("/look", 20);
    assert!((4..=6).contains(&default), "{default}: up to four fifths");
    let critical = passed("/pay", 20);
    assert!((2..=4).contains(&critical), "{critical}: what is left");
}

#[test]
fn bp_1_who_passes_is_told_what_is_left_of_the_shared_limit() {
    let Some(redis) = Server::redis(Place::here()) else { return };
    let rig = replica(&Origin::always(200), redis.place.addr, "total: {rate: 0.001/s, burst: 40}");
    let mut caller = Caller::of(rig.inbound);
    for most in [39, 38, 37] {
        let answer = caller.send(&get("app")).unwrap();
        let number = |name| answer.field(name).unwrap().parse::<u64>().unwrap();
        assert_eq!((answer.status(), number("ratelimit-limit")), (200, 40));
        let left = number("ratelimit-remaining");
        assert!((most - 3..=most).contains(&left), "{left} left, not {most}: it is alone");
        assert_eq!(number("ratelimit-reset"), (40 - left) * 1000);
        assert_eq!(answer.field("ratelimit-policy"), Some("1;w=1000;burst=40"));
    }
}

#[test]
fn rl_1_a_store_that_hangs_holds_up_nobody_for_long() {
    let Some(redis) = Server::redis(Place::here()) else { return };
    let app = Origin::always(200);
    let rig = replica(&app, redis.place.addr, "total: {rate: 1000/s, burst: 100}");
    assert_eq!(passed(&rig, 1), 1);
    redis.signal(Signal::STOP);
    let (passes, took) = timed(|| passed(&rig, 50));
    assert_eq!(passes, 50);
    assert!(took < PATIENCE / 4, "{took:?}");
    assert!(asked(&rig, "late") > 0 && local(&rig) > 0);
    redis.signal(Signal::CONT);
    eventually("its answers", || {
        let before = local(&rig);
        (passed(&rig, 1) == 1 && local(&rig) == before).then_some(())
    });
}

#[test]
fn rl_1_a_store_that_was_never_there_stops_nothing() {
    let app = Origin::always(200);
    let rig = replica(&app, free_addr(), "total: {rate: 0.001/s, burst: 5}");
    assert_eq!(passed(&rig, 20), 5, "nobody else is known to share it");
    assert_eq!(local(&rig), 20);
    assert!(asked(&rig, "failed") > 0);
}

#[test]
fn rl_6_above_the_shared_rate_some_wait_their_turn() {
    let Some(redis) = Server::redis(Place::here()) else { return };
    let app = Origin::always(200);
    let queue = "total: {rate: 2/s, burst: 1, queueTimeout: 5s, maxPending: 4}";
    let rig = replica(&app, redis.place.addr, queue);
    let call = || Caller::of(rig.inbound).send(&get("app")).unwrap().status();
    let (statuses, took) =
        timed(|| thread::scope(|scope| [(); 3].map(|()| scope.spawn(call)).map(|call| call.join().unwrap())));
    assert_eq!(statuses, [200; 3]);
    assert!(took >= Duration::from_millis(990), "{took:?}");
    assert!(rig.metric("rate_limit_decisions_total", &[("decision", "queued")]) >= 1);
}

#[test]
fn rl_8_a_dry_run_waits_for_no_store_and_denies_nobody() {
    let app = Origin::always(200);
    let rig = replica(&app, free_addr(), "mode: dryRun\ntotal: {rate: 0.001/s, burst: 5}");
    assert_eq!(passed(&rig, 1), 1);
    eventually("that the store is away", || (asked(&rig, "failed") > 0).then_some(()));
    assert_eq!(passed(&rig, 20), 20);
    let denied = [("policy", "gate"), ("mode", "dry_run"), ("decision", "denied-rate")];
    rig.counts("rate_limit_decisions_total", &denied, 15);
}
