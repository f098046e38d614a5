//! What happens on a host is put right at once, and nothing else is touched.

use std::time::Duration;

use crate::SOON;
use crate::support::fixtures::{Program, Site, Workers};
use crate::support::manifest::release_of;
use crate::support::passes::Manifest;
use crate::support::{Background, Host, Unit, require_host};

const AGENT: [&str; 5] = ["env", "TRUEUP_LOG=trueup=debug", "trueup", "agent", "/etc/trueup/manifests"];

fn pair<'host>(site: &Site<'host>) -> Workers<'host> {
    Program::php("app-worker", site).numprocs(2).user("deploy").set("autorestart", "false").start()
}

/// The agent says this, after so many characters.
#[track_caller]
fn says(host: &Host, agent: &Background<'_>, from: usize, words: &str) {
    host.wait_until(words, SOON, || agent.stderr().get(from..).is_some_and(|said| said.contains(words)));
}

#[track_caller]
fn all_run(host: &Host, workers: &Workers<'_>, count: usize, release: &str) -> Vec<u32> {
    host.wait_until(&format!("{count} workers of {release}"), SOON, || {
        let pids = workers.pids();
        pids.len() == count && pids.iter().all(|pid| release_of(host, *pid).as_deref() == Some(release))
    });
    let mut pids = workers.pids();
    pids.sort_unstable();
    pids
}

#[test]
fn what_is_done_behind_its_back_is_put_right_at_once() {
    let host = require_host!("agent-drift", [Unit::Supervisor]);
    let site = Site::new(&host, "/srv/app").owner("deploy").release("r1").release("r2").current("r2");
    let workers = pair(&site);
    // No timer comes to anybody's help.
    let manifest = Manifest::new(&host, "app", &site, "r2").supervisord("app-worker", 2).with("sync: {interval: 1h}");
    manifest.write();
    let mut agent = host.spawn(&AGENT);
    says(&host, &agent, 0, "pass ended");
    let first = all_run(&host, &workers, 2, "r2");

    // A worker is killed: supervisord leaves it so, the agent does not.
    let before = agent.stderr().len();
    host.run(&["kill", "-KILL", &first[0].to_string()]).ok();
    says(&host, &agent, before, "died");
    let second = all_run(&host, &workers, 2, "r2");
    assert!(second.contains(&first[1]) && !second.contains(&first[0]), "{first:?} {second:?}");

    // One is stopped by hand.
    let before = agent.stderr().len();
    host.run(&["supervisorctl", "stop", "app-worker:app-worker_01"]).ok();
    host.wait_until("its return", SOON, || workers.status().iter().all(|worker| worker.state == "RUNNING"));
    says(&host, &agent, before, "pass ended");
    let third = all_run(&host, &workers, 2, "r2");

    // The link is swapped by hand, in one step and in two: nobody's worker is touched for that.
    for _ in 0..3 {
        let before = agent.stderr().len();
        site.switch("r1");
        says(&host, &agent, before, "current was changed");
        host.wait_until("the link", SOON, || site.current_release().as_deref() == Some("r2"));
        // What moves while a pass is under way is mended by that one, and no other is made for it.
        says(&host, &agent, before, "pass ended");
    }
    host.sh("rm /srv/app/current; ln -s releases/r1 /srv/app/current").ok();
    host.wait_until("the link", SOON, || site.current_release().as_deref() == Some("r2"));
    assert_eq!(all_run(&host, &workers, 2, "r2"), third);

    // Another release is wanted.
    let before = agent.stderr().len();
    let manifest = manifest.release("r1");
    manifest.write();
    says(&host, &agent, before, "trigger=\"manifest\"");
    all_run(&host, &workers, 2, "r1");

    agent.signal("TERM");
    let ended = agent.wait(SOON);
    assert_eq!(ended.code, 0, "{ended}");
    let triggers: Vec<String> = manifest
        .journal()
        .iter()
        .filter(|line| line["event"] == "passStarted")
        .map(|line| line["trigger"].as_str().unwrap_or_default().to_owned())
        .collect();
    for why in ["died", "current was changed", "manifest"] {
        assert!(triggers.iter().any(|trigger| trigger.contains(why)), "{why}: {triggers:?}");
    }
    all_run(&host, &workers, 2, "r1");
}

#[test]
fn asked_to_end_it_finishes_the_step_in_hand_and_the_next_one_goes_on() {
    let host = require_host!("agent-term", []);
    let site = Site::new(&host, "/srv/app").release("r1").current("r1");
    host.sh("mkdir -p /srv/build; echo one >/srv/build/index.php").ok();
    let steps = "source: {dir: {path: /srv/build}}, build: \
                 ['touch /run/begun; until [ -e /run/go ]; do sleep 0.1; done; echo built >done', 'touch /run/second']";
    let manifest = Manifest::new(&host, "app", &site, "r2").made(steps);
    manifest.write();
    let mut agent = host.spawn(&AGENT);
    host.wait_until("the step", SOON, || host.exists("/run/begun"));
    agent.signal("TERM");
    says(&host, &agent, 0, "asked to end");
    assert!(agent.is_running(), "the step is still in hand");
    host.run(&["touch", "/run/go"]).ok();
    let ended = agent.wait(SOON);
    assert_eq!(ended.code, 0, "{ended}");
    assert!(!host.exists("/run/trueup/agent.sock"), "its socket went with it");
    let last = manifest.journal().pop().expect("something was written");
    assert_eq!(last["event"], "passEnded", "the journal is true: {last}");

    let again = host.spawn(&AGENT);
    host.wait_until("the next agent goes on", SOON, || site.current_release().as_deref() == Some("r2"));
    drop(again);
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let host = require_host!("agent-term-twice", []);
    let site = Site::new(&host, "/srv/app").release("r1").current("r1");
    host.sh("mkdir -p /srv/build; echo one >/srv/build/index.php").ok();
    let steps =
        "source: {dir: {path: /srv/build}}, build: ['touch /run/begun; until [ -e /run/go ]; do sleep 0.1; done']";
    Manifest::new(&host, "app", &site, "r2").made(steps).write();
    let mut agent = host.spawn(&AGENT);
    host.wait_until("the step", SOON, || host.exists("/run/begun"));
    agent.signal("TERM");
    says(&host, &agent, 0, "asked to end");
    agent.signal("TERM");
    assert_eq!(agent.wait(SOON).code, 130);
    host.run(&["touch", "/run/go"]).ok();
}

#[test]
fn an_app_that_hangs_holds_up_nobody_else() {
    let host = require_host!("agent-hangs", []);
    let quick = Site::new(&host, "/srv/quick").release("r1").release("r2").current("r1");
    let slow = Site::new(&host, "/srv/slow").release("r1").release("r2").current("r1");
    // Takes the question and never answers.
    let deaf = "import socket, time; s = socket.socket(); s.bind(('127.0.0.1', 8099)); s.listen(); \
                open('/run/deaf', 'w').close(); time.sleep(9999)";
    let _deaf = host.spawn(&["python3", "-c", deaf]);
    host.wait_until("the deaf one", SOON, || host.exists("/run/deaf"));
    let health = "health: {http: {url: 'http://127.0.0.1:8099/', timeout: 10m}}";
    Manifest::new(&host, "slow", &slow, "r2").with(health).write();
    Manifest::new(&host, "quick", &quick, "r2").write();
    let mut agent = host.spawn(&AGENT);
    host.wait_until("the quick one", SOON, || quick.current_release().as_deref() == Some("r2"));
    quick.switch("r1");
    host.wait_until("the quick one again", SOON, || quick.current_release().as_deref() == Some("r2"));
    assert_eq!(slow.current_release().as_deref(), Some("r1"), "its first look is not over");
    agent.signal("KILL");
    agent.wait(Duration::from_mins(1));
}
