//! What hosts are like and what becomes of them, what is ordered in which order, and the end.

use std::time::Duration;

use crate::decide::fleet::testing::{DRIFT, Fate, GOOD, ROLLED_BACK, SETTLED, play, seen, terms, verdicts};
use crate::model::amount::Amount;
use crate::model::app::OnFailure;
use crate::model::report::Outcome;
use crate::model::rollout::HostVerdict::{
    self, Changed, Declined, Lost, NotHealthy, NotReached, NotTakenBack, RolledBack, Settled, TakenBack as WentBack,
    Unreachable,
};
use crate::model::rollout::{Applied, Found, RolloutOutcome, TakenBack, Terms};

/// Name, terms, what hosts do, orders, end, verdicts, exit code.
type Row<'a> = (&'a str, &'a Terms, Vec<Fate>, Vec<&'a str>, RolloutOutcome, Vec<HostVerdict>, u8);

const LATE: Applied = Applied::Ended { outcome: Outcome::Withheld, changed: false };

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn each_story_has_its_orders_and_its_end() {
    let good = Fate::of(DRIFT, GOOD);
    let settled = Fate::of(SETTLED, GOOD);
    let bad = Fate::of(DRIFT, ROLLED_BACK);
    let gone = Fate::of(Found::Unreachable, GOOD);
    let lost = Fate::of(DRIFT, Applied::Lost);
    let away = Fate::of(DRIFT, Applied::NotBegun);
    let full = Fate::of(DRIFT, Applied::Refused);
    let mute = Fate::of(Found::Refused, GOOD);
    let late = Fate::of(DRIFT, LATE);
    let sick = Fate { held: false, ..good };
    let had = Found::Seen { outcome: Outcome::Drift, migrated: false, had_release: true };
    let mended = Fate { found: had, ..sick };
    let unmended = Fate::of(had, Applied::Ended { outcome: Outcome::Failed, changed: true });
    let stuck = Fate { back: TakenBack::Lost, ..good };
    let stays = Fate { back: TakenBack::Ended { is_back: false }, ..good };
    let failed = Fate::of(DRIFT, Applied::Ended { outcome: Outcome::Failed, changed: true });
    let kept_out = Fate::of(DRIFT, Applied::Ended { outcome: Outcome::Quarantined, changed: true });
    let refused = Fate::of(seen(Outcome::Quarantined), GOOD);
    let unhealthy = Fate::of(seen(Outcome::Unhealthy), GOOD);
    let suspended = Fate::of(seen(Outcome::Withheld), GOOD);
    let migrated = Fate::of(Found::Seen { outcome: Outcome::Converged, migrated: true, had_release: false }, GOOD);
    let plain = terms();
    let calm = Terms { pause: Duration::from_secs(30), ..plain };
    let mild = Terms { max_failures: 1, ..plain };
    let halting = Terms { on_failure: OnFailure::Halt, ..plain };
    let blind = Terms { has_health: false, ..plain };
    let at_once = Terms { canary: Amount::Count(0), batch: Amount::Percent(100), ..plain };
    let moving = Terms { migrates: true, canary: Amount::Count(2), ..plain };
    let lenient = Terms { max_failures: 9, ..moving };
    let singly = Terms { max_failures: 1, canary: Amount::Count(0), batch: Amount::Count(1), ..moving };
    let rows: Vec<Row<'_>> = vec![
        (
            "nothing to do",
            &plain,
            vec![settled; 3],
            vec!["see h0 h1 h2"],
            RolloutOutcome::Complete,
            vec![Settled; 3],
            0,
        ),
        (
            "a canary, and then the rest",
            &plain,
            vec![good; 4],
            vec!["see h0 h1 h2 h3", "apply h0", "hold h0", "apply h1 h2", "hold h1 h2", "apply h3", "hold h3"],
            RolloutOutcome::Complete,
            vec![Changed; 4],
            0,
        ),
        (
            "who is settled keeps its place and is not touched",
            &calm,
            vec![settled, good, settled, good],
            vec!["see h0 h1 h2 h3", "apply h1", "hold h1", "pause", "apply h3", "hold h3"],
            RolloutOutcome::Complete,
            vec![Settled, Changed, Settled, Changed],
            0,
        ),
        (
            "nobody can be asked for health: they have to stay in the release all the same",
            &blind,
            vec![good; 2],
            vec!["see h0 h1", "apply h0", "hold h0", "apply h1", "hold h1"],
            RolloutOutcome::Complete,
            vec![Changed; 2],
            0,
        ),
        (
            "no canary, all at once",
            &at_once,
            vec![good; 3],
            vec!["see h0 h1 h2", "apply h0 h1 h2", "hold h0 h1 h2"],
            RolloutOutcome::Complete,
            vec![Changed; 3],
            0,
        ),
        (
            "the canary fails its gate: it has gone back by itself",
            &plain,
            vec![bad, good, good],
            vec!["see h0 h1 h2", "apply h0"],
            RolloutOutcome::Stopped,
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
            RolloutOutcome::Stopped,
            vec![WentBack, WentBack, RolledBack, NotReached],
            3,
        ),
        (
            "the same, and everything is left as it is",
            &halting,
            vec![good, good, bad, good],
            vec!["see h0 h1 h2 h3", "apply h0", "hold h0", "apply h1 h2"],
            RolloutOutcome::Stopped,
            vec![Changed, Changed, RolledBack, NotReached],
            3,
        ),
        (
            "healthy at first, and not for long",
            &plain,
            vec![sick, good],
            vec!["see h0 h1", "apply h0", "hold h0", "back (the rollout was stopped: h0 did not stay healthy) h0"],
            RolloutOutcome::Stopped,
            vec![WentBack, NotReached],
            3,
        ),
        (
            "the same where one may fail",
            &mild,
            vec![sick, good],
            vec!["see h0 h1", "apply h0", "hold h0", "apply h1", "hold h1"],
            RolloutOutcome::Complete,
            vec![NotHealthy, Changed],
            3,
        ),
        (
            "one that cannot be taken back is told",
            &plain,
            vec![stuck, failed],
            vec!["see h0 h1", "apply h0", "hold h0", "apply h1", "back (the rollout was stopped: h1 failed) h0 h1"],
            RolloutOutcome::Stopped,
            vec![NotTakenBack, WentBack],
            1,
        ),
        (
            "one that has gone through a way back and is not back is told",
            &plain,
            vec![stays, failed],
            vec!["see h0 h1", "apply h0", "hold h0", "apply h1", "back (the rollout was stopped: h1 failed) h0 h1"],
            RolloutOutcome::Stopped,
            vec![NotTakenBack, WentBack],
            1,
        ),
        (
            "kept out by itself is not taken back",
            &plain,
            vec![kept_out, good],
            vec!["see h0 h1", "apply h0"],
            RolloutOutcome::Stopped,
            vec![HostVerdict::Failed(Outcome::Quarantined), NotReached],
            3,
        ),
        (
            "out of reach: nothing is begun",
            &plain,
            vec![good, gone],
            vec!["see h0 h1"],
            RolloutOutcome::NotBegun,
            vec![NotReached, Unreachable],
            1,
        ),
        (
            "out of reach, as one may be: the next one is the canary",
            &mild,
            vec![gone, good, good],
            vec!["see h0 h1 h2", "apply h1", "hold h1", "apply h2", "hold h2"],
            RolloutOutcome::Complete,
            vec![Unreachable, Changed, Changed],
            1,
        ),
        (
            "out of reach counts with what fails later",
            &mild,
            vec![gone, bad, good],
            vec!["see h0 h1 h2", "apply h1"],
            RolloutOutcome::Stopped,
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
            RolloutOutcome::Stopped,
            vec![WentBack, WentBack],
            3,
        ),
        (
            "lost, and left alone",
            &halting,
            vec![lost, good],
            vec!["see h0 h1", "apply h0"],
            RolloutOutcome::Stopped,
            vec![Lost, NotReached],
            1,
        ),
        (
            "nothing was begun on the one that is away",
            &plain,
            vec![away, good],
            vec!["see h0 h1", "apply h0"],
            RolloutOutcome::Stopped,
            vec![Unreachable, NotReached],
            1,
        ),
        (
            "the same, as one may be: the next one is the canary",
            &mild,
            vec![away, good, good, good],
            vec!["see h0 h1 h2 h3", "apply h0", "apply h1", "hold h1", "apply h2 h3", "hold h2 h3"],
            RolloutOutcome::Complete,
            vec![Unreachable, Changed, Changed, Changed],
            1,
        ),
        (
            "it answers, and cannot be looked at",
            &plain,
            vec![good, mute],
            vec!["see h0 h1"],
            RolloutOutcome::NotBegun,
            vec![NotReached, Declined],
            1,
        ),
        (
            "it answers, and will not be changed",
            &plain,
            vec![good, full],
            vec!["see h0 h1", "apply h0", "hold h0", "apply h1", "back (the rollout was stopped: h1 refused) h0"],
            RolloutOutcome::Stopped,
            vec![WentBack, Declined],
            1,
        ),
        (
            "the same, as one may: the next one is the canary",
            &mild,
            vec![full, good, good],
            vec!["see h0 h1 h2", "apply h0", "apply h1", "hold h1", "apply h2", "hold h2"],
            RolloutOutcome::Complete,
            vec![Declined, Changed, Changed],
            1,
        ),
        (
            "drift is put right of a release that was proven there: it stays, whatever comes of that",
            &plain,
            vec![mended, good],
            vec!["see h0 h1", "apply h0", "hold h0"],
            RolloutOutcome::Stopped,
            vec![NotHealthy, NotReached],
            3,
        ),
        (
            "the same beside one that the rollout has brought it to",
            &plain,
            vec![good, unmended],
            vec!["see h0 h1", "apply h0", "hold h0", "apply h1", "back (the rollout was stopped: h1 failed) h0"],
            RolloutOutcome::Stopped,
            vec![WentBack, HostVerdict::Failed(Outcome::Failed)],
            1,
        ),
        (
            "the release is kept out on one already: nothing is begun",
            &plain,
            vec![refused, good],
            vec!["see h0 h1"],
            RolloutOutcome::NotBegun,
            vec![HostVerdict::Refused(Outcome::Quarantined), NotReached],
            3,
        ),
        (
            "unhealthy with nothing to do",
            &plain,
            vec![good, unhealthy],
            vec!["see h0 h1"],
            RolloutOutcome::NotBegun,
            vec![NotReached, HostVerdict::Refused(Outcome::Unhealthy)],
            3,
        ),
        (
            "a host that is left alone is no failure",
            &plain,
            vec![suspended, good],
            vec!["see h0 h1", "apply h1", "hold h1"],
            RolloutOutcome::Complete,
            vec![HostVerdict::Withheld, Changed],
            4,
        ),
        (
            "the hours are over in the middle",
            &plain,
            vec![good, late, good, good, good],
            vec!["see h0 h1 h2 h3 h4", "apply h0", "hold h0", "apply h1 h2 h3"],
            RolloutOutcome::Withheld,
            vec![Changed, HostVerdict::Withheld, Changed, Changed, NotReached],
            4,
        ),
        (
            "one host migrates, alone and first",
            &moving,
            vec![settled, good, good, good],
            vec!["see h0 h1 h2 h3", "migrate h1", "hold h1", "apply h2 h3", "hold h2 h3"],
            RolloutOutcome::Complete,
            vec![Settled, Changed, Changed, Changed],
            0,
        ),
        (
            "the rest of the first wave follows it",
            &moving,
            vec![good; 4],
            vec!["see h0 h1 h2 h3", "migrate h0", "apply h1", "hold h0 h1", "apply h2 h3", "hold h2 h3"],
            RolloutOutcome::Complete,
            vec![Changed; 4],
            0,
        ),
        (
            "it fails: nobody else may go, however many may fail",
            &lenient,
            vec![bad, good, good],
            vec!["see h0 h1 h2", "migrate h0"],
            RolloutOutcome::Stopped,
            vec![RolledBack, NotReached, NotReached],
            3,
        ),
        (
            "nothing was begun on it, as may be: the next one runs the migrations",
            &lenient,
            vec![away, full, good, good],
            vec!["see h0 h1 h2 h3", "migrate h0", "migrate h1", "migrate h2", "apply h3", "hold h2 h3"],
            RolloutOutcome::Complete,
            vec![Unreachable, Declined, Changed, Changed],
            1,
        ),
        (
            "the same, and the next one is of the next wave",
            &singly,
            vec![away, good, good],
            vec!["see h0 h1 h2", "migrate h0", "migrate h1", "hold h1", "apply h2", "hold h2"],
            RolloutOutcome::Complete,
            vec![Unreachable, Changed, Changed],
            1,
        ),
        (
            "it was lost in the middle of it: nobody else may go",
            &lenient,
            vec![lost, good],
            vec!["see h0 h1", "migrate h0", "back (the rollout was stopped: h0 was lost in the middle of its pass) h0"],
            RolloutOutcome::Stopped,
            vec![WentBack, NotReached],
            3,
        ),
        (
            "an earlier rollout has migrated",
            &moving,
            vec![migrated, good, good],
            vec!["see h0 h1 h2", "apply h1", "hold h1", "apply h2", "hold h2"],
            RolloutOutcome::Complete,
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
