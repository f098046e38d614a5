//! From a snapshot to the status of an App, with the conditions that Kubernetes tools know.
//!
//! In: an [`App`], what was observed, and how the two differ. Out: an [`AppStatus`]. Whatever could not
//! be read makes a condition `Unknown` or `False`, never `True`. Begin at [`status`].

use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::decide::aim::{aimed, quarantine};
use crate::decide::conditions::conditions;
use crate::decide::freshness::{Freshness, freshness};
use crate::decide::withhold::{Permit, withheld};
use crate::model::app::{App, WorkerGroup};
use crate::model::drift::{Difference, Drift};
use crate::model::observed::{Link, MemberState, Observed, ObservedGroup, Worker};
use crate::model::process::ProcessId;
use crate::model::service::ObservedService;
use crate::model::status::{
    AppStatus, Condition, ConditionType, GroupNumbers, GroupStatus, Reason, ServiceStatus, Truth, WorkerStatus,
    WorkerVerdict,
};
use crate::model::sync::Withheld;

/// How many hexadecimal digits of the digest name a spec.
const GENERATION_DIGITS: usize = 12;

/// Names a spec: a short digest of its JSON form.
///
/// # Errors
/// When the spec has no JSON form.
pub fn generation(spec: &impl Serialize) -> Result<String, serde_json::Error> {
    let digest = Sha256::digest(serde_json::to_vec(spec)?);
    let digits =
        digest.iter().flat_map(|byte| [byte >> 4, byte & 0xf]).filter_map(|half| char::from_digit(half.into(), 16));
    Ok(digits.take(GENERATION_DIGITS).collect())
}

/// The status of an App on a host that was looked at, where nothing but the App itself says whether to act.
#[must_use]
pub fn status(app: &App, generation: String, observed: &Observed, difference: &Difference) -> AppStatus {
    let withheld = withheld(app, observed, difference, Permit::default());
    status_of(app, generation, observed, difference, withheld)
}

/// The same as a pass saw it that was told why not to act; its report's `withheld`.
#[must_use]
pub fn status_of(
    app: &App,
    generation: String,
    observed: &Observed,
    difference: &Difference,
    withheld: Option<Withheld>,
) -> AppStatus {
    let wish = app;
    let aimed = aimed(wish, &observed.aim);
    let app = &*aimed;
    let layout = &observed.layout;
    let revision = match &layout.link {
        Link::Release { id } => Some(id.clone()),
        Link::Absent | Link::Dangling { .. } | Link::Outside { .. } | Link::NotALink { .. } => None,
    };
    let group = |wanted: &WorkerGroup| {
        let seen = observed.groups.iter().find(|seen| seen.group == wanted.name);
        group_status(app, observed, wanted, seen)
    };
    let workers: Vec<GroupStatus> = app.workers.iter().map(group).collect();
    AppStatus {
        observed_generation: generation,
        observed_at: Some(observed.at),
        last_applied_revision: revision,
        current: Some(layout.link.clone()),
        current_since: layout.link_changed,
        conditions: conditions(wish, app, observed, difference, &workers, withheld.as_ref()),
        aim: Some(observed.aim.clone()),
        quarantine: quarantine(wish, &observed.records).cloned(),
        suspended: observed.suspended.clone().or_else(|| suspended_by_manifest(wish)),
        withheld,
        at_work: None,
        services: observed.services.iter().map(|seen| service_status(difference, seen)).collect(),
        workers,
        strays: observed.strays.clone(),
        health: observed.health_in_force().cloned(),
    }
}

/// The status of an App on a host that could not be looked at: everything is unknown, for this reason.
#[must_use]
pub fn unobserved(app: &App, generation: String, why: &str) -> AppStatus {
    unknown(app, generation, Reason::ObservationFailed, why)
}

/// The status of an App that has disappeared from the manifests: what was seen of it last says less and less.
#[must_use]
pub fn left_alone(app: &App, generation: String) -> AppStatus {
    unknown(app, generation, Reason::Orphaned, "the App has disappeared from the manifests: nothing looks after it")
}

fn unknown(app: &App, generation: String, reason: Reason, why: &str) -> AppStatus {
    let unknown = |of| Condition { of, status: Truth::Unknown, reason, message: why.to_owned() };
    let workers = app.workers.iter().map(|wanted| GroupStatus {
        name: wanted.name.clone(),
        manager: wanted.manager.kind().to_owned(),
        desired: wanted.count,
        numbers: None,
        members: Vec::new(),
        unreadable: None,
    });
    AppStatus {
        observed_generation: generation,
        observed_at: None,
        last_applied_revision: None,
        current: None,
        current_since: None,
        conditions: [
            ConditionType::Ready,
            ConditionType::Healthy,
            ConditionType::WorkersCurrent,
            ConditionType::Reconciling,
            ConditionType::Stalled,
        ]
        .map(unknown)
        .to_vec(),
        aim: None,
        quarantine: None,
        suspended: None,
        withheld: None,
        at_work: None,
        services: Vec::new(),
        workers: workers.collect(),
        strays: Vec::new(),
        health: None,
    }
}

fn suspended_by_manifest(app: &App) -> Option<String> {
    let why = app.sync.reason.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
    app.sync.suspend.then(|| format!("`spec.sync.suspend`{why}"))
}

/// Marks the members whose processes were asked to end.
pub fn mark_draining(status: &mut AppStatus, asked: &[ProcessId]) {
    for member in status.workers.iter_mut().flat_map(|group| &mut group.members) {
        member.draining = member.process.is_some_and(|process| asked.contains(&process));
    }
}

fn service_status(difference: &Difference, seen: &ObservedService) -> ServiceStatus {
    let stale = difference
        .drift
        .iter()
        .any(|drift| matches!(drift, Drift::ServiceStale { service, .. } if *service == seen.service));
    let state = seen.seen.as_ref().ok();
    ServiceStatus {
        name: seen.service.clone(),
        up: state.map(|state| state.up),
        current: state.map(|_| !stale),
        renewed: state.and_then(|state| state.renewed),
        detail: state.map(|state| state.detail.clone()).unwrap_or_default(),
        warning: state.and_then(|state| state.warning.clone()),
        unreadable: seen.seen.as_ref().err().cloned(),
    }
}

fn group_status(app: &App, observed: &Observed, wanted: &WorkerGroup, seen: Option<&ObservedGroup>) -> GroupStatus {
    let (members, numbers, unreadable) = match seen.map(|seen| &seen.members) {
        Some(Ok(members)) => {
            let members: Vec<WorkerStatus> =
                members.iter().map(|worker| worker_status(app, observed, wanted, worker)).collect();
            let numbers = count(&members);
            (members, Some(numbers), None)
        }
        Some(Err(why)) => (Vec::new(), None, Some(why.clone())),
        None => (Vec::new(), None, None),
    };
    GroupStatus {
        name: wanted.name.clone(),
        manager: wanted.manager.kind().to_owned(),
        desired: wanted.count,
        numbers,
        members,
        unreadable,
    }
}

fn count(members: &[WorkerStatus]) -> GroupNumbers {
    let mut numbers = GroupNumbers::default();
    for member in members.iter().filter(|member| member.state.is_up()) {
        numbers.running += 1;
        match member.verdict {
            WorkerVerdict::Fresh => numbers.fresh += 1,
            WorkerVerdict::Stale => numbers.stale += 1,
            WorkerVerdict::Unknown | WorkerVerdict::Down => numbers.unknown += 1,
        }
    }
    numbers
}

/// One member, judged as `diff` judges it.
#[must_use]
pub fn worker_status(app: &App, observed: &Observed, group: &WorkerGroup, worker: &Worker) -> WorkerStatus {
    let (verdict, stale_because) = match worker.state {
        MemberState::Stopped | MemberState::Exited | MemberState::Failed | MemberState::Backoff => {
            (WorkerVerdict::Down, None)
        }
        MemberState::Unknown => (WorkerVerdict::Unknown, None),
        MemberState::Running | MemberState::Starting | MemberState::Stopping => {
            match freshness(app, observed, group, worker) {
                Freshness::Fresh => (WorkerVerdict::Fresh, None),
                Freshness::Stale(because) => (WorkerVerdict::Stale, Some(because)),
                Freshness::Unknown => (WorkerVerdict::Unknown, None),
            }
        }
    };
    WorkerStatus {
        member: worker.member.clone(),
        state: worker.state,
        detail: worker.detail.clone(),
        process: worker.process,
        started: worker.started,
        verdict,
        stale_because,
        draining: false,
        evidence: worker.evidence.clone(),
        enabled: worker.enabled,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::diff::diff;
    use crate::decide::testing::supervisord;
    use crate::decide::testing::{
        app, contract, evidence, group, id, in_state, kept_out, member, process, record, running, seen,
    };
    use crate::model::app::App;
    use crate::model::health::HealthVerdict;
    use crate::model::memory::Helpless;
    use crate::model::names::GroupName;
    use crate::model::observed::{Aim, Link, Runs, Unreadable};

    fn well() -> HealthVerdict {
        HealthVerdict { healthy: true, rules: Vec::new(), failure: None, latency_ms: Some(5) }
    }

    /// `Ready=True ReconciliationSucceeded` and so on, for all five.
    fn words(app: &App, observed: &Observed) -> String {
        let status = status(app, "g".to_owned(), observed, &diff(app, observed));
        let conditions = status.conditions.iter();
        conditions.map(|one| format!("{}={} {}", one.of, one.status, one.reason)).collect::<Vec<_>>().join(", ")
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "one table")]
    fn conditions_say_what_is_and_why() {
        use MemberState::{Backoff, Stopped};
        let mut wanted = app("r2", vec![group("default", 2, supervisord())]);
        wanted.health = Some(contract());
        let look = |link: &str, one, two| {
            let mut observed = seen(link, vec![one, two]);
            observed.health = Some(well());
            observed
        };
        let fine = || running(2, "r2");
        let finding = |runs| Worker { evidence: evidence(runs), ..running(1, "r2") };
        let mut helpless = look("r2", running(1, "r1"), fine());
        helpless.helpless.push(Helpless {
            group: GroupName::new("default").unwrap(),
            member: member(1),
            process: process(101),
            release: id("r2"),
        });
        let mut unreadable = look("r2", fine(), fine());
        unreadable.groups[0].members = Err(Unreadable { message: "refused".to_owned(), help: None, lasting: false });
        let mut sick = look("r2", running(1, "r2"), fine());
        sick.health = Some(HealthVerdict::unanswered("connection refused"));
        let mut silent = look("r2", running(1, "r2"), fine());
        silent.health = None;
        // A rule such as `body.release == release.id` does not hold for what is still to come.
        let mut pending = look("r1", running(1, "r1"), running(2, "r1"));
        (pending.health, pending.well) = (Some(HealthVerdict::unanswered("release.id = \"r2\"")), Some(well()));
        let mut ill = pending.clone();
        ill.well = Some(HealthVerdict::unanswered("connection refused"));
        let mut blank = sick.clone();
        (blank.layout.link, blank.records) = (Link::Absent, Vec::new());
        let rest = "Reconciling=False Idle, Stalled=False NothingStalled";
        let drift = "Reconciling=False DriftDetected, Stalled=False NothingStalled";
        let rows = [
            (
                "settled",
                look("r2", running(1, "r2"), fine()),
                format!(
                    "Ready=True ReconciliationSucceeded, Healthy=True Succeeded, WorkersCurrent=True Succeeded, {rest}"
                ),
            ),
            (
                "link behind",
                look("r1", running(1, "r2"), fine()),
                format!(
                    "Ready=False ReleaseNotCurrent, Healthy=True Succeeded, WorkersCurrent=True Succeeded, {drift}"
                ),
            ),
            (
                "the release is still to come, and the one in force is well",
                pending,
                format!(
                    "Ready=False ReleaseNotCurrent, Healthy=True Succeeded, WorkersCurrent=False StaleWorkers, {drift}"
                ),
            ),
            (
                "the release is still to come, and the one in force is ill",
                ill,
                format!(
                    "Ready=False ReleaseNotCurrent, Healthy=False HealthCheckFailed, WorkersCurrent=False StaleWorkers, {drift}"
                ),
            ),
            (
                "nothing was ever in force",
                blank,
                format!(
                    "Ready=False ReleaseNotCurrent, Healthy=Unknown ReleaseNotCurrent, WorkersCurrent=True Succeeded, {drift}"
                ),
            ),
            (
                "one stale",
                look("r2", running(1, "r1"), fine()),
                format!("Ready=False StaleWorkers, Healthy=True Succeeded, WorkersCurrent=False StaleWorkers, {drift}"),
            ),
            (
                "one unknown",
                look("r2", finding(Runs::Unknown), fine()),
                format!(
                    "Ready=Unknown WorkerUnknown, Healthy=True Succeeded, WorkersCurrent=Unknown WorkerUnknown, {drift}"
                ),
            ),
            (
                "one stale, one unknown: what is certain is said",
                look("r2", finding(Runs::Unknown), running(2, "r1")),
                format!("Ready=False StaleWorkers, Healthy=True Succeeded, WorkersCurrent=False StaleWorkers, {drift}"),
            ),
            (
                "its manager does not know",
                look("r2", in_state(1, MemberState::Unknown), fine()),
                "Ready=Unknown WorkerUnknown, Healthy=True Succeeded, WorkersCurrent=Unknown WorkerUnknown, \
                 Reconciling=False Idle, Stalled=True WorkerUnknown"
                    .to_owned(),
            ),
            (
                "one down",
                look("r2", in_state(1, Stopped), fine()),
                format!(
                    "Ready=False WorkersMissing, Healthy=True Succeeded, WorkersCurrent=False WorkersMissing, {drift}"
                ),
            ),
            (
                "one coming back",
                look("r2", in_state(1, Backoff), fine()),
                "Ready=False Progressing, Healthy=True Succeeded, WorkersCurrent=False Progressing, \
                 Reconciling=True Progressing, Stalled=False NothingStalled"
                    .to_owned(),
            ),
            (
                "a restart did not help",
                helpless,
                "Ready=False RestartDidNotHelp, Healthy=True Succeeded, WorkersCurrent=False RestartDidNotHelp, \
                 Reconciling=False Idle, Stalled=True RestartDidNotHelp"
                    .to_owned(),
            ),
            (
                "supervisord does not answer",
                unreadable,
                "Ready=Unknown DependencyNotReady, Healthy=True Succeeded, WorkersCurrent=Unknown DependencyNotReady, \
                 Reconciling=False Idle, Stalled=True DependencyNotReady"
                    .to_owned(),
            ),
            (
                "unhealthy",
                sick,
                format!(
                    "Ready=False HealthCheckFailed, Healthy=False HealthCheckFailed, WorkersCurrent=True Succeeded, {rest}"
                ),
            ),
            (
                "not asked",
                silent,
                format!("Ready=Unknown NotProbed, Healthy=Unknown NotProbed, WorkersCurrent=True Succeeded, {rest}"),
            ),
        ];
        for (name, observed, expected) in rows {
            assert_eq!(words(&wanted, &observed), expected, "{name}");
        }
    }

    #[test]
    fn a_release_that_failed_before_its_switch_was_not_rolled_back() {
        let wanted = app("r3", vec![]);
        for (switched, reason) in [(true, Reason::RolledBack), (false, Reason::ReleaseQuarantined)] {
            let mut failed = kept_out("r3", 0, "trial");
            failed.switched = failed.switched.filter(|_| switched);
            let aim = Aim::Back { to: id("r2") };
            let observed = Observed { records: vec![record("r2", 20), failed], aim, ..seen("r2", vec![]) };
            let status = status(&wanted, "g".to_owned(), &observed, &diff(&wanted, &observed));
            assert_eq!(status.condition(ConditionType::Ready).unwrap().reason, reason);
        }
    }

    #[test]
    fn what_was_not_seen_is_never_reported_as_well() {
        let mut wanted = app("r2", vec![group("default", 1, supervisord())]);
        wanted.health = Some(contract());
        let status = unobserved(&wanted, "g".to_owned(), "cannot read `/srv/app`");
        assert_eq!(status.conditions.len(), 5);
        assert!(status.conditions.iter().all(|one| one.status == Truth::Unknown), "{:?}", status.conditions);
        assert_eq!(status.last_applied_revision, None);
    }

    #[test]
    fn without_a_contract_nobody_is_called_healthy() {
        let wanted = app("r2", vec![]);
        let observed = seen("r2", vec![]);
        let status = status(&wanted, "g".to_owned(), &observed, &diff(&wanted, &observed));
        assert!(status.is(ConditionType::Ready));
        assert!(!status.is(ConditionType::Healthy));
    }

    #[test]
    fn a_suspended_app_says_that_nobody_closes_its_drift() {
        let mut wanted = app("r2", vec![]);
        wanted.sync.suspend = true;
        assert!(words(&wanted, &seen("r1", vec![])).contains("Reconciling=False Suspended"));
        assert!(words(&wanted, &seen("r2", vec![])).contains("Reconciling=False Idle"));
        wanted.sync.suspend = false;
        let on_this_host = Observed { suspended: Some("a move".to_owned()), ..seen("r1", vec![]) };
        assert!(words(&wanted, &on_this_host).contains("Reconciling=False Suspended"));
    }

    #[test]
    fn a_generation_names_the_spec_and_nothing_else() {
        let one = generation(&serde_json::json!({"release": {"id": "r1"}})).unwrap();
        assert_eq!(one, "06c6352f609c");
        assert_ne!(generation(&serde_json::json!({"release": {"id": "r2"}})).unwrap(), one);
    }
}
