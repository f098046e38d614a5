//! Names every difference between an App and a snapshot, with what was seen.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::decide::aim::aimed;
use crate::decide::freshness::{Content, Freshness, contents, leads_to_desired};
use crate::decide::leaving::only_stops;
use crate::decide::select::{Selection, select};
use crate::decide::{gate, making, retention, services};
use crate::model::app::{App, Manager, WorkerGroup};
use crate::model::drift::{Blocker, Difference, Drift, Settling, Stalled};
use crate::model::names::{MemberName, ReleaseId};
use crate::model::observed::{Aim, Link, MemberState, Observed, Unreadable, Worker};
use crate::model::process::{Known, ProcessId};

/// How many present releases an error lists.
const PRESENT_SHOWN: usize = 5;
/// A worker that has shown nothing of its release for so long after its start is not going to.
const SHOWS_WITHIN: Duration = Duration::from_secs(2);

/// Everything that differs from what is aimed at. Drift stands in the order in which it would be closed.
#[must_use]
pub fn diff(app: &App, observed: &Observed) -> Difference {
    let aimed = aimed(app, &observed.aim);
    let app = &*aimed;
    let mut difference = Difference { blockers: blockers(app, observed), ..Difference::default() };
    if let Aim::Halt { at, stranded } = &observed.aim {
        if *stranded {
            difference.stalled.push(Stalled::NoWayBack { release: app.release.id.clone() });
        }
        if at.is_none() {
            return difference;
        }
    }
    making::drift(app, observed, &mut difference);
    if !leads_to_desired(app, &observed.layout.link) {
        difference
            .drift
            .push(Drift::CurrentElsewhere { observed: observed.layout.link.clone(), desired: app.release.id.clone() });
    }
    making::hook(app, observed, &mut difference);
    for config in &observed.config {
        if let Known::Unknown(why) = &config.content {
            difference.stalled.push(Stalled::ConfigUnreadable {
                group: config.group.clone(),
                path: config.path.clone(),
                why: why.clone(),
            });
        }
    }
    for group in &app.workers {
        let Some(seen) = observed.groups.iter().find(|seen| seen.group == group.name) else { continue };
        let Ok(members) = &seen.members else { continue };
        for (path, content) in contents(app, observed, group) {
            if matches!(content, Content::Changed(_)) {
                difference.drift.push(Drift::ConfigChanged { group: group.name.clone(), path: path.clone() });
            }
        }
        let selection = select(app, observed, group, members);
        if selection.beyond > 0 {
            difference.blockers.push(beyond(group, &selection));
        }
        members_drift(app, observed, group, &selection, &mut difference);
    }
    services::drift(app, observed, &mut difference);
    if let Some(why) = nobody(observed).filter(|_| leads_to_desired(app, &observed.layout.link)) {
        difference.stalled.push(Stalled::NoSuchUser { why });
    }
    for stray in &observed.strays {
        if stray.is_stopped(app.strays) {
            difference.drift.push(Drift::StrayRunning { stray: stray.clone() });
        }
    }
    gate::drift(app, observed, &mut difference);
    retention::drift(app, observed, &mut difference);
    if app.leaving {
        only_stops(&mut difference);
    }
    difference
}

fn members_drift(
    app: &App,
    observed: &Observed,
    group: &WorkerGroup,
    selection: &Selection<'_>,
    difference: &mut Difference,
) {
    let helpless: BTreeSet<(ProcessId, &MemberName)> = observed
        .helpless
        .iter()
        .filter(|known| known.release == app.release.id)
        .map(|known| (known.process, &known.member))
        .collect();
    for (worker, freshness) in &selection.keep {
        let helpless = worker.process.filter(|process| helpless.contains(&(*process, &worker.member)));
        Keeper { app, observed, group, worker, freshness, helpless }.drift(difference);
    }
    for member in &selection.missing {
        difference.drift.push(Drift::WorkerDown {
            group: group.name.clone(),
            member: member.clone(),
            state: None,
            detail: String::new(),
        });
    }
    for worker in &selection.leaving {
        difference.settling.push(settling(group, worker, true));
    }
    for worker in &selection.surplus {
        difference.drift.push(Drift::WorkerSurplus {
            group: group.name.clone(),
            member: worker.member.clone(),
            state: worker.state,
            process: worker.process,
            count: group.count,
        });
    }
}

/// A member that stays.
struct Keeper<'a> {
    app: &'a App,
    observed: &'a Observed,
    group: &'a WorkerGroup,
    worker: &'a Worker,
    freshness: &'a Freshness,
    /// Its process, where a restart of ours has made that and did not help.
    helpless: Option<ProcessId>,
}

impl Keeper<'_> {
    fn drift(&self, difference: &mut Difference) {
        let Self { app, observed, group, worker, freshness, helpless } = *self;
        let (name, member) = (&group.name, &worker.member);
        match worker.state {
            MemberState::Running | MemberState::Starting => {
                match (freshness, helpless) {
                    (Freshness::Fresh, _) => {}
                    (Freshness::Stale(_) | Freshness::Unknown, Some(process)) => {
                        difference.stalled.push(Stalled::RestartDidNotHelp {
                            group: name.clone(),
                            member: member.clone(),
                            process,
                            evidence: worker.evidence.clone(),
                        });
                    }
                    (Freshness::Stale(because), None) => difference.drift.push(Drift::WorkerStale {
                        group: name.clone(),
                        member: member.clone(),
                        process: worker.process,
                        evidence: worker.evidence.clone(),
                        because: because.clone(),
                        desired: app.release.id.clone(),
                    }),
                    (Freshness::Unknown, None) if is_too_young(app, observed, worker) => {
                        let starting = Settling { state: MemberState::Starting, ..settling(group, worker, false) };
                        difference.settling.push(starting);
                    }
                    (Freshness::Unknown, None) => difference.drift.push(Drift::WorkerUnknown {
                        group: name.clone(),
                        member: member.clone(),
                        process: worker.process,
                        evidence: worker.evidence.clone(),
                    }),
                }
                if worker.enabled == Some(false) {
                    difference.drift.push(Drift::WorkerNotEnabled { group: name.clone(), member: member.clone() });
                }
            }
            MemberState::Stopped | MemberState::Exited | MemberState::Failed => {
                difference.drift.push(Drift::WorkerDown {
                    group: name.clone(),
                    member: member.clone(),
                    state: Some(worker.state),
                    detail: worker.detail.clone(),
                });
            }
            MemberState::Backoff | MemberState::Stopping => {}
            MemberState::Unknown => difference.stalled.push(Stalled::WorkerUnknown {
                group: name.clone(),
                member: member.clone(),
                detail: worker.detail.clone(),
            }),
        }
        // A stale worker that is still starting is replaced, not waited for.
        let waited_for =
            worker.state.is_passing() && (worker.state != MemberState::Starting || *freshness == Freshness::Fresh);
        if waited_for {
            difference.settling.push(settling(group, worker, false));
        }
    }
}

/// Whether a process has started so lately that it need not show yet what it runs: an interpreter opens its
/// script a moment after it starts. Restarted for that, it would only be as young again. Where the link has
/// yet to move, it started too early in any case.
fn is_too_young(app: &App, observed: &Observed, worker: &Worker) -> bool {
    let age = worker.started.and_then(|started| Duration::try_from(observed.at.duration_since(started)).ok());
    leads_to_desired(app, &observed.layout.link) && age.is_some_and(|age| age < SHOWS_WITHIN)
}

fn settling(group: &WorkerGroup, worker: &Worker, leaving: bool) -> Settling {
    Settling {
        group: group.name.clone(),
        member: worker.member.clone(),
        state: worker.state,
        detail: worker.detail.clone(),
        leaving,
    }
}

fn blockers(app: &App, observed: &Observed) -> Vec<Blocker> {
    let mut blockers = Vec::new();
    if let Link::NotALink { what } = &observed.layout.link {
        blockers.push(Blocker::CurrentIsNotALink { what: what.clone() });
    }
    let id = &app.release.id;
    match observed.layout.release(id) {
        // What is half-made is begun anew, and only looked into when it is whole.
        _ if app.release.source.is_some() && !making::is_whole(app, observed) => {}
        Some(_) if !making::is_whole(app, observed) => blockers.push(Blocker::ReleaseHalfMade { id: id.clone() }),
        None => blockers.push(Blocker::ReleaseAbsent { id: id.clone(), present: newest(observed) }),
        Some(release) if release.empty => blockers.push(Blocker::ReleaseEmpty { id: id.clone() }),
        // What is required is required before a switch; a release in force is not taken back for it.
        Some(release) if !release.missing.is_empty() && !leads_to_desired(app, &observed.layout.link) => {
            blockers.push(Blocker::ReleaseIncomplete { id: id.clone(), missing: release.missing.clone() });
        }
        Some(_) => {}
    }
    for seen in &observed.groups {
        if let Err(why) = &seen.members {
            blockers.push(Blocker::GroupUnreadable { group: seen.group.clone(), why: why.clone() });
        }
    }
    blockers.extend(services::blockers(app, observed));
    if let Some(why) = nobody(observed).filter(|_| !leads_to_desired(app, &observed.layout.link)) {
        blockers.push(Blocker::NoSuchUser { why });
    }
    blockers
}

/// The way back is gone all the same.
fn nobody(observed: &Observed) -> Option<Unreadable> {
    observed.nobody.clone().filter(|_| observed.aim == Aim::Desired)
}

fn newest(observed: &Observed) -> Vec<ReleaseId> {
    observed.layout.releases.iter().rev().take(PRESENT_SHOWN).map(|release| release.id.clone()).collect()
}

fn beyond(group: &WorkerGroup, selection: &Selection<'_>) -> Blocker {
    let managed_as = match &group.manager {
        Manager::Supervisord(supervisord) => supervisord.program.as_ref().unwrap_or(&supervisord.group).clone(),
        Manager::Systemd(systemd) => systemd.unit.template(),
        Manager::Builtin(_) => group.name.to_string(),
    };
    Blocker::CountBeyondManager {
        group: group.name.clone(),
        count: group.count,
        offered: u32::try_from(selection.keep.len()).unwrap_or(u32::MAX),
        managed_as,
    }
}
