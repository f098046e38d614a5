//! What a snapshot shows once a process of it has ended: between two looks the kernel tells of nothing else.

use crate::model::app::{App, Manager};
use crate::model::observed::{Evidence, MemberState, Observed, Worker};
use crate::model::process::ProcessId;

/// What was seen, without that process; none: it was no worker's.
///
/// Trueup's own worker is down then. Of another manager's it is known only that this process is gone: that manager may
/// start the next one by itself.
#[must_use]
pub fn without(app: &App, observed: &Observed, dead: ProcessId) -> Option<Observed> {
    let mut left = observed.clone();
    let mut found = false;
    for group in &mut left.groups {
        let wanted = app.workers.iter().find(|wanted| wanted.name == group.group);
        let comes_back = wanted.is_some_and(|wanted| !matches!(wanted.manager, Manager::Builtin { .. }));
        let state = if comes_back { MemberState::Backoff } else { MemberState::Exited };
        for worker in group.members.iter_mut().flatten().filter(|worker| worker.process == Some(dead)) {
            found = true;
            *worker = Worker {
                state,
                detail: "its process has ended since".to_owned(),
                process: None,
                started: None,
                evidence: Evidence::unknown("its process has ended"),
                ..worker.clone()
            };
        }
    }
    found.then_some(left)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::diff::diff;
    use crate::decide::status::status;
    use crate::decide::testing::{app, builtin, group, process, running, seen, supervisord};
    use crate::model::status::ConditionType;

    #[test]
    fn one_that_has_died_is_not_counted_any_more() {
        for (manager, said) in [(builtin(), "WorkersMissing"), (supervisord(), "Progressing")] {
            let wanted = app("r2", vec![group("default", 2, manager)]);
            let before = seen("r2", vec![running(1, "r2"), running(2, "r2")]);
            assert_eq!(without(&wanted, &before, process(7)), None, "nobody's");
            let after = without(&wanted, &before, process(102)).unwrap();
            let status = status(&wanted, "g".to_owned(), &after, &diff(&wanted, &after));
            let numbers = status.workers[0].numbers.unwrap();
            assert_eq!((numbers.running, numbers.fresh), (1, 1));
            for of in [ConditionType::Ready, ConditionType::WorkersCurrent] {
                let told = status.condition(of).unwrap();
                assert_eq!((told.status.to_string().as_str(), told.reason.to_string().as_str()), ("False", said));
            }
            assert_eq!(without(&wanted, &after, process(102)), None, "once");
        }
    }
}
