//! One worker's process with everything below it, held by pidfds so that a signal never hits a stranger.
//!
//! A worker may be a wrapper (`sh -c`) that dies and leaves its child working on the old release. supervisord
//! makes each worker the leader of a process group, and the kernel does not give a group's number away while
//! it has members; so what is forked between the walk over `/proc` and the end of the worker is found too.

use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::{Instant, timeout_at};

use crate::host::blocking;
use crate::host::proc::unreadable;
use crate::model::process::{Pid, ProcessId, StartTicks};
use crate::ports::{HostError, HostErrorKind};

/// How long a killed process may take to be gone.
pub(super) const KILL_GRACE: Duration = Duration::from_secs(10);
/// Survivors may have forked once more; after this many looks somebody forks faster than we look.
const LOOKS: usize = 5;

/// A process that cannot be mistaken for a later one of the same number.
#[derive(Debug)]
struct Held {
    id: ProcessId,
    fd: AsyncFd<OwnedFd>,
}

impl Held {
    /// None when it is gone, or its number is another's by now.
    ///
    /// # Errors
    /// Nobody can tell, for want of a descriptor say.
    fn open(id: ProcessId) -> Result<Option<Self>, HostError> {
        let failed = |error: std::io::Error| HostError::io(format!("cannot take hold of {id}"), &error);
        let number = i32::try_from(id.pid.0).ok().and_then(rustix::process::Pid::from_raw);
        let Some(pid) = number else { return Ok(None) };
        let fd = match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(fd) => watched(fd).map_err(failed)?,
            Err(Errno::SRCH) => return Ok(None),
            Err(error) => return Err(failed(error.into())),
        };
        // Opened first and looked at afterwards: what has these start ticks now is what the descriptor holds.
        Ok(stat(id.pid)?.filter(|now| now.id == id).map(|_| Self { id, fd }))
    }

    /// A process that is gone already is success.
    fn send(&self, signal: Signal) -> Result<(), Errno> {
        match pidfd_send_signal(&self.fd, signal) {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Whether it lives; one that cannot be looked at has not been seen to end.
    fn lives(&self) -> bool {
        stat(self.id.pid).map_or(true, |now| now.is_some_and(|now| now.id == self.id))
    }

    /// Whether it has ended by then; a zombie has.
    async fn ends_by(&self, deadline: Instant) -> bool {
        matches!(timeout_at(deadline, self.fd.readable()).await, Ok(Ok(_)))
    }
}

#[expect(deprecated, reason = "its successors are unsafe; an OwnedFd names the same open file for as long as it lives")]
fn watched(pidfd: OwnedFd) -> std::io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(pidfd, Interest::READABLE)
}

/// One worker's main process and its descendants.
#[derive(Debug)]
pub(super) struct ProcessTree {
    main: Held,
    descendants: Vec<Held>,
    leads_group: bool,
}

impl ProcessTree {
    /// Takes hold of a process and of all that descends from it; none when it is gone.
    ///
    /// # Errors
    /// Nobody can tell whether it is, or what descends from it.
    pub(super) async fn hold(id: ProcessId) -> Result<Option<Self>, HostError> {
        let Some(main) = Held::open(id)? else { return Ok(None) };
        let Some(leads_group) = stat(id.pid)?.map(|stat| stat.group == id.pid) else { return Ok(None) };
        let held = descendants(&walk().await?, id.pid).into_iter().map(Held::open);
        let descendants = held.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect();
        Ok(Some(Self { main, descendants, leads_group }))
    }

    /// The main process.
    pub(super) fn id(&self) -> ProcessId {
        self.main.id
    }

    /// Signals the main process alone: its children may be at work for it.
    ///
    /// # Errors
    /// EPERM, when it belongs to somebody else.
    pub(super) fn signal_main(&self, signal: Signal) -> Result<(), Errno> {
        self.main.send(signal)
    }

    /// Whether the main process has ended by then.
    pub(super) async fn main_ends_by(&self, deadline: Instant) -> bool {
        self.main.ends_by(deadline).await
    }

    /// Ends what the main process, which has ended, left behind: asked with `signal`, killed at the deadline.
    ///
    /// # Errors
    /// When something of it may not be signalled, or outlives even the kill.
    pub(super) async fn sweep(mut self, signal: Option<Signal>, deadline: Instant) -> Result<(), HostError> {
        for _ in 0..LOOKS {
            self.find_late_ones().await?;
            self.descendants.retain(Held::lives);
            if self.descendants.is_empty() {
                return Ok(());
            }
            let asked = signal.filter(|_| Instant::now() < deadline).unwrap_or(Signal::KILL);
            for held in &self.descendants {
                tracing::info!(process = %held.id, main = %self.main.id, signal = ?asked, "ending what a worker left behind");
                held.send(asked).map_err(|error| not_ours(held.id, self.main.id, error))?;
            }
            for held in &self.descendants {
                if held.ends_by(deadline).await {
                    continue;
                }
                held.send(Signal::KILL).map_err(|error| not_ours(held.id, self.main.id, error))?;
                if !held.ends_by(Instant::now() + KILL_GRACE).await {
                    break;
                }
            }
        }
        self.find_late_ones().await?;
        match self.descendants.iter().find(|held| held.lives()) {
            None => Ok(()),
            Some(left) => Err(HostError::new(
                HostErrorKind::TimedOut,
                format!("{}, left behind by the worker with {}, does not die", left.id, self.main.id),
            )
            .with_help("it hangs in the kernel: look at its state with `ps`")),
        }
    }

    /// Adds members of the worker's process group that were not there at the walk, and their descendants.
    async fn find_late_ones(&mut self) -> Result<(), HostError> {
        let (table, main) = (walk().await?, self.main.id);
        let known = |id: ProcessId, held: &[Held]| held.iter().any(|one| one.id == id);
        // A leader with other start ticks means that the group's number is a stranger's by now.
        let reused = table.iter().any(|process| process.id.pid == main.pid && process.id != main);
        let group = table
            .iter()
            .filter(|process| self.leads_group && !reused && process.group == main.pid && process.id.pid != main.pid);
        let below = self.descendants.iter().flat_map(|held| descendants(&table, held.id.pid));
        let found: Vec<ProcessId> = group.map(|process| process.id).chain(below).collect();
        for id in found {
            if !known(id, &self.descendants) {
                self.descendants.extend(Held::open(id)?);
            }
        }
        Ok(())
    }
}

fn not_ours(process: ProcessId, main: ProcessId, error: Errno) -> HostError {
    let message = format!("may not signal {process}, left behind by the worker with {main}: {error}");
    HostError::new(HostErrorKind::Denied, message).with_help(format!(
        "it still runs the old release: end it with `kill {}`, or run trueup as root or as its user",
        process.pid
    ))
}

/// Waits for a process to end, until the deadline.
///
/// # Errors
/// Nobody can tell whether it has.
pub(super) async fn ends_by(process: ProcessId, deadline: Instant) -> Result<(), HostError> {
    if let Some(held) = Held::open(process)? {
        held.ends_by(deadline).await;
    }
    Ok(())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stat {
    id: ProcessId,
    parent: Pid,
    group: Pid,
}

/// One living process; none when it is gone or a zombie.
fn stat(pid: Pid) -> Result<Option<Stat>, HostError> {
    let path = format!("/proc/{pid}/stat");
    match std::fs::read(&path) {
        // A program's name may hold any bytes.
        Ok(line) => {
            let found = parse(&String::from_utf8_lossy(&line));
            Ok(found.filter(|(_, alive)| *alive).map(|(found, _)| found))
        }
        Err(error) if matches!(Errno::from_io_error(&error), Some(Errno::NOENT | Errno::SRCH)) => Ok(None),
        Err(error) => Err(unreadable(&path, &error)),
    }
}

/// A line of `/proc/PID/stat`, and whether the process is alive.
fn parse(line: &str) -> Option<(Stat, bool)> {
    // The program's name stands in parentheses and may itself contain any.
    let (front, back) = line.rsplit_once(')')?;
    let pid = front.split_once(' ')?.0.parse().ok()?;
    let mut fields = back.split_ascii_whitespace();
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    let group = fields.next()?.parse().ok()?;
    let start = fields.nth(16)?.parse().ok()?;
    let id = ProcessId { pid: Pid(pid), start_ticks: StartTicks(start) };
    Some((Stat { id, parent: Pid(parent), group: Pid(group) }, !matches!(state, "Z" | "X" | "x")))
}

/// All living processes that are shown to us.
async fn walk() -> Result<Vec<Stat>, HostError> {
    let look = || -> Result<Vec<Stat>, HostError> {
        let entries = std::fs::read_dir("/proc").map_err(|error| unreadable("/proc", &error))?;
        let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let seen = pids.map(|pid| match stat(Pid(pid)) {
            Err(error) if error.kind == HostErrorKind::Denied => Ok(None),
            seen => seen,
        });
        Ok(seen.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
    };
    blocking(look).await?
}

fn descendants(table: &[Stat], ancestor: Pid) -> Vec<ProcessId> {
    let mut found: Vec<ProcessId> = Vec::new();
    let mut parents = vec![ancestor];
    while let Some(parent) = parents.pop() {
        for child in table.iter().filter(|process| process.parent == parent && process.id.pid != ancestor) {
            if !found.contains(&child.id) {
                found.push(child.id);
                parents.push(child.id.pid);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::proc::identify;

    fn line(pid: u32, state: &str, parent: u32, group: u32, start: u64) -> String {
        format!("{pid} (a) b (c) {state} {parent} {group} 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 {start} 23 24\n")
    }

    fn process(pid: u32, parent: u32) -> Stat {
        Stat { id: ProcessId { pid: Pid(pid), start_ticks: StartTicks(1) }, parent: Pid(parent), group: Pid(1) }
    }

    #[test]
    fn stat_lines() {
        for (state, wanted) in [("S", true), ("R", true), ("T", true), ("D", true), ("Z", false), ("X", false)] {
            let (found, alive) = parse(&line(7, state, 1, 6, 4242)).unwrap();
            let id = ProcessId { pid: Pid(7), start_ticks: StartTicks(4242) };
            assert_eq!((found, alive), (Stat { id, parent: Pid(1), group: Pid(6) }, wanted), "{state}");
        }
        for broken in ["", "7", "7 (a", "7 (a) S 1 2 3"] {
            assert!(parse(broken).is_none(), "{broken}");
        }
    }

    #[test]
    fn our_own_stat_parses() {
        let own = stat(Pid(std::process::id())).unwrap().unwrap();
        assert_eq!(identify(own.id.pid), Ok(Some(own.id)));
    }

    #[test]
    fn descendants_of_one_process_only() {
        let table = [process(2, 1), process(3, 2), process(4, 3), process(5, 1), process(6, 3)];
        let mut pids: Vec<u32> = descendants(&table, Pid(2)).iter().map(|id| id.pid.0).collect();
        pids.sort_unstable();
        assert_eq!(pids, [3, 4, 6]);
        assert!(descendants(&table, Pid(4)).is_empty());
    }

    #[tokio::test]
    async fn a_wrapper_that_dies_leaves_nothing_behind() {
        use std::io::BufRead;
        use std::os::unix::process::CommandExt;
        let mut wrapper = std::process::Command::new("sh")
            .args(["-c", "sh -c 'trap \"\" TERM; echo ready; sleep 60; sleep 60'; true"])
            .process_group(0)
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut ready = String::new();
        std::io::BufReader::new(wrapper.stdout.take().unwrap()).read_line(&mut ready).unwrap();
        let id = identify(Pid(wrapper.id())).unwrap().unwrap();
        let family = ProcessTree::hold(id).await.unwrap().unwrap();
        let children: Vec<ProcessId> = family.descendants.iter().map(|held| held.id).collect();
        assert!(!children.is_empty());
        family.signal_main(Signal::KILL).unwrap();
        assert!(family.main_ends_by(Instant::now() + KILL_GRACE).await);
        let begun = Instant::now();
        let soon = begun + Duration::from_millis(300);
        family.sweep(Some(Signal::TERM), soon).await.unwrap();
        assert!(Instant::now() >= soon, "the child ignores TERM and is killed at the deadline, not before");
        assert!(children.iter().all(|child| stat(child.pid).unwrap().is_none_or(|now| now.id != *child)));
        wrapper.wait().unwrap();
        assert!(ProcessTree::hold(id).await.unwrap().is_none());
    }
}
