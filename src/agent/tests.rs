//! The loop over the simulated host, in simulated time: what wakes it, and what does not.

use std::future::Future;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::board::{AppView, Board};
use super::herald::Herald;
use super::orders::{Operated, Operation, Order};
use super::senses::{Member, News, Senses};
use super::service::Service;
use super::source::{Found, Source, SourceProblem, SourceProblemKind, Wakes};
use super::{Agent, Ground};
use crate::decide::testing::{app, builtin, group, id, record};
use crate::engine::events::Silent;
use crate::engine::interrupt::Interrupt;
use crate::manifest::{self, Loaded};
use crate::model::app::{App, RestartOn};
use crate::model::health::{HealthContract, Probe, Rule};
use crate::model::names::{AppName, RelativePath, ReleaseId};
use crate::model::observed::Link;
use crate::model::record::JournalEvent;
use crate::model::report::Outcome;
use crate::model::wake::Wake;
use crate::sim::host::SimHost;
use crate::sim::populate::settled;

/// What manifests say, as a test wishes.
#[derive(Clone)]
struct Shelf {
    holds: Arc<Mutex<Result<Vec<Loaded>, String>>>,
    looks: Arc<AtomicU32>,
}

impl Source for Shelf {
    async fn look(&mut self) -> Result<Found, SourceProblem> {
        self.looks.fetch_add(1, Ordering::SeqCst);
        let held = self.holds.lock().unwrap().clone();
        held.map(|apps| Found { revision: None, apps }).map_err(|message| SourceProblem {
            kind: SourceProblemKind::Wrong,
            revision: None,
            message,
            help: None,
            mistakes: Vec::new(),
        })
    }

    fn wakes(&self) -> Wakes {
        Wakes::default()
    }

    fn is_whole(&self) -> bool {
        false
    }
}

/// Tells what a test has it tell.
struct Ears {
    news: mpsc::UnboundedReceiver<News>,
    workers: Arc<Mutex<Vec<Member>>>,
}

impl Senses for Ears {
    fn manifests(&mut self, _: &[PathBuf]) {}

    fn app(&mut self, _: &App) {}

    fn workers(&mut self, _: &AppName, workers: &[Member]) {
        *self.workers.lock().unwrap() = workers.to_vec();
    }

    fn forget(&mut self, _: &AppName) {
        self.workers.lock().unwrap().clear();
    }

    async fn news(&mut self) -> News {
        match self.news.recv().await {
            Some(news) => news,
            None => std::future::pending().await,
        }
    }
}

/// A loop at work, and all that a test may do to it.
struct Stage {
    host: SimHost,
    shelf: Shelf,
    board: Board,
    news: mpsc::UnboundedSender<News>,
    orders: mpsc::Sender<Order>,
    stop: Interrupt,
    workers: Arc<Mutex<Vec<Member>>>,
}

const DOCUMENT: &str = "apiVersion: trueup/v1\nkind: App\nmetadata: {name: web}\n\
                        spec: {root: /srv/app, release: {id: r2}}\n";

fn loaded(app: App) -> Loaded {
    let first = manifest::load(&["-".into()], &mut DOCUMENT.as_bytes()).unwrap().remove(0);
    Loaded { app, ..first }
}

fn wanted(release: &str) -> App {
    app(release, vec![group("g0", 2, builtin())])
}

fn shop() -> AppName {
    AppName::new("web").unwrap()
}

/// Plays on a host with releases r1 and r2, where `current` leads to r2 and two workers run.
async fn play<F: Future<Output = ()>>(wish: App, scene: impl FnOnce(Arc<Stage>) -> F) {
    let host = SimHost::new(settled(wish.clone(), vec![record("r1", 50), record("r2", 10)]));
    play_on(&host, wish, scene).await;
}

/// Plays with an agent that begins on that host.
async fn play_on<F: Future<Output = ()>>(host: &SimHost, wish: App, scene: impl FnOnce(Arc<Stage>) -> F) {
    let (news, heard) = mpsc::unbounded_channel();
    let (orders, ordered) = mpsc::channel(64);
    let shelf = Shelf { holds: Arc::new(Mutex::new(Ok(vec![loaded(wish)]))), looks: Arc::default() };
    let stage = Arc::new(Stage {
        host: host.clone(),
        shelf: shelf.clone(),
        board: Board::new("test"),
        news,
        orders,
        stop: Interrupt::default(),
        workers: Arc::default(),
    });
    let ground = Ground {
        herald: Herald::default(),
        host,
        listener: &Silent,
        board: stage.board.clone(),
        service: Service::none(),
        stop: stage.stop.clone(),
        concurrency: 4,
    };
    let ears = Ears { news: heard, workers: stage.workers.clone() };
    let agent = Agent::new(ground, shelf, ears, ordered);
    let scene = async {
        stage.until("the first pass", |stage| stage.passes() == 1 && stage.is_idle()).await;
        scene(stage.clone()).await;
        stage.stop.ask();
    };
    tokio::join!(agent.run(), scene);
    assert_eq!(host.world().violations, Vec::<String>::new());
}

impl Stage {
    async fn until(&self, what: &str, so: impl Fn(&Self) -> bool) {
        // Simulated time: an hour goes by at once.
        for _ in 0..360_000 {
            if so(self) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("an hour in vain for {what}: {:?}", self.app());
    }

    fn app(&self) -> Option<AppView> {
        self.board.app("web")
    }

    /// Passes that have begun.
    fn passes(&self) -> u64 {
        self.board.mark()
    }

    fn is_idle(&self) -> bool {
        self.app().is_some_and(|app| app.running.is_none() && app.last.is_some())
    }

    fn outcome(&self) -> Option<Outcome> {
        Some(self.app()?.last?.report.outcome)
    }

    /// Why passes that found something to do were made.
    fn triggers(&self) -> Vec<String> {
        let world = self.host.world();
        let triggers = world.journal.iter().filter_map(|entry| match &entry.event {
            JournalEvent::PassStarted { trigger, .. } => Some(trigger.clone()),
            _ => None,
        });
        triggers.collect()
    }

    fn tell(&self, news: News) {
        self.news.send(news).unwrap();
    }

    fn hold(&self, apps: Result<Vec<App>, &str>) {
        // The world finds fault with every deed that the present wish does not ask for.
        if let Some(wish) = apps.iter().flatten().next() {
            self.host.world().app = wish.clone();
        }
        let held = apps.map(|apps| apps.into_iter().map(loaded).collect()).map_err(str::to_owned);
        *self.shelf.holds.lock().unwrap() = held;
        self.tell(News::Manifests);
    }

    fn move_link(&self, to: &str) {
        let mut world = self.host.world();
        (world.link, world.link_changed) = (Link::Release { id: id(to) }, Some(world.now));
        drop(world);
        self.tell(News::Layout(shop()));
    }

    fn link(&self) -> Link {
        self.host.world().link.clone()
    }

    /// Ends one worker's process; as the kernel would, tells of it.
    fn kill(&self) -> Member {
        let member = self.workers.lock().unwrap()[0].clone();
        self.host.world().end(member.process.pid);
        self.tell(News::Death { app: shop(), member: member.clone() });
        member
    }

    /// Lets that time go by; returns how many passes began in it.
    async fn passes_within(&self, time: Duration) -> u64 {
        let before = self.passes();
        tokio::time::sleep(time).await;
        self.passes() - before
    }
}

const SECOND: Duration = Duration::from_secs(1);

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
        stage.tell(News::Layout(shop()));
        idle("a release that came", before + 1).await;

        let request = Wake::Request { by: "anna".to_owned() };
        for order in [
            Order::Wake { app: Some(shop()), wake: request.clone() },
            Order::Wake { app: None, wake: request },
            Order::Reload(Box::default()),
        ] {
            before = stage.passes();
            stage.orders.send(order).await.unwrap();
            idle("an order", before + 1).await;
        }

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
            stage.tell(News::Layout(shop()));
            for member in &old {
                stage.tell(News::Death { app: shop(), member: member.clone() });
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
async fn a_thousand_writes_are_one_look_and_no_pass_when_nothing_is_new() {
    play(wanted("r2"), async |stage| {
        let looks = stage.shelf.looks.load(Ordering::SeqCst);
        for _ in 0..1000 {
            stage.tell(News::Manifests);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(stage.passes_within(5 * SECOND).await, 0);
        assert_eq!(stage.shelf.looks.load(Ordering::SeqCst) - looks, 1);

        // Without end: it is looked at all the same.
        for _ in 0..1000 {
            stage.tell(News::Manifests);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(stage.shelf.looks.load(Ordering::SeqCst) - looks >= 3);
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
async fn an_app_that_disappears_is_left_running_unless_it_says_otherwise() {
    for prune in [false, true] {
        let mut wish = wanted("r2");
        wish.sync.prune = prune;
        play(wish.clone(), async |stage| {
            if prune {
                stage.host.world().app.workers[0].count = 0;
            }
            stage.hold(Ok(vec![]));
            stage.until("it is an orphan", |stage| stage.app().is_some_and(|app| app.orphaned)).await;
            let running = |stage: &Stage| {
                let world = stage.host.world();
                world.processes.values().filter(|process| process.owner.is_some()).count()
            };
            let left = if prune { 0 } else { 2 };
            stage.until("its workers are as it says", |stage| running(stage) == left && stage.is_idle()).await;
            tokio::time::sleep(SECOND).await;
            assert_eq!(stage.passes_within(Duration::from_mins(5)).await, 0, "it is nobody's business any more");
            assert_eq!(stage.link(), Link::Release { id: id("r2") }, "nothing else has changed");

            let known = |stage: &Stage| stage.app().is_some_and(|app| !app.orphaned);
            stage.hold(Ok(vec![wish]));
            stage.until("it comes back", |stage| known(stage) && running(stage) == 2 && stage.is_idle()).await;
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_pass_over_an_app_that_disappears_meanwhile_does_not_run_for_ever() {
    let mut wish = wanted("r2");
    wish.health = Some(HealthContract { attempts: 10, interval: 10 * SECOND, ..contract() });
    play(wish, async |stage| {
        stage.host.world().healthy = false;
        let wake = Wake::Request { by: "anna".to_owned() };
        stage.orders.send(Order::Wake { app: Some(shop()), wake }).await.unwrap();
        let runs = |stage: &Stage| stage.app().is_some_and(|app| app.running.is_some());
        stage.until("a long pass", runs).await;
        stage.hold(Ok(vec![]));
        stage.until("it is an orphan", |stage| stage.app().is_some_and(|app| app.orphaned)).await;
        assert!(runs(&stage), "the pass goes on to its end");
        stage.until("its end", |stage| !runs(stage)).await;
    })
    .await;
}

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
        let wake = Wake::Request { by: "anna".to_owned() };
        stage.orders.send(Order::Wake { app: Some(shop()), wake }).await.unwrap();
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
async fn a_link_that_is_made_anew_is_not_interfered_with() {
    play(wanted("r2"), async |stage| {
        stage.host.world().link = Link::Absent;
        stage.tell(News::Layout(shop()));
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(stage.link(), Link::Absent, "whoever removed it is about to make it anew");
        stage.move_link("r1");
        stage.until("it is put right", |stage| stage.link() == Link::Release { id: id("r2") }).await;
        stage.host.world().link = Link::Absent;
        stage.tell(News::Layout(shop()));
        stage.until("nobody made it", |stage| stage.link() == Link::Release { id: id("r2") }).await;
    })
    .await;
}

/// Asked once, and not between two passes.
fn contract() -> HealthContract {
    HealthContract {
        probe: Probe::Http {
            url: "http://localhost/".to_owned(),
            headers: std::collections::BTreeMap::new(),
            connect_to: None,
            ca_file: None,
        },
        timeout: SECOND,
        attempts: 1,
        interval: SECOND,
        expect: vec![Rule("status == 200".to_owned())],
        watch: None,
    }
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
            stage.tell(News::Files(shop()));
        }
        assert_eq!(stage.passes_within(5 * SECOND).await, 0, "touched, and the same");
        for round in 1..=3 {
            {
                let mut world = stage.host.world();
                world.config_version += 1;
                world.config_written = world.now;
            }
            stage.tell(News::Files(shop()));
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
async fn a_manifest_that_comes_while_a_person_is_served_is_not_forgotten() {
    let mut wish = wanted("r2");
    wish.sync.interval = Duration::from_hours(10);
    wish.health = Some(HealthContract { attempts: 10, ..contract() });
    play(wish.clone(), async move |stage| {
        stage.host.world().healthy = false;
        let (reply, answer) = oneshot::channel();
        let what = Operation::Rollback { to: None, reason: None, by: "anna".to_owned() };
        stage.orders.send(Order::Operate { app: shop(), what, reply }).await.unwrap();
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
async fn what_people_ask_for_takes_its_turn() {
    play(wanted("r2"), async |stage| {
        let ask = async |what: Operation| {
            let (reply, answer) = oneshot::channel();
            stage.orders.send(Order::Operate { app: shop(), what, reply }).await.unwrap();
            answer.await.unwrap()
        };
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
async fn outside_its_window_an_app_is_shown_and_put_right_when_one_opens() {
    use crate::model::sync::{Window, WindowKind};

    let mut wish = wanted("r2");
    // The scene begins at noon.
    wish.sync.windows = vec![Window {
        kind: WindowKind::Allow,
        schedule: "0 14 * * *".to_owned(),
        duration: Duration::from_hours(1),
        time_zone: jiff::tz::TimeZone::UTC,
    }];
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
