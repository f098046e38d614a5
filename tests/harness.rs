//! The harness proves itself: hosts boot, workers run from the release they should, nothing stays behind.

#![allow(clippy::expect_used, reason = "a helper that fails should fail its test on the spot")]

mod support;

use std::path::Path;
use std::time::{Duration, Instant};

use support::fixtures::{self, Program, Site, Template};
use support::{Host, SOON, Unit, require_host};

/// Outer pids of this machine whose command line begins with `mark`.
fn outer_processes(mark: &str) -> Vec<u32> {
    let processes = std::fs::read_dir("/proc").expect("/proc is mounted");
    let pids = processes.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid: &u32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.starts_with(mark.as_bytes())
    })
    .collect()
}

/// Waits until a process works there: for systemd it is started before it has changed its directory.
#[track_caller]
fn works_in(host: &Host, pid: u32, directory: &str) {
    host.wait_until(directory, SOON, || host.read_link(&format!("/proc/{pid}/cwd")).as_deref() == Some(directory));
}

#[test]
fn a_host_is_a_machine_of_its_own() {
    let host = require_host!("alone", []);
    println!("booted in {:?}", host.boot_time());

    assert_eq!(host.run(&["hostname"]).ok(), "alone");
    assert_eq!(host.run(&["systemctl", "is-system-running"]).ok(), "running");
    assert_eq!(host.run(&["ps", "-o", "comm=", "-p", "1"]).ok(), "systemd");
    assert_eq!(host.run(&["ls", "/sys/class/net"]).ok(), "lo");
    assert!(host.sh("ip -o addr show lo").ok().contains("127.0.0.1/8"));
    // Only what was asked for runs.
    for unit in [Unit::Supervisor, Unit::Nginx, Unit::PhpFpm, Unit::Ssh] {
        assert!(!host.run(&["systemctl", "is-active", unit.name()]).success(), "{unit:?}");
    }

    // What is written inside stays inside.
    host.write("/etc/made-by-a-test", "inside\n");
    host.write("/tmp/made-by-a-test", "inside\n");
    assert_eq!(host.read("/etc/made-by-a-test"), "inside\n");
    assert!(!Path::new("/etc/made-by-a-test").exists());
    assert!(!Path::new("/tmp/made-by-a-test").exists());
    // The machine's one kernel is out of reach.
    assert!(!host.sh("echo 1 >/proc/sys/kernel/panic").success());
    assert!(host.trueup(&["--version"]).success());
}

#[test]
fn commands_tell_how_they_ended() {
    let host = require_host!("commands", []);

    let output = host.sh("echo out; echo err >&2; exit 7");
    assert_eq!((output.code, output.stdout.as_str(), output.stderr.as_str()), (7, "out\n", "err\n"));
    assert_eq!(host.run_with_input(&["tr", "a-z", "A-Z"], "shout").ok(), "SHOUT");
    assert_eq!(host.run_as("www-data", &["id", "-un"]).ok(), "www-data");
    host.add_user("deploy");
    assert_eq!(host.run_as("deploy", &["sh", "-c", "echo $HOME"]).ok(), "/home/deploy");

    let mut sleeper =
        host.spawn_as("deploy", &["sh", "-c", "trap 'exit 5' TERM; echo $$; while :; do sleep 0.05; done"]);
    host.wait_until("the sleeper's word", SOON, || !sleeper.stdout().is_empty());
    assert_eq!(sleeper.stdout().trim(), sleeper.pid().to_string());
    assert!(host.is_alive(sleeper.pid()));
    sleeper.signal("TERM");
    assert_eq!(sleeper.wait(SOON).code, 5);
    assert!(!host.is_alive(sleeper.pid()));
}

#[test]
fn supervisord_runs_php_workers_from_the_current_release() {
    let host = require_host!("supervised", [Unit::Supervisor]);
    let site = Site::new(&host, "/srv/app").owner("deploy").release("r1").release("r2").current("r1");
    let workers = Program::php("app-worker", &site).numprocs(2).user("deploy").start();

    let pids = workers.pids();
    assert_eq!(pids.len(), 2, "{:?}", workers.status());
    for pid in &pids {
        // Exactly the awkward case: nothing but the open entry script tells the release.
        assert_eq!(host.read_link(&format!("/proc/{pid}/fd/3")).as_deref(), Some("/srv/app/releases/r1/artisan"));
        assert_eq!(host.read_link(&format!("/proc/{pid}/cwd")).as_deref(), Some("/"));
        assert_eq!(host.run(&["stat", "-c", "%U", &format!("/proc/{pid}")]).ok(), "deploy");
    }

    // A switch alone changes nothing for the workers: the problem that this program ends.
    site.switch("r2");
    assert_eq!(site.current_release().as_deref(), Some("r2"));
    assert_eq!(workers.pids(), pids);

    // A worker in the middle of a job finishes it before it goes, and comes back in the new release.
    let given = Instant::now();
    let busy = site.give_job(1.0);
    assert!(pids.contains(&busy));
    host.run(&["kill", "-s", "TERM", &busy.to_string()]).ok();
    host.wait_until("the busy worker's end", SOON, || !host.is_alive(busy));
    assert!(given.elapsed() > Duration::from_secs(1), "cut short after {:?}", given.elapsed());
    let told: Vec<String> = site.events().into_iter().filter(|line| line.pid == busy).map(|line| line.event).collect();
    assert_eq!(told, ["started", "job-begun", "job-done", "stopped"]);
    host.wait_until("a worker of r2", SOON, || {
        site.events().iter().any(|line| line.release == "r2" && line.event == "started")
    });
}

#[test]
fn python_and_wrapped_workers_have_their_habits() {
    let host = require_host!("habits", [Unit::Supervisor]);
    let site = Site::new(&host, "/srv/app").release("r1").current("r1");
    let python = Program::python("py", &site).directory("/srv/app/current").start();
    let wrapped = Program::wrapper("wrapped", &site).start();

    let [pid] = python.pids()[..] else { panic!("{:?}", python.status()) };
    assert_eq!(host.read_link(&format!("/proc/{pid}/cwd")).as_deref(), Some("/srv/app/releases/r1"));
    let open = host.run(&["sh", "-c", &format!("readlink /proc/{pid}/fd/*")]);
    assert!(!open.ok().contains("releases"), "{open}");

    let [shell] = wrapped.pids()[..] else { panic!("{:?}", wrapped.status()) };
    let child: u32 = host.run(&["pgrep", "-P", &shell.to_string()]).ok().parse().expect("one child");
    host.run(&["kill", "-s", "TERM", &shell.to_string()]).ok();
    host.wait_until("the wrapper's end", SOON, || !host.is_alive(shell));
    assert!(host.is_alive(child), "the child outlives its wrapper");
}

#[test]
fn systemd_runs_instances_of_a_template() {
    let host = require_host!("template", []);
    let site = Site::new(&host, "/srv/app").release("r1").release("r2").current("r1");
    let pids = Template::php("app-worker", &site).start(2);

    for (number, pid) in (1..).zip(&pids) {
        assert_ne!(*pid, 0);
        let unit = format!("app-worker@{number}.service");
        assert_eq!(host.run(&["systemctl", "is-active", &unit]).ok(), "active");
        works_in(&host, *pid, "/srv/app/releases/r1");
    }
    site.switch("r2");
    host.run(&["systemctl", "restart", "app-worker@1.service"]).ok();
    let fresh = fixtures::main_pid(&host, "app-worker@1.service");
    works_in(&host, fresh, "/srv/app/releases/r2");
    assert_eq!(fixtures::main_pid(&host, "app-worker@2.service"), pids[1]);
}

#[test]
fn nginx_and_php_fpm_serve_the_current_release() {
    let host = require_host!("web", [Unit::Nginx, Unit::PhpFpm]);
    let site = Site::new(&host, "/srv/app").release("r1").release("r2").current("r1");
    fixtures::serve(&host, &site);

    let answer = || host.run(&["curl", "-s", "-w", " %{http_code}", "http://localhost/"]).stdout;
    assert!(answer().contains(r#""release":"r1""#), "{}", answer());
    site.switch("r2");
    assert!(answer().contains(r#""release":"r2""#), "{}", answer());
    site.sicken(503);
    assert!(answer().contains(r#""status":"ill""#) && answer().ends_with(" 503"), "{}", answer());
    site.heal();
    assert!(answer().ends_with(" 200"), "{}", answer());
}

#[test]
fn hosts_live_side_by_side_and_leave_nothing_behind() {
    let mark = format!("harness-mark-{}", std::process::id());
    let first = require_host!("first", [Unit::Supervisor]);
    let second = require_host!("second", [Unit::Supervisor]);
    assert_ne!(first.read("/etc/machine-id"), second.read("/etc/machine-id"));

    // One that ignores the gentle signals and has left its parent. It forks nothing: a child between its fork and its
    // exec would bear the mark too.
    for host in [&first, &second] {
        let script =
            format!("setsid bash -c 'trap \"\" TERM HUP INT; exec -a {mark} sleep infinity' >/dev/null 2>&1 &");
        host.sh(&script).ok();
    }
    let seen = || outer_processes(&mark).len();
    support::wait_until("both processes, seen from outside", SOON, || seen() == 2);
    assert_eq!(first.pids_of(&mark).len(), 1);

    let inits = [first.init_pid(), second.init_pid()];
    drop(first);
    assert_eq!(seen(), 1, "the second host's process outlives the first host");
    assert_eq!(second.run(&["systemctl", "is-active", "supervisor.service"]).ok(), "active");
    drop(second);
    assert_eq!(seen(), 0);
    for init in inits {
        assert!(!Path::new(&format!("/proc/{init}")).exists(), "{init} is still there");
    }
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("/proc is mounted");
    assert!(!mounts.contains("trueup-host"), "{mounts}");
}

#[test]
fn connected_hosts_reach_each_other() {
    let control = require_host!("control", []);
    let web = require_host!("web", [Unit::Nginx]);
    let fetch = || control.run(&["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "http://web/"]);
    assert!(!fetch().success(), "hosts are apart until they are connected");
    control.connect("10.9.0.1", &web, "10.9.0.2");
    assert_eq!(fetch().ok(), "200");
}

#[test]
#[should_panic(expected = "waited 50ms in vain for the moon")]
fn waiting_in_vain_says_for_what() {
    support::wait_until("the moon", Duration::from_millis(50), || false);
}
