//! What came of the work over all hosts: a value for each, small enough for a thousand of them.

use std::time::Duration;

use super::ask::Unanswered;
use super::document_budget::DocumentBudget;
use crate::documents::wire::{Failed, Report, Summary};
use crate::model::fleet::HostName;
use crate::model::report::Outcome;
use crate::model::rollout::{HostVerdict, RolloutEnding, RolloutOutcome};

/// Most troubles of one host that are kept, and most bytes of their texts.
const TROUBLES: usize = 8;
const TEXTS: usize = 16 << 10;

/// What went wrong on a host, in words for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// What happened, as a lower-case fragment.
    pub message: String,
    /// Why, outermost first.
    pub causes: Vec<String>,
    /// What to do.
    pub help: Option<String>,
}

/// What became of one host.
#[derive(Debug, Clone, PartialEq)]
pub struct HostReport {
    /// Which one.
    pub name: HostName,
    /// In one word.
    pub verdict: HostVerdict,
    /// As it was seen last; none where it never was.
    pub summary: Option<Summary>,
    /// Actions that were done there.
    pub done: usize,
    /// Actions that failed there.
    pub failed: usize,
    /// How long passes took there, as it was waited for them.
    pub took: Duration,
    /// What went wrong.
    pub troubles: Vec<Trouble>,
    /// How many more troubles there were than are kept.
    pub untold: usize,
    /// Its last pass as a document in JSON, where these were wanted.
    pub document: Option<String>,
}

/// What became of the migrations of a release, which one host runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Migrations {
    /// Who runs them, as something was begun there; how that went is told of its pass.
    pub run_on: Option<HostName>,
    /// Whose records say that they were run before, or who has the release in force, so that nobody has run them now.
    pub recorded_by: Vec<HostName>,
}

/// What came of a rollout.
#[derive(Debug, Clone, PartialEq)]
pub struct Rolled {
    /// How it ended.
    pub ending: RolloutEnding,
    /// In the order of the manifest.
    pub hosts: Vec<HostReport>,
    /// How many waves were begun.
    pub waves: usize,
    /// What became of the migrations.
    pub migrations: Migrations,
    /// How long it took.
    pub took: Duration,
}

impl Rolled {
    /// Of an App whose turn did not come, since a person wanted no more.
    #[must_use]
    pub fn left_out(hosts: impl Iterator<Item = HostName>) -> Self {
        let hosts: Vec<HostReport> = hosts.map(HostReport::new).collect();
        let each = hosts.iter().map(|host| (host.name.clone(), host.verdict)).collect();
        let ending = RolloutEnding { how: RolloutOutcome::Interrupted, failed: 0, hosts: each };
        Self { ending, hosts, waves: 0, migrations: Migrations::default(), took: Duration::ZERO }
    }
}

impl Migrations {
    /// That nobody runs them, and by whose record; none where that is not so.
    #[must_use]
    pub fn spared(&self) -> Option<String> {
        let first = self.recorded_by.first()?;
        let others = match self.recorded_by.len() - 1 {
            0 => " has".to_owned(),
            1 => " and one more have".to_owned(),
            more => format!(" and {more} more have"),
        };
        Some(format!(
            "the migrations are not run: {first}{others} recorded them as run for this release, or has it in force; if \
             they were not, begin without it (`--hosts`)"
        ))
    }
}

impl HostReport {
    /// Of a host of which nothing is known yet.
    #[must_use]
    pub fn new(name: HostName) -> Self {
        Self {
            name,
            verdict: HostVerdict::Unseen,
            summary: None,
            done: 0,
            failed: 0,
            took: Duration::ZERO,
            troubles: Vec::new(),
            untold: 0,
            document: None,
        }
    }

    /// Takes in what a pass there has reported, and puts its document on the budget.
    pub(super) fn take(&mut self, mut report: Report, budget: &mut DocumentBudget) {
        self.done = self.done.saturating_add(report.done);
        self.failed = self.failed.saturating_add(report.failed);
        if !matches!(report.outcome, Outcome::Converged | Outcome::Drift) {
            let told = std::mem::take(&mut report.summary.problems).into_iter().map(|problem| Trouble {
                message: problem.message,
                causes: Vec::new(),
                help: problem.help,
            });
            let sick =
                report.summary.complaint.iter().map(|complaint| Trouble::new(format!("not healthy: {complaint}")));
            let withheld = report.summary.withheld.iter().filter(|_| report.outcome == Outcome::Withheld);
            let left_alone = withheld.map(|why| Trouble::new(format!("not changed: {why}")));
            told.chain(sick).chain(left_alone).for_each(|trouble| self.trouble(trouble));
        }
        budget.keep(&mut self.document, &self.name, "PassReport", &report.document);
        self.see(report.summary);
    }

    /// What the host looks like now. Its problems stand among its troubles, or in its own words.
    pub(super) fn see(&mut self, summary: Summary) {
        self.summary = Some(Summary { problems: Vec::new(), ..summary });
    }

    /// What was seen before tells nothing any more, and its document would be taken for what it is like now.
    pub(super) fn forget(&mut self, budget: &mut DocumentBudget) {
        self.summary = None;
        budget.forget(&mut self.document);
    }

    /// Takes in what went wrong, once; what is too much is counted.
    pub fn trouble(&mut self, trouble: Trouble) {
        if self.troubles.contains(&trouble) {
            return;
        }
        let texts: usize = self.troubles.iter().chain([&trouble]).map(Trouble::len).sum();
        if self.troubles.len() < TROUBLES && texts <= TEXTS {
            self.troubles.push(trouble);
        } else {
            self.untold += 1;
        }
    }
}

impl Trouble {
    /// Bytes of its texts.
    fn len(&self) -> usize {
        let texts = self.causes.iter().chain(&self.help);
        self.message.len() + texts.map(String::len).sum::<usize>()
    }

    /// What happened, and why, on one line.
    #[must_use]
    pub fn told(&self) -> String {
        self.causes.iter().fold(self.message.clone(), |told, cause| format!("{told}: {cause}"))
    }

    /// One without causes or advice.
    #[must_use]
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), causes: Vec::new(), help: None }
    }
}

impl From<Failed> for Trouble {
    fn from(Failed { fault: _, message, causes, help }: Failed) -> Self {
        Self { message, causes, help }
    }
}

impl From<Unanswered> for Trouble {
    fn from(silence: Unanswered) -> Self {
        match silence {
            Unanswered::Unreached(unreached) => {
                let causes =
                    if unreached.in_hand { vec!["a pass may still be in hand there".to_owned()] } else { vec![] };
                Self { message: unreached.message, causes, help: unreached.help }
            }
            Unanswered::Refused(failed) => failed.into(),
            Unanswered::Killed { .. } => Self {
                message: "the pass there was killed".to_owned(),
                causes: Vec::new(),
                help: Some("the next one goes on from what it left".to_owned()),
            },
        }
    }
}
