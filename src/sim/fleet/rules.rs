//! What no rollout may do, whatever is decided: each breach is noted as the host is asked to change.

use std::time::Duration;

use crate::documents::wire::{Operation, Request};
use crate::model::fleet::HostName;
use crate::model::report::Outcome;
use crate::sim::fleet::State;
use crate::sim::fleet::habit::Habit;
use crate::sim::fleet::member::SimMember;

/// What holds for a rollout whatever is decided.
#[derive(Debug, Clone)]
pub struct Limits {
    pub forks: usize,
    /// Most hosts that may be changed and not yet judged.
    pub wave: usize,
    pub max_failures: usize,
    pub healthy_for: Duration,
    /// Else hosts say how many workers run the release.
    pub has_health: bool,
    pub migrates: bool,
    /// What is kept out is tried again.
    pub retry: bool,
}

impl State {
    pub fn violation(&mut self, what: String) {
        self.violations.push(what);
    }

    /// What must hold at the moment in which a host is asked to change.
    pub fn check(&mut self, host: &HostName, request: &Request) {
        let member = &self.members[host];
        let mut wrong = Vec::new();
        // One whose pass was killed is brought to its end.
        if self.ended && member.applied.is_empty() {
            wrong.push("asked after the wish to end");
        }
        if self.members.values().any(|one| !one.looked && one.habit != Habit::Unreachable) {
            wrong.push("changed before all were looked at");
        }
        if matches!(member.habit, Habit::Settled | Habit::Dozing) {
            wrong.push("touched although it was as it should be");
        }
        let Limits { wave, max_failures, migrates, .. } = self.limits;
        match &request.operation {
            Operation::Apply { retry, .. } => {
                // Let in once, it is not let in again: what has failed meanwhile stays out.
                let lets_in = member.applied.is_empty() || member.habit == Habit::KilledWaiting;
                if *retry != (self.limits.retry && lets_in) {
                    wrong.push("changed with another wish than the person's");
                }
                if member.kept_out && !retry {
                    wrong.push("changed although it keeps the release out");
                }
                if member.applied.len() > usize::from(member.habit.is_killed()) {
                    wrong.push("changed twice");
                }
                if !member.taken_back.is_empty() {
                    wrong.push("changed after it was taken back");
                }
                let failures = self.members.values().filter(|one| one.failed).count();
                if failures > max_failures && member.applied.is_empty() {
                    wrong.push("changed although too many have failed");
                }
                let unjudged = |one: &&SimMember| !one.applied.is_empty() && !one.is_judged(self.limits.healthy_for);
                let unjudged = self.members.values().filter(unjudged).count();
                if unjudged + usize::from(member.applied.is_empty()) > wave {
                    wrong.push("changed while more than a wave is not judged");
                }
                let leads = self.leader.as_ref() == Some(host);
                if migrates && request.migrate && self.leader.is_some() && !leads {
                    wrong.push("a second host runs the migrations");
                }
                let led = self.leader.as_ref().and_then(|leader| self.members[leader].told);
                let led = led.is_some_and(|(_, outcome)| outcome == Outcome::Converged);
                // Where it is in force and proven, they have had their chance.
                let spared = self.members.values().any(|one| one.habit == Habit::Drifted);
                if migrates && spared && request.migrate {
                    wrong.push("runs the migrations again");
                }
                if migrates && !request.migrate && !led && !spared {
                    wrong.push("changed before the migrations were run");
                }
            }
            Operation::TakeBack { .. } => {
                let gone_back = member.told.is_some_and(|(_, outcome)| outcome != Outcome::Converged);
                if member.applied.is_empty() || gone_back {
                    wrong.push("taken back although it was not changed");
                }
                if member.habit == Habit::Drifted {
                    wrong.push("taken back although the release was proven there before");
                }
                let killed = member.habit == Habit::KilledBack;
                if member.taken_back.len() > usize::from(killed) {
                    wrong.push("taken back twice");
                }
            }
            Operation::Observe | Operation::DryRun { .. } | Operation::Health => {}
        }
        let habit = member.habit;
        for what in wrong {
            self.violation(format!("{host} ({habit:?}): {what}"));
        }
        if request.migrate && migrates && matches!(request.operation, Operation::Apply { .. }) {
            self.leader.get_or_insert_with(|| host.clone());
        }
        let member = self.members.get_mut(host).unwrap();
        match &request.operation {
            Operation::Apply { .. } => member.applied.push(request.id.clone()),
            Operation::TakeBack { .. } => member.taken_back.push(request.id.clone()),
            Operation::Observe | Operation::DryRun { .. } | Operation::Health => {}
        }
    }
}
