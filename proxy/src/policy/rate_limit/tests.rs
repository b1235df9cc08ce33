use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;

use super::*;

fn limit() -> impl Strategy<Value = RateLimit> {
    (0.01..100_000.0f64, 1u32..500).prop_map(|(rate, burst)| RateLimit { rate, burst })
}

/// Gaps between requests, from none to hours.
fn arrivals() -> impl Strategy<Value = Vec<Duration>> {
    let gap = prop_oneof![
        4 => Just(0),
        8 => 0u64..20_000_000,
        3 => 0u64..3_000_000_000,
        1 => 0u64..10_000_000_000_000,
    ];
    prop::collection::vec(gap.prop_map(Duration::from_nanos), 1..300)
}

/// The textbook's bucket: a level that rises by a nanosecond each nanosecond; a token costs one gap.
struct Bucket {
    level: u64,
    at: Instant,
}

impl Bucket {
    fn take(&mut self, limit: &Gcra, now: Instant) -> bool {
        let earned = u64::try_from((now - self.at).as_nanos()).unwrap();
        (self.level, self.at) = (self.level.saturating_add(earned).min(limit.depth), now);
        let passed = self.level >= limit.gap;
        self.level -= if passed { limit.gap } else { 0 };
        passed
    }
}

fn offer(limit: &Gcra, cell: &mut u64, now: Instant) -> bool {
    match limit.take(*cell, now) {
        Decision::Passed { cell: next, .. } => {
            *cell = next;
            true
        }
        Decision::Denied { .. } => false,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn rl_1_one_word_decides_as_a_whole_bucket_does(config in limit(), arrivals in arrivals()) {
        let mut now = Instant::now();
        let limit = Gcra::new(config, now);
        let (mut cell, mut bucket) = (0, Bucket { level: limit.depth, at: now });
        for gap in arrivals {
            now += gap;
            let left = bucket.level;
            prop_assert_eq!(offer(&limit, &mut cell, now), bucket.take(&limit, now), "{} left", left);
        }
    }

    #[test]
    fn rl_1_no_stretch_of_time_passes_more_than_burst_and_rate(config in limit(), arrivals in arrivals()) {
        let start = Instant::now();
        let limit = Gcra::new(config, start);
        let (mut cell, mut at, mut passed) = (0, Duration::ZERO, Vec::new());
        for gap in arrivals {
            at += gap;
            if offer(&limit, &mut cell, start + at) {
                passed.push(at);
            }
        }
        for (n, last) in passed.iter().enumerate() {
            for (m, first) in passed[..=n].iter().enumerate() {
                let most = f64::from(config.burst) + config.rate * last.abs_diff(*first).as_secs_f64();
                let count = f64::from(u32::try_from(n - m + 1).unwrap());
                prop_assert!(count <= most + 1e-6, "{count} in {:?}", last.abs_diff(*first));
            }
        }
    }

    #[test]
    fn bp_1_what_the_answer_says_is_true(config in limit(), arrivals in arrivals()) {
        let mut now = Instant::now();
        let limit = Gcra::new(config, now);
        let mut cell = 0;
        for gap in arrivals {
            now += gap;
            let decision = limit.take(cell, now);
            let fields = limit.fields(&decision);
            prop_assert!(fields.remaining <= u64::from(fields.limit));
            match decision {
                Decision::Passed { cell: next, remaining, full_in } => {
                    let (mut probe, mut more) = (next, 0);
                    while offer(&limit, &mut probe, now) {
                        more += 1;
                    }
                    prop_assert_eq!(more, remaining);
                    prop_assert!(limit.at_rest(next, now + full_in));
                    prop_assert_eq!(fields.retry_after, None);
                    cell = next;
                }
                Decision::Denied { retry_after } => {
                    let early = now + retry_after.saturating_sub(Duration::from_nanos(1));
                    let is_denied = |at| matches!(limit.take(cell, at), Decision::Denied { .. });
                    prop_assert!(is_denied(early) && !is_denied(now + retry_after));
                    prop_assert!(fields.retry_after.is_some_and(|wait| wait >= 1));
                    prop_assert!(Duration::from_secs(fields.reset) >= retry_after);
                    prop_assert_eq!(fields.retry_after, Some(fields.reset));
                }
            }
        }
    }

    #[test]
    fn a_refund_leaves_no_trace(config in limit(), arrivals in arrivals()) {
        let mut now = Instant::now();
        let limit = Gcra::new(config, now);
        let (mut cell, mut other) = (0, 0);
        for (n, gap) in arrivals.into_iter().enumerate() {
            now += gap;
            if n % 3 == 0 && let Decision::Passed { cell: taken, .. } = limit.take(cell, now) {
                cell = limit.refund(taken);
            }
            prop_assert_eq!(offer(&limit, &mut cell, now), offer(&limit, &mut other, now));
        }
    }

    #[test]
    fn a_reload_carries_the_debt_in_tokens(old in limit(), new in limit(), taken in 0u32..500, later in 0u64..5_000) {
        let start = Instant::now();
        // Slow enough for debts to last a while.
        let slow = |limit: RateLimit| RateLimit { rate: limit.rate / 1e4, ..limit };
        let (was, is) = (Gcra::new(slow(old), start), Gcra::new(slow(new), start));
        let mut cell = 0;
        for _ in 0..taken.min(old.burst) {
            prop_assert!(offer(&was, &mut cell, start));
        }
        let now = start + Duration::from_millis(later);
        let owed = |limit: &Gcra, cell: u64| Duration::from_nanos(cell).saturating_sub(now - start).as_secs_f64()
            / Duration::from_nanos(limit.gap).as_secs_f64();
        let (before, after) = (owed(&was, cell), owed(&is, is.carry(cell, &was, now)));
        let kept = before.min(f64::from(new.burst));
        prop_assert!((after - kept).abs() <= 1e-3 * kept.max(1.0), "{before} owed before, {after} after");
    }

    #[test]
    fn no_rate_or_time_overflows(rate in any::<f64>(), burst in any::<u32>(), cell in any::<u64>(), later in any::<u32>()) {
        let epoch = Instant::now();
        let limit = Gcra::new(RateLimit { rate, burst }, epoch);
        let now = epoch + Duration::from_secs(u64::from(later));
        let _ = limit.fields(&limit.take(cell, now)).policy();
        let _ = limit.carry(cell, &Gcra::new(RateLimit { rate: 1.0, burst: 1 }, now), epoch);
    }
}

/// 100/s with a burst of 20, offered 200/s for 10 s.
#[test]
fn rl_1_twice_the_rate_passes_rate_and_burst() {
    let start = Instant::now();
    let limit = Gcra::new(RateLimit { rate: 100.0, burst: 20 }, start);
    let mut cell = 0;
    let passed =
        (0..2_000u64).filter(|n| offer(&limit, &mut cell, start + Duration::from_millis(5 * n))).count();
    assert!((1_010..=1_030).contains(&passed), "{passed}");
    assert_eq!(passed, 20 + 999, "exactly: the last comes at 9.995 s");
}

#[test]
fn rl_1_rounding_never_favours_the_caller() {
    for rate in [3.0, 7.0, 30_000.0, 99_999.0] {
        let gap = Duration::from_nanos(Gcra::new(RateLimit { rate, burst: 1 }, Instant::now()).gap);
        assert!((1.0..1.0 + 1e-9 * rate).contains(&(gap.as_secs_f64() * rate)), "{gap:?} for {rate}");
    }
}

/// What the pipeline does with the word: read, decide, compare and exchange.
#[test]
fn rl_1_workers_that_share_the_word_never_pass_one_too_many() {
    let now = Instant::now();
    let limit = Gcra::new(RateLimit { rate: 1.0, burst: 1_000 }, now);
    let cell = AtomicU64::new(0);
    let take = || {
        let next = |cell| match limit.take(cell, now) {
            Decision::Passed { cell, .. } => Some(cell),
            Decision::Denied { .. } => None,
        };
        cell.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).is_ok()
    };
    let worker = || (0..600).filter(|_| take()).count();
    let passed: usize = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..4).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).sum()
    });
    assert_eq!(passed, 1_000);
}

#[test]
fn bp_1_fields_of_a_limit() {
    let start = Instant::now();
    let limit = Gcra::new(RateLimit { rate: 0.25, burst: 2 }, start);
    let told = |decision: Decision| {
        let fields = limit.fields(&decision);
        (fields.policy(), fields.remaining, fields.reset, fields.retry_after)
    };
    let value = "1;w=4;burst=2".to_owned();
    assert_eq!(told(limit.take(0, start)), (value.clone(), 1, 4, None));
    let mut cell = 0;
    assert!(offer(&limit, &mut cell, start) && offer(&limit, &mut cell, start));
    let soon = start + Duration::from_millis(500);
    assert_eq!(told(limit.take(cell, soon)), (value.clone(), 0, 4, Some(4)));
    let nearly = start + Duration::from_millis(3_999);
    assert_eq!(told(limit.take(cell, nearly)), (value, 0, 1, Some(1)));
    let fast = Gcra::new(RateLimit { rate: 100.0, burst: 20 }, start);
    assert_eq!(fast.fields(&fast.take(0, start)).policy(), "100;w=1;burst=20");
}

#[test]
fn bp_1_the_limit_that_denied_is_the_one_told_of() {
    let start = Instant::now();
    let of = |rate, burst, taken| {
        let limit = Gcra::new(RateLimit { rate, burst }, start);
        let mut cell = 0;
        for _ in 0..taken {
            offer(&limit, &mut cell, start);
        }
        limit.fields(&limit.take(cell, start))
    };
    let (wide, narrow, spent, slow) = (of(100.0, 50, 0), of(10.0, 5, 0), of(10.0, 5, 5), of(0.1, 1, 1));
    assert_eq!(wide.tighter(narrow), narrow);
    assert_eq!(narrow.tighter(wide), narrow);
    assert_eq!(wide.tighter(spent), spent);
    assert_eq!(spent.tighter(of(1.0, 1, 0)), spent, "both have none left, one denied");
    assert_eq!(spent.tighter(slow), slow, "the longer wait");
    assert_eq!(slow.tighter(spent), slow);
}
