//! What is kept of a branch: `STATE/git/NAME`, where the name stands for URL and branch.
//!
//! `mirror` is a bare repository, `trees/COMMIT` the files of a commit, and the link `current` leads to the one in
//! force; the link `path` says where in it manifests were found. Another URL or branch begins anew: its history has
//! nothing to do with this one.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{CWD, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use sha2::{Digest, Sha256};

use crate::host::git::leftovers;
use crate::host::git::words::is_hash;
use crate::host::hex::hexadecimal;
use crate::ports::{HostError, HostErrorKind};

const MIRROR: &str = "mirror";
const TREES: &str = "trees";
const CURRENT: &str = "current";
const LOCK: &str = "lock";
const PATH: &str = "path";
/// What is being written, beside what it will take the place of.
const FRESH: &str = ".fresh";
const OLD: &str = ".old";

/// A child that is just being started has a copy of each of our descriptors until it runs its program: so long somebody
/// else's lock may be our own.
const FOR_A_MOMENT: Duration = Duration::from_secs(1);

/// How often the lock is tried meanwhile.
const BETWEEN: Duration = Duration::from_millis(20);

/// Where a branch is kept.
#[derive(Debug, Clone)]
pub(super) struct Store {
    /// `STATE/git`.
    all: PathBuf,
    name: String,
}

impl Store {
    pub(super) fn new(state: &Path, url: &str, branch: &str) -> Self {
        let hash = Sha256::digest(format!("{url}\0{branch}"));
        let name = hexadecimal(hash.get(..6).unwrap_or(&hash));
        Self { all: state.join("git"), name }
    }

    fn own(&self) -> PathBuf {
        self.all.join(&self.name)
    }

    pub(super) fn mirror(&self) -> PathBuf {
        self.own().join(MIRROR)
    }

    pub(super) fn tree(&self, commit: &str) -> PathBuf {
        self.own().join(TREES).join(commit)
    }

    /// Makes all directories, removes what was left half-done, and takes the lock. Whoever holds it, or something
    /// that was given it, is the only one who writes here.
    pub(super) fn prepare(&self) -> Result<OwnedFd, HostError> {
        let failed = |error: io::Error| cannot("make", &self.own(), &error);
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true).mode(0o700);
        for directory in [self.mirror(), self.own().join(TREES)] {
            builder.create(directory).map_err(failed)?;
        }
        let path = self.all.join(LOCK);
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let lock = rustix::fs::openat(CWD, &path, flags, Mode::from_raw_mode(0o600));
        let lock = lock.map_err(|error| cannot("open", &path, &error.into()))?;
        let began = Instant::now();
        loop {
            match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => break,
                Err(Errno::AGAIN) if began.elapsed() < FOR_A_MOMENT => std::thread::sleep(BETWEEN),
                Err(Errno::AGAIN) => {
                    let message = format!("another agent, or its git, is at work in `{}`", self.all.display());
                    return Err(HostError::new(HostErrorKind::Other, message)
                        .with_help("run one agent only, or give each its own `--state-dir`"));
                }
                Err(error) => return Err(cannot("lock", &path, &error.into())),
            }
        }
        let mirror = rustix::fs::openat(CWD, self.mirror(), OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty());
        let cleaned = mirror.and_then(|mirror| leftovers::clean(&mirror));
        cleaned.map_err(|error| cannot("tidy", &self.mirror(), &error.into()))?;
        self.sweep()?;
        Ok(lock)
    }

    /// Removes all trees but the one in force, and what other branches have left.
    fn sweep(&self) -> Result<(), HostError> {
        let chosen = self.chosen();
        let spared = |entry: &fs::DirEntry, name: Option<&str>| name.is_some_and(|name| entry.file_name() == name);
        let sweep = |directory: &Path, keep: &dyn Fn(&fs::DirEntry) -> bool| -> io::Result<()> {
            for entry in fs::read_dir(directory)? {
                let entry = entry?;
                if entry.file_type()?.is_dir() && !keep(&entry) {
                    fs::remove_dir_all(entry.path())?;
                }
            }
            Ok(())
        };
        let trees = self.own().join(TREES);
        sweep(&trees, &|entry| spared(entry, chosen.as_deref())).map_err(|error| cannot("tidy", &trees, &error))?;
        sweep(&self.all, &|entry| spared(entry, Some(&self.name))).map_err(|error| cannot("tidy", &self.all, &error))
    }

    /// Whether the mirror is yet to be made.
    pub(super) fn is_fresh(&self) -> bool {
        !self.mirror().join("HEAD").exists()
    }

    pub(super) fn renew_mirror(&self) -> Result<(), HostError> {
        let mirror = self.mirror();
        let renewed = fs::remove_dir_all(&mirror).and_then(|()| fs::DirBuilder::new().mode(0o700).create(&mirror));
        renewed.map_err(|error| cannot("make", &mirror, &error))
    }

    /// The commit in force.
    pub(super) fn chosen(&self) -> Option<String> {
        let link = fs::read_link(self.own().join(CURRENT)).ok()?;
        let name = link.file_name()?.to_str()?;
        is_hash(name).then(|| name.to_owned())
    }

    /// Remembers where in the repository manifests were found.
    pub(super) fn found_at(&self, path: &Path) -> Result<(), HostError> {
        if self.was_found_at(path) { Ok(()) } else { self.swap(PATH, &Path::new(".").join(path)) }
    }

    /// Whether manifests were last found at this place in the repository.
    pub(super) fn was_found_at(&self, path: &Path) -> bool {
        fs::read_link(self.own().join(PATH)).is_ok_and(|found| found == Path::new(".").join(path))
    }

    /// An empty directory for the files of a commit.
    pub(super) fn fresh_tree(&self, commit: &str) -> Result<PathBuf, HostError> {
        let fresh = self.tree(&format!("{FRESH}-{commit}"));
        let made = remove(&fresh).and_then(|()| fs::DirBuilder::new().mode(0o700).create(&fresh));
        made.map_err(|error| cannot("make", &fresh, &error))?;
        Ok(fresh)
    }

    /// Puts the files of a commit, all of which are there, into their place.
    pub(super) fn keep_tree(&self, commit: &str) -> Result<PathBuf, HostError> {
        let (fresh, tree, old) = (self.tree(&format!("{FRESH}-{commit}")), self.tree(commit), self.tree(OLD));
        let failed = |error: io::Error| cannot("make", &tree, &error);
        let opened = rustix::fs::openat(CWD, &fresh, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty());
        // After a power loss the link must not lead to files without their contents.
        opened.and_then(rustix::fs::syncfs).map_err(|error| failed(error.into()))?;
        remove(&old).map_err(failed)?;
        match fs::rename(&tree, &old) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        fs::rename(&fresh, &tree).and_then(|()| remove(&old)).map_err(failed)?;
        Ok(tree)
    }

    /// Makes a commit the one in force: readers see it or the one before.
    pub(super) fn choose(&self, commit: &str) -> Result<(), HostError> {
        self.swap(CURRENT, &Path::new(TREES).join(commit))
    }

    fn swap(&self, name: &str, target: &Path) -> Result<(), HostError> {
        let (link, fresh) = (self.own().join(name), self.own().join(format!("{name}{FRESH}")));
        let swapped = match fs::remove_file(&fresh) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => symlink(target, &fresh).and_then(|()| fs::rename(&fresh, &link)),
        };
        swapped.map_err(|error| cannot("swap", &link, &error))
    }
}

fn remove(directory: &Path) -> io::Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        ended => ended,
    }
}

fn cannot(what: &str, path: &Path, error: &io::Error) -> HostError {
    let error = HostError::io(format!("cannot {what} `{}`", path.display()), error);
    match error.kind {
        HostErrorKind::Denied => error.with_help("run the agent as root, or give it a `--state-dir` of its own"),
        _ => error,
    }
}
