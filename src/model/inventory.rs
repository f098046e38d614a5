//! What is known of every release of a root, for those who choose among them.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::names::{MemberName, ReleaseId};
use super::observed::Evidence;
use super::process::ProcessId;
use super::record::Quarantine;

/// One release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReleaseStatus {
    /// Its name.
    pub id: ReleaseId,
    /// `current` leads to it.
    pub current: bool,
    /// The manifest names it.
    pub desired: bool,
    /// What can be said for it.
    pub state: ReleaseStanding,
    /// Why it is kept out; null when it is not.
    pub quarantine: Option<Quarantine>,
    /// What it was made of, such as a commit; null where somebody else put it there.
    pub origin: Option<String>,
    /// When its directory was made; null where there is none, or the file system does not tell.
    pub made: Option<Timestamp>,
    /// When `current` was last moved to it.
    pub switched: Option<Timestamp>,
    /// When it last passed its gate.
    pub proven: Option<Timestamp>,
    /// What its files take on the disk; null where that was not found out in time.
    pub size_bytes: Option<u64>,
    /// Processes that run it.
    pub used_by: Vec<Use>,
    /// The next pass that has nothing else to do removes it.
    pub surplus: bool,
}

/// What can be said for a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum ReleaseStanding {
    /// It was proven on this host: one can go back to it.
    Good,
    /// It failed, or was taken back by hand.
    Quarantined,
    /// Its making was cut short, or is under way.
    HalfMade,
    /// It is whole, and was never proven here.
    Unproven,
    /// Somebody put it there, and nothing was written down about it: trueup never removes it.
    Unknown,
    /// It was written down, and its directory is gone.
    Absent,
}

impl std::fmt::Display for ReleaseStanding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Good => "good",
            Self::Quarantined => "quarantined",
            Self::HalfMade => "half-made",
            Self::Unproven => "unproven",
            Self::Unknown => "unknown",
            Self::Absent => "absent",
        })
    }
}

/// A process that names a release of a root itself, whatever it is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Witness {
    /// The process.
    pub process: ProcessId,
    /// Whose it is.
    pub uid: u32,
    /// Which release it runs, by rungs 1 to 3 of its own; descendants speak for themselves.
    pub evidence: Evidence,
}

/// A process that runs a release.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Use {
    /// The process.
    pub process: ProcessId,
    /// Which worker it is; null: a stray.
    pub member: Option<MemberName>,
}
