//! Is one worker fresh? Its evidence and its start against what is desired.

use jiff::{SignedDuration, Timestamp};

use crate::model::app::{App, RestartOn, WorkerGroup};
use crate::model::drift::StaleBecause;
use crate::model::health::WorkerNumbers;
use crate::model::names::{GroupName, RelativePath};
use crate::model::observed::{Link, Observed, ObservedConfig, Runs, Worker};
use crate::model::process::{Known, START_GUARD};

/// Whether a worker runs what is desired.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Freshness {
    /// The desired release, with the present configuration.
    Fresh,
    /// Another release, or old configuration.
    Stale(StaleBecause),
    /// Nobody can tell; never taken for fresh.
    Unknown,
}

/// Judges one running worker of `group`.
#[must_use]
pub fn freshness(app: &App, observed: &Observed, group: &WorkerGroup, worker: &Worker) -> Freshness {
    match &worker.evidence.runs {
        Runs::Release { id } if *id == app.release.id => {}
        // It runs what the link names now; that is fresh only if the link names the right release.
        Runs::AfterSwitch if leads_to_desired(app, &observed.layout.link) => {}
        Runs::Release { .. } | Runs::Deleted { .. } | Runs::Mixed { .. } | Runs::BeforeSwitch | Runs::AfterSwitch => {
            return Freshness::Stale(StaleBecause::Release);
        }
        Runs::Unknown => return Freshness::Unknown,
    }
    if worker.outdated {
        return Freshness::Stale(StaleBecause::Command);
    }
    for (path, content) in contents(app, observed, group) {
        let Some(since) = content.since() else { continue };
        match worker.started {
            Some(started) if is_clearly_after(started, since) => {}
            Some(_) => return Freshness::Stale(StaleBecause::Config(path.clone())),
            None => return Freshness::Unknown,
        }
    }
    Freshness::Fresh
}

/// Later by more than clocks and the kernel's ticks may err.
#[must_use]
pub fn is_clearly_after(started: Timestamp, since: Timestamp) -> bool {
    SignedDuration::try_from(START_GUARD).is_ok_and(|guard| started.duration_since(since) >= guard)
}

/// The link leads to the desired release.
#[must_use]
pub fn leads_to_desired(app: &App, link: &Link) -> bool {
    matches!(link, Link::Release { id } if *id == app.release.id)
}

/// Where the content of one `restartOn` file stands against what the group was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// There is no file, and nobody was told of one.
    Settled,
    /// The group was told at this time; who started earlier has read something else.
    AppliedAt(Timestamp),
    /// The group has not been told. Who started before the given time has read something else;
    /// with a step to run that is everybody, for the step has not run.
    Changed(Timestamp),
}

impl Content {
    /// Workers that started before this have read another content.
    #[must_use]
    pub fn since(self) -> Option<Timestamp> {
        match self {
            Self::Settled => None,
            Self::AppliedAt(since) | Self::Changed(since) => Some(since),
        }
    }
}

/// The readable `restartOn` files of a group.
pub fn contents<'a>(
    app: &'a App,
    observed: &'a Observed,
    group: &'a WorkerGroup,
) -> impl Iterator<Item = (&'a RelativePath, Content)> + 'a {
    contents_of(app, observed, &group.name, &group.restart_on)
}

/// The readable `restartOn` files of a group or service of that name.
pub fn contents_of<'a>(
    app: &'a App,
    observed: &'a Observed,
    name: &'a GroupName,
    files: &'a [RestartOn],
) -> impl Iterator<Item = (&'a RelativePath, Content)> + 'a {
    observed.config.iter().filter(move |config| config.group == *name).filter_map(move |config| {
        let with_step = files.iter().find(|wanted| wanted.path == config.path)?.run.is_some();
        Some((&config.path, content(app, observed, config, with_step)?))
    })
}

fn content(app: &App, observed: &Observed, config: &ObservedConfig, with_step: bool) -> Option<Content> {
    let Known::Known(digest) = &config.content else { return None };
    let written = config.modified.unwrap_or(observed.at);
    // A step that has not run leaves even a worker started a moment ago with the old configuration.
    let changed = Content::Changed(if with_step { Timestamp::MAX } else { written });
    let is_to_come = |at: Timestamp| at > observed.at;
    match (&config.applied, digest) {
        // Told by a clock that has been set back since: who started when cannot be held against that.
        (Some(applied), digest) if applied.digest == *digest && !is_to_come(applied.at) => {
            Some(Content::AppliedAt(applied.at))
        }
        (Some(_), _) => Some(changed),
        (None, None) => Some(Content::Settled),
        // Nobody starts later than that, however often.
        (None, Some(_)) if is_to_come(written) => Some(changed),
        // Nobody wrote down what the group was told. Whoever made the release knew the file as it was then;
        // written since, the step has not run. Workers younger than the file have read it.
        (None, Some(_)) => {
            let release = observed.layout.release(&app.release.id);
            // One that is still to be fetched will be younger than the file.
            let made_later = release.is_none() && app.release.source.is_some();
            let made = release.and_then(|release| release.made);
            let step_is_due = with_step && !made_later && made.is_none_or(|made| written >= made);
            Some(if step_is_due { changed } else { Content::AppliedAt(written) })
        }
    }
}

/// Counts the App's workers, for health rules and tables.
#[must_use]
pub fn numbers(app: &App, observed: &Observed) -> WorkerNumbers {
    let mut numbers = WorkerNumbers::default();
    for (group, seen) in app.workers.iter().zip(&observed.groups) {
        numbers.desired += group.count;
        for worker in seen.members.iter().flatten().filter(|worker| worker.state.is_up()) {
            numbers.total += 1;
            match freshness(app, observed, group, worker) {
                Freshness::Fresh => numbers.fresh += 1,
                Freshness::Stale(_) => numbers.stale += 1,
                Freshness::Unknown => numbers.unknown += 1,
            }
        }
    }
    numbers
}
