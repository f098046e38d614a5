//! When was `current` moved, by the clock as it goes now?
//!
//! The start of a process is known in time since the boot, and is told in wall time by the clock as it goes at the look;
//! the link tells by the clock as it went when it was moved. Was that set in between, the two do not compare. What was
//! noted right before our own switch tells by how much.

use jiff::{SignedDuration, Timestamp};

use crate::model::boot::{Boot, Moment};
use crate::model::process::START_GUARD;

/// A link that was changed so soon after our note was changed by us, and by the same clock.
const SOON: SignedDuration = SignedDuration::from_secs(5);

/// When a link was changed, by the clock as it goes now; none where `changed` itself is the best that is known.
///
/// `noted` right before we moved it: it did not lead there then, so it was changed later, whoever did it.
#[must_use]
pub fn by_now(changed: Timestamp, noted: &Moment, boot: &Boot, now: Timestamp) -> Option<Timestamp> {
    // Of another boot, nothing follows: it may be another machine's, with the root on a common file system.
    if boot.id.is_empty() || noted.boot.id != boot.id {
        return None;
    }
    let guard = SignedDuration::try_from(START_GUARD).ok()?;
    let set = boot.at.duration_since(noted.boot.at);
    let earliest = noted.at.checked_add(set).ok()?;
    // Within what two readings of the clocks may differ by. A moment to come was told by the clock of another container.
    if set.abs() <= guard || earliest > now {
        return None;
    }
    let after = changed.duration_since(noted.at);
    if after >= -guard && after <= SOON {
        return changed.checked_add(set).ok();
    }
    (earliest > changed).then_some(earliest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::testing::{noon, seconds_before};

    #[test]
    fn what_was_noted_before_a_switch_outlives_a_clock_that_is_set() {
        let boot = |id: &str, set: i64| Boot { id: id.to_owned(), at: seconds_before(noon(), 10_000 - set) };
        let noted = Moment { at: seconds_before(noon(), 100), boot: boot("b", 0) };
        // When the link was changed, in seconds after the note, by its own clock; by how much the clock was set since,
        // and when the look is, in seconds after the note by the clock of then; what comes of it, by the clock of now.
        let rows = [
            ("nobody set the clock", 1, boot("b", 0), 60, None),
            ("it leapt ahead", 1, boot("b", 3600), 3660, Some(3601)),
            ("it was set back", 1, boot("b", -3600), -3540, Some(-3599)),
            ("another boot", 1, boot("c", 3600), 3660, None),
            ("a boot without a name", 1, Boot { id: String::new(), ..boot("b", 3600) }, 3660, None),
            ("moved by somebody else later, then a leap", 50, boot("b", 3600), 3660, Some(3600)),
            ("a leap, then moved by somebody else", 3650, boot("b", 3600), 3660, None),
            ("a leap between the note and the switch", 3601, boot("b", 3600), 3660, None),
            ("set back, then moved by somebody else", -3550, boot("b", -3600), -3540, None),
            ("by the server of the file system, whose clock is behind", -30, boot("b", 3600), 3660, Some(3600)),
            ("in a container that counts from another moment", 1, boot("b", 3600), 3590, None),
        ];
        let after = |seconds: i64| seconds_before(noted.at, -seconds);
        for (name, changed, boot, now, expected) in rows {
            assert_eq!(by_now(after(changed), &noted, &boot, after(now)), expected.map(after), "{name}");
        }
        let nameless = Moment { boot: Boot { id: String::new(), ..noted.boot.clone() }, ..noted.clone() };
        let now = Boot { id: String::new(), ..boot("b", 3600) };
        assert_eq!(by_now(after(1), &nameless, &now, after(3660)), None);
    }
}
