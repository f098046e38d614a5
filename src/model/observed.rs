//! One snapshot of a host, for one App. What could not be read is *unknown*, never *absent*.

use std::collections::BTreeSet;
use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::app::StrayPolicy;
use super::health::HealthVerdict;
use super::memory::{AppliedConfig, DueHook, Helpless, Renewed};
use super::names::{GroupName, MemberName, RelativePath, ReleaseId};
use super::process::{Inode, Known, ProcessId};
use super::record::ReleaseRecord;
use super::service::ObservedService;

/// One snapshot of a host, for one App.
#[derive(Debug, Clone, PartialEq)]
pub struct Observed {
    /// When it was taken.
    pub at: Timestamp,
    /// The link and the releases.
    pub layout: Layout,
    /// One entry for each of the App's groups, in the App's order.
    pub groups: Vec<ObservedGroup>,
    /// Processes of this root's releases that no group owns. None is named while a group cannot be observed.
    pub strays: Vec<Stray>,
    /// How many would be strays, but for a group that cannot be observed: they may be its workers.
    pub untold: usize,
    /// Files whose change makes workers stale, in the App's order.
    pub config: Vec<ObservedConfig>,
    /// What the contract says of what is aimed at: what a gate judges by. None without a contract, or where nobody was
    /// asked. How the application is now, says [`Self::health_in_force`].
    pub health: Option<HealthVerdict>,
    /// What the contract says of the release that is in force, whatever is desired; none where nobody was asked, or
    /// none is in force.
    pub well: Option<HealthVerdict>,
    /// Restarts that did not help, as recorded by earlier passes.
    pub helpless: Vec<Helpless>,
    /// What is known of the releases, ordered by id.
    pub records: Vec<ReleaseRecord>,
    /// What the App aims at now, by those records.
    pub aim: Aim,
    /// One entry for each of the App's services, in the App's order.
    pub services: Vec<ObservedService>,
    /// Which releases the application itself named in its answers (`body.release`); none where it names none, or
    /// was not asked.
    pub serving: Option<BTreeSet<String>>,
    /// The application was asked, at this look or at an earlier one of the same pass since `current` moved.
    pub asked: bool,
    /// When services were last renewed by us.
    pub renewed: Vec<Renewed>,
    /// A hook that is due once `current` leads to its release.
    pub due: Option<DueHook>,
    /// Why a person on this host wants the App left alone; none: nobody does.
    pub suspended: Option<String>,
    /// Why commands and files have nobody to belong to: there is no such user.
    pub nobody: Option<Unreadable>,
    /// Names the manifest that the host was once found to be as it says, where that is of interest.
    pub settled: Option<String>,
}

impl Observed {
    /// A snapshot of a host about which nothing but its layout is known.
    #[must_use]
    pub fn new(at: Timestamp, layout: Layout) -> Self {
        Self {
            at,
            layout,
            groups: Vec::new(),
            strays: Vec::new(),
            untold: 0,
            config: Vec::new(),
            health: None,
            well: None,
            helpless: Vec::new(),
            records: Vec::new(),
            aim: Aim::Desired,
            services: Vec::new(),
            serving: None,
            asked: false,
            renewed: Vec::new(),
            due: None,
            suspended: None,
            nobody: None,
            settled: None,
        }
    }

    /// Nothing is in force, and as far as anybody knows nothing ever was: there is no health yet to speak of.
    #[must_use]
    pub fn is_blank(&self) -> bool {
        let was = |record: &ReleaseRecord| record.switched.or(record.proven).is_some();
        self.layout.link == Link::Absent && !self.records.iter().any(was)
    }

    /// How the application is: by the release that is in force, for a rule that names `release.id` says nothing of one
    /// that is still to come. Where none is in force, by what is aimed at; none where [none ever was](Self::is_blank).
    #[must_use]
    pub fn health_in_force(&self) -> Option<&HealthVerdict> {
        self.well.as_ref().or(self.health.as_ref()).filter(|_| !self.is_blank())
    }

    /// What is known of a release.
    #[must_use]
    pub fn record(&self, id: &ReleaseId) -> Option<&ReleaseRecord> {
        self.records.iter().find(|record| record.id == *id)
    }
}

/// The release that a pass converges to, and why it is that one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Aim {
    /// The one that the App names.
    Desired,
    /// The last proven one, for the desired one is kept out.
    Back {
        /// The last proven one.
        to: ReleaseId,
    },
    /// What is there stays as it is: the desired one is kept out, and the App says to halt, or nothing is proven.
    Halt {
        /// What is in force; none where `current` names no release.
        at: Option<ReleaseId>,
        /// There is no proven release to go back to.
        stranded: bool,
    },
}

/// The link and the releases.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// What stands at `ROOT/current`.
    pub link: Link,
    /// When the link was last changed (its ctime: a rename leaves the mtime old); none without a link.
    pub link_changed: Option<Timestamp>,
    /// The same by the clock as it goes now, where it is known that the clock was set since.
    pub changed_by_now: Option<Timestamp>,
    /// `ROOT/releases` with all links resolved, as the kernel names it.
    pub releases_path: PathBuf,
    /// What stands in `releases/`, ordered by id.
    pub releases: Vec<ObservedRelease>,
}

impl Layout {
    /// When the link was last changed, in terms of the clock as it goes now: what the start of a process compares with.
    #[must_use]
    pub fn switched(&self) -> Option<Timestamp> {
        self.changed_by_now.or(self.link_changed)
    }

    /// The release of that id, if its directory is there.
    #[must_use]
    pub fn release(&self, id: &ReleaseId) -> Option<&ObservedRelease> {
        self.releases.iter().find(|release| &release.id == id)
    }
}

/// What stands at `ROOT/current`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "camelCase")]
pub enum Link {
    /// Nothing.
    Absent,
    /// A link to this release, by any spelling.
    Release {
        /// The release.
        id: ReleaseId,
    },
    /// A link to something that is not there.
    Dangling {
        /// The link's text.
        target: String,
    },
    /// A link to something that is no release of this root.
    Outside {
        /// The link's text.
        target: String,
    },
    /// A real directory or file: never replaced.
    NotALink {
        /// `directory` or `file`.
        what: String,
    },
}

impl std::fmt::Display for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Absent => f.write_str("absent"),
            Self::Release { id } => write!(f, "{id}"),
            Self::Dangling { target } => write!(f, "dangling ({target})"),
            Self::Outside { target } => write!(f, "outside releases/ ({target})"),
            Self::NotALink { what } => write!(f, "a real {what}"),
        }
    }
}

impl ObservedRelease {
    /// A release that has not been looked into.
    #[must_use]
    pub fn new(id: ReleaseId, inode: Inode, made: Option<Timestamp>) -> Self {
        Self { id, inode, made, empty: false, missing: Vec::new(), unlinked: Vec::new() }
    }
}

/// One directory in `releases/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservedRelease {
    /// Its name.
    pub id: ReleaseId,
    /// Device and inode of the directory.
    pub inode: Inode,
    /// When the directory was made; none where the file system does not tell.
    pub made: Option<Timestamp>,
    /// There is nothing in it. Looked at only for the desired release; false for the others.
    pub empty: bool,
    /// What `release.requires` names and it lacks. Looked at only for the desired release.
    pub missing: Vec<RelativePath>,
    /// Links of `shared` and `links` that it lacks. Looked at only for the desired release.
    pub unlinked: Vec<RelativePath>,
}

/// One worker group as its manager shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservedGroup {
    /// The group.
    pub group: GroupName,
    /// Its members, ordered by ordinal; for a manager with a fixed set, the stopped ones too.
    pub members: Result<Vec<Worker>, Unreadable>,
}

/// Why something could not be observed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unreadable {
    /// What happened, as a lower-case fragment.
    pub message: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// It knows no such thing, or does not let us see it: asking again as things are would fail again.
    #[serde(skip)]
    pub lasting: bool,
}

/// One member of a worker group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Worker {
    /// The manager's name for it.
    pub member: MemberName,
    /// Its place in the manager's own numbering; counting down takes the highest first.
    pub ordinal: u32,
    /// What the manager says of it.
    pub state: MemberState,
    /// The manager's own words about the state, such as `Exited too quickly`; may be empty.
    pub detail: String,
    /// Its process; none when it has none, or when that could not be identified.
    pub process: Option<ProcessId>,
    /// When the process started.
    pub started: Option<Timestamp>,
    /// Which release it runs, and how that is known.
    pub evidence: Evidence,
    /// Whether it comes back after a reboot; none where the manager has no such notion.
    pub enabled: Option<bool>,
    /// It was started with another command, environment or user than its group has now.
    pub outdated: bool,
}

/// What a manager says of one member, in one vocabulary for all managers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum MemberState {
    /// Up.
    Running,
    /// Has a process, but has not yet lasted as long as the manager wants.
    Starting,
    /// Has no process; the manager is about to start it again by itself.
    Backoff,
    /// Asked to stop, still alive.
    Stopping,
    /// Not running, on purpose.
    Stopped,
    /// Ended by itself.
    Exited,
    /// Given up by the manager.
    Failed,
    /// The manager does not know.
    Unknown,
}

impl MemberState {
    /// It has a process that does the work, or is about to.
    #[must_use]
    pub fn is_up(self) -> bool {
        matches!(self, Self::Running | Self::Starting)
    }

    /// Nothing runs and nothing will by itself: only a start brings it back.
    #[must_use]
    pub fn is_down(self) -> bool {
        matches!(self, Self::Stopped | Self::Exited | Self::Failed)
    }

    /// It will become something else by itself shortly.
    #[must_use]
    pub fn is_passing(self) -> bool {
        matches!(self, Self::Starting | Self::Backoff | Self::Stopping)
    }
}

impl std::fmt::Display for MemberState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Running => "running",
            Self::Starting => "starting",
            Self::Backoff => "backoff",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Exited => "exited",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
        })
    }
}

/// Which release a process runs, and how that is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Evidence {
    /// The finding.
    pub runs: Runs,
    /// The rung of the ladder that spoke; none when no rung did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rung: Option<Rung>,
    /// What was seen there, for people: `cwd /srv/app/releases/3`.
    pub seen: String,
}

impl Evidence {
    /// No rung spoke, and why.
    #[must_use]
    pub fn unknown(why: impl Into<String>) -> Self {
        Self { runs: Runs::Unknown, rung: None, seen: why.into() }
    }
}

/// Which release a process runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "finding", rename_all = "camelCase")]
pub enum Runs {
    /// This one.
    Release {
        /// The release.
        id: ReleaseId,
    },
    /// One whose directory has been deleted since: stale, even if a directory of that name is there again.
    Deleted {
        /// What the directory was called.
        id: ReleaseId,
    },
    /// The process and its children, or its rungs, name several: stale.
    Mixed {
        /// All that were named, ordered.
        ids: Vec<ReleaseId>,
    },
    /// It names none, and started before the link last changed: stale.
    BeforeSwitch,
    /// It names none, and a manager started it after the link last changed: it runs what the link names now.
    AfterSwitch,
    /// Nobody can tell: never fresh.
    Unknown,
}

/// Rung of the ladder of evidence; the first that names a release wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Rung {
    /// 1: the working directory.
    WorkingDirectory,
    /// 2: the entry script, open or on the command line.
    EntryScript,
    /// 3: the program file or a mapped file.
    Executable,
    /// 4: the start time against the link's last change.
    StartTime,
}

impl Rung {
    /// 1 to 4.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::WorkingDirectory => 1,
            Self::EntryScript => 2,
            Self::Executable => 3,
            Self::StartTime => 4,
        }
    }
}

impl std::fmt::Display for Rung {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = match self {
            Self::WorkingDirectory => "cwd",
            Self::EntryScript => "entry script",
            Self::Executable => "executable",
            Self::StartTime => "start time",
        };
        write!(f, "{} {name}", self.number())
    }
}

/// A process of this root's releases that no group owns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Stray {
    /// The process.
    pub process: ProcessId,
    /// Which release it runs and how it was found.
    pub evidence: Evidence,
    /// Its command line, for people.
    pub command: String,
    /// The group that left it behind, stopped gently whatever `strays` says: its supervisord died, or trueup itself
    /// started it for a group that the App no longer has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub orphan_of: Option<GroupName>,
    /// Why it is left alone even under `strays: stop`, in words: it may be somebody's work.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spared: Option<String>,
}

impl Stray {
    /// It is stopped under this policy.
    #[must_use]
    pub fn is_stopped(&self, policy: StrayPolicy) -> bool {
        self.orphan_of.is_some() || (policy == StrayPolicy::Stop && self.spared.is_none())
    }
}

/// One file of `restartOn`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservedConfig {
    /// Whose workers read it.
    pub group: GroupName,
    /// The file, relative to the root.
    pub path: RelativePath,
    /// Digest of its content; none inside when there is no such file.
    pub content: Known<Option<String>>,
    /// When the content was last written; none when there is no such file.
    pub modified: Option<Timestamp>,
    /// The content that was last made known to the group, if that was recorded.
    pub applied: Option<AppliedConfig>,
}
