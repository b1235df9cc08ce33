//! How is the schema declared? One macro for mappings, one for closed sets of words.

use schemars::{Schema, json_schema};
use serde_json::{Map, json};

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
            /// All of it could be read: what is not there was not written.
            #[allow(dead_code, reason = "only a mapping whose keys depend on each other asks")]
            pub(crate) whole: bool,
        }

        impl $crate::raw::read::Read for $name {
            fn read(node: &$crate::raw::tree::Node, faults: &mut $crate::faults::Faults<'_>) -> Option<Self> {
                let known = [$(($key, $crate::raw::declare::mapping!(@required $($required)?))),*];
                let mut fields = $crate::raw::read::Fields::of(node, &known, faults)?;
                $(let $field = fields.take($key, faults);)*
                Some(Self { $($field,)* whole: fields.whole })
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
                $crate::raw::declare::mapping_schema(concat!($($doc),*), vec![$($crate::raw::declare::Field {
                    key: $key,
                    doc: concat!($($field_doc),*),
                    required: $crate::raw::declare::mapping!(@required $($required)?),
                    schema: <$type as $crate::raw::read::Read>::schema(generator),
                }),*])
            }
        }
    };
    (@required required) => { true };
    (@required) => { false };
}
pub(crate) use mapping;

/// One key of a mapping, for its schema.
pub(crate) struct Field {
    pub(crate) key: &'static str,
    pub(crate) doc: &'static str,
    pub(crate) required: bool,
    pub(crate) schema: Schema,
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
        impl $crate::raw::declare::Words for $type {
            const WORDS: &'static [(&'static str, Self)] = &[$(($word, $value)),*];
        }

        impl $crate::raw::read::Read for $type {
            fn read(node: &$crate::raw::tree::Node, faults: &mut $crate::faults::Faults<'_>) -> Option<Self> {
                $crate::raw::read::word(node, <Self as $crate::raw::declare::Words>::WORDS, faults)
            }

            fn schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "enum": [$($word),*] })
            }
        }
    };
}
pub(crate) use words;
