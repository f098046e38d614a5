//! `trueup agent` as a real program: real inotify and pidfds, supervisord, systemd.
//!
//! Nothing in here depends on how fast something is: conditions are waited for, generously. Begin with [`saves`] and
//! [`rounds`] for the manifests, [`host`] and [`drift`] for what happens on a host, [`unit`] for the agent as a systemd
//! unit, [`crash_loop`] for what monitoring sees, [`reload`] for its own configuration, [`absence`] for what happens
//! while it is down, [`succession`] for names and roots that change, [`own_name`] for manifests of many hosts,
//! [`commit`] for all of it together.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a helper that fails should fail its test on the spot")]

#[path = "../support/mod.rs"]
mod support;

mod absence;
mod commit;
mod crash_loop;
mod drift;
mod host;
mod own_name;
mod reload;
mod rounds;
mod saves;
mod succession;
mod unit;

use std::time::Duration;

/// Longer than anything here takes, on the busiest machine.
const SOON: Duration = Duration::from_mins(2);
