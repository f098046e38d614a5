//! The whole program on throwaway hosts with a real supervisord: manifests in, a converged host out.
//!
//! One executable for all, so that hosts boot side by side; a file for each subject.

#![allow(clippy::expect_used, reason = "a helper that fails should fail its test on the spot")]

#[path = "../support/mod.rs"]
mod support;

mod config;
mod dry_run;
mod evidence;
mod health_contract;
mod manners;
mod other_user;
mod reconcile;
mod strays;
