//! What is said of processes that do not show us what they run, asked for at most once in a look, and only where a
//! worker is such a process.

use tokio::sync::OnceCell;

use crate::model::app::App;
use crate::model::inventory::Witness;
use crate::model::observed::Evidence;
use crate::model::process::ProcessId;
use crate::ports::{Host, HostError};

type Told = Result<Vec<Witness>, HostError>;

/// What one look is told, of all its Apps.
pub struct Witnesses<'a, H> {
    host: &'a H,
    apps: &'a [&'a App],
    told: OnceCell<Vec<Told>>,
}

impl<'a, H: Host> Witnesses<'a, H> {
    /// Nobody has been asked yet.
    pub fn new(host: &'a H, apps: &'a [&'a App]) -> Self {
        Self { host, apps, told: OnceCell::new() }
    }

    /// What is said of the processes of this App's root.
    ///
    /// # Errors
    /// Nobody may be asked, or there was no answer.
    pub async fn of(&self, app: &App) -> Result<&[Witness], &HostError> {
        let told = self.told.get_or_init(|| self.host.witnesses(self.apps)).await;
        match self.apps.iter().position(|one| one.root == app.root).and_then(|at| told.get(at)) {
            Some(told) => told.as_ref().map(Vec::as_slice),
            None => Ok(&[]),
        }
    }
}

/// What is said of one process, and of no later one of the same number.
#[must_use]
pub fn of_process(told: &[Witness], process: ProcessId) -> Option<&Evidence> {
    told.iter().find(|witness| witness.process == process).map(|witness| &witness.evidence)
}
