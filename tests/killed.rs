//! `trueup` is killed outright, at every step of a pass and at any moment: the next pass completes the work.
//!
//! strace delivers SIGKILL as a chosen system call begins, so the call before it was the last that happened.
//! One trial after the other moves the site from one release to the other, with the kill one call later
//! each time, until a pass gets through. The calls stand for what others can see of a pass: its
//! lock, its journal, its link, its words to supervisord and its signals.

#![allow(clippy::expect_used, reason = "a helper that fails should fail its test on the spot")]

mod support;

use std::time::{Duration, Instant};

use support::fixtures::{Program, Site, Workers};
use support::manifest::{Manifest, release_of};
use support::{Host, Unit, require_host};

const ROOT: &str = "/srv/app";
const RELEASES: [&str; 2] = ["r1", "r2"];
const SOON: Duration = Duration::from_secs(30);
/// More calls of one kind than any pass makes.
const TOO_MANY: u32 = 400;
/// What a killed command ends with.
const KILLED: i32 = 128 + 9;
/// Runs a command and kills it after so many microseconds.
const KILLER: &str = "import subprocess, sys, time\n\
    child = subprocess.Popen(sys.argv[2:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)\n\
    time.sleep(int(sys.argv[1]) / 1e6)\n\
    child.kill()\n\
    code = child.wait()\n\
    sys.exit(code if code >= 0 else 128 - code)\n";

/// A site with two workers, moved to and fro.
struct Trials<'host> {
    host: &'host Host,
    site: Site<'host>,
    pids: Box<dyn Fn() -> Vec<u32> + 'host>,
    manifest: Manifest<'host>,
    /// Which of the releases the site is in.
    at: usize,
    /// How long the last pass took that might have been killed.
    took: Duration,
}

impl<'host> Trials<'host> {
    fn supervised(host: &'host Host, startsecs: &str) -> Self {
        let site = Site::new(host, ROOT).release("r1").release("r2").current("r1");
        let workers: Workers<'host> = Program::php("app-worker", &site).numprocs(2).set("startsecs", startsecs).start();
        let manifest = Manifest::new(host, &site, "r1", "{supervisord: {group: app-worker}}");
        Self::new(host, site, manifest, Box::new(move || workers.pids()))
    }

    fn builtin(host: &'host Host) -> Self {
        let site = Site::new(host, ROOT).release("r1").release("r2").current("r1");
        let manifest = Manifest::new(host, &site, "r1", r#"{builtin: {run: [php, artisan, "queue:work"]}}"#);
        manifest.reconcile().converged();
        // The shim has the worker's arguments in its own until it becomes the worker.
        let pids = || {
            let pids = host.pids_of("php artisan queue:work");
            pids.into_iter().filter(|pid| release_of(host, *pid).is_some()).collect()
        };
        Self::new(host, site, manifest, Box::new(pids))
    }

    fn new(
        host: &'host Host,
        site: Site<'host>,
        manifest: Manifest<'host>,
        pids: Box<dyn Fn() -> Vec<u32> + 'host>,
    ) -> Self {
        let trials = Self { host, site, pids, manifest, at: 0, took: Duration::ZERO };
        trials.wait_until_loaded();
        trials
    }

    /// Both workers, and only they, with the release that each was loaded from.
    fn workers(&self) -> Vec<(u32, Option<String>)> {
        (self.pids)().into_iter().map(|pid| (pid, release_of(self.host, pid))).collect()
    }

    fn wait_until_loaded(&self) {
        let release = RELEASES[self.at];
        self.host.wait_until("both workers to have loaded their release", SOON, || {
            let workers = self.workers();
            workers.len() == 2 && workers.iter().all(|(_, seen)| seen.as_deref() == Some(release))
        });
    }

    /// How many workers have ever started in a release.
    fn starts(&self, release: &str) -> usize {
        self.site.events().iter().filter(|line| line.event == "started" && line.release == release).count()
    }

    /// Moves to the other release with a pass that `killer` runs and may kill, then with one that lives.
    /// Tells whether the first was killed.
    fn trial(&mut self, what: &str, killer: &[&str]) -> bool {
        let (host, manifest) = (self.host, self.manifest.clone());
        let from = RELEASES[self.at];
        self.at = 1 - self.at;
        let to = RELEASES[self.at];
        let manifest = manifest.release(to);
        let path = manifest.write();
        let starts = self.starts(to);

        let began = Instant::now();
        let output = host.run(&[killer, &["trueup", "reconcile", &path]].concat());
        self.took = began.elapsed();
        support::manifest::calm(&output);
        assert!([0, KILLED].contains(&output.code), "{what}: {output}");
        let killed = output.code == KILLED;
        let current = self.site.current_release();
        assert!([Some(from), Some(to)].contains(&current.as_deref()), "{what}: current is {current:?}");
        assert!(host.exists(&format!("{ROOT}/current/artisan")), "{what}: {current:?}");
        let fresh: Vec<u32> =
            self.workers().into_iter().filter(|(_, seen)| seen.as_deref() == Some(to)).map(|(pid, _)| pid).collect();
        if current.as_deref() == Some(from) {
            assert_eq!(fresh, [0; 0], "{what}: a worker went before the link");
        }

        // No `--wait`: the lock must be free.
        let next = manifest.reconcile().converged();
        assert_eq!(self.site.current_release().as_deref(), Some(to), "{what}");
        self.wait_until_loaded();
        let after = (self.pids)();
        for pid in &fresh {
            assert!(after.contains(pid), "{what}: fresh {pid} was replaced: {}", next.output);
        }
        // PHP has its script open before it says that it has started.
        host.wait_until("both workers' word", SOON, || self.starts(to) >= starts + 2);
        assert_eq!(self.starts(to), starts + 2, "{what}: each worker starts once: {}", next.output);
        let left = host.run(&["find", ROOT, "-maxdepth", "2", "-name", ".current.trueup-*", "-o", "-name", "*.tmp*"]);
        assert_eq!(left.ok(), "", "{what}");
        killed
    }

    /// Kills at each call of one kind in turn, until a pass gets through; how many were killed.
    fn kill_at_each(&mut self, call: &str) -> u32 {
        for number in 1..TOO_MANY {
            let trace = format!("trace={call}");
            let inject = format!("inject={call}:signal=KILL:when={number}");
            let strace = ["strace", "-f", "-qq", "-o", "/run/strace.out", "-e", &trace, "-e", &inject];
            if !self.trial(&format!("killed at {call} {number}"), &strace) {
                return number - 1;
            }
        }
        panic!("no pass got through {call}");
    }

    /// Kills after pauses that fall all over a pass; how many were killed.
    fn kill_at_any_moment(&mut self, trials: u32) -> u32 {
        assert!(!self.trial("not killed", &["env"]));
        let (mut window, mut killed) = (self.took, 0);
        for trial in 1..=trials {
            // Steps of the golden ratio spread evenly however many there are.
            let pause = window.mul_f64((f64::from(trial) * 0.618_034).fract()).as_micros().to_string();
            if self.trial(&format!("killed after {pause} us"), &["python3", "-c", KILLER, &pause]) {
                killed += 1;
            } else {
                // A machine that was busy at first need not be so for ever.
                window = self.took;
            }
        }
        killed
    }
}

/// Whether strace is here; a test that lacks it says so, and fails where nothing may be skipped.
fn has_strace(host: &Host) -> bool {
    let found = host.sh("command -v strace").success();
    let required = std::env::var_os("TRUEUP_TESTS_REQUIRE_HOST").is_some_and(|value| value == "1");
    assert!(found || !required, "strace is not installed");
    if !found {
        println!("skipped: strace is not installed");
    }
    found
}

#[test]
fn killed_at_each_line_that_it_writes() {
    let host = require_host!("killed-writing", [Unit::Supervisor]);
    if !has_strace(&host) {
        return;
    }
    let mut trials = Trials::supervised(&host, "1");
    let killed = trials.kill_at_each("write");
    println!("killed at each of {killed} writes");
    // In the journal: the pass, three actions before and after, the end; and the record of what is proven.
    assert!(killed >= 9, "{killed}");
}

#[test]
fn killed_at_each_change_of_the_file_system() {
    let host = require_host!("killed-files", [Unit::Supervisor]);
    if !has_strace(&host) {
        return;
    }
    let mut trials = Trials::supervised(&host, "0");
    for (call, at_least) in [("flock", 1), ("pwrite64", 1), ("symlinkat", 1), ("renameat", 1), ("fsync", 1)] {
        let killed = trials.kill_at_each(call);
        println!("killed at each of {killed} {call}");
        assert!(killed >= at_least, "{call}: {killed}");
    }
}

#[test]
fn killed_at_each_word_to_supervisord() {
    let host = require_host!("killed-talking", [Unit::Supervisor]);
    if !has_strace(&host) {
        return;
    }
    let mut trials = Trials::supervised(&host, "0");
    for (call, at_least) in [("connect", 1), ("sendto,sendmsg,writev", 3), ("recvfrom", 3), ("pidfd_open", 2)] {
        let killed = trials.kill_at_each(call);
        println!("killed at each of {killed} {call}");
        assert!(killed >= at_least, "{call}: {killed}");
    }
}

#[test]
fn killed_at_any_moment() {
    let host = require_host!("killed-any", [Unit::Supervisor]);
    let killed = Trials::supervised(&host, "0").kill_at_any_moment(40);
    println!("killed at {killed} moments of 40");
    assert!(killed >= 10, "{killed}");
}

#[test]
fn killed_at_any_moment_while_it_starts_workers_itself() {
    let host = require_host!("killed-builtin", []);
    let killed = Trials::builtin(&host).kill_at_any_moment(40);
    println!("killed at {killed} moments of 40");
    assert!(killed >= 10, "{killed}");
}
