//! Tells people what happened: by webhooks, Slack's, and commands.
//!
//! In: [`Telling`]s, handed over without waiting. Out: each to everybody whom it concerns, in order, tried again for a
//! day where they cannot be reached, over a restart as well: until then it is in the [`Outbox`], which is the queue.
//! One who does not answer holds up nobody else; what does not fit is dropped, and the log says so. Those who tell can
//! be called off for others to go on where they were. Begin at [`NotificationQueue::start`].

use std::collections::BTreeSet;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::body::{event, signature, slack};
use super::outbox::Outbox;
use super::post::{NotSent, Poster, RETRIES, pauses, read};
use crate::decide::repeats::{Repeats, WINDOW};
use crate::host::blocking;
use crate::host::command::{Job, Wanted, describe, execute, quote};
use crate::host::spawn::Shim;
use crate::host::users::User;
use crate::model::agent::{Address, Notification, Recipient};
use crate::model::app::CommandLine;
use crate::model::names::AppName;
use crate::model::telling::Telling;

/// So much may wait before it is sorted: as much as for one recipient, for many Apps may have something to say at once.
const QUEUE: usize = super::outbox::WAITING;

/// Then it is tried again so often, …
const OFTEN: Duration = Duration::from_mins(1);

/// … until it is so old that nobody would act on it.
const OLD: SignedDuration = SignedDuration::from_hours(24);

/// How long writing down what was told may take where the time to tell is over.
const AT_THE_END: Duration = Duration::from_secs(1);

/// Takes what is to be told.
#[derive(Debug, Clone)]
pub struct NotificationQueue {
    queue: mpsc::Sender<Telling>,
    apart: mpsc::Sender<Apart>,
    names: Arc<[String]>,
}

/// What only some are to be told, by their names: the others know it.
type Apart = (BTreeSet<String>, Telling);

/// The tasks behind a [`NotificationQueue`].
#[derive(Debug)]
pub struct DeliveryTasks {
    all: Vec<JoinHandle<()>>,
    until: watch::Sender<Until>,
    outbox: Outbox,
}

/// How long those go on who tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Until {
    /// There may be more.
    Further,
    /// All is told that waits.
    Empty,
    /// The try in hand is over: others go on.
    Relieved,
}

impl NotificationQueue {
    /// Starts to tell, first what waits in the outbox, there from an earlier agent or from those before. `host` is what
    /// this host is called.
    pub fn start(shim: &Shim, host: &str, notifications: Vec<Notification>, outbox: &Outbox) -> (Self, DeliveryTasks) {
        let names: Arc<[String]> = notifications.iter().map(|notification| notification.name.clone()).collect();
        outbox.is_for(&notifications.iter().map(|notification| notification.name.as_str()).collect::<Vec<_>>());
        let (until, _) = watch::channel(Until::Further);
        let mut tasks = Vec::new();
        for Notification { name, to, .. } in &notifications {
            let (shim, host, name, outbox) = (shim.clone(), host.to_owned(), name.clone(), outbox.clone());
            let sender = Sender { shim, host, name, outbox, until: until.subscribe(), poster: Poster::default() };
            tasks.push(tokio::spawn(sender.run(to.clone())));
        }
        let (queue, taken) = mpsc::channel(QUEUE);
        let (apart, taken_apart) = mpsc::channel(QUEUE);
        let sorter = Sorter { notifications, outbox: outbox.clone(), until: until.clone() };
        tasks.push(tokio::spawn(sorter.run(taken, taken_apart)));
        (Self { queue, apart, names }, DeliveryTasks { all: tasks, until, outbox: outbox.clone() })
    }

    /// Hands everything over to a test.
    #[cfg(test)]
    pub(super) fn into(queue: mpsc::Sender<Telling>) -> Self {
        Self::into_both(queue, mpsc::channel(1).0, &[])
    }

    /// The same, with what only some of these are told.
    #[cfg(test)]
    pub(super) fn into_both(queue: mpsc::Sender<Telling>, apart: mpsc::Sender<Apart>, names: &[&str]) -> Self {
        Self { queue, apart, names: names.iter().map(|name| (*name).to_owned()).collect() }
    }

    /// Who is told.
    pub(super) fn names(&self) -> impl Iterator<Item = &String> {
        self.names.iter()
    }

    /// Hands something over to be told. Never waits.
    pub fn tell(&self, telling: Telling) {
        if let Err(error) = self.queue.try_send(telling) {
            let why = error.to_string();
            dropped(&error.into_inner(), &why, None);
        }
    }

    /// The same for some of them only, as often as it comes.
    pub(super) fn tell_only(&self, names: &BTreeSet<String>, telling: Telling) {
        if let Err(error) = self.apart.try_send((names.clone(), telling)) {
            let why = error.to_string();
            let (names, telling) = error.into_inner();
            dropped(&telling, &why, Some(&names));
        }
    }
}

/// Logs what nobody hears of, or, with names, what only these do not hear of.
fn dropped(telling: &Telling, why: &str, names: Option<&BTreeSet<String>>) {
    let app = telling.app.as_ref().map(AppName::as_str);
    let only = names.map(|names| names.iter().map(String::as_str).collect::<Vec<_>>().join(" "));
    tracing::warn!(app, news = %telling.news, only, why, "the queue takes no more: this notification is dropped");
}

impl DeliveryTasks {
    /// Nothing is left to be told.
    #[must_use]
    pub fn are_finished(&self) -> bool {
        self.all.iter().all(JoinHandle::is_finished)
    }

    /// Others tell from now on: each try in hand ends, and what is not told then is left to them.
    pub fn relieve(&self) {
        self.until.send_replace(Until::Relieved);
    }

    /// Waits until all is told that was handed over, once the last [`NotificationQueue`] is gone, but no longer than `limit`.
    pub async fn finish(self, limit: Duration) {
        let aborts: Vec<_> = self.all.iter().map(JoinHandle::abort_handle).collect();
        let ended = tokio::time::timeout(limit, async {
            for task in self.all {
                let _ = task.await;
            }
        });
        if ended.await.is_err() {
            tracing::warn!("not every message was delivered before the end: the next agent delivers the rest");
            aborts.iter().for_each(tokio::task::AbortHandle::abort);
            // What was told of it is not told again, unless the disk takes too long as well.
            let _ = tokio::time::timeout(AT_THE_END, self.outbox.save()).await;
        }
    }
}

/// Whether somebody wants to be told this.
fn concerns(notification: &Notification, telling: &Telling) -> bool {
    let Notification { severity, apps, .. } = notification;
    let of_them = telling.app.as_ref().is_none_or(|app| apps.is_empty() || apps.contains(app));
    telling.news.severity() >= *severity && of_them
}

/// Hands each telling to everybody whom it concerns, and none too often.
struct Sorter {
    notifications: Vec<Notification>,
    outbox: Outbox,
    until: watch::Sender<Until>,
}

impl Sorter {
    /// At the end nothing is kept back: whoever comes next takes it for told.
    async fn run(self, mut taken: mpsc::Receiver<Telling>, mut apart: mpsc::Receiver<Apart>) {
        // What waits for somebody who is gone is not told any more.
        self.outbox.save().await;
        let mut repeats = Repeats::default();
        loop {
            let now = Timestamp::now();
            // No longer than anything is kept back: a clock that is set back meanwhile would make it longer.
            let left = |at: Timestamp| Duration::try_from(at.duration_since(now).min(WINDOW)).unwrap_or_default();
            let pause = repeats.next().map(left);
            // What has come together is written down together.
            let mut together = Vec::new();
            let (ready, over) = tokio::select! {
                count = taken.recv_many(&mut together, QUEUE) => {
                    let now = Timestamp::now();
                    let mut ready: Vec<Telling> =
                        together.into_iter().filter_map(|telling| repeats.admit(telling, now)).collect();
                    if count == 0 {
                        ready.extend(repeats.drain());
                    }
                    (ready, count == 0)
                }
                () = until(pause) => (repeats.due(Timestamp::now()), false),
                Some(one) = apart.recv() => {
                    self.hand_over_apart(one);
                    (Vec::new(), false)
                }
            };
            while let Ok(one) = apart.try_recv() {
                self.hand_over_apart(one);
            }
            for telling in ready {
                self.hand_over(telling, |_| true);
            }
            self.outbox.save().await;
            if over {
                break;
            }
        }
        let go_on = |until: &mut Until| std::mem::replace(until, (*until).max(Until::Empty)) == Until::Further;
        self.until.send_if_modified(go_on);
    }

    fn hand_over_apart(&self, (names, telling): Apart) {
        self.hand_over(telling, |name| names.contains(name));
    }

    fn hand_over(&self, telling: Telling, is_told: impl Fn(&String) -> bool) {
        let telling = Arc::new(telling);
        for notification in &self.notifications {
            if concerns(notification, &telling) && is_told(&notification.name) {
                self.outbox.add(&notification.name, &telling);
            }
        }
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
    until: watch::Receiver<Until>,
    poster: Poster,
}

impl Sender {
    async fn run(mut self, to: Recipient) {
        let (outbox, name) = (self.outbox.clone(), self.name.clone());
        // Who told before may have a try in hand.
        let turn = tokio::select! {
            () = self.relieved() => return,
            turn = outbox.turn(&name) => turn,
        };
        let Some((_turn, news)) = turn else { return };
        loop {
            // Before it is looked for: what comes afterwards has been added by then.
            let until = *self.until.borrow_and_update();
            match self.outbox.next(&self.name, 0).filter(|_| until != Until::Relieved) {
                Some(telling) => {
                    if self.tell(&to, &telling).await {
                        self.is_over(&telling).await;
                    }
                }
                None if until == Until::Further => tokio::select! {
                    () = news.notified() => {}
                    changed = self.until.changed() => if changed.is_err() {
                        return;
                    },
                },
                None => break,
            }
        }
        // Who goes on with the rest, in this agent or the next one, begins after what was told.
        self.outbox.save().await;
    }

    /// Tries to tell it until that makes no sense any more; false if others are to do it.
    async fn tell(&mut self, to: &Recipient, telling: &Arc<Telling>) -> bool {
        let mut tries = tries();
        while let Err(why) = self.send(to, telling).await {
            // Perhaps that is why somebody else is told instead.
            if *self.until.borrow() == Until::Relieved {
                return false;
            }
            let (why, pause) = match why {
                NotSent::Yet { why, after } if !is_old(telling, Timestamp::now()) => {
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
            if so_far >= RETRIES && self.takes_others(to).await {
                // Now or never.
                if let Err(NotSent::Yet { why, .. } | NotSent::Ever(why)) = self.send(to, telling).await {
                    tracing::warn!(notification = self.name, news = %telling.news, why, "not told");
                }
                break;
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.relieved() => return false,
            }
        }
        true
    }

    /// Waits until others are to tell.
    async fn relieved(&mut self) {
        if self.until.wait_for(|until| *until == Until::Relieved).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Whether what comes next is taken at once: then what comes first may be refused for what it is.
    async fn takes_others(&self, to: &Recipient) -> bool {
        let Some(next) = self.outbox.next(&self.name, 1) else { return false };
        if self.send(to, &next).await.is_err() {
            return false;
        }
        self.is_over(&next).await;
        true
    }

    /// It was told, or never will be.
    async fn is_over(&self, telling: &Arc<Telling>) {
        self.outbox.is_over(&self.name, telling).await;
    }

    async fn send(&self, to: &Recipient, telling: &Telling) -> Result<(), NotSent> {
        match to {
            Recipient::Webhook { url, secret } => {
                let body = event(&self.host, telling).to_string().into_bytes();
                let mut headers = Vec::new();
                if let Some(secret) = secret {
                    headers.push(("x-signature", signature(&read(secret, "the secret").await?, &body)?));
                }
                self.poster.post(&self.address(url).await?, &headers, body).await
            }
            Recipient::Slack { url } => {
                let body = slack(&self.host, telling).to_string().into_bytes();
                self.poster.post(&self.address(url).await?, &[], body).await
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
        let prepared = blocking(move || {
            let file = tempfile::NamedTempFile::new();
            (file.and_then(|mut file| file.write_all(said.as_bytes()).map(|()| file)), User::who_runs())
        });
        let (file, user) = prepared.await.map_err(|error| NotSent::yet(error.message))?;
        let file = file.map_err(|error| cannot("write the event down", &error))?;
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

#[cfg(test)]
#[path = "notify_tests.rs"]
mod tests;
