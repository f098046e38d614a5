//! `releases`: what is known of each release of an App, and who uses it.

use std::time::Duration;

use super::Failure;
use super::host::on_this_host;
use super::in_force;
use super::inspect::look;
use super::options::Format;
use super::options::operate::{One, Releases as Options};
use super::output::Output;
use super::render::problem::Complaint;
use super::render::releases as text;
use crate::decide::inventory::inventory;
use crate::documents::releases::ReleaseList;
use crate::model::names::ReleaseId;

/// How long sizes are looked for, of all releases together.
const SIZES_WITHIN: Duration = Duration::from_secs(3);

/// Lists the releases.
///
/// # Errors
/// When the manifests are wrong, or the host could not be looked at.
pub fn run(options: &Options, output: Output) -> Result<u8, Failure> {
    output.refuse_markdown("releases")?;
    let One { app, paths, .. } = &options.one;
    let loaded = in_force::one(app, paths, &options.in_force)?;
    let reports = look(paths, std::slice::from_ref(&loaded), true)?;
    let app = &loaded.app;
    let Some((report, observed)) = reports.first().and_then(|report| Some((report, report.before.as_ref()?))) else {
        let problem = reports.first().and_then(|report| report.problems.first());
        let complaint = Complaint::new(format!("cannot look at the releases of `{}`", app.name));
        let why = problem.map(|problem| problem.message.clone());
        let help = problem.and_then(|problem| problem.help.clone());
        return Err(Failure::Complaint(Complaint { causes: why.into_iter().collect(), help, ..complaint }));
    };
    let mut items = inventory(app, observed, &report.difference);
    let ids: Vec<ReleaseId> = items.iter().map(|one| one.id.clone()).collect();
    let sizes =
        on_this_host("trueup releases", None, None, async |host| host.sizes(&app.root, &ids, SIZES_WITHIN).await)?;
    for (one, size) in items.iter_mut().zip(sizes) {
        one.size_bytes = size;
    }
    match output.format {
        Format::Text | Format::Markdown => output.text(&text::releases(&items, observed.at, output.width))?,
        Format::Json | Format::Yaml => output.document(&ReleaseList::new(app, observed.at, &items))?,
    }
    Ok(0)
}
