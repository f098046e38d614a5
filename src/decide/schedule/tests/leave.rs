//! What a pass may do, by the App's policy and its windows.

use crate::decide::schedule::testing::{afternoon, at, death, due, ended, manifest, pass, policy, request, settled};
use crate::decide::schedule::{May, Turn};
use crate::model::report::Outcome;
use crate::model::sync::{Counting, SyncPolicy, Withheld};
use crate::model::wake::Wake;

#[test]
fn what_a_pass_may_do_follows_from_policy_and_wakes() {
    let no_automatic = SyncPolicy { automatic: false, ..policy() };
    let no_self_heal = SyncPolicy { self_heal: false, ..policy() };
    let suspended = SyncPolicy { suspend: true, reason: Some("a move".to_owned()), ..policy() };
    let rows = [
        ("by default", policy(), Wake::Timer, None),
        ("not automatic", no_automatic.clone(), manifest("a"), Some(Withheld::NotAutomatic)),
        ("not automatic, but asked for", no_automatic, request(), None),
        ("no healing", no_self_heal.clone(), death("w1"), Some(Withheld::NoSelfHeal)),
        ("no healing, at the start", no_self_heal.clone(), Wake::Started, Some(Withheld::NoSelfHeal)),
        ("no healing, but another manifest", no_self_heal.clone(), manifest("a"), None),
        ("no healing, but asked for", no_self_heal, request(), None),
        ("suspended", suspended, request(), Some(Withheld::Suspended { why: Some("a move".to_owned()), here: false })),
    ];
    for (name, policy, wake, withheld) in rows {
        let mut schedule = settled(policy);
        schedule.wake(wake, at(10));
        assert_eq!(schedule.begin(at(10)).may.withheld(), withheld.as_ref(), "{name}");
    }
}

#[test]
fn outside_its_windows_an_app_is_shown_and_the_opening_wakes_it() {
    let mut schedule = settled(afternoon());
    schedule.wake(manifest("a"), at(10));
    let turn = pass(&mut schedule, at(10), Outcome::Withheld, 0);
    let Some(Withheld::OutsideWindow { until, .. }) = turn.may.withheld() else { panic!("{turn:?}") };
    assert_eq!(*until, Some(at(3600)));
    schedule.wake(request(), at(20));
    let asked = pass(&mut schedule, at(20), Outcome::Withheld, 0);
    assert!(asked.may.withheld().is_some(), "a request does not open a window");
    let mut now = at(20);
    for _ in 0..200 {
        now = schedule.due().unwrap();
        if now >= at(3600) {
            break;
        }
        assert!(pass(&mut schedule, now, Outcome::Withheld, 0).may.withheld().is_some());
    }
    assert_eq!(now, at(3600), "not a moment later");
    assert_eq!(schedule.begin(now), Turn { wakes: vec![Wake::Window], may: May::Act, counting: Counting::Deployment });
    schedule.end(&ended(Outcome::Converged, 3), at(3610));
    let turn = schedule.begin(at(7200));
    assert!(turn.may.withheld().is_some(), "it has closed again");
}

#[test]
fn an_opening_ends_a_back_off_and_a_new_policy_is_looked_at() {
    let mut schedule = settled(afternoon());
    for _ in 0..10 {
        pass(&mut schedule, at(3599), Outcome::Failed, 0);
    }
    assert_eq!(due(&schedule), 3600);
    schedule.renew(policy());
    schedule.wake(manifest("a"), at(3599));
    assert_eq!(schedule.begin(at(3599)).may, May::Act);
    schedule.end(&ended(Outcome::Converged, 0), at(3599));
    assert!(due(&schedule) > 3600, "there is no window any more");
    schedule.renew(afternoon());
    schedule.wake(Wake::Hangup, at(7300));
    pass(&mut schedule, at(7300), Outcome::Converged, 0);
    assert!(schedule.state(at(7300)).withheld.is_some());
}
