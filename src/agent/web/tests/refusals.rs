//! What is refused, and to whom.

use axum::body::Body;
use axum::extract::Request;
use axum::http::{Method, StatusCode};

use super::picture;
use crate::agent::web::peer::Peer;
use crate::agent::web::testing::{LOCAL, Stage, network, post};

#[tokio::test]
async fn refusals_name_what_is_wrong_and_the_way_out() {
    let stage = Stage::looked();
    let rows = [
        (Method::GET, "/api/v1/apps/shpo", 404),
        (Method::GET, "/api/v1/apps/shpo/diff", 404),
        (Method::GET, "/api/v1/apps/unlike", 404),
        (Method::GET, "/api/v2/apps", 404),
        (Method::GET, "/", 404),
        (Method::GET, "/api/v1/apps/shop/history?last=x", 400),
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
        ("reconcile", r#"{"ignoreWindow": true}"#, 400),
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
async fn secrets_of_a_manifest_do_not_leave_through_a_port() {
    let stage = Stage::looked();
    for path in ["/api/v1/apps", "/api/v1/apps/shop"] {
        assert!(stage.get(path).await.body.contains("s3cret"));
        let told = stage.get_from(network(), path).await;
        assert!(told.status.is_success() && !told.body.contains("s3cret") && told.body.contains("\"X-Key\": \"***\""));
    }
}

#[tokio::test]
async fn a_page_of_somebody_else_cannot_read_from_the_loopback() {
    let stage = Stage::looked();
    for (path, expected) in [("/api/v1/apps", 421), ("/metrics", 421), ("/healthz", 200)] {
        let request = Request::get(path).header("host", "evil.example:9180").body(Body::empty()).unwrap();
        assert_eq!(stage.send(network(), request).await.status.as_u16(), expected, "{path}");
    }
}
