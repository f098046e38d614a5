//! `doctor`: looks for the known traps of this host, and says what puts each right. Changes nothing.

use jiff::Timestamp;
use serde::Serialize;

use super::Failure;
use super::host::on_this_host;
use super::in_force;
use super::load::{apps, here};
use super::operate::{failure, refuse_markdown};
use super::options::{Doctor, Format};
use super::output::Output;
use super::render::doctor::{self as text, Checked};
use crate::decide::doctor as decide;
use crate::decide::doctor::programs::needed;
use crate::documents::API_VERSION;
use crate::model::finding::{Finding, Severity};
use crate::model::names::{AppName, Root};

/// All that was found.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report<'a> {
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

/// Checks the host; 0: nothing but notes, 1: it could not be checked, 2: warnings, or something could not be told,
/// 3: errors.
///
/// # Errors
/// When the manifests are wrong or the host cannot be looked at at all.
pub fn run(options: &Doctor, verbose: bool, output: Output) -> Result<u8, Failure> {
    refuse_markdown("doctor", output)?;
    let loaded = here(in_force::select(&options.selection, &options.in_force)?)?;
    let apps = apps(&loaded);
    let (host, found) = on_this_host("trueup doctor", None, None, async |host| {
        let facts = host.host_facts().await?;
        let mut found = Vec::new();
        for app in &apps {
            let seen = host.app_facts(app, needed(app)).await;
            found.push(decide::app(app, &facts, &seen));
        }
        Ok((decide::host(&facts, &apps), found))
    })?
    .map_err(failure)?;
    let code = decide::exit_code(found.iter().flatten().chain(&host));
    match output.format {
        Format::Text | Format::Markdown => {
            let of_apps = apps.iter().zip(&found).map(|(app, found)| Checked::app(app, found));
            let all: Vec<Checked<'_>> = of_apps.chain([Checked::host(&host)]).collect();
            output.text(&text::doctor(&all, verbose, output.width))?;
        }
        Format::Json | Format::Yaml => {
            let worst = |found: &[Finding]| found.iter().map(|one| one.severity).max().unwrap_or(Severity::Ok);
            let items: Vec<Item<'_>> = apps
                .iter()
                .zip(&found)
                .map(|(app, findings)| Item { app: &app.name, root: &app.root, severity: worst(findings), findings })
                .collect();
            let severity = items.iter().map(|item| item.severity).chain([worst(&host)]).max().unwrap_or(Severity::Ok);
            let (api_version, kind, observed_at) = (API_VERSION, "DoctorReport", Timestamp::now());
            output.document(&Report { api_version, kind, observed_at, severity, host: &host, items })?;
        }
    }
    Ok(code)
}
