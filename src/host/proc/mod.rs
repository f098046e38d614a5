//! Reads `/proc`: all processes in one walk, or everything about one.
//!
//! Every function blocks for as long as the kernel takes (microseconds per process); asynchronous callers
//! put a thread around it. A process is read through one handle on its directory, which the kernel never
//! turns over to a later process of the same number: two processes are never mixed.

mod holders;
mod parse;
mod trouble;

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rustix::buffer::spare_capacity;
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, StatxFlags, makedev, openat, readlinkat, statx};
use rustix::io::Errno;
use rustix::time::{ClockId, Timespec, clock_gettime};

use crate::model::process::{
    Inode, Known, Look, Pid, Place, ProcessFacts, ProcessId, ProcessSummary, ProcessTable, StartTicks,
};
use crate::ports::HostError;
pub use holders::holders;
use parse::Stat;
pub(crate) use trouble::unreadable;

/// More of a command line than this is cut off: nobody's release stands behind it.
const COMMAND_LIMIT: usize = 32 * 1024;

/// More of an environment or a list of mappings than this is cut off; the kernel's own limits are far higher.
const FACTS_LIMIT: u64 = 4 * 1024 * 1024;

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

/// The environment that a process started with, unless it wrote over it; none when it is gone or a zombie.
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
        Ok(there(reader.stat(&home))?.filter(|&stat| is_it(stat)).map(|_| environment))
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

/// One walk: the clock's offset and the buffers are made once.
struct Reader {
    proc: OwnedFd,
    /// Wall time of the boot.
    boot: Timestamp,
    ticks_per_second: u64,
    bytes: Vec<u8>,
    link: Vec<u8>,
}

impl Reader {
    fn new(boot: Timestamp) -> Result<Self, Errno> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self {
            proc: openat(CWD, "/proc", flags, Mode::empty())?,
            boot,
            ticks_per_second: rustix::param::clock_ticks_per_second().max(1),
            bytes: Vec::with_capacity(4096),
            link: Vec::with_capacity(512),
        })
    }

    fn open(&self, pid: Pid) -> Result<OwnedFd, Errno> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        openat(&self.proc, pid.to_string(), flags, Mode::empty())
    }

    fn stat(&mut self, home: &OwnedFd) -> Result<Stat, Errno> {
        read_short(home, "stat", &mut self.bytes)?;
        parse::stat(&self.bytes).ok_or(Errno::SRCH)
    }

    /// None when it is gone.
    fn summary(&mut self, pid: Pid) -> Result<Option<ProcessSummary>, Errno> {
        match there(self.open(pid))? {
            Some(home) => self.summary_at(pid, &home),
            None => Ok(None),
        }
    }

    fn summary_at(&mut self, pid: Pid, home: &OwnedFd) -> Result<Option<ProcessSummary>, Errno> {
        // The directory belongs to the effective user even where the files in it belong to root
        // because the process may not be dumped.
        let Some(owner) = there(statx(home, "", AtFlags::EMPTY_PATH, StatxFlags::UID))? else { return Ok(None) };
        let Some(stat) = there(self.stat(home))? else { return Ok(None) };
        let uid = owner.stx_uid;
        let none = |why: &str| (Vec::new(), Known::Unknown(why.to_owned()), Known::Unknown(why.to_owned()));
        let mut zombie = stat.zombie;
        let (command, cwd, executable) = if stat.kernel {
            none("a kernel thread")
        } else if stat.zombie {
            none("a zombie")
        } else {
            let read = in_want(read_short(home, "cmdline", &mut self.bytes))?;
            let command = if read.is_ok() { parse::command(&self.bytes) } else { Vec::new() };
            let cwd = in_want(place(home.as_fd(), "cwd", &mut self.link))?;
            let executable = in_want(place(home.as_fd(), "exe", &mut self.link))?;
            if matches!(cwd, Err(Errno::NOENT | Errno::SRCH)) {
                let Some(stat) = there(self.stat(home))? else { return Ok(None) };
                zombie = stat.zombie;
            }
            (command, known(cwd), known(executable))
        };
        Ok(Some(ProcessSummary {
            id: id(pid, stat),
            parent: Pid(stat.parent),
            session: Pid(stat.session),
            uid,
            terminal: stat.terminal,
            started: self.started(stat.start),
            zombie,
            command,
            cwd,
            executable,
        }))
    }

    fn started(&self, ticks: u64) -> Timestamp {
        let nanos = u128::from(ticks) * 1_000_000_000 / u128::from(self.ticks_per_second);
        let since_boot = std::time::Duration::new(
            u64::try_from(nanos / 1_000_000_000).unwrap_or(u64::MAX),
            u32::try_from(nanos % 1_000_000_000).unwrap_or(0),
        );
        self.boot.checked_add(since_boot).unwrap_or(Timestamp::MAX)
    }

    /// Regular files and directories among the open files.
    fn open_files(&mut self, home: &OwnedFd) -> Result<Known<Vec<Place>>, Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let entries = in_want(openat(home, "fd", flags, Mode::empty()).and_then(rustix::fs::Dir::new))?;
        let entries = match entries {
            Ok(entries) => entries,
            Err(error) => return Ok(Known::Unknown(trouble::why(error))),
        };
        let mut places = Vec::new();
        for entry in entries {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => return Ok(Known::Unknown(trouble::why(error))),
            };
            let Ok(number) = entry.file_name().to_str() else { continue };
            if number.starts_with('.') {
                continue;
            }
            // A file that was closed since it was listed is no longer open: nothing is missing.
            if let Ok(place) =
                place_of_kind(home.as_fd(), &format!("fd/{number}"), &mut self.link, is_file_or_directory)
            {
                places.extend(place);
            }
        }
        Ok(Known::Known(places))
    }
}

/// What a step of looking at a process brought; none when the process is gone. Every other error remains one:
/// only these two say that there is no such process.
fn there<T>(step: Result<T, Errno>) -> Result<Option<T>, Errno> {
    match step {
        Ok(found) => Ok(Some(found)),
        Err(Errno::NOENT | Errno::SRCH) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Lets through what says something of the process; what says something of us, who look, is an error.
fn in_want<T>(step: Result<T, Errno>) -> Result<Result<T, Errno>, Errno> {
    match step {
        Err(error) if trouble::is_want(error) => Err(error),
        step => Ok(step),
    }
}

/// Wall time of the boot. `btime` of `/proc/stat` errs by up to a second, this by some milliseconds.
fn boot_time() -> Timestamp {
    let at = |clock| {
        let Timespec { tv_sec, tv_nsec } = clock_gettime(clock);
        jiff::SignedDuration::new(tv_sec, i32::try_from(tv_nsec).unwrap_or(0))
    };
    let since_epoch = at(ClockId::Realtime).saturating_sub(at(ClockId::Boottime));
    Timestamp::from_duration(since_epoch).unwrap_or(Timestamp::UNIX_EPOCH)
}

fn is_file_or_directory(kind: FileType) -> bool {
    matches!(kind, FileType::RegularFile | FileType::Directory)
}

fn place(home: BorrowedFd<'_>, link: &str, text: &mut Vec<u8>) -> Result<Place, Errno> {
    place_of_kind(home, link, text, |_| true)?.ok_or(Errno::NOENT)
}

/// Where one of the kernel's magic links leads; none when that is of another kind.
fn place_of_kind(
    home: BorrowedFd<'_>,
    link: &str,
    text: &mut Vec<u8>,
    wanted: impl Fn(FileType) -> bool,
) -> Result<Option<Place>, Errno> {
    // Asks no file server: a walk must not hang because some process sits on a dead mount.
    let mask = StatxFlags::INO | StatxFlags::TYPE | StatxFlags::NLINK;
    let found = statx(home, link, AtFlags::STATX_DONT_SYNC, mask)?;
    if !wanted(FileType::from_raw_mode(found.stx_mode.into())) {
        return Ok(None);
    }
    let inode = Inode { device: makedev(found.stx_dev_major, found.stx_dev_minor), number: found.stx_ino };
    let name = readlinkat(home, link, std::mem::take(text))?.into_bytes();
    let deleted = match name.strip_suffix(DELETED) {
        None => false,
        // A directory may really be called so; then its full name leads to this very inode.
        Some(_) if found.stx_nlink > 0 => inode_of(Path::new(std::ffi::OsStr::from_bytes(&name))) != Some(inode),
        Some(_) => true,
    };
    let path = if deleted { name.strip_suffix(DELETED).unwrap_or(&name) } else { &name };
    let place = Place { path: PathBuf::from(std::ffi::OsString::from_vec(path.to_vec())), deleted, inode: Some(inode) };
    *text = name;
    Ok(Some(place))
}

/// What the kernel appends to the name of something that has none any more.
const DELETED: &[u8] = b" (deleted)";

fn inode_of(path: &Path) -> Option<Inode> {
    let found = statx(CWD, path, AtFlags::STATX_DONT_SYNC, StatxFlags::INO).ok()?;
    Some(Inode { device: makedev(found.stx_dev_major, found.stx_dev_minor), number: found.stx_ino })
}

/// Mapped files, each once.
fn mapped_files(home: &OwnedFd) -> Result<Known<Vec<Place>>, Errno> {
    let bytes = match in_want(read_long(home, "maps"))? {
        Ok(bytes) => bytes,
        Err(error) => return Ok(Known::Unknown(trouble::why(error))),
    };
    let mut seen: Vec<(PathBuf, Inode)> = Vec::new();
    for line in bytes.split(|&byte| byte == b'\n') {
        if let Some(mapping) = parse::mapping(line)
            && !seen.contains(&mapping)
        {
            seen.push(mapping);
        }
    }
    Ok(Known::Known(seen.into_iter().map(|(path, inode)| mapped_place(path, inode)).collect()))
}

fn mapped_place(path: PathBuf, mapped: Inode) -> Place {
    // Stacked file systems number a mapping's device otherwise than `stat` does: the number has to do,
    // and the device is taken from `stat` so that it compares with other places.
    match inode_of(&path) {
        Some(inode) if inode.number == mapped.number => return Place { path, deleted: false, inode: Some(inode) },
        _ => {}
    }
    match path.as_os_str().as_bytes().strip_suffix(DELETED) {
        Some(name) => {
            Place { path: PathBuf::from(std::ffi::OsStr::from_bytes(name)), deleted: true, inode: Some(mapped) }
        }
        None => Place { path, deleted: false, inode: Some(mapped) },
    }
}

fn read_environment(home: &OwnedFd) -> Result<Known<Vec<(String, String)>>, Errno> {
    in_want(read_long(home, "environ")).map(|read| match read {
        Ok(bytes) => Known::Known(parse::environment(&bytes)),
        Err(error) => Known::Unknown(trouble::why(error)),
    })
}

/// Reads a file that the kernel hands over in one piece, up to [`COMMAND_LIMIT`].
fn read_short(home: &OwnedFd, name: &str, bytes: &mut Vec<u8>) -> Result<(), Errno> {
    bytes.clear();
    let file = openat(home, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    while bytes.len() < COMMAND_LIMIT {
        bytes.reserve(4096);
        let read = rustix::io::read(&file, spare_capacity(bytes))?;
        // A piece that left room was the last one: saves asking once more for every process.
        if read == 0 || bytes.len() < bytes.capacity() {
            break;
        }
    }
    Ok(())
}

/// Reads a file that comes in pieces, up to [`FACTS_LIMIT`].
fn read_long(home: &OwnedFd, name: &str) -> Result<Vec<u8>, Errno> {
    let file = File::from(openat(home, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?);
    let mut bytes = Vec::new();
    let read = file.take(FACTS_LIMIT).read_to_end(&mut bytes);
    read.map(|_| bytes).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
}

fn known(place: Result<Place, Errno>) -> Known<Place> {
    match place {
        Ok(place) => Known::Known(place),
        Err(error) => Known::Unknown(trouble::why(error)),
    }
}

#[cfg(test)]
mod tests;
