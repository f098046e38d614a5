//! What a control side and the far side of a host say to each other: one request, then lines.
//!
//! The request is one line of JSON on the standard input of `trueup far`; the answer is one JSON object on each line
//! of its standard output. The first is [`What::Hello`], the last [`What::End`]; what lies between depends on the
//! [`Operation`]. Lines are numbered from 1 in the order in which they were said, whoever listens: whoever asks again
//! with the same id and `from` gets each of them exactly once. What belongs to a connection and not to the run has
//! number 0: the hello, and the beats while a run has nothing to say.
//!
//! No line is longer than [`bounds::LINE`]: what a report is too long with is cut, and says so.
//!
//! Both sides are the same version of the same program, or they do not talk: [`read`] refuses everything else. What a
//! refusal needs keeps its shape for ever, in every version: `wire` and `program` of a request, a hello, a failure,
//! an end, and the number of a line. Start with [`Request`] and [`Line`].

pub mod bounds;
mod failed;
mod names;
pub mod read;
#[cfg(test)]
pub(crate) mod tests;

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use self::failed::{Failed, Fault};
pub use self::names::{NoRunId, RunId};
use crate::model::event::Event;
use crate::model::health::HealthVerdict;
use crate::model::millis;
use crate::model::names::{HostName, ReleaseId};
use crate::model::process::ProcessId;
use crate::model::report::{Outcome, Problem};

/// The version of the wire.
pub const WIRE: u32 = 4;

/// The version of the program: two that differ may decide differently, so they do not talk.
pub const PROGRAM: &str = env!("CARGO_PKG_VERSION");

/// What a program says that is asked who it would speak as: two builds of one version may speak different wires.
#[must_use]
pub fn voice() -> String {
    format!("trueup {PROGRAM} wire {WIRE}")
}

/// How often whoever makes a pass gives a sign of life, and how long whoever copies its lines says nothing at most.
pub const BEAT: Duration = Duration::from_secs(5);

/// The number of the first line of a run.
pub const FIRST: u64 = 1;

/// What a host is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Request {
    /// [`WIRE`].
    pub wire: u32,
    /// [`PROGRAM`].
    pub program: String,
    /// Names the run. A second request with the id of a run that there is attaches to that one.
    pub id: RunId,
    /// The number of the first line that is wanted; lines before it were received already.
    #[serde(default = "first")]
    pub from: u64,
    /// Who asks, for the history: `alice@laptop`. A courtesy and no proof.
    pub who: String,
    /// How the control side calls this host.
    pub host: HostName,
    /// Whether the App's `migrate` steps count here. Without it they are neither run nor missed: another host runs
    /// them. They stay in the manifest all the same, so that a quarantine holds wherever it is asked for.
    pub migrate: bool,
    /// What is asked for.
    pub operation: Operation,
    /// One App as a manifest document in JSON, without hosts.
    pub manifest: String,
}

const fn first() -> u64 {
    FIRST
}

/// What can be asked for. Observing, dry runs and questions for health change nothing on the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum Operation {
    /// Look, and answer with a [`Status`].
    Observe,
    /// Look, and answer with a [`Report`] of what would be done.
    DryRun {
        /// As if the App's windows were open.
        ignore_windows: bool,
        /// As if nothing kept the release out.
        retry: bool,
    },
    /// Make a pass, and answer with its events and its [`Report`].
    Apply {
        /// How long another pass over the same root is waited for.
        #[serde(with = "millis", rename = "waitMs")]
        wait: Duration,
        /// Act now, whatever the App's windows say.
        ignore_windows: bool,
        /// Lift what keeps the release out before that, so that it is tried again. Where nothing does, it is a pass like
        /// any other.
        retry: bool,
    },
    /// Keep a release out from now on, make a pass that goes back to an earlier one, and answer as to an apply. One that
    /// is kept out already is gone back from all the same.
    TakeBack {
        /// Which release: that of the manifest, or nothing is done.
        release: ReleaseId,
        /// Which release to go back to; none: the last proven one.
        to: Option<ReleaseId>,
        /// Why, for the status and the history.
        reason: String,
        /// How long another pass over the same root is waited for.
        #[serde(with = "millis", rename = "waitMs")]
        wait: Duration,
    },
    /// Look, ask for health once, and answer with [`Health`].
    Health,
}

impl Operation {
    /// Whether it may change the host: it is then made by a runner that outlives the connection.
    #[must_use]
    pub fn changes(&self) -> bool {
        match self {
            Self::Apply { .. } | Self::TakeBack { .. } => true,
            Self::Observe | Self::DryRun { .. } | Self::Health => false,
        }
    }
}

/// One line of the answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Line {
    /// Its number; 0 for what belongs to the connection: its hello, and beats.
    pub seq: u64,
    /// When it was said, by the host's clock.
    pub at: Timestamp,
    /// What it says.
    pub what: What,
}

/// What a line says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum What {
    /// Somebody of the right version is there.
    Hello(Hello),
    /// The far side is there, and so is, as far as it sees, the runner.
    Beat(Beat),
    /// A runner has begun. Always number 1 of an apply or a taking back.
    Begun(Begun),
    /// Another pass over the same root is waited for; says who makes it and since when.
    Waiting(String),
    /// Something happened in the pass.
    Event(Event),
    /// Events were left out because there were too many of them: how many.
    Omitted(u64),
    /// What the host looks like.
    Status(Box<Status>),
    /// What a pass did, or would do.
    Report(Box<Report>),
    /// Whether the application is healthy now.
    Health(Box<Health>),
    /// It could not be done.
    Failed(Failed),
    /// Nothing more comes.
    End(Ended),
}

/// The first line of each connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hello {
    /// [`WIRE`].
    pub wire: u32,
    /// [`PROGRAM`].
    pub program: String,
    /// The run was there before this request.
    pub attached: bool,
}

impl Hello {
    /// That of this program.
    #[must_use]
    pub fn own(attached: bool) -> Self {
        Self { wire: WIRE, program: PROGRAM.to_owned(), attached }
    }
}

/// Said each [`BEAT`] in which a run that is followed has said nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Beat {
    /// For how long the runner has given no sign of life, as far as this connection knows: below [`BEAT`], it has given one.
    /// A step that runs for hours is no silence of its runner.
    #[serde(with = "millis", rename = "silentMs")]
    pub silent: Duration,
}

/// Who makes the pass.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Begun {
    /// The runner.
    pub process: ProcessId,
    /// Start ticks of another boot name another process.
    pub boot: String,
}

/// How a conversation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Ended {
    /// What was asked for was answered.
    Done,
    /// It could not be done; the failure was said.
    Failed,
    /// The runner was killed, or could not write its answers: nobody knows how far the pass came. It holds nothing
    /// any more, and a new run, with an id of its own, goes on from what it left.
    Killed,
}

/// What a host looks like to whoever decides about many: true as of the last look.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct Summary {
    /// The desired release.
    pub release: ReleaseId,
    /// The release in force; none where `current` leads to none.
    pub current: Option<ReleaseId>,
    /// The host could be looked at: else nothing below says anything but `problems`.
    pub observed: bool,
    /// Something is not as the App says, whoever could change it.
    pub differs: bool,
    /// A part of it could not be looked at, such as a manager that does not answer.
    pub unreadable: bool,
    /// Actions that would close what differs.
    pub actions: usize,
    /// Why changes are withheld, such as a closed window; none where they may be made.
    pub withheld: Option<String>,
    /// Why the desired release is kept out; none when it is not.
    pub kept_out: Option<String>,
    /// Whether the health contract was met; none where there is none, or nobody asked.
    pub healthy: Option<bool>,
    /// What was not met, in words.
    pub complaint: Option<String>,
    /// The desired release's migrations were run on this host.
    pub migrated: bool,
    /// The desired release was proven on this host.
    pub proven: bool,
    /// How many workers are wanted.
    pub desired: u32,
    /// How many run.
    pub running: u32,
    /// How many run the desired release.
    pub fresh: u32,
    /// What went wrong, and what stands in the way.
    pub problems: Vec<Problem>,
}

/// What a host looks like.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// The exit code that `status` has.
    pub exit_code: u8,
    /// In a few words.
    pub summary: Summary,
    /// The App's document with its status, as `status --format json` prints it: as text, which nobody has to read who does
    /// not want it.
    pub document: String,
    /// The same for people, without colour.
    pub text: String,
}

impl Summary {
    /// The desired release is in force, and was proven here.
    #[must_use]
    pub fn had_release(&self) -> bool {
        self.proven && self.current.as_ref() == Some(&self.release)
    }
}

/// What a pass did, or would do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The exit code that `reconcile` has; of a taking back, that of `rollback`.
    pub exit_code: u8,
    /// How it ended.
    pub outcome: Outcome,
    /// How long it took.
    #[serde(with = "millis", rename = "tookMs")]
    pub took: Duration,
    /// Actions that were done.
    pub done: usize,
    /// Actions that failed.
    pub failed: usize,
    /// In a few words.
    pub summary: Summary,
    /// What it would do, for people; only of a dry run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shown: Option<Shown>,
    /// The pass as `reconcile --format json` prints it, with `host`, as text.
    pub document: String,
}

/// What a pass would do, for people, without colour.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Shown {
    /// The unified diff from what is to what should be; it names no process, so that equal hosts have equal ones.
    /// Empty when nothing differs.
    pub diff: String,
    /// All that `reconcile --dry-run` prints.
    pub text: String,
}

/// Whether the application is healthy now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Health {
    /// What the contract says; none where there is no contract, or the host could not be looked at.
    pub verdict: Option<HealthVerdict>,
    /// In a few words, as of the same look.
    pub summary: Summary,
}
