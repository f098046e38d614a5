//! Whether an App is left alone on this host.

use serde::Serialize;

use super::API_VERSION;
use crate::model::app::App;
use crate::model::names::{AppName, Root};

/// Whether an App is left alone on this host.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Suspension<'a> {
    api_version: &'static str,
    kind: &'static str,
    app: &'a AppName,
    root: &'a Root,
    /// Why it is left alone on this host; null: it is not.
    suspended: Option<&'a str>,
    /// The same before.
    before: Option<&'a str>,
    /// The manifest says so for every host.
    by_manifest: bool,
}

impl<'a> Suspension<'a> {
    /// Why the App is left alone now, and why it was before.
    #[must_use]
    pub fn new(app: &'a App, before: Option<&'a str>, suspended: Option<&'a str>) -> Self {
        Self {
            api_version: API_VERSION,
            kind: "Suspension",
            app: &app.name,
            root: &app.root,
            suspended,
            before,
            by_manifest: app.sync.suspend,
        }
    }
}
