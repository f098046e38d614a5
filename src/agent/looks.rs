//! What the loop looks at between two passes, and what it makes of it: an App's root, its files, its health.
//!
//! None of this changes the host. What a look shows is compared with what the last pass has seen; only a difference
//! wakes.

use std::sync::Arc;

use futures_util::future::join_all;

use super::edits::Found;
use super::senses::Senses;
use super::source::Source;
use super::tracked::{TrackedApp, seen_by};
use super::{Agent, Done};
use crate::engine::probing::health_now;
use crate::manifest::Loaded;
use crate::model::health::HealthVerdict;
use crate::model::names::AppName;
use crate::model::observed::Layout;
use crate::model::wake::Wake;
use crate::ports::{Host, HostError};

impl<'a, H: Host, S: Source + 'a, W: Senses> Agent<'a, H, S, W> {
    /// Looks whether a file that workers read is other than what the last pass has seen.
    pub(super) fn look_at_files(&mut self, name: &AppName) {
        let Some((app, turn)) = self.begin_look(name, |tracked| tracked.edits.settle()) else { return };
        let (host, name) = (self.context.host, name.clone());
        self.work.push(Box::pin(async move {
            let found = join_all(app.app.files().into_iter().map(async |path| {
                let content = host.content(&app.app.root, path).await;
                (path.clone(), content.map(|content| content.map(|(digest, _)| digest)))
            }));
            Done::Files(name, turn, found.await)
        }));
    }

    pub(super) fn read(&mut self, name: &AppName, turn: u64, found: &[Found]) {
        let now = self.now;
        let Some(tracked) = self.free(name, turn) else { return };
        let seen = seen_by(tracked.last.as_ref()).map(|seen| &*seen.config);
        if let Some(wake) = tracked.edits.notice(found, seen, now) {
            self.wake(name, wake);
        }
    }

    /// Looks whether something at the root is other than what the last pass left behind.
    pub(super) fn look_at_root(&mut self, name: &AppName) {
        let Some((app, turn)) = self.begin_look(name, |tracked| tracked.stirred.settle()) else { return };
        let (host, name) = (self.context.host, name.clone());
        self.work.push(Box::pin(async move {
            let layout = host.layout(&app.app).await;
            Done::Layout(name, turn, layout)
        }));
    }

    pub(super) fn noticed(&mut self, name: &AppName, turn: u64, layout: &Result<Layout, HostError>) {
        let now = self.now;
        let Some(tracked) = self.free(name, turn) else { return };
        if tracked.leaving && tracked.layout.is_none() {
            return self.found_to_leave(name, layout);
        }
        if let Some(wake) = tracked.notice(layout.as_ref(), now) {
            self.wake(name, wake);
        }
    }

    /// Begins a turn of an App in which something that `settles` is looked at; none where the App is gone.
    fn begin_look(&mut self, name: &AppName, settles: impl FnOnce(&mut TrackedApp)) -> Option<(Arc<Loaded>, u64)> {
        let tracked = self.tracked.get_mut(name)?;
        settles(tracked);
        self.turns += 1;
        tracked.engage(self.turns, None);
        let app = Arc::clone(&tracked.loaded);
        // First, so that what changes while it is looked at is told.
        self.senses.app(&app.app);
        Some((app, self.turns))
    }

    /// Asks an application how it is, between two passes.
    pub(super) fn ask(&mut self, name: &AppName) {
        let Some(tracked) = self.tracked.get_mut(name) else { return };
        tracked.ask_at = None;
        let last = tracked.last.clone();
        if tracked.seen().is_none() {
            return tracked.ask_again(self.now);
        }
        let (host, app, name) = (self.context.host, Arc::clone(&tracked.loaded), name.clone());
        self.work.push(Box::pin(async move {
            let verdict = match seen_by(last.as_ref()) {
                Some(seen) => health_now(host, &app.app, seen).await,
                None => None,
            };
            Done::Asked(name, verdict)
        }));
    }

    pub(super) fn answered(&mut self, name: &AppName, verdict: Option<&HealthVerdict>) {
        let now = self.now;
        // A pass that began meanwhile asks for itself; a look at the root or at files does not.
        let Some(tracked) = self.tracked.get_mut(name).filter(|tracked| !tracked.passes() && tracked.ask_at.is_none())
        else {
            return;
        };
        if tracked.answered(verdict.map(|verdict| verdict.healthy), now) {
            self.wake(name, Wake::Health);
        }
    }
}
