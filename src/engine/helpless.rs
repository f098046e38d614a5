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
    /// Writes down restarts that did not help, so that no pass repeats them: those of `round`, and earlier ones of this
    /// pass, for what a process runs may show late.
    pub(super) async fn note_helpless(&mut self, executor: &Executor<'_, H>, observed: &mut Observed, round: &[Tried]) {
        let found = helpless(&aimed(self.app, &observed.aim), observed, &self.report.tried, round);
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

/// Processes that a start or restart of this round made, or one of the earlier rounds, and that are no better than those
/// before.
fn helpless(app: &App, observed: &Observed, earlier: &[Tried], round: &[Tried]) -> Vec<Helpless> {
    // Moved away by somebody else meanwhile: then it is the link that did not help, not the restart.
    if !leads_to_desired(app, &observed.layout.link) {
        return Vec::new();
    }
    let drift = diff(app, observed).drift;
    let told = |group: &GroupName| {
        !drift.iter().any(|one| matches!(one, Drift::ConfigChanged { group: of, .. } if of == group))
    };
    // Those before were made for what the link led to then.
    let moved = observed.layout.switched();
    let since = || earlier.iter().filter(|one| moved.is_some_and(|moved| one.began >= moved));
    drift
        .iter()
        .filter_map(|one| match one {
            // Another change of the file after the restart is a new case.
            Drift::WorkerStale { group, because: StaleBecause::Config(_), .. } if !told(group) => None,
            Drift::WorkerStale { group, member, process: Some(process), because, .. } => {
                Some((group, member, *process, matches!(because, StaleBecause::Config(_))))
            }
            Drift::WorkerUnknown { group, member, process: Some(process), .. } => {
                Some((group, member, *process, false))
            }
            _ => None,
        })
        .filter(|(group, member, process, config)| {
            let made = |one: &Tried| made(observed, one, group, member, *process);
            // A file may have changed since an earlier round.
            round.iter().any(made) || (!config && since().any(made))
        })
        .map(|(group, member, process, _)| Helpless {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::testing::{app, builtin, group, noon, process, running, seconds_before, seen};

    fn restart(seconds_ago: i64) -> Tried {
        let (group, member) = (GroupName::new("default").unwrap(), crate::decide::testing::member(1));
        let action = Action::RestartWorker { group, member, process: Some(process(7)) };
        let began = seconds_before(noon(), seconds_ago);
        Tried {
            action,
            reason: String::new(),
            began,
            took: std::time::Duration::ZERO,
            problem: None,
            notes: Vec::new(),
        }
    }

    /// What a successor runs may only be seen after the round that made it.
    #[test]
    fn a_successor_that_turns_out_stale_in_a_later_round_is_not_restarted_again() {
        let app = app("r2", vec![group("default", 1, builtin())]);
        // Ten seconds old, and in the other release.
        let mut worker = running(1, "r1");
        worker.started = Some(seconds_before(noon(), 10));
        let mut observed = seen("r2", vec![worker]);
        // When the link moved, when the restarts of earlier rounds and of this one began; whether it is to be left alone.
        let rows = [
            (30, None, Some(20), true),
            (30, Some(20), None, true),
            (30, Some(5), None, false),
            (15, Some(20), None, false),
            (30, None, None, false),
        ];
        for (moved, earlier, round, expected) in rows {
            observed.layout.link_changed = Some(seconds_before(noon(), moved));
            let of = |ago: Option<i64>| ago.map(restart).into_iter().collect::<Vec<_>>();
            let found = helpless(&app, &observed, &of(earlier), &of(round));
            assert_eq!(!found.is_empty(), expected, "{moved} {earlier:?} {round:?}");
        }
    }
}
