//! What may a listener say of ambiguous paths?

use super::declare::{mapping, words};
use crate::model::Oddity;

mapping! {
    /// Ways of writing a path that two readers may read differently. They are looked at only where a rule looks at paths.
    Paths {
        /// `%2F`, as in the ids of some APIs. Kept, rules take it for a slash.
        "escapedSlashes" => escaped_slashes: Oddity;
        /// `//`. Kept, rules take it for one slash.
        "emptySegments" => empty_segments: Oddity;
        /// `;` and what follows it in a segment, as in `/flights;class=first`. Kept, rules do not see it.
        "parameters" => parameters: Oddity;
    }
}

words!(Oddity { "refuse" => Self::Refuse, "keep" => Self::Keep, });
