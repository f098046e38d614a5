//! The agent: passes when something changes, and what outsiders see of them.

pub mod forge;
pub mod git;
pub mod notify;
mod post;
pub mod source;
