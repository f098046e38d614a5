//! What the words for Apps with hosts do: whom a run is about, whom it trusts, how many hosts are asked at a time, and
//! for how long.

use std::time::{Duration, Instant};

use crate::shop::{
    MANIFEST, ROOT, SOON, WORKER, furnish, hold, is_whole, let_go, open_shops, reconcile, reconciling, wait_until_held,
    want,
};
use crate::support::network::{Network, address};
use crate::support::passes::Listing;
use crate::support::{Host, Output};

/// When questions came and went, in nanoseconds, one on each line.
const TURNS: &str = "/tmp/turns";
/// While this is there, a question is not answered.
const UNANSWERED: &str = "/tmp/unanswered";

/// What the control host knows of others.
const KNOWN: &str = "/root/.ssh/known_hosts";

/// What a run that leaves a host alone leaves as it is: also nobody has logged in.
fn state(host: &Host) -> (Listing, Vec<u32>, String) {
    let logins = host.sh("grep -c 'Accepted publickey' /var/log/rig-sshd.log || :");
    (Listing::of(host, &[ROOT]), host.pids_of(WORKER), logins.ok().to_owned())
}

#[track_caller]
fn is_untouched(host: &Host, before: &(Listing, Vec<u32>, String)) {
    let now = state(host);
    assert_eq!(before.0.changes(&now.0), Vec::<String>::new(), "{}", host.name());
    assert_eq!((&now.1, &now.2), (&before.1, &before.2), "{}", host.name());
}

fn status(network: &Network, more: &[&str]) -> Output {
    network.control.run(&[&["trueup", "status", MANIFEST], more].concat())
}

#[test]
fn a_rollout_is_about_the_hosts_that_fit_and_speaks_to_those_whose_keys_are_known() {
    let Some(network) = Network::bare(3) else { return };
    let control = &network.control;
    furnish(&network, &["r1", "r2"]);
    let at_once = "canary: 0, batch: 100%, healthyFor: 0s";
    let label = |release| {
        want(&network, release, at_once);
        let labelled = [("web1", "a", "db"), ("web2", "a", "web"), ("web3", "b", "web")];
        let text = labelled.iter().fold(control.read(MANIFEST), |text, (name, zone, role)| {
            text.replace(
                &format!("{{name: {name}}}"),
                &format!("{{name: {name}, labels: {{zone: {zone}, role: {role}}}}}"),
            )
        });
        control.write(MANIFEST, &text);
    };
    label("r1");

    // Nobody is known yet.
    network.know("");
    let refused = reconcile(&network, &[]);
    assert_eq!(refused.code, 1, "{refused}");
    assert!(refused.stdout.contains("not begun") && refused.stdout.contains("--accept-new"), "{refused}");
    assert_eq!(control.read(KNOWN), "", "{refused}");
    // What is wrong on all three is told once, and meanwhile of the others by whose it is.
    let told = |text: &str| text.matches("the host key of `").count();
    assert_eq!((told(&refused.stdout), told(&refused.stderr)), (1, 1), "{refused}");
    assert!(refused.stdout.contains("\n   also: on web2, web3\n"), "{refused}");
    assert_eq!(refused.stderr.matches("  not reached: as on web").count(), 2, "{refused}");
    let trusted = reconcile(&network, &["--accept-new"]);
    assert_eq!(trusted.code, 0, "{trusted}");
    network.hosts().iter().for_each(|host| is_whole(host, "r1"));
    assert_eq!(control.read(KNOWN).lines().count(), 3, "{trusted}");
    let known = reconcile(&network, &[]);
    assert_eq!((known.code, known.stdout.contains("nothing to do on 3 hosts")), (0, true), "{known}");

    // Those that fit all limits, and no others.
    label("r2");
    let before: Vec<_> = network.hosts().iter().map(state).collect();
    let limited = reconcile(&network, &["--limit", "zone=a", "--limit", "role=web"]);
    assert_eq!(limited.code, 0, "{limited}");
    for (index, release) in ["r1", "r2", "r1"].into_iter().enumerate() {
        is_whole(network.host(index), release);
        if release == "r1" {
            is_untouched(network.host(index), &before[index]);
        }
    }
    let listed = status(&network, &["--limit", "role=web"]);
    let names = ["web1", "web2", "web3"].map(|name| listed.stdout.contains(name));
    assert_eq!(names, [false, true, true], "{listed}");
    let nobody = reconcile(&network, &["--limit", "zone=c"]);
    assert!(nobody.code != 0 && nobody.stderr.contains("no host fits `zone=c`"), "{nobody}");
}

#[test]
fn a_host_whose_key_has_changed_keeps_a_rollout_from_beginning() {
    let Some(network) = open_shops(3) else { return };
    want(&network, "r2", "canary: 1, batch: 100%, healthyFor: 0s");
    network.change_host_key(1);
    let before: Vec<_> = network.hosts().iter().map(state).collect();
    for more in [&[][..], &["--accept-new"]] {
        let refused = reconcile(&network, more);
        assert_eq!(refused.code, 1, "{refused}");
        let place = format!("error: web2: the host key of `web2` is not the one of {KNOWN}:2");
        let remove = format!("`ssh-keygen -R {}`", address(1));
        for words in ["not begun", &place, &remove] {
            assert!(refused.stdout.contains(words), "{words}: {refused}");
        }
        for (host, (files, workers, _)) in network.hosts().iter().zip(&before) {
            is_whole(host, "r1");
            assert_eq!(files.changes(&Listing::of(host, &[ROOT])), Vec::<String>::new(), "{}", host.name());
            assert_eq!(host.pids_of(WORKER), *workers, "{}", host.name());
        }
    }
    assert_eq!(state(network.host(1)).2, before[1].2, "nobody has logged in there");
    network.trust_all();
    let rolled = reconcile(&network, &[]);
    assert_eq!(rolled.code, 0, "{rolled}");
    network.hosts().iter().for_each(|host| is_whole(host, "r2"));
}

/// The most hosts that were asked at a time.
fn most_at_a_time(network: &Network) -> i32 {
    let mut steps = Vec::new();
    for host in network.hosts() {
        let text = host.read(TURNS);
        let times = text.lines().map(|line| line.parse::<u128>().expect("a time"));
        steps.extend(times.zip([1, -1].into_iter().cycle()));
        host.run(&["rm", TURNS]).ok();
    }
    // One that ends as another one begins has ended.
    steps.sort_unstable();
    let mut now = 0;
    let after = |(_, step): &(u128, i32)| {
        now += step;
        now
    };
    steps.iter().map(after).max().unwrap_or_default()
}

#[test]
fn so_many_hosts_are_asked_at_a_time_and_waited_for_so_long() {
    let Some(network) = open_shops(3) else { return };
    // It has ended before its answer is there, and takes long enough that two at a time would be seen.
    let script = format!(
        "[ \"$*\" != far ] || {{ date +%s%N >>{TURNS}; sleep 1; while [ -e {UNANSWERED} ]; do sleep 0.1; done; \
         date +%s%N >>{TURNS}; }}"
    );
    for (index, host) in network.hosts().iter().enumerate() {
        network.stand_in(index, &script);
        host.write(UNANSWERED, "");
    }
    let mut asking = network.control.spawn(&["trueup", "status", MANIFEST, "--forks", "3"]);
    for host in network.hosts() {
        host.wait_until("the question", SOON, || host.exists(TURNS));
    }
    for host in network.hosts() {
        host.run(&["rm", UNANSWERED]).ok();
    }
    let asked = asking.wait(SOON);
    assert_eq!((asked.code, most_at_a_time(&network)), (0, 3), "{asked}");
    for (forks, most) in [("1", 1), ("2", 2)] {
        let asked = status(&network, &["--forks", forks]);
        assert_eq!(asked.code, 0, "{asked}");
        let found = most_at_a_time(&network);
        assert!(found <= most, "{found} at a time with --forks {forks}: {asked}");
    }
    // Passes, too: the one that stands still has the only turn.
    want(&network, "r2", "canary: 0, batch: 100%, healthyFor: 0s");
    network.hosts().iter().for_each(hold);
    let mut rolling = reconciling(&network, &["--forks", "1"]);
    for host in network.hosts() {
        wait_until_held(host);
        let_go(host);
    }
    let rolled = rolling.wait(SOON);
    assert_eq!((rolled.code, most_at_a_time(&network)), (0, 1), "{rolled}");
    network.hosts().iter().for_each(|host| is_whole(host, "r2"));

    // Less than the ten seconds that it is by default.
    network.stop_sshd(0);
    network.start_sshd(0);
    network.control.wait_until("the end of its connection", SOON, || network.control.pids_of("-- web1").is_empty());
    network.cut(0);
    // A busy machine may be late, but not always.
    let mut tries = (0..10).map(|_| {
        let began = Instant::now();
        let deaf = status(&network, &["--connect-timeout", "1s"]);
        assert!(deaf.code == 1 && deaf.stdout.contains("`web1` does not answer"), "{deaf}");
        began.elapsed()
    });
    assert!(tries.any(|took| took < Duration::from_secs(9)), "it is asked for longer");
    network.heal(0);
}
