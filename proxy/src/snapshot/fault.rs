//! Which faults are injected into a rule's attempts? An experiment that runs, within the bounds of all of them.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use http::StatusCode;
use outrigger_config::model::fault::{Experiment, FaultCaps, Kind};
use outrigger_config::model::{Applied, Mode};

use crate::policy::fault::{Decision, Injector, Why};
use crate::telemetry::{RouteMetrics, WorkerId};

/// What all experiments share, of all generations.
#[derive(Debug, Default)]
pub struct Caps {
    active: AtomicU32,
    max: AtomicU32,
}

/// The experiment of one rule.
#[derive(Debug)]
pub struct Fault {
    /// The rule's route.
    pub route: Arc<str>,
    /// The rule.
    pub rule: Arc<str>,
    wanted: Applied<Experiment>,
    injector: Mutex<Injector>,
    caps: Arc<Caps>,
    metrics: Arc<RouteMetrics>,
}

/// What an attempt meets. Its faults are at work until it is dropped.
#[derive(Debug)]
pub struct Met {
    /// It is held up for so long.
    pub delay: Option<Duration>,
    /// It ends so, without its endpoint.
    pub end: Option<End>,
    /// What its answer's content comes to.
    pub body: Option<Body>,
    /// Whose fault it is.
    pub fault: Arc<Fault>,
    active: u32,
}

/// How an attempt ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Somebody answers in the endpoint's place.
    Abort(StatusCode),
    /// The connection breaks before an answer.
    Reset,
    /// There is no way to the endpoint.
    Severed,
}

/// What an answer's content comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    /// It breaks off after so many octets.
    Partial(u64),
    /// It comes by so many octets a second.
    Slow(u64),
}

impl Caps {
    /// The bounds of a new generation.
    pub(super) fn set(&self, wanted: &FaultCaps) {
        self.max.store(wanted.max_active, Ordering::Relaxed);
    }

    fn take(&self) -> bool {
        let max = self.max.load(Ordering::Relaxed);
        let more = |active: u32| active.checked_add(1).filter(|active| *active <= max);
        self.active.fetch_update(Ordering::AcqRel, Ordering::Relaxed, more).is_ok()
    }

    fn give_back(&self) {
        self.active.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Fault {
    /// Begins now.
    pub(super) fn new(
        (route, rule): (Arc<str>, Arc<str>),
        wanted: Applied<Experiment>,
        caps: Arc<Caps>,
        metrics: Arc<RouteMetrics>,
        now: Instant,
    ) -> Arc<Self> {
        let injector = Mutex::new(Injector::new(wanted.policy.clone(), now));
        Arc::new(Self { route, rule, wanted, injector, caps, metrics })
    }

    /// A later generation wants just this, and so it goes on.
    pub(super) fn is(&self, route: &str, rule: &str, wanted: &Applied<Experiment>) -> bool {
        &*self.route == route && &*self.rule == rule && self.wanted == *wanted
    }

    /// Whether it acts.
    pub fn mode(&self) -> Mode {
        self.wanted.mode
    }

    /// What an attempt meets that begins `now`, and whether it is spared for the bounds alone. One that wants a `tunnel`
    /// has no content, so no fault is at work on that.
    pub fn meet(self: &Arc<Self>, worker: WorkerId, tunnel: bool, now: Instant) -> (Option<Met>, bool) {
        let mut met = Met { delay: None, end: None, body: None, fault: Arc::clone(self), active: 0 };
        let (mut injector, mut capped) = (self.injector(), false);
        for (nth, (_, kind)) in self.wanted.faults.iter().enumerate() {
            match kind {
                // Those are hidden from the choice of an endpoint.
                Kind::Hide(_) => continue,
                Kind::PartialBody(_) | Kind::Throttle(_) if tunnel => continue,
                _ => {}
            }
            match injector.decide(nth, now) {
                Decision::Spared => {}
                Decision::Capped => capped = true,
                Decision::Inject(_) if !self.caps.take() => {
                    injector.over();
                    capped = true;
                }
                Decision::Inject(kind) => {
                    self.metrics.fault(worker, word(kind), self.mode());
                    met.add(kind);
                }
            }
        }
        drop(injector);
        let acts = met.active > 0 && self.mode() == Mode::Enforce;
        (acts.then_some(met), capped)
    }

    /// How many endpoints are out of sight.
    pub fn hides(&self) -> usize {
        let count = |(_, kind): &(f64, Kind)| if let Kind::Hide(count) = kind { *count } else { 0 };
        self.wanted.faults.iter().map(count).sum()
    }

    /// Which of those with these ids that are.
    pub fn hidden(&self, ids: &[u64], now: Instant) -> Vec<u64> {
        self.injector().hidden(self.hides(), ids, now)
    }

    /// A hidden endpoint would have been chosen.
    pub fn count_hidden(&self, worker: WorkerId) {
        self.metrics.fault(worker, word(Kind::Hide(0)), self.mode());
    }

    /// Whether what is at work may go on.
    pub fn is_on(&self, now: Instant) -> bool {
        self.injector().is_on(now)
    }

    /// Ends it for good.
    pub fn end(&self) {
        self.injector().end();
    }

    /// Faults at work, and why it has ended if it has.
    pub fn standing(&self, now: Instant) -> (u32, Option<Why>) {
        let mut injector = self.injector();
        injector.is_on(now);
        (injector.active(), injector.ended())
    }

    fn injector(&self) -> MutexGuard<'_, Injector> {
        // It is whole between any two statements that could panic.
        self.injector.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Met {
    fn add(&mut self, kind: Kind) {
        self.active += 1;
        match kind {
            Kind::Delay(delay) => self.delay = Some(self.delay.unwrap_or_default() + delay),
            Kind::Abort(status) => self.end = self.end.or(Some(End::Abort(status))),
            Kind::Reset => self.end = self.end.or(Some(End::Reset)),
            Kind::Sever => self.end = self.end.or(Some(End::Severed)),
            Kind::PartialBody(octets) => self.body = self.body.or(Some(Body::Partial(octets))),
            Kind::Throttle(rate) => self.body = self.body.or(Some(Body::Slow(rate))),
            Kind::Hide(_) => {}
        }
    }
}

impl Drop for Met {
    fn drop(&mut self) {
        let mut injector = self.fault.injector();
        for _ in 0..self.active {
            injector.over();
            self.fault.caps.give_back();
        }
    }
}

/// As metrics call it.
fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::Delay(_) => "delay",
        Kind::Abort(_) => "abort",
        Kind::Reset => "reset",
        Kind::PartialBody(_) => "partial-body",
        Kind::Throttle(_) => "throttle",
        Kind::Sever => "sever",
        Kind::Hide(_) => "hide-endpoints",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::Metrics;

    fn fault(mode: Mode, caps: &Arc<Caps>, faults: Vec<(f64, Kind)>, now: Instant) -> Arc<Fault> {
        let policy = Experiment { seed: 0, lasts: Duration::from_mins(1), max_active: 10, faults };
        let metrics = Metrics::new(1, 1000).route("prices");
        Fault::new(
            ("prices".into(), "rule-0".into()),
            Applied { mode, policy },
            Arc::clone(caps),
            metrics,
            now,
        )
    }

    fn caps(max_active: u32) -> Arc<Caps> {
        let caps = Arc::<Caps>::default();
        let max_duration = Duration::from_mins(1);
        caps.set(&FaultCaps { mode: Some(Mode::Enforce), max_active, max_duration });
        caps
    }

    #[test]
    fn ch_1_all_experiments_together_have_a_cap_that_is_given_back() {
        let (caps, now) = (caps(2), Instant::now());
        let all = [(); 3].map(|()| fault(Mode::Enforce, &caps, vec![(1.0, Kind::Reset)], now));
        let first = all[0].meet(WorkerId::CONTROL, false, now).0.unwrap();
        let second = all[1].meet(WorkerId::CONTROL, false, now).0.unwrap();
        assert_eq!(second.end, Some(End::Reset));
        let (third, capped) = all[2].meet(WorkerId::CONTROL, false, now);
        assert!(third.is_none() && capped);
        assert_eq!(all[2].standing(now), (0, None), "nor is its own cap used up by it");
        drop(first);
        assert!(all[2].meet(WorkerId::CONTROL, false, now).0.is_some());
    }

    #[test]
    fn ch_1_a_dry_run_injects_nothing_and_holds_nothing() {
        let (caps, now) = (caps(1), Instant::now());
        let fault = fault(Mode::DryRun, &caps, vec![(1.0, Kind::Sever)], now);
        for _ in 0..3 {
            let (met, capped) = fault.meet(WorkerId::CONTROL, false, now);
            assert!(met.is_none() && !capped);
        }
        assert_eq!(fault.standing(now), (0, None));
    }

    #[test]
    fn ch_1_what_is_done_to_content_spares_a_tunnel() {
        let delay = Duration::from_millis(5);
        let kinds = [Kind::PartialBody(1), Kind::Throttle(1), Kind::Delay(delay)].map(|kind| (1.0, kind));
        let (caps, now) = (caps(9), Instant::now());
        let fault = fault(Mode::Enforce, &caps, kinds.into(), now);
        let met = fault.meet(WorkerId::CONTROL, true, now).0.unwrap();
        assert_eq!((met.delay, met.body, fault.standing(now).0), (Some(delay), None, 1));
        let met = fault.meet(WorkerId::CONTROL, false, now).0.unwrap();
        assert_eq!((met.body, fault.standing(now).0), (Some(Body::Partial(1)), 4));
    }

    #[test]
    fn ch_1_delays_add_up_and_the_first_end_counts() {
        let delay = Duration::from_millis(5);
        let kinds =
            [Kind::Delay(delay), Kind::Abort(StatusCode::BAD_GATEWAY), Kind::Delay(delay), Kind::Reset];
        let (caps, now) = (caps(9), Instant::now());
        let fault = fault(Mode::Enforce, &caps, kinds.map(|kind| (1.0, kind)).into(), now);
        let met = fault.meet(WorkerId::CONTROL, false, now).0.unwrap();
        assert_eq!((met.delay, met.end), (Some(2 * delay), Some(End::Abort(StatusCode::BAD_GATEWAY))));
        fault.end();
        assert!(fault.meet(WorkerId::CONTROL, false, now).0.is_none() && !fault.is_on(now));
    }
}
