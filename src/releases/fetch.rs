//! Brings a release from its source into `releases/`.
//!
//! In: an App. Out: its release, unbuilt, in its final place, and what it was made of. Whether what stands
//! there is whole is said by the release's record, which the caller writes. Begin at [`fetch`].

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::sync::Arc;

use rustix::fs::{AtFlags, CWD};

use super::archive::{self, Terms};
use super::place::{ReleaseDirectory, owner};
use super::{dir, download, git};
use crate::host::blocking;
use crate::host::command::user_of;
use crate::host::silence;
use crate::host::spawn::Shim;
use crate::host::users::User;
use crate::model::app::App;
use crate::model::release::{Location, Source, public};
use crate::ports::{HostError, HostErrorKind};

/// Makes the App's root and the directories above it where they are absent. The root belongs to
/// `spec.user`, where that is set and we may give it away.
///
/// # Errors
/// What the file system refuses, and a `spec.user` that there is not.
pub async fn make_root(app: &App) -> Result<(), HostError> {
    let of = &app.root;
    let app = app.clone();
    silence::at(of, move || {
        let root = app.root.path();
        if root.exists() {
            return Ok(());
        }
        let failed = |error: &io::Error| HostError::io(format!("cannot make the root `{}`", app.root), error);
        std::fs::DirBuilder::new().recursive(true).mode(0o755).create(root).map_err(|error| failed(&error))?;
        if let Some((user, group)) = owner(&User::of(&app)?) {
            let flags = AtFlags::SYMLINK_NOFOLLOW;
            rustix::fs::chownat(CWD, root, Some(user), Some(group), flags).map_err(|error| failed(&error.into()))?;
        }
        Ok(())
    })
    .await?
}

/// Brings the files of the App's release from its source into `releases/ID`, where nothing is left of what was
/// there before. Returns what it was made of: the commit, or the SHA-256 of the archive.
///
/// The caller holds the root's lock; `lock` is a copy of it for what is started here. It has also written that
/// what is in `releases/ID` is half a release, and writes when it no longer is, after everything is on disk.
///
/// # Guarantees
/// The files belong to the App's user, without set-uid bits, and share no inode with anything. What was begun
/// is removed again after an error, as far as it can be.
///
/// # Errors
/// `Unreachable` and `TimedOut` may go away by themselves; `Storage` when there is space;
/// `Misconfigured` and `Denied` when somebody changes something.
pub async fn fetch(shim: &Shim, app: &App, lock: Option<OwnedFd>) -> Result<Option<String>, HostError> {
    let user = user_of(app).await?;
    match app.release.source.clone() {
        Some(Source::Dir { path }) => {
            let app = app.clone();
            in_place(app, user, lock, move |place| dir::fetch(place, &path).map(|()| None)).await
        }
        Some(Source::Git { url, revision, submodules }) => {
            let wish = git::WantedCommit { url, revision, submodules };
            let (opened, owner) = (app.clone(), user.clone());
            let place = Arc::new(blocking(move || ReleaseDirectory::open(&opened, &owner)).await??);
            let fetched = git::fetch(shim, &place, user, lock, &wish).await;
            if fetched.is_err() {
                blocking(move || place.abandon()).await?;
            }
            fetched.map(Some)
        }
        Some(Source::Archive { location: Location::Path(path), sha256, strip_components, limit }) => {
            let terms = Terms { sha256, strip: strip_components, limit };
            in_place(app.clone(), user, lock, move |place| {
                let shown = path.display().to_string();
                archive::unpack(place, archive::open(place, &path)?, &shown, &terms).map(Some)
            })
            .await
        }
        Some(Source::Archive { location: Location::Url(url), sha256, strip_components, limit }) => {
            let terms = Terms { sha256, strip: strip_components, limit };
            let (opened, owner) = (app.clone(), user.clone());
            let place = blocking(move || ReleaseDirectory::open(&opened, &owner)).await??;
            let shown = public(&url);
            let file = download::fetch(&place, &url, limit.saturating_add(archive::HEADERS)).await?;
            in_place(app.clone(), user, lock, move |place| archive::unpack(place, file, &shown, &terms).map(Some)).await
        }
        None => {
            Err(HostError::new(HostErrorKind::Misconfigured, format!("the release `{}` has no source", app.release.id))
                .with_help("set `spec.release.source`"))
        }
    }
}

/// Lets blocking work make the release, and removes what it leaves when it fails.
async fn in_place<T: Send + 'static>(
    app: App,
    user: User,
    lock: Option<OwnedFd>,
    work: impl FnOnce(&ReleaseDirectory) -> Result<T, HostError> + Send + 'static,
) -> Result<T, HostError> {
    blocking(move || {
        // Held until the work has ended, even when nobody waits for it any more.
        let _lock = lock;
        let place = ReleaseDirectory::open(&app, &user)?;
        work(&place).inspect_err(|_| place.abandon())
    })
    .await?
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
    use std::path::Path;

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
        fs::set_permissions(&source, fs::Permissions::from_mode(0o750)).unwrap();
        fs::write(source.join(".hidden"), vec![7; 100_000]).unwrap();
        symlink("../../shared/.env", source.join(".env")).unwrap();
        let mut app = testing::app("r1", Vec::new());
        app.root = Root::new(directory.path().join("srv/app")).unwrap();
        app.release.source = Some(Source::Dir { path: source });
        (directory, app)
    }

    async fn fetched(app: &App) -> Result<Option<String>, HostError> {
        fetch(&Shim::own(), app, None).await
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
        assert_eq!(fetched(&app).await.unwrap(), None);
        let release = app.root.release(&app.release.id);
        assert_eq!(names(&app), ["r1"]);
        let worker = fs::metadata(release.join("bin/worker")).unwrap();
        assert_eq!(worker.mode() & 0o7777, 0o755, "no set-uid bit comes along");
        assert_eq!(fs::metadata(&release).unwrap().mode() & 0o7777, 0o750);
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
    }

    #[tokio::test]
    async fn half_a_release_is_begun_anew() {
        let (_directory, app) = site();
        let release = app.root.release(&app.release.id);
        fs::create_dir_all(release.join("bin")).unwrap();
        fs::write(release.join("bin/half"), "").unwrap();
        fetched(&app).await.unwrap();
        assert_eq!(names(&app), ["r1"]);
        assert!(!release.join("bin/half").exists() && release.join("bin/worker").exists());
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
            let error = fetched(&app).await.unwrap_err();
            assert!(error.message.contains(words) && error.help.is_some(), "{words}: {error:?}");
            assert_eq!(error.kind, HostErrorKind::Misconfigured, "{words}");
        }
        assert_eq!(names(&app), Vec::<String>::new());
        let mut app = app.clone();
        app.release.source = None;
        assert!(fetched(&app).await.unwrap_err().message.contains("has no source"));
    }

    #[tokio::test]
    async fn root_copies_nothing_for_a_user_who_may_not_read_it_himself() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let (directory, mut app) = site();
        make_root(&app).await.unwrap();
        let at = |path: &str| directory.path().join(path);
        let give = |path: &Path| std::os::unix::fs::lchown(path, Some(4242), Some(4242)).unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::create_dir(at("closed")).unwrap();
        fs::set_permissions(at("closed"), fs::Permissions::from_mode(0o700)).unwrap();
        fs::write(at("closed/secret"), "secret").unwrap();
        let mut packed = std::process::Command::new("tar");
        packed.args(["--create", "--file", "closed/packed", "closed/secret"]).current_dir(directory.path());
        assert!(packed.status().unwrap().success());
        fs::set_permissions(at("closed/packed"), fs::Permissions::from_mode(0o600)).unwrap();
        fs::create_dir(at("theirs")).unwrap();
        fs::create_dir(at("theirs/mixed")).unwrap();
        fs::write(at("theirs/mixed/roots"), "secret").unwrap();
        fs::set_permissions(at("theirs/mixed/roots"), fs::Permissions::from_mode(0o600)).unwrap();
        symlink(at("closed"), at("theirs/app")).unwrap();
        symlink(at("closed/packed"), at("theirs/packed")).unwrap();
        for path in ["theirs", "theirs/mixed", "theirs/app", "theirs/packed"] {
            give(&at(path));
        }
        let archive = |path| Source::Archive {
            location: Location::Path(path),
            sha256: None,
            strip_components: 0,
            limit: 1 << 20,
        };
        let rows = [
            (Source::Dir { path: at("theirs/app") }, "closed"),
            (Source::Dir { path: at("theirs/mixed") }, "theirs/mixed/roots"),
            (archive(at("theirs/packed")), "closed"),
        ];
        for (source, closed) in rows {
            app.release.source = Some(source);
            let error = fetched(&app).await.unwrap_err();
            let words =
                format!("leads to `{}`, which belongs to `root` and which `4242` may not read", at(closed).display());
            assert!(error.message.contains(&words) && error.help.is_some(), "{closed}: {error:?}");
            assert_eq!(error.kind, HostErrorKind::Denied);
            assert_eq!(names(&app), Vec::<String>::new(), "{closed}");
        }
        for (source, found) in
            [(Source::Dir { path: at("closed") }, "secret"), (archive(at("closed/packed")), "closed/secret")]
        {
            app.release.source = Some(source);
            fetched(&app).await.unwrap();
            assert!(app.root.release(&app.release.id).join(found).exists(), "root's own way leads anywhere");
        }
    }

    #[tokio::test]
    async fn a_source_inside_the_release_is_not_removed_with_it() {
        let (_directory, mut app) = site();
        let inside = app.root.release(&app.release.id).join("build");
        fs::create_dir_all(&inside).unwrap();
        fs::write(inside.join("precious"), "").unwrap();
        app.release.source = Some(Source::Dir { path: inside.clone() });
        let error = fetched(&app).await.unwrap_err();
        assert!(error.message.contains("lies in the release"), "{error}");
        assert!(inside.join("precious").exists());
    }

    #[tokio::test]
    async fn an_archive_becomes_the_release_and_is_named_by_its_digest() {
        let (directory, mut app) = site();
        make_root(&app).await.unwrap();
        let path = directory.path().join("packed");
        let packed = std::process::Command::new("tar")
            .args(["--create", "--gzip", "--file", "packed", "build/bin"])
            .current_dir(directory.path())
            .status();
        assert!(packed.unwrap().success());
        let mut archive = |location, sha256: Option<&str>| {
            let sha256 = sha256.map(str::to_owned);
            app.release.source = Some(Source::Archive { location, sha256, strip_components: 1, limit: 1_000_000 });
            app.clone()
        };
        let made_of = fetched(&archive(Location::Path(path.clone()), None)).await.unwrap().unwrap();
        let app = archive(Location::Path(path.clone()), Some(&made_of));
        assert_eq!(fetched(&app).await.unwrap().as_deref(), Some(made_of.as_str()));
        let worker = app.root.release(&app.release.id).join("bin/worker");
        assert_eq!(fs::read_to_string(worker).unwrap(), "#!/bin/sh\n");

        let error = fetched(&archive(Location::Path(path), Some(&"0".repeat(64)))).await.unwrap_err();
        assert!(error.message.contains(&made_of), "{error}");
        let error = fetched(&archive(Location::Url("http://127.0.0.1/a".to_owned()), None)).await.unwrap_err();
        assert!(error.message.contains("only `https`"), "{error}");
    }
}
