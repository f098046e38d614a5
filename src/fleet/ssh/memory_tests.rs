//! Far sides that say as much as they may, each something else: the memory of who hears them has a bound.
//!
//! Measured in a process of its own. `TRUEUP_HOSTILE_HOSTS=1000 cargo test --lib hostile_fleet -- --nocapture` measures that
//! of more hosts.

use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::process::Command;
use std::task::{Context, Poll};

use serde_json::json;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::sync::watch;

use super::*;
use crate::documents::wire::bounds::LINE;
use crate::documents::wire::tests::report;
use crate::documents::wire::{Ended, Hello, Operation};
use crate::fleet::ask::Asker;
use crate::fleet::groups::Looked;
use crate::fleet::look::look;
use crate::fleet::phase::SilentFleet;
use crate::fleet::reach::Reach;
use crate::fleet::ssh::control::ControlFolder;
use crate::fleet::ssh::conversation::{Lines, listen};
use crate::fleet::ssh::options::Options;
use crate::fleet::work::{StopWish, Target, Work};
use crate::model::names::HostName;
use crate::model::ssh::SshTarget;

/// In a normal test run.
const HOSTS: usize = 60;
const FORKS: usize = 32;
/// The process itself, and for each host that is heard the line that it says: half read, and as it grows.
const BASE: usize = 60 << 20;
const HEARD: usize = FORKS * 2 * LINE;
/// For each of these the line as the test says it.
const SAID: usize = FORKS * LINE;
/// For each host that was heard: its document, and its troubles.
const KEPT: usize = 448 << 10;

/// Stands for as many problems as a line can have.
const MANY: &str = "as many as fit";

/// Bytes that come in pieces, with pauses in which others have their turn.
struct Pieces {
    number: usize,
    /// The line that is said, which one it is, and how much of it was.
    line: Vec<u8>,
    which: u64,
    at: usize,
    pause: bool,
}

impl AsyncRead for Pieces {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.pause = !self.pause;
        if self.pause {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if self.at == self.line.len() {
            (self.line, self.at) = (line(self.number, self.which), 0);
            self.which += 1;
        }
        let length = (self.line.len() - self.at).min(out.remaining());
        out.put_slice(&self.line[self.at..self.at + length]);
        self.at += length;
        Poll::Ready(Ok(()))
    }
}

/// What a far side says that says what is largest, of one sort or another.
fn line(number: usize, seq: u64) -> Vec<u8> {
    let what = match seq {
        0 => json!({"hello": Hello::own(false)}),
        1 => json!({"waiting": "x".repeat(LINE - 4096)}),
        2 => json!({"report": large(number)}),
        _ => json!({"end": Ended::Done}),
    };
    let line = format!("{}\n", json!({"seq": seq, "at": "2026-05-01T12:00:00Z", "what": what}));
    // Not as a value: that takes far more room than what is measured.
    let many = ["{\"message\":\"\"},".repeat((LINE - 8192) / 15), "{\"message\":\"\"}".to_owned()].concat();
    let line = line.replace(&format!("\"{MANY}\""), &format!("[{many}]"));
    assert!(line.len() <= LINE, "host {number} would not be heard out: {}", line.len());
    line.into_bytes()
}

fn large(number: usize) -> serde_json::Value {
    let spare = LINE - 4096;
    let own = format!("{number:08}");
    let mut it = json!(report());
    it["outcome"] = json!(["drift", "failed", "rolledBack", "unhealthy"][number % 4]);
    it["document"] = json!("{}");
    match number % 6 {
        // What takes many times its bytes once it is read.
        0 => it["document"] = json!(format!("{{\"n\":[{}0]}}", "0,".repeat(spare / 2))),
        1 => it["document"] = json!(format!("{{\"n\":[{}{number}]}}", "0,".repeat((380 << 10) / 2))),
        2 => it["shown"] = json!({"diff": own.repeat(spare / 16), "text": own.repeat(spare / 16)}),
        3 => it["summary"]["problems"] = json!(MANY),
        4 => it["summary"]["problems"] = json!(vec![json!({"message": own.repeat(500), "help": own.repeat(500)}); 100]),
        _ => it["summary"]["complaint"] = json!(own.repeat(spare / 8)),
    }
    it
}

struct Hostile(Ssh);

impl Reach for Hostile {
    async fn ask(
        &self,
        host: &FleetHost,
        request: &Request,
        heard: &mut (dyn FnMut(HostSaid) + Send),
    ) -> Result<(), Unreached> {
        let number: usize = host.name.as_str()[3..].parse().unwrap();
        let mut asking = Asking::new(&self.0, host, request, heard);
        let mut listening = Listening::new(&mut asking, false);
        let mut lines =
            Lines::new(Pieces { number, line: Vec::new(), which: 0, at: 0, pause: false }, tokio::io::empty());
        let limits = Limits { first: FIRST, whole: None, silence: None };
        let ended = listen(&mut lines, limits, &mut |line| listening.hear(line)).await;
        assert!(matches!(ended, Ok(true)), "host {number}: {ended:?}");
        assert!(matches!(listening.end, Some(Ok(Turn::Ended))), "host {number}");
        Ok(())
    }

    async fn close(&self) {}
}

fn hosts() -> usize {
    std::env::var("TRUEUP_HOSTILE_HOSTS").map_or(HOSTS, |number| number.parse().unwrap())
}

#[test]
#[ignore = "measures its own process: `a_hostile_fleet_does_not_fill_the_memory` runs it"]
fn hear_a_hostile_fleet() {
    let room = tempfile::tempdir().unwrap();
    let control = ControlFolder::at(room.path().join("c")).unwrap();
    let fleet = Hostile(Ssh::with(Options::default(), control, "/proc/self/exe".into()));
    let target = |number: usize| {
        let name = HostName::new(format!("web{number}")).unwrap();
        let ssh = SshTarget::new(name.as_str()).unwrap();
        let (labels, vars) = (BTreeMap::new(), BTreeMap::new());
        Target { host: FleetHost { name, ssh, labels, vars }, manifest: String::new() }
    };
    let targets: Vec<Target> = (0..hosts()).map(target).collect();
    let (_sender, wish) = watch::channel(StopWish::GoOn);
    let asker = Asker::new("test");
    let work = Work::new(&fleet, &SilentFleet, &asker, FORKS, wish);
    let mut looked = Looked::new(targets.iter().map(|target| target.host.name.clone()), true);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let operation = Operation::DryRun { ignore_windows: false, retry: false };
    runtime.block_on(look(&work, &targets, &operation, |at, took, answer| looked.take(at, took, answer)));
    let looked = looked.done(std::time::Duration::ZERO);
    assert!(looked.hosts.iter().all(|host| host.document.is_some() && host.summary.is_some()));
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    println!("peak {}", peak.split_whitespace().nth(1).unwrap());
}

#[test]
fn a_hostile_fleet_does_not_fill_the_memory() {
    let hosts = hosts();
    let inner = "fleet::ssh::asking::memory_tests::hear_a_hostile_fleet";
    let mut command = Command::new(std::env::current_exe().unwrap());
    let made = command.args(["--exact", inner, "--ignored", "--nocapture"]).output().unwrap();
    let said = String::from_utf8_lossy(&made.stdout);
    assert!(made.status.success(), "{said}{}", String::from_utf8_lossy(&made.stderr));
    let peak = said.lines().find_map(|line| line.split_once("peak ")?.1.parse::<usize>().ok());
    let peak = peak.unwrap_or_else(|| panic!("{said}")) << 10;
    println!("{hosts} hosts that say as much as they may: {} MiB at most", peak >> 20);
    let most = BASE + HEARD + SAID + hosts * KEPT;
    assert!(peak < most, "{} MiB are more than {} MiB", peak >> 20, most >> 20);
}
