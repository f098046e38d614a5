//! What is wished of an App that has disappeared from the manifests and says that its workers should not outlive that.

use crate::model::app::{App, Fingerprint, WorkerGroup};
use crate::model::observed::{Layout, Link};
use crate::model::release::Release;

/// The same App without workers, on whatever release is in force: a pass over it stops them and changes nothing else. A
/// release on trial stays unjudged.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::diff::diff;
    use crate::decide::gate::adoption;
    use crate::decide::plan::plan_for;
    use crate::decide::testing::{app, group, id, noon, record, running, seen, supervisord};
    use crate::model::action::Action;
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
}
