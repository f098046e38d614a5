//! What is kept under `ROOT/.trueup/`: facts that cannot be read off the host again.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::action::Action;
use super::names::{AppName, GroupName, MemberName, RelativePath, ReleaseId};
use super::process::ProcessId;
use super::release::Stage;

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
    /// The release that the file's step has run in: what it makes of the content stays there. None where
    /// there is no step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<ReleaseId>,
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

/// When a service was last renewed by us.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Renewed {
    /// The service.
    pub service: GroupName,
    /// When that was done.
    pub at: Timestamp,
}

/// A hook that is due: `current` has moved, and it has not run yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DueHook {
    /// The release that `current` was moved to.
    pub release: ReleaseId,
    /// `afterSwitch` or `afterRollback`.
    pub stage: Stage,
}

/// What is known of one release: `ROOT/.trueup/releases/ID.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReleaseRecord {
    /// The release.
    pub id: ReleaseId,
    /// How far its making has come.
    pub made: Making,
    /// Since when that is so.
    pub since: Timestamp,
    /// What it was made of, such as the commit that a ref was resolved to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    /// Digest of the recipe that it was made by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipe: Option<String>,
    /// When its verification succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified: Option<Timestamp>,
    /// When its migrations were run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub migrated: Option<Timestamp>,
    /// When `current` was last moved to it by us.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub switched: Option<Timestamp>,
    /// When it last passed its gate, or was found healthy in force on a host that was new to us.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proven: Option<Timestamp>,
    /// Why it is kept out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quarantine: Option<Quarantine>,
}

/// How far the making of a release has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Making {
    /// Its files are being fetched or built: half a release, which is begun anew and never switched to.
    Building,
    /// Its files are there as they came from the source; no build step has begun.
    Fetched,
    /// Whole and on disk, or put there whole by somebody else.
    Built,
}

/// Why a release is kept out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Quarantine {
    /// [`crate::model::app::Fingerprint::trial`] of the App that failed: any real change lifts it.
    pub key: String,
    /// Since when.
    pub at: Timestamp,
    /// Who says so.
    pub by: Judge,
    /// What failed, as a lower-case fragment.
    pub reason: String,
    /// What was seen: rules with values, the last lines of a log.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<String>,
    /// The release before it was no healthier, so the fault may be elsewhere: lifted as soon as that is healthy.
    #[serde(default)]
    pub held: bool,
    /// The proven release that the person chose to go back to; none: the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub back_to: Option<ReleaseId>,
}

/// Who put a release into quarantine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Judge {
    /// Its gate, or a step before it.
    #[default]
    Gate,
    /// A person, by `trueup rollback`.
    Operator,
}

impl ReleaseRecord {
    /// The record of a release of which nothing is known but that it is there, put there whole by somebody else.
    #[must_use]
    pub fn adopted(id: ReleaseId, at: Timestamp) -> Self {
        Self {
            id,
            made: Making::Built,
            since: at,
            origin: None,
            recipe: None,
            verified: None,
            migrated: None,
            switched: None,
            proven: None,
            quarantine: None,
        }
    }

    /// Whether it can be gone back to, as far as its record says: whole, and it has passed its gate.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.made == Making::Built && self.proven.is_some()
    }

    /// Whether what it is kept out for befell it in force: it was switched to since it was made, or a person took it
    /// back. Else it never served, and nothing went back.
    #[must_use]
    pub fn failed_in_force(&self) -> bool {
        let by_hand = self.kept_out().is_some_and(|quarantine| quarantine.by == Judge::Operator);
        by_hand || self.switched.is_some_and(|switched| switched >= self.since)
    }

    /// Why it is kept out. A proof ends what was held against the release before: whoever keeps it out takes its proof
    /// away, so where a record holds both, the proof came later.
    #[must_use]
    pub fn kept_out(&self) -> Option<&Quarantine> {
        self.quarantine.as_ref().filter(|_| self.proven.is_none())
    }
}

/// Everything remembered about one App besides the journal and the releases' records.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Memory {
    /// The boot that the processes in here belong to.
    pub boot: String,
    /// File contents that groups were told of.
    pub config: Vec<AppliedConfig>,
    /// Restarts that did not help.
    pub helpless: Vec<Helpless>,
    /// Services that were renewed by us.
    pub renewed: Vec<Renewed>,
    /// A hook that is due.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub due: Option<DueHook>,
    /// [`crate::model::app::Fingerprint::wish`] of the manifest that the host was last found to be as it says; only
    /// written by the agent, and where `selfHeal` is false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub settled: Option<String>,
    /// When passes put right what nobody had asked for, as long as the agent counts them; not those that only started
    /// workers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub corrections: Vec<Timestamp>,
    /// The App is not acted on, by a person's word on this host; why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suspended: Option<String>,
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
