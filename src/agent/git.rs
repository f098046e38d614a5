//! Manifests from a branch of a git repository.
//!
//! In: [`GitOptions`], and what was in force before. Out: the Apps of the branch's last commit, once it is trusted and
//! loads. Each look asks the remote only what the branch leads to; a new commit is fetched without more history than
//! it takes to see that it follows the one in force, judged by `trust`, written into a directory of its own and
//! loaded; only then it is remembered, by a link that is swapped. Begin at [`GitSource::look`].

mod store;
mod trust;

use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};
use std::time::Duration;

use self::store::Store;
use self::trust::{Follows, Trouble, rewritten, short, unreachable};
use super::source::{Found, Revision, Source, SourceProblem, SourceProblemKind, Wakes};
use crate::host::git::{FETCH, Git, Remote, words};
use crate::host::spawn::Shim;
use crate::host::users::User;
use crate::manifest::{LoadErrors, Loaded, load_commit};
use crate::model::agent::GitOptions;
use crate::model::release::public;
use crate::ports::{HostError, HostErrorKind};

/// How long one command of git may take.
const LIMIT: Duration = Duration::from_mins(5);

/// A remote that does not answer is asked less often, but at least so often, or as often as it is polled.
const LEAST_OFTEN: Duration = Duration::from_mins(5);

/// What the branch led to when it was fetched last.
const FETCHED: &str = "refs/trueup/fetched";

/// The commit in force.
const APPLIED: &str = "refs/trueup/applied";

/// So much history comes with a new commit.
const FIRST: u32 = 50;

/// Then so much for as long as the one in force is not in it.
const DEPTHS: [u32; 2] = [1_000, 20_000];

/// Where people say which repository.
const NAMED_IN: &str = "`--git` and `--branch`, or `spec.source.git` of the agent's configuration";

/// A branch of a git repository with manifests in it.
#[derive(Debug)]
pub struct GitSource {
    shim: Shim,
    options: GitOptions,
    /// All that is kept of it.
    store: Store,
    /// What was found last, and is in force.
    in_force: Option<(Revision, Vec<Loaded>)>,
    /// Why the commit that was found last cannot come into force, where only another commit can.
    kept_out: Option<SourceProblem>,
    /// How often in a row the remote could not be asked.
    failures: u32,
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
        Self { shim, options, store, in_force: None, kept_out: None, failures: 0 }
    }

    fn branch(&self) -> String {
        let branch = &self.options.branch;
        if branch.starts_with("refs/") { branch.clone() } else { format!("refs/heads/{branch}") }
    }

    fn remote(&self) -> Remote<'_> {
        Remote { url: &self.options.url, trusted: true }
    }

    async fn git(&self, lock: Option<std::os::fd::OwnedFd>) -> Result<Git<'_>, HostError> {
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

    async fn find(&mut self) -> Result<Found, SourceProblem> {
        let found = match self.bring().await {
            Ok(Some(revision)) => self.bring_into_force(revision).await.map(|in_force| self.in_force = Some(in_force)),
            Ok(None) => Ok(()),
            Err(problem) => Err(problem),
        };
        match found {
            Ok(()) => self.kept_out = None,
            Err(problem) => {
                // Whether it is signed by an allowed key can change without it.
                let lasting = self.options.allowed_signers.is_none() || problem.kind == SourceProblemKind::Wrong;
                self.kept_out = (lasting && problem.revision.is_some()).then(|| problem.clone());
                return Err(problem);
            }
        }
        self.found()
            .ok_or_else(|| unreachable(HostError::new(HostErrorKind::Other, "nothing of the branch is in force")))
    }

    fn found(&self) -> Option<Found> {
        let (revision, apps) = self.in_force.as_ref()?;
        Some(Found { revision: Some(revision.clone()), apps: apps.clone() })
    }

    /// Brings the branch's last commit, which is trusted, and writes its files; none where it is in force already.
    /// A mirror that is damaged is made anew.
    async fn bring(&self) -> Result<Option<Revision>, SourceProblem> {
        self.check().map_err(unreachable)?;
        let store = self.store.clone();
        let lock = blocking(move || store.prepare()).await.and_then(|made| made).map_err(unreachable)?;
        let git = self.git(Some(lock)).await.map_err(unreachable)?;
        let mut fresh = self.store.is_fresh();
        loop {
            let error = match self.bring_with(&git, fresh).await {
                Err(Trouble::Host(error)) if error.kind == HostErrorKind::Other && !fresh => error,
                ended => return ended.map_err(SourceProblem::from),
            };
            if !git.is_damaged(&error).await.map_err(unreachable)? {
                return Err(unreachable(error));
            }
            tracing::warn!(mirror = %git.mirror.display(), %error, "the mirror is damaged and is fetched anew");
            self.store.renew_mirror().map_err(unreachable)?;
            fresh = true;
        }
    }

    async fn bring_with(&self, git: &Git<'_>, fresh: bool) -> Result<Option<Revision>, Trouble> {
        let tip = self.tip(git).await?;
        if self.in_force.as_ref().is_some_and(|(revision, _)| revision.commit == tip) {
            return Ok(None);
        }
        let kept_out = self.kept_out.as_ref();
        if let Some(problem) = kept_out.filter(|it| it.revision.as_ref().is_some_and(|found| found.commit == tip)) {
            return Err(problem.clone().into());
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
        let tree = self.store.fresh_tree(&commit)?;
        git.check_out(&commit, &tree).await?;
        let store = self.store.clone();
        blocking(move || store.keep_tree(&commit)).await??;
        Ok(Some(revision))
    }

    /// Loads the manifests of a commit whose files are there, and remembers it.
    async fn bring_into_force(&self, revision: Revision) -> Result<(Revision, Vec<Loaded>), SourceProblem> {
        let commit = revision.commit.clone();
        let loaded = self.load(self.store.tree(&commit)).await.map_err(unreachable)?;
        let apps = loaded.map_err(|errors| wrong(revision.clone(), errors))?;
        let store = self.store.clone();
        let chosen = blocking(move || store.choose(&commit)).await.and_then(|chosen| chosen);
        chosen.map_err(unreachable)?;
        self.keep_from_being_tidied(&revision.commit).await;
        Ok((revision, apps))
    }

    /// Refuses what git could take for something else than it is: the command line has not been checked by anybody.
    fn check(&self) -> Result<(), HostError> {
        let refuse = |message: String| {
            Err(HostError::new(HostErrorKind::Misconfigured, message).with_help(format!("correct {NAMED_IN}")))
        };
        if !words::is_url(&self.options.url) {
            return refuse(format!("`{}` is no URL of a git repository", public(&self.options.url)));
        }
        if !words::is_ref(&self.options.branch) {
            return refuse(format!("`{}` is no name of a branch", self.options.branch));
        }
        Ok(())
    }

    /// Asks the remote what the branch leads to.
    async fn tip(&self, git: &Git<'_>) -> Result<String, HostError> {
        let branch = self.branch();
        let output = git.must(Some(self.remote()), &[], &["ls-remote", "source", &branch]).await?;
        let found = words::listed(&output).find(|(_, listed)| *listed == branch).map(|(hash, _)| hash.to_owned());
        found.ok_or_else(|| {
            let shown = public(&self.options.url);
            let message = format!("`{shown}` has no branch `{}`", self.options.branch);
            HostError::new(HostErrorKind::Misconfigured, message).with_help(format!("correct {NAMED_IN}"))
        })
    }

    /// Fetches so much of the branch's history.
    async fn fetch(&self, git: &Git<'_>, depth: u32) -> Result<(), HostError> {
        let (depth, refspec) = (format!("--depth={depth}"), format!("+{}:{FETCHED}", self.branch()));
        let common = ["--no-prune", "--update-shallow", "source", &refspec];
        match git.must(Some(self.remote()), &[], &[&FETCH, &[depth.as_str()][..], &common].concat()).await {
            // Some servers cannot leave the history out.
            Err(error) if error.kind == HostErrorKind::Other => {
                git.must(Some(self.remote()), &[], &[&FETCH[..], &common].concat()).await.map(|_| ())
            }
            ended => ended.map(|_| ()),
        }
    }

    /// Sees whether a commit may come into force.
    async fn judge(&self, git: &Git<'_>, commit: &str) -> Result<Revision, Trouble> {
        let revision = trust::revision(git, commit, self.options.allowed_signers.as_deref()).await?;
        let in_force = self.store.chosen().filter(|in_force| in_force != commit && !self.options.allow_force);
        let Some(before) = in_force else { return Ok(revision) };
        let mut deeper = DEPTHS.iter();
        loop {
            let within = match trust::follows(git, &before, commit).await? {
                Follows::Yes => return Ok(revision),
                Follows::No => None,
                Follows::Perhaps => match deeper.next() {
                    Some(depth) => {
                        self.fetch(git, *depth).await?;
                        continue;
                    }
                    None => DEPTHS.last().copied(),
                },
            };
            return Err(rewritten(revision, &before, within).into());
        }
    }

    async fn load(&self, tree: PathBuf) -> Result<Result<Vec<Loaded>, LoadErrors>, HostError> {
        let inside = self.options.path.as_ref().map(|path| path.as_path().to_owned());
        blocking(move || load_commit(&tree, inside.as_deref())).await
    }

    /// What follows the commit in force can be seen without asking the remote for that one again.
    async fn keep_from_being_tidied(&self, commit: &str) {
        let kept = async {
            let git = self.git(None).await?;
            git.must(None, &[], &["update-ref", APPLIED, commit]).await
        };
        if let Err(error) = kept.await {
            tracing::warn!(commit = short(commit), %error, "the commit in force is not marked in the mirror");
        }
    }

    async fn remember(&self) -> Result<Option<(Revision, Vec<Loaded>)>, SourceProblem> {
        let Some(commit) = self.store.chosen() else { return Ok(None) };
        let git = self.git(None).await.map_err(unreachable)?;
        let revision = trust::revision(&git, &commit, self.options.allowed_signers.as_deref()).await?;
        match self.load(self.store.tree(&commit)).await.map_err(unreachable)? {
            Ok(apps) => Ok(Some((revision, apps))),
            Err(errors) => Err(wrong(revision, errors)),
        }
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

    fn wakes(&self) -> Wakes {
        let poll = pause(self.options.poll, self.failures, RandomState::new().hash_one(self.failures));
        Wakes { paths: Vec::new(), every: Some(poll) }
    }

    fn renew(&mut self, options: &GitOptions) {
        // What was kept out may be let in by other keys, or by force.
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
    let longer = poll.saturating_mul(1 << failures.min(8));
    let pause = longer.min(poll.max(LEAST_OFTEN));
    let thousandths = u32::try_from(900 + chance % 201).unwrap_or(1_000);
    pause / 1_000 * thousandths
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, HostError> {
    let ended = tokio::task::spawn_blocking(work).await;
    ended.map_err(|error| HostError::new(HostErrorKind::Other, format!("a piece of work was lost: {error}")))
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
        for (poll, failures, expected) in rows {
            let at = |chance| pause(seconds(poll), failures, chance);
            assert_eq!(at(100), seconds(expected), "{poll} {failures}");
            assert_eq!(at(0), seconds(expected) * 9 / 10);
            assert_eq!(at(200), seconds(expected) * 11 / 10);
            assert!((0..1_000).map(at).all(|pause| pause >= at(0) && pause <= at(200)));
        }
    }
}
