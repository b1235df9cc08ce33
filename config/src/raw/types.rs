//! Which types can a field have, beside mappings and words? Lists, numbers, text, and the scalars with units.

use std::num::NonZeroU32;
use std::ops::Deref;
use std::time::Duration;

use http::HeaderName;
use schemars::{Schema, SchemaGenerator, json_schema};

use super::read::{Read, Spanned, scalar, text};
use super::tree::{Node, ScalarKind, Value};
use crate::faults::Faults;
use crate::model::{
    AdminAddress, ForwardTo, HostPattern, IdentityMatch, Locality, Name, Network, PeerIdentity, Store,
};
use crate::scalars::{Destination, Host, ListenAddress, NonZeroDuration, Percent, Rate, Scalar, Size};

/// A list, of at least one unless `MIN` is 0.
#[derive(Debug, Clone)]
pub(crate) struct List<T, const MIN: usize = 1>(Vec<Spanned<T>>);

/// A whole number in a range.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Whole<const MIN: u64, const MAX: u64>(u64);

/// A number of bytes in a range.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bytes<const MIN: u64, const MAX: u64>(u64);

/// A duration in a range of milliseconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lasting<const MIN: u64, const MAX: u64>(NonZeroDuration);

/// A rate of at least so many a second.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RateFrom<const MIN: u32>(Rate);

/// Text that means itself.
#[derive(Debug, Clone)]
pub(crate) struct Text(pub(crate) String);

impl<T, const MIN: usize> Deref for List<T, MIN> {
    type Target = [Spanned<T>];

    fn deref(&self) -> &[Spanned<T>] {
        &self.0
    }
}

impl<T, const MIN: usize> List<T, MIN> {
    /// The values without their places.
    pub(crate) fn values(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|item| &item.value)
    }
}

/// The items of a list that may not be there.
pub(crate) fn items<T, const MIN: usize>(
    list: Option<&Spanned<List<T, MIN>>>,
) -> std::slice::Iter<'_, Spanned<T>> {
    list.map_or_else(Default::default, |list| list.value.iter())
}

impl<T, const MIN: usize> From<List<T, MIN>> for Vec<T> {
    fn from(list: List<T, MIN>) -> Self {
        list.0.into_iter().map(|item| item.value).collect()
    }
}

/// Lets a number become the model's type.
macro_rules! numbers {
    ($($raw:ident => $($model:ty),*;)*) => {$($(
        impl<const MIN: u64, const MAX: u64> From<$raw<MIN, MAX>> for $model {
            fn from(number: $raw<MIN, MAX>) -> Self {
                Self::try_from(number.0).expect("every MAX in the schema fits the model's type")
            }
        }
    )*)*};
}
numbers! {
    Whole => u16, u32, u64, usize;
    Bytes => u32, u64, usize;
}

impl<const MAX: u64> From<Whole<1, MAX>> for NonZeroU32 {
    fn from(number: Whole<1, MAX>) -> Self {
        Self::new(number.into()).expect("the least is 1")
    }
}

impl<T: Read, const MIN: usize> Read for List<T, MIN> {
    fn read(node: &Node, faults: &mut Faults<'_>) -> Option<Self> {
        let Value::List(items) = &node.value else {
            faults.at(node.span, format!("expected a list, found {}", node.describe()));
            return None;
        };
        if items.len() < MIN {
            faults.at(node.span, "the list is empty");
        }
        let read = |item| T::read(item, faults).map(|value| Spanned { value, span: item.span });
        Some(Self(items.iter().filter_map(read).collect()))
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "array", "minItems": MIN, "items": T::schema(generator) })
    }
}

impl<const MIN: u64, const MAX: u64> Read for Whole<MIN, MAX> {
    fn read(node: &Node, faults: &mut Faults<'_>) -> Option<Self> {
        let number = match &node.value {
            Value::Scalar { text, kind: ScalarKind::Number } => text.parse().ok(),
            _ => None,
        };
        match number {
            Some(number) if (MIN..=MAX).contains(&number) => Some(Self(number)),
            _ => {
                faults.at(
                    node.span,
                    format!("expected a whole number, {MIN} to {MAX}, found {}", node.describe()),
                );
                None
            }
        }
    }

    fn schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "minimum": MIN, "maximum": MAX })
    }
}

impl<const MIN: u64, const MAX: u64> Read for Bytes<MIN, MAX> {
    fn read(node: &Node, faults: &mut Faults<'_>) -> Option<Self> {
        let size = Size::read(node, faults)?;
        if (MIN..=MAX).contains(&size.bytes()) {
            return Some(Self(size.bytes()));
        }
        let (min, max) = (Size::from_bytes(MIN), Size::from_bytes(MAX));
        faults.at(node.span, format!("`{size}` is out of range: {min} to {max}"));
        None
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        Size::schema(generator)
    }
}

impl<const MIN: u64, const MAX: u64> Read for Lasting<MIN, MAX> {
    fn read(node: &Node, faults: &mut Faults<'_>) -> Option<Self> {
        let duration = NonZeroDuration::read(node, faults)?;
        let [min, max] = [MIN, MAX].map(Duration::from_millis);
        if (min..=max).contains(&duration.into()) {
            return Some(Self(duration));
        }
        let [min, max] = [min, max].map(NonZeroDuration::format);
        faults.at(node.span, format!("`{duration}` is out of range: {min} to {max}"));
        None
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        NonZeroDuration::schema(generator)
    }
}

impl<const MIN: u64, const MAX: u64> From<Lasting<MIN, MAX>> for Duration {
    fn from(duration: Lasting<MIN, MAX>) -> Self {
        duration.0.into()
    }
}

impl<const MIN: u32> Read for RateFrom<MIN> {
    fn read(node: &Node, faults: &mut Faults<'_>) -> Option<Self> {
        let rate = Rate::read(node, faults)?;
        if rate.per_second() >= f64::from(MIN) {
            return Some(Self(rate));
        }
        faults.at(node.span, format!("`{rate}` is out of range: at least {MIN}/s"));
        None
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        Rate::schema(generator)
    }
}

impl<const MIN: u32> From<RateFrom<MIN>> for f64 {
    fn from(rate: RateFrom<MIN>) -> Self {
        rate.0.per_second()
    }
}

impl Read for Text {
    fn read(node: &Node, faults: &mut Faults<'_>) -> Option<Self> {
        text(node, "text", faults).map(|text| Self(text.to_owned()))
    }

    fn schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string" })
    }
}

impl Read for HeaderName {
    fn read(node: &Node, faults: &mut Faults<'_>) -> Option<Self> {
        let text = text(node, "a field name", faults)?;
        let name = Self::try_from(text).ok();
        if name.is_none() {
            faults.at(node.span, format!("`{text}` is not a field name"));
        }
        name
    }

    fn schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$" })
    }
}

/// Lets the scalars be fields.
macro_rules! scalars {
    ($($type:ty),*) => {$(
        impl Read for $type {
            fn read(node: &Node, faults: &mut Faults<'_>) -> Option<Self> {
                scalar(node, faults)
            }

            fn schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "pattern": <$type as Scalar>::PATTERN })
            }
        }
    )*};
}
scalars!(
    NonZeroDuration,
    Percent,
    Size,
    Rate,
    Destination,
    ForwardTo,
    ListenAddress,
    Name,
    Host,
    HostPattern,
    Network,
    Locality,
    PeerIdentity,
    IdentityMatch,
    AdminAddress,
    Store
);
