//! What holds for any policy, whatever happens in whatever order.

use std::time::Duration;

use jiff::Timestamp;
use proptest::prelude::*;

use crate::decide::schedule::pace::{LONGEST, SHORTEST, Spread, pause};
use crate::decide::schedule::testing::{afternoon, death, ended, manifest, pass, policy, request};
use crate::decide::schedule::{HOUR, May, Schedule, later, limit};
use crate::decide::testing::noon;
use crate::decide::windows::withheld;
use crate::model::report::Outcome;
use crate::model::sync::SyncPolicy;
use crate::model::wake::Wake;

/// What may happen to a schedule.
#[derive(Debug, Clone)]
enum Happens {
    Wakes(Wake),
    Passes(u32),
    Ends(Outcome, u32),
    /// The clock is set back by so many seconds.
    ClockIsSet(u32),
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
        (1u32..10_000).prop_map(Happens::ClockIsSet),
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
                Happens::ClockIsSet(seconds) => {
                    now -= jiff::SignedDuration::from_secs(seconds.into());
                    schedule.clock_was_set(now);
                    schedule.wake(Wake::Timer, now);
                    waiting.push(Wake::Timer);
                    prop_assert!(schedule.due().is_none_or(|due| due <= now), "it waits for the old time: {:?}", schedule);
                    prop_assert!(schedule.corrections.iter().all(|at| *at <= now));
                    prop_assert!(schedule.stalled.is_none_or(|until| until <= later(now, HOUR)));
                }
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
                prop_assert!(withheld(&policy.windows, now).is_none());
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
