//! What the loop does, as far as somebody else should hear of it: notifications and commit statuses.
//!
//! In: each thing as it happens. Out: [`Telling`]s and [`CommitVerdict`]s to whoever takes them; none where nobody does, who
//! is not taken for one who knows it. What of it is news is decided in `decide::telling`; who is told from now on is
//! told what is wrong already. Nothing in here waits.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::forge::{CommitVerdict, StatusPoster};
use super::notify::NotificationQueue;
use super::source::{SourceProblem, SourceProblemKind};
use crate::decide::schedule::ScheduleState;
use crate::decide::telling::{Besides, CommitState, ToldOfApp, ToldOfSource, commit_state};
use crate::documents::agent::Revision;
use crate::model::app::App;
use crate::model::names::{AppName, Root};
use crate::model::report::{Outcome, PassReport};
use crate::model::telling::{News, Severity, Telling};

/// Tells of what happens.
#[derive(Debug, Default)]
pub struct Publisher {
    teller: Option<NotificationQueue>,
    poster: Option<StatusPoster>,
    source: ToldOfSource,
    apps: BTreeMap<AppName, Known>,
    /// The commit in force.
    revision: Option<String>,
    /// Who has not heard yet how it is with the manifests.
    new: BTreeSet<String>,
}

/// What was said of one App.
#[derive(Debug, Default)]
struct Known {
    told: ToldOfApp,
    /// The commit in force when its pass began.
    passing: Option<String>,
    /// The last commit that was said to be pending or judged.
    posted: Option<String>,
    /// The last commit of which the last word was said: it is judged, or was given up.
    judged: Option<String>,
    /// Who has not heard yet how it is with the App.
    new: BTreeSet<String>,
}

/// What people know of an App, and which of them: that outlives the agent.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct NotifiedState {
    #[serde(flatten)]
    told: ToldOfApp,
    /// Those who have heard it, by their names; none: whoever is told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    by: Option<BTreeSet<String>>,
}

impl Publisher {
    /// Tells these; each is left out where it is none.
    #[must_use]
    pub fn new(teller: Option<NotificationQueue>, poster: Option<StatusPoster>) -> Self {
        Self { teller, poster, ..Self::default() }
    }

    /// Others are told from now on; what was said before counts as said to those who were told.
    pub(super) fn renew(&mut self, other: Self) {
        let (before, now) = (self.names(), other.names());
        for new in self.apps.values_mut().map(|known| &mut known.new).chain([&mut self.new]) {
            new.retain(|name| now.contains(name));
            new.extend(now.difference(&before).cloned());
        }
        (self.teller, self.poster) = (other.teller, other.poster);
    }

    /// Those who are told.
    fn names(&self) -> BTreeSet<String> {
        self.teller.iter().flat_map(NotificationQueue::names).cloned().collect()
    }

    fn tell(&self, telling: Telling) {
        if let Some(teller) = &self.teller {
            teller.tell(telling);
        }
    }

    fn post(&self, commit: &str, app: Option<&AppName>, state: CommitState, reason: String) {
        if let Some(poster) = &self.poster {
            poster.report(CommitVerdict { commit: commit.to_owned(), app: app.cloned(), state, reason });
        }
    }

    /// Manifests were looked at and are well.
    pub(super) fn well(&mut self, revision: Option<&Revision>, now: Timestamp) {
        let commit = revision.map(|revision| revision.commit.clone());
        self.new.clear();
        // With nobody to be told, nobody knows.
        if let Some(teller) = &self.teller
            && let Some(telling) = self.source.well(commit.as_deref(), now)
        {
            teller.tell(telling);
        }
        // The poster may have given up on an earlier word, and knows what it has posted.
        if let Some(commit) = &commit {
            self.post(commit, None, CommitState::Success, "its manifests are in force".to_owned());
        }
        self.revision = commit;
    }

    /// Manifests were looked at and cannot come into force.
    pub(super) fn refused(&mut self, problem: &SourceProblem, now: Timestamp) {
        let commit = problem.revision.as_ref().map(|revision| revision.commit.clone());
        let news = match problem.kind {
            SourceProblemKind::Unreachable => News::SourceUnreachable,
            SourceProblemKind::Wrong => News::ManifestsInvalid,
            SourceProblemKind::Untrusted => News::SourceRefused,
        };
        if let Some(commit) = &commit {
            self.post(commit, None, CommitState::Failure, problem.message.clone());
        }
        let message = problem.message.clone();
        let telling = Telling { app: None, news, message, release: None, revision: commit, at: now };
        let Some(teller) = &self.teller else { return };
        if let Some(telling) = self.source.wrong(telling.clone()) {
            self.new.clear();
            teller.tell(telling);
        } else if self.source.is_told(&telling.key()) && !self.new.is_empty() {
            teller.tell_only(&std::mem::take(&mut self.new), telling);
        }
    }

    /// An App is no longer in the manifests; `left` running, or it loses its workers.
    pub(super) fn orphaned(&mut self, app: &AppName, left: bool, now: Timestamp) {
        self.succeeded(app);
        let (news, what) = if left {
            (News::Orphaned, "is left running")
        } else {
            (News::Removed, "its workers are stopped, as its manifest asked (`sync.prune`)")
        };
        self.tell(Telling {
            app: Some(app.clone()),
            news,
            message: format!("it is no longer in the manifests, and {what}"),
            release: None,
            revision: self.revision.clone(),
            at: now,
        });
    }

    /// An App is no longer in the manifests, and nothing is to be told of that: another one has its root.
    pub(super) fn succeeded(&mut self, app: &AppName) {
        let known = self.apps.remove(app).unwrap_or_default();
        if let Some(commit) = known.posted.filter(|commit| known.judged.as_ref() != Some(commit)) {
            // No pass will judge it any more.
            let reason = "a newer commit no longer contains this App".to_owned();
            self.post(&commit, Some(app), CommitState::Superseded, reason);
        }
    }

    /// An App has another root; what runs at the one before is `left` running, or stopped.
    pub(super) fn moved(&self, app: &AppName, from: &Root, to: &Root, left: bool, now: Timestamp) {
        let (news, what) = if left {
            (News::Orphaned, "is left running: stop it by hand")
        } else {
            (News::Removed, "is stopped, as its manifest asked (`sync.prune`)")
        };
        self.tell(Telling {
            app: Some(app.clone()),
            news,
            message: format!("its root is `{to}` now, and what runs at `{from}` {what}"),
            release: None,
            revision: self.revision.clone(),
            at: now,
        });
    }

    /// A pass has begun.
    pub(super) fn began(&mut self, app: &AppName) {
        self.apps.entry(app.clone()).or_default().passing.clone_from(&self.revision);
        if let Some(commit) = self.turns_to(app) {
            self.post(&commit, Some(app), CommitState::Pending, "a pass is under way".to_owned());
        }
    }

    /// A commit has come that says nothing new of an App, which is as it should be.
    pub(super) fn stands(&mut self, app: &App) {
        if let Some(commit) = self.turns_to(&app.name) {
            let reason = format!("release {} is in force, and this commit leaves the App as it was", app.release.id);
            self.post(&commit, Some(&app.name), CommitState::Success, reason);
            self.apps.entry(app.name.clone()).or_default().judged = Some(commit);
        }
    }

    /// The commit in force, where nothing was said of it and this App yet; then it is the one of which something is.
    fn turns_to(&mut self, app: &AppName) -> Option<String> {
        let known = self.apps.entry(app.clone()).or_default();
        if known.posted == self.revision {
            return None;
        }
        let before = std::mem::replace(&mut known.posted, self.revision.clone());
        let judged = std::mem::take(&mut known.judged);
        if let Some(commit) = before.filter(|commit| judged.as_ref() != Some(commit)) {
            // No pass will come back to that one.
            let reason = "a newer commit came before this one could be judged".to_owned();
            self.post(&commit, Some(app), CommitState::Superseded, reason);
        }
        self.revision.clone()
    }

    /// What people know of an App; none: nothing.
    pub(super) fn heard(&self, app: &AppName) -> Option<NotifiedState> {
        let known = self.apps.get(app)?;
        let by = self.names().difference(&known.new).cloned().collect();
        Some(NotifiedState { told: known.told.clone(), by: Some(by) })
    }

    /// What an earlier agent has told people of an App. Those who are told now and were not then are new.
    pub(super) fn recall(&mut self, app: &AppName, heard: NotifiedState) {
        let new = heard.by.map(|by| self.names().difference(&by).cloned().collect()).unwrap_or_default();
        let known = self.apps.entry(app.clone()).or_default();
        (known.told, known.new) = (heard.told, new);
    }

    /// An App has lost its workers, as it wished: that they were stopped puts nothing right that anybody has changed.
    pub(super) fn left(&mut self, app: &AppName) {
        if let Some(commit) = self.apps.remove(app).and_then(|known| known.passing) {
            let reason = "it is no longer in the manifests, and its workers are stopped";
            self.post(&commit, Some(app), CommitState::Success, reason.to_owned());
        }
    }

    /// A pass has ended. `repair`: nobody had asked for what it did. Tells whether people know something else of the
    /// App now, or others do.
    pub(super) fn ended(&mut self, app: &App, report: &PassReport, state: &ScheduleState, repair: bool) -> bool {
        let known = self.apps.entry(app.name.clone()).or_default();
        let commit = known.passing.clone();
        let stalled = state.stalled.then(|| {
            format!(
                "drift came back {} times within an hour: a person should see who else changes it",
                state.corrections
            )
        });
        let (before, were_new) = (known.told.clone(), known.new.len());
        let crash_loop = state.crash_loop();
        let besides = || Besides { repair, stalled: stalled.as_deref(), crash_loop: crash_loop.as_deref() };
        // With nobody to be told, nobody knows.
        if let Some(teller) = &self.teller {
            let tellings = known.told.of(app, report, besides(), commit.as_deref());
            // One that has not come to its end tells nothing of how things are.
            let is_telling = report.outcome != Outcome::Interrupted;
            let new = if is_telling { std::mem::take(&mut known.new) } else { BTreeSet::new() };
            if !new.is_empty() {
                let mut wrong = ToldOfApp::default().of(app, report, besides(), commit.as_deref());
                wrong.retain(|one| one.news.severity() == Severity::Error && !tellings.contains(one));
                for one in wrong {
                    teller.tell_only(&new, one);
                }
            }
            for one in tellings {
                teller.tell(one);
            }
        }
        let changed = known.told != before || known.new.len() < were_new;
        let Some(commit) = commit else { return changed };
        let known = self.apps.entry(app.name.clone()).or_default();
        let was_judged = known.judged.as_ref() == Some(&commit);
        if let Some((state, reason)) = commit_state(app, report) {
            // What comes to differ later is no question of the commit.
            if state == CommitState::Pending && was_judged {
                return changed;
            }
            known.judged = (state != CommitState::Pending).then(|| commit.clone());
            self.post(&commit, Some(&app.name), state, reason);
        } else if report.outcome == Outcome::Interrupted && self.revision.as_ref() != Some(&commit) && !was_judged {
            // No pass will come back to it.
            known.judged = Some(commit.clone());
            let reason = format!("a newer commit came before release {} was in force", report.release);
            self.post(&commit, Some(&app.name), CommitState::Superseded, reason);
        }
        changed
    }
}

#[cfg(test)]
#[path = "publisher_tests.rs"]
mod tests;
