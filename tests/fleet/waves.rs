//! Who changes when: a canary and then the others, and a canary that fails.

use serde_json::{Value, json};

use crate::shop::{MANIFEST, ROOT, WORKER, furnish, is_whole, reconcile, switches, want};
use crate::support::network::Network;
use crate::support::passes::Listing;

#[test]
fn the_canary_goes_first_then_the_others_and_a_second_run_does_nothing() {
    let Some(network) = Network::bare(3) else { return };
    furnish(&network, &["r1", "r2"]);
    want(&network, "r1", "batch: 100%, healthyFor: 1s");
    // They wait for their first release, and that is all that is said of them.
    let blank = network.control.run(&["trueup", "status", MANIFEST]);
    assert_eq!(blank.code, 2, "{blank}");
    assert!(blank.stdout.contains("3 with drift") && !blank.stdout.contains("healthy"), "{blank}");
    let first = reconcile(&network, &[]);
    assert_eq!(first.code, 0, "{first}");
    want(&network, "r2", "batch: 100%, healthyFor: 1s");

    let shown = reconcile(&network, &["--dry-run", "--detailed-exitcode"]);
    assert_eq!(shown.code, 2, "{shown}");
    assert!(shown.stdout.contains("3 hosts: web1, web2, web3"), "{shown}");
    assert!(shown.stdout.contains("\nwaves: 1 web1 (canary) · 2 web2, web3\n"), "{shown}");
    assert_eq!(shown.stdout.matches("+++ desired").count(), 1, "equal hosts are shown once: {shown}");
    let told = reconcile(&network, &["--dry-run", "--format", "json"]);
    let document: Value = serde_json::from_str(&told.stdout).unwrap_or_else(|_| panic!("{told}"));
    let waves = json!([{"canary": true, "hosts": ["web1"]}, {"canary": false, "hosts": ["web2", "web3"]}]);
    assert_eq!(document["fleets"][0]["plannedWaves"], waves, "{told}");

    let rolled = reconcile(&network, &[]);
    assert_eq!(rolled.code, 0, "{rolled}");
    for host in network.hosts() {
        let line = format!("{}  converged\n", host.name());
        assert_eq!(rolled.stderr.matches(&line).count(), 1, "once, and not again when it stayed so: {rolled}");
    }
    let at = |text: &str| rolled.stderr.find(text).unwrap_or_else(|| panic!("no `{text}`: {rolled}"));
    let hold = at("wave 1: 1 host has to stay healthy for 1s");
    assert!(at("web1  converged") < hold && hold < at("wave 2: web2, web3"), "{rolled}");
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
    assert_eq!(status.stdout.matches("ready").count(), 3, "{status}");
    let differs = network.control.run(&["trueup", "diff", MANIFEST, "--hosts", "web1,web3"]);
    assert_eq!((differs.code, differs.stdout.contains("2 hosts: web1, web3")), (0, true), "{differs}");
}

#[test]
fn one_health_answer_that_is_missed_stops_no_rollout() {
    let Some(network) = Network::bare(2) else { return };
    furnish(&network, &["r1"]);
    let canary = network.host(0);
    // Once, after the end of its pass: when it has to stay healthy.
    let release = format!("{ROOT}/releases/r1");
    let is_over = format!("grep -q passEnded {ROOT}/.trueup/journal.jsonl");
    let script = format!("#!/bin/sh\n[ -e missed ] || ! {is_over} || {{ >missed; exit 1; }}\n");
    canary.write(&format!("{release}/healthy"), &script);
    want(&network, "r1", "batch: 100%, healthyFor: 1s");
    let done = reconcile(&network, &[]);
    assert_eq!(done.code, 0, "{done}");
    assert!(done.stderr.contains("wave 1: 1 host has to stay healthy for 1s"), "{done}");
    assert!(done.stderr.contains("web1  not healthy (1 of 2): "), "{done}");
    assert!(canary.exists(&format!("{release}/missed")), "it was asked, and did not answer well: {done}");
    network.hosts().iter().for_each(|host| is_whole(host, "r1"));
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
