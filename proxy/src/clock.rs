//! When is it late? One ticker a worker, one [`Alarm`] a connection, no timer a request.
//!
//! A request sets and moves its connection's alarm many times and almost never lets it ring, so setting is a store and a
//! compare; only an alarm that is due before everything else wakes the ticker to re-arm. When the ticker's sleep ends it
//! looks through all alarms once, wakes the connections that are late, and sleeps until the next.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// Alarms that are due within this of each other ring together; bounds the ticker to 1,000 looks a second.
const GRAIN: Duration = Duration::from_millis(1);

/// The present, by the clock that tokio's timers follow: where a test has paused it, everything else stands still too. In
/// the binary, which has no `test-util`, that is `std::time::Instant::now()` and nothing more.
pub fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// All alarms of one worker.
#[derive(Debug, Default)]
pub struct Timers {
    alarms: RefCell<Vec<Option<Rc<State>>>>,
    free: RefCell<Vec<usize>>,
    /// When the ticker will look next; `None`: only when it is woken.
    next: Cell<Option<Instant>>,
    ticker: RefCell<Option<Waker>>,
}

#[derive(Debug, Default)]
struct State {
    at: Cell<Option<Instant>>,
    ringing: Cell<bool>,
    idle: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

/// One wait that may be cut short: a connection owns one and moves it from phase to phase.
#[derive(Debug)]
pub struct Alarm {
    state: Rc<State>,
    timers: Rc<Timers>,
    slot: usize,
}

impl Timers {
    /// An empty set.
    pub fn new() -> Rc<Self> {
        Rc::default()
    }

    /// A new alarm, not set.
    pub fn alarm(self: &Rc<Self>) -> Alarm {
        let state = Rc::<State>::default();
        let mut alarms = self.alarms.borrow_mut();
        let slot = self.free.borrow_mut().pop().unwrap_or(alarms.len());
        if slot == alarms.len() {
            alarms.push(None);
        }
        alarms[slot] = Some(Rc::clone(&state));
        Alarm { state, timers: Rc::clone(self), slot }
    }

    /// Rings what is due; runs as long as its worker.
    pub async fn tick(self: Rc<Self>) {
        loop {
            let next = self.ring(now());
            self.next.set(next);
            match next {
                Some(at) => self.sleep_until(at).await,
                None => poll_fn(|cx| self.poll_rearmed(cx, None)).await,
            }
        }
    }

    /// Sleeps until `at` or until an earlier alarm was set.
    async fn sleep_until(&self, at: Instant) {
        let mut sleep = pin!(tokio::time::sleep_until(at.into()));
        poll_fn(|cx| {
            if sleep.as_mut().poll(cx).is_ready() {
                return Poll::Ready(());
            }
            self.poll_rearmed(cx, Some(at))
        })
        .await;
    }

    fn poll_rearmed(&self, cx: &mut Context<'_>, planned: Option<Instant>) -> Poll<()> {
        if self.next.get() != planned {
            return Poll::Ready(());
        }
        self.ticker.replace(Some(cx.waker().clone()));
        Poll::Pending
    }

    /// Wakes everyone who is late; answers when to look again.
    fn ring(&self, now: Instant) -> Option<Instant> {
        let mut next: Option<Instant> = None;
        for state in self.alarms.borrow().iter().flatten() {
            let Some(at) = state.at.get() else { continue };
            if at > now {
                next = Some(next.map_or(at, |next| next.min(at)));
                continue;
            }
            state.at.set(None);
            state.ringing.set(true);
            if let Some(waker) = state.waker.borrow_mut().take() {
                waker.wake();
            }
        }
        next.map(|next| next.max(now + GRAIN))
    }

    /// Lets every idle wait end within `spread` from `now`, one after the other (a drain must not make all callers
    /// reconnect at once).
    pub fn hasten_idle(&self, now: Instant, spread: Duration) {
        let alarms = self.alarms.borrow();
        let idle = || alarms.iter().flatten().filter(|state| state.idle.get());
        let count = u32::try_from(idle().count()).unwrap_or(u32::MAX).max(1);
        for (nth, state) in (0..).zip(idle()) {
            let at = now + spread * nth / count;
            state.at.set(state.at.get().map(|planned| planned.min(at)));
        }
        self.rearm(now);
    }

    fn rearm(&self, at: Instant) {
        if self.next.get().is_none_or(|next| at < next) {
            self.next.set(Some(at));
            if let Some(waker) = self.ticker.borrow_mut().take() {
                waker.wake();
            }
        }
    }
}

impl Alarm {
    /// As [`set`](Self::set), for a wait in which nothing is in hand: a drain may shorten it.
    pub fn set_idle(&self, at: Instant) {
        self.set(at);
        self.state.idle.set(true);
    }

    /// Rings at `at` instead of whenever it would have.
    pub fn set(&self, at: Instant) {
        self.state.idle.set(false);
        self.state.ringing.set(false);
        self.state.at.set(Some(at));
        self.timers.rearm(at);
    }

    /// Never rings until set again.
    pub fn clear(&self) {
        self.state.ringing.set(false);
        self.state.at.set(None);
    }

    /// Ready once the set time has come; stays so until set or cleared.
    pub fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.state.ringing.get() {
            return Poll::Ready(());
        }
        let mut waker = self.state.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Waits until the set time.
    pub async fn rung(&self) {
        poll_fn(|cx| self.poll(cx)).await;
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        self.timers.alarms.borrow_mut()[self.slot] = None;
        self.timers.free.borrow_mut().push(self.slot);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run<F: Future>(test: impl FnOnce(Rc<Timers>) -> F) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let timers = Timers::new();
        runtime.block_on(async {
            tokio::select! {
                () = Rc::clone(&timers).tick() => unreachable!(),
                _ = test(timers) => {}
            }
        });
    }

    #[test]
    fn rings_in_order_of_time_not_of_setting() {
        run(|timers| async move {
            let (late, early) = (timers.alarm(), timers.alarm());
            let start = now();
            late.set(start + Duration::from_mins(1));
            tokio::task::yield_now().await;
            early.set(start + Duration::from_millis(5));
            early.rung().await;
            assert!(now() - start >= Duration::from_millis(5));
            assert!(!late.state.ringing.get());
        });
    }

    #[test]
    fn an_alarm_that_was_moved_rings_at_its_last_time_only() {
        run(|timers| async move {
            let (moved, witness) = (timers.alarm(), timers.alarm());
            let start = now();
            moved.set(start + Duration::from_millis(2));
            moved.set(start + Duration::from_mins(1));
            witness.set(start + Duration::from_millis(6));
            witness.rung().await;
            assert!(!moved.state.ringing.get());
        });
    }

    #[test]
    fn slots_are_used_again() {
        let timers = Timers::new();
        drop(timers.alarm());
        let _kept = timers.alarm();
        assert_eq!(timers.alarms.borrow().len(), 1);
    }
}
