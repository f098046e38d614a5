//! One look for all who ask at the same time.
//!
//! Passes over many Apps look again at the same moment, such as when an agent starts a hundred workers, and a walk over
//! all processes tells each of them the same. Nobody is given a look that had begun before they asked: it may have
//! passed by already what they want to see.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::OnceCell;

/// Looks of one kind: one is under way at most, and one more may be waited for.
#[derive(Debug)]
pub struct Shared<T> {
    /// Held by the look that is under way.
    way: tokio::sync::Mutex<()>,
    /// The look that has not begun.
    next: Mutex<Arc<OnceCell<T>>>,
}

impl<T> Default for Shared<T> {
    fn default() -> Self {
        Self { way: tokio::sync::Mutex::default(), next: Mutex::default() }
    }
}

impl<T: Clone> Shared<T> {
    /// What a look tells that begins from now on: this one, or that of somebody who waits already.
    ///
    /// Dropped while it waits or looks, it leaves the look to the next of those who wait for it.
    pub async fn look<F: Future<Output = T>>(&self, look: impl FnOnce() -> F) -> T {
        let mine = Arc::clone(&self.next());
        let told = mine.get_or_init(async || {
            let _way = self.way.lock().await;
            self.begins(&mine);
            look().await
        });
        told.await.clone()
    }

    /// Whoever asks from now on asks for a later one.
    fn begins(&self, look: &Arc<OnceCell<T>>) {
        let mut next = self.next();
        if Arc::ptr_eq(&next, look) {
            *next = Arc::default();
        }
    }

    fn next(&self) -> MutexGuard<'_, Arc<OnceCell<T>>> {
        self.next.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use futures_util::FutureExt;
    use futures_util::future::join_all;
    use tokio::sync::Semaphore;

    use super::*;

    #[tokio::test]
    async fn those_who_ask_during_a_look_share_the_next() {
        let (looks, go) = (AtomicU32::new(0), Semaphore::new(0));
        let shared = Shared::default();
        let ask = || {
            Box::pin(shared.look(async || {
                let number = looks.fetch_add(1, Ordering::Relaxed);
                go.acquire().await.unwrap().forget();
                number
            }))
        };
        let mut first = ask();
        assert_eq!((&mut first).now_or_never(), None);
        let mut others: Vec<_> = (0..100).map(|_| ask()).collect();
        assert!(others.iter_mut().all(|other| other.now_or_never().is_none()));
        go.add_permits(2);
        assert_eq!(first.await, 0, "this had begun when the others asked");
        assert_eq!(join_all(others).await, [1; 100]);
        go.add_permits(1);
        assert_eq!(ask().await, 2, "what was told is not told again");
    }

    #[tokio::test]
    async fn a_look_that_is_given_up_is_made_by_another() {
        let (shared, go) = (Shared::default(), Semaphore::new(0));
        let ask = |number: u32| {
            let go = &go;
            Box::pin(shared.look(move || async move {
                go.acquire().await.unwrap().forget();
                number
            }))
        };
        let mut asked: Vec<_> = (0..4).map(ask).collect();
        assert!(asked.iter_mut().all(|one| one.now_or_never().is_none()));
        // The one that looks, and the one that waits to.
        asked.drain(..2);
        go.add_permits(1);
        assert_eq!(join_all(asked).await, [2, 2]);
    }
}
