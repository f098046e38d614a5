//! What a person takes back, and what is tried again.

use std::fs;
use std::time::Duration;

use serde_json::json;
use trueup::documents::wire::{Fault, Line, Operation, What};
use trueup::ledger::journal;
use trueup::model::journal::JournalEvent;
use trueup::model::names::ReleaseId;
use trueup::model::report::Outcome;

use crate::rig::{PROMPT, Rig, footprint, report};

const DRY: Operation = Operation::DryRun { ignore_windows: false, retry: false };
const FORESEEN: Operation = Operation::DryRun { ignore_windows: false, retry: true };
const AGAIN: Operation = Operation::Apply { wait: PROMPT, ignore_windows: false, retry: true };

/// A root with `r1` in force, where `r2` is not healthy as long as there is a file `bad`.
fn spoiled() -> Rig {
    let mut rig = Rig::new();
    let (bad, current) = (rig.path().join("bad"), rig.root().current().join("app"));
    fs::write(&bad, "").unwrap();
    let run = format!("test ! -e {} || ! grep -q r2 {}", bad.display(), current.display());
    rig.spec["health"]["command"]["run"] = json!(run);
    rig
}

/// Asks for that, in a run of its own.
fn made(rig: &Rig, id: &str, operation: Operation) -> trueup::documents::wire::Report {
    report(&rig.ask(&rig.request(id, operation)))
}

#[test]
fn what_is_kept_out_is_tried_again_where_that_is_wished_and_nowhere_else() {
    let mut rig = spoiled();
    // Where there is not even a root, nothing is kept out.
    let first = made(&rig, "again-0000001", AGAIN);
    assert_eq!((first.exit_code, first.outcome, rig.current().as_deref()), (0, Outcome::Converged, Some("r1")));
    rig.release("r2");
    assert_eq!(rig.applied("apply-0000001").outcome, Outcome::RolledBack);

    let before = footprint(rig.root().path());
    let (dry, foreseen) = (made(&rig, "dry-00000001", DRY), made(&rig, "dry-00000002", FORESEEN));
    assert_eq!((dry.outcome, dry.summary.actions), (Outcome::Quarantined, 0));
    assert!(dry.summary.kept_out.is_some());
    assert_eq!((foreseen.outcome, foreseen.summary.kept_out.as_ref()), (Outcome::Drift, None));
    assert!(foreseen.shown.unwrap().diff.contains("id: r2"));
    assert_eq!(footprint(rig.root().path()), before, "a look lifts nothing");
    let kept = rig.applied("apply-0000002");
    assert_eq!((kept.outcome, kept.done, rig.current().as_deref()), (Outcome::Quarantined, 0, Some("r1")));

    let again = made(&rig, "again-0000002", AGAIN);
    assert_eq!((again.exit_code, again.outcome, rig.current().as_deref()), (3, Outcome::RolledBack, Some("r1")));
    fs::remove_file(rig.path().join("bad")).unwrap();
    let well = made(&rig, "again-0000003", AGAIN);
    assert_eq!((well.exit_code, well.outcome, rig.current().as_deref()), (0, Outcome::Converged, Some("r2")));
    assert!(well.done >= foreseen.summary.actions, "{} of {}", well.done, foreseen.summary.actions);
    assert_eq!(well.summary.kept_out, None);

    let told = |trigger: &str| {
        let told =
            |event: &JournalEvent| matches!(event, JournalEvent::PassStarted { trigger: by, .. } if by == trigger);
        journal::read(&rig.root()).unwrap().iter().filter(|entry| told(&entry.event)).count()
    };
    assert_eq!((told("retry by alice@laptop"), told("reconcile by alice@laptop")), (3, 1));
}

#[test]
fn the_release_to_go_back_to_can_be_chosen_and_chosen_again() {
    let mut rig = Rig::new();
    fs::create_dir(rig.path().join("sources/r3")).unwrap();
    fs::write(rig.path().join("sources/r3/app"), "r3").unwrap();
    for (release, id) in [("r1", "apply-0000001"), ("r2", "apply-0000002"), ("r3", "apply-0000003")] {
        rig.release(release);
        assert_eq!(rig.applied(id).outcome, Outcome::Converged, "{release}");
    }
    let id = |text: &str| ReleaseId::new(text).unwrap();
    let back = |to: Option<&str>| Operation::TakeBack {
        release: id("r3"),
        to: to.map(id),
        reason: "orders are lost".to_owned(),
        wait: PROMPT,
    };
    let rows = [
        ("back-00000001", Some("r1"), Outcome::RolledBack, "r1"),
        // Whoever lost the answer asks anew.
        ("back-00000002", Some("r1"), Outcome::Quarantined, "r1"),
        ("back-00000003", Some("r2"), Outcome::RolledBack, "r2"),
        ("back-00000004", None, Outcome::Quarantined, "r2"),
    ];
    for (run, to, outcome, current) in rows {
        let made = made(&rig, run, back(to));
        assert_eq!((made.exit_code, made.outcome, rig.current().as_deref()), (0, outcome, Some(current)), "{run}");
        assert_eq!(made.summary.kept_out.as_deref(), Some("orders are lost"), "{run}");
    }
    let lines = rig.ask(&rig.request("back-00000005", back(Some("r9"))));
    let refused = lines.iter().find_map(|line| match &line.what {
        What::Failed(failed) => Some((failed.fault, failed.message.as_str())),
        _ => None,
    });
    assert_eq!(refused, Some((Fault::Host, "cannot go back to `r9`: it is not there")));
    assert_eq!(rig.current().as_deref(), Some("r2"));
}

/// Its pass ended before the switch, and nobody heard of that.
#[test]
fn what_has_never_come_is_not_taken_back_and_may_come_later() {
    let mut rig = Rig::new();
    rig.release("r1");
    assert_eq!(rig.applied("apply-0000001").outcome, Outcome::Converged);
    rig.release("r2");
    // The lock was held, of course.
    let left =
        |rig: &Rig| ["releases", ".trueup/releases", ".trueup/log"].map(|at| footprint(&rig.root().path().join(at)));
    let before = left(&rig);
    let release = ReleaseId::new("r2").unwrap();
    let back = Operation::TakeBack { release, to: None, reason: "another one failed".to_owned(), wait: PROMPT };
    let told = made(&rig, "back-00000001", back);
    assert_eq!((told.outcome, told.done, told.failed), (Outcome::Drift, 0, 0));
    assert_eq!((told.summary.kept_out, told.summary.proven), (None, false));
    assert_eq!(told.summary.current.as_ref().map(ReleaseId::as_str), Some("r1"));
    assert_eq!(left(&rig), before);

    let made = rig.applied("apply-0000002");
    assert_eq!((made.outcome, made.summary.proven, rig.current().as_deref()), (Outcome::Converged, true, Some("r2")));
}

/// Its pass is in hand, and fails its gate before anybody else has the lock.
#[test]
fn one_that_goes_back_by_itself_while_it_is_waited_for_is_back() {
    let mut rig = spoiled();
    assert_eq!(rig.applied("apply-0000001").outcome, Outcome::Converged);
    rig.release("r2");
    rig.gate();
    let mut pass = rig.start(&rig.apply("apply-0000002"));
    pass.until_gate();
    let back = |wait| Operation::TakeBack {
        release: ReleaseId::new("r2").unwrap(),
        to: None,
        reason: "another one failed".to_owned(),
        wait,
    };
    // Whoever does not wait for it does not learn what becomes of it.
    let lines = rig.ask(&rig.request("back-00000001", back(Duration::ZERO)));
    let refused = |line: &Line| matches!(&line.what, What::Failed(failed) if failed.fault == Fault::Host);
    assert!(lines.iter().any(refused), "{lines:#?}");

    let mut waiting = rig.start(&rig.request("back-00000002", back(PROMPT)));
    waiting.until(|what| matches!(what, What::Waiting(_)));
    rig.open();
    assert_eq!(report(&pass.rest()).outcome, Outcome::RolledBack);
    let told = report(&waiting.rest());
    assert_eq!((told.exit_code, told.outcome, told.done), (0, Outcome::Quarantined, 0));
    assert!(told.summary.kept_out.is_some_and(|why| why != "another one failed"), "its own gate has judged it");
    assert_eq!(rig.current().as_deref(), Some("r1"));
}
