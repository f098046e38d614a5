//! Looking at many hosts: so many at a time, nothing changed on any of them.

use std::time::Duration;

use futures_util::{StreamExt, stream};
use tokio::time::Instant;

use super::ask::{Answer, Unanswered};
use super::phase::Phase;
use super::reach::Reach;
use super::work::{StopWish, Target, Work};
use crate::documents::wire::{Operation, Report, Summary};
use crate::model::report::Outcome;
use crate::model::rollout::HostVerdict;

/// Asks every host that, and hands each answer on as it comes, with the host's place among the targets and how long it
/// took. A wish to end leaves the others out.
pub async fn look<R: Reach>(
    work: &Work<'_, R>,
    targets: &[Target],
    operation: &Operation,
    mut seen: impl FnMut(usize, Duration, Result<Answer, Unanswered>),
) {
    let one = async |(at, target): (usize, &Target)| {
        let began = Instant::now();
        // Whether the migrations were run is not each host's own affair.
        let answer = work.ask(target, false, operation.clone(), &Phase::Looking).await;
        work.watch().phase(&target.host.name, &Phase::Ended(verdict(&answer)));
        (at, began.elapsed(), answer)
    };
    // Unordered: one host that is slow to answer holds up nobody.
    let mut answers = stream::iter(targets.iter().enumerate()).map(one).buffer_unordered(work.forks());
    loop {
        tokio::select! {
            biased;
            () = work.wished(StopWish::NoMore) => return,
            answer = answers.next() => match answer {
                Some((at, took, answer)) => seen(at, took, answer),
                None => return,
            },
        }
    }
}

/// How a pass would end that a look reports of. To a look what differs is drift; a pass does not put it right where
/// nobody may act on it, or where the release is kept out and is not let in again by that pass (`retry`).
pub(super) fn would_end(report: &Report, retry: bool) -> Outcome {
    match &report.summary {
        _ if report.outcome != Outcome::Drift => report.outcome,
        Summary { kept_out: Some(_), .. } if !retry => Outcome::Quarantined,
        Summary { withheld: Some(_), .. } => Outcome::Withheld,
        _ => Outcome::Drift,
    }
}

/// What a look says of a host, in one word.
#[must_use]
pub fn verdict(answer: &Result<Answer, Unanswered>) -> HostVerdict {
    match answer {
        Err(Unanswered::Unreached(_)) => HostVerdict::Unreachable,
        // It was not to be changed.
        Err(Unanswered::Refused(_) | Unanswered::Killed { .. }) => HostVerdict::Untold,
        Ok(Answer { report: Some(report), .. }) if !report.summary.observed => HostVerdict::Untold,
        Ok(Answer { report: Some(report), .. }) => match would_end(report, false) {
            Outcome::Converged => HostVerdict::Settled,
            Outcome::Drift => HostVerdict::NotReached,
            Outcome::Withheld => HostVerdict::Withheld,
            outcome => HostVerdict::Refused(outcome),
        },
        Ok(Answer { status: Some(status), .. }) => match status.exit_code {
            0 => HostVerdict::Settled,
            2 => HostVerdict::NotReached,
            3 if status.summary.kept_out.is_some() && status.summary.healthy != Some(false) => {
                HostVerdict::Refused(Outcome::Quarantined)
            }
            3 => HostVerdict::Refused(Outcome::Unhealthy),
            _ => HostVerdict::Untold,
        },
        Ok(_) => HostVerdict::Unseen,
    }
}
