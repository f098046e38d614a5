//! The daemons that serve the release: what their managers show of them, and how they are made to serve another one.
//!
//! In: the services of an App. Out: an [`ObservedService`] for each, or a reload or restart that has really
//! happened. Behind it are the same doors as for workers; a service may also be nothing but commands (`command`).
//! Begin at [`HostManagers::services`] and [`HostManagers::renew`].

mod command;
pub(super) mod nginx;
pub(super) mod php_fpm;

use futures_util::future::join_all;

use super::HostManagers;
use crate::model::app::App;
use crate::model::process::{Pid, ProcessTable};
use crate::model::service::{ObservedService, Renewal, Service, ServiceManager, ServiceState};
use crate::ports::HostError;

impl HostManagers {
    /// Looks at the services of these Apps; the answers are in their order. One that many Apps share is asked about
    /// once.
    pub async fn services(&self, apps: &[&App], table: &ProcessTable) -> Vec<Vec<ObservedService>> {
        let mut asked: Vec<&ServiceManager> = Vec::new();
        for service in apps.iter().flat_map(|app| &app.services) {
            if !asked.contains(&&service.manager) {
                asked.push(&service.manager);
            }
        }
        let states = join_all(asked.iter().map(async |manager| {
            let seen = self.state(manager, table).await;
            seen.map_err(HostError::into_unreadable)
        }));
        let states = states.await;
        let seen = |service: &Service| {
            let (_, state) = asked.iter().zip(&states).find(|(manager, _)| **manager == &service.manager)?;
            Some(ObservedService { service: service.name.clone(), seen: state.clone() })
        };
        apps.iter().map(|app| app.services.iter().filter_map(seen).collect()).collect()
    }

    /// Reloads or restarts a service and returns when that has really happened: when no process is left that
    /// answered before, except where nobody can tell ([`ServiceManager::Command`]).
    ///
    /// Done twice, it happens twice, which harms nothing.
    ///
    /// # Errors
    /// It does not run, cannot be reloaded, refuses, did not do it within the service's timeout, or does not
    /// run any more afterwards; also where nobody could tell because `/proc` does not show its processes.
    pub async fn renew(&self, app: &App, service: &Service, how: Renewal) -> Result<(), HostError> {
        match (&service.manager, how) {
            (ServiceManager::Systemd { unit }, _) => self.systemd.renew(unit, how, service.timeout).await,
            (ServiceManager::Supervisord(manager), _) => {
                self.supervisord.renew(manager, how, &service.name, service.timeout).await
            }
            (ServiceManager::Command { reload: run, user, .. }, Renewal::Reload)
            | (ServiceManager::Command { restart: run, user, .. }, Renewal::Restart) => {
                command::renew(&self.shim, app, service, (run.as_ref(), user.as_ref()), how).await
            }
        }
    }

    async fn state(&self, manager: &ServiceManager, table: &ProcessTable) -> Result<ServiceState, HostError> {
        match manager {
            ServiceManager::Systemd { unit } => self.systemd.serving(unit, table).await,
            ServiceManager::Supervisord(manager) => self.supervisord.serving(manager, table).await,
            ServiceManager::Command { reload, .. } => Ok(command::state(reload.as_ref())),
        }
    }
}

/// Warns of a trap in the set-up of the daemon with this main process; reads files on a thread that may block.
pub(super) async fn warning(table: &ProcessTable, main: Pid) -> Option<String> {
    let main = table.get(main)?.clone();
    tokio::task::spawn_blocking(move || php_fpm::warning(&main)).await.ok().flatten()
}
