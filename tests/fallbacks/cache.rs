//! What does the cache save, and what does it never keep? Requests that an upstream sees, with RFC 9111 held to.

use std::time::Duration;

use super::{route, up};
use crate::support::caller::Caller;
use crate::support::draft::{Draft, answer, ask, get, head, post};
use crate::support::origin::{Origin, Reply};
use crate::support::peer::Message;
use crate::support::rig::{Rig, upstream};

const CACHE: &str = "cache: {ttl: 5m, staleIfError: 10m, maxEntries: 10}";

/// Answers 200 with its number as content and these fields.
fn counting(fields: &'static [(&'static str, &'static str)]) -> Origin {
    Origin::start(move |nth, _| Reply::Answer(numbered(nth, fields)))
}

fn numbered(nth: usize, fields: &[(&str, &str)]) -> Draft {
    let fields = fields.iter();
    let head = fields.fold(head(200), |draft, (name, value)| draft.with(name, value));
    head.with_body(nth.to_string())
}

fn text(message: &Message) -> &str {
    std::str::from_utf8(&message.body).unwrap()
}

fn path(caller: &mut Caller, path: &str) -> Message {
    caller.send(&ask("GET", path, "up")).unwrap()
}

#[test]
fn fb_2_a_hundred_requests_are_one() {
    let origin = counting(&[("etag", "\"x\"")]);
    let rig = Rig::start(&[up(origin.addr, CACHE)]);
    let mut caller = rig.caller();
    let first = caller.send(&get("up")).unwrap();
    assert_eq!(first.field("age"), None);
    for _ in 0..99 {
        let said = caller.send(&get("up")).unwrap();
        assert_eq!((said.status(), text(&said), said.field("etag")), (200, "0", Some("\"x\"")));
        assert!(said.field("age").is_some_and(|age| age.parse::<u32>().is_ok()));
    }
    assert_eq!((origin.count(), caller.connections), (1, 1));
    rig.counts("cache_requests_total", &[("upstream", "up"), ("result", "hit"), ("mode", "enforce")], 99);
    rig.counts("cache_requests_total", &[("upstream", "up"), ("result", "miss")], 1);
    rig.counts("requests_total", &[("upstream", "up"), ("code", "200"), ("flag", "-")], 100);
    rig.counts("attempts_total", &[("upstream", "up")], 1);
}

#[test]
fn fb_2_the_eleventh_key_evicts_the_least_recent() {
    let origin = counting(&[]);
    let rig = Rig::start(&[up(origin.addr, CACHE)]);
    let mut caller = rig.caller();
    (0..11).for_each(|nth| drop(path(&mut caller, &format!("/{nth}"))));
    assert_eq!(text(&path(&mut caller, "/10")), "10");
    assert_eq!(text(&path(&mut caller, "/1")), "1");
    assert_eq!(text(&path(&mut caller, "/0")), "11", "it was the least recent");
}

#[test]
fn fb_2_what_others_must_not_see_is_fetched_each_time() {
    for said in ["no-store", "private", "no-cache", "max-age=0"] {
        let origin = Origin::start(move |nth, _| Reply::Answer(numbered(nth, &[("cache-control", said)])));
        let rig = Rig::start(&[up(origin.addr, CACHE)]);
        let mut caller = rig.caller();
        let answers = [(); 2].map(|()| text(&caller.send(&get("up")).unwrap()).to_owned());
        assert_eq!(answers, ["0", "1"], "{said}");
    }
    let origin = counting(&[]);
    let rig = Rig::start(&[up(origin.addr, CACHE)]);
    let mut caller = rig.caller();
    let asked = [
        get("up").with("authorization", "Basic x"),
        get("up").with("cache-control", "no-store"),
        get("up").with("range", "bytes=0-0"),
    ];
    for (nth, request) in asked.iter().enumerate() {
        assert_eq!(text(&caller.send(request).unwrap()), nth.to_string());
    }
    assert_eq!(text(&caller.send(&get("up")).unwrap()), "3", "nothing of that was kept");
}

#[test]
fn fb_2_authorized_answers_are_shared_if_they_say_so() {
    let origin = counting(&[("cache-control", "public, max-age=60")]);
    let rig = Rig::start(&[up(origin.addr, CACHE)]);
    let mut caller = rig.caller();
    for who in ["a", "b"] {
        assert_eq!(text(&caller.send(&get("up").with("authorization", who)).unwrap()), "0");
    }
}

#[test]
fn fb_2_answers_vary_by_what_they_say() {
    let origin = counting(&[("vary", "accept-language")]);
    let rig = Rig::start(&[up(origin.addr, CACHE)]);
    let mut caller = rig.caller();
    for (language, expected) in [("en", "0"), ("fr", "1"), ("en", "0"), ("fr", "1")] {
        let request = get("up").with("accept-language", language);
        assert_eq!(text(&caller.send(&request).unwrap()), expected, "{language}");
    }
}

#[test]
fn fb_2_one_fetch_serves_all_who_ask_meanwhile() {
    let origin = Origin::start(|nth, _| Reply::Late(Duration::from_millis(150), numbered(nth, &[])));
    let rig = Rig::start(&[up(origin.addr, CACHE)]);
    rig.storm(8, 1, |caller, _| assert_eq!(text(&caller.send(&get("up")).unwrap()), "0"));
    assert_eq!(origin.count(), 1);
    rig.counts("cache_requests_total", &[("result", "miss")], 1);
}

#[test]
fn fb_2_what_turns_out_private_makes_nobody_wait_for_long() {
    let private = &[("cache-control", "private")];
    let origin = Origin::start(|nth, _| Reply::Late(Duration::from_millis(50), numbered(nth, private)));
    let rig = Rig::start(&[up(origin.addr, CACHE)]);
    rig.storm(4, 1, |caller, _| assert_eq!(caller.send(&get("up")).unwrap().status(), 200));
    assert_eq!(origin.count(), 4);
}

#[test]
fn fb_2_head_is_answered_by_what_get_brought() {
    let origin = counting(&[]);
    let rig = Rig::start(&[up(origin.addr, CACHE)]);
    let mut caller = rig.caller();
    caller.send(&get("up")).unwrap();
    caller.begin(&ask("HEAD", "/", "up")).unwrap();
    let mut head = [0; 1024];
    let count = std::io::Read::read(caller.stream(), &mut head).unwrap();
    let head = String::from_utf8_lossy(&head[..count]).into_owned();
    assert!(head.contains("content-length: 1\r\n") && head.ends_with("\r\n\r\n"), "{head}");
    assert_eq!(origin.count(), 1);
}

#[test]
fn fb_2_a_change_is_seen_at_once() {
    let origin = counting(&[]);
    let rig = Rig::start(&[up(origin.addr, CACHE)]);
    let mut caller = rig.caller();
    caller.send(&get("up")).unwrap();
    caller.send(&post("up", "new")).unwrap();
    assert_eq!(text(&caller.send(&get("up")).unwrap()), "2");
}

#[test]
fn fb_2_what_is_large_or_breaks_off_is_passed_on_and_not_kept() {
    let origin = Origin::start(|_, request| match request.target() {
        "/large" => Reply::Answer(head(200).with_body(vec![b'x'; 100_000])),
        _ => Reply::Act(Box::new(|stream| {
            std::io::Write::write_all(stream, b"HTTP/1.1 200 -\r\ncontent-length: 10\r\n\r\nhello")
        })),
    });
    let rig = Rig::start(&[up(origin.addr, "cache: {ttl: 5m, maxBody: 64KiB}")]);
    let mut caller = rig.caller();
    for _ in 0..2 {
        assert_eq!(path(&mut caller, "/large").body.len(), 100_000);
    }
    for _ in 0..2 {
        assert!(rig.caller().send(&ask("GET", "/broken", "up")).is_err());
    }
    assert_eq!(origin.count(), 4);
}

#[test]
fn fb_2_a_reload_keeps_what_was_kept() {
    let origin = counting(&[]);
    let rig = Rig::start(&[up(origin.addr, CACHE)]);
    rig.caller().send(&get("up")).unwrap();
    rig.reload(&[up(origin.addr, "cache: {ttl: 5m, maxEntries: 20}")]);
    rig.caller().send(&get("up")).unwrap();
    assert_eq!(origin.count(), 1);
}

#[test]
fn fb_2_an_upgrade_that_is_left_away_hides_nothing_that_is_kept() {
    let origin = counting(&[]);
    let rig = Rig::start(&[up(origin.addr, CACHE)]);
    let mut caller = rig.caller();
    let asked = get("up")
        .with("connection", "Upgrade, HTTP2-Settings")
        .with("upgrade", "h2c")
        .with("http2-settings", "AAMAAABkAAQAAP__");
    for _ in 0..2 {
        let said = caller.send(&asked).unwrap();
        assert_eq!((said.status(), text(&said)), (200, "0"));
    }
    rig.counts("cache_requests_total", &[("result", "hit")], 1);
}

#[test]
fn fb_2_a_host_is_the_same_in_whichever_case() {
    let origin = counting(&[]);
    let rig = Rig::start(&[up(origin.addr, CACHE)]);
    let mut caller = rig.caller();
    for host in ["up", "UP", "uP"] {
        assert_eq!(text(&caller.send(&get(host)).unwrap()), "0", "{host}");
    }
}

#[test]
fn fb_2_a_dry_run_counts_and_asks() {
    let origin = counting(&[]);
    let rig = Rig::start(&[up(origin.addr, "cache: {mode: dryRun, ttl: 5m}")]);
    let mut caller = rig.caller();
    let answers = [(); 3].map(|()| text(&caller.send(&get("up")).unwrap()).to_owned());
    assert_eq!(answers, ["0", "1", "2"]);
    rig.counts("cache_requests_total", &[("result", "hit"), ("mode", "dry_run")], 2);
}

/// Has one representation with this field, and judges conditions on it.
fn validating(field: &'static str, value: &'static str, control: &'static str) -> Origin {
    Origin::start(move |nth, request| {
        let asked = [request.field("if-none-match"), request.field("if-modified-since")];
        let draft = if asked.contains(&Some(value)) { head(304) } else { numbered(nth, &[]) };
        Reply::Answer(draft.with(field, value).with("cache-control", control))
    })
}

#[test]
fn fb_2_who_has_what_is_kept_gets_304() {
    let origin = counting(&[("etag", "\"x\""), ("content-language", "en")]);
    let rig = Rig::start(&[up(origin.addr, CACHE)]);
    let mut caller = rig.caller();
    caller.send(&get("up")).unwrap();
    let said = caller.send(&get("up").with("if-none-match", "W/\"x\"")).unwrap();
    assert_eq!((said.status(), &*said.body, said.field("etag")), (304, &b""[..], Some("\"x\"")));
    assert!(said.field("age").is_some() && said.field("date").is_some());
    assert_eq!((said.field("content-language"), said.field("content-length")), (None, None));
    let said = caller.send(&get("up").with("if-none-match", "\"y\"")).unwrap();
    assert_eq!((said.status(), text(&said), origin.count(), caller.connections), (200, "0", 1, 1));
}

#[test]
fn fb_2_what_is_stale_is_confirmed_and_not_fetched() {
    let date = "Sun, 06 Nov 1994 08:49:37 GMT";
    for (field, value) in [("etag", "\"x\""), ("last-modified", date)] {
        for control in ["max-age=0", "no-cache", "max-age=0, must-revalidate"] {
            let origin = validating(field, value, control);
            let rig = Rig::start(&[up(origin.addr, CACHE)]);
            let mut caller = rig.caller();
            for nth in 1..=3 {
                let said = caller.send(&get("up")).unwrap();
                assert_eq!(
                    (said.status(), text(&said), origin.count()),
                    (200, "0", nth),
                    "{field}, {control}"
                );
                assert_eq!((said.field(field), said.field("x-outrigger-reason")), (Some(value), None));
            }
            assert_eq!(caller.connections, 1);
            rig.counts("cache_requests_total", &[("result", "confirmed"), ("mode", "enforce")], 2);
            rig.counts("attempts_total", &[("upstream", "up"), ("outcome", "success")], 3);
        }
    }
}

#[test]
fn fb_2_a_condition_of_the_caller_is_judged_by_the_upstream_where_the_cache_cannot() {
    let origin = validating("etag", "\"x\"", "max-age=0");
    let rig = Rig::start(&[up(origin.addr, CACHE)]);
    let mut caller = rig.caller();
    caller.send(&get("up")).unwrap();
    let ask = |tag| get("up").with("if-none-match", tag);
    assert_eq!(caller.send(&ask("\"x\"")).unwrap().status(), 304);
    let said = caller.send(&ask("\"y\"")).unwrap();
    assert_eq!((said.status(), text(&said), origin.count()), (200, "2", 3));
}

#[test]
fn fb_2_what_stands_in_for_an_upstream_is_not_asked_what_only_that_knows() {
    let a = Origin::start(|nth, _| {
        let fields = [("etag", "\"x\""), ("cache-control", "max-age=0, must-revalidate")];
        Reply::Answer(if nth == 0 { numbered(0, &fields) } else { answer(503) })
    });
    let b = Origin::start(|_, request| {
        Reply::Answer(answer(if request.field("if-none-match").is_some() { 500 } else { 203 }))
    });
    let fallback = "fallback: [{on: [any], backendRef: {name: other}}]";
    let other = upstream("other", &[b.addr], "retry: {attempts: 0}");
    let rig = Rig::start(&[up(a.addr, CACHE), other, route(fallback)]);
    let mut caller = rig.caller();
    caller.send(&get("up")).unwrap();
    assert_eq!(caller.send(&get("up")).unwrap().status(), 203);
}

#[test]
fn fb_2_who_wants_only_what_is_kept_makes_nobody_ask() {
    let origin = counting(&[]);
    let rig = Rig::start(&[up(origin.addr, CACHE)]);
    let mut caller = rig.caller();
    let only = get("up").with("cache-control", "only-if-cached");
    let said = caller.send(&only).unwrap();
    assert_eq!(
        (said.status(), said.field("x-outrigger-reason")),
        (504, Some("only-if-cached; route=-; policy=-"))
    );
    assert_eq!(origin.count(), 0);
    caller.send(&get("up")).unwrap();
    assert_eq!((caller.send(&only).unwrap().status(), origin.count()), (200, 1));
}

#[test]
fn fb_2_how_full_it_is_can_be_seen() {
    let origin = counting(&[]);
    let rig = Rig::start(&[up(origin.addr, "cache: {ttl: 5m, maxEntries: 2}")]);
    let mut caller = rig.caller();
    (0..5).for_each(|nth| drop(path(&mut caller, &format!("/{nth}"))));
    rig.counts("cache_evictions_total", &[("upstream", "up")], 3);
    rig.counts("cache_entries", &[("upstream", "up")], 2);
    assert!(rig.metric("cache_bytes", &[("upstream", "up")]) > 2);
    rig.reload(&[up(origin.addr, "cache: {ttl: 5m, maxEntries: 1}")]);
    rig.counts("cache_entries", &[("upstream", "up")], 1);
    rig.counts("cache_evictions_total", &[("upstream", "up")], 4);
}

/// Answers once with these directives, then with errors.
fn fails_after_one(said: &'static str) -> Origin {
    Origin::start(move |nth, _| {
        Reply::Answer(if nth == 0 { numbered(0, &[("cache-control", said)]) } else { answer(503) })
    })
}

#[test]
fn fb_3_a_stale_answer_is_better_than_an_error_and_says_so() {
    let origin = fails_after_one("max-age=0");
    let rig = Rig::start(&[up(origin.addr, CACHE)]);
    let mut caller = rig.caller();
    caller.send(&get("up")).unwrap();
    let said = caller.send(&get("up")).unwrap();
    assert_eq!((said.status(), text(&said), origin.count()), (200, "0", 2));
    assert!(said.field("age").is_some());
    let reason = "fallback-stale; route=-; policy=-; instead-of=upstream-failure";
    assert_eq!(said.field("x-outrigger-reason"), Some(reason));
    rig.counts("fallbacks_total", &[("route", "-"), ("kind", "stale"), ("mode", "enforce")], 1);
}

#[test]
fn fb_3_after_its_time_the_error_is_told() {
    for said in ["max-age=0, stale-if-error=0", "max-age=0, must-revalidate"] {
        let origin = fails_after_one(said);
        let rig = Rig::start(&[up(origin.addr, CACHE)]);
        let mut caller = rig.caller();
        caller.send(&get("up")).unwrap();
        assert_eq!(caller.send(&get("up")).unwrap().status(), 503, "{said}");
    }
}

#[test]
fn fb_7_the_cache_is_a_step_of_the_chain() {
    let origin = fails_after_one("max-age=0");
    let fallback = "fallback: [{on: [5xx], cache: stale}, {on: [any], static: {status: 203}}]";
    let rig = Rig::start(&[up(origin.addr, CACHE), route(fallback)]);
    let mut caller = rig.caller();
    caller.send(&get("up")).unwrap();
    assert_eq!(caller.send(&get("up")).unwrap().status(), 200);
    assert_eq!(path(&mut caller, "/unknown").status(), 203, "of which the cache has nothing");
}
