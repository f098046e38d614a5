//! The loop: observe, diff, plan, apply in rounds, then prove.
//!
//! [`pass`] turns an App into a report over any [`Host`](crate::ports::Host), [`batch`] several that share a look; [`execute`]
//! does one plan's steps; [`making`] and [`prove`] hold those that take a release from its source to good, `quarantine`
//! what is written down of one that failed. Beside the rounds, a pass takes the `lock`, writes the
//! `journal`, notes restarts that were `helpless`, asks for `health` in the end and tells its `outcome`; `withhold` is what
//! one does that may not act. [`operate`] does what a person asks for before a pass. They know nothing of files, sockets or
//! processes. A pass may be killed at any moment: the next one observes afresh and goes on.

pub mod batch;
pub mod events;
pub mod evidence;
pub mod execute;
mod health;
mod helpless;
pub mod interrupt;
mod journal;
mod lock;
pub mod making;
pub mod operate;
mod outcome;
pub mod pass;
pub mod patience;
pub mod probing;
pub mod prove;
mod quarantine;
mod withhold;
