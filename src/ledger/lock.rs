//! One pass at a time over one root.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Read, Seek};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rustix::fs::{FlockOperation, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};

use super::folder::Folder;
use crate::host::machine::hostname;
use crate::host::silence;
use crate::model::holder::Holder;
use crate::model::length::in_seconds;
use crate::model::names::Root;
use crate::ports::{HostError, HostErrorKind};

const NAME: &str = "lock";
/// No more is read of what the holder says.
const READ: usize = 4096;
/// How often a held lock is tried again.
const PAUSE: Duration = Duration::from_millis(50);

/// Keeps every other pass over the root out until it is dropped.
///
/// It is a lock of the kernel on an open file, so it goes with its holder. A command that was given
/// [`Lock::try_clone`] holds it too if the holder is killed; a holder that lives to drop it lets
/// others in at once.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

impl Lock {
    /// The same lock for a child process to inherit.
    ///
    /// # Errors
    /// When this process may not open more files.
    pub fn try_clone(&self) -> io::Result<OwnedFd> {
        self.file.as_fd().try_clone_to_owned()
    }
}

impl AsFd for Lock {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing is not enough: a daemon that a step left behind would keep its copy, and the lock, for ever.
        let _ = rustix::fs::flock(&self.file, FlockOperation::Unlock);
    }
}

/// Takes the lock of a root, waiting for at most `wait`; `command` is what others will read about us.
///
/// # Errors
/// [`HostErrorKind::Locked`] with the holder's pid and since when; [`HostErrorKind::Unreachable`] where the root does
/// not answer; or what the file system refuses.
pub async fn lock(root: &Root, wait: Duration, command: &str) -> Result<Lock, HostError> {
    let began = Instant::now();
    let mut opened = None;
    loop {
        let left = wait.saturating_sub(began.elapsed());
        let (root_there, command, before) = (root.clone(), command.to_owned(), opened.take());
        // Given up, it lets go of the lock as soon as it has it.
        match silence::at(root, move || attempt(&root_there, before, &command, left.is_zero())).await?? {
            Tried::Locked(lock) => return Ok(lock),
            Tried::Held(file) => opened = Some(file),
            // Whoever comes next locks the file that has the name now.
            Tried::Nameless => {}
        }
        tokio::time::sleep(left.min(PAUSE)).await;
    }
}

/// What came of one attempt.
enum Tried {
    Locked(Lock),
    /// Somebody else has it; the file, for another attempt.
    Held(File),
    /// The file that was locked has lost its name: it keeps nobody out.
    Nameless,
}

/// Whether a lock that was taken still keeps others out: a tool that mirrors a tree into the root may have removed its
/// file, and then they lock another one.
///
/// # Errors
/// [`HostErrorKind::Hindered`] where it does not; or what the file system refuses.
pub fn confirm(root: &Root, lock: BorrowedFd<'_>) -> Result<(), HostError> {
    let path = root.state().join(NAME);
    let kept = keeps_others_out(&path, lock);
    if kept.map_err(|error| HostError::io(format!("cannot look at `{}`", path.display()), &error))? {
        return Ok(());
    }
    let message = format!("`{}` was removed while this pass held it: another pass may have begun", path.display());
    Err(HostError::new(HostErrorKind::Hindered, message).with_help(
        "leave `.trueup` out of what is mirrored into the root (`rsync --exclude /.trueup`), then run again",
    ))
}

/// Whether what is locked is the file of that name.
fn keeps_others_out(path: &Path, locked: BorrowedFd<'_>) -> io::Result<bool> {
    let locked = rustix::fs::fstat(locked)?;
    match rustix::fs::lstat(path) {
        Ok(named) => Ok((named.st_dev, named.st_ino) == (locked.st_dev, locked.st_ino)),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Takes the lock if nobody has it; at the `last` attempt, who has it is an error.
fn attempt(root: &Root, opened: Option<File>, command: &str, last: bool) -> Result<Tried, HostError> {
    let failed =
        |error: &io::Error| HostError::io(format!("cannot lock `{}`", root.state().join(NAME).display()), error);
    let mut file = match opened {
        Some(file) => file,
        None => Folder::open(root)?.file(NAME, OFlags::empty()).map_err(|error| failed(&error))?,
    };
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK | Errno::INTR) if last => return Err(held(root, &mut file)),
        Err(Errno::WOULDBLOCK | Errno::INTR) => return Ok(Tried::Held(file)),
        Err(error) => return Err(failed(&error.into())),
    }
    if !keeps_others_out(&root.state().join(NAME), file.as_fd()).map_err(|error| failed(&error))? {
        return Ok(Tried::Nameless);
    }
    let holder = Holder {
        pid: rustix::process::getpid().as_raw_nonzero().get(),
        since: Timestamp::now(),
        host: hostname(),
        command: command.to_owned(),
    };
    let lock = Lock { file };
    // A full disk must not keep a rollback from its lock: what is missing is only the courtesy.
    if let Err(error) = introduce(&lock.file, &holder) {
        tracing::warn!(%root, %error, "cannot write into the lock file who holds it");
    }
    Ok(Tried::Locked(lock))
}

/// Writes over what the last holder left, blanks to its end: cutting the file off first would make the file system
/// write both at once, and every pass takes a lock.
fn introduce(file: &File, holder: &Holder) -> io::Result<()> {
    let mut text = serde_json::to_vec(holder)?;
    let left = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
    if left > READ {
        file.set_len(0)?;
    } else if left > text.len() {
        text.resize(left - 1, b' ');
    }
    text.push(b'\n');
    file.write_all_at(&text, 0)
}

/// Who holds the lock of a root; none where nobody does, or this user cannot tell. It touches no lock: whoever looks is
/// in nobody's way.
pub async fn holder(root: &Root) -> Option<Holder> {
    let of = root.clone();
    silence::at(root, move || -> Option<Holder> {
        let mut file = Folder::existing(&of).ok()??.readable(NAME).ok()??;
        let inode = file.metadata().ok()?.ino();
        let holder = introduced(&mut file)?;
        // What a holder wrote outlives it. The kernel lists who took a lock, also once a command of its alone still has
        // it.
        let locks = fs::read_to_string("/proc/locks").ok()?;
        (holder.host == hostname() && is_listed(&locks, holder.pid, inode)).then_some(holder)
    })
    .await
    .ok()
    .flatten()
}

/// Whether that process holds a lock of this kind on that file, by `/proc/locks`: a line such as
/// `1: FLOCK  ADVISORY  WRITE 5160 08:01:1234 0 EOF`. The device is left out: file systems in layers name another one.
fn is_listed(locks: &str, pid: i32, inode: u64) -> bool {
    locks.lines().any(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [_, "FLOCK", _, "WRITE", holder, file, ..] = words.as_slice() else { return false };
        let of = file.rsplit(':').next().and_then(|inode| inode.parse::<u64>().ok());
        holder.parse() == Ok(pid) && of == Some(inode)
    })
}

/// What the holder says of itself.
fn introduced(file: &mut File) -> Option<Holder> {
    let mut text = String::new();
    file.rewind().and_then(|()| file.take(READ as u64).read_to_string(&mut text)).ok()?;
    serde_json::from_str(&text).ok()
}

fn held(root: &Root, file: &mut File) -> HostError {
    let holder = introduced(file);
    let mut message = format!("`{root}` is locked: ");
    match holder {
        None => message.push_str("held by another process"),
        Some(holder) => {
            let here = holder.host == hostname();
            let place = if here { String::new() } else { format!(" on {}", holder.host) };
            let since = holder.since.strftime("%Y-%m-%d %H:%M:%S UTC");
            let held = in_seconds(Timestamp::now().duration_since(holder.since).unsigned_abs());
            // Writing to a string cannot fail.
            let _ = write!(message, "held by pid {}{place} ({}) since {since} ({held})", holder.pid, holder.command);
            if here && is_gone(holder.pid) {
                message.push_str("; that process has ended, but a command that it started still runs");
            }
        }
    }
    HostError::new(HostErrorKind::Locked, message).with_help("ask again when that has ended, or wait longer for it")
}

fn is_gone(pid: i32) -> bool {
    // Not by looking into `/proc`, which may hide other users' processes.
    Pid::from_raw(pid).is_none_or(|pid| test_kill_process(pid) == Err(Errno::SRCH))
}

#[cfg(test)]
mod tests {
    use std::io::BufRead;
    use std::process::{Command, Stdio};

    use super::*;
    use crate::ledger::testing::root;

    #[tokio::test]
    async fn a_second_one_is_told_who_holds_it() {
        let (_directory, root) = root();
        let first = lock(&root, Duration::ZERO, "trueup reconcile").await.unwrap();
        let error = lock(&root, Duration::from_millis(1), "trueup status").await.unwrap_err();
        assert_eq!(error.kind, HostErrorKind::Locked);
        let pid = std::process::id();
        assert!(error.message.contains(&format!("held by pid {pid} (trueup reconcile) since 2")), "{error}");
        assert!(error.message.ends_with(" s)"), "{error}");
        assert!(error.help.is_some_and(|help| help.contains("wait longer")));

        assert_eq!(holder(&root).await.map(|holder| holder.command).as_deref(), Some("trueup reconcile"));

        drop(first);
        assert_eq!(holder(&root).await, None);
        lock(&root, Duration::ZERO, "trueup status").await.unwrap();
        let text = fs::read_to_string(root.state().join(NAME)).unwrap();
        let holder: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(holder["command"], "trueup status");
    }

    #[test]
    fn only_a_lock_of_this_kind_on_this_file_counts() {
        let rows = [
            ("1: FLOCK  ADVISORY  WRITE 5160 08:01:1234 0 EOF", true),
            ("1: FLOCK  ADVISORY  WRITE 5160 00:2f:1234 0 EOF", true),
            ("1: -> FLOCK  ADVISORY  WRITE 5160 08:01:1234 0 EOF", false),
            ("1: FLOCK  ADVISORY  READ 5160 08:01:1234 0 EOF", false),
            ("1: POSIX  ADVISORY  WRITE 5160 08:01:1234 0 EOF", false),
            ("1: FLOCK  ADVISORY  WRITE 516 08:01:1234 0 EOF", false),
            ("1: FLOCK  ADVISORY  WRITE 5160 08:01:123 0 EOF", false),
            ("", false),
        ];
        for (line, expected) in rows {
            assert_eq!(is_listed(&format!("0: POSIX\n{line}\n"), 5160, 1234), expected, "{line}");
        }
    }

    #[tokio::test]
    async fn a_waiting_one_gets_in_when_the_holder_lets_go() {
        let (_directory, root) = root();
        let first = lock(&root, Duration::ZERO, "first").await.unwrap();
        let waiting = {
            let root = root.clone();
            tokio::spawn(async move { lock(&root, Duration::from_mins(1), "second").await })
        };
        let mut tried = tokio::time::interval(Duration::from_millis(1));
        while Timestamp::now().duration_since(first_since(&root)).as_millis() < 100 {
            tried.tick().await;
            assert!(!waiting.is_finished());
        }
        drop(first);
        waiting.await.unwrap().unwrap();
    }

    fn first_since(root: &Root) -> Timestamp {
        let text = fs::read_to_string(root.state().join(NAME)).unwrap();
        serde_json::from_str::<Holder>(&text).unwrap().since
    }

    #[tokio::test]
    async fn a_lock_whose_file_is_removed_keeps_nobody_out_and_that_is_noticed() {
        let (_directory, root) = root();
        let first = lock(&root, Duration::ZERO, "first").await.unwrap();
        confirm(&root, first.as_fd()).unwrap();
        let waiting = {
            let root = root.clone();
            tokio::spawn(async move { lock(&root, Duration::from_mins(1), "waiting").await })
        };
        // It waits with the file open that loses its name now.
        while fs::read_dir("/proc/self/fd").unwrap().filter(|fd| leads_to(fd, &root)).count() < 2 {
            tokio::task::yield_now().await;
        }
        fs::remove_dir_all(root.state()).unwrap();
        let error = confirm(&root, first.as_fd()).unwrap_err();
        assert_eq!(error.kind, HostErrorKind::Hindered);
        assert!(error.message.contains("was removed while this pass held it"), "{error}");

        let second = lock(&root, Duration::ZERO, "second").await.unwrap();
        confirm(&root, second.as_fd()).unwrap();
        confirm(&root, first.as_fd()).unwrap_err();
        drop(first);
        // The one that waited has the nameless file to itself now, and goes on waiting for the other.
        let third = lock(&root, Duration::from_millis(200), "third").await.unwrap_err();
        assert!(third.message.contains("(second)") && !waiting.is_finished(), "{third}");
        drop(second);
        let waited = waiting.await.unwrap().unwrap();
        confirm(&root, waited.as_fd()).unwrap();
    }

    fn leads_to(descriptor: &io::Result<fs::DirEntry>, root: &Root) -> bool {
        let target = descriptor.as_ref().ok().and_then(|entry| fs::read_link(entry.path()).ok());
        target.is_some_and(|target| target == root.state().join(NAME))
    }

    #[tokio::test]
    async fn unreadable_words_of_the_holder_do_no_harm() {
        let (_directory, root) = root();
        let _first = lock(&root, Duration::ZERO, "first").await.unwrap();
        fs::write(root.state().join(NAME), b"\xff{").unwrap();
        let error = lock(&root, Duration::ZERO, "second").await.unwrap_err();
        assert!(error.message.contains("held by another process"), "{error}");
    }

    #[tokio::test]
    async fn a_copy_does_not_outlive_a_lock_that_was_let_go() {
        let (_directory, root) = root();
        let first = lock(&root, Duration::ZERO, "first").await.unwrap();
        let copy = first.try_clone().unwrap();
        drop(first);
        lock(&root, Duration::ZERO, "second").await.unwrap();
        drop(copy);
    }

    /// Run by the test below in a process of its own: takes the lock, starts a command that inherits it.
    #[tokio::test]
    async fn holder_in_its_own_process() {
        let Ok(path) = std::env::var("TRUEUP_TEST_LOCK_ROOT") else { return };
        let root = Root::new(path).unwrap();
        let lock = lock(&root, Duration::ZERO, "trueup reconcile").await.unwrap();
        let mut step = Command::new("sleep").arg("600").stdin(Stdio::from(lock.try_clone().unwrap())).spawn().unwrap();
        println!("\nstep {}", step.id());
        step.wait().unwrap();
    }

    #[tokio::test]
    async fn a_command_of_a_killed_holder_still_holds_it() {
        let (_directory, root) = root();
        let mut holder = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--nocapture", "ledger::lock::tests::holder_in_its_own_process"])
            .env("TRUEUP_TEST_LOCK_ROOT", root.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = io::BufReader::new(holder.stdout.take().unwrap());
        let step = output.lines().find_map(|line| line.unwrap().strip_prefix("step ")?.parse().ok()).unwrap();
        let step = Pid::from_raw(step).unwrap();

        let error = lock(&root, Duration::ZERO, "second").await.unwrap_err();
        assert!(error.message.contains(&format!("pid {}", holder.id())), "{error}");
        assert!(!error.message.contains("has ended"), "{error}");

        holder.kill().unwrap();
        holder.wait().unwrap();
        assert!(super::holder(&root).await.is_some());
        let error = lock(&root, Duration::ZERO, "second").await.unwrap_err();
        assert!(error.message.contains("has ended, but a command that it started still runs"), "{error}");

        rustix::process::kill_process(step, rustix::process::Signal::KILL).unwrap();
        lock(&root, Duration::from_mins(1), "second").await.unwrap();
    }
}
