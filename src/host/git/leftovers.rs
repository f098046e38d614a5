//! What killed commands leave in a mirror: git itself would stumble over it for ever.

use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, Dir, Mode, OFlags};
use rustix::io::Errno;

use super::INDEX;

/// How a directory is opened, and never a link to one.
const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Removes what commands that were killed have left in a mirror. Whoever calls holds the lock that git holds too, so
/// none of it is in use.
///
/// # Errors
/// What the file system refuses.
pub fn clean(mirror: &OwnedFd) -> rustix::io::Result<()> {
    let is_lock = |name: &str| name.strip_suffix(".lock").is_some() || name.starts_with(INDEX);
    let is_half = |name: &str| name.starts_with("tmp_");
    clean_one(mirror, &[], is_lock)?;
    clean_one(mirror, &["refs", "trueup"], is_lock)?;
    clean_one(mirror, &["objects"], is_half)?;
    clean_one(mirror, &["objects", "pack"], is_half)
}

fn clean_one(mirror: &OwnedFd, below: &[&str], leftover: impl Fn(&str) -> bool) -> rustix::io::Result<()> {
    let mut directory = mirror.try_clone().map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    for name in below {
        directory = match rustix::fs::openat(&directory, *name, DIRECTORY, Mode::empty()) {
            Ok(directory) => directory,
            Err(Errno::NOENT) => return Ok(()),
            Err(error) => return Err(error),
        };
    }
    for entry in Dir::read_from(&directory)? {
        let entry = entry?;
        if !entry.file_type().is_dir() && entry.file_name().to_str().is_ok_and(&leftover) {
            match rustix::fs::unlinkat(&directory, entry.file_name(), AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}
