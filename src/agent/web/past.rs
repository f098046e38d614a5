//! What passes did, read for those who ask.
//!
//! A journal may have megabytes, and whoever gets in may ask for it, as often as he likes. It is read and put together
//! on other threads than the loop's, and only a few at a time: others wait for their turn, and the loop for none of
//! them. Begin at [`Archive::read`].

use std::sync::Arc;

use axum::http::StatusCode;
use tokio::sync::Semaphore;

use super::Journals;
use super::answer::Refusal;
use crate::model::journal::JournalEntry;
use crate::model::names::Root;

/// So many journals are read at a time: memory for each, and a core.
const READINGS: usize = 2;

/// Where history comes from.
#[derive(Clone)]
pub(super) struct Archive {
    journals: Journals,
    turns: Arc<Semaphore>,
}

impl Archive {
    pub(super) fn new(journals: Journals) -> Self {
        Self { journals, turns: Arc::new(Semaphore::new(READINGS)) }
    }

    /// Reads the journal of a root, and makes something of it, on a thread that may be busy for a while.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        root: Root,
        make: impl FnOnce(Vec<JournalEntry>) -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        // Never closed, so there is always one to be had.
        let turn = Arc::clone(&self.turns).acquire_owned().await.map_err(|_| Refusal::stopping())?;
        let entries = (self.journals)(root);
        // Whoever asked may go; the place is taken until the work is done nevertheless.
        let reading = tokio::spawn(async move {
            let entries = entries.await?;
            let made = tokio::task::spawn_blocking(move || make(entries)).await;
            drop(turn);
            made.map_err(|error| broken(&error))
        });
        reading.await.map_err(|error| broken(&error))?
    }
}

fn broken(error: &tokio::task::JoinError) -> Refusal {
    Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, format!("history was not put together to its end: {error}"))
}
