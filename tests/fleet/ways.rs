//! Ways to a host that are not the straight one.

use std::fmt::Write as _;

use crate::shop::{
    MANIFEST, SOON, hold, is_whole, let_go, open_shops, reconcile, switches, wait_until_alone, wait_until_held, want,
};
use crate::support::network::slim_program;
use crate::terminal::{CTRL_C, Terminal};

/// Where web2 is reached from web1 alone.
const BEHIND: &str = "10.88.0.2";

#[test]
fn a_host_behind_another_one_is_reached_over_one_connection() {
    let Some(network) = open_shops(2) else { return };
    let (jump, behind) = (network.host(0), network.host(1));
    jump.connect("10.88.0.1", behind, BEHIND);
    network.cut(1);
    let mut known = network.control.read("/root/.ssh/known_hosts");
    let key = known.lines().nth(1).and_then(|line| line.split_once(' ')).expect("its key").1.to_owned();
    let _ = writeln!(known, "{BEHIND} {key}");
    network.know(&known);
    let config = network.control.read("/root/.ssh/config");
    let own = format!("Host web2\n HostName {BEHIND}\n ProxyJump web1\n");
    network.control.write("/root/.ssh/config", &(own + &config));
    let logins = || [jump, behind].map(|host| host.read("/var/log/rig-sshd.log").matches("Accepted publickey").count());
    let before = logins();

    // Two at once, so that web1 is a host and a way at the same time; and Ctrl-C is not for the way either.
    want(&network, "r2", "canary: 0, batch: 100%, healthyFor: 0s");
    hold(behind);
    let mut rolling = Terminal::run(&network.control, (100, 30), &["trueup", "reconcile", MANIFEST]);
    wait_until_held(behind);
    rolling.press(CTRL_C);
    rolling.wait_for(&["press again"], SOON);
    let_go(behind);
    let (code, seen) = rolling.wait(SOON);
    assert_eq!(code, 0, "{}", seen.contents());
    assert!(!seen.contents().contains("lost"), "{}", seen.contents());
    let again = reconcile(&network, &[]);
    assert_eq!(again.code, 0, "{again}");
    for host in network.hosts() {
        is_whole(host, "r2");
        assert_eq!(switches(host, "r2").len(), 1, "{}", host.name());
    }
    // Of all the questions of both runs: one login to each host, and one to web1 as the way to web2.
    let made: Vec<usize> = logins().into_iter().zip(before).map(|(after, before)| after - before).collect();
    assert_eq!(made, [2, 1]);
}

#[test]
fn two_who_bring_the_program_at_once_leave_one_that_is_whole() {
    let Some(network) = open_shops(1) else { return };
    let (control, host) = (&network.control, network.host(0));
    wait_until_alone(host);
    network.take_program(0);
    // By another process: a child that a neighbouring test starts meanwhile would have our file open for writing.
    let own = control.root_path().join("opt/trueup");
    let copied = std::process::Command::new("cp").arg(slim_program()).arg(&own).status();
    assert!(copied.expect("cp is there").success());
    // Whoever has all of it waits until another one has, too.
    let script = "#!/bin/sh\n>/tmp/came.$$\nuntil [ $(ls /tmp/came.* | wc -l) -ge 2 ]; do sleep 0.05; done\n";
    host.write("/usr/local/bin/sync", script);
    host.run(&["chmod", "755", "/usr/local/bin/sync"]).ok();
    control.sh("mkdir -m 700 /run/one /run/two").ok();
    let status = |runtime: &str| control.spawn(&["env", runtime, "/opt/trueup", "status", MANIFEST]);
    let both = ["XDG_RUNTIME_DIR=/run/one", "XDG_RUNTIME_DIR=/run/two"].map(status);
    for mut one in both {
        let done = one.wait(SOON);
        assert_eq!(done.code, 0, "{done}");
        assert!(done.stderr.contains("web1  copying trueup"), "{done}");
        assert!(done.stdout.contains("ready"), "{done}");
    }
    assert_eq!(host.sh("ls /tmp/came.* | wc -l").ok(), "2");
    let kept = host.sh("cd /home/deploy/.cache/trueup/bin; ls -A; sha256sum * | cut -d ' ' -f 1").ok().to_owned();
    let lines: Vec<&str> = kept.lines().collect();
    assert!(matches!(lines[..], [name, digest] if name == digest), "{kept}");
    let done = status("XDG_RUNTIME_DIR=/run/one").wait(SOON);
    assert!(done.code == 0 && !done.stderr.contains("copying"), "{done}");
}
