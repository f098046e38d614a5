//! Why a pass is made.

use std::fmt;

use serde::Serialize;

use super::names::{GroupName, MemberName};

/// Why a pass is made.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(tag = "wake", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Wake {
    /// The agent has begun.
    Started,
    /// The manifest is another one.
    Manifest {
        /// The commit that it came with; none outside of git.
        revision: Option<String>,
    },
    /// It was time to look again.
    Timer,
    /// A worker has died.
    Death {
        /// Its group.
        group: GroupName,
        /// Which.
        member: MemberName,
    },
    /// `current` was moved.
    Link,
    /// Something changed in `releases/`.
    Releases,
    /// The application does not answer as it should.
    Health,
    /// A person asked for it.
    Request {
        /// Who.
        by: String,
    },
    /// A forge told of a push.
    Webhook {
        /// Which forge, and what.
        from: String,
    },
    /// SIGHUP.
    Hangup,
    /// Another try after a failure.
    Backoff,
    /// A window has opened.
    Window,
}

impl Wake {
    /// Whether it resets a back-off: all but the timer, the back-off itself, health and a worker's death.
    #[must_use]
    pub fn brings_news(&self) -> bool {
        !matches!(self, Self::Timer | Self::Backoff | Self::Health | Self::Death { .. })
    }
}

impl fmt::Display for Wake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Started => f.write_str("start of the agent"),
            Self::Manifest { revision: Some(revision) } => write!(f, "manifest {revision}"),
            Self::Manifest { revision: None } => f.write_str("manifest"),
            Self::Timer => f.write_str("timer"),
            Self::Death { group, member } => write!(f, "worker {group} {member} died"),
            Self::Link => f.write_str("current was moved"),
            Self::Releases => f.write_str("releases changed"),
            Self::Health => f.write_str("health turned bad"),
            Self::Request { by } => write!(f, "request by {by}"),
            Self::Webhook { from } => write!(f, "webhook {from}"),
            Self::Hangup => f.write_str("SIGHUP"),
            Self::Backoff => f.write_str("another try"),
            Self::Window => f.write_str("a window has opened"),
        }
    }
}
