//! Passes that may not act, or may not any longer: they look, ask for health, and say why nothing is done.

use jiff::{SignedDuration, Timestamp};
use tracing::warn;

use crate::decide::aim::aimed;
use crate::decide::diff::diff;
use crate::decide::plan::plan_for;
use crate::decide::withhold::{starts_workers, withheld};
use crate::engine::execute::{Executor, Round};
use crate::engine::pass::{Pass, Request};
use crate::model::action::Plan;
use crate::model::app::App;
use crate::model::drift::Difference;
use crate::model::observed::Observed;
use crate::model::report::Mode;
use crate::model::sync::{Counting, Withheld};
use crate::ports::Host;

/// Corrections are counted over this.
const HOUR: SignedDuration = SignedDuration::from_hours(1);

/// Whether such a pass over that App may ever act.
pub(super) fn acts(app: &App, request: &Request) -> bool {
    request.mode == Mode::Apply && !app.sync.suspend
}

impl<H: Host> Pass<'_, H> {
    /// Why the pass may not act on what was seen.
    pub(super) fn withheld(&self, observed: &Observed, difference: &Difference) -> Option<Withheld> {
        withheld(self.app, observed, difference, self.request.permit())
    }

    /// The same, noted in the report.
    pub(super) fn is_withheld(&mut self, observed: &Observed, difference: &Difference) -> bool {
        self.report.withheld = self.withheld(observed, difference);
        self.report.withheld.is_some()
    }

    /// The pass may close what was seen to differ, or some of it.
    pub(super) fn may_act(&self, observed: &Observed) -> bool {
        let app = aimed(self.app, &observed.aim);
        let difference = diff(&app, observed);
        let may = match self.withheld(observed, &difference) {
            None => true,
            Some(_) => {
                self.starts_only(observed, &difference) && !plan_for(&app, &difference).of_starts_if(true).is_empty()
            }
        };
        acts(self.app, self.request) && may
    }

    /// The pass may do nothing but start workers.
    pub(super) fn starts_only(&self, observed: &Observed, difference: &Difference) -> bool {
        let withheld = self.withheld(observed, difference);
        withheld.is_some_and(|why| starts_workers(self.app, observed, &why, self.request.permit()))
    }

    /// Changes nothing; whether the App is healthy is asked as often as by a pass that acts.
    pub(super) async fn look_on(&mut self, mut observed: Observed) {
        self.report.remaining = self.report.difference.clone();
        if self.request.mode == Mode::Apply {
            let (host, wish, pass) = (self.host, self.app, self.report.pass.clone());
            let round = Round { pass: &pass, listener: self.listener, interrupt: &self.request.interrupt };
            let aimed = aimed(wish, &observed.aim).into_owned();
            self.ask_until_healthy(&mut observed, &Executor::new(host, wish, &aimed, round)).await;
        }
        self.report.after = Some(observed);
    }

    /// Writes down that something is put right now which nobody has asked for, before it is: an agent that is killed over it
    /// must not forget. Tells whether that is over for this pass: what only starts workers is not counted.
    pub(super) async fn count(&mut self, executor: &Executor<'_, H>, plan: &Plan) -> bool {
        let now = self.host.now();
        let noted = match self.request.counting {
            Counting::Off | Counting::Deployment => return true,
            Counting::Anew if self.counts_nothing().await => return true,
            Counting::Anew => executor.remember(|memory| memory.corrections.clear()).await,
            Counting::Correction if !plan.is_counted() => return false,
            Counting::Correction => executor.remember(|memory| note(&mut memory.corrections, now)).await,
        };
        // The count is a guard, and no reason to leave the host as it is.
        if let Err(error) = noted {
            warn!(%error, "cannot write down that drift is corrected");
        }
        true
    }

    async fn counts_nothing(&self) -> bool {
        self.host.recall(&self.app.root).await.is_ok_and(|memory| memory.corrections.is_empty())
    }

    /// Notes that the host is as the manifest says, where later drift is to be told from a change of the manifest.
    pub(super) async fn settle(&mut self, executor: &Executor<'_, H>) {
        let wish = &self.app.fingerprint.wish;
        let known = self.report.after.as_ref().is_some_and(|after| after.settled.as_ref() == Some(wish));
        let is_there = self.report.remaining.is_empty() && self.report.problems.is_empty();
        let needed = !self.app.sync.self_heal || self.request.counting != Counting::Off;
        if !needed || known || !is_there {
            return;
        }
        if let Err(error) = executor.remember(|memory| memory.settled = Some(wish.clone())).await {
            self.problem(&error);
        }
    }
}

fn note(corrections: &mut Vec<Timestamp>, now: Timestamp) {
    corrections.retain(|at| now.duration_since(*at).abs() < HOUR);
    corrections.push(now);
}
