//! `trueup agent` as a real program: real inotify and pidfds, supervisord, systemd.
//!
//! Nothing in here depends on how fast something is: conditions are waited for, generously. Begin with [`saves`] for the
//! manifests, [`host`] for what happens on a host, [`unit`] for the agent as a systemd unit.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a helper that fails should fail its test on the spot")]

#[path = "../support/mod.rs"]
mod support;

mod host;
mod saves;
mod unit;

use std::time::Duration;

/// Longer than anything here takes, on the busiest machine; shorter than any timer that would bring it about anyway.
const SOON: Duration = Duration::from_mins(2);
