//! What others ask of the loop, each over its own door: the socket, a webhook, a signal.

use tokio::sync::{mpsc, oneshot};

use crate::engine::operate::TakeBack;
use crate::model::names::AppName;
use crate::model::report::PassReport;
use crate::model::wake::Wake;
use crate::ports::HostError;

/// One thing that is asked for.
#[derive(Debug)]
pub enum Order {
    /// Make a pass soon.
    Wake {
        /// Over this App; none: over all.
        app: Option<AppName>,
        /// Why.
        wake: Wake,
    },
    /// Look at the manifests now.
    Reload,
    /// Do what a person asks for, before the App's next pass.
    Operate {
        /// Over this App.
        app: AppName,
        /// What.
        what: Operation,
        /// What came of it. Nobody listening is no error.
        reply: oneshot::Sender<Result<Operated, HostError>>,
    },
}

/// What a person asks for, App by App; `by` is who, for the history.
#[derive(Debug, Clone)]
pub enum Operation {
    /// Take the desired release back, and keep it out.
    Rollback {
        /// Which release to go back to, and why.
        how: TakeBack,
        /// Who.
        by: String,
    },
    /// Try a release again that is kept out.
    Retry {
        /// Who.
        by: String,
    },
    /// Leave the App alone on this host.
    Suspend {
        /// Why.
        reason: String,
        /// Who.
        by: String,
    },
    /// Act on it again.
    Resume {
        /// Who.
        by: String,
    },
}

/// What came of an operation.
#[derive(Debug)]
pub enum Operated {
    /// A pass was made.
    Passed(Box<PassReport>),
    /// Nothing keeps the release out: there was nothing to try again.
    NotKeptOut,
    /// Something was written down; the reason for which the App was left alone before, if it was.
    Noted {
        /// That reason.
        before: Option<String>,
    },
}

/// The loop's ear. Full means that the loop has more than enough to do: whoever asks waits, or gives up.
pub type Orders = mpsc::Sender<Order>;
