//! What processes say of the releases that they run.

use jiff::Timestamp;
use serde::Serialize;

use crate::model::inventory::Witness;
use crate::model::names::{AppName, Root};

/// What processes of one App say; an item of an `EvidenceList`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Evidence<'a> {
    /// The App.
    pub app: &'a AppName,
    /// Its root.
    pub root: &'a Root,
    /// When they were looked at.
    pub observed_at: Timestamp,
    /// Every process could be seen, whoever owns it: one that is not listed names no release.
    pub complete: bool,
    /// Ordered by pid.
    pub processes: Vec<Witness>,
    /// Why the root could not be looked at; null when it could.
    pub problem: Option<String>,
}
