//! News that somebody has not taken yet, in the agent's own directory: it is told, whatever becomes of the agent.
//!
//! `STATE/outbox.json` has, for each recipient, what was handed over and is not told, in order. It is written once
//! something is handed over, and once nothing is left; while much is told one after the other, each second. Whoever is
//! told twice was told by an agent that was killed in between. Those who tell take it from here, one for each recipient
//! at a time: who follows them, in this agent or the next one, begins with what they have not told.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, OwnedMutexGuard};
use tracing::warn;

use super::state::{check_version, replace};
use crate::model::telling::Telling;

const NAME: &str = "outbox.json";
/// Of the format.
const VERSION: u32 = 1;

/// So much may wait for one recipient: what some hundred Apps have to say when all of them fail, several times over.
pub(super) const WAITING: usize = 4_096;

/// While there is more to tell, what was told is written down so often: each time the whole file is.
const OFTEN: Duration = Duration::from_secs(1);

/// What is not told yet, by the names of the recipients.
type Waiting = BTreeMap<String, VecDeque<Arc<Telling>>>;

/// News that somebody has not taken yet. A clone is the same outbox.
#[derive(Debug, Clone, Default)]
pub struct Outbox(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// None: nothing is written down.
    directory: Option<PathBuf>,
    /// What an earlier agent has not told, until it is known who is told now.
    before: Mutex<Waiting>,
    recipients: Mutex<BTreeMap<String, Waits>>,
    /// How often that has changed.
    changes: AtomicU64,
    /// Held while the file is written: what was written last is what is there. After how many changes that was.
    writing: tokio::sync::Mutex<u64>,
    /// It will be written within [`OFTEN`].
    due: AtomicBool,
}

/// What waits for one recipient.
#[derive(Debug, Default)]
struct Waits {
    all: VecDeque<Arc<Telling>>,
    /// So much was not taken in since it last had room.
    dropped: usize,
    /// There is something new.
    news: Arc<Notify>,
    /// Held by the one who tells.
    telling: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Serialize)]
struct ToWrite<'a> {
    version: u32,
    waiting: BTreeMap<&'a str, Vec<&'a Telling>>,
}

#[derive(Deserialize)]
struct Written {
    version: u32,
    waiting: BTreeMap<String, Vec<Telling>>,
}

impl Outbox {
    /// Writes nothing down.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// What an earlier agent has left in its state directory; nothing where that makes no sense. Blocks.
    #[must_use]
    pub fn open(state: &Path) -> Self {
        let path = state.join(NAME);
        let before = match std::fs::read(&path) {
            Ok(text) => read(&text),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Waiting::new()),
            Err(error) => Err(error.to_string()),
        };
        let before = before.unwrap_or_else(|why| {
            warn!(file = %path.display(), why, "messages that are still to be delivered cannot be read: they are not delivered");
            Waiting::new()
        });
        Self(Arc::new(Inner { directory: Some(state.to_owned()), before: Mutex::new(before), ..Inner::default() }))
    }

    /// These are told from now on, first what waits for their names; what waits for others is told to nobody.
    /// [`Outbox::save`] must follow.
    pub(super) fn is_for(&self, names: &[&str]) {
        let mut recipients = lock(&self.0.recipients);
        for (name, before) in std::mem::take(&mut *lock(&self.0.before)) {
            recipients.entry(name).or_default().all.extend(before);
        }
        for name in names {
            recipients.entry((*name).to_owned()).or_default();
        }
        let mut lost = false;
        recipients.retain(|name, waits| {
            let stays = names.contains(&name.as_str());
            if !stays && !waits.all.is_empty() {
                let count = waits.all.len();
                warn!(notification = name, count, "nobody is called so any more: what waited is not told");
                lost = true;
            }
            stays
        });
        drop(recipients);
        if lost {
            self.changed();
        }
    }

    /// A recipient is to be told this; false where that is nobody any more, or too much waits. [`Outbox::save`] must
    /// follow.
    pub(super) fn add(&self, name: &str, telling: &Arc<Telling>) -> bool {
        let mut recipients = lock(&self.0.recipients);
        let Some(waits) = recipients.get_mut(name) else {
            warn!(notification = name, news = %telling.news, "nobody is called so any more: this is not told");
            return false;
        };
        if waits.all.len() >= WAITING {
            if waits.dropped == 0 {
                warn!(notification = name, news = %telling.news, "too much waits: this is not told, nor what follows");
            }
            waits.dropped += 1;
            return false;
        }
        if waits.dropped > 0 {
            let count = std::mem::take(&mut waits.dropped);
            warn!(notification = name, count, "too much waited: so much was not told");
        }
        waits.all.push_back(Arc::clone(telling));
        waits.news.notify_one();
        drop(recipients);
        self.changed();
        true
    }

    /// What a recipient is to be told at this place in the order.
    pub(super) fn next(&self, name: &str, place: usize) -> Option<Arc<Telling>> {
        lock(&self.0.recipients).get(name).and_then(|waits| waits.all.get(place).cloned())
    }

    /// A recipient was told this, or never will be. It is written down within a second, and at once where nothing more
    /// waits; at the end of all, [`Outbox::save`] must follow.
    pub(super) async fn is_over(&self, name: &str, telling: &Arc<Telling>) {
        if self.remove(name, telling) {
            self.save().await;
        } else if self.0.directory.is_some() && !self.0.due.swap(true, Ordering::SeqCst) {
            let outbox = self.clone();
            tokio::spawn(async move {
                tokio::time::sleep(OFTEN).await;
                outbox.0.due.store(false, Ordering::SeqCst);
                outbox.save().await;
            });
        }
    }

    /// Whether nothing is left for the recipient.
    fn remove(&self, name: &str, telling: &Arc<Telling>) -> bool {
        let nothing_left = lock(&self.0.recipients).get_mut(name).is_none_or(|waits| {
            // The first one, nearly always.
            if let Some(at) = waits.all.iter().position(|one| Arc::ptr_eq(one, telling)) {
                waits.all.remove(at);
            }
            waits.all.is_empty()
        });
        self.changed();
        nothing_left
    }

    /// Waits until a recipient is told by nobody else; none where it is nobody any more.
    pub(super) async fn turn(&self, name: &str) -> Option<(OwnedMutexGuard<()>, Arc<Notify>)> {
        let (telling, news) = {
            let recipients = lock(&self.0.recipients);
            let waits = recipients.get(name)?;
            (Arc::clone(&waits.telling), Arc::clone(&waits.news))
        };
        Some((telling.lock_owned().await, news))
    }

    fn changed(&self) {
        self.0.changes.fetch_add(1, Ordering::SeqCst);
    }

    /// Writes down what waits; once for all who wish it at the same time.
    pub(super) async fn save(&self) {
        let Some(directory) = self.0.directory.clone() else { return };
        let wanted = self.0.changes.load(Ordering::SeqCst);
        let mut written_after = self.0.writing.lock().await;
        if *written_after >= wanted {
            return;
        }
        let changes = self.0.changes.load(Ordering::SeqCst);
        let all: Waiting = lock(&self.0.recipients)
            .iter()
            .filter(|(_, waits)| !waits.all.is_empty())
            .map(|(name, waits)| (name.clone(), waits.all.clone()))
            .collect();
        let wrote = tokio::task::spawn_blocking(move || {
            let waiting =
                all.iter().map(|(name, all)| (name.as_str(), all.iter().map(|one| &**one).collect())).collect();
            let text = serde_json::to_vec(&ToWrite { version: VERSION, waiting }).map_err(io::Error::other)?;
            replace(&directory, NAME, &text)
        });
        match wrote.await.unwrap_or_else(|error| Err(io::Error::other(error))) {
            Ok(()) => *written_after = changes,
            Err(error) => {
                warn!(%error, "what is still to be told is not written down: it is told as long as the agent runs");
            }
        }
    }
}

fn read(text: &[u8]) -> Result<Waiting, String> {
    let written: Written = serde_json::from_slice(text).map_err(|error| format!("it makes no sense: {error}"))?;
    check_version(written.version, VERSION)?;
    let all = written.waiting.into_iter();
    Ok(all.map(|(name, tellings)| (name, tellings.into_iter().map(Arc::new).collect())).collect())
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use jiff::Timestamp;

    use super::*;
    use crate::model::names::{AppName, ReleaseId};
    use crate::model::telling::News;

    fn telling(message: &str) -> Arc<Telling> {
        Arc::new(Telling {
            app: AppName::new("shop").ok(),
            news: News::Unhealthy,
            message: message.to_owned(),
            release: ReleaseId::new("r1").ok(),
            revision: None,
            at: Timestamp::UNIX_EPOCH,
        })
    }

    /// All that waits for a recipient.
    fn waiting(outbox: &Outbox, name: &str) -> Vec<Arc<Telling>> {
        (0..).map_while(|place| outbox.next(name, place)).collect()
    }

    fn open(room: &Path, names: &[&str]) -> Outbox {
        let outbox = Outbox::open(room);
        outbox.is_for(names);
        outbox
    }

    #[tokio::test]
    async fn what_is_not_told_is_known_again_and_what_makes_no_sense_is_nothing() {
        let room = tempfile::tempdir().unwrap();
        let file = room.path().join(NAME);
        let both = ["chat", "pager"];
        let outbox = open(room.path(), &both);
        assert!(waiting(&outbox, "chat").is_empty());
        let [one, two, three] = ["one", "two", "three"].map(telling);
        for (name, one) in [("chat", &one), ("chat", &two), ("pager", &two), ("chat", &three)] {
            assert!(outbox.add(name, one));
        }
        assert!(!outbox.add("nobody", &one));
        outbox.is_over("chat", &two).await;
        outbox.save().await;
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        // Known and not told: it still waits.
        for _ in 0..2 {
            let outbox = open(room.path(), &both);
            assert_eq!(waiting(&outbox, "chat"), [one.clone(), three.clone()]);
            assert_eq!(waiting(&outbox, "pager"), std::slice::from_ref(&two));
            // Others are told, and the same again.
            outbox.is_for(&["pager", "chat", "new"]);
            assert_eq!(waiting(&outbox, "chat"), [one.clone(), three.clone()]);
            outbox.save().await;
        }
        let outbox = open(room.path(), &both);
        for one in waiting(&outbox, "chat") {
            outbox.is_over("chat", &one).await;
        }
        outbox.is_for(&["chat"]);
        outbox.save().await;
        assert_eq!(
            std::fs::read_to_string(&file).unwrap(),
            r#"{"version":1,"waiting":{}}"#,
            "who is not told any more"
        );
        for text in ["", "{", r#"{"version":7,"waiting":{}}"#] {
            std::fs::write(&file, text).unwrap();
            assert!(waiting(&open(room.path(), &both), "chat").is_empty(), "{text}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_told_one_after_the_other_is_written_down_each_second_and_at_the_end() {
        let room = tempfile::tempdir().unwrap();
        let outbox = open(room.path(), &["chat"]);
        let all: Vec<_> = (0..100).map(|number| telling(&number.to_string())).collect();
        assert!(all.iter().all(|one| outbox.add("chat", one)));
        outbox.save().await;
        let left = || waiting(&open(room.path(), &["chat"]), "chat").len();
        for one in &all[..50] {
            outbox.is_over("chat", one).await;
        }
        assert_eq!(left(), 100, "not each by itself");
        let began = tokio::time::Instant::now();
        while left() > 50 {
            assert!(began.elapsed() < Duration::from_mins(1));
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert!(began.elapsed() + Duration::from_millis(100) >= OFTEN);
        for (number, one) in all[50..].iter().rev().enumerate() {
            assert_eq!(waiting(&outbox, "chat").len(), 50 - number, "in any order");
            outbox.is_over("chat", one).await;
        }
        assert_eq!(left(), 0, "at once");
    }

    #[test]
    fn what_is_told_to_nobody_is_in_the_log_with_its_number() {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let writer = Arc::clone(&heard);
        let _second = crate::agent::testing::second_listener();
        let log = tracing_subscriber::fmt().with_writer(move || Heard(Arc::clone(&writer))).with_ansi(false).finish();
        tracing::subscriber::with_default(log, || {
            let room = tempfile::tempdir().unwrap();
            let outbox = open(room.path(), &["chat"]);
            let all: Vec<_> = (0..WAITING).map(|_| telling("one")).collect();
            assert!(all.iter().all(|one| outbox.add("chat", one)));
            for _ in 0..3 {
                assert!(!outbox.add("chat", &telling("more")));
            }
            outbox.remove("chat", &all[0]);
            assert!(outbox.add("chat", &telling("last")));
            outbox.is_for(&["other"]);
        });
        let heard = String::from_utf8(lock(&heard).clone()).unwrap();
        for words in ["too much waited: so much was not told notification=\"chat\" count=3", "count=4096"] {
            assert!(heard.contains(words), "{words}: {heard}");
        }
        assert_eq!(heard.lines().count(), 3, "{heard}");
    }

    struct Heard(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Heard {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            lock(&self.0).extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
}
