//! Of manifests for many hosts, what is for this one.
//!
//! One repository may hold the manifests of all hosts. The agent of each picks itself by name, and what names other
//! hosts only is not its business: to it, such an App is one that is not there.

use tracing::{debug, warn};

use super::source::{Found, Source, SourceProblem, Wakes, unreadable};
use crate::documents::agent::Revision;
use crate::host::machine::hostname;
use crate::manifest::{Loaded, of_this_host};
use crate::model::agent::{AgentConfig, GitOptions};
use crate::model::names::AppName;

/// What this host is called among `spec.hosts`: as the agent's configuration says; else its hostname, or the part of it
/// before the first dot.
#[must_use]
pub fn names(config: &AgentConfig) -> Vec<String> {
    if let Some(name) = &config.name {
        return vec![name.clone()];
    }
    let full = hostname();
    let short = full.split('.').next().filter(|short| **short != *full).map(str::to_owned);
    std::iter::once(full).chain(short).collect()
}

/// A source, without what is for other hosts only.
#[derive(Debug)]
pub struct HostFilter<S> {
    source: S,
    names: Vec<String>,
    /// The Apps with hosts of which none is this one, as they were warned of last.
    strange: Option<(Option<String>, Vec<AppName>)>,
}

impl<S: Source> HostFilter<S> {
    /// What `source` holds for the host of one of these names.
    #[must_use]
    pub fn new(source: S, names: Vec<String>) -> Self {
        Self { source, names, strange: None }
    }

    async fn own(&mut self, revision: Option<&Revision>, apps: Vec<Loaded>) -> Result<Vec<Loaded>, SourceProblem> {
        let names = self.names.clone();
        let of_fleets: Vec<AppName> =
            apps.iter().filter(|one| one.fleet.is_some()).map(|one| one.app.name.clone()).collect();
        // Roots are looked at, and one of them may be on a dead mount.
        let own = tokio::task::spawn_blocking(move || of_this_host(apps, &names)).await;
        let own = own.map_err(|error| unreadable(&error))??;
        let named = own.iter().filter(|one| of_fleets.contains(&one.app.name)).count();
        if named < of_fleets.len() {
            debug!(names = ?self.names, others = of_fleets.len() - named, "some Apps are for other hosts");
        }
        self.wonder(revision, if named == 0 { of_fleets } else { Vec::new() });
        Ok(own)
    }

    /// Says once of each revision that no manifest names this host: where its hostname is not its name in the
    /// manifests, nothing else would tell.
    fn wonder(&mut self, revision: Option<&Revision>, others: Vec<AppName>) {
        let strange = (!others.is_empty()).then(|| (revision.map(|revision| revision.commit.clone()), others));
        if strange == self.strange {
            return;
        }
        if let Some((_, others)) = &strange {
            let apps: Vec<&str> = others.iter().map(AppName::as_str).collect();
            warn!(
                apps = apps.join(" "),
                names = self.names.join(" "),
                "no manifest with `hosts` names this host; if one should, set `metadata.name` in /etc/trueup/agent.yaml"
            );
        }
        self.strange = strange;
    }
}

impl<S: Source> Source for HostFilter<S> {
    async fn resume(&mut self) -> Option<Found> {
        let Found { revision, apps } = self.source.resume().await?;
        let own = self.own(revision.as_ref(), apps).await;
        let own = own.inspect_err(|problem| warn!(%problem, "what was in force is not taken up again"));
        own.ok().map(|apps| Found { revision, apps })
    }

    async fn look(&mut self) -> Result<Found, SourceProblem> {
        let Found { revision, apps } = self.source.look().await?;
        match self.own(revision.as_ref(), apps).await {
            Ok(apps) => {
                self.source.keep().await?;
                Ok(Found { revision, apps })
            }
            Err(problem) => Err(SourceProblem { revision, ..problem }),
        }
    }

    async fn keep(&mut self) -> Result<(), SourceProblem> {
        self.source.keep().await
    }

    fn wakes(&self) -> Wakes {
        self.source.wakes()
    }

    fn renew(&mut self, options: &GitOptions) {
        self.source.renew(options);
    }

    fn is_whole(&self) -> bool {
        self.source.is_whole()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::agent::source::Directory;

    const SHOP: &str = "apiVersion: trueup/v1\nkind: App\nmetadata: {name: shop}\nspec:\n  root: /srv/shop\n  release: {id: r1}\n  workers: [{name: q, count: '${vars.n}', manager: {builtin: {run: x}}}]\n  hosts: {file: ../hosts.list}\n";
    const LOCAL: &str =
        "apiVersion: trueup/v1\nkind: App\nmetadata: {name: local}\nspec: {root: /srv/local, release: {id: r1}}\n";

    async fn found(own: &mut HostFilter<Directory>) -> Vec<(String, u32)> {
        let apps = own.look().await.unwrap().apps;
        assert!(apps.iter().all(|one| one.fleet.is_none()));
        apps.iter()
            .map(|one| (one.app.name.to_string(), one.app.workers.iter().map(|group| group.count).sum()))
            .collect()
    }

    /// One directory for all hosts. A host that is taken out of the list, in whatever file, is one whose App is gone.
    #[tokio::test]
    async fn an_agent_takes_what_names_its_host_and_hears_of_its_list() {
        let room = tempfile::tempdir().unwrap();
        let (manifests, list) = (room.path().join("m"), room.path().join("hosts.list"));
        std::fs::create_dir(&manifests).unwrap();
        std::fs::write(manifests.join("shop.yaml"), SHOP).unwrap();
        std::fs::write(manifests.join("local.yaml"), LOCAL).unwrap();
        std::fs::write(&list, "- {name: web1, vars: {n: 1}}\n- {name: web2, vars: {n: 7}}\n").unwrap();
        let mut own = HostFilter::new(Directory::new(vec![manifests.clone()]), vec!["web2".to_owned()]);
        let row = |name: &str, count| (name.to_owned(), count);
        assert_eq!(found(&mut own).await, [row("local", 0), row("shop", 7)]);
        let paths = own.wakes().paths;
        let real = |path: &std::path::Path| path.canonicalize().unwrap();
        assert!(paths.iter().any(|path| real(path) == real(&list)), "{paths:?}");
        std::fs::write(&list, "- {name: web1, vars: {n: 1}}\n").unwrap();
        assert_eq!(found(&mut own).await, [row("local", 0)]);
        std::fs::write(&list, "- {name: web2}\n").unwrap();
        assert!(own.look().await.unwrap_err().message.contains("names the var `n`"));
    }

    /// A host that is called otherwise in the manifests would be left without a word.
    #[tokio::test]
    async fn that_no_hosts_are_this_one_is_told_once() {
        let room = tempfile::tempdir().unwrap();
        let manifests = room.path().join("m");
        std::fs::create_dir(&manifests).unwrap();
        std::fs::write(manifests.join("shop.yaml"), SHOP).unwrap();
        let list = |hosts: &str| std::fs::write(room.path().join("hosts.list"), hosts).unwrap();
        let mut own = HostFilter::new(Directory::new(vec![manifests.clone()]), vec!["web1".to_owned()]);
        let log = room.path().join("log");
        let file = Arc::new(std::fs::File::create(&log).unwrap());
        let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(file).finish();
        let _second = crate::agent::testing::second_listener();
        let _guard = tracing::subscriber::set_default(subscriber);
        let mut before = 0;
        let rows = [
            ("- {name: web1.example.org, vars: {n: 1}}\n", true),
            ("- {name: web1.example.org, vars: {n: 2}}\n", false),
            ("- {name: web1, vars: {n: 1}}\n", false),
            ("- {name: web2, vars: {n: 1}}\n", true),
        ];
        for (hosts, is_told) in rows {
            list(hosts);
            own.look().await.unwrap();
            let said = std::fs::read_to_string(&log).unwrap();
            let told = &said[before..];
            before = said.len();
            assert_eq!(told.contains("no manifest with `hosts` names this host"), is_told, "{hosts}: {told}");
            assert_eq!(told.contains("apps=\"shop\" names=\"web1\""), is_told, "{hosts}: {told}");
        }
    }

    #[test]
    fn the_configuration_says_what_the_host_is_called() {
        let config = AgentConfig { name: Some("web1".to_owned()), ..AgentConfig::default() };
        assert_eq!(names(&config), ["web1"]);
        let full = hostname();
        assert_eq!(names(&AgentConfig::default()).first(), Some(&full));
    }
}
