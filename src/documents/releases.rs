//! What is known of each release of an App.

use jiff::Timestamp;
use serde::Serialize;

use super::API_VERSION;
use crate::model::app::App;
use crate::model::inventory::ReleaseStatus;
use crate::model::names::{AppName, Root};

/// The releases of one App.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReleaseList<'a> {
    api_version: &'static str,
    kind: &'static str,
    app: &'a AppName,
    root: &'a Root,
    /// When the host was looked at.
    observed_at: Timestamp,
    /// How many good ones are kept.
    keep: u32,
    /// The newest last.
    items: &'a [ReleaseStatus],
}

impl<'a> ReleaseList<'a> {
    /// The releases as they were then, the newest last.
    #[must_use]
    pub fn new(app: &'a App, observed_at: Timestamp, items: &'a [ReleaseStatus]) -> Self {
        Self {
            api_version: API_VERSION,
            kind: "ReleaseList",
            app: &app.name,
            root: &app.root,
            observed_at,
            keep: app.release.keep,
            items,
        }
    }
}
