//! Apps with their releases and manifests, the agent that follows them, and who answers for their health.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Nobody waits longer for anything.
pub const LIMIT: Duration = Duration::from_mins(1);
/// How often something is looked at that is waited for.
const LOOK: Duration = Duration::from_micros(200);

/// Apps, their manifests and their agent.
pub struct Stage {
    room: tempfile::TempDir,
    pub apps: usize,
    pub agent: Option<Child>,
    /// Who answers for the health of all Apps; without it they have no contract.
    answers: Option<SocketAddr>,
}

impl Stage {
    pub fn new(apps: usize, answers: Option<SocketAddr>) -> Self {
        let stage = Self { room: tempfile::tempdir().unwrap(), apps, agent: None, answers };
        for app in 0..apps {
            for release in ["r1", "r2"] {
                stage.release(app, release);
            }
            symlink("releases/r1", stage.root(app).join("current")).unwrap();
        }
        stage
    }

    /// Puts a release there.
    pub fn release(&self, app: usize, release: &str) {
        let directory = self.root(app).join("releases").join(release);
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join("index"), release).unwrap();
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.room.path().join(name)
    }

    pub fn root(&self, app: usize) -> PathBuf {
        self.path("apps").join(app.to_string())
    }

    pub fn manifests(&self, place: &Path, release: &str, count: u32) {
        fs::create_dir_all(place).unwrap();
        (0..self.apps).for_each(|app| self.manifest(place, app, release, count));
    }

    /// Writes a manifest by a rename, as editors do.
    pub fn manifest(&self, place: &Path, app: usize, release: &str, count: u32) {
        let root = self.root(app);
        let health = self.answers.map_or_else(String::new, |address| {
            format!(
                "  health:
    http: {{url: 'http://app-{app}.example/health', connectTo: '{address}'}}
    expect: [status == 200, body.status == \"healthy\", body.queue < 1000]
"
            )
        });
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
{health}",
            root = root.display()
        );
        let (fresh, name) = (place.join(format!(".{app}.new")), place.join(format!("{app}.yaml")));
        fs::write(&fresh, text).unwrap();
        fs::rename(fresh, name).unwrap();
    }

    /// Starts the agent; what it logs arrives line by line.
    pub fn start(&mut self, log: &str, arguments: &[&str]) -> Receiver<String> {
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
    pub fn worker(&self, app: usize) -> Option<(i32, usize)> {
        let text = fs::read_to_string(self.root(app).join("started")).ok()?;
        Some((text.lines().last()?.parse().ok()?, text.lines().count()))
    }

    /// Its newest worker runs that release.
    pub fn works_on(&self, app: usize, release: &str) -> bool {
        let cwd = self.worker(app).map(|(pid, _)| fs::read_link(format!("/proc/{pid}/cwd")));
        cwd.is_some_and(|cwd| cwd.is_ok_and(|to| to.ends_with(release)))
    }

    pub fn is_current(&self, app: usize, release: &str) -> bool {
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

pub fn until(what: &str, mut so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !so() {
        assert!(began.elapsed() < LIMIT, "waited in vain for {what}");
        thread::sleep(LOOK);
    }
}

/// Answers every question for health, well and at once, on connections of one question each.
pub fn healthy() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            let mut line = String::new();
            while stream.read_line(&mut line).is_ok_and(|read| read > 2) {
                line.clear();
            }
            let body = r#"{"status": "healthy", "queue": 3}"#;
            let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: ";
            // Whoever asked may have ended.
            let _ = write!(stream.get_mut(), "{head}{}\r\n\r\n{body}", body.len());
        }
    });
    address
}
