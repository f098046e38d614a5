//! When the loop looks at its manifests, and what it makes of what it finds.
//!
//! Files may be seen half-written, or missing for a moment while an editor or a checkout replaces them. So a look comes
//! after a quiet moment, and bad news (manifests that do not load, an App that is gone) is believed only when a second
//! look shows the same.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::join_all;
use jiff::Timestamp;
use tracing::{info, warn};

use super::board::ManifestProblem;
use super::quiet::{Quiet, later};
use super::seat::Seat;
use super::senses::Senses;
use super::source::{Found, Revision, Source, SourceProblem, SourceProblemKind};
use super::{Agent, Done};
use crate::model::agent::GitOptions;
use crate::model::names::AppName;
use crate::model::record::Memory;
use crate::model::wake::Wake;
use crate::ports::Host;

/// Manifests are looked at when nothing has changed for this long, …
const CALM: Duration = Duration::from_millis(150);
/// … and this long after the first change at the latest.
const CALM_AT_MOST: Duration = Duration::from_secs(3);
/// Bad news is believed when it still holds after this.
const DOUBT: Duration = Duration::from_secs(1);
/// What is written down of an App is waited for so long.
const RECALL: Duration = Duration::from_secs(5);

/// The source, and when it is looked at.
pub(super) struct Manifests<S> {
    /// None while it looks.
    source: Option<S>,
    quiet: Quiet,
    /// The next look in any case.
    look_at: Option<Timestamp>,
    /// Bad news was seen, and is to be seen again before it is believed.
    doubted: bool,
    /// How the source looks from the next look on, where that has changed.
    renewed: Option<GitOptions>,
    /// Somebody waits to be told that a look is over.
    reloading: bool,
    /// Where those in force are from, as far as that has a name.
    revision: Option<Revision>,
    /// Where the loop is with them.
    stage: Stage,
    /// What was last wrong with newer ones.
    refused: Option<String>,
}

/// How far the first look has led.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    /// It is not over.
    New,
    /// It is, and nothing came of it.
    Looked,
    /// Manifests are in force.
    InForce,
}

impl<S> Manifests<S> {
    pub(super) fn new(source: S, now: Timestamp) -> Self {
        Self {
            source: Some(source),
            quiet: Quiet::new(CALM, CALM_AT_MOST),
            look_at: Some(now),
            doubted: false,
            renewed: None,
            reloading: false,
            revision: None,
            stage: Stage::New,
            refused: None,
        }
    }

    pub(super) fn stir(&mut self, now: Timestamp) {
        self.quiet.stir(now);
    }

    pub(super) fn look_now(&mut self, now: Timestamp) {
        self.look_at = Some(now);
    }

    pub(super) fn reload(&mut self, git: Option<GitOptions>, now: Timestamp) {
        self.reloading = true;
        self.renewed = git.or(self.renewed.take());
        self.look_now(now);
    }

    pub(super) fn clock_was_set(&mut self, now: Timestamp) {
        self.quiet.settle();
        self.look_now(now);
    }

    /// Manifests are in force.
    pub(super) fn are_known(&self) -> bool {
        self.stage == Stage::InForce
    }

    /// Something is wrong with the newest ones.
    pub(super) fn are_refused(&self) -> bool {
        self.refused.is_some()
    }

    /// When to look; none while a look is under way.
    pub(super) fn due(&self) -> Option<Timestamp> {
        self.source.as_ref()?;
        [self.quiet.due(), self.look_at].into_iter().flatten().min()
    }
}

impl<'a, H: Host, S: Source + 'a, W: Senses> Agent<'a, H, S, W> {
    /// Begins a look at the manifests, if one is due.
    pub(super) fn look_at_manifests(&mut self) {
        if self.manifests.due().is_none_or(|due| due > self.now) {
            return;
        }
        let Some(mut source) = self.manifests.source.take() else { return };
        if let Some(git) = self.manifests.renewed.take() {
            source.renew(&git);
        }
        self.manifests.quiet.settle();
        // A webhook or a timer that comes in from here on asks for another look.
        self.manifests.look_at = None;
        // First, so that what changes while it is looked at is told.
        self.senses.manifests(&source.wakes().paths);
        let first = self.manifests.stage == Stage::New;
        self.work.push(Box::pin(async move {
            // A remote that does not answer must not keep what was in force from being kept up.
            if first && let Some(found) = source.resume().await {
                return Done::Remembered(source, found);
            }
            let found = source.look().await;
            Done::Manifests(source, found)
        }));
    }

    /// Takes in what a look has found.
    pub(super) fn found(&mut self, source: S, found: Result<Found, SourceProblem>) {
        let every = source.wakes().every.map(|pause| later(self.now, pause));
        let whole = source.is_whole();
        let manifests = &mut self.manifests;
        manifests.source = Some(source);
        manifests.look_at = [manifests.look_at, every].into_iter().flatten().min();
        let known =
            |found: &Found| -> BTreeSet<AppName> { found.apps.iter().map(|one| one.app.name.clone()).collect() };
        let bad = match &found {
            Err(problem) => problem.kind == SourceProblemKind::Wrong,
            Ok(found) => {
                let named = known(found);
                self.seats.iter().any(|(name, seat)| !seat.leaving && !named.contains(name))
            }
        };
        if bad && !whole && !manifests.doubted && manifests.are_known() && manifests.refused.is_none() {
            manifests.doubted = true;
            manifests.look_at = Some(later(self.now, DOUBT));
            return;
        }
        self.manifests.doubted = false;
        let first = self.manifests.stage == Stage::New;
        self.manifests.stage = self.manifests.stage.max(Stage::Looked);
        match found {
            Ok(found) => self.take_over(found),
            Err(problem) => self.refuse(problem),
        }
        if std::mem::take(&mut self.manifests.reloading) || first {
            self.ground.service.ready();
        }
        self.tell_status();
    }

    /// The last good ones stay in force.
    fn refuse(&mut self, problem: SourceProblem) {
        self.ground.herald.refused(&problem, self.now);
        if self.manifests.refused.as_ref() == Some(&problem.message) {
            return;
        }
        if self.manifests.are_known() {
            warn!(problem = %problem.message, "the manifests cannot be used; what was in force stays");
        } else {
            warn!(problem = %problem.message, "the manifests cannot be used, and none are in force yet: better ones are waited for");
        }
        self.manifests.refused = Some(problem.message.clone());
        let SourceProblem { revision, message, help, .. } = problem;
        self.ground.board.refused(ManifestProblem { revision, message, help, since: self.now });
    }

    fn take_over(&mut self, found: Found) {
        let Found { revision, apps } = found;
        self.ground.herald.well(revision.as_ref(), self.now);
        let first = !self.manifests.are_known();
        let named: BTreeSet<AppName> = apps.iter().map(|one| one.app.name.clone()).collect();
        let gone: Vec<AppName> = self
            .seats
            .iter()
            .filter(|(name, seat)| !seat.leaving && !named.contains(*name))
            .map(|(name, _)| name.clone())
            .collect();
        let commit = revision.as_ref().map(|revision| revision.commit.clone());
        let mut woken = Vec::new();
        let mut changed = first || !gone.is_empty() || self.manifests.refused.is_some();
        changed |= self.manifests.revision != revision;
        let told = apps.clone();
        for loaded in apps {
            let name = loaded.app.name.clone();
            let renewed = if let Some(seat) = self.seats.get_mut(&name) {
                seat.renew(loaded)
            } else {
                self.seats.insert(name.clone(), Seat::new(loaded));
                true
            };
            if renewed {
                woken.push(name);
            }
        }
        if changed || !woken.is_empty() {
            self.manifests.refused = None;
            self.manifests.stage = Stage::InForce;
            self.manifests.revision.clone_from(&revision);
            self.ground.board.manifests(revision, &told);
            info!(apps = told.len(), changed = woken.len(), revision = commit, "manifests are in force");
        }
        for name in &gone {
            self.disappeared(name);
        }
        for name in &woken {
            if let Some(seat) = self.seats.get(name) {
                self.senses.app(&seat.loaded.app);
            }
            if !first {
                self.wake(name, Wake::Manifest { revision: commit.clone() });
            }
        }
        if first {
            self.recall(woken);
        }
    }

    /// Reads what is written down of these Apps, all of which are then woken together.
    fn recall(&mut self, names: Vec<AppName>) {
        let host = self.ground.host;
        let seats = names.into_iter().filter_map(|name| Some((self.seats.get(&name)?.loaded.app.root.clone(), name)));
        let each = seats.map(|(root, name)| async move {
            let memory = tokio::select! {
                memory = host.recall(&root) => memory,
                // A root that does not answer holds nobody up.
                () = host.sleep(RECALL) => Memory::default(),
            };
            (name, memory)
        });
        let all = join_all(each.collect::<Vec<_>>());
        self.work.push(Box::pin(async move { Done::Recalled(all.await) }));
    }

    /// What was counted before the agent began counts on.
    pub(super) fn recalled(&mut self, memories: &[(AppName, Memory)]) {
        for (name, memory) in memories {
            if let Some(seat) = self.seats.get_mut(name) {
                let settled = memory.settled.as_ref() == Some(&seat.loaded.app.fingerprint.wish);
                seat.schedule.recall(settled, &memory.corrections, self.now);
            }
            self.wake(name, Wake::Started);
        }
    }

    /// An App that the manifests do not name any more is left running; where it says so, without its workers.
    fn disappeared(&mut self, name: &AppName) {
        self.ground.board.orphaned(name);
        let Some(seat) = self.seats.get_mut(name) else { return };
        let prune = seat.loaded.app.sync.prune && seat.passed;
        self.ground.herald.orphaned(name, !prune, self.now);
        // One that was never looked at has no workers of ours.
        if prune {
            info!(app = %name, "it has disappeared from the manifests: its workers are stopped");
            seat.leaving = true;
            self.wake(name, Wake::Manifest { revision: None });
        } else {
            warn!(app = %name, "it has disappeared from the manifests and is left running");
            self.leave(name);
        }
    }

    /// Nothing more is done for an App.
    pub(super) fn leave(&mut self, name: &AppName) {
        self.senses.forget(name);
        self.seats.remove(name);
    }
}
