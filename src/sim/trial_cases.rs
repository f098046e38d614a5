//! Trials in which something cannot be put right, or not be seen: a sick release is taken back all the same, a good one
//! is not, and what nobody can judge is neither proven nor held against it.

use std::time::Duration;

use super::host::SimHost;
use super::populate::{healthy_answer, settled, step};
use super::schedules::{pass, pass_by, request};
use super::world::{Flaw, World};
use crate::decide::testing::{app, builtin, group, id, record};
use crate::model::app::RestartOn;
use crate::model::health::HealthContract;
use crate::model::names::{GroupName, RelativePath};
use crate::model::observed::{Link, MemberState};
use crate::model::record::ReleaseRecord;
use crate::model::release::Source;
use crate::model::report::{Mode, Outcome};
use crate::model::service::{OnRelease, Service, ServiceManager};
use crate::ports::HostErrorKind;

/// Two workers on r1, which is in force and good; r2 is there and wanted.
fn about_to_switch() -> World {
    let mut world = settled(app("r1", vec![group("default", 2, builtin())]), vec![record("r1", 50)]);
    world.releases.push(id("r2"));
    world.app.release.id = id("r2");
    world.app.health = Some(healthy_answer());
    world
}

/// The command of one worker enters r1 itself.
fn pinned(world: &mut World) {
    world.members[0].pinned = Some(id("r1"));
}

/// The manager does not know the state of one worker.
fn unknown(world: &mut World) {
    world.members[0].state = MemberState::Unknown;
}

/// A file of `restartOn` that trueup may not read.
fn unreadable_file(world: &mut World) {
    world.app.workers[0].restart_on = vec![RestartOn { path: RelativePath::new("shared/.env").unwrap(), run: None }];
    world.config_unreadable = Some("not permitted".to_owned());
}

/// systemd goes away with the switch, and stays away.
fn unseen_service(world: &mut World) {
    let name = GroupName::new("web").unwrap();
    world.app.services = vec![Service {
        name: name.clone(),
        manager: ServiceManager::Systemd { unit: "web.service".to_owned() },
        on_release: OnRelease::Reload,
        timeout: Duration::from_secs(30),
        restart_on: Vec::new(),
    }];
    world.away_after_switch = Some((name, HostErrorKind::Unreachable));
}

fn nothing(_: &mut World) {}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// r2 is in force and proven.
    Proven,
    /// r2 is in force, and nobody has said that it is good.
    Unproven,
    /// r2 is kept out, and r1 in force.
    Back,
}

#[test]
fn what_cannot_be_put_right_neither_saves_a_sick_release_nor_fells_a_good_one() {
    type Row = (&'static str, fn(&mut World), [(End, Outcome); 2]);
    use End::{Back, Proven, Unproven};
    // How a good release ends, and how a sick one.
    let rows: [Row; 5] = [
        ("nothing", nothing, [(Proven, Outcome::Converged), (Back, Outcome::RolledBack)]),
        ("a worker enters r1 itself", pinned, [(Back, Outcome::RolledBack), (Back, Outcome::RolledBack)]),
        ("a worker of which nobody knows", unknown, [(Unproven, Outcome::Failed), (Back, Outcome::Failed)]),
        ("a file", unreadable_file, [(Proven, Outcome::Failed), (Back, Outcome::Failed)]),
        ("a service", unseen_service, [(Unproven, Outcome::Failed), (Back, Outcome::RolledBack)]),
    ];
    for (name, cannot, ends) in rows {
        for (flaw, (expected, outcome)) in [None, Some(Flaw::Unhealthy)].into_iter().zip(ends) {
            let name = format!("{name}, {flaw:?}");
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
            runtime.block_on(async {
                let mut world = about_to_switch();
                cannot(&mut world);
                world.flaw = flaw;
                let host = SimHost::new(world);
                let report = pass(&host, Mode::Apply).await.unwrap();
                assert_eq!(report.outcome, outcome, "{name}: {report:#?}");
                let end = |world: &World| {
                    let record = world.records.get(&id("r2"));
                    let kept_out = record.is_some_and(|record| record.kept_out().is_some());
                    match (&world.link, record.and_then(|record| record.proven)) {
                        (Link::Release { id: at }, Some(_)) if *at == id("r2") => Some(End::Proven),
                        (Link::Release { id: at }, None) if *at == id("r2") && !kept_out => Some(End::Unproven),
                        (Link::Release { id: at }, _) if *at == id("r1") && kept_out => Some(End::Back),
                        _ => None,
                    }
                };
                assert_eq!(end(&host.world()), Some(expected), "{name}: {report:#?}");
                // Nothing of it is repeated for ever.
                tokio::time::sleep(Duration::from_mins(1)).await;
                let again = pass(&host, Mode::Apply).await.unwrap();
                assert!(again.tried.is_empty(), "{name}: {:#?}", again.tried);
                assert_eq!(end(&host.world()), Some(expected), "{name}: {again:#?}");
                assert_eq!(host.world().violations, [""; 0], "{name}");
            });
        }
    }
}

/// What was switched to, and is made anew since: somebody else's link to it puts nobody's deployment to the test.
#[test]
fn a_release_that_is_made_anew_was_not_switched_to() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let mut world = about_to_switch();
        let before = ReleaseRecord { proven: None, recipe: Some("before".to_owned()), ..record("r2", 20) };
        assert!(before.switched.is_some());
        world.records.insert(id("r2"), before);
        world.app.release.source = Some(Source::Dir { path: "/srv/build/r2".into() });
        world.app.fingerprint.recipe = "now".to_owned();
        world.flaw = Some(Flaw::Source);
        let host = SimHost::new(world);
        let report = pass(&host, Mode::Apply).await.unwrap();
        let world = host.world();
        let record = world.records.get(&id("r2")).unwrap();
        assert_eq!((record.recipe.as_deref(), record.switched), (Some("now"), None), "{record:?}\n{report:#?}");
    });
}

/// It would have passed its gate at the first healthy answer, but for what nobody can tell.
#[test]
fn a_release_that_is_well_now_and_then_is_not_taken_back_for_what_nobody_can_tell() {
    const ASKED: usize = 12;
    type Unclear = fn(&mut World);
    let unclear: [(&str, Unclear); 2] = [("a worker of which nobody knows", unknown), ("a service", unseen_service)];
    let pairs = (0..ASKED).flat_map(|first| (first..ASKED).map(move |second| [first, second]));
    for (sick, (name, cannot)) in pairs.flat_map(|sick| unclear.map(|unclear| (sick, unclear))) {
        let name = format!("{name}, sick at {sick:?}");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let mut world = about_to_switch();
            world.app.health = Some(HealthContract { attempts: 4, ..healthy_answer() });
            cannot(&mut world);
            world.moods = (0..ASKED).map(|number| !sick.contains(&number)).collect();
            let host = SimHost::new(world);
            let report = pass(&host, Mode::Apply).await.unwrap();
            assert_eq!(report.outcome, Outcome::Failed, "{name}: {report:#?}");
            {
                let mut world = host.world();
                assert_eq!(world.link, Link::Release { id: id("r2") }, "{name}: {report:#?}");
                let record = &world.records[&id("r2")];
                assert!(record.kept_out().is_none() && record.proven.is_none(), "{name}: {report:#?}");
                // Sick for good, it goes.
                world.flaw = Some(Flaw::Unhealthy);
                world.moods.clear();
            }
            tokio::time::sleep(Duration::from_mins(1)).await;
            pass(&host, Mode::Apply).await.unwrap();
            assert_eq!(host.world().link, Link::Release { id: id("r1") }, "{name}");
            assert_eq!(host.world().violations, [""; 0], "{name}");
        });
    }
}

/// A logout tells one process after the other: the step may be gone before whoever makes the pass is told.
#[test]
fn a_step_that_ends_just_before_the_wish_to_end_is_heard_does_not_speak_against_the_release() {
    for (after, judged) in
        [(Duration::ZERO, false), (Duration::from_millis(700), false), (Duration::from_secs(3), true)]
    {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let mut world = about_to_switch();
            world.releases.retain(|release| *release != id("r2"));
            world.app.release.source = Some(Source::Dir { path: "/srv/build/r2".into() });
            world.app.release.build = vec![step("make")];
            world.flaw = Some(Flaw::Build);
            let host = SimHost::new(world);
            let request = request(Mode::Apply);
            let told = async {
                while !host.world().half.contains(&id("r2")) {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                tokio::time::sleep(after).await;
                request.interrupt.ask();
            };
            let (report, ()) = tokio::join!(pass_by(&host, &request), told);
            let world = host.world();
            let kept_out = world.records[&id("r2")].kept_out().is_some();
            assert_eq!(kept_out, judged, "{after:?}: {:#?}", report.unwrap());
        });
    }
}
