//! Which requirement has no test? Ids are part of the tests' names: `RT-1` is tested by `rt_1_…`.

use std::fs;
use std::path::Path;

/// What the sidecar promises; the numbers of each letter pair.
const REQUIRED: &[(&str, &[u32])] = &[
    ("rt", &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13]),
    ("ec", &[1, 2, 3, 4, 5]),
    ("to", &[1, 2, 3, 4, 5, 6]),
    ("dl", &[1, 2, 3, 4, 5]),
    ("cb", &[1, 2, 3, 4, 5, 6, 7, 8, 9]),
    ("lb", &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13]),
    ("bh", &[1, 2, 3, 4, 5]),
    ("rl", &[1, 2, 3, 4, 5, 6, 7, 8, 9]),
    ("bp", &[1, 2, 3, 4]),
    ("fb", &[1, 2, 3, 4, 5, 6, 7, 8]),
    ("ch", &[1, 2, 3]),
    ("pd", &[1, 2]),
    ("cf", &[1, 2, 3, 6, 7, 8, 9]),
    ("ob", &[1, 3, 4, 11]),
    ("se", &[1, 2, 3, 4, 5, 6, 7]),
    // The whole of it is asked for by D12.
    ("d", &[12]),
    // What users of other proxies suffer from.
    ("u", &[1, 2, 4, 5, 8, 9, 16, 19, 25]),
];

#[test]
fn every_requirement_has_a_test_that_bears_its_id() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut tests = Vec::new();
    for folder in ["proxy/src", "config/src", "config/tests", "tests"] {
        collect(&root.join(folder), &mut tests);
    }
    let wanted =
        REQUIRED.iter().flat_map(|(letters, numbers)| numbers.iter().map(move |n| format!("{letters}_{n}")));
    let missing: Vec<_> = wanted.filter(|id| !tests.iter().any(|test| bears(test, id))).collect();
    assert!(missing.is_empty(), "no test bears {missing:?}");
}

/// A name may bear several ids, as `ec_1_ec_3_…` does; `rt_1` is not in `rt_10_…` nor in `part_1_…`.
fn bears(test: &str, id: &str) -> bool {
    format!("_{test}_").contains(&format!("_{id}_"))
}

/// The names of all tests below a folder.
fn collect(folder: &Path, tests: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, tests);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let after = text.split("#[test]").skip(1).filter_map(|rest| rest.split_once("fn "));
            tests.extend(after.map(|(_, rest)| rest.split('(').next().unwrap_or_default().to_owned()));
        }
    }
}

#[test]
fn an_id_is_not_found_in_another() {
    assert!(bears("rt_1_attempt_limit", "rt_1") && bears("ec_1_ec_3_every_status", "ec_3"));
    assert!(!bears("rt_10_no_amplification", "rt_1") && !bears("part_1_of_two", "rt_1"));
}
