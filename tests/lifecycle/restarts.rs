//! What does a rolling restart cost? Nothing, while somebody else is there (`benches/drills/restarts` does it at length).

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::support::caller::Caller;
use crate::support::draft::get;
use crate::support::origin::Origin;
use crate::support::rig::{Rig, Wishes, upstream};

/// How often each of the two is restarted.
const RESTARTS: usize = 3;
/// They call 500 times a second together.
const CALLERS: usize = 4;
const PAUSE: Duration = Duration::from_millis(8);

#[test]
fn d_12_u_2_replicas_restart_one_after_the_other_and_nothing_is_lost() {
    let apps = [(); 2].map(|()| Origin::always(200));
    let sidecar = "shutdown: {drain: 2s}".to_owned();
    let replica = |app: &Origin| {
        Rig::with(&Wishes { app: Some(app.addr), sidecar: sidecar.clone(), ..Wishes::default() }, &[])
    };
    let mut replicas = [replica(&apps[0]), replica(&apps[1])];
    let caller = Rig::start(&[upstream("up", &[replicas[0].inbound, replicas[1].inbound], "")]);
    let over = AtomicBool::new(false);
    let calls = |to| {
        let (mut caller, mut answered, mut lost) = (Caller::of(to), 0, Vec::new());
        while !over.load(Ordering::Relaxed) {
            match caller.send(&get("up")) {
                Ok(answer) if answer.status() == 200 => answered += 1,
                other => lost.push(other.map(|answer| answer.head)),
            }
            thread::sleep(PAUSE);
        }
        (answered, lost)
    };
    thread::scope(|scope| {
        let callers: Vec<_> = (0..CALLERS).map(|_| scope.spawn(|| calls(caller.outbound))).collect();
        for _ in 0..RESTARTS {
            replicas.iter_mut().for_each(Rig::restart);
        }
        over.store(true, Ordering::Relaxed);
        let (answered, lost): (Vec<usize>, Vec<_>) =
            callers.into_iter().map(|caller| caller.join().unwrap()).unzip();
        assert!(lost.iter().all(Vec::is_empty), "{lost:?}");
        assert!(answered.iter().sum::<usize>() > 10 * RESTARTS, "nobody called: {answered:?}");
    });
    assert!(apps.iter().all(|app| app.count() > 0), "both are called");
}
