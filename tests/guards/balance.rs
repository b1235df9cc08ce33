//! Do requests of one key stay together, and only those of a lost endpoint move?

use std::collections::BTreeMap;

use crate::support::draft::get;
use crate::support::origin::Origin;
use crate::support::rig::{Rig, upstream};

#[test]
fn lb_10_a_key_stays_where_it_is() {
    let origins = [(); 4].map(|()| Origin::always(200));
    let addrs = origins.each_ref().map(|origin| origin.addr);
    let balancer = "loadBalancer: {policy: ring-hash, hashOn: \"header:x-user\"}";
    let rig = Rig::start(&[upstream("up", &addrs, balancer)]);
    let ask = || {
        let mut caller = rig.caller();
        for user in 0..40 {
            assert_eq!(caller.send(&get("up").with("x-user", user)).unwrap().status(), 200);
        }
    };
    // Whom each key met, from the request that it is on.
    let homes = |from: &[usize; 4]| -> BTreeMap<String, usize> {
        let seen = origins.iter().zip(from).enumerate().flat_map(|(nth, (origin, from))| {
            let seen = origin.seen().into_iter().skip(*from);
            seen.map(move |seen| (seen.message.field("x-user").unwrap().to_owned(), nth)).collect::<Vec<_>>()
        });
        let mut homes = BTreeMap::new();
        for (user, home) in seen {
            assert_eq!(*homes.entry(user).or_insert(home), home, "one key, one endpoint");
        }
        homes
    };
    ask();
    ask();
    let before = homes(&[0; 4]);
    assert_eq!(before.len(), 40);
    let counts = origins.each_ref().map(Origin::count);
    assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
    rig.reload(&[upstream("up", &addrs[..3], balancer)]);
    ask();
    let after = homes(&counts);
    for (user, home) in &before {
        assert!(*home == 3 || after[user] == *home, "only the keys of who has left may move");
    }
    assert!(after.values().all(|home| *home != 3));
}
