//! Rollouts over small simulated fleets whose stories are known: what becomes of each host, and what is told of all.

use std::sync::Mutex;
use std::time::Duration;

use tokio::sync::watch;

use super::fleet::{Habit, Limits, SimFleet, target};
use crate::decide::testing::id;
use crate::fleet::ask::Asker;
use crate::fleet::phase::{News, Phase, Unwatched, Watch};
use crate::fleet::report::Rolled;
use crate::fleet::rollout::{Way, roll_out};
use crate::fleet::work::{Target, Wish, Work};
use crate::model::amount::Amount;
use crate::model::app::OnFailure;
use crate::model::event::Event;
use crate::model::fleet::HostName;
use crate::model::report::Outcome;
use crate::model::rollout::Verdict::{self, Changed, Failed, Lost, NotHealthy, NotTakenBack, RolledBack, TakenBack};
use crate::model::rollout::{How, Terms};

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
        on_failure: OnFailure::Rollback,
    }
}

/// Rolls out over hosts `h0`, `h1`, … in simulated time.
fn play(terms: &Terms, habits: &[Habit], watch: &dyn Watch) -> Rolled {
    let name = |at: usize| HostName::new(format!("h{at}")).unwrap();
    let hosts: Vec<(HostName, Habit)> = habits.iter().enumerate().map(|(at, habit)| (name(at), *habit)).collect();
    let limits = Limits {
        forks: FORKS,
        wave: hosts.len(),
        max_failures: terms.max_failures,
        healthy_for: terms.healthy_for,
        migrates: terms.migrates,
        retry: false,
    };
    let order: Vec<HostName> = hosts.iter().map(|(name, _)| name.clone()).collect();
    let targets: Vec<Target> = order.iter().map(target).collect();
    let way = Way {
        release: id("r2"),
        wait: Duration::ZERO,
        ignore_windows: false,
        retry: false,
        back_to: None,
        others: 0,
        keep: false,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let fleet = SimFleet::new(1, &hosts, limits);
        let (_sender, wish) = watch::channel(Wish::GoOn);
        let asker = Asker::new("test");
        let work = Work::new(&fleet, watch, &asker, FORKS, wish);
        let rolled = roll_out(&work, terms, &way, &targets, &order).await;
        assert_eq!(fleet.state().violations, [""; 0]);
        rolled
    })
}

/// Its name, what is agreed, what hosts are like, how it ends, what becomes of each, the exit code, and what is told of the
/// first one.
type Row<'a> = (&'a str, &'a Terms, Vec<Habit>, How, Vec<Verdict>, u8, &'a str);

#[test]
fn each_story_has_its_end() {
    use Habit::{Drifted, Failing, Forgotten, Hindered, KilledBack, Overtaken, Plain, Returned, Slow};
    let plain = terms();
    let mild = Terms { max_failures: 1, ..terms() };
    let halting = Terms { on_failure: OnFailure::Halt, ..terms() };
    let rows: Vec<Row<'_>> = vec![
        (
            "it failed its gate while nobody heard of it, and is back when it is asked",
            &plain,
            vec![Returned, Slow],
            How::Stopped,
            vec![TakenBack, TakenBack],
            3,
            "cannot reach `h0`",
        ),
        (
            "whoever took it back was killed behind the switch: another one finds it back",
            &plain,
            vec![KilledBack, Failing],
            How::Stopped,
            vec![TakenBack, RolledBack],
            3,
            "",
        ),
        (
            "it went down in its pass and knows nothing of it: it is taken back like any other",
            &plain,
            vec![Forgotten, Plain],
            How::Stopped,
            vec![TakenBack, TakenBack],
            3,
            "nothing is known here any more of the run: a pass may still be in hand there",
        ),
        (
            "the same, and left alone",
            &halting,
            vec![Forgotten, Plain],
            How::Stopped,
            vec![Lost, Changed],
            1,
            "nothing is",
        ),
        ("the same, as one may be", &mild, vec![Forgotten, Plain], How::Complete, vec![Lost, Changed], 1, "nothing is"),
        (
            "somebody else rolls out, and has the last word there",
            &plain,
            vec![Overtaken, Plain],
            How::Stopped,
            vec![NotTakenBack, TakenBack],
            1,
            "release `r2` did not stay in force: now there is `r3`",
        ),
        (
            "its pass ended before the switch: there is nothing to take back",
            &plain,
            vec![Hindered, Plain],
            How::Stopped,
            vec![Failed(Outcome::Failed), TakenBack],
            1,
            "",
        ),
        (
            "drift was put right of a release that was proven there before: it stays",
            &plain,
            vec![Drifted, Failing],
            How::Stopped,
            vec![Changed, RolledBack],
            3,
            "",
        ),
        (
            "the same where one may fail",
            &mild,
            vec![Overtaken, Plain],
            How::Complete,
            vec![NotHealthy, Changed],
            3,
            "release `r2` did not stay in force: now there is `r3`",
        ),
    ];
    for (name, terms, habits, how, expected, code, told) in rows {
        let rolled = play(terms, &habits, &Unwatched);
        let verdicts: Vec<Verdict> = rolled.hosts.iter().map(|host| host.verdict).collect();
        assert_eq!((rolled.ending.how, verdicts), (how, expected), "{name}: {rolled:?}");
        assert_eq!(rolled.ending.exit_code(), code, "{name}");
        let troubles = &rolled.hosts[0].troubles;
        let found = troubles.first().is_some_and(|trouble| trouble.told().starts_with(told));
        assert!(found || (told.is_empty() && troubles.is_empty()), "{name}: {troubles:?}");
    }
}

/// Writes down what is told of all hosts.
#[derive(Default)]
struct Listening(Mutex<Vec<String>>);

impl Watch for Listening {
    fn phase(&self, _: &HostName, _: &Phase) {}
    fn event(&self, _: &HostName, _: &Event) {}
    fn news(&self, host: Option<&HostName>, news: &News<'_>) {
        let told = match news {
            News::Wave { wave, hosts, .. } => format!("wave {wave} of {}", hosts.len()),
            News::Hold { wave, hosts, length } => format!("hold {wave} of {} for {length:?}", hosts.len()),
            News::Pause { before, length } => format!("pause before {before} of {length:?}"),
            News::Ended { how, hosts, .. } => format!("{how:?} with {}", hosts.len()),
            News::Lost { .. } | News::Stopping(_) | News::Trouble(_) | News::Note(_) => format!("{host:?}: {news:?}"),
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
        "wave 1 of 1",
        "hold 1 of 1 for 300s",
        "pause before 2 of 600s",
        "wave 2 of 2",
        "Some(HostName(\"h4\")): Lost { why: \"broken pipe\", again_in: 2s }",
        "hold 2 of 2 for 300s",
        "Some(Complete) with 5",
    ];
    assert_eq!(told, expected);
}
