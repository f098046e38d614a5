//! Named differences between an App and a snapshot.

use serde::Serialize;

use super::names::{GroupName, MemberName, RelativePath, ReleaseId};
use super::observed::{Evidence, Link, MemberState, Stray, Unreadable};
use super::process::ProcessId;
use super::release::{Source, Stage};
use super::service::Renewal;

/// All that differs between an App and a snapshot.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Difference {
    /// What actions can close.
    pub drift: Vec<Drift>,
    /// What will change by itself: look again shortly.
    pub settling: Vec<Settling>,
    /// What no action of ours can close: a person or another pass must.
    pub stalled: Vec<Stalled>,
    /// Why nothing may be touched at all.
    pub blockers: Vec<Blocker>,
}

impl Difference {
    /// Nothing differs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.drift.is_empty() && self.settling.is_empty() && self.stalled.is_empty() && self.blockers.is_empty()
    }

    /// The service that is waited for, where nothing but services stand in the way, and those may be seen again soon.
    #[must_use]
    pub fn only_waits_for_a_service(&self) -> Option<&GroupName> {
        let mut away = self.blockers.iter().map(|one| match one {
            Blocker::ServiceUnreadable { service, why } if !why.lasting => Some(service),
            _ => None,
        });
        let first = away.next()??;
        away.all(|one| one.is_some()).then_some(first)
    }
}

/// Why a release is not needed any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Spare {
    /// It is good, and enough newer ones are.
    BeyondKept,
    /// It has failed, and another one is wanted.
    Failed,
    /// It has never been proven, and another one is wanted.
    Unproven,
}

/// One difference that an action can close.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "drift", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Drift {
    /// The desired release has no directory, and the App says where it comes from.
    ReleaseNotFetched {
        /// The release.
        desired: ReleaseId,
        /// Where it comes from.
        source: Source,
    },
    /// The desired release is held although what it was held for is over.
    HoldOver {
        /// The release.
        release: ReleaseId,
    },
    /// Links of `shared` and `links` are not in the release.
    SharedNotLinked {
        /// The release.
        release: ReleaseId,
        /// Where; empty while the release itself is not there.
        paths: Vec<RelativePath>,
    },
    /// A stage has not run yet.
    StageDue {
        /// The release.
        release: ReleaseId,
        /// Which.
        stage: Stage,
        /// How many commands it has.
        commands: usize,
    },
    /// `current` does not lead to the desired release.
    CurrentElsewhere {
        /// What stands there.
        observed: Link,
        /// What should.
        desired: ReleaseId,
    },
    /// A file of `restartOn` has another content than the group was told of.
    ConfigChanged {
        /// The group that reads it.
        group: GroupName,
        /// The file.
        path: RelativePath,
    },
    /// A member that should run does not.
    WorkerDown {
        /// Its group.
        group: GroupName,
        /// The member.
        member: MemberName,
        /// Its state; none for a member that is not there yet.
        state: Option<MemberState>,
        /// The manager's own words.
        detail: String,
    },
    /// A member runs another release, or old configuration.
    WorkerStale {
        /// Its group.
        group: GroupName,
        /// The member.
        member: MemberName,
        /// Its process.
        process: Option<ProcessId>,
        /// What it runs and how that is known.
        evidence: Evidence,
        /// Why that is stale.
        because: StaleBecause,
        /// What it should run.
        desired: ReleaseId,
    },
    /// A member runs, and nobody can tell what.
    WorkerUnknown {
        /// Its group.
        group: GroupName,
        /// The member.
        member: MemberName,
        /// Its process.
        process: Option<ProcessId>,
        /// What was tried.
        evidence: Evidence,
    },
    /// A member runs beyond `count`.
    WorkerSurplus {
        /// Its group.
        group: GroupName,
        /// The member.
        member: MemberName,
        /// Its state.
        state: MemberState,
        /// Its process.
        process: Option<ProcessId>,
        /// How many members should run.
        count: u32,
    },
    /// A member runs, but would not come back after a reboot.
    WorkerNotEnabled {
        /// Its group.
        group: GroupName,
        /// The member.
        member: MemberName,
    },
    /// A service serves another release, or old configuration.
    ServiceStale {
        /// The service.
        service: GroupName,
        /// What makes it right.
        how: Renewal,
        /// Why.
        because: ServiceStale,
    },
    /// The release has not passed its gate yet.
    ReleaseNotProven {
        /// The release.
        release: ReleaseId,
    },
    /// A release that nobody needs any more is still there.
    ReleaseSurplus {
        /// The release.
        release: ReleaseId,
        /// How many good ones are kept.
        keep: u32,
        /// Why it is not needed.
        why: Spare,
    },
    /// A process of this root that no group owns, and that may be stopped.
    StrayRunning {
        /// The process.
        stray: Stray,
    },
}

/// Why a worker is stale.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum StaleBecause {
    /// It runs another release.
    Release,
    /// It was started with another command, environment or user than its group has now.
    Command,
    /// It started before this file got its present content.
    Config(RelativePath),
}

/// Why a service is stale.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum ServiceStale {
    /// Answers still come from this release.
    Serves(String),
    /// It, or a process of it, is older than the switch.
    OlderThanSwitch,
    /// The manifest wants it renewed once for each switch.
    Switched,
    /// It was last renewed before this file got its present content.
    Config(RelativePath),
}

/// Something that changes by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Settling {
    /// Its group.
    pub group: GroupName,
    /// The member.
    pub member: MemberName,
    /// Where it is on the way.
    pub state: MemberState,
    /// The manager's own words.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// It is beyond `count`, and only waited out.
    pub leaving: bool,
}

/// A difference that no action of ours closes.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "reason", rename_all = "PascalCase", rename_all_fields = "camelCase")]
pub enum Stalled {
    /// This process came from a restart that succeeded, and the drift is the same as before.
    RestartDidNotHelp {
        /// Its group.
        group: GroupName,
        /// The member.
        member: MemberName,
        /// The process that the restart made.
        process: ProcessId,
        /// What it runs and how that is known.
        evidence: Evidence,
    },
    /// The manager itself does not know the member's state.
    WorkerUnknown {
        /// Its group.
        group: GroupName,
        /// The member.
        member: MemberName,
        /// The manager's own words.
        detail: String,
    },
    /// A service could not be observed, so nobody can tell what it serves.
    ServiceUnreadable {
        /// The service.
        service: GroupName,
        /// Why.
        why: Unreadable,
    },
    /// There is no such user as the manifest names, whom commands and files should belong to.
    NoSuchUser {
        /// Why.
        why: Unreadable,
    },
    /// The desired release is kept out, and there is no proven one to go back to.
    NoWayBack {
        /// The desired release.
        release: ReleaseId,
    },
    /// A file of `restartOn` could not be read.
    ConfigUnreadable {
        /// The group that reads it.
        group: GroupName,
        /// The file.
        path: RelativePath,
        /// Why.
        why: String,
    },
}

/// Why nothing may be touched at all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "blocker", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Blocker {
    /// A real directory or file stands at `current`.
    CurrentIsNotALink {
        /// `directory` or `file`.
        what: String,
    },
    /// The desired release has no directory, and nothing says where it comes from.
    ReleaseAbsent {
        /// The release.
        id: ReleaseId,
        /// The releases that are there, newest id first, a few.
        present: Vec<ReleaseId>,
    },
    /// The desired release's directory is empty.
    ReleaseEmpty {
        /// The release.
        id: ReleaseId,
    },
    /// The desired release lacks what `release.requires` names.
    ReleaseIncomplete {
        /// The release.
        id: ReleaseId,
        /// What it lacks.
        missing: Vec<RelativePath>,
    },
    /// The desired release was left half-made, and nothing says where it comes from.
    ReleaseHalfMade {
        /// The release.
        id: ReleaseId,
    },
    /// A group could not be observed, so it could not be switched together with the rest.
    GroupUnreadable {
        /// The group.
        group: GroupName,
        /// Why.
        why: Unreadable,
    },
    /// A service could not be observed, so the release could not be made to be served by it.
    ServiceUnreadable {
        /// The service.
        service: GroupName,
        /// Why.
        why: Unreadable,
    },
    /// There is no such user as the manifest names: nothing of the release that is to come could belong to him.
    NoSuchUser {
        /// Why.
        why: Unreadable,
    },
    /// The manager's own configuration has fewer members than `count`.
    CountBeyondManager {
        /// The group.
        group: GroupName,
        /// What is desired.
        count: u32,
        /// What the manager offers.
        offered: u32,
        /// The manager's name for the group.
        managed_as: String,
    },
}
