//! What is known of every release of a root.

use std::collections::BTreeSet;

use jiff::Timestamp;

use crate::decide::aim::quarantine;
use crate::model::app::App;
use crate::model::drift::{Difference, Drift};
use crate::model::inventory::{ReleaseStanding, ReleaseStatus, Use};
use crate::model::names::ReleaseId;
use crate::model::observed::{Evidence, Link, Observed, Runs};
use crate::model::record::{Making, Quarantine, ReleaseRecord};

/// Every release that is there or was written down, the one that was made last at the end: that is what its age shows. Of
/// those that are gone, the one that was in force last.
#[must_use]
pub fn inventory(app: &App, observed: &Observed, difference: &Difference) -> Vec<ReleaseStatus> {
    let there = observed.layout.releases.iter().map(|release| &release.id);
    let ids: BTreeSet<&ReleaseId> = there.chain(observed.records.iter().map(|record| &record.id)).collect();
    let mut all: Vec<ReleaseStatus> = ids.into_iter().map(|id| status(app, observed, difference, id)).collect();
    all.sort_by_key(|one| (one.made.is_some(), age(one), one.id.clone()));
    all
}

fn age(one: &ReleaseStatus) -> Option<Timestamp> {
    one.made.or(one.switched.max(one.proven))
}

fn status(app: &App, observed: &Observed, difference: &Difference, id: &ReleaseId) -> ReleaseStatus {
    let record = observed.record(id);
    let present = observed.layout.release(id);
    let kept_out = in_effect(app, observed, record);
    ReleaseStatus {
        id: id.clone(),
        current: observed.layout.link == Link::Release { id: id.clone() },
        desired: *id == app.release.id,
        state: match record {
            _ if kept_out.is_some() => ReleaseStanding::Quarantined,
            _ if present.is_none() => ReleaseStanding::Absent,
            None => ReleaseStanding::Unknown,
            Some(record) if record.made != Making::Built => ReleaseStanding::HalfMade,
            Some(record) if record.proven.is_some() => ReleaseStanding::Good,
            Some(_) => ReleaseStanding::Unproven,
        },
        quarantine: kept_out.cloned(),
        origin: record.and_then(|record| record.origin.clone()),
        made: present.and_then(|release| release.made),
        switched: record.and_then(|record| record.switched),
        proven: record.and_then(|record| record.proven),
        size_bytes: None,
        used_by: users(observed, id),
        surplus: difference
            .drift
            .iter()
            .any(|drift| matches!(drift, Drift::ReleaseSurplus { release, .. } if release == id)),
    }
}

/// That of the desired release ends when the App changes; nobody goes back to another one that failed once.
fn in_effect<'a>(app: &App, observed: &'a Observed, record: Option<&'a ReleaseRecord>) -> Option<&'a Quarantine> {
    let record = record?;
    if record.id == app.release.id { quarantine(app, &observed.records) } else { record.kept_out() }
}

/// The processes that run a release, as far as that can be told.
fn users(observed: &Observed, id: &ReleaseId) -> Vec<Use> {
    let workers = observed.groups.iter().flat_map(|seen| seen.members.iter().flatten());
    let workers = workers
        .filter(|worker| runs(observed, &worker.evidence, id))
        .filter_map(|worker| Some(Use { process: worker.process?, member: Some(worker.member.clone()) }));
    let strays = observed.strays.iter().filter(|stray| runs(observed, &stray.evidence, id));
    let mut users: Vec<Use> = workers.chain(strays.map(|stray| Use { process: stray.process, member: None })).collect();
    users.sort();
    users
}

fn runs(observed: &Observed, evidence: &Evidence, id: &ReleaseId) -> bool {
    match &evidence.runs {
        Runs::Release { id: named } => named == id,
        Runs::Mixed { ids } => ids.contains(id),
        Runs::AfterSwitch => observed.layout.link == Link::Release { id: id.clone() },
        // What they run is not this directory any more.
        Runs::Deleted { .. } | Runs::BeforeSwitch | Runs::Unknown => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::diff::diff;
    use crate::decide::testing::{
        app, evidence, group, id, kept_out, mended, noon, process, record, running, seconds_before, seen, supervisord,
    };
    use crate::model::observed::{ObservedRelease, Stray, Worker};

    #[test]
    fn each_release_has_its_standing() {
        let wanted = app("r3", vec![]);
        let unproven = ReleaseRecord { proven: None, ..record("r1", 5) };
        let half = ReleaseRecord { made: Making::Fetched, ..record("r1", 5) };
        let rows = [
            ("proven", "r1", Some(record("r1", 5)), ReleaseStanding::Good),
            ("failed", "r1", Some(kept_out("r1", 5, "another")), ReleaseStanding::Quarantined),
            ("failed, mended and proven", "r1", Some(mended("r1", 5)), ReleaseStanding::Good),
            ("desired and failed", "r3", Some(kept_out("r3", 5, "trial")), ReleaseStanding::Quarantined),
            (
                "desired, failed before the App changed",
                "r3",
                Some(kept_out("r3", 5, "another")),
                ReleaseStanding::Unproven,
            ),
            ("half a release", "r1", Some(half), ReleaseStanding::HalfMade),
            ("whole", "r1", Some(unproven), ReleaseStanding::Unproven),
            ("uploaded", "r1", None, ReleaseStanding::Unknown),
            ("gone", "r9", Some(record("r9", 5)), ReleaseStanding::Absent),
            ("failed and never there", "r9", Some(kept_out("r9", 5, "another")), ReleaseStanding::Quarantined),
        ];
        for (name, of, record, standing) in rows {
            let mut observed = seen("r2", vec![]);
            observed.records = record.into_iter().collect();
            let all = inventory(&wanted, &observed, &Difference::default());
            let one = all.iter().find(|one| one.id == id(of)).unwrap();
            assert_eq!(
                (one.state, one.quarantine.is_some()),
                (standing, standing == ReleaseStanding::Quarantined),
                "{name}"
            );
            assert_eq!((one.current, one.desired), (false, of == "r3"), "{name}");
        }
    }

    #[test]
    fn the_order_is_that_of_the_age_that_is_shown() {
        let mut observed = seen("r1", vec![]);
        let release = observed.layout.releases.first().cloned().unwrap();
        let made = |name: &str, seconds| ObservedRelease {
            id: id(name),
            made: Some(seconds_before(noon(), seconds)),
            ..release.clone()
        };
        observed.layout.releases = vec![made("r2", 50), made("r1", 90), made("r30", 20)];
        // Gone back to, and so in force last; and one of which nothing is left.
        let back = ReleaseRecord { switched: Some(noon()), ..record("r1", 5) };
        observed.records = vec![back, record("r2", 40), record("r0", 1)];
        let all = inventory(&app("r30", vec![]), &observed, &Difference::default());
        let order: Vec<&str> = all.iter().map(|one| one.id.as_str()).collect();
        assert_eq!(order, ["r0", "r1", "r2", "r30"]);
    }

    #[test]
    fn the_newest_is_last_with_those_who_use_it_and_what_nobody_needs_is_marked() {
        let mut wanted = app("r3", vec![group("default", 3, supervisord())]);
        wanted.release.keep = 1;
        let silent = Worker { evidence: evidence(Runs::AfterSwitch), ..running(2, "r3") };
        let mixed = Worker { evidence: evidence(Runs::Mixed { ids: vec![id("r2"), id("r3")] }), ..running(3, "r3") };
        let lost = Worker { evidence: evidence(Runs::Unknown), ..running(4, "r3") };
        let mut observed = seen("r3", vec![running(1, "r3"), silent, mixed, lost]);
        observed.strays = vec![Stray {
            process: process(50),
            evidence: evidence(Runs::Release { id: id("r2") }),
            command: "php".to_owned(),
            orphan_of: None,
            spared: None,
        }];
        let difference = diff(&wanted, &observed);
        let all = inventory(&wanted, &observed, &difference);
        let told: Vec<_> = all
            .iter()
            .map(|one| {
                let pids: Vec<u32> = one.used_by.iter().map(|user| user.process.pid.0).collect();
                (one.id.as_str(), one.current, one.surplus, pids)
            })
            .collect();
        assert_eq!(
            told,
            [
                ("r1", false, true, vec![]),
                ("r2", false, false, vec![50, 103]),
                ("r3", true, false, vec![101, 102, 103])
            ]
        );
        assert_eq!(all[1].used_by[0].member, None);
    }
}
