//! What the files of a release take on the disk, as far as that can be found out in time.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, Instant};

use rustix::fs::{Dir, FileType};

use super::beneath::{DEPTH, directory, look, open_release, open_root};
use super::place::kind;
use crate::host::blocking;
use crate::model::names::{ReleaseId, Root};

/// Bytes of a block in `st_blocks`, whatever the file system's own blocks are.
const BLOCK: u64 = 512;
/// A call that hangs, such as on a dead mount, is waited for no longer than this beyond the time that was given.
const GRACE: Duration = Duration::from_millis(500);

/// Bytes on disk of each release, all within that time; none for one that is not there, may not be read, or
/// was not walked through in time. Nothing is followed out of a release, and no mount below it is entered.
pub async fn sizes(root: &Root, ids: &[ReleaseId], within: Duration) -> Vec<Option<u64>> {
    let (root, wanted) = (root.clone(), ids.to_vec());
    let deadline = Instant::now() + within;
    let walk = blocking(move || wanted.iter().map(|id| size(&root, id, deadline)).collect::<Vec<_>>());
    match tokio::time::timeout(within + GRACE, walk).await {
        Ok(Ok(sizes)) => sizes,
        Ok(Err(_)) | Err(_) => vec![None; ids.len()],
    }
}

fn size(root: &Root, id: &ReleaseId, deadline: Instant) -> Option<u64> {
    let opened = open_root(root).ok()?;
    let release = open_release(opened.as_fd(), root, id).ok()?;
    let own = rustix::fs::fstat(&release).ok()?;
    let mut walk = Walk { deadline, device: own.st_dev, counted: BTreeSet::new(), total: blocks(own.st_blocks) };
    walk.below(release.as_fd(), 0)?;
    Some(walk.total)
}

struct Walk {
    deadline: Instant,
    device: u64,
    /// Files with several names, of which one counts.
    counted: BTreeSet<u64>,
    total: u64,
}

impl Walk {
    /// None when it could not be walked through.
    fn below(&mut self, at: BorrowedFd<'_>, depth: usize) -> Option<()> {
        if depth > DEPTH {
            return None;
        }
        for entry in Dir::read_from(at).ok()? {
            if Instant::now() >= self.deadline {
                return None;
            }
            let entry = entry.ok()?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name == "." || name == ".." {
                continue;
            }
            // Gone meanwhile: it takes nothing any more.
            let Some(found) = look(at, name).ok()? else { continue };
            if found.st_dev != self.device {
                continue;
            }
            let is_directory = kind(&found) == FileType::Directory;
            if is_directory || found.st_nlink < 2 || self.counted.insert(found.st_ino) {
                self.total = self.total.saturating_add(blocks(found.st_blocks));
            }
            if is_directory {
                let inner = directory(at, name).ok()?;
                self.below(inner.as_fd(), depth + 1)?;
            }
        }
        Some(())
    }
}

fn blocks(number: i64) -> u64 {
    u64::try_from(number).unwrap_or_default().saturating_mul(BLOCK)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::process::Command;

    use super::*;

    const ENOUGH: Duration = Duration::from_secs(20);

    fn place() -> (tempfile::TempDir, Root, ReleaseId) {
        let place = tempfile::tempdir().unwrap();
        let root = Root::new(place.path()).unwrap();
        let id = ReleaseId::new("r1").unwrap();
        fs::create_dir_all(root.release(&id).join("a/b")).unwrap();
        fs::write(root.release(&id).join("a/b/file"), vec![1; 300_000]).unwrap();
        (place, root, id)
    }

    #[tokio::test]
    async fn it_is_what_du_says() {
        let (place, root, id) = place();
        let release = root.release(&id);
        fs::hard_link(release.join("a/b/file"), release.join("second")).unwrap();
        fs::write(place.path().join("outside"), vec![1; 5_000_000]).unwrap();
        symlink(place.path().join("outside"), release.join("link")).unwrap();
        symlink(place.path(), release.join("a/up")).unwrap();
        let du = Command::new("du").args(["--summarize", "--block-size=1"]).arg(&release).output().unwrap();
        let du: u64 = String::from_utf8(du.stdout).unwrap().split_whitespace().next().unwrap().parse().unwrap();
        assert!((300_000..600_000).contains(&du), "{du}");
        let absent = ReleaseId::new("r9").unwrap();
        assert_eq!(sizes(&root, &[id, absent], ENOUGH).await, [Some(du), None]);
    }

    #[tokio::test]
    async fn what_takes_too_long_or_leads_elsewhere_is_not_told() {
        let (place, root, id) = place();
        assert_eq!(sizes(&root, &[id], Duration::ZERO).await, [None]);
        symlink(place.path(), root.releases().join("r2")).unwrap();
        assert_eq!(sizes(&root, &[ReleaseId::new("r2").unwrap()], ENOUGH).await, [None]);
    }
}
