//! Processes, and the facts about one that say which release it runs.

use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::observed::Unreadable;

/// A process number; used again by the kernel, so never enough to name a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Pid(pub u32);

impl std::fmt::Display for Pid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// Kernel start time of a process, in clock ticks since boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StartTicks(pub u64);

/// In the environment of a worker that trueup itself started: the root's real path.
pub const ROOT_VARIABLE: &str = "TRUEUP_ROOT";
/// In such an environment: the App's name.
pub const APP_VARIABLE: &str = "TRUEUP_APP";
/// In such an environment: `GROUP/ORDINAL`.
pub const WORKER_VARIABLE: &str = "TRUEUP_WORKER";
/// In such an environment: a digest of the command, the environment and the user that it was started with.
pub const RECIPE_VARIABLE: &str = "TRUEUP_RECIPE";

/// How close to another event a process's start may lie before neither "before" nor "after" can be
/// said: start times in wall time are known to some 10 ms.
pub const START_GUARD: Duration = Duration::from_millis(20);

/// One process for as long as the machine runs: the pid and when it started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProcessId {
    /// Its number.
    pub pid: Pid,
    /// When it started; tells it from a later process of the same number.
    pub start_ticks: StartTicks,
}

impl std::fmt::Display for ProcessId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "pid {}", self.pid)
    }
}

/// Device and inode: the same directory by any name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Inode {
    /// The device's number.
    pub device: u64,
    /// The inode's number on it.
    pub number: u64,
}

/// Something that was read, or the reason why it could not be: unknown is never absent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Known<T> {
    /// It was read.
    Known(T),
    /// It could not be read, and why.
    Unknown(String),
}

impl<T> Known<T> {
    /// The value, if it was read.
    pub fn known(&self) -> Option<&T> {
        match self {
            Self::Known(value) => Some(value),
            Self::Unknown(_) => None,
        }
    }

    /// Changes the value, if it was read.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Known<U> {
        match self {
            Self::Known(value) => Known::Known(change(value)),
            Self::Unknown(why) => Known::Unknown(why),
        }
    }
}

/// A file or directory that a process holds, as the kernel names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The path, without the kernel's ` (deleted)` mark.
    pub path: PathBuf,
    /// The kernel says that it has no name any more.
    pub deleted: bool,
    /// Device and inode where they could be read.
    pub inode: Option<Inode>,
}

/// What every process shows to everybody: one line of the walk over `/proc`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessSummary {
    /// Number and start.
    pub id: ProcessId,
    /// Its parent's number.
    pub parent: Pid,
    /// Its session's leader.
    pub session: Pid,
    /// The user that it runs as.
    pub uid: u32,
    /// It has a controlling terminal: somebody works there, as a rule.
    pub terminal: bool,
    /// When it started, in wall time, within some 10 ms.
    pub started: Timestamp,
    /// Dead, waiting for its parent.
    pub zombie: bool,
    /// Program and arguments; empty for a kernel thread.
    pub command: Vec<String>,
    /// Working directory, where it may be read.
    pub cwd: Known<Place>,
    /// The program file, where it may be read.
    pub executable: Known<Place>,
}

/// What a process shows to its own user and to root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessFacts {
    /// What everybody may see, read again together with the rest.
    pub summary: ProcessSummary,
    /// Its open files.
    pub open_files: Known<Vec<Place>>,
    /// Its mapped files.
    pub mapped_files: Known<Vec<Place>>,
    /// Its environment as it started, unless it wrote over it.
    pub environment: Known<Vec<(String, String)>>,
}

impl ProcessFacts {
    /// Something of what names a release could not be read: it is another user's, as a rule.
    #[must_use]
    pub fn is_withheld(&self) -> bool {
        let places = [&self.summary.cwd, &self.summary.executable];
        let files = [&self.open_files, &self.mapped_files];
        places.iter().any(|place| place.known().is_none()) || files.iter().any(|files| files.known().is_none())
    }
}

/// What came of looking at one process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Look {
    /// It lives, and this could be read.
    Seen(Box<ProcessFacts>),
    /// It is dead, a zombie included.
    Gone,
    /// It lives, but `/proc` does not show it to us (hidepid).
    Hidden,
    /// It may live: looking failed, and why.
    Unreadable(Unreadable),
}

/// A process that still uses a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Which.
    pub process: ProcessId,
    /// The number of the directory, among those that were asked for.
    pub directory: usize,
    /// What shows it, in words: `open file /srv/app/releases/r1/artisan`.
    pub seen: String,
}

/// All processes of one walk.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProcessTable {
    /// Ordered by pid.
    pub processes: Vec<ProcessSummary>,
}

impl ProcessTable {
    /// The process of that number.
    #[must_use]
    pub fn get(&self, pid: Pid) -> Option<&ProcessSummary> {
        let at = self.processes.binary_search_by_key(&pid, |process| process.id.pid).ok()?;
        self.processes.get(at)
    }

    /// All living descendants of `ancestor`, nearest first.
    #[must_use]
    pub fn descendants(&self, ancestor: Pid) -> Vec<&ProcessSummary> {
        let mut found: Vec<&ProcessSummary> = Vec::new();
        let mut parents = vec![ancestor];
        while !parents.is_empty() {
            let children: Vec<&ProcessSummary> = self
                .processes
                .iter()
                .filter(|process| !process.zombie && parents.contains(&process.parent) && process.id.pid != ancestor)
                .filter(|process| !found.iter().any(|seen| seen.id == process.id))
                .collect();
            parents = children.iter().map(|child| child.id.pid).collect();
            found.extend(children);
        }
        found
    }
}
