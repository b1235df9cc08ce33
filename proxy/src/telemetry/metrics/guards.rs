//! What is counted of breakers, ejection and checks of one upstream?

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use super::super::cells::{Counter, WorkerId};
use super::scrape::Scrape;
use super::series::{Series, SeriesCap, Value};
use super::{Metrics, UpstreamMetrics};

/// Endpoints that are shown one by one; of more, a chart would show nothing.
const SHOWN: usize = 256;

/// The counters of what keeps requests from an upstream and its endpoints. What is counted here is rare, so whoever it
/// happens to counts as [`WorkerId::CONTROL`].
#[derive(Debug)]
pub struct GuardMetrics {
    turns: Series<Turn>,
    refused: Series<&'static str>,
    ejections: Series<Ejection>,
    spared: Series<&'static str>,
    checks: Series<&'static str>,
    chronic: Counter,
    panicked: Counter,
    panics: AtomicBool,
    states: Mutex<Vec<EndpointState>>,
}

/// The state of a breaker has changed: the labels that say how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turn {
    /// Whose it is: `endpoint` or `upstream`.
    pub scope: &'static str,
    /// The state that was left.
    pub from: &'static str,
    /// The state that was entered.
    pub to: &'static str,
    /// Why.
    pub cause: &'static str,
    /// `enforce` or `dry_run`.
    pub mode: &'static str,
}

/// Cause and mode.
type Ejection = (&'static str, &'static str);

/// How one endpoint stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointState {
    /// Its address; `-`: the upstream as a whole.
    pub endpoint: String,
    /// It takes requests; `None`: nobody judges.
    pub healthy: Option<bool>,
    /// Its breaker: 0 closed, 1 half-open, 2 open; `None`: it has none.
    pub breaker: Option<u8>,
}

impl GuardMetrics {
    /// Series that exist from the start: three plain ones, and five places for words that find none.
    pub(super) const SERIES: usize = 8;

    pub(super) fn new(workers: usize, cap: &Arc<SeriesCap>) -> Self {
        Self {
            turns: Series::new(workers, cap),
            refused: Series::new(workers, cap),
            ejections: Series::new(workers, cap),
            spared: Series::new(workers, cap),
            checks: Series::new(workers, cap),
            chronic: Counter::new(workers),
            panicked: Counter::new(workers),
            panics: AtomicBool::new(false),
            states: Mutex::default(),
        }
    }

    /// A breaker has changed its state.
    pub fn turned(&self, turn: Turn) {
        self.turns.inc(WorkerId::CONTROL, turn);
    }

    /// An attempt was refused by a breaker, or would have been.
    pub fn refused(&self, mode: &'static str) {
        self.refused.inc(WorkerId::CONTROL, mode);
    }

    /// An endpoint was ejected, or would have been.
    pub fn ejected(&self, cause: &'static str, mode: &'static str) {
        self.ejections.inc(WorkerId::CONTROL, (cause, mode));
    }

    /// An endpoint was not ejected, since as many are out as may be.
    pub fn spared(&self, mode: &'static str) {
        self.spared.inc(WorkerId::CONTROL, mode);
    }

    /// An endpoint was ejected too often lately.
    pub fn chronic(&self) {
        self.chronic.inc(WorkerId::CONTROL);
    }

    /// How many were.
    #[cfg(test)]
    pub fn chronic_count(&self) -> u64 {
        self.chronic.get()
    }

    /// A check ended like this.
    pub fn checked(&self, result: &'static str) {
        self.checks.inc(WorkerId::CONTROL, result);
    }

    /// An attempt was made at whomever, for too few are fit.
    pub fn panicked(&self) {
        self.panicked.inc(WorkerId::CONTROL);
    }

    /// How the endpoints stand now, and whether too few are fit.
    pub fn set_states(&self, mut states: Vec<EndpointState>, panics: bool) {
        states.truncate(SHOWN);
        *self.states.lock().unwrap_or_else(PoisonError::into_inner) = states;
        self.panics.store(panics, Relaxed);
    }

    fn visit(&self, mut visitor: impl FnMut(&EndpointState)) {
        self.states.lock().unwrap_or_else(PoisonError::into_inner).iter().for_each(&mut visitor);
    }
}

impl Value for Turn {
    fn same(self, other: Self) -> bool {
        self == other
    }
}

impl Value for Ejection {
    fn same(self, other: Self) -> bool {
        self == other
    }
}

impl Metrics {
    pub(super) fn guard_families(&self, scrape: &mut Scrape) {
        scrape.gauges("breaker_state", "Circuit breakers: 0 closed, 1 half-open, 2 open.", |row| {
            self.visit_states(|labels, state| {
                state.breaker.iter().for_each(|phase| row(labels, (*phase).into()));
            });
        });
        scrape.gauges(
            "endpoint_healthy",
            "Whether checks and failures leave an endpoint in: 1 or 0.",
            |row| {
                self.visit_states(|labels, state| {
                    state.healthy.iter().for_each(|is| row(labels, (*is).into()));
                });
            },
        );
        scrape.gauges("panic", "Whether requests go to all endpoints, for too few are fit: 1 or 0.", |row| {
            self.visit_live_upstreams(|name, of| row(&[name], of.guards.panics.load(Relaxed).into()));
        });
        scrape.counters("breaker_transitions_total", "Changes of a circuit breaker's state.", |row| {
            self.upstreams.visit(|upstream, of, _| {
                for (Turn { scope, from, to, cause, mode }, count) in of.guards.turns.iter() {
                    let how =
                        [("scope", scope), ("from", from), ("to", to), ("cause", cause), ("mode", mode)];
                    let labels: Vec<_> = [("upstream", &**upstream)].into_iter().chain(how).collect();
                    row(&labels, count);
                }
            });
        });
        scrape.counters(
            "endpoint_ejections_total",
            "Endpoints left alone for failing real requests.",
            |row| {
                self.upstreams.visit(|upstream, of, _| {
                    for ((cause, mode), count) in of.guards.ejections.iter() {
                        row(&[("upstream", upstream), ("cause", cause), ("mode", mode)], count);
                    }
                });
            },
        );
        let mut by_word = |name, help, label, series: fn(&GuardMetrics) -> &Series<&'static str>| {
            scrape.counters(name, help, |row| {
                self.upstreams.visit(|upstream, of, _| {
                    for (word, count) in series(&of.guards).iter() {
                        row(&[("upstream", upstream), (label, word)], count);
                    }
                });
            });
        };
        by_word("breaker_refusals_total", "Requests refused by a circuit breaker.", "mode", |of| &of.refused);
        let help = "Endpoints that failed as much as the ejected, but as many were out as may be.";
        by_word("endpoint_ejections_spared_total", help, "mode", |of| &of.spared);
        by_word("health_checks_total", "Checks of endpoints ended.", "result", |of| &of.checks);
        let mut plain = |name, help, counter: fn(&GuardMetrics) -> &Counter| {
            scrape.counters(name, help, |row| {
                self.upstreams.visit(|name, of, _| row(&[("upstream", name)], counter(&of.guards).get()));
            });
        };
        let help = "Endpoints ejected so often within an hour that somebody should look at them.";
        plain("endpoint_chronic_total", help, |of| &of.chronic);
        let help = "Attempts made at whichever endpoint, for too few were fit.";
        plain("panic_attempts_total", help, |of| &of.panicked);
    }

    /// Each endpoint of upstreams that are in use.
    fn visit_states(&self, mut visitor: impl FnMut(&[(&str, &str)], &EndpointState)) {
        self.visit_live_upstreams(|upstream, of: &UpstreamMetrics| {
            of.guards.visit(|state| visitor(&[upstream, ("endpoint", &state.endpoint)], state));
        });
    }
}
