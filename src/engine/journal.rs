//! What a pass writes into the journal of itself: that it acts, and how it ended.

use tracing::warn;

use crate::engine::execute::{Executor, goes_on_unjournaled};
use crate::engine::pass::Pass;
use crate::model::app::App;
use crate::model::journal::JournalEvent;
use crate::model::observed::{Link, Observed};
use crate::ports::Host;

impl<H: Host> Pass<'_, H> {
    /// Writes down that the pass acts. Tells whether it may, then.
    pub(super) async fn begins(&mut self, executor: &Executor<'_, H>, app: &App, observed: &Observed) -> bool {
        match executor.journal(self.started()).await {
            Ok(()) => true,
            Err(error) if goes_on_unjournaled(app, observed) => {
                warn!(%error, "cannot write the journal");
                true
            }
            Err(error) => {
                self.problem(&error);
                false
            }
        }
    }

    /// Writes down how it ended.
    pub(super) async fn note_end(&self, executor: &Executor<'_, H>) {
        let outcome = self.outcome().word().to_owned();
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

    /// One sentence for the journal.
    fn summary(&self) -> String {
        let report = &self.report;
        let done = report.tried.iter().filter(|one| one.problem.is_none()).count();
        // Of a release that was never switched to, nobody expects health.
        let switched = report.after.as_ref().filter(|after| matches!(after.layout.link, Link::Release { .. }));
        let sick = switched.and_then(|after| after.health_in_force()?.complaint());
        let failed = report.problems.iter().map(|problem| problem.message.clone());
        let trouble: Vec<String> = failed.chain(sick).collect();
        let left = report.remaining.drift.len() + report.remaining.settling.len();
        let left = match left {
            0 => String::new(),
            1 => ", 1 difference left".to_owned(),
            many => format!(", {many} differences left"),
        };
        let trouble = if trouble.is_empty() { String::new() } else { format!(": {}", trouble.join("; ")) };
        format!("{done} of {} actions done{left}{trouble}", report.tried.len())
    }
}
