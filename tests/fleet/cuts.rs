//! Links that are cut in the middle of a rollout.

use std::thread;
use std::time::Instant;

use crate::shop::{
    PATIENCE, SOON, furnish, hold, is_whole, let_go, passes, reconcile, reconciling, runners_and_fronts, runs,
    switches, wait_until_held, want,
};
use crate::support::Host;
use crate::support::network::Network;

/// What is said of a lost connection to the host whose link is cut.
const LOST: &str = "web1  lost: ";

/// How a connection comes to its end while its link is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// Nothing is heard any more, until it is given up.
    Unanswered,
    /// Its ssh is killed.
    Here,
    /// Its sshd is killed, which the other side learns when the link is back.
    There,
}

use End::{Here, There, Unanswered};

/// In the first of these trials the host stands still in its switch until the loss is told; in those after them it goes on.
const TRIALS: [End; 10] = [Here, Unanswered, There, Here, Unanswered, There, Here, There, Here, There];
const HELD: u32 = 7;

/// How many runs the host has ever begun: each has a spool.
fn begun(host: &Host) -> usize {
    // Looked at from outside: nothing is started there for it.
    let folder = host.root_path().join("home/deploy/.local/state/trueup/far");
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter(|entry| entry.path().extension().is_some_and(|last| last == "jsonl")).count()
}

/// Passes and runs.
fn made(host: &Host) -> (usize, usize) {
    (passes(host), begun(host))
}

/// No worker runs a release before `current` leads to it.
#[track_caller]
fn is_in_order(host: &Host, release: &str) {
    // The link last: it may move in between.
    let (_, workers) = runs(host);
    let (current, _) = runs(host);
    assert!(current == release || workers.iter().all(|runs| runs != release), "{current} and {workers:?}");
}

#[test]
fn a_link_cut_at_ten_moments_of_a_switch_leaves_every_host_whole() {
    let Some(network) = Network::bare(3) else { return };
    let web1 = network.host(0);
    let releases: Vec<String> = (0..TRIALS.len() + 2).map(|number| format!("r{number}")).collect();
    furnish(&network, &releases.iter().map(String::as_str).collect::<Vec<_>>());
    let rollout = "canary: 0, batch: 100%, healthyFor: 0s";
    want(&network, &releases[0], rollout);
    let first = reconcile(&network, &[]);
    assert_eq!(first.code, 0, "{first}");

    let begin = |release: &str| {
        want(&network, release, rollout);
        let before: Vec<_> = network.hosts().iter().map(made).collect();
        hold(web1);
        let rolling = reconciling(&network, &[]);
        web1.wait_until("a run", SOON, || begun(web1) > before[0].1);
        (rolling, before)
    };
    // How long a pass takes to the middle of its switch, and from there to its end.
    let (mut rolling, _) = begin(&releases[1]);
    let began = Instant::now();
    wait_until_held(web1);
    let to_switch = began.elapsed();
    let_go(web1);
    web1.wait_until("the end of the pass", SOON, || runners_and_fronts(web1).0.is_empty());
    let to_end = began.elapsed().saturating_sub(to_switch);
    let done = rolling.wait(SOON);
    assert_eq!(done.code, 0, "{done}");

    let mut losses = 0;
    for ((trial, end), release) in (0_u32..).zip(TRIALS).zip(&releases[2..]) {
        let (mut rolling, before) = begin(release);
        let held = trial < HELD;
        // The moment is the point of it.
        if held {
            thread::sleep(to_switch * trial / (HELD - 1));
        } else {
            wait_until_held(web1);
            let_go(web1);
            thread::sleep(to_end * (trial - HELD) / 4);
        }
        network.cut(0);
        match end {
            Unanswered => {}
            Here => network.control.pids_of("-- web1").iter().for_each(|master| {
                network.control.run(&["kill", "-KILL", &master.to_string()]);
            }),
            There => network.log_out(0),
        }
        is_in_order(web1, release);
        if held && end != There {
            network.control.wait_until("the loss to be told", SOON, || rolling.stderr().contains(LOST));
        }
        // Some go on while nobody hears them.
        if trial % 2 == 0 {
            let_go(web1);
        }
        network.heal(0);
        is_in_order(web1, release);
        let_go(web1);
        let done = rolling.wait(PATIENCE);
        let told = format!("trial {trial}, {end:?}: {done}");
        losses += usize::from(done.stderr.contains(LOST));
        assert_eq!(done.code, 0, "{told}");
        for (host, (passes, runs)) in network.hosts().iter().zip(before) {
            is_whole(host, release);
            assert_eq!(switches(host, release).len(), 1, "{}: {told}", host.name());
            assert_eq!(made(host), (passes + 1, runs + 1), "{}: {told}", host.name());
        }
        println!("trial {trial}, {end:?}: {}", done.stderr.matches(LOST).count());
    }
    println!("{losses} losses; {to_switch:?} to the switch, {to_end:?} to the end");
    assert!(losses > TRIALS.len() / 2, "cuts that nobody notices are none: {losses}");

    let before: Vec<_> = network.hosts().iter().map(made).collect();
    let healed = reconcile(&network, &[]);
    assert_eq!((healed.code, healed.stdout.contains("nothing to do on 3 hosts")), (0, true), "{healed}");
    assert_eq!(network.hosts().iter().map(made).collect::<Vec<_>>(), before, "{healed}");
}
