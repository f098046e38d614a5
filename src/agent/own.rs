//! Of manifests for many hosts, what is for this one.
//!
//! One repository may hold the manifests of all hosts. The agent of each picks itself by name, and what names other
//! hosts only is not its business: to it, such an App is one that is not there.

use tracing::debug;

use super::setup::hostname;
use super::source::{Found, Source, SourceProblem, Wakes};
use crate::manifest::of_this_host;
use crate::model::agent::AgentConfig;

/// What this host is called among `spec.hosts`: as the agent's configuration says; else its hostname, or the part of it
/// before the first dot.
#[must_use]
pub fn names(config: &AgentConfig) -> Vec<String> {
    if let Some(name) = &config.name {
        return vec![name.clone()];
    }
    let full = hostname();
    let short = full.split('.').next().filter(|short| **short != *full).map(str::to_owned);
    std::iter::once(full.clone()).chain(short).collect()
}

/// A source, without what is for other hosts only.
#[derive(Debug)]
pub struct Own<S> {
    source: S,
    names: Vec<String>,
}

impl<S: Source> Own<S> {
    /// What `source` holds for the host of one of these names.
    #[must_use]
    pub fn new(source: S, names: Vec<String>) -> Self {
        Self { source, names }
    }

    fn own(&self, found: Found) -> Result<Found, SourceProblem> {
        let all = found.apps.len();
        let apps = of_this_host(found.apps, &self.names)
            .map_err(|errors| SourceProblem { revision: found.revision.clone(), ..SourceProblem::from(errors) })?;
        if apps.len() < all {
            debug!(names = ?self.names, others = all - apps.len(), "some Apps are for other hosts");
        }
        Ok(Found { revision: found.revision, apps })
    }
}

impl<S: Source> Source for Own<S> {
    async fn resume(&mut self) -> Option<Found> {
        let found = self.source.resume().await?;
        self.own(found).ok()
    }

    async fn look(&mut self) -> Result<Found, SourceProblem> {
        let found = self.source.look().await?;
        self.own(found)
    }

    fn wakes(&self) -> Wakes {
        self.source.wakes()
    }

    fn is_whole(&self) -> bool {
        self.source.is_whole()
    }
}
