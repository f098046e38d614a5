//! Passes outside an App's windows, after anything may have happened: only what is half done goes on.

use std::time::Duration;

use jiff::SignedDuration;
use jiff::tz::TimeZone;

use super::host::SimHost;
use super::populate::world;
use super::schedules::{hopeless, pass};
use super::world::World;
use crate::decide::testing::{id, noon};
use crate::model::action::Action;
use crate::model::observed::Link;
use crate::model::release::Stage;
use crate::model::report::{Mode, Outcome, PassReport};
use crate::model::sync::{Window, WindowKind};

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
        let Some(report) = pass(&host, Mode::Apply).await else { continue };
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
