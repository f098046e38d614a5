//! A rollout: how far each host of a fleet is, what is to be done next, and how it ended.

use std::time::Duration;

use super::amount::Amount;
use super::app::{App, OnFailure};
use super::fleet::{HostName, Rollout};
use super::health::HealthContract;
use super::names::ReleaseId;
use super::report::{Outcome, worst};

/// What is agreed for all hosts of one rollout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// How many hosts go first, of all.
    pub canary: Amount,
    /// How many change together after them, of all.
    pub batch: Amount,
    /// How many hosts may fail; one more stops it.
    pub max_failures: usize,
    /// Between two waves.
    pub pause: Duration,
    /// How long the hosts of a wave must stay healthy before the next one.
    pub healthy_for: Duration,
    /// The release has migrations, which one host alone runs.
    pub migrates: bool,
    /// Whether hosts can be asked how they are; else it counts that their workers run the release.
    pub has_health: bool,
    /// How often a host is asked that seems not to be well.
    pub patience: Patience,
    /// What becomes of changed hosts when it is stopped.
    pub on_failure: OnFailure,
}

impl Terms {
    /// What a manifest says.
    #[must_use]
    pub fn new(app: &App, rollout: &Rollout) -> Self {
        Self {
            canary: rollout.canary,
            batch: rollout.batch,
            max_failures: rollout.max_failures,
            pause: rollout.pause,
            healthy_for: rollout.healthy_for,
            migrates: !app.release.migrate.is_empty(),
            has_health: app.health.is_some(),
            patience: app.health.as_ref().map_or(Patience::USUAL, Patience::of),
            on_failure: app.on_failure,
        }
    }
}

/// How often a host is asked before it counts that it is not well: one answer may be missed by chance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// How often in a row, at least once.
    pub attempts: u32,
    /// The pause between two questions.
    pub interval: Duration,
}

impl Patience {
    /// The first answer counts.
    pub const NONE: Self = Self { attempts: 1, interval: Duration::ZERO };
    /// That of a contract which says nothing of it, also where there is none: a worker that is started anew is not
    /// there for a moment.
    pub const USUAL: Self = Self { attempts: 5, interval: Duration::from_secs(3) };

    /// As often as the host's own passes ask.
    #[must_use]
    pub fn of(contract: &HealthContract) -> Self {
        Self { attempts: contract.attempts, interval: contract.interval }
    }
}

/// How far a rollout is: all that is decided by.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Progress {
    /// In the order in which they change.
    pub hosts: Vec<HostState>,
    /// Behind so many waves the pause is over.
    pub pauses: usize,
    /// A person wants no more of it.
    pub interrupted: bool,
}

/// How far one host is. Whoever carries an order out writes it down as it begins and when it has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostState {
    /// Which one.
    pub name: HostName,
    /// What is in hand there.
    pub doing: Option<Doing>,
    /// What it was like before anything was done; none: not looked at yet.
    pub found: Option<Found>,
    /// What came of changing it; none: it was not.
    pub applied: Option<Applied>,
    /// Whether it stayed healthy, and in the release, afterwards; none: that is not known.
    pub held: Option<bool>,
    /// What came of taking it back; none: it was not.
    pub taken_back: Option<TakenBack>,
}

impl HostState {
    /// A host of which nothing is known yet.
    #[must_use]
    pub fn new(name: HostName) -> Self {
        Self { name, doing: None, found: None, applied: None, held: None, taken_back: None }
    }
}

/// What is in hand at a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Doing {
    /// It is looked at.
    Observe,
    /// A pass.
    Apply,
    /// It is seen whether it stays healthy.
    Hold,
    /// A pass that takes it back.
    TakeBack,
}

/// What a host was like before anything was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// Nobody knows.
    Unreachable,
    /// It has answered, and could not be looked at.
    Refused,
    /// A pass there would come to this: a dry run of it.
    Seen {
        /// `Converged`: nothing is to be done. `Drift`: something is. Others: it could not be done, and why.
        outcome: Outcome,
        /// The release is recorded as migrated there.
        migrated: bool,
        /// The release was in force and proven there already: a rollout that only puts drift right has not brought it,
        /// and does not take it back.
        had_release: bool,
    },
}

/// What came of changing a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// The pass has ended.
    Ended {
        /// How.
        outcome: Outcome,
        /// Whether it did anything to the host that there is a way back from: the release may be in force, or be kept out
        /// with the way back not gone to its end.
        changed: bool,
    },
    /// It could not be reached, and nothing was begun there.
    NotBegun,
    /// It has answered, and would not do it: nothing was begun there.
    Refused,
    /// It was lost: the pass there may have ended in any way, and may still run.
    Lost,
}

/// What came of taking a host back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TakenBack {
    /// The pass has ended.
    Ended {
        /// The host has another release in force, whoever has brought that there, and this one cannot come back by itself:
        /// it is kept out, or its pass ended before it had come at all.
        is_back: bool,
    },
    /// It could not be reached, or was lost.
    Lost,
}

impl TakenBack {
    /// What came of a pass that was to take back `release`, by how it ended, what is in force since, and whether the
    /// release is kept out. A host that was back before has nothing to go back from: it failed its own gate while nobody
    /// heard of it, or was asked before. Nor has one that the release never came to, which was only looked at.
    #[must_use]
    pub fn ended(release: &ReleaseId, outcome: Outcome, current: Option<&ReleaseId>, kept_out: bool) -> Self {
        let is_kept_out = matches!(outcome, Outcome::RolledBack | Outcome::Quarantined);
        let never_came = matches!(outcome, Outcome::Drift | Outcome::Withheld) && !kept_out;
        let elsewhere = current.is_some_and(|current| current != release);
        Self::Ended { is_back: elsewhere && (is_kept_out || never_came) }
    }
}

/// What may be begun now. It is said again until it has been begun, so that whoever carries it out takes as many hosts
/// at a time as it can.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// Look at these; nothing is changed.
    Observe {
        /// Who.
        hosts: Vec<HostName>,
    },
    /// Make a pass on these.
    Apply {
        /// Which wave it is, from 0.
        wave: usize,
        /// Who.
        hosts: Vec<HostName>,
        /// Whether it runs the migrations; then it is one host.
        migrate: bool,
    },
    /// See whether these stay healthy so long.
    Hold {
        /// Which wave it is, from 0.
        wave: usize,
        /// Who.
        hosts: Vec<HostName>,
        /// How long.
        healthy_for: Duration,
    },
    /// Wait, and then count [`Progress::pauses`] up to `after`.
    Pause {
        /// Behind how many waves that is.
        after: usize,
        /// How long.
        length: Duration,
    },
    /// Have these keep the release out and go to their own last proven one.
    TakeBack {
        /// Who.
        hosts: Vec<HostName>,
        /// Why, for their records.
        reason: String,
    },
}

/// What comes next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// This may be begun.
    Do(Order),
    /// Something is in hand, and nothing else may be begun until it has ended.
    Wait,
    /// That was all.
    Done(RolloutEnding),
}

/// How a rollout ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RolloutEnding {
    /// As a whole.
    pub how: RolloutOutcome,
    /// How many hosts failed. Those that were taken back because of them are others.
    pub failed: usize,
    /// Every host, in the order in which they change.
    pub hosts: Vec<(HostName, HostVerdict)>,
}

/// How a rollout ended as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RolloutOutcome {
    /// All waves have been gone through; failures, if any, were within what is allowed.
    Complete,
    /// So many hosts could not be looked at or changed that nothing was begun anywhere.
    NotBegun,
    /// Too many hosts failed.
    Stopped,
    /// A host that was to change may not be acted on any more: the hours for changes are over, or it was suspended.
    Withheld,
    /// A person wanted no more of it.
    Interrupted,
}

/// What became of one host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HostVerdict {
    /// It was as the App says, and nobody touched it.
    Settled,
    /// It was brought to what the App says.
    Changed,
    /// It has drift, and its turn did not come.
    NotReached,
    /// It has drift, and nobody may act on it there now.
    Withheld,
    /// Its turn did not come, nor would anything be done there: unhealthy or kept out already.
    Refused(Outcome),
    /// Its own pass ended like that.
    Failed(Outcome),
    /// It was changed, and did not stay healthy, or not in the release.
    NotHealthy,
    /// Its own gate failed, and it went back by itself.
    RolledBack,
    /// It was changed, and was taken back because others failed.
    TakenBack,
    /// It was to be taken back, and that has not come to its end.
    NotTakenBack,
    /// A person had it taken back, and it was.
    GoneBack,
    /// It could not be reached, and nothing was begun there.
    Unreachable,
    /// It has answered, and would not do it: nothing was begun there.
    Declined,
    /// It was lost in the middle of a pass, which may still run.
    Lost,
    /// It was to be looked at only, and what it is like cannot be told.
    Untold,
    /// It was not looked at.
    Unseen,
}

impl HostVerdict {
    /// Its exit code; none where that depends on how the rollout ended.
    #[must_use]
    fn code(self) -> Option<u8> {
        match self {
            Self::Settled | Self::Changed | Self::GoneBack => Some(0),
            Self::NotReached | Self::Unseen => None,
            Self::Withheld | Self::Refused(Outcome::Withheld) | Self::Failed(Outcome::Withheld) => Some(4),
            Self::Refused(Outcome::Unhealthy | Outcome::RolledBack | Outcome::Quarantined)
            | Self::Failed(Outcome::Unhealthy | Outcome::RolledBack | Outcome::Quarantined)
            | Self::NotHealthy
            | Self::RolledBack
            | Self::TakenBack => Some(3),
            Self::Refused(_)
            | Self::Failed(_)
            | Self::NotTakenBack
            | Self::Unreachable
            | Self::Declined
            | Self::Lost
            | Self::Untold => Some(1),
        }
    }
}

impl RolloutEnding {
    /// The exit code: that of the worst host. A rollout that was cut short is an error in itself.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        let whole = match self.how {
            RolloutOutcome::Complete | RolloutOutcome::NotBegun | RolloutOutcome::Stopped => 0,
            RolloutOutcome::Withheld => 4,
            RolloutOutcome::Interrupted => 1,
        };
        worst(self.hosts.iter().filter_map(|(_, verdict)| verdict.code()).chain([whole]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_keeps_a_release_out_and_has_another_one_is_back() {
        let id = |text: &str| ReleaseId::new(text).unwrap();
        let rows = [
            (Outcome::RolledBack, Some("r1"), true, true),
            // It was back before.
            (Outcome::Quarantined, Some("r1"), true, true),
            // There was nothing to go back to.
            (Outcome::Quarantined, Some("r2"), true, false),
            (Outcome::Quarantined, None, true, false),
            (Outcome::RolledBack, None, true, false),
            // Somebody has let it in again meanwhile.
            (Outcome::Converged, Some("r2"), false, false),
            (Outcome::Converged, Some("r1"), false, false),
            // Half a way back.
            (Outcome::Failed, Some("r1"), true, false),
            (Outcome::Interrupted, Some("r1"), true, false),
            (Outcome::Drift, Some("r1"), true, false),
            // Its pass ended before the switch: it was only looked at.
            (Outcome::Drift, Some("r1"), false, true),
            (Outcome::Withheld, Some("r1"), false, true),
            (Outcome::Drift, Some("r2"), false, false),
            (Outcome::Drift, None, false, false),
        ];
        for (outcome, current, kept_out, is_back) in rows {
            let ended = TakenBack::ended(&id("r2"), outcome, current.map(id).as_ref(), kept_out);
            assert_eq!(ended, TakenBack::Ended { is_back }, "{outcome:?} {current:?} {kept_out}");
        }
    }
}
