//! A release that is a copy of a directory on the same host.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::beneath::{DEPTH, deep};
use super::place::{DIRECTORY, Owner, ReleaseDirectory, finish, give_link, kind};
use crate::host::way::{self, Led, OpenError, Wanted};
use crate::ports::{HostError, HostErrorKind};

/// Copies the directory into the place. Blocks are shared where the file system can, inodes never are: a
/// build that edits in place would edit the source.
///
/// # Errors
/// A source that is absent, is empty, holds the root itself or lies in the release; what the file system refuses; and
/// whatever somebody leads root to who may not read it himself.
pub(super) fn fetch(place: &ReleaseDirectory, source_path: &Path) -> Result<(), HostError> {
    let (source, led) = open(place, source_path)?;
    let release = place.begin()?;
    let copied = copy_directory((source.as_fd(), &led), release.as_fd(), place.owner, source_path, 0)?;
    if copied == 0 {
        let message = format!("the source `{}` is empty", source_path.display());
        return Err(HostError::new(HostErrorKind::Misconfigured, message).with_help("put the release there"));
    }
    let mode = rustix::fs::fstat(&source).map_err(|error| place.failed(error))?.st_mode;
    place.finish(release.as_fd(), mode)
}

fn open(place: &ReleaseDirectory, path: &Path) -> Result<(OwnedFd, Led), HostError> {
    let shown = path.display();
    // The source itself may be a link: it is the person's word, not the tree's.
    let (source, led) = way::open(path, Wanted::Directory).map_err(|error| match error {
        OpenError::Failed(Errno::NOENT | Errno::NOTDIR) | OpenError::Other(_) => {
            HostError::new(HostErrorKind::Misconfigured, format!("the source `{shown}` is not a directory"))
                .with_help("correct `spec.release.source`, or put the release there")
        }
        error => astray(&format!("cannot open the source `{shown}`"), error),
    })?;
    let unresolved = |error: io::Error| HostError::io(format!("cannot resolve the source `{shown}`"), &error);
    let real = way::place(source.as_fd()).map_err(unresolved)?;
    if std::fs::canonicalize(place.root.path()).map_err(unresolved)?.starts_with(&real) {
        let message = format!("the source `{shown}` holds the root `{}`: it would be copied into itself", place.root);
        return Err(
            HostError::new(HostErrorKind::Misconfigured, message).with_help("move one of them out of the other")
        );
    }
    place.refuse_inside(&real)?;
    Ok((source, led))
}

/// What keeps us from something, in the words of this room.
pub(super) fn astray(doing: &str, error: OpenError) -> HostError {
    match error {
        OpenError::Failed(error) => HostError::io(doing, &error.into()),
        OpenError::Other(what) => HostError::new(HostErrorKind::Misconfigured, format!("{doing}: it {what}")),
        OpenError::Led { message, help } => {
            HostError::new(HostErrorKind::Denied, format!("{doing}: {message}")).with_help(help)
        }
    }
}

/// Copies what is in one directory into another and says how many entries that were. `depth` is that of the first in
/// the source.
fn copy_directory(
    (from, led): (BorrowedFd<'_>, &Led),
    to: BorrowedFd<'_>,
    owner: Option<Owner>,
    shown: &Path,
    depth: usize,
) -> Result<u64, HostError> {
    if depth > DEPTH {
        let message = format!("the source {}", deep(shown, depth));
        return Err(HostError::new(HostErrorKind::Misconfigured, message).with_help("take that out of the source"));
    }
    let mut copied = 0;
    let unreadable = |error: Errno| HostError::io(format!("cannot read `{}`", shown.display()), &error.into());
    for entry in Dir::read_from(from).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let shown = shown.join(name.to_string_lossy().as_ref());
        let failed = |error: Errno| HostError::io(format!("cannot copy `{}`", shown.display()), &error.into());
        let led_astray = |error: OpenError| astray(&format!("cannot copy `{}`", shown.display()), error);
        let found = rustix::fs::statat(from, name, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
        match kind(&found) {
            FileType::Directory => {
                let inner = rustix::fs::openat(from, name, DIRECTORY, Mode::empty()).map_err(failed)?;
                let led = led.beyond(inner.as_fd()).map_err(led_astray)?;
                rustix::fs::mkdirat(to, name, Mode::from_raw_mode(0o700)).map_err(failed)?;
                let made = rustix::fs::openat(to, name, DIRECTORY, Mode::empty()).map_err(failed)?;
                copy_directory((inner.as_fd(), &led), made.as_fd(), owner, &shown, depth + 1)?;
                finish(made.as_fd(), owner, found.st_mode).map_err(failed)?;
            }
            FileType::RegularFile => {
                // Nonblocking: a named pipe may stand here by now, and would wait for its writer.
                let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
                let original = rustix::fs::openat(from, name, OFlags::RDONLY | flags, Mode::empty()).map_err(failed)?;
                let found = rustix::fs::fstat(&original).map_err(failed)?;
                if kind(&found) != FileType::RegularFile {
                    return Err(led_astray(OpenError::Other("is no file any more")));
                }
                led.allows(original.as_fd()).map_err(led_astray)?;
                let fresh = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | flags;
                let copy = rustix::fs::openat(to, name, fresh, Mode::from_raw_mode(0o600)).map_err(failed)?;
                copy_file(original, &copy)
                    .map_err(|error| HostError::io(format!("cannot copy `{}`", shown.display()), &error))?;
                finish(copy.as_fd(), owner, found.st_mode).map_err(failed)?;
            }
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(from, name, Vec::new()).map_err(failed)?;
                rustix::fs::symlinkat(&target, to, name).map_err(failed)?;
                give_link(to, name, owner).map_err(failed)?;
            }
            _ => {
                let message = format!("`{}` is neither a file, a directory nor a link", shown.display());
                return Err(
                    HostError::new(HostErrorKind::Misconfigured, message).with_help("take it out of the source")
                );
            }
        }
        copied += 1;
    }
    Ok(copied)
}

/// Shares the blocks where the file system can, else copies them.
pub(super) fn copy_file(original: OwnedFd, copy: &OwnedFd) -> io::Result<()> {
    if rustix::fs::ioctl_ficlone(copy, &original).is_ok() {
        return Ok(());
    }
    let (mut original, mut copy) = (File::from(original), File::from(copy.try_clone()?));
    io::copy(&mut original, &mut copy).map(|_| ())
}
