//! Who has the manifests looked at at once: forges that tell of a push, and people who want passes.
//!
//! A look that is under way may have seen what was there before the push. So each of them waits for the end of one that
//! begins after they have asked; people not for ever, for a repository that does not answer is waited for minutes.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;

use super::Agent;
use super::orders::{Asked, Woken};
use super::senses::Senses;
use super::source::Source;
use crate::decide::schedule::later;
use crate::ports::Host;

/// People wait so long for newer manifests; then those in force must do.
const PATIENCE: Duration = Duration::from_secs(30);

/// Those who have asked.
#[derive(Debug, Default)]
pub(super) struct Askers {
    /// For the next look.
    waiting: Asking,
    /// For the one under way.
    looking: Asking,
}

/// What a look is made for, besides time.
#[derive(Debug, Default)]
pub(super) struct Asking {
    /// Forges that tell of a push.
    pub(super) forges: BTreeSet<String>,
    /// Passes that people want.
    pub(super) people: Vec<Person>,
}

/// Somebody who wants passes.
#[derive(Debug)]
pub(super) struct Person {
    asked: Asked,
    /// When they wait no more for manifests.
    until: Timestamp,
}

impl Askers {
    /// A forge tells of a push.
    pub(super) fn pushed(&mut self, forge: String) {
        self.waiting.forges.insert(forge);
    }

    /// A person wants passes.
    pub(super) fn ask(&mut self, asked: Asked, now: Timestamp) {
        self.waiting.people.push(Person { asked, until: later(now, PATIENCE) });
    }

    /// When somebody's patience ends.
    pub(super) fn due(&self) -> Option<Timestamp> {
        self.waiting.people.iter().chain(&self.looking.people).map(|person| person.until).min()
    }

    /// Those whose patience has ended.
    pub(super) fn impatient(&mut self, now: Timestamp) -> Vec<Person> {
        let mut out = Vec::new();
        for people in [&mut self.looking.people, &mut self.waiting.people] {
            out.extend(people.extract_if(.., |person| person.until <= now));
        }
        out
    }

    /// The clock was set back: times mean nothing any more.
    pub(super) fn clock_was_set(&mut self, now: Timestamp) {
        for person in self.waiting.people.iter_mut().chain(&mut self.looking.people) {
            person.until = later(now, PATIENCE);
        }
    }

    /// A look begins.
    pub(super) fn begin(&mut self) {
        let Asking { mut forges, mut people } = std::mem::take(&mut self.waiting);
        self.looking.forges.append(&mut forges);
        self.looking.people.append(&mut people);
    }

    /// Nothing was looked at after all.
    pub(super) fn begin_again(&mut self) {
        let later = std::mem::replace(&mut self.waiting, std::mem::take(&mut self.looking));
        self.waiting.forges.extend(later.forges);
        self.waiting.people.extend(later.people);
    }

    /// The look has ended; for whom it was made.
    pub(super) fn end(&mut self) -> Asking {
        std::mem::take(&mut self.looking)
    }
}

impl<'a, H: Host, S: Source + 'a, W: Senses> Agent<'a, H, S, W> {
    /// Where newer manifests do not come, whoever has waited long enough has passes by those in force.
    pub(super) fn grant_the_impatient(&mut self) {
        if self.manifests.patience().is_none_or(|until| until > self.now) {
            return;
        }
        let people = self.manifests.askers.impatient(self.now);
        self.grant(people, Some("the source has not answered yet; newer manifests are still awaited"));
    }

    /// The manifests were looked at: passes are made now, by the newest ones unless there is a `problem` with those.
    pub(super) fn grant(&mut self, people: Vec<Person>, problem: Option<&str>) {
        for Person { asked: Asked { apps, wake, woken }, .. } in people {
            let apps = apps.unwrap_or_else(|| self.context.board.names());
            // No pass that has begun by now counts: it may be made by older manifests, or within windows.
            let mark = self.context.board.mark();
            for app in &apps {
                self.wake(app, wake.clone());
            }
            // Whoever asked may have gone; the passes are made all the same.
            let _ = woken.send(Woken { apps, mark, problem: problem.map(str::to_owned) });
        }
    }
}
