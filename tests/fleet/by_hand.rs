//! What a person does after a rollout was stopped: try the release again, take it back, or go to a host.

use serde_json::Value;

use crate::shop::{MANIFEST, ROOT, furnish, is_whole, put, reconcile, switches, want};
use crate::support::Output;
use crate::support::network::Network;
use crate::support::passes::Listing;

fn by_hand(network: &Network, verb: &str, more: &[&str]) -> Output {
    network.control.run(&[&["trueup", verb, "shop", MANIFEST], more].concat())
}

#[test]
fn a_release_that_failed_is_tried_again_over_all_hosts_and_taken_back_from_them() {
    let Some(network) = Network::bare(3) else { return };
    furnish(&network, &["r1", "bad"]);
    want(&network, "r1", "batch: 100%, healthyFor: 0s");
    assert_eq!(reconcile(&network, &[]).code, 0);
    want(&network, "bad", "batch: 100%, healthyFor: 1s");
    let failed = reconcile(&network, &[]);
    assert_eq!(failed.code, 3, "{failed}");
    // What is told then works where it is told.
    let not_begun = reconcile(&network, &[]);
    assert_eq!(not_begun.code, 3, "{not_begun}");
    let remedy = format!("`trueup retry shop {MANIFEST}`");
    assert!(not_begun.stdout.contains("not begun") && not_begun.stdout.contains(&remedy), "{not_begun}");

    // Not mended yet: the canary alone tries it once more.
    let others: Vec<Listing> = [1, 2].map(|index| Listing::of(network.host(index), &[ROOT])).into();
    let again = by_hand(&network, "retry", &[]);
    assert_eq!(again.code, 3, "{again}");
    assert!(again.stdout.contains("stopped") && again.stdout.contains("2 not touched"), "{again}");
    is_whole(network.host(0), "r1");
    assert_eq!(switches(network.host(0), "bad").len(), 2);
    for (before, index) in others.iter().zip([1, 2]) {
        assert_eq!(before.changes(&Listing::of(network.host(index), &[ROOT])), Vec::<String>::new(), "web{index}");
    }

    for host in network.hosts() {
        put(host, &format!("{ROOT}/releases/bad"), "mended");
    }
    let mended = by_hand(&network, "retry", &[]);
    assert_eq!(mended.code, 0, "{mended}");
    let at = |text: &str| mended.stderr.find(text).unwrap_or_else(|| panic!("no `{text}`: {mended}"));
    assert!(at("web1  converged") < at("wave 2: web2, web3"), "{mended}");
    network.hosts().iter().for_each(|host| is_whole(host, "bad"));

    // Taken back from one of them, and then from the others: that one has nothing to do with it any more.
    let one = by_hand(&network, "rollback", &["--hosts", "web2", "--reason", "orders are lost"]);
    assert_eq!(one.code, 0, "{one}");
    assert!(one.stdout.contains("taken back") && one.stdout.contains("on 1 of 1 host"), "{one}");
    for (index, release) in ["bad", "r1", "bad"].into_iter().enumerate() {
        is_whole(network.host(index), release);
    }
    let web2 = Listing::of(network.host(1), &[ROOT]);
    let back = by_hand(&network, "rollback", &["--format", "json"]);
    assert_eq!(back.code, 0, "{back}");
    let document: Value = serde_json::from_str(&back.stdout).unwrap_or_else(|_| panic!("{back}"));
    assert_eq!(document["fleets"][0]["outcome"], "complete", "{back}");
    for (index, verdict) in ["takenBack", "settled", "takenBack"].into_iter().enumerate() {
        assert_eq!(document["fleets"][0]["hosts"][index]["verdict"], verdict, "{back}");
        is_whole(network.host(index), "r1");
    }
    assert_eq!(web2.changes(&Listing::of(network.host(1), &[ROOT])), Vec::<String>::new());
    let reasons = network.host(1).read(&format!("{ROOT}/.trueup/journal.jsonl"));
    assert!(reasons.contains("orders are lost"), "{reasons}");

    let nothing = by_hand(&network, "rollback", &[]);
    assert_eq!(nothing.code, 0, "{nothing}");
    assert!(nothing.stdout.contains("nothing to take back"), "{nothing}");
    assert_eq!(reconcile(&network, &[]).code, 3, "it stays out");
}

#[test]
fn who_cannot_be_reached_is_told_and_keeps_nobody_from_going_back() {
    let Some(network) = Network::bare(2) else { return };
    furnish(&network, &["r1", "r2"]);
    for release in ["r1", "r2"] {
        want(&network, release, "canary: 0, batch: 100%, healthyFor: 0s");
        assert_eq!(reconcile(&network, &[]).code, 0, "{release}");
    }
    network.stop_sshd(0);
    let back = by_hand(&network, "rollback", &[]);
    assert_eq!(back.code, 1, "{back}");
    assert!(back.stdout.contains("not taken back everywhere") && back.stdout.contains("1 failed"), "{back}");
    is_whole(network.host(0), "r2");
    is_whole(network.host(1), "r1");
    network.start_sshd(0);
    let back = by_hand(&network, "rollback", &["--to", "r9"]);
    assert_eq!(back.code, 1, "{back}");
    assert!(back.stdout.contains("web1: cannot go back to `r9`: it is not there"), "{back}");
    let back = by_hand(&network, "rollback", &["--to", "r1"]);
    assert_eq!(back.code, 0, "{back}");
    network.hosts().iter().for_each(|host| is_whole(host, "r1"));
}

/// What is about one host is refused with a command that does it there: with its own program, or the one that was
/// copied.
#[test]
fn what_is_done_on_a_host_is_told_word_for_word() {
    let Some(network) = Network::bare(1) else { return };
    furnish(&network, &["r1"]);
    want(&network, "r1", "healthyFor: 0s");
    assert_eq!(reconcile(&network, &[]).code, 0);
    let host = network.host(0);
    let told = |verb: &str| {
        let refused = by_hand(&network, verb, &[]);
        assert_eq!(refused.code, 1, "{refused}");
        let command = refused.stderr.split('`').find(|part| part.starts_with("ssh web1 '"));
        command.unwrap_or_else(|| panic!("no command: {refused}")).to_owned()
    };
    let done = network.control.sh(&told("suspend"));
    assert!(done.code == 0 && done.stdout.contains("suspended"), "{done}");
    // The same program, now only where a copy of it would be.
    host.sh("c=/home/deploy/.cache/trueup/bin; mkdir -p $c; \
         for n in $(sha256sum </usr/local/bin/trueup | cut -d ' ' -f 1); do \
         touch $c/$n; mount --bind /usr/local/bin/trueup $c/$n; done; \
         touch $c/newer; umount --lazy /usr/local/bin/trueup; rm -f /usr/local/bin/trueup")
        .ok();
    for (verb, words) in [("resume", "resumed"), ("history", "suspended"), ("releases", "r1")] {
        let done = network.control.sh(&told(verb));
        assert!(done.code == 0 && done.stdout.contains(words), "{verb}: {done}");
    }
}
