//! Webhooks as forges send them: headers and bodies have the published shapes.

use axum::body::Body;
use axum::extract::Request;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::agent::orders::Order;
use crate::agent::web::Webhooks;
use crate::agent::web::testing::{Stage, network, secret, watched};

type Headers<'a> = &'a [(&'a str, &'a str)];

const SECRET: &str = "It's a Secret to Everybody";

fn webhooks() -> Webhooks {
    Webhooks {
        gitlab: Some(secret(SECRET)),
        github: Some(secret(SECRET)),
        gitea: Some(secret(SECRET)),
        watched: watched(),
    }
}

fn commit(hex: &str) -> Value {
    json!({
        "id": hex,
        "message": "shop: r2\n",
        "timestamp": "2026-05-01T12:00:00Z",
        "author": {"name": "Anna", "email": "anna@example.com"},
        "added": [], "modified": ["shop.yaml"], "removed": [],
    })
}

/// GitLab's "Push Hook".
fn gitlab(branch: &str, path: &str) -> Value {
    let after = "da1560886d4f094c3e6c9ef40349f7d38b5d27d7";
    json!({
        "object_kind": "push",
        "event_name": "push",
        "before": "95790bf891e76fee5e1747ab589903a6a1f80f22",
        "after": after,
        "ref": format!("refs/heads/{branch}"),
        "ref_protected": true,
        "checkout_sha": after,
        "user_id": 4, "user_name": "Anna", "user_username": "anna", "project_id": 15,
        "project": {
            "id": 15, "name": "manifests", "web_url": format!("https://forge.example/{path}"),
            "git_ssh_url": format!("git@forge.example:{path}.git"),
            "git_http_url": format!("https://forge.example/{path}.git"),
            "path_with_namespace": path, "default_branch": "main",
        },
        "repository": {"name": "manifests", "url": format!("git@forge.example:{path}.git"), "visibility_level": 0},
        "commits": [commit(after)],
        "total_commits_count": 1,
    })
}

/// GitHub's `push`; Gitea's and Forgejo's has the same fields.
fn github(branch: &str, path: &str) -> Value {
    let after = "6113728f27ae82c7b1a177c8d03f9e96e0adf246";
    json!({
        "ref": format!("refs/heads/{branch}"),
        "before": "59b20b8d5c6ff8d09518454d4dd8b7b30f095ab5",
        "after": after,
        "created": false, "deleted": false, "forced": false,
        "repository": {
            "id": 186_853_002, "name": "manifests", "full_name": path, "private": true,
            "html_url": format!("https://forge.example/{path}"),
            "clone_url": format!("https://forge.example/{path}.git"),
            "ssh_url": format!("git@forge.example:{path}.git"),
            "default_branch": "main",
        },
        "pusher": {"name": "anna", "email": "anna@example.com"},
        "sender": {"login": "anna", "id": 21_031_067},
        "commits": [commit(after)],
        "head_commit": commit(after),
    })
}

fn sign(body: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(body.as_bytes());
    mac.finalize().into_bytes().iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"))
}

fn delivery(forge: &str, headers: &[(&str, &str)], body: &str) -> Request {
    let mut request = Request::post(format!("/webhooks/{forge}")).header("content-type", "application/json");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Body::from(body.to_owned())).unwrap()
}

/// What each forge sends for a push.
fn push(forge: &str, delivery_id: &str, branch: &str, path: &str) -> Request {
    match forge {
        "gitlab" => delivery(
            forge,
            &[("x-gitlab-event", "Push Hook"), ("x-gitlab-token", SECRET), ("x-gitlab-event-uuid", delivery_id)],
            &gitlab(branch, path).to_string(),
        ),
        "github" => {
            let body = github(branch, path).to_string();
            let proof = format!("sha256={}", sign(&body));
            let headers =
                [("x-github-event", "push"), ("x-github-delivery", delivery_id), ("x-hub-signature-256", &proof)];
            delivery(forge, &headers, &body)
        }
        _ => {
            let body = github(branch, path).to_string();
            let proof = sign(&body);
            let headers = [("x-gitea-event", "push"), ("x-gitea-delivery", delivery_id), ("x-gitea-signature", &proof)];
            delivery(forge, &headers, &body)
        }
    }
}

async fn result(stage: &Stage, request: Request) -> (u16, String) {
    let reply = stage.send(network(), request).await;
    let body: Value = serde_json::from_str(&reply.body).unwrap();
    let word = body["result"].as_str().or(body["message"].as_str()).unwrap().to_owned();
    (reply.status.as_u16(), word)
}

#[tokio::test]
async fn a_push_has_manifests_looked_for_once_however_often_it_arrives() {
    let mut stage = Stage::set(webhooks());
    for forge in ["gitlab", "github", "gitea"] {
        assert_eq!(result(&stage, push(forge, "1", "main", "ops/manifests")).await, (202, "accepted".to_owned()));
        let Ok(Order::Pushed { from }) = stage.orders.try_recv() else {
            panic!("{forge}: no order");
        };
        assert_eq!(from, forge);
        assert_eq!(result(&stage, push(forge, "1", "main", "ops/manifests")).await, (200, "repeated".to_owned()));
        // Whoever sends a signed body again cannot make it another one by another name.
        let again = result(&stage, push(forge, "2", "main", "ops/manifests")).await;
        let expected = if forge == "gitlab" { (202, "accepted") } else { (200, "repeated") };
        assert_eq!((again.0, again.1.as_str()), expected, "{forge}");
        assert_eq!(stage.orders.try_recv().is_ok(), forge == "gitlab");
        for (branch, path) in [("feature", "ops/manifests"), ("main", "ops/elsewhere")] {
            assert_eq!(result(&stage, push(forge, "3", branch, path)).await, (200, "ignored".to_owned()), "{forge}");
        }
        assert!(stage.orders.try_recv().is_err(), "{forge}");
    }
}

#[tokio::test]
async fn forgejo_is_a_gitea_with_headers_of_its_own() {
    let mut stage = Stage::set(webhooks());
    let body = github("main", "ops/manifests").to_string();
    let proof = sign(&body);
    let headers = [("x-forgejo-event", "push"), ("x-forgejo-delivery", "1"), ("x-forgejo-signature", proof.as_str())];
    assert_eq!(result(&stage, delivery("gitea", &headers, &body)).await.0, 202);
    assert!(stage.orders.try_recv().is_ok());
}

#[tokio::test]
async fn what_the_loop_was_not_told_of_may_come_again() {
    let mut stage = Stage::with_room(webhooks(), 1);
    assert_eq!(result(&stage, push("github", "1", "main", "ops/manifests")).await.0, 202);
    let busy = stage.send(network(), push("gitlab", "2", "main", "ops/manifests")).await;
    assert_eq!((busy.status.as_u16(), busy.headers.contains_key("retry-after")), (503, true));
    stage.orders.try_recv().unwrap();
    assert_eq!(result(&stage, push("gitlab", "2", "main", "ops/manifests")).await.0, 202);
}

#[tokio::test]
async fn what_is_not_proven_is_not_read_and_what_is_too_large_is_not_kept() {
    let mut stage = Stage::set(Webhooks { gitea: None, ..webhooks() });
    let body = github("main", "ops/manifests").to_string();
    let proof = format!("sha256={}", sign(&body));
    let large = "x".repeat(super::super::WEBHOOK_BODY + 1);
    let fits = "x".repeat(super::super::WEBHOOK_BODY);
    let event = ("x-github-event", "push");
    let rows: [(&str, Headers<'_>, &str, u16); 9] = [
        ("github", &[event], &body, 401),
        ("github", &[event, ("x-hub-signature-256", "sha256=00")], &body, 401),
        ("github", &[event, ("x-hub-signature-256", &proof)], &body[1..], 401),
        ("github", &[event, ("x-hub-signature-256", &proof)], &large, 413),
        ("github", &[event, ("x-hub-signature-256", &proof)], &fits, 401),
        ("gitlab", &[("x-gitlab-token", "guess")], "{}", 401),
        ("gitlab", &[("x-gitlab-event", "Push Hook"), ("x-gitlab-token", SECRET)], "{", 400),
        ("gitlab", &[("x-gitlab-token", SECRET)], "{}", 400),
        ("gitea", &[("x-gitea-signature", &sign(&body))], &body, 404),
    ];
    for (forge, headers, body, code) in rows {
        let reply = stage.send(network(), delivery(forge, headers, body)).await;
        assert_eq!(reply.status.as_u16(), code, "{forge} {headers:?}: {}", reply.body);
        assert!(reply.body.contains("\"message\"") && !reply.body.contains(SECRET));
    }
    assert!(stage.orders.try_recv().is_err());
    let counted = stage.get("/metrics").await.body;
    assert!(counted.contains("trueup_webhooks_total{forge=\"github\",result=\"refused\"} 4"), "{counted}");
}
