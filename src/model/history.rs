//! What passes did in the past, put together out of the journal.

use jiff::Timestamp;
use serde::Serialize;

use super::action::Action;
use super::names::ReleaseId;
use super::record::Judge;

/// One pass, or what a person did without one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PastPass {
    /// Its name in the journal.
    pub pass: String,
    /// When its first line was written.
    pub began: Timestamp,
    /// The release that was desired; null when that was not written down, or is no longer there.
    pub release: Option<ReleaseId>,
    /// What woke it, and who; null as above.
    pub trigger: Option<String>,
    /// How it ended, in a word; null: it was cut short, is still under way, or was no pass.
    pub outcome: Option<String>,
    /// The same in a sentence.
    pub summary: Option<String>,
    /// How long it took in milliseconds; null where there is no end.
    pub took_ms: Option<u64>,
    /// What was done, in the order in which it began.
    pub actions: Vec<PastAction>,
    /// What was decided: by a gate, or by a person.
    pub decisions: Vec<Decision>,
}

/// One action of a pass.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PastAction {
    /// The action.
    #[serde(flatten)]
    pub action: Action,
    /// Why it was taken; empty where that is no longer there.
    pub reason: String,
    /// How long it took in milliseconds; null: nobody wrote down how it ended.
    pub took_ms: Option<u64>,
    /// Why it failed; null when it did not.
    pub error: Option<String>,
}

/// Something that holds beyond its pass.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "decision", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Decision {
    /// A release is kept out from then on.
    Quarantined {
        /// The release.
        release: ReleaseId,
        /// Why.
        reason: String,
        /// Who says so.
        by: Judge,
    },
    /// A release may be tried again.
    QuarantineLifted {
        /// The release.
        release: ReleaseId,
    },
    /// The App is left alone on this host.
    Suspended {
        /// Why.
        reason: String,
    },
    /// The App is acted on again.
    Resumed,
}
