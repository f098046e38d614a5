//! Makes files, directories and links below one directory that nothing can lead out of.
//!
//! Each component of a path is opened by itself and never through a link. A link may only lead where it stays
//! inside whatever else is or will be there: first up, then down, so that no link on its way can turn it around.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::beneath::DEPTH;
use super::dir::copy_file;
use super::place::{DIRECTORY, Owner, ReleaseDirectory, finish, give_link, kind};
use super::tape::shown;
use crate::ports::{HostError, HostErrorKind, is_hindrance};

/// How much may be made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Bytes of all files.
    pub(super) bytes: u64,
    /// Entries of the archive.
    pub(super) entries: u64,
    /// Components of a path: as many as a walk over the release goes into.
    pub(super) depth: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes: u64::MAX, entries: 1_000_000, depth: DEPTH }
    }
}

/// Why an archive cannot be unpacked.
#[derive(Debug)]
pub(super) enum Fault {
    /// The archive itself is broken.
    Unreadable(io::Error),
    /// One of its entries is refused.
    Refused { name: String, what: String },
    /// There is more in it than may be.
    TooMuch(String),
    /// The file system refuses.
    Unwritable { name: String, error: io::Error },
}

impl Fault {
    /// The error for people.
    pub(super) fn about(self, archive: &str, place: &ReleaseDirectory) -> HostError {
        let wrong =
            |what: String| HostError::new(HostErrorKind::Misconfigured, format!("the archive `{archive}` {what}"));
        match self {
            Self::Unreadable(error) if is_hindrance(&error) => {
                HostError::io(format!("cannot read the archive `{archive}`"), &error)
            }
            Self::Unreadable(error) => {
                wrong(format!("cannot be unpacked: {error}")).with_help("see whether it came over whole")
            }
            Self::Refused { name, what } => wrong(format!("is refused: {name} {what}"))
                .with_help("make the archive anew from files that stay inside the release"),
            Self::TooMuch(what) => {
                wrong(format!("has more than {what} in it")).with_help("see what it holds, or set a higher `limit`")
            }
            Self::Unwritable { name, error } => {
                HostError::io(format!("cannot unpack {name} into `{}`", place.path().display()), &error)
            }
        }
    }
}

/// A path below the directory: names only, at least one.
pub(super) type Path = Vec<Vec<u8>>;

/// An open directory and a name in it.
type Spot<'p> = (Rc<OwnedFd>, &'p [u8]);

/// The directory, and what was made in it.
pub(super) struct Tree {
    top: Rc<OwnedFd>,
    owner: Option<Owner>,
    limits: Limits,
    bytes: u64,
    entries: u64,
    made: u64,
    /// The directory that was used last.
    last: Option<(Path, Rc<OwnedFd>)>,
    /// Modes that directories get when nothing is put into them any more.
    modes: Vec<(Path, u32)>,
}

impl Tree {
    /// A tree of which nothing is made yet.
    pub(super) fn new(top: OwnedFd, owner: Option<Owner>, limits: Limits) -> Self {
        Self { top: Rc::new(top), owner, limits, bytes: 0, entries: 0, made: 0, last: None, modes: Vec::new() }
    }

    /// Whether nothing was made.
    pub(super) fn is_empty(&self) -> bool {
        self.made == 0
    }

    /// Counts an entry.
    pub(super) fn count(&mut self) -> Result<(), Fault> {
        self.entries += 1;
        if self.entries > self.limits.entries {
            return Err(Fault::TooMuch(format!("{} entries", self.limits.entries)));
        }
        Ok(())
    }

    /// A name of an archive as a path without its first components; none where nothing is left.
    pub(super) fn path(&self, name: &[u8], strip: u32) -> Result<Option<Path>, Fault> {
        let refused = |what: &str| Err(Fault::Refused { name: shown(name), what: what.to_owned() });
        if name.is_empty() || name.contains(&0) {
            return refused("is no name");
        }
        if name.starts_with(b"/") {
            return refused("is an absolute path");
        }
        let mut path = Path::new();
        for part in name.split(|byte| *byte == b'/') {
            match part {
                b"" | b"." => {}
                b".." => return refused("leads out of the release by `..`"),
                part => path.push(part.to_vec()),
            }
        }
        if path.len() > self.limits.depth {
            return refused("is too deep");
        }
        let strip = usize::try_from(strip).unwrap_or(usize::MAX).min(path.len());
        let path = path.split_off(strip);
        Ok(Some(path).filter(|path| !path.is_empty()))
    }

    /// Makes a directory, or finds it there.
    pub(super) fn directory(&mut self, path: &Path, mode: u32) -> Result<(), Fault> {
        let (above, name) = self.above(path)?;
        if Self::found(above.as_fd(), path, name)?.is_some_and(|found| found != FileType::Directory) {
            rustix::fs::unlinkat(&above, name, AtFlags::empty()).map_err(|error| unwritable(path, error))?;
        }
        self.enter(path)?;
        self.modes.push((path.clone(), mode & 0o755 | 0o700));
        self.made += 1;
        Ok(())
    }

    /// Makes a file of so many bytes, in place of what has its name.
    pub(super) fn file(&mut self, path: &Path, mode: u32, size: u64, content: &mut impl Read) -> Result<(), Fault> {
        self.add(size)?;
        let fresh = self.fresh(path)?;
        let mut file = File::from(fresh);
        let mut buffer = vec![0; 64 * 1024];
        let mut left = size;
        while left > 0 {
            let length = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
            let part = buffer.get_mut(..length).unwrap_or_default();
            let length = match content.read(part) {
                Ok(0) => {
                    return Err(Fault::Unreadable(io::Error::new(io::ErrorKind::UnexpectedEof, "it is cut short")));
                }
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(Fault::Unreadable(error)),
            };
            io::Write::write_all(&mut file, buffer.get(..length).unwrap_or_default())
                .map_err(|error| Fault::Unwritable { name: path_shown(path), error })?;
            left -= length as u64;
        }
        finish(file.as_fd(), self.owner, mode & 0o755 | 0o600).map_err(|error| unwritable(path, error))
    }

    /// Makes a symbolic link, in place of what has its name.
    pub(super) fn symlink(&mut self, path: &Path, target: &[u8]) -> Result<(), Fault> {
        let refused = |what: String| Err(Fault::Refused { name: path_shown(path), what });
        if target.is_empty() || target.contains(&0) {
            return refused("is a link to nothing".to_owned());
        }
        if target.starts_with(b"/") {
            return refused(format!("is a link to the absolute path {}", shown(target)));
        }
        let mut depth = path.len() - 1;
        let mut down = false;
        for part in target.split(|byte| *byte == b'/') {
            match part {
                b"" | b"." => {}
                b".." if down => {
                    return refused(format!("is a link to {}, which goes up again after it went down", shown(target)));
                }
                b".." if depth == 0 => return refused(format!("is a link out of the release, to {}", shown(target))),
                b".." => depth -= 1,
                _ => down = true,
            }
        }
        self.make_way(path)?;
        let (above, name) = self.above(path)?;
        rustix::fs::symlinkat(target, &above, name)
            .and_then(|()| give_link(above.as_fd(), name, self.owner))
            .map_err(|error| unwritable(path, error))?;
        self.made += 1;
        Ok(())
    }

    /// Makes a copy of what was made before under another name: inodes are never shared.
    pub(super) fn copy(&mut self, path: &Path, of: &Path) -> Result<(), Fault> {
        let missing = || Fault::Refused {
            name: path_shown(path),
            what: format!("is a hard link to {}, which is no file of the archive", path_shown(of)),
        };
        if path == of {
            return Ok(());
        }
        let (above, name) = self.existing(of)?.ok_or_else(missing)?;
        let found = match rustix::fs::statat(&above, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(found) => found,
            Err(Errno::NOENT) => return Err(missing()),
            Err(error) => return Err(unwritable(of, error)),
        };
        match kind(&found) {
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(&above, name, Vec::new()).map_err(|error| unwritable(of, error))?;
                self.symlink(path, target.as_bytes())
            }
            FileType::RegularFile => {
                self.add(u64::try_from(found.st_size).unwrap_or(u64::MAX))?;
                let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let original = rustix::fs::openat(&above, name, flags, Mode::empty());
                let original = original.map_err(|error| unwritable(of, error))?;
                let fresh = self.fresh(path)?;
                copy_file(original, &fresh).map_err(|error| Fault::Unwritable { name: path_shown(path), error })?;
                finish(fresh.as_fd(), self.owner, found.st_mode).map_err(|error| unwritable(path, error))
            }
            _ => Err(missing()),
        }
    }

    /// Gives the directories their modes.
    pub(super) fn finish(mut self) -> Result<(), Fault> {
        for (path, mode) in std::mem::take(&mut self.modes) {
            // Another entry may have taken its place.
            if let Some((above, name)) = self.existing(&path)?
                && let Ok(directory) = rustix::fs::openat(&above, name, DIRECTORY, Mode::empty())
            {
                finish(directory.as_fd(), self.owner, mode).map_err(|error| unwritable(&path, error))?;
            }
        }
        Ok(())
    }

    fn add(&mut self, bytes: u64) -> Result<(), Fault> {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > self.limits.bytes {
            return Err(Fault::TooMuch(format!("{} bytes", self.limits.bytes)));
        }
        Ok(())
    }

    /// A new, empty file.
    fn fresh(&mut self, path: &Path) -> Result<OwnedFd, Fault> {
        self.make_way(path)?;
        let (above, name) = self.above(path)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fresh = rustix::fs::openat(&above, name, flags, Mode::from_raw_mode(0o600));
        let fresh = fresh.map_err(|error| unwritable(path, error))?;
        self.made += 1;
        Ok(fresh)
    }

    /// Removes a file or link of that name; of two entries the last one counts.
    fn make_way(&mut self, path: &Path) -> Result<(), Fault> {
        let (above, name) = self.above(path)?;
        match Self::found(above.as_fd(), path, name)? {
            None => Ok(()),
            Some(FileType::Directory) => Err(Fault::Refused {
                name: path_shown(path),
                what: "is a directory and something else as well".to_owned(),
            }),
            Some(_) => rustix::fs::unlinkat(&above, name, AtFlags::empty()).map_err(|error| unwritable(path, error)),
        }
    }

    fn found(above: BorrowedFd<'_>, path: &Path, name: &[u8]) -> Result<Option<FileType>, Fault> {
        match rustix::fs::statat(above, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(found) => Ok(Some(kind(&found))),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(unwritable(path, error)),
        }
    }

    /// The directory of a path, made if need be, and the path's last name.
    fn above<'p>(&mut self, path: &'p [Vec<u8>]) -> Result<Spot<'p>, Fault> {
        let (name, above) = path.split_last().map_or((&[][..], &[][..]), |(name, above)| (name.as_slice(), above));
        Ok((self.enter(above)?, name))
    }

    /// Opens a directory, making it and those above it if need be.
    fn enter(&mut self, path: &[Vec<u8>]) -> Result<Rc<OwnedFd>, Fault> {
        if let Some((_, directory)) = self.last.as_ref().filter(|(last, _)| last.as_slice() == path) {
            return Ok(Rc::clone(directory));
        }
        let mut directory = Rc::clone(&self.top);
        for name in path {
            let open = || rustix::fs::openat(&directory, name.as_slice(), DIRECTORY, Mode::empty());
            let opened = match open() {
                Err(Errno::NOENT) => {
                    self.count()?;
                    rustix::fs::mkdirat(&directory, name.as_slice(), Mode::from_raw_mode(0o755))
                        .and_then(|()| open())
                        .and_then(|made| finish(made.as_fd(), self.owner, 0o755).map(|()| made))
                }
                opened => opened,
            };
            directory = match opened {
                Ok(opened) => Rc::new(opened),
                Err(Errno::LOOP | Errno::NOTDIR) => {
                    let what = format!("is a link or a file, and other entries lie below it, in {}", path_shown(path));
                    return Err(Fault::Refused { name: shown(name), what });
                }
                Err(error) => return Err(unwritable(path, error)),
            };
        }
        self.last = Some((path.to_vec(), Rc::clone(&directory)));
        Ok(directory)
    }

    /// The directory of a path and its last name; none where there is no such directory.
    fn existing<'p>(&self, path: &'p [Vec<u8>]) -> Result<Option<Spot<'p>>, Fault> {
        let Some((name, above)) = path.split_last() else { return Ok(None) };
        let mut directory = Rc::clone(&self.top);
        for name in above {
            directory = match rustix::fs::openat(&directory, name.as_slice(), DIRECTORY, Mode::empty()) {
                Ok(opened) => Rc::new(opened),
                Err(Errno::NOENT | Errno::LOOP | Errno::NOTDIR) => return Ok(None),
                Err(error) => return Err(unwritable(path, error)),
            };
        }
        Ok(Some((directory, name)))
    }
}

fn unwritable(path: &[Vec<u8>], error: Errno) -> Fault {
    Fault::Unwritable { name: path_shown(path), error: error.into() }
}

fn path_shown(path: &[Vec<u8>]) -> String {
    shown(&path.join(&b'/'))
}
