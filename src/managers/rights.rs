//! Which way to each manager is open for who runs trueup, and which sudo rules are missing.
//!
//! Nothing is tried that changes anything: a socket is asked for its processes, and sudo whether it would.

use std::process::Stdio;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use tokio::process::Command;
use tokio::time::timeout;

use super::Doors;
use super::sudoers::{Needed, example};
use crate::model::app::{App, Manager, Supervisord};
use crate::model::facts::{Door, Right};
use crate::model::service::ServiceManager;
use crate::ports::HostError;

/// How long sudo may take to answer; it may ask a directory service.
const SUDO: Duration = Duration::from_secs(10);
/// So many are asked at a time.
const AT_ONCE: usize = 4;
/// More rules than this are not asked about: those of one group are alike.
const MOST: usize = 48;

impl Doors {
    /// The way to each group and service of an App, in the order of the manifest.
    pub async fn rights(&self, app: &App) -> Vec<Right> {
        let groups = app.workers.iter().map(|group| match &group.manager {
            Manager::Supervisord(manager) => Some(manager),
            Manager::Systemd(_) | Manager::Builtin(_) => None,
        });
        let services = app.services.iter().map(|service| match &service.manager {
            ServiceManager::Supervisord(manager) => Some(manager),
            ServiceManager::Systemd { .. } | ServiceManager::Command { .. } => None,
        });
        let managers: Vec<Option<&Supervisord>> = groups.chain(services).collect();
        let mut rights = Vec::new();
        for (needed, manager) in self.sudo_commands(app).await.into_iter().zip(managers) {
            let Needed { what, commands } = needed;
            let door = match (commands, manager) {
                (Err(HostError { message, help, .. }), _) => Door::Shut(message, help),
                (Ok(_), Some(manager)) if let Some(socket) = self.supervisord.open_socket(manager) => {
                    Door::Socket(socket)
                }
                (Ok(_), _) if rustix::process::geteuid().is_root() => Door::Own,
                (Ok(commands), _) if commands.is_empty() => Door::Own,
                (Ok(commands), _) => by_sudo(commands).await,
            };
            rights.push(Right { what, door });
        }
        rights
    }
}

async fn by_sudo(mut commands: Vec<String>) -> Door {
    commands.truncate(MOST);
    let needed = commands.len();
    let asked = commands.into_iter().map(async |spelled| {
        let allowed = sudo(&[&["-l".to_owned(), "--".to_owned()], &*example(&spelled)].concat()).await;
        (spelled, allowed)
    });
    let answers: Vec<(String, Result<String, Refusal>)> = stream::iter(asked).buffered(AT_ONCE).collect().await;
    let mut refused = Vec::new();
    for (spelled, allowed) in answers {
        match allowed {
            Ok(_) => {}
            Err(Refusal::No) => refused.push(spelled),
            Err(Refusal::Silent(why)) => return Door::Unknown(why),
        }
    }
    // sudo tells of a single command whether a rule allows it, and not whether that asks for a password.
    let password = match sudo(&["-ll".to_owned()]).await {
        Ok(listed) => !listed.contains("!authenticate"),
        Err(_) => false,
    };
    Door::Sudo { needed, refused, password }
}

enum Refusal {
    /// It would not.
    No,
    /// It cannot be asked, and why.
    Silent(String),
}

async fn sudo(arguments: &[String]) -> Result<String, Refusal> {
    let mut sudo = Command::new("sudo");
    sudo.arg("-n").args(arguments).env("LC_ALL", "C").stdin(Stdio::null()).kill_on_drop(true);
    match timeout(SUDO, sudo.output()).await {
        Ok(Ok(output)) if output.status.success() => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        Ok(Ok(_)) => Err(Refusal::No),
        Ok(Err(error)) => Err(Refusal::Silent(format!("sudo cannot be run: {error}"))),
        Err(_) => Err(Refusal::Silent("sudo does not answer".to_owned())),
    }
}
