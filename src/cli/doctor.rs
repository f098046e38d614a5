//! `doctor`: looks for the known traps of this host, and says what puts each right. Changes nothing.

use jiff::Timestamp;

use super::Failure;
use super::host::on_this_host;
use super::in_force;
use super::load::{apps, here};
use super::options::Format;
use super::options::inspect::Doctor;
use super::output::Output;
use super::render::doctor::{self as text, Checked};
use crate::decide::doctor as decide;
use crate::decide::doctor::programs::needed;
use crate::documents::doctor::DoctorReport;

/// Checks the host; 0: nothing but notes, 1: it could not be checked, 2: warnings, or something could not be told,
/// 3: errors.
///
/// # Errors
/// When the manifests are wrong or the host cannot be looked at at all.
pub fn run(options: &Doctor, verbose: bool, output: Output) -> Result<u8, Failure> {
    output.refuse_markdown("doctor")?;
    let loaded = here(&in_force::select(&options.selection, &options.in_force)?)?;
    let apps = apps(&loaded);
    let (host, found) = on_this_host("trueup doctor", None, None, async |host| {
        let facts = host.host_facts(&apps).await?;
        let mut found = Vec::new();
        for app in &apps {
            let seen = host.app_facts(app, needed(app)).await;
            found.push(decide::app(app, &facts, &seen));
        }
        Ok::<_, Failure>((decide::host(&facts, &apps), found))
    })??;
    let code = decide::exit_code(found.iter().flatten().chain(&host));
    match output.format {
        Format::Text | Format::Markdown => {
            let of_apps = apps.iter().zip(&found).map(|(app, found)| Checked::app(app, found));
            let all: Vec<Checked<'_>> = of_apps.chain([Checked::host(&host)]).collect();
            output.text(&text::doctor(&all, verbose, output.width))?;
        }
        Format::Json | Format::Yaml => {
            let of_apps = apps.iter().copied().zip(found.iter().map(Vec::as_slice));
            output.document(&DoctorReport::new(Timestamp::now(), &host, of_apps))?;
        }
    }
    Ok(code)
}
