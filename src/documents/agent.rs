//! What an agent says of itself, what it was asked for, and why it does not do something.

use std::borrow::Cow;
use std::path::Path;

use jiff::Timestamp;
use serde::Serialize;

use super::API_VERSION;
use crate::decide::schedule::ScheduleState;
use crate::manifest::Mistake;
use crate::model::names::{AppName, Root};
use crate::model::report::Outcome;
use crate::model::wake::Wake;

/// The agent itself.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Agent<'a> {
    /// `trueup/v1`.
    pub api_version: &'static str,
    /// `Agent`.
    pub kind: &'static str,
    /// Of trueup.
    pub version: &'a str,
    /// When it began.
    pub started: Timestamp,
    /// Manifests are in force, and passes are made.
    pub ready: bool,
    /// The commit in force; null outside of git.
    pub revision: Option<&'a Revision>,
    /// Newer manifests that cannot be used; null: there are none.
    pub refused: Option<&'a ManifestProblem>,
    /// The source of manifests cannot be asked; null: it can.
    pub unreachable: Option<&'a Unreachable>,
    /// The agent's own configuration, as it was last read.
    pub configuration: &'a Configuration,
    /// Those that it looks after, and those that have disappeared.
    pub apps: Vec<Overview<'a>>,
}

/// One App in a few words.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Overview<'a> {
    /// Its name.
    pub name: &'a AppName,
    /// Its root.
    pub root: &'a Root,
    /// Roots that it had before, and at which everything was left as it was.
    pub former_roots: Vec<&'a Root>,
    /// The file that its manifest stands in, by its full path; of a commit, the path in the repository.
    pub file: Option<Cow<'a, Path>>,
    /// The line that it begins in, from 1.
    pub line: usize,
    /// It has disappeared from the manifests.
    pub orphaned: bool,
    /// Its workers are being stopped for that.
    pub leaving: bool,
    /// Why its next pass will be made.
    pub pending: &'a [Wake],
    /// The pass that runs; null: none does.
    pub running: Option<Running<'a>>,
    /// The last pass that has done more than wait; null: none has ended yet.
    pub last: Option<LastPass>,
    /// For whom the last pass of all has only waited; null: it has done more.
    pub waiting: Option<&'a str>,
    /// When a pass last ended well; null: none has yet.
    pub last_success: Option<Timestamp>,
    /// Its turns; null before there was a reason for the first one.
    pub schedule: Option<&'a ScheduleState>,
}

/// A pass that runs.
#[derive(Debug, Serialize)]
pub struct Running<'a> {
    /// When it began.
    pub since: Timestamp,
    /// What it was made for.
    pub wakes: &'a [Wake],
}

/// A pass that has ended.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LastPass {
    /// Its name in the journal.
    pub pass: String,
    /// When it began.
    pub began: Timestamp,
    /// How long it took in milliseconds.
    pub took_ms: u128,
    /// How it ended.
    pub outcome: Outcome,
}

/// One state of the manifests that has a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Revision {
    /// The commit, in full.
    pub commit: String,
    /// First line of its message.
    pub subject: String,
    /// Who wrote it.
    pub author: String,
    /// When it was committed.
    pub at: Timestamp,
    /// Who signed it; null where no signature is asked for.
    pub signed_by: Option<String>,
}

/// Manifests that cannot be used: the last good ones stay in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ManifestProblem {
    /// The commit they came with; none outside of git, or when none could be had.
    pub revision: Option<Revision>,
    /// What is wrong, with file and line where it has any.
    pub message: String,
    /// What to do.
    pub help: Option<String>,
    /// All that is wrong in the manifests; empty where it is something else.
    pub mistakes: Vec<Mistake>,
    /// Since when.
    pub since: Timestamp,
}

/// Why newer manifests cannot be asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Unreachable {
    /// What happened.
    pub message: String,
    /// What to do.
    pub help: Option<String>,
    /// Since when.
    pub since: Timestamp,
}

/// How the agent's own configuration stands, as it was last read.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Configuration {
    /// Why it cannot be used, with file and line where it has any; what was in force before stays.
    pub problem: Option<String>,
    /// What it says otherwise than what is in force, and what only a restart brings into force, such as `spec.listen`.
    pub needs_restart: Vec<String>,
}

/// Passes that an agent was asked for, and that nobody waits for.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Requested<'a> {
    api_version: &'static str,
    apps: &'a [AppName],
    kind: &'static str,
}

impl<'a> Requested<'a> {
    /// Over these Apps.
    #[must_use]
    pub fn new(apps: &'a [AppName]) -> Self {
        Self { api_version: API_VERSION, apps, kind: "Requested" }
    }
}

/// Why an agent does not do something.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Refused<'a> {
    api_version: &'static str,
    kind: &'static str,
    /// The status of the answer.
    code: u16,
    message: &'a str,
    /// What to do.
    help: Option<&'a str>,
}

impl<'a> Refused<'a> {
    /// What is told beside that status.
    #[must_use]
    pub fn new(code: u16, message: &'a str, help: Option<&'a str>) -> Self {
        Self { api_version: API_VERSION, kind: "Error", code, message, help }
    }
}
