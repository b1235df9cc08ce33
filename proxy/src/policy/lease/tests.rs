use proptest::prelude::*;

use super::*;

const LIMIT: RateLimit = RateLimit { rate: 100.0, burst: 20 };
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
        Grant { tokens, retry_after, sharers: 4 }
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
        let replica = |&rate| Replica { lease: Lease::new(LIMIT, start), rate, waiting: 0, asked: None };
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
                        replica.lease.store_failed(at);
                    } else {
                        let grant = self.store.grant(tokens, at);
                        replica.lease.granted(grant, at);
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
        let asks = match self.lease.take(at) {
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
            Answer::Denied { retry_after, .. } => {
                assert!(!retry_after.is_zero());
                None
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
        let mut lease = Lease::new(LIMIT, now);
        let (mut granted, mut taken) = (0, 0);
        for (later, step, tokens) in steps {
            now += MILLI * u32::try_from(later).unwrap();
            match step {
                0 => {
                    lease.granted(Grant { tokens, retry_after: Duration::ZERO, sharers: tokens }, now);
                    granted += tokens;
                }
                1 if tokens == 0 => lease.store_failed(now),
                _ => match lease.take(now) {
                    Answer::Taken { local, .. } => taken += u32::from(!local),
                    Answer::NeedsLease { tokens } => prop_assert!(tokens > 0),
                    Answer::Pending => prop_assert!(lease.asking),
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
    let mut lease = Lease::new(LIMIT, start);
    assert_eq!(lease.take(start), Answer::NeedsLease { tokens: 1 });
    assert_eq!(lease.take(start), Answer::Pending);
    lease.store_failed(start);
    assert_eq!(lease.take(start), Answer::Taken { renew: None, local: true });
    let later = start + RETRY;
    assert!(matches!(lease.take(later), Answer::Taken { renew: Some(_), local: true }));
    let more = (0..30).filter(|_| lease.take(later) == Answer::Taken { renew: None, local: true }).count();
    assert_eq!(more, 19, "the burst less one");
    assert_eq!(lease.take(later), Answer::Denied { retry_after: 10 * MILLI, local: true });
}

#[test]
fn a_lease_lapses_and_a_share_is_a_share() {
    let start = Instant::now();
    let mut lease = Lease::new(LIMIT, start);
    assert_eq!(lease.take(start), Answer::NeedsLease { tokens: 1 });
    lease.granted(Grant { tokens: 4, retry_after: Duration::ZERO, sharers: 2 }, start);
    assert_eq!(lease.take(start), Answer::Taken { renew: None, local: false });
    assert!(matches!(lease.take(start), Answer::Taken { renew: Some(1), local: false }), "half are left");
    assert_eq!(lease.take(start), Answer::Taken { renew: None, local: false }, "asked for already");
    assert_eq!(lease.take(start + LIFE), Answer::Pending);
    lease.granted(Grant { tokens: 0, retry_after: Duration::ZERO, sharers: 2 }, start + LIFE);
    assert_eq!(lease.take(start + LIFE), Answer::Denied { retry_after: 10 * MILLI, local: false });
    lease.granted(Grant { tokens: 0, retry_after: 30 * MILLI, sharers: 2 }, start + LIFE);
    assert_eq!(lease.take(start + LIFE), Answer::Denied { retry_after: 30 * MILLI, local: false });
    let grant = Grant { tokens: 3, retry_after: Duration::ZERO, sharers: 4 };
    lease.granted(grant, start + 2 * LIFE);
    lease.granted(grant, start + 3 * LIFE);
    let taken = |lease: &mut Lease, now, local| {
        (0..99).filter(|_| matches!(lease.take(now), Answer::Taken { local: by, .. } if by == local)).count()
    };
    assert_eq!(taken(&mut lease, start + 3 * LIFE, false), 3, "the first three have lapsed");
    lease.store_failed(start + 3 * LIFE);
    assert_eq!(taken(&mut lease, start + 3 * LIFE, true), 5, "a fourth of the burst");
}
