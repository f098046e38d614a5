//! Which releases nobody needs any more.

use std::collections::BTreeSet;

use jiff::Timestamp;

use crate::decide::freshness::leads_to_desired;
use crate::model::app::App;
use crate::model::drift::{Difference, Drift};
use crate::model::names::ReleaseId;
use crate::model::observed::{Aim, Evidence, Observed, ObservedRelease, Runs};
use crate::model::record::Making;

/// Releases beyond those that are kept, oldest first. Nothing is named while anything runs nobody knows what,
/// and nothing that a living process uses.
pub fn drift(app: &App, observed: &Observed, difference: &mut Difference) {
    if observed.aim == (Aim::Halt { at: None, stranded: true }) || !difference.blockers.is_empty() {
        return;
    }
    let Some(used) = used(observed) else { return };
    let mut ranked: Vec<(Standing, &ObservedRelease)> = observed
        .layout
        .releases
        .iter()
        .filter_map(|release| Some((standing(app, observed, release)?, release)))
        .collect();
    ranked.sort_by(|(one, a), (other, b)| other.cmp(one).then_with(|| b.id.cmp(&a.id)));
    let good = ranked.iter().filter(|(standing, _)| standing.good);
    let kept: BTreeSet<&ReleaseId> = good
        .take(usize::try_from(app.release.keep.max(1)).unwrap_or(usize::MAX))
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
            && !wanted_again(observed, id)
    });
    for id in surplus {
        difference.drift.push(Drift::ReleaseSurplus { release: id.clone(), keep: app.release.keep });
    }
}

/// How much a release is worth keeping: the greater, the more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Standing {
    good: bool,
    at: Option<Timestamp>,
}

/// None for a release that is not ours to judge: put there by somebody, and not yet in force.
fn standing(app: &App, observed: &Observed, release: &ObservedRelease) -> Option<Standing> {
    if release.id == app.release.id {
        return Some(Standing { good: true, at: Some(Timestamp::MAX) });
    }
    let Some(record) = observed.record(&release.id) else {
        // Uploaded after the last switch, it waits for its manifest.
        let switched = observed.layout.link_changed.filter(|_| leads_to_desired(app, &observed.layout.link));
        let old = release.made.zip(switched).is_some_and(|(made, switched)| made < switched);
        return old.then_some(Standing { good: true, at: release.made });
    };
    let good = record.made == Making::Built && record.proven.is_some() && record.quarantine.is_none();
    Some(Standing { good, at: record.proven.max(record.switched).or(Some(record.since)) })
}

/// The one that failed last: somebody may mend what it failed of and ask for it again.
fn wanted_again(observed: &Observed, id: &ReleaseId) -> bool {
    let failed = observed.records.iter().filter_map(|record| Some((record.quarantine.as_ref()?.at, &record.id)));
    failed.max().is_some_and(|(_, last)| last == id)
}

/// Releases that processes use, but for those of workers that are replaced anyway; none if that cannot be told.
fn used(observed: &Observed) -> Option<BTreeSet<ReleaseId>> {
    let mut used = BTreeSet::new();
    for stray in &observed.strays {
        note(&stray.evidence, &mut used)?;
    }
    for service in observed.serving.iter().flatten() {
        used.extend(ReleaseId::new(service.as_str()).ok());
    }
    // Workers that run another release are drift of their own: until they are gone, no release goes.
    Some(used)
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
