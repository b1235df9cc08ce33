//! Does a connection that its server is just closing fail a request? (REQUIREMENTS U4, U5)

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use crate::support::draft::{answer, get, post};
use crate::support::origin::{Habits, Origin, Reply};
use crate::support::rig::{Rig, upstream};

/// How long the server keeps an idle connection, and how often each client calls: the worst that can be.
const KEPT: Duration = Duration::from_millis(200);

/// A client's pause is between this and 4 ms more.
const EARLY: Duration = Duration::from_millis(198);

#[test]
fn u_4_u_5_the_keep_alive_race_fails_nobody() {
    let habits = Habits { idle: KEPT, ..Habits::default() };
    let origin = Origin::with(habits, |_, _| Reply::Answer(answer(200)));
    let rig = Rig::start(&[upstream("up", &[origin.addr], "")]);
    rig.storm(24, 12, |caller, nth| {
        let orders = nth % 4 == 3;
        let request =
            if orders { post("up", format!("{:?} {nth}", thread::current().id())) } else { get("up") };
        let said = caller.send(&request).unwrap();
        // What must not be sent twice may fail; everything else must not.
        let is_fine = said.status() == 200 || (orders && said.status() == 502);
        assert!(is_fine, "{}: {}", said.status(), said.reason());
        thread::sleep(EARLY + Duration::from_micros(rand_below(4000)));
    });
    let mut orders = BTreeMap::<_, usize>::new();
    for seen in origin.seen().into_iter().filter(|seen| seen.message.method() == "POST") {
        *orders.entry(seen.message.body).or_default() += 1;
    }
    assert!(orders.values().all(|times| *times == 1), "{orders:?}");
}

/// A server that says how long it keeps connections is believed.
#[test]
fn u_5_keep_alive_timeouts_are_honoured() {
    let origin = Origin::start(|_, _| Reply::Answer(answer(200).with("keep-alive", "timeout=1")));
    let rig = Rig::start(&[upstream("up", &[origin.addr], "")]);
    let mut caller = rig.caller();
    let mut connection = || {
        assert_eq!(caller.send(&get("up")).unwrap().status(), 200);
        origin.seen().last().unwrap().connection
    };
    assert_eq!((connection(), connection()), (0, 0), "used again while it is young");
    thread::sleep(Duration::from_millis(700));
    assert_eq!(connection(), 1, "half a second before its end it is left alone");
}

/// Uniform enough.
fn rand_below(bound: u64) -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(()) % bound
}
