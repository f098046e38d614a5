//! Schedules under a clock that the tests hold; it is noon.

use std::time::Duration;

use jiff::Timestamp;

use crate::decide::schedule::{Ended, Schedule, Turn};
use crate::decide::testing::noon;
use crate::model::names::{GroupName, MemberName};
use crate::model::report::Outcome;
use crate::model::sync::{SyncPolicy, Window, WindowKind};
use crate::model::wake::Wake;

/// So many seconds after noon.
pub fn at(seconds: i64) -> Timestamp {
    noon() + jiff::SignedDuration::from_secs(seconds)
}

pub fn policy() -> SyncPolicy {
    SyncPolicy::default()
}

/// Changes are allowed from 13:00 to 14:00.
pub fn afternoon() -> SyncPolicy {
    let window = Window {
        kind: WindowKind::Allow,
        schedule: "0 13 * * *".to_owned(),
        duration: Duration::from_hours(1),
        time_zone: jiff::tz::TimeZone::UTC,
    };
    SyncPolicy { windows: vec![window], ..policy() }
}

pub fn request() -> Wake {
    Wake::Request { by: "anna".to_owned(), ignore_windows: false }
}

pub fn manifest(revision: &str) -> Wake {
    Wake::Manifest { revision: Some(revision.to_owned()) }
}

pub fn death(member: &str) -> Wake {
    Wake::Death { group: GroupName::new("default").unwrap(), member: MemberName::new(member).unwrap() }
}

pub fn ended(outcome: Outcome, corrections: u32) -> Ended {
    Ended { outcome, corrections, drift: corrections > 0 || outcome == Outcome::Withheld }
}

/// A schedule whose App was found as its manifest says at noon.
pub fn settled(policy: SyncPolicy) -> Schedule {
    let mut schedule = Schedule::new(policy, 7);
    schedule.wake(Wake::Started, noon());
    pass(&mut schedule, noon(), Outcome::Converged, 0);
    schedule
}

/// One pass that takes no time.
pub fn pass(schedule: &mut Schedule, now: Timestamp, outcome: Outcome, corrections: u32) -> Turn {
    let turn = schedule.begin(now);
    schedule.end(&ended(outcome, corrections), now);
    turn
}

/// Seconds from noon to the next pass.
pub fn due(schedule: &Schedule) -> i64 {
    schedule.due().unwrap().duration_since(noon()).as_secs()
}
