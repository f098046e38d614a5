//! The agent under everything at once, for minutes, and under those who mean it no good.
//!
//! [`soak`]: twenty Apps, a repository, and a stream of deeds drawn from a seed; at the end all is as the manifests say
//! and nothing has leaked. [`flood`]: ten thousand wrong webhooks. `estate` is what both stand on, `deeds` what is done
//! to it, `traces` what a process or a host would leave behind.
//!
//! `TRUEUP_SOAK_MINUTES` says how long the chaos lasts (2 by default, 20 with `TRUEUP_TESTS_LONG=1`),
//! `TRUEUP_SOAK_SEED` which deeds in which order; both are printed. What the machine makes of them in between is its
//! own.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a helper that fails should fail its test on the spot")]

#[path = "../support/mod.rs"]
mod support;

mod deeds;
mod estate;
mod flood;
mod net;
mod soak;
mod traces;

use std::time::Duration;

/// Longer than anything here takes, on the busiest machine.
const SOON: Duration = Duration::from_mins(5);
