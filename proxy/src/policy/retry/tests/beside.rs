//! What is repaired and replaced beside the retries?

use super::*;

/// RFC 9113 §6.8: an endpoint that leaves every 50 requests costs neither attempts nor budget, and yet there is an end.
#[test]
fn u_16_what_goaway_left_undone_is_replaced_beside_attempts_and_budget() {
    let now = Instant::now();
    let left = Outcome::GoneAway { progressed: true };
    let broke = |on: &[RetryCondition], replaced, draw| {
        decide(&policy(on, 0), &Standing { replaced, ..standing(now) }, &left, draw, || false)
    };
    for replaced in 0..64 {
        let millis = if replaced < 3 { 0 } else { 10 };
        assert_eq!(broke(&[], replaced, 1.0), again(Kind::Replacement, millis), "{replaced}");
        assert_eq!(broke(&[], replaced, 0.0), again(Kind::Replacement, 0), "{replaced}");
    }
    assert_eq!(broke(&ALL, 64, 0.0), Decision::Stop(Refused::NotListed), "attempts: 0");
    let after_that = Standing { replaced: 64, ..standing(now) };
    let listed = policy(&[RetryCondition::RefusedStream], 1);
    assert_eq!(after(&listed, &after_that, &left), again(Kind::Retry, 25));
    let late = Standing { deadline: now, ..standing(now) };
    assert_eq!(after(&listed, &late, &left), Decision::Stop(Refused::Deadline));
}

#[test]
fn u_5_a_stale_connection_is_repaired_once_beside_the_attempts() {
    let now = Instant::now();
    let off = policy(&[], 0);
    let repair = again(Kind::Repair, 0);
    assert_eq!(after(&off, &standing(now), &Outcome::Stale), repair);
    let again = Standing { repaired: true, ..standing(now) };
    assert_eq!(after(&off, &again, &Outcome::Stale), Decision::Stop(Refused::NotListed));
    let post = Standing { method: &Method::POST, ..standing(now) };
    assert_eq!(after(&off, &post, &Outcome::Stale), Decision::Stop(Refused::NotIdempotent));
    assert_eq!(after(&off, &Standing { sent: false, ..post }, &Outcome::Stale), repair);
    let broke = decide(&off, &standing(now), &Outcome::Stale, 0.0, || false);
    assert_eq!(broke, Decision::Stop(Refused::Budget), "inside the budget");
}
