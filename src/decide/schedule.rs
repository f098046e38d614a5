//! One App's turn-taking.

use jiff::Timestamp;

use crate::model::wake::Wake;

/// A pass that is about to begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    /// Why it is made.
    pub wakes: Vec<Wake>,
    /// What it may do.
    pub may: May,
}

/// What a pass may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum May {
    /// Close the drift.
    Act,
    /// Only show it.
    Observe(Withheld),
}

/// Why drift is only shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Withheld {
    /// No window is open.
    OutsideWindow {
        /// When one opens; none: never.
        until: Option<Timestamp>,
    },
    /// `sync.automatic` is off.
    NotAutomatic,
    /// `sync.selfHeal` is off.
    NoSelfHeal,
    /// Too much was put right within an hour.
    TooManyCorrections,
}

/// What is known of an App's turns.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ScheduleState {
    /// When the next pass begins; none while one runs.
    pub next: Option<Timestamp>,
    /// Passes that failed, one after the other.
    pub failures: u32,
    /// Until when nothing is tried again without news.
    pub backoff_until: Option<Timestamp>,
    /// Corrections within the last hour.
    pub corrections: u32,
    /// Why a person is needed.
    pub stalled: Option<String>,
}
