//! `trueup reconcile` on a host without any daemon: trueup starts the workers itself.

#![allow(clippy::expect_used, reason = "a helper that fails should fail its test on the spot")]

mod support;

use support::fixtures::Site;
use support::manifest::{Manifest, footprint, journal, loaded};
use support::{Host, SOON, require_host};

const ROOT: &str = "/srv/app";
const MANAGER: &str = r#"{builtin: {run: [php, artisan, "queue:work"], env: {QUEUE: high}}}"#;

/// Environment of a process of the host.
fn environment(host: &Host, pid: u32) -> Vec<String> {
    let bytes = std::fs::read(host.root_path().join(format!("proc/{pid}/environ"))).unwrap_or_default();
    bytes.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect()
}

/// The pids of a member, found as trueup itself would without any file.
fn member(host: &Host, number: u32) -> Vec<u32> {
    let mark = format!("TRUEUP_WORKER=default/{number}");
    // What a worker has just forked has its words and its marks until it becomes another program.
    let leads = |pid: &u32| {
        let (words, own) = (environment(host, *pid), format!("TRUEUP_PROCESS={pid}@"));
        words.contains(&mark) && words.iter().any(|word| word.starts_with(&own))
    };
    host.pids_of("queue:work").into_iter().filter(leads).collect()
}

/// The pids of both workers, of which each has exactly one once its wrapper has become it.
#[track_caller]
fn pids(host: &Host) -> [u32; 2] {
    [1, 2].map(|number| {
        let mut found = Vec::new();
        host.wait_until("one process for each worker", SOON, || {
            found = member(host, number);
            found.len() == 1
        });
        found[0]
    })
}

#[test]
fn one_pass_switches_and_restarts_both_and_the_next_does_nothing() {
    let host = require_host!("builtin-pass", []);
    let site = Site::of_two(&host, ROOT);
    let manifest = Manifest::new(&host, &site, "r1", MANAGER);
    assert_eq!(manifest.reconcile().converged().tried(), ["startWorker default/1", "startWorker default/2"]);
    let old = pids(&host);
    loaded(&host, old, "r1");

    let manifest = manifest.release("r2");
    let pass = manifest.reconcile().converged();
    assert_eq!(pass.tried(), ["restartWorker default/1", "restartWorker default/2", "switchCurrent r2"]);
    assert_eq!(site.current_release().as_deref(), Some("r2"));
    let new = pids(&host);
    loaded(&host, new, "r2");
    assert!(new.iter().all(|pid| !old.contains(pid)), "{old:?} {new:?}");
    assert!(old.iter().all(|pid| !host.is_alive(*pid)), "{old:?}");

    let lines = journal(&host, ROOT).len();
    let before = footprint(&host, ROOT);
    assert_eq!(manifest.reconcile().converged().tried(), [""; 0]);
    assert_eq!((pids(&host), journal(&host, ROOT).len()), (new, lines));
    assert_eq!(footprint(&host, ROOT), before);

    // All that is remembered may be lost: the workers are found by what they carry.
    host.run(&["rm", "-r", &format!("{ROOT}/.trueup")]).ok();
    assert_eq!(manifest.reconcile().converged().tried(), [""; 0]);
    assert_eq!(pids(&host), new);
    assert_eq!(manifest.count(0).reconcile().converged().tried(), ["stopWorker default/1", "stopWorker default/2"]);
    assert_eq!(host.pids_of("queue:work"), [0; 0]);
}

#[test]
fn a_worker_that_died_is_started() {
    let host = require_host!("builtin-stale", []);
    let site = Site::of_two(&host, ROOT);
    let manifest = Manifest::new(&host, &site, "r1", MANAGER);
    manifest.reconcile().converged();
    let [fresh, stale] = pids(&host);
    loaded(&host, [fresh, stale], "r1");

    // One dies and comes back in r2; the other stays behind.
    site.switch("r2");
    let manifest = manifest.release("r2");
    host.run(&["kill", "-s", "KILL", &fresh.to_string()]).ok();
    host.wait_until("its end", SOON, || !host.is_alive(fresh));
    let pass = manifest.reconcile().converged();
    assert_eq!(pass.tried(), ["restartWorker default/2", "startWorker default/1"]);
    let [first, second] = pids(&host);
    loaded(&host, [first, second], "r2");
    assert!(first != fresh && second != stale);

    host.run(&["kill", "-s", "TERM", &second.to_string()]).ok();
    host.wait_until("its end", SOON, || !host.is_alive(second));
    assert_eq!(manifest.reconcile().converged().tried(), ["startWorker default/2"]);
    let [same, third] = pids(&host);
    assert_eq!(same, first);
    assert_ne!(third, second);
}

#[test]
fn one_stale_of_two_is_restarted_and_the_other_keeps_its_pid() {
    let host = require_host!("builtin-one", []);
    // A worker that can be told to go over to `current` by itself, keeping its pid.
    let hop = format!(
        "trap 'cd -P {ROOT}/current; exec php artisan queue:work' USR1\n>/tmp/ready.$$\nwhile :; do sleep 0.05; done\n"
    );
    let site = Site::of_two(&host, ROOT).file("r1", "hop.sh", &hop).file("r2", "hop.sh", &hop);
    let manager = r#"{builtin: {run: [sh, hop.sh, "queue:work"]}}"#;
    Manifest::new(&host, &site, "r1", manager).reconcile().converged();
    let [fresh, stale] = pids(&host);
    site.switch("r2");
    host.wait_until("the trap", SOON, || host.exists(&format!("/tmp/ready.{fresh}")));
    host.run(&["kill", "-s", "USR1", &fresh.to_string()]).ok();
    loaded(&host, [fresh, fresh], "r2");

    let manifest = Manifest::new(&host, &site, "r2", manager);
    assert_eq!(manifest.reconcile().converged().tried(), ["restartWorker default/2"]);
    let [same, new] = pids(&host);
    assert!(same == fresh && new != stale && !host.is_alive(stale));
    assert_eq!(manifest.reconcile().converged().tried(), [""; 0]);
    assert_eq!(pids(&host), [same, new]);
}

#[test]
fn workers_are_counted_up_and_down() {
    let host = require_host!("builtin-count", []);
    let site = Site::of_two(&host, ROOT);
    let manifest = Manifest::new(&host, &site, "r1", MANAGER);
    manifest.reconcile().converged();
    let [first, second] = pids(&host);
    loaded(&host, [first, second], "r1");

    assert_eq!(manifest.clone().count(1).reconcile().converged().tried(), ["stopWorker default/2"]);
    assert_eq!((member(&host, 1), member(&host, 2)), (vec![first], vec![]));
    assert!(!host.is_alive(second));
    assert_eq!(manifest.reconcile().converged().tried(), ["startWorker default/2"]);
    let [same, third] = pids(&host);
    assert!(same == first && third != second);
}

#[test]
fn a_worker_that_exits_at_once_is_tried_again_and_reported_with_its_words() {
    let host = require_host!("builtin-failing", []);
    let site = Site::of_two(&host, ROOT).file("r1", "bad.sh", "echo no database here\nexit 7\n");
    let manifest = Manifest::new(&host, &site, "r1", "{builtin: {run: sh bad.sh}}").count(1);
    let (pass, again) = manifest.reconcile_until_failed();
    for word in ["default/1", "no database here", "7"] {
        assert!(pass.problems().contains(word), "{word}: {}", pass.output);
    }
    let said = host.read(&format!("{ROOT}/.trueup/log/default-1.log"));
    assert!(said.matches("no database here").count() > again, "each time it was started: {said}");

    // Mended, the next pass brings it up.
    let site = site.file("r1", "bad.sh", "exec php artisan queue:work\n");
    Manifest::new(&host, &site, "r1", "{builtin: {run: sh bad.sh}}").count(1).reconcile().converged();
    host.wait_until("the worker behind its wrappers", SOON, || host.pids_of("queue:work").len() == 1);
}

#[test]
fn workers_belong_to_the_apps_user_and_have_logs_and_an_environment_of_their_own() {
    let host = require_host!("builtin-user", []);
    let site =
        Site::of_two(&host, ROOT).file("r1", "talk.sh", "echo here is $TRUEUP_WORKER\nexec php artisan queue:work\n");
    let site = site.owner("deploy");
    let manager = "{builtin: {run: [sh, talk.sh], env: {QUEUE: high}}}";
    Manifest::new(&host, &site, "r1", manager).spec("user: deploy").reconcile().converged();
    for (number, pid) in (1..).zip(pids(&host)) {
        assert_eq!(host.run(&["stat", "-c", "%U", &format!("/proc/{pid}")]).ok(), "deploy");
        assert_eq!(host.read_link(&format!("/proc/{pid}/cwd")), Some(format!("{ROOT}/releases/r1")));
        let environment = environment(&host, pid);
        let own = format!("TRUEUP_WORKER=default/{number}");
        for variable in ["TRUEUP_APP=app", &own, "QUEUE=high", "HOME=/home/deploy", "USER=deploy", "RELEASE_ID=r1"] {
            assert!(environment.iter().any(|one| one == variable), "{variable}: {environment:?}");
        }
        // A session of its own, so that no terminal and no unit takes it along.
        assert_eq!(host.run(&["ps", "-o", "sid=", "-p", &pid.to_string()]).ok(), pid.to_string());
        let log = format!("{ROOT}/.trueup/log/default-{number}.log");
        assert_eq!(host.read(&log), format!("here is default/{number}\n"));
    }
}
