//! The manifest's document, with its status.

use serde::Serialize;

use crate::decide::status as decide;
use crate::manifest::Loaded;
use crate::manifest::shape::{ApiVersion, Kind, Metadata, Spec};
use crate::model::report::PassReport;
use crate::model::status::AppStatus;

/// The manifest's document with its status.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AppDocument<'a> {
    api_version: Option<ApiVersion>,
    kind: Option<Kind>,
    metadata: &'a Option<Metadata>,
    spec: &'a Option<Spec>,
    status: &'a AppStatus,
}

/// The document as it was written, with that status.
#[must_use]
pub fn document<'a>(one: &'a Loaded, status: &'a AppStatus) -> AppDocument<'a> {
    let written = &one.document;
    AppDocument {
        api_version: written.api_version,
        kind: written.kind,
        metadata: &written.metadata,
        spec: &written.spec,
        status,
    }
}

/// The status that the last look of a pass shows.
///
/// # Errors
/// When the spec has no JSON form.
pub fn status(one: &Loaded, report: &PassReport) -> Result<AppStatus, serde_json::Error> {
    let generation = decide::generation(&one.document.spec)?;
    Ok(match &report.after {
        Some(observed) => decide::status_of(&one.app, generation, observed, &report.remaining, report.withheld.clone()),
        None => {
            let why: Vec<&str> = report.problems.iter().map(|problem| problem.message.as_str()).collect();
            decide::unobserved(&one.app, generation, &why.join("; "))
        }
    })
}

/// The status of an App that was not looked at, for that reason.
///
/// # Errors
/// When the spec has no JSON form.
pub fn unobserved(one: &Loaded, why: &str) -> Result<AppStatus, serde_json::Error> {
    Ok(decide::unobserved(&one.app, decide::generation(&one.document.spec)?, why))
}
