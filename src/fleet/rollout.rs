//! Carries a rollout out: what may be begun is decided by [`decide::fleet`](crate::decide::fleet), and done here.
//!
//! In: the terms and the hosts. Out: [`Rolled`], what became of each. No more hosts at a time than are allowed, nothing
//! begun that was not ordered, and the end of everything written down before the next is asked for. Begin at [`roll_out`].

use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use tokio::time::{Instant, sleep};

use super::course::Course;
use super::phase::FleetNews;
use super::reach::Reach;
use super::report::Rolled;
use super::task::carry_out;
use super::work::{StopWish, Target, Work};
use crate::decide::fleet::next;
use crate::model::fleet::HostName;
use crate::model::names::ReleaseId;
use crate::model::rollout::{Doing, Next, Order, Terms};

/// What every host is asked for.
#[derive(Debug, Clone)]
pub struct RolloutOptions {
    /// The release that is rolled out.
    pub release: ReleaseId,
    /// How long another pass on a host is waited for.
    pub wait: Duration,
    /// Whatever windows say.
    pub ignore_windows: bool,
    /// Whatever keeps the release out: that is lifted, and it is tried again.
    pub retry: bool,
    /// Which release is gone back to; none: each host's own last proven one.
    pub back_to: Option<ReleaseId>,
    /// How many hosts of the App are not meant, and not asked for anything.
    pub others: usize,
    /// Whether each host's last pass is kept as a document.
    pub keep: bool,
}

/// Rolls out over these hosts; they change in the order of `order`, which names each of them once.
pub async fn roll_out<R: Reach>(
    work: &Work<'_, R>,
    terms: &Terms,
    way: &RolloutOptions,
    targets: &[Target],
    order: &[HostName],
) -> Rolled {
    let began = Instant::now();
    let mut course = Course::new(targets, order, way);
    // All in one task: what is in hand shares nothing, and what ends is written down in one place.
    let mut running = FuturesUnordered::new();
    // A host that has to stay as it is takes no turn; the questions whether it does are turns of their own.
    let mut holding = FuturesUnordered::new();
    let ending = loop {
        match next(terms, &course.progress) {
            Next::Done(ending) => break ending,
            Next::Wait => {}
            Next::Do(Order::Pause { after, length }) => {
                work.watch().news(None, &FleetNews::Pause { before: course.waves() + 1, length });
                tokio::select! {
                    biased;
                    () = work.wished(StopWish::NoMore) => course.progress.interrupted = true,
                    () = sleep(length) => course.progress.pauses = after,
                }
                continue;
            }
            Next::Do(order) => {
                let (hosts, task) = course.take(order, terms, work.watch());
                if task.doing() == Doing::TakeBack {
                    holding.clear();
                    course.let_go();
                }
                let holds = task.doing() == Doing::Hold;
                let room = if holds { usize::MAX } else { work.forks().saturating_sub(running.len()) };
                for host in hosts.iter().take(room) {
                    let Some((place, target)) = course.begin(host, task.doing(), targets) else { continue };
                    let task = task.clone();
                    let hand = async move {
                        let began = Instant::now();
                        let done = carry_out(work, way, target, &task).await;
                        (place, task, done, began.elapsed())
                    };
                    if holds { holding.push(hand.boxed_local()) } else { running.push(hand.boxed_local()) }
                }
            }
        }
        if running.is_empty() && holding.is_empty() {
            // Nothing is in hand and nothing may be begun: rather an early end than none.
            break course.cut_short(terms);
        }
        let (place, task, done, took) = tokio::select! {
            biased;
            () = work.wished(StopWish::Leave) => break course.cut_short(terms),
            () = work.wished(StopWish::NoMore), if !course.progress.interrupted => {
                course.progress.interrupted = true;
                continue;
            }
            Some(ended) = running.next() => ended,
            Some(ended) = holding.next() => ended,
        };
        course.end(place, &task, done, took, work.watch());
    };
    drop((running, holding));
    course.close(ending, began.elapsed(), work.watch())
}
