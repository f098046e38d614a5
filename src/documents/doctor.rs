//! What the doctor found.

use jiff::Timestamp;
use serde::Serialize;

use super::API_VERSION;
use crate::model::app::App;
use crate::model::finding::{Finding, Severity};
use crate::model::names::{AppName, Root};

/// All that was found.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DoctorReport<'a> {
    api_version: &'static str,
    kind: &'static str,
    /// When it was looked at.
    observed_at: Timestamp,
    /// The worst of all.
    severity: Severity,
    /// What is to be said of the host, whatever the App; the worst first.
    host: &'a [Finding],
    /// In the order of the manifests.
    items: Vec<Item<'a>>,
}

/// What was found for one App.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Item<'a> {
    app: &'a AppName,
    root: &'a Root,
    /// The worst of its findings.
    severity: Severity,
    /// The worst first.
    findings: &'a [Finding],
}

impl<'a> DoctorReport<'a> {
    /// What was found then for the host, and for each App.
    pub fn new(
        observed_at: Timestamp,
        host: &'a [Finding],
        apps: impl Iterator<Item = (&'a App, &'a [Finding])>,
    ) -> Self {
        let worst = |found: &[Finding]| found.iter().map(|one| one.severity).max().unwrap_or(Severity::Ok);
        let item = |(app, findings): (&'a App, &'a [Finding])| {
            let (name, root) = (&app.name, &app.root);
            Item { app: name, root, severity: worst(findings), findings }
        };
        let items: Vec<Item<'_>> = apps.map(item).collect();
        let severity = items.iter().map(|item| item.severity).chain([worst(host)]).max().unwrap_or(Severity::Ok);
        Self { api_version: API_VERSION, kind: "DoctorReport", observed_at, severity, host, items }
    }
}
