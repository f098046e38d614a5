//! Which way to each manager is open for who runs trueup, and which sudo rules are missing.
//!
//! Nothing is tried that changes anything: a socket is asked for its processes, and sudo whether it would.

use std::process::Stdio;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use tokio::process::Command;
use tokio::time::timeout;

use super::HostManagers;
use super::sudoers::{Needed, example};
use crate::host::config::pattern::fits;
use crate::model::app::{App, Manager, Supervisord};
use crate::model::facts::{ManagerAccess, Right};
use crate::model::service::ServiceManager;
use crate::ports::HostError;

/// How long sudo may take to answer; it may ask a directory service.
const SUDO: Duration = Duration::from_secs(10);
/// So many are asked at a time.
const AT_ONCE: usize = 4;
/// More rules than this are not asked about: those of one group are alike.
const MOST: usize = 48;

impl HostManagers {
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
                (Err(HostError { message, help, .. }), _) => ManagerAccess::Shut(message, help),
                (Ok(_), Some(manager)) if let Some(socket) = self.supervisord.open_socket(manager) => {
                    ManagerAccess::Socket(socket)
                }
                (Ok(_), _) if rustix::process::geteuid().is_root() => ManagerAccess::Own,
                (Ok(commands), _) if commands.is_empty() => ManagerAccess::Own,
                (Ok(commands), _) => by_sudo(commands).await,
            };
            rights.push(Right { what, door });
        }
        rights
    }
}

async fn by_sudo(mut commands: Vec<String>) -> ManagerAccess {
    commands.truncate(MOST);
    let needed = commands.len();
    let asked = commands.into_iter().map(async |spelled| {
        let words = example(&spelled);
        let allowed = sudo(&[&["-l".to_owned(), "--".to_owned()], &*words].concat()).await;
        (spelled, words.join(" "), allowed)
    });
    let answers: Vec<_> = stream::iter(asked).buffered(AT_ONCE).collect().await;
    let (mut refused, mut allowed) = (Vec::new(), Vec::new());
    for (spelled, plain, answer) in answers {
        match answer {
            Ok(_) => allowed.push(plain),
            Err(Refusal::No) => refused.push(spelled),
            Err(Refusal::Silent(why)) => return ManagerAccess::Unknown(why),
        }
    }
    // Of a single command sudo tells whether a rule allows it, and not whether that rule asks for a password.
    let password = match sudo(&["-ll".to_owned()]).await {
        Ok(listed) => allowed.iter().any(|command| asks_for_password(&listed, command)),
        Err(_) => false,
    };
    ManagerAccess::Sudo { needed, refused, password }
}

/// Whether the last of the listed rules that allow a command asks for a password.
fn asks_for_password(listed: &str, command: &str) -> bool {
    let (mut free, mut asks) = (false, true);
    for line in listed.lines() {
        let text = line.trim();
        if text == "Sudoers entry:" {
            free = false;
        } else if let Some(options) = text.strip_prefix("Options:") {
            free = options.split(',').any(|option| option.trim() == "!authenticate");
        } else if line.starts_with('\t') && covers(text, command) {
            asks = !free;
        }
    }
    // What is switched off for everything stands with the defaults.
    asks && !listed.split("Sudoers entry:").next().is_some_and(|defaults| defaults.contains("!authenticate"))
}

fn covers(rule: &str, command: &str) -> bool {
    let plain = rule.replace('\\', "");
    let program = command.split(' ').next().unwrap_or_default();
    plain == "ALL" || plain == program || fits(&plain, command)
}

enum Refusal {
    /// It would not.
    No,
    /// It cannot be asked, and why.
    Silent(String),
}

async fn sudo(arguments: &[String]) -> Result<String, Refusal> {
    let mut sudo = Command::new("sudo");
    // Without `-k` it would remember that somebody typed the password a moment ago.
    sudo.args(["-k", "-n"]).args(arguments).env("LC_ALL", "C").stdin(Stdio::null()).kill_on_drop(true);
    match timeout(SUDO, sudo.output()).await {
        Ok(Ok(output)) if output.status.success() => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        Ok(Ok(_)) => Err(Refusal::No),
        Ok(Err(error)) => Err(Refusal::Silent(format!("sudo cannot be run: {error}"))),
        Err(_) => Err(Refusal::Silent("sudo does not answer".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_rule_that_covers_a_command_says_whether_it_takes_a_password() {
        const DEFAULTS: &str =
            "Matching Defaults entries for deploy on web:\n    env_reset\n\nUser deploy may run:\n\n";
        let entry = |options: &str, commands: &[&str]| {
            let commands = commands.iter().map(|command| format!("\t{command}\n")).collect::<Vec<_>>().concat();
            format!("Sudoers entry:\n    RunAsUsers: root\n{options}    Commands:\n{commands}\n")
        };
        let (free, asking) = ("    Options: setenv, !authenticate\n", "");
        let start = "/usr/bin/supervisorctl start w:w_00";
        let rows = [
            (vec![entry(free, &["/usr/bin/supervisorctl start w\\:w_00"])], start, false),
            (vec![entry(free, &["/usr/bin/supervisorctl *"])], start, false),
            (vec![entry(free, &["/usr/bin/supervisorctl"])], start, false),
            (
                vec![entry(free, &["/usr/bin/systemctl stop w@[0-9].service"])],
                "/usr/bin/systemctl stop w@1.service",
                false,
            ),
            (vec![entry(asking, &["ALL"])], start, true),
            (vec![entry(free, &["/bin/ls"]), entry(asking, &["ALL"])], start, true),
            (vec![entry(free, &["/usr/bin/supervisorctl *"]), entry(asking, &["ALL"])], start, true),
            (vec![entry(asking, &["ALL"]), entry(free, &["/usr/bin/supervisorctl *"])], start, false),
        ];
        for (entries, command, expected) in rows {
            let listed = DEFAULTS.to_owned() + &entries.concat();
            assert_eq!(asks_for_password(&listed, command), expected, "{listed}");
            let never = listed.replace("env_reset", "env_reset, !authenticate");
            assert!(!asks_for_password(&never, command), "{never}");
        }
    }
}
