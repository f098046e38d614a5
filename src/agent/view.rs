//! A snapshot of what outsiders may see: of the agent, of one App, and of a pass that was made.
//!
//! In: what the [`Board`](super::board::Board) has been told. Out: values that cost a few clones of pointers, and that
//! stay as they are. What a pass has seen goes on under a newer manifest, and without a worker that has ended since.

use std::sync::Arc;

use jiff::Timestamp;

use crate::decide::died;
use crate::decide::diff::diff;
use crate::decide::renewed;
use crate::decide::schedule::{ScheduleState, Turn};
use crate::decide::withhold::{Permit, withheld};
use crate::documents::agent::{Configuration, ManifestProblem, Revision, Unreachable};
use crate::manifest::Loaded;
use crate::model::names::{AppName, Root};
use crate::model::process::ProcessId;
use crate::model::report::PassReport;
use crate::model::sync::Withheld;
use crate::model::wake::Wake;

/// Most reasons that are kept of those that wait for a pass; more say nothing new.
const PENDING: usize = 32;

/// A snapshot of everything.
#[derive(Debug, Clone)]
pub struct View {
    /// Of the agent.
    pub version: String,
    /// When the agent began.
    pub started: Timestamp,
    /// The loop is at work.
    pub ready: bool,
    /// The commit in force; none outside of git.
    pub revision: Option<Revision>,
    /// Newer manifests that cannot be used.
    pub refused: Option<ManifestProblem>,
    /// The source of manifests cannot be asked.
    pub unreachable: Option<Unreachable>,
    /// How the agent's own configuration stands.
    pub configuration: Configuration,
    /// Roots that Apps have left for other ones, and at which everything was left as it was.
    pub former_roots: Arc<[(AppName, Root)]>,
    /// In the order of the manifests, then what disappeared from them and was left running, or leaves.
    pub apps: Vec<AppView>,
}

impl View {
    /// Roots that this App has left for other ones, and at which everything was left as it was.
    pub fn former_roots_of<'a>(&'a self, app: &'a AppName) -> impl Iterator<Item = &'a Root> {
        self.former_roots.iter().filter(move |(name, _)| name == app).map(|(_, root)| root)
    }
}

/// A snapshot of one App.
#[derive(Debug, Clone)]
pub struct AppView {
    /// Its manifest.
    pub loaded: Arc<Loaded>,
    /// It has disappeared from the manifests.
    pub orphaned: bool,
    /// … and its workers are being stopped; else it is left running.
    pub leaving: bool,
    /// Why its next pass will be made; empty: because of nothing but time.
    pub pending: Vec<Wake>,
    /// The pass that runs.
    pub running: Option<Running>,
    /// The last pass that has done more than wait; none before the first has ended.
    pub last: Option<Arc<Made>>,
    /// The last pass of all has only waited, for somebody else's: whose that is.
    pub waiting: Option<String>,
    /// When a pass last ended with the host as the App says, and healthy.
    pub last_success: Option<Timestamp>,
    /// Its turns; none before there was a reason for the first one.
    pub schedule: Option<ScheduleState>,
}

/// A pass that runs.
#[derive(Debug, Clone)]
pub struct Running {
    /// The manifest that it is made for.
    pub loaded: Arc<Loaded>,
    /// Why it is made, and what it may do.
    pub turn: Turn,
    /// Since when.
    pub since: Timestamp,
}

/// A pass that was made.
#[derive(Debug)]
pub struct Made {
    /// The manifest that what it has seen is held against: the one that it was made for, or what came into force since.
    pub loaded: Arc<Loaded>,
    /// What it found and did. Of `after` and `remaining`, what has died since is left out.
    pub report: Arc<PassReport>,
    /// It was made for another manifest, by which the host should have been another.
    pub behind: bool,
}

impl AppView {
    /// Nothing is known of it yet.
    pub(super) fn new(loaded: Arc<Loaded>) -> Self {
        Self {
            loaded,
            orphaned: false,
            leaving: false,
            pending: Vec::new(),
            running: None,
            last: None,
            waiting: None,
            last_success: None,
            schedule: None,
        }
    }

    /// What was known of the App goes on under another manifest.
    pub(super) fn renewed(&self, loaded: &Loaded) -> Self {
        let mut view = Self { orphaned: false, leaving: false, ..self.clone() };
        let is_another = *view.loaded != *loaded;
        if is_another {
            view.loaded = Arc::new(loaded.clone());
        }
        // While it left, no workers were wanted.
        if is_another || self.leaving {
            view.last = view.last.and_then(|made| made.under(&view.loaded)).map(Arc::new);
        }
        view
    }

    /// How its turns stand.
    pub(super) fn takes_turns(&mut self, schedule: ScheduleState) {
        self.pending = schedule.pending.iter().take(PENDING).cloned().collect();
        self.schedule = Some(schedule);
    }

    /// There is a reason for a pass.
    pub(super) fn woken(&mut self, wake: &Wake) {
        if !self.pending.contains(wake) && self.pending.len() < PENDING {
            self.pending.push(wake.clone());
        }
    }
}

impl Made {
    /// The same without that process; none: it was no worker's.
    pub(super) fn without(&self, dead: ProcessId) -> Option<Self> {
        let (loaded, app) = (Arc::clone(&self.loaded), &self.loaded.app);
        let after = died::without(app, self.report.after.as_ref()?, dead)?;
        let remaining = diff(app, &after);
        let report = PassReport { after: Some(after), remaining, ..PassReport::clone(&self.report) };
        Some(Self { loaded, report: Arc::new(report), behind: self.behind })
    }

    /// What it has seen, held against the manifest that is in force now: one that is still to come about is not there
    /// yet, however well the one before was. None where nothing was seen of its root.
    pub(super) fn under(&self, loaded: &Arc<Loaded>) -> Option<Self> {
        let (app, was) = (&loaded.app, &self.loaded.app);
        if app.root != was.root {
            return None;
        }
        let mut report = PassReport { release: app.release.id.clone(), ..PassReport::clone(&self.report) };
        if let Some(after) = &self.report.after {
            let after = renewed::under(app, was, after);
            report.remaining = diff(app, &after);
            // Of what the schedule has against it, the rest ends with a new manifest.
            let alone = (!app.sync.automatic).then_some(Withheld::NotAutomatic);
            let permit = Permit { withheld: alone.as_ref(), ignore_windows: false };
            report.withheld = withheld(app, &after, &report.remaining, permit);
            report.after = Some(after);
        }
        let behind = self.behind || app.fingerprint.wish != was.fingerprint.wish;
        Some(Self { loaded: Arc::clone(loaded), report: Arc::new(report), behind })
    }
}
