//! The words for Apps with hosts.

use std::num::NonZeroUsize;
use std::time::Duration;

use clap::Args;

use super::{InForce, Selection, at_least_one};
use crate::model::fleet::{HostName, HostPattern};

/// Most hosts that are asked at a time by default: one connection costs little more than its handshake.
const FORKS_AT_MOST: usize = 32;
/// For each core.
const FORKS_PER_CORE: usize = 4;

const HOSTS: &str = "Many hosts (Apps with `spec.hosts`)";

/// Which hosts, and how they are reached.
#[derive(Debug, Clone, Default, Args)]
pub struct Hosts {
    /// Only these hosts; may be given several times
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', value_parser = name, help_heading = HOSTS)]
    pub hosts: Vec<HostName>,
    /// Only hosts with this label; with several, all must match
    #[arg(long, value_name = "LABEL=VALUE", value_parser = limit, help_heading = HOSTS)]
    pub limit: Vec<HostPattern>,
    /// How many hosts to work on at a time
    #[arg(
        long,
        value_name = "N",
        value_parser = at_least_one,
        help_heading = HOSTS,
        help = "How many hosts to work on at a time [default: 4 per core, at most 32]"
    )]
    pub forks: Option<NonZeroUsize>,
    /// Trust hosts (but no jump hosts) whose key is not known yet, and remember it; a changed key is refused all the
    /// same
    #[arg(long, help_heading = HOSTS)]
    pub accept_new: bool,
    /// How long a host may take to answer, in whole seconds
    #[arg(
        long,
        value_name = "DURATION",
        value_parser = super::a_second,
        help_heading = HOSTS,
        help = "How long a host may take to answer, in whole seconds [default: 10s]"
    )]
    pub connect_timeout: Option<Duration>,
}

impl Hosts {
    /// How many hosts to work on at a time.
    #[must_use]
    pub fn forks(&self) -> usize {
        let cores = || std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        self.forks.map_or_else(|| (cores() * FORKS_PER_CORE).min(FORKS_AT_MOST), NonZeroUsize::get)
    }

    /// Whether a choice among hosts was made.
    #[must_use]
    pub fn is_choice(&self) -> bool {
        !self.hosts.is_empty() || !self.limit.is_empty()
    }
}

/// `diff` and `status`.
#[derive(Debug, Args)]
pub struct Look {
    /// Which Apps
    #[command(flatten)]
    pub selection: Selection,
    /// Which hosts
    #[command(flatten)]
    pub hosts: Hosts,
    /// By what
    #[command(flatten)]
    pub in_force: InForce,
}

fn name(text: &str) -> Result<HostName, String> {
    HostName::new(text).map_err(|error| format!("a host's name is {error}"))
}

/// A host's name, or an empty text.
pub(super) fn name_or_none(text: &str) -> Result<String, String> {
    if text.is_empty() { Ok(String::new()) } else { name(text).map(|name| name.to_string()) }
}

fn limit(text: &str) -> Result<HostPattern, String> {
    HostPattern::label(text).ok_or_else(|| "write it as LABEL=VALUE, such as `role=web`".to_owned())
}
