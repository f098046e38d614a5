//! What a power cut would leave: the order in which a deploy writes and syncs, as strace sees it.
//!
//! A file system keeps what was synced, and of the rest any part. So the order of the calls is the proof: what is promised
//! must be on disk before the promise is, and the promise before what stands on it begins.

use std::collections::BTreeMap;

use crate::shop::{ROOT, Shop};
use crate::support::{Host, Unit, require_host};

const CALLS: &str =
    "openat,mkdir,mkdirat,write,symlink,symlinkat,rename,renameat,renameat2,unlinkat,fsync,fdatasync,syncfs";
const TRACE: &str = "/run/strace.out";

/// Something that went towards the disk, in the order of the calls' ends.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Event {
    /// What a record is to say was written, in a file that is not in its place yet.
    Says(String),
    /// That file is on disk.
    RecordSynced,
    /// It is in its place.
    RecordPlaced,
    /// Its place is on disk.
    RecordsSynced,
    /// Something was made or written in the release.
    InRelease(String),
    /// All of the file system is on disk.
    AllSynced,
    /// `current` was moved.
    Switched,
    /// The root's own entries are on disk.
    RootSynced,
}

/// Whole calls of all processes, in the order of their ends.
fn calls(trace: &str) -> Vec<String> {
    let mut begun: BTreeMap<&str, &str> = BTreeMap::new();
    let mut calls = Vec::new();
    for line in trace.lines() {
        let Some((pid, call)) = line.split_once(' ') else { continue };
        let call = call.trim_start();
        if let Some(start) = call.strip_suffix("<unfinished ...>") {
            begun.insert(pid, start);
        } else if let Some((_, rest)) = call.strip_prefix("<... ").and_then(|call| call.split_once(" resumed>")) {
            calls.push(format!("{}{rest}", begun.remove(pid).unwrap_or_default()));
        } else {
            calls.push(call.to_owned());
        }
    }
    calls
}

/// What a record says of itself: how far it has come, and what was proven of the release.
fn said(call: &str) -> String {
    let text = call.replace("\\\"", "\"");
    let made = text.split("\"made\": \"").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or("?");
    let facts = ["verified", "migrated", "switched", "proven"];
    let proven = facts.iter().filter(|fact| text.contains(&format!("\"{fact}\": \"")));
    [made].into_iter().chain(proven.copied()).collect::<Vec<_>>().join(" ")
}

fn event(call: &str, id: &str) -> Option<Event> {
    let (name, _) = call.split_once('(')?;
    if call.contains(" = -1 ") {
        return None;
    }
    let records = format!("<{ROOT}/.trueup/releases>");
    let record = format!("<{ROOT}/.trueup/releases/record.new>");
    let root = format!("<{ROOT}>");
    let release = format!("{ROOT}/releases/{id}");
    Some(match name {
        "write" if call.contains(&record) => Event::Says(said(call)),
        "fsync" | "fdatasync" if call.contains(&record) => Event::RecordSynced,
        "renameat" | "renameat2" | "rename" if call.contains("\"record.new\"") => Event::RecordPlaced,
        "fsync" if call.contains(&records) => Event::RecordsSynced,
        "syncfs" if call.contains(&root) => Event::AllSynced,
        "renameat" | "renameat2" | "rename" if call.contains(&format!("{root}, \"current\"")) => Event::Switched,
        "fsync" if call.contains(&root) => Event::RootSynced,
        "write" if call.contains(&format!("<{release}/")) => Event::InRelease(call.to_owned()),
        "openat" if call.contains("O_CREAT") && call.contains(&format!("<{release}/")) => {
            Event::InRelease(call.to_owned())
        }
        "mkdir" | "mkdirat" | "symlink" | "symlinkat" | "rename" | "renameat" | "renameat2" | "unlinkat"
            if call.contains(&release) || call.contains(&format!("<{ROOT}/releases>, \"{id}\"")) =>
        {
            Event::InRelease(call.to_owned())
        }
        _ => return None,
    })
}

/// What is wrong with an order of events; nothing where a power cut at any moment does no harm.
fn faults(events: &[Event]) -> Vec<String> {
    let mut faults = Vec::new();
    // What the record says on disk, and what it is about to say: written, synced, in its place.
    let (mut durable, mut growing): (String, Option<(String, u32)>) = (String::new(), None);
    let (mut unsynced, mut switched, mut root_unsynced) = (false, false, false);
    let has = |record: &str, word: &str| record.split(' ').any(|one| one == word);
    for event in events {
        let mut demand = |holds: bool| {
            if !holds {
                faults.push(format!("{event:?} while the record says `{durable}`, and soon {growing:?}"));
            }
        };
        match event {
            Event::Says(record) => {
                demand(growing.is_none());
                demand(has(record, "building") || !unsynced);
                demand(!has(record, "proven") || (switched && !root_unsynced));
                growing = Some((record.clone(), 0));
            }
            Event::RecordSynced | Event::RecordPlaced => {
                let step = u32::from(*event == Event::RecordPlaced);
                demand(growing.as_ref().is_some_and(|(_, done)| *done == step));
                growing = growing.map(|(record, _)| (record, step + 1));
            }
            Event::RecordsSynced => {
                demand(growing.as_ref().is_some_and(|(_, done)| *done == 2));
                durable = growing.take().map(|(record, _)| record).unwrap_or_default();
            }
            // Links are looked at again whenever the record does not say `built`.
            Event::InRelease(_) => {
                demand(growing.is_none() && (has(&durable, "building") || has(&durable, "fetched")));
                unsynced = true;
            }
            Event::AllSynced => unsynced = false,
            Event::Switched => {
                demand(growing.is_none() && has(&durable, "built") && has(&durable, "switched") && !unsynced);
                (switched, root_unsynced) = (true, true);
            }
            Event::RootSynced => root_unsynced = false,
        }
    }
    if growing.is_some() || !has(&durable, "proven") {
        faults.push(format!("it ends on `{durable}`"));
    }
    faults
}

fn has_strace(host: &Host) -> bool {
    let found = host.sh("command -v strace").success();
    let required = std::env::var("TRUEUP_TESTS_REQUIRE_HOST").is_ok_and(|value| value == "1");
    assert!(found || !required, "strace is not installed");
    found
}

#[test]
fn a_promise_is_on_disk_after_what_it_promises_and_before_what_stands_on_it() {
    let host = require_host!("durable", [Unit::Supervisor, Unit::Nginx, Unit::PhpFpm]);
    if !has_strace(&host) {
        return;
    }
    let shop = Shop::new(&host, "$realpath_root");
    shop.first();
    let path = shop.manifest("r2", &shop.commit(&[("change", "r2")])).write();
    let calls_of = format!("trace={CALLS}");
    let strace = ["strace", "-f", "-qq", "-y", "-s", "1000", "-o", TRACE, "-e", &calls_of, "-e", "signal=none"];
    let output = host.run(&[&strace[..], &["trueup", "reconcile", &path]].concat());
    assert_eq!(output.code, 0, "{output}");
    shop.is_well_in("r2");

    let trace = host.read(TRACE);
    let seen: Vec<Event> = calls(&trace).iter().filter_map(|call| event(call, "r2")).collect();
    let told = || seen.iter().map(|event| format!("{event:?}")).collect::<Vec<_>>().join("\n");
    assert_eq!(faults(&seen), [""; 0], "{}", told());
    assert!(seen.iter().filter(|event| matches!(event, Event::InRelease(_))).count() > 8, "{}", told());

    // Each sync has its meaning: without any one of them the order would be wrong.
    let mut needed = 0;
    for at in 0..seen.len() {
        if matches!(seen[at], Event::Says(_) | Event::InRelease(_)) {
            continue;
        }
        let without = [&seen[..at], &seen[at + 1..]].concat();
        assert_ne!(faults(&without), [""; 0], "without {:?}, the {at}th of\n{}", seen[at], told());
        needed += 1;
    }
    assert!(needed > 20, "{}", told());
}
