//! Which form of a request's path do rules see, and does any of them look? Only then is it touched.

use std::borrow::Cow;

use http::uri::PathAndQuery;
use http::{Method, Uri};
use outrigger_config::model::Direction;

use super::{ListenerId, Snapshot, Table};
use crate::message::RequestHead;
use crate::policy::path::{self, Ambiguity};

impl Snapshot {
    /// Brings the request's path into the form that all rules see and the application gets (`policy::path`), if any rule
    /// that could take the request looks at its path. Must come before anything that does.
    pub fn settle_path(&self, listener: ListenerId, head: &mut RequestHead) -> Result<(), Ambiguity> {
        let Some(table) = self.table(listener).filter(|table| table.looks_at_paths) else { return Ok(()) };
        if is_plain(head) || !self.looks_at_paths_of(listener.direction, table, head.host()) {
            return Ok(());
        }
        let settled = path::settle(head.target.path(), &table.paths)?;
        if settled.sent != head.target.path() {
            head.target = with_path(&head.target, &settled.sent).ok_or(Ambiguity::Octet)?;
        }
        head.seen_path = (settled.seen != settled.sent).then(|| settled.seen.into());
        Ok(())
    }

    /// The path as rules would see it, for one that must not change anything.
    pub fn seen<'h>(&self, listener: ListenerId, head: &'h RequestHead) -> Result<Cow<'h, str>, Ambiguity> {
        let keep = self.table(listener).map(|table| table.paths).unwrap_or_default();
        if is_plain(head) || head.seen_path.is_some() {
            return Ok(Cow::Borrowed(head.path()));
        }
        path::settle(head.target.path(), &keep).map(|settled| Cow::Owned(settled.seen))
    }

    /// Whether a rule that acts on requests for this host looks at their paths.
    fn looks_at_paths_of(&self, direction: Direction, table: &Table, host: &str) -> bool {
        table.router.looks_at_paths_of(host)
            || self.authorizers(direction).iter().any(|policy| policy.acts && policy.looks_at_paths)
            || self
                .limiters
                .iter()
                .any(|limiter| limiter.any_router(direction, |router| router.looks_at_paths_of(host)))
    }
}

/// Whether rules see its path as it came.
fn is_plain(head: &RequestHead) -> bool {
    head.method == Method::CONNECT || path::is_plain(head.target.path())
}

/// The same target with another path.
fn with_path(target: &Uri, path: &str) -> Option<Uri> {
    let mut parts = target.clone().into_parts();
    let written = match target.query() {
        Some(query) => PathAndQuery::try_from(format!("{path}?{query}")),
        None => PathAndQuery::try_from(path),
    };
    parts.path_and_query = Some(written.ok()?);
    Uri::from_parts(parts).ok()
}
