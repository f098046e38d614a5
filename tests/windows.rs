//! Windows for changes, on real workers in temporary roots: what waits, what goes on, and what people are told.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail on the spot")]

mod support;

use std::fs;
use std::path::PathBuf;
use std::process::Output;

use assert_cmd::Command;
use serde_json::{Value, json};
use support::local::kill;
use trueup::host::proc;
use trueup::model::process::ProcessId;

/// Changes are denied at any time.
const CLOSED: &str = "  sync: {windows: [{kind: deny, schedule: '* * * * *', duration: 1d}]}\n";

/// An App `shop` with two releases in a temporary root, of which `r1` is proven, and a builtin worker.
struct Place {
    room: tempfile::TempDir,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.workers().into_iter().for_each(kill);
    }
}

impl Place {
    fn new() -> Self {
        let place = Self { room: tempfile::tempdir().unwrap() };
        for release in ["r1", "r2"] {
            fs::create_dir_all(place.root().join("releases").join(release)).unwrap();
            fs::write(place.root().join("releases").join(release).join("file"), release).unwrap();
        }
        place.wish("r1", "");
        assert_eq!(place.pass(&["reconcile"]).1, ("converged".to_owned(), 0));
        place
    }

    fn root(&self) -> PathBuf {
        self.room.path().canonicalize().unwrap().join("shop")
    }

    /// Writes the manifest: this release, and further lines of `spec`.
    fn wish(&self, release: &str, more: &str) {
        let text = format!(
            "apiVersion: trueup/v1\nkind: App\nmetadata: {{name: shop}}\nspec:\n  root: {}\n  release: {{id: {release}}}\n  \
             workers:\n    - name: default\n      count: 1\n      rollout: {{minHealthy: 0s}}\n      \
             manager: {{builtin: {{run: exec sleep 600}}}}\n{more}",
            self.root().display()
        );
        fs::write(self.room.path().join("shop.yaml"), text).unwrap();
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_trueup"));
        command.env_clear().env("PATH", "/usr/bin:/bin").env("SUDO_USER", "anna").current_dir(self.room.path());
        command.args(arguments).output().unwrap()
    }

    fn words(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        String::from_utf8_lossy(&[output.stdout.as_slice(), &output.stderr].concat()).into_owned()
    }

    /// A pass by a verb: its report, and outcome and exit code.
    fn pass(&self, arguments: &[&str]) -> (Value, (String, i32)) {
        let output = self.run(&[arguments, &["shop.yaml", "--format", "json"]].concat());
        let said: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|_| panic!("{arguments:?}: {}", String::from_utf8_lossy(&output.stderr)));
        let report = said["items"][0].clone();
        let outcome = report["outcome"].as_str().unwrap_or_else(|| panic!("{arguments:?}: {said}")).to_owned();
        (report, (outcome, output.status.code().unwrap()))
    }

    fn workers(&self) -> Vec<ProcessId> {
        let mark = ("TRUEUP_ROOT".to_owned(), self.root().display().to_string());
        let ours = |process: &ProcessId| {
            let environment = proc::environment(*process).unwrap();
            environment.is_some_and(|found| found.known().is_some_and(|pairs| pairs.contains(&mark)))
        };
        proc::walk().unwrap().processes.into_iter().map(|process| process.id).filter(ours).collect()
    }

    fn current(&self) -> String {
        fs::read_link(self.root().join("current")).unwrap().file_name().unwrap().to_string_lossy().into_owned()
    }

    /// Changes what is known of a release.
    fn record(&self, release: &str, change: impl FnOnce(&mut Value)) {
        let path = self.root().join(".trueup/releases").join(format!("{release}.json"));
        let mut record: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        change(&mut record);
        fs::write(path, record.to_string()).unwrap();
    }
}

#[test]
fn outside_its_windows_an_app_is_only_shown() {
    let place = Place::new();
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

    let said = place.words(&["reconcile", "shop.yaml"]);
    assert!(said.contains("drift withheld: changes are denied for a year or more"), "{said}");
    assert!(said.contains("help: if it cannot wait: `trueup reconcile --app shop --ignore-windows`"), "{said}");
    for verb in [&["diff", "shop.yaml"][..], &["reconcile", "--dry-run", "shop.yaml"]] {
        let said = place.words(verb);
        assert!(said.contains("would close the drift, but changes are denied"), "{verb:?}: {said}");
    }
    let said = place.words(&["reconcile", "--dry-run", "--ignore-windows", "shop.yaml"]);
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
    let place = Place::new();
    let hour = (jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).hour() + 12) % 24;
    place.wish("r2", &format!("  sync: {{windows: [{{kind: allow, schedule: '0 {hour} * * *', duration: 1h}}]}}\n"));
    let said = place.words(&["reconcile", "shop.yaml"]);
    assert!(said.contains("drift withheld: no window is open until 2"), "{said}");
    assert!(said.contains(&format!(" {hour:02}:00 UTC, in 1")), "{said}");
    let said = place.words(&["status", "shop.yaml"]);
    assert!(said.contains("windows closed") && said.contains(&format!("{hour:02}:00 UTC")), "{said}");
}

#[test]
fn a_release_that_was_switched_to_is_judged_at_any_time() {
    let place = Place::new();
    place.wish("r2", "");
    assert_eq!(place.pass(&["reconcile"]).1, ("converged".to_owned(), 0));
    // As if the pass had been killed before the gate.
    place.record("r2", |record| drop(record.as_object_mut().unwrap().remove("proven")));
    place.wish("r2", CLOSED);
    let (report, ended) = place.pass(&["reconcile"]);
    assert_eq!(ended, ("converged".to_owned(), 0), "{report}");
    place.record("r2", |record| assert!(record["proven"].is_string(), "{record}"));
}

#[test]
fn a_way_back_is_gone_at_any_time_and_the_way_forth_is_not() {
    let place = Place::new();
    place.wish("r2", "");
    assert_eq!(place.pass(&["reconcile"]).1, ("converged".to_owned(), 0));
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
    let place = Place::new();
    let memory = || -> Value {
        let path = place.root().join(".trueup/memory.json");
        fs::read(path).ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default()
    };
    assert_eq!(memory()["settled"], Value::Null);
    let off = "  sync: {selfHeal: false}\n";
    place.wish("r1", off);
    assert_eq!(place.pass(&["reconcile"]).1, ("converged".to_owned(), 0));
    let first = memory()["settled"].clone();
    assert!(first.is_string(), "{first}");
    place.wish("r1", "  sync: {selfHeal: false, interval: 5m}\n");
    assert_eq!(place.pass(&["reconcile"]).1, ("converged".to_owned(), 0));
    assert_eq!(memory()["settled"], first, "how often is no wish");
    place.wish("r2", off);
    assert_eq!(place.pass(&["reconcile"]).1, ("converged".to_owned(), 0), "a person asks");
    assert_ne!(memory()["settled"], first);
}
