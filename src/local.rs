//! The host that trueup runs on: every port wired to the room that does it.
//!
//! No decision is made here, and nothing is done that a room does not do.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use crate::health::{Finished, Probes, Runner};
use crate::host::command::{Job, Wanted, execute, user_of};
use crate::host::spawn::Shim;
use crate::host::{command, proc, signal};
use crate::ledger;
use crate::managers::Doors;
use crate::model::app::{App, CommandLine, Release};
use crate::model::health::{ProbeAnswer, ProbeFailure};
use crate::model::names::{MemberName, RelativePath, ReleaseId, Root};
use crate::model::observed::{Layout, Unreadable};
use crate::model::process::{Known, Look, Pid, ProcessId, ProcessTable};
use crate::model::record::{JournalEntry, Memory};
use crate::ports::{
    Clock, Commands, GroupOf, HostError, HostErrorKind, Ledger, Listed, Managers, Prober, Processes, Releases,
};
use crate::releases;

/// A lock is waited for this long before anybody is told.
const SILENT_WAIT: Duration = Duration::from_secs(1);

/// How long work that was told to stop may take to.
const STOPPING: Duration = Duration::from_secs(1);

/// More of a health command's answer than this is not read; the probe refuses what is longer than its own limit.
const ANSWER_LIMIT: u64 = (1 << 20) + 1;

/// The host that trueup runs on.
#[derive(Debug)]
pub struct LocalHost {
    shim: Shim,
    doors: Doors,
    probes: Probes<ProbeCommands>,
    /// What others read about us in the lock.
    command: String,
    /// Is told, in words, when a lock is waited for.
    waiting: fn(&str),
    /// Copies of the locks that are held, for steps to inherit.
    locks: Arc<Mutex<BTreeMap<Root, OwnedFd>>>,
}

impl LocalHost {
    /// Reaches nothing yet. `command` is what others read about the holder of a lock: `trueup reconcile`.
    #[must_use]
    pub fn new(command: impl Into<String>) -> Self {
        Self::with_shim(Shim::own(), command)
    }

    /// The same with another program as the shim, which must be trueup.
    #[must_use]
    pub fn with_shim(shim: Shim, command: impl Into<String>) -> Self {
        Self {
            doors: Doors::new(shim.clone()),
            probes: Probes::new(ProbeCommands { shim: shim.clone() }),
            shim,
            command: command.into(),
            waiting: |_| {},
            locks: Arc::default(),
        }
    }
}

impl LocalHost {
    /// The same, which tells `waiting` when a lock is waited for.
    #[must_use]
    pub fn telling(self, waiting: fn(&str)) -> Self {
        Self { waiting, ..self }
    }
}

/// Runs file-system work on a thread that may block.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, HostError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| HostError::new(HostErrorKind::Other, format!("work did not come to its end: {error}")))
}

impl Clock for LocalHost {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }

    /// On a thread of the runtime's own, the runtime could not end before the work does.
    async fn aside<T: Send + 'static>(
        &self,
        limit: Duration,
        work: impl FnOnce(&Arc<AtomicBool>) -> T + Send + 'static,
    ) -> Option<T> {
        let (stop, (done, mut answer)) = (Arc::new(AtomicBool::new(false)), tokio::sync::oneshot::channel());
        let asked = Arc::clone(&stop);
        let thread = std::thread::Builder::new().name("aside".to_owned());
        thread.spawn(move || done.send(work(&asked))).ok()?;
        if let Ok(answer) = tokio::time::timeout(limit, &mut answer).await {
            return answer.ok();
        }
        stop.store(true, Ordering::Relaxed);
        tokio::time::timeout(STOPPING, answer).await.ok()?.ok()
    }
}

impl Releases for LocalHost {
    async fn layout(&self, root: &Root, desired: &Release) -> Result<Layout, HostError> {
        releases::layout(root, desired).await
    }

    async fn make_root(&self, app: &App) -> Result<(), HostError> {
        releases::make_root(app).await
    }

    async fn fetch(&self, app: &App) -> Result<(), HostError> {
        releases::fetch(app).await
    }

    async fn switch(&self, root: &Root, to: &ReleaseId) -> Result<(), HostError> {
        releases::switch(root, to).await
    }

    async fn content(&self, root: &Root, path: &RelativePath) -> Known<Option<(String, Timestamp)>> {
        releases::content(root, path).await
    }
}

impl Processes for LocalHost {
    async fn walk(&self) -> Result<Arc<ProcessTable>, HostError> {
        blocking(proc::walk).await?.map(Arc::new)
    }

    async fn facts(&self, pid: Pid) -> Look {
        let looked = blocking(move || proc::look(pid)).await;
        looked.unwrap_or_else(|error| Look::Unreadable(Unreadable { message: error.message, help: error.help }))
    }

    fn own(&self) -> Pid {
        Pid(std::process::id())
    }

    async fn terminate(&self, process: ProcessId, grace: Duration) -> Result<(), HostError> {
        signal::terminate(process, grace).await
    }

    async fn boot(&self) -> String {
        blocking(proc::boot_id).await.unwrap_or_default()
    }
}

impl Managers for LocalHost {
    async fn list(&self, groups: &[GroupOf<'_>], table: &ProcessTable) -> Vec<Result<Vec<Listed>, HostError>> {
        self.doors.list(groups, table).await
    }

    async fn start(&self, of: GroupOf<'_>, member: &MemberName) -> Result<(), HostError> {
        self.doors.start(of, member).await
    }

    async fn replace(&self, of: GroupOf<'_>, member: &MemberName, process: Option<ProcessId>) -> Result<(), HostError> {
        self.doors.replace(of, member, process).await
    }

    async fn stop(&self, of: GroupOf<'_>, member: &MemberName) -> Result<(), HostError> {
        self.doors.stop(of, member).await
    }

    async fn enable(&self, of: GroupOf<'_>, member: &MemberName) -> Result<(), HostError> {
        self.doors.enable(of, member).await
    }
}

impl Prober for LocalHost {
    async fn probe(&self, app: &App) -> Result<ProbeAnswer, ProbeFailure> {
        self.probes.probe(app).await
    }
}

impl Commands for LocalHost {
    async fn run(&self, app: &App, command: &CommandLine, timeout: Duration) -> Result<(), HostError> {
        let lock = {
            let locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
            locks.get(&app.root).map(OwnedFd::try_clone).transpose()
        };
        let lock = lock.map_err(|error| HostError::io("cannot hand the lock to the step", &error))?;
        command::run(&self.shim, app, command, timeout, lock).await
    }
}

/// A lock that steps inherit while it is held.
#[derive(Debug)]
pub struct HeldLock {
    _lock: ledger::Lock,
    root: Root,
    locks: Arc<Mutex<BTreeMap<Root, OwnedFd>>>,
}

impl Drop for HeldLock {
    fn drop(&mut self) {
        self.locks.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.root);
    }
}

impl Ledger for LocalHost {
    type Lock = HeldLock;

    async fn lock(&self, root: &Root, wait: Duration) -> Result<HeldLock, HostError> {
        let silent = wait.min(SILENT_WAIT);
        let lock = match ledger::lock(root, silent, &self.command).await {
            Err(held) if held.kind == HostErrorKind::TimedOut && wait > silent => {
                (self.waiting)(&held.message);
                ledger::lock(root, wait.saturating_sub(silent), &self.command).await?
            }
            lock => lock?,
        };
        let copy = lock.try_clone().map_err(|error| HostError::io("cannot keep the lock", &error))?;
        self.locks.lock().unwrap_or_else(PoisonError::into_inner).insert(root.clone(), copy);
        Ok(HeldLock { _lock: lock, root: root.clone(), locks: Arc::clone(&self.locks) })
    }

    async fn journal(&self, root: &Root, entry: &JournalEntry) -> Result<(), HostError> {
        ledger::journal::append(root, entry)
    }

    async fn recall(&self, root: &Root) -> Memory {
        ledger::recall(root).await
    }

    async fn remember(&self, root: &Root, memory: &Memory) -> Result<(), HostError> {
        ledger::remember(root, memory).await
    }
}

/// Runs health commands as any other command of the App, but in `current` and without the lock.
#[derive(Debug)]
struct ProbeCommands {
    shim: Shim,
}

impl Runner for ProbeCommands {
    async fn finish(&self, app: &App, command: &CommandLine, timeout: Duration) -> Result<Finished, HostError> {
        let job = Job {
            command: command.clone(),
            directory: app.root.current(),
            user: user_of(app).await?,
            environment: BTreeMap::new(),
            timeout,
            lock: None,
            output: Wanted::Answer(ANSWER_LIMIT),
        };
        let ended = execute(&self.shim, job).await?;
        let code = ended.status.code().or_else(|| ended.status.signal().map(|signal| 128 + signal)).unwrap_or(-1);
        Ok(Finished { code, stdout: ended.output.into_bytes() })
    }
}
