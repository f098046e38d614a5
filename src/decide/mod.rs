//! Deciding: pure functions from an App and a snapshot to drift, plan and status.
//!
//! Sees only the model: no clock, no file system, no async. The dry run, the apply and every
//! rollback use these same functions, so a dry run cannot lie about the snapshot it saw.
//! Begin at [`diff`](diff::diff), then [`plan`](plan::plan); [`aim`] says which release
//! is meant, [`gate`] judges one that was switched to, [`health`] what a probe answered.

pub mod aim;
mod conditions;
pub mod died;
pub mod diff;
pub mod doctor;
pub mod explain;
pub mod fleet;
pub mod freshness;
pub mod gate;
pub mod health;
pub mod history;
pub mod inventory;
pub mod leaving;
pub mod making;
pub mod moment;
pub mod operate;
pub mod plan;
mod reason;
pub mod renewed;
pub mod repeats;
mod retention;
pub mod schedule;
pub mod select;
mod services;
pub mod standing;
pub mod status;
pub mod succession;
pub mod telling;
pub mod windows;
pub mod withhold;

#[cfg(test)]
mod properties;
#[cfg(test)]
pub(crate) mod testing;
