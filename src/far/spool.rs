//! The lines of one run on disk: written by its runner, read by any number of fronts.
//!
//! Whoever has the kernel's lock on it may write. A line counts when its line break is there.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use jiff::Timestamp;
use rustix::fs::{FallocateFlags, FlockOperation, OFlags, fallocate, flock};
use rustix::io::Errno;

use crate::documents::wire::bounds;
use crate::documents::wire::{FIRST, Line, What};

/// Most bytes of events; those that come after are counted.
const EVENTS_LIMIT: usize = 256 * 1024;

/// Taken from the disk at the beginning, so that a disk that fills up during the pass does not swallow its report: all
/// events, the report, and the few lines around them.
const RESERVE: u64 = (EVENTS_LIMIT + bounds::LINE + 64 * 1024) as u64;

/// What is to be done with a spool.
#[derive(Debug)]
pub enum State {
    /// There is none.
    Absent,
    /// There is one, and whose it was has ended or has never begun. The lock is ours with the file.
    Free(File),
    /// Somebody writes it, or is about to.
    Taken,
}

/// The writing end.
#[derive(Debug)]
pub struct Spool {
    file: File,
    next: u64,
    spent: usize,
    omitted: u64,
    broken: bool,
}

impl Spool {
    /// Tries to take a spool, and makes it if `make`.
    ///
    /// # Errors
    /// What the file system refuses.
    pub fn open(path: &Path, make: bool) -> io::Result<State> {
        loop {
            let mut options = OpenOptions::new();
            options.read(true).append(true).create(make).mode(0o600);
            let flags = i32::try_from((OFlags::NOFOLLOW | OFlags::CLOEXEC).bits()).unwrap_or_default();
            let file = match options.custom_flags(flags).open(path) {
                Ok(file) => file,
                Err(error) if error.kind() == ErrorKind::NotFound && !make => return Ok(State::Absent),
                Err(error) => return Err(error),
            };
            let ours = lock(&file)?;
            // Cleared away between the two.
            if file.metadata()?.nlink() == 0 {
                continue;
            }
            return Ok(if ours { State::Free(file) } else { State::Taken });
        }
    }

    /// Takes space for what is going to be said.
    ///
    /// # Errors
    /// There is none. File systems that cannot promise any are no error.
    pub fn reserve(file: &File) -> io::Result<()> {
        match fallocate(file, FallocateFlags::KEEP_SIZE, 0, RESERVE) {
            Err(error @ (Errno::NOSPC | Errno::DQUOT | Errno::FBIG)) => Err(error.into()),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Writes from that line on into a file whose lock is held.
    #[must_use]
    pub fn from(file: File, next: u64) -> Self {
        Self { file, next, spent: 0, omitted: 0, broken: false }
    }

    /// Writes from the first line on.
    #[must_use]
    pub fn new(file: File) -> Self {
        Self::from(file, FIRST)
    }

    /// Says something. What cannot be written is lost, and so is everything after it: lines have no gaps.
    pub fn say(&mut self, what: What) {
        if matches!(what, What::Event(_)) && self.spent >= EVENTS_LIMIT {
            self.omitted += 1;
            return;
        }
        let omitted = std::mem::take(&mut self.omitted);
        if omitted > 0 {
            self.write(What::Omitted(omitted));
        }
        self.write(what);
    }

    /// Gives back what was reserved and not used: runs are kept for days. A file system that cannot is no error.
    pub fn give_back(&self) {
        // As long as it is: what lies beyond the end is freed.
        let _ = self.file.metadata().and_then(|found| self.file.set_len(found.len()));
    }

    /// Something could not be written.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.broken
    }

    fn write(&mut self, what: What) {
        if self.broken {
            return;
        }
        let line = Line { seq: self.next, at: Timestamp::now(), what };
        let written = bounds::line(line).map_err(io::Error::from).and_then(|text| {
            self.spent += text.len();
            self.file.write_all(&text)
        });
        match written {
            Ok(()) => self.next += 1,
            Err(error) => {
                // The pass is what counts; whoever waits is told by the missing end.
                tracing::warn!(%error, "cannot write what the pass tells; it goes on");
                self.broken = true;
            }
        }
    }
}

/// Tries to take the lock.
pub(super) fn lock(file: &File) -> io::Result<bool> {
    loop {
        match flock(file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(true),
            Err(Errno::WOULDBLOCK) => return Ok(false),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Lets the lock go, whoever else has the file open.
pub(super) fn unlock(file: &File) -> io::Result<()> {
    Ok(flock(file, FlockOperation::Unlock)?)
}
