//! Many hosts: one manifest, carried to each of them, and what each of them says of it.
//!
//! Nothing is decided on the way: every host makes the passes that it would make by itself, and what follows from
//! them for the others is decided by [`decide::fleet`](crate::decide::fleet). [`reach`] is how a host is asked.

pub mod reach;
pub mod ssh;
