//! Turns drift into the shortest ordered list of actions.
//!
//! In: a checked [`App`] and one [`Observed`] snapshot. Out: a [`Plan`]; an empty plan means that
//! nothing we can do is left to be done. Each drift has exactly one action, so leaving any out
//! leaves drift. The link moves before any worker restarts, because a worker takes its release
//! from the link as it starts.

use std::collections::BTreeMap;

use super::reason::reason;
use crate::decide::diff::diff;
use crate::model::action::{Action, Phase, Plan, Step};
use crate::model::app::App;
use crate::model::drift::{Difference, Drift};
use crate::model::names::GroupName;
use crate::model::observed::Observed;
use crate::model::release::Stage;

/// The shortest ordered list of actions that closes the drift between `app` and `observed`.
#[must_use]
pub fn plan(app: &App, observed: &Observed) -> Plan {
    plan_for(app, &diff(app, observed))
}

/// The same for drift that is known already.
#[must_use]
pub fn plan_for(app: &App, difference: &Difference) -> Plan {
    let mut plan =
        Plan { steps: Vec::new(), stalled: difference.stalled.clone(), blockers: difference.blockers.clone() };
    if !plan.blockers.is_empty() {
        return plan;
    }
    let mut turns = Turns::new(app, difference);
    plan.steps = difference
        .drift
        .iter()
        .map(|drift| {
            let action = action(drift);
            Step { phase: phase(&action), turn: turns.of(&action), action, reason: reason(drift) }
        })
        .collect();
    plan.steps.sort_by_key(|step| (step.phase, step.turn));
    plan
}

/// The one action that closes a drift.
fn action(drift: &Drift) -> Action {
    match drift {
        Drift::HoldOver { release } => Action::LiftQuarantine { id: release.clone() },
        Drift::ReleaseNotFetched { desired, .. } => Action::FetchRelease { id: desired.clone() },
        Drift::SharedNotLinked { release, .. } => Action::LinkShared { id: release.clone() },
        Drift::StageDue { release, stage, .. } => Action::RunStage { id: release.clone(), stage: *stage },
        Drift::CurrentElsewhere { desired, .. } => Action::SwitchCurrent { to: desired.clone() },
        Drift::ConfigChanged { group, path } => Action::ApplyConfig { group: group.clone(), path: path.clone() },
        Drift::WorkerDown { group, member, .. } => Action::StartWorker { group: group.clone(), member: member.clone() },
        Drift::WorkerStale { group, member, process, .. } | Drift::WorkerUnknown { group, member, process, .. } => {
            Action::RestartWorker { group: group.clone(), member: member.clone(), process: *process }
        }
        Drift::WorkerSurplus { group, member, .. } => {
            Action::StopWorker { group: group.clone(), member: member.clone() }
        }
        Drift::WorkerNotEnabled { group, member } => {
            Action::EnableWorker { group: group.clone(), member: member.clone() }
        }
        Drift::StrayRunning { stray } => Action::StopStray { process: stray.process },
        Drift::ServiceStale { service, how, .. } => Action::RenewService { service: service.clone(), how: *how },
        Drift::ReleaseNotProven { release } => Action::ProveRelease { id: release.clone() },
        Drift::ReleaseSurplus { release, .. } => Action::PruneRelease { id: release.clone() },
    }
}

/// The part of a pass that an action belongs to.
fn phase(action: &Action) -> Phase {
    match action {
        Action::LiftQuarantine { .. } => Phase::Record,
        Action::FetchRelease { .. } => Phase::Fetch,
        Action::LinkShared { .. } => Phase::Link,
        Action::RunStage { stage, .. } => match stage {
            Stage::Build => Phase::Build,
            Stage::Verify => Phase::Verify,
            Stage::Migrate => Phase::Migrate,
            Stage::BeforeSwitch => Phase::Switch,
            Stage::AfterSwitch | Stage::AfterRollback => Phase::Hook,
        },
        Action::SwitchCurrent { .. } => Phase::Switch,
        Action::ApplyConfig { .. } => Phase::Configure,
        Action::StartWorker { .. }
        | Action::RestartWorker { .. }
        | Action::StopWorker { .. }
        | Action::EnableWorker { .. }
        | Action::RenewService { .. }
        | Action::StopStray { .. } => Phase::Replace,
        Action::ProveRelease { .. } => Phase::Prove,
        Action::PruneRelease { .. } => Phase::Prune,
    }
}

/// Gives each restart its turn: as many at a time as `maxUnavailable` allows, all groups side by side.
struct Turns {
    groups: BTreeMap<GroupName, GroupTurns>,
}

struct GroupTurns {
    limit: u32,
    /// Restarts that still fit into `turn`.
    left: u32,
    turn: u32,
}

impl Turns {
    fn new(app: &App, difference: &Difference) -> Self {
        let groups = app.workers.iter().map(|group| {
            let limit = group.unavailable_limit();
            let down = difference
                .drift
                .iter()
                .filter(|drift| matches!(drift, Drift::WorkerDown { group: of, .. } if *of == group.name));
            let coming =
                difference.settling.iter().filter(|one| one.group == group.name && !one.leaving && !one.state.is_up());
            // Who is down already takes up room until another look finds it up.
            let down = u32::try_from(down.count() + coming.count()).unwrap_or(u32::MAX);
            let left = limit.saturating_sub(down);
            (group.name.clone(), GroupTurns { limit, left, turn: 0 })
        });
        Self { groups: groups.collect() }
    }

    fn of(&mut self, action: &Action) -> u32 {
        let Action::RestartWorker { group, .. } = action else { return 0 };
        let Some(group) = self.groups.get_mut(group) else { return 0 };
        if group.left == 0 {
            group.turn += 1;
            group.left = group.limit;
        }
        group.left -= 1;
        group.turn
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::testing::{
        app, apply_all, builtin, evidence, group, id, in_state, member, noon, process, running, seconds_before, seen,
        supervisord, systemd,
    };
    use crate::model::amount::Amount;
    use crate::model::app::{CommandLine, RestartOn};
    use crate::model::drift::{Blocker, Stalled};
    use crate::model::memory::Helpless;
    use crate::model::names::{MemberName, RelativePath};
    use crate::model::observed::{Evidence, Link, MemberState, ObservedConfig, Runs, Unreadable, Worker};
    use crate::model::process::Known;
    use crate::model::release::Source;

    fn switch(to: &str) -> Action {
        Action::SwitchCurrent { to: id(to) }
    }

    fn restart(ordinal: u32) -> Action {
        Action::RestartWorker {
            group: GroupName::new("default").unwrap(),
            member: member(ordinal),
            process: Some(process(100 + ordinal)),
        }
    }

    fn start(ordinal: u32) -> Action {
        Action::StartWorker { group: GroupName::new("default").unwrap(), member: member(ordinal) }
    }

    fn stop(ordinal: u32) -> Action {
        Action::StopWorker { group: GroupName::new("default").unwrap(), member: member(ordinal) }
    }

    fn finding(ordinal: u32, runs: Runs) -> Worker {
        Worker { evidence: evidence(runs), ..running(ordinal, "r2") }
    }

    #[test]
    fn a_supervisord_group_of_two_that_should_run_r2() {
        use MemberState::{Backoff, Exited, Failed, Starting, Stopped, Stopping};
        let wanted = app("r2", vec![group("default", 2, supervisord())]);
        let both = |one: Worker| vec![one, running(2, "r2")];
        let rows = [
            ("settled", seen("r2", vec![running(1, "r2"), running(2, "r2")]), vec![]),
            ("link behind", seen("r1", vec![running(1, "r2"), running(2, "r2")]), vec![switch("r2")]),
            (
                "all old",
                seen("r1", vec![running(1, "r1"), running(2, "r1")]),
                vec![switch("r2"), restart(1), restart(2)],
            ),
            ("one worker left over", seen("r2", both(running(1, "r1"))), vec![restart(1)]),
            ("its release was deleted", seen("r2", both(finding(1, Runs::Deleted { id: id("r2") }))), vec![restart(1)]),
            ("a mix", seen("r2", both(finding(1, Runs::Mixed { ids: vec![id("r1"), id("r2")] }))), vec![restart(1)]),
            ("silent, from before the switch", seen("r2", both(finding(1, Runs::BeforeSwitch))), vec![restart(1)]),
            ("silent, from after the switch", seen("r2", both(finding(1, Runs::AfterSwitch))), vec![]),
            (
                "silent, and the link is wrong",
                seen("r1", both(finding(1, Runs::AfterSwitch))),
                vec![switch("r2"), restart(1)],
            ),
            (
                "unknown, and too young to show anything: a look later tells",
                seen("r2", both(Worker { started: Some(seconds_before(noon(), 1)), ..finding(1, Runs::Unknown) })),
                vec![],
            ),
            ("unknown is not fresh", seen("r2", both(finding(1, Runs::Unknown))), vec![restart(1)]),
            ("stopped", seen("r2", both(in_state(1, Stopped))), vec![start(1)]),
            ("exited", seen("r2", both(in_state(1, Exited))), vec![start(1)]),
            ("given up", seen("r2", both(in_state(1, Failed))), vec![start(1)]),
            ("coming back by itself", seen("r2", both(in_state(1, Backoff))), vec![]),
            ("on its way out", seen("r2", both(in_state(1, Stopping))), vec![]),
            ("just started, fresh", seen("r2", both(Worker { state: Starting, ..running(1, "r2") })), vec![]),
            ("just started, stale", seen("r2", both(in_state(1, Starting))), vec![restart(1)]),
            (
                "one too many: the stale one goes",
                seen("r2", vec![running(1, "r1"), running(2, "r2"), running(3, "r2")]),
                vec![stop(1)],
            ),
            (
                "one too many, all fresh: the highest goes",
                seen("r2", vec![running(1, "r2"), running(2, "r2"), running(3, "r2")]),
                vec![stop(3)],
            ),
            (
                "the one too many is not running",
                seen("r2", vec![in_state(1, Stopped), running(2, "r2"), running(3, "r2")]),
                vec![],
            ),
        ];
        for (name, observed, planned) in rows {
            let actions: Vec<Action> = plan(&wanted, &observed).steps.into_iter().map(|step| step.action).collect();
            assert_eq!(actions, planned, "{name}");
            let after = apply_all(&wanted, &observed, &actions);
            assert_eq!(plan(&wanted, &after).steps, vec![], "{name}: planned again");
        }
    }

    #[test]
    fn nothing_is_touched_where_something_stands_in_the_way() {
        let mut wanted = app("r2", vec![group("default", 3, supervisord())]);
        let two = || vec![running(1, "r1"), running(2, "r1")];
        let at = |link: Link| {
            let mut observed = seen("r1", vec![running(1, "r1"), running(2, "r1"), running(3, "r1")]);
            observed.layout.link = link;
            observed
        };
        let mut unreadable = at(Link::Absent);
        let why = Unreadable { message: "connection refused".to_owned(), help: None, lasting: false };
        unreadable.groups[0].members = Err(why.clone());
        let mut empty = at(Link::Absent);
        empty.layout.releases[1].empty = true;
        let mut incomplete = at(Link::Absent);
        let missing = vec![RelativePath::new("vendor/autoload.php").unwrap()];
        incomplete.layout.releases[1].missing.clone_from(&missing);
        let mut absent = at(Link::Absent);
        absent.layout.releases.remove(1);
        let name = GroupName::new("default").unwrap();
        let rows = [
            (
                at(Link::NotALink { what: "directory".to_owned() }),
                Blocker::CurrentIsNotALink { what: "directory".to_owned() },
            ),
            (absent, Blocker::ReleaseAbsent { id: id("r2"), present: vec![id("r3"), id("r1")] }),
            (empty, Blocker::ReleaseEmpty { id: id("r2") }),
            (incomplete.clone(), Blocker::ReleaseIncomplete { id: id("r2"), missing }),
            (unreadable, Blocker::GroupUnreadable { group: name.clone(), why }),
            (
                seen("r1", two()),
                Blocker::CountBeyondManager { group: name, count: 3, offered: 2, managed_as: "web".to_owned() },
            ),
        ];
        for (observed, blocker) in rows {
            let planned = plan(&wanted, &observed);
            assert_eq!(planned.blockers, vec![blocker]);
            assert_eq!(planned.steps, vec![]);
        }
        // What is required before a switch takes nothing back that is in force already.
        incomplete.layout.link = Link::Release { id: id("r2") };
        wanted.workers[0].count = 0;
        assert_eq!(plan(&wanted, &incomplete).blockers, vec![]);
    }

    #[test]
    fn a_release_with_a_source_is_fetched_before_anything_else() {
        let mut wanted = app("r2", vec![group("default", 1, supervisord())]);
        wanted.release.source = Some(Source::Dir { path: "/srv/build/r2".into() });
        let mut observed = seen("r1", vec![running(1, "r1")]);
        observed.layout.releases.retain(|release| release.id != id("r2"));
        observed.records.retain(|record| record.id != id("r2"));
        let planned = plan(&wanted, &observed);
        let steps: Vec<(Phase, Action)> = planned.steps.iter().map(|step| (step.phase, step.action.clone())).collect();
        let fetch = Action::FetchRelease { id: id("r2") };
        let prove = Action::ProveRelease { id: id("r2") };
        let expected =
            [(Phase::Fetch, fetch), (Phase::Switch, switch("r2")), (Phase::Replace, restart(1)), (Phase::Prove, prove)];
        assert_eq!(steps, expected);
        assert!(planned.steps[0].reason.contains("/srv/build/r2"), "{planned:?}");
        assert_eq!(plan(&wanted, &seen("r2", vec![running(1, "r2")])).steps, vec![], "it is there");
    }

    #[test]
    fn max_unavailable_leaves_the_rest_for_another_look() {
        let mut wanted = app("r2", vec![group("default", 5, supervisord())]);
        wanted.workers[0].max_unavailable = Amount::Count(2);
        let workers = |first: Worker| {
            let mut workers = vec![first];
            workers.extend((2..=5).map(|ordinal| running(ordinal, "r1")));
            workers
        };
        let rows = [
            ("all up", workers(running(1, "r1")), vec![0, 0, 1, 1, 2]),
            ("one down already", workers(in_state(1, MemberState::Stopped)), vec![0, 0, 1, 1, 2]),
            ("one coming back", workers(in_state(1, MemberState::Backoff)), vec![0, 1, 1, 2]),
        ];
        for (name, workers, turns) in rows {
            let planned = plan(&wanted, &seen("r2", workers));
            assert_eq!(planned.steps.iter().map(|step| step.turn).collect::<Vec<_>>(), turns, "{name}");
        }
    }

    #[test]
    fn members_are_made_and_enabled_where_the_manager_allows() {
        let unit = |ordinal, enabled| Worker {
            member: MemberName::new(format!("web@{ordinal}.service")).unwrap(),
            enabled: Some(enabled),
            ..running(ordinal, "r2")
        };
        let verbs = |wanted: &App, observed: &Observed| -> Vec<String> {
            plan(wanted, observed).steps.iter().map(|step| step.action.to_string()).collect()
        };
        let wanted = app("r2", vec![group("default", 3, systemd())]);
        assert_eq!(
            verbs(&wanted, &seen("r2", vec![unit(2, true), unit(4, false)])),
            ["enable web@4.service", "start web@1.service"],
        );
        let wanted = app("r2", vec![group("default", 1, systemd())]);
        let down = Worker { state: MemberState::Stopped, ..unit(2, true) };
        assert_eq!(verbs(&wanted, &seen("r2", vec![unit(1, true), down])), ["stop web@2.service"], "it is enabled");
        let wanted = app("r2", vec![group("default", 2, builtin())]);
        assert_eq!(verbs(&wanted, &seen("r2", vec![])), ["start default/1", "start default/2"]);
    }

    #[test]
    fn changed_configuration_is_applied_before_the_workers_restart() {
        let mut wanted = app("r2", vec![group("default", 2, supervisord())]);
        let path = RelativePath::new("shared/.env").unwrap();
        let step = Some(CommandLine::Shell("php artisan config:cache".to_owned()));
        wanted.workers[0].restart_on = vec![RestartOn { path: path.clone(), run: step }];
        let mut observed = seen("r2", vec![running(1, "r2"), running(2, "r2")]);
        observed.config = vec![ObservedConfig {
            group: GroupName::new("default").unwrap(),
            path,
            content: Known::Known(Some("digest".to_owned())),
            modified: Some(seconds_before(noon(), 10)),
            applied: None,
        }];
        let planned = plan(&wanted, &observed);
        let actions: Vec<String> = planned.steps.iter().map(|step| step.action.to_string()).collect();
        assert_eq!(
            actions,
            ["apply shared/.env to default", "restart web:web_01 (pid 101)", "restart web:web_02 (pid 102)"]
        );
        assert_eq!(
            planned.steps.iter().map(|step| step.phase).collect::<Vec<_>>(),
            [Phase::Configure, Phase::Replace, Phase::Replace]
        );
        observed.config[0].modified = Some(seconds_before(noon(), 150));
        assert!(plan(&wanted, &observed).is_empty(), "the release was made after the file was written");
    }

    #[test]
    fn a_restart_that_did_not_help_is_not_repeated() {
        let wanted = app("r2", vec![group("default", 1, supervisord())]);
        let mut observed = seen("r2", vec![running(1, "r1")]);
        let known = |pid, release: &str| Helpless {
            group: GroupName::new("default").unwrap(),
            member: member(1),
            process: process(pid),
            release: id(release),
        };
        observed.helpless = vec![known(101, "r2")];
        let planned = plan(&wanted, &observed);
        assert!(planned.is_empty());
        assert!(matches!(planned.stalled[..], [Stalled::RestartDidNotHelp { .. }]), "{:?}", planned.stalled);
        for other in [known(77, "r2"), known(101, "r3")] {
            observed.helpless = vec![other];
            assert_eq!(plan(&wanted, &observed).steps.len(), 1, "another process or another wish is a new case");
        }
    }

    #[test]
    fn only_orphans_and_strays_that_may_be_stopped_are() {
        use crate::model::app::StrayPolicy;
        use crate::model::observed::Stray;
        let mut wanted = app("r2", vec![]);
        let mut observed = seen("r2", vec![]);
        let stray = |pid, orphan_of: Option<&str>| Stray {
            process: process(pid),
            evidence: Evidence::unknown("cwd"),
            command: "php artisan".to_owned(),
            orphan_of: orphan_of.map(|name| GroupName::new(name).unwrap()),
            spared: None,
        };
        observed.strays = vec![stray(7, None), stray(8, Some("default"))];
        let stopped = |wanted: &App| -> Vec<Action> {
            plan(wanted, &observed).steps.into_iter().map(|step| step.action).collect()
        };
        assert_eq!(stopped(&wanted), [Action::StopStray { process: process(8) }]);
        wanted.strays = StrayPolicy::Stop;
        assert_eq!(stopped(&wanted).len(), 2);
        for stray in &mut observed.strays {
            stray.spared = Some("it has a terminal: somebody may work there".to_owned());
        }
        let steps = plan(&wanted, &observed).steps;
        assert_eq!(steps.len(), 1, "an orphan is ours whatever it looks like: {steps:?}");
    }
}
