//! How connections are made, beyond what ssh's own configuration says.

use std::path::PathBuf;
use std::time::Duration;

/// Everything else (users, keys, ports, jump hosts, agents, how often a connection is attempted) is ssh's own
/// configuration's business. What is said here wins over the same words there, as on ssh's command line; of jump hosts
/// only that configuration speaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Trust the key of a host that is not known yet, and remember it; not that of a jump host on the way to it. One
    /// that has changed is refused in any case.
    pub accept_new: bool,
    /// How long a host may take to answer; logging in may take half a minute more. Whole seconds.
    pub connect_timeout: Duration,
    /// How long a host may be silent before it is asked whether it is there. After three questions without
    /// an answer the connection is given up.
    pub alive_interval: Duration,
    /// How long a connection without a conversation is kept, so that the next one need not log in. Whole seconds.
    pub idle: Duration,
    /// For how long a connection that broke in the middle is made again before the host counts as lost.
    pub patience: Duration,
    /// For how long a host that was reached in this run is tried again before anything has begun there: its sshd may be
    /// restarting, or the network may be away for a moment.
    pub recovery: Duration,
    /// How long a far side that makes a pass, or the runner that it tells of, may give no sign of life before it is
    /// asked anew. Both give one each [`BEAT`](crate::documents::wire::BEAT), however long a step takes; meanwhile a
    /// host may be busy with more than that.
    pub silence: Duration,
    /// Instead of `~/.ssh/config` and the system's own.
    pub config: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            accept_new: false,
            connect_timeout: Duration::from_secs(10),
            alive_interval: Duration::from_secs(5),
            idle: Duration::from_mins(1),
            patience: Duration::from_mins(5),
            recovery: Duration::from_secs(30),
            silence: Duration::from_secs(45),
            config: None,
        }
    }
}
