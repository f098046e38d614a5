//! What is counted of the loop's own doings, as `/metrics` shows it.

use std::time::Duration;

use prometheus_client::encoding::text::encode_registry;

use crate::agent::orders::Operation;
use crate::agent::testing::{Stage, afternoon, contract, play, wanted};

/// Reasons for passes by their kind.
fn reasons(stage: &Stage) -> std::collections::BTreeMap<String, u64> {
    let mut text = String::new();
    encode_registry(&mut text, stage.board.counters().registry()).unwrap();
    let of_app = text.lines().filter_map(|line| line.strip_prefix("trueup_wakes_total{app=\"web\",cause=\""));
    of_app
        .map(|line| {
            let (kind, count) = line.split_once("\"} ").unwrap();
            (kind.to_owned(), count.parse().unwrap())
        })
        .collect()
}

#[tokio::test(start_paused = true)]
async fn every_reason_for_a_pass_is_counted_whoever_gave_it() {
    let mut wish = wanted("r2");
    (wish.health, wish.sync.windows) = (Some(contract()), afternoon());
    play(wish, async |stage| {
        let counts = |kind: &str| reasons(&stage).get(kind).copied().unwrap_or_default();
        assert_eq!(reasons(&stage).into_iter().collect::<Vec<_>>(), [("started".to_owned(), 1)]);
        stage.until("a timer", |_| counts("timer") == 1).await;
        stage.host.world().healthy = false;
        stage.until("another try", |_| counts("backoff") == 1).await;
        stage.host.world().healthy = true;
        tokio::time::sleep(Duration::from_hours(2)).await;
        assert_eq!(counts("window"), 1);
        let (requests, passes) = (counts("request"), stage.passes());
        let what = Operation::Rollback { to: None, reason: None, by: "anna".to_owned() };
        stage.operate(what).await.await.unwrap().unwrap();
        assert_eq!((counts("request"), stage.passes()), (requests + 1, passes + 1), "a pass that a person makes");
        stage.until("its end", Stage::is_idle).await;
        let (all, passes) = (reasons(&stage).values().sum::<u64>(), stage.passes());
        assert!(all >= passes, "{all} reasons for {passes} passes");
    })
    .await;
}

/// Names come and go for as long as the agent runs.
#[tokio::test(start_paused = true)]
async fn what_an_app_has_left_behind_in_the_counters_goes_with_it() {
    let mut wish = wanted("r2");
    wish.sync.prune = true;
    play(wish, async |stage| {
        assert!(!reasons(&stage).is_empty());
        stage.host.world().app.workers[0].count = 0;
        stage.hold(Ok(Vec::new()));
        stage.until("it has left", |stage| stage.app().is_none() && stage.running() == 0).await;
        let mut text = String::new();
        encode_registry(&mut text, stage.board.counters().registry()).unwrap();
        assert!(!text.contains("app=\"web\""), "{text}");
    })
    .await;
}
