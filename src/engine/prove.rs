//! The proof of a release under trial: looks at workers and health until the gate is passed or has failed.

use std::time::Duration;

use tracing::debug;

use crate::decide::diff::diff;
use crate::decide::gate::{Trial, carriers, passed, trial};
use crate::decide::plan::plan_for;
use crate::engine::events::Event;
use crate::engine::execute::Executor;
use crate::model::action::Action;
use crate::model::health::HealthVerdict;
use crate::model::names::MemberName;
use crate::model::observed::Observed;
use crate::model::process::ProcessId;
use crate::observe::{Probing, observe};
use crate::ports::{Host, HostError, HostErrorKind};

/// Attempts and the pause between them where there is no health contract: workers alone are judged.
const ATTEMPTS: u32 = 3;
const INTERVAL: Duration = Duration::from_secs(1);
/// A worker that has ended so often during the trial does not stay up, however many attempts are left.
const ENDS: u32 = 2;

impl<H: Host> Executor<'_, H> {
    /// Judges the App's release; passed, it is recorded proven.
    ///
    /// # Errors
    /// [`HostErrorKind::ReleaseFailed`] with everything that spoke against it at the last attempt.
    pub async fn prove(&self, observed: &Observed) -> Result<(), HostError> {
        let (host, app) = (self.host, self.app);
        let attempts = app.health.as_ref().map_or(ATTEMPTS, |contract| contract.attempts);
        let interval = app.health.as_ref().map_or(INTERVAL, |contract| contract.interval);
        let mut carried = carriers(app, observed);
        let mut ends = 0;
        let mut attempt = 1;
        // Nothing spoke against it at some attempt: but for what nobody could tell then, it would have passed.
        let mut unjudged = None;
        loop {
            let look = observe(host, self.wish, Probing::Once).await?;
            let gone = lost(&carried, &look);
            carried = carriers(app, &look);
            let said = trial(app, &look);
            let against = match said {
                Trial::Passed if gone.is_empty() => {
                    return host.record(&app.root, &passed(app, &look, host.now())).await;
                }
                Trial::TooYoung(wait) if gone.is_empty() => {
                    debug!(wait_ms = wait.as_millis(), "a worker is too young to be trusted");
                    self.interrupted()?;
                    self.pause(wait).await;
                    continue;
                }
                Trial::Unclear(what) if gone.is_empty() => {
                    unjudged = Some(what.clone());
                    what
                }
                Trial::Passed | Trial::TooYoung(_) | Trial::Unclear(_) => {
                    gone.iter().map(|name| format!("{name} has ended")).collect()
                }
                Trial::Failed(against) => against,
            };
            ends += u32::from(!gone.is_empty());
            self.interrupted()?;
            if ends >= ENDS {
                return Err(failed(attempt, &against));
            }
            if attempt >= attempts {
                return Err(unjudged.map_or_else(|| failed(attempt, &against), |what| unclear(&what)));
            }
            let verdict = HealthVerdict::unanswered(against.join("; "));
            self.tell(&Event::Unhealthy { attempt, of: attempts, verdict });
            attempt += 1;
            self.start_again(&look).await;
            self.pause(interval).await;
        }
    }

    /// One that ended may have been asked to, by a pass that was killed: it gets another chance, and no more.
    async fn start_again(&self, look: &Observed) {
        let plan = plan_for(self.app, &diff(self.app, look));
        let starts: Vec<_> =
            plan.steps.iter().filter(|step| matches!(step.action, Action::StartWorker { .. })).collect();
        for step in starts {
            // What comes of it is seen at the next attempt.
            Box::pin(self.step(step, look, look.layout.switched())).await;
        }
    }

    fn interrupted(&self) -> Result<(), HostError> {
        if self.interrupt.is_asked() {
            return Err(HostError::new(HostErrorKind::Interrupted, "interrupted before the gate was passed"));
        }
        Ok(())
    }

    async fn pause(&self, duration: Duration) {
        tokio::select! {
            () = self.host.sleep(duration) => {}
            () = self.interrupt.asked() => {}
        }
    }
}

/// Members whose process was there at the look before and is not any more.
fn lost(before: &[(MemberName, ProcessId)], look: &Observed) -> Vec<MemberName> {
    let alive = |process: &ProcessId| {
        look.groups.iter().flat_map(|seen| seen.members.iter().flatten()).any(|one| one.process == Some(*process))
    };
    before.iter().filter(|(_, process)| !alive(process)).map(|(name, _)| name.clone()).collect()
}

/// What cannot be judged now is not the release's fault: the next pass looks again.
fn unclear(what: &[String]) -> HostError {
    HostError::new(HostErrorKind::Other, format!("it cannot be judged: {}", what.join("; ")))
        .with_help("nothing else speaks against the release; it is judged as soon as that can be told")
}

fn failed(attempts: u32, against: &[String]) -> HostError {
    let times = if attempts == 1 { "1 attempt".to_owned() } else { format!("{attempts} attempts") };
    let message = format!("the gate was not passed in {times}: {}", against.join("; "));
    HostError::new(HostErrorKind::ReleaseFailed, message)
        .with_help("look into the application's log and the workers' logs, and commit a mended release")
}
