//! What goes into a turn, and when the next one begins.

use std::time::Duration;

use jiff::Timestamp;

use crate::decide::schedule::testing::{afternoon, at, death, due, ended, manifest, pass, policy, request, settled};
use crate::decide::schedule::{HOUR, MOST, May, Schedule, Turn, later};
use crate::decide::testing::noon;
use crate::model::report::Outcome;
use crate::model::sync::Counting;
use crate::model::wake::Wake;

#[test]
fn nothing_happens_before_the_first_wake() {
    let schedule = Schedule::new(policy(), 7);
    assert_eq!(schedule.due(), None);
    assert!(!schedule.joins(noon(), HOUR));
}

#[test]
fn what_comes_before_a_pass_goes_into_it_once_and_what_comes_meanwhile_into_the_next() {
    let mut schedule = settled(policy());
    for wake in [Wake::Link, manifest("a"), Wake::Link, manifest("b"), Wake::Timer, death("w1"), death("w1")] {
        schedule.wake(wake, at(10));
    }
    assert_eq!(due(&schedule), 10);
    let turn = schedule.begin(at(11));
    assert_eq!(
        turn,
        Turn {
            wakes: vec![Wake::Link, manifest("b"), Wake::Timer, death("w1")],
            may: May::Act,
            counting: Counting::Anew
        }
    );
    assert_eq!(schedule.due(), None, "one pass at a time");
    schedule.wake(Wake::Releases, at(12));
    assert_eq!(schedule.due(), None);
    assert!(!schedule.joins(at(12), HOUR));
    schedule.end(&ended(Outcome::Converged, 3), at(20));
    assert_eq!(schedule.due(), Some(at(12)), "at once: it has waited");
    assert_eq!(schedule.begin(at(20)).wakes, [Wake::Releases]);
}

#[test]
fn a_flood_is_bounded_and_loses_no_kind() {
    let mut schedule = settled(policy());
    for number in 0..10_000 {
        schedule.wake(Wake::Webhook { from: format!("forge {number}") }, at(1));
    }
    schedule.wake(request(), at(1));
    let turn = schedule.begin(at(1));
    assert_eq!(turn.wakes.len(), MOST + 1);
    assert_eq!(turn.wakes.last(), Some(&request()));
}

#[test]
fn timers_come_a_little_early_and_not_in_step() {
    let dues: Vec<i64> = (0..50)
        .map(|seed| {
            let mut schedule = Schedule::new(policy(), seed);
            schedule.wake(Wake::Started, noon());
            pass(&mut schedule, noon(), Outcome::Converged, 0);
            due(&schedule)
        })
        .collect();
    assert!(dues.iter().all(|due| (53..=60).contains(due)), "{dues:?}");
    assert!(dues.iter().any(|due| *due < 57) && dues.iter().any(|due| *due >= 57), "{dues:?}");
    let mut schedule = settled(policy());
    let when = schedule.due().unwrap();
    assert_eq!(schedule.begin(when).wakes, [Wake::Timer]);
}

#[test]
fn only_a_mere_timer_goes_along_with_others() {
    let slack = Duration::from_secs(10);
    let mut schedule = settled(policy());
    let timer = due(&schedule);
    let rows = [("too early", timer - 11, false), ("early enough", timer - 9, true), ("late", timer + 5, true)];
    for (name, now, joins) in rows {
        assert_eq!(schedule.joins(at(now), slack), joins, "{name}");
    }
    let mut failed = schedule.clone();
    assert_eq!(schedule.begin(at(timer - 9)).wakes, [Wake::Timer]);
    pass(&mut failed, at(timer), Outcome::Failed, 0);
    assert!(!failed.joins(at(timer + 600), slack), "what has failed takes its own time");
}

#[test]
fn its_state_is_told_to_others() {
    let mut schedule = settled(afternoon());
    schedule.wake(Wake::Timer, at(5));
    pass(&mut schedule, at(5), Outcome::Failed, 0);
    schedule.wake(death("w1"), at(6));
    let state = schedule.state(at(6));
    assert_eq!((state.running, &state.pending), (false, &vec![death("w1")]));
    let mut state = serde_json::to_value(state).unwrap();
    assert!(state["backoffUntil"].take().as_str().unwrap().starts_with("2026-05-01T12:00:"));
    assert!(state["next"].take().as_str().unwrap().starts_with("2026-05-01T12:00:"));
    let expected = serde_json::json!({
        "next": null, "backoffUntil": null, "failures": 1, "corrections": 0, "stalled": false, "looping": [],
        "withheld": {
            "reason": "OutsideWindow", "until": "2026-05-01T13:00:00Z", "denied": false,
            "schedule": "0 13 * * *", "timeZone": "UTC",
        },
    });
    assert_eq!(state, expected);
}

#[test]
fn the_end_of_time_is_not_passed() {
    assert_eq!(later(at(1), Duration::from_secs(2)), at(3));
    for by in [Duration::from_secs(1), Duration::MAX] {
        assert_eq!(later(Timestamp::MAX, by), Timestamp::MAX, "{by:?}");
    }
}
