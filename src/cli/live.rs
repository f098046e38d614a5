//! What goes on in a pass, while it goes on: one line on the standard error for each thing that matters.
//!
//! Nothing for a settled host. On a terminal the steps in hand stand below everything else, each with how long it has gone
//! on; elsewhere, and beside a log, a step is named when it is done, and before that when it takes long.

use std::collections::HashMap;
use std::io::IsTerminal;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use super::foot;
use super::logging::logs;
use super::options::{Global, LogFormat};
use super::output::say;
use super::render::in_hand::InHand;
use super::render::style::{BAD, DIM, STRONG, WARN, paint};
use super::render::words::safe;
use crate::engine::events::{Event, Listener, Silent};
use crate::model::health::{HealthVerdict, RuleVerdict};
use crate::model::length::{limit, took};
use crate::model::names::AppName;

/// Who is told what goes on meanwhile.
#[must_use]
pub fn listener(global: &Global) -> Box<dyn Listener> {
    // A log in JSON tells the same; a program that reads it wants nothing else in between.
    if global.log_format == LogFormat::Json { Box::new(Silent) } else { Box::new(Live::new(logs(global))) }
}

/// Tells the person at the terminal, or the log of a CI job.
#[derive(Debug)]
pub struct Live {
    way: Way,
    /// Why something was not well last, of each App.
    told: Mutex<HashMap<AppName, String>>,
    steps: Arc<Steps>,
    /// Tells of steps that take long; none before the first step.
    ticker: Mutex<Option<JoinHandle<()>>>,
}

/// How steps are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// On a terminal: those in hand below everything else, drawn again and again.
    Drawn,
    /// On a terminal that cannot do that, or has a log on it as well: when they begin.
    Begun,
    /// When they are done.
    Done,
}

/// The steps in hand, for those who tell of them.
#[derive(Debug)]
struct Steps {
    since: Instant,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    in_hand: InHand,
    ended: bool,
}

impl Live {
    /// Looks once at what the standard error is, on which there may be a log besides.
    #[must_use]
    pub fn new(logs: bool) -> Self {
        Self::by(match std::io::stderr().is_terminal() {
            true if foot::draws() && !logs => Way::Drawn,
            true => Way::Begun,
            false => Way::Done,
        })
    }

    fn by(way: Way) -> Self {
        let steps = Steps { since: Instant::now(), state: Mutex::default(), changed: Condvar::new() };
        Self { way, told: Mutex::default(), steps: Arc::new(steps), ticker: Mutex::default() }
    }

    /// Keeps account of the steps in hand.
    fn account(&self, app: &AppName, event: &Event) {
        let mut state = self.steps.lock();
        match event {
            Event::Begun { action, reason } => {
                state.in_hand.begun(app.as_str(), action, reason, self.steps.since.elapsed());
                let mut ticker = self.ticker.lock().unwrap_or_else(PoisonError::into_inner);
                if ticker.is_none() {
                    let (steps, way) = (Arc::clone(&self.steps), self.way);
                    // Without it nothing is told in between, and the rest is as true as ever.
                    *ticker = std::thread::Builder::new().spawn(move || steps.keep_up(way)).ok();
                }
            }
            Event::Done { action, .. } | Event::Failed { action, .. } => state.in_hand.ended(app.as_str(), action),
            Event::Settling { .. } | Event::KeptOut { .. } | Event::Unhealthy { .. } => return,
        }
        if self.way == Way::Drawn {
            self.steps.draw(&state);
        }
        self.steps.changed.notify_all();
    }
}

impl Steps {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn draw(&self, state: &State) {
        let (width, most) = foot::room();
        foot::set(state.in_hand.lines(self.since.elapsed(), width, most));
    }

    /// Tells of steps that take long, until all is over.
    fn keep_up(&self, way: Way) {
        let mut state = self.lock();
        while !state.ended {
            let now = self.since.elapsed();
            let pause = if way == Way::Drawn {
                self.draw(&state);
                (!state.in_hand.is_empty()).then_some(foot::TICK)
            } else {
                let told = state.in_hand.overdue(now, way == Way::Begun);
                if !told.is_empty() {
                    say(&told);
                }
                state.in_hand.due().map(|due| due.saturating_sub(now))
            };
            state = match pause {
                Some(pause) => self
                    .changed
                    .wait_timeout(state, pause)
                    .map_or_else(|error| error.into_inner().0, |(state, _)| state),
                None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.steps.lock().ended = true;
        self.steps.changed.notify_all();
        let ticker = self.ticker.get_mut().map_or_else(|error| error.into_inner().take(), Option::take);
        if let Some(ticker) = ticker {
            // What it could not tell is no loss.
            let _ = ticker.join();
        }
        if self.way == Way::Drawn {
            foot::set(Vec::new());
        }
    }
}

impl Live {
    /// What is said of an event, if anything.
    fn said(&self, app: &AppName, event: &Event) -> Option<String> {
        let known = why(event).is_some_and(|why| {
            let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
            let last = told.insert(app.clone(), why.clone());
            let goes_on = match event {
                Event::Unhealthy { attempt, .. } => *attempt > 1,
                Event::KeptOut { .. } => true,
                _ => false,
            };
            // What failed is kept out for it: the action is named before the reason, or in it.
            let same = |last: String| !last.is_empty() && (last.contains(&why) || why.contains(&last));
            goes_on && last.is_some_and(same)
        });
        if known { again(app, event) } else { line(app, event, self.way == Way::Begun) }
    }
}

impl Listener for Live {
    fn event(&self, app: &AppName, event: &Event) {
        if let Some(line) = self.said(app, event) {
            say(&line);
        }
        self.account(app, event);
    }
}

/// Why something is not well.
#[must_use]
pub fn why(event: &Event) -> Option<String> {
    match event {
        Event::Unhealthy { verdict, .. } => Some(first(verdict)),
        Event::Failed { error, .. } => Some(error.clone()),
        Event::KeptOut { reason, .. } => Some(reason.clone()),
        Event::Begun { .. } | Event::Done { .. } | Event::Settling { .. } => None,
    }
}

/// The same for another reason.
#[must_use]
pub fn because(event: &Event, why: String) -> Event {
    let mut event = event.clone();
    match &mut event {
        Event::Unhealthy { verdict, .. } => *verdict = HealthVerdict::unanswered(why),
        Event::Failed { error, .. } => *error = why,
        Event::KeptOut { reason, .. } => *reason = why,
        Event::Begun { .. } | Event::Done { .. } | Event::Settling { .. } => {}
    }
    event
}

/// The first of all that speaks against the App's health.
fn first(verdict: &HealthVerdict) -> String {
    let broken = || verdict.rules.iter().find_map(RuleVerdict::complaint);
    verdict.failure.clone().or_else(broken).unwrap_or_default()
}

/// The line for an event whose reason was told right before.
fn again(whose: impl std::fmt::Display, event: &Event) -> Option<String> {
    let text = match event {
        Event::Unhealthy { attempt, of, .. } => {
            format!("{} as before", paint(WARN, format!("not healthy, attempt {attempt} of {of}:")))
        }
        Event::KeptOut { release, .. } => paint(BAD, safe(&format!("{release} is kept out for that"))),
        Event::Begun { .. } | Event::Done { .. } | Event::Failed { .. } | Event::Settling { .. } => return None,
    };
    Some(format!("{}  {text}\n", paint(STRONG, whose)))
}

/// The line for one event of an App or a host, in colour; none where it says nothing new.
#[must_use]
pub fn line(whose: impl std::fmt::Display, event: &Event, terminal: bool) -> Option<String> {
    let text = match event {
        Event::Begun { .. } if !terminal => return None,
        Event::Done { .. } if terminal => return None,
        Event::Begun { action, reason } => {
            format!("{} {}", safe(&format!("{action} …")), paint(DIM, safe(reason)))
        }
        Event::Done { action, took: time } => {
            format!("{}  {}", safe(&format!("{action} done")), paint(DIM, took(*time)))
        }
        Event::Failed { action, error, retry_in } => {
            let again = match retry_in {
                Some(pause) => paint(DIM, format!("; again in {}", limit(*pause))),
                None => String::new(),
            };
            format!("{}: {}{again}", paint(BAD, safe(&format!("{action} failed"))), safe(error))
        }
        Event::Settling { what } => format!("{} {}", paint(DIM, "waiting:"), safe(what)),
        Event::KeptOut { release, reason } => {
            format!("{} {}", paint(BAD, safe(&format!("{release} is kept out:"))), safe(reason))
        }
        Event::Unhealthy { attempt, of, verdict } => {
            let why = safe(&first(verdict));
            format!("{} {why}", paint(WARN, format!("not healthy, attempt {attempt} of {of}:")))
        }
    };
    Some(format!("{}  {text}\n", paint(STRONG, whose)))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::cli::render::style::plain;
    use crate::decide::testing::{id, member, process};
    use crate::model::action::Action;
    use crate::model::health::{HealthVerdict, Rule, RuleVerdict};
    use crate::model::names::GroupName;

    #[test]
    fn what_goes_on_failing_for_the_same_reason_is_told_once() {
        let app = AppName::new("shop").unwrap();
        let live = Live::by(Way::Done);
        let sick = |attempt, why: &str| Event::Unhealthy {
            attempt,
            of: 3,
            verdict: HealthVerdict::unanswered(why.to_owned()),
        };
        let error = "the gate was not passed in 3 attempts: no answer".to_owned();
        let events = [
            sick(1, "no answer"),
            sick(2, "no answer"),
            sick(3, "status = 500"),
            Event::Failed { action: Action::ProveRelease { id: id("r2") }, error: error.clone(), retry_in: None },
            Event::KeptOut { release: id("r2"), reason: format!("prove r2: {error}") },
            sick(1, "no answer"),
        ];
        let said: String = events.iter().filter_map(|event| live.said(&app, event)).collect();
        let said = plain(&said);
        let expected = "\
shop  not healthy, attempt 1 of 3: no answer
shop  not healthy, attempt 2 of 3: as before
shop  not healthy, attempt 3 of 3: status = 500
shop  prove r2 failed: the gate was not passed in 3 attempts: no answer
shop  r2 is kept out for that
shop  not healthy, attempt 1 of 3: no answer
";
        assert_eq!(said, expected);
    }

    #[test]
    fn each_event_is_one_line_or_none() {
        let app = AppName::new("shop").unwrap();
        let restart = Action::RestartWorker {
            group: GroupName::new("default").unwrap(),
            member: member(1),
            process: Some(process(101)),
        };
        let broken = RuleVerdict {
            rule: Rule("status == 200".to_owned()),
            passed: false,
            seen: "status = 500".to_owned(),
            reason: None,
        };
        let verdict = HealthVerdict { healthy: false, rules: vec![broken], failure: None, latency_ms: None };
        let rows = [
            (
                Event::Begun { action: restart.clone(), reason: "runs r1".to_owned() },
                Some("shop  restart web:web_01 (pid 101) … runs r1\n"),
                None,
            ),
            (
                Event::Done { action: Action::SwitchCurrent { to: id("r2") }, took: Duration::from_millis(3) },
                None,
                Some("shop  switch current to r2 done  3 ms\n"),
            ),
            (
                Event::Failed {
                    action: restart.clone(),
                    error: "exited\nwith 1".to_owned(),
                    retry_in: Some(Duration::from_millis(500)),
                },
                Some("shop  restart web:web_01 (pid 101) failed: exited with 1; again in 500ms\n"),
                Some("shop  restart web:web_01 (pid 101) failed: exited with 1; again in 500ms\n"),
            ),
            (
                Event::Settling { what: "web:web_01 is starting".to_owned() },
                Some("shop  waiting: web:web_01 is starting\n"),
                Some("shop  waiting: web:web_01 is starting\n"),
            ),
            (
                Event::Unhealthy { attempt: 1, of: 5, verdict },
                Some("shop  not healthy, attempt 1 of 5: `status == 200` does not hold: status = 500\n"),
                Some("shop  not healthy, attempt 1 of 5: `status == 200` does not hold: status = 500\n"),
            ),
        ];
        for (event, on_terminal, elsewhere) in rows {
            for (terminal, expected) in [(true, on_terminal), (false, elsewhere)] {
                let said = line(&app, &event, terminal).map(|line| plain(&line));
                assert_eq!(said.as_deref(), expected, "{event:?}");
            }
        }
    }
}
