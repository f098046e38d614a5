//! What happens to manifests while no agent runs.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use serde_json::Value;

use crate::SOON;
use crate::saves::{Desk, save};
use crate::support::wait_until;

/// The command line of a worker that no other test has. What is left of it where the test fails ends with this.
struct Worker(String);

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = Command::new("pkill").args(["-xf", &self.0]).status();
    }
}

#[test]
fn apps_that_go_while_no_agent_runs_are_seen_off_or_told() {
    let lasts = format!("300.{}", std::process::id());
    let worker = Worker(format!("sleep {lasts}"));
    let mut desk = Desk::new("m", |room| {
        save(room, "m/app.yaml", "r1");
        for (name, more) in [
            ("stays", String::new()),
            (
                "shop",
                format!(
                    ", sync: {{prune: true}}, workers: [{{name: q, count: 1, rollout: {{minHealthy: 1s}}, \
                     manager: {{builtin: {{run: [sleep, '{lasts}']}}}}}}]"
                ),
            ),
        ] {
            let release = room.join(name).join("releases/r1");
            std::fs::create_dir_all(&release).unwrap();
            std::fs::write(release.join("index.php"), "<?php\n").unwrap();
            let text = format!(
                "apiVersion: trueup/v1\nkind: App\nmetadata: {{name: {name}}}\n\
                 spec: {{root: ../{name}, release: {{id: r1}}{more}}}\n"
            );
            std::fs::write(room.join("m").join(format!("{name}.yaml")), text).unwrap();
        }
    });
    let workers = || {
        let found = Command::new("pgrep").args(["-xf", &worker.0]).output().unwrap();
        String::from_utf8_lossy(&found.stdout).lines().count()
    };
    let told = |desk: &Desk| -> Vec<(String, bool)> {
        let apps = desk.ask("GET /api/v1/agent", "").1["apps"].as_array().cloned().unwrap_or_default();
        let row = |app: &Value| (app["name"].as_str().unwrap_or_default().to_owned(), app["orphaned"] == true);
        apps.iter().map(row).collect()
    };
    wait_until("a worker", SOON, || workers() == 1);
    desk.meanwhile(":");
    assert_eq!(workers(), 1, "a restart touches none");
    let mode = std::fs::metadata(desk.path("state/apps.json")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "manifests may hold secrets");
    let left = [("stays".to_owned(), false), ("app".to_owned(), true)];
    for script in ["rm m/app.yaml m/shop.yaml", ":"] {
        desk.meanwhile(script);
        wait_until("what is left", SOON, || told(&desk) == left);
        assert_eq!(workers(), 0);
    }
    // When its root is gone, too, there is nothing more to be told of it.
    desk.meanwhile("rm -r site");
    wait_until("what stays", SOON, || told(&desk) == left[..1]);
}

#[test]
fn a_typo_in_one_file_does_not_cost_a_host_that_starts_again_its_apps() {
    let mut desk = Desk::new("m", |room| save(room, "m/app.yaml", "r1"));
    desk.follows("r1", "the first look");
    let wrong = ["echo 'kind: App' >m/other.yaml", ":", "mv m away"];
    for script in wrong {
        desk.meanwhile(&format!("{script}; ln -s releases/r2 site/new; mv -T site/new site/current"));
        desk.follows("r1", script);
        let agent = || desk.ask("GET /api/v1/agent", "").1;
        wait_until("it is ready", SOON, || agent()["ready"] == true);
        wait_until("what is wrong is told", SOON, || !agent()["refused"].is_null());
        assert_eq!(agent()["apps"][0]["name"], "app");
    }
    desk.sh("rm away/other.yaml; sed -i 's/id: r1/id: r2/' away/app.yaml; mv away m");
    desk.follows("r2", "mended manifests");
}

#[test]
fn an_alarm_that_nobody_took_is_told_by_the_next_agent_and_once() {
    let mut desk = Desk::configured(|room| {
        save(room, "m/app.yaml", "r1");
        let at = |name: &str| room.join(name).display().to_string();
        let text = format!(
            "apiVersion: trueup/v1\nkind: Agent\nspec:\n  source: {{dir: {{path: {}}}}}\n  notifications:\n    \
             - {{name: file, to: {{command: {{run: 'test -e {} && cat >>{}'}}}}, severity: error}}\n",
            at("m"),
            at("up"),
            at("told"),
        );
        std::fs::write(room.join("agent.yaml"), text).unwrap();
    });
    desk.follows("r1", "the first look");
    wait_until("its first pass is over", SOON, || desk.ask("GET /readyz", "").0 == 200);
    desk.sh("rm site/current; mkdir site/current");
    let state = |name: &str| std::fs::read_to_string(desk.path("state").join(name)).unwrap_or_default();
    wait_until("it counts as told", SOON, || state("apps.json").contains("Failed"));
    wait_until("it waits", SOON, || state("outbox.json").contains("Failed"));
    desk.meanwhile("touch up");
    let file = desk.path("told");
    let told = || std::fs::read_to_string(&file).unwrap_or_default();
    wait_until("it is told", SOON, || told().contains("Failed"));
    wait_until("nothing waits any more", SOON, || {
        !std::fs::read_to_string(desk.path("state/outbox.json")).unwrap_or_default().contains("Failed")
    });
    desk.meanwhile(":");
    wait_until("it is at work", SOON, || desk.ask("GET /readyz", "").0 == 200);
    assert_eq!(told().matches("which is never replaced").count(), 1, "{}", told());
}
