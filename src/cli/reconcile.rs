//! `reconcile`: bring this host to what the manifests say.

use super::Failure;
use serde_json::json;

use super::agent_client::AgentClient;
use super::host::{pass, waiting};
use super::inspect::previews;
use super::live::Live;
use super::load::{apps, here, select};
use super::operate::person;
use super::options::{Format, Global, LogFormat, Reconcile};
use super::output::Output;
use super::render::problem::Complaint;
use super::render::report;
use crate::documents::pass::passes;
use crate::engine::events::{Listener, Silent};
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
    let loaded = here(select(&options.selection)?)?;
    let mode = if options.dry_run { Mode::DryRun } else { Mode::Apply };
    let (paths, wait) = (&options.selection.paths, options.wait);
    let reports = pass(paths, &apps(&loaded), mode, wait, options.ignore_windows, &*listener(global))?;
    match output.format {
        Format::Json | Format::Yaml => output.document(&passes(&reports))?,
        Format::Text | Format::Markdown if options.dry_run => output.text(&previews(&loaded, &reports, output))?,
        Format::Text | Format::Markdown => output.text(&results(&loaded, &reports, output))?,
    }
    Ok(worst(reports.iter().map(|report| report.exit_code(options.detailed_exitcode))))
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
