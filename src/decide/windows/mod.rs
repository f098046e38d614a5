//! Windows for changes: whether one is open at a moment, and when that ends.
//!
//! In: the windows of an App and a moment. Out: an [`Opening`]. With windows of the kind `allow`, changes are made in one
//! of them only; one of the kind `deny` always wins. Begin at [`opening`]; `rule` follows one window through time, and
//! `cron` knows when its schedule comes round.
//!
//! Schedules speak of what clocks on the wall show. Where they are set forward, a window that would open in the hour that
//! is left out opens as they jump; where they are set back, it opens in the first of the two hours only. How long it
//! stays open is real time.

mod cron;
mod rule;
#[cfg(test)]
mod tests;

use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;

pub use self::cron::{ScheduleError, check};
use self::rule::Rule;
use crate::model::sync::{Window, WindowKind, Withheld};

/// Nobody plans further ahead, and nothing is looked for beyond it.
const HORIZON: Duration = Duration::from_hours(366 * 24);

/// Most openings that are followed one into the next; windows that go on for longer have no end in sight.
const STEPS: usize = 10_000;

/// What the windows say of one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opening {
    /// Changes may be made.
    Open {
        /// Until then; none: for as long as anybody plans.
        until: Option<Timestamp>,
    },
    /// They may not.
    Closed(Closed),
}

/// No changes may be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closed {
    /// Until then; none: not within a year.
    pub until: Option<Timestamp>,
    /// A window forbids them; else none is open that would allow them.
    pub denied: bool,
    /// The schedule of the window that forbids them now, or of the one that allows them next.
    pub schedule: Option<String>,
    /// Its time zone.
    pub time_zone: TimeZone,
}

impl From<Closed> for Withheld {
    fn from(closed: Closed) -> Self {
        let Closed { until, denied, schedule, time_zone } = closed;
        Self::OutsideWindow { until, denied, schedule, time_zone }
    }
}

/// Whether changes may be made now, and until when that is so.
#[must_use]
pub fn opening(windows: &[Window], now: Timestamp) -> Opening {
    let mut rules: Vec<Rule<'_>> = windows.iter().map(|window| Rule::new(window, now)).collect();
    let is_allowed = allowed(&rules);
    let denies = open(&rules, WindowKind::Deny);
    let end = now.checked_add(HORIZON).ok();
    let mut until = None;
    for _ in 0..STEPS {
        let Some(at) = may_turn(&rules).filter(|at| end.is_some_and(|end| *at <= end)) else { break };
        for rule in &mut rules {
            rule.look(at);
        }
        if allowed(&rules) != is_allowed {
            until = Some(at);
            break;
        }
    }
    if is_allowed {
        return Opening::Open { until };
    }
    let speaks = denies.or_else(|| open(&rules, WindowKind::Allow).filter(|_| until.is_some()));
    Opening::Closed(Closed {
        until,
        denied: denies.is_some(),
        schedule: speaks.map(|window| window.schedule.clone()),
        time_zone: speaks.or(windows.first()).map_or(TimeZone::UTC, |window| window.time_zone.clone()),
    })
}

/// Why changes are withheld now; none: they are not.
#[must_use]
pub fn withheld(windows: &[Window], now: Timestamp) -> Option<Withheld> {
    match opening(windows, now) {
        Opening::Open { .. } => None,
        Opening::Closed(closed) => Some(closed.into()),
    }
}

/// Whether changes may be made, as these rules stand.
fn allowed(rules: &[Rule<'_>]) -> bool {
    let only_in_windows = rules.iter().any(|rule| rule.window.kind == WindowKind::Allow);
    (!only_in_windows || open(rules, WindowKind::Allow).is_some()) && open(rules, WindowKind::Deny).is_none()
}

/// The first moment at which that may be otherwise; none: it never is.
fn may_turn(rules: &[Rule<'_>]) -> Option<Timestamp> {
    let turns = |kind, open| {
        let rules = rules.iter().filter(move |rule| rule.window.kind == kind && rule.open == open);
        rules.map(|rule| rule.turns)
    };
    // All that are open have to close; one without end never does.
    let all_close = |kind| turns(kind, true).collect::<Option<Vec<_>>>().and_then(|ends| ends.into_iter().max());
    let one_opens = |kind| turns(kind, false).flatten().min();
    match (open(rules, WindowKind::Deny), open(rules, WindowKind::Allow)) {
        (Some(_), _) => all_close(WindowKind::Deny),
        (None, Some(_)) => all_close(WindowKind::Allow).into_iter().chain(one_opens(WindowKind::Deny)).min(),
        (None, None) if allowed(rules) => one_opens(WindowKind::Deny),
        (None, None) => one_opens(WindowKind::Allow),
    }
}

/// A window of that kind which is open.
fn open<'a>(rules: &[Rule<'a>], kind: WindowKind) -> Option<&'a Window> {
    rules.iter().find(|rule| rule.open && rule.window.kind == kind).map(|rule| rule.window)
}
