//! Turn-taking under a clock that the tests hold.

use proptest::prelude::*;

use super::pace::{LONGEST, SHORTEST, pause};
use super::*;
use crate::model::sync::{Window, WindowKind};

fn noon() -> Timestamp {
    "2026-05-01T12:00:00Z".parse().unwrap()
}

/// So many seconds after noon.
fn at(seconds: i64) -> Timestamp {
    noon() + jiff::SignedDuration::from_secs(seconds)
}

fn policy() -> SyncPolicy {
    SyncPolicy::default()
}

/// Changes are allowed from 13:00 to 14:00.
fn afternoon() -> SyncPolicy {
    let window = Window {
        kind: WindowKind::Allow,
        schedule: "0 13 * * *".to_owned(),
        duration: Duration::from_hours(1),
        time_zone: jiff::tz::TimeZone::UTC,
    };
    SyncPolicy { windows: vec![window], ..policy() }
}

fn request() -> Wake {
    Wake::Request { by: "anna".to_owned() }
}

fn manifest(revision: &str) -> Wake {
    Wake::Manifest { revision: Some(revision.to_owned()) }
}

fn death(member: &str) -> Wake {
    Wake::Death { group: GroupName::new("default").unwrap(), member: MemberName::new(member).unwrap() }
}

fn ended(outcome: Outcome, corrections: u32) -> Ended {
    Ended { outcome, corrections, drift: corrections > 0 || outcome == Outcome::Withheld }
}

/// A schedule whose App was found as its manifest says at noon.
fn settled(policy: SyncPolicy) -> Schedule {
    let mut schedule = Schedule::new(policy, 7);
    schedule.wake(Wake::Started, noon());
    pass(&mut schedule, noon(), Outcome::Converged, 0);
    schedule
}

/// One pass that takes no time.
fn pass(schedule: &mut Schedule, now: Timestamp, outcome: Outcome, corrections: u32) -> Turn {
    let turn = schedule.begin(now);
    schedule.end(&ended(outcome, corrections), now);
    turn
}

/// Seconds from noon to the next pass.
fn due(schedule: &Schedule) -> i64 {
    schedule.due().unwrap().duration_since(noon()).as_secs()
}

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
fn what_a_pass_may_do_follows_from_policy_and_wakes() {
    let no_automatic = SyncPolicy { automatic: false, ..policy() };
    let no_self_heal = SyncPolicy { self_heal: false, ..policy() };
    let suspended = SyncPolicy { suspend: true, reason: Some("a move".to_owned()), ..policy() };
    let rows = [
        ("by default", policy(), Wake::Timer, None),
        ("not automatic", no_automatic.clone(), manifest("a"), Some(Withheld::NotAutomatic)),
        ("not automatic, but asked for", no_automatic, request(), None),
        ("no healing", no_self_heal.clone(), death("w1"), Some(Withheld::NoSelfHeal)),
        ("no healing, at the start", no_self_heal.clone(), Wake::Started, Some(Withheld::NoSelfHeal)),
        ("no healing, but another manifest", no_self_heal.clone(), manifest("a"), None),
        ("no healing, but asked for", no_self_heal, request(), None),
        ("suspended", suspended, request(), Some(Withheld::Suspended { why: Some("a move".to_owned()), here: false })),
    ];
    for (name, policy, wake, withheld) in rows {
        let mut schedule = settled(policy);
        schedule.wake(wake, at(10));
        assert_eq!(schedule.begin(at(10)).may.withheld(), withheld.as_ref(), "{name}");
    }
}

#[test]
fn outside_its_windows_an_app_is_shown_and_the_opening_wakes_it() {
    let mut schedule = settled(afternoon());
    schedule.wake(manifest("a"), at(10));
    let turn = pass(&mut schedule, at(10), Outcome::Withheld, 0);
    let Some(Withheld::OutsideWindow { until, .. }) = turn.may.withheld() else { panic!("{turn:?}") };
    assert_eq!(*until, Some(at(3600)));
    schedule.wake(request(), at(20));
    let asked = pass(&mut schedule, at(20), Outcome::Withheld, 0);
    assert!(asked.may.withheld().is_some(), "a request does not open a window");
    let mut now = at(20);
    for _ in 0..200 {
        now = schedule.due().unwrap();
        if now >= at(3600) {
            break;
        }
        assert!(pass(&mut schedule, now, Outcome::Withheld, 0).may.withheld().is_some());
    }
    assert_eq!(now, at(3600), "not a moment later");
    assert_eq!(schedule.begin(now), Turn { wakes: vec![Wake::Window], may: May::Act, counting: Counting::Deployment });
    schedule.end(&ended(Outcome::Converged, 3), at(3610));
    let turn = schedule.begin(at(7200));
    assert!(turn.may.withheld().is_some(), "it has closed again");
}

#[test]
fn an_opening_ends_a_back_off_and_a_new_policy_is_looked_at() {
    let mut schedule = settled(afternoon());
    for _ in 0..10 {
        pass(&mut schedule, at(3599), Outcome::Failed, 0);
    }
    assert_eq!(due(&schedule), 3600);
    schedule.renew(policy());
    schedule.wake(manifest("a"), at(3599));
    assert_eq!(schedule.begin(at(3599)).may, May::Act);
    schedule.end(&ended(Outcome::Converged, 0), at(3599));
    assert!(due(&schedule) > 3600, "there is no window any more");
    schedule.renew(afternoon());
    schedule.wake(Wake::Hangup, at(7300));
    pass(&mut schedule, at(7300), Outcome::Converged, 0);
    assert!(schedule.state(at(7300)).withheld.is_some());
}

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
fn its_state_is_told_to_others() {
    let mut schedule = settled(afternoon());
    schedule.wake(Wake::Timer, at(5));
    pass(&mut schedule, at(5), Outcome::Failed, 0);
    schedule.wake(death("w1"), at(6));
    let mut state = serde_json::to_value(schedule.state(at(6))).unwrap();
    assert!(state["backoffUntil"].take().as_str().unwrap().starts_with("2026-05-01T12:00:"));
    assert!(state["next"].take().as_str().unwrap().starts_with("2026-05-01T12:00:"));
    let expected = serde_json::json!({
        "running": false, "next": null, "backoffUntil": null, "failures": 1, "corrections": 0, "stalled": false,
        "pending": [{"wake": "death", "group": "default", "member": "w1"}],
        "withheld": {
            "reason": "OutsideWindow", "until": "2026-05-01T13:00:00Z", "denied": false,
            "schedule": "0 13 * * *", "timeZone": "UTC",
        },
    });
    assert_eq!(state, expected);
}

/// What may happen to a schedule.
#[derive(Debug, Clone)]
enum Happens {
    Wakes(Wake),
    Passes(u32),
    Ends(Outcome, u32),
}

fn any_wake() -> impl Strategy<Value = Wake> {
    prop_oneof![
        Just(Wake::Started),
        Just(manifest("a")),
        Just(manifest("b")),
        Just(Wake::Timer),
        Just(death("w1")),
        Just(death("w2")),
        Just(Wake::Link),
        Just(Wake::Releases),
        Just(Wake::Health),
        Just(request()),
        Just(Wake::Hangup),
    ]
}

fn any_outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        Just(Outcome::Converged),
        Just(Outcome::Failed),
        Just(Outcome::Unhealthy),
        Just(Outcome::Withheld),
        Just(Outcome::RolledBack),
        Just(Outcome::Quarantined),
    ]
}

fn anything() -> impl Strategy<Value = Happens> {
    prop_oneof![
        any_wake().prop_map(Happens::Wakes),
        (0u32..200).prop_map(Happens::Passes),
        (any_outcome(), 0u32..4).prop_map(|(outcome, corrections)| Happens::Ends(outcome, corrections)),
    ]
}

fn any_policy() -> impl Strategy<Value = SyncPolicy> {
    (any::<bool>(), any::<bool>(), any::<bool>(), 1u64..600, 1u32..5).prop_map(
        |(automatic, self_heal, windows, interval, most)| {
            let windows = if windows { afternoon().windows } else { Vec::new() };
            let interval = Duration::from_secs(interval);
            SyncPolicy { automatic, self_heal, interval, windows, max_corrections: most, ..policy() }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn pauses_double_within_their_bounds(failures in 1u32..100, seed in any::<u64>()) {
        let plain = pause(failures);
        prop_assert!((SHORTEST..=LONGEST).contains(&plain));
        prop_assert_eq!(pause(failures + 1), (plain * 2).min(LONGEST));
        let spread = Spread::new(seed).pause(failures);
        prop_assert!(spread <= plain && spread >= plain * 8 / 10);
    }

    /// Whatever happens: one pass at a time, each for a reason and none lost, never later than the policy says.
    #[test]
    fn whatever_happens_the_rules_hold(policy in any_policy(), seed in any::<u64>(), story in prop::collection::vec(anything(), 1..120)) {
        let mut schedule = Schedule::new(policy.clone(), seed);
        let (mut now, mut running, mut waiting): (_, bool, Vec<Wake>) = (noon(), false, Vec::new());
        let mut acted: Vec<Timestamp> = Vec::new();
        schedule.wake(Wake::Started, now);
        waiting.push(Wake::Started);
        for happens in story {
            match happens {
                Happens::Wakes(wake) => {
                    schedule.wake(wake.clone(), now);
                    waiting.push(wake);
                }
                Happens::Passes(seconds) => now += jiff::SignedDuration::from_secs(seconds.into()),
                Happens::Ends(outcome, corrections) if running => {
                    schedule.end(&ended(outcome, corrections), now);
                    running = false;
                }
                Happens::Ends(..) => {}
            }
            prop_assert_eq!(schedule.due().is_none(), running, "an App that runs no pass is always due");
            let Some(due) = schedule.due() else { continue };
            let longest = policy.interval.max(LONGEST);
            prop_assert!(due <= later(now, longest), "due at {} only", due);
            if waiting.iter().any(|wake| wake.brings_news() && !matches!(wake, Wake::Link | Wake::Releases)) {
                prop_assert!(due <= now, "news waits until {}", due);
            }
            if due > now {
                continue;
            }
            let turn = schedule.begin(now);
            prop_assert!(!turn.wakes.is_empty());
            let mut distinct = turn.wakes.clone();
            distinct.sort();
            distinct.dedup();
            prop_assert_eq!(distinct.len(), turn.wakes.len());
            for wake in waiting.drain(..).filter(|wake| !matches!(wake, Wake::Manifest { .. })) {
                prop_assert!(turn.wakes.contains(&wake), "{} is lost", wake);
            }
            let asked = turn.wakes.contains(&request());
            let told = turn.wakes.iter().any(Wake::is_a_word);
            if turn.may == May::Act {
                prop_assert!(policy.automatic || asked);
                prop_assert!(policy.self_heal || told);
                prop_assert!(windows::withheld(&policy.windows, now).is_none());
                acted.push(now);
            } else {
                prop_assert!(!(policy.automatic && policy.self_heal && policy.windows.is_empty() && told));
            }
            running = true;
        }
    }

    /// Two that fight about a link: no hour has more corrections than the policy says.
    #[test]
    fn no_fight_goes_on_for_ever(most in 1u32..8, seed in any::<u64>(), gaps in prop::collection::vec(1i64..400, 1..200)) {
        let mut schedule = Schedule::new(SyncPolicy { max_corrections: most, ..policy() }, seed);
        schedule.wake(Wake::Started, noon());
        pass(&mut schedule, noon(), Outcome::Converged, 0);
        let (mut now, mut acted): (_, Vec<Timestamp>) = (noon(), Vec::new());
        for gap in gaps {
            now += jiff::SignedDuration::from_secs(gap);
            schedule.wake(Wake::Link, now);
            let turn = schedule.begin(now);
            let acts = turn.may == May::Act;
            schedule.end(&ended(if acts { Outcome::Converged } else { Outcome::Withheld }, acts.into()), now);
            acted.extend(Some(now).filter(|_| acts));
            let of_the_hour = acted.iter().filter(|at| later(**at, HOUR) > now).count();
            prop_assert!(of_the_hour <= limit(&schedule.policy), "{} corrections in an hour", of_the_hour);
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
