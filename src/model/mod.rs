//! Plain values: what is desired, what was seen, what differs, what to do.
//!
//! Nothing in here reads a clock, a file or a socket, and nothing depends on
//! any other room of the house. [`app`] is one checked manifest, [`observed`]
//! one snapshot of a host, [`drift`] the named differences between the two,
//! [`action`] the plan that closes them; [`record`], [`memory`] and [`journal`]
//! are what is kept on disk.

pub mod action;
pub mod agent;
pub mod amount;
pub mod app;
pub mod boot;
pub mod drift;
pub mod event;
pub mod facts;
pub mod finding;
pub mod fleet;
pub mod health;
pub mod history;
pub mod holder;
pub mod inventory;
pub mod journal;
pub mod length;
pub mod memory;
pub mod millis;
pub mod names;
pub mod nearest;
pub mod observed;
pub mod process;
pub mod record;
pub mod release;
pub mod report;
pub mod rollout;
pub mod service;
pub mod ssh;
pub mod status;
pub mod sync;
pub mod telling;
pub mod wake;
