//! Where manifests come from.

use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use crate::manifest::{LoadErrors, Loaded};
use crate::ports::HostError;

/// The commit that manifests were read from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Revision {
    /// Its full name.
    pub commit: String,
    /// The first line of its message.
    pub subject: String,
    /// Who wrote it.
    pub author: String,
    /// When it was committed.
    pub at: Timestamp,
    /// Who signed it, as far as that was checked.
    pub signed_by: Option<String>,
}

/// What a source holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// The commit; none for a directory.
    pub revision: Option<Revision>,
    /// Its Apps.
    pub apps: Vec<Loaded>,
}

/// Why what a source holds cannot come into force; what was in force stays.
#[derive(Debug, Clone)]
pub enum SourceProblem {
    /// It cannot be read at all; another try may do.
    Unreachable(HostError),
    /// It is not trusted.
    Refused {
        /// The commit.
        revision: Revision,
        /// Why, and what to do.
        why: Refusal,
    },
    /// Its manifests are wrong.
    DoesNotLoad {
        /// The commit; none for a directory.
        revision: Option<Revision>,
        /// All that is wrong, with its places.
        errors: LoadErrors,
    },
}

/// Why a commit is not trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// It does not follow the commit in force.
    Rewritten {
        /// The commit in force.
        in_force: String,
        /// How many commits were looked at; none: all there are.
        within: Option<u32>,
    },
    /// None of the allowed signers has signed it.
    Unsigned {
        /// What was found instead.
        found: String,
    },
}

impl SourceProblem {
    /// The commit that it is about, if it is about one.
    pub fn revision(&self) -> Option<&Revision> {
        match self {
            Self::Unreachable(_) => None,
            Self::Refused { revision, .. } => Some(revision),
            Self::DoesNotLoad { revision, .. } => revision.as_ref(),
        }
    }

    /// What to do, where it is not in the message.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Unreachable(error) => error.help.clone(),
            Self::Refused { why: Refusal::Rewritten { .. }, .. } => {
                Some("push a commit that follows the one in force, or run the agent with `--allow-force` once".to_owned())
            }
            Self::Refused { why: Refusal::Unsigned { .. }, .. } => {
                Some("sign it with a key of the allowed signers, or add its key to their file".to_owned())
            }
            Self::DoesNotLoad { .. } => None,
        }
    }
}

impl std::fmt::Display for SourceProblem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unreachable(error) => write!(f, "{error}"),
            Self::Refused { revision, why: Refusal::Rewritten { in_force, within } } => {
                write!(f, "commit {} does not follow {}", short(&revision.commit), short(in_force))?;
                match within {
                    Some(within) => write!(f, " within {within} commits"),
                    None => f.write_str(": the branch was rewritten"),
                }
            }
            Self::Refused { revision, why: Refusal::Unsigned { found } } => {
                write!(f, "commit {} is signed by none of the allowed signers: {found}", short(&revision.commit))
            }
            Self::DoesNotLoad { revision: Some(revision), errors } => {
                write!(f, "the manifests of commit {} are wrong:\n{errors}", short(&revision.commit))
            }
            Self::DoesNotLoad { revision: None, errors } => write!(f, "the manifests are wrong:\n{errors}"),
        }
    }
}

/// A commit's hash as people write it.
#[must_use]
pub fn short(commit: &str) -> &str {
    commit.get(..12).unwrap_or(commit)
}

/// When a source should be looked at again.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Wakes {
    /// Whatever changes there.
    pub watch: Vec<PathBuf>,
    /// After so long; none: only when something changes.
    pub poll: Option<Duration>,
}

/// Where manifests come from.
pub trait Source: Send {
    /// What was in force when the agent ended, without asking anybody; none where that is not known.
    fn resume(&mut self) -> impl Future<Output = Option<Found>> + Send {
        async { None }
    }

    /// Looks what should be in force. Nothing changes as long as the source does not.
    fn look(&mut self) -> impl Future<Output = Result<Found, SourceProblem>> + Send;

    /// When to look again; asked for after each look.
    fn wakes(&self) -> Wakes;
}
