//! The agent: passes when something changes, and what outsiders see of them.
//!
//! In: a [`Source`] of manifests, [`Senses`] that tell of the host, [`orders`] from people and programs, and time. Out:
//! passes, made by the engine over any [`Host`], and a [`Board`]. The loop decides nothing about releases and workers,
//! and not even when a pass is due: that is `decide::schedule`. It sees to it that each App has one pass at a time,
//! that those which are due together share one look at the host, and that nobody waits for another one's troubles.
//!
//! Everything that takes time is a piece of work beside the loop; the loop itself never waits for one of them. What is
//! told of the host is a reason to look and never a fact, and what a look shows is compared with what the last pass
//! left behind: so our own deeds wake nobody. Begin at [`Agent::run`]; `tracked` is one App's place, `manifests` and
//! `passes` hold what the loop does with either.

pub mod agent_lock;
mod asking;
mod bad_news;
mod before;
pub mod board;
mod body;
mod counters;
pub mod deaths;
pub mod debounce;
mod edits;
pub mod forge;
pub mod git;
pub mod host_filter;
mod leaving;
mod looks;
mod manifests;
pub mod notify;
pub mod orders;
pub mod outbox;
mod passes;
mod post;
pub mod publisher;
pub mod reconfiguration;
pub mod registry;
pub mod senses;
pub mod service;
pub mod setup;
pub mod source;
mod state;
mod succession;
mod summary;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod tracked;
pub mod view;
pub mod watch;
pub mod web;

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use jiff::Timestamp;
use tokio::sync::{Semaphore, mpsc};
use tracing::{info, warn};

use self::asking::Askers;
use self::board::Board;
use self::manifests::Manifests;
use self::orders::{Operated, Operation, Order};
use self::publisher::Publisher;
use self::reconfiguration::Reconfiguration;
use self::registry::AppRegistry;
use self::senses::{HostNews, Senses};
use self::service::Service;
use self::source::{Found, Source, SourceProblem};
use self::succession::{Aliases, LeftRoot, LeftRootOutcome};
use self::tracked::{PendingOperation, TrackedApp};
use crate::decide::schedule::later;
use crate::documents::agent::Configuration;
use crate::engine::events::Listener;
use crate::engine::interrupt::Interrupt;
use crate::model::health::HealthVerdict;
use crate::model::memory::Memory;
use crate::model::names::AppName;
use crate::model::observed::Layout;
use crate::model::report::PassReport;
use crate::model::wake::Wake;
use crate::ports::{Host, HostError, HostErrorKind};

/// The loop looks at its clocks this often in any case: one of them may have been set.
const AT_LEAST: Duration = Duration::from_mins(1);

/// What the loop stands on, for as long as it runs.
pub struct AgentContext<'a, H> {
    /// The host.
    pub host: &'a H,
    /// Listens to all passes.
    pub listener: &'a dyn Listener,
    /// Where outsiders see what goes on.
    pub board: Board,
    /// Tells others.
    pub publisher: Publisher,
    /// The line to the service manager.
    pub service: Service,
    /// Ends the loop, between two steps of whatever pass.
    pub stop: Interrupt,
    /// So many Apps have their releases prepared at the same time; at least 1.
    pub concurrency: usize,
    /// Which Apps there were before the loop begins; it is kept up.
    pub registry: AppRegistry,
    /// Spreads timers and pauses: another for each host, always the same for one.
    pub seed: u64,
}

/// The agent's loop.
pub struct Agent<'a, H, S, W> {
    context: AgentContext<'a, H>,
    senses: W,
    orders: mpsc::Receiver<Order>,
    slots: Arc<Semaphore>,
    manifests: Manifests<S>,
    tracked: BTreeMap<AppName, TrackedApp>,
    /// Roots that their Apps have left, and whose workers are yet to be stopped.
    left_roots: Vec<LeftRoot>,
    /// What goes on beside the loop.
    work: FuturesUnordered<Pin<Box<dyn Future<Output = Done<S>> + 'a>>>,
    reports: mpsc::UnboundedReceiver<Reported>,
    report: mpsc::UnboundedSender<Reported>,
    /// Pieces of work that may change the host: the loop does not end before they have.
    acting: usize,
    /// Counts turns, of all Apps.
    turns: u64,
    /// The last time that was seen.
    now: Timestamp,
    beat_at: Option<Timestamp>,
    /// The agent's own, as it was last read.
    configuration: Configuration,
    stopping: bool,
}

/// A pass has ended, in this turn of its App.
struct Reported {
    turn: u64,
    report: Arc<PassReport>,
}

/// A piece of work has ended.
enum Done<S> {
    /// Passes, which have reported already.
    Passed,
    /// A look at the manifests, by the source that comes back.
    Manifests(S, Result<Found, SourceProblem>, Aliases),
    /// What the source remembers of before the agent began.
    Remembered(S, Found, Aliases),
    /// What is written down of each App from before the agent began.
    Recalled(Vec<(AppName, Memory)>),
    /// A look at an App's root.
    Layout(AppName, u64, Result<Layout, HostError>),
    /// A look at files that an App's workers read.
    Files(AppName, u64, Vec<edits::Found>),
    /// A question to an application.
    Asked(AppName, Option<HealthVerdict>),
    /// What a person has asked for.
    Operated(AppName, u64, PendingOperation, Result<Operated, HostError>),
    /// Workers at a root that their App has left.
    Parted(u64, LeftRootOutcome),
    /// Which Apps there are was written down.
    Written(Result<(), HostError>),
}

/// What the loop wakes up for.
enum Event<S> {
    Done(Done<S>),
    Reported(Reported),
    Order(Order),
    HostNews(HostNews),
    Stop,
    Time,
}

impl<'a, H: Host, S: Source + 'a, W: Senses> Agent<'a, H, S, W> {
    /// An agent that has done nothing yet.
    pub fn new(context: AgentContext<'a, H>, source: S, senses: W, orders: mpsc::Receiver<Order>) -> Self {
        let (report, reports) = mpsc::unbounded_channel();
        let now = context.host.now();
        let beat_at = context.service.beat().map(|_| now);
        Self {
            slots: Arc::new(Semaphore::new(context.concurrency.max(1))),
            context,
            senses,
            orders,
            manifests: Manifests::new(source, now),
            tracked: BTreeMap::new(),
            left_roots: Vec::new(),
            work: FuturesUnordered::new(),
            reports,
            report,
            acting: 0,
            turns: 0,
            now,
            beat_at,
            configuration: Configuration::default(),
            stopping: false,
        }
    }

    /// Runs until it is asked to stop: then the steps in hand end, and nothing new begins.
    pub async fn run(mut self) {
        loop {
            self.read_clock();
            if !self.stopping {
                self.look_at_manifests();
                self.grant_the_impatient();
                self.begin_what_is_due();
                self.say_farewell();
            } else if self.acting == 0 && self.reports.is_empty() {
                break;
            }
            match self.next_event().await {
                Event::Done(done) => self.done(done),
                Event::Reported(reported) => self.reported(reported),
                Event::Order(order) => self.order(order),
                Event::HostNews(news) => self.news(news),
                Event::Stop => self.stop(),
                Event::Time => {}
            }
        }
        info!("the agent has ended; the workers go on");
    }

    async fn next_event(&mut self) -> Event<S> {
        let pause = self.pause();
        tokio::select! {
            biased;
            () = self.context.stop.asked(), if !self.stopping => Event::Stop,
            Some(reported) = self.reports.recv() => Event::Reported(reported),
            Some(done) = self.work.next(), if !self.work.is_empty() => Event::Done(done),
            Some(order) = self.orders.recv() => Event::Order(order),
            news = self.senses.news() => Event::HostNews(news),
            () = self.context.host.sleep(pause) => Event::Time,
        }
    }

    /// How long nothing is to be done.
    fn pause(&self) -> Duration {
        let due = if self.stopping {
            None
        } else {
            let manifests = [self.manifests.due(), self.manifests.patience()].into_iter().flatten();
            let left_roots = self.left_roots.iter().filter_map(|left_root| left_root.schedule.due());
            self.tracked.values().filter_map(TrackedApp::due).chain(left_roots).chain(manifests).min()
        };
        let next = [due, self.beat_at].into_iter().flatten().min().unwrap_or_else(|| later(self.now, AT_LEAST));
        Duration::try_from(next.duration_since(self.now)).unwrap_or_default().min(AT_LEAST)
    }

    fn read_clock(&mut self) {
        let now = self.context.host.now();
        if now < self.now {
            warn!(was = %self.now, is = %now, "the clock was set back; every App is looked at");
            // What was due at some time is due at another one now.
            for tracked in self.tracked.values_mut() {
                tracked.clock_was_set(now);
            }
            for left_root in &mut self.left_roots {
                left_root.schedule.clock_was_set(now);
            }
            self.manifests.clock_was_set(now);
            self.beat_at = self.beat_at.map(|_| now);
        }
        self.now = now;
        if self.beat_at.is_some_and(|at| at <= now) {
            self.context.service.alive();
            self.beat_at = self.context.service.beat().map(|pause| later(now, pause));
        }
    }

    fn wake(&mut self, app: &AppName, wake: Wake) {
        if let Some(tracked) = self.tracked.get_mut(app) {
            self.context.board.woken(app, &wake);
            tracked.schedule.wake(wake, self.now);
            self.context.board.scheduled(app, tracked.schedule.state(self.now));
        }
    }

    fn wake_all(&mut self, wake: &Wake) {
        let apps: Vec<AppName> = self.tracked.keys().cloned().collect();
        for app in &apps {
            self.wake(app, wake.clone());
        }
    }

    fn news(&mut self, news: HostNews) {
        match news {
            HostNews::Manifests => self.manifests.stir(self.now),
            HostNews::Layout(app) => {
                if let Some(tracked) = self.tracked.get_mut(&app) {
                    tracked.stirred.stir(self.now);
                }
            }
            HostNews::Files(app) => {
                if let Some(tracked) = self.tracked.get_mut(&app) {
                    tracked.edits.stir(self.now);
                }
            }
            HostNews::Death { app, member } => {
                if self.tracked.get(&app).is_some_and(|tracked| tracked.mourns(&member)) {
                    // Its pass may wait; who asks meanwhile is to know.
                    self.context.board.died(&app, member.process);
                    self.wake(&app, Wake::Death { group: member.group, member: member.member });
                }
            }
        }
    }

    fn order(&mut self, order: Order) {
        match order {
            // A forge speaks of its repository, not of Apps.
            Order::Pushed { from } => {
                self.manifests.askers.pushed(from);
                self.manifests.look_now(self.now);
            }
            Order::Request(asked) if !self.stopping => {
                self.manifests.askers.ask(asked, self.now);
                self.manifests.look_now(self.now);
            }
            // Dropping `woken` tells whoever asked that the agent is ending.
            Order::Request(_) => {}
            Order::Reload(reconfiguration) => {
                let Reconfiguration { publisher, git, standing } = *reconfiguration;
                self.context.service.reloading();
                if let Some(publisher) = publisher {
                    self.context.publisher.renew(publisher);
                    // Who is told is written down.
                    self.context.registry.touch();
                }
                self.manifests.reload(git, self.now);
                self.context.board.configured(standing.clone());
                self.configuration = standing;
                self.wake_all(&Wake::Hangup);
            }
            Order::Operate { app, what, reply } => match self.tracked.get_mut(&app).filter(|_| !self.stopping) {
                Some(tracked) => {
                    // As `suspend` in a manifest. A rollback takes back what is in force: it ends no preparations.
                    if matches!(what, Operation::Suspend { .. }) {
                        tracked.cut_short();
                    }
                    tracked.errands.push_back(PendingOperation { what, reply });
                }
                None => {
                    let _ = reply.send(Err(self.nobody(&app)));
                }
            },
        }
    }

    fn nobody(&self, app: &AppName) -> HostError {
        if self.stopping {
            return HostError::new(HostErrorKind::Interrupted, "the agent is about to end");
        }
        HostError::new(HostErrorKind::NotApplicable, format!("the agent knows no App `{app}`"))
    }

    fn done(&mut self, done: Done<S>) {
        match done {
            Done::Passed => self.acting -= 1,
            Done::Manifests(source, found, aliases) => self.found(source, found, &aliases),
            Done::Remembered(source, found, aliases) => {
                self.manifests.askers.begin_again();
                self.manifests.look_now(self.now);
                self.found(source, Ok(found), &aliases);
            }
            Done::Recalled(memories) => self.recalled(&memories),
            Done::Layout(app, turn, layout) => self.noticed(&app, turn, &layout),
            Done::Files(app, turn, found) => self.read(&app, turn, &found),
            Done::Asked(app, verdict) => self.answered(&app, verdict.as_ref()),
            Done::Operated(app, turn, errand, result) => {
                self.acting -= 1;
                self.operated(&app, turn, errand, result);
            }
            Done::Parted(turn, parting) => self.parted(turn, &parting),
            Done::Written(result) => self.written(&result),
        }
    }

    fn stop(&mut self) {
        info!("asked to end: the steps in hand are finished first");
        self.stopping = true;
        self.context.board.ready(false);
        self.context.service.stopping();
        self.manifests.askers = Askers::default();
        for tracked in self.tracked.values_mut() {
            for errand in tracked.errands.drain(..) {
                let gone = HostError::new(HostErrorKind::Interrupted, "the agent is about to end");
                let _ = errand.reply.send(Err(gone));
            }
        }
    }
}
