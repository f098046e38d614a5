//! The traits between deciding and doing.
//!
//! The engine and the observers know a host only through these; the real host
//! and the simulated one implement the same. Every method says what it promises
//! when it is called twice, because after a crash it will be.

mod error;
pub mod notes;

use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use jiff::Timestamp;

use crate::model::app::{App, CommandLine, WorkerGroup};
use crate::model::boot::Boot;
use crate::model::health::{ProbeAnswer, ProbeFailure};
use crate::model::inventory::Witness;
use crate::model::journal::JournalEntry;
use crate::model::memory::Memory;
use crate::model::names::{MemberName, RelativePath, ReleaseId, Root};
use crate::model::observed::{Layout, MemberState};
use crate::model::process::{Known, Look, Pid, ProcessId, ProcessTable};
use crate::model::record::ReleaseRecord;
use crate::model::release::Stage;
use crate::model::service::{ObservedService, Renewal, Service};

pub use self::error::{HostError, HostErrorKind, is_hindrance};

/// Time.
pub trait Clock: Send + Sync {
    /// The wall clock.
    fn now(&self) -> Timestamp;
    /// Waits.
    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send;
    /// Does work that may take long without holding anything else up. After `limit` it is told to stop; none
    /// when it does not, and is given up.
    fn aside<T: Send + 'static>(
        &self,
        _limit: Duration,
        work: impl FnOnce(&Arc<AtomicBool>) -> T + Send + 'static,
    ) -> impl Future<Output = Option<T>> + Send {
        async move { Some(work(&Arc::default())) }
    }
}

/// The release directories and the link.
pub trait Releases: Send + Sync {
    /// Reads the link and `releases/`.
    ///
    /// A root that does not exist has nothing in it where the release has a source, else it is an error.
    fn layout(&self, app: &App) -> impl Future<Output = Result<Layout, HostError>> + Send;

    /// Makes the root where the App's release has a source that can fill it; nothing else makes one.
    fn make_root(&self, app: &App) -> impl Future<Output = Result<(), HostError>> + Send;

    /// Brings the files of the App's release from its source into `releases/ID`, where nothing is left of what
    /// was there before; they belong to the App's user. Returns what it was made of. Until the record
    /// says otherwise, what is there is half a release.
    fn fetch(&self, app: &App) -> impl Future<Output = Result<Option<String>, HostError>> + Send;

    /// Makes `current` lead to `to`: readers see the old target or the new one, and after the
    /// return a power cut keeps the new one. Refuses to replace anything that is no link.
    fn switch(&self, root: &Root, to: &ReleaseId) -> impl Future<Output = Result<(), HostError>> + Send;

    /// What the App's release lacks: of its own, of `requires`, of its links. Asked for a release that is there.
    fn inspect(&self, app: &App) -> impl Future<Output = Result<Inspection, HostError>> + Send;

    /// Links what is shared into the App's release, and the release's own links. What the release itself
    /// brought in their place moves to `shared/` the first time, and is put aside where that is taken already.
    fn link(&self, app: &App) -> impl Future<Output = Result<(), HostError>> + Send;

    /// Returns when all that was written below the root is on disk.
    fn settle(&self, root: &Root) -> impl Future<Output = Result<(), HostError>> + Send;

    /// Removes one release: it has no name in `releases/` any more before the first of its files goes.
    /// One that is not there is success.
    fn remove(&self, root: &Root, id: &ReleaseId) -> impl Future<Output = Result<(), HostError>> + Send;

    /// Removes what is left of removals that were killed or refused; it has no name that anybody looks for any more.
    fn sweep(&self, root: &Root) -> impl Future<Output = Result<(), HostError>> + Send;

    /// Digest and time of last writing of a file below the root; none inside when it is absent.
    fn content(
        &self,
        root: &Root,
        path: &RelativePath,
    ) -> impl Future<Output = Known<Option<(String, Timestamp)>>> + Send;
}

/// Processes.
pub trait Processes: Send + Sync {
    /// Walks over all processes once.
    fn walk(&self) -> impl Future<Output = Result<Arc<ProcessTable>, HostError>> + Send;

    /// Everything that can be read of one process now.
    fn facts(&self, pid: Pid) -> impl Future<Output = Look> + Send;

    /// Whether a process has mounts of its own, and another directory, or none, where `directory` is here: a container
    /// may have the same paths. No, when that cannot be told in time, as on a dead mount. `root`: whose directory it
    /// is.
    fn is_elsewhere(&self, root: &Root, pid: Pid, directory: &Path) -> impl Future<Output = bool> + Send;

    /// What somebody who may see every process says of those that name a release of these Apps' roots, whoever
    /// owns them; in the order of the Apps. To be asked where a process shows us less: it costs a process of its own.
    fn witnesses(&self, apps: &[&App]) -> impl Future<Output = Vec<Result<Vec<Witness>, HostError>>> + Send;

    /// The number of the App's user.
    ///
    /// # Errors
    /// [`HostErrorKind::Misconfigured`] when there is no such user; else nobody can tell.
    fn user(&self, app: &App) -> impl Future<Output = Result<u32, HostError>> + Send;

    /// The process that looks: neither it nor its ancestors are strays.
    fn own(&self) -> Pid;

    /// Asks a process to end, kills it after `grace`; returns when it is gone.
    /// A process that is gone already, or whose number is used by another one, is success.
    fn terminate(&self, process: ProcessId, grace: Duration) -> impl Future<Output = Result<(), HostError>> + Send;

    /// This boot of the machine, by the clock as it goes now; start ticks of two boots do not compare.
    fn boot(&self) -> impl Future<Output = Boot> + Send;
}

/// One App's group, to be asked for.
#[derive(Debug, Clone, Copy)]
pub struct GroupOf<'a> {
    /// The App.
    pub app: &'a App,
    /// One of its groups.
    pub group: &'a WorkerGroup,
}

/// One member as its manager lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The manager's name for it.
    pub member: MemberName,
    /// Its place in the manager's numbering.
    pub ordinal: u32,
    /// What the manager says of it.
    pub state: MemberState,
    /// The manager's own words; may be empty.
    pub detail: String,
    /// Its main process.
    pub pid: Option<Pid>,
    /// When the manager says it started: from, and how coarse that is.
    /// Only used where `/proc` does not tell.
    pub started: Option<(Timestamp, Duration)>,
    /// Whether it comes back after a reboot; none where the manager has no such notion.
    pub enabled: Option<bool>,
    /// Its process was started with another command, environment or user than its group has now.
    pub outdated: bool,
}

/// Who runs the workers: supervisord, systemd, or trueup itself.
pub trait Managers: Send + Sync {
    /// Lists the members of all these groups, each daemon being asked once.
    /// The answers are in the order of the groups. A group that could not be read is an error,
    /// never an empty list.
    fn list(
        &self,
        groups: &[GroupOf<'_>],
        table: &ProcessTable,
    ) -> impl Future<Output = Vec<Result<Vec<Listed>, HostError>>> + Send;

    /// Starts one member and returns when it runs; one that runs already is left alone.
    /// One that is being stopped is waited for first.
    fn start(&self, of: GroupOf<'_>, member: &MemberName) -> impl Future<Output = Result<(), HostError>> + Send;

    /// Replaces `process` of one member by a successor and returns when that runs: asked gently,
    /// killed after the group's stop timeout, its descendants with it. Where the member's process is
    /// no longer `process`, that has happened already and nothing is done but to see it run.
    fn replace(
        &self,
        of: GroupOf<'_>,
        member: &MemberName,
        process: Option<ProcessId>,
    ) -> impl Future<Output = Result<(), HostError>> + Send;

    /// Stops one member for good (a reboot does not bring it back, where the manager has the notion)
    /// and returns when nothing of it runs. One that is stopped already is success.
    fn stop(&self, of: GroupOf<'_>, member: &MemberName) -> impl Future<Output = Result<(), HostError>> + Send;

    /// Makes a member come back after a reboot.
    fn enable(&self, of: GroupOf<'_>, member: &MemberName) -> impl Future<Output = Result<(), HostError>> + Send;
}

/// Asks applications how they are.
pub trait Prober: Send + Sync {
    /// Whether Apps are asked at all; where they are not, a snapshot says nothing of their health.
    fn asks(&self) -> bool {
        true
    }

    /// Probes once, within the contract's timeout. An App without a contract is never asked.
    fn probe(&self, app: &App) -> impl Future<Output = Result<ProbeAnswer, ProbeFailure>> + Send;
}

/// What a release lacks.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Inspection {
    /// There is nothing in it.
    pub empty: bool,
    /// What `requires` names and it has not.
    pub missing: Vec<RelativePath>,
    /// Links of `shared` and `links` that are not there or lead elsewhere.
    pub unlinked: Vec<RelativePath>,
}

/// The daemons that serve the release.
pub trait Services: Send + Sync {
    /// Looks at the services of these Apps, at each once; the answers are in their order.
    fn services(&self, apps: &[&App], table: &ProcessTable) -> impl Future<Output = Vec<Vec<ObservedService>>> + Send;

    /// Reloads or restarts a service and returns when that has really happened: when its processes are new.
    fn renew(&self, app: &App, service: &Service, how: Renewal) -> impl Future<Output = Result<(), HostError>> + Send;
}

/// Asked between two commands whether the next one may begin.
pub type GoesOn<'a> = &'a (dyn Fn() -> bool + Send + Sync);

/// Runs the App's own commands.
pub trait Commands: Send + Sync {
    /// Runs the steps of one stage of the App's release, one after the other, each as its user, with
    /// `RELEASE_ID`, `RELEASE_PATH`, `ROOT`, `APP` and, where there is one, `PREVIOUS_RELEASE` in its environment;
    /// their output goes to the release's log. The first that fails or takes too long is the error, with
    /// the last lines of its output. `goes_on` is asked before each: where it says no, the rest is not begun, and that
    /// is [`HostErrorKind::Interrupted`].
    fn steps(
        &self,
        app: &App,
        stage: Stage,
        previous: Option<&ReleaseId>,
        goes_on: GoesOn<'_>,
    ) -> impl Future<Output = Result<(), HostError>> + Send;

    /// Runs a command in the release's directory as the App's user, with `RELEASE_ID` and
    /// `RELEASE_PATH` in its environment; an exit code other than 0 is an error with its last output.
    fn run(
        &self,
        app: &App,
        command: &CommandLine,
        timeout: Duration,
    ) -> impl Future<Output = Result<(), HostError>> + Send;
}

/// What is kept under `ROOT/.trueup/`.
pub trait Ledger: Send + Sync {
    /// Holding it keeps every other pass over this root out; dropping it lets them in.
    type Lock: Send + Sync;

    /// Takes the lock, waiting for at most `wait`; the error names the holder's pid and since when.
    fn lock(&self, root: &Root, wait: Duration) -> impl Future<Output = Result<Self::Lock, HostError>> + Send;

    /// Adds one line to the journal.
    fn journal(&self, root: &Root, entry: &JournalEntry) -> impl Future<Output = Result<(), HostError>> + Send;

    /// Reads what is remembered; nothing there, or nothing that makes sense, is the empty memory. One that may be there
    /// and cannot be read is an error: somebody may have suspended the App.
    fn recall(&self, root: &Root) -> impl Future<Output = Result<Memory, HostError>> + Send;

    /// The records of all releases, ordered by id. One that cannot be read is an error: half a release must
    /// not be taken for a whole one.
    fn records(&self, root: &Root) -> impl Future<Output = Result<Vec<ReleaseRecord>, HostError>> + Send;

    /// Replaces the record of one release, atomically; on disk when it returns.
    fn record(&self, root: &Root, record: &ReleaseRecord) -> impl Future<Output = Result<(), HostError>> + Send;

    /// Removes the record of one release; one that is not there is success.
    fn forget(&self, root: &Root, id: &ReleaseId) -> impl Future<Output = Result<(), HostError>> + Send;

    /// Replaces what is remembered, atomically.
    fn remember(&self, root: &Root, memory: &Memory) -> impl Future<Output = Result<(), HostError>> + Send;
}

/// A whole host.
pub trait Host: Clock + Releases + Processes + Managers + Services + Prober + Commands + Ledger {}

impl<T: Clock + Releases + Processes + Managers + Services + Prober + Commands + Ledger> Host for T {}
