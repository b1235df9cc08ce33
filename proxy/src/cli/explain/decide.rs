//! Which way would the request go? The decision of the snapshot, and its account of how it was made.

use std::net::{IpAddr, SocketAddr};

use http::Method;
use outrigger_config::model::{self, Config, Direction, Discovery, PeerIdentity, Protocol};
use outrigger_config::scalars::Percent;
use outrigger_config::{
    describe_match, describe_policy, describe_rate_limit, describe_treatment, describe_upstream,
};
use serde::Serialize;
use serde_json::Value;

use super::request::Asked;
use crate::http1::head::parse_request;
use crate::message::{HeadError, RequestHead, Scratch};
use crate::pipeline::Failure;
use crate::policy::authz::{Caller, Verdict};
use crate::policy::router::{Obstacle, Step, lower_case};
use crate::snapshot::authorizer::Authorizer;
use crate::snapshot::{Backend, ListenerId, Rule, Snapshot, request};

/// What a request meets.
#[derive(Debug, Serialize)]
pub(super) struct Explanation {
    pub(super) method: String,
    pub(super) authority: String,
    pub(super) path: String,
    pub(super) direction: &'static str,
    #[serde(flatten)]
    pub(super) decision: Decision,
    /// What each authorization policy says, in the order in which they are asked.
    pub(super) authorization: Vec<Judgement>,
    /// In order of precedence, up to the match that takes the request.
    pub(super) tried: Vec<Tried>,
    /// What its rule says of it wherever it goes; null without one.
    pub(super) treatment: Value,
    /// The rate limit policies that concern it, in the order in which they are asked.
    pub(super) rate_limits: Vec<Value>,
    /// Where it goes; empty when it is answered by the sidecar itself.
    pub(super) backends: Vec<Target>,
}

/// Who decides where it goes.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "decided_by", rename_all = "kebab-case")]
pub(super) enum Decision {
    /// The last of the matches that were tried.
    Route { route: String, rule: String, location: String },
    /// No route, but the authority is the name of an upstream or one of its hosts.
    UpstreamName,
    /// No route, and the authority names nobody, but the upstream has the address that was meant.
    UpstreamAddress,
    /// No route, and nobody has the name or the address: it goes where it was meant to go.
    Unknown,
    /// No route: the application behind the port.
    Application,
    /// Nothing: answered by the sidecar, in the words of `x-outrigger-reason`.
    Refused { status: u16, reason: &'static str },
}

impl Decision {
    fn refused(failure: Failure) -> Self {
        Self::Refused { status: failure.status().as_u16(), reason: failure.cause() }
    }
}

/// Who asks.
#[derive(Debug)]
pub(super) struct Asker {
    pub(super) identity: Option<PeerIdentity>,
    pub(super) source: IpAddr,
}

/// What one authorization policy says.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Judgement {
    pub(super) policy: String,
    pub(super) allowed: bool,
    /// The rule that denies it; `None`: no rule allows it.
    pub(super) denied_by: Option<String>,
    /// It acts, and does not only count.
    pub(super) acts: bool,
}

/// One match.
#[derive(Debug, Serialize)]
pub(super) struct Tried {
    pub(super) route: String,
    pub(super) rule: String,
    #[serde(rename = "match")]
    pub(super) wanted: Value,
    /// What kept the request from it; `None`: it was taken.
    pub(super) obstacle: Option<String>,
}

/// One backend.
#[derive(Debug, Serialize)]
pub(super) struct Target {
    pub(super) share: String,
    pub(super) upstream: Value,
    /// Effective here, so instead of the upstream's own.
    pub(super) policy: Value,
}

/// Asks the snapshot as the data path does: the same parser, the same limits, the same router.
pub(super) fn explain(snapshot: &Snapshot, listener: ListenerId, asked: &Asked, who: &Asker) -> Explanation {
    let mut explanation = Explanation {
        method: asked.method.clone(),
        authority: asked.authority.clone(),
        path: asked.path.clone(),
        direction: match listener.direction {
            Direction::Outbound => "outbound",
            Direction::Inbound => "inbound",
        },
        decision: Decision::refused(Failure::BadRequest(HeadError::Syntax)),
        authorization: Vec::new(),
        tried: Vec::new(),
        treatment: Value::Null,
        rate_limits: Vec::new(),
        backends: Vec::new(),
    };
    match read(snapshot, listener, asked) {
        Ok(head) => {
            explanation.authorization = judgements(snapshot, listener, &head, who);
            meet(&mut explanation, snapshot, listener, (&head, asked.meant));
        }
        Err(failure) => explanation.decision = Decision::refused(failure),
    }
    explanation
}

/// The request as the rules see it.
fn read(snapshot: &Snapshot, listener: ListenerId, asked: &Asked) -> Result<RequestHead, Failure> {
    let parsed = parse_request(asked.head.as_bytes(), &snapshot.head_limits, &Scratch::default());
    let (mut head, _) = parsed.map_err(Failure::BadRequest)?.ok_or(Failure::BadRequest(HeadError::Syntax))?;
    snapshot.settle_path(listener, &mut head).map_err(Failure::AmbiguousPath)?;
    Ok(head)
}

/// All that a well-formed request meets.
fn meet(
    explanation: &mut Explanation,
    snapshot: &Snapshot,
    listener: ListenerId,
    (head, meant): (&RequestHead, Option<SocketAddr>),
) {
    explanation.tried = tried(snapshot, listener, head);
    // What speaks no HTTP is reached by a tunnel alone.
    let speaks = |rule: &&Rule| {
        let mut backends = rule.backends();
        head.method == Method::CONNECT
            || backends.any(|(backend, _)| backend.upstream.config.protocol != Protocol::Tcp)
    };
    let Some(rule) = snapshot.route(listener, head.host(), head, meant).filter(speaks) else {
        explanation.decision = Decision::refused(Failure::NoRoute);
        return;
    };
    let config = &snapshot.config;
    let written = written(config, rule);
    explanation.decision = decision(listener, head.host(), rule, written);
    explanation.treatment = written.map(|written| describe_treatment(written, config)).unwrap_or_default();
    let asked = request(head.host(), head);
    let concerned = snapshot.limiters.iter().filter(|limiter| limiter.concerns(listener.direction, &asked));
    explanation.rate_limits = concerned.map(|limiter| describe_rate_limit(&limiter.config)).collect();
    explanation.backends = rule.backends().map(target).collect();
}

/// The rule in the policy; `None`: it is nobody's.
fn written<'c>(config: &'c Config, rule: &Rule) -> Option<&'c model::Rule> {
    let route = config.routes.iter().find(|route| route.name.as_str() == &*rule.route)?;
    route.rules.iter().find(|written| written.name.as_str() == &*rule.name)
}

fn decision(listener: ListenerId, host: &str, rule: &Rule, written: Option<&model::Rule>) -> Decision {
    let is = |found: &dyn Fn(&model::Upstream) -> bool| {
        rule.backends().any(|(backend, _)| found(&backend.upstream.config))
    };
    match (written, listener.direction) {
        (Some(place), _) => Decision::Route {
            route: rule.route.to_string(),
            rule: rule.name.to_string(),
            location: place.location.to_string(),
        },
        (None, Direction::Outbound) if is(&|found| found.discovery == Discovery::Original) => {
            Decision::Unknown
        }
        (None, Direction::Outbound) if is(&|found| found.is_called(&lower_case(host))) => {
            Decision::UpstreamName
        }
        (None, Direction::Outbound) => Decision::UpstreamAddress,
        (None, Direction::Inbound) => Decision::Application,
    }
}

fn judgements(snapshot: &Snapshot, listener: ListenerId, head: &RequestHead, who: &Asker) -> Vec<Judgement> {
    let caller = Caller { identity: who.identity.as_ref(), source: who.source };
    let judgement = |authorizer: &Authorizer| {
        let verdict = authorizer.policy.judge(&caller, &request(head.host(), head));
        Judgement {
            policy: authorizer.name.to_string(),
            allowed: verdict == Verdict::Allowed,
            denied_by: match verdict {
                Verdict::Denied { rule } => rule.map(str::to_owned),
                Verdict::Allowed => None,
            },
            acts: authorizer.acts,
        }
    };
    snapshot.authorizers(listener.direction).iter().map(judgement).collect()
}

fn tried(snapshot: &Snapshot, listener: ListenerId, head: &RequestHead) -> Vec<Tried> {
    let trail = snapshot.trail(listener, head.host(), head);
    let taken = trail.iter().position(|step| step.obstacle.is_none()).map_or(trail.len(), |last| last + 1);
    let tried = |step: &Step<'_>| {
        let route = &snapshot.config.routes[step.rule.route];
        let rule = &route.rules[step.rule.rule];
        Tried {
            route: route.name.to_string(),
            rule: rule.name.to_string(),
            wanted: describe_match(&rule.matches[step.nth]),
            obstacle: step.obstacle.map(|obstacle| describe_obstacle(obstacle, head)),
        }
    };
    trail[..taken].iter().map(tried).collect()
}

fn describe_obstacle(obstacle: Obstacle<'_>, head: &RequestHead) -> String {
    match obstacle {
        Obstacle::Path => format!("path is {}", head.path()),
        Obstacle::Method(_) => format!("method is {}", head.method),
        Obstacle::Header(wanted) => {
            let lines: Vec<_> = head.headers.get_all(&wanted.name).iter().collect();
            if lines.is_empty() {
                format!("no header {}", wanted.name)
            } else {
                format!("header {} is {lines:?}", wanted.name)
            }
        }
        Obstacle::Query(wanted) => format!("query parameter {} is another or absent", wanted.name),
    }
}

fn target((backend, share): (&Backend, f64)) -> Target {
    let mut upstream = describe_upstream(&backend.upstream.config);
    if let Some(fields) = upstream.as_object_mut() {
        fields.remove("policy");
    }
    Target {
        share: Percent::from_share(share).to_string(),
        upstream,
        policy: describe_policy(&backend.policy),
    }
}
