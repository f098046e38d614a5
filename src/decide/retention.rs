//! Which releases nobody needs any more.
//!
//! Only those are named that trueup has made or that were in force while it looked after the App: their records say so.
//! What else lies in `releases/` is somebody's, and waits for its manifest or for that somebody. Pruning comes last and
//! after another look; so what earlier steps of the same plan change is taken here as they will leave it, and the plan
//! that is shown beforehand names the releases that will go.

use std::collections::BTreeSet;

use jiff::Timestamp;

use crate::decide::freshness::leads_to_desired;
use crate::decide::gate;
use crate::model::app::App;
use crate::model::drift::{Difference, Drift, Spare};
use crate::model::names::ReleaseId;
use crate::model::observed::{Aim, Evidence, Observed, ObservedRelease, Runs};
use crate::model::record::{Making, ReleaseRecord};
use crate::model::service::OnRelease;

/// Releases beyond those that are kept, oldest first. Nothing is named while anything runs nobody knows what,
/// and nothing that a living process uses.
pub fn drift(app: &App, observed: &Observed, difference: &mut Difference) {
    if observed.aim == (Aim::Halt { at: None, stranded: true }) || !difference.blockers.is_empty() {
        return;
    }
    let Some(used) = used(app, observed, difference) else { return };
    // Nothing on the host differs for that, and the pass writes it down first.
    let adopted = gate::adoption(app, observed);
    let mut ranked: Vec<(Standing, &ObservedRelease)> = observed
        .layout
        .releases
        .iter()
        .filter_map(|release| Some((standing(observed, adopted.as_ref(), release)?, release)))
        .collect();
    ranked.sort_by(|(one, a), (other, b)| other.cmp(one).then_with(|| b.id.cmp(&a.id)));
    // The one aimed at takes its place among them also while it is still at its source.
    let others = ranked.iter().filter(|(standing, release)| standing.good && release.id != app.release.id);
    let kept: BTreeSet<&ReleaseId> = others
        .take(usize::try_from(app.release.keep.saturating_sub(1)).unwrap_or(usize::MAX))
        .map(|(_, release)| &release.id)
        .collect();
    // The way back is kept whatever `keep` says: the newest good one besides the one aimed at.
    let way_back = ranked.iter().find(|(standing, release)| standing.good && release.id != app.release.id);
    let way_back = way_back.map(|(_, release)| &release.id);
    let surplus = ranked.iter().rev().map(|(_, release)| &release.id).filter(|id| {
        !kept.contains(id)
            && Some(*id) != way_back
            && **id != app.release.id
            && !used.contains(id)
            && !wanted_again(app, observed, id)
    });
    for id in surplus {
        let why = spare(adopted.as_ref().filter(|record| record.id == *id).or_else(|| observed.record(id)));
        difference.drift.push(Drift::ReleaseSurplus { release: id.clone(), keep: app.release.keep, why });
    }
}

fn spare(record: Option<&ReleaseRecord>) -> Spare {
    match record {
        Some(record) if record.is_good() => Spare::BeyondKept,
        Some(record) if record.kept_out().is_some() => Spare::Failed,
        Some(_) | None => Spare::Unproven,
    }
}

/// How much a release is worth keeping: the greater, the more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Standing {
    good: bool,
    at: Option<Timestamp>,
}

/// None for a release that is not ours to judge: somebody put it there, and it was never in force.
fn standing(observed: &Observed, adopted: Option<&ReleaseRecord>, release: &ObservedRelease) -> Option<Standing> {
    let adopted = adopted.filter(|record| record.id == release.id);
    let record = adopted.or_else(|| observed.record(&release.id)).filter(|record| is_ours(record))?;
    Some(Standing { good: record.is_good(), at: record.proven.max(record.switched).or(Some(record.since)) })
}

/// We have made it, or it has been in force. One that was only looked over is still its maker's.
fn is_ours(record: &ReleaseRecord) -> bool {
    let made = record.recipe.is_some() || record.made != Making::Built;
    made || record.switched.or(record.proven).is_some()
}

/// The one that failed last: somebody may mend what it failed of and ask for it again. The one that is asked for stays
/// anyway, and will have failed no more.
fn wanted_again(app: &App, observed: &Observed, id: &ReleaseId) -> bool {
    let others = observed.records.iter().filter(|record| record.id != app.release.id);
    let failed = others.filter_map(|record| Some((record.kept_out()?.at, &record.id)));
    failed.max().is_some_and(|(_, last)| last == id)
}

/// Releases that processes will use when all else is done; none if that cannot be told.
fn used(app: &App, observed: &Observed, difference: &Difference) -> Option<BTreeSet<ReleaseId>> {
    let mut used = BTreeSet::new();
    for stray in &observed.strays {
        // Those that are stopped are drift of their own: until they are gone, no release goes.
        if !stray.is_stopped(app.strays) {
            note(&stray.evidence, &mut used)?;
        }
    }
    if !is_renewed(app, observed, difference) {
        for service in observed.serving.iter().flatten() {
            used.extend(ReleaseId::new(service.as_str()).ok());
        }
    }
    // Workers that run another release are drift of their own, too.
    Some(used)
}

/// What serves now is renewed before anything is removed, or is asked again after the switch.
fn is_renewed(app: &App, observed: &Observed, difference: &Difference) -> bool {
    let to_come = !leads_to_desired(app, &observed.layout.link);
    (to_come && app.services.iter().any(|service| service.on_release == OnRelease::Auto))
        || difference.drift.iter().any(|drift| matches!(drift, Drift::ServiceStale { .. }))
}

fn note(evidence: &Evidence, used: &mut BTreeSet<ReleaseId>) -> Option<()> {
    match &evidence.runs {
        Runs::Release { id } => {
            used.insert(id.clone());
        }
        Runs::Mixed { ids } => used.extend(ids.iter().cloned()),
        Runs::Deleted { .. } => {}
        Runs::BeforeSwitch | Runs::AfterSwitch | Runs::Unknown => return None,
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::diff::diff;
    use crate::decide::testing::{app, evidence, id, kept_out, mended, noon, process, record, seconds_before, seen};
    use crate::model::app::StrayPolicy;
    use crate::model::observed::{Link, Stray};
    use crate::model::release::Source;

    /// The releases that go, oldest first.
    fn surplus(app: &App, observed: &Observed) -> Vec<String> {
        let drift = diff(app, observed).drift.into_iter();
        drift
            .filter_map(|drift| match drift {
                Drift::ReleaseSurplus { release, .. } => Some(release.to_string()),
                _ => None,
            })
            .collect()
    }

    fn why(app: &App, observed: &Observed) -> Vec<Spare> {
        let drift = diff(app, observed).drift.into_iter();
        drift
            .filter_map(|drift| match drift {
                Drift::ReleaseSurplus { why, .. } => Some(why),
                _ => None,
            })
            .collect()
    }

    fn keeping(keep: u32) -> App {
        let mut wanted = app("r3", vec![]);
        wanted.release.keep = keep;
        wanted
    }

    fn verified(name: &str) -> ReleaseRecord {
        let at = seconds_before(noon(), 1800);
        ReleaseRecord { verified: Some(at), ..ReleaseRecord::adopted(id(name), at) }
    }

    #[test]
    fn only_what_was_made_by_us_or_was_in_force_goes() {
        let made = ReleaseRecord { recipe: Some("ab".to_owned()), ..verified("r1") };
        let half = ReleaseRecord { made: Making::Building, ..verified("r1") };
        let failed = ReleaseRecord { switched: None, ..kept_out("r1", 30, "another") };
        let rows: [(&str, Option<ReleaseRecord>, &[&str]); 7] = [
            ("proven", Some(record("r1", 30)), &["r1"]),
            ("uploaded, and nothing known of it", None, &[]),
            ("uploaded and looked over", Some(verified("r1")), &[]),
            ("uploaded and failed before it was in force", Some(failed), &[]),
            ("in force once and failed", Some(kept_out("r1", 30, "another")), &[]),
            ("made from its source and never in force", Some(made), &["r1"]),
            ("half made", Some(half), &["r1"]),
        ];
        for (name, record, expected) in rows {
            let mut observed = seen("r3", vec![]);
            observed.records.retain(|known| known.id != id("r1"));
            observed.records.extend(record);
            assert_eq!(surplus(&keeping(1), &observed), expected, "{name}");
            assert_eq!(
                surplus(&keeping(3), &observed).len(),
                usize::from(expected == ["r1"] && name != "proven"),
                "{name}"
            );
        }
        // One that failed, and was in force: it goes as soon as another one has failed since.
        let mut observed = seen("r3", vec![]);
        observed.records = vec![kept_out("r1", 30, "x"), kept_out("r2", 20, "x"), record("r3", 10)];
        observed.records[0].quarantine.as_mut().unwrap().at = seconds_before(noon(), 600);
        assert_eq!(surplus(&keeping(1), &observed), ["r1"]);
        assert_eq!(why(&keeping(1), &observed), [Spare::Failed]);
        // One that failed, was mended and is good now is kept like any other good one.
        observed.records = vec![record("r1", 30), mended("r2", 20), record("r3", 10)];
        assert_eq!(surplus(&keeping(1), &observed), ["r1"]);
        assert_eq!(why(&keeping(1), &observed), [Spare::BeyondKept]);
        assert_eq!(surplus(&keeping(3), &observed), [""; 0]);
        observed.records[0] = ReleaseRecord { recipe: Some("ab".to_owned()), ..verified("r1") };
        assert_eq!(why(&keeping(3), &observed), [Spare::Unproven]);
    }

    #[test]
    fn the_one_that_comes_takes_a_place_before_it_is_there() {
        let mut observed = seen("r2", vec![]);
        for there in [true, false] {
            if !there {
                observed.layout.releases.retain(|release| release.id != id("r3"));
            }
            let mut wanted = keeping(2);
            wanted.release.source = Some(Source::Dir { path: "/srv/build".into() });
            assert_eq!(surplus(&wanted, &observed), ["r1"], "{there}");
            wanted.release.keep = 3;
            assert_eq!(surplus(&wanted, &observed), [""; 0], "{there}");
        }
    }

    #[test]
    fn on_a_host_that_is_new_to_us_nothing_goes_before_or_after_the_first_switch() {
        for link in [Link::Absent, Link::Release { id: id("r1") }, Link::Release { id: id("r3") }] {
            let mut observed = seen("r3", vec![]);
            observed.records.clear();
            observed.layout.link = link.clone();
            for release in &mut observed.layout.releases {
                release.made = Some(seconds_before(noon(), 9000));
            }
            assert_eq!(surplus(&keeping(1), &observed), [""; 0], "{link}");
            observed.layout.link = Link::Release { id: id("r3") };
            observed.records = vec![record("r3", 0)];
            assert_eq!(surplus(&keeping(1), &observed), [""; 0], "{link}");
        }
    }

    #[test]
    fn what_will_be_adopted_and_what_will_be_stopped_counts_as_it_will_be() {
        // The one in force is the way back as soon as the pass begins.
        let mut observed = seen("r2", vec![]);
        observed.records.retain(|known| known.id == id("r1"));
        assert_eq!(surplus(&keeping(1), &observed), ["r1"]);
        observed.records.push(record("r2", 0));
        assert_eq!(surplus(&keeping(1), &observed), ["r1"]);

        let mut observed = seen("r3", vec![]);
        observed.strays = vec![Stray {
            process: process(50),
            evidence: evidence(Runs::Release { id: id("r1") }),
            command: "php".to_owned(),
            orphan_of: None,
            spared: None,
        }];
        assert_eq!(surplus(&keeping(1), &observed), [""; 0]);
        let stopping = App { strays: StrayPolicy::Stop, ..keeping(1) };
        assert_eq!(surplus(&stopping, &observed), ["r1"]);
        observed.strays[0].spared = Some("it has a terminal".to_owned());
        assert_eq!(surplus(&stopping, &observed), [""; 0]);
    }
}
