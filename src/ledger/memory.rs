//! The memory of one App: one JSON document, replaced whole.

use std::io;
use std::time::Duration;

use super::folder::Folder;
use super::spare;
use crate::host::blocking;
use crate::host::silence;
use crate::host::state_file::{self, StateFile};
use crate::model::memory::Memory;
use crate::model::names::Root;
use crate::ports::{HostError, HostErrorKind};

const NAME: &str = "memory.json";
const NEW: &str = "memory.json.new";
/// How often a root that does not answer is asked again.
const PAUSE: Duration = Duration::from_secs(1);

/// Reads what is remembered; nothing there, or nothing that makes sense, is the empty memory.
///
/// Processes of another boot are still in it: [`Memory::boot`] tells. A root that does not answer is waited for.
///
/// # Errors
/// It may be there, and cannot be read: not permitted, say, or no more descriptors.
pub async fn recall(root: &Root) -> Result<Memory, HostError> {
    let file = root.state().join(NAME);
    let read = loop {
        let of = root.clone();
        match silence::at(root, move || state_file::read(&of, NAME)).await {
            // What was not read is not empty: somebody may have suspended the App.
            Err(silent) if silent.kind == HostErrorKind::Unreachable => tokio::time::sleep(PAUSE).await,
            read => break read?,
        }
    };
    let why = match read {
        Ok(StateFile::Absent) => return Ok(Memory::default()),
        Ok(StateFile::Bytes(bytes)) => match serde_json::from_slice(&bytes) {
            Ok(memory) => return Ok(memory),
            Err(error) => format!("it makes no sense: {error}"),
        },
        Ok(StateFile::Damaged(damage)) => damage,
        Err(error) => return Err(HostError::io(format!("cannot read `{}`", file.display()), &error)),
    };
    tracing::warn!(file = %file.display(), why, "cannot read the memory: it counts as empty");
    Ok(Memory::default())
}

/// Replaces what is remembered: after a crash it is the old or the new memory, whole. On a full disk it takes the room
/// that records keep.
///
/// # Errors
/// What the file system refuses; the old memory is then still there.
pub async fn remember(root: &Root, memory: &Memory) -> Result<(), HostError> {
    let mut text = serde_json::to_vec_pretty(memory)
        .map_err(|error| HostError::new(HostErrorKind::Other, format!("cannot write the memory as JSON: {error}")))?;
    text.push(b'\n');
    let root = root.clone();
    blocking(move || {
        let folder = Folder::open(&root)?;
        replace(&root, &folder, &text)
            .map_err(|error| HostError::io(format!("cannot write `{}`", folder.path(NAME).display()), &error))
    })
    .await?
}

fn replace(root: &Root, folder: &Folder, text: &[u8]) -> io::Result<()> {
    if matches!(state_file::read(root, NAME), Ok(StateFile::Bytes(there)) if there == text) {
        return Ok(());
    }
    spare::within(folder, || folder.replace(NAME, NEW, text)).map(drop)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::MetadataExt;

    use jiff::Timestamp;

    use super::*;
    use crate::ledger::testing::root;
    use crate::model::memory::{AppliedConfig, Helpless};
    use crate::model::names::{GroupName, MemberName, RelativePath, ReleaseId};
    use crate::model::process::{Pid, ProcessId, StartTicks};

    fn memory(boot: &str) -> Memory {
        let group = GroupName::new("default").unwrap();
        Memory {
            boot: boot.to_owned(),
            config: vec![AppliedConfig {
                group: group.clone(),
                path: RelativePath::new("shared/.env").unwrap(),
                digest: None,
                at: Timestamp::from_second(1_700_000_000).unwrap(),
                release: None,
            }],
            helpless: vec![Helpless {
                group,
                member: MemberName::new("w@1.service").unwrap(),
                process: ProcessId { pid: Pid(7), start_ticks: StartTicks(99) },
                release: ReleaseId::new("007").unwrap(),
            }],
            ..Memory::default()
        }
    }

    #[tokio::test]
    async fn the_last_memory_comes_back() {
        let (_directory, root) = root();
        assert_eq!(recall(&root).await.unwrap(), Memory::default());
        for boot in ["one", "two"] {
            remember(&root, &memory(boot)).await.unwrap();
            assert_eq!(recall(&root).await.unwrap(), memory(boot));
        }
        let names: Vec<_> = fs::read_dir(root.state()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, [NAME]);
    }

    #[tokio::test]
    async fn the_same_memory_is_not_written_again() {
        let (_directory, root) = root();
        remember(&root, &memory("one")).await.unwrap();
        let inode = || fs::metadata(root.state().join(NAME)).unwrap().ino();
        let before = inode();
        remember(&root, &memory("one")).await.unwrap();
        assert_eq!(inode(), before);
    }

    #[tokio::test]
    async fn garbage_is_the_empty_memory_and_is_replaced() {
        let (_directory, root) = root();
        remember(&root, &memory("one")).await.unwrap();
        let path = root.state().join(NAME);
        for garbage in [&b""[..], b"{", b"\xff\xfe", b"[]", b"{\"config\": 7}"] {
            fs::write(&path, garbage).unwrap();
            assert_eq!(recall(&root).await.unwrap(), Memory::default(), "{garbage:?}");
        }
        fs::write(root.state().join(NEW), "torn").unwrap();
        remember(&root, &memory("two")).await.unwrap();
        assert_eq!(recall(&root).await.unwrap(), memory("two"));
    }

    #[tokio::test]
    async fn what_cannot_be_read_is_not_taken_for_nothing() {
        // No directory has such a name. Users who may not read it are in `tests/ledger.rs`.
        let root = Root::new(format!("/{}", "x".repeat(300))).unwrap();
        let error = recall(&root).await.unwrap_err();
        assert!(error.message.contains("memory.json"), "{error}");
    }

    #[tokio::test]
    async fn a_directory_in_its_place_is_an_error_not_a_loss() {
        let (_directory, root) = root();
        fs::create_dir_all(root.state().join(NAME)).unwrap();
        assert_eq!(recall(&root).await.unwrap(), Memory::default());
        let error = remember(&root, &memory("one")).await.unwrap_err();
        assert!(error.message.contains("memory.json"), "{error}");
        assert!(!root.state().join(NEW).exists());
    }
}
