use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use proptest::prelude::*;

use super::*;

const BOUNDS: AdaptiveLimit = AdaptiveLimit { min: 3, max: 1000 };

/// A server with `places` that each serve one request at a time, exponentially; callers arrive at random (M/M/c).
struct Server {
    places: usize,
    /// Seconds a request.
    service: f64,
    /// Requests a second.
    arrivals: f64,
    rng: fastrand::Rng,
    start: Instant,
    /// Nanoseconds since `start`.
    now: u64,
    next_arrival: u64,
    waiting: VecDeque<u64>,
    /// When each will be done, and when it came.
    served: BinaryHeap<Reverse<(u64, u64)>>,
}

/// What was seen over some time.
struct Seen {
    answers: f64,
    lowest: u32,
    /// Over all events.
    mean: f64,
}

impl Server {
    fn new(places: usize, service: f64, load: f64, seed: u64) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "a few dozen")]
        let arrivals = load * places as f64 / service;
        let rng = fastrand::Rng::with_seed(seed);
        let (waiting, served) = (VecDeque::new(), BinaryHeap::new());
        Self {
            places,
            service,
            arrivals,
            rng,
            start: Instant::now(),
            now: 0,
            next_arrival: 0,
            waiting,
            served,
        }
    }

    fn exponential(&mut self, mean: f64) -> u64 {
        let seconds = -mean * (1.0 - self.rng.f64()).ln();
        u64::try_from(Duration::from_secs_f64(seconds).as_nanos()).unwrap()
    }

    fn serve(&mut self) {
        while self.served.len() < self.places
            && let Some(came) = self.waiting.pop_front()
        {
            let done = self.now + self.exponential(self.service);
            self.served.push(Reverse((done, came)));
        }
    }

    fn run(&mut self, limiter: &mut Limiter, seconds: u64) -> Seen {
        let end = self.now + seconds * 1_000_000_000;
        let (mut answers, mut lowest, mut sum, mut events) = (0.0, u32::MAX, 0.0, 0.0);
        while self.now < end {
            let done = self.served.peek().map_or(u64::MAX, |Reverse((done, _))| *done);
            let in_flight = u32::try_from(self.waiting.len() + self.served.len()).unwrap();
            if self.next_arrival <= done {
                self.now = self.next_arrival;
                self.next_arrival += self.exponential(self.arrivals.recip());
                if in_flight < limiter.limit() {
                    self.waiting.push_back(self.now);
                }
            } else if let Some(Reverse((done, came))) = self.served.pop() {
                self.now = done;
                let ended = Ended::Answered(Duration::from_nanos(done - came));
                limiter.on_ended(ended, in_flight, self.start + Duration::from_nanos(done));
                answers += 1.0;
            }
            self.serve();
            lowest = lowest.min(limiter.limit());
            sum += f64::from(limiter.limit());
            events += 1.0;
        }
        Seen { answers, lowest, mean: sum / events }
    }

    /// Answers in `seconds` if every place is busy.
    #[expect(clippy::cast_precision_loss, reason = "a few dozen")]
    fn best(&self, seconds: u64) -> f64 {
        self.places as f64 / self.service * seconds as f64
    }

    fn limiter(&self) -> Limiter {
        Limiter::new(BOUNDS, self.start, 0.0)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn bp_4_the_limit_comes_to_rest_near_capacity(
        places in 1usize..40, rate in 100.0..800.0f64, load in 1.2..4.0f64, seed in any::<u64>(),
    ) {
        #[expect(clippy::cast_precision_loss, reason = "a few dozen")]
        let mut server = Server::new(places, places as f64 / rate, load, seed);
        let mut limiter = server.limiter();
        server.run(&mut limiter, 20);
        let seen = server.run(&mut limiter, 65);
        let goodput = seen.answers / server.best(65);
        prop_assert!(goodput >= 0.8, "{goodput} of the best");
        #[expect(clippy::cast_precision_loss, reason = "a few dozen")]
        let room = places.max(BOUNDS.min as usize) as f64;
        prop_assert!(seen.mean <= 3.0 * room + 4.0, "{} for {places} places", seen.mean);
        prop_assert!(seen.lowest >= BOUNDS.min);
    }

    /// Whatever answers say and however they come, the limit stays within its bounds and is never 0.
    #[test]
    fn bp_4_no_history_breaks_the_bounds(
        min in 0u32..20, max in 0u32..200,
        history in prop::collection::vec((0u64..2_000_000, any::<u32>(), 0u32..300, 0u8..10), 1..2_000),
    ) {
        let mut now = Instant::now();
        let mut limiter = Limiter::new(AdaptiveLimit { min, max }, now, 1.0);
        let in_bounds = min.max(1)..=max.max(min).max(1);
        for (gap, micros, in_flight, kind) in history {
            now += Duration::from_micros(gap);
            let latency = Duration::from_micros(u64::from(micros));
            let ended = if kind == 0 { Ended::TooMuch } else { Ended::Answered(latency) };
            limiter.on_ended(ended, in_flight, now);
            prop_assert!(in_bounds.contains(&limiter.limit()), "{}", limiter.limit());
        }
    }
}

#[test]
fn bp_4_five_times_slower_is_found_within_ten_seconds() {
    for seed in 0..5 {
        let mut server = Server::new(20, 0.01, 1.5, seed);
        let mut limiter = server.limiter();
        server.run(&mut limiter, 20);
        server.service *= 5.0;
        server.run(&mut limiter, 7);
        let seen = server.run(&mut limiter, 3);
        let goodput = seen.answers / server.best(3);
        assert!(goodput >= 0.8, "{goodput} of the best static limit, seed {seed}");
        assert!((18.0..50.0).contains(&seen.mean), "{} for 20 places", seen.mean);
    }
}

#[test]
fn bp_4_a_server_much_smaller_than_the_first_guess_is_found_soon() {
    for seed in 0..5 {
        let mut server = Server::new(2, 0.005, 3.0, seed);
        let mut limiter = server.limiter();
        server.run(&mut limiter, 8);
        let seen = server.run(&mut limiter, 4);
        assert!(seen.mean < 12.0, "{} for 2 places", seen.mean);
    }
}

#[test]
fn bp_4_a_slow_spell_leaves_no_trace() {
    let mut server = Server::new(20, 0.01, 2.0, 7);
    let mut limiter = server.limiter();
    server.run(&mut limiter, 20);
    server.service = 0.2;
    assert!(server.run(&mut limiter, 20).lowest >= BOUNDS.min);
    server.service = 0.01;
    server.run(&mut limiter, 5);
    let seen = server.run(&mut limiter, 20);
    let goodput = seen.answers / server.best(20);
    assert!(goodput >= 0.9, "{goodput} of the best");
    assert!((18.0..50.0).contains(&seen.mean), "{} for 20 places", seen.mean);
}

#[test]
fn bp_4_a_probe_counts_only_what_began_since() {
    let start = Instant::now();
    let mut limiter = Limiter::new(BOUNDS, start, 0.0);
    limiter.phase = Phase::Probing { since: start };
    limiter.limit = 40.0;
    assert_eq!(limiter.limit(), 13);
    let late = start + Duration::from_millis(150);
    let answers = |limiter: &mut Limiter, millis| {
        let answer = Ended::Answered(Duration::from_millis(millis));
        (0..PROBE_SAMPLES).filter(|_| limiter.on_ended(answer, 20, late)).count()
    };
    assert_eq!(answers(&mut limiter, 200), 0, "sent before the probe began");
    assert_eq!(answers(&mut limiter, 50), 1);
    assert!((limiter.baseline - 0.05).abs() < 1e-9, "{}", limiter.baseline);
    assert_eq!(limiter.limit(), 40);
}

#[test]
fn bp_4_a_little_refused_takes_a_little_off() {
    let start = Instant::now();
    let after = |refused: u32| {
        let mut limiter = Limiter::new(BOUNDS, start, 0.0);
        limiter.limit = 100.0;
        limiter.baseline = 0.01;
        limiter.phase = Phase::Seeking { probe_at: start + PROBE_EVERY };
        for n in 0..100 {
            let ended = if n < refused { Ended::TooMuch } else { Ended::Answered(Duration::from_millis(10)) };
            limiter.on_ended(ended, 100, start + Duration::from_millis(n.into()));
        }
        limiter.on_ended(Ended::TooMuch, 100, start + WINDOW);
        limiter.limit()
    };
    assert!(after(0) > 105 && (100..106).contains(&after(10)) && after(99) == 60, "{}", after(99));
}

#[test]
fn bp_4_an_upstream_that_refuses_all_leaves_the_lowest_limit_and_comes_back() {
    let mut server = Server::new(20, 0.01, 2.0, 1);
    for fresh in [true, false] {
        let mut limiter = server.limiter();
        if !fresh {
            server.run(&mut limiter, 20);
        }
        for n in 0..10_000 {
            limiter.on_ended(
                Ended::TooMuch,
                limiter.limit(),
                server.start + Duration::from_nanos(server.now + n),
            );
            server.now += 1_000_000;
        }
        assert!(limiter.limit() <= BOUNDS.min + 1);
        server.next_arrival = server.now;
        server.run(&mut limiter, 5);
        let seen = server.run(&mut limiter, 10);
        assert!((18.0..50.0).contains(&seen.mean), "{} for 20 places", seen.mean);
    }
}

#[test]
fn bp_4_an_idle_upstream_does_not_earn_a_limit() {
    let start = Instant::now();
    let mut limiter = Limiter::new(BOUNDS, start, 0.0);
    for n in 0..2_000 {
        let now = start + Duration::from_millis(10 * n);
        limiter.on_ended(Ended::Answered(Duration::from_millis(5)), 1, now);
    }
    assert!(limiter.limit() <= FIRST);
    limiter.reload(AdaptiveLimit { min: 50, max: 5 });
    assert_eq!(limiter.limit(), 50);
}
