//! A release's whole life on throwaway hosts: from a git repository to good, or back.
//!
//! supervisord runs two workers, nginx and php-fpm serve the site; manifests go in, and the journal, the report, the
//! processes and the site's own answers tell what came of them. A file for each subject; [`shop`] sets the scene.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a helper that fails should fail its test on the spot")]

#[path = "../support/mod.rs"]
mod support;

mod broken;
mod deploy;
mod durable;
mod jobs;
mod killed_deploy;
mod load;
mod narrow;
mod services;
mod shop;
