//! Apps with hosts: the same verbs, carried out on other machines.
//!
//! [`mod@chosen`] tells which hosts are meant, [`run`] reaches them, and each verb is a function here. What is seen
//! meanwhile is drawn by [`screen`], or logged by [`logged`]; what is printed in the end is rendered by
//! [`render::fleet`](super::render::fleet). What a person takes back, or tries again, is in [`by_hand`].

pub mod by_hand;
mod causes;
pub mod chosen;
mod documents;
mod joined;
pub mod logged;
pub mod run;
pub mod screen;

use std::convert::Infallible;

use tokio::time::Instant;

pub use self::chosen::{One, chosen, part, refuse_own_environment};
pub use self::documents::{Told, app_list, pass_list};
pub use self::joined::{joined, preview};
use self::run::{HostsContext, Kind, over_hosts};
use super::options::Global;
use super::options::fleet::Hosts;
use super::options::reconcile::Reconcile;
use super::{Failure, INTERRUPTED};
use crate::documents::wire::Operation;
use crate::fleet::groups::Looked;
use crate::fleet::look::look;
use crate::fleet::phase::FleetNews;
use crate::fleet::report::Rolled;
use crate::fleet::rollout::{RolloutOptions, roll_out};
use crate::fleet::work::StopWish;
use crate::model::report::worst;
use crate::model::rollout::{HostVerdict, Terms};

/// What came of a verb over hosts.
pub struct HostsOutcome<T> {
    /// One for each App, in their order; of those that a person wanted no more of, that they were left out.
    pub each: Vec<T>,
    /// What was wished in the end.
    pub wish: StopWish,
}

impl<T> HostsOutcome<T> {
    /// The worst exit code of these.
    pub fn code(&self, of: impl Fn(&T) -> u8) -> u8 {
        if self.wish == StopWish::Leave { INTERRUPTED } else { worst(self.each.iter().map(of)) }
    }
}

/// Rolls every App out over its hosts, one App after the other: that all hosts are looked at before anything is changed
/// holds for each App.
///
/// # Errors
/// When it could not begin at all.
pub fn rolled(
    apps: &[One<'_>],
    options: &Reconcile,
    global: &Global,
    keep: bool,
) -> Result<HostsOutcome<Rolled>, Failure> {
    over_hosts(Kind::Rollout, &options.hosts, global, async |context: &HostsContext<'_>| {
        let mut each = Vec::new();
        for one in apps {
            if context.wish() > StopWish::GoOn {
                each.push(Rolled::left_out(one.names()));
                continue;
            }
            let release = one.loaded.app.release.id.clone();
            let Reconcile { wait, ignore_windows, .. } = *options;
            let way =
                RolloutOptions { release, wait, ignore_windows, retry: false, back_to: None, others: one.others, keep };
            each.push(roll(context, one, &way).await);
        }
        each
    })
}

/// Rolls one App out over its hosts.
async fn roll(context: &HostsContext<'_>, one: &One<'_>, way: &RolloutOptions) -> Rolled {
    let terms = Terms::new(&one.loaded.app, &one.fleet.rollout);
    let order: Vec<_> = one.fleet.in_order().into_iter().map(|host| host.name.clone()).collect();
    context.with(one, async |work| roll_out(work, &terms, way, &one.targets, &order).await).await
}

/// Of a person who wanted no more before it began: nobody is looked at.
#[must_use]
pub fn left_out(apps: &[One<'_>]) -> HostsOutcome<Rolled> {
    HostsOutcome { each: apps.iter().map(|one| Rolled::left_out(one.names())).collect(), wish: StopWish::NoMore }
}

/// Looks at every host of every App, one App after the other.
///
/// # Errors
/// When it could not begin at all.
pub fn looked(
    apps: &[One<'_>],
    operation: &Operation,
    hosts: &Hosts,
    global: &Global,
    keep: bool,
) -> Result<HostsOutcome<Looked>, Failure> {
    over_hosts(Kind::Look, hosts, global, async |context: &HostsContext<'_>| {
        let mut each = Vec::new();
        for one in apps {
            if context.wish() > StopWish::GoOn {
                each.push(Looked::new(one.names(), keep));
                continue;
            }
            let looking = context.with(one, async |work| {
                let (began, mut looked) = (Instant::now(), Looked::new(one.names(), keep));
                look(work, &one.targets, operation, |at, took, answer| looked.take(at, took, answer)).await;
                let looked = looked.done(began.elapsed());
                let hosts: Vec<_> = looked.hosts.iter().map(|host| (host.name.clone(), host.verdict)).collect();
                work.watch().news(None, &FleetNews::Ended { how: None, hosts: &hosts, took: looked.took });
                looked
            });
            each.push(looking.await);
        }
        each
    })
}

/// The exit code of `reconcile --dry-run`.
#[must_use]
pub fn dry_run_code(looked: &Looked, detailed: bool) -> u8 {
    worst(looked.hosts.iter().zip(&looked.codes).map(|(host, code)| match (code, host.verdict) {
        (None, _) => 1,
        // What differs does so also where no pass would put it right now.
        (Some(0), verdict) if detailed && verdict != HostVerdict::Settled => 2,
        (Some(code), _) => *code,
    }))
}

/// The exit code of `diff`.
#[must_use]
pub fn diff_code(came: &HostsOutcome<Looked>) -> u8 {
    // Not the worst of the others: that something cannot be told outweighs that something differs.
    if came.wish == StopWish::Leave { INTERRUPTED } else { came.each.iter().map(difference).max().unwrap_or(0) }
}

fn difference(looked: &Looked) -> u8 {
    let one = |host: &crate::fleet::report::HostReport| match &host.summary {
        Some(summary) if summary.observed && !summary.unreadable => {
            u8::from(summary.differs || summary.kept_out.is_some())
        }
        _ => 2,
    };
    looked.hosts.iter().map(one).max().unwrap_or(0)
}

/// The exit code of `status`.
#[must_use]
pub fn status_code(looked: &Looked) -> u8 {
    worst(looked.codes.iter().map(|code| code.unwrap_or(1)))
}

/// What never returns has returned.
fn never<T>(never: Infallible) -> T {
    match never {}
}

#[cfg(test)]
#[path = "code_tests.rs"]
mod tests;
