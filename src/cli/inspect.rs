//! `diff` and `status`: look at this host, or at others, and touch nothing.
//!
//! Both are a pass that may change nothing, so they see exactly what `reconcile` would see.

use std::time::Duration;

use serde_json::Value;

use super::Failure;
use super::about::About;
use super::fleet;
use super::host::{on_this_host, pass as make_pass, request};
use super::in_force;
use super::load::{apps, select, select_sound, select_unapproved};
use super::options::fleet::Look;
use super::options::inspect::Diff;
use super::options::{Format, Global, Paths};
use super::output::{Output, say, yaml};
use super::render::preview::DryRun;
use super::render::problem::Complaint;
use super::render::status::Entry;
use super::render::style::{DIM, paint};
use super::render::words::safe;
use super::render::{self, markdown, preview, report, status as text};
use crate::decide::history::asked_to_end;
use crate::decide::status as decide;
use crate::documents::app::{self, document, problems, unreadable};
use crate::documents::wire::Operation;
use crate::documents::{List, pass};
use crate::engine::events::Silent;
use crate::manifest::Loaded;
use crate::model::observed::Aim;
use crate::model::report::{Mode, PassReport, worst};
use crate::model::status::{AppStatus, WorkerVerdict};

/// Shows what differs; 0: nothing, 1: something, 2: it could not be told, 130: nobody waited for it.
///
/// # Errors
/// When the manifests are wrong or the host cannot be looked at at all.
pub fn diff(options: &Diff, global: &Global, output: Output) -> Result<u8, Failure> {
    let Diff { look: options, no_probe } = options;
    let loaded = if *no_probe { select_unapproved(&options.selection) } else { meant(options) };
    let (here, theirs) = fleet::part(loaded?, &options.hosts);
    let apps = fleet::chosen(&theirs, &options.hosts)?;
    let reports = if here.is_empty() { Vec::new() } else { look(&options.selection.paths, &here, !no_probe)? };
    say_who_is_at_work(&reports);
    let code = |report: &PassReport| match &report.before {
        None => 2,
        Some(_) if unreadable(&report.difference) => 2,
        // What the manifest names is not in force while its release is kept out.
        Some(observed) => u8::from(!report.difference.is_empty() || observed.aim != Aim::Desired),
    };
    if theirs.is_empty() {
        match output.format {
            Format::Json | Format::Yaml => output.document(&pass::passes(&reports))?,
            Format::Text | Format::Markdown => output.text(&previews(&here, &reports, output))?,
        }
        return Ok(reports.iter().map(code).max().unwrap_or(0));
    }
    let operation = Operation::DryRun { ignore_windows: false, retry: false };
    let came = fleet::looked(&apps, &operation, &options.hosts, global, output.is_document())?;
    if output.is_document() {
        output.document(&fleet::pass_list(&reports, &apps, &came.each))?;
    } else {
        let own = previews(&here, &reports, output);
        output.text(&fleet::joined(own, &apps, &came.each, |one, looked| fleet::preview(one, looked, output)))?;
    }
    Ok(reports.iter().map(code).chain([fleet::diff_code(&came)]).max().unwrap_or(0))
}

/// Shows what is; 0: all is well, 1: it could not be told, 2: something differs, 3: not healthy.
///
/// # Errors
/// When the manifests are wrong or the host cannot be looked at at all.
pub fn status(options: &Look, global: &Global, output: Output) -> Result<u8, Failure> {
    output.refuse_markdown("status")?;
    let Meant { loaded, about, incomplete } = Meant::new(options)?;
    let incomplete = u8::from(incomplete);
    let (here, theirs) = fleet::part(loaded, &options.hosts);
    let apps = fleet::chosen(&theirs, &options.hosts)?;
    let own = || status_here(&options.selection.paths, &here, about.as_ref());
    if theirs.is_empty() {
        return Ok(worst([own()?.print(output)?, incomplete].into_iter()));
    }
    let own = if here.is_empty() { None } else { Some(own()?) };
    let came = fleet::looked(&apps, &Operation::Observe, &options.hosts, global, output.is_document())?;
    if output.is_document() {
        let own = own.as_ref().map(Here::values).transpose()?.unwrap_or_default();
        output.document(&fleet::app_list(own, &apps, &came.each))?;
    } else {
        let own = own.as_ref().map(|own| own.text(output)).unwrap_or_default();
        let face = |one: &fleet::One<'_>, looked: &_| {
            render::fleet::status(&one.loaded.app, &one.fleet.hosts, looked, output.width)
        };
        output.text(&fleet::joined(own, &apps, &came.each, face))?;
    }
    let theirs = came.code(fleet::status_code);
    // Of codes that are equally bad the last one counts: that it was cut short.
    Ok(worst([incomplete, own.as_ref().map_or(0, Here::code), theirs].into_iter()))
}

/// The Apps that were asked for. Whoever chooses among hosts means these, and no agent of this one.
fn meant(options: &Look) -> Result<Vec<Loaded>, Failure> {
    if options.hosts.is_choice() {
        return select(&options.selection);
    }
    in_force::select(&options.selection, &options.in_force)
}

/// The same to be shown, with what else there is to be told.
struct Meant {
    loaded: Vec<Loaded>,
    /// What the agent says of itself, where they are what it has in force.
    about: Option<About>,
    /// Files are left out, for they are wrong.
    incomplete: bool,
}

impl Meant {
    fn new(options: &Look) -> Result<Self, Failure> {
        let mut incomplete = false;
        let mut here = || {
            let (loaded, is_incomplete) = select_sound(&options.selection)?;
            incomplete = is_incomplete;
            Ok(loaded)
        };
        let (loaded, about) = if options.hosts.is_choice() {
            (here()?, None)
        } else {
            in_force::select_standing(&options.selection, &options.in_force, here)?
        };
        Ok(Self { loaded, about, incomplete })
    }
}

/// The Apps of this host, and what they look like.
struct Here<'a> {
    loaded: &'a [Loaded],
    reports: Vec<PassReport>,
    found: Vec<(AppStatus, u8)>,
}

fn status_here<'a>(manifests: &Paths, loaded: &'a [Loaded], about: Option<&About>) -> Result<Here<'a>, Failure> {
    let reports = look(manifests, loaded, true)?;
    let mut found: Vec<(AppStatus, u8)> =
        loaded.iter().zip(&reports).map(|(one, report)| judged(one, report)).collect::<Result<_, _>>()?;
    for (one, (status, code)) in loaded.iter().zip(&mut found) {
        if let Some(about) = about {
            *code = worst([*code, about.add(&one.app.name, status)].into_iter());
        }
    }
    tell_who_drains(loaded, &mut found)?;
    Ok(Here { loaded, reports, found })
}

impl Here<'_> {
    fn print(&self, output: Output) -> Result<u8, Failure> {
        match output.format {
            Format::Text | Format::Markdown => output.text(&self.text(output))?,
            Format::Json => {
                let items =
                    self.loaded.iter().zip(&self.found).map(|(one, (status, _))| document(one, status)).collect();
                output.document(&List::new("AppList", items))?;
            }
            Format::Yaml => {
                let documents =
                    self.loaded.iter().zip(&self.found).map(|(one, (status, _))| yaml(&document(one, status)));
                output.text(&documents.collect::<Result<Vec<_>, _>>()?.join("---\n"))?;
            }
        }
        Ok(self.code())
    }

    fn text(&self, output: Output) -> String {
        let all = self.loaded.iter().zip(&self.reports).zip(&self.found);
        let entries: Vec<Entry<'_>> = all
            .map(|((one, report), (status, _))| Entry { app: &one.app, status, problems: problems(one, report) })
            .collect();
        text::status(&entries, output.width)
    }

    fn values(&self) -> Result<Vec<Value>, Failure> {
        let value = |(one, (status, _)): (&Loaded, &(AppStatus, u8))| serde_json::to_value(document(one, status));
        let values: Result<Vec<_>, _> = self.loaded.iter().zip(&self.found).map(value).collect();
        values.map_err(|error| Failure::Complaint(Complaint::new("cannot print the result").cause(error.to_string())))
    }

    fn code(&self) -> u8 {
        worst(self.found.iter().map(|(_, code)| *code))
    }
}

/// Adds which workers were asked to end, by the journal: of a stale worker nothing else shows that.
fn tell_who_drains(loaded: &[Loaded], found: &mut [(AppStatus, u8)]) -> Result<(), Failure> {
    let is_stale = |status: &AppStatus| {
        let mut members = status.workers.iter().flat_map(|group| &group.members);
        members.any(|member| member.verdict == WorkerVerdict::Stale)
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
pub(super) fn look(manifests: &Paths, loaded: &[Loaded], approval: bool) -> Result<Vec<PassReport>, Failure> {
    make_pass(manifests, &apps(loaded), &request(Mode::DryRun, Duration::ZERO, false), approval, &Silent)
}

/// Says whose passes are under way: what is seen beside one is not what it will leave behind.
pub(super) fn say_who_is_at_work(reports: &[PassReport]) {
    for report in reports {
        let Some((holder, seen)) = report.at_work.as_ref().zip(report.after.as_ref()) else { continue };
        say(&format!("{}: {}: {}\n", paint(DIM, "note"), report.app, safe(&holder.words(seen.at))));
    }
}

/// What would be done, App by App, as text or Markdown.
#[must_use]
pub fn previews(loaded: &[Loaded], reports: &[PassReport], output: Output) -> String {
    let markdown = output.format == Format::Markdown;
    let one = |(one, report): (&Loaded, &PassReport)| {
        let Some(observed) = &report.before else {
            return if markdown {
                markdown::unobserved(&report.app, &report.problems)
            } else {
                report::unobserved(report)
            };
        };
        let (difference, plan, withheld) = (&report.difference, &report.plan, report.withheld.as_ref());
        let dry_run = DryRun { app: &one.app, observed, difference, plan, withheld };
        if markdown { markdown::preview(&dry_run) } else { preview::preview(&dry_run, output.width) }
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
