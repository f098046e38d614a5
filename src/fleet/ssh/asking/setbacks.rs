//! What a setback means: whether a host is asked once more, and after which pause. Deciding is pure, but for the jitter.

use std::time::{Duration, Instant};

use backoff::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

use super::super::options::Options;
use super::super::trouble::{Again, Trouble};
use crate::fleet::reach::Broken;

/// How often a host is tried whose sshd, or gateway, is too busy, before it was there for the first time.
const BUSY_TRIES: usize = 4;

/// How often a far side may break down without a new word.
const FRUITLESS_TRIES: usize = 6;

/// The pauses between two tries grow from the one to the other.
const LEAST: Duration = Duration::from_millis(250);
const MOST: Duration = Duration::from_secs(10);

/// How far a request, and the run that it is made in, have come with a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// The host was not there yet.
    Unmet,
    /// It was there in this run. Nothing has begun there by this request, as far as we know, or nothing that matters: what
    /// only looks can be asked again at any time.
    Stood,
    /// The far side may have begun what changes the host.
    Begun,
}

/// The setbacks in a row of one request.
#[derive(Debug)]
pub(super) struct Setbacks {
    pauses: ExponentialBackoff,
    tries: usize,
    since: Option<Instant>,
    /// At one of them the far side had been there.
    was_there: bool,
}

impl Default for Setbacks {
    fn default() -> Self {
        let pauses = ExponentialBuilder::new().with_min_delay(LEAST).with_max_delay(MOST).without_max_times();
        Self { pauses: pauses.with_jitter().build(), tries: 0, since: None, was_there: false }
    }
}

impl Setbacks {
    /// Counts another one, of a try that began then. `is_there`: the far side was there, by this request. `fruitful`: there
    /// were new words since the last one. For how long there has been nothing else by now.
    pub(super) fn another(&mut self, is_there: bool, fruitful: bool, began: Instant, now: Instant) -> Duration {
        // Until the far side was there, no try could bear fruit.
        if fruitful || (is_there && !self.was_there) {
            *self = Self { was_there: self.was_there, ..Self::default() };
        }
        self.was_there |= is_there;
        self.tries += 1;
        // A pass may have gone on for hours before; of a host that does not answer the waiting counts.
        let since = *self.since.get_or_insert(if is_there { now } else { began });
        now.saturating_duration_since(since)
    }

    /// How long to wait before the next try; none: it is not worth one. `gone_for`: since the first setback. `away`: it
    /// has not come back since the last one.
    pub(super) fn pause(
        &mut self,
        trouble: &Trouble,
        stage: Stage,
        gone_for: Duration,
        away: bool,
        options: &Options,
    ) -> Option<Duration> {
        let worth_it = match (trouble.again, stage) {
            (Again::Never, _) | (Again::Later, Stage::Unmet) => false,
            (Again::Soon, Stage::Unmet) => self.tries < BUSY_TRIES,
            (_, Stage::Stood) => gone_for < options.recovery,
            // One that is reached and breaks down again and again is not cut off.
            (_, Stage::Begun) if trouble.broken == Broken::Lost && self.tries >= FRUITLESS_TRIES && !away => false,
            (_, Stage::Begun) => gone_for < options.patience,
        };
        worth_it.then(|| self.pauses.next().unwrap_or(MOST))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_there_is_asked_again_for_a_while_and_who_was_not_is_not() {
        use Again::{Later, Never, Soon};
        use Broken::{Connect, Lost};
        use Stage::{Begun, Stood, Unmet};
        let seconds = Duration::from_secs;
        // How it broke, how far it had come, how often and for how long it breaks, whether it has stayed away since the
        // last time, and whether it is asked again.
        let rows = [
            (Connect, Never, Unmet, 1, 0, false, false),
            (Connect, Never, Stood, 1, 0, false, false),
            (Connect, Never, Begun, 1, 0, false, false),
            (Connect, Later, Unmet, 1, 0, false, false),
            (Connect, Soon, Unmet, 3, 60, false, true),
            (Connect, Soon, Unmet, 4, 0, false, false),
            (Connect, Later, Stood, 9, 29, true, true),
            (Lost, Later, Stood, 9, 29, false, true),
            (Connect, Soon, Stood, 9, 29, true, true),
            (Connect, Later, Stood, 1, 30, true, false),
            (Lost, Later, Stood, 1, 60, false, false),
            (Connect, Later, Begun, 99, 299, true, true),
            (Lost, Later, Begun, 5, 0, false, true),
            (Lost, Later, Begun, 6, 0, false, false),
            (Lost, Later, Begun, 99, 299, true, true),
            (Lost, Later, Begun, 1, 300, true, false),
        ];
        for (broken, again, stage, tries, gone_for, away, worth_it) in rows {
            let mut setbacks = Setbacks::default();
            let first = Instant::now();
            for number in 0..tries {
                let now = first + seconds(number);
                assert_eq!(setbacks.another(stage == Begun, false, first, now), seconds(number));
            }
            let trouble = Trouble::new(broken, "it broke").again(again);
            let pause = setbacks.pause(&trouble, stage, seconds(gone_for), away, &Options::default());
            let row = format!("{trouble:?} {stage:?} {tries} {gone_for} {away}");
            assert_eq!(pause.is_some(), worth_it, "{row}");
        }
    }

    #[test]
    fn the_pauses_grow_and_have_an_end() {
        let (mut setbacks, options) = (Setbacks::default(), Options::default());
        let trouble = Trouble::new(Broken::Lost, "it broke").again(Again::Later);
        let mut pause = || setbacks.pause(&trouble, Stage::Stood, Duration::ZERO, true, &options).unwrap();
        assert!(pause() < 2 * LEAST + Duration::from_millis(1));
        let later: Vec<Duration> = (0..12).map(|_| pause()).collect();
        assert!((MOST..=2 * MOST).contains(&later[11]), "{later:?}");
    }

    /// When a setback comes and what was at hand; how many in a row that makes, and since when, in seconds.
    type Row<'a> = (&'a str, &'a [(Stage, bool, u64, usize, u64)]);

    #[test]
    fn setbacks_in_a_row_are_those_of_one_stage_without_a_new_word() {
        use Stage::{Begun, Stood, Unmet};
        let rows: [Row<'_>; 5] = [
            (
                "too busy, one try a second",
                &[(Unmet, false, 1, 1, 1), (Unmet, false, 2, 2, 2), (Unmet, false, 3, 3, 3)],
            ),
            (
                "away for long, and then lost as soon as it has begun",
                &[
                    (Stood, false, 10, 1, 10),
                    (Stood, false, 29, 2, 29),
                    (Begun, false, 30, 1, 0),
                    (Begun, false, 40, 2, 10),
                ],
            ),
            ("busy, and then lost", &[(Unmet, false, 1, 1, 1), (Unmet, false, 2, 2, 2), (Begun, false, 9, 1, 0)]),
            (
                "lost again and again, with new words and without",
                &[
                    (Begun, true, 100, 1, 0),
                    (Begun, false, 130, 2, 30),
                    (Begun, true, 160, 1, 0),
                    (Begun, false, 170, 2, 10),
                ],
            ),
            (
                "lost again and again without a word",
                &[(Begun, false, 5, 1, 0), (Begun, false, 6, 2, 1), (Begun, false, 7, 3, 2)],
            ),
        ];
        for (name, story) in rows {
            let (mut setbacks, first) = (Setbacks::default(), Instant::now());
            for (stage, fruitful, at, tries, gone_for) in story {
                let now = first + Duration::from_secs(*at);
                let gone = setbacks.another(*stage == Begun, *fruitful, first, now);
                assert_eq!((setbacks.tries, gone.as_secs()), (*tries, *gone_for), "{name}, after {at} s");
            }
        }
    }
}
