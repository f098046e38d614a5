//! Deciding: pure functions from an App and a snapshot to drift, plan and status.
//!
//! Sees only the model: no clock, no file system, no async. The dry run, the apply and every
//! later rollback use these same functions, so a dry run cannot lie about the snapshot it saw.
//! Begin at [`diff`](diff::diff), then [`plan`](plan::plan); [`health`] judges what a probe answered.

mod conditions;
pub mod diff;
pub mod explain;
pub mod freshness;
pub mod health;
pub mod plan;
pub mod select;
pub mod status;

#[cfg(test)]
mod properties;
#[cfg(test)]
pub(crate) mod testing;
