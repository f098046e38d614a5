//! Configuration files of others: read, never written, with the line of each setting.
//!
//! [`sections`] reads files of `[headings]` in three dialects, [`pattern`] finds what an `include` means. Nothing is
//! judged here, and no value is interpreted.

pub mod pattern;
pub mod sections;

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::way::{self, OpenError, Wanted};

/// More of a file than this is not read.
const LIMIT: u64 = 4 * 1024 * 1024;

/// The text of a file, links followed, but to nothing that root would read for somebody else. What is no plain file,
/// such as a pipe, is not waited for.
///
/// # Errors
/// It is not there, may not be read, is no file, or is larger than any configuration.
pub fn text(path: &Path) -> io::Result<String> {
    let (opened, _) = way::open(path, Wanted::File).map_err(|astray| match astray {
        OpenError::Failed(error) => error.into(),
        astray => io::Error::other(astray.to_string()),
    })?;
    let mut bytes = Vec::new();
    File::from(opened).take(LIMIT + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LIMIT {
        return Err(io::Error::other(format!("it is larger than {} MiB", LIMIT >> 20)));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Why a file of a configuration is not part of what was read.
#[must_use]
pub fn unread(path: &Path, error: &io::Error) -> String {
    format!("`{}`: {error}", path.display())
}
