//! What the doctor finds: one thing that was checked, how it stands, and the mend.

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

/// A line of a configuration file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Spot {
    /// Absolute.
    pub file: PathBuf,
    /// Counted from 1.
    pub line: u32,
}

impl fmt::Display for Spot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file.display(), self.line)
    }
}

/// How something stands; the worst is the greatest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Severity {
    /// As it should be.
    Ok,
    /// Worth knowing; nothing needs to be done.
    Note,
    /// It could not be told.
    Unknown,
    /// A trap: it works, until the day that it does not.
    Warning,
    /// A deployment will not do what the manifest says.
    Error,
}

impl Severity {
    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Note => "note",
            Self::Unknown => "unknown",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// One thing that was checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// Names the check for programs, such as `supervisord.directory`; stays as it is.
    pub check: &'static str,
    /// How it stands.
    pub severity: Severity,
    /// What was found, as a lower-case fragment.
    pub found: String,
    /// Where, if it stands in a configuration file.
    pub at: Option<Spot>,
    /// Why it matters; none where it is as it should be.
    pub why: Option<String>,
    /// What puts it right, to be pasted: into the place of `at`, or into a shell. Or what would let it be told.
    pub mend: Option<String>,
}

impl Finding {
    /// A finding without a place, a reason or a mend.
    #[must_use]
    pub fn new(check: &'static str, severity: Severity, found: impl Into<String>) -> Self {
        Self { check, severity, found: found.into(), at: None, why: None, mend: None }
    }

    /// It is as it should be.
    #[must_use]
    pub fn ok(check: &'static str, found: impl Into<String>) -> Self {
        Self::new(check, Severity::Ok, found)
    }

    /// It could not be told, and what would let it be.
    #[must_use]
    pub fn unknown(check: &'static str, found: impl Into<String>, mend: impl Into<String>) -> Self {
        Self::new(check, Severity::Unknown, found).mend(mend)
    }

    /// Adds where.
    #[must_use]
    pub fn at(self, spot: &Spot) -> Self {
        Self { at: Some(spot.clone()), ..self }
    }

    /// Adds why it matters.
    #[must_use]
    pub fn why(self, why: impl Into<String>) -> Self {
        Self { why: Some(why.into()), ..self }
    }

    /// Adds what puts it right.
    #[must_use]
    pub fn mend(self, mend: impl Into<String>) -> Self {
        Self { mend: Some(mend.into()), ..self }
    }
}
