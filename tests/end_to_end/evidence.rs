//! Which release a worker runs, told by each rung of the ladder, before and after a switch.

use crate::support::fixtures::{Program, Site};
use crate::support::passes::Manifest;
use crate::support::{Host, SOON, Unit, require_host};

const GROUP: &str = "w";
const RESTART: &str = "restart w:w";

fn two_releases(host: &Host) -> Site<'_> {
    Site::new(host, "/srv/app").release("r1").release("r2").current("r1")
}

/// One worker of one program, which is stale by `stale`, replaced once, and `fresh` after.
#[track_caller]
fn is_replaced(host: &Host, site: &Site<'_>, program: Program<'_>, stale: &str, fresh: &str) {
    let workers = program.start();
    let manifest = Manifest::new(host, "app", site, "r2").supervisord(GROUP, 1);
    assert_eq!(manifest.seen(), [stale]);
    let old = workers.pids();
    manifest.reconcile().converged_by(&["switch r2", RESTART]);
    assert_eq!(manifest.seen(), [fresh]);
    assert_ne!(workers.pids(), old);
    assert!(old.iter().all(|pid| !host.is_alive(*pid)));
    let kept = workers.pids();
    manifest.reconcile().converged_by(&[]);
    assert_eq!(workers.pids(), kept);
}

#[test]
fn a_php_worker_without_a_directory_is_known_by_its_open_script() {
    let host = require_host!("php", [Unit::Supervisor]);
    let site = two_releases(&host);
    is_replaced(&host, &site, Program::php(GROUP, &site), "stale r1 entryScript", "fresh r2 entryScript");
}

#[test]
fn a_python_worker_is_known_by_its_working_directory() {
    let host = require_host!("python", [Unit::Supervisor]);
    let site = two_releases(&host);
    let program = Program::python(GROUP, &site).directory("/srv/app/current");
    is_replaced(&host, &site, program, "stale r1 workingDirectory", "fresh r2 workingDirectory");
}

#[test]
fn a_python_worker_without_a_directory_is_known_by_its_start() {
    let host = require_host!("silent", [Unit::Supervisor]);
    let site = two_releases(&host);
    // It runs what current led to when it started, and it names nothing; the wrong link makes it stale.
    is_replaced(
        &host,
        &site,
        Program::python(GROUP, &site),
        "stale afterSwitch startTime",
        "fresh afterSwitch startTime",
    );
    // Switched behind our back, under the running worker.
    site.switch("r1");
    let manifest = Manifest::new(&host, "app", &site, "r1").supervisord(GROUP, 1);
    assert_eq!(manifest.seen(), ["stale beforeSwitch startTime"]);
    manifest.reconcile().converged_by(&[RESTART]);
    assert_eq!(manifest.seen(), ["fresh afterSwitch startTime"]);
}

#[test]
fn a_silent_worker_is_older_than_a_switch_by_whatever_clock_that_was_noted() {
    let host = require_host!("clock", [Unit::Supervisor]);
    let site = two_releases(&host);
    Program::python(GROUP, &site).start();
    let manifest = Manifest::new(&host, "app", &site, "r2").supervisord(GROUP, 1);
    manifest.reconcile().converged_by(&["switch r2", RESTART]);
    let record = "/srv/app/.trueup/releases/r2.json";
    let noted = |at: jiff::Timestamp, booted: jiff::Timestamp| {
        let mut json: serde_json::Value = serde_json::from_str(&host.read(record)).unwrap();
        assert_eq!(json["switching"]["boot"]["id"], host.sh("cat /proc/sys/kernel/random/boot_id").ok().trim());
        json["switching"]["at"] = at.to_string().into();
        json["switching"]["boot"]["at"] = booted.to_string().into();
        host.write(record, &json.to_string());
    };
    let json: serde_json::Value = serde_json::from_str(&host.read(record)).unwrap();
    let moment = |value: &serde_json::Value| value.as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    let (at, booted) = (moment(&json["switching"]["at"]), moment(&json["switching"]["boot"]["at"]));
    let hour = jiff::SignedDuration::from_hours(1);
    // As if the clock had been an hour behind then, and had leapt before the link was changed.
    noted(at - hour, booted - hour);
    assert_eq!(manifest.seen(), ["fresh afterSwitch startTime"]);
    // The same for a switch that is made after the start of this worker.
    noted(jiff::Timestamp::now() - hour, booted - hour);
    assert_eq!(manifest.seen(), ["stale beforeSwitch startTime"]);
    manifest.reconcile().converged_by(&[RESTART]);
    assert_eq!(manifest.seen(), ["fresh afterSwitch startTime"]);
}

#[test]
fn a_compiled_worker_is_known_by_its_executable() {
    let host = require_host!("compiled", [Unit::Supervisor]);
    let site = two_releases(&host);
    host.sh("for id in r1 r2; do install -D /bin/sleep /srv/app/releases/$id/bin/worker; done").ok();
    let program = Program::new(&host, GROUP, "/srv/app/current/bin/worker 1000000");
    is_replaced(&host, &site, program, "stale r1 executable", "fresh r2 executable");
}

#[test]
fn a_wrapper_and_its_child_go_together() {
    let host = require_host!("wrapper", [Unit::Supervisor]);
    let site = two_releases(&host);
    // The shell's command line says only `current`; its child holds the script open, and outlives a signal to it.
    let child = |id: &str| host.pids_of(&format!("/srv/app/releases/{id}/artisan queue:work"));
    let workers = Program::wrapper(GROUP, &site).start();
    host.wait_until("the wrapped worker", SOON, || child("r1").len() == 1);
    let manifest = Manifest::new(&host, "app", &site, "r2").supervisord(GROUP, 1);
    assert_eq!(manifest.seen(), ["stale r1 entryScript"]);
    manifest.reconcile().converged_by(&["switch r2", RESTART]);
    assert_eq!(child("r1"), [0; 0], "no child is left on the old release");
    assert_eq!((workers.pids().len(), child("r2").len()), (1, 1));
    assert_eq!(manifest.seen(), ["fresh r2 entryScript"]);
    manifest.reconcile().converged_by(&[]);
}

#[test]
fn a_shell_line_and_its_children_go_together() {
    let host = require_host!("shell-line", [Unit::Supervisor]);
    let site = two_releases(&host);
    let line = "sh -c 'php /srv/app/current/artisan queue:work & php /srv/app/current/artisan queue:work; wait'";
    let workers = Program::new(&host, GROUP, line).start();
    let children = || host.pids_of("php /srv/app/current/artisan queue:work").into_iter();
    let forked = || children().filter(|pid| !workers.pids().contains(pid)).collect::<Vec<u32>>();
    host.wait_until("both children", SOON, || forked().len() == 2);
    let old = forked();
    let manifest = Manifest::new(&host, "app", &site, "r2").supervisord(GROUP, 1);
    assert_eq!(manifest.seen(), ["stale r1 entryScript"]);
    manifest.reconcile().converged_by(&["switch r2", RESTART]);
    assert!(old.iter().all(|pid| !host.is_alive(*pid)), "{old:?} {:?}", forked());
    host.wait_until("both successors", SOON, || forked().len() == 2);
    assert_eq!(manifest.seen(), ["fresh r2 entryScript"]);
    manifest.reconcile().converged_by(&[]);
}

#[test]
fn a_child_left_on_the_old_release_makes_its_worker_mixed_and_stale() {
    let host = require_host!("mixed-family", [Unit::Supervisor]);
    let site = two_releases(&host);
    // The child keeps what it was started with; the parent goes on to another release by itself.
    let worker = "import os, subprocess, time\nos.chdir('/srv/app/releases/r1')\n\
                  subprocess.Popen(['sleep', '1000000'])\nos.chdir('/srv/app/releases/r2')\n\
                  open('/srv/app/shared/ready', 'w')\ntime.sleep(1000000)\n";
    host.write("/usr/local/bin/forking.py", worker);
    let workers = Program::new(&host, GROUP, "python3 /usr/local/bin/forking.py")
        .set("stopasgroup", "true")
        .set("startsecs", "3")
        .start();
    host.wait_until("both to settle", SOON, || host.exists("/srv/app/shared/ready"));
    site.switch("r2");
    let manifest = Manifest::new(&host, "app", &site, "r2").supervisord(GROUP, 1);
    assert_eq!(manifest.seen(), ["stale mixed workingDirectory"]);
    let old = host.pids_of("sleep 1000000");
    // A restart cannot help this one: it does the same again. It is done once, told, and not repeated; twice where
    // the first successor was looked at before it had got as far as its child.
    let pass = manifest.reconcile();
    let tried = pass.tried();
    assert!((1..=2).contains(&tried.len()) && tried.iter().all(|one| one == RESTART), "{pass}");
    assert_eq!(pass.output.code, 1, "{pass}");
    assert_eq!(pass.report["remaining"]["stalled"][0]["reason"], "RestartDidNotHelp", "{pass}");
    assert!(old.iter().all(|pid| !host.is_alive(*pid)));
    let kept = workers.pids();
    let pass = manifest.reconcile();
    assert_eq!((pass.output.code, pass.tried().len()), (1, 0), "{pass}");
    assert_eq!(workers.pids(), kept);
}

#[test]
fn a_worker_whose_release_was_deleted_is_stale() {
    let host = require_host!("deleted", [Unit::Supervisor]);
    let site = two_releases(&host);
    let workers = Program::python(GROUP, &site).directory("/srv/app/current").start();
    let php = Program::php("p", &site).start();
    site.switch("r2");
    host.run(&["rm", "-rf", "/srv/app/releases/r1"]).ok();
    let manifest = Manifest::new(&host, "app", &site, "r2").supervisord(GROUP, 1).supervisord("p", 1);
    assert_eq!(manifest.seen(), ["stale r1 deleted workingDirectory", "stale r1 deleted entryScript"]);
    manifest.reconcile().converged_by(&[RESTART, "restart p:p"]);
    assert_eq!(manifest.seen(), ["fresh r2 workingDirectory", "fresh r2 entryScript"]);
    let kept = (workers.pids(), php.pids());
    manifest.reconcile().converged_by(&[]);
    assert_eq!((workers.pids(), php.pids()), kept);
}

#[test]
fn a_worker_whose_release_was_made_anew_under_its_name_is_stale() {
    let host = require_host!("anew", [Unit::Supervisor]);
    let site = two_releases(&host).current("r2");
    let workers = Program::python(GROUP, &site).directory("/srv/app/current").start();
    host.run(&["rm", "-rf", "/srv/app/releases/r2"]).ok();
    let site = site.release("r2");
    let old = workers.pids();
    let manifest = Manifest::new(&host, "app", &site, "r2").supervisord(GROUP, 1);
    assert_eq!(manifest.seen(), ["stale r2 deleted workingDirectory"]);
    manifest.reconcile().converged_by(&[RESTART]);
    assert_ne!(workers.pids(), old);
    assert_eq!(manifest.seen(), ["fresh r2 workingDirectory"]);
}

#[test]
fn a_php_worker_whose_release_was_made_anew_under_its_name_is_stale() {
    let host = require_host!("php-anew", [Unit::Supervisor]);
    let site = two_releases(&host).current("r2");
    let workers = Program::php(GROUP, &site).start();
    host.run(&["rm", "-rf", "/srv/app/releases/r2"]).ok();
    let site = site.release("r2");
    let old = workers.pids();
    let manifest = Manifest::new(&host, "app", &site, "r2").supervisord(GROUP, 1);
    let seen = manifest.seen();
    assert!(seen[0].starts_with("stale"), "its script was deleted: {seen:?}");
    manifest.reconcile().converged_by(&[RESTART]);
    assert_ne!(workers.pids(), old);
    assert_eq!(manifest.seen(), ["fresh r2 entryScript"]);
}
