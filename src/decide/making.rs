//! What a release still lacks before `current` may lead to it, by its record and by what is in it.

use crate::decide::aim::quarantine;
use crate::decide::freshness::leads_to_desired;
use crate::model::app::App;
use crate::model::drift::{Difference, Drift};
use crate::model::observed::{Aim, Observed};
use crate::model::record::{Making, ReleaseRecord};
use crate::model::release::Stage;

/// Whether the App's release is there, and all of it. One without a record was put there by somebody else, whole.
#[must_use]
pub fn is_whole(app: &App, observed: &Observed) -> bool {
    let present = observed.layout.release(&app.release.id).is_some();
    present && observed.record(&app.release.id).is_none_or(|record| is_made(app, observed, record))
}

fn is_made(app: &App, observed: &Observed, record: &ReleaseRecord) -> bool {
    record.made == Making::Built && is_by_this_recipe(app, observed, record)
}

/// A release that is in force or was proven is not made again because its recipe has changed since.
fn is_by_this_recipe(app: &App, observed: &Observed, record: &ReleaseRecord) -> bool {
    app.release.source.is_none()
        || record.recipe.as_ref().is_none_or(|recipe| *recipe == app.fingerprint.recipe)
        || record.proven.is_some()
        || leads_to_desired(app, &observed.layout.link)
}

/// Whether the release's files are to be brought again, so that nothing that was found out about them counts any more.
#[must_use]
pub fn comes_anew(app: &App, observed: &Observed) -> bool {
    let is_fetched = observed.layout.release(&app.release.id).is_some()
        && observed
            .record(&app.release.id)
            .is_some_and(|record| record.made == Making::Fetched && is_by_this_recipe(app, observed, record));
    app.release.source.is_some() && !is_whole(app, observed) && !is_fetched
}

/// What is to be done before the switch.
pub fn drift(app: &App, observed: &Observed, difference: &mut Difference) {
    let release = &app.release;
    let id = &release.id;
    let wanted = observed.aim == Aim::Desired && quarantine(app, &observed.records).is_none();
    if let Aim::Back { .. } = &observed.aim
        && observed.health.as_ref().is_some_and(|verdict| verdict.healthy)
        && let Some(record) = observed.records.iter().find(|one| one.kept_out().is_some_and(|one| one.held))
    {
        difference.drift.push(Drift::HoldOver { release: record.id.clone() });
    }
    if !wanted {
        return;
    }
    let record = observed.record(id);
    let present = observed.layout.release(id);
    let whole = is_whole(app, observed);
    let comes_anew = comes_anew(app, observed);
    if let Some(source) = release.source.as_ref().filter(|_| comes_anew) {
        difference.drift.push(Drift::ReleaseNotFetched { desired: id.clone(), source: source.clone() });
    }
    let has_links = !release.shared.dirs.is_empty()
        || !release.shared.files.is_empty()
        || !release.shared.writable.is_empty()
        || !release.links.is_empty();
    let unlinked = present.map(|release| release.unlinked.clone()).unwrap_or_default();
    if has_links && comes_anew {
        difference.drift.push(Drift::SharedNotLinked { release: id.clone(), paths: Vec::new() });
    } else if !unlinked.is_empty() {
        difference.drift.push(Drift::SharedNotLinked { release: id.clone(), paths: unlinked });
    }
    let mut due = |stage: Stage, is_due: bool| {
        let commands = stage.steps(release).len();
        if is_due && commands > 0 {
            difference.drift.push(Drift::StageDue { release: id.clone(), stage, commands });
        }
    };
    due(Stage::Build, release.source.is_some() && !whole);
    // What is in force already has had its chance.
    let to_come = !leads_to_desired(app, &observed.layout.link);
    due(Stage::Verify, to_come && (comes_anew || record.is_none_or(|record| record.verified.is_none())));
    due(Stage::Migrate, to_come && record.is_none_or(|record| record.migrated.is_none()));
}

/// The hook that is due after the switch, or will be.
pub fn hook(app: &App, observed: &Observed, difference: &mut Difference) {
    let id = &app.release.id;
    let usual = if matches!(observed.aim, Aim::Back { .. }) { Stage::AfterRollback } else { Stage::AfterSwitch };
    let stage = if leads_to_desired(app, &observed.layout.link) {
        observed.due.as_ref().filter(|due| due.release == *id).map(|due| due.stage)
    } else {
        Some(usual)
    };
    let Some(stage) = stage else { return };
    let commands = stage.steps(&app.release).len();
    if commands > 0 {
        difference.drift.push(Drift::StageDue { release: id.clone(), stage, commands });
    }
}
