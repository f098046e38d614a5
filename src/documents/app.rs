//! The manifest's document, with its status.

use serde::Serialize;

use crate::decide::standing::{self, Standing};
use crate::decide::{explain, status as decide};
use crate::manifest::Loaded;
use crate::manifest::shape::{ApiVersion, Kind, Metadata, Spec};
use crate::model::drift::{Blocker, Difference};
use crate::model::observed::Aim;
use crate::model::report::{PassReport, Problem};
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
    Ok(if let Some(observed) = &report.after {
        let mut status = decide::status_of(&one.app, generation, observed, &report.remaining, report.withheld.clone());
        let at_work = report.at_work.as_deref().map(|holder| (holder, observed.at));
        standing::add(&mut status, &Standing { at_work, ..Standing::default() });
        status
    } else {
        let why: Vec<&str> = report.problems.iter().map(|problem| problem.message.as_str()).collect();
        decide::unobserved(&one.app, generation, &why.join("; "))
    })
}

/// The status of an App that was not looked at, for that reason.
///
/// # Errors
/// When the spec has no JSON form.
pub fn unobserved(one: &Loaded, why: &str) -> Result<AppStatus, serde_json::Error> {
    Ok(decide::unobserved(&one.app, decide::generation(&one.document.spec)?, why))
}

/// The status of an App that has disappeared from the manifests, and is left running.
///
/// # Errors
/// When the spec has no JSON form.
pub fn left_alone(one: &Loaded) -> Result<AppStatus, serde_json::Error> {
    Ok(decide::left_alone(&one.app, decide::generation(&one.document.spec)?))
}

/// The exit code of `status` for a pass that only looked; 0: all is well, 1: it could not be told, 2: something
/// differs, 3: not healthy.
#[must_use]
pub fn exit_code(report: &PassReport) -> u8 {
    let Some(observed) = &report.before else { return 1 };
    let sick = observed.health_in_force().is_some_and(|verdict| !verdict.healthy);
    match () {
        () if unreadable(&report.difference) => 1,
        () if sick || observed.aim != Aim::Desired => 3,
        () if !report.difference.is_empty() => 2,
        () => 0,
    }
}

/// Whether it could not be told what differs.
#[must_use]
pub fn unreadable(difference: &Difference) -> bool {
    let unread = |one: &Blocker| matches!(one, Blocker::GroupUnreadable { .. } | Blocker::ServiceUnreadable { .. });
    difference.blockers.iter().any(unread)
}

/// What went wrong in a pass, and what stands in the way after it.
#[must_use]
pub fn problems(one: &Loaded, report: &PassReport) -> Vec<Problem> {
    let kept_out = report.after.as_ref().and_then(|observed| explain::kept_out(&one.app, observed));
    let blockers = report.remaining.blockers.iter().map(|blocker| explain::blocker(&one.app, blocker));
    let blockers = kept_out.into_iter().chain(blockers);
    let stalled = report.remaining.stalled.iter().map(|stalled| explain::stalled(&one.app, stalled));
    report.problems.iter().cloned().chain(blockers).chain(stalled).collect()
}
