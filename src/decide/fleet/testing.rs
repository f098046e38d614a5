//! Hosts whose fates are known beforehand, and a rollout that is played over them.

use std::time::Duration;

use crate::decide::fleet::next;
use crate::model::amount::Amount;
use crate::model::app::OnFailure;
use crate::model::fleet::HostName;
use crate::model::report::Outcome;
use crate::model::rollout::{
    Applied, Found, HostState, HostVerdict, Next, Order, Patience, Progress, RolloutEnding, TakenBack, Terms,
};

pub const HOLD: Duration = Duration::from_secs(10);

pub fn terms() -> Terms {
    Terms {
        canary: Amount::Count(1),
        batch: Amount::Percent(50),
        max_failures: 0,
        pause: Duration::ZERO,
        healthy_for: HOLD,
        migrates: false,
        has_health: true,
        patience: Patience::USUAL,
        on_failure: OnFailure::Rollback,
    }
}

pub const fn seen(outcome: Outcome) -> Found {
    Found::Seen { outcome, migrated: false, had_release: false }
}

pub const DRIFT: Found = seen(Outcome::Drift);
pub const SETTLED: Found = seen(Outcome::Converged);
pub const GOOD: Applied = Applied::Ended { outcome: Outcome::Converged, changed: true };
pub const ROLLED_BACK: Applied = Applied::Ended { outcome: Outcome::RolledBack, changed: true };

/// What one host does when its turn comes.
#[derive(Debug, Clone, Copy)]
pub struct Fate {
    pub found: Found,
    pub applied: Applied,
    pub held: bool,
    pub back: TakenBack,
}

impl Fate {
    pub const fn of(found: Found, applied: Applied) -> Self {
        Self { found, applied, held: true, back: TakenBack::Ended { is_back: true } }
    }
}

pub fn hosts(fates: &[Fate]) -> Progress {
    let name = |at: usize| HostName::new(format!("h{at}")).unwrap();
    Progress { hosts: (0..fates.len()).map(|at| HostState::new(name(at))).collect(), ..Progress::default() }
}

/// Does at once all that is ordered; what was ordered, in short, and the end.
pub fn play(terms: &Terms, fates: &[Fate]) -> (Vec<String>, RolloutEnding) {
    let mut progress = hosts(fates);
    let mut told = Vec::new();
    for _ in 0..100 {
        let order = match next(terms, &progress) {
            Next::Done(ending) => return (told, ending),
            Next::Wait => panic!("nothing is in hand: {told:?}"),
            Next::Do(order) => order,
        };
        let (word, names) = match &order {
            Order::Observe { hosts } => ("see".to_owned(), hosts),
            Order::Apply { hosts, migrate, .. } => (if *migrate { "migrate" } else { "apply" }.to_owned(), hosts),
            Order::Hold { hosts, .. } => ("hold".to_owned(), hosts),
            Order::TakeBack { hosts, reason } => (format!("back ({reason})"), hosts),
            Order::Pause { after, .. } => {
                progress.pauses = *after;
                told.push("pause".to_owned());
                continue;
            }
        };
        let names: Vec<&str> = names.iter().map(HostName::as_str).collect();
        told.push(format!("{word} {}", names.join(" ")));
        for (host, fate) in progress.hosts.iter_mut().zip(fates) {
            if names.contains(&host.name.as_str()) {
                end(host, *fate, &order);
            }
        }
    }
    panic!("no end: {told:?}");
}

pub fn end(host: &mut HostState, fate: Fate, order: &Order) {
    host.doing = None;
    match order {
        Order::Observe { .. } => host.found = Some(fate.found),
        Order::Apply { .. } => host.applied = Some(fate.applied),
        Order::Hold { .. } => host.held = Some(fate.held),
        Order::TakeBack { .. } => host.taken_back = Some(fate.back),
        Order::Pause { .. } => {}
    }
}

pub fn verdicts(ending: &RolloutEnding) -> Vec<HostVerdict> {
    ending.hosts.iter().map(|(_, verdict)| *verdict).collect()
}
