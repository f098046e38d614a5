//! Who runs the workers: one port, a door for every manager.

mod systemctl;
pub mod systemd;
