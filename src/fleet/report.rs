//! What came of the work over all hosts: a value for each, small enough for a thousand of them.

use std::time::Duration;

use serde_json::Value;

use super::ask::Silence;
use crate::documents::wire::{Failed, Report, Summary};
use crate::model::fleet::HostName;
use crate::model::report::Outcome;
use crate::model::rollout::{Ending, Verdict};

/// Most troubles of one host that are kept.
const TROUBLES: usize = 8;

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
    pub verdict: Verdict,
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
    /// Its last pass as a document in JSON, where these were wanted.
    pub document: Option<String>,
}

/// What came of a rollout.
#[derive(Debug, Clone, PartialEq)]
pub struct Rolled {
    /// How it ended.
    pub ending: Ending,
    /// In the order of the manifest.
    pub hosts: Vec<HostReport>,
    /// How many waves were begun.
    pub waves: usize,
    /// How long it took.
    pub took: Duration,
}

impl HostReport {
    /// Of a host of which nothing is known yet.
    #[must_use]
    pub fn new(name: HostName) -> Self {
        Self {
            name,
            verdict: Verdict::Unseen,
            summary: None,
            done: 0,
            failed: 0,
            took: Duration::ZERO,
            troubles: Vec::new(),
            document: None,
        }
    }

    /// Takes in what a pass there has reported; its document where `keep`.
    pub fn take(&mut self, report: Report, keep: bool) {
        self.done = self.done.saturating_add(report.done);
        self.failed = self.failed.saturating_add(report.failed);
        if !matches!(report.outcome, Outcome::Converged | Outcome::Drift) {
            let told = report.summary.problems.iter().map(|problem| Trouble {
                message: problem.message.clone(),
                causes: Vec::new(),
                help: problem.help.clone(),
            });
            let sick =
                report.summary.complaint.iter().map(|complaint| Trouble::new(format!("not healthy: {complaint}")));
            told.chain(sick).for_each(|trouble| self.trouble(trouble));
        }
        if keep {
            self.keep(report.document);
        }
        self.summary = Some(report.summary);
    }

    /// Keeps what the host has printed, as its own: no host speaks for another one.
    pub fn keep(&mut self, mut document: Value) {
        if let Some(keys) = document.as_object_mut() {
            keys.insert("host".to_owned(), Value::String(self.name.to_string()));
        }
        self.document = Some(document.to_string());
    }

    /// Takes in what went wrong, once.
    pub fn trouble(&mut self, trouble: Trouble) {
        if self.troubles.len() < TROUBLES && !self.troubles.contains(&trouble) {
            self.troubles.push(trouble);
        }
    }
}

impl Trouble {
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

impl From<Silence> for Trouble {
    fn from(silence: Silence) -> Self {
        match silence {
            Silence::Unreached(unreached) => {
                let causes =
                    if unreached.in_hand { vec!["a pass may still be in hand there".to_owned()] } else { vec![] };
                Self { message: unreached.message, causes, help: unreached.help }
            }
            Silence::Refused(failed) => failed.into(),
            Silence::Killed => Self {
                message: "the pass there was killed".to_owned(),
                causes: Vec::new(),
                help: Some("the next one goes on from what it left".to_owned()),
            },
        }
    }
}
