//! The agent's unix socket: one agent at a time, and never open to others than those who may use it.
//!
//! It is made in a directory of its own that nobody else may enter, gets its mode and group there, and is then
//! renamed into its place: at no moment it is there with other rights, and a stale one is replaced in one step. A lock
//! beside it tells a living agent's socket from one that a killed agent has left.

use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FlockOperation, Gid, Mode, OFlags};
use tokio::net::UnixListener;

use crate::ports::{HostError, HostErrorKind};

/// Where it is by default.
pub const PLACE: &str = "/run/trueup/agent.sock";
/// Its owner and its group may connect, nobody else.
const MODE: u32 = 0o660;

/// A socket that is listened on. Its file goes when it is dropped.
#[derive(Debug)]
pub struct Socket {
    pub(super) listener: UnixListener,
    path: PathBuf,
    /// Device and inode of our file.
    file: (u64, u64),
    /// Held for as long as we listen.
    lock: File,
}

impl Socket {
    /// Listens at `path`, whose directory is made where it is missing. The members of `group` may connect, too; by
    /// its number. Blocks for a moment; needs a runtime.
    ///
    /// # Errors
    /// Another agent listens there, something else than a socket is there, or the file system refuses.
    pub fn bind(path: &Path, group: Option<u32>) -> Result<Self, HostError> {
        let doing = || format!("cannot listen on `{}`", path.display());
        let failed = |error: std::io::Error| HostError::io(doing(), &error);
        let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
            let message = format!("{}: it names no file", doing());
            return Err(HostError::new(HostErrorKind::Misconfigured, message).with_help("name a file with `--socket`"));
        };
        // Where a client could not follow, a socket is of no use.
        let too_long = |error: std::io::Error| {
            HostError::io(doing(), &error)
                .with_help("name a shorter path with `--socket`: a socket's has 107 bytes at most")
        };
        std::os::unix::net::SocketAddr::from_pathname(path).map_err(too_long)?;
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true).mode(0o755).create(directory).map_err(failed)?;
        let mut beside = name.to_owned();
        beside.push(".lock");
        let lock = lock(&directory.join(beside), path)?;
        match std::fs::symlink_metadata(path) {
            Ok(there) if !there.file_type().is_socket() => {
                let message = format!("{}: what is there is no socket", doing());
                let help = "remove it, or name another place with `--socket`";
                return Err(HostError::new(HostErrorKind::Misconfigured, message).with_help(help));
            }
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
        let room = tempfile::Builder::new().prefix(".").tempdir_in(directory).map_err(failed)?;
        let new = room.path().join("s");
        let listener = UnixListener::bind(&new).map_err(|error| match error.kind() {
            ErrorKind::InvalidInput => too_long(error),
            _ => failed(error),
        })?;
        if let Some(group) = group {
            let chowned =
                rustix::fs::chownat(CWD, &new, None, Some(Gid::from_raw(group)), rustix::fs::AtFlags::empty());
            chowned.map_err(|error| {
                failed(error.into()).with_help("run the agent as root, or as a member of the group")
            })?;
        }
        std::fs::set_permissions(&new, PermissionsExt::from_mode(MODE)).map_err(failed)?;
        let made = std::fs::symlink_metadata(&new).map_err(failed)?;
        std::fs::rename(&new, path).map_err(failed)?;
        Ok(Self { listener, path: path.to_owned(), file: (made.dev(), made.ino()), lock })
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // Only what is ours: somebody may have put something else there.
        let ours = |there: std::fs::Metadata| (there.dev(), there.ino()) == self.file;
        if std::fs::symlink_metadata(&self.path).is_ok_and(ours) {
            let _ = std::fs::remove_file(&self.path);
        }
        // Closing would do, but for a child that was forked in this moment and has not come to its program yet.
        let _ = rustix::fs::flock(&self.lock, FlockOperation::Unlock);
    }
}

/// Whoever holds it is the one agent of that socket. The file stays: removing it would let two hold a lock each.
fn lock(file: &Path, socket: &Path) -> Result<File, HostError> {
    let failed = |error: std::io::Error| HostError::io(format!("cannot lock `{}`", file.display()), &error);
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let opened = rustix::fs::openat(CWD, file, flags, Mode::from_raw_mode(0o600));
    let lock = File::from(opened.map_err(|error| failed(error.into()))?);
    match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(lock),
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let message = format!("another agent listens on `{}`", socket.display());
            let help = "one agent is enough for a host; for a second one name another place with `--socket`";
            Err(HostError::new(HostErrorKind::Other, message).with_help(help))
        }
        Err(error) => Err(failed(error.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[tokio::test]
    async fn it_is_made_with_its_rights_replaces_a_stale_one_and_goes_with_its_agent() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("run/trueup/agent.sock");
        let socket = Socket::bind(&path, None).unwrap();
        assert_eq!(mode(&path), 0o660);
        tokio::net::UnixStream::connect(&path).await.unwrap();
        let error = Socket::bind(&path, None).unwrap_err();
        assert!(error.message.contains("another agent") && error.help.is_some(), "{error:?}");
        drop(socket);
        assert!(!path.exists());

        // A killed agent leaves its file behind.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let began = std::time::Instant::now();
        // Another test's child may hold the listener until it has come to its program.
        while tokio::net::UnixStream::connect(&path).await.is_ok() {
            assert!(began.elapsed() < std::time::Duration::from_secs(30));
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        let socket = Socket::bind(&path, None).unwrap();
        tokio::net::UnixStream::connect(&path).await.unwrap();
        let names = || -> Vec<_> {
            let mut names: Vec<_> =
                std::fs::read_dir(path.parent().unwrap()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            names.sort();
            names
        };
        assert_eq!(names(), ["agent.sock", "agent.sock.lock"]);

        // What somebody else put there is theirs.
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "mine").unwrap();
        drop(socket);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
        let error = Socket::bind(&path, None).unwrap_err();
        assert!(error.message.contains("no socket"), "{error}");
        assert_eq!(names(), ["agent.sock", "agent.sock.lock"]);
    }

    #[tokio::test]
    async fn a_path_that_does_not_do_is_told_with_the_way_out() {
        let place = tempfile::tempdir().unwrap();
        let long = place.path().join("x".repeat(120));
        for path in [long.as_path(), Path::new("/")] {
            let error = Socket::bind(path, None).unwrap_err();
            assert!(error.help.is_some_and(|help| help.contains("--socket")), "{}", path.display());
        }
    }
}
