//! The health contract's rule language and the verdict over one answer.
//!
//! In: rules in CEL, the Common Expression Language, and what a probe answered. Out: whether each
//! rule can be right at all ([`check`], when a manifest loads) and whether it holds ([`judge`]).
//!
//! # What a rule may speak of
//!
//! | name | type | http | command | file |
//! | --- | --- | --- | --- | --- |
//! | `status` | int: HTTP status or exit code | yes | yes | |
//! | `headers` | map, names in lower case | yes | | |
//! | `body` | parsed JSON, else a string | yes | yes | yes |
//! | `latency` | duration | yes | yes | |
//! | `age` | duration since the file was written | | | yes |
//! | `release` | map: `id`, `path` of the desired release | yes | yes | yes |
//! | `workers` | map: `desired`, `total`, `fresh`, `stale`, `unknown` | yes | yes | yes |
//!
//! Durations are compared with durations: `latency < duration("2s")`. JSON integers are ints, so
//! they add up with literals; all numbers compare with each other. A missing key is a failed rule.
//!
//! A rule does a bounded amount of work: macros stand two inside each other at most, and go through ten thousand
//! elements at most.
//!
//! Start with [`check`].

mod limits;
mod parse;
mod types;
mod verdict;
mod vocabulary;

#[cfg(test)]
mod tests;

use crate::model::health::{Probe, Rule};

pub use parse::warm_up;
pub use types::check;
pub use verdict::judge;

/// Most bytes that one rule may have.
pub const RULE_LIMIT: usize = 4096;

/// Which names exist depends on how the application is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProbeKind {
    /// An HTTP request.
    Http,
    /// A command.
    Command,
    /// A file.
    File,
}

impl From<&Probe> for ProbeKind {
    fn from(probe: &Probe) -> Self {
        match probe {
            Probe::Http { .. } => Self::Http,
            Probe::Command { .. } => Self::Command,
            Probe::File { .. } => Self::File,
        }
    }
}

impl ProbeKind {
    /// The word used in manifests and messages.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Command => "command",
            Self::File => "file",
        }
    }

    /// What must hold when the manifest expects nothing particular: an HTTP status of 2xx, an exit
    /// code of 0, a file that can be read.
    #[must_use]
    pub fn default_rules(self) -> Vec<Rule> {
        let rule = match self {
            Self::Http => "status >= 200 && status < 300",
            Self::Command => "status == 0",
            // A file that cannot be read is no answer at all, and `maxAge` judges the old one.
            Self::File => "true",
        };
        vec![Rule(rule.to_owned())]
    }
}

/// What must hold when the manifest expects nothing particular; see [`ProbeKind::default_rules`].
#[must_use]
pub fn default_rules(probe: &Probe) -> Vec<Rule> {
    ProbeKind::from(probe).default_rules()
}

/// Why a rule can never be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct RuleError {
    /// What is wrong, as a lower-case fragment.
    pub message: String,
    /// Where in the rule, in bytes.
    pub offset: Option<usize>,
    /// What to write instead.
    pub help: Option<String>,
}

impl RuleError {
    fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), offset: None, help: None }
    }

    fn at(mut self, offset: Option<usize>) -> Self {
        self.offset = offset;
        self
    }

    fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}
