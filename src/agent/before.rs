//! What was in force when an earlier agent ended, where the first look finds nothing that can be used.
//!
//! A host that starts again must not lose its workers to a typo in one of twenty files, nor to a mount that is not
//! there yet: what was in force stays so, as it would have without the restart.

use std::collections::BTreeSet;

use tracing::info;

use super::Agent;
use super::senses::Senses;
use super::source::{Found, Source};
use super::succession::Aliases;
use crate::ports::Host;

impl<'a, H: Host, S: Source + 'a, W: Senses> Agent<'a, H, S, W> {
    /// Takes up the manifests that an earlier agent had in force, from where they come from now. Nothing, where there
    /// are none.
    pub(super) fn take_up_what_was_in_force(&mut self) {
        let apps = self.context.registry.in_force();
        if apps.is_empty() {
            return;
        }
        info!(apps = apps.len(), "what was in force before the agent began stays so");
        self.take_over(Found { revision: None, apps }, &Aliases::new(), &BTreeSet::new());
        // As after a look: whether newer ones are believed to be wrong may take a while.
        self.context.service.ready();
    }
}
