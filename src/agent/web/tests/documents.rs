//! What is read: the documents, the conditions in them, and whether the agent is well.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use axum::http::StatusCode;

use super::picture;
use crate::agent::web::Webhooks;
use crate::agent::web::testing::{LOCAL, MANIFESTS, Stage, idle, manifests, report, sick, turn, well};
use crate::decide::schedule::ScheduleState;
use crate::decide::testing::{noon, process};
use crate::documents::agent::{ManifestProblem, Unreachable};
use crate::model::drift::Difference;
use crate::model::report::{Outcome, PassReport, Problem};
use crate::model::wake::Wake;

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
async fn what_the_agent_knows_besides_is_in_the_conditions() {
    let stage = Stage::looked();
    let shop = manifests()[0].app.name.clone();
    stage.board.woken(&shop, &Wake::Link);
    stage.board.began(&shop, &turn(Wake::Link), noon());
    stage.board.woken(&shop, &Wake::Timer);
    let pending = vec![Wake::Timer];
    stage.board.scheduled(&shop, ScheduleState { running: true, next: None, backoff_until: None, pending, ..idle() });
    stage.board.refused(ManifestProblem {
        revision: None,
        message: "shop.yaml:3:5: unknown key `relase`".to_owned(),
        help: Some("did you mean `release`?".to_owned()),
        mistakes: Vec::new(),
        since: noon(),
    });
    let told = stage.get("/api/v1/apps/shop").await.body;
    assert!(told.contains("a pass is under way: current was changed"), "{told}");
    assert!(told.contains("ManifestsRefused") && told.contains("shop.yaml:3:5"), "{told}");
    picture("agent_busy", &stage.get("/api/v1/agent").await.body);

    stage.board.manifests(None, &manifests()[1..]);
    assert_eq!(stage.get("/api/v1/apps/shop").await.status, StatusCode::NOT_FOUND);
    let orphan = Arc::new(manifests()[0].clone());
    stage.board.orphaned(&orphan, false);
    let told = stage.get("/api/v1/apps/shop").await.body;
    assert!(told.contains("Orphaned") && !told.contains("ManifestsRefused"), "{told}");
    // What was seen of it says less and less.
    assert!(!told.contains("StaleWorkers"), "{told}");
    assert_eq!(stage.get("/api/v1/apps/shop/diff").await.status, StatusCode::CONFLICT);
    let metrics = stage.get("/metrics").await.body;
    assert!(
        metrics.contains("trueup_app_condition{app=\"shop\",condition=\"Ready\",status=\"unknown\"} 1"),
        "{metrics}"
    );
    assert!(!metrics.contains("trueup_workers{app=\"shop\"") && !metrics.contains("trueup_last_success"), "{metrics}");
    stage.board.orphaned(&orphan, true);
    let told = stage.get("/api/v1/apps/shop").await.body;
    assert!(!told.contains("Orphaned") && told.contains("its workers are to be stopped"), "{told}");
    // Back again, and to be looked at anew.
    stage.board.manifests(None, &manifests());
    let told = stage.get("/api/v1/apps/shop").await.body;
    assert!(!told.contains("Orphaned") && told.contains("has not looked yet"), "{told}");
    stage.board.left(&shop);
    assert_eq!(stage.get("/api/v1/apps/shop").await.status, StatusCode::NOT_FOUND);
    assert!(!stage.get("/metrics").await.body.contains("trueup_orphaned{app=\"shop\"}"));
    // One that only an earlier agent has known.
    stage.board.orphaned(&orphan, false);
    let told = stage.get("/api/v1/apps/shop").await.body;
    assert!(told.contains("Orphaned") && told.contains("nothing looks after it"), "{told}");
    assert!(stage.get("/metrics").await.body.contains("trueup_orphaned{app=\"shop\"} 1"));
}

/// Of the App `shop`: whether it is ready and why, whether it is in sync, and what `/diff` says.
async fn standing(stage: &Stage) -> (String, String, String) {
    let json = async |path: &str| -> serde_json::Value { serde_json::from_str(&stage.get(path).await.body).unwrap() };
    let app = json("/api/v1/apps/shop").await;
    let ready = &app["status"]["conditions"][0];
    let ready = format!("{} {}", ready["status"].as_str().unwrap(), ready["reason"].as_str().unwrap());
    let metrics = stage.get("/metrics").await.body;
    let info = metrics.lines().find_map(|line| line.strip_prefix("trueup_app_info{app=\"shop\",")).unwrap();
    let info = info.split(",health").next().unwrap().replace('"', "");
    let diff = json("/api/v1/apps/shop/diff").await;
    let word = |key: &str| diff[key].as_str().unwrap_or_default().to_owned();
    (ready, info, format!("{} {}", word("release"), word("outcome")))
}

/// A pass may fetch, build, migrate and drain for long before anything is as the new manifest says.
#[tokio::test]
async fn a_manifest_that_is_still_to_come_about_is_never_told_as_there() {
    let renewed = |old: &str, new: &str| {
        let text = MANIFESTS.replacen(old, new, 1);
        crate::manifest::load(&["-".into()], &mut text.as_bytes()).unwrap()
    };
    let there = ("True ReconciliationSucceeded", "desired=r2,revision=r2,sync=synced", "r2 converged");
    let rows = [
        ("nothing new", "count: 2", "count: 2", there),
        ("another interval", "  workers:", "  sync: {interval: 7m}\n  workers:", there),
        (
            "another release",
            "id: r2",
            "id: r3",
            ("False ReleaseNotCurrent", "desired=r3,revision=r2,sync=outOfSync", "r3 drift"),
        ),
        (
            "one that is not there",
            "id: r2",
            "id: r7",
            ("False ArtifactFailed", "desired=r7,revision=r2,sync=outOfSync", "r7 failed"),
        ),
        (
            "another question",
            "s3cret",
            "other",
            ("Unknown NotProbed", "desired=r2,revision=r2,sync=unknown", "r2 converged"),
        ),
        (
            "fewer at a time",
            "count: 2,",
            "count: 2, rollout: {maxUnavailable: 1},",
            ("False Progressing", "desired=r2,revision=r2,sync=unknown", "r2 converged"),
        ),
        (
            "another root",
            "/srv/app",
            "/srv/else",
            ("Unknown ObservationFailed", "desired=r2,revision=,sync=unknown", " "),
        ),
    ];
    for (name, old, new, expected) in rows {
        let stage = Stage::looked();
        let (before, now) = (manifests(), renewed(old, new));
        let shop = &before[0].app.name;
        let told = async || standing(&stage).await;
        let is = |told: (String, String, String)| {
            assert_eq!((told.0.as_str(), told.1.as_str(), told.2.as_str()), expected, "{name}");
        };
        stage.pass(Wake::Link, &report(&before[0], well(), well(), Outcome::Converged));
        assert_eq!(told().await.0, "True ReconciliationSucceeded", "{name}");
        stage.board.manifests(None, &now);
        is(told().await);
        stage.board.began(shop, &turn(Wake::Manifest { revision: None }), noon());
        is(told().await);
        // A pass that had begun before says nothing new.
        stage.board.abandoned(shop);
        stage.board.manifests(None, &before);
        stage.board.began(shop, &turn(Wake::Timer), noon());
        stage.board.manifests(None, &now);
        stage.board.ended(&report(&before[0], well(), well(), Outcome::Converged).into(), &idle());
        is(told().await);
        // Its own does.
        stage.pass(Wake::Manifest { revision: None }, &report(&now[0], well(), well(), Outcome::Converged));
        assert_eq!(told().await.0.starts_with("True"), now[0].app.release.id == before[0].app.release.id, "{name}");
    }
}

/// Somebody else's pass takes long.
#[tokio::test]
async fn a_pass_that_has_only_waited_takes_nothing_away() {
    let stage = Stage::looked();
    let loaded = &manifests()[0];
    let shop = &loaded.app.name;
    let message = "waiting for somebody else's pass: held by 7".to_owned();
    let waited = PassReport {
        before: None,
        after: None,
        remaining: Difference::default(),
        problems: vec![Problem { message: message.clone(), help: None, lasting: false }],
        ..report(loaded, sick(), sick(), Outcome::Interrupted)
    };
    let seen = standing(&stage).await;
    stage.board.began(shop, &turn(Wake::Link), noon());
    stage.board.ended(&waited.clone().into(), &ScheduleState { pending: vec![Wake::Link, Wake::Timer], ..idle() });
    assert_eq!(standing(&stage).await, seen);
    let told = stage.get("/api/v1/apps/shop").await.body;
    assert!(
        told.contains("StaleWorkers") && told.contains("\"message\": \"waiting for somebody else's pass: held by 7\""),
        "{told}"
    );
    let metrics = stage.get("/metrics").await.body;
    for line in
        ["trueup_workers{app=\"shop\",group=\"default\",state=\"stale\"} 1", "trueup_wakes_pending{app=\"shop\"} 2"]
    {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
    let agent = async || -> serde_json::Value { serde_json::from_str(&stage.get("/api/v1/agent").await.body).unwrap() };
    let one = &agent().await["apps"][0];
    assert_eq!((&one["waiting"], &one["last"]["outcome"]), (&message.into(), &"failed".into()));
    assert_eq!(one["pending"].as_array().map(Vec::len), Some(2));
    stage.pass(Wake::Timer, &report(loaded, sick(), sick(), Outcome::Failed));
    assert_eq!(agent().await["apps"][0]["waiting"], serde_json::Value::Null);
    // Where nothing was seen yet, that is what there is to say.
    let stage = Stage::set(Webhooks::default());
    stage.board.manifests(None, &manifests());
    stage.board.began(shop, &turn(Wake::Started), noon());
    stage.board.ended(&waited.clone().into(), &idle());
    let told = stage.get("/api/v1/apps/shop").await.body;
    assert!(told.contains("ObservationFailed") && told.contains("waiting for somebody else's pass"), "{told}");
}

/// That a repository cannot be asked says nothing of any App.
#[tokio::test]
async fn a_source_that_is_away_is_told_of_the_agent_alone() {
    let stage = Stage::looked();
    let stalled = async |stage: &Stage| stage.get("/api/v1/apps").await.body;
    let before = stalled(&stage).await;
    stage.board.unreachable(Some(Unreachable { message: "no answer".to_owned(), help: None, since: noon() }));
    assert_eq!(stalled(&stage).await, before);
    let told: serde_json::Value = serde_json::from_str(&stage.get("/api/v1/agent").await.body).unwrap();
    assert_eq!((&told["unreachable"]["message"], &told["refused"]), (&"no answer".into(), &serde_json::Value::Null));
    let metrics = stage.get("/metrics").await.body;
    assert!(metrics.contains("\ntrueup_source_unreachable 1\n") && metrics.contains("\ntrueup_manifests_refused 0\n"));
    stage.board.unreachable(None);
    assert!(stage.get("/metrics").await.body.contains("\ntrueup_source_unreachable 0\n"));
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
