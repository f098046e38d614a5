//! What became of each host, and why a rollout was stopped.

use super::has_failed;
use crate::model::report::Outcome;
use crate::model::rollout::{Applied, Doing, Found, HostState, HostVerdict, RolloutEnding, RolloutOutcome, TakenBack};

/// Most hosts that a reason names.
const NAMED: usize = 3;

/// The end, with what became of every host.
pub(super) fn ended(how: RolloutOutcome, hosts: &[HostState]) -> RolloutEnding {
    let failed = hosts.iter().filter(|host| has_failed(host)).count();
    RolloutEnding { how, failed, hosts: hosts.iter().map(|host| (host.name.clone(), verdict(host))).collect() }
}

fn verdict(host: &HostState) -> HostVerdict {
    match (host.taken_back, host.applied) {
        (Some(TakenBack::Ended { is_back: true }), _) => HostVerdict::TakenBack,
        (Some(_), _) => HostVerdict::NotTakenBack,
        (None, _) if host.doing == Some(Doing::TakeBack) => HostVerdict::NotTakenBack,
        (None, Some(applied)) => after(applied, host.held),
        (None, None) if host.doing == Some(Doing::Apply) => HostVerdict::Lost,
        (None, None) => before(host.found),
    }
}

fn after(applied: Applied, held: Option<bool>) -> HostVerdict {
    match applied {
        Applied::Ended { outcome: Outcome::Converged, .. } if held == Some(false) => HostVerdict::NotHealthy,
        Applied::Ended { outcome: Outcome::Converged, .. } => HostVerdict::Changed,
        Applied::Ended { outcome: Outcome::RolledBack, .. } => HostVerdict::RolledBack,
        Applied::Ended { outcome: Outcome::Withheld, .. } => HostVerdict::Withheld,
        Applied::Ended { outcome, .. } => HostVerdict::Failed(outcome),
        Applied::NotBegun => HostVerdict::Unreachable,
        Applied::Refused => HostVerdict::Declined,
        Applied::Lost => HostVerdict::Lost,
    }
}

fn before(found: Option<Found>) -> HostVerdict {
    match found {
        None => HostVerdict::Unseen,
        Some(Found::Unreachable) => HostVerdict::Unreachable,
        Some(Found::Refused) => HostVerdict::Declined,
        Some(Found::Seen { outcome, .. }) => match outcome {
            Outcome::Converged => HostVerdict::Settled,
            Outcome::Drift => HostVerdict::NotReached,
            Outcome::Withheld => HostVerdict::Withheld,
            other => HostVerdict::Refused(other),
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

fn word(verdict: HostVerdict) -> &'static str {
    match verdict {
        HostVerdict::RolledBack => "failed its gate",
        HostVerdict::NotHealthy => "did not stay healthy",
        HostVerdict::Unreachable => "could not be reached",
        HostVerdict::Declined => "refused",
        HostVerdict::Lost => "was lost in the middle of its pass",
        HostVerdict::Refused(Outcome::Quarantined) | HostVerdict::Failed(Outcome::Quarantined) => {
            "keeps the release out"
        }
        HostVerdict::Refused(Outcome::Unhealthy) | HostVerdict::Failed(Outcome::Unhealthy) => "is not healthy",
        _ => "failed",
    }
}
