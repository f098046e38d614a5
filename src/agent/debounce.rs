//! Waits until something that changes has come to rest, but not for ever; and until something that is gone stays gone.

use std::time::Duration;

use jiff::Timestamp;

use crate::decide::schedule::later;

/// Something that is looked at once it has been quiet for a while.
#[derive(Debug, Clone)]
pub struct Debounce {
    calm: Duration,
    at_most: Duration,
    /// The first and the last stirring that has not been looked at.
    stirred: Option<(Timestamp, Timestamp)>,
}

impl Debounce {
    /// At rest. A look comes when nothing has stirred for `calm`, and `at_most` so long after the first stirring.
    #[must_use]
    pub fn new(calm: Duration, at_most: Duration) -> Self {
        Self { calm, at_most, stirred: None }
    }

    /// Something has changed.
    pub fn stir(&mut self, now: Timestamp) {
        self.stirred = Some((self.stirred.map_or(now, |(first, _)| first), now));
    }

    /// When to look; none: nothing has stirred.
    #[must_use]
    pub fn due(&self) -> Option<Timestamp> {
        self.stirred.map(|(first, last)| later(last, self.calm).min(later(first, self.at_most)))
    }

    /// It is looked at now.
    pub fn settle(&mut self) {
        self.stirred = None;
    }
}

/// Something that is gone for a moment when it is made anew, and that is believed to be gone when it still is after a
/// while.
#[derive(Debug, Clone)]
pub(super) struct Absence {
    believed_after: Duration,
    /// Since when it is gone; none: it is there, or it is believed to be gone.
    since: Option<Timestamp>,
}

impl Absence {
    /// None yet. One that lasts for `believed_after` is believed.
    pub(super) fn new(believed_after: Duration) -> Self {
        Self { believed_after, since: None }
    }

    /// It is gone at a look. Tells whether that may still be a matter of a moment.
    pub(super) fn opens(&mut self, now: Timestamp) -> bool {
        let since = *self.since.get_or_insert(now);
        now < later(since, self.believed_after)
    }

    /// It is there again, or whoever waits for it knows what they wanted to know.
    pub(super) fn close(&mut self) {
        self.since = None;
    }

    /// When to look again; none: nothing is missing.
    pub(super) fn due(&self) -> Option<Timestamp> {
        self.since.map(|since| later(since, self.believed_after))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rest_is_waited_for_but_not_for_ever() {
        let at = |milliseconds: i64| Timestamp::from_millisecond(milliseconds).unwrap();
        let rows: [(&str, &[i64], Option<i64>); 4] = [
            ("at rest", &[], None),
            ("once", &[0], Some(100)),
            ("again and again", &[0, 50, 140], Some(240)),
            ("without end", &[0, 90, 180, 270, 360, 450], Some(500)),
        ];
        for (name, stirrings, due) in rows {
            let mut quiet = Debounce::new(Duration::from_millis(100), Duration::from_millis(500));
            for when in stirrings {
                quiet.stir(at(*when));
            }
            assert_eq!(quiet.due(), due.map(at), "{name}");
            quiet.settle();
            assert_eq!(quiet.due(), None, "{name}");
        }
    }
}
