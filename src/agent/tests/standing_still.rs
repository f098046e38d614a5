//! An App that is left alone because somebody works against it.

use std::time::Duration;

use crate::agent::testing::{Stage, play, wanted};
use crate::decide::testing::id;
use crate::model::observed::Link;
use crate::model::report::Outcome;

#[tokio::test(start_paused = true)]
async fn workers_that_end_are_started_though_nothing_else_is_done() {
    let mut wish = wanted("r2");
    (wish.sync.max_corrections, wish.sync.interval) = (2, Duration::from_hours(10));
    play(wish, async |stage| {
        for _ in 0..2 {
            stage.move_link("r1");
            let right = |stage: &Stage| stage.link() == Link::Release { id: id("r2") } && stage.is_idle();
            stage.until("it is put right", right).await;
        }
        let state = |stage: &Stage| stage.app().unwrap().schedule.unwrap();
        assert!(state(&stage).stalled);
        stage.move_link("r1");
        stage.until("a look", |stage| stage.is_idle() && stage.outcome() == Some(Outcome::Withheld)).await;
        for _ in 0..3 {
            let dead = stage.kill();
            let is_back = |stage: &Stage| {
                let workers = stage.workers.lock().unwrap();
                stage.is_idle() && workers.len() == 2 && !workers.contains(&dead)
            };
            let died = tokio::time::Instant::now();
            stage.until("a successor", is_back).await;
            assert!(died.elapsed() < Duration::from_mins(1), "{:?}", died.elapsed());
            tokio::time::sleep(Duration::from_mins(2)).await;
        }
        assert_eq!(stage.link(), Link::Release { id: id("r1") }, "nothing else is done");
        assert_eq!((stage.outcome(), state(&stage).stalled), (Some(Outcome::Withheld), true));
        assert_eq!((state(&stage).corrections, stage.host.world().memory.corrections.len()), (2, 2));

        // Where `current` leads nowhere there is nothing to start, and it is no failure that nothing is.
        stage.host.world().link = Link::Absent;
        stage.kill();
        tokio::time::sleep(Duration::from_mins(2)).await;
        let failures = state(&stage).failures;
        assert_eq!((stage.outcome(), stage.workers.lock().unwrap().len(), failures), (Some(Outcome::Withheld), 1, 0));
    })
    .await;
}
