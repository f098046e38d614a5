//! What is asked for is done, and nothing else.

use std::fs;
use std::time::Duration;

use serde_json::json;
use trueup::documents::wire::{Ended, Fault, Line, Operation, Request, What};
use trueup::host::proc;
use trueup::ledger;
use trueup::model::names::ReleaseId;
use trueup::model::report::Outcome;

use crate::rig::{PROMPT, Rig, footprint, numbers, report, runner, wait_until};

fn take_back(rig: &Rig, id: &str, release: &str) -> Vec<Line> {
    let release = ReleaseId::new(release).unwrap();
    rig.ask(
        &rig.request(id, Operation::TakeBack { release, to: None, reason: "orders are lost".to_owned(), wait: PROMPT }),
    )
}

fn failed(lines: &[Line]) -> (Fault, String) {
    let failed = lines.iter().find_map(|line| match &line.what {
        What::Failed(failed) => Some((failed.fault, format!("{} {:?}", failed.message, failed.causes))),
        _ => None,
    });
    failed.unwrap_or_else(|| panic!("nothing failed: {lines:#?}"))
}

#[test]
fn an_apply_converges_and_looking_changes_nothing() {
    let rig = Rig::new();
    let looks = [Operation::Observe, Operation::DryRun { ignore_windows: false, retry: false }, Operation::Health];
    for operation in looks.clone() {
        let lines = rig.ask(&rig.request("look-00000001", operation));
        assert_eq!(lines.last().unwrap().what, What::End(Ended::Done), "{lines:#?}");
    }
    assert!(!rig.root().path().exists(), "a look makes no root");
    assert!(!rig.state().exists(), "a look keeps no run");

    let lines = rig.ask(&rig.apply("apply-0000001"));
    assert!(matches!(&lines[0].what, What::Hello(hello) if !hello.attached));
    assert!(matches!(lines[1].what, What::Begun(_)));
    assert_eq!(numbers(&lines), (1..lines.len() as u64).collect::<Vec<_>>());
    assert_eq!(lines.last().unwrap().what, What::End(Ended::Done));
    let made = report(&lines);
    assert_eq!((made.exit_code, made.outcome, made.failed), (0, Outcome::Converged, 0));
    assert_eq!((made.summary.fresh, made.summary.desired, made.summary.healthy), (2, 2, Some(true)));
    assert!(!made.summary.differs && made.shown.is_none());
    let document: serde_json::Value = serde_json::from_str(&made.document).unwrap();
    assert_eq!((&document["host"], &document["kind"]), (&json!("web1"), &json!("PassReport")));
    let done = lines.iter().filter(|line| format!("{:?}", line.what).starts_with("Event(Done")).count();
    assert_eq!(done, made.done, "each action is told");
    assert_eq!(rig.current().as_deref(), Some("r1"));

    // It gives back what it has reserved of the disk after its last word.
    let maker = runner(&lines);
    wait_until("the runner's end", || proc::identify(maker.pid).unwrap() != Some(maker));
    let before = footprint(rig.root().path());
    let kept = footprint(&rig.state());
    for operation in looks {
        rig.ask(&rig.request("look-00000002", operation));
    }
    assert_eq!(footprint(rig.root().path()), before);
    assert_eq!(footprint(&rig.state()), kept);

    let again = rig.applied("apply-0000002");
    assert_eq!((again.exit_code, again.done), (0, 0));
    assert_eq!(rig.passes(), 1, "a pass without work is in no journal");
}

#[test]
fn a_dry_run_shows_what_an_apply_would_do() {
    let mut rig = Rig::new();
    rig.applied("apply-0000001");
    rig.release("r2");
    let dry = |rig: &Rig| {
        report(&rig.ask(&rig.request("dry-00000001", Operation::DryRun { ignore_windows: false, retry: false })))
    };
    let would = dry(&rig);
    let shown = would.shown.unwrap();
    assert!(shown.diff.contains("-    id: r1\n+    id: r2\n") || shown.diff.contains("+    id: r2"), "{}", shown.diff);
    assert!(!shown.diff.contains("pid") && !shown.diff.contains('\u{1b}'), "{}", shown.diff);
    assert!(shown.text.contains("fetch r2") && shown.text.contains("restart idle/1"), "{}", shown.text);
    assert!(would.summary.differs && would.summary.actions > 3, "{:?}", would.summary);
    assert_eq!(would.summary.current.as_ref().unwrap().as_str(), "r1");
    let made = rig.applied("apply-0000002");
    assert_eq!(made.done, would.summary.actions);
    assert_eq!(dry(&rig).shown.unwrap().diff, "");
}

#[test]
fn status_and_health_tell_how_it_is_now() {
    let rig = Rig::new();
    rig.applied("apply-0000001");
    let status = || {
        let lines = rig.ask(&rig.request("look-00000001", Operation::Observe));
        let What::Status(status) = lines[1].what.clone() else { panic!("{lines:#?}") };
        status
    };
    let health = || {
        let lines = rig.ask(&rig.request("look-00000002", Operation::Health));
        let What::Health(health) = lines[1].what.clone() else { panic!("{lines:#?}") };
        health
    };
    let found = status();
    assert_eq!(found.exit_code, 0);
    let document: serde_json::Value = serde_json::from_str(&found.document).unwrap();
    assert_eq!(document["status"]["lastAppliedRevision"], "r1");
    assert_eq!(document["spec"]["release"]["id"], "r1");
    assert!(found.text.contains("2/2") && !found.text.contains('\u{1b}'), "{}", found.text);
    assert!(health().verdict.unwrap().healthy);

    fs::write(rig.path().join("sick"), "").unwrap();
    assert_eq!(status().exit_code, 3);
    let now = health();
    assert_eq!((now.verdict.unwrap().healthy, now.summary.healthy), (false, Some(false)));
    assert!(now.summary.complaint.is_some());
}

#[test]
fn a_release_is_taken_back_once_and_stays_out() {
    let mut rig = Rig::new();
    rig.applied("apply-0000001");
    rig.release("r2");
    rig.applied("apply-0000002");
    let before = rig.passes();
    let (fault, why) = failed(&take_back(&rig, "back-00000000", "r1"));
    assert_eq!(fault, Fault::Request, "{why}");
    assert_eq!(rig.passes(), before, "another release than the manifest's is not touched");

    let back = report(&take_back(&rig, "back-00000001", "r2"));
    assert_eq!((back.exit_code, back.outcome), (0, Outcome::RolledBack));
    assert_eq!(back.summary.kept_out.as_deref(), Some("orders are lost"));
    assert_eq!((rig.current().as_deref(), back.summary.fresh), (Some("r1"), 2));
    // Whoever lost the answer asks anew.
    let again = report(&take_back(&rig, "back-00000002", "r2"));
    assert_eq!((again.exit_code, again.outcome, again.done), (0, Outcome::Quarantined, 0));
    let kept = rig.applied("apply-0000003");
    assert_eq!((kept.exit_code, kept.outcome, rig.current().as_deref()), (3, Outcome::Quarantined, Some("r1")));

    let rig = Rig::new();
    rig.applied("apply-0000001");
    let (fault, why) = failed(&take_back(&rig, "back-00000003", "r1"));
    assert_eq!(fault, Fault::Host, "there is nothing to go back to: {why}");
}

#[test]
fn migrations_that_another_host_runs_are_neither_run_nor_missed() {
    let mut rig = Rig::new();
    let ran = rig.path().join("migrated");
    rig.spec["release"]["migrate"] = json!([{"run": format!("echo $RELEASE_ID >> {}", ran.display())}]);
    let follower = |request: Request| Request { migrate: false, ..request };
    let dry = rig.request("dry-00000001", Operation::DryRun { ignore_windows: false, retry: false });
    let actions = |request: &Request| report(&rig.ask(request)).summary.actions;
    assert_eq!(actions(&follower(dry.clone())) + 1, actions(&dry), "only whoever migrates plans it");
    let made = report(&rig.ask(&follower(rig.apply("apply-0000001"))));
    assert_eq!((made.exit_code, made.summary.migrated, ran.exists()), (0, false, false));
    for request in [follower(dry.clone()), dry] {
        assert!(!report(&rig.ask(&request)).summary.differs, "what is in force is not migrated afterwards");
    }
    rig.release("r2");
    assert!(rig.applied("apply-0000002").summary.migrated);
    assert_eq!(fs::read_to_string(ran).unwrap(), "r2\n");
}

#[test]
fn somebody_elses_lock_is_waited_for_as_long_as_asked() {
    let rig = Rig::new();
    rig.applied("apply-0000001");
    let mut rig = rig;
    rig.release("r2");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let root = rig.root();
    let lock = runtime.block_on(ledger::lock(&root, Duration::ZERO, "trueup agent")).unwrap();

    let at_once = Operation::Apply { wait: Duration::ZERO, ignore_windows: false, retry: false };
    let made = report(&rig.ask(&rig.request("apply-0000002", at_once)));
    assert_eq!((made.exit_code, made.outcome), (1, Outcome::Failed));
    assert!(made.summary.problems.iter().any(|one| one.message.contains("(trueup agent)")), "{:?}", made.summary);

    let mut front = rig.start(&rig.apply("apply-0000003"));
    let lines = front.until(|what| matches!(what, What::Waiting(_)));
    assert!(matches!(&lines.last().unwrap().what, What::Waiting(why) if why.contains("(trueup agent)")));
    drop(lock);
    assert_eq!(report(&front.rest()).exit_code, 0);
    assert_eq!(rig.current().as_deref(), Some("r2"));
}

#[test]
fn garbage_is_answered_and_leaves_nothing() {
    let rig = Rig::new();
    let wrong = |change: fn(&mut Request)| {
        let mut request = rig.apply("apply-0000001");
        change(&mut request);
        serde_json::to_vec(&request).unwrap()
    };
    let rows: [(&str, Vec<u8>, Fault); 8] = [
        ("nothing", Vec::new(), Fault::Request),
        ("no JSON", b"hello\n".to_vec(), Fault::Request),
        ("bytes", vec![0xff; 1000], Fault::Request),
        ("too much", vec![b' '; 4 * 1024 * 1024 + 2], Fault::Request),
        ("another version", wrong(|request| request.program = "0.0.1".to_owned()), Fault::Version),
        ("no manifest", wrong(|request| request.manifest = String::new()), Fault::Manifest),
        ("a wrong manifest", wrong(|request| request.manifest = "{\"kind\": \"App\"}".to_owned()), Fault::Manifest),
        ("no known run", wrong(|request| request.from = 7), Fault::Unknown),
    ];
    for (name, text, fault) in rows {
        let lines = rig.send(&text).rest();
        assert!(matches!(lines[0].what, What::Hello(_)), "{name}: {lines:#?}");
        assert_eq!(failed(&lines).0, fault, "{name}");
        assert_eq!(lines.last().unwrap().what, What::End(Ended::Failed), "{name}");
        assert_eq!(numbers(&lines), [1, 2], "{name}");
    }
    assert!(!rig.root().path().exists());
    let kept = fs::read_dir(rig.state()).map_or(0, Iterator::count);
    assert_eq!(kept, 0);
}

#[test]
fn no_secret_of_the_manifest_is_kept() {
    let mut rig = Rig::new();
    rig.spec["release"]["build"] = json!([{"run": "true", "env": {"KEY": "hunter2-step"}}]);
    rig.spec["release"]["verify"] = json!([{"run": "exit 7", "env": {"KEY": "hunter2-step"}}]);
    let lines = rig.ask(&rig.apply("apply-0000001"));
    assert_ne!(report(&lines).exit_code, 0);
    assert!(!format!("{lines:?}").contains("hunter2"));
    let kept: Vec<_> = fs::read_dir(rig.state()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(kept.len(), 2, "a spool and a log: {kept:?}");
    for path in kept {
        let text = fs::read_to_string(&path).unwrap();
        assert!(!text.contains("hunter2"), "{}: {text}", path.display());
    }
}

#[test]
fn an_ordinary_user_needs_no_root() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: needs root, to be somebody else");
        return;
    }
    let rig = Rig::new().of_user(65534);
    let mut front = rig.start(&rig.apply("apply-0000001"));
    let runner = runner(&front.until(|what| matches!(what, What::Begun(_))));
    assert_eq!(report(&front.rest()).exit_code, 0);
    assert_eq!(rig.current().as_deref(), Some("r1"));
    assert!(rig.state().join("apply-0000001.jsonl").exists());
    wait_until("the runner's end", || trueup::host::proc::identify(runner.pid).unwrap() != Some(runner));
}

/// The pass could be made, and nobody would ever hear of it.
#[test]
fn no_pass_is_made_where_nothing_can_be_written_of_it() {
    let rig = Rig::new();
    let full = fs::OpenOptions::new().append(true).open("/dev/full").unwrap();
    let ended = rig.run_into(full.into(), &rig.apply("apply-0000001"));
    assert!(ended.success());
    assert_eq!(rig.current(), None);
    assert!(!rig.root().path().exists());
}
