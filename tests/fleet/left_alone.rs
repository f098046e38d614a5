//! Hosts on which nothing may be changed, seen before anything is: they neither stop a rollout nor are stopped by it in its
//! middle.

use crate::shop::{MANIFEST, WORKER, is_whole, open_shops, passes, reconcile, want};

const TERMS: &str = "canary: 1, batch: 100%, healthyFor: 0s";

#[test]
fn a_suspended_canary_is_left_alone_and_the_others_change() {
    let Some(network) = open_shops(3) else { return };
    want(&network, "r2", TERMS);
    let canary = network.host(0);
    // As whoever is on that host does it.
    canary.write("/tmp/shop.yaml", &network.control.read(MANIFEST));
    canary.sh("trueup suspend shop - --reason 'moving house' </tmp/shop.yaml").ok();
    let begun = passes(canary);

    let shown = network.control.run(&["trueup", "reconcile", MANIFEST, "--dry-run", "--detailed-exitcode"]);
    assert_eq!(shown.code, 2, "{shown}");
    assert!(shown.stdout.contains("2 with drift, 1 withheld"), "{shown}");
    let rolled = reconcile(&network, &[]);
    assert_eq!(rolled.code, 4, "{rolled}");
    for words in ["2 of 3 hosts changed in 2 waves", "1 withheld"] {
        assert!(rolled.stdout.contains(words), "{words}: {rolled}");
    }
    let why = "web1: not changed: the App is suspended on this host: moving house";
    assert!(rolled.to_string().contains(why), "{rolled}");
    for (index, release) in ["r1", "r2", "r2"].into_iter().enumerate() {
        is_whole(network.host(index), release);
    }
    assert_eq!(passes(canary), begun);
    let again = reconcile(&network, &[]);
    assert_eq!(again.code, 4, "{again}");
    assert!(again.stdout.contains("withheld on 1 of 3 hosts"), "{again}");

    canary.sh("trueup resume shop - </tmp/shop.yaml").ok();
    assert_eq!(reconcile(&network, &[]).code, 0);
    is_whole(canary, "r2");
}

#[test]
fn who_keeps_the_release_out_keeps_it_from_all_whatever_else_is_wrong_there() {
    let Some(network) = open_shops(2) else { return };
    let (well, other) = (network.host(0), network.host(1));
    want(&network, "r2", TERMS);
    assert_eq!(reconcile(&network, &["--hosts", "web2"]).code, 0);
    let back = ["trueup", "rollback", "shop", MANIFEST, "--hosts", "web2", "--reason", "orders are lost"];
    assert_eq!(network.control.run(&back).code, 0);
    // Drift beside it, which a pass there would put right.
    other.sh(&format!("kill -KILL {}", other.pids_of(WORKER)[0])).ok();
    let begun = passes(well);
    let rolled = reconcile(&network, &[]);
    assert_eq!(rolled.code, 3, "{rolled}");
    assert!(rolled.stdout.contains("not begun") && rolled.stdout.contains("kept out"), "{rolled}");
    is_whole(well, "r1");
    assert_eq!(passes(well), begun);
}
