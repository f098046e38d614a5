//! What the remote is asked, and how much of its history is fetched.

use super::store::Store;
use super::trust::{self, Follows, Trouble, rewritten};
use super::{FETCHED, GitSource, NAMED_IN};
use crate::documents::agent::Revision;
use crate::host::git::{FETCH, Git, words};
use crate::model::release::public;
use crate::ports::{HostError, HostErrorKind};

/// So much history comes with a new commit.
pub(super) const FIRST: u32 = 50;

/// Then so much for as long as the one in force is not in it.
const DEPTHS: [u32; 2] = [1_000, 20_000];

impl GitSource {
    /// Asks the remote what the branch leads to.
    pub(super) async fn tip(&self, git: &Git<'_>) -> Result<String, HostError> {
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
    pub(super) async fn fetch(&self, git: &Git<'_>, depth: u32) -> Result<(), HostError> {
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
    pub(super) async fn judge(&self, git: &Git<'_>, commit: &str) -> Result<Revision, Trouble> {
        let revision = trust::revision(git, commit, self.options.allowed_signers.as_deref()).await?;
        let in_force = self.stored(Store::chosen).await?;
        let in_force = in_force.filter(|in_force| in_force != commit && !self.options.allow_force);
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
}
