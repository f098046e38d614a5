//! Why something could not be done.

use serde::{Deserialize, Serialize};

/// What went wrong, for people; its shape is the same in every version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Failed {
    /// What sort of failure.
    pub fault: Fault,
    /// What happened and where, as a lower-case fragment.
    pub message: String,
    /// Why, outermost first.
    #[serde(default)]
    pub causes: Vec<String>,
    /// What to do.
    #[serde(default)]
    pub help: Option<String>,
}

/// What sort of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Fault {
    /// The two sides are of different versions.
    Version,
    /// What was read is no request.
    Request,
    /// The manifest does not do on this host.
    Manifest,
    /// The host does not let it be done; nothing has changed.
    Host,
    /// Lines of a run are wanted of which nothing is known here any more.
    Unknown,
    /// The runner was killed.
    Killed,
    /// Anything else, also from another version.
    #[serde(other)]
    Other,
}

impl Failed {
    /// A failure without causes and help.
    #[must_use]
    pub fn new(fault: Fault, message: impl Into<String>) -> Self {
        Self { fault, message: message.into(), causes: Vec::new(), help: None }
    }

    /// Adds a cause.
    #[must_use]
    pub fn cause(mut self, cause: impl Into<String>) -> Self {
        self.causes.push(cause.into());
        self
    }

    /// Adds what to do.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}
