//! What all work over many hosts has in common: how they are asked, how many at a time, and who may end it.

use std::future::Future;

use tokio::sync::{Semaphore, watch};

use super::ask::{Answer, Asker, Unanswered, ask};
use super::phase::{FleetListener, Phase};
use super::reach::Reach;
use crate::documents::wire::Operation;
use crate::model::fleet::FleetHost;

/// A host, and the App as it is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The host.
    pub host: FleetHost,
    /// The App's document in JSON, without hosts.
    pub manifest: String,
}

/// What the person at the keyboard wishes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StopWish {
    /// To the end.
    #[default]
    GoOn,
    /// Nothing new is begun; what is in hand is awaited.
    NoMore,
    /// Nothing is awaited any more. What is in hand goes on where it is.
    Leave,
}

/// How hosts are asked.
pub struct Work<'a, R> {
    reach: &'a R,
    watch: &'a dyn FleetListener,
    asker: &'a Asker,
    forks: usize,
    slots: Semaphore,
    wish: watch::Receiver<StopWish>,
}

impl<'a, R: Reach> Work<'a, R> {
    /// `forks`: how many hosts are asked at a time, at least one. Without its sender a wish stays as it is.
    #[must_use]
    pub fn new(
        reach: &'a R,
        watch: &'a dyn FleetListener,
        asker: &'a Asker,
        forks: usize,
        wish: watch::Receiver<StopWish>,
    ) -> Self {
        let forks = forks.max(1);
        Self { reach, watch, asker, forks, slots: Semaphore::new(forks), wish }
    }

    /// How many hosts are asked at a time.
    pub fn forks(&self) -> usize {
        self.forks
    }

    /// Who watches.
    pub fn watch(&self) -> &'a dyn FleetListener {
        self.watch
    }

    /// What is wished now.
    pub fn wish(&self) -> StopWish {
        *self.wish.borrow()
    }

    /// Returns once at least that is wished.
    pub fn wished(&self, wish: StopWish) -> impl Future<Output = ()> + Send + use<R> {
        let mut wishes = self.wish.clone();
        async move {
            if wishes.wait_for(|now| *now >= wish).await.is_err() {
                // Whoever could have wished is gone.
                std::future::pending::<()>().await;
            }
        }
    }

    /// Asks one host, when it is its turn. `at` is what the host is at meanwhile.
    ///
    /// # Errors
    /// [`Unanswered`]: there is no whole answer.
    pub async fn ask(
        &self,
        target: &Target,
        migrate: bool,
        operation: Operation,
        at: &Phase,
    ) -> Result<Answer, Unanswered> {
        // A closed semaphore would mean that nobody counts any more.
        let _slot = self.slots.acquire().await.ok();
        let request = self.asker.request(&target.host, target.manifest.clone(), migrate, operation);
        ask(self.reach, self.watch, &target.host, &request, at).await
    }
}
