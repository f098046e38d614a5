//! What a lost connection does, and a kill on either side.

use std::collections::BTreeSet;
use std::time::Duration;

use rustix::process::Signal;
use trueup::documents::wire::{BEAT, Beat, Ended, Fault, Operation, Request, What};
use trueup::host::proc;
use trueup::model::report::Outcome;

use crate::rig::{Front, Rig, numbers, report, runner, signal, wait_until};

#[test]
fn a_front_that_dies_takes_nothing_along_and_the_next_one_hears_the_rest() {
    for (name, with) in
        [("kill-00000001", Signal::KILL), ("int-000000001", Signal::INT), ("hup-000000001", Signal::HUP)]
    {
        let mut rig = Rig::new();
        rig.gate();
        let mut front = rig.start(&rig.apply(name));
        let first = front.until_gate();
        let maker = runner(&first);
        let session = proc::facts(maker.pid).unwrap().summary.session;
        assert_eq!(session, maker.pid, "a session of its own");
        front.end_by(with);
        // Nobody is there when the pass goes on.
        rig.open();
        wait_until("the runner's end", || proc::identify(maker.pid).unwrap() != Some(maker));

        let from = first.last().unwrap().seq + 1;
        let second = rig.ask(&Request { from, ..rig.apply(name) });
        assert!(matches!(&second[0].what, What::Hello(hello) if hello.attached));
        assert_eq!(second.last().unwrap().what, What::End(Ended::Done));
        let all: Vec<u64> = numbers(&first).into_iter().chain(numbers(&second)).collect();
        assert_eq!(all, (1..=all.len() as u64).collect::<Vec<_>>(), "each exactly once");
        assert_eq!(report(&second).outcome, Outcome::Converged);
        assert_eq!((rig.passes(), rig.current().as_deref()), (1, Some("r1")));
        // And as often as anybody wants, from any line on.
        let again = rig.ask(&rig.apply(name));
        assert_eq!(numbers(&again), all);
        assert_eq!(rig.passes(), 1);
    }
}

#[test]
fn who_comes_back_in_the_middle_hears_the_rest_as_it_happens() {
    let mut rig = Rig::new();
    rig.gate();
    let mut front = rig.start(&rig.apply("apply-0000001"));
    let first = front.until_gate();
    front.end_by(Signal::KILL);
    let from = first.last().unwrap().seq + 1;
    let mut second = rig.start(&Request { from, ..rig.apply("apply-0000001") });
    assert!(matches!(second.next().unwrap().what, What::Hello(hello) if hello.attached));
    rig.open();
    let rest = second.rest();
    assert_eq!(rest[0].seq, from);
    assert_eq!(rest.last().unwrap().what, What::End(Ended::Done));
    assert_eq!(rig.passes(), 1);
}

#[test]
fn several_at_once_with_one_id_are_one_pass() {
    let mut rig = Rig::new();
    rig.gate();
    let mut fronts: Vec<_> = (0..6).map(|_| rig.start(&rig.apply("apply-0000001"))).collect();
    let first: Vec<_> = fronts.iter_mut().map(super::rig::Front::until_gate).collect();
    let makers: BTreeSet<_> = first.iter().map(|lines| runner(lines)).collect();
    assert_eq!(makers.len(), 1);
    let fresh = |lines: &Vec<_>| matches!(&lines[0], trueup::documents::wire::Line { what: What::Hello(hello), .. } if !hello.attached);
    assert_eq!(first.iter().filter(|lines| fresh(lines)).count(), 1, "one has begun, the others found it");
    rig.open();
    for (mut lines, front) in first.into_iter().zip(fronts) {
        lines.extend(front.rest());
        assert_eq!(numbers(&lines), (1..lines.len() as u64).collect::<Vec<_>>());
        assert_eq!(report(&lines).outcome, Outcome::Converged);
    }
    assert_eq!(rig.passes(), 1);
    assert_eq!(std::fs::read_to_string(rig.path().join("verified")).unwrap(), "r1\n");
}

#[test]
fn a_runner_that_is_killed_is_told_and_a_new_run_goes_on() {
    let mut rig = Rig::new();
    rig.gate();
    let mut front = rig.start(&rig.apply("apply-0000001"));
    let mut lines = front.until_gate();
    signal(runner(&lines).pid, Signal::KILL);
    lines.extend(front.rest());
    let told = |lines: &[trueup::documents::wire::Line]| {
        let [.., failed, end] = lines else { panic!("{lines:#?}") };
        matches!(&failed.what, What::Failed(failed) if failed.fault == Fault::Killed)
            && end.what == What::End(Ended::Killed)
    };
    assert!(told(&lines), "{lines:#?}");
    let later = rig.ask(&rig.apply("apply-0000001"));
    assert_eq!(later[1..], lines[1..], "who comes later is told the same, and nothing is begun");
    assert_eq!(rig.passes(), 1);

    rig.open();
    assert_eq!(rig.applied("apply-0000002").outcome, Outcome::Converged);
    assert_eq!(rig.current().as_deref(), Some("r1"));
}

/// A file system may keep the name of a file, and not what was written into it last.
#[test]
fn a_run_whose_lines_were_lost_with_its_host_is_not_made_again() {
    let rig = Rig::new();
    let made = rig.ask(&rig.apply("apply-0000001"));
    assert_eq!((report(&made).outcome, rig.passes()), (Outcome::Converged, 1));
    let mut kept = std::fs::read_dir(rig.state()).unwrap().map(|entry| entry.unwrap().path());
    let spool = kept.find(|path| std::fs::read_to_string(path).is_ok_and(|text| text.contains("\"end\"")));
    std::fs::write(spool.unwrap(), "").unwrap();
    let later = rig.ask(&Request { from: 7, ..rig.apply("apply-0000001") });
    let unknown = |what: &What| matches!(what, What::Failed(failed) if failed.fault == Fault::Unknown);
    assert!(later.iter().any(|line| unknown(&line.what)), "{later:#?}");
    assert_eq!(rig.passes(), 1, "nothing is begun");
    // Whoever has heard nothing of it wants it made.
    assert_eq!(report(&rig.ask(&rig.apply("apply-0000001"))).outcome, Outcome::Converged);
}

/// By that a control side knows whether a release was let in again.
#[test]
fn a_runner_that_is_killed_as_it_waits_has_told_of_no_deed() {
    let mut rig = Rig::new();
    rig.gate();
    let mut front = rig.start(&rig.apply("apply-0000001"));
    let mut made = front.until_gate();
    let again = Operation::Apply { wait: Duration::from_mins(1), ignore_windows: false, retry: true };
    let mut waiting = rig.start(&rig.request("retry-0000001", again));
    let mut lines = waiting.until(|what| matches!(what, What::Waiting(_)));
    signal(runner(&lines).pid, Signal::KILL);
    lines.extend(waiting.rest());
    assert_eq!(lines.last().unwrap().what, What::End(Ended::Killed));
    assert!(!lines.iter().any(|line| matches!(line.what, What::Event(_))), "{lines:#?}");
    rig.open();
    made.extend(front.rest());
    assert!(made.iter().any(|line| matches!(line.what, What::Event(_))), "one that acts tells: {made:#?}");
    assert_eq!((report(&made).outcome, rig.passes()), (Outcome::Converged, 1));
}

#[test]
fn a_runner_that_is_told_to_end_finishes_the_step_in_hand_and_begins_no_other() {
    let mut rig = Rig::new();
    rig.gate();
    let mut front = rig.start(&rig.apply("apply-0000001"));
    let mut lines = front.until_gate();
    // However often, and by whatever signal.
    let maker = runner(&lines).pid;
    for with in [Signal::TERM, Signal::INT, Signal::TERM, Signal::HUP] {
        signal(maker, with);
    }
    wait_until("the signals to arrive", || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", maker.0)).unwrap();
        status.contains("ShdPnd:\t0000000000000000\n")
    });
    rig.open();
    lines.extend(front.rest());
    let made = report(&lines);
    assert_eq!((made.exit_code, made.outcome, made.failed), (1, Outcome::Interrupted, 0));
    assert_eq!(rig.current(), None, "the switch was yet to come");
    assert!(rig.path().join("verified").exists(), "the step was finished");
    assert_eq!(rig.applied("apply-0000002").outcome, Outcome::Converged);
}

/// The first beat that is so, while nothing else is said.
fn beat(front: &mut Front, is: impl Fn(Duration) -> bool) {
    // Far more than it takes: one each BEAT.
    for _ in 0..12 {
        let line = front.next_or_beat().unwrap();
        let What::Beat(Beat { silent }) = line.what else { panic!("a quiet pass: {line:?}") };
        assert_eq!(line.seq, 0);
        if is(silent) {
            return;
        }
    }
    panic!("no such beat");
}

#[test]
fn a_runner_that_is_stopped_is_told_from_a_quiet_step() {
    let mut rig = Rig::new();
    rig.gate();
    let mut front = rig.start(&rig.apply("apply-0000001"));
    let mut lines = front.until_gate();
    let maker = runner(&lines).pid;
    // A step that says nothing for as long as it takes: its runner stirs.
    beat(&mut front, |silent| silent < BEAT);
    signal(maker, Signal::STOP);
    beat(&mut front, |silent| silent > BEAT * 2);
    // Whoever comes to it anew is attached, and sees no sign either.
    let mut second = rig.start(&rig.apply("apply-0000001"));
    second.until_gate();
    beat(&mut second, |silent| silent > BEAT * 2);
    drop(second);
    signal(maker, Signal::CONT);
    beat(&mut front, |silent| silent < BEAT);
    rig.open();
    lines.extend(front.rest());
    assert_eq!(numbers(&lines), (1..lines.len() as u64).collect::<Vec<_>>());
    assert_eq!((report(&lines).outcome, rig.passes()), (Outcome::Converged, 1));
}
