//! Every answer, asked for in this process; pictures of the documents are reviewed like prose.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, Method, StatusCode};
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use tokio::sync::{mpsc, watch};

use super::connection::Hold;
use super::peer::Peer;
use super::{EXIT_CODE, Operators, PERSON, Reach, Texts, Watched, Web, Webhooks, router};
use crate::agent::board::{Board, ManifestProblem};
use crate::agent::orders::{Operated, Operation, Order};
use crate::agent::source::Revision;
use crate::decide::aim::aimed;
use crate::decide::diff::diff;
use crate::decide::plan::plan_for;
use crate::decide::schedule::{May, ScheduleState, Turn};
use crate::decide::testing::{id, member, noon, process, running, seconds_before, seen};
use crate::manifest::Loaded;
use crate::model::action::Action;
use crate::model::health::{HealthVerdict, Rule, RuleVerdict};
use crate::model::names::GroupName;
use crate::model::observed::Observed;
use crate::model::record::{JournalEntry, JournalEvent};
use crate::model::report::{Mode, Outcome, PassReport, Tried};
use crate::model::sync::Counting;
use crate::model::wake::Wake;
use crate::ports::{HostError, HostErrorKind};

mod doors;
mod metrics;
mod webhooks;

const MANIFESTS: &str = r#"
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

pub(super) const LOCAL: Peer = Peer::Local { uid: 0, gid: 0 };

fn network() -> Peer {
    Peer::Network { from: "127.0.0.1:1".parse().unwrap(), reach: Reach::Loopback }
}

/// An agent without a loop: the test says what happens, and sees the orders.
pub(super) struct Stage {
    pub(super) board: Board,
    pub(super) orders: mpsc::Receiver<Order>,
    router: Router,
    stop: watch::Sender<bool>,
}

/// What came back.
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: String,
}

fn manifests() -> Vec<Loaded> {
    crate::manifest::load(&["-".into()], &mut MANIFESTS.as_bytes()).unwrap()
}

fn revision() -> Revision {
    Revision {
        commit: "3fa9c1d2b7f0a1c4e5d6978812345678deadbeef".to_owned(),
        subject: "shop: r2".to_owned(),
        author: "Anna".to_owned(),
        at: seconds_before(noon(), 60),
        signed_by: Some("anna@example.com".to_owned()),
    }
}

fn idle() -> ScheduleState {
    ScheduleState {
        running: false,
        next: Some(noon()),
        pending: Vec::new(),
        failures: 1,
        backoff_until: Some(noon()),
        corrections: 3,
        withheld: None,
        stalled: false,
    }
}

/// One worker of two is stale, and a rule does not hold.
fn sick() -> Observed {
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

fn well() -> Observed {
    let mut observed = seen("r2", vec![running(1, "r2"), running(2, "r2")]);
    observed.health = Some(HealthVerdict { healthy: true, rules: Vec::new(), failure: None, latency_ms: Some(12) });
    observed
}

fn report(loaded: &Loaded, before: Observed, after: Observed, outcome: Outcome) -> PassReport {
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
        withheld: None,
        app: app.name.clone(),
        root: app.root.clone(),
        release: app.release.id.clone(),
        pass: "20260501T120000.000-77".to_owned(),
        began: noon(),
        took: Duration::from_millis(2345),
        mode: Mode::Apply,
        outcome,
        plan: plan_for(&aimed(app, &before.aim), &difference),
        before: Some(before),
        difference,
        tried: if outcome == Outcome::Converged { vec![tried] } else { Vec::new() },
        remaining: diff(app, &after),
        after: Some(after),
        health_attempts: 1,
        problems: Vec::new(),
    }
}

fn turn(wake: Wake) -> Turn {
    Turn { wakes: vec![wake], may: May::Act, counting: Counting::Off }
}

impl Stage {
    pub(super) fn set(webhooks: Webhooks) -> Self {
        Self::with_room(webhooks, 8)
    }

    pub(super) fn with_room(webhooks: Webhooks, room: usize) -> Self {
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
                suspension: |app, before, now| format!("{} {before:?} {now:?}\n", app.name),
                not_kept_out: |app| format!("{} nothing to try\n", app.name),
            },
        };
        let (stop, stopped) = watch::channel(false);
        Self { board, orders: received, router: router(web, stopped), stop }
    }

    /// Two Apps, of which the first was looked at, and found with a stale worker.
    pub(super) fn looked() -> Self {
        let stage = Self::set(Webhooks::default());
        let loaded = manifests();
        stage.board.manifests(Some(revision()), &loaded);
        stage.board.ready(true);
        stage.pass(Wake::Timer, &report(&loaded[0], sick(), sick(), Outcome::Failed));
        stage
    }

    fn pass(&self, wake: Wake, report: &PassReport) {
        self.board.woken(&report.app, &wake);
        self.board.began(&report.app, &turn(wake), noon());
        self.board.ended(report, &idle());
    }

    pub(super) async fn send(&self, peer: Peer, request: Request) -> Reply {
        send(&self.router, peer, request).await
    }

    pub(super) async fn get(&self, path: &str) -> Reply {
        self.send(LOCAL, Request::get(path).body(Body::empty()).unwrap()).await
    }

    async fn get_from(&self, peer: Peer, path: &str) -> Reply {
        self.send(peer, Request::get(path).body(Body::empty()).unwrap()).await
    }
}

async fn send(router: &Router, peer: Peer, mut request: Request) -> Reply {
    request.extensions_mut().insert(peer);
    request.extensions_mut().insert(Hold::default());
    let response = TowerToHyperService::new(router.clone()).call(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = String::from_utf8(to_bytes(body, usize::MAX).await.unwrap().to_vec()).unwrap();
    Reply { status: parts.status, headers: parts.headers, body }
}

fn post(path: &str, body: &str) -> Request {
    Request::post(path).body(Body::from(body.to_owned())).unwrap()
}

fn journal() -> Vec<JournalEntry> {
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

/// What is of this moment only.
fn picture(name: &str, text: &str) {
    let filters = vec![(r#"(?m)^  "started": "[^"]+""#, r#"  "started": "[now]""#)];
    insta::with_settings!({filters => filters}, { insta::assert_snapshot!(name, text) });
}

#[tokio::test]
async fn every_document_is_as_documented() {
    let stage = Stage::looked();
    for (name, path) in [
        ("agent", "/api/v1/agent"),
        ("apps", "/api/v1/apps"),
        ("app", "/api/v1/apps/shop"),
        ("app_unseen", "/api/v1/apps/blog"),
        ("diff", "/api/v1/apps/shop/diff"),
        ("history", "/api/v1/apps/shop/history"),
    ] {
        let reply = stage.get(path).await;
        assert_eq!(
            (reply.status, &reply.headers["content-type"]),
            (StatusCode::OK, &"application/json".parse().unwrap())
        );
        picture(name, &reply.body);
    }
}

#[tokio::test]
async fn an_app_is_told_as_status_prints_it() {
    let stage = Stage::looked();
    let loaded = &manifests()[0];
    let mut status = crate::documents::app::status(loaded, &report(loaded, sick(), sick(), Outcome::Failed)).unwrap();
    crate::decide::status::mark_draining(&mut status, &[process(102)]);
    let printed = serde_json::to_string_pretty(&crate::documents::app::document(loaded, &status)).unwrap();
    assert_eq!(stage.get("/api/v1/apps/shop").await.body, format!("{printed}\n"));
    let yaml = Request::get("/api/v1/apps/shop").header("accept", "application/yaml").body(Body::empty()).unwrap();
    let yaml = stage.send(LOCAL, yaml).await;
    assert_eq!(yaml.headers["content-type"], "application/yaml");
    assert!(yaml.body.starts_with("apiVersion: trueup/v1\n"), "{}", yaml.body);
}

#[tokio::test]
async fn secrets_of_a_manifest_do_not_leave_through_a_port() {
    let stage = Stage::looked();
    for path in ["/api/v1/apps", "/api/v1/apps/shop"] {
        assert!(stage.get(path).await.body.contains("s3cret"));
        let told = stage.get_from(network(), path).await;
        assert!(told.status.is_success() && !told.body.contains("s3cret") && told.body.contains("\"X-Key\": \"***\""));
    }
}

#[tokio::test]
async fn what_the_agent_knows_besides_is_in_the_conditions() {
    let stage = Stage::looked();
    let shop = manifests()[0].app.name.clone();
    stage.board.woken(&shop, &Wake::Link);
    stage.board.began(&shop, &turn(Wake::Link), noon());
    stage.board.woken(&shop, &Wake::Timer);
    stage.board.refused(ManifestProblem {
        revision: None,
        message: "shop.yaml:3:5: unknown key `relase`".to_owned(),
        help: Some("did you mean `release`?".to_owned()),
        since: noon(),
    });
    let told = stage.get("/api/v1/apps/shop").await.body;
    assert!(told.contains("a pass is under way: current was changed"), "{told}");
    assert!(told.contains("ManifestsRefused") && told.contains("shop.yaml:3:5"), "{told}");
    picture("agent_busy", &stage.get("/api/v1/agent").await.body);

    stage.board.manifests(None, &manifests()[1..]);
    assert_eq!(stage.get("/api/v1/apps/shop").await.status, StatusCode::NOT_FOUND);
    stage.board.orphaned(&shop);
    let told = stage.get("/api/v1/apps/shop").await.body;
    assert!(told.contains("Orphaned") && !told.contains("ManifestsRefused"), "{told}");
    // Back again, with all that was known.
    stage.board.manifests(None, &manifests());
    let told = stage.get("/api/v1/apps/shop").await.body;
    assert!(!told.contains("Orphaned") && told.contains("StaleWorkers"), "{told}");
}

#[tokio::test]
async fn refusals_name_what_is_wrong_and_the_way_out() {
    let stage = Stage::looked();
    let rows = [
        (Method::GET, "/api/v1/apps/shpo", 404),
        (Method::GET, "/api/v1/apps/shpo/diff", 404),
        (Method::GET, "/api/v1/apps/unlike", 404),
        (Method::GET, "/api/v2/apps", 404),
        (Method::GET, "/", 404),
        (Method::GET, "/api/v1/apps/shop/history?limit=x", 400),
        (Method::GET, "/api/v1/apps/shop/history?length=3", 400),
        (Method::GET, "/api/v1/apps/blog/diff", 503),
        (Method::POST, "/api/v1/apps/shop", 405),
        (Method::DELETE, "/api/v1/apps/shop", 405),
        (Method::GET, "/api/v1/apps/shop/rollback", 405),
        (Method::POST, "/webhooks/gitlub", 404),
        (Method::POST, "/webhooks/gitlab", 404),
        (Method::POST, "/api/v1/apps/shpo/retry", 404),
    ];
    let mut told = Vec::new();
    for (method, path, code) in rows {
        let request = Request::builder().method(&method).uri(path).body(Body::empty()).unwrap();
        let reply = stage.send(LOCAL, request).await;
        assert_eq!(reply.status.as_u16(), code, "{method} {path}: {}", reply.body);
        told.push(format!("{method} {path}\n{}", reply.body));
    }
    picture("refusals", &told.concat());
}

#[tokio::test]
async fn head_is_answered_like_get_without_a_body() {
    let stage = Stage::looked();
    for path in ["/healthz", "/readyz", "/metrics", "/api/v1/agent", "/api/v1/apps", "/api/v1/apps/shop"] {
        let head = Request::head(path).body(Body::empty()).unwrap();
        let (head, get) = (stage.send(LOCAL, head).await, stage.get(path).await);
        assert_eq!((head.status, head.body.as_str()), (get.status, ""), "{path}");
        assert_eq!(head.headers["content-type"], get.headers["content-type"], "{path}");
    }
}

#[tokio::test]
async fn the_agent_is_healthy_while_its_loop_is_there_and_ready_while_it_is_at_work() {
    let mut stage = Stage::set(Webhooks::default());
    let codes =
        async |stage: &Stage| (stage.get("/healthz").await.status.as_u16(), stage.get("/readyz").await.status.as_u16());
    assert_eq!(codes(&stage).await, (200, 503));
    stage.board.ready(true);
    assert_eq!(codes(&stage).await, (200, 200));
    stage.orders.close();
    assert_eq!(codes(&stage).await, (503, 503));
}

#[tokio::test]
async fn nothing_is_changed_by_strangers_nor_through_a_port() {
    let mut stage = Stage::looked();
    let stranger = Peer::Local { uid: 3_999_999_999, gid: 77 };
    for verb in ["reconcile", "rollback", "retry", "suspend", "resume"] {
        for peer in [network(), stranger] {
            let reply = stage.send(peer, post(&format!("/api/v1/apps/shop/{verb}"), "")).await;
            assert_eq!(reply.status, StatusCode::FORBIDDEN, "{peer:?} {verb}");
            assert!(reply.body.contains("\"help\""));
        }
    }
    assert_eq!(stage.send(network(), post("/api/v1/reconcile", "")).await.status, StatusCode::FORBIDDEN);
    assert!(stage.orders.try_recv().is_err());
}

#[tokio::test]
async fn a_page_of_somebody_else_cannot_read_from_the_loopback() {
    let stage = Stage::looked();
    for (path, expected) in [("/api/v1/apps", 421), ("/metrics", 421), ("/healthz", 200)] {
        let request = Request::get(path).header("host", "evil.example:9180").body(Body::empty()).unwrap();
        assert_eq!(stage.send(network(), request).await.status.as_u16(), expected, "{path}");
    }
}

#[tokio::test]
async fn bodies_are_bounded_and_checked_before_anything_is_ordered() {
    let mut stage = Stage::looked();
    let long = format!(r#"{{"reason": "{}"}}"#, "x".repeat(2000));
    let huge = "x".repeat(17 * 1024);
    let rows = [
        ("rollback", huge.as_str(), 413),
        ("rollback", "[", 400),
        ("rollback", r#"{"too": "r1"}"#, 400),
        ("rollback", r#"{"to": "../etc"}"#, 400),
        ("suspend", &long, 400),
        ("retry", r#"{"reason": "x"}"#, 400),
        ("reconcile?wait=perhaps", "", 400),
        ("reconcile?weight=1", "", 400),
    ];
    for (what, body, code) in rows {
        let reply = stage.send(LOCAL, post(&format!("/api/v1/apps/shop/{what}"), body)).await;
        assert_eq!(reply.status.as_u16(), code, "{what}: {}", reply.body);
    }
    assert!(stage.orders.try_recv().is_err());
}

#[tokio::test]
async fn what_a_person_asks_for_is_ordered_in_their_name_and_its_end_is_told() {
    type Row<'a> = (&'a str, &'a str, Operation, Result<Operated, HostError>, u16, Option<&'a str>, &'a str);

    let mut stage = Stage::looked();
    let loaded = manifests();
    let rolled_back = || report(&loaded[0], well(), well(), Outcome::RolledBack);
    let person = "anna as root".to_owned();
    let refused = || HostError::new(HostErrorKind::Other, "there is no release to go back to").with_help("commit one");
    let rows: Vec<Row<'_>> = vec![
        (
            "rollback",
            r#"{"to": "r1", "reason": "slow"}"#,
            Operation::Rollback { to: Some(id("r1")), reason: Some("slow".to_owned()), by: person.clone() },
            Ok(Operated::Passed(Box::new(rolled_back()))),
            200,
            Some("0"),
            "shop RolledBack Some(80)\n",
        ),
        (
            "rollback",
            "",
            Operation::Rollback { to: None, reason: None, by: person.clone() },
            Err(refused()),
            409,
            None,
            "there is no release to go back to",
        ),
        (
            "retry",
            "{}",
            Operation::Retry { ignore_windows: false, by: person.clone() },
            Ok(Operated::Passed(Box::new(rolled_back()))),
            200,
            Some("3"),
            "shop RolledBack Some(80)\n",
        ),
        (
            "retry",
            "",
            Operation::Retry { ignore_windows: false, by: person.clone() },
            Ok(Operated::NotKeptOut),
            200,
            Some("0"),
            "nothing to try",
        ),
        (
            "suspend",
            r#"{"reason": "a move"}"#,
            Operation::Suspend { reason: Some("a move".to_owned()), by: person.clone() },
            Ok(Operated::Suspension { before: None, now: Some("a move".to_owned()) }),
            200,
            Some("0"),
            "shop None Some(\"a move\")\n",
        ),
        (
            "resume",
            "",
            Operation::Resume { by: person.clone() },
            Ok(Operated::Suspension { before: Some("a move".to_owned()), now: None }),
            200,
            Some("0"),
            "shop Some(\"a move\") None\n",
        ),
    ];
    let mut told = Vec::new();
    for (verb, body, expected, outcome, status, code, text) in rows {
        for accept in ["text/plain", "application/json"] {
            let request = Request::post(format!("/api/v1/apps/shop/{verb}?width=80"))
                .header("accept", accept)
                .header(PERSON, "anna")
                .body(Body::from(body.to_owned()))
                .unwrap();
            let router = stage.router.clone();
            let answering = async {
                let Some(Order::Operate { app, what, reply }) = stage.orders.recv().await else { panic!("no order") };
                assert_eq!((app.as_str(), &what), ("shop", &expected));
                reply.send(outcome.clone()).unwrap();
            };
            let (reply, ()) = tokio::join!(send(&router, LOCAL, request), answering);
            assert_eq!(reply.status.as_u16(), status, "{verb}: {}", reply.body);
            assert_eq!(reply.headers.get(EXIT_CODE).and_then(|code| code.to_str().ok()), code, "{verb}");
            if accept == "text/plain" {
                assert!(reply.body.contains(text), "{verb}: {}", reply.body);
            } else {
                told.push(format!("{verb} {body}\n{}", reply.body));
            }
        }
    }
    picture("operations", &told.concat());
}

#[tokio::test]
async fn whoever_asks_for_a_pass_gets_the_report_of_one_that_began_afterwards() {
    let mut stage = Stage::looked();
    let loaded = manifests();
    let shop = loaded[0].app.name.clone();
    // One is under way already, and has perhaps seen nothing of what the person means.
    stage.board.began(&shop, &turn(Wake::Request { by: "bert".to_owned() }), noon());
    let router = stage.router.clone();
    let asking = tokio::spawn(async move { send(&router, LOCAL, post("/api/v1/apps/shop/reconcile", "")).await });
    let order = stage.orders.recv().await;
    let Some(Order::Wake { app: Some(app), wake: Wake::Request { by } }) = order else { panic!("{order:?}") };
    assert_eq!((app.as_str(), by.as_str()), ("shop", "root"));
    stage.board.ended(&report(&loaded[0], sick(), sick(), Outcome::Failed), &idle());
    // Nor is one that nobody asked for.
    stage.pass(Wake::Timer, &report(&loaded[0], sick(), sick(), Outcome::Failed));
    stage.pass(Wake::Request { by: "root".to_owned() }, &report(&loaded[0], sick(), well(), Outcome::Converged));
    let reply = asking.await.unwrap();
    assert_eq!((reply.status, &reply.headers[EXIT_CODE]), (StatusCode::OK, &"0".parse().unwrap()));
    picture("reconcile", &reply.body);
}

#[tokio::test]
async fn several_apps_are_asked_for_at_once_and_the_worst_counts() {
    let mut stage = Stage::looked();
    let loaded = manifests();
    let router = stage.router.clone();
    let asking = tokio::spawn(async move { send(&router, LOCAL, post("/api/v1/reconcile", "")).await });
    let mut asked = Vec::new();
    for _ in 0..2 {
        let Some(Order::Wake { app: Some(app), wake }) = stage.orders.recv().await else { panic!("no order") };
        stage.board.began(&app, &turn(wake), noon());
        asked.push(app.to_string());
    }
    assert_eq!(asked, ["shop", "blog"]);
    let blog = seen("1", Vec::new());
    stage.board.ended(&report(&loaded[1], blog.clone(), blog, Outcome::Unhealthy), &idle());
    stage.board.ended(&report(&loaded[0], well(), well(), Outcome::Converged), &idle());
    let reply = asking.await.unwrap();
    assert_eq!((reply.status, &reply.headers[EXIT_CODE]), (StatusCode::OK, &"3".parse().unwrap()));
    let told: serde_json::Value = serde_json::from_str(&reply.body).unwrap();
    assert_eq!((&told["kind"], told["items"].as_array().unwrap().len()), (&"PassReportList".into(), 2));

    let reply = stage.send(LOCAL, post("/api/v1/reconcile?wait=false", r#"{"apps": ["blog"]}"#)).await;
    assert_eq!((reply.status, reply.body.contains("\"Requested\"")), (StatusCode::ACCEPTED, true));
    assert!(matches!(stage.orders.recv().await, Some(Order::Wake { .. })));
    let reply = stage.send(LOCAL, post("/api/v1/reconcile", r#"{"apps": ["blgo"]}"#)).await;
    assert_eq!(reply.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn nobody_waits_for_an_agent_that_ends_or_for_an_app_that_is_gone() {
    let mut stage = Stage::looked();
    let ask = |router: Router, what: &str| {
        let request = post(&format!("/api/v1/apps/shop/{what}"), "");
        tokio::spawn(async move { send(&router, LOCAL, request).await })
    };
    let waiting = ask(stage.router.clone(), "reconcile");
    stage.orders.recv().await.unwrap();
    stage.board.manifests(None, &manifests()[1..]);
    assert_eq!(waiting.await.unwrap().status, StatusCode::GONE);

    stage.board.manifests(None, &manifests());
    let (pass, operation) = (ask(stage.router.clone(), "reconcile"), ask(stage.router.clone(), "retry"));
    let orders = [stage.orders.recv().await.unwrap(), stage.orders.recv().await.unwrap()];
    stage.stop.send(true).unwrap();
    for waiting in [pass, operation] {
        assert_eq!(waiting.await.unwrap().status, StatusCode::SERVICE_UNAVAILABLE);
    }
    drop(orders);
    assert_eq!(ask(stage.router.clone(), "resume").await.unwrap().status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(stage.get("/api/v1/apps").await.status, StatusCode::OK, "reading goes on to the end");
}

#[tokio::test]
async fn the_places_of_those_who_wait_are_bounded() {
    let mut stage = Stage::with_room(Webhooks::default(), 64);
    stage.board.manifests(None, &manifests());
    let mut waiting = Vec::new();
    for _ in 0..super::HELD {
        let router = stage.router.clone();
        waiting.push(tokio::spawn(async move { send(&router, LOCAL, post("/api/v1/apps/shop/retry", "")).await }));
    }
    let mut orders = Vec::new();
    for _ in 0..super::HELD {
        orders.push(stage.orders.recv().await.unwrap());
    }
    let one_more = stage.send(LOCAL, post("/api/v1/apps/shop/retry", "")).await;
    assert_eq!(
        (one_more.status, one_more.headers.contains_key("retry-after")),
        (StatusCode::SERVICE_UNAVAILABLE, true)
    );
    assert_eq!(stage.get("/healthz").await.status, StatusCode::OK);
    drop(orders);
    for one in waiting {
        assert_eq!(one.await.unwrap().status, StatusCode::SERVICE_UNAVAILABLE);
    }
}

fn secret(text: &str) -> secrecy::SecretString {
    text.to_owned().into()
}

fn watched() -> Watched {
    Watched { repository: Some("https://forge.example/ops/manifests.git".to_owned()), branch: Some("main".to_owned()) }
}
