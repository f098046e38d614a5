//! What is wished of an App that has disappeared from the manifests and says that its workers should not outlive that.

use crate::model::app::{App, Fingerprint, Manager, WorkerGroup};
use crate::model::drift::{Blocker, Difference, Drift};
use crate::model::observed::{Layout, Link};
use crate::model::release::Release;

/// The same App without workers, on whatever release is in force: a pass over it stops them and changes nothing else, see
/// [`only_stops`]. A release on trial stays unjudged.
/// None where `current` leads to no release; then there is nothing to hold on to.
#[must_use]
pub fn without_workers(app: &App, layout: &Layout) -> Option<App> {
    let Link::Release { id } = &layout.link else { return None };
    let workers = app.workers.iter().map(|group| WorkerGroup { count: 0, restart_on: Vec::new(), ..group.clone() });
    Some(App {
        workers: workers.collect(),
        services: Vec::new(),
        health: None,
        release: Release { keep: app.release.keep, ..Release::present(id.clone()) },
        leaving: true,
        // No quarantine was meant for this.
        fingerprint: Fingerprint::default(),
        ..app.clone()
    })
}

/// Of what differs, only that its own workers run is a leaving App's business. Somebody else may look after the root by
/// now: the release in force, and processes that no group of this App owns, are theirs.
pub fn only_stops(difference: &mut Difference) {
    difference.drift.retain(|drift| matches!(drift, Drift::WorkerSurplus { .. }));
    difference.blockers.retain(|blocker| matches!(blocker, Blocker::GroupUnreadable { .. }));
    difference.settling.retain(|settling| settling.leaving);
    difference.stalled.clear();
}

/// The App without the groups that one of the others has, too, under the manager that both share: what runs there is that
/// one's by now. Workers of trueup itself belong to their App and root, and to no other.
#[must_use]
pub fn without_groups_of<'a>(app: &App, others: &(impl Iterator<Item = &'a App> + Clone)) -> App {
    let is_shared = |group: &&WorkerGroup| {
        others.clone().flat_map(|other| &other.workers).any(|other| are_the_same(&group.manager, &other.manager))
    };
    App { workers: app.workers.iter().filter(|group| !is_shared(group)).cloned().collect(), ..app.clone() }
}

/// Whether two Apps speak of the same members. In doubt they do.
fn are_the_same(one: &Manager, other: &Manager) -> bool {
    fn may_be<T: PartialEq>(one: Option<&T>, other: Option<&T>) -> bool {
        one.is_none() || other.is_none() || one == other
    }
    match (one, other) {
        (Manager::Supervisord(one), Manager::Supervisord(other)) => {
            one.group == other.group
                && may_be(one.program.as_ref(), other.program.as_ref())
                && may_be(one.socket.as_ref(), other.socket.as_ref())
        }
        (Manager::Systemd(one), Manager::Systemd(other)) => one.unit == other.unit,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::diff::diff;
    use crate::decide::gate::adoption;
    use crate::decide::plan::plan_for;
    use crate::decide::testing::{app, group, id, noon, record, running, seen, supervisord};
    use crate::model::action::Action;
    use crate::model::app::Supervisord;
    use crate::model::drift::Drift;
    use crate::model::record::ReleaseRecord;

    #[test]
    fn its_workers_are_stopped_and_nothing_else_is_done() {
        let wanted = app("r2", vec![group("default", 2, supervisord())]);
        let observed = seen("r1", vec![running(1, "r1"), running(2, "r1")]);
        let leaving = without_workers(&wanted, &observed.layout).unwrap();
        assert_eq!((&leaving.release.id, &leaving.name), (&id("r1"), &wanted.name));
        let plan = plan_for(&leaving, &diff(&leaving, &observed));
        let actions: Vec<Action> = plan.steps.iter().map(|step| step.action.clone()).collect();
        assert_eq!(actions.len(), 2, "{actions:?}");
        assert!(actions.iter().all(|action| matches!(action, Action::StopWorker { .. })), "{actions:?}");

        let mut on_trial = observed.clone();
        let switched = ReleaseRecord { switched: Some(noon()), proven: None, ..record("r1", 10) };
        on_trial.records = vec![switched];
        for workers in [vec![running(1, "r1"), running(2, "r1")], vec![]] {
            on_trial.groups.iter_mut().for_each(|group| group.members = Ok(workers.clone()));
            let drift = diff(&leaving, &on_trial).drift;
            let proves = drift.iter().any(|drift| matches!(drift, Drift::ReleaseNotProven { .. }));
            assert!(!proves && drift.len() == workers.len(), "{drift:?}");
        }
        on_trial.records.clear();
        assert_eq!(adoption(&leaving, &on_trial), None, "nor is one that somebody else put in force found good");

        let mut nowhere = observed.layout;
        nowhere.link = Link::Absent;
        assert!(without_workers(&wanted, &nowhere).is_none());
    }

    #[test]
    fn what_another_app_has_by_now_is_not_stopped() {
        use crate::decide::testing::{builtin, systemd};
        let program = |program: Option<&str>| {
            let Manager::Supervisord(common) = supervisord() else { panic!("it is one") };
            Manager::Supervisord(Supervisord { program: program.map(str::to_owned), ..common })
        };
        let rows = [
            ("the same group", supervisord(), supervisord(), true),
            ("of a group, one program", supervisord(), program(Some("queue")), true),
            ("two programs", program(Some("mail")), program(Some("queue")), false),
            ("the same unit", systemd(), systemd(), true),
            ("trueup's own are told apart by their App", builtin(), builtin(), false),
            ("another manager", supervisord(), systemd(), false),
        ];
        for (name, own, others, shared) in rows {
            let leaving = app("r1", vec![group("own", 1, own), group("second", 1, builtin())]);
            let other = app("r1", vec![group("another", 2, others)]);
            let left = without_groups_of(&leaving, &[&other].into_iter());
            assert_eq!(left.workers.len(), if shared { 1 } else { 2 }, "{name}");
        }
    }
}
