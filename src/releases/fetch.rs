//! Brings a release from its source into `releases/`.
//!
//! The copy grows under a hidden name that no look at the host takes for a release, and gets its own
//! name when it is whole and on disk. Everything is opened relative to directories that are held open
//! and no link is followed: root works in places that other users may change meanwhile.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Gid, Mode, OFlags, Stat, Uid};
use rustix::io::Errno;

use super::blocking;
use crate::host::users::User;
use crate::model::app::App;
use crate::model::names::RelativePath;
use crate::model::release::Source;
use crate::ports::{HostError, HostErrorKind};

/// Where a copy grows. One name is enough: the root's lock is held.
const GROWING: &str = ".trueup-fetching";
/// Set-uid and set-gid bits are not copied.
const PERMISSIONS: u32 = 0o777;

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Makes the App's root and the directories above it where they are absent. The root belongs to
/// `spec.user`, where that is set and we may give it away.
///
/// # Errors
/// What the file system refuses, and a `spec.user` that there is not.
pub async fn make_root(app: &App) -> Result<(), HostError> {
    let app = app.clone();
    blocking(move || {
        let root = app.root.path();
        if root.exists() {
            return Ok(());
        }
        let failed = |error: &io::Error| HostError::io(format!("cannot make the root `{}`", app.root), error);
        std::fs::DirBuilder::new().recursive(true).mode(0o755).create(root).map_err(|error| failed(&error))?;
        if let Some((user, group)) = owner(&app)? {
            let flags = AtFlags::SYMLINK_NOFOLLOW;
            rustix::fs::chownat(CWD, root, Some(user), Some(group), flags).map_err(|error| failed(&error.into()))?;
        }
        Ok(())
    })
    .await?
}

/// Brings the App's release from its source into `releases/`, which is made if need be. The caller
/// holds the root's lock.
///
/// # Guarantees
/// The release appears whole, on disk, with all that is required of it, or not at all. One that is
/// there already is left alone. Its files are copies, or share their blocks where the file system can
/// (never their inodes), and belong to the App's user.
///
/// # Errors
/// A source that is absent, empty, holds the root itself, or lacks what is required; what the file
/// system refuses.
pub async fn fetch(app: &App) -> Result<(), HostError> {
    let app = app.clone();
    blocking(move || match &app.release.source {
        Some(Source::Dir { path }) => Fetch::open(&app, path)?.run(),
        Some(Source::Git { .. } | Source::Archive { .. }) | None => {
            Err(HostError::new(HostErrorKind::Misconfigured, format!("the release `{}` has no source", app.release.id))
                .with_help("set `spec.release.source`"))
        }
    })
    .await?
}

/// Whom what we make is given to; none where it is ours anyway.
fn owner(app: &App) -> Result<Option<(Uid, Gid)>, HostError> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let user = User::of(app)?;
    Ok(Some((Uid::from_raw(user.uid), Gid::from_raw(user.gid))))
}

struct Fetch<'a> {
    app: &'a App,
    source: OwnedFd,
    source_path: &'a Path,
    releases: OwnedFd,
    owner: Option<(Uid, Gid)>,
}

impl<'a> Fetch<'a> {
    fn open(app: &'a App, source_path: &'a Path) -> Result<Self, HostError> {
        let shown = source_path.display();
        // The source itself may be a link: it is the person's word, not the tree's.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let source = rustix::fs::openat(CWD, source_path, flags, Mode::empty()).map_err(|error| match error {
            Errno::NOENT | Errno::NOTDIR => {
                HostError::new(HostErrorKind::Misconfigured, format!("the source `{shown}` is not a directory"))
                    .with_help("correct `spec.release.source`, or put the release there")
            }
            other => HostError::io(format!("cannot open the source `{shown}`"), &other.into()),
        })?;
        let root = rustix::fs::openat(CWD, app.root.path(), flags, Mode::empty())
            .map_err(|error| HostError::io(format!("cannot open the root `{}`", app.root), &error.into()))?;
        let inside = std::fs::canonicalize(app.root.path())
            .and_then(|root| Ok(root.starts_with(std::fs::canonicalize(source_path)?)))
            .map_err(|error| HostError::io(format!("cannot resolve the source `{shown}`"), &error))?;
        if inside {
            let message = format!("the source `{shown}` holds the root `{}`: it would be copied into itself", app.root);
            return Err(
                HostError::new(HostErrorKind::Misconfigured, message).with_help("move one of them out of the other")
            );
        }
        let owner = owner(app)?;
        let failed = |error: Errno| {
            HostError::io(format!("cannot open `{}` as a directory", app.root.releases().display()), &error.into())
        };
        match rustix::fs::mkdirat(&root, "releases", Mode::from_raw_mode(0o755)) {
            Ok(()) => {
                let made = rustix::fs::openat(&root, "releases", DIRECTORY, Mode::empty()).map_err(failed)?;
                give(made.as_fd(), owner).map_err(failed)?;
            }
            Err(Errno::EXIST) => {}
            Err(error) => return Err(failed(error)),
        }
        let releases = rustix::fs::openat(&root, "releases", DIRECTORY, Mode::empty()).map_err(failed)?;
        Ok(Self { app, source, source_path, releases, owner })
    }

    fn run(&self) -> Result<(), HostError> {
        let id = self.app.release.id.as_str();
        match rustix::fs::statat(&self.releases, id, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(found) if kind(&found) == FileType::Directory => return Ok(()),
            Ok(_) => {
                let message = format!("`{}` is not a directory", self.app.root.release(&self.app.release.id).display());
                return Err(HostError::new(HostErrorKind::Misconfigured, message).with_help("move it away"));
            }
            Err(Errno::NOENT) => {}
            Err(error) => return Err(self.failed(error)),
        }
        self.remove_growing()?;
        let done = self.grow().and_then(|()| {
            rustix::fs::renameat(&self.releases, GROWING, &self.releases, id).map_err(|error| self.failed(error))
        });
        if let Err(error) = done {
            // The error of the copy is the one worth telling.
            let _ = self.remove_growing();
            return Err(error);
        }
        sync(self.releases.as_fd()).map_err(|error| self.failed(error))
    }

    fn grow(&self) -> Result<(), HostError> {
        let failed = |error: Errno| self.failed(error);
        rustix::fs::mkdirat(&self.releases, GROWING, Mode::from_raw_mode(0o700)).map_err(failed)?;
        let growing = rustix::fs::openat(&self.releases, GROWING, DIRECTORY, Mode::empty()).map_err(failed)?;
        let copied = copy_directory(self.source.as_fd(), growing.as_fd(), self.owner, self.source_path)?;
        if copied == 0 {
            let message = format!("the source `{}` is empty", self.source_path.display());
            return Err(HostError::new(HostErrorKind::Misconfigured, message).with_help("put the release there"));
        }
        let absent = |path: &&RelativePath| {
            rustix::fs::statat(&growing, path.as_path(), AtFlags::empty()).is_err_and(|error| error == Errno::NOENT)
        };
        if let Some(path) = self.app.release.requires.iter().find(absent) {
            let message = format!("the source `{}` lacks `{path}`, which is required", self.source_path.display());
            return Err(HostError::new(HostErrorKind::Misconfigured, message)
                .with_help("complete it, or correct `spec.release.requires`"));
        }
        let mode = rustix::fs::fstat(&self.source).map_err(failed)?.st_mode;
        finish(growing.as_fd(), self.owner, mode).map_err(failed)
    }

    /// What a pass that died has left.
    fn remove_growing(&self) -> Result<(), HostError> {
        let place = PathBuf::from(format!("/proc/self/fd/{}/{GROWING}", self.releases.as_raw_fd()));
        match std::fs::remove_dir_all(place) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => {
                let place = self.app.root.releases().join(GROWING);
                Err(HostError::io(format!("cannot remove `{}`", place.display()), &error))
            }
        }
    }

    fn failed(&self, error: Errno) -> HostError {
        let place = self.app.root.release(&self.app.release.id);
        HostError::io(format!("cannot make the release `{}`", place.display()), &error.into())
    }
}

/// Copies what is in one directory into another and says how many entries that were.
fn copy_directory(
    from: BorrowedFd<'_>,
    to: BorrowedFd<'_>,
    owner: Option<(Uid, Gid)>,
    shown: &Path,
) -> Result<u64, HostError> {
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
        let found = rustix::fs::statat(from, name, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
        match kind(&found) {
            FileType::Directory => {
                let inner = rustix::fs::openat(from, name, DIRECTORY, Mode::empty()).map_err(failed)?;
                rustix::fs::mkdirat(to, name, Mode::from_raw_mode(0o700)).map_err(failed)?;
                let made = rustix::fs::openat(to, name, DIRECTORY, Mode::empty()).map_err(failed)?;
                copy_directory(inner.as_fd(), made.as_fd(), owner, &shown)?;
                finish(made.as_fd(), owner, found.st_mode).map_err(failed)?;
            }
            FileType::RegularFile => {
                let flags = OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let original = rustix::fs::openat(from, name, OFlags::RDONLY | flags, Mode::empty()).map_err(failed)?;
                let fresh = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | flags;
                let copy = rustix::fs::openat(to, name, fresh, Mode::from_raw_mode(0o600)).map_err(failed)?;
                copy_file(original, &copy)
                    .map_err(|error| HostError::io(format!("cannot copy `{}`", shown.display()), &error))?;
                finish(copy.as_fd(), owner, found.st_mode).map_err(failed)?;
            }
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(from, name, Vec::new()).map_err(failed)?;
                rustix::fs::symlinkat(&target, to, name).map_err(failed)?;
                if let Some((user, group)) = owner {
                    let flags = AtFlags::SYMLINK_NOFOLLOW;
                    rustix::fs::chownat(to, name, Some(user), Some(group), flags).map_err(failed)?;
                }
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
fn copy_file(original: OwnedFd, copy: &OwnedFd) -> io::Result<()> {
    if rustix::fs::ioctl_ficlone(copy, &original).is_ok() {
        return Ok(());
    }
    let (mut original, mut copy) = (File::from(original), File::from(copy.try_clone()?));
    io::copy(&mut original, &mut copy).map(|_| ())
}

/// Owner and mode, and all of it on disk.
fn finish(made: BorrowedFd<'_>, owner: Option<(Uid, Gid)>, mode: u32) -> rustix::io::Result<()> {
    give(made, owner)?;
    rustix::fs::fchmod(made, Mode::from_raw_mode(mode & PERMISSIONS))?;
    sync(made)
}

fn give(made: BorrowedFd<'_>, owner: Option<(Uid, Gid)>) -> rustix::io::Result<()> {
    owner.map_or(Ok(()), |(user, group)| rustix::fs::fchown(made, Some(user), Some(group)))
}

fn sync(made: BorrowedFd<'_>) -> rustix::io::Result<()> {
    match rustix::fs::fsync(made) {
        // Some network file systems know no fsync of a directory.
        Err(Errno::INVAL) => Ok(()),
        other => other,
    }
}

fn kind(found: &Stat) -> FileType {
    FileType::from_raw_mode(found.st_mode)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    use super::*;
    use crate::decide::testing;
    use crate::model::names::Root;

    /// A directory with a source in it, and an App whose root is not there yet.
    fn site() -> (tempfile::TempDir, App) {
        let directory = tempfile::tempdir().unwrap();
        let source = directory.path().join("build");
        fs::create_dir_all(source.join("bin")).unwrap();
        fs::write(source.join("bin/worker"), "#!/bin/sh\n").unwrap();
        fs::set_permissions(source.join("bin/worker"), fs::Permissions::from_mode(0o4755)).unwrap();
        fs::write(source.join(".hidden"), vec![7; 100_000]).unwrap();
        symlink("../../shared/.env", source.join(".env")).unwrap();
        let mut app = testing::app("r1", Vec::new());
        app.root = Root::new(directory.path().join("srv/app")).unwrap();
        app.release.source = Some(Source::Dir { path: source });
        (directory, app)
    }

    fn names(app: &App) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(app.root.releases())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[tokio::test]
    async fn a_release_is_copied_with_modes_and_links_and_belongs_to_the_owner_of_the_root() {
        let (_directory, app) = site();
        make_root(&app).await.unwrap();
        make_root(&app).await.unwrap();
        let root = rustix::process::geteuid().is_root();
        if root {
            std::os::unix::fs::chown(app.root.path(), Some(4242), Some(4343)).unwrap();
        }
        fetch(&app).await.unwrap();
        let release = app.root.release(&app.release.id);
        assert_eq!(names(&app), ["r1"]);
        let worker = fs::metadata(release.join("bin/worker")).unwrap();
        assert_eq!(worker.mode() & 0o7777, 0o755, "no set-uid bit comes along");
        assert_eq!(fs::read(release.join(".hidden")).unwrap(), vec![7; 100_000]);
        assert_eq!(fs::read_link(release.join(".env")).unwrap(), Path::new("../../shared/.env"));
        let Some(Source::Dir { path }) = &app.release.source else { panic!("no source") };
        assert_ne!(fs::metadata(path.join("bin/worker")).unwrap().ino(), worker.ino(), "copies, no hard links");
        if root {
            for name in ["", "bin", "bin/worker", ".hidden", ".env"] {
                let found = fs::symlink_metadata(release.join(name)).unwrap();
                assert_eq!((found.uid(), found.gid()), (4242, 4343), "{name}");
            }
        }
        fs::write(release.join("mine"), "").unwrap();
        fetch(&app).await.unwrap();
        assert!(release.join("mine").exists(), "what is there is left alone");
    }

    #[tokio::test]
    async fn what_a_dead_pass_left_is_no_release_and_is_begun_anew() {
        let (_directory, app) = site();
        let growing = app.root.releases().join(GROWING);
        fs::create_dir_all(growing.join("deep")).unwrap();
        fs::write(growing.join("deep/half"), "").unwrap();
        let before = super::super::layout(&app.root, true).await.unwrap();
        assert_eq!(before.releases, Vec::new());
        fetch(&app).await.unwrap();
        assert_eq!(names(&app), ["r1"]);
        assert!(!app.root.release(&app.release.id).join("deep").exists());
    }

    #[tokio::test]
    async fn a_source_that_cannot_become_the_release_leaves_nothing_behind() {
        let (directory, app) = site();
        make_root(&app).await.unwrap();
        let empty = directory.path().join("empty");
        let odd = directory.path().join("odd");
        fs::create_dir_all(&empty).unwrap();
        fs::create_dir_all(&odd).unwrap();
        std::os::unix::net::UnixListener::bind(odd.join("socket")).unwrap();
        let rows = [
            (directory.path().join("absent"), "is not a directory"),
            (empty, "is empty"),
            (odd, "neither a file"),
            (directory.path().to_owned(), "copied into itself"),
        ];
        for (path, words) in rows {
            let mut app = app.clone();
            app.release.source = Some(Source::Dir { path });
            let error = fetch(&app).await.unwrap_err();
            assert!(error.message.contains(words) && error.help.is_some(), "{words}: {error:?}");
        }
        let mut app = app.clone();
        app.release.requires = vec![RelativePath::new("vendor/autoload.php").unwrap()];
        let error = fetch(&app).await.unwrap_err();
        assert!(error.message.contains("lacks `vendor/autoload.php`"), "{error:?}");
        assert_eq!(names(&app), Vec::<String>::new());
    }

    #[tokio::test]
    async fn links_out_of_the_root_are_not_followed() {
        let (directory, app) = site();
        let outside = directory.path().join("outside");
        fs::create_dir_all(outside.join("kept")).unwrap();
        make_root(&app).await.unwrap();
        symlink(&outside, app.root.releases()).unwrap();
        assert!(fetch(&app).await.is_err());
        fs::remove_file(app.root.releases()).unwrap();
        fs::create_dir(app.root.releases()).unwrap();
        symlink(&outside, app.root.releases().join(GROWING)).unwrap();
        fetch(&app).await.unwrap();
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
        assert!(outside.join("kept").exists());
    }
}
