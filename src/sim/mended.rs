//! A release that failed, was mended under the same id and is good, and then a next one that never comes into force.

use std::time::Duration;

use super::host::SimHost;
use super::populate::world;
use super::schedules::{hopeless, pass};
use super::world::{Flaw, World};
use crate::decide::testing::id;
use crate::model::observed::Link;
use crate::model::release::Source;
use crate::model::report::{Mode, Outcome};

const SCHEDULES: u64 = 3000;

/// Something that this App's gate, or a step before it, is sure to meet.
fn flaw(world: &World) -> Option<Flaw> {
    let release = &world.app.release;
    let works = world.app.workers.iter().any(|group| group.count > 0);
    let flaws = [
        (world.app.health.is_some(), Flaw::Unhealthy),
        (release.source.is_some(), Flaw::Source),
        (!release.verify.is_empty(), Flaw::Verification),
        (works, Flaw::Crashing),
    ];
    flaws.into_iter().find_map(|(fits, flaw)| fits.then_some(flaw))
}

/// Passes in peace until one has this outcome.
async fn until(host: &SimHost, outcome: impl Fn(Outcome) -> bool) -> bool {
    for _ in 0..3 {
        let report = pass(host, Mode::Apply).await;
        host.world().down_by_us.clear();
        if report.is_some_and(|report| outcome(report.outcome)) {
            return true;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    false
}

/// Whether it came so far that the next release failed; the error is what must not have happened.
async fn run(seed: u64) -> Result<bool, String> {
    let mut mistaken = world(seed);
    mistaken.faults.enabled = false;
    mistaken.flaw = flaw(&mistaken);
    for member in &mut mistaken.members {
        member.failing_starts = 0;
    }
    if hopeless(&mistaken) || mistaken.flaw.is_none() {
        return Ok(false);
    }
    let host = SimHost::new(mistaken);
    if !until(&host, |outcome| matches!(outcome, Outcome::RolledBack | Outcome::Quarantined)).await {
        return Ok(false);
    }
    {
        let mut world = host.world();
        world.app.fingerprint.trial = "mended".to_owned();
        world.app.fingerprint.recipe = "mended".to_owned();
        world.flaw = None;
    }
    if !until(&host, |outcome| outcome == Outcome::Converged).await {
        return Ok(false);
    }
    {
        let mut world = host.world();
        world.app.release.id = id("r4");
        world.app.release.source = Some(Source::Dir { path: "/srv/build/r4".into() });
        world.app.fingerprint.trial = "next".to_owned();
        world.app.fingerprint.recipe = "next".to_owned();
        world.flaw = Some(Flaw::Source);
        world.faults.enabled = seed.is_multiple_of(2);
    }
    for _ in 0..2 {
        pass(&host, Mode::Apply).await;
        host.world().down_by_us.clear();
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    host.world().faults.enabled = false;
    until(&host, |outcome| outcome == Outcome::Quarantined).await;
    let mut world = host.world();
    let failed = world.records.get(&id("r4")).is_some_and(|record| record.kept_out().is_some());
    if world.link != (Link::Release { id: id("r2") }) || !world.releases.contains(&id("r2")) {
        let (link, releases) = (world.link.clone(), world.releases.clone());
        world.violation(format!("r2 is good, r4 failed before its switch: current is {link}, there are {releases:?}"));
    }
    match world.violations.first() {
        None => Ok(failed),
        Some(_) => Err(format!("seed {seed}: {}\n{:#?}", world.violations.join("\n"), world.records)),
    }
}

#[test]
fn a_release_that_was_mended_stays_when_the_next_one_fails_before_its_switch() {
    let mut met = 0;
    for seed in 0..SCHEDULES {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        met += u64::from(runtime.block_on(run(seed)).unwrap_or_else(|story| panic!("{story}")));
    }
    assert!(met >= SCHEDULES / 20, "only {met} of {SCHEDULES} schedules came so far");
}
