//! Windows for changes: whether one is open at a moment, and when that ends.
//!
//! In: the windows of an App and a moment. Out: an [`Opening`]. With windows of the kind `allow`, changes are made in one
//! of them only; one of the kind `deny` always wins. Begin at [`opening`].
//!
//! Schedules speak of what clocks on the wall show. Where they are set forward, a window that would open in the hour that
//! is left out opens as they jump; where they are set back, it opens in the first of the two hours only. How long it
//! stays open is real time.

use std::time::Duration;

use cronexpr::{Crontab, FallbackTimezoneOption, MakeTimestamp, ParseOptions};
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone};

use crate::model::sync::{Window, WindowKind, Withheld};

/// Nobody plans further ahead, and nothing is looked for beyond it.
const HORIZON: Duration = Duration::from_hours(366 * 24);
/// Most openings that are followed one into the next; windows that go on for longer have no end in sight.
const STEPS: usize = 10_000;
/// Parts of its length before a window's end in which another opening is looked for.
const PARTS: [u32; 3] = [64, 8, 2];
/// After so many years, days of the week fall on the same dates again; the library looks four years ahead.
const CYCLE: [i16; 7] = [2000, 2004, 2008, 2012, 2016, 2020, 2024];
/// Minute, hour, day of the month, month, day of the week.
const FIELDS: usize = 5;

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

/// What is wrong with a schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScheduleError {
    /// What, as a lower-case fragment.
    pub message: String,
    /// Where, in bytes from the beginning of the text.
    pub offset: Option<usize>,
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

/// Whether a schedule can be understood, and ever comes.
///
/// # Errors
/// [`ScheduleError`] when not.
pub fn check(schedule: &str) -> Result<(), ScheduleError> {
    let found = schedule.split_whitespace().count();
    if found != FIELDS {
        let message = match found {
            _ if schedule.trim_start().starts_with('@') => format!("`{}` is an abbreviation", schedule.trim()),
            1 => "it has 1 field, not 5".to_owned(),
            _ => format!("it has {found} fields, not 5"),
        };
        return Err(ScheduleError { message, offset: None });
    }
    let crontab = parse(schedule).map_err(|error| read(&error.to_string()))?;
    let begins = CYCLE.iter().filter_map(|year| as_utc(jiff::civil::date(*year, 1, 1).at(0, 0, 0, 0)));
    if begins.map(|begin| crontab.find_next(MakeTimestamp(begin))).any(|next| next.is_ok()) {
        return Ok(());
    }
    Err(ScheduleError { message: "such a day never comes".to_owned(), offset: None })
}

fn parse(schedule: &str) -> Result<Crontab, cronexpr::Error> {
    let mut options = ParseOptions::default();
    options.fallback_timezone_option = FallbackTimezoneOption::UTC;
    cronexpr::parse_crontab_with(schedule, options)
}

/// The library draws its message below the text: `…\n   ^ what is wrong`.
fn read(message: &str) -> ScheduleError {
    let last = message.lines().last().unwrap_or_default();
    match last.trim_start().strip_prefix("^ ") {
        Some(what) => ScheduleError { message: what.to_owned(), offset: last.find('^') },
        None => ScheduleError { message: last.to_owned(), offset: None },
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

/// A window, its schedule understood, at a moment that moves on.
struct Rule<'a> {
    window: &'a Window,
    /// As if the wall clocks were those of UTC. None where it cannot be understood: then nothing is allowed.
    crontab: Option<Crontab>,
    open: bool,
    /// When it opens or closes next.
    turns: Option<Timestamp>,
}

impl<'a> Rule<'a> {
    fn new(window: &'a Window, now: Timestamp) -> Self {
        let mut rule = Self { window, crontab: parse(&window.schedule).ok(), open: false, turns: None };
        rule.look(now);
        rule
    }

    /// Moves on to a moment.
    fn look(&mut self, at: Timestamp) {
        if self.turns.is_some_and(|turns| at < turns) {
            return;
        }
        let begun = at.checked_sub(self.window.duration).ok().and_then(|since| self.next(since));
        self.open = match self.crontab {
            Some(_) => begun.is_some_and(|begun| begun <= at),
            None => self.window.kind == WindowKind::Deny,
        };
        self.turns = if self.open { self.closes(at) } else { self.next(at) };
    }

    /// The first opening after `after`.
    fn next(&self, after: Timestamp) -> Option<Timestamp> {
        let crontab = self.crontab.as_ref()?;
        let mut wall = as_utc(after.to_zoned(self.window.time_zone.clone()).datetime())?;
        loop {
            let next = crontab.find_next(MakeTimestamp(wall)).ok()?;
            let at = first(&self.window.time_zone, next.datetime())?;
            // In an hour that comes twice, the wall shows again what it showed before.
            if at > after {
                return Some(at);
            }
            wall = next.timestamp();
        }
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

/// The moment that a clock on a wall in UTC shows this.
fn as_utc(wall: DateTime) -> Option<Timestamp> {
    wall.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
}

/// The first moment at which a wall clock shows this or something later: never earlier for a later reading.
fn first(zone: &TimeZone, wall: DateTime) -> Option<Timestamp> {
    let read = zone.to_ambiguous_timestamp(wall);
    let AmbiguousOffset::Gap { after, .. } = read.offset() else { return read.earlier().ok() };
    // By the new offset it lies before the jump, and nothing lies in between.
    let before = after.to_timestamp(wall).ok()?;
    zone.following(before).next().map(|transition| transition.timestamp())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn zone(name: &str) -> TimeZone {
        TimeZone::get(name).unwrap()
    }

    fn window(kind: WindowKind, schedule: &str, minutes: u64, place: &str) -> Window {
        Window { kind, schedule: schedule.to_owned(), duration: Duration::from_mins(minutes), time_zone: zone(place) }
    }

    fn allow(schedule: &str, minutes: u64) -> Window {
        window(WindowKind::Allow, schedule, minutes, "UTC")
    }

    fn deny(schedule: &str, minutes: u64) -> Window {
        window(WindowKind::Deny, schedule, minutes, "UTC")
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    /// `open` or `closed`, and until when.
    fn told(windows: &[Window], now: &str) -> String {
        let (word, until) = match opening(windows, at(now)) {
            Opening::Open { until } => ("open", until),
            Opening::Closed(closed) if closed.denied => ("denied", closed.until),
            Opening::Closed(closed) => ("closed", closed.until),
        };
        until.map_or_else(|| format!("{word} for long"), |until| format!("{word} until {until}"))
    }

    #[test]
    fn windows_open_and_close() {
        let nights = || allow("0 22 * * *", 480);
        let weekdays = || deny("0 0 * * 1-5", 1440);
        let rows = [
            ("none", vec![], "2026-05-01T12:00:00Z", "open for long"),
            ("by day", vec![nights()], "2026-05-01T12:00:00Z", "closed until 2026-05-01T22:00:00Z"),
            ("as it opens", vec![nights()], "2026-05-01T22:00:00Z", "open until 2026-05-02T06:00:00Z"),
            ("beyond midnight", vec![nights()], "2026-05-02T05:59:59Z", "open until 2026-05-02T06:00:00Z"),
            ("as it closes", vec![nights()], "2026-05-02T06:00:00Z", "closed until 2026-05-02T22:00:00Z"),
            (
                "deny wins, and only nights of weekends are left",
                vec![nights(), weekdays()],
                "2026-05-01T23:00:00Z",
                "denied until 2026-05-02T00:00:00Z",
            ),
            ("at the weekend", vec![nights(), weekdays()], "2026-05-02T23:00:00Z", "open until 2026-05-03T06:00:00Z"),
            ("the week comes", vec![nights(), weekdays()], "2026-05-03T23:00:00Z", "open until 2026-05-04T00:00:00Z"),
            ("only deny", vec![deny("30 8 * * 1-5", 60)], "2026-05-01T12:00:00Z", "open until 2026-05-04T08:30:00Z"),
            (
                "two follow upon each other",
                vec![allow("0 1,2 * * *", 60)],
                "2026-05-01T01:30:00Z",
                "open until 2026-05-01T03:00:00Z",
            ),
            (
                "two kinds follow upon each other",
                vec![allow("0 1 * * *", 60), allow("0 2 * * *", 30)],
                "2026-05-01T01:30:00Z",
                "open until 2026-05-01T02:30:00Z",
            ),
            (
                "each minute of an hour",
                vec![allow("* 22 * * *", 480)],
                "2026-05-01T23:00:00Z",
                "open until 2026-05-02T06:59:00Z",
            ),
            ("without end", vec![allow("* * * * *", 1)], "2026-05-01T23:00:00Z", "open for long"),
            ("months without end", vec![deny("0 0 * * *", 1440)], "2026-05-01T23:00:00Z", "denied for long"),
            (
                "denied by one and not allowed by the other",
                vec![allow("0 2 * * *", 60), deny("0 1 * * *", 30)],
                "2026-05-01T01:10:00Z",
                "denied until 2026-05-01T02:00:00Z",
            ),
            (
                "hidden by a deny for ever",
                vec![allow("0 2 * * *", 60), deny("0 1 * * *", 180)],
                "2026-05-01T12:00:00Z",
                "closed for long",
            ),
            ("a leap day", vec![allow("0 0 29 2 *", 60)], "2026-05-01T00:00:00Z", "closed for long"),
            (
                "a freeze of weeks",
                vec![deny("0 0 20 12 *", 60 * 24 * 14)],
                "2026-12-31T00:00:00Z",
                "denied until 2027-01-03T00:00:00Z",
            ),
        ];
        for (name, windows, now, expected) in rows {
            assert_eq!(told(&windows, now), expected, "{name}");
        }
    }

    #[test]
    fn clocks_that_are_set_forward_or_back_neither_lose_nor_double_a_window() {
        let berlin = |schedule, minutes| [window(WindowKind::Allow, schedule, minutes, "Europe/Berlin")];
        let rows = [
            // 2026-03-29, 02:00 CET is 03:00 CEST: 01:00 UTC.
            (
                "in the hour left out",
                berlin("30 2 * * *", 60),
                "2026-03-29T00:59:59Z",
                "closed until 2026-03-29T01:00:00Z",
            ),
            (
                "it opens as clocks jump",
                berlin("30 2 * * *", 60),
                "2026-03-29T01:59:59Z",
                "open until 2026-03-29T02:00:00Z",
            ),
            ("once", berlin("30 2 * * *", 60), "2026-03-29T02:00:00Z", "closed until 2026-03-30T00:30:00Z"),
            ("across the jump", berlin("0 1 * * *", 120), "2026-03-29T00:30:00Z", "open until 2026-03-29T02:00:00Z"),
            (
                "every half hour",
                berlin("*/30 * * * *", 10),
                "2026-03-29T00:45:00Z",
                "closed until 2026-03-29T01:00:00Z",
            ),
            // 2026-10-25, 03:00 CEST is 02:00 CET: 01:00 UTC.
            (
                "in the hour that comes twice",
                berlin("30 2 * * *", 30),
                "2026-10-25T00:30:00Z",
                "open until 2026-10-25T01:00:00Z",
            ),
            (
                "not a second time",
                berlin("30 2 * * *", 30),
                "2026-10-25T01:30:00Z",
                "closed until 2026-10-26T01:30:00Z",
            ),
            (
                "a night has an hour more",
                berlin("0 22 * * *", 480),
                "2026-10-25T01:00:00Z",
                "open until 2026-10-25T04:00:00Z",
            ),
            ("summer", berlin("0 22 * * *", 60), "2026-07-01T12:00:00Z", "closed until 2026-07-01T20:00:00Z"),
            ("winter", berlin("0 22 * * *", 60), "2026-12-01T12:00:00Z", "closed until 2026-12-01T21:00:00Z"),
        ];
        for (name, windows, now, expected) in rows {
            assert_eq!(told(&windows, now), expected, "{name}");
        }
        // Samoa left out the whole 30th of December 2011.
        let apia = [window(WindowKind::Allow, "0 12 30 12 *", 60, "Pacific/Apia")];
        assert_eq!(told(&apia, "2011-12-30T09:00:00Z"), "closed until 2011-12-30T10:00:00Z");
    }

    #[test]
    fn who_is_withheld_learns_which_window_it_is() {
        let windows = [
            window(WindowKind::Allow, "0 22 * * *", 60, "Europe/Berlin"),
            window(WindowKind::Deny, "0 9 * * *", 60, "Asia/Tokyo"),
        ];
        let by = |now: &str| match withheld(&windows, at(now)) {
            Some(Withheld::OutsideWindow { schedule, time_zone, denied, .. }) => {
                (denied, schedule, time_zone.iana_name().map(str::to_owned))
            }
            other => panic!("{other:?}"),
        };
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(by("2026-05-01T12:00:00Z"), (false, some("0 22 * * *"), some("Europe/Berlin")));
        assert_eq!(by("2026-05-01T00:30:00Z"), (true, some("0 9 * * *"), some("Asia/Tokyo")));
        assert_eq!(withheld(&windows, at("2026-05-01T20:30:00Z")), None);
    }

    #[test]
    fn what_cannot_be_understood_allows_nothing() {
        assert_eq!(told(&[deny("gibberish", 60)], "2026-05-01T12:00:00Z"), "denied for long");
        assert_eq!(told(&[allow("gibberish", 60)], "2026-05-01T12:00:00Z"), "closed for long");
    }

    #[test]
    fn wrong_schedules_are_told_with_their_place() {
        let rows = [
            ("0 22 * * *", None),
            ("*/15 8-17 1,15 JAN-MAR MON-FRI", None),
            ("0 0 29 2 *", None),
            ("0 0 L * *", None),
            ("0 22 * *", Some(("it has 4 fields, not 5", None))),
            ("0 22 * * * Europe/Berlin", Some(("it has 6 fields, not 5", None))),
            ("@daily", Some(("`@daily` is an abbreviation", None))),
            ("", Some(("it has 0 fields, not 5", None))),
            ("0 0 31 2 *", Some(("such a day never comes", None))),
            ("0 24 * * *", Some(("value must be in range 0..=23; found 24", Some(2)))),
            ("0 8-x * * *", Some(("malformed expression", Some(3)))),
            ("0 17-8 * * *", Some(("range must be in ascending order; found 17-8", Some(2)))),
        ];
        for (schedule, wrong) in rows {
            let found = check(schedule).err().map(|error| (error.message, error.offset));
            assert_eq!(found, wrong.map(|(what, place)| (what.to_owned(), place)), "{schedule}");
        }
    }

    fn any_window() -> impl Strategy<Value = Window> {
        let schedules = prop_oneof![
            Just("0 22 * * *"),
            Just("*/7 * * * *"),
            Just("30 2 * * *"),
            Just("0 8 * * 1-5"),
            Just("15 1,2,3 * * 0"),
            Just("0 0 1 * *"),
            Just("59 23 L * *"),
        ];
        let places =
            prop_oneof![Just("UTC"), Just("Europe/Berlin"), Just("America/New_York"), Just("Australia/Lord_Howe")];
        let kinds = prop_oneof![Just(WindowKind::Allow), Just(WindowKind::Deny)];
        (kinds, schedules, 1u64..3000, places)
            .prop_map(|(kind, text, minutes, place)| window(kind, text, minutes, place))
    }

    /// Some moment of 2026, often near the days on which clocks are changed.
    fn any_moment() -> impl Strategy<Value = Timestamp> {
        let year = 1_767_225_600i64..1_798_761_600;
        let near = |around: &str| {
            let around = at(around).as_second();
            around - 200_000..around + 200_000
        };
        prop_oneof![year, near("2026-03-29T01:00:00Z"), near("2026-10-25T01:00:00Z"), near("2026-04-04T15:00:00Z")]
            .prop_map(|second| Timestamp::from_second(second).unwrap())
    }

    fn is_open(windows: &[Window], now: Timestamp) -> bool {
        matches!(opening(windows, now), Opening::Open { .. })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Until the moment that is told nothing changes, and then it does.
        #[test]
        fn what_is_told_holds_until_then(windows in prop::collection::vec(any_window(), 0..4), now in any_moment(), part in 0.0f64..1.0) {
            let (open, until) = match opening(&windows, now) {
                Opening::Open { until } => (true, until),
                Opening::Closed(closed) => (false, closed.until),
            };
            if let Some(until) = until {
                prop_assert!(until > now);
                prop_assert_eq!(is_open(&windows, until), !open);
                let between = Duration::try_from(until.duration_since(now)).unwrap().mul_f64(part);
                let between = now.checked_add(between).unwrap().min(until - jiff::SignedDuration::from_nanos(1));
                prop_assert_eq!(is_open(&windows, between), open, "at {}", between);
            }
        }

        /// A window more of the kind `deny` never opens anything.
        #[test]
        fn deny_always_wins(windows in prop::collection::vec(any_window(), 0..4), more in any_window(), now in any_moment()) {
            let more = Window { kind: WindowKind::Deny, ..more };
            let denies = !is_open(std::slice::from_ref(&more), now);
            let with = [windows.clone(), vec![more]].concat();
            prop_assert_eq!(is_open(&with, now), is_open(&windows, now) && !denies);
        }

        /// Each day has one opening of a daily window, whatever is done to the clocks.
        #[test]
        fn a_daily_window_opens_once_each_day(hour in 0i8..24, minute in 0i8..60, day in 0i32..365) {
            let window = window(WindowKind::Allow, &format!("{minute} {hour} * * *"), 1, "Europe/Berlin");
            let rule = Rule::new(&window, at("2026-01-01T00:00:00Z"));
            let day = jiff::civil::date(2026, 1, 1).checked_add(jiff::Span::new().days(day)).unwrap();
            let midnight = |day: jiff::civil::Date| day.to_zoned(zone("Europe/Berlin")).unwrap().timestamp();
            let (begin, end) = (midnight(day), midnight(day.tomorrow().unwrap()));
            let before = begin - jiff::SignedDuration::from_nanos(1);
            let first = rule.next(before).unwrap();
            prop_assert!(first >= begin && first < end, "{first}");
            prop_assert!(rule.next(first).unwrap() >= end);
        }

        /// Whatever is written, checking it ends, and says what is wrong.
        #[test]
        fn no_text_is_too_strange(text in "[0-9*,/#LWA-Z@ äß-]{0,30}") {
            if let Err(error) = check(&text) {
                prop_assert!(!error.message.is_empty());
                prop_assert!(error.offset.is_none_or(|offset| offset <= text.len()));
            }
        }
    }
}
