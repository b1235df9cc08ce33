//! How does a node become what the user meant by it? One trait, and the macros that declare the schema.
//!
//! Reading never stops at a fault: a field that cannot be read is reported and left out, and the rest is read.

use std::ops::Deref;

use http::HeaderName;
use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::{Map, json};

use super::similar;
use super::tree::{Entry, Node, ScalarKind, Value};
use super::unsupported;
use crate::faults::{Faults, Span};
use crate::model::Name;
use crate::scalars::{
    Destination, Host, ListenAddress, Malformed, NonZeroDuration, Percent, Rate, Scalar, Size,
};

/// A value and where it was written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spanned<T> {
    pub(crate) value: T,
    pub(crate) span: Span,
}

/// What can be read from a node.
pub(crate) trait Read: Sized {
    /// The value, or `None` after what is wrong with it was reported.
    fn read(node: &Node, faults: &mut Faults<'_>) -> Option<Self>;

    /// What an editor should accept.
    fn schema(generator: &mut SchemaGenerator) -> Schema;
}

/// A list of at least one.
#[derive(Debug, Clone)]
pub(crate) struct List<T>(Vec<Spanned<T>>);

/// A whole number in a range.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Whole<const MIN: u64, const MAX: u64>(u64);

/// A number of bytes in a range.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bytes<const MIN: u64, const MAX: u64>(u64);

/// Text that means itself.
#[derive(Debug, Clone)]
pub(crate) struct Text(pub(crate) String);

/// One key of a mapping, for its schema.
pub(crate) struct Field {
    pub(crate) key: &'static str,
    pub(crate) doc: &'static str,
    pub(crate) required: bool,
    pub(crate) schema: Schema,
}

impl<T> Deref for List<T> {
    type Target = [Spanned<T>];

    fn deref(&self) -> &[Spanned<T>] {
        &self.0
    }
}

impl<T> List<T> {
    /// The values without their places.
    pub(crate) fn values(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|item| &item.value)
    }
}

/// The items of a list that may not be there.
pub(crate) fn items<T>(list: Option<&Spanned<List<T>>>) -> std::slice::Iter<'_, Spanned<T>> {
    list.map_or_else(Default::default, |list| list.value.iter())
}

impl<T> Spanned<T> {
    /// Another value in the same place.
    pub(crate) fn map<U>(self, value: impl Fn(T) -> U) -> Spanned<U> {
        Spanned { value: value(self.value), span: self.span }
    }
}

impl<T> From<List<T>> for Vec<T> {
    fn from(list: List<T>) -> Self {
        list.0.into_iter().map(|item| item.value).collect()
    }
}

/// What is written, or the default.
pub(crate) fn or<W: Into<T>, T>(written: Option<Spanned<W>>, default: T) -> T {
    written.map_or(default, |written| written.value.into())
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
    Whole => u16, u32, usize;
    Bytes => u64, usize;
}

impl<T: Read> Read for List<T> {
    fn read(node: &Node, faults: &mut Faults<'_>) -> Option<Self> {
        let Value::List(items) = &node.value else {
            faults.at(node.span, format!("expected a list, found {}", node.describe()));
            return None;
        };
        if items.is_empty() {
            faults.at(node.span, "the list is empty");
        }
        let read = |item| T::read(item, faults).map(|value| Spanned { value, span: item.span });
        Some(Self(items.iter().filter_map(read).collect()))
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "array", "minItems": 1, "items": T::schema(generator) })
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

/// A word that [`Scalar`] reads.
pub(crate) fn scalar<T: Scalar>(node: &Node, faults: &mut Faults<'_>) -> Option<T> {
    if let Value::Scalar { text: number, kind: ScalarKind::Number } = &node.value
        && let Some(help) = T::with_unit(number)
    {
        faults.at_with(node.span, format!("`{number}` has no unit"), help);
        return None;
    }
    match T::parse(text(node, T::WHAT, faults)?) {
        Ok(value) => Some(value),
        Err(Malformed { message, help }) => {
            faults.report(node.span, &message, help.as_deref());
            None
        }
    }
}

/// The text of a node that is text.
pub(crate) fn text<'n>(node: &'n Node, what: &str, faults: &mut Faults<'_>) -> Option<&'n str> {
    match &node.value {
        Value::Scalar { text, kind: ScalarKind::Text } => return Some(text),
        Value::Scalar { text, kind: ScalarKind::Bool | ScalarKind::Number } => {
            let help = format!("quote it: `\"{text}\"`");
            faults.at_with(node.span, format!("expected {what}, found {}", node.describe()), help);
        }
        _ => faults.at(node.span, format!("expected {what}, found {}", node.describe())),
    }
    None
}

/// The entries of a mapping, after its keys were checked.
pub(crate) fn entries<'n>(
    node: &'n Node,
    known: &[(&'static str, bool)],
    faults: &mut Faults<'_>,
) -> Option<&'n [Entry]> {
    let Value::Map(entries) = &node.value else {
        let help = node.is_null().then_some("write `{}` for the defaults");
        faults.report(node.span, &format!("expected a mapping, found {}", node.describe()), help);
        return None;
    };
    for Entry { key, key_span, .. } in entries {
        if known.iter().all(|(name, _)| name != key) {
            unknown_key(key, *key_span, known, faults);
        }
    }
    for (name, required) in known {
        if *required && entries.iter().all(|entry| entry.key != *name) {
            faults.at(node.span, format!("missing `{name}`"));
        }
    }
    Some(entries)
}

/// One field of a mapping; `None` if it is not there or was reported.
pub(crate) fn field<T: Read>(entries: &[Entry], key: &str, faults: &mut Faults<'_>) -> Option<Spanned<T>> {
    let node = &entries.iter().find(|entry| entry.key == key)?.node;
    T::read(node, faults).map(|value| Spanned { value, span: node.span })
}

/// One of a closed set of words.
pub(crate) fn word<T: Copy>(node: &Node, words: &[(&'static str, T)], faults: &mut Faults<'_>) -> Option<T> {
    let names = || words.iter().map(|(word, _)| *word);
    let what = similar::one_of(names());
    let found = text(node, &what, faults)?;
    if let Some((_, value)) = words.iter().find(|(word, _)| *word == found) {
        return Some(*value);
    }
    if unsupported::WORDS.contains(&found) {
        faults.at_with(node.span, unsupported::message(found), format!("expected {what}"));
        return None;
    }
    let help = similar::to(found, names()).unwrap_or_else(|| format!("expected {what}"));
    faults.at_with(node.span, format!("unknown value `{found}`"), help);
    None
}

/// The schema of a closed mapping.
pub(crate) fn mapping_schema(doc: &str, fields: Vec<Field>) -> Schema {
    let required: Vec<_> = fields.iter().filter(|field| field.required).map(|field| field.key).collect();
    let properties: Map<_, _> = fields
        .into_iter()
        .map(|mut field| {
            field.schema.insert("description".to_owned(), json!(field.doc.trim()));
            (field.key.to_owned(), field.schema.to_value())
        })
        .collect();
    json_schema!({
        "type": "object",
        "description": doc.trim(),
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    })
}

fn unknown_key(key: &str, span: Span, known: &[(&'static str, bool)], faults: &mut Faults<'_>) {
    let names = || known.iter().map(|(name, _)| *name);
    if unsupported::KEYS.contains(&key) {
        return faults.at(span, unsupported::message(key));
    }
    let help = similar::to(key, names()).unwrap_or_else(|| format!("known here: {}", similar::list(names())));
    faults.at_with(span, format!("unknown field `{key}`"), help);
}

/// Declares a mapping of the schema: its keys, their types and which must be there, each with its description.
///
/// The one declaration yields the struct, its reader and its JSON Schema, so that these cannot differ. A field that
/// the resolver does not read is dead code, and the compiler says so: no key can parse and do nothing.
macro_rules! mapping {
    ($(#[doc = $doc:literal])* $name:ident {
        $($(#[doc = $field_doc:literal])* $key:literal => $field:ident: $type:ty $(, $required:ident)?;)*
    }) => {
        $(#[doc = $doc])*
        #[derive(Debug, Default)]
        pub(crate) struct $name {
            $($(#[doc = $field_doc])* pub(crate) $field: Option<$crate::raw::read::Spanned<$type>>,)*
        }

        impl $crate::raw::read::Read for $name {
            fn read(node: &$crate::raw::tree::Node, faults: &mut $crate::faults::Faults<'_>) -> Option<Self> {
                let known = [$(($key, $crate::raw::read::mapping!(@required $($required)?))),*];
                let entries = $crate::raw::read::entries(node, &known, faults)?;
                Some(Self { $($field: $crate::raw::read::field(entries, $key, faults)),* })
            }

            fn schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
                generator.subschema_for::<Self>()
            }
        }

        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
                $crate::raw::read::mapping_schema(concat!($($doc),*), vec![$($crate::raw::read::Field {
                    key: $key,
                    doc: concat!($($field_doc),*),
                    required: $crate::raw::read::mapping!(@required $($required)?),
                    schema: <$type as $crate::raw::read::Read>::schema(generator),
                }),*])
            }
        }
    };
    (@required required) => { true };
    (@required) => { false };
}
pub(crate) use mapping;

/// A closed set of words.
pub(crate) trait Words: Copy + PartialEq + 'static {
    /// Each with what it means.
    const WORDS: &'static [(&'static str, Self)];

    /// How it is written.
    fn word(self) -> &'static str {
        Self::WORDS.iter().find(|(_, value)| *value == self).map_or("", |(word, _)| word)
    }
}

/// Declares the words of an enum.
macro_rules! words {
    ($type:ty { $($word:literal => $value:expr,)* }) => {
        impl $crate::raw::read::Words for $type {
            const WORDS: &'static [(&'static str, Self)] = &[$(($word, $value)),*];
        }

        impl $crate::raw::read::Read for $type {
            fn read(node: &$crate::raw::tree::Node, faults: &mut $crate::faults::Faults<'_>) -> Option<Self> {
                $crate::raw::read::word(node, <Self as $crate::raw::read::Words>::WORDS, faults)
            }

            fn schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "enum": [$($word),*] })
            }
        }
    };
}
pub(crate) use words;

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
    ListenAddress,
    Name,
    Host,
    crate::model::HostPattern
);
