use proptest::prelude::*;

use super::*;

const NOW: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
const MINUTE: Duration = Duration::from_mins(1);

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn head(fields: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(name.parse::<http::HeaderName>().unwrap(), value.parse().unwrap());
    }
    headers
}

fn rules() -> CacheRules {
    CacheRules { methods: vec![Method::GET], ttl: Some(5 * MINUTE), stale_if_error: 10 * MINUTE }
}

fn judge(asked: &[(&str, &str)], status: u16, headers: &[(&str, &str)]) -> Result<Storable, Unfit> {
    let (asked, headers) = (head(asked), head(headers));
    let exchange = Exchange {
        method: &Method::GET,
        asked: &asked,
        status: StatusCode::from_u16(status).unwrap(),
        headers: &headers,
        at: httpdate::parse_http_date(NOW).unwrap().duration_since(std::time::UNIX_EPOCH).unwrap(),
        delay: Duration::ZERO,
    };
    Storable::new(&rules(), exchange)
}

fn directive() -> impl Strategy<Value = String> {
    let valued = prop::sample::select(vec!["max-age", "s-maxage", "stale-if-error", "min-fresh", "made-up"]);
    prop_oneof![
        prop::sample::select(vec![
            "no-store",
            "private",
            "no-cache",
            "public",
            "must-revalidate",
            "proxy-revalidate",
            "immutable",
            "private=\"set-cookie, x\"",
            "no-cache=\"a\"",
            "x=\"a, no-store, b\"",
            "x=\"\\\", no-store, \"",
            "",
        ])
        .prop_map(str::to_owned),
        (valued, 0u64..5_000).prop_map(|(name, value)| format!("{name}={value}")),
    ]
}

proptest! {
    #[test]
    fn fb_2_what_must_not_be_kept_is_not_kept(
        directives in prop::collection::vec(directive(), 0..5), lines in any::<bool>(), credentials in any::<bool>(),
    ) {
        let joined = [directives.join(" , ").to_uppercase()];
        let texts = if lines { &directives[..] } else { &joined[..] };
        let fields: Vec<_> = texts.iter().map(|text| ("cache-control", text.as_str())).collect();
        let asked: &[_] = if credentials { &[("authorization", "Bearer x")] } else { &[] };
        let says = |name: &str| directives.iter().any(|said| said.split('=').next() == Some(name));
        let shown = says("public") || says("must-revalidate") || says("proxy-revalidate") || says("s-maxage");
        match judge(asked, 200, &fields) {
            Ok(kept) => {
                prop_assert!(!says("no-store") && !says("private") && !says("no-cache"));
                prop_assert!(!credentials || shown);
                let strict = says("must-revalidate") || says("proxy-revalidate") || says("s-maxage");
                prop_assert!(!strict || kept.stale_if_error.is_zero());
                let says_how_long = says("max-age") || says("s-maxage");
                prop_assert!(says_how_long || kept.lifetime == 5 * MINUTE);
            }
            Err(Unfit::NoStore) => prop_assert!(says("no-store")),
            Err(Unfit::Private) => prop_assert!(says("private")),
            Err(Unfit::NoCache) => prop_assert!(says("no-cache")),
            Err(Unfit::Authorization) => prop_assert!(credentials && !shown),
            Err(why) => prop_assert!(why == Unfit::Stale && (says("max-age") || says("s-maxage")), "{why:?}"),
        }
    }

    #[test]
    fn fb_3_fresh_then_stand_in_then_nothing(
        age in 0u64..400, lifetime in 0u64..400, allowance in 0u64..400, elapsed in 0u64..1_500,
    ) {
        let (control, told) = (format!("max-age={lifetime}, stale-if-error={allowance}"), age.to_string());
        let headers = [("cache-control", control.as_str()), ("age", told.as_str())];
        let usable = judge(&[], 200, &headers).map(|kept| kept.usable(&HeaderMap::new(), seconds(elapsed)));
        let then = age + elapsed;
        let expected = match then {
            _ if age >= lifetime + allowance => Err(Unfit::Stale),
            _ if then < lifetime => Ok(Usable::Fresh(seconds(then))),
            _ if then < lifetime + allowance => Ok(Usable::IfError(seconds(then))),
            _ => Ok(Usable::No),
        };
        prop_assert_eq!(usable, expected);
    }

    #[test]
    fn fb_2_no_header_breaks_the_rules(
        control in "[ -~]{0,40}", age in "[ -~]{0,30}", expires in "[ -~]{0,30}", vary in "[ -~]{0,20}",
    ) {
        let fields = [("cache-control", &control), ("age", &age), ("expires", &expires), ("vary", &vary)];
        let fields = fields.map(|(name, value)| (name, value.as_str()));
        if let Ok(kept) = judge(&[], 200, &fields) {
            prop_assert!(kept.age < kept.lifetime.saturating_add(kept.stale_if_error));
            let _ = kept.usable(&head(&fields), Duration::MAX);
        }
    }

    #[test]
    fn fb_2_only_requests_alike_get_the_answer(
        one in prop::option::of("[ab ,]{0,4}"), other in prop::option::of("[ab ,]{0,4}"), unnamed in "[ab]{0,2}",
    ) {
        let with = |value: &Option<String>| {
            let mut fields = vec![("x-unnamed", unnamed.as_str())];
            fields.extend(value.as_deref().map(|value| ("accept-language", value)));
            head(&fields)
        };
        let vary = Vary::new(&with(&one), &head(&[("vary", "Accept-Language,  accept-encoding")])).unwrap();
        let members = |value: &Option<String>| {
            value.as_ref().map(|value| value.split(',').map(|part| part.trim().to_owned()).collect::<Vec<_>>())
        };
        prop_assert_eq!(vary.matches(&with(&other)), members(&one) == members(&other));
        prop_assert_eq!(vary.names().map(http::HeaderName::as_str).collect::<Vec<_>>(), ["accept-encoding", "accept-language"]);
    }
}

#[test]
fn fb_2_what_is_kept_and_for_how_long() {
    let lifetime =
        |status, fields: &[(&str, &str)]| judge(&[], status, fields).map(|kept| kept.lifetime.as_secs());
    let control = |value| [("cache-control", value)];
    assert_eq!(lifetime(200, &[]), Ok(300), "the policy's");
    assert_eq!(lifetime(200, &control("max-age=7")), Ok(7));
    assert_eq!(lifetime(200, &control("max-age=\"7\"")), Ok(7));
    assert_eq!(lifetime(200, &control("max-age=7, s-maxage=9")), Ok(9), "a shared cache");
    assert_eq!(lifetime(200, &control("max-age=7, max-age=5")), Ok(5));
    assert_eq!(lifetime(200, &control("max-age=99999999999999999999")), Ok(1 << 31));
    assert_eq!(lifetime(200, &control("max-age=soon")), Ok(0), "to stand in for an error");
    let expires = ("expires", "Sun, 06 Nov 1994 08:50:37 GMT");
    assert_eq!(lifetime(200, &[expires, ("date", NOW)]), Ok(60));
    assert_eq!(lifetime(200, &[expires]), Ok(60), "no date: when it came");
    assert_eq!(lifetime(200, &[expires, ("cache-control", "max-age=7")]), Ok(7));
    assert_eq!(lifetime(200, &[("expires", "0")]), Ok(0));
    assert_eq!(lifetime(200, &[expires, expires]), Ok(0));
    assert_eq!(lifetime(301, &[]), Ok(300));
    assert_eq!(lifetime(404, &[]), Ok(0), "the ttl is for successes");
    assert_eq!(lifetime(404, &control("max-age=7")), Ok(7));
    for status in [206, 302, 304, 401, 429, 500, 503] {
        assert_eq!(lifetime(status, &control("max-age=7")), Err(Unfit::Status), "{status}");
    }
    assert_eq!(lifetime(200, &[("vary", "accept, *")]), Err(Unfit::VaryAny));
    assert_eq!(lifetime(200, &[("set-cookie", "a=b")]), Err(Unfit::Cookie));
    assert_eq!(lifetime(200, &[("set-cookie", "a=b"), ("cache-control", "public")]), Ok(300));
    assert_eq!(lifetime(200, &[("pragma", "no-cache")]), Err(Unfit::NoCache));
    assert_eq!(lifetime(200, &[("pragma", "no-cache"), ("cache-control", "max-age=1")]), Ok(1));
}

#[test]
fn fb_2_never_with_authorization_unless_the_response_allows_it() {
    let asked = [("authorization", "Basic eDp5")];
    let kept = |control| judge(&asked, 200, &[("cache-control", control)]).map(|_| ());
    assert_eq!(kept("max-age=60"), Err(Unfit::Authorization));
    for allowed in ["public", "s-maxage=60", "max-age=60, must-revalidate"] {
        assert_eq!(kept(allowed), Ok(()), "{allowed}");
    }
}

#[test]
fn fb_2_which_requests_are_looked_at() {
    let rules = CacheRules { methods: vec![Method::GET, Method::POST], ..rules() };
    let none = HeaderMap::new();
    assert_eq!(concerns(&rules, &Method::GET, &none), Ok(()));
    assert_eq!(concerns(&rules, &Method::HEAD, &none), Err(Unfit::Method));
    assert_eq!(concerns(&rules, &Method::POST, &none), Err(Unfit::Method));
    assert_eq!(concerns(&rules, &Method::GET, &head(&[("range", "bytes=0-1")])), Err(Unfit::Request));
    assert_eq!(concerns(&rules, &Method::GET, &head(&[("cache-control", "no-store")])), Err(Unfit::Request));
}

#[test]
fn fb_2_a_request_may_want_better() {
    let kept = judge(&[], 200, &[("cache-control", "max-age=60, stale-if-error=60"), ("age", "10")]).unwrap();
    let usable = |control, elapsed| kept.usable(&head(&[("cache-control", control)]), seconds(elapsed));
    assert_eq!(usable("", 20), Usable::Fresh(seconds(30)));
    assert_eq!(usable("max-age=30", 20), Usable::Fresh(seconds(30)));
    assert_eq!(usable("max-age=29", 20), Usable::IfError(seconds(30)));
    assert_eq!(usable("min-fresh=30", 20), Usable::IfError(seconds(30)));
    assert_eq!(usable("no-cache", 20), Usable::IfError(seconds(30)));
    assert_eq!(usable("stale-if-error=0", 60), Usable::No);
    assert_eq!(usable("stale-if-error=900", 109), Usable::IfError(seconds(119)));
    assert_eq!(usable("stale-if-error=900", 110), Usable::No, "not longer than it may");
}

#[test]
fn fb_2_the_age_is_what_the_way_took() {
    let age = |fields: &[(&str, &str)]| judge(&[], 200, fields).unwrap().age.as_secs();
    assert_eq!(age(&[]), 0);
    assert_eq!(age(&[("age", "7 , 9"), ("age", "8")]), 7);
    assert_eq!(age(&[("date", "Sun, 06 Nov 1994 08:49:07 GMT")]), 30);
    assert_eq!(age(&[("date", "Sun, 06 Nov 1994 08:49:07 GMT"), ("age", "40")]), 40);
    assert_eq!(age(&[("date", "Sun, 06 Nov 1994 08:59:07 GMT"), ("age", "x")]), 0, "a clock that is ahead");
    let (asked, headers) = (HeaderMap::new(), head(&[("age", "40")]));
    let (method, status) = (&Method::GET, StatusCode::OK);
    let slow = Exchange { method, asked: &asked, status, headers: &headers, at: MINUTE, delay: seconds(2) };
    assert_eq!(Storable::new(&rules(), slow).unwrap().age, seconds(42));
}

/// A 200 that expired ten seconds ago stands in for an error for ten minutes, and no longer.
#[test]
fn fb_3_stale_answers_stand_in_for_errors() {
    let kept = judge(&[], 200, &[]).unwrap();
    let usable = |elapsed| kept.usable(&HeaderMap::new(), elapsed);
    assert_eq!(usable(seconds(299)), Usable::Fresh(seconds(299)));
    assert_eq!(usable(5 * MINUTE + seconds(10)), Usable::IfError(seconds(310)));
    assert_eq!(usable(15 * MINUTE), Usable::No);
}

#[test]
fn fb_3_what_must_be_revalidated_never_stands_in() {
    for control in ["max-age=5, must-revalidate", "max-age=5, proxy-revalidate", "s-maxage=5"] {
        let kept = judge(&[], 200, &[("cache-control", &format!("{control}, stale-if-error=60"))]).unwrap();
        assert_eq!(kept.usable(&HeaderMap::new(), seconds(4)), Usable::Fresh(seconds(4)), "{control}");
        assert_eq!(kept.usable(&HeaderMap::new(), seconds(5)), Usable::No, "{control}");
    }
}

#[test]
fn fb_2_what_can_be_confirmed_is_kept_for_that() {
    let tag = ("etag", "W/\"1\"");
    for control in ["no-cache", "max-age=0, must-revalidate", "max-age=0, stale-if-error=0"] {
        let kept = judge(&[], 200, &[tag, ("cache-control", control)]).unwrap();
        assert_eq!(kept.usable(&HeaderMap::new(), Duration::ZERO), Usable::IfConfirmed, "{control}");
        assert!(judge(&[], 200, &[("cache-control", control)]).is_err(), "{control}");
    }
    let kept = judge(&[], 200, &[tag]).unwrap();
    assert_eq!(kept.usable(&HeaderMap::new(), 15 * MINUTE), Usable::IfConfirmed);
}

#[test]
fn fb_2_who_has_it_already_is_told_so() {
    type Fields = &'static [(&'static str, &'static str)];
    const EARLIER: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
    const LATER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";
    const TAGGED: Fields = &[("etag", "\"a,b\""), ("last-modified", NOW)];
    let table: [(Fields, Fields, bool); 10] = [
        (TAGGED, &[("if-none-match", "\"a,b\"")], true),
        (TAGGED, &[("if-none-match", "\"x\", W/\"a,b\"")], true),
        (TAGGED, &[("if-none-match", "*")], true),
        (TAGGED, &[("if-none-match", "\"a\"")], false),
        (TAGGED, &[("if-none-match", "\"a\""), ("if-modified-since", LATER)], false),
        (TAGGED, &[("if-modified-since", NOW)], true),
        (TAGGED, &[("if-modified-since", EARLIER)], false),
        (TAGGED, &[("if-modified-since", "yesterday")], false),
        (&[("date", NOW)], &[("if-modified-since", LATER)], true),
        (&[], &[("if-none-match", "\"a\""), ("if-modified-since", LATER)], false),
    ];
    for (said, asked, unmodified) in table {
        assert_eq!(condition::is_unmodified(&head(asked), &head(said)), unmodified, "{asked:?} of {said:?}");
    }
}

#[test]
fn fb_2_conditions_of_the_origin_are_left_to_it() {
    for name in ["range", "if-range", "if-match", "if-unmodified-since"] {
        assert_eq!(concerns(&rules(), &Method::GET, &head(&[(name, "x")])), Err(Unfit::Request), "{name}");
    }
    assert_eq!(concerns(&rules(), &Method::GET, &head(&[("if-none-match", "x")])), Ok(()));
}

#[test]
fn fb_2_a_304_is_about_what_has_its_strong_tag() {
    let tagged = |tag| head(&[("etag", tag)]);
    assert!(condition::is_about(&tagged("\"a\""), &tagged("\"a\"")));
    assert!(!condition::is_about(&tagged("\"a\""), &tagged("\"b\"")));
    assert!(!condition::is_about(&tagged("W/\"a\""), &tagged("W/\"a\"")));
    assert!(!condition::is_about(&head(&[]), &tagged("\"a\"")));
}
