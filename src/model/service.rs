//! Daemons that serve the release but are not ours to count: php-fpm, a web server.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::app::{CommandLine, RestartOn, Supervisord};
use super::names::{GroupName, UserName};

/// A daemon that serves the release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Unique in its App, among the worker groups too.
    pub name: GroupName,
    /// Who runs it.
    pub manager: ServiceManager,
    /// What a new release means to it.
    pub on_release: OnRelease,
    /// How long a reload or restart may take; 30 s by default.
    pub timeout: Duration,
    /// Files whose change it must be told of.
    pub restart_on: Vec<RestartOn>,
}

/// Who runs a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServiceManager {
    /// A systemd unit, with its suffix: `php8.2-fpm.service`.
    Systemd {
        /// The unit.
        unit: String,
    },
    /// A program of a running supervisord; every process of it.
    Supervisord(Supervisord),
    /// Commands of the App, which run as its user as its other commands do.
    Command {
        /// Makes it serve the present release without dropping requests.
        reload: Option<CommandLine>,
        /// Ends it and starts it anew.
        restart: Option<CommandLine>,
        /// As whom they run instead of the App's user.
        user: Option<UserName>,
    },
}

impl ServiceManager {
    /// The word used in manifests and messages.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Systemd { .. } => "systemd",
            Self::Supervisord(_) => "supervisord",
            Self::Command { .. } => "command",
        }
    }
}

/// What a new release means to a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum OnRelease {
    /// Reloaded if it still serves another release; the default.
    #[default]
    Auto,
    /// Reloaded once for each switch.
    Reload,
    /// Restarted once for each switch.
    Restart,
    /// Left alone.
    None,
}

/// How a service is made to serve the present release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Renewal {
    /// Asked to read everything anew.
    Reload,
    /// Ended and started anew.
    Restart,
}

impl Renewal {
    /// The word used in manifests and messages.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Reload => "reload",
            Self::Restart => "restart",
        }
    }
}

/// One service as it was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservedService {
    /// The service.
    pub service: GroupName,
    /// What its manager shows, or why it shows nothing.
    pub seen: Result<ServiceState, super::observed::Unreadable>,
}

/// What a manager shows of a service.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ServiceState {
    /// It runs.
    pub up: bool,
    /// The manager's own words, such as `active (running)`.
    pub detail: String,
    /// When the oldest of its processes that answer requests started: all but the main one, or the main
    /// one where there is no other. None where nobody can tell.
    pub oldest: Option<Timestamp>,
    /// How many of its processes answer requests; 0 where nobody can tell.
    pub children: u32,
    /// When its main process started.
    pub started: Option<Timestamp>,
    /// The latest moment for which a reload or restart is proven, whoever asked for it: when its manager last
    /// completed one, or `oldest`, whichever is later. A reload need not change any process, and one that was
    /// completed may still have old processes finish what they have in hand. None where nobody can tell.
    pub renewed: Option<Timestamp>,
    /// It can be asked to reload; else only a restart makes it serve another release.
    pub can_reload: bool,
    /// A trap of its set-up that makes a reload drop requests, in words with the mend.
    pub warning: Option<String>,
}
