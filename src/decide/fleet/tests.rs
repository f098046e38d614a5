//! Stories: what hosts are like and what becomes of them, and what is ordered in which order.

use std::time::Duration;

use super::{migrated_by, next};
use crate::model::app::OnFailure;
use crate::model::fleet::{Amount, HostName};
use crate::model::report::Outcome;
use crate::model::rollout::{
    Applied, Doing, Ending, Found, HostState, How, Next, Order, Progress, TakenBack, Terms, Verdict,
};

use crate::model::rollout::Verdict::{
    Changed, Lost, NotHealthy, NotReached, NotTakenBack, RolledBack, Settled, TakenBack as WentBack, Unreachable,
};

/// Name, terms, what hosts do, orders, end, verdicts, exit code.
type Row<'a> = (&'a str, &'a Terms, Vec<Fate>, Vec<&'a str>, How, Vec<Verdict>, u8);

pub(super) const HOLD: Duration = Duration::from_secs(10);

pub(super) fn terms() -> Terms {
    Terms {
        canary: Amount::Count(1),
        batch: Amount::Percent(50),
        max_failures: 0,
        pause: Duration::ZERO,
        healthy_for: HOLD,
        migrates: false,
        has_health: true,
        on_failure: OnFailure::Rollback,
    }
}

pub(super) const fn seen(outcome: Outcome) -> Found {
    Found::Seen { outcome, migrated: false }
}

const DRIFT: Found = seen(Outcome::Drift);
const SETTLED: Found = seen(Outcome::Converged);
const GOOD: Applied = Applied::Ended { outcome: Outcome::Converged, changed: true };
const ROLLED_BACK: Applied = Applied::Ended { outcome: Outcome::RolledBack, changed: true };
const LATE: Applied = Applied::Ended { outcome: Outcome::Withheld, changed: false };

/// What one host does when its turn comes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fate {
    pub found: Found,
    pub applied: Applied,
    pub held: bool,
    pub back: TakenBack,
}

impl Fate {
    const fn of(found: Found, applied: Applied) -> Self {
        Self { found, applied, held: true, back: TakenBack::Ended { outcome: Outcome::RolledBack } }
    }
}

pub(super) fn hosts(fates: &[Fate]) -> Progress {
    let name = |at: usize| HostName::new(format!("h{at}")).unwrap();
    Progress { hosts: (0..fates.len()).map(|at| HostState::new(name(at))).collect(), ..Progress::default() }
}

/// Does at once all that is ordered; what was ordered, in short, and the end.
fn play(terms: &Terms, fates: &[Fate]) -> (Vec<String>, Ending) {
    let mut progress = hosts(fates);
    let mut told = Vec::new();
    for _ in 0..100 {
        let order = match next(terms, &progress) {
            Next::Done(ending) => return (told, ending),
            Next::Wait => panic!("nothing is in hand: {told:?}"),
            Next::Do(order) => order,
        };
        let (word, names) = match &order {
            Order::Observe { hosts } => ("see".to_owned(), hosts),
            Order::Apply { hosts, migrate, .. } => (if *migrate { "migrate" } else { "apply" }.to_owned(), hosts),
            Order::Hold { hosts, .. } => ("hold".to_owned(), hosts),
            Order::TakeBack { hosts, reason } => (format!("back ({reason})"), hosts),
            Order::Pause { after, .. } => {
                progress.pauses = *after;
                told.push("pause".to_owned());
                continue;
            }
        };
        let names: Vec<&str> = names.iter().map(HostName::as_str).collect();
        told.push(format!("{word} {}", names.join(" ")));
        for (host, fate) in progress.hosts.iter_mut().zip(fates) {
            if names.contains(&host.name.as_str()) {
                end(host, *fate, &order);
            }
        }
    }
    panic!("no end: {told:?}");
}

pub(super) fn end(host: &mut HostState, fate: Fate, order: &Order) {
    host.doing = None;
    match order {
        Order::Observe { .. } => host.found = Some(fate.found),
        Order::Apply { .. } => host.applied = Some(fate.applied),
        Order::Hold { .. } => host.held = Some(fate.held),
        Order::TakeBack { .. } => host.taken_back = Some(fate.back),
        Order::Pause { .. } => {}
    }
}

fn verdicts(ending: &Ending) -> Vec<Verdict> {
    ending.hosts.iter().map(|(_, verdict)| *verdict).collect()
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn each_story_has_its_orders_and_its_end() {
    let good = Fate::of(DRIFT, GOOD);
    let settled = Fate::of(SETTLED, GOOD);
    let bad = Fate::of(DRIFT, ROLLED_BACK);
    let gone = Fate::of(Found::Unreachable, GOOD);
    let lost = Fate::of(DRIFT, Applied::Lost);
    let away = Fate::of(DRIFT, Applied::NotBegun);
    let late = Fate::of(DRIFT, LATE);
    let sick = Fate { held: false, ..good };
    let stuck = Fate { back: TakenBack::Lost, ..good };
    let failed = Fate::of(DRIFT, Applied::Ended { outcome: Outcome::Failed, changed: true });
    let kept_out = Fate::of(DRIFT, Applied::Ended { outcome: Outcome::Quarantined, changed: true });
    let refused = Fate::of(seen(Outcome::Quarantined), GOOD);
    let unhealthy = Fate::of(seen(Outcome::Unhealthy), GOOD);
    let suspended = Fate::of(seen(Outcome::Withheld), GOOD);
    let migrated = Fate::of(Found::Seen { outcome: Outcome::Converged, migrated: true }, GOOD);
    let plain = terms();
    let calm = Terms { pause: Duration::from_secs(30), ..plain.clone() };
    let mild = Terms { max_failures: 1, ..plain.clone() };
    let halting = Terms { on_failure: OnFailure::Halt, ..plain.clone() };
    let blind = Terms { has_health: false, ..plain.clone() };
    let at_once = Terms { canary: Amount::Count(0), batch: Amount::Percent(100), ..plain.clone() };
    let moving = Terms { migrates: true, canary: Amount::Count(2), ..plain.clone() };
    let lenient = Terms { max_failures: 9, ..moving.clone() };
    let rows: Vec<Row<'_>> = vec![
        ("nothing to do", &plain, vec![settled; 3], vec!["see h0 h1 h2"], How::Complete, vec![Settled; 3], 0),
        (
            "a canary, and then the rest",
            &plain,
            vec![good; 4],
            vec!["see h0 h1 h2 h3", "apply h0", "hold h0", "apply h1 h2", "hold h1 h2", "apply h3", "hold h3"],
            How::Complete,
            vec![Changed; 4],
            0,
        ),
        (
            "who is settled keeps its place and is not touched",
            &calm,
            vec![settled, good, settled, good],
            vec!["see h0 h1 h2 h3", "apply h1", "hold h1", "pause", "apply h3", "hold h3"],
            How::Complete,
            vec![Settled, Changed, Settled, Changed],
            0,
        ),
        (
            "nobody can be asked for health",
            &blind,
            vec![good; 2],
            vec!["see h0 h1", "apply h0", "apply h1"],
            How::Complete,
            vec![Changed; 2],
            0,
        ),
        (
            "no canary, all at once",
            &at_once,
            vec![good; 3],
            vec!["see h0 h1 h2", "apply h0 h1 h2", "hold h0 h1 h2"],
            How::Complete,
            vec![Changed; 3],
            0,
        ),
        (
            "the canary fails its gate: it has gone back by itself",
            &plain,
            vec![bad, good, good],
            vec!["see h0 h1 h2", "apply h0"],
            How::Stopped,
            vec![RolledBack, NotReached, NotReached],
            3,
        ),
        (
            "a later one fails: who was changed is taken back",
            &plain,
            vec![good, good, bad, good],
            vec![
                "see h0 h1 h2 h3",
                "apply h0",
                "hold h0",
                "apply h1 h2",
                "back (the rollout was stopped: h2 failed its gate) h0 h1",
            ],
            How::Stopped,
            vec![WentBack, WentBack, RolledBack, NotReached],
            3,
        ),
        (
            "the same, and everything is left as it is",
            &halting,
            vec![good, good, bad, good],
            vec!["see h0 h1 h2 h3", "apply h0", "hold h0", "apply h1 h2"],
            How::Stopped,
            vec![Changed, Changed, RolledBack, NotReached],
            3,
        ),
        (
            "healthy at first, and not for long",
            &plain,
            vec![sick, good],
            vec!["see h0 h1", "apply h0", "hold h0", "back (the rollout was stopped: h0 did not stay healthy) h0"],
            How::Stopped,
            vec![WentBack, NotReached],
            3,
        ),
        (
            "the same where one may fail",
            &mild,
            vec![sick, good],
            vec!["see h0 h1", "apply h0", "hold h0", "apply h1", "hold h1"],
            How::Complete,
            vec![NotHealthy, Changed],
            3,
        ),
        (
            "one that cannot be taken back is told",
            &plain,
            vec![stuck, failed],
            vec!["see h0 h1", "apply h0", "hold h0", "apply h1", "back (the rollout was stopped: h1 failed) h0 h1"],
            How::Stopped,
            vec![NotTakenBack, WentBack],
            1,
        ),
        (
            "kept out by itself is not taken back",
            &plain,
            vec![kept_out, good],
            vec!["see h0 h1", "apply h0"],
            How::Stopped,
            vec![Verdict::Failed(Outcome::Quarantined), NotReached],
            3,
        ),
        (
            "out of reach: nothing is begun",
            &plain,
            vec![good, gone],
            vec!["see h0 h1"],
            How::NotBegun,
            vec![NotReached, Unreachable],
            1,
        ),
        (
            "out of reach, as one may be: the next one is the canary",
            &mild,
            vec![gone, good, good],
            vec!["see h0 h1 h2", "apply h1", "hold h1", "apply h2", "hold h2"],
            How::Complete,
            vec![Unreachable, Changed, Changed],
            1,
        ),
        (
            "out of reach counts with what fails later",
            &mild,
            vec![gone, bad, good],
            vec!["see h0 h1 h2", "apply h1"],
            How::Stopped,
            vec![Unreachable, RolledBack, NotReached],
            1,
        ),
        (
            "lost in the middle: it is asked to go back with the others",
            &plain,
            vec![good, lost],
            vec![
                "see h0 h1",
                "apply h0",
                "hold h0",
                "apply h1",
                "back (the rollout was stopped: h1 was lost in the middle of its pass) h0 h1",
            ],
            How::Stopped,
            vec![WentBack, WentBack],
            3,
        ),
        (
            "lost, and left alone",
            &halting,
            vec![lost, good],
            vec!["see h0 h1", "apply h0"],
            How::Stopped,
            vec![Lost, NotReached],
            1,
        ),
        (
            "nothing was begun on the one that is away",
            &plain,
            vec![away, good],
            vec!["see h0 h1", "apply h0"],
            How::Stopped,
            vec![Unreachable, NotReached],
            1,
        ),
        (
            "the release is kept out on one already: nothing is begun",
            &plain,
            vec![refused, good],
            vec!["see h0 h1"],
            How::NotBegun,
            vec![Verdict::Refused(Outcome::Quarantined), NotReached],
            3,
        ),
        (
            "unhealthy with nothing to do",
            &plain,
            vec![good, unhealthy],
            vec!["see h0 h1"],
            How::NotBegun,
            vec![NotReached, Verdict::Refused(Outcome::Unhealthy)],
            3,
        ),
        (
            "a host that is left alone is no failure",
            &plain,
            vec![suspended, good],
            vec!["see h0 h1", "apply h1", "hold h1"],
            How::Complete,
            vec![Verdict::Withheld, Changed],
            4,
        ),
        (
            "the hours are over in the middle",
            &plain,
            vec![good, late, good, good, good],
            vec!["see h0 h1 h2 h3 h4", "apply h0", "hold h0", "apply h1 h2 h3"],
            How::Withheld,
            vec![Changed, Verdict::Withheld, Changed, Changed, NotReached],
            4,
        ),
        (
            "one host migrates, alone and first",
            &moving,
            vec![settled, good, good, good],
            vec!["see h0 h1 h2 h3", "migrate h1", "hold h1", "apply h2 h3", "hold h2 h3"],
            How::Complete,
            vec![Settled, Changed, Changed, Changed],
            0,
        ),
        (
            "the rest of the first wave follows it",
            &moving,
            vec![good; 4],
            vec!["see h0 h1 h2 h3", "migrate h0", "apply h1", "hold h0 h1", "apply h2 h3", "hold h2 h3"],
            How::Complete,
            vec![Changed; 4],
            0,
        ),
        (
            "it fails: nobody else may go, however many may fail",
            &lenient,
            vec![bad, good, good],
            vec!["see h0 h1 h2", "migrate h0"],
            How::Stopped,
            vec![RolledBack, NotReached, NotReached],
            3,
        ),
        (
            "an earlier rollout has migrated",
            &moving,
            vec![migrated, good, good],
            vec!["see h0 h1 h2", "apply h1", "hold h1", "apply h2", "hold h2"],
            How::Complete,
            vec![Settled, Changed, Changed],
            0,
        ),
    ];
    for (name, terms, fates, orders, how, expected, code) in rows {
        let (told, ending) = play(terms, &fates);
        assert_eq!(told, orders, "{name}");
        assert_eq!((ending.how, verdicts(&ending)), (how, expected), "{name}");
        assert_eq!(ending.exit_code(), code, "{name}");
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
    assert_eq!(ending.how, How::Interrupted);
    assert_eq!(verdicts(&ending), [Verdict::Changed, Verdict::NotReached, Verdict::NotReached]);
    assert_eq!(ending.exit_code(), 1);
}

/// Who has recorded it, of hosts as they were found, and who is then told to run the migrations.
#[test]
fn whose_record_spares_the_migrations_is_known() {
    /// The case, the terms, what was found, whose records count, and what is ordered.
    type Row<'a> = (&'a str, &'a Terms, Vec<Found>, &'a [&'a str], Option<&'a str>);
    let by = |outcome, migrated| Found::Seen { outcome, migrated };
    let (drift, done, recorded) = (DRIFT, SETTLED, by(Outcome::Converged, true));
    let moving = Terms { migrates: true, ..terms() };
    let rows: [Row<'_>; 8] = [
        ("nobody", &moving, vec![done, drift, drift], &[], Some("migrate h1")),
        ("one that has it in force", &moving, vec![drift, recorded, drift], &["h1"], None),
        ("one that has gone back", &moving, vec![drift, by(Outcome::Drift, true)], &["h1"], None),
        ("one that keeps it out", &moving, vec![drift, by(Outcome::Quarantined, true)], &["h1"], None),
        ("several", &moving, vec![recorded, recorded, drift], &["h0", "h1"], None),
        ("nothing is to be done", &moving, vec![recorded, done], &[], None),
        ("there are none", &terms(), vec![recorded, drift], &[], None),
        // As on one host: what is in force has had its chance, and what came to it later waits for the next release.
        ("they were added to a release in force", &moving, vec![done, done], &[], None),
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
