//! When a pass may act, where it stops, and what it leaves alone.

use crate::support::fixtures::{Program, Site};
use crate::support::passes::{Listing, Manifest};
use crate::support::{SOON, Unit, require_host};

#[test]
fn a_suspended_app_is_looked_at_and_left_alone() {
    let host = require_host!("suspended", [Unit::Supervisor]);
    let site = Site::new(&host, "/srv/app").release("r1").release("r2").current("r1");
    let workers = Program::php("app-worker", &site).start();
    let manifest = |release| {
        let manifest = Manifest::new(&host, "app", &site, release).supervisord("app-worker", 1);
        manifest.with("sync: {suspend: true}")
    };
    let (files, pids) = (Listing::of(&host, &["/srv/app"]), workers.pids());
    let pass = manifest("r2").reconcile();
    assert_eq!((pass.output.code, &pass.report["outcome"]), (4, &"withheld".into()), "{pass}");
    assert_eq!((pass.planned().len(), pass.tried().len()), (2, 0), "{pass}");
    assert_eq!(files.changes(&Listing::of(&host, &["/srv/app"])), [""; 0]);
    assert_eq!(workers.pids(), pids);
    let text = manifest("r2").reconcile_for_people();
    assert!(text.code == 4 && text.stdout.contains("suspended"), "{text}");
    manifest("r1").reconcile().converged_by(&[]);
}

#[test]
fn an_interrupted_pass_finishes_the_step_in_hand_and_says_what_is_left() {
    let host = require_host!("interrupted", [Unit::Supervisor]);
    let site = Site::new(&host, "/srv/app").owner("deploy").release("r1").release("r2").current("r1");
    let workers = Program::php("app-worker", &site).numprocs(2).user("deploy").start();
    let keys = "manager: {supervisord: {group: app-worker}}, rollout: {maxUnavailable: 1, minHealthy: 0s}";
    let manifest = Manifest::new(&host, "app", &site, "r2").workers("default", 2, keys);
    // The first of two is in the middle of a job when we are asked to stop.
    let first = workers.pids()[0];
    let busy = loop {
        let busy = site.give_job(600.0);
        if busy == first {
            break busy;
        }
        site.end_job(busy);
    };
    let path = manifest.write();
    let mut pass = host.spawn(&["trueup", "reconcile", &path]);
    host.wait_until("the link to move", SOON, || site.current_release().as_deref() == Some("r2"));
    host.wait_until("the restart to begin", SOON, || {
        manifest.journal().iter().any(|line| line["event"] == "begin" && line["action"] == "restartWorker")
    });
    pass.signal("INT");
    host.wait_until("the wish to be heard", SOON, || pass.stderr().contains("finishing the step in hand"));
    site.end_job(busy);
    let ended = pass.wait(SOON);
    assert_eq!(ended.code, 1, "{ended}");
    for said in ["interrupted", "left to do", "app-worker:app-worker_01"] {
        assert!(ended.stdout.contains(said), "{said}: {ended}");
    }
    assert_eq!(manifest.journaled(), ["switch r2", "restart app-worker:app-worker_00"]);
    let journal = manifest.journal();
    let last = journal.last().expect("has lines");
    assert_eq!((&last["event"], &last["outcome"]), (&"passEnded".into(), &"interrupted".into()), "{last}");
    let told = site.events();
    assert!(told.iter().any(|line| line.pid == busy && line.event == "job-done"), "its job was finished");
    let pids = workers.pids();

    manifest.reconcile().converged_by(&["restart app-worker:app-worker_01"]);
    assert_eq!(workers.pids()[0], pids[0], "the one that was done is left alone");
}

#[test]
fn one_failing_app_does_not_hold_the_other() {
    let host = require_host!("two-apps", [Unit::Supervisor]);
    let good = Site::new(&host, "/srv/good").release("r1").release("r2").current("r1");
    let bad = Site::new(&host, "/srv/bad").release("r1").current("r1");
    let good_workers = Program::php("good", &good).start();
    let bad_workers = Program::php("bad", &bad).start();
    let kept = bad_workers.pids();
    Manifest::new(&host, "good", &good, "r2").supervisord("good", 1).write();
    // Its release was never uploaded.
    Manifest::new(&host, "bad", &bad, "r2").supervisord("bad", 1).write();
    let output = host.trueup(&["reconcile", "/etc/trueup/manifests"]);
    assert_eq!(output.code, 1, "{output}");
    assert!(output.stdout.contains("release `r2` is not in `/srv/bad/releases`"), "{output}");
    assert_eq!(good.current_release().as_deref(), Some("r2"));
    let worker = good_workers.pids()[0];
    host.wait_until("its script", SOON, || {
        host.read_link(&format!("/proc/{worker}/fd/3")).as_deref() == Some("/srv/good/releases/r2/artisan")
    });
    assert_eq!((bad.current_release().as_deref(), bad_workers.pids()), (Some("r1"), kept));
}

#[test]
fn no_spelling_of_current_is_drift() {
    let host = require_host!("spellings", [Unit::Supervisor]);
    let site = Site::new(&host, "/srv/app").release("r1").current("r1");
    host.run(&["ln", "-s", "/srv/app", "/srv/link"]).ok();
    let workers = Program::php("app-worker", &site).start();
    let pids = workers.pids();
    let targets = ["/srv/app/releases/r1", "releases/r1", "./releases/../releases/r1/", "/srv/link/releases/r1"];
    for target in targets {
        host.run(&["ln", "-sfn", target, "/srv/app/current.new"]).ok();
        host.run(&["mv", "-T", "/srv/app/current.new", "/srv/app/current"]).ok();
        for root in ["/srv/app", "/srv/link"] {
            let manifest = Manifest::new(&host, "app", &site, "r1").supervisord("app-worker", 1).root(root);
            manifest.reconcile().converged_by(&[]);
            assert_eq!(host.read_link("/srv/app/current").as_deref(), Some(target), "{root}: left as it is");
        }
    }
    assert_eq!(workers.pids(), pids);
}

#[test]
fn workers_are_told_to_drain_once_and_after_the_switch() {
    let host = require_host!("drained", [Unit::Supervisor]);
    let site = Site::new(&host, "/srv/app").release("r1").release("r2").current("r1");
    let workers = Program::php("app-worker", &site).numprocs(2).start();
    // What it is told in, and what current led to at that moment.
    let told = "pwd >>/srv/app/told; readlink /srv/app/current >>/srv/app/told";
    let keys = format!("manager: {{supervisord: {{group: app-worker}}}}, drain: {{run: '{told}'}}");
    let manifest = Manifest::new(&host, "app", &site, "r2").workers("default", 2, &keys);
    manifest.reconcile().converged_by(&[
        "switch r2",
        "restart app-worker:app-worker_00",
        "restart app-worker:app-worker_01",
    ]);
    assert_eq!(host.read("/srv/app/told").trim(), "/srv/app/releases/r2\nreleases/r2");
    manifest.reconcile().converged_by(&[]);
    assert_eq!(workers.pids().len(), 2);

    // A drain that fails keeps nobody from being replaced.
    let keys = "manager: {supervisord: {group: app-worker}}, drain: {run: exit 3}";
    let manifest = Manifest::new(&host, "app", &site, "r1").workers("default", 2, keys);
    manifest.reconcile().converged_by(&[
        "switch r1",
        "restart app-worker:app-worker_00",
        "restart app-worker:app-worker_01",
    ]);
}

#[test]
fn a_step_that_is_told_to_end_along_with_its_pass_does_not_speak_against_the_release() {
    let host = require_host!("told-to-end", []);
    let site = Site::new(&host, "/srv/app").release("r1").release("r2").current("r1");
    let making = "verify: [{run: '[ -e /tmp/go ] || exec sleep 86398'}]";
    let manifest = Manifest::new(&host, "app", &site, "r2").made(making);
    let path = manifest.write();
    let mut pass = host.spawn(&["trueup", "reconcile", &path]);
    host.wait_until("the step", SOON, || host.run(&["pgrep", "-x", "sleep"]).success());
    // As a shutdown does, and a logout where nobody may stay.
    pass.signal("TERM");
    host.wait_until("the wish to be heard", SOON, || pass.stderr().contains("finishing the step in hand"));
    host.run(&["pkill", "-TERM", "-x", "sleep"]).ok();
    let ended = pass.wait(SOON);
    assert_eq!((ended.code, ended.stdout.contains("interrupted")), (1, true), "{ended}");
    assert_eq!(site.current_release().as_deref(), Some("r1"));

    host.run(&["touch", "/tmp/go"]).ok();
    manifest.reconcile().converged_by(&["verify r2", "switch r2"]);
}
