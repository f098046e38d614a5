//! What people see while many hosts are worked on, on the standard error: on a terminal a board that is drawn over again,
//! elsewhere one line for each thing that happens, and for steps that take long.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::fmt::Write as _;
use std::sync::Mutex;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::causes::Causes;
use super::run::Kind;
use crate::cli::foot::{self, TICK, up, wiped, write};
use crate::cli::live;
use crate::cli::output::{say, size, stderr_has_colour};
use crate::cli::render::board::{Board, Hint, is_bad, words};
use crate::cli::render::in_hand::InHand;
use crate::cli::render::news;
use crate::cli::render::style::{DIM, STRONG, paint, plain};
use crate::cli::render::words::safe;
use crate::fleet::phase::{FleetListener, FleetNews, Phase};
use crate::fleet::work::StopWish;
use crate::model::event::Event;
use crate::model::fleet::{FleetHost, HostName};
use crate::model::rollout::HostVerdict;

/// Events that come closer together are drawn together.
const PAUSE: Duration = Duration::from_millis(80);

/// Tells the person at the terminal, or the log of a CI job.
pub struct Screen {
    began: Instant,
    /// None where there is no terminal to draw on.
    drawn: Option<Mutex<Drawn>>,
    /// Hosts whose convergence has its line already: it is told again when they have stayed healthy.
    converged: Mutex<HashSet<HostName>>,
    /// What was told to be wrong.
    causes: Mutex<Causes>,
    /// Hosts that have the same trouble as another one: said with what becomes of them.
    alike: Mutex<HashMap<HostName, String>>,
    /// The steps in hand, where each thing is told by a line.
    in_hand: Mutex<InHand>,
    kind: Kind,
    wish: watch::Receiver<StopWish>,
}

struct Drawn {
    board: Board,
    /// How many lines of it stand on the terminal.
    lines: usize,
    last: Option<Instant>,
}

impl Screen {
    /// Looks once at what the standard error is.
    pub fn new<'a>(
        title: &str,
        hosts: impl Iterator<Item = &'a FleetHost> + Clone,
        kind: Kind,
        wish: watch::Receiver<StopWish>,
    ) -> Self {
        let draws = foot::draws();
        let names = hosts.clone().map(|host| &host.name);
        let drawn = Drawn { board: Board::new(title, names), lines: 0, last: None };
        let drawn = draws.then(|| Mutex::new(drawn));
        Self {
            began: Instant::now(),
            drawn,
            converged: Mutex::default(),
            causes: Mutex::new(Causes::new(hosts)),
            alike: Mutex::default(),
            in_hand: Mutex::default(),
            kind,
            wish,
        }
    }

    /// Keeps the times on the board right, or tells of steps that take long; never returns.
    pub async fn keep_up(&self) -> Infallible {
        loop {
            tokio::time::sleep(TICK).await;
            self.with(|drawn, now| self.draw(drawn, now, ""));
            let long = self.with_steps(|steps| steps.overdue(self.began.elapsed(), false));
            if let Some(told) = long.filter(|told| !told.is_empty()) {
                say(&told);
            }
        }
    }

    /// Takes the board off the terminal.
    pub fn clear(&self) {
        self.with(|drawn, _| {
            let text = wiped(drawn.lines);
            drawn.lines = 0;
            write(&text);
        });
    }

    fn with(&self, work: impl FnOnce(&mut Drawn, Instant)) {
        // A panic while it was held would have ended the program.
        if let Some(Ok(mut drawn)) = self.drawn.as_ref().map(Mutex::lock) {
            work(&mut drawn, Instant::now());
        }
    }

    /// Works on the steps in hand, where there is no board that shows them.
    fn with_steps<T>(&self, work: impl FnOnce(&mut InHand) -> T) -> Option<T> {
        if self.drawn.is_some() {
            return None;
        }
        self.in_hand.lock().ok().map(|mut steps| work(&mut steps))
    }

    /// Draws the board over the one before, below `above`, which stays.
    fn draw(&self, drawn: &mut Drawn, now: Instant, above: &str) {
        let (width, height) = size(&std::io::stderr()).unwrap_or((80, 24));
        let elapsed = now.saturating_duration_since(self.began);
        // The last column and the last line are left alone: terminals scroll when these are written to.
        let hint = match (self.kind, *self.wish.borrow() > StopWish::GoOn) {
            (Kind::Look, false) => Hint::EndsAtOnce,
            (Kind::Look, true) => Hint::Stopped,
            (Kind::Rollout, false) => Hint::EndsAfterThese,
            (Kind::Rollout, true) => Hint::Ending,
        };
        let lines = drawn.board.lines(elapsed, width.saturating_sub(1), height.saturating_sub(1), hint);
        let shown = |line: &str| {
            if stderr_has_colour() { line.to_owned() } else { plain(line) }
        };
        // What is told above may be longer than a line of the terminal: then it has no end that could be cleared as it is
        // written.
        let mut text = if above.is_empty() { up(drawn.lines) } else { wiped(drawn.lines) };
        // Writing to a string cannot fail.
        for line in above.lines() {
            let _ = writeln!(text, "{}", shown(line));
        }
        for line in &lines {
            let _ = writeln!(text, "{}\x1b[K", shown(line));
        }
        text.push_str("\x1b[J");
        drawn.lines = lines.len();
        drawn.last = Some(now);
        write(&text);
    }
}

impl FleetListener for Screen {
    fn phase(&self, host: &HostName, phase: &Phase) {
        let alike = self.alike.lock().ok().and_then(|mut alike| alike.remove(host));
        if let Some(alike) = &alike {
            self.tell(&line_as(host, phase, alike));
        }
        if self.drawn.is_some() {
            return self.with(|drawn, now| {
                drawn.board.phase(host, phase, now.saturating_duration_since(self.began));
                let soon = drawn.last.is_some_and(|last| now.saturating_duration_since(last) < PAUSE);
                if !soon {
                    self.draw(drawn, now, "");
                }
            });
        }
        if matches!(phase, Phase::Lost { .. } | Phase::Ended(_)) {
            self.with_steps(|steps| steps.forget(host.as_str()));
        }
        let again = *phase == Phase::Ended(HostVerdict::Changed)
            && self.converged.lock().is_ok_and(|mut told| !told.insert(host.clone()));
        if let Some(line) = line(host, phase).filter(|_| !again && alike.is_none()) {
            say(&line);
        }
    }

    fn event(&self, host: &HostName, event: &Event) {
        self.with_steps(|steps| match event {
            Event::Begun { action, reason } => steps.begun(host.as_str(), action, reason, self.began.elapsed()),
            Event::Done { action, .. } | Event::Failed { action, .. } => steps.ended(host.as_str(), action),
            Event::Settling { .. } | Event::KeptOut { .. } | Event::Unhealthy { .. } => {}
        });
        // The board shows what a host does; what went wrong there is worth more than a moment.
        let lasts = matches!(event, Event::Failed { .. } | Event::KeptOut { .. } | Event::Unhealthy { .. });
        if (self.drawn.is_none() || lasts)
            && let Some(line) = live::line(host, &self.shortened(host, event), false)
        {
            self.tell(&line);
        }
    }

    fn news(&self, host: Option<&HostName>, news: &FleetNews<'_>) {
        // The board shows it of each host.
        if self.drawn.is_some() && matches!(news, FleetNews::Hold { .. }) {
            return;
        }
        if let Some(host) = host
            && let FleetNews::Trouble(trouble) = news
            && let Some(alike) = self.instead(host, &trouble.told())
            && let Ok(mut all) = self.alike.lock()
        {
            all.insert(host.clone(), alike);
            return;
        }
        if let Some(text) = news::words(news) {
            let whose = host.map(|host| format!("{}  ", paint(STRONG, safe(host.as_str())))).unwrap_or_default();
            self.tell(&format!("{whose}{}\n", safe(&text)));
        }
    }
}

impl Screen {
    /// What does instead of that cause, if another host has told it.
    fn instead(&self, host: &HostName, cause: &str) -> Option<String> {
        self.causes.lock().ok().and_then(|mut causes| causes.instead(host, cause))
    }

    fn shortened<'e>(&self, host: &HostName, event: &'e Event) -> Cow<'e, Event> {
        match live::why(event).and_then(|why| self.instead(host, &why)) {
            Some(words) => Cow::Owned(live::because(event, words)),
            None => Cow::Borrowed(event),
        }
    }

    fn tell(&self, line: &str) {
        match &self.drawn {
            Some(_) => self.with(|drawn, now| self.draw(drawn, now, line)),
            None => say(line),
        }
    }
}

/// The line for a host that has the same trouble as another one: what has become of it, and whose trouble that is.
fn line_as(host: &HostName, phase: &Phase, alike: &str) -> String {
    let (style, word, _) = words(phase);
    format!("{}  {}: {}\n", paint(STRONG, safe(host.as_str())), paint(style, word), safe(alike))
}

/// The line for what a host is at, where that is worth one.
fn line(host: &HostName, phase: &Phase) -> Option<String> {
    match phase {
        // Its steps are told as events, and how it ended stands in the summary as well.
        Phase::Changing { step } | Phase::TakingBack { step } if !step.is_empty() => return None,
        Phase::Ended(verdict)
            if matches!(verdict, HostVerdict::Changed | HostVerdict::GoneBack) || is_bad(*verdict) => {}
        Phase::Waiting
        | Phase::Connecting
        | Phase::Looking
        | Phase::Seen { .. }
        | Phase::Holding { .. }
        | Phase::Ended(_) => return None,
        Phase::Changing { .. } | Phase::TakingBack { .. } | Phase::Copying { .. } | Phase::Lost { .. } => {}
    }
    let (style, word, detail) = words(phase);
    let detail = if detail.is_empty() { String::new() } else { paint(DIM, format!("  {}", safe(&detail))) };
    Some(format!("{}  {}{detail}\n", paint(STRONG, safe(host.as_str())), paint(style, word)))
}
