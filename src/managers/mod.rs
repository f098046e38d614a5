//! Who runs workers: one port, several doors.

pub mod builtin;
