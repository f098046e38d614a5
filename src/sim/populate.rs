//! A random host and what is wanted of it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::faults::{Call, Faults};
use super::random::Random;
use super::world::{Flaw, Member, Shows, World};
use crate::decide::testing::{app, builtin, contract, group, id, noon, supervisord};
use crate::model::amount::Amount;
use crate::model::app::{App, CommandLine, Manager, RestartOn, StrayPolicy, Systemd, TemplateUnit};
use crate::model::health::HealthContract;
use crate::model::memory::Memory;
use crate::model::names::{GroupName, MemberName, RelativePath, ReleaseId};
use crate::model::observed::{Link, MemberState};
use crate::model::process::Pid;
use crate::model::record::{Judge, Making, Quarantine, ReleaseRecord};
use crate::model::release::{CommandStep, Source};
use crate::model::service::{OnRelease, Service, ServiceManager};

const SHOWS: [Shows; 6] =
    [Shows::WorkingDirectory, Shows::EntryScript, Shows::Executable, Shows::Stranger, Shows::Silent, Shows::Hidden];

/// A random host and what is wanted of it.
#[expect(clippy::too_many_lines, reason = "one value")]
pub fn world(seed: u64) -> World {
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
            wanted.max_unavailable = Amount::Count(u32::try_from(random.below(3)).unwrap());
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
        wanted.health = Some(healthy_answer());
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
    let mut released = lifecycle(&mut random, focus, &mut wanted, &link, now);
    if seed % 3 == 1 {
        mended_once(&mut released.records);
    }
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
        lasts: BTreeMap::new(),
        refused: BTreeSet::new(),
        silent: BTreeSet::new(),
        now,
        ahead: SignedDuration::ZERO,
        made,
        releases,
        fetched: None,
        processes: std::collections::BTreeMap::new(),
        members: Vec::new(),
        config_version: 1,
        config_written: written,
        config_unreadable: None,
        config_cached: ["r1", "r2", "r3"].map(|name| (id(name), u64::from(written < made))).into(),
        healthy: true,
        moods: std::collections::VecDeque::new(),
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
        away: BTreeMap::new(),
        away_after_switch: None,
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

/// The application must say that it is well; it is asked twice.
pub fn healthy_answer() -> HealthContract {
    HealthContract { attempts: 2, interval: Duration::from_secs(3), ..contract() }
}

/// A host on which nothing goes wrong: `current` leads to what is wanted, and everything runs.
pub fn settled(wanted: App, records: Vec<ReleaseRecord>) -> World {
    let mut world = world(0);
    world.faults.enabled = false;
    world.flaw = None;
    world.processes.clear();
    world.members.clear();
    world.half.clear();
    world.releases = records.iter().map(|record| record.id.clone()).collect();
    world.records = records.into_iter().map(|record| (record.id.clone(), record)).collect();
    world.link = Link::Release { id: wanted.release.id.clone() };
    world.link_changed = Some(world.now - SignedDuration::from_secs(600));
    world.app = wanted;
    for group in world.app.workers.clone() {
        for ordinal in 1..=group.count {
            let name = group.member(ordinal).unwrap();
            let pid = world.new_process(
                Pid(2),
                world.app.release.id.clone(),
                Shows::EntryScript,
                Some((group.name.clone(), name.clone())),
            );
            world.members.push(Member {
                group: group.name.clone(),
                name,
                ordinal,
                state: MemberState::Running,
                pid: Some(pid),
                restarts_itself: false,
                stopping: false,
                enabled: None,
                next: None,
                failing_starts: 0,
                shows: Shows::EntryScript,
                pinned: None,
                job: Duration::from_millis(100),
            });
        }
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

/// One command of a stage.
pub(super) fn step(line: &str) -> CommandStep {
    CommandStep {
        run: CommandLine::Shell(line.to_owned()),
        timeout: Duration::from_mins(1),
        env: BTreeMap::new(),
        working_directory: None,
        user: None,
    }
}

/// Gives the App more or less of a release's life, and the records of what was before.
fn lifecycle(random: &mut Random, focus: Option<Call>, wanted: &mut App, link: &Link, now: Timestamp) -> Released {
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

/// The release before failed at first, was mended under the same id, and is good: an older trueup left both in its
/// record.
fn mended_once(records: &mut BTreeMap<ReleaseId, ReleaseRecord>) {
    let Some(record) = records.get_mut(&id("r1")) else { return };
    record.quarantine = Some(Quarantine {
        key: "mistaken".to_owned(),
        at: record.since - SignedDuration::from_secs(60),
        by: Judge::Gate,
        reason: "unhealthy".to_owned(),
        evidence: Vec::new(),
        held: false,
        back_to: None,
    });
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
