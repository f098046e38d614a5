//! More wakes than are remembered, and wakes without end.

use jiff::SignedDuration;

use super::*;

fn at(milliseconds: i64) -> Timestamp {
    "2026-05-01T12:00:00Z".parse::<Timestamp>().unwrap() + SignedDuration::from_millis(milliseconds)
}

fn death(member: &str) -> Wake {
    Wake::Death { group: GroupName::new("default").unwrap(), member: MemberName::new(member).unwrap() }
}

fn pass(schedule: &mut Schedule, now: Timestamp, outcome: Outcome) -> Turn {
    let turn = schedule.begin(now);
    let corrections = u32::from(turn.may == May::Act);
    schedule.end(&Ended { outcome, corrections, drift: true }, now);
    turn
}

fn settled(policy: SyncPolicy) -> Schedule {
    let mut schedule = Schedule::new(policy, 7);
    schedule.wake(Wake::Started, at(0));
    pass(&mut schedule, at(0), Outcome::Converged);
    schedule
}

/// Workers that crash all the time wait for minutes; one that ends for the first time must not wait with them.
#[test]
fn a_first_death_does_not_wait_for_those_that_are_held_back() {
    let mut schedule = settled(SyncPolicy { interval: Duration::from_hours(10), ..SyncPolicy::default() });
    let crowd: Vec<String> = (0..MOST).map(|number| format!("w{number}")).collect();
    for again in 0..10 {
        for member in &crowd {
            schedule.wake(death(member), at(100_000 + again));
        }
        if again < 9 {
            pass(&mut schedule, at(100_000 + again), Outcome::Converged);
        }
    }
    let now = at(110_000);
    assert!(schedule.due().unwrap() > later(now, Duration::from_mins(1)), "all of them are held back");
    schedule.wake(death("healthy"), now);
    assert_eq!(schedule.due(), Some(now));
    let turn = schedule.begin(now);
    assert!(turn.wakes.contains(&death("healthy")) && turn.wakes.len() == MOST, "{turn:?}");
}

/// A hundred ask for a pass in the window, and one whatever the windows say.
#[test]
fn what_a_person_adds_is_not_lost_in_a_crowd() {
    let mut schedule = settled(SyncPolicy::default());
    let request = |by: String, ignore_windows| Wake::Request { by, ignore_windows };
    for number in 0..100 {
        schedule.wake(request(format!("person {number}"), false), at(1));
    }
    schedule.wake(request("anna".to_owned(), true), at(1));
    let wakes = schedule.begin(at(1)).wakes;
    assert!(wakes.len() == MOST + 1 && wakes.iter().any(Wake::ignores_windows), "{wakes:?}");
}

/// Somebody moves a link all the time, and nothing may be done about it.
#[test]
fn passes_that_may_only_look_keep_a_distance() {
    let mut schedule = settled(SyncPolicy { suspend: true, ..SyncPolicy::default() });
    let (mut now, mut began) = (at(10_000), Vec::new());
    for _ in 0..1000 {
        schedule.wake(Wake::Link, now);
        if schedule.due().is_some_and(|due| due <= now) {
            pass(&mut schedule, now, Outcome::Withheld);
            began.push(now);
        }
        now += SignedDuration::from_millis(10);
    }
    assert_eq!(began.first(), Some(&at(10_000)), "the first is at once");
    assert_eq!(began.len(), 10, "within ten seconds: {began:?}");
    schedule.wake(Wake::Request { by: "anna".to_owned(), ignore_windows: false }, now);
    assert!(schedule.due().unwrap() <= now, "a person does not wait");
}

#[test]
fn passes_that_may_act_do_not_wait() {
    let mut schedule = settled(SyncPolicy { max_corrections: 1000, ..SyncPolicy::default() });
    for number in 0..100 {
        let now = at(10_000 + number * 10);
        schedule.wake(death("w1"), now);
        schedule.wake(Wake::Health, now);
        assert_eq!(schedule.due(), Some(now));
        pass(&mut schedule, now, Outcome::Converged);
    }
}
