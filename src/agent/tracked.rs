//! One App's place in the loop: its turns, what was last seen of it, and what is still to be done for it.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::oneshot;
use tracing::info;

use super::debounce::{Absence, Debounce};
use super::edits::Edits;
use super::orders::{Operated, Operation};
use super::senses::Member;
use crate::decide::schedule::{Ended, Schedule, ScheduleState, later};
use crate::engine::interrupt::Interrupt;
use crate::manifest::Loaded;
use crate::model::app::App;
use crate::model::names::{GroupName, MemberName, ReleaseId};
use crate::model::observed::{Layout, Link, Observed};
use crate::model::process::{Inode, ProcessId};
use crate::model::report::{Outcome, PassReport};
use crate::model::wake::Wake;
use crate::ports::HostError;

/// What changes at a root is looked at when nothing has changed for this long, …
const CALM: Duration = Duration::from_millis(5);
/// … and this long after the first change at the latest.
const CALM_AT_MOST: Duration = Duration::from_millis(100);
/// Tools that remove `current` and make it anew need this long at most; acting in between would be in their way.
const GAP: Duration = Duration::from_secs(1);

/// One App's place in the loop.
pub(super) struct TrackedApp {
    /// Its manifest in force.
    pub(super) loaded: Arc<Loaded>,
    /// Its turns.
    pub(super) schedule: Schedule,
    /// What is under way; none: it is free.
    busy: Option<Busy>,
    /// Why what is under way is made, as far as it is a pass.
    pub(super) answers: Vec<Wake>,
    /// How many passes in a row have failed.
    pub(super) failures: u32,
    /// It has had a pass since the agent began.
    pub(super) passed: bool,
    /// How the last one ended that has seen the host.
    pub(super) outcome: Option<Outcome>,
    pub(super) came: FirstSeen,
    /// It has disappeared from the manifests; when its workers are stopped, it leaves.
    pub(super) leaving: bool,
    /// The turn in which they are stopped. A pass that began before it disappeared has left them running.
    pub(super) seen_off: Option<u64>,
    /// The last pass that has looked at its root.
    pub(super) last: Option<Arc<PassReport>>,
    /// Its root as it was last seen, by whatever pass.
    pub(super) layout: Option<Layout>,
    /// Changes at its root that nobody has looked at.
    pub(super) stirred: Debounce,
    /// The link was not there at the last look between two passes.
    gap: Absence,
    /// Changes of its files that nobody has looked at.
    pub(super) edits: Edits,
    /// When its application is asked next, between two passes.
    pub(super) ask_at: Option<Timestamp>,
    /// What its application last said was well.
    well: bool,
    /// What people have asked for.
    pub(super) errands: VecDeque<PendingOperation>,
}

/// When it came into force first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FirstSeen {
    /// Since the agent began.
    Now,
    /// Before: workers of ours may be there, whether it has had a pass or not.
    Before,
}

/// Something that is done for an App, nothing else meanwhile.
#[derive(Debug)]
struct Busy {
    turn: u64,
    /// Of a pass, which looks at everything in the end: ends it early.
    pass: Option<Interrupt>,
    /// It is done at the root that the App had before: nothing of it is known of this one.
    former_root: bool,
}

/// What a person has asked for, and where the answer goes.
pub(super) struct PendingOperation {
    pub(super) what: Operation,
    pub(super) reply: oneshot::Sender<Result<Operated, HostError>>,
}

impl TrackedApp {
    /// `host` is another number for each host: what befalls many of them at once must not have all come back in step.
    pub(super) fn new(loaded: Loaded, host: u64) -> Self {
        let mut seed = DefaultHasher::new();
        host.hash(&mut seed);
        loaded.app.name.as_str().hash(&mut seed);
        Self {
            schedule: Schedule::new(loaded.app.sync.clone(), seed.finish()),
            loaded: Arc::new(loaded),
            busy: None,
            answers: Vec::new(),
            failures: 0,
            passed: false,
            outcome: None,
            came: FirstSeen::Now,
            leaving: false,
            seen_off: None,
            last: None,
            layout: None,
            stirred: Debounce::new(CALM, CALM_AT_MOST),
            gap: Absence::new(GAP),
            edits: Edits::new(),
            ask_at: None,
            well: true,
            errands: VecDeque::new(),
        }
    }

    /// Another manifest is in force for it. Tells whether that means anything.
    pub(super) fn renew(&mut self, loaded: Loaded) -> bool {
        let changed = self.leaving || loaded.app != self.loaded.app || loaded.document != self.loaded.document;
        if changed && supersedes(&loaded.app, &self.loaded.app) {
            self.cut_short();
        }
        if changed {
            self.schedule.renew(loaded.app.sync.clone());
            self.leaving = false;
        }
        if loaded.app.root != self.loaded.app.root {
            (self.last, self.layout) = (None, None);
        }
        if *self.loaded != loaded {
            self.loaded = Arc::new(loaded);
        }
        changed
    }

    /// Takes the place of one at another root, and returns what people have asked of that one. What is under way there
    /// is waited for: both may have managers in common.
    pub(super) fn succeed(&mut self, before: Self) -> VecDeque<PendingOperation> {
        self.busy = before.busy.map(|busy| Busy { former_root: true, ..busy });
        before.errands
    }

    /// The clock was set back: what was due at some time is due at another one now, and a pass looks at everything.
    pub(super) fn clock_was_set(&mut self, now: Timestamp) {
        self.schedule.clock_was_set(now);
        self.schedule.wake(Wake::Timer, now);
        self.stirred.settle();
        self.gap.close();
        self.edits = Edits::new();
        self.ask_at = self.ask_at.map(|_| now);
    }

    /// Workers of ours may be there: one that was never looked at has none.
    pub(super) fn may_have_workers(&self) -> bool {
        self.passed || self.passes() || self.came == FirstSeen::Before
    }

    /// A pass in hand may prepare what is not wanted any more: a long build of it need not be waited for.
    pub(super) fn cut_short(&self) {
        if let Some(Busy { pass: Some(pass), .. }) = &self.busy {
            info!(app = %self.loaded.app.name, "something else is wanted: the pass in hand prepares no further");
            pass.supersede();
        }
    }

    /// This turn is its own from now on; a pass can be ended early.
    pub(super) fn engage(&mut self, turn: u64, pass: Option<Interrupt>) {
        self.busy = Some(Busy { turn, pass, former_root: false });
    }

    /// Its turn is over.
    pub(super) fn release(&mut self) {
        self.busy = None;
    }

    /// How its last pass ended that has seen the host. While a worker dies again and again, that does not count as
    /// good.
    pub(super) fn standing(&self) -> Option<Outcome> {
        if self.schedule.looping().is_empty() { self.outcome } else { Some(Outcome::Failed) }
    }

    /// Nothing is done for it now.
    pub(super) fn is_free(&self) -> bool {
        self.busy.is_none()
    }

    /// A pass is under way, which looks at everything in the end.
    pub(super) fn passes(&self) -> bool {
        self.busy.as_ref().is_some_and(|busy| busy.pass.is_some())
    }

    /// That turn is under way.
    pub(super) fn is_at(&self, turn: u64) -> bool {
        self.busy.as_ref().is_some_and(|busy| busy.turn == turn)
    }

    /// That turn is under way, at the root that the App had before.
    pub(super) fn is_of_former_root(&self, turn: u64) -> bool {
        self.busy.as_ref().is_some_and(|busy| busy.turn == turn && busy.former_root)
    }

    /// When something is to be done for it; none while something is.
    pub(super) fn due(&self) -> Option<Timestamp> {
        if self.busy.is_some() {
            return None;
        }
        let errand = (!self.errands.is_empty()).then_some(Timestamp::MIN);
        [errand, self.schedule.due(), self.look_at(), self.edits.due(), self.ask_at].into_iter().flatten().min()
    }

    /// When its root is looked at, between two passes.
    pub(super) fn look_at(&self) -> Option<Timestamp> {
        [self.stirred.due(), self.gap.due()].into_iter().flatten().min()
    }

    /// Takes in what a pass has left behind.
    pub(super) fn ended(&mut self, report: &Arc<PassReport>, now: Timestamp) -> ScheduleState {
        let counted = report.tried.iter().filter(|tried| tried.action.is_counted()).count();
        let corrections = u32::try_from(counted).unwrap_or(u32::MAX);
        let drift = !report.difference.drift.is_empty();
        self.release();
        self.passed = true;
        self.gap.close();
        self.edits.forget();
        self.schedule.end(&Ended { outcome: report.outcome, corrections, drift }, now);
        let answers = std::mem::take(&mut self.answers);
        if has_waited(report) {
            // All of it waits on, and what was seen is still the last that was.
            for wake in answers.into_iter().filter(Wake::brings_news) {
                self.schedule.wake(wake, now);
            }
            self.schedule.wake(Wake::Timer, now);
        } else {
            self.last = Some(Arc::clone(report));
            self.outcome = Some(report.outcome);
        }
        if let Some(seen) = self.seen() {
            self.layout = Some(seen.layout.clone());
        } else if self.leaving {
            // Its root may be gone by now.
            self.layout = None;
        }
        self.well = self.health().unwrap_or(true);
        self.ask_again(now);
        let state = self.schedule.state(now);
        self.failures = state.failures;
        state
    }

    /// What was last seen; none when the last pass saw nothing.
    pub(super) fn seen(&self) -> Option<&Observed> {
        seen_by(self.last.as_ref())
    }

    /// The workers that live, as far as they were seen: the group and the member of each, and its process.
    fn living(&self) -> impl Iterator<Item = (&GroupName, &MemberName, ProcessId)> {
        let groups = self.seen().into_iter().flat_map(|seen| &seen.groups);
        let members = groups.filter_map(|group| Some((&group.group, group.members.as_ref().ok()?)));
        members.flat_map(|(group, members)| {
            members.iter().filter_map(move |worker| Some((group, &worker.member, worker.process?)))
        })
    }

    /// The same, to be told of their deaths.
    pub(super) fn members(&self) -> Vec<Member> {
        let member = |(group, member, process): (&GroupName, &MemberName, _)| Member {
            group: group.clone(),
            member: member.clone(),
            process,
        };
        self.living().map(member).collect()
    }

    /// Whether a death is news: of a worker that was last seen alive. A pass looks for itself.
    pub(super) fn mourns(&self, dead: &Member) -> bool {
        !self.passes() && self.living().any(|living| living == (&dead.group, &dead.member, dead.process))
    }

    /// What a look at the root, between two passes, gives reason for. Our own last pass gives none: what it left behind
    /// is what was seen last.
    pub(super) fn notice(&mut self, layout: Result<&Layout, &HostError>, now: Timestamp) -> Option<Wake> {
        let Some(seen) = seen_by(self.last.as_ref()).map(|seen| &seen.layout) else { return Some(Wake::Link) };
        let Ok(layout) = layout else { return Some(Wake::Link) };
        let moved = (&layout.link, layout.link_changed) != (&seen.link, seen.link_changed);
        if moved && layout.link == Link::Absent && self.gap.opens(now) {
            return None;
        }
        self.gap.close();
        match moved {
            true => Some(Wake::Link),
            false if names(layout).ne(names(seen)) => Some(Wake::Releases),
            false => None,
        }
    }

    /// Takes in an answer that came between two passes. Tells whether health has turned bad.
    pub(super) fn answered(&mut self, healthy: Option<bool>, now: Timestamp) -> bool {
        let was = std::mem::replace(&mut self.well, healthy.unwrap_or(true));
        self.ask_again(now);
        was && !self.well
    }

    /// Its application is asked again after a while, as its contract says.
    pub(super) fn ask_again(&mut self, now: Timestamp) {
        let contract = self.loaded.app.health.as_ref().filter(|_| !self.leaving);
        self.ask_at = contract.and_then(|contract| contract.watch).map(|pause| later(now, pause));
    }

    fn health(&self) -> Option<bool> {
        Some(self.seen()?.health_in_force()?.healthy)
    }
}

/// What a pass has seen in the end; none: nothing.
pub(super) fn seen_by(last: Option<&Arc<PassReport>>) -> Option<&Observed> {
    last?.after.as_ref()
}

/// Whether a pass has only waited for somebody else's.
pub(super) fn has_waited(report: &PassReport) -> bool {
    report.outcome == Outcome::Interrupted && report.before.is_none()
}

/// Whether a pass over the App as it `was` would only hold up what is wanted `now`.
fn supersedes(now: &App, was: &App) -> bool {
    now.release != was.release || now.root != was.root || (now.sync.suspend && !was.sync.suspend)
}

fn names(layout: &Layout) -> impl Iterator<Item = (&ReleaseId, Inode)> {
    layout.releases.iter().map(|release| (&release.id, release.inode))
}
