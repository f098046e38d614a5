//! What a user who is not root needs sudo for: exactly the commands that the doors run by it.
//!
//! In: an App. Out: the commands for each of its groups and services, spelled as sudoers lines want them. Nothing
//! is guessed: a supervisord that cannot be asked for the names of its programs is an error.

use std::collections::BTreeSet;
use std::path::Path;

use super::HostManagers;
use super::supervisorctl;
use super::systemctl::{self, Verb};
use crate::model::app::{App, Manager, Supervisord, Systemd};
use crate::model::service::{OnRelease, Service, ServiceManager};
use crate::ports::{HostError, HostErrorKind};

/// The commands for one group or service.
#[derive(Debug)]
pub struct Needed {
    /// For people: ``workers `default` ``.
    pub what: String,
    /// As sudoers lines spell them; none are needed for what trueup does itself.
    pub commands: Result<Vec<String>, HostError>,
}

impl HostManagers {
    /// What is run by sudo for each group and service of an App, in their order.
    pub async fn sudo_commands(&self, app: &App) -> Vec<Needed> {
        let mut all = Vec::new();
        for group in &app.workers {
            let commands = match &group.manager {
                Manager::Supervisord(manager) => self.of_supervisord(manager, false).await,
                Manager::Systemd(systemd) => Ok(of_template(systemd, group.count)),
                // These belong to whoever started them.
                Manager::Builtin(_) => Ok(Vec::new()),
            };
            all.push(Needed { what: format!("workers `{}`", group.name), commands: commands.and_then(printable) });
        }
        for service in &app.services {
            let commands = self.of_service(service).await.and_then(printable);
            all.push(Needed { what: format!("service `{}`", service.name), commands });
        }
        all
    }

    async fn of_service(&self, service: &Service) -> Result<Vec<String>, HostError> {
        if service.on_release == OnRelease::None && service.restart_on.is_empty() {
            return Ok(Vec::new());
        }
        match &service.manager {
            ServiceManager::Systemd { unit } => Ok(systemctl::commands(unit, Verb::OF_SERVICES)),
            ServiceManager::Supervisord(manager) => {
                self.of_supervisord(manager, service.on_release != OnRelease::Restart).await
            }
            ServiceManager::Command { .. } => Ok(Vec::new()),
        }
    }

    async fn of_supervisord(&self, manager: &Supervisord, reloads: bool) -> Result<Vec<String>, HostError> {
        let (socket, members) = self.supervisord.names(manager).await?;
        Ok(supervisorctl::commands(socket, &members, reloads))
    }
}

/// One rule for every length that a number up to `count` has: `w@[0-9].service`, `w@[0-9][0-9].service`.
fn of_template(systemd: &Systemd, count: u32) -> Vec<String> {
    let lengths: BTreeSet<u32> = (0..=count.max(1).ilog10()).collect();
    let units = lengths.into_iter().map(|zeros| systemd.unit.instance(10_u32.saturating_pow(zeros)));
    units.flat_map(|unit| systemctl::commands(&unit, Verb::OF_WORKERS)).collect()
}

/// A command of paths and plain words, as a sudoers line spells it.
///
/// # Errors
/// It cannot stand in one.
pub fn spelled<'a>(words: impl IntoIterator<Item = &'a Path>) -> Result<String, HostError> {
    let words: Vec<String> = words.into_iter().map(|word| escaped(&word.to_string_lossy())).collect();
    let commands = printable(vec![words.join(" ")])?;
    Ok(commands.concat())
}

/// A word of a command, so that sudoers lines mean just that: no pattern, no list, no comment.
#[must_use]
pub(super) fn escaped(word: &str) -> String {
    let mut escaped = String::with_capacity(word.len());
    for c in word.chars() {
        if matches!(c, '\\' | ':' | ',' | '=' | '#' | '*' | '?' | '[' | ']' | '!') {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

/// The words of a command that a sudoers line of ours allows, with a digit in the place of each `[0-9]`.
pub(super) fn example(spelled: &str) -> Vec<String> {
    let mut words = Vec::new();
    let plain = spelled.replace("[0-9]", "1");
    for word in plain.split(' ') {
        let mut letters = word.chars();
        let mut unescaped = String::new();
        while let Some(c) = letters.next() {
            unescaped.extend(if c == '\\' { letters.next() } else { Some(c) });
        }
        words.push(unescaped);
    }
    words
}

/// A line break in a name would begin a rule of its own.
fn printable(commands: Vec<String>) -> Result<Vec<String>, HostError> {
    match commands.iter().find(|command| command.chars().any(char::is_control)) {
        None => Ok(commands),
        Some(odd) => {
            let message = format!("`{}` cannot stand in a sudoers line", odd.escape_debug());
            Err(HostError::new(HostErrorKind::Misconfigured, message).with_help("give it another name"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::app::TemplateUnit;
    use crate::model::names::MemberName;

    #[test]
    fn numbers_of_every_length_are_covered_and_no_longer_ones() {
        let systemd = Systemd { unit: TemplateUnit::new("w@").unwrap() };
        for (count, lengths) in [(0, 1), (1, 1), (9, 1), (10, 2), (12, 2), (100, 3)] {
            let starts = of_template(&systemd, count);
            let starts: Vec<&String> = starts.iter().filter(|command| command.contains("systemctl start")).collect();
            assert_eq!(starts.len(), lengths, "{count}: {starts:?}");
            assert_eq!(starts[0], "/usr/bin/systemctl start w@[0-9].service");
        }
    }

    #[test]
    fn the_commands_of_supervisorctl_are_those_that_are_run() {
        let members = [MemberName::new("w:w_00").unwrap()];
        let plain = supervisorctl::commands(None, &members, false);
        assert_eq!(
            plain,
            [
                "/usr/bin/supervisorctl status",
                "/usr/bin/supervisorctl start w\\:w_00",
                "/usr/bin/supervisorctl stop w\\:w_00",
                "/usr/bin/supervisorctl signal TERM w\\:w_00",
                "/usr/bin/supervisorctl signal KILL w\\:w_00",
            ]
        );
        let told = supervisorctl::commands(Some("/run/a.sock".into()), &members, true);
        assert_eq!(told[0], "/usr/bin/supervisorctl -s unix\\:///run/a.sock status");
        assert!(told.iter().any(|command| command.ends_with("signal USR2 w\\:w_00")), "{told:?}");
    }

    #[test]
    fn what_a_rule_allows_can_be_asked_about() {
        let systemd = Systemd { unit: TemplateUnit::new("w\\x2d@").unwrap() };
        let of_kill = of_template(&systemd, 10)
            .into_iter()
            .find(|command| command.contains("kill") && command.contains("]["))
            .unwrap();
        assert_eq!(example(&of_kill), ["/usr/bin/systemctl", "kill", "--signal=SIGKILL", "w\\x2d@11.service"]);
        let members = [MemberName::new("w:w_00").unwrap()];
        let commands = supervisorctl::commands(Some("/run/a.sock".into()), &members, false);
        assert_eq!(example(&commands[1]), ["/usr/bin/supervisorctl", "-s", "unix:///run/a.sock", "start", "w:w_00"]);
    }

    #[test]
    fn nothing_that_sudoers_reads_itself_gets_through() {
        assert_eq!(escaped("a:b,c=d\\e*?[f]!#g"), "a\\:b\\,c\\=d\\\\e\\*\\?\\[f\\]\\!\\#g");
        assert!(printable(vec!["start w\nroot ALL=(ALL) ALL".to_owned()]).is_err());
    }
}
