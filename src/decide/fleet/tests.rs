//! Rollouts as tables: what is ordered of hosts whose fates are known.

mod moments;
mod stories;
