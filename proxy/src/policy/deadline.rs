//! Until when is the answer of any use? What downstream said, clipped by policy, and what is left of it for upstream.
//!
//! Downstream may say its time in any of three [`Vocabulary`]s; the shortest counts, and what is left is passed on in
//! each of them and in `x-deadline`. It is always the rest that is passed on, on retries too (Envoy sends the whole
//! limit again: envoyproxy/envoy#13196).
//!
//! A value that cannot be read is an error of the caller (400), not a reason to go on without: to ignore it would mean
//! to work for somebody who may be gone, or to overwrite a field that means something else to the application.

use std::fmt;
use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderName, HeaderValue};
use outrigger_config::model::RequestTimeout;

/// A way to say how much time is left. None of them names a moment: clocks differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Vocabulary {
    /// `x-deadline: 1500`, milliseconds. Ours.
    Plain,
    /// `grpc-timeout: 1500m`, at most eight digits and a unit (gRPC over HTTP/2, "Requests").
    Grpc,
    /// `x-envoy-expected-rq-timeout-ms: 1500`.
    Envoy,
}

impl Vocabulary {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Plain, Self::Grpc, Self::Envoy];

    /// The field that carries it.
    pub const fn header(self) -> HeaderName {
        match self {
            Self::Plain => HeaderName::from_static("x-deadline"),
            Self::Grpc => HeaderName::from_static("grpc-timeout"),
            Self::Envoy => HeaderName::from_static("x-envoy-expected-rq-timeout-ms"),
        }
    }

    /// Reads a field value.
    pub fn read(self, value: &[u8]) -> Result<Duration, Malformed> {
        match self {
            Self::Plain | Self::Envoy => number(value, 19).map(Duration::from_millis),
            Self::Grpc => grpc(value),
        }
        .ok_or(Malformed(self))
    }

    /// Writes what is left: rounded down, yet never 0, since 0 means expired and that is not passed on.
    pub fn write(self, left: Duration) -> HeaderValue {
        let millis = u64::try_from(left.as_millis()).unwrap_or(u64::MAX).max(1);
        match self {
            Self::Plain | Self::Envoy => HeaderValue::from(millis),
            Self::Grpc => {
                let units = [(millis, 'm'), (millis / 1000, 'S'), (millis / 60_000, 'M')];
                let fits = units.into_iter().find(|(n, _)| *n <= GRPC_MAX);
                let (n, unit) = fits.unwrap_or(((millis / 3_600_000).min(GRPC_MAX), 'H'));
                HeaderValue::try_from(format!("{n}{unit}")).expect("digits and a letter are a field value")
            }
        }
    }
}

/// Eight digits.
const GRPC_MAX: u64 = 99_999_999;

/// A deadline that cannot be read: the caller's fault, 400.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed(pub Vocabulary);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let form = match self.0 {
            Vocabulary::Plain | Vocabulary::Envoy => "a number of milliseconds",
            Vocabulary::Grpc => "at most eight digits and one of H, M, S, m, u, n",
        };
        write!(f, "{}: expected {form}", self.0.header())
    }
}

impl std::error::Error for Malformed {}

/// What downstream said about its patience.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Told {
    shortest: Option<Duration>,
    words: [bool; Vocabulary::ALL.len()],
}

impl Told {
    /// Reads all vocabularies out of a request head.
    pub fn read(headers: &HeaderMap) -> Result<Self, Malformed> {
        let mut told = Self::default();
        for word in Vocabulary::ALL {
            for value in headers.get_all(word.header()) {
                told.hear(word, value.as_bytes())?;
            }
        }
        Ok(told)
    }

    /// Takes one field into account; of several, the shortest time counts.
    pub fn hear(&mut self, word: Vocabulary, value: &[u8]) -> Result<(), Malformed> {
        let time = word.read(value)?;
        self.shortest = Some(self.shortest.map_or(time, |shortest| shortest.min(time)));
        self.words[word as usize] = true;
        Ok(())
    }

    /// The shortest time told; zero means expired on arrival.
    pub fn shortest(&self) -> Option<Duration> {
        self.shortest
    }

    /// When that time is over, if a clock can count to it.
    fn until(&self, now: Instant) -> Option<Instant> {
        self.shortest.and_then(|told| now.checked_add(told))
    }

    /// The vocabularies in which to pass the rest on: ours, and those we were told in.
    pub fn words(&self) -> impl Iterator<Item = Vocabulary> {
        let told = self.words;
        Vocabulary::ALL.into_iter().filter(move |word| *word == Vocabulary::Plain || told[*word as usize])
    }
}

/// When an exchange must have come how far.
///
/// Head and body are kept apart because the built-in limit ends with the head (TO-1), while what a caller said covers
/// the exchange to its last byte. So a limit that says nothing about the body is not passed on either: the next hop
/// would take it for the whole and cut a download that flows.
///
/// A *stream* (a gRPC exchange) may be silent and long-lived by intent, so no built-in limit applies to it, and a written
/// one only from the end of the request's content to the response head; else it is bounded by `idle` and by what the
/// caller said. So is a *tunnel*, once it stands; until then it is a request like any other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadline {
    /// The response head must be there. No attempt begins at or after it.
    pub head: Instant,
    /// The last byte must be there; `None`: as long as it flows.
    pub whole: Option<Instant>,
    /// How far ahead of the request's content `head` stays while that flows; `None`: it stands still.
    ahead: Option<Duration>,
    /// How long a stream may be waited for once the request's content is complete.
    answer: Option<Duration>,
}

impl Deadline {
    /// Of an exchange that begins `now`: the earlier of what policy allows and what downstream told (DL-2). Limits of a
    /// policy are bounded by its schema; a told time that no clock can count to is none.
    pub fn new(now: Instant, policy: RequestTimeout, told: &Told) -> Self {
        let deadline = Self { whole: told.until(now), ..Self::at(now) }.set(now + policy.limit());
        match policy {
            RequestTimeout::Whole(_) => Self { whole: Some(deadline.head), ..deadline },
            RequestTimeout::UntilHead(limit) => Self { ahead: Some(limit), ..deadline },
        }
    }

    /// Of a stream that begins `now`; `idle` is its limit without a byte in either direction.
    pub fn of_stream(now: Instant, policy: RequestTimeout, idle: Duration, told: &Told) -> Self {
        let answer = match policy {
            RequestTimeout::Whole(limit) => limit,
            RequestTimeout::UntilHead(_) => idle,
        };
        let deadline = Self { whole: told.until(now), ..Self::at(now) }.set(now + idle);
        Self { ahead: Some(idle), answer: Some(answer), ..deadline }
    }

    /// Of a request for a tunnel that begins `now`. What policy allows ends with the head, and so is not passed on.
    pub fn of_tunnel(now: Instant, policy: RequestTimeout, told: &Told) -> Self {
        Self { whole: told.until(now), ..Self::at(now) }.set(now + policy.limit())
    }

    /// That stands at `head`, whatever happens.
    pub fn at(head: Instant) -> Self {
        Self { head, whole: None, ahead: None, answer: None }
    }

    /// The request's content still flows `now`: what bounds a wait for an answer doesn't bound this.
    #[must_use]
    pub fn while_flowing(self, now: Instant) -> Self {
        self.ahead.map_or(self, |ahead| self.set(now + ahead))
    }

    /// The request's content was complete `now`: from here on a stream's upstream is waited for. To say so again changes
    /// nothing, nor does content that flows again, on a retry. What is no stream keeps its limits.
    #[must_use]
    pub fn completed(self, now: Instant) -> Self {
        self.answer.map_or(self, |answer| Self { ahead: None, answer: None, ..self }.set(now + answer))
    }

    /// With the head at `head`, as far as the caller will wait.
    fn set(self, head: Instant) -> Self {
        Self { head: self.whole.map_or(head, |whole| whole.min(head)), ..self }
    }

    /// Time left for a response head; `None`: it is over (DL-3, on arrival too).
    pub fn left(&self, now: Instant) -> Option<Duration> {
        self.head.checked_duration_since(now).filter(|left| !left.is_zero())
    }

    /// Time left to tell upstream of; `None` where nobody set a limit to the whole exchange, or nothing is left.
    pub fn to_pass_on(&self, now: Instant) -> Option<Duration> {
        self.whole?.checked_duration_since(now).filter(|left| !left.is_zero())
    }
}

/// A number of at most `digits` decimal digits (19 fit).
pub(super) fn number(text: &[u8], digits: usize) -> Option<u64> {
    if text.is_empty() || text.len() > digits || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(text.iter().fold(0, |n, digit| n * 10 + u64::from(digit - b'0')))
}

fn grpc(text: &[u8]) -> Option<Duration> {
    let (unit, digits) = text.split_last()?;
    let n = number(digits, 8)?;
    match unit {
        b'H' => Some(Duration::from_secs(n * 3600)),
        b'M' => Some(Duration::from_secs(n * 60)),
        b'S' => Some(Duration::from_secs(n)),
        b'm' => Some(Duration::from_millis(n)),
        b'u' => Some(Duration::from_micros(n)),
        b'n' => Some(Duration::from_nanos(n)),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
