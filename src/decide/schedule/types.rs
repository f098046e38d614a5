//! What goes into a schedule, and what comes out.

use jiff::Timestamp;
use serde::Serialize;

use crate::model::report::Outcome;
use crate::model::sync::Withheld;
use crate::model::wake::Wake;

/// One pass that is to begin now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    /// Why; never empty, in the order in which it came, each once.
    pub wakes: Vec<Wake>,
    /// What it may do.
    pub may: May,
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
    /// How many actions it tried.
    pub corrections: u32,
    /// There was drift at its first look.
    pub drift: bool,
}

/// What outsiders may know of one App's schedule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ScheduleState {
    /// A pass is under way.
    pub running: bool,
    /// When the next one begins; absent while one runs, and before the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<Timestamp>,
    /// What has woken the App since its last pass began.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pending: Vec<Wake>,
    /// How many passes in a row have failed.
    pub failures: u32,
    /// Without news, no pass begins before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backoff_until: Option<Timestamp>,
    /// How many passes of the last hour put drift right that nobody had asked for.
    pub corrections: u32,
    /// Why a pass that began now would not act; absent when it would.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub withheld: Option<Withheld>,
    /// Drift comes back so often that a person is needed.
    pub stalled: bool,
}

/// One App's turn-taking. (Minimal: replaced by the whole one.)
#[derive(Debug, Clone)]
pub struct Schedule {
    policy: crate::model::sync::SyncPolicy,
    pending: Vec<Wake>,
    running: bool,
    failures: u32,
    timer: Option<Timestamp>,
    not_before: Option<Timestamp>,
}

impl Schedule {
    /// A new one.
    #[must_use]
    pub fn new(policy: crate::model::sync::SyncPolicy, _seed: u64) -> Self {
        Self { policy, pending: Vec::new(), running: false, failures: 0, timer: None, not_before: None }
    }
    /// Another policy.
    pub fn renew(&mut self, policy: crate::model::sync::SyncPolicy) {
        self.policy = policy;
    }
    /// A reason for a pass.
    pub fn wake(&mut self, wake: Wake, now: Timestamp) {
        if wake.brings_news() {
            self.not_before = None;
        }
        if !self.pending.contains(&wake) {
            self.pending.push(wake);
        }
        self.timer = Some(self.timer.map_or(now, |timer| timer.min(now)));
    }
    /// When the next pass should begin.
    #[must_use]
    pub fn due(&self) -> Option<Timestamp> {
        if self.running { None } else { self.timer.map(|timer| self.not_before.map_or(timer, |at| at.max(timer))) }
    }
    /// A timer that is due within the slack may go along.
    #[must_use]
    pub fn joins(&self, now: Timestamp, slack: std::time::Duration) -> bool {
        self.failures == 0 && self.due().is_some_and(|due| due <= now.checked_add(slack).unwrap_or(now))
    }
    /// It begins.
    pub fn begin(&mut self, _now: Timestamp) -> Turn {
        self.running = true;
        let mut wakes = std::mem::take(&mut self.pending);
        if wakes.is_empty() {
            wakes.push(if self.failures > 0 { Wake::Backoff } else { Wake::Timer });
        }
        self.timer = None;
        Turn { wakes, may: May::Act }
    }
    /// It has ended.
    pub fn end(&mut self, ended: &Ended, now: Timestamp) {
        self.running = false;
        let failed = !matches!(ended.outcome, Outcome::Converged | Outcome::Withheld);
        self.failures = if failed { self.failures + 1 } else { 0 };
        let pause = std::time::Duration::from_secs((5 << self.failures.saturating_sub(1).min(6)).min(180));
        self.not_before = failed.then(|| now.checked_add(pause).unwrap_or(now));
        let next = if failed { self.not_before } else { now.checked_add(self.policy.interval).ok() };
        self.timer = if self.pending.is_empty() { next } else { Some(now) };
    }
    /// What outsiders may know.
    #[must_use]
    pub fn state(&self, _now: Timestamp) -> ScheduleState {
        ScheduleState {
            running: self.running,
            next: self.due(),
            pending: self.pending.clone(),
            failures: self.failures,
            backoff_until: self.not_before,
            corrections: 0,
            withheld: None,
            stalled: false,
        }
    }
}
