//! The gate: turns proof into a record, and its absence into a quarantine.
//!
//! It judges only a release that was switched to and is not proven yet. What is proven and turns unhealthy later
//! is reported and left: the fault is not the switch's.

use std::time::Duration;

use jiff::Timestamp;

use crate::decide::aim::quarantine;
use crate::decide::freshness::{Freshness, freshness, leads_to_desired};
use crate::decide::select::select;
use crate::decide::{making, services};
use crate::model::action::Action;
use crate::model::app::App;
use crate::model::drift::{Difference, Drift, Settling, StaleBecause};
use crate::model::health::HealthVerdict;
use crate::model::names::MemberName;
use crate::model::observed::{Aim, Link, MemberState, Observed};
use crate::model::process::ProcessId;
use crate::model::record::{Judge, Making, Quarantine, ReleaseRecord};
use crate::model::release::Stage;
use crate::model::report::Tried;
use crate::model::service::OnRelease;

/// The release has not passed its gate yet.
pub fn drift(app: &App, observed: &Observed, difference: &mut Difference) {
    if is_judged(app, observed) {
        difference.drift.push(Drift::ReleaseNotProven { release: app.release.id.clone() });
    }
}

/// Whether what becomes of the workers now is said of the release: it is on trial, or will be after the switch.
#[must_use]
pub fn is_judged(app: &App, observed: &Observed) -> bool {
    let wanted = observed.aim == Aim::Desired && quarantine(app, &observed.records).is_none();
    let to_come = !leads_to_desired(app, &observed.layout.link);
    let proven = observed.record(&app.release.id).is_some_and(|record| record.proven.is_some());
    let trial = is_on_trial(app, observed) || (to_come && (!proven || making::comes_anew(app, observed)));
    wanted && trial
}

/// The App's release is in force because we switched to it, and has not passed its gate yet. One that somebody else
/// put in force is not on trial: what would be gone back to?
#[must_use]
pub fn is_on_trial(app: &App, observed: &Observed) -> bool {
    let record = observed.record(&app.release.id);
    let unproven = record.is_some_and(|record| record.switched.is_some() && record.proven.is_none());
    // Without its workers, any release would pass.
    !app.leaving && unproven && leads_to_desired(app, &observed.layout.link)
}

/// The record of the release in force, if it was put there by somebody else and is healthy: there is a way back to
/// it from now on. Nothing on the host differs for that.
#[must_use]
pub fn adoption(app: &App, observed: &Observed) -> Option<ReleaseRecord> {
    let Link::Release { id } = &observed.layout.link else { return None };
    let known = observed.record(id);
    let judged = |record: &ReleaseRecord| record.proven.or(record.switched).is_some() || record.quarantine.is_some();
    let well = app.health.is_none() || observed.well.as_ref().is_some_and(|verdict| verdict.healthy);
    if app.leaving || !well || known.is_some_and(|record| judged(record) || record.made != Making::Built) {
        return None;
    }
    let known = known.cloned().unwrap_or_else(|| ReleaseRecord::adopted(id.clone(), observed.at));
    Some(ReleaseRecord { proven: Some(in_order(&observed.records, observed.at)), ..known })
}

/// When something is written down of a release: now, but later than all that was written down before. What was in force
/// last is told by the order of these times, also where a clock was ahead and has been set back.
#[must_use]
pub fn in_order(records: &[ReleaseRecord], now: Timestamp) -> Timestamp {
    let before = records.iter().flat_map(|record| [record.proven, record.switched]).flatten().max();
    let next = before.and_then(|before| before.checked_add(jiff::SignedDuration::from_nanos(1)).ok());
    next.map_or(now, |next| next.max(now))
}

/// The record of a release that has passed its gate. What failed before, under the same id, is over: nothing of it
/// speaks against the release any more.
#[must_use]
pub fn passed(app: &App, observed: &Observed, at: Timestamp) -> ReleaseRecord {
    let proven = Some(in_order(&observed.records, at));
    ReleaseRecord { proven, quarantine: None, ..known(app, observed, at) }
}

/// What one look at a release under trial says.
#[derive(Debug, Clone, PartialEq)]
pub enum Trial {
    /// Healthy, every worker fresh and up for long enough.
    Passed,
    /// All is well so far, but some worker is too young: look again after this.
    TooYoung(Duration),
    /// Nothing speaks against it, and not everything can be judged: what of a worker is not known, a service that
    /// cannot be observed. That neither proves a release nor is its fault.
    Unclear(Vec<String>),
    /// Not yet, or not at all.
    Failed(Vec<String>),
}

/// Judges one look, at which health was asked for if there is a contract.
#[must_use]
pub fn trial(app: &App, observed: &Observed) -> Trial {
    let (mut against, mut unclear) = (Vec::new(), Vec::new());
    let mut wait = Duration::ZERO;
    if !leads_to_desired(app, &observed.layout.link) {
        against.push(format!("current is {}, not {}", observed.layout.link, app.release.id));
    }
    for group in &app.workers {
        let seen = observed.groups.iter().find(|seen| seen.group == group.name).map(|seen| &seen.members);
        let members = match seen {
            Some(Ok(members)) => members,
            Some(Err(why)) => {
                unclear.push(format!("the workers of {} cannot be observed: {}", group.name, why.message));
                continue;
            }
            None => continue,
        };
        let selection = select(app, observed, group, members);
        against.extend(selection.missing.iter().map(|member| format!("{member} is missing")));
        for (worker, fresh) in &selection.keep {
            let words = if worker.detail.is_empty() { String::new() } else { format!(" ({})", worker.detail) };
            match (worker.state, fresh) {
                (MemberState::Running, Freshness::Fresh) => {
                    let age = worker.started.and_then(|at| Duration::try_from(observed.at.duration_since(at)).ok());
                    wait = wait.max(group.min_healthy.saturating_sub(age.unwrap_or_default()));
                }
                // Its manager does not trust it yet.
                (MemberState::Starting, Freshness::Fresh) => wait = wait.max(STARTING),
                (MemberState::Running | MemberState::Starting, Freshness::Stale(StaleBecause::Release)) => {
                    against
                        .push(format!("{} does not run {}: {}", worker.member, app.release.id, worker.evidence.seen));
                }
                (MemberState::Running | MemberState::Starting, Freshness::Unknown) => {
                    unclear.push(format!("nobody can tell what {} runs: {}", worker.member, worker.evidence.seen));
                }
                (MemberState::Running | MemberState::Starting, Freshness::Stale(StaleBecause::Config(path))) => {
                    unclear.push(format!("{} seems older than {path}", worker.member));
                }
                (MemberState::Running | MemberState::Starting, Freshness::Stale(StaleBecause::Command)) => {
                    unclear.push(format!("{} seems to run another command", worker.member));
                }
                (MemberState::Unknown, _) => unclear.push(format!("the state of {} is unknown{words}", worker.member)),
                (state, _) => against.push(format!("{} is {state}{words}", worker.member)),
            }
        }
    }
    if let Some(why) = observed.health.as_ref().and_then(HealthVerdict::complaint) {
        against.push(why);
    }
    let serving = services::unseen(app, observed).filter(|(service, _)| service.on_release != OnRelease::None);
    unclear.extend(serving.map(|(service, why)| format!("{} cannot be observed: {}", service.name, why.message)));
    match () {
        () if !against.is_empty() => Trial::Failed(against),
        () if !unclear.is_empty() => Trial::Unclear(unclear),
        () if wait.is_zero() => Trial::Passed,
        () => Trial::TooYoung(wait),
    }
}

/// The pause before another look at a worker that its manager is still starting.
const STARTING: Duration = Duration::from_millis(200);

/// The processes that carry a release under trial; one that is gone at a later look has not lasted.
#[must_use]
pub fn carriers(app: &App, observed: &Observed) -> Vec<(MemberName, ProcessId)> {
    let members = app.workers.iter().zip(&observed.groups).flat_map(|(group, seen)| {
        seen.members
            .iter()
            .flatten()
            .filter(move |worker| worker.state.is_up() && freshness(app, observed, group, worker) == Freshness::Fresh)
    });
    members.filter_map(|worker| Some((worker.member.clone(), worker.process?))).collect()
}

/// Whether a failed step speaks against the release itself, and how it is put; `observed` is the look after it. A
/// manager that cannot be reached, a lock, a network that is down do not: those are tried again.
#[must_use]
pub fn blame(app: &App, observed: &Observed, tried: &[Tried]) -> Option<String> {
    if observed.aim != Aim::Desired {
        return None;
    }
    let on_trial = is_on_trial(app, observed);
    // What is in force and not on trial is not taken back for a link that could not be made.
    let judged = on_trial || !leads_to_desired(app, &observed.layout.link);
    tried.iter().find_map(|one| {
        let problem = one.problem.as_ref()?;
        let its_own = match &one.action {
            Action::StartWorker { .. } | Action::RestartWorker { .. } => on_trial,
            _ => judged,
        };
        (problem.lasting && its_own).then(|| problem.message.clone())
    })
}

/// The same for workers that never came to rest after the switch.
#[must_use]
pub fn blame_unsettled(app: &App, observed: &Observed, settling: &[Settling]) -> Option<String> {
    let one = settling.iter().find(|one| !one.leaving && one.state == MemberState::Backoff)?;
    let judged = observed.aim == Aim::Desired && is_on_trial(app, observed);
    let words = if one.detail.is_empty() { String::new() } else { format!(": {}", one.detail) };
    judged.then(|| format!("{} does not stay up{words}", one.member))
}

/// The record of a release that is kept out from now on.
#[must_use]
pub fn keep_out(app: &App, observed: &Observed, at: Timestamp, reason: String, evidence: Vec<String>) -> ReleaseRecord {
    let mut record = known(app, observed, at);
    record.proven = None;
    record.quarantine = Some(Quarantine {
        key: app.fingerprint.trial.clone(),
        at,
        by: Judge::Gate,
        reason,
        evidence,
        held: false,
        back_to: None,
    });
    record
}

/// The record of the App's release as it is known, or as it is when somebody else put it there.
#[must_use]
pub fn known(app: &App, observed: &Observed, at: Timestamp) -> ReleaseRecord {
    let known = observed.record(&app.release.id).cloned();
    known.unwrap_or_else(|| ReleaseRecord::adopted(app.release.id.clone(), at))
}

/// What a stage that has run makes of a record.
pub fn ran(record: &mut ReleaseRecord, stage: Stage, at: Timestamp) {
    match stage {
        Stage::Verify => record.verified = Some(at),
        Stage::Migrate => record.migrated = Some(at),
        Stage::Build | Stage::BeforeSwitch | Stage::AfterSwitch | Stage::AfterRollback => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::testing::{app, builtin, group, id, in_state, noon, record, running, seconds_before, seen};
    use crate::model::names::{GroupName, RelativePath};
    use crate::model::observed::{Evidence, ObservedConfig, Unreadable, Worker};
    use crate::model::process::Known;
    use crate::model::service::{ObservedService, Service, ServiceManager};

    fn verdict(trial: &Trial) -> &'static str {
        match trial {
            Trial::Passed => "passed",
            Trial::TooYoung(_) => "too young",
            Trial::Unclear(_) => "unclear",
            Trial::Failed(_) => "failed",
        }
    }

    #[test]
    fn what_nobody_can_tell_neither_proves_a_release_nor_speaks_against_it() {
        let mut wanted = app("r2", vec![group("default", 2, builtin())]);
        let name = GroupName::new("web").unwrap();
        wanted.services = vec![Service {
            name: name.clone(),
            manager: ServiceManager::Systemd { unit: "web.service".to_owned() },
            on_release: OnRelease::Auto,
            timeout: Duration::from_secs(30),
            restart_on: Vec::new(),
        }];
        let other = |worker: Worker| Worker { ordinal: 2, member: crate::decide::testing::member(2), ..worker };
        let with = |second: Worker| seen("r2", vec![running(1, "r2"), other(second)]);
        let unknown = || Worker { evidence: Evidence::unknown("not permitted"), ..running(2, "r2") };
        let young = Worker { started: Some(noon()), ..running(2, "r2") };
        wanted.workers[0].min_healthy = Duration::from_secs(5);
        let why = || Unreadable { message: "gone".to_owned(), help: None, lasting: false };
        let mut no_group = with(running(2, "r2"));
        no_group.groups[0].members = Err(why());
        let mut no_service = with(running(2, "r2"));
        no_service.services = vec![ObservedService { service: name, seen: Err(why()) }];
        let mut no_file = with(running(2, "r2"));
        let path = RelativePath::new("shared/.env").unwrap();
        no_file.config = vec![ObservedConfig {
            group: GroupName::new("default").unwrap(),
            path,
            content: Known::Unknown("not permitted".to_owned()),
            modified: None,
            applied: None,
        }];
        let sick = |observed: Observed| Observed { health: Some(HealthVerdict::unanswered("500")), ..observed };
        let rows = [
            ("all is well", with(running(2, "r2")), "passed"),
            ("one is young", with(young), "too young"),
            ("one runs another release", with(running(2, "r1")), "failed"),
            ("one is given up", with(in_state(2, MemberState::Failed)), "failed"),
            ("one is missing", seen("r2", vec![running(1, "r2")]), "failed"),
            ("one shows nothing", with(unknown()), "unclear"),
            (
                "its manager does not know it",
                with(Worker { state: MemberState::Unknown, ..running(2, "r2") }),
                "unclear",
            ),
            ("one runs another command", with(Worker { outdated: true, ..running(2, "r2") }), "unclear"),
            ("nobody lists them", no_group.clone(), "unclear"),
            ("a service is not seen", no_service.clone(), "unclear"),
            ("a file cannot be read", no_file, "passed"),
            ("sick", sick(with(running(2, "r2"))), "failed"),
            ("sick, and one shows nothing", sick(with(unknown())), "failed"),
            ("sick, and nobody lists them", sick(no_group), "failed"),
            ("sick, and a service is not seen", sick(no_service), "failed"),
            (
                "one shows nothing, another runs another release",
                seen("r2", vec![running(1, "r1"), other(unknown())]),
                "failed",
            ),
        ];
        for (name, observed, expected) in rows {
            let said = trial(&wanted, &observed);
            assert_eq!(verdict(&said), expected, "{name}: {said:?}");
        }
    }

    #[test]
    fn what_is_proven_later_comes_later_whatever_the_clock_says() {
        let wanted = app("r2", vec![]);
        let ahead = seconds_before(noon(), -3600);
        let of_the_future = ReleaseRecord { proven: Some(ahead), ..record("r1", 60) };
        let switched = ReleaseRecord { proven: None, switched: Some(ahead), ..record("r3", 60) };
        let rows = [
            ("nothing", vec![], noon(), true),
            ("the past", vec![record("r1", 60)], noon(), true),
            ("proven in the future", vec![of_the_future], ahead, false),
            ("switched to in the future", vec![switched], ahead, false),
        ];
        for (name, records, after, is_now) in rows {
            let observed = Observed { records, ..seen("r2", vec![]) };
            let proven = passed(&wanted, &observed, noon()).proven.unwrap();
            assert!(if is_now { proven == noon() } else { proven > after }, "{name}: {proven}");
            let adopted = adoption(&wanted, &observed).and_then(|record| record.proven).unwrap();
            assert_eq!((adopted, id("r2")), (proven, wanted.release.id.clone()), "{name}");
        }
    }
}
