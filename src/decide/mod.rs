//! Pure decisions: no clock, no file system, no async; everything they need is handed in.
//!
//! [`health`] judges what a probe answered.

pub mod health;
