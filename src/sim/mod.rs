//! A simulated host: the same ports as the real one, under a seed.
//!
//! [`world`] is the host's truth (link, releases, processes, managers with their bad habits, a clock), and `populate`
//! makes a random one; [`host`], `managers` and `releases` show it through the ports, with the blind spots of `/proc`;
//! [`faults`] decides which call fails, lies, or is the last before a crash; [`schedules`] runs the whole engine
//! against it, a hundred thousand times, and checks after every step what must never happen (`forbidden`); `policies`
//! and `mended` lead to what random schedules seldom meet. [`fleet`] is many hosts at once, each only as deep as the
//! control side sees it; `fleet_schedules` rolls out over them, and `fleet_cases` tells some of that as stories. What
//! comes of roots that do not answer is in `root_cases`, of clocks that were set in `clock_cases`, and of trials in
//! which something cannot be put right in `trial_cases`.

mod clock_cases;
pub mod faults;
pub mod fleet;
mod fleet_cases;
mod fleet_schedules;
mod forbidden;
pub mod host;
mod managers;
mod mended;
mod policies;
pub mod populate;
pub mod random;
mod releases;
mod root_cases;
pub mod schedules;
mod trial_cases;
pub mod world;
