//! Manifests from a branch of a git repository.
//!
//! In: [`GitOptions`], and what was in force before. Out: the Apps of the branch's last commit, once it is trusted and
//! loads. Each look asks the remote only what the branch leads to; a new commit is fetched without more history than
//! it takes to see that it follows the one in force, judged by `trust`, written into a directory of its own and
//! loaded; once this host accepts it, it is remembered, by a link that is swapped. The commit in force is judged again
//! when other signers are allowed; refused then, it stays in force, and that is told. Begin at [`GitSource::look`].

mod remote;
mod store;
mod trust;

use std::hash::{BuildHasher, RandomState};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use self::remote::FIRST;
use self::store::Store;
use self::trust::{Signers, Trouble, unreachable};
use super::source::{Found, Source, SourceProblem, SourceProblemKind, Wakes};
use crate::documents::agent::Revision;
use crate::host::blocking;
use crate::host::git::{Git, Remote, words};
use crate::host::spawn::Shim;
use crate::host::users::User;
use crate::manifest::{LoadErrors, Loaded, load_commit};
use crate::model::agent::GitOptions;
use crate::model::release::public;
use crate::model::wake::short_commit;
use crate::ports::{HostError, HostErrorKind};

/// How long one command of git may take.
const LIMIT: Duration = Duration::from_mins(5);

/// A remote that does not answer is asked less often, but at least so often, or as often as it is polled.
const LEAST_OFTEN: Duration = Duration::from_mins(5);

/// However often somebody wishes to poll.
const AT_MOST_OFTEN: Duration = Duration::from_millis(100);

/// What the branch led to when it was fetched last.
const FETCHED: &str = "refs/trueup/fetched";

/// The commit in force.
const APPLIED: &str = "refs/trueup/applied";

/// Where people say which repository.
const NAMED_IN: &str = "`--git` and `--branch`, or `spec.source.git` of the agent's configuration";

/// A branch of a git repository with manifests in it.
#[derive(Debug)]
pub struct GitSource {
    shim: Shim,
    options: GitOptions,
    /// All that is kept of it.
    store: Store,
    /// What is in force.
    in_force: Option<(Revision, Vec<Loaded>)>,
    /// What was found last, and may come into force.
    next: Option<(Revision, Vec<Loaded>)>,
    /// Why the commit that was found last cannot come into force, as long as these are allowed to sign it.
    kept_out: Option<(SourceProblem, Signers)>,
    /// The commit that was last found to be trusted, and who was allowed to sign it.
    trusted: Option<(String, Signers)>,
    /// How often in a row the remote could not be asked.
    failures: u32,
}

/// What the branch leads to.
enum Brought {
    /// The commit in force, which is trusted.
    Known,
    /// The same; that was to be seen again.
    Again(Revision),
    /// Another one, which may come into force.
    Next(Revision),
}

impl GitSource {
    /// Follows a branch. `state` is the agent's own directory, in which the repository gets one; it is made where it
    /// is missing.
    #[must_use]
    pub fn new(options: GitOptions, state: &Path) -> Self {
        Self::with(Shim::own(), options, state)
    }

    /// The same, with this program as the shim.
    #[must_use]
    pub fn with(shim: Shim, options: GitOptions, state: &Path) -> Self {
        let store = Store::new(state, &options.url, &options.branch);
        Self { shim, options, store, in_force: None, next: None, kept_out: None, trusted: None, failures: 0 }
    }

    fn branch(&self) -> String {
        let branch = &self.options.branch;
        if branch.starts_with("refs/") { branch.clone() } else { format!("refs/heads/{branch}") }
    }

    fn remote(&self) -> Remote<'_> {
        Remote { url: &self.options.url, trusted: true }
    }

    async fn git(&self, lock: Option<OwnedFd>) -> Result<Git<'_>, HostError> {
        let user = blocking(User::who_runs).await??;
        let configuration = trust::configuration(self.options.allowed_signers.as_deref());
        let mirror = self.store.mirror();
        let mut git = Git {
            shim: &self.shim,
            user,
            lock,
            mirror,
            own_ssh: false,
            limit: LIMIT,
            named_in: NAMED_IN,
            configuration,
        };
        git.heed_own_ssh().await?;
        Ok(git)
    }

    /// Asks what is kept, or changes it, on a thread that may block: a slow disk holds up nobody else.
    async fn stored<T: Send + 'static>(&self, work: impl FnOnce(&Store) -> T + Send + 'static) -> Result<T, HostError> {
        let store = self.store.clone();
        blocking(move || work(&store)).await
    }

    /// The same for work on the mirror and the trees, which holds git's lock until it is done, even where nobody waits
    /// for it any more.
    async fn at_work<T: Send + 'static>(
        &self,
        git: &Git<'_>,
        work: impl FnOnce(&Store) -> Result<T, HostError> + Send + 'static,
    ) -> Result<T, HostError> {
        let lock = git.lock.as_ref().map(OwnedFd::try_clone).transpose();
        let lock = lock.map_err(|error| HostError::io("cannot hold on to the lock", &error))?;
        self.stored(move |store| {
            let done = work(store);
            drop(lock);
            done
        })
        .await?
    }

    async fn find(&mut self) -> Result<Found, SourceProblem> {
        self.next = None;
        let signers = self.signers().await.map_err(unreachable)?;
        if let Err(problem) = self.follow(&signers).await {
            if problem.revision.is_some() {
                self.kept_out = Some((problem.clone(), signers));
            }
            return Err(problem);
        }
        self.kept_out = None;
        let found = self.found();
        let revision = found.as_ref().and_then(|found| found.revision.as_ref());
        self.trusted = revision.map(|revision| (revision.commit.clone(), signers));
        found.ok_or_else(|| unreachable(HostError::new(HostErrorKind::Other, "nothing of the branch is in force")))
    }

    async fn follow(&mut self, signers: &Signers) -> Result<(), SourceProblem> {
        match self.bring(signers).await? {
            Brought::Known => {}
            Brought::Again(revision) => self.in_force = self.in_force.take().map(|(_, apps)| (revision, apps)),
            Brought::Next(revision) => self.next = Some(self.read(revision, self.in_force.is_some()).await?),
        }
        Ok(())
    }

    fn found(&self) -> Option<Found> {
        let (revision, apps) = self.next.as_ref().or(self.in_force.as_ref())?;
        Some(Found { revision: Some(revision.clone()), apps: apps.clone() })
    }

    /// Brings the branch's last commit, which is trusted, and writes its files, unless it is in force already. A mirror
    /// that is damaged is made anew.
    async fn bring(&self, signers: &Signers) -> Result<Brought, SourceProblem> {
        self.check().map_err(unreachable)?;
        let lock = self.stored(Store::prepare).await.and_then(|made| made).map_err(unreachable)?;
        let git = self.git(Some(lock)).await.map_err(unreachable)?;
        let mut fresh = self.stored(Store::is_fresh).await.map_err(unreachable)?;
        loop {
            let error = match self.bring_with(&git, fresh, signers).await {
                Err(Trouble::Host(error)) if error.kind == HostErrorKind::Other && !fresh => error,
                ended => return ended.map_err(SourceProblem::from),
            };
            if !git.is_damaged(&error).await.map_err(unreachable)? {
                return Err(unreachable(error));
            }
            tracing::warn!(mirror = %git.mirror.display(), %error, "the mirror is damaged and is fetched anew");
            self.at_work(&git, Store::renew_mirror).await.map_err(unreachable)?;
            fresh = true;
        }
    }

    async fn bring_with(&self, git: &Git<'_>, fresh: bool, signers: &Signers) -> Result<Brought, Trouble> {
        let tip = self.tip(git).await?;
        let is_tip = |problem: &SourceProblem| problem.revision.as_ref().is_some_and(|found| found.commit == tip);
        if let Some((problem, _)) = self.kept_out.as_ref().filter(|(problem, by)| is_tip(problem) && by == signers) {
            return Err(problem.clone().into());
        }
        // A mirror that is empty is filled: a restart needs it.
        if !fresh && self.in_force.as_ref().is_some_and(|(revision, _)| revision.commit == tip) {
            if self.trusted.as_ref().is_some_and(|(commit, by)| *commit == tip && by == signers) {
                return Ok(Brought::Known);
            }
            if git.commit(&tip).await?.is_none() {
                self.fetch(git, FIRST).await?;
            }
            return Ok(Brought::Again(trust::revision(git, &tip, self.options.allowed_signers.as_deref()).await?));
        }
        if fresh {
            git.initialise(&tip).await?;
        }
        self.fetch(git, FIRST).await?;
        let commit = git.commit(FETCHED).await?.ok_or_else(|| {
            let message = format!("`{}` of `{}` leads to no commit", self.branch(), public(&self.options.url));
            HostError::new(HostErrorKind::Misconfigured, message).with_help(format!("correct {NAMED_IN}"))
        })?;
        let revision = self.judge(git, &commit).await?;
        let of = commit.clone();
        let tree = self.at_work(git, move |store| store.fresh_tree(&of)).await?;
        git.check_out(&commit, &tree).await?;
        self.at_work(git, move |store| store.keep_tree(&commit)).await?;
        Ok(Brought::Next(revision))
    }

    /// Loads the manifests of a commit whose files are there. `had`: Apps of the branch were found at this path of it,
    /// and the last one may have been taken out.
    async fn read(&self, revision: Revision, had: bool) -> Result<(Revision, Vec<Loaded>), SourceProblem> {
        match self.load(self.store.tree(&revision.commit), had).await.map_err(unreachable)? {
            Ok(apps) => Ok((revision, apps)),
            Err(errors) => Err(wrong(revision, errors)),
        }
    }

    /// Refuses what git could take for something else than it is: the command line has not been checked by anybody.
    fn check(&self) -> Result<(), HostError> {
        words::check_url(&self.options.url, NAMED_IN)?;
        if words::is_ref(&self.options.branch) {
            return Ok(());
        }
        let message = format!("`{}` is no name of a branch", self.options.branch);
        Err(HostError::new(HostErrorKind::Misconfigured, message).with_help(format!("correct {NAMED_IN}")))
    }

    async fn load(&self, tree: PathBuf, had: bool) -> Result<Result<Vec<Loaded>, LoadErrors>, HostError> {
        let inside = self.options.path.as_ref().map(|path| path.as_path().to_owned());
        blocking(move || load_commit(&tree, inside.as_deref(), had)).await
    }

    /// What follows the commit in force can be seen without asking the remote for that one again.
    async fn keep_from_being_tidied(&self, commit: &str) {
        let kept = async {
            let git = self.git(None).await?;
            git.must(None, &[], &["update-ref", APPLIED, commit]).await
        };
        if let Err(error) = kept.await {
            tracing::warn!(commit = short_commit(commit), %error, "the commit in force is not marked in the mirror");
        }
    }

    /// What was in force, which it was not without trust. Whether it would be trusted now is up to the next look.
    async fn remember(&self) -> Result<Option<(Revision, Vec<Loaded>)>, SourceProblem> {
        let Some(commit) = self.stored(Store::chosen).await.map_err(unreachable)? else { return Ok(None) };
        let git = self.git(None).await.map_err(unreachable)?;
        let revision = match trust::revision(&git, &commit, self.options.allowed_signers.as_deref()).await {
            Err(_) if self.options.allowed_signers.is_some() => trust::revision(&git, &commit, None).await?,
            judged => judged?,
        };
        let path = self.path();
        // Another path is another set of Apps, and a mistake in it must not look as if all of them had gone.
        let had = self.stored(move |store| store.was_found_at(&path)).await.map_err(unreachable)?;
        self.read(revision, had).await.map(Some)
    }

    /// Where in the repository its manifests are.
    fn path(&self) -> PathBuf {
        self.options.path.as_ref().map_or_else(PathBuf::new, |path| path.as_path().to_owned())
    }

    async fn signers(&self) -> Result<Signers, HostError> {
        let file = self.options.allowed_signers.clone();
        blocking(move || trust::signers(file.as_deref())).await?
    }
}

impl Source for GitSource {
    async fn resume(&mut self) -> Option<Found> {
        match self.remember().await {
            Ok(remembered) => self.in_force = remembered,
            Err(problem) => tracing::warn!(%problem, "what was in force is not taken up again"),
        }
        self.found()
    }

    async fn look(&mut self) -> Result<Found, SourceProblem> {
        let found = self.find().await;
        self.failures = match &found {
            Err(problem) if problem.kind == SourceProblemKind::Unreachable => self.failures.saturating_add(1),
            _ => 0,
        };
        found
    }

    async fn keep(&mut self) -> Result<(), SourceProblem> {
        let Some((revision, apps)) = self.next.take() else { return Ok(()) };
        let (commit, path) = (revision.commit.clone(), self.path());
        // The path first: a link to a commit that has nothing there is followed by who knows that it had.
        let chosen = self.stored(move |store| store.found_at(&path).and_then(|()| store.choose(&commit))).await;
        let chosen = chosen.and_then(|chosen| chosen);
        chosen.map_err(unreachable)?;
        self.keep_from_being_tidied(&revision.commit).await;
        self.in_force = Some((revision, apps));
        Ok(())
    }

    fn wakes(&self) -> Wakes {
        let poll = pause(self.options.poll, self.failures, RandomState::new().hash_one(self.failures));
        Wakes { paths: Vec::new(), every: Some(poll) }
    }

    fn renew(&mut self, options: &GitOptions) {
        // What was kept out may be let in by force.
        self.kept_out = None;
        self.options = options.clone();
    }

    fn is_whole(&self) -> bool {
        true
    }
}

fn wrong(revision: Revision, errors: LoadErrors) -> SourceProblem {
    SourceProblem { revision: Some(revision), ..SourceProblem::from(errors) }
}

/// How long to wait before the next look: longer after each failure, and give or take a tenth by chance.
fn pause(poll: Duration, failures: u32, chance: u64) -> Duration {
    let poll = poll.max(AT_MOST_OFTEN);
    let longer = poll.saturating_mul(1 << failures.min(8));
    let pause = longer.min(poll.max(LEAST_OFTEN));
    let thousandths = u32::try_from(900 + chance % 201).unwrap_or(1_000);
    pause / 1_000 * thousandths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remote_that_is_away_is_asked_less_often_and_never_on_the_dot() {
        let seconds = Duration::from_secs;
        let rows = [
            (60, 0, 60),
            (60, 1, 120),
            (60, 2, 240),
            (60, 3, 300),
            (60, 99, 300),
            (5, 3, 40),
            (900, 0, 900),
            (900, 5, 900),
        ];
        assert!(pause(Duration::ZERO, 0, 0) > Duration::from_millis(50), "never without a pause");
        for (poll, failures, expected) in rows {
            let at = |chance| pause(seconds(poll), failures, chance);
            assert_eq!(at(100), seconds(expected), "{poll} {failures}");
            assert_eq!(at(0), seconds(expected) * 9 / 10);
            assert_eq!(at(200), seconds(expected) * 11 / 10);
            assert!((0..1_000).map(at).all(|pause| pause >= at(0) && pause <= at(200)));
        }
    }
}
