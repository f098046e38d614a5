//! What of a pass is news to people who are not looking, and how a commit fares.
//!
//! In: what they were told before ([`ToldOfApp`]) and one report. Out: what they should be told now, and often nothing. What
//! goes on as before is not told again; [`Repeats`](super::repeats::Repeats) keeps what goes to and fro from filling a
//! chat.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::explain;
use super::status::status;
use crate::model::action::Action;
use crate::model::app::App;
use crate::model::names::ReleaseId;
use crate::model::report::{Outcome, PassReport, Tried};
use crate::model::status::ConditionType;
use crate::model::telling::{News, Telling};

/// So many corrections are listed.
const LISTED: usize = 10;

/// So often in a row a source must be away before people are told: most such gaps are short.
const AWAY: u32 = 3;

/// What the agent knows of an App beyond one report.
#[derive(Debug, Clone, Copy, Default)]
pub struct Besides<'a> {
    /// The manifest had not changed since the host was brought to it: nobody has asked for what the pass did.
    pub repair: bool,
    /// Why no further pass is made by itself.
    pub stalled: Option<&'a str>,
    /// Which workers die again and again.
    pub crash_loop: Option<&'a str>,
}

/// What people know of one App.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ToldOfApp {
    /// The release that was last seen to be right.
    good: Option<ReleaseId>,
    /// What is wrong, with which release, and the key of what was told of it.
    wrong: Option<(News, ReleaseId, String)>,
    /// That there is drift which nobody acts on.
    withheld: bool,
    /// That no pass puts it right.
    stalled: bool,
    /// That workers die again and again.
    #[serde(default)]
    crash_loop: bool,
}

impl ToldOfApp {
    /// What is new in a report. `revision` says which commit of the manifests is in force.
    pub fn of(&mut self, app: &App, report: &PassReport, besides: Besides<'_>, revision: Option<&str>) -> Vec<Telling> {
        let Besides { stalled, crash_loop, .. } = besides;
        let at = report.began.checked_add(report.took).unwrap_or(report.began);
        let telling = |news: News, message: String| Telling {
            app: Some(app.name.clone()),
            news,
            message,
            release: Some(report.release.clone()),
            revision: revision.map(str::to_owned),
            at,
        };
        let mut all = Vec::new();
        match report.outcome {
            Outcome::Converged => {
                all.extend(self.well(report, besides).map(|(news, message)| telling(news, message)));
                (self.good, self.wrong, self.withheld) = (Some(report.release.clone()), None, false);
                // A pass that starts it again does not mend it.
                self.crash_loop &= crash_loop.is_some();
            }
            Outcome::Withheld if !self.withheld => {
                let count = report.remaining.drift.len();
                let differ = if count == 1 { "difference is" } else { "differences are" };
                all.push(telling(News::DriftWithheld, format!("{count} {differ} left alone: {}", why(app, report))));
                self.withheld = true;
            }
            Outcome::RolledBack => all.extend(self.bad(News::RolledBack, telling(News::RolledBack, why(app, report)))),
            Outcome::Quarantined => {
                all.extend(self.bad(News::Quarantined, telling(News::Quarantined, why(app, report))));
            }
            Outcome::Unhealthy => all.extend(self.bad(News::Unhealthy, telling(News::Unhealthy, why(app, report)))),
            Outcome::Failed => all.extend(self.bad(News::Failed, telling(News::Failed, why(app, report)))),
            Outcome::Withheld | Outcome::Drift | Outcome::Interrupted => {}
        }
        if let Some(why) = stalled.filter(|_| !self.stalled) {
            all.push(telling(News::Stalled, why.to_owned()));
        }
        self.stalled = stalled.is_some();
        if let Some(why) = crash_loop.filter(|_| !self.crash_loop) {
            all.push(telling(News::CrashLoop, why.to_owned()));
            self.crash_loop = true;
        }
        all
    }

    fn well(&self, report: &PassReport, besides: Besides<'_>) -> Option<(News, String)> {
        let crash_loop = besides.crash_loop.is_some();
        let release = &report.release;
        let done = || report.tried.iter().filter(|tried| tried.problem.is_none());
        let switched = done().any(|tried| matches!(&tried.action, Action::SwitchCurrent { to } if to == release));
        match &self.good {
            Some(good) if good != release => {
                return Some((News::Deployed, format!("release `{release}` is in force, after `{good}`")));
            }
            None if switched => return Some((News::Deployed, format!("release `{release}` is in force"))),
            _ => {}
        }
        if !crash_loop && (self.wrong.is_some() || self.crash_loop) {
            return Some((News::Recovered, format!("all is as it should be again, with release `{release}`")));
        }
        // What dies again and again is told of once.
        let again = |action: &Action| crash_loop && matches!(action, Action::StartWorker { .. });
        let corrections: Vec<&Tried> =
            done().filter(|tried| is_correction(&tried.action) && !again(&tried.action)).collect();
        // A worker that is down has mostly ended by itself, as queue workers do all day.
        if !besides.repair || !corrections.iter().any(|tried| tried.action.is_counted()) {
            return None;
        }
        let mut message = match corrections.len() {
            1 => "drift was corrected by one action".to_owned(),
            count => format!("drift was corrected by {count} actions"),
        };
        for tried in corrections.iter().take(LISTED) {
            message.push_str("\n- ");
            message.push_str(&describe(&tried.action));
        }
        if let Some(more) = corrections.len().checked_sub(LISTED).filter(|more| *more > 0) {
            message = format!("{message}\n- and {more} more");
        }
        Some((News::DriftCorrected, message))
    }

    /// What is wrong, unless that is known.
    fn bad(&mut self, news: News, telling: Telling) -> Option<Telling> {
        let release = telling.release.clone()?;
        let key = telling.key();
        let known = self.wrong.as_ref().is_some_and(|(before, with, told)| {
            // What was rolled back is in quarantine from then on. What an application answers changes all the time.
            let same = *before == news || (*before == News::RolledBack && news == News::Quarantined);
            *with == release && same && (news != News::Failed || *told == key)
        });
        if known {
            return None;
        }
        self.wrong = Some((news, release, key));
        Some(telling)
    }
}

/// Whether an action puts something right that was right before, rather than bring something new about.
fn is_correction(action: &Action) -> bool {
    match action {
        Action::SwitchCurrent { .. }
        | Action::LinkShared { .. }
        | Action::ApplyConfig { .. }
        | Action::StartWorker { .. }
        | Action::RestartWorker { .. }
        | Action::StopWorker { .. }
        | Action::EnableWorker { .. }
        | Action::StopStray { .. }
        | Action::RenewService { .. }
        | Action::FetchRelease { .. } => true,
        Action::LiftQuarantine { .. }
        | Action::RunStage { .. }
        | Action::ProveRelease { .. }
        | Action::PruneRelease { .. } => false,
    }
}

/// An action without the pids that would make each time another one.
fn describe(action: &Action) -> String {
    match action {
        Action::RestartWorker { member, .. } => format!("restart {member}"),
        Action::StopStray { .. } => "stop a stray process".to_owned(),
        action => action.to_string(),
    }
}

/// Why a pass ended as it did, in a sentence.
fn why(app: &App, report: &PassReport) -> String {
    let after = report.after.as_ref();
    let kept_out = || after.and_then(|after| explain::kept_out(app, after)).map(|problem| problem.message);
    let condition = |of: ConditionType| {
        let status = after.map(|after| status(app, String::new(), after, &report.remaining))?;
        status.condition(of).map(|condition| condition.message.clone())
    };
    let problem = || {
        let tried = report.tried.iter().rev().find_map(|tried| Some((tried, tried.problem.as_ref()?)));
        let tried = tried.map(|(tried, problem)| format!("could not {}: {}", describe(&tried.action), problem.message));
        report.problems.first().map(|problem| problem.message.clone()).or(tried)
    };
    let found = match report.outcome {
        Outcome::RolledBack | Outcome::Quarantined => kept_out().or_else(problem),
        Outcome::Unhealthy => condition(ConditionType::Healthy),
        Outcome::Failed => problem().or_else(|| condition(ConditionType::Stalled)),
        _ => problem().or_else(|| condition(ConditionType::Ready)),
    };
    found.or_else(|| condition(ConditionType::Ready)).unwrap_or_else(|| "nobody knows why".to_owned())
}

/// How a commit of the manifests fares with one App.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CommitState {
    /// It is yet to be seen.
    Pending,
    /// All is as it says, and healthy.
    Success,
    /// It is not, and will not be by itself.
    Failure,
    /// A newer one came before it was in force.
    Superseded,
}

/// How the commit fares that a report is about, and why in a sentence; none: nothing can be said of it.
#[must_use]
pub fn commit_state(app: &App, report: &PassReport) -> Option<(CommitState, String)> {
    let release = &report.release;
    Some(match report.outcome {
        Outcome::Converged => (CommitState::Success, format!("release {release} is in force")),
        Outcome::Withheld => (CommitState::Pending, why(app, report)),
        Outcome::Unhealthy | Outcome::RolledBack | Outcome::Quarantined | Outcome::Failed => {
            (CommitState::Failure, why(app, report))
        }
        Outcome::Drift | Outcome::Interrupted => return None,
    })
}

/// What people know of where manifests come from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ToldOfSource {
    /// The key of what was told.
    wrong: Option<String>,
    /// How often in a row it was away.
    away: u32,
}

impl ToldOfSource {
    /// Something is wrong with it: what of that is new.
    pub fn wrong(&mut self, telling: Telling) -> Option<Telling> {
        if telling.news == News::SourceUnreachable {
            self.away = self.away.saturating_add(1);
            // That a wrong revision cannot be fetched now does not make it right, nor another one.
            if self.away != AWAY || self.wrong.is_some() {
                return None;
            }
        } else {
            self.away = 0;
        }
        let key = telling.key();
        if self.wrong.as_ref() == Some(&key) {
            return None;
        }
        self.wrong = Some(key);
        Some(telling)
    }

    /// Whether just that was told last of what is wrong with it: a [`Telling::key`].
    #[must_use]
    pub fn is_told(&self, key: &str) -> bool {
        self.wrong.as_deref() == Some(key)
    }

    /// It is well: whether that is new.
    pub fn well(&mut self, revision: Option<&str>, at: Timestamp) -> Option<Telling> {
        self.away = 0;
        self.wrong.take().map(|_| Telling {
            app: None,
            news: News::SourceRecovered,
            message: "the manifests can be fetched, and are right, again".to_owned(),
            release: None,
            revision: revision.map(str::to_owned),
            at,
        })
    }
}

#[cfg(test)]
#[path = "telling_tests.rs"]
mod tests;
