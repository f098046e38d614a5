//! How long a pass waits for what changes by itself.

use std::time::Duration;

use jiff::Timestamp;

use crate::engine::execute::elapsed;
use crate::model::app::App;
use crate::model::drift::Settling;
use crate::model::observed::MemberState;

/// Long enough for supervisord to give a crashing worker up (8 s) or to see it run.
const LIMIT: Duration = Duration::from_secs(15);

/// One stretch of waiting.
#[derive(Debug)]
pub struct Patience {
    since: Timestamp,
    longest_stop: Duration,
    told: bool,
}

impl Patience {
    /// Begins now.
    #[must_use]
    pub fn new(app: &App, now: Timestamp) -> Self {
        let longest_stop = app.workers.iter().map(|group| group.stop_timeout).max().unwrap_or_default();
        Self { since: now, longest_stop, told: false }
    }

    /// Nothing more is to be expected of waiting. Who is stopping may take its stop timeout besides.
    #[must_use]
    pub fn is_over(&self, now: Timestamp, settling: &[Settling]) -> bool {
        let stopping = settling.iter().any(|one| one.state == MemberState::Stopping);
        let limit = if stopping { LIMIT + self.longest_stop } else { LIMIT };
        elapsed(self.since, now) >= limit
    }

    /// True once: when the wait begins.
    pub fn is_first_wait(&mut self) -> bool {
        !std::mem::replace(&mut self.told, true)
    }
}
