//! `reconcile`: bring this host to what the manifests say.

use serde_json::json;

use super::Failure;
use super::agent_client::AgentClient;
use super::fleet;
use super::host::{pass, waiting};
use super::inspect::previews;
use super::live::Live;
use super::load::{apps, select};
use super::operate::person;
use super::options::{Format, Global, LogFormat, Reconcile};
use super::output::Output;
use super::render::problem::Complaint;
use super::render::{self, report};
use crate::documents::pass::passes;
use crate::documents::wire::Operation;
use crate::engine::events::{Listener, Silent};
use crate::fleet::groups::Looked;
use crate::manifest::Loaded;
use crate::model::report::{Mode, PassReport, worst};

/// Makes a pass and reports it; the exit code of the worst App.
///
/// # Errors
/// When the manifests are wrong or no pass could begin.
pub fn run(options: &Reconcile, global: &Global, output: Output) -> Result<u8, Failure> {
    if output.format == Format::Markdown && !options.dry_run {
        let complaint = Complaint::new("`--format markdown` shows what would be done, not what was done");
        return Err(Failure::Usage(complaint.help("add `--dry-run`, or choose text, json or yaml")));
    }
    if options.by.request {
        return request(options, output);
    }
    if options.by.no_wait {
        // The parser forgives this one beside a PATH, which `--request` rules out.
        let complaint = Complaint::new("`--no-wait` goes with `--request`: a pass made here is always waited for");
        let help = "add `--request` and name no PATH, or leave `--no-wait` out; `--wait 0s` waits for no other pass";
        return Err(Failure::Usage(complaint.help(help)));
    }
    let (here, theirs) = fleet::part(select(&options.selection)?);
    if theirs.is_empty() && !options.hosts.is_choice() {
        let reports = on_this_host(&here, options, global)?;
        match output.format {
            Format::Json | Format::Yaml => output.document(&passes(&reports))?,
            Format::Text | Format::Markdown => output.text(&told(&here, &reports, options, output))?,
        }
        return Ok(code(&reports, options));
    }
    let apps = fleet::chosen(&theirs, &options.hosts)?;
    // Only these hosts: not this one, then.
    let here = if options.hosts.is_choice() { Vec::new() } else { here };
    let reports = if here.is_empty() { Vec::new() } else { on_this_host(&here, options, global)? };
    let mut text = told(&here, &reports, options, output);
    let keep = matches!(output.format, Format::Json | Format::Yaml);
    let code = if options.dry_run {
        let operation = Operation::DryRun { ignore_windows: options.ignore_windows };
        let came = fleet::looked(&apps, &operation, &options.hosts, global, keep)?;
        if keep {
            output.document(&fleet::pass_list(&reports, &apps, &came.each))?;
        }
        for (one, looked) in apps.iter().zip(&came.each) {
            apart(&mut text, &looked_at(one, looked, output));
        }
        came.code(|looked| fleet::dry_run_code(looked, options.detailed_exitcode), apps.len())
    } else {
        let came = fleet::rolled(&apps, options, global, keep)?;
        if keep {
            output.document(&fleet::pass_list(&reports, &apps, &came.each))?;
        }
        for (one, rolled) in apps.iter().zip(&came.each) {
            apart(&mut text, &render::fleet::rolled(&one.loaded.app, rolled, output.width));
        }
        came.code(|rolled| rolled.ending.exit_code(), apps.len())
    };
    if !keep {
        output.text(&text)?;
    }
    Ok(worst([self::code(&reports, options), code].into_iter()))
}

/// What would be done on the hosts of one App.
pub(super) fn looked_at(one: &fleet::One<'_>, looked: &Looked, output: Output) -> String {
    match output.format {
        Format::Markdown => render::fleet::markdown(&one.loaded.app, looked),
        Format::Text | Format::Json | Format::Yaml => render::fleet::looked(&one.loaded.app, looked, output.width),
    }
}

/// Adds a part, an empty line before it.
pub(super) fn apart(text: &mut String, part: &str) {
    if !text.is_empty() {
        text.push('\n');
    }
    text.push_str(part);
}

fn on_this_host(here: &[Loaded], options: &Reconcile, global: &Global) -> Result<Vec<PassReport>, Failure> {
    let mode = if options.dry_run { Mode::DryRun } else { Mode::Apply };
    pass(&options.selection.paths, &apps(here), mode, options.wait, options.ignore_windows, &*listener(global))
}

fn told(here: &[Loaded], reports: &[PassReport], options: &Reconcile, output: Output) -> String {
    if options.dry_run { previews(here, reports, output) } else { results(here, reports, output) }
}

fn code(reports: &[PassReport], options: &Reconcile) -> u8 {
    worst(reports.iter().map(|report| report.exit_code(options.detailed_exitcode)))
}

/// Has the agent make passes.
fn request(options: &Reconcile, output: Output) -> Result<u8, Failure> {
    let agent = AgentClient::new(&options.by.socket, person());
    let apps = &options.selection.apps;
    let body = if apps.is_empty() { json!({}) } else { json!({"apps": apps}) };
    let path = format!("/api/v1/reconcile?wait={}", !options.by.no_wait);
    let answer = waiting(agent.post(&path, &body, output))?.map_err(|why| agent.missing(&why))?;
    answer.show(output)
}

/// Who is told what goes on meanwhile.
#[must_use]
pub fn listener(global: &Global) -> Box<dyn Listener> {
    // A log in JSON tells the same; a program that reads it wants nothing else in between.
    if global.log_format == LogFormat::Json { Box::new(Silent) } else { Box::new(Live::new()) }
}

fn results(loaded: &[Loaded], reports: &[PassReport], output: Output) -> String {
    loaded.iter().zip(reports).map(|(one, report)| report::report(&one.app, report, output.width)).collect()
}
