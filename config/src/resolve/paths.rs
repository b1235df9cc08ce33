//! Which paths can a rule name, and what does a listener do with odd ones?

use crate::faults::{Faults, Span};
use crate::model::Paths;
use crate::raw::{self, Spanned, or};

/// A listener's way with ambiguous paths.
pub(super) fn listener(written: Option<&Spanned<raw::Paths>>) -> Paths {
    let Some(Spanned { value: written, .. }) = written else { return Paths::default() };
    Paths {
        escaped_slashes: or(written.escaped_slashes, Paths::default().escaped_slashes),
        empty_segments: or(written.empty_segments, Paths::default().empty_segments),
        parameters: or(written.parameters, Paths::default().parameters),
    }
}

/// Rules see paths decoded, without dot segments, empty ones and parameters: a rule that names such a thing would never
/// match.
pub(super) fn check(path: &str, span: Span, faults: &mut Faults<'_>) -> bool {
    let odd = |c: &char| {
        matches!(c, '?' | '#' | '\\' | ';' | '%') || (c.is_whitespace() && *c != ' ') || c.is_control()
    };
    if let Some(c) = path.chars().find(odd) {
        let help = match c {
            '?' => "the query has its own key: `query`",
            '%' => "rules see paths decoded: write the character itself",
            ';' => "rules see paths without parameters",
            '#' | '\\' => "a request with it is refused",
            _ => "a request with it is refused; a space is one that is not encoded here",
        };
        faults.at_with(span, format!("a path cannot contain {c:?}"), help);
        return false;
    }
    let inner = path.strip_suffix('/').unwrap_or(path);
    let what = inner.split('/').skip(1).find_map(|segment| match segment {
        "" => Some("an empty segment"),
        "." => Some("the segment `.`"),
        ".." => Some("the segment `..`"),
        _ => None,
    });
    if let Some(what) = what {
        faults.at_with(span, format!("a path cannot have {what}"), "rules see paths without it");
    }
    what.is_none()
}
