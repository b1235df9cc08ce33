use std::sync::atomic::AtomicU32;
use std::time::Duration;

use super::*;
use crate::upstream::crowd::{Crowds, Of};

fn rules(max: u32, capacity: usize) -> Rules {
    let queue = QueueLimits { capacity, timeout: Duration::from_mins(1) };
    Rules { max: Some(max), adaptive: None, shares: Shares::ALL, queue }
}

fn bulkhead(rules: Rules) -> Arc<Bulkhead> {
    Bulkhead::new(rules, Arc::default(), Instant::now(), 0.5)
}

fn inside(entry: Entry) -> Permit {
    match entry {
        Entry::Inside(permit) => permit,
        other => panic!("{other:?}"),
    }
}

fn waits(entry: Entry) -> Waiting {
    match entry {
        Entry::Waits(waiting) => waiting,
        other => panic!("{other:?}"),
    }
}

fn verdict(waiting: &mut Waiting) -> Option<Result<Permit, Turned>> {
    match Pin::new(waiting).poll(&mut Context::from_waker(std::task::Waker::noop())) {
        Poll::Ready(verdict) => Some(verdict),
        Poll::Pending => None,
    }
}

#[test]
fn bh_2_the_next_one_waits_and_the_one_after_the_queue_is_refused() {
    let limit = bulkhead(rules(1, 1));
    let first = inside(limit.enter(Class::Default, None));
    let mut second = waits(limit.enter(Class::Default, None));
    assert!(matches!(limit.enter(Class::Default, None), Entry::Refused));
    assert!(verdict(&mut second).is_none());
    drop(first);
    let second = verdict(&mut second).unwrap().unwrap();
    assert!(limit.try_enter(Class::Default).is_none());
    drop(second);
    assert!(limit.try_enter(Class::Default).is_some());
}

#[test]
fn bh_3_who_leaves_the_queue_frees_its_place() {
    let limit = bulkhead(rules(1, 1));
    let first = inside(limit.enter(Class::Default, None));
    drop(waits(limit.enter(Class::Default, None)));
    let gone = waits(limit.enter(Class::Default, None));
    drop(first);
    // It was handed a place that it never took.
    drop(gone);
    inside(limit.enter(Class::Default, None));
}

#[test]
fn bh_4_critical_requests_go_first_and_have_places_of_their_own() {
    let shares = Shares { default: 0.5, sheddable: 0.0 };
    let limit = bulkhead(Rules { shares, ..rules(2, 1) });
    let default = inside(limit.enter(Class::Default, None));
    let mut waiting = waits(limit.enter(Class::Default, None));
    let critical = inside(limit.enter(Class::Critical, None));
    let mut worthier = waits(limit.enter(Class::Critical, None));
    assert_eq!(verdict(&mut waiting).unwrap().err(), Some(Turned::Full));
    drop(default);
    assert!(verdict(&mut worthier).unwrap().is_ok());
    drop(critical);
}

#[test]
fn a_reload_keeps_who_is_inside_and_lets_in_who_waits() {
    let limit = bulkhead(rules(1, 5));
    let first = inside(limit.enter(Class::Default, None));
    let mut second = waits(limit.enter(Class::Default, None));
    limit.reconfigure(rules(2, 5), Instant::now(), 0.5);
    let second = verdict(&mut second).unwrap().unwrap();
    limit.reconfigure(rules(1, 5), Instant::now(), 0.5);
    drop(first);
    assert!(limit.try_enter(Class::Default).is_none(), "one is inside still");
    drop(second);
    assert!(limit.try_enter(Class::Default).is_some());
}

#[test]
fn bh_2_a_limit_that_goes_lets_in_who_waits_and_is_the_same_when_it_comes_back() {
    let (crowd, shown) = (Arc::default(), Fills::default());
    let becomes =
        |max| next(&crowd, On::Requests, Rules { max, ..rules(1, 5) }, &shown, Instant::now()).unwrap();
    let limit = becomes(Some(1));
    let first = inside(limit.enter(Class::Default, None));
    let mut second = waits(limit.enter(Class::Default, None));
    let none = becomes(None);
    let second = verdict(&mut second).unwrap().unwrap();
    let third = inside(none.enter(Class::Default, None));
    assert_eq!(none.fill.limit.load(Ordering::Relaxed), 0);
    let limit = becomes(Some(1));
    let mut fourth = waits(limit.enter(Class::Default, None));
    drop((first, second));
    assert!(verdict(&mut fourth).is_none(), "one is inside still");
    drop(third);
    assert!(verdict(&mut fourth).unwrap().is_ok(), "who came before the limit did leaves it a place");
}

#[test]
fn cb_3_nobody_waits_for_what_takes_nobody() {
    let limit = bulkhead(rules(1, 5));
    let _first = inside(limit.enter(Class::Default, None));
    let mut waiting = [Class::Critical, Class::Sheddable].map(|class| waits(limit.enter(class, None)));
    limit.shut(Refusal::Unfit);
    for waiting in &mut waiting {
        assert_eq!(verdict(waiting).unwrap().err(), Some(Turned::Shut(Refusal::Unfit)));
    }
    assert_eq!((limit.is_wanted(), limit.crowd.count()), (false, 0));
}

#[test]
fn bh_3_two_queues_are_together_no_longer_than_one_may_be() {
    let crowd = Arc::<Crowd>::default();
    let limit = || Bulkhead::new(rules(1, 2), Arc::clone(&crowd), Instant::now(), 0.5);
    let [outer, inner] = [limit(), limit()];
    let _inside = [&outer, &inner].map(|limit| inside(limit.enter(Class::Default, None)));
    let mut critical = waits(outer.enter(Class::Critical, None));
    let mut default = waits(outer.enter(Class::Default, None));
    assert!(matches!(inner.enter(Class::Default, None), Entry::Refused), "two wait");
    assert!(
        matches!(inner.enter(Class::Sheddable, Some(&outer)), Entry::Refused),
        "all who wait are worth more"
    );
    let first = waits(inner.enter(Class::Default, Some(&outer)));
    assert_eq!(verdict(&mut default).unwrap().err(), Some(Turned::Full), "it has no place, and makes room");
    assert!(matches!(outer.enter(Class::Default, None), Entry::Refused));
    let mut second = waits(inner.enter(Class::Critical, Some(&outer)));
    assert_eq!(verdict(&mut critical).unwrap().err(), Some(Turned::Full));
    assert_eq!(crowd.count(), 2);
    drop(first);
    assert_eq!(crowd.count(), 1);
    assert!(verdict(&mut second).is_none());
    drop((second, waits(outer.enter(Class::Default, None))));
    assert_eq!(crowd.count(), 0);
}

#[test]
fn bh_2_a_name_that_comes_back_meets_whoever_is_inside_still() {
    let (mut crowds, shown) = (Crowds::default(), Fills::default());
    let mut named = |of| {
        crowds = crowds.living();
        next(&crowds.of(of, "up"), On::Requests, rules(1, 5), &shown, Instant::now()).unwrap()
    };
    let first = inside(named(Of::Upstream).enter(Class::Default, None));
    // Nobody knows that limit but who is inside.
    let mut second = waits(named(Of::Upstream).enter(Class::Default, None));
    drop(inside(named(Of::Application).enter(Class::Default, None)));
    drop(first);
    let second = verdict(&mut second).unwrap().unwrap();
    assert!(named(Of::Upstream).try_enter(Class::Default).is_none());
    drop(second);
    assert_eq!(named(Of::Upstream).crowd.count(), 0);
}

#[test]
fn rl_5_a_dry_run_of_a_limit_is_no_pressure() {
    let adaptive = Some(Applied { mode: Mode::DryRun, policy: AdaptiveLimit { min: 1, max: 1 } });
    let limit = bulkhead(Rules { adaptive, ..rules(4, 0) });
    let _inside = limit.try_enter(Class::Default).unwrap();
    assert!((limit.pressure() - 0.25).abs() < 1e-9, "{}", limit.pressure());
}

#[test]
fn bp_4_a_dry_run_shows_its_limit_and_keeps_nobody_out() {
    let adaptive = |mode| Some(Applied { mode, policy: AdaptiveLimit { min: 1, max: 1 } });
    let dry = Rules { adaptive: adaptive(Mode::DryRun), ..rules(3, 0) };
    let limit = Bulkhead::new(dry, Arc::default(), Instant::now(), 0.5);
    let fits = || {
        let held: Vec<_> = std::iter::from_fn(|| limit.try_enter(Class::Default)).take(9).collect();
        held.len()
    };
    assert_eq!((fits(), limit.fill.limit.load(Ordering::Relaxed)), (3, 1));
    limit.reconfigure(Rules { adaptive: adaptive(Mode::Enforce), ..dry }, Instant::now(), 0.5);
    assert_eq!(fits(), 1);
}

#[test]
fn bh_2_never_more_inside_than_the_limit_however_many_threads_come() {
    const LIMIT: u32 = 3;
    let limit = bulkhead(rules(LIMIT, 100));
    let (inside, most, served) = (AtomicU32::new(0), AtomicU32::new(0), AtomicU32::new(0));
    let work = |permit: Permit| {
        most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        std::thread::yield_now();
        inside.fetch_sub(1, Ordering::SeqCst);
        served.fetch_add(1, Ordering::SeqCst);
        drop(permit);
    };
    std::thread::scope(|scope| {
        for nth in 0..8 {
            let (limit, work) = (&limit, &work);
            scope.spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                for round in 0..200 {
                    match limit.enter(Class::ALL[(nth + round) % 3], None) {
                        Entry::Inside(permit) => work(permit),
                        Entry::Waits(waiting) if round % 7 == 0 => drop(waiting),
                        Entry::Waits(waiting) => work(runtime.block_on(waiting).unwrap()),
                        Entry::Refused => panic!("the queue has room"),
                    }
                }
            });
        }
    });
    assert!(most.load(Ordering::SeqCst) <= LIMIT);
    assert!(served.load(Ordering::SeqCst) >= 8 * 200 * 6 / 7);
    assert_eq!(limit.fill.inside.load(Ordering::SeqCst), 0);
    assert_eq!(limit.fill.waiting.load(Ordering::SeqCst), 0);
    assert_eq!(limit.crowd.count(), 0);
}
