//! Workers under a real systemd: started, replaced, stopped, failing, and refused to a normal user.

#![allow(clippy::unwrap_used, reason = "a helper that fails should fail its test on the spot")]

mod support;

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::door::{self, Door};
use support::fixtures::{Site, Template, main_pid};
use support::{Host, require_host};
use trueup::managers::systemd::Systemd;
use trueup::model::app::{App, Manager, Systemd as Configured, TemplateUnit, WorkerGroup};
use trueup::model::names::{AppName, GroupName, MemberName, ReleaseId, Root};
use trueup::model::process::{Pid, ProcessId, ProcessTable, StartTicks};
use trueup::model::release::Release;
use trueup::ports::{GroupOf, HostError, Managers};

const SOON: Duration = Duration::from_mins(1);

/// Runs inside the host.
#[test]
fn door() {
    door::serve(|request| {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(act(&request))
    });
}

/// Does `{"do": VERB, "members": […], …}` and tells what came of it, member by member.
async fn act(request: &Value) -> Value {
    let app = app(request);
    let of = GroupOf { app: &app, group: &app.workers[0] };
    let systemd = Systemd::default();
    let began = Instant::now();
    let verb = request["do"].as_str().unwrap();
    if verb == "list" {
        // A second group in the same question: one that cannot be listed does not hide the other.
        let absent = self::app(&json!({ "unit": "nowhere@" }));
        let groups = [of, GroupOf { app: &absent, group: &absent.workers[0] }];
        let mut answers = systemd.list(&groups, &ProcessTable::default()).await;
        let (two, one) = (answers.pop().unwrap(), answers.pop().unwrap());
        assert!(one.is_err() || two.unwrap_err().message.contains("nowhere@.service"));
        let took_first = began.elapsed().as_micros();
        let began = Instant::now();
        let again = systemd.list(&[of], &ProcessTable::default()).await;
        assert_eq!(again.len(), 1);
        let took_again = began.elapsed().as_micros();
        let listed = one.map(|members| {
            let tell = |member: trueup::ports::Listed| {
                json!({
                    "member": member.member.as_str(), "ordinal": member.ordinal, "state": member.state.to_string(),
                    "detail": member.detail, "pid": member.pid.map(|pid| pid.0), "enabled": member.enabled,
                    "started": member.started.map(|(at, _)| at.as_millisecond()),
                })
            };
            members.into_iter().map(tell).collect::<Vec<_>>()
        });
        return match listed {
            Ok(members) => json!({ "members": members, "took_us": [took_first, took_again] }),
            Err(error) => told(Err(error)),
        };
    }
    if verb == "reconnect" {
        let before = systemd.list(&[of], &ProcessTable::default()).await.remove(0).unwrap();
        let restarted = std::process::Command::new("systemctl").args(["restart", "dbus.service"]).status().unwrap();
        assert!(restarted.success());
        let after = systemd.list(&[of], &ProcessTable::default()).await.remove(0).unwrap();
        let member = MemberName::new("w@2.service").unwrap();
        let started = systemd.start(of, &member).await;
        return json!({ "same": before == after, "started": told(started) });
    }
    let members: Vec<MemberName> = request["members"]
        .as_array()
        .unwrap()
        .iter()
        .map(|name| MemberName::new(name.as_str().unwrap()).unwrap())
        .collect();
    let process = request["process"].as_array().map(|both| ProcessId {
        pid: Pid(u32::try_from(both[0].as_u64().unwrap()).unwrap()),
        start_ticks: StartTicks(both[1].as_u64().unwrap()),
    });
    let each = members.iter().map(async |member| {
        told(match verb {
            "start" => systemd.start(of, member).await,
            "replace" => systemd.replace(of, member, process).await,
            "stop" => systemd.stop(of, member).await,
            "enable" => systemd.enable(of, member).await,
            other => panic!("{other}"),
        })
    });
    let answers = futures_util::future::join_all(each).await;
    let took = u64::try_from(began.elapsed().as_millis()).unwrap();
    match <[Value; 1]>::try_from(answers) {
        Ok([mut one]) => {
            one["took_ms"] = json!(took);
            one
        }
        Err(several) => json!({ "each": several, "took_ms": took }),
    }
}

fn told(result: Result<(), HostError>) -> Value {
    match result {
        Ok(()) => json!({ "ok": true }),
        Err(error) => {
            json!({ "error": format!("{:?}", error.kind), "message": error.message, "help": error.help })
        }
    }
}

fn app(request: &Value) -> App {
    let template = TemplateUnit::new(request["unit"].as_str().unwrap()).unwrap();
    let manager = Manager::Systemd(Configured { unit: template });
    let stop_timeout = Duration::from_millis(request["stopTimeoutMs"].as_u64().unwrap_or(30_000));
    let group = WorkerGroup { stop_timeout, ..WorkerGroup::new(GroupName::new("default").unwrap(), 2, manager) };
    let release = Release::present(ReleaseId::new("r1").unwrap());
    let named = App::new(AppName::new("app").unwrap(), Root::new("/srv/app").unwrap(), release);
    App { workers: vec![group], ..named }
}

/// Outside: a group of workers on a host.
struct Group<'host> {
    host: &'host Host,
    door: Door<'host>,
    unit: &'static str,
}

impl<'host> Group<'host> {
    /// The fixture's PHP workers, two of them running from release r1.
    fn php(host: &'host Host, site: &Site<'host>) -> (Self, Vec<u32>) {
        let pids = Template::php("w", site).start(2);
        (Group { host, door: Door::new(host), unit: "w@" }, pids)
    }

    /// Workers of this template, none of them running.
    fn of(host: &'host Host, service: &str) -> Self {
        let text = format!("[Service]\n{service}\n[Install]\nWantedBy=multi-user.target\n");
        host.write("/etc/systemd/system/w@.service", &text);
        host.run(&["systemctl", "daemon-reload"]).ok();
        Group { host, door: Door::new(host), unit: "w@" }
    }

    #[track_caller]
    fn list(&self) -> Vec<Value> {
        let answer = self.door.ask(&json!({ "do": "list", "unit": self.unit }));
        answer["members"].as_array().unwrap_or_else(|| panic!("{answer}")).clone()
    }

    #[track_caller]
    fn act(&self, verb: &str, members: &[&str]) -> Value {
        self.door.ask(&json!({ "do": verb, "unit": self.unit, "members": members }))
    }

    #[track_caller]
    fn replace(&self, member: &str, process: Option<(u32, u64)>, stop_timeout: Duration) -> Value {
        self.door.ask(&json!({
            "do": "replace", "unit": self.unit, "members": [member],
            "process": process.map(|(pid, ticks)| json!([pid, ticks])),
            "stopTimeoutMs": u64::try_from(stop_timeout.as_millis()).unwrap(),
        }))
    }

    /// Pid and start of a member's main process.
    #[track_caller]
    fn process(&self, member: &str) -> (u32, u64) {
        let pid = main_pid(self.host, member);
        let stat = self.host.read(&format!("/proc/{pid}/stat"));
        let ticks = stat.rsplit_once(')').unwrap().1.split_whitespace().nth(19).unwrap();
        (pid, ticks.parse().unwrap())
    }

    /// Waits until a member's main process is that program: a unit is started before its command line has become it.
    #[track_caller]
    fn until_it_is(&self, member: &str, program: &str) {
        self.host.wait_until(program, SOON, || {
            let comm = self.host.root_path().join(format!("proc/{}/comm", main_pid(self.host, member)));
            std::fs::read_to_string(comm).is_ok_and(|comm| comm.trim() == program)
        });
    }

    /// Has a worker start that fails, until that is told: on a busy machine it may fail only after it has been trusted.
    #[track_caller]
    fn until_told(&self, member: &str, start: impl Fn() -> Value) -> Value {
        for _ in 0..20 {
            let answer = start();
            if answer["ok"] != true {
                return answer;
            }
            self.host.wait_until("its failure", SOON, || {
                let states = self.states();
                !states.iter().any(|(other, state)| other == member && state == "running")
            });
        }
        panic!("{member} is trusted again and again");
    }

    fn is_enabled(&self, member: &str) -> bool {
        self.host.run(&["systemctl", "is-enabled", "--quiet", member]).success()
    }

    /// Members with their states.
    #[track_caller]
    fn states(&self) -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        self.list().iter().map(|member| (text(&member["member"]), text(&member["state"]))).collect()
    }
}

#[track_caller]
fn ok(answer: &Value) {
    let all = answer["each"].as_array().cloned().unwrap_or_else(|| vec![answer.clone()]);
    assert!(all.iter().all(|one| one["ok"] == true), "{answer}");
}

#[track_caller]
fn refused(answer: &Value, kind: &str, words: &[&str]) {
    assert_eq!(answer["error"], kind, "{answer}");
    for word in words {
        assert!(answer.to_string().contains(word), "{word} in {answer}");
    }
    assert!(answer["help"].is_string(), "{answer}");
}

fn pairs(rows: &[(&str, &str)]) -> Vec<(String, String)> {
    rows.iter().map(|(one, other)| ((*one).to_owned(), (*other).to_owned())).collect()
}

#[test]
fn started_members_run_and_come_back_after_a_reboot() {
    let host = require_host!("start", []);
    let group = Group::of(&host, "ExecStart=sleep infinity\nRestart=always");
    assert_eq!(group.list(), Vec::<Value>::new());

    ok(&group.act("start", &["w@1.service", "w@2.service"]));
    let listed = group.list();
    assert_eq!(group.states(), pairs(&[("w@1.service", "running"), ("w@2.service", "running")]));
    for (member, ordinal) in listed.iter().zip(1..) {
        assert_eq!((&member["ordinal"], &member["enabled"]), (&json!(ordinal), &json!(true)), "{member}");
        let unit = member["member"].as_str().unwrap();
        assert_eq!(member["pid"], json!(main_pid(&host, unit)));
        let now = jiff::Timestamp::now().as_millisecond();
        assert!((now - 60_000..=now).contains(&member["started"].as_i64().unwrap()), "{member}");
        assert!(group.is_enabled(unit));
    }

    // Once more: nothing changes.
    ok(&group.act("start", &["w@1.service", "w@2.service"]));
    assert_eq!(group.list(), listed);

    // Instances in another spelling are none of ours.
    host.run(&["systemctl", "start", "w@01.service", "w@x.service"]).ok();
    assert_eq!(group.list(), listed);

    let took = group.door.ask(&json!({ "do": "list", "unit": "w@" }))["took_us"].clone();
    println!("listing two workers took {took} us: with connecting, and again");
}

#[test]
fn replacing_one_member_leaves_the_other_alone() {
    let host = require_host!("replace", []);
    let site = Site::new(&host, "/srv/app").release("r1").release("r2").current("r1");
    let (group, pids) = Group::php(&host, &site);
    site.switch("r2");

    let old = group.process("w@1.service");
    let answer = group.replace("w@1.service", Some(old), SOON);
    ok(&answer);
    println!("replacing an idle worker took {} ms", answer["took_ms"]);
    let new = group.process("w@1.service");
    assert_ne!(new.0, pids[0]);
    assert_eq!(main_pid(&host, "w@2.service"), pids[1]);
    // For systemd it is started before it has changed its directory.
    let at = || host.read_link(&format!("/proc/{}/cwd", new.0));
    host.wait_until("the successor's directory", SOON, || at().as_deref() == Some("/srv/app/releases/r2"));

    // The process to be replaced is gone: done already.
    ok(&group.replace("w@1.service", Some(old), SOON));
    assert_eq!(group.process("w@1.service"), new);
    // The same number, but another process.
    ok(&group.replace("w@1.service", Some((new.0, new.1 - 1)), SOON));
    assert_eq!(group.process("w@1.service"), new);
}

#[test]
fn a_busy_worker_finishes_its_job_before_it_is_replaced() {
    let host = require_host!("gentle", []);
    let site = Site::new(&host, "/srv/app").release("r1").current("r1");
    let (group, _) = Group::php(&host, &site);
    let busy = site.give_job(2.0);
    let member = if main_pid(&host, "w@1.service") == busy { "w@1.service" } else { "w@2.service" };

    ok(&group.replace(member, Some(group.process(member)), SOON));
    let events = site.events();
    let of_busy: Vec<&str> = events.iter().filter(|line| line.pid == busy).map(|line| line.event.as_str()).collect();
    assert_eq!(of_busy, ["started", "job-begun", "job-done", "stopped"]);
    assert_ne!(main_pid(&host, member), busy);
}

#[test]
fn a_stubborn_worker_is_killed_with_its_children_after_its_time() {
    let host = require_host!("stubborn", []);
    let group = Group::of(
        &host,
        "ExecStart=/bin/sh -c 'trap \"\" TERM; /run/child 7777 & while :; do sleep 0.1; done'\nTimeoutStopSec=90",
    );
    host.run(&["ln", "-s", "/bin/sleep", "/run/child"]).ok();
    ok(&group.act("start", &["w@1.service", "w@2.service"]));
    let old = group.process("w@1.service");
    let children = || -> Vec<u32> {
        let children = host.run(&["pgrep", "--full", "^/run/child"]);
        children.stdout.lines().map(|pid| pid.parse().unwrap()).collect()
    };
    host.wait_until("both children", SOON, || children().len() == 2);
    let before = children();

    let answer = group.replace("w@1.service", Some(old), Duration::from_secs(1));
    ok(&answer);
    let took = answer["took_ms"].as_u64().unwrap();
    assert!((1000..60_000).contains(&took), "{took}");
    assert_ne!(group.process("w@1.service"), old);
    let left = children();
    assert_eq!(before.iter().filter(|pid| left.contains(pid)).count(), 1, "{before:?} {left:?}");

    let answer = group.door.ask(&json!({
        "do": "stop", "unit": "w@", "members": ["w@1.service"], "stopTimeoutMs": 500,
    }));
    ok(&answer);
    assert_eq!(group.states(), pairs(&[("w@2.service", "running")]));
}

#[test]
fn a_successor_that_takes_long_to_start_is_not_killed() {
    let host = require_host!("slow", []);
    let group = Group::of(&host, "ExecStartPre=sleep 2\nExecStart=sleep infinity");
    ok(&group.act("start", &["w@1.service"]));
    let old = group.process("w@1.service");
    ok(&group.replace("w@1.service", Some(old), Duration::from_millis(500)));
    assert_ne!(group.process("w@1.service"), old);
    assert_eq!(group.states(), pairs(&[("w@1.service", "running")]));
}

#[test]
fn a_pass_that_died_while_replacing_is_taken_up() {
    let host = require_host!("crash", []);
    let site = Site::new(&host, "/srv/app").release("r1").current("r1");
    let (group, _) = Group::php(&host, &site);
    let busy = site.give_job(600.0);
    let member = if main_pid(&host, "w@1.service") == busy { "w@1.service" } else { "w@2.service" };
    let old = group.process(member);
    let request = json!({
        "do": "replace", "unit": "w@", "members": [member], "process": [old.0, old.1],
    });
    let first = group.door.spawn(&request);
    let stopping =
        || host.run(&["systemctl", "show", "--property=ActiveState", "--value", member]).ok() == "deactivating";
    host.wait_until("the worker to be asked to stop", SOON, stopping);
    first.kill();

    let second = group.door.spawn(&request);
    // Name and pid of each that is connected to the bus.
    let connected = || host.run(&["busctl", "list", "--no-legend"]).stdout;
    let asks = || connected().lines().any(|line| line.split_whitespace().nth(1) == Some(&*second.pid()));
    host.wait_until("the next one to ask systemd", SOON, asks);
    site.end_job(busy);
    ok(&second.answer(SOON));
    let started = || site.events().iter().filter(|line| line.event == "started").count();
    host.wait_until("the successor's word", SOON, || started() >= 3);
    // Another one where the first pass's own restart was done between the second one's look and its word.
    assert!((3..=4).contains(&started()), "two at first, and one successor: {:?}", site.events());
}

#[test]
fn a_worker_that_fails_says_why_and_starts_once_it_can() {
    let host = require_host!("failing", []);
    let group = Group::of(
        &host,
        "ExecStart=/bin/sh -c 'test -e /run/good || { echo no database; exit 3; }; exec sleep infinity'",
    );
    let answer = group.until_told("w@1.service", || group.act("start", &["w@1.service"]));
    refused(&answer, "WorkerFailed", &["w@1.service", "exit-code", "exit status 3", "no database"]);
    let listed = group.list();
    assert_eq!(listed[0]["state"], "failed", "{listed:?}");
    assert_eq!(listed[0]["detail"], "failed: exit-code");
    assert_eq!(listed[0]["pid"], Value::Null);

    host.write("/run/good", "");
    ok(&group.act("start", &["w@1.service"]));
    assert_eq!(group.states(), pairs(&[("w@1.service", "running")]));

    // A replacement that fails is told just so.
    let answer = group.until_told("w@1.service", || {
        host.write("/run/good", "");
        ok(&group.act("start", &["w@1.service"]));
        group.until_it_is("w@1.service", "sleep");
        host.run(&["rm", "/run/good"]).ok();
        group.replace("w@1.service", Some(group.process("w@1.service")), SOON)
    });
    refused(&answer, "WorkerFailed", &["exit status 3"]);

    host.write("/etc/systemd/system/w@.service", "[Service]\nExecStart=/absent/program\n");
    host.run(&["systemctl", "daemon-reload"]).ok();
    let answer = group.until_told("w@2.service", || group.act("start", &["w@2.service"]));
    refused(&answer, "WorkerFailed", &["exit status 203"]);
}

#[test]
fn the_start_limit_is_no_obstacle() {
    let host = require_host!("limit", []);
    let group = Group::of(
        &host,
        "ExecStart=/bin/sh -c 'test -e /run/good && exec sleep infinity; exit 1'\nRestart=always\nRestartSec=10ms",
    );
    host.run(&["systemctl", "start", "w@1.service"]);
    host.wait_until("systemd to give up", SOON, || group.states() == pairs(&[("w@1.service", "failed")]));

    host.write("/run/good", "");
    ok(&group.act("start", &["w@1.service"]));
    // Wanted restarts do not add up to a crash loop (systemd allows 5 starts in 10 s).
    for _ in 0..7 {
        let old = group.process("w@1.service");
        ok(&group.replace("w@1.service", Some(old), SOON));
        assert_ne!(group.process("w@1.service"), old);
    }
}

#[test]
fn a_worker_between_two_tries_is_started_at_once() {
    let host = require_host!("backoff", []);
    let group = Group::of(
        &host,
        "ExecStart=/bin/sh -c 'test -e /run/good && exec sleep infinity; exit 1'\nRestart=always\nRestartSec=1000",
    );
    let answer = group.until_told("w@1.service", || group.act("start", &["w@1.service"]));
    refused(&answer, "WorkerFailed", &["auto-restart"]);
    let listed = group.list();
    assert_eq!(listed[0]["state"], "backoff", "{listed:?}");
    assert_eq!(listed[0]["detail"], "activating (auto-restart): exit-code");

    host.write("/run/good", "");
    ok(&group.act("start", &["w@1.service"]));
    assert_eq!(group.states(), pairs(&[("w@1.service", "running")]));
}

#[test]
fn a_killed_worker_comes_back_by_itself() {
    let host = require_host!("killed", []);
    let group = Group::of(&host, "ExecStart=sleep infinity\nRestart=always\nRestartSec=50ms");
    ok(&group.act("start", &["w@1.service"]));
    let old = group.process("w@1.service");
    host.run(&["kill", "-KILL", &old.0.to_string()]).ok();
    host.wait_until("systemd to start it again", SOON, || {
        let pid = main_pid(&host, "w@1.service");
        pid != 0 && pid != old.0
    });
    let new = group.process("w@1.service");
    ok(&group.replace("w@1.service", Some(old), SOON));
    assert_eq!(group.process("w@1.service"), new);
}

#[test]
fn a_stopped_member_stays_away() {
    let host = require_host!("stop", []);
    let group = Group::of(&host, "ExecStart=sleep infinity\nRestart=always");
    ok(&group.act("start", &["w@1.service", "w@2.service", "w@3.service"]));
    let first = group.process("w@1.service");
    for _ in 0..2 {
        ok(&group.act("stop", &["w@2.service", "w@3.service"]));
        assert_eq!(group.states(), pairs(&[("w@1.service", "running")]));
        assert!(!group.is_enabled("w@3.service"));
    }
    assert_eq!(group.process("w@1.service"), first);

    // Running, but not enabled; then enabled, without being touched.
    host.run(&["systemctl", "disable", "w@1.service"]).ok();
    assert_eq!(group.list()[0]["enabled"], false);
    ok(&group.act("enable", &["w@1.service"]));
    assert_eq!(group.list()[0]["enabled"], true);
    assert_eq!(group.process("w@1.service"), first);

    // Enabled, but not running.
    host.run(&["systemctl", "enable", "w@2.service"]).ok();
    assert_eq!(group.states(), pairs(&[("w@1.service", "running"), ("w@2.service", "stopped")]));
}

#[test]
fn a_template_without_install_section_has_no_notion_of_enabled() {
    let host = require_host!("static", []);
    let group = Group::of(&host, "ExecStart=sleep infinity");
    host.write("/etc/systemd/system/w@.service", "[Service]\nExecStart=sleep infinity\n");
    host.run(&["systemctl", "daemon-reload"]).ok();
    ok(&group.act("start", &["w@1.service"]));
    assert_eq!(group.list()[0]["enabled"], Value::Null);
    ok(&group.act("enable", &["w@1.service"]));
    ok(&group.act("stop", &["w@1.service"]));
    assert_eq!(group.list(), Vec::<Value>::new());
}

#[test]
fn what_systemd_does_not_know_is_named() {
    let host = require_host!("unknown", []);
    let door = Door::new(&host);
    let group = Group { host: &host, door, unit: "absent@" };
    let words = ["absent@.service", "/etc/systemd/system/absent@.service"];
    refused(&group.door.ask(&json!({ "do": "list", "unit": "absent@" })), "Misconfigured", &words);
    refused(&group.act("start", &["absent@1.service"]), "Misconfigured", &words);
    refused(&group.replace("absent@1.service", None, SOON), "Misconfigured", &words);
    ok(&group.act("stop", &["absent@1.service"]));
    let other = group.act("stop", &["ssh.service"]);
    assert_eq!(other["error"], "Misconfigured", "{other}");
}

#[test]
fn a_bus_that_was_restarted_is_connected_to_again() {
    let host = require_host!("bus", []);
    let group = Group::of(&host, "ExecStart=sleep infinity");
    ok(&group.act("start", &["w@1.service"]));
    let answer = group.door.ask(&json!({ "do": "reconnect", "unit": "w@" }));
    assert_eq!(answer, json!({ "same": true, "started": { "ok": true } }));
    assert_eq!(group.states(), pairs(&[("w@1.service", "running"), ("w@2.service", "running")]));
}

#[test]
fn without_a_system_bus_the_error_says_what_is_missing() {
    let host = require_host!("nobus", []);
    let group = Group::of(&host, "ExecStart=sleep infinity");
    host.run(&["systemctl", "stop", "dbus.socket", "dbus.service"]).ok();
    refused(&group.door.ask(&json!({ "do": "list", "unit": "w@" })), "Unreachable", &["dbus"]);
    refused(&group.act("start", &["w@1.service"]), "Unreachable", &["dbus"]);
}

#[test]
fn a_normal_user_needs_a_sudo_rule_and_is_told_which() {
    let host = require_host!("sudo", []);
    let group = Group::of(
        &host,
        "ExecStart=/bin/sh -c 'test -e /run/bad && exit 3; trap \"\" TERM; while :; do sleep 0.1; done'\nTimeoutStopSec=90",
    );
    host.add_user("deploy");
    let deploy = Group { host: &host, door: group.door.user("deploy"), unit: "w@" };
    assert_eq!(deploy.list(), Vec::<Value>::new());
    let answer = deploy.act("start", &["w@1.service"]);
    refused(&answer, "Denied", &["w@1.service", "sudo", "/etc/sudoers.d/", "/usr/bin/systemctl start w@[0-9].service"]);
    assert_eq!(group.list(), Vec::<Value>::new());

    // The rule out of the help, as it stands there.
    let help = answer["help"].as_str().unwrap();
    let rule = &help[help.find("deploy ALL=").unwrap()..];
    host.write("/etc/sudoers.d/trueup", &format!("{rule}\n"));
    host.run(&["chmod", "440", "/etc/sudoers.d/trueup"]).ok();
    host.run(&["visudo", "-c"]).ok();

    ok(&deploy.act("start", &["w@1.service", "w@2.service"]));
    assert_eq!(deploy.states(), pairs(&[("w@1.service", "running"), ("w@2.service", "running")]));
    assert!(group.is_enabled("w@1.service"));
    let old = deploy.process("w@1.service");
    ok(&deploy.replace("w@1.service", Some(old), Duration::from_millis(500)));
    assert_ne!(deploy.process("w@1.service"), old);
    let request = json!({ "do": "stop", "unit": "w@", "members": ["w@2.service"], "stopTimeoutMs": 500 });
    ok(&deploy.door.ask(&request));
    assert_eq!(deploy.states(), pairs(&[("w@1.service", "running")]));

    // A worker's failure is told by sudo's systemctl just as by the bus.
    host.write("/run/bad", "");
    let answer = group.until_told("w@2.service", || deploy.act("start", &["w@2.service"]));
    refused(&answer, "WorkerFailed", &["exit status 3"]);
    host.run(&["rm", "/run/bad"]).ok();
    ok(&deploy.act("start", &["w@2.service"]));

    // The rule allows nothing else.
    refused(&deploy.act("start", &["w@10.service"]), "Denied", &["w@[0-9][0-9].service"]);
    assert!(!host.run_as("deploy", &["sudo", "-n", "/usr/bin/systemctl", "stop", "dbus.service"]).success());
}
