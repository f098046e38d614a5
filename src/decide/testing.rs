//! Apps and snapshots for tests, short to write, and a model of what each action does to a snapshot.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{Timestamp, ToSpan};

use crate::decide::aim::aim;
use crate::decide::gate;
use crate::model::action::{Action, Plan};
use crate::model::app::{
    App, Builtin, CommandLine, Fingerprint, Manager, Supervisord, Systemd, TemplateUnit, WorkerGroup,
};
use crate::model::drift::Difference;
use crate::model::health::{HealthContract, Probe, Rule};
use crate::model::memory::{AppliedConfig, DueHook, Renewed};
use crate::model::names::{AppName, GroupName, MemberName, ReleaseId, Root};
use crate::model::observed::{
    Evidence, Layout, Link, MemberState, Observed, ObservedGroup, ObservedRelease, Rung, Runs, Worker,
};
use crate::model::process::{Inode, Known, Pid, ProcessId, StartTicks};
use crate::model::record::{Judge, Making, Quarantine, ReleaseRecord};
use crate::model::release::{Release, Stage};
use crate::model::report::{Mode, Outcome, PassReport, Tried};

/// The moment of every snapshot made here.
pub fn noon() -> Timestamp {
    "2026-05-01T12:00:00Z".parse().unwrap()
}

pub fn seconds_before(at: Timestamp, seconds: i64) -> Timestamp {
    at - seconds.seconds()
}

pub fn id(text: &str) -> ReleaseId {
    ReleaseId::new(text).unwrap()
}

pub fn supervisord() -> Manager {
    Manager::Supervisord(Supervisord {
        group: "web".to_owned(),
        program: None,
        socket: None,
        username: None,
        password: None,
    })
}

pub fn systemd() -> Manager {
    Manager::Systemd(Systemd { unit: TemplateUnit::new("web@").unwrap() })
}

pub fn builtin() -> Manager {
    Manager::Builtin(Builtin { run: CommandLine::Shell("./worker".to_owned()), env: BTreeMap::new() })
}

pub fn group(name: &str, count: u32, manager: Manager) -> WorkerGroup {
    WorkerGroup { min_healthy: Duration::ZERO, ..WorkerGroup::new(GroupName::new(name).unwrap(), count, manager) }
}

/// An App that wants `release` and these groups, in `/srv/app`.
pub fn app(release: &str, workers: Vec<WorkerGroup>) -> App {
    let (name, root) = (AppName::new("web").unwrap(), Root::new("/srv/app").unwrap());
    let fingerprint = Fingerprint { trial: "trial".to_owned(), recipe: "recipe".to_owned(), wish: "wish".to_owned() };
    App { workers, fingerprint, ..App::new(name, root, Release::present(id(release))) }
}

/// The member of a supervisord group with that ordinal.
pub fn member(ordinal: u32) -> MemberName {
    MemberName::new(format!("web:web_{ordinal:02}")).unwrap()
}

pub fn process(pid: u32) -> ProcessId {
    ProcessId { pid: Pid(pid), start_ticks: StartTicks(u64::from(pid) * 100) }
}

pub fn evidence(runs: Runs) -> Evidence {
    let rung = match &runs {
        Runs::Release { .. } | Runs::Deleted { .. } | Runs::Mixed { .. } => Some(Rung::WorkingDirectory),
        Runs::BeforeSwitch | Runs::AfterSwitch => Some(Rung::StartTime),
        Runs::Unknown => None,
    };
    Evidence { runs, rung, seen: "as the test says".to_owned() }
}

/// A running worker; its pid is 100 + ordinal.
pub fn running(ordinal: u32, release: &str) -> Worker {
    Worker {
        member: member(ordinal),
        ordinal,
        state: MemberState::Running,
        detail: String::new(),
        process: Some(process(100 + ordinal)),
        started: Some(seconds_before(noon(), 60)),
        evidence: evidence(Runs::Release { id: id(release) }),
        enabled: None,
        outdated: false,
    }
}

/// A member in another state; down, it has no process.
pub fn in_state(ordinal: u32, state: MemberState) -> Worker {
    let mut worker = Worker { state, ..running(ordinal, "r1") };
    if !state.is_up() && state != MemberState::Stopping {
        worker.process = None;
        worker.started = None;
        worker.evidence = Evidence::unknown("no process");
    }
    worker
}

/// A snapshot whose link leads to `link`, with the proven releases r1, r2 and r3, and these members of group `default`.
pub fn seen(link: &str, workers: Vec<Worker>) -> Observed {
    let layout = Layout {
        link: Link::Release { id: id(link) },
        link_changed: Some(seconds_before(noon(), 120)),
        changed_by_now: None,
        releases_path: "/srv/app/releases".into(),
        releases: ["r1", "r2", "r3"]
            .iter()
            .zip(1..)
            .map(|(name, number)| {
                let inode = Inode { device: 1, number };
                ObservedRelease::new(id(name), inode, Some(seconds_before(noon(), 120)))
            })
            .collect(),
    };
    Observed {
        groups: vec![ObservedGroup { group: GroupName::new("default").unwrap(), members: Ok(workers) }],
        records: ["r1", "r2", "r3"].iter().zip([30, 20, 10]).map(|(name, minutes)| record(name, minutes)).collect(),
        ..Observed::new(noon(), layout)
    }
}

/// The record of a release that was proven so many minutes before noon.
pub fn record(name: &str, minutes: i64) -> ReleaseRecord {
    let at = seconds_before(noon(), minutes * 60);
    let proven = ReleaseRecord::adopted(id(name), at);
    ReleaseRecord { verified: Some(at), migrated: Some(at), switched: Some(at), proven: Some(at), ..proven }
}

/// What a successful action makes of a snapshot, one second later.
#[expect(clippy::too_many_lines, reason = "one table")]
pub fn apply(app: &App, observed: &Observed, action: &Action) -> Observed {
    let mut after = observed.clone();
    after.at = observed.at + 1.second();
    let now = after.at;
    match action {
        Action::FetchRelease { id } => {
            after.layout.releases.push(ObservedRelease {
                id: id.clone(),
                inode: Inode { device: 1, number: 99 },
                made: Some(now),
                empty: false,
                missing: Vec::new(),
                unlinked: app.release.shared.dirs.clone(),
            });
            after.layout.releases.sort_by(|one, other| one.id.cmp(&other.id));
            let made = if app.release.build.is_empty() { Making::Built } else { Making::Fetched };
            let fresh = ReleaseRecord { made, ..ReleaseRecord::adopted(id.clone(), now) };
            after.records.retain(|record| record.id != *id);
            after.records.push(ReleaseRecord { recipe: Some(app.fingerprint.recipe.clone()), ..fresh });
        }
        Action::LinkShared { id } => {
            after.layout.releases.iter_mut().find(|release| release.id == *id).unwrap().unlinked.clear();
        }
        Action::RunStage { id, stage } => {
            if *stage == Stage::Build {
                change(&mut after, id, |record| record.made = Making::Built);
            }
            change(&mut after, id, |record| gate::ran(record, *stage, now));
            after.due = after.due.filter(|due| due.stage != *stage);
        }
        Action::ProveRelease { id } => {
            let passed = gate::passed(app, &after, now);
            change(&mut after, id, |record| *record = passed);
        }
        Action::LiftQuarantine { id } => {
            change(&mut after, id, |record| record.quarantine = None);
            after.aim = aim(app, &after.layout, &after.records);
        }
        Action::PruneRelease { id } => {
            after.layout.releases.retain(|release| release.id != *id);
            after.records.retain(|record| record.id != *id);
        }
        Action::RenewService { service, .. } => {
            after.renewed.retain(|noted| noted.service != *service);
            after.renewed.push(Renewed { service: service.clone(), at: now, link: after.layout.link_changed });
            let seen = after.services.iter_mut().find(|seen| seen.service == *service).unwrap();
            let state = seen.seen.as_mut().unwrap();
            (state.renewed, state.oldest) = (Some(now), Some(now));
            after.serving = after.serving.map(|_| [app.release.id.to_string()].into());
        }
        Action::SwitchCurrent { to } => {
            after.layout.link = Link::Release { id: to.clone() };
            after.layout.link_changed = Some(now);
            change(&mut after, to, |record| record.switched = Some(now));
            if !app.release.hooks.after_switch.is_empty() {
                after.due = Some(DueHook { release: to.clone(), stage: Stage::AfterSwitch });
            }
            // What a silent worker runs is told by the link's change: it was there before.
            for group in &mut after.groups {
                for worker in group.members.iter_mut().flatten() {
                    if worker.evidence.runs == Runs::AfterSwitch {
                        worker.evidence.runs = Runs::BeforeSwitch;
                    }
                }
            }
        }
        Action::ApplyConfig { group, path } => {
            let wanted = app.group(group).unwrap().restart_on.iter().find(|one| one.path == *path).unwrap();
            let config = after.config.iter_mut().find(|one| one.group == *group && one.path == *path).unwrap();
            let Known::Known(digest) = &config.content else { panic!("applied what could not be read") };
            let at = if wanted.run.is_some() { now } else { config.modified.unwrap_or(now).min(now) };
            config.applied = Some(AppliedConfig {
                group: group.clone(),
                path: path.clone(),
                digest: digest.clone(),
                at,
                release: None,
            });
        }
        Action::StartWorker { group, member } | Action::RestartWorker { group, member, .. } => {
            let manager = &app.group(group).unwrap().manager;
            let starts = matches!(action, Action::StartWorker { .. });
            let released = match &after.layout.link {
                Link::Release { id } => Runs::Release { id: id.clone() },
                _ => Runs::Unknown,
            };
            let members = after.groups.iter_mut().find(|seen| seen.group == *group).unwrap().members.as_mut().unwrap();
            if !members.iter().any(|worker| worker.member == *member) {
                let ordinal =
                    (1..=100).find(|n| app.group(group).unwrap().member(*n).as_ref() == Some(member)).unwrap();
                members.push(Worker { member: member.clone(), ..in_state(ordinal, MemberState::Stopped) });
                members.sort_by_key(|worker| worker.ordinal);
            }
            let worker = members.iter_mut().find(|worker| worker.member == *member).unwrap();
            worker.state = MemberState::Running;
            let pid = worker.process.map_or(1000 + worker.ordinal, |process| process.pid.0 + 1000);
            worker.process = Some(process(pid));
            worker.started = Some(now);
            worker.evidence = evidence(released);
            worker.outdated = false;
            if matches!(manager, Manager::Systemd(_)) && starts {
                worker.enabled = Some(true);
            }
        }
        Action::StopWorker { group, member } => {
            let members = after.groups.iter_mut().find(|seen| seen.group == *group).unwrap().members.as_mut().unwrap();
            let worker = members.iter_mut().find(|worker| worker.member == *member).unwrap();
            worker.state = MemberState::Stopped;
            worker.process = None;
            worker.started = None;
            worker.enabled = worker.enabled.map(|_| false);
        }
        Action::EnableWorker { group, member } => {
            let members = after.groups.iter_mut().find(|seen| seen.group == *group).unwrap().members.as_mut().unwrap();
            members.iter_mut().find(|worker| worker.member == *member).unwrap().enabled = Some(true);
        }
        Action::StopStray { process } => after.strays.retain(|stray| stray.process != *process),
    }
    after
}

/// The record of a release that was kept out at noon, `minutes` after its making; `key` is that of the App that failed.
pub fn kept_out(name: &str, minutes: i64, key: &str) -> ReleaseRecord {
    let quarantine = Quarantine {
        key: key.to_owned(),
        at: noon(),
        by: Judge::Gate,
        reason: "unhealthy".to_owned(),
        evidence: Vec::new(),
        held: false,
        back_to: None,
    };
    ReleaseRecord { proven: None, quarantine: Some(quarantine), ..record(name, minutes) }
}

/// Asked once, and not between two passes: a page that has to be there.
pub fn contract() -> HealthContract {
    HealthContract {
        probe: Probe::Http {
            url: "http://localhost/".to_owned(),
            headers: BTreeMap::new(),
            connect_to: None,
            ca_file: None,
        },
        timeout: Duration::from_secs(1),
        attempts: 1,
        interval: Duration::from_secs(1),
        expect: vec![Rule("status == 200".to_owned())],
        watch: None,
    }
}

/// What came of a pass of a second that did all of this.
pub fn report(app: &App, outcome: Outcome, actions: &[Action]) -> PassReport {
    let tried = |action: &Action| Tried {
        action: action.clone(),
        reason: String::new(),
        began: noon(),
        took: Duration::ZERO,
        problem: None,
        notes: Vec::new(),
    };
    PassReport {
        at_work: None,
        withheld: None,
        app: app.name.clone(),
        root: app.root.clone(),
        release: app.release.id.clone(),
        pass: "p".to_owned(),
        began: noon(),
        took: Duration::from_secs(1),
        mode: Mode::Apply,
        outcome,
        before: None,
        difference: Difference::default(),
        plan: Plan::default(),
        tried: actions.iter().map(tried).collect(),
        after: Some(seen(app.release.id.as_str(), Vec::new())),
        remaining: Difference::default(),
        health_attempts: 1,
        problems: Vec::new(),
    }
}

/// The record of a release that failed by another App, was mended under the same id and is proven, as an older trueup
/// left it: the quarantine is still in there.
pub fn mended(name: &str, minutes: i64) -> ReleaseRecord {
    ReleaseRecord { quarantine: kept_out(name, minutes, "mistaken").quarantine, ..record(name, minutes) }
}

fn change(observed: &mut Observed, of: &ReleaseId, how: impl FnOnce(&mut ReleaseRecord)) {
    let at = observed.at;
    if !observed.records.iter().any(|record| record.id == *of) {
        observed.records.push(ReleaseRecord::adopted(of.clone(), at));
    }
    how(observed.records.iter_mut().find(|record| record.id == *of).unwrap());
}

/// Snapshot after all steps of a plan.
pub fn apply_all<'a>(app: &App, observed: &Observed, actions: impl IntoIterator<Item = &'a Action>) -> Observed {
    actions.into_iter().fold(observed.clone(), |observed, action| apply(app, &observed, action))
}
