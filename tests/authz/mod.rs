//! Who may do what, and can a rule be got around? Policies, spellings of paths, what the application learns of its caller.

mod callers;
mod identities;
mod paths;
mod policies;

use crate::support::draft::answer;
use crate::support::origin::{Origin, Reply};
use crate::support::rig::{Rig, Wishes};

/// An application that answers 200 to everything.
fn application() -> Origin {
    Origin::start(|_, _| Reply::Answer(answer(200)))
}

/// An `AuthorizationPolicy` document.
fn policy(name: &str, lines: &str) -> String {
    format!("apiVersion: outrigger/v1\nkind: AuthorizationPolicy\nname: {name}\n{lines}\n")
}

/// A sidecar before this application, with further keys of its inbound port.
fn before(application: &Origin, inbound: &str, documents: &[String]) -> Rig {
    let wishes = Wishes { app: Some(application.addr), inbound: inbound.to_owned(), ..Wishes::default() };
    Rig::with(&wishes, documents)
}
