//! One App: what a checked manifest document desires of one application.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use super::amount::Amount;
use super::health::HealthContract;
use super::names::{AppName, GroupName, MemberName, RelativePath, Root, UserName};
use super::release::Release;
use super::service::Service;
use super::sync::SyncPolicy;

/// One manifest document, checked; everything after the loader trusts it.
#[derive(Debug, Clone, PartialEq)]
pub struct App {
    /// Unique among the manifests reconciled together.
    pub name: AppName,
    /// Free labels, for selecting and for people.
    pub labels: BTreeMap<String, String>,
    /// Directory of the application, unique among the manifests reconciled together.
    pub root: Root,
    /// Whom commands and made files belong to; none: the owner of the root when run as root, else who runs.
    pub user: Option<UserName>,
    /// The release that should be in force.
    pub release: Release,
    /// The daemons that serve the release.
    pub services: Vec<Service>,
    /// The long-running processes that execute the release.
    pub workers: Vec<WorkerGroup>,
    /// What healthy means; none: nothing is probed.
    pub health: Option<HealthContract>,
    /// What to do when a release fails its gate.
    pub on_failure: OnFailure,
    /// What to do with processes of this root that no group owns.
    pub strays: StrayPolicy,
    /// When changes may be made.
    pub sync: SyncPolicy,
    /// It is taken from the host: what becomes of it from now on says nothing of its release.
    pub leaving: bool,
    /// Digests of what the manifest says, made by the loader.
    pub fingerprint: Fingerprint,
}

/// Digests of parts of a manifest, in hexadecimal: equal texts mean that nothing in the part has changed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Fingerprint {
    /// Of release, workers, services and health: what a gate judges. Keys a quarantine.
    pub trial: String,
    /// Of the release's source, links and build steps: what makes its files.
    pub recipe: String,
    /// Of all that is desired of the host: everything but when it is looked at and changed.
    pub wish: String,
}

/// What to do when a release fails its gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum OnFailure {
    /// Back to the last release that passed; the default.
    #[default]
    Rollback,
    /// Stop there.
    Halt,
}

impl App {
    /// An App that wants a release and nothing else; everything not named has the manifest's default.
    #[must_use]
    pub fn new(name: AppName, root: Root, release: Release) -> Self {
        Self {
            name,
            labels: BTreeMap::new(),
            root,
            user: None,
            release,
            services: Vec::new(),
            workers: Vec::new(),
            health: None,
            on_failure: OnFailure::default(),
            strays: StrayPolicy::default(),
            sync: SyncPolicy::default(),
            leaving: false,
            fingerprint: Fingerprint::default(),
        }
    }

    /// The same where another host has run the migrations. Nothing else tells the two apart: what is kept out here
    /// stays out, whichever host ran them.
    #[must_use]
    pub fn without_migrations(mut self) -> Self {
        self.release.migrate.clear();
        self
    }

    /// The files whose change the group or service of that name must be told of.
    #[must_use]
    pub fn restart_on(&self, name: &GroupName) -> &[RestartOn] {
        let group = self.workers.iter().find(|group| group.name == *name).map(|group| &group.restart_on);
        let service = || self.services.iter().find(|service| service.name == *name).map(|service| &service.restart_on);
        group.or_else(service).map_or(&[], Vec::as_slice)
    }

    /// The same of all groups, then of all services, each with its name.
    pub fn restart_ons(&self) -> impl Iterator<Item = (&GroupName, &RestartOn)> {
        let of_workers = self.workers.iter().map(|group| (&group.name, &group.restart_on));
        let of_services = self.services.iter().map(|service| (&service.name, &service.restart_on));
        of_workers.chain(of_services).flat_map(|(name, files)| files.iter().map(move |file| (name, file)))
    }

    /// All files whose change somebody must be told of, each once.
    #[must_use]
    pub fn files(&self) -> BTreeSet<&RelativePath> {
        self.restart_ons().map(|(_, file)| &file.path).collect()
    }

    /// How long a stray may take to end: as long as the most patient group, for it may be anybody's worker; 30 s where
    /// there is no group.
    #[must_use]
    pub fn stray_grace(&self) -> Duration {
        self.workers.iter().map(|group| group.stop_timeout).max().unwrap_or(Duration::from_secs(30))
    }

    /// The group of that name.
    #[must_use]
    pub fn group(&self, name: &GroupName) -> Option<&WorkerGroup> {
        self.workers.iter().find(|group| &group.name == name)
    }
}

/// N interchangeable long-running processes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerGroup {
    /// Unique in its App.
    pub name: GroupName,
    /// How many should run; 0 keeps the group stopped.
    pub count: u32,
    /// Who runs them.
    pub manager: Manager,
    /// How long a worker may take to finish its job before it is killed; 30 s by default.
    pub stop_timeout: Duration,
    /// How many may be down at a time while they are replaced.
    pub max_unavailable: Amount,
    /// Files whose change makes the workers stale.
    pub restart_on: Vec<RestartOn>,
    /// Run before a worker is asked to stop, such as `php artisan queue:restart`.
    pub drain: Option<Drain>,
    /// How long a worker must have run before the gate trusts it; 3 s by default.
    pub min_healthy: Duration,
}

/// A command that lets workers finish by themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drain {
    /// What to run, in the release, as the App's user.
    pub run: CommandLine,
    /// How long it may take; 30 s by default.
    pub timeout: Duration,
}

impl WorkerGroup {
    /// A group with the manifest's defaults for everything that is not named.
    #[must_use]
    pub fn new(name: GroupName, count: u32, manager: Manager) -> Self {
        Self {
            name,
            count,
            manager,
            stop_timeout: Duration::from_secs(30),
            max_unavailable: Amount::Percent(100),
            restart_on: Vec::new(),
            drain: None,
            min_healthy: Duration::from_secs(3),
        }
    }

    /// How many workers may be down at once: rounded up, at least 1.
    #[must_use]
    pub fn unavailable_limit(&self) -> u32 {
        self.max_unavailable.of(self.count).max(1)
    }

    /// The manager's name for the member with this number, where trueup may make new members;
    /// none where the manager's own configuration says which exist (supervisord's `numprocs`).
    #[must_use]
    pub fn member(&self, ordinal: u32) -> Option<MemberName> {
        match &self.manager {
            Manager::Supervisord(_) => None,
            Manager::Systemd(systemd) => MemberName::new(systemd.unit.instance(ordinal)).ok(),
            Manager::Builtin(_) => MemberName::new(format!("{}/{ordinal}", self.name)).ok(),
        }
    }
}

/// A file whose content workers read once, at their start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestartOn {
    /// Relative to the root, such as `shared/.env`.
    pub path: RelativePath,
    /// Run in the release, as the App's user, before the workers restart, such as `php artisan config:cache`.
    pub run: Option<CommandLine>,
}

/// A command: one line for `sh -c`, exactly as written, or an argument list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum CommandLine {
    /// Handed to `sh -c` as it is.
    Shell(String),
    /// Program and arguments; never empty.
    Arguments(Vec<String>),
}

impl CommandLine {
    /// Program and arguments as they are executed.
    #[must_use]
    pub fn argv(&self) -> Vec<String> {
        match self {
            Self::Shell(line) => vec!["/bin/sh".to_owned(), "-c".to_owned(), line.clone()],
            Self::Arguments(arguments) => arguments.clone(),
        }
    }
}

impl std::fmt::Display for CommandLine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Shell(line) => f.write_str(line),
            Self::Arguments(arguments) => f.write_str(&arguments.join(" ")),
        }
    }
}

/// Who runs the workers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Manager {
    /// A group of a running supervisord.
    Supervisord(Supervisord),
    /// Instances of a systemd template unit.
    Systemd(Systemd),
    /// Trueup itself, without a daemon.
    Builtin(Builtin),
}

impl Manager {
    /// The word used in manifests and messages.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Supervisord(_) => "supervisord",
            Self::Systemd(_) => "systemd",
            Self::Builtin(_) => "builtin",
        }
    }
}

/// A group of a running supervisord.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Supervisord {
    /// The group's name; a lone program is a group of its own name.
    pub group: String,
    /// Which program, where the group mixes several.
    pub program: Option<String>,
    /// The XML-RPC socket; none: the usual places.
    pub socket: Option<PathBuf>,
    /// Name for the socket's authentication.
    pub username: Option<String>,
    /// Where the password is.
    pub password: Option<SecretSource>,
}

/// Where a secret is read from; the value itself never stands in a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// First line of this file.
    File(PathBuf),
    /// This environment variable of trueup itself.
    EnvironmentVariable(String),
}

/// Instances of a systemd template unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Systemd {
    /// Such as `yujix-worker@`.
    pub unit: TemplateUnit,
}

/// Name of a template unit, kept as `PREFIX@` without `.service`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateUnit(String);

impl TemplateUnit {
    /// Accepts `yujix-worker@` and `yujix-worker@.service`; none for anything else.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let name = text.strip_suffix(".service").unwrap_or(text);
        let prefix = name.strip_suffix('@')?;
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, ':' | '-' | '_' | '.' | '\\');
        (!prefix.is_empty() && prefix.chars().all(allowed)).then(|| Self(name.to_owned()))
    }

    /// The template, such as `yujix-worker@.service`.
    #[must_use]
    pub fn template(&self) -> String {
        format!("{}.service", self.0)
    }

    /// One instance, such as `yujix-worker@3.service`.
    #[must_use]
    pub fn instance(&self, ordinal: u32) -> String {
        format!("{}{ordinal}.service", self.0)
    }

    /// The number in an instance's name; none for a unit that is no numbered instance of this template.
    #[must_use]
    pub fn ordinal(&self, unit: &str) -> Option<u32> {
        let number = unit.strip_prefix(&self.0)?.strip_suffix(".service")?;
        // `@01` is another unit than `@1`; only our own spelling is ours.
        number.parse().ok().filter(|parsed: &u32| parsed.to_string() == number)
    }
}

/// Workers that trueup starts itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Builtin {
    /// What to run, in the release's directory.
    pub run: CommandLine,
    /// Added to the worker's environment.
    pub env: BTreeMap<String, String>,
}

/// What to do with processes of this root that no group owns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StrayPolicy {
    /// Say so, touch nothing. The default.
    #[default]
    Report,
    /// Stop those gently that run as one of the App's users and have no terminal.
    Stop,
}

/// Where an HTTP probe really connects, whatever its URL resolves to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConnectTo {
    /// This address and port.
    Tcp(SocketAddr),
    /// This unix socket.
    Unix(PathBuf),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(count: u32, max_unavailable: Amount) -> WorkerGroup {
        let manager = Manager::Systemd(Systemd { unit: TemplateUnit::new("w@").unwrap() });
        WorkerGroup { max_unavailable, ..WorkerGroup::new(GroupName::new("default").unwrap(), count, manager) }
    }

    #[test]
    fn max_unavailable_rounds_up_and_is_at_least_one() {
        let rows = [
            (2, Amount::Percent(100), 2),
            (3, Amount::Percent(50), 2),
            (10, Amount::Percent(1), 1),
            (10, Amount::Percent(0), 1),
            (0, Amount::Percent(100), 1),
            (4, Amount::Count(0), 1),
            (4, Amount::Count(3), 3),
            (u32::MAX, Amount::Percent(100), u32::MAX),
        ];
        for (count, max, limit) in rows {
            assert_eq!(group(count, max).unavailable_limit(), limit, "{count} {max:?}");
        }
    }

    #[test]
    fn template_units_name_their_instances() {
        for text in ["yujix-worker@", "yujix-worker@.service"] {
            let unit = TemplateUnit::new(text).unwrap();
            assert_eq!(unit.template(), "yujix-worker@.service");
            assert_eq!(unit.instance(3), "yujix-worker@3.service");
            assert_eq!(unit.ordinal("yujix-worker@3.service"), Some(3));
            for other in
                ["yujix-worker@03.service", "yujix-worker@x.service", "yujix@3.service", "yujix-worker@.service"]
            {
                assert_eq!(unit.ordinal(other), None, "{other}");
            }
        }
        for bad in ["", "@", "yujix-worker", "a b@", "a@1", "../a@", "a/b@"] {
            assert!(TemplateUnit::new(bad).is_none(), "{bad}");
        }
    }
}
