//! Hosts as people have them: systemd, logind, supervisord, an sshd with PAM, workers of two managers, and a user who may do
//! by sudo what `trueup sudoers` prints, and nothing else.

use std::thread;

use jiff::Timestamp;
use serde_json::Value;

use crate::shop::{
    MANIFEST, PATIENCE, ROOT, SOON, WORKER, furnish, hold, let_go, passes, reconcile, reconciling, runners_and_fronts,
    switches, wait_until_held, want_of,
};
use crate::support::fixtures::Program;
use crate::support::network::Network;
use crate::support::passes::Listing;
use crate::support::{Host, Unit};

/// A group of each manager.
const GROUPS: [(&str, &str); 2] =
    [("queue", "supervisord: {group: shop-queue}"), ("mail", "systemd: {unit: shop-mail@}")];
/// The services that the workers run in, as their control groups tell.
const SERVICES: [&str; 4] = ["shop-mail@1.service", "shop-mail@2.service", "supervisor.service", "supervisor.service"];
/// A wave for all.
const AT_ONCE: &str = "canary: 0, batch: 100%, healthyFor: 0s";
/// The first one, then the others.
const IN_TURN: &str = "canary: 1, batch: 100%, healthyFor: 1s";

fn want(network: &Network, release: &str, rollout: &str) {
    want_of(network, release, rollout, "verify: [{run: 'true'}]", &GROUPS);
}

/// Shops in r1 that have these releases, too; all of it was brought about over SSH.
fn open_shops(count: usize, releases: &[&str]) -> Option<Network> {
    let network = Network::booted(count, &[Unit::Supervisor, Unit::Logind])?;
    furnish(&network, &[&["r1"], releases].concat());
    want(&network, "r1", AT_ONCE);
    let manifest = network.control.read(MANIFEST);
    thread::scope(|scope| {
        for host in network.hosts() {
            scope.spawn(|| employ(host, &manifest));
        }
    });
    let first = reconcile(&network, &[]);
    assert_eq!(first.code, 0, "{first}");
    network.hosts().iter().for_each(|host| is_whole(host, "r1"));
    Some(network)
}

/// Says how workers are started there, which is left to `deploy`, with exactly the rights that it needs for that.
fn employ(host: &Host, manifest: &str) {
    let program = Program::new(host, "shop-queue", &format!("{ROOT}/current/worker")).numprocs(2);
    program.directory(&format!("{ROOT}/current")).user("deploy").set("autostart", "false").install();
    host.run(&["supervisorctl", "update"]).ok();
    let unit = format!(
        "[Service]\nUser=deploy\nWorkingDirectory={ROOT}/current\nExecStart={ROOT}/current/worker\nRestart=always\n\n\
         [Install]\nWantedBy=multi-user.target\n"
    );
    host.write("/etc/systemd/system/shop-mail@.service", &unit);
    host.run(&["systemctl", "daemon-reload"]).ok();
    host.write(MANIFEST, manifest);
    let rules = host.run(&["trueup", "sudoers", "--user", "deploy", MANIFEST]);
    host.write("/etc/sudoers.d/trueup", rules.ok());
    host.sh("chmod 440 /etc/sudoers.d/trueup; visudo -c").ok();
}

/// Where a process runs, as its control group tells: the last part of that is a unit.
fn unit_of(host: &Host, pid: u32) -> String {
    let groups = host.run(&["cat", &format!("/proc/{pid}/cgroup")]).stdout;
    let unified = groups.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or_default();
    unified.rsplit('/').next().unwrap_or_default().to_owned()
}

/// What `current` leads to, and each worker's service and release; from /proc alone.
fn at_work(host: &Host) -> (String, Vec<(String, String)>) {
    let release = |link: &str| {
        let to = host.read_link(link).unwrap_or_default();
        to.rsplit('/').next().unwrap_or_default().to_owned()
    };
    let worker = |pid: u32| (unit_of(host, pid), release(&format!("/proc/{pid}/cwd")));
    let mut workers: Vec<_> = host.pids_of(WORKER).into_iter().map(worker).collect();
    workers.sort_unstable();
    (release(&format!("{ROOT}/current")), workers)
}

/// What that tells where `current` leads to the one release and all workers run the other.
fn all_in(current: &str, workers: &str) -> (String, Vec<(String, String)>) {
    (current.to_owned(), SERVICES.map(|service| (service.to_owned(), workers.to_owned())).to_vec())
}

#[track_caller]
fn is_whole(host: &Host, release: &str) {
    // For systemd a worker is there before it has become it.
    host.wait_until(release, SOON, || at_work(host) == all_in(release, release));
}

/// What a run that changes nothing leaves as it is.
fn state(host: &Host) -> (Listing, Vec<u32>) {
    (Listing::of(host, &[ROOT]), host.pids_of(WORKER))
}

#[track_caller]
fn is_untouched(host: &Host, before: &(Listing, Vec<u32>)) {
    assert_eq!(before.0.changes(&Listing::of(host, &[ROOT])), Vec::<String>::new(), "{}", host.name());
    assert_eq!(host.pids_of(WORKER), before.1, "{}", host.name());
}

/// When the only pass that moved `current` to that release began and ended, by the host's own journal.
#[track_caller]
fn span(host: &Host, release: &str) -> (Timestamp, Timestamp) {
    let passes = switches(host, release);
    assert_eq!(passes.len(), 1, "{}: {passes:?}", host.name());
    let journal = host.read(&format!("{ROOT}/.trueup/journal.jsonl"));
    let lines = journal.lines().map(|line| serde_json::from_str::<Value>(line).expect("the journal is JSON"));
    let of_pass = lines.filter(|line| line["pass"].as_str().is_some_and(|pass| passes.contains(pass)));
    let mut times: Vec<Timestamp> =
        of_pass.map(|line| line["at"].as_str().expect("a time").parse().expect("a time")).collect();
    times.sort_unstable();
    (times[0], times[times.len() - 1])
}

/// Nobody has wanted more by sudo than the rules allow.
#[track_caller]
fn was_never_refused(host: &Host) {
    host.run(&["journalctl", "--sync"]).ok();
    let log = host.run(&["journalctl", "--no-pager", "--output=cat", "SYSLOG_IDENTIFIER=sudo"]).stdout;
    assert!(log.contains("COMMAND=/usr/bin/supervisorctl") && log.contains("COMMAND=/usr/bin/systemctl"), "{log}");
    assert!(!log.contains("not allowed") && !log.contains("password is required"), "{}: {log}", host.name());
}

#[test]
fn on_hosts_with_systemd_the_canary_goes_first_and_a_release_that_fails_on_it_goes_no_further() {
    let Some(network) = open_shops(3, &["r2", "bad"]) else { return };
    want(&network, "r2", IN_TURN);
    let rolled = reconcile(&network, &[]);
    assert_eq!(rolled.code, 0, "{rolled}");
    for host in network.hosts() {
        is_whole(host, "r2");
    }
    let (_, canary) = span(network.host(0), "r2");
    for host in &network.hosts()[1..] {
        assert!(canary < span(host, "r2").0, "{} waits for the canary: {rolled}", host.name());
    }

    let before: Vec<_> = network.hosts().iter().map(state).collect();
    let again = reconcile(&network, &[]);
    assert_eq!(again.code, 0, "{again}");
    assert!(again.stdout.contains("nothing to do on 3 hosts"), "{again}");
    for (host, before) in network.hosts().iter().zip(&before) {
        is_untouched(host, before);
    }

    want(&network, "bad", IN_TURN);
    let failed = reconcile(&network, &[]);
    assert_eq!(failed.code, 3, "{failed}");
    assert!(failed.stdout.contains("stopped") && failed.stdout.contains("2 not touched"), "{failed}");
    assert_eq!(switches(network.host(0), "bad").len(), 1, "it was tried: {failed}");
    is_whole(network.host(0), "r2");
    for (host, before) in network.hosts().iter().zip(&before).skip(1) {
        is_untouched(host, before);
        is_whole(host, "r2");
    }
    network.hosts().iter().for_each(was_never_refused);
}

/// Waits until the host stands still in the middle of its switch from r1, and tells whose pass that is.
#[track_caller]
fn held_in_its_switch(host: &Host, release: &str) -> u32 {
    wait_until_held(host);
    assert_eq!(at_work(host), all_in(release, "r1"));
    let (runners, _) = runners_and_fronts(host);
    let [runner] = runners[..] else { panic!("{runners:?}") };
    runner
}

/// The number of the login that a process belongs to.
#[track_caller]
fn session_of(host: &Host, pid: u32) -> String {
    let unit = unit_of(host, pid);
    let number = unit.strip_prefix("session-").and_then(|rest| rest.strip_suffix(".scope"));
    number.unwrap_or_else(|| panic!("{}: process {pid} is in `{unit}`", host.name())).to_owned()
}

/// Waits until a login is over, with somebody left in it.
#[track_caller]
fn wait_until_closing(host: &Host, session: &str) {
    let state = || host.run(&["loginctl", "show-session", session, "--property=State", "--value"]).stdout;
    host.wait_until("the end of the login", SOON, || state().trim() == "closing");
}

/// Ends the host's logins, as an sshd does that has asked in vain whether anybody is there.
fn log_out(network: &Network, index: usize) {
    network.stop_sshd(index);
    network.start_sshd(index);
    let host = network.host(index);
    host.wait_until("the end of who talked", SOON, || runners_and_fronts(host).1.is_empty());
}

#[test]
fn a_link_cut_in_the_middle_of_a_switch_under_systemd_ends_the_login_and_not_the_pass() {
    let Some(network) = open_shops(2, &["r2"]) else { return };
    let web1 = network.host(0);
    want(&network, "r2", IN_TURN);
    let before = passes(web1);
    hold(web1);
    let mut rolling = reconciling(&network, &[]);
    let runner = held_in_its_switch(web1, "r2");
    let session = session_of(web1, runner);

    network.cut(0);
    log_out(&network, 0);
    wait_until_closing(web1, &session);
    // Here that is found out by nobody's answering.
    network.control.wait_until("the loss to be told", SOON, || rolling.stderr().contains("web1  lost: "));
    assert_eq!(at_work(web1), all_in("r2", "r1"));
    network.heal(0);
    web1.wait_until("another one who talks", SOON, || !runners_and_fronts(web1).1.is_empty());
    web1.wait_until("the one runner", SOON, || runners_and_fronts(web1).0 == [runner]);
    let_go(web1);
    let done = rolling.wait(PATIENCE);
    assert_eq!(done.code, 0, "{done}");
    assert_eq!(passes(web1), before + 1, "{done}");
    for host in network.hosts() {
        is_whole(host, "r2");
        assert_eq!(switches(host, "r2").len(), 1, "{}: {done}", host.name());
        was_never_refused(host);
    }
}

#[test]
fn where_logind_kills_at_logout_the_host_goes_back_and_who_is_excluded_goes_on() {
    let Some(network) = open_shops(1, &["r2", "r3"]) else { return };
    let web1 = network.host(0);
    let logind = |lines: &str| {
        web1.write("/etc/systemd/logind.conf.d/rig.conf", &format!("[Login]\nKillUserProcesses=yes\n{lines}\n"));
        web1.run(&["systemctl", "restart", Unit::Logind.name()]).ok();
    };
    logind("");
    want(&network, "r2", AT_ONCE);
    hold(web1);
    let mut rolling = reconciling(&network, &[]);
    let runner = held_in_its_switch(web1, "r2");
    log_out(&network, 0);
    web1.wait_until("the end of the runner", SOON, || !web1.is_alive(runner));
    let_go(web1);
    let done = rolling.wait(PATIENCE);
    assert_eq!(done.code, 3, "{done}");
    assert!(done.stdout.contains("taken back"), "{done}");
    is_whole(web1, "r1");
    let journal = web1.read(&format!("{ROOT}/.trueup/journal.jsonl"));
    assert!(!journal.contains(r#""by":"gate""#), "that its hook was killed is not the release's fault: {journal}");

    logind("KillExcludeUsers=root deploy");
    want(&network, "r3", AT_ONCE);
    let before = passes(web1);
    hold(web1);
    let mut rolling = reconciling(&network, &[]);
    let runner = held_in_its_switch(web1, "r3");
    let session = session_of(web1, runner);
    log_out(&network, 0);
    wait_until_closing(web1, &session);
    web1.wait_until("another one who talks", SOON, || !runners_and_fronts(web1).1.is_empty());
    web1.wait_until("the one runner", SOON, || runners_and_fronts(web1).0 == [runner]);
    assert_eq!(at_work(web1), all_in("r3", "r1"));
    let_go(web1);
    let done = rolling.wait(PATIENCE);
    assert_eq!((done.code, passes(web1)), (0, before + 1), "{done}");
    is_whole(web1, "r3");
}
