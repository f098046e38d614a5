//! Which host ssh really goes to: an alias of its configuration is one to ssh alone, and not to `ssh-keygen` and
//! `ssh-keyscan`, which do not read that.

use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

use super::options::Options;
use crate::model::ssh::SshTarget;

/// Its configuration may run a command to find out which of its parts counts.
const WITHIN: Duration = Duration::from_secs(5);

/// A host by the names that commands want.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// Its address or name.
    pub host: String,
    /// Its port; none: the usual one.
    pub port: Option<u16>,
    /// What the known hosts call it, where that is told by the configuration (`HostKeyAlias`).
    pub alias: Option<String>,
}

impl Resolved {
    /// What the target says by itself.
    pub fn plain(target: &SshTarget) -> Self {
        Self { host: target.host().to_owned(), port: target.port(), alias: None }
    }

    /// What `ssh -G` has printed; none where it makes no sense, or would not be safe between quotes.
    fn read(printed: &str) -> Option<Self> {
        let value = |key: &str| {
            let of = |line: &str| line.strip_prefix(key)?.strip_prefix(' ').map(|value| value.trim().to_owned());
            printed.lines().find_map(of).filter(|value| !value.is_empty() && value != "none")
        };
        let (host, alias) = (value("hostname")?, value("hostkeyalias"));
        let safe =
            |word: &str| !word.starts_with('-') && !word.chars().any(|c| c == '\'' || c.is_control() || c == '`');
        let port = value("port")?.parse().ok().filter(|port| *port != 22);
        (safe(&host) && alias.as_deref().is_none_or(safe)).then_some(Self { host, port, alias })
    }
}

/// Asks ssh, which connects to nobody for that; none where it does not tell.
pub async fn resolved(target: &SshTarget, options: &Options) -> Option<Resolved> {
    let mut ssh = Command::new("ssh");
    ssh.arg("-G");
    if let Some(config) = &options.config {
        ssh.arg("-F").arg(config);
    }
    if let Some(user) = target.user() {
        ssh.arg("-l").arg(user);
    }
    if let Some(port) = target.port() {
        ssh.arg("-p").arg(port.to_string());
    }
    ssh.arg("--").arg(target.host());
    ssh.process_group(0).kill_on_drop(true).stdin(Stdio::null()).stderr(Stdio::null());
    let printed = timeout(WITHIN, ssh.output()).await.ok()?.ok()?;
    Resolved::read(&String::from_utf8_lossy(&printed.stdout))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_alias_leads_to_the_host_that_its_configuration_names() {
        let place = tempfile::tempdir().unwrap();
        let config = place.path().join("config");
        let text = "Host web1\n  HostName 10.0.0.7\n  Port 2222\nHost web2\n  HostKeyAlias shop\nHost web3\n  HostName \"a'b\"\n";
        std::fs::write(&config, text).unwrap();
        let options = Options { config: Some(config), ..Options::default() };
        let row = |host: &str, port, alias: Option<&str>| {
            Some(Resolved { host: host.to_owned(), port, alias: alias.map(str::to_owned) })
        };
        let rows = [
            ("web1", row("10.0.0.7", Some(2222), None)),
            ("web1:22", row("10.0.0.7", None, None)),
            ("web2", row("web2", None, Some("shop"))),
            ("web3", None),
            ("deploy@[::1]:2200", row("::1", Some(2200), None)),
        ];
        for (target, expected) in rows {
            assert_eq!(resolved(&SshTarget::new(target).unwrap(), &options).await, expected, "{target}");
        }
    }
}
