//! Apps that the manifests do not name any more: left running, or, where they say so, seen off without their workers.
//!
//! What is under way outlives the agent: it is written down, and the next agent goes on with it.

use std::sync::Arc;

use tracing::{info, warn};

use super::registry::{KnownApp, Lifecycle};
use super::senses::Senses;
use super::source::Source;
use super::tracked::{FirstSeen, TrackedApp};
use super::{Agent, Done};
use crate::decide::schedule::Ended;
use crate::model::names::AppName;
use crate::model::observed::Layout;
use crate::model::report::Outcome;
use crate::model::wake::Wake;
use crate::ports::{Host, HostError, HostErrorKind};

impl<'a, H: Host, S: Source + 'a, W: Senses> Agent<'a, H, S, W> {
    /// An App has disappeared from the manifests.
    pub(super) fn disappeared(&mut self, name: &AppName) {
        let Some(tracked) = self.tracked.get(name) else { return };
        // What is in hand is wanted no more.
        tracked.cut_short();
        let prune = tracked.loaded.app.sync.prune && tracked.may_have_workers();
        self.context.board.orphaned(&tracked.loaded, prune);
        self.context.publisher.orphaned(name, !prune, self.now);
        if prune {
            info!(app = %name, "it has disappeared from the manifests: its workers are stopped");
            self.see_off(name);
        } else {
            warn!(app = %name, "it has disappeared from the manifests and is left running");
            self.leave(name);
        }
    }

    /// Goes on with an App that the manifests do not name, where an earlier agent has ended.
    pub(super) fn go_on_with(&mut self, known: KnownApp) {
        let KnownApp { loaded, standing, here, heard: _ } = known;
        let name = loaded.app.name.clone();
        let mut tracked = TrackedApp::new(loaded, self.context.seed);
        tracked.came = if here { FirstSeen::Before } else { FirstSeen::Now };
        let loaded = Arc::clone(&tracked.loaded);
        match standing {
            Lifecycle::Orphaned => {
                self.context.board.orphaned(&loaded, false);
                self.context.registry.left_running(loaded);
            }
            Lifecycle::InForce => {
                self.tracked.insert(name.clone(), tracked);
                self.disappeared(&name);
            }
            Lifecycle::Leaving => {
                info!(app = %name, "it is no longer in the manifests, and its workers are yet to be stopped");
                self.context.board.orphaned(&loaded, true);
                self.tracked.insert(name.clone(), tracked);
                self.see_off(&name);
            }
        }
    }

    fn see_off(&mut self, name: &AppName) {
        if let Some(tracked) = self.tracked.get_mut(name) {
            tracked.leaving = true;
        }
        self.wake(name, Wake::Manifest { revision: None });
    }

    /// Takes in how the root of an App looks that leaves, and that no pass has seen.
    pub(super) fn found_to_leave(&mut self, name: &AppName, layout: &Result<Layout, HostError>) {
        let now = self.now;
        let Some(tracked) = self.tracked.get_mut(name) else { return };
        match layout {
            Ok(layout) => tracked.layout = Some(layout.clone()),
            // No root, no release.
            Err(error) if error.kind == HostErrorKind::Misconfigured => self.keep_running(name),
            Err(error) => {
                warn!(app = %name, %error, "its workers cannot be stopped yet");
                // As a pass that has failed: tried again, less and less often.
                tracked.schedule.begin(now);
                tracked.schedule.end(&Ended { outcome: Outcome::Failed, corrections: 0, drift: true }, now);
                tracked.failures = tracked.schedule.state(now).failures;
            }
        }
    }

    /// An App that leaves, and of which nothing says what its workers run.
    pub(super) fn keep_running(&mut self, name: &AppName) {
        warn!(app = %name, "nothing says which release it has: its workers are left running");
        self.leave(name);
        self.take_stock();
    }

    /// Nothing more is done for an App, which is left running.
    fn leave(&mut self, name: &AppName) {
        self.senses.forget(name);
        if let Some(tracked) = self.tracked.remove(name) {
            self.context.board.orphaned(&tracked.loaded, false);
            self.context.registry.left_running(tracked.loaded);
            for errand in tracked.errands {
                // Whoever asked may have gone.
                let _ = errand.reply.send(Err(self.nobody(name)));
            }
        }
    }

    /// An App has left: its workers are stopped.
    pub(super) fn left(&mut self, name: &AppName) {
        info!(app = %name, "its workers are stopped");
        self.senses.forget(name);
        self.tracked.remove(name);
        self.context.board.left(name);
        self.context.registry.touch();
    }

    /// After something about the Apps has changed: says whether all were looked at, and writes down which there are.
    pub(super) fn take_stock(&mut self) {
        let seen = |tracked: &TrackedApp| tracked.passed || tracked.leaving;
        if !self.stopping && self.manifests.are_known() && self.tracked.values().all(seen) {
            self.context.board.ready(true);
        }
        let publisher = &self.context.publisher;
        let tracked = self.tracked.iter().map(|(name, tracked)| {
            let standing = if tracked.leaving { Lifecycle::Leaving } else { Lifecycle::InForce };
            (&*tracked.loaded, standing, publisher.heard(name))
        });
        let parting = self.left_roots.iter().map(|left_root| (&*left_root.loaded, Lifecycle::Leaving, None));
        let Some(writing) = self.context.registry.due(tracked.chain(parting)) else { return };
        // The loop does not end before it is written.
        self.acting += 1;
        self.work.push(Box::pin(async move { Done::Written(writing.write().await) }));
    }

    /// It is written down, or that has failed.
    pub(super) fn written(&mut self, result: &Result<(), HostError>) {
        self.acting -= 1;
        self.context.registry.written(result);
        if result.is_ok() {
            // What has changed meanwhile.
            self.take_stock();
        }
    }
}

#[cfg(test)]
#[path = "leaving_tests.rs"]
mod tests;
