//! Observe, diff, plan, apply in bounded rounds, then prove: one turn of the loop.
//!
//! In: Apps, a host, what may be done. Out: one [`PassReport`] for each App, true as of the last look.
//! Several Apps at once are the matter of [`batch`](super::batch).

use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::SemaphorePermit;
use tracing::{Instrument, debug, info_span, warn};

use crate::decide::aim::aimed;
use crate::decide::diff::diff;
use crate::decide::gate;
use crate::decide::leaving::without_workers;
use crate::decide::plan::plan_for;
use crate::decide::withhold::Permit;
use crate::engine::events::{Event, Listener};
use crate::engine::execute::{Executor, Round, elapsed};
use crate::engine::interrupt::Interrupt;
use crate::engine::lock::take_lock;
use crate::engine::patience::Patience;
use crate::engine::probing::probing_after;
use crate::model::action::{Phase, Plan};
use crate::model::app::App;
use crate::model::drift::{Difference, Settling};
use crate::model::observed::Observed;
use crate::model::report::{Mode, Outcome, PassReport, Problem};
use crate::model::sync::{Counting, Withheld};
use crate::observe::{Probing, observe};
use crate::ports::{Host, HostError, HostErrorKind};

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
        let report = pass.run(view, true, None).await;
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
    pub(super) taken_back: bool,
    /// It ended before its time, as it was asked to.
    pub(super) cut_short: bool,
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
            at_work: None,
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

    /// The whole pass, from its first look on. `locked`: the App's lock was taken before that. `slot`: the leave to
    /// prepare a release, which others wait for.
    pub(super) async fn run(
        mut self,
        look: Result<Observed, HostError>,
        locked: bool,
        slot: Option<SemaphorePermit<'_>>,
    ) -> PassReport {
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
        let (host, acts) = (self.host, locked || late.is_some());
        let mut report = match look {
            Err(error) => {
                self.problem(&error);
                if error.kind == HostErrorKind::Interrupted {
                    self.report.outcome = Outcome::Interrupted;
                }
                self.report
            }
            Ok(observed) => {
                // While it waited for the lock, somebody may have put another release in force: it leaves from that
                // one.
                let leaving = if self.app.leaving { without_workers(self.app, &observed.layout) } else { None };
                match &leaving {
                    Some(app) => self.over(app).onwards(observed, acts, slot).await,
                    None => self.onwards(observed, acts, slot).await,
                }
            }
        };
        drop(late);
        report.took = elapsed(report.began, host.now());
        debug!(outcome = %report.outcome.word(), took_ms = report.took.as_millis(), "pass ended");
        report
    }

    /// The same pass over the App as it turns out to be wished for.
    fn over<'b>(self, app: &'b App) -> Pass<'b, H>
    where
        'a: 'b,
    {
        let report = PassReport { release: app.release.id.clone(), ..self.report };
        Pass { app, report, ..self }
    }

    /// The pass from what its first look has seen to its end.
    async fn onwards(mut self, observed: Observed, acts: bool, slot: Option<SemaphorePermit<'_>>) -> PassReport {
        let aimed = aimed(self.app, &observed.aim);
        self.report.difference = diff(&aimed, &observed);
        self.report.plan = plan_for(&aimed, &self.report.difference);
        self.report.health_attempts = u32::from(observed.health.is_some());
        self.report.before = Some(observed.clone());
        self.report.withheld = self.withheld(&observed, &self.report.difference);
        if acts && self.may_act(&observed) {
            self.converge(observed, slot).await;
        } else {
            // Others may have something to prepare.
            drop(slot);
            self.look_on(observed).await;
        }
        self.report.outcome = self.outcome();
        self.report
    }

    pub(super) fn problem(&mut self, error: &HostError) {
        let (message, help) = (error.to_string(), error.help.clone());
        self.report.problems.push(Problem { message, help, lasting: error.speaks_against_release() });
    }

    /// Goes on from what earlier passes, and others, have left.
    async fn take_over(&mut self, mut observed: Observed) -> Observed {
        // It only takes room: no pass fails of it.
        if let Err(error) = self.host.sweep(&self.app.root).await {
            warn!(app = %self.app.name, %error, "what is left of an earlier removal cannot be removed either");
        }
        self.adopt(&mut observed).await;
        // One answer may come from a process that is right, beside others that are not.
        let probing = probing_after(&aimed(self.app, &observed.aim), &observed);
        if gate::is_on_trial(self.app, &observed)
            && probing != Probing::Not
            && let Some(asked) = self.look(probing).await
        {
            observed = asked;
        }
        observed
    }

    /// Rounds until nothing is left that an action closes, then the end of the pass.
    async fn converge(&mut self, first: Observed, mut slot: Option<SemaphorePermit<'_>>) {
        let (host, wish) = (self.host, self.app);
        let pass = self.report.pass.clone();
        let round = Round { pass: &pass, listener: self.listener, interrupt: &self.request.interrupt };
        // In a box, as it is over soon: it would take room in every pass to its end.
        let mut observed = Box::pin(self.take_over(first)).await;
        let (mut journaled, mut counted, mut touched, mut starts) = (false, false, false, false);
        let mut patience = Patience::new(wish, host.now());
        let mut rounds =
            SPARE_ROUNDS + wish.workers.iter().map(|g| g.count.div_ceil(g.unavailable_limit())).sum::<u32>();
        loop {
            let app = aimed(wish, &observed.aim);
            let executor = Executor::new(host, wish, &app, round);
            let difference = diff(&app, &observed);
            starts = (starts || !touched) && self.starts_only(&observed, &difference);
            let plan = plan_for(&app, &difference).of_starts_if(starts);
            let next = plan.next();
            if !next.is_some_and(Phase::is_preparation) {
                // Workers may take long for their jobs, and the gate for its verdict.
                drop(slot.take());
            }
            self.cut_short = executor.ends_before(next.unwrap_or(Phase::Prune), &observed);
            if let Some(waiting) = difference.only_waits_for_a_service()
                && !self.cut_short
                && !patience.is_over(host.now(), &[])
            {
                // systemd is away for a moment whenever it is executed anew, which is no reason to end a deployment.
                let what = format!("{waiting} cannot be observed");
                let Some(next) = self.wait_a_moment(&executor, &mut patience, what, &observed).await else { break };
                observed = next;
                continue;
            }
            if !plan.blockers.is_empty() || self.cut_short {
                break;
            }
            // A release is judged, and old ones go, when nothing moves any more and nothing stands in the way.
            let at_rest = next.is_none_or(|phase| phase >= Phase::Prove);
            if let Some(waiting) = difference.settling.first().filter(|_| at_rest) {
                let next = if patience.is_over(host.now(), &difference.settling) {
                    self.blame_unsettled(&executor, &app, &observed, &difference.settling).await
                } else {
                    let what = format!("{} is {}", waiting.member, waiting.state);
                    self.wait_a_moment(&executor, &mut patience, what, &observed).await
                };
                let Some(next) = next else { break };
                observed = next;
                continue;
            }
            let stuck = at_rest && !difference.stalled.is_empty();
            if next.is_none() || (stuck && !self.is_judged_all_the_same(&app, &mut observed, next).await) {
                break;
            }
            if rounds == 0 {
                warn!("the drift comes back as fast as it is closed");
                break;
            }
            // A window may have closed over the preparations: the next pass goes on from here.
            if !touched && !starts && self.is_withheld(&observed, &difference) {
                break;
            }
            touched |= !next.is_some_and(Phase::is_preparation);
            rounds -= 1;
            if !journaled && !self.begins(&executor, &app, &observed).await {
                break;
            }
            journaled = true;
            counted = counted || self.count(&executor, &plan).await;
            if !self.act(&executor, &app, &plan, &mut observed).await {
                break;
            }
            patience = Patience::new(wish, host.now());
        }
        self.conclude(observed, round, journaled).await;
    }

    /// Does what comes next of a plan, and looks again. Tells whether the pass goes on.
    async fn act(&mut self, executor: &Executor<'_, H>, app: &App, plan: &Plan, observed: &mut Observed) -> bool {
        let tried = executor.execute(plan, observed).await;
        let failed = tried.iter().any(|one| one.problem.is_some());
        // Whoever asks for an end is told what was not finished, not that it went wrong.
        let cut_short = executor.ended_in(plan.next(), observed);
        self.cut_short = cut_short;
        let problems = tried.iter().filter_map(|one| one.problem.clone());
        self.report.problems.extend(problems.filter(|problem| problem.lasting || !cut_short));
        let Some(mut next) = self.look_again(probing_after(app, observed), observed).await else { return false };
        self.note_helpless(executor, &mut next, &tried).await;
        let blame = gate::blame(app, &next, &tried);
        *observed = next;
        self.report.tried.extend(tried);
        if let Some(reason) = blame {
            let Some(next) = self.keep_out(executor, observed, reason).await else { return false };
            *observed = next;
            return true;
        }
        !failed
    }

    /// The last question for health, and what is reported and noted of the pass in the end.
    async fn conclude(&mut self, mut observed: Observed, round: Round<'_>, journaled: bool) {
        let app = aimed(self.app, &observed.aim);
        let executor = Executor::new(self.host, self.app, &app, round);
        self.report.remaining = diff(&app, &observed);
        self.ask_until_healthy(&mut observed, &executor).await;
        self.hold(&mut observed).await;
        self.report.after = Some(observed);
        self.settle(&executor).await;
        if journaled {
            self.note_end(&executor).await;
        }
    }

    /// Whether the next step is the proof, and has something to say although not everything can be put right: what
    /// nobody can tell is waited for, but not with a sick release in force.
    async fn is_judged_all_the_same(&mut self, app: &App, observed: &mut Observed, next: Option<Phase>) -> bool {
        if next != Some(Phase::Prove) {
            return false;
        }
        if !matches!(gate::trial(app, observed), gate::Trial::Unclear(_)) {
            return true;
        }
        self.ask_once(observed).await;
        observed.health.as_ref().is_some_and(|verdict| !verdict.healthy)
    }

    /// Keeps the release out that never comes to rest, where that is its own fault; none where nothing more can be
    /// done.
    async fn blame_unsettled(
        &mut self,
        executor: &Executor<'_, H>,
        app: &App,
        observed: &Observed,
        settling: &[Settling],
    ) -> Option<Observed> {
        let reason = gate::blame_unsettled(app, observed, settling)?;
        self.keep_out(executor, observed, reason).await
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

    /// Another look, after a moment in which something may come by itself; once in a stretch of waiting, people are
    /// told what is waited for.
    async fn wait_a_moment(
        &mut self,
        executor: &Executor<'_, H>,
        patience: &mut Patience,
        what: String,
        before: &Observed,
    ) -> Option<Observed> {
        if patience.is_first_wait() {
            executor.tell(&Event::Settling { what });
        }
        self.pause(SETTLE_PAUSE).await;
        let mut next = self.look_again(Probing::Not, before).await?;
        self.note_helpless(executor, &mut next, &[]).await;
        Some(next)
    }

    /// Another look.
    pub(super) async fn look(&mut self, probing: Probing) -> Option<Observed> {
        match observe(self.host, self.app, probing).await {
            Ok(observed) => Some(observed),
            Err(error) => {
                self.problem(&error);
                None
            }
        }
    }

    /// Waits for so long, or until an end is asked for.
    pub(super) async fn pause(&self, duration: Duration) {
        tokio::select! {
            () = self.host.sleep(duration) => {}
            () = self.request.interrupt.asked() => {}
        }
    }
}
