//! What wakes an App, and what wakes nobody.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::agent::orders::Order;
use crate::agent::senses::HostNews;
use crate::agent::testing::{SECOND, Stage, afternoon, contract, play, seldom, shop, wanted};
use crate::decide::testing::id;
use crate::model::app::RestartOn;
use crate::model::health::HealthContract;
use crate::model::names::{RelativePath, ReleaseId};
use crate::model::observed::Link;
use crate::model::report::Outcome;
use crate::sim::faults::Call;

#[tokio::test(start_paused = true)]
async fn everything_that_happens_leads_to_a_pass_that_says_why() {
    play(wanted("r2"), async |stage| {
        let idle = |what: &'static str, passes: u64| {
            let stage = stage.clone();
            async move { stage.until(what, |stage| stage.passes() >= passes && stage.is_idle()).await }
        };
        assert_eq!((stage.outcome(), stage.workers.lock().unwrap().len()), (Some(Outcome::Converged), 2));

        let mut before = stage.passes();
        stage.kill();
        idle("a worker's death", before + 1).await;
        assert_eq!(stage.workers.lock().unwrap().len(), 2, "it has a successor");

        before = stage.passes();
        stage.move_link("r1");
        idle("a moved link", before + 1).await;
        assert_eq!(stage.link(), Link::Release { id: id("r2") });

        before = stage.passes();
        stage.hold(Ok(vec![wanted("r1")]));
        idle("another manifest", before + 1).await;
        assert_eq!(stage.link(), Link::Release { id: id("r1") });

        before = stage.passes();
        stage.host.world().releases.push(ReleaseId::new("r7").unwrap());
        stage.tell(HostNews::Layout(shop()));
        idle("a release that came", before + 1).await;

        before = stage.passes();
        assert_eq!(stage.request(false).await.apps, [shop()]);
        idle("a request", before + 1).await;

        before = stage.passes();
        stage.orders.send(Order::Reload(Box::default())).await.unwrap();
        idle("SIGHUP", before + 1).await;

        assert!(stage.passes_within(Duration::from_mins(10)).await >= 8, "the timer");
        let triggers = stage.triggers();
        for said in ["died", "current was changed", "manifest"] {
            assert!(triggers.iter().any(|trigger| trigger.contains(said)), "{said}: {triggers:?}");
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_a_pass_does_itself_wakes_nobody() {
    play(wanted("r2"), async |stage| {
        let old = stage.workers.lock().unwrap().clone();
        stage.hold(Ok(vec![wanted("r1")]));
        stage.until("the pass", |stage| stage.link() == Link::Release { id: id("r1") }).await;
        // All that the kernel tells of it, while it goes on and later.
        let tell = || {
            stage.tell(HostNews::Layout(shop()));
            for member in &old {
                stage.tell(HostNews::Death { app: shop(), member: member.clone() });
            }
        };
        tell();
        stage.until("its end", Stage::is_idle).await;
        let passes = stage.passes();
        tell();
        assert_eq!(stage.passes_within(5 * SECOND).await, 0, "{passes} {:?}", stage.triggers());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_file_that_workers_read_wakes_when_its_content_is_another() {
    let mut wish = wanted("r2");
    wish.sync.interval = Duration::from_hours(1);
    let path = RelativePath::new("shared/.env").unwrap();
    wish.workers[0].restart_on.push(RestartOn { path, run: None });
    play(wish, async |stage| {
        tokio::time::sleep(5 * SECOND).await;
        let passes = stage.passes();
        let old = stage.workers.lock().unwrap().clone();
        for _ in 0..100 {
            stage.tell(HostNews::Files(shop()));
        }
        assert_eq!(stage.passes_within(5 * SECOND).await, 0, "touched, and the same");
        for round in 1..=3 {
            {
                let mut world = stage.host.world();
                world.config_version += 1;
                world.config_written = world.now;
            }
            stage.tell(HostNews::Files(shop()));
            stage.until("a pass", |stage| stage.passes() == passes + round && stage.is_idle()).await;
            assert_eq!(stage.outcome(), Some(Outcome::Converged));
        }
        let new = stage.workers.lock().unwrap().clone();
        assert!(new.len() == 2 && new.iter().all(|member| !old.contains(member)), "they read it anew");
        assert!(stage.triggers().iter().any(|trigger| trigger == "shared/.env has changed"), "{:?}", stage.triggers());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn health_that_turns_bad_between_two_passes_wakes_once() {
    let mut wish = wanted("r2");
    wish.sync.interval = Duration::from_hours(1);
    wish.health = Some(HealthContract { watch: Some(Duration::from_secs(30)), ..contract() });
    play(wish, async |stage| {
        assert_eq!(stage.passes_within(Duration::from_mins(5)).await, 0, "all is well");
        stage.host.world().healthy = false;
        stage.until("a pass", |stage| stage.passes() == 2 && stage.is_idle()).await;
        assert_eq!(stage.outcome(), Some(Outcome::Unhealthy));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn health_is_asked_for_again_when_an_answer_comes_during_a_look_at_the_root() {
    let mut wish = seldom("r2");
    wish.health = Some(HealthContract { watch: Some(30 * SECOND), ..contract() });
    play(wish, async |stage| {
        stage.host.world().lasts = BTreeMap::from([(Call::Probe, 2 * SECOND), (Call::Layout, 5 * SECOND)]);
        tokio::time::sleep(Duration::from_millis(30_500)).await;
        // It was asked half a second ago.
        stage.tell(HostNews::Layout(shop()));
        tokio::time::sleep(10 * SECOND).await;
        assert_eq!(stage.passes(), 1);
        {
            let mut world = stage.host.world();
            world.lasts.clear();
            world.healthy = false;
        }
        assert!(stage.passes_within(Duration::from_mins(1)).await >= 1);
        assert_eq!(stage.outcome(), Some(Outcome::Unhealthy));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn outside_its_window_an_app_is_shown_and_put_right_when_one_opens() {
    let mut wish = wanted("r2");
    wish.sync.windows = afternoon();
    play(wish, async |stage| {
        stage.move_link("r1");
        stage.until("it is seen", |stage| stage.outcome() == Some(Outcome::Withheld)).await;
        assert_eq!(stage.link(), Link::Release { id: id("r1") });
        tokio::time::sleep(Duration::from_hours(2)).await;
        stage.until("it is put right", |stage| stage.link() == Link::Release { id: id("r2") }).await;
        let opened = stage.host.world().link_changed.unwrap();
        assert_eq!(opened.strftime("%H").to_string(), "14", "not before it opened");
    })
    .await;
}
