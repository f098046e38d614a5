//! Trueup: a declarative reconciler for applications on plain Linux hosts.
//!
//! A YAML manifest says which release, how many workers and what healthy means; a pass observes
//! the host, computes the drift, and takes the fewest convergent actions that close it.
//! The layers are described in `ARCHITECTURE.md`; arrows between them only point down.

pub mod agent;
pub mod cli;
pub mod decide;
pub mod documents;
pub mod engine;
pub mod far;
pub mod fleet;
pub mod health;
pub mod host;
pub mod ledger;
pub mod local;
pub mod managers;
pub mod manifest;
pub mod model;
pub mod observe;
pub mod ports;
pub mod releases;
#[cfg(test)]
pub(crate) mod sim;
