//! Ends processes: asked first, killed later, and never another one than meant.
//!
//! A process is signalled through a handle (pidfd) whose process was checked by its start time after the
//! handle was opened, so a number used again is never hit. A zombie counts as dead. Begin at [`terminate`]
//! for one process, at [`terminate_all`] for one that may leave others behind.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::{Instant, timeout_at};

use super::{blocking, proc};
use crate::model::process::{ProcessId, ProcessTable};
use crate::ports::notes::note;
use crate::ports::{HostError, HostErrorKind};

/// How long a killed process may take to be gone; only one that hangs in the kernel takes longer.
const KILL_WAIT: Duration = Duration::from_secs(5);

/// A hold on one process that outlives neither confusion nor the process.
#[derive(Debug)]
pub struct Handle {
    process: ProcessId,
    fd: AsyncFd<OwnedFd>,
}

impl Handle {
    /// Takes hold of a process; none when it is gone, a zombie, or its number is used by another one.
    /// Must be called within the runtime.
    ///
    /// # Errors
    /// The kernel has no such handles (before Linux 5.3) or no more of them, or nobody can tell which process it is.
    pub fn open(process: ProcessId) -> Result<Option<Self>, HostError> {
        let failed = |error: std::io::Error| HostError::io(format!("cannot take hold of {process}"), &error);
        let Some(pid) = raw_pid(process) else { return Ok(None) };
        let fd = match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(fd) => fd,
            Err(Errno::SRCH) => return Ok(None),
            Err(error) => return Err(failed(error.into())),
        };
        // Only now: what carries the right start time after the opening was there before it, too.
        if proc::identify(process.pid)? != Some(process) {
            return Ok(None);
        }
        #[expect(
            deprecated,
            reason = "its successor is unsafe, for types that may close their descriptor; this one owns it"
        )]
        let fd = AsyncFd::with_interest(fd, Interest::READABLE).map_err(failed)?;
        Ok(Some(Self { process, fd }))
    }

    /// Which process it holds.
    #[must_use]
    pub fn process(&self) -> ProcessId {
        self.process
    }

    /// Sends a signal; to a process that is gone it is nothing.
    ///
    /// # Errors
    /// Not permitted: it is alive and belongs to somebody else.
    pub fn send(&self, signal: Signal) -> Result<(), HostError> {
        match pidfd_send_signal(&self.fd, signal) {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(error @ (Errno::PERM | Errno::ACCESS)) => Err(HostError::new(
                HostErrorKind::Denied,
                format!("cannot signal {}: {}", self.process, std::io::Error::from(error)),
            )
            .with_help("it runs as another user: run as root, or as that user")),
            Err(error) => Err(HostError::io(format!("cannot signal {}", self.process), &error.into())),
        }
    }

    /// Returns when the process is gone or a zombie.
    ///
    /// # Errors
    /// The runtime cannot wait any more.
    pub async fn gone(&self) -> Result<(), HostError> {
        let ended = self.fd.readable().await;
        ended.map(|_| ()).map_err(|error| HostError::io(format!("cannot wait for {}", self.process), &error))
    }
}

fn raw_pid(process: ProcessId) -> Option<rustix::process::Pid> {
    // 0 and negative numbers mean groups to the kernel.
    i32::try_from(process.pid.0).ok().and_then(rustix::process::Pid::from_raw)
}

/// Asks one process to end, kills it after `grace`, and returns when it is gone.
/// One that is gone already, or whose number is used by another one, is success.
///
/// # Errors
/// Not permitted, or it does not even die when killed.
pub async fn terminate(process: ProcessId, grace: Duration) -> Result<(), HostError> {
    let Some(handle) = Handle::open(process)? else { return Ok(()) };
    ask(&handle)?;
    if timeout_at(deadline(grace), handle.gone()).await.is_ok_and(|ended| ended.is_ok()) {
        return Ok(());
    }
    handle.send(Signal::KILL)?;
    note(killed(process, grace));
    match timeout_at(deadline(KILL_WAIT), handle.gone()).await {
        Ok(ended) => ended,
        Err(_) => Err(immortal(&[process])),
    }
}

/// Asks all processes that `find` finds to end, kills those that are left after `grace`, and returns when it finds
/// no more. `find` is asked again after each wave, because processes start others while they end; it runs on
/// a thread of its own and may read files. This process itself is never signalled.
///
/// # Errors
/// Not permitted, `find` fails, or something does not even die when killed.
pub async fn terminate_all<F>(find: F, grace: Duration) -> Result<(), HostError>
where
    F: Fn(&ProcessTable) -> Result<Vec<ProcessId>, HostError> + Clone + Send + 'static,
{
    let patience = deadline(grace);
    let end = deadline(grace.saturating_add(KILL_WAIT));
    // What was found once stays held: a process that leaves the family it was found by is still ended.
    let mut held: BTreeMap<ProcessId, Handle> = BTreeMap::new();
    let mut told: BTreeSet<ProcessId> = BTreeSet::new();
    loop {
        let killing = Instant::now() >= patience;
        for process in look(find.clone()).await? {
            if process.pid.0 == std::process::id() || held.contains_key(&process) {
                continue;
            }
            if let Some(handle) = Handle::open(process)? {
                ask(&handle)?;
                held.insert(process, handle);
            }
        }
        if held.is_empty() {
            return Ok(());
        }
        if killing {
            held.values().try_for_each(|handle| handle.send(Signal::KILL))?;
            held.keys().filter(|process| told.insert(**process)).for_each(|process| note(killed(*process, grace)));
        }
        match timeout_at(if killing { end } else { patience }, all_gone(&mut held)).await {
            Ok(waited) => waited?,
            Err(_) if Instant::now() >= end => {
                // One that cannot be looked at has not been seen to end.
                let lives = |left: &ProcessId| proc::identify(left.pid).map_or(true, |now| now == Some(*left));
                let left: Vec<ProcessId> = held.keys().copied().filter(lives).collect();
                return if left.is_empty() { Ok(()) } else { Err(immortal(&left)) };
            }
            Err(_) => {}
        }
    }
}

/// Empties `held` from its front; whatever is left when this is dropped is still alive, or not yet waited for.
async fn all_gone(held: &mut BTreeMap<ProcessId, Handle>) -> Result<(), HostError> {
    while let Some(first) = held.first_entry() {
        first.get().gone().await?;
        first.remove();
    }
    Ok(())
}

async fn look<F>(find: F) -> Result<Vec<ProcessId>, HostError>
where
    F: Fn(&ProcessTable) -> Result<Vec<ProcessId>, HostError> + Send + 'static,
{
    blocking(move || find(&proc::walk()?)).await?
}

/// A stopped process hears nothing until it goes on.
fn ask(handle: &Handle) -> Result<(), HostError> {
    handle.send(Signal::TERM)?;
    handle.send(Signal::CONT)
}

fn deadline(after: Duration) -> Instant {
    let now = Instant::now();
    // Far enough for "never" where the sum would overflow.
    now.checked_add(after).unwrap_or_else(|| now + Duration::from_secs(u64::from(u32::MAX)))
}

/// What people must know of a process whose job was cut off.
pub fn killed(process: ProcessId, grace: Duration) -> String {
    format!("{process} was killed: it had not ended {grace:?} after it was asked to")
}

fn immortal(processes: &[ProcessId]) -> HostError {
    let names: Vec<String> = processes.iter().map(ToString::to_string).collect();
    HostError::new(HostErrorKind::TimedOut, format!("{} did not end even when killed", names.join(", "))).with_help(
        "it hangs inside the kernel, mostly on a dead disk or file server: `cat /proc/PID/stack` tells where",
    )
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::path::Path;
    use std::process::Command;

    use super::super::testchild::{IDLE, TestChild};
    use super::*;
    use crate::model::process::{Pid, StartTicks};

    fn ready(script: &str) -> (TestChild, String) {
        TestChild::python(Path::new("/"), script)
    }

    const STUBBORN: &str = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); \
        print('ready', flush=True); time.sleep(600)";

    #[tokio::test]
    async fn the_willing_are_asked_and_the_stubborn_killed() {
        let rows = [("willing", IDLE, 60_000, 15), ("stubborn", STUBBORN, 100, 9)];
        for (name, script, grace, signal) in rows {
            let (mut child, _) = ready(script);
            terminate(child.process(), Duration::from_millis(grace)).await.unwrap();
            assert_eq!(child.wait().unwrap().signal(), Some(signal), "{name}");
        }
    }

    #[tokio::test]
    async fn a_stopped_process_hears_the_question() {
        let (mut child, _) = ready(IDLE);
        let handle = Handle::open(child.process()).unwrap().unwrap();
        handle.send(Signal::STOP).unwrap();
        terminate(child.process(), Duration::from_mins(1)).await.unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(15));
    }

    #[tokio::test]
    async fn a_number_used_again_is_never_signalled() {
        let (mut child, _) = ready(IDLE);
        let id = child.process();
        let earlier = ProcessId { start_ticks: StartTicks(id.start_ticks.0 - 1), ..id };
        terminate(earlier, Duration::ZERO).await.unwrap();
        terminate_all(move |_| Ok(vec![earlier]), Duration::ZERO).await.unwrap();
        assert!(child.try_wait().unwrap().is_none(), "it was signalled");
        terminate(id, Duration::ZERO).await.unwrap();
        child.wait().unwrap();
    }

    #[tokio::test]
    async fn zombies_and_the_dead_count_as_gone() {
        let mut child = TestChild::spawn(Command::new("sleep").arg("600"));
        let id = child.process();
        let handle = Handle::open(id).unwrap().unwrap();
        handle.send(Signal::KILL).unwrap();
        handle.gone().await.unwrap();
        assert_eq!(proc::identify(id.pid), Ok(None), "nobody has waited for it yet: a zombie");
        assert!(Handle::open(id).unwrap().is_none());
        terminate(id, Duration::from_mins(1)).await.unwrap();
        child.wait().unwrap();
        terminate(id, Duration::from_mins(1)).await.unwrap();
    }

    #[tokio::test]
    async fn a_family_is_ended_with_those_that_leave_it() {
        // The child makes a session of its own and ignores the question; the parent dies at once.
        let script = "
import os, signal, time
r, w = os.pipe()
child = os.fork()
if child == 0:
    os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.write(w, b'x')
    time.sleep(600)
os.read(r, 1)
print(child, flush=True)
time.sleep(600)
";
        let (mut parent, line) = ready(script);
        let (top, child) = (parent.process(), proc::identify(Pid(line.parse().unwrap())).unwrap().unwrap());
        let family = move |table: &ProcessTable| {
            let mut ids: Vec<ProcessId> = table.descendants(top.pid).iter().map(|process| process.id).collect();
            ids.extend(table.get(top.pid).filter(|process| !process.zombie).map(|process| process.id));
            Ok(ids)
        };
        terminate_all(family, Duration::from_millis(200)).await.unwrap();
        assert_eq!(parent.wait().unwrap().signal(), Some(15));
        assert_eq!(proc::identify(child.pid), Ok(None));
    }
}
