//! Does the compiled policy say what a reader of the policy would?

use http::{HeaderMap, HeaderValue, Method};
use outrigger_config::Source;
use outrigger_config::model::{AccessRule, TextMatch};
use outrigger_config::scalars::Scalar;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::*;

const IDENTITIES: [&str; 5] =
    ["spiffe://bank/ui", "spiffe://bank/ui/admin", "spiffe://bank.evil/ui", "spiffe://ban/ui", "dns:bank"];
const WANTED: [&str; 6] = [
    "spiffe://bank/ui",
    "spiffe://bank/*",
    "spiffe://bank.evil/*",
    "dns:bank",
    "dns:ui.bank",
    "spiffe://ban/ui",
];
const METHODS: [Method; 3] = [Method::GET, Method::POST, Method::DELETE];
const PATHS: [&str; 5] = ["/", "/admin", "/admin/users", "/administration", "/public"];
const SOURCES: [&str; 4] = ["10.0.0.1", "10.0.1.1", "192.168.0.1", "::1"];
const NETWORKS: [&str; 3] = ["10.0.0.0/24", "10.0.0.0/8", "::1"];

/// A request as the tests draw it.
#[derive(Debug, Clone)]
struct Drawn {
    identity: Option<PeerIdentity>,
    source: IpAddr,
    method: Method,
    path: &'static str,
    tier: Option<&'static str>,
}

fn rule() -> impl Strategy<Value = String> {
    let list = |key: &'static str, words: Vec<String>| {
        let most = words.len();
        subsequence(words, 0..=most).prop_map(move |words| {
            if words.is_empty() { String::new() } else { format!("{key}: [{}], ", words.join(", ")) }
        })
    };
    let quoted = |words: &[&str]| words.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>();
    let paths =
        quoted(&PATHS[..4]).into_iter().chain(["{type: Exact, value: /admin/users}".to_owned()]).collect();
    let methods = METHODS.iter().map(ToString::to_string).collect();
    let headers = prop_oneof![3 => Just(""), 1 => Just("headers: [{name: x-tier, value: gold}], ")];
    (
        list("identities", quoted(&WANTED)),
        list("methods", methods),
        list("paths", paths),
        list("sources", quoted(&NETWORKS)),
        headers,
    )
        .prop_map(|(identities, methods, paths, sources, headers)| {
            let rule = format!("{identities}{methods}{paths}{sources}{headers}");
            let rule = if rule.is_empty() { "methods: [GET]".to_owned() } else { rule };
            format!("{{{}}}", rule.trim_end_matches(", "))
        })
}

fn drawn() -> impl Strategy<Value = Drawn> {
    let identity = prop::option::of(select(&IDENTITIES[..]));
    let tier = prop::option::of(select(&["gold", "tin"][..]));
    (identity, select(&SOURCES[..]), select(&METHODS[..]), select(&PATHS[..]), tier).prop_map(
        |(identity, source, method, path, tier)| Drawn {
            identity: identity.map(|text| PeerIdentity::parse(text).unwrap()),
            source: source.parse().unwrap(),
            method,
            path,
            tier,
        },
    )
}

fn policy(lines: &str) -> AuthorizationPolicy {
    let text = format!(
        "apiVersion: outrigger/v1\nkind: Sidecar\nname: holdings\nidentity: {{certDir: /certs}}\n\
         inbound: [{{port: 8080, forwardTo: 127.0.0.1:8081}}]\n---\n\
         apiVersion: outrigger/v1\nkind: AuthorizationPolicy\nname: callers\n{lines}\n"
    );
    let config = outrigger_config::parse(&[Source { name: "a.yaml".to_owned(), text }]);
    config.unwrap_or_else(|errors| panic!("{errors}")).authorization.remove(0)
}

/// What a person would say, rule by rule and word by word.
fn naive<'p>(policy: &'p AuthorizationPolicy, drawn: &Drawn) -> Verdict<'p> {
    let fits = |rule: &&AccessRule| {
        let text = drawn.identity.as_ref().map(ToString::to_string);
        let identity = |wanted: &IdentityMatch| match (wanted.to_string(), &text) {
            (_, None) => false,
            (wanted, Some(text)) => match wanted.strip_suffix('*') {
                Some(domain) => text.starts_with(domain),
                None => *text == wanted,
            },
        };
        let path = |wanted: &PathMatch| match wanted {
            PathMatch::Exact(path) => drawn.path == path,
            PathMatch::Prefix(prefix) => {
                drawn.path == prefix || drawn.path.starts_with(&format!("{prefix}/"))
            }
            PathMatch::Regex(_) => unreachable!("none is drawn"),
        };
        (rule.identities.is_empty() || rule.identities.iter().any(identity))
            && (rule.methods.is_empty() || rule.methods.contains(&drawn.method))
            && (rule.paths.is_empty() || rule.paths.iter().any(path))
            && (rule.sources.is_empty() || rule.sources.iter().any(|network| network.contains(drawn.source)))
            && rule.headers.iter().all(|wanted| {
                matches!(&wanted.value, TextMatch::Exact(value) if drawn.tier == Some(value.as_str()))
            })
    };
    if let Some(rule) = policy.deny.iter().find(fits) {
        return Verdict::Denied { rule: Some(rule.name.as_str()) };
    }
    match &policy.allow {
        Some(allow) if !allow.iter().any(|rule| fits(&rule)) => Verdict::Denied { rule: None },
        _ => Verdict::Allowed,
    }
}

fn judged<'p>(compiled: &'p Policy, drawn: &Drawn) -> Verdict<'p> {
    let mut headers = HeaderMap::new();
    if let Some(tier) = drawn.tier {
        headers.insert("x-tier", HeaderValue::from_static(tier));
    }
    let request =
        Request { host: "holdings", path: drawn.path, query: None, method: &drawn.method, headers: &headers };
    compiled.judge(&Caller { identity: drawn.identity.as_ref(), source: drawn.source }, &request)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn se_4_the_compiled_policy_says_what_its_words_say(
        deny in prop::collection::vec(rule(), 0..4),
        allow in prop::option::of(prop::collection::vec(rule(), 0..4)),
        requests in prop::collection::vec(drawn(), 40),
    ) {
        prop_assume!(!deny.is_empty() || allow.is_some());
        let list = |key: &str, rules: &[String]| format!("{key}: [{}]\n", rules.join(", "));
        let deny = if deny.is_empty() { String::new() } else { list("deny", &deny) };
        let allow = allow.map(|allow| list("allow", &allow)).unwrap_or_default();
        let policy = policy(&format!("{deny}{allow}"));
        let compiled = Policy::new(&policy);
        for drawn in requests {
            prop_assert_eq!(judged(&compiled, &drawn), naive(&policy, &drawn), "{:?} by {}{}", drawn, deny, allow);
            let caller = Caller { identity: drawn.identity.as_ref(), source: drawn.source };
            // A connection that nobody reads passes only where whatever is in it would.
            if compiled.judge_connection(&caller) == Verdict::Allowed {
                prop_assert_eq!(judged(&compiled, &drawn), Verdict::Allowed, "{:?} by {}{}", drawn, deny, allow);
            }
        }
    }
}

fn asks(identity: Option<&str>, path: &'static str) -> Drawn {
    Drawn {
        identity: identity.map(|text| PeerIdentity::parse(text).unwrap()),
        source: "10.0.0.1".parse().unwrap(),
        method: Method::GET,
        path,
        tier: None,
    }
}

#[test]
fn se_4_deny_comes_first_and_names_its_rule() {
    let policy =
        policy("deny: [{name: closed, paths: [/admin]}]\nallow: [{identities: [\"spiffe://bank/ui\"]}]");
    let compiled = Policy::new(&policy);
    let ui = Some("spiffe://bank/ui");
    assert_eq!(judged(&compiled, &asks(ui, "/public")), Verdict::Allowed);
    assert_eq!(judged(&compiled, &asks(ui, "/admin/users")), Verdict::Denied { rule: Some("closed") });
    assert_eq!(judged(&compiled, &asks(None, "/public")), Verdict::Denied { rule: None });
}

#[test]
fn se_4_an_identity_is_never_a_prefix_of_another() {
    let one = Policy::new(&policy("allow: [{identities: [\"spiffe://bank/ui\"]}]"));
    let domain = Policy::new(&policy("allow: [{identities: [\"spiffe://bank/*\"]}]"));
    for (identity, by_one, by_domain) in [
        ("spiffe://bank/ui", true, true),
        ("spiffe://bank/ui2", false, true),
        ("spiffe://bank/ui/admin", false, true),
        ("spiffe://bank.evil/ui", false, false),
        ("spiffe://bankers/ui", false, false),
        ("dns:bank", false, false),
    ] {
        let drawn = asks(Some(identity), "/");
        assert_eq!(judged(&one, &drawn) == Verdict::Allowed, by_one, "{identity}");
        assert_eq!(judged(&domain, &drawn) == Verdict::Allowed, by_domain, "{identity}");
    }
}

#[test]
fn se_4_lines_that_disagree_are_denied_and_never_allowed() {
    let deny = Policy::new(&policy("deny: [{headers: [{name: x-tier, value: tin}]}]"));
    let allow = Policy::new(&policy("allow: [{headers: [{name: x-tier, value: gold}]}]"));
    for (lines, denied, allowed) in [
        (&["gold"][..], false, true),
        (&["gold", "gold"], false, true),
        (&["gold", "tin"], true, false),
        (&["tin", "gold"], true, false),
        (&[], false, false),
    ] {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append("x-tier", HeaderValue::from_static(line));
        }
        let drawn = asks(None, "/");
        let request = Request { host: "a", path: "/", query: None, method: &drawn.method, headers: &headers };
        let caller = Caller { identity: None, source: drawn.source };
        assert_eq!(deny.judge(&caller, &request) != Verdict::Allowed, denied, "{lines:?}");
        assert_eq!(allow.judge(&caller, &request) == Verdict::Allowed, allowed, "{lines:?}");
    }
}

#[test]
fn se_4_in_a_connection_nobody_finds_a_path_so_it_is_judged_by_the_rest() {
    let judged = |lines: &str, identity: &str| {
        let identity = PeerIdentity::parse(identity).unwrap();
        let caller = Caller { identity: Some(&identity), source: "10.0.0.1".parse().unwrap() };
        Policy::new(&policy(lines)).judge_connection(&caller) == Verdict::Allowed
    };
    let (ui, other) = ("spiffe://bank/ui", "spiffe://bank/other");
    let deny = "deny: [{identities: [\"spiffe://bank/ui\"], paths: [/admin]}]";
    assert!(!judged(deny, ui) && judged(deny, other));
    let allow = "allow: [{identities: [\"spiffe://bank/ui\"], methods: [GET]}, {identities: [\"spiffe://bank/other\"]}]";
    assert!(!judged(allow, ui) && judged(allow, other));
}

#[test]
fn se_4_an_empty_allow_list_lets_nobody_in() {
    let compiled = Policy::new(&policy("allow: []"));
    assert_eq!(judged(&compiled, &asks(Some("spiffe://bank/ui"), "/")), Verdict::Denied { rule: None });
}

#[test]
fn se_4_deciding_allocates_nothing() {
    let compiled = Policy::new(&policy(
        "deny: [{paths: [/admin], methods: [POST]}]\n\
         allow: [{identities: [\"spiffe://bank/ui\", \"spiffe://ban/*\"], paths: [/public], sources: [10.0.0.0/8]}]",
    ));
    let (drawn, headers) = (asks(Some("spiffe://bank/ui"), "/public/a"), HeaderMap::new());
    let request =
        Request { host: "holdings", path: drawn.path, query: None, method: &drawn.method, headers: &headers };
    let caller = Caller { identity: drawn.identity.as_ref(), source: drawn.source };
    let allocated = allocation_counter::measure(|| {
        assert_eq!(compiled.judge(&caller, &request), Verdict::Allowed);
    });
    assert_eq!(allocated.count_total, 0);
}
