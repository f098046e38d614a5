//! A walk over 5,000 real processes, against the least that reads as much: `cargo bench --bench walk`.
//!
//! Both look at the same processes, in turns. The floor lists `/proc` and reads one file, `stat`, of each;
//! a second one reads all that the walk tells of a process (`stat`, command line, working directory, program).

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail on the spot")]

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use measure::{Sample, row, timed};
use trueup::host::proc::walk;

#[path = "measure/mod.rs"]
mod measure;

const PROCESSES: usize = 5_000;
const BATCH: usize = 250;
const RUNS: usize = 15;

/// Ends its processes by their handles, whatever happens meanwhile.
struct Crowd(Vec<Child>);

impl Crowd {
    fn gather() -> std::io::Result<Self> {
        let mut crowd = Self(Vec::new());
        while crowd.0.len() < PROCESSES {
            for _ in 0..BATCH {
                let mut sleep = Command::new("sleep");
                sleep.arg("3600").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
                crowd.0.push(sleep.spawn()?);
            }
        }
        Ok(crowd)
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        for child in &mut self.0 {
            // One that ended by itself is fine.
            let _ = child.kill();
        }
        for child in &mut self.0 {
            let _ = child.wait();
        }
    }
}

/// Lists `/proc` and reads `stat` of each process.
fn least() -> usize {
    each_process(|home| std::fs::read(home.join("stat")).is_ok())
}

/// The same facts as a walk, by the standard library, one process after the other.
fn plain() -> usize {
    each_process(|home| {
        let read = std::fs::read(home.join("stat")).is_ok() && std::fs::read(home.join("cmdline")).is_ok();
        // Not allowed for a kernel thread; it took its time all the same.
        let _ = std::fs::read_link(home.join("cwd")).and_then(|_| std::fs::metadata(home.join("cwd")));
        let _ = std::fs::read_link(home.join("exe")).and_then(|_| std::fs::metadata(home.join("exe")));
        read
    })
}

fn each_process(look: impl Fn(&std::path::Path) -> bool) -> usize {
    let Ok(entries) = std::fs::read_dir("/proc") else { return 0 };
    let numbered = |name: &std::ffi::OsStr| name.to_str().is_some_and(|name| name.parse::<u32>().is_ok());
    entries.flatten().filter(|entry| numbered(&entry.file_name())).filter(|entry| look(&entry.path())).count()
}

fn main() -> std::io::Result<()> {
    let crowd = Crowd::gather()?;
    let mut runs: [Vec<Duration>; 3] = Default::default();
    for _ in 0..RUNS {
        let (took, seen) = timed(walk);
        let seen = seen.map_err(std::io::Error::other)?.processes.len();
        let (least_took, least_seen) = timed(least);
        let (plain_took, plain_seen) = timed(plain);
        assert!(seen.min(least_seen).min(plain_seen) >= crowd.0.len(), "a walk has missed somebody");
        for (runs, took) in runs.iter_mut().zip([took, least_took, plain_took]) {
            runs.push(took);
        }
    }
    let [walk, least, plain] = runs.map(Sample::new);
    println!("{PROCESSES} processes beside those of this machine");
    row("floor: readdir, stat of each", &least, None);
    row("the same facts, by the standard library", &plain, Some(&least));
    row("trueup's walk", &walk, Some(&least));
    Ok(())
}
