//! The programs around systemd: `systemctl` with sudo, for a user that the bus refuses, and `journalctl`.

use std::process::{Output, Stdio};
use std::time::Duration;

use tokio::process::Command;

use crate::ports::{HostError, HostErrorKind};

const SYSTEMCTL: &str = "/usr/bin/systemctl";
/// How long the journal may take to tell a worker's last words.
const JOURNAL: Duration = Duration::from_secs(5);

/// One change to one unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    Start,
    Stop,
    Restart,
    Reload,
    Kill,
    Enable,
    Disable,
    ResetFailed,
}

impl Verb {
    /// All that is done to workers.
    pub(super) const OF_WORKERS: &'static [Self] =
        &[Self::Start, Self::Stop, Self::Restart, Self::Kill, Self::Enable, Self::Disable, Self::ResetFailed];
    /// All that is done to services.
    pub(super) const OF_SERVICES: &'static [Self] = &[Self::Reload, Self::Restart, Self::ResetFailed];

    /// As `systemctl` spells it.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Restart => "restart",
            Self::Reload => "reload",
            Self::Kill => "kill",
            Self::Enable => "enable",
            Self::Disable => "disable",
            Self::ResetFailed => "reset-failed",
        }
    }

    /// All arguments, exactly as a sudo rule must allow them.
    fn arguments(self, unit: &str) -> Vec<String> {
        let mut arguments = vec![self.word().to_owned()];
        if self == Self::Kill {
            arguments.push("--signal=SIGKILL".to_owned());
        }
        arguments.push(unit.to_owned());
        arguments
    }
}

/// Makes one change with `sudo -n`; `refused` is what the bus said to us, `all` what else the unit's sort may need.
///
/// A job that fails is no error, as on the bus: the unit's state tells the truth.
pub(super) async fn run(verb: Verb, unit: &str, all: &[Verb], refused: &HostError) -> Result<(), HostError> {
    let mut sudo = Command::new("sudo");
    sudo.args(["-n", SYSTEMCTL]).args(verb.arguments(unit));
    let denied = |said: &str| {
        let message = format!("not allowed to {} `{unit}`: {}; {said}", verb.word(), refused.message);
        HostError::new(HostErrorKind::Denied, message).with_help(advice(unit, all))
    };
    let output = match output(sudo).await {
        Ok(output) => output,
        Err(error) => return Err(denied(&format!("sudo cannot be run: {error}"))),
    };
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>();
    // What sudo itself says is a refusal; all else is systemctl's.
    if let Some(line) = said.iter().find(|line| line.starts_with("sudo: ") || line.starts_with("Sorry, ")) {
        return Err(denied(line));
    }
    match verb {
        Verb::Start | Verb::Restart | Verb::Reload | Verb::Stop => {
            tracing::debug!(unit, verb = verb.word(), said = said.join(" | "), "job ended");
            Ok(())
        }
        Verb::Kill | Verb::Enable | Verb::Disable | Verb::ResetFailed => {
            let message = format!("cannot {} `{unit}`: {}", verb.word(), said.join(" | "));
            Err(HostError::new(HostErrorKind::Other, message))
        }
    }
}

/// The last lines that a unit wrote, oldest first; none where they may not be read.
pub(super) async fn last_words(unit: &str) -> Vec<String> {
    // What was written right before a unit failed may not have got to the journal yet. Whoever may not ask for that reads
    // what there is.
    let mut sync = Command::new("journalctl");
    sync.arg("--sync").kill_on_drop(true);
    let _ = tokio::time::timeout(JOURNAL, output(sync)).await;
    let mut journal = Command::new("journalctl");
    journal.args(["--unit", unit, "--lines=5", "--no-pager", "--output=cat", "--quiet"]).kill_on_drop(true);
    let Ok(Ok(output)) = tokio::time::timeout(JOURNAL, output(journal)).await else { return Vec::new() };
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

async fn output(mut command: Command) -> std::io::Result<Output> {
    command.env("LC_ALL", "C").stdin(Stdio::null()).output().await
}

fn advice(unit: &str, all: &[Verb]) -> String {
    let user = nix::unistd::User::from_uid(nix::unistd::geteuid());
    let user = user.ok().flatten().map_or_else(|| "USER".to_owned(), |user| user.name);
    format!("run as root, or put into a file of `/etc/sudoers.d/`: {}", rule(&user, unit, all))
}

/// A sudoers line that allows `user` all this to the unit and to others whose number has as many digits.
fn rule(user: &str, unit: &str, all: &[Verb]) -> String {
    format!("{user} ALL=(root) NOPASSWD: {}", commands(unit, all).join(", "))
}

/// All that is run for the unit, and for others whose number has as many digits, as sudoers lines spell it.
pub(super) fn commands(unit: &str, all: &[Verb]) -> Vec<String> {
    let mut pattern = String::new();
    let number = unit.rfind('@').unwrap_or(unit.len());
    for (at, c) in unit.char_indices() {
        match c {
            '0'..='9' if at > number => pattern.push_str("[0-9]"),
            // Special to sudoers.
            ':' | ',' | '=' | '\\' => pattern.extend(['\\', c]),
            c => pattern.push(c),
        }
    }
    all.iter()
        .map(|verb| {
            let mut arguments = verb.arguments(&pattern);
            if let Some(option) = arguments.iter_mut().find(|argument| argument.starts_with("--")) {
                *option = option.replace('=', "\\=");
            }
            format!("{SYSTEMCTL} {}", arguments.join(" "))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rule_allows_exactly_what_is_run() {
        assert_eq!(
            rule("deploy", "w2@3.service", Verb::OF_WORKERS),
            "deploy ALL=(root) NOPASSWD: /usr/bin/systemctl start w2@[0-9].service, \
             /usr/bin/systemctl stop w2@[0-9].service, /usr/bin/systemctl restart w2@[0-9].service, \
             /usr/bin/systemctl kill --signal\\=SIGKILL w2@[0-9].service, \
             /usr/bin/systemctl enable w2@[0-9].service, /usr/bin/systemctl disable w2@[0-9].service, \
             /usr/bin/systemctl reset-failed w2@[0-9].service"
        );
        assert!(rule("deploy", r"a\x2db@12.service", Verb::OF_WORKERS).contains(r"start a\\x2db@[0-9][0-9].service,"));
        assert_eq!(
            rule("deploy", "php8.2-fpm.service", Verb::OF_SERVICES),
            "deploy ALL=(root) NOPASSWD: /usr/bin/systemctl reload php8.2-fpm.service, \
             /usr/bin/systemctl restart php8.2-fpm.service, /usr/bin/systemctl reset-failed php8.2-fpm.service"
        );
    }

    #[test]
    fn sudo_itself_accepts_the_rule() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("rule");
        for unit in ["w@1.service", r"a\x2db:c@12.service"] {
            std::fs::write(&file, format!("{}\n", rule("deploy", unit, Verb::OF_WORKERS))).unwrap();
            match std::process::Command::new("visudo").arg("-cf").arg(&file).output() {
                Ok(output) => assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr)),
                Err(error) => {
                    assert!(std::env::var_os("TRUEUP_TESTS_REQUIRE_HOST").is_none(), "visudo: {error}");
                    println!("skipped: visudo: {error}");
                }
            }
        }
    }
}
