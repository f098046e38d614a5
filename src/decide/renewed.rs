//! What was last seen, as far as it says something of the manifest that has come into force since: until the next look
//! there is nothing better to go by.

use crate::decide::aim::aim;
use crate::model::app::{App, Manager, WorkerGroup};
use crate::model::observed::{Observed, ObservedGroup, Unreadable, Worker};

/// What was seen of the App as it `was`, for the App as it is now. The root must be the same.
///
/// What was asked for another release or by another contract says nothing, and a group that somebody else looks after
/// now was not seen. A builtin group that is new has no workers yet.
#[must_use]
pub fn under(app: &App, was: &App, observed: &Observed) -> Observed {
    let mut seen = observed.clone();
    seen.aim = aim(app, &seen.layout, &seen.records);
    let same_contract = app.health == was.health;
    seen.well = seen.well.filter(|_| same_contract);
    seen.health = seen.health.filter(|_| same_contract && app.release.id == was.release.id);
    seen.groups = app.workers.iter().map(|wanted| group(wanted, was, observed)).collect();
    seen.services.retain(|seen| app.services.iter().any(|wanted| wanted.name == seen.service));
    seen
}

fn group(wanted: &WorkerGroup, was: &App, observed: &Observed) -> ObservedGroup {
    let before = was.workers.iter().find(|before| before.name == wanted.name);
    let members = match (&wanted.manager, before.map(|before| &before.manager)) {
        // Its command and its environment are compared with those that each worker has.
        (Manager::Builtin(_), Some(Manager::Builtin(_))) => members(wanted, observed),
        (now, Some(then)) if now == then => members(wanted, observed),
        (Manager::Builtin(_), None) => Some(Ok(Vec::new())),
        _ => None,
    };
    let message = "nobody has looked since the manifest changed".to_owned();
    let unread = || Err(Unreadable { message, help: None, lasting: false });
    ObservedGroup { group: wanted.name.clone(), members: members.unwrap_or_else(unread) }
}

fn members(wanted: &WorkerGroup, observed: &Observed) -> Option<Result<Vec<Worker>, Unreadable>> {
    let seen = observed.groups.iter().find(|seen| seen.group == wanted.name)?;
    Some(seen.members.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::diff::diff;
    use crate::decide::status::status;
    use crate::decide::testing::{
        app, builtin, contract, group, kept_out, record, running, seen, supervisord, systemd,
    };
    use crate::model::health::HealthVerdict;
    use crate::model::observed::Aim;
    use crate::model::status::ConditionType;

    #[test]
    fn what_was_seen_is_held_against_what_is_wanted_now() {
        let was = app("r2", vec![group("default", 1, builtin())]);
        let foreign = app("r2", vec![group("default", 1, supervisord())]);
        let both = vec![group("default", 1, builtin()), group("more", 2, builtin())];
        let others = vec![group("default", 1, builtin()), group("more", 2, systemd())];
        let rows = [
            ("nothing of it", &was, was.clone(), "True ReconciliationSucceeded"),
            ("another release", &was, app("r1", was.workers.clone()), "False ReleaseNotCurrent"),
            ("one that is not there", &was, app("r9", was.workers.clone()), "False ArtifactFailed"),
            ("more workers", &was, app("r2", vec![group("default", 2, builtin())]), "False WorkersMissing"),
            ("fewer", &was, app("r2", vec![group("default", 0, builtin())]), "False WorkersSurplus"),
            ("one more group", &was, app("r2", both), "False WorkersMissing"),
            ("one more of somebody else's", &was, app("r2", others), "Unknown DependencyNotReady"),
            ("no group", &was, app("r2", vec![]), "True ReconciliationSucceeded"),
            ("another manager", &foreign, was.clone(), "Unknown DependencyNotReady"),
        ];
        for (name, was, now, expected) in rows {
            let after = under(&now, was, &seen("r2", vec![running(1, "r2")]));
            let status = status(&now, "g".to_owned(), &after, &diff(&now, &after));
            let ready = status.condition(ConditionType::Ready).unwrap();
            assert_eq!(format!("{} {}", ready.status, ready.reason), expected, "{name}: {}", ready.message);
        }
    }

    #[test]
    fn a_release_that_is_kept_out_is_no_way_to_go_on() {
        let (mut wanted, was) = (app("r3", vec![]), app("r2", vec![]));
        let records = vec![record("r2", 20), kept_out("r3", 0, "trial")];
        let before = Observed { records, ..seen("r2", vec![]) };
        assert!(matches!(under(&wanted, &was, &before).aim, Aim::Back { to } if to == was.release.id));
        wanted.fingerprint.trial = "another".to_owned();
        assert_eq!(under(&wanted, &was, &before).aim, Aim::Desired);
    }

    #[test]
    fn what_an_application_said_counts_for_its_release_and_its_contract() {
        let verdict = HealthVerdict { healthy: true, rules: Vec::new(), failure: None, latency_ms: None };
        let before = Observed { health: Some(verdict.clone()), well: Some(verdict), ..seen("r2", vec![]) };
        let was = app("r2", vec![]);
        let mut asked = was.clone();
        asked.health = Some(contract());
        for (now, expected) in
            [(was.clone(), (true, true)), (app("r3", vec![]), (false, true)), (asked, (false, false))]
        {
            let after = under(&now, &was, &before);
            assert_eq!((after.health.is_some(), after.well.is_some()), expected, "{now:?}");
        }
    }
}
