//! Links what all releases share into one release, and the release's own links.
//!
//! What the release itself brought in the place of something shared moves to `shared/` the first time; where
//! that is taken already, it is put aside in the release's own `.trueup-aside`, and goes when the release
//! goes. Nothing that is in `shared/` is ever replaced or removed. Every change is one rename or one new entry,
//! and each begins with a look at what is there: whoever dies in between leaves work, not harm.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, RenameFlags};
use rustix::io::Errno;

use super::beneath::{self, Owner, descend, descend_making, is_barred, look, normal};
use super::place::kind;
use super::writable::{is_writable, make_writable};
use crate::host::blocking;
use crate::model::app::App;
use crate::model::names::RelativePath;
use crate::ports::{HostError, HostErrorKind};

/// Where a release keeps what it brought in the place of something shared.
const ASIDE: &str = ".trueup-aside";
/// A link that is about to replace another one. One name is enough: the root's lock is held.
const TEMPORARY: &str = ".trueup-link";
/// So many things of one name can be put aside.
const ASIDES: u32 = 100;

/// Links what is shared into the App's release, and the release's own links; makes what is `writable` so. The
/// caller holds the root's lock.
///
/// # Guarantees
/// All links are relative. Done twice, it changes nothing the second time. A link that leads to the right place by
/// another spelling is left as it is.
///
/// # Errors
/// A shared file that neither `shared/` nor the release has, something of another kind in its place, a link
/// on the way to it, and what the file system refuses. Nothing is moved before all of them have been looked at.
pub async fn link(app: &App) -> Result<(), HostError> {
    let app = app.clone();
    blocking(move || {
        let linker = Linker::open(&app, beneath::owner(&app)?)?;
        let mut found = Vec::new();
        for link in wanted(&app) {
            let standing = linker.standing(&link).map_err(|error| linker.failed(&link, error))?;
            linker.refuse(&link, &standing)?;
            found.push((link, standing));
        }
        for (link, standing) in &found {
            linker.put(link, standing)?;
        }
        for path in &app.release.shared.writable {
            make_writable(&linker, path)?;
        }
        Ok(())
    })
    .await?
}

/// Which of the App's links and writable directories [`link`] would have something to do for.
pub(super) fn unlinked(app: &App) -> Result<Vec<RelativePath>, HostError> {
    let linker = Linker::open(app, None)?;
    let mut unlinked = Vec::new();
    for link in wanted(app) {
        let right = match linker.standing(&link) {
            Ok(standing) => standing.is_right(&link),
            Err(error) if is_barred(error) => false,
            Err(error) => return Err(linker.failed(&link, error)),
        };
        if !right {
            unlinked.push(link.place.clone());
        }
    }
    for path in &app.release.shared.writable {
        if !is_writable(&linker, path)? {
            unlinked.push(path.clone());
        }
    }
    Ok(unlinked)
}

/// One link that the release should have.
struct Wanted<'a> {
    /// Where, as the manifest has it.
    place: &'a RelativePath,
    /// The same without detours.
    path: PathBuf,
    /// The text of the link.
    text: PathBuf,
    leads: Leads,
}

/// Into what a link leads.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Leads {
    ToSharedDirectory,
    ToSharedFile,
    InsideTheRelease,
}

impl Wanted<'_> {
    fn parent(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new(""))
    }

    fn name(&self) -> &OsStr {
        self.path.file_name().unwrap_or_default()
    }
}

fn wanted(app: &App) -> impl Iterator<Item = Wanted<'_>> {
    let shared = &app.release.shared;
    let dirs = shared.dirs.iter().map(|place| (place, Leads::ToSharedDirectory));
    let files = shared.files.iter().map(|place| (place, Leads::ToSharedFile));
    let shared = dirs.chain(files).map(|(place, leads)| {
        let path = normal(place);
        // Out of the release's own directories, out of it, and out of `releases/`.
        let text = up(path.components().count() + 1).join("shared").join(&path);
        Wanted { place, path, text, leads }
    });
    let own = app.release.links.iter().map(|(place, target)| {
        let path = normal(place);
        let text = up(path.components().count() - 1).join(normal(target));
        Wanted { place, path, text, leads: Leads::InsideTheRelease }
    });
    shared.chain(own)
}

fn up(levels: usize) -> PathBuf {
    std::iter::repeat_n("..", levels).collect()
}

/// What is there now.
struct Standing {
    /// In the release.
    here: Here,
    /// In `shared/`, where the link leads there.
    shared: Option<FileType>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Here {
    Nothing,
    RightLink,
    OtherLink,
    Directory,
    File,
    Other,
}

impl Standing {
    fn is_right(&self, link: &Wanted<'_>) -> bool {
        let shared_is_right = match link.leads {
            Leads::InsideTheRelease => true,
            // A link in `shared/` may lead to another disk: that is the person's doing.
            Leads::ToSharedDirectory => matches!(self.shared, Some(FileType::Directory | FileType::Symlink)),
            Leads::ToSharedFile => self.shared.is_some_and(|kind| kind != FileType::Directory),
        };
        self.here == Here::RightLink && shared_is_right
    }
}

/// The root and the release, held open.
pub(super) struct Linker<'a> {
    pub(super) app: &'a App,
    pub(super) root: OwnedFd,
    pub(super) release: OwnedFd,
    pub(super) owner: Owner,
}

impl<'a> Linker<'a> {
    fn open(app: &'a App, owner: Owner) -> Result<Self, HostError> {
        let root = beneath::open_root(&app.root)?;
        let release = beneath::open_release(root.as_fd(), &app.root, &app.release.id)?;
        Ok(Self { app, root, release, owner })
    }

    fn standing(&self, link: &Wanted<'_>) -> rustix::io::Result<Standing> {
        let absent = |error: Errno| if error == Errno::NOENT { Ok(None) } else { Err(error) };
        let here = match descend(self.release.as_fd(), link.parent()).map(Some).or_else(absent)? {
            Some(parent) => here(parent.as_fd(), link)?,
            None => Here::Nothing,
        };
        let shared = match link.leads {
            Leads::InsideTheRelease => None,
            Leads::ToSharedDirectory | Leads::ToSharedFile => {
                let parent = descend(self.root.as_fd(), &Path::new("shared").join(link.parent()));
                match parent.map(Some).or_else(absent)? {
                    Some(parent) => look(parent.as_fd(), link.name())?.map(|found| kind(&found)),
                    None => None,
                }
            }
        };
        Ok(Standing { here, shared })
    }

    /// What cannot come right by linking.
    fn refuse(&self, link: &Wanted<'_>, standing: &Standing) -> Result<(), HostError> {
        let place = self.app.root.path().join("shared").join(&link.path);
        let place = place.display();
        let (message, help) = match (link.leads, standing.shared) {
            (Leads::ToSharedFile, None) if standing.here != Here::File => (
                format!("there is no shared file `{place}`, and the release brings none"),
                "put it there; what is in it is not for trueup to make up".to_owned(),
            ),
            (Leads::ToSharedFile, Some(FileType::Directory)) => (
                format!("`{place}` is a directory, and is to be a shared file"),
                "move it away, or name it in `spec.release.shared.dirs`".to_owned(),
            ),
            (Leads::ToSharedDirectory, Some(kind)) if !matches!(kind, FileType::Directory | FileType::Symlink) => (
                format!("`{place}` is a file, and is to be a shared directory"),
                "move it away, or name it in `spec.release.shared.files`".to_owned(),
            ),
            _ => return Ok(()),
        };
        Err(HostError::new(HostErrorKind::Misconfigured, message).with_help(help))
    }

    fn put(&self, link: &Wanted<'_>, standing: &Standing) -> Result<(), HostError> {
        if standing.is_right(link) {
            return Ok(());
        }
        self.try_to_put(link, standing).map_err(|error| self.failed(link, error))
    }

    fn try_to_put(&self, link: &Wanted<'_>, standing: &Standing) -> rustix::io::Result<()> {
        let parent = descend_making(self.release.as_fd(), link.parent(), self.owner)?;
        let mut here = standing.here;
        if standing.shared.is_none() && link.leads != Leads::InsideTheRelease {
            let shared = Path::new("shared").join(link.parent());
            let shared = descend_making(self.root.as_fd(), &shared, self.owner)?;
            match (link.leads, here) {
                (Leads::ToSharedDirectory, Here::Directory) | (Leads::ToSharedFile, Here::File) => {
                    move_to(parent.as_fd(), link.name(), shared.as_fd(), link.name())?;
                    here = Here::Nothing;
                }
                (Leads::ToSharedDirectory, _) => drop(beneath::made(shared.as_fd(), link.name(), self.owner)?),
                (Leads::ToSharedFile | Leads::InsideTheRelease, _) => {}
            }
        }
        match here {
            Here::RightLink => Ok(()),
            Here::Nothing => self.make(parent.as_fd(), link.name(), link),
            Here::OtherLink => {
                let temporary = OsStr::new(TEMPORARY);
                match rustix::fs::unlinkat(&parent, temporary, AtFlags::empty()) {
                    Ok(()) | Err(Errno::NOENT) => {}
                    Err(error) => return Err(error),
                }
                self.make(parent.as_fd(), temporary, link)?;
                rustix::fs::renameat(&parent, temporary, &parent, link.name())
            }
            Here::Directory | Here::File | Here::Other => {
                self.put_aside(parent.as_fd(), link)?;
                self.make(parent.as_fd(), link.name(), link)
            }
        }
    }

    fn make(&self, parent: BorrowedFd<'_>, name: &OsStr, link: &Wanted<'_>) -> rustix::io::Result<()> {
        rustix::fs::symlinkat(&link.text, parent, name)?;
        match self.owner {
            Some((user, group)) => {
                rustix::fs::chownat(parent, name, Some(user), Some(group), AtFlags::SYMLINK_NOFOLLOW)
            }
            None => Ok(()),
        }
    }

    fn put_aside(&self, parent: BorrowedFd<'_>, link: &Wanted<'_>) -> rustix::io::Result<()> {
        // An empty directory is no loss; anything else refuses to go this way.
        if rustix::fs::unlinkat(parent, link.name(), AtFlags::REMOVEDIR).is_ok() {
            return Ok(());
        }
        let aside = beneath::made(self.release.as_fd(), OsStr::new(ASIDE), self.owner)?;
        // Nobody else's business: a web server may show whatever is in the release.
        rustix::fs::fchmod(&aside, Mode::from_raw_mode(0o700))?;
        let aside = descend_making(aside.as_fd(), link.parent(), self.owner)?;
        for number in 0..ASIDES {
            let mut name = OsString::from(link.name());
            if number > 0 {
                name.push(format!(".{number}"));
            }
            match move_to(parent, link.name(), aside.as_fd(), &name) {
                Err(Errno::EXIST) => {}
                moved => return moved,
            }
        }
        Err(Errno::EXIST)
    }

    fn failed(&self, link: &Wanted<'_>, error: Errno) -> HostError {
        let place = self.app.root.release(&self.app.release.id).join(&link.path);
        let doing = format!("cannot link `{}` to `{}`", place.display(), link.text.display());
        if is_barred(error) {
            let message = format!("{doing}: a part of the way to one of them is a link or a file");
            return HostError::new(HostErrorKind::Misconfigured, message)
                .with_help("name the real directory instead; no link is followed on the way, lest it leads elsewhere");
        }
        if error == Errno::XDEV {
            let message = format!("{doing}: `shared` is on another file system than the release that brings it");
            return HostError::new(HostErrorKind::Misconfigured, message)
                .with_help("copy it to `shared` yourself this once, then run again");
        }
        HostError::io(doing, &error.into())
    }
}

fn here(parent: BorrowedFd<'_>, link: &Wanted<'_>) -> rustix::io::Result<Here> {
    let Some(found) = look(parent, link.name())? else { return Ok(Here::Nothing) };
    Ok(match kind(&found) {
        FileType::Directory => Here::Directory,
        FileType::RegularFile => Here::File,
        FileType::Symlink => {
            let text = rustix::fs::readlinkat(parent, link.name(), Vec::new())?;
            let spelled = Path::new(OsStr::new(&*text.to_string_lossy())) == link.text;
            if spelled || leads_to_the_same(parent, link) { Here::RightLink } else { Here::OtherLink }
        }
        _ => Here::Other,
    })
}

/// By whatever spelling. Only looked at, so links may be followed.
fn leads_to_the_same(parent: BorrowedFd<'_>, link: &Wanted<'_>) -> bool {
    let reached = rustix::fs::statat(parent, link.name(), AtFlags::empty());
    let meant = rustix::fs::statat(parent, &link.text, AtFlags::empty());
    match (reached, meant) {
        (Ok(reached), Ok(meant)) => reached.st_dev == meant.st_dev && reached.st_ino == meant.st_ino,
        _ => false,
    }
}

/// Gives something another name, but never one that is taken.
fn move_to(from: BorrowedFd<'_>, name: &OsStr, to: BorrowedFd<'_>, new: &OsStr) -> rustix::io::Result<()> {
    match rustix::fs::renameat_with(from, name, to, new, RenameFlags::NOREPLACE) {
        // Some network file systems know no such rename.
        Err(Errno::INVAL | Errno::NOSYS) => match look(to, new)? {
            Some(_) => Err(Errno::EXIST),
            None => rustix::fs::renameat(from, name, to, new),
        },
        moved => moved,
    }
}

#[cfg(test)]
#[path = "links_tests.rs"]
mod tests;
