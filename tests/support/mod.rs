//! What integration tests stand on: throwaway real hosts, and sites to put on them.
//!
//! ```ignore
//! mod support;
//! use support::{Unit, fixtures::{Program, Site}};
//!
//! #[test]
//! fn a_stale_worker_is_replaced() {
//!     let host = support::require_host!("stale", [Unit::Supervisor]);
//!     let site = Site::new(&host, "/srv/app").release("r1").release("r2").current("r1");
//!     let workers = Program::php("app-worker", &site).numprocs(2).start(&host);
//!     …
//! }
//! ```
//!
//! A host needs root and Linux namespaces. Where there are none, such tests say
//! `skipped: REASON` and pass, unless `TRUEUP_TESTS_REQUIRE_HOST=1` is set, as it is in CI.
//! Begin at [`Host::boot`].

#![allow(
    dead_code,
    unused_imports,
    unused_macros,
    reason = "every test binary compiles this module and uses its own part of it"
)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::missing_panics_doc,
    clippy::must_use_candidate,
    clippy::return_self_not_must_use,
    reason = "a helper that fails should fail its test on the spot"
)]

pub mod asking;
pub mod cable;
pub mod door;
pub mod fixtures;
pub mod git;
mod host;
pub mod local;
pub mod manifest;
pub mod network;
pub mod passes;
pub mod place;

pub use host::{Background, Host, Output, SOON, Unit, host_or_skip, wait_until};

/// Boots a host, or leaves the test early with a visible reason where none can be booted.
macro_rules! require_host {
    ($name:expr, [$($unit:expr),* $(,)?]) => {
        match $crate::support::host_or_skip($name, &[$($unit),*]) {
            Some(host) => host,
            None => return,
        }
    };
}
pub(crate) use require_host;
