//! Opens what a manifest names, where users of the machine could have laid a trap on the way.
//!
//! Root may read everything, so whoever owns a directory or a link on the way could have root read for him what he
//! may not. In: a path. Out: what stands there, open for reading, and who could have [`Led`] there. The rule: **what
//! somebody could have led root to is read only if he could read it himself.** A way on which everything is root's
//! may lead anywhere, and so may any way of somebody who is not root, to whom the kernel says no.
//!
//! Permissions are those of owner, group and others; access lists are not looked at. A directory that others may
//! write to counts as its owner's, as one that is sticky is: what they put there is theirs.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, PROC_SUPER_MAGIC, Stat, fstat, openat};
use rustix::io::Errno;

use super::users::User;

/// As many links as the kernel itself would follow.
const LINKS: u32 = 40;

/// Names something without opening it: no pipe is waited for, no device is woken.
const NAMED: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

const READ: u32 = 0o4;
const ENTER: u32 = 0o1;

/// What is wanted at the end of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// A regular file.
    File,
    /// A directory.
    Directory,
}

/// Why nothing was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OpenError {
    /// The kernel refuses.
    Failed(Errno),
    /// Something else stands there, in words that follow its path: `is no regular file`.
    Other(&'static str),
    /// Somebody could have led root where he may not go himself.
    Led {
        /// Who, where, and to what.
        message: String,
        /// What to do.
        help: String,
    },
}

impl From<Errno> for OpenError {
    fn from(error: Errno) -> Self {
        Self::Failed(error)
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(error) => std::io::Error::from(*error).fmt(f),
            Self::Other(what) => write!(f, "it {what}"),
            Self::Led { message, help } => write!(f, "{message}; {help}"),
        }
    }
}

/// Who could have led root here: each user but root to whom something on the way belongs.
#[derive(Debug, Clone, Default)]
pub struct Led(Vec<Leader>);

#[derive(Debug, Clone)]
struct Leader {
    uid: u32,
    /// The first thing on the way that is his.
    owns: PathBuf,
}

/// Opens what stands at a path for reading; relative paths begin where this process is. Never waits for the other
/// end of a pipe.
///
/// # Errors
/// [`OpenError`]: nothing is there or may be opened, something else is, or somebody could have led root there.
pub fn open(path: &Path, wanted: Wanted) -> Result<(OwnedFd, Led), OpenError> {
    let (named, led) = if rustix::process::geteuid().is_root() {
        walk(path)?
    } else {
        (openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?, Led::default())
    };
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let opened = match (FileType::from_raw_mode(fstat(&named)?.st_mode), wanted) {
        (FileType::RegularFile, Wanted::File) => {
            led.allows(named.as_fd())?;
            // The very thing that was looked at, whatever has its name by now.
            openat(CWD, link_of(named.as_fd()), flags, Mode::empty())?
        }
        (FileType::Directory, Wanted::Directory) => {
            led.allows(named.as_fd())?;
            openat(&named, c".", flags | OFlags::DIRECTORY, Mode::empty())?
        }
        (FileType::Directory, Wanted::File) => return Err(OpenError::Other("is a directory, no regular file")),
        (_, Wanted::File) => return Err(OpenError::Other("is no regular file")),
        (_, Wanted::Directory) => return Err(OpenError::Failed(Errno::NOTDIR)),
    };
    Ok((opened, led))
}

/// Where something that is open has its place: its real path, as the kernel knows it now.
///
/// # Errors
/// `/proc` does not tell.
pub fn place(opened: BorrowedFd<'_>) -> std::io::Result<PathBuf> {
    std::fs::read_link(link_of(opened))
}

impl Led {
    /// Whether what is open, or named, may be read for everybody who could have led here.
    ///
    /// # Errors
    /// [`OpenError::Led`], and what the kernel says.
    pub fn allows(&self, thing: BorrowedFd<'_>) -> Result<(), OpenError> {
        let found = fstat(thing)?;
        let is_directory = FileType::from_raw_mode(found.st_mode) == FileType::Directory;
        self.admits(thing, &found, if is_directory { READ | ENTER } else { READ })?;
        // The modes in there do not say who may read what.
        if let Some(leader) = self.0.first()
            && rustix::fs::fstatfs(thing)?.f_type == PROC_SUPER_MAGIC
        {
            return Err(leader.refused(thing, &found));
        }
        Ok(())
    }

    /// Who could lead on from a directory that is open, which must be allowed itself.
    ///
    /// # Errors
    /// As [`Self::allows`].
    pub fn beyond(&self, directory: BorrowedFd<'_>) -> Result<Self, OpenError> {
        self.allows(directory)?;
        let mut led = self.clone();
        if rustix::process::geteuid().is_root() {
            led.by(directory, &fstat(directory)?);
        }
        Ok(led)
    }

    fn admits(&self, thing: BorrowedFd<'_>, found: &Stat, need: u32) -> Result<(), OpenError> {
        self.0.iter().try_for_each(
            |leader| {
                if leader.may(found, need) { Ok(()) } else { Err(leader.refused(thing, found)) }
            },
        )
    }

    fn by(&mut self, thing: BorrowedFd<'_>, found: &Stat) {
        if found.st_uid != 0 && !self.0.iter().any(|leader| leader.uid == found.st_uid) {
            self.0.push(Leader { uid: found.st_uid, owns: place(thing).unwrap_or_default() });
        }
    }
}

impl Leader {
    fn may(&self, found: &Stat, need: u32) -> bool {
        // Whoever owns it can give himself every permission.
        if found.st_uid == self.uid {
            return true;
        }
        let (to_group, to_others) = (found.st_mode >> 3 & need == need, found.st_mode & need == need);
        // Groups are asked for only where they decide.
        if to_group == to_others {
            return to_others;
        }
        let is_member = User::numbered(self.uid, u32::MAX).is_ok_and(|user| user.groups.contains(&found.st_gid));
        if is_member { to_group } else { to_others }
    }

    fn refused(&self, thing: BorrowedFd<'_>, found: &Stat) -> OpenError {
        let (user, owner) = (name(self.uid), name(found.st_uid));
        let (owns, at) = (self.owns.display(), place(thing).unwrap_or_default());
        let at = at.display();
        OpenError::Led {
            message: format!(
                "`{owns}` belongs to `{user}` and leads to `{at}`, which belongs to `{owner}` and which `{user}` may not \
                 read: root does not read it for him"
            ),
            help: format!(
                "give `{at}` to `{user}` or let him read it; or name a path on which everything belongs to root"
            ),
        }
    }
}

fn name(uid: u32) -> String {
    User::numbered(uid, u32::MAX).map_or_else(|_| uid.to_string(), |user| user.name)
}

fn link_of(opened: BorrowedFd<'_>) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", opened.as_raw_fd()))
}

/// Names what stands at a path, name by name, links taken apart by hand, and notes whose each of them is.
fn walk(path: &Path) -> Result<(OwnedFd, Led), OpenError> {
    let mut led = Led::default();
    let mut ahead = Vec::new();
    let mut here = set_out(path, &mut ahead, None)?;
    let mut links = 0;
    while let Some(name) = ahead.pop() {
        let next = step(here.as_fd(), &name)?;
        let found = fstat(&next)?;
        match FileType::from_raw_mode(found.st_mode) {
            FileType::Symlink => {
                links += 1;
                if links > LINKS {
                    return Err(OpenError::Failed(Errno::LOOP));
                }
                led.by(next.as_fd(), &found);
                let target = rustix::fs::readlinkat(&next, c"", Vec::new())?;
                let target = PathBuf::from(OsString::from_vec(target.into_bytes()));
                here = set_out(&target, &mut ahead, Some(here))?;
            }
            FileType::Directory => {
                led.admits(next.as_fd(), &found, ENTER)?;
                led.by(next.as_fd(), &found);
                here = next;
            }
            _ if ahead.is_empty() => {
                here = next;
            }
            _ => return Err(OpenError::Failed(Errno::NOTDIR)),
        }
    }
    Ok((here, led))
}

/// Puts the names of a path ahead of all others, and says where they begin.
fn set_out(path: &Path, ahead: &mut Vec<OsString>, here: Option<OwnedFd>) -> Result<OwnedFd, OpenError> {
    if path.as_os_str().is_empty() {
        return Err(OpenError::Failed(Errno::NOENT));
    }
    let names = path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    });
    ahead.extend(names.collect::<Vec<_>>().into_iter().rev());
    match here {
        Some(here) if path.is_relative() => Ok(here),
        _ => {
            let start = if path.is_absolute() { c"/" } else { c"." };
            Ok(openat(CWD, start, NAMED | OFlags::DIRECTORY, Mode::empty())?)
        }
    }
}

fn step(here: BorrowedFd<'_>, name: &OsStr) -> rustix::io::Result<OwnedFd> {
    // Only who asks for a directory has it mounted where that is done on demand.
    match openat(here, name, NAMED | OFlags::DIRECTORY, Mode::empty()) {
        Err(Errno::NOTDIR | Errno::LOOP) => openat(here, name, NAMED, Mode::empty()),
        opened => opened,
    }
}

#[cfg(test)]
#[path = "way_tests.rs"]
mod tests;
