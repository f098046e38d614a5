//! What this host is called among `spec.hosts`, for the verbs that are about the host they run on: as the command line says;
//! else as its environment says, as the agent of this host is called, or by its hostname.

use std::path::PathBuf;
use std::sync::OnceLock;

use super::agent::configuration;
use crate::agent::own;

/// In the environment of whoever calls: what this host is called. Each step of a manifest with hosts has it.
const VARIABLE: &str = "TRUEUP_HOST";

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
    // One that cannot be read, or used, is told by the agent. The environment comes first, and not alone: a step has the name
    // that its own App gives this host, and another App may have another one for it.
    let own = own::names(&configuration(None).unwrap_or_default());
    environment().into_iter().chain(own).collect()
}

/// Whether somebody has said which host this is.
#[must_use]
pub fn is_said() -> bool {
    SAID.get().is_some() || environment().is_some()
}

fn environment() -> Option<String> {
    std::env::var(VARIABLE).ok().filter(|name| !name.is_empty())
}

/// What the command line says, as words for a command that is to go by the same name; none where it says nothing.
#[must_use]
pub fn words() -> Vec<PathBuf> {
    SAID.get().map(|said| vec!["--as".into(), said.into()]).unwrap_or_default()
}
