//! What must never happen to a simulated host, looked for whenever trueup is about to change it.

use std::collections::BTreeSet;

use jiff::SignedDuration;

use super::faults::{Call, Fault};
use super::world::{Shows, World};
use crate::model::action::Action;
use crate::model::journal::JournalEvent;
use crate::model::memory::AppliedConfig;
use crate::model::names::{GroupName, MemberName};
use crate::model::process::START_GUARD;
use crate::model::record::ReleaseRecord;

impl World {
    /// Something that must never happen has happened.
    pub fn violation(&mut self, what: impl Into<String>) {
        let at = self.now;
        self.violations.push(format!("{at}: {}", what.into()));
    }

    /// Trueup is about to change something: only under the lock.
    pub fn check_change(&mut self, what: &str) {
        self.changes += 1;
        if self.lock_holders != 1 {
            self.violation(format!("{what} with {} holders of the lock", self.lock_holders));
        }
    }

    /// Trueup is about to take an action: the journal must say that this pass has begun it, and not that it has ended.
    pub fn check_action(&mut self, what: &str, is_it: impl Fn(&Action) -> bool) {
        self.check_change(what);
        let of_pass = self.journal.iter().rev().map(|entry| &entry.event);
        let open =
            of_pass.take_while(|event| !matches!(event, JournalEvent::PassStarted { .. })).find_map(
                |event| match event {
                    JournalEvent::Begin { action, .. } if is_it(action) => Some(true),
                    JournalEvent::Done { action, .. } | JournalEvent::Failed { action, .. } if is_it(action) => {
                        Some(false)
                    }
                    _ => None,
                },
            );
        // Between two releases it goes on all the same: half-switched is worse than unjournaled.
        let desired = &self.app.release.id;
        let judged = |record: &ReleaseRecord| record.switched.is_some() && record.proven.is_none();
        let between = self.target() != *desired || self.records.get(desired).is_some_and(judged);
        if open != Some(true) && !(self.journal_failed && between) {
            self.violation(format!("{what} without a line in the journal that it begins"));
        }
    }

    /// Trueup is about to take this member's process away.
    pub fn check_taking_down(&mut self, group: &GroupName, name: &MemberName, stopping: bool) {
        let Some(process) = self.member_process(group, name).cloned() else { return };
        let wanted = self.app.group(group).map_or(0, |group| group.count) as usize;
        let right = self
            .members
            .iter()
            .filter(|one| one.group == *group && one.state.is_up())
            .filter(|one| {
                one.pid.and_then(|pid| self.processes.get(&pid)).is_some_and(|process| self.is_right(process))
            })
            .count();
        // A step that ran without having been written down runs again, and the workers after it.
        let version = self.config_version.to_string();
        let clear = SignedDuration::try_from(START_GUARD * 2).unwrap();
        let proves = |known: &AppliedConfig| {
            let there = known.release.as_ref().is_none_or(|release| *release == process.runs);
            there && known.digest.as_ref() == Some(&version) && known.at + clear <= process.started
        };
        let written_down = !self.has_step() || self.memory.config.iter().any(proves);
        let told_apart = written_down
            && match process.shows {
                Shows::WorkingDirectory | Shows::EntryScript | Shows::Executable => true,
                Shows::Stranger => self.faults.coverage.count(Call::Witnesses, Fault::ErrorBefore) == 0,
                Shows::Silent | Shows::Hidden => false,
            };
        if self.is_right(&process) && told_apart && (!stopping || right <= wanted) {
            self.violation(format!("{name} runs what it should and is taken down"));
        }
        if !stopping && !self.leads_to_desired() {
            self.violation(format!("{name} is restarted before current leads to the desired release"));
        }
        let reads = self.app.group(group).is_some_and(|group| !group.restart_on.is_empty());
        if !stopping && reads && self.config_read_in(&self.target()) != self.config_version {
            self.violation(format!("{name} is restarted before its configuration was made known"));
        }
    }

    /// How many may be down at once is kept.
    pub fn check_unavailable(&mut self, group: &GroupName) {
        let Some(wanted) = self.app.group(group) else { return };
        let limit = wanted.unavailable_limit() as usize;
        let names: BTreeSet<&MemberName> =
            self.members.iter().filter(|one| one.group == *group).map(|one| &one.name).collect();
        let down = self.down_by_us.iter().filter(|name| names.contains(name)).count();
        let serving = self.members.iter().filter(|one| one.group == *group && one.state.is_up()).filter(|one| {
            one.pid.and_then(|pid| self.processes.get(&pid)).is_some() && !self.down_by_us.contains(&one.name)
        });
        // One that was given up and has been made up for by another is not missed.
        if down > limit && serving.count() + limit < wanted.count as usize {
            self.violation(format!("{down} of {group} are down at once, {limit} may be"));
        }
    }
}
