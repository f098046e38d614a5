//! Tells people what happened: by webhooks, Slack's, and commands.
//!
//! In: [`Telling`]s, handed over without waiting. Out: each to everybody whom it concerns, in order, tried again for a
//! day where they cannot be reached, over a restart as well: until then it is in the [`Outbox`]. One who does not answer
//! holds up nobody else; what does not fit into a queue is dropped, and the log says so. Begin at [`Teller::start`].

use std::collections::VecDeque;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::outbox::Outbox;
use super::post::{NotSent, RETRIES, pauses, post, read};
use crate::decide::telling::Repeats;
use crate::host::command::{Job, Wanted, describe, execute, quote};
use crate::host::hex::hexadecimal;
use crate::host::spawn::Shim;
use crate::host::users::User;
use crate::model::agent::{Address, Notification, Recipient};
use crate::model::app::CommandLine;
use crate::model::telling::{Severity, Telling};
use crate::model::wake::short_commit;

/// So much may wait before it is sorted.
const QUEUE: usize = 256;

/// So much may wait for one recipient.
const WAITING: usize = 64;

/// Then it is tried again so often, …
const OFTEN: Duration = Duration::from_mins(1);

/// … until it is so old that nobody would act on it.
const OLD: SignedDuration = SignedDuration::from_hours(24);

/// Who says so, in events.
const CONTROLLER: &str = "trueup-agent";

/// Takes what is to be told.
#[derive(Debug, Clone)]
pub struct Teller {
    queue: mpsc::Sender<Telling>,
}

/// The tasks behind a [`Teller`].
#[derive(Debug)]
pub struct TellingTasks {
    all: Vec<JoinHandle<()>>,
}

impl Teller {
    /// Starts to tell, first what an earlier agent has left in the outbox. `host` is what this host is called.
    pub fn start(shim: &Shim, host: &str, notifications: Vec<Notification>, outbox: &Outbox) -> (Self, TellingTasks) {
        let mut tasks = Vec::new();
        let mut channels = Vec::new();
        for notification in notifications {
            let (queue, waiting) = mpsc::channel(WAITING);
            let (name, outbox) = (notification.name.clone(), outbox.clone());
            let before = outbox.take_up(&name);
            let sender = Sender { shim: shim.clone(), host: host.to_owned(), name, outbox };
            tasks.push(tokio::spawn(sender.run(notification.to.clone(), before, waiting)));
            channels.push(Channel { notification, queue });
        }
        let (queue, taken) = mpsc::channel(QUEUE);
        tasks.push(tokio::spawn(sort(taken, channels, outbox.clone())));
        (Self { queue }, TellingTasks { all: tasks })
    }

    /// Hands everything over to a test.
    #[cfg(test)]
    pub(super) fn into(queue: mpsc::Sender<Telling>) -> Self {
        Self { queue }
    }

    /// Hands something over to be told. Never waits.
    pub fn tell(&self, telling: Telling) {
        if let Err(error) = self.queue.try_send(telling) {
            tracing::warn!(%error, "something is not told to anybody");
        }
    }
}

impl TellingTasks {
    /// Nothing is left to be told.
    #[must_use]
    pub fn are_finished(&self) -> bool {
        self.all.iter().all(JoinHandle::is_finished)
    }

    /// Waits until all is told that was handed over, once the last [`Teller`] is gone, but no longer than `limit`.
    pub async fn finish(self, limit: Duration) {
        let aborts: Vec<_> = self.all.iter().map(JoinHandle::abort_handle).collect();
        let ended = tokio::time::timeout(limit, async {
            for task in self.all {
                let _ = task.await;
            }
        });
        if ended.await.is_err() {
            tracing::warn!("not everything was told to everybody before the end: the rest is told by the next agent");
            aborts.iter().for_each(tokio::task::AbortHandle::abort);
        }
    }
}

struct Channel {
    notification: Notification,
    queue: mpsc::Sender<Arc<Telling>>,
}

impl Channel {
    fn concerns(&self, telling: &Telling) -> bool {
        let Notification { severity, apps, .. } = &self.notification;
        let of_them = telling.app.as_ref().is_none_or(|app| apps.is_empty() || apps.contains(app));
        telling.news.severity() >= *severity && of_them
    }
}

/// Hands each telling to everybody whom it concerns, and none too often. At the end nothing is kept back: whoever comes
/// next takes it for told.
async fn sort(mut taken: mpsc::Receiver<Telling>, channels: Vec<Channel>, outbox: Outbox) {
    let mut repeats = Repeats::default();
    loop {
        let now = Timestamp::now();
        let pause = repeats.next().map(|at| Duration::try_from(at.duration_since(now)).unwrap_or_default());
        let ready = tokio::select! {
            telling = taken.recv() => match telling {
                Some(telling) => repeats.admit(telling, Timestamp::now()).into_iter().collect(),
                None => return hand_over(repeats.drain(), &channels, &outbox).await,
            },
            () = until(pause) => repeats.due(Timestamp::now()),
        };
        hand_over(ready, &channels, &outbox).await;
    }
}

async fn hand_over(ready: Vec<Telling>, channels: &[Channel], outbox: &Outbox) {
    let mut places = Vec::new();
    for telling in ready.into_iter().map(Arc::new) {
        for channel in channels.iter().filter(|channel| channel.concerns(&telling)) {
            let notification = channel.notification.name.as_str();
            let Ok(place) = channel.queue.try_reserve() else {
                tracing::warn!(notification, news = %telling.news, "too much waits: this is not told");
                continue;
            };
            outbox.add(notification, &telling);
            places.push((place, Arc::clone(&telling)));
        }
    }
    if places.is_empty() {
        return;
    }
    outbox.save().await;
    for (place, telling) in places {
        place.send(telling);
    }
}

async fn until(pause: Option<Duration>) {
    match pause {
        Some(pause) => tokio::time::sleep(pause).await,
        None => std::future::pending().await,
    }
}

/// Tells one recipient.
struct Sender {
    shim: Shim,
    host: String,
    name: String,
    outbox: Outbox,
}

impl Sender {
    async fn run(self, to: Recipient, before: Vec<Arc<Telling>>, mut taken: mpsc::Receiver<Arc<Telling>>) {
        let mut waiting = VecDeque::from(before);
        loop {
            let next = match waiting.pop_front() {
                Some(next) => Some(next),
                None => taken.recv().await,
            };
            let Some(telling) = next else { return };
            let mut tries = tries();
            while let Err(why) = self.send(&to, &telling).await {
                let (why, pause) = match why {
                    NotSent::Yet { why, after } if !is_old(&telling, Timestamp::now()) => {
                        (why, tries.next().map(|(pause, so_far)| (pause.max(after), so_far)))
                    }
                    NotSent::Yet { why, .. } | NotSent::Ever(why) => (why, None),
                };
                let Some((pause, so_far)) = pause else {
                    tracing::warn!(notification = self.name, news = %telling.news, why, "not told");
                    break;
                };
                tracing::debug!(notification = self.name, why, ?pause, "not told yet");
                if so_far == RETRIES {
                    tracing::warn!(notification = self.name, news = %telling.news, why, "not told yet; it is tried again");
                }
                if so_far >= RETRIES && self.takes_others(&to, &mut waiting, &mut taken).await {
                    // Now or never.
                    if let Err(NotSent::Yet { why, .. } | NotSent::Ever(why)) = self.send(&to, &telling).await {
                        tracing::warn!(notification = self.name, news = %telling.news, why, "not told");
                    }
                    break;
                }
                tokio::time::sleep(pause).await;
            }
            self.is_over(&telling).await;
        }
    }

    /// Whether what comes next is taken at once: then what comes first may be refused for what it is.
    async fn takes_others(
        &self,
        to: &Recipient,
        waiting: &mut VecDeque<Arc<Telling>>,
        taken: &mut mpsc::Receiver<Arc<Telling>>,
    ) -> bool {
        if waiting.is_empty() {
            waiting.extend(taken.try_recv().ok());
        }
        let Some(next) = waiting.front() else { return false };
        if self.send(to, next).await.is_err() {
            return false;
        }
        self.is_over(next).await;
        waiting.pop_front();
        true
    }

    /// It was told, or never will be.
    async fn is_over(&self, telling: &Arc<Telling>) {
        self.outbox.remove(&self.name, telling);
        self.outbox.save().await;
    }

    async fn send(&self, to: &Recipient, telling: &Telling) -> Result<(), NotSent> {
        match to {
            Recipient::Webhook { url, secret } => {
                let body = event(&self.host, telling).to_string().into_bytes();
                let mut headers = Vec::new();
                if let Some(secret) = secret {
                    headers.push(("x-signature", signature(&read(secret, "the secret").await?, &body)?));
                }
                post(&self.address(url).await?, &headers, body).await
            }
            Recipient::Slack { url } => {
                post(&self.address(url).await?, &[], slack(&self.host, telling).to_string().into_bytes()).await
            }
            Recipient::Command { command, timeout } => self.command(command, *timeout, telling).await,
        }
    }

    async fn address(&self, url: &Address) -> Result<String, NotSent> {
        match url {
            Address::Plain(url) => Ok(url.clone()),
            Address::Secret(source) => read(source, "the URL").await,
        }
    }

    async fn command(&self, command: &CommandLine, timeout: Duration, telling: &Telling) -> Result<(), NotSent> {
        let said = event(&self.host, telling).to_string();
        let cannot = |what: &str, why: &dyn std::fmt::Display| NotSent::yet(format!("cannot {what}: {why}"));
        let file = tempfile::NamedTempFile::new().and_then(|mut file| file.write_all(said.as_bytes()).map(|()| file));
        let file = file.map_err(|error| cannot("write the event down", &error))?;
        let user = tokio::task::spawn_blocking(User::who_runs).await;
        let user = user.map_err(|error| cannot("look up the user", &error))?;
        let mut line = ["/bin/sh", "-c", "exec <\"$1\" && shift && exec \"$@\"", "sh"].map(str::to_owned).to_vec();
        line.push(file.path().to_string_lossy().into_owned());
        line.extend(command.argv());
        let job = Job {
            command: CommandLine::Arguments(line),
            directory: PathBuf::from("/"),
            user: user.map_err(|error| cannot("look up the user", &error))?,
            environment: std::collections::BTreeMap::new(),
            timeout,
            lock: None,
            output: Wanted::Tail,
        };
        let ended = execute(&self.shim, job).await.map_err(|error| NotSent::yet(error.message))?;
        if ended.status.success() {
            return Ok(());
        }
        Err(NotSent::yet(format!("`{command}` ended with {}{}", describe(ended.status), quote(&ended.output))))
    }
}

/// The pauses between the tries to tell something, and how many came before each: without end.
fn tries() -> impl Iterator<Item = (Duration, usize)> + Send {
    pauses().chain(std::iter::repeat(OFTEN)).zip(0..)
}

/// Nobody would act on it any more.
fn is_old(telling: &Telling, now: Timestamp) -> bool {
    now.duration_since(telling.at) > OLD
}

fn signature(secret: &str, body: &[u8]) -> Result<String, NotSent> {
    let keyed = Hmac::<Sha256>::new_from_slice(secret.as_bytes());
    let mut mac = keyed.map_err(|error| NotSent::Ever(format!("the secret cannot sign: {error}")))?;
    mac.update(body);
    Ok(format!("sha256={}", hexadecimal(&mac.finalize().into_bytes())))
}

/// The event, with the fields of Flux's `eventv1.Event`.
fn event(host: &str, telling: &Telling) -> Value {
    let (kind, name) = telling.app.as_ref().map_or(("Agent", host), |app| ("App", app.as_str()));
    let mut metadata = serde_json::Map::from_iter([("host".to_owned(), Value::from(host))]);
    if let Some(release) = &telling.release {
        metadata.insert("release".to_owned(), release.as_str().into());
    }
    if let Some(revision) = &telling.revision {
        metadata.insert("revision".to_owned(), format!("{}{revision}", prefix(revision)).into());
    }
    let at = Timestamp::from_second(telling.at.as_second()).unwrap_or(telling.at);
    json!({
        "involvedObject": {"apiVersion": "trueup/v1", "kind": kind, "namespace": host, "name": name},
        "severity": telling.news.severity(),
        "timestamp": at.to_string(),
        "message": telling.message,
        "reason": telling.news.to_string(),
        "metadata": metadata,
        "reportingController": CONTROLLER,
        "reportingInstance": host,
    })
}

/// The kind of a commit's hash, as Flux writes revisions.
fn prefix(revision: &str) -> &'static str {
    if revision.len() == 64 { "sha256:" } else { "sha1:" }
}

/// The body that Slack's incoming webhooks take, as Flux fills it.
fn slack(host: &str, telling: &Telling) -> Value {
    let escape = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let colour = if telling.news.severity() == Severity::Error { "danger" } else { "good" };
    let what = telling.app.as_ref().map_or_else(|| host.to_owned(), |app| format!("{host}/{app}"));
    let field = |title: &str, value: &str| json!({"title": title, "value": escape(value), "short": true});
    let release = telling.release.as_ref().map(|release| field("release", release.as_str()));
    let revision = telling.revision.as_ref().map(|revision| field("revision", short_commit(revision)));
    json!({
        "username": "trueup",
        "text": escape(&format!("{}: {what}", telling.news)),
        "attachments": [{
            "color": colour,
            "fallback": escape(&format!("{what}: {}", telling.message)),
            "text": escape(&telling.message),
            "fields": release.into_iter().chain(revision).collect::<Vec<_>>(),
        }],
    })
}

#[cfg(test)]
#[path = "notify_tests.rs"]
mod tests;
