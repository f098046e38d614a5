//! A worker that dies again and again: outsiders see it, whether a pass has just started it or not.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::agent::notify::NotificationQueue;
use crate::agent::orders::Order;
use crate::agent::publisher::Publisher;
use crate::agent::registry::AppRegistry;
use crate::agent::testing::{SECOND, Shelf, Stage, loaded, play_from, wanted};
use crate::decide::standing::{self, Standing};
use crate::decide::testing::record;
use crate::documents::app as documents;
use crate::model::app::App;
use crate::model::status::{AppStatus, ConditionType, Truth};
use crate::model::telling;
use crate::sim::host::SimHost;
use crate::sim::populate::settled;

/// What the web shows of it.
fn status(stage: &Stage) -> AppStatus {
    let view = stage.app().unwrap();
    let made = view.last.unwrap();
    let mut status = documents::status(&made.loaded, &made.report).unwrap();
    standing::add(&mut status, &Standing { schedule: view.schedule.as_ref(), ..Standing::default() });
    status
}

fn is_ready(stage: &Stage) -> bool {
    status(stage).is(ConditionType::Ready)
}

/// Plays with everybody listening: what people are told.
async fn play_aloud<F: Future<Output = ()>>(wish: App, scene: impl FnOnce(Arc<Stage>) -> F) -> Vec<telling::News> {
    let host = SimHost::new(settled(wish.clone(), vec![record("r1", 50), record("r2", 10)]));
    let (queue, mut tellings) = mpsc::channel(64);
    let publisher = Publisher::new(Some(NotificationQueue::into(queue)), None);
    play_from(&host, Shelf::with(vec![loaded(wish)]), AppRegistry::none(), publisher, async |stage| {
        stage.until("the first pass", |stage| stage.passes() == 1 && stage.is_idle()).await;
        scene(stage).await;
    })
    .await;
    std::iter::from_fn(|| tellings.try_recv().ok()).map(|telling| telling.news).collect()
}

/// Lets one worker die, a second after it was started, until its pass waits.
async fn crash_loop(stage: &Stage) {
    for _ in 0..5 {
        tokio::time::sleep(SECOND).await;
        let dead = stage.kill();
        let is_back = |stage: &Stage| {
            let workers = stage.workers.lock().unwrap();
            workers.len() == 2 && !workers.contains(&dead)
        };
        stage.until("a successor", |stage| is_back(stage) && stage.is_idle()).await;
    }
}

#[tokio::test(start_paused = true)]
async fn it_is_seen_as_dead_while_it_waits_and_as_no_success_when_it_runs() {
    let mut wish = wanted("r2");
    wish.sync.interval = Duration::from_hours(10);
    let told = play_aloud(wish, async |stage| {
        assert!(is_ready(&stage));
        crash_loop(&stage).await;
        // It runs, at this moment.
        let now = status(&stage);
        assert_eq!(now.workers[0].numbers.unwrap().fresh, 2);
        for (of, holds) in [(ConditionType::Ready, Truth::False), (ConditionType::Stalled, Truth::True)] {
            let condition = now.condition(of).unwrap();
            assert_eq!(
                (condition.status, condition.reason.to_string().as_str()),
                (holds, "CrashLoop"),
                "{condition:?}"
            );
        }
        // It is dead for a while.
        let passes = stage.passes();
        stage.kill();
        tokio::time::sleep(2 * SECOND).await;
        assert_eq!(stage.passes(), passes, "its pass waits");
        let now = status(&stage);
        assert_eq!(now.workers[0].numbers.unwrap().running, 1);
        let ready = now.condition(ConditionType::Ready).unwrap();
        assert_eq!((ready.status, ready.reason.to_string().as_str()), (Truth::False, "WorkersMissing"), "{ready:?}");
        assert!(ready.message.contains("again and again"), "{ready:?}");

        // News has it started at once, and is no reason to believe that it lives.
        stage.orders.send(Order::Reload(Box::default())).await.unwrap();
        stage.until("a pass", |stage| stage.passes() == passes + 1 && stage.is_idle()).await;
        assert_eq!(status(&stage).workers[0].numbers.unwrap().running, 2);
        assert!(!is_ready(&stage));
        // Long before the timer.
        tokio::time::sleep(20 * SECOND).await;
        assert!(!is_ready(&stage));
        tokio::time::sleep(20 * SECOND).await;
        assert!(is_ready(&stage), "it lives");
        assert_eq!(stage.passes(), passes + 2);
        assert_eq!(stage.passes_within(Duration::from_hours(1)).await, 0, "that is over");
    })
    .await;
    let alarms = |told: &[telling::News]| told.iter().filter(|news| !news.is_aside()).copied().collect::<Vec<_>>();
    assert_eq!(alarms(&told), [telling::News::CrashLoop, telling::News::Recovered], "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn one_death_is_neither_told_nor_forgotten_on_the_board() {
    let mut wish = wanted("r2");
    // Nobody may start it.
    wish.sync.automatic = false;
    let told = play_aloud(wish, async |stage| {
        stage.kill();
        stage.until("it is seen", |stage| !is_ready(stage)).await;
        tokio::time::sleep(5 * SECOND).await;
        assert!(status(&stage).condition(ConditionType::Stalled).unwrap().status == Truth::False);
        stage.request(false).await;
        stage.until("it is started", is_ready).await;
    })
    .await;
    assert!(!told.contains(&telling::News::CrashLoop), "{told:?}");
}
