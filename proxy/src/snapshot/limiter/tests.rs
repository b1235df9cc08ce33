use std::net::IpAddr;
use std::num::NonZeroU32;

use http::{HeaderMap, HeaderName, Method};
use outrigger_config::Source;
use outrigger_config::model::priority::{Order, Shares};
use outrigger_config::model::{
    FairSharing, KeyBy, Location, Name, PathMatch, PerKey, QueueLimits, RateLimit, RouteMatch, Share, Total,
};

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn name() -> Name {
    let text = "{apiVersion: outrigger/v1, kind: Sidecar, name: gate, outbound: {}}".to_owned();
    outrigger_config::parse(&[Source { name: "a.yaml".to_owned(), text }]).unwrap().sidecar.name
}

fn below(path: &str) -> RouteMatch {
    RouteMatch { path: PathMatch::Prefix(path.to_owned()), method: None, headers: vec![], query: vec![] }
}

fn policy() -> RateLimitPolicy {
    RateLimitPolicy {
        name: name(),
        mode: Mode::Enforce,
        direction: Direction::Inbound,
        hosts: vec![HostPattern::Any],
        matches: vec![below("")],
        total: None,
        per_key: vec![],
        concurrency: None,
        priorities: vec![],
        location: Location { file: "".into(), line: 1, column: 1 },
    }
}

fn total(rate: f64, burst: u32, queue: Option<QueueLimits>) -> Total {
    Total { limit: RateLimit { rate, burst }, queue, share: Share::Replica }
}

fn per_source(limit: Option<RateLimit>, max_concurrent: Option<u32>) -> PerKey {
    let by = KeyBy { source: true, ..KeyBy::default() };
    PerKey { by, limit, max_concurrent: max_concurrent.and_then(NonZeroU32::new), max_keys: 10 }
}

fn concurrency(max: u32, fair_share: Option<FairSharing>) -> Concurrency {
    let queue = QueueLimits { capacity: 0, timeout: SECOND };
    let max = NonZeroU32::new(max).unwrap();
    Concurrency { max, adaptive: None, shares: Shares::ALL, queue, fair_share }
}

fn limiter(policy: &RateLimitPolicy, now: Instant) -> RateLimiter {
    RateLimiter::new(policy, &name(), None, (&Metrics::new(1, 1000), &Arc::default()), now)
}

/// Asks for one caller, known by its last octet; what it was given is kept.
fn ask(limiter: &RateLimiter, caller: u8, class: Class, now: Instant) -> Result<Admission<'_>, Denial<'_>> {
    let mut admission = Admission::default();
    let headers = HeaderMap::new();
    let caller = Caller { source: IpAddr::from([10, 0, 0, caller]), identity: None, headers: &headers };
    limiter.take(&caller, class, (now, now + SECOND * 60), 0.5, &mut admission).map(|_| admission)
}

#[test]
fn rl_1_a_rate_is_exact_over_all_threads() {
    let start = Instant::now();
    let limiter = limiter(&RateLimitPolicy { total: Some(total(100.0, 20, None)), ..policy() }, start);
    // Twice the rate for ten seconds, by two threads at the same moments.
    let passed = |limiter: &RateLimiter| {
        let moments = (0..1000).map(|nth| start + nth * SECOND / 100);
        moments.filter(|now| ask(limiter, 1, Class::Default, *now).is_ok()).count()
    };
    let count = std::thread::scope(|scope| {
        let threads = [(); 2].map(|()| scope.spawn(|| passed(&limiter)));
        threads.map(|thread| thread.join().unwrap()).iter().sum::<usize>()
    });
    assert!((1000..=1020).contains(&count), "{count} passed");
}

#[test]
fn rl_2_worthier_requests_lose_nothing_to_the_crowd() {
    let start = Instant::now();
    let priorities = vec![(below("/pay"), Class::Critical)];
    let limits = RateLimitPolicy { total: Some(total(1000.0, 200, None)), priorities, ..policy() };
    let limiter = limiter(&limits, start);
    let mut lost = [0; 3];
    // Twice the rate: a quarter critical, a quarter sheddable.
    for nth in 0..8000u32 {
        let class = [Class::Critical, Class::Default, Class::Sheddable, Class::Default][nth as usize % 4];
        lost[class as usize] += u32::from(ask(&limiter, 1, class, start + nth * SECOND / 2000).is_err());
    }
    assert_eq!(lost[0], 0, "of 2,000 critical ones at twice the rate");
    assert!(lost[2] > 1700, "sheddable ones make room: {lost:?}");
}

#[test]
fn rl_4_a_caller_has_so_many_in_flight_and_no_more() {
    let now = Instant::now();
    let limiter = limiter(&RateLimitPolicy { per_key: vec![per_source(None, Some(2))], ..policy() }, now);
    let held = [(); 2].map(|()| ask(&limiter, 1, Class::Default, now).unwrap());
    assert!(matches!(ask(&limiter, 1, Class::Critical, now), Err(Denial::Caller)));
    assert!(ask(&limiter, 2, Class::Default, now).is_ok());
    drop(held);
    assert!(ask(&limiter, 1, Class::Default, now).is_ok());
}

#[test]
fn rl_4_who_is_turned_away_by_all_has_spent_nothing_of_its_own() {
    let now = Instant::now();
    let own = per_source(Some(RateLimit { rate: 1.0, burst: 2 }), Some(1));
    let limits = RateLimitPolicy { per_key: vec![own], total: Some(total(1.0, 1, None)), ..policy() };
    let limiter = limiter(&limits, now);
    assert!(ask(&limiter, 1, Class::Default, now).is_ok());
    for _ in 0..5 {
        assert!(matches!(ask(&limiter, 1, Class::Default, now), Err(Denial::Rate(_))));
    }
    assert!(ask(&limiter, 1, Class::Default, now + SECOND).is_ok());
}

#[test]
fn rl_5_one_greedy_caller_costs_the_others_nothing() {
    let start = Instant::now();
    let by = KeyBy { source: true, ..KeyBy::default() };
    let sharing = FairSharing { by, order: Order::GreedyFirst, max_keys: 100 };
    let limiter =
        limiter(&RateLimitPolicy { concurrency: Some(concurrency(100, Some(sharing))), ..policy() }, start);
    let places = limiter.places.as_ref().unwrap();
    let mut inside = std::collections::VecDeque::new();
    let (mut others, mut lost) = (0, 0);
    let mut rng = fastrand::Rng::with_seed(7);
    for nth in 0..60_000u32 {
        let now = start + nth * SECOND / 3000;
        // Each is served for fifty milliseconds; one of ten callers asks ten times as much as the others.
        while inside.front().is_some_and(|(until, _)| *until <= now) {
            inside.pop_front();
        }
        let caller = u8::try_from(rng.u32(0..19).saturating_sub(9)).unwrap();
        let headers = HeaderMap::new();
        let asks = Caller { source: IpAddr::from([10, 0, 0, caller]), identity: None, headers: &headers };
        let mut admission = Admission::default();
        let fair =
            limiter.take(&asks, Class::Default, (now, now + SECOND * 60), rng.f64(), &mut admission).is_ok();
        let place = fair.then(|| places.try_enter(Class::Default)).flatten();
        if fair && place.is_none() {
            limiter.turned_away();
        }
        if nth > 6000 && caller > 0 {
            others += 1;
            lost += u32::from(place.is_none());
        }
        inside.extend(place.map(|place| (now + SECOND / 20, place)));
    }
    assert!(lost * 100 <= others, "{lost} of {others} requests of modest callers were lost");
}

#[test]
fn rl_6_what_is_over_waits_its_turn_and_the_rest_is_denied() {
    let now = Instant::now();
    let queue = Some(QueueLimits { capacity: 3, timeout: SECOND });
    let limits = RateLimitPolicy { total: Some(total(10.0, 1, queue)), ..policy() };
    let limiter = limiter(&limits, now);
    let headers = HeaderMap::new();
    let caller = Caller { source: IpAddr::from([10, 0, 0, 1]), identity: None, headers: &headers };
    let take = |_| {
        limiter.take(&caller, Class::Default, (now, now + SECOND * 60), 0.5, &mut Admission::default()).ok()
    };
    let waits: Vec<_> = (0..6).map_while(take).collect();
    assert_eq!(waits, [0, 100, 200, 300].map(Duration::from_millis));
}

#[test]
fn rl_6_nobody_waits_for_a_token_that_comes_after_its_deadline() {
    let now = Instant::now();
    let queue = Some(QueueLimits { capacity: 9, timeout: SECOND * 60 });
    let limiter = limiter(&RateLimitPolicy { total: Some(total(1.0, 1, queue)), ..policy() }, now);
    let headers = HeaderMap::new();
    let caller = Caller { source: IpAddr::from([10, 0, 0, 1]), identity: None, headers: &headers };
    let waits = |patience| {
        let mut admission = Admission::default();
        limiter.take(&caller, Class::Default, (now, now + patience), 0.5, &mut admission)
    };
    assert_eq!(waits(SECOND).unwrap(), Duration::ZERO);
    let Err(Denial::Rate(quota)) = waits(SECOND / 2) else { panic!("its token comes in a second") };
    assert_eq!(quota.fields.retry_after, Some(1));
    assert_eq!(waits(SECOND).unwrap(), SECOND, "who was denied owes nothing");
}

#[test]
fn rl_8_a_dry_run_that_is_enforced_keeps_its_gauges() {
    let (now, metrics, mut crowds) = (Instant::now(), Metrics::new(1, 1000), Crowds::default());
    let mut build = |mode, known: &[_]| {
        let limits = RateLimitPolicy { mode, concurrency: Some(concurrency(5, None)), ..policy() };
        build(&[limits], &name(), known, (&metrics, &mut crowds), now)
    };
    let dry = build(Mode::DryRun, &[]);
    let _inside = dry[0].places.as_ref().unwrap().try_enter(Class::Default).unwrap();
    let _enforced = build(Mode::Enforce, &dry);
    let scrape = metrics.render().1;
    for (family, count) in [("in_flight", 1), ("waiting", 0), ("now", 5)] {
        let row =
            |mode| format!("outrigger_rate_limit_{family}{{policy=\"gate\",mode=\"{mode}\"}} {count}\n");
        assert!(scrape.contains(&row("enforce")) && !scrape.contains(&row("dry_run")), "{family}: {scrape}");
    }
}

#[test]
fn rl_7_keys_are_told_apart_and_bounded() {
    let now = Instant::now();
    let by = KeyBy { header: Some(HeaderName::from_static("x-tenant")), ..KeyBy::default() };
    let each =
        PerKey { by, limit: Some(RateLimit { rate: 1.0, burst: 1 }), max_concurrent: None, max_keys: 2 };
    let limiter = limiter(&RateLimitPolicy { per_key: vec![each], ..policy() }, now);
    let asks = |tenant: &'static str| {
        let headers = HeaderMap::from_iter([(HeaderName::from_static("x-tenant"), tenant.parse().unwrap())]);
        let mut admission = Admission::default();
        let caller = Caller { source: IpAddr::from([10, 0, 0, 1]), identity: None, headers: &headers };
        let passed =
            limiter.take(&caller, Class::Default, (now, now + SECOND * 60), 0.5, &mut admission).is_ok();
        (passed, admission.overflowed())
    };
    assert_eq!([asks("a"), asks("b")], [(true, false); 2]);
    assert_eq!(asks("a"), (false, false));
    assert_eq!(asks("c"), (true, true), "who finds no cell shares one");
    assert_eq!(asks("d"), (false, false));
}

#[test]
fn rl_7_a_policy_concerns_what_it_matches() {
    let mut limits = policy();
    (limits.hosts, limits.matches) = (vec![HostPattern::Exact("shop".to_owned())], vec![below("/buy")]);
    limits.priorities = vec![(below("/buy/now"), Class::Critical), (below("/buy"), Class::Sheddable)];
    let limiter = limiter(&limits, Instant::now());
    let headers = HeaderMap::new();
    let of = |host, path| Request { host, path, query: None, method: &Method::GET, headers: &headers };
    assert!(limiter.concerns(Direction::Inbound, &of("shop", "/buy/now")));
    assert!(!limiter.concerns(Direction::Outbound, &of("shop", "/buy/now")));
    assert!(!limiter.concerns(Direction::Inbound, &of("shop", "/look")));
    assert!(!limiter.concerns(Direction::Inbound, &of("bank", "/buy")));
    assert_eq!(limiter.class(&of("shop", "/buy/now")), Some(Class::Critical));
    assert_eq!(limiter.class(&of("shop", "/buy/later")), Some(Class::Sheddable));
    assert_eq!(limiter.class(&of("shop", "/look")), None);
}

#[test]
fn rl_8_a_dry_run_decides_and_tells_nobody() {
    let now = Instant::now();
    let dry = RateLimitPolicy { mode: Mode::DryRun, total: Some(total(1.0, 1, None)), ..policy() };
    let limiter = limiter(&dry, now);
    assert!(ask(&limiter, 1, Class::Default, now).unwrap().quota().is_none());
    assert!(ask(&limiter, 1, Class::Default, now).is_err());
}

#[test]
fn bp_1_the_tightest_limit_is_told_of() {
    let now = Instant::now();
    let own = per_source(Some(RateLimit { rate: 10.0, burst: 5 }), None);
    let limits = RateLimitPolicy { per_key: vec![own], total: Some(total(100.0, 50, None)), ..policy() };
    let limiter = limiter(&limits, now);
    let quota = ask(&limiter, 1, Class::Default, now).unwrap().quota().unwrap();
    assert_eq!((quota.fields.limit, quota.fields.remaining, quota.policy), (5, 4, "10;w=1;burst=5"));
}

#[test]
fn rl_1_a_reload_forgives_no_debt() {
    let now = Instant::now();
    let metrics = Metrics::new(1, 1000);
    let of = |rate, burst| RateLimitPolicy {
        total: Some(total(rate, burst, None)),
        per_key: vec![per_source(None, Some(1))],
        concurrency: Some(concurrency(5, None)),
        ..policy()
    };
    let mut crowds = Crowds::default();
    let mut build = |limits, known: &[_], now| build(&[limits], &name(), known, (&metrics, &mut crowds), now);
    let first = build(of(1.0, 2), &[], now);
    let held = ask(&first[0], 1, Class::Default, now).unwrap();
    assert!(Arc::ptr_eq(&first[0], &build(of(1.0, 2), &first, now)[0]));
    let second = build(of(1.0, 3), &first, now + SECOND / 10);
    assert!(matches!(ask(&second[0], 1, Class::Default, now + SECOND / 10), Err(Denial::Caller)));
    let passed = (2..9).filter(|caller| ask(&second[0], *caller, Class::Default, now + SECOND / 10).is_ok());
    assert_eq!(passed.count(), 2, "one token is spent");
    drop(held);
    assert!(ask(&second[0], 1, Class::Default, now + SECOND * 9).is_ok());
    assert!(Arc::ptr_eq(first[0].places.as_ref().unwrap(), second[0].places.as_ref().unwrap()));
}

#[test]
fn rl_4_who_has_proved_who_it_is_has_a_cell_of_its_own_wherever_it_comes_from() {
    let now = Instant::now();
    let by = KeyBy { identity: true, ..KeyBy::default() };
    let one = RateLimit { rate: 1.0, burst: 1 };
    let each = PerKey { by, limit: Some(one), max_concurrent: None, max_keys: 10 };
    let limiter = limiter(&RateLimitPolicy { per_key: vec![each], ..policy() }, now);
    let headers = HeaderMap::new();
    let asks = |source: u8, identity| {
        let caller = Caller { source: IpAddr::from([10, 0, 0, source]), identity, headers: &headers };
        limiter
            .take(&caller, Class::Default, (now, now + SECOND * 60), 0.5, &mut Admission::default())
            .is_ok()
    };
    assert_eq!([asks(1, Some("shop")), asks(2, Some("shop"))], [true, false], "two machines of one caller");
    assert_eq!([asks(1, Some("bank")), asks(1, None)], [true; 2], "one machine of several");
    assert_eq!([asks(1, None), asks(2, None)], [false, true]);
}

#[test]
fn bp_4_each_limit_hears_once_how_its_own_request_went() {
    let now = Instant::now();
    let adaptive = Some(outrigger_config::model::Applied {
        mode: Mode::Enforce,
        policy: outrigger_config::model::AdaptiveLimit { min: 1, max: 100 },
    });
    let rules = Rules {
        max: None,
        adaptive,
        shares: Shares::ALL,
        queue: QueueLimits { capacity: 0, timeout: SECOND },
    };
    let limit = || Bulkhead::new(rules, Arc::default(), now, 0.5);
    let [policy, first, other] = [limit(), limit(), limit()];
    // A stand-in that answers, for an upstream that has too much.
    for nth in 0..120u32 {
        let now = now + SECOND / 100 * nth;
        let mut admission = Admission::default();
        admission.hold(policy.try_enter(Class::Default).unwrap());
        admission.ask(first.try_enter(Class::Default).unwrap());
        assert!(admission.adapts());
        admission.ended(Ended::TooMuch, now);
        admission.vacate();
        assert!(!admission.adapts(), "all has been told");
        admission.ask(other.try_enter(Class::Default).unwrap());
        admission.ended(Ended::Answered(Duration::ZERO), now);
    }
    let fits = |limit: &Arc<Bulkhead>| {
        std::iter::from_fn(|| limit.try_enter(Class::Default)).take(99).collect::<Vec<_>>().len()
    };
    assert_eq!(fits(&policy), fits(&first), "both know of the failures, and of nothing else");
    assert!(fits(&first) < fits(&other), "{} and {}", fits(&first), fits(&other));
}
