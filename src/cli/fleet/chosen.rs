//! Which Apps have hosts, and which of these are meant.

use crate::cli::Failure;
use crate::cli::options::fleet::Hosts;
use crate::cli::render::problem::Complaint;
use crate::fleet::work::Target;
use crate::manifest::{LoadErrors, Loaded};
use crate::model::fleet::{Fleet, FleetHost, HostName};
use crate::model::nearest::suggestion;

/// An App, and those of its hosts that are meant.
#[derive(Debug)]
pub struct One<'a> {
    /// The App as it was written.
    pub loaded: &'a Loaded,
    /// Its rollout, and the hosts that are meant.
    pub fleet: Fleet,
    /// The same hosts, each with the App as it is there.
    pub targets: Vec<Target>,
    /// How many hosts the App has beside them.
    pub others: usize,
}

impl One<'_> {
    /// The hosts that are meant, in the order of the manifest.
    pub fn names(&self) -> impl Iterator<Item = HostName> {
        self.targets.iter().map(|target| target.host.name.clone())
    }
}

/// Those for this host, and those for others. Whoever chooses among `hosts` means these only: not this one, then.
#[must_use]
pub fn part(loaded: Vec<Loaded>, hosts: &Hosts) -> (Vec<Loaded>, Vec<Loaded>) {
    let (here, theirs) = loaded.into_iter().partition(|one| one.fleet.is_none());
    (if hosts.is_choice() { Vec::new() } else { here }, theirs)
}

/// The Apps with hosts, each with those of them that are meant. An App of which none is meant is left out.
///
/// # Errors
/// A host that is not there, a choice that leaves none, or a manifest that does not do on one of them.
pub fn chosen<'a>(loaded: &'a [Loaded], hosts: &Hosts) -> Result<Vec<One<'a>>, Failure> {
    let fleets = || loaded.iter().filter_map(|one| Some((one, one.fleet.as_ref()?)));
    let names: Vec<&str> = fleets().flat_map(|(_, fleet)| &fleet.hosts).map(|host| host.name.as_str()).collect();
    if let Some(unknown) = hosts.hosts.iter().find(|name| !names.contains(&name.as_str())) {
        let complaint = Complaint::new(format!("there is no host `{unknown}` in these manifests"));
        let help = if names.is_empty() {
            "list the App's hosts under `spec.hosts`".to_owned()
        } else {
            suggestion(unknown.as_str(), &names)
        };
        return Err(Failure::Complaint(complaint.help(help)));
    }
    let mut all = Vec::new();
    for (one, fleet) in fleets() {
        let all_hosts = fleet.hosts.len();
        let fleet = Fleet {
            hosts: fleet.hosts.iter().filter(|host| is_meant(host, hosts)).cloned().collect(),
            ..fleet.clone()
        };
        let target = |host: &FleetHost| {
            let manifest = one.on_host(host).map_err(Failure::Manifests)?.wire();
            Ok(Target { host: host.clone(), manifest })
        };
        let targets = fleet.hosts.iter().map(target).collect::<Result<Vec<_>, Failure>>()?;
        if !targets.is_empty() {
            let others = all_hosts - targets.len();
            all.push(One { loaded: one, fleet, targets, others });
        }
    }
    if all.is_empty() && hosts.is_choice() {
        let limits: Vec<String> = hosts.limit.iter().map(|limit| format!("`{limit}`")).collect();
        let complaint = if limits.is_empty() {
            Complaint::new("no App in these manifests has hosts").help("list them under `spec.hosts`")
        } else {
            Complaint::new(format!("no host fits {}", limits.join(" and ")))
                .help("labels stand at `spec.hosts[].labels`; of several limits all must fit")
        };
        return Err(Failure::Complaint(complaint));
    }
    Ok(all)
}

/// Refuses Apps that would lack a secret on their hosts, before anything is done to any.
///
/// # Errors
/// What of them is read from the environment of this session.
pub fn refuse_own_environment(apps: &[One<'_>]) -> Result<(), Failure> {
    let mistakes: Vec<_> =
        apps.iter().filter_map(|one| one.loaded.leaves_home().err()).flat_map(|errors| errors.mistakes).collect();
    if mistakes.is_empty() { Ok(()) } else { Err(Failure::Manifests(LoadErrors { mistakes })) }
}

fn is_meant(host: &FleetHost, hosts: &Hosts) -> bool {
    (hosts.hosts.is_empty() || hosts.hosts.contains(&host.name)) && hosts.limit.iter().all(|limit| limit.is_for(host))
}
