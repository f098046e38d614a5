//! The processes by which a daemon answers requests, and how to know that all of them are new.
//!
//! A reload is done by the daemon itself, in its own time: the request for it comes back at once. What proves it
//! is that every process below the main one that was there before is gone. Begin at [`OldProcesses::below`].

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::{Instant, sleep, timeout_at};

use crate::host::signal::Handle;
use crate::host::{blocking, proc};
use crate::model::process::{Look, Pid, ProcessId, ProcessSummary, ProcessTable, START_GUARD};
use crate::ports::{HostError, HostErrorKind};

/// How long a daemon may do without any new process: one that starts them on demand has none for now. Long enough for one
/// that is executed anew on a busy machine, reads its configuration, and may end over it.
const SETTLE: Duration = Duration::from_secs(5);
/// How often new processes are looked for.
const LOOK: Duration = Duration::from_millis(20);
/// So many of those that are left stand in an error.
const NAMED: usize = 5;

/// When the oldest of the processes started that answer for `main`: of those below it, or itself where there is none.
pub(super) fn oldest(table: &ProcessTable, main: Pid) -> Option<Timestamp> {
    let below = table.descendants(main).into_iter().map(|process| process.started).min();
    below.or_else(|| table.get(main).map(|process| process.started))
}

/// All processes now, walked over on a thread that may block.
pub(super) async fn walk() -> Result<ProcessTable, HostError> {
    blocking(proc::walk).await?
}

/// The processes that a daemon is to be rid of.
#[derive(Debug)]
pub(super) struct OldProcesses {
    old: Vec<ProcessId>,
    /// When they were looked at; nothing older may be left.
    seen: Timestamp,
}

impl OldProcesses {
    /// Looks at what works below `main` now; to be called right before the daemon is asked to reload.
    ///
    /// # Errors
    /// It is gone, or `/proc` does not show it to us, so that nothing could be said afterwards.
    pub(super) async fn below(main: Pid) -> Result<Self, HostError> {
        let table = walk().await?;
        if table.get(main).is_none() {
            return Err(unseen(main).await);
        }
        let old = table.descendants(main).into_iter().map(|process| process.id).collect();
        Ok(Self { old, seen: Timestamp::now() })
    }

    /// The same and `main` itself: for a restart.
    ///
    /// # Errors
    /// As [`OldProcesses::below`].
    pub(super) async fn with(main: Pid) -> Result<Self, HostError> {
        let mut old_processes = Self::below(main).await?;
        old_processes.old.extend(proc::identify(main)?);
        Ok(old_processes)
    }

    /// Whether there was nobody below the main process.
    pub(super) fn is_empty(&self) -> bool {
        self.old.is_empty()
    }

    /// Returns when none of them is left, nor anything as old below `main`.
    ///
    /// # Errors
    /// `TimedOut`, with what is left at the deadline.
    pub(super) async fn see_gone(&self, main: Option<Pid>, deadline: Instant) -> Result<(), HostError> {
        loop {
            let table = walk().await?;
            let left = self.left(&table, main);
            let Some(first) = left.first() else { return Ok(()) };
            if Instant::now() >= deadline {
                return Err(still_there(&left));
            }
            if let Some(handle) = Handle::open(first.id)?
                && let Ok(ended) = timeout_at(deadline, handle.gone()).await
            {
                ended?;
            }
        }
    }

    fn left<'t>(&self, table: &'t ProcessTable, main: Option<Pid>) -> Vec<&'t ProcessSummary> {
        let held = table.processes.iter().filter(|process| !process.zombie && self.old.contains(&process.id));
        let below = main.map(|main| table.descendants(main)).unwrap_or_default();
        // Forked between the look and the request: as old as the others.
        let late = below
            .into_iter()
            .filter(|process| process.started.saturating_add(START_GUARD).is_ok_and(|at| at < self.seen));
        let mut left: Vec<&ProcessSummary> = held.chain(late).collect();
        left.sort_unstable_by_key(|process| process.id);
        left.dedup_by_key(|process| process.id);
        left
    }
}

/// Returns when a daemon whose processes have all gone has new ones, or can be taken to start them on demand.
pub(super) async fn see_new(main: Pid) -> Result<(), HostError> {
    let deadline = Instant::now() + SETTLE;
    while Instant::now() < deadline {
        let table = walk().await?;
        let gone = table.get(main).is_none_or(|process| process.zombie);
        if gone || !table.descendants(main).is_empty() {
            return Ok(());
        }
        sleep(LOOK).await;
    }
    Ok(())
}

async fn unseen(main: Pid) -> HostError {
    let look = tokio::task::spawn_blocking(move || proc::look(main)).await;
    if matches!(look, Ok(Look::Hidden)) {
        let message = format!("cannot see process {main}, so it could not be told whether its processes are new");
        return HostError::new(HostErrorKind::Denied, message)
            .with_help("run as root, or mount /proc without hidepid for this user");
    }
    HostError::new(HostErrorKind::Other, format!("the main process {main} has just ended"))
        .with_help("run again when it is back")
}

fn still_there(left: &[&ProcessSummary]) -> HostError {
    let name = |process: &&ProcessSummary| {
        let command = process.command.join(" ");
        format!("{} (`{}`, since {:.0})", process.id, command.trim(), process.started)
    };
    let mut names: Vec<String> = left.iter().take(NAMED).map(name).collect();
    if left.len() > NAMED {
        names.push(format!("{} more", left.len() - NAMED));
    }
    let message = format!("processes from before are still at work: {}", names.join(", "));
    HostError::new(HostErrorKind::TimedOut, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::process::{Known, StartTicks};

    fn process(pid: u32, parent: u32, started: i64, zombie: bool) -> ProcessSummary {
        ProcessSummary {
            id: ProcessId { pid: Pid(pid), start_ticks: StartTicks(u64::from(pid) * 100) },
            parent: Pid(parent),
            session: Pid(1),
            uid: 0,
            terminal: false,
            started: Timestamp::from_millisecond(started).unwrap(),
            zombie,
            command: vec!["php-fpm: pool www ".to_owned()],
            cwd: Known::Unknown(String::new()),
            executable: Known::Unknown(String::new()),
        }
    }

    fn table(processes: Vec<ProcessSummary>) -> ProcessTable {
        ProcessTable { processes }
    }

    #[test]
    fn the_oldest_is_below_the_main_process_where_there_is_any() {
        let at = |millis| Some(Timestamp::from_millisecond(millis).unwrap());
        let main = process(10, 1, 1_000, false);
        let rows = [
            (vec![main.clone()], at(1_000)),
            (vec![main.clone(), process(11, 10, 3_000, false), process(12, 10, 2_000, false)], at(2_000)),
            // A wrapper's child of a child answers, too.
            (vec![main.clone(), process(11, 10, 3_000, false), process(12, 11, 4_000, false)], at(3_000)),
            (vec![main.clone(), process(11, 10, 3_000, true)], at(1_000)),
            (vec![main, process(11, 1, 500, false)], at(1_000)),
            (vec![], None),
        ];
        for (processes, expected) in rows {
            assert_eq!(oldest(&table(processes.clone()), Pid(10)), expected, "{processes:?}");
        }
    }

    #[test]
    fn what_is_left_is_what_was_there_or_is_as_old() {
        let old_processes = OldProcesses {
            old: vec![process(11, 10, 0, false).id],
            seen: Timestamp::from_millisecond(10_000).unwrap(),
        };
        let main = process(10, 1, 1_000, false);
        let left = |processes: Vec<ProcessSummary>, main| -> Vec<u32> {
            old_processes.left(&table(processes), main).iter().map(|process| process.id.pid.0).collect()
        };
        let rows = [
            (vec![main.clone(), process(11, 10, 2_000, false)], vec![11]),
            // It is waited for even where it is no longer below.
            (vec![main.clone(), process(11, 1, 2_000, false)], vec![11]),
            (vec![main.clone(), process(11, 10, 2_000, true)], vec![]),
            // The number is another's by now.
            (
                vec![main.clone(), {
                    let mut other = process(11, 10, 10_500, false);
                    other.id.start_ticks = StartTicks(7);
                    other
                }],
                vec![],
            ),
            (vec![main.clone(), process(12, 10, 9_000, false)], vec![12]),
            (vec![main.clone(), process(12, 10, 10_100, false)], vec![]),
        ];
        for (processes, expected) in rows {
            assert_eq!(left(processes.clone(), Some(Pid(10))), expected, "{processes:?}");
        }
        assert_eq!(left(vec![process(12, 10, 9_000, false)], None), Vec::<u32>::new());
    }

    #[test]
    fn what_is_left_is_named() {
        let many: Vec<ProcessSummary> = (1..8).map(|pid| process(pid, 10, 0, false)).collect();
        let error = still_there(&many.iter().collect::<Vec<_>>());
        assert_eq!(error.kind, HostErrorKind::TimedOut);
        assert!(error.message.contains("pid 1 (`php-fpm: pool www`, since 1970-01-01T00:00:00Z)"), "{error}");
        assert!(error.message.ends_with(", 2 more"), "{error}");
    }

    #[tokio::test]
    async fn a_process_that_is_not_there_has_no_crew() {
        let error = OldProcesses::below(Pid(u32::MAX - 1)).await.unwrap_err();
        assert_eq!(error.kind, HostErrorKind::Other);
        assert!(error.message.contains("has just ended"), "{error}");
    }

    #[tokio::test]
    async fn those_that_do_not_go_are_told_at_the_deadline() {
        let mut child = tokio::process::Command::new("sleep").arg("60").spawn().unwrap();
        let own = Pid(std::process::id());
        let id = proc::identify(Pid(child.id().unwrap())).unwrap().unwrap();
        let old_processes = OldProcesses { old: vec![id], seen: Timestamp::UNIX_EPOCH };
        let error = old_processes.see_gone(Some(own), Instant::now() + Duration::from_millis(50)).await.unwrap_err();
        assert!(error.message.contains(&format!("pid {} (`sleep 60`", id.pid)), "{error}");
        child.start_kill().unwrap();
        old_processes.see_gone(Some(own), Instant::now() + Duration::from_secs(20)).await.unwrap();
    }
}
