//! A manifest on a [`Host`], passes over it, and what they leave behind.
//!
//! [`Manifest`] writes the document and runs `trueup reconcile` on it; a [`Pass`] is what came of
//! that. [`footprint`] tells whether anything below a root was touched.

use std::fmt::Write;
use std::time::Duration;

use serde_json::Value;

use super::fixtures::Site;
use super::{Host, Output, SOON};

/// One App with one group of workers called `default`.
#[derive(Clone)]
pub struct Manifest<'host> {
    host: &'host Host,
    root: String,
    release: String,
    manager: String,
    count: u32,
    spec: String,
    group: String,
}

impl<'host> Manifest<'host> {
    /// Two workers of `release`; `manager` is YAML, such as `{supervisord: {group: app-worker}}`.
    pub fn new(host: &'host Host, site: &Site<'host>, release: &str, manager: &str) -> Self {
        Manifest {
            host,
            root: site.root().to_owned(),
            release: release.to_owned(),
            manager: manager.to_owned(),
            count: 2,
            spec: String::new(),
            group: String::new(),
        }
    }

    /// Another release.
    pub fn release(mut self, id: &str) -> Self {
        id.clone_into(&mut self.release);
        self
    }

    /// Another number of workers.
    pub fn count(mut self, count: u32) -> Self {
        self.count = count;
        self
    }

    /// One more line of `spec`.
    pub fn spec(mut self, line: &str) -> Self {
        writeln!(self.spec, "  {line}").expect("a String takes all");
        self
    }

    /// One more line of the group.
    pub fn group(mut self, line: &str) -> Self {
        writeln!(self.group, "      {line}").expect("a String takes all");
        self
    }

    /// Writes it and returns its path.
    pub fn write(&self) -> String {
        let Self { root, release, manager, count, spec, group, .. } = self;
        // The gate trusts workers at once, unless a test wants it otherwise.
        let trust = if group.contains("rollout:") { "" } else { "      rollout: {minHealthy: 0s}\n" };
        let text = format!(
            "apiVersion: trueup/v1\nkind: App\nmetadata: {{name: app}}\nspec:\n  root: {root}\n  \
             release: {{id: {release}}}\n{spec}  workers:\n    - name: default\n      count: {count}\n      \
             manager: {manager}\n{group}{trust}"
        );
        let path = "/etc/trueup/manifests/app.yaml";
        self.host.write(path, &text);
        path.to_owned()
    }

    /// Makes a pass as root.
    #[track_caller]
    pub fn reconcile(&self) -> Pass {
        self.reconcile_with(&[])
    }

    /// Makes passes as root until one fails over a worker that does not stay up; that one, and how often it was tried
    /// again in it. On a busy machine it may take the worker longer to fail than it takes to believe in it: the next pass
    /// finds it.
    #[track_caller]
    pub fn reconcile_until_failed(&self) -> (Pass, usize) {
        let mut pass = self.reconcile();
        self.host.wait_until("a pass that fails", Duration::from_mins(1), || {
            let is_over = pass.outcome() != "converged";
            if !is_over {
                pass = self.reconcile();
            }
            is_over
        });
        let pass = pass.failed();
        let again = pass.output.stderr.matches("; again in").count();
        assert!(again >= 1, "{}", pass.output);
        (pass, again)
    }

    /// Makes a pass as root with further arguments.
    #[track_caller]
    pub fn reconcile_with(&self, arguments: &[&str]) -> Pass {
        let path = self.write();
        let command = ["trueup", "reconcile", "--format", "json", &path];
        Pass::of(self.host.run(&[&command[..], arguments].concat()))
    }

    /// Makes a pass as an ordinary user.
    #[track_caller]
    pub fn reconcile_as(&self, user: &str) -> Pass {
        let path = self.write();
        Pass::of(self.host.run_as(user, &["trueup", "reconcile", "--format", "json", &path]))
    }

    /// Makes a pass for people and returns all that they see; the exit code must be 1.
    #[track_caller]
    pub fn refusal(&self, user: &str) -> String {
        let path = self.write();
        let output = self.host.run_as(user, &["trueup", "reconcile", "--color", "never", &path]);
        assert_eq!(output.code, 1, "{output}");
        calm(&output);
        format!("{}{}", output.stdout, output.stderr)
    }
}

/// What came of one pass.
#[derive(Debug)]
pub struct Pass {
    /// The report of the one App.
    pub report: Value,
    /// What was printed.
    pub output: Output,
}

impl Pass {
    /// Reads the report.
    #[track_caller]
    pub fn of(output: Output) -> Self {
        calm(&output);
        let list: Value = serde_json::from_str(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output}"));
        assert_eq!(list["kind"], "PassReportList", "{output}");
        assert_eq!(list["items"].as_array().map(Vec::len), Some(1), "{output}");
        Pass { report: list["items"][0].clone(), output }
    }

    /// Demands that it converged.
    #[track_caller]
    pub fn converged(self) -> Self {
        assert_eq!((self.output.code, self.outcome()), (0, "converged"), "{}", self.output);
        self
    }

    /// Demands that it failed with exit code 1.
    #[track_caller]
    pub fn failed(self) -> Self {
        assert_eq!((self.output.code, self.outcome()), (1, "failed"), "{}", self.output);
        self
    }

    /// How it ended.
    pub fn outcome(&self) -> &str {
        self.report["outcome"].as_str().unwrap_or_default()
    }

    /// What was tried, sorted: `switchCurrent r2`, `restartWorker app-worker@1.service`. Not what only wrote down
    /// something that was found out about a release.
    pub fn tried(&self) -> Vec<String> {
        let is_note = |one: &&Value| one["action"] == "proveRelease";
        let tried = self.report["tried"].as_array().into_iter().flatten().filter(|one| !is_note(one));
        let mut tried: Vec<String> = tried.map(spoken).collect();
        tried.sort_unstable();
        tried
    }

    /// What went wrong, with the help, one after the other.
    pub fn problems(&self) -> String {
        let own = self.report["problems"].as_array().into_iter().flatten();
        let others = ["stalled", "blockers"].into_iter().filter_map(|kind| self.report["remaining"][kind].as_array());
        own.chain(others.flatten()).map(ToString::to_string).collect::<Vec<_>>().join("\n")
    }
}

fn spoken(action: &Value) -> String {
    let word = |key: &str| action[key].as_str().unwrap_or_default().to_owned();
    let object = if action["member"].is_string() { word("member") } else { word("to") };
    format!("{} {object}", word("action"))
}

/// Demands that the program did not fall over, whatever it had to say.
#[track_caller]
pub fn calm(output: &Output) {
    for word in ["panicked", "RUST_BACKTRACE", "stack backtrace", "unwrap()"] {
        assert!(!output.stdout.contains(word) && !output.stderr.contains(word), "{output}");
    }
}

/// Every file below a root: kind, inode, mode, owner, size, times and link text.
///
/// Left out are the workers' own log and the note in the lock file about who held it last.
pub fn footprint(host: &Host, root: &str) -> String {
    let format = "./%P %y %i %m %U %s %T@ %C@ %l\n";
    let listed = host.run(&["find", root, "-printf", format]);
    let mut lines: Vec<&str> = listed
        .ok()
        .lines()
        .filter(|line| !line.starts_with("./shared/worker.log ") && !line.starts_with("./.trueup/lock "))
        .collect();
    lines.sort_unstable();
    lines.join("\n")
}

/// The journal, line by line.
pub fn journal(host: &Host, root: &str) -> Vec<Value> {
    let text = host.run(&["cat", &format!("{root}/.trueup/journal.jsonl")]).stdout;
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

/// The release that a PHP worker was loaded from, by its open entry script; none once it is gone.
pub fn release_of(host: &Host, pid: u32) -> Option<String> {
    let script = host.read_link(&format!("/proc/{pid}/fd/3"))?;
    let release = script.split("/releases/").nth(1)?.split('/').next()?;
    Some(release.to_owned())
}

/// Waits until PHP workers have opened the script of a release: only then does anything tell what they run.
#[track_caller]
pub fn loaded(host: &Host, pids: impl IntoIterator<Item = u32>, release: &str) {
    for pid in pids {
        host.wait_until("the worker's script", SOON, || release_of(host, pid).as_deref() == Some(release));
    }
}
