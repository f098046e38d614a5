//! Going back on many hosts, as a person wishes.
//!
//! In: which release is taken back, and why. Out: [`Rolled`], what became of each host. All are looked at; then those
//! go back that [`goes_back`] names, each by itself and so many at a time. There are no waves and no limit of failures: a
//! host that cannot be reached, or has nothing to go back to, keeps no other one from it. Begin at [`go_back`].

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::time::Instant;

use super::course::left;
use super::document_budget::DocumentBudget;
use super::phase::{FleetNews, Phase};
use super::reach::Reach;
use super::report::{HostReport, Migrations, Rolled, Trouble};
use super::rollout::RolloutOptions;
use super::task::{Done, Fact, Task, carry_out};
use super::work::{StopWish, Target, Work};
use crate::decide::fleet::goes_back;
use crate::model::rollout::{Found, HostVerdict, Patience, RolloutEnding, RolloutOutcome};

/// The exit code of a host that has gone back, and is not healthy there.
const SICK: u8 = 3;

/// Has these hosts go back from `way.release`, each to `way.back_to` or to its own last proven one. The reason is for
/// their records. After a wish for no more none is begun; after one to leave none is awaited.
pub async fn go_back<R: Reach>(work: &Work<'_, R>, way: &RolloutOptions, reason: &str, targets: &[Target]) -> Rolled {
    let began = Instant::now();
    let hosts = targets.iter().map(|target| HostReport::new(target.host.name.clone())).collect();
    let mut back = Back { work, way, hosts, budget: DocumentBudget::new(way.keep) };
    let mut due = BTreeSet::new();
    // Whether they are well decides nothing, and the way back is not to wait for it.
    let look = Task::Observe { patience: Patience::NONE };
    let take = |at, done, _| {
        if back.seen(at, done) {
            due.insert(at);
        }
    };
    on_each(work, way, targets, (0..targets.len()).collect(), &look, take).await;
    if !due.is_empty() {
        work.watch().says(None, &format!("{} of {} hosts go back", due.len(), targets.len()));
    }
    let task = Task::TakeBack { reason: reason.to_owned() };
    let take = |at, done, took| back.gone(at, done, took);
    let in_hand = on_each(work, way, targets, due.into_iter().collect(), &task, take).await;
    back.close(&in_hand, began.elapsed())
}

/// Carries a task out on the hosts at these places, so many at a time, and hands each end on. Returns those at which it
/// is still in hand, where a person wishes to leave.
async fn on_each<R: Reach>(
    work: &Work<'_, R>,
    way: &RolloutOptions,
    targets: &[Target],
    mut places: VecDeque<usize>,
    task: &Task,
    mut ended: impl FnMut(usize, Done, Duration),
) -> BTreeSet<usize> {
    let mut running = FuturesUnordered::new();
    let mut in_hand = BTreeSet::new();
    loop {
        while work.wish() == StopWish::GoOn && running.len() < work.forks() {
            let Some(at) = places.pop_front() else { break };
            let Some(target) = targets.get(at) else { continue };
            in_hand.insert(at);
            running.push(async move {
                let began = Instant::now();
                (at, carry_out(work, way, target, task).await, began.elapsed())
            });
        }
        tokio::select! {
            biased;
            () = work.wished(StopWish::Leave) => return in_hand,
            next = running.next() => {
                let Some((at, done, took)) = next else { return in_hand };
                in_hand.remove(&at);
                ended(at, done, took);
            }
        }
    }
}

/// What is known of each host so far.
struct Back<'a, R> {
    work: &'a Work<'a, R>,
    way: &'a RolloutOptions,
    /// In the order of the targets.
    hosts: Vec<HostReport>,
    budget: DocumentBudget,
}

impl<R: Reach> Back<'_, R> {
    /// Takes in what a host looks like; whether it is to go back.
    fn seen(&mut self, at: usize, done: Done) -> bool {
        let Some(host) = self.hosts.get_mut(at) else { return false };
        let RolloutOptions { release, back_to, .. } = self.way;
        let verdict = match done.report {
            Some(report) if !report.summary.observed => {
                host.take(*report, &mut self.budget);
                HostVerdict::Untold
            }
            Some(report) => {
                let (current, kept_out) = (report.summary.current.clone(), report.summary.kept_out.is_some());
                // What is wrong with the release is why it is taken back, and no trouble of the way there.
                self.budget.keep(&mut host.document, &host.name, "PassReport", &report.document);
                host.see(report.summary);
                let goes = goes_back(release, back_to.as_ref(), current.as_ref(), kept_out);
                if goes { HostVerdict::NotReached } else { HostVerdict::Settled }
            }
            None if done.fact == Fact::Found(None) => HostVerdict::Unseen,
            None if done.fact == Fact::Found(Some(Found::Refused)) => HostVerdict::Declined,
            None => HostVerdict::Unreachable,
        };
        self.tell(at, verdict, done.trouble);
        verdict == HostVerdict::NotReached
    }

    /// Takes in how a host has gone back.
    fn gone(&mut self, at: usize, done: Done, took: Duration) {
        let Some(host) = self.hosts.get_mut(at) else { return };
        host.took = took;
        let verdict = if let Some(report) = done.report {
            let stays = report.summary.current.as_ref() == Some(&self.way.release);
            let verdict = match report.exit_code {
                0 if !stays => HostVerdict::GoneBack,
                SICK if !stays => HostVerdict::NotHealthy,
                _ => HostVerdict::NotTakenBack,
            };
            host.take(*report, &mut self.budget);
            verdict
        } else {
            host.forget(&mut self.budget);
            HostVerdict::NotTakenBack
        };
        self.tell(at, verdict, done.trouble);
    }

    fn tell(&mut self, at: usize, verdict: HostVerdict, trouble: Option<Trouble>) {
        let Some(host) = self.hosts.get_mut(at) else { return };
        host.verdict = verdict;
        let watch = self.work.watch();
        if let Some(trouble) = trouble {
            watch.news(Some(&host.name), &FleetNews::Trouble(&trouble));
            host.trouble(trouble);
        }
        let waits = matches!(verdict, HostVerdict::NotReached | HostVerdict::Unseen);
        watch.phase(&host.name, &if waits { Phase::Waiting } else { Phase::Ended(verdict) });
    }

    /// What is reported in the end; at those in hand nobody waits any more.
    fn close(mut self, in_hand: &BTreeSet<usize>, took: Duration) -> Rolled {
        for at in in_hand {
            if let Some(host) = self.hosts.get_mut(*at) {
                host.forget(&mut self.budget);
                self.tell(*at, HostVerdict::NotTakenBack, Some(left()));
            }
        }
        let is_left = |host: &HostReport| matches!(host.verdict, HostVerdict::NotReached | HostVerdict::Unseen);
        let cut_short = !in_hand.is_empty() || self.hosts.iter().any(is_left);
        let how = if cut_short { RolloutOutcome::Interrupted } else { RolloutOutcome::Complete };
        let hosts: Vec<_> = self.hosts.iter().map(|host| (host.name.clone(), host.verdict)).collect();
        self.work.watch().news(None, &FleetNews::Ended { how: Some(how), hosts: &hosts, took });
        let is_bad = |host: &&HostReport| {
            matches!(
                host.verdict,
                HostVerdict::NotTakenBack
                    | HostVerdict::NotHealthy
                    | HostVerdict::Unreachable
                    | HostVerdict::Declined
                    | HostVerdict::Untold
            )
        };
        let ending = RolloutEnding { how, failed: self.hosts.iter().filter(is_bad).count(), hosts };
        // Nothing of the migrations is undone, and none are run.
        Rolled { ending, hosts: self.hosts, waves: 0, migrations: Migrations::default(), took }
    }
}

#[cfg(test)]
#[path = "back_tests.rs"]
mod tests;
