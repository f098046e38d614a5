//! When the loop looks at its manifests, and what it makes of what it finds.
//!
//! Files may be seen half-written, or missing for a moment while an editor or a checkout replaces them. So a look comes
//! after a quiet moment, and bad news (manifests that do not load, an App that is gone) is doubted first. A source that
//! cannot be asked says nothing about manifests: that is another matter, and told as such.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::future::join_all;
use jiff::Timestamp;
use tracing::{info, warn};

use super::asking::{Askers, Asking};
use super::bad_news::{BadNews, PendingBadNews};
use super::debounce::Debounce;
use super::registry::{KnownApp, Lifecycle};
use super::senses::Senses;
use super::source::{Found, Source, SourceProblem, SourceProblemKind};
use super::succession::{Aliases, aliases};
use super::tracked::TrackedApp;
use super::{Agent, Done};
use crate::decide::schedule::later;
use crate::decide::succession::{AppFate, FormerRootFate, RootHolder, RootOwners, fates, formers};
use crate::documents::agent::{ManifestProblem, Revision, Unreachable};
use crate::manifest::Loaded;
use crate::model::agent::GitOptions;
use crate::model::memory::Memory;
use crate::model::names::AppName;
use crate::model::report::Outcome;
use crate::model::wake::Wake;
use crate::ports::Host;

/// Manifests are looked at when nothing has changed for this long, …
const CALM: Duration = Duration::from_millis(150);
/// … and this long after the first change at the latest.
const CALM_AT_MOST: Duration = Duration::from_secs(3);
/// What is written down of an App is waited for so long.
const RECALL: Duration = Duration::from_secs(5);

/// The source, and when it is looked at.
pub(super) struct Manifests<S> {
    /// None while it looks.
    source: Option<S>,
    quiet: Debounce,
    /// The next look in any case.
    look_at: Option<Timestamp>,
    /// Bad news that was seen, and is to be seen again before it is believed.
    doubt: PendingBadNews,
    /// How the source looks from the next look on, where that has changed.
    renewed: Option<GitOptions>,
    /// Somebody waits to be told that a look is over.
    reloading: bool,
    /// Others who wait for that.
    pub(super) askers: Askers,
    /// Where those in force are from, as far as that has a name.
    revision: Option<Revision>,
    /// Where the loop is with them.
    stage: Stage,
    /// What was last wrong with newer ones.
    refused: Option<String>,
    /// Why the source cannot be asked now.
    unreachable: Option<Unreachable>,
}

/// How far the first look has led.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    /// It is not over.
    New,
    /// It is, and nothing came of it.
    Looked,
    /// Manifests are in force.
    InForce,
}

impl<S> Manifests<S> {
    pub(super) fn new(source: S, now: Timestamp) -> Self {
        Self {
            source: Some(source),
            quiet: Debounce::new(CALM, CALM_AT_MOST),
            look_at: Some(now),
            doubt: PendingBadNews::default(),
            renewed: None,
            reloading: false,
            askers: Askers::default(),
            revision: None,
            stage: Stage::New,
            refused: None,
            unreachable: None,
        }
    }

    pub(super) fn stir(&mut self, now: Timestamp) {
        self.quiet.stir(now);
        self.doubt.stir(now);
    }

    pub(super) fn look_now(&mut self, now: Timestamp) {
        self.look_at = Some(now);
    }

    pub(super) fn reload(&mut self, git: Option<GitOptions>, now: Timestamp) {
        self.reloading = true;
        self.renewed = git.or(self.renewed.take());
        self.look_now(now);
    }

    pub(super) fn clock_was_set(&mut self, now: Timestamp) {
        self.quiet.settle();
        self.doubt.clock_was_set();
        self.askers.clock_was_set(now);
        self.look_now(now);
    }

    /// Manifests are in force.
    pub(super) fn are_known(&self) -> bool {
        self.stage == Stage::InForce
    }

    /// When somebody has waited long enough for newer ones than those in force.
    pub(super) fn patience(&self) -> Option<Timestamp> {
        self.askers.due().filter(|_| self.are_known())
    }

    /// What is wrong with the newest ones, in a few words.
    pub(super) fn trouble(&self) -> Option<&'static str> {
        let wrong = self.refused.is_some();
        (wrong || self.unreachable.is_some()).then_some(match (self.are_known(), wrong) {
            (true, true) => "the newest manifests cannot be used",
            (true, false) => "newer manifests cannot be asked for",
            (false, _) => "there are no manifests that can be used yet",
        })
    }

    /// When to look; none while a look is under way.
    pub(super) fn due(&self) -> Option<Timestamp> {
        self.source.as_ref()?;
        [self.quiet.due(), self.look_at].into_iter().flatten().min()
    }
}

impl<'a, H: Host, S: Source + 'a, W: Senses> Agent<'a, H, S, W> {
    /// Begins a look at the manifests, if one is due.
    pub(super) fn look_at_manifests(&mut self) {
        if self.manifests.due().is_none_or(|due| due > self.now) {
            return;
        }
        let Some(mut source) = self.manifests.source.take() else { return };
        if let Some(git) = self.manifests.renewed.take() {
            source.renew(&git);
        }
        self.manifests.quiet.settle();
        // A webhook or a timer that comes in from here on asks for another look.
        self.manifests.look_at = None;
        self.manifests.askers.begin();
        // First, so that what changes while it is looked at is told.
        self.senses.manifests(&source.wakes().paths);
        let first = self.manifests.stage == Stage::New;
        let roots = self.roots();
        self.work.push(Box::pin(async move {
            // A remote that does not answer must not keep what was in force from being kept up.
            if first && let Some(found) = source.resume().await {
                let aliases = aliases(roots, &found).await;
                return Done::Remembered(source, found, aliases);
            }
            let found = source.look().await;
            let aliases = match &found {
                Ok(found) => aliases(roots, found).await,
                Err(_) => Aliases::new(),
            };
            Done::Manifests(source, found, aliases)
        }));
    }

    /// Takes in what a look has found.
    pub(super) fn found(&mut self, source: S, found: Result<Found, SourceProblem>, aliases: &Aliases) {
        let every = source.wakes().every.map(|pause| later(self.now, pause));
        let whole = source.is_whole();
        self.manifests.source = Some(source);
        self.manifests.look_at = [self.manifests.look_at, every].into_iter().flatten().min();
        if found.is_err() && self.manifests.stage == Stage::New {
            self.take_up_what_was_in_force();
        }
        let bad = self.bad_news(&found).filter(|_| !whole);
        if let Some(again) = self.manifests.doubt.hear(bad, self.now) {
            let look_at = &mut self.manifests.look_at;
            *look_at = Some(look_at.map_or(again, |at| at.min(again)));
            return;
        }
        let first = self.manifests.stage == Stage::New;
        self.manifests.stage = self.manifests.stage.max(Stage::Looked);
        let Asking { forges, people } = self.manifests.askers.end();
        let problem = found.as_ref().err().map(|problem| problem.message.clone());
        match found {
            Err(problem) if problem.kind == SourceProblemKind::Unreachable => self.not_reached(problem),
            found => {
                self.reached();
                match found {
                    Ok(found) => self.take_over(found, aliases, &forges),
                    Err(problem) => self.refuse(problem),
                }
            }
        }
        self.grant(people, problem.as_deref());
        if std::mem::take(&mut self.manifests.reloading) || first {
            self.context.service.ready();
        }
        self.tell_status();
    }

    /// What should be seen twice before it is believed.
    fn bad_news(&self, found: &Result<Found, SourceProblem>) -> Option<BadNews> {
        match found {
            // Where others are refused already, it is no worse to tell why these are.
            Err(problem) => (problem.kind == SourceProblemKind::Wrong
                && self.manifests.are_known()
                && self.manifests.refused.is_none())
            .then(|| BadNews::Wrong(problem.message.clone())),
            Ok(found) => {
                let mut gone: BTreeSet<AppName> = self.context.registry.expected().cloned().collect();
                gone.extend(self.tracked.iter().filter(|(_, tracked)| !tracked.leaving).map(|(name, _)| name.clone()));
                for one in &found.apps {
                    gone.remove(&one.app.name);
                }
                (!gone.is_empty()).then_some(BadNews::Gone(gone))
            }
        }
    }

    /// The source cannot be asked. Nothing is known of newer manifests, and what is in force, or refused, stays so.
    fn not_reached(&mut self, problem: SourceProblem) {
        self.context.publisher.refused(&problem, self.now);
        let known = self.manifests.unreachable.as_ref();
        if known.is_some_and(|known| known.message == problem.message) {
            return;
        }
        warn!(problem = %problem.message, help = problem.remedy(), "newer manifests cannot be asked for");
        let since = known.map_or(self.now, |known| known.since);
        let unreachable = Unreachable { message: problem.message, help: problem.help, since };
        self.context.board.unreachable(Some(unreachable.clone()));
        self.manifests.unreachable = Some(unreachable);
    }

    /// The source was asked, and has answered.
    fn reached(&mut self) {
        if self.manifests.unreachable.take().is_some() {
            info!("manifests can be asked for again");
            self.context.board.unreachable(None);
        }
    }

    /// The last good ones stay in force.
    fn refuse(&mut self, problem: SourceProblem) {
        self.context.publisher.refused(&problem, self.now);
        if self.manifests.refused.as_ref() == Some(&problem.message) {
            return;
        }
        if self.manifests.are_known() {
            warn!(problem = %problem.message, help = problem.remedy(), "the manifests cannot be used; what was in force stays");
        } else {
            warn!(problem = %problem.message, help = problem.remedy(), "the manifests cannot be used, and none are in force yet: better ones are waited for");
        }
        self.manifests.refused = Some(problem.message.clone());
        let SourceProblem { revision, message, help, mistakes, .. } = problem;
        self.context.board.refused(ManifestProblem { revision, message, help, mistakes, since: self.now });
    }

    /// `aliases`: of roots that were looked after so far. `forges`: those that have told of it.
    pub(super) fn take_over(&mut self, found: Found, aliases: &Aliases, forges: &BTreeSet<String>) {
        let Found { revision, apps } = found;
        self.context.publisher.well(revision.as_ref(), self.now);
        let first = !self.manifests.are_known();
        let before = self.context.registry.take_up();
        let owners = RootOwners::new(apps.iter().map(|one| (&one.app.name, &one.app.root)), aliases);
        let holders = self.tracked.iter().map(|(name, tracked)| RootHolder {
            name,
            root: &tracked.loaded.app.root,
            leaving: tracked.leaving,
        });
        let fates = fates(&holders.collect::<Vec<_>>(), &owners);
        let gone = fates.values().any(|fate| matches!(fate, AppFate::Succeeded { .. } | AppFate::Disappears));
        let moved_on = !first && self.manifests.revision != revision;
        let told = apps.clone();
        let woken = self.track(apps, &fates, &owners, &before);
        if first || gone || moved_on || self.manifests.refused.is_some() || !woken.is_empty() {
            self.come_into_force(revision.clone(), &told, &owners, woken.len());
        }
        self.give_way(&owners);
        for (name, fate) in &fates {
            match fate {
                AppFate::Comes | AppFate::Stays | AppFate::Moves => {}
                AppFate::Succeeded { heir } => self.succeeded(name, heir),
                AppFate::Disappears => self.disappeared(name),
            }
        }
        self.settle(before, &owners);
        self.context.board.former_roots(self.context.registry.former_roots());
        self.wake_changed(&woken, first, revision.as_ref(), forges);
        if moved_on {
            let untouched: Vec<AppName> = owners.named().iter().filter(|name| !woken.contains(name)).cloned().collect();
            self.stand(&untouched);
        }
        if first {
            self.recall(woken);
        }
        self.take_stock();
    }

    /// Gives each App its place; which of them are other than they were.
    fn track(
        &mut self,
        apps: Vec<Loaded>,
        fates: &BTreeMap<AppName, AppFate>,
        owners: &RootOwners,
        before: &[KnownApp],
    ) -> Vec<AppName> {
        let mut changed = Vec::new();
        for loaded in apps {
            let name = loaded.app.name.clone();
            let renewed = match (self.tracked.get_mut(&name), fates.get(&name)) {
                (Some(tracked), Some(AppFate::Stays)) => tracked.renew(loaded),
                (Some(_), _) => {
                    self.move_out(loaded, owners);
                    true
                }
                (None, _) => {
                    let mut tracked = TrackedApp::new(loaded, self.context.seed);
                    tracked.came = Self::came(before, owners, &name);
                    self.tracked.insert(name.clone(), tracked);
                    true
                }
            };
            if renewed {
                changed.push(name);
            }
        }
        changed
    }

    /// Says that these manifests are in force.
    fn come_into_force(&mut self, revision: Option<Revision>, apps: &[Loaded], owners: &RootOwners, changed: usize) {
        let commit = revision.as_ref().map(|revision| revision.commit.clone());
        self.manifests.refused = None;
        self.manifests.stage = Stage::InForce;
        self.manifests.revision.clone_from(&revision);
        self.context.board.manifests(revision, apps);
        self.context.registry.named(owners.named());
        info!(apps = apps.len(), changed, revision = commit, "manifests are in force");
    }

    /// Goes on with what an earlier agent has known.
    fn settle(&mut self, before: Vec<KnownApp>, owners: &RootOwners) {
        let formers = formers(before.iter().map(|known| (&known.loaded.app.name, &known.loaded.app.root)), owners);
        for (known, former) in before.into_iter().zip(formers) {
            let name = known.loaded.app.name.clone();
            let in_force = known.standing == Lifecycle::InForce;
            match former {
                FormerRootFate::HandedOn if !in_force => {}
                FormerRootFate::Kept | FormerRootFate::HandedOn => {
                    if let Some(heard) = known.heard {
                        self.context.publisher.recall(&name, heard);
                    }
                }
                FormerRootFate::Left => self.has_moved_out(known),
                FormerRootFate::Succeeded { heir } => self.succeeded(&name, &heir),
                // Its own root is written down before those that it has left.
                FormerRootFate::LeftBefore => self.go_on_with_former(known),
                FormerRootFate::Orphaned => self.go_on_with(known),
            }
        }
    }

    /// Has those that are other than they were watched, and makes passes over them; over the `first` ones later, once
    /// it is read what is written down of them.
    fn wake_changed(
        &mut self,
        changed: &[AppName],
        first: bool,
        revision: Option<&Revision>,
        forges: &BTreeSet<String>,
    ) {
        let commit = revision.map(|revision| revision.commit.clone());
        for name in changed {
            if let Some(tracked) = self.tracked.get(name) {
                self.senses.app(&tracked.loaded.app);
            }
            if !first {
                self.wake(name, Wake::Manifest { revision: commit.clone() });
                for from in forges {
                    self.wake(name, Wake::Webhook { from: from.clone() });
                }
            }
        }
    }

    /// A commit has come that leaves these as they were. How it fares with them is said at once where that is known;
    /// the others are looked at, however long it would be to their timers.
    fn stand(&mut self, untouched: &[AppName]) {
        for name in untouched {
            let Some(tracked) = self.tracked.get(name) else { continue };
            if !tracked.passed && !tracked.passes() {
                // Its first pass is still to come.
                continue;
            }
            // What waits may be about a commit in between, that it was never brought to.
            let waits = !tracked.schedule.state(self.now).pending.is_empty();
            if !tracked.passes() && !waits && tracked.standing() == Some(Outcome::Converged) {
                self.context.publisher.stands(&tracked.loaded.app);
            } else {
                self.wake(name, Wake::Timer);
            }
        }
    }

    /// Reads what is written down of these Apps, all of which are then woken together.
    fn recall(&mut self, names: Vec<AppName>) {
        let host = self.context.host;
        let tracked =
            names.into_iter().filter_map(|name| Some((self.tracked.get(&name)?.loaded.app.root.clone(), name)));
        let each = tracked.map(|(root, name)| async move {
            let memory = tokio::select! {
                // Where it cannot be read, each pass says so.
                memory = host.recall(&root) => memory.unwrap_or_default(),
                // A root that does not answer holds nobody up.
                () = host.sleep(RECALL) => Memory::default(),
            };
            (name, memory)
        });
        let all = join_all(each.collect::<Vec<_>>());
        self.work.push(Box::pin(async move { Done::Recalled(all.await) }));
    }

    /// What was counted before the agent began counts on.
    pub(super) fn recalled(&mut self, memories: &[(AppName, Memory)]) {
        for (name, memory) in memories {
            if let Some(tracked) = self.tracked.get_mut(name) {
                let settled = memory.settled.as_ref() == Some(&tracked.loaded.app.fingerprint.wish);
                tracked.schedule.recall(settled, &memory.corrections, self.now);
            }
            self.wake(name, Wake::Started);
        }
    }
}
