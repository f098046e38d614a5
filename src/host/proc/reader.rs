//! Reads what `/proc` shows of one process, through one handle on its directory.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use jiff::Timestamp;
use rustix::buffer::spare_capacity;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, StatxFlags, openat, statx};
use rustix::io::Errno;

use super::parse::{self, Stat};
use super::place::{is_file_or_directory, mapped_place, place, place_of_kind};
use super::{id, trouble};
use crate::model::process::{Inode, Known, Pid, Place, ProcessSummary};

/// More of a command line than this is cut off: nobody's release stands behind it.
const COMMAND_LIMIT: usize = 32 * 1024;

/// More of an environment or a list of mappings than this is cut off; the kernel's own limits are far higher.
const FACTS_LIMIT: u64 = 4 * 1024 * 1024;

/// One walk: the clock's offset and the buffers are made once.
pub(super) struct Reader {
    proc: OwnedFd,
    /// Wall time of the boot.
    boot: Timestamp,
    ticks_per_second: u64,
    bytes: Vec<u8>,
    link: Vec<u8>,
}

impl Reader {
    pub(super) fn new(boot: Timestamp) -> Result<Self, Errno> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self {
            proc: openat(CWD, "/proc", flags, Mode::empty())?,
            boot,
            ticks_per_second: rustix::param::clock_ticks_per_second().max(1),
            bytes: Vec::with_capacity(4096),
            link: Vec::with_capacity(512),
        })
    }

    pub(super) fn open(&self, pid: Pid) -> Result<OwnedFd, Errno> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        openat(&self.proc, pid.to_string(), flags, Mode::empty())
    }

    pub(super) fn stat(&mut self, home: &OwnedFd) -> Result<Stat, Errno> {
        read_short(home, "stat", &mut self.bytes)?;
        parse::stat(&self.bytes).ok_or(Errno::SRCH)
    }

    /// None when it is gone.
    pub(super) fn summary(&mut self, pid: Pid) -> Result<Option<ProcessSummary>, Errno> {
        match there(self.open(pid))? {
            Some(home) => self.summary_at(pid, &home),
            None => Ok(None),
        }
    }

    pub(super) fn summary_at(&mut self, pid: Pid, home: &OwnedFd) -> Result<Option<ProcessSummary>, Errno> {
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
    pub(super) fn open_files(&mut self, home: &OwnedFd) -> Result<Known<Vec<Place>>, Errno> {
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
pub(super) fn there<T>(step: Result<T, Errno>) -> Result<Option<T>, Errno> {
    match step {
        Ok(found) => Ok(Some(found)),
        Err(Errno::NOENT | Errno::SRCH) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Lets through what says something of the process; what says something of us, who look, is an error.
pub(super) fn in_want<T>(step: Result<T, Errno>) -> Result<Result<T, Errno>, Errno> {
    match step {
        Err(error) if trouble::is_want(error) => Err(error),
        step => Ok(step),
    }
}

/// Mapped files, each once.
pub(super) fn mapped_files(home: &OwnedFd) -> Result<Known<Vec<Place>>, Errno> {
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

/// Names and values, as far as they may be read.
pub(super) fn read_environment(home: &OwnedFd) -> Result<Known<Vec<(String, String)>>, Errno> {
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
pub(super) fn read_long(home: &OwnedFd, name: &str) -> Result<Vec<u8>, Errno> {
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
