//! A hundred thousand schedules: a random App on a random host, trueup killed, lied to and interfered
//! with, then left in peace. Whatever happened, nothing forbidden may have, and peace must converge.
//!
//! `TRUEUP_SIM_SCHEDULES=1000000` runs more of them, `TRUEUP_SIM_SEED=N` replays one and prints it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::faults::{Call, Coverage, Fault, Faults};
use super::host::SimHost;
use super::random::Random;
use super::world::{Flaw, Member, Process, Shows, World};
use crate::decide::testing::{app, builtin, group, id, supervisord};
use crate::engine::events::Silent;
use crate::engine::interrupt::Interrupt;
use crate::engine::pass::{Request, reconcile};
use crate::model::app::{App, CommandLine, Manager, MaxUnavailable, RestartOn, StrayPolicy, Systemd, TemplateUnit};
use crate::model::health::{HealthContract, Probe, Rule};
use crate::model::names::{GroupName, MemberName, RelativePath, ReleaseId};
use crate::model::observed::{Link, MemberState};
use crate::model::process::Pid;
use crate::model::record::{JournalEvent, Making, Memory, ReleaseRecord};
use crate::model::release::{CommandStep, Source};
use crate::model::report::{Mode, Outcome, PassReport};
use crate::model::service::{OnRelease, Service, ServiceManager};

/// Schedules in a normal test run.
const SCHEDULES: u64 = 100_000;
/// How often each fault must have met each call it fits.
const COVERED: u64 = 100;

fn noon() -> Timestamp {
    "2026-05-01T12:00:00Z".parse().unwrap()
}

const SHOWS: [Shows; 5] =
    [Shows::WorkingDirectory, Shows::EntryScript, Shows::Executable, Shows::Silent, Shows::Hidden];

/// A random host and what is wanted of it.
#[expect(clippy::too_many_lines, reason = "one value")]
fn world(seed: u64) -> World {
    let mut random = Random::new(seed);
    let focus = random.percent(25).then(|| random.pick(&Call::RARE));
    let unit = |number| Manager::Systemd(Systemd { unit: TemplateUnit::new(&format!("g{number}@")).unwrap() });
    let mut groups = Vec::new();
    for number in 0..=random.below(2) {
        let count = u32::try_from(random.below(4)).unwrap();
        let manager = match focus {
            Some(Call::Enable) => unit(number),
            Some(Call::StopStray) => supervisord(),
            _ => random.pick(&[supervisord(), unit(number), builtin()]),
        };
        let mut wanted = group(&format!("g{number}"), count, manager);
        if random.percent(40) {
            wanted.max_unavailable = MaxUnavailable::Count(u32::try_from(random.below(3)).unwrap());
        }
        wanted.stop_timeout = Duration::from_secs(5);
        groups.push(wanted);
    }
    let with_config = matches!(focus, Some(Call::ApplyConfig | Call::Remember));
    if with_config || random.percent(40) {
        let step =
            (with_config || random.percent(50)).then(|| CommandLine::Shell("php artisan config:cache".to_owned()));
        groups[0].restart_on.push(RestartOn { path: RelativePath::new("shared/.env").unwrap(), run: step });
    }
    let mut wanted = app("r2", groups);
    if random.percent(25) {
        wanted.health = Some(HealthContract {
            probe: Probe::Http {
                url: "http://localhost/".to_owned(),
                headers: std::collections::BTreeMap::new(),
                connect_to: None,
                ca_file: None,
            },
            timeout: Duration::from_secs(1),
            attempts: 2,
            interval: Duration::from_secs(3),
            expect: vec![Rule("status == 200".to_owned())],
        });
    }
    let now = noon();
    let link = match random.below(6) {
        0 => Link::Absent,
        1 => Link::Dangling { target: "releases/r9".to_owned() },
        2 | 3 => Link::Release { id: id("r2") },
        _ => Link::Release { id: id("r1") },
    };
    let mut releases = vec![id("r1"), id("r2"), id("r3")];
    if focus == Some(Call::Fetch) || random.percent(25) {
        wanted.release.source = Some(Source::Dir { path: "/srv/build/r2".into() });
        if link != (Link::Release { id: id("r2") }) {
            releases.remove(1);
        }
    }
    let released = lifecycle(&mut random, focus, &mut wanted, &link, now);
    if released.records.is_empty() && wanted.release.source.is_none() {
        releases = vec![id("r1"), id("r2"), id("r3")];
    }
    if focus == Some(Call::Remove) {
        releases.push(id("r0"));
        releases.sort();
    }
    let switched = now - SignedDuration::from_secs(600);
    let made = now - SignedDuration::from_secs(700);
    let written = now - SignedDuration::from_secs(if !with_config && random.percent(70) { 3000 } else { 300 });
    let mut world = World {
        link_changed: (link != Link::Absent).then_some(switched),
        link,
        app: wanted,
        faults: Faults::new(Random::new(seed ^ 0xFA17), focus),
        now,
        made,
        releases,
        fetched: None,
        processes: std::collections::BTreeMap::new(),
        members: Vec::new(),
        config_version: 1,
        config_written: written,
        config_cached: ["r1", "r2", "r3"].map(|name| (id(name), u64::from(written < made))).into(),
        healthy: true,
        flaw: released.flaw,
        records: released.records,
        half: released.half,
        linked: std::collections::BTreeSet::new(),
        migrations: std::collections::BTreeMap::new(),
        service_renewed: now - SignedDuration::from_secs(if random.percent(50) { 5000 } else { 100 }),
        service_serves: id("r1"),
        journal: Vec::new(),
        journal_failed: false,
        memory: Memory::default(),
        lock_holders: 0,
        own: Pid(1),
        next_pid: 100,
        free_pids: Vec::new(),
        changes: 0,
        violations: Vec::new(),
        down_by_us: std::collections::BTreeSet::new(),
        crashed: false,
        random,
    };
    for wanted in world.app.workers.clone() {
        people(&mut world, &wanted.name, &wanted.manager, wanted.count);
    }
    if seed % 20 == 7 {
        pin(&mut world);
    }
    if focus == Some(Call::StopStray) || world.random.percent(30) {
        orphan(&mut world);
    }
    match seed % 5 {
        0 => world.app.strays = StrayPolicy::Stop,
        // Where strays are stopped, this would be one.
        1 => daemon(&mut world),
        _ => {}
    }
    ourselves(&mut world);
    world
}

/// What the records say, and what is wrong.
struct Released {
    flaw: Option<Flaw>,
    records: BTreeMap<ReleaseId, ReleaseRecord>,
    half: BTreeSet<ReleaseId>,
}

/// Gives the App more or less of a release's life, and the records of what was before.
fn lifecycle(random: &mut Random, focus: Option<Call>, wanted: &mut App, link: &Link, now: Timestamp) -> Released {
    let step = |line: &str| CommandStep {
        run: CommandLine::Shell(line.to_owned()),
        timeout: Duration::from_mins(1),
        env: BTreeMap::new(),
        working_directory: None,
        user: None,
    };
    for (stage, line) in [(&mut wanted.release.build, "make"), (&mut wanted.release.verify, "check")] {
        if focus == Some(Call::Steps) || random.percent(20) {
            stage.push(step(line));
        }
    }
    if focus == Some(Call::Steps) || random.percent(20) {
        wanted.release.migrate.push(step("migrate"));
    }
    if focus == Some(Call::Link) || random.percent(20) {
        wanted.release.shared.dirs.push(RelativePath::new("storage").unwrap());
    }
    if focus == Some(Call::Renew) || random.percent(20) {
        wanted.services.push(Service {
            name: GroupName::new("web").unwrap(),
            manager: ServiceManager::Systemd { unit: "web.service".to_owned() },
            on_release: random.pick(&[OnRelease::Auto, OnRelease::Reload, OnRelease::Restart]),
            timeout: Duration::from_secs(30),
            restart_on: Vec::new(),
        });
    }
    if focus == Some(Call::Remove) {
        wanted.release.keep = 1;
    }
    if random.percent(30) {
        for group in &mut wanted.workers {
            group.min_healthy = Duration::from_secs(3);
        }
    }
    let in_force = *link == Link::Release { id: wanted.release.id.clone() };
    let mut records = BTreeMap::new();
    let mut half = BTreeSet::new();
    // A host where trueup has never been, or one that it has kept for long.
    let known = focus.is_some() || random.percent(80);
    if known {
        for (name, ago) in [("r0", 40_000), ("r1", 30_000), ("r3", 20_000)] {
            let at = now - SignedDuration::from_secs(ago);
            let proven = ReleaseRecord { proven: Some(at), switched: Some(at), ..ReleaseRecord::adopted(id(name), at) };
            records.insert(id(name), proven);
        }
    }
    // The desired one: new, on its way, or good already.
    let at = now - SignedDuration::from_secs(650);
    let desired = ReleaseRecord::adopted(id("r2"), at);
    let recipe = Some(wanted.fingerprint.recipe.clone());
    match random.below(4) {
        0 if known => {
            let proven = ReleaseRecord { verified: Some(at), migrated: Some(at), proven: Some(at), ..desired };
            records.insert(id("r2"), ReleaseRecord { recipe, ..proven });
        }
        // Half a release, left by a pass that died in its making.
        1 if wanted.release.source.is_some() && !in_force => {
            half.insert(id("r2"));
            records.insert(id("r2"), ReleaseRecord { made: Making::Building, recipe, ..desired });
        }
        _ => {}
    }
    let proven = records.get(&id("r2")).is_some_and(|record| record.proven.is_some());
    // What somebody else has put in force is not on trial, whatever is wrong with it.
    let mut flaws = vec![Flaw::Crashing];
    if wanted.release.source.is_some() {
        flaws.push(Flaw::Source);
        flaws.extend((!wanted.release.build.is_empty()).then_some(Flaw::Build));
    }
    if !wanted.release.verify.is_empty() {
        flaws.push(Flaw::Verification);
    }
    if wanted.health.is_some() {
        flaws.push(Flaw::Unhealthy);
    }
    let flaw = (known && !proven && !in_force && random.percent(30)).then(|| random.pick(&flaws));
    Released { flaw, records, half }
}

/// Members of a group, in random states.
fn people(world: &mut World, group: &GroupName, manager: &Manager, count: u32) {
    let fixed = matches!(manager, Manager::Supervisord(_));
    let extra = u32::try_from(world.random.below(3)).unwrap();
    let number = if fixed { count + extra } else { u32::try_from(world.random.below(5)).unwrap() };
    // What the workers of one group show does not differ: they run the same program.
    let shows = world.random.pick(&SHOWS);
    for ordinal in 1..=number {
        let wanted = world.app.group(group).unwrap();
        let name = wanted.member(ordinal).unwrap_or_else(|| MemberName::new(format!("{group}:{ordinal}")).unwrap());
        let states = [
            MemberState::Running,
            MemberState::Running,
            MemberState::Stopped,
            MemberState::Exited,
            MemberState::Failed,
        ];
        let state = world.random.pick(&states);
        let mut member = Member {
            group: group.clone(),
            name: name.clone(),
            ordinal,
            state,
            pid: None,
            restarts_itself: match manager {
                Manager::Builtin(_) => false,
                Manager::Systemd(_) => true,
                Manager::Supervisord(_) => world.random.percent(80),
            },
            stopping: false,
            enabled: matches!(manager, Manager::Systemd(_)).then(|| world.random.percent(70)),
            next: None,
            failing_starts: 0,
            shows,
            pinned: None,
            job: Duration::from_millis(world.random.below(8000)),
        };
        if state == MemberState::Running {
            // Before or after the link was changed; what it runs follows from that, or from a swap before.
            let early = world.random.percent(50);
            let runs = match &world.link {
                Link::Release { id } if !early => id.clone(),
                _ => id("r1"),
            };
            // Some were started in the very second of the switch, which managers do not tell from it.
            let just_before = world.random.percent(20);
            let age = match (early, just_before) {
                (true, true) => 600_300,
                (true, false) => 2_000_000,
                (false, _) => 200_000,
            };
            let now = world.now;
            world.now = now - SignedDuration::from_millis(age);
            let pid = world.new_process(Pid(2), runs, shows, Some((group.clone(), name)));
            let version = u64::from(world.now >= world.config_written);
            let knows = if world.has_step() { world.config_read_in(&world.processes[&pid].runs) } else { version };
            if let Some(process) = world.processes.get_mut(&pid) {
                process.config_at_start = knows;
            }
            world.now = now;
            member.pid = Some(pid);
        }
        world.members.push(member);
    }
}

/// A command that names the old release, in the first group.
fn pin(world: &mut World) {
    let first = world.app.workers[0].name.clone();
    for member in world.members.iter_mut().filter(|one| one.group == first) {
        member.pinned = Some(id("r1"));
        member.shows = Shows::EntryScript;
    }
}

/// A worker that a dead supervisord left behind.
fn orphan(world: &mut World) {
    let Some(group) = world.app.workers.iter().find(|group| matches!(group.manager, Manager::Supervisord(_))) else {
        return;
    };
    let owner = (group.name.clone(), MemberName::new("web:gone").unwrap());
    let now = world.now;
    world.now = now - SignedDuration::from_secs(9000);
    let pid = world.new_process(Pid(1), id("r1"), Shows::EntryScript, Some(owner));
    world.now = now;
    if let Some(process) = world.processes.get_mut(&pid) {
        process.orphan = true;
    }
}

/// Something that a present worker has put in the background: no orphan of a dead supervisord.
fn daemon(world: &mut World) {
    let Some(group) = world.app.workers.iter().find(|group| matches!(group.manager, Manager::Supervisord(_))) else {
        return;
    };
    let owner = (group.name.clone(), MemberName::new("web:daemon").unwrap());
    world.new_process(Pid(1), id("r1"), Shows::EntryScript, Some(owner));
}

/// Trueup, started from a shell that stands in the old release.
fn ourselves(world: &mut World) {
    let shell = world.new_process(Pid(1), id("r1"), Shows::WorkingDirectory, None);
    world.own = world.new_process(shell, id("r1"), Shows::WorkingDirectory, None);
}

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

fn request(mode: Mode) -> Request {
    Request { mode, wait: Duration::ZERO, trigger: "test".to_owned(), interrupt: Interrupt::default() }
}

/// One pass, unless trueup is killed in it.
async fn pass(host: &SimHost, mode: Mode) -> Option<PassReport> {
    host.world().journal_failed = false;
    let app = host.world().app.clone();
    let apps = [&app];
    let request = request(mode);
    tokio::select! {
        biased;
        () = host.crashed() => None,
        mut reports = reconcile(host, &apps, &request, &Silent) => reports.pop(),
    }
}

/// Runs one schedule. The error tells what must not have happened.
async fn run(seed: u64) -> Result<Coverage, String> {
    let host = SimHost::new(world(seed));
    // A guard of the world that lives on into an await would stop it for ever.
    let passes = host.world().random.below(3);
    for _ in 0..=passes {
        let dry = host.world().random.percent(10);
        let changes = host.world().changes;
        let mode = if dry { Mode::DryRun } else { Mode::Apply };
        let report = pass(&host, mode).await;
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
fn hopeless(world: &World) -> bool {
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
        if let Err(untrue) = world.is_converged() {
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

fn one(seed: u64) -> Result<Coverage, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        // In simulated time: whoever waits this long waits for ever.
        let limit = Duration::from_hours(1);
        tokio::time::timeout(limit, run(seed)).await.unwrap_or_else(|_| Err(format!("seed {seed}: never ends")))
    })
}

#[test]
fn a_hundred_thousand_schedules_do_nothing_forbidden_and_converge() {
    let number = |name: &str| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    if let Some(seed) = number("TRUEUP_SIM_SEED") {
        println!("seed {seed}: {:?}", one(seed).map(|_| "nothing forbidden").map_err(|story| println!("{story}")));
        one(seed).unwrap();
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
                        coverage.add(&one(seed).inspect_err(|_| failed.store(true, Ordering::Relaxed))?);
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
