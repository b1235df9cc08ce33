use outrigger_config::model::priority::{Class, Shares};
use proptest::prelude::*;

use super::*;

const LIMIT: RateLimit = RateLimit { rate: 100.0, burst: 20 };
/// Whose class does not matter.
const ANY: Class = Class::Default;
const MILLI: Duration = Duration::from_millis(1);

/// What the shared store does: GCRA, several tokens at once.
struct Store {
    limit: Gcra,
    cell: u64,
    granted: u32,
    trips: u32,
    /// Seconds within which it does not answer.
    away: std::ops::Range<u64>,
}

impl Store {
    fn grant(&mut self, asked: u32, now: Instant) -> Grant {
        self.trips += 1;
        let (mut tokens, mut retry_after) = (0, Duration::ZERO);
        while tokens < asked {
            match self.limit.take(self.cell, now) {
                Decision::Passed { cell, .. } => self.cell = cell,
                Decision::Denied { retry_after: next } => {
                    retry_after = next + Duration::from_secs_f64(f64::from(asked - 1) / LIMIT.rate);
                    break;
                }
            }
            tokens += 1;
        }
        self.granted += tokens;
        Grant { tokens, retry_after, sharers: 4, left: 0 }
    }
}

/// One replica, the requests that wait for its lease, and the lease on its way: when it comes, and how much.
struct Replica {
    lease: Lease,
    rate: f64,
    waiting: u32,
    asked: Option<(u64, u32)>,
}

#[derive(Debug, Default)]
struct Passed {
    offered: u32,
    /// By the store's tokens, and by the local share.
    leased: u32,
    local: u32,
    /// Longest wait for a lease that a request saw, in requests that waited.
    waited: u32,
}

struct Service {
    start: Instant,
    now: u64,
    store: Store,
    replicas: Vec<Replica>,
    rng: fastrand::Rng,
}

impl Service {
    fn new(rates: &[f64], seed: u64) -> Self {
        let start = Instant::now();
        let replica =
            |&rate| Replica { lease: Lease::new(LIMIT, &Shares::ALL, start), rate, waiting: 0, asked: None };
        Self {
            start,
            now: 0,
            store: Store { limit: Gcra::new(LIMIT, start), cell: 0, granted: 0, trips: 0, away: 0..0 },
            replicas: rates.iter().map(replica).collect(),
            rng: fastrand::Rng::with_seed(seed),
        }
    }

    /// In steps of a millisecond; a lease comes after 2.
    fn run(&mut self, seconds: u64) -> Passed {
        let mut passed = Passed::default();
        for _ in 0..seconds * 1000 {
            self.now += 1;
            let at = self.start + Duration::from_millis(self.now);
            let away = self.store.away.contains(&(self.now / 1000));
            for replica in &mut self.replicas {
                let mut requests = 0;
                if let Some((_, tokens)) = replica.asked.filter(|(due, _)| *due <= self.now) {
                    replica.asked = None;
                    if away {
                        replica.lease.store_failed(ANY, at);
                    } else {
                        let grant = self.store.grant(tokens, at);
                        replica.lease.granted(ANY, grant, at);
                    }
                    requests += std::mem::take(&mut replica.waiting);
                }
                if self.rng.f64() < replica.rate / 1000.0 {
                    requests += 1;
                    passed.offered += 1;
                }
                for _ in 0..requests {
                    replica.ask(at, self.now, &mut passed);
                }
            }
        }
        passed
    }
}

impl Replica {
    fn ask(&mut self, at: Instant, now: u64, passed: &mut Passed) {
        let asks = match self.lease.take(ANY, at) {
            Answer::Taken { renew, local } => {
                *(if local { &mut passed.local } else { &mut passed.leased }) += 1;
                renew
            }
            Answer::NeedsLease { tokens } => {
                (self.waiting, passed.waited) = (self.waiting + 1, passed.waited + 1);
                Some(tokens)
            }
            Answer::Pending => {
                assert!(self.asked.is_some(), "waits for nothing");
                (self.waiting, passed.waited) = (self.waiting + 1, passed.waited + 1);
                None
            }
            Answer::Denied { retry_after, renew, .. } => {
                assert!(!retry_after.is_zero());
                renew
            }
        };
        if let Some(tokens) = asks {
            assert!(self.asked.is_none() && tokens > 0, "one lease at a time");
            self.asked = Some((now + 2, tokens));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn rl_1_four_replicas_stay_within_five_percent_of_what_they_share(
        rates in prop::collection::vec(10.0..300.0f64, 4), seed in any::<u64>(),
    ) {
        let mut service = Service::new(&rates, seed);
        let seconds = 30;
        let passed = service.run(seconds);
        prop_assert!(passed.leased <= service.store.granted && passed.local == 0);
        let most = 100.0 * 30.0 + 20.0;
        prop_assert!(f64::from(passed.leased) <= 1.05 * most);
        let possible = most.min(f64::from(passed.offered));
        prop_assert!(f64::from(passed.leased) >= 0.95 * possible, "{passed:?} of {rates:?}");
        let trips = f64::from(service.store.trips);
        prop_assert!(trips < 0.5 * f64::from(passed.leased), "{trips} round trips for {passed:?} of {rates:?}");
    }

    /// With an absent store every replica has a fourth, and comes back by itself.
    #[test]
    fn rl_1_an_absent_store_costs_nobody_more_than_the_share(
        rates in prop::collection::vec(60.0..300.0f64, 4), seed in any::<u64>(),
    ) {
        let mut service = Service::new(&rates, seed);
        service.run(5);
        service.store.away = 5..35;
        let away = service.run(30);
        let sum = f64::from(away.local);
        prop_assert!((0.95 * 3_000.0..=1.05 * 3_000.0 + 20.0).contains(&sum), "{away:?}");
        prop_assert!(away.leased <= 40 && away.waited <= 8, "{away:?}");
        service.run(2);
        let back = service.run(10);
        prop_assert!(back.local == 0 && back.leased >= 950, "{back:?}");
    }

    #[test]
    fn rl_1_no_order_of_answers_makes_tokens(
        steps in prop::collection::vec((0u64..800, 0u8..4, 0u32..30), 1..400),
    ) {
        let mut now = Instant::now();
        let mut lease = Lease::new(LIMIT, &Shares::ALL, now);
        let (mut granted, mut taken) = (0, 0);
        for (later, step, tokens) in steps {
            now += MILLI * u32::try_from(later).unwrap();
            match step {
                0 => {
                    lease.granted(ANY, Grant { tokens, retry_after: Duration::ZERO, sharers: tokens, left: 0 }, now);
                    granted += tokens;
                }
                1 if tokens == 0 => lease.store_failed(ANY, now),
                _ => match lease.take(ANY, now) {
                    Answer::Taken { local, .. } => taken += u32::from(!local),
                    Answer::NeedsLease { tokens } => prop_assert!(tokens > 0),
                    Answer::Pending => prop_assert!(lease.lines[0].asking),
                    Answer::Denied { retry_after, .. } => prop_assert!(!retry_after.is_zero()),
                },
            }
            prop_assert!(taken <= granted, "{taken} of {granted}");
        }
    }
}

#[test]
fn a_first_outage_leaves_the_whole_limit_to_one_that_knows_no_other() {
    let start = Instant::now();
    let mut lease = Lease::new(LIMIT, &Shares::ALL, start);
    assert_eq!(lease.take(ANY, start), Answer::NeedsLease { tokens: 1 });
    assert_eq!(lease.take(ANY, start), Answer::Pending);
    lease.store_failed(ANY, start);
    assert_eq!(lease.take(ANY, start), Answer::Taken { renew: None, local: true });
    let later = start + RETRY;
    assert!(matches!(lease.take(ANY, later), Answer::Taken { renew: Some(_), local: true }));
    let more =
        (0..30).filter(|_| lease.take(ANY, later) == Answer::Taken { renew: None, local: true }).count();
    assert_eq!(more, 19, "the burst less one");
    assert_eq!(lease.take(ANY, later), Answer::Denied { retry_after: 10 * MILLI, renew: None, local: true });
}

#[test]
fn a_lease_lapses_and_a_share_is_a_share() {
    let start = Instant::now();
    let mut lease = Lease::new(LIMIT, &Shares::ALL, start);
    assert_eq!(lease.take(ANY, start), Answer::NeedsLease { tokens: 1 });
    lease.granted(ANY, Grant { tokens: 4, retry_after: Duration::ZERO, sharers: 2, left: 0 }, start);
    assert_eq!(lease.take(ANY, start), Answer::Taken { renew: None, local: false });
    assert!(
        matches!(lease.take(ANY, start), Answer::Taken { renew: Some(3), local: false }),
        "half are left"
    );
    assert_eq!(lease.take(ANY, start), Answer::Taken { renew: None, local: false }, "asked for already");
    assert_eq!(lease.take(ANY, start + LIFE), Answer::Pending);
    lease.granted(ANY, Grant { tokens: 0, retry_after: Duration::ZERO, sharers: 2, left: 0 }, start + LIFE);
    assert_eq!(
        lease.take(ANY, start + LIFE),
        Answer::Denied { retry_after: 10 * MILLI, renew: None, local: false }
    );
    lease.granted(ANY, Grant { tokens: 0, retry_after: 30 * MILLI, sharers: 2, left: 0 }, start + LIFE);
    assert_eq!(
        lease.take(ANY, start + LIFE),
        Answer::Denied { retry_after: 30 * MILLI, renew: None, local: false }
    );
    let grant = Grant { tokens: 3, retry_after: Duration::ZERO, sharers: 4, left: 0 };
    lease.granted(ANY, grant, start + 2 * LIFE);
    lease.granted(ANY, grant, start + 3 * LIFE);
    let taken = |lease: &mut Lease, now, local| {
        (0..99)
            .filter(|_| matches!(lease.take(ANY, now), Answer::Taken { local: by, .. } if by == local))
            .count()
    };
    assert_eq!(taken(&mut lease, start + 3 * LIFE, false), 3, "the first three have lapsed");
    lease.store_failed(ANY, start + 3 * LIFE);
    assert_eq!(taken(&mut lease, start + 3 * LIFE, true), 5, "a fourth of the burst");
}

#[test]
fn a_used_up_share_still_looks_for_the_store() {
    let start = Instant::now();
    let mut lease = Lease::new(RateLimit { rate: 0.001, burst: 1 }, &Shares::ALL, start);
    lease.store_failed(ANY, start);
    assert_eq!(lease.take(ANY, start), Answer::Taken { renew: None, local: true });
    assert!(matches!(lease.take(ANY, start), Answer::Denied { renew: None, local: true, .. }));
    assert!(matches!(lease.take(ANY, start + RETRY), Answer::Denied { renew: Some(1), local: true, .. }));
    lease.granted(ANY, Grant { tokens: 1, retry_after: Duration::ZERO, sharers: 1, left: 0 }, start + RETRY);
    assert!(matches!(lease.take(ANY, start + RETRY), Answer::Taken { local: false, .. }));
}

#[test]
fn those_who_wait_are_asked_for_together() {
    let start = Instant::now();
    let mut lease = Lease::new(LIMIT, &Shares::ALL, start);
    assert_eq!(lease.take(ANY, start), Answer::NeedsLease { tokens: 1 });
    (0..9).for_each(|_| assert_eq!(lease.take(ANY, start), Answer::Pending));
    lease.granted(ANY, Grant { tokens: 1, retry_after: Duration::ZERO, sharers: 1, left: 0 }, start);
    assert!(matches!(lease.take(ANY, start), Answer::Taken { renew: Some(11), local: false }));
}

#[test]
fn a_token_that_was_not_used_is_used_by_another() {
    let start = Instant::now();
    let mut lease = Lease::new(RateLimit { rate: 0.001, burst: 1 }, &Shares::ALL, start);
    lease.granted(ANY, Grant { tokens: 1, retry_after: Duration::from_secs(9), sharers: 1, left: 0 }, start);
    for local in [false, true] {
        assert_eq!(lease.take(ANY, start), Answer::Taken { renew: None, local });
        assert!(matches!(lease.take(ANY, start), Answer::Denied { .. }));
        lease.refund(ANY, local);
        assert_eq!(lease.take(ANY, start), Answer::Taken { renew: None, local });
        lease.store_failed(ANY, start);
    }
    lease.granted(ANY, Grant { tokens: 0, retry_after: MILLI, sharers: 1, left: 0 }, start);
    lease.refund(ANY, true);
    assert!(
        matches!(lease.take(ANY, start), Answer::Denied { .. }),
        "what was local is nothing to the store"
    );
}

/// Four replicas, a quarter of the requests critical and half of them sheddable, twice the rate in all.
#[test]
fn rl_2_the_store_keeps_a_part_of_the_burst_for_the_worthier() {
    const LIMIT: RateLimit = RateLimit { rate: 1000.0, burst: 200 };
    let shares = Shares { default: 0.8, sheddable: 0.5 };
    let start = Instant::now();
    let mut leases = [(); 4].map(|()| Lease::new(LIMIT, &shares, start));
    let bucket = |class| Gcra::new(RateLimit { burst: cap(&shares, class, LIMIT.burst), ..LIMIT }, start);
    let (buckets, mut cell) = (Class::ALL.map(bucket), 0);
    let (mut offered, mut passed) = ([0; 3], [0; 3]);
    for nth in 0..20_000u32 {
        let now = start + nth * Duration::from_micros(500);
        let class = [Class::Critical, Class::Sheddable, Class::Default, Class::Sheddable][nth as usize % 4];
        let lease = &mut leases[nth as usize / 4 % 4];
        let mut grant = |class: Class, asked| {
            let bucket = &buckets[class as usize];
            let mut tokens = 0;
            while let Decision::Passed { cell: after, .. } = bucket.take(cell, now)
                && tokens < asked
            {
                (cell, tokens) = (after, tokens + 1);
            }
            let retry_after = match bucket.take(cell, now) {
                _ if tokens == asked => Duration::ZERO,
                Decision::Denied { retry_after } => retry_after + MILLI * (asked - 1),
                Decision::Passed { .. } => MILLI,
            };
            Grant { tokens, retry_after, sharers: 4, left: 0 }
        };
        let asked = match lease.take(class, now) {
            Answer::NeedsLease { tokens } => {
                lease.granted(class, grant(class, tokens), now);
                lease.take(class, now)
            }
            asked => asked,
        };
        if let Answer::Taken { renew: Some(tokens), .. } = asked {
            lease.granted(class, grant(class, tokens), now);
        }
        // From the second second on the demand is known.
        if nth >= 2000 {
            offered[class as usize] += 1;
            passed[class as usize] += u32::from(matches!(asked, Answer::Taken { .. }));
        }
    }
    let lost = [0, 1, 2].map(|class| f64::from(offered[class] - passed[class]) / f64::from(offered[class]));
    assert!(lost[0] < 0.01, "critical: {lost:?}");
    assert!(lost[1] <= lost[2] && lost[2] > 0.5, "the least pay: {lost:?}");
    let sum = f64::from(passed.iter().sum::<u32>());
    assert!((0.95 * 9000.0..=1.05 * 9000.0 + 200.0).contains(&sum), "{sum} of 9000");
}

#[test]
fn rl_2_a_local_share_is_one_for_all_classes_and_keeps_a_part_too() {
    let (start, limit) = (Instant::now(), RateLimit { rate: 0.001, burst: 10 });
    let [sheddable, default, critical] = [Class::Sheddable, Class::Default, Class::Critical];
    for (order, passed) in
        [([critical, default, sheddable], [10, 0, 0]), ([sheddable, default, critical], [5, 3, 2])]
    {
        let mut lease = Lease::new(limit, &Shares { default: 0.8, sheddable: 0.5 }, start);
        lease.store_failed(default, start);
        let mut passes = |class| matches!(lease.take(class, start), Answer::Taken { local: true, .. });
        assert_eq!(order.map(|class| (0..20).filter(|_| passes(class)).count()), passed, "{order:?}");
    }
}

#[test]
fn bp_1_what_is_left_is_the_purse_and_a_part_of_the_store() {
    let start = Instant::now();
    let mut lease = Lease::new(LIMIT, &Shares::ALL, start);
    assert_eq!(lease.left(ANY, start), 0);
    lease.granted(ANY, Grant { tokens: 4, retry_after: Duration::ZERO, sharers: 2, left: 10 }, start);
    assert_eq!(lease.left(ANY, start), 9);
    assert_eq!(lease.left(ANY, start + LIFE), 5, "the purse has lapsed");
    lease.granted(ANY, Grant { tokens: 18, retry_after: Duration::ZERO, sharers: 2, left: 10 }, start);
    assert_eq!(lease.left(ANY, start), LIMIT.burst, "never more than the limit");
    lease.store_failed(ANY, start);
    assert_eq!(lease.left(ANY, start), 10, "half of the burst");
    (0..10).for_each(|_| assert!(matches!(lease.take(ANY, start), Answer::Taken { local: true, .. })));
    assert_eq!(lease.left(ANY, start), 0);
}
