//! The host that trueup runs on: every port wired to the room that does it.
//!
//! No decision is made here, and nothing is done that a room does not do.

mod doctor;
pub mod runtime;

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use jiff::Timestamp;

use crate::health::{Finished, Probes, Runner};
use crate::host::command::{Job, Wanted, execute, user_of};
use crate::host::shared::Shared;
use crate::host::spawn::Shim;
use crate::host::users::User;
use crate::host::witnesses::Informant;
use crate::host::{blocking, command, proc, signal, silence, steps};
use crate::ledger;
use crate::managers::HostManagers;
use crate::managers::sudoers::{Needed, spelled};
use crate::model::app::{App, CommandLine};
use crate::model::boot::Boot;
use crate::model::health::{ProbeAnswer, ProbeFailure};
use crate::model::inventory::Witness;
use crate::model::journal::JournalEntry;
use crate::model::memory::Memory;
use crate::model::names::{MemberName, RelativePath, ReleaseId, Root};
use crate::model::observed::Layout;
use crate::model::process::{Known, Look, Pid, ProcessId, ProcessTable};
use crate::model::record::ReleaseRecord;
use crate::model::release::Stage;
use crate::model::report::PassReport;
use crate::model::service::{ObservedService, Renewal, Service};
use crate::ports::{
    Clock, Commands, GoesOn, GroupOf, HostError, HostErrorKind, Inspection, Ledger, Listed, Managers, Prober,
    Processes, Releases, Services,
};
use crate::releases;

/// A lock is waited for this long before anybody is told.
const SILENT_WAIT: Duration = Duration::from_secs(1);

/// How long work that was told to stop may take to.
const STOPPING: Duration = Duration::from_secs(1);

/// More of a health command's answer than this is not read; the probe refuses what is longer than its own limit.
const ANSWER_LIMIT: u64 = (1 << 20) + 1;

/// Why nobody tells what a process runs that hides it from us.
const NOBODY_TO_ASK: &str = "what it runs is not shown to us";

/// The host that trueup runs on.
#[derive(Debug)]
pub struct LocalHost {
    shim: Shim,
    doors: HostManagers,
    probes: Probes<ProbeCommands>,
    /// What others read about us in the lock.
    command: String,
    /// Applications are asked how they are.
    asks: bool,
    /// Who sees what we may not; none: nobody, or we see everything.
    informant: Option<Informant>,
    /// Is told, in words, when a lock is waited for.
    waiting: Waiting,
    /// What to do about a lock that somebody else holds, in words of those who asked; none: in words for all.
    on_held: Option<&'static str>,
    /// Copies of the locks that are held, for steps to inherit.
    locks: Arc<Mutex<BTreeMap<Root, OwnedFd>>>,
    /// Walks over all processes.
    walks: Shared<Result<Arc<ProcessTable>, HostError>>,
}

/// Somebody to be told that a lock is waited for.
struct Waiting(Arc<dyn Fn(&str) + Send + Sync>);

impl std::fmt::Debug for Waiting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Waiting")
    }
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
            doors: HostManagers::new(shim.clone()),
            probes: Probes::new(ProbeCommands { shim: shim.clone() }),
            shim,
            command: command.into(),
            asks: true,
            informant: None,
            waiting: Waiting(Arc::new(|_| {})),
            on_held: None,
            locks: Arc::default(),
            walks: Shared::default(),
        }
    }
}

impl LocalHost {
    /// What was done over this root and why, oldest first, as far as the journal goes back.
    ///
    /// # Errors
    /// When it cannot be read; no journal is an empty one.
    pub async fn journaled(&self, root: &Root) -> Result<Vec<JournalEntry>, HostError> {
        let of = root.clone();
        silence::at(root, move || ledger::journal::read(&of)).await?
    }

    /// Adds to looks at roots who makes a pass over them meanwhile.
    pub async fn tell_who_is_at_work(&self, reports: &mut [PassReport]) {
        let told = reports.iter_mut().filter(|report| report.before.is_some());
        join_all(told.map(async |report| report.at_work = ledger::holder(&report.root).await.map(Box::new))).await;
    }

    /// Bytes on disk of each release; none where that could not be found out in this time.
    pub async fn sizes(&self, root: &Root, ids: &[ReleaseId], within: Duration) -> Vec<Option<u64>> {
        releases::sizes(root, ids, within).await
    }

    /// What is run by sudo for each group and service of an App where we may not do it ourselves.
    pub async fn sudo_commands(&self, app: &App) -> Vec<Needed> {
        self.doors.sudo_commands(app).await
    }

    /// A command as a sudoers line spells it.
    ///
    /// # Errors
    /// It cannot stand in one.
    pub fn spelled<'a>(&self, words: impl IntoIterator<Item = &'a std::path::Path>) -> Result<String, HostError> {
        spelled(words)
    }

    /// The user of that name; without one, the App's.
    ///
    /// # Errors
    /// There is no such user.
    pub async fn user(&self, name: Option<&str>, app: &App) -> Result<User, HostError> {
        let (name, app) = (name.map(str::to_owned), app.clone());
        blocking(move || name.map_or_else(|| User::of(&app), |name| User::named(&name))).await?
    }

    /// The lock of the root, for a command to hold for as long as it lives; an error where it keeps nobody out any
    /// more, so that whatever cannot be taken back asks for it first.
    async fn lock_of(&self, root: &Root) -> Result<Option<OwnedFd>, HostError> {
        let lock = {
            let locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
            locks.get(root).map(OwnedFd::try_clone).transpose()
        };
        let lock = lock.map_err(|error| HostError::io("cannot hand the lock to the step", &error))?;
        let Some(lock) = lock else { return Ok(None) };
        let of = root.clone();
        silence::at(root, move || ledger::confirm(&of, lock.as_fd()).map(|()| Some(lock))).await?
    }

    /// The same, which asks by sudo what processes of other users run, as far as these manifests speak of them; they
    /// are given by their full paths, behind what this host is called, as in the rule that `trueup sudoers` prints.
    #[must_use]
    pub fn of_manifests(self, manifests: &[PathBuf]) -> Self {
        Self { informant: Informant::by_sudo(manifests), ..self }
    }

    /// The same, to look at it for manifests that nobody has approved: nothing of them is run, no address in them is
    /// connected to, and no file that they name is sent anywhere.
    #[must_use]
    pub fn of_unapproved(self) -> Self {
        Self { asks: false, doors: self.doors.of_unapproved(), ..self }
    }

    /// The same, which tells `waiting` when a lock is waited for.
    #[must_use]
    pub fn telling(self, waiting: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self { waiting: Waiting(Arc::new(waiting)), ..self }
    }

    /// The same, which advises this where somebody else holds a lock for longer than it is waited for.
    #[must_use]
    pub fn advising(self, on_held: &'static str) -> Self {
        Self { on_held: Some(on_held), ..self }
    }
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
    async fn layout(&self, app: &App) -> Result<Layout, HostError> {
        releases::layout(&app.root, app.release.source.is_some()).await
    }

    async fn inspect(&self, app: &App) -> Result<Inspection, HostError> {
        releases::inspect(app).await
    }

    async fn make_root(&self, app: &App) -> Result<(), HostError> {
        releases::make_root(app).await
    }

    async fn fetch(&self, app: &App) -> Result<Option<String>, HostError> {
        releases::fetch(&self.shim, app, self.lock_of(&app.root).await?).await
    }

    async fn link(&self, app: &App) -> Result<(), HostError> {
        self.lock_of(&app.root).await?;
        releases::link(app).await
    }

    async fn settle(&self, root: &Root) -> Result<(), HostError> {
        releases::settle(root).await
    }

    async fn remove(&self, root: &Root, id: &ReleaseId) -> Result<(), HostError> {
        self.lock_of(root).await?;
        releases::remove(root, id).await
    }

    async fn sweep(&self, root: &Root) -> Result<(), HostError> {
        releases::sweep(root).await
    }

    async fn switch(&self, root: &Root, to: &ReleaseId) -> Result<(), HostError> {
        self.lock_of(root).await?;
        releases::switch(root, to).await
    }

    async fn content(&self, root: &Root, path: &RelativePath) -> Known<Option<(String, Timestamp)>> {
        releases::content(root, path).await
    }
}

impl Processes for LocalHost {
    async fn walk(&self) -> Result<Arc<ProcessTable>, HostError> {
        self.walks.look(async || blocking(proc::walk).await?.map(Arc::new)).await
    }

    async fn facts(&self, pid: Pid) -> Look {
        let looked = blocking(move || proc::look(pid)).await;
        looked.unwrap_or_else(|error| Look::Unreadable(error.into_unreadable()))
    }

    async fn is_elsewhere(&self, root: &Root, pid: Pid, directory: &Path) -> bool {
        let directory = directory.to_owned();
        silence::at(root, move || proc::is_elsewhere(pid, &directory)).await.unwrap_or(false)
    }

    async fn witnesses(&self, apps: &[&App]) -> Vec<Result<Vec<Witness>, HostError>> {
        match &self.informant {
            Some(informant) => informant.ask(apps).await,
            None => apps.iter().map(|_| Err(HostError::new(HostErrorKind::Denied, NOBODY_TO_ASK))).collect(),
        }
    }

    async fn user(&self, app: &App) -> Result<u32, HostError> {
        user_of(app).await.map(|user| user.uid)
    }

    fn own(&self) -> Pid {
        Pid(std::process::id())
    }

    async fn terminate(&self, process: ProcessId, grace: Duration) -> Result<(), HostError> {
        signal::terminate(process, grace).await
    }

    async fn boot(&self) -> Boot {
        // A few bytes from the kernel: not worth a thread.
        proc::boot()
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

impl Services for LocalHost {
    async fn services(&self, apps: &[&App], table: &ProcessTable) -> Vec<Vec<ObservedService>> {
        self.doors.services(apps, table).await
    }

    async fn renew(&self, app: &App, service: &Service, how: Renewal) -> Result<(), HostError> {
        self.doors.renew(app, service, how).await
    }
}

impl Prober for LocalHost {
    fn asks(&self) -> bool {
        self.asks
    }

    async fn probe(&self, app: &App) -> Result<ProbeAnswer, ProbeFailure> {
        if !self.asks {
            return Err(ProbeFailure { message: "it is not asked".to_owned() });
        }
        self.probes.probe(app).await
    }
}

impl Commands for LocalHost {
    async fn run(&self, app: &App, command: &CommandLine, timeout: Duration) -> Result<(), HostError> {
        command::run(&self.shim, app, command, timeout, self.lock_of(&app.root).await?).await
    }

    async fn steps(
        &self,
        app: &App,
        stage: Stage,
        previous: Option<&ReleaseId>,
        goes_on: GoesOn<'_>,
    ) -> Result<(), HostError> {
        steps::steps(&self.shim, app, stage, previous, self.lock_of(&app.root).await?, goes_on).await
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
            Err(held) if held.kind == HostErrorKind::Locked && wait > silent => {
                (self.waiting.0)(&held.message);
                ledger::lock(root, wait.saturating_sub(silent), &self.command).await
            }
            lock => lock,
        };
        let lock = lock.map_err(|error| match self.on_held {
            Some(help) if error.kind == HostErrorKind::Locked => error.with_help(help),
            _ => error,
        })?;
        let copy = lock.try_clone().map_err(|error| HostError::io("cannot keep the lock", &error))?;
        self.locks.lock().unwrap_or_else(PoisonError::into_inner).insert(root.clone(), copy);
        Ok(HeldLock { _lock: lock, root: root.clone(), locks: Arc::clone(&self.locks) })
    }

    async fn journal(&self, root: &Root, entry: &JournalEntry) -> Result<(), HostError> {
        // A few bytes: not worth a thread.
        ledger::journal::append(root, entry)
    }

    async fn recall(&self, root: &Root) -> Result<Memory, HostError> {
        ledger::recall(root).await
    }

    async fn remember(&self, root: &Root, memory: &Memory) -> Result<(), HostError> {
        ledger::remember(root, memory).await
    }

    async fn records(&self, root: &Root) -> Result<Vec<ReleaseRecord>, HostError> {
        ledger::records(root).await
    }

    async fn record(&self, root: &Root, record: &ReleaseRecord) -> Result<(), HostError> {
        ledger::record(root, record).await
    }

    async fn forget(&self, root: &Root, id: &ReleaseId) -> Result<(), HostError> {
        ledger::forget(root, id).await
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
