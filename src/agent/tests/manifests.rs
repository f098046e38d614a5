//! What the source shows: when it is looked at, and when its bad news is believed.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::agent::forge::StatusPoster;
use crate::agent::publisher::Publisher;
use crate::agent::registry::AppRegistry;
use crate::agent::senses::HostNews;
use crate::agent::source::SourceProblemKind;
use crate::agent::testing::{SECOND, Shelf, Stage, contract, loaded, play, play_from, second_listener, seldom, wanted};
use crate::agent::view::AppView;
use crate::decide::testing::{id, record};
use crate::model::health::HealthContract;
use crate::model::observed::Link;
use crate::model::report::Outcome;
use crate::sim::host::SimHost;
use crate::sim::populate::settled;

#[tokio::test(start_paused = true)]
async fn a_thousand_writes_are_one_look_and_no_pass_when_nothing_is_new() {
    play(wanted("r2"), async |stage| {
        let looks = stage.shelf.looks.load(Ordering::SeqCst);
        for _ in 0..1000 {
            stage.tell(HostNews::Manifests);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(stage.passes_within(5 * SECOND).await, 0);
        assert_eq!(stage.shelf.looks.load(Ordering::SeqCst) - looks, 1);

        // Without end: it is looked at all the same.
        for _ in 0..1000 {
            stage.tell(HostNews::Manifests);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(stage.shelf.looks.load(Ordering::SeqCst) - looks >= 3);
    })
    .await;
}

/// Who reads the log has no API at hand.
#[tokio::test(start_paused = true)]
async fn the_log_says_what_to_do_about_what_cannot_be_used() {
    let log = tempfile::NamedTempFile::new().unwrap();
    let _second = second_listener();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(Arc::new(log.reopen().unwrap())).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    play(wanted("r2"), async |stage| {
        let told = || std::fs::read_to_string(log.path()).unwrap();
        let rows = [
            (SourceProblemKind::Wrong, "the manifests cannot be used; what was in force stays"),
            (SourceProblemKind::Untrusted, "the manifests cannot be used; what was in force stays"),
            (SourceProblemKind::Unreachable, "newer manifests cannot be asked for"),
        ];
        for (number, (kind, expected)) in rows.into_iter().enumerate() {
            let problem = format!("trouble {number}");
            stage.holds(Err((kind, problem.clone())));
            stage.tell(HostNews::Manifests);
            stage.until("it is told", |_| told().contains(&problem)).await;
            let told = told();
            let line = told.lines().find(|line| line.contains(&problem)).unwrap();
            assert!(line.contains(expected) && line.contains(&format!("help=\"look into `{problem}`\"")), "{line}");
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn bad_news_is_believed_when_it_lasts() {
    play(wanted("r2"), async |stage| {
        let refused = |stage: &Stage| stage.board.view().refused.map(|problem| problem.message);
        for for_a_moment in [Err("half a file"), Ok(vec![])] {
            stage.hold(for_a_moment);
            tokio::time::sleep(Duration::from_millis(500)).await;
            stage.hold(Ok(vec![wanted("r2")]));
            assert_eq!(stage.passes_within(5 * SECOND).await, 0, "nothing has changed after all");
            assert!(refused(&stage).is_none() && stage.app().is_some_and(|app| !app.orphaned));
        }
        stage.hold(Err("web.yaml:3: no such key"));
        stage.until("the refusal", |stage| refused(stage).is_some()).await;
        stage.kill();
        stage.until("a pass by the last good ones", |stage| stage.passes() == 2 && stage.is_idle()).await;
        assert_eq!(stage.outcome(), Some(Outcome::Converged));

        stage.hold(Ok(vec![wanted("r1")]));
        stage.until("mended ones", |stage| stage.link() == Link::Release { id: id("r1") }).await;
        assert!(refused(&stage).is_none());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_is_gone_while_a_slow_copy_goes_on_is_not_believed_to_be_gone() {
    play(wanted("r2"), async |stage| {
        let wrong = "web.yaml:3: no such key";
        for refused in [false, true] {
            if refused {
                stage.hold(Err(wrong));
                stage.until("the refusal", |stage| stage.board.view().refused.is_some()).await;
            }
            // Its file is removed, others are written for a while, and then it is there again.
            stage.hold(Ok(vec![]));
            for _ in 0..4 {
                tokio::time::sleep(Duration::from_millis(400)).await;
                stage.tell(HostNews::Manifests);
            }
            tokio::time::sleep(Duration::from_millis(400)).await;
            assert!(stage.app().is_some_and(|app| !app.orphaned), "{refused}");
            stage.hold(Ok(vec![wanted("r2")]));
            tokio::time::sleep(5 * SECOND).await;
            assert!(stage.app().is_some_and(|app| !app.orphaned), "{refused}");
            assert_eq!(stage.board.view().refused, None);
        }
        // What was half a file has another line wrong now: both are no more than half-written.
        stage.hold(Err(wrong));
        tokio::time::sleep(Duration::from_millis(900)).await;
        stage.hold(Err("web.yaml:9: no such key"));
        tokio::time::sleep(Duration::from_millis(600)).await;
        assert_eq!(stage.board.view().refused, None);
        stage.until("it lasts", |stage| stage.board.view().refused.is_some()).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_source_that_cannot_be_asked_says_nothing_about_manifests() {
    play(wanted("r2"), async |stage| {
        let away = || stage.holds(Err((SourceProblemKind::Unreachable, "no answer".to_owned())));
        let refused = |stage: &Stage| stage.board.view().refused.map(|problem| problem.message);
        let unreachable = |stage: &Stage| stage.board.view().unreachable.map(|problem| problem.message);
        away();
        stage.until("it is told", |stage| unreachable(stage).as_deref() == Some("no answer")).await;
        assert_eq!(refused(&stage), None);
        stage.hold(Err("web.yaml:3: no such key"));
        stage.until("it answers", |stage| unreachable(stage).is_none()).await;
        stage.until("what is wrong", |stage| refused(stage).is_some()).await;
        away();
        stage.until("away again", |stage| unreachable(stage).is_some()).await;
        assert_eq!(refused(&stage).as_deref(), Some("web.yaml:3: no such key"), "that stays as wrong as it was");
        stage.hold(Ok(vec![wanted("r2")]));
        stage.until("all is well", |stage| refused(stage).is_none() && unreachable(stage).is_none()).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn who_has_nothing_to_look_after_is_ready_as_well() {
    let mut wish = wanted("r2");
    wish.health = Some(HealthContract { attempts: 10, interval: 10 * SECOND, ..contract() });
    let host = SimHost::new(settled(wish.clone(), vec![record("r1", 50), record("r2", 10)]));
    let ready = |stage: &Stage| stage.board.view().ready;
    play_from(&host, Shelf::with(vec![]), AppRegistry::none(), Publisher::default(), async |stage| {
        stage.until("no App at all", ready).await;
    })
    .await;
    host.world().healthy = false;
    play_from(&host, Shelf::with(vec![loaded(wish)]), AppRegistry::none(), Publisher::default(), async |stage| {
        stage.until("a long first pass", |stage| stage.passes() == 1).await;
        assert!(!ready(&stage));
        stage.hold(Ok(vec![]));
        stage.until("the only App is gone", ready).await;
        assert!(stage.app().is_some_and(|app| app.last.is_none()), "its pass goes on");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_app_that_disappears_is_left_running_unless_it_says_otherwise() {
    for prune in [false, true] {
        let mut wish = wanted("r2");
        wish.sync.prune = prune;
        play(wish.clone(), async |stage| {
            if prune {
                stage.host.world().app.workers[0].count = 0;
            }
            stage.hold(Ok(vec![]));
            let orphaned = |app: AppView| app.orphaned && app.leaving == prune;
            stage.until("it is an orphan", |stage| stage.app().is_some_and(orphaned)).await;
            if prune {
                // Then there is nothing more to be said of it.
                stage.until("it has left", |stage| stage.running() == 0 && stage.app().is_none()).await;
            } else {
                tokio::time::sleep(SECOND).await;
                assert_eq!(stage.running(), 2, "it is left as it is");
            }
            assert_eq!(stage.passes_within(Duration::from_mins(5)).await, 0, "it is nobody's business any more");
            assert_eq!(stage.link(), Link::Release { id: id("r2") }, "nothing else has changed");

            let known = |stage: &Stage| stage.app().is_some_and(|app| !app.orphaned && !app.leaving);
            stage.hold(Ok(vec![wish]));
            stage.until("it comes back", |stage| known(stage) && stage.running() == 2 && stage.is_idle()).await;
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_pass_over_an_app_that_disappears_meanwhile_does_not_run_for_ever() {
    for prune in [false, true] {
        let mut wish = wanted("r2");
        wish.health = Some(HealthContract { attempts: 10, interval: 10 * SECOND, ..contract() });
        wish.sync.prune = prune;
        play(wish, async |stage| {
            stage.host.world().healthy = false;
            stage.request(false).await;
            let runs = |stage: &Stage| stage.app().is_some_and(|app| app.running.is_some());
            stage.until("a long pass", runs).await;
            stage.hold(Ok(vec![]));
            stage.until("it is an orphan", |stage| stage.app().is_some_and(|app| app.orphaned)).await;
            assert!(runs(&stage), "the pass goes on to its end");
            if prune {
                // That it ends well does not mean that it has stopped any worker.
                {
                    let mut world = stage.host.world();
                    (world.healthy, world.app.workers[0].count) = (true, 0);
                }
                stage.until("it has left", |stage| stage.app().is_none()).await;
                assert_eq!(stage.running(), 0);
            } else {
                stage.until("its end", |stage| !runs(stage)).await;
            }
        })
        .await;
    }
}

/// However long it is to its timer.
#[tokio::test(start_paused = true)]
async fn a_commit_that_leaves_an_app_as_it_was_is_judged_all_the_same() {
    for well in [true, false] {
        let (queue, mut posted) = mpsc::channel(64);
        let mut wish = seldom("r2");
        // Nobody may act on what somebody changes.
        wish.sync.automatic = well;
        let host = SimHost::new(settled(wish.clone(), vec![record("r1", 50), record("r2", 10)]));
        let shelf = Shelf::with(vec![loaded(wish)]);
        *shelf.commit.lock().unwrap() = Some("c1");
        let publisher = Publisher::new(None, Some(StatusPoster::into(queue)));
        let mut said = move || {
            let all = std::iter::from_fn(|| posted.try_recv().ok()).filter(|one| one.app.is_some());
            all.map(|one| format!("{} {:?}", one.commit, one.state)).collect::<Vec<_>>()
        };
        play_from(&host, shelf, AppRegistry::none(), publisher, async |stage| {
            stage.until("the first pass", |stage| stage.passes() == 1 && stage.is_idle()).await;
            assert_eq!(said(), ["c1 Pending", "c1 Success"]);
            if !well {
                stage.move_link("r1");
                stage.until("it is seen", |stage| stage.is_idle() && stage.outcome() == Some(Outcome::Withheld)).await;
            }
            let passes = stage.passes();
            *stage.shelf.commit.lock().unwrap() = Some("c2");
            stage.tell(HostNews::Manifests);
            tokio::time::sleep(5 * SECOND).await;
            let (expected, looks): (&[&str], u64) =
                if well { (&["c2 Success"], 0) } else { (&["c2 Pending", "c2 Pending"], 1) };
            assert_eq!(
                (said(), stage.passes() - passes),
                (expected.iter().map(ToString::to_string).collect(), looks),
                "{well}"
            );
        })
        .await;
    }
}
