use http::{HeaderName, HeaderValue};
use outrigger_config::model::{HeaderMatch, PathMatch, QueryMatch, TextMatch};
use proptest::prelude::*;
use proptest::sample::select;
use regex::Regex;

use super::*;

/// A rule as it was written: hosts and matches. Its id is its place.
type Written = (Vec<HostPattern>, Vec<RouteMatch>);

fn id(rule: usize) -> RuleId {
    RuleId { route: 0, rule }
}

fn router(rules: &[Written]) -> Router {
    let mut router = Router::default();
    for (rule, (hosts, matches)) in rules.iter().enumerate() {
        router.add(hosts, matches, id(rule));
    }
    router.finish()
}

fn regex(pattern: &str) -> Regex {
    Regex::new(&format!("^(?:{pattern})$")).unwrap()
}

fn matching(path: PathMatch) -> RouteMatch {
    RouteMatch { path, method: None, headers: vec![], query: vec![] }
}

fn exact(path: &str) -> RouteMatch {
    matching(PathMatch::Exact(path.to_owned()))
}

fn prefix(path: &str) -> RouteMatch {
    matching(PathMatch::Prefix(path.to_owned()))
}

fn pattern(path: &str) -> RouteMatch {
    matching(PathMatch::Regex(regex(path)))
}

fn header(name: &'static str, value: &str) -> HeaderMatch {
    HeaderMatch { name: HeaderName::from_static(name), value: TextMatch::Exact(value.to_owned()) }
}

fn query(name: &str, value: &str) -> QueryMatch {
    QueryMatch { name: name.to_owned(), value: TextMatch::Exact(value.to_owned()) }
}

/// Everything as the documentation says it, nothing compiled: all matches that hold, the highest rank, the first.
mod reference {
    use super::*;

    pub(super) fn route(rules: &[Written], request: &Request<'_>) -> Option<RuleId> {
        let mut best = None;
        for (rule, (hosts, matches)) in rules.iter().enumerate() {
            for (host, wanted) in
                hosts.iter().flat_map(|host| matches.iter().map(move |wanted| (host, wanted)))
            {
                let Some(host) = host_rank(host, &request.host.to_lowercase()) else { continue };
                let Some(path) = path_rank(&wanted.path, request.path) else { continue };
                if !conditions(wanted, request) {
                    continue;
                }
                let rank = (
                    host,
                    path,
                    wanted.method.is_some(),
                    wanted.headers.len(),
                    wanted.query.len(),
                    usize::MAX - rule,
                );
                best = best.max(Some((rank, rule)));
            }
        }
        best.map(|(_, rule)| id(rule))
    }

    fn host_rank(pattern: &HostPattern, host: &str) -> Option<(u8, usize)> {
        match pattern {
            HostPattern::Exact(exact) => (exact == host).then_some((2, 0)),
            HostPattern::Suffix(suffix) => {
                let labels = host.strip_suffix(suffix.as_str())?;
                (!labels.is_empty()).then_some((1, suffix.len()))
            }
            HostPattern::Any => Some((0, 0)),
        }
    }

    fn path_rank(pattern: &PathMatch, path: &str) -> Option<(u8, usize)> {
        match pattern {
            PathMatch::Exact(exact) => (exact == path).then_some((2, 0)),
            PathMatch::Regex(regex) => regex.is_match(path).then_some((1, regex.as_str().len())),
            PathMatch::Prefix(prefix) => {
                let rest = path.strip_prefix(prefix.as_str())?;
                let whole_segments = prefix.is_empty() || rest.is_empty() || rest.starts_with('/');
                whole_segments.then_some((0, prefix.len()))
            }
        }
    }

    fn conditions(wanted: &RouteMatch, request: &Request<'_>) -> bool {
        let text = |wanted: &TextMatch, value: &str| match wanted {
            TextMatch::Exact(exact) => exact == value,
            TextMatch::Regex(regex) => regex.is_match(value),
        };
        let parameter = |name: &str| {
            let mut pairs = request.query?.split('&').filter_map(|pair| pair.split_once('='));
            pairs.find(|(n, _)| *n == name).map(|(_, value)| value)
        };
        wanted.method.as_ref().is_none_or(|method| method == request.method)
            && wanted
                .headers
                .iter()
                .all(|h| request.headers.get_all(&h.name).iter().any(|v| text(&h.value, v.to_str().unwrap())))
            && wanted.query.iter().all(|q| parameter(&q.name).is_some_and(|value| text(&q.value, value)))
    }
}

fn a_host() -> impl Strategy<Value = HostPattern> {
    prop_oneof![
        3 => select(vec!["a.internal", "b.internal", "x.a.internal", "a"]).prop_map(|h| HostPattern::Exact(h.to_owned())),
        2 => select(vec![".internal", ".a.internal"]).prop_map(|h| HostPattern::Suffix(h.to_owned())),
        1 => Just(HostPattern::Any),
    ]
}

fn a_path() -> impl Strategy<Value = String> {
    prop_oneof![
        9 => prop::collection::vec(select(vec!["p", "pq", "q", "", "é"]), 0..4).prop_map(|s| format!("/{}", s.join("/"))),
        1 => select(vec!["*", "", "p", "//", "/p/"]).prop_map(str::to_owned),
    ]
}

fn a_match() -> impl Strategy<Value = RouteMatch> {
    let path = prop_oneof![
        2 => a_path().prop_map(PathMatch::Exact),
        4 => a_path().prop_map(|path| PathMatch::Prefix(path.trim_end_matches('/').to_owned())),
        2 => select(vec!["/p", "/p.*", "/[pq]", "/[pq]+/q", ".*", "/q|/p"]).prop_map(|p| PathMatch::Regex(regex(p))),
    ];
    let method = prop_oneof![3 => Just(None), 1 => Just(Some(Method::GET)), 1 => Just(Some(Method::POST))];
    let text = || {
        prop_oneof![
            select(vec!["1", "2"]).prop_map(|v| TextMatch::Exact(v.to_owned())),
            Just(TextMatch::Regex(regex("[12]"))),
        ]
    };
    let header = (select(vec!["x-a", "x-b"]), text())
        .prop_map(|(name, value)| HeaderMatch { name: HeaderName::from_static(name), value });
    let query =
        (select(vec!["a", "b"]), text()).prop_map(|(n, value)| QueryMatch { name: n.to_owned(), value });
    (path, method, prop::collection::vec(header, 0..3), prop::collection::vec(query, 0..3))
        .prop_map(|(path, method, headers, query)| RouteMatch { path, method, headers, query })
}

fn rules() -> impl Strategy<Value = Vec<Written>> {
    let rule = (prop::collection::vec(a_host(), 1..3), prop::collection::vec(a_match(), 1..4));
    prop::collection::vec(rule, 0..10)
}

fn a_request() -> impl Strategy<Value = (String, String, Option<String>, Method, HeaderMap)> {
    let host =
        select(vec!["a.internal", "A.Internal", "x.a.internal", "b.internal", ".internal", "a", "c", ""]);
    let line = (select(vec!["x-a", "x-b"]), select(vec!["1", "2", "3"]));
    let headers = prop::collection::vec(line, 0..4).prop_map(|lines| {
        lines.into_iter().map(|(n, v)| (HeaderName::from_static(n), HeaderValue::from_static(v))).collect()
    });
    let query = prop::option::of(
        select(vec!["", "a=1", "a=1&b=2", "b=1&b=2", "b=2&a=3", "a"]).prop_map(str::to_owned),
    );
    (host.prop_map(str::to_owned), a_path(), query, select(vec![Method::GET, Method::POST]), headers)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn pd_2_compiled_and_documented_routes_agree(rules in rules(), requests in prop::collection::vec(a_request(), 1..20)) {
        let router = router(&rules);
        for (host, path, query, method, headers) in &requests {
            let request = Request { host, path, query: query.as_deref(), method, headers };
            let taken = router.route(&request);
            prop_assert_eq!(taken, reference::route(&rules, &request), "{:?}", request);
            let fitting = router.trail(&request).into_iter().find(|step| step.obstacle.is_none());
            prop_assert_eq!(taken, fitting.map(|step| step.rule), "what explains is what decides: {:?}", request);
        }
    }
}

/// Where a GET without fields goes; `at` is host and path, with the query after `?`.
fn get(router: &Router, host: &str, at: &str) -> Option<usize> {
    let (path, query) = at.split_once('?').map_or((at, None), |(path, query)| (path, Some(query)));
    let headers = &HeaderMap::new();
    router.route(&Request { host, path, query, method: &Method::GET, headers }).map(|id| id.rule)
}

fn any(matches: &[RouteMatch]) -> Written {
    (vec![HostPattern::Any], matches.to_vec())
}

#[test]
fn the_more_specific_host_wins_and_what_it_does_not_match_falls_through() {
    let suffix = |s: &str| HostPattern::Suffix(s.to_owned());
    let router = router(&[
        any(&[prefix("")]),
        (vec![suffix(".internal")], vec![prefix("/p"), exact("/x")]),
        (vec![suffix(".a.internal")], vec![prefix("/p")]),
        (vec![HostPattern::Exact("z.a.internal".to_owned())], vec![prefix("/p")]),
    ]);
    assert_eq!(get(&router, "Z.a.internal", "/p"), Some(3));
    assert_eq!(get(&router, "z.a.internal", "/x"), Some(1));
    assert_eq!(get(&router, "z.a.internal", "/y"), Some(0));
    assert_eq!(get(&router, "y.a.internal", "/p"), Some(2));
    assert_eq!(get(&router, "x.y.b.internal", "/p"), Some(1), "one label or more");
    assert_eq!(get(&router, "internal", "/p"), Some(0));
    assert_eq!(get(&router, ".internal", "/p"), Some(0), "no label");
}

#[test]
fn prefixes_end_at_segments() {
    let router = router(&[any(&[prefix("/prices")]), any(&[prefix("/prices/eur")])]);
    for (path, rule) in [
        ("/prices", Some(0)),
        ("/prices/", Some(0)),
        ("/prices/usd", Some(0)),
        ("/prices/eurx", Some(0)),
        ("/prices/eur/today", Some(1)),
        ("/pricesx", None),
        ("/price", None),
        ("/", None),
        ("*", None),
    ] {
        assert_eq!(get(&router, "any", path), rule, "{path}");
    }
    let slashes = "/".repeat(16 * 1024);
    assert_eq!(get(&router, "any", &slashes), None);
}

#[test]
fn exact_before_regex_before_prefix() {
    let router = router(&[
        any(&[prefix("")]),
        any(&[prefix("/p/longer/than/any/pattern")]),
        any(&[pattern("/p/.*")]),
        any(&[pattern("/p/[0-9]+")]),
        any(&[exact("/p/1")]),
    ]);
    assert_eq!(get(&router, "any", "/p/1"), Some(4));
    assert_eq!(get(&router, "any", "/p/2"), Some(3), "the longer pattern");
    assert_eq!(get(&router, "any", "/p/2x"), Some(2), "anchored at the end");
    assert_eq!(get(&router, "any", "/x/p/2"), Some(0), "anchored at the start");
    assert_eq!(get(&router, "any", "/p/longer/than/any/pattern"), Some(2));
}

#[test]
fn then_method_then_headers_then_query_then_order() {
    let with = |method: Option<Method>, headers: &[HeaderMatch], query: &[QueryMatch]| {
        let base = prefix("/p");
        any(&[RouteMatch { method, headers: headers.to_vec(), query: query.to_vec(), ..base }])
    };
    let a = header("x-a", "1");
    let (q, r) = (query("q", "1"), query("r", "1"));
    let router = router(&[
        with(None, &[], &[]),
        with(None, &[], &[]),
        with(None, &[], std::slice::from_ref(&q)),
        with(None, &[], &[q.clone(), r.clone()]),
        with(None, &[a], &[]),
        with(Some(Method::POST), &[], &[]),
    ]);
    let headers: HeaderMap = [("x-a", "0"), ("x-a", "1")]
        .map(|(n, v)| (HeaderName::from_static(n), HeaderValue::from_static(v)))
        .into_iter()
        .collect();
    let route = |query, method, headers| {
        router.route(&Request { host: "any", path: "/p", query, method, headers }).map(|id| id.rule)
    };
    let none = HeaderMap::new();
    assert_eq!(route(None, &Method::GET, &none), Some(0), "written first");
    assert_eq!(route(Some("q=1"), &Method::GET, &none), Some(2));
    assert_eq!(route(Some("r=1&q=%31"), &Method::GET, &none), Some(3));
    assert_eq!(route(Some("r=1&q=1"), &Method::GET, &headers), Some(4), "any one of two lines");
    assert_eq!(route(Some("r=1&q=1"), &Method::POST, &headers), Some(5));
}
