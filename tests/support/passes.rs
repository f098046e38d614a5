//! Manifests on a host, passes over them, and what those say: report, journal, traces.
//!
//! In: a [`Site`] and lines of a manifest. Out: one [`Pass`] per run of the program, whose report
//! is read from `--format json`. Actions are compared as short words: `restart app-worker:app-worker_00`.

use std::collections::BTreeSet;
use std::fmt;

use serde_json::Value;

use super::fixtures::Site;
use super::{Host, Output};

/// One manifest on a host; each pass may write it anew.
pub struct Manifest<'host> {
    host: &'host Host,
    name: String,
    root: String,
    release: String,
    making: String,
    workers: Vec<String>,
    lines: Vec<String>,
    user: Option<String>,
}

impl<'host> Manifest<'host> {
    /// An App of this name over a site, that wants `release` and no workers.
    pub fn new(host: &'host Host, name: &str, site: &Site<'_>, release: &str) -> Self {
        Manifest {
            host,
            name: name.to_owned(),
            root: site.root().to_owned(),
            release: release.to_owned(),
            making: String::new(),
            workers: Vec::new(),
            lines: Vec::new(),
            user: None,
        }
    }

    /// Adds workers of a supervisord group, in an App group called as that one.
    pub fn supervisord(self, group: &str, count: u32) -> Self {
        self.workers(group, count, &format!("manager: {{supervisord: {{group: {group}}}}}"))
    }

    /// Adds workers with these further keys, in YAML's flow style: `manager: …, stopTimeout: 5s`. The gate trusts
    /// them at once, unless `rollout` is among the keys.
    pub fn workers(mut self, name: &str, count: u32, keys: &str) -> Self {
        let trust = if keys.contains("rollout:") { "" } else { ", rollout: {minHealthy: 0s}" };
        self.workers.push(format!("    - {{name: {name}, count: {count}, {keys}{trust}}}"));
        self
    }

    /// Adds a line to `spec`, such as `strays: stop`.
    pub fn with(mut self, line: &str) -> Self {
        self.lines.push(format!("  {line}"));
        self
    }

    /// Wants another release from the next pass on.
    pub fn release(mut self, release: &str) -> Self {
        release.clone_into(&mut self.release);
        self
    }

    /// Says how releases are made, in YAML's flow style: `source: {…}, build: […], keep: 2`.
    pub fn made(mut self, keys: &str) -> Self {
        self.making = format!(", {keys}");
        self
    }

    /// Forgets the workers, so that others can be said.
    pub fn without_workers(mut self) -> Self {
        self.workers.clear();
        self
    }

    /// Writes the root with other words for the same directory.
    pub fn root(mut self, root: &str) -> Self {
        root.clone_into(&mut self.root);
        self
    }

    /// Makes passes as this user, who is no root.
    pub fn user(mut self, user: &str) -> Self {
        self.user = Some(user.to_owned());
        self
    }

    /// Where the manifest is on the host.
    pub fn path(&self) -> String {
        format!("/etc/trueup/manifests/{}.yaml", self.name)
    }

    /// Writes the manifest and returns its path.
    pub fn write(&self) -> String {
        let Manifest { name, root, release, making, workers, lines, .. } = self;
        let mut text = format!(
            "apiVersion: trueup/v1\nkind: App\nmetadata: {{name: {name}}}\nspec:\n  root: {root}\n  \
             release: {{id: {release}{making}}}\n"
        );
        if !workers.is_empty() {
            text.push_str("  workers:\n");
        }
        for line in workers.iter().chain(lines) {
            text.push_str(line);
            text.push('\n');
        }
        // At once: a pass may be reading the one before.
        let (path, new) = (self.path(), format!("{}.new", self.path()));
        self.host.write(&new, &text);
        self.host.run(&["mv", &new, &path]).ok();
        path
    }

    /// Makes a pass and reads its report.
    #[track_caller]
    pub fn reconcile(&self) -> Pass {
        Pass::read(self.run(&["reconcile", "--format", "json"]))
    }

    /// Makes a dry run and reads its report; the exit code tells drift.
    #[track_caller]
    pub fn dry_run(&self) -> Pass {
        Pass::read(self.run(&["reconcile", "--dry-run", "--detailed-exitcode", "--format", "json"]))
    }

    /// Makes a pass and returns it as people see it.
    pub fn reconcile_for_people(&self) -> Output {
        self.run(&["reconcile"])
    }

    /// Runs any verb on this manifest.
    pub fn run(&self, verb: &[&str]) -> Output {
        let path = self.write();
        let argv = [&["trueup"], verb, &[&path]].concat();
        match &self.user {
            None => self.host.run(&argv),
            Some(user) => self.host.run_as(user, &argv),
        }
    }

    /// What `status` sees of each running worker: `stale r1 entryScript`, `fresh afterSwitch startTime`.
    #[track_caller]
    pub fn seen(&self) -> Vec<String> {
        let output = self.run(&["status", "--format", "json"]);
        let document: Value = serde_json::from_str(&output.stdout).unwrap_or_else(|_| panic!("no report: {output}"));
        let groups = document["items"][0]["status"]["workers"].as_array().cloned().unwrap_or_default();
        let members = groups.iter().flat_map(|group| group["members"].as_array().cloned().unwrap_or_default());
        let up = members.filter(|member| member["state"] == "running" || member["state"] == "starting");
        up.map(|member| seen(&member)).collect()
    }

    /// The actions that the journal says were done, oldest first, but for the notes.
    pub fn journaled(&self) -> Vec<String> {
        let lines = self.journal();
        lines.iter().filter(|line| line["event"] == "done" && !is_note(line)).map(action).collect()
    }

    /// Every line of the journal, oldest first.
    pub fn journal(&self) -> Vec<Value> {
        let text = self.host.run(&["cat", &format!("{}/.trueup/journal.jsonl", self.root)]).stdout;
        // The last line may be half written.
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        whole.lines().map(|line| serde_json::from_str(line).expect("the journal is JSON")).collect()
    }
}

/// One run of the program over one App.
pub struct Pass {
    /// How it ended and what it said.
    pub output: Output,
    /// The report of the App.
    pub report: Value,
}

impl Pass {
    #[track_caller]
    fn read(output: Output) -> Self {
        let document: Value = serde_json::from_str(&output.stdout).unwrap_or_else(|_| panic!("no report: {output}"));
        Pass { report: document["items"][0].clone(), output }
    }

    /// What was tried, in the order in which it ended, but for the notes.
    pub fn tried(&self) -> Vec<String> {
        self.list("tried")
    }

    /// What the first look planned, in order, but for the notes.
    pub fn planned(&self) -> Vec<String> {
        self.list("plan")
    }

    fn list(&self, key: &str) -> Vec<String> {
        self.report[key].as_array().expect("is a list").iter().filter(|one| !is_note(one)).map(action).collect()
    }

    /// All that went wrong, one after the other.
    pub fn problems(&self) -> String {
        let problems = self.report["problems"].as_array().expect("is a list").iter();
        problems.filter_map(|problem| problem["message"].as_str()).collect::<Vec<_>>().join("\n")
    }

    /// Fails unless the pass converged by exactly these actions, in any order.
    #[track_caller]
    pub fn converged_by(&self, actions: &[&str]) {
        let (mut tried, mut wanted) = (self.tried(), actions.to_vec());
        tried.sort_unstable();
        wanted.sort_unstable();
        assert_eq!((self.output.code, tried), (0, wanted.iter().map(ToString::to_string).collect()), "{self}");
        assert_eq!(self.report["outcome"], "converged", "{self}");
    }
}

impl fmt::Display for Pass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.output.fmt(f)
    }
}

/// An action that only writes down what was found out about a release.
pub fn is_note(value: &Value) -> bool {
    value["action"] == "proveRelease"
}

/// One action of a plan, a report or the journal, in short.
pub fn action(value: &Value) -> String {
    let word = |key: &str| value[key].as_str().unwrap_or_default().to_owned();
    match word("action").as_str() {
        "switchCurrent" => format!("switch {}", word("to")),
        "liftQuarantine" => format!("lift {}", word("id")),
        "fetchRelease" => format!("fetch {}", word("id")),
        "linkShared" => format!("link {}", word("id")),
        "runStage" => format!("{} {}", word("stage"), word("id")),
        "renewService" => format!("{} {}", word("how"), word("service")),
        "proveRelease" => format!("prove {}", word("id")),
        "pruneRelease" => format!("prune {}", word("id")),
        "applyConfig" => format!("apply {} {}", word("group"), word("path")),
        "startWorker" => format!("start {}", word("member")),
        "restartWorker" => format!("restart {}", word("member")),
        "stopWorker" => format!("stop {}", word("member")),
        "enableWorker" => format!("enable {}", word("member")),
        "stopStray" => format!("stop stray {}", value["process"]["pid"]),
        other => format!("{other}?"),
    }
}

/// All below some directories, with everything that a write would change.
pub struct Listing(BTreeSet<String>);

impl Listing {
    /// Inode, mode, owner, links, size, times of content and inode, target: of everything there.
    pub fn of(host: &Host, directories: &[&str]) -> Self {
        let format = ["-printf", r"%p %i %M %u:%g %n %s %T@ %C@ %l\n"];
        let found = host.run(&[&["find"], directories, &format].concat());
        Listing(found.ok().lines().map(str::to_owned).collect())
    }

    /// The lines that are there only before, or only after; nothing at all where nothing was written.
    pub fn changes(&self, after: &Listing) -> Vec<String> {
        self.0.symmetric_difference(&after.0).cloned().collect()
    }
}

fn seen(member: &Value) -> String {
    let runs = &member["evidence"]["runs"];
    let finding = match runs["finding"].as_str().unwrap_or_default() {
        "release" => runs["id"].as_str().unwrap_or_default().to_owned(),
        "deleted" => format!("{} deleted", runs["id"].as_str().unwrap_or_default()),
        other => other.to_owned(),
    };
    let told_by = member["evidence"]["rung"].as_str().unwrap_or("nothing");
    format!("{} {finding} {told_by}", member["verdict"].as_str().unwrap_or("unjudged"))
}
