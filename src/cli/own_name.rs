//! What this host is called among `spec.hosts`, for the verbs that are about the host they run on: as the command line says,
//! else as the agent of this host is called, else by its hostname.

use std::path::PathBuf;
use std::sync::OnceLock;

use super::agent::configuration;
use crate::agent::own;

/// As the command line says.
static SAID: OnceLock<String> = OnceLock::new();

/// Believes the command line, from here on.
pub fn choose(name: Option<&str>) {
    if let Some(name) = name {
        // It is said once.
        let _ = SAID.set(name.to_owned());
    }
}

/// What this host may be called; the first that a manifest knows counts.
#[must_use]
pub fn names() -> Vec<String> {
    if let Some(said) = SAID.get() {
        return vec![said.clone()];
    }
    // One that cannot be read, or used, is told by the agent.
    own::names(&configuration(None).unwrap_or_default())
}

/// The same as words for a command that is to go by the same name; none where nothing was said.
#[must_use]
pub fn words() -> Vec<PathBuf> {
    SAID.get().map(|said| vec!["--as".into(), said.into()]).unwrap_or_default()
}
