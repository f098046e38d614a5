//! Shows a [`World`] through the ports, with the blind spots and bad habits of a real host.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::Notify;

use super::faults::{Call, Fault};
use super::world::{Process, Shows, World};
use crate::model::action::Action;
use crate::model::app::App;
use crate::model::boot::Boot;
use crate::model::health::{ProbeAnswer, ProbeFailure};
use crate::model::inventory::Witness;
use crate::model::journal::JournalEntry;
use crate::model::memory::Memory;
use crate::model::names::{ReleaseId, Root};
use crate::model::observed::{Evidence, Rung, Runs};
use crate::model::process::{Known, Look, Pid, Place, ProcessFacts, ProcessId, ProcessSummary, ProcessTable};
use crate::model::record::ReleaseRecord;
use crate::ports::{Clock, HostError, HostErrorKind, Ledger, Prober, Processes};

/// A handle on the world; what trueup sees.
#[derive(Clone)]
pub struct SimHost {
    world: Arc<Mutex<World>>,
    began: (tokio::time::Instant, Timestamp),
    crash: Arc<Notify>,
}

impl SimHost {
    /// Must be made inside a runtime with a paused clock: its time is the world's.
    pub fn new(world: World) -> Self {
        let now = world.now;
        Self {
            world: Arc::new(Mutex::new(world)),
            began: (tokio::time::Instant::now(), now),
            crash: Arc::new(Notify::new()),
        }
    }

    /// The world as it is now.
    pub fn world(&self) -> MutexGuard<'_, World> {
        let passed = SignedDuration::try_from(self.began.0.elapsed()).unwrap();
        let mut world = self.world.lock().unwrap();
        world.advance(self.began.1 + passed);
        world
    }

    /// Returns when trueup is killed.
    pub async fn crashed(&self) {
        self.crash.notified().await;
    }

    /// What happens to this call before its effect.
    pub(super) async fn before(&self, call: Call) -> Result<Option<Fault>, HostError> {
        let lasts = self.world().lasts.get(&call).copied();
        if let Some(lasts) = lasts {
            tokio::time::sleep(lasts).await;
        }
        if self.world().refused.contains(&call) {
            return Err(failure(call, "failed"));
        }
        let fault = self.world().faults.meet(call);
        match fault {
            Some(Fault::CrashBefore) => self.die().await,
            Some(Fault::ErrorBefore) => Err(failure(call, "failed")),
            Some(Fault::Slow) => {
                tokio::time::sleep(Duration::from_secs(3)).await;
                Ok(fault)
            }
            _ => Ok(fault),
        }
    }

    /// What happens to it after its effect.
    pub(super) async fn after(&self, call: Call, fault: Option<Fault>) -> Result<(), HostError> {
        match fault {
            Some(Fault::CrashAfter) => self.die().await,
            Some(Fault::ErrorAfter) => Err(failure(call, "was done, but the answer got lost")),
            _ => Ok(()),
        }
    }

    pub(super) async fn die<T>(&self) -> T {
        self.world().crashed = true;
        self.crash.notify_one();
        std::future::pending().await
    }
}

fn failure(call: Call, what: &str) -> HostError {
    HostError::new(HostErrorKind::Other, format!("{call:?} {what}"))
}

impl Clock for SimHost {
    fn now(&self) -> Timestamp {
        self.world().clock()
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

impl SimHost {
    fn summary(world: &World, process: &Process) -> ProcessSummary {
        let root = world.app.root.path();
        let release = world.app.root.release(&process.runs);
        let hidden = matches!(process.shows, Shows::Silent | Shows::Stranger);
        let place = |path: PathBuf| {
            if hidden {
                Known::Unknown("not permitted".to_owned())
            } else {
                Known::Known(Place { path, deleted: false, inode: None })
            }
        };
        let cwd = if process.shows == Shows::WorkingDirectory { release.clone() } else { PathBuf::from("/") };
        let program = if process.shows == Shows::Executable { release.join("worker") } else { "/usr/bin/php".into() };
        ProcessSummary {
            id: process.id,
            parent: process.parent,
            session: process.id.pid,
            uid: 33,
            terminal: false,
            started: process.seen_started,
            zombie: false,
            command: vec!["php".to_owned(), root.join("current/artisan").display().to_string()],
            cwd: place(cwd),
            executable: place(program),
        }
    }

    fn supervisord(world: &World) -> ProcessSummary {
        let started = world.clock() - SignedDuration::from_secs(5000);
        let nowhere = || Known::Known(Place { path: "/".into(), deleted: false, inode: None });
        ProcessSummary {
            id: ProcessId { pid: Pid(2), start_ticks: crate::model::process::StartTicks(1) },
            parent: Pid(1),
            session: Pid(2),
            uid: 0,
            terminal: false,
            started,
            zombie: false,
            command: vec!["/usr/bin/python3".to_owned(), "/usr/bin/supervisord".to_owned()],
            cwd: nowhere(),
            executable: nowhere(),
        }
    }
}

impl Processes for SimHost {
    async fn walk(&self) -> Result<Arc<ProcessTable>, HostError> {
        self.before(Call::Walk).await?;
        let world = self.world();
        let shown = world.processes.values().filter(|process| process.shows != Shows::Hidden);
        let mut processes: Vec<ProcessSummary> = shown.map(|process| Self::summary(&world, process)).collect();
        processes.push(Self::supervisord(&world));
        processes.sort_by_key(|process| process.id.pid);
        Ok(Arc::new(ProcessTable { processes }))
    }

    async fn facts(&self, pid: Pid) -> Look {
        // Cannot fail, but can be the last thing that trueup does.
        let _ = self.before(Call::Facts).await;
        let world = self.world();
        let Some(process) = world.processes.get(&pid) else { return Look::Gone };
        if process.shows == Shows::Hidden {
            return Look::Hidden;
        }
        let script = world.app.root.release(&process.runs).join("artisan");
        let open = if process.shows == Shows::EntryScript {
            vec![Place { path: script, deleted: false, inode: None }]
        } else {
            Vec::new()
        };
        // What supervisord starts inherits these, and what that starts in turn.
        let environment = process.owner.as_ref().filter(|_| process.parent == Pid(1)).map(|_| {
            vec![
                ("SUPERVISOR_GROUP_NAME".to_owned(), "web".to_owned()),
                ("SUPERVISOR_PROCESS_NAME".to_owned(), "web_00".to_owned()),
            ]
        });
        Look::Seen(Box::new(ProcessFacts {
            summary: Self::summary(&world, process),
            open_files: Known::Known(open),
            mapped_files: Known::Known(Vec::new()),
            environment: Known::Known(environment.unwrap_or_default()),
        }))
    }

    async fn is_elsewhere(&self, _root: &Root, _pid: Pid, _directory: &Path) -> bool {
        // This world has no containers.
        false
    }

    async fn witnesses(&self, apps: &[&App]) -> Vec<Result<Vec<Witness>, HostError>> {
        let asked = self.before(Call::Witnesses).await;
        let world = self.world();
        let strangers = world.processes.values().filter(|process| process.shows == Shows::Stranger);
        let told: Vec<Witness> = strangers
            .map(|process| Witness {
                process: process.id,
                uid: 33,
                evidence: Evidence {
                    runs: Runs::Release { id: process.runs.clone() },
                    rung: Some(Rung::EntryScript),
                    seen: "open file".to_owned(),
                },
            })
            .collect();
        apps.iter().map(|_| asked.clone().map(|_| told.clone())).collect()
    }

    async fn user(&self, app: &App) -> Result<u32, HostError> {
        match &app.user {
            Some(user) if user.as_str() == "deplyo" => {
                Err(HostError::new(HostErrorKind::Misconfigured, format!("there is no user `{user}`")))
            }
            _ => Ok(33),
        }
    }

    fn own(&self) -> Pid {
        self.world().own
    }

    async fn terminate(&self, process: ProcessId, grace: Duration) -> Result<(), HostError> {
        let fault = self.before(Call::StopStray).await?;
        if fault == Some(Fault::Lie) {
            return Ok(());
        }
        {
            let mut world = self.world();
            world.check_action("stopping a stray", |action| *action == Action::StopStray { process });
            let ends = world.after(grace.min(Duration::from_secs(2)));
            if let Some(stray) = world.processes.get_mut(&process.pid).filter(|one| one.id == process) {
                stray.ends = Some(ends);
                if !stray.orphan {
                    world.violation(format!("{process} is no stray and is stopped"));
                }
            }
        }
        if fault != Some(Fault::CrashAfter) {
            self.until_gone(process.pid, process).await;
        }
        self.after(Call::StopStray, fault).await
    }

    async fn boot(&self) -> Boot {
        Boot { id: "boot".to_owned(), at: Timestamp::UNIX_EPOCH + self.world().ahead }
    }
}

impl Prober for SimHost {
    async fn probe(&self, _: &App) -> Result<ProbeAnswer, ProbeFailure> {
        if let Err(error) = self.before(Call::Probe).await {
            return Err(ProbeFailure { message: error.message });
        }
        let mut world = self.world();
        let mood = world.moods.pop_front();
        let status = if mood.unwrap_or_else(|| world.is_healthy()) { 200 } else { 500 };
        Ok(ProbeAnswer {
            status: Some(status),
            headers: std::collections::BTreeMap::new(),
            body: serde_json::Value::Null,
            latency: Duration::from_millis(5),
            age: None,
        })
    }
}

/// Counts its holder for as long as it lives.
pub struct SimLock(Arc<Mutex<World>>);

impl Drop for SimLock {
    fn drop(&mut self) {
        self.0.lock().unwrap().lock_holders -= 1;
    }
}

impl Ledger for SimHost {
    type Lock = SimLock;

    async fn lock(&self, root: &Root, wait: Duration) -> Result<SimLock, HostError> {
        if self.world().silent.contains(root) {
            std::future::pending::<()>().await;
        }
        let fault = self.before(Call::Lock).await?;
        let deadline = tokio::time::Instant::now() + wait;
        while self.world().lock_holders > 0 && tokio::time::Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let lock = {
            let mut world = self.world();
            if world.lock_holders > 0 {
                return Err(HostError::new(HostErrorKind::Locked, "held by another"));
            }
            world.lock_holders += 1;
            SimLock(self.world.clone())
        };
        self.after(Call::Lock, fault).await?;
        Ok(lock)
    }

    async fn journal(&self, _: &Root, entry: &JournalEntry) -> Result<(), HostError> {
        let fault = match self.before(Call::Journal).await {
            Ok(fault) => fault,
            Err(error) => {
                self.world().journal_failed = true;
                return Err(error);
            }
        };
        {
            let mut world = self.world();
            world.check_change("a line in the journal");
            world.journal.push(entry.clone());
        }
        self.after(Call::Journal, fault).await
    }

    async fn recall(&self, _: &Root) -> Result<Memory, HostError> {
        self.before(Call::Recall).await?;
        Ok(self.world().memory.clone())
    }

    async fn records(&self, _: &Root) -> Result<Vec<ReleaseRecord>, HostError> {
        Ok(self.world().records.values().cloned().collect())
    }

    async fn record(&self, _: &Root, record: &ReleaseRecord) -> Result<(), HostError> {
        let fault = self.before(Call::Record).await?;
        {
            let mut world = self.world();
            world.check_change("a record");
            world.check_record(record);
            world.records.insert(record.id.clone(), record.clone());
        }
        self.after(Call::Record, fault).await
    }

    async fn forget(&self, _: &Root, id: &ReleaseId) -> Result<(), HostError> {
        let mut world = self.world();
        world.check_change("forgetting a record");
        world.records.remove(id);
        Ok(())
    }

    async fn remember(&self, _: &Root, memory: &Memory) -> Result<(), HostError> {
        let fault = self.before(Call::Remember).await?;
        {
            let mut world = self.world();
            world.check_change("the memory");
            world.memory = memory.clone();
        }
        self.after(Call::Remember, fault).await
    }
}
