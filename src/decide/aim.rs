//! Which release a pass converges to: the desired one, or the last proven one while that is kept out.
//!
//! There is no rollback beside this: the plan back is the plan for the same App with another release.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::model::app::{App, OnFailure};
use crate::model::names::ReleaseId;
use crate::model::observed::{Aim, Layout, Link};
use crate::model::record::{Judge, Quarantine, ReleaseRecord};
use crate::model::release::{Hooks, Release, Shared};

/// Which release to converge to, by the records.
#[must_use]
pub fn aim(app: &App, layout: &Layout, records: &[ReleaseRecord]) -> Aim {
    let Some(quarantine) = quarantine(app, records) else { return Aim::Desired };
    // A person who takes a release back means it, whatever a failed gate would lead to.
    let back = app.on_failure == OnFailure::Rollback || quarantine.by == Judge::Operator;
    let at = match &layout.link {
        Link::Release { id } => Some(id.clone()),
        Link::Absent | Link::Dangling { .. } | Link::Outside { .. } | Link::NotALink { .. } => None,
    };
    let chosen = quarantine.back_to.as_ref();
    let chosen = chosen.filter(|to| ways_back(app, layout, records).any(|record| record.id == **to));
    match chosen.or_else(|| last_proven(app, layout, records)) {
        Some(to) if back => Aim::Back { to: to.clone() },
        proven => Aim::Halt { at, stranded: proven.is_none() && back },
    }
}

/// Why the desired release is kept out; none when it is not, or the App has changed since.
#[must_use]
pub fn quarantine<'a>(app: &App, records: &'a [ReleaseRecord]) -> Option<&'a Quarantine> {
    let record = records.iter().find(|record| record.id == app.release.id)?;
    record.kept_out().filter(|quarantine| quarantine.key == app.fingerprint.trial)
}

/// The releases that can be gone back to: proven, there, whole, and not the desired one. What was held against one
/// before it was proven is over.
pub fn ways_back<'a>(
    app: &App,
    layout: &Layout,
    records: &'a [ReleaseRecord],
) -> impl Iterator<Item = &'a ReleaseRecord> {
    records
        .iter()
        .filter(|record| record.id != app.release.id && record.is_good() && layout.release(&record.id).is_some())
}

/// The proven release to go back to: the one in force if it is one, so that a release that fails before the switch
/// moves nothing, else the one that was in force last.
fn last_proven<'a>(app: &App, layout: &Layout, records: &'a [ReleaseRecord]) -> Option<&'a ReleaseId> {
    let in_force = |record: &&ReleaseRecord| layout.link == Link::Release { id: record.id.clone() };
    let last = ways_back(app, layout, records)
        .max_by_key(|record| (in_force(record), record.proven.max(record.switched), record.id.clone()));
    last.map(|record| &record.id)
}

/// The App that a pass converges to: the same but for the release.
#[must_use]
pub fn aimed<'a>(app: &'a App, aim: &Aim) -> Cow<'a, App> {
    let to = match aim {
        Aim::Back { to } => to,
        Aim::Halt { at: Some(at), .. } if *at != app.release.id => at,
        Aim::Desired | Aim::Halt { .. } => return Cow::Borrowed(app),
    };
    let hooks = Hooks { before_switch: Vec::new(), after_switch: Vec::new(), ..app.release.hooks.clone() };
    // It was made, verified and migrated in its time: nothing of that is done again.
    let release = Release {
        requires: Vec::new(),
        source: None,
        build: Vec::new(),
        verify: Vec::new(),
        migrate: Vec::new(),
        links: BTreeMap::new(),
        hooks,
        id: to.clone(),
        shared: Shared::default(),
        keep: app.release.keep,
    };
    Cow::Owned(App { release, ..app.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::testing::{app, id, kept_out, mended, record, seen};
    use crate::model::record::Making;

    #[test]
    fn a_release_kept_out_leads_to_the_last_proven_one_that_is_there() {
        let mut wanted = app("r3", vec![]);
        let layout = seen("r3", vec![]).layout;
        let back = |to: &str| Aim::Back { to: id(to) };
        let stranded = Aim::Halt { at: Some(id("r3")), stranded: true };
        let unproven = ReleaseRecord { proven: None, ..record("r2", 0) };
        let half = ReleaseRecord { made: Making::Building, ..record("r2", 0) };
        let rows = [
            ("nothing known", vec![], Aim::Desired),
            ("proven", vec![record("r3", 5)], Aim::Desired),
            ("failed", vec![record("r1", 20), record("r2", 10), kept_out("r3", 0, "trial")], back("r2")),
            (
                "the order is that of the proofs",
                vec![record("r1", 5), record("r2", 10), kept_out("r3", 0, "trial")],
                back("r1"),
            ),
            ("the App has changed since", vec![record("r2", 10), kept_out("r3", 0, "another")], Aim::Desired),
            ("not proven", vec![record("r1", 20), unproven, kept_out("r3", 0, "trial")], back("r1")),
            ("half a release", vec![record("r1", 20), half, kept_out("r3", 0, "trial")], back("r1")),
            ("not there any more", vec![record("r1", 20), record("r9", 1), kept_out("r3", 0, "trial")], back("r1")),
            ("failed, too", vec![record("r1", 20), kept_out("r2", 0, "old"), kept_out("r3", 0, "trial")], back("r1")),
            (
                "mended under the same id, and proven since",
                vec![record("r1", 20), mended("r2", 0), kept_out("r3", 0, "trial")],
                back("r2"),
            ),
            ("the desired one is proven since", vec![record("r2", 10), mended("r3", 0)], Aim::Desired),
            ("no way back", vec![kept_out("r3", 0, "trial")], stranded),
        ];
        for (name, records, expected) in rows {
            assert_eq!(aim(&wanted, &layout, &records), expected, "{name}");
        }
        wanted.on_failure = OnFailure::Halt;
        let records = [record("r2", 10), kept_out("r3", 0, "trial")];
        assert_eq!(aim(&wanted, &layout, &records), Aim::Halt { at: Some(id("r3")), stranded: false });
    }

    #[test]
    fn a_person_goes_back_whatever_a_failed_gate_would_lead_to_and_chooses_where() {
        let by_hand = |to: Option<&str>| {
            let mut record = kept_out("r3", 0, "trial");
            let quarantine = record.quarantine.as_mut().unwrap();
            (quarantine.by, quarantine.back_to) = (Judge::Operator, to.map(id));
            record
        };
        let unproven = ReleaseRecord { proven: None, ..record("r1", 0) };
        let rows = [
            ("the last one", "r3", vec![record("r1", 20), record("r2", 10), by_hand(None)], "r2"),
            ("the chosen one", "r3", vec![record("r1", 20), record("r2", 10), by_hand(Some("r1"))], "r1"),
            ("though another is in force", "r2", vec![record("r1", 20), record("r2", 10), by_hand(Some("r1"))], "r1"),
            ("the chosen one is in force", "r1", vec![record("r1", 20), record("r2", 10), by_hand(Some("r1"))], "r1"),
            ("gone since", "r3", vec![record("r2", 10), record("r9", 20), by_hand(Some("r9"))], "r2"),
            ("no record any more", "r3", vec![record("r2", 10), by_hand(Some("r1"))], "r2"),
            ("proven no more", "r3", vec![unproven, record("r2", 10), by_hand(Some("r1"))], "r2"),
            ("kept out since", "r3", vec![kept_out("r1", 0, "old"), record("r2", 10), by_hand(Some("r1"))], "r2"),
        ];
        for policy in [OnFailure::Rollback, OnFailure::Halt] {
            for (name, link, records, to) in &rows {
                let wanted = App { on_failure: policy, ..app("r3", vec![]) };
                let layout = seen(link, vec![]).layout;
                assert_eq!(aim(&wanted, &layout, records), Aim::Back { to: id(to) }, "{name}, {policy:?}");
            }
        }
    }

    #[test]
    fn the_way_back_differs_in_the_release_only() {
        let mut wanted = app("r3", vec![]);
        wanted.release.keep = 7;
        let there = aimed(&wanted, &Aim::Back { to: id("r2") }).into_owned();
        assert_eq!(there.release, Release { keep: 7, ..Release::present(id("r2")) });
        assert_eq!(App { release: wanted.release.clone(), ..there }, wanted);
    }
}
