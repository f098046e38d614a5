//! Files of the agent's own directory: how they are written, and which of them it can read.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Replaces a file that nobody else may read: after a crash it is the old or the new one, whole. Blocks.
pub(super) fn replace(directory: &Path, name: &str, text: &[u8]) -> io::Result<()> {
    let new = directory.join(format!("{name}.new"));
    // Always the same name: what a dead agent has left is taken away here.
    match fs::remove_file(&new) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // Manifests may hold secrets.
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    file.write_all(text).and_then(|()| file.sync_all())?;
    fs::rename(&new, directory.join(name))?;
    File::open(directory)?.sync_all()
}

/// Refuses what another trueup has written in a format of its own.
pub(super) fn check_version(written: u32, ours: u32) -> Result<(), String> {
    if written == ours { Ok(()) } else { Err(format!("it has the format {written} of another trueup")) }
}
