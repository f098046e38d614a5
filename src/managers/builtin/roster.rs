//! `ROOT/.trueup/workers.json`: which process each member was started as.
//!
//! A help, not a belief: what stands in it is looked at again before it is used, and without it the members
//! are found by their environment.

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::host::state_file::{self, StateFile};
use crate::model::names::{MemberName, Root};
use crate::model::process::{Pid, ProcessId, StartTicks};
use crate::ports::HostError;

/// All members that were started and not stopped.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Roster {
    workers: BTreeMap<MemberName, Entry>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    pid: Pid,
    start_ticks: StartTicks,
    boot: String,
}

const NAME: &str = "workers.json";

fn file(root: &Root) -> PathBuf {
    root.state().join(NAME)
}

impl Roster {
    /// Reads it. One that is not there, or damaged, is empty.
    ///
    /// # Errors
    /// It may be there, and may not be read: whoever may not read it may not read environments either, and knows
    /// nothing of the workers.
    pub(super) fn read(root: &Root) -> Result<Self, HostError> {
        let path = file(root);
        let why = match state_file::read(root, NAME) {
            Ok(StateFile::Absent) => return Ok(Self::default()),
            Ok(StateFile::Bytes(text)) => match serde_json::from_slice(&text) {
                Ok(roster) => return Ok(roster),
                Err(error) => error.to_string(),
            },
            Ok(StateFile::Damaged(damage)) => damage,
            Err(error) => return Err(HostError::io(format!("cannot read `{}`", path.display()), &error)),
        };
        tracing::warn!(path = %path.display(), why, "damaged list of workers; they are looked for by environment");
        Ok(Self::default())
    }

    /// Replaces the file: readers see the old one or this one.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn write(&self, root: &Root) -> Result<(), HostError> {
        let path = file(root);
        let failed = |error: &std::io::Error| HostError::io(format!("cannot write `{}`", path.display()), error);
        let text = serde_json::to_vec_pretty(self).map_err(|error| failed(&error.into()))?;
        let state = root.state();
        let mut fresh = tempfile::NamedTempFile::new_in(&state).map_err(|error| failed(&error))?;
        fresh.write_all(&text).map_err(|error| failed(&error))?;
        if nix::unistd::geteuid().is_root() {
            // So that the owner can go on where root began.
            let owner = std::fs::metadata(&state).map_err(|error| failed(&error))?;
            std::os::unix::fs::fchown(fresh.as_file(), Some(owner.uid()), Some(owner.gid()))
                .map_err(|error| failed(&error))?;
        }
        fresh.persist(&path).map(|_| ()).map_err(|error| failed(&error.error))
    }

    /// The members in it, with their process where it belongs to this boot.
    pub(super) fn members(&self, boot: &str) -> impl Iterator<Item = (&MemberName, Option<ProcessId>)> {
        self.workers.iter().map(move |(member, entry)| (member, entry.process(boot)))
    }

    /// The process of one member, if it is in it and belongs to this boot.
    pub(super) fn process(&self, member: &MemberName, boot: &str) -> Option<ProcessId> {
        self.workers.get(member)?.process(boot)
    }

    /// Records a start; what other boots have left is dropped.
    pub(super) fn add(&mut self, member: MemberName, process: ProcessId, boot: &str) {
        self.workers.retain(|_, entry| entry.boot == boot);
        let entry = Entry { pid: process.pid, start_ticks: process.start_ticks, boot: boot.to_owned() };
        self.workers.insert(member, entry);
    }

    /// Forgets a member; whether it was known.
    pub(super) fn remove(&mut self, member: &MemberName) -> bool {
        self.workers.remove(member).is_some()
    }
}

impl Entry {
    fn process(&self, boot: &str) -> Option<ProcessId> {
        (self.boot == boot).then_some(ProcessId { pid: self.pid, start_ticks: self.start_ticks })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_and_what_is_torn_is_empty() {
        let site = tempfile::tempdir().unwrap();
        let root = Root::new(site.path()).unwrap();
        assert_eq!(Roster::read(&root).unwrap(), Roster::default());
        std::fs::create_dir(root.state()).unwrap();
        let member = |text: &str| MemberName::new(text).unwrap();
        let process = |pid| ProcessId { pid: Pid(pid), start_ticks: StartTicks(7) };
        let mut roster = Roster::default();
        roster.add(member("a/1"), process(1), "earlier boot");
        assert_eq!(roster.process(&member("a/1"), "this boot"), None);
        roster.add(member("a/2"), process(2), "this boot");
        roster.add(member("b/1"), process(3), "this boot");
        assert!(roster.remove(&member("b/1")) && !roster.remove(&member("b/1")));
        roster.write(&root).unwrap();
        let read = Roster::read(&root).unwrap();
        assert_eq!(read.members("this boot").collect::<Vec<_>>(), [(&member("a/2"), Some(process(2)))]);
        let text = std::fs::read_to_string(file(&root)).unwrap();
        std::fs::write(file(&root), text.get(..text.len() / 2).unwrap()).unwrap();
        assert_eq!(Roster::read(&root).unwrap(), Roster::default());
    }
}
