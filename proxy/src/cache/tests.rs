use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use http::header::{AUTHORIZATION, CACHE_CONTROL, ETAG, VARY};
use http::{HeaderName, HeaderValue};
use outrigger_config::model::CacheRules;
use proptest::prelude::*;

use super::*;
use crate::telemetry::Metrics;

const MINUTE: Duration = Duration::from_mins(1);
const SECOND: Duration = Duration::from_secs(1);

fn config(max_entries: usize, max_bytes: usize) -> model::Cache {
    let rules = CacheRules { methods: vec![Method::GET], ttl: Some(5 * MINUTE), stale_if_error: 10 * MINUTE };
    model::Cache { rules, max_entries, max_bytes, max_body: max_bytes / 2 }
}

fn cache(max_entries: usize, max_bytes: usize) -> Arc<Cache> {
    Arc::new(Cache::new(config(max_entries, max_bytes), None, metrics()))
}

fn metrics() -> Arc<CacheMetrics> {
    Metrics::new(1, 1000).upstream("up").cache()
}

fn fields(fields: &[(HeaderName, &'static str)]) -> HeaderMap {
    fields.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect()
}

fn key(path: &str) -> Key<'_> {
    Key { authority: "up", path }
}

/// An answer to GET.
fn said<'a>(asked: &'a HeaderMap, headers: &'a HeaderMap) -> cacheable::Exchange<'a> {
    let (method, status, zero) = (&Method::GET, StatusCode::OK, Duration::ZERO);
    cacheable::Exchange { method, asked, status, headers, at: zero, delay: zero }
}

/// Keeps an answer, if it may be kept, in place of what is there.
fn keep(cache: &Cache, path: &str, (asked, headers): (&HeaderMap, &HeaderMap), body: &[u8], now: Instant) {
    let lead = {
        let hash = cache.store.hasher.hash_one(key(path));
        let which = Flight { hash, authorized: asked.contains_key(AUTHORIZATION) };
        Lead::new(&cache.store, which, &mut cache.store.shard(hash))
    };
    let recording = cache.record(key(path), said(asked, headers), || headers.clone(), lead, now);
    if let Ok(mut recording) = recording {
        body.chunks(3).for_each(|part| recording.add(part));
        recording.finish();
    }
}

fn simply(cache: &Cache, path: &str, body: &[u8], now: Instant) {
    let none = HeaderMap::new();
    keep(cache, path, (&none, &none), body, now);
}

fn body(found: Found) -> Option<Bytes> {
    match found {
        Found::Fresh(stored) => Some(stored.body.clone()),
        Found::Stale(_) | Found::Nothing => None,
    }
}

fn has(cache: &Cache, path: &str, now: Instant) -> bool {
    body(cache.find(key(path), &HeaderMap::new(), now)).is_some()
}

#[test]
fn fb_2_the_eleventh_key_evicts_the_least_recent() {
    let (cache, now) = (cache(10, 1 << 20), Instant::now());
    let paths: Vec<_> = (0..11).map(|nth| format!("/{nth}")).collect();
    paths[..10].iter().for_each(|path| simply(&cache, path, b"x", now));
    assert!(has(&cache, "/0", now), "now the most recent");
    simply(&cache, "/10", b"x", now);
    let gone: Vec<_> = paths.iter().filter(|path| !has(&cache, path, now)).collect();
    assert_eq!(gone, ["/1"]);
    assert_eq!(cache.size().0, 10);
}

#[test]
fn fb_2_what_was_kept_is_given_until_it_is_stale_and_then_for_errors_only() {
    let (cache, start) = (cache(10, 1 << 20), Instant::now());
    simply(&cache, "/", b"hello", start);
    let none = HeaderMap::new();
    let at = |after| cache.find(key("/"), &none, start + after);
    assert_eq!(body(at(299 * SECOND)).as_deref(), Some(&b"hello"[..]));
    assert!(matches!(at(5 * MINUTE), Found::Stale(_)));
    assert!(matches!(at(899 * SECOND), Found::Stale(_)));
    assert!(matches!(at(15 * MINUTE), Found::Nothing));
    assert!(matches!(cache.find(key("/other"), &none, start), Found::Nothing));
}

#[test]
fn fb_2_variants_lie_beside_each_other_and_are_replaced_one_by_one() {
    let (cache, now) = (cache(10, 1 << 20), Instant::now());
    let said = fields(&[(VARY, "accept-language")]);
    let language = |language| fields(&[(http::header::ACCEPT_LANGUAGE, language)]);
    for (asked, text) in [("en", "hello"), ("fr", "salut"), ("en", "hi")] {
        keep(&cache, "/", (&language(asked), &said), text.as_bytes(), now);
    }
    let get = |asked| body(cache.find(key("/"), &language(asked), now));
    assert_eq!((get("en").as_deref(), get("fr").as_deref()), (Some(&b"hi"[..]), Some(&b"salut"[..])));
    assert_eq!(get("de"), None);
    assert_eq!(cache.size().0, 2);
    for nth in 0..20 {
        let asked = HeaderMap::from_iter([(http::header::ACCEPT_LANGUAGE, HeaderValue::from(nth))]);
        keep(&cache, "/", (&asked, &said), b"x", now);
    }
    assert_eq!(cache.size().0, 8, "a key has so many variants and no more");
}

#[test]
fn fb_2_what_is_not_for_others_is_not_kept() {
    let (cache, now, none) = (cache(10, 1 << 20), Instant::now(), HeaderMap::new());
    let secret = fields(&[(AUTHORIZATION, "x")]);
    keep(&cache, "/secret", (&secret, &none), b"x", now);
    assert!(!has(&cache, "/secret", now));
    simply(&cache, "/large", &vec![b'x'; (1 << 19) + 1], now);
    assert!(!has(&cache, "/large", now));
    simply(&cache, "/changed", b"x", now);
    cache.forget(key("/changed"));
    assert!(!has(&cache, "/changed", now));
    assert_eq!(cache.size(), (0, 0));
}

fn lead(cache: &Cache, path: &str, now: Instant) -> Lead {
    match cache.look(key(path), &HeaderMap::new(), true, now) {
        Look::Lead(lead, _) => lead,
        other => panic!("nobody asks yet: {other:?}"),
    }
}

fn follow(cache: &Cache, path: &str, now: Instant) -> Follow {
    match cache.look(key(path), &HeaderMap::new(), true, now) {
        Look::Wait(follow, _) => follow,
        other => panic!("somebody asks: {other:?}"),
    }
}

fn flights(cache: &Cache) -> usize {
    let mut count = 0;
    cache.store.each(|shard| count += shard.flights.len());
    count
}

#[test]
fn fb_2_one_asks_and_the_others_wait_for_it() {
    let (cache, now, none) = (cache(10, 1 << 20), Instant::now(), HeaderMap::new());
    let first = lead(&cache, "/", now);
    let flight = follow(&cache, "/", now);
    drop(lead(&cache, "/other", now));
    assert!(!flight.is_over());
    cache.record(key("/"), said(&none, &none), HeaderMap::new, first, now).unwrap().finish();
    assert!(flight.is_over());
    assert!(has(&cache, "/", now));
    assert_eq!(flights(&cache), 0);
}

#[test]
fn fb_2_nobody_waits_for_what_will_not_be_kept() {
    let (cache, now, none) = (cache(10, 1000), Instant::now(), HeaderMap::new());
    let first = lead(&cache, "/", now);
    let flight = follow(&cache, "/", now);
    let mut recording = cache.record(key("/"), said(&none, &none), HeaderMap::new, first, now).unwrap();
    recording.add(&[0; 501]);
    assert!(flight.is_over(), "while the rest of it still comes");
    recording.finish();
    assert_eq!(cache.size(), (0, 0));
}

#[tokio::test]
async fn fb_2_one_of_those_who_wait_takes_over_from_who_left() {
    let (cache, now) = (cache(10, 1000), Instant::now());
    let first = lead(&cache, "/", now);
    let [mut second, mut third] = [(); 2].map(|()| follow(&cache, "/", now));
    drop(first);
    let taken = second.wait().await.expect("the lead is free");
    assert!(!third.is_over(), "and the other waits on");
    taken.give_up();
    assert!(third.wait().await.is_none());
    assert_eq!(flights(&cache), 0);
}

#[test]
fn fb_2_a_lead_that_nobody_wants_is_no_flight() {
    let (cache, now) = (cache(10, 1000), Instant::now());
    let first = lead(&cache, "/", now);
    let waiting = [(); 2].map(|()| follow(&cache, "/", now));
    drop(first);
    assert_eq!(flights(&cache), 1);
    drop(waiting);
    assert_eq!(flights(&cache), 0);
    drop(lead(&cache, "/", now));
    assert_eq!(flights(&cache), 0);
}

#[test]
fn fb_2_nobody_waits_for_what_is_never_kept_a_second_time() {
    let (cache, now, none) = (cache(10, 1000), Instant::now(), HeaderMap::new());
    let look = |after| cache.look(key("/"), &none, true, now + after);
    let no_store = fields(&[(CACHE_CONTROL, "no-store")]);
    let first = lead(&cache, "/", now);
    cache.record(key("/"), said(&none, &no_store), HeaderMap::new, first, now).unwrap_err();
    let second = lead(&cache, "/", now + SECOND);
    assert!(matches!(look(SECOND), Look::Alone(None)));
    assert!(matches!(look(MINUTE), Look::Wait(..)), "that was long ago");
    cache.record(key("/"), said(&none, &none), HeaderMap::new, second, now + SECOND).unwrap().finish();
    assert!(matches!(look(2 * SECOND), Look::Fresh(_)), "it is another answer");
    let later = now + 20 * MINUTE;
    let _third = lead(&cache, "/", later);
    drop(follow(&cache, "/", later));
}

#[test]
fn fb_2_what_is_too_large_is_known_to_be_and_what_fails_is_not() {
    let (cache, now, none) = (cache(10, 1000), Instant::now(), HeaderMap::new());
    let first = lead(&cache, "/large", now);
    let mut large = cache.record(key("/large"), said(&none, &none), HeaderMap::new, first, now).unwrap();
    large.add(&[0; 501]);
    let failed = cacheable::Exchange { status: StatusCode::BAD_GATEWAY, ..said(&none, &none) };
    let second = lead(&cache, "/failed", now);
    cache.record(key("/failed"), failed, HeaderMap::new, second, now).unwrap_err();
    let stale = fields(&[(CACHE_CONTROL, "max-age=0")]);
    keep(&cache, "/stale", (&none, &stale), b"x", now);
    let Look::Lead(_lead, Some(_)) = cache.look(key("/stale"), &none, true, now) else { panic!("stale") };
    assert!(matches!(cache.look(key("/stale"), &none, true, now), Look::Alone(Some(_))));
    let _leads = [lead(&cache, "/large", now), lead(&cache, "/failed", now)];
    assert!(matches!(cache.look(key("/large"), &none, true, now), Look::Alone(None)));
    drop(follow(&cache, "/failed", now));
}

#[test]
fn fb_2_who_has_credentials_waits_for_nobody_and_nobody_for_them() {
    let (cache, now, none) = (cache(10, 1000), Instant::now(), HeaderMap::new());
    let secret = fields(&[(AUTHORIZATION, "x")]);
    let look = |asked| cache.look(key("/"), asked, true, now);
    let Look::Lead(first, None) = look(&secret) else { panic!("what is public is kept") };
    assert!(matches!(look(&secret), Look::Alone(None)));
    let other = lead(&cache, "/", now);
    assert!(matches!(look(&secret), Look::Alone(None)));
    cache.record(key("/"), said(&secret, &none), HeaderMap::new, first, now).unwrap_err();
    drop(follow(&cache, "/", now));
    other.give_up();
    assert_eq!(flights(&cache), 0);
}

#[test]
fn fb_2_a_change_ends_flights_with_credentials_too() {
    let (cache, now) = (cache(10, 1000), Instant::now());
    let (secret, public) = (fields(&[(AUTHORIZATION, "x")]), fields(&[(CACHE_CONTROL, "public")]));
    let Look::Lead(lead, None) = cache.look(key("/"), &secret, true, now) else { panic!("nobody asks yet") };
    let recording = cache.record(key("/"), said(&secret, &public), HeaderMap::new, lead, now).unwrap();
    cache.forget(key("/"));
    recording.finish();
    assert_eq!(cache.size(), (0, 0));
}

#[test]
fn fb_2_hosts_have_no_case_and_paths_do() {
    let (cache, now, none) = (cache(10, 1 << 20), Instant::now(), HeaderMap::new());
    let long = format!("{}.example:8000", "sub.".repeat(20));
    let lead = match cache.look(Key { authority: &long, path: "/a" }, &none, true, now) {
        Look::Lead(lead, _) => lead,
        other => panic!("nobody asks yet: {other:?}"),
    };
    let (said, upper) = (said(&none, &none), long.to_ascii_uppercase());
    cache.record(Key { authority: &long, path: "/a" }, said, HeaderMap::new, lead, now).unwrap().finish();
    let find = |authority, path| cache.find(Key { authority, path }, &none, now);
    assert!(matches!(find(&upper, "/a"), Found::Fresh(_)));
    assert!(matches!(find(&upper, "/A"), Found::Nothing));
    assert!(matches!(find(&upper[4..], "/a"), Found::Nothing));
    cache.forget(Key { authority: &upper, path: "/a" });
    assert_eq!(cache.size(), (0, 0));
}

#[test]
fn fb_2_what_was_asked_before_a_change_is_not_kept_after_it() {
    let (cache, now, none) = (cache(10, 1000), Instant::now(), HeaderMap::new());
    let first = lead(&cache, "/", now);
    let flight = follow(&cache, "/", now);
    let recording = cache.record(key("/"), said(&none, &none), HeaderMap::new, first, now).unwrap();
    cache.forget(key("/"));
    assert!(flight.is_over());
    recording.finish();
    assert_eq!(cache.size(), (0, 0));
}

#[test]
fn fb_2_what_is_under_way_is_bounded() {
    let (cache, now, none) = (cache(100, 8000), Instant::now(), HeaderMap::new());
    let start = |nth: usize| {
        let path = format!("/{nth}");
        let lead = lead(&cache, &path, now);
        let mut recording = cache.record(key(&path), said(&none, &none), HeaderMap::new, lead, now).unwrap();
        recording.add(&[0; 1500]);
        recording
    };
    let all: Vec<_> = (0..10).map(start).collect();
    let under_way = || cache.store.under_way.load(Relaxed);
    assert_eq!(under_way(), 3000, "two of 1500 octets: one response at most may have 4000");
    drop(all);
    assert_eq!((under_way(), flights(&cache)), (0, 0));
}

#[test]
fn fb_2_a_reload_hands_the_store_over_and_keeps_the_most_recent_that_fit() {
    let (kept, now) = (metrics(), Instant::now());
    let old = Cache::new(config(10, 1 << 20), None, Arc::clone(&kept));
    for path in ["/a", "/b", "/c", "/d"] {
        simply(&old, path, b"x", now);
    }
    assert!(has(&old, "/a", now));
    let new = Cache::new(config(3, 1 << 20), Some(&old), Arc::clone(&kept));
    assert!(Arc::ptr_eq(&old.store, &new.store), "nothing is copied");
    let there: Vec<_> = ["/a", "/b", "/c", "/d"].into_iter().filter(|path| has(&new, path, now)).collect();
    assert_eq!(there, ["/a", "/c", "/d"]);
    assert_eq!((kept.entries.load(Relaxed), kept.evicted.load(Relaxed)), (3, 1));
}

#[test]
fn fb_2_a_reload_to_another_size_moves_what_is_kept_and_counts_it_once() {
    let (kept, now) = (metrics(), Instant::now());
    let old = Cache::new(config(10, 1 << 20), None, Arc::clone(&kept));
    let asked_before = lead(&old, "/late", now);
    (0..10).for_each(|nth| simply(&old, &format!("/{nth}"), b"x", now));
    let big = model::Cache { max_body: 1000, ..config(5000, 1 << 20) };
    let new = Cache::new(big, Some(&old), Arc::clone(&kept));
    assert!(new.store.shards.len() > 1);
    assert_eq!((old.size(), new.size().0), ((0, 0), 10));
    simply(&old, "/11", b"x", now);
    let none = HeaderMap::new();
    old.record(key("/late"), said(&none, &none), HeaderMap::new, asked_before, now).unwrap().finish();
    assert_eq!(old.size(), (0, 0), "who still has the old one keeps nothing in it");
    assert_eq!(
        (kept.entries.load(Relaxed), kept.bytes.load(Relaxed)),
        (10, i64::try_from(new.size().1).unwrap())
    );
    assert_eq!(kept.evicted.load(Relaxed), 0);
    drop((old, new));
    assert_eq!((kept.entries.load(Relaxed), kept.bytes.load(Relaxed)), (0, 0));
}

#[test]
fn fb_2_what_is_confirmed_is_fresh_again_unless_it_may_no_longer_be_kept() {
    let (cache, start, none) = (cache(10, 1 << 20), Instant::now(), HeaderMap::new());
    let tagged = fields(&[(ETAG, "\"1\"")]);
    for (news, stays) in [(tagged.clone(), true), (fields(&[(CACHE_CONTROL, "no-store")]), false)] {
        keep(&cache, "/", (&none, &tagged), b"hello", start);
        let later = start + 20 * MINUTE;
        let Look::Lead(lead, Some(stale)) = cache.look(key("/"), &none, true, later) else { panic!("stale") };
        assert_eq!(stale.usable(&none, later), Usable::IfConfirmed);
        let fresh = cache.refresh(&stale, news.clone(), said(&none, &news), lead, later);
        assert_eq!((&*fresh.body, fresh.age(later)), (&b"hello"[..], Duration::ZERO));
        assert_eq!(has(&cache, "/", later), stays);
        assert_eq!(flights(&cache), 0);
    }
    assert_eq!(cache.size(), (0, 0));
}

proptest! {
    #[test]
    fn fb_2_no_limit_is_passed_and_no_octet_lost_count_of(
        steps in prop::collection::vec((0u8..30, 0usize..3000, 0u8..10), 1..200), entries in 1usize..20,
    ) {
        let (cache, now, none) = (cache(entries, 8000), Instant::now(), HeaderMap::new());
        for (path, size, what) in steps {
            let path = format!("/{path}");
            match what {
                0 => cache.forget(key(&path)),
                1..4 => drop(cache.find(key(&path), &none, now)),
                _ => simply(&cache, &path, &vec![b'x'; size], now),
            }
            let (count, bytes) = cache.size();
            prop_assert!(count <= entries && bytes <= 8000);
            let held: Vec<_> = cache.store.shards.iter().flat_map(|shard| shard.lock().unwrap().oldest_first()).collect();
            prop_assert_eq!((held.len(), held.iter().map(|stored| stored.cost()).sum::<usize>()), (count, bytes));
            prop_assert!(what < 4 || has(&cache, &path, now), "what has just come is there");
        }
    }
}
