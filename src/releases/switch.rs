//! Moves `current` to another release.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::host::blocking;
use crate::model::names::{ReleaseId, Root};
use crate::ports::{HostError, HostErrorKind};

/// What our temporary links are called, before the pid and a number.
const TEMPORARY: &str = ".current.trueup-";

/// Makes `current` lead to `to` with the relative text `releases/ID`.
///
/// A link that leads there by another spelling is left as it is. As root, the link belongs to the
/// owner of the root. The caller holds the root's lock.
///
/// # Guarantees
/// Readers see the old target or the new one, never nothing. After the return a power cut keeps the
/// new one. Temporary links of passes that died are removed.
///
/// # Errors
/// Anything but a link at `current`, a release that is no directory, and what the file system refuses.
pub async fn switch(root: &Root, to: &ReleaseId) -> Result<(), HostError> {
    let (root, to) = (root.clone(), to.clone());
    blocking(move || Switch::open(&root, &to)?.run()).await?
}

struct Switch<'a> {
    root: &'a Root,
    to: &'a ReleaseId,
    /// The root directory: all that follows is relative to it, whatever its path means by then.
    directory: OwnedFd,
}

impl<'a> Switch<'a> {
    fn open(root: &'a Root, to: &'a ReleaseId) -> Result<Self, HostError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::openat(CWD, root.path(), flags, Mode::empty())
            .map_err(|error| HostError::io(format!("cannot open the root `{root}`"), &error.into()))?;
        Ok(Self { root, to, directory })
    }

    fn run(&self) -> Result<(), HostError> {
        self.remove_leftovers()?;
        let release = self.release()?;
        if self.leads_to(&release)? {
            // The pass that moved it may have died before its fsync.
            return self.sync();
        }
        let temporary = self.make_link()?;
        if let Err(error) = rustix::fs::renameat(&self.directory, &temporary, &self.directory, "current") {
            // The error of the rename is the one worth telling.
            let _ = rustix::fs::unlinkat(&self.directory, &temporary, AtFlags::empty());
            return Err(self.failed(error));
        }
        self.sync()
    }

    /// The directory of the release, which must be a real one.
    fn release(&self) -> Result<Stat, HostError> {
        match rustix::fs::statat(&self.directory, self.target(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(found) if is(&found, FileType::Directory) => Ok(found),
            Ok(_) => Err(HostError::new(
                HostErrorKind::Misconfigured,
                format!("`{}` is not a directory", self.root.release(self.to).display()),
            )
            .with_help("a release is a real directory in `releases/`, not a link to one")),
            Err(Errno::NOENT) => Err(HostError::new(
                HostErrorKind::Misconfigured,
                format!("the release `{}` does not exist", self.root.release(self.to).display()),
            )
            .with_help("put it there, or correct `spec.release.id`")),
            Err(error) => Err(HostError::io(
                format!("cannot look at the release `{}`", self.root.release(self.to).display()),
                &error.into(),
            )),
        }
    }

    /// Whether `current` already leads to this directory; refuses what is no link.
    fn leads_to(&self, release: &Stat) -> Result<bool, HostError> {
        match rustix::fs::statat(&self.directory, "current", AtFlags::SYMLINK_NOFOLLOW) {
            Ok(itself) if is(&itself, FileType::Symlink) => {
                let reached = rustix::fs::statat(&self.directory, "current", AtFlags::empty());
                Ok(reached.is_ok_and(|found| found.st_dev == release.st_dev && found.st_ino == release.st_ino))
            }
            Ok(other) => {
                let what = if is(&other, FileType::Directory) { "directory" } else { "file" };
                Err(HostError::new(
                    HostErrorKind::Misconfigured,
                    format!("a real {what} stands at `{}`; it is never replaced", self.root.current().display()),
                )
                .with_help("move it away, for a directory into `releases/`, then run again"))
            }
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(self.failed(error)),
        }
    }

    fn make_link(&self) -> Result<String, HostError> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let temporary = format!("{TEMPORARY}{}-{number}", std::process::id());
        rustix::fs::symlinkat(self.target(), &self.directory, &temporary).map_err(|error| self.failed(error))?;
        if rustix::process::geteuid().is_root()
            && let Ok(owner) = rustix::fs::fstat(&self.directory)
        {
            let (user, group) = (rustix::fs::Uid::from_raw(owner.st_uid), rustix::fs::Gid::from_raw(owner.st_gid));
            // A link's owner matters only to those who want to remove it: no reason to fail.
            let _ =
                rustix::fs::chownat(&self.directory, &temporary, Some(user), Some(group), AtFlags::SYMLINK_NOFOLLOW);
        }
        Ok(temporary)
    }

    fn remove_leftovers(&self) -> Result<(), HostError> {
        let failed = |error: Errno| HostError::io(format!("cannot list the root `{}`", self.root), &error.into());
        for entry in Dir::read_from(&self.directory).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name();
            if !name.to_str().is_ok_and(is_temporary) {
                continue;
            }
            let found = rustix::fs::statat(&self.directory, name, AtFlags::SYMLINK_NOFOLLOW);
            if found.is_ok_and(|found| is(&found, FileType::Symlink)) {
                match rustix::fs::unlinkat(&self.directory, name, AtFlags::empty()) {
                    Ok(()) | Err(Errno::NOENT) => {}
                    Err(error) => return Err(self.failed(error)),
                }
            }
        }
        Ok(())
    }

    fn sync(&self) -> Result<(), HostError> {
        match rustix::fs::fsync(&self.directory) {
            // Some network file systems know no fsync of a directory.
            Ok(()) | Err(Errno::INVAL) => Ok(()),
            Err(error) => {
                Err(HostError::io(format!("cannot write the root `{}` to its disk", self.root), &error.into()))
            }
        }
    }

    fn target(&self) -> String {
        format!("releases/{}", self.to)
    }

    fn failed(&self, error: Errno) -> HostError {
        let doing = format!("cannot point `{}` at release `{}`", self.root.current().display(), self.to);
        HostError::io(doing, &io::Error::from(error))
    }
}

fn is(found: &Stat, kind: FileType) -> bool {
    FileType::from_raw_mode(found.st_mode) == kind
}

/// Whether a link of this name was made by us: the prefix, a pid, a dash, a number.
fn is_temporary(name: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    name.strip_prefix(TEMPORARY)
        .and_then(|rest| rest.split_once('-'))
        .is_some_and(|(pid, number)| digits(pid) && digits(number))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
    use std::path::{Path, PathBuf};

    use super::*;

    fn site() -> (tempfile::TempDir, Root) {
        let directory = tempfile::tempdir().unwrap();
        for id in ["r1", "r2"] {
            fs::create_dir_all(directory.path().join("releases").join(id)).unwrap();
        }
        let root = Root::new(directory.path()).unwrap();
        (directory, root)
    }

    fn id(text: &str) -> ReleaseId {
        ReleaseId::new(text).unwrap()
    }

    fn names(root: &Root) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(root.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[tokio::test]
    async fn the_link_moves_and_nothing_is_left_beside_it() {
        let (_directory, root) = site();
        for to in ["r1", "r2", "r2", "r1"] {
            switch(&root, &id(to)).await.unwrap();
            assert_eq!(fs::read_link(root.current()).unwrap(), Path::new("releases").join(to));
        }
        assert_eq!(names(&root), ["current", "releases"]);
    }

    #[tokio::test]
    async fn a_right_link_stays_untouched_whatever_its_spelling() {
        let (_directory, root) = site();
        symlink(root.releases().join("r1"), root.current()).unwrap();
        let before = fs::symlink_metadata(root.current()).unwrap();
        switch(&root, &id("r1")).await.unwrap();
        let after = fs::symlink_metadata(root.current()).unwrap();
        assert_eq!((before.ino(), before.ctime_nsec()), (after.ino(), after.ctime_nsec()));
    }

    #[tokio::test]
    async fn links_that_lead_nowhere_or_elsewhere_are_replaced() {
        for target in ["releases/gone", "current", "/etc", "releases/r1/."] {
            let (_directory, root) = site();
            symlink(target, root.current()).unwrap();
            switch(&root, &id("r2")).await.unwrap();
            assert_eq!(fs::read_link(root.current()).unwrap(), PathBuf::from("releases/r2"), "{target}");
        }
    }

    #[tokio::test]
    async fn what_is_no_link_is_never_replaced() {
        let (_directory, root) = site();
        fs::write(root.current(), "mine").unwrap();
        let error = switch(&root, &id("r1")).await.unwrap_err();
        assert_eq!(error.kind, HostErrorKind::Misconfigured);
        assert!(error.message.contains("a real file"), "{error}");
        assert_eq!(fs::read_to_string(root.current()).unwrap(), "mine");

        fs::remove_file(root.current()).unwrap();
        fs::create_dir(root.current()).unwrap();
        let error = switch(&root, &id("r1")).await.unwrap_err();
        assert!(error.message.contains("a real directory"), "{error}");
        assert!(root.current().is_dir() && !root.current().is_symlink());
        assert_eq!(names(&root), ["current", "releases"]);
    }

    #[tokio::test]
    async fn only_real_release_directories_are_switched_to() {
        let (_directory, root) = site();
        symlink("releases/r1", root.current()).unwrap();
        fs::write(root.releases().join("file"), "").unwrap();
        symlink("/etc", root.releases().join("link")).unwrap();
        for (to, words) in [("gone", "does not exist"), ("file", "not a directory"), ("link", "not a directory")] {
            let error = switch(&root, &id(to)).await.unwrap_err();
            assert!(error.message.contains(words) && error.help.is_some(), "{to}: {error:?}");
            assert_eq!(fs::read_link(root.current()).unwrap(), PathBuf::from("releases/r1"), "{to}");
        }
    }

    #[tokio::test]
    async fn leftovers_of_dead_passes_are_removed_and_nothing_else() {
        let (_directory, root) = site();
        symlink("releases/r1", root.path().join(".current.trueup-4711-0")).unwrap();
        let kept = [".current.trueup-4711", ".current.trueup-x-1", ".current.trueup-1-", "current.trueup-1-1"];
        for name in kept {
            symlink("releases/r1", root.path().join(name)).unwrap();
        }
        fs::write(root.path().join(".current.trueup-1-1"), "a real file").unwrap();
        switch(&root, &id("r1")).await.unwrap();
        let mut expected: Vec<&str> = kept.to_vec();
        expected.extend([".current.trueup-1-1", "current", "releases"]);
        expected.sort_unstable();
        assert_eq!(names(&root), expected);
    }

    /// Readers that follow the link while it is moved must never find nothing.
    #[test]
    fn readers_never_miss_the_link() {
        let (_directory, root) = site();
        for id in ["r1", "r2"] {
            fs::write(root.releases().join(id).join("id"), id).unwrap();
        }
        Switch::open(&root, &id("r1")).unwrap().run().unwrap();
        let done = std::sync::atomic::AtomicBool::new(false);
        let reads = std::sync::atomic::AtomicU32::new(0);
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let seen = fs::read_to_string(root.current().join("id")).unwrap();
                    assert!(seen == "r1" || seen == "r2");
                    reads.fetch_add(1, Ordering::Relaxed);
                }
            });
            while reads.load(Ordering::Relaxed) == 0 && !reader.is_finished() {
                std::thread::yield_now();
            }
            for round in 0..500 {
                let to = id(if round % 2 == 0 { "r2" } else { "r1" });
                Switch::open(&root, &to).unwrap().run().unwrap();
            }
            done.store(true, Ordering::Relaxed);
            reader.join().unwrap();
        });
    }

    /// What the kernel tells of the root while the link moves: something took its place, and it never went.
    #[test]
    fn the_link_is_replaced_and_never_removed() {
        use rustix::fs::inotify::{CreateFlags, ReadFlags, Reader, WatchFlags, add_watch, init};

        let (_directory, root) = site();
        Switch::open(&root, &id("r1")).unwrap().run().unwrap();
        let told = init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).unwrap();
        add_watch(&told, root.path(), WatchFlags::ALL_EVENTS).unwrap();
        Switch::open(&root, &id("r2")).unwrap().run().unwrap();

        let mut buffer = [std::mem::MaybeUninit::uninit(); 4096];
        let mut reader = Reader::new(&told, &mut buffer);
        let mut of_link = Vec::new();
        while let Ok(event) = reader.next() {
            if event.file_name().is_some_and(|name| name.to_bytes() == b"current") {
                of_link.push(event.events());
            }
        }
        assert_eq!(of_link, [ReadFlags::MOVED_TO]);
    }

    #[tokio::test]
    async fn made_by_root_the_link_belongs_to_the_owner_of_the_root() {
        if !rustix::process::geteuid().is_root() {
            println!("skipped: only root can give a link away");
            return;
        }
        let (_directory, root) = site();
        std::os::unix::fs::chown(root.path(), Some(4242), Some(4343)).unwrap();
        fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();
        switch(&root, &id("r1")).await.unwrap();
        let link = fs::symlink_metadata(root.current()).unwrap();
        assert_eq!((link.uid(), link.gid()), (4242, 4343));
    }
}
