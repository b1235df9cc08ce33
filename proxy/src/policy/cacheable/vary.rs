//! Which other requests does a response answer? Those alike in the fields that `Vary` names (RFC 9111 §4.1).

use http::HeaderMap;
use http::header::{HeaderName, VARY};

/// The fields that chose a response, and their values. The values themselves and no hash of them: one that collides
/// would give somebody another's answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Vary(Vec<(HeaderName, Option<Vec<u8>>)>);

impl Vary {
    /// What `response` says about the request `asked`; `None` if no other request can be known to be alike.
    pub fn new(asked: &HeaderMap, response: &HeaderMap) -> Option<Self> {
        let mut fields = Vec::new();
        for line in response.get_all(VARY) {
            for name in line.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
                if !name.is_empty() {
                    // `*` and whatever is no field name: nothing is alike.
                    let name = HeaderName::from_bytes(name).ok().filter(|name| name != "*")?;
                    let value = combined(asked, &name);
                    fields.push((name, value));
                }
            }
        }
        fields.sort_by(|(a, _), (b, _)| a.as_str().cmp(b.as_str()));
        fields.dedup();
        Some(Self(fields))
    }

    /// Whether a request is like the one that was answered.
    pub fn matches(&self, asked: &HeaderMap) -> bool {
        self.0.iter().all(|(name, value)| combined(asked, name) == *value)
    }

    /// Octets of names and values.
    pub fn octets(&self) -> usize {
        self.0.iter().map(|(name, value)| name.as_str().len() + value.as_ref().map_or(0, Vec::len)).sum()
    }

    /// The names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &HeaderName> {
        self.0.iter().map(|(name, _)| name)
    }
}

/// All values of a field as one list, white space around members left out; absent is not empty.
fn combined(headers: &HeaderMap, name: &HeaderName) -> Option<Vec<u8>> {
    let members = headers.get_all(name).iter().flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    headers.contains_key(name).then(|| members.map(<[u8]>::trim_ascii).collect::<Vec<_>>().join(&b","[..]))
}
