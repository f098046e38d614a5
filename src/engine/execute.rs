//! Does the steps of one plan: phase after phase, side by side within a phase, each journaled before and after.
//!
//! It never asks why a step is there. A step that fails keeps back what stands on it; the rest goes on.

use std::collections::BTreeSet;
use std::time::Duration;

use backoff::{BackoffBuilder, ExponentialBuilder};
use futures_util::future::join_all;
use jiff::Timestamp;
use tracing::{info, warn};

use crate::decide::gate::{is_judged, is_on_trial};
use crate::engine::events::{Event, Listener};
use crate::engine::interrupt::Interrupt;
use crate::engine::making::{Making, of_release};
use crate::model::action::{Action, Phase, Plan, Step};
use crate::model::app::{App, WorkerGroup};
use crate::model::journal::{JournalEntry, JournalEvent};
use crate::model::memory::{AppliedConfig, Memory, Renewed};
use crate::model::names::{GroupName, RelativePath, ReleaseId};
use crate::model::observed::{Aim, Observed, Rung};
use crate::model::process::{Known, START_GUARD};
use crate::model::record::ReleaseRecord;
use crate::model::report::{Problem, Tried};
use crate::ports::notes::collect;
use crate::ports::{GroupOf, Host, HostError, HostErrorKind};

/// A change that lies so little in the future, as after a clock was set back a bit, is waited for.
const AHEAD: Duration = Duration::from_secs(5);

/// How long a step of `restartOn` may take.
const STEP_TIMEOUT: Duration = Duration::from_mins(5);

/// A worker that does not stay up is started once more after this, and again after twice this.
const RETRY_AFTER: Duration = Duration::from_secs(1);
const RETRIES: usize = 2;
/// Of a release that is judged, a worker is not started once more later than this after the first try began: its
/// manager has tried long enough by then, and meanwhile the site lacks workers that the release before would have.
const RETRIES_ON_TRIAL: Duration = Duration::from_secs(5);

/// What all rounds of a pass have in common.
#[derive(Clone, Copy)]
pub struct Round<'a> {
    /// Names the pass in the journal.
    pub pass: &'a str,
    /// Who is told.
    pub listener: &'a dyn Listener,
    /// Looked at before each phase and each further try.
    pub interrupt: &'a Interrupt,
}

/// Does steps for one App in one pass, whose lock the caller holds.
pub struct Executor<'a, H> {
    /// The host.
    pub host: &'a H,
    /// The App as it is wished for.
    pub wish: &'a App,
    /// The same with the release that is aimed at.
    pub app: &'a App,
    /// Names the pass in the journal.
    pub pass: &'a str,
    /// Who is told.
    pub listener: &'a dyn Listener,
    /// Looked at before each phase and each further try.
    pub interrupt: &'a Interrupt,
    /// One writer of the memory at a time.
    memory: tokio::sync::Mutex<()>,
}

impl<'a, H: Host> Executor<'a, H> {
    /// An executor for one round of a pass.
    pub fn new(host: &'a H, wish: &'a App, app: &'a App, of: Round<'a>) -> Self {
        let Round { pass, listener, interrupt } = of;
        Self { host, wish, app, pass, listener, interrupt, memory: tokio::sync::Mutex::new(()) }
    }

    /// Does the steps that may go now, phase after phase, and says what came of each. After a preparation, before
    /// the proof and before the pruning the host is looked at again; later turns wait for that, too.
    pub async fn execute(&self, plan: &Plan, observed: &Observed) -> Vec<Tried> {
        let mut tried = Vec::new();
        let mut switched = observed.layout.switched();
        let mut without_config: BTreeSet<GroupName> = BTreeSet::new();
        let Some(part) = plan.next().map(Part::of) else { return tried };
        let mut now: Vec<&Step> =
            plan.steps.iter().filter(|step| step.turn == 0 && Part::of(step.phase) == part).collect();
        while let Some(phase) = now.first().map(|step| step.phase) {
            let (mut steps, rest): (Vec<&Step>, Vec<&Step>) = now.into_iter().partition(|step| step.phase == phase);
            now = rest;
            steps.retain(|step| renewed(&step.action).is_none_or(|group| !without_config.contains(group)));
            if self.ends_before(phase, observed) {
                break;
            }
            if phase == Phase::Replace {
                self.keep_clear_of(last_change(plan, observed, switched)).await;
                self.drain(&steps).await;
            }
            let done = join_all(steps.into_iter().map(|step| self.step(step, observed, switched))).await;
            let failed = |one: &&Tried| one.problem.is_some();
            if phase == Phase::Configure {
                // What is restarted now would read the old configuration again.
                without_config.extend(done.iter().filter(failed).filter_map(|one| one.action.group().cloned()));
            }
            let stands_on_it = phase < Phase::Configure && done.iter().any(|one| one.problem.is_some());
            tried.extend(done);
            if stands_on_it {
                break;
            }
            if phase == Phase::Switch {
                switched = Some(self.host.now());
            }
        }
        tried
    }

    /// Whether the pass ends before this phase. A way back is gone to its end, and what is in force is judged, whatever
    /// is wanted by then.
    pub(super) fn ends_before(&self, phase: Phase, observed: &Observed) -> bool {
        let preparing = observed.aim == Aim::Desired && !is_on_trial(self.app, observed);
        self.interrupt.ends_before(phase, preparing)
    }

    /// Whether the steps of this phase, which are over, may have been cut short.
    pub(super) fn ended_in(&self, phase: Option<Phase>, observed: &Observed) -> bool {
        match phase {
            Some(phase) if phase.is_preparation() => self.ends_before(phase, observed),
            _ => self.interrupt.is_asked(),
        }
    }

    /// Tells each group that is about to lose workers, in its own way, so that they finish by themselves.
    async fn drain(&self, steps: &[&Step]) {
        let leaving = |step: &&&Step| matches!(step.action, Action::RestartWorker { .. } | Action::StopWorker { .. });
        let groups: BTreeSet<&GroupName> =
            steps.iter().filter(leaving).filter_map(|step| step.action.group()).collect();
        let drains = groups.into_iter().filter_map(|name| Some((name, self.app.group(name)?.drain.as_ref()?)));
        join_all(drains.map(|(group, drain)| async move {
            self.tell(&Event::Settling { what: format!("{group} is told to drain: `{}`", drain.run) });
            if let Err(error) = self.host.run(self.app, &drain.run, drain.timeout).await {
                // They are asked to stop gently in any case.
                warn!(%group, %error, "draining failed");
            }
        }))
        .await;
    }

    /// Waits until a worker that starts is clearly younger than the last change, whoever made it and by whichever
    /// clock.
    async fn keep_clear_of(&self, change: Option<Timestamp>) {
        let Some(change) = change else { return };
        let now = self.host.now();
        // What lies far ahead is not waited for.
        let ahead = Some(elapsed(now, change)).filter(|ahead| *ahead <= AHEAD).unwrap_or_default();
        if let Some(rest) = (START_GUARD * 2 + ahead).checked_sub(elapsed(change, now)) {
            self.host.sleep(rest).await;
        }
    }

    pub(super) async fn step(&self, step: &Step, observed: &Observed, switched: Option<Timestamp>) -> Tried {
        let began = self.host.now();
        let Step { action, reason, .. } = step;
        self.tell(&Event::Begun { action: action.clone(), reason: reason.clone() });
        let (result, notes) =
            match self.journal(JournalEvent::Begin { action: action.clone(), reason: reason.clone() }).await {
                Ok(()) => collect(self.act(action, observed, switched)).await,
                Err(error) if goes_on_unjournaled(self.app, observed) => {
                    warn!(%error, "cannot write the journal");
                    collect(self.act(action, observed, switched)).await
                }
                Err(error) => (Err(error), Vec::new()),
            };
        let took = elapsed(began, self.host.now());
        let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let (event, entry) = match &result {
            Ok(()) => {
                info!(%action, took_ms, "done");
                (
                    Event::Done { action: action.clone(), took },
                    JournalEvent::Done { action: action.clone(), took_ms, notes: notes.clone() },
                )
            }
            Err(error) => {
                warn!(%action, took_ms, %error, "failed");
                let text = error.to_string();
                (
                    Event::Failed { action: action.clone(), error: text.clone(), retry_in: None },
                    JournalEvent::Failed { action: action.clone(), error: text, took_ms },
                )
            }
        };
        self.tell(&event);
        if let Err(error) = self.journal(entry).await {
            // What was done stays done; the next look at the host does not need the journal.
            warn!(%error, "cannot write the journal");
        }
        let problem = result.err().map(|error| {
            let lasting = error.speaks_against_release();
            Problem { message: format!("{action}: {error}"), help: error.help, lasting }
        });
        Tried { action: action.clone(), reason: reason.clone(), began, took, problem, notes }
    }

    async fn act(&self, action: &Action, observed: &Observed, switched: Option<Timestamp>) -> Result<(), HostError> {
        let (host, app) = (self.host, self.app);
        let limit = is_judged(app, observed).then_some(RETRIES_ON_TRIAL);
        match action {
            Action::LiftQuarantine { id } => match observed.record(id).cloned() {
                Some(known) => host.record(&app.root, &ReleaseRecord { quarantine: None, ..known }).await,
                None => Ok(()),
            },
            Action::FetchRelease { .. } => self.making(observed).fetch().await,
            Action::LinkShared { .. } => host.link(app).await.map_err(of_release),
            Action::RunStage { stage, .. } => self.making(observed).run(*stage).await,
            Action::SwitchCurrent { to } => self.making(observed).switch(to).await,
            Action::ApplyConfig { group, path } => self.apply_config(group, path, observed).await,
            Action::RenewService { service, how } => {
                // What is renewed now must be told apart from what was there before the switch.
                self.keep_clear_of(switched).await;
                let wanted = app.services.iter().find(|wanted| wanted.name == *service);
                let wanted = wanted.ok_or_else(|| {
                    HostError::new(HostErrorKind::Other, format!("the App has no service `{service}`"))
                })?;
                // Read before: whoever moves it meanwhile asks for another time.
                let link = host.layout(app).await?.link_changed;
                host.renew(app, wanted, *how).await?;
                let noted = Renewed { service: service.clone(), at: host.now(), link };
                self.remember(|memory| {
                    memory.renewed.retain(|known| known.service != noted.service);
                    memory.renewed.push(noted);
                })
                .await
            }
            Action::ProveRelease { .. } => self.prove(observed).await,
            Action::PruneRelease { id } => {
                host.remove(&app.root, id).await?;
                host.forget(&app.root, id).await
            }
            Action::StartWorker { group, member } => {
                let of = GroupOf { app, group: self.group(group)? };
                self.insist(action, limit, || host.start(of, member), || host.start(of, member)).await
            }
            Action::RestartWorker { group, member, process } => {
                let of = GroupOf { app, group: self.group(group)? };
                // Once the old process is gone, a further try is a start.
                self.insist(action, limit, || host.replace(of, member, *process), || host.start(of, member)).await
            }
            Action::StopWorker { group, member } => host.stop(GroupOf { app, group: self.group(group)? }, member).await,
            Action::EnableWorker { group, member } => {
                host.enable(GroupOf { app, group: self.group(group)? }, member).await
            }
            Action::StopStray { process } => host.terminate(*process, self.app.stray_grace()).await,
        }
    }

    /// Tries again, with growing pauses, while the worker does not stay up; with a `limit`, only until so long after
    /// the beginning.
    async fn insist<F, G>(
        &self,
        action: &Action,
        limit: Option<Duration>,
        first: impl FnOnce() -> F,
        again: impl Fn() -> G,
    ) -> Result<(), HostError>
    where
        F: Future<Output = Result<(), HostError>>,
        G: Future<Output = Result<(), HostError>>,
    {
        let began = self.host.now();
        let mut result = first().await;
        let pauses = ExponentialBuilder::default().with_min_delay(RETRY_AFTER).with_max_times(RETRIES).build();
        for pause in pauses {
            match &result {
                Err(error) if error.kind == HostErrorKind::WorkerFailed && !self.interrupt.is_asked() => {
                    if limit.is_some_and(|limit| elapsed(began, self.host.now()) + pause > limit) {
                        break;
                    }
                    let error = error.to_string();
                    self.tell(&Event::Failed { action: action.clone(), error, retry_in: Some(pause) });
                    self.host.sleep(pause).await;
                    result = again().await;
                }
                Ok(()) | Err(_) => break,
            }
        }
        result
    }

    fn making<'b>(&'b self, observed: &'b Observed) -> Making<'b, 'a, H> {
        Making { executor: self, observed }
    }

    async fn apply_config(&self, name: &GroupName, path: &RelativePath, observed: &Observed) -> Result<(), HostError> {
        let seen = observed.config.iter().find(|config| config.group == *name && config.path == *path);
        let Some((seen, Known::Known(digest))) = seen.map(|seen| (seen, &seen.content)) else {
            return Err(HostError::new(HostErrorKind::Other, format!("`{path}` was not read")));
        };
        let run = self.app.restart_on(name).iter().find(|wanted| wanted.path == *path);
        let run = run.and_then(|wanted| wanted.run.as_ref());
        let at = match run {
            Some(command) => {
                self.host.run(self.app, command, STEP_TIMEOUT).await?;
                self.host.now()
            }
            // A time in the future, by whichever clock, is none that a worker could start after.
            None => seen.modified.map_or_else(|| self.host.now(), |written| written.min(self.host.now())),
        };
        let release = run.map(|_| self.app.release.id.clone());
        let (group, path, digest) = (name.clone(), path.clone(), digest.clone());
        let applied = AppliedConfig { group, path, digest, at, release };
        self.remember(|memory| {
            let is_there = |id: &ReleaseId| observed.layout.release(id).is_some();
            memory.config.retain(|known| {
                let same = known.group == applied.group && known.path == applied.path;
                known.release.as_ref().is_none_or(is_there) && !(same && known.release == applied.release)
            });
            memory.config.push(applied);
        })
        .await?;
        // Workers started from now on must be told apart from those that started before.
        self.host.sleep(START_GUARD * 2).await;
        Ok(())
    }

    /// Changes what is remembered, and nothing that another step changes at the same time.
    ///
    /// # Errors
    /// [`HostError`] when it cannot be written.
    pub async fn remember(&self, change: impl FnOnce(&mut Memory)) -> Result<(), HostError> {
        let _one_writer = self.memory.lock().await;
        let mut memory = self.host.recall(&self.app.root).await?;
        let boot = self.host.boot().await.id;
        if memory.boot != boot {
            memory.helpless.clear();
            memory.boot = boot;
        }
        change(&mut memory);
        self.host.remember(&self.app.root, &memory).await
    }

    /// Adds a line to the journal.
    ///
    /// # Errors
    /// [`HostError`] when it cannot be written.
    pub async fn journal(&self, event: JournalEvent) -> Result<(), HostError> {
        let entry = JournalEntry { at: self.host.now(), pass: self.pass.to_owned(), app: self.app.name.clone(), event };
        self.host.journal(&self.app.root, &entry).await
    }

    /// Tells whoever listens.
    pub fn tell(&self, event: &Event) {
        self.listener.event(&self.app.name, event);
    }

    fn group(&self, name: &GroupName) -> Result<&'a WorkerGroup, HostError> {
        self.app
            .group(name)
            .ok_or_else(|| HostError::new(HostErrorKind::Other, format!("the App has no group `{name}`")))
    }
}

/// Whether the host is between two releases: a release on trial is judged, and the way back is gone, even where that
/// cannot be written down.
pub fn goes_on_unjournaled(app: &App, observed: &Observed) -> bool {
    matches!(observed.aim, Aim::Back { .. }) || is_on_trial(app, observed)
}

/// Steps of one part go without another look in between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Preparation,
    Switch,
    Proof,
    Pruning,
}

impl Part {
    fn of(phase: Phase) -> Self {
        match phase {
            phase if phase.is_preparation() => Self::Preparation,
            Phase::Prove => Self::Proof,
            Phase::Prune => Self::Pruning,
            _ => Self::Switch,
        }
    }
}

/// The group or service that reads its configuration anew by this action.
fn renewed(action: &Action) -> Option<&GroupName> {
    match action {
        Action::RenewService { service, .. } => Some(service),
        _ => action.group(),
    }
}

/// The last change that workers which start now will be judged against by their start time: of a file that
/// they read, and of the link where nothing else tells (yet) what they run.
fn last_change(plan: &Plan, observed: &Observed, switched: Option<Timestamp>) -> Option<Timestamp> {
    let starting: BTreeSet<&GroupName> = plan
        .steps
        .iter()
        .filter(|step| matches!(step.action, Action::StartWorker { .. } | Action::RestartWorker { .. }))
        .filter_map(|step| step.action.group())
        .collect();
    let files = observed.config.iter().filter(|file| starting.contains(&file.group));
    let told = files.flat_map(|file| [file.modified, file.applied.as_ref().map(|applied| applied.at)]).flatten();
    // Of a member that is down nobody knows yet what it will show; of one that runs, its successor shows the same.
    let silent = plan.steps.iter().any(|step| matches!(step.action, Action::StartWorker { .. }))
        || observed.groups.iter().filter(|seen| starting.contains(&seen.group)).any(|seen| {
            let mut up = seen.members.iter().flatten().filter(|worker| worker.state.is_up());
            up.any(|worker| matches!(worker.evidence.rung, None | Some(Rung::StartTime)))
        });
    told.chain(switched.filter(|_| silent)).max()
}

/// From one moment to a later one; nothing if the clock was set back.
pub(crate) fn elapsed(from: Timestamp, to: Timestamp) -> Duration {
    Duration::try_from(to.duration_since(from)).unwrap_or_default()
}
