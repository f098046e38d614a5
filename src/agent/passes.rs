//! What the loop begins when it is due, and what it makes of what comes back.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use tracing::{debug, info, warn};

use super::orders::{Operated, Operation};
use super::senses::Senses;
use super::source::Source;
use super::tracked::{PendingOperation, TrackedApp, has_waited};
use super::{Agent, Done, Reported, summary};
use crate::decide::explain;
use crate::decide::leaving::without_workers;
use crate::decide::schedule::{Ended, May, Turn};
use crate::engine::batch::reconcile_each;
use crate::engine::interrupt::Interrupt;
use crate::engine::operate::{self, Suspended, TakeBack};
use crate::engine::pass::Request;
use crate::model::app::App;
use crate::model::names::AppName;
use crate::model::report::{Mode, Outcome, PassReport};
use crate::model::sync::Counting;
use crate::model::wake::Wake;
use crate::ports::{Host, HostError};

/// Apps whose timers are due within this go along with a pass that is made now: they share its look at the host.
const SLACK: Duration = Duration::from_secs(20);
/// How long a pass that somebody else makes over the same root is waited for.
pub(super) const LOCK_WAIT: Duration = Duration::from_mins(2);
/// So many reasons are named; more would only fill the history.
const REASONS: usize = 4;

/// An App and the turn that it has.
struct Begun {
    app: Arc<App>,
    turn: u64,
    request: Request,
}

impl<'a, H: Host, S: Source + 'a, W: Senses> Agent<'a, H, S, W> {
    /// Begins whatever is due.
    pub(super) fn begin_what_is_due(&mut self) {
        let now = self.now;
        let due: Vec<AppName> = self
            .tracked
            .iter()
            .filter(|(_, tracked)| tracked.due().is_some_and(|due| due <= now))
            .map(|(name, _)| name.clone())
            .collect();
        let mut together = Vec::new();
        for name in due {
            let Some(tracked) = self.tracked.get_mut(&name) else { continue };
            if let Some(errand) = tracked.errands.pop_front() {
                self.operate(&name, errand);
            } else if tracked.schedule.due().is_some_and(|due| due <= now) {
                // One that fails may have a manager that does not answer: nobody else should wait for that.
                let alone = tracked.failures > 0;
                let begun = self.begin(&name);
                if alone { self.pass(begun.into_iter().collect()) } else { together.extend(begun) }
            } else if tracked.look_at().is_some_and(|at| at <= now) {
                self.look_at_root(&name);
            } else if tracked.edits.due().is_some_and(|at| at <= now) {
                self.look_at_files(&name);
            } else if tracked.ask_at.is_some_and(|at| at <= now) {
                self.ask(&name);
            }
        }
        if !together.is_empty() {
            together.extend(self.those_who_join());
            self.pass(together);
        }
    }

    fn those_who_join(&mut self) -> Vec<Begun> {
        let now = self.now;
        let stirs = |tracked: &TrackedApp| {
            tracked.look_at().is_some() || tracked.edits.due().is_some() || !tracked.errands.is_empty()
        };
        let joins = |tracked: &TrackedApp| {
            tracked.is_free() && tracked.failures == 0 && !stirs(tracked) && tracked.schedule.joins(now, SLACK)
        };
        let names: Vec<AppName> =
            self.tracked.iter().filter(|(_, tracked)| joins(tracked)).map(|(name, _)| name.clone()).collect();
        names.iter().filter_map(|name| self.begin(name)).collect()
    }

    /// A turn for this App.
    fn begin(&mut self, name: &AppName) -> Option<Begun> {
        let Some(app) = self.wanted(name) else {
            if self.tracked.get(name)?.layout.is_none() {
                self.look_at_root(name);
            } else {
                self.keep_running(name);
            }
            return None;
        };
        let tracked = self.tracked.get_mut(name)?;
        let turn = tracked.schedule.begin(self.now);
        self.turns += 1;
        let interrupt = self.context.stop.of_one_pass();
        tracked.engage(self.turns, Some(interrupt.clone()));
        tracked.seen_off = tracked.leaving.then_some(self.turns);
        // The pass looks for itself.
        tracked.stirred.settle();
        tracked.edits.settle();
        self.context.board.began(name, &turn, self.now);
        self.context.board.scheduled(name, tracked.schedule.state(self.now));
        self.context.publisher.began(name);
        let request = request(words(&turn.wakes), &turn, interrupt);
        tracked.answers = turn.wakes;
        debug!(app = %name, trigger = request.trigger, "a pass begins");
        Some(Begun { app, turn: self.turns, request })
    }

    /// The App as a pass is to bring it about: without its workers when it leaves. None where nothing says on which
    /// release.
    fn wanted(&self, name: &AppName) -> Option<Arc<App>> {
        let tracked = self.tracked.get(name)?;
        let app = &tracked.loaded.app;
        let app =
            if tracked.leaving { without_workers(&self.alone(app), tracked.layout.as_ref()?)? } else { app.clone() };
        Some(Arc::new(app))
    }

    /// Passes over these Apps, which share one look.
    fn pass(&mut self, begun: Vec<Begun>) {
        let (host, listener) = (self.context.host, self.context.listener);
        let (slots, reports) = (Arc::clone(&self.slots), self.report.clone());
        self.acting += 1;
        self.work.push(Box::pin(async move {
            let apps: Vec<(&App, Request)> = begun.iter().map(|one| (&*one.app, one.request.clone())).collect();
            reconcile_each(host, &apps, Some(&*slots), listener, |report| {
                let turn = begun.iter().find(|one| one.app.name == report.app).map_or(0, |one| one.turn);
                // The other end is the loop's own.
                let _ = reports.send(Reported { turn, report: Arc::new(report) });
            })
            .await;
            Done::Passed
        }));
    }

    /// Takes in a report.
    pub(super) fn reported(&mut self, reported: Reported) {
        let Reported { turn, report } = reported;
        let name = report.app.clone();
        let Some(tracked) = self.tracked.get_mut(&name).filter(|tracked| tracked.is_at(turn)) else {
            self.abandoned(&name);
            return debug!(app = %name, "a pass has ended over an App that is not ours any more");
        };
        if tracked.is_of_former_root(turn) {
            tracked.release();
            return self.abandoned(&name);
        }
        let state = tracked.ended(&report, self.now);
        let repair = self.context.board.ended(&report, &state);
        let seen_off = tracked.leaving && tracked.seen_off == Some(turn) && report.outcome == Outcome::Converged;
        if seen_off {
            self.context.publisher.left(&name);
        } else if self.context.publisher.ended(&tracked.loaded.app, &report, &state, repair) {
            self.context.registry.touch();
        }
        let (outcome, actions, took_ms) = (report.outcome, report.tried.len(), report.took.as_millis());
        match outcome {
            Outcome::Interrupted if has_waited(&report) => {
                info!(app = %name, why = why(&tracked.loaded.app, &report), took_ms, "pass ended");
            }
            Outcome::Converged if state.crash_loop().is_some() => {
                warn!(app = %name, why = state.crash_loop(), actions, took_ms, "pass ended");
            }
            Outcome::Converged | Outcome::Withheld if actions == 0 => {
                debug!(app = %name, outcome = %outcome.word(), took_ms, "pass ended");
            }
            Outcome::Converged | Outcome::Withheld | Outcome::Interrupted | Outcome::Drift => {
                info!(app = %name, outcome = %outcome.word(), actions, took_ms, "pass ended");
            }
            Outcome::Failed | Outcome::Unhealthy | Outcome::RolledBack | Outcome::Quarantined => {
                let (why, failures) = (why(&tracked.loaded.app, &report), state.failures);
                // What waits already may be due for a while.
                let next_in_s = state.next.map(|next| next.duration_since(self.now).as_secs().max(0));
                warn!(app = %name, outcome = %outcome.word(), actions, took_ms, why, failures, next_in_s, "pass ended");
            }
        }
        let members = tracked.members();
        if seen_off {
            self.left(&name);
        } else {
            self.senses.workers(&name, &members);
        }
        self.take_stock();
        self.tell_status();
    }

    /// Nothing more is done for an App that has left; one that has come back has its own turns.
    fn abandoned(&self, name: &AppName) {
        if self.tracked.get(name).is_none_or(TrackedApp::is_free) {
            self.context.board.abandoned(name);
        }
    }

    /// The App's turn is over; none when it was not its own.
    pub(super) fn free(&mut self, name: &AppName, turn: u64) -> Option<&mut TrackedApp> {
        let tracked = self.tracked.get_mut(name).filter(|tracked| tracked.is_at(turn))?;
        tracked.release();
        Some(tracked)
    }

    /// Does what a person has asked for.
    fn operate(&mut self, name: &AppName, errand: PendingOperation) {
        let Some(tracked) = self.tracked.get_mut(name) else { return };
        self.turns += 1;
        let interrupt = self.context.stop.of_one_pass();
        tracked.engage(self.turns, errand.what.makes_a_pass().then(|| interrupt.clone()));
        let (app, number, now) = (Arc::clone(&tracked.loaded), self.turns, self.now);
        let (verb, by) = (errand.what.verb(), errand.what.by());
        info!(app = %name, by, "{verb}");
        let mut turn = Turn { wakes: Vec::new(), may: May::Act, counting: Counting::Anew };
        if errand.what.makes_a_pass() {
            // It answers whatever has come by now; what comes later waits for the next pass.
            tracked.schedule.wake(errand.what.wake(), now);
            turn.wakes = tracked.schedule.begin(now).wakes;
            self.context.board.began(name, &turn, now);
            self.context.board.scheduled(name, tracked.schedule.state(now));
            self.context.publisher.began(name);
        }
        let mut request = request(format!("{verb} by {by}"), &turn, interrupt);
        request.ignore_windows |= matches!(errand.what, Operation::Retry { ignore_windows: true, .. });
        tracked.answers = turn.wakes;
        let (host, listener, name) = (self.context.host, self.context.listener, name.clone());
        self.acting += 1;
        self.work.push(Box::pin(async move {
            let app = &app.app;
            let result = match &errand.what {
                Operation::Rollback { to, reason, by } => {
                    let reason = operate::reason_to_take_back(reason.as_deref(), by);
                    let how = TakeBack { to: to.clone(), reason };
                    let made = operate::rollback(host, app, &how, &request, listener).await;
                    made.map(|report| Operated::Passed(Arc::new(report)))
                }
                Operation::Retry { .. } => {
                    let made = operate::retry(host, app, &request, listener).await;
                    made.map(|made| made.map_or(Operated::NotKeptOut, |report| Operated::Passed(Arc::new(report))))
                }
                Operation::Suspend { reason, by } => {
                    let changed = operate::suspend(host, app, reason.as_deref(), by, request.wait).await;
                    changed.map(|Suspended { before, now }| Operated::Suspension { before, now })
                }
                Operation::Resume { .. } => {
                    let changed = operate::resume(host, app, request.wait).await;
                    changed.map(|Suspended { before, now }| Operated::Suspension { before, now })
                }
            };
            Done::Operated(name, number, errand, result)
        }));
    }

    pub(super) fn operated(
        &mut self,
        name: &AppName,
        turn: u64,
        errand: PendingOperation,
        result: Result<Operated, HostError>,
    ) {
        if let Err(error) = &result {
            let (by, verb) = (errand.what.by(), errand.what.verb());
            warn!(app = %name, by, %error, "{verb} came to nothing");
        }
        if let Ok(Operated::Passed(report)) = &result {
            self.reported(Reported { turn, report: Arc::clone(report) });
        } else {
            let ours = self.in_vain(name, turn, &errand.what);
            self.abandoned(name);
            if ours {
                // An ordinary pass shows what has changed, and what was asked for in vain.
                self.wake(name, errand.what.wake());
            }
        }
        // Whoever asked may have gone.
        let _ = errand.reply.send(result);
    }

    /// A person's turn ends without a pass: what that would have answered waits again. Tells whether it was the App's
    /// own.
    fn in_vain(&mut self, name: &AppName, turn: u64, what: &Operation) -> bool {
        let now = self.now;
        let Some(tracked) = self.free(name, turn) else { return false };
        if what.makes_a_pass() {
            tracked.schedule.end(&Ended { outcome: Outcome::Interrupted, corrections: 0, drift: false }, now);
        }
        for wake in std::mem::take(&mut tracked.answers).into_iter().filter(Wake::brings_news) {
            tracked.schedule.wake(wake, now);
        }
        true
    }

    /// One line for the service manager.
    pub(super) fn tell_status(&self) {
        let of = |(name, tracked): (_, &TrackedApp)| summary::AppSummary {
            name: AppName::as_str(name),
            ended: tracked.standing(),
        };
        let apps: Vec<_> = self.tracked.iter().map(of).collect();
        let mut line = summary::line(&apps);
        if let Some(words) = self.manifests.trouble() {
            let _ = write!(line, "; {words}");
        }
        if let Some(words) = self.configuration.words() {
            let _ = write!(line, "; {words}");
        }
        self.context.service.status(&line);
    }
}

/// What is wrong, in one line of the log; the history and the status say all of it.
fn why(app: &App, report: &PassReport) -> Option<String> {
    let left = &report.remaining;
    let problem = report.problems.first().map(|problem| problem.message.clone());
    let blocker = || left.blockers.first().map(|blocker| explain::blocker(app, blocker).message);
    let stalled = || left.stalled.first().map(|stalled| explain::stalled(app, stalled).message);
    let sick = || report.after.as_ref()?.health_in_force()?.complaint();
    problem.or_else(blocker).or_else(stalled).or_else(sick)
}

fn request(trigger: String, turn: &Turn, interrupt: Interrupt) -> Request {
    let (withheld, counting) = (turn.may.withheld().cloned(), turn.counting);
    let ignore_windows = turn.wakes.iter().any(Wake::ignores_windows);
    Request { mode: Mode::Apply, wait: LOCK_WAIT, trigger, interrupt, withheld, ignore_windows, counting }
}

/// Why a pass is made, for the history.
pub(super) fn words(wakes: &[Wake]) -> String {
    let mut words: Vec<String> = wakes.iter().take(REASONS).map(ToString::to_string).collect();
    if wakes.len() > REASONS {
        words.push(format!("and {} more", wakes.len() - REASONS));
    }
    words.join(", ")
}
