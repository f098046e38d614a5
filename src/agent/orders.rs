//! What is asked of the loop from outside.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::reconfiguration::Reconfiguration;
use crate::model::names::{AppName, ReleaseId};
use crate::model::report::PassReport;
use crate::model::wake::Wake;
use crate::ports::HostError;

/// Something that the loop is to do.
#[derive(Debug)]
pub enum Order {
    /// Look for manifests: a forge tells of a push.
    Pushed {
        /// Which kind of forge.
        from: String,
    },
    /// Look for manifests, then make passes.
    Request(Asked),
    /// Look at manifests and Apps again; the agent's own configuration was read again before.
    Reload(Box<Reconfiguration>),
    /// Do what a person asks for.
    Operate {
        /// Over this App.
        app: AppName,
        /// What.
        what: Operation,
        /// What came of it.
        reply: oneshot::Sender<Result<Operated, HostError>>,
    },
}

/// Passes that a person asks for.
#[derive(Debug)]
pub struct Asked {
    /// Over these Apps; none: over all that the manifests name by then.
    pub apps: Option<Vec<AppName>>,
    /// Why.
    pub wake: Wake,
    /// Told once the manifests were looked at; dropped when the agent is about to end.
    pub woken: oneshot::Sender<Woken>,
}

/// What was asked for is about to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Woken {
    /// Over these Apps, in the order of the manifests.
    pub apps: Vec<AppName>,
    /// Their passes begin after this mark of the board.
    pub mark: u64,
    /// Why those passes are not made by the newest manifests; none: they are.
    pub problem: Option<String>,
}

/// What a person may ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// Take the desired release back.
    Rollback {
        /// To this one; none: the last proven one.
        to: Option<ReleaseId>,
        /// Why.
        reason: Option<String>,
        /// Who.
        by: String,
    },
    /// Try the desired release again.
    Retry {
        /// Whatever the App's windows say.
        ignore_windows: bool,
        /// Who.
        by: String,
    },
    /// Leave the App alone.
    Suspend {
        /// Why.
        reason: Option<String>,
        /// Who.
        by: String,
    },
    /// Act on it again.
    Resume {
        /// Who.
        by: String,
    },
}

impl Operation {
    /// Who asks for it.
    #[must_use]
    pub fn by(&self) -> &str {
        match self {
            Self::Rollback { by, .. } | Self::Retry { by, .. } | Self::Suspend { by, .. } | Self::Resume { by } => by,
        }
    }

    /// What the command line calls it.
    #[must_use]
    pub fn verb(&self) -> &'static str {
        match self {
            Self::Rollback { .. } => "rollback",
            Self::Retry { .. } => "retry",
            Self::Suspend { .. } => "suspend",
            Self::Resume { .. } => "resume",
        }
    }

    /// What it is to the App's turns.
    #[must_use]
    pub fn wake(&self) -> Wake {
        // Its own pass may act outside of the windows, and no other one that follows.
        Wake::Request { by: self.by().to_owned(), ignore_windows: false }
    }

    /// It is a pass, and not only a note for the next one.
    #[must_use]
    pub fn makes_a_pass(&self) -> bool {
        matches!(self, Self::Rollback { .. } | Self::Retry { .. })
    }
}

/// What came of an operation.
#[derive(Debug, Clone, PartialEq)]
pub enum Operated {
    /// A pass was made.
    Passed(Arc<PassReport>),
    /// There was nothing to try again.
    NotKeptOut,
    /// The App is left alone, or is no longer.
    Suspension {
        /// Why it was left alone before; none: it was not.
        before: Option<String>,
        /// Why it is now; none: it is not.
        now: Option<String>,
    },
}

/// The way to the loop. It is bounded: whoever finds it full says so and does not wait.
pub type Orders = mpsc::Sender<Order>;
