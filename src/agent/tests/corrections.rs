//! What is put right again, how often, and what is left to others who work on the host.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::agent::notify::NotificationQueue;
use crate::agent::publisher::Publisher;
use crate::agent::registry::AppRegistry;
use crate::agent::senses;
use crate::agent::testing::{SECOND, Shelf, Stage, loaded, play, play_from, play_on, seldom, shop, wanted};
use crate::agent::tracked::TrackedApp;
use crate::decide::schedule::Ended;
use crate::decide::testing::{id, noon, record};
use crate::model::names::AppName;
use crate::model::observed::Link;
use crate::model::report::Outcome;
use crate::model::telling::{News, Telling};
use crate::model::wake::Wake;
use crate::sim::host::SimHost;
use crate::sim::populate::settled;

#[tokio::test(start_paused = true)]
async fn who_works_against_it_is_not_helped_by_a_restart() {
    let mut wish = wanted("r2");
    wish.fingerprint.wish = "web".to_owned();
    (wish.sync.max_corrections, wish.sync.interval) = (4, Duration::from_secs(10));
    let host = SimHost::new(settled(wish.clone(), vec![record("r1", 50), record("r2", 10)]));
    let right = |stage: &Stage| stage.link() == Link::Release { id: id("r2") } && stage.is_idle();
    // Whether the agent restarts in between or not: four times, and no fifth.
    for corrections in [1, 1, 2] {
        play_on(&host, wish.clone(), async |stage| {
            for _ in 0..corrections {
                stage.move_link("r1");
                stage.until("it is put right", right).await;
            }
        })
        .await;
    }
    for _ in 0..2 {
        let moved = |link: &str| {
            let mut world = host.world();
            (world.link, world.link_changed) = (Link::Release { id: id(link) }, Some(world.now));
        };
        moved("r1");
        play_on(&host, wish.clone(), async |stage| {
            tokio::time::sleep(Duration::from_mins(5)).await;
            let state = stage.app().unwrap().schedule.unwrap();
            assert!(state.stalled && state.corrections == 4, "{state:?}");
            assert_eq!(stage.link(), Link::Release { id: id("r1") }, "a person is called");
        })
        .await;
    }
    play_on(&host, wish.clone(), async |stage| {
        stage.request(false).await;
        stage.until("a person's word", right).await;
    })
    .await;
    play_on(&host, wish.clone(), async |stage| {
        assert!(!stage.app().unwrap().schedule.unwrap().stalled, "it counts anew from there");
        stage.move_link("r1");
        stage.until("it is put right", right).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn workers_that_end_by_themselves_are_started_again_however_often() {
    // How long each lives, how long its successor may be waited for, and whether something has to slow them down.
    let rows = [(Duration::from_secs(90), 5 * SECOND, false), (SECOND, Duration::from_secs(65), true)];
    for (lives, longest, is_slowed) in rows {
        let mut wish = wanted("r2");
        wish.sync.max_corrections = 3;
        play(wish, async |stage| {
            let mut away = Vec::new();
            for _ in 0..12 {
                tokio::time::sleep(lives).await;
                let (dead, died) = (stage.kill(), tokio::time::Instant::now());
                let is_back = |stage: &Stage| {
                    let workers = stage.workers.lock().unwrap();
                    workers.len() == 2 && !workers.contains(&dead)
                };
                stage.until("a successor", |stage| is_back(stage) && stage.is_idle()).await;
                away.push(died.elapsed());
            }
            assert!(away.iter().all(|away| *away <= longest), "{lives:?}: {away:?}");
            assert_eq!(away.iter().sum::<Duration>() > Duration::from_mins(2), is_slowed, "{lives:?}: {away:?}");
            let counted = |stage: &Stage| {
                let state = stage.app().unwrap().schedule.unwrap();
                (state.corrections, stage.host.world().memory.corrections.len(), state.stalled)
            };
            assert_eq!(counted(&stage), (0, 0, false), "{lives:?}");

            // What somebody must have done is counted, whatever else the pass does.
            let right = |stage: &Stage| stage.link() == Link::Release { id: id("r2") } && stage.is_idle();
            stage.kill();
            stage.move_link("r1");
            stage.until("it is put right", |stage| right(stage) && stage.workers.lock().unwrap().len() == 2).await;
            assert_eq!(counted(&stage), (1, 1, false), "{lives:?}");
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_link_that_is_made_anew_is_not_interfered_with() {
    play(wanted("r2"), async |stage| {
        stage.host.world().link = Link::Absent;
        stage.tell(senses::HostNews::Layout(shop()));
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(stage.link(), Link::Absent, "whoever removed it is about to make it anew");
        stage.move_link("r1");
        stage.until("it is put right", |stage| stage.link() == Link::Release { id: id("r2") }).await;
        stage.host.world().link = Link::Absent;
        stage.tell(senses::HostNews::Layout(shop()));
        stage.until("nobody made it", |stage| stage.link() == Link::Release { id: id("r2") }).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_pass_of_somebody_else_is_waited_for_and_is_no_failure() {
    play(seldom("r2"), async |stage| {
        // A person's long build.
        stage.host.world().lock_holders += 1;
        stage.hold(Ok(vec![seldom("r1")]));
        tokio::time::sleep(Duration::from_mins(5)).await;
        let app = stage.app().unwrap();
        let (last, schedule) = (&app.last.unwrap().report, app.schedule.unwrap());
        assert_eq!(app.waiting.as_deref(), Some("waiting for somebody else's pass: held by another"));
        assert_eq!((app.running.is_some(), schedule.running, schedule.next, schedule.failures), (true, true, None, 0));
        // What was seen stays, held against what is wanted now.
        assert_eq!((last.outcome, last.release.as_str()), (Outcome::Converged, "r1"));
        assert!(last.after.is_some() && !last.remaining.drift.is_empty(), "{last:?}");
        assert_eq!(stage.workers.lock().unwrap().len(), 2, "their deaths are still heard");
        stage.host.world().lock_holders -= 1;
        let so = |stage: &Stage| stage.link() == Link::Release { id: id("r1") } && stage.is_idle();
        stage.until("it goes on", so).await;
        assert_eq!((stage.outcome(), stage.link()), (Some(Outcome::Converged), Link::Release { id: id("r1") }));
        assert_eq!(stage.app().unwrap().waiting, None);
        assert_eq!(stage.triggers().last().map(String::as_str), Some("manifest, timer"));
    })
    .await;
}

/// What the manifest asks for is no drift, and what the counter does not know nobody is told.
#[tokio::test(start_paused = true)]
async fn people_are_told_of_what_was_put_right_and_of_nothing_else() {
    let (queue, mut tellings) = mpsc::channel::<Telling>(64);
    let mut told = move || std::iter::from_fn(|| tellings.try_recv().ok()).map(|one| one.news).collect::<Vec<_>>();
    let wish = seldom("r2");
    let host = SimHost::new(settled(wish.clone(), vec![record("r1", 50), record("r2", 10)]));
    let publisher = Publisher::new(Some(NotificationQueue::into(queue)), None);
    play_from(&host, Shelf::with(vec![loaded(wish.clone())]), AppRegistry::none(), publisher, async |stage| {
        stage.until("the first pass", |stage| stage.passes() == 1 && stage.is_idle()).await;
        let mut more = wish.clone();
        more.workers[0].count = 3;
        stage.hold(Ok(vec![more]));
        stage.until("one worker more", |stage| stage.running() == 3 && stage.is_idle()).await;
        stage.kill();
        stage.until("one worker anew", |stage| stage.running() == 3 && stage.passes() == 3 && stage.is_idle()).await;
        assert_eq!(told(), []);
        stage.move_link("r1");
        let right = |stage: &Stage| stage.link() == Link::Release { id: id("r2") } && stage.is_idle();
        stage.until("it is put right", right).await;
        assert_eq!(told(), [News::DriftCorrected]);
    })
    .await;
}

#[test]
fn many_hosts_do_not_come_back_in_step() {
    let again = |host: u64, name: &str| {
        let mut app = wanted("r2");
        app.name = AppName::new(name).unwrap();
        let mut schedule = TrackedApp::new(loaded(app), host).schedule;
        schedule.wake(Wake::Started, noon());
        schedule.begin(noon());
        schedule.end(&Ended { outcome: Outcome::Failed, corrections: 0, drift: true }, noon());
        schedule.due().unwrap()
    };
    let pauses: BTreeSet<_> = (0..50).map(|host| again(host, "web")).collect();
    assert!(pauses.len() > 40, "{pauses:?}");
    assert_ne!(again(1, "web"), again(1, "blog"));
    assert_eq!(again(1, "web"), again(1, "web"), "the same host keeps to its own");
}
