//! Apps that the manifests do not name any more: left running, or, where they say so, seen off without their workers.
//!
//! What is under way outlives the agent: it is written down, and the next agent goes on with it.

use std::sync::Arc;

use tracing::{info, warn};

use super::roll::{Known, Standing};
use super::seat::{Came, Seat};
use super::senses::Senses;
use super::source::Source;
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
        let Some(seat) = self.seats.get(name) else { return };
        // What is in hand is wanted no more.
        seat.cut_short();
        let prune = seat.loaded.app.sync.prune && seat.may_have_workers();
        self.ground.board.orphaned(&seat.loaded, prune);
        self.ground.herald.orphaned(name, !prune, self.now);
        if prune {
            info!(app = %name, "it has disappeared from the manifests: its workers are stopped");
            self.see_off(name);
        } else {
            warn!(app = %name, "it has disappeared from the manifests and is left running");
            self.leave(name);
        }
    }

    /// Goes on with an App that the manifests do not name, where an earlier agent has ended.
    pub(super) fn go_on_with(&mut self, known: Known) {
        let Known { loaded, standing, here, heard: _ } = known;
        let name = loaded.app.name.clone();
        let mut seat = Seat::new(loaded, self.ground.seed);
        seat.came = if here { Came::Before } else { Came::Now };
        let loaded = Arc::clone(&seat.loaded);
        match standing {
            Standing::Orphaned => {
                self.ground.board.orphaned(&loaded, false);
                self.ground.roll.left_running(loaded);
            }
            Standing::InForce => {
                self.seats.insert(name.clone(), seat);
                self.disappeared(&name);
            }
            Standing::Leaving => {
                info!(app = %name, "it is no longer in the manifests, and its workers are yet to be stopped");
                self.ground.board.orphaned(&loaded, true);
                self.seats.insert(name.clone(), seat);
                self.see_off(&name);
            }
        }
    }

    fn see_off(&mut self, name: &AppName) {
        if let Some(seat) = self.seats.get_mut(name) {
            seat.leaving = true;
        }
        self.wake(name, Wake::Manifest { revision: None });
    }

    /// Takes in how the root of an App looks that leaves, and that no pass has seen.
    pub(super) fn found_to_leave(&mut self, name: &AppName, layout: &Result<Layout, HostError>) {
        let now = self.now;
        let Some(seat) = self.seats.get_mut(name) else { return };
        match layout {
            Ok(layout) => seat.layout = Some(layout.clone()),
            // No root, no release.
            Err(error) if error.kind == HostErrorKind::Misconfigured => self.keep_running(name),
            Err(error) => {
                warn!(app = %name, %error, "its workers cannot be stopped yet");
                // As a pass that has failed: tried again, less and less often.
                seat.schedule.begin(now);
                seat.schedule.end(&Ended { outcome: Outcome::Failed, corrections: 0, drift: true }, now);
                seat.failures = seat.schedule.state(now).failures;
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
        if let Some(seat) = self.seats.remove(name) {
            self.ground.board.orphaned(&seat.loaded, false);
            self.ground.roll.left_running(seat.loaded);
            for errand in seat.errands {
                // Whoever asked may have gone.
                let _ = errand.reply.send(Err(self.nobody(name)));
            }
        }
    }

    /// An App has left: its workers are stopped.
    pub(super) fn left(&mut self, name: &AppName) {
        info!(app = %name, "its workers are stopped");
        self.senses.forget(name);
        self.seats.remove(name);
        self.ground.board.left(name);
        self.ground.roll.touch();
    }

    /// After something about the Apps has changed: says whether all were looked at, and writes down which there are.
    pub(super) fn take_stock(&mut self) {
        let seen = |seat: &Seat| seat.passed || seat.leaving;
        if !self.stopping && self.manifests.are_known() && self.seats.values().all(seen) {
            self.ground.board.ready(true);
        }
        let herald = &self.ground.herald;
        let seats = self.seats.iter().map(|(name, seat)| {
            let standing = if seat.leaving { Standing::Leaving } else { Standing::InForce };
            (&*seat.loaded, standing, herald.heard(name))
        });
        let parting = self.farewells.iter().map(|farewell| (&*farewell.loaded, Standing::Leaving, None));
        let Some(writing) = self.ground.roll.due(seats.chain(parting)) else { return };
        // The loop does not end before it is written.
        self.acting += 1;
        self.work.push(Box::pin(async move { Done::Written(writing.write().await) }));
    }

    /// It is written down, or that has failed.
    pub(super) fn written(&mut self, result: &Result<(), HostError>) {
        self.acting -= 1;
        self.ground.roll.written(result);
        if result.is_ok() {
            // What has changed meanwhile.
            self.take_stock();
        }
    }
}

#[cfg(test)]
#[path = "leaving_tests.rs"]
mod tests;
