//! `trueup far` as a control side meets it, without SSH in between: real processes, real workers, real kills.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail on the spot")]

mod broken_off;
mod by_hand;
mod passes;
mod rig;
