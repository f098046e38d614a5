//! Who runs the workers: one port, a door for every manager.

mod supervisorctl;
pub mod supervisord;
