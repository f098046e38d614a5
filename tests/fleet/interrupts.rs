//! Ctrl-C, once and twice, and a terminal that goes away.

use serde_json::{Value, json};

use crate::shop::{
    FINISHING, MANIFEST, ROOT, SOON, WORKER, hold, is_whole, let_go, open_shops, put, reconcile, reconciling,
    runners_and_fronts, runs, switches, wait_until_alone, wait_until_held, want,
};
use crate::support::Host;
use crate::support::passes::Listing;
use crate::terminal::{CTRL_C, Terminal};

/// The manifest of the other App.
const LATER: &str = "/etc/fleet/blog.yaml";
/// That of an App of the control host itself.
const OWN: &str = "/etc/fleet/own.yaml";

/// The processes that hold the connections of the control host.
fn masters(control: &Host) -> Vec<u32> {
    control.pids_of("ssh -f -N ")
}

/// Ends them, so that new ones are made by who comes next.
fn hang_up(control: &Host) {
    control.sh("pkill -x ssh").ok();
    control.wait_until("the end of all connections", SOON, || masters(control).is_empty());
}

#[test]
fn after_a_signal_hosts_at_work_finish_and_no_others_are_begun() {
    let Some(network) = open_shops(2) else { return };
    let (canary, other) = (network.host(0), network.host(1));
    // An App whose turn does not come.
    let text = network.control.read(MANIFEST).replace("name: shop", "name: blog").replace(ROOT, "/srv/blog");
    network.control.write(LATER, &text);
    let json = [LATER, "--log-format", "json"];
    for (from, to, signal, more) in [("r1", "r2", "INT", &json[..1]), ("r2", "r1", "TERM", &json[..])] {
        want(&network, to, "canary: 1, batch: 100%, healthyFor: 1s");
        let before = (Listing::of(other, &[ROOT]), other.pids_of(WORKER), switches(other, to));
        hold(canary);
        let mut rolling = reconciling(&network, more);
        wait_until_held(canary);
        rolling.signal(signal);
        network.control.wait_until("the word of the end", SOON, || rolling.stderr().contains(FINISHING));
        assert!(rolling.is_running(), "{}", rolling.stderr());
        if more.len() == 1 {
            let goes_on = |line: &str| line.starts_with("web1  ") && line.contains(" goes on, ");
            let told = || rolling.stderr().lines().any(goes_on);
            network.control.wait_until("a word of what is waited for", SOON, told);
        }
        let_go(canary);
        let done = rolling.wait(SOON);
        assert_eq!(done.code, 1, "{done}");
        let left = "blog  r1  interrupted, 2 hosts not looked at";
        for words in ["interrupted", "1 of 2 hosts changed in 1 wave", "1 not touched", left] {
            assert!(done.stdout.contains(words), "{words}: {done}");
        }
        if more.len() > 1 {
            let line = |line| serde_json::from_str(line).unwrap_or_else(|_| panic!("it tears the log: {line}: {done}"));
            let told: Vec<Value> = done.stderr.lines().map(line).collect();
            let of = |kind: &str| told.iter().filter(|line| line["type"] == kind).collect::<Vec<_>>();
            assert_eq!(of("wave")[0]["hosts"], json!(["web1"]), "{done}");
            assert_eq!((of("stopping").len(), of("ended").len()), (1, 1), "{done}");
            let verdicts = json!([{"host": "web1", "verdict": "changed"}, {"host": "web2", "verdict": "notTouched"}]);
            assert_eq!((&of("ended")[0]["outcome"], &of("ended")[0]["hosts"]), (&json!("interrupted"), &verdicts));
        }
        is_whole(canary, to);
        is_whole(other, from);
        assert_eq!(before.0.changes(&Listing::of(other, &[ROOT])), Vec::<String>::new());
        assert_eq!(other.pids_of(WORKER), before.1);
        let rest = reconcile(&network, &[]);
        assert_eq!(rest.code, 0, "{rest}");
        is_whole(other, to);
        assert_eq!(switches(other, to).len(), before.2.len() + 1);
    }
}

#[test]
fn after_a_signal_in_this_hosts_own_pass_no_other_host_is_looked_at() {
    let Some(network) = open_shops(1) else { return };
    let (control, web1) = (&network.control, network.host(0));
    put(control, "/srv/own/releases/r1", "r1");
    control.add_user("deploy");
    control.run(&["chown", "-R", "deploy:", "/srv/own"]).ok();
    let text = "apiVersion: trueup/v1\nkind: App\nmetadata: {name: own}\nspec:\n  root: /srv/own\n  \
        release: {id: r1, hooks: {afterSwitch: [{run: ./gate}]}}\n  \
        workers: [{name: q, count: 1, rollout: {minHealthy: 0s}, manager: {builtin: {run: ./worker}}}]\n";
    control.write(OWN, text);
    want(&network, "r2", "canary: 1, batch: 100%, healthyFor: 0s");
    hold(control);
    let mut passing = control.spawn(&["env", "--default-signal=INT,TERM", "trueup", "reconcile", OWN, MANIFEST]);
    wait_until_held(control);
    passing.signal("INT");
    control.wait_until("the word of the end", SOON, || passing.stderr().contains("finishing the step in hand"));
    let_go(control);
    let done = passing.wait(SOON);
    assert_eq!(done.code, 1, "{done}");
    assert!(done.stdout.contains("shop  r2  interrupted, 1 host not looked at"), "{done}");
    assert!(done.stdout.contains("own  r1  interrupted"), "{done}");
    is_whole(web1, "r1");
    assert_eq!(switches(web1, "r2").len(), 0);
    // What was left is done by the next one.
    let rest = control.run(&["trueup", "reconcile", OWN, MANIFEST]);
    assert_eq!(rest.code, 0, "{rest}");
    is_whole(web1, "r2");
}

#[test]
fn a_second_ctrl_c_leaves_the_hosts_to_finish_by_themselves() {
    let Some(network) = open_shops(3) else { return };
    want(&network, "r2", "canary: 0, batch: 100%, healthyFor: 0s");
    hang_up(&network.control);
    network.hosts().iter().for_each(hold);
    let mut rolling = Terminal::run(&network.control, (100, 30), &["trueup", "reconcile", MANIFEST]);
    network.hosts().iter().for_each(wait_until_held);
    let connections = masters(&network.control);
    assert_eq!(connections.len(), 3, "{connections:?}");

    // To all in front of the terminal: a connection that died with it would take the news of its host along.
    rolling.press(CTRL_C);
    let seen = rolling.wait_for(&[FINISHING, "ends after these; press again to leave"], SOON);
    assert_eq!(seen.contents().matches("shop  r2").count(), 1, "{}", seen.contents());
    // One of them goes on and is heard to its end, while the others are waited for.
    let_go(network.host(0));
    rolling.wait_for(&["web1  converged", "1 of 3 done"], SOON);
    assert!(rolling.is_running());
    assert_eq!(masters(&network.control), connections);
    is_whole(network.host(0), "r2");

    rolling.press(CTRL_C);
    let (code, seen) = rolling.wait(SOON);
    assert_eq!(code, 130, "{}", seen.contents());
    for words in [
        "interrupted after",
        "1 of 3 hosts changed in 1 wave",
        "web1  r2       converged",
        "web2  unknown  lost",
        "web2: left in the middle of its pass, which it ends by itself",
        "also: on web3",
    ] {
        assert!(seen.contents().contains(words), "{words}: {}", seen.contents());
    }
    assert!(!seen.hide_cursor() && seen.cursor_position().1 == 0, "{}", seen.contents());
    for host in &network.hosts()[1..] {
        host.wait_until("the end of the one who talked", SOON, || runners_and_fronts(host).1.is_empty());
        assert_eq!(runners_and_fronts(host).0.len(), 1, "{}", host.name());
        assert_eq!(runs(host), ("r2".to_owned(), vec!["r1".to_owned(); 2]), "{}", host.name());
        let_go(host);
        wait_until_alone(host);
        is_whole(host, "r2");
    }
    let again = reconcile(&network, &[]);
    assert_eq!(again.code, 0, "{again}");
    assert!(again.stdout.contains("nothing to do on 3 hosts"), "{again}");
    for host in network.hosts() {
        assert_eq!(switches(host, "r2").len(), 1, "{}", host.name());
    }
}

#[test]
fn a_look_ends_at_the_first_ctrl_c() {
    let Some(network) = open_shops(1) else { return };
    hang_up(&network.control);
    network.cut(0);
    let mut looking = Terminal::run(&network.control, (60, 12), &["trueup", "status", MANIFEST]);
    looking.wait_for(&["web1  connecting", "Ctrl-C stops"], SOON);
    network.control.wait_until("somebody who knocks", SOON, || !masters(&network.control).is_empty());
    looking.press(CTRL_C);
    let (code, seen) = looking.wait(SOON);
    assert_eq!(code, 1, "{}", seen.contents());
    assert!(seen.contents().contains("stopped; the others are not looked at"), "{}", seen.contents());
    network.control.wait_until("the end of who knocked", SOON, || masters(&network.control).is_empty());
}

#[test]
fn when_the_terminal_goes_hosts_at_work_are_heard_to_their_end_and_no_others_are_begun() {
    let Some(network) = open_shops(2) else { return };
    let (control, canary, other) = (&network.control, network.host(0), network.host(1));
    want(&network, "r2", "canary: 1, batch: 100%, healthyFor: 0s");
    hold(canary);
    // What it has come to is written down somewhere else than on the terminal, of which nothing is left.
    let trueup = format!("exec env --default-signal=HUP trueup reconcile {MANIFEST} >/tmp/came");
    let command = format!("echo $$ >/tmp/pid; {trueup}");
    let mut rolling = Terminal::run(control, (100, 30), &["sh", "-c", &command]);
    wait_until_held(canary);
    rolling.wait_for(&["web1  changing"], SOON);
    let pid: u32 = control.read("/tmp/pid").trim().parse().unwrap();
    rolling.vanish();
    // Shells pass on what the kernel has sent, and that is no second wish.
    for _ in 0..3 {
        control.run(&["kill", "-s", "HUP", &pid.to_string()]).ok();
    }
    let_go(canary);
    control.wait_until("the end of the rollout", SOON, || !control.is_alive(pid));
    let came = control.read("/tmp/came");
    for words in ["interrupted after", "1 of 2 hosts changed in 1 wave", "1 not touched"] {
        assert!(came.contains(words), "{words}: {came}");
    }
    is_whole(canary, "r2");
    is_whole(other, "r1");
}

#[test]
fn who_is_told_to_ignore_hang_ups_goes_on() {
    let Some(network) = open_shops(2) else { return };
    want(&network, "r2", "canary: 1, batch: 100%, healthyFor: 0s");
    hold(network.host(0));
    let mut rolling = network.control.spawn(&["env", "--ignore-signal=HUP", "trueup", "reconcile", MANIFEST]);
    wait_until_held(network.host(0));
    rolling.signal("HUP");
    let_go(network.host(0));
    let done = rolling.wait(SOON);
    assert_eq!(done.code, 0, "{done}");
    network.hosts().iter().for_each(|host| is_whole(host, "r2"));
}
