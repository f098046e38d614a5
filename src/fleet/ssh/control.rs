//! Where the sockets of kept connections are: a folder that nobody else may enter, at a short path.
//!
//! A connection is found again by a link whose name is a digest of everything that it was made with; the link leads to
//! the socket of the ssh process that holds it, which removes its socket as it ends. So two of our processes at
//! once do each other no harm, and what is stale leads nowhere.

use std::fs::{self, DirBuilder, Metadata};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use rustix::process::geteuid;
use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;

use super::options::Options;
use crate::host::hex::hexadecimal;
use crate::model::ssh::SshTarget;

/// A socket's path has at most 107 bytes, of which ours takes 42 at most, and ssh adds 17 while it makes one.
const LONGEST: usize = 48;

/// A socket exists before anybody listens at it, but not for so long.
const YOUNG: Duration = Duration::from_mins(1);

/// Longer than any connection takes to be made.
const OLD: Duration = Duration::from_hours(1);

/// The folder.
#[derive(Debug, Clone)]
pub struct ControlFolder {
    path: PathBuf,
}

impl ControlFolder {
    /// The user's own, made if need be: below `$XDG_RUNTIME_DIR`, else below `/tmp`.
    ///
    /// # Errors
    /// It cannot be made, or somebody else was there first.
    pub fn of_user() -> io::Result<Self> {
        let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
        if let Some(found) = runtime.and_then(|above| Self::below(&above)) {
            return Ok(found);
        }
        Self::at(PathBuf::from(format!("/tmp/trueup-ssh-{}", geteuid().as_raw())))
    }

    /// One below that folder, if what is in there stays where it is: whoever else may write there could put another
    /// folder in its place. After `sudo` it is often that of somebody else.
    fn below(runtime: &Path) -> Option<Self> {
        let fits = runtime.is_absolute() && runtime.as_os_str().len() <= LONGEST;
        let found = runtime.symlink_metadata().ok().filter(|found| fits && is_ours_alone(found));
        found.and_then(|_| Self::at(runtime.join("trueup-ssh")).ok())
    }

    /// That folder, made if need be.
    ///
    /// # Errors
    /// It cannot be made, or is not ours alone.
    pub fn at(path: PathBuf) -> io::Result<Self> {
        match DirBuilder::new().mode(0o700).create(&path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let found = path.symlink_metadata()?;
        if !is_ours_alone(&found) {
            let what = format!("`{}` is not a folder of ours alone", path.display());
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, what));
        }
        Ok(Self { path })
    }

    /// Removes what nobody holds any more: sockets of ssh processes that were killed, also under the name by which ssh
    /// makes one, and what of ours was killed while it connected. What is younger than that takes is left alone, and so
    /// is everything that somebody listens at.
    pub fn sweep(&self) {
        let Ok(entries) = fs::read_dir(&self.path) else { return };
        for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
            let Ok(found) = path.symlink_metadata() else { continue };
            let age = found.modified().ok().and_then(|at| at.elapsed().ok()).unwrap_or_default();
            let kind = found.file_type();
            let dead = if kind.is_socket() {
                age > YOUNG && is_dead(&path)
            } else {
                // A link is found by its name, whatever it leads to; the name it had before is nobody's.
                let ours = path.extension().is_some_and(|last| last == "link") || has_prefix(&path, "log.");
                age > OLD && ((ours && !kind.is_dir()) || (kind.is_symlink() && !path.exists()))
            };
            if dead {
                let _ = fs::remove_file(&path);
            }
        }
    }

    /// Where the connection to that host is kept.
    pub fn place(&self, target: &SshTarget, options: &Options) -> ControlPath {
        let mut digest = Sha256::new();
        let mut add = |part: &str| digest.update(format!("{}:{part}", part.len()));
        add(target.as_str());
        add(if options.accept_new { "accept-new" } else { "strict" });
        // Another configuration may mean another host by the same name.
        let home = std::env::var_os("HOME").map(|home| Path::new(&home).join(".ssh/config"));
        let config = options.config.clone().or(home);
        for file in config.iter().map(PathBuf::as_path).chain([Path::new("/etc/ssh/ssh_config")]) {
            let found = file.metadata().map(|found| (found.ino(), found.mtime(), found.mtime_nsec(), found.size()));
            add(&format!("{} {found:?}", file.display()));
        }
        add(&std::env::var("SSH_AUTH_SOCK").unwrap_or_default());
        let mut name = hexadecimal(&digest.finalize());
        name.truncate(16);
        ControlPath { link: self.path.join(&name), folder: self.path.clone(), name }
    }
}

fn has_prefix(path: &Path, prefix: &str) -> bool {
    path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(prefix))
}

/// Nobody listens there, or not any more. One that is too busy is not dead, nor one for which we have no file left.
pub fn is_dead(socket: &Path) -> bool {
    let found = knock(socket).map_err(|error| error.kind());
    matches!(found, Err(io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound))
}

/// Connects to a socket and lets go of it. Never waits: where as many wait already as may, as for a process that was
/// stopped, this fails instead of waiting for it to go on.
fn knock(socket: &Path) -> io::Result<()> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let end = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    Ok(rustix::net::connect(&end, &SocketAddrUnix::new(socket)?)?)
}

/// A folder that nobody else may enter.
fn is_ours_alone(found: &Metadata) -> bool {
    let of_others = found.mode() & 0o077;
    found.is_dir() && found.uid() == geteuid().as_raw() && of_others == 0
}

/// Where the connection to one host is kept.
#[derive(Debug, Clone)]
pub struct ControlPath {
    folder: PathBuf,
    name: String,
    link: PathBuf,
}

impl ControlPath {
    /// The socket of a connection that was left open; none when nobody listens there.
    pub fn kept(&self) -> Option<PathBuf> {
        let socket = self.folder.join(fs::read_link(&self.link).ok()?);
        match knock(&socket).map_err(|error| error.kind()) {
            Ok(()) => return Some(socket),
            // One whose process was killed.
            Err(io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound) => {
                let _ = fs::remove_file(&socket);
            }
            // One that is too busy, or we have too many files open: it may be in use.
            Err(_) => {}
        }
        None
    }

    /// A path for a new socket. Nothing is there: whatever an earlier process of our number has left is removed.
    pub fn fresh(&self) -> PathBuf {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = self.folder.join(format!("{}.{}.{count}", self.name, std::process::id()));
        let _ = fs::remove_file(&path);
        path
    }

    /// A new file for what ssh has to say while it connects; it goes as it is dropped.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn words(&self) -> io::Result<NamedTempFile> {
        tempfile::Builder::new().prefix("log.").tempfile_in(&self.folder)
    }

    /// Makes a connection the one that is found from now on.
    ///
    /// # Errors
    /// The link cannot be made.
    pub fn keep(&self, socket: &Path) -> io::Result<()> {
        let name = socket.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let fresh = socket.with_extension("link");
        symlink(name, &fresh)?;
        fs::rename(&fresh, &self.link)
    }

    /// Makes it be found no more.
    pub fn forget(&self) {
        let _ = fs::remove_file(&self.link);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::UnixListener;
    use std::time::Instant;

    use super::*;

    /// Waits until nobody listens there: another test's child may hold the listener until it has come to its program.
    fn until_dead(socket: &Path) {
        let began = Instant::now();
        while !is_dead(socket) {
            assert!(began.elapsed() < Duration::from_secs(30), "{}", socket.display());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn a_kept_connection_is_found_while_somebody_listens() {
        let room = tempfile::tempdir().unwrap();
        let folder = ControlFolder::at(room.path().join("control")).unwrap();
        let target = SshTarget::new("deploy@web1").unwrap();
        let place = folder.place(&target, &Options::default());
        assert_eq!(place.kept(), None);
        let socket = place.fresh();
        assert_ne!(socket, place.fresh());
        let words = place.words().unwrap();
        assert_eq!(
            (words.path().parent(), words.as_file().metadata().unwrap().mode() & 0o777),
            (socket.parent(), 0o600)
        );
        let listener = UnixListener::bind(&socket).unwrap();
        place.keep(&socket).unwrap();
        assert_eq!(place.kept(), Some(socket.clone()));
        assert_eq!(folder.place(&target, &Options::default()).kept(), Some(socket.clone()));

        let others = [
            (SshTarget::new("deploy@web1:22").unwrap(), Options::default()),
            (target.clone(), Options { accept_new: true, ..Options::default() }),
            (target.clone(), Options { config: Some("/dev/null".into()), ..Options::default() }),
        ];
        for (target, options) in &others {
            assert_eq!(folder.place(target, options).kept(), None, "{target} {options:?}");
        }
        assert!(!is_dead(&socket));
        drop(listener);
        until_dead(&socket);
        assert_eq!(place.kept(), None);
        assert!(!socket.exists() && is_dead(&socket));
    }

    #[test]
    fn only_a_socket_without_a_listener_is_removed() {
        let room = tempfile::tempdir().unwrap();
        let folder = ControlFolder::at(room.path().join("control")).unwrap();
        let place = folder.place(&SshTarget::new("web1").unwrap(), &Options::default());
        // A socket that takes datagrams refuses us for another reason than being dead.
        let other = place.fresh();
        let alive = std::os::unix::net::UnixDatagram::bind(&other).unwrap();
        place.keep(&other).unwrap();
        assert_eq!((place.kept(), other.exists(), is_dead(&other)), (None, true, false));
        drop(alive);
        // The next number may have been used by a process of ours before.
        let number: u32 = other.extension().and_then(|last| last.to_str()).unwrap().parse().unwrap();
        let left = |count: u32| folder.path.join(format!("{}.{}.{count}", place.name, std::process::id()));
        for count in number + 1..number + 100 {
            fs::write(left(count), "").unwrap();
        }
        let fresh = place.fresh();
        assert!(!fresh.exists() && left(number + 99).exists(), "{fresh:?}");
    }

    /// As many wait as may, and nobody takes them in, as where ssh was stopped.
    #[test]
    fn a_socket_whose_process_was_stopped_holds_nobody_up() {
        let room = tempfile::tempdir().unwrap();
        let folder = ControlFolder::at(room.path().join("control")).unwrap();
        let place = folder.place(&SshTarget::new("web1").unwrap(), &Options::default());
        let socket = place.fresh();
        let listener = rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
        rustix::net::bind(&listener, &SocketAddrUnix::new(&socket).unwrap()).unwrap();
        rustix::net::listen(&listener, 0).unwrap();
        place.keep(&socket).unwrap();
        let waits = std::os::unix::net::UnixStream::connect(&socket).unwrap();
        let (said, heard) = std::sync::mpsc::channel();
        let of_it = socket.clone();
        std::thread::spawn(move || said.send((place.kept(), is_dead(&of_it))));
        let found = heard.recv_timeout(Duration::from_secs(30));
        assert_eq!((found, socket.exists()), (Ok((None, false)), true));
        drop((waits, listener));
    }

    #[test]
    fn what_nobody_holds_any_more_is_swept_away() {
        let room = tempfile::tempdir().unwrap();
        let folder = ControlFolder::at(room.path().join("control")).unwrap();
        let at = |name: &str| folder.path.join(name);
        // As ssh leaves one that was killed between making its socket and naming it.
        let bind = |name: &str| UnixListener::bind(at(name)).unwrap();
        let left = ["0123456789abcdef.1.0.fQ3vXz0pWk1LmN2b", "0123456789abcdef.1.1", "young"];
        drop(left.map(bind));
        for name in left {
            until_dead(&at(name));
        }
        let (alive, busy) = (bind("alive"), std::os::unix::net::UnixDatagram::bind(at("datagrams")).unwrap());
        for name in ["log.abc", "log.young", "fedcba9876543210.7.0.link", "notes"] {
            fs::write(at(name), "").unwrap();
        }
        symlink("nowhere", at("fedcba9876543210")).unwrap();
        symlink("alive", at("0123456789abcdef")).unwrap();
        fs::create_dir(at("log.d")).unwrap();
        for entry in fs::read_dir(&folder.path).unwrap() {
            let path = entry.unwrap().path();
            if !path.to_string_lossy().ends_with("young") {
                let old = std::process::Command::new("touch").args(["-h", "-d", "2 hours ago"]).arg(path).status();
                assert!(old.unwrap().success());
            }
        }
        folder.sweep();
        let mut left: Vec<_> = fs::read_dir(&folder.path).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["0123456789abcdef", "alive", "datagrams", "log.d", "log.young", "notes", "young"]);
        drop((alive, busy));
    }

    #[test]
    fn a_changed_configuration_makes_another_connection() {
        let room = tempfile::tempdir().unwrap();
        let folder = ControlFolder::at(room.path().join("control")).unwrap();
        let config = room.path().join("config");
        let options = Options { config: Some(config.clone()), ..Options::default() };
        let name = || folder.place(&SshTarget::new("web1").unwrap(), &options).name;
        let none = name();
        fs::write(&config, "Host web1\n").unwrap();
        let first = name();
        fs::write(&config, "Host web1\n Port 1\n").unwrap();
        assert!(none != first && first != name() && name() == name());
    }

    #[test]
    fn a_folder_that_others_may_enter_is_not_used() {
        let room = tempfile::tempdir().unwrap();
        let path = room.path().join("control");
        ControlFolder::at(path.clone()).unwrap();
        ControlFolder::at(path.clone()).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        assert!(ControlFolder::at(path.clone()).is_err());
        assert!(ControlFolder::below(&path).is_none());
        let link = room.path().join("link");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
        symlink(&path, &link).unwrap();
        assert!(ControlFolder::below(&link).is_none());
        assert!(ControlFolder::at(link).is_err());
        assert_eq!(ControlFolder::below(&path).unwrap().path, path.join("trueup-ssh"));
        assert!(ControlFolder::below(&room.path().join("none")).is_none());
        assert!(ControlFolder::below(Path::new("relative")).is_none());
        if geteuid().is_root() {
            std::os::unix::fs::chown(&path, Some(1), None).unwrap();
            assert!(ControlFolder::below(&path).is_none());
        }
    }
}
