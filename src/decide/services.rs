//! Which services still serve another release, or old configuration.

use jiff::Timestamp;

use crate::decide::freshness::{Content, contents_of, is_clearly_after, leads_to_desired};
use crate::model::app::App;
use crate::model::drift::{Blocker, Difference, Drift, ServiceStale, Stalled};
use crate::model::memory::Renewed;
use crate::model::observed::{Aim, Observed, Unreadable};
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
        let Ok(state) = &seen.seen else { continue };
        if state.up
            && let Some((how, because)) = stale(app, observed, service, state)
        {
            difference.drift.push(Drift::ServiceStale { service: service.name.clone(), how, because });
        }
    }
    // One that is in the way of the release is said to be that instead.
    for (service, why) in unseen(app, observed).filter(|(service, _)| !is_needed(app, observed, service)) {
        difference.stalled.push(Stalled::ServiceUnreadable { service: service.name.clone(), why: why.clone() });
    }
}

/// Services that are not left alone, and cannot be observed.
pub fn unseen<'a>(app: &'a App, observed: &'a Observed) -> impl Iterator<Item = (&'a Service, &'a Unreadable)> {
    let looked_at = |service: &&Service| service.on_release != OnRelease::None || !service.restart_on.is_empty();
    app.services.iter().filter(looked_at).filter_map(|service| {
        let seen = observed.services.iter().find(|seen| seen.service == service.name)?;
        Some((service, seen.seen.as_ref().err()?))
    })
}

/// Services that cannot be observed, and would have to serve the release that is to come: found out after the switch,
/// it would be in force half.
pub fn blockers<'a>(app: &'a App, observed: &'a Observed) -> impl Iterator<Item = Blocker> + 'a {
    let needed = unseen(app, observed).filter(|(service, _)| is_needed(app, observed, service));
    needed.map(|(service, why)| Blocker::ServiceUnreadable { service: service.name.clone(), why: why.clone() })
}

/// The way back is gone all the same: what it leaves is worse.
fn is_needed(app: &App, observed: &Observed, service: &Service) -> bool {
    let to_come = observed.aim == Aim::Desired && !leads_to_desired(app, &observed.layout.link);
    to_come && service.on_release != OnRelease::None
}

fn stale(app: &App, observed: &Observed, service: &Service, state: &ServiceState) -> Option<(Renewal, ServiceStale)> {
    let renewed = last_renewed(observed, service, state);
    let since = |moment: Timestamp| renewed.is_some_and(|renewed| is_clearly_after(renewed, moment));
    let to_come = !leads_to_desired(app, &observed.layout.link);
    // A clock that was set back shows the switch in the future: no renewal would be later than that.
    let for_this_switch = |link: Timestamp| noted(observed, service).is_some_and(|noted| noted.link == Some(link));
    let since_switch =
        observed.layout.switched().is_some_and(since) || observed.layout.link_changed.is_some_and(for_this_switch);
    let gentle = gentlest(state);
    let by_release = match service.on_release {
        OnRelease::None => None,
        OnRelease::Reload | OnRelease::Restart => {
            let done = !to_come && since_switch;
            let how = if service.on_release == OnRelease::Reload { Renewal::Reload } else { Renewal::Restart };
            (!done).then_some((how, ServiceStale::Switched))
        }
        // What it serves after the switch is asked after the switch.
        OnRelease::Auto if to_come => None,
        // Renewed since and still not right: another time would not help either. The gate will say so.
        OnRelease::Auto if since_switch => None,
        OnRelease::Auto => match &observed.serving {
            Some(serving) => {
                let other = serving.iter().find(|release| release.as_str() != app.release.id.as_str());
                other.map(|other| (gentle, ServiceStale::Serves(other.clone())))
            }
            // Nobody asked at this look, or it satisfied its gate and only does not answer any more.
            None if was_not_asked(app, observed) || passed_since_switch(app, observed) => None,
            None => {
                let older = state.oldest.zip(observed.layout.switched()).filter(|(oldest, switched)| oldest < switched);
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

fn was_not_asked(app: &App, observed: &Observed) -> bool {
    app.health.is_some() && !observed.asked
}

/// The release passed its gate after `current` was last moved, and by us: its services had their turn before that.
fn passed_since_switch(app: &App, observed: &Observed) -> bool {
    let record = observed.record(&app.release.id);
    let noted = record.and_then(|record| record.proven.zip(record.switched));
    // By the order of what is noted, too: where a clock was ahead, all of it lies in the future.
    let in_order = noted.filter(|(proven, switched)| proven > switched);
    in_order.zip(observed.layout.link_changed).is_some_and(|((proven, _), moved)| proven > moved)
}

/// Renewed by anybody, as far as its manager shows, or by us, as we wrote down.
fn last_renewed(observed: &Observed, service: &Service, state: &ServiceState) -> Option<Timestamp> {
    state.renewed.max(noted(observed, service).map(|noted| noted.at))
}

fn noted<'a>(observed: &'a Observed, service: &Service) -> Option<&'a Renewed> {
    observed.renewed.iter().find(|noted| noted.service == service.name)
}

/// A reload, where it can be asked for one.
fn gentlest(state: &ServiceState) -> Renewal {
    if state.can_reload { Renewal::Reload } else { Renewal::Restart }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::decide::testing::{app, contract, id, noon, record, seconds_before, seen};
    use crate::model::health::HealthVerdict;
    use crate::model::names::GroupName;
    use crate::model::record::ReleaseRecord;
    use crate::model::service::{ObservedService, ServiceManager};

    /// php-fpm, told nothing since a switch two minutes ago, with processes from before it.
    fn php_fpm() -> (App, Observed) {
        let mut wanted = app("r2", vec![]);
        let name = GroupName::new("php-fpm").unwrap();
        wanted.services = vec![Service {
            name: name.clone(),
            manager: ServiceManager::Systemd { unit: "php8.2-fpm.service".to_owned() },
            on_release: OnRelease::Auto,
            timeout: Duration::from_secs(30),
            restart_on: Vec::new(),
        }];
        wanted.health = Some(contract());
        let mut observed = seen("r2", vec![]);
        let old = Some(seconds_before(noon(), 3600));
        let state = ServiceState {
            up: true,
            oldest: old,
            started: old,
            renewed: old,
            can_reload: true,
            detail: String::new(),
            warning: None,
            children: 2,
        };
        observed.services = vec![ObservedService { service: name, seen: Ok(state) }];
        observed.records = vec![record("r2", 60)];
        observed.asked = true;
        observed.health = Some(HealthVerdict::unanswered("500"));
        (wanted, observed)
    }

    fn because(app: &App, observed: &Observed) -> Option<ServiceStale> {
        let mut difference = Difference::default();
        drift(app, observed, &mut difference);
        difference.drift.into_iter().find_map(|one| match one {
            Drift::ServiceStale { because, .. } => Some(because),
            _ => None,
        })
    }

    #[test]
    fn a_service_that_cannot_be_observed_is_in_the_way_of_a_release_that_is_to_come_and_of_nothing_else() {
        let (app, mut seen_here) = php_fpm();
        let why = Unreadable { message: "systemd knows no unit".to_owned(), help: None, lasting: true };
        seen_here.services[0].seen = Err(why);
        let to_come = Observed { layout: seen("r1", vec![]).layout, ..seen_here.clone() };
        let left_alone = {
            let mut app = app.clone();
            app.services[0].on_release = OnRelease::None;
            app
        };
        let back = Observed { aim: Aim::Back { to: id("r2") }, ..to_come.clone() };
        let rows = [
            ("to come", &app, &to_come, (1, 0)),
            ("in force", &app, &seen_here, (0, 1)),
            ("the way back", &app, &back, (0, 1)),
            ("it is left alone", &left_alone, &to_come, (0, 0)),
        ];
        for (name, app, observed, expected) in rows {
            let mut difference = Difference::default();
            drift(app, observed, &mut difference);
            assert_eq!((blockers(app, observed).count(), difference.stalled.len()), expected, "{name}");
        }
    }

    #[test]
    fn a_service_that_was_renewed_for_this_switch_is_right_whatever_the_clock_says() {
        let (mut app, mut observed) = php_fpm();
        let (ahead, ago) = (seconds_before(noon(), -3600), seconds_before(noon(), 60));
        let noted = |link| Renewed { service: GroupName::new("php-fpm").unwrap(), at: ago, link };
        let rows = [
            ("renewed since", seconds_before(noon(), 120), None, true),
            ("a switch in the future", ahead, None, false),
            ("renewed for it", ahead, Some(ahead), true),
            ("renewed for another one", ahead, Some(seconds_before(ahead, 1)), false),
        ];
        for (name, switched, link, is_right) in rows {
            observed.layout.link_changed = Some(switched);
            observed.renewed = vec![noted(link)];
            for how in [OnRelease::Auto, OnRelease::Reload, OnRelease::Restart] {
                app.services[0].on_release = how;
                assert_eq!(because(&app, &observed).is_none(), is_right, "{name}, {how:?}");
            }
        }
    }

    #[test]
    fn by_itself_a_service_is_stale_by_what_it_says_or_else_by_its_age() {
        let (app, silent) = php_fpm();
        let mut without_contract = app.clone();
        without_contract.health = None;
        let not_asked = Observed { health: None, asked: false, ..silent.clone() };
        let saying = |releases: &[&str]| {
            let serving = releases.iter().map(|release| (*release).to_owned()).collect();
            Observed { serving: Some(serving), ..silent.clone() }
        };
        let just_proven = ReleaseRecord { proven: Some(seconds_before(noon(), 60)), ..record("r2", 3) };
        let proven = Observed { records: vec![just_proven.clone()], ..silent.clone() };
        // By a clock that was ahead: proven, and then switched to once more.
        let before = ReleaseRecord { switched: Some(seconds_before(noon(), -60)), ..just_proven.clone() };
        let before = Observed { records: vec![ReleaseRecord { proven: Some(noon()), ..before }], ..silent.clone() };
        let adopted = ReleaseRecord { switched: None, ..just_proven };
        let adopted = Observed { records: vec![adopted], ..silent.clone() };
        let serves = |other: &str| Some(ServiceStale::Serves(other.to_owned()));
        let rows = [
            ("says the new one", &app, saying(&["r2"]), None),
            ("some process says the old one", &app, saying(&["r1", "r2"]), serves("r1")),
            ("does not say", &app, silent.clone(), Some(ServiceStale::OlderThanSwitch)),
            ("was not asked", &app, not_asked.clone(), None),
            ("cannot be asked", &without_contract, not_asked, Some(ServiceStale::OlderThanSwitch)),
            ("was silent and good, and is silent", &app, proven.clone(), None),
            (
                "was good, and says the old one",
                &app,
                Observed { serving: saying(&["r1"]).serving, ..proven },
                serves("r1"),
            ),
            ("was good before it was switched to again", &app, before, Some(ServiceStale::OlderThanSwitch)),
            ("somebody else moved the link", &app, adopted, Some(ServiceStale::OlderThanSwitch)),
        ];
        for (name, app, observed, expected) in rows {
            assert_eq!(because(app, &observed), expected, "{name}");
        }
        let to_come = Observed { layout: seen("r1", vec![]).layout, ..saying(&["r1"]) };
        assert_eq!((id("r2"), because(&app, &to_come)), (app.release.id.clone(), None));
    }
}
