//! What is printed and served for programs: versioned documents in JSON or YAML, whose keys stay as they are.
//!
//! All are `apiVersion: trueup/v1`. `reconcile` and `diff` print a `PassReportList` whose `items` are
//! [`PassDocument`](pass::PassDocument)s, however many Apps there are. `status` prints the App documents themselves,
//! each with [`AppStatus`](crate::model::status::AppStatus) as its `status`: as an `AppList` in JSON, as a stream of
//! documents in YAML. The agent serves the same, one by one. Times are RFC 3339 in UTC; lengths of time are whole
//! milliseconds in keys that end in `Ms`.

use serde::Serialize;

pub mod agent;
pub mod app;
pub mod doctor;
pub mod evidence;
pub mod fleet;
pub mod fleet_event;
pub mod history;
pub mod pass;
pub mod releases;
pub mod sudoers;
pub mod suspension;
pub mod validation;
pub mod wire;

/// The version of every document that is made for programs.
pub const API_VERSION: &str = "trueup/v1";

/// Documents of one kind.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct List<T> {
    /// `trueup/v1`.
    pub api_version: &'static str,
    /// `PassReportList`, `AppList`, …
    pub kind: &'static str,
    /// In the order of the manifests.
    pub items: Vec<T>,
}

impl<T> List<T> {
    /// These, as that kind.
    pub fn new(kind: &'static str, items: Vec<T>) -> Self {
        Self { api_version: API_VERSION, kind, items }
    }
}
