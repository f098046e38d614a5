//! What is remembered of one App, kept under `ROOT/.trueup/` beside its journal and the records of its releases.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::names::{GroupName, MemberName, RelativePath, ReleaseId};
use super::process::ProcessId;
use super::release::Stage;

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

/// When a service was last renewed by us, and for what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Renewed {
    /// The service.
    pub service: GroupName,
    /// When that was done.
    pub at: Timestamp,
    /// [`crate::model::observed::Layout::link_changed`] as it was right before: by that alone one tells that it was
    /// done for this very switch, whatever the clock says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<Timestamp>,
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
