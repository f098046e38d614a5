//! A commit is a deployment: the real agent over a real repository, hands off.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail on the spot")]

mod support;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use support::git::git;
use support::wait_until;

/// The longest that anything may take.
const LONG: Duration = Duration::from_secs(30);

/// A forge, an agent, and what the agent looks after.
struct Site {
    room: tempfile::TempDir,
    agent: Option<Child>,
    /// Where the forge takes statuses.
    api: String,
    /// Commit statuses as they were posted: `STATE CONTEXT COMMIT`.
    statuses: Arc<Mutex<Vec<String>>>,
}

impl Site {
    fn new() -> Self {
        let room = tempfile::tempdir().unwrap();
        let statuses = Arc::default();
        let api = forge(Arc::clone(&statuses));
        for release in ["r1", "r2"] {
            fs::create_dir_all(room.path().join("app/releases").join(release)).unwrap();
            fs::write(room.path().join("app/releases").join(release).join("index"), "").unwrap();
        }
        fs::create_dir(room.path().join("origin")).unwrap();
        fs::write(room.path().join("token"), "t0ken\n").unwrap();
        let site = Self { room, agent: None, api, statuses };
        site.configure("poll: 200ms");
        site.git(&["init", "--quiet", "--initial-branch=main"]);
        site
    }

    /// Writes the agent's own configuration, with these words on how it follows its branch.
    fn configure(&self, git: &str) {
        let path = |name: &str| self.path(name).display().to_string();
        let config = format!(
            "apiVersion: trueup/v1
kind: Agent
metadata: {{name: web01}}
spec:
  source: {{git: {{url: {origin}, path: hosts/web01, {git}}}}}
  notifications:
    - name: file
      to: {{command: {{run: 'cat >>{events}; echo >>{events}'}}}}
  commitStatus:
    github: {{api: '{api}', repository: ops/hosts, token: {{file: {token}}}}}
",
            origin = path("origin"),
            api = self.api,
            events = path("events"),
            token = path("token"),
        );
        fs::write(path("agent.yaml"), config).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.room.path().join(name)
    }

    fn start(&mut self) {
        let log = fs::File::options().create(true).append(true).open(self.path("log")).unwrap();
        let agent = Command::new(env!("CARGO_BIN_EXE_trueup"))
            .args(["agent", "--config"])
            .arg(self.path("agent.yaml"))
            .arg("--state-dir")
            .arg(self.path("state"))
            .arg("--socket")
            .arg(self.path("socket"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        self.agent = agent.ok();
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(self.agent.as_ref().unwrap());
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Asks the agent to end, and waits until it has.
    fn stop(&mut self) {
        self.signal(rustix::process::Signal::TERM);
        let mut agent = self.agent.take().unwrap();
        wait_until("the end of the agent", LONG, || agent.try_wait().unwrap().is_some());
    }

    fn git(&self, arguments: &[&str]) -> String {
        git(&self.path("origin"), self.room.path(), arguments)
    }

    fn manifest(&self, root: &str, release: &str) -> String {
        self.write(root, release, "")
    }

    /// Commits a manifest; `more` are further lines of `spec`, or keys of its release where they begin with a comma.
    fn write(&self, root: &str, release: &str, more: &str) -> String {
        let (keys, lines) = if more.starts_with(',') { (more, "") } else { ("", more) };
        let app = self.path("app");
        fs::create_dir_all(self.path("origin/hosts/web01")).unwrap();
        let text = format!(
            "apiVersion: trueup/v1\nkind: App\nmetadata: {{name: shop}}\nspec:\n  {root}: {}\n  release: {{id: {release}{keys}}}\n{lines}",
            app.display()
        );
        fs::write(self.path("origin/hosts/web01/shop.yaml"), text).unwrap();
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--message", release]);
        self.git(&["rev-parse", "HEAD"])
    }

    fn commit(&self, release: &str) -> String {
        self.manifest("root", release)
    }

    fn wait(&self, what: &str, condition: impl Fn() -> bool) {
        let began = std::time::Instant::now();
        while !condition() {
            let said = || self.statuses.lock().unwrap().join("\n");
            let log = || self.log();
            assert!(began.elapsed() < LONG, "waited in vain for {what}\n{}\n{}\n{:?}", log(), said(), self.events());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    fn current(&self) -> Option<String> {
        Some(fs::read_link(self.path("app/current")).ok()?.file_name()?.to_str()?.to_owned())
    }

    fn posted(&self, state: &str, context: &str, commit: &str) -> bool {
        self.statuses.lock().unwrap().contains(&format!("{state} {context} {commit}"))
    }

    /// What was told, as `SUBJECT REASON`.
    fn events(&self) -> Vec<String> {
        let said = fs::read_to_string(self.path("events")).unwrap_or_default();
        let events = said.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        events.map(|event| text(&event["involvedObject"]["name"]) + " " + &text(&event["reason"])).collect()
    }

    fn told(&self, event: &str) -> bool {
        self.events().iter().any(|told| told == event)
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if let Some(agent) = &mut self.agent {
            let _ = agent.kill();
            let _ = agent.wait();
        }
    }
}

/// A stand-in that takes commit statuses as GitHub does.
fn forge(statuses: Arc<Mutex<Vec<String>>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let api = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap());
            let (mut first, mut length) = (String::new(), 0);
            lines.read_line(&mut first).unwrap();
            loop {
                let mut header = String::new();
                lines.read_line(&mut header).unwrap();
                let Some((name, value)) = header.trim_end().split_once(": ") else { break };
                if name.eq_ignore_ascii_case("content-length") {
                    length = value.parse().unwrap();
                }
            }
            let mut body = vec![0; length];
            lines.read_exact(&mut body).unwrap();
            let body: Value = serde_json::from_slice(&body).unwrap();
            let commit = Path::new(first.split(' ').nth(1).unwrap()).file_name().unwrap().to_str().unwrap().to_owned();
            let text = |key: &str| body[key].as_str().unwrap().to_owned();
            statuses.lock().unwrap().push(format!("{} {} {commit}", text("state"), text("context")));
            let _ = stream.write_all(b"HTTP/1.1 201 Created\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}");
        }
    });
    api
}

#[test]
fn a_commit_is_a_deployment_and_a_bad_one_is_not() {
    let mut site = Site::new();
    let one = site.commit("r1");
    site.start();
    site.wait("the first release", || site.current().as_deref() == Some("r1"));
    site.wait("its success", || site.posted("success", "trueup/web01/shop", &one));
    site.wait("the host's", || site.posted("success", "trueup/web01", &one));

    let two = site.commit("r2");
    site.wait("the second release", || site.current().as_deref() == Some("r2"));
    site.wait("its success", || site.posted("success", "trueup/web01/shop", &two));
    site.wait("the news", || site.events() == ["shop Deployed", "shop Deployed"]);

    let wrong = site.manifest("rot", "r1");
    site.wait("its failure", || site.posted("failure", "trueup/web01", &wrong));
    site.wait("the news", || site.told("web01 ManifestsInvalid"));
    site.git(&["revert", "--no-edit", "HEAD"]);
    site.wait("the mended manifests", || site.told("web01 SourceRecovered"));

    site.git(&["reset", "--quiet", "--hard", &one]);
    let rewritten = site.commit("r9");
    site.wait("its refusal", || site.told("web01 SourceRefused"));
    site.wait("its failure", || site.posted("failure", "trueup/web01", &rewritten));
    assert_eq!(site.current().as_deref(), Some("r2"), "what was in force stays");

    // It is let in by a configuration that is read again, and no restart.
    let rewritten = site.commit("r1");
    site.configure("poll: 200ms, allowForce: true");
    site.signal(rustix::process::Signal::HUP);
    site.wait("it by force", || site.posted("success", "trueup/web01/shop", &rewritten));
    assert_eq!(site.current().as_deref(), Some("r1"));
    let two = site.commit("r2");
    site.wait("the next one", || site.posted("success", "trueup/web01/shop", &two));

    // Without the repository the agent goes on from where it was.
    site.stop();
    fs::rename(site.path("origin"), site.path("away")).unwrap();
    fs::remove_file(site.path("app/current")).unwrap();
    std::os::unix::fs::symlink("releases/r1", site.path("app/current")).unwrap();
    site.start();
    site.wait("the drift to be corrected", || site.current().as_deref() == Some("r2"));
    site.stop();
}

#[test]
fn signatures_that_are_asked_for_later_count_for_what_is_in_force_and_nothing_stops() {
    let mut site = Site::new();
    let one = site.commit("r1");
    site.start();
    site.wait("the first release", || site.posted("success", "trueup/web01/shop", &one));
    fs::write(site.path("signers"), "").unwrap();
    site.configure(&format!("poll: 200ms, verifySignatures: {}", site.path("signers").display()));
    site.signal(rustix::process::Signal::HUP);
    site.wait("the alarm", || site.told("web01 SourceRefused"));
    site.wait("its failure", || site.posted("failure", "trueup/web01", &one));
    for restarted in [false, true] {
        if restarted {
            site.stop();
            site.start();
        }
        std::os::unix::fs::symlink("releases/r2", site.path("app/new")).unwrap();
        fs::rename(site.path("app/new"), site.path("app/current")).unwrap();
        site.wait("what is in force stays so", || site.current().as_deref() == Some("r1"));
    }
    site.configure("poll: 200ms");
    site.wait("the restarted one tells as well", || {
        site.events().iter().filter(|told| *told == "web01 SourceRefused").count() == 2
    });
    site.signal(rustix::process::Signal::HUP);
    site.wait("all is well", || site.told("web01 SourceRecovered"));
    site.stop();
}

#[test]
fn a_long_build_of_what_is_not_wanted_any_more_holds_nothing_back() {
    let mut site = Site::new();
    let one = site.commit("r1");
    site.start();
    site.wait("the first release", || site.posted("success", "trueup/web01/shop", &one));
    fs::create_dir(site.path("source")).unwrap();
    fs::write(site.path("source/index"), "").unwrap();
    let at = |name: &str| site.path(name).display().to_string();
    // The step in hand ends by itself, and not before it may.
    let room = site.room.path().display();
    let long = format!("touch {}; until [ -e {} ] || [ ! -d {room} ]; do sleep 0.05; done", at("begun"), at("go"));
    let making = format!(", source: {{dir: {{path: {}}}}}, build: ['{long}', 'touch {}']", at("source"), at("second"));
    let slow = site.write("root", "r3", &making);
    site.wait("the build", || site.path("begun").exists());
    let two = site.commit("r2");
    site.wait("the news", || site.log().contains("the pass in hand prepares no further"));
    assert_eq!(site.current().as_deref(), Some("r1"), "the step in hand is not over");
    fs::write(site.path("go"), "").unwrap();
    site.wait("the other release", || site.posted("success", "trueup/web01/shop", &two));
    site.wait("a word on the one before", || site.posted("error", "trueup/web01/shop", &slow));
    assert_eq!(site.current().as_deref(), Some("r2"));
    assert!(!site.path("second").exists(), "no further step was begun");
    let journal = fs::read_to_string(site.path("app/.trueup/journal.jsonl")).unwrap();
    assert!(!journal.lines().any(|line| line.contains("witch") && line.contains("\"r3\"")), "{journal}");
}

#[test]
fn what_was_switched_to_is_judged_although_something_else_is_wanted() {
    let mut site = Site::new();
    // The verdict on what is ill is not told before it may.
    let ill = format!(
        "test ! -e ill || {{ until [ -e {} ] || [ ! -d {} ]; do sleep 0.05; done; false; }}",
        site.path("judge").display(),
        site.room.path().display()
    );
    let health = format!("  health: {{command: {{run: '{ill}', timeout: 1m}}, attempts: 4, interval: 200ms}}\n");
    let one = site.write("root", "r1", &health);
    site.start();
    site.wait("the first release", || site.posted("success", "trueup/web01/shop", &one));
    fs::create_dir_all(site.path("app/releases/r3")).unwrap();
    fs::write(site.path("app/releases/r3/ill"), "").unwrap();
    let bad = site.write("root", "r3", &health);
    site.wait("the switch", || site.current().as_deref() == Some("r3"));
    let two = site.write("root", "r2", &health);
    site.wait("the news", || site.log().contains("the pass in hand prepares no further"));
    fs::write(site.path("judge"), "").unwrap();
    site.wait("the verdict", || site.posted("failure", "trueup/web01/shop", &bad));
    site.wait("the other release", || site.posted("success", "trueup/web01/shop", &two));
    site.wait("the news", || site.told("shop RolledBack"));
    let journal = fs::read_to_string(site.path("app/.trueup/journal.jsonl")).unwrap();
    let switches: Vec<&str> =
        journal.lines().filter(|line| line.contains("\"done\"") && line.contains("switchCurrent")).collect();
    let to: Vec<bool> = ["r1", "r3", "r1", "r2"].iter().zip(&switches).map(|(to, line)| line.contains(*to)).collect();
    assert_eq!((to, switches.len()), (vec![true; 4], 4), "{switches:?}");
}
