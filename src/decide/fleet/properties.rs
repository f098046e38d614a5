//! What holds for any fleet, any terms, whatever becomes of the hosts and in whatever order that is heard.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;

use super::next;
use super::testing::{Fate, HOLD, end, hosts, seen};
use crate::model::amount::Amount;
use crate::model::app::OnFailure;
use crate::model::fleet::HostName;
use crate::model::report::Outcome;
use crate::model::rollout::{
    Applied, Doing, Found, HostState, HostVerdict, Next, Order, Patience, Progress, RolloutEnding, RolloutOutcome,
    TakenBack, Terms,
};

fn amount() -> impl Strategy<Value = Amount> {
    prop_oneof![(0..6_u32).prop_map(Amount::Count), (0..=100_u8).prop_map(Amount::Percent)]
}

prop_compose! {
    fn any_terms()(
        canary in amount(),
        batch in amount(),
        max_failures in prop_oneof![4 => Just(0_usize), 3 => 1..4_usize],
        pause in prop_oneof![Just(Duration::ZERO), Just(Duration::from_secs(30))],
        healthy_for in prop_oneof![Just(Duration::ZERO), Just(HOLD)],
        (migrates, has_health, halts) in any::<(bool, bool, bool)>(),
    ) -> Terms {
        let on_failure = if halts { OnFailure::Halt } else { OnFailure::Rollback };
        let patience = Patience::USUAL;
        Terms { canary, batch, max_failures, pause, healthy_for, migrates, has_health, patience, on_failure }
    }
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        Just(Outcome::Converged),
        Just(Outcome::Drift),
        Just(Outcome::Withheld),
        Just(Outcome::Unhealthy),
        Just(Outcome::RolledBack),
        Just(Outcome::Quarantined),
        Just(Outcome::Failed),
        Just(Outcome::Interrupted),
    ]
}

fn found() -> impl Strategy<Value = Found> {
    prop_oneof![
        12 => Just(seen(Outcome::Drift)),
        4 => Just(seen(Outcome::Converged)),
        1 => Just(Found::Unreachable),
        1 => Just(Found::Refused),
        1 => outcome().prop_map(seen),
        1 => outcome().prop_map(|outcome| Found::Seen { outcome, migrated: true, had_release: false }),
        2 => Just(Found::Seen { outcome: Outcome::Drift, migrated: false, had_release: true }),
    ]
}

fn applied() -> impl Strategy<Value = Applied> {
    prop_oneof![
        12 => Just(Applied::Ended { outcome: Outcome::Converged, changed: true }),
        2 => (outcome(), any::<bool>()).prop_map(|(outcome, changed)| Applied::Ended { outcome, changed }),
        1 => Just(Applied::NotBegun),
        1 => Just(Applied::Refused),
        1 => Just(Applied::Lost),
    ]
}

fn fate() -> impl Strategy<Value = Fate> {
    let back = prop_oneof![
        4 => Just(TakenBack::Ended { is_back: true }),
        1 => Just(TakenBack::Ended { is_back: false }),
        1 => Just(TakenBack::Lost),
    ];
    (found(), applied(), prop::bool::weighted(0.9), back).prop_map(|(found, applied, held, back)| Fate {
        found,
        applied,
        held,
        back,
    })
}

/// Whoever carries orders out: takes some of them, at a time, and hears of their end in any order.
struct Hands {
    choices: u64,
    forks: usize,
    in_hand: Vec<(usize, Order)>,
}

impl Hands {
    fn choose(&mut self, of: usize) -> usize {
        self.choices = self.choices.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.choices >> 33).unwrap_or_default() % of.max(1)
    }
}

/// What was begun, by which rules are checked.
#[derive(Default)]
struct Seen {
    applied: Vec<HostName>,
    taken_back: Vec<HostName>,
    waves: BTreeMap<usize, BTreeSet<HostName>>,
    migrated: Option<HostName>,
}

/// The rules' own words for what stops a rollout.
fn failures(progress: &Progress) -> usize {
    let fine = [Outcome::Converged, Outcome::Withheld];
    let bad = |host: &&HostState| {
        let found = match host.found {
            Some(Found::Seen { outcome, .. }) => outcome != Outcome::Drift && !fine.contains(&outcome),
            other => other.is_some(),
        };
        let applied = match host.applied {
            Some(Applied::Ended { outcome, .. }) => !fine.contains(&outcome),
            other => other.is_some(),
        };
        found || applied || host.held == Some(false)
    };
    progress.hosts.iter().filter(bad).count()
}

fn begin(terms: &Terms, progress: &mut Progress, hands: &mut Hands, seen: &mut Seen, order: &Order) {
    let all = u32::try_from(progress.hosts.len()).unwrap();
    let (names, doing) = match order {
        Order::Observe { hosts } => (hosts, Doing::Observe),
        Order::Apply { hosts, .. } => (hosts, Doing::Apply),
        Order::Hold { hosts, .. } => (hosts, Doing::Hold),
        Order::TakeBack { hosts, .. } => (hosts, Doing::TakeBack),
        Order::Pause { after, .. } => {
            assert!(progress.pauses < *after && progress.hosts.iter().all(|host| host.doing.is_none()));
            progress.pauses = *after;
            return;
        }
    };
    let is_back = doing == Doing::TakeBack;
    assert!(!names.is_empty() && (is_back || !progress.interrupted), "{order:?}");
    if is_back {
        // Nobody waits any more for who stays healthy.
        hands.in_hand.retain(|(_, order)| !matches!(order, Order::Hold { .. }));
        let held = progress.hosts.iter_mut().filter(|host| host.doing == Some(Doing::Hold));
        held.for_each(|host| host.doing = None);
    }
    let take = (1 + hands.choose(names.len())).min(hands.forks);
    for name in names.iter().take(take) {
        let at = progress.hosts.iter().position(|host| host.name == *name).unwrap();
        assert_eq!(progress.hosts[at].doing, None, "{order:?}");
        match order {
            Order::Observe { .. } => assert!(seen.applied.is_empty() && progress.hosts[at].found.is_none()),
            Order::Apply { wave, hosts, migrate } => {
                assert!(progress.hosts.iter().all(|host| host.found.is_some()), "all are looked at first");
                assert_eq!(progress.hosts[at].found.map(is_drift), Some(true), "who is settled is left alone");
                assert!(failures(progress) <= terms.max_failures, "nobody is reached after the stop");
                assert!(!seen.applied.contains(name), "nobody is changed twice");
                for (earlier, of) in &seen.waves {
                    assert!(earlier <= wave, "waves go on");
                    for host in progress.hosts.iter().filter(|host| earlier < wave && of.contains(&host.name)) {
                        assert!(host.applied.is_some() && host.doing.is_none(), "a wave is judged before the next");
                    }
                }
                let canary = terms.canary.of(all);
                let batch = terms.batch.of(all).max(1);
                let limit = if canary > 0 && *wave == 0 { canary } else { batch };
                let of = seen.waves.entry(*wave).or_default();
                of.insert(name.clone());
                // The canary that was not there when its turn came has not changed.
                let there = |host: &&HostState| of.contains(&host.name) && !is_out(host);
                let there = progress.hosts.iter().filter(there).count();
                assert!(there <= limit as usize, "no more at once than a wave has");
                if let Some(leader) = &seen.migrated {
                    let leader = progress.hosts.iter().find(|host| host.name == *leader).unwrap();
                    let has_migrated =
                        matches!(leader.applied, Some(Applied::Ended { outcome: Outcome::Converged, .. }));
                    assert!(if *migrate { is_out(leader) } else { has_migrated }, "{leader:?}");
                }
                if *migrate {
                    let changed =
                        progress.hosts.iter().filter(|host| seen.applied.contains(&host.name) && !is_out(host));
                    assert!(terms.migrates && hosts.len() == 1 && changed.count() == 0, "one migrates, first");
                    seen.migrated = Some(name.clone());
                }
                seen.applied.push(name.clone());
            }
            Order::Hold { .. } => {
                assert!(
                    matches!(progress.hosts[at].applied, Some(Applied::Ended { .. }))
                        && progress.hosts[at].held.is_none()
                );
            }
            Order::TakeBack { reason, .. } => {
                assert!(seen.applied.contains(name) && !seen.taken_back.contains(name) && !reason.is_empty());
                assert!(is_to_go_back(&progress.hosts[at]), "who has gone back by itself is left alone");
                seen.taken_back.push(name.clone());
            }
            Order::Pause { .. } => {}
        }
        progress.hosts[at].doing = Some(doing);
        hands.in_hand.push((at, order.clone()));
    }
}

fn is_drift(found: Found) -> bool {
    matches!(found, Found::Seen { outcome: Outcome::Drift, .. })
}

fn is_out(host: &HostState) -> bool {
    matches!(host.applied, Some(Applied::NotBegun | Applied::Refused))
}

fn is_to_go_back(host: &HostState) -> bool {
    if matches!(host.found, Some(Found::Seen { had_release: true, .. })) {
        return false;
    }
    match host.applied {
        Some(Applied::Ended { outcome, changed }) => {
            changed && outcome != Outcome::RolledBack && outcome != Outcome::Quarantined
        }
        Some(Applied::Lost) => true,
        Some(Applied::NotBegun | Applied::Refused) | None => false,
    }
}

/// Plays a rollout to its end; `interrupt` is the step at which a person wants no more of it.
fn play(
    terms: &Terms,
    fates: &[Fate],
    choices: u64,
    forks: usize,
    interrupt: Option<usize>,
) -> (Progress, Seen, RolloutEnding) {
    let mut progress = hosts(fates);
    let mut hands = Hands { choices, forks, in_hand: Vec::new() };
    let mut seen = Seen::default();
    for step in 0..fates.len() * 20 + 20 {
        progress.interrupted |= interrupt == Some(step);
        match next(terms, &progress) {
            Next::Done(ending) => return (progress, seen, ending),
            Next::Wait => assert!(!hands.in_hand.is_empty(), "nothing is waited for"),
            Next::Do(order) => {
                begin(terms, &mut progress, &mut hands, &mut seen, &order);
                if hands.choose(2) == 0 && !matches!(order, Order::Pause { .. }) && hands.in_hand.len() < forks {
                    continue;
                }
            }
        }
        if !hands.in_hand.is_empty() {
            let at = hands.choose(hands.in_hand.len());
            let (host, order) = hands.in_hand.swap_remove(at);
            end(&mut progress.hosts[host], fates[host], &order);
        }
    }
    panic!("it does not end");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn any_rollout_keeps_the_rules_and_accounts_for_every_host(
        terms in any_terms(),
        fates in prop::collection::vec(fate(), 0..12),
        choices in any::<u64>(),
        forks in 1..6_usize,
        interrupt in prop::option::weighted(0.2, 0..60_usize),
    ) {
        let (progress, seen, ending) = play(&terms, &fates, choices, forks, interrupt);
        let named: Vec<&HostName> = ending.hosts.iter().map(|(name, _)| name).collect();
        prop_assert_eq!(named, progress.hosts.iter().map(|host| &host.name).collect::<Vec<_>>());
        let passes = progress.hosts.iter().filter(|host| host.doing.is_some_and(|doing| doing != Doing::Hold));
        prop_assert_eq!(passes.count(), 0, "what runs is heard to its end");
        let drift = progress.hosts.iter().filter(|host| host.found.is_some_and(is_drift));
        let drift: Vec<&HostName> = drift.map(|host| &host.name).collect();
        match ending.how {
            RolloutOutcome::Complete => {
                prop_assert!(drift.iter().all(|name| seen.applied.contains(name)));
                prop_assert!(failures(&progress) <= terms.max_failures);
            }
            RolloutOutcome::NotBegun => {
                prop_assert!(seen.applied.is_empty() && failures(&progress) > terms.max_failures);
            }
            RolloutOutcome::Stopped if terms.on_failure == OnFailure::Rollback => {
                for (host, (_, verdict)) in progress.hosts.iter().zip(&ending.hosts) {
                    let back = matches!(verdict, HostVerdict::TakenBack | HostVerdict::NotTakenBack);
                    prop_assert_eq!(back, is_to_go_back(host), "{:?}", host);
                }
            }
            RolloutOutcome::Stopped | RolloutOutcome::Withheld => prop_assert!(seen.taken_back.is_empty()),
            RolloutOutcome::Interrupted => prop_assert!(interrupt.is_some()),
        }
        for (host, (_, verdict)) in progress.hosts.iter().zip(&ending.hosts) {
            let touched = seen.applied.contains(&host.name);
            let left = matches!(
                verdict,
                HostVerdict::Settled | HostVerdict::NotReached | HostVerdict::Refused(_) | HostVerdict::Unseen
            );
            prop_assert_eq!(touched, !left && host.applied.is_some(), "{:?} {:?}", verdict, host);
            if *verdict == HostVerdict::Unseen {
                prop_assert_eq!(ending.how, RolloutOutcome::Interrupted);
            }
        }
        if terms.migrates && seen.migrated.is_none() && !seen.applied.is_empty() {
            let migrated = |fate: &Fate| {
                matches!(fate.found, Found::Seen { migrated: true, .. } | Found::Seen { had_release: true, .. })
            };
            prop_assert!(fates.iter().any(migrated), "somebody has migrated, or nobody changed");
        }
    }
}
