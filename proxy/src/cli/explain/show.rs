//! How is an explanation read? From the answer to its reasons, one line a fact.

use std::fmt::{self, Display, Formatter};

use serde_json::Value;

use super::decide::{Decision, Explanation, Judgement, Target, Tried};

/// What an upstream's policy says beside them.
const BLOCKS: &[&str] = &[
    "protocol",
    "tls",
    "loadBalancer",
    "healthCheck",
    "outlierDetection",
    "circuitBreaker",
    "cache",
    "retryBudget",
    "pacing",
    "limits",
];

/// A policy's values, in the order in which a request meets them.
const SETTINGS: &[(&str, &str)] = &[
    ("timeouts", "request"),
    ("timeouts", "backendRequest"),
    ("timeouts", "responseHeaders"),
    ("timeouts", "connect"),
    ("timeouts", "idle"),
    ("retry", "attempts"),
    ("retry", "on"),
    ("retry", "methods"),
    ("retry", "backoff"),
    ("retry", "replayBody"),
];

impl Display for Explanation {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} http://{}{} ({})", self.method, self.authority, self.path, self.direction)?;
        writeln!(f, "\n{}", self.decision)?;
        if !self.authorization.is_empty() {
            writeln!(f, "\nauthorization:")?;
        }
        self.authorization.iter().try_for_each(|judgement| writeln!(f, "  {judgement}"))?;
        if !self.tried.is_empty() {
            writeln!(f, "\ntried, in order of precedence:")?;
        }
        let width = |text: fn(&Tried) -> String| {
            self.tried.iter().map(text).map(|text| text.chars().count()).max().unwrap_or(0)
        };
        let (name, wanted) = (width(Tried::name), width(|tried| describe(&tried.wanted)));
        for tried in &self.tried {
            let outcome = tried.obstacle.as_ref().map_or("taken".to_owned(), |found| format!("no: {found}"));
            writeln!(f, "  {:name$}  {:wanted$}  {outcome}", tried.name(), describe(&tried.wanted))?;
        }
        for limit in &self.rate_limits {
            writeln!(f, "\nlimited by {} ({})", word(&limit["name"]), word(&limit["location"]))?;
            let shown = ["mode", "share", "store", "total", "perKey", "concurrency", "priorities"];
            shown.iter().try_for_each(|name| block(f, name, &limit[name], ""))?;
        }
        if self.treatment.is_object() {
            writeln!(f, "\nwherever it goes")?;
            block(f, "", &self.treatment, "")?;
        }
        self.backends.iter().try_for_each(|target| write!(f, "\n{target}"))
    }
}

impl Display for Decision {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Route { route, rule, location } => {
                write!(f, "route {route}, rule {rule} ({location})")
            }
            Self::UpstreamName => f.write_str("no route; an upstream has this name or host"),
            Self::UpstreamAddress => f.write_str("no route; an upstream has the address that was meant"),
            Self::Unknown => f.write_str("no route; let through to where it was meant to go"),
            Self::Application => f.write_str("no route; to the application"),
            Self::Refused { status, reason } => write!(f, "answered by the sidecar: {status} {reason}"),
        }
    }
}

impl Display for Judgement {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { policy, allowed, denied_by, acts } = self;
        let only = if *acts { "" } else { ", which a dry run only counts" };
        match denied_by {
            _ if *allowed => write!(f, "{policy} allows it"),
            Some(rule) => write!(f, "{policy} denies it by its rule {rule}{only}"),
            None => write!(f, "{policy} denies it: none of its rules allows it{only}"),
        }
    }
}

impl Tried {
    fn name(&self) -> String {
        format!("{}, {}", self.route, self.rule)
    }
}

impl Display for Target {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let upstream = &self.upstream;
        writeln!(f, "{} to {}: {}", self.share, word(&upstream["name"]), endpoints(&upstream["discovery"]))?;
        BLOCKS.iter().try_for_each(|name| block(f, name, &upstream[name], ""))?;
        for (block, name) in SETTINGS {
            let setting = &self.policy[block][name];
            let covers = if setting["covers"] == "head" { ", until the response head" } else { "" };
            let value = word(&setting["value"]) + covers;
            line(f, &format!("{block}.{name}"), &value, &word(&setting["origin"]))?;
        }
        let upgrades = &self.policy["upgrades"];
        line(f, "upgrades", &word(&upgrades["value"]), &word(&upgrades["origin"]))
    }
}

/// A value of the policy, one line for each that it consists of.
fn block(f: &mut Formatter<'_>, name: &str, value: &Value, origin: &str) -> fmt::Result {
    let within = |inner: &str| if name.is_empty() { inner.to_owned() } else { format!("{name}.{inner}") };
    match value {
        Value::Object(setting) if setting.contains_key("origin") => {
            block(f, name, &setting["value"], &word(&setting["origin"]))
        }
        Value::Object(fields) => {
            fields.iter().try_for_each(|(inner, value)| block(f, &within(inner), value, origin))
        }
        Value::Array(items) if items.iter().any(Value::is_object) => {
            let mut numbered = items.iter().enumerate();
            numbered.try_for_each(|(nth, item)| block(f, &within(&nth.to_string()), item, origin))
        }
        plain => line(f, name, &word(plain), origin),
    }
}

fn line(f: &mut Formatter<'_>, name: &str, value: &str, origin: &str) -> fmt::Result {
    writeln!(f, "{}", format!("  {name:36}  {value:44}  {origin}").trim_end())
}

fn endpoints(discovery: &Value) -> String {
    match discovery.get("dns") {
        Some(name) => {
            let text = word(name);
            format!("DNS {text}, port {}", word(&discovery["port"]))
        }
        None if discovery.is_string() => "where it was meant to go".to_owned(),
        None => word(&discovery["static"]),
    }
}

/// `PathPrefix /prices, GET, header x-tier "gold", query page ~"[0-9]+"`
fn describe(wanted: &Value) -> String {
    let list = |kind: &str| wanted[kind].as_array().cloned().unwrap_or_default();
    let condition = |kind: &str, found: &Value| {
        let regex = if found["type"] == "RegularExpression" { "~" } else { "" };
        format!("{kind} {} {regex}{}", word(&found["name"]), found["value"])
    };
    let path = format!("{} {}", word(&wanted["path"]["type"]), word(&wanted["path"]["value"]));
    let method = wanted["method"].as_str().map(str::to_owned);
    let headers = list("headers").into_iter().map(|found| condition("header", &found));
    let query = list("query").into_iter().map(|found| condition("query", &found));
    std::iter::once(path).chain(method).chain(headers).chain(query).collect::<Vec<_>>().join(", ")
}

/// A value without the marks of JSON.
fn word(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::Array(items) if items.is_empty() => "none".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(word).collect::<Vec<_>>().join(", "),
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| format!("{name} {}", word(value)))
            .collect::<Vec<_>>()
            .join(", "),
        other => other.to_string(),
    }
}
