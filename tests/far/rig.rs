//! A place to try the far side in: two releases, a root, and somewhere to keep runs, all in one temporary directory.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Signal, kill_process};
use serde_json::{Value, json};
use trueup::documents::wire::{Line, Operation, PROGRAM, Report, Request, RunId, WIRE, What, read};
use trueup::host::proc;
use trueup::ledger::journal;
use trueup::model::journal::JournalEvent;
use trueup::model::names::{HostName, Root};
use trueup::model::process::{Pid, ProcessId};

/// Waiting for a lock, where nothing is to be waited for.
pub const PROMPT: Duration = Duration::from_mins(1);

/// An App over temporary directories. What runs there is ended when it goes.
pub struct Rig {
    directory: tempfile::TempDir,
    program: PathBuf,
    user: Option<u32>,
    /// The spec of the App.
    pub spec: Value,
}

impl Rig {
    /// Release `r1` is wanted, with two workers that do nothing; healthy as long as there is no file `sick`.
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().canonicalize().unwrap();
        for release in ["r1", "r2"] {
            fs::create_dir_all(path.join("sources").join(release)).unwrap();
            fs::write(path.join("sources").join(release).join("app"), release).unwrap();
        }
        let spec = json!({
            "root": path.join("root"),
            "release": {"id": "r1", "source": {"dir": {"path": path.join("sources/r1")}}},
            "workers": [{
                "name": "idle",
                "count": 2,
                "manager": {"builtin": {"run": "exec sleep 600", "env": {"TOKEN": "hunter2-worker"}}},
                "rollout": {"minHealthy": "0s"},
                "stopTimeout": "5s",
            }],
            "health": {
                "command": {"run": format!("test ! -e {}", path.join("sick").display())},
                "attempts": 2,
                "interval": "20ms",
            },
        });
        Self { directory, program: env!("CARGO_BIN_EXE_trueup").into(), user: None, spec }
    }

    /// The same as an ordinary user, who can reach the program only in a copy.
    pub fn of_user(mut self, user: u32) -> Self {
        let program = self.path().join("trueup");
        // By another process: what a neighbouring test starts meanwhile would keep the file open for writing.
        assert!(Command::new("cp").arg(&self.program).arg(&program).status().unwrap().success());
        self.program = program;
        self.user = Some(user);
        fs::set_permissions(self.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::create_dir(self.path().join("home")).unwrap();
        for mine in ["home", "sources", "."] {
            std::os::unix::fs::chown(self.path().join(mine), Some(user), Some(user)).unwrap();
        }
        self
    }

    pub fn path(&self) -> PathBuf {
        self.directory.path().canonicalize().unwrap()
    }

    pub fn root(&self) -> Root {
        Root::new(self.path().join("root")).unwrap()
    }

    /// Where runs are kept.
    pub fn state(&self) -> PathBuf {
        let state = if self.user.is_some() { "home/.local/state" } else { "state" };
        self.path().join(state).join("trueup/far")
    }

    /// Wants another release.
    pub fn release(&mut self, release: &str) {
        self.spec["release"]["id"] = json!(release);
        self.spec["release"]["source"]["dir"]["path"] = json!(self.path().join("sources").join(release));
    }

    /// Lets the present release's verification last until [`Self::open`]. It is the step in hand until then.
    pub fn gate(&mut self) {
        let path = self.path();
        let script = format!(
            "while [ -d {0} ] && [ ! -e {0}/open ]; do sleep 0.01; done; echo $RELEASE_ID >> {0}/verified",
            path.display()
        );
        self.spec["release"]["verify"] = json!([{"run": script}]);
    }

    pub fn open(&self) {
        fs::write(self.path().join("open"), "").unwrap();
    }

    pub fn current(&self) -> Option<String> {
        let target = fs::read_link(self.root().current()).ok()?;
        Some(target.file_name().unwrap().to_string_lossy().into_owned())
    }

    /// How many passes the journal tells of.
    pub fn passes(&self) -> usize {
        let entries = journal::read(&self.root()).unwrap();
        entries.iter().filter(|entry| matches!(entry.event, JournalEvent::PassStarted { .. })).count()
    }

    pub fn request(&self, id: &str, operation: Operation) -> Request {
        let manifest = json!({
            "apiVersion": "trueup/v1", "kind": "App", "metadata": {"name": "shop"}, "spec": self.spec,
        });
        Request {
            wire: WIRE,
            program: PROGRAM.to_owned(),
            id: RunId::new(id).unwrap(),
            from: 1,
            who: "alice@laptop".to_owned(),
            host: HostName::new("web1").unwrap(),
            migrate: true,
            operation,
            manifest: manifest.to_string(),
        }
    }

    pub fn apply(&self, id: &str) -> Request {
        self.request(id, Operation::Apply { wait: PROMPT, ignore_windows: false, retry: false })
    }

    /// Starts a front that reads this.
    pub fn send(&self, text: &[u8]) -> Front {
        // Whoever runs the tests may ignore some signals (`nohup` does), and a child inherits that.
        let mut command = Command::new("env");
        command.arg("--default-signal=HUP,INT").arg(&self.program);
        command.arg("far").stdin(Stdio::piped()).stdout(Stdio::piped());
        match self.user {
            None => command.env("XDG_STATE_HOME", self.path().join("state")),
            Some(user) => {
                use std::os::unix::process::CommandExt;
                command.env_remove("XDG_STATE_HOME").env("HOME", self.path().join("home")).uid(user).gid(user)
            }
        };
        let mut child = command.current_dir("/").spawn().unwrap();
        // A front that refuses at once may not read all of it.
        let _ = child.stdin.take().unwrap().write_all(text);
        let lines = BufReader::new(child.stdout.take().unwrap());
        Front { child, lines }
    }

    /// Starts a front with a request.
    pub fn start(&self, request: &Request) -> Front {
        self.send(&serde_json::to_vec(request).unwrap())
    }

    /// How a runner ends that has this as its spool.
    pub fn run_into(&self, spool: Stdio, request: &Request) -> ExitStatus {
        let text = self.path().join("request");
        fs::write(&text, serde_json::to_vec(request).unwrap()).unwrap();
        let mut command = Command::new(&self.program);
        command.args(["far", "--run"]).stdin(fs::File::open(text).unwrap()).stdout(spool);
        command.status().unwrap()
    }

    /// All lines of the answer to a request.
    pub fn ask(&self, request: &Request) -> Vec<Line> {
        self.start(request).rest()
    }

    /// The report of an apply that ends well.
    pub fn applied(&self, id: &str) -> Report {
        report(&self.ask(&self.apply(id)))
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        let root = self.path().join("root");
        let mark = ("TRUEUP_ROOT".to_owned(), root.to_string_lossy().into_owned());
        for process in proc::walk().unwrap().processes {
            let environment = proc::environment(process.id).ok().flatten();
            if environment.is_some_and(|found| found.known().is_some_and(|pairs| pairs.contains(&mark))) {
                signal(process.id.pid, Signal::KILL);
            }
        }
    }
}

/// A front, and what it says.
pub struct Front {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Front {
    pub fn pid(&self) -> Pid {
        Pid(self.child.id())
    }

    /// The next line of the run, or the hello; none at the end.
    pub fn next(&mut self) -> Option<Line> {
        // How many there are depends on how slow the machine is.
        std::iter::from_fn(|| self.next_or_beat()).find(|line| !matches!(line.what, What::Beat(_)))
    }

    /// The next line of any kind; none at the end.
    pub fn next_or_beat(&mut self) -> Option<Line> {
        let mut line = String::new();
        let read = self.lines.read_line(&mut line).unwrap();
        (read > 0).then(|| read::line(&line).unwrap_or_else(|failed| panic!("{line}: {failed:?}")))
    }

    /// All lines up to the first that is so.
    pub fn until(&mut self, is: impl Fn(&What) -> bool) -> Vec<Line> {
        let mut lines = Vec::new();
        while let Some(line) = self.next() {
            let found = is(&line.what);
            lines.push(line);
            if found {
                return lines;
            }
        }
        panic!("it has ended: {lines:#?}");
    }

    /// All lines until the verification is the step in hand.
    pub fn until_gate(&mut self) -> Vec<Line> {
        self.until(|what| format!("{what:?}").contains("Verify"))
    }

    /// All that is left.
    pub fn rest(mut self) -> Vec<Line> {
        let mut lines = Vec::new();
        while let Some(line) = self.next() {
            lines.push(line);
        }
        assert!(self.child.wait().unwrap().success(), "{lines:#?}");
        lines
    }

    /// Sends it a signal and waits until it is gone.
    pub fn end_by(mut self, with: Signal) {
        signal(self.pid(), with);
        self.child.wait().unwrap();
    }
}

pub fn signal(pid: Pid, signal: Signal) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid.0).unwrap()).unwrap();
    let _ = kill_process(pid, signal);
}

/// Who makes the pass.
pub fn runner(lines: &[Line]) -> ProcessId {
    let begun = lines.iter().find_map(|line| match &line.what {
        What::Begun(begun) => Some(begun.process),
        _ => None,
    });
    begun.unwrap_or_else(|| panic!("nobody has begun: {lines:#?}"))
}

pub fn report(lines: &[Line]) -> Report {
    let report = lines.iter().find_map(|line| match &line.what {
        What::Report(report) => Some((**report).clone()),
        _ => None,
    });
    report.unwrap_or_else(|| panic!("there is no report: {lines:#?}"))
}

/// The numbers of all lines but the hello.
pub fn numbers(lines: &[Line]) -> Vec<u64> {
    assert!(matches!(lines[0].what, What::Hello(_)), "{lines:#?}");
    lines[1..].iter().map(|line| line.seq).collect()
}

/// Asks until it is so; fails after a minute.
pub fn wait_until(what: &str, is: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is() {
        assert!(begun.elapsed() < PROMPT, "{what} did not happen");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// What would betray that anything was changed below a directory: of each entry its inode, size and times.
pub fn footprint(directory: &Path) -> BTreeMap<PathBuf, [i64; 7]> {
    let mut found = BTreeMap::new();
    let mut open = vec![directory.to_owned()];
    while let Some(path) = open.pop() {
        let seen = fs::symlink_metadata(&path).unwrap();
        if seen.is_dir() {
            open.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        let inode = i64::try_from(seen.ino()).unwrap();
        let size = i64::try_from(seen.size()).unwrap();
        let times = [seen.mtime(), seen.mtime_nsec(), seen.ctime(), seen.ctime_nsec()];
        found.insert(path, [inode, size, i64::from(seen.mode()), times[0], times[1], times[2], times[3]]);
    }
    found
}
