//! Other units, and other users than root.

use serde_json::{Value, json};

use super::support::fixtures::main_pid;
use super::support::{Unit, require_host};
use super::{FPM, SOON, Served, done, moment, refused, steady};

#[test]
fn nginx_is_reloaded_and_a_mistake_in_its_configuration_is_told() {
    let host = require_host!("nginx", [Unit::Nginx]);
    let nginx = Served::unit(&host, "nginx.service");
    let main = main_pid(&host, "nginx.service");
    host.wait_until("its workers", SOON, || !nginx.children("nginx.service").is_empty());
    let old = nginx.children("nginx.service");
    done(&nginx.renew("reload", &old));
    assert_eq!(main_pid(&host, "nginx.service"), main);
    let new = nginx.children("nginx.service");
    assert!(!new.is_empty() && new.iter().all(|pid| !old.contains(pid)), "{old:?} {new:?}");

    host.write("/etc/nginx/conf.d/bad.conf", "nonsense;\n");
    let answer = nginx.renew("reload", &[]);
    refused(&answer, "Other", &["does not reload", "exit-code", "nonsense", "journalctl --unit=nginx.service"]);
    assert_eq!(nginx.children("nginx.service"), new);
}

#[test]
fn what_cannot_be_renewed_is_refused_with_a_remedy() {
    let host = require_host!("refuse", []);
    host.write("/etc/systemd/system/plain.service", "[Service]\nExecStart=sleep infinity\n");
    host.run(&["systemctl", "daemon-reload"]).ok();
    let plain = Served::unit(&host, "plain.service");

    // Stopped by somebody: neither reloaded nor started.
    for how in ["reload", "restart"] {
        refused(&plain.renew(how, &[]), "Other", &["does not run", "inactive (dead)", "systemctl start plain.service"]);
    }
    assert_eq!(main_pid(&host, "plain.service"), 0);
    let state = plain.look();
    assert_eq!((&state["up"], &state["detail"]), (&json!(false), &json!("inactive (dead)")), "{state}");

    host.run(&["systemctl", "start", "plain.service"]).ok();
    refused(&plain.renew("reload", &[]), "Misconfigured", &["ExecReload=", "onRelease: restart"]);
    let main = main_pid(&host, "plain.service");
    let state = plain.look();
    assert_eq!((&state["canReload"], &state["oldest"]), (&json!(false), &state["started"]), "{state}");
    done(&plain.renew("restart", &[main]));

    let absent = Served::unit(&host, "absent.service");
    refused(&absent.renew("reload", &[]), "Misconfigured", &["absent.service", "manager.systemd.unit"]);
    let seen = absent.door.ask(&absent.asking("look", &[]));
    assert_eq!(seen["unreadable"], "systemd knows no unit `absent.service`", "{seen}");

    // A reload that replaces nothing is no reload for what holds the release in its children.
    let text = "[Service]\nExecStart=sh -c 'sleep infinity & wait'\nExecReload=true\n";
    host.write("/etc/systemd/system/stuck.service", text);
    host.run(&["systemctl", "daemon-reload"]).ok();
    host.run(&["systemctl", "start", "stuck.service"]).ok();
    let stuck = Served::new(&host, json!({ "unit": "stuck.service", "timeoutMs": 5_000 }));
    host.wait_until("its child", SOON, || stuck.children("stuck.service").len() == 1);
    refused(&stuck.renew("reload", &[]), "TimedOut", &["sleep infinity", "onRelease: restart"]);
    let old = stuck.children("stuck.service");
    done(&Served::unit(&host, "stuck.service").renew("restart", &old));
}

#[test]
fn a_normal_user_needs_a_sudo_rule_and_is_told_which() {
    let host = require_host!("sudo", [Unit::PhpFpm]);
    steady(&host);
    host.add_user("deploy");
    let root = Served::unit(&host, FPM);
    let deploy = root.by("deploy");
    let old = root.children(FPM);
    let answer = deploy.renew("reload", &old);
    refused(&answer, "Denied", &[FPM, "/etc/sudoers.d/", "/usr/bin/systemctl reload php8.2-fpm.service"]);
    assert_eq!(root.children(FPM), old);

    let help = answer["help"].as_str().unwrap();
    let rule = &help[help.find("deploy ALL=").unwrap()..];
    host.write("/etc/sudoers.d/trueup", &format!("{rule}\n"));
    host.run(&["chmod", "440", "/etc/sudoers.d/trueup"]).ok();
    host.run(&["visudo", "-c"]).ok();
    done(&deploy.renew("reload", &old));
    let mut old = root.children(FPM);
    old.push(main_pid(&host, FPM));
    for _ in 0..6 {
        done(&deploy.renew("restart", &old));
    }
    // The rule allows nothing else.
    for verb in ["stop", "start", "disable"] {
        assert!(!host.run_as("deploy", &["sudo", "-n", "/usr/bin/systemctl", verb, FPM]).success(), "{verb}");
    }
}

#[test]
fn a_user_who_does_not_see_the_processes_cannot_prove_a_reload() {
    let host = require_host!("hidden", [Unit::PhpFpm]);
    steady(&host);
    host.add_user("deploy");
    host.run(&["mount", "-o", "remount,hidepid=2", "/proc"]).ok();
    let root = Served::unit(&host, FPM);
    let deploy = root.by("deploy");
    let state = deploy.look();
    assert_eq!((&state["up"], &state["oldest"]), (&json!(true), &Value::Null), "{state}");
    assert!(moment(&state, "renewed") > 0);
    let old = root.children(FPM);
    refused(&deploy.renew("reload", &[]), "Denied", &["hidepid"]);
    assert_eq!(root.children(FPM), old);
    done(&root.renew("reload", &old));
}
