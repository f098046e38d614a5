//! What the doctor looks at on this host: each fact from the room that knows it, within a time of its own.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use super::LocalHost;
use crate::host::users::User;
use crate::host::{blocking, machine, proc};
use crate::managers::configured::{self, Believed};
use crate::model::app::{App, ConnectTo, Manager};
use crate::model::facts::{AppFacts, HostFacts, PathFacts, Program};
use crate::model::health::Probe;
use crate::model::names::{GroupName, ReleaseId, Root};
use crate::model::process::Known;
use crate::model::service::ServiceManager;
use crate::ports::{Clock, HostError};
use crate::releases;

/// How long files may take to be read: a mount may hang.
const FILES: Duration = Duration::from_secs(10);
/// How long the size of all releases may take to be found out.
const SIZES: Duration = Duration::from_secs(5);
/// How long a name may take to be resolved.
const NAMES: Duration = Duration::from_secs(5);
/// How long it may take to find out which way to a manager is open.
const RIGHTS: Duration = Duration::from_secs(30);
/// So many releases are measured.
const MEASURED: usize = 20;

impl LocalHost {
    /// What the host itself is like, and how those of its daemons are configured that root or the users of these Apps
    /// run.
    ///
    /// # Errors
    /// Who runs trueup, or what runs here, cannot be found out.
    pub async fn host_facts(&self, apps: &[&App]) -> Result<HostFacts, HostError> {
        let table = blocking(proc::walk).await??;
        let user = blocking(User::who_runs).await??;
        let owners: Vec<App> = apps.iter().map(|&app| app.clone()).collect();
        let files = self.aside(FILES, move |_| {
            let owners = owners.iter().filter_map(|app| User::of(app).ok()).map(|user| user.uid);
            let believed = Believed::new(&table, owners);
            (believed.supervisords(), believed.nginx(), believed.php_fpms(), configured::default_stop_timeout())
        });
        let units = self.aside(FILES, |_| configured::units_that_run(&["trueup agent", "trueup reconcile"]));
        let (files, units, clock_synchronised) = tokio::join!(files, units, machine::clock_synchronised());
        let late = || "the configuration files could not be read in time".to_owned();
        let (supervisord, nginx, fpm, default_stop_timeout) = match files {
            Some((supervisord, nginx, fpm, limit)) => (supervisord, Known::Known(nginx), Known::Known(fpm), limit),
            None => (Vec::new(), Known::Unknown(late()), Known::Unknown(late()), None),
        };
        Ok(HostFacts {
            supervisord,
            nginx,
            fpm,
            trueup_units: units.map_or_else(|| Known::Unknown(late()), Known::Known),
            default_stop_timeout,
            inotify_watches: machine::kernel_number("fs/inotify/max_user_watches"),
            inotify_instances: machine::kernel_number("fs/inotify/max_user_instances"),
            clock_synchronised,
            hidden_processes: machine::hidden_processes(&user),
            user: machine::person(&user),
        })
    }

    /// What there is of one App. Of `programs` it is told whether they are there.
    pub async fn app_facts(&self, app: &App, programs: Vec<Program>) -> AppFacts {
        let rights = tokio::time::timeout(RIGHTS, self.doors.rights(app));
        let (rights, health, sizes) = tokio::join!(rights, addresses(app), self.release_sizes(&app.root));
        let mut facts = self.seen(app, programs).await;
        facts.rights = rights.unwrap_or_default();
        facts.health = health;
        facts.release_sizes = sizes;
        facts
    }

    async fn seen(&self, app: &App, programs: Vec<Program>) -> AppFacts {
        let (of, wanted) = (app.clone(), programs.clone());
        let looked = self.aside(FILES, move |_| look(&of, wanted)).await;
        looked.unwrap_or_else(|| {
            let late = || format!("`{}` could not be looked at in time", app.root);
            AppFacts {
                user: Known::Unknown(late()),
                root: Known::Unknown(late()),
                inside: BTreeMap::new(),
                current: None,
                serving: None,
                release_sizes: Vec::new(),
                space: Known::Unknown(late()),
                health: None,
                units: BTreeMap::new(),
                rights: Vec::new(),
                programs: programs.into_iter().map(|one| Program { there: Known::Unknown(late()), ..one }).collect(),
            }
        })
    }

    async fn release_sizes(&self, root: &Root) -> Vec<Option<u64>> {
        let layout = tokio::time::timeout(FILES, releases::layout(root, false)).await;
        let Ok(Ok(layout)) = layout else { return Vec::new() };
        let mut ids: Vec<ReleaseId> = layout.releases.into_iter().map(|release| release.id).collect();
        let unmeasured = ids.len().saturating_sub(MEASURED);
        // The newest are last, if their names say so.
        let measured = releases::sizes(root, &ids.split_off(unmeasured), SIZES).await;
        std::iter::repeat_n(None, unmeasured).chain(measured).collect()
    }
}

/// Opened at each pass that acts.
const LOCK: &str = ".trueup/lock";

/// Blocks.
fn look(app: &App, programs: Vec<Program>) -> AppFacts {
    let root = &app.root;
    let user = User::of(app).map_or_else(|error| Known::Unknown(error.message), Known::Known);
    let shared = &app.release.shared;
    let shared = shared.dirs.iter().chain(&shared.files).chain(&shared.writable).map(|path| format!("shared/{path}"));
    let inside = ["current", "releases", "shared", ".trueup", LOCK].map(str::to_owned).into_iter().chain(shared);
    let inside = inside.map(|path| (path.clone(), machine::standing(&root.path().join(path)))).collect();
    AppFacts {
        root: followed(root.path()),
        inside,
        current: std::fs::read_link(root.current()).ok(),
        serving: machine::followed(&root.current()),
        release_sizes: Vec::new(),
        space: machine::space(root.path()),
        health: None,
        units: units(app),
        rights: Vec::new(),
        programs: programs.into_iter().map(|one| Program { there: there(&user, &one), ..one }).collect(),
        user: user.map(|user| machine::person(&user)),
    }
}

fn followed(path: &Path) -> Known<Option<PathFacts>> {
    match machine::standing(path) {
        Known::Known(Some(_)) => Known::Known(machine::followed(path)),
        other => other,
    }
}

fn there(owner: &Known<User>, program: &Program) -> Known<bool> {
    let user = match (&program.user, owner) {
        (Some(name), _) => User::named(name),
        (None, Known::Known(user)) => Ok(user.clone()),
        (None, Known::Unknown(why)) => return Known::Unknown(why.clone()),
    };
    user.map_or_else(|error| Known::Unknown(error.message), |user| machine::could_run(&user, &program.name))
}

fn units(app: &App) -> BTreeMap<GroupName, Known<Option<crate::model::facts::Unit>>> {
    let groups = app.workers.iter().filter_map(|group| match &group.manager {
        Manager::Systemd(systemd) => Some((&group.name, systemd.unit.template())),
        Manager::Supervisord(_) | Manager::Builtin(_) => None,
    });
    let services = app.services.iter().filter_map(|service| match &service.manager {
        ServiceManager::Systemd { unit } => Some((&service.name, unit.clone())),
        ServiceManager::Supervisord(_) | ServiceManager::Command { .. } => None,
    });
    groups.chain(services).map(|(name, unit)| (name.clone(), Known::Known(configured::unit(&unit)))).collect()
}

/// Where the health probe goes, each address with whether it is this host; none where it goes to no address.
async fn addresses(app: &App) -> Option<Known<Vec<(IpAddr, bool)>>> {
    let Some(Probe::Http { url, connect_to, .. }) = app.health.as_ref().map(|health| &health.probe) else {
        return None;
    };
    let found: Vec<IpAddr> = match connect_to {
        Some(ConnectTo::Unix(_)) => return None,
        Some(ConnectTo::Tcp(address)) => vec![address.ip()],
        None => {
            let url = reqwest::Url::parse(url).ok()?;
            let (host, port) = (url.host_str()?.trim_matches(['[', ']']), url.port_or_known_default().unwrap_or(80));
            match tokio::time::timeout(NAMES, tokio::net::lookup_host((host, port))).await {
                Ok(Ok(found)) => found.map(|address| address.ip()).collect(),
                Ok(Err(error)) => return Some(Known::Unknown(format!("`{host}` does not resolve: {error}"))),
                Err(_) => return Some(Known::Unknown(format!("`{host}` did not resolve in time"))),
            }
        }
    };
    let mut found: Vec<(IpAddr, bool)> = found.into_iter().map(|one| (one, machine::is_own_address(one))).collect();
    found.sort_unstable();
    found.dedup();
    Some(Known::Known(found))
}
