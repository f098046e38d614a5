//! A worker that dies again and again is one until it has lived.

use jiff::Timestamp;

use crate::decide::schedule::testing::{at, death, ended, pass, policy, settled};
use crate::decide::schedule::{HOUR, Schedule};
use crate::model::report::Outcome;
use crate::model::sync::SyncPolicy;
use crate::model::wake::Wake;

fn looping(schedule: &Schedule, now: Timestamp) -> Vec<String> {
    schedule.state(now).looping.iter().map(|one| one.member.to_string()).collect()
}

/// Dies four times, each a second after it was started; it was started again for the last time at the moment returned.
fn dying() -> (Schedule, Timestamp) {
    let mut schedule = settled(SyncPolicy { interval: HOUR, ..policy() });
    let mut now = at(10);
    for times in 1..=4 {
        schedule.wake(death("w1"), now);
        let due = schedule.due().unwrap();
        assert_eq!(due > now, times == 4, "the fourth waits");
        pass(&mut schedule, due, Outcome::Converged, 0);
        assert_eq!(looping(&schedule, due).len(), usize::from(times == 4));
        now = due + jiff::SignedDuration::from_secs(1);
    }
    (schedule, now - jiff::SignedDuration::from_secs(1))
}

#[test]
fn it_is_one_until_a_pass_sees_that_it_lives() {
    let (mut schedule, started) = dying();
    let lived = started + jiff::SignedDuration::from_secs(30);
    assert_eq!(schedule.due(), Some(lived), "long before the timer");
    let early = started + jiff::SignedDuration::from_secs(5);
    pass(&mut schedule, early, Outcome::Converged, 0);
    assert_eq!(looping(&schedule, early), ["w1"], "another pass says nothing of it");
    assert_eq!(schedule.begin(lived).wakes, [Wake::Timer]);
    schedule.end(&ended(Outcome::Converged, 0), lived);
    assert_eq!(looping(&schedule, lived), [""; 0]);
    assert!(schedule.due().unwrap() > lived + jiff::SignedDuration::from_mins(5), "once");
    schedule.wake(death("w1"), lived);
    assert_eq!(schedule.due(), Some(lived), "it dies for the first time");
}

#[test]
fn news_has_it_started_at_once_and_does_not_mend_it() {
    let (mut schedule, started) = dying();
    let now = started + jiff::SignedDuration::from_secs(1);
    schedule.wake(death("w1"), now);
    assert!(schedule.due() > Some(now), "it waits");
    schedule.wake(Wake::Hangup, now);
    pass(&mut schedule, now, Outcome::Converged, 0);
    assert_eq!(looping(&schedule, now), ["w1"]);
    // Nobody has started it: that is not to live.
    schedule.wake(death("w1"), now);
    assert_eq!(schedule.due(), Some(now));
    schedule.begin(now);
    schedule.end(&ended(Outcome::Interrupted, 0), now);
    let later = now + jiff::SignedDuration::from_secs(40);
    assert!(schedule.due() > Some(later));
    assert_eq!(looping(&schedule, later), ["w1"]);
}
