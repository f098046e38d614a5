//! What a look at many hosts has shown, equal hosts together.

use std::collections::HashMap;
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::ask::{Answer, Unanswered};
use super::document_budget::DocumentBudget;
use super::look::verdict;
use super::report::{HostReport, Migrations};
use crate::decide::fleet::{Wave, waves};
use crate::documents::wire::bounds::{Bounds, cut};
use crate::documents::wire::{Shown, Summary};
use crate::model::app::App;
use crate::model::fleet::{Fleet, FleetHost, HostName};
use crate::model::report::{Outcome, Problem};
use crate::model::rollout::{Found, HostState, HostVerdict, Progress, Terms};

/// The highest exit code of a pass or of a status.
const MOST: u8 = 4;
/// Most hosts whose state is shown in full.
pub const DETAILED: usize = 4;
/// Most bytes that are shown of all groups; of those beyond, only how many hosts they have.
const SHOWN: usize = 8 << 20;

/// What a difference is known by: of a thousand different ones it takes less room than they do.
type Digest = [u8; 32];

fn digest(texts: [&str; 3]) -> Digest {
    let mut digest = Sha256::new();
    for text in texts {
        digest.update(format!("{}:{text}", text.len()));
    }
    digest.finalize().into()
}

/// What stands in the way on a host, and why it keeps the release out, as far as another host may say the same: pids,
/// and when that was, are its own.
fn obstacles(summary: &Summary) -> String {
    let kept_out = summary.kept_out.as_deref();
    let known = |problem: &&Problem| kept_out.is_some_and(|reason| problem.message.contains(reason));
    let others = summary.problems.iter().filter(|problem| !known(problem)).map(|problem| problem.message.as_str());
    kept_out.into_iter().chain(others).flat_map(|text| [without_pids(text), "\n".to_owned()]).collect()
}

fn without_pids(text: &str) -> String {
    const PID: &str = "pid ";
    let mut parts = text.split(PID);
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + PID + part.trim_start_matches(|c: char| c.is_ascii_digit()))
}

/// Hosts on which the same would be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// In the order of the manifest.
    pub hosts: Vec<HostName>,
    /// How a pass there would end.
    pub outcome: Outcome,
    /// What it would do, as the first of them says it.
    pub shown: Shown,
    /// Which that is.
    pub teller: HostName,
}

/// What was seen.
#[derive(Debug, Clone, PartialEq)]
pub struct Looked {
    /// In the order of the manifest.
    pub hosts: Vec<HostReport>,
    /// Equal hosts together; in the order of the first of each.
    pub groups: Vec<Group>,
    /// For people: what the hosts look like that are not as they should be, by their places among `hosts`; of all but
    /// the first [`DETAILED`] the text is empty.
    pub details: Vec<(usize, String)>,
    /// The exit code of each host that answered.
    pub codes: Vec<Option<u8>>,
    /// How long it took.
    pub took: Duration,
    /// Whose each host's group is.
    keys: HashMap<(Outcome, Digest), usize>,
    members: Vec<Vec<usize>>,
    budget: DocumentBudget,
    /// Bytes that are shown of the groups so far.
    shown: usize,
}

impl Looked {
    /// Of hosts that nobody has looked at; their documents are kept where `keep`.
    #[must_use]
    pub fn new(hosts: impl Iterator<Item = HostName>, keep: bool) -> Self {
        let hosts: Vec<HostReport> = hosts.map(HostReport::new).collect();
        let codes = vec![None; hosts.len()];
        let (groups, details, keys, members) = (Vec::new(), Vec::new(), HashMap::new(), Vec::new());
        let budget = DocumentBudget::new(keep);
        Self { hosts, groups, details, codes, took: Duration::ZERO, keys, members, budget, shown: 0 }
    }

    /// Takes in what the host at that place has answered.
    pub fn take(&mut self, at: usize, took: Duration, answer: Result<Answer, Unanswered>) {
        let Some(host) = self.hosts.get_mut(at) else { return };
        host.verdict = verdict(&answer);
        host.took = took;
        match answer {
            Err(silence) => host.trouble(silence.into()),
            Ok(Answer { report: Some(mut report), .. }) => {
                let is_well = matches!(report.outcome, Outcome::Converged | Outcome::Drift);
                self.set_code(at, if is_well { report.exit_code } else { report.exit_code.max(1) });
                if let Some(shown) = report.shown.take() {
                    self.group(at, report.outcome, shown, &obstacles(&report.summary));
                }
                if let Some(host) = self.hosts.get_mut(at) {
                    host.take(*report, &mut self.budget);
                }
            }
            Ok(Answer { status: Some(status), .. }) => {
                host.see(status.summary);
                self.budget.keep(&mut host.document, &host.name, "App", &status.document);
                if host.verdict != HostVerdict::Settled {
                    self.details.push((at, status.text));
                    self.details.sort_by_key(|(at, _)| *at);
                    self.details.iter_mut().skip(DETAILED).for_each(|(_, text)| *text = String::new());
                }
                self.set_code(at, status.exit_code);
            }
            Ok(_) => {}
        }
    }

    /// By whom the release's migrations are known to have been run, as a rollout would know it.
    #[must_use]
    pub fn migrations(&self) -> Migrations {
        let seen = self.hosts.iter().filter_map(|host| Some((&host.name, host.summary.as_ref()?)));
        let mut known: Vec<_> = seen.filter(|(_, seen)| seen.migrated || seen.had_release()).collect();
        known.sort_by_key(|(_, seen)| !seen.migrated);
        Migrations { run_on: None, recorded_by: known.into_iter().map(|(name, _)| name.clone()).collect() }
    }

    /// The waves in which a rollout would change these hosts; none where it would not be begun, or not all were looked
    /// at.
    #[must_use]
    pub fn waves(&self, app: &App, fleet: &Fleet) -> Vec<Wave> {
        let seen = |outcome| Some(Found::Seen { outcome, migrated: false, had_release: false });
        let found = |verdict| match verdict {
            HostVerdict::Settled => seen(Outcome::Converged),
            HostVerdict::NotReached => seen(Outcome::Drift),
            HostVerdict::Withheld => seen(Outcome::Withheld),
            HostVerdict::Refused(outcome) => seen(outcome),
            HostVerdict::Unreachable => Some(Found::Unreachable),
            HostVerdict::Unseen => None,
            _ => Some(Found::Refused),
        };
        let verdicts: HashMap<&HostName, HostVerdict> =
            self.hosts.iter().map(|host| (&host.name, host.verdict)).collect();
        let state = |host: &FleetHost| HostState {
            found: verdicts.get(&host.name).and_then(|verdict| found(*verdict)),
            ..HostState::new(host.name.clone())
        };
        let hosts: Vec<HostState> = fleet.in_order().into_iter().map(state).collect();
        if hosts.iter().any(|host| host.found.is_none()) {
            return Vec::new();
        }
        waves(&Terms::new(app, &fleet.rollout), &Progress { hosts, ..Progress::default() })
    }

    /// Puts everything into the order of the manifest.
    #[must_use]
    pub fn done(mut self, took: Duration) -> Self {
        self.took = took;
        self.details.sort_by_key(|(at, _)| *at);
        for (group, members) in self.groups.iter_mut().zip(&mut self.members) {
            members.sort_unstable();
            group.hosts = members.iter().filter_map(|at| Some(self.hosts.get(*at)?.name.clone())).collect();
        }
        let mut order: Vec<(Option<usize>, Group)> =
            self.members.iter().map(|members| members.first().copied()).zip(std::mem::take(&mut self.groups)).collect();
        order.sort_by_key(|(first, _)| *first);
        self.groups = order.into_iter().map(|(_, group)| group).collect();
        self
    }

    /// What no pass and no status ends with is an error over there.
    fn set_code(&mut self, at: usize, code: u8) {
        if let Some(known) = self.codes.get_mut(at) {
            *known = Some(if code <= MOST { code } else { 1 });
        }
    }

    /// Equal are hosts whose differences are, and what stands in the way of closing them: the text for people names
    /// processes, its first line does not. The first of them in the manifest speaks for all, whoever answers first.
    fn group(&mut self, at: usize, outcome: Outcome, shown: Shown, obstacles: &str) {
        let Some(teller) = self.hosts.get(at).map(|host| host.name.clone()) else { return };
        let first = shown.text.lines().next().unwrap_or_default().to_owned();
        let key = (outcome, digest([&first, &shown.diff, obstacles]));
        let known = self.keys.get(&key).copied();
        let known = known.and_then(|place| Some((self.groups.get_mut(place)?, self.members.get_mut(place)?)));
        let Some((group, members)) = known else {
            self.keys.insert(key, self.groups.len());
            self.members.push(vec![at]);
            let shown = self.as_far_as_there_is_room(shown, &first, &teller);
            self.groups.push(Group { hosts: Vec::new(), outcome, shown, teller });
            return;
        };
        let is_first = members.iter().all(|member| at < *member);
        members.push(at);
        if is_first {
            let before = std::mem::replace(&mut group.shown, Shown { diff: String::new(), text: String::new() });
            group.teller = teller.clone();
            self.shown -= before.text.len() + before.diff.len();
            let shown = self.as_far_as_there_is_room(shown, &first, &teller);
            if let Some(group) = self.keys.get(&key).and_then(|place| self.groups.get_mut(*place)) {
                group.shown = shown;
            }
        }
    }

    /// What is shown of a group, and counted.
    fn as_far_as_there_is_room(&mut self, mut shown: Shown, first: &str, teller: &HostName) -> Shown {
        if self.shown + shown.text.len() + shown.diff.len() > SHOWN {
            let text = format!("{first}\n\n(not shown among so many differences: `--hosts {teller}` shows it)\n");
            shown = Shown { diff: String::new(), text };
            cut(&mut shown.text, Bounds::NARROW.text);
        }
        self.shown += shown.text.len() + shown.diff.len();
        shown
    }
}

#[cfg(test)]
#[path = "groups_tests.rs"]
mod tests;
