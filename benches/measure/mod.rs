//! Medians and how they are printed.

#![allow(dead_code, reason = "every benchmark compiles this module and uses its own part of it")]

use std::time::{Duration, Instant};

/// What came of several runs of the same thing.
#[derive(Debug, Clone)]
pub struct Sample {
    sorted: Vec<Duration>,
}

impl Sample {
    /// Takes the runs in any order.
    pub fn new(mut runs: Vec<Duration>) -> Self {
        runs.sort_unstable();
        Self { sorted: runs }
    }

    /// The middle one; nothing of no runs.
    pub fn median(&self) -> Duration {
        self.at(50)
    }

    /// So many percent of the runs took at most this.
    pub fn at(&self, percent: usize) -> Duration {
        let last = self.sorted.len().saturating_sub(1);
        self.sorted.get(last * percent / 100).copied().unwrap_or_default()
    }
}

impl std::fmt::Display for Sample {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let millis = |duration: Duration| duration.as_secs_f64() * 1000.0;
        let (median, low, high) = (millis(self.median()), millis(self.at(10)), millis(self.at(90)));
        write!(f, "{median:9.2} ms   ({low:.2} to {high:.2}, {} runs)", self.sorted.len())
    }
}

/// How long something takes once.
pub fn timed<T>(work: impl FnOnce() -> T) -> (Duration, T) {
    let began = Instant::now();
    let made = work();
    (began.elapsed(), made)
}

/// How many times the one median is the other.
pub fn ratio(of: &Sample, to: &Sample) -> f64 {
    of.median().as_secs_f64() / to.median().as_secs_f64()
}

/// One line of a table; the ratio is to the line that it is compared with.
pub fn row(name: &str, sample: &Sample, compared: Option<&Sample>) {
    let ratio = compared.map_or_else(String::new, |other| format!("   {:.2} x", ratio(sample, other)));
    println!("{name:<44}{sample}{ratio}");
}
