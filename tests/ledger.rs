//! The ledger on file systems that are full or cannot be written, and for users who do not own the root.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a helper that fails should fail its test on the spot")]

mod support;

use std::time::Duration;

use serde_json::{Value, json};
use support::door::{self, Door};
use support::{Host, require_host};
use trueup::ledger;
use trueup::model::journal::{JournalEntry, JournalEvent};
use trueup::model::memory::Memory;
use trueup::model::names::{AppName, Root};
use trueup::ports::HostError;

/// Runs inside the host.
#[test]
fn door() {
    door::serve(|request| {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(write_all(&Root::new(request["root"].as_str().unwrap()).unwrap()))
    });
}

/// Locks, journals and remembers; tells what came of each, and what can be read afterwards.
async fn write_all(root: &Root) -> Value {
    let lock = ledger::lock(root, Duration::ZERO, "test").await;
    let entry = JournalEntry {
        at: jiff::Timestamp::now(),
        pass: "p".to_owned(),
        app: AppName::new("app").unwrap(),
        event: JournalEvent::PassEnded { outcome: "converged".to_owned(), summary: "x".repeat(100_000) },
    };
    let journal = ledger::journal::append(root, &entry);
    let memory = Memory { boot: "b".repeat(100_000), ..Memory::default() };
    let remember = ledger::remember(root, &memory).await;
    let recall = ledger::recall(root).await;
    json!({
        "lock": told(lock.as_ref().map(|_| ())), "journal": told(journal.as_ref().copied()),
        "remember": told(remember.as_ref().copied()), "recall": told(recall.as_ref().map(|_| ())),
        "lines": ledger::journal::read(root).map_or(0, |lines| lines.len()),
        "remembered": recall.is_ok_and(|known| known == memory),
    })
}

fn told(result: Result<(), &HostError>) -> Value {
    match result {
        Ok(()) => json!("ok"),
        Err(error) => json!({ "kind": format!("{:?}", error.kind), "message": error.message, "help": error.help }),
    }
}

/// A root on a small file system of its own.
fn small_root(host: &Host) {
    host.sh("mkdir /srv/app && mount -t tmpfs -o size=256k,mode=755 tmpfs /srv/app && mkdir /srv/app/releases").ok();
}

#[test]
fn a_full_disk_is_told_as_such_and_spoils_nothing() {
    let host = require_host!("full", []);
    let door = Door::new(&host);
    small_root(&host);
    let request = json!({ "root": "/srv/app" });
    let good =
        json!({ "lock": "ok", "journal": "ok", "remember": "ok", "recall": "ok", "lines": 1, "remembered": true });
    assert_eq!(door.ask(&request), good);

    host.sh("rm /srv/app/.trueup/memory.json; cat /dev/zero >/srv/app/releases/fill || true").ok();
    let answer = door.ask(&request);
    // A rollback must go on where it cannot be journaled.
    assert_eq!(answer["lock"], "ok", "{answer}");
    for what in ["journal", "remember"] {
        assert_eq!(answer[what]["kind"], "Storage", "{answer}");
        assert!(answer[what]["message"].as_str().unwrap().contains("/srv/app/.trueup/"), "{answer}");
        assert!(answer[what]["help"].is_string(), "{answer}");
    }
    assert_eq!((&answer["lines"], &answer["remembered"]), (&json!(1), &json!(false)));

    host.run(&["rm", "/srv/app/releases/fill"]).ok();
    let answer = door.ask(&request);
    assert_eq!((&answer["journal"], &answer["lines"]), (&json!("ok"), &json!(2)), "{answer}");

    // What is remembered takes the room that records have kept: a switch that was begun must come to its end.
    host.sh("cd /srv/app/.trueup; rm -f memory.json journal.jsonl; head -c 128K /dev/zero >spare").ok();
    host.sh("cat /dev/zero >/srv/app/releases/fill || true").ok();
    let answer = door.ask(&request);
    assert_eq!((&answer["remember"], &answer["remembered"]), (&json!("ok"), &json!(true)), "{answer}");
    assert!(answer["journal"]["kind"] == "Storage" && !host.exists("/srv/app/.trueup/spare"), "{answer}");
}

#[test]
fn a_root_that_cannot_be_written_is_told_as_such() {
    let host = require_host!("read-only", []);
    let door = Door::new(&host);
    small_root(&host);
    for prepare in ["true", "mount -o remount,rw /srv/app; mkdir /srv/app/.trueup"] {
        host.sh(prepare).ok();
        host.sh("mount -o remount,ro /srv/app").ok();
        let answer = door.ask(&json!({ "root": "/srv/app" }));
        for what in ["lock", "journal", "remember"] {
            assert_eq!(answer[what]["kind"], "Storage", "{answer}");
            assert!(answer[what]["help"].as_str().unwrap().contains("mount it for writing"), "{answer}");
        }
    }
}

#[test]
fn what_root_began_the_owner_goes_on_with() {
    let host = require_host!("owner", []);
    let door = Door::new(&host);
    host.add_user("deploy");
    host.add_user("stranger");
    host.sh("mkdir -p /srv/app/releases && chown -R deploy: /srv/app").ok();
    let request = json!({ "root": "/srv/app" });
    assert_eq!(door.ask(&request)["remember"], "ok");
    let answer = door.user("deploy").ask(&request);
    let good =
        json!({ "lock": "ok", "journal": "ok", "remember": "ok", "recall": "ok", "lines": 2, "remembered": true });
    assert_eq!(answer, good);
    assert_eq!(door.ask(&request)["lines"], 3);

    let answer = door.user("stranger").ask(&request);
    assert_eq!(answer["lock"]["kind"], "Denied", "{answer}");
    assert!(answer["lock"]["help"].is_string(), "{answer}");
    assert_eq!(answer["lines"], 0);
    // What may be there is not taken for nothing.
    assert_eq!(answer["recall"]["kind"], "Denied", "{answer}");
    assert!(answer["recall"]["message"].as_str().unwrap().contains("/srv/app/.trueup/memory.json"), "{answer}");
}
