//! `diff` and `status`: look at this host and touch nothing.
//!
//! Both are a pass that may change nothing, so they see exactly what `reconcile` would see.

use std::time::Duration;

use super::Failure;
use super::host::{on_this_host, pass as make_pass};
use super::load::{apps, here, select};
use super::options::{Format, Paths, Selection};
use super::output::{Output, yaml};
use super::render::problem::Complaint;
use super::render::status::Entry;
use super::render::{markdown, preview, report, status as text};
use crate::decide::history::asked_to_end;
use crate::decide::status as decide;
use crate::documents::app::{self, document, problems, unreadable};
use crate::documents::{List, pass};
use crate::engine::events::Silent;
use crate::manifest::Loaded;
use crate::model::report::{Mode, PassReport, worst};
use crate::model::status::{AppStatus, Verdict};

/// Shows what differs; 0: nothing, 1: something, 2: it could not be told.
///
/// # Errors
/// When the manifests are wrong or the host cannot be looked at at all.
pub fn diff(selection: &Selection, output: Output) -> Result<u8, Failure> {
    let loaded = here(select(selection)?)?;
    let reports = look(&selection.paths, &loaded)?;
    match output.format {
        Format::Json | Format::Yaml => output.document(&pass::passes(&reports))?,
        Format::Text | Format::Markdown => output.text(&previews(&loaded, &reports, output))?,
    }
    let code = |report: &PassReport| match &report.before {
        None => 2,
        Some(_) if unreadable(&report.difference) => 2,
        Some(_) => u8::from(!report.difference.is_empty()),
    };
    Ok(reports.iter().map(code).max().unwrap_or(0))
}

/// Shows what is; 0: all is well, 1: it could not be told, 2: something differs, 3: not healthy.
///
/// # Errors
/// When the manifests are wrong or the host cannot be looked at at all.
pub fn status(selection: &Selection, output: Output) -> Result<u8, Failure> {
    if output.format == Format::Markdown {
        let complaint = Complaint::new("`status` has no markdown form").help("choose text, json or yaml");
        return Err(Failure::Usage(complaint));
    }
    let loaded = here(select(selection)?)?;
    let reports = look(&selection.paths, &loaded)?;
    let mut found: Vec<(AppStatus, u8)> =
        loaded.iter().zip(&reports).map(|(one, report)| judged(one, report)).collect::<Result<_, _>>()?;
    tell_who_drains(&loaded, &mut found)?;
    match output.format {
        Format::Text | Format::Markdown => {
            let entries: Vec<Entry<'_>> = loaded
                .iter()
                .zip(&reports)
                .zip(&found)
                .map(|((one, report), (status, _))| Entry { app: &one.app, status, problems: problems(one, report) })
                .collect();
            output.text(&text::status(&entries, output.width))?;
        }
        Format::Json => {
            let items = loaded.iter().zip(&found).map(|(one, (status, _))| document(one, status)).collect();
            output.document(&List::new("AppList", items))?;
        }
        Format::Yaml => {
            let documents = loaded.iter().zip(&found).map(|(one, (status, _))| yaml(&document(one, status)));
            output.text(&documents.collect::<Result<Vec<_>, _>>()?.join("---\n"))?;
        }
    }
    Ok(worst(found.iter().map(|(_, code)| *code)))
}

/// Adds which workers were asked to end, by the journal: of a stale worker nothing else shows that.
fn tell_who_drains(loaded: &[Loaded], found: &mut [(AppStatus, u8)]) -> Result<(), Failure> {
    let is_stale = |status: &AppStatus| {
        let mut members = status.workers.iter().flat_map(|group| &group.members);
        members.any(|member| member.verdict == Verdict::Stale)
    };
    if !found.iter().any(|(status, _)| is_stale(status)) {
        return Ok(());
    }
    on_this_host("trueup status", None, None, async |host| {
        for (one, (status, _)) in loaded.iter().zip(found).filter(|(_, (status, _))| is_stale(status)) {
            // Without its journal the status is as true as before, and says less.
            let entries = host.journaled(&one.app.root).await.unwrap_or_default();
            decide::mark_draining(status, &asked_to_end(&one.app.name, entries));
        }
    })
}

/// One pass that changes nothing.
pub(super) fn look(manifests: &Paths, loaded: &[Loaded]) -> Result<Vec<PassReport>, Failure> {
    make_pass(manifests, &apps(loaded), Mode::DryRun, Duration::ZERO, false, &Silent)
}

/// What would be done, App by App, as text or Markdown.
#[must_use]
pub fn previews(loaded: &[Loaded], reports: &[PassReport], output: Output) -> String {
    let markdown = output.format == Format::Markdown;
    let one = |(one, report): (&Loaded, &PassReport)| match &report.before {
        None if markdown => markdown::unobserved(&report.app, &report.problems),
        None => report::unobserved(report),
        Some(observed) if markdown => {
            markdown::preview(&one.app, observed, &report.difference, &report.plan, report.withheld.as_ref())
        }
        Some(observed) => {
            let withheld = report.withheld.as_ref();
            preview::preview(&one.app, observed, &report.difference, &report.plan, withheld, output.width)
        }
    };
    let previews: Vec<String> = loaded.iter().zip(reports).map(one).collect();
    // Settled Apps are one line each and stand close together.
    let mut text = String::new();
    for preview in previews {
        if !text.is_empty() && (markdown || preview.lines().nth(1).is_some() || text.ends_with("\n\n")) {
            text.push('\n');
        }
        text.push_str(&preview);
    }
    text
}

/// The status of one App, and its exit code.
fn judged(one: &Loaded, report: &PassReport) -> Result<(AppStatus, u8), Failure> {
    let status = app::status(one, report)
        .map_err(|error| Failure::Complaint(Complaint::new("cannot name the spec").cause(error.to_string())))?;
    Ok((status, app::exit_code(report)))
}
