//! Whether changes may be made, moment by moment.

use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use proptest::prelude::*;

use super::{Opening, opening, withheld};
use crate::model::sync::{Window, WindowKind, Withheld};

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
        ("in the hour left out", berlin("30 2 * * *", 60), "2026-03-29T00:59:59Z", "closed until 2026-03-29T01:00:00Z"),
        (
            "it opens as clocks jump",
            berlin("30 2 * * *", 60),
            "2026-03-29T01:59:59Z",
            "open until 2026-03-29T02:00:00Z",
        ),
        ("once", berlin("30 2 * * *", 60), "2026-03-29T02:00:00Z", "closed until 2026-03-30T00:30:00Z"),
        ("across the jump", berlin("0 1 * * *", 120), "2026-03-29T00:30:00Z", "open until 2026-03-29T02:00:00Z"),
        ("every half hour", berlin("*/30 * * * *", 10), "2026-03-29T00:45:00Z", "closed until 2026-03-29T01:00:00Z"),
        // 2026-10-25, 03:00 CEST is 02:00 CET: 01:00 UTC.
        (
            "in the hour that comes twice",
            berlin("30 2 * * *", 30),
            "2026-10-25T00:30:00Z",
            "open until 2026-10-25T01:00:00Z",
        ),
        ("not a second time", berlin("30 2 * * *", 30), "2026-10-25T01:30:00Z", "closed until 2026-10-26T01:30:00Z"),
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
    let places = prop_oneof![Just("UTC"), Just("Europe/Berlin"), Just("America/New_York"), Just("Australia/Lord_Howe")];
    let kinds = prop_oneof![Just(WindowKind::Allow), Just(WindowKind::Deny)];
    (kinds, schedules, 1u64..3000, places).prop_map(|(kind, text, minutes, place)| window(kind, text, minutes, place))
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
}
