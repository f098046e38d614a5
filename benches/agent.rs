//! The agent: how soon it reacts, and what it costs while nothing happens: `cargo bench --bench agent`.
//!
//! Needs neither root nor a host of its own: workers of the builtin manager, releases and a repository in a temporary
//! directory. `TRUEUP_BENCH_IDLE` says for how many seconds it is watched doing nothing (60 unless said; 300 for figures
//! that are to be quoted).

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark may fail on the spot")]
#![allow(clippy::cast_precision_loss, reason = "figures for people, rounded anyway")]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use measure::{Sample, row};
use rustix::process::{Pid, Signal, kill_process};

#[path = "measure/mod.rs"]
mod measure;

const ROUNDS: usize = 20;
const COMMITS: usize = 8;
/// Nobody waits longer for anything.
const LIMIT: Duration = Duration::from_mins(1);
/// How often something is looked at that is waited for.
const LOOK: Duration = Duration::from_micros(200);

fn main() {
    println!("reactions; ten Apps, each with a worker of the builtin manager");
    reactions();
    println!("\nfrom a commit to the release in force, one App");
    commits();
    let seconds = std::env::var("TRUEUP_BENCH_IDLE").ok().and_then(|text| text.parse().ok()).unwrap_or(60);
    println!("\nidle for {seconds} s, drift timers of 60 s");
    for apps in [1, 10, 100] {
        idle(apps, Duration::from_secs(seconds));
    }
}

/// Apps, their manifests and their agent.
struct Stage {
    room: tempfile::TempDir,
    apps: usize,
    agent: Option<Child>,
}

impl Stage {
    fn new(apps: usize) -> Self {
        let stage = Self { room: tempfile::tempdir().unwrap(), apps, agent: None };
        for app in 0..apps {
            for release in ["r1", "r2"] {
                let directory = stage.root(app).join("releases").join(release);
                fs::create_dir_all(&directory).unwrap();
                fs::write(directory.join("index"), release).unwrap();
            }
            symlink("releases/r1", stage.root(app).join("current")).unwrap();
        }
        stage
    }

    fn path(&self, name: &str) -> PathBuf {
        self.room.path().join(name)
    }

    fn root(&self, app: usize) -> PathBuf {
        self.path("apps").join(app.to_string())
    }

    fn manifests(&self, place: &Path, release: &str, count: u32) {
        fs::create_dir_all(place).unwrap();
        (0..self.apps).for_each(|app| self.manifest(place, app, release, count));
    }

    /// Writes a manifest by a rename, as editors do.
    fn manifest(&self, place: &Path, app: usize, release: &str, count: u32) {
        let root = self.root(app);
        let text = format!(
            "apiVersion: trueup/v1
kind: App
metadata: {{name: app-{app}}}
spec:
  root: {root}
  release: {{id: {release}}}
  workers:
    - name: w
      count: {count}
      manager: {{builtin: {{run: 'echo $$ >>{root}/started; exec sleep 1000000'}}}}
",
            root = root.display()
        );
        let (fresh, name) = (place.join(format!(".{app}.new")), place.join(format!("{app}.yaml")));
        fs::write(&fresh, text).unwrap();
        fs::rename(fresh, name).unwrap();
    }

    /// Starts the agent; what it logs arrives line by line.
    fn start(&mut self, log: &str, arguments: &[&str]) -> Receiver<String> {
        let mut agent = Command::new(env!("CARGO_BIN_EXE_trueup"))
            .args(["agent", "--state-dir"])
            .arg(self.path("state"))
            .arg("--socket")
            .arg(self.path("socket"))
            .args(arguments)
            .env("TRUEUP_LOG", log)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = BufReader::new(agent.stderr.take().unwrap());
        self.agent = Some(agent);
        let (tell, told) = channel();
        thread::spawn(move || stderr.lines().map_while(Result::ok).try_for_each(|line| tell.send(line)));
        told
    }

    /// The newest worker of an App, and how many it has had.
    fn worker(&self, app: usize) -> Option<(i32, usize)> {
        let text = fs::read_to_string(self.root(app).join("started")).ok()?;
        Some((text.lines().last()?.parse().ok()?, text.lines().count()))
    }

    fn is_current(&self, app: usize, release: &str) -> bool {
        fs::read_link(self.root(app).join("current")).is_ok_and(|to| to.ends_with(release))
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if let Some(mut agent) = self.agent.take() {
            let _ = kill_process(Pid::from_child(&agent), Signal::TERM);
            let _ = agent.wait();
        }
        // Its workers outlive it.
        let none = self.path("none");
        self.manifests(&none, "r1", 0);
        let _ = Command::new(env!("CARGO_BIN_EXE_trueup")).arg("reconcile").arg(&none).output();
    }
}

fn until(what: &str, mut so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !so() {
        assert!(began.elapsed() < LIMIT, "waited in vain for {what}");
        thread::sleep(LOOK);
    }
}

fn reactions() {
    // Each is hurt twice at most: a worker that dies often is made to wait, and rightly so.
    let mut stage = Stage::new(ROUNDS / 2);
    let place = stage.path("manifests");
    stage.manifests(&place, "r1", 1);
    let log = stage.start("trueup=debug", &[place.to_str().unwrap()]);
    until("the first workers", || (0..stage.apps).all(|app| stage.worker(app).is_some()));
    let apps = || (0..stage.apps).chain(0..stage.apps);

    let (mut noticed, mut replaced) = (Vec::new(), Vec::new());
    for app in apps() {
        calm(&log);
        let (pid, had) = stage.worker(app).unwrap();
        let killed = Instant::now();
        kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
        noticed.push(begun(&log, killed));
        until("a successor", || stage.worker(app).unwrap().1 > had);
        replaced.push(killed.elapsed());
    }
    row("a worker is killed, to the pass it wakes", &Sample::new(noticed), None);
    row("a worker is killed, to its successor", &Sample::new(replaced), None);

    let (mut noticed, mut repaired) = (Vec::new(), Vec::new());
    for app in apps() {
        calm(&log);
        let by_hand = stage.root(app).join("by-hand");
        symlink("releases/r2", &by_hand).unwrap();
        let swapped = Instant::now();
        fs::rename(by_hand, stage.root(app).join("current")).unwrap();
        noticed.push(begun(&log, swapped));
        until("the link", || stage.is_current(app, "r1"));
        repaired.push(swapped.elapsed());
    }
    row("the link is swapped, to the pass that wakes", &Sample::new(noticed), None);
    row("the link is swapped, to its repair", &Sample::new(repaired), None);

    let mut followed = Vec::new();
    for app in 0..stage.apps {
        calm(&log);
        let saved = Instant::now();
        stage.manifest(&place, app, "r2", 1);
        until("the new release", || stage.is_current(app, "r2"));
        followed.push(saved.elapsed());
    }
    row("a manifest is saved, to the switch", &Sample::new(followed), None);
}

/// How long ago the next pass begins from that moment.
fn begun(log: &Receiver<String>, since: Instant) -> Duration {
    loop {
        let line = log.recv_timeout(LIMIT).expect("a pass");
        if line.contains("a pass begins") {
            return since.elapsed();
        }
    }
}

fn commits() {
    let mut stage = Stage::new(1);
    let origin = stage.path("origin");
    let git = |arguments: &[&str]| {
        let mut command = Command::new("git");
        command.args(["-c", "user.name=Bench", "-c", "user.email=bench@example.org"]).args(arguments);
        assert!(command.current_dir(&origin).output().unwrap().status.success(), "{arguments:?}");
    };
    fs::create_dir(&origin).unwrap();
    git(&["init", "--quiet", "--initial-branch=main"]);
    let commit = |stage: &Stage, release: &str| {
        stage.manifests(&origin, release, 1);
        git(&["add", "--all"]);
        git(&["commit", "--quiet", "--message", release]);
    };
    commit(&stage, "r1");
    fs::write(stage.path("secret"), "s3cret\n").unwrap();
    for (name, poll, hook) in [("a commit, by polls of 5 s", "5s", false), ("a commit, by a webhook", "1h", true)] {
        let config = format!(
            "apiVersion: trueup/v1\nkind: Agent\nmetadata: {{name: bench}}\nspec:\n  source: {{git: {{url: {}, poll: {poll}}}}}\n  \
             webhooks: {{gitlab: {{secret: {{file: {}}}}}}}\n",
            origin.display(),
            stage.path("secret").display()
        );
        fs::write(stage.path("agent.yaml"), config).unwrap();
        let log = stage.start("trueup=debug", &["--config", stage.path("agent.yaml").to_str().unwrap()]);
        let mut followed = Vec::new();
        until("the first worker", || stage.worker(0).is_some());
        for release in ["r2", "r1"].repeat(COMMITS / 2) {
            forget(&log);
            commit(&stage, release);
            let made = Instant::now();
            if hook {
                push(&stage.path("socket"));
            }
            until("the new release", || stage.is_current(0, release));
            followed.push(made.elapsed());
        }
        row(name, &Sample::new(followed), None);
        let mut agent = stage.agent.take().unwrap();
        kill_process(Pid::from_child(&agent), Signal::TERM).unwrap();
        agent.wait().unwrap();
    }
}

/// Waits until nothing has been logged for a while, and forgets what was.
fn calm(log: &Receiver<String>) {
    while log.recv_timeout(Duration::from_secs(2)).is_ok() {}
}

/// The same where polls go on being logged.
fn forget(log: &Receiver<String>) {
    thread::sleep(Duration::from_secs(1));
    while log.try_recv().is_ok() {}
}

/// What GitLab sends after a push.
fn push(socket: &Path) {
    let body = r#"{"ref":"refs/heads/main","after":"da1560886d4f094c3e6c9ef40349f7d38b5d27d7"}"#;
    let mut stream = UnixStream::connect(socket).unwrap();
    write!(
        stream,
        "POST /webhooks/gitlab HTTP/1.1\r\nHost: agent\r\nConnection: close\r\nContent-Type: application/json\r\n\
         X-Gitlab-Event: Push Hook\r\nX-Gitlab-Token: s3cret\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
}

/// What the agent costs while nothing happens.
fn idle(apps: usize, watched: Duration) {
    let mut stage = Stage::new(apps);
    let place = stage.path("manifests");
    stage.manifests(&place, "r1", 1);
    let _log = stage.start("warn", &[place.to_str().unwrap()]);
    until("all workers", || (0..apps).all(|app| stage.worker(app).is_some()));
    thread::sleep(Duration::from_secs(5));
    let pid = stage.agent.as_ref().unwrap().id();
    let before = ticks(pid);
    thread::sleep(watched);
    let used = Duration::from_secs_f64((ticks(pid) - before) as f64 / rustix::param::clock_ticks_per_second() as f64);
    let (resident, own) = (memory(pid, "VmRSS:"), memory(pid, "RssAnon:"));
    let share = 100.0 * used.as_secs_f64() / watched.as_secs_f64();
    println!("{apps:>4} Apps: {share:.2} % of a core, {resident:.1} MB resident ({own:.1} MB of its own)");
}

/// User and system time of a process, in clock ticks.
fn ticks(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

/// One line of a process's status, in MB.
fn memory(pid: u32, line: &str) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let found = status.lines().find_map(|one| one.strip_prefix(line)).unwrap();
    found.trim().trim_end_matches(" kB").parse::<f64>().unwrap() / 1024.0
}
