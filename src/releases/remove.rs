//! Removes one release.
//!
//! It loses its name first: what is half deleted is hidden, so that no look takes it for a release.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::fs::{Dir, FileType};
use rustix::io::Errno;
use tracing::info;

use super::beneath::{directory, look, no_releases, open_root};
use super::delete::delete;
use super::place::{REMOVING, kind};
use crate::host::blocking;
use crate::host::proc::holders;
use crate::model::names::{ReleaseId, Root};
use crate::model::process::Holder;
use crate::ports::{HostError, HostErrorKind};

/// What a release is called while it is deleted, before a pid and a number.
const REMOVED: &str = ".trueup-removed-";

/// Removes one release; one that is not there is success. Also removes what is left of removals that were
/// killed. The caller holds the root's lock.
///
/// # Guarantees
/// The release has no name in `releases/` any more, on disk too, before the first of its files goes. While a process
/// uses one of them, all stay aside until [`sweep`] finds them unused. Nothing outside of it is touched, by whatever
/// links.
///
/// # Errors
/// The release that `current` leads to, or into; one that is no directory; a file system that is mounted in it; what
/// the file system refuses.
pub async fn remove(root: &Root, id: &ReleaseId) -> Result<(), HostError> {
    let (root, id) = (root.clone(), id.clone());
    blocking(move || {
        let opened = open_root(&root)?;
        let releases = match directory(opened.as_fd(), OsStr::new("releases")) {
            Ok(releases) => releases,
            Err(Errno::NOENT) => return Ok(()),
            Err(error) => return Err(no_releases(&root, error)),
        };
        let removal = Removal { root: &root, opened, releases };
        leftovers(removal.releases.as_fd(), &root.releases())?;
        removal.run(&id)
    })
    .await?
}

/// Removes what is left of removals that were killed or refused, in `releases/` and in `.trueup/`, and what was set
/// aside and is used no more. The caller holds the root's lock.
///
/// # Errors
/// What stood in their way may still do.
pub async fn sweep(root: &Root) -> Result<(), HostError> {
    let root = root.clone();
    blocking(move || {
        let opened = open_root(&root)?;
        for (name, shown) in [("releases", root.releases()), (".trueup", root.state())] {
            match directory(opened.as_fd(), OsStr::new(name)) {
                Ok(inner) => leftovers(inner.as_fd(), &shown)?,
                // Whoever needs it says so.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
                Err(error) => {
                    return Err(HostError::io(format!("cannot open `{}`", shown.display()), &error.into()));
                }
            }
        }
        Ok(())
    })
    .await?
}

/// Returns when all that was written below the root is on disk.
///
/// # Errors
/// What the file system refuses.
pub async fn settle(root: &Root) -> Result<(), HostError> {
    let root = root.clone();
    blocking(move || {
        let failed = |error: Errno| HostError::io(format!("cannot write `{root}` to its disk"), &error.into());
        let opened = open_root(&root)?;
        rustix::fs::syncfs(&opened).map_err(failed)?;
        let device = rustix::fs::fstat(&opened).map_err(failed)?.st_dev;
        for name in ["releases", "shared", ".trueup"] {
            // They may be on disks of their own.
            let Ok(inner) = directory(opened.as_fd(), OsStr::new(name)) else { continue };
            if rustix::fs::fstat(&inner).map_err(failed)?.st_dev != device {
                rustix::fs::syncfs(&inner).map_err(failed)?;
            }
        }
        Ok(())
    })
    .await?
}

struct Removal<'a> {
    root: &'a Root,
    opened: OwnedFd,
    releases: OwnedFd,
}

impl Removal<'_> {
    fn run(&self, id: &ReleaseId) -> Result<(), HostError> {
        let shown = self.root.release(id);
        let failed = |error: Errno| HostError::io(format!("cannot remove `{}`", shown.display()), &error.into());
        let name = OsStr::new(id.as_str());
        let Some(found) = look(self.releases.as_fd(), name).map_err(failed)? else { return Ok(()) };
        if kind(&found) != FileType::Directory {
            let message = format!("`{}` is not a directory; it is not removed", shown.display());
            return Err(HostError::new(HostErrorKind::Misconfigured, message).with_help("remove it by hand"));
        }
        self.refuse_current(id)?;
        let hidden = set_aside(self.releases.as_fd(), name).map_err(failed)?;
        let aside = self.root.releases().join(&hidden);
        if let Some(Holder { process, seen, .. }) = holder(&aside)? {
            info!(release = %id, pid = %process.pid, seen, "its files are still used, and stay aside");
            return Ok(());
        }
        delete(self.releases.as_fd(), &hidden, &aside)
    }

    /// What `current` leads to, or into, is never removed; nor is anything while nobody can tell where it leads.
    fn refuse_current(&self, id: &ReleaseId) -> Result<(), HostError> {
        let current = self.root.current();
        let release = self.root.release(id);
        let cannot = |path: &Path, error: &std::io::Error| {
            HostError::io(format!("cannot tell where `{}` leads, so nothing is removed", path.display()), error)
        };
        if look(self.opened.as_fd(), OsStr::new("current")).map_err(|error| cannot(&current, &error.into()))?.is_none()
        {
            return Ok(());
        }
        let reached = match current.canonicalize() {
            Ok(reached) => reached,
            Err(error) => match Errno::from_io_error(&error) {
                Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(()),
                _ => return Err(cannot(&current, &error)),
            },
        };
        let release = release.canonicalize().map_err(|error| cannot(&release, &error))?;
        if !reached.starts_with(&release) {
            return Ok(());
        }
        let message = format!("`{}` leads to the release `{id}`: it is not removed", current.display());
        Err(HostError::new(HostErrorKind::Misconfigured, message).with_help("switch to another release first"))
    }
}

/// Gives something a name that no look takes for a release, on disk too; the name.
pub(super) fn set_aside(above: BorrowedFd<'_>, name: &OsStr) -> rustix::io::Result<OsString> {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let hidden = loop {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let hidden = OsString::from(format!("{REMOVED}{}-{number}", std::process::id()));
        match rustix::fs::renameat(above, name, above, &hidden) {
            Ok(()) => break hidden,
            // Left by an earlier process of our number.
            Err(Errno::EXIST | Errno::NOTEMPTY) => {}
            Err(error) => return Err(error),
        }
    };
    match rustix::fs::fsync(above) {
        // Some network file systems know no fsync of a directory.
        Ok(()) | Err(Errno::INVAL) => Ok(hidden),
        Err(error) => Err(error),
    }
}

/// A process that uses a directory, by whatever name it knows it.
pub(super) fn holder(directory: &Path) -> Result<Option<Holder>, HostError> {
    let real = directory
        .canonicalize()
        .map_err(|error| HostError::io(format!("cannot look at `{}`", directory.display()), &error))?;
    Ok(holders(&[real])?.pop())
}

/// Deletes what removals that were killed or refused have left in a directory; what is still used stays.
fn leftovers(directory: BorrowedFd<'_>, shown: &Path) -> Result<(), HostError> {
    let failed = |error: Errno| HostError::io(format!("cannot list `{}`", shown.display()), &error.into());
    let mut left = Vec::new();
    for entry in Dir::read_from(directory).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if name == REMOVING || is_removed(name) {
            left.push(name.to_owned());
        }
    }
    if left.is_empty() {
        return Ok(());
    }
    let real =
        shown.canonicalize().map_err(|error| HostError::io(format!("cannot look at `{}`", shown.display()), &error))?;
    let used = holders(&left.iter().map(|name| real.join(name)).collect::<Vec<_>>())?;
    let unused = left.iter().enumerate().filter(|(at, _)| used.iter().all(|holder| holder.directory != *at));
    unused.map(|(_, name)| name).try_for_each(|name| delete(directory, name, &shown.join(name)))
}

/// Whether something of this name was hidden by us: the prefix, a pid, a dash, a number.
fn is_removed(name: &OsStr) -> bool {
    let digits = |text: &[u8]| !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    let Some(rest) = name.as_bytes().strip_prefix(REMOVED.as_bytes()) else { return false };
    let mut parts = rest.splitn(2, |byte| *byte == b'-');
    parts.next().is_some_and(digits) && parts.next().is_some_and(digits)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn site() -> (tempfile::TempDir, Root) {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::new(directory.path().join("app")).unwrap();
        for release in ["r1", "r2"] {
            let deep = root.releases().join(release).join("deep/er");
            fs::create_dir_all(&deep).unwrap();
            fs::write(deep.join("file"), "x").unwrap();
        }
        fs::create_dir_all(directory.path().join("outside")).unwrap();
        fs::write(directory.path().join("outside/precious"), "x").unwrap();
        (directory, root)
    }

    fn id(text: &str) -> ReleaseId {
        ReleaseId::new(text).unwrap()
    }

    fn left(root: &Root) -> Vec<String> {
        let entries = fs::read_dir(root.releases()).unwrap();
        let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[tokio::test]
    async fn a_release_goes_with_all_that_is_in_it_and_nothing_else() {
        let (directory, root) = site();
        let release = root.releases().join("r1");
        let outside = directory.path().join("outside");
        symlink(&outside, release.join("link")).unwrap();
        symlink("../../../outside/precious", release.join("deep/precious")).unwrap();
        fs::hard_link(outside.join("precious"), release.join("hard")).unwrap();
        std::os::unix::net::UnixListener::bind(release.join("socket")).unwrap();
        fs::set_permissions(release.join("deep/er"), fs::Permissions::from_mode(0o500)).unwrap();
        remove(&root, &id("r1")).await.unwrap();
        assert_eq!(left(&root), ["r2"]);
        assert_eq!(fs::read_to_string(outside.join("precious")).unwrap(), "x");
        remove(&root, &id("r1")).await.unwrap();
        remove(&root, &id(&"x".repeat(240))).await.unwrap();
        fs::remove_dir_all(root.releases()).unwrap();
        remove(&root, &id("r1")).await.unwrap();
        settle(&root).await.unwrap();
    }

    #[tokio::test]
    async fn what_current_leads_to_is_never_removed() {
        let (directory, root) = site();
        let alias = directory.path().join("alias");
        symlink(root.path(), &alias).unwrap();
        let absolute = root.releases().join("r1");
        let other = alias.join("releases/r1");
        for target in ["releases/r1", "./releases//r1/deep", absolute.to_str().unwrap(), other.to_str().unwrap()] {
            symlink(target, root.current()).unwrap();
            for root in [&root, &Root::new(&alias).unwrap()] {
                let error = remove(root, &id("r1")).await.unwrap_err();
                assert!(error.message.contains("not removed") && error.help.is_some(), "{target}: {error:?}");
            }
            assert!(root.releases().join("r1/deep/er/file").exists(), "{target}");
            fs::remove_file(root.current()).unwrap();
        }
        // What leads elsewhere or nowhere keeps nothing.
        for (release, target) in [("r1", "releases/r2"), ("r2", "current")] {
            symlink(target, root.current()).unwrap();
            remove(&root, &id(release)).await.unwrap();
            fs::remove_file(root.current()).unwrap();
        }
        assert_eq!(left(&root), Vec::<String>::new());
    }

    #[tokio::test]
    async fn what_a_process_has_open_stays_aside_until_it_is_not_used() {
        let (_directory, root) = site();
        let file = fs::File::open(root.releases().join("r1/deep/er/file")).unwrap();
        let mut child = std::process::Command::new("sleep").arg("600").current_dir("/").stdin(file).spawn().unwrap();
        remove(&root, &id("r1")).await.unwrap();
        for _ in 0..2 {
            let all = left(&root);
            assert!(matches!(all.as_slice(), [aside, r2] if is_removed(OsStr::new(aside)) && r2 == "r2"), "{all:?}");
            assert!(root.releases().join(&all[0]).join("deep/er/file").exists());
            sweep(&root).await.unwrap();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        sweep(&root).await.unwrap();
        assert_eq!(left(&root), ["r2"]);
    }

    #[test]
    fn what_an_earlier_process_of_our_number_has_left_aside_is_in_nobodys_way() {
        let (_directory, root) = site();
        let opened = open_root(&root).unwrap();
        let releases = directory(opened.as_fd(), OsStr::new("releases")).unwrap();
        let pid = std::process::id();
        for number in 0..100 {
            fs::create_dir_all(root.releases().join(format!("{REMOVED}{pid}-{number}/half"))).unwrap();
        }
        let hidden = set_aside(releases.as_fd(), OsStr::new("r1")).unwrap();
        assert!(root.releases().join(hidden).join("deep/er/file").exists());
        assert!(!root.release(&id("r1")).exists());
    }

    #[tokio::test]
    async fn leftovers_of_killed_removals_go_and_nothing_of_a_similar_name() {
        let (directory, root) = site();
        let kept = [".trueup-removed-", ".trueup-removed-1", ".trueup-removed-x-1", "trueup-removed-1-1"];
        for name in [".trueup-removed-4711-0", ".trueup-removed-4711-12"].iter().chain(&kept) {
            fs::create_dir_all(root.releases().join(name).join("half")).unwrap();
        }
        symlink(directory.path().join("outside"), root.releases().join(".trueup-removed-1-1")).unwrap();
        remove(&root, &id("gone")).await.unwrap();
        let mut expected: Vec<&str> = kept.to_vec();
        expected.extend(["r1", "r2"]);
        expected.sort_unstable();
        assert_eq!(left(&root), expected);
        assert!(directory.path().join("outside/precious").exists());
    }

    #[tokio::test]
    async fn what_is_left_of_any_removal_is_swept_up() {
        let (directory, root) = site();
        sweep(&root).await.unwrap();
        fs::create_dir(root.state()).unwrap();
        for folder in [root.releases(), root.state()] {
            fs::create_dir_all(folder.join(REMOVING).join("half")).unwrap();
            fs::create_dir_all(folder.join(".trueup-removed-4711-0/half")).unwrap();
            fs::write(folder.join("kept"), "").unwrap();
        }
        sweep(&root).await.unwrap();
        assert_eq!(left(&root), ["kept", "r1", "r2"]);
        assert_eq!(fs::read_dir(root.state()).unwrap().count(), 1);
        assert!(directory.path().join("outside/precious").exists());
    }

    #[tokio::test]
    async fn only_real_directories_in_real_directories_are_removed() {
        let (directory, root) = site();
        let outside = directory.path().join("outside");
        symlink(&outside, root.releases().join("link")).unwrap();
        fs::write(root.releases().join("file"), "").unwrap();
        for name in ["link", "file"] {
            let error = remove(&root, &id(name)).await.unwrap_err();
            assert!(error.message.contains("is not a directory"), "{error}");
        }
        fs::rename(root.releases(), directory.path().join("elsewhere")).unwrap();
        symlink(directory.path().join("elsewhere"), root.releases()).unwrap();
        assert!(remove(&root, &id("r1")).await.is_err());
        assert!(directory.path().join("elsewhere/r1/deep/er/file").exists() && outside.join("precious").exists());
    }
}
