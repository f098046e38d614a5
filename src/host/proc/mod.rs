//! Reads `/proc`: all processes in one walk, or everything about one.
//!
//! Every function blocks for as long as the kernel takes (microseconds per process); asynchronous callers
//! put a thread around it. A process is read through one handle on its directory, which the kernel never
//! turns over to a later process of the same number: two processes are never mixed.

mod elsewhere;
mod holders;
mod parse;
mod place;
mod reader;
mod trouble;

use jiff::{SignedDuration, Timestamp};
use rustix::io::Errno;
use rustix::time::{ClockId, Timespec, clock_gettime};

use crate::model::boot::Boot;
use crate::model::process::{Known, Look, Pid, ProcessFacts, ProcessId, ProcessSummary, ProcessTable, StartTicks};
use crate::ports::HostError;
pub use elsewhere::is_elsewhere;
pub use holders::holders;
use parse::Stat;
use reader::{Reader, mapped_files, read_environment, there};
pub(crate) use trouble::unreadable;

/// Walks over all processes once.
///
/// A process that ends while it is looked at is left out, as is one that is hidden from us. What may not be
/// read of a process is unknown.
///
/// # Errors
/// `/proc` cannot be read, or this process has not the means to: a process that could not be looked at is
/// never left out.
pub fn walk() -> Result<ProcessTable, HostError> {
    let unreadable = |error: std::io::Error| unreadable("/proc", &error);
    let mut pids: Vec<u32> = Vec::new();
    for entry in std::fs::read_dir("/proc").map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        pids.extend(entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()));
    }
    pids.sort_unstable();
    let boot = boot_time();
    let share = |pids: &[u32]| -> std::io::Result<Vec<ProcessSummary>> {
        let mut reader = Reader::new(boot)?;
        let mut summaries = Vec::with_capacity(pids.len());
        for &pid in pids {
            match reader.summary(Pid(pid)) {
                Ok(summary) => summaries.extend(summary),
                Err(error) if trouble::is_denied(error) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(summaries)
    };
    let useful = (pids.len() / ONE_HAND + 1).min(4);
    let hands = if useful > 1 { std::thread::available_parallelism().map_or(1, usize::from).min(useful) } else { 1 };
    let (first, others) = pids.split_at(pids.len().div_ceil(hands));
    // Nearly all of a walk is spent in the kernel, where the hands do not hinder each other.
    let processes = std::thread::scope(|scope| -> std::io::Result<Vec<ProcessSummary>> {
        let others: Vec<_> = others
            .chunks(first.len().max(1))
            .map(|pids| std::thread::Builder::new().spawn_scoped(scope, move || share(pids)))
            .collect();
        let mut processes = share(first)?;
        for other in others {
            let read = other?.join().map_err(|_| std::io::Error::other("a reader of it panicked"))?;
            processes.extend(read?);
        }
        Ok(processes)
    });
    Ok(ProcessTable { processes: processes.map_err(unreadable)? })
}

/// So many processes (some 10 ms of work) are worth a thread of their own.
const ONE_HAND: usize = 400;

/// How often the clocks are read for one comparison; each takes less than a microsecond.
const READINGS: u32 = 3;

/// Looks at one process now.
#[must_use]
pub fn look(pid: Pid) -> Look {
    match facts(pid) {
        Ok(facts) => Look::Seen(Box::new(facts)),
        Err(Unseen::Gone) if is_hidden(pid) => Look::Hidden,
        Err(Unseen::Gone) => Look::Gone,
        Err(Unseen::Hidden) => Look::Hidden,
        Err(Unseen::Failed(error)) => Look::Unreadable(error.into_unreadable()),
    }
}

/// `/proc` does not show it (hidepid), but a signal would find it.
fn is_hidden(pid: Pid) -> bool {
    let shown = std::fs::symlink_metadata(format!("/proc/{pid}")).is_ok();
    let raw = i32::try_from(pid.0).ok().and_then(rustix::process::Pid::from_raw);
    !shown && raw.is_some_and(|raw| rustix::process::test_kill_process(raw) == Err(Errno::PERM))
}

/// Why there are no facts about a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unseen {
    /// It is gone, or a zombie.
    Gone,
    /// It is there, and not shown to us.
    Hidden,
    /// It may be there: looking failed.
    Failed(HostError),
}

/// Everything that can be read of one process now.
///
/// # Errors
/// [`Unseen`]: gone, hidden, or nobody can tell.
pub fn facts(pid: Pid) -> Result<ProcessFacts, Unseen> {
    let read = || -> Result<Option<ProcessFacts>, Errno> {
        let mut reader = Reader::new(boot_time())?;
        let Some(home) = there(reader.open(pid))? else { return Ok(None) };
        let Some(summary) = reader.summary_at(pid, &home)? else { return Ok(None) };
        let facts = ProcessFacts {
            open_files: reader.open_files(&home)?,
            mapped_files: mapped_files(&home)?,
            environment: read_environment(&home)?,
            summary,
        };
        // What could not be read because it ended meanwhile must not pass for a process without files.
        let alive = !facts.summary.zombie && there(reader.stat(&home))?.is_some_and(|stat| !stat.zombie);
        Ok(alive.then_some(facts))
    };
    match read() {
        Ok(facts) => facts.ok_or(Unseen::Gone),
        Err(error) if trouble::is_denied(error) => Err(Unseen::Hidden),
        Err(error) => Err(Unseen::Failed(trouble::cannot_look_at(pid, error))),
    }
}

/// Names and values, as far as they may be read.
pub type Environment = Known<Vec<(String, String)>>;

/// The environment that a process started with, unless it wrote over it; none when it is gone, a zombie, or just
/// ending: it runs nothing any more.
///
/// # Errors
/// Looking failed: it may be there.
pub fn environment(process: ProcessId) -> Result<Option<Environment>, HostError> {
    let read = || -> Result<Option<Environment>, Errno> {
        let mut reader = Reader::new(boot_time())?;
        let Some(home) = there(reader.open(process.pid))? else { return Ok(None) };
        let is_it = |stat: Stat| !stat.zombie && stat.start == process.start_ticks.0;
        if !there(reader.stat(&home))?.is_some_and(is_it) {
            return Ok(None);
        }
        let environment = read_environment(&home)?;
        // Its memory goes before it does: what is read of that by then is half an environment, or none.
        let is_still = |stat: &Stat| is_it(*stat) && !stat.ending;
        Ok(there(reader.stat(&home))?.filter(is_still).map(|_| environment))
    };
    match read() {
        Err(error) if trouble::is_denied(error) => Ok(Some(Known::Unknown(trouble::why(error)))),
        read => read.map_err(|error| trouble::cannot_look_at(process.pid, error)),
    }
}

/// The living process of that number; none when there is none or it is a zombie.
///
/// # Errors
/// Looking failed: it may be there.
pub fn identify(pid: Pid) -> Result<Option<ProcessId>, HostError> {
    stat_of(pid).map(|stat| stat.filter(|stat| !stat.zombie).map(|stat| id(pid, stat)))
}

/// Number and start of a child that its parent has yet to wait for; none when there is no such process.
/// Unlike [`identify`] it knows a zombie, too.
///
/// # Errors
/// Looking failed: it may be there.
pub fn identify_child(pid: Pid) -> Result<Option<ProcessId>, HostError> {
    stat_of(pid).map(|stat| stat.map(|stat| id(pid, stat)))
}

fn stat_of(pid: Pid) -> Result<Option<Stat>, HostError> {
    let read = || -> Result<Option<Stat>, Errno> {
        let mut reader = Reader::new(boot_time())?;
        let Some(home) = there(reader.open(pid))? else { return Ok(None) };
        there(reader.stat(&home))
    };
    read().map_err(|error| trouble::cannot_look_at(pid, error))
}

fn id(pid: Pid, stat: Stat) -> ProcessId {
    ProcessId { pid, start_ticks: StartTicks(stat.start) }
}

/// Names this boot of the machine; start ticks of two boots do not compare.
/// Empty where the kernel does not tell.
#[must_use]
pub fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|id| id.trim().to_owned()).unwrap_or_default()
}

/// This boot, by the clock as it goes now.
#[must_use]
pub fn boot() -> Boot {
    Boot { id: boot_id(), at: boot_time() }
}

/// Wall time of the boot. `btime` of `/proc/stat` errs by up to a second, this by some milliseconds.
fn boot_time() -> Timestamp {
    let at = |clock| {
        let Timespec { tv_sec, tv_nsec } = clock_gettime(clock);
        SignedDuration::new(tv_sec, i32::try_from(tv_nsec).unwrap_or(0))
    };
    // The two clocks are not read at once: of some readings the one that was least held up in between.
    let read = |_| {
        let (before, wall, after) = (at(ClockId::Boottime), at(ClockId::Realtime), at(ClockId::Boottime));
        (after.saturating_sub(before), wall.saturating_sub(before))
    };
    let (_, since_epoch) = (0..READINGS).map(read).min().unwrap_or_default();
    Timestamp::from_duration(since_epoch).unwrap_or(Timestamp::UNIX_EPOCH)
}

#[cfg(test)]
mod tests;
