//! Directories that a web user of the App's group writes to.
//!
//! A directory and all directories in it get their group's right to write and the set-group-id bit, so that what
//! is made in them belongs to the group too. Files are left as they are, since an application makes its own,
//! and so are other file systems that are mounted in there. Whatever is below is done first: a directory that is
//! writable has been dealt with whole, and one look tells.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Dir, FileType, Mode};
use rustix::io::Errno;

use super::beneath::{DEPTH, deep, descend, descend_making, directory, is_barred, look, normal};
use super::links::Linker;
use super::place::kind;
use crate::model::names::RelativePath;
use crate::ports::{HostError, HostErrorKind};

/// Reading, writing and passing for the group, and its id for what is made there.
const FOR_THE_GROUP: u32 = 0o2070;
/// Everything that a mode can say of a directory.
const MODE: u32 = 0o7777;

/// Whether there is such a directory, and its mode is right.
pub(super) fn is_writable(linker: &Linker<'_>, path: &RelativePath) -> Result<bool, HostError> {
    let place = Place::of(linker, path);
    let found = descend(place.above, &place.path).and_then(rustix::fs::fstat);
    match found {
        Ok(found) => Ok(has_rights(found.st_mode)),
        Err(error) if error == Errno::NOENT || is_barred(error) => Ok(false),
        Err(error) => Err(place.failed(error)),
    }
}

/// Makes the directory if need be, and then it and all in it writable.
pub(super) fn make_writable(linker: &Linker<'_>, path: &RelativePath) -> Result<(), HostError> {
    let place = Place::of(linker, path);
    let top = descend_making(place.above, &place.path, linker.owner).map_err(|error| place.failed(error))?;
    let found = rustix::fs::fstat(&top).map_err(|error| place.failed(error))?;
    if has_rights(found.st_mode) {
        return Ok(());
    }
    below(top.as_fd(), found.st_dev, &place.shown, 0).map_err(|fault| match fault {
        Fault::Refused(error) => place.failed(error),
        Fault::TooDeep(deep) => place.too_deep(&deep),
    })?;
    give_rights(top.as_fd(), found.st_mode).map_err(|error| place.failed(error))?;
    let after = rustix::fs::fstat(&top).map_err(|error| place.failed(error))?;
    if has_rights(after.st_mode) {
        return Ok(());
    }
    // The kernel takes the bit away, without a word, from who is not in the group.
    let message = format!("cannot make `{}` writable for its group {}", place.shown.display(), after.st_gid);
    Err(HostError::new(HostErrorKind::Denied, message)
        .with_help("run as root, or give it to a group that the App's user is in"))
}

fn has_rights(mode: u32) -> bool {
    mode & FOR_THE_GROUP == FOR_THE_GROUP
}

fn give_rights(directory: BorrowedFd<'_>, mode: u32) -> rustix::io::Result<()> {
    rustix::fs::fchmod(directory, Mode::from_raw_mode((mode & MODE) | FOR_THE_GROUP))
}

/// Why not all of them can be made writable.
enum Fault {
    Refused(Errno),
    TooDeep(String),
}

impl From<Errno> for Fault {
    fn from(error: Errno) -> Self {
        Self::Refused(error)
    }
}

fn below(above: BorrowedFd<'_>, device: u64, shown: &Path, depth: usize) -> Result<(), Fault> {
    if depth > DEPTH {
        return Err(Fault::TooDeep(deep(shown, depth)));
    }
    for entry in Dir::read_from(above)? {
        let entry = entry?;
        let name = std::os::unix::ffi::OsStrExt::from_bytes(entry.file_name().to_bytes());
        if name == "." || name == ".." {
            continue;
        }
        let Some(found) = look(above, name)? else { continue };
        if kind(&found) != FileType::Directory || found.st_dev != device {
            continue;
        }
        let inner = match directory(above, name) {
            Ok(inner) => inner,
            // Replaced or removed since, or private to the web user who made it: he can write to it.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::ACCESS) => continue,
            Err(error) => return Err(error.into()),
        };
        below(inner.as_fd(), device, &shown.join(name), depth + 1)?;
        if !has_rights(found.st_mode) {
            match give_rights(inner.as_fd(), found.st_mode) {
                Ok(()) | Err(Errno::PERM) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(())
}

/// Where a writable directory really is.
struct Place<'a> {
    above: BorrowedFd<'a>,
    path: PathBuf,
    shown: PathBuf,
    /// It lies in `shared/`, and says nothing about the release.
    is_shared: bool,
}

impl<'a> Place<'a> {
    /// In `shared/`, where it or what it is in is shared; else in the release.
    fn of(linker: &'a Linker<'_>, path: &RelativePath) -> Self {
        let path = normal(path);
        let app = linker.app;
        let is_shared = app.release.shared.dirs.iter().any(|shared| path.starts_with(normal(shared)));
        let held = |opened: &'a OwnedFd| opened.as_fd();
        if is_shared {
            let path = Path::new("shared").join(path);
            let shown = app.root.path().join(&path);
            return Self { above: held(&linker.root), path, shown, is_shared };
        }
        let shown = app.root.release(&app.release.id).join(&path);
        Self { above: held(&linker.release), path, shown, is_shared }
    }

    fn too_deep(&self, deep: &str) -> HostError {
        let kind = if self.is_shared { HostErrorKind::Hindered } else { HostErrorKind::Misconfigured };
        HostError::new(kind, format!("cannot make `{}` writable for its group: {deep}", self.shown.display()))
            .with_help("see who made them, and remove them")
    }

    fn failed(&self, error: Errno) -> HostError {
        let doing = format!("cannot make `{}` writable for its group", self.shown.display());
        if is_barred(error) {
            let message = format!("{doing}: it, or a part of the way to it, is a link or a file");
            return HostError::new(HostErrorKind::Misconfigured, message)
                .with_help("name the real directory, or see to its mode yourself and take it out of `writable`");
        }
        if error == Errno::PERM {
            return HostError::new(HostErrorKind::Denied, format!("{doing}: it belongs to somebody else"))
                .with_help("run as root, or as its owner");
        }
        HostError::io(doing, &error.into())
    }
}
