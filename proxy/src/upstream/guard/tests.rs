use std::cell::Cell;

use outrigger_config::Source;
use outrigger_config::model::Config;

use super::*;
use crate::policy::health::Check;
use crate::policy::outcome::ConnectFailure;
use crate::policy::outcome::tests::status;
use crate::telemetry::Metrics;
use crate::upstream::Stand;

const MS: fn(u64) -> Duration = Duration::from_millis;
const SECOND: Duration = Duration::from_secs(1);

/// The upstream `up` with these endpoints and settings, in `eu/a`.
fn config(endpoints: &str, settings: &str) -> Config {
    let text = format!(
        "apiVersion: outrigger/v1\nkind: Sidecar\nname: tests\nlocality: eu/a\noutbound: {{}}\n---\n\
         apiVersion: outrigger/v1\nkind: Upstream\nname: up\ndiscovery: {{static: [{endpoints}]}}\n{settings}\n"
    );
    let files = [Source { name: "a.yaml".to_owned(), text }];
    outrigger_config::parse(&files).unwrap_or_else(|errors| panic!("{errors}"))
}

fn upstream(endpoints: &str, settings: &str, old: Option<&Upstream>, now: Instant) -> Arc<Upstream> {
    let Config { sidecar, upstreams, .. } = config(endpoints, settings);
    let metrics = Metrics::new(1, 1000).upstream("up");
    let crowd = old.map(|old| Arc::clone(&old.crowd)).unwrap_or_default();
    let stand = Stand { near: sidecar.locality.clone(), dialed: None };
    Upstream::new(upstreams[0].clone(), None, &stand, metrics, crowd, old, now)
}

/// One attempt; whom it met, by port.
fn attempt(upstream: &Upstream, code: impl Fn(u16) -> u16, now: Instant) -> Result<u16, Refusal> {
    let mut rng = fastrand::Rng::with_seed(SEED.replace(SEED.get() + 1));
    let mut load = upstream.pick(&[], None, &mut rng, now)?;
    let (port, outcome) = (load.addr.port(), status(code(load.addr.port())));
    upstream.report(&mut load, &outcome, at_once(now), now);
    upstream.conclude(&mut load, &outcome, || now);
    Ok(port)
}

/// All was sent at once.
fn at_once(now: Instant) -> Asked {
    Asked { turn: Some(now), whole: Some(now) }
}

/// How many of so many attempts each of the ports 1 to 4 got, all answered 200.
fn shares(upstream: &Upstream, attempts: u32, now: Instant) -> [u32; 4] {
    let mut shares = [0; 4];
    for _ in 0..attempts {
        shares[usize::from(attempt(upstream, |_| 200, now).expect("somebody is fit")) - 1] += 1;
    }
    shares
}

/// Checks find an endpoint well, or not.
fn check(upstream: &Upstream, nth: usize, found: Check, now: Instant) {
    let thresholds = upstream.config.health_check.as_ref().expect("it is checked").thresholds;
    let condition = &upstream.roster().endpoints[nth].condition;
    condition.next_check(&thresholds, now);
    condition.on_check(found, now);
    upstream.wake(now);
}

thread_local! {
    /// Each pick has another, and each run of a test the same.
    static SEED: Cell<u64> = const { Cell::new(0) };
}

const FOUR: &str = "10.0.0.1:1, 10.0.0.2:2, 10.0.0.3:3, 10.0.0.4:4";
const TURNS: &str = "loadBalancer: {policy: round-robin}";

#[test]
fn lb_13_who_is_ejected_time_and_again_is_told() {
    let mut now = Instant::now();
    let settings = format!(
        "{TURNS}\noutlierDetection: {{consecutiveFailures: 1, baseEjectionTime: 1s, maxEjectionTime: 1s}}"
    );
    let up = upstream("10.0.0.1:1, 10.0.0.2:2", &settings, None, now);
    for ejections in 1..=6 {
        while !up.roster().endpoints[0].condition.is_ejected() {
            attempt(&up, |port| if port == 1 { 503 } else { 200 }, now).expect("the other one serves");
        }
        let told = up.metrics.guards.chronic_count();
        assert_eq!(told, u64::from(ejections > 5), "after {ejections} ejections");
        now += 2 * SECOND;
        up.wake(now);
    }
}

#[test]
fn lb_5_an_ejection_ends_by_time_for_whoever_picks() {
    let now = Instant::now();
    let settings = format!("{TURNS}\noutlierDetection: {{consecutiveFailures: 1, baseEjectionTime: 1s}}");
    let up = upstream(FOUR, &settings, None, now);
    while up.roster().wakes.is_none() {
        attempt(&up, |port| if port == 3 { 500 } else { 200 }, now).expect("others serve");
    }
    assert_eq!(shares(&up, 30, now)[2], 0);
    assert_eq!(shares(&up, 40, now + 2 * SECOND)[2], 10);
}

#[test]
fn lb_6_a_smaller_set_frees_the_ejected() {
    let now = Instant::now();
    let settings = format!("{TURNS}\noutlierDetection: {{consecutiveFailures: 1, baseEjectionTime: 30s}}");
    let up = upstream("10.0.0.1:1, 10.0.0.2:2", &settings, None, now);
    while up.roster().wakes.is_none() {
        attempt(&up, |port| if port == 1 { 500 } else { 200 }, now).expect("the other serves");
    }
    up.publish(&["10.0.0.1:1".parse().unwrap()], now);
    assert_eq!(attempt(&up, |_| 200, now), Ok(1), "of one, nobody is ejected");
}

/// Outlier detection is switched off while somebody is ejected, and on again.
#[test]
fn lb_5_an_ejection_ends_in_its_time_although_a_reload_switched_it_off_and_on() {
    let now = Instant::now();
    let on = format!("{TURNS}\noutlierDetection: {{consecutiveFailures: 1, baseEjectionTime: 30s}}");
    let two = "10.0.0.1:1, 10.0.0.2:2";
    let first = upstream(two, &on, None, now);
    while first.roster().wakes.is_none() {
        attempt(&first, |port| if port == 1 { 503 } else { 200 }, now).expect("the other serves");
    }
    let off = upstream(two, &format!("{TURNS}\noutlierDetection: {{mode: off}}"), Some(&first), now);
    assert_eq!(shares(&off, 10, now), [5, 5, 0, 0], "nobody judges");
    let again = upstream(two, &on, Some(&off), now);
    assert_eq!(shares(&again, 10, now), [0, 10, 0, 0], "its time is not up");
    assert_eq!(shares(&again, 10, now + 45 * SECOND), [5, 5, 0, 0]);
}

/// An attempt that began under the last generation opens a circuit: the next one's roster does not know of it yet.
#[test]
fn cb_9_an_attempt_of_the_last_generation_is_heard_by_the_next() {
    let now = Instant::now();
    let first = upstream("10.0.0.1:1", &EACH.replace("outlierDetection: {mode: off}", ""), None, now);
    let mut rng = fastrand::Rng::with_seed(1);
    let mut late = [(); 2].map(|()| first.pick(&[], None, &mut rng, now).expect("it is closed"));
    let next = upstream("10.0.0.1:1", EACH, Some(&first), now);
    for load in &mut late {
        first.report(load, &status(503), at_once(now), now);
    }
    let Err(Refusal::Open { .. }) = attempt(&next, |_| 200, now) else {
        panic!("it is open, and that is why")
    };
}

#[test]
fn lb_8_who_returns_begins_with_little() {
    let now = Instant::now();
    let settings =
        "loadBalancer: {policy: round-robin, slowStart: 10s}\nhealthCheck: {tcp: true, healthyAfter: 1}";
    let up = upstream(FOUR, settings, None, now);
    let now = now + 20 * SECOND;
    assert_eq!(shares(&up, 400, now), [100; 4], "all are warm");
    check(&up, 0, Check::Failed, now);
    assert_eq!(shares(&up, 300, now)[0], 0);
    check(&up, 0, Check::Ready, now);
    let [returned, ..] = shares(&up, 4000, now);
    assert!((50..160).contains(&returned), "a tenth of a thousand: {returned}");
    let [halfway, ..] = shares(&up, 4000, now + 5 * SECOND);
    assert!((480..620).contains(&halfway), "{halfway}");
    assert_eq!(shares(&up, 400, now + 10 * SECOND), [100; 4]);
}

#[test]
fn lb_9_a_zone_keeps_what_it_can_bear() {
    let now = Instant::now();
    let settings = "loadBalancer:\n  policy: round-robin\n  localities:\n  \
                    - {locality: eu/a, addresses: [10.0.0.1, 10.0.0.2]}\n  \
                    - {locality: eu/b, addresses: [10.0.0.3]}\n  \
                    - {locality: us/a, addresses: [10.0.0.4]}\nhealthCheck: {tcp: true, healthyAfter: 1}";
    let up = upstream(FOUR, settings, None, now);
    let [one, two, ..] = shares(&up, 100, now);
    assert_eq!(one + two, 100, "all of it stays");
    check(&up, 0, Check::Failed, now);
    let [gone, kept, spilled, far] = shares(&up, 4000, now);
    assert!(
        gone == 0 && far == 0 && (2600..3000).contains(&kept) && kept + spilled == 4000,
        "70 % of {kept}"
    );
    check(&up, 1, Check::Failed, now);
    assert_eq!(shares(&up, 100, now)[2], 100, "the next zone of the region");
    check(&up, 2, Check::Failed, now);
    assert_eq!(shares(&up, 100, now)[3], 100);
}

#[test]
fn rt_11_a_retry_goes_to_whom_it_has_not_met_even_far_away() {
    let now = Instant::now();
    let settings = "loadBalancer:\n  localities: [{locality: eu/a, addresses: [10.0.0.1]}]";
    let up = upstream("10.0.0.1:1, 10.0.0.2:2", settings, None, now);
    let mut rng = fastrand::Rng::with_seed(1);
    let first = up.pick(&[], None, &mut rng, now).expect("somebody");
    assert_eq!(first.addr.port(), 1);
    assert_eq!(up.pick(&[first.id], None, &mut rng, now).expect("somebody").addr.port(), 2);
}

#[test]
fn lb_6_who_is_refused_everywhere_asks_the_ejected() {
    let now = Instant::now();
    let settings = "outlierDetection: {consecutiveFailures: 2, baseEjectionTime: 1m}";
    let up = upstream("10.0.0.1:1, 10.0.0.2:2", settings, None, now);
    let clock = Cell::new(now);
    let ends = |nth: usize, outcome: &Outcome| {
        let now = clock.replace(clock.get() + MS(1));
        let tried = [up.roster().endpoints[1 - nth].id];
        let mut load = up.pick(&tried, None, &mut fastrand::Rng::with_seed(1), now).expect("the other");
        up.report(&mut load, outcome, at_once(now), now);
        up.conclude(&mut load, outcome, || now);
        load.addr.port()
    };
    let refused = Outcome::ConnectFailure(ConnectFailure::Refused);
    assert_eq!([ends(0, &refused), ends(0, &refused)], [1, 1]);
    assert_eq!(
        [ends(1, &status(200)), ends(0, &status(503))],
        [2, 2],
        "the first is ejected, and left alone"
    );
    assert_eq!([ends(0, &refused), ends(0, &refused)], [2, 1], "unless the other refuses connections");
    assert_eq!(
        [ends(0, &status(200)), ends(1, &status(200))],
        [1, 2],
        "who has not met it is sent to who serves"
    );
    clock.set(clock.get() + SECOND);
    assert_eq!(ends(0, &status(200)), 2, "which may have stopped refusing");
    // It takes a second to learn that nobody is there, where nobody says so.
    let began = clock.get();
    let tried = [up.roster().endpoints[0].id];
    let mut load = up.pick(&tried, None, &mut fastrand::Rng::with_seed(1), began).expect("the other");
    clock.set(began + SECOND);
    up.report(&mut load, &refused, at_once(began), clock.get());
    drop(load);
    assert_eq!(ends(0, &status(200)), 1, "that it was begun long ago does not matter");
}

#[test]
fn lb_6_a_retry_never_wakes_the_dead() {
    let now = Instant::now();
    let up = upstream("10.0.0.1:1, 10.0.0.2:2", "healthCheck: {tcp: true}", None, now);
    check(&up, 1, Check::Failed, now);
    let mut rng = fastrand::Rng::with_seed(1);
    let tried = up.roster().endpoints[0].id;
    assert_eq!(up.pick(&[tried], None, &mut rng, now).expect("rather twice").addr.port(), 1);
    check(&up, 0, Check::Failed, now);
    assert_eq!(up.pick(&[tried], None, &mut rng, now).map(|_| ()), Err(Refusal::Unfit));
    assert!(up.is_closed_off(now));
}

const EACH: &str = "circuitBreaker: {scope: endpoint, consecutive: 2, backoff: {base: 1s, max: 1s}}\n\
                    outlierDetection: {mode: off}\nloadBalancer: {policy: round-robin}";

#[test]
fn cb_8_a_replica_comes_back_by_a_trial_of_its_own() {
    let now = Instant::now();
    let up = upstream("10.0.0.1:1, 10.0.0.2:2", EACH, None, now);
    for _ in 0..4 {
        attempt(&up, |port| if port == 1 { 503 } else { 200 }, now).expect("the other serves");
    }
    assert_eq!(shares(&up, 10, now), [0, 10, 0, 0]);
    let now = now + 2 * SECOND;
    let mut rng = fastrand::Rng::with_seed(1);
    let trial =
        (0..2).map(|_| up.pick(&[], None, &mut rng, now).expect("both")).find(|load| load.addr.port() == 1);
    let mut trial = trial.expect("it is its turn again");
    assert_eq!(shares(&up, 10, now), [0, 10, 0, 0], "one trial is enough");
    up.report(&mut trial, &status(200), at_once(now), now);
    assert_eq!(shares(&up, 10, now), [0, 10, 0, 0], "its content has not ended");
    up.conclude(&mut trial, &status(200), || now);
    assert_eq!(shares(&up, 10, now), [5, 5, 0, 0]);
}

#[test]
fn cb_9_what_is_known_of_endpoints_outlives_a_reload() {
    let now = Instant::now();
    let up = upstream("10.0.0.1:1, 10.0.0.2:2", EACH, None, now);
    for _ in 0..4 {
        attempt(&up, |port| if port == 1 { 503 } else { 200 }, now).expect("the other serves");
    }
    let next = upstream("10.0.0.1:1, 10.0.0.2:2, 10.0.0.3:3", &EACH.replace(": 2", ": 3"), Some(&up), now);
    assert_eq!(shares(&next, 18, now), [0, 9, 9, 0]);
}

#[test]
fn cb_3_all_open_says_when_to_come_back() {
    let now = Instant::now();
    let up = upstream("10.0.0.1:1, 10.0.0.2:2", EACH, None, now);
    while attempt(&up, |_| 503, now).is_ok() {}
    let Err(Refusal::Open { retry_after }) = attempt(&up, |_| 503, now) else { panic!("both are open") };
    assert!((MS(1000)..=MS(1500)).contains(&retry_after), "{retry_after:?}");
}
