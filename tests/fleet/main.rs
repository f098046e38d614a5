//! One manifest, real hosts, real SSH: rollouts as people run them, and what may happen in the middle of one.
//!
//! One executable for all, so that hosts boot side by side; a file for each subject.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail on the spot")]

#[path = "../support/mod.rs"]
mod support;

mod board;
mod booted;
mod by_hand;
mod cuts;
mod interrupts;
mod left_alone;
mod mishaps;
mod options;
mod shop;
mod terminal;
mod waves;
mod ways;
