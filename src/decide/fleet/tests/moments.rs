//! Single moments: hosts in hand, a wish to stop, and what was recorded before.

use crate::decide::fleet::testing::{DRIFT, Fate, GOOD, ROLLED_BACK, SETTLED, hosts, play, terms, verdicts};
use crate::decide::fleet::{abandoned, migrated_by, next, waves};
use crate::model::amount::Amount;
use crate::model::app::OnFailure;
use crate::model::fleet::HostName;
use crate::model::report::Outcome;
use crate::model::rollout::{Doing, Found, HostVerdict, Next, Order, RolloutOutcome, TakenBack, Terms};

/// What would be done is what is done: the first of those that can change go first, in waves without those that need
/// nothing.
#[test]
fn the_waves_are_told_before_any_is_begun() {
    let out = Found::Unreachable;
    let (one, none, half) = (Amount::Count(1), Amount::Count(0), Amount::Percent(50));
    let rows: [(&[Found], Amount, usize, &[&str]); 7] = [
        (&[DRIFT, DRIFT, DRIFT, DRIFT], one, 0, &["h0 canary", "h1 h2", "h3"]),
        (&[DRIFT, DRIFT, DRIFT, DRIFT], none, 0, &["h0 h1", "h2 h3"]),
        (&[SETTLED, DRIFT, DRIFT, SETTLED], one, 0, &["h1 h2"]),
        (&[DRIFT, SETTLED, SETTLED, DRIFT], one, 0, &["h0 canary", "h3"]),
        (&[out, DRIFT, DRIFT, DRIFT], one, 1, &["h1 canary", "h2 h3"]),
        (&[out, DRIFT, DRIFT, DRIFT], one, 0, &[]),
        (&[SETTLED, SETTLED], one, 0, &[]),
    ];
    for (found, canary, max_failures, expected) in rows {
        let fates: Vec<Fate> = found.iter().map(|found| Fate::of(*found, GOOD)).collect();
        let mut progress = hosts(&fates);
        for (host, found) in progress.hosts.iter_mut().zip(found) {
            host.found = Some(*found);
        }
        let terms = Terms { canary, batch: half, max_failures, ..terms() };
        let told: Vec<String> = waves(&terms, &progress)
            .iter()
            .map(|wave| {
                let hosts: Vec<&str> = wave.hosts.iter().map(HostName::as_str).collect();
                hosts.join(" ") + if wave.is_canary { " canary" } else { "" }
            })
            .collect();
        assert_eq!(told, expected, "{found:?}");
    }
}

/// With fewer hands than hosts, the rest of a wave is ordered again, and not once too many have failed.
#[test]
fn what_is_not_begun_is_ordered_again_until_it_is_stopped() {
    let fates = [Fate::of(DRIFT, GOOD); 4];
    let terms = Terms { canary: Amount::Count(0), batch: Amount::Percent(100), ..terms() };
    let mut progress = hosts(&fates);
    for host in &mut progress.hosts {
        host.found = Some(DRIFT);
    }
    progress.hosts[0].doing = Some(Doing::Apply);
    let Next::Do(Order::Apply { hosts, .. }) = next(&terms, &progress) else { panic!() };
    assert_eq!(hosts.iter().map(HostName::as_str).collect::<Vec<_>>(), ["h1", "h2", "h3"]);
    progress.hosts[1].doing = Some(Doing::Apply);
    progress.hosts[0].doing = None;
    progress.hosts[0].applied = Some(ROLLED_BACK);
    assert_eq!(next(&terms, &progress), Next::Wait);
    progress.hosts[1].doing = None;
    progress.hosts[1].applied = Some(GOOD);
    let Next::Do(Order::TakeBack { hosts, .. }) = next(&terms, &progress) else { panic!() };
    assert_eq!(hosts.iter().map(HostName::as_str).collect::<Vec<_>>(), ["h1"]);
}

/// Whether the rest of a wave stays healthy decides nothing any more once too many have failed; it may take half an
/// hour.
#[test]
fn who_has_to_stay_healthy_is_taken_back_at_once() {
    let mut progress = hosts(&[Fate::of(DRIFT, GOOD); 3]);
    for host in &mut progress.hosts {
        (host.found, host.applied, host.doing) = (Some(DRIFT), Some(GOOD), Some(Doing::Hold));
    }
    let terms = Terms { canary: Amount::Count(0), batch: Amount::Percent(100), ..terms() };
    assert_eq!(next(&terms, &progress), Next::Wait);
    (progress.hosts[1].doing, progress.hosts[1].held) = (None, Some(false));
    let Next::Do(Order::TakeBack { hosts, .. }) = next(&terms, &progress) else { panic!() };
    assert_eq!(hosts.iter().map(HostName::as_str).collect::<Vec<_>>(), ["h0", "h1", "h2"]);
    let halting = Terms { on_failure: OnFailure::Halt, ..terms };
    let Next::Done(ending) = next(&halting, &progress) else { panic!() };
    assert_eq!(verdicts(&ending), [HostVerdict::Changed, HostVerdict::NotHealthy, HostVerdict::Changed]);
}

/// Whoever wants no more hosts does not want a failed release kept.
#[test]
fn an_interruption_lets_what_has_failed_be_taken_back() {
    let mut progress = hosts(&[Fate::of(DRIFT, GOOD); 3]);
    for host in &mut progress.hosts {
        (host.found, host.applied) = (Some(DRIFT), Some(GOOD));
    }
    progress.hosts[2].applied = Some(ROLLED_BACK);
    progress.interrupted = true;
    let Next::Do(Order::TakeBack { hosts, .. }) = next(&terms(), &progress) else { panic!() };
    assert_eq!(hosts.iter().map(HostName::as_str).collect::<Vec<_>>(), ["h0", "h1"]);
    // Nobody waits for that either: it is not called changed.
    progress.hosts[0].taken_back = Some(TakenBack::Lost);
    let ending = abandoned(&terms(), &progress);
    assert_eq!(
        (ending.how, verdicts(&ending)),
        (
            RolloutOutcome::Interrupted,
            vec![HostVerdict::NotTakenBack, HostVerdict::NotTakenBack, HostVerdict::RolledBack]
        )
    );
    progress.hosts[1].taken_back = Some(TakenBack::Ended { is_back: true });
    let Next::Done(ending) = next(&terms(), &progress) else { panic!() };
    assert_eq!((ending.how, ending.failed), (RolloutOutcome::Stopped, 1));
}

#[test]
fn an_interruption_awaits_what_is_in_hand_and_begins_nothing() {
    let mut progress = hosts(&[Fate::of(DRIFT, GOOD); 3]);
    for host in &mut progress.hosts {
        host.found = Some(DRIFT);
    }
    progress.interrupted = true;
    progress.hosts[0].doing = Some(Doing::Apply);
    assert_eq!(next(&terms(), &progress), Next::Wait);
    progress.hosts[0].applied = Some(GOOD);
    progress.hosts[0].doing = Some(Doing::Hold);
    let Next::Done(ending) = next(&terms(), &progress) else { panic!() };
    assert_eq!(ending.how, RolloutOutcome::Interrupted);
    assert_eq!(verdicts(&ending), [HostVerdict::Changed, HostVerdict::NotReached, HostVerdict::NotReached]);
    assert_eq!(ending.exit_code(), 1);
}

/// Who has recorded it, of hosts as they were found, and who is then told to run the migrations.
#[test]
fn whose_record_spares_the_migrations_is_known() {
    /// The case, the terms, what was found, whose records count, and what is ordered.
    type Row<'a> = (&'a str, &'a Terms, Vec<Found>, &'a [&'a str], Option<&'a str>);
    let by = |outcome, migrated| Found::Seen { outcome, migrated, had_release: false };
    let (drift, done, recorded) = (DRIFT, SETTLED, by(Outcome::Converged, true));
    let moving = Terms { migrates: true, ..terms() };
    let in_force = Found::Seen { outcome: Outcome::Converged, migrated: false, had_release: true };
    let rows: [Row<'_>; 10] = [
        ("nobody", &moving, vec![done, drift, drift], &[], Some("migrate h1")),
        ("one that has it in force", &moving, vec![drift, recorded, drift], &["h1"], None),
        ("one that has gone back", &moving, vec![drift, by(Outcome::Drift, true)], &["h1"], None),
        ("one that keeps it out", &moving, vec![drift, by(Outcome::Quarantined, true)], &["h1"], None),
        ("several", &moving, vec![recorded, recorded, drift], &["h0", "h1"], None),
        ("nothing is to be done", &moving, vec![recorded, done], &[], None),
        ("there are none", &terms(), vec![recorded, drift], &[], None),
        // As on one host: what is in force has had its chance, and what came to it later waits for the next release.
        ("they were added to a release in force", &moving, vec![done, done], &[], None),
        ("a host is new to a release in force", &moving, vec![drift, in_force, in_force], &["h1", "h2"], None),
        ("who has recorded it is named first", &moving, vec![drift, in_force, recorded], &["h2", "h1"], None),
    ];
    for (name, terms, found, expected, leader) in rows {
        let fates: Vec<Fate> = found.iter().map(|found| Fate::of(*found, GOOD)).collect();
        let mut progress = hosts(&fates);
        assert_eq!(migrated_by(terms, &progress), [], "{name}: before anybody was looked at");
        for (host, found) in progress.hosts.iter_mut().zip(found) {
            host.found = Some(found);
        }
        let names = migrated_by(terms, &progress);
        assert_eq!(names.iter().map(HostName::as_str).collect::<Vec<_>>(), expected, "{name}");
        let lenient = Terms { max_failures: 9, ..terms.clone() };
        let (told, _) = play(&lenient, &fates);
        let migrate = told.iter().find(|told| told.starts_with("migrate")).map(String::as_str);
        assert_eq!(migrate, leader, "{name}: {told:?}");
    }
}
