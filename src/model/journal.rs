//! What passes and people did, line by line: `ROOT/.trueup/journal.jsonl`.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::action::Action;
use super::names::{AppName, ReleaseId};
use super::record::Judge;

/// One line of the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JournalEntry {
    /// When.
    pub at: Timestamp,
    /// Which pass; the same for all its lines.
    pub pass: String,
    /// Which App.
    pub app: AppName,
    /// What happened.
    #[serde(flatten)]
    pub event: JournalEvent,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum JournalEvent {
    /// A pass found something to do.
    PassStarted {
        /// The desired release.
        release: ReleaseId,
        /// What woke it: `command`, `timer`, …
        trigger: String,
        /// The process that makes it.
        pid: u32,
    },
    /// An action is about to be done.
    Begin {
        /// The action.
        #[serde(flatten)]
        action: Action,
        /// Why.
        reason: String,
    },
    /// An action was done.
    Done {
        /// The action.
        #[serde(flatten)]
        action: Action,
        /// How long it took.
        took_ms: u64,
        /// What else is worth telling: that a job was killed, say.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        notes: Vec<String>,
    },
    /// An action failed.
    Failed {
        /// The action.
        #[serde(flatten)]
        action: Action,
        /// What happened.
        error: String,
        /// How long it took.
        took_ms: u64,
    },
    /// A release is kept out from now on.
    Quarantined {
        /// The release.
        release: ReleaseId,
        /// What failed.
        reason: String,
        /// Who says so.
        #[serde(default)]
        by: Judge,
    },
    /// A person lets a release be tried again.
    QuarantineLifted {
        /// The release.
        release: ReleaseId,
    },
    /// A person wants the App left alone on this host.
    Suspended {
        /// Why.
        reason: String,
    },
    /// The App is acted on again.
    Resumed,
    /// The pass ended.
    PassEnded {
        /// In a word: one of [`super::report::Outcome`], or what another version has for it.
        outcome: String,
        /// One sentence for people.
        summary: String,
    },
}
