//! Passes that may not act, or not yet: outside an App's windows, after anything may have happened, only what is half
//! done goes on; and what cannot be observed is neither switched past nor taken for something else.

use std::time::Duration;

use jiff::SignedDuration;
use jiff::tz::TimeZone;

use super::host::SimHost;
use super::populate::{settled, world};
use super::schedules::{hopeless, pass};
use super::world::World;
use crate::decide::explain::warnings;
use crate::decide::status::status_of;
use crate::decide::testing::{app, builtin, contract, group, id, noon, record};
use crate::documents::app::exit_code;
use crate::engine::probing::health_now;
use crate::model::action::Action;
use crate::model::app::StrayPolicy;
use crate::model::health::{HealthContract, Rule};
use crate::model::names::{GroupName, UserName};
use crate::model::observed::Link;
use crate::model::release::Stage;
use crate::model::report::{Mode, Outcome, PassReport};
use crate::model::service::{OnRelease, Service, ServiceManager};
use crate::model::status::ConditionType;
use crate::model::sync::{Window, WindowKind};
use crate::ports::HostErrorKind;

const SCHEDULES: u64 = 1000;

fn windows(kind: WindowKind, schedule: &str, duration: Duration) -> Vec<Window> {
    vec![Window { kind, schedule: schedule.to_owned(), duration, time_zone: TimeZone::UTC }]
}

/// The desired release was switched to, and nobody has judged it yet.
fn on_trial(world: &World) -> bool {
    let record = world.records.get(&id("r2"));
    let unjudged = record
        .is_some_and(|record| record.switched.is_some() && record.proven.is_none() && record.quarantine.is_none());
    unjudged && world.link == Link::Release { id: id("r2") }
}

fn in_simulated_time<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(work)
}

/// A pass or two that may be killed, then passes in peace under a window that denies everything.
async fn denied(seed: u64) -> (bool, bool) {
    let host = SimHost::new(world(seed));
    for _ in 0..=seed % 2 {
        pass(&host, Mode::Apply).await;
        // How many may be down is for one pass: who was killed cannot put back what it took down.
        host.world().down_by_us.clear();
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    {
        let mut world = host.world();
        world.faults.enabled = false;
        world.app.sync.windows = windows(WindowKind::Deny, "0 0 1 1 *", Duration::from_hours(365 * 24));
    }
    let half_done = on_trial(&host.world());
    let mut withheld = false;
    for _ in 0..4 {
        let (before, goes_on, back) = {
            let world = host.world();
            (world.changes, on_trial(&world), world.target() != world.app.release.id)
        };
        // Two calls of a killed pass may both have died.
        let report = pass(&host, Mode::Apply).await;
        host.world().down_by_us.clear();
        let Some(report) = report else { continue };
        withheld |= report.outcome == Outcome::Withheld;
        if !goes_on && !back {
            assert_eq!((host.world().changes, report.tried.len()), (before, 0), "seed {seed}: {report:#?}");
            assert!(report.withheld.is_some(), "seed {seed}: {report:#?}");
        }
        assert_ne!(report.outcome, Outcome::Interrupted, "seed {seed}");
    }
    let world = host.world();
    assert!(!on_trial(&world) || hopeless(&world), "seed {seed}: a trial was left half done");
    if world.target() != world.app.release.id && !hopeless(&world) {
        assert_eq!(world.link, Link::Release { id: world.target() }, "seed {seed}: a way back was left half done");
    }
    assert!(world.violations.is_empty(), "seed {seed}: {:?}", world.violations);
    (half_done, withheld)
}

#[test]
fn under_a_window_that_denies_changes_only_what_is_half_done_goes_on() {
    let seen: Vec<(bool, bool)> = (0..SCHEDULES).map(|seed| in_simulated_time(denied(seed))).collect();
    let number = |which: fn(&(bool, bool)) -> bool| seen.iter().filter(|one| which(one)).count();
    let (half_done, withheld) = (number(|(half_done, _)| *half_done), number(|(_, withheld)| *withheld));
    assert!(half_done >= 10 && withheld >= 50, "too little was met: {half_done} trials, {withheld} withheld");
}

/// One pass that begins a second before its window closes.
async fn closing(seed: u64) -> Option<PassReport> {
    let mut early = world(seed);
    let closes = noon() + SignedDuration::from_mins(60);
    early.advance(closes - SignedDuration::from_secs(1));
    early.app.sync.windows = windows(WindowKind::Allow, "0 12 * * *", Duration::from_hours(1));
    let host = SimHost::new(early);
    let report = pass(&host, Mode::Apply).await?;
    let prepared_too_late = report.tried.iter().any(|one| {
        let prepares = match &one.action {
            Action::FetchRelease { .. } | Action::LinkShared { .. } => true,
            Action::RunStage { stage, .. } => matches!(stage, Stage::Build | Stage::Verify | Stage::Migrate),
            _ => false,
        };
        prepares && one.began + one.took >= closes
    });
    let switched =
        report.tried.iter().any(|one| matches!(&one.action, Action::SwitchCurrent { to } if *to == id("r2")));
    assert!(!(prepared_too_late && switched), "seed {seed}: {:#?}", report.tried);
    Some(report)
}

#[test]
fn a_window_that_closes_over_the_preparations_keeps_the_switch_back() {
    let reports = (0..SCHEDULES).filter_map(|seed| in_simulated_time(closing(seed)));
    let cut = reports.filter(|report| report.outcome == Outcome::Withheld && !report.tried.is_empty()).count();
    assert!(cut >= 3, "too few windows closed over preparations: {cut}");
}

/// What the application is asked: that it is well, and that it is the release which is meant.
fn names_its_release(release: &str) -> HealthContract {
    HealthContract {
        attempts: 2,
        expect: vec![Rule("status == 200".to_owned()), Rule(format!("release.id == \"{release}\""))],
        ..contract()
    }
}

#[test]
fn while_a_release_waits_for_its_window_health_is_that_of_the_one_in_force() {
    in_simulated_time(async {
        for ill in [false, true] {
            let mut waiting = settled(app("r1", vec![group("default", 2, builtin())]), vec![record("r1", 50)]);
            waiting.releases.push(id("r2"));
            waiting.app.release.id = id("r2");
            waiting.app.health = Some(names_its_release("r1"));
            waiting.app.sync.windows = windows(WindowKind::Deny, "0 0 1 1 *", Duration::from_hours(365 * 24));
            waiting.healthy = !ill;
            let host = SimHost::new(waiting);
            let report = pass(&host, Mode::Apply).await.unwrap();
            assert_eq!(report.outcome, Outcome::Withheld, "{report:#?}");
            let (wish, seen) = (host.world().app.clone(), report.after.clone().unwrap());
            assert!(seen.health.as_ref().is_some_and(|verdict| !verdict.healthy), "what a gate would say");
            let status = status_of(&wish, "g".to_owned(), &seen, &report.remaining, report.withheld.clone());
            assert_eq!(status.is(ConditionType::Healthy), !ill, "{status:#?}");
            assert_eq!(status.health.map(|verdict| verdict.healthy), Some(!ill));
            assert_eq!(health_now(&host, &wish, &seen).await.map(|verdict| verdict.healthy), Some(!ill));
            assert_eq!(exit_code(&pass(&host, Mode::DryRun).await.unwrap()), if ill { 3 } else { 2 });
        }
    });
}

/// Two workers on r1, which is in force and good, and r2 that is there and wanted; php-fpm has to serve it.
fn about_to_switch() -> World {
    let mut world = settled(app("r1", vec![group("default", 2, builtin())]), vec![record("r1", 50)]);
    world.releases.push(id("r2"));
    world.app.release.id = id("r2");
    world.service_renewed = world.now - SignedDuration::from_secs(100);
    world.app.services = vec![Service {
        name: GroupName::new("php-fpm").unwrap(),
        manager: ServiceManager::Systemd { unit: "php8.3-fpm.service".to_owned() },
        on_release: OnRelease::Reload,
        timeout: Duration::from_secs(30),
        restart_on: Vec::new(),
    }];
    world
}

#[test]
fn a_service_that_cannot_be_observed_stops_a_release_before_anything_is_done_unless_it_is_back_soon() {
    let rows = [
        ("it does not exist", HostErrorKind::Misconfigured, 3600, Outcome::Failed),
        ("systemd is gone", HostErrorKind::Unreachable, 3600, Outcome::Failed),
        ("systemd is executed anew", HostErrorKind::Unreachable, 3, Outcome::Converged),
    ];
    for (name, kind, seconds, outcome) in rows {
        in_simulated_time(async {
            let mut world = about_to_switch();
            let until = world.now + SignedDuration::from_secs(seconds);
            world.away.insert(GroupName::new("php-fpm").unwrap(), (until, kind));
            let host = SimHost::new(world);
            let began = tokio::time::Instant::now();
            let report = pass(&host, Mode::Apply).await.unwrap();
            assert_eq!(report.outcome, outcome, "{name}: {report:#?}");
            if outcome == Outcome::Failed {
                assert_eq!((report.tried.len(), host.world().changes), (0, 0), "{name}");
                assert_eq!(report.remaining.blockers.len(), 1, "{name}");
                let waited = began.elapsed() > Duration::from_secs(1);
                assert_eq!(waited, kind == HostErrorKind::Unreachable, "{name}: only who may come back is waited for");
            }
            assert_eq!(host.world().violations, [""; 0], "{name}");
        });
    }
}

#[test]
fn workers_of_a_group_that_cannot_be_observed_are_no_strays() {
    in_simulated_time(async {
        let mut world = about_to_switch();
        world.app.strays = StrayPolicy::Stop;
        world.away.insert(
            GroupName::new("default").unwrap(),
            (world.now + SignedDuration::from_hours(1), HostErrorKind::Denied),
        );
        let host = SimHost::new(world);
        let report = pass(&host, Mode::DryRun).await.unwrap();
        let seen = report.after.as_ref().or(report.before.as_ref()).unwrap();
        assert_eq!((seen.strays.len(), seen.untold), (0, 2), "{seen:#?}");
        assert!(!report.plan.steps.iter().any(|step| matches!(step.action, Action::StopStray { .. })));
        let said = warnings(&host.world().app, seen);
        assert_eq!(said.len(), 1);
        assert!(said[0].message.starts_with("2 processes of `/srv/app` belong to no group"), "{}", said[0].message);
        host.world().away.clear();
        let report = pass(&host, Mode::DryRun).await.unwrap();
        let seen = report.before.unwrap();
        assert_eq!((seen.strays.len(), seen.untold), (0, 0));
    });
}

#[test]
fn a_user_who_does_not_exist_stops_a_release_that_is_to_come_and_is_told_of_one_that_is_in_force() {
    in_simulated_time(async {
        for wanted in ["r2", "r1"] {
            let mut world = about_to_switch();
            world.app.release.id = id(wanted);
            world.app.user = Some(UserName::new("deplyo").unwrap());
            let host = SimHost::new(world);
            let report = pass(&host, Mode::Apply).await.unwrap();
            assert_eq!((report.outcome, report.tried.len()), (Outcome::Failed, 0), "{wanted}: {report:#?}");
            let left = (report.remaining.blockers.len(), report.remaining.stalled.len());
            assert_eq!(left, if wanted == "r2" { (1, 0) } else { (0, 1) }, "{wanted}");
            host.world().app.user = Some(UserName::new("deploy").unwrap());
            assert_eq!(pass(&host, Mode::Apply).await.unwrap().outcome, Outcome::Converged, "{wanted}");
        }
    });
}
