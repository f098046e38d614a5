//! The agent's log, as people find it in the journal.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail on the spot")]

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The longest that anything may take.
const LONG: Duration = Duration::from_mins(2);

const CONFIG: &str = "apiVersion: trueup/v1
kind: Agent
metadata: {name: web01}
spec:
  notifications:
    - name: chat
      to: {slack: {url: {file: ROOM/nope}}}
";

/// Ends with its test.
struct Agent(Child);

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts an agent whose log leads to a file, which is the journal if `told`; returns what it says until it says
/// `last`.
fn log(room: &Path, told: bool, words: &[&str], last: &str) -> String {
    fs::create_dir_all(room.join("m")).unwrap();
    let web = format!(
        "apiVersion: trueup/v1\nkind: App\nmetadata: {{name: web}}\nspec: {{root: {0}/app, release: {{id: r1}}}}\n",
        room.display()
    );
    fs::write(room.join("m/web.yaml"), web).unwrap();
    fs::write(room.join("agent.yaml"), CONFIG.replace("ROOM", &room.display().to_string())).unwrap();
    let log = fs::File::create(room.join("log")).unwrap();
    let file = log.metadata().unwrap();
    let stream = format!("{}:{}", file.dev(), if told { file.ino() } else { file.ino() + 1 });
    let place = |name: &str| room.join(name).into_os_string();
    let agent = Command::new(env!("CARGO_BIN_EXE_trueup"))
        .args(["agent".into(), "--config".into(), place("agent.yaml"), "--state-dir".into(), place("state")])
        .args(["--socket".into(), place("socket"), place("m")])
        .args(words)
        .env("JOURNAL_STREAM", stream)
        .env_remove("TRUEUP_LOG")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn();
    let _agent = Agent(agent.unwrap());
    let began = Instant::now();
    loop {
        let said = fs::read_to_string(room.join("log")).unwrap();
        if said.lines().any(|line| line.contains(last)) {
            return said;
        }
        assert!(began.elapsed() < LONG, "{said}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn the_journal_is_told_how_grave_each_line_is_and_a_file_is_not() {
    for told in [true, false] {
        let room = tempfile::tempdir().unwrap();
        // The release is nowhere to be had.
        let said = log(room.path(), told, &[], "outcome=failed");
        let line = |words: &str| said.lines().find(|line| line.contains(words)).unwrap_or_else(|| panic!("{said}"));
        let (begins, missing, pass) =
            (line("the agent begins"), line("somebody cannot be notified"), line("outcome=failed"));
        for (line, priority) in [(begins, "<6>"), (missing, "<4>"), (pass, "<4>")] {
            assert_eq!(line.starts_with(priority), told, "{line}");
            assert_eq!(line.starts_with('<'), told, "{line}");
        }
        for words in [&format!("socket={}", room.path().join("socket").display()), "manifests=\"dir ", "host=\"web01\""]
        {
            assert!(begins.contains(words), "{words}: {begins}");
        }
        assert!(missing.contains("notifications.chat.url") && missing.contains("/nope"), "{missing}");
    }
}

/// Somebody else is at work on the App.
#[test]
fn what_a_pass_waits_for_is_in_the_log_in_its_form() {
    let room = tempfile::tempdir().unwrap();
    fs::create_dir_all(room.path().join("app/.trueup")).unwrap();
    let lock = fs::File::create(room.path().join("app/.trueup/lock")).unwrap();
    lock.try_lock().unwrap();
    let said = log(room.path(), false, &["--log-format", "json"], "is locked");
    // The last line may not be whole yet.
    let whole = said.rsplit_once('\n').map_or("", |(whole, _)| whole);
    for line in whole.lines() {
        assert!(serde_json::from_str::<serde_json::Value>(line).is_ok(), "{line}");
    }
}
