//! Programs of supervisord, and commands.

use serde_json::{Value, json};

use super::support::fixtures::{Program, Site, fix_pool};
use super::support::{Unit, require_host};
use super::{FPM_CONFIG, SOON, Served, about, children, done, moment, refused, second_of_start};

#[test]
fn a_program_of_supervisord_is_restarted_and_reloaded_where_its_signal_is_known() {
    let host = require_host!("program", [Unit::Supervisor]);
    let workers = Program::new(&host, "web", "sleep infinity").numprocs(2).start();
    let web = Served::new(&host, json!({ "group": "web" }));
    let state = web.look();
    assert_eq!((&state["up"], &state["detail"]), (&json!(true), &json!("2 running")), "{state}");
    assert_eq!((&state["canReload"], &state["oldest"]), (&json!(false), &state["started"]), "{state}");
    let old = workers.pids();
    let starts: Vec<i64> = old.iter().map(|pid| second_of_start(&host, *pid)).collect();
    assert!(about(moment(&state, "oldest"), *starts.iter().min().unwrap()), "{state} {starts:?}");

    refused(&web.renew("reload", &[]), "Misconfigured", &["neither php-fpm nor nginx", "onRelease: restart"]);
    assert_eq!(workers.pids(), old);
    done(&web.renew("restart", &old));
    assert_eq!(workers.pids().len(), 2);
    assert!(moment(&web.look(), "renewed") > moment(&state, "renewed"));

    // One that was stopped is not started.
    host.run(&["supervisorctl", "stop", "web:web_01"]).ok();
    let state = web.look();
    assert_eq!((&state["up"], &state["renewed"]), (&json!(false), &Value::Null), "{state}");
    assert!(state["detail"].as_str().unwrap().starts_with("1 of 2 running: web_01 stopped"), "{state}");
    let old = workers.pids();
    done(&web.renew("restart", &old));
    assert_eq!(workers.pids().len(), 1);
    host.run(&["supervisorctl", "stop", "web:*"]).ok();
    refused(&web.renew("restart", &[]), "Other", &["is stopped", "supervisorctl start web:*"]);

    let absent = Served::new(&host, json!({ "group": "wbe" }));
    let seen = absent.door.ask(&absent.asking("look", &[]));
    assert!(seen["help"].as_str().unwrap().contains("did you mean `web`?"), "{seen}");
}

#[test]
fn php_fpm_under_supervisord_is_reloaded() {
    let host = require_host!("fpm-program", [Unit::Supervisor]);
    host.run(&["mkdir", "-p", "/run/php"]).ok();
    fix_pool(&host);
    let command = format!("/usr/sbin/php-fpm8.2 --nodaemonize --fpm-config {FPM_CONFIG}");
    let workers = Program::new(&host, "fpm", &command).start();
    let fpm = Served::new(&host, json!({ "group": "fpm" }));
    let main = workers.pids()[0];
    host.wait_until("its children", SOON, || children(&host, main).len() == 2);
    let state = fpm.look();
    assert!(state["canReload"] == true && moment(&state, "oldest") > moment(&state, "started"), "{state}");
    assert!(state["warning"].as_str().unwrap().contains(FPM_CONFIG), "{state}");

    let old = children(&host, main);
    done(&fpm.renew("reload", &old));
    assert_eq!(workers.pids(), [main]);
    let new = children(&host, main);
    assert!(!new.is_empty() && new.iter().all(|pid| !old.contains(pid)), "{old:?} {new:?}");

    // As a user with supervisorctl alone.
    host.add_user("deploy");
    host.write("/etc/sudoers.d/trueup", "deploy ALL=(root) NOPASSWD: /usr/bin/supervisorctl *\n");
    host.run(&["chmod", "440", "/etc/sudoers.d/trueup"]).ok();
    done(&fpm.by("deploy").renew("reload", &new));

    host.write("/etc/php/8.2/fpm/pool.d/zz.conf", "nonsense = 1\n");
    let answer = fpm.renew("reload", &[]);
    refused(&answer, "WorkerFailed", &["fpm:fpm"]);
}

#[test]
fn a_command_is_run_in_current_as_the_apps_user_or_its_own() {
    let host = require_host!("command", []);
    let site = Site::new(&host, "/srv/app").owner("deploy").release("r1").current("r1");
    let line = r#"echo "$(id -un) $(pwd) $APP $ROOT $RELEASE_ID $RELEASE_PATH" >>/tmp/told"#;
    host.add_user("octane");
    host.write("/tmp/told", "");
    host.run(&["chmod", "666", "/tmp/told"]).ok();
    let web = Served::new(&host, json!({ "reloadCommand": line }));
    let state = web.look();
    assert_eq!((&state["up"], &state["detail"]), (&json!(true), &json!("unknown")), "{state}");
    for name in ["oldest", "started", "renewed", "warning"] {
        assert_eq!(state[name], Value::Null, "{state}");
    }
    let there = site.release_dir("r1");
    let mut told = String::new();
    for (named, user) in [(Value::Null, "deploy"), (json!("octane"), "octane"), (json!("root"), "root")] {
        done(&web.with("commandUser", named).renew("reload", &[]));
        told = format!("{told}{user} {there} app /srv/app r1 {there}\n");
        assert_eq!(host.read("/tmp/told"), told);
    }
    refused(&web.with("commandUser", json!("nobody-here")).renew("reload", &[]), "Misconfigured", &["`nobody-here`"]);

    refused(&web.renew("restart", &[]), "Misconfigured", &["no command to restart it", "manager.command.restart"]);
    let failing = Served::new(&host, json!({ "restartCommand": "echo no such socket; exit 3", "timeoutMs": 5_000 }));
    refused(&failing.renew("restart", &[]), "Other", &["exit code 3", "no such socket"]);
    let slow = Served::new(&host, json!({ "reloadCommand": "sleep 60", "timeoutMs": 300 }));
    refused(&slow.renew("reload", &[]), "TimedOut", &["sleep 60"]);
}
