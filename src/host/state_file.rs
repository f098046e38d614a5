//! Reads a file of `ROOT/.trueup`, where whoever owns the root may have put anything.
//!
//! No link is followed below the root, nothing is waited for, and no more is read than makes sense.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;

use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, openat};
use rustix::io::Errno;

use crate::model::names::Root;

/// Most bytes of one file: some 100,000 workers.
pub const LIMIT: u64 = 16 * 1024 * 1024;

/// What stands in a file.
#[derive(Debug)]
pub enum StateFile {
    /// There is no such file, or not even a folder for it.
    Absent,
    /// Its bytes.
    Bytes(Vec<u8>),
    /// Something else stands in its place, in words: whatever trueup wrote there is lost.
    Damaged(String),
}

/// Reads one file of the folder.
///
/// # Errors
/// It may be there, and cannot be read: not permitted, say, or no more descriptors.
pub fn read(root: &Root, name: &str) -> io::Result<StateFile> {
    match bytes(root, name) {
        Ok(Ok(bytes)) => Ok(StateFile::Bytes(bytes)),
        Ok(Err(damage)) => Ok(StateFile::Damaged(damage)),
        Err(Errno::NOENT) => Ok(StateFile::Absent),
        Err(Errno::LOOP | Errno::MLINK) => Ok(StateFile::Damaged("it is a link".to_owned())),
        Err(Errno::NOTDIR) => Ok(StateFile::Damaged("its folder is none, or a link".to_owned())),
        Err(Errno::NXIO) => Ok(StateFile::Damaged("it is no file".to_owned())),
        Err(error) => Err(error.into()),
    }
}

fn bytes(root: &Root, name: &str) -> Result<Result<Vec<u8>, String>, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let above = openat(CWD, root.path(), flags, Mode::empty())?;
    let folder = openat(&above, ".trueup", flags | OFlags::NOFOLLOW, Mode::empty())?;
    // A pipe without a writer would keep us waiting.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = openat(&folder, name, flags, Mode::empty())?;
    if let Some(damage) = not_plain(&file)? {
        return Ok(Err(damage.to_owned()));
    }
    let mut bytes = Vec::new();
    let read = File::from(file).take(LIMIT + 1).read_to_end(&mut bytes);
    read.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    if bytes.len() as u64 > LIMIT {
        return Ok(Err(format!("it is larger than {} MiB", LIMIT >> 20)));
    }
    Ok(Ok(bytes))
}

/// What is wrong with a file that is no regular one, or has a second name elsewhere; none when it is as it should be.
///
/// # Errors
/// It cannot be looked at.
pub fn not_plain(file: impl AsFd) -> Result<Option<&'static str>, Errno> {
    let found = fstat(file)?;
    Ok(match FileType::from_raw_mode(found.st_mode) {
        FileType::RegularFile if found.st_nlink > 1 => Some("it has a second name elsewhere"),
        FileType::RegularFile => None,
        _ => Some("it is no regular file"),
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn only_a_plain_file_of_sensible_size_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::new(directory.path()).unwrap();
        let absent = Root::new(directory.path().join("absent")).unwrap();
        assert!(matches!(read(&absent, "x").unwrap(), StateFile::Absent));
        assert!(matches!(read(&root, "x").unwrap(), StateFile::Absent));
        let path = |name: &str| root.state().join(name);
        fs::create_dir(root.state()).unwrap();
        assert!(matches!(read(&root, "x").unwrap(), StateFile::Absent));
        fs::write(path("good"), "good").unwrap();
        assert!(matches!(read(&root, "good").unwrap(), StateFile::Bytes(bytes) if bytes == b"good"));

        let fifo = std::process::Command::new("mkfifo").arg(path("pipe")).status().unwrap();
        assert!(fifo.success());
        symlink("/dev/zero", path("link")).unwrap();
        fs::hard_link(path("good"), path("twin")).unwrap();
        fs::create_dir(path("directory")).unwrap();
        fs::File::create(path("huge")).unwrap().set_len(3 << 30).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(path("socket")).unwrap();
        for (name, words) in [
            ("pipe", "no regular file"),
            ("link", "a link"),
            ("twin", "second name"),
            ("directory", "no regular file"),
            ("huge", "16 MiB"),
            ("socket", "no file"),
        ] {
            match read(&root, name).unwrap() {
                StateFile::Damaged(damage) => assert!(damage.contains(words), "{name}: {damage}"),
                other => panic!("{name}: {other:?}"),
            }
        }
        fs::rename(root.state(), directory.path().join("elsewhere")).unwrap();
        symlink("elsewhere", root.state()).unwrap();
        assert!(matches!(read(&root, "good").unwrap(), StateFile::Damaged(_)));
    }
}
