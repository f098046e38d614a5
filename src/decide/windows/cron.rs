//! When a schedule in the words of cron comes round, by the clocks on the walls of its time zone.

use cronexpr::{Crontab, FallbackTimezoneOption, MakeTimestamp, ParseOptions};
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone};

/// After so many years, days of the week fall on the same dates again; the library looks four years ahead.
const CYCLE: [i16; 7] = [2000, 2004, 2008, 2012, 2016, 2020, 2024];

/// Minute, hour, day of the month, month, day of the week.
const FIELDS: usize = 5;

/// What is wrong with a schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScheduleError {
    /// What, as a lower-case fragment.
    pub message: String,
    /// Where, in bytes from the beginning of the text.
    pub offset: Option<usize>,
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

/// A schedule that is understood, in a time zone.
pub(super) struct Recurrence<'a> {
    /// As if the wall clocks were those of UTC.
    crontab: Crontab,
    time_zone: &'a TimeZone,
}

impl<'a> Recurrence<'a> {
    /// None: the schedule cannot be understood.
    pub(super) fn new(schedule: &str, time_zone: &'a TimeZone) -> Option<Self> {
        let crontab = parse(schedule).ok()?;
        Some(Self { crontab, time_zone })
    }

    /// The first time that it comes after `after`; none: never, as far as the library looks.
    pub(super) fn next(&self, after: Timestamp) -> Option<Timestamp> {
        let mut wall = as_utc(after.to_zoned(self.time_zone.clone()).datetime())?;
        loop {
            let next = self.crontab.find_next(MakeTimestamp(wall)).ok()?;
            let at = first(self.time_zone, next.datetime())?;
            // In an hour that comes twice, the wall shows again what it showed before.
            if at > after {
                return Some(at);
            }
            wall = next.timestamp();
        }
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

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Each day has one opening of a daily window, whatever is done to the clocks.
        #[test]
        fn a_daily_window_opens_once_each_day(hour in 0i8..24, minute in 0i8..60, day in 0i32..365) {
            let berlin = TimeZone::get("Europe/Berlin").unwrap();
            let daily = Recurrence::new(&format!("{minute} {hour} * * *"), &berlin).unwrap();
            let day = jiff::civil::date(2026, 1, 1).checked_add(jiff::Span::new().days(day)).unwrap();
            let midnight = |day: jiff::civil::Date| day.to_zoned(berlin.clone()).unwrap().timestamp();
            let (begin, end) = (midnight(day), midnight(day.tomorrow().unwrap()));
            let before = begin - jiff::SignedDuration::from_nanos(1);
            let first = daily.next(before).unwrap();
            prop_assert!(first >= begin && first < end, "{first}");
            prop_assert!(daily.next(first).unwrap() >= end);
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
