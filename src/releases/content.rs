//! Digest and age of one file below the root.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use jiff::Timestamp;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use sha2::{Digest, Sha256};

use crate::host::{hex, silence, way};
use crate::model::names::{RelativePath, Root};
use crate::model::process::Known;

/// SHA-256 of a file's content in lower-case hex, and when the content was last written.
///
/// Links are followed as long as they stay below the root. None inside when there is no such file,
/// also where a link on the way dangles; unknown for a directory, a file that may not be read, and
/// a path that leaves the root.
pub async fn content(root: &Root, path: &RelativePath) -> Known<Option<(String, Timestamp)>> {
    let (of, path) = (root.clone(), path.clone());
    match silence::at(root, move || read(of.path(), path.as_path())).await {
        Ok(Ok(found)) => Known::Known(found),
        Ok(Err(why)) => Known::Unknown(why),
        Err(error) => Known::Unknown(error.message),
    }
}

fn read(root: &Path, path: &Path) -> Result<Option<(String, Timestamp)>, String> {
    let failed = |error: &io::Error| format!("cannot read `{}`: {error}", root.join(path).display());
    let mut file = match open(root, path) {
        Ok(file) => File::from(file),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(None),
        Err(error) if Errno::from_io_error(&error) == Some(Errno::XDEV) => {
            return Err(format!("`{}` leads out of the root", root.join(path).display()));
        }
        Err(error) => return Err(failed(&error)),
    };
    let metadata = file.metadata().map_err(|error| failed(&error))?;
    if !metadata.is_file() {
        let what = if metadata.is_dir() { "a directory" } else { "no regular file" };
        return Err(format!("`{}` is {what}", root.join(path).display()));
    }
    let written =
        i32::try_from(metadata.mtime_nsec()).ok().and_then(|nanos| Timestamp::new(metadata.mtime(), nanos).ok());
    let Some(written) = written else {
        return Err(format!("`{}` has an impossible time of writing", root.join(path).display()));
    };
    let digest = digest(&mut file).map_err(|error| failed(&error))?;
    Ok(Some((digest, written)))
}

fn open(root: &Path, path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = rustix::fs::openat(CWD, root, flags, Mode::empty())?;
    // Nonblocking: opening a named pipe would else wait for its writer.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    match rustix::fs::openat2(&directory, path, flags, Mode::empty(), ResolveFlags::BENEATH) {
        // Any absolute link counts as leaving, even one that comes back (`current` often is one);
        // and the call itself may be missing or filtered.
        Err(Errno::XDEV | Errno::NOSYS | Errno::PERM) => {
            let named = rustix::fs::openat(CWD, root.join(path), OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
            // Where it really is, not where its path led a moment ago.
            if !way::place(named.as_fd())?.starts_with(root.canonicalize()?) {
                return Err(Errno::XDEV.into());
            }
            let same = format!("/proc/self/fd/{}", named.as_raw_fd());
            Ok(rustix::fs::openat(CWD, same, flags, Mode::empty())?)
        }
        opened => Ok(opened?),
    }
}

/// SHA-256 of the rest of a file in lower-case hex.
pub(super) fn digest(file: &mut File) -> io::Result<String> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let length = match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => length,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        hasher.update(buffer.get(..length).unwrap_or_default());
    }
    Ok(hexadecimal(hasher))
}

/// What a hasher has come to, in lower-case hex.
pub(super) fn hexadecimal(hasher: Sha256) -> String {
    hex::hexadecimal(&hasher.finalize())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    const OF_ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    fn site() -> (tempfile::TempDir, Root) {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::new(directory.path().join("app")).unwrap();
        fs::create_dir_all(root.path().join("shared")).unwrap();
        fs::create_dir_all(root.path().join("releases/r1")).unwrap();
        fs::write(root.path().join("shared/.env"), "abc").unwrap();
        fs::write(directory.path().join("secret"), "abc").unwrap();
        (directory, root)
    }

    async fn look(root: &Root, path: &str) -> Known<Option<(String, Timestamp)>> {
        content(root, &RelativePath::new(path).unwrap()).await
    }

    #[tokio::test]
    async fn a_file_has_a_digest_and_a_time() {
        let (_directory, root) = site();
        let file = File::options().write(true).open(root.path().join("shared/.env")).unwrap();
        file.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_millis(1_700_000_000_250)).unwrap();
        let expected = Timestamp::from_millisecond(1_700_000_000_250).unwrap();
        assert_eq!(look(&root, "shared/.env").await, Known::Known(Some((OF_ABC.to_owned(), expected))));
    }

    #[tokio::test]
    async fn links_inside_the_root_are_followed_absolute_ones_too() {
        let (_directory, root) = site();
        symlink("../../shared/.env", root.path().join("releases/r1/.env")).unwrap();
        symlink(root.path().join("releases/r1"), root.current()).unwrap();
        for path in ["releases/r1/.env", "current/.env", "./shared//.env"] {
            let seen = look(&root, path).await;
            assert_eq!(seen.known().and_then(Clone::clone).map(|found| found.0).as_deref(), Some(OF_ABC), "{path}");
        }
    }

    #[tokio::test]
    async fn absent_is_known_and_dangling_is_absent() {
        let (_directory, root) = site();
        symlink("nowhere", root.path().join("dangling")).unwrap();
        for path in ["absent", "absent/.env", "shared/.env/x", "dangling"] {
            assert_eq!(look(&root, path).await, Known::Known(None), "{path}");
        }
    }

    #[tokio::test]
    async fn what_is_no_readable_file_of_this_root_is_unknown() {
        let (directory, root) = site();
        symlink("../secret", root.path().join("relative")).unwrap();
        symlink(directory.path().join("secret"), root.path().join("absolute")).unwrap();
        symlink("loop", root.path().join("loop")).unwrap();
        rustix::fs::mknodat(CWD, root.path().join("pipe"), rustix::fs::FileType::Fifo, Mode::from_raw_mode(0o600), 0)
            .unwrap();
        let rows = [
            ("shared", "is a directory"),
            ("pipe", "no regular file"),
            ("relative", "leads out of the root"),
            ("absolute", "leads out of the root"),
            ("loop", "cannot read"),
        ];
        for (path, words) in rows {
            match look(&root, path).await {
                Known::Unknown(why) => assert!(why.contains(words), "{path}: {why}"),
                Known::Known(found) => panic!("{path}: {found:?}"),
            }
        }
    }
}
