//! An agent's loop at work over the simulated host, in simulated time, and all that a test may do to it.
//!
//! A test plays a scene with [`play`]: the loop goes on beside it until it ends.

use std::future::Future;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::agent::board::Board;
use crate::agent::orders::{Asked, Operated, Operation, Order, Woken};
use crate::agent::publisher::Publisher;
use crate::agent::registry::AppRegistry;
use crate::agent::senses::{HostNews, Member, Senses};
use crate::agent::service::Service;
use crate::agent::source::{Found, Source, SourceProblem, SourceProblemKind, Wakes};
use crate::agent::view::AppView;
use crate::agent::{Agent, AgentContext};
pub use crate::decide::testing::contract;
use crate::decide::testing::{app, builtin, group, id, noon, record};
use crate::documents::agent::Revision;
use crate::engine::events::Silent;
use crate::engine::interrupt::Interrupt;
use crate::manifest::{self, Loaded};
use crate::model::app::App;
use crate::model::journal::JournalEvent;
use crate::model::names::AppName;
use crate::model::observed::Link;
use crate::model::report::Outcome;
use crate::model::sync::{Window, WindowKind};
use crate::model::wake::Wake;
use crate::ports::HostError;
use crate::sim::host::SimHost;
use crate::sim::populate::settled;

/// Manifests, or what is wrong with them.
pub type Held = Result<Vec<Loaded>, (SourceProblemKind, String)>;

/// What manifests say, as a test wishes.
#[derive(Clone)]
pub struct Shelf {
    pub holds: Arc<Mutex<Held>>,
    /// What was in force when an earlier agent ended, where the source knows that itself.
    pub before: Option<Vec<Loaded>>,
    /// What it finds is never half-written.
    pub whole: bool,
    pub looks: Arc<AtomicU32>,
    /// The commit that it is at, where it has any.
    pub commit: Arc<Mutex<Option<&'static str>>>,
    /// How long a look takes, which shows what was there when it began.
    pub lasts: Arc<Mutex<Duration>>,
}

impl Shelf {
    pub fn with(apps: Vec<Loaded>) -> Self {
        let holds = Arc::new(Mutex::new(Ok(apps)));
        let (looks, commit, lasts) = (Arc::default(), Arc::default(), Arc::default());
        Self { holds, before: None, whole: false, looks, commit, lasts }
    }

    fn revision(&self) -> Option<Revision> {
        self.commit.lock().unwrap().map(|commit| Revision {
            commit: commit.to_owned(),
            subject: String::new(),
            author: String::new(),
            at: noon(),
            signed_by: None,
        })
    }
}

impl Source for Shelf {
    async fn resume(&mut self) -> Option<Found> {
        self.before.take().map(|apps| Found { revision: None, apps })
    }

    async fn look(&mut self) -> Result<Found, SourceProblem> {
        self.looks.fetch_add(1, Ordering::SeqCst);
        let (held, lasts) = (self.holds.lock().unwrap().clone(), *self.lasts.lock().unwrap());
        let revision = self.revision();
        tokio::time::sleep(lasts).await;
        held.map(|apps| Found { revision, apps }).map_err(|(kind, message)| SourceProblem {
            kind,
            revision: None,
            help: Some(format!("look into `{message}`")),
            message,
            mistakes: Vec::new(),
        })
    }

    fn wakes(&self) -> Wakes {
        Wakes::default()
    }

    fn is_whole(&self) -> bool {
        self.whole
    }
}

/// Tells what a test has it tell.
pub struct Ears {
    pub news: mpsc::UnboundedReceiver<HostNews>,
    pub workers: Arc<Mutex<Vec<Member>>>,
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

    async fn news(&mut self) -> HostNews {
        match self.news.recv().await {
            Some(news) => news,
            None => std::future::pending().await,
        }
    }
}

/// A loop at work, and all that a test may do to it.
pub struct Stage {
    pub host: SimHost,
    pub shelf: Shelf,
    pub board: Board,
    pub news: mpsc::UnboundedSender<HostNews>,
    pub orders: mpsc::Sender<Order>,
    stop: Interrupt,
    pub workers: Arc<Mutex<Vec<Member>>>,
}

pub const DOCUMENT: &str = "apiVersion: trueup/v1\nkind: App\nmetadata: {name: web}\n\
                        spec: {root: /srv/app, release: {id: r2}}\n";

pub const SECOND: Duration = Duration::from_secs(1);

pub fn loaded(app: App) -> Loaded {
    let first = manifest::load(&["-".into()], &mut DOCUMENT.as_bytes()).unwrap().remove(0);
    Loaded { app, ..first }
}

pub fn wanted(release: &str) -> App {
    app(release, vec![group("g0", 2, builtin())])
}

/// Has no pass by itself in any scene.
pub fn seldom(release: &str) -> App {
    let mut wish = wanted(release);
    wish.sync.interval = Duration::from_hours(10);
    wish
}

pub fn shop() -> AppName {
    AppName::new("web").unwrap()
}

/// From 14:00 to 15:00; every scene begins at noon.
pub fn afternoon() -> Vec<Window> {
    vec![Window {
        kind: WindowKind::Allow,
        schedule: "0 14 * * *".to_owned(),
        duration: Duration::from_hours(1),
        time_zone: jiff::tz::TimeZone::UTC,
    }]
}

/// Plays on a host with releases r1 and r2, where `current` leads to r2 and two workers run.
pub async fn play<F: Future<Output = ()>>(wish: App, scene: impl FnOnce(Arc<Stage>) -> F) {
    let host = SimHost::new(settled(wish.clone(), vec![record("r1", 50), record("r2", 10)]));
    play_on(&host, wish, scene).await;
}

/// Plays with an agent that begins on that host.
pub async fn play_on<F: Future<Output = ()>>(host: &SimHost, wish: App, scene: impl FnOnce(Arc<Stage>) -> F) {
    play_from(host, Shelf::with(vec![loaded(wish)]), AppRegistry::none(), Publisher::default(), async |stage| {
        stage.until("the first pass", |stage| stage.passes() == 1 && stage.is_idle()).await;
        scene(stage).await;
    })
    .await;
}

/// Plays with an agent that begins on that host with these manifests, and knows what an earlier one has written down.
pub async fn play_from<F: Future<Output = ()>>(
    host: &SimHost,
    shelf: Shelf,
    registry: AppRegistry,
    publisher: Publisher,
    scene: impl FnOnce(Arc<Stage>) -> F,
) {
    let (news, heard) = mpsc::unbounded_channel();
    let (orders, ordered) = mpsc::channel(64);
    let stage = Arc::new(Stage {
        host: host.clone(),
        shelf: shelf.clone(),
        board: Board::new("test"),
        news,
        orders,
        stop: Interrupt::default(),
        workers: Arc::default(),
    });
    let context = AgentContext {
        publisher,
        host,
        listener: &Silent,
        board: stage.board.clone(),
        service: Service::none(),
        stop: stage.stop.clone(),
        concurrency: 4,
        registry,
        seed: 7,
    };
    let ears = Ears { news: heard, workers: stage.workers.clone() };
    let agent = Agent::new(context, shelf, ears, ordered);
    let scene = async {
        scene(stage.clone()).await;
        stage.stop.ask();
    };
    tokio::join!(agent.run(), scene);
    assert_eq!(host.world().violations, Vec::<String>::new());
}

impl Stage {
    pub async fn until(&self, what: &str, so: impl Fn(&Self) -> bool) {
        // Simulated time: an hour goes by at once.
        for _ in 0..360_000 {
            if so(self) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("an hour in vain for {what}: {:?}", self.app());
    }

    pub fn app(&self) -> Option<AppView> {
        self.board.app("web")
    }

    /// Passes that have begun.
    pub fn passes(&self) -> u64 {
        self.board.mark()
    }

    pub fn is_idle(&self) -> bool {
        self.app().is_some_and(|app| app.running.is_none() && app.last.is_some())
    }

    pub fn outcome(&self) -> Option<Outcome> {
        Some(self.app()?.last?.report.outcome)
    }

    /// Why passes that found something to do were made.
    pub fn triggers(&self) -> Vec<String> {
        let world = self.host.world();
        let triggers = world.journal.iter().filter_map(|entry| match &entry.event {
            JournalEvent::PassStarted { trigger, .. } => Some(trigger.clone()),
            _ => None,
        });
        triggers.collect()
    }

    pub fn tell(&self, news: HostNews) {
        self.news.send(news).unwrap();
    }

    pub fn hold(&self, apps: Result<Vec<App>, &str>) {
        self.put(apps);
        self.tell(HostNews::Manifests);
    }

    /// The same, and nobody tells of it.
    pub fn put(&self, apps: Result<Vec<App>, &str>) {
        // The world finds fault with every deed that the present wish does not ask for.
        if let Some(wish) = apps.iter().flatten().next() {
            self.host.world().app = wish.clone();
        }
        let wrong = |message: &str| (SourceProblemKind::Wrong, message.to_owned());
        *self.shelf.holds.lock().unwrap() = apps.map(|apps| apps.into_iter().map(loaded).collect()).map_err(wrong);
    }

    /// As `hold`, with what the world wishes left as it is.
    pub fn holds(&self, held: Held) {
        *self.shelf.holds.lock().unwrap() = held;
        self.tell(HostNews::Manifests);
    }

    /// Workers that live.
    pub fn running(&self) -> usize {
        self.host.world().processes.values().filter(|process| process.owner.is_some()).count()
    }

    pub fn move_link(&self, to: &str) {
        let mut world = self.host.world();
        (world.link, world.link_changed) = (Link::Release { id: id(to) }, Some(world.now));
        drop(world);
        self.tell(HostNews::Layout(shop()));
    }

    pub fn link(&self) -> Link {
        self.host.world().link.clone()
    }

    /// Ends one worker's process; as the kernel would, tells of it.
    pub fn kill(&self) -> Member {
        let member = self.workers.lock().unwrap()[0].clone();
        self.host.world().end(member.process.pid);
        self.tell(HostNews::Death { app: shop(), member: member.clone() });
        member
    }

    /// Asks for passes, as people do; returns once the Apps are woken.
    pub async fn request(&self, ignore_windows: bool) -> Woken {
        let wake = Wake::Request { by: "anna".to_owned(), ignore_windows };
        let (woken, told) = oneshot::channel();
        self.orders.send(Order::Request(Asked { apps: None, wake, woken })).await.unwrap();
        told.await.unwrap()
    }

    /// Asks for something to be done; where the answer comes.
    pub async fn operate(&self, what: Operation) -> oneshot::Receiver<Result<Operated, HostError>> {
        let (reply, answer) = oneshot::channel();
        self.orders.send(Order::Operate { app: shop(), what, reply }).await.unwrap();
        answer
    }

    /// Lets that time go by; returns how many passes began in it.
    pub async fn passes_within(&self, time: Duration) -> u64 {
        let before = self.passes();
        tokio::time::sleep(time).await;
        self.passes() - before
    }
}

/// Keep it for as long as a subscriber of one's own listens. While there is but one subscriber, whichever thread comes first
/// to a place that logs decides for all whether it does, also a thread of another test that has none.
pub fn second_listener() -> tracing::Dispatch {
    tracing::Dispatch::new(tracing_subscriber::registry())
}
