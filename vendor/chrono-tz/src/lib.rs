//! Named time zones for `cel`, out of the copy of the tz database that jiff brings into the program anyway.
//!
//! In place of the crate of this name, whose tables are a second copy, unpacked: 1.2 MB of the program. Rules are pure,
//! so the host's own copy is not read. Why and until when: `docs/decisions/0013-small-and-linked-to-glibc.md`.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

use std::str::FromStr;
use std::sync::LazyLock;

use chrono::{
    DateTime, Datelike, FixedOffset, MappedLocalTime, NaiveDate, NaiveDateTime, NaiveTime, Offset, Timelike, Utc,
};
use jiff::tz::{AmbiguousOffset, TimeZone, TimeZoneDatabase};

static ZONES: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

/// A time zone by its name in the tz database, such as `Europe/Berlin`; case does not matter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tz(TimeZone);

/// Universal time.
pub const UTC: Tz = Tz(TimeZone::UTC);

/// The tz database knows no such zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseError(String);

impl std::fmt::Display for ParseError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "no time zone is named `{}`", self.0)
    }
}

impl std::error::Error for ParseError {}

impl FromStr for Tz {
    type Err = ParseError;

    fn from_str(name: &str) -> Result<Self, ParseError> {
        ZONES.get(name).map(Self).map_err(|_| ParseError(name.to_owned()))
    }
}

impl chrono::TimeZone for Tz {
    type Offset = FixedOffset;

    fn from_offset(offset: &FixedOffset) -> Self {
        let fixed = jiff::tz::Offset::from_seconds(offset.local_minus_utc());
        fixed.map_or(UTC, |fixed| Self(TimeZone::fixed(fixed)))
    }

    fn offset_from_local_date(&self, local: &NaiveDate) -> MappedLocalTime<FixedOffset> {
        self.offset_from_local_datetime(&local.and_time(NaiveTime::MIN))
    }

    fn offset_from_local_datetime(&self, local: &NaiveDateTime) -> MappedLocalTime<FixedOffset> {
        let Some(local) = civil(local) else { return MappedLocalTime::None };
        match self.0.to_ambiguous_timestamp(local).offset() {
            AmbiguousOffset::Unambiguous { offset } => MappedLocalTime::Single(east(offset)),
            AmbiguousOffset::Gap { .. } => MappedLocalTime::None,
            AmbiguousOffset::Fold { before, after } => MappedLocalTime::Ambiguous(east(before), east(after)),
        }
    }

    fn offset_from_utc_date(&self, utc: &NaiveDate) -> FixedOffset {
        self.offset_from_utc_datetime(&utc.and_time(NaiveTime::MIN))
    }

    fn offset_from_utc_datetime(&self, utc: &NaiveDateTime) -> FixedOffset {
        let seconds = DateTime::<Utc>::from_naive_utc_and_offset(*utc, Utc).timestamp();
        // CEL's times are the years 1 to 9999, all of which jiff knows.
        jiff::Timestamp::from_second(seconds).map_or_else(|_| Utc.fix(), |moment| east(self.0.to_offset(moment)))
    }
}

fn civil(of: &NaiveDateTime) -> Option<jiff::civil::DateTime> {
    let small = |part: u32| i8::try_from(part).ok();
    let (year, nanosecond) = (i16::try_from(of.year()).ok()?, i32::try_from(of.nanosecond()).ok()?);
    let (month, day) = (small(of.month())?, small(of.day())?);
    jiff::civil::DateTime::new(
        year,
        month,
        day,
        small(of.hour())?,
        small(of.minute())?,
        small(of.second())?,
        nanosecond,
    )
    .ok()
}

/// jiff's offsets can be up to 26 hours, chrono's less than 24; those in the database are less than 16.
fn east(offset: jiff::tz::Offset) -> FixedOffset {
    FixedOffset::east_opt(offset.seconds()).unwrap_or_else(|| Utc.fix())
}
