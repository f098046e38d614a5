//! Where a process's links and mappings lead: to something that is still there, or not any more.

use std::os::fd::BorrowedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Statx, StatxFlags, makedev, readlinkat, statx};
use rustix::io::Errno;

use crate::model::process::{Inode, Place};

pub(super) fn is_file_or_directory(kind: FileType) -> bool {
    matches!(kind, FileType::RegularFile | FileType::Directory)
}

pub(super) fn place(home: BorrowedFd<'_>, link: &str, text: &mut Vec<u8>) -> Result<Place, Errno> {
    place_of_kind(home, link, text, |_| true)?.ok_or(Errno::NOENT)
}

/// Where one of the kernel's magic links leads; none when that is of another kind.
pub(super) fn place_of_kind(
    home: BorrowedFd<'_>,
    link: &str,
    text: &mut Vec<u8>,
    wanted: impl Fn(FileType) -> bool,
) -> Result<Option<Place>, Errno> {
    // Asks no file server: a walk must not hang because some process sits on a dead mount.
    let mask = StatxFlags::INO | StatxFlags::TYPE | StatxFlags::NLINK;
    let found = statx(home, link, AtFlags::STATX_DONT_SYNC, mask)?;
    if !wanted(FileType::from_raw_mode(found.stx_mode.into())) {
        return Ok(None);
    }
    let inode = inode(&found);
    let name = readlinkat(home, link, std::mem::take(text))?.into_bytes();
    let deleted = match name.strip_suffix(DELETED) {
        None => false,
        // A directory may really be called so; then its full name leads to this very inode.
        Some(_) if found.stx_nlink > 0 => inode_of(Path::new(std::ffi::OsStr::from_bytes(&name))) != Some(inode),
        Some(_) => true,
    };
    let path = if deleted { name.strip_suffix(DELETED).unwrap_or(&name) } else { &name };
    let place = Place { path: PathBuf::from(std::ffi::OsString::from_vec(path.to_vec())), deleted, inode: Some(inode) };
    *text = name;
    Ok(Some(place))
}

/// What the kernel appends to the name of something that has none any more.
const DELETED: &[u8] = b" (deleted)";

pub(super) fn inode_of(path: &Path) -> Option<Inode> {
    let found = statx(CWD, path, AtFlags::STATX_DONT_SYNC, StatxFlags::INO).ok()?;
    Some(inode(&found))
}

pub(super) fn inode(found: &Statx) -> Inode {
    Inode { device: makedev(found.stx_dev_major, found.stx_dev_minor), number: found.stx_ino }
}

/// Where a mapping of a file leads.
pub(super) fn mapped_place(path: PathBuf, mapped: Inode) -> Place {
    // Stacked file systems number a mapping's device otherwise than `stat` does: the number has to do,
    // and the device is taken from `stat` so that it compares with other places.
    match inode_of(&path) {
        Some(inode) if inode.number == mapped.number => return Place { path, deleted: false, inode: Some(inode) },
        _ => {}
    }
    match path.as_os_str().as_bytes().strip_suffix(DELETED) {
        Some(name) => {
            Place { path: PathBuf::from(std::ffi::OsStr::from_bytes(name)), deleted: true, inode: Some(mapped) }
        }
        None => Place { path, deleted: false, inode: Some(mapped) },
    }
}
