//! The agent: how soon it reacts, and what it costs while nothing happens: `cargo bench --bench agent`.
//!
//! Needs neither root nor a host of its own: workers of the builtin manager, releases and a repository in a temporary
//! directory. Parts of it by name: `-- reactions`, `commits`, `passes`, `idle`. `TRUEUP_BENCH_IDLE` says for how many
//! seconds it is watched doing nothing (60 by default; 300 for figures that are to be quoted).

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark may fail on the spot")]
#![allow(clippy::cast_precision_loss, reason = "figures for people, rounded anyway")]

use std::fs;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::Receiver;
use std::thread;
use std::time::{Duration, Instant};

use measure::{Sample, row};
use rustix::process::{Pid, Signal, kill_process};
use stage::{LIMIT, Stage, healthy, until};

#[path = "../measure/mod.rs"]
mod measure;
mod stage;

const ROUNDS: usize = 20;
const COMMITS: usize = 8;
/// Passes over all Apps that are asked for.
const PASSES: usize = 20;

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let is_wanted = |part: &str| wanted.is_empty() || wanted.iter().any(|one| one == part);
    if is_wanted("reactions") {
        println!("reactions; ten Apps, each with a worker of the builtin manager");
        reactions();
    }
    if is_wanted("commits") {
        println!("\nfrom a commit to its release, one App with a worker and a health contract");
        commits();
    }
    if is_wanted("passes") {
        println!("\na pass over 100 Apps that need nothing");
        passes("without health contracts", None);
        passes("with health contracts", Some(healthy()));
    }
    if is_wanted("idle") {
        let seconds = std::env::var("TRUEUP_BENCH_IDLE").ok().and_then(|text| text.parse().ok()).unwrap_or(60);
        println!("\nidle for {seconds} s, drift timers of 60 s");
        for apps in [1, 10, 100] {
            idle(apps, None, Duration::from_secs(seconds));
        }
        idle(100, Some(healthy()), Duration::from_secs(seconds));
    }
}

fn reactions() {
    // Each is hurt twice at most: a worker that dies often is made to wait, and rightly so.
    let mut stage = Stage::new(ROUNDS / 2, None);
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

/// To the switch, and until the release is good: its worker runs, has been up for `minHealthy`, and health is proven.
fn commits() {
    let mut stage = Stage::new(1, Some(healthy()));
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
        let (mut switched, mut good) = (Vec::new(), Vec::new());
        the_end(&log);
        for number in 0..COMMITS {
            // A new one each time: what is proven already has no trial.
            let release = &format!("{}-{number}", if hook { "hook" } else { "poll" });
            stage.release(0, release);
            forget(&log);
            commit(&stage, release);
            let made = Instant::now();
            if hook {
                push(&stage.path("socket"));
            }
            until("the new release", || stage.is_current(0, release));
            switched.push(made.elapsed());
            let ended = the_end(&log);
            good.push(made.elapsed());
            assert!(ended.contains("Converged") && stage.works_on(0, release), "{ended}");
        }
        row(&format!("{name}, to the switch"), &Sample::new(switched), None);
        row(&format!("{name}, to good"), &Sample::new(good), None);
        let mut agent = stage.agent.take().unwrap();
        kill_process(Pid::from_child(&agent), Signal::TERM).unwrap();
        agent.wait().unwrap();
    }
}

/// What is logged as the next pass ends.
fn the_end(log: &Receiver<String>) -> String {
    loop {
        let line = log.recv_timeout(LIMIT).expect("the end of a pass");
        if line.contains("pass ended") {
            return line;
        }
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

/// From the wish for it to the end of the last App's pass, and what each costs.
fn passes(name: &str, health: Option<SocketAddr>) {
    let mut stage = Stage::new(100, health);
    let place = stage.path("manifests");
    stage.manifests(&place, "r1", 1);
    let log = stage.start("trueup=debug", &[place.to_str().unwrap()]);
    until("all workers", || (0..stage.apps).all(|app| stage.worker(app).is_some()));
    let pid = stage.agent.as_ref().unwrap().id();
    let (mut took, mut used) = (Vec::new(), 0);
    for _ in 0..PASSES {
        calm(&log);
        let before = ticks(pid);
        let asked = Instant::now();
        kill_process(Pid::from_raw(pid.try_into().unwrap()).unwrap(), Signal::HUP).unwrap();
        for _ in 0..stage.apps {
            the_end(&log);
        }
        took.push(asked.elapsed());
        used += ticks(pid) - before;
    }
    row(name, &Sample::new(took), None);
    let each = time(used).as_secs_f64() * 1e6 / (PASSES * stage.apps) as f64;
    println!("{:<44}{each:9.0} us of a core for each App", "");
}

/// What the agent costs while nothing happens.
fn idle(apps: usize, health: Option<SocketAddr>, watched: Duration) {
    let mut stage = Stage::new(apps, health);
    let place = stage.path("manifests");
    stage.manifests(&place, "r1", 1);
    let _log = stage.start("warn", &[place.to_str().unwrap()]);
    until("all workers", || (0..apps).all(|app| stage.worker(app).is_some()));
    thread::sleep(Duration::from_secs(5));
    let pid = stage.agent.as_ref().unwrap().id();
    let before = ticks(pid);
    thread::sleep(watched);
    let used = time(ticks(pid) - before);
    let (resident, own, most) = (memory(pid, "VmRSS:"), memory(pid, "RssAnon:"), memory(pid, "VmHWM:"));
    let share = 100.0 * used.as_secs_f64() / watched.as_secs_f64();
    let contract = if health.is_some() { ", asked for their health" } else { "" };
    println!(
        "{apps:>4} Apps: {share:.2} % of a core, {resident:.1} MB resident ({own:.1} MB of its own, at most {most:.1} MB){contract}"
    );
}

/// As long as so many clock ticks.
fn time(ticks: u64) -> Duration {
    Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
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
