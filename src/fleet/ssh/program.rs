//! The program that hosts without one are given: the one that runs here.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::elf::{self, Needs};
use crate::host::hex::hexadecimal;

/// One file, as it was when it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// Where it is.
    pub path: PathBuf,
    /// How large, in bytes.
    pub size: u64,
    /// Its digest, 64 lower-case hexadecimal digits; its name in the caches of hosts.
    pub sha256: String,
    /// What it needs to run.
    pub needs: Needs,
}

impl Program {
    /// Reads the whole file, which blocks for some milliseconds.
    ///
    /// # Errors
    /// It cannot be read, or is no program of this kind of system.
    pub fn read(path: &Path) -> io::Result<Self> {
        let mut file = File::open(path)?;
        let needs = elf::needs(&file)?;
        let mut digest = Sha256::new();
        let mut size = 0;
        let mut bytes = vec![0; 256 * 1024];
        loop {
            let length = file.read(&mut bytes)?;
            if length == 0 {
                break;
            }
            digest.update(bytes.get(..length).unwrap_or_default());
            size += length as u64;
        }
        Ok(Self { path: path.to_owned(), size, sha256: hexadecimal(&digest.finalize()), needs })
    }

    /// The running program, even when its file was replaced meanwhile.
    pub fn own() -> PathBuf {
        PathBuf::from("/proc/self/exe")
    }
}
