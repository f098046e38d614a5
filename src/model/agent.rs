//! What the agent itself is told: where manifests come from, whom to tell, and whom to listen to.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::app::{CommandLine, SecretSource};
use super::names::{AppName, RelativePath};
use super::telling::Severity;

/// The branch that is followed by default.
pub const BRANCH: &str = "main";

/// How often a remote repository is asked for news by default.
pub const POLL: Duration = Duration::from_mins(1);

/// How long a command that is told something may take by default.
pub const COMMAND_TIMEOUT: Duration = Duration::from_secs(30);

/// The agent's own configuration, checked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AgentConfig {
    /// What this host is called in notifications, commit statuses and among `spec.hosts`; none: its hostname.
    pub name: Option<String>,
    /// Where manifests come from; none: the command line says it, or they are in the usual place.
    pub source: Option<AgentSource>,
    /// Where the read-only API is offered besides the unix socket.
    pub listen: Option<SocketAddr>,
    /// What the senders of webhooks prove themselves with.
    pub webhooks: Webhooks,
    /// Whom to tell.
    pub notifications: Vec<Notification>,
    /// Where the state of a commit is posted.
    pub commit_status: Option<CommitStatus>,
}

/// Where manifests come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AgentSource {
    /// A file or directory of this host.
    Dir(PathBuf),
    /// A branch of a git repository.
    Git(GitOptions),
}

/// A branch of a git repository with manifests in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GitOptions {
    /// Whatever git can fetch from.
    pub url: String,
    /// The branch.
    pub branch: String,
    /// The directory or file in it; none: its top.
    pub path: Option<RelativePath>,
    /// How often it is asked for news.
    pub poll: Duration,
    /// A commit that does not follow the one in force is taken all the same.
    pub allow_force: bool,
    /// Only commits that one of these keys has signed are applied: a file as ssh-keygen's `ALLOWED SIGNERS`.
    pub allowed_signers: Option<PathBuf>,
}

/// What the senders of webhooks prove themselves with; none: such webhooks are not taken.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Webhooks {
    /// GitLab's secret token.
    pub gitlab: Option<SecretSource>,
    /// GitHub's secret.
    pub github: Option<SecretSource>,
    /// Gitea's and Forgejo's secret.
    pub gitea: Option<SecretSource>,
}

/// Somebody to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notification {
    /// Names it in messages.
    pub name: String,
    /// How.
    pub to: Recipient,
    /// What is less bad is not told.
    pub severity: Severity,
    /// Only of these Apps, and what is of none; empty: of all.
    pub apps: Vec<AppName>,
}

/// How somebody is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recipient {
    /// A POST with the event as JSON, with the fields that Flux's notifications have.
    Webhook {
        /// Where to.
        url: Address,
        /// Signs the body: HMAC-SHA256 in `X-Signature`.
        secret: Option<SecretSource>,
    },
    /// A POST that Slack's incoming webhooks understand, and what imitates them.
    Slack {
        /// Where to.
        url: Address,
    },
    /// A command that gets the event as JSON on its standard input.
    Command {
        /// What to run.
        command: CommandLine,
        /// How long it may take.
        timeout: Duration,
    },
}

/// A URL, which may itself be a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// As written.
    Plain(String),
    /// Read when it is needed.
    Secret(SecretSource),
}

/// Where the state of a commit is posted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitStatus {
    /// Which of them.
    pub forge: Forge,
    /// The beginning of its API's URLs, without a slash at its end.
    pub api: String,
    /// `group/project` or its number at GitLab, `owner/name` at GitHub.
    pub project: String,
    /// Gives the right to it.
    pub token: SecretSource,
}

/// Whose API it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forge {
    /// GitLab.
    GitLab,
    /// GitHub, Gitea or Forgejo.
    GitHub,
}

/// Whether a URL may carry secrets: HTTPS, or plain HTTP within this host.
#[must_use]
pub fn is_safe_url(url: &str) -> bool {
    let Some((scheme, rest)) = url.split_once("://") else { return false };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    let odd = |c: char| c.is_whitespace() || c.is_control() || c == '\\';
    let here = name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    !name.is_empty() && !url.contains(odd) && (scheme == "https" || (scheme == "http" && here))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_leave_the_host_encrypted_only() {
        let rows = [
            ("https://hooks.example.org/x?y", true),
            ("http://127.0.0.1:8080/x", true),
            ("http://localhost/x", true),
            ("http://[::1]:80/x", true),
            ("http://hooks.example.org/x", false),
            ("http://localhost.example.org/x", false),
            ("http://127.0.0.1@example.org/x", false),
            ("http://example.org\\@127.0.0.1/x", false),
            ("ftp://127.0.0.1/x", false),
            ("https:///x", false),
            ("hooks.example.org", false),
            ("", false),
        ];
        for (url, safe) in rows {
            assert_eq!(is_safe_url(url), safe, "{url}");
        }
    }
}
