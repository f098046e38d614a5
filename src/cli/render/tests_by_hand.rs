//! Pictures of what people see of what they do by hand, and of what was done; reviewed like prose.

use super::doctor::{Checked, doctor};
use super::style::plain;
use super::{history as past, operate, releases as list, sudoers};
use crate::decide::history::history;
use crate::decide::testing::{app, id, member, noon, process, seconds_before};
use crate::documents::sudoers::SudoRules;
use crate::model::action::Action;
use crate::model::finding::{Finding, Severity, Spot};
use crate::model::inventory::{ReleaseStanding, ReleaseStatus, Use};
use crate::model::journal::{JournalEntry, JournalEvent};
use crate::model::names::GroupName;
use crate::model::record::{Judge, Quarantine};

#[test]
fn suspensions() {
    let mut wanted = app("r2", vec![]);
    let why = Some("moving the database (anna, since 2026-05-01 12:00:00 UTC)");
    let mut all = vec![operate::not_kept_out(&wanted)];
    for (before, now) in [(None, why), (Some("by hand"), why), (why, None), (None, None)] {
        all.push(operate::suspension(&wanted, before, now));
    }
    wanted.sync.suspend = true;
    all.push(operate::suspension(&wanted, why, None));
    insta::assert_snapshot!(plain(&all.join("\n")));
}

#[test]
fn histories() {
    let wanted = app("r2", vec![]);
    let line = |pass: &str, before: i64, event: JournalEvent| JournalEntry {
        at: seconds_before(noon(), before),
        pass: pass.to_owned(),
        app: wanted.name.clone(),
        event,
    };
    let started = |trigger: &str| JournalEvent::PassStarted { release: id("r2"), trigger: trigger.to_owned(), pid: 7 };
    let ended = |outcome: &str, summary: &str| JournalEvent::PassEnded {
        outcome: outcome.to_owned(),
        summary: summary.to_owned(),
    };
    let switch = Action::SwitchCurrent { to: id("r2") };
    let start = Action::StartWorker { group: GroupName::new("default").unwrap(), member: member(1) };
    let begin = |action: &Action, why: &str| JournalEvent::Begin { action: action.clone(), reason: why.to_owned() };
    let kept_out = |by, reason: &str| JournalEvent::Quarantined { release: id("r2"), reason: reason.to_owned(), by };
    let lines = vec![
        line("p0", 900, ended("converged", "2 of 2 actions done")),
        line("p1", 800, started("timer")),
        line("p1", 800, begin(&switch, "current is r1, not r2")),
        line("p1", 800, JournalEvent::Done { action: switch, took_ms: 3, notes: Vec::new() }),
        line("p1", 800, begin(&start, "it is down")),
        line(
            "p1",
            790,
            JournalEvent::Failed { action: start.clone(), error: "exited with 1".to_owned(), took_ms: 9_100 },
        ),
        line("p1", 790, kept_out(Judge::Gate, "start web:web_01: exited with 1")),
        line("p1", 780, ended("rolledBack", "1 of 2 actions done: exited with 1")),
        line("p2", 600, JournalEvent::QuarantineLifted { release: id("r2") }),
        line("p2", 600, started("retry by anna")),
        line("p2", 595, ended("converged", "2 of 2 actions done")),
        line("p3", 400, kept_out(Judge::Operator, "orders are lost")),
        line("p3", 400, started("rollback by anna")),
        line("p3", 399, begin(&start, "it is down")),
        line("p4", 300, JournalEvent::Suspended { reason: "moving the database".to_owned() }),
        line("p5", 200, JournalEvent::Resumed),
    ];
    let passes = history(&wanted.name, lines, None);
    insta::assert_snapshot!("history", plain(&past::history(&wanted, &passes, None)));
    insta::assert_snapshot!("history_none", plain(&past::history(&wanted, &[], None)));
    insta::assert_snapshot!("history_machine", serde_json::to_string_pretty(&passes[1]).unwrap());
}

#[test]
fn releases() {
    let at = |minutes: i64| Some(seconds_before(noon(), minutes * 60));
    let one = |name: &str, state: ReleaseStanding, minutes: i64| ReleaseStatus {
        id: id(name),
        current: false,
        desired: false,
        state,
        quarantine: None,
        origin: None,
        made: at(minutes),
        switched: at(minutes),
        proven: at(minutes),
        size_bytes: Some(104_857_600),
        used_by: Vec::new(),
        surplus: false,
    };
    let quarantine = Quarantine {
        key: "trial".to_owned(),
        at: noon(),
        by: Judge::Operator,
        reason: "orders are lost".to_owned(),
        evidence: Vec::new(),
        held: false,
        back_to: None,
    };
    let worker = |pid| Use { process: process(pid), member: Some(member(pid)) };
    let items = [
        ReleaseStatus { surplus: true, ..one("20260101-1", ReleaseStanding::Good, 9000) },
        ReleaseStatus {
            used_by: vec![Use { process: process(7), member: None }],
            ..one("20260105-1", ReleaseStanding::Good, 7000)
        },
        ReleaseStatus { made: None, size_bytes: None, ..one("20260107-1", ReleaseStanding::Absent, 6000) },
        ReleaseStatus { size_bytes: None, ..one("20260108-1", ReleaseStanding::HalfMade, 5000) },
        ReleaseStatus {
            current: true,
            origin: Some("4a5b6c7 of main".to_owned()),
            used_by: vec![worker(101), worker(102)],
            ..one("20260110-1", ReleaseStanding::Good, 300)
        },
        ReleaseStatus {
            desired: true,
            quarantine: Some(quarantine),
            ..one("20260111-1", ReleaseStanding::Quarantined, 30)
        },
        one("20260112-1", ReleaseStanding::Unknown, 1),
    ];
    insta::assert_snapshot!("releases", plain(&list::releases(&items, noon(), None)));
    insta::assert_snapshot!("releases_narrow", plain(&list::releases(&items, noon(), Some(80))));
    insta::assert_snapshot!("releases_machine", serde_json::to_string_pretty(&items[5]).unwrap());
    assert_eq!(list::releases(&[], noon(), None), "no releases\n");
}

#[test]
fn rules() {
    let one = |what: &str, commands: &[&str]| SudoRules {
        user: "deploy".to_owned(),
        what: what.to_owned(),
        commands: commands.iter().map(|&command| command.to_owned()).collect(),
    };
    let rules = [
        one("shop: workers `default`", &["/usr/bin/supervisorctl status", "/usr/bin/supervisorctl start w\\:w_00"]),
        one("blog: workers `default`", &["/usr/bin/supervisorctl status", "/usr/bin/supervisorctl start b\\:b_00"]),
    ];
    insta::assert_snapshot!("rules", sudoers::sudoers(&rules));
    insta::assert_snapshot!("rules_none", sudoers::sudoers(&[]));
}

#[test]
fn what_the_doctor_found() {
    let wanted = app("r2", vec![]);
    let at = Spot { file: "/etc/supervisor/conf.d/web.conf".into(), line: 7 };
    let found = [
        Finding::new("layout.current", Severity::Error, "`/srv/app/current` is a real directory, not a link")
            .why("a directory cannot be replaced in one step, and trueup never removes what it did not make")
            .mend("mkdir -p /srv/app/releases\nmv /srv/app/current /srv/app/releases/before-trueup"),
        Finding::new(
            "supervisord.directory",
            Severity::Warning,
            "workers `default`: `[program:web]` has no `directory=`",
        )
        .at(&at)
        .why("its workers work in `/`, and which release a worker runs can be told by its open files only")
        .mend("directory=/srv/app/current"),
        Finding::unknown("rights", "service `fpm`: sudo does not answer", "sudo -l"),
        Finding::new("layout.root", Severity::Note, "\u{1b}[2Jnot there yet"),
        Finding::ok("disk.inodes", "inodes are left"),
        Finding::ok("disk.space", "50 GiB are free"),
    ];
    let host = [Finding::ok("host.clock", "the clock is synchronised")];
    let all = || [Checked::app(&wanted, &found), Checked::host(&host)];
    insta::assert_snapshot!("doctor", plain(&doctor(&all(), false, None)));
    insta::assert_snapshot!("doctor_verbose_narrow", plain(&doctor(&all(), true, Some(60))));
    insta::assert_snapshot!("doctor_coloured", doctor(&all(), true, Some(80)).replace('\u{1b}', "^"));
    insta::assert_json_snapshot!("doctor_machine", found);
}
