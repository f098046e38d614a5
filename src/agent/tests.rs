//! The loop over the simulated host, in simulated time: [`testing`](super::testing) sets the stage.

mod corrections;
mod counted;
mod crash_loop;
mod manifests;
mod memories;
mod requests;
mod standing_still;
mod wakes;
