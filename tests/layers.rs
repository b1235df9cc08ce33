//! Who uses whom? The order of the rooms (see the crate docs of `outrigger`), read from the sources themselves.

use std::fs;
use std::path::{Path, PathBuf};

/// Rooms of the proxy, from the bottom up. A room uses rooms of lower rows, never of its own row or above.
const ROWS: &[&[&str]] = &[
    &["clock", "message", "policy", "telemetry"],
    &["cache", "http1", "http2", "reload"],
    &["store", "upstream"],
    &["snapshot"],
    &["worker"],
    &["pipeline"],
    &["downstream"],
    &["app"],
    &["admin"],
    &["demo"],
    &["cli"],
    &["main", "lib"],
];

/// Words that a room may not say, and why.
const FORBIDDEN: &[(&str, &[&str])] = &[
    (
        "policy",
        &[
            "tokio",
            "hyper",
            "rustls",
            "Instant::now",
            "SystemTime",
            "Mutex",
            "Atomic",
            "std::fs",
            "std::io",
            "prometheus",
        ],
    ),
    ("telemetry", &["tokio", "hyper", "crate::policy"]),
    ("clock", &["hyper"]),
];

#[test]
fn rooms_use_only_what_is_below_them() {
    let faults: Vec<_> =
        sources("proxy/src").iter().flat_map(|(path, text)| upward_uses(path, text)).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn rooms_do_not_say_what_belongs_elsewhere() {
    let mut faults = Vec::new();
    for (path, text) in sources("proxy/src") {
        let room = room_of(&path);
        for (_, words) in FORBIDDEN.iter().filter(|(name, _)| *name == room) {
            let said = words.iter().filter(|word| production(&text).contains(*word));
            faults.extend(said.map(|word| format!("{}: says `{word}`", path.display())));
        }
        if room != "telemetry" && production(&text).contains("prometheus::") {
            faults.push(format!("{}: prometheus lives in telemetry alone", path.display()));
        }
        if room != "store" && production(&text).contains("redis::") {
            faults.push(format!("{}: the client of stores lives in store alone", path.display()));
        }
        if !matches!(&*room, "clock" | "demo" | "reload") && production(&text).contains("Instant::now") {
            faults.push(format!("{}: the time of the data path is what `clock::now` says", path.display()));
        }
    }
    for (path, text) in sources("config/src") {
        let reader = path.starts_with("config/src/raw");
        if !reader && production(&text).contains("granit_parser") {
            faults.push(format!("{}: the YAML parser lives in raw alone", path.display()));
        }
        for word in ["std::fs", "std::net::Tcp", "tokio", "Instant::now"] {
            if production(&text).contains(word) {
                faults.push(format!("{}: pure data says `{word}`", path.display()));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn every_file_says_which_question_it_answers_and_stays_a_room() {
    let mut faults = Vec::new();
    for (path, text) in sources("proxy/src").into_iter().chain(sources("config/src")) {
        if !text.starts_with("//!") {
            faults.push(format!("{}: no module doc", path.display()));
        }
        if production(&text).lines().count() > 500 {
            faults.push(format!("{}: over 500 lines", path.display()));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

fn upward_uses(path: &Path, text: &str) -> Vec<String> {
    let room = room_of(path);
    let Some(own) = row(&room) else { return vec![format!("{}: a room without a row", path.display())] };
    let used = production(text)
        .split("crate::")
        .skip(1)
        .map(|rest| rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect::<String>())
        .collect::<Vec<_>>();
    used.into_iter()
        .filter(|used| *used != room)
        .filter(|used| row(used).is_some_and(|row| row >= own))
        .map(|used| format!("{}: {room} uses {used}", path.display()))
        .collect()
}

fn row(room: &str) -> Option<usize> {
    ROWS.iter().position(|row| row.contains(&room))
}

/// The first part of the path below `src`.
fn room_of(path: &Path) -> String {
    let below = path.components().skip_while(|part| part.as_os_str() != "src").nth(1);
    let name = below.map(|part| part.as_os_str().to_string_lossy().into_owned()).unwrap_or_default();
    name.trim_end_matches(".rs").to_owned()
}

/// The text up to its unit tests, without comments.
fn production(text: &str) -> String {
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

fn sources(below: &str) -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut found = Vec::new();
    let mut folders = vec![root.join(below)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.ends_with("tests") || path.ends_with("tests.rs") {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                found.push((path.strip_prefix(root).unwrap().to_owned(), text));
            }
        }
    }
    assert!(!found.is_empty(), "no sources below {below}");
    found
}
