use std::time::Duration;

use outrigger_config::model::priority::{Class, Shares};
use outrigger_config::model::{Mode, RateLimit, Store};

use super::*;
use crate::clock::now;
use crate::policy::lease::Grant;
use crate::telemetry::{Metrics, RateLimitMetrics, WorkerId};

const ANY: Class = Class::Default;
const LIMIT: RateLimit = RateLimit { rate: 0.001, burst: 10 };

fn metrics() -> Arc<RateLimitMetrics> {
    Metrics::new(1, 1000).rate_limit("gate", Mode::Enforce)
}

/// At a port on which nobody can listen.
fn account(limit: RateLimit) -> Account {
    let store = Store { host: "127.0.0.1".to_owned(), port: 0, database: 0 };
    Account { store, key: "outrigger:{tests/gate}:enforce".to_owned(), limit, shares: Shares::ALL }
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(Duration::from_secs(10), test).await.unwrap() });
}

/// Whether a request passes once it has waited for what it must.
async fn passes(purse: &Purse) -> bool {
    loop {
        match purse.take(WorkerId::CONTROL, ANY, now()) {
            Take::Passed(_) => return true,
            Take::Denied { .. } => return false,
            Take::Waits(answered) => answered.await,
        }
    }
}

#[test]
fn an_answer_that_comes_before_anybody_listens_is_heard() {
    run(async {
        let purse = Purse::next(None, account(LIMIT), &metrics());
        let Take::Waits(first) = purse.take(WorkerId::CONTROL, ANY, now()) else {
            panic!("it holds nothing")
        };
        let Take::Waits(second) = purse.take(WorkerId::CONTROL, ANY, now()) else {
            panic!("it holds nothing")
        };
        assert_eq!(purse.asked().await, (Class::ALL[0], 1), "one lease at a time");
        purse.answered(
            ANY,
            Some(Grant { tokens: 1, retry_after: Duration::from_secs(1), sharers: 1, left: 0 }),
        );
        first.await;
        second.await;
        assert!([passes(&purse).await, passes(&purse).await] == [true, false]);
    });
}

#[test]
fn an_absent_server_is_a_failure_like_any_other() {
    run(async {
        let purse = Purse::next(None, account(LIMIT), &metrics());
        let mut lenders = Lenders::default();
        lenders.serve([&purse].into_iter());
        let mut passed = 0;
        for _ in 0..20 {
            passed += u32::from(passes(&purse).await);
        }
        assert_eq!(passed, LIMIT.burst);
    });
}

#[test]
fn tasks_go_with_their_purses() {
    run(async {
        let [stays, goes] = [(); 2].map(|()| Purse::next(None, account(LIMIT), &metrics()));
        let mut lenders = Lenders::default();
        lenders.serve([&goes, &stays].into_iter());
        let task = lenders.running[1].1.id();
        lenders.serve([&stays].into_iter());
        assert_eq!(lenders.running.iter().map(|(_, task)| task.id()).collect::<Vec<_>>(), [task]);
        while Arc::strong_count(&goes) > 1 {
            tokio::task::yield_now().await;
        }
        drop(lenders);
        while Arc::strong_count(&stays) > 1 {
            tokio::task::yield_now().await;
        }
    });
}

#[test]
fn a_reload_keeps_a_purse_and_a_changed_limit_who_shares_it() {
    run(async {
        let metrics = metrics();
        let first = Purse::next(None, account(LIMIT), &metrics);
        first.answered(ANY, Some(Grant { tokens: 0, retry_after: Duration::ZERO, sharers: 5, left: 0 }));
        assert!(Arc::ptr_eq(&first, &Purse::next(Some(&first), account(LIMIT), &metrics)));
        let changed = Purse::next(Some(&first), account(RateLimit { burst: 20, ..LIMIT }), &metrics);
        assert_eq!(changed.replica(), first.replica(), "it is no further sharer");
        changed.answered(ANY, None);
        let mut passed = 0;
        while passes(&changed).await {
            passed += 1;
        }
        assert_eq!(passed, 4, "a fifth of the new burst");
    });
}
