//! Which words can a value have? Every unit and name of the schema: parsed once, valid for ever.

mod identity;
mod names;
mod places;
mod store;
mod units;

use std::fmt;

pub use names::{Destination, Host, ListenAddress};
pub use units::{NonZeroDuration, Percent, Rate, Size};

/// A value that is written as one word.
pub trait Scalar: Sized {
    /// What a message calls it, with an article and an example.
    const WHAT: &'static str;
    /// All that it may look like, as an ECMA 262 regular expression. `parse` may be stricter.
    const PATTERN: &'static str;

    /// Reads the word.
    fn parse(text: &str) -> Result<Self, Malformed>;

    /// What to write instead of a number without a unit; `None` if a unit is not what it lacks.
    fn with_unit(_number: &str) -> Option<String> {
        None
    }
}

/// Why a word is not the value that it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed {
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub help: Option<String>,
}

impl Malformed {
    fn new(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { message: message.into(), help: Some(help.into()) }
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.help {
            Some(help) => write!(f, "{}; {help}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

impl std::error::Error for Malformed {}

fn malformed<T: Scalar>(text: &str, help: &str) -> Malformed {
    if !text.is_empty()
        && leading_digits(text) == text.len()
        && let Some(help) = T::with_unit(text)
    {
        return Malformed::new(format!("`{text}` has no unit"), help);
    }
    Malformed::new(format!("expected {}, found `{text}`", T::WHAT), help)
}

fn leading_digits(text: &str) -> usize {
    text.bytes().take_while(u8::is_ascii_digit).count()
}

#[cfg(test)]
mod tests;
