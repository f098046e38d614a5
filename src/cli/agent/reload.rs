//! SIGHUP: the agent's own configuration is read again, then the manifests.
//!
//! What can change while the agent runs comes into force; what cannot is said. A configuration that cannot be used
//! changes nothing, and is told with its file and line.

use tokio::signal::unix::Signal;
use tokio::sync::{oneshot, watch};
use tracing::{info, warn};

use super::super::Failure;
use super::super::options::agent::Agent as Options;
use super::super::render::problem::Complaint;
use super::place::{Place, configuration, place};
use crate::agent::orders::{Order, Orders};
use crate::agent::outbox::Outbox;
use crate::agent::publisher::Publisher;
use crate::agent::reconfiguration::Reconfiguration;
use crate::agent::setup::{self, PublisherTasks};
use crate::agent::web::Webhooks;
use crate::documents::agent::Configuration;
use crate::model::agent::{AgentConfig, GitOptions};

/// Reads the configuration again, as often as it is asked to.
pub(super) struct Reloader<'a> {
    /// What the command line says, which goes before.
    pub(super) options: &'a Options,
    /// What is in force.
    pub(super) config: AgentConfig,
    /// Where manifests have come from since the agent began, and how a branch is followed now.
    pub(super) place: Place,
    /// What the senders of webhooks prove themselves with.
    pub(super) webhooks: watch::Sender<Webhooks>,
    /// The way to the loop.
    pub(super) orders: Orders,
    /// What goes on behind those who tell others, and told them before.
    pub(super) behind: Vec<PublisherTasks>,
    /// What is not told yet, by them and those after them.
    pub(super) outbox: Outbox,
}

impl Reloader<'_> {
    /// Reads it at each of these signals, until the agent has ended; returns what is still to be waited for.
    pub(super) async fn run(mut self, mut hangups: Signal, mut ended: oneshot::Receiver<()>) -> Vec<PublisherTasks> {
        loop {
            tokio::select! {
                biased;
                _ = &mut ended => return self.behind,
                heard = hangups.recv() => if heard.is_none() {
                    let _ = ended.await;
                    return self.behind;
                },
            }
            let reconfiguration = self.reconfiguration().await;
            if self.orders.send(Order::Reload(Box::new(reconfiguration))).await.is_err() {
                return self.behind;
            }
        }
    }

    async fn reconfiguration(&mut self) -> Reconfiguration {
        match self.read().await {
            Ok(read) => self.take_over(read),
            Err(failure) => {
                let problem = words(failure);
                warn!(problem, "the agent's own configuration cannot be used; what was in force stays");
                let standing = Configuration { problem: Some(problem), needs_restart: Vec::new() };
                Reconfiguration { standing, ..Reconfiguration::default() }
            }
        }
    }

    /// The configuration, where it would have manifests come from, and the secrets that it names.
    async fn read(&self) -> Result<(AgentConfig, Place, Webhooks), Failure> {
        let path = self.options.config.clone();
        let config = blocking(move || configuration(path.as_deref())).await??;
        let place = place(self.options, &config)?;
        let (secrets, watched) = (config.webhooks.clone(), self.place.watched());
        let webhooks = blocking(move || setup::webhooks(&secrets, watched)).await??;
        let tells = config.clone();
        blocking(move || setup::tokens(&tells)).await??;
        Ok((config, place, webhooks))
    }

    fn take_over(&mut self, (config, place, webhooks): (AgentConfig, Place, Webhooks)) -> Reconfiguration {
        self.webhooks.send_replace(webhooks);
        let more = [
            ("metadata.name", config.name != self.config.name),
            ("spec.listen", self.options.listen.is_none() && config.listen != self.config.listen),
        ];
        let needs_restart = needs_restart(&self.place, &place, more);
        // What the agent began with stays so for all that asks for it, and is compared with, however often it is read.
        let config = AgentConfig { name: self.config.name.clone(), listen: self.config.listen, ..config };
        let publisher = self.publisher(&config);
        let git = followed(&self.place, &place);
        self.config = config;
        if let Some(git) = &git {
            self.place = Place::Git(git.clone());
        }
        if needs_restart.is_empty() {
            info!("the agent's own configuration is in force");
        } else {
            warn!(needs_restart = needs_restart.join(", "), "what else the agent's own configuration says is in force");
        }
        Reconfiguration { publisher, git, standing: Configuration { problem: None, needs_restart } }
    }

    /// Those who tell others, where that has changed. They go on where those are who told before.
    fn publisher(&mut self, config: &AgentConfig) -> Option<Publisher> {
        let told =
            |config: &AgentConfig| (config.name.clone(), config.notifications.clone(), config.commit_status.clone());
        if told(config) == told(&self.config) {
            return None;
        }
        let (publisher, behind) = setup::publisher(config, &self.outbox, &self.behind);
        self.behind.retain(|earlier| !earlier.is_over());
        self.behind.push(behind);
        Some(publisher)
    }
}

/// What of this only a restart brings into force: of where manifests come from, and `more`.
fn needs_restart(was: &Place, is: &Place, more: [(&'static str, bool); 2]) -> Vec<String> {
    let differs = match (was, is) {
        (Place::Git(was), Place::Git(is)) => {
            // As long as another repository is asked, how the one that is meant should be is in force nowhere.
            let other = !same_branch(was, is);
            vec![
                ("spec.source.git.url", was.url != is.url),
                ("spec.source.git.branch", was.branch != is.branch),
                ("spec.source.git.path", was.path != is.path),
                ("spec.source.git.poll", other && was.poll != is.poll),
                ("spec.source.git.allowForce", other && was.allow_force != is.allow_force),
                ("spec.source.git.verifySignatures", other && was.allowed_signers != is.allowed_signers),
            ]
        }
        (Place::Paths(was), Place::Paths(is)) => vec![("spec.source", was != is)],
        (Place::Git(_), Place::Paths(_)) | (Place::Paths(_), Place::Git(_)) => vec![("spec.source", true)],
    };
    let all = differs.into_iter().chain(more);
    all.filter(|(_, differs)| *differs).map(|(name, _)| name.to_owned()).collect()
}

/// How the branch is followed from now on.
fn followed(was: &Place, is: &Place) -> Option<GitOptions> {
    let (Place::Git(was), Place::Git(is)) = (was, is) else { return None };
    // Of another repository the rest means nothing.
    same_branch(was, is).then(|| GitOptions { path: was.path.clone(), ..is.clone() })
}

fn same_branch(was: &GitOptions, is: &GitOptions) -> bool {
    (&was.url, &was.branch) == (&is.url, &is.branch)
}

/// What is wrong, in one piece.
pub(in crate::cli) fn words(failure: Failure) -> String {
    let Complaint { message, causes, help } = match failure.complaint("agent") {
        Ok(complaint) => complaint,
        Err(mistakes) => return mistakes.to_string(),
    };
    let what: Vec<String> = std::iter::once(message).chain(causes).collect();
    let help = help.map(|help| format!("; {help}")).unwrap_or_default();
    what.join(": ") + &help
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Failure> {
    let ended = tokio::task::spawn_blocking(work).await;
    ended.map_err(|error| Complaint::new(format!("it was not read to its end: {error}"))).map_err(Failure::Complaint)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::agent::POLL;
    use crate::model::names::RelativePath;

    #[test]
    fn what_cannot_change_is_named_and_the_rest_is_in_force() {
        let git = |url: &str, branch: &str, path: Option<&str>, poll: Duration| {
            let path = path.map(|path| RelativePath::new(path).unwrap());
            let (url, branch) = (url.to_owned(), branch.to_owned());
            Place::Git(GitOptions { url, branch, path, poll, allow_force: false, allowed_signers: None })
        };
        let (dir, other) = (Place::Paths(vec!["/m".into()]), Place::Paths(vec!["/n".into()]));
        let (repo, quick) = (git("/r", "main", None, POLL), Duration::from_secs(5));
        let (all, signed) = ("spec.source.git.", |place: Place| match place {
            Place::Git(git) => Place::Git(GitOptions { allowed_signers: Some("/s".into()), allow_force: true, ..git }),
            paths @ Place::Paths(_) => paths,
        });
        let strict = ["url", "poll", "allowForce", "verifySignatures"].map(|key| format!("{all}{key}"));
        let strict = strict.each_ref().map(String::as_str);
        let rows = [
            (&repo, repo.clone(), false, &[][..], Some(POLL)),
            (&repo, signed(git("/s", "main", None, quick)), false, &strict, None),
            (&repo, signed(repo.clone()), false, &[], Some(POLL)),
            (&repo, git("/r", "main", None, quick), false, &[], Some(quick)),
            (&repo, git("/r", "main", Some("x"), quick), true, &["spec.source.git.path", "spec.listen"], Some(quick)),
            (&repo, git("/r", "next", None, quick), false, &["spec.source.git.branch", "spec.source.git.poll"], None),
            (&repo, git("/s", "main", None, POLL), false, &["spec.source.git.url"], None),
            (&repo, dir.clone(), false, &["spec.source"], None),
            (&dir, other, false, &["spec.source"], None),
            (&dir, dir.clone(), true, &["spec.listen"], None),
        ];
        for (was, is, listens_elsewhere, restart, poll) in rows {
            let more = [("metadata.name", false), ("spec.listen", listens_elsewhere)];
            assert_eq!(needs_restart(was, &is, more), restart, "{is:?}");
            let followed = followed(was, &is);
            assert_eq!(followed.as_ref().map(|git| git.poll), poll, "{is:?}");
            assert_eq!(followed.and_then(|git| git.path), None, "the path that it began with");
        }
    }
}
