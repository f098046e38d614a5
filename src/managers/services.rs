//! The daemons that serve the release: what their managers show of them, and how they are made to serve another one.
//!
//! In: the services of an App. Out: an [`ObservedService`] for each, or a reload or restart that has really
//! happened. Behind it are the same doors as for workers; a service may also be nothing but commands (`command`).
//! Begin at [`Doors::services`] and [`Doors::renew`].

mod command;
pub(super) mod nginx;
pub(super) mod php_fpm;

use futures_util::future::join_all;

use super::Doors;
use crate::model::app::App;
use crate::model::observed::Unreadable;
use crate::model::process::{Pid, ProcessTable};
use crate::model::service::{ObservedService, Renewal, Service, ServiceManager, ServiceState};
use crate::ports::HostError;

impl Doors {
    /// Looks at each of the App's services; the answers are in their order.
    pub async fn services(&self, app: &App, table: &ProcessTable) -> Vec<ObservedService> {
        join_all(app.services.iter().map(async |service| {
            let seen = self.state(service, table).await;
            let seen = seen.map_err(|error| Unreadable { message: error.message, help: error.help });
            ObservedService { service: service.name.clone(), seen }
        }))
        .await
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
            (ServiceManager::Command { reload, .. }, Renewal::Reload) => {
                command::renew(&self.shim, app, service, reload.as_ref(), how).await
            }
            (ServiceManager::Command { restart, .. }, Renewal::Restart) => {
                command::renew(&self.shim, app, service, restart.as_ref(), how).await
            }
        }
    }

    async fn state(&self, service: &Service, table: &ProcessTable) -> Result<ServiceState, HostError> {
        match &service.manager {
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
