//! One manifest, three real hosts, real SSH: a canary and then the others, a canary that fails, and links that are cut.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail on the spot")]

mod support;

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use support::network::Network;
use support::passes::Listing;
use support::{Host, Output};

const ROOT: &str = "/srv/shop";
const MANIFEST: &str = "/etc/fleet/shop.yaml";
/// What a worker is known by.
const WORKER: &str = "sleep 86399";
const WORKERS: usize = 2;
/// How long a rollout may take that loses its connections.
const PATIENCE: Duration = Duration::from_mins(4);

/// Hosts with releases of the shop; one called `bad…` is not healthy.
fn furnish(network: &Network, releases: &[&str]) {
    for host in network.hosts() {
        for release in releases {
            let healthy = i32::from(release.starts_with("bad"));
            let script = format!(
                "mkdir -p {ROOT}/releases/{release}; cd {ROOT}/releases/{release}; \
                 printf '#!/bin/sh\\nexec {WORKER}\\n' >worker; printf '#!/bin/sh\\nexit {healthy}\\n' >healthy; \
                 chmod 755 worker healthy"
            );
            host.sh(&script).ok();
        }
        host.sh(&format!("chown -R deploy: {ROOT}")).ok();
    }
}

/// Writes the manifest for that release, with more lines of its `rollout`.
fn want(network: &Network, release: &str, rollout: &str) {
    let hosts: Vec<String> = network.hosts().iter().map(|host| format!("    - {{name: {}}}\n", host.name())).collect();
    let hosts = hosts.concat();
    let text = format!(
        "apiVersion: trueup/v1\nkind: App\nmetadata: {{name: shop}}\nspec:\n  hosts:\n{hosts}  rollout: {{{rollout}}}\n  \
         root: {ROOT}\n  release: {{id: {release}, verify: [{{run: sleep 0.4}}], keep: 30}}\n  workers:\n    - name: default\n      \
         count: {WORKERS}\n      manager: {{builtin: {{run: ./worker}}}}\n      stopTimeout: 5s\n      \
         rollout: {{minHealthy: 0s}}\n  health:\n    command: {{run: ./healthy, timeout: 5s}}\n    attempts: 2\n    \
         interval: 200ms\n    expect: [status == 0]\n"
    );
    network.control.write(MANIFEST, &text);
}

fn reconcile(network: &Network, more: &[&str]) -> Output {
    network.control.run(&[&["trueup", "reconcile", MANIFEST], more].concat())
}

/// What `current` leads to, and what every worker runs.
fn runs(host: &Host) -> (String, Vec<String>) {
    let current = host.read_link(&format!("{ROOT}/current")).unwrap_or_default();
    let current = current.rsplit('/').next().unwrap_or_default().to_owned();
    let cwd = |pid: u32| host.read_link(&format!("/proc/{pid}/cwd")).unwrap_or_default();
    let mut workers: Vec<String> = host
        .pids_of(WORKER)
        .into_iter()
        .map(|pid| cwd(pid).rsplit('/').next().unwrap_or_default().to_owned())
        .collect();
    workers.sort_unstable();
    (current, workers)
}

#[track_caller]
fn is_whole(host: &Host, release: &str) {
    assert_eq!(runs(host), (release.to_owned(), vec![release.to_owned(); WORKERS]), "{}", host.name());
}

/// Passes that moved `current` to that release, by their names.
fn switches(host: &Host, release: &str) -> BTreeSet<String> {
    let journal = host.read(&format!("{ROOT}/.trueup/journal.jsonl"));
    let lines = journal.lines().map(|line| serde_json::from_str::<Value>(line).expect("the journal is JSON"));
    let switch = |line: &Value| line["event"] == "begin" && line["action"] == "switchCurrent" && line["to"] == release;
    lines.filter(switch).map(|line| line["pass"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn the_canary_goes_first_then_the_others_and_a_second_run_does_nothing() {
    let Some(network) = Network::bare(3) else { return };
    furnish(&network, &["r1", "r2"]);
    want(&network, "r1", "batch: 100%, healthyFor: 1s");
    let first = reconcile(&network, &[]);
    assert_eq!(first.code, 0, "{first}");
    want(&network, "r2", "batch: 100%, healthyFor: 1s");

    let shown = reconcile(&network, &["--dry-run", "--detailed-exitcode"]);
    assert_eq!(shown.code, 2, "{shown}");
    assert!(shown.stdout.contains("3 hosts: web1, web2, web3"), "{shown}");
    assert_eq!(shown.stdout.matches("+++ desired").count(), 1, "equal hosts are shown once: {shown}");

    let rolled = reconcile(&network, &[]);
    assert_eq!(rolled.code, 0, "{rolled}");
    let at = |text: &str| rolled.stderr.find(text).unwrap_or_else(|| panic!("no `{text}`: {rolled}"));
    assert!(at("web1  converged") < at("wave 2: web2, web3"), "{rolled}");
    assert!(at("wave 2: web2, web3") < at("web2  converged").min(at("web3  converged")), "{rolled}");
    for host in network.hosts() {
        is_whole(host, "r2");
        assert_eq!(switches(host, "r2").len(), 1);
    }

    let before: Vec<Listing> = network.hosts().iter().map(|host| Listing::of(host, &[ROOT])).collect();
    let again = reconcile(&network, &["--format", "json"]);
    assert_eq!(again.code, 0, "{again}");
    let document: Value = serde_json::from_str(&again.stdout).unwrap_or_else(|_| panic!("{again}"));
    assert_eq!(document["fleets"][0]["outcome"], "complete", "{again}");
    for (index, host) in network.hosts().iter().enumerate() {
        let (item, told) = (&document["items"][index], &document["fleets"][0]["hosts"][index]);
        assert_eq!(
            (item["host"].as_str(), item["outcome"].as_str()),
            (Some(host.name()), Some("converged")),
            "{again}"
        );
        assert_eq!((told["verdict"].as_str(), told["done"].as_u64()), (Some("settled"), Some(0)), "{again}");
        assert_eq!(before[index].changes(&Listing::of(host, &[ROOT])), Vec::<String>::new(), "{}", host.name());
    }
    let status = network.control.run(&["trueup", "status", MANIFEST]);
    assert_eq!(status.code, 0, "{status}");
    assert_eq!(status.stdout.matches("as it should be").count(), 3, "{status}");
    let differs = network.control.run(&["trueup", "diff", MANIFEST, "--hosts", "web1,web3"]);
    assert_eq!((differs.code, differs.stdout.contains("2 hosts: web1, web3")), (0, true), "{differs}");
}

#[test]
fn a_release_that_fails_on_the_canary_reaches_nobody_else() {
    let Some(network) = Network::bare(3) else { return };
    furnish(&network, &["r1", "bad"]);
    want(&network, "r1", "batch: 100%, healthyFor: 0s");
    assert_eq!(reconcile(&network, &[]).code, 0);
    let workers: Vec<Vec<u32>> = network.hosts().iter().map(|host| host.pids_of(WORKER)).collect();
    let before: Vec<Listing> = network.hosts().iter().map(|host| Listing::of(host, &[ROOT])).collect();

    want(&network, "bad", "batch: 100%, healthyFor: 1s");
    let failed = reconcile(&network, &[]);
    assert_eq!(failed.code, 3, "{failed}");
    assert!(failed.stdout.contains("stopped") && failed.stdout.contains("2 not touched"), "{failed}");
    is_whole(network.host(0), "r1");
    assert_eq!(switches(network.host(0), "bad").len(), 1);
    for index in [1, 2] {
        let host = network.host(index);
        assert_eq!(before[index].changes(&Listing::of(host, &[ROOT])), Vec::<String>::new(), "{}", host.name());
        assert_eq!(host.pids_of(WORKER), workers[index], "{}", host.name());
    }
    // What is kept out is known before anything is changed.
    let again = reconcile(&network, &[]);
    assert_eq!(again.code, 3, "{again}");
    assert!(again.stdout.contains("not begun"), "{again}");
    assert_eq!(switches(network.host(0), "bad").len(), 1);
}

#[test]
fn a_link_cut_at_ten_moments_of_a_switch_leaves_every_host_whole() {
    let Some(network) = Network::bare(3) else { return };
    let releases: Vec<String> = (0..12).map(|number| format!("r{number}")).collect();
    furnish(&network, &releases.iter().map(String::as_str).collect::<Vec<_>>());
    let rollout = "canary: 0, batch: 100%, healthyFor: 0s";
    let mut takes = Duration::ZERO;
    for release in &releases[..2] {
        want(&network, release, rollout);
        let began = Instant::now();
        let done = reconcile(&network, &[]);
        assert_eq!(done.code, 0, "{done}");
        takes = began.elapsed();
    }
    for (trial, release) in (0_u32..).zip(&releases[2..]) {
        want(&network, release, rollout);
        let mut rolling = network.control.spawn(&["trueup", "reconcile", MANIFEST]);
        // The moment is the point of it.
        thread::sleep(takes * trial / 10);
        network.cut(0);
        // In two of the trials longer than ssh waits for a sign of life: early, and when the pass is under way.
        thread::sleep(Duration::from_secs(if trial % 5 == 1 { 18 } else { 1 }));
        let (current, workers) = runs(network.host(0));
        assert!(current == *release || workers.iter().all(|runs| *runs != *release), "{current} and {workers:?}");
        network.heal(0);
        let done = rolling.wait(PATIENCE);
        let told = format!("trial {trial} after {:?}: {done}", takes * trial / 10);
        // Cut before anything was begun, the host is one that was not reached: then nothing was changed anywhere.
        let expected = if done.code == 0 { release } else { &releases[usize::try_from(trial).unwrap() + 1] };
        assert!(done.code == 0 || done.stdout.contains("not begun"), "{told}");
        for host in network.hosts() {
            is_whole(host, expected);
            assert_eq!(switches(host, release).len(), usize::from(done.code == 0), "{}: {told}", host.name());
        }
        let healed = reconcile(&network, &[]);
        assert_eq!(healed.code, 0, "{healed}");
        for host in network.hosts() {
            is_whole(host, release);
        }
    }
}
