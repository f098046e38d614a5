//! Scenes: Apps, each with a named host as it was seen; and text as pictures show it.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::tz::TimeZone;

use crate::cli::render::style;
use crate::decide::testing::{
    app, builtin, evidence, group, id, in_state, member, noon, process, running, seconds_before, seen, supervisord,
    systemd,
};
use crate::model::amount::Amount;
use crate::model::app::{App, CommandLine, Drain, RestartOn, StrayPolicy, WorkerGroup};
use crate::model::health::{HealthContract, HealthVerdict, Probe, Rule, RuleVerdict};
use crate::model::names::{GroupName, MemberName, RelativePath};
use crate::model::observed::{
    Aim, Evidence, MemberState, Observed, ObservedConfig, ObservedGroup, Rung, Runs, Stray, Unreadable, Worker,
};
use crate::model::process::Known;
use crate::model::record::{Judge, Quarantine};
use crate::model::release::{CommandStep, Release, Revision, Shared, Source};
use crate::model::service::{ObservedService, OnRelease, Service, ServiceManager, ServiceState};
use crate::model::sync::{Window, WindowKind};

/// An App and what was seen of it.
#[derive(Clone)]
pub struct Scene {
    pub app: App,
    pub observed: Observed,
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

pub fn well() -> HealthVerdict {
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

pub fn by_script(ordinal: u32, release: &str) -> Worker {
    at(ordinal, release, Rung::EntryScript, &format!("open file /srv/app/releases/{release}/artisan"))
}

pub fn settled() -> Scene {
    let mut app = app("r2", vec![group("default", 2, supervisord())]);
    app.health = Some(contract());
    let mut observed = seen("r2", vec![by_script(1, "r2"), by_script(2, "r2")]);
    observed.health = Some(well());
    Scene { app, observed }
}

/// A service that reloads for releases, and was last told long ago.
fn add_php_fpm(scene: &mut Scene, restart_on: Vec<RestartOn>) {
    let service = Service {
        name: GroupName::new("php-fpm").unwrap(),
        manager: ServiceManager::Systemd { unit: "php8.2-fpm.service".to_owned() },
        on_release: OnRelease::Reload,
        timeout: Duration::from_secs(30),
        restart_on,
    };
    let state = ServiceState {
        up: true,
        detail: "active (running)".to_owned(),
        renewed: Some(seconds_before(noon(), 9000)),
        can_reload: true,
        ..ServiceState::default()
    };
    scene.observed.services.push(ObservedService { service: service.name.clone(), seen: Ok(state) });
    scene.app.services.push(service);
}

/// The usual deploy: the new release is uploaded, everything still runs the old one.
pub fn deploy() -> Scene {
    let mut scene = settled();
    scene.observed = seen("r1", vec![by_script(1, "r1"), by_script(2, "r1")]);
    scene.observed.health = Some(well());
    scene
}

fn drain(line: &str, seconds: u64) -> Drain {
    Drain { run: CommandLine::Shell(line.to_owned()), timeout: Duration::from_secs(seconds) }
}

/// Everything at once: three managers, a service, strays, old configuration, a manager that gave up.
pub fn mess() -> Scene {
    let mut scene = settled();
    let path = RelativePath::new("shared/.env").unwrap();
    let told = |line: &str| RestartOn { path: path.clone(), run: Some(CommandLine::Shell(line.to_owned())) };
    scene.app.workers[0].restart_on = vec![told("php artisan config:cache")];
    scene.app.workers[0].count = 3;
    scene.app.workers[0].max_unavailable = Amount::Count(1);
    let drain = Some(drain("php artisan queue:restart", 20));
    let mail = WorkerGroup { drain, ..group("mail", 2, systemd()) };
    scene.app.workers.extend([mail, group("cron", 1, builtin())]);
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
    add_php_fpm(&mut scene, vec![told("./write-pool-config")]);
    let changed = |name: &str| ObservedConfig {
        group: GroupName::new(name).unwrap(),
        path: path.clone(),
        content: Known::Known(Some("digest".to_owned())),
        modified: Some(seconds_before(noon(), 10)),
        applied: None,
    };
    scene.observed.config = vec![changed("default"), changed("php-fpm")];
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

pub fn blocked() -> Scene {
    let mut scene = settled();
    scene.app.release.id = id("r9");
    let why = Unreadable {
        message: "cannot reach supervisord at `/run/supervisor.sock`: connection refused".to_owned(),
        help: Some("start it: `systemctl start supervisor`".to_owned()),
        lasting: false,
    };
    scene.observed.groups[0].members = Err(why);
    scene
}

pub fn stalled() -> Scene {
    let mut scene = settled();
    let old = by_script(1, "r1");
    scene.observed = seen("r2", vec![old, Worker { state: MemberState::Unknown, ..running(2, "r2") }]);
    scene.observed.health = Some(well());
    scene.observed.helpless = vec![crate::model::memory::Helpless {
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

pub fn unhealthy() -> Scene {
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
    scene.app.workers[0].drain = Some(drain("php artisan horizon:terminate", 30));
    add_php_fpm(&mut scene, Vec::new());
    scene
}

/// The release before is in force again.
pub fn kept_out() -> Scene {
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
pub fn outside() -> Scene {
    in_windows(deploy(), &[(WindowKind::Allow, "0 22 * * *", 8, "Europe/Berlin")])
}

/// Changes are forbidden at noon of a Friday.
pub fn denied() -> Scene {
    in_windows(deploy(), &[(WindowKind::Deny, "0 9 * * FRI", 87, "UTC")])
}

pub fn window_open() -> Scene {
    in_windows(settled(), &[(WindowKind::Allow, "0 11 * * *", 4, "UTC")])
}

pub fn suspended() -> Scene {
    let mut scene = deploy();
    scene.app.sync.suspend = true;
    scene.app.sync.reason = Some("moving the database".to_owned());
    scene
}

pub fn scenes() -> Vec<(&'static str, Scene)> {
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

/// A picture without colour.
pub fn plain(text: &str) -> String {
    assert!(text.lines().all(|line| !line.ends_with(' ')), "no line ends in a space: {text:?}");
    style::plain(text)
}

/// Escapes made visible, so that a picture can be read.
pub fn coloured(text: &str) -> String {
    text.replace('\u{1b}', "␛")
}
