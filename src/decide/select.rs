//! Which members of a group stay, which go, which are new.

use std::collections::BTreeSet;

use crate::decide::freshness::{Freshness, freshness};
use crate::model::app::{App, WorkerGroup};
use crate::model::names::MemberName;
use crate::model::observed::{MemberState, Observed, Worker};

/// The members of one group, sorted into those that make up `count` and the rest.
#[derive(Debug, Clone, PartialEq)]
pub struct Selection<'a> {
    /// Members that make up `count`, ordered by ordinal.
    pub keep: Vec<(&'a Worker, Freshness)>,
    /// Members beyond `count` that run, or would come back, ordered by ordinal.
    pub surplus: Vec<&'a Worker>,
    /// Members beyond `count` that are on their way out, ordered by ordinal.
    pub leaving: Vec<&'a Worker>,
    /// Names of members that are not there yet, where the manager allows new ones.
    pub missing: Vec<MemberName>,
    /// How many are wanted beyond what a manager with a fixed set offers.
    pub beyond: u32,
}

/// Chooses the members that cost the fewest actions: those that are right already stay,
/// stale and failed ones go first, then the highest numbers.
#[must_use]
pub fn select<'a>(app: &App, observed: &Observed, group: &WorkerGroup, members: &'a [Worker]) -> Selection<'a> {
    let mut ranked: Vec<(Rank, &Worker, Freshness)> = members
        .iter()
        .map(|worker| {
            let freshness = freshness(app, observed, group, worker);
            (rank(worker, &freshness), worker, freshness)
        })
        .collect();
    ranked.sort_by_key(|(rank, worker, _)| (*rank, worker.ordinal));

    let count = usize::try_from(group.count).unwrap_or(usize::MAX);
    let rest = ranked.split_off(count.min(ranked.len()));
    let mut keep: Vec<(&Worker, Freshness)> =
        ranked.into_iter().map(|(_, worker, freshness)| (worker, freshness)).collect();
    keep.sort_by_key(|(worker, _)| worker.ordinal);
    let rest: Vec<&Worker> = rest.into_iter().map(|(_, worker, _)| worker).collect();
    let mut leaving: Vec<&Worker> =
        rest.iter().filter(|worker| worker.state == MemberState::Stopping).copied().collect();
    leaving.sort_by_key(|worker| worker.ordinal);
    let mut surplus: Vec<&Worker> = rest.into_iter().filter(|worker| occupies(worker)).collect();
    surplus.sort_by_key(|worker| worker.ordinal);

    let lacking = group.count.saturating_sub(u32::try_from(keep.len()).unwrap_or(u32::MAX));
    let missing = missing(group, members, lacking);
    let beyond = lacking.saturating_sub(u32::try_from(missing.len()).unwrap_or(u32::MAX));
    Selection { keep, surplus, leaving, missing, beyond }
}

/// The first `lacking` names that no member has, as far as the manager allows new ones.
fn missing(group: &WorkerGroup, members: &[Worker], lacking: u32) -> Vec<MemberName> {
    if lacking == 0 {
        return Vec::new();
    }
    let present: BTreeSet<u32> = members.iter().map(|worker| worker.ordinal).collect();
    (1..=u32::MAX)
        .filter(|ordinal| !present.contains(ordinal))
        .map_while(|ordinal| group.member(ordinal))
        .take(usize::try_from(lacking).unwrap_or(usize::MAX))
        .collect()
}

/// How dear it is to keep a member: the lower, the better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    FreshAndUp,
    FreshAndStarting,
    ComingBack,
    NotFresh,
    /// Not known is not absent: it may well be running, so it holds its place.
    Unknown,
    Leaving,
    DownButEnabled,
    Down,
    Failed,
}

fn rank(worker: &Worker, freshness: &Freshness) -> Rank {
    match worker.state {
        MemberState::Running if *freshness == Freshness::Fresh => Rank::FreshAndUp,
        MemberState::Starting if *freshness == Freshness::Fresh => Rank::FreshAndStarting,
        MemberState::Running | MemberState::Starting => Rank::NotFresh,
        MemberState::Backoff => Rank::ComingBack,
        MemberState::Stopping => Rank::Leaving,
        MemberState::Stopped | MemberState::Exited => {
            if worker.enabled == Some(true) {
                Rank::DownButEnabled
            } else {
                Rank::Down
            }
        }
        MemberState::Failed => Rank::Failed,
        MemberState::Unknown => Rank::Unknown,
    }
}

/// It takes a place that it should not: it runs, is about to, or would after a reboot.
fn occupies(worker: &Worker) -> bool {
    match worker.state {
        MemberState::Running | MemberState::Starting | MemberState::Backoff => true,
        MemberState::Stopping | MemberState::Stopped | MemberState::Exited | MemberState::Failed => {
            worker.enabled == Some(true)
        }
        // What it is cannot be told; `diff` says so.
        MemberState::Unknown => false,
    }
}
