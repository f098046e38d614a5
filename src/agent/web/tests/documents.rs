//! What is read: the documents, the conditions in them, and whether the agent is well.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use axum::http::StatusCode;

use super::picture;
use crate::agent::web::Webhooks;
use crate::agent::web::testing::{LOCAL, Stage, manifests, report, sick, turn};
use crate::decide::testing::{noon, process};
use crate::documents::agent::{ManifestProblem, Unreachable};
use crate::model::report::Outcome;
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
    stage.board.orphaned(&orphan, true);
    let told = stage.get("/api/v1/apps/shop").await.body;
    assert!(!told.contains("Orphaned") && told.contains("its workers are to be stopped"), "{told}");
    // Back again, with all that was known.
    stage.board.manifests(None, &manifests());
    let told = stage.get("/api/v1/apps/shop").await.body;
    assert!(!told.contains("Orphaned") && told.contains("StaleWorkers"), "{told}");
    stage.board.left(&shop);
    assert_eq!(stage.get("/api/v1/apps/shop").await.status, StatusCode::NOT_FOUND);
    assert!(!stage.get("/metrics").await.body.contains("trueup_orphaned{app=\"shop\"}"));
    // One that only an earlier agent has known.
    stage.board.orphaned(&orphan, false);
    let told = stage.get("/api/v1/apps/shop").await.body;
    assert!(told.contains("Orphaned") && told.contains("looks no more"), "{told}");
    assert!(stage.get("/metrics").await.body.contains("trueup_orphaned{app=\"shop\"} 1"));
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
