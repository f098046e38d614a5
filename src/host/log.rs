//! The folder of logs in a root.

use std::os::fd::OwnedFd;

use rustix::fs::{CWD, Gid, Mode, OFlags, Uid, fchmod, fchown, fstat, mkdirat, openat};
use rustix::io::Errno;

use crate::model::names::Root;

/// Opens `ROOT/.trueup/log`, or a folder below it, made (mode 0750, owned like the root) where it is missing. No
/// link is followed below the root: the folder may be writable to the App's user, and root must not be led elsewhere.
///
/// # Errors
/// What the file system refuses, and anything but a directory in its place.
pub fn folder(root: &Root, below: &[&str]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut folder = openat(CWD, root.path(), flags, Mode::empty())?;
    let owner = fstat(&folder)?;
    for name in [".trueup", "log"].iter().chain(below) {
        let made = match mkdirat(&folder, *name, Mode::from_raw_mode(0o750)) {
            Ok(()) => true,
            Err(Errno::EXIST) => false,
            Err(error) => return Err(error),
        };
        folder = openat(&folder, *name, flags | OFlags::NOFOLLOW, Mode::empty())?;
        if made {
            fchmod(&folder, Mode::from_raw_mode(0o750))?;
            if nix::unistd::geteuid().is_root() {
                fchown(&folder, Some(Uid::from_raw(owner.st_uid)), Some(Gid::from_raw(owner.st_gid)))?;
            }
        }
    }
    Ok(folder)
}
