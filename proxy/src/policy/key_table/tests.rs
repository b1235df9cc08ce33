use std::collections::HashSet;

use proptest::prelude::*;

use super::*;

/// A cell for the tests: until when it is in debt, and the name of who owns it.
type Debt = (u64, Option<u16>);

fn key(name: &[u8]) -> Key<'_> {
    Key { identity: None, header: Some(name), source: None }
}

fn find(table: &mut KeyTable<Debt>, name: u16, now: u64) -> (&mut Debt, Place) {
    table.cell(&key(&name.to_le_bytes()), move |cell| cell.0 <= now)
}

proptest! {
    /// Against a list in the order of use, searched from its end.
    #[test]
    fn rl_7_who_is_in_debt_is_remembered_and_the_least_recent_at_rest_is_forgotten(
        capacity in 1u32..20, calls in prop::collection::vec((0u16..40, 0u64..3, 0u64..30), 1..400),
    ) {
        let mut table = KeyTable::<Debt>::new(capacity);
        let mut model: Vec<(u16, u64)> = Vec::new();
        let mut now = 0;
        for (name, later, debt) in calls {
            now += later;
            let known = model.iter().position(|(other, _)| *other == name);
            let (cell, place) = find(&mut table, name, now);
            match place {
                Place::Known => {
                    let at = known.expect("a key that was never there is known");
                    prop_assert_eq!(*cell, (model[at].1, Some(name)));
                    model.remove(at);
                }
                Place::Fresh => prop_assert!(known.is_none() && model.len() < capacity as usize),
                Place::Replaced => {
                    prop_assert!(known.is_none() && model.len() == capacity as usize);
                    let in_debt = model.iter().take_while(|(_, until)| *until > now).count();
                    prop_assert!(in_debt < LOOKS && in_debt < model.len());
                    model.rotate_left(in_debt);
                    model.remove(0);
                }
                Place::Overflow => {
                    prop_assert!(known.is_none());
                    let looks = LOOKS.min(model.len());
                    prop_assert!(model[..looks].iter().all(|(_, until)| *until > now));
                    model.rotate_left(looks);
                    cell.0 = now + debt;
                    continue;
                }
            }
            *cell = (now + debt, Some(name));
            model.push((name, now + debt));
            prop_assert_eq!(table.len(), model.len());
        }
    }

    #[test]
    fn rl_7_memory_is_bounded_whatever_callers_invent(capacity in 1u32..64, debt in 0u64..2) {
        let mut table = KeyTable::<Debt>::new(capacity);
        for name in 0..2_000 {
            *find(&mut table, name, 0).0 = (debt, Some(name));
        }
        prop_assert_eq!(table.len(), capacity as usize);
        prop_assert!(table.slots.capacity() <= 2 * capacity as usize + 4);
        prop_assert_eq!(table.places.len(), capacity as usize);
    }
}

#[test]
fn rl_7_a_flood_of_keys_does_not_clear_a_debt() {
    let mut table = KeyTable::<Debt>::new(4);
    for name in 0..4 {
        *find(&mut table, name, 0).0 = (100, Some(name));
    }
    let places: HashSet<_> = (4..1_000).map(|name| format!("{:?}", find(&mut table, name, 50).1)).collect();
    assert_eq!(places, HashSet::from(["Overflow".to_owned()]));
    for name in 0..4 {
        assert_eq!(find(&mut table, name, 50), (&mut (100, Some(name)), Place::Known));
    }
    assert_eq!(find(&mut table, 4, 100).1, Place::Replaced, "at rest at last");
}

#[test]
fn rl_7_strangers_share_the_overflow_cell() {
    let mut table = KeyTable::<Debt>::new(1);
    find(&mut table, 0, 0).0.0 = 9;
    find(&mut table, 1, 0).0.0 = 7;
    assert_eq!(find(&mut table, 2, 0), (&mut (7, None), Place::Overflow));
}

#[test]
fn rl_7_a_resting_key_behind_many_in_debt_is_found_in_time() {
    let mut table = KeyTable::<Debt>::new(100);
    for name in 0..100 {
        *find(&mut table, name, 0).0 = (if name == 99 { 0 } else { 9 }, Some(name));
    }
    let searches = (100..200).take_while(|name| find(&mut table, *name, 1).1 == Place::Overflow).count();
    assert_eq!(searches, 99 / LOOKS);
}

#[test]
fn rl_7_identity_header_and_source_tell_keys_apart() {
    let mut table = KeyTable::<u64>::new(16);
    let source = Some("10.0.0.1".parse().unwrap());
    let none = Key { identity: None, header: None, source: None };
    let keys = [
        none,
        Key { identity: Some("a"), ..none },
        Key { header: Some(b"a"), ..none },
        Key { source, ..none },
        Key { identity: Some("a"), source, ..none },
        Key { identity: Some("a"), header: Some(b""), ..none },
    ];
    for key in &keys {
        assert_eq!(table.cell(key, |_| true).1, Place::Fresh, "{key:?}");
    }
    assert!(keys.iter().all(|key| table.cell(key, |_| true).1 == Place::Known));
    assert_eq!(table.cells().count(), keys.len() + 1);
    assert!(!table.is_empty());
}
