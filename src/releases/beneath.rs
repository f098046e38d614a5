//! Ways below the root that no link can lead astray: every directory on them is opened by its name, relative to
//! the one before it, and none through a link. Root works in places that other users may change meanwhile.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::place::{self, DIRECTORY, own_directory};
use crate::host::users::User;
use crate::model::app::App;
use crate::model::names::{RelativePath, ReleaseId, Root};
use crate::ports::{HostError, HostErrorKind};

/// So many directories in one another are gone into, where each is held open: an archive cannot bring more of them,
/// no tree that people work with comes near, and 1024 descriptors are enough for it.
pub(super) const DEPTH: usize = 200;

/// Says of a directory that it is deeper than [`DEPTH`]: where that begins, and not two hundred names.
pub(super) fn deep(shown: &Path, depth: usize) -> String {
    // One more than the directory that is gone into: the name that shows which of them it is.
    let head = shown.ancestors().nth(depth.saturating_sub(1)).unwrap_or(shown);
    let above = head.parent().unwrap_or(head);
    format!("`{}` has more than {DEPTH} directories in one another, from `{}` on", above.display(), head.display())
}

/// Whom something that we make is given to; none where it is ours anyway.
pub(super) type Owner = Option<place::Owner>;

/// The App's user, where we may give things to him.
pub(super) fn owner(app: &App) -> Result<Owner, HostError> {
    Ok(place::owner(&User::of(app)?))
}

/// The root itself, which may well be reached through links: it is the person's word.
pub(super) fn open_root(root: &Root) -> Result<OwnedFd, HostError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, root.path(), flags, Mode::empty())
        .map_err(|error| HostError::io(format!("cannot open the root `{root}`"), &error.into()))
}

/// The directory of a release.
pub(super) fn open_release(opened: BorrowedFd<'_>, root: &Root, id: &ReleaseId) -> Result<OwnedFd, HostError> {
    let releases = match directory(opened, OsStr::new("releases")) {
        Err(error) if error != Errno::NOENT => return Err(no_releases(root, error)),
        releases => releases,
    };
    let release = releases.and_then(|releases| directory(releases.as_fd(), OsStr::new(id.as_str())));
    release.map_err(|error| {
        let shown = root.release(id);
        if matches!(error, Errno::NOENT | Errno::NOTDIR | Errno::LOOP) {
            let message = format!("the release `{}` is not a directory", shown.display());
            return HostError::new(HostErrorKind::Misconfigured, message)
                .with_help("a release is a real directory in `releases/`, not a link to one");
        }
        HostError::io(format!("cannot open the release `{}`", shown.display()), &error.into())
    })
}

/// Why `releases/` could not be opened, or made.
pub(super) fn no_releases(root: &Root, error: Errno) -> HostError {
    let shown = root.releases();
    if !is_barred(error) {
        return HostError::io(format!("cannot open `{}` as a directory", shown.display()), &error.into());
    }
    let message = format!("`{}` is a link or no directory at all", shown.display());
    HostError::new(HostErrorKind::Misconfigured, message).with_help(
        "it has to be a real directory of the root; to have it on another disk, mount that there (`mount --bind`), or set \
         `spec.root` to a directory on that disk",
    )
}

/// A directory of that name; a link is none.
pub(super) fn directory(at: BorrowedFd<'_>, name: &OsStr) -> rustix::io::Result<OwnedFd> {
    rustix::fs::openat(at, name, DIRECTORY, Mode::empty())
}

/// A directory of that name, made (mode 0755) if need be.
pub(super) fn made(at: BorrowedFd<'_>, name: &OsStr, owner: Owner) -> rustix::io::Result<OwnedFd> {
    own_directory(at, name, 0o755, owner)
}

/// The directory at the end of a path, which is empty for `at` itself; what is not there is an error.
pub(super) fn descend(at: BorrowedFd<'_>, path: &Path) -> rustix::io::Result<OwnedFd> {
    walk(at, path, directory)
}

/// The same, where what is not there is made.
pub(super) fn descend_making(at: BorrowedFd<'_>, path: &Path, owner: Owner) -> rustix::io::Result<OwnedFd> {
    walk(at, path, |at, name| made(at, name, owner))
}

fn walk(
    at: BorrowedFd<'_>,
    path: &Path,
    mut step: impl FnMut(BorrowedFd<'_>, &OsStr) -> rustix::io::Result<OwnedFd>,
) -> rustix::io::Result<OwnedFd> {
    let mut here = rustix::io::fcntl_dupfd_cloexec(at, 3)?;
    for name in path {
        here = step(here.as_fd(), name)?;
    }
    Ok(here)
}

/// What stands at a name, not what a link there leads to; none where nothing stands there.
pub(super) fn look(at: BorrowedFd<'_>, name: &OsStr) -> rustix::io::Result<Option<Stat>> {
    match rustix::fs::statat(at, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(found) => Ok(Some(found)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

/// `./a//b/` is `a/b`.
pub(super) fn normal(path: &RelativePath) -> PathBuf {
    path.as_path().components().filter(|part| matches!(part, Component::Normal(_))).collect()
}

/// Whether something on the way is a link, or is no directory.
pub(super) fn is_barred(error: Errno) -> bool {
    matches!(error, Errno::NOTDIR | Errno::LOOP)
}
