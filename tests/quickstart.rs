//! The README's quickstart, command by command, in a fresh copy of what a clone has.
//!
//! `cargo` is a stand-in there that runs the program that was built for the tests; all else is real.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail on the spot")]

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// What a command leads to: the release in force, none without a link; how many workers run; a part
/// of what it prints.
type Leads = (Option<&'static str>, usize, &'static str);

const STEPS: [(&str, Leads); 9] = [
    ("cargo run -- reconcile", (Some("2026-05-01"), 2, "converged")),
    ("cargo run -- status", (Some("2026-05-01"), 2, "2/2")),
    ("sed -i", (Some("2026-05-01"), 2, "")),
    ("cargo run -- reconcile --dry-run", (Some("2026-05-01"), 2, "restart")),
    ("cargo run -- reconcile", (Some("2026-05-02"), 2, "converged")),
    ("kill", (Some("2026-05-02"), 1, "")),
    ("cargo run -- reconcile", (Some("2026-05-02"), 2, "start")),
    ("sed -i", (Some("2026-05-02"), 0, "stop")),
    ("rm -rf", (None, 0, "")),
];

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The shell blocks between the heading "Quickstart" and the next heading.
fn commands() -> Vec<String> {
    let readme = fs::read_to_string(repository().join("README.md")).unwrap();
    let section = readme.split("\n## Quickstart\n").nth(1).unwrap().split("\n## ").next().unwrap();
    let blocks = section.split("\n```sh\n").skip(1);
    blocks.map(|block| block.split("\n```").next().unwrap().to_owned()).collect()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            copy(&from, &to);
        } else {
            fs::copy(&from, &to).unwrap();
        }
    }
}

/// A fresh clone, as far as the quickstart sees it. Whatever runs in it is ended when it goes.
struct Clone {
    directory: tempfile::TempDir,
}

impl Clone {
    fn new() -> Self {
        let clone = Self { directory: tempfile::tempdir().unwrap() };
        copy(&repository().join("manifests"), &clone.path().join("manifests"));
        let bin = clone.path().join("bin");
        fs::create_dir(&bin).unwrap();
        let script = "#!/bin/sh\n[ \"$1 $2\" = \"run --\" ] || exit 99\nshift 2\nexec trueup \"$@\"\n";
        fs::write(bin.join("cargo"), script).unwrap();
        fs::set_permissions(bin.join("cargo"), fs::Permissions::from_mode(0o755)).unwrap();
        symlink(env!("CARGO_BIN_EXE_trueup"), bin.join("trueup")).unwrap();
        let git = "git init -q . && git add manifests && git -c user.name=a -c user.email=a@b commit -qm a";
        assert!(clone.run(git).status.success());
        clone
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn root(&self) -> PathBuf {
        self.path().join("target/quickstart")
    }

    fn run(&self, command: &str) -> Output {
        let path = format!("{}:{}", self.path().join("bin").display(), std::env::var("PATH").unwrap());
        // `-e`: a block of several commands is only as good as each.
        Command::new("sh").args(["-ec", command]).current_dir(self.path()).env("PATH", path).output().unwrap()
    }

    fn release(&self) -> Option<String> {
        let target = fs::read_link(self.root().join("current")).ok()?;
        Some(target.file_name().unwrap().to_string_lossy().into_owned())
    }

    /// Pids of this clone's workers.
    fn workers(&self) -> Vec<u32> {
        let releases = self.root().join("releases").canonicalize().unwrap_or_else(|_| self.root());
        let pids = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        pids.filter(|pid: &u32| {
            let cwd = fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd.starts_with(&releases));
            cwd && leads_its_session(*pid)
        })
        .collect()
    }
}

/// Each worker has a session of its own; what it starts, such as `sleep`, leads none.
fn leads_its_session(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // Behind the name in brackets: state, parent, group, session.
    let session = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(3));
    session == Some(pid.to_string().as_str())
}

impl Drop for Clone {
    fn drop(&mut self) {
        for pid in self.workers() {
            let _ = Command::new("kill").arg(pid.to_string()).status();
        }
    }
}

#[test]
fn the_readmes_commands_do_what_it_says() {
    let clone = Clone::new();
    let commands = commands();
    assert_eq!(commands.len(), STEPS.len(), "{commands:#?}");
    for (command, (begins, (release, workers, prints))) in commands.iter().zip(STEPS) {
        assert!(command.starts_with(begins), "`{command}` should begin with `{begins}`");
        let output = clone.run(command);
        let printed = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        println!("$ {command}\n{printed}");
        assert!(output.status.success(), "`{command}`: {}\n{printed}", output.status);
        assert!(printed.contains(prints), "`{command}` does not print `{prints}`:\n{printed}");
        assert_eq!(clone.release().as_deref(), release, "after `{command}`");
        // A worker that was just killed may take a moment to go.
        while clone.workers().len() > workers {
            std::thread::yield_now();
        }
        assert_eq!(clone.workers().len(), workers, "after `{command}`\n{printed}");
    }
    let left = clone.run("git status --porcelain manifests");
    assert!(left.stdout.is_empty(), "the quickstart leaves changes: {}", String::from_utf8_lossy(&left.stdout));
}

#[test]
fn a_dry_run_speaks_of_a_root_that_is_not_there_and_does_not_make_it() {
    let clone = Clone::new();
    let output = clone.run("trueup reconcile --dry-run manifests/quickstart.yaml");
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && printed.contains("5 actions would close the drift"), "{printed}");
    assert!(!printed.contains("not healthy"), "nothing is there yet that could be: {printed}");
    assert!(!clone.path().join("target").exists());
}

/// Whoever removes the directory before the workers has not lost them.
#[test]
fn workers_whose_root_was_removed_are_found_again() {
    let clone = Clone::new();
    let pass = || clone.run("trueup reconcile manifests/quickstart.yaml");
    assert!(pass().status.success());
    let before = clone.workers();
    // They go on writing into it meanwhile.
    while clone.root().exists() {
        let _ = fs::remove_dir_all(clone.root());
    }
    let again = pass();
    assert!(again.status.success(), "{}", String::from_utf8_lossy(&again.stdout));
    let after = clone.workers();
    assert_eq!(after.len(), 2);
    for pid in before {
        assert!(!after.contains(&pid) && !Path::new(&format!("/proc/{pid}/cwd")).exists(), "{pid} is left over");
    }
    let stop = clone
        .run("sed -i 's/count: 2/count: 0/' manifests/quickstart.yaml; trueup reconcile manifests/quickstart.yaml");
    assert!(stop.status.success(), "{}", String::from_utf8_lossy(&stop.stderr));
}

#[test]
fn a_settled_quickstart_is_left_alone() {
    let clone = Clone::new();
    let pass = || {
        let output = clone.run("trueup reconcile manifests/quickstart.yaml --format json");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    println!("{}", pass());
    let before = clone.workers();
    assert_eq!(before.len(), 2);
    println!("{}", pass());
    assert_eq!(clone.workers(), before, "nobody was restarted");
    let stop = clone
        .run("sed -i 's/count: 2/count: 0/' manifests/quickstart.yaml; trueup reconcile manifests/quickstart.yaml");
    assert!(stop.status.success(), "{}", String::from_utf8_lossy(&stop.stderr));
    assert_eq!(clone.workers(), Vec::<u32>::new());
}
