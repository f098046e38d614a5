//! The far side of a fleet: what a control side starts on a host, over SSH, as `trueup far`.
//!
//! In: one request of [`documents::wire`](crate::documents::wire) on the standard input. Out: its lines on the
//! standard output. Nothing is decided here: the same engine makes the same passes as `trueup reconcile` would.
//!
//! What only looks is done by the [`front`], which lives as long as the connection. What may change the host is done by
//! a [`runner`]: a process in a session of its own that no hang-up reaches, which says its lines into a [`spool`]; fronts
//! follow that, any number of them, from any line on. The kernel's lock on the spool is the runner's life: it is
//! handed over by the front that made the spool, so that two of them cannot both begin, and falls with the runner, however
//! that ends. [`spool_directory`] is where spools are kept, [`input`] reads the request, [`answer`] turns passes into lines.
//!
//! # Guarantees
//! One id, one pass. A front that dies takes nothing along; a runner that dies is told. No manifest is written down, for
//! there may be secrets in it: the runner gets it through memory.

pub mod answer;
mod follow;
pub mod front;
pub mod input;
mod looking;
pub mod runner;
mod say;
pub mod spool;
pub mod spool_directory;

use crate::documents::wire::{Failed, Fault, Request};
use crate::manifest::{Loaded, load};
use crate::ports::HostError;

/// The hidden verb.
pub const VERB: &str = "far";

/// Its argument that makes it a runner.
pub const RUN: &str = "--run";

/// Its argument that has it say only who it would speak as.
pub const ASKED: &str = "--version";

/// The App of a request, as it counts on this host.
///
/// # Errors
/// The manifest does not do.
fn app_of(request: &Request) -> Result<Loaded, Failed> {
    let loaded = load(&["-".into()], &mut request.manifest.as_bytes()).map_err(|errors| {
        let failed = Failed::new(Fault::Manifest, "the manifest does not do on this host");
        let failed = errors.mistakes.iter().fold(failed, |failed, mistake| failed.cause(mistake.to_string()));
        match errors.mistakes.iter().find_map(|mistake| mistake.help.clone()) {
            Some(help) => failed.help(help),
            None => failed,
        }
    })?;
    let Ok([loaded]) = <[Loaded; 1]>::try_from(loaded) else {
        return Err(Failed::new(Fault::Manifest, "a request carries exactly one App"));
    };
    let app = if request.migrate { loaded.app } else { loaded.app.without_migrations() };
    Ok(Loaded { app, ..loaded })
}

/// Who asks, fit for a line of the journal.
fn who(request: &Request) -> String {
    request.who.chars().map(|c| if c.is_control() { '?' } else { c }).take(128).collect()
}

impl From<HostError> for Failed {
    fn from(error: HostError) -> Self {
        Self { help: error.help, ..Self::new(Fault::Host, error.message) }
    }
}

#[cfg(test)]
mod tests;
