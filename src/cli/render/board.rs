//! The work over many hosts while it goes on: a line for each host with what it is at, and one that sums up.
//!
//! Pure: [`Board`] is told what happens, and [`Board::lines`] is what a terminal shows at a moment.

use std::collections::HashMap;
use std::time::Duration;

use anstyle::Style;
use unicode_width::UnicodeWidthStr;

use super::style::{BAD, DIM, GOOD, PLAIN, STRONG, WARN, paint};
use super::words::{bytes, count, safe};
use crate::fleet::phase::Phase;
use crate::model::fleet::HostName;
use crate::model::length::limit;
use crate::model::report::Outcome;
use crate::model::rollout::HostVerdict;

/// Most columns of a host's name: longer ones are cut.
const NAME: usize = 24;
/// The lines of a board besides those of its hosts.
const FRAME: usize = 2;

/// All hosts, and what each is at.
#[derive(Debug)]
pub struct Board {
    title: String,
    rows: Vec<Row>,
    places: HashMap<HostName, usize>,
}

/// What Ctrl-C does now, or has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hint {
    /// It would end after the hosts that were begun.
    EndsAfterThese,
    /// That is on its way.
    Ending,
    /// It would end at once: nothing is changed.
    EndsAtOnce,
    /// It has ended.
    Stopped,
}

impl Hint {
    const fn words(self) -> (Style, &'static str) {
        match self {
            Self::EndsAfterThese => (DIM, "Ctrl-C ends after these"),
            Self::Ending => (WARN, "ends after these; press again to leave"),
            Self::EndsAtOnce => (DIM, "Ctrl-C stops"),
            Self::Stopped => (WARN, "stopped; the others are not looked at"),
        }
    }
}

#[derive(Debug)]
struct Row {
    host: HostName,
    phase: Phase,
    /// When it began to be at that, since the work began.
    since: Duration,
}

impl Board {
    /// A board of hosts whose turn has not come; `title` is its first line.
    pub fn new<'a>(title: impl Into<String>, hosts: impl Iterator<Item = &'a HostName>) -> Self {
        let rows: Vec<Row> =
            hosts.map(|host| Row { host: host.clone(), phase: Phase::Waiting, since: Duration::ZERO }).collect();
        let places = rows.iter().enumerate().map(|(at, row)| (row.host.clone(), at)).collect();
        Self { title: title.into(), rows, places }
    }

    /// A host is at something else, so long after the work began. A step of the same work does not begin its time anew.
    pub fn phase(&mut self, host: &HostName, phase: &Phase, now: Duration) {
        let Some(row) = self.places.get(host).and_then(|at| self.rows.get_mut(*at)) else { return };
        if std::mem::discriminant(&row.phase) != std::mem::discriminant(phase) {
            row.since = now;
        }
        row.phase = phase.clone();
    }

    /// What is shown so long after the work began: no line wider than `width`, no more lines than `height`. `hint`: what
    /// Ctrl-C does.
    #[must_use]
    pub fn lines(&self, now: Duration, width: usize, height: usize, hint: Hint) -> Vec<String> {
        let room = height.saturating_sub(FRAME).max(1);
        let mut shown: Vec<&Row> = self.rows.iter().collect();
        let mut hidden = 0;
        if shown.len() > room {
            // What goes on is worth more than what is over, and that more than what is not yet.
            shown.sort_by_key(|row| interest(&row.phase));
            hidden = shown.len() - (room - 1);
            shown.truncate(room - 1);
            shown.sort_by_key(|row| self.places.get(&row.host));
        }
        let name = shown.iter().map(|row| row.host.as_str().width()).max().unwrap_or(0).min(NAME);
        let mut lines = vec![cut(&self.title, width, STRONG)];
        lines.extend(shown.iter().map(|row| line(row, name, now, width)));
        if hidden > 0 {
            lines.push(cut(&format!("  and {hidden} more"), width, DIM));
        }
        lines.push(self.summary(width, hint));
        lines
    }

    fn summary(&self, width: usize, hint: Hint) -> String {
        let number = |is: &dyn Fn(&Phase) -> bool| self.rows.iter().filter(|row| is(&row.phase)).count();
        let bad = number(&|phase| matches!(phase, Phase::Ended(verdict) if is_bad(*verdict)));
        let done = number(&|phase| matches!(phase, Phase::Ended(_))) - bad;
        let waiting = number(&|phase| matches!(phase, Phase::Waiting | Phase::Seen { .. }));
        let busy = self.rows.len() - done - bad - waiting;
        let mut parts = vec![(PLAIN, format!("{done} of {} done", self.rows.len()))];
        let more = [(PLAIN, busy, "at work"), (DIM, waiting, "waiting"), (BAD, bad, "failed")];
        parts.extend(
            more.into_iter().filter(|(_, number, _)| *number > 0).map(|(style, n, w)| (style, format!("{n} {w}"))),
        );
        let (style, hint) = hint.words();
        let told: usize = parts.iter().map(|(_, part)| part.width() + 2).sum();
        if told + hint.width() <= width {
            parts.push((style, hint.to_owned()));
        }
        let mut left = width;
        let mut text = String::new();
        for (style, part) in parts {
            let gap = if text.is_empty() { "" } else { "  " };
            if part.width() + gap.len() > left {
                break;
            }
            left -= part.width() + gap.len();
            text.push_str(gap);
            text.push_str(&paint(style, part));
        }
        text
    }
}

/// What is shown first where there is not room for all.
fn interest(phase: &Phase) -> u8 {
    match phase {
        Phase::Changing { .. } | Phase::TakingBack { .. } | Phase::Lost { .. } => 0,
        Phase::Connecting | Phase::Copying { .. } | Phase::Looking | Phase::Holding { .. } => 1,
        Phase::Ended(verdict) if is_bad(*verdict) => 2,
        Phase::Seen { .. } | Phase::Waiting => 3,
        Phase::Ended(_) => 4,
    }
}

fn line(row: &Row, name: usize, now: Duration, width: usize) -> String {
    let (style, word, detail) = words(&row.phase);
    let busy = !matches!(row.phase, Phase::Waiting | Phase::Seen { .. } | Phase::Ended(_));
    let time = if busy { limit(whole(now.saturating_sub(row.since))) } else { String::new() };
    let host = shorten(&safe(row.host.as_str()), name);
    let host = format!("  {host}{}  ", " ".repeat(name.saturating_sub(host.width())));
    let tail = if time.is_empty() { String::new() } else { format!("  {time}") };
    let tail = if host.width() + tail.width() > width { String::new() } else { tail };
    let room = width.saturating_sub(host.width() + tail.width());
    let told = if detail.is_empty() { word.to_owned() } else { format!("{word}  {}", safe(&detail)) };
    let told = shorten(&told, room);
    // The word stands out, and what it is about does not.
    let painted = match told.strip_prefix(word) {
        Some(rest) => format!("{}{}", paint(style, word), paint(DIM, rest)),
        None => paint(style, &told),
    };
    shorten_plain(&host, width) + &painted + &paint(DIM, tail)
}

fn shorten_plain(text: &str, width: usize) -> String {
    if text.width() <= width { text.to_owned() } else { shorten(text, width) }
}

/// Tenths of a second would only flicker.
fn whole(length: Duration) -> Duration {
    Duration::from_secs(length.as_secs())
}

/// The word for what a host is at, and what there is to say of it.
#[must_use]
pub fn words(phase: &Phase) -> (Style, &'static str, String) {
    match phase {
        Phase::Waiting => (DIM, "waiting", String::new()),
        Phase::Connecting => (PLAIN, "connecting", String::new()),
        Phase::Copying { size } => (PLAIN, "copying trueup", bytes(*size)),
        Phase::Looking => (PLAIN, "looking", String::new()),
        Phase::Seen { actions } => (WARN, "waiting", format!("{} to do", count(*actions, "action"))),
        Phase::Changing { step } => (PLAIN, "changing", step.clone()),
        Phase::Holding { length } => (PLAIN, "healthy", format!("has to stay so for {}", limit(*length))),
        Phase::TakingBack { step } => (WARN, "taking back", step.clone()),
        Phase::Lost { again_in } => {
            (WARN, "connection lost", format!("it goes on there; asked again in {}", limit(*again_in)))
        }
        Phase::Ended(verdict) => (colour(*verdict), word(*verdict), String::new()),
    }
}

/// The word for what became of a host.
#[must_use]
pub fn word(verdict: HostVerdict) -> &'static str {
    match verdict {
        HostVerdict::Settled => "nothing to do",
        HostVerdict::Changed => "converged",
        HostVerdict::NotReached => "not touched",
        HostVerdict::Withheld | HostVerdict::Refused(Outcome::Withheld) | HostVerdict::Failed(Outcome::Withheld) => {
            "withheld"
        }
        HostVerdict::Refused(Outcome::Unhealthy)
        | HostVerdict::Failed(Outcome::Unhealthy)
        | HostVerdict::NotHealthy => "not healthy",
        HostVerdict::Refused(Outcome::Quarantined | Outcome::RolledBack) => "kept out",
        HostVerdict::Failed(Outcome::Quarantined) => "quarantined",
        HostVerdict::Refused(_) => "cannot be changed",
        HostVerdict::RolledBack | HostVerdict::Failed(Outcome::RolledBack) => "rolled back",
        HostVerdict::Failed(Outcome::Interrupted) => "interrupted",
        HostVerdict::Failed(_) => "failed",
        HostVerdict::TakenBack | HostVerdict::GoneBack => "taken back",
        HostVerdict::NotTakenBack => "not taken back",
        HostVerdict::Unreachable => "not reached",
        HostVerdict::Declined => "refused",
        HostVerdict::Lost => "lost",
        HostVerdict::Untold => "cannot be looked at",
        HostVerdict::Unseen => "not looked at",
    }
}

/// Its colour.
#[must_use]
pub fn colour(verdict: HostVerdict) -> Style {
    match verdict {
        HostVerdict::Settled | HostVerdict::Changed | HostVerdict::GoneBack => GOOD,
        HostVerdict::NotReached
        | HostVerdict::Unseen
        | HostVerdict::Withheld
        | HostVerdict::Refused(Outcome::Withheld)
        | HostVerdict::Failed(Outcome::Withheld) => WARN,
        HostVerdict::Refused(_)
        | HostVerdict::Failed(_)
        | HostVerdict::NotHealthy
        | HostVerdict::RolledBack
        | HostVerdict::TakenBack
        | HostVerdict::NotTakenBack
        | HostVerdict::Unreachable
        | HostVerdict::Declined
        | HostVerdict::Untold
        | HostVerdict::Lost => BAD,
    }
}

/// Something went wrong there.
#[must_use]
pub fn is_bad(verdict: HostVerdict) -> bool {
    colour(verdict) == BAD
}

fn cut(text: &str, width: usize, style: Style) -> String {
    paint(style, shorten(text, width))
}

/// As much of a text as there is room for, an ellipsis where something is missing.
#[must_use]
pub fn shorten(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut short = String::new();
    for c in text.chars() {
        let longer = format!("{short}{c}");
        if longer.width() + 1 > width {
            break;
        }
        short = longer;
    }
    if width > 0 {
        short.push('…');
    }
    short
}
