//! What a process holds, and what a host is left with.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::support::Host;

/// What one process holds at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holds {
    /// Open descriptors, of all kinds.
    pub descriptors: usize,
    /// Holds on processes among them.
    pub pidfds: usize,
    /// Watches of inotify.
    pub watches: usize,
    /// Threads.
    pub threads: usize,
    /// Resident memory in KiB.
    pub resident: usize,
    /// Children that have ended and were not taken note of.
    pub zombies: usize,
}

impl Holds {
    /// What a process of that host holds now.
    pub fn of(host: &Host, pid: u32) -> Self {
        let own = host.root_path().join(format!("proc/{pid}"));
        let (mut descriptors, mut pidfds, mut watches) = (0, 0, 0);
        for entry in fs::read_dir(own.join("fd")).expect("it runs").flatten() {
            descriptors += 1;
            let Ok(leads_to) = fs::read_link(entry.path()) else { continue };
            let info = || fs::read_to_string(own.join("fdinfo").join(entry.file_name())).unwrap_or_default();
            match leads_to.to_string_lossy().as_ref() {
                "anon_inode:inotify" => watches += info().lines().filter(|line| line.starts_with("inotify ")).count(),
                "anon_inode:[pidfd]" => pidfds += 1,
                _ => pidfds += usize::from(info().lines().any(|line| line.starts_with("Pid:"))),
            }
        }
        let status = fs::read_to_string(own.join("status")).expect("it runs");
        let number = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key));
            line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
        };
        let children = processes(host).into_values().filter(|process| process.parent == pid && process.state == 'Z');
        Self {
            descriptors,
            pidfds,
            watches,
            threads: number("Threads:"),
            resident: number("VmRSS:"),
            zombies: children.count(),
        }
    }

    /// Why this is more than it was before; none: it is not. A connection that is just closed, memory that its allocator
    /// keeps and threads that wait for work are no leaks: of the latter there are as many as were ever busy together.
    pub fn beyond(&self, before: &Self) -> Option<String> {
        let rows = [
            ("other descriptors", self.descriptors - self.pidfds, before.descriptors - before.pidfds + 2),
            ("pidfds", self.pidfds, before.pidfds),
            // One that the first pass over an App has just asked for may come after the first count; a leak would be more.
            ("watches", self.watches, before.watches + 2),
            ("threads", self.threads, before.threads + 32),
            ("KiB", self.resident, before.resident + before.resident / 4 + 16 * 1024),
            ("zombies", self.zombies, 0),
        ];
        let over = rows.iter().filter(|(_, now, most)| now > most);
        let over: Vec<String> =
            over.map(|(what, now, most)| format!("{now} {what}, at most {most} expected")).collect();
        (!over.is_empty()).then(|| over.join("; "))
    }
}

/// One process of a host.
#[derive(Debug, Clone)]
pub struct Process {
    /// Its name, as the kernel has it.
    pub name: String,
    /// `R`, `S`, `Z` and so on.
    pub state: char,
    /// Its parent's inner pid.
    pub parent: u32,
    /// Where it works, if that can be told.
    pub cwd: Option<String>,
}

/// All processes of a host, by their inner pids.
pub fn processes(host: &Host) -> BTreeMap<u32, Process> {
    let proc = host.root_path().join("proc");
    let pids = fs::read_dir(&proc).expect("the host runs").flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let process = |pid: u32| {
        let stat = fs::read_to_string(proc.join(format!("{pid}/stat"))).ok()?;
        let (start, rest) = stat.rsplit_once(')')?;
        let mut rest = rest.split_whitespace();
        Some(Process {
            name: start.split_once('(')?.1.to_owned(),
            state: rest.next()?.chars().next()?,
            parent: rest.next()?.parse().ok()?,
            cwd: fs::read_link(proc.join(format!("{pid}/cwd"))).ok().map(|cwd| cwd.to_string_lossy().into_owned()),
        })
    };
    pids.filter_map(|pid| Some((pid, process(pid)?))).collect()
}

/// Every file below a directory of a host, with its size in bytes; links are not followed.
pub fn files(host: &Host, below: &str) -> Vec<(PathBuf, u64)> {
    let (root, mut found) = (host.root_path().join(&below[1..]), Vec::new());
    let mut open = vec![root.clone()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
            let Ok(seen) = entry.metadata() else { continue };
            if seen.is_dir() {
                open.push(entry.path());
            } else {
                found.push((entry.path().strip_prefix(&root).expect("it is below").to_owned(), seen.len()));
            }
        }
    }
    found
}

/// The names in a directory of a host, sorted.
pub fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort_unstable();
    names
}
