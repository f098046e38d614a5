//! Whether a process means the same directory by a name as we do.
//!
//! A container on this host has processes that we see, and paths of its own: its `/srv/app` may be another one.

use std::path::Path;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags, StatxFlags, openat, openat2, statx};
use rustix::io::Errno;

use super::place::{inode, inode_of};
use crate::model::process::{Inode, Pid};

/// Whether a process has mounts of its own, and among them another directory, or none, where `directory` is here.
///
/// No, when that cannot be told: only what is certain sets a process aside. `directory` is absolute.
#[must_use]
pub fn is_elsewhere(pid: Pid, directory: &Path) -> bool {
    let mounts = |whose: &str| inode_of(Path::new(&format!("/proc/{whose}/ns/mnt")));
    let (Some(theirs), Some(ours)) = (mounts(&pid.to_string()), mounts("self")) else { return false };
    theirs != ours && inode_of(directory).is_some_and(|here| is_another(as_seen_by(pid, directory), here))
}

fn is_another(there: Result<Inode, Errno>, here: Inode) -> bool {
    match there {
        Ok(there) => there != here,
        Err(error) => matches!(error, Errno::NOENT | Errno::NOTDIR),
    }
}

/// What that process finds at a path, links in its own world included.
fn as_seen_by(pid: Pid, path: &Path) -> Result<Inode, Errno> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let root = match openat(CWD, format!("/proc/{pid}/root"), flags | OFlags::DIRECTORY, Mode::empty()) {
        // It ended: that says nothing of where it was.
        Err(Errno::NOENT) => return Err(Errno::SRCH),
        root => root?,
    };
    let found = openat2(&root, path, flags, Mode::empty(), ResolveFlags::IN_ROOT)?;
    let found = statx(&found, "", AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC, StatxFlags::INO)?;
    Ok(inode(&found))
}
