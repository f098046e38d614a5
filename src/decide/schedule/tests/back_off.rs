//! What waits after failures and deaths, and what ends the waiting.

use std::time::Duration;

use crate::decide::schedule::pace::LONGEST;
use crate::decide::schedule::testing::{at, death, due, ended, manifest, pass, policy, request, settled};
use crate::model::report::Outcome;
use crate::model::sync::SyncPolicy;
use crate::model::wake::Wake;

#[test]
fn failures_wait_longer_each_time_and_the_timer_with_them() {
    let mut schedule = settled(policy());
    let mut now = at(60);
    for expected in [5, 10, 20, 40, 80, 160, 180, 180, 180] {
        pass(&mut schedule, now, Outcome::Failed, 1);
        let next = schedule.due().unwrap();
        let wait = next.duration_since(now).as_secs_f64();
        let expected = f64::from(expected);
        assert!(wait <= expected && wait >= expected * 0.8, "{wait} instead of {expected}");
        now = next;
        assert_eq!(schedule.clone().begin(now).wakes, [Wake::Backoff]);
    }
    assert_eq!(schedule.state(now).failures, 9);
    schedule.wake(death("w1"), now + jiff::SignedDuration::from_millis(1));
    pass(&mut schedule, now, Outcome::Unhealthy, 0);
    assert_eq!(schedule.state(now).failures, 10, "not healthy is a failure, too");
    now = schedule.due().unwrap();
    pass(&mut schedule, now, Outcome::Converged, 0);
    assert_eq!((schedule.state(now).failures, schedule.state(now).backoff_until), (0, None));
}

#[test]
fn news_ends_a_back_off_and_nothing_else_does() {
    let rows = [
        (Wake::Started, true),
        (manifest("a"), true),
        (request(), true),
        (Wake::Webhook { from: "gitlab".to_owned() }, true),
        (Wake::Hangup, true),
        (Wake::Link, true),
        (Wake::Releases, true),
        (Wake::Window, true),
        (Wake::Timer, false),
        (Wake::Health, false),
        (death("w1"), false),
    ];
    for (wake, news) in rows {
        let mut schedule = settled(policy());
        for _ in 0..4 {
            pass(&mut schedule, at(100), Outcome::Failed, 0);
        }
        let until = due(&schedule);
        assert!(until >= 132, "{until}");
        schedule.wake(wake.clone(), at(110));
        assert_eq!(due(&schedule), if news { 110 } else { until }, "{wake}");
        assert_eq!(schedule.state(at(110)).failures, if news { 0 } else { 4 }, "{wake}");
    }
}

#[test]
fn what_a_failing_pass_does_to_the_host_is_no_news_to_it() {
    for late in [0, 1] {
        let mut schedule = settled(policy());
        schedule.wake(manifest("a"), at(100));
        schedule.begin(at(100));
        if late == 0 {
            schedule.wake(Wake::Releases, at(105));
        }
        schedule.end(&ended(Outcome::Failed, 1), at(110));
        if late == 1 {
            schedule.wake(Wake::Releases, at(111));
        }
        assert!(due(&schedule) >= 114, "{late}: {}", due(&schedule));
        schedule.wake(Wake::Link, at(113));
        assert!(due(&schedule) <= 113, "later on it is somebody else");
    }
}

#[test]
fn news_during_a_pass_that_fails_is_looked_at_at_once() {
    let mut schedule = settled(policy());
    schedule.wake(manifest("a"), at(100));
    schedule.begin(at(100));
    schedule.wake(manifest("b"), at(105));
    schedule.end(&ended(Outcome::Failed, 1), at(110));
    assert_eq!(due(&schedule), 105);
    assert_eq!(schedule.begin(at(110)).wakes, [manifest("b")]);
}

#[test]
fn a_worker_that_dies_again_and_again_waits() {
    let mut schedule = settled(policy());
    let mut now = at(10);
    let mut waits = Vec::new();
    for _ in 0..7 {
        schedule.wake(death("w1"), now);
        let due = schedule.due().unwrap();
        waits.push(due.duration_since(now).as_secs_f64().ceil());
        pass(&mut schedule, due, Outcome::Converged, 1);
        now = due + jiff::SignedDuration::from_secs(1);
    }
    assert_eq!(waits[..3], [0.0; 3], "at first it is started at once");
    for (wait, expected) in waits[3..].iter().zip([5.0, 10.0, 20.0, 40.0]) {
        assert!(*wait <= expected && *wait >= expected * 0.8, "{waits:?}");
    }
    let mut other = schedule.clone();
    other.wake(death("w2"), now);
    assert_eq!(other.due(), Some(now), "another member is not to blame");
    let mut calm = schedule.clone();
    let much_later = now + jiff::SignedDuration::from_mins(20);
    pass(&mut calm, much_later, Outcome::Converged, 0);
    calm.wake(death("w1"), much_later);
    assert_eq!(calm.due(), Some(much_later), "it had lived for long");
    schedule.wake(Wake::Hangup, now);
    pass(&mut schedule, now, Outcome::Converged, 0);
    schedule.wake(death("w1"), now);
    assert_eq!(schedule.due(), Some(now), "news resets it");
}

#[test]
fn a_worker_that_lives_for_a_while_each_time_never_waits() {
    // How long it lives, and whether each of its deaths is answered at once.
    for (lives, at_once) in [(29, false), (30, true), (90, true)] {
        let mut schedule = settled(SyncPolicy { interval: Duration::from_hours(1), ..policy() });
        let (mut now, mut waits) = (at(10), Vec::new());
        for _ in 0..40 {
            schedule.wake(death("w1"), now);
            let due = schedule.due().unwrap();
            waits.push(due.duration_since(now).as_secs_f64());
            pass(&mut schedule, due, Outcome::Converged, 0);
            assert_eq!(schedule.state(due).corrections, 0, "starting it is none");
            now = due + jiff::SignedDuration::from_secs(lives);
        }
        assert!(waits[..3].iter().all(|wait| *wait == 0.0), "{lives}: {waits:?}");
        assert_eq!(waits[3..].iter().all(|wait| *wait == 0.0), at_once, "{lives}: {waits:?}");
        assert!(waits.iter().all(|wait| *wait <= LONGEST.as_secs_f64()), "{lives}: {waits:?}");
    }
}
