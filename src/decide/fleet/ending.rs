//! What became of each host, and why a rollout was stopped.

use super::has_failed;
use crate::model::report::Outcome;
use crate::model::rollout::{Applied, Doing, Ending, Found, HostState, How, TakenBack, Verdict};

/// Most hosts that a reason names.
const NAMED: usize = 3;

/// The end, with what became of every host.
pub(super) fn ended(how: How, hosts: &[HostState]) -> Ending {
    let failed = hosts.iter().filter(|host| has_failed(host)).count();
    Ending { how, failed, hosts: hosts.iter().map(|host| (host.name.clone(), verdict(host))).collect() }
}

fn verdict(host: &HostState) -> Verdict {
    match (host.taken_back, host.applied) {
        (Some(TakenBack::Ended { is_back: true }), _) => Verdict::TakenBack,
        (Some(_), _) => Verdict::NotTakenBack,
        (None, _) if host.doing == Some(Doing::TakeBack) => Verdict::NotTakenBack,
        (None, Some(applied)) => after(applied, host.held),
        (None, None) if host.doing == Some(Doing::Apply) => Verdict::Lost,
        (None, None) => before(host.found),
    }
}

fn after(applied: Applied, held: Option<bool>) -> Verdict {
    match applied {
        Applied::Ended { outcome: Outcome::Converged, .. } if held == Some(false) => Verdict::NotHealthy,
        Applied::Ended { outcome: Outcome::Converged, .. } => Verdict::Changed,
        Applied::Ended { outcome: Outcome::RolledBack, .. } => Verdict::RolledBack,
        Applied::Ended { outcome: Outcome::Withheld, .. } => Verdict::Withheld,
        Applied::Ended { outcome, .. } => Verdict::Failed(outcome),
        Applied::NotBegun => Verdict::Unreachable,
        Applied::Refused => Verdict::Declined,
        Applied::Lost => Verdict::Lost,
    }
}

fn before(found: Option<Found>) -> Verdict {
    match found {
        None => Verdict::Unseen,
        Some(Found::Unreachable) => Verdict::Unreachable,
        Some(Found::Refused) => Verdict::Declined,
        Some(Found::Seen { outcome, .. }) => match outcome {
            Outcome::Converged => Verdict::Settled,
            Outcome::Drift => Verdict::NotReached,
            Outcome::Withheld => Verdict::Withheld,
            other => Verdict::Refused(other),
        },
    }
}

/// Why hosts are taken back, for their records.
pub(super) fn why<'a>(failed: impl Iterator<Item = &'a HostState>) -> String {
    let all: Vec<String> = failed.map(|host| format!("{} {}", host.name, word(verdict(host)))).collect();
    let more = all.len().saturating_sub(NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let named: Vec<&str> = all.iter().take(NAMED).map(String::as_str).collect();
    format!("the rollout was stopped: {}{more}", named.join(", "))
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::RolledBack => "failed its gate",
        Verdict::NotHealthy => "did not stay healthy",
        Verdict::Unreachable => "could not be reached",
        Verdict::Declined => "refused",
        Verdict::Lost => "was lost in the middle of its pass",
        Verdict::Refused(Outcome::Quarantined) | Verdict::Failed(Outcome::Quarantined) => "keeps the release out",
        Verdict::Refused(Outcome::Unhealthy) | Verdict::Failed(Outcome::Unhealthy) => "is not healthy",
        _ => "failed",
    }
}
