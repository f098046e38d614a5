//! Links that are cut in the middle of a rollout.

use std::thread;
use std::time::{Duration, Instant};

use crate::shop::{MANIFEST, PATIENCE, furnish, is_whole, reconcile, runs, switches, want};
use crate::support::network::Network;

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
