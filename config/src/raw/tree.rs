//! What does the text say, before it means anything? YAML 1.2 as a tree with the place of every node.
//!
//! The parser beneath yields events; the tree adds the core schema's scalar kinds, refuses duplicate keys and
//! tags, and bounds what a file may cost: bytes, nesting, nodes (aliases count what they repeat).

use std::collections::HashMap;

use granit_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Span as YamlSpan, StrInput};

use crate::Source;
use crate::faults::{Faults, Span};

/// Bytes of a file. A thousand upstreams with their routes stay below.
const MAX_BYTES: usize = 4 << 20;
/// Nodes of a file after aliases are expanded.
const MAX_NODES: usize = 200_000;
/// Keys of a mapping; the schema knows at most sixteen.
const MAX_KEYS: usize = 256;
/// Mappings and lists inside each other; the schema itself needs nine.
const MAX_DEPTH: usize = 32;

/// A value and its place.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) value: Value,
    pub(crate) span: Span,
}

/// What YAML knows.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    Scalar { text: String, kind: ScalarKind },
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// The core schema's kinds (YAML 1.2 §10.3.2): `no`, `on` and `1:30` are text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ScalarKind {
    Null,
    Bool,
    Number,
    Text,
}

/// One key of a mapping.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) key_span: Span,
    pub(crate) node: Node,
}

/// The documents of a file. Those with a syntax error are left out, the others are read all the same.
pub(crate) fn documents(index: usize, source: &Source, faults: &mut Faults<'_>) -> Vec<Node> {
    if source.text.len() > MAX_BYTES {
        faults.incomplete = true;
        faults.at(Span::start_of(index), format!("the file is larger than {} MiB", MAX_BYTES >> 20));
        return Vec::new();
    }
    let options = granit_parser::options! {
        emit_comments: false,
        flow_nesting_limit: MAX_DEPTH,
        block_nesting_limit: MAX_DEPTH,
    };
    let mut parser = Parser::new_from_str_with_options(&source.text, options);
    let mut builder = Builder { file: index, nodes: 0, ..Builder::default() };
    let mut documents = Vec::new();
    loop {
        match builder.document(&mut parser, faults) {
            Ok(Some(node)) => documents.push(node),
            Ok(None) => return documents,
            Err(Abandoned { reason, span }) => {
                faults.incomplete = true;
                faults.at(span, reason);
                if builder.nodes > MAX_NODES || !parser.proceed_next_document().unwrap_or(false) {
                    return documents;
                }
            }
        }
    }
}

impl Node {
    /// What it is, for a message.
    pub(crate) fn describe(&self) -> String {
        match &self.value {
            Value::Scalar { kind: ScalarKind::Null, .. } => "nothing".to_owned(),
            Value::Scalar { kind: ScalarKind::Bool, text } => format!("the boolean `{text}`"),
            Value::Scalar { kind: ScalarKind::Number, text } => format!("the number `{text}`"),
            Value::Scalar { kind: ScalarKind::Text, text } => format!("`{text}`"),
            Value::List(_) => "a list".to_owned(),
            Value::Map(_) => "a mapping".to_owned(),
        }
    }

    /// Whether nothing is written here.
    pub(crate) fn is_null(&self) -> bool {
        matches!(self.value, Value::Scalar { kind: ScalarKind::Null, .. })
    }

    fn size(&self) -> usize {
        1 + match &self.value {
            Value::Scalar { .. } => 0,
            Value::List(items) => items.iter().map(Self::size).sum(),
            Value::Map(entries) => entries.iter().map(|entry| entry.node.size()).sum(),
        }
    }
}

/// Why a document cannot be read on.
struct Abandoned {
    reason: String,
    span: Span,
}

/// A collection that is not closed yet.
struct Open {
    span: Span,
    anchor: usize,
    items: Items,
}

enum Items {
    List(Vec<Node>),
    Map(Vec<Entry>, Option<(String, Span)>),
}

#[derive(Default)]
struct Builder {
    file: usize,
    nodes: usize,
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
}

impl Builder {
    /// The next document that says anything; `None` at the end of the file.
    fn document<'t>(
        &mut self,
        parser: &mut Parser<'t, StrInput<'t>>,
        faults: &mut Faults<'_>,
    ) -> Result<Option<Node>, Abandoned> {
        self.open.clear();
        self.anchors.clear();
        while let Some(event) = parser.next_event() {
            let (event, at) = event.map_err(|error| self.syntax(&error))?;
            if let Some(root) = self.event(event, at, faults)?
                && !root.is_null()
            {
                return Ok(Some(root));
            }
        }
        Ok(None)
    }

    /// Takes one event; the root when it is complete.
    fn event(
        &mut self,
        event: Event<'_>,
        at: YamlSpan,
        faults: &mut Faults<'_>,
    ) -> Result<Option<Node>, Abandoned> {
        let span = self.span(at);
        if let Some(tag) = event.tag() {
            faults.at(span, format!("the tag `{}` is not supported", tag.original()));
        }
        match event {
            Event::Scalar(text, style, anchor, _) => {
                let kind = kind(&text, style);
                let value = Value::Scalar { text: text.into_owned(), kind };
                self.put(Node { value, span }, anchor, faults)
            }
            Event::SequenceStart(_, anchor, _) => self.push(span, anchor, Items::List(Vec::new())),
            Event::MappingStart(_, anchor, _) => self.push(span, anchor, Items::Map(Vec::new(), None)),
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(Open { span, anchor, items }) => {
                    let value = match items {
                        Items::List(items) => Value::List(items),
                        Items::Map(entries, _) => Value::Map(entries),
                    };
                    self.put(Node { value, span }, anchor, faults)
                }
                None => Ok(None),
            },
            Event::Alias(id) => match self.anchors.get(&id) {
                Some(node) => {
                    let node = node.clone();
                    self.count(node.size(), span)?;
                    self.put(node, 0, faults)
                }
                None => Err(Abandoned { reason: "an anchor cannot contain itself".to_owned(), span }),
            },
            _ => Ok(None),
        }
    }

    fn push(&mut self, span: Span, anchor: usize, items: Items) -> Result<Option<Node>, Abandoned> {
        self.open.push(Open { span: Span { width: 1, ..span }, anchor, items });
        self.count(1, span)?;
        Ok(None)
    }

    /// Puts a finished node where it belongs; gives it back if it is the root.
    fn put(&mut self, node: Node, anchor: usize, faults: &mut Faults<'_>) -> Result<Option<Node>, Abandoned> {
        self.count(1, node.span)?;
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        let Some(parent) = self.open.last_mut() else { return Ok(Some(node)) };
        match &mut parent.items {
            Items::List(items) => items.push(node),
            Items::Map(entries, key @ None) => match node.value {
                Value::Scalar { .. } if entries.len() == MAX_KEYS => {
                    let reason = format!("more than {MAX_KEYS} keys in one mapping");
                    return Err(Abandoned { reason, span: node.span });
                }
                Value::Scalar { text, .. } => {
                    if let Some(first) = entries.iter().find(|entry| entry.key == text) {
                        let help = format!("first written in line {}", first.key_span.line);
                        faults.at_with(node.span, format!("duplicate key `{text}`"), help);
                    }
                    *key = Some((text, node.span));
                }
                _ => {
                    return Err(Abandoned { reason: "a key must be text".to_owned(), span: node.span });
                }
            },
            Items::Map(entries, key) => {
                if let Some((key, key_span)) = key.take()
                    && entries.iter().all(|entry| entry.key != key)
                {
                    entries.push(Entry { key, key_span, node });
                }
            }
        }
        Ok(None)
    }

    fn count(&mut self, nodes: usize, span: Span) -> Result<(), Abandoned> {
        self.nodes += nodes;
        if self.nodes > MAX_NODES {
            let reason = format!("more than {MAX_NODES} values in one file, aliases expanded");
            return Err(Abandoned { reason, span });
        }
        Ok(())
    }

    fn span(&self, at: YamlSpan) -> Span {
        let width = if at.start.line() == at.end.line() {
            at.end.col().saturating_sub(at.start.col())
        } else {
            MAX_BYTES
        };
        self.place(&at.start, width.max(1))
    }

    fn syntax(&self, error: &ScanError) -> Abandoned {
        let reason = match error.kind() {
            granit_parser::ErrorKind::RecursionLimitExceeded => format!("nested more than {MAX_DEPTH} deep"),
            kind => format!("not YAML: {kind}"),
        };
        Abandoned { reason, span: self.place(error.marker(), 1) }
    }

    fn place(&self, mark: &Marker, width: usize) -> Span {
        Span { file: self.file, line: mark.line().max(1), column: mark.col() + 1, width }
    }
}

/// Resolves a plain scalar by the core schema; every other style is text.
fn kind(text: &str, style: ScalarStyle) -> ScalarKind {
    match text {
        _ if style != ScalarStyle::Plain => ScalarKind::Text,
        "" | "~" | "null" | "Null" | "NULL" => ScalarKind::Null,
        "true" | "True" | "TRUE" | "false" | "False" | "FALSE" => ScalarKind::Bool,
        _ if is_number(text) => ScalarKind::Number,
        _ => ScalarKind::Text,
    }
}

/// `[-+]?(digits, with a fraction and an exponent)`, `0o17`, `0xff`, `.inf`, `.nan`.
fn is_number(text: &str) -> bool {
    if let Some(octal) = text.strip_prefix("0o") {
        return !octal.is_empty() && octal.bytes().all(|b| (b'0'..=b'7').contains(&b));
    }
    if let Some(hex) = text.strip_prefix("0x") {
        return !hex.is_empty() && hex.bytes().all(|b| b.is_ascii_hexdigit());
    }
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    match unsigned {
        ".inf" | ".Inf" | ".INF" => true,
        ".nan" | ".NaN" | ".NAN" => unsigned.len() == text.len(),
        _ => {
            unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.') && unsigned.parse::<f64>().is_ok()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scalars_follow_yaml_1_2_and_not_1_1() {
        for text in
            ["no", "on", "off", "yes", "1:30", "0b1", "1_000", "1.2.3", "inf", "nan", "+", "1e", "0o8"]
        {
            assert_eq!(kind(text, ScalarStyle::Plain), ScalarKind::Text, "{text}");
        }
        for text in ["0", "-1", "+12.5", "1e3", ".5", "5.", "0o17", "0xfF", "-.inf", ".nan"] {
            assert_eq!(kind(text, ScalarStyle::Plain), ScalarKind::Number, "{text}");
            assert_eq!(kind(text, ScalarStyle::DoubleQuoted), ScalarKind::Text, "{text}");
        }
    }

    #[test]
    fn aliases_are_bounded_by_what_they_expand_to() {
        let mut text = String::from("a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n");
        for n in 1..10 {
            let line = format!("a{n}: &a{n} [{}]\n", vec![format!("*a{}", n - 1); 10].join(", "));
            text.push_str(&line);
        }
        let sources = [Source { name: "bomb.yaml".to_owned(), text }];
        let mut faults = Faults::new(&sources);
        assert!(documents(0, &sources[0], &mut faults).is_empty());
        let errors = faults.into_result::<()>(None).unwrap_err().to_string();
        assert!(errors.contains("aliases expanded"), "{errors}");
    }
}
