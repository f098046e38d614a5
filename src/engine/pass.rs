//! Observe, diff, plan, apply in bounded rounds, then prove: one turn of the loop.
//!
//! In: Apps, a host, what may be done. Out: one [`PassReport`] for each App, true as of the last look.
//! All Apps share the first look; those that need work go on side by side, each under its own lock.

use std::time::Duration;

use futures_util::future::join_all;
use jiff::Timestamp;
use tracing::{Instrument, debug, info_span, warn};

use crate::decide::diff::diff;
use crate::decide::plan::{WORKER_WAVE, plan_for};
use crate::engine::events::{Event, Listener};
use crate::engine::execute::{Executor, elapsed};
use crate::engine::helpless::{helpless, living};
use crate::engine::interrupt::Interrupt;
use crate::engine::patience::Patience;
use crate::model::action::Plan;
use crate::model::app::App;
use crate::model::drift::Difference;
use crate::model::observed::Observed;
use crate::model::record::JournalEvent;
use crate::model::report::{Mode, Outcome, PassReport, Problem, Tried};
use crate::observe::{Probing, observe, observe_all, verdict};
use crate::ports::{Host, HostError};

/// The pause between two looks at something that changes by itself.
const SETTLE_PAUSE: Duration = Duration::from_millis(200);
/// Rounds that a pass may take beyond those that `maxUnavailable` asks for.
const SPARE_ROUNDS: u32 = 4;

/// What a pass may do, and why it is made.
#[derive(Debug, Clone)]
pub struct Request {
    /// Apply or only say.
    pub mode: Mode,
    /// How long to wait for the lock; zero: not at all.
    pub wait: Duration,
    /// What woke it: `command`, `timer`, …
    pub trigger: String,
    /// Ends it early, between two steps.
    pub interrupt: Interrupt,
}

/// Makes one pass over each App. Reports come in the order of the Apps; one App's failure does not stop the others.
pub async fn reconcile<H: Host>(
    host: &H,
    apps: &[&App],
    request: &Request,
    listener: &dyn Listener,
) -> Vec<PassReport> {
    let started = host.now();
    let locks = join_all(apps.iter().map(|app| lock(host, app, request))).await;
    let began: Vec<&App> = apps.iter().zip(&locks).filter(|(_, lock)| lock.is_ok()).map(|(app, _)| *app).collect();
    let mut views = observe_all(host, &began, Probing::Once).await.into_iter();
    let passes = apps.iter().zip(locks).map(|(app, lock)| {
        let first = match lock {
            // The lock is held until this App's pass has ended, and not longer.
            Ok(lock) => views.next().map(|view| (lock, view)).ok_or_else(nothing_seen),
            Err(error) => Err(error),
        };
        let span = info_span!("reconcile", app = %app.name, trigger = %request.trigger);
        async move {
            let pass = Pass::new(host, app, request, listener, started);
            match first {
                Ok((lock, view)) => {
                    let report = pass.run(view).await;
                    drop(lock);
                    report
                }
                Err(error) => pass.run(Err(error)).await,
            }
        }
        .instrument(span)
    });
    join_all(passes.collect::<Vec<_>>()).await
}

fn nothing_seen() -> HostError {
    HostError::new(crate::ports::HostErrorKind::Other, "the host was not looked at")
}

/// Takes the App's lock if the pass may act on it; looking needs none.
async fn lock<H: Host>(host: &H, app: &App, request: &Request) -> Result<Option<H::Lock>, HostError> {
    if !acts(app, request) {
        return Ok(None);
    }
    // The lock has its place below the root.
    if app.release.source.is_some() {
        host.make_root(app).await?;
    }
    host.lock(&app.root, request.wait).await.map(Some)
}

fn acts(app: &App, request: &Request) -> bool {
    request.mode == Mode::Apply && !app.sync.suspend
}

/// One App's pass.
struct Pass<'a, H> {
    host: &'a H,
    app: &'a App,
    request: &'a Request,
    listener: &'a dyn Listener,
    report: PassReport,
}

impl<'a, H: Host> Pass<'a, H> {
    fn new(host: &'a H, app: &'a App, request: &'a Request, listener: &'a dyn Listener, began: Timestamp) -> Self {
        let report = PassReport {
            app: app.name.clone(),
            root: app.root.clone(),
            release: app.release.id.clone(),
            pass: format!("{}-{}", began.strftime("%Y%m%dT%H%M%S%.3f"), host.own()),
            began,
            took: Duration::ZERO,
            mode: request.mode,
            outcome: Outcome::Failed,
            before: None,
            difference: Difference::default(),
            plan: Plan::default(),
            tried: Vec::new(),
            after: None,
            remaining: Difference::default(),
            health_attempts: 0,
            problems: Vec::new(),
        };
        Self { host, app, request, listener, report }
    }

    async fn run(mut self, look: Result<Observed, HostError>) -> PassReport {
        match look {
            Err(error) => self.problem(&error),
            Ok(observed) => {
                self.report.difference = diff(self.app, &observed);
                self.report.plan = plan_for(self.app, &self.report.difference);
                self.report.health_attempts = u32::from(observed.health.is_some());
                self.report.before = Some(observed.clone());
                if acts(self.app, self.request) {
                    self.converge(observed).await;
                } else {
                    self.report.remaining = self.report.difference.clone();
                    self.report.after = Some(observed);
                }
                self.report.outcome = self.outcome();
            }
        }
        self.report.took = elapsed(self.report.began, self.host.now());
        debug!(outcome = ?self.report.outcome, took_ms = self.report.took.as_millis(), "pass ended");
        self.report
    }

    fn problem(&mut self, error: &HostError) {
        self.report.problems.push(Problem { message: error.to_string(), help: error.help.clone() });
    }

    /// Rounds until nothing is left that an action closes, then the proof.
    async fn converge(&mut self, first: Observed) {
        let (host, app) = (self.host, self.app);
        let pass = self.report.pass.clone();
        let executor = Executor::new(host, app, &pass, self.listener, &self.request.interrupt);
        let mut observed = first;
        let mut journaled = false;
        let mut patience = Patience::new(app, host.now());
        let mut rounds =
            SPARE_ROUNDS + app.workers.iter().map(|g| g.count.div_ceil(g.unavailable_limit())).sum::<u32>();
        loop {
            let difference = diff(app, &observed);
            let plan = plan_for(app, &difference);
            if !plan.blockers.is_empty() || self.request.interrupt.is_asked() {
                break;
            }
            let possible = plan.steps.iter().any(|step| step.wave <= WORKER_WAVE);
            if possible {
                if rounds == 0 {
                    warn!("the drift comes back as fast as it is closed");
                    break;
                }
                rounds -= 1;
                if !journaled {
                    if let Err(error) = executor.journal(self.started()).await {
                        self.problem(&error);
                        break;
                    }
                    journaled = true;
                }
                let tried = executor.execute(&plan, &observed).await;
                let failed = tried.iter().any(|one| one.problem.is_some());
                self.report.problems.extend(tried.iter().filter_map(|one| one.problem.clone()));
                let Some(next) = self.look().await else { break };
                observed = next;
                self.note_helpless(&executor, &mut observed, &tried).await;
                self.report.tried.extend(tried);
                if failed {
                    break;
                }
                patience = Patience::new(app, host.now());
            } else if let Some(waiting) = difference.settling.first() {
                if patience.is_over(host.now(), &difference.settling) {
                    break;
                }
                if patience.is_first_wait() {
                    executor.tell(&Event::Settling { what: format!("{} is {}", waiting.member, waiting.state) });
                }
                self.pause(SETTLE_PAUSE).await;
                let Some(next) = self.look().await else { break };
                observed = next;
            } else {
                break;
            }
        }
        self.report.remaining = diff(app, &observed);
        self.prove(&mut observed, &executor).await;
        self.report.after = Some(observed);
        if journaled {
            let outcome = self.outcome();
            let entry =
                JournalEvent::PassEnded { outcome: format!("{outcome:?}").to_lowercase(), summary: self.summary() };
            if let Err(error) = executor.journal(entry).await {
                warn!(%error, "cannot write the journal");
            }
        }
    }

    fn started(&self) -> JournalEvent {
        JournalEvent::PassStarted {
            release: self.app.release.id.clone(),
            trigger: self.request.trigger.clone(),
            pid: self.host.own().0,
        }
    }

    /// Writes down restarts that did not help, so that no pass repeats them.
    async fn note_helpless(&mut self, executor: &Executor<'_, H>, observed: &mut Observed, tried: &[Tried]) {
        let found = helpless(self.app, observed, tried);
        if found.is_empty() {
            return;
        }
        let living = living(observed);
        let noted = executor.remember(|memory| {
            memory.helpless.retain(|known| living.contains(&known.process));
            memory.helpless.extend(found.iter().cloned());
        });
        if let Err(error) = noted.await {
            self.problem(&error);
        }
        observed.helpless.extend(found);
    }

    /// Another look, without asking the application.
    async fn look(&mut self) -> Option<Observed> {
        match observe(self.host, self.app, Probing::Not).await {
            Ok(observed) => Some(observed),
            Err(error) => {
                self.problem(&error);
                None
            }
        }
    }

    /// Asks for health, as often as the contract allows, until it is met.
    async fn prove(&mut self, observed: &mut Observed, executor: &Executor<'_, H>) {
        let Some(contract) = &self.app.health else { return };
        if observed.health.is_none() {
            // The answer of the first look was about another state of the host.
            self.report.health_attempts = 0;
            self.ask(observed).await;
        }
        // Of a host that is not as it should be, one answer says enough.
        if !self.report.remaining.is_empty() || !self.report.problems.is_empty() {
            return;
        }
        let mut asked_again = false;
        while self.report.health_attempts < contract.attempts && !self.request.interrupt.is_asked() {
            let Some(verdict) = observed.health.clone().filter(|verdict| !verdict.healthy) else { break };
            let attempt = self.report.health_attempts;
            executor.tell(&Event::Unhealthy { attempt, of: contract.attempts, verdict });
            self.pause(contract.interval).await;
            self.ask(observed).await;
            asked_again = true;
        }
        if asked_again {
            self.look_back(observed).await;
        }
    }

    async fn ask(&mut self, observed: &mut Observed) {
        let answer = self.host.probe(self.app).await;
        observed.health = verdict(self.host, self.app, observed, answer).await;
        self.report.health_attempts += 1;
    }

    /// Asking may have taken long: what is reported is as true as it can be.
    async fn look_back(&mut self, observed: &mut Observed) {
        if let Some(last) = self.look().await {
            *observed = Observed { health: observed.health.clone(), ..last };
            self.report.remaining = diff(self.app, observed);
        }
    }

    async fn pause(&self, duration: Duration) {
        tokio::select! {
            () = self.host.sleep(duration) => {}
            () = self.request.interrupt.asked() => {}
        }
    }

    /// How the pass ended, by what is left.
    fn outcome(&self) -> Outcome {
        let report = &self.report;
        let remaining = &report.remaining;
        let wrong = !report.problems.is_empty() || !remaining.blockers.is_empty() || !remaining.stalled.is_empty();
        let drift = !remaining.drift.is_empty() || !remaining.settling.is_empty();
        let sick = report.after.as_ref().is_some_and(|after| after.health.as_ref().is_some_and(|v| !v.healthy));
        match () {
            () if wrong => Outcome::Failed,
            () if drift && report.mode == Mode::DryRun => Outcome::Drift,
            () if drift && self.app.sync.suspend => Outcome::Withheld,
            () if drift && self.request.interrupt.is_asked() => Outcome::Interrupted,
            () if drift => Outcome::Failed,
            () if sick => Outcome::Unhealthy,
            () => Outcome::Converged,
        }
    }

    /// One sentence for the journal.
    fn summary(&self) -> String {
        let report = &self.report;
        let done = report.tried.iter().filter(|one| one.problem.is_none()).count();
        let sick = report.after.as_ref().and_then(|after| after.health.as_ref()?.complaint());
        let failed = report.problems.iter().map(|problem| problem.message.clone());
        let trouble: Vec<String> = failed.chain(sick).collect();
        let left = report.remaining.drift.len() + report.remaining.settling.len();
        let left = if left > 0 { format!(", {left} differences left") } else { String::new() };
        let trouble = if trouble.is_empty() { String::new() } else { format!(": {}", trouble.join("; ")) };
        format!("{done} of {} actions done{left}{trouble}", report.tried.len())
    }
}
