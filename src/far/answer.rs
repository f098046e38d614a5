//! From a pass to what is said of it. Pure.

use serde_json::{Value, json};

use crate::decide::aim::quarantine;
use crate::decide::withhold;
use crate::documents::app::{self, document, problems};
use crate::documents::pass;
use crate::documents::wire::bounds;
use crate::documents::wire::{Failed, Fault, Health, Report, Shown, Status, Summary};
use crate::manifest::Loaded;
use crate::model::names::HostName;
use crate::model::observed::{Link, Observed};
use crate::model::report::{Mode, Outcome, PassReport, Problem};
use crate::model::status::AppStatus;

/// How things are shown to people; it is done where the facts are, since only what it makes is small enough to travel.
/// All of it without colour.
#[derive(Debug, Clone, Copy)]
pub struct Renderers {
    /// The unified diff from what is to what should be; empty when nothing differs.
    pub diff: fn(&Loaded, &PassReport) -> String,
    /// All that a dry run shows.
    pub preview: fn(&Loaded, &PassReport) -> String,
    /// All that `status` shows.
    pub status: fn(&Loaded, &AppStatus, Vec<Problem>) -> String,
}

/// What a host looks like after a pass.
///
/// # Errors
/// The manifest has no JSON form.
pub fn summary(one: &Loaded, report: &PassReport) -> Result<Summary, Failed> {
    let status = app::status(one, report).map_err(|error| formless(&error))?;
    let observed = report.after.as_ref();
    let records = observed.map(|observed| observed.records.as_slice()).unwrap_or_default();
    let health = observed.and_then(Observed::health_in_force);
    let (mut running, mut fresh) = (0, 0);
    for numbers in status.workers.iter().filter_map(|group| group.numbers) {
        running += numbers.running;
        fresh += numbers.fresh;
    }
    Ok(Summary {
        release: report.release.clone(),
        current: match observed.map(|observed| &observed.layout.link) {
            Some(Link::Release { id }) => Some(id.clone()),
            _ => None,
        },
        observed: observed.is_some(),
        differs: !report.remaining.is_empty(),
        unreadable: app::unreadable(&report.remaining),
        actions: match report.mode {
            Mode::DryRun => report.plan.steps.len(),
            Mode::Apply => report.remaining.drift.len(),
        },
        withheld: report.withheld.as_ref().map(withhold::words),
        kept_out: quarantine(&one.app, records).map(|quarantine| quarantine.reason.clone()),
        healthy: health.map(|verdict| verdict.healthy),
        complaint: health.and_then(crate::model::health::HealthVerdict::complaint),
        migrated: records.iter().any(|record| record.id == report.release && record.migrated.is_some()),
        proven: records.iter().any(|record| record.id == report.release && record.proven.is_some()),
        desired: one.app.workers.iter().map(|group| group.count).sum(),
        running,
        fresh,
        problems: problems(one, report),
    })
}

/// What is there, of a pass that changed nothing.
///
/// # Errors
/// The manifest has no JSON form.
pub fn status(one: &Loaded, report: &PassReport, status: &AppStatus, renderers: &Renderers) -> Result<Status, Failed> {
    Ok(Status {
        exit_code: app::exit_code(report),
        summary: summary(one, report)?,
        document: bounds::document(serde_json::to_value(document(one, status)).map_err(|error| formless(&error))?),
        text: (renderers.status)(one, status, problems(one, report)),
    })
}

/// What a pass did, or would do. `back`: it was made to go back.
///
/// # Errors
/// It has no JSON form.
pub fn report(
    one: &Loaded,
    made: &PassReport,
    host: &HostName,
    renderers: &Renderers,
    back: bool,
) -> Result<Report, Failed> {
    let mut document = serde_json::to_value(pass::pass(made)).map_err(|error| formless(&error))?;
    if let Value::Object(keys) = &mut document {
        keys.insert("host".to_owned(), json!(host));
    }
    let done = made.tried.iter().filter(|one| one.problem.is_none()).count();
    let shown = || Shown { diff: (renderers.diff)(one, made), text: (renderers.preview)(one, made) };
    Ok(Report {
        exit_code: if back { code_back(made) } else { made.exit_code(false) },
        outcome: made.outcome,
        took: made.took,
        done,
        failed: made.tried.len() - done,
        summary: summary(one, made)?,
        shown: (made.mode == Mode::DryRun).then(shown),
        document: bounds::document(document),
    })
}

/// Where the way back was gone before, that it stays there is what was asked for.
fn code_back(made: &PassReport) -> u8 {
    let sick = made.after.as_ref().and_then(|after| after.health.as_ref()).is_some_and(|verdict| !verdict.healthy);
    if made.outcome == Outcome::Quarantined && !sick { 0 } else { made.exit_code_of_rollback() }
}

/// Whether it is healthy, of a pass that changed nothing.
///
/// # Errors
/// The manifest has no JSON form.
pub fn health(one: &Loaded, report: &PassReport) -> Result<Health, Failed> {
    let verdict = report.after.as_ref().and_then(|observed| observed.health.clone());
    Ok(Health { verdict, summary: summary(one, report)? })
}

fn formless(error: &serde_json::Error) -> Failed {
    Failed::new(Fault::Other, "the answer has no JSON form").cause(error.to_string())
}

#[cfg(test)]
#[path = "answer_tests.rs"]
mod tests;
