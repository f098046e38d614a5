//! The agent: passes when something changes, and what outsiders see of them.

pub mod board;
pub mod orders;
pub mod source;
mod tally;
pub mod web;
