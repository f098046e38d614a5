//! What the agent's own configuration asks for, made: secrets read, and those started who tell others.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use secrecy::SecretString;
use tokio::task::JoinHandle;

use super::forge::StatusPoster;
use super::notify::{DeliveryTasks, NotificationQueue};
use super::outbox::Outbox;
use super::publisher::Publisher;
use super::web::{Watched, Webhooks};
use crate::host::machine::hostname;
use crate::host::secret;
use crate::host::spawn::Shim;
use crate::model::agent::{self as model, Address, AgentConfig, Recipient};
use crate::model::app::SecretSource;
use crate::ports::HostError;

/// How long what is still to be told may take at the end.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// What goes on behind a [`Publisher`].
#[derive(Debug)]
pub struct PublisherTasks {
    deliveries: DeliveryTasks,
    poster: Option<JoinHandle<()>>,
}

/// Starts those who tell others what the loop does, first of all what the outbox has, and relieves those `before` them
/// who told it. Must be called within a runtime.
pub fn publisher(config: &AgentConfig, outbox: &Outbox, before: &[PublisherTasks]) -> (Publisher, PublisherTasks) {
    let host = config.name.clone().unwrap_or_else(hostname);
    for one in before {
        one.deliveries.relieve();
    }
    // With nobody to be told, too, it is said and written down what was to be told to somebody.
    let (teller, tasks) = NotificationQueue::start(&Shim::own(), &host, config.notifications.clone(), outbox);
    let told = (!config.notifications.is_empty()).then_some(teller);
    let posted = config.commit_status.clone().map(|status| StatusPoster::start(status, &host)).unzip();
    (Publisher::new(told, posted.0), PublisherTasks { deliveries: tasks, poster: posted.1 })
}

impl PublisherTasks {
    /// Nothing is left to be told.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.poster.as_ref().is_none_or(JoinHandle::is_finished) && self.deliveries.are_finished()
    }

    /// Waits a moment for the last words, once the publisher is gone.
    pub async fn finish(self) {
        let poster = async {
            if let Some(task) = self.poster
                && tokio::time::timeout(LAST_WORDS, task).await.is_err()
            {
                tracing::warn!("not every commit status was posted before the end");
            }
        };
        tokio::join!(poster, self.deliveries.finish(LAST_WORDS));
    }
}

/// Reads what the senders of webhooks prove themselves with. Blocks.
///
/// # Errors
/// A secret that is named is not there.
pub fn webhooks(config: &model::Webhooks, watched: Watched) -> Result<Webhooks, HostError> {
    let read = |source: &Option<SecretSource>, what| {
        source.as_ref().map(|source| secret::read(source, what).map(SecretString::from)).transpose()
    };
    Ok(Webhooks {
        gitlab: read(&config.gitlab, "webhooks.gitlab.secret")?,
        github: read(&config.github, "webhooks.github.secret")?,
        gitea: read(&config.gitea, "webhooks.gitea.secret")?,
        watched,
    })
}

/// Tries the secrets that those need who tell others, each of which is read again when it is used. Blocks.
///
/// # Errors
/// One of them is not there.
pub fn tokens(config: &AgentConfig) -> Result<(), HostError> {
    let notifications = config.notifications.iter().flat_map(|notification| {
        let (url, secret) = match &notification.to {
            Recipient::Webhook { url, secret } => (Some(url), secret.as_ref()),
            Recipient::Slack { url } => (Some(url), None),
            Recipient::Command { .. } => (None, None),
        };
        let url = url.and_then(|url| match url {
            Address::Plain(_) => None,
            Address::Secret(source) => Some(("url", source)),
        });
        let of = |(what, source)| (format!("notifications.{}.{what}", notification.name), source);
        url.into_iter().chain(secret.map(|source| ("secret", source))).map(of)
    });
    let status = config.commit_status.iter().map(|status| ("commitStatus.token".to_owned(), &status.token));
    notifications.chain(status).try_for_each(|(what, source)| secret::read(source, &what).map(drop))
}

/// Spreads what many hosts do at once: another number for each of them, always the same for one. Clones of a machine
/// have one id, and hosts of several networks may have one name; both at once is another matter.
#[must_use]
pub fn seed(names: &[String]) -> u64 {
    let mut seed = DefaultHasher::new();
    std::fs::read_to_string("/etc/machine-id").unwrap_or_default().hash(&mut seed);
    names.hash(&mut seed);
    seed.finish()
}
