//! What people ask for: what the loop is ordered to do, and who waits for the answer.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::StatusCode;

use super::picture;
use crate::agent::orders::{Operated, Operation, Order};
use crate::agent::web::testing::{LOCAL, Stage, idle, manifests, post, report, request, send, sick, turn, well};
use crate::agent::web::{EXIT_CODE, HELD, NOTE, PERSON, Webhooks};
use crate::decide::testing::{id, noon, seen};
use crate::model::names::AppName;
use crate::model::report::Outcome;
use crate::model::wake::Wake;
use crate::ports::{HostError, HostErrorKind};

#[tokio::test]
async fn what_a_person_asks_for_is_ordered_in_their_name_and_its_end_is_told() {
    type Row<'a> = (&'a str, &'a str, Operation, Result<Operated, HostError>, u16, Option<&'a str>, &'a str);

    let mut stage = Stage::looked();
    let loaded = manifests();
    let rolled_back = || report(&loaded[0], well(), well(), Outcome::RolledBack);
    let person = "anna as root".to_owned();
    let refused =
        || HostError::new(HostErrorKind::NotApplicable, "there is no release to go back to").with_help("commit one");
    let rows: Vec<Row<'_>> = vec![
        (
            "rollback",
            r#"{"to": "r1", "reason": "slow"}"#,
            Operation::Rollback { to: Some(id("r1")), reason: Some("slow".to_owned()), by: person.clone() },
            Ok(Operated::Passed(rolled_back().into())),
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
            Ok(Operated::Passed(rolled_back().into())),
            200,
            Some("3"),
            "shop tried again: RolledBack Some(80)\n",
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
    stage.board.began(&shop, &turn(request("bert")), noon());
    let router = stage.router.clone();
    let asking = tokio::spawn(async move { send(&router, LOCAL, post("/api/v1/apps/shop/reconcile", "")).await });
    let asked = stage.asked().await;
    assert_eq!((&asked.apps, &asked.wake), (&Some(vec![shop.clone()]), &request("root")));
    stage.grant(asked, None);
    stage.board.ended(&report(&loaded[0], sick(), sick(), Outcome::Failed).into(), &idle());
    // Nor is one that nobody asked for.
    stage.pass(Wake::Timer, &report(&loaded[0], sick(), sick(), Outcome::Failed));
    stage.pass(request("root"), &report(&loaded[0], sick(), well(), Outcome::Converged));
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
    let asked = stage.asked().await;
    assert_eq!(asked.apps, None, "those that the newest manifests name");
    let wake = asked.wake.clone();
    let woken = stage.grant(asked, None);
    assert_eq!(woken.iter().map(AppName::as_str).collect::<Vec<_>>(), ["shop", "blog"]);
    for app in &woken {
        stage.board.began(app, &turn(wake.clone()), noon());
    }
    let blog = seen("1", Vec::new());
    stage.board.ended(&report(&loaded[1], blog.clone(), blog, Outcome::Unhealthy).into(), &idle());
    stage.board.ended(&report(&loaded[0], well(), well(), Outcome::Converged).into(), &idle());
    let reply = asking.await.unwrap();
    assert_eq!((reply.status, &reply.headers[EXIT_CODE]), (StatusCode::OK, &"3".parse().unwrap()));
    let told: serde_json::Value = serde_json::from_str(&reply.body).unwrap();
    assert_eq!((&told["kind"], told["items"].as_array().unwrap().len()), (&"PassReportList".into(), 2));

    let reply = stage.send(LOCAL, post("/api/v1/reconcile?wait=false", r#"{"apps": ["blog"]}"#)).await;
    assert_eq!((reply.status, reply.body.contains("\"Requested\"")), (StatusCode::ACCEPTED, true));
    assert_eq!(stage.asked().await.apps, Some(vec![loaded[1].app.name.clone()]));
    for (path, body) in [
        ("/api/v1/reconcile", r#"{"apps": ["shop"], "ignoreWindows": true}"#),
        ("/api/v1/apps/shop/reconcile", r#"{"ignoreWindows": true}"#),
    ] {
        stage.send(LOCAL, post(&format!("{path}?wait=false"), body)).await;
        let asked = stage.asked().await;
        assert!(asked.apps.is_some_and(|apps| apps == [loaded[0].app.name.clone()]), "{path}");
        assert_eq!(asked.wake, Wake::Request { by: "root".to_owned(), ignore_windows: true }, "{path}");
    }
    let reply = stage.send(LOCAL, post("/api/v1/reconcile", r#"{"apps": ["blgo"]}"#)).await;
    assert_eq!(reply.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn whoever_asks_learns_that_the_newest_manifests_could_not_be_had() {
    let mut stage = Stage::looked();
    let loaded = manifests();
    let router = stage.router.clone();
    let asking = tokio::spawn(async move { send(&router, LOCAL, post("/api/v1/apps/shop/reconcile", "")).await });
    let asked = stage.asked().await;
    stage.grant(asked, Some("`git ls-remote` of für.example failed:\nno route"));
    stage.pass(request("root"), &report(&loaded[0], sick(), well(), Outcome::Converged));
    let reply = asking.await.unwrap();
    // The pass went well, and is perhaps not the one that was meant.
    assert_eq!((reply.status, &reply.headers[EXIT_CODE]), (StatusCode::OK, &"1".parse().unwrap()));
    assert_eq!(reply.headers[NOTE].as_bytes(), "`git ls-remote` of für.example failed:".as_bytes());
}

#[tokio::test]
async fn nobody_waits_for_an_agent_that_ends_or_for_an_app_that_is_gone() {
    let mut stage = Stage::looked();
    let ask = |router: Router, what: &str| {
        let request = post(&format!("/api/v1/apps/shop/{what}"), "");
        tokio::spawn(async move { send(&router, LOCAL, request).await })
    };
    let waiting = ask(stage.router.clone(), "reconcile");
    let asked = stage.asked().await;
    stage.grant(asked, None);
    // As the loop does, in one go: whoever waits sees it as one that is left running.
    stage.board.manifests(None, &manifests()[1..]);
    stage.board.orphaned(&Arc::new(manifests().remove(0)), false);
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
    for _ in 0..HELD {
        let router = stage.router.clone();
        waiting.push(tokio::spawn(async move { send(&router, LOCAL, post("/api/v1/apps/shop/retry", "")).await }));
    }
    let mut orders = Vec::new();
    for _ in 0..HELD {
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
