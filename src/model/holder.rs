//! Who makes a pass over a root, and keeps every other one out.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::length::in_seconds;

/// Who holds the lock of a root, as it says itself; a courtesy to others, the kernel alone decides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Its process.
    pub pid: i32,
    /// Since when.
    pub since: Timestamp,
    /// On which host.
    pub host: String,
    /// What it does: `trueup reconcile`.
    pub command: String,
}

impl Holder {
    /// ``pid 5160 (`trueup reconcile`) has been at work here for 12 s``.
    #[must_use]
    pub fn words(&self, now: Timestamp) -> String {
        let long = in_seconds(now.duration_since(self.since).unsigned_abs());
        format!("pid {} (`{}`) has been at work here for {long}", self.pid, self.command)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_holder_is_named_with_its_command_and_for_how_long() {
        let since = Timestamp::UNIX_EPOCH;
        let holder = Holder { pid: 5160, since, host: "web1".to_owned(), command: "trueup reconcile".to_owned() };
        let now = since + jiff::SignedDuration::from_secs(72);
        assert_eq!(holder.words(now), "pid 5160 (`trueup reconcile`) has been at work here for 1 min 12 s");
    }
}
