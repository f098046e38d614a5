//! The words of `agent`.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Args, ValueHint};

use super::Paths;
use crate::agent::web::PLACE;

/// Where the agent keeps what it needs to know after a restart.
pub const STATE: &str = "/var/lib/trueup";

/// `agent`.
#[derive(Debug, Args)]
pub struct Agent {
    /// Where the manifests are
    #[command(flatten)]
    pub paths: Paths,
    /// Where people and programs of this host reach the agent
    #[arg(
        long,
        value_name = "PATH",
        env = "TRUEUP_SOCKET",
        hide_env_values = true,
        default_value = PLACE,
        value_hint = ValueHint::FilePath
    )]
    pub socket: PathBuf,
    /// Members of this group may change things through the socket, as root may
    #[arg(long, value_name = "GROUP")]
    pub operator_group: Option<String>,
    /// Also answer questions on this address, which must be of the loopback, such as 127.0.0.1:9180
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<SocketAddr>,
    /// Let --listen be an address that others can reach: neither names nor encryption protect it
    #[arg(long, requires = "listen")]
    pub listen_anywhere: bool,
    /// Where the agent keeps what it must know after a restart
    #[arg(
        long,
        value_name = "DIR",
        env = "TRUEUP_STATE_DIR",
        hide_env_values = true,
        default_value = STATE,
        value_hint = ValueHint::DirPath
    )]
    pub state_dir: PathBuf,
    /// Work on at most so many Apps at a time; to look at them takes no turn
    #[arg(long, value_name = "N", default_value = "4")]
    pub concurrency: NonZeroUsize,
}

/// What stands below the options.
pub const HELP: &str = "\
Makes a pass over an App as soon as something has changed: its manifest, `current`, releases/, or a worker that died; \
and each `sync.interval` in any case. Manifests that do not load leave the last good ones in force. An App that \
disappears is left running, or loses its workers with `sync: {prune: true}`.

SIGTERM and Ctrl-C finish the steps in hand, a second one leaves at once; no worker is touched by that. SIGHUP reads \
the manifests again and looks at every App. It logs what it does to the standard error; `TRUEUP_LOG=warn` makes it \
quieter.

Examples:
  trueup agent                                     manifests/, else /etc/trueup/manifests/
  trueup agent /srv/manifests --listen 127.0.0.1:9180  with /metrics and /api/v1 on a port
  systemctl reload trueup-agent                    read everything again

Exit codes:
  0   it was asked to end
  1   it could not begin: another agent runs here, or the socket cannot be had
  64  wrong usage
  130 it was asked twice, and left at once";
