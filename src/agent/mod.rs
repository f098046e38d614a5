//! The agent: passes when something changes, and what outsiders see of them.

pub mod board;
pub mod deaths;
pub mod orders;
pub mod senses;
pub mod service;
pub mod source;
mod tally;
pub mod watch;
