//! Who goes back when a person takes a release back on all hosts.

use crate::model::names::ReleaseId;

/// Whether a host goes back from that release, by what it is like: it has it in force; or it keeps it out already, and
/// has gone to another release than the one that is wished for now. One that has nothing to do with it is left alone.
/// [`take_back`](crate::decide::operate::take_back) says the same on the host.
#[must_use]
pub fn goes_back(release: &ReleaseId, to: Option<&ReleaseId>, current: Option<&ReleaseId>, kept_out: bool) -> bool {
    current == Some(release) || (kept_out && to.is_some() && current != to)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::testing::id;

    #[test]
    fn only_who_has_it_in_force_goes_back_or_who_went_another_way() {
        let rows = [
            ("in force", None, Some("r3"), false, true),
            ("in force, and kept out: the way back was not gone to its end", None, Some("r3"), true, true),
            ("in force, to a certain one", Some("r1"), Some("r3"), false, true),
            ("never there", None, Some("r2"), false, false),
            ("never there, to a certain one", Some("r1"), Some("r2"), false, false),
            ("kept out", None, Some("r2"), true, false),
            ("kept out, by another way", Some("r1"), Some("r2"), true, true),
            ("kept out, by this way", Some("r2"), Some("r2"), true, false),
            ("nothing in force", None, None, false, false),
            ("nothing in force, kept out, to a certain one", Some("r1"), None, true, true),
        ];
        for (name, to, current, kept_out, expected) in rows {
            let (to, current) = (to.map(id), current.map(id));
            assert_eq!(goes_back(&id("r3"), to.as_ref(), current.as_ref(), kept_out), expected, "{name}");
        }
    }
}
