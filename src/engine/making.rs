//! The acts that make a release and put it in force, each with what its record says before and after.
//!
//! A record never promises what is not on disk: `building` is written before the first file,
//! `fetched` and `built` after the last, when all of them are there to stay.

use std::time::Duration;

use tokio::time::timeout;
use tracing::warn;

use crate::decide::gate;
use crate::engine::execute::Executor;
use crate::model::action::Phase;
use crate::model::boot::Moment;
use crate::model::memory::DueHook;
use crate::model::names::ReleaseId;
use crate::model::observed::{Aim, Link, Observed};
use crate::model::record::{Making as Made, ReleaseRecord};
use crate::model::release::Stage;
use crate::ports::{Host, HostError, HostErrorKind};

/// Who is told to end hears of it within this time of the first of those that are told: systemd tells one process
/// after the other, and a busy machine takes its time over it.
const TOLD_TOGETHER: Duration = Duration::from_secs(1);

/// What one step needs to make a release.
pub struct Making<'a, 'b, H> {
    /// Who does the step.
    pub executor: &'a Executor<'b, H>,
    /// The snapshot that the plan was made for.
    pub observed: &'a Observed,
}

impl<H: Host> Making<'_, '_, H> {
    /// Brings the files; a release without build steps is whole after that.
    ///
    /// # Errors
    /// [`HostErrorKind::ReleaseFailed`] where the source or the files are to blame.
    pub async fn fetch(&self) -> Result<(), HostError> {
        let Executor { host, app, .. } = self.executor;
        let begun = ReleaseRecord {
            recipe: Some(app.fingerprint.recipe.clone()),
            verified: None,
            proven: None,
            made: Made::Building,
            since: host.now(),
            switched: None,
            switching: None,
            origin: None,
            ..self.known()
        };
        host.record(&app.root, &begun).await?;
        let origin = self.judged(host.fetch(app).await, of_source).await?;
        let fetched = ReleaseRecord { made: Made::Fetched, since: host.now(), origin, ..begun };
        if app.release.build.is_empty() {
            return self.finish(fetched).await;
        }
        // It will not be fetched again: a power cut must not leave empty files for the build to begin with.
        host.settle(&app.root).await?;
        host.record(&app.root, &fetched).await
    }

    /// Runs the commands of one stage and writes down that they have run.
    ///
    /// # Errors
    /// [`HostErrorKind::ReleaseFailed`] when one of them fails, but [`HostErrorKind::Interrupted`] where an end was
    /// asked for meanwhile.
    pub async fn run(&self, stage: Stage) -> Result<(), HostError> {
        let Executor { host, app, .. } = self.executor;
        let mut record = self.latest().await?;
        if stage == Stage::Build {
            record = ReleaseRecord { made: Made::Building, since: host.now(), ..record };
            host.record(&app.root, &record).await?;
        }
        // A build begins anew and a verification has no after-effects; everything else is not left half done.
        let phase = match stage {
            Stage::Build => Some(Phase::Build),
            Stage::Verify => Some(Phase::Verify),
            Stage::Migrate | Stage::BeforeSwitch | Stage::AfterSwitch | Stage::AfterRollback => None,
        };
        let goes_on = || !phase.is_some_and(|phase| self.executor.ends_before(phase, self.observed));
        self.judged(host.steps(app, stage, self.previous(), &goes_on).await, of_release).await?;
        match stage {
            Stage::Build => self.finish(record).await,
            Stage::Verify | Stage::Migrate => {
                gate::ran(&mut record, stage, host.now());
                host.record(&app.root, &record).await
            }
            Stage::BeforeSwitch => Ok(()),
            Stage::AfterSwitch | Stage::AfterRollback => self.executor.remember(|memory| memory.due = None).await,
        }
    }

    /// Moves `current`, and remembers first what is to be run after that.
    ///
    /// # Errors
    /// [`HostErrorKind::ReleaseFailed`] when a command before the switch fails; else what the host refuses.
    pub async fn switch(&self, to: &ReleaseId) -> Result<(), HostError> {
        let Executor { host, app, .. } = self.executor;
        if !app.release.hooks.before_switch.is_empty() {
            let ended = host.steps(app, Stage::BeforeSwitch, self.previous(), &|| true).await;
            self.judged(ended, of_release).await?;
        }
        let back = matches!(self.observed.aim, Aim::Back { .. });
        let stage = if back { Stage::AfterRollback } else { Stage::AfterSwitch };
        if !stage.steps(&app.release).is_empty() {
            let due = DueHook { release: to.clone(), stage };
            self.executor.remember(|memory| memory.due = Some(due)).await?;
        }
        // Before the switch: a release that is in force without this would not be judged.
        let record = self.latest().await?;
        let boot = host.boot().await;
        let now = host.now();
        let switched = Some(gate::in_order(&self.observed.records, now));
        let switching = Some(Moment { at: now, boot });
        match host.record(&app.root, &ReleaseRecord { switched, switching, ..record }).await {
            // It was judged in its time.
            Err(error) if back => warn!(%error, "cannot write down that the release is switched to"),
            written => written?,
        }
        host.switch(&app.root, to).await
    }

    /// All files are there: looked over, brought to disk, and only then called built.
    async fn finish(&self, record: ReleaseRecord) -> Result<(), HostError> {
        let Executor { host, app, .. } = self.executor;
        let found = host.inspect(app).await?;
        if found.empty {
            let message = format!("its source left `{}` empty", app.root.release(&app.release.id).display());
            return Err(
                HostError::new(HostErrorKind::ReleaseFailed, message).with_help("correct `spec.release.source`")
            );
        }
        if !found.missing.is_empty() {
            let lacks: Vec<String> = found.missing.iter().map(|path| format!("`{path}`")).collect();
            let message = format!("it lacks {}, which `spec.release.requires` names", lacks.join(", "));
            return Err(HostError::new(HostErrorKind::ReleaseFailed, message)
                .with_help("complete the source or the build steps, or correct `spec.release.requires`"));
        }
        host.settle(&app.root).await?;
        host.record(&app.root, &ReleaseRecord { made: Made::Built, since: host.now(), ..record }).await
    }

    /// A shutdown, or a logout that leaves nobody behind, tells the steps to end along with whoever makes the pass:
    /// what fails after that is judged when it is done again.
    async fn judged<T>(&self, ended: Result<T, HostError>, usual: fn(HostError) -> HostError) -> Result<T, HostError> {
        let Err(error) = ended else { return ended };
        let asked = timeout(TOLD_TOGETHER, self.executor.interrupt.asked()).await.is_ok();
        Err(if asked { HostError { kind: HostErrorKind::Interrupted, ..error } } else { usual(error) })
    }

    fn known(&self) -> ReleaseRecord {
        gate::known(self.executor.app, self.observed, self.executor.host.now())
    }

    /// The record as earlier steps of the same plan have left it.
    async fn latest(&self) -> Result<ReleaseRecord, HostError> {
        let Executor { host, app, .. } = self.executor;
        let records = host.records(&app.root).await?;
        Ok(records.into_iter().find(|record| record.id == app.release.id).unwrap_or_else(|| self.known()))
    }

    fn previous(&self) -> Option<&ReleaseId> {
        match &self.observed.layout.link {
            Link::Release { id } if *id != self.executor.app.release.id => Some(id),
            _ => None,
        }
    }
}

/// A failure of the release itself, whatever its form; an end that was asked for is none, nor what the host lacks.
pub fn of_release(error: HostError) -> HostError {
    match error.kind {
        HostErrorKind::Interrupted | HostErrorKind::Hindered => error,
        _ => HostError { kind: HostErrorKind::ReleaseFailed, ..error },
    }
}

/// A source that cannot be reached now is no fault of the release.
fn of_source(error: HostError) -> HostError {
    match error.kind {
        HostErrorKind::Unreachable | HostErrorKind::TimedOut | HostErrorKind::Denied => error,
        _ => of_release(error),
    }
}
