//! The course of a rollout: what is in hand where, what came of it, and what becomes of each host in the end.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use super::document_budget::DocumentBudget;
use super::phase::{FleetListener, FleetNews, Phase};
use super::report::{HostReport, Migrations, Rolled, Trouble};
use super::rollout::RolloutOptions;
use super::task::{Done, Fact, Task};
use super::work::Target;
use crate::decide::fleet::{abandoned, migrated_by};
use crate::model::fleet::HostName;
use crate::model::report::Outcome;
use crate::model::rollout::{
    Applied, Doing, Found, HostState, HostVerdict, Order, Patience, Progress, RolloutEnding, TakenBack, Terms,
};

/// What a rollout is decided by, and what is reported of it.
pub(super) struct Course {
    pub(super) progress: Progress,
    /// In the order of the targets.
    reports: Vec<HostReport>,
    /// Of each host: its place among the states, which are in the order of change, and among the targets.
    places: HashMap<HostName, Place>,
    /// Which waves were begun, of all that there are: one whose hosts have nothing to do is not.
    waves: Vec<usize>,
    /// Who was told to take part in one.
    joined: HashSet<HostName>,
    /// How many of them have had to stay healthy.
    holds: usize,
    migrations: Migrations,
    /// How many hosts of the App were not asked for anything.
    others: usize,
    budget: DocumentBudget,
}

/// Where a host stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    state: usize,
    target: usize,
}

impl Course {
    /// A rollout that has not begun, of hosts that change in that order.
    pub(super) fn new(targets: &[Target], order: &[HostName], way: &RolloutOptions) -> Self {
        let reports = targets.iter().map(|target| HostReport::new(target.host.name.clone())).collect();
        let states: HashMap<&HostName, usize> = order.iter().zip(0..).collect();
        let place = |(at, target): (usize, &Target)| {
            let state = *states.get(&target.host.name)?;
            Some((target.host.name.clone(), Place { state, target: at }))
        };
        let places = targets.iter().enumerate().filter_map(place).collect();
        let hosts = order.iter().cloned().map(HostState::new).collect();
        Self {
            progress: Progress { hosts, ..Progress::default() },
            reports,
            places,
            waves: Vec::new(),
            joined: HashSet::new(),
            holds: 0,
            migrations: Migrations::default(),
            others: way.others,
            budget: DocumentBudget::new(way.keep),
        }
    }

    /// Takes an order apart into who and what; says when a wave begins, and when more hosts join it, when its hosts
    /// have to stay healthy, and before the first one whose record spares the migrations.
    pub(super) fn take(&mut self, order: Order, terms: &Terms, watch: &dyn FleetListener) -> (Vec<HostName>, Task) {
        match order {
            Order::Observe { hosts } => (hosts, Task::Observe { patience: terms.patience }),
            Order::Apply { wave, hosts, migrate } => {
                if self.waves.is_empty() {
                    self.migrations.recorded_by = migrated_by(terms, &self.progress);
                    if let Some(told) = self.migrations.spared() {
                        watch.says(None, &told);
                    }
                }
                if let Some(host) =
                    hosts.first().filter(|host| migrate && self.migrations.run_on.as_ref() != Some(host))
                {
                    self.migrations.run_on = Some(host.clone());
                    if self.others > 0 {
                        let told = format!(
                            "the migrations are run on {host}: the App's other hosts ({}), which were not chosen, were \
                             not asked whether they have run them",
                            self.others
                        );
                        watch.says(None, &told);
                    }
                }
                if !self.waves.contains(&wave) {
                    self.waves.push(wave);
                }
                let joining: Vec<HostName> =
                    hosts.iter().filter(|host| !self.joined.contains(*host)).cloned().collect();
                if !joining.is_empty() {
                    watch.news(None, &FleetNews::Wave { wave: self.waves.len(), hosts: &joining, migrate });
                    self.joined.extend(joining);
                }
                (hosts, Task::Apply { migrate })
            }
            Order::Hold { wave, hosts, healthy_for: length } => {
                let begun = self.waves.iter().take_while(|begun| **begun <= wave).count();
                if begun > self.holds {
                    self.holds = begun;
                    watch.news(None, &FleetNews::Hold { wave: begun, hosts: &hosts, length });
                }
                (hosts, Task::Hold { length, has_health: terms.has_health, patience: terms.patience })
            }
            Order::TakeBack { hosts, reason } => (hosts, Task::TakeBack { reason }),
            // Nobody's task: the rollout itself waits.
            Order::Pause { .. } => (Vec::new(), Task::Observe { patience: Patience::NONE }),
        }
    }

    /// How many waves were begun.
    pub(super) fn waves(&self) -> usize {
        self.waves.len()
    }

    /// Nobody waits any more for whether hosts stay healthy: they are free for something else.
    pub(super) fn let_go(&mut self) {
        for state in &mut self.progress.hosts {
            state.doing = state.doing.filter(|doing| *doing != Doing::Hold);
        }
    }

    /// Writes down that something begins on a host; none where there is no such host.
    pub(super) fn begin<'t>(
        &mut self,
        host: &HostName,
        doing: Doing,
        targets: &'t [Target],
    ) -> Option<(Place, &'t Target)> {
        let place = *self.places.get(host)?;
        let target = targets.get(place.target)?;
        self.progress.hosts.get_mut(place.state)?.doing = Some(doing);
        Some((place, target))
    }

    /// Writes down what came of it.
    pub(super) fn end(&mut self, place: Place, task: &Task, done: Done, took: Duration, watch: &dyn FleetListener) {
        let (Some(state), Some(report)) =
            (self.progress.hosts.get_mut(place.state), self.reports.get_mut(place.target))
        else {
            return;
        };
        state.doing = None;
        match done.fact {
            Fact::Found(found) => state.found = found,
            Fact::Applied(applied) => state.applied = applied,
            Fact::Held(held) => state.held = Some(held),
            Fact::TakenBack(back) => state.taken_back = Some(back),
        }
        let leads = *task == Task::Apply { migrate: true };
        let is_out = matches!(done.fact, Fact::Applied(None | Some(Applied::NotBegun | Applied::Refused)));
        if leads && is_out && self.migrations.run_on.take_if(|host| *host == state.name).is_some() {
            watch.says(Some(&state.name), "the migrations were not run there: nothing was begun");
        }
        let actions = done.report.as_ref().map_or(0, |report| report.summary.actions);
        if matches!(task.doing(), Doing::Apply | Doing::TakeBack) {
            report.took += took;
        }
        if let Some(told) = done.report {
            report.take(*told, &mut self.budget);
        }
        if let Some(seen) = done.seen {
            report.see(seen);
        }
        if matches!(done.fact, Fact::Applied(Some(Applied::Lost)) | Fact::TakenBack(TakenBack::Lost)) {
            report.forget(&mut self.budget);
        }
        if let Some(trouble) = done.trouble {
            watch.news(Some(&state.name), &FleetNews::Trouble(&trouble));
            report.trouble(trouble);
        }
        let phase = phase(done.fact, actions);
        if let Phase::Ended(verdict) = phase {
            report.verdict = verdict;
        }
        watch.phase(&state.name, &phase);
    }

    /// The end, as nobody waits any more for what is in hand: it goes on where it is.
    pub(super) fn cut_short(&mut self, terms: &Terms) -> RolloutEnding {
        let in_hand = |state: &&HostState| matches!(state.doing, Some(Doing::Apply | Doing::TakeBack));
        for state in self.progress.hosts.iter().filter(in_hand) {
            let report = self.places.get(&state.name).and_then(|place| self.reports.get_mut(place.target));
            if let Some(report) = report {
                report.forget(&mut self.budget);
                report.trouble(left());
            }
        }
        abandoned(terms, &self.progress)
    }

    /// What is reported in the end.
    pub(super) fn close(mut self, ending: RolloutEnding, took: Duration, watch: &dyn FleetListener) -> Rolled {
        for (name, verdict) in &ending.hosts {
            let Some(report) = self.places.get(name).and_then(|place| self.reports.get_mut(place.target)) else {
                continue;
            };
            // What was told is not told again.
            if report.verdict != *verdict {
                watch.phase(name, &Phase::Ended(*verdict));
            }
            report.verdict = *verdict;
        }
        watch.news(None, &FleetNews::Ended { how: Some(ending.how), hosts: &ending.hosts, took });
        let waves = self.waves();
        Rolled { ending, hosts: self.reports, waves, migrations: self.migrations, took }
    }
}

/// What a host is at after that, before the rollout has ended.
fn phase(fact: Fact, actions: usize) -> Phase {
    match fact {
        Fact::Found(None) | Fact::Applied(None) => Phase::Waiting,
        Fact::Found(Some(Found::Unreachable)) | Fact::Applied(Some(Applied::NotBegun)) => {
            Phase::Ended(HostVerdict::Unreachable)
        }
        Fact::Found(Some(Found::Refused)) | Fact::Applied(Some(Applied::Refused)) => {
            Phase::Ended(HostVerdict::Declined)
        }
        Fact::Found(Some(Found::Seen { outcome: Outcome::Converged, .. })) => Phase::Ended(HostVerdict::Settled),
        Fact::Found(Some(Found::Seen { outcome: Outcome::Drift, .. })) => Phase::Seen { actions },
        Fact::Found(Some(Found::Seen { outcome, .. })) => Phase::Ended(HostVerdict::Refused(outcome)),
        Fact::Applied(Some(Applied::Ended { outcome: Outcome::Converged, .. })) | Fact::Held(true) => {
            Phase::Ended(HostVerdict::Changed)
        }
        Fact::Applied(Some(Applied::Ended { outcome: Outcome::RolledBack, .. })) => {
            Phase::Ended(HostVerdict::RolledBack)
        }
        Fact::Applied(Some(Applied::Ended { outcome, .. })) => Phase::Ended(HostVerdict::Failed(outcome)),
        Fact::Applied(Some(Applied::Lost)) => Phase::Ended(HostVerdict::Lost),
        Fact::Held(false) => Phase::Ended(HostVerdict::NotHealthy),
        Fact::TakenBack(TakenBack::Ended { is_back: true }) => Phase::Ended(HostVerdict::TakenBack),
        Fact::TakenBack(_) => Phase::Ended(HostVerdict::NotTakenBack),
    }
}

/// What is said of a host that nobody waits for any more.
pub(super) fn left() -> Trouble {
    let help = "see how it is: `trueup status`";
    Trouble { help: Some(help.to_owned()), ..Trouble::new("left in the middle of its pass, which it ends by itself") }
}
