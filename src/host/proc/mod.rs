//! Reads `/proc`: all processes in one walk, or everything about one.
//!
//! Every function blocks for as long as the kernel takes (microseconds per process); asynchronous callers
//! put a thread around it. A process is read through one handle on its directory, which the kernel never
//! turns over to a later process of the same number: two processes are never mixed.

mod parse;

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
use parse::Stat;

/// More of a command line than this is cut off: nobody's release stands behind it.
const COMMAND_LIMIT: usize = 32 * 1024;

/// More of an environment or a list of mappings than this is cut off; the kernel's own limits are far higher.
const FACTS_LIMIT: u64 = 4 * 1024 * 1024;

/// Walks over all processes once.
///
/// A process that ends while it is looked at is left out. What may not be read of a process is unknown.
///
/// # Errors
/// `/proc` cannot be read.
pub fn walk() -> Result<ProcessTable, HostError> {
    let unreadable = |error: std::io::Error| {
        HostError::io("cannot read `/proc`", &error).with_help("mount the proc file system on /proc")
    };
    let mut pids: Vec<u32> = Vec::new();
    for entry in std::fs::read_dir("/proc").map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        pids.extend(entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()));
    }
    pids.sort_unstable();
    let boot = boot_time();
    let share = |pids: &[u32]| -> std::io::Result<Vec<ProcessSummary>> {
        let mut reader = Reader::new(boot)?;
        Ok(pids.iter().filter_map(|&pid| reader.summary(Pid(pid))).collect())
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
        Some(facts) => Look::Seen(Box::new(facts)),
        None if is_hidden(pid) => Look::Hidden,
        None => Look::Gone,
    }
}

/// `/proc` does not show it (hidepid), but a signal would find it.
fn is_hidden(pid: Pid) -> bool {
    let shown = std::fs::symlink_metadata(format!("/proc/{pid}")).is_ok();
    let raw = i32::try_from(pid.0).ok().and_then(rustix::process::Pid::from_raw);
    !shown && raw.is_some_and(|raw| rustix::process::test_kill_process(raw) == Err(Errno::PERM))
}

/// Everything that can be read of one process now; none when it is gone or a zombie.
#[must_use]
pub fn facts(pid: Pid) -> Option<ProcessFacts> {
    let mut reader = Reader::new(boot_time()).ok()?;
    let home = reader.open(pid).ok()?;
    let summary = reader.summary_at(pid, &home)?;
    let facts = ProcessFacts {
        open_files: reader.open_files(&home),
        mapped_files: mapped_files(&home),
        environment: read_environment(&home),
        summary,
    };
    // What could not be read because it ended meanwhile must not pass for a process without files.
    let alive = !facts.summary.zombie && reader.stat(&home).is_ok_and(|stat| !stat.zombie);
    alive.then_some(facts)
}

/// The environment that a process started with, unless it wrote over it; none when it is gone or a zombie.
#[must_use]
pub fn environment(process: ProcessId) -> Option<Known<Vec<(String, String)>>> {
    let mut reader = Reader::new(boot_time()).ok()?;
    let home = reader.open(process.pid).ok()?;
    let is_it = |stat: Stat| !stat.zombie && stat.start == process.start_ticks.0;
    reader.stat(&home).ok().filter(|&stat| is_it(stat))?;
    let environment = read_environment(&home);
    reader.stat(&home).ok().filter(|&stat| is_it(stat))?;
    Some(environment)
}

/// The living process of that number; none when there is none or it is a zombie.
#[must_use]
pub fn identify(pid: Pid) -> Option<ProcessId> {
    let mut reader = Reader::new(boot_time()).ok()?;
    let home = reader.open(pid).ok()?;
    let stat = reader.stat(&home).ok()?;
    (!stat.zombie).then_some(ProcessId { pid, start_ticks: StartTicks(stat.start) })
}

/// Number and start of a child that its parent has yet to wait for; none when there is no such process.
/// Unlike [`identify`] it knows a zombie, too.
#[must_use]
pub fn identify_child(pid: Pid) -> Option<ProcessId> {
    let mut reader = Reader::new(boot_time()).ok()?;
    let home = reader.open(pid).ok()?;
    let stat = reader.stat(&home).ok()?;
    Some(ProcessId { pid, start_ticks: StartTicks(stat.start) })
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
    fn new(boot: Timestamp) -> std::io::Result<Self> {
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

    fn summary(&mut self, pid: Pid) -> Option<ProcessSummary> {
        let home = self.open(pid).ok()?;
        self.summary_at(pid, &home)
    }

    fn summary_at(&mut self, pid: Pid, home: &OwnedFd) -> Option<ProcessSummary> {
        // The directory belongs to the effective user even where the files in it belong to root
        // because the process may not be dumped.
        let uid = statx(home, "", AtFlags::EMPTY_PATH, StatxFlags::UID).ok()?.stx_uid;
        let stat = self.stat(home).ok()?;
        let none = |why: &str| (Vec::new(), Known::Unknown(why.to_owned()), Known::Unknown(why.to_owned()));
        let mut zombie = stat.zombie;
        let (command, cwd, executable) = if stat.kernel {
            none("a kernel thread")
        } else if stat.zombie {
            none("a zombie")
        } else {
            let read = read_short(home, "cmdline", &mut self.bytes);
            let command = if read.is_ok() { parse::command(&self.bytes) } else { Vec::new() };
            let cwd = place(home.as_fd(), "cwd", &mut self.link);
            let executable = place(home.as_fd(), "exe", &mut self.link);
            if matches!(cwd, Err(Errno::NOENT | Errno::SRCH)) {
                zombie = self.stat(home).ok()?.zombie;
            }
            (command, known(cwd), known(executable))
        };
        Some(ProcessSummary {
            id: ProcessId { pid, start_ticks: StartTicks(stat.start) },
            parent: Pid(stat.parent),
            session: Pid(stat.session),
            uid,
            started: self.started(stat.start),
            zombie,
            command,
            cwd,
            executable,
        })
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
    fn open_files(&mut self, home: &OwnedFd) -> Known<Vec<Place>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let entries = openat(home, "fd", flags, Mode::empty()).and_then(rustix::fs::Dir::new);
        let entries = match entries {
            Ok(entries) => entries,
            Err(error) => return Known::Unknown(why(error)),
        };
        let mut places = Vec::new();
        for entry in entries {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => return Known::Unknown(why(error)),
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
        Known::Known(places)
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
fn mapped_files(home: &OwnedFd) -> Known<Vec<Place>> {
    let bytes = match read_long(home, "maps") {
        Ok(bytes) => bytes,
        Err(error) => return Known::Unknown(why(error)),
    };
    let mut seen: Vec<(PathBuf, Inode)> = Vec::new();
    for line in bytes.split(|&byte| byte == b'\n') {
        if let Some(mapping) = parse::mapping(line)
            && !seen.contains(&mapping)
        {
            seen.push(mapping);
        }
    }
    Known::Known(seen.into_iter().map(|(path, inode)| mapped_place(path, inode)).collect())
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

fn read_environment(home: &OwnedFd) -> Known<Vec<(String, String)>> {
    match read_long(home, "environ") {
        Ok(bytes) => Known::Known(parse::environment(&bytes)),
        Err(error) => Known::Unknown(why(error)),
    }
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
        Err(error) => Known::Unknown(why(error)),
    }
}

fn why(error: Errno) -> String {
    match error {
        Errno::ACCESS | Errno::PERM => "not permitted: another user's process".to_owned(),
        Errno::NOENT | Errno::SRCH => "it ended while it was read".to_owned(),
        other => std::io::Error::from(other).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;
    use std::process::{Command, Stdio};

    use super::super::testchild::{IDLE, TestChild};
    use super::*;

    fn script(directory: &Path, text: &str) -> TestChild {
        TestChild::python(directory, text).0
    }

    fn inode(path: &Path) -> Inode {
        let found = std::fs::metadata(path).unwrap();
        Inode { device: found.dev(), number: found.ino() }
    }

    #[test]
    fn the_walk_finds_this_very_process_and_its_child() {
        let room = tempfile::tempdir().unwrap();
        let before = Timestamp::now();
        let child = script(room.path(), IDLE);
        let table = walk().unwrap();
        let own = table.get(Pid(std::process::id())).unwrap();
        let seen = table.get(Pid(child.id())).unwrap();
        assert_eq!(seen.parent, own.id.pid);
        assert_eq!(seen.session, own.session);
        assert_eq!(seen.uid, nix::unistd::geteuid().as_raw());
        assert_eq!(seen.command.get(1..).unwrap(), ["-c", IDLE]);
        assert!(!seen.zombie);
        let place = seen.cwd.known().unwrap();
        assert_eq!((place.inode, place.deleted), (Some(inode(room.path())), false));
        assert_eq!(place.path, room.path().canonicalize().unwrap());
        assert!(seen.executable.known().unwrap().path.to_str().unwrap().contains("python3"));
        let late = seen.started.duration_since(before).as_millis().abs();
        assert!(late < 2_000, "{late} ms between the start seen and the start made");
        assert_eq!(identify(Pid(child.id())), Some(seen.id));
        assert!(table.processes.is_sorted_by_key(|process| process.id.pid));
        drop(child);
    }

    #[test]
    fn a_deleted_directory_is_told_from_one_that_is_called_so() {
        let room = tempfile::tempdir().unwrap();
        let cwd = |child: &TestChild| facts(Pid(child.id())).unwrap().summary.cwd.known().unwrap().clone();
        let called = room.path().canonicalize().unwrap().join("3 (deleted)");
        std::fs::create_dir(&called).unwrap();
        let child = script(&called, IDLE);
        assert_eq!(cwd(&child), Place { path: called.clone(), deleted: false, inode: Some(inode(&called)) });
        drop(child);

        let gone = called.with_file_name("3");
        std::fs::create_dir(&gone).unwrap();
        let was = inode(&gone);
        let child = script(&gone, IDLE);
        std::fs::remove_dir(&gone).unwrap();
        // `3 (deleted)` is there beside it and must not be taken for it.
        assert_eq!(cwd(&child), Place { path: gone, deleted: true, inode: Some(was) });
        drop(child);
    }

    #[test]
    fn facts_name_open_and_mapped_files_and_the_environment() {
        let room = tempfile::tempdir().unwrap();
        let room = room.path().canonicalize().unwrap();
        std::fs::write(room.join("open"), "x").unwrap();
        std::fs::write(room.join("mapped"), "x".repeat(5000)).unwrap();
        let text = "
import mmap, os, time
a = open('open'); d = os.open('.', os.O_RDONLY); b = open('mapped')
m = mmap.mmap(b.fileno(), 0, prot=mmap.PROT_READ); n = mmap.mmap(b.fileno(), 0, prot=mmap.PROT_READ)
b.close(); r = os.pipe()
print('ready', flush=True); time.sleep(600)";
        let child = script(&room, text);
        let facts = facts(Pid(child.id())).unwrap();
        let here = |path: &Path| Place { path: path.to_owned(), deleted: false, inode: Some(inode(path)) };
        let open = facts.open_files.known().unwrap();
        assert!(open.contains(&here(&room.join("open"))) && open.contains(&here(&room)), "{open:?}");
        assert!(open.iter().all(|place| place.path.is_absolute()), "no pipes, no sockets: {open:?}");
        let mapped: Vec<&Place> =
            facts.mapped_files.known().unwrap().iter().filter(|place| place.path.starts_with(&room)).collect();
        // Python keeps a descriptor of its own for each map; the mapping is listed once nevertheless.
        assert_eq!(mapped, [&here(&room.join("mapped"))]);
        let pair = ("MARK".to_owned(), "a=b".to_owned());
        assert!(facts.environment.known().unwrap().contains(&pair));
        assert_eq!(environment(facts.summary.id), Some(facts.environment.clone()));
        let earlier = ProcessId { start_ticks: StartTicks(facts.summary.id.start_ticks.0 - 1), ..facts.summary.id };
        assert_eq!(environment(earlier), None);
        drop(child);
    }

    #[test]
    fn a_program_may_have_any_name() {
        let room = tempfile::tempdir().unwrap();
        let program = room.path().join("a) R 1 (b");
        // By another process: a child that another test starts right now would inherit the file open for writing.
        assert!(Command::new("cp").arg("/bin/sleep").arg(&program).status().unwrap().success());
        let child = TestChild::spawn(Command::new(&program).arg("600"));
        let seen = facts(Pid(child.id())).unwrap().summary;
        assert_eq!(seen.parent, Pid(std::process::id()));
        assert_eq!(seen.executable.known().unwrap().path, program.canonicalize().unwrap());
        drop(child);
    }

    #[test]
    fn a_zombie_is_flagged_and_has_no_facts() {
        let mut child = TestChild::spawn(Command::new("true").stdout(Stdio::piped()));
        // The pipe closes as it ends; the kernel makes it a zombie right after.
        child.stdout.take().unwrap().read_to_end(&mut Vec::new()).unwrap();
        let pid = Pid(child.id());
        while identify(pid).is_some() {
            std::thread::yield_now();
        }
        assert!(walk().unwrap().get(pid).unwrap().zombie);
        assert_eq!(facts(pid), None);
        assert_eq!(identify_child(pid).map(|id| id.pid), Some(pid));
        child.wait().unwrap();
        assert_eq!(walk().unwrap().get(pid), None);
    }
}
