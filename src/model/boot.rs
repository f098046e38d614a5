//! Boots of the machine, and moments that are known by them: nobody can set the clock that counts from a boot.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// One boot of the machine, and when that was by the wall clock as it goes at some moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Boot {
    /// The kernel's name for it; empty where it does not tell.
    pub id: String,
    /// The wall time of the boot: another one once the clock has been set.
    pub at: Timestamp,
}

/// A moment by the wall clock, and by the boot that it was in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Moment {
    /// The moment by the wall clock, as it went then.
    pub at: Timestamp,
    /// The boot, by the wall clock as it went then.
    pub boot: Boot,
}
