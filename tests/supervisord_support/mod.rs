//! A supervisord of its own for each test, with workers that write down what happens to them.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid as KernelPid, Signal, kill_process, kill_process_group};
use trueup::managers::supervisord::Supervisord;
use trueup::model::app::{App, Builtin, CommandLine, Manager, SecretSource, Supervisord as Configured, WorkerGroup};
use trueup::model::names::{AppName, GroupName, ReleaseId, Root};
use trueup::model::observed::MemberState;
use trueup::model::process::{Pid, ProcessId, ProcessTable, StartTicks};
use trueup::model::release::Release;
use trueup::ports::{GroupOf, Listed, Managers};

const SUPERVISORD: &str = "/usr/bin/supervisord";
const SUPERVISORCTL: &str = "/usr/bin/supervisorctl";

/// Ends its job before it ends; writes `up`, `term`, `usr1`, `begun` and `finished` with its pid to `journal`.
const WORKER: &str = r#"
import os, signal, sys, time
journal, words = sys.argv[1], sys.argv[2:]
ending, busy = False, False
def note(what):
    fd = os.open(journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(fd, f"{what} {os.getpid()}\n".encode())
    os.close(fd)
def end(number, _):
    global ending
    ending = True
    note("usr1" if number == signal.SIGUSR1 else "term")
    if not busy:
        os._exit(0)
signal.signal(signal.SIGTERM, signal.SIG_IGN if "deaf" in words else end)
signal.signal(signal.SIGUSR1, end if "usr1" in words else signal.SIG_DFL)
job = next((float(word[4:]) for word in words if word.startswith("job=")), 0)
note("up")
while not ending:
    if job:
        busy = True
        note("begun")
        until = time.monotonic() + job
        while time.monotonic() < until:
            time.sleep(0.02)
        note("finished")
        busy = False
    if not ending:
        time.sleep(0.1)
"#;

/// Whether supervisord is installed; without it the test says so, or fails where the host is required.
pub fn here() -> bool {
    let here = Path::new(SUPERVISORD).exists() && Path::new(SUPERVISORCTL).exists();
    if !here {
        assert!(std::env::var_os("TRUEUP_TESTS_REQUIRE_HOST").is_none(), "{SUPERVISORD} is required");
        eprintln!("skipped: {SUPERVISORD} is not installed");
    }
    here
}

/// A directory for one supervisord.
pub struct Dir {
    /// Where it is.
    pub path: PathBuf,
}

impl Dir {
    /// The command line of a worker: `deaf` ignores TERM, `usr1` ends on USR1, `job=SECONDS` works.
    pub fn worker(&self, words: &str) -> String {
        let at = self.path.display();
        format!("/usr/bin/python3 -S -E {at}/worker.py {at}/journal {words}")
    }
}

/// A running supervisord; ended with all its workers when dropped.
pub struct Daemon {
    dir: tempfile::TempDir,
    child: Child,
}

impl Daemon {
    pub fn start(programs: impl FnOnce(&Dir) -> String) -> Self {
        Self::launch("", programs)
    }

    /// Its socket is open to every user.
    pub fn open(programs: impl FnOnce(&Dir) -> String) -> Self {
        let daemon = Self::launch("chmod=0777\n", programs);
        std::fs::set_permissions(daemon.dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        daemon
    }

    /// Lets in `deploy` with `s3cret` only.
    pub fn guarded(programs: impl FnOnce(&Dir) -> String) -> Self {
        Self::launch("username=deploy\npassword=s3cret\n", programs)
    }

    fn launch(guard: &str, programs: impl FnOnce(&Dir) -> String) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().display();
        std::fs::write(dir.path().join("worker.py"), WORKER).unwrap();
        std::fs::write(dir.path().join("journal"), "").unwrap();
        let conf = format!(
            "[unix_http_server]\nfile={at}/s.sock\n{guard}[supervisord]\nlogfile={at}/log\npidfile={at}/pid\nchildlogdir={at}\n\
             [rpcinterface:supervisor]\nsupervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface\n\
             [supervisorctl]\nserverurl=unix://{at}/s.sock\n{}",
            programs(&Dir { path: dir.path().to_owned() })
        );
        std::fs::write(dir.path().join("conf"), conf).unwrap();
        let child = Command::new(SUPERVISORD)
            .args(["-n", "-c"])
            .arg(dir.path().join("conf"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let daemon = Self { dir, child };
        let deadline = Instant::now() + Duration::from_mins(1);
        while std::os::unix::net::UnixStream::connect(daemon.socket()).is_err() {
            assert!(Instant::now() < deadline, "supervisord does not come up");
            std::thread::sleep(Duration::from_millis(20));
        }
        daemon
    }

    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("s.sock")
    }

    /// An App with this one group.
    pub fn app(&self, group: WorkerGroup) -> TestApp {
        app_at(&self.socket(), group)
    }

    /// supervisorctl without sudo, with this supervisord's configuration.
    pub fn by_command(&self) -> Supervisord {
        let conf = self.dir.path().join("conf").display().to_string();
        Supervisord::by_command(vec![SUPERVISORCTL.to_owned(), "-c".to_owned(), conf])
    }

    /// Somebody else at the controls.
    pub fn ctl(&self, arguments: &[&str]) -> Child {
        Command::new(SUPERVISORCTL)
            .arg("-c")
            .arg(self.dir.path().join("conf"))
            .args(arguments)
            .stdout(Stdio::null())
            .spawn()
            .unwrap()
    }

    /// What the workers wrote.
    pub fn journal(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("journal")).unwrap()
    }

    /// Writes a file with a password.
    pub fn secret(&self, content: &str) -> PathBuf {
        let path = self.dir.path().join("secret");
        std::fs::write(&path, content).unwrap();
        path
    }

    /// Writes a program.
    pub fn script(&self, name: &str, body: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        let aside = path.with_extension("aside");
        std::fs::write(&aside, format!("#!/bin/sh\n{body}\n")).unwrap();
        std::fs::set_permissions(&aside, std::fs::Permissions::from_mode(0o755)).unwrap();
        // By another process: what a neighbouring test starts meanwhile would keep the file open for writing.
        assert!(Command::new("cp").arg(&aside).arg(&path).status().unwrap().success());
        path
    }

    pub async fn members(&self, manager: &Supervisord, app: &TestApp) -> Vec<Listed> {
        manager.list(&[app.of()], &table()).await.remove(0).unwrap()
    }

    pub async fn member(&self, manager: &Supervisord, app: &TestApp, ordinal: usize) -> Listed {
        self.members(manager, app).await.remove(ordinal)
    }

    pub async fn all_run(&self, manager: &Supervisord, app: &TestApp) {
        eventually("all run", async || {
            self.members(manager, app).await.iter().all(|one| one.state == MemberState::Running)
        })
        .await;
    }

    /// When supervisord made new processes since then, in ms, by its own log.
    pub fn spawned_after(&self, since: jiff::civil::DateTime) -> Vec<i64> {
        let log = std::fs::read_to_string(self.dir.path().join("log")).unwrap();
        let spawned = log.lines().filter(|line| line.contains("spawned:"));
        let at = spawned.filter_map(|line| line.get(..23)?.replace(',', ".").parse::<jiff::civil::DateTime>().ok());
        at.map(|at| i64::try_from(at.duration_since(since).as_millis()).unwrap()).filter(|ms| *ms >= 0).collect()
    }

    /// Kills supervisord as the kernel would: its socket stays.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(None)) {
            return;
        }
        let pid = KernelPid::from_child(&self.child);
        // Stopped, it starts no new workers while they are looked for.
        let _ = kill_process(pid, Signal::STOP);
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        for child in children.split_ascii_whitespace().filter_map(|child| KernelPid::from_raw(child.parse().ok()?)) {
            // Each worker leads a process group.
            let _ = kill_process_group(child, Signal::KILL);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An App with one group.
pub struct TestApp(App);

impl TestApp {
    pub fn of(&self) -> GroupOf<'_> {
        GroupOf { app: &self.0, group: &self.0.workers[0] }
    }

    pub fn stop_timeout(&mut self, timeout: Duration) {
        self.0.workers[0].stop_timeout = timeout;
    }

    pub fn program(&mut self, program: &str) {
        self.manager().program = Some(program.to_owned());
    }

    pub fn credentials(&mut self, username: &str, password: &Path) {
        self.manager().username = Some(username.to_owned());
        self.manager().password = Some(SecretSource::File(password.to_owned()));
    }

    pub fn builtin(&mut self) {
        let run = CommandLine::Shell("true".to_owned());
        self.0.workers[0].manager = Manager::Builtin(Builtin { run, env: BTreeMap::new() });
    }

    fn manager(&mut self) -> &mut Configured {
        match &mut self.0.workers[0].manager {
            Manager::Supervisord(manager) => manager,
            other => panic!("{}", other.kind()),
        }
    }
}

/// The manager does not look into it.
pub fn table() -> ProcessTable {
    ProcessTable::default()
}

/// The process of that number.
pub fn process(pid: Option<Pid>) -> Option<ProcessId> {
    let line = std::fs::read_to_string(format!("/proc/{}/stat", pid?)).ok()?;
    let ticks = line.rsplit_once(')')?.1.split_ascii_whitespace().nth(19)?.parse().ok()?;
    Some(ProcessId { pid: pid?, start_ticks: StartTicks(ticks) })
}

/// An App with this one group, whose supervisord listens there.
pub fn app_at(socket: &Path, mut group: WorkerGroup) -> TestApp {
    if let Manager::Supervisord(manager) = &mut group.manager {
        manager.socket = Some(socket.to_owned());
    }
    let release = Release::present(ReleaseId::new("1").unwrap());
    let named = App::new(AppName::new("test").unwrap(), Root::new("/srv/test").unwrap(), release);
    TestApp(App { workers: vec![group], ..named })
}

/// Runs one test of this program, which is otherwise ignored, as `nobody`, and says what it wrote.
///
/// The program file need not be reachable for `nobody`: it is handed over open.
pub fn as_nobody(test: &str, socket: &Path) -> Result<String, String> {
    let program = std::fs::File::open(std::env::current_exe().unwrap()).unwrap();
    rustix::io::fcntl_setfd(&program, rustix::io::FdFlags::empty()).unwrap();
    let output = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&program)))
        .args(["--exact", test, "--ignored", "--nocapture"])
        .env("TRUEUP_TEST_SOCKET", socket)
        .current_dir("/")
        .output()
        .unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if output.status.success() && said.contains("1 passed") { Ok(said) } else { Err(said) }
}

/// Where the test's supervisord listens, for a test run by [`as_nobody`].
pub fn handed_socket() -> PathBuf {
    std::env::var_os("TRUEUP_TEST_SOCKET").unwrap().into()
}

/// A worker group of that group of supervisord.
pub fn group(name: &str) -> WorkerGroup {
    let manager = Manager::Supervisord(Configured {
        group: name.to_owned(),
        program: None,
        socket: None,
        username: None,
        password: None,
    });
    let stop_timeout = Duration::from_mins(1);
    WorkerGroup { stop_timeout, ..WorkerGroup::new(GroupName::new("default").unwrap(), 1, manager) }
}

pub async fn pid_of(manager: &Supervisord, app: &TestApp, ordinal: usize) -> Pid {
    manager.list(&[app.of()], &table()).await.remove(0).unwrap()[ordinal].pid.unwrap()
}

pub async fn state_of(manager: &Supervisord, app: &TestApp, ordinal: usize) -> MemberState {
    manager.list(&[app.of()], &table()).await.remove(0).unwrap()[ordinal].state
}

/// Whether a process of that number is there and no zombie.
pub fn alive(pid: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}

/// Looks again until it is so, for at most a minute.
pub async fn eventually(what: &str, so: impl AsyncFn() -> bool) {
    let deadline = Instant::now() + Duration::from_mins(1);
    while !so().await {
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
