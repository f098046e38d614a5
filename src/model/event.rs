//! What a pass tells while it goes on, for people who wait.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::action::Action;
use super::health::HealthVerdict;
use super::millis;
use super::names::ReleaseId;

/// Something that just happened in a pass.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Event {
    /// An action begins.
    Begun {
        /// The action.
        action: Action,
        /// Why.
        reason: String,
    },
    /// An action ended well.
    Done {
        /// The action.
        action: Action,
        /// How long it took.
        #[serde(with = "millis", rename = "tookMs")]
        took: Duration,
    },
    /// An action failed.
    Failed {
        /// The action.
        action: Action,
        /// What happened.
        error: String,
        /// When it will be tried again; none: not in this pass.
        #[serde(default, skip_serializing_if = "Option::is_none", with = "millis::optional", rename = "retryInMs")]
        retry_in: Option<Duration>,
    },
    /// Something changes by itself and is waited for.
    Settling {
        /// What, in words.
        what: String,
    },
    /// The desired release is kept out from now on.
    KeptOut {
        /// The release.
        release: ReleaseId,
        /// What failed.
        reason: String,
    },
    /// The health contract was not met, and is tried again.
    Unhealthy {
        /// Which attempt this was.
        attempt: u32,
        /// Of how many.
        of: u32,
        /// What was seen.
        verdict: HealthVerdict,
    },
}
