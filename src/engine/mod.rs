//! The loop: observe, diff, plan, apply in rounds, then prove.
//!
//! [`pass`] turns an App into a report over any [`Host`](crate::ports::Host), [`batch`] several that share a look; [`execute`] does one plan's
//! steps; [`making`] and [`prove`] hold those that take a release from its source to good, `quarantine` what is
//! written down of one that failed; `withhold` is what a pass does that may not act; [`operate`] does what a person asks for before a pass. They know nothing of
//! files, sockets or processes. A pass may be killed at any moment: the next one observes afresh and goes on.

pub mod batch;
pub mod events;
pub mod evidence;
pub mod execute;
pub mod helpless;
pub mod interrupt;
pub mod making;
pub mod operate;
pub mod pass;
pub mod patience;
pub mod probing;
pub mod prove;
mod quarantine;
mod withhold;
