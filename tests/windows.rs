//! Windows for changes, on real workers in temporary roots: what waits, what goes on, and what people are told.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail on the spot")]

mod support;

use std::fs;

use serde_json::{Value, json};
use support::place::{Place, words};

/// Changes are denied at any time.
const CLOSED: &str = "  sync: {windows: [{kind: deny, schedule: '* * * * *', duration: 1d}]}\n";

/// An App `shop` with two releases, of which `r1` is proven, and a worker.
fn place() -> Place {
    let place = Place::bare(&["r1", "r2"], 1);
    place.wish("r1", "");
    place.converges();
    place
}

/// Changes what is known of a release.
fn record(place: &Place, release: &str, change: impl FnOnce(&mut Value)) {
    let path = place.root().join(".trueup/releases").join(format!("{release}.json"));
    let mut record: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    change(&mut record);
    fs::write(path, record.to_string()).unwrap();
}

#[test]
fn outside_its_windows_an_app_is_only_shown() {
    let place = place();
    place.wish("r1", CLOSED);
    let (report, ended) = place.pass(&["reconcile"]);
    assert_eq!(ended, ("converged".to_owned(), 0), "nothing differs, so nothing is withheld: {report}");

    place.wish("r2", CLOSED);
    let workers = place.workers();
    let journal = fs::read(place.root().join(".trueup/journal.jsonl")).unwrap();
    let (report, ended) = place.pass(&["reconcile"]);
    assert_eq!(ended, ("withheld".to_owned(), 4), "{report}");
    assert_eq!((&report["tried"], &report["withheld"]["reason"]), (&json!([]), &json!("OutsideWindow")));
    assert_eq!((place.current(), place.workers()), ("r1".to_owned(), workers));
    assert_eq!(
        fs::read(place.root().join(".trueup/journal.jsonl")).unwrap(),
        journal,
        "there is nothing to write down"
    );

    let said = words(&place.run(&["reconcile", "shop.yaml"]));
    assert!(said.contains("drift withheld: changes are denied for a year or more"), "{said}");
    assert!(
        said.contains("help: if it cannot wait: `trueup reconcile --app shop --ignore-windows shop.yaml`"),
        "{said}"
    );
    for verb in [&["diff", "shop.yaml"][..], &["reconcile", "--dry-run", "shop.yaml"]] {
        let said = words(&place.run(verb));
        assert!(said.contains("would close the drift, but changes are denied"), "{verb:?}: {said}");
    }
    let said = words(&place.run(&["reconcile", "--dry-run", "--ignore-windows", "shop.yaml"]));
    assert!(said.contains("would close the drift") && !said.contains("denied"), "{said}");
    let output = place.run(&["status", "shop.yaml", "--format", "json"]);
    let status: Value = serde_json::from_slice(&output.stdout).unwrap();
    let ready = &status["items"][0]["status"]["conditions"][0];
    assert_eq!(
        (&ready["type"], &ready["status"], &ready["reason"]),
        (&json!("Ready"), &json!("False"), &json!("OutsideWindow"))
    );

    let (report, ended) = place.pass(&["reconcile", "--ignore-windows"]);
    assert_eq!(ended, ("converged".to_owned(), 0), "{report}");
    assert_eq!(place.current(), "r2");
}

#[test]
fn a_window_that_opens_in_hours_says_when() {
    let place = place();
    let hour = (jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).hour() + 12) % 24;
    place.wish("r2", &format!("  sync: {{windows: [{{kind: allow, schedule: '0 {hour} * * *', duration: 1h}}]}}\n"));
    let said = words(&place.run(&["reconcile", "shop.yaml"]));
    assert!(said.contains("drift withheld: no window is open until 2"), "{said}");
    assert!(said.contains(&format!(" {hour:02}:00 UTC, in 1")), "{said}");
    let said = words(&place.run(&["status", "shop.yaml"]));
    assert!(said.contains("windows closed") && said.contains(&format!("{hour:02}:00 UTC")), "{said}");
}

#[test]
fn a_release_that_was_switched_to_is_judged_at_any_time() {
    let place = place();
    place.wish("r2", "");
    place.converges();
    // As if the pass had been killed before the gate.
    record(&place, "r2", |record| drop(record.as_object_mut().unwrap().remove("proven")));
    place.wish("r2", CLOSED);
    let (report, ended) = place.pass(&["reconcile"]);
    assert_eq!(ended, ("converged".to_owned(), 0), "{report}");
    record(&place, "r2", |record| assert!(record["proven"].is_string(), "{record}"));
}

#[test]
fn a_way_back_is_gone_at_any_time_and_the_way_forth_is_not() {
    let place = place();
    place.wish("r2", "");
    place.converges();
    place.wish("r2", CLOSED);
    let (report, ended) = place.pass(&["rollback", "shop"]);
    assert_eq!(ended, ("rolledBack".to_owned(), 0), "{report}");
    assert_eq!(place.current(), "r1");

    // As if the pass had been killed on its way: the next one goes the rest of it back.
    let link = place.root().join("current");
    fs::remove_file(&link).unwrap();
    std::os::unix::fs::symlink("releases/r2", &link).unwrap();
    let (report, ended) = place.pass(&["reconcile"]);
    assert_eq!(ended, ("rolledBack".to_owned(), 3), "{report}");
    assert_eq!(place.current(), "r1");

    let (report, ended) = place.pass(&["retry", "shop"]);
    assert_eq!(ended, ("withheld".to_owned(), 4), "{report}");
    assert_eq!(place.current(), "r1");
    let (report, ended) = place.pass(&["reconcile", "--ignore-windows"]);
    assert_eq!(ended, ("converged".to_owned(), 0), "{report}");
    assert_eq!(place.current(), "r2");
}

#[test]
fn the_manifest_that_an_app_was_found_to_be_like_is_known_where_healing_is_off() {
    let place = place();
    let memory = || -> Value {
        let path = place.root().join(".trueup/memory.json");
        fs::read(path).ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default()
    };
    assert_eq!(memory()["settled"], Value::Null);
    let off = "  sync: {selfHeal: false}\n";
    place.wish("r1", off);
    place.converges();
    let first = memory()["settled"].clone();
    assert!(first.is_string(), "{first}");
    place.wish("r1", "  sync: {selfHeal: false, interval: 5m}\n");
    place.converges();
    assert_eq!(memory()["settled"], first, "how often is no wish");
    place.wish("r2", off);
    assert_eq!(place.pass(&["reconcile"]).1, ("converged".to_owned(), 0), "a person asks");
    assert_ne!(memory()["settled"], first);
}
