//! Where the files of one release grow: `releases/ID` itself, for tools bake absolute paths into what they make.
//!
//! Everything is opened relative to directories that are held open and no link is followed: root works in
//! places that other users may change meanwhile.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, Stat, Uid};
use rustix::io::Errno;
use tracing::info;

use super::beneath::no_releases;
use super::delete::delete;
use super::remove::{holder, set_aside};
use crate::host::users::User;
use crate::model::app::App;
use crate::model::names::{ReleaseId, Root};
use crate::model::process::Holder;
use crate::ports::{HostError, HostErrorKind};

/// What is being removed has this name, which no look at the host takes for a release. One is enough: the
/// root's lock is held.
pub(super) const REMOVING: &str = ".trueup-removing";

/// How a directory is opened that must be one itself.
pub(super) const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// User and group that something is given to.
pub(super) type Owner = (Uid, Gid);

/// The place of one release.
#[derive(Debug)]
pub(super) struct ReleaseDirectory {
    /// Its root.
    pub(super) root: Root,
    /// Its name.
    pub(super) id: ReleaseId,
    /// Whom it is given to; none where it is ours anyway.
    pub(super) owner: Option<Owner>,
    directory: OwnedFd,
    releases: OwnedFd,
    /// What stands in the release's place was made here.
    begun: AtomicBool,
}

impl ReleaseDirectory {
    /// Opens `releases/`, making it if need be.
    pub(super) fn open(app: &App, user: &User) -> Result<Self, HostError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::openat(CWD, app.root.path(), flags, Mode::empty())
            .map_err(|error| HostError::io(format!("cannot open the root `{}`", app.root), &error.into()))?;
        let owner = owner(user);
        let releases = own_directory(directory.as_fd(), "releases", 0o755, owner)
            .map_err(|error| no_releases(&app.root, error))?;
        Ok(Self {
            root: app.root.clone(),
            id: app.release.id.clone(),
            owner,
            directory,
            releases,
            begun: AtomicBool::new(false),
        })
    }

    /// Where the release is.
    pub(super) fn path(&self) -> PathBuf {
        self.root.release(&self.id)
    }

    /// Refuses a source that would be removed with what is left of the release.
    pub(super) fn refuse_inside(&self, source: &Path) -> Result<(), HostError> {
        let inside = match (std::fs::canonicalize(source), std::fs::canonicalize(self.path())) {
            (Ok(source), Ok(release)) => source.starts_with(release),
            _ => false,
        };
        if !inside {
            return Ok(());
        }
        let message = format!("the source `{}` lies in the release that is to be made of it", source.display());
        Err(HostError::new(HostErrorKind::Misconfigured, message).with_help("move it out of `releases/`"))
    }

    /// Makes the release's directory anew, closed to others until [`Self::finish`].
    pub(super) fn begin(&self) -> Result<OwnedFd, HostError> {
        self.clear()?;
        self.begun.store(true, Ordering::Relaxed);
        rustix::fs::mkdirat(&self.releases, self.id.as_str(), Mode::from_raw_mode(0o700))
            .and_then(|()| rustix::fs::openat(&self.releases, self.id.as_str(), DIRECTORY, Mode::empty()))
            .map_err(|error| self.failed(error))
    }

    /// Gives the release its owner and mode.
    pub(super) fn finish(&self, release: BorrowedFd<'_>, mode: u32) -> Result<(), HostError> {
        finish(release, self.owner, mode).map_err(|error| self.failed(error))
    }

    /// Removes what is left of the release. What a process still uses is only set aside, and swept up when it is used
    /// no more: nobody can hold up a deployment by looking into a release.
    pub(super) fn clear(&self) -> Result<(), HostError> {
        match rustix::fs::statat(&self.releases, self.id.as_str(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(found) if kind(&found) != FileType::Directory => {
                let message = format!("`{}` is not a directory", self.path().display());
                return Err(HostError::new(HostErrorKind::Misconfigured, message).with_help("move it away"));
            }
            Ok(_) => {
                if let Some(Holder { process, seen, .. }) = holder(&self.path())? {
                    info!(release = %self.id, pid = %process.pid, seen, "its old files are still used, and stay aside");
                    set_aside(self.releases.as_fd(), OsStr::new(self.id.as_str()))
                        .map_err(|error| self.failed(error))?;
                    return Ok(());
                }
            }
            Err(Errno::NOENT) => {}
            Err(error) => return Err(self.failed(error)),
        }
        discard(self.releases.as_fd(), self.id.as_str(), &self.root.releases())
    }

    /// Removes what was made here and has come to nothing. An error leaves it to the next try.
    pub(super) fn abandon(&self) {
        if self.begun.load(Ordering::Relaxed) {
            let _ = self.clear();
        }
    }

    /// `ROOT/.trueup`, made if need be; whoever owns the root owns it. With `through`, that user can reach
    /// what he is given in it.
    pub(super) fn state(&self, through: Option<&User>) -> Result<OwnedFd, HostError> {
        let failed = |error: Errno| {
            HostError::io(format!("cannot open `{}` as a directory", self.root.state().display()), &error.into())
        };
        let above = rustix::fs::fstat(&self.directory).map_err(failed)?;
        let owner = self.owner.map(|_| (Uid::from_raw(above.st_uid), Gid::from_raw(above.st_gid)));
        let state = own_directory(self.directory.as_fd(), ".trueup", 0o750, owner).map_err(failed)?;
        if let Some(user) = through.filter(|_| self.owner.is_some()) {
            let found = rustix::fs::fstat(&state).map_err(failed)?;
            let reaches = found.st_mode & 0o001 != 0
                || found.st_uid == user.uid
                || (found.st_mode & 0o010 != 0 && user.groups.contains(&found.st_gid));
            if !reaches {
                // Passing is not reading: nothing in there is readable for others by its own mode.
                let mode = Mode::from_raw_mode((found.st_mode & 0o7777) | 0o001);
                rustix::fs::fchmod(&state, mode).map_err(failed)?;
            }
        }
        Ok(state)
    }

    /// An error about the release's directory.
    pub(super) fn failed(&self, error: Errno) -> HostError {
        HostError::io(format!("cannot make the release `{}`", self.path().display()), &error.into())
    }
}

/// Whom what we make for a user is given to; none where we are that user, or may not give.
pub(super) fn owner(user: &User) -> Option<Owner> {
    rustix::process::geteuid().is_root().then(|| (Uid::from_raw(user.uid), Gid::from_raw(user.gid)))
}

/// Opens a directory that must be a real one, making it if need be; only one that was made is given away.
pub(super) fn own_directory(
    above: BorrowedFd<'_>,
    name: impl rustix::path::Arg + Copy,
    mode: u32,
    owner: Option<Owner>,
) -> rustix::io::Result<OwnedFd> {
    let made = match rustix::fs::mkdirat(above, name, Mode::from_raw_mode(mode)) {
        Ok(()) => true,
        Err(Errno::EXIST) => false,
        Err(error) => return Err(error),
    };
    let opened = rustix::fs::openat(above, name, DIRECTORY, Mode::empty())?;
    if made {
        finish(opened.as_fd(), owner, mode)?;
    }
    Ok(opened)
}

/// Removes a name and everything behind it: first it gets another name, so that nobody takes what is half removed
/// for a whole. One that is not there is success. What an earlier removal has left goes, too.
pub(super) fn discard(above: BorrowedFd<'_>, name: &str, shown: &Path) -> Result<(), HostError> {
    let removed = || delete(above, OsStr::new(REMOVING), &shown.join(REMOVING));
    removed()?;
    match rustix::fs::renameat(above, name, above, REMOVING) {
        Ok(()) => removed(),
        Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(HostError::io(format!("cannot remove `{}`", shown.join(name).display()), &error.into())),
    }
}

/// Owner and mode of something just made: the umask must not decide who can read it.
pub(super) fn finish(made: BorrowedFd<'_>, owner: Option<Owner>, mode: u32) -> rustix::io::Result<()> {
    if let Some((user, group)) = owner {
        rustix::fs::fchown(made, Some(user), Some(group))?;
    }
    // After the owner, whose change takes bits away.
    rustix::fs::fchmod(made, Mode::from_raw_mode(mode & 0o777))
}

/// The owner of a link just made.
pub(super) fn give_link(
    above: BorrowedFd<'_>,
    name: impl rustix::path::Arg,
    owner: Option<Owner>,
) -> rustix::io::Result<()> {
    owner.map_or(Ok(()), |(user, group)| {
        rustix::fs::chownat(above, name, Some(user), Some(group), AtFlags::SYMLINK_NOFOLLOW)
    })
}

/// What a file is.
pub(super) fn kind(found: &Stat) -> FileType {
    FileType::from_raw_mode(found.st_mode)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    use super::*;
    use crate::decide::testing;
    use crate::releases::sweep;

    fn site() -> (tempfile::TempDir, App, User) {
        let directory = tempfile::tempdir().unwrap();
        let mut app = testing::app("r1", Vec::new());
        app.root = Root::new(directory.path().join("app")).unwrap();
        fs::create_dir(app.root.path()).unwrap();
        let user = User::who_runs().unwrap();
        (directory, app, user)
    }

    #[test]
    fn what_is_there_goes_even_where_its_own_user_may_not_write() {
        let (_directory, app, user) = site();
        let release = app.root.release(&app.release.id);
        fs::create_dir_all(release.join("locked/deep")).unwrap();
        fs::write(release.join("locked/deep/half"), "").unwrap();
        fs::create_dir_all(app.root.releases().join(REMOVING).join("earlier")).unwrap();
        for path in ["locked/deep", "locked"] {
            fs::set_permissions(release.join(path), fs::Permissions::from_mode(0o500)).unwrap();
        }
        let place = ReleaseDirectory::open(&app, &user).unwrap();
        place.begin().unwrap();
        assert_eq!(fs::read_dir(&release).unwrap().count(), 0);
        place.clear().unwrap();
        assert_eq!(fs::read_dir(app.root.releases()).unwrap().count(), 0);
        place.clear().unwrap();
    }

    #[test]
    fn no_link_is_followed_and_nothing_but_a_directory_is_removed() {
        let (directory, app, user) = site();
        let outside = directory.path().join("outside");
        fs::create_dir_all(outside.join("kept")).unwrap();
        symlink(&outside, app.root.releases()).unwrap();
        assert!(ReleaseDirectory::open(&app, &user).is_err());

        fs::remove_file(app.root.releases()).unwrap();
        fs::create_dir_all(app.root.releases().join("r1")).unwrap();
        symlink(&outside, app.root.releases().join(REMOVING)).unwrap();
        symlink(&outside, app.root.releases().join("r1/link")).unwrap();
        ReleaseDirectory::open(&app, &user).unwrap().begin().unwrap();
        assert!(outside.join("kept").exists());

        fs::remove_dir(app.root.releases().join("r1")).unwrap();
        symlink(&outside, app.root.releases().join("r1")).unwrap();
        let error = ReleaseDirectory::open(&app, &user).unwrap().begin().unwrap_err();
        assert!(error.message.contains("is not a directory") && error.help.is_some(), "{error:?}");
        assert!(outside.join("kept").exists() && app.root.releases().join("r1").is_symlink());

        symlink(&outside, app.root.state()).unwrap();
        assert!(ReleaseDirectory::open(&app, &user).unwrap().state(None).is_err());
    }

    #[tokio::test]
    async fn what_is_made_anew_takes_nothing_from_who_still_works_in_it() {
        let (_directory, app, user) = site();
        let release = app.root.release(&app.release.id);
        fs::create_dir_all(&release).unwrap();
        fs::write(release.join("artisan"), "old").unwrap();
        let mut child = std::process::Command::new("sleep").arg("600").current_dir(&release).spawn().unwrap();
        let seen = || fs::read_to_string(format!("/proc/{}/cwd/artisan", child.id())).unwrap_or_default();
        let place = ReleaseDirectory::open(&app, &user).unwrap();
        place.begin().unwrap();
        fs::write(release.join("artisan"), "new").unwrap();
        sweep(&app.root).await.unwrap();
        assert_eq!(seen(), "old");
        // Once more, by whom it is not used now.
        place.begin().unwrap();
        assert_eq!(fs::read_dir(app.root.releases()).unwrap().count(), 2);
        child.kill().unwrap();
        child.wait().unwrap();
        sweep(&app.root).await.unwrap();
        assert_eq!(fs::read_dir(app.root.releases()).unwrap().count(), 1);
    }

    #[test]
    fn a_user_can_pass_through_what_belongs_to_the_owner_of_the_root() {
        let (_directory, app, user) = site();
        if !rustix::process::geteuid().is_root() {
            println!("skipped: only root works for another user");
            return;
        }
        std::os::unix::fs::chown(app.root.path(), Some(4242), Some(4343)).unwrap();
        let mode = || {
            let found = fs::metadata(app.root.state()).unwrap();
            assert_eq!((found.uid(), found.gid()), (4242, 4343));
            found.mode() & 0o777
        };
        let place = ReleaseDirectory::open(&app, &user).unwrap();
        place.state(None).unwrap();
        assert_eq!(mode(), 0o750);
        let rows = [(4242, 1, 0o750), (1, 4343, 0o750), (1, 1, 0o751)];
        for (uid, gid, expected) in rows {
            place.state(Some(&User { uid, gid, groups: vec![gid], ..user.clone() })).unwrap();
            assert_eq!(mode(), expected, "{uid} {gid}");
        }
    }
}
