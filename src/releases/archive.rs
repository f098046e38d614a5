//! A release that is unpacked from an archive on this host or behind an HTTPS address.
//!
//! In: where it is, its digest, its limits. Out: the digest of what was unpacked. The format is told by the
//! first bytes, not by a name. Begin at [`unpack`].

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::os::fd::AsFd;
use std::path::Path;

use flate2::bufread::MultiGzDecoder;
use rustix::io::Errno;
use sha2::{Digest, Sha256};

use super::dir::astray;
use super::place::ReleaseDirectory;
use super::tree::{Limits, Tree};
use super::{content, tape};
use crate::host::way::{self, OpenError, Wanted};
use crate::ports::{HostError, HostErrorKind};

/// What an archive must be, and what of it is wanted.
#[derive(Debug, Clone)]
pub(super) struct Terms {
    /// SHA-256 in lower-case hexadecimal.
    pub(super) sha256: Option<String>,
    /// How many leading components of each path are dropped.
    pub(super) strip: u32,
    /// Most bytes of its files.
    pub(super) limit: u64,
}

/// More than the files themselves an archive may be, for its headers.
pub(super) const HEADERS: u64 = 1 << 30;

/// Opens an archive of this host.
///
/// # Errors
/// There is none, it is no plain file or lies in the release, or somebody leads root to it who may not read it himself.
pub(super) fn open(place: &ReleaseDirectory, path: &Path) -> Result<File, HostError> {
    let wrong = |what: &str| {
        HostError::new(HostErrorKind::Misconfigured, format!("the archive `{}` {what}", path.display()))
            .with_help("correct `spec.release.source`, or put the archive there")
    };
    let (opened, _) = way::open(path, Wanted::File).map_err(|error| match error {
        OpenError::Failed(Errno::NOENT | Errno::NOTDIR) => wrong("does not exist"),
        OpenError::Other(what) => wrong(what),
        error => astray(&format!("cannot open the archive `{}`", path.display()), error),
    })?;
    let real = way::place(opened.as_fd())
        .map_err(|error| HostError::io(format!("cannot resolve the archive `{}`", path.display()), &error))?;
    place.refuse_inside(&real)?;
    Ok(File::from(opened))
}

/// Unpacks an archive into the place and returns its SHA-256. `shown` is its name in messages.
///
/// # Errors
/// It is not what it should be, is no archive, has more in it than it may, or anything that would not stay inside.
pub(super) fn unpack(
    place: &ReleaseDirectory,
    mut file: File,
    shown: &str,
    terms: &Terms,
) -> Result<String, HostError> {
    let unreadable = |error: &io::Error| HostError::io(format!("cannot read the archive `{shown}`"), error);
    if let Some(expected) = &terms.sha256 {
        let found = content::digest(&mut file).map_err(|error| unreadable(&error))?;
        if found != *expected {
            let message = format!("the archive `{shown}` has the SHA-256 {found}, not {expected}");
            return Err(HostError::new(HostErrorKind::Misconfigured, message)
                .with_help("see whether it is the right one; only then correct `sha256`"));
        }
        file.seek(SeekFrom::Start(0)).map_err(|error| unreadable(&error))?;
    }
    let mut first = [0; 512];
    let length = fill(&mut file, &mut first).map_err(|error| unreadable(&error))?;
    let format = Format::of(first.get(..length).unwrap_or_default()).map_err(|what| {
        HostError::new(HostErrorKind::Misconfigured, format!("the archive `{shown}` {what}"))
            .with_help("make it with `tar`, and pack it with `gzip` or `zstd`, or with nothing")
    })?;
    file.seek(SeekFrom::Start(0)).map_err(|error| unreadable(&error))?;

    let release = place.begin()?;
    let mut hashed = Hashed { file, hasher: Sha256::new() };
    {
        let bound = terms.limit.saturating_add(HEADERS);
        let packed = BufReader::with_capacity(1 << 16, &mut hashed);
        let reader: Box<dyn Read + '_> = match format {
            Format::Tar => Box::new(packed),
            Format::Gzip => Box::new(MultiGzDecoder::new(packed)),
            Format::Zstd => {
                Box::new(zstd::stream::read::Decoder::with_buffer(packed).map_err(|error| unreadable(&error))?)
            }
        };
        let limits = Limits { bytes: terms.limit, ..Limits::default() };
        let top = release.try_clone().map_err(|error| unreadable(&error))?;
        let mut tree = Tree::new(top, place.owner, limits);
        tape::unpack(reader, bound, &mut tree, terms.strip).map_err(|error| error.about(shown, place))?;
        if tree.is_empty() {
            let message = format!("the archive `{shown}` has nothing in it behind {} dropped components", terms.strip);
            return Err(HostError::new(HostErrorKind::Misconfigured, message).with_help("correct `stripComponents`"));
        }
        tree.finish().map_err(|error| error.about(shown, place))?;
    }
    io::copy(&mut hashed, &mut io::sink()).map_err(|error| unreadable(&error))?;
    let found = content::hexadecimal(hashed.hasher);
    if terms.sha256.as_ref().is_some_and(|expected| *expected != found) {
        return Err(HostError::new(
            HostErrorKind::Other,
            format!("the archive `{shown}` was changed while it was unpacked"),
        ));
    }
    place.finish(release.as_fd(), 0o755)?;
    Ok(found)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Tar,
    Gzip,
    Zstd,
}

impl Format {
    /// What the first block of a file says; else what is wrong with it.
    fn of(first: &[u8]) -> Result<Self, &'static str> {
        let others: [(&[u8], &str); 5] = [
            (b"PK\x03\x04", "is a zip file"),
            (b"\xfd7zXZ\0", "is packed with xz"),
            (b"BZh", "is packed with bzip2"),
            (b"7z\xbc\xaf", "is a 7z file"),
            (b"<", "is a text, such as a web page"),
        ];
        match first {
            [] => Err("is empty"),
            [0x1f, 0x8b, ..] => Ok(Self::Gzip),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Ok(Self::Zstd),
            _ if first.len() == 512 && tape::is_header(first) => Ok(Self::Tar),
            _ => {
                Err(others.iter().find(|(magic, _)| first.starts_with(magic)).map_or("is no tar archive", |row| row.1))
            }
        }
    }
}

/// Reads until a buffer is full or the file is at its end.
fn fill(file: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while let Some(rest) = buffer.get_mut(length..).filter(|rest| !rest.is_empty()) {
        match file.read(rest) {
            Ok(0) => break,
            Ok(more) => length += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}

/// What is unpacked is digested on the way: a file of somebody else may change after it was checked.
struct Hashed {
    file: File,
    hasher: Sha256,
}

impl Read for Hashed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.file.read(buffer)?;
        self.hasher.update(buffer.get(..length).unwrap_or_default());
        Ok(length)
    }
}

#[cfg(test)]
#[path = "archive_tests.rs"]
mod tests;
