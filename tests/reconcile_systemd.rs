//! `trueup reconcile` on a host whose workers are instances of a systemd template unit.

#![allow(clippy::expect_used, reason = "a helper that fails should fail its test on the spot")]

mod support;

use support::fixtures::{Site, Template, main_pid};
use support::manifest::{Manifest, footprint, journal, loaded};
use support::{Host, SOON, require_host};

const ROOT: &str = "/srv/app";
const MANAGER: &str = "{systemd: {unit: app-worker@}}";

fn unit(number: u32) -> String {
    format!("app-worker@{number}.service")
}

fn pids(host: &Host) -> [u32; 2] {
    [1, 2].map(|number| main_pid(host, &unit(number)))
}

/// `active enabled`, `inactive disabled` and so on.
fn state(host: &Host, number: u32) -> String {
    let ask = |what: &str| host.run(&["systemctl", what, &unit(number)]).stdout.trim().to_owned();
    format!("{} {}", ask("is-active"), ask("is-enabled"))
}

#[test]
fn one_pass_switches_and_restarts_both_and_the_next_does_nothing() {
    let host = require_host!("systemd-pass", []);
    let site = Site::of_two(&host, ROOT);
    let old = Template::php("app-worker", &site).start(2);
    loaded(&host, pids(&host), "r1");

    let manifest = Manifest::new(&host, &site, "r2", MANAGER);
    let pass = manifest.reconcile().converged();
    let both = [unit(1), unit(2)].map(|unit| format!("restartWorker {unit}"));
    assert_eq!(pass.tried(), [both[0].as_str(), &both[1], "switchCurrent r2"]);
    assert_eq!(site.current_release().as_deref(), Some("r2"));
    let new = pids(&host);
    loaded(&host, new, "r2");
    assert!(new.iter().all(|pid| !old.contains(pid)), "{old:?} {new:?}");
    let lines = journal(&host, ROOT);
    let events: Vec<&str> = lines.iter().filter_map(|line| line["event"].as_str()).collect();
    // The switch, two restarts and the proof.
    assert_eq!(events.iter().filter(|event| **event == "done").count(), 4, "{events:?}");
    assert_eq!((events.first(), events.last()), (Some(&"passStarted"), Some(&"passEnded")));

    let before = footprint(&host, ROOT);
    let pass = manifest.reconcile().converged();
    assert_eq!(pass.tried(), [""; 0]);
    assert_eq!((pids(&host), journal(&host, ROOT).len()), (new, lines.len()));
    assert_eq!(footprint(&host, ROOT), before);
    assert_eq!([state(&host, 1), state(&host, 2)], ["active enabled"; 2]);
}

#[test]
fn one_stale_of_two_is_restarted_and_the_other_keeps_its_pid() {
    let host = require_host!("systemd-stale", []);
    let site = Site::of_two(&host, ROOT);
    Template::php("app-worker", &site).start(2);
    site.switch("r2");
    host.run(&["systemctl", "restart", &unit(1)]).ok();
    let [fresh, stale] = pids(&host);
    loaded(&host, [fresh, fresh], "r2");
    loaded(&host, [stale, stale], "r1");

    let manifest = Manifest::new(&host, &site, "r2", MANAGER);
    assert_eq!(manifest.reconcile().converged().tried(), [format!("restartWorker {}", unit(2))]);
    let [first, second] = pids(&host);
    assert_eq!(first, fresh);
    assert_ne!(second, stale);
    loaded(&host, [first, second], "r2");
}

#[test]
fn one_stopped_is_started_and_enabled() {
    let host = require_host!("systemd-stopped", []);
    let site = Site::of_two(&host, ROOT);
    Template::php("app-worker", &site).start(2);
    host.run(&["systemctl", "disable", "--now", &unit(2)]).ok();
    assert_eq!(state(&host, 2), "inactive disabled");
    let [running, _] = pids(&host);
    loaded(&host, [running, running], "r1");

    let manifest = Manifest::new(&host, &site, "r1", MANAGER);
    let pass = manifest.reconcile().converged();
    assert!(pass.tried().contains(&format!("startWorker {}", unit(2))), "{}", pass.output);
    assert!(!pass.output.stdout.contains("restartWorker"), "{}", pass.output);
    assert_eq!([state(&host, 1), state(&host, 2)], ["active enabled"; 2]);
    assert_eq!(pids(&host)[0], running);

    // Running, but a reboot would lose it.
    host.run(&["systemctl", "disable", &unit(1)]).ok();
    let before = pids(&host);
    assert_eq!(manifest.reconcile().converged().tried(), [format!("enableWorker {}", unit(1))]);
    assert_eq!((state(&host, 1).as_str(), pids(&host)), ("active enabled", before));
}

#[test]
fn workers_are_counted_up_and_down() {
    let host = require_host!("systemd-count", []);
    let site = Site::of_two(&host, ROOT);
    Template::php("app-worker", &site).start(2);
    let [first, second] = pids(&host);
    loaded(&host, [first, second], "r1");
    let manifest = Manifest::new(&host, &site, "r1", MANAGER);

    assert_eq!(manifest.clone().count(1).reconcile().converged().tried(), [format!("stopWorker {}", unit(2))]);
    assert_eq!([state(&host, 1), state(&host, 2)], ["active enabled", "inactive disabled"]);
    assert_eq!(pids(&host), [first, 0]);
    assert_eq!(manifest.clone().count(1).reconcile().converged().tried(), [""; 0]);

    manifest.reconcile().converged();
    assert_eq!([state(&host, 1), state(&host, 2)], ["active enabled"; 2]);
    assert_eq!(pids(&host)[0], first);

    manifest.clone().count(0).reconcile().converged();
    assert_eq!([state(&host, 1), state(&host, 2)], ["inactive disabled"; 2]);
    assert_eq!(manifest.count(0).reconcile().converged().tried(), [""; 0]);
}

#[test]
fn a_worker_beyond_its_start_limit_is_tried_again_and_reported_with_its_words() {
    let host = require_host!("systemd-failed", []);
    let site = Site::of_two(&host, ROOT);
    let broken = format!("/bin/sh -c 'if [ %i = 2 ]; then echo no database here; exit 7; fi; exec sleep 1000; {ROOT}'");
    Template::php("app-worker", &site).start(1);
    let [running, _] = pids(&host);
    loaded(&host, [running, running], "r1");
    // The running one is not restarted by a change of its file.
    let template = host.read("/etc/systemd/system/app-worker@.service");
    let start = template.lines().find(|line| line.starts_with("ExecStart=")).expect("it starts something");
    let template = template.replace(start, &format!("ExecStart={broken}"));
    host.write("/etc/systemd/system/app-worker@.service", &template);
    host.run(&["systemctl", "daemon-reload"]).ok();
    host.run(&["systemctl", "start", &unit(2)]);
    host.wait_until("the start limit", SOON, || state(&host, 2).starts_with("failed"));

    let manifest = Manifest::new(&host, &site, "r1", MANAGER);
    let (pass, _) = manifest.reconcile_until_failed();
    let problems = pass.problems();
    for word in [unit(2).as_str(), "no database here"] {
        assert!(problems.contains(word), "{word}: {}", pass.output);
    }
    assert_eq!(pids(&host)[0], running);

    // Mended, the next pass brings it up although systemd had given it up.
    let template = template.replace("exit 7", "exec php current/artisan");
    host.write("/etc/systemd/system/app-worker@.service", &template.replace(" current/", &format!(" {ROOT}/current/")));
    host.run(&["systemctl", "daemon-reload"]).ok();
    manifest.reconcile().converged();
    assert_eq!([state(&host, 1), state(&host, 2)], ["active enabled"; 2]);
    assert_eq!(pids(&host)[0], running);
}
