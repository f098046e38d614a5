//! What breaks in the middle of a rollout besides the network: who controls it, sshd, a disk.

use crate::shop::{
    ROOT, SOON, furnish, hold, is_whole, let_go, open_shops, passes, put, reconcile, reconciling, runners_and_fronts,
    runs, switches, wait_until_alone, wait_until_held, want, want_made,
};
use crate::support::network::Network;
use crate::support::{Background, Host};

/// A rollout that stands still in the middle of the first host's switch, and how many passes that host had before.
fn held_in_its_switch(network: &Network) -> (Background<'_>, usize) {
    let web1 = network.host(0);
    want(network, "r2", "canary: 1, batch: 100%, healthyFor: 0s");
    let before = passes(web1);
    hold(web1);
    let rolling = reconciling(network, &[]);
    wait_until_held(web1);
    (rolling, before)
}

#[test]
fn a_killed_control_side_leaves_a_pass_that_the_next_run_waits_for() {
    let Some(network) = open_shops(3) else { return };
    let web1 = network.host(0);
    let (mut rolling, before) = held_in_its_switch(&network);
    rolling.signal("KILL");
    assert_eq!(rolling.wait(SOON).code, 128 + 9);
    web1.wait_until("the end of the one who talked", SOON, || runners_and_fronts(web1).1.is_empty());
    let (runners, _) = runners_and_fronts(web1);
    let [runner] = runners[..] else { panic!("{runners:?}") };

    // Nobody else changes anything meanwhile, and is told who does.
    let refused = reconcile(&network, &["--wait", "0s"]);
    assert_eq!(refused.code, 1, "{refused}");
    let holder = format!("`{ROOT}` is locked: held by pid {runner} (trueup far, for ");
    assert!(refused.stdout.contains(&holder), "{refused}");
    assert_eq!(runs(web1), ("r2".to_owned(), vec!["r1".to_owned(); 2]));
    web1.wait_until("the end of who was refused", SOON, || runners_and_fronts(web1).0 == [runner]);
    assert_eq!(passes(web1), before + 1);

    let mut waiting = reconciling(&network, &["--wait", "1m"]);
    network.control.wait_until("the next run to wait", SOON, || waiting.stderr().contains("waiting:"));
    let_go(web1);
    let done = waiting.wait(SOON);
    assert_eq!(done.code, 0, "{done}");
    for host in network.hosts() {
        wait_until_alone(host);
        is_whole(host, "r2");
        assert_eq!(switches(host, "r2").len(), 1, "{}: {done}", host.name());
    }
}

#[test]
fn a_restarted_sshd_is_come_back_to_and_no_second_pass_is_made() {
    let Some(network) = open_shops(2) else { return };
    let web1 = network.host(0);
    let (mut rolling, before) = held_in_its_switch(&network);
    for time in 1..=2 {
        network.stop_sshd(0);
        web1.wait_until("the end of the one who talked", SOON, || runners_and_fronts(web1).1.is_empty());
        network.start_sshd(0);
        network
            .control
            .wait_until("the loss to be told", SOON, || rolling.stderr().matches("web1  lost: ").count() >= time);
        web1.wait_until("another one who talks", SOON, || !runners_and_fronts(web1).1.is_empty());
        assert_eq!(runners_and_fronts(web1).0.len(), 1);
    }
    let_go(web1);
    let done = rolling.wait(SOON);
    assert_eq!(done.code, 0, "{done}");
    assert_eq!(passes(web1), before + 1, "{done}");
    for host in network.hosts() {
        is_whole(host, "r2");
        assert_eq!(switches(host, "r2").len(), 1, "{}: {done}", host.name());
    }
}

/// The root of the second host on a disk of a few MiB.
fn on_a_small_disk(network: &Network) -> &Host {
    let host = network.host(1);
    host.sh(&format!("mkdir -p {ROOT}; mount -t tmpfs -o size=8m,mode=755 tmpfs {ROOT}; chown deploy: {ROOT}")).ok();
    host
}

#[test]
fn a_host_whose_disk_runs_full_is_a_failure_and_stays_whole() {
    let Some(network) = Network::bare(3) else { return };
    let small = on_a_small_disk(&network);
    furnish(&network, &["r1"]);
    want(&network, "r1", "canary: 0, batch: 100%, healthyFor: 0s");
    assert_eq!(reconcile(&network, &[]).code, 0);
    // Files come and do not fit; the last word is that of what is allowed to fail.
    for host in network.hosts() {
        put(host, "/srv/from", "r2");
        host.sh("head -c 6M /dev/zero >/srv/from/large; chown -R deploy: /srv/from").ok();
    }
    small.sh(&format!("head -c 4M /dev/zero >{ROOT}/filler")).ok();
    let making = "source: {dir: {path: /srv/from}}";
    want_made(&network, "r2", "canary: 1, batch: 100%, maxFailures: 1, healthyFor: 0s", making);
    let done = reconcile(&network, &[]);
    assert_eq!(done.code, 3, "{done}");
    assert!(done.stdout.contains("error: web2: fetch r2: cannot copy `/srv/from/large`: No space left"), "{done}");
    assert!(done.stdout.contains("converged on 2 of 3 hosts in "), "{done}");
    assert!(done.stdout.contains(": web2 quarantined (`maxFailures` allows it)"), "{done}");
    for (host, release) in network.hosts().iter().zip(["r2", "r1", "r2"]) {
        is_whole(host, release);
    }
    assert!(!small.exists(&format!("{ROOT}/releases/r2")), "half a release takes no room");
    small.run(&["rm", &format!("{ROOT}/filler")]).ok();

    // Not a byte is left in the middle of a switch, for the journal and the records either.
    furnish(&network, &["r3", "r4"]);
    want(&network, "r3", "canary: 1, batch: 100%, maxFailures: 1, healthyFor: 0s");
    hold(small);
    let mut rolling = reconciling(&network, &[]);
    wait_until_held(small);
    small.sh(&format!("cat /dev/zero >{ROOT}/filler || cat /dev/zero >>{ROOT}/filler || :")).ok();
    let_go(small);
    let done = rolling.wait(SOON);
    assert_eq!(done.code, 0, "{done}");
    assert_eq!(small.sh(&format!("stat -f -c %f {ROOT}")).ok(), "0", "it is full");
    is_whole(small, "r3");
    assert_eq!(switches(small, "r3").len(), 1, "{done}");
}
