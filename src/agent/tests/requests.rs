//! What people and forges ask for, and what becomes of it while something else goes on.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::agent::orders::{Asked, Operated, Operation, Order, Woken};
use crate::agent::senses::HostNews;
use crate::agent::testing::{SECOND, Stage, afternoon, contract, play, seldom, shop, wanted};
use crate::decide::testing::id;
use crate::model::app::CommandLine;
use crate::model::health::HealthContract;
use crate::model::names::{AppName, ReleaseId};
use crate::model::observed::Link;
use crate::model::release::CommandStep;
use crate::model::report::Outcome;
use crate::model::wake::Wake;
use crate::sim::faults::Call;

const LATE: Duration = Duration::from_mins(10);

impl Stage {
    /// How a pass ended that was asked for so; sooner than any timer.
    async fn answer(&self, woken: &Woken) -> (ReleaseId, Outcome) {
        let made = tokio::time::timeout(LATE, self.board.requested(&shop(), woken.mark)).await;
        let made = made.unwrap_or_else(|_| panic!("nobody answers: {:?}", self.app())).unwrap();
        (made.report.release.clone(), made.report.outcome)
    }
}

#[tokio::test(start_paused = true)]
async fn what_people_ask_for_takes_its_turn() {
    play(wanted("r2"), async |stage| {
        let ask = async |what: Operation| stage.operate(what).await.await.unwrap();
        let by = || "anna".to_owned();
        let back = ask(Operation::Rollback { to: None, reason: Some("slow".to_owned()), by: by() }).await.unwrap();
        assert!(matches!(&back, Operated::Passed(report) if report.outcome == Outcome::RolledBack), "{back:?}");
        assert_eq!(stage.link(), Link::Release { id: id("r1") });
        let again = ask(Operation::Retry { ignore_windows: false, by: by() }).await.unwrap();
        assert!(matches!(&again, Operated::Passed(report) if report.outcome == Outcome::Converged), "{again:?}");
        assert!(matches!(ask(Operation::Retry { ignore_windows: false, by: by() }).await, Ok(Operated::NotKeptOut)));

        let left = ask(Operation::Suspend { reason: Some("a fair".to_owned()), by: by() }).await.unwrap();
        assert!(matches!(&left, Operated::Suspension { before: None, now: Some(why) } if why.contains("a fair")));
        stage.move_link("r1");
        stage.until("it is seen", |stage| stage.is_idle() && stage.outcome() == Some(Outcome::Withheld)).await;
        assert_eq!(stage.link(), Link::Release { id: id("r1") });
        let resumed = ask(Operation::Resume { by: by() }).await.unwrap();
        assert!(matches!(resumed, Operated::Suspension { before: Some(_), now: None }));
        stage.until("it is acted on", |stage| stage.link() == Link::Release { id: id("r2") }).await;

        let (reply, answer) = oneshot::channel();
        let nobody = AppName::new("nobody").unwrap();
        stage
            .orders
            .send(Order::Operate { app: nobody, what: Operation::Retry { ignore_windows: false, by: by() }, reply })
            .await
            .unwrap();
        assert_eq!(answer.await.unwrap().unwrap_err().message, "the agent knows no App `nobody`");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_manifest_that_comes_while_a_person_is_served_is_not_forgotten() {
    let mut wish = wanted("r2");
    wish.sync.interval = Duration::from_hours(10);
    wish.health = Some(HealthContract { attempts: 10, ..contract() });
    play(wish.clone(), async move |stage| {
        stage.host.world().healthy = false;
        let what = Operation::Rollback { to: None, reason: None, by: "anna".to_owned() };
        let answer = stage.operate(what).await;
        stage.until("it begins", |stage| stage.link() == Link::Release { id: id("r1") }).await;
        wish.workers[0].count = 3;
        stage.hold(Ok(vec![wish]));
        tokio::time::sleep(SECOND).await;
        assert!(!stage.is_idle(), "health is still asked for");
        answer.await.unwrap().unwrap();
        // Sooner than any timer.
        stage.until("what the manifest asks for", |stage| stage.workers.lock().unwrap().len() == 3).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_request_while_a_person_is_served_has_a_pass_of_its_own() {
    let mut wish = seldom("r2");
    wish.health = Some(HealthContract { attempts: 10, ..contract() });
    for hangup in [false, true] {
        play(wish.clone(), async |stage| {
            stage.host.world().healthy = false;
            let what = Operation::Rollback { to: None, reason: None, by: "bert".to_owned() };
            let served = stage.operate(what).await;
            stage.until("it begins", |stage| stage.link() == Link::Release { id: id("r1") }).await;
            let passes = stage.passes();
            if hangup {
                stage.orders.send(Order::Reload(Box::default())).await.unwrap();
                served.await.unwrap().unwrap();
                stage.until("what SIGHUP asks for", |stage| stage.passes() > passes && stage.is_idle()).await;
                return;
            }
            let woken = stage.request(false).await;
            assert!(!stage.is_idle() && stage.passes() == passes, "health is still asked for");
            stage.answer(&woken).await;
            served.await.unwrap().unwrap();
            assert_eq!(stage.passes(), passes + 1);
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_while_a_refused_wish_is_served_is_answered() {
    play(seldom("r2"), async |stage| {
        stage.host.world().lasts = BTreeMap::from([(Call::Lock, 5 * SECOND)]);
        let served = stage.operate(Operation::Retry { ignore_windows: false, by: "bert".to_owned() }).await;
        let passes = stage.passes();
        stage.until("it begins", |stage| stage.passes() > passes).await;
        let woken = stage.request(false).await;
        assert!(!stage.is_idle());
        assert!(matches!(served.await.unwrap(), Ok(Operated::NotKeptOut)));
        assert_eq!(stage.answer(&woken).await, (id("r2"), Outcome::Converged));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_request_goes_by_the_newest_manifests() {
    play(seldom("r2"), async |stage| {
        *stage.shelf.lasts.lock().unwrap() = 10 * SECOND;
        let looks = stage.shelf.looks.load(Ordering::SeqCst);
        stage.tell(HostNews::Manifests);
        stage.until("a look", |stage| stage.shelf.looks.load(Ordering::SeqCst) > looks).await;
        // What that one shows is older than the push, of which nobody tells.
        stage.put(Ok(vec![seldom("r1")]));
        let woken = stage.request(false).await;
        assert_eq!((&woken.apps, &woken.problem), (&vec![shop()], &None));
        assert_eq!(stage.answer(&woken).await, (id("r1"), Outcome::Converged));

        // Where they cannot be had, what is in force is kept up, and the answer says so.
        stage.put(Err("web.yaml:3: no such key"));
        stage.move_link("r2");
        let woken = stage.request(false).await;
        assert_eq!(woken.problem.as_deref(), Some("web.yaml:3: no such key"));
        assert_eq!(stage.answer(&woken).await, (id("r1"), Outcome::Converged));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_request_does_not_wait_for_ever_for_newer_manifests() {
    play(seldom("r2"), async |stage| {
        *stage.shelf.lasts.lock().unwrap() = Duration::from_mins(5);
        stage.move_link("r1");
        let began = tokio::time::Instant::now();
        for _ in 0..2 {
            let woken = stage.request(false).await;
            assert!(woken.problem.is_some_and(|why| why.contains("has not answered yet")));
            stage.until("its pass", |stage| stage.passes() > woken.mark && stage.is_idle()).await;
        }
        assert!(began.elapsed() < Duration::from_secs(90), "{:?}", began.elapsed());
        // Nobody is answered twice, and a look that ends is heard as ever.
        let looks = stage.shelf.looks.load(Ordering::SeqCst);
        *stage.shelf.lasts.lock().unwrap() = Duration::ZERO;
        let passes = stage.passes();
        stage.until("the next look", |stage| stage.shelf.looks.load(Ordering::SeqCst) > looks).await;
        assert_eq!(stage.passes(), passes);
        assert_eq!(stage.request(false).await.problem, None);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_request_for_an_app_that_is_gone_by_then_is_answered() {
    play(seldom("r2"), async |stage| {
        stage.put(Ok(vec![]));
        let wake = Wake::Request { by: "anna".to_owned(), ignore_windows: false };
        let (woken, told) = oneshot::channel();
        stage.orders.send(Order::Request(Asked { apps: Some(vec![shop()]), wake, woken })).await.unwrap();
        let mark = told.await.unwrap().mark;
        let answer = tokio::time::timeout(LATE, stage.board.requested(&shop(), mark)).await;
        assert!(answer.is_ok_and(|made| made.is_err()), "{:?}", stage.app());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_webhook_is_named_by_the_passes_that_it_leads_to() {
    play(seldom("r2"), async |stage| {
        stage.put(Ok(vec![seldom("r1")]));
        let pushed = || Order::Pushed { from: "gitlab".to_owned() };
        stage.orders.send(pushed()).await.unwrap();
        stage.until("the commit", |stage| stage.link() == Link::Release { id: id("r1") } && stage.is_idle()).await;
        assert_eq!(stage.triggers().last().map(String::as_str), Some("manifest, webhook from gitlab"));
        stage.orders.send(pushed()).await.unwrap();
        assert_eq!(stage.passes_within(LATE).await, 0, "nothing is new to the App");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_request_may_ignore_the_windows_and_no_other_pass_does() {
    let mut wish = seldom("r2");
    wish.sync.windows = afternoon();
    play(wish, async |stage| {
        let away = async || {
            let passes = stage.passes();
            stage.move_link("r1");
            stage.until("it is seen", |stage| stage.passes() > passes && stage.is_idle()).await;
            assert_eq!(stage.outcome(), Some(Outcome::Withheld));
        };
        away().await;
        let woken = stage.request(false).await;
        assert_eq!(stage.answer(&woken).await.1, Outcome::Withheld);
        let woken = stage.request(true).await;
        assert_eq!(stage.answer(&woken).await.1, Outcome::Converged);
        assert_eq!(stage.link(), Link::Release { id: id("r2") });

        // Two that have one pass.
        away().await;
        *stage.shelf.lasts.lock().unwrap() = SECOND;
        let (looks, passes) = (stage.shelf.looks.load(Ordering::SeqCst), stage.passes());
        stage.tell(HostNews::Manifests);
        stage.until("a look", |stage| stage.shelf.looks.load(Ordering::SeqCst) > looks).await;
        let (ignoring, plain) = tokio::join!(stage.request(true), stage.request(false));
        assert_eq!(stage.answer(&plain).await.1, Outcome::Converged);
        assert_eq!((stage.answer(&ignoring).await.1, stage.passes()), (Outcome::Converged, passes + 1));
        away().await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_suspension_ends_a_deployment_before_the_switch() {
    play(seldom("r2"), async |stage| {
        {
            let mut world = stage.host.world();
            world.releases.push(id("r3"));
            world.lasts = BTreeMap::from([(Call::Steps, Duration::from_mins(1))]);
        }
        let mut wish = seldom("r3");
        wish.release.migrate = vec![CommandStep {
            run: CommandLine::Shell("./migrate".to_owned()),
            timeout: LATE,
            env: BTreeMap::new(),
            working_directory: None,
            user: None,
        }];
        let passes = stage.passes();
        stage.hold(Ok(vec![wish]));
        stage.until("it begins", |stage| stage.passes() > passes).await;
        tokio::time::sleep(SECOND).await;
        let suspended = stage.operate(Operation::Suspend { reason: None, by: "anna".to_owned() }).await;
        assert!(matches!(suspended.await.unwrap(), Ok(Operated::Suspension { before: None, now: Some(_) })));
        stage.until("a pass that looks on", |stage| stage.outcome() == Some(Outcome::Withheld)).await;
        assert_eq!(stage.link(), Link::Release { id: id("r2") });
    })
    .await;
}
