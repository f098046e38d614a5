//! Restarts that succeeded and did not help: the same drift again would make a loop.

use crate::decide::aim::aimed;
use crate::decide::diff::diff;
use crate::decide::freshness::leads_to_desired;
use crate::engine::execute::Executor;
use crate::engine::pass::Pass;
use crate::model::action::Action;
use crate::model::app::App;
use crate::model::drift::{Drift, StaleBecause};
use crate::model::memory::Helpless;
use crate::model::names::{GroupName, MemberName};
use crate::model::observed::Observed;
use crate::model::process::ProcessId;
use crate::model::report::Tried;
use crate::ports::Host;

impl<H: Host> Pass<'_, H> {
    /// Writes down restarts that did not help, so that no pass repeats them.
    pub(super) async fn note_helpless(&mut self, executor: &Executor<'_, H>, observed: &mut Observed, tried: &[Tried]) {
        let found = helpless(&aimed(self.app, &observed.aim), observed, tried);
        if found.is_empty() {
            return;
        }
        let living = living(observed);
        let noted = executor.remember(|memory| {
            memory.helpless.retain(|known| living.contains(&known.process));
            memory.helpless.extend(found.iter().cloned());
        });
        if let Err(error) = noted.await {
            self.problem(&error);
        }
        observed.helpless.extend(found);
    }
}

/// Processes that a start or restart of this round made, and that are no better than those before.
fn helpless(app: &App, observed: &Observed, tried: &[Tried]) -> Vec<Helpless> {
    // Moved away by somebody else meanwhile: then it is the link that did not help, not the restart.
    if !leads_to_desired(app, &observed.layout.link) {
        return Vec::new();
    }
    let drift = diff(app, observed).drift;
    let told = |group: &GroupName| {
        !drift.iter().any(|one| matches!(one, Drift::ConfigChanged { group: of, .. } if of == group))
    };
    drift
        .iter()
        .filter_map(|one| match one {
            // Another change of the file after the restart is a new case.
            Drift::WorkerStale { group, because: StaleBecause::Config(_), .. } if !told(group) => None,
            Drift::WorkerStale { group, member, process: Some(process), .. }
            | Drift::WorkerUnknown { group, member, process: Some(process), .. } => Some((group, member, *process)),
            _ => None,
        })
        .filter(|(group, member, process)| tried.iter().any(|one| made(observed, one, group, member, *process)))
        .map(|(group, member, process)| Helpless {
            group: group.clone(),
            member: member.clone(),
            process,
            release: app.release.id.clone(),
        })
        .collect()
}

/// Whether this action made that process: one that was there before it began came from elsewhere.
fn made(observed: &Observed, tried: &Tried, group: &GroupName, member: &MemberName, process: ProcessId) -> bool {
    let of_member = match &tried.action {
        Action::StartWorker { group: of, member: name } => of == group && name == member,
        Action::RestartWorker { group: of, member: name, process: old } => {
            of == group && name == member && *old != Some(process)
        }
        _ => false,
    };
    if !of_member || tried.problem.is_some() {
        return false;
    }
    let members =
        observed.groups.iter().filter(|seen| seen.group == *group).flat_map(|seen| seen.members.iter().flatten());
    let worker = members.filter(|worker| worker.process == Some(process)).find_map(|worker| worker.started);
    worker.is_some_and(|started| started >= tried.began)
}

/// The processes of all members.
fn living(observed: &Observed) -> Vec<ProcessId> {
    let members = observed.groups.iter().flat_map(|group| group.members.iter().flatten());
    members.filter_map(|worker| worker.process).collect()
}
