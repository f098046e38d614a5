//! What the steps of a release print, kept in `ROOT/.trueup/log/releases/ID.log` while they run.
//!
//! Secrets are masked on the way, so nothing that is shown later can have one in it. A log that cannot be
//! written is told once and keeps no step from running.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;

use super::log;
use super::mask::Mask;
use super::users::User;
use crate::model::names::{ReleaseId, Root};

/// A log does not grow beyond this many bytes; one older part is kept as `ID.log.1`.
const LOG_LIMIT: u64 = 8 * 1024 * 1024;

/// So much of the end of one step's output is kept for an error.
const TAIL: usize = 16 * 1024;

/// The log of a release, open for appending, and the end of what the present step has printed.
pub(super) struct Transcript {
    path: PathBuf,
    log: Option<Log>,
    /// What must not be shown.
    pub(super) mask: Mask,
    tail: Vec<u8>,
    /// The last byte written was no end of a line.
    open_line: bool,
}

struct Log {
    folder: OwnedFd,
    name: String,
    owner: Option<(Uid, Gid)>,
    file: File,
    length: u64,
    limit: u64,
}

impl Transcript {
    /// Opens the log of a release, made if need be (mode 0640) for the App's user. Blocks.
    pub(super) fn open(root: &Root, id: &ReleaseId, user: &User) -> Self {
        Self::within(root, id, user, LOG_LIMIT)
    }

    fn within(root: &Root, id: &ReleaseId, user: &User, limit: u64) -> Self {
        let name = format!("{id}.log");
        let path = root.state().join("log/releases").join(&name);
        let owner = nix::unistd::geteuid().is_root().then(|| (Uid::from_raw(user.uid), Gid::from_raw(user.gid)));
        let log = log::folder(root, &["releases"]).map_err(io::Error::from).and_then(|folder| {
            let file = opened(&folder, &name, owner)?;
            let length = file.metadata()?.len();
            Ok(Log { folder, name, owner, file, length, limit })
        });
        let log = log
            .inspect_err(|error| tracing::warn!(log = %path.display(), %error, "cannot keep what the steps print"))
            .ok();
        Self { path, log, mask: Mask::default(), tail: Vec::new(), open_line: false }
    }

    /// Where it is, for people; none when it cannot be written.
    pub(super) fn path(&self) -> Option<&Path> {
        self.log.as_ref().map(|_| self.path.as_path())
    }

    /// Writes a line of our own; what is printed after it belongs to another step than what was before.
    pub(super) fn headline(&mut self, line: &str) {
        self.tail.clear();
        self.line(line);
    }

    /// Writes a line of our own.
    pub(super) fn line(&mut self, line: &str) {
        let end = if self.open_line { "\n" } else { "" };
        let line = format!("{end}== {} ==\n", self.mask.text(line).replace('\n', "\\n"));
        self.write(line.as_bytes());
    }

    /// Takes in what a step has just printed.
    pub(super) fn hear(&mut self, bytes: &[u8]) {
        let shown = self.mask.pass(bytes);
        self.keep(&shown);
    }

    /// The step prints no more: the end of what it printed.
    pub(super) fn finish(&mut self) -> String {
        let rest = self.mask.finish();
        self.keep(&rest);
        String::from_utf8_lossy(&self.tail).into_owned()
    }

    fn keep(&mut self, shown: &[u8]) {
        self.write(shown);
        self.tail.extend_from_slice(shown);
        let surplus = self.tail.len().saturating_sub(TAIL);
        self.tail.drain(..surplus);
    }

    fn write(&mut self, bytes: &[u8]) {
        let Some(last) = bytes.last() else { return };
        self.open_line = *last != b'\n';
        let Some(log) = &mut self.log else { return };
        if let Err(error) = log.append(bytes) {
            tracing::warn!(log = %self.path.display(), %error, "cannot keep any more of what the steps print");
            self.log = None;
        }
    }
}

impl Log {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.length > 0 && self.length + bytes.len() as u64 > self.limit {
            rustix::fs::renameat(&self.folder, &self.name, &self.folder, format!("{}.1", self.name))?;
            self.file = opened(&self.folder, &self.name, self.owner)?;
            self.length = 0;
        }
        self.file.write_all(bytes)?;
        self.length += bytes.len() as u64;
        Ok(())
    }
}

/// Refuses what is no regular file, and a second name of a file that lives elsewhere.
fn opened(folder: &OwnedFd, name: &str, owner: Option<(Uid, Gid)>) -> io::Result<File> {
    let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let fresh = flags | OFlags::CREATE | OFlags::EXCL;
    match rustix::fs::openat(folder, name, fresh, Mode::from_raw_mode(0o640)) {
        Ok(fresh) => {
            rustix::fs::fchmod(&fresh, Mode::from_raw_mode(0o640))?;
            if let Some((user, group)) = owner {
                rustix::fs::fchown(&fresh, Some(user), Some(group))?;
            }
            Ok(File::from(fresh))
        }
        Err(Errno::EXIST) => {
            let there = rustix::fs::openat(folder, name, flags, Mode::empty())?;
            let found = rustix::fs::fstat(&there)?;
            if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile || found.st_nlink > 1 {
                return Err(io::Error::other("not a plain file of its own"));
            }
            Ok(File::from(there))
        }
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn site() -> (tempfile::TempDir, Root, ReleaseId) {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::new(directory.path()).unwrap();
        (directory, root, ReleaseId::new("r1").unwrap())
    }

    fn read(root: &Root, name: &str) -> String {
        fs::read_to_string(root.state().join("log/releases").join(name)).unwrap()
    }

    #[test]
    fn a_log_is_continued_bounded_and_has_no_secret_in_it() {
        let (_directory, root, id) = site();
        let user = User::who_runs().unwrap();
        let mut transcript = Transcript::within(&root, &id, &user, 80);
        transcript.mask.add("s3cret");
        transcript.headline("build 1/2: echo s3cret\ntwice");
        transcript.hear(b"it is s3c");
        transcript.hear(b"ret");
        assert_eq!(transcript.finish(), "it is ***");
        transcript.line("done");
        let expected = "== build 1/2: echo ***\\ntwice ==\nit is ***\n== done ==\n";
        assert_eq!(read(&root, "r1.log"), expected);

        let mut transcript = Transcript::within(&root, &id, &user, 80);
        transcript.headline("build 2/2");
        transcript.hear(&[b'x'; 70]);
        assert_eq!(transcript.finish(), "x".repeat(70), "of this step alone");
        assert_eq!(read(&root, "r1.log"), "x".repeat(70));
        assert_eq!(read(&root, "r1.log.1"), format!("{expected}== build 2/2 ==\n"));
    }

    #[test]
    fn a_log_never_leads_elsewhere_and_keeps_nobody_from_going_on() {
        let (directory, root, id) = site();
        let user = User::who_runs().unwrap();
        let precious = directory.path().join("precious");
        fs::write(&precious, "x").unwrap();
        assert!(Transcript::open(&root, &id, &user).path().is_some());
        let log = root.state().join("log/releases/r1.log");
        for kind in ["link", "hard link", "directory"] {
            let _ = fs::remove_file(&log);
            match kind {
                "link" => symlink(&precious, &log).unwrap(),
                "hard link" => fs::hard_link(&precious, &log).unwrap(),
                _ => fs::create_dir(&log).unwrap(),
            }
            let mut transcript = Transcript::open(&root, &id, &user);
            transcript.hear(b"printed");
            assert_eq!(transcript.finish(), "printed", "{kind}");
            assert_eq!(transcript.path(), None, "{kind}");
        }
        assert_eq!(fs::read_to_string(&precious).unwrap(), "x");
        fs::remove_dir_all(root.state()).unwrap();
        symlink("/tmp", root.state()).unwrap();
        assert!(Transcript::open(&root, &id, &user).path().is_none(), "the folder");
    }
}
