//! News that somebody has not taken yet, in the agent's own directory: it is told, whatever becomes of the agent.
//!
//! `STATE/outbox.json` has, for each recipient, what was handed over and is not told, in order. It is written before the
//! first try and once something is told or given up. Whoever is told twice was told by an agent that ended in between.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use tracing::warn;

use super::state::{check_version, replace};
use crate::model::telling::Telling;

const NAME: &str = "outbox.json";
/// Of the format.
const VERSION: u32 = 1;

/// What is not told yet, by the names of the recipients.
type Waiting = BTreeMap<String, Vec<Arc<Telling>>>;

/// News that somebody has not taken yet. A clone is the same outbox.
#[derive(Debug, Clone, Default)]
pub struct Outbox(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// None: nothing is written down.
    directory: Option<PathBuf>,
    /// What an earlier agent has not told, until it is taken up.
    before: Mutex<Waiting>,
    waiting: Mutex<Waiting>,
    /// Held while the file is written: what was written last is what is there.
    writing: tokio::sync::Mutex<()>,
}

#[derive(Serialize, Deserialize)]
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
            warn!(file = %path.display(), why, "what is still to be told cannot be read: it is not told");
            Waiting::new()
        });
        Self(Arc::new(Inner { directory: Some(state.to_owned()), before: Mutex::new(before), ..Inner::default() }))
    }

    /// What an earlier agent has not told this recipient; once.
    pub(super) fn take_up(&self, name: &str) -> Vec<Arc<Telling>> {
        let before = lock(&self.0.before).remove(name).unwrap_or_default();
        lock(&self.0.waiting).entry(name.to_owned()).or_default().extend(before.iter().cloned());
        before
    }

    /// A recipient is to be told this. [`Outbox::save`] must follow.
    pub(super) fn add(&self, name: &str, telling: &Arc<Telling>) {
        lock(&self.0.waiting).entry(name.to_owned()).or_default().push(Arc::clone(telling));
    }

    /// A recipient was told this, or never will be. [`Outbox::save`] must follow.
    pub(super) fn remove(&self, name: &str, telling: &Arc<Telling>) {
        if let Some(waiting) = lock(&self.0.waiting).get_mut(name) {
            waiting.retain(|one| !Arc::ptr_eq(one, telling));
        }
    }

    /// Writes down what waits.
    pub(super) async fn save(&self) {
        let Some(directory) = self.0.directory.clone() else { return };
        let _alone = self.0.writing.lock().await;
        let copied = |all: &Vec<Arc<Telling>>| all.iter().map(|one| Telling::clone(one)).collect::<Vec<Telling>>();
        let waiting = lock(&self.0.waiting)
            .iter()
            .filter(|(_, all)| !all.is_empty())
            .map(|(name, all)| (name.clone(), copied(all)))
            .collect();
        let written = Written { version: VERSION, waiting };
        let wrote = tokio::task::spawn_blocking(move || {
            let text = serde_json::to_vec(&written).map_err(io::Error::other)?;
            replace(&directory, NAME, &text)
        });
        let wrote = wrote.await.unwrap_or_else(|error| Err(io::Error::other(error)));
        if let Err(error) = wrote {
            warn!(%error, "what is still to be told is not written down: it is told as long as the agent runs");
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

    #[tokio::test]
    async fn what_is_not_told_is_known_again_and_what_makes_no_sense_is_nothing() {
        let room = tempfile::tempdir().unwrap();
        let file = room.path().join(NAME);
        let outbox = Outbox::open(room.path());
        assert!(outbox.take_up("chat").is_empty());
        let [one, two, three] = ["one", "two", "three"].map(telling);
        for (name, one) in [("chat", &one), ("chat", &two), ("pager", &two), ("chat", &three)] {
            outbox.add(name, one);
        }
        outbox.remove("chat", &two);
        outbox.save().await;
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        // Taken up and not told: it still waits.
        for _ in 0..2 {
            let outbox = Outbox::open(room.path());
            assert_eq!(outbox.take_up("chat"), [one.clone(), three.clone()]);
            assert!(outbox.take_up("chat").is_empty(), "once");
            assert_eq!(outbox.take_up("pager"), std::slice::from_ref(&two));
            outbox.save().await;
        }
        let outbox = Outbox::open(room.path());
        for one in outbox.take_up("chat") {
            outbox.remove("chat", &one);
        }
        outbox.save().await;
        assert_eq!(
            std::fs::read_to_string(&file).unwrap(),
            r#"{"version":1,"waiting":{}}"#,
            "who is not told any more"
        );
        for text in ["", "{", r#"{"version":7,"waiting":{}}"#] {
            std::fs::write(&file, text).unwrap();
            assert!(Outbox::open(room.path()).take_up("chat").is_empty(), "{text}");
        }
    }
}
