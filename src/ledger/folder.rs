//! The folder `ROOT/.trueup`, held open.
//!
//! Whoever owns the root can put links into it, and root works in there: so every file is opened
//! relative to the folder, by its plain name, and links are never followed.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use rustix::fs::{AtFlags, CWD, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;

use crate::host::kept::not_plain;
use crate::model::names::Root;
use crate::ports::HostError;

const NAME: &str = ".trueup";

/// `ROOT/.trueup`, held open.
pub(super) struct Folder {
    directory: OwnedFd,
    path: PathBuf,
    /// Whom new files are given to; none unless we are root.
    owner: Option<(Uid, Gid)>,
}

impl Folder {
    /// Opens the folder, making it (mode 0750) if need be.
    pub(super) fn open(root: &Root) -> Result<Self, HostError> {
        let above = above(root).map_err(|error| {
            let failed = HostError::io(format!("cannot open the root `{root}`"), &error);
            match error.kind() {
                io::ErrorKind::NotFound => failed.with_help("make it, or correct `spec.root` in the manifest"),
                _ => failed,
            }
        })?;
        let made = match rustix::fs::mkdirat(&above, NAME, Mode::from_raw_mode(0o750)) {
            Ok(()) => true,
            Err(Errno::EXIST) => false,
            Err(error) => {
                return Err(HostError::io(format!("cannot make `{}`", root.state().display()), &error.into()));
            }
        };
        let failed = |error: &io::Error| HostError::io(format!("cannot open `{}`", root.state().display()), error);
        let folder = Self::inside(root, &above).map_err(|error| failed(&error))?;
        if made {
            folder.settle(&folder.directory, 0o750).map_err(|error| failed(&error))?;
        }
        Ok(folder)
    }

    /// Opens the folder for reading; none when there is none.
    pub(super) fn existing(root: &Root) -> io::Result<Option<Self>> {
        let opened = above(root).and_then(|above| Self::inside(root, &above));
        match opened {
            Ok(folder) => Ok(Some(folder)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn inside(root: &Root, above: &OwnedFd) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = rustix::fs::openat(above, NAME, flags, Mode::empty())?;
        let owner = if rustix::process::geteuid().is_root() {
            let found = rustix::fs::fstat(above)?;
            Some((Uid::from_raw(found.st_uid), Gid::from_raw(found.st_gid)))
        } else {
            None
        };
        Ok(Self { directory, path: root.state(), owner })
    }

    /// The path of one file, for messages.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Opens a file to read and write it, making it (mode 0640) if need be.
    pub(super) fn file(&self, name: &str, extra: OFlags) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | extra;
        let mode = Mode::from_raw_mode(0o640);
        match rustix::fs::openat(&self.directory, name, flags | OFlags::CREATE | OFlags::EXCL, mode) {
            Ok(fresh) => {
                self.settle(&fresh, 0o640)?;
                Ok(File::from(fresh))
            }
            Err(Errno::EXIST) => plain(rustix::fs::openat(&self.directory, name, flags, Mode::empty())?),
            Err(error) => Err(error.into()),
        }
    }

    /// Opens a file for reading; none when there is none.
    pub(super) fn readable(&self, name: &str) -> io::Result<Option<File>> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        match rustix::fs::openat(&self.directory, name, flags, Mode::empty()) {
            Ok(opened) => plain(opened).map(Some),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Gives a file another name, replacing what has it.
    pub(super) fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        Ok(rustix::fs::renameat(&self.directory, from, &self.directory, to)?)
    }

    /// Removes a file; one that is not there is fine.
    pub(super) fn remove(&self, name: &str) -> io::Result<()> {
        match rustix::fs::unlinkat(&self.directory, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Puts the names themselves on the disk.
    pub(super) fn sync(&self) -> io::Result<()> {
        match rustix::fs::fsync(&self.directory) {
            // Some network file systems know no fsync of a directory.
            Ok(()) | Err(Errno::INVAL) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Mode and owner of something just made: the umask must not decide who can read it.
    fn settle(&self, fresh: impl AsFd, mode: u32) -> io::Result<()> {
        rustix::fs::fchmod(&fresh, Mode::from_raw_mode(mode))?;
        if let Some((user, group)) = self.owner {
            rustix::fs::fchown(&fresh, Some(user), Some(group))?;
        }
        Ok(())
    }
}

fn above(root: &Root) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(CWD, root.path(), flags, Mode::empty())?)
}

/// Refuses what is no regular file, and a second name of a file that lives elsewhere.
fn plain(opened: OwnedFd) -> io::Result<File> {
    match not_plain(&opened)? {
        Some(damage) => Err(io::Error::other(damage)),
        None => Ok(File::from(opened)),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, symlink};

    use super::*;
    use crate::ports::HostErrorKind;

    fn root() -> (tempfile::TempDir, Root) {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::new(directory.path()).unwrap();
        (directory, root)
    }

    #[test]
    fn the_folder_and_its_files_have_fixed_modes_and_the_owner_of_the_root() {
        let (_directory, root) = root();
        let is_root = rustix::process::geteuid().is_root();
        if is_root {
            std::os::unix::fs::chown(root.path(), Some(4242), Some(4343)).unwrap();
        }
        Folder::open(&root).unwrap().file("lock", OFlags::empty()).unwrap();
        Folder::open(&root).unwrap().file("lock", OFlags::empty()).unwrap();
        for (path, mode) in [(root.state(), 0o750), (root.state().join("lock"), 0o640)] {
            let found = fs::symlink_metadata(&path).unwrap();
            assert_eq!(found.mode() & 0o777, mode, "{}", path.display());
            if is_root {
                assert_eq!((found.uid(), found.gid()), (4242, 4343), "{}", path.display());
            }
        }
    }

    #[test]
    fn nothing_is_reached_through_links() {
        let (directory, root) = root();
        let outside = directory.path().join("outside");
        fs::write(&outside, "precious").unwrap();
        let folder = Folder::open(&root).unwrap();
        symlink(&outside, root.state().join("soft")).unwrap();
        fs::hard_link(&outside, root.state().join("hard")).unwrap();
        fs::create_dir(root.state().join("directory")).unwrap();
        for name in ["soft", "hard", "directory"] {
            assert!(folder.file(name, OFlags::empty()).is_err(), "{name}");
            assert!(folder.readable(name).is_err(), "{name}");
        }

        fs::remove_dir_all(root.state()).unwrap();
        fs::create_dir(directory.path().join("elsewhere")).unwrap();
        symlink("elsewhere", root.state()).unwrap();
        assert!(Folder::open(&root).is_err());
    }

    #[test]
    fn an_absent_root_is_an_error_and_an_absent_folder_is_none() {
        let (_directory, root) = root();
        assert!(Folder::existing(&root).unwrap().is_none());
        let absent = Root::new(root.path().join("absent")).unwrap();
        let error = Folder::open(&absent).err().unwrap();
        assert_eq!(error.kind, HostErrorKind::Other);
        assert!(error.message.contains("absent"), "{error}");
    }
}
