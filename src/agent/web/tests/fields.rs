//! Every field that is documented and seldom has anything in it.

use axum::extract::Request;
use axum::http::StatusCode;

use super::picture;
use crate::agent::orders::Order;
use crate::agent::web::Webhooks;
use crate::agent::web::testing::{LOCAL, Stage, idle, manifests, network, post, report, revision, sick, turn, well};
use crate::decide::schedule::ScheduleState;
use crate::decide::testing::noon;
use crate::documents::agent::{Configuration, ManifestProblem, Revision, Unreachable};
use crate::model::report::Outcome;
use crate::model::sync::Withheld;
use crate::model::wake::Wake;

/// As much as can be the matter at once.
fn troubled() -> Stage {
    let stage = Stage::looked();
    let loaded = manifests();
    let shop = &loaded[0].app.name;
    stage.pass(Wake::Started, &report(&loaded[0], sick(), well(), Outcome::Converged));
    stage.board.began(shop, &turn(Wake::Timer), noon());
    let withheld = Withheld::OutsideWindow {
        until: Some(noon()),
        denied: false,
        schedule: Some("0 22 * * *".to_owned()),
        time_zone: jiff::tz::TimeZone::UTC,
    };
    let schedule = ScheduleState { pending: vec![Wake::Link], withheld: Some(withheld), stalled: true, ..idle() };
    stage.board.ended(&report(&loaded[0], well(), sick(), Outcome::Withheld).into(), &schedule);
    stage.board.woken(shop, &Wake::Link);
    let (since, newer) = (noon(), Revision { subject: "shop: r3".to_owned(), signed_by: None, ..revision() });
    let help = Some("correct it".to_owned());
    let message = "shop.yaml:3:5: unknown key `relase`".to_owned();
    stage.board.refused(ManifestProblem { revision: Some(newer), message, help, mistakes: Vec::new(), since });
    let (message, help) = ("cannot reach forge.example".to_owned(), Some("look at its name".to_owned()));
    stage.board.unreachable(Some(Unreachable { message, help, since }));
    let problem = Some("agent.yaml:3:1: unknown key `lissen`".to_owned());
    stage.board.configured(Configuration { problem, needs_restart: vec!["spec.listen".to_owned()] });
    stage
}

#[tokio::test]
async fn what_is_seldom_there_is_as_documented() {
    let mut stage = troubled();
    picture("agent_troubled", &stage.get("/api/v1/agent").await.body);
    let reply = stage.send(LOCAL, post("/api/v1/reconcile?wait=false", "{}")).await;
    assert_eq!(reply.status, StatusCode::ACCEPTED);
    picture("requested", &reply.body);
    assert!(matches!(stage.orders.try_recv(), Ok(Order::Request(_))));
}

/// Every key is there, with null or an empty list where there is nothing to be said; what runs and what waits stands
/// once.
#[tokio::test]
async fn what_there_is_nothing_to_say_of_is_null() {
    let stage = Stage::set(Webhooks::default());
    stage.board.manifests(Some(Revision { signed_by: None, ..revision() }), &manifests());
    let schedule = ScheduleState { next: None, backoff_until: None, ..idle() };
    let shop = &manifests()[0];
    stage.board.began(&shop.app.name, &turn(Wake::Timer), noon());
    stage.board.ended(&report(shop, sick(), sick(), Outcome::Failed).into(), &schedule);
    let told: serde_json::Value = serde_json::from_str(&stage.get("/api/v1/agent").await.body).unwrap();
    let keys = |of: &serde_json::Value| of.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let (shop, blog) = (&told["apps"][0], &told["apps"][1]);
    let (revision, schedule) = (&told["revision"], &shop["schedule"]);
    let all = ["backoffUntil", "corrections", "failures", "looping", "next", "stalled", "withheld"];
    assert_eq!(keys(schedule), all);
    assert_eq!(schedule["looping"], serde_json::json!([]));
    for (of, key) in [
        (&told, "refused"),
        (&told, "unreachable"),
        (revision, "signedBy"),
        (shop, "lastSuccess"),
        (blog, "schedule"),
        (schedule, "backoffUntil"),
        (schedule, "next"),
        (schedule, "withheld"),
    ] {
        assert_eq!(of.get(key), Some(&serde_json::Value::Null), "{key}");
    }
    assert_eq!(told["configuration"], serde_json::json!({"problem": null, "needsRestart": []}));
}

#[tokio::test]
async fn what_became_of_a_delivery_is_as_documented() {
    let stage = Stage::set(Webhooks { gitlab: Some("s3cret".to_owned().into()), ..Webhooks::default() });
    let body = r#"{"object_kind": "tag_push", "ref": "refs/tags/v1"}"#;
    let request = Request::post("/webhooks/gitlab").header("x-gitlab-token", "s3cret");
    let reply =
        stage.send(network(), request.header("x-gitlab-event", "Tag Push Hook").body(body.into()).unwrap()).await;
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.body);
    picture("delivery", &reply.body);
}
