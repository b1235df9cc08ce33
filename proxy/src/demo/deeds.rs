//! What did the sidecar of `holdings` do? Differences between two scrapes of its metrics.

use std::fmt;

use serde::Serialize;

use super::report::sum;

/// What it did in some time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Deeds {
    /// Attempts after the first.
    pub retries: u64,
    /// Times that a replica was left alone for its failures.
    pub ejections: u64,
    /// Times that the circuit to all replicas opened.
    pub breaker_opened: u64,
    /// Requests that it denied for the rate of who asked.
    pub denied: u64,
    /// Prices from the cache in place of an error.
    pub stale: u64,
}

impl Deeds {
    /// From a scrape: all until now.
    pub fn scraped(text: &str) -> Self {
        Self {
            retries: sum(text, "outrigger_retries_total", ""),
            ejections: sum(text, "outrigger_endpoint_ejections_total", r#"mode="enforce""#),
            breaker_opened: sum(text, "outrigger_breaker_transitions_total", r#"to="open""#),
            denied: sum(text, "outrigger_rate_limit_decisions_total", r#"decision="denied-rate""#),
            stale: sum(text, "outrigger_fallbacks_total", r#"kind="stale""#),
        }
    }

    /// What came after `earlier`.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        Self {
            retries: self.retries - earlier.retries,
            ejections: self.ejections - earlier.ejections,
            breaker_opened: self.breaker_opened - earlier.breaker_opened,
            denied: self.denied - earlier.denied,
            stale: self.stale - earlier.stale,
        }
    }
}

impl fmt::Display for Deeds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let deeds = [
            ("retried", self.retries),
            ("ejected", self.ejections),
            ("opened the breaker", self.breaker_opened),
            ("denied", self.denied),
            ("answered stale", self.stale),
        ];
        let told =
            deeds.iter().filter(|(_, times)| *times > 0).map(|(what, times)| format!("{what} {times}"));
        let told = told.collect::<Vec<_>>().join(", ");
        f.write_str(if told.is_empty() { "did nothing" } else { &told })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCRAPE: &str = "\
outrigger_retries_total{upstream=\"market-data\",cause=\"timeout\"} 9
outrigger_endpoint_ejections_total{upstream=\"market-data\",cause=\"consecutive\",mode=\"enforce\"} 2
outrigger_endpoint_ejections_total{upstream=\"market-data\",cause=\"consecutive\",mode=\"dry_run\"} 4
outrigger_breaker_transitions_total{upstream=\"market-data\",scope=\"upstream\",from=\"closed\",to=\"open\"} 1
outrigger_breaker_transitions_total{upstream=\"market-data\",scope=\"upstream\",from=\"open\",to=\"half-open\"} 3
outrigger_rate_limit_decisions_total{policy=\"callers\",mode=\"enforce\",decision=\"denied-rate\"} 70
outrigger_rate_limit_decisions_total{policy=\"callers\",mode=\"enforce\",decision=\"allowed\"} 700
outrigger_fallbacks_total{route=\"prices\",kind=\"stale\",mode=\"enforce\"} 50
";

    #[test]
    fn deeds_are_read_from_a_scrape() {
        let all = Deeds::scraped(SCRAPE);
        assert_eq!(all, Deeds { retries: 9, ejections: 2, breaker_opened: 1, denied: 70, stale: 50 });
        let earlier = Deeds { retries: 4, denied: 70, ..Deeds::default() };
        assert_eq!(
            all.since(earlier).to_string(),
            "retried 5, ejected 2, opened the breaker 1, answered stale 50"
        );
    }

    #[test]
    fn no_deed_is_told_too() {
        assert_eq!(Deeds::scraped("").to_string(), "did nothing");
    }
}
