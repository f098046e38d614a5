//! The units of `packaging/systemd` on a real systemd.

use serde_json::Value;

use crate::SOON;
use crate::support::fixtures::{Program, Site, main_pid};
use crate::support::manifest::{Manifest, release_of};
use crate::support::{Host, Unit, require_host};

const UNITS: [(&str, &str); 3] = [
    ("trueup-agent.service", include_str!("../../packaging/systemd/trueup-agent.service")),
    ("trueup-reconcile.service", include_str!("../../packaging/systemd/trueup-reconcile.service")),
    ("trueup-reconcile.timer", include_str!("../../packaging/systemd/trueup-reconcile.timer")),
];
pub const AGENT: &str = "trueup-agent.service";
const BUILTIN: &str = r#"{builtin: {run: [php, artisan, "queue:work"]}}"#;

pub fn install(host: &Host) {
    for (name, text) in UNITS {
        host.write(&format!("/etc/systemd/system/{name}"), text);
    }
    host.run(&["systemctl", "daemon-reload"]).ok();
}

fn property(host: &Host, unit: &str, name: &str) -> String {
    host.run(&["systemctl", "show", "--value", &format!("--property={name}"), unit]).ok().to_owned()
}

#[track_caller]
fn two_workers(host: &Host) -> Vec<u32> {
    let mut workers = Vec::new();
    host.wait_until("two workers", SOON, || {
        workers = host.pids_of("queue:work");
        workers.len() == 2
    });
    workers
}

#[test]
fn systemd_finds_nothing_wrong_with_the_units() {
    let host = require_host!("units", []);
    install(&host);
    let paths: Vec<String> = UNITS.iter().map(|(name, _)| format!("/etc/systemd/system/{name}")).collect();
    let mut command = vec!["systemd-analyze", "verify", "--man=no"];
    command.extend(paths.iter().map(String::as_str));
    let output = host.run(&command);
    assert!(output.success(), "{output}");
    let about_ours = output.stderr.lines().filter(|line| line.contains("trueup")).count();
    assert_eq!(about_ours, 0, "{output}");
}

#[test]
fn workers_outlive_restarts_hangs_and_ends_of_the_agent() {
    let host = require_host!("agent-unit", []);
    install(&host);
    // Long enough for a busy machine; short enough to wait for.
    host.write(
        "/etc/systemd/system/trueup-agent.service.d/test.conf",
        "[Service]\nWatchdogSec=10s\nRestartSec=100ms\n",
    );
    host.run(&["systemctl", "daemon-reload"]).ok();
    let site = Site::new(&host, "/srv/app").release("r1").current("r1");
    Manifest::new(&host, &site, "r1", BUILTIN).write();

    host.run(&["systemctl", "enable", "--now", AGENT]).ok();
    assert_eq!(property(&host, AGENT, "ActiveState"), "active", "it said that it is ready");
    let workers = two_workers(&host);
    host.wait_until("the status", SOON, || property(&host, AGENT, "StatusText") == "1 App");

    let agent = main_pid(&host, AGENT);
    let configurations = [
        ("spec: {lisen: 127.0.0.1:9180}", "1 App; its own configuration cannot be used"),
        ("spec: {listen: 127.0.0.1:9180}", "1 App; `spec.listen` takes a restart"),
        ("spec: {}", "1 App"),
    ];
    for (spec, status) in configurations {
        host.write("/etc/trueup/agent.yaml", &format!("apiVersion: trueup/v1\nkind: Agent\n{spec}\n"));
        host.run(&["systemctl", "reload", AGENT]).ok();
        host.wait_until(status, SOON, || property(&host, AGENT, "StatusText") == status);
    }
    host.wait_until("the reload's end", SOON, || property(&host, AGENT, "ActiveState") == "active");
    assert_eq!(main_pid(&host, AGENT), agent);
    host.run(&["systemctl", "restart", AGENT]).ok();
    assert_ne!(main_pid(&host, AGENT), agent);
    assert_eq!(host.pids_of("queue:work"), workers, "a restart touches none");

    // A loop that stands still is noticed.
    let agent = main_pid(&host, AGENT);
    host.run(&["kill", "-STOP", &agent.to_string()]).ok();
    host.wait_until("the watchdog", SOON, || {
        let now = main_pid(&host, AGENT);
        now != 0 && now != agent && property(&host, AGENT, "ActiveState") == "active"
    });
    assert_eq!(host.pids_of("queue:work"), workers, "nor does a kill");

    // The next one looks after them all the same.
    host.run(&["kill", "-KILL", &workers[0].to_string()]).ok();
    host.wait_until("a successor", SOON, || {
        let now = host.pids_of("queue:work");
        now.len() == 2 && !now.contains(&workers[0])
    });
    let workers = two_workers(&host);
    let agent = main_pid(&host, AGENT);
    let zombies = || host.sh(&format!("ps --ppid {agent} -o stat= | grep -c ^Z || true"));
    host.wait_until("what has ended to be taken note of", SOON, || zombies().ok() == "0");
    host.run(&["systemctl", "stop", AGENT]).ok();
    assert_eq!((property(&host, AGENT, "Result"), host.pids_of("queue:work")), ("success".to_owned(), workers));
}

#[test]
fn the_timer_does_without_a_daemon_and_keeps_out_of_the_agents_way() {
    let host = require_host!("timer-unit", []);
    install(&host);
    let site = Site::new(&host, "/srv/app").release("r1").release("r2").current("r1");
    let manifest = Manifest::new(&host, &site, "r2", BUILTIN);
    manifest.write();
    host.run(&["systemctl", "enable", "--now", "trueup-reconcile.timer"]).ok();
    host.run(&["systemctl", "start", "trueup-reconcile.service"]).ok();
    assert_eq!(site.current_release().as_deref(), Some("r2"));
    let workers = two_workers(&host);

    host.run(&["systemctl", "start", AGENT]).ok();
    host.run(&["systemctl", "start", "trueup-reconcile.service"]).ok();
    assert_eq!(property(&host, "trueup-reconcile.service", "Result"), "exec-condition");
    assert_eq!((property(&host, AGENT, "ActiveState"), host.pids_of("queue:work")), ("active".to_owned(), workers));
}

/// The README's commands that give the units to a deploy user.
fn given_to_deploy() -> &'static str {
    let blocks = include_str!("../../README.md").split("\n```sh\n").skip(1);
    let mut blocks = blocks.filter_map(|rest| rest.split("\n```").next());
    blocks.find(|block| block.starts_with("for unit in ")).expect("the README has them")
}

#[test]
fn given_to_a_deploy_user_the_units_need_only_the_rules_that_trueup_prints() {
    let host = require_host!("unit-deploy", [Unit::Supervisor]);
    install(&host);
    host.add_user("worker");
    let site = Site::new(&host, "/srv/app").owner("deploy").release("r1").release("r2").current("r1");
    host.sh("chmod -R a+rwX /srv/app/shared").ok();
    let workers = Program::php("app-worker", &site).user("worker").start();
    let manifest = Manifest::new(&host, &site, "r1", "{supervisord: {group: app-worker}}").count(1);
    manifest.write();
    // Root's at first: what that one has made is handed over.
    host.run(&["systemctl", "start", AGENT]).ok();
    host.wait_until("the status of root's", SOON, || property(&host, AGENT, "StatusText") == "1 App");

    let rules = "trueup sudoers --user deploy /etc/trueup/manifests >/etc/sudoers.d/trueup";
    host.sh(&format!("{rules} && chmod 440 /etc/sudoers.d/trueup && visudo -c")).ok();
    let roots = main_pid(&host, AGENT);
    host.sh(given_to_deploy()).ok();
    let agent = main_pid(&host, AGENT);
    assert_ne!(agent, roots);
    host.wait_until("the status of deploy's", SOON, || property(&host, AGENT, "StatusText") == "1 App");
    assert_eq!(host.run(&["ps", "-o", "user=", "-p", &agent.to_string()]).ok(), "deploy");
    let owners = host.run(&["stat", "--format=%U", "/run/trueup", "/run/trueup/agent.sock", "/var/lib/trueup"]);
    assert_eq!(owners.ok(), "deploy\ndeploy\ndeploy");

    // What it may not see of its worker, and may not do with it, goes by sudo.
    let runs = |release: &str| {
        let pids = workers.pids();
        let all = pids.iter().all(|pid| release_of(&host, *pid).as_deref() == Some(release));
        pids.len() == 1 && all && site.current_release().as_deref() == Some(release)
    };
    manifest.clone().release("r2").write();
    host.wait_until("the second release", SOON, || runs("r2"));
    let seen = || {
        let page = "http://localhost/api/v1/apps/app";
        let said = host.run(&["curl", "--silent", "--unix-socket", "/run/trueup/agent.sock", page]);
        let app: Value = serde_json::from_str(&said.stdout).unwrap_or_default();
        app["status"]["workers"][0]["members"][0]["evidence"]["rung"].clone()
    };
    host.wait_until("its own look at that", SOON, || seen() == "entryScript");
    host.run(&["systemctl", "reload", AGENT]).ok();
    assert_eq!(main_pid(&host, AGENT), agent);

    host.run(&["systemctl", "stop", AGENT]).ok();
    manifest.write();
    host.run(&["systemctl", "start", "trueup-reconcile.service"]).ok();
    host.wait_until("the first release", SOON, || runs("r1"));
    let owners = host.run(&["find", "/srv/app", "!", "-user", "deploy", "!", "-name", "worker.log"]);
    assert_eq!(owners.ok(), "", "nothing of root's is left behind");
}
