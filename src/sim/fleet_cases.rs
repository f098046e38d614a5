//! Rollouts over small simulated fleets whose stories are known: what becomes of each host, and what is told of all.

use std::sync::Mutex;
use std::time::Duration;

use tokio::sync::watch;

use super::fleet::{Habit, Limits, SimFleet, target};
use crate::decide::testing::id;
use crate::fleet::ask::Asker;
use crate::fleet::phase::{FleetListener, FleetNews, Phase, SilentFleet};
use crate::fleet::report::Rolled;
use crate::fleet::rollout::{RolloutOptions, roll_out};
use crate::fleet::work::{StopWish, Target, Work};
use crate::model::amount::Amount;
use crate::model::app::OnFailure;
use crate::model::event::Event;
use crate::model::fleet::HostName;
use crate::model::report::Outcome;
use crate::model::rollout::HostVerdict::{
    self, Changed, Declined, Failed, Lost, NotHealthy, NotTakenBack, RolledBack, Settled, TakenBack, Unreachable,
};
use crate::model::rollout::{Patience, RolloutOutcome, Terms};

const FORKS: usize = 8;

/// All hosts change at once.
fn terms() -> Terms {
    Terms {
        canary: Amount::Count(0),
        batch: Amount::Percent(100),
        max_failures: 0,
        pause: Duration::ZERO,
        healthy_for: Duration::from_secs(10),
        migrates: false,
        has_health: true,
        patience: Patience::USUAL,
        on_failure: OnFailure::Rollback,
    }
}

/// Rolls out over hosts `h0`, `h1`, … in simulated time.
fn play(terms: &Terms, habits: &[Habit], watch: &dyn FleetListener) -> Rolled {
    played(terms, habits, watch).0
}

/// The same, with how often each host was asked for its health.
fn played(terms: &Terms, habits: &[Habit], watch: &dyn FleetListener) -> (Rolled, Vec<u32>) {
    let name = |at: usize| HostName::new(format!("h{at}")).unwrap();
    let hosts: Vec<(HostName, Habit)> = habits.iter().enumerate().map(|(at, habit)| (name(at), *habit)).collect();
    let limits = Limits {
        forks: FORKS,
        wave: hosts.len(),
        max_failures: terms.max_failures,
        healthy_for: terms.healthy_for,
        has_health: terms.has_health,
        migrates: terms.migrates,
        retry: false,
    };
    let order: Vec<HostName> = hosts.iter().map(|(name, _)| name.clone()).collect();
    let targets: Vec<Target> = order.iter().map(target).collect();
    let way = RolloutOptions {
        release: id("r2"),
        wait: Duration::ZERO,
        ignore_windows: false,
        retry: false,
        back_to: None,
        others: 0,
        keep: true,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let fleet = SimFleet::new(1, &hosts, limits);
        let (_sender, wish) = watch::channel(StopWish::GoOn);
        let asker = Asker::new("test");
        let work = Work::new(&fleet, watch, &asker, FORKS, wish);
        let rolled = roll_out(&work, terms, &way, &targets, &order).await;
        let state = fleet.state();
        assert_eq!(state.violations, [""; 0]);
        let asked = order.iter().map(|name| state.members[name].asked).collect();
        (rolled, asked)
    })
}

/// Its name, what is agreed, what hosts are like, how it ends, what becomes of each, the exit code, and what is told of
/// the first one.
type Row<'a> = (&'a str, &'a Terms, Vec<Habit>, RolloutOutcome, Vec<HostVerdict>, u8, &'a str);

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn each_story_has_its_end() {
    use Habit::{
        Dozing, Drifted, Failing, Forgotten, Hindered, KilledAway, KilledBack, KilledLocked, KilledRefused,
        KilledWhole, Missing, Overtaken, Plain, Refusing, Returned, Sickening, Slow, Vanishing,
    };
    let plain = terms();
    let mild = Terms { max_failures: 1, ..terms() };
    let blind = Terms { has_health: false, ..terms() };
    let moving = Terms { migrates: true, ..mild.clone() };
    let halting = Terms { on_failure: OnFailure::Halt, ..terms() };
    let rows: Vec<Row<'_>> = vec![
        (
            "it failed its gate while nobody heard of it, and is back when it is asked",
            &plain,
            vec![Returned, Slow],
            RolloutOutcome::Stopped,
            vec![TakenBack, TakenBack],
            3,
            "cannot reach `h0`",
        ),
        (
            "whoever took it back was killed behind the switch: another one finds it back",
            &plain,
            vec![KilledBack, Failing],
            RolloutOutcome::Stopped,
            vec![TakenBack, RolledBack],
            3,
            "",
        ),
        (
            "it went down in its pass and knows nothing of it: it is taken back like any other",
            &plain,
            vec![Forgotten, Plain],
            RolloutOutcome::Stopped,
            vec![TakenBack, TakenBack],
            3,
            "nothing is known here any more of the run: a pass may still be in hand there",
        ),
        (
            "the same, and left alone",
            &halting,
            vec![Forgotten, Plain],
            RolloutOutcome::Stopped,
            vec![Lost, Changed],
            1,
            "nothing is",
        ),
        (
            "the same, as one may be",
            &mild,
            vec![Forgotten, Plain],
            RolloutOutcome::Complete,
            vec![Lost, Changed],
            1,
            "nothing is",
        ),
        (
            "somebody else rolls out, and has the last word there",
            &plain,
            vec![Overtaken, Plain],
            RolloutOutcome::Stopped,
            vec![NotTakenBack, TakenBack],
            1,
            "release `r2` did not stay in force: now there is `r3`",
        ),
        (
            "its pass ended before the switch: there is nothing to take back",
            &plain,
            vec![Hindered, Plain],
            RolloutOutcome::Stopped,
            vec![Failed(Outcome::Failed), TakenBack],
            1,
            "",
        ),
        (
            "drift was put right of a release that was proven there before: it stays",
            &plain,
            vec![Drifted, Failing],
            RolloutOutcome::Stopped,
            vec![Changed, RolledBack],
            3,
            "",
        ),
        (
            "the same where one may fail",
            &mild,
            vec![Overtaken, Plain],
            RolloutOutcome::Complete,
            vec![NotHealthy, Changed],
            3,
            "release `r2` did not stay in force: now there is `r3`",
        ),
        (
            "one missed answer is none",
            &plain,
            vec![Missing, Plain],
            RolloutOutcome::Complete,
            vec![Changed, Changed],
            0,
            "",
        ),
        (
            "nor is one of a worker",
            &blind,
            vec![Missing, Plain],
            RolloutOutcome::Complete,
            vec![Changed, Changed],
            0,
            "",
        ),
        (
            "nor one of a host with nothing to do",
            &plain,
            vec![Dozing, Plain],
            RolloutOutcome::Complete,
            vec![Settled, Changed],
            0,
            "",
        ),
        (
            "not one answer is good for as long as is asked",
            &plain,
            vec![Sickening, Plain],
            RolloutOutcome::Stopped,
            vec![TakenBack, TakenBack],
            3,
            "did not stay healthy for 10s: nobody could tell",
        ),
        (
            "a worker goes down for good, and there is no health to ask for",
            &blind,
            vec![Sickening, Plain],
            RolloutOutcome::Stopped,
            vec![TakenBack, TakenBack],
            3,
            "did not stay healthy for 10s: 1 of 2 workers run the release",
        ),
        (
            "it answers, and refuses",
            &plain,
            vec![Refusing, Plain],
            RolloutOutcome::Stopped,
            vec![Declined, TakenBack],
            1,
            "no space left on device",
        ),
        (
            "its pass was killed, and then it is away: it keeps nothing of the release",
            &plain,
            vec![KilledAway, Plain],
            RolloutOutcome::Stopped,
            vec![TakenBack, TakenBack],
            3,
            "cannot reach `h0`: the pass there was killed before that, in the middle",
        ),
        (
            "the same, as one may be",
            &mild,
            vec![KilledAway, Plain],
            RolloutOutcome::Complete,
            vec![Lost, Changed],
            1,
            "cannot reach `h0`: the pass there was killed before that, in the middle",
        ),
        (
            "its pass was killed, and there is no room for another one",
            &plain,
            vec![KilledRefused, Plain],
            RolloutOutcome::Stopped,
            vec![TakenBack, TakenBack],
            3,
            "no space left on device: the pass there was killed before that, in the middle",
        ),
        (
            "its pass was killed, and a step of it still holds the lock",
            &plain,
            vec![KilledLocked, Plain],
            RolloutOutcome::Stopped,
            vec![TakenBack, TakenBack],
            3,
            "",
        ),
        (
            "its pass was killed when all was done: it goes back with the others",
            &plain,
            vec![KilledWhole, Failing],
            RolloutOutcome::Stopped,
            vec![TakenBack, RolledBack],
            3,
            "",
        ),
        (
            "who was to run the migrations is away: the next one runs them",
            &moving,
            vec![Vanishing, Plain, Plain],
            RolloutOutcome::Complete,
            vec![Unreachable, Changed, Changed],
            1,
            "cannot reach `h0`",
        ),
        (
            "the same, and it refuses",
            &moving,
            vec![Refusing, Plain, Plain],
            RolloutOutcome::Complete,
            vec![Declined, Changed, Changed],
            1,
            "no space left on device",
        ),
    ];
    for (name, terms, habits, how, expected, code, told) in rows {
        let rolled = play(terms, &habits, &SilentFleet);
        let verdicts: Vec<HostVerdict> = rolled.hosts.iter().map(|host| host.verdict).collect();
        assert_eq!((rolled.ending.how, verdicts), (how, expected), "{name}: {rolled:?}");
        assert_eq!(rolled.ending.exit_code(), code, "{name}");
        for host in &rolled.hosts {
            assert_eq!(host.document.is_some(), host.summary.is_some(), "{name}: an old document is none: {host:?}");
        }
        let troubles = &rolled.hosts[0].troubles;
        let found = troubles.first().is_some_and(|trouble| trouble.told().starts_with(told));
        assert!(found || (told.is_empty() && troubles.is_empty()), "{name}: {troubles:?}");
    }
}

/// Writes down what is told of all hosts.
#[derive(Default)]
struct Listening(Mutex<Vec<String>>);

impl FleetListener for Listening {
    fn phase(&self, _: &HostName, _: &Phase) {}
    fn event(&self, _: &HostName, _: &Event) {}
    fn news(&self, host: Option<&HostName>, news: &FleetNews<'_>) {
        let told = match news {
            FleetNews::Wave { wave, hosts, migrate } => {
                let names: Vec<&str> = hosts.iter().map(HostName::as_str).collect();
                format!("wave {wave}: {}{}", names.join(" "), if *migrate { ", migrating" } else { "" })
            }
            FleetNews::Hold { wave, hosts, length } => format!("hold {wave} of {} for {length:?}", hosts.len()),
            FleetNews::Pause { before, length } => format!("pause before {before} of {length:?}"),
            FleetNews::Ended { how, hosts, .. } => format!("{how:?} with {}", hosts.len()),
            FleetNews::Trouble(trouble) => format!("{}: {}", host.unwrap(), trouble.message),
            FleetNews::Lost { .. } | FleetNews::Stopping(_) | FleetNews::Note(_) => format!("{host:?}: {news:?}"),
        };
        self.0.lock().unwrap().push(told);
    }
}

#[test]
fn waves_holds_and_pauses_are_told_once() {
    let calm = Terms {
        canary: Amount::Count(1),
        batch: Amount::Count(2),
        pause: Duration::from_mins(10),
        healthy_for: Duration::from_mins(5),
        ..terms()
    };
    let listening = Listening::default();
    // The second wave has nothing to do: nobody waits for it.
    let settled = [Habit::Settled; 2];
    let habits = [&[Habit::Plain][..], &settled, &[Habit::Plain, Habit::Blinking]].concat();
    play(&calm, &habits, &listening);
    let told: Vec<String> = listening.0.lock().unwrap().clone();
    let expected = [
        "wave 1: h0",
        "hold 1 of 1 for 300s",
        "pause before 2 of 600s",
        "wave 2: h3 h4",
        "Some(HostName(\"h4\")): Lost { why: \"broken pipe\", again_in: 2s }",
        "hold 2 of 2 for 300s",
        "Some(Complete) with 5",
    ];
    assert_eq!(told, expected);
}

#[test]
fn whoever_joins_a_wave_is_announced() {
    let terms =
        Terms { canary: Amount::Count(2), batch: Amount::Count(20), migrates: true, max_failures: 1, ..terms() };
    // More of them than hands: those of the second wave are told once, and together.
    let habits = [&[Habit::Vanishing][..], &[Habit::Plain; 14]].concat();
    let listening = Listening::default();
    let rolled = play(&terms, &habits, &listening);
    assert_eq!(rolled.migrations.run_on.as_ref().map(HostName::as_str), Some("h1"));
    let told: Vec<String> = listening.0.lock().unwrap().clone();
    let expected = [
        "wave 1: h0, migrating",
        "Some(HostName(\"h0\")): Note(\"the migrations were not run there: nothing was begun\")",
        "h0: cannot reach `h0`",
        "wave 1: h1, migrating",
        "wave 1: h2",
        "hold 1 of 2 for 10s",
        "wave 2: h3 h4 h5 h6 h7 h8 h9 h10 h11 h12 h13 h14",
        "hold 2 of 12 for 10s",
        "Some(Complete) with 15",
    ];
    assert_eq!(told, expected);
}

#[test]
fn only_who_has_begun_is_said_to_run_the_migrations() {
    use Habit::{Failing, Plain, Refusing, Vanishing};
    let strict = Terms { migrates: true, ..terms() };
    let mild = Terms { max_failures: 1, ..strict.clone() };
    let rows = [
        (&strict, [Plain, Plain], Some("h0")),
        (&strict, [Failing, Plain], Some("h0")),
        (&strict, [Vanishing, Plain], None),
        (&strict, [Refusing, Plain], None),
        (&mild, [Vanishing, Plain], Some("h1")),
        (&mild, [Vanishing, Refusing], None),
    ];
    for (terms, habits, expected) in rows {
        let rolled = play(terms, &habits, &SilentFleet);
        let run_on = rolled.migrations.run_on.as_ref().map(HostName::as_str);
        assert_eq!(run_on, expected, "{habits:?}, {} may fail: {rolled:?}", terms.max_failures);
    }
}

#[test]
fn a_host_is_asked_as_often_however_long_it_has_to_stay_healthy() {
    // (how long, questions at least, and at most)
    let rows = [(1, 1, 2), (10, 4, 5), (60, 4, 6), (300, 20, 21), (1_800, 110, 121)];
    for (length, least, most) in rows {
        let terms = Terms { healthy_for: Duration::from_secs(length), ..terms() };
        let (_, asked) = played(&terms, &[Habit::Plain], &SilentFleet);
        assert!((least..=most).contains(&asked[0]), "{asked:?} times in {length} s");
    }
}
