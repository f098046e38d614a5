//! What a pass tells while it goes on, for people who wait.

use std::time::Duration;

use crate::model::action::Action;
use crate::model::health::HealthVerdict;
use crate::model::names::{AppName, ReleaseId};

/// Something that just happened in a pass.
#[derive(Debug, Clone, PartialEq)]
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
        took: Duration,
    },
    /// An action failed.
    Failed {
        /// The action.
        action: Action,
        /// What happened.
        error: String,
        /// When it will be tried again; none: not in this pass.
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

/// Who listens to a pass.
pub trait Listener: Send + Sync {
    /// Called at once, in order, for each App's events. Must not block.
    fn event(&self, app: &AppName, event: &Event);
}

/// Listens to nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Listener for Silent {
    fn event(&self, _app: &AppName, _event: &Event) {}
}
