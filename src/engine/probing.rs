//! How often an application is asked, so that every process of it that answers has its turn.

use crate::decide::freshness::leads_to_desired;
use crate::model::app::App;
use crate::model::health::HealthVerdict;
use crate::model::observed::Observed;
use crate::model::service::OnRelease;
use crate::observe::{Probing, ask, hear};
use crate::ports::Host;

/// What the application says of itself between two passes, judged with the host as it was last seen; none without a
/// health contract.
pub async fn health_now<H: Host>(host: &H, app: &App, observed: &Observed) -> Option<HealthVerdict> {
    let answers = ask(host, app, Probing::Once).await;
    let mut now = observed.clone();
    hear(host, app, &mut now, answers).await;
    now.health_in_force().cloned()
}

/// How the application is to be asked at the look after some steps: while a new release comes into force and a service of
/// its own accord may still serve another one, its answers say so.
#[must_use]
pub fn probing_after(app: &App, observed: &Observed) -> Probing {
    let unproven = observed.record(&app.release.id).is_none_or(|record| record.proven.is_none());
    let asked = app.services.iter().any(|service| service.on_release == OnRelease::Auto) && app.health.is_some();
    let moving = unproven || !leads_to_desired(app, &observed.layout.link);
    if !asked || !moving {
        return Probing::Not;
    }
    let children =
        observed.services.iter().filter_map(|seen| seen.seen.as_ref().ok()).map(|state| state.children).max();
    Probing::Widely((children.unwrap_or_default() * 2).clamp(ASKED_AT_LEAST, ASKED_AT_MOST))
}

/// How often an application is asked at least and at most, so that every process that answers has its turn.
const ASKED_AT_LEAST: u32 = 6;
const ASKED_AT_MOST: u32 = 60;
