//! The closed list of things that trueup does to a host, and the ordered plan made of them.

use serde::{Deserialize, Serialize};

use super::drift::{Blocker, Stalled};
use super::names::{GroupName, MemberName, RelativePath, ReleaseId};
use super::process::ProcessId;

/// One convergent step: done twice, it does no more than done once.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Action {
    /// Brings a release from its source into `releases/`; it is not there before it is whole.
    FetchRelease {
        /// The release.
        id: ReleaseId,
    },
    /// Renames a fresh link over `current`; readers see the old target or the new one.
    SwitchCurrent {
        /// The release that it leads to afterwards.
        to: ReleaseId,
    },
    /// Runs the step that belongs to a changed file and records the content as known to the group.
    ApplyConfig {
        /// The group that reads the file.
        group: GroupName,
        /// The file.
        path: RelativePath,
    },
    /// Starts one member that is down.
    StartWorker {
        /// Its group.
        group: GroupName,
        /// The member.
        member: MemberName,
    },
    /// Replaces the process of one member: gently, killed only after `stopTimeout`.
    RestartWorker {
        /// Its group.
        group: GroupName,
        /// The member.
        member: MemberName,
        /// The process to be replaced; gone already means done already.
        process: Option<ProcessId>,
    },
    /// Stops one member for good.
    StopWorker {
        /// Its group.
        group: GroupName,
        /// The member.
        member: MemberName,
    },
    /// Makes one running member come back after a reboot.
    EnableWorker {
        /// Its group.
        group: GroupName,
        /// The member.
        member: MemberName,
    },
    /// Stops a process that no group owns.
    StopStray {
        /// The process.
        process: ProcessId,
    },
}

impl Action {
    /// The group that it acts on, if it acts on one.
    #[must_use]
    pub fn group(&self) -> Option<&GroupName> {
        match self {
            Self::FetchRelease { .. } | Self::SwitchCurrent { .. } | Self::StopStray { .. } => None,
            Self::ApplyConfig { group, .. }
            | Self::StartWorker { group, .. }
            | Self::RestartWorker { group, .. }
            | Self::StopWorker { group, .. }
            | Self::EnableWorker { group, .. } => Some(group),
        }
    }

    /// The word for it in tables: `switch`, `start`, …
    #[must_use]
    pub fn verb(&self) -> &'static str {
        match self {
            Self::FetchRelease { .. } => "fetch",
            Self::SwitchCurrent { .. } => "switch",
            Self::ApplyConfig { .. } => "apply config",
            Self::StartWorker { .. } => "start",
            Self::RestartWorker { .. } => "restart",
            Self::StopWorker { .. } => "stop",
            Self::EnableWorker { .. } => "enable",
            Self::StopStray { .. } => "stop stray",
        }
    }
}

impl std::fmt::Display for Action {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::FetchRelease { id } => write!(f, "fetch {id}"),
            Self::SwitchCurrent { to } => write!(f, "switch current to {to}"),
            Self::ApplyConfig { group, path } => write!(f, "apply {path} to {group}"),
            Self::StartWorker { member, .. } => write!(f, "start {member}"),
            Self::RestartWorker { member, process: Some(process), .. } => write!(f, "restart {member} ({process})"),
            Self::RestartWorker { member, process: None, .. } => write!(f, "restart {member}"),
            Self::StopWorker { member, .. } => write!(f, "stop {member}"),
            Self::EnableWorker { member, .. } => write!(f, "enable {member}"),
            Self::StopStray { process } => write!(f, "stop stray {process}"),
        }
    }
}

/// One action of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// What to do.
    #[serde(flatten)]
    pub action: Action,
    /// Steps of one wave go side by side; a wave begins when the one before it has ended.
    pub wave: u32,
    /// Why, for people: the drift that it closes.
    pub reason: String,
}

/// Ordered steps that close the drift, or the reasons why there are none.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// In the order of their waves.
    pub steps: Vec<Step>,
    /// Drift that is not acted on, and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stalled: Vec<Stalled>,
    /// Why nothing may be touched; then there are no steps.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub blockers: Vec<Blocker>,
}

impl Plan {
    /// Nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }
}
