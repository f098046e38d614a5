//! What a program needs to run elsewhere: its processor and its oldest C library, read from its own file.

use std::fmt;

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// A version of the GNU C library, such as 2.34.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Glibc {
    /// Before the point.
    pub major: u32,
    /// Behind it.
    pub minor: u32,
}

impl Glibc {
    /// Reads `2.36`; what stands behind the second number is left out.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.split('.').map(|part| part.parse().ok());
        Some(Self { major: numbers.next()??, minor: numbers.next()?? })
    }
}

impl fmt::Display for Glibc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// What a program needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Needs {
    /// As `uname -m` calls it; none where we have no name for it.
    pub machine: Option<&'static str>,
    /// The oldest C library that has all that it calls; none where it brings its own.
    pub glibc: Option<Glibc>,
}

/// Section type of the versions that a file wants of others.
const VERNEED: u32 = 0x6fff_fffe;

/// No table that we read is larger.
const TABLE_LIMIT: u64 = 16 << 20;

/// Reads them from a 64-bit ELF file of little-endian order, which is all that this program is built as.
///
/// # Errors
/// It cannot be read, or is no such file.
pub fn needs(file: &File) -> io::Result<Needs> {
    let header = part(file, 0, 64)?;
    if header.get(..6) != Some(b"\x7fELF\x02\x01") {
        return Err(odd("it is no 64-bit program"));
    }
    let machine = match half(&header, 18)? {
        62 => Some("x86_64"),
        183 => Some("aarch64"),
        243 => Some("riscv64"),
        _ => None,
    };
    let (table, entry, count) = (long(&header, 40)?, half(&header, 58)?, half(&header, 60)?);
    let sections = part(file, table, u64::from(entry) * u64::from(count))?;
    let section = |index: usize| {
        let at = index * usize::from(entry);
        sections.get(at..at + usize::from(entry)).ok_or_else(|| odd("a section is outside of its table"))
    };
    let mut glibc = None;
    for index in 0..usize::from(count) {
        let wanted = section(index)?;
        if word(wanted, 4)? != VERNEED {
            continue;
        }
        let names = section(word(wanted, 40)? as usize)?;
        let names = part(file, long(names, 24)?, long(names, 32)?)?;
        let versions = part(file, long(wanted, 24)?, long(wanted, 32)?)?;
        glibc = glibc.max(newest(&versions, &names)?);
    }
    Ok(Needs { machine, glibc })
}

/// The newest `GLIBC_…` of a table of needed versions: a chain of files, each with a chain of versions.
fn newest(versions: &[u8], names: &[u8]) -> io::Result<Option<Glibc>> {
    let mut newest = None;
    let mut file = 0;
    loop {
        let mut version = file + word(versions, file + 8)? as usize;
        for _ in 0..half(versions, file + 2)? {
            let name = text(names, word(versions, version + 8)? as usize);
            newest = newest.max(name.and_then(|name| name.strip_prefix("GLIBC_")).and_then(Glibc::parse));
            version += word(versions, version + 12)? as usize;
        }
        match word(versions, file + 12)? as usize {
            0 => return Ok(newest),
            next => file += next,
        }
    }
}

fn text(names: &[u8], at: usize) -> Option<&str> {
    let name = names.get(at..)?;
    std::str::from_utf8(name.split(|byte| *byte == 0).next()?).ok()
}

fn part(file: &File, at: u64, length: u64) -> io::Result<Vec<u8>> {
    if length > TABLE_LIMIT {
        return Err(odd("a table is too large"));
    }
    let mut bytes = vec![0; usize::try_from(length).map_err(|_| odd("a table is too large"))?];
    file.read_exact_at(&mut bytes, at)?;
    Ok(bytes)
}

fn odd(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

fn number<const N: usize>(bytes: &[u8], at: usize) -> io::Result<[u8; N]> {
    bytes.get(at..).and_then(|rest| rest.first_chunk().copied()).ok_or_else(|| odd("a table is too short"))
}

fn half(bytes: &[u8], at: usize) -> io::Result<u16> {
    number(bytes, at).map(u16::from_le_bytes)
}

fn word(bytes: &[u8], at: usize) -> io::Result<u32> {
    number(bytes, at).map(u32::from_le_bytes)
}

fn long(bytes: &[u8], at: usize) -> io::Result<u64> {
    number(bytes, at).map(u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn versions_have_an_order_of_numbers() {
        assert_eq!(Glibc::parse("2.4"), Some(Glibc { major: 2, minor: 4 }));
        assert_eq!(Glibc::parse("2.2.5"), Some(Glibc { major: 2, minor: 2 }));
        assert!(Glibc::parse("2.36") > Glibc::parse("2.4"));
        for odd in ["", "2", "PRIVATE", "ABI_DT_RELR", "2.x"] {
            assert_eq!(Glibc::parse(odd), None, "{odd}");
        }
    }

    #[test]
    fn this_very_program_says_what_it_needs() {
        let needs = needs(&File::open("/proc/self/exe").unwrap()).unwrap();
        assert_eq!(needs.machine, Some(std::env::consts::ARCH));
        // Every Rust program for glibc calls what came with 2.18 at the latest; one for musl needs none.
        if cfg!(target_env = "gnu") {
            assert!(needs.glibc >= Glibc::parse("2.17"), "{needs:?}");
        } else {
            assert_eq!(needs.glibc, None);
        }
    }

    #[test]
    fn what_is_no_program_is_an_error() {
        let own = std::fs::read("/proc/self/exe").unwrap();
        let cut = &own[..own.len().min(4096)];
        for bytes in [&b"#!/bin/sh\n"[..], b"", &own[..70], cut] {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(bytes).unwrap();
            assert!(needs(&file).is_err(), "{} bytes", bytes.len());
        }
    }
}
