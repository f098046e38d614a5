//! The machine itself: processes, signals, users, children.
//!
//! Nothing in here knows releases or managers. [`proc`] reads, [`signal`] ends processes, [`spawn`] starts them through
//! a shim of our own, [`command`] runs one of an App's commands, [`config`] reads the configuration files of others,
//! [`machine`] tells what the machine is like, [`silence`] keeps a dead mount from holding us, [`blocking`] does what
//! may block, [`shared`] makes one look for all who ask at once, [`steps`] runs the commands of one stage of a release,
//! [`state_file`] reads a file of `ROOT/.trueup`, [`users`] says whom all that belongs to, [`witnesses`] asks what processes
//! of other users run, [`https`] is what all HTTPS clients need, [`git`] runs the command line of git, [`way`] opens
//! what a manifest names where users could have laid a trap.

mod blocking;
pub mod command;
pub mod config;
pub mod git;
pub mod hex;
pub mod https;
pub mod log;
pub mod machine;
mod mask;
pub mod proc;
pub mod secret;
pub mod shared;
pub mod signal;
pub mod silence;
pub mod spawn;
pub mod state_file;
pub mod steps;
#[cfg(test)]
pub(crate) mod testchild;
#[cfg(test)]
pub(crate) mod testtls;
mod transcript;
pub mod users;
pub mod way;
pub mod witnesses;

pub use blocking::blocking;
