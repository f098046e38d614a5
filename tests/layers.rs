//! The layers of ARCHITECTURE.md, enforced: arrows between the rooms only point down, what decides
//! touches nothing, and plain values depend on nothing.
//!
//! In: the text of the sources, without their tests. [`faults`] finds what breaks a rule; the tests at
//! the end plant such breaches, so that a checker that sees nothing would be seen.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail on the spot")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Which rooms each room may use.
const ROOMS: [(&str, &[&str]); 19] = [
    ("main", &["cli", "host"]),
    ("lib", &[]),
    ("cli", &["agent", "far", "fleet", "local", "engine", "documents", "ports", "manifest", "decide", "model"]),
    ("agent", &["engine", "documents", "host", "ports", "manifest", "decide", "model"]),
    ("far", &["local", "engine", "documents", "host", "ports", "manifest", "decide", "model"]),
    ("fleet", &["documents", "host", "ports", "manifest", "decide", "model"]),
    ("local", &["managers", "releases", "health", "ledger", "host", "ports", "model"]),
    ("engine", &["observe", "ports", "decide", "model"]),
    ("observe", &["ports", "decide", "model"]),
    ("managers", &["host", "ports", "model"]),
    ("releases", &["host", "ports", "model"]),
    ("health", &["host", "ports", "model"]),
    ("ledger", &["host", "ports", "model"]),
    ("host", &["ports", "model"]),
    ("ports", &["model"]),
    ("documents", &["manifest", "decide", "model"]),
    ("manifest", &["decide", "model"]),
    ("decide", &["model"]),
    ("model", &[]),
];

/// Rooms that see neither files, nor clocks, nor the network, nor other processes, and wait for nothing.
const PURE: [&str; 2] = ["decide", "model"];

/// What no pure room may name. A thread is fine: the rule language parses on one of its own.
const IMPURE: [&str; 17] = [
    "std::fs",
    "std::env",
    "std::process",
    "std::os",
    "std::io",
    "std::net::TcpStream",
    "std::net::UdpSocket",
    "std::time::SystemTime",
    "std::time::Instant",
    "SystemTime::now",
    "Instant::now",
    "Timestamp::now",
    "Zoned::now",
    "tokio",
    "rustix",
    "nix",
    "reqwest",
];

/// The crates that plain values are made of.
const OF_VALUES: [&str; 5] = ["std", "serde", "jiff", "thiserror", "crate"];

/// What breaks a rule in one file of a room. `depth` is how many modules deep the file is.
fn faults(room: &str, depth: usize, source: &str) -> Vec<String> {
    let code = code(source);
    let Some((_, allowed)) = ROOMS.iter().find(|(name, _)| *name == room) else {
        return vec![format!("`{room}` has no place in the layers")];
    };
    let own = if room == "main" { "trueup::" } else { "crate::" };
    let paths = paths(&code);
    let mut faults = Vec::new();
    for path in &paths {
        if let Some(other) = path.strip_prefix(own).and_then(|rest| rest.split("::").next())
            && other != room
            && !allowed.contains(&other)
        {
            faults.push(format!("`{room}` may not use `{other}`: {path}"));
        }
        // A path of many `super` could leave the room unseen.
        if path.split("::").take_while(|part| *part == "super").count() >= depth && depth > 0 {
            faults.push(format!("`{room}` leaves itself through `super`: {path}"));
        }
        if PURE.contains(&room)
            && let Some(impure) = IMPURE.iter().find(|word| path == **word || path.starts_with(&format!("{word}::")))
        {
            faults.push(format!("`{room}` is pure, and names `{impure}`: {path}"));
        }
    }
    if PURE.contains(&room) && (code.contains("async ") || code.contains(".await")) {
        faults.push(format!("`{room}` is pure, and waits"));
    }
    if room == "model" {
        let strangers = uses(&code).into_iter().filter(|path| {
            let root = path.split("::").next().unwrap_or_default();
            root != "super" && root != "self" && !OF_VALUES.contains(&root)
        });
        faults.extend(strangers.map(|path| format!("plain values do not need {path}")));
    }
    faults
}

/// The source without comments and without the tests at its end.
fn code(source: &str) -> String {
    let before_tests = source.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    before_tests.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

/// Every path that the code names: those of `use`, written out, and those in between.
fn paths(code: &str) -> Vec<String> {
    let word = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    let inline = code.split(|c: char| !word(c)).filter(|text| text.contains("::")).map(str::to_owned);
    uses(code).into_iter().chain(inline).collect()
}

/// The paths of all `use` declarations, their braces written out.
fn uses(code: &str) -> Vec<String> {
    let mut all = Vec::new();
    for (start, _) in code.match_indices("use ") {
        let begins = code[..start].chars().next_back().is_none_or(|before| before.is_whitespace() || before == ')');
        if begins && let Some(end) = code[start..].find(';') {
            let declared: String = code[start + 4..start + end].split_whitespace().collect::<Vec<_>>().join(" ");
            write_out("", &declared, &mut all);
        }
    }
    all
}

fn write_out(prefix: &str, tree: &str, all: &mut Vec<String>) {
    let tree = tree.trim();
    let Some((head, inner)) = tree.split_once('{') else {
        let path = tree.split(" as ").next().unwrap_or_default();
        all.push(format!("{prefix}{path}"));
        return;
    };
    let inner = inner.strip_suffix('}').unwrap_or(inner);
    let (mut level, mut start) = (0, 0);
    for (at, c) in inner.char_indices().chain([(inner.len(), ',')]) {
        match c {
            '{' => level += 1,
            '}' => level -= 1,
            ',' if level == 0 => {
                let part = inner[start..at].trim();
                if !part.is_empty() {
                    write_out(&format!("{prefix}{head}"), part, all);
                }
                start = at + 1;
            }
            _ => {}
        }
    }
}

/// Rust files below a directory.
fn files(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Files that hold nothing but tests or what tests are made of.
fn is_test(path: &Path) -> bool {
    let stem = path.file_stem().unwrap().to_string_lossy();
    path.starts_with("sim")
        || stem == "tests"
        || path.components().any(|part| part.as_os_str() == "tests")
        || stem.ends_with("_tests")
        || ["testing", "testchild", "properties"].contains(&&*stem)
}

#[test]
fn arrows_between_the_rooms_only_point_down() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    files(&src, &mut found);
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let mut all = Vec::new();
    for path in found {
        let inside = path.strip_prefix(&src).unwrap();
        if is_test(inside) {
            continue;
        }
        let parts: Vec<String> = inside
            .with_extension("")
            .components()
            .map(|part| part.as_os_str().to_string_lossy().into_owned())
            .filter(|part| part != "mod")
            .collect();
        let room = &parts[0];
        let depth = if room == "main" || room == "lib" { 0 } else { parts.len() };
        *seen.entry(room.clone()).or_default() += 1;
        let source = fs::read_to_string(&path).unwrap();
        all.extend(faults(room, depth, &source).into_iter().map(|fault| format!("{}: {fault}", inside.display())));
    }
    assert!(all.is_empty(), "{}", all.join("\n"));
    for (room, _) in ROOMS {
        assert!(seen.contains_key(room), "the layers speak of `{room}`, which is not there");
    }
}

#[test]
fn no_room_stands_below_one_that_it_uses() {
    let place = |room: &str| ROOMS.iter().position(|(name, _)| *name == room).unwrap();
    for (room, allowed) in ROOMS {
        for other in allowed {
            assert!(place(room) < place(other), "{room} -> {other}");
        }
    }
}

#[test]
fn planted_breaches_are_found() {
    let breaches = [
        ("decide", 2, "use crate::engine::pass;", "may not use `engine`"),
        (
            "decide",
            2,
            "use crate::model::app::App;\nuse crate::{\n    model::names::Root,\n    ports::Host,\n};",
            "`ports`",
        ),
        ("decide", 2, "fn f() { crate::observe::look(); }", "may not use `observe`"),
        ("decide", 2, "use super::super::engine::pass;", "leaves itself"),
        ("decide", 1, "use super::engine;", "leaves itself"),
        ("decide", 2, "use std::{collections::BTreeMap, fs::{self, File}};", "names `std::fs`"),
        ("decide", 2, "use std::time::{Duration, SystemTime};", "names `std::time::SystemTime`"),
        ("decide", 2, "fn f() -> Timestamp { jiff::Timestamp::now() }\nfn g() { Timestamp::now(); }", "Timestamp::now"),
        ("decide", 2, "pub async fn f() {}", "waits"),
        ("decide", 2, "use tokio::time::sleep;", "names `tokio`"),
        ("model", 2, "use serde_json::Value;", "do not need serde_json"),
        ("model", 2, "use crate::decide::plan;", "may not use `decide`"),
        ("managers", 2, "pub(crate) use crate::releases::switch;", "may not use `releases`"),
        ("ledger", 1, "use crate::health::probe;", "may not use `health`"),
        ("main", 0, "use trueup::engine::pass;", "may not use `engine`"),
        ("attic", 1, "", "has no place"),
    ];
    for (room, depth, source, words) in breaches {
        let found = faults(room, depth, source);
        assert!(found.iter().any(|fault| fault.contains(words)), "{source}: {found:?}");
    }
}

#[test]
fn what_is_right_is_left_alone() {
    let right = [
        ("decide", 2, "use super::plan::{plan, Plan};\nuse crate::model::app::App; // not crate::engine\n"),
        ("decide", 2, "//! Speaks of std::fs and tokio.\nuse std::time::Duration;"),
        ("decide", 3, "use super::super::plan::plan;"),
        ("engine", 2, "pub async fn f() {}\n#[cfg(test)]\nmod tests {\n    use crate::sim::World;\n}"),
        ("model", 2, "use std::net::SocketAddr;\nuse serde::Serialize;"),
        ("main", 0, "use trueup::host::spawn;"),
    ];
    for (room, depth, source) in right {
        assert_eq!(faults(room, depth, source), Vec::<String>::new(), "{source}");
    }
}
