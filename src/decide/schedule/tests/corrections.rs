//! What counts as a correction, and what too many of them lead to.

use jiff::Timestamp;

use crate::decide::schedule::testing::{at, ended, manifest, pass, policy, request, settled};
use crate::decide::schedule::{May, Schedule};
use crate::decide::testing::noon;
use crate::model::report::Outcome;
use crate::model::sync::{Counting, SyncPolicy, Withheld};
use crate::model::wake::Wake;

#[test]
fn whoever_corrects_too_often_stands_still_for_an_hour() {
    let limited = || settled(SyncPolicy { max_corrections: 3, ..policy() });
    let fight = |schedule: &mut Schedule, from: i64| {
        for second in [from, from + 10, from + 20] {
            schedule.wake(Wake::Link, at(second));
            assert_eq!(pass(schedule, at(second), Outcome::Converged, 1).may, May::Act, "{second}");
        }
    };
    let mut schedule = limited();
    fight(&mut schedule, 100);
    let state = schedule.state(at(121));
    assert!(state.stalled && state.corrections == 3, "{state:?}");
    schedule.wake(Wake::Link, at(130));
    let turn = pass(&mut schedule, at(130), Outcome::Withheld, 0);
    let expected = Withheld::TooManyCorrections { limit: 3, until: at(3720) };
    assert_eq!(turn.may, May::Observe(expected), "shown only");

    let mut waited = schedule.clone();
    let mut now = at(130);
    while now < at(3720) {
        now = waited.due().unwrap();
        let turn = pass(&mut waited, now, Outcome::Withheld, 0);
        assert_eq!(turn.may == May::Act, now >= at(3720), "{turn:?} at {now}");
    }
    assert_eq!(now, at(3720), "not a moment later");
    fight(&mut waited, 4000);
    assert!(waited.state(at(4021)).stalled, "and not for ever");

    for word in [request(), manifest("a")] {
        let mut asked = schedule.clone();
        asked.wake(word.clone(), at(200));
        assert_eq!(pass(&mut asked, at(200), Outcome::Converged, 1).may, May::Act, "{word}");
        let state = asked.state(at(200));
        assert!(!state.stalled && state.corrections == 0, "{state:?}");
    }
}

#[test]
fn what_was_asked_for_is_no_correction() {
    let mut schedule = settled(SyncPolicy { max_corrections: 1, ..policy() });
    schedule.wake(manifest("a"), at(10));
    pass(&mut schedule, at(10), Outcome::Failed, 4);
    for _ in 0..20 {
        let due = schedule.due().unwrap();
        pass(&mut schedule, due, Outcome::Failed, 4);
    }
    let now = schedule.due().unwrap();
    assert_eq!(schedule.state(now).corrections, 0, "the manifest has not been carried out yet");
    pass(&mut schedule, now, Outcome::Converged, 4);
    assert_eq!(schedule.state(now).corrections, 0);
    pass(&mut schedule, now, Outcome::Converged, 0);
    assert_eq!(schedule.state(now).corrections, 0, "nothing was put right");
    pass(&mut schedule, now, Outcome::Converged, 1);
    assert_eq!((schedule.state(now).corrections, schedule.state(now).stalled), (1, true));
}

/// Passes over what nobody wishes any more say nothing of what is wished now.
#[test]
fn a_newer_manifest_that_waits_is_a_deployment_until_it_has_come_to_its_end() {
    let mut schedule = settled(policy());
    schedule.wake(manifest("a"), at(1));
    schedule.begin(at(1));
    schedule.wake(manifest("b"), at(2));
    schedule.end(&ended(Outcome::Converged, 3), at(3));
    assert_eq!(pass(&mut schedule, at(3), Outcome::Failed, 1).counting, Counting::Anew);
    for again in 1..60 {
        assert_eq!(pass(&mut schedule, at(again * 300), Outcome::Failed, 1).counting, Counting::Deployment, "{again}");
    }
    assert_eq!((schedule.state(at(20_000)).corrections, schedule.state(at(20_000)).stalled), (0, false));
}

#[test]
fn corrections_are_forgotten_after_an_hour() {
    let mut schedule = settled(SyncPolicy { max_corrections: 3, ..policy() });
    for hour in 1..10 {
        for second in [0, 1700] {
            let now = at(hour * 3700 + second);
            schedule.wake(Wake::Link, now);
            assert_eq!(pass(&mut schedule, now, Outcome::Converged, 1).may, May::Act, "{hour}");
        }
    }
}

#[test]
fn a_restart_is_no_leave_to_begin_counting_anew() {
    let limited = SyncPolicy { max_corrections: 3, ..policy() };
    let rows: [(&str, bool, &[i64], bool); 6] = [
        ("nothing is known", false, &[], false),
        ("the limit was reached", true, &[-600, -500, -400], true),
        ("it is reached by the next", true, &[-600, -500], false),
        ("it was, and that was an hour ago", true, &[-3900, -3800, -3700], false),
        ("some of them are too old", true, &[-3700, -500, -400], false),
        ("a clock was set back", true, &[900, 900, 900], true),
    ];
    for (name, was_settled, before, stalled) in rows {
        let mut schedule = Schedule::new(limited.clone(), 7);
        let before: Vec<Timestamp> = before.iter().map(|seconds| at(*seconds)).collect();
        schedule.recall(was_settled, &before, noon());
        schedule.wake(Wake::Started, noon());
        let turn = pass(&mut schedule, noon(), Outcome::Converged, 1);
        assert_eq!(turn.may == May::Act, !stalled, "{name}: {turn:?}");
        let counted =
            before.iter().filter(|before| **before > at(-3600)).count() + usize::from(was_settled && !stalled);
        let state = schedule.state(noon());
        if !stalled {
            assert_eq!(usize::try_from(state.corrections).unwrap(), counted, "{name}");
            assert_eq!(state.stalled, counted >= 3, "{name}");
        }
        schedule.wake(request(), at(1));
        assert_eq!(schedule.begin(at(1)).may, May::Act, "{name}: a person asks");
    }
}
