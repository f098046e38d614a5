//! Many hosts: one manifest, carried to each of them, and what each of them says of it.
//!
//! Nothing is decided on the way: every host makes the passes that it would make by itself, and what follows from
//! them for the others is decided by [`decide::fleet`](crate::decide::fleet). [`reach`] is how a host is asked, and
//! [`ssh`] what carries that; [`ask`] is one question to one host, [`look`] one question to all of them ([`groups`] puts
//! equal answers together), [`rollout`] a change that goes through them, and [`back`] the way back that a person wishes.
//! Who waits is told by [`phase`] what goes on, and by [`report`] what came of it.

pub mod ask;
pub mod back;
mod course;
mod document_budget;
pub mod groups;
pub mod look;
pub mod phase;
pub mod reach;
pub mod report;
pub mod rollout;
pub mod ssh;
mod task;
pub mod work;
