//! What did the sidecars change? What was measured, side by side, for people and for machines.

use std::fmt;

use serde::Serialize;

use super::load::{Summary, share};
use super::scenes::Played;
use super::services::{Replica, Temper};
use super::trials::Trial;

/// All that a run has measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// What the caller saw without sidecars.
    pub without: Summary,
    /// What the caller saw with them, in the same time.
    pub with: Summary,
    /// Who answered.
    pub replicas: Vec<Calls>,
    /// What the sidecar of `holdings` did.
    pub retries: Retries,
    /// Who was let in by a sidecar of `market-data`; nobody was tried if the run ended early.
    pub trials: Vec<Trial>,
    /// What happened after all this; ends early if the run did.
    pub scenes: Vec<Played>,
}

/// What one replica of `market-data` got to do.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Calls {
    /// What is wrong with it.
    pub temper: Temper,
    /// Calls without sidecars.
    pub without: u64,
    /// Calls through sidecars, retries included.
    pub with: u64,
}

/// What became of retries that the policy asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Retries {
    /// Made, and paid by the budget.
    pub allowed: u64,
    /// Not made, because the budget would not pay.
    pub refused: u64,
}

impl Retries {
    /// From a scrape of the sidecar beside `holdings`.
    pub fn scraped(text: &str) -> Self {
        Self {
            allowed: sum(text, "outrigger_retries_total", ""),
            refused: sum(text, "outrigger_retries_refused_total", r#"reason="budget""#),
        }
    }
}

impl Calls {
    /// Of this replica until now.
    pub fn of(replica: &Replica) -> Self {
        let [without, with] = replica.calls();
        Self { temper: replica.temper(), without, with }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (without, with) = (&self.without, &self.with);
        row(f, ["What the caller saw", "without", "with sidecars"])?;
        row(f, ["  requests", &without.requests.to_string(), &with.requests.to_string()])?;
        row(f, ["  success rate", &percent(without.success_rate), &percent(with.success_rate)])?;
        row(f, ["  p50", &millis(without.p50_ms), &millis(with.p50_ms)])?;
        row(f, ["  p99", &millis(without.p99_ms), &millis(with.p99_ms)])?;
        row(f, ["Which replica was called", "without", "with sidecars"])?;
        let total = |of: fn(&Calls) -> u64| self.replicas.iter().map(of).sum::<u64>();
        let totals = [total(|calls| calls.without), total(|calls| calls.with)];
        for calls in &self.replicas {
            let of = |part, whole| percent((whole > 0).then(|| share(part, whole)));
            let what = format!("  the {} one", calls.temper.label());
            row(f, [&what, &of(calls.without, totals[0]), &of(calls.with, totals[1])])?;
        }
        row(f, ["What the retry budget said", "without", "with sidecars"])?;
        row(f, ["  retries allowed", "-", &self.retries.allowed.to_string()])?;
        row(f, ["  retries refused", "-", &self.retries.refused.to_string()])?;
        if !self.scenes.is_empty() {
            row(f, ["Who was answered as it got worse", "without", "with sidecars"])?;
        }
        for Played { scene, without, with, deeds } in &self.scenes {
            row(f, [&format!("  {}", scene.label()), &percent(*without), &percent(*with)])?;
            writeln!(f, "    the sidecar: {deeds}")?;
        }
        if !self.trials.is_empty() {
            answer(f, "Who may call market-data", "answered")?;
        }
        self.trials.iter().try_for_each(|Trial { who, refused }| {
            let reason = refused.as_ref().map(|reason| format!("refused: {reason}"));
            answer(f, &format!("  {}", who.label()), reason.as_deref().unwrap_or("yes"))
        })
    }
}

fn row(f: &mut fmt::Formatter<'_>, [what, without, with]: [&str; 3]) -> fmt::Result {
    writeln!(f, "{what:<34}{without:>16}{with:>16}")
}

fn answer(f: &mut fmt::Formatter<'_>, who: &str, answer: &str) -> fmt::Result {
    writeln!(f, "{who:<34}{answer:>32}")
}

/// Rounded down: 99.996 % is not yet 100 %.
pub fn percent(share: Option<f64>) -> String {
    share.map_or_else(|| "-".to_owned(), |share| format!("{:.2} %", (share * 1e4).floor() / 100.0))
}

/// As far as a reader cares.
pub fn millis(millis: Option<f64>) -> String {
    millis.map_or_else(|| "-".to_owned(), |millis| format!("{millis:.1} ms"))
}

/// The sum over a family's rows that carry `label`.
pub fn sum(scrape: &str, family: &str, label: &str) -> u64 {
    let rows = scrape.lines().filter_map(|line| line.strip_prefix(family)?.strip_prefix('{'));
    rows.filter(|row| row.contains(label)).filter_map(|row| row.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::{Deeds, Scene, Who};

    fn summary(requests: usize, success_rate: Option<f64>, ms: Option<f64>) -> Summary {
        Summary { requests, success_rate, p50_ms: ms, p99_ms: ms.map(|ms| ms * 10.0) }
    }

    #[test]
    fn the_table_sets_both_sides_beside_each_other() {
        let report = Report {
            without: summary(900, Some(0.8888), Some(6.04)),
            with: summary(901, Some(1.0), Some(7.0)),
            replicas: vec![
                Calls { temper: Temper::Healthy, without: 3, with: 9 },
                Calls { temper: Temper::Slow, without: 3, with: 0 },
                Calls { temper: Temper::Failing, without: 3, with: 1 },
            ],
            retries: Retries { allowed: 12, refused: 3 },
            trials: vec![
                Trial { who: Who::Holdings, refused: None },
                Trial { who: Who::Plaintext, refused: Some("plaintext-refused".to_owned()) },
            ],
            scenes: vec![Played {
                scene: Scene::Gone,
                without: Some(0.0),
                with: Some(1.0),
                deeds: Deeds { breaker_opened: 1, stale: 90, ..Deeds::default() },
            }],
        };
        let expected = "\
What the caller saw                        without   with sidecars
  requests                                     900             901
  success rate                             88.88 %        100.00 %
  p50                                       6.0 ms          7.0 ms
  p99                                      60.4 ms         70.0 ms
Which replica was called                   without   with sidecars
  the healthy one                          33.33 %         90.00 %
  the slow one                             33.33 %          0.00 %
  the failing one                          33.33 %         10.00 %
What the retry budget said                 without   with sidecars
  retries allowed                                -              12
  retries refused                                -               3
Who was answered as it got worse           without   with sidecars
  the last replica is killed                0.00 %        100.00 %
    the sidecar: opened the breaker 1, answered stale 90
Who may call market-data                                  answered
  holdings, with its identity                                  yes
  a caller in plaintext                 refused: plaintext-refused
";
        assert_eq!(report.to_string(), expected);
    }

    #[test]
    fn nothing_measured_is_no_number() {
        let none = summary(0, None, None);
        let replicas = vec![Calls { temper: Temper::Slow, without: 0, with: 0 }];
        let retries = Retries { allowed: 0, refused: 0 };
        let report =
            Report { without: none.clone(), with: none, replicas, retries, trials: vec![], scenes: vec![] }
                .to_string();
        assert!(!report.contains("NaN") && !report.contains('%') && !report.contains("ms"), "{report}");
    }

    #[test]
    fn a_share_is_never_rounded_up() {
        assert_eq!(percent(Some(0.999_999)), "99.99 %");
        assert_eq!(percent(Some(1.0)), "100.00 %");
    }

    #[test]
    fn retries_are_read_from_a_scrape() {
        let scrape = "\
# TYPE outrigger_retries_total counter
outrigger_retries_total{upstream=\"market-data\",cause=\"503\"} 40
outrigger_retries_total{upstream=\"market-data\",cause=\"timeout\"} 2
outrigger_retries_refused_total{upstream=\"market-data\",reason=\"budget\"} 5
outrigger_retries_refused_total{upstream=\"market-data\",reason=\"deadline\"} 7
";
        assert_eq!(Retries::scraped(scrape), Retries { allowed: 42, refused: 5 });
        assert_eq!(Retries::scraped(""), Retries { allowed: 0, refused: 0 });
    }
}
