//! Manifests are saved in every way that editors, checkouts and tools do: each is noticed once it is whole.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;

use crate::SOON;
use crate::support::wait_until;

/// Sooner than the timer that would bring it about anyway.
const NOTICED: Duration = Duration::from_secs(30);

/// An agent over a directory of manifests, and a root without workers whose `current` follows.
pub struct Desk {
    room: tempfile::TempDir,
    arguments: Vec<PathBuf>,
    agent: Child,
    log: Arc<Mutex<String>>,
}

impl Desk {
    /// `manifests` is what the agent is told to follow, below the room; `prepare` makes it.
    pub fn new(manifests: &str, prepare: impl FnOnce(&Path)) -> Self {
        Self::with(|room| vec![room.join(manifests)], prepare)
    }

    /// It is told by `agent.yaml` in the room what to follow.
    pub fn configured(prepare: impl FnOnce(&Path)) -> Self {
        Self::with(|room| vec!["--config".into(), room.join("agent.yaml")], prepare)
    }

    fn with(arguments: impl FnOnce(&Path) -> Vec<PathBuf>, prepare: impl FnOnce(&Path)) -> Self {
        let room = tempfile::tempdir().unwrap();
        for release in ["r1", "r2"] {
            let directory = room.path().join("site/releases").join(release);
            std::fs::create_dir_all(&directory).unwrap();
            std::fs::write(directory.join("index.php"), "<?php\n").unwrap();
        }
        prepare(room.path());
        let (arguments, log) = (arguments(room.path()), Arc::default());
        let agent = Self::start(room.path(), &arguments, &log);
        Self { room, arguments, agent, log }
    }

    fn start(room: &Path, arguments: &[PathBuf], log: &Arc<Mutex<String>>) -> Child {
        let mut agent = Command::new(env!("CARGO_BIN_EXE_trueup"))
            .arg("agent")
            .args(arguments)
            .arg("--state-dir")
            .arg(room.join("state"))
            .arg("--socket")
            .arg(room.join("agent.sock"))
            .env("NO_COLOR", "1")
            .env_remove("TRUEUP_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (said, lines) = (Arc::clone(log), BufReader::new(agent.stderr.take().unwrap()).lines());
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let mut said = said.lock().unwrap();
                said.push_str(&line);
                said.push('\n');
            }
        });
        agent
    }

    /// The agent, which has looked at everything, ends; this is done, and another one begins.
    #[track_caller]
    pub fn meanwhile(&mut self, script: &str) {
        wait_until("it is at work", SOON, || self.ask("GET /readyz", "").0 == 200);
        let pid = rustix::process::Pid::from_child(&self.agent);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        assert!(self.agent.wait().unwrap().success(), "{}", self.said());
        self.sh(script);
        self.agent = Self::start(self.room.path(), &self.arguments, &self.log);
    }

    pub fn room(&self) -> &Path {
        self.room.path()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.room.path().join(name)
    }

    pub fn sh(&self, script: &str) {
        sh(self.room.path(), script);
    }

    /// What it has logged.
    pub fn said(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Has it read everything again.
    pub fn hang_up(&self) {
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.agent), rustix::process::Signal::HUP)
            .unwrap();
    }

    /// Asks through its socket, with further headers: the code, and the answer as far as it is JSON.
    pub fn ask(&self, what: &str, headers: &str) -> (u16, Value) {
        let text = self.answer(what, headers);
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let code = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or_default();
        (code, serde_json::from_str(body).unwrap_or_default())
    }

    fn answer(&self, what: &str, headers: &str) -> String {
        let mut text = String::new();
        let Ok(mut stream) = UnixStream::connect(self.path("agent.sock")) else { return text };
        let length = if what.starts_with("POST") { "Content-Length: 0\r\n" } else { "" };
        let request = format!("{what} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{length}{headers}\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        stream.read_to_string(&mut text).unwrap();
        text
    }

    pub fn metrics(&self, matching: impl Fn(&str) -> bool) -> u64 {
        let all = self.answer("GET /metrics", "");
        let lines = all.lines().filter(|line| matching(line));
        lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok()).sum()
    }

    /// Passes that have ended.
    pub fn passes(&self) -> u64 {
        self.metrics(|line| line.starts_with("trueup_passes_total{"))
    }

    /// Reasons of that kind for a pass.
    pub fn wakes(&self, cause: &str) -> u64 {
        let cause = format!("cause=\"{cause}\"");
        self.metrics(|line| line.starts_with("trueup_wakes_total{") && line.contains(&cause))
    }

    #[track_caller]
    pub fn follows(&self, release: &str, how: &str) {
        let current = || std::fs::read_link(self.path("site/current")).unwrap_or_default();
        let target = Path::new("releases").join(release);
        let begun = std::time::Instant::now();
        while !current().ends_with(&target) {
            assert!(begun.elapsed() < NOTICED, "{how}: {}", self.log.lock().unwrap());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// How often other manifests came into force.
    fn changes(&self) -> usize {
        self.log.lock().unwrap().matches("manifests are in force").count()
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        let _ = self.agent.kill();
        let _ = self.agent.wait();
    }
}

/// Runs a script in that directory.
pub fn sh(room: &Path, script: &str) {
    let done = Command::new("bash").args(["-euc", script]).current_dir(room).output().unwrap();
    assert!(done.status.success(), "{script}: {done:?}");
}

/// A manifest of one App without workers, which no timer looks after.
pub fn manifest(room: &Path, release: &str) -> String {
    format!(
        "apiVersion: trueup/v1\nkind: App\nmetadata: {{name: app}}\nspec:\n  root: {}\n  release: {{id: {release}}}\n  \
         sync: {{interval: 1h}}\n",
        room.join("site").display()
    )
}

pub fn save(room: &Path, file: &str, release: &str) {
    let file = room.join(file);
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(file, manifest(room, release)).unwrap();
}

#[test]
fn the_first_manifest_is_waited_for() {
    let desk = Desk::new("m", |_| {});
    wait_until("it says so", SOON, || desk.said().contains("none are in force yet"));
    std::fs::create_dir(desk.path("m")).unwrap();
    save(desk.room(), "m/app.yaml", "r1");
    desk.follows("r1", "the first manifest");
    assert!(!desk.said().contains("what was in force stays"), "{}", desk.said());
}

#[test]
fn every_kind_of_save_is_noticed_once() {
    let desk = Desk::new("m", |room| save(room, "m/app.yaml", "r1"));
    desk.follows("r1", "the first look");
    // `NEW` is the manifest that is to be there in the end.
    let saves = [
        ("in place", "cat NEW >m/app.yaml"),
        ("renamed over", "cp NEW m/.app.yaml.tmp; mv m/.app.yaml.tmp m/app.yaml"),
        (
            "as vim does",
            "echo >m/4913; rm m/4913; mv m/app.yaml m/app.yaml~; cp NEW m/app.yaml; sync m/app.yaml; rm m/app.yaml~",
        ),
        ("sed -i", "sed -i \"s/id: r[12]/id: $RELEASE/\" m/app.yaml"),
        ("removed and made", "rm m/app.yaml; cp NEW m/app.yaml"),
        ("another name", "mv m/app.yaml m/other.yaml; cp NEW m/other.yaml; mv m/other.yaml m/app.yaml"),
        ("a thousand writes", "for i in $(seq 1000); do echo \"# $i\" >>m/app.yaml; done; cp NEW m/app.yaml"),
    ];
    let rounds = 3;
    let mut release = "r1";
    for round in 0..rounds {
        for (how, script) in saves {
            release = if release == "r1" { "r2" } else { "r1" };
            std::fs::write(desk.path("NEW"), manifest(desk.room.path(), release)).unwrap();
            desk.sh(&format!("RELEASE={release}; {}", script.replace("NEW", "\"$PWD/NEW\"")));
            desk.follows(release, &format!("{how}, round {round}"));
        }
    }
    // On a machine that stands still in the middle of a save, that save may be seen in two steps; never all of them.
    let saved = rounds * saves.len();
    wait_until("all of them to be said", SOON, || desk.changes() > saved);
    assert!((saved..=saved * 2).contains(&(desk.changes() - 1)), "{saved}: {}", desk.log.lock().unwrap());
}

#[test]
fn links_on_the_way_to_manifests_may_be_swapped() {
    let desk = Desk::new("live", |room| {
        save(room, "one/app.yaml", "r1");
        save(room, "two/app.yaml", "r2");
        std::os::unix::fs::symlink("one", room.join("live")).unwrap();
    });
    desk.follows("r1", "through the link");
    for to in ["two", "one", "two"] {
        desk.sh(&format!("ln -s {to} live.new; mv -T live.new live"));
        desk.follows(if to == "one" { "r1" } else { "r2" }, "a swapped link");
    }
    save(desk.room.path(), "two/app.yaml", "r1");
    desk.follows("r1", "a save behind the new link");
    // As Kubernetes puts files into a directory: links to links.
    desk.sh("rm -r two; mkdir -p three/a three/b; cp one/app.yaml three/a/; cp one/app.yaml three/b/
        sed -i 's/id: r1/id: r2/' three/b/app.yaml
        ln -s a three/..data; ln -s ..data/app.yaml three/app.yaml; ln -s three live.new; mv -T live.new live");
    desk.sh("ln -s b three/..new; mv -T three/..new three/..data");
    desk.follows("r2", "links within");
    desk.sh("mv three gone; mkdir three; cp one/app.yaml three/app.yaml");
    desk.follows("r1", "another directory of the same name");
    save(desk.room.path(), "three/app.yaml", "r2");
    desk.follows("r2", "a save in that one");
}

#[test]
fn a_checkout_is_followed() {
    let desk = Desk::new("repo/manifests", |room| {
        save(room, "repo/manifests/app.yaml", "r1");
        let script = "cd repo; git init --quiet --initial-branch=main; git config user.name Test
            git config user.email test@example.org; git add .; git commit --quiet -m one
            git checkout --quiet -b next; sed -i 's/id: r1/id: r2/' manifests/app.yaml
            for i in $(seq 50); do echo x >manifests/note-$i.txt; done; git add .; git commit --quiet -m two
            git checkout --quiet main";
        sh(room, script);
    });
    desk.follows("r1", "main");
    for (branch, release) in [("next", "r2"), ("main", "r1"), ("next", "r2")] {
        desk.sh(&format!("git -C repo checkout --quiet {branch}"));
        desk.follows(release, branch);
    }
}

#[test]
fn mistakes_leave_what_was_good_in_force_and_are_told_with_their_line() {
    let desk = Desk::new("m", |room| save(room, "m/app.yaml", "r1"));
    desk.follows("r1", "the first look");
    desk.sh("sed -i 's/release:/relaese:/' m/app.yaml");
    wait_until("the mistake to be told", SOON, || {
        let log = desk.log.lock().unwrap();
        log.contains("cannot be used") && log.contains("app.yaml:6:3")
    });
    // Drift is still put right by the manifest that is in force.
    desk.sh("ln -s releases/r2 site/new; mv -T site/new site/current");
    desk.follows("r1", "the last good manifest");
    save(desk.room.path(), "m/app.yaml", "r2");
    desk.follows("r2", "a mended one");
}

#[test]
fn a_second_agent_over_the_same_state_is_refused() {
    let desk = Desk::new("m", |room| save(room, "m/app.yaml", "r1"));
    desk.follows("r1", "the first look");
    let at = |name: &str| desk.path(name).display().to_string();
    let second = |state: &str, socket: &str| {
        let arguments = ["agent", &at("m"), "--state-dir", &at(state), "--socket", &at(socket)];
        let output = Command::new(env!("CARGO_BIN_EXE_trueup")).args(arguments).env("NO_COLOR", "1").output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, said) = second("state", "other.sock");
    assert!(code == Some(1) && said.contains(&format!("an agent (pid {}) has", desk.agent.id())), "{said}");
    let (code, said) = second("other", "agent.sock");
    assert!(code == Some(1) && said.contains("agent.sock"), "{said}");
    let stdin = Command::new(env!("CARGO_BIN_EXE_trueup")).args(["agent", "-"]).output().unwrap();
    assert_eq!(stdin.status.code(), Some(64));
}
