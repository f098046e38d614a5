//! Cables that are slow: by netem, where the kernel has it, else by a process between the ends that delivers late.
//!
//! The process carries whole frames (`cable.py`), so that everything takes its time: handshakes, answers, what is lost
//! and sent again. It belongs to the test, not to the hosts: no control group of theirs has its processor time.

use std::collections::BTreeSet;
use std::fmt;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

/// How a cable is; by default, as fast as it goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cable {
    /// How long each way takes.
    pub each_way: Duration,
    /// How much goes each way in a second; 0: as much as comes.
    pub bytes_per_second: u64,
}

impl Cable {
    /// A long one: answers come after `there_and_back`.
    pub fn long(there_and_back: Duration) -> Cable {
        Cable { each_way: there_and_back / 2, ..Cable::default() }
    }
}

/// Who makes cables slow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Means {
    /// The kernel.
    Netem,
    /// A process of ours: this kernel has no netem.
    Relay,
}

impl fmt::Display for Means {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Means::Netem => "by netem",
            Means::Relay => "by a relay, since this kernel has no netem",
        })
    }
}

/// What netem is told for a device; nothing is left of it on a cable that is as fast as it goes.
pub fn netem(device: &str, cable: Cable) -> String {
    if cable == Cable::default() {
        return format!("tc qdisc del dev {device} root 2>/dev/null || :");
    }
    let rate = match cable.bytes_per_second {
        0 => String::new(),
        bytes => format!(" rate {}bit", bytes * 8),
    };
    let us = cable.each_way.as_micros();
    format!("tc qdisc replace dev {device} root netem limit 100000 delay {us}us{rate}")
}

/// The process, in a network namespace of its own; it ends with its handle.
#[derive(Debug)]
pub struct Relay {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
    plugged: BTreeSet<usize>,
}

impl Relay {
    /// Starts it.
    pub fn start() -> Relay {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/cable.py");
        // Python's own program: a wrapper in the PATH could be any.
        let mut child = Command::new("unshare")
            .args(["--net", "/usr/bin/python3", "-IS"])
            .arg(script)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare starts");
        let orders = child.stdin.take().expect("stdin is piped");
        let answers = BufReader::new(child.stdout.take().expect("stdout is piped"));
        let mut relay = Relay { child, orders, answers, plugged: BTreeSet::new() };
        relay.hear("ready");
        relay
    }

    /// Has the cable of that host go through it, if it does not yet, and makes it such a cable. `control` is a process
    /// in the network of the control host.
    pub fn set(&mut self, control: u32, index: usize, cable: Cable) {
        let own = self.child.id();
        if self.plugged.insert(index) {
            // Another cable takes the place of the old one at the switch, under its name.
            let script = format!(
                "ip link set h{index} netns {own} name far{index}; \
                 ip link add h{index} type veth peer name near{index} netns {own}; ip link set h{index} master br0 up; \
                 nsenter --target {own} --net -- ip link set far{index} up; \
                 nsenter --target {own} --net -- ip link set near{index} up"
            );
            let pid = control.to_string();
            super::network::run(
                Command::new("nsenter").args(["--target", &pid, "--net", "--", "bash", "-euc", &script]),
            );
        }
        let (seconds, bytes) = (cable.each_way.as_secs_f64(), cable.bytes_per_second);
        writeln!(self.orders, "near{index} far{index} {seconds} {bytes}").expect("the relay runs");
        self.hear("done");
    }

    fn hear(&mut self, expected: &str) {
        let mut said = String::new();
        self.answers.read_line(&mut said).expect("the relay speaks UTF-8");
        assert_eq!(said.trim(), expected, "the relay broke down");
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
