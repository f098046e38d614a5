//! When changes may be made.

use std::time::Duration;

use jiff::tz::TimeZone;

use super::{Checker, each, optional};
use crate::decide::windows;
use crate::manifest::node::{Cursor, cut};
use crate::manifest::shape;
use crate::model::nearest::nearest;
use crate::model::sync::{SyncPolicy, Window, WindowKind};

/// The shortest interval: what is looked at without pause is never at rest.
const SHORTEST: Duration = Duration::from_secs(1);
/// The shortest window: schedules count in minutes.
const MINUTE: Duration = Duration::from_mins(1);
/// Most windows of one App.
const WINDOWS: usize = 50;

impl Checker<'_> {
    pub(super) fn sync(&mut self, sync: &shape::Sync, at: &Cursor<'_>) -> Option<SyncPolicy> {
        let unless = SyncPolicy::default();
        let interval = self.second_or_more(sync.interval.as_ref(), &at.key("interval"), unless.interval);
        let list = at.key("windows");
        if sync.windows.len() > WINDOWS {
            let message = format!("`{}` has {} windows; at most {WINDOWS} are allowed", list.path, sync.windows.len());
            self.find(list.span, message, "one schedule may name several days and hours: `0 2,14 * * MON-FRI`");
            return None;
        }
        let windows = each(&sync.windows, |position, window| self.window(window, &list.item(position)));
        Some(SyncPolicy {
            suspend: sync.suspend.unwrap_or(unless.suspend),
            reason: sync.reason.clone(),
            automatic: sync.automatic.unwrap_or(unless.automatic),
            self_heal: sync.self_heal.unwrap_or(unless.self_heal),
            interval: interval?,
            windows: windows?,
            max_corrections: sync.max_corrections_per_hour.unwrap_or(unless.max_corrections),
            prune: sync.prune.unwrap_or(unless.prune),
        })
    }

    /// Something that the agent does again and again.
    pub(super) fn second_or_more(
        &mut self,
        text: Option<&shape::DurationText>,
        at: &Cursor<'_>,
        unless: Duration,
    ) -> Option<Duration> {
        let found = self.duration(text, at, Duration::ZERO, unless)?;
        if found >= SHORTEST {
            return Some(found);
        }
        let message = match found {
            Duration::ZERO => format!("`{}` is 0: nothing can be done without a pause", at.path),
            _ => format!("`{}` is too short: {} ms", at.path, found.as_millis()),
        };
        self.find(at.span.clone(), message, "write 1s or more; changes wake the agent besides");
        None
    }

    fn window(&mut self, window: &shape::SyncWindow, at: &Cursor<'_>) -> Option<Window> {
        let kind = window.kind.map(|kind| match kind {
            shape::SyncWindowKind::Allow => WindowKind::Allow,
            shape::SyncWindowKind::Deny => WindowKind::Deny,
        });
        let schedule = window.schedule.as_ref().and_then(|text| self.schedule(text, &at.key("schedule")));
        let place = at.key("duration");
        let duration = window.duration.as_ref().and_then(|text| {
            let found = self.duration(Some(text), &place, Duration::ZERO, MINUTE)?;
            if found < MINUTE {
                let message = format!("`{}` is too short: `{}`", place.path, text.0);
                self.find(place.span.clone(), message, "schedules count in minutes: write 1m or more");
                return None;
            }
            Some(found)
        });
        let time_zone = window.time_zone.as_ref().map(|name| self.time_zone(name, &at.key("timeZone")));
        Some(Window {
            kind: kind?,
            schedule: schedule?,
            duration: duration?,
            time_zone: optional(time_zone)?.unwrap_or(TimeZone::UTC),
        })
    }

    fn schedule(&mut self, text: &str, at: &Cursor<'_>) -> Option<String> {
        const HELP: &str = "write minute, hour, day of the month, month and day of the week, such as `0 22 * * *` for every night at ten, or `30 8 * * MON-FRI`";
        let error = match windows::check(text) {
            Ok(()) => return Some(text.to_owned()),
            Err(error) => error,
        };
        let span = error.offset.map_or_else(|| at.span.clone(), |offset| at.inside(offset, self.source));
        let help = match text.split_whitespace().last() {
            Some(last) if last.contains('/') && TimeZone::get(last).is_ok() => {
                format!("the time zone stands beside it: `timeZone: {}`", cut(last))
            }
            _ => HELP.to_owned(),
        };
        self.find(span, format!("`{}` is no schedule: {}", at.path, cut(&error.message)), help);
        None
    }

    fn time_zone(&mut self, name: &str, at: &Cursor<'_>) -> Option<TimeZone> {
        if let Ok(found) = TimeZone::get(name) {
            return Some(found);
        }
        let known: Vec<String> = jiff::tz::db().available().map(|name| name.to_string()).collect();
        let help = match nearest(name, known.iter().map(String::as_str)) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "write a name of the IANA time zone database, such as `Europe/Berlin` or `UTC`".to_owned(),
        };
        self.find(at.span.clone(), format!("`{}` is no time zone: `{}`", at.path, cut(name)), help);
        None
    }
}
