//! What holds for any App and any snapshot: the plan is enough, minimal, stable, gentle and in a safe order.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::aim::aim;
use super::diff::diff;
use super::freshness::{Freshness, freshness};
use super::gate::adoption;
use super::leaving::without_workers;
use super::plan::plan;
use super::testing::{app, apply, apply_all, builtin, evidence, group, id, noon, process, seconds_before, seen};
use super::testing::{kept_out, mended, supervisord, systemd};
use crate::model::action::{Action, Phase, Step};
use crate::model::amount::Amount;
use crate::model::app::{App, CommandLine, Manager, RestartOn, StrayPolicy};
use crate::model::memory::{AppliedConfig, Helpless};
use crate::model::names::{GroupName, MemberName, RelativePath};
use crate::model::observed::{Aim, Link, MemberState, Observed, ObservedConfig, ObservedGroup, Runs, Stray, Worker};
use crate::model::process::Known;
use crate::model::record::ReleaseRecord;
use crate::model::release::Source;

const STATES: [MemberState; 8] = [
    MemberState::Running,
    MemberState::Starting,
    MemberState::Backoff,
    MemberState::Stopping,
    MemberState::Stopped,
    MemberState::Exited,
    MemberState::Failed,
    MemberState::Unknown,
];

fn a_finding() -> impl Strategy<Value = Runs> {
    prop_oneof![
        4 => prop_oneof![Just("r1"), Just("r2"), Just("r3")].prop_map(|name| Runs::Release { id: id(name) }),
        1 => Just(Runs::Deleted { id: id("r2") }),
        1 => Just(Runs::Mixed { ids: vec![id("r1"), id("r2")] }),
        1 => Just(Runs::BeforeSwitch),
        1 => Just(Runs::AfterSwitch),
        1 => Just(Runs::Unknown),
    ]
}

fn a_state() -> impl Strategy<Value = MemberState> {
    prop_oneof![3 => Just(MemberState::Running), 2 => proptest::sample::select(&STATES[..])]
}

fn a_member() -> impl Strategy<Value = (MemberState, Runs, i64, bool)> {
    (a_state(), a_finding(), 1i64..200, any::<bool>())
}

fn a_link() -> impl Strategy<Value = Link> {
    prop_oneof![
        2 => Just(Link::Release { id: id("r1") }),
        4 => Just(Link::Release { id: id("r2") }),
        1 => Just(Link::Absent),
        1 => Just(Link::Dangling { target: "releases/r9".to_owned() }),
        1 => Just(Link::Outside { target: "/opt".to_owned() }),
    ]
}

#[derive(Debug, Clone)]
struct GroupSeed {
    manager: usize,
    count: u32,
    limit: Option<u8>,
    members: Vec<(MemberState, Runs, i64, bool)>,
    config: Option<(bool, Option<i64>, Option<i64>, bool)>,
}

/// So many seconds before noon; less than none where a clock was ahead.
fn a_moment() -> impl Strategy<Value = i64> {
    prop_oneof![3 => 1i64..200, 1 => -5000i64..-3000]
}

fn a_group() -> impl Strategy<Value = GroupSeed> {
    (
        0usize..3,
        0u32..5,
        proptest::option::of(0u8..=100),
        proptest::collection::vec(a_member(), 0..6),
        proptest::option::of((
            any::<bool>(),
            proptest::option::of(a_moment()),
            proptest::option::of(a_moment()),
            any::<bool>(),
        )),
    )
        .prop_map(|(manager, count, limit, members, config)| GroupSeed { manager, count, limit, members, config })
}

fn a_case() -> impl Strategy<Value = (App, Observed)> {
    let host = (a_link(), proptest::collection::vec(a_group(), 0..4), any::<bool>(), 0u32..3, any::<bool>(), 0u32..4);
    (host, (1u32..4, 0u8..5, 0u8..5)).prop_map(
        |((link, groups, stop_strays, strays, helpless, fetched), (keep, first, third))| {
            let (mut app, mut observed) = build(link, &groups, stop_strays, strays, helpless);
            app.release.keep = keep;
            remember(&mut observed, "r1", first);
            remember(&mut observed, "r3", third);
            // A pass begins with that.
            if let Some(adopted) = adoption(&app, &observed) {
                observed.records.retain(|known| known.id != adopted.id);
                observed.records.push(adopted);
            }
            if fetched == 0 { unfetched(app, observed) } else { (app, observed) }
        },
    )
}

/// What is known of a release: that it was proven, nothing, that it failed, that it failed and is good since, that it
/// was only looked over.
fn remember(observed: &mut Observed, name: &str, what: u8) {
    let verified = ReleaseRecord::adopted(id(name), seconds_before(noon(), 3000));
    let known = match what {
        0 => return,
        1 => None,
        2 => Some(kept_out(name, 50, "another")),
        3 => Some(mended(name, 50)),
        _ => Some(verified),
    };
    observed.records.retain(|record| record.id != id(name));
    observed.records.extend(known);
}

/// The same with the desired release still at its source: whatever led to it leads nowhere.
fn unfetched(mut app: App, mut observed: Observed) -> (App, Observed) {
    app.release.source = Some(Source::Dir { path: "/srv/build".into() });
    observed.layout.releases.retain(|release| release.id != app.release.id);
    if observed.layout.link == (Link::Release { id: app.release.id.clone() }) {
        observed.layout.link = Link::Dangling { target: "releases/r2".to_owned() };
    }
    (app, observed)
}

fn build(link: Link, seeds: &[GroupSeed], stop_strays: bool, strays: u32, helpless: bool) -> (App, Observed) {
    let mut groups = Vec::new();
    let mut observed = seen("r2", Vec::new());
    observed.groups.clear();
    for (number, seed) in seeds.iter().enumerate() {
        let manager = [supervisord(), systemd(), builtin()][seed.manager].clone();
        // A fixed set must be large enough, else the plan is blocked, which has its own test.
        let count = match manager {
            Manager::Supervisord(_) => seed.count.min(u32::try_from(seed.members.len()).unwrap()),
            Manager::Systemd(_) | Manager::Builtin(_) => seed.count,
        };
        let mut wanted = group(&format!("g{number}"), count, manager);
        if let Some(percent) = seed.limit {
            wanted.max_unavailable = Amount::Percent(percent);
        }
        let members = seed.members.iter().zip(1u32..).map(|((state, runs, age, enabled), ordinal)| {
            let name = wanted.member(ordinal);
            let has_process = state.is_up() || *state == MemberState::Stopping;
            Worker {
                member: name.unwrap_or_else(|| MemberName::new(format!("g{number}:{ordinal}")).unwrap()),
                ordinal,
                state: *state,
                detail: String::new(),
                process: has_process.then(|| process(100 * u32::try_from(number).unwrap() + ordinal)),
                // One that is too young to show anything only settles, and may be drift when it is older.
                started: has_process
                    .then(|| seconds_before(noon(), if *runs == Runs::Unknown { age + 2 } else { *age })),
                evidence: evidence(runs.clone()),
                enabled: matches!(wanted.manager, Manager::Systemd(_)).then_some(*enabled),
                outdated: matches!(wanted.manager, Manager::Builtin(_)) && *enabled,
            }
        });
        let members: Vec<Worker> = members.collect();
        if helpless {
            observed.helpless.extend(members.iter().take(1).filter_map(|worker| {
                Some(Helpless {
                    group: wanted.name.clone(),
                    member: worker.member.clone(),
                    process: worker.process?,
                    release: id("r2"),
                })
            }));
        }
        if let Some((with_step, written, applied, same)) = &seed.config {
            let path = RelativePath::new("shared/.env").unwrap();
            wanted
                .restart_on
                .push(RestartOn { path: path.clone(), run: with_step.then(|| CommandLine::Shell("true".to_owned())) });
            observed.config.push(ObservedConfig {
                group: wanted.name.clone(),
                path: path.clone(),
                content: Known::Known(written.map(|_| "new".to_owned())),
                modified: written.map(|age| seconds_before(noon(), age)),
                applied: applied.map(|age| AppliedConfig {
                    group: wanted.name.clone(),
                    path,
                    digest: Some(if *same { "new" } else { "old" }.to_owned()),
                    at: seconds_before(noon(), age),
                    release: with_step.then(|| id("r2")),
                }),
            });
        }
        observed.groups.push(ObservedGroup { group: wanted.name.clone(), members: Ok(members) });
        groups.push(wanted);
    }
    observed.strays = (0..strays)
        .map(|number| Stray {
            process: process(900 + number),
            evidence: evidence(Runs::Release { id: id("r1") }),
            command: "php artisan queue:work".to_owned(),
            orphan_of: (number == 1).then(|| GroupName::new("g0").unwrap()),
            spared: None,
        })
        .collect();
    observed.layout.link = link;
    let mut wanted = app("r2", groups);
    wanted.strays = if stop_strays { StrayPolicy::Stop } else { StrayPolicy::Report };
    (wanted, observed)
}

/// What a settled host has in common with one that we cannot change: nothing left that an action closes.
fn is_closed(app: &App, observed: &Observed) -> bool {
    diff(app, observed).drift.is_empty()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn applying_the_plan_closes_all_drift_and_a_second_plan_is_empty((app, observed) in a_case()) {
        let planned = plan(&app, &observed);
        prop_assert!(planned.blockers.is_empty(), "{:?}", planned.blockers);
        let after = apply_all(&app, &observed, planned.steps.iter().map(|step| &step.action));
        prop_assert_eq!(diff(&app, &after).drift, vec![]);
        prop_assert!(plan(&app, &after).is_empty());
    }

    /// Whatever somebody has put in force since, and whatever else runs there.
    #[test]
    fn an_app_that_leaves_stops_its_own_workers_and_does_nothing_else((app, mut observed) in a_case(), link in a_link()) {
        let Some(leaving) = without_workers(&app, &observed.layout) else { return Ok(()) };
        observed.layout.link = link;
        let planned = plan(&leaving, &observed);
        let ours = |group: &GroupName, member: &MemberName| {
            let seen = observed.groups.iter().find(|seen| seen.group == *group);
            app.group(group).is_some()
                && seen.is_some_and(|seen| seen.members.iter().flatten().any(|worker| worker.member == *member))
        };
        for step in &planned.steps {
            let own = matches!(&step.action, Action::StopWorker { group, member } if ours(group, member));
            prop_assert!(own, "{}", step.action);
        }
        prop_assert!(planned.blockers.is_empty() && planned.stalled.is_empty());
        let after = apply_all(&leaving, &observed, planned.steps.iter().map(|step| &step.action));
        prop_assert!(plan(&leaving, &after).is_empty());
        let mut workers = after.groups.iter().flat_map(|seen| seen.members.iter().flatten());
        prop_assert!(!workers.any(|worker| worker.state.is_up()), "{:?}", after.groups);
    }

    #[test]
    fn no_action_can_be_left_out((app, observed) in a_case()) {
        let planned = plan(&app, &observed);
        for left_out in 0..planned.steps.len() {
            let rest = planned.steps.iter().enumerate().filter(|(at, _)| *at != left_out);
            let after = apply_all(&app, &observed, rest.map(|(_, step)| &step.action));
            prop_assert!(!is_closed(&app, &after), "{:?} was not needed", planned.steps[left_out].action);
        }
    }

    #[test]
    fn the_first_plan_names_every_release_that_will_go_and_none_that_is_somebody_elses((app, observed) in a_case()) {
        let prunes = |app: &App, observed: &Observed| -> Vec<Action> {
            let steps = plan(app, observed).steps.into_iter().map(|step| step.action);
            steps.filter(|action| matches!(action, Action::PruneRelease { .. })).collect()
        };
        let shown = prunes(&app, &observed);
        for action in &shown {
            let Action::PruneRelease { id } = action else { unreachable!() };
            let record = observed.record(id);
            prop_assert!(record.is_some_and(|record| record.switched.or(record.proven).is_some()), "{id}: {record:?}");
        }
        // The pass looks again before it prunes, when everything else is done.
        let others = plan(&app, &observed).steps.into_iter().map(|step| step.action);
        let others: Vec<Action> = others.filter(|action| !shown.contains(action)).collect();
        prop_assert_eq!(prunes(&app, &apply_all(&app, &observed, &others)), shown);
    }

    #[test]
    fn a_fresh_worker_within_count_is_never_touched((app, observed) in a_case()) {
        let planned = plan(&app, &observed);
        for (wanted, seen) in app.workers.iter().zip(&observed.groups) {
            let fresh = |worker: &&Worker| {
                worker.state.is_up() && freshness(&app, &observed, wanted, worker) == Freshness::Fresh
            };
            let members = seen.members.as_ref().unwrap();
            let fresh: BTreeMap<&MemberName, &Worker> =
                members.iter().filter(fresh).map(|worker| (&worker.member, worker)).collect();
            let mut stopped = 0;
            for step in &planned.steps {
                match &step.action {
                    Action::StartWorker { member, group } | Action::RestartWorker { member, group, .. } if *group == wanted.name => {
                        prop_assert!(!fresh.contains_key(member), "{:?}", step);
                    }
                    Action::StopWorker { member, group } if *group == wanted.name && fresh.contains_key(member) => stopped += 1,
                    _ => {}
                }
            }
            // Fresh ones go only where there are more of them than are wanted.
            prop_assert_eq!(stopped, fresh.len().saturating_sub(wanted.count as usize));
        }
    }

    #[test]
    fn the_order_is_safe_and_max_unavailable_is_kept((app, observed) in a_case()) {
        let planned = plan(&app, &observed);
        for step in &planned.steps {
            prop_assert_eq!(matches!(step.action, Action::FetchRelease { .. }), step.phase == Phase::Fetch);
            prop_assert_eq!(matches!(step.action, Action::SwitchCurrent { .. }), step.phase == Phase::Switch);
            prop_assert!(step.action.group().is_none() || step.phase > Phase::Switch);
        }
        for wanted in &app.workers {
            let of_group = |step: &&Step| step.action.group() == Some(&wanted.name);
            let starts = planned
                .steps
                .iter()
                .filter(of_group)
                .filter(|step| matches!(step.action, Action::StartWorker { .. }))
                .count();
            let coming = diff(&app, &observed)
                .settling
                .iter()
                .filter(|one| one.group == wanted.name && !one.leaving && !one.state.is_up())
                .count();
            let last = planned.steps.iter().map(|step| step.turn).max().unwrap_or(0);
            for turn in 0..=last {
                let restarts = planned
                    .steps
                    .iter()
                    .filter(of_group)
                    .filter(|step| step.turn == turn && matches!(step.action, Action::RestartWorker { .. }))
                    .count();
                let down = if turn == 0 { starts + coming } else { 0 };
                prop_assert!(restarts == 0 || restarts + down <= wanted.unavailable_limit() as usize);
            }
        }
    }

    #[test]
    fn a_good_release_in_force_stays_when_another_fails_before_its_switch((app, mut observed) in a_case()) {
        let Link::Release { id: in_force } = observed.layout.link.clone() else { return Ok(()) };
        let good = observed.record(&in_force).is_some_and(ReleaseRecord::is_good);
        if !good || in_force == app.release.id || observed.layout.release(&in_force).is_none() {
            return Ok(());
        }
        observed.records.retain(|record| record.id != app.release.id);
        observed.records.push(kept_out("r2", 0, &app.fingerprint.trial));
        observed.aim = aim(&app, &observed.layout, &observed.records);
        prop_assert_eq!(&observed.aim, &Aim::Back { to: in_force.clone() });
        for action in plan(&app, &observed).steps.into_iter().map(|step| step.action) {
            let moved = matches!(action, Action::SwitchCurrent { .. });
            let removed = matches!(&action, Action::PruneRelease { id } if *id == in_force);
            prop_assert!(!moved && !removed, "{action}");
        }
    }

    #[test]
    fn unknown_is_never_fresh((app, observed) in a_case()) {
        for (wanted, seen) in app.workers.iter().zip(&observed.groups) {
            for worker in seen.members.as_ref().unwrap() {
                if worker.evidence.runs == Runs::Unknown {
                    prop_assert_ne!(freshness(&app, &observed, wanted, worker), Freshness::Fresh);
                }
            }
        }
    }

    #[test]
    fn acting_in_any_order_within_a_wave_ends_the_same((app, observed) in a_case()) {
        let mut reversed = plan(&app, &observed).steps;
        reversed.sort_by_key(|step| (step.phase, step.turn, std::cmp::Reverse(step.action.clone())));
        let mut after = observed;
        for step in &reversed {
            after = apply(&app, &after, &step.action);
        }
        prop_assert_eq!(diff(&app, &after).drift, vec![], "after {:?}", reversed);
    }
}
