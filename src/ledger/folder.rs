//! The folder `ROOT/.trueup`, held open.
//!
//! Whoever owns the root can put links into it, and root works in there: so every file is opened
//! relative to the folder, by its plain name, and links are never followed.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Dir, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;

use crate::host::state_file::not_plain;
use crate::model::names::Root;
use crate::ports::{HostError, HostErrorKind};

const NAME: &str = ".trueup";

/// `ROOT/.trueup` or a folder in it, held open.
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
        let owner =
            owner(&above).map_err(|error| HostError::io(format!("cannot look at the root `{root}`"), &error))?;
        Self::made(&above, NAME, root.state(), owner)
    }

    /// Opens the folder for reading; none when there is none.
    pub(super) fn existing(root: &Root) -> io::Result<Option<Self>> {
        let opened = above(root).and_then(|above| Self::inside(&above, NAME, root.state(), owner(&above)?));
        present(opened)
    }

    /// Opens a folder in this one, making it (mode 0750) if need be.
    pub(super) fn inner(&self, name: &str) -> Result<Self, HostError> {
        Self::made(&self.directory, name, self.path(name), self.owner)
    }

    /// Opens a folder in this one for reading; none when there is none.
    pub(super) fn existing_inner(&self, name: &str) -> io::Result<Option<Self>> {
        present(Self::inside(&self.directory, name, self.path(name), self.owner))
    }

    fn made(above: &OwnedFd, name: &str, path: PathBuf, owner: Option<(Uid, Gid)>) -> Result<Self, HostError> {
        let made = match rustix::fs::mkdirat(above, name, Mode::from_raw_mode(0o750)) {
            Ok(()) => true,
            Err(Errno::EXIST) => false,
            Err(error) => return Err(HostError::io(format!("cannot make `{}`", path.display()), &error.into())),
        };
        let failed = {
            let path = path.clone();
            move |error: &io::Error| cannot_open(&path, error)
        };
        let folder = Self::inside(above, name, path, owner).map_err(|error| failed(&error))?;
        if made {
            folder.settle(&folder.directory, 0o750).map_err(|error| failed(&error))?;
            // What will be on disk in the folder must be found there.
            sync(above).map_err(|error| failed(&error))?;
        }
        Ok(folder)
    }

    fn inside(above: &OwnedFd, name: &str, path: PathBuf, owner: Option<(Uid, Gid)>) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = rustix::fs::openat(above, name, flags, Mode::empty())?;
        Ok(Self { directory, path, owner })
    }

    /// The names in it, in no order.
    pub(super) fn names(&self) -> io::Result<Vec<OsString>> {
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.directory)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                names.push(OsStr::from_bytes(name).to_owned());
            }
        }
        Ok(names)
    }

    /// Replaces a file: after a crash it is the old or the new one, whole; on disk when it returns.
    ///
    /// It grows as `growing`, always the same name: the lock's holder alone writes, so what a dead pass left is
    /// taken away here.
    pub(super) fn replace(&self, name: &str, growing: &str, text: &[u8]) -> io::Result<()> {
        self.remove(growing)?;
        let written = self.write(name, growing, text);
        if written.is_err() {
            // The first error is the one worth telling.
            let _ = self.remove(growing);
        }
        written
    }

    fn write(&self, name: &str, growing: &str, text: &[u8]) -> io::Result<()> {
        let mut file = self.file(growing, OFlags::empty())?;
        file.write_all(text)?;
        file.sync_all()?;
        self.rename(growing, name)?;
        self.sync()
    }

    /// The path of one file, for messages.
    pub(super) fn path(&self, name: impl AsRef<OsStr>) -> PathBuf {
        self.path.join(name.as_ref())
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
        sync(&self.directory)
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

fn cannot_open(path: &Path, error: &io::Error) -> HostError {
    if !matches!(Errno::from_io_error(error), Some(Errno::NOTDIR | Errno::LOOP)) {
        return HostError::io(format!("cannot open `{}`", path.display()), error);
    }
    let message = format!("`{}` is a link or no directory at all", path.display());
    HostError::new(HostErrorKind::Misconfigured, message)
        .with_help("move it away: trueup makes it as a real directory of the root, and follows no link to it")
}

fn present(opened: io::Result<Folder>) -> io::Result<Option<Folder>> {
    match opened {
        Ok(folder) => Ok(Some(folder)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whom what we make in a root is given to: its owner, where we are root.
fn owner(root: &OwnedFd) -> io::Result<Option<(Uid, Gid)>> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let found = rustix::fs::fstat(root)?;
    Ok(Some((Uid::from_raw(found.st_uid), Gid::from_raw(found.st_gid))))
}

fn sync(directory: &OwnedFd) -> io::Result<()> {
    match rustix::fs::fsync(directory) {
        // Some network file systems know no fsync of a directory.
        Ok(()) | Err(Errno::INVAL) => Ok(()),
        Err(error) => Err(error.into()),
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
    use crate::ledger::testing::root;

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
        let error = Folder::open(&root).err().unwrap();
        assert!(error.message.contains("is a link") && error.help.is_some(), "{error}");
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
