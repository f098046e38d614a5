//! Who runs the workers and services: one port, a door for every manager.
//!
//! [`HostManagers`] takes each group to the manager that its App names; behind each door is the same
//! [`Managers`] port. A group that comes to a wrong door is an error there, never a silent nothing.
//! What is done with services is in [`services`].

pub mod builtin;
pub mod configured;
mod old_processes;
pub mod rights;
pub mod services;
pub mod sudoers;
mod supervisorctl;
pub mod supervisord;
mod systemctl;
pub mod systemd;

use crate::host::spawn::Shim;
use crate::managers::builtin::Builtin;
use crate::managers::supervisord::Supervisord;
use crate::managers::systemd::Systemd;
use crate::model::app::Manager;
use crate::model::names::MemberName;
use crate::model::process::{ProcessId, ProcessTable};
use crate::ports::{GroupOf, HostError, HostErrorKind, Listed, Managers};

/// All managers of a host; each is reached when the first group asks for it.
pub struct HostManagers {
    supervisord: Supervisord,
    systemd: Systemd,
    builtin: Builtin,
    shim: Shim,
}

impl HostManagers {
    /// Starts its own workers, and commands of services, through this shim.
    #[must_use]
    pub fn new(shim: Shim) -> Self {
        Self {
            supervisord: Supervisord::default(),
            systemd: Systemd::default(),
            builtin: Builtin::new(shim.clone()),
            shim,
        }
    }

    /// The same, to look at managers for manifests that nobody has approved: asked are those of this host alone.
    #[must_use]
    pub fn of_unapproved(self) -> Self {
        Self { supervisord: self.supervisord.of_unapproved(), ..self }
    }
}

/// Calls the same method of whichever manager the group names.
macro_rules! behind {
    ($doors:expr, $of:expr, $method:ident($($argument:expr),*)) => {
        match $of.group.manager {
            Manager::Supervisord(_) => $doors.supervisord.$method($of, $($argument),*).await,
            Manager::Systemd(_) => $doors.systemd.$method($of, $($argument),*).await,
            Manager::Builtin(_) => $doors.builtin.$method($of, $($argument),*).await,
        }
    };
}

impl std::fmt::Debug for HostManagers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HostManagers")
    }
}

impl Managers for HostManagers {
    async fn list(&self, groups: &[GroupOf<'_>], table: &ProcessTable) -> Vec<Result<Vec<Listed>, HostError>> {
        let of_kind = |kind: &'static str| -> Vec<GroupOf<'_>> {
            groups.iter().filter(|of| of.group.manager.kind() == kind).copied().collect()
        };
        let (supervisord, systemd, builtin) = (of_kind("supervisord"), of_kind("systemd"), of_kind("builtin"));
        let (supervisord, systemd, builtin) = tokio::join!(
            some(&self.supervisord, &supervisord, table),
            some(&self.systemd, &systemd, table),
            some(&self.builtin, &builtin, table),
        );
        let (mut supervisord, mut systemd, mut builtin) =
            (supervisord.into_iter(), systemd.into_iter(), builtin.into_iter());
        groups
            .iter()
            .map(|of| match of.group.manager {
                Manager::Supervisord(_) => supervisord.next(),
                Manager::Systemd(_) => systemd.next(),
                Manager::Builtin(_) => builtin.next(),
            })
            .map(|listed| listed.unwrap_or_else(|| Err(unlisted())))
            .collect()
    }

    async fn start(&self, of: GroupOf<'_>, member: &MemberName) -> Result<(), HostError> {
        behind!(self, of, start(member))
    }

    async fn replace(&self, of: GroupOf<'_>, member: &MemberName, process: Option<ProcessId>) -> Result<(), HostError> {
        behind!(self, of, replace(member, process))
    }

    async fn stop(&self, of: GroupOf<'_>, member: &MemberName) -> Result<(), HostError> {
        behind!(self, of, stop(member))
    }

    async fn enable(&self, of: GroupOf<'_>, member: &MemberName) -> Result<(), HostError> {
        behind!(self, of, enable(member))
    }
}

/// Asks a manager about its groups; one without groups is not asked.
async fn some<M: Managers>(
    manager: &M,
    groups: &[GroupOf<'_>],
    table: &ProcessTable,
) -> Vec<Result<Vec<Listed>, HostError>> {
    if groups.is_empty() { Vec::new() } else { manager.list(groups, table).await }
}

fn unlisted() -> HostError {
    HostError::new(HostErrorKind::Other, "the manager did not answer for this group")
}
