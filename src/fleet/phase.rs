//! Where a host is in the work over all of them, for people who wait.

use std::time::Duration;

use super::report::Trouble;
use crate::documents::wire::bounds::cut;
use crate::model::action::Action;
use crate::model::event::Event;
use crate::model::fleet::HostName;
use crate::model::rollout::{HostVerdict, RolloutOutcome};

/// Most bytes of a step's name; whoever shows it has one line.
const STEP: usize = 1 << 10;

/// What a host is at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase {
    /// Its turn has not come.
    Waiting,
    /// A connection to it is made.
    Connecting,
    /// The program is copied to it.
    Copying {
        /// How large it is, in bytes.
        size: u64,
    },
    /// It is looked at.
    Looking,
    /// It was looked at, and waits for its turn.
    Seen {
        /// How many actions would close its drift.
        actions: usize,
    },
    /// Its pass is under way.
    Changing {
        /// What it does at this moment; empty at the beginning.
        step: String,
    },
    /// It has converged, and has to stay healthy.
    Holding {
        /// For how long.
        length: Duration,
    },
    /// It is taken back to the release that it had before.
    TakingBack {
        /// What it does at this moment; empty at the beginning.
        step: String,
    },
    /// The connection broke; the host goes on by itself.
    Lost {
        /// Until the next try.
        again_in: Duration,
    },
    /// It is done with, unless others fail.
    Ended(HostVerdict),
}

impl Phase {
    /// The same work, at that step of it.
    #[must_use]
    pub fn with_step(&self, action: &Action) -> Self {
        let step = || {
            let mut step = action.to_string();
            cut(&mut step, STEP);
            step
        };
        match self {
            Self::Changing { .. } => Self::Changing { step: step() },
            Self::TakingBack { .. } => Self::TakingBack { step: step() },
            other => other.clone(),
        }
    }
}

/// What is worth a line of its own, of a host or of all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FleetNews<'a> {
    /// A wave begins.
    Wave {
        /// Which one, from 1.
        wave: usize,
        /// Who changes.
        hosts: &'a [HostName],
        /// Whether the migrations are run; then it is one host.
        migrate: bool,
    },
    /// Those of a wave that have converged have to stay healthy now.
    Hold {
        /// Which one, from 1.
        wave: usize,
        /// Who.
        hosts: &'a [HostName],
        /// For how long.
        length: Duration,
    },
    /// Nothing is done for a while.
    Pause {
        /// The wave that comes then, from 1.
        before: usize,
        /// How long.
        length: Duration,
    },
    /// The connection to a host broke; the host goes on by itself.
    Lost {
        /// What broke.
        why: &'a str,
        /// Until the next try.
        again_in: Duration,
    },
    /// A person wants no more of it; what that means, in words.
    Stopping(&'a str),
    /// Something went wrong on a host.
    Trouble(&'a Trouble),
    /// Anything else, in words.
    Note(&'a str),
    /// It is over.
    Ended {
        /// How a rollout ended; none: nothing was to be changed.
        how: Option<RolloutOutcome>,
        /// What became of each host.
        hosts: &'a [(HostName, HostVerdict)],
        /// How long it took.
        took: Duration,
    },
}

/// Who watches the work over all hosts. Nothing in here may block.
pub trait FleetListener: Send + Sync {
    /// A host is at something else now.
    fn phase(&self, host: &HostName, phase: &Phase);
    /// Something has happened in a pass there.
    fn event(&self, host: &HostName, event: &Event);
    /// Something worth a line of its own, of a host or of all of them.
    fn news(&self, host: Option<&HostName>, news: &FleetNews<'_>);
    /// The same, of what has no form but words.
    fn says(&self, host: Option<&HostName>, text: &str) {
        self.news(host, &FleetNews::Note(text));
    }
}

/// Watches nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct SilentFleet;

impl FleetListener for SilentFleet {
    fn phase(&self, _: &HostName, _: &Phase) {}
    fn event(&self, _: &HostName, _: &Event) {}
    fn news(&self, _: Option<&HostName>, _: &FleetNews<'_>) {}
}
