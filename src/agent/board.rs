//! What outsiders may see of the Apps: written by the loop, read by the web.
//!
//! In: each thing that happens to an App. Out: a [`View`], a snapshot that costs a few clones of pointers. The lock
//! is held for no longer than such a snapshot takes, and never while anything is computed or awaited: however many
//! readers there are, the loop does not wait for them. Begin at [`Board::view`] and [`Board::ended`].

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use tokio::sync::watch;

use super::counters::Counters;
use super::tracked::has_waited;
use super::view::{AppView, Made, Running, View};
use crate::decide::schedule::{ScheduleState, Turn};
use crate::documents::agent::{Configuration, ManifestProblem, Revision, Unreachable};
use crate::manifest::Loaded;
use crate::model::app::App;
use crate::model::names::{AppName, Root};
use crate::model::process::ProcessId;
use crate::model::report::{Outcome, PassReport};
use crate::model::wake::Wake;

/// What outsiders may see. A clone is the same board.
#[derive(Debug, Clone)]
pub struct Board(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    version: String,
    started: Timestamp,
    state: Mutex<State>,
    /// Counts what was written; who waits for a pass looks again after each change.
    changes: watch::Sender<u64>,
    counters: Counters,
}

#[derive(Debug, Default)]
struct State {
    ready: bool,
    revision: Option<Revision>,
    refused: Option<ManifestProblem>,
    unreachable: Option<Unreachable>,
    configuration: Configuration,
    /// In the order of the manifests, then what disappeared from them.
    apps: Vec<Entry>,
    /// Those that the manifests in force do not name; in `apps` again once they are said to be left running.
    gone: BTreeMap<AppName, Entry>,
    former_roots: Arc<[(AppName, Root)]>,
    /// Passes that have begun, over whatever App.
    begun: u64,
}

#[derive(Debug, Clone)]
struct Entry {
    view: AppView,
    /// The number of the pass that runs.
    number: u64,
    /// The last pass that was asked for by a person, and its number.
    requested: Option<(u64, Arc<Made>)>,
    /// The manifest that the host was last brought to; equal ones are the same one here.
    converged: Option<Arc<Loaded>>,
}

/// No pass will come: the App is gone, or the agent is about to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoPass;

impl Board {
    /// An empty board of an agent that begins now.
    #[must_use]
    pub fn new(version: &str) -> Self {
        Self(Arc::new(Inner {
            version: version.to_owned(),
            started: Timestamp::now(),
            state: Mutex::default(),
            changes: watch::Sender::new(0),
            counters: Counters::default(),
        }))
    }

    /// These manifests are in force from now on.
    pub fn manifests(&self, revision: Option<Revision>, apps: &[Loaded]) {
        // Only the loop writes: nothing comes in between.
        let known: BTreeMap<AppName, AppView> = {
            let state = self.state();
            state.gone.values().chain(&state.apps).map(|entry| (entry.name().clone(), entry.view.clone())).collect()
        };
        let view = |loaded: &Loaded| match known.get(&loaded.app.name) {
            Some(view) => view.renewed(loaded),
            None => AppView::new(Arc::new(loaded.clone())),
        };
        let views: Vec<AppView> = apps.iter().map(view).collect();
        self.write(|state| {
            (state.revision, state.refused) = (revision, None);
            let mut known: BTreeMap<AppName, Entry> = std::mem::take(&mut state.gone);
            known.extend(state.apps.drain(..).map(|entry| (entry.name().clone(), entry)));
            let entry = |view: AppView| match known.remove(&view.loaded.app.name) {
                Some(entry) => Entry { view, ..entry },
                None => Entry::new(view),
            };
            state.apps = views.into_iter().map(entry).collect();
            let (orphans, gone): (BTreeMap<_, _>, BTreeMap<_, _>) =
                known.into_iter().partition(|(_, entry)| entry.view.orphaned);
            state.apps.extend(orphans.into_values());
            state.gone = gone;
        });
    }

    /// Newer manifests cannot be used; those in force stay in force. The next [`Board::manifests`] clears it.
    pub fn refused(&self, problem: ManifestProblem) {
        self.write(|state| state.refused = Some(problem));
    }

    /// The agent's own configuration was read again.
    pub fn configured(&self, standing: Configuration) {
        self.write(|state| state.configuration = standing);
    }

    /// The source of manifests cannot be asked; none: it has answered.
    pub fn unreachable(&self, why: Option<Unreachable>) {
        self.write(|state| state.unreachable = why);
    }

    /// Apps have left these roots for other ones, and everything at them was left as it was.
    pub fn former_roots(&self, all: Vec<(AppName, Root)>) {
        // Only the loop writes: nothing comes in between. Manifests are looked at far more often than that changes.
        if *self.state().former_roots != *all {
            self.write(|state| state.former_roots = all.into());
        }
    }

    /// An App has disappeared from the manifests, and is left running, or leaves. It may be one that only an earlier
    /// agent has known.
    pub fn orphaned(&self, loaded: &Arc<Loaded>, leaving: bool) {
        let app = &loaded.app.name;
        self.write(|state| {
            if state.entry(app).is_none() {
                let entry = state.gone.remove(app).unwrap_or_else(|| Entry::new(AppView::new(Arc::clone(loaded))));
                state.apps.push(entry);
            }
            if let Some(entry) = state.entry(app) {
                (entry.view.orphaned, entry.view.leaving) = (true, leaving);
                // What is done for it yet is said from here on.
                entry.view.pending.clear();
                if !leaving {
                    // Nobody looks any more, and nobody knows for how long that will be so.
                    let running = entry.view.running.take();
                    entry.view = AppView { orphaned: true, running, ..AppView::new(Arc::clone(loaded)) };
                    entry.converged = None;
                }
            }
        });
    }

    /// An App has left: there is nothing more to be said of it, nor counted.
    pub fn left(&self, app: &AppName) {
        self.0.counters.forget(app);
        self.write(|state| {
            state.gone.remove(app);
            state.apps.retain(|entry| entry.name() != app);
        });
    }

    /// There is a reason for a pass.
    pub fn woken(&self, app: &AppName, wake: &Wake) {
        self.write(|state| {
            if let Some(entry) = state.entry(app) {
                entry.view.woken(wake);
            }
        });
    }

    /// A pass has begun.
    pub fn began(&self, app: &AppName, turn: &Turn, at: Timestamp) {
        // Timers, back-offs and windows come to be reasons only now.
        turn.wakes.iter().for_each(|wake| self.0.counters.woken(app, wake));
        self.write(|state| {
            state.begun += 1;
            let number = state.begun;
            let Some(entry) = state.entry(app) else { return };
            entry.number = number;
            entry.view.pending.clear();
            let loaded = Arc::clone(&entry.view.loaded);
            entry.view.running = Some(Running { loaded, turn: turn.clone(), since: at });
        });
    }

    /// How its turns stand, after something has changed about them.
    pub fn scheduled(&self, app: &AppName, schedule: ScheduleState) {
        self.write(|state| {
            if let Some(entry) = state.entry(app) {
                entry.view.takes_turns(schedule);
            }
        });
    }

    /// A pass has ended. Tells whether what it did has put something right again: the manifest had not changed since
    /// the host was brought to it.
    pub fn ended(&self, report: &Arc<PassReport>, schedule: &ScheduleState) -> bool {
        let (app, at, outcome, waited) = (report.app.clone(), ended_at(report), report.outcome, has_waited(report));
        // Only the loop writes: nothing comes in between.
        let known = self.state().entry(&app).cloned();
        let Some(Entry { view: AppView { loaded: wanted, running, .. }, converged, .. }) = known else { return false };
        let loaded = running.as_ref().map_or(&wanted, |running| &running.loaded);
        let repair = match &converged {
            Some(then) => Arc::ptr_eq(then, loaded),
            // Before the agent began, that was written down.
            None => has_settled(&loaded.app, report),
        };
        let waiting = report.problems.first().filter(|_| waited).map(|problem| problem.message.clone());
        let made = Arc::new(Made { loaded: Arc::clone(loaded), report: Arc::clone(report), behind: false });
        // A newer manifest may have come meanwhile.
        let shown =
            if Arc::ptr_eq(loaded, &wanted) { Some(Arc::clone(&made)) } else { made.under(&wanted).map(Arc::new) };
        let mut before = None;
        self.write(|state| {
            let Some(entry) = state.entry(&app) else { return };
            if running.is_some_and(|running| running.turn.wakes.iter().any(is_request)) {
                entry.requested = Some((entry.number, Arc::clone(&made)));
            }
            if outcome == Outcome::Converged {
                entry.view.last_success = Some(at);
                entry.converged = Some(Arc::clone(&made.loaded));
            }
            (entry.view.running, entry.view.waiting) = (None, waiting);
            entry.view.takes_turns(schedule.clone());
            // One that has only waited has seen nothing: what was seen is still the last that was.
            if !waited || entry.view.last.is_none() {
                before = std::mem::replace(&mut entry.view.last, shown);
            }
        });
        // The one before is freed here, outside of the lock.
        drop(before);
        self.0.counters.ended(&made.report, repair);
        repair
    }

    /// A worker's process has ended, and no pass has looked since: what is shown of the last look is shown without it.
    pub fn died(&self, app: &AppName, process: ProcessId) {
        // Only the loop writes: nothing comes in between.
        let last = self.app(app.as_str()).filter(|view| !view.orphaned).and_then(|view| view.last);
        let Some(left) = last.and_then(|made| made.without(process)).map(Arc::new) else { return };
        self.write(|state| {
            if let Some(entry) = state.entry(app) {
                entry.view.last = Some(left);
            }
        });
    }

    /// The pass that has begun over an App ended without a report that anybody could use.
    pub fn abandoned(&self, app: &AppName) {
        self.write(|state| {
            if let Some(entry) = state.entry(app) {
                entry.view.running = None;
            }
        });
    }

    /// Whether the loop is at work.
    pub fn ready(&self, yes: bool) {
        self.write(|state| state.ready = yes);
    }

    /// Everything, as it is now.
    #[must_use]
    pub fn view(&self) -> View {
        let state = self.state();
        View {
            version: self.0.version.clone(),
            started: self.0.started,
            ready: state.ready,
            revision: state.revision.clone(),
            refused: state.refused.clone(),
            unreachable: state.unreachable.clone(),
            configuration: state.configuration.clone(),
            former_roots: Arc::clone(&state.former_roots),
            apps: state.apps.iter().map(|entry| entry.view.clone()).collect(),
        }
    }

    /// One App, as it is now; none of that name.
    #[must_use]
    pub fn app(&self, name: &str) -> Option<AppView> {
        self.state().apps.iter().find(|entry| entry.name().as_str() == name).map(|entry| entry.view.clone())
    }

    /// The Apps that the manifests in force name, in their order.
    #[must_use]
    pub fn names(&self) -> Vec<AppName> {
        let named = |entry: &&Entry| !entry.view.orphaned;
        self.state().apps.iter().filter(named).map(|entry| entry.name().clone()).collect()
    }

    /// What has happened since the agent began, counted.
    pub(super) fn counters(&self) -> &Counters {
        &self.0.counters
    }

    /// A mark between the passes that have begun and those that have not.
    #[must_use]
    pub fn mark(&self) -> u64 {
        self.state().begun
    }

    /// Waits until a pass has ended that a person asked for, and that began after the mark, which the loop takes when
    /// it wakes the App: such a pass has seen the host as it was then or later, whosever request it answers.
    ///
    /// # Errors
    /// The App is gone, or has disappeared from the manifests and is left running.
    pub async fn requested(&self, app: &AppName, mark: u64) -> Result<Arc<Made>, NoPass> {
        let mut changes = self.0.changes.subscribe();
        loop {
            changes.borrow_and_update();
            let (found, may_come) = match self.state().entry(app) {
                None => return Err(NoPass),
                Some(entry) => (entry.requested.clone(), entry.is_attended()),
            };
            match found {
                Some((number, made)) if number > mark => return Ok(made),
                _ if !may_come => return Err(NoPass),
                _ => changes.changed().await.map_err(|_| NoPass)?,
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state());
        self.0.changes.send_modify(|count| *count += 1);
    }
}

impl State {
    fn entry(&mut self, app: &AppName) -> Option<&mut Entry> {
        self.apps.iter_mut().find(|entry| entry.name() == app)
    }
}

impl Entry {
    fn new(view: AppView) -> Self {
        Self { view, number: 0, requested: None, converged: None }
    }

    fn name(&self) -> &AppName {
        &self.view.loaded.app.name
    }

    /// Passes are made over it, or one is still to be.
    fn is_attended(&self) -> bool {
        !self.view.orphaned || self.view.running.is_some() || !self.view.pending.is_empty()
    }
}

/// The host had been as the manifest says already, whatever agent saw to it.
fn has_settled(app: &App, report: &PassReport) -> bool {
    report.before.as_ref().is_some_and(|before| before.settled.as_ref() == Some(&app.fingerprint.wish))
}

fn is_request(wake: &Wake) -> bool {
    matches!(wake, Wake::Request { .. })
}

fn ended_at(report: &PassReport) -> Timestamp {
    // A pass that outlasts the end of time is none of our worries.
    report.began.checked_add(report.took).unwrap_or(report.began)
}
