//! Which counter belongs to these label values, and how many may there be? (OB-11)
//!
//! The values of a label inside one handle are few and come up in the order of their frequency, so they are a
//! list that only grows: the common value is found first, by comparing integers or addresses, without a hash or a
//! lock. What no longer fits under the cap is counted in one overflow counter, so nothing is lost from
//! the total.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use super::super::cells::{Counter, WorkerId};

/// The value of a label whose true value found no place.
pub(super) const OVERFLOW: &str = "overflow";

/// Different label values inside one handle. Sets of words are smaller; status codes come from the upstream, and one
/// that answers with random ones must not grow the list for ever.
const MAX_VALUES: usize = 64;

/// How many series there may be in all, and how often that was too few.
#[derive(Debug)]
pub(super) struct SeriesCap {
    left: AtomicUsize,
    dropped: Counter,
}

impl SeriesCap {
    /// Room for `cap` series.
    pub(super) fn new(cap: usize) -> Arc<Self> {
        Arc::new(Self { left: AtomicUsize::new(cap), dropped: Counter::new(0) })
    }

    /// Takes room for `n` series, if there is so much.
    pub(super) fn take(&self, n: usize) -> bool {
        self.left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(n)).is_ok()
    }

    /// Counts a handle, or one family of a handle, that from now on counts under `overflow`.
    pub(super) fn refuse(&self) {
        self.dropped.inc(WorkerId::CONTROL);
    }

    /// How often room was refused.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped.get()
    }
}

/// Label values that can be told apart cheaply.
pub(super) trait Value: Copy {
    /// Whether both are the same value.
    fn same(self, other: Self) -> bool;
}

impl Value for &'static str {
    fn same(self, other: Self) -> bool {
        std::ptr::eq(self, other) || self == other
    }
}

/// Counters of one family inside one handle, by label value.
#[derive(Debug)]
pub(super) struct Series<V> {
    first: Link<V>,
    full: OnceLock<()>,
    overflow: Counter,
    workers: usize,
    cap: Arc<SeriesCap>,
}

type Link<V> = OnceLock<Box<Node<V>>>;

#[derive(Debug)]
struct Node<V> {
    value: V,
    count: Counter,
    next: Link<V>,
}

impl<V: Value> Series<V> {
    /// Empty. The overflow series is the caller's to account for.
    pub(super) fn new(workers: usize, cap: &Arc<SeriesCap>) -> Self {
        Self {
            first: Link::new(),
            full: OnceLock::new(),
            overflow: Counter::new(workers),
            workers,
            cap: Arc::clone(cap),
        }
    }

    /// Counts one of this value.
    pub(super) fn inc(&self, worker: WorkerId, value: V) {
        self.counter(value).inc(worker);
    }

    /// The counter of this value, or the overflow's. Racing threads extend the same list one after another, so a
    /// value has one counter; the loser of a race leaves room for one series unused.
    fn counter(&self, value: V) -> &Counter {
        let mut link = &self.first;
        for _ in 0..MAX_VALUES {
            let Some(node) = link.get().map(AsRef::as_ref).or_else(|| self.grow(link, value)) else { break };
            if node.value.same(value) {
                return &node.count;
            }
            link = &node.next;
        }
        if self.full.set(()).is_ok() {
            self.cap.refuse();
        }
        &self.overflow
    }

    /// One more value at the end of the list, unless this family is full or the cap is reached.
    fn grow<'a>(&self, end: &'a Link<V>, value: V) -> Option<&'a Node<V>> {
        let room = self.full.get().is_none() && self.cap.take(1);
        let new = || Box::new(Node { value, count: Counter::new(self.workers), next: Link::new() });
        room.then(|| end.get_or_init(new).as_ref())
    }

    /// Each value with its count.
    pub(super) fn iter(&self) -> impl Iterator<Item = (V, u64)> {
        let mut link = &self.first;
        std::iter::from_fn(move || {
            let node = link.get()?;
            link = &node.next;
            Some((node.value, node.count.get()))
        })
    }

    /// What found no place, if anything did.
    pub(super) fn overflowed(&self) -> Option<u64> {
        Some(self.overflow.get()).filter(|count| *count > 0)
    }
}
