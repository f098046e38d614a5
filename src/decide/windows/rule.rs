//! One window, followed from moment to moment.

use jiff::Timestamp;

use super::cron::Recurrence;
use super::{HORIZON, STEPS};
use crate::model::sync::{Window, WindowKind};

/// Parts of its length before a window's end in which another opening is looked for.
const PARTS: [u32; 3] = [64, 8, 2];

/// A window, its schedule understood, at a moment that moves on.
pub(super) struct Rule<'a> {
    pub(super) window: &'a Window,
    /// None where its schedule cannot be understood: then nothing is allowed.
    openings: Option<Recurrence<'a>>,
    pub(super) open: bool,
    /// When it opens or closes next.
    pub(super) turns: Option<Timestamp>,
}

impl<'a> Rule<'a> {
    pub(super) fn new(window: &'a Window, now: Timestamp) -> Self {
        let openings = Recurrence::new(&window.schedule, &window.time_zone);
        let mut rule = Self { window, openings, open: false, turns: None };
        rule.look(now);
        rule
    }

    /// Moves on to a moment.
    pub(super) fn look(&mut self, at: Timestamp) {
        if self.turns.is_some_and(|turns| at < turns) {
            return;
        }
        let begun = at.checked_sub(self.window.duration).ok().and_then(|since| self.next(since));
        self.open = match self.openings {
            Some(_) => begun.is_some_and(|begun| begun <= at),
            None => self.window.kind == WindowKind::Deny,
        };
        self.turns = if self.open { self.closes(at) } else { self.next(at) };
    }

    /// The first opening after `after`.
    fn next(&self, after: Timestamp) -> Option<Timestamp> {
        self.openings.as_ref()?.next(after)
    }

    /// When it closes that is open at `at`, openings that follow upon each other taken together.
    fn closes(&self, at: Timestamp) -> Option<Timestamp> {
        let duration = self.window.duration;
        let mut begun = self.next(at.checked_sub(duration).ok()?)?;
        for _ in 0..STEPS {
            let end = begun.checked_add(duration).ok()?;
            if end > at.checked_add(HORIZON).ok()? {
                return None;
            }
            // The later the opening, the fewer the steps; else one after the other.
            let late = PARTS.iter().find_map(|part| {
                let since = end.checked_sub(duration / *part).ok()?;
                self.next(since).filter(|next| *next <= end && *next > begun)
            });
            match late.or_else(|| self.next(begun)).filter(|next| *next <= end) {
                Some(next) => begun = next,
                None => return Some(end),
            }
        }
        None
    }
}
