//! Whether a pass may act on what it sees, and why not.
//!
//! In: an App, a snapshot and the difference, and what whoever makes the pass says of it. Out: a [`Withheld`], or
//! nothing. A suspended App is left as it is. Else a pass always goes on with what is half done: a release that was
//! switched to is judged, and one that failed is taken back to the end.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::decide::gate::is_on_trial;
use crate::decide::windows;
use crate::model::app::App;
use crate::model::drift::{Difference, Drift, StaleBecause};
use crate::model::observed::{Aim, Link, Observed};
use crate::model::release::Stage;
use crate::model::sync::Withheld;

/// What whoever makes a pass says of it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Permit<'a> {
    /// Why the schedule would have it only look. `NoSelfHeal` holds for an App only that has been as its manifest says;
    /// whether it is suspended or outside its windows is seen anew.
    pub withheld: Option<&'a Withheld>,
    /// A person wants it in spite of the windows.
    pub ignore_windows: bool,
}

/// Why a pass over what was seen may not act; none: it may.
#[must_use]
pub fn withheld(app: &App, observed: &Observed, difference: &Difference, permit: Permit<'_>) -> Option<Withheld> {
    if let Some(why) = &observed.suspended {
        return Some(Withheld::Suspended { why: Some(why.clone()), here: true });
    }
    let beforehand = beforehand(app, observed.at, permit)?;
    match beforehand {
        Withheld::Suspended { .. } => Some(beforehand),
        _ if is_half_done(app, observed, difference) => None,
        Withheld::NoSelfHeal if observed.settled.as_ref() != Some(&app.fingerprint.wish) => {
            windows(app, observed.at, permit)
        }
        _ => Some(beforehand),
    }
}

/// Whether a pass that may not act for this reason still starts workers that are down. Most have ended by themselves,
/// as queue workers do, and starting them is no correction: the App that stands still because somebody works against it
/// must not lose one worker after the other as well. They run what is in force, as if their manager had started them
/// again.
#[must_use]
pub fn starts_workers(app: &App, observed: &Observed, why: &Withheld, permit: Permit<'_>) -> bool {
    matches!(why, Withheld::TooManyCorrections { .. })
        && app.sync.self_heal
        && matches!(observed.layout.link, Link::Release { .. })
        && windows(app, observed.at, permit).is_none()
}

/// The same before anything was seen: a pass with nothing against it here can begin by taking its lock.
#[must_use]
pub fn beforehand(app: &App, now: Timestamp, permit: Permit<'_>) -> Option<Withheld> {
    if app.sync.suspend {
        return Some(Withheld::Suspended { why: app.sync.reason.clone(), here: false });
    }
    let of_the_schedule = permit.withheld.filter(|withheld| match withheld {
        Withheld::NotAutomatic | Withheld::NoSelfHeal | Withheld::TooManyCorrections { .. } => true,
        Withheld::Suspended { .. } | Withheld::OutsideWindow { .. } => false,
    });
    match of_the_schedule {
        // What is lifted most easily is said last.
        Some(Withheld::NoSelfHeal) | None => windows(app, now, permit).or_else(|| of_the_schedule.cloned()),
        Some(withheld) => Some(withheld.clone()),
    }
}

fn windows(app: &App, now: Timestamp, permit: Permit<'_>) -> Option<Withheld> {
    if permit.ignore_windows { None } else { windows::withheld(&app.sync.windows, now) }
}

/// A release was switched to and is not judged yet, or is not taken back to the end.
fn is_half_done(app: &App, observed: &Observed, difference: &Difference) -> bool {
    is_on_trial(app, observed)
        || (matches!(observed.aim, Aim::Back { .. }) && difference.drift.iter().any(is_of_the_way_back))
}

/// Something serves or runs the release that was taken back, or nothing yet.
fn is_of_the_way_back(drift: &Drift) -> bool {
    match drift {
        Drift::CurrentElsewhere { .. } | Drift::ServiceStale { .. } | Drift::WorkerDown { .. } => true,
        Drift::WorkerStale { because, .. } => *because == StaleBecause::Release,
        Drift::StageDue { stage, .. } => *stage == Stage::AfterRollback,
        _ => false,
    }
}

/// Why, for people, as a fragment: without lengths of time, so that it reads the same for as long as it holds.
#[must_use]
pub fn words(withheld: &Withheld) -> String {
    match withheld {
        Withheld::Suspended { why, here } => {
            let place = if *here { " on this host" } else { "" };
            let why = why.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
            format!("the App is suspended{place}{why}")
        }
        Withheld::OutsideWindow { until: Some(until), denied: false, time_zone, .. } => {
            format!("no window is open until {}", moment(*until, time_zone))
        }
        Withheld::OutsideWindow { until: None, denied: false, .. } => "no window opens within a year".to_owned(),
        Withheld::OutsideWindow { until: Some(until), denied: true, time_zone, .. } => {
            format!("changes are denied until {}", moment(*until, time_zone))
        }
        Withheld::OutsideWindow { until: None, denied: true, .. } => "changes are denied for a year or more".to_owned(),
        Withheld::NotAutomatic => "changes are made when a person asks (`sync.automatic`)".to_owned(),
        Withheld::NoSelfHeal => {
            "changes are made when the manifest changes or a person asks (`sync.selfHeal`)".to_owned()
        }
        Withheld::TooManyCorrections { limit, until } => {
            let corrections = if *limit == 1 { "a correction".to_owned() } else { format!("{limit} corrections") };
            let until = moment(*until, &TimeZone::UTC);
            format!("{corrections} within an hour did not last: left alone until {until}")
        }
    }
}

/// What a person can do about it.
#[must_use]
pub fn help(app: &App, withheld: &Withheld) -> String {
    let name = &app.name;
    match withheld {
        Withheld::Suspended { here: true, .. } => format!("nothing is done until `trueup resume {name}`"),
        Withheld::Suspended { here: false, .. } => {
            "nothing is done until `sync.suspend` is removed from the manifest".to_owned()
        }
        Withheld::OutsideWindow { .. } => {
            format!("if it cannot wait: `trueup reconcile --app {name} --ignore-windows`, of an agent with `--request`")
        }
        // Only an agent has these reasons, and it is to hear of the wish: a pass made beside it lifts nothing.
        Withheld::NotAutomatic | Withheld::NoSelfHeal => {
            format!("to ask for it: `trueup reconcile --request --app {name}`")
        }
        Withheld::TooManyCorrections { .. } => {
            format!("find out what works against it; then `trueup reconcile --request --app {name}`")
        }
    }
}

/// A moment as the people of a time zone write it: `2026-05-01 22:00 CEST`.
#[must_use]
pub fn moment(at: Timestamp, zone: &TimeZone) -> String {
    at.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M %Z").to_string()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::decide::aim::{aim, aimed};
    use crate::decide::diff::diff;
    use crate::decide::testing::{app, group, in_state, kept_out, noon, record, running, seen, supervisord};
    use crate::model::observed::MemberState;
    use crate::model::record::ReleaseRecord;
    use crate::model::sync::{Window, WindowKind};

    /// Changes are allowed from 22:00 on only; the snapshots are of noon.
    fn nights() -> Vec<Window> {
        let (schedule, duration) = ("0 22 * * *".to_owned(), Duration::from_hours(8));
        vec![Window { kind: WindowKind::Allow, schedule, duration, time_zone: TimeZone::UTC }]
    }

    fn judged(app: &App, observed: &Observed, permit: Permit<'_>) -> &'static str {
        let difference = diff(&aimed(app, &observed.aim), observed);
        match withheld(app, observed, &difference, permit) {
            None => "acts",
            Some(Withheld::Suspended { here: true, .. }) => "suspended here",
            Some(Withheld::Suspended { here: false, .. }) => "suspended",
            Some(Withheld::OutsideWindow { .. }) => "outside",
            Some(Withheld::NotAutomatic) => "not automatic",
            Some(Withheld::NoSelfHeal) => "no self heal",
            Some(Withheld::TooManyCorrections { .. }) => "too many",
        }
    }

    fn workers(release: &str) -> Observed {
        seen(release, vec![running(1, release), running(2, release)])
    }

    /// r3 has failed, and r2 is what is gone back to.
    fn back(mut observed: Observed, app: &App) -> Observed {
        observed.records = vec![record("r1", 30), record("r2", 20), kept_out("r3", 10, "trial")];
        observed.aim = aim(app, &observed.layout, &observed.records);
        observed
    }

    #[test]
    fn what_is_half_done_goes_on_at_any_time_and_nothing_else_does() {
        let mut wanted = app("r3", vec![group("default", 2, supervisord())]);
        wanted.sync.windows = nights();
        let on_trial = |mut observed: Observed| {
            let record = ReleaseRecord { proven: None, ..record("r3", 10) };
            observed.records.retain(|known| known.id != record.id);
            observed.records.push(record);
            observed
        };
        let stopped = |release: &str| seen(release, vec![running(1, release), in_state(2, MemberState::Stopped)]);
        let rows = [
            ("another release is desired", workers("r2"), "outside"),
            ("a worker has died", stopped("r3"), "outside"),
            ("nothing differs", workers("r3"), "outside"),
            ("on trial", on_trial(workers("r3")), "acts"),
            ("on trial, its workers are to be replaced", on_trial(seen("r3", vec![running(1, "r2")])), "acts"),
            ("not switched to yet", on_trial(workers("r2")), "outside"),
            ("failed, and still in force", back(workers("r3"), &wanted), "acts"),
            ("the link is back", back(seen("r2", vec![running(1, "r3"), running(2, "r2")]), &wanted), "acts"),
            ("a worker is down", back(stopped("r2"), &wanted), "acts"),
            ("all is back", back(workers("r2"), &wanted), "outside"),
        ];
        for (name, observed, expected) in &rows {
            assert_eq!(judged(&wanted, observed, Permit::default()), *expected, "{name}");
            let anyway = Permit { ignore_windows: true, ..Permit::default() };
            assert_eq!(judged(&wanted, observed, anyway), "acts", "{name}, in spite of the windows");
            let many = Withheld::TooManyCorrections { limit: 3, until: noon() };
            for withheld in [&Withheld::NotAutomatic, &many] {
                let permit = Permit { withheld: Some(withheld), ignore_windows: true };
                assert_eq!(judged(&wanted, observed, permit) == "acts", *expected == "acts", "{name}, {withheld:?}");
            }
        }
        for (name, mut observed, _) in rows {
            observed.suspended = Some("a move".to_owned());
            assert_eq!(judged(&wanted, &observed, Permit::default()), "suspended here", "{name}");
        }
        wanted.sync.suspend = true;
        assert_eq!(judged(&wanted, &on_trial(workers("r3")), Permit::default()), "suspended", "to the letter");
    }

    #[test]
    fn healing_is_withheld_from_an_app_only_that_has_been_as_its_manifest_says() {
        let mut wanted = app("r3", vec![group("default", 2, supervisord())]);
        wanted.sync.self_heal = false;
        let no_self_heal = Withheld::NoSelfHeal;
        let permit = Permit { withheld: Some(&no_self_heal), ignore_windows: false };
        let settled = |wish: Option<&str>| Observed { settled: wish.map(str::to_owned), ..workers("r2") };
        let rows = [
            ("never", None, "acts"),
            ("by another manifest", Some("old"), "acts"),
            ("yes", Some("wish"), "no self heal"),
        ];
        for (name, wish, expected) in rows {
            assert_eq!(judged(&wanted, &settled(wish), permit), expected, "{name}");
            assert_eq!(judged(&wanted, &settled(wish), Permit::default()), "acts", "{name}, asked for");
        }
        wanted.sync.windows = nights();
        for wish in [None, Some("wish")] {
            assert_eq!(judged(&wanted, &settled(wish), permit), "outside", "{wish:?}");
        }
        // What the schedule thought a moment ago is no longer so.
        wanted.sync.windows.clear();
        let outside = windows::withheld(&nights(), noon()).unwrap();
        assert_eq!(judged(&wanted, &settled(None), Permit { withheld: Some(&outside), ignore_windows: false }), "acts");
    }

    #[test]
    fn each_reason_has_its_words_and_a_way_out() {
        let berlin = || TimeZone::get("Europe/Berlin").unwrap();
        let outside = |until: Option<Timestamp>, denied| Withheld::OutsideWindow {
            until,
            denied,
            schedule: None,
            time_zone: berlin(),
        };
        let suspended = |why: Option<&str>, here| Withheld::Suspended { why: why.map(str::to_owned), here };
        let all = [
            suspended(None, false),
            suspended(Some("moving the database"), false),
            suspended(Some("moving the database"), true),
            outside(Some(noon()), false),
            outside(Some(noon()), true),
            outside(None, false),
            outside(None, true),
            Withheld::NotAutomatic,
            Withheld::NoSelfHeal,
            Withheld::TooManyCorrections { limit: 30, until: noon() },
        ];
        let app = app("r3", vec![]);
        let told: Vec<String> = all.iter().map(|one| format!("{}\n    {}", words(one), help(&app, one))).collect();
        insta::assert_snapshot!(told.join("\n"));
    }
}
