//! Roots that do not answer, and memories that cannot be read: whose trouble that is, and that nothing is acted upon.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::faults::Call;
use super::host::SimHost;
use super::populate::settled;
use super::schedules::{pass, request};
use crate::decide::testing::{app, builtin, group, id, record};
use crate::engine::batch::reconcile_each;
use crate::engine::events::Silent;
use crate::engine::operate::{TakeBack, resume, rollback, suspend};
use crate::model::app::App;
use crate::model::names::{AppName, Root};
use crate::model::observed::Link;
use crate::model::report::{Mode, Outcome};
use crate::observe::view;
use crate::ports::HostErrorKind;

/// In simulated time: whoever waits this long waits for ever.
const LONG: Duration = Duration::from_hours(1);

fn wish() -> App {
    app("r2", vec![group("g0", 2, builtin())])
}

/// A host on which r2 is wanted and runs, and somebody has moved `current`.
fn drifted() -> SimHost {
    let mut world = settled(wish(), vec![record("r1", 50), record("r2", 10)]);
    (world.link, world.link_changed) = (Link::Release { id: id("r1") }, Some(world.now));
    SimHost::new(world)
}

#[tokio::test(start_paused = true)]
async fn a_suspended_app_is_left_alone_also_where_nobody_can_read_that_it_is() {
    let host = drifted();
    let suspended = Some("somebody works on it".to_owned());
    host.world().memory.suspended.clone_from(&suspended);
    for (refused, expected) in [(vec![], Outcome::Withheld), (vec![Call::Recall], Outcome::Failed)] {
        host.world().refused = BTreeSet::from_iter(refused);
        for mode in [Mode::DryRun, Mode::Apply] {
            let report = pass(&host, mode).await.unwrap();
            assert!(mode == Mode::DryRun || report.outcome == expected, "{report:#?}");
            let changes = host.world().changes;
            assert!(report.tried.is_empty() && changes == 0, "{report:#?}");
        }
    }
    // Whoever changes a part of what is remembered must know the rest.
    let (wish, request) = (wish(), request(Mode::Apply));
    let back = TakeBack { to: None, reason: "by hand".to_owned() };
    assert!(Box::pin(rollback(&host, &wish, &back, &request, &Silent)).await.is_err());
    assert!(suspend(&host, &wish, Some("again"), "anna", Duration::ZERO).await.is_err());
    assert!(resume(&host, &wish, Duration::ZERO).await.is_err());
    {
        let mut world = host.world();
        assert_eq!((world.changes, &world.memory.suspended), (0, &suspended));
        world.refused.clear();
    }
    assert_eq!(resume(&host, &wish, Duration::ZERO).await.unwrap().before, suspended);
    assert_eq!(pass(&host, Mode::Apply).await.unwrap().outcome, Outcome::Converged);
    let world = host.world();
    assert_eq!((&world.link, &world.violations), (&Link::Release { id: id("r2") }, &Vec::<String>::new()));
}

#[tokio::test(start_paused = true)]
async fn a_memory_that_does_not_answer_is_not_waited_for_for_ever() {
    let host = drifted();
    host.world().memory.suspended = Some("somebody works on it".to_owned());
    host.world().lasts = BTreeMap::from([(Call::Recall, 2 * LONG)]);
    let wish = wish();
    let apps = [&wish];
    let seen = timeout(LONG, view(&host, &apps)).await.expect("a look ends").remove(0);
    let error = seen.expect_err("what nobody knows is not told");
    assert_eq!(error.kind, HostErrorKind::Unreachable, "{error}");
    assert!(error.message.contains("/srv/app") && error.help.is_some(), "{error}");
    let report = timeout(LONG, pass(&host, Mode::Apply)).await.expect("a pass ends").unwrap();
    let changes = host.world().changes;
    assert_eq!((report.outcome, changes), (Outcome::Failed, 0), "{report:#?}");
}

#[tokio::test(start_paused = true)]
async fn a_root_that_does_not_answer_holds_up_no_other_app() {
    let (wish, host) = (wish(), drifted());
    let name = AppName::new("dead").unwrap();
    let dead = App { name, root: Root::new("/srv/dead").unwrap(), ..wish.clone() };
    host.world().silent.insert(dead.root.clone());
    let request = request(Mode::Apply);
    let (began, ended) = (Instant::now(), Mutex::new(Vec::new()));
    let apps = [(&dead, request.clone()), (&wish, request.clone())];
    let both = reconcile_each(&host, &apps, None, &Silent, |report| {
        if report.app == wish.name {
            // Nobody waits for the other one any more.
            request.interrupt.ask();
        }
        ended.lock().unwrap().push((report.app, report.outcome));
    });
    timeout(LONG, both).await.expect("one App waits for the other one's root");
    let expected = [(wish.name.clone(), Outcome::Converged), (dead.name.clone(), Outcome::Interrupted)];
    assert_eq!(*ended.lock().unwrap(), expected);
    assert!(began.elapsed() < Duration::from_mins(1), "{:?}", began.elapsed());
    assert_eq!(host.world().violations, Vec::<String>::new());
}
