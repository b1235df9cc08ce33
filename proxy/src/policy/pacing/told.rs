//! What does an answer tell of its server's limit? The fields of draft-ietf-httpapi-ratelimit-headers, in all their forms.
//!
//! Up to -06 there are three plain fields, and a `RateLimit-Policy` beside them; -07 joins the three into
//! `RateLimit: limit=100, remaining=50, reset=5`; since -08 it is `RateLimit: "name";r=50;t=5` with
//! `RateLimit-Policy: "name";q=100;w=60`. All of them are items and parameters, so one reader of `key=value` reads them
//! all. What is no finite number, or makes no sense, was not said.

use std::time::Duration;

use http::{HeaderMap, HeaderName};

const LIMIT: HeaderName = HeaderName::from_static("ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("ratelimit-reset");
const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const JOINED: HeaderName = HeaderName::from_static("ratelimit");

/// What an answer says.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Heard {
    /// How its server stands.
    pub quota: Option<Quota>,
    /// The request was one too many: 429, or gRPC's `RESOURCE_EXHAUSTED`.
    pub refused: bool,
    /// `Retry-After` of a 429.
    pub wait: Option<Duration>,
}

/// A limit, and what is left of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Quota {
    /// Requests at once, or in a window; at least 1.
    pub limit: f64,
    /// How many are left, `limit` at most.
    pub remaining: f64,
    /// Seconds until all of them are back, at least 1.
    pub reset: f64,
    /// Requests a second in the long run, if the server tells.
    pub rate: Option<f64>,
}

impl Heard {
    /// Nothing to pace by.
    pub fn says_nothing(&self) -> bool {
        self.quota.is_none() && !self.refused && self.wait.is_none()
    }
}

impl Quota {
    /// What the fields say, if anything.
    pub fn read(fields: &HeaderMap) -> Option<Self> {
        let joined = |short: &str, long: &str| {
            let mut pairs = pairs(text(fields, &JOINED)?);
            pairs.find(|(key, _)| *key == short || *key == long).and_then(|(_, value)| number(value))
        };
        let plain = |name: &HeaderName| number(first(text(fields, name)?));
        let remaining = plain(&REMAINING).or_else(|| joined("r", "remaining"))?;
        let policy = text(fields, &POLICY).and_then(tightest);
        let limit = plain(&LIMIT).or_else(|| joined("l", "limit")).or(policy.map(|policy| policy.0));
        let limit = limit.filter(|limit| *limit >= 1.0)?;
        Some(Self {
            limit,
            remaining: remaining.min(limit),
            reset: plain(&RESET).or_else(|| joined("t", "reset")).unwrap_or(1.0).max(1.0),
            rate: policy.map(|(quota, window)| quota / window),
        })
    }

    /// The same limit, whatever is left of it.
    pub fn is_same(&self, other: &Self) -> bool {
        (self.limit.to_bits(), self.rate.map(f64::to_bits))
            == (other.limit.to_bits(), other.rate.map(f64::to_bits))
    }
}

/// Quota and window of the policy that allows the least in the long run.
fn tightest(policies: &str) -> Option<(f64, f64)> {
    let each = policies.split(',').filter_map(|policy| {
        let named = |name| pairs(policy).find(|(key, _)| *key == name).and_then(|(_, value)| number(value));
        let quota = named("q").or_else(|| number(first(policy)))?;
        Some((quota, named("w")?)).filter(|(quota, window)| *quota >= 1.0 && *window >= 1.0)
    });
    each.min_by(|(q1, w1), (q2, w2)| (q1 * w2).total_cmp(&(q2 * w1)))
}

fn text<'f>(fields: &'f HeaderMap, name: &HeaderName) -> Option<&'f str> {
    fields.get(name)?.to_str().ok()
}

/// The item before its parameters, of a list the first (-03 and -04 put the policies behind the limit).
fn first(value: &str) -> &str {
    value.split([',', ';']).next().unwrap_or_default()
}

fn pairs(value: &str) -> impl Iterator<Item = (&str, &str)> {
    value.split([',', ';']).filter_map(|part| part.trim().split_once('='))
}

/// A whole number, as the draft has them; digits alone, so neither `inf` nor `1e9`.
fn number(text: &str) -> Option<f64> {
    let text = text.trim();
    let whole = !text.is_empty() && text.len() <= 15 && text.bytes().all(|c| c.is_ascii_digit());
    if whole { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(fields: &[(&'static str, &'static str)]) -> Option<(f64, f64, f64, Option<f64>)> {
        let fields =
            fields.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()));
        let quota = Quota::read(&fields.collect())?;
        Some((quota.limit, quota.remaining, quota.reset, quota.rate))
    }

    #[test]
    fn bp_2_each_form_of_the_fields_is_read() {
        let plain = [("ratelimit-limit", "20"), ("ratelimit-remaining", "7"), ("ratelimit-reset", "2")];
        assert_eq!(read(&plain), Some((20.0, 7.0, 2.0, None)));
        let with = |policy| read(&[plain[0], plain[1], plain[2], ("ratelimit-policy", policy)]);
        assert_eq!(with("100;w=1;burst=20"), Some((20.0, 7.0, 2.0, Some(100.0))));
        assert_eq!(with("100;w=1, 600; w=60"), Some((20.0, 7.0, 2.0, Some(10.0))), "the tightest");
        let old = [("ratelimit-limit", "10, 10;w=1;burst=1000"), plain[1], plain[2]];
        assert_eq!(read(&old), Some((10.0, 7.0, 2.0, None)));
        let joined = [("ratelimit", "limit=100, remaining=50, reset=5")];
        assert_eq!(read(&joined), Some((100.0, 50.0, 5.0, None)));
        let named = [("ratelimit", "\"default\";r=50;t=30"), ("ratelimit-policy", "\"default\";q=100;w=50")];
        assert_eq!(read(&named), Some((100.0, 50.0, 30.0, Some(2.0))));
    }

    #[test]
    fn bp_2_nonsense_was_not_said() {
        assert_eq!(read(&[]), None);
        assert_eq!(read(&[("ratelimit-limit", "20")]), None);
        let of = |limit, remaining, reset| {
            read(&[
                ("ratelimit-limit", limit),
                ("ratelimit-remaining", remaining),
                ("ratelimit-reset", reset),
            ])
        };
        for (limit, remaining) in
            [("0", "0"), ("-1", "5"), ("inf", "5"), ("", "5"), ("5", "NaN"), ("5", "1e3")]
        {
            assert_eq!(of(limit, remaining, "1"), None, "{limit} {remaining}");
        }
        assert_eq!(
            of("5", "9", "0"),
            Some((5.0, 5.0, 1.0, None)),
            "no more than all, no sooner than it can say"
        );
        assert_eq!(of("9999999999999999", "1", "1"), None);
        let policy =
            [("ratelimit-limit", "5"), ("ratelimit-remaining", "5"), ("ratelimit-policy", "100;w=0")];
        assert_eq!(read(&policy), Some((5.0, 5.0, 1.0, None)));
    }
}
