//! The whole program on throwaway hosts with a real supervisord: manifests in, a converged host out.
//!
//! One executable for all, so that hosts boot side by side; a file for each subject.

#![allow(clippy::expect_used, reason = "a helper that fails should fail its test on the spot")]

#[path = "../support/mod.rs"]
mod support;

mod evidence;
mod reconcile;
