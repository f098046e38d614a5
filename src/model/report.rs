//! What a pass found, did, and left behind.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::action::{Action, Plan};
use super::drift::Difference;
use super::holder::Holder;
use super::millis;
use super::names::{AppName, ReleaseId, Root};
use super::observed::Observed;
use super::sync::Withheld;

/// What a pass was allowed to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Mode {
    /// Close the drift.
    Apply,
    /// Only say what that would be.
    DryRun,
}

/// How a pass ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// The host is as the App says, and healthy.
    Converged,
    /// There is drift; a dry run leaves it.
    Drift,
    /// There is drift, and nobody may act on it now: [`PassReport::withheld`] says why.
    Withheld,
    /// The host is as the App says, but not healthy.
    Unhealthy,
    /// The desired release failed in this pass, and the last proven one is in force again.
    RolledBack,
    /// The desired release is kept out, since this pass or an earlier one; what is there stays.
    Quarantined,
    /// Drift is left that this pass could not close, or something went wrong.
    Failed,
    /// Asked to stop; the step in hand was finished.
    Interrupted,
}

impl Outcome {
    /// The word that documents, metrics and the journal have for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Converged => "converged",
            Self::Drift => "drift",
            Self::Withheld => "withheld",
            Self::Unhealthy => "unhealthy",
            Self::RolledBack => "rolledBack",
            Self::Quarantined => "quarantined",
            Self::Failed => "failed",
            Self::Interrupted => "interrupted",
        }
    }
}

/// Something that went wrong, in words for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// What happened, as a lower-case fragment.
    pub message: String,
    /// What to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// Trying again as things are would fail again. Of a step that failed this is said only where the release is at
    /// fault: whatever else is wrong with a host may be mended before the next try.
    #[serde(skip)]
    pub lasting: bool,
}

/// One action that was tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Tried {
    /// The action.
    #[serde(flatten)]
    pub action: Action,
    /// Why it was taken.
    pub reason: String,
    /// When it began.
    pub began: Timestamp,
    /// How long it took.
    #[serde(serialize_with = "millis::serialize", rename = "tookMs")]
    pub took: Duration,
    /// Why it failed; none when it succeeded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<Problem>,
    /// What else is worth telling: that a job was killed, say.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// What a pass over one App found, did, and left behind.
#[derive(Debug, Clone, PartialEq)]
pub struct PassReport {
    /// The App.
    pub app: AppName,
    /// Its root.
    pub root: Root,
    /// The desired release.
    pub release: ReleaseId,
    /// Names this pass in the journal.
    pub pass: String,
    /// When it began.
    pub began: Timestamp,
    /// How long it took.
    pub took: Duration,
    /// What it was allowed to do.
    pub mode: Mode,
    /// How it ended.
    pub outcome: Outcome,
    /// Why drift is only shown; none where it may be closed.
    pub withheld: Option<Withheld>,
    /// Who made another pass over the root meanwhile; told of passes that only look, none where nobody can tell.
    pub at_work: Option<Box<Holder>>,
    /// The first look; none when the host could not be looked at.
    pub before: Option<Observed>,
    /// What differed at the first look.
    pub difference: Difference,
    /// What the first plan was.
    pub plan: Plan,
    /// What was tried, in the order in which it ended.
    pub tried: Vec<Tried>,
    /// The last look; the first one again when nothing was done.
    pub after: Option<Observed>,
    /// What differs at the last look.
    pub remaining: Difference,
    /// How often health was asked for.
    pub health_attempts: u32,
    /// What went wrong.
    pub problems: Vec<Problem>,
}

impl PassReport {
    /// The exit code of this pass alone: DESIGN.md, "Exit codes of `reconcile`". Drift counts as success
    /// unless `detailed`.
    #[must_use]
    pub fn exit_code(&self, detailed: bool) -> u8 {
        match self.outcome {
            Outcome::Converged => 0,
            Outcome::Drift => {
                if detailed {
                    2
                } else {
                    0
                }
            }
            Outcome::Failed | Outcome::Interrupted => 1,
            Outcome::Unhealthy | Outcome::RolledBack | Outcome::Quarantined => 3,
            Outcome::Withheld => 4,
        }
    }

    /// The same where a person has taken a release back: that an earlier one is in force is what was asked for.
    #[must_use]
    pub fn exit_code_of_rollback(&self) -> u8 {
        let after = self.after.as_ref().and_then(|after| after.health.as_ref());
        match self.outcome {
            Outcome::RolledBack if after.is_none_or(|verdict| verdict.healthy) => 0,
            _ => self.exit_code(false),
        }
    }
}

/// The exit code of the worst App: an error, then unhealthy, then withheld, then drift.
#[must_use]
pub fn worst(codes: impl Iterator<Item = u8>) -> u8 {
    let badness = |code: &u8| match code {
        0 => 0,
        2 => 1,
        4 => 2,
        3 => 3,
        _ => 4,
    };
    codes.max_by_key(badness).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_app_wins() {
        let rows: [(&[u8], u8); 7] =
            [(&[], 0), (&[0, 0], 0), (&[0, 2], 2), (&[2, 4, 0], 4), (&[3, 4], 3), (&[3, 1, 4], 1), (&[2, 3], 3)];
        for (codes, expected) in rows {
            assert_eq!(worst(codes.iter().copied()), expected, "{codes:?}");
        }
    }
}
