//! Whether the program has become slower, or needs more: the README's quickstart and passes with nothing to do, beside
//! another trueup, such as one of an earlier commit: `TRUEUP_BENCH_AGAINST=PATH cargo bench --bench before [-- TURNS]`.
//!
//! In each turn both do the same in a fresh copy of the manifests, once the one first and once the other; without a
//! manager, so that it needs no root. Processor time is that of the program and of those that it waits for, not of the
//! workers. Begin at [`turn`]. `TRUEUP_BENCH_PROGRAM`: another trueup than the one that was just built.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark may fail on the spot")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use measure::{Sample, row, timed};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::{TimeVal, TimeValLike as _};

#[path = "../measure/mod.rs"]
mod measure;

/// How many turns there are by default.
const TURNS: usize = 20;
/// How many passes with nothing to do a turn has.
const PASSES: usize = 5;
const MANIFEST: &str = "manifests/quickstart.yaml";

/// What is measured.
const PARTS: [&str; 3] = ["the quickstart's first pass", "a pass with nothing to do", "--version"];

/// What each run of each part has cost.
type Runs = [Vec<Cost>; PARTS.len()];

/// What one run has cost.
#[derive(Clone, Copy)]
struct Cost {
    /// From start to end.
    wall: Duration,
    /// Time of processors.
    processor: Duration,
}

/// One of the figures of a run.
type Figure = fn(&Cost) -> Duration;

fn main() {
    let turns = std::env::args().skip(1).find_map(|word| word.parse().ok()).unwrap_or(TURNS);
    let Some(other) = std::env::var_os("TRUEUP_BENCH_AGAINST") else {
        println!("skipped: with what to compare? TRUEUP_BENCH_AGAINST=PATH names another trueup");
        return;
    };
    let own = std::env::var_os("TRUEUP_BENCH_PROGRAM").unwrap_or_else(|| env!("CARGO_BIN_EXE_trueup").into());
    // Side by side, so that both are read from the same disk.
    let folder = tempfile::tempdir().expect("a folder");
    let programs = [("that", other), ("this", own)].map(|(name, path)| {
        let program = folder.path().join(name);
        let size = fs::copy(&path, &program).expect("a program");
        let version = said(Command::new(&program).arg("--version"));
        println!("{name}: {}: {}, {size} bytes", path.display(), version.trim());
        program
    });
    same("linked with", &programs, linked);
    if Command::new("strace").arg("--version").output().is_ok() {
        same("starts in the quickstart", &programs, started);
    } else {
        println!("skipped: which programs it starts: no `strace` in the PATH");
    }
    let mut runs = [Runs::default(), Runs::default()];
    for number in 0..=turns {
        for side in if number % 2 == 0 { [0, 1] } else { [1, 0] } {
            let took = turn(&programs[side]);
            // The first turn reads the programs from disk.
            if number > 0 {
                for (runs, took) in runs[side].iter_mut().zip(took) {
                    runs.extend(took);
                }
            }
        }
    }
    println!("{turns} turns");
    for (part, title) in PARTS.iter().enumerate() {
        let figures: [(&str, Figure); 2] = [("wall", |cost| cost.wall), ("processor", |cost| cost.processor)];
        for (figure, get) in figures {
            let [that, this] = [&runs[0], &runs[1]].map(|runs| Sample::new(runs[part].iter().map(get).collect()));
            row(&format!("{title}, {figure}: that"), &that, None);
            row(&format!("{title}, {figure}: this"), &this, Some(&that));
        }
    }
}

/// All parts, in a world of their own.
fn turn(program: &Path) -> Runs {
    let world = World::new(program);
    let (first, told) = world.pass();
    assert!(told.contains("clock/1"), "the first pass has started nobody: {told}");
    let settled = || {
        let (cost, told) = world.pass();
        assert!(!told.contains("clock/1"), "there was something to do: {told}");
        cost
    };
    let version = || cost(world.trueup().arg("--version")).0;
    [vec![first], (0..PASSES).map(|_| settled()).collect(), (0..PASSES).map(|_| version()).collect()]
}

/// A fresh clone, as far as the quickstart sees it. Its workers are stopped when it goes.
struct World<'a> {
    folder: tempfile::TempDir,
    program: &'a Path,
}

impl<'a> World<'a> {
    fn new(program: &'a Path) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let manifests = Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests");
        said(Command::new("cp").arg("-r").arg(manifests).arg(folder.path()));
        World { folder, program }
    }

    fn trueup(&self) -> Command {
        let mut command = Command::new(self.program);
        command.current_dir(&self.folder);
        command
    }

    /// One pass, and what it printed.
    fn pass(&self) -> (Cost, String) {
        cost(self.trueup().args(["reconcile", MANIFEST]))
    }
}

impl Drop for World<'_> {
    fn drop(&mut self) {
        let manifest = self.folder.path().join(MANIFEST);
        let text = fs::read_to_string(&manifest).expect("a manifest");
        fs::write(&manifest, text.replace("count: 2", "count: 0")).expect("a manifest");
        self.pass();
    }
}

/// Runs what must succeed: what it took, and what it printed.
fn cost(command: &mut Command) -> (Cost, String) {
    let before = children();
    let (wall, told) = timed(|| said(command));
    (Cost { wall, processor: children().saturating_sub(before) }, told)
}

fn said(command: &mut Command) -> String {
    let done = command.stdin(Stdio::null()).output().expect("it is there");
    let told = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(done.status.success(), "{command:?}: {told}{}", String::from_utf8_lossy(&done.stderr));
    told
}

/// Processor time of all that was waited for.
fn children() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).expect("the kernel knows");
    let duration = |time: TimeVal| Duration::from_micros(u64::try_from(time.num_microseconds()).unwrap_or_default());
    duration(usage.user_time()) + duration(usage.system_time())
}

/// Prints what both have, and what only one of them has.
fn same(title: &str, programs: &[PathBuf; 2], of: impl Fn(&Path) -> BTreeSet<String>) {
    let [that, this] = [&programs[0], &programs[1]].map(|program| of(program));
    let list = |names: Vec<&String>| names.into_iter().map(String::as_str).collect::<Vec<_>>().join(", ");
    println!("{title}: {}", list(this.intersection(&that).collect()));
    for (who, names) in [("this one only", this.difference(&that)), ("that one only", that.difference(&this))] {
        let names: Vec<&String> = names.collect();
        if !names.is_empty() {
            println!("{title}, {who}: {}", list(names));
        }
    }
}

/// The libraries that it is started with.
fn linked(program: &Path) -> BTreeSet<String> {
    let told = said(Command::new("ldd").arg(program));
    told.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

/// The programs that are started in the quickstart's first pass and in one with nothing to do, by strace.
fn started(program: &Path) -> BTreeSet<String> {
    let world = World::new(program);
    let log = world.folder.path().join("log");
    let mut found = BTreeSet::new();
    for _ in 0..2 {
        // Whoever becomes another program is followed no further: workers outlive the pass.
        let mut strace = Command::new("strace");
        strace.args(["-f", "-qq", "-b", "execve", "-e", "trace=execve", "-o"]).arg(&log).arg(program);
        strace.args(["reconcile", MANIFEST]).current_dir(&world.folder);
        said(&mut strace);
        let text = fs::read_to_string(&log).expect("strace has written it");
        let calls = text.lines().filter_map(|line| line.split_once("execve(\"")?.1.split('"').next());
        // Itself, by its path.
        found.extend(calls.filter(|path| Path::new(path) != program).map(str::to_owned));
    }
    found
}
