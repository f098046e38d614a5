//! Observe, diff, plan, apply in bounded rounds, then prove: one turn of the loop.
//!
//! In: Apps, a host, what may be done. Out: one [`PassReport`] for each App, true as of the last look.
//! Several Apps at once are the matter of [`batch`](super::batch).

use std::time::Duration;

use jiff::Timestamp;
use tracing::{Instrument, debug, info_span, warn};

use crate::decide::aim::aimed;
use crate::decide::diff::diff;
use crate::decide::gate;
use crate::decide::plan::plan_for;
use crate::decide::withhold::{Permit, beforehand};
use crate::engine::events::{Event, Listener};
use crate::engine::execute::{Executor, Round, elapsed, goes_on_unjournaled};
use crate::engine::helpless::{helpless, living};
use crate::engine::interrupt::Interrupt;
use crate::engine::patience::Patience;
use crate::engine::probing::probing_after;
use crate::model::action::{Action, Phase, Plan};
use crate::model::app::App;
use crate::model::drift::{Difference, Stalled};
use crate::model::observed::{Aim, Observed};
use crate::model::record::JournalEvent;
use crate::model::report::{Mode, Outcome, PassReport, Problem, Tried};
use crate::model::sync::{Counting, Withheld};
use crate::observe::{Probing, hear, observe};
use crate::ports::{Host, HostError};

/// The pause between two looks at something that changes by itself.
const SETTLE_PAUSE: Duration = Duration::from_millis(200);
/// Rounds that a pass may take beyond those that `maxUnavailable` asks for.
const SPARE_ROUNDS: u32 = 12;

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
    /// Why it may only look, by the App's schedule; none where it may act. What is half done goes on all the same.
    pub withheld: Option<Withheld>,
    /// A person wants it in spite of the App's windows.
    pub ignore_windows: bool,
    /// What it means for the count of corrections.
    pub counting: Counting,
}

impl Request {
    pub(super) fn permit(&self) -> Permit<'_> {
        Permit { withheld: self.withheld.as_ref(), ignore_windows: self.ignore_windows }
    }
}

/// What a person had done before a pass, under the same lock.
pub struct Begun<L> {
    /// Held until the pass has ended.
    pub lock: L,
    /// When that began; names the pass in the journal.
    pub at: Timestamp,
    /// The desired release was taken back.
    pub taken_back: bool,
}

/// Makes one pass that goes on from there.
pub async fn go_on<H: Host>(
    host: &H,
    app: &App,
    begun: Begun<H::Lock>,
    request: &Request,
    listener: &dyn Listener,
) -> PassReport {
    let span = info_span!("reconcile", app = %app.name, trigger = %request.trigger);
    async {
        let view = observe(host, app, Probing::Once).await;
        let pass = Pass { taken_back: begun.taken_back, ..Pass::new(host, app, request, listener, begun.at) };
        let report = pass.run(view, true).await;
        drop(begun.lock);
        report
    }
    .instrument(span)
    .await
}

/// What names a pass in the journal.
pub(super) fn name<H: Host>(host: &H, began: Timestamp) -> String {
    format!("{}-{}", began.strftime("%Y%m%dT%H%M%S%.3f"), host.own())
}

/// Takes the App's lock if the pass may act on it; looking needs none.
pub(super) async fn lock<H: Host>(host: &H, app: &App, request: &Request) -> Result<Option<H::Lock>, HostError> {
    if !acts(app, request) || beforehand(app, host.now(), request.permit()).is_some() {
        return Ok(None);
    }
    take_lock(host, app, request).await.map(Some)
}

async fn take_lock<H: Host>(host: &H, app: &App, request: &Request) -> Result<H::Lock, HostError> {
    // The lock has its place below the root.
    if app.release.source.is_some() {
        host.make_root(app).await?;
    }
    let lock = host.lock(&app.root, request.wait).await?;
    // It only takes room: no pass fails of it.
    if let Err(error) = host.sweep(&app.root).await {
        warn!(app = %app.name, %error, "what is left of an earlier removal cannot be removed either");
    }
    Ok(lock)
}

/// Whether such a pass over that App may ever act.
pub(super) fn acts(app: &App, request: &Request) -> bool {
    request.mode == Mode::Apply && !app.sync.suspend
}

/// One App's pass.
pub(super) struct Pass<'a, H> {
    /// The host.
    pub(super) host: &'a H,
    /// The App as it is wished for.
    pub(super) app: &'a App,
    /// Why it is made, and what it may do.
    pub(super) request: &'a Request,
    /// Who is told.
    pub(super) listener: &'a dyn Listener,
    /// What is told of it in the end.
    pub(super) report: PassReport,
    /// The desired release was put into quarantine in this pass.
    pub(super) kept_out: bool,
    /// A person took it back right before.
    taken_back: bool,
    /// It ended before its time, as it was asked to.
    cut_short: bool,
}

impl<'a, H: Host> Pass<'a, H> {
    pub(super) fn new(
        host: &'a H,
        app: &'a App,
        request: &'a Request,
        listener: &'a dyn Listener,
        began: Timestamp,
    ) -> Self {
        let report = PassReport {
            app: app.name.clone(),
            root: app.root.clone(),
            release: app.release.id.clone(),
            pass: name(host, began),
            began,
            took: Duration::ZERO,
            mode: request.mode,
            outcome: Outcome::Failed,
            withheld: None,
            before: None,
            difference: Difference::default(),
            plan: Plan::default(),
            tried: Vec::new(),
            after: None,
            remaining: Difference::default(),
            health_attempts: 0,
            problems: Vec::new(),
        };
        Self { host, app, request, listener, report, kept_out: false, taken_back: false, cut_short: false }
    }

    /// The whole pass, from its first look on. `locked`: the App's lock was taken before that.
    pub(super) async fn run(mut self, look: Result<Observed, HostError>, locked: bool) -> PassReport {
        let mut late = None;
        let look = match look {
            // Nothing was to be done, and yet something has to be: it is looked at again with everybody else kept out.
            Ok(observed) if !locked && self.may_act(&observed) => {
                match take_lock(self.host, self.app, self.request).await {
                    Ok(lock) => {
                        late = Some(lock);
                        observe(self.host, self.app, Probing::Once).await
                    }
                    Err(error) => Err(error),
                }
            }
            look => look,
        };
        match look {
            Err(error) => self.problem(&error),
            Ok(observed) => {
                let aimed = aimed(self.app, &observed.aim);
                self.report.difference = diff(&aimed, &observed);
                self.report.plan = plan_for(&aimed, &self.report.difference);
                self.report.health_attempts = u32::from(observed.health.is_some());
                self.report.before = Some(observed.clone());
                self.report.withheld = self.withheld(&observed, &self.report.difference);
                if (locked || late.is_some()) && self.may_act(&observed) {
                    self.converge(observed).await;
                } else {
                    self.look_on(observed).await;
                }
                self.report.outcome = self.outcome();
            }
        }
        drop(late);
        self.report.took = elapsed(self.report.began, self.host.now());
        debug!(outcome = ?self.report.outcome, took_ms = self.report.took.as_millis(), "pass ended");
        self.report
    }

    pub(super) fn problem(&mut self, error: &HostError) {
        let (message, help, lasting) = (error.to_string(), error.help.clone(), error.is_lasting());
        self.report.problems.push(Problem { message, help, lasting });
    }

    /// Rounds until nothing is left that an action closes, then the last question for health.
    async fn converge(&mut self, first: Observed) {
        let (host, wish) = (self.host, self.app);
        let pass = self.report.pass.clone();
        let round = Round { pass: &pass, listener: self.listener, interrupt: &self.request.interrupt };
        let mut observed = first;
        self.adopt(&mut observed).await;
        // One answer may come from a process that is right, beside others that are not.
        let probing = probing_after(&aimed(wish, &observed.aim), &observed);
        if gate::is_on_trial(wish, &observed)
            && probing != Probing::Not
            && let Some(asked) = self.look(probing).await
        {
            observed = asked;
        }
        let (mut journaled, mut touched) = (false, false);
        let mut patience = Patience::new(wish, host.now());
        let mut rounds =
            SPARE_ROUNDS + wish.workers.iter().map(|g| g.count.div_ceil(g.unavailable_limit())).sum::<u32>();
        loop {
            let app = aimed(wish, &observed.aim);
            let executor = Executor::new(host, wish, &app, round);
            let difference = diff(&app, &observed);
            let plan = plan_for(&app, &difference);
            let next = plan.next();
            self.cut_short = executor.ends_before(next.unwrap_or(Phase::Prune), &observed);
            if !plan.blockers.is_empty() || self.cut_short {
                break;
            }
            // A release is judged, and old ones go, when nothing moves any more and nothing stands in the way.
            let at_rest = next.is_none_or(|phase| phase >= Phase::Prove);
            if let Some(waiting) = difference.settling.first().filter(|_| at_rest) {
                if patience.is_over(host.now(), &difference.settling) {
                    if let Some(reason) = gate::blame_unsettled(&app, &observed, &difference.settling)
                        && let Some(next) = self.keep_out(&executor, &observed, reason).await
                    {
                        observed = next;
                        continue;
                    }
                    break;
                }
                if patience.is_first_wait() {
                    executor.tell(&Event::Settling { what: format!("{} is {}", waiting.member, waiting.state) });
                }
                self.pause(SETTLE_PAUSE).await;
                let Some(next) = self.look_again(Probing::Not, &observed).await else { break };
                observed = next;
                continue;
            }
            if next.is_none() || (at_rest && !difference.stalled.is_empty()) {
                break;
            }
            if rounds == 0 {
                warn!("the drift comes back as fast as it is closed");
                break;
            }
            // A window may have closed over the preparations: the next pass goes on from here.
            if !touched && self.is_withheld(&observed, &difference) {
                break;
            }
            touched |= !next.is_some_and(Phase::is_preparation);
            rounds -= 1;
            if !journaled {
                match executor.journal(self.started()).await {
                    Ok(()) => {}
                    Err(error) if goes_on_unjournaled(&app, &observed) => warn!(%error, "cannot write the journal"),
                    Err(error) => {
                        self.problem(&error);
                        break;
                    }
                }
                journaled = true;
                self.count(&executor).await;
            }
            let tried = executor.execute(&plan, &observed).await;
            let failed = tried.iter().any(|one| one.problem.is_some());
            // Whoever asks for an end is told what was not finished, not that it went wrong.
            let cut_short = executor.ended_in(next, &observed);
            self.cut_short = cut_short;
            let problems = tried.iter().filter_map(|one| one.problem.clone());
            self.report.problems.extend(problems.filter(|problem| problem.lasting || !cut_short));
            let Some(mut next) = self.look_again(probing_after(&app, &observed), &observed).await else { break };
            self.note_helpless(&executor, &mut next, &tried).await;
            let blame = gate::blame(&app, &next, &tried);
            observed = next;
            self.report.tried.extend(tried);
            if let Some(reason) = blame {
                let Some(next) = self.keep_out(&executor, &observed, reason).await else { break };
                observed = next;
            } else if failed {
                break;
            }
            patience = Patience::new(wish, host.now());
        }
        let app = aimed(wish, &observed.aim);
        let executor = Executor::new(host, wish, &app, round);
        self.report.remaining = diff(&app, &observed);
        self.prove(&mut observed, &executor).await;
        self.hold(&mut observed).await;
        self.report.after = Some(observed);
        self.settle(&executor).await;
        if journaled {
            self.note_end(&executor).await;
        }
    }

    async fn note_end(&self, executor: &Executor<'_, H>) {
        let outcome = format!("{:?}", self.outcome()).to_lowercase();
        if let Err(error) = executor.journal(JournalEvent::PassEnded { outcome, summary: self.summary() }).await {
            warn!(%error, "cannot write the journal");
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
        let found = helpless(&aimed(self.app, &observed.aim), observed, tried);
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

    /// Another look after some steps. What the application said of itself still counts while `current` has not moved.
    pub(super) async fn look_again(&mut self, probing: Probing, before: &Observed) -> Option<Observed> {
        let mut next = self.look(probing).await?;
        if !next.asked && next.layout.link_changed == before.layout.link_changed {
            next.asked = before.asked;
            next.serving.clone_from(&before.serving);
        }
        Some(next)
    }

    /// Another look.
    async fn look(&mut self, probing: Probing) -> Option<Observed> {
        match observe(self.host, self.app, probing).await {
            Ok(observed) => Some(observed),
            Err(error) => {
                self.problem(&error);
                None
            }
        }
    }

    /// Asks for health, as often as the contract allows, until it is met.
    pub(super) async fn prove(&mut self, observed: &mut Observed, executor: &Executor<'_, H>) {
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
        hear(self.host, self.app, observed, vec![answer]).await;
        self.report.health_attempts += 1;
    }

    /// Asking may have taken long: what is reported is as true as it can be.
    async fn look_back(&mut self, observed: &mut Observed) {
        if let Some(last) = self.look(Probing::Not).await {
            let (health, serving, asked) = (observed.health.clone(), observed.serving.clone(), observed.asked);
            *observed = Observed { health, serving, asked, ..last };
            self.report.remaining = diff(&aimed(self.app, &observed.aim), observed);
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
        let kept_out = report.after.as_ref().is_some_and(|after| after.aim != Aim::Desired);
        // What failed of a release that was taken back is told, and is over.
        let stuck = remaining.stalled.iter().any(|one| !matches!(one, Stalled::NoWayBack { .. }));
        let wrong = if kept_out { stuck || !remaining.blockers.is_empty() } else { wrong };
        match () {
            () if wrong => Outcome::Failed,
            () if drift && report.mode == Mode::DryRun => Outcome::Drift,
            () if !remaining.drift.is_empty() && report.withheld.is_some() => Outcome::Withheld,
            () if drift && (self.cut_short || self.request.interrupt.is_asked()) => Outcome::Interrupted,
            () if drift => Outcome::Failed,
            () if kept_out && (self.taken_back || self.went_back()) => Outcome::RolledBack,
            () if kept_out || self.kept_out => Outcome::Quarantined,
            () if sick => Outcome::Unhealthy,
            () => Outcome::Converged,
        }
    }

    /// This pass has put the way back in force: a release that fails before the switch, or has no way back, moves nothing.
    fn went_back(&self) -> bool {
        let Some(Aim::Back { to: way_back }) = self.report.after.as_ref().map(|after| &after.aim) else { return false };
        let mut done = self.report.tried.iter().filter(|one| one.problem.is_none());
        done.any(|one| matches!(&one.action, Action::SwitchCurrent { to } if to == way_back))
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
