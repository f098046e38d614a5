//! What a way into supervisord can do: the same four requests through the socket and through `supervisorctl`.
//!
//! A client only asks; it never waits for an outcome. Waiting is the business of [`super::act`], which is
//! written once for all doors.

use std::future::Future;
use std::time::Duration;

use jiff::Timestamp;

use crate::model::names::MemberName;
use crate::model::observed::MemberState;
use crate::model::process::Pid;
use crate::ports::{HostError, HostErrorKind};

/// One process as supervisord shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::managers) struct Info {
    /// Its group.
    pub group: String,
    /// Its name in the group.
    pub name: String,
    /// Its state.
    pub state: MemberState,
    /// Supervisord's words about the state; empty for a running process.
    pub detail: String,
    /// Its main process. `supervisorctl` shows it only of a running one.
    pub pid: Option<Pid>,
    /// When it last started, in whole seconds since 1970; none when it has no process.
    pub started: Option<i64>,
}

impl Info {
    /// Its full name as a member's.
    ///
    /// # Errors
    /// It is no name that a member may have.
    pub(in crate::managers) fn member(&self) -> Result<MemberName, HostError> {
        MemberName::new(self.full_name())
            .map_err(|error| HostError::new(HostErrorKind::Other, format!("the name of a process is {error}")))
    }

    /// When it last started.
    pub(in crate::managers) fn moment(&self) -> Option<Timestamp> {
        self.started.and_then(|seconds| Timestamp::from_second(seconds).ok())
    }

    /// `GROUP:NAME`, also where supervisord itself would shorten it.
    pub(in crate::managers) fn full_name(&self) -> String {
        format!("{}:{}", self.group, self.name)
    }
}

/// How one program is to be treated; what cannot be asked for has supervisord's own defaults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::managers) struct Settings {
    /// What asks it to end.
    pub stop_signal: StopSignal,
    /// How long supervisord itself waits after a stop before it kills.
    pub stop_wait: Duration,
    /// How long it must last to count as running.
    pub start_time: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self { stop_signal: StopSignal::TERM, stop_wait: Duration::from_secs(10), start_time: Duration::from_secs(1) }
    }
}

/// The number of a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::managers) struct StopSignal(pub i32);

impl StopSignal {
    /// SIGTERM.
    pub(in crate::managers) const TERM: Self = Self(15);
    /// SIGHUP.
    pub(in crate::managers) const HUP: Self = Self(1);
    /// SIGUSR2.
    pub(in crate::managers) const USR2: Self = Self(12);
    /// SIGKILL.
    pub(in crate::managers) const KILL: Self = Self(9);

    /// As rustix sends it; none for a number that is no signal of its own.
    pub(in crate::managers) fn to_rustix(self) -> Option<rustix::process::Signal> {
        rustix::process::Signal::from_named_raw(self.0)
    }
}

impl std::fmt::Display for StopSignal {
    /// The short name, such as `TERM`, that a sudoers line can spell; a number for rare signals.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            1 => f.write_str("HUP"),
            2 => f.write_str("INT"),
            3 => f.write_str("QUIT"),
            9 => f.write_str("KILL"),
            10 => f.write_str("USR1"),
            12 => f.write_str("USR2"),
            15 => f.write_str("TERM"),
            number => write!(f, "{number}"),
        }
    }
}

/// What became of the request to start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::managers) enum StartAnswer {
    /// It starts, or had started already, or supervisord goes on trying: look at its state.
    Accepted,
    /// Supervisord did not even try, and why: no such program file, say.
    Refused(String),
}

/// The pauses between the asks of one wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::managers) struct Pace {
    /// After each of the first few.
    pub first: Duration,
    /// After the others.
    pub then: Duration,
}

/// A way into one supervisord.
pub(in crate::managers) trait Client: Send + Sync {
    /// All processes of all groups, by one request.
    fn all(&self) -> impl Future<Output = Result<Vec<Info>, HostError>> + Send;

    /// One process; an unknown one is an error.
    fn info(&self, member: &MemberName) -> impl Future<Output = Result<Info, HostError>> + Send;

    /// Asks for a start.
    fn start(&self, member: &MemberName) -> impl Future<Output = Result<StartAnswer, HostError>> + Send;

    /// Asks for a stop; one that does not run is success.
    fn stop(&self, member: &MemberName) -> impl Future<Output = Result<(), HostError>> + Send;

    /// Sends a signal to the main process; one that does not run is success.
    fn signal(&self, member: &MemberName, signal: StopSignal) -> impl Future<Output = Result<(), HostError>> + Send;

    /// How its program is to be treated.
    fn settings(&self, member: &MemberName) -> impl Future<Output = Settings> + Send;

    /// The last lines that it wrote; empty where they cannot be had.
    fn last_words(&self, member: &MemberName) -> impl Future<Output = String> + Send;

    /// How often it may be asked without being a burden.
    fn pace(&self) -> Pace;
}

/// The error for a process that supervisord does not know.
pub(in crate::managers) fn unknown_member(member: &MemberName) -> HostError {
    HostError::new(HostErrorKind::Misconfigured, format!("supervisord knows no process `{member}`"))
        .with_help("look at `supervisorctl status`; after a change of its configuration: `supervisorctl reread && supervisorctl update`")
}

/// What supervisord says of one that is down, where that is only the moment at which it ended: `Nov 23 04:15 PM`.
pub(in crate::managers) fn since(description: &str) -> String {
    let is_moment = description.ends_with(" AM") || description.ends_with(" PM");
    if is_moment { format!("since {description}") } else { description.to_owned() }
}
