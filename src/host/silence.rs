//! Roots whose file system does not answer: a mount whose server is gone holds whoever touches it, for ever.
//!
//! Looks at a root go to a thread that may be held there, and are waited for no longer than [`WITHIN`]. While a thread is
//! held, no further one is sent: each look would leave one more behind, until there is none left for other Apps. What is
//! given up may still come to its end later, when nobody wants it any more, so this is for what may: looks, and a lock
//! that is let go at once. Only a few look at a time, since each thread has memory of its own, and a hundred Apps
//! are looked at when an agent starts. Begin at [`at`].

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tracing::info;

use super::blocking;
use crate::model::names::Root;
use crate::ports::{HostError, HostErrorKind};

/// A disk under load takes seconds; a mount that takes longer is taken for dead, until it answers.
pub const WITHIN: Duration = Duration::from_secs(20);

/// How many roots are looked at side by side, …
const AT_ONCE: usize = 8;
/// … but for those that take longer: they must not stand in the others' way.
const TURN: Duration = Duration::from_millis(250);

static LOOKS: Semaphore = Semaphore::const_new(AT_ONCE);

/// At which roots threads are held, and how many.
static HELD: Mutex<BTreeMap<Root, u32>> = Mutex::new(BTreeMap::new());

/// Looks at a root, on a thread that may be held there.
///
/// # Errors
/// [`HostErrorKind::Unreachable`] when it does not answer within [`WITHIN`], and at once while it has not answered an
/// earlier look.
pub async fn at<T: Send + 'static>(root: &Root, look: impl FnOnce() -> T + Send + 'static) -> Result<T, HostError> {
    within(WITHIN, root, look).await
}

/// The same with another limit.
///
/// # Errors
/// As [`at`].
pub async fn within<T: Send + 'static>(
    limit: Duration,
    root: &Root,
    look: impl FnOnce() -> T + Send + 'static,
) -> Result<T, HostError> {
    if held().contains_key(root) {
        return Err(silent(root));
    }
    // Never closed, so there is always one to be had.
    let turn = LOOKS.acquire().await;
    // It may have been found out while this waited for its turn.
    if held().contains_key(root) {
        return Err(silent(root));
    }
    let mut looking = Box::pin(blocking(look));
    let mut looked = tokio::time::timeout(limit.min(TURN), &mut looking).await;
    drop(turn);
    if looked.is_err() {
        looked = tokio::time::timeout(limit.saturating_sub(TURN), &mut looking).await;
    }
    if let Ok(looked) = looked {
        return looked;
    }
    let mark = Mark::on(root);
    tokio::spawn(async move {
        // What it has found is old by now.
        drop(looking.await);
        drop(mark);
    });
    Err(silent(root))
}

/// A thread that is held at a root.
struct Mark(Root);

impl Mark {
    fn on(root: &Root) -> Self {
        *held().entry(root.clone()).or_default() += 1;
        Self(root.clone())
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        let mut held = held();
        let left = held.get(&self.0).map_or(0, |count| count.saturating_sub(1));
        if left == 0 {
            held.remove(&self.0);
            info!(root = %self.0, "it answers again");
        } else {
            held.insert(self.0.clone(), left);
        }
    }
}

fn silent(root: &Root) -> HostError {
    let message = format!("the root `{root}` does not answer: its file system holds whoever looks at it");
    HostError::new(HostErrorKind::Unreachable, message)
        .with_help("see to what is mounted there (`findmnt`), such as a network file system whose server is gone")
}

fn held() -> MutexGuard<'static, BTreeMap<Root, u32>> {
    HELD.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::mpsc::channel;

    use futures_util::future::join_all;

    use super::*;

    #[tokio::test]
    async fn whoever_does_not_answer_is_given_up_and_not_asked_again_until_it_does() {
        let (dead, other) = (Root::new("/srv/dead").unwrap(), Root::new("/srv/other").unwrap());
        let soon = Duration::from_millis(20);
        let (answer, answers) = channel::<()>();
        let error = within(soon, &dead, move || answers.recv()).await.unwrap_err();
        assert_eq!(error.kind, HostErrorKind::Unreachable);
        assert!(error.message.contains("/srv/dead") && error.help.is_some(), "{error}");

        let error = at::<()>(&dead, || panic!("a second thread would be held, too")).await.unwrap_err();
        assert_eq!(error.kind, HostErrorKind::Unreachable);
        assert_eq!(at(&other, || 7).await, Ok(7), "that is nobody else's trouble");

        answer.send(()).unwrap();
        let again = async {
            while at(&dead, || ()).await.is_err() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(WITHIN, again).await.expect("it answers again");
    }

    #[tokio::test]
    async fn those_who_take_long_do_not_stand_in_the_way_of_others() {
        let (end, ends) = channel::<()>();
        let ends = Arc::new(Mutex::new(ends));
        // As many as may look at a time; they end only after the last one has had its turn.
        let roots: Vec<Root> = (0..AT_ONCE).map(|number| Root::new(format!("/srv/slow{number}")).unwrap()).collect();
        let slow = join_all(roots.iter().map(|root| {
            let ends = Arc::clone(&ends);
            at(root, move || ends.lock().unwrap().recv().is_err())
        }));
        let last = async {
            let answer = at(&Root::new("/srv/last").unwrap(), || 7).await;
            drop(end);
            answer
        };
        let (slow, last) = tokio::join!(slow, last);
        assert_eq!(last, Ok(7));
        assert_eq!(slow, vec![Ok(true); AT_ONCE], "they are waited for all the same");
    }
}
