//! Clocks that are set: what one that was ahead has left on the host lies in the future, and after a leap what began before
//! a switch seems to have begun since.

use std::time::Duration;

use jiff::SignedDuration;

use super::faults::Call;
use super::host::SimHost;
use super::populate::{healthy_answer, settled};
use super::schedules::pass;
use super::world::{Flaw, Shows, World};
use crate::decide::testing::{app, builtin, group, id, record};
use crate::model::action::Action;
use crate::model::app::{CommandLine, RestartOn};
use crate::model::names::{GroupName, RelativePath};
use crate::model::observed::Link;
use crate::model::record::ReleaseRecord;
use crate::model::report::{Mode, Outcome, PassReport};
use crate::model::service::{OnRelease, Service, ServiceManager};

const HOUR: SignedDuration = SignedDuration::from_hours(1);

fn in_simulated_time<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(work)
}

/// r1 is in force and good, with two workers and a service.
fn at_r1(on_release: OnRelease) -> World {
    let mut world = settled(app("r1", vec![group("default", 2, builtin())]), vec![record("r1", 50)]);
    world.app.services = vec![Service {
        name: GroupName::new("web").unwrap(),
        manager: ServiceManager::Systemd { unit: "web.service".to_owned() },
        on_release,
        timeout: Duration::from_secs(30),
        restart_on: Vec::new(),
    }];
    world
}

fn env(run: Option<&str>) -> Vec<RestartOn> {
    let run = run.map(|line| CommandLine::Shell(line.to_owned()));
    vec![RestartOn { path: RelativePath::new("shared/.env").unwrap(), run }]
}

fn count(report: &PassReport, which: fn(&Action) -> bool) -> usize {
    report.tried.iter().filter(|one| which(&one.action)).count()
}

fn renewals(report: &PassReport) -> usize {
    count(report, |action| matches!(action, Action::RenewService { .. }))
}

fn restarts(report: &PassReport) -> usize {
    count(report, |action| matches!(action, Action::RestartWorker { .. }))
}

async fn next_pass(host: &SimHost) -> PassReport {
    tokio::time::sleep(Duration::from_mins(1)).await;
    host.world().down_by_us.clear();
    pass(host, Mode::Apply).await.unwrap()
}

/// Makes everybody show nothing but when he started.
fn tell_nothing(world: &mut World, shows: Shows) {
    for process in world.processes.values_mut().filter(|process| process.owner.is_some()) {
        process.shows = shows;
    }
    for member in &mut world.members {
        member.shows = shows;
    }
}

/// How many workers run what they should.
fn right(world: &World) -> usize {
    world.processes.values().filter(|process| process.owner.is_some() && world.is_right(process)).count()
}

#[test]
fn who_is_older_than_a_switch_is_so_by_any_clock() {
    // Of one that is hidden its manager tells, by the clock as it went then: that of one that was set back says nothing.
    for (shows, set) in [(Shows::Silent, HOUR), (Shows::Silent, -HOUR), (Shows::Hidden, HOUR)] {
        in_simulated_time(async {
            let what = format!("{shows:?}, the clock is set by {set:#}");
            let mut world = at_r1(OnRelease::Auto);
            tell_nothing(&mut world, shows);
            world.releases.push(id("r2"));
            world.app.release.id = id("r2");
            // Renewing and replacing take so long that the pass is killed meanwhile.
            world.lasts = [(Call::Renew, Duration::from_hours(1)), (Call::Restart, Duration::from_hours(1))].into();
            let host = SimHost::new(world);
            let killed = tokio::time::timeout(Duration::from_secs(30), pass(&host, Mode::Apply)).await;
            assert!(killed.is_err(), "{what}: {killed:#?}");
            assert_eq!(host.world().link, Link::Release { id: id("r2") }, "{what}");
            host.world().lasts.clear();
            host.world().set_clock(set);
            let first = next_pass(&host).await;
            assert_eq!((restarts(&first), renewals(&first)), (2, 1), "{what}: {first:#?}");
            assert_eq!((right(&host.world()), first.outcome), (2, Outcome::Converged), "{what}: {first:#?}");
            assert_eq!(host.world().violations, [""; 0], "{what}");
            let again = next_pass(&host).await;
            assert_eq!((again.tried.len(), again.outcome), (0, Outcome::Converged), "{what}: {again:#?}");
        });
    }
}

#[test]
fn who_was_replaced_after_a_switch_stays_whatever_the_clock_is_set_to() {
    for set in [HOUR, -HOUR] {
        in_simulated_time(async {
            let mut world = at_r1(OnRelease::Auto);
            tell_nothing(&mut world, Shows::Silent);
            world.releases.push(id("r2"));
            world.app.release.id = id("r2");
            let host = SimHost::new(world);
            let deployed = next_pass(&host).await;
            assert_eq!((restarts(&deployed), deployed.outcome), (2, Outcome::Converged), "{deployed:#?}");
            host.world().set_clock(set);
            let again = next_pass(&host).await;
            assert_eq!((again.tried.len(), again.outcome), (0, Outcome::Converged), "{set:#}: {again:#?}");
        });
    }
}

#[test]
fn a_service_is_renewed_once_for_a_switch_that_lies_in_the_future() {
    for on_release in [OnRelease::Reload, OnRelease::Restart, OnRelease::Auto] {
        in_simulated_time(async {
            let mut world = at_r1(on_release);
            world.link_changed = Some(world.now + HOUR);
            let host = SimHost::new(world);
            let first = next_pass(&host).await;
            assert_eq!((renewals(&first), first.outcome), (1, Outcome::Converged), "{on_release:?}: {first:#?}");
            let again = next_pass(&host).await;
            assert_eq!((renewals(&again), again.outcome), (0, Outcome::Converged), "{on_release:?}: {again:#?}");
        });
    }
}

#[test]
fn a_file_of_the_future_is_told_once() {
    for run in [None, Some("php artisan config:cache")] {
        for unread in [false, true] {
            in_simulated_time(async {
                let mut world = at_r1(OnRelease::None);
                world.app.workers[0].restart_on = env(run);
                world.app.services[0].restart_on = env(run);
                let what = format!("{run:?}, known before: {unread}");
                if unread {
                    world.config_written = world.now - HOUR;
                }
                let host = SimHost::new(world);
                if unread {
                    next_pass(&host).await;
                }
                {
                    let mut world = host.world();
                    world.config_version += 1;
                    world.config_written = world.now + HOUR;
                }
                let first = next_pass(&host).await;
                assert_eq!((renewals(&first), restarts(&first)), (1, 2), "{what}: {first:#?}");
                assert_eq!(first.outcome, Outcome::Converged, "{what}: {first:#?}");
                let again = next_pass(&host).await;
                assert_eq!((again.tried.len(), again.outcome), (0, Outcome::Converged), "{what}: {again:#?}");
                // And it is in the way of no release.
                {
                    let mut world = host.world();
                    world.releases.push(id("r2"));
                    world.app.release.id = id("r2");
                }
                let deployed = next_pass(&host).await;
                assert_eq!(deployed.outcome, Outcome::Converged, "{what}: {deployed:#?}");
                assert!(host.world().records[&id("r2")].proven.is_some(), "{what}");
                assert_eq!(host.world().violations, [""; 0], "{what}");
            });
        }
    }
}

#[test]
fn what_was_told_by_a_clock_that_was_ahead_is_told_once_more_and_no_more() {
    in_simulated_time(async {
        let mut world = at_r1(OnRelease::None);
        world.app.workers[0].restart_on = env(Some("php artisan config:cache"));
        let host = SimHost::new(world);
        host.world().config_version += 1;
        next_pass(&host).await;
        for applied in &mut host.world().memory.config {
            applied.at += HOUR;
        }
        let first = next_pass(&host).await;
        assert_eq!((restarts(&first), first.outcome), (2, Outcome::Converged), "{first:#?}");
        let again = next_pass(&host).await;
        assert_eq!((again.tried.len(), again.outcome), (0, Outcome::Converged), "{again:#?}");
    });
}

#[test]
fn workers_that_show_nothing_but_their_start_are_restarted_once_after_a_switch_that_is_still_to_come() {
    in_simulated_time(async {
        let mut world = at_r1(OnRelease::None);
        tell_nothing(&mut world, Shows::Silent);
        // The pass is made a minute from now.
        world.link_changed = Some(world.now + SignedDuration::from_secs(63));
        let host = SimHost::new(world);
        let first = next_pass(&host).await;
        assert_eq!((restarts(&first), first.outcome), (2, Outcome::Converged), "{first:#?}");
        let again = next_pass(&host).await;
        assert_eq!((again.tried.len(), again.outcome), (0, Outcome::Converged), "{again:#?}");
    });
}

#[test]
fn the_release_before_is_kept_and_gone_back_to_also_after_one_that_was_proven_in_the_future() {
    in_simulated_time(async {
        let ahead = |mut of: ReleaseRecord, days: i64| {
            let by = SignedDuration::from_hours(24 * days);
            of.switched = of.switched.map(|at| at + by);
            of.proven = of.proven.map(|at| at + by);
            of
        };
        let records = vec![record("r1", 60), ahead(record("r2", 50), 3), record("r3", 40)];
        let mut world = settled(app("r3", vec![group("default", 1, builtin())]), records);
        world.app.release.keep = 2;
        world.app.health = Some(healthy_answer());
        // Found in force by somebody's hand and good: what was adopted stands after everything else.
        world.records.remove(&id("r3"));
        let host = SimHost::new(world);
        next_pass(&host).await;
        for (release, flaw, in_force) in [("r4", None, "r4"), ("r5", Some(Flaw::Unhealthy), "r4")] {
            {
                let mut world = host.world();
                world.releases.push(id(release));
                world.app.release.id = id(release);
                world.app.fingerprint.trial = release.to_owned();
                world.flaw = flaw;
            }
            let report = next_pass(&host).await;
            let world = host.world();
            assert_eq!(world.link, Link::Release { id: id(in_force) }, "{release}: {report:#?}");
            assert!(world.releases.contains(&id("r3")) || release == "r5", "{release}: {:?}", world.releases);
            assert_eq!(world.violations, [""; 0], "{release}");
        }
    });
}
