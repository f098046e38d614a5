//! What goes into a schedule, and what comes out.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::model::names::{GroupName, MemberName};
use crate::model::report::Outcome;
use crate::model::sync::{Counting, Withheld};
use crate::model::wake::Wake;

/// One pass that is to begin now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    /// Why; never empty, in the order in which it came, each once.
    pub wakes: Vec<Wake>,
    /// What it may do.
    pub may: May,
    /// What it means for the count of corrections.
    pub counting: Counting,
}

/// What a pass may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum May {
    /// Close the drift.
    Act,
    /// Show it, for this reason.
    Observe(Withheld),
}

impl May {
    /// Why the pass may not act; none when it may.
    #[must_use]
    pub fn withheld(&self) -> Option<&Withheld> {
        match self {
            Self::Act => None,
            Self::Observe(withheld) => Some(withheld),
        }
    }
}

/// What came of a pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// How it ended.
    pub outcome: Outcome,
    /// How many actions it tried that count as corrections, by
    /// [`Action::is_counted`](crate::model::action::Action::is_counted).
    pub corrections: u32,
    /// There was drift at its first look.
    pub drift: bool,
}

/// What outsiders may know of one App's schedule; by default, of one that has had no turn and needs none. Documents name
/// what runs and what has woken the App elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ScheduleState {
    /// A pass is under way.
    #[serde(skip)]
    pub running: bool,
    /// When the next one begins; none while one runs, and before the first.
    pub next: Option<Timestamp>,
    /// What has woken the App since its last pass began.
    #[serde(skip)]
    pub pending: Vec<Wake>,
    /// How many passes in a row have failed.
    pub failures: u32,
    /// Without news, no pass begins before.
    pub backoff_until: Option<Timestamp>,
    /// How many passes of the last hour put drift right that nobody had asked for, and did more for it than to start
    /// workers.
    pub corrections: u32,
    /// Why a pass that began now would not act; none when it would.
    pub withheld: Option<Withheld>,
    /// Drift comes back so often that a person is needed.
    pub stalled: bool,
    /// Workers that died again and again, each time soon after their start, and have not lived for long since.
    pub looping: Vec<Looping>,
}

/// A worker that dies again and again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Looping {
    /// Its group.
    pub group: GroupName,
    /// The member.
    pub member: MemberName,
}

impl ScheduleState {
    /// Which workers die again and again, in a sentence; none: none does.
    #[must_use]
    pub fn crash_loop(&self) -> Option<String> {
        let (first, rest) = self.looping.split_first()?;
        let more = if rest.is_empty() { String::new() } else { format!(" and {} more", rest.len()) };
        let (ends, its) = if rest.is_empty() { ("dies", "its") } else { ("die", "their") };
        let first = &first.member;
        Some(format!("worker {first}{more} {ends} again and again, soon after {its} start: see {its} own log"))
    }
}
