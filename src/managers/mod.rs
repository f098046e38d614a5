//! Who runs the workers: one port, a door for every manager.
//!
//! [`Doors`] takes each group to the manager that its App names; behind each door the same
//! [`Managers`](crate::ports::Managers) port.

mod supervisorctl;
pub mod supervisord;
mod systemctl;
pub mod systemd;
