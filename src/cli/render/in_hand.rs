//! The steps in hand, and how long each of them has gone on.
//!
//! In: what begins and ends, and the time since it all began. Out: for a terminal, the lines that are drawn again and again;
//! for a log, a line where a step takes long.

use std::fmt::Write;
use std::time::Duration;

use unicode_width::UnicodeWidthStr;

use super::board::shorten;
use super::style::{DIM, STRONG, paint};
use super::words::{count, safe};
use crate::model::action::Action;
use crate::model::length::in_seconds;

/// A step is told to a log once it has taken this long, …
const LONG: Duration = Duration::from_secs(10);
/// … and then this often.
const AGAIN: Duration = Duration::from_secs(30);

/// The steps in hand, the oldest first.
#[derive(Debug, Default)]
pub struct InHand(Vec<Step>);

#[derive(Debug)]
struct Step {
    /// An App, or a host.
    whose: String,
    action: Action,
    reason: String,
    began: Duration,
    /// When a log is to hear of it next.
    told_at: Duration,
    told: bool,
}

impl InHand {
    /// A step of an App, or on a host, begins.
    pub fn begun(&mut self, whose: &str, action: &Action, reason: &str, now: Duration) {
        self.ended(whose, action);
        let (whose, action, reason) = (whose.to_owned(), action.clone(), reason.to_owned());
        self.0.push(Step { whose, action, reason, began: now, told_at: now + LONG, told: false });
    }

    /// A step has ended, in whatever way.
    pub fn ended(&mut self, whose: &str, action: &Action) {
        self.0.retain(|step| step.whose != whose || step.action != *action);
    }

    /// Nothing is known any more of what goes on there.
    pub fn forget(&mut self, whose: &str) {
        self.0.retain(|step| step.whose != whose);
    }

    /// Whether nothing is in hand.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A line for each, at most so many of at most so many columns.
    #[must_use]
    pub fn lines(&self, now: Duration, width: usize, most: usize) -> Vec<String> {
        // One that is left out makes room for the line that says so.
        let shown = if self.0.len() > most { most.saturating_sub(1) } else { self.0.len() };
        let mut lines: Vec<String> = self.0.iter().take(shown).map(|step| step.line(now, width)).collect();
        if shown < self.0.len() && most > 0 {
            let more = format!("and {}", count(self.0.len() - shown, "more step"));
            lines.push(paint(DIM, shorten(&more, width)));
        }
        lines
    }

    /// What a log is told now: the steps that take long. With their reasons where it has not heard of them.
    pub fn overdue(&mut self, now: Duration, named: bool) -> String {
        let mut text = String::new();
        for step in self.0.iter_mut().filter(|step| step.told_at <= now) {
            let reason = if step.told || named { String::new() } else { format!(": {}", safe(&step.reason)) };
            let what =
                format!("{} goes on, {}", safe(&step.action.to_string()), in_seconds(now.saturating_sub(step.began)));
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{}  {what}{}", paint(STRONG, safe(&step.whose)), paint(DIM, reason));
            (step.told, step.told_at) = (true, now + AGAIN);
        }
        text
    }

    /// When [`Self::overdue`] will have something to tell; none: nothing is in hand.
    #[must_use]
    pub fn due(&self) -> Option<Duration> {
        self.0.iter().map(|step| step.told_at).min()
    }
}

impl Step {
    fn line(&self, now: Duration, width: usize) -> String {
        let (whose, what) = (safe(&self.whose), safe(&format!("{} …", self.action)));
        let long = now.saturating_sub(self.began);
        let time = if long < Duration::from_secs(1) { String::new() } else { format!("  {}", in_seconds(long)) };
        let reason = format!(" {}", safe(&self.reason));
        let (whose, what) =
            (shorten(&whose, width), shorten(&format!("  {what}"), width.saturating_sub(whose.width())));
        let left = width.saturating_sub(whose.width() + what.width() + time.width());
        // A few letters of a reason are none.
        let reason = if left < 12 { String::new() } else { shorten(&reason, left) };
        let time = if whose.width() + what.width() + time.width() > width { String::new() } else { time };
        format!("{}{what}{}{}", paint(STRONG, whose), paint(DIM, reason), paint(STRONG, time))
    }
}

#[cfg(test)]
mod tests {
    use super::super::style::plain;
    use super::*;
    use crate::decide::testing::{id, member, process};
    use crate::model::names::GroupName;
    use crate::model::release::Stage;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn build() -> Action {
        Action::RunStage { id: id("r6"), stage: Stage::Build }
    }

    fn restart(ordinal: u32) -> Action {
        let group = GroupName::new("default").unwrap();
        Action::RestartWorker { group, member: member(ordinal), process: Some(process(100 + ordinal)) }
    }

    #[test]
    fn a_step_in_hand_shows_how_long_it_has_gone_on() {
        let app = "shop";
        let mut in_hand = InHand::default();
        in_hand.begun(app, &build(), "not done yet; 1 command", seconds(1));
        let line = |in_hand: &InHand, now, width| plain(&in_hand.lines(now, width, 5).join("\n"));
        let rows = [
            (seconds(1), 80, "shop  build r6 … not done yet; 1 command"),
            (seconds(13), 80, "shop  build r6 … not done yet; 1 command  12 s"),
            (seconds(126), 80, "shop  build r6 … not done yet; 1 command  2 min 5 s"),
            (seconds(13), 35, "shop  build r6 … not done ye…  12 s"),
            (seconds(13), 26, "shop  build r6 …  12 s"),
            (seconds(13), 18, "shop  build r6 …"),
        ];
        for (now, width, expected) in rows {
            let line = line(&in_hand, now, width);
            assert_eq!(line, expected, "{width}");
            assert!(line.width() <= width, "{line}");
        }
        for ordinal in 1..=4 {
            in_hand.begun(app, &restart(ordinal), "runs r5", seconds(20));
        }
        let shown = line(&in_hand, seconds(20), 80);
        assert_eq!(shown.lines().count(), 5);
        let few = plain(&in_hand.lines(seconds(20), 80, 3).join("\n"));
        assert!(few.ends_with("and 3 more steps") && few.lines().count() == 3, "{few}");
        for action in [build(), restart(1), restart(2), restart(3), restart(4)] {
            assert!(!in_hand.is_empty());
            in_hand.ended(app, &action);
        }
        assert!(in_hand.is_empty() && in_hand.lines(seconds(30), 80, 5).is_empty());
    }

    #[test]
    fn a_log_hears_of_what_takes_long() {
        let app = "shop";
        let mut in_hand = InHand::default();
        in_hand.begun(app, &build(), "not done yet; 1 command", seconds(0));
        let mut told = Vec::new();
        for now in 0..75 {
            let text = plain(&in_hand.overdue(seconds(now), false));
            if !text.is_empty() {
                told.push(text);
            }
        }
        assert_eq!(
            told,
            [
                "shop  build r6 goes on, 10 s: not done yet; 1 command\n",
                "shop  build r6 goes on, 40 s\n",
                "shop  build r6 goes on, 1 min 10 s\n"
            ]
        );
        assert_eq!(in_hand.due(), Some(seconds(100)));
        in_hand.begun("other", &build(), "", seconds(80));
        in_hand.ended(app, &build());
        assert_eq!(in_hand.due(), Some(seconds(90)));
        in_hand.forget("other");
        assert_eq!((in_hand.due(), in_hand.overdue(seconds(200), false).as_str()), (None, ""));
    }
}
