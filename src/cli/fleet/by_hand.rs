//! `retry` and `rollback` over the hosts of one App.

use super::chosen::{One, chosen, refuse_own_environment};
use super::documents::pass_list;
use super::run::{HostsContext, Kind, over_hosts};
use super::{HostsOutcome, roll};
use crate::cli::Failure;
use crate::cli::elsewhere::word as shell_word;
use crate::cli::options::Global;
use crate::cli::options::operate::{Retry, Rollback};
use crate::cli::output::Output;
use crate::cli::person::person;
use crate::cli::render::{fleet, fleet_back};
use crate::engine::operate::reason_to_take_back;
use crate::fleet::back::go_back;
use crate::fleet::report::Rolled;
use crate::fleet::rollout::RolloutOptions;
use crate::manifest::Loaded;

/// Rolls the App out as `reconcile` does, and lets its release in on each host that keeps it out.
///
/// # Errors
/// There are no such hosts, or it could not begin at all.
pub fn retry(written: &Loaded, options: &Retry, global: &Global, output: Output) -> Result<u8, Failure> {
    let apps = chosen(std::slice::from_ref(written), &options.hosts)?;
    refuse_own_environment(&apps)?;
    let came = over_hosts(Kind::Rollout, &options.hosts, global, async |context: &HostsContext<'_>| {
        let mut each = Vec::new();
        for one in &apps {
            let release = one.loaded.app.release.id.clone();
            let (wait, ignore_windows, keep) = (options.wait.wait, options.ignore_windows, output.is_document());
            let way =
                RolloutOptions { release, wait, ignore_windows, retry: true, back_to: None, others: one.others, keep };
            each.push(roll(context, one, &way).await);
        }
        each
    })?;
    show(&apps, &came, |one, rolled, width| fleet::rolled(&one.loaded.app, &one.fleet.hosts, rolled, width), output)
}

/// Has those of the App's hosts go back that have its release in force.
///
/// # Errors
/// There are no such hosts, or it could not begin at all.
pub fn rollback(written: &Loaded, options: &Rollback, global: &Global, output: Output) -> Result<u8, Failure> {
    let apps = chosen(std::slice::from_ref(written), &options.hosts)?;
    let reason = reason_to_take_back(options.reason.as_deref(), &person());
    let came = over_hosts(Kind::Rollout, &options.hosts, global, async |context: &HostsContext<'_>| {
        let mut each = Vec::new();
        for one in &apps {
            let (release, back_to) = (one.loaded.app.release.id.clone(), options.to.clone());
            let (wait, keep) = (options.wait.wait, output.is_document());
            // A way back is gone at any time.
            let way =
                RolloutOptions { release, wait, ignore_windows: true, retry: false, back_to, others: one.others, keep };
            each.push(context.with(one, async |work| go_back(work, &way, &reason, &one.targets).await).await);
        }
        each
    })?;
    let face = |one: &One<'_>, rolled: &Rolled, width| {
        let manifest = one.loaded.source.path.as_deref().map(|path| shell_word(&path.to_string_lossy()));
        fleet_back::gone_back(&one.loaded.app, &one.fleet.hosts, rolled, manifest.as_deref(), width)
    };
    show(&apps, &came, face, output)
}

/// Prints what came of it; the exit code of the worst host.
fn show(
    apps: &[One<'_>],
    came: &HostsOutcome<Rolled>,
    face: impl Fn(&One<'_>, &Rolled, Option<usize>) -> String,
    output: Output,
) -> Result<u8, Failure> {
    if output.is_document() {
        output.document(&pass_list(&[], apps, &came.each))?;
    } else {
        let told = apps.iter().zip(&came.each).map(|(one, rolled)| face(one, rolled, output.width));
        output.text(&told.collect::<String>())?;
    }
    Ok(came.code(|rolled| rolled.ending.exit_code()))
}
