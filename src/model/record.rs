//! What is kept under `ROOT/.trueup/`: facts that cannot be read off the host again.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::action::Action;
use super::names::{AppName, GroupName, MemberName, RelativePath, ReleaseId};
use super::process::ProcessId;

/// A file content that a group was told of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AppliedConfig {
    /// The group that reads the file.
    pub group: GroupName,
    /// The file.
    pub path: RelativePath,
    /// Digest of the content; none: the file was absent.
    pub digest: Option<String>,
    /// Since when; workers that started earlier have read another content.
    pub at: Timestamp,
}

/// A process that a restart of ours made, and that is as stale as the one before it.
/// While it lives and the same release is desired, it is not restarted again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Helpless {
    /// Its group.
    pub group: GroupName,
    /// The member.
    pub member: MemberName,
    /// The process that the restart made.
    pub process: ProcessId,
    /// What was desired.
    pub release: ReleaseId,
}

/// Everything remembered about one App besides the journal.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Memory {
    /// The boot that the processes in here belong to.
    pub boot: String,
    /// File contents that groups were told of.
    pub config: Vec<AppliedConfig>,
    /// Restarts that did not help.
    pub helpless: Vec<Helpless>,
}

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
    /// The pass ended.
    PassEnded {
        /// In a word: `converged`, `failed`, `unhealthy`, `interrupted`.
        outcome: String,
        /// One sentence for people.
        summary: String,
    },
}
