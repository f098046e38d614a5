//! Where manifests come from.

use jiff::Timestamp;
use serde::Serialize;

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
