//! The words of `agent`.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::TypedValueParser;
use clap::{Args, ValueHint};

use super::{AgentSocket, at_least_one, place};
use crate::model::names::RelativePath;

/// Where the agent keeps what it needs to know after a restart.
pub const STATE: &str = "/var/lib/trueup";

/// `agent`.
#[derive(Debug, Args)]
pub struct Agent {
    /// Manifest files, directories (every *.yaml and *.yml directly in them)
    #[arg(
        value_name = "PATH",
        value_hint = ValueHint::AnyPath,
        help = "Manifest files, directories (every *.yaml and *.yml directly in them) [default: what the configuration \
                says, else manifests/, else /etc/trueup/manifests/]"
    )]
    pub paths: Vec<PathBuf>,
    /// The agent's own configuration
    #[arg(
        long,
        value_name = "FILE",
        value_hint = ValueHint::FilePath,
        help = "The agent's own configuration [default: /etc/trueup/agent.yaml, if it is there]"
    )]
    pub config: Option<PathBuf>,
    /// Manifests from a git repository
    #[command(flatten)]
    pub git: Git,
    /// Where people and programs of this host reach it
    #[command(flatten)]
    pub socket: AgentSocket,
    /// Members of this group may change things through the socket, as root may
    #[arg(long, value_name = "GROUP")]
    pub operator_group: Option<String>,
    /// Also answer questions on this address of the loopback, such as 127.0.0.1:9180
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<SocketAddr>,
    /// Let --listen be an address that others can reach: neither a login nor encryption protects it
    #[arg(long, requires = "listen")]
    pub listen_anywhere: bool,
    /// Where the agent keeps what it must know after a restart
    #[arg(
        long,
        value_name = "DIR",
        env = "TRUEUP_STATE_DIR",
        hide_env_values = true,
        default_value = STATE,
        value_parser = place(STATE).map(full),
        value_hint = ValueHint::DirPath
    )]
    pub state_dir: PathBuf,
    /// Fetch, build, verify and migrate for at most N Apps at a time; nothing else waits for a turn
    #[arg(long, value_name = "N", default_value = "4", value_parser = at_least_one)]
    pub concurrency: NonZeroUsize,
}

/// Manifests from a git repository.
#[derive(Debug, Args)]
pub struct Git {
    /// Follow a branch of this repository
    #[arg(long = "git", value_name = "URL", conflicts_with = "paths", help_heading = FROM_GIT)]
    pub url: Option<String>,
    /// The branch
    #[arg(long, value_name = "NAME", help_heading = FROM_GIT, help = "The branch [default: main]")]
    pub branch: Option<String>,
    /// The directory or file in the repository
    #[arg(
        long,
        value_name = "PATH",
        value_parser = inside,
        help_heading = FROM_GIT,
        help = "The directory or file in the repository [default: its top]"
    )]
    pub path: Option<RelativePath>,
    /// How often to ask for news, give or take a tenth, in whole seconds
    #[arg(
        long,
        value_name = "DURATION",
        value_parser = super::a_second,
        help_heading = FROM_GIT,
        help = "How often to ask for news, give or take a tenth, in whole seconds [default: 1m]"
    )]
    pub poll: Option<Duration>,
    /// Accept a commit that does not follow the one in force
    #[arg(long, help_heading = FROM_GIT)]
    pub allow_force: bool,
    /// Only apply commits that one of these keys has signed: ssh-keygen(1), ALLOWED SIGNERS
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = FROM_GIT)]
    pub verify_signatures: Option<PathBuf>,
}

const FROM_GIT: &str = "Manifests from git";

/// From anywhere: git works in directories of its own. Where nobody can say what it is relative to, as it stands.
fn full(path: PathBuf) -> PathBuf {
    std::path::absolute(&path).unwrap_or(path)
}

fn inside(text: &str) -> Result<RelativePath, String> {
    RelativePath::new(text).map_err(|error| format!("it is {error}; write a path relative to the repository's top"))
}

/// What stands below the options.
pub const HELP: &str = "\
Makes a pass over an App as soon as something has changed: its manifest, `current`, releases/, a file of \
`restartOn`, or a worker that died; and each `sync.interval` in any case. Manifests that do not load leave the last \
good ones in force. An App that disappears is left running, or its workers are stopped with `sync: {prune: true}`.

With --git a commit is a deployment. It comes into force only if it follows the commit in force, is signed where that \
is asked for, and its manifests load. The command line takes precedence over the configuration.

SIGTERM and Ctrl-C let the steps in hand finish, a second one ends the agent at once; no worker is touched by that. \
SIGHUP has it read the configuration and the manifests again and look at every App. It logs what it does on the \
standard error; \
`TRUEUP_LOG=warn` makes it quieter.

Examples:
  trueup agent                               manifests/, else /etc/trueup/manifests/
  trueup agent --listen 127.0.0.1:9180       with /metrics and /api/v1 on a port
  trueup agent --git git@host:ops.git        a commit is a deployment
  systemctl reload trueup-agent              read everything again

Exit codes:
  0   it was asked to end
  1   it could not begin: a configuration that cannot be used, another agent, or no socket to be had
  64  wrong usage
  130 it was asked twice, and left at once";

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Words {
        #[command(flatten)]
        agent: Agent,
    }

    #[test]
    fn the_state_is_at_one_place_wherever_git_works() {
        let here = std::env::current_dir().unwrap();
        let rows =
            [("state", here.join("state")), ("./state", here.join("state")), ("/s", "/s".into()), ("", STATE.into())];
        for (written, expected) in rows {
            let words = Words::parse_from(["agent", "--state-dir", written]);
            assert_eq!(words.agent.state_dir, expected, "{written}");
        }
    }
}
