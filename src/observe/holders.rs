//! Processes for whose sake a release that nobody needs is kept all the same: they name it in nothing that every process
//! shows, and still use it, such as by a file that is open.
//!
//! All open files of the machine are gone over for that, so they are looked for only where a release would go next.

use std::collections::BTreeSet;
use std::path::PathBuf;

use crate::decide::aim::aimed;
use crate::decide::diff::diff;
use crate::decide::plan::plan_for;
use crate::model::action::Phase;
use crate::model::app::App;
use crate::model::drift::Drift;
use crate::model::names::ReleaseId;
use crate::model::observed::{Evidence, Observed, Runs, Stray};
use crate::model::process::{Pid, ProcessTable};
use crate::observe::strays::shown;
use crate::ports::{Host, HostError};

/// Why such a process is never stopped.
const SPARED: &str = "it may use no more than some files of the release";

/// One process for each release that would go and is used; none of the workers, which are `owned`: they leave it before.
///
/// # Errors
/// Nobody can tell.
pub async fn holders<H: Host>(
    host: &H,
    app: &App,
    observed: &Observed,
    table: &ProcessTable,
    owned: &BTreeSet<Pid>,
) -> Result<Vec<Stray>, HostError> {
    let surplus = surplus(app, observed);
    if surplus.is_empty() {
        return Ok(Vec::new());
    }
    let directories: Vec<PathBuf> = surplus.iter().map(|id| observed.layout.releases_path.join(id.as_str())).collect();
    let found = host.holders(directories, owned.clone()).await?;
    let strays = found.into_iter().filter_map(|holder| {
        let id = surplus.get(holder.directory)?.clone();
        let command = table.get(holder.process.pid).map(|process| shown(&process.command)).unwrap_or_default();
        Some(Stray {
            process: holder.process,
            evidence: Evidence { runs: Runs::Release { id }, rung: None, seen: holder.seen },
            command,
            orphan_of: None,
            spared: Some(SPARED.to_owned()),
        })
    });
    Ok(strays.collect())
}

/// The releases that would go, where nothing else is to be done before.
fn surplus(app: &App, observed: &Observed) -> Vec<ReleaseId> {
    let app = aimed(app, &observed.aim);
    let difference = diff(&app, observed);
    if plan_for(&app, &difference).next() != Some(Phase::Prune) {
        return Vec::new();
    }
    let surplus = difference.drift.into_iter().filter_map(|drift| match drift {
        Drift::ReleaseSurplus { release, .. } => Some(release),
        _ => None,
    });
    surplus.collect()
}
