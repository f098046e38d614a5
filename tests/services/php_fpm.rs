//! php-fpm as Debian ships it: children, their times, reloads that take their time, and the setting behind them.

use serde_json::{Value, json};

use super::support::fixtures::{self, Site, main_pid};
use super::support::{Unit, require_host};
use super::{FPM, FPM_CONFIG, SOON, Served, about, done, moment, refused, second_of_start, set_timeout, steady};

/// The same moment, as two processes read it off the clock: the kernel counts in 10 ms.
fn close(one: &Value, other: &Value) -> bool {
    matches!((one.as_i64(), other.as_i64()), (Some(one), Some(other)) if (one - other).abs() < 20)
}

#[test]
fn php_fpm_is_seen_with_its_children_and_their_times() {
    let host = require_host!("look", [Unit::PhpFpm]);
    steady(&host);
    let fpm = Served::unit(&host, FPM);
    let state = fpm.look();
    println!("looking at php-fpm took {} us: with connecting, and again", state["tookUs"]);
    assert_eq!((&state["up"], &state["detail"]), (&json!(true), &json!("active (running)")), "{state}");
    assert_eq!(state["canReload"], true);
    let main = main_pid(&host, FPM);
    let started = moment(&state, "started");
    assert!(about(started, second_of_start(&host, main)), "{state}");
    let below = fpm.children(FPM);
    assert_eq!(below.len(), 2, "{below:?}");
    assert!(moment(&state, "oldest") > started, "{state}");

    // The oldest child counts: not the one that took the place of another.
    host.run(&["kill", "-QUIT", &below[1].to_string()]).ok();
    host.wait_until("another child", SOON, || {
        let now = fpm.children(FPM);
        now.len() == 2 && now != below
    });
    let now = fpm.look();
    assert!(close(&now["oldest"], &state["oldest"]), "{now} {state}");

    // A normal user sees the same.
    host.add_user("deploy");
    let seen = fpm.by("deploy").look();
    for name in ["up", "started", "oldest", "renewed", "canReload", "warning"] {
        let (theirs, ours) = (&seen[name], &fpm.look()[name]);
        assert!(theirs == ours || close(theirs, ours), "{name}: {theirs} {ours}");
    }
}

#[test]
fn the_warning_names_the_setting_that_makes_a_reload_drop_requests() {
    let host = require_host!("warning", [Unit::PhpFpm, Unit::Nginx]);
    let fpm = Served::unit(&host, FPM);
    // As Debian ships it.
    let state = fpm.look();
    let warning = state["warning"].as_str().unwrap_or_else(|| panic!("{state}"));
    assert!(warning.contains("process_control_timeout = 10s") && warning.contains(FPM_CONFIG), "{warning}");
    set_timeout(&host, "10s");
    assert_eq!(fpm.look()["warning"], Value::Null);
    set_timeout(&host, "0");
    assert_eq!(fpm.look()["warning"], warning);
    // Set where the pools are.
    host.write("/etc/php/8.2/fpm/pool.d/zz.conf", "[global]\nprocess_control_timeout = 5\n");
    host.run(&["systemctl", "restart", FPM]).ok();
    assert_eq!(fpm.look()["warning"], Value::Null);
    assert_eq!(Served::unit(&host, "nginx.service").look()["warning"], Value::Null);
}

#[test]
fn a_reload_returns_when_all_children_are_new() {
    let host = require_host!("reload", [Unit::PhpFpm]);
    steady(&host);
    let fpm = Served::unit(&host, FPM);
    let (main, mut old) = (main_pid(&host, FPM), fpm.children(FPM));
    let before = fpm.look();
    for _ in 0..5 {
        let answer = fpm.renew("reload", &old);
        done(&answer);
        println!("a reload of php-fpm took {} ms", answer["tookMs"]);
        let new = fpm.children(FPM);
        assert!(!new.is_empty() && new.iter().all(|pid| !old.contains(pid)), "{old:?} {new:?}");
        old = new;
    }
    let after = fpm.look();
    assert!(main_pid(&host, FPM) == main && close(&after["started"], &before["started"]), "{before} {after}");
    assert!(moment(&after, "oldest") > moment(&before, "oldest"));
    assert!(moment(&after, "renewed") >= moment(&after, "oldest"));
}

/// A slow answer takes half a second; a long one five, and says by a file that it has begun. In many naps, since the
/// signal of a reload cuts the one short that it meets.
const SLOW: &str = "<?php if (isset($_GET['long'])) { touch('/tmp/begun-' . $_GET['long']); } \
    $naps = isset($_GET['long']) ? 100 : (isset($_GET['slow']) ? 10 : 0); \
    for ($i = 0; $i < $naps; $i++) { usleep(50000); } \
    echo basename(dirname(__DIR__)), ' \"release\"';";

/// Requests one after the other until it is told to stop, every third a slow one; prints each answer's code.
const LOAD: &str = r#"
    n=0
    while [ ! -e /run/enough ]; do
        n=$((n + 1))
        q=; [ $((n % 3)) = 0 ] && q='?slow'
        curl -s -o /dev/null -w '%{http_code}\n' "http://localhost/$q" || echo failed
    done
"#;

#[test]
fn a_reload_lets_requests_in_hand_be_finished() {
    let host = require_host!("inhand", [Unit::PhpFpm, Unit::Nginx]);
    let site = Site::new(&host, "/srv/app").release("r1").file("r1", "public/index.php", SLOW).current("r1");
    fixtures::serve(&host, &site);
    set_timeout(&host, "10s");
    let fpm = Served::unit(&host, FPM);

    let mut clients: Vec<_> = (0..4).map(|_| host.spawn(&["bash", "-c", LOAD])).collect();
    let mut waited = 0;
    for turn in 0..4 {
        let long = format!("http://localhost/?long={turn}");
        let mut begun = host.spawn(&["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", &long]);
        host.wait_until("the long request to be in hand", SOON, || host.exists(&format!("/tmp/begun-{turn}")));
        let old = fpm.children(FPM);
        let answer = fpm.renew("reload", &old);
        done(&answer);
        waited = waited.max(answer["tookMs"].as_u64().unwrap());
        assert_eq!(begun.wait(SOON).stdout, "200");
    }
    println!("the longest reload took {waited} ms");
    host.write("/run/enough", "");
    let codes: Vec<String> = clients
        .iter_mut()
        .flat_map(|client| client.wait(SOON).stdout.lines().map(str::to_owned).collect::<Vec<_>>())
        .collect();
    println!("{} requests", codes.len());
    assert!(codes.len() > 20, "{}", codes.len());
    assert!(codes.iter().all(|code| code == "200"), "{codes:?}");
    // It did wait for a long one.
    assert!(waited >= 200, "{waited}");
}

#[test]
fn children_that_do_not_go_are_named_when_the_time_is_over() {
    let host = require_host!("left", [Unit::PhpFpm, Unit::Nginx]);
    let slow = "<?php if (isset($_GET['slow'])) { touch('/tmp/begun'); } \
        for ($i = 0; $i < 600 && isset($_GET['slow']); $i++) { usleep(100000); } echo '\"release\"';";
    let site = Site::new(&host, "/srv/app").release("r1").file("r1", "public/index.php", slow).current("r1");
    fixtures::serve(&host, &site);
    set_timeout(&host, "30s");
    let fpm = Served::unit(&host, FPM);
    let mut busy = host.spawn(&["curl", "-s", "http://localhost/?slow"]);
    host.wait_until("the request to be in hand", SOON, || host.exists("/tmp/begun"));
    let answer = fpm.with("timeoutMs", json!(5_000)).renew("reload", &[]);
    refused(&answer, "TimedOut", &["5s after the reload of `php8.2-fpm.service`", "php-fpm: pool www", "timeout"]);
    assert!(answer["tookMs"].as_u64().unwrap() < 30_000, "{answer}");
    assert!(busy.is_running());
}

#[test]
fn a_reload_by_somebody_else_is_seen() {
    let host = require_host!("byhand", [Unit::PhpFpm, Unit::Nginx]);
    let fpm = Served::unit(&host, FPM);
    let now = || host.run(&["date", "+%s%3N"]).ok().parse::<i64>().unwrap();
    let first = fpm.look();
    assert!(moment(&first, "renewed") < now());
    // Nobody but its children tells when a reload is over: `systemctl` returns before that. The kernel counts in 10 ms.
    let over = |before: &Value| {
        let mut last = Value::Null;
        host.wait_until("the children to be new", SOON, || {
            last = fpm.look();
            moment(&last, "oldest") > moment(before, "oldest") + 20
        });
        last
    };
    let mut before = now();
    host.run(&["systemctl", "reload", FPM]).ok();
    let renewed = moment(&fpm.look(), "renewed");
    assert!((before..=now()).contains(&renewed), "{before} {renewed}");
    let second = over(&first);

    // Not through systemd: its children tell.
    host.run(&["pkill", "-USR2", "--pidfile", "/run/php/php8.2-fpm.pid"]).ok();
    let last = over(&second);
    assert!(moment(&last, "renewed") >= moment(&last, "oldest"), "{last}");

    // What is no reload does not count.
    host.run(&["systemctl", "daemon-reload"]).ok();
    let now_seen = fpm.look();
    assert!(close(&now_seen["renewed"], &last["renewed"]), "{now_seen} {last}");

    // A reload that changes no process: the pool starts its children on demand, and there is none.
    host.run(&["sed", "-i", "s/^pm = dynamic/pm = ondemand/", "/etc/php/8.2/fpm/pool.d/www.conf"]).ok();
    host.run(&["systemctl", "restart", FPM]).ok();
    let idle = fpm.look();
    assert!(fpm.children(FPM).is_empty() && close(&idle["oldest"], &idle["started"]), "{idle}");
    let main = main_pid(&host, FPM);
    before = now();
    done(&fpm.renew("reload", &[]));
    let after = fpm.look();
    assert!(main_pid(&host, FPM) == main && close(&after["oldest"], &idle["oldest"]), "{idle} {after}");
    assert!(moment(&after, "renewed") >= before, "{before} {after}");

    // A reload that failed renewed nothing.
    let nginx = Served::unit(&host, "nginx.service");
    let whole = nginx.look();
    host.write("/etc/nginx/conf.d/bad.conf", "nonsense;\n");
    assert!(!host.run(&["systemctl", "reload", "nginx.service"]).success());
    assert_eq!(nginx.look()["renewed"], whole["renewed"]);
}

#[test]
fn a_restart_replaces_the_main_process_too() {
    let host = require_host!("restart", [Unit::PhpFpm]);
    let fpm = Served::unit(&host, FPM);
    // More often than systemd's start limit allows.
    for _ in 0..7 {
        let mut old = fpm.children(FPM);
        old.push(main_pid(&host, FPM));
        let answer = fpm.renew("restart", &old);
        done(&answer);
        assert!(!old.contains(&main_pid(&host, FPM)));
    }
    let state = fpm.look();
    assert!(state["up"] == true && moment(&state, "renewed") >= moment(&state, "started"), "{state}");
}

#[test]
fn php_fpm_that_ends_by_a_reload_is_told() {
    let host = require_host!("broken", [Unit::PhpFpm]);
    host.write("/etc/php/8.2/fpm/pool.d/zz.conf", "nonsense = 1\n");
    let fpm = Served::unit(&host, FPM);
    let answer = fpm.renew("reload", &[]);
    refused(&answer, "Other", &["does not run after its reload", "exit status 78", "zz.conf"]);
    host.wait_until("systemd to be done with it", SOON, || host.run(&["systemctl", "is-failed", FPM]).success());
    let state = fpm.look();
    assert_eq!((&state["up"], &state["oldest"], &state["renewed"]), (&json!(false), &Value::Null, &Value::Null));

    // A restart may start what has failed.
    host.run(&["rm", "/etc/php/8.2/fpm/pool.d/zz.conf"]).ok();
    refused(&fpm.renew("reload", &[]), "Other", &["cannot reload", "failed"]);
    done(&fpm.renew("restart", &[]));
    assert_eq!(fpm.look()["up"], true);
}
