//! What keeps `trueup reconcile` from its work is said clearly, exits with 1, and leaves nothing half-done.

#![allow(clippy::expect_used, reason = "a helper that fails should fail its test on the spot")]

mod support;

use std::time::Duration;

use support::fixtures::{Program, Site, Workers};
use support::manifest::{Manifest, Pass, footprint};
use support::{Host, Unit, require_host};

const ROOT: &str = "/srv/app";
const MANAGER: &str = "{supervisord: {group: app-worker}}";
const SOON: Duration = Duration::from_secs(30);

/// Two running workers of r1 under supervisord, and r2 beside it.
fn supervised(host: &Host) -> (Site<'_>, Workers<'_>) {
    let site = Site::new(host, ROOT).release("r1").release("r2").current("r1");
    let workers = Program::php("app-worker", &site).numprocs(2).start();
    (site, workers)
}

/// Makes the pass for people and for programs; both must say all of `words`, and touch nothing.
#[track_caller]
fn refused(host: &Host, manifest: &Manifest<'_>, user: &str, words: &[&str]) -> Pass {
    refused_with(host, manifest, user, words, words)
}

/// The same where programs get other words than people.
#[track_caller]
fn refused_with(host: &Host, manifest: &Manifest<'_>, user: &str, words: &[&str], report: &[&str]) -> Pass {
    let workers = || host.pids_of("queue:work");
    let (before, running) = (visible(host), workers());
    let said = manifest.refusal(user);
    // Long lines are folded for people.
    let flat = said.split_whitespace().collect::<Vec<_>>().join(" ");
    let pass = manifest.reconcile_as(user).failed();
    for word in words {
        assert!(flat.contains(word), "`{word}` is not said:\n{said}");
    }
    for word in report {
        assert!(pass.problems().contains(word), "`{word}` is not in the report:\n{}", pass.output);
    }
    assert_eq!(pass.tried(), [""; 0], "{}", pass.output);
    assert_eq!(visible(host), before);
    assert_eq!(workers(), running);
    pass
}

/// The site without trueup's own folder: a refused pass may have made its lock, but nothing else.
fn visible(host: &Host) -> String {
    let all = footprint(host, ROOT);
    // Making the folder touches the root itself.
    all.lines().filter(|line| !line.starts_with("./.trueup") && !line.starts_with("./ ")).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_supervisord_that_was_stopped() {
    let host = require_host!("gone", [Unit::Supervisor]);
    let (site, _workers) = supervised(&host);
    host.run(&["systemctl", "stop", "supervisor.service"]).ok();
    host.wait_until("the socket to go", SOON, || !host.exists("/run/supervisor.sock"));
    refused(&host, &Manifest::new(&host, &site, "r2", MANAGER), "root", &["supervisor", "socket"]);
    assert_eq!(site.current_release().as_deref(), Some("r1"));
}

#[test]
fn a_supervisord_that_was_killed_and_left_its_socket() {
    let host = require_host!("refused", [Unit::Supervisor]);
    let (site, workers) = supervised(&host);
    let pids = workers.pids();
    host.run(&["systemctl", "kill", "--kill-whom=main", "--signal=KILL", "supervisor.service"]).ok();
    host.wait_until("supervisord's end", SOON, || host.pids_of("/usr/bin/supervisord").is_empty());
    // Orphans of a killed supervisord are seen; without their manager nothing is done to them.
    assert!(host.exists("/run/supervisor.sock"));
    refused(
        &host,
        &Manifest::new(&host, &site, "r2", MANAGER),
        "root",
        &["nobody listens", "/run/supervisor.sock", "systemctl restart supervisor"],
    );
    assert!(pids.iter().all(|pid| host.is_alive(*pid)), "{pids:?}");
    assert_eq!(site.current_release().as_deref(), Some("r1"));
}

#[test]
fn a_user_without_the_right_to_sudo() {
    let host = require_host!("sudo", [Unit::Supervisor]);
    let site = Site::new(&host, ROOT).release("r1").release("r2").current("r1").owner("deploy");
    Program::php("app-worker", &site).numprocs(2).user("deploy").start();
    let manifest = Manifest::new(&host, &site, "r2", MANAGER);
    let pass = refused(&host, &manifest, "deploy", &["sudo", "supervisorctl"]);
    assert!(pass.problems().contains("NOPASSWD"), "{}", pass.output);
    assert_eq!(site.current_release().as_deref(), Some("r1"));
}

#[test]
fn a_root_that_the_user_may_not_write() {
    let host = require_host!("unwritable", []);
    let site = Site::new(&host, ROOT).release("r1").release("r2").current("r1");
    host.add_user("deploy");
    let manifest = Manifest::new(&host, &site, "r2", "{builtin: {run: [php, artisan]}}").count(0);
    refused(&host, &manifest, "deploy", &[ROOT, "ermission denied"]);
    assert!(!host.exists(&format!("{ROOT}/.trueup")));
}

#[test]
fn a_full_disk() {
    let host = require_host!("full", [Unit::Supervisor]);
    host.sh(&format!("mkdir -p {ROOT}; mount -t tmpfs -o size=1m tmpfs {ROOT}")).ok();
    let (site, _workers) = supervised(&host);
    let manifest = Manifest::new(&host, &site, "r2", MANAGER);
    host.sh(&format!("head -c 2M /dev/zero >{ROOT}/shared/ballast 2>/dev/null || true")).ok();
    refused(&host, &manifest, "root", &["No space left", ROOT]);
    assert_eq!(site.current_release().as_deref(), Some("r1"));
    // With room again the same command does the work.
    host.run(&["rm", &format!("{ROOT}/shared/ballast")]).ok();
    manifest.reconcile().converged();
    assert_eq!(site.current_release().as_deref(), Some("r2"));
}

#[test]
fn a_root_mounted_read_only() {
    let host = require_host!("readonly", [Unit::Supervisor]);
    host.sh(&format!("mkdir -p {ROOT}; mount -t tmpfs -o size=8m tmpfs {ROOT}")).ok();
    let site = Site::new(&host, ROOT).release("r1").release("r2").current("r1");
    let manifest = Manifest::new(&host, &site, "r2", "{builtin: {run: [php, artisan]}}").count(0);
    for first in [true, false] {
        host.run(&["mount", "-o", "remount,ro", ROOT]).ok();
        refused(&host, &manifest, "root", &["Read-only file system", ROOT]);
        assert_eq!(site.current_release().as_deref(), Some("r1"));
        host.run(&["mount", "-o", "remount,rw", ROOT]).ok();
        if first {
            // The second time the lock and the journal are there already.
            manifest.reconcile().converged();
            site.switch("r1");
        }
    }
}

#[test]
fn a_lock_that_another_holds() {
    let host = require_host!("locked", [Unit::Supervisor]);
    let (site, workers) = supervised(&host);
    // A pass that waits for a worker's job holds the lock.
    let manifest = Manifest::new(&host, &site, "r2", MANAGER).group("stopTimeout: 10m");
    let path = manifest.write();
    let busy = site.give_job(600.0);
    let mut holder = host.spawn(&["trueup", "reconcile", &path]);
    host.wait_until("the holder's first restart", SOON, || {
        host.run(&["cat", &format!("{ROOT}/.trueup/journal.jsonl")]).stdout.contains("restartWorker")
    });
    let output = host.trueup(&["reconcile", "--color", "never", &path]);
    support::manifest::calm(&output);
    assert_eq!(output.code, 1, "{output}");
    let said = format!("{}{}", output.stdout, output.stderr);
    let pid = format!("pid {}", holder.pid());
    for word in ["is locked", &pid, "trueup reconcile", "since 20", "--wait"] {
        assert!(said.contains(word), "{word}: {said}");
    }
    let pass = Pass::of(host.trueup(&["reconcile", "--format", "json", &path])).failed();
    assert!(pass.problems().contains(&pid), "{}", pass.output);
    let pass = Pass::of(host.trueup(&["reconcile", "--format", "json", "--wait", "100ms", &path])).failed();
    assert!(pass.problems().contains("is locked"), "{}", pass.output);
    assert!(holder.is_running());

    // Who waits long enough finds nothing left to do.
    let mut waiting = host.spawn(&["trueup", "reconcile", "--format", "json", "--wait", "1m", &path]);
    host.run(&["kill", "-s", "KILL", &busy.to_string()]).ok();
    let pass = Pass::of(waiting.wait(SOON)).converged();
    assert_eq!(pass.tried(), [""; 0], "{}", pass.output);
    assert_eq!(holder.wait(SOON).code, 0);
    workers.wait_until_running();

    // Any other program's lock counts, too, though nobody knows whose it is.
    let lock = format!("{ROOT}/.trueup/lock");
    let mut flock = host.spawn(&["flock", &lock, "sleep", "1000"]);
    host.wait_until("the lock to be held", SOON, || !host.run(&["flock", "--nonblock", &lock, "true"]).success());
    assert!(flock.is_running());
    refused(&host, &Manifest::new(&host, &site, "r1", MANAGER), "root", &["is locked"]);
}

#[test]
fn something_real_in_the_place_of_current() {
    let host = require_host!("real", [Unit::Supervisor]);
    let (site, _workers) = supervised(&host);
    let manifest = Manifest::new(&host, &site, "r2", MANAGER);
    host.sh(&format!("rm {ROOT}/current; mkdir {ROOT}/current; echo mine >{ROOT}/current/file")).ok();
    refused_with(
        &host,
        &manifest,
        "root",
        &["real directory", "/srv/app/current"],
        &["currentIsNotALink", "directory"],
    );
    assert_eq!(host.read(&format!("{ROOT}/current/file")), "mine\n");
    host.sh(&format!("rm -r {ROOT}/current; echo mine >{ROOT}/current")).ok();
    refused_with(&host, &manifest, "root", &["real file", "/srv/app/current"], &["currentIsNotALink", "file"]);
    assert_eq!(host.read(&format!("{ROOT}/current")), "mine\n");
}

#[test]
fn a_release_that_is_missing_empty_or_incomplete() {
    let host = require_host!("release", [Unit::Supervisor]);
    let (site, _workers) = supervised(&host);
    let manifest = Manifest::new(&host, &site, "r3", MANAGER);
    refused_with(&host, &manifest, "root", &["r3", "`r2` and `r1`"], &["releaseAbsent", "r3", "r2"]);
    host.run(&["mkdir", &site.release_dir("r3")]).ok();
    refused_with(&host, &manifest, "root", &["r3", "empty"], &["releaseEmpty", "r3"]);
    let site = site.file("r3", "artisan", "<?php");
    let strict = manifest.release("r3, requires: [artisan, vendor/autoload.php]");
    refused_with(&host, &strict, "root", &["r3", "vendor/autoload.php"], &["releaseIncomplete", "vendor/autoload.php"]);
    assert_eq!(site.current_release().as_deref(), Some("r1"));
}
