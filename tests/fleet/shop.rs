//! The shop that is rolled out: its releases, its manifest, and what is seen of it on a host.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

use crate::support::network::Network;
use crate::support::{Background, Host, Output};

/// Where it is on each host.
pub const ROOT: &str = "/srv/shop";
/// Where its manifest is on the control host.
pub const MANIFEST: &str = "/etc/fleet/shop.yaml";
/// What a worker is known by.
pub const WORKER: &str = "sleep 86399";
/// How many there are of each group on each host.
pub const WORKERS: usize = 2;
/// How long a rollout may take that loses its connections.
pub const PATIENCE: Duration = Duration::from_mins(4);
/// How long anything else may take.
pub const SOON: Duration = Duration::from_mins(1);

/// What is said at the first Ctrl-C.
pub const FINISHING: &str = "no more hosts are begun, and those at work finish; press again to leave them to it";

/// While this is there, a pass waits behind the switch, with the workers still in the old release.
const HOLD: &str = "/tmp/hold";
/// That one does.
const HELD: &str = "/tmp/held";

/// Hosts with releases of the shop; one called `bad…` is not healthy.
pub fn furnish(network: &Network, releases: &[&str]) {
    for host in network.hosts() {
        for release in releases {
            put(host, &format!("{ROOT}/releases/{release}"), release);
        }
        host.sh(&format!("chown -R deploy: {ROOT}")).ok();
    }
}

/// The files of a release.
pub fn put(host: &Host, folder: &str, release: &str) {
    let healthy = i32::from(release.starts_with("bad"));
    let script = format!(
        "mkdir -p {folder}; cd {folder}; printf '#!/bin/sh\\nexec {WORKER}\\n' >worker; \
         printf '#!/bin/sh\\nexit {healthy}\\n' >healthy; \
         printf '#!/bin/sh\\n[ -e {HOLD} ] || exit 0\\n>{HELD}\\nwhile [ -e {HOLD} ]; do sleep 0.05; done\\n' >gate; \
         chmod 755 worker healthy gate"
    );
    host.sh(&script).ok();
}

/// Writes the manifest for that release, with more lines of its `rollout`.
pub fn want(network: &Network, release: &str, rollout: &str) {
    want_made(network, release, rollout, "verify: [{run: sleep 0.4}]");
}

/// The same with other keys for how a release is made.
pub fn want_made(network: &Network, release: &str, rollout: &str, making: &str) {
    want_of(network, release, rollout, making, &[("default", "builtin: {run: ./worker}")]);
}

/// The same with a group of workers for each of these names and managers.
pub fn want_of(network: &Network, release: &str, rollout: &str, making: &str, groups: &[(&str, &str)]) {
    let group = |(name, manager): &(&str, &str)| {
        format!(
            "    - {{name: {name}, count: {WORKERS}, stopTimeout: 5s, rollout: {{minHealthy: 0s}}, manager: {{{manager}}}}}\n"
        )
    };
    let workers: Vec<String> = groups.iter().map(group).collect();
    let workers = workers.concat();
    let hosts: Vec<String> = network.hosts().iter().map(|host| format!("    - {{name: {}}}\n", host.name())).collect();
    let hosts = hosts.concat();
    let text = format!(
        "apiVersion: trueup/v1\nkind: App\nmetadata: {{name: shop}}\nspec:\n  hosts:\n{hosts}  rollout: {{{rollout}}}\n  \
         root: {ROOT}\n  release: {{id: {release}, {making}, hooks: {{afterSwitch: [{{run: ./gate}}]}}, keep: 30}}\n  \
         workers:\n{workers}  health:\n    command: {{run: ./healthy, timeout: 5s}}\n    \
         attempts: 2\n    interval: 200ms\n    expect: [status == 0]\n"
    );
    network.control.write(MANIFEST, &text);
}

pub fn reconcile(network: &Network, more: &[&str]) -> Output {
    network.control.run(&[&["trueup", "reconcile", MANIFEST], more].concat())
}

/// The same in the background, as a person would run it: signals mean what they mean.
pub fn reconciling<'n>(network: &'n Network, more: &[&str]) -> Background<'n> {
    let argv = ["env", "--default-signal=INT,TERM,HUP", "trueup", "reconcile", MANIFEST];
    network.control.spawn(&[&argv, more].concat())
}

/// From now on, passes on that host stop in the middle of the switch.
pub fn hold(host: &Host) {
    // What an earlier pass said that came through the gate as it was opened.
    host.run(&["rm", "-f", HELD]).ok();
    host.write(HOLD, "");
}

/// Waits until one has.
#[track_caller]
pub fn wait_until_held(host: &Host) {
    // Looked at from outside: nothing is started there for it.
    let held = host.root_path().join(&HELD[1..]);
    host.wait_until("a pass in the middle of its switch", SOON, || held.exists());
}

/// Lets it, and all that come, go on.
pub fn let_go(host: &Host) {
    host.run(&["rm", "-f", HOLD, HELD]).ok();
}

/// What `current` leads to, and what every worker runs. The workers are looked at first: where the link moves meanwhile and
/// workers after it, none is seen ahead of it.
pub fn runs(host: &Host) -> (String, Vec<String>) {
    let cwd = |pid: u32| host.read_link(&format!("/proc/{pid}/cwd")).unwrap_or_default();
    let mut workers: Vec<String> = host
        .pids_of(WORKER)
        .into_iter()
        .map(|pid| cwd(pid).rsplit('/').next().unwrap_or_default().to_owned())
        .collect();
    workers.sort_unstable();
    let current = host.read_link(&format!("{ROOT}/current")).unwrap_or_default();
    let current = current.rsplit('/').next().unwrap_or_default().to_owned();
    (current, workers)
}

/// What `runs` tells of a host that is wholly in that release.
pub fn whole(release: &str) -> (String, Vec<String>) {
    (release.to_owned(), vec![release.to_owned(); WORKERS])
}

#[track_caller]
pub fn is_whole(host: &Host, release: &str) {
    // Each worker is a shell first.
    host.wait_until(release, SOON, || runs(host) == whole(release));
}

/// Waits until whoever makes passes there has ended: by itself, as nobody listens.
#[track_caller]
pub fn wait_until_alone(host: &Host) {
    host.wait_until("the end of the runner", SOON, || host.pids_of("trueup far").is_empty());
}

/// The processes that make passes there, and those that talk about it.
pub fn runners_and_fronts(host: &Host) -> (Vec<u32>, Vec<u32>) {
    // All of them first: one that has become a runner by then is no front.
    let all = host.pids_of("trueup far");
    let runners = host.pids_of("trueup far --run");
    let fronts = all.into_iter().filter(|pid| !runners.contains(pid)).collect();
    (runners, fronts)
}

/// How many passes were begun there.
pub fn passes(host: &Host) -> usize {
    host.read(&format!("{ROOT}/.trueup/journal.jsonl")).matches("passStarted").count()
}

/// Passes that moved `current` to that release, by their names.
pub fn switches(host: &Host, release: &str) -> BTreeSet<String> {
    let journal = host.read(&format!("{ROOT}/.trueup/journal.jsonl"));
    let lines = journal.lines().map(|line| serde_json::from_str::<Value>(line).expect("the journal is JSON"));
    let switch = |line: &Value| line["event"] == "begin" && line["action"] == "switchCurrent" && line["to"] == release;
    lines.filter(switch).map(|line| line["pass"].as_str().expect("a pass has a name").to_owned()).collect()
}

/// A network whose shops are in release r1, and have r2 beside it.
pub fn open_shops(count: usize) -> Option<Network> {
    let network = Network::bare(count)?;
    furnish(&network, &["r1", "r2"]);
    want(&network, "r1", "canary: 0, batch: 100%, healthyFor: 0s");
    let first = reconcile(&network, &[]);
    assert_eq!(first.code, 0, "{first}");
    Some(network)
}
