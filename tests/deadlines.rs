//! Until when is an answer of any use? What callers say of their patience, and what becomes of it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::support::caller::timed;
use crate::support::draft::{answer, get};
use crate::support::inside::sidecar::Sidecar;
use crate::support::inside::{self, run};
use crate::support::origin::{Origin, Reply};
use crate::support::rig::{Rig, eventually, upstream};

const MS: fn(u64) -> Duration = Duration::from_millis;

#[test]
fn dl_1_the_rest_is_passed_on_in_the_words_it_came_in() {
    let origin = Origin::start(|_, request| match request.field("x-request-attempt") {
        Some("1") => Reply::Late(MS(300), answer(503)),
        _ => Reply::Answer(answer(200)),
    });
    let settings = "retry: {on: [503], attempts: 1, backoff: {base: 1ms, max: 1ms}}";
    let rig = Rig::start(&[upstream("up", &[origin.addr], settings)]);
    for (nth, (word, said, unit)) in [
        ("x-deadline", "1000", ""),
        ("grpc-timeout", "1S", "m"),
        ("x-envoy-expected-rq-timeout-ms", "1000", ""),
    ]
    .into_iter()
    .enumerate()
    {
        assert_eq!(rig.caller().send(&get("up").with(word, said)).unwrap().status(), 200);
        let left = |attempt: usize, word: &str| -> u64 {
            let seen = &origin.seen()[2 * nth + attempt];
            seen.message.field(word).unwrap().trim_end_matches(unit).parse().unwrap()
        };
        for word in [word, "x-deadline"] {
            let plain = |attempt| {
                if word == "x-deadline" { left(attempt, "x-deadline") } else { left(attempt, word) }
            };
            assert!((700..=1000).contains(&plain(0)), "{word} on the first attempt: {}", plain(0));
            assert!((300..=700).contains(&plain(1)), "{word} after 300 ms: {}", plain(1));
        }
    }
}

#[test]
fn dl_1_a_deadline_that_cannot_be_read_is_the_callers_fault() {
    let origin = Origin::always(200);
    let rig = Rig::start(&[upstream("up", &[origin.addr], "")]);
    let said = rig.caller().send(&get("up").with("x-deadline", "soon")).unwrap();
    assert_eq!((said.status(), origin.count()), (400, 0));
    assert!(said.reason() == "malformed-deadline", "{}", said.reason());
}

#[test]
fn dl_2_a_deadline_clips_the_policy() {
    let origin = Origin::start(|_, _| Reply::Hang);
    let rig = Rig::start(&[upstream("up", &[origin.addr], "timeouts: {request: 10s}")]);
    let (said, took) = timed(|| rig.caller().send(&get("up").with("x-deadline", 200)).unwrap());
    assert_eq!(said.status(), 504);
    assert!(said.reason() == "deadline-exceeded", "{}", said.reason());
    assert!(took >= MS(200) && took < MS(2000), "{took:?}");
    rig.counts("deadline_exceeded_total", &[("where", "request")], 1);
}

#[test]
fn dl_3_what_has_expired_on_arrival_goes_nowhere() {
    let origin = Origin::always(200);
    let rig = Rig::start(&[upstream("up", &[origin.addr], "")]);
    for word in [("x-deadline", "0"), ("grpc-timeout", "0m")] {
        let said = rig.caller().send(&get("up").with(word.0, word.1)).unwrap();
        assert_eq!(said.status(), 504);
        assert!(said.reason() == "deadline-expired-on-arrival", "{}", said.reason());
    }
    assert_eq!((origin.count(), origin.connections()), (0, 0));
    rig.counts("deadline_exceeded_total", &[("where", "arrival")], 2);
}

/// A calls B, B calls C, and each passes on what it was told. Each fails the first time, after 50 ms, and is asked again by
/// the sidecar beside its caller; then C never answers.
#[test]
fn dl_5_each_hop_sees_less_and_the_late_one_is_seen() {
    run(Duration::ZERO, async {
        let again = "retry: {on: [503], attempts: 1, backoff: {base: 1ms, max: 1ms}}";
        let told = Rc::new(RefCell::new(Vec::<u64>::new()));
        let next = |hops: &[Sidecar]| {
            let next = hops.last().map(|hop| upstream("next", &[hop.inbound], again));
            next.into_iter().collect::<Vec<_>>()
        };
        let mut hops = Vec::new();
        for _ in 0..3 {
            let (told, fails, is_last) = (Rc::clone(&told), Cell::new(true), hops.is_empty());
            hops.push(Sidecar::of_service(&next(&hops), move |outbound, request| {
                let (told, fails) = (Rc::clone(&told), fails.take());
                async move {
                    if fails {
                        sleep(MS(50)).await;
                        return answer(503);
                    }
                    let left = request.field("x-deadline").unwrap();
                    told.borrow_mut().push(left.parse().unwrap());
                    if is_last {
                        std::future::pending::<()>().await;
                    }
                    let call = get("next").with("x-deadline", left);
                    answer(inside::service::Caller::of(outbound).send(&call).await.unwrap().status())
                }
            }));
        }
        let caller = Sidecar::beside(hops[0].inbound, &next(&hops));
        let start = Instant::now();
        let call = get("next").with("x-deadline", 1000);
        let said = inside::service::Caller::of(caller.outbound).send(&call).await.unwrap();
        assert_eq!((said.status(), start.elapsed()), (504, MS(1000)));
        for (told, left) in told.borrow().iter().zip([950, 900, 850]) {
            assert!((left - 10..=left).contains(told), "{told} where about {left} are left");
        }
        assert_eq!(told.borrow().len(), 3);
        sleep(MS(10)).await;
        assert_eq!(hops[0].metric("deadline_exceeded_total", &[("where", "request")]), 1, "beside C");
        assert_eq!(hops[0].metric("requests_total", &[("direction", "inbound"), ("flag", "UT")]), 1);
    });
}

#[test]
fn dl_4_work_that_nobody_waits_for_is_canceled() {
    let origin = Origin::start(|_, _| Reply::Hang);
    let rig = Rig::start(&[upstream("up", &[origin.addr], "")]);
    // The deadline ends.
    assert_eq!(rig.caller().send(&get("up").with("x-deadline", 50)).unwrap().status(), 504);
    eventually("the end of what expired", || (origin.gone() == 1).then_some(()));
    // The caller leaves.
    let mut caller = rig.caller();
    caller.begin(&get("up")).unwrap();
    eventually("the request", || (origin.count() == 2).then_some(()));
    caller.leave();
    let ((), took) =
        timed(|| eventually("the end of what nobody wants", || (origin.gone() == 2).then_some(())));
    assert!(took < MS(1000), "{took:?}");
    rig.counts("attempts_total", &[("outcome", "canceled")], 1);
}
