//! Roots that change hands: whose a root is by the newest manifests, and what becomes of one that its App has left.
//!
//! An App may be renamed, and may get another root. Whoever has a root now looks after what is left there: nobody is
//! seen off from under it. A root that is nobody's any more is as if its App had disappeared: left as it is, and told,
//! or seen off where the last manifest that named it says `prune`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use tracing::{debug, info, warn};

use super::passes::{LOCK_WAIT, words};
use super::registry::{KnownApp, Lifecycle};
use super::senses::Senses;
use super::source::{Found, Source};
use super::tracked::{FirstSeen, TrackedApp, has_waited};
use super::{Agent, Done};
use crate::decide::leaving::{without_groups_of, without_workers};
use crate::decide::schedule::{Ended, Schedule};
use crate::decide::succession::RootOwners;
use crate::engine::batch::reconcile_each;
use crate::engine::pass::Request;
use crate::manifest::{Loaded, same_roots};
use crate::model::app::App;
use crate::model::names::{AppName, Root};
use crate::model::report::{Mode, Outcome, PassReport};
use crate::model::wake::Wake;
use crate::ports::{Host, HostError, HostErrorKind};

/// Roots that were looked after so far, each with the root of the newest manifests that is the same directory by
/// another name.
pub(super) type Aliases = BTreeMap<PathBuf, PathBuf>;

/// Finds them; blocks nobody.
pub(super) async fn aliases(former: Vec<PathBuf>, found: &Found) -> Aliases {
    let named = found.apps.iter().map(|one| one.app.root.path().to_owned()).collect::<Vec<_>>();
    // Lost, each root has but the name that it has.
    tokio::task::spawn_blocking(move || same_roots(&former, &named)).await.unwrap_or_default()
}

/// A root that its App has left for another one, and whose workers are yet to be stopped.
pub(super) struct LeftRoot {
    pub(super) loaded: Arc<Loaded>,
    pub(super) schedule: Schedule,
    /// The turn in which they are; none now.
    turn: Option<u64>,
}

/// What came of a root that is left.
pub(super) enum LeftRootOutcome {
    Passed(Box<PassReport>),
    /// There is no root any more, or nothing says which release it has.
    Nothing,
    Failed(HostError),
}

impl<'a, H: Host, S: Source + 'a, W: Senses> Agent<'a, H, S, W> {
    /// All roots that are, or were, looked after.
    pub(super) fn roots(&self) -> Vec<PathBuf> {
        let holders = self.tracked.values().map(|tracked| &*tracked.loaded);
        let parting = self.left_roots.iter().map(|left_root| &*left_root.loaded);
        let all = holders.chain(parting).chain(self.context.registry.known());
        all.map(|loaded| loaded.app.root.path().to_owned()).collect()
    }

    /// Apps that were left running, or were to be seen off from a root, where the root has somebody new.
    pub(super) fn give_way(&mut self, owners: &RootOwners) {
        // An orphan bears no name that the manifests name.
        for name in self.context.registry.give_way(|loaded| owners.of(&loaded.app.root).is_some()) {
            self.context.board.left(&name);
        }
        let before = self.left_roots.len();
        self.left_roots.retain(|left_root| owners.of(&left_root.loaded.app.root).is_none());
        if self.left_roots.len() < before {
            self.context.registry.touch();
        }
    }

    /// Another App has its root now: that one's passes see to all that is left there.
    pub(super) fn succeeded(&mut self, name: &AppName, heir: &AppName) {
        info!(app = %name, successor = %heir, "it is no longer in the manifests, and another App has its root");
        self.senses.forget(name);
        self.context.board.left(name);
        self.context.publisher.succeeded(name);
        self.context.registry.touch();
        if let Some(tracked) = self.tracked.remove(name) {
            tracked.cut_short();
            for errand in tracked.errands {
                // Whoever asked may have gone.
                let _ = errand.reply.send(Err(self.nobody(name)));
            }
        }
    }

    /// An App gets another root: a new place, which has its turn when what is under way at the old one has ended.
    pub(super) fn move_out(&mut self, to: Loaded, owners: &RootOwners) {
        let name = to.app.name.clone();
        let Some(tracked) = self.tracked.remove(&name) else { return };
        tracked.cut_short();
        self.senses.forget(&name);
        let prune = tracked.leaving || (tracked.loaded.app.sync.prune && tracked.may_have_workers());
        let from = Arc::clone(&tracked.loaded);
        let new_root = to.app.root.clone();
        let mut new = TrackedApp::new(to, self.context.seed);
        // Whoever has asked for a pass is answered by the next one.
        let waits = tracked.schedule.state(self.now).pending.into_iter().chain(tracked.answers.iter().cloned());
        for asked in waits.filter(|wake| matches!(wake, Wake::Request { .. })) {
            new.schedule.wake(asked, self.now);
        }
        for errand in new.succeed(tracked) {
            let message = format!("the App `{name}` has just got the root `{new_root}`");
            let error = HostError::new(HostErrorKind::NotApplicable, message).with_help("ask again");
            let _ = errand.reply.send(Err(error));
        }
        self.tracked.insert(name, new);
        if owners.of(&from.app.root).is_none() {
            self.part(from, &new_root, prune);
        }
    }

    /// Goes on with a root that an earlier agent has known, and its App has left since.
    pub(super) fn has_moved_out(&mut self, known: KnownApp) {
        let KnownApp { loaded, standing, here, heard } = known;
        let name = loaded.app.name.clone();
        match standing {
            Lifecycle::InForce => {
                if let Some(heard) = heard {
                    self.context.publisher.recall(&name, heard);
                }
                let Some(to) = self.tracked.get(&name).map(|tracked| tracked.loaded.app.root.clone()) else { return };
                let prune = loaded.app.sync.prune && here;
                self.part(Arc::new(loaded), &to, prune);
            }
            Lifecycle::Leaving => self.see_off_from_root(Arc::new(loaded)),
            // That was told.
            Lifecycle::Orphaned => self.context.registry.left_root(Arc::new(loaded)),
        }
    }

    /// Goes on with a root that an App had before its own one, neither of which anybody has any more.
    pub(super) fn go_on_with_former(&mut self, known: KnownApp) {
        match known.standing {
            Lifecycle::Leaving => self.see_off_from_root(Arc::new(known.loaded)),
            Lifecycle::Orphaned => self.context.registry.left_root(Arc::new(known.loaded)),
            Lifecycle::InForce => self.go_on_with(known),
        }
    }

    /// A root is nobody's any more.
    fn part(&mut self, from: Arc<Loaded>, to: &Root, prune: bool) {
        let (name, root) = (&from.app.name, &from.app.root);
        self.context.publisher.moved(name, root, to, !prune, self.now);
        self.context.registry.touch();
        if prune {
            info!(app = %name, %root, %to, "it has another root: its workers at the old one are stopped");
            self.see_off_from_root(from);
        } else {
            let help = "stop what runs there by hand; `sync: {prune: true}` has it stopped the next time";
            warn!(app = %name, %root, %to, help, "it has another root: what runs at the old one is left running");
            self.context.registry.left_root(from);
        }
    }

    /// Stops what runs at a root that an App has left.
    pub(super) fn see_off_from_root(&mut self, loaded: Arc<Loaded>) {
        let mut schedule = Schedule::new(loaded.app.sync.clone(), self.context.seed);
        schedule.wake(Wake::Manifest { revision: None }, self.now);
        self.left_roots.push(LeftRoot { loaded, schedule, turn: None });
    }

    /// The App without its workers, and without the groups that others have by now.
    pub(super) fn alone(&self, app: &App) -> App {
        let staying = self.tracked.values().filter(|tracked| !tracked.leaving);
        without_groups_of(app, &staying.map(|tracked| &tracked.loaded.app))
    }

    /// Begins to stop what runs at left roots, where that is due.
    pub(super) fn say_farewell(&mut self) {
        let now = self.now;
        let is_due = |left_root: &LeftRoot| left_root.schedule.due().is_some_and(|due| due <= now);
        let due: Vec<usize> =
            (0..self.left_roots.len()).filter(|at| self.left_roots.get(*at).is_some_and(is_due)).collect();
        for at in due {
            let Some(app) = self.left_roots.get(at).map(|left_root| self.alone(&left_root.loaded.app)) else {
                continue;
            };
            self.turns += 1;
            let number = self.turns;
            let Some(left_root) = self.left_roots.get_mut(at) else { continue };
            left_root.turn = Some(number);
            let turn = left_root.schedule.begin(now);
            let request = Request {
                mode: Mode::Apply,
                wait: LOCK_WAIT,
                trigger: words(&turn.wakes),
                interrupt: self.context.stop.of_one_pass(),
                withheld: turn.may.withheld().cloned(),
                ignore_windows: false,
                counting: turn.counting,
            };
            let (host, listener) = (self.context.host, self.context.listener);
            self.acting += 1;
            self.work.push(Box::pin(async move {
                let parting = match host.layout(&app).await {
                    Err(error) if error.kind == HostErrorKind::Misconfigured => LeftRootOutcome::Nothing,
                    Err(error) => LeftRootOutcome::Failed(error),
                    Ok(layout) => match without_workers(&app, &layout) {
                        None => LeftRootOutcome::Nothing,
                        Some(app) => {
                            let made = reconcile_each(host, &[(&app, request)], None, listener, |report| report).await;
                            made.into_iter()
                                .next()
                                .map_or(LeftRootOutcome::Nothing, |made| LeftRootOutcome::Passed(Box::new(made)))
                        }
                    },
                };
                Done::Parted(number, parting)
            }));
        }
    }

    /// Takes in what came of a root that is left.
    pub(super) fn parted(&mut self, turn: u64, parting: &LeftRootOutcome) {
        let now = self.now;
        self.acting -= 1;
        let Some(at) = self.left_roots.iter().position(|left_root| left_root.turn == Some(turn)) else {
            return debug!("a root that was to be left is looked after again");
        };
        let Some(left_root) = self.left_roots.get_mut(at) else { return };
        left_root.turn = None;
        let (name, root) = (&left_root.loaded.app.name, &left_root.loaded.app.root);
        let outcome = match parting {
            LeftRootOutcome::Nothing => {
                warn!(app = %name, %root, "nothing says which release is at its former root: what runs there is left running");
                None
            }
            LeftRootOutcome::Passed(report) if report.outcome == Outcome::Converged => {
                info!(app = %name, %root, "its workers at its former root are stopped");
                None
            }
            LeftRootOutcome::Passed(report) => {
                let why = report.problems.first().map(|problem| &*problem.message);
                if has_waited(report) {
                    left_root.schedule.wake(Wake::Timer, now);
                } else {
                    let outcome = report.outcome.word();
                    warn!(app = %name, %root, %outcome, why, "its workers at its former root cannot be stopped yet");
                }
                Some(report.outcome)
            }
            LeftRootOutcome::Failed(error) => {
                warn!(app = %name, %root, %error, "its workers at its former root cannot be stopped yet");
                Some(Outcome::Failed)
            }
        };
        if let Some(outcome) = outcome {
            left_root.schedule.end(&Ended { outcome, corrections: 0, drift: true }, now);
        } else {
            self.left_roots.remove(at);
            self.context.registry.touch();
            self.take_stock();
        }
    }

    /// Whether an earlier agent has looked after this App's root, for whichever App.
    pub(super) fn came(before: &[KnownApp], owners: &RootOwners, name: &AppName) -> FirstSeen {
        let of_root = |known: &KnownApp| known.here && owners.of(&known.loaded.app.root) == Some(name);
        if before.iter().any(of_root) { FirstSeen::Before } else { FirstSeen::Now }
    }
}
