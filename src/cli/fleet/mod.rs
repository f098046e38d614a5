//! Apps with hosts: the same verbs, carried out on other machines.
//!
//! [`mod@chosen`] tells which hosts are meant, [`run`] reaches them, and each verb is a function here. What is seen
//! meanwhile is drawn by [`screen`], or logged by [`logged`]; what is printed in the end is rendered by
//! [`render::fleet`](super::render::fleet).

pub mod chosen;
mod documents;
pub mod logged;
pub mod run;
pub mod screen;

use std::convert::Infallible;
use std::time::Duration;

use tokio::time::Instant;

pub use self::chosen::{One, chosen, part};
pub use self::documents::{app_list, pass_list};
use self::run::{Ground, Kind, over_hosts};
use super::Failure;
use super::options::fleet::Hosts;
use super::options::{Global, Reconcile};
use crate::documents::wire::Operation;
use crate::fleet::groups::Looked;
use crate::fleet::look::look;
use crate::fleet::report::Rolled;
use crate::fleet::rollout::{Way, roll_out};
use crate::fleet::work::Wish;
use crate::model::report::worst;
use crate::model::rollout::{Terms, Verdict};

/// The exit code after a second wish to stop, as shells count SIGINT.
const INTERRUPTED: u8 = 130;

/// What came of a verb over hosts.
pub struct Came<T> {
    /// One for each App, in their order; fewer where a person wanted no more of it.
    pub each: Vec<T>,
    /// What was wished in the end.
    pub wish: Wish,
}

impl<T> Came<T> {
    /// The worst exit code of these.
    pub fn code(&self, of: impl Fn(&T) -> u8, all: usize) -> u8 {
        if self.wish == Wish::Leave {
            return INTERRUPTED;
        }
        // An App that was left out is an error.
        let left = u8::from(self.each.len() < all);
        worst(self.each.iter().map(of).chain([left]))
    }
}

/// Rolls every App out over its hosts, one App after the other.
///
/// # Errors
/// When it could not begin at all.
pub fn rolled(apps: &[One<'_>], options: &Reconcile, global: &Global, keep: bool) -> Result<Came<Rolled>, Failure> {
    over_hosts(Kind::Rollout, &options.hosts, global, async |ground: &Ground<'_>| {
        let mut each = Vec::new();
        for one in apps {
            if ground.wish() > Wish::GoOn {
                break;
            }
            let terms = Terms::new(&one.loaded.app, &one.fleet.rollout);
            let release = one.loaded.app.release.id.clone();
            let way = Way { release, wait: options.wait, ignore_windows: options.ignore_windows, keep };
            let order: Vec<_> = one.fleet.in_order().into_iter().map(|host| host.name.clone()).collect();
            each.push(ground.with(one, async |work| roll_out(work, &terms, &way, &one.targets, &order).await).await);
        }
        each
    })
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
) -> Result<Came<Looked>, Failure> {
    over_hosts(Kind::Look, hosts, global, async |ground: &Ground<'_>| {
        let mut each = Vec::new();
        for one in apps {
            if ground.wish() > Wish::GoOn {
                break;
            }
            let began = Instant::now();
            let mut looked = Looked::new(one.targets.iter().map(|target| target.host.name.clone()), keep);
            let take = |at, took: Duration, answer| looked.take(at, took, answer);
            ground.with(one, async |work| look(work, &one.targets, operation, take).await).await;
            each.push(looked.done(began.elapsed()));
        }
        each
    })
}

/// The exit code of `reconcile --dry-run`.
#[must_use]
pub fn dry_run_code(looked: &Looked, detailed: bool) -> u8 {
    worst(looked.hosts.iter().zip(&looked.codes).map(|(host, code)| match (code, host.verdict) {
        (None, _) => 1,
        (Some(_), Verdict::NotReached) if detailed => 2,
        (Some(code), _) => *code,
    }))
}

/// The exit code of `diff`.
#[must_use]
pub fn diff_code(looked: &Looked) -> u8 {
    let one = |host: &crate::fleet::report::HostReport| match &host.summary {
        Some(summary) if summary.observed => u8::from(summary.differs || summary.kept_out.is_some()),
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
