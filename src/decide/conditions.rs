//! The five conditions of an App, out of everything that speaks against it.
//!
//! Each thing that differs is one objection: it makes a condition `False` where it is certain and
//! `Unknown` where something could not be read. What is certain is said before what is not.

use crate::decide::explain;
use crate::decide::withhold::words;
use crate::model::app::App;
use crate::model::drift::{Blocker, Difference, Drift, Stalled};
use crate::model::observed::{Aim, Link, Observed};
use crate::model::record::ReleaseRecord;
use crate::model::status::{Condition, ConditionType, GroupStatus, Reason, Truth};
use crate::model::sync::Withheld;

/// Something that speaks against an App's being ready.
struct Objection {
    /// Certain, or only not known to be well.
    certain: bool,
    /// It speaks against the workers' being current, too.
    workers: bool,
    reason: Reason,
    message: String,
}

/// Ready, Healthy, `WorkersCurrent`, Reconciling and Stalled, in this order.
pub(super) fn conditions(
    wish: &App,
    app: &App,
    observed: &Observed,
    difference: &Difference,
    workers: &[GroupStatus],
    withheld: Option<&Withheld>,
) -> Vec<Condition> {
    let health = health(app, observed);
    let withheld = withheld.filter(|_| !difference.drift.is_empty());
    let stalled: Vec<Objection> = (difference.blockers.iter().map(|one| blocked(app, one)))
        .chain(difference.stalled.iter().map(|one| stalled(app, one)))
        .collect();
    let fought = withheld.filter(|one| matches!(one, Withheld::TooManyCorrections { .. })).map(standing_still);
    let mut drift = drift(app, difference, workers);
    drift.splice(0..0, kept_out(wish, observed));
    let against = |workers_only: bool| {
        let all = stalled.iter().chain(&drift);
        all.filter(move |objection| objection.workers || !workers_only)
    };
    let sick = Objection {
        certain: health.status == Truth::False,
        workers: false,
        reason: health.reason,
        message: health.message.clone(),
    };
    let sick = Some(&sick).filter(|_| app.health.is_some() && health.status != Truth::True);
    // What no pass would put right is said first.
    let left = withheld.filter(|_| stalled.is_empty() && observed.aim == Aim::Desired);
    let ready = match verdict(ConditionType::Ready, against(false).chain(sick)) {
        Some(ready) => left.map_or_else(|| ready.clone(), |withheld| left_ready(withheld, &ready)),
        None => holds(ConditionType::Ready, Reason::ReconciliationSucceeded, "the host is as the App says"),
    };
    let current = verdict(ConditionType::WorkersCurrent, against(true)).unwrap_or_else(|| {
        let desired: u32 = workers.iter().map(|group| group.desired).sum();
        let message = match desired {
            0 => "no workers are wanted, and none run".to_owned(),
            1 => format!("the worker runs {}", app.release.id),
            many => format!("all {many} workers run {}", app.release.id),
        };
        holds(ConditionType::WorkersCurrent, Reason::Succeeded, &message)
    });
    let standstill = standstill(&stalled.into_iter().chain(fought).collect::<Vec<_>>());
    vec![ready, health, current, reconciling(difference, withheld), standstill]
}

fn holds(of: ConditionType, reason: Reason, message: &str) -> Condition {
    Condition { of, status: Truth::True, reason, message: message.to_owned() }
}

/// What the objections make of a condition; none when there are none.
fn verdict<'a>(of: ConditionType, against: impl Iterator<Item = &'a Objection>) -> Option<Condition> {
    let against: Vec<&Objection> = against.collect();
    let first = against.iter().find(|objection| objection.certain).or(against.first())?;
    let message = match against.len() - 1 {
        0 => first.message.clone(),
        more => format!("{}; {more} more", first.message),
    };
    let status = if first.certain { Truth::False } else { Truth::Unknown };
    Some(Condition { of, status, reason: first.reason, message })
}

/// The desired release is not what is aimed at.
fn kept_out(wish: &App, observed: &Observed) -> Option<Objection> {
    let problem = explain::kept_out(wish, observed)?;
    let served = observed.record(&wish.release.id).is_some_and(ReleaseRecord::failed_in_force);
    let back = matches!(observed.aim, Aim::Back { .. }) && served;
    let reason = if back { Reason::RolledBack } else { Reason::ReleaseQuarantined };
    Some(Objection { certain: true, workers: false, reason, message: problem.message })
}

/// What speaks against an App is drift that is only shown.
fn left_ready(withheld: &Withheld, ready: &Condition) -> Condition {
    let message = format!("{}: {}", words(withheld), ready.message);
    Condition { of: ready.of, status: ready.status, reason: reason(withheld), message }
}

/// It is shown for so long that a person is called.
fn standing_still(withheld: &Withheld) -> Objection {
    Objection { certain: true, workers: false, reason: reason(withheld), message: words(withheld) }
}

fn reason(withheld: &Withheld) -> Reason {
    match withheld {
        Withheld::Suspended { .. } => Reason::Suspended,
        Withheld::OutsideWindow { .. } => Reason::OutsideWindow,
        Withheld::NotAutomatic => Reason::NotAutomatic,
        Withheld::NoSelfHeal => Reason::NoSelfHeal,
        Withheld::TooManyCorrections { .. } => Reason::TooManyCorrections,
    }
}

fn blocked(app: &App, blocker: &Blocker) -> Objection {
    let (certain, workers, reason) = match blocker {
        Blocker::CurrentIsNotALink { .. } => (true, false, Reason::CurrentIsNotALink),
        Blocker::ReleaseAbsent { .. }
        | Blocker::ReleaseEmpty { .. }
        | Blocker::ReleaseIncomplete { .. }
        | Blocker::ReleaseHalfMade { .. } => (true, false, Reason::ArtifactFailed),
        Blocker::GroupUnreadable { .. } => (false, true, Reason::DependencyNotReady),
        Blocker::ServiceUnreadable { why, .. } => (why.lasting, false, Reason::DependencyNotReady),
        Blocker::NoSuchUser { .. } => (true, false, Reason::DependencyNotReady),
        Blocker::CountBeyondManager { .. } => (true, true, Reason::CountBeyondManager),
    };
    Objection { certain, workers, reason, message: explain::blocker(app, blocker).message }
}

fn stalled(app: &App, stalled: &Stalled) -> Objection {
    let (certain, workers, reason) = match stalled {
        Stalled::RestartDidNotHelp { .. } => (true, true, Reason::RestartDidNotHelp),
        Stalled::WorkerUnknown { .. } => (false, true, Reason::WorkerUnknown),
        Stalled::ConfigUnreadable { .. } => (false, true, Reason::ConfigUnreadable),
        Stalled::ServiceUnreadable { .. } => (false, false, Reason::DependencyNotReady),
        Stalled::NoSuchUser { .. } => (true, false, Reason::DependencyNotReady),
        Stalled::NoWayBack { .. } => (true, false, Reason::ReleaseQuarantined),
    };
    Objection { certain, workers, reason, message: explain::stalled(app, stalled).message }
}

/// One objection for each kind of drift, in the order in which drift is closed, then what settles.
fn drift(app: &App, difference: &Difference, groups: &[GroupStatus]) -> Vec<Objection> {
    let mut objections = Vec::new();
    let mut object = |certain, workers, reason, message: String| {
        objections.push(Objection { certain, workers, reason, message });
    };
    for drift in &difference.drift {
        match drift {
            Drift::ReleaseNotFetched { desired, .. } => {
                object(true, false, Reason::ReleaseNotFetched, format!("{desired} was not fetched yet"));
            }
            Drift::SharedNotLinked { release, .. } => {
                object(true, false, Reason::ReleaseNotBuilt, format!("{release} is not linked to what is shared"));
            }
            Drift::StageDue { release, stage, .. } => {
                object(true, false, Reason::ReleaseNotBuilt, format!("{} has not run for {release} yet", stage.word()));
            }
            Drift::CurrentElsewhere { observed, .. } => {
                object(
                    true,
                    false,
                    Reason::ReleaseNotCurrent,
                    format!("current is {observed}, not {}", app.release.id),
                );
            }
            Drift::ConfigChanged { path, group } => {
                object(true, false, Reason::ConfigChanged, format!("{path} has changed, and {group} was not told"));
            }
            Drift::ServiceStale { service, .. } => {
                object(true, false, Reason::StaleServices, format!("{service} is to be renewed"));
            }
            Drift::ReleaseNotProven { release } => {
                object(true, false, Reason::ReleaseNotProven, format!("{release} has not passed its gate yet"));
            }
            _ => {}
        }
    }
    objections.extend(drift_of_workers(difference, groups));
    let strays = difference.drift.iter().filter(|drift| matches!(drift, Drift::StrayRunning { .. })).count();
    if strays > 0 {
        let message = format!("{strays} {} to be stopped", does(strays, "stray is", "strays are"));
        objections.push(Objection { certain: true, workers: false, reason: Reason::StraysRunning, message });
    }
    if let Some(message) = settling(difference) {
        objections.push(Objection { certain: true, workers: true, reason: Reason::Progressing, message });
    }
    objections
}

fn does(count: usize, one: &'static str, many: &'static str) -> &'static str {
    if count == 1 { one } else { many }
}

/// One objection for each kind of drift that workers have, with their number.
fn drift_of_workers(difference: &Difference, groups: &[GroupStatus]) -> Vec<Objection> {
    let mut objections = Vec::new();
    let mut object = |certain, workers, reason, message: String| {
        objections.push(Objection { certain, workers, reason, message });
    };
    let number = |which: fn(&Drift) -> bool| difference.drift.iter().filter(|drift| which(drift)).count();
    let wanted: u32 = groups.iter().map(|group| group.desired).sum();
    let of_wanted = |count: usize| match wanted {
        1 => "the worker".to_owned(),
        _ => format!("{count} of {wanted} workers"),
    };
    let stale = number(|drift| matches!(drift, Drift::WorkerStale { .. }));
    if stale > 0 {
        let message = format!("{} {} stale", of_wanted(stale), does(stale, "is", "are"));
        object(true, true, Reason::StaleWorkers, message);
    }
    let down = number(|drift| matches!(drift, Drift::WorkerDown { .. }));
    if down > 0 {
        let message = format!("{} {} not run", of_wanted(down), does(down, "does", "do"));
        object(true, true, Reason::WorkersMissing, message);
    }
    let surplus = number(|drift| matches!(drift, Drift::WorkerSurplus { .. }));
    if surplus > 0 {
        object(
            true,
            true,
            Reason::WorkersSurplus,
            format!("{surplus} more than the wanted {wanted} workers are there"),
        );
    }
    let unknown = number(|drift| matches!(drift, Drift::WorkerUnknown { .. }));
    if unknown > 0 {
        let message = format!("{} {} nobody knows what", of_wanted(unknown), does(unknown, "runs", "run"));
        object(false, true, Reason::WorkerUnknown, message);
    }
    let volatile = number(|drift| matches!(drift, Drift::WorkerNotEnabled { .. }));
    if volatile > 0 {
        let message = format!("{} would not come back after a reboot", of_wanted(volatile));
        object(true, false, Reason::WorkersNotEnabled, message);
    }
    objections
}

fn settling(difference: &Difference) -> Option<String> {
    let first = difference.settling.first()?;
    Some(match difference.settling.len() - 1 {
        0 => format!("{} is {}", first.member, first.state),
        more => format!("{} is {}, and {more} more change", first.member, first.state),
    })
}

fn health(app: &App, observed: &Observed) -> Condition {
    let (status, reason, message) = match (&app.health, observed.health_in_force()) {
        (None, _) => (Truth::Unknown, Reason::NoHealthContract, "the App has no health contract".to_owned()),
        (Some(_), None) if observed.is_blank() => {
            (Truth::Unknown, Reason::ReleaseNotCurrent, "no release is in force yet".to_owned())
        }
        (Some(_), None) => (Truth::Unknown, Reason::NotProbed, "the application was not asked".to_owned()),
        (Some(_), Some(verdict)) => match verdict.complaint() {
            None => {
                (Truth::True, Reason::Succeeded, format!("the health contract is met{}", by_another(app, observed)))
            }
            Some(complaint) => (Truth::False, Reason::HealthCheckFailed, complaint),
        },
    };
    Condition { of: ConditionType::Healthy, status, reason, message }
}

/// While the release that is aimed at is still to come.
fn by_another(app: &App, observed: &Observed) -> String {
    match &observed.layout.link {
        Link::Release { id } if *id != app.release.id => format!(" by {id}, which is in force"),
        _ => String::new(),
    }
}

fn reconciling(difference: &Difference, withheld: Option<&Withheld>) -> Condition {
    let (status, reason, message) = match (settling(difference), difference.drift.len(), withheld) {
        (Some(message), ..) => (Truth::True, Reason::Progressing, message),
        (None, 0, _) => (Truth::False, Reason::Idle, "nothing is under way".to_owned()),
        (None, _, Some(withheld)) => (Truth::False, reason(withheld), format!("there is drift: {}", words(withheld))),
        (None, 1, None) => (Truth::False, Reason::DriftDetected, "1 difference waits for a pass".to_owned()),
        (None, many, None) => (Truth::False, Reason::DriftDetected, format!("{many} differences wait for a pass")),
    };
    Condition { of: ConditionType::Reconciling, status, reason, message }
}

fn standstill(stalled: &[Objection]) -> Condition {
    let (status, reason, message) = match stalled {
        [] => (Truth::False, Reason::NothingStalled, "nothing stands in the way".to_owned()),
        [only] => (Truth::True, only.reason, only.message.clone()),
        [first, rest @ ..] => (Truth::True, first.reason, format!("{}; {} more", first.message, rest.len())),
    };
    Condition { of: ConditionType::Stalled, status, reason, message }
}
