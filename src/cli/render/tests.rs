//! Pictures of everything that people see, over named hosts; reviewed like prose.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::tz::TimeZone;

use super::status::Entry;
use super::{markdown, preview, report, status as text};
use crate::decide::diff::diff;
use crate::decide::plan::plan_for;
use crate::decide::testing::{
    app, builtin, evidence, group, id, in_state, member, noon, process, running, seconds_before, seen, supervisord,
    systemd,
};
use crate::decide::withhold::{Permit, withheld};
use crate::decide::{explain, status as decide};
use crate::documents::pass;
use crate::model::action::Action;
use crate::model::app::{App, CommandLine, MaxUnavailable, RestartOn, StrayPolicy};
use crate::model::health::{HealthContract, HealthVerdict, Probe, Rule, RuleVerdict};
use crate::model::names::{GroupName, MemberName, RelativePath};
use crate::model::observed::{Aim, Evidence, Link, MemberState, Observed, ObservedConfig, ObservedGroup};
use crate::model::observed::{Rung, Runs, Stray, Unreadable, Worker};
use crate::model::process::Known;
use crate::model::record::{Judge, Quarantine};
use crate::model::release::{CommandStep, Release, Revision, Shared, Source};
use crate::model::report::{Mode, Outcome, PassReport, Problem, Tried};
use crate::model::service::{ObservedService, OnRelease, Service, ServiceManager, ServiceState};
use crate::model::sync::{Window, WindowKind, Withheld};

/// An App and what was seen of it.
#[derive(Clone)]
struct Scene {
    app: App,
    observed: Observed,
}

fn contract() -> HealthContract {
    HealthContract {
        probe: Probe::Http {
            url: "https://shop.example/health".to_owned(),
            headers: BTreeMap::new(),
            connect_to: None,
            ca_file: None,
        },
        timeout: Duration::from_secs(10),
        attempts: 5,
        interval: Duration::from_secs(3),
        watch: None,
        expect: vec![Rule("status == 200".to_owned())],
    }
}

fn well() -> HealthVerdict {
    HealthVerdict { healthy: true, rules: Vec::new(), failure: None, latency_ms: Some(12) }
}

fn sick() -> HealthVerdict {
    let rule = |rule: &str, passed, seen: &str, reason: Option<&str>| RuleVerdict {
        rule: Rule(rule.to_owned()),
        passed,
        seen: seen.to_owned(),
        reason: reason.map(str::to_owned),
    };
    HealthVerdict {
        healthy: false,
        rules: vec![
            rule("status == 200", true, "status = 200", None),
            rule("body.status == \"healthy\"", false, "body.status = \"degraded\"", None),
            rule("body.queue.pending_jobs < 1000", false, "", Some("no such key: queue")),
        ],
        failure: None,
        latency_ms: Some(40),
    }
}

fn at(ordinal: u32, release: &str, rung: Rung, seen: &str) -> Worker {
    let evidence = Evidence { runs: Runs::Release { id: id(release) }, rung: Some(rung), seen: seen.to_owned() };
    Worker { evidence, ..running(ordinal, release) }
}

fn by_script(ordinal: u32, release: &str) -> Worker {
    at(ordinal, release, Rung::EntryScript, &format!("open file /srv/app/releases/{release}/artisan"))
}

fn settled() -> Scene {
    let mut app = app("r2", vec![group("default", 2, supervisord())]);
    app.health = Some(contract());
    let mut observed = seen("r2", vec![by_script(1, "r2"), by_script(2, "r2")]);
    observed.health = Some(well());
    Scene { app, observed }
}

/// The usual deploy: the new release is uploaded, everything still runs the old one.
fn deploy() -> Scene {
    let mut scene = settled();
    scene.observed = seen("r1", vec![by_script(1, "r1"), by_script(2, "r1")]);
    scene.observed.health = Some(well());
    scene
}

/// Everything at once: three managers, strays, old configuration, a manager that gave up.
fn mess() -> Scene {
    let mut scene = settled();
    let path = RelativePath::new("shared/.env").unwrap();
    let step = Some(CommandLine::Shell("php artisan config:cache".to_owned()));
    scene.app.workers[0].restart_on = vec![RestartOn { path: path.clone(), run: step }];
    scene.app.workers[0].count = 3;
    scene.app.workers[0].max_unavailable = MaxUnavailable::Count(1);
    scene.app.workers.extend([group("mail", 2, systemd()), group("cron", 1, builtin())]);
    scene.app.strays = StrayPolicy::Stop;
    let failed = Worker {
        detail: "Exited too quickly (process log may have details)".to_owned(),
        ..in_state(3, MemberState::Failed)
    };
    scene.observed = seen(
        "r2",
        vec![by_script(1, "r2"), Worker { evidence: evidence(Runs::BeforeSwitch), ..running(2, "r1") }, failed],
    );
    let unit = |ordinal: u32, enabled| Worker {
        member: MemberName::new(format!("web@{ordinal}.service")).unwrap(),
        enabled: Some(enabled),
        ..at(ordinal, "r2", Rung::WorkingDirectory, "cwd /srv/app/releases/r2")
    };
    scene.observed.groups.extend([
        ObservedGroup {
            group: GroupName::new("mail").unwrap(),
            members: Ok(vec![unit(1, true), unit(2, false), unit(3, true)]),
        },
        ObservedGroup { group: GroupName::new("cron").unwrap(), members: Ok(vec![]) },
    ]);
    scene.observed.config = vec![ObservedConfig {
        group: GroupName::new("default").unwrap(),
        path,
        content: Known::Known(Some("digest".to_owned())),
        modified: Some(seconds_before(noon(), 10)),
        applied: None,
    }];
    scene.observed.strays = vec![Stray {
        process: process(4711),
        evidence: evidence(Runs::Release { id: id("r1") }),
        command: "php /srv/app/releases/r1/artisan schedule:run \u{1b}[31m| tail".to_owned(),
        orphan_of: None,
        spared: None,
    }];
    scene.observed.health = Some(sick());
    scene
}

fn blocked() -> Scene {
    let mut scene = settled();
    scene.app.release.id = id("r9");
    let why = Unreadable {
        message: "cannot reach supervisord at `/run/supervisor.sock`: connection refused".to_owned(),
        help: Some("start it: `systemctl start supervisor`".to_owned()),
    };
    scene.observed.groups[0].members = Err(why);
    scene
}

fn stalled() -> Scene {
    let mut scene = settled();
    let old = by_script(1, "r1");
    scene.observed = seen("r2", vec![old, Worker { state: MemberState::Unknown, ..running(2, "r2") }]);
    scene.observed.health = Some(well());
    scene.observed.helpless = vec![crate::model::record::Helpless {
        group: GroupName::new("default").unwrap(),
        member: member(1),
        process: process(101),
        release: id("r2"),
    }];
    scene
}

fn moving() -> Scene {
    let mut scene = settled();
    scene.observed = seen("r2", vec![in_state(1, MemberState::Backoff), by_script(2, "r2")]);
    scene.observed.health = Some(well());
    scene
}

fn unhealthy() -> Scene {
    let mut scene = settled();
    scene.observed.health = Some(sick());
    scene
}

/// A new release with a whole life before it.
fn release() -> Scene {
    let mut scene = settled();
    let step = |line: &str| CommandStep {
        run: CommandLine::Shell(line.to_owned()),
        timeout: Duration::from_mins(10),
        env: BTreeMap::new(),
        working_directory: None,
        user: None,
    };
    let path = |text: &str| RelativePath::new(text).unwrap();
    let url = "https://deploy:secret@git.example/shop.git".to_owned();
    scene.app.release = Release {
        source: Some(Source::Git { url, revision: Revision::Ref("main".to_owned()), submodules: false }),
        shared: Shared { dirs: vec![path("storage")], files: vec![path(".env")], writable: Vec::new() },
        build: vec![step("composer install --no-dev"), step("php artisan optimize")],
        verify: vec![step("php artisan --version")],
        migrate: vec![step("php artisan migrate --force")],
        keep: 2,
        ..Release::present(id("r4"))
    };
    let web = Service {
        name: GroupName::new("php-fpm").unwrap(),
        manager: ServiceManager::Systemd { unit: "php8.2-fpm.service".to_owned() },
        on_release: OnRelease::Reload,
        timeout: Duration::from_secs(30),
        restart_on: Vec::new(),
    };
    let state = ServiceState {
        up: true,
        detail: "active (running)".to_owned(),
        renewed: Some(seconds_before(noon(), 9000)),
        can_reload: true,
        ..ServiceState::default()
    };
    scene.app.services = vec![web.clone()];
    scene.observed.services = vec![ObservedService { service: web.name, seen: Ok(state) }];
    scene
}

/// The release before is in force again.
fn kept_out() -> Scene {
    let mut scene = settled();
    scene.app.release.id = id("r3");
    let record = scene.observed.records.iter_mut().find(|record| record.id == id("r3")).unwrap();
    record.proven = None;
    record.quarantine = Some(Quarantine {
        key: scene.app.fingerprint.trial.clone(),
        at: seconds_before(noon(), 600),
        by: Judge::Gate,
        reason: "prove r3: the gate was not passed in 5 attempts: `status == 200` does not hold: status = 500"
            .to_owned(),
        evidence: Vec::new(),
        held: false,
        back_to: None,
    });
    scene.observed.aim = Aim::Back { to: id("r2") };
    scene
}

fn scenes() -> Vec<(&'static str, Scene)> {
    vec![
        ("settled", settled()),
        ("deploy", deploy()),
        ("mess", mess()),
        ("blocked", blocked()),
        ("stalled", stalled()),
        ("moving", moving()),
        ("unhealthy", unhealthy()),
        ("release", release()),
        ("kept_out", kept_out()),
        ("outside", outside()),
        ("denied", denied()),
        ("window_open", window_open()),
        ("suspended", suspended()),
    ]
}

fn in_windows(mut scene: Scene, windows: &[(WindowKind, &str, u64, &str)]) -> Scene {
    let window = |(kind, schedule, hours, zone): &(WindowKind, &str, u64, &str)| Window {
        kind: *kind,
        schedule: (*schedule).to_owned(),
        duration: Duration::from_hours(*hours),
        time_zone: TimeZone::get(zone).unwrap(),
    };
    scene.app.sync.windows = windows.iter().map(window).collect();
    scene
}

/// Changes are made at night, and it is noon.
fn outside() -> Scene {
    in_windows(deploy(), &[(WindowKind::Allow, "0 22 * * *", 8, "Europe/Berlin")])
}

/// Changes are forbidden at noon of a Friday.
fn denied() -> Scene {
    in_windows(deploy(), &[(WindowKind::Deny, "0 9 * * FRI", 87, "UTC")])
}

fn window_open() -> Scene {
    in_windows(settled(), &[(WindowKind::Allow, "0 11 * * *", 4, "UTC")])
}

fn suspended() -> Scene {
    let mut scene = deploy();
    scene.app.sync.suspend = true;
    scene.app.sync.reason = Some("moving the database".to_owned());
    scene
}

fn plain(text: &str) -> String {
    assert!(text.lines().all(|line| !line.ends_with(' ')), "no line ends in a space: {text:?}");
    anstream::adapter::strip_str(text).to_string()
}

/// Escapes made visible, so that a picture can be read.
fn coloured(text: &str) -> String {
    text.replace('\u{1b}', "␛")
}

fn previewed(scene: &Scene, width: Option<usize>) -> String {
    let difference = diff(&scene.app, &scene.observed);
    let withheld = withheld(&scene.app, &scene.observed, &difference, Permit::default());
    preview::preview(
        &scene.app,
        &scene.observed,
        &difference,
        &plan_for(&scene.app, &difference),
        withheld.as_ref(),
        width,
    )
}

#[test]
fn previews() {
    for (name, scene) in scenes() {
        insta::assert_snapshot!(format!("preview_{name}"), plain(&previewed(&scene, None)));
    }
}

#[test]
fn a_preview_in_colour() {
    insta::assert_snapshot!("preview_coloured", coloured(&previewed(&deploy(), None)));
}

#[test]
fn a_preview_on_a_narrow_terminal() {
    insta::assert_snapshot!("preview_narrow", plain(&previewed(&mess(), Some(80))));
}

#[test]
fn previews_as_markdown() {
    for (name, scene) in scenes() {
        let difference = diff(&scene.app, &scene.observed);
        let plan = plan_for(&scene.app, &difference);
        let text = markdown::preview(
            &scene.app,
            &scene.observed,
            &difference,
            &plan,
            withheld(&scene.app, &scene.observed, &difference, Permit::default()).as_ref(),
        );
        assert!(!text.contains('\u{1b}'), "no colours in Markdown");
        insta::assert_snapshot!(format!("markdown_{name}"), text);
    }
}

fn status_of(scene: &Scene) -> crate::model::status::AppStatus {
    let difference = diff(&scene.app, &scene.observed);
    decide::status(&scene.app, "0123456789ab".to_owned(), &scene.observed, &difference)
}

#[test]
fn statuses() {
    for (name, scene) in scenes() {
        let difference = diff(&scene.app, &scene.observed);
        let status = status_of(&scene);
        let blockers = difference.blockers.iter().map(|one| explain::blocker(&scene.app, one));
        let problems = blockers.chain(difference.stalled.iter().map(|one| explain::stalled(&scene.app, one))).collect();
        let entry = Entry { app: &scene.app, status: &status, problems };
        insta::assert_snapshot!(format!("status_{name}"), plain(&text::status(&[entry], None)));
    }
}

#[test]
fn several_apps_and_one_that_could_not_be_seen() {
    let (one, two) = (settled(), deploy());
    let unseen =
        decide::unobserved(&two.app, "0123456789ab".to_owned(), "cannot read `/srv/app/releases`: permission denied");
    let problem = Problem {
        message: "cannot read `/srv/app/releases`: permission denied".to_owned(),
        help: Some("run as root, or as the user that owns the root".to_owned()),
        lasting: true,
    };
    let entries = [
        Entry { app: &one.app, status: &status_of(&one), problems: Vec::new() },
        Entry { app: &two.app, status: &unseen, problems: vec![problem] },
    ];
    insta::assert_snapshot!("status_several", plain(&text::status(&entries, None)));
}

#[test]
fn statuses_for_programs() {
    insta::assert_snapshot!("status_machine", serde_json::to_string_pretty(&status_of(&mess())).unwrap());
}

#[test]
fn a_status_tells_programs_why_drift_is_left() {
    let fought = Withheld::TooManyCorrections { limit: 30, until: noon() };
    let scene = deploy();
    let difference = diff(&scene.app, &scene.observed);
    let fought = decide::status_of(&scene.app, "0123456789ab".to_owned(), &scene.observed, &difference, Some(fought));
    let told = [status_of(&outside()), status_of(&suspended()), fought, status_of(&window_open())]
        .map(|status| serde_json::json!({"withheld": status.withheld, "conditions": status.conditions}));
    insta::assert_snapshot!("status_withheld", serde_json::to_string_pretty(&told).unwrap());
}

/// A report of a pass that began at `before` and ended at `after`.
fn passed(before: &Scene, after: &Scene, outcome: Outcome, tried: Vec<Tried>) -> PassReport {
    let difference = diff(&before.app, &before.observed);
    PassReport {
        app: before.app.name.clone(),
        root: before.app.root.clone(),
        release: before.app.release.id.clone(),
        pass: "20260501T120000.000-77".to_owned(),
        began: noon(),
        took: Duration::from_millis(2345),
        mode: Mode::Apply,
        outcome,
        withheld: withheld(&before.app, &before.observed, &difference, Permit::default()),
        before: Some(before.observed.clone()),
        plan: plan_for(&before.app, &difference),
        difference,
        tried,
        after: Some(after.observed.clone()),
        remaining: diff(&after.app, &after.observed),
        health_attempts: 1,
        problems: Vec::new(),
    }
}

fn tried(action: Action, reason: &str, millis: u64, problem: Option<Problem>) -> Tried {
    Tried {
        action,
        reason: reason.to_owned(),
        began: noon(),
        took: Duration::from_millis(millis),
        problem,
        notes: Vec::new(),
    }
}

fn restart(ordinal: u32) -> Action {
    let group = GroupName::new("default").unwrap();
    Action::RestartWorker { group, member: member(ordinal), process: Some(process(100 + ordinal)) }
}

#[test]
fn reports() {
    let deployed = || {
        vec![
            tried(Action::SwitchCurrent { to: id("r2") }, "current leads to r1", 4, None),
            tried(restart(1), "runs r1 (open file /srv/app/releases/r1/artisan)", 1210, None),
            tried(restart(2), "runs r1 (open file /srv/app/releases/r1/artisan)", 30_800, None),
        ]
    };
    let trouble = Problem {
        message: "restart web:web_02 (pid 102): it does not stay up: PHP Fatal error: Uncaught Error".to_owned(),
        help: Some("read its log: `supervisorctl tail web:web_02 stderr`".to_owned()),
        lasting: true,
    };
    let mut half = settled();
    half.observed = seen("r2", vec![by_script(1, "r2"), in_state(2, MemberState::Failed)]);
    half.observed.health = Some(well());
    let mut failed = deployed();
    failed[2].problem = Some(trouble.clone());
    let mut failure = passed(&deploy(), &half, Outcome::Failed, failed);
    failure.problems = vec![trouble];
    let mut sick = passed(&deploy(), &unhealthy(), Outcome::Unhealthy, deployed());
    sick.health_attempts = 5;
    let mut stopped = deploy();
    stopped.observed.layout.link = Link::Release { id: id("r2") };
    let mut first = deployed();
    first.truncate(1);
    let fought = Withheld::TooManyCorrections { limit: 30, until: noon() + jiff::SignedDuration::from_mins(42) };
    let fought = PassReport { withheld: Some(fought), ..passed(&deploy(), &deploy(), Outcome::Withheld, vec![]) };
    let mut resting = settled();
    resting.observed.suspended = Some("moving the database".to_owned());
    let rows = vec![
        ("resting", settled(), passed(&resting, &resting, Outcome::Converged, vec![])),
        ("settled", settled(), passed(&settled(), &settled(), Outcome::Converged, vec![])),
        ("deployed", deploy(), passed(&deploy(), &settled(), Outcome::Converged, deployed())),
        ("failed", deploy(), failure),
        ("unhealthy", deploy(), sick),
        ("interrupted", deploy(), passed(&deploy(), &stopped, Outcome::Interrupted, first)),
        ("withheld", suspended(), passed(&suspended(), &suspended(), Outcome::Withheld, vec![])),
        ("outside", outside(), passed(&outside(), &outside(), Outcome::Withheld, vec![])),
        ("denied", denied(), passed(&denied(), &denied(), Outcome::Withheld, vec![])),
        ("fought", deploy(), fought),
        ("blocked", blocked(), passed(&blocked(), &blocked(), Outcome::Failed, vec![])),
        ("stalled", stalled(), passed(&stalled(), &stalled(), Outcome::Failed, vec![])),
        ("rolled_back", kept_out(), passed(&deploy(), &kept_out(), Outcome::RolledBack, deployed())),
        ("kept_out", kept_out(), passed(&kept_out(), &kept_out(), Outcome::Quarantined, vec![])),
    ];
    for (name, scene, passed) in rows {
        insta::assert_snapshot!(format!("report_{name}"), plain(&report::report(&scene.app, &passed, Some(100))));
    }
    let deployed = passed(&deploy(), &settled(), Outcome::Converged, deployed());
    insta::assert_snapshot!("report_coloured", coloured(&report::report(&deploy().app, &deployed, None)));
    let machine = serde_json::to_string_pretty(&pass::passes(&[deployed])).unwrap();
    insta::assert_snapshot!("report_machine", machine);
}
