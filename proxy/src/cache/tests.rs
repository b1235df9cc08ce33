use std::time::Duration;

use http::header::{AUTHORIZATION, VARY};
use http::{HeaderName, HeaderValue};
use outrigger_config::model::CacheRules;
use proptest::prelude::*;

use super::*;

const MINUTE: Duration = Duration::from_mins(1);
const SECOND: Duration = Duration::from_secs(1);

fn cache(max_entries: usize, max_bytes: usize) -> Arc<Cache> {
    let rules = CacheRules { methods: vec![Method::GET], ttl: Some(5 * MINUTE), stale_if_error: 10 * MINUTE };
    Arc::new(Cache::new(model::Cache { rules, max_entries, max_bytes, max_body: max_bytes / 2 }))
}

fn fields(fields: &[(HeaderName, &'static str)]) -> HeaderMap {
    fields.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect()
}

fn key(path: &str) -> Key<'_> {
    Key { authority: "up", path }
}

/// Keeps an answer, if it may be kept.
fn keep(cache: &Arc<Cache>, path: &str, (asked, said): (&HeaderMap, &HeaderMap), body: &[u8], now: Instant) {
    let (method, status) = (&Method::GET, StatusCode::OK);
    let (at, delay) = (Duration::ZERO, Duration::ZERO);
    let exchange = cacheable::Exchange { method, asked, status, headers: said, at, delay };
    if let Ok(mut recording) = cache.record(key(path), exchange, || said.clone(), None, now) {
        body.chunks(3).for_each(|part| recording.add(part));
        recording.finish();
    }
}

fn simply(cache: &Arc<Cache>, path: &str, body: &[u8], now: Instant) {
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

#[test]
fn fb_2_one_asks_and_the_others_wait_for_it() {
    let (cache, now, none) = (cache(10, 1 << 20), Instant::now(), HeaderMap::new());
    let look = |path| cache.look(key(path), &none, true, now);
    let Look::Lead(lead, None) = look("/") else { panic!("nobody asks yet") };
    let Look::Wait(flight, None) = look("/") else { panic!("somebody asks") };
    assert!(matches!(look("/other"), Look::Lead(..)));
    assert!(!flight.is_closed());
    let said = cacheable::Exchange {
        method: &Method::GET,
        asked: &none,
        status: StatusCode::OK,
        headers: &none,
        at: Duration::ZERO,
        delay: Duration::ZERO,
    };
    cache.record(key("/"), said, HeaderMap::new, Some(lead), now).unwrap().finish();
    assert!(flight.is_closed());
    assert!(matches!(look("/"), Look::Fresh(_)));
}

#[test]
fn fb_2_nobody_waits_for_what_will_not_be_kept() {
    let (cache, now, none) = (cache(10, 1000), Instant::now(), HeaderMap::new());
    let Look::Lead(lead, _) = cache.look(key("/"), &none, true, now) else { panic!("nobody asks yet") };
    let Look::Wait(flight, _) = cache.look(key("/"), &none, true, now) else { panic!("somebody asks") };
    let said = cacheable::Exchange {
        method: &Method::GET,
        asked: &none,
        status: StatusCode::OK,
        headers: &none,
        at: Duration::ZERO,
        delay: Duration::ZERO,
    };
    let mut recording = cache.record(key("/"), said, HeaderMap::new, Some(lead), now).unwrap();
    recording.add(&[0; 501]);
    assert!(flight.is_closed(), "while the rest of it still comes");
    recording.finish();
    assert_eq!(cache.size(), (0, 0));
}

#[test]
fn fb_2_a_reload_keeps_the_most_recent_that_fit() {
    let (old, new, now) = (cache(10, 1 << 20), cache(3, 1 << 20), Instant::now());
    for path in ["/a", "/b", "/c", "/d"] {
        simply(&old, path, b"x", now);
    }
    assert!(has(&old, "/a", now));
    new.adopt(&old);
    let kept: Vec<_> = ["/a", "/b", "/c", "/d"].into_iter().filter(|path| has(&new, path, now)).collect();
    assert_eq!(kept, ["/a", "/c", "/d"]);
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
            let held: Vec<_> = cache.shards.iter().flat_map(|shard| shard.lock().unwrap().oldest_first()).collect();
            prop_assert_eq!((held.len(), held.iter().map(|stored| stored.cost()).sum::<usize>()), (count, bytes));
            prop_assert!(what < 4 || has(&cache, &path, now), "what has just come is there");
        }
    }
}
