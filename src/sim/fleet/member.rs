//! One simulated host: what is true of it, and what it says of itself.

use std::time::Duration;

use tokio::time::Instant;

use crate::decide::testing::id;
use crate::documents::wire::{Report, RunId, Shown, Summary};
use crate::model::fleet::HostName;
use crate::model::report::Outcome;
use crate::sim::fleet::habit::Habit;
use crate::sim::random::Random;

/// Which release is in force on a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Release {
    Old,
    New,
    /// The maker of a pass was killed in the middle.
    Half,
    /// That of somebody else.
    Other,
}

/// One host's truth.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact that changes by itself")]
pub struct SimMember {
    pub habit: Habit,
    pub release: Release,
    pub kept_out: bool,
    /// A pass in hand, and when it ends.
    pub running: Option<(RunId, Instant, Release)>,
    /// How long a pass takes.
    pub takes: Duration,
    /// It was asked to look at itself.
    pub looked: bool,
    /// How often it was asked for its health.
    pub asked: u32,
    /// Ids of the passes that were asked for.
    pub applied: Vec<RunId>,
    /// Ids of those that were to take it back.
    pub taken_back: Vec<RunId>,
    /// When the control side heard how its pass ended.
    pub told: Option<(Instant, Outcome)>,
    /// When it last said that it was healthy.
    pub healthy_at: Option<Instant>,
    /// The control side heard that it keeps the new release out and is back.
    pub is_back: bool,
    /// The control side knows that it failed.
    pub failed: bool,
}

impl SimMember {
    /// As the control side finds it.
    pub fn new(habit: Habit, random: &mut Random) -> Self {
        Self {
            habit,
            release: if matches!(habit, Habit::Settled | Habit::Dozing | Habit::Drifted) {
                Release::New
            } else {
                Release::Old
            },
            kept_out: matches!(habit, Habit::KeptOut | Habit::KeptOutDrifted | Habit::KilledWaiting),
            running: None,
            takes: Duration::from_millis(200 + random.below(20_000))
                * match habit {
                    Habit::Slow => 30,
                    Habit::Stopped => 1_000_000,
                    _ => 1,
                },
            looked: false,
            asked: 0,
            applied: Vec::new(),
            taken_back: Vec::new(),
            told: None,
            healthy_at: None,
            is_back: false,
            failed: false,
        }
    }

    /// What its runner has done meanwhile.
    pub fn settle(&mut self, now: Instant) {
        if let Some((_, _, to)) = self.running.take_if(|(_, ends, _)| *ends <= now) {
            self.release = to;
        }
    }

    /// How a pass has ended that was made whole. `was_back`: nothing was left to be done.
    pub fn outcome(&self, back: bool, was_back: bool) -> Outcome {
        match (back, self.release) {
            (false, Release::Old) if self.habit == Habit::Hindered => Outcome::Failed,
            (false, Release::New) => Outcome::Converged,
            (true, _) if was_back => Outcome::Quarantined,
            _ => Outcome::RolledBack,
        }
    }

    /// The control side knows how it went with it.
    pub fn is_judged(&self, healthy_for: Duration) -> bool {
        let held = |told: Instant| self.healthy_at.is_some_and(|at| at >= told + healthy_for);
        self.failed || self.told.is_some_and(|(told, _)| held(told))
    }
}

pub fn summary(member: &SimMember) -> Summary {
    let (current, fresh) = match member.release {
        Release::New if member.habit == Habit::Drifted && member.applied.is_empty() => ("r2", 1),
        Release::New => ("r2", 2),
        Release::Old => ("r1", 0),
        Release::Half => ("r2", 0),
        Release::Other => ("r3", 0),
    };
    Summary {
        release: id("r2"),
        current: Some(id(current)),
        observed: true,
        differs: fresh < 2,
        unreadable: false,
        actions: if fresh < 2 { 4 } else { 0 },
        withheld: (member.habit == Habit::Withheld).then(|| "no window is open".to_owned()),
        kept_out: member.kept_out.then(|| "it failed".to_owned()),
        healthy: Some(true),
        complaint: None,
        migrated: false,
        proven: member.habit == Habit::Drifted,
        desired: 2,
        running: 2,
        fresh,
        problems: Vec::new(),
    }
}

pub fn report(host: &HostName, outcome: Outcome, done: usize, member: &SimMember) -> Report {
    let summary = summary(member);
    let diff = if summary.differs { "-r1\n+r2\n".to_owned() } else { String::new() };
    Report {
        exit_code: 0,
        outcome,
        took: Duration::ZERO,
        done,
        failed: 0,
        summary,
        shown: Some(Shown { diff, text: String::new() }),
        document: serde_json::json!({"host": host.as_str()}).to_string(),
    }
}
