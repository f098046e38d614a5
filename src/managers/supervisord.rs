//! Workers run by supervisord.
//!
//! In: groups whose manager is `supervisord`. Out: their members as supervisord lists them, and members
//! started, replaced or stopped. A listing costs one request for all groups of all Apps behind a socket;
//! settings of programs are asked for only when something is done, once a pass.
//!
//! There are two doors: the socket, and where that may not be opened `sudo -n supervisorctl`
//! (`supervisorctl`). What happens behind them is the same (`act`).
//!
//! # Limits
//! A worker that is replaced may take `stopTimeout` for its job. One that is *stopped* is stopped by
//! supervisord, which kills it after its own `stopwaitsecs` where that is shorter.

mod act;
mod answers;
pub(super) mod client;
pub(super) mod files;
mod members;
mod process_tree;
mod rpc;
mod service;
mod socket;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::join_all;

use self::act::Act;
use self::client::{Client, Info};
use self::rpc::Rpc;
use self::socket::Address;
use super::supervisorctl::{self, Supervisorctl};
use crate::model::app::{Manager, Supervisord as Configured};
use crate::model::names::MemberName;
use crate::model::process::{ProcessId, ProcessTable};
use crate::ports::{GroupOf, HostError, HostErrorKind, Listed, Managers};

/// Every supervisord of this host.
///
/// Keeps one connection to each for as long as it lives.
pub struct Supervisord {
    connections: Mutex<Vec<(Address, Arc<Rpc>)>>,
    supervisorctl: Vec<String>,
    socket: bool,
    /// The manifests are approved: a socket that they name is connected to.
    approved: bool,
}

impl Default for Supervisord {
    /// Through the sockets, and where one may not be opened through `sudo -n /usr/bin/supervisorctl`.
    fn default() -> Self {
        Self { socket: true, ..Self::by_command(["sudo", "-n", supervisorctl::PROGRAM].map(str::to_owned).into()) }
    }
}

/// The way into one supervisord.
#[derive(Clone)]
enum Way {
    Socket(Arc<Rpc>),
    Command(Supervisorctl),
}

impl Way {
    async fn all(&self) -> Result<Vec<Info>, HostError> {
        match self {
            Self::Socket(rpc) => {
                rpc.forget_programs().await;
                rpc.all().await
            }
            Self::Command(supervisorctl) => supervisorctl.all().await,
        }
    }
}

impl Supervisord {
    /// Never opens a socket, but runs this command, to which supervisorctl's arguments are added.
    #[must_use]
    pub fn by_command(supervisorctl: Vec<String>) -> Self {
        Self { connections: Mutex::default(), supervisorctl, socket: false, approved: true }
    }

    /// The same for manifests that nobody has approved: only the host's own supervisord is asked, and no password of
    /// theirs is read.
    #[must_use]
    pub(super) fn of_unapproved(self) -> Self {
        Self { approved: false, ..self }
    }

    fn address(&self, manager: &Configured) -> Result<Address, HostError> {
        if self.approved { Address::of(manager) } else { Address::usual(manager) }
    }

    fn way(&self, address: &Address) -> Result<Way, HostError> {
        if !self.socket || address.is_closed_to_us() {
            let socket = address.named.then(|| address.socket.clone());
            return Ok(Way::Command(Supervisorctl::new(self.supervisorctl.clone(), socket)));
        }
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, rpc)) = connections.iter().find(|(known, _)| known == address) {
            return Ok(Way::Socket(Arc::clone(rpc)));
        }
        let rpc = Arc::new(Rpc::new(&address.socket, address.credentials()?)?);
        connections.push((address.clone(), Arc::clone(&rpc)));
        Ok(Way::Socket(rpc))
    }

    /// The socket of the group's supervisord, if it may be opened.
    pub(super) fn open_socket(&self, manager: &Configured) -> Option<PathBuf> {
        let address = self.address(manager).ok()?;
        (self.socket && !address.is_closed_to_us()).then_some(address.socket)
    }

    /// A password may have been changed: it is read again at the next try.
    fn forget(&self, address: &Address) {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner).retain(|(known, _)| known != address);
    }

    async fn ask_all(&self, address: &Address) -> Result<Vec<Info>, HostError> {
        let answer = self.way(address)?.all().await;
        if answer.as_ref().is_err_and(|error| error.kind == HostErrorKind::Denied) {
            self.forget(address);
        }
        answer
    }

    fn way_to(&self, of: GroupOf<'_>) -> Result<Way, HostError> {
        self.way(&self.address(configured(of)?)?)
    }
}

impl Managers for Supervisord {
    async fn list(&self, groups: &[GroupOf<'_>], _table: &ProcessTable) -> Vec<Result<Vec<Listed>, HostError>> {
        let addresses: Vec<_> =
            groups.iter().map(|of| configured(*of).and_then(|manager| Ok((manager, self.address(manager)?)))).collect();
        let mut asked: Vec<&Address> = Vec::new();
        for (_, address) in addresses.iter().flatten() {
            if !asked.contains(&address) {
                asked.push(address);
            }
        }
        let answers = join_all(asked.iter().map(|address| self.ask_all(address))).await;
        let answer_of = |address: &Address| {
            let found = asked.iter().zip(&answers).find(|(known, _)| **known == address);
            found.map_or_else(|| Ok(&[][..]), |(_, answer)| answer.as_deref().map_err(Clone::clone))
        };
        let select = |(manager, address): &(&Configured, Address)| members::select(answer_of(address)?, manager);
        addresses.iter().map(|found| found.as_ref().map_err(Clone::clone).and_then(select)).collect()
    }

    async fn start(&self, of: GroupOf<'_>, member: &MemberName) -> Result<(), HostError> {
        match self.way_to(of)? {
            Way::Socket(rpc) => Act::on(&*rpc, member, of.group.stop_timeout).await.start().await,
            Way::Command(command) => Act::on(&command, member, of.group.stop_timeout).await.start().await,
        }
    }

    async fn replace(&self, of: GroupOf<'_>, member: &MemberName, process: Option<ProcessId>) -> Result<(), HostError> {
        match self.way_to(of)? {
            Way::Socket(rpc) => Act::on(&*rpc, member, of.group.stop_timeout).await.replace(process).await,
            Way::Command(command) => Act::on(&command, member, of.group.stop_timeout).await.replace(process).await,
        }
    }

    async fn stop(&self, of: GroupOf<'_>, member: &MemberName) -> Result<(), HostError> {
        match self.way_to(of)? {
            Way::Socket(rpc) => {
                interchangeable(&rpc, configured(of)?).await?;
                Act::on(&*rpc, member, of.group.stop_timeout).await.stop().await
            }
            Way::Command(command) => Act::on(&command, member, of.group.stop_timeout).await.stop().await,
        }
    }

    /// supervisord's own configuration says what comes back (`autostart`), so there is nothing to do.
    async fn enable(&self, _of: GroupOf<'_>, _member: &MemberName) -> Result<(), HostError> {
        Ok(())
    }
}

fn configured(of: GroupOf<'_>) -> Result<&Configured, HostError> {
    match &of.group.manager {
        Manager::Supervisord(manager) => Ok(manager),
        other => {
            let message = format!("worker group `{}` is run by {}, not by supervisord", of.group.name, other.kind());
            Err(HostError::new(HostErrorKind::Misconfigured, message))
        }
    }
}

/// Which member is stopped must not matter. Where it does, names alone did not tell that there are several programs.
async fn interchangeable(rpc: &Rpc, manager: &Configured) -> Result<(), HostError> {
    // Without an answer nothing speaks against it.
    let Ok(programs) = rpc.programs().await else { return Ok(()) };
    let ours = programs.iter().filter(|program| {
        let named = manager.program.as_ref().is_none_or(|wanted| members::belongs(&program.name, wanted));
        program.group == manager.group && named
    });
    if members::same_work(ours.map(|program| program.command.as_str())) {
        return Ok(());
    }
    let message = format!(
        "the processes of supervisord's group `{}` run different commands, so it matters which of them is stopped",
        manager.group
    );
    Err(HostError::new(HostErrorKind::Misconfigured, message)
        .with_help("name one with `program:` beside `group:`, and write one worker group for each"))
}
