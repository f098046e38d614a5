//! A throwaway Linux host: its own systemd, processes, network and file system.
//!
//! In: a name and the units to start. Out: a [`Host`] that has settled, on which
//! commands run and files are written. It sees this machine's `/` through an overlay, so
//! whatever is installed here is installed there, and nothing that a test does reaches
//! the outside: not a file, a process, a mount or a port. Hosts may run side by side.
//!
//! `boot.sh` makes the host; this file waits for it, enters it and ends it. Begin at [`Host::boot`].

use std::fmt;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// How long a host may take to settle; an idle machine needs half a second.
const BOOT: Duration = Duration::from_mins(1);
/// How long one foreground command may take before it is killed (exit code 124).
const COMMAND_SECONDS: &str = "120";
/// How long what happens soon may take on a busy machine.
pub const SOON: Duration = Duration::from_mins(1);
/// How often a condition is looked at again.
const PAUSE: Duration = Duration::from_millis(20);
/// Where the harness keeps its own files inside a host.
const SCRATCH: &str = "/run/host-test";

/// Tells whether this test run must not skip what needs a host.
fn host_is_required() -> bool {
    std::env::var_os("TRUEUP_TESTS_REQUIRE_HOST").is_some_and(|value| value == "1")
}

/// Boots a host; where none can be booted, says why and returns nothing.
///
/// # Panics
/// If no host can be booted although `TRUEUP_TESTS_REQUIRE_HOST=1` demands one.
pub fn host_or_skip(name: &str, units: &[Unit]) -> Option<Host> {
    let lacking = || {
        let file = units.iter().find(|unit| !unit.is_installed())?;
        Some(format!("{} is not installed", file.name()))
    };
    match Host::unavailable().or_else(lacking) {
        None => Some(Host::boot(name, units)),
        Some(reason) if host_is_required() => panic!("no host can be booted: {reason}"),
        Some(reason) => {
            // Not `eprintln!`: the test runner hides what a passing test prints.
            let _ = writeln!(std::io::stderr(), "{name}: skipped: {reason}");
            None
        }
    }
}

/// A systemd unit that a host starts as it boots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// supervisord, with no programs yet.
    Supervisor,
    /// nginx with Debian's default site, on port 80 of the host's own network.
    Nginx,
    /// php-fpm 8.2, on `/run/php/php8.2-fpm.sock`.
    PhpFpm,
    /// sshd on port 22 of the host's own network.
    Ssh,
    /// logind, with a scope for each login that PAM tells it of, and a systemd for each user.
    Logind,
    /// Any other installed unit, by its full name.
    Named(&'static str),
}

impl Unit {
    /// The unit's full name, such as `nginx.service`.
    pub fn name(self) -> &'static str {
        match self {
            Unit::Supervisor => "supervisor.service",
            Unit::Nginx => "nginx.service",
            Unit::PhpFpm => "php8.2-fpm.service",
            Unit::Ssh => "ssh.service",
            Unit::Logind => "systemd-logind.service",
            Unit::Named(name) => name,
        }
    }

    fn is_installed(self) -> bool {
        Path::new("/lib/systemd/system").join(self.name()).exists()
    }

    /// A file that exists only when the unit really serves, where "active" comes too early.
    fn socket(self) -> Option<&'static str> {
        match self {
            Unit::Supervisor => Some("/run/supervisor.sock"),
            _ => None,
        }
    }
}

/// What a command printed and how it ended.
#[derive(Clone, Debug)]
pub struct Output {
    /// Exit code; 128 plus the signal's number if a signal ended it, 124 if it ran out of time.
    pub code: i32,
    /// Standard output, as text.
    pub stdout: String,
    /// Standard error, as text.
    pub stderr: String,
    command: String,
}

impl Output {
    /// Standard output without surrounding blanks, of a command that must succeed.
    ///
    /// # Panics
    /// If the exit code is not 0; the message shows all that the command said.
    #[track_caller]
    pub fn ok(&self) -> &str {
        assert!(self.code == 0, "{self}");
        self.stdout.trim()
    }

    /// Tells whether the exit code is 0.
    pub fn success(&self) -> bool {
        self.code == 0
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Output { code, stdout, stderr, command } = self;
        write!(f, "`{command}` ended with {code}\n--- stdout\n{stdout}\n--- stderr\n{stderr}")
    }
}

/// One running throwaway host. Dropping it ends every process in it and removes every trace.
pub struct Host {
    name: String,
    /// The outer process that holds the host; it cleans up once its standard input closes.
    keeper: Child,
    /// The host's systemd, as seen from outside; 1 on the inside.
    init: u32,
    boot_time: Duration,
    spawned: AtomicU32,
}

impl Host {
    /// Why no host can be booted on this machine, if that is so. Asked once per test binary.
    pub fn unavailable() -> Option<String> {
        static REASON: OnceLock<Option<String>> = OnceLock::new();
        REASON.get_or_init(find_obstacle).clone()
    }

    /// Boots a host named `name` with `units` running in it and waits until it has settled.
    ///
    /// # Panics
    /// If it does not settle within a minute, or any unit failed; with systemd's reasons.
    pub fn boot(name: &str, units: &[Unit]) -> Host {
        let names: Vec<&str> = units.iter().map(|unit| unit.name()).collect();
        Host::start(name, &names, |host| host.wait_until_settled(units))
    }

    /// A host without systemd, in a tenth of the time: nothing runs on it but what is started.
    ///
    /// # Panics
    /// If it is not there within a minute.
    pub fn bare(name: &str) -> Host {
        Host::start(name, &["bare"], |host| {
            // It is made after the root was changed; before that we would enter the outer root.
            let log = host.root_path().join("run/host-test/console.log");
            host.wait_until("its first process", BOOT, || log.exists());
        })
    }

    fn start(name: &str, what: &[&str], settle: impl FnOnce(&Host)) -> Host {
        let began = Instant::now();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/boot.sh");
        let mut keeper = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "bash"])
            .arg(script)
            .args(["outer", name, env!("CARGO_BIN_EXE_trueup")])
            .args(what)
            // A group of its own: Ctrl-C at the terminal must not kill the keeper before it cleans up.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("unshare starts");

        let mut line = String::new();
        let stdout = keeper.stdout.take().expect("stdout is piped");
        BufReader::new(stdout).read_line(&mut line).expect("boot.sh speaks UTF-8");
        let Some(init) = line.strip_prefix("init ").and_then(|pid| pid.trim().parse().ok()) else {
            let mut said = String::new();
            let _ = keeper.stderr.take().expect("stderr is piped").read_to_string(&mut said);
            let _ = keeper.wait();
            panic!("host {name} did not start: {line}{said}");
        };

        // From here on a panic drops the host, which cleans up.
        let mut host =
            Host { name: name.to_owned(), keeper, init, boot_time: Duration::ZERO, spawned: AtomicU32::new(0) };
        settle(&host);
        host.boot_time = began.elapsed();
        host
    }

    /// The host name, as the host itself sees it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The outer pid of the host's systemd; a handle for `nsenter`, or for moving a network link.
    pub fn init_pid(&self) -> u32 {
        self.init
    }

    /// How long [`Host::boot`] took.
    pub fn boot_time(&self) -> Duration {
        self.boot_time
    }

    /// The host's `/` as a path on the outside.
    ///
    /// # Assumptions
    /// The path crosses no absolute symlink: one would lead to the *outer* file of that
    /// name. [`Host::read`] and [`Host::write`] are free of that trap.
    pub fn root_path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root", self.init))
    }

    /// Runs a command as root and waits for it, for two minutes at most.
    ///
    /// It also waits until nobody holds the command's output any more, so a daemon
    /// that is left behind with its standard output open keeps this waiting, as it would keep ssh.
    pub fn run(&self, argv: &[&str]) -> Output {
        self.run_with_input(argv, "")
    }

    /// Runs a command as `user`, with that user's groups and home, and waits for it.
    pub fn run_as(&self, user: &str, argv: &[&str]) -> Output {
        self.run(&[&["runuser", "-u", user, "--", "env", "-C", "/"], argv].concat())
    }

    /// Runs the program under test as root and waits for it.
    pub fn trueup(&self, args: &[&str]) -> Output {
        self.run(&[&["trueup"], args].concat())
    }

    /// Runs a shell script as root, stopping at its first failing command, and waits for it.
    pub fn sh(&self, script: &str) -> Output {
        self.run(&["bash", "-euo", "pipefail", "-c", script])
    }

    /// Runs a command with `input` on its standard input.
    pub fn run_with_input(&self, argv: &[&str], input: &str) -> Output {
        let mut child = self
            .enter()
            .args(["timeout", "--foreground", "--kill-after=2", COMMAND_SECONDS])
            .args(argv)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("nsenter starts");
        let mut stdin = child.stdin.take().expect("stdin is piped");
        let input = input.to_owned();
        // Apart, so that a command that prints before it reads cannot block us; one that never reads is fine.
        let writer = thread::spawn(move || drop(stdin.write_all(input.as_bytes())));
        let done = child.wait_with_output().expect("nsenter can be waited for");
        let _ = writer.join();
        Output {
            code: code_of(done.status),
            stdout: String::from_utf8_lossy(&done.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&done.stderr).into_owned(),
            command: argv.join(" "),
        }
    }

    /// Starts a command as root in the background. It ends with its handle, at the latest.
    pub fn spawn(&self, argv: &[&str]) -> Background<'_> {
        let id = self.spawned.fetch_add(1, Ordering::Relaxed);
        let files = format!("{SCRATCH}/spawn-{id}");
        let script = r#"files=$0; exec >"$files.out" 2>"$files.err"; echo $$ >"$files.pid"; exec "$@""#;
        let child = self
            .enter()
            .args(["sh", "-c", script, &files])
            .args(argv)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("nsenter starts");
        let mut pid = None;
        self.wait_until("a background command to start", SOON, || {
            let text = std::fs::read_to_string(self.root_path().join(format!("{}.pid", &files[1..])));
            pid = text.ok().and_then(|text| text.trim().parse().ok());
            pid.is_some()
        });
        Background { host: self, child, pid: pid.expect("just waited for"), files, command: argv.join(" ") }
    }

    /// Starts a command as `user` in the background.
    pub fn spawn_as(&self, user: &str, argv: &[&str]) -> Background<'_> {
        // Not everybody's group is called as its user: nobody's is not.
        let group = self.run(&["id", "-g", user]);
        // setpriv, since runuser would stay between us and the command.
        let become_user = ["setpriv", "--reuid", user, "--regid", group.ok(), "--init-groups", "--reset-env", "--"];
        self.spawn(&[&become_user, argv].concat())
    }

    /// Writes a file as root and makes the directories above it.
    pub fn write(&self, path: &str, contents: &str) {
        let script = r#"mkdir -p "$(dirname "$0")" && cat >"$0""#;
        self.run_with_input(&["sh", "-c", script, path], contents).ok();
    }

    /// Reads a file as root.
    ///
    /// # Panics
    /// If it cannot be read.
    #[track_caller]
    pub fn read(&self, path: &str) -> String {
        let output = self.run(&["cat", path]);
        output.ok();
        output.stdout
    }

    /// Where a link points, word for word; nothing if there is no such link.
    pub fn read_link(&self, path: &str) -> Option<String> {
        let output = self.run(&["readlink", path]);
        output.success().then(|| output.ok().to_owned())
    }

    /// Tells whether something is at `path`; a dangling link is nothing.
    pub fn exists(&self, path: &str) -> bool {
        self.run(&["test", "-e", path]).success()
    }

    /// Adds an ordinary user with a home directory and bash; adding one twice is fine.
    pub fn add_user(&self, user: &str) {
        self.sh(&format!("id {user} >/dev/null 2>&1 || useradd --create-home --shell /bin/bash {user}")).ok();
    }

    /// Lays a cable between two hosts: each can reach the other by address and by host name.
    pub fn connect(&self, own: &str, other: &Host, others: &str) {
        let (here, there) = (self.init.to_string(), other.init.to_string());
        // Named by the far end's pid, since a host may have several cables and an interface name 15 letters.
        let (near, far) = (format!("to{there}"), format!("to{here}"));
        let cable = ["ip", "link", "add", &near, "type", "veth", "peer", "name", &far, "netns", &there];
        // Only the network of the host, not its pids: `netns` wants an outer one.
        let laid = Command::new("nsenter").args(["--target", &here, "--net", "--"]).args(cable).output();
        let laid = laid.expect("nsenter starts");
        assert!(laid.status.success(), "{}", String::from_utf8_lossy(&laid.stderr));
        for (host, link, own, peer, name) in
            [(self, &near, own, others, &other.name), (other, &far, others, own, &self.name)]
        {
            let script = r#"ip addr add "$2" peer "$3" dev "$1"; ip link set "$1" up; echo "$3 $4" >>/etc/hosts"#;
            host.run(&["bash", "-euc", script, "-", link, own, peer, name]).ok();
        }
    }

    /// Tells whether a process with this inner pid exists and is not a zombie.
    pub fn is_alive(&self, pid: u32) -> bool {
        let stat = std::fs::read_to_string(self.root_path().join(format!("proc/{pid}/stat")));
        stat.is_ok_and(|stat| stat.rsplit(')').next().is_some_and(|rest| !rest.starts_with(" Z")))
    }

    /// Inner pids of the live processes whose command line contains `words`.
    pub fn pids_of(&self, words: &str) -> Vec<u32> {
        let proc = std::fs::read_dir(self.root_path().join("proc")).expect("the host runs");
        let pids = proc.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let matches = |pid: &u32| self.command_line(*pid).contains(words) && self.is_alive(*pid);
        let mut pids: Vec<u32> = pids.filter(matches).collect();
        pids.sort_unstable();
        pids
    }

    /// What a process was called with, separated by spaces; nothing if it has ended.
    fn command_line(&self, pid: u32) -> String {
        loop {
            let line = std::fs::read(self.root_path().join(format!("proc/{pid}/cmdline"))).unwrap_or_default();
            // Who lives and has none is just becoming another program, or just ending.
            if !line.is_empty() || !self.is_alive(pid) {
                return String::from_utf8_lossy(&line).replace('\0', " ");
            }
            std::thread::yield_now();
        }
    }

    /// Polls `condition` until it holds.
    ///
    /// # Panics
    /// If it does not within `timeout`; the message names the host and `what` was awaited.
    #[track_caller]
    pub fn wait_until(&self, what: &str, timeout: Duration, condition: impl FnMut() -> bool) {
        wait_until(&format!("host {}: {what}", self.name), timeout, condition);
    }

    /// The last lines of the host's journal, for a failure's message.
    pub fn journal(&self) -> String {
        self.run(&["journalctl", "--boot", "--no-pager", "--lines=60"]).stdout
    }

    fn enter(&self) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.init.to_string(), "--all", "--"]);
        // What the outer environment says (cargo's variables, proxies, locale) is not the host's.
        command.env_clear().envs([
            ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
            ("HOME", "/root"),
            ("LANG", "C.UTF-8"),
            ("TERM", "dumb"),
        ]);
        command
    }

    fn wait_until_settled(&self, units: &[Unit]) {
        // `console.log` is made after the root was changed; before that we would see, and enter, the outer root.
        let exists = |path: &str| self.root_path().join(path).exists();
        self.wait_until("systemd to listen", BOOT, || {
            exists("run/host-test/console.log") && exists("run/systemd/private")
        });
        self.wait_until("systemd to answer", BOOT, || {
            let state = self.run(&["systemctl", "is-system-running", "--wait"]);
            ["running", "degraded"].contains(&state.stdout.trim())
        });
        let failed = self.run(&["systemctl", "--failed", "--plain", "--no-legend"]);
        assert!(failed.ok().is_empty(), "host {}: failed units:\n{}\n{}", self.name, failed.stdout, self.journal());
        for unit in units {
            let active = self.run(&["systemctl", "is-active", unit.name()]);
            assert!(active.success(), "host {}: {active}\n{}", self.name, self.journal());
            if let Some(socket) = unit.socket() {
                self.wait_until(socket, BOOT, || self.root_path().join(&socket[1..]).exists());
            }
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // Closing the keeper's standard input makes it kill the first process of the pid
        // namespace, which takes all others along; then it removes what it made.
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

/// A command that runs in the background of a host. Dropping it kills the command.
pub struct Background<'host> {
    host: &'host Host,
    child: Child,
    pid: u32,
    files: String,
    command: String,
}

impl Background<'_> {
    /// The command's pid inside the host.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// What it has printed to standard output so far.
    pub fn stdout(&self) -> String {
        self.host.read(&format!("{}.out", self.files))
    }

    /// What it has printed to standard error so far.
    pub fn stderr(&self) -> String {
        self.host.read(&format!("{}.err", self.files))
    }

    /// Sends a signal by its short name, such as `TERM`; to a dead command, nothing.
    pub fn signal(&mut self, signal: &str) {
        // While the child is not reaped its inner pid cannot be used again.
        if self.is_running() {
            self.host.run(&["kill", "-s", signal, &self.pid.to_string()]);
        }
    }

    /// Tells whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("nsenter can be waited for").is_none()
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// If it still runs after `timeout`.
    #[track_caller]
    pub fn wait(&mut self, timeout: Duration) -> Output {
        let mut status = None;
        self.host.wait_until(&format!("the end of `{}`", self.command), timeout, || {
            status = self.child.try_wait().expect("nsenter can be waited for");
            status.is_some()
        });
        Output {
            code: code_of(status.expect("just waited for")),
            stdout: self.stdout(),
            stderr: self.stderr(),
            command: self.command.clone(),
        }
    }
}

impl Drop for Background<'_> {
    fn drop(&mut self) {
        self.signal("KILL");
        let _ = self.child.wait();
    }
}

/// Polls `condition` until it holds.
///
/// # Panics
/// If it does not within `timeout`; the message says `what` was awaited.
#[track_caller]
pub fn wait_until(what: &str, timeout: Duration, mut condition: impl FnMut() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < timeout, "waited {timeout:?} in vain for {what}");
        thread::sleep(PAUSE);
    }
}

/// The first thing that keeps this machine from booting hosts.
fn find_obstacle() -> Option<String> {
    for (file, what) in [("/lib/systemd/systemd", "systemd"), ("/usr/bin/dbus-daemon", "dbus")] {
        if !Path::new(file).exists() {
            return Some(format!("{what} is not installed"));
        }
    }
    // Ask the kernel instead of guessing from user ids and capabilities.
    let trial = "set -e; d=$(mktemp -d); trap 'umount -l $d; rmdir $d' EXIT; mount -t tmpfs tmpfs $d; \
         mkdir $d/u $d/w $d/r $d/c; mount -t overlay -o lowerdir=/,upperdir=$d/u,workdir=$d/w overlay $d/r; \
         mknod $d/null c 1 3; : >$d/null; mount -t cgroup2 cgroup2 $d/c; g=$d/c/${d##*/}; mkdir $g; rmdir $g; \
         unshare --fork --pid --uts --ipc --cgroup --net ip link set lo up";
    let tried = Command::new("unshare").args(["--mount", "--propagation", "private", "sh", "-c", trial]).output();
    match tried {
        Ok(output) if output.status.success() => None,
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            Some(format!("no namespaces here: {}", said.lines().next().unwrap_or("no reason given").trim()))
        }
        Err(error) => Some(format!("cannot run unshare: {error}")),
    }
}

fn code_of(status: std::process::ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}
