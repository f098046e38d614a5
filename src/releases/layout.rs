//! Reads what stands at `current` and in `releases/`.

use std::fs::{self, Metadata};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use jiff::Timestamp;

use crate::host::silence;
use crate::model::names::{ReleaseId, Root};
use crate::model::observed::{Layout, Link, ObservedRelease};
use crate::model::process::Inode;
use crate::ports::{HostError, HostErrorKind};

/// Reads the link and `releases/`.
///
/// A release is a directory in `releases/` with a UTF-8 name that does not start with a dot; a link
/// to a directory is none. The link names a release if it resolves to that very directory (device
/// and inode), by whatever spelling. Without `releases/` there are no releases; nor without a root,
/// where the desired release has a source that can fill one.
///
/// # Errors
/// A root that is not there or is no directory, and anything that may not be looked at.
pub async fn layout(root: &Root, has_source: bool) -> Result<Layout, HostError> {
    let of = root.clone();
    silence::at(root, move || read(&of, has_source)).await?
}

fn read(root: &Root, has_source: bool) -> Result<Layout, HostError> {
    if !is_there(root, has_source)? {
        let releases_path = root.releases();
        return Ok(Layout {
            link: Link::Absent,
            link_changed: None,
            changed_by_now: None,
            releases_path,
            releases: Vec::new(),
        });
    }
    let releases = list(&root.releases())?;
    let (link, link_changed) = link(&root.current(), &releases)?;
    // Processes are seen by real paths; a `releases/` that is not there has no other name than its own.
    let releases_path = fs::canonicalize(root.releases()).unwrap_or_else(|_| root.releases());
    Ok(Layout { link, link_changed, changed_by_now: None, releases_path, releases })
}

/// Whether the root is there; it must be, unless fetching the release makes it.
fn is_there(root: &Root, has_source: bool) -> Result<bool, HostError> {
    match fs::metadata(root.path()) {
        Ok(found) if found.is_dir() => Ok(true),
        Ok(_) => Err(HostError::new(HostErrorKind::Misconfigured, format!("the root `{root}` is not a directory"))
            .with_help("correct `spec.root`")),
        Err(error) if error.kind() == ErrorKind::NotFound && has_source => Ok(false),
        Err(error) if is_absence(&error) => {
            Err(HostError::new(HostErrorKind::Misconfigured, format!("the root `{root}` does not exist"))
                .with_help("correct `spec.root`, or make the directory and put a release into its `releases/`"))
        }
        Err(error) => Err(HostError::io(format!("cannot look at the root `{root}`"), &error)),
    }
}

fn list(releases: &Path) -> Result<Vec<ObservedRelease>, HostError> {
    let failed = |error: &io::Error| HostError::io(format!("cannot list `{}`", releases.display()), error);
    let entries = match fs::read_dir(releases) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(&error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| failed(&error))?;
        let name = entry.file_name();
        let Some(id) = name.to_str().filter(|name| !name.starts_with('.')) else { continue };
        let Ok(id) = ReleaseId::new(id) else { continue };
        match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => {
                // Not every file system keeps the time of birth.
                let made = metadata.created().ok().and_then(|made| Timestamp::try_from(made).ok());
                let inode = inode(&metadata);
                found.push(ObservedRelease::new(id, inode, made));
            }
            Ok(_) => {}
            // Somebody removed it while we were looking.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(failed(&error)),
        }
    }
    found.sort_by(|one, other| one.id.cmp(&other.id));
    Ok(found)
}

fn link(current: &Path, releases: &[ObservedRelease]) -> Result<(Link, Option<Timestamp>), HostError> {
    let failed = |error: &io::Error| HostError::io(format!("cannot look at `{}`", current.display()), error);
    let itself = match fs::symlink_metadata(current) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok((Link::Absent, None)),
        Err(error) => return Err(failed(&error)),
    };
    if !itself.is_symlink() {
        let what = if itself.is_dir() { "directory" } else { "file" };
        return Ok((Link::NotALink { what: what.to_owned() }, None));
    }
    let target = fs::read_link(current).map_err(|error| failed(&error))?.to_string_lossy().into_owned();
    let link = match fs::metadata(current) {
        Ok(reached) => {
            let reached = inode(&reached);
            match releases.iter().find(|release| release.inode == reached) {
                Some(release) => Link::Release { id: release.id.clone() },
                None => Link::Outside { target },
            }
        }
        Err(error) if is_absence(&error) => Link::Dangling { target },
        Err(error) => return Err(failed(&error)),
    };
    Ok((link, changed(&itself)))
}

/// The ctime: a rename over the link leaves its mtime old.
fn changed(metadata: &Metadata) -> Option<Timestamp> {
    Timestamp::new(metadata.ctime(), i32::try_from(metadata.ctime_nsec()).ok()?).ok()
}

fn inode(metadata: &Metadata) -> Inode {
    Inode { device: metadata.dev(), number: metadata.ino() }
}

/// The path leads nowhere: a part of it is absent, is no directory, or is a link that bites its tail.
pub(super) fn is_absence(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
        || rustix::io::Errno::from_io_error(error) == Some(rustix::io::Errno::LOOP)
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::symlink;

    use super::*;

    fn site() -> (tempfile::TempDir, Root) {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::new(directory.path().join("app")).unwrap();
        for id in ["r1", "r2"] {
            fs::create_dir_all(root.release(&ReleaseId::new(id).unwrap())).unwrap();
        }
        (directory, root)
    }

    fn id(text: &str) -> ReleaseId {
        ReleaseId::new(text).unwrap()
    }

    #[test]
    fn every_spelling_of_a_link_to_a_release_is_that_release() {
        let (directory, root) = site();
        let alias = directory.path().join("alias");
        symlink(root.path(), &alias).unwrap();
        symlink("r1", root.releases().join("latest")).unwrap();
        symlink(root.releases().join("r1"), root.path().join("hop")).unwrap();
        fs::create_dir(root.release(&id("r1")).join("public")).unwrap();
        fs::create_dir(directory.path().join("elsewhere")).unwrap();
        fs::write(directory.path().join("file"), "").unwrap();

        let here = root.path().display();
        let release = Link::Release { id: id("r1") };
        let outside = |target: &str| Link::Outside { target: target.to_owned() };
        let dangling = |target: &str| Link::Dangling { target: target.to_owned() };
        let rows = [
            ("releases/r1".to_owned(), release.clone()),
            ("./releases//r1/".to_owned(), release.clone()),
            ("../app/releases/./r1/public/..".to_owned(), release.clone()),
            (format!("{here}/releases/r1"), release.clone()),
            (format!("{}/releases/r1", alias.display()), release.clone()),
            ("releases/latest".to_owned(), release.clone()),
            ("hop".to_owned(), release),
            ("releases/r1/public".to_owned(), outside("releases/r1/public")),
            ("releases".to_owned(), outside("releases")),
            ("../elsewhere".to_owned(), outside("../elsewhere")),
            ("../file".to_owned(), outside("../file")),
            ("releases/r9".to_owned(), dangling("releases/r9")),
            ("../file/x".to_owned(), dangling("../file/x")),
            ("current".to_owned(), dangling("current")),
        ];
        for (target, expected) in rows {
            for root in [&root, &Root::new(&alias).unwrap()] {
                symlink(&target, root.current()).unwrap();
                let layout = read(root, false).unwrap();
                assert_eq!(layout.link, expected, "{target} in {root}");
                assert!(layout.link_changed.is_some(), "{target}");
                fs::remove_file(root.current()).unwrap();
            }
        }
    }

    #[test]
    fn what_is_no_link_is_named() {
        let (_directory, root) = site();
        assert_eq!(read(&root, false).unwrap().link, Link::Absent);
        fs::write(root.current(), "").unwrap();
        let layout = read(&root, false).unwrap();
        assert_eq!((layout.link, layout.link_changed), (Link::NotALink { what: "file".to_owned() }, None));
        fs::remove_file(root.current()).unwrap();
        fs::create_dir(root.current()).unwrap();
        assert_eq!(read(&root, false).unwrap().link, Link::NotALink { what: "directory".to_owned() });
    }

    #[test]
    fn a_rename_over_the_link_moves_its_time() {
        let (_directory, root) = site();
        symlink("releases/r1", root.current()).unwrap();
        let before = read(&root, false).unwrap().link_changed;
        let made = root.path().join("made-long-ago");
        symlink("releases/r2", &made).unwrap();
        // Kernel timestamps have the grain of one timer tick.
        while changed(&fs::symlink_metadata(&made).unwrap()) <= before {
            fs::remove_file(&made).unwrap();
            symlink("releases/r2", &made).unwrap();
        }
        fs::rename(&made, root.current()).unwrap();
        let after = read(&root, false).unwrap();
        assert_eq!(after.link, Link::Release { id: id("r2") });
        assert!(after.link_changed > before, "{:?} after {before:?}", after.link_changed);
    }

    #[test]
    fn releases_are_the_plain_directories() {
        let (_directory, root) = site();
        let releases = root.releases();
        fs::create_dir(releases.join(".partial")).unwrap();
        fs::create_dir(releases.join(std::ffi::OsStr::from_bytes(b"caf\xe9"))).unwrap();
        fs::write(releases.join("notes.txt"), "").unwrap();
        symlink("r1", releases.join("latest")).unwrap();
        fs::create_dir(releases.join("20260111")).unwrap();
        let layout = read(&root, false).unwrap();
        let ids: Vec<&str> = layout.releases.iter().map(|release| release.id.as_str()).collect();
        assert_eq!(ids, ["20260111", "r1", "r2"]);
        let found = fs::metadata(releases.join("r2")).unwrap();
        assert_eq!(layout.release(&id("r2")).unwrap().inode, inode(&found));
    }

    #[tokio::test]
    async fn a_root_without_releases_has_none_and_an_absent_root_is_an_error() {
        let (directory, root) = site();
        fs::remove_dir_all(root.releases()).unwrap();
        let none = layout(&root, false).await.unwrap();
        assert_eq!((none.link, none.link_changed, none.releases), (Link::Absent, None, Vec::new()));

        let rows = [("absent", "does not exist"), ("file", "is not a directory"), ("file/x", "does not exist")];
        fs::write(directory.path().join("file"), "").unwrap();
        for (name, words) in rows {
            let root = Root::new(directory.path().join(name)).unwrap();
            let error = layout(&root, false).await.unwrap_err();
            assert_eq!(error.kind, HostErrorKind::Misconfigured, "{name}");
            assert!(error.message.contains(words) && error.help.is_some(), "{error:?}");
        }

        let root = Root::new(directory.path().join("absent")).unwrap();
        assert_eq!(layout(&root, true).await.unwrap().releases, Vec::new(), "fetching makes the root");
        assert!(layout(&Root::new(directory.path().join("file")).unwrap(), true).await.is_err());
    }
}
