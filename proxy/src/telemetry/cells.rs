//! How does a worker count without paying for it? One cell a worker, merged when somebody asks.
//!
//! A cell has a single writer, so an increment is a load, an addition and a store: no locked instruction, and
//! no cache line that two workers write. Readers may see a sum that is a few nanoseconds old, never one that
//! goes backwards. Threads that are not workers share one further cell and pay for a locked instruction.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Who writes. Two threads must never use the same worker's id: they would lose counts, nothing worse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct WorkerId(usize);

impl WorkerId {
    /// Any thread that is not a worker: control, admin, tests.
    pub const CONTROL: Self = Self(0);

    /// The worker at this position, from 0. Beyond the number of workers that a cell was made for, the id
    /// counts like [`WorkerId::CONTROL`].
    pub const fn new(index: usize) -> Self {
        Self(index.saturating_add(1))
    }
}

/// A number that only grows.
#[derive(Clone)]
pub struct Counter(Cells<1>);

impl Counter {
    /// Zero, with a cell for each of `workers`.
    pub fn new(workers: usize) -> Self {
        Self(Cells::new(workers))
    }

    /// Counts `n`.
    pub fn add(&self, worker: WorkerId, n: u64) {
        self.0.add(worker, [(0, n)]);
    }

    /// Counts one.
    pub fn inc(&self, worker: WorkerId) {
        self.add(worker, 1);
    }

    /// What all workers counted.
    pub fn get(&self) -> u64 {
        self.0.sum()[0]
    }
}

impl fmt::Debug for Counter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Counter").field(&self.get()).finish()
    }
}

/// A number that goes both ways. A worker may subtract what another has added: only the sum has a meaning.
#[derive(Clone)]
pub struct Gauge(Cells<1>);

impl Gauge {
    /// Zero, with a cell for each of `workers`.
    pub fn new(workers: usize) -> Self {
        Self(Cells::new(workers))
    }

    /// Adds `n`, which may be negative.
    pub fn add(&self, worker: WorkerId, n: i64) {
        // Two's complement: a wrapping sum of the cells is the signed sum.
        self.0.add(worker, [(0, n.cast_unsigned())]);
    }

    /// One more, until the guard is dropped (by the same worker).
    pub fn hold(&self, worker: WorkerId) -> Held {
        self.add(worker, 1);
        Held { gauge: self.clone(), worker }
    }

    /// The sum over all workers.
    pub fn get(&self) -> i64 {
        self.0.sum()[0].cast_signed()
    }
}

impl fmt::Debug for Gauge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Gauge").field(&self.get()).finish()
    }
}

/// One unit of a [`Gauge`], taken back on drop.
#[derive(Debug)]
pub struct Held {
    gauge: Gauge,
    worker: WorkerId,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.gauge.add(self.worker, -1);
    }
}

/// Upper bounds of the buckets, in nanoseconds: 0.5 ms to 15 s. Dense where services live, and up to where
/// callers have given up.
const BOUNDS_NANOS: [u64; 15] = [
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    10_000_000_000,
    15_000_000_000,
];

/// The bounds, the bucket above them, and the sum.
const HISTOGRAM_CELLS: usize = BOUNDS_NANOS.len() + 2;
const SUM: usize = HISTOGRAM_CELLS - 1;

/// How long things took.
#[derive(Clone)]
pub struct Histogram(Cells<HISTOGRAM_CELLS>);

/// The content of a [`Histogram`] at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Distribution {
    /// Upper bound in seconds, inclusive, and how many were at or below it: cumulative, without `+Inf`.
    pub buckets: Vec<(f64, u64)>,
    /// How many in all.
    pub count: u64,
    /// Seconds in all.
    pub sum: f64,
}

impl Histogram {
    /// Series that the text format makes of one histogram: each bound, `+Inf`, `_sum` and `_count`.
    pub const SERIES: usize = BOUNDS_NANOS.len() + 3;

    /// Empty, with a block of cells for each of `workers`.
    pub fn new(workers: usize) -> Self {
        Self(Cells::new(workers))
    }

    /// Counts one that took so long. The sum wraps after 584 years of summed time, which Prometheus takes for a
    /// restart.
    pub fn observe(&self, worker: WorkerId, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let bucket = BOUNDS_NANOS.partition_point(|bound| *bound < nanos);
        self.0.add(worker, [(bucket, 1), (SUM, nanos)]);
    }

    /// What all workers observed. The count is the sum of the buckets, so that the two never disagree.
    pub fn get(&self) -> Distribution {
        let cells = self.0.sum();
        let mut count = 0;
        let mut buckets = Vec::with_capacity(BOUNDS_NANOS.len());
        for (bound, cell) in BOUNDS_NANOS.iter().zip(cells) {
            count += cell;
            buckets.push((Duration::from_nanos(*bound).as_secs_f64(), count));
        }
        count += cells[BOUNDS_NANOS.len()];
        Distribution { buckets, count, sum: Duration::from_nanos(cells[SUM]).as_secs_f64() }
    }
}

impl fmt::Debug for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Histogram").field(&self.get()).finish()
    }
}

/// A block of `N` numbers for each writer; the first belongs to all threads that are not workers.
#[derive(Clone)]
struct Cells<const N: usize>(Arc<[Block<N>]>);

/// Two cache lines wide, because x86 prefetches lines in pairs.
#[repr(align(128))]
struct Block<const N: usize>([AtomicU64; N]);

impl<const N: usize> Cells<N> {
    fn new(workers: usize) -> Self {
        Self((0..=workers).map(|_| Block([const { AtomicU64::new(0) }; N])).collect())
    }

    /// Adds to some of the numbers of one block. `Relaxed` is enough: no other memory hangs on these numbers.
    #[inline]
    fn add<const M: usize>(&self, worker: WorkerId, what: [(usize, u64); M]) {
        match self.0.get(worker.0) {
            Some(Block(own)) if worker != WorkerId::CONTROL => {
                for (at, n) in what {
                    own[at].store(own[at].load(Relaxed).wrapping_add(n), Relaxed);
                }
            }
            _ => {
                let Block(shared) = &self.0[0];
                for (at, n) in what {
                    shared[at].fetch_add(n, Relaxed);
                }
            }
        }
    }

    fn sum(&self) -> [u64; N] {
        let mut sum = [0_u64; N];
        for Block(cells) in self.0.iter() {
            for (sum, cell) in sum.iter_mut().zip(cells) {
                *sum = sum.wrapping_add(cell.load(Relaxed));
            }
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WORKERS: usize = 3;

    proptest! {
        /// Whoever counts what in whichever order: the merge is the sum.
        #[test]
        fn ob_1_the_merge_is_the_sum_over_workers(
            steps in prop::collection::vec((0..WORKERS + 3, 0..1_u64 << 40, -1000..1000_i64), 0..100),
        ) {
            let (counter, gauge) = (Counter::new(WORKERS), Gauge::new(WORKERS));
            let histogram = Histogram::new(WORKERS);
            for &(worker, n, delta) in &steps {
                // 0 is the control thread; the last two are beyond the cells.
                let worker = worker.checked_sub(1).map_or(WorkerId::CONTROL, WorkerId::new);
                counter.add(worker, n);
                gauge.add(worker, delta);
                histogram.observe(worker, Duration::from_nanos(n));
            }
            prop_assert_eq!(counter.get(), steps.iter().map(|step| step.1).sum::<u64>());
            prop_assert_eq!(gauge.get(), steps.iter().map(|step| step.2).sum::<i64>());

            let found = histogram.get();
            prop_assert_eq!(found.count, steps.len() as u64);
            let sum: Duration = steps.iter().map(|step| Duration::from_nanos(step.1)).sum();
            prop_assert_eq!(found.sum.to_bits(), sum.as_secs_f64().to_bits());
            for (bound, count) in found.buckets {
                let below = steps.iter().filter(|step| Duration::from_nanos(step.1).as_secs_f64() <= bound);
                prop_assert_eq!(count, below.count() as u64);
            }
        }
    }

    #[test]
    fn threads_lose_nothing() {
        let (counter, gauge) = (Counter::new(2), Gauge::new(2));
        std::thread::scope(|scope| {
            for id in [WorkerId::new(0), WorkerId::new(1), WorkerId::CONTROL, WorkerId::CONTROL] {
                let (counter, gauge) = (&counter, &gauge);
                scope.spawn(move || {
                    for _ in 0..10_000 {
                        counter.inc(id);
                        drop(gauge.hold(id));
                    }
                });
            }
        });
        assert_eq!((counter.get(), gauge.get()), (40_000, 0));
    }

    #[test]
    fn a_bound_belongs_to_its_bucket() {
        let histogram = Histogram::new(1);
        histogram.observe(WorkerId::new(0), Duration::from_millis(5));
        histogram.observe(WorkerId::new(0), Duration::from_nanos(5_000_001));
        let buckets = histogram.get().buckets;
        assert_eq!((buckets[3], buckets[4]), ((0.005, 1), (0.01, 2)));
    }

    #[test]
    fn a_gauge_may_be_lowered_by_another_worker() {
        let gauge = Gauge::new(2);
        gauge.add(WorkerId::new(0), 1);
        gauge.add(WorkerId::new(1), -3);
        assert_eq!(gauge.get(), -2);
    }
}
