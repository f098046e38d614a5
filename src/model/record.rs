//! What is known of each release, kept under `ROOT/.trueup/`: facts that cannot be read off the host again.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::boot::Moment;
use super::names::ReleaseId;

/// What is known of one release: `ROOT/.trueup/releases/ID.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReleaseRecord {
    /// The release.
    pub id: ReleaseId,
    /// How far its making has come.
    pub made: Making,
    /// Since when that is so.
    pub since: Timestamp,
    /// What it was made of, such as the commit that a ref was resolved to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    /// Digest of the recipe that it was made by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipe: Option<String>,
    /// When its verification succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified: Option<Timestamp>,
    /// When its migrations were run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub migrated: Option<Timestamp>,
    /// When `current` was last moved to it by us.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub switched: Option<Timestamp>,
    /// The moment right before that, by the boot that it was in: a clock that was set since changes nothing about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub switching: Option<Moment>,
    /// When it last passed its gate, or was found healthy in force on a host that was new to us.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proven: Option<Timestamp>,
    /// Why it is kept out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quarantine: Option<Quarantine>,
}

/// How far the making of a release has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Making {
    /// Its files are being fetched or built: half a release, which is begun anew and never switched to.
    Building,
    /// Its files are there as they came from the source; no build step has begun.
    Fetched,
    /// Whole and on disk, or put there whole by somebody else.
    Built,
}

/// Why a release is kept out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Quarantine {
    /// [`crate::model::app::Fingerprint::trial`] of the App that failed: any real change lifts it.
    pub key: String,
    /// Since when.
    pub at: Timestamp,
    /// Who says so.
    pub by: Judge,
    /// What failed, as a lower-case fragment.
    pub reason: String,
    /// What was seen: rules with values, the last lines of a log.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<String>,
    /// The release before it was no healthier, so the fault may be elsewhere: lifted as soon as that is healthy.
    #[serde(default)]
    pub held: bool,
    /// The proven release that the person chose to go back to; none: the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub back_to: Option<ReleaseId>,
}

/// Who put a release into quarantine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Judge {
    /// Its gate, or a step before it.
    #[default]
    Gate,
    /// A person, by `trueup rollback`.
    Operator,
}

impl ReleaseRecord {
    /// The record of a release of which nothing is known but that it is there, put there whole by somebody else.
    #[must_use]
    pub fn adopted(id: ReleaseId, at: Timestamp) -> Self {
        Self {
            id,
            made: Making::Built,
            since: at,
            origin: None,
            recipe: None,
            verified: None,
            migrated: None,
            switched: None,
            switching: None,
            proven: None,
            quarantine: None,
        }
    }

    /// Whether it can be gone back to, as far as its record says: whole, and it has passed its gate.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.made == Making::Built && self.proven.is_some()
    }

    /// Whether what it is kept out for befell it in force: it was switched to since it was made, or a person took it
    /// back. Else it never served, and nothing went back.
    #[must_use]
    pub fn failed_in_force(&self) -> bool {
        let by_hand = self.kept_out().is_some_and(|quarantine| quarantine.by == Judge::Operator);
        by_hand || self.switched.is_some_and(|switched| switched >= self.since)
    }

    /// Why it is kept out. A proof ends what was held against the release before: whoever keeps it out takes its proof
    /// away, so where a record holds both, the proof came later.
    #[must_use]
    pub fn kept_out(&self) -> Option<&Quarantine> {
        self.quarantine.as_ref().filter(|_| self.proven.is_none())
    }
}
