//! The machine itself: processes, signals, users, children.
//!
//! Nothing in here knows releases or managers. [`proc`] reads, [`signal`] ends processes,
//! [`spawn`] starts them through a shim of our own, [`command`] runs one of an App's commands,
//! [`kept`] reads a file
//! of `ROOT/.trueup`, [`users`] says whom all that belongs to.

pub mod command;
pub mod kept;
pub mod proc;
pub mod signal;
pub mod spawn;
#[cfg(test)]
pub(crate) mod testchild;
pub mod users;
