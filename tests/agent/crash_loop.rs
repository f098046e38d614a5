//! A worker that dies again and again, as monitoring sees it and as people are told.

use std::os::unix::fs::PermissionsExt;

use crate::SOON;
use crate::saves::{Desk, manifest};
use crate::support::wait_until;

/// Lives for as long as there is a file beside the releases.
const WORKER: &str = "#!/bin/sh\nwhile [ -e ../../good ]; do sleep 0.1; done\nsleep 2\nexit 1\n";

#[test]
fn a_worker_that_dies_again_and_again_is_never_said_to_be_well() {
    let desk = Desk::configured(|room| {
        let worker = room.join("site/releases/r1/worker");
        std::fs::write(&worker, WORKER).unwrap();
        std::fs::set_permissions(&worker, PermissionsExt::from_mode(0o755)).unwrap();
        std::fs::write(room.join("site/good"), "").unwrap();
        std::fs::create_dir(room.join("m")).unwrap();
        let workers = "  workers: [{name: q, count: 1, manager: {builtin: {run: ./worker}}}]\n";
        std::fs::write(room.join("m/app.yaml"), manifest(room, "r1") + workers).unwrap();
        let at = |name: &str| room.join(name).display().to_string();
        let text = format!(
            "apiVersion: trueup/v1\nkind: Agent\nspec:\n  source: {{dir: {{path: {}}}}}\n  notifications:\n    \
             - {{name: file, to: {{command: {{run: 'cat >>{}'}}}}, severity: error}}\n",
            at("m"),
            at("told"),
        );
        std::fs::write(room.join("agent.yaml"), text).unwrap();
    });
    let told = || std::fs::read_to_string(desk.path("told")).unwrap_or_default();
    let condition = |of: &str, status: &str| {
        let (condition, status) = (format!("condition=\"{of}\""), format!("status=\"{status}\""));
        let all = |line: &str| {
            line.starts_with("trueup_app_condition{") && line.contains(&condition) && line.contains(&status)
        };
        desk.metrics(all) == 1
    };
    wait_until("all is well", SOON, || condition("Ready", "true"));
    std::fs::remove_file(desk.path("site/good")).unwrap();
    wait_until("people are told", SOON, || told().contains("CrashLoop"));
    wait_until("it is on the board", SOON, || condition("Stalled", "true"));
    // However often somebody looks, whether it has just been started or waits for that.
    let (deaths, passes) = (desk.wakes("death"), desk.passes());
    let mut seen = std::collections::BTreeSet::new();
    wait_until("it has died once more, and was started again", SOON, || {
        let (ready, up) = (condition("Ready", "true"), desk.metrics(|line| line.starts_with("trueup_workers{")));
        assert!(!ready, "{up} {}", desk.said());
        seen.insert(up);
        desk.wakes("death") > deaths && desk.passes() > passes && seen.contains(&0)
    });
    assert_eq!(told().matches("CrashLoop").count(), 1, "{}", told());
}
