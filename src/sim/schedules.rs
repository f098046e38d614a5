//! A hundred thousand schedules: a random App on a random host, trueup killed, lied to and interfered
//! with, then left in peace. Whatever happened, nothing forbidden may have, and peace must converge.
//!
//! `TRUEUP_SIM_SCHEDULES=1000000` runs more of them, `TRUEUP_SIM_SEED=N` replays one and prints it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::faults::{Call, Coverage, Fault};
use super::host::SimHost;
use super::populate::world;
use super::world::{Flaw, Process, Shows, World};
use crate::decide::testing::id;
use crate::engine::batch::reconcile;
use crate::engine::events::Silent;
use crate::engine::interrupt::Interrupt;
use crate::engine::pass::Request;
use crate::model::action::Action;
use crate::model::journal::JournalEvent;
use crate::model::observed::Link;
use crate::model::process::Pid;
use crate::model::report::{Mode, Outcome, PassReport};
use crate::model::sync::Counting;

/// Schedules in a normal test run: a hundred thousand, and some more for what is met most seldom.
const SCHEDULES: u64 = 120_000;
/// Schedules in which something else is wanted in the middle of each pass.
const SUPERSEDED: u64 = 3_000;
/// Hosts on which a dry run is held against the pass after it.
const SHOWN: u64 = 5_000;
/// How often each fault must have met each call it fits.
const COVERED: u64 = 100;

/// Something that others do to the host between or during passes.
fn interfere(world: &mut World) {
    let pids: Vec<Pid> = world
        .processes
        .values()
        .filter(|one| !one.orphan && one.owner.is_some())
        .map(|one: &Process| one.id.pid)
        .collect();
    match world.random.below(6) {
        0 if !pids.is_empty() => {
            let pid = world.random.pick(&pids);
            world.end(pid);
        }
        1 => {
            world.link = Link::Release { id: id("r1") };
            world.link_changed = Some(world.now);
        }
        2 => {
            world.config_version += 1;
            world.config_written = world.now;
        }
        3 => {
            let failing = u32::try_from(world.random.below(3)).unwrap();
            for member in &mut world.members {
                member.failing_starts = failing;
            }
        }
        4 => world.healthy = !world.healthy,
        _ => {}
    }
}

pub(super) fn request(mode: Mode) -> Request {
    Request {
        mode,
        wait: Duration::ZERO,
        trigger: "test".to_owned(),
        interrupt: Interrupt::default(),
        withheld: None,
        ignore_windows: false,
        counting: Counting::Off,
    }
}

/// One pass, unless trueup is killed in it.
pub(super) async fn pass(host: &SimHost, mode: Mode) -> Option<PassReport> {
    pass_by(host, &request(mode)).await
}

/// The same, as it is asked for here.
pub(super) async fn pass_by(host: &SimHost, request: &Request) -> Option<PassReport> {
    host.world().journal_failed = false;
    let app = host.world().app.clone();
    let apps = [&app];
    tokio::select! {
        biased;
        () = host.crashed() => None,
        mut reports = reconcile(host, &apps, request, &Silent) => reports.pop(),
    }
}

/// The same, and at some moment something else is wanted.
async fn superseded_pass(host: &SimHost) -> Option<PassReport> {
    let after = host.world().random.below(500);
    let request = request(Mode::Apply);
    let superseded = async {
        tokio::time::sleep(Duration::from_millis(after)).await;
        request.interrupt.supersede();
        std::future::pending::<()>().await;
    };
    tokio::select! {
        report = pass_by(host, &request) => report,
        () = superseded => None,
    }
}

/// Runs one schedule. The error tells what must not have happened.
async fn run(seed: u64, superseded: bool) -> Result<Coverage, String> {
    let host = SimHost::new(world(seed));
    // A guard of the world that lives on into an await would stop it for ever.
    let passes = host.world().random.below(3);
    for _ in 0..=passes {
        let dry = host.world().random.percent(10);
        let changes = host.world().changes;
        let mode = if dry { Mode::DryRun } else { Mode::Apply };
        let report = if superseded && !dry { superseded_pass(&host).await } else { pass(&host, mode).await };
        if dry && host.world().changes != changes {
            host.world().violation("a dry run has changed something");
        }
        honest(&host, report.as_ref());
        host.world().down_by_us.clear();
        interfere(&mut host.world());
        let pause = host.world().random.below(3000);
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }
    {
        let mut world = host.world();
        world.faults.enabled = false;
        world.healthy = true;
        // A fault, or an ill application, may have kept a good release out: a person says to try it again.
        if world.flaw.is_none()
            && let Some(record) = world.records.get_mut(&id("r2"))
        {
            record.quarantine = None;
        }
        for member in &mut world.members {
            member.failing_starts = 0;
        }
    }
    let mut last = None;
    for _ in 0..3 {
        last = pass(&host, Mode::Apply).await;
        honest(&host, last.as_ref());
        host.world().down_by_us.clear();
        let done = [Outcome::Converged, Outcome::Quarantined, Outcome::RolledBack];
        if last.as_ref().is_some_and(|report| done.contains(&report.outcome)) {
            break;
        }
    }
    let last = last.ok_or("killed in peace")?;
    let hopeless = hopeless(&host.world());
    let hopeless = hopeless || crashes_later(&host.world());
    let good = match host.world().flaw {
        None => last.outcome == Outcome::Converged,
        // What is bad may have been seen as such, or its fault may never have shown.
        Some(_) => matches!(last.outcome, Outcome::Converged | Outcome::RolledBack | Outcome::Quarantined),
    };
    if !good && !hopeless {
        let (outcome, left, problems) = (last.outcome, last.remaining, last.problems);
        host.world().violation(format!("peace does not converge: {outcome:?}, left {left:?}, {problems:?}"));
    }
    let changes = host.world().changes;
    let again = pass(&host, Mode::Apply).await.ok_or("killed in peace")?;
    let mut world = host.world();
    if !crashes_later(&world) && (world.changes != changes || !again.tried.is_empty()) {
        world.violation(format!("a settled host was touched: {:?}", again.tried));
    }
    match world.violations.first() {
        None => Ok(world.faults.coverage.clone()),
        Some(_) => Err(format!("seed {seed}: {}\n{}", world.violations.join("\n"), story(&world))),
    }
}

/// Nobody can tell what some worker runs, or no restart helps: that need not be closed, only never be called fresh.
pub(super) fn hopeless(world: &World) -> bool {
    world.members.iter().any(|member| member.shows == Shows::Hidden || member.pinned.is_some())
}

/// Its workers stayed up when it was proven, and do not any more: reported, and tried again at each pass.
fn crashes_later(world: &World) -> bool {
    let proven = world.records.get(&id("r2")).is_some_and(|record| record.proven.is_some());
    world.flaw == Some(Flaw::Crashing) && proven
}

/// What a report says must be so.
fn honest(host: &SimHost, report: Option<&PassReport>) {
    let Some(report) = report else { return };
    let mut world = host.world();
    if report.mode == Mode::Apply && report.outcome == Outcome::Converged {
        if world.target() != world.app.release.id {
            world.violation("called converged, but the desired release is kept out");
        }
        // Nobody can see that a worker was asked to end, by a pass that was killed and wanted another release, and is at
        // its last job.
        let target = world.target();
        let draining = world.processes.values().any(|process| process.asked_to_end && process.runs == target);
        if let Err(untrue) = world.is_converged()
            && !draining
        {
            world.violation(format!("called converged, but {untrue}"));
        }
        if world.app.health.is_some() && !world.is_healthy() {
            world.violation("called converged, but not healthy");
        }
    }
    let attempts = world.app.health.as_ref().map_or(0, |contract| contract.attempts);
    if report.mode == Mode::Apply && report.outcome == Outcome::Unhealthy && report.health_attempts != attempts {
        world.violation(format!("asked for health {} times, not {attempts}", report.health_attempts));
    }
    let back = matches!(report.outcome, Outcome::RolledBack | Outcome::Quarantined);
    if report.mode == Mode::Apply && back {
        // Nobody can see that a worker was asked to end and is at its last job.
        let draining = world.processes.values().any(|process| process.asked_to_end);
        let stranded = world.target() == world.app.release.id || draining;
        if let Err(untrue) = world.is_converged()
            && !stranded
        {
            world.violation(format!("called rolled back, but {untrue}"));
        }
    }
    if report.outcome != Outcome::Converged && report.exit_code(true) == 0 {
        world.violation(format!("{:?} exits with 0", report.outcome));
    }
}

fn story(world: &World) -> String {
    let groups = world.app.workers.iter().map(|group| {
        let (name, count, max) = (&group.name, group.count, group.max_unavailable);
        format!("group {name}: {count} by {}, {max:?}, {:?}", group.manager.kind(), group.restart_on)
    });
    let members = world.members.iter().map(|one| {
        let process = one.pid.and_then(|pid| world.processes.get(&pid));
        let runs = process.map(|one| format!("{} runs {} since {}", one.id, one.runs, one.started));
        format!("  {} {}: {} {:?} {runs:?} enabled {:?}", one.group, one.name, one.state, one.shows, one.enabled)
    });
    let journal = world.journal.iter().map(|entry| match &entry.event {
        JournalEvent::Begin { action, reason } => format!("  {} {action}: {reason}", entry.at),
        JournalEvent::Done { action, .. } => format!("  {} done: {action}", entry.at),
        JournalEvent::Failed { action, error, .. } => format!("  {} failed: {action}: {error}", entry.at),
        other => format!("  {} {other:?}", entry.at),
    });
    let release = &world.app.release;
    let life = std::iter::once(format!(
        "release: source {}, build {}, verify {}, migrate {}, shared {}, keep {}; flaw {:?}",
        release.source.is_some(),
        release.build.len(),
        release.verify.len(),
        release.migrate.len(),
        release.shared.dirs.len(),
        release.keep,
        world.flaw,
    ));
    let records = world.records.values().map(|record| {
        let out = record.quarantine.as_ref().map(|quarantine| &quarantine.reason);
        format!("  {}: {:?}, proven {:?}, kept out {out:?}", record.id, record.made, record.proven)
    });
    life.chain(records).chain(groups).chain(members).chain(journal).collect::<Vec<_>>().join("\n")
}

fn one(seed: u64, superseded: bool) -> Result<Coverage, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        // In simulated time: whoever waits this long waits for ever.
        let limit = Duration::from_hours(1);
        tokio::time::timeout(limit, run(seed, superseded))
            .await
            .unwrap_or_else(|_| Err(format!("seed {seed}: never ends")))
    })
}

/// What a dry run names of the releases, and what the pass after it has done with them; none where it did not come to
/// its end.
async fn shown_and_done(seed: u64) -> Option<(Vec<Action>, Vec<Action>)> {
    let mut world = world(seed);
    world.faults.enabled = false;
    world.flaw = None;
    for member in &mut world.members {
        member.failing_starts = 0;
    }
    let host = SimHost::new(world);
    let of_releases = |action: &Action| {
        use Action::{FetchRelease, LinkShared, ProveRelease, PruneRelease, SwitchCurrent};
        matches!(
            action,
            FetchRelease { .. } | LinkShared { .. } | SwitchCurrent { .. } | ProveRelease { .. } | PruneRelease { .. }
        )
    };
    let shown = pass(&host, Mode::DryRun).await?.plan.steps.into_iter().map(|step| step.action);
    let shown = shown.filter(of_releases).collect();
    let report = pass(&host, Mode::Apply).await?;
    let done = report.tried.into_iter().map(|one| one.action).filter(of_releases).collect();
    (report.outcome == Outcome::Converged).then_some((shown, done))
}

#[test]
fn a_dry_run_names_what_the_pass_then_does_with_the_releases() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let (mut compared, mut pruned) = (0, 0);
    for seed in 0..SHOWN {
        let Some((mut shown, mut done)) = runtime.block_on(shown_and_done(seed)) else { continue };
        shown.sort();
        done.sort();
        assert_eq!(shown, done, "seed {seed}");
        compared += 1;
        pruned += usize::from(done.iter().any(|action| matches!(action, Action::PruneRelease { .. })));
    }
    assert!(compared > 2000 && pruned > 50, "{compared} passes converged, {pruned} of them pruned");
}

#[test]
fn passes_that_are_superseded_do_nothing_forbidden_and_the_next_ones_converge() {
    for seed in 0..SUPERSEDED {
        one(seed, true).unwrap_or_else(|story| panic!("{story}"));
    }
}

#[test]
fn a_hundred_thousand_schedules_do_nothing_forbidden_and_converge() {
    let number = |name: &str| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    if let Some(seed) = number("TRUEUP_SIM_SEED") {
        println!(
            "seed {seed}: {:?}",
            one(seed, false).map(|_| "nothing forbidden").map_err(|story| println!("{story}"))
        );
        one(seed, false).unwrap();
        return;
    }
    let schedules = number("TRUEUP_SIM_SCHEDULES").unwrap_or(SCHEDULES);
    let threads = std::thread::available_parallelism().map_or(2, std::num::NonZero::get) as u64;
    // One bad schedule is enough: the others need not be waited for.
    let failed = &AtomicBool::new(false);
    let results: Vec<Result<Coverage, String>> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|thread| {
                scope.spawn(move || {
                    let mut coverage = Coverage::default();
                    for seed in (thread..schedules).step_by(usize::try_from(threads).unwrap()) {
                        if failed.load(Ordering::Relaxed) {
                            break;
                        }
                        coverage.add(&one(seed, false).inspect_err(|_| failed.store(true, Ordering::Relaxed))?);
                    }
                    Ok(coverage)
                })
            })
            .collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).collect()
    });
    let mut coverage = Coverage::default();
    for result in results {
        match result {
            Ok(part) => coverage.add(&part),
            Err(story) => panic!("{story}\nreplay with TRUEUP_SIM_SEED"),
        }
    }
    println!("{schedules} schedules; how often each fault met each call:\n{}", coverage.table());
    for call in Call::ALL {
        for fault in Fault::ALL.into_iter().filter(|fault| fault.fits(call)) {
            let count = coverage.count(call, fault);
            assert!(schedules < SCHEDULES || count >= COVERED, "{fault:?} met {call:?} only {count} times");
        }
    }
}
