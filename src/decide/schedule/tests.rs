//! Turn-taking as tables, one moment after the other.

mod back_off;
mod corrections;
mod crash_loop;
mod leave;
mod turns;
