//! SIGHUP: the agent's own configuration is read again, and what of it is in force is said.

use std::path::Path;

use serde_json::Value;

use crate::SOON;
use crate::saves::{Desk, save};
use crate::support::wait_until;

fn configuration(room: &Path, listener: &str, secret: &str, more: &str) -> String {
    let at = |name: &str| room.join(name).display().to_string();
    std::fs::write(room.join("secret"), secret).unwrap();
    format!(
        "apiVersion: trueup/v1\nkind: Agent\nmetadata: {{name: web01}}\nspec:\n  source: {{dir: {{path: {}}}}}\n  \
         webhooks: {{gitlab: {{secret: {{file: {}}}}}}}\n  notifications:\n    \
         - {{name: file, to: {{command: {{run: 'cat >>{}'}}}}}}\n{more}",
        at("m"),
        at("secret"),
        at(listener),
    )
}

/// Swaps the link, which is corrected and told.
fn drift(desk: &Desk) {
    desk.sh("ln -s releases/r2 site/new; mv -T site/new site/current");
    desk.follows("r1", "drift is corrected");
}

#[test]
fn what_can_change_is_in_force_and_what_cannot_is_said() {
    let desk = Desk::configured(|room| {
        save(room, "m/app.yaml", "r1");
        std::fs::write(room.join("agent.yaml"), configuration(room, "first", "one", "")).unwrap();
    });
    desk.follows("r1", "the first look");
    let told = |name: &str| std::fs::read_to_string(desk.path(name)).unwrap_or_default();
    let standing = || desk.ask("GET /api/v1/agent", "").1["configuration"].clone();
    let knocks = |token: &str| {
        let header = format!("X-Gitlab-Token: {token}\r\nX-Gitlab-Event: Push Hook\r\n");
        desk.ask("POST /webhooks/gitlab", &header).0
    };
    wait_until("the first news", SOON, || told("first").contains("Deployed"));
    assert_eq!(standing(), serde_json::json!({"problem": null, "needsRestart": []}));
    // Garbled, but proven.
    assert_eq!((knocks("one"), knocks("two")), (400, 401));

    // One that is wrong leaves everything as it was, and is told with its place.
    let wrong = configuration(desk.room(), "second", "one", "").replace("notifications:", "notificatoins:");
    std::fs::write(desk.path("agent.yaml"), wrong).unwrap();
    desk.hang_up();
    let problem = || standing()["problem"].as_str().unwrap_or_default().to_owned();
    wait_until("the problem", SOON, || problem().contains("agent.yaml:7:3"));
    let said = |words: &str| wait_until(words, SOON, || desk.said().contains(words));
    said("agent.yaml:7:3");
    said("what was in force stays");
    drift(&desk);
    wait_until("those who were told before", SOON, || told("first").contains("DriftCorrected"));

    // A secret that is not there is no reason to take no webhooks at all.
    let text = configuration(desk.room(), "second", "one", "");
    std::fs::write(desk.path("agent.yaml"), text.replace("/secret}", "/nowhere}")).unwrap();
    desk.hang_up();
    wait_until("the other problem", SOON, || problem().contains("nowhere"));
    assert_eq!(knocks("one"), 400);

    // Others are told, another secret counts; another address takes a restart.
    let text = configuration(desk.room(), "second", "two", "  listen: 127.0.0.1:1\n").replace("web01", "web02");
    std::fs::write(desk.path("agent.yaml"), text).unwrap();
    desk.hang_up();
    let restart = serde_json::json!(["metadata.name", "spec.listen"]);
    wait_until("what takes a restart", SOON, || standing()["needsRestart"] == restart);
    assert_eq!(standing()["problem"], Value::Null);
    said("needs_restart=\"metadata.name, spec.listen\"");
    assert_eq!((knocks("one"), knocks("two")), (401, 400));
    drift(&desk);
    wait_until("those who are told now", SOON, || told("second").contains("DriftCorrected"));
    assert!(told("second").contains("web01") && !told("second").contains("web02"), "one name everywhere");
    assert_eq!(told("first").matches("DriftCorrected").count(), 1);
}
