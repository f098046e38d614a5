//! Temporary roots with real releases and workers, for the tests of the real host.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use trueup::host::proc;
use trueup::host::spawn::Shim;
use trueup::managers::builtin::Builtin;
use trueup::model::app::{App, Builtin as Settings, CommandLine, Manager, WorkerGroup};
use trueup::model::names::{AppName, GroupName, MemberName, ReleaseId, Root, UserName};
use trueup::model::process::{Pid, ProcessId};
use trueup::model::release::Release;
use trueup::ports::{GroupOf, HostError, Listed, Managers};

/// The shim of the program under test.
pub fn shim() -> Shim {
    Shim::new(env!("CARGO_BIN_EXE_trueup"))
}

/// A line for `sh -c` that becomes a Python script.
pub fn python(script: &str) -> String {
    format!("exec python3 -c \"{script}\"")
}

/// Whether the tests run as root; says so where not, and fails where they must.
pub fn requires_root() -> bool {
    let root = nix::unistd::geteuid().is_root();
    let required = std::env::var("TRUEUP_TESTS_REQUIRE_HOST").is_ok_and(|value| value == "1");
    assert!(root || !required, "must run as root");
    if !root {
        eprintln!("skipped: needs root");
    }
    root
}

/// Asks until there is an answer; fails after a minute.
pub fn wait_for<T>(mut ask: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(begun.elapsed() < Duration::from_mins(1), "it did not happen");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A port of this machine that nobody listens on, and that nobody else is given while this is kept.
pub fn dead_port() -> (tokio::net::TcpSocket, SocketAddr) {
    let taken = tokio::net::TcpSocket::new_v4().unwrap();
    taken.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = taken.local_addr().unwrap();
    (taken, address)
}

/// Kills one process of a test; one that has just ended is no trouble.
pub fn kill(process: ProcessId) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(process.pid.0).unwrap()).unwrap();
    let killed = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    assert!(matches!(killed, Ok(()) | Err(rustix::io::Errno::SRCH)), "{killed:?}");
}

/// All processes that carry the mark of a root, which is its path without links.
pub fn marked(root: &Path) -> Vec<ProcessId> {
    let mark = ("TRUEUP_ROOT".to_owned(), root.to_string_lossy().into_owned());
    let carries = |process: &ProcessId| {
        let environment = proc::environment(*process).unwrap();
        environment.is_some_and(|found| found.known().is_some_and(|pairs| pairs.contains(&mark)))
    };
    proc::walk().unwrap().processes.into_iter().map(|process| process.id).filter(carries).collect()
}

/// An App `app` with releases 1 and 2, `current` on 1, and a group `default` of two builtin workers.
/// Whatever it started is killed when the last value of it is dropped.
pub struct Site {
    room: Arc<Room>,
    /// What is desired.
    pub app: App,
    /// The manager under test.
    pub builtin: Builtin,
}

struct Room(tempfile::TempDir);

impl Drop for Room {
    fn drop(&mut self) {
        marked(&self.0.path().canonicalize().unwrap()).into_iter().for_each(kill);
    }
}

impl Site {
    /// Workers run that line.
    pub fn new(line: &str) -> Self {
        Self::running(CommandLine::Shell(line.to_owned()))
    }

    /// Workers run that program.
    pub fn with_arguments(arguments: &[&str]) -> Self {
        Self::running(CommandLine::Arguments(arguments.iter().map(|&argument| argument.to_owned()).collect()))
    }

    fn running(run: CommandLine) -> Self {
        let room = tempfile::tempdir().unwrap();
        // Other users pass through it.
        std::fs::set_permissions(room.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        for release in ["1", "2"] {
            std::fs::create_dir_all(room.path().join("releases").join(release)).unwrap();
        }
        std::os::unix::fs::symlink("releases/1", room.path().join("current")).unwrap();
        let env = BTreeMap::from([("GREETING".to_owned(), "hello world".to_owned())]);
        let manager = Manager::Builtin(Settings { run, env });
        let stop_timeout = Duration::from_secs(20);
        let group = WorkerGroup { stop_timeout, ..WorkerGroup::new(GroupName::new("default").unwrap(), 4, manager) };
        let release = Release::present(ReleaseId::new("1").unwrap());
        let named = App::new(AppName::new("app").unwrap(), Root::new(room.path()).unwrap(), release);
        let app = App { workers: vec![group], ..named };
        Self { room: Arc::new(Room(room)), app, builtin: Builtin::new(shim()) }
    }

    /// The same root, seen by a manager that knows nothing yet.
    pub fn another(&self) -> Self {
        Self { room: Arc::clone(&self.room), app: self.app.clone(), builtin: Builtin::new(shim()) }
    }

    pub fn with_user(mut self, name: &str) -> Self {
        self.app.user = Some(UserName::new(name).unwrap());
        self
    }

    pub fn with_stop_timeout(mut self, timeout: Duration) -> Self {
        self.app.workers[0].stop_timeout = timeout;
        self
    }

    pub fn root(&self) -> &Path {
        self.room.0.path()
    }

    pub fn state(&self, name: &str) -> PathBuf {
        self.root().join(".trueup").join(name)
    }

    pub fn switch(&self, release: &str) {
        std::fs::remove_file(self.root().join("current")).unwrap();
        std::os::unix::fs::symlink(format!("releases/{release}"), self.root().join("current")).unwrap();
    }

    fn of(&self) -> GroupOf<'_> {
        GroupOf { app: &self.app, group: &self.app.workers[0] }
    }

    fn member(ordinal: u32) -> MemberName {
        MemberName::new(format!("default/{ordinal}")).unwrap()
    }

    pub async fn start(&self, ordinal: u32) -> Result<(), HostError> {
        self.builtin.start(self.of(), &Self::member(ordinal)).await
    }

    pub async fn stop(&self, ordinal: u32) -> Result<(), HostError> {
        self.builtin.stop(self.of(), &Self::member(ordinal)).await
    }

    pub async fn replace(&self, ordinal: u32, process: Option<ProcessId>) -> Result<(), HostError> {
        self.builtin.replace(self.of(), &Self::member(ordinal), process).await
    }

    pub async fn list(&self) -> Vec<Listed> {
        let table = proc::walk().unwrap();
        self.builtin.list(&[self.of()], &table).await.remove(0).unwrap()
    }

    pub fn pids(listed: &[Listed]) -> Vec<Pid> {
        listed.iter().filter_map(|member| member.pid).collect()
    }

    /// The living first process of a member.
    pub async fn leader(&self, ordinal: u32) -> ProcessId {
        let listed = self.list().await;
        let member = listed.iter().find(|member| member.ordinal == ordinal).expect("it is listed");
        proc::identify(member.pid.expect("it has a process")).unwrap().expect("it lives")
    }

    /// The log of a member, once it is as it should be.
    pub fn log_until(&self, ordinal: u32, ready: impl Fn(&str) -> bool) -> String {
        let path = self.state("log").join(format!("default-{ordinal}.log"));
        wait_for(|| std::fs::read_to_string(&path).ok().filter(|log| ready(log)))
    }

    /// Writes a log as if by an earlier start.
    pub fn log_put(&self, ordinal: u32, text: &str) {
        std::fs::create_dir_all(self.state("log")).unwrap();
        std::fs::write(self.state("log").join(format!("default-{ordinal}.log")), text).unwrap();
    }

    /// Writes a file that names a process as a member.
    pub fn forge(&self, ordinal: u32, pid: u32, ticks: u64) {
        std::fs::create_dir_all(self.state("")).unwrap();
        let entry = serde_json::json!({"pid": pid, "startTicks": ticks, "boot": proc::boot_id()});
        let file = serde_json::json!({"workers": {(format!("default/{ordinal}")): entry}});
        std::fs::write(self.state("workers.json"), file.to_string()).unwrap();
    }
}
