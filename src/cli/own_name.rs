//! What this host is called among `spec.hosts`, for the verbs that are about the host they run on: as the command line
//! says; else as its environment says, as the agent of this host is called, or by its hostname.

use std::path::PathBuf;
use std::sync::OnceLock;

use super::agent::{self, CONFIG, configuration};
use crate::agent::host_filter;

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
    // Where the configuration cannot be used, the hostname may do all the same; if it does not, `trouble` says why. The
    // environment comes first, and not alone: a step has the name that its own App gives this host, and another App may
    // have another one for it.
    let own = host_filter::names(&configuration(None).unwrap_or_default());
    environment().into_iter().chain(own).collect()
}

/// Why the name that the agent of this host is configured with could not be had; none: it could, or nobody needs it.
#[must_use]
pub fn trouble() -> Option<String> {
    if SAID.get().is_some() {
        return None;
    }
    let why = agent::words(configuration(None).err()?);
    Some(format!("`{CONFIG}` could not be used: {}", why.lines().next().unwrap_or_default()))
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
