//! Which processes name a release of which root, by rungs 1 to 3 of the ladder; nothing else is asked or run.

use futures_util::future::join_all;

use crate::model::app::App;
use crate::model::inventory::Witness;
use crate::model::process::Look;
use crate::observe::evidence::names_release;
use crate::ports::{Host, HostError};

/// The processes of each App's root, ordered by pid; the answers are in the order of the Apps. Every process is
/// looked at once, whoever owns it. Neither managers nor applications are asked: a manifest decides whom to ask,
/// and whoever wrote it may have fewer rights than we have.
///
/// # Errors
/// The processes cannot be listed.
pub async fn evidence<H: Host>(host: &H, apps: &[&App]) -> Result<Vec<Result<Vec<Witness>, HostError>>, HostError> {
    let layouts = join_all(apps.iter().map(|app| host.layout(app))).await;
    let table = host.walk().await?;
    let mut all: Vec<Result<Vec<Witness>, HostError>> = layouts.iter().map(|_| Ok(Vec::new())).collect();
    for (found, layout) in all.iter_mut().zip(&layouts) {
        if let Err(error) = layout {
            *found = Err(error.clone());
        }
    }
    for process in table.processes.iter().filter(|process| !process.zombie && process.id.pid != host.own()) {
        let Look::Seen(facts) = host.facts(process.id.pid).await else { continue };
        for ((app, layout), found) in apps.iter().zip(&layouts).zip(&mut all) {
            if let (Ok(layout), Ok(found)) = (layout, found)
                && let Some(evidence) = names_release(&app.root, layout, &facts)
            {
                found.push(Witness { process: facts.summary.id, uid: facts.summary.uid, evidence });
            }
        }
    }
    Ok(all)
}
