//! The closed list of things that trueup does to a host, and the ordered plan made of them.

use serde::{Deserialize, Serialize};

use super::drift::{Blocker, Stalled};
use super::names::{GroupName, MemberName, RelativePath, ReleaseId};
use super::process::ProcessId;
use super::release::Stage;
use super::service::Renewal;

/// One convergent step: done twice, it does no more than done once.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Action {
    /// Ends the hold of a release whose failure was not its own.
    LiftQuarantine {
        /// The release.
        id: ReleaseId,
    },
    /// Brings a release's files from its source into `releases/`.
    FetchRelease {
        /// The release.
        id: ReleaseId,
    },
    /// Links what is shared into a release.
    LinkShared {
        /// The release.
        id: ReleaseId,
    },
    /// Runs the commands of one stage in a release and records that.
    RunStage {
        /// The release.
        id: ReleaseId,
        /// Which.
        stage: Stage,
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
    /// Makes a service serve the present release.
    RenewService {
        /// The service.
        service: GroupName,
        /// How.
        how: Renewal,
    },
    /// Judges the release in force by its gate and records that it passed.
    ProveRelease {
        /// The release.
        id: ReleaseId,
    },
    /// Removes a release that nobody needs any more.
    PruneRelease {
        /// The release.
        id: ReleaseId,
    },
}

impl Action {
    /// The group that it acts on, if it acts on one.
    #[must_use]
    pub fn group(&self) -> Option<&GroupName> {
        match self {
            Self::LiftQuarantine { .. }
            | Self::FetchRelease { .. }
            | Self::LinkShared { .. }
            | Self::RunStage { .. }
            | Self::SwitchCurrent { .. }
            | Self::RenewService { .. }
            | Self::ProveRelease { .. }
            | Self::PruneRelease { .. }
            | Self::StopStray { .. } => None,
            Self::ApplyConfig { group, .. }
            | Self::StartWorker { group, .. }
            | Self::RestartWorker { group, .. }
            | Self::StopWorker { group, .. }
            | Self::EnableWorker { group, .. } => Some(group),
        }
    }

    /// Whether it counts as a correction where nobody has asked for it. A worker that is down has mostly ended by itself:
    /// starting it is no sign that somebody works against us.
    #[must_use]
    pub fn is_counted(&self) -> bool {
        !matches!(self, Self::StartWorker { .. })
    }

    /// The word for it in tables: `switch`, `start`, …
    #[must_use]
    pub fn verb(&self) -> &'static str {
        match self {
            Self::LiftQuarantine { .. } => "lift",
            Self::FetchRelease { .. } => "fetch",
            Self::LinkShared { .. } => "link",
            Self::RunStage { stage, .. } => stage.verb(),
            Self::SwitchCurrent { .. } => "switch",
            Self::ApplyConfig { .. } => "apply config",
            Self::StartWorker { .. } => "start",
            Self::RestartWorker { .. } => "restart",
            Self::StopWorker { .. } => "stop",
            Self::EnableWorker { .. } => "enable",
            Self::StopStray { .. } => "stop stray",
            Self::RenewService { how, .. } => how.word(),
            Self::ProveRelease { .. } => "prove",
            Self::PruneRelease { .. } => "prune",
        }
    }
}

impl std::fmt::Display for Action {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::LiftQuarantine { id } => write!(f, "lift the quarantine of {id}"),
            Self::FetchRelease { id } => write!(f, "fetch {id}"),
            Self::LinkShared { id } => write!(f, "link shared into {id}"),
            Self::RunStage { id, stage } => write!(f, "{} {id}", stage.verb()),
            Self::SwitchCurrent { to } => write!(f, "switch current to {to}"),
            Self::ApplyConfig { group, path } => write!(f, "apply {path} to {group}"),
            Self::StartWorker { member, .. } => write!(f, "start {member}"),
            Self::RestartWorker { member, process: Some(process), .. } => write!(f, "restart {member} ({process})"),
            Self::RestartWorker { member, process: None, .. } => write!(f, "restart {member}"),
            Self::StopWorker { member, .. } => write!(f, "stop {member}"),
            Self::EnableWorker { member, .. } => write!(f, "enable {member}"),
            Self::StopStray { process } => write!(f, "stop stray {process}"),
            Self::RenewService { service, how } => write!(f, "{} {service}", how.word()),
            Self::ProveRelease { id } => write!(f, "prove {id}"),
            Self::PruneRelease { id } => write!(f, "prune {id}"),
        }
    }
}

/// The part of a pass that an action belongs to, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Phase {
    /// Facts are written down that later phases stand on.
    Record,
    /// The release's files come.
    Fetch,
    /// What is shared is linked into them.
    Link,
    /// They are built.
    Build,
    /// They are verified.
    Verify,
    /// Its migrations run.
    Migrate,
    /// `current` moves, alone.
    Switch,
    /// What is run after that.
    Hook,
    /// Changed configuration is made known before anything reads it.
    Configure,
    /// Services and workers, side by side.
    Replace,
    /// The release is judged.
    Prove,
    /// Old releases go.
    Prune,
}

impl Phase {
    /// Comes before the switch and may take long: the host is looked at again after it.
    #[must_use]
    pub fn is_preparation(self) -> bool {
        self < Self::Switch
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
fn is_zero(turn: &u32) -> bool {
    *turn == 0
}

/// One action of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// What to do.
    #[serde(flatten)]
    pub action: Action,
    /// Steps of one phase and turn go side by side; a phase begins when the one before it has ended.
    pub phase: Phase,
    /// Later turns of a phase find no room yet under `maxUnavailable`; they wait for another look at the host.
    #[serde(skip_serializing_if = "is_zero")]
    pub turn: u32,
    /// Why, for people: the drift that it closes.
    pub reason: String,
}

/// Ordered steps that close the drift, or the reasons why there are none.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// In the order of their phases and turns.
    pub steps: Vec<Step>,
    /// Drift that is not acted on, and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stalled: Vec<Stalled>,
    /// Why nothing may be touched; then there are no steps.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub blockers: Vec<Blocker>,
}

impl Plan {
    /// The phase that goes next; none when nothing is to be done, or when what comes first finds no room yet.
    #[must_use]
    pub fn next(&self) -> Option<Phase> {
        self.steps.first().filter(|step| step.turn == 0).map(|step| step.phase)
    }

    /// Whether it does anything that counts as a correction where nobody has asked for it.
    #[must_use]
    pub fn is_counted(&self) -> bool {
        self.steps.iter().any(|step| step.action.is_counted())
    }

    /// What of it starts workers that are down, if nothing else may be done; else all of it.
    #[must_use]
    pub fn of_starts_if(mut self, only: bool) -> Self {
        self.steps.retain(|step| !only || matches!(step.action, Action::StartWorker { .. }));
        self
    }

    /// Nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }
}
