//! How long to wait: growing pauses after failures, and a spread so that many Apps do not move in step.

use std::time::Duration;

/// The pause after the first failure.
pub(super) const SHORTEST: Duration = Duration::from_secs(5);
/// The pause does not grow beyond this.
pub(super) const LONGEST: Duration = Duration::from_mins(3);
/// Pauses after failures are shorter by up to so many percent.
const SPREAD_OF_PAUSES: u32 = 20;
/// Intervals are shorter by up to so many percent.
const SPREAD_OF_INTERVALS: u32 = 10;

/// A sequence of numbers that looks random and is the same for the same seed (splitmix64). It spreads Apps, and guards
/// no secret.
#[derive(Debug, Clone)]
pub(super) struct Spread(u64);

impl Spread {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The pause after so many failures in a row.
    pub(super) fn pause(&mut self, failures: u32) -> Duration {
        self.shorten(pause(failures), SPREAD_OF_PAUSES)
    }

    /// The time until the next timer.
    pub(super) fn interval(&mut self, interval: Duration) -> Duration {
        self.shorten(interval, SPREAD_OF_INTERVALS)
    }

    fn shorten(&mut self, length: Duration, percent: u32) -> Duration {
        let share = u32::try_from(self.next() % 1000).unwrap_or_default();
        length.saturating_sub(length / 100 * percent / 1000 * share)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

/// The pause after so many failures in a row, before it is spread: doubled each time.
pub(super) fn pause(failures: u32) -> Duration {
    let doubled = failures.checked_sub(1).map(|times| 2u32.saturating_pow(times));
    doubled.map_or(Duration::ZERO, |factor| SHORTEST.saturating_mul(factor).min(LONGEST))
}
