//! What runs are called on the wire.

use serde::{Deserialize, Serialize};

/// Names one run on one host: 8 to 64 letters, digits and `-`. The far side has files of that name, so two
/// different runs must never share one: make it of chance.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RunId(String);

/// Why a text names no run; reads on after "… is".
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not 8 to 64 letters, digits and `-`")]
pub struct NoRunId;

impl RunId {
    /// Checks it.
    ///
    /// # Errors
    /// [`NoRunId`] when it cannot be one.
    pub fn new(text: impl Into<String>) -> Result<Self, NoRunId> {
        let text = text.into();
        let sound = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') && !text.starts_with('-');
        if sound && (8..=64).contains(&text.len()) { Ok(Self(text)) } else { Err(NoRunId) }
    }

    /// As it was made.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for RunId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for RunId {
    type Error = NoRunId;
    fn try_from(text: String) -> Result<Self, NoRunId> {
        Self::new(text)
    }
}

impl From<RunId> for String {
    fn from(id: RunId) -> Self {
        id.0
    }
}
