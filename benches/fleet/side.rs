//! One of the two that are compared: its programs run on the control host in a control group of their own, so that what
//! they cost is known whole: with all children, and with the ssh processes that outlive them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::support::{Host, wait_until};

/// How often memory is looked at.
const LOOK: Duration = Duration::from_millis(10);
/// How long connections may take to end.
const SOON: Duration = Duration::from_secs(20);
/// Runs a command, and says for how long, what its control group has used meanwhile, and how it ended, in microseconds.
const MEASURE: &str = r#"
group=/sys/fs/cgroup/$0
usage() { while read -r key used; do [[ $key == usage_usec ]] && return; done <"$group/cpu.stat"; }
cd /etc/bench
usage; before=$used began=$EPOCHREALTIME
code=0; "$@" </dev/null >/run/bench.out 2>/run/bench.err || code=$?
ended=$EPOCHREALTIME; usage
echo $((${ended/./} - ${began/./})) $((used - before)) $code
"#;

/// What one run cost on the control host.
#[derive(Debug, Clone, Copy)]
pub struct Cost {
    /// From start to end.
    pub wall: Duration,
    /// Time of processors, of all processes of this side.
    pub cpu: Duration,
}

/// What one run had of the control host's memory, at most.
#[derive(Debug, Clone, Copy, Default)]
pub struct Memory {
    /// What processes had of their own, in kB: pages that forks share count once, mapped files do not count.
    pub own: u64,
    /// What the largest process had resident, with its mapped files, in kB.
    pub largest: u64,
    /// How many processes there were.
    pub processes: usize,
}

/// One side, on the control host.
pub struct Side<'host> {
    control: &'host Host,
    name: &'static str,
}

impl<'host> Side<'host> {
    /// That side, with a control group of that name.
    pub fn new(control: &'host Host, name: &'static str) -> Self {
        let side = Self { control, name };
        fs::create_dir(side.group()).expect("a control group");
        side
    }

    /// Its name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Runs a command that must succeed; what it printed, and what that cost.
    pub fn run(&self, command: &[String]) -> (Cost, String) {
        self.done(self.start(command), command)
    }

    /// The same, looking at its memory all the time; that costs time, so the cost is not told.
    pub fn watched(&self, command: &[String]) -> Memory {
        let mut child = self.start(command);
        let mut most = Memory::default();
        while child.try_wait().expect("it is ours").is_none() {
            let now = self.memory();
            most.own = most.own.max(now.own);
            most.largest = most.largest.max(now.largest);
            most.processes = most.processes.max(now.processes);
            thread::sleep(LOOK);
        }
        self.done(child, command);
        most
    }

    /// Ends what outlived its last run: the connections that it keeps.
    pub fn disconnect(&self) {
        wait_until("kept connections to end", SOON, || {
            let left = self.processes();
            for pid in &left {
                let _ = kill_process(*pid, Signal::TERM);
            }
            left.is_empty()
        });
    }

    /// How many connections it keeps.
    pub fn kept(&self) -> usize {
        self.processes().len()
    }

    fn start(&self, command: &[String]) -> Child {
        // Joined from outside: where control groups are delegated, nobody comes in from within.
        let join = r#"echo 0 >"$0/cgroup.procs"; exec nsenter --target "$1" --all -- "${@:2}""#;
        Command::new("bash")
            .args(["-euc", join])
            .arg(self.group())
            .arg(self.control.init_pid().to_string())
            .args(["bash", "-uc", MEASURE, self.name])
            .args(command)
            .env_clear()
            .envs([("PATH", "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"), ("HOME", "/root"), ("LANG", "C.UTF-8")])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("bash starts")
    }

    fn done(&self, child: Child, command: &[String]) -> (Cost, String) {
        let told = child.wait_with_output().expect("it is ours").stdout;
        let told: Vec<u64> = String::from_utf8_lossy(&told).split_whitespace().flat_map(str::parse).collect();
        let said = self.control.read("/run/bench.out");
        let [wall, cpu, 0] = told[..] else {
            panic!("{command:?}: {told:?}\n{said}{}", self.control.read("/run/bench.err"))
        };
        (Cost { wall: Duration::from_micros(wall), cpu: Duration::from_micros(cpu) }, said)
    }

    fn group(&self) -> PathBuf {
        self.control.root_path().join("sys/fs/cgroup").join(self.name)
    }

    fn processes(&self) -> Vec<Pid> {
        let listed = fs::read_to_string(self.group().join("cgroup.procs")).expect("a control group");
        listed.lines().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)).collect()
    }

    fn memory(&self) -> Memory {
        let mut now = Memory::default();
        for pid in self.processes() {
            let place = PathBuf::from(format!("/proc/{pid}"));
            now.own += line(&place.join("smaps_rollup"), "Pss_Anon:");
            now.largest = now.largest.max(line(&place.join("status"), "VmHWM:"));
            now.processes += 1;
        }
        now
    }
}

/// One figure of a file of `/proc`, in kB; nothing of a process that has ended.
fn line(file: &Path, key: &str) -> u64 {
    let text = fs::read_to_string(file).unwrap_or_default();
    let found = text.lines().find_map(|line| line.strip_prefix(key));
    found.and_then(|rest| rest.trim().trim_end_matches(" kB").parse().ok()).unwrap_or_default()
}
