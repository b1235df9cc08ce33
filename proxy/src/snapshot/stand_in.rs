//! What stands in for an upstream that fails? A rule's chain, ready to be used: files read, names bound.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use outrigger_config::model::{self, Applied, CannedBody, Config, Fallback, FallbackCondition, Mode};

use super::Backend;
use crate::reload::files::digest;
use crate::telemetry::RouteMetrics;

/// The most that a `bodyFile` may hold: it lies in memory for as long as its snapshot.
const MAX_BODY: u64 = 1 << 20;

/// What is tried in turn when the attempts have failed.
#[derive(Debug)]
pub struct Chain {
    /// In the order in which they are tried.
    pub steps: Vec<Step>,
    /// What is counted.
    pub metrics: Arc<RouteMetrics>,
}

/// One of them.
#[derive(Debug)]
pub struct Step {
    /// Whether it acts.
    pub mode: Mode,
    /// The failures for which it stands in.
    pub on: Vec<FallbackCondition>,
    /// What stands in.
    pub with: StandIn,
}

/// What stands in.
#[derive(Debug)]
pub enum StandIn {
    /// What the upstream's cache still has.
    Stale,
    /// Another upstream.
    Backend(Box<Backend>),
    /// A stub; `degraded`: it bears a mark by which the caller sees that something is missing.
    Canned {
        /// What is answered.
        answer: Canned,
        /// It is called `degrade` and not `static`.
        degraded: bool,
    },
}

/// A whole answer that is written down.
#[derive(Debug)]
pub struct Canned {
    /// What it says.
    pub status: StatusCode,
    /// None of them about the connection or the framing.
    pub headers: HeaderMap,
    /// What follows.
    pub body: Bytes,
}

impl Chain {
    /// Another upstream is among its steps.
    pub(super) fn has_spare(&self) -> bool {
        self.steps.iter().any(|step| matches!(step.with, StandIn::Backend(_)))
    }
}

/// A `bodyFile` that cannot be had.
#[derive(Debug)]
pub struct BodyFileError {
    route: String,
    path: PathBuf,
    error: io::Error,
}

impl fmt::Display for BodyFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "route {}: cannot read the bodyFile {}: {}", self.route, self.path.display(), self.error)
    }
}

impl std::error::Error for BodyFileError {}

/// The files that a policy names, and what was in them when its snapshot was built: a change makes a new one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BodyFiles {
    /// In the order of the policy.
    pub paths: Vec<PathBuf>,
    /// The [`digest`] of what they hold.
    pub digest: u64,
}

impl BodyFiles {
    /// As they are now.
    pub fn of(config: &Config) -> Self {
        let rules = config.routes.iter().flat_map(|route| &route.rules);
        let chains = rules.filter_map(|rule| rule.fallback.as_ref()).flatten();
        let paths = chains.filter_map(|fallback| match &fallback.with {
            model::StandIn::Static(canned) | model::StandIn::Degrade(canned) => match &canned.body {
                CannedBody::File(path) => Some(path.clone()),
                CannedBody::Inline(_) => None,
            },
            model::StandIn::Stale | model::StandIn::Backend(_) => None,
        });
        let paths: Vec<_> = paths.collect();
        let digest = digest(&paths);
        Self { paths, digest }
    }
}

/// Whether every `bodyFile` of a policy can be read, before anything of its snapshot is built.
pub fn check(config: &Config) -> Result<(), BodyFileError> {
    for route in &config.routes {
        for fallback in route.rules.iter().filter_map(|rule| rule.fallback.as_ref()).flatten() {
            if let model::StandIn::Static(canned) | model::StandIn::Degrade(canned) = &fallback.with {
                read(canned, route.name.as_str())?;
            }
        }
    }
    Ok(())
}

/// What a rule says. `backend` finds another upstream.
pub(super) fn chain(
    route: &str,
    wanted: &[Applied<Fallback>],
    metrics: Arc<RouteMetrics>,
    backend: impl Fn(&model::Backend) -> Backend,
) -> Result<Chain, BodyFileError> {
    let canned = |canned: &model::Canned, degraded| -> Result<_, BodyFileError> {
        Ok(StandIn::Canned { answer: ready(canned, route)?, degraded })
    };
    let step = |fallback: &Applied<Fallback>| -> Result<_, BodyFileError> {
        let with = match &fallback.with {
            model::StandIn::Stale => StandIn::Stale,
            model::StandIn::Backend(other) => StandIn::Backend(Box::new(backend(other))),
            model::StandIn::Static(answer) => canned(answer, false)?,
            model::StandIn::Degrade(answer) => canned(answer, true)?,
        };
        Ok(Step { mode: fallback.mode, on: fallback.on.clone(), with })
    };
    let steps = wanted.iter().map(step).collect::<Result<_, _>>()?;
    Ok(Chain { steps, metrics })
}

/// What a rule that says nothing has where an upstream has a cache: what is there is better than an error.
pub(super) fn stale(metrics: Arc<RouteMetrics>) -> Chain {
    let step = Step { mode: Mode::Enforce, on: vec![FallbackCondition::Any], with: StandIn::Stale };
    Chain { steps: vec![step], metrics }
}

fn ready(canned: &model::Canned, route: &str) -> Result<Canned, BodyFileError> {
    let headers = canned.headers.iter().fold(HeaderMap::new(), |mut headers, (name, value)| {
        headers.append(name, value.clone());
        headers
    });
    Ok(Canned { status: canned.status, headers, body: read(canned, route)? })
}

fn read(canned: &model::Canned, route: &str) -> Result<Bytes, BodyFileError> {
    match &canned.body {
        CannedBody::Inline(text) => Ok(Bytes::copy_from_slice(text.as_bytes())),
        CannedBody::File(path) => bounded(path).map_err(|error| {
            let (route, path) = (route.to_owned(), path.clone());
            BodyFileError { route, path, error }
        }),
    }
}

fn bounded(path: &Path) -> io::Result<Bytes> {
    let mut body = Vec::new();
    File::open(path)?.take(MAX_BODY + 1).read_to_end(&mut body)?;
    if body.len() as u64 > MAX_BODY {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("larger than {MAX_BODY} octets")));
    }
    Ok(body.into())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn of(path: &Path) -> model::Canned {
        let body = CannedBody::File(path.to_owned());
        model::Canned { status: StatusCode::OK, headers: Vec::new(), body }
    }

    #[test]
    fn fb_5_a_body_file_is_read_once_and_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("body");
        fs::write(&path, vec![b'x'; 1 << 20]).unwrap();
        let canned = ready(&of(&path), "prices").unwrap();
        fs::write(&path, vec![b'x'; (1 << 20) + 1]).unwrap();
        assert_eq!(canned.body.len(), 1 << 20, "what was read stays");
        let error = ready(&of(&path), "prices").unwrap_err().to_string();
        assert!(error.contains("route prices") && error.contains("larger than"), "{error}");
        assert!(ready(&of(&dir.path().join("none")), "prices").is_err());
    }
}
