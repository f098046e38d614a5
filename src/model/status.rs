//! What `status` says of one App: the values behind `status:` in the printed document.

use jiff::Timestamp;
use serde::Serialize;

use super::drift::StaleBecause;
use super::health::HealthVerdict;
use super::holder::Holder;
use super::names::{GroupName, MemberName, ReleaseId};
use super::observed::{Aim, Evidence, Link, MemberState, Stray, Unreadable};
use super::process::ProcessId;
use super::record::Quarantine;
use super::sync::Withheld;

/// The state of one App, as one snapshot shows it. What could not be read is unknown, never well.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AppStatus {
    /// Names the `spec` that this status was made for: the first 12 hexadecimal digits of the SHA-256 of the
    /// spec as JSON. Changes when, and only when, something in the spec does.
    pub observed_generation: String,
    /// When the host was looked at; absent when it could not be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_at: Option<Timestamp>,
    /// The release that `current` leads to; absent when it leads to none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_applied_revision: Option<ReleaseId>,
    /// What stands at `ROOT/current`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current: Option<Link>,
    /// When `current` was last changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current_since: Option<Timestamp>,
    /// Ready, Healthy, `WorkersCurrent`, Reconciling and Stalled, in this order; always all five.
    pub conditions: Vec<Condition>,
    /// The release that passes converge to; absent when the host could not be looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aim: Option<Aim>,
    /// Why the desired release is kept out; absent when it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quarantine: Option<Quarantine>,
    /// Why nobody acts on the App; absent when passes do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suspended: Option<String>,
    /// Why drift is only shown; absent when passes close it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub withheld: Option<Withheld>,
    /// Who makes a pass over the root at this moment; absent when nobody does, or nobody can tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at_work: Option<Holder>,
    /// One entry for each service, in the order of the manifest.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<ServiceStatus>,
    /// One entry for each group, in the order of the manifest.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub workers: Vec<GroupStatus>,
    /// Processes of this root's releases that no group owns.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub strays: Vec<Stray>,
    /// The health contract's verdict, rule by rule; absent when nothing was probed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<HealthVerdict>,
}

impl AppStatus {
    /// The condition of that type.
    #[must_use]
    pub fn condition(&self, of: ConditionType) -> Option<&Condition> {
        self.conditions.iter().find(|condition| condition.of == of)
    }

    /// Whether the condition of that type holds, beyond doubt.
    #[must_use]
    pub fn is(&self, of: ConditionType) -> bool {
        self.condition(of).is_some_and(|condition| condition.status == Truth::True)
    }
}

/// One statement about an App, in the form that Kubernetes tools know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Condition {
    /// What it speaks of.
    #[serde(rename = "type")]
    pub of: ConditionType,
    /// Whether it holds.
    pub status: Truth,
    /// Why, as one word for programs.
    pub reason: Reason,
    /// Why, for people.
    pub message: String,
}

/// What a condition speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum ConditionType {
    /// The host is as the App says, and healthy where there is a contract.
    Ready,
    /// The health contract is met.
    Healthy,
    /// As many workers as wanted run, and all of them run what is desired.
    WorkersCurrent,
    /// Something changes at this moment.
    Reconciling,
    /// Something is wrong that no pass will put right by itself.
    Stalled,
}

impl ConditionType {
    /// The word that documents and metrics have for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Ready => "Ready",
            Self::Healthy => "Healthy",
            Self::WorkersCurrent => "WorkersCurrent",
            Self::Reconciling => "Reconciling",
            Self::Stalled => "Stalled",
        }
    }
}

impl std::fmt::Display for ConditionType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.word())
    }
}

/// Whether a condition holds; written as Kubernetes writes it: `"True"`, `"False"`, `"Unknown"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Truth {
    /// It holds.
    True,
    /// It does not.
    False,
    /// Nobody can tell.
    Unknown,
}

impl std::fmt::Display for Truth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        })
    }
}

/// Why a condition is as it is; Flux's words where it has one that fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Reason {
    /// Flux: all is as the App says.
    ReconciliationSucceeded,
    /// Flux: this part is as the App says.
    Succeeded,
    /// Flux: something changes by itself.
    Progressing,
    /// Flux: the desired release is not there, or not whole.
    ArtifactFailed,
    /// Flux: something that is needed, such as a manager, does not answer.
    DependencyNotReady,
    /// Flux: the health contract is not met.
    HealthCheckFailed,
    /// Flux: the App says not to act.
    Suspended,
    /// No window is open, or one denies changes.
    OutsideWindow,
    /// Changes are made when a person asks.
    NotAutomatic,
    /// Changes are made when the manifest changes or a person asks.
    NoSelfHeal,
    /// Drift came back so often that a person is needed.
    TooManyCorrections,
    /// The host could not be looked at.
    ObservationFailed,
    /// The desired release has not been brought from its source yet.
    ReleaseNotFetched,
    /// The desired release is not built, verified or migrated yet.
    ReleaseNotBuilt,
    /// The desired release has not passed its gate yet.
    ReleaseNotProven,
    /// The desired release is kept out, and what was there before it stays.
    ReleaseQuarantined,
    /// The desired release is kept out, and the last proven one is in force.
    RolledBack,
    /// A service serves another release, or old configuration.
    StaleServices,
    /// `current` does not lead to the desired release.
    ReleaseNotCurrent,
    /// A real directory or file stands at `current`.
    CurrentIsNotALink,
    /// A group cannot have as many members as wanted.
    CountBeyondManager,
    /// Workers run another release, or old configuration.
    StaleWorkers,
    /// Nobody can tell what a worker runs, or whether it runs.
    WorkerUnknown,
    /// Fewer workers run than wanted.
    WorkersMissing,
    /// A worker dies again and again, soon after its start.
    CrashLoop,
    /// More workers run than wanted.
    WorkersSurplus,
    /// Workers run that would not come back after a reboot.
    WorkersNotEnabled,
    /// A file that workers read at their start has changed.
    ConfigChanged,
    /// A file that workers read at their start cannot be read.
    ConfigUnreadable,
    /// Processes run that no group owns, and may be stopped.
    StraysRunning,
    /// A restart succeeded and changed nothing.
    RestartDidNotHelp,
    /// The App has no health contract.
    NoHealthContract,
    /// The application was not asked.
    NotProbed,
    /// There is drift, and nothing works on it at this moment.
    DriftDetected,
    /// Newer manifests cannot be used, and the last good ones stay in force.
    ManifestsRefused,
    /// The App has disappeared from the manifests, and is left running.
    Orphaned,
    /// Nothing is under way.
    Idle,
    /// Nothing stands in the way.
    NothingStalled,
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The variant's name is the word, here as in JSON.
        f.pad(&format!("{self:?}"))
    }
}

/// One service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceStatus {
    /// Its name.
    pub name: GroupName,
    /// Whether it runs; absent when it could not be observed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub up: Option<bool>,
    /// Whether it serves what is desired; absent when it could not be observed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current: Option<bool>,
    /// When it was last renewed, as far as anybody can tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub renewed: Option<Timestamp>,
    /// Its manager's own words.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// A trap of its set-up, with the mend.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
    /// Why it could not be observed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unreadable: Option<Unreadable>,
}

/// One worker group.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupStatus {
    /// Its name.
    pub name: GroupName,
    /// `supervisord`, `systemd` or `builtin`.
    pub manager: String,
    /// How many workers are wanted.
    pub desired: u32,
    /// How many of them run; absent when the group could not be observed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub numbers: Option<GroupNumbers>,
    /// Its members, ordered by ordinal.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<WorkerStatus>,
    /// Why the group could not be observed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unreadable: Option<Unreadable>,
}

/// How many workers of a group run, and what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct GroupNumbers {
    /// Run at all.
    pub running: u32,
    /// Run what is desired.
    pub fresh: u32,
    /// Run something else.
    pub stale: u32,
    /// Run nobody knows what.
    pub unknown: u32,
}

/// One member of a worker group.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkerStatus {
    /// The manager's name for it.
    pub member: MemberName,
    /// What the manager says of it.
    pub state: MemberState,
    /// The manager's own words.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// Its process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process: Option<ProcessId>,
    /// When the process started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started: Option<Timestamp>,
    /// Whether it runs what is desired.
    pub verdict: WorkerVerdict,
    /// Why it is stale.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stale_because: Option<StaleBecause>,
    /// It was asked to end, and finishes what it has in hand.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub draining: bool,
    /// Which release it runs, and how that is known.
    pub evidence: Evidence,
    /// Whether it comes back after a reboot, where the manager has such a notion.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
}

/// Whether a member runs what is desired.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum WorkerVerdict {
    /// The desired release, with the present configuration.
    Fresh,
    /// Another release, or old configuration.
    Stale,
    /// Nobody can tell.
    Unknown,
    /// It does not run.
    Down,
}

impl std::fmt::Display for WorkerVerdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Fresh => "fresh",
            Self::Stale => "stale",
            Self::Unknown => "unknown",
            Self::Down => "down",
        })
    }
}
