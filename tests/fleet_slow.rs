//! Hosts behind long and narrow cables: that slowness is not taken for death, and how many answers are waited for.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail on the spot")]

mod support;

use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use support::SOON;
use support::asking::{Asked, ask, ask_aloud, held, lay_out, options, request};
use support::cable::Cable;
use support::network::{Network, slim_program};
use trueup::documents::wire::{Ended, Operation};
use trueup::fleet::reach::ConnectionNews;
use trueup::fleet::ssh::options::Options;

const MANIFEST: &str = "/etc/fleet/shop.yaml";
const ROOT: &str = "/srv/shop";
const WORKER: &str = "sleep 86399";
/// How long answers take from hosts on another continent.
const FAR: Duration = Duration::from_millis(100);
/// The same, so long that what the processor does meanwhile is nothing beside it.
const FARTHER: Duration = Duration::from_secs(1);
/// A conversation is opened, a command is started, which makes room for a question, and the question is answered.
const TRIPS: u32 = 3;

fn is_lost(way: &ConnectionNews) -> bool {
    matches!(way, ConnectionNews::Lost { .. })
}

fn furnish(network: &Network) {
    let script = format!(
        "for release in r1 r2; do mkdir -p {ROOT}/releases/$release; cd {ROOT}/releases/$release; \
         printf '#!/bin/sh\\nexec {WORKER}\\n' >worker; chmod 755 worker; done; chown -R deploy: {ROOT}"
    );
    for host in network.hosts() {
        host.sh(&script).ok();
    }
}

fn want(network: &Network, release: &str, canary: usize) {
    let hosts: Vec<String> = network.hosts().iter().map(|host| format!("    - {{name: {}}}\n", host.name())).collect();
    let hosts = hosts.concat();
    let text = format!(
        "apiVersion: trueup/v1\nkind: App\nmetadata: {{name: shop}}\nspec:\n  hosts:\n{hosts}  \
         rollout: {{canary: {canary}, batch: 100%, healthyFor: 500ms}}\n  root: {ROOT}\n  release: {{id: {release}}}\n  workers:\n    - name: default\n      \
         count: 1\n      manager: {{builtin: {{run: ./worker}}}}\n      rollout: {{minHealthy: 0s}}\n  \
         health: {{command: {{run: 'true'}}, expect: [status == 0]}}\n"
    );
    network.control.write(MANIFEST, &text);
}

/// How long a command takes.
fn takes(network: &Network, words: &[&str]) -> Duration {
    let began = Instant::now();
    network.control.run(&[&["trueup"], words, &[MANIFEST]].concat()).ok();
    began.elapsed()
}

#[test]
fn a_rollout_to_hosts_far_away_waits_for_few_answers() {
    let Some(network) = Network::bare(3) else { return };
    furnish(&network);
    let lay = |cable: Cable| (0..3).map(|index| network.cable(index, cable)).last().unwrap();
    for (release, canary, cable) in [("r1", 0, Cable::default()), ("r2", 1, Cable::long(FAR))] {
        want(&network, release, canary);
        let means = lay(cable);
        let began = Instant::now();
        let done = network.control.run(&["trueup", "reconcile", MANIFEST]);
        assert!(done.success() && !done.stderr.contains("lost"), "{done}");
        if !cable.each_way.is_zero() {
            println!("a rollout, {:?} each way {means}: {:?}", cable.each_way, began.elapsed());
        }
        for host in network.hosts() {
            assert_eq!(host.read_link(&format!("{ROOT}/current")), Some(format!("releases/{release}")));
            host.wait_until("its worker", SOON, || host.pids_of(WORKER).len() == 1);
            let [worker] = host.pids_of(WORKER)[..] else { panic!("one worker on {}", host.name()) };
            let at = host.read_link(&format!("/proc/{worker}/cwd")).unwrap();
            assert!(at.ends_with(release), "{}: {at}", host.name());
        }
    }

    for words in [&["status"][..], &["reconcile"]] {
        // A busy machine may be late, but not always; and another trip would be too late for it, too.
        let mut tries = (0..20).map(|_| {
            lay(Cable::default());
            let near = (0..2).map(|_| takes(&network, words)).min().unwrap();
            lay(Cable::long(FARTHER));
            (near, takes(&network, words))
        });
        let few = |(near, far): &(Duration, Duration)| *far < *near + FARTHER * TRIPS + FARTHER * 3 / 4;
        let (near, far) = tries
            .find(few)
            .unwrap_or_else(|| panic!("{words:?} waits for more than {TRIPS} answers, one after the other"));
        assert!(far > 2 * FARTHER, "the cables are not long: {far:?}");
        println!("{}: {near:?} near, {far:?} with {FARTHER:?} there and back", words.join(" "));
    }
}

#[test]
fn a_host_that_answers_late_is_not_taken_for_dead() {
    let Some(network) = Network::bare(1) else { return };
    let (host, options) = (network.host(0), options(&network));
    lay_out(host);
    let request = held("r1");
    network.cable(0, Cable::long(FAR));
    let heard = Arc::new(Mutex::new(Asked::default()));
    thread::scope(|scope| {
        let asking = scope.spawn(|| ask_aloud(&network, &options, "web1", &request, &heard));
        host.wait_until("the step", SOON, || host.exists("/tmp/begun") || asking.is_finished());
        // It is asked each second whether it is there, and given up with the third question without an answer.
        network.cable(0, Cable::long(options.alive_interval * 3 / 2));
        // Longer than it may say nothing: that it is heard all the while is the point.
        thread::sleep(6 * options.alive_interval);
        host.run(&["touch", "/tmp/go"]).ok();
        asking.join().unwrap().unwrap();
    });
    let asked = heard.lock().unwrap().clone();
    assert_eq!(asked.ended(), Some(Ended::Done), "{asked:?}");
    assert!(!asked.ways.iter().any(is_lost), "{:?}", asked.ways);
    asked.is_whole();
    assert_eq!(host.read_link("/srv/app/current").as_deref(), Some("releases/r1"));
}

#[test]
fn the_program_comes_through_a_narrow_cable() {
    let Some(network) = Network::bare(1) else { return };
    // Longer than a host may say nothing.
    let (takes, options) = (Duration::from_secs(5), options(&network));
    let options = Options { idle: Duration::from_mins(1), ..options };
    network.take_program(0);
    let size = slim_program().metadata().unwrap().len();
    let narrow = Cable { bytes_per_second: size / takes.as_secs(), ..Cable::long(FAR) };
    network.cable(0, narrow);
    let began = Instant::now();
    let (asked, came) = ask(&network, &options, "web1", &request(Operation::Observe));
    came.unwrap();
    assert!(asked.copied() && asked.ended().is_some(), "{asked:?}");
    assert!(!asked.ways.iter().any(is_lost), "{:?}", asked.ways);
    assert!(began.elapsed() > takes, "the cable is not narrow: {:?}", began.elapsed());
    println!("{size} bytes at {} bytes/s: {:?}", narrow.bytes_per_second, began.elapsed());
    network.cable(0, Cable::default());
    network.stop_sshd(0);
}
