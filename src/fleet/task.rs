//! One order carried out on one host, from the first request to what is known at its end.

use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use super::ask::{Answer, Unanswered};
use super::look::would_end;
use super::phase::Phase;
use super::reach::{Reach, Unreached};
use super::report::Trouble;
use super::rollout::RolloutOptions;
use super::work::{StopWish, Target, Work};
use crate::documents::wire::{self, Health, Operation, Report, Summary};
use crate::model::length::limit;
use crate::model::names::ReleaseId;
use crate::model::report::Outcome;
use crate::model::rollout::{Applied, Doing, Found, Patience, TakenBack};

/// How often a host is asked at least while it has to stay healthy; not more often than each second, nor more seldom
/// than it takes to fall ill and recover unseen.
const QUESTIONS: u32 = 4;
const OFTEN: Duration = Duration::from_secs(1);
const SELDOM: Duration = Duration::from_secs(15);
/// How often a pass is begun anew whose maker was killed on the host. What it left is what the next one begins with.
const ANEW: usize = 1;
/// Why a host is not well that does not say it.
const UNTOLD: &str = "nobody could tell";

/// What is to be done on a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Task {
    /// Look what a pass would do.
    Observe { patience: Patience },
    /// Make a pass.
    Apply { migrate: bool },
    /// See whether it stays healthy, and in the release, so long.
    Hold { length: Duration, has_health: bool, patience: Patience },
    /// Have it go back.
    TakeBack { reason: String },
}

/// What is known at the end of a task.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) fact: Fact,
    /// What the host reported.
    pub(super) report: Option<Box<Report>>,
    /// What it looked like, where that is all that it told.
    pub(super) seen: Option<Summary>,
    pub(super) trouble: Option<Trouble>,
}

/// The part of it that is decided by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fact {
    /// None: a person wished for the end before it was known.
    Found(Option<Found>),
    /// None: the same, and nothing was begun.
    Applied(Option<Applied>),
    Held(bool),
    TakenBack(TakenBack),
}

impl Task {
    pub(super) fn doing(&self) -> Doing {
        match self {
            Self::Observe { .. } => Doing::Observe,
            Self::Apply { .. } => Doing::Apply,
            Self::Hold { .. } => Doing::Hold,
            Self::TakeBack { .. } => Doing::TakeBack,
        }
    }

    /// What the host is at meanwhile.
    pub(super) fn phase(&self) -> Phase {
        match self {
            Self::Observe { .. } => Phase::Looking,
            Self::Apply { .. } => Phase::Changing { step: String::new() },
            Self::Hold { length, .. } => Phase::Holding { length: *length },
            Self::TakeBack { .. } => Phase::TakingBack { step: String::new() },
        }
    }
}

/// Does it.
pub(super) async fn carry_out<R: Reach>(
    work: &Work<'_, R>,
    way: &RolloutOptions,
    target: &Target,
    task: &Task,
) -> Done {
    match task {
        Task::Observe { patience } => observe(work, way, target, task, *patience).await,
        // Between being ordered and being begun, a person may have wished for the end.
        Task::Apply { .. } if work.wish() >= StopWish::NoMore => Done::only(Fact::Applied(None)),
        Task::Apply { migrate } => {
            let RolloutOptions { wait, ignore_windows, retry, .. } = *way;
            let operation = Operation::Apply { wait, ignore_windows, retry };
            let made = pass(work, target, *migrate, operation, task).await;
            applied(made, &way.release)
        }
        Task::Hold { length, has_health, patience } => {
            let holding = Holding { length: *length, has_health: *has_health, patience: *patience };
            hold(work, way, target, &holding, task).await
        }
        Task::TakeBack { reason } => {
            let (release, to, reason, wait) = (way.release.clone(), way.back_to.clone(), reason.clone(), way.wait);
            // The migrations stay where they are: nothing of them is undone.
            match pass(work, target, false, Operation::TakeBack { release, to, reason, wait }, task).await.answer {
                Ok(report) => {
                    let Summary { current, kept_out, .. } = &report.summary;
                    let back = TakenBack::ended(&way.release, report.outcome, current.as_ref(), kept_out.is_some());
                    Done::told(Fact::TakenBack(back), report)
                }
                Err(silence) => Done::silent(Fact::TakenBack(TakenBack::Lost), silence),
            }
        }
    }
}

async fn observe<R: Reach>(
    work: &Work<'_, R>,
    way: &RolloutOptions,
    target: &Target,
    task: &Task,
    patience: Patience,
) -> Done {
    let answer = tokio::select! {
        biased;
        // Nothing is changed by it: there is nothing to wait for.
        () = work.wished(StopWish::NoMore) => return Done::only(Fact::Found(None)),
        answer = seen(work, way, target, task, patience) => answer,
    };
    match answer {
        Ok(mut report) => {
            report.outcome = would_end(&report, way.retry);
            let (migrated, had_release) = (report.summary.migrated, report.summary.had_release());
            let found = Found::Seen { outcome: report.outcome, migrated, had_release };
            Done::told(Fact::Found(Some(found)), report)
        }
        Err(silence) => {
            let found = match &silence {
                Unanswered::Unreached(_) => Found::Unreachable,
                Unanswered::Refused(_) | Unanswered::Killed { .. } => Found::Refused,
            };
            Done::silent(Fact::Found(Some(found)), silence)
        }
    }
}

/// What a host says that a pass would do. One that would do nothing, and is not well, is asked anew, as its pass would
/// ask.
async fn seen<R: Reach>(
    work: &Work<'_, R>,
    way: &RolloutOptions,
    target: &Target,
    task: &Task,
    patience: Patience,
) -> Result<Box<Report>, Unanswered> {
    let mut missed = 0;
    loop {
        let operation = Operation::DryRun { ignore_windows: way.ignore_windows, retry: way.retry };
        // One host runs the migrations; that the others have not is no drift of theirs.
        let report = work.ask(target, false, operation, &task.phase()).await.and_then(reported)?;
        missed += 1;
        if would_end(&report, way.retry) != Outcome::Unhealthy || missed >= patience.attempts {
            return Ok(report);
        }
        work.watch().says(Some(&target.host.name), &unwell(missed, patience, report.summary.complaint.as_deref()));
        sleep(patience.interval).await;
    }
}

/// That it is asked anew.
fn unwell(missed: u32, Patience { attempts, .. }: Patience, why: Option<&str>) -> String {
    format!("not healthy ({missed} of {attempts}): {}", why.unwrap_or(UNTOLD))
}

/// What came of changing a host.
fn applied(Made { answer, killed }: Made, release: &ReleaseId) -> Done {
    match answer {
        Ok(report) => {
            // What a killed pass has done, nobody has counted.
            let acted = killed || report.done > 0 || report.failed > 0;
            let changed = acted && may_go_back(&report.summary, release);
            Done::told(Fact::Applied(Some(Applied::Ended { outcome: report.outcome, changed })), report)
        }
        Err(silence) => {
            let applied = match &silence {
                Unanswered::Unreached(Unreached { in_hand: true, .. }) | Unanswered::Killed { .. } => Applied::Lost,
                Unanswered::Unreached(_) | Unanswered::Refused(_) if killed => Applied::Lost,
                Unanswered::Unreached(_) => Applied::NotBegun,
                Unanswered::Refused(_) => Applied::Refused,
            };
            let mut done = Done::silent(Fact::Applied(Some(applied)), silence);
            if let Some(trouble) = done.trouble.as_mut().filter(|_| killed) {
                trouble.causes.push("the pass there was killed before that, in the middle".to_owned());
            }
            done
        }
    }
}

/// Whether a host has something to go back from after its pass: one whose pass ended before the switch has not.
fn may_go_back(seen: &Summary, release: &ReleaseId) -> bool {
    !seen.observed || seen.current.as_ref() == Some(release) || seen.kept_out.is_some()
}

/// What came of a pass.
struct Made {
    answer: Result<Box<Report>, Unanswered>,
    /// One before that was killed in the middle: whatever the last one says, something was begun.
    killed: bool,
}

/// A pass, begun anew where the one who made it was killed on the host: whoever wants no more hosts still wants this
/// one whole.
async fn pass<R: Reach>(
    work: &Work<'_, R>,
    target: &Target,
    migrate: bool,
    mut operation: Operation,
    task: &Task,
) -> Made {
    let mut anew = 0;
    loop {
        let answer = work.ask(target, migrate, operation.clone(), &task.phase()).await.and_then(reported);
        let acted = match answer {
            Err(Unanswered::Killed { acted }) if anew < ANEW => acted,
            answer => return Made { answer, killed: anew > 0 },
        };
        work.watch().says(Some(&target.host.name), "the pass there was killed; another one goes on from what it left");
        if let Operation::Apply { retry, .. } = &mut operation {
            // Where it acted, the release was let in again. What has failed meanwhile is kept out: a person has wished
            // for one more try. Where it waited for the lock, nobody has had that try.
            *retry &= !acted;
        }
        anew += 1;
    }
}

/// What a host has to stay like.
struct Holding {
    length: Duration,
    /// Else it counts that its workers run the release.
    has_health: bool,
    patience: Patience,
}

/// Asks for health, and for the release in force, until the time is over, or until a person wants no more of it: then
/// once more, and that counts. One that seems not to be well is asked as often as its own passes ask.
async fn hold<R: Reach>(
    work: &Work<'_, R>,
    way: &RolloutOptions,
    target: &Target,
    holding: &Holding,
    task: &Task,
) -> Done {
    let Holding { length, has_health, patience } = *holding;
    let end = Instant::now() + length;
    let pause = (length / QUESTIONS).clamp(OFTEN, SELDOM);
    let mut missed = 0;
    // It is at that also while nobody asks.
    work.watch().phase(&target.host.name, &task.phase());
    loop {
        let now = Instant::now();
        let due = if missed > 0 { now + patience.interval } else { end.min(now + pause) };
        tokio::select! {
            () = work.wished(StopWish::NoMore) => {}
            () = sleep_until(due) => {}
        }
        let (over, unwanted) = (Instant::now() >= end, work.wish() >= StopWish::NoMore);
        let health = match work.ask(target, false, Operation::Health, &task.phase()).await {
            Ok(Answer { health: Some(health), .. }) => *health,
            Ok(_) => return Done::silent(Fact::Held(false), no_answer()),
            // What hinders a look for a moment is no worse than an answer that is missed.
            Err(Unanswered::Refused(_)) if missed + 1 < patience.attempts && !unwanted => {
                missed += 1;
                work.watch().says(Some(&target.host.name), &unwell(missed, patience, None));
                continue;
            }
            Err(silence) => return Done::silent(Fact::Held(false), silence),
        };
        // The health of another release proves nothing for this one.
        let trouble = if let Some(overtaken) = overtaken(&health.summary, &way.release) {
            Some(overtaken)
        } else if let Some(why) = complaint(&health, has_health) {
            missed += 1;
            if missed < patience.attempts && !unwanted {
                work.watch().says(Some(&target.host.name), &unwell(missed, patience, Some(&why)));
                continue;
            }
            Some(Trouble::new(format!("did not stay healthy for {}: {why}", limit(length))))
        } else {
            missed = 0;
            None
        };
        if trouble.is_some() || over || unwanted {
            let fact = Fact::Held(trouble.is_none());
            return Done { seen: Some(health.summary), trouble, ..Done::only(fact) };
        }
    }
}

/// What keeps a host from counting as well; none where nothing does.
fn complaint(Health { verdict, summary }: &Health, has_health: bool) -> Option<String> {
    match verdict {
        Some(verdict) if verdict.healthy => None,
        None if !has_health && summary.observed => {
            let Summary { desired, fresh, .. } = *summary;
            (fresh < desired).then(|| format!("{fresh} of {desired} workers run the release"))
        }
        Some(_) | None => Some(summary.complaint.clone().unwrap_or_else(|| UNTOLD.to_owned())),
    }
}

/// Somebody else has changed the host meanwhile.
fn overtaken(seen: &Summary, release: &ReleaseId) -> Option<Trouble> {
    if !seen.observed || seen.current.as_ref() == Some(release) {
        return None;
    }
    let now = seen.current.as_ref().map_or_else(|| "none".to_owned(), |current| format!("`{current}`"));
    let message = format!("release `{release}` did not stay in force: now there is {now}");
    let help =
        "somebody else has changed it (`trueup history` there tells who): let one rollout of an App run at a time";
    Some(Trouble { help: Some(help.to_owned()), ..Trouble::new(message) })
}

fn reported(answer: Answer) -> Result<Box<Report>, Unanswered> {
    answer.report.ok_or_else(no_answer)
}

fn no_answer() -> Unanswered {
    Unanswered::Refused(wire::Failed::new(wire::Fault::Other, "it has answered something else than what it was asked"))
}

impl Done {
    fn only(fact: Fact) -> Self {
        Self { fact, report: None, seen: None, trouble: None }
    }

    fn told(fact: Fact, report: Box<Report>) -> Self {
        Self { report: Some(report), ..Self::only(fact) }
    }

    fn silent(fact: Fact, silence: Unanswered) -> Self {
        Self { trouble: Some(silence.into()), ..Self::only(fact) }
    }
}
