//! Deletes a tree that other users may go on changing, whatever they have put into it.
//!
//! Links are removed, never followed; what is mounted in there is not the tree's, and is left alone. However deep the
//! tree is, few of its directories are open at a time: what lies deeper moves up to its top, and goes from there.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::beneath::{self, look};
use super::place::kind;
use crate::ports::{HostError, HostErrorKind};

/// So many directories in one another are gone into; what is deeper moves up first.
const DEPTH: usize = 32;
/// Names that are read at a time: a directory may hold millions.
const BATCH: usize = 10_000;
/// So often is a directory emptied in which somebody goes on making files.
const ROUNDS: u32 = 5;
/// So many names are tried for what moves up.
const NAMES: u32 = 100;
/// Reading, writing and passing for the owner.
const FOR_THE_OWNER: u32 = 0o700;

/// Deletes something with all that is in it; what is not there is success. `shown` is its path, for people.
///
/// # Errors
/// Something that is mounted in there, and what the file system refuses; the rest of the tree is then still there.
pub(super) fn delete(at: BorrowedFd<'_>, name: &OsStr, shown: &Path) -> Result<(), HostError> {
    Deletion::default().run(at, name, shown, 0).map_err(|(place, error)| told(&place, error))
}

fn told(place: &Path, error: Errno) -> HostError {
    let place = place.display();
    match error {
        Errno::XDEV | Errno::BUSY => {
            let message = format!("cannot remove `{place}`: another file system is mounted there");
            HostError::new(HostErrorKind::Hindered, message).with_help("unmount it, then run again")
        }
        Errno::ACCESS | Errno::PERM => {
            let message = format!("cannot remove `{place}`: {}", std::io::Error::from(error));
            HostError::new(HostErrorKind::Denied, message).with_help("remove it as its owner or as root")
        }
        error => HostError::io(format!("cannot remove `{place}`"), &error.into()),
    }
}

#[derive(Default)]
struct Deletion {
    /// The tree's own directory; none before it is open.
    top: Option<OwnedFd>,
    /// Directories that have moved up to it.
    moved: u64,
}

impl Deletion {
    /// The error says where that failed.
    fn run(&mut self, at: BorrowedFd<'_>, name: &OsStr, shown: &Path, depth: usize) -> Result<(), (PathBuf, Errno)> {
        let failed = |error: Errno| (shown.to_owned(), error);
        let Some(found) = look(at, name).map_err(failed)? else { return Ok(()) };
        if kind(&found) != FileType::Directory {
            return unlinked(at, name, AtFlags::empty()).map_err(failed);
        }
        let inner = match entered(at, name, found.st_dev) {
            Ok(inner) => inner,
            // An empty one goes without being looked into.
            Err(Errno::ACCESS) => return unlinked(at, name, AtFlags::REMOVEDIR).map_err(|_| failed(Errno::ACCESS)),
            Err(error) => return Err(failed(error)),
        };
        if found.st_mode & FOR_THE_OWNER != FOR_THE_OWNER {
            // Caches are often made read-only. Where this is refused, what follows tells why.
            let _ = rustix::fs::fchmod(&inner, Mode::from_raw_mode(FOR_THE_OWNER));
        }
        if depth == 0 {
            self.top =
                Some(inner.try_clone().map_err(|error| failed(Errno::from_io_error(&error).unwrap_or(Errno::IO)))?);
        } else if depth >= DEPTH {
            match self.move_up(at, name) {
                Ok(()) => return Ok(()),
                // An overlay does not let go of what lies in its lower layers, nor a user of what is another one's.
                Err(_) if depth < beneath::DEPTH => {}
                Err(error) => return Err(failed(error)),
            }
        }
        let mut rounds = 0;
        loop {
            let moved = self.moved;
            let (names, all) = names(inner.as_fd()).map_err(failed)?;
            for entry in names {
                self.run(inner.as_fd(), &entry, &shown.join(&entry), depth + 1)?;
            }
            match unlinked(at, name, AtFlags::REMOVEDIR) {
                Err(Errno::NOTEMPTY | Errno::EXIST) => {}
                other => return other.map_err(failed),
            }
            // Not of our own making, then.
            if all && moved == self.moved {
                rounds += 1;
            }
            if rounds == ROUNDS {
                return Err(failed(Errno::NOTEMPTY));
            }
        }
    }

    /// Brings a deep directory up to the top, where it is found again.
    fn move_up(&mut self, at: BorrowedFd<'_>, name: &OsStr) -> rustix::io::Result<()> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let Some(top) = &self.top else { return Err(Errno::BADF) };
        for _ in 0..NAMES {
            let number = NUMBER.fetch_add(1, Ordering::Relaxed);
            match rustix::fs::renameat(at, name, top, format!(".trueup-deep-{}-{number}", std::process::id())) {
                // What an earlier removal has left has that name.
                Err(Errno::NOTEMPTY | Errno::EXIST | Errno::NOTDIR) => {}
                Ok(()) | Err(Errno::NOENT) => {
                    self.moved += 1;
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
        Err(Errno::EXIST)
    }
}

/// Opens a directory that is no link and where nothing is mounted; one that is closed to its owner is opened to him.
fn entered(at: BorrowedFd<'_>, name: &OsStr, device: u64) -> rustix::io::Result<OwnedFd> {
    match opened(at, name, device, OFlags::RDONLY) {
        Err(Errno::ACCESS) => {
            // A path is held without any right to what is in it. By that, the mode of this very directory changes,
            // whatever stands at its name by now.
            let held = opened(at, name, device, OFlags::PATH)?;
            let itself = format!("/proc/self/fd/{}", held.as_raw_fd());
            rustix::fs::chmodat(CWD, &itself, Mode::from_raw_mode(FOR_THE_OWNER), AtFlags::empty())
                .map_err(|_| Errno::ACCESS)?;
            opened(at, name, device, OFlags::RDONLY)
        }
        opened => opened,
    }
}

fn opened(at: BorrowedFd<'_>, name: &OsStr, device: u64, how: OFlags) -> rustix::io::Result<OwnedFd> {
    let flags = how | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    match rustix::fs::openat2(at, name, flags, Mode::empty(), resolve) {
        // The call may be missing or filtered; then a mount of the same file system goes unseen.
        Err(Errno::NOSYS | Errno::PERM) => {
            if rustix::fs::fstat(at)?.st_dev != device {
                return Err(Errno::XDEV);
            }
            rustix::fs::openat(at, name, flags, Mode::empty())
        }
        opened => opened,
    }
}

fn unlinked(at: BorrowedFd<'_>, name: &OsStr, flags: AtFlags) -> rustix::io::Result<()> {
    match rustix::fs::unlinkat(at, name, flags) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Some names in a directory, and whether they are all.
fn names(directory: BorrowedFd<'_>) -> rustix::io::Result<(Vec<OsString>, bool)> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name == b"." || name == b".." {
            continue;
        }
        if names.len() == BATCH {
            return Ok((names, false));
        }
        names.push(OsString::from_vec(name.to_vec()));
    }
    Ok((names, true))
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::super::beneath::directory;
    use super::*;

    /// Makes so many directories in one another, the last with a file and a link out of the tree in it.
    fn nest(top: &Path, levels: u32) {
        fs::create_dir(top).unwrap();
        let mut here = OwnedFd::from(File::open(top).unwrap());
        for _ in 0..levels {
            rustix::fs::mkdirat(&here, "d", Mode::from_raw_mode(0o755)).unwrap();
            here = directory(here.as_fd(), OsStr::new("d")).unwrap();
        }
        let file = OFlags::WRONLY | OFlags::CREATE;
        rustix::fs::openat(&here, "file", file, Mode::from_raw_mode(0o600)).unwrap();
        rustix::fs::symlinkat("/", &here, "link").unwrap();
    }

    fn open(place: &Path) -> File {
        File::open(place).unwrap()
    }

    #[test]
    fn a_tree_of_any_depth_goes_with_few_descriptors_and_little_stack() {
        let place = tempfile::tempdir().unwrap();
        for levels in [1, 31, 32, 33, 64, 65, 15_000] {
            let top = place.path().join("tree");
            nest(&top, levels);
            // What an earlier removal moved up, and did not get to.
            nest(&top.join(format!(".trueup-deep-{}-0", std::process::id())), 40);
            let above = open(place.path());
            std::thread::Builder::new()
                .stack_size(256 << 10)
                .spawn(move || delete(above.as_fd(), OsStr::new("tree"), &top).unwrap())
                .unwrap()
                .join()
                .unwrap();
            assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0, "{levels}");
        }
    }

    #[test]
    fn more_names_than_are_read_at_a_time_go_too() {
        let place = tempfile::tempdir().unwrap();
        let top = place.path().join("tree");
        fs::create_dir(&top).unwrap();
        for number in 0..=BATCH * (ROUNDS as usize + 1) {
            symlink("x", top.join(number.to_string())).unwrap();
        }
        delete(open(place.path()).as_fd(), OsStr::new("tree"), &top).unwrap();
        assert!(!top.exists());
    }

    #[test]
    fn what_is_closed_to_its_owner_goes_and_what_links_lead_to_stays_as_it_is() {
        let place = tempfile::tempdir().unwrap();
        let top = place.path().join("tree");
        fs::create_dir_all(top.join("a/b")).unwrap();
        fs::create_dir(place.path().join("outside")).unwrap();
        fs::write(place.path().join("outside/file"), "x").unwrap();
        symlink("../outside", top.join("link")).unwrap();
        symlink("../../outside", top.join("a/link")).unwrap();
        for (path, mode) in [("tree/a/b", 0), ("tree/a", 0o500), ("tree", 0o300), ("outside", 0o555)] {
            fs::set_permissions(place.path().join(path), fs::Permissions::from_mode(mode)).unwrap();
        }
        delete(open(place.path()).as_fd(), OsStr::new("tree"), &top).unwrap();
        assert!(!top.exists() && place.path().join("outside/file").exists());
        assert_eq!(fs::metadata(place.path().join("outside")).unwrap().permissions().mode() & 0o777, 0o555);
    }
}
