//! One question to one host: the request made, the lines taken in, and what they come to.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

use super::phase::{FleetListener, FleetNews, Phase};
use super::reach::{Broken, ConnectionNews, HostSaid, Reach, Unreached};
use crate::documents::wire::bounds::Bounds;
use crate::documents::wire::{self, Ended, FIRST, Failed, Operation, PROGRAM, RunId, WIRE, What};
use crate::model::event::Event;
use crate::model::fleet::FleetHost;

/// What all requests of one rollout have in common.
#[derive(Debug)]
pub struct Asker {
    /// Names the rollout, by chance: two must never share one.
    run: String,
    /// How many requests were made.
    made: AtomicU64,
    /// Who asks, for the history: `alice@laptop`.
    who: String,
}

/// What a host answered.
#[derive(Debug, Default)]
pub struct Answer {
    /// To a question for its state.
    pub status: Option<Box<wire::Status>>,
    /// To a pass, or to what one would do.
    pub report: Option<Box<wire::Report>>,
    /// To a question for its health.
    pub health: Option<Box<wire::Health>>,
}

/// Why a host has not answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unanswered {
    /// It was not reached, or was lost, or has lost what a run there had told.
    Unreached(Unreached),
    /// It could not do it; nothing has changed, or only what a killed pass left.
    Refused(Failed),
    /// The one who made the pass there was killed. Nothing is in hand any more.
    Killed {
        /// It had told of something that it did: it did not wait for its turn any more.
        acted: bool,
    },
}

impl Asker {
    /// For one rollout, on behalf of that person.
    #[must_use]
    pub fn new(who: impl Into<String>) -> Self {
        // The standard library keys its hash maps by chance, which is all that is needed here.
        let chance = || RandomState::new().build_hasher().finish();
        Self { run: format!("{:016x}{:016x}", chance(), chance()), made: AtomicU64::new(0), who: who.into() }
    }

    /// A request with an id of its own.
    ///
    /// # Panics
    /// Never: the id is made of hexadecimal digits, a dash and a number.
    #[must_use]
    pub fn request(&self, host: &FleetHost, manifest: String, migrate: bool, operation: Operation) -> wire::Request {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        #[expect(clippy::expect_used, reason = "made of hexadecimal digits, a dash and a number")]
        let id = RunId::new(format!("{}-{number}", self.run)).expect("is an id");
        wire::Request {
            wire: WIRE,
            program: PROGRAM.to_owned(),
            id,
            from: FIRST,
            who: self.who.clone(),
            host: host.name.clone(),
            migrate,
            operation,
            manifest,
        }
    }
}

/// Asks, tells `watch` what goes on meanwhile, and returns what came of it. `at` is what the host is at once it
/// answers.
///
/// # Errors
/// [`Unanswered`]: there is no whole answer.
pub async fn ask(
    reach: &impl Reach,
    watch: &dyn FleetListener,
    host: &FleetHost,
    request: &wire::Request,
    at: &Phase,
) -> Result<Answer, Unanswered> {
    let mut answer = Answer::default();
    let mut failed = None;
    let mut ended = None;
    let mut acted = false;
    let mut last = 0;
    let mut heard = |heard: HostSaid| {
        let line = match heard {
            HostSaid::Connection(way) => return way_told(watch, host, &way, at),
            HostSaid::Line(line) => *line,
        };
        let seq = line.seq;
        match bounded(line) {
            What::Hello(_) => watch.phase(&host.name, at),
            What::Begun(_) | What::Beat(_) => {}
            What::Omitted(lines) => {
                watch.says(
                    Some(&host.name),
                    &format!("{lines} lines of the pass there were left out: it told too much"),
                );
            }
            What::Waiting(why) => watch.says(Some(&host.name), &format!("waiting: {why}")),
            What::Event(event) => {
                acted = true;
                if let Event::Begun { action, .. } = &event {
                    watch.phase(&host.name, &at.with_step(action));
                }
                watch.event(&host.name, &event);
            }
            What::Status(status) => answer.status = Some(status),
            What::Report(report) => answer.report = Some(report),
            What::Health(health) => answer.health = Some(health),
            // Fronts count from one: what was heard of the run before is nowhere any more.
            What::Failed(why) => failed = Some((why, (FIRST..=last).contains(&seq))),
            What::End(how) => ended = Some(how),
        }
        last = last.max(seq);
    };
    let reached = reach.ask(host, request, &mut heard).await;
    reached.map_err(Unanswered::Unreached)?;
    match (ended, failed) {
        (Some(Ended::Killed), _) => Err(Unanswered::Killed { acted }),
        (_, Some((why, true))) if request.operation.changes() => Err(Unanswered::Unreached(forgotten(why))),
        (_, Some((why, _))) => Err(Unanswered::Refused(why)),
        (Some(Ended::Done), None) => Ok(answer),
        (Some(Ended::Failed) | None, None) => {
            let why = "it ended its answer without saying why";
            Err(Unanswered::Refused(Failed::new(wire::Fault::Other, why)))
        }
    }
}

/// It had begun, and cannot tell what became of that: the host has lost what was written down of it.
fn forgotten(why: Failed) -> Unreached {
    let message = why.causes.iter().fold(why.message, |told, cause| format!("{told}: {cause}"));
    Unreached { broken: Broken::Lost, message, help: why.help, in_hand: true }
}

/// What it says, as long as it may be: not every far side is one of ours, and there are many of them.
fn bounded(mut line: wire::Line) -> What {
    line.what.bound(&Bounds::USUAL);
    line.what
}

fn way_told(watch: &dyn FleetListener, host: &FleetHost, way: &ConnectionNews, at: &Phase) {
    match way {
        // Asked for its health once more, it is at what it was at.
        ConnectionNews::Connecting if matches!(at, Phase::Holding { .. }) => {}
        ConnectionNews::Connecting => watch.phase(&host.name, &Phase::Connecting),
        ConnectionNews::Copying { size } => watch.phase(&host.name, &Phase::Copying { size: *size }),
        ConnectionNews::Lost { why, again_in } => {
            watch.news(Some(&host.name), &FleetNews::Lost { why, again_in: *again_in });
            watch.phase(&host.name, &Phase::Lost { again_in: *again_in });
        }
        ConnectionNews::Back => watch.phase(&host.name, at),
        ConnectionNews::Note(text) => watch.says(Some(&host.name), text),
    }
}
