//! The question for health at the end of a pass, asked anew until the contract is met or has said enough.

use crate::decide::aim::aimed;
use crate::decide::diff::diff;
use crate::engine::events::Event;
use crate::engine::execute::Executor;
use crate::engine::pass::Pass;
use crate::model::observed::Observed;
use crate::observe::{Probing, hear};
use crate::ports::Host;

impl<H: Host> Pass<'_, H> {
    /// Asks for health, as often as the contract allows, until it is met.
    pub(super) async fn ask_until_healthy(&mut self, observed: &mut Observed, executor: &Executor<'_, H>) {
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

    /// Asks for health where that has not been done at this look.
    pub(super) async fn ask_once(&mut self, observed: &mut Observed) {
        if self.app.health.is_some() && observed.health.is_none() {
            self.ask(observed).await;
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
            let (health, well) = (observed.health.clone(), observed.well.clone());
            *observed = Observed { health, well, serving: observed.serving.clone(), asked: observed.asked, ..last };
            self.report.remaining = diff(&aimed(self.app, &observed.aim), observed);
        }
    }
}
