//! Which words have a unit? Durations, percentages, sizes and rates.

use std::fmt;
use std::time::Duration;

use super::{Malformed, Scalar, leading_digits, malformed};

/// A duration above zero: `250ms`, `1m30s` (GEP-2257: at most four numbers of at most five digits).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct NonZeroDuration(Duration);

/// A share between `0%` and `100%`, with up to three decimals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Percent {
    thousandths: u32,
}

/// Bytes: `512B`, `64KiB`, `1MiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(u64);

/// Events a second: `100/s`, `0.5/s`.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Rate(f64);

impl NonZeroDuration {
    /// Writes a duration as the schema reads it; what is below a millisecond is dropped.
    pub fn format(duration: Duration) -> String {
        let units = [(3_600_000, "h"), (60_000, "m"), (1000, "s"), (1, "ms")];
        let mut rest = duration.as_millis();
        let text: String = units
            .into_iter()
            .filter_map(|(millis, unit)| {
                let count = rest / millis;
                rest %= millis;
                (count > 0).then(|| format!("{count}{unit}"))
            })
            .collect();
        if text.is_empty() { "0s".to_owned() } else { text }
    }
}

impl Scalar for NonZeroDuration {
    const WHAT: &'static str = "a duration such as `250ms` or `1m30s`";
    const PATTERN: &'static str = "^([0-9]{1,5}(h|m|s|ms)){1,4}$";

    fn parse(text: &str) -> Result<Self, Malformed> {
        let mut rest = text;
        let mut total = Duration::ZERO;
        for parts in 0.. {
            if rest.is_empty() && parts > 0 {
                break;
            }
            let digits = leading_digits(rest);
            let (number, tail) = rest.split_at(digits);
            let letters = tail.bytes().take_while(u8::is_ascii_alphabetic).count();
            let (unit, tail) = tail.split_at(letters);
            let millis = match unit {
                "h" => 3_600_000,
                "m" => 60_000,
                "s" => 1000,
                "ms" => 1,
                _ => return Err(malformed::<Self>(text, "units are h, m, s and ms; no fractions")),
            };
            let number = number.parse::<u64>().ok().filter(|_| digits <= 5 && parts < 4);
            let Some(number) = number else {
                return Err(malformed::<Self>(text, "at most four numbers of at most five digits"));
            };
            total += Duration::from_millis(number * millis);
            rest = tail;
        }
        if total.is_zero() {
            return Err(Malformed::new("a duration must be above zero", "leave the key out for its default"));
        }
        Ok(Self(total))
    }

    fn with_unit(number: &str) -> Option<String> {
        Some(format!("write `{number}ms` or `{number}s`?"))
    }
}

impl fmt::Display for NonZeroDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&Self::format(self.0))
    }
}

impl Percent {
    /// Between 0 and 1.
    pub fn share(self) -> f64 {
        f64::from(self.thousandths) / 100_000.0
    }

    /// The percentage nearest to a share between 0 and 1.
    pub fn from_share(share: f64) -> Self {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 0..=100,000")]
        let thousandths = (share * 100_000.0).round().clamp(0.0, 100_000.0) as u32;
        Self { thousandths }
    }
}

impl Scalar for Percent {
    const WHAT: &'static str = "a percentage such as `20%`";
    const PATTERN: &'static str = "^[0-9]{1,3}([.][0-9]{1,3})?%$";

    fn parse(text: &str) -> Result<Self, Malformed> {
        let wrong = |help| malformed::<Self>(text, help);
        let number = text.strip_suffix('%').ok_or_else(|| wrong("a percentage ends in `%`"))?;
        let (whole, decimals) = number.split_once('.').unwrap_or((number, "0"));
        let digits = |text: &str| (1..=3).contains(&text.len()) && leading_digits(text) == text.len();
        if !digits(whole) || !digits(decimals) {
            return Err(wrong("at most three digits before and after the point"));
        }
        let thousandths = format!("{whole}{decimals:0<3}").parse::<u32>().ok().filter(|&n| n <= 100_000);
        Ok(Self { thousandths: thousandths.ok_or_else(|| wrong("at most `100%`"))? })
    }

    fn with_unit(number: &str) -> Option<String> {
        let fraction = number.parse::<f64>().ok().filter(|n| *n > 0.0 && *n < 1.0);
        let percent = fraction.map_or_else(|| format!("{number}%"), |n| Self::from_share(n).to_string());
        Some(format!("write `{percent}`?"))
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, decimals) = (self.thousandths / 1000, format!("{:03}", self.thousandths % 1000));
        match decimals.trim_end_matches('0') {
            "" => write!(f, "{whole}%"),
            decimals => write!(f, "{whole}.{decimals}%"),
        }
    }
}

impl Size {
    /// So many bytes.
    pub fn from_bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    /// How many bytes.
    pub fn bytes(self) -> u64 {
        self.0
    }
}

impl Scalar for Size {
    const WHAT: &'static str = "a size such as `64KiB`";
    const PATTERN: &'static str = "^[0-9]{1,10}(B|KiB|MiB)$";

    fn parse(text: &str) -> Result<Self, Malformed> {
        let digits = leading_digits(text);
        let (number, unit) = text.split_at(digits);
        let factor = match unit {
            "B" => 1,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "KB" | "kB" | "K" | "k" | "kib" => {
                return Err(malformed::<Self>(text, &format!("did you mean `{number}KiB`?")));
            }
            "MB" | "mB" | "M" | "m" | "mib" => {
                return Err(malformed::<Self>(text, &format!("did you mean `{number}MiB`?")));
            }
            _ => return Err(malformed::<Self>(text, "units are B, KiB and MiB; no fractions")),
        };
        let number = number.parse::<u64>().ok().filter(|_| digits <= 10);
        number.map(|n| Self(n * factor)).ok_or_else(|| malformed::<Self>(text, "at most ten digits"))
    }

    fn with_unit(number: &str) -> Option<String> {
        Some(format!("write `{number}B` or `{number}KiB`?"))
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            n if n > 0 && n % (1 << 20) == 0 => write!(f, "{}MiB", n >> 20),
            n if n > 0 && n % (1 << 10) == 0 => write!(f, "{}KiB", n >> 10),
            n => write!(f, "{n}B"),
        }
    }
}

impl Rate {
    /// So many a second.
    pub fn from_per_second(rate: f64) -> Self {
        Self(rate)
    }

    /// How many a second.
    pub fn per_second(self) -> f64 {
        self.0
    }
}

impl Scalar for Rate {
    const WHAT: &'static str = "a rate such as `100/s`";
    const PATTERN: &'static str = "^[0-9]{1,9}([.][0-9]{1,3})?/s$";

    fn parse(text: &str) -> Result<Self, Malformed> {
        let number = text.strip_suffix("/s").ok_or_else(|| malformed::<Self>(text, "a rate ends in `/s`"))?;
        let (whole, decimals) = number.split_once('.').unwrap_or((number, "0"));
        let digits =
            |text: &str, most| (1..=most).contains(&text.len()) && leading_digits(text) == text.len();
        let rate = number.parse().ok().filter(|_| digits(whole, 9) && digits(decimals, 3));
        rate.map(Self).ok_or_else(|| malformed::<Self>(text, "at most nine digits, and three decimals"))
    }

    fn with_unit(number: &str) -> Option<String> {
        Some(format!("write `{number}/s`?"))
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/s", self.0)
    }
}

impl From<NonZeroDuration> for Duration {
    fn from(duration: NonZeroDuration) -> Self {
        duration.0
    }
}

impl From<Percent> for f64 {
    fn from(percent: Percent) -> Self {
        percent.share()
    }
}

impl From<Rate> for f64 {
    fn from(rate: Rate) -> Self {
        rate.0
    }
}
