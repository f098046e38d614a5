//! A web service without a loop: a test says what happened, asks as people do, and sees what is ordered.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode};
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use tokio::sync::{mpsc, watch};

use crate::agent::board::Board;
use crate::agent::orders::{Asked, Order, Woken};
use crate::agent::web::connection::Hold;
use crate::agent::web::peer::Peer;
use crate::agent::web::{Operators, Reach, Texts, Watched, Web, Webhooks, router};
use crate::decide::aim::aimed;
use crate::decide::diff::diff;
use crate::decide::plan::plan_for;
use crate::decide::schedule::{May, ScheduleState, Turn};
use crate::decide::testing::{self, id, member, noon, process, running, seconds_before, seen};
use crate::documents::agent::Revision;
use crate::manifest::Loaded;
use crate::model::action::Action;
use crate::model::health::{HealthVerdict, Rule, RuleVerdict};
use crate::model::journal::{JournalEntry, JournalEvent};
use crate::model::names::{AppName, GroupName};
use crate::model::observed::Observed;
use crate::model::report::{Outcome, PassReport, Tried};
use crate::model::sync::Counting;
use crate::model::wake::Wake;

pub const MANIFESTS: &str = r#"
apiVersion: trueup/v1
kind: App
metadata: {name: shop, labels: {team: web}}
spec:
  root: /srv/app
  release: {id: r2}
  workers:
    - {name: default, count: 2, manager: {supervisord: {group: web}}}
  health:
    http: {url: "https://shop.example/health", headers: {X-Key: s3cret}}
    expect: [status == 200]
---
apiVersion: trueup/v1
kind: App
metadata: {name: blog}
spec: {root: /srv/blog, release: {id: "1"}}
"#;

pub const LOCAL: Peer = Peer::Local { uid: 0, gid: 0 };

pub fn network() -> Peer {
    Peer::Network { from: "127.0.0.1:1".parse().unwrap(), reach: Reach::Loopback }
}

/// An agent without a loop: the test says what happens, and sees the orders.
pub struct Stage {
    pub board: Board,
    pub orders: mpsc::Receiver<Order>,
    pub router: Router,
    pub stop: watch::Sender<bool>,
}

/// What came back.
pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: String,
}

pub fn manifests() -> Vec<Loaded> {
    crate::manifest::load(&["-".into()], &mut MANIFESTS.as_bytes()).unwrap()
}

pub fn revision() -> Revision {
    Revision {
        commit: "3fa9c1d2b7f0a1c4e5d6978812345678deadbeef".to_owned(),
        subject: "shop: r2".to_owned(),
        author: "Anna".to_owned(),
        at: seconds_before(noon(), 60),
        signed_by: Some("anna@example.com".to_owned()),
    }
}

pub fn idle() -> ScheduleState {
    ScheduleState {
        running: false,
        next: Some(noon()),
        pending: Vec::new(),
        failures: 1,
        backoff_until: Some(noon()),
        corrections: 3,
        withheld: None,
        stalled: false,
        looping: Vec::new(),
    }
}

/// One worker of two is stale, and a rule does not hold.
pub fn sick() -> Observed {
    let mut observed = seen("r2", vec![running(1, "r2"), running(2, "r1")]);
    let rule = RuleVerdict {
        rule: Rule("status == 200".to_owned()),
        passed: false,
        seen: "status = 500".to_owned(),
        reason: None,
    };
    observed.health = Some(HealthVerdict { healthy: false, rules: vec![rule], failure: None, latency_ms: Some(12) });
    observed
}

pub fn well() -> Observed {
    let mut observed = seen("r2", vec![running(1, "r2"), running(2, "r2")]);
    observed.health = Some(HealthVerdict { healthy: true, rules: Vec::new(), failure: None, latency_ms: Some(12) });
    observed
}

pub fn report(loaded: &Loaded, before: Observed, after: Observed, outcome: Outcome) -> PassReport {
    let app = &loaded.app;
    let difference = diff(app, &before);
    let restart = Action::RestartWorker {
        group: GroupName::new("default").unwrap(),
        member: member(2),
        process: Some(process(102)),
    };
    let tried = Tried {
        action: restart,
        reason: "runs r1".to_owned(),
        began: noon(),
        took: Duration::from_millis(1210),
        problem: None,
        notes: Vec::new(),
    };
    PassReport {
        pass: "20260501T120000.000-77".to_owned(),
        took: Duration::from_millis(2345),
        plan: plan_for(&aimed(app, &before.aim), &difference),
        before: Some(before),
        difference,
        tried: if outcome == Outcome::Converged { vec![tried] } else { Vec::new() },
        remaining: diff(app, &after),
        after: Some(after),
        ..testing::report(app, outcome, &[])
    }
}

pub fn request(by: &str) -> Wake {
    Wake::Request { by: by.to_owned(), ignore_windows: false }
}

pub fn turn(wake: Wake) -> Turn {
    Turn { wakes: vec![wake], may: May::Act, counting: Counting::Off }
}

impl Stage {
    pub fn set(webhooks: Webhooks) -> Self {
        Self::with_room(webhooks, 8)
    }

    pub fn with_room(webhooks: Webhooks, room: usize) -> Self {
        let (orders, received) = mpsc::channel(room);
        let board = Board::new("1.2.3");
        let web = Web {
            board: board.clone(),
            orders,
            journals: Arc::new(|_| Box::pin(async { Ok(journal()) })),
            webhooks: watch::channel(webhooks).1,
            operators: Operators::default(),
            texts: Texts {
                pass: |app, report, width| format!("{} {:?} {width:?}\n", app.name, report.outcome),
                retried: |app, report, width| format!("{} tried again: {:?} {width:?}\n", app.name, report.outcome),
                suspension: |app, before, now| format!("{} {before:?} {now:?}\n", app.name),
                not_kept_out: |app| format!("{} nothing to try\n", app.name),
            },
        };
        let (stop, stopped) = watch::channel(false);
        Self { board, orders: received, router: router(web, stopped), stop }
    }

    /// Two Apps, of which the first was looked at, and found with a stale worker.
    pub fn looked() -> Self {
        let stage = Self::set(Webhooks::default());
        let loaded = manifests();
        stage.board.manifests(Some(revision()), &loaded);
        stage.board.ready(true);
        stage.pass(Wake::Timer, &report(&loaded[0], sick(), sick(), Outcome::Failed));
        stage
    }

    pub fn pass(&self, wake: Wake, report: &PassReport) {
        let report = Arc::new(report.clone());
        self.board.woken(&report.app, &wake);
        self.board.began(&report.app, &turn(wake), noon());
        self.board.ended(&report, &idle());
    }

    /// The next order, which is to be a request for passes.
    pub async fn asked(&mut self) -> Asked {
        let order = self.orders.recv().await;
        let Some(Order::Request(asked)) = order else { panic!("{order:?}") };
        asked
    }

    /// Does as the loop once it has looked at the manifests; which Apps are woken.
    pub fn grant(&self, asked: Asked, problem: Option<&str>) -> Vec<AppName> {
        let (apps, mark) = (asked.apps.unwrap_or_else(|| self.board.names()), self.board.mark());
        for app in &apps {
            self.board.woken(app, &asked.wake);
        }
        asked.woken.send(Woken { apps: apps.clone(), mark, problem: problem.map(str::to_owned) }).unwrap();
        apps
    }

    pub async fn send(&self, peer: Peer, request: Request) -> Reply {
        send(&self.router, peer, request).await
    }

    pub async fn get(&self, path: &str) -> Reply {
        self.send(LOCAL, Request::get(path).body(Body::empty()).unwrap()).await
    }

    pub async fn get_from(&self, peer: Peer, path: &str) -> Reply {
        self.send(peer, Request::get(path).body(Body::empty()).unwrap()).await
    }
}

pub async fn send(router: &Router, peer: Peer, mut request: Request) -> Reply {
    request.extensions_mut().insert(peer);
    request.extensions_mut().insert(Hold::default());
    let response = TowerToHyperService::new(router.clone()).call(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = String::from_utf8(to_bytes(body, usize::MAX).await.unwrap().to_vec()).unwrap();
    Reply { status: parts.status, headers: parts.headers, body }
}

pub fn post(path: &str, body: &str) -> Request {
    Request::post(path).body(Body::from(body.to_owned())).unwrap()
}

pub fn journal() -> Vec<JournalEntry> {
    let (shop, pass) = (manifests()[0].app.name.clone(), "20260501T115900.000-77".to_owned());
    let line = |before, event| JournalEntry {
        at: seconds_before(noon(), before),
        pass: pass.clone(),
        app: shop.clone(),
        event,
    };
    let restart = Action::RestartWorker {
        group: GroupName::new("default").unwrap(),
        member: member(2),
        process: Some(process(102)),
    };
    vec![
        line(60, JournalEvent::PassStarted { release: id("r2"), trigger: "timer".to_owned(), pid: 77 }),
        line(59, JournalEvent::Begin { action: restart, reason: "runs r1".to_owned() }),
    ]
}

pub fn secret(text: &str) -> secrecy::SecretString {
    text.to_owned().into()
}

pub fn watched() -> Watched {
    Watched { repository: Some("https://forge.example/ops/manifests.git".to_owned()), branch: Some("main".to_owned()) }
}
