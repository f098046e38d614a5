//! Which services still serve another release, or old configuration.

use jiff::Timestamp;

use crate::decide::freshness::{Content, contents_of, is_clearly_after, leads_to_desired};
use crate::model::app::App;
use crate::model::drift::{Difference, Drift, ServiceStale, Stalled};
use crate::model::observed::Observed;
use crate::model::service::{OnRelease, Renewal, Service, ServiceState};

/// Each service that is not right. One that does not run is not ours to start; one that is left alone is not looked at.
pub fn drift(app: &App, observed: &Observed, difference: &mut Difference) {
    for service in &app.services {
        for (path, content) in contents_of(app, observed, &service.name, &service.restart_on) {
            if matches!(content, Content::Changed(_)) {
                difference.drift.push(Drift::ConfigChanged { group: service.name.clone(), path: path.clone() });
            }
        }
        let Some(seen) = observed.services.iter().find(|seen| seen.service == service.name) else { continue };
        let state = match &seen.seen {
            Ok(state) => state,
            Err(why) => {
                if service.on_release != OnRelease::None || !service.restart_on.is_empty() {
                    let (service, why) = (service.name.clone(), why.clone());
                    difference.stalled.push(Stalled::ServiceUnreadable { service, why });
                }
                continue;
            }
        };
        if state.up
            && let Some((how, because)) = stale(app, observed, service, state)
        {
            difference.drift.push(Drift::ServiceStale { service: service.name.clone(), how, because });
        }
    }
}

fn stale(app: &App, observed: &Observed, service: &Service, state: &ServiceState) -> Option<(Renewal, ServiceStale)> {
    let renewed = last_renewed(observed, service, state);
    let since = |moment: Timestamp| renewed.is_some_and(|renewed| is_clearly_after(renewed, moment));
    let to_come = !leads_to_desired(app, &observed.layout.link);
    let gentle = gentlest(state);
    let by_release = match service.on_release {
        OnRelease::None => None,
        OnRelease::Reload | OnRelease::Restart => {
            let done = !to_come && observed.layout.link_changed.is_some_and(since);
            let how = if service.on_release == OnRelease::Reload { Renewal::Reload } else { Renewal::Restart };
            (!done).then_some((how, ServiceStale::Switched))
        }
        // What it serves after the switch is asked after the switch.
        OnRelease::Auto if to_come => None,
        // Renewed since and still not right: another time would not help either. The gate will say so.
        OnRelease::Auto if observed.layout.link_changed.is_some_and(since) => None,
        OnRelease::Auto => match &observed.serving {
            Some(serving) => {
                let other = serving.iter().find(|release| release.as_str() != app.release.id.as_str());
                other.map(|other| (gentle, ServiceStale::Serves(other.clone())))
            }
            None => {
                let older =
                    state.oldest.zip(observed.layout.link_changed).filter(|(oldest, switched)| oldest < switched);
                older.map(|_| (gentle, ServiceStale::OlderThanSwitch))
            }
        },
    };
    let by_config = || {
        contents_of(app, observed, &service.name, &service.restart_on)
            .find(|(_, content)| content.since().is_some_and(|moment| !since(moment)))
            .map(|(path, _)| (gentle, ServiceStale::Config(path.clone())))
    };
    by_release.or_else(by_config)
}

/// Renewed by anybody, as far as its manager shows, or by us, as we wrote down.
fn last_renewed(observed: &Observed, service: &Service, state: &ServiceState) -> Option<Timestamp> {
    let noted = observed.renewed.iter().find(|noted| noted.service == service.name).map(|noted| noted.at);
    state.renewed.max(noted)
}

/// A reload, where it can be asked for one.
fn gentlest(state: &ServiceState) -> Renewal {
    if state.can_reload { Renewal::Reload } else { Renewal::Restart }
}
