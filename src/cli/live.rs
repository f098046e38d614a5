//! What goes on in a pass, while it goes on: one line on the standard error for each thing that matters.
//!
//! Nothing for a settled host. On a terminal a step is named when it begins, too: it may wait for a worker's job.

use std::io::IsTerminal;

use super::output::say;
use super::render::health::broken;
use super::render::style::{BAD, DIM, STRONG, WARN, paint};
use super::render::words::{limit, safe, took};
use crate::engine::events::{Event, Listener};
use crate::model::names::AppName;

/// Tells the person at the terminal, or the log of a CI job.
#[derive(Debug, Clone, Copy)]
pub struct Live {
    terminal: bool,
}

impl Live {
    /// Looks once at what the standard error is.
    #[must_use]
    pub fn new() -> Self {
        Self { terminal: std::io::stderr().is_terminal() }
    }
}

impl Default for Live {
    fn default() -> Self {
        Self::new()
    }
}

impl Listener for Live {
    fn event(&self, app: &AppName, event: &Event) {
        if let Some(line) = line(app, event, self.terminal) {
            say(&line);
        }
    }
}

/// The line for one event of an App or a host, in colour; none where it says nothing new.
#[must_use]
pub fn line(whose: impl std::fmt::Display, event: &Event, terminal: bool) -> Option<String> {
    let text = match event {
        Event::Begun { .. } if !terminal => return None,
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
            let first = verdict.failure.clone().or_else(|| verdict.rules.iter().find(|rule| !rule.passed).map(broken));
            let why = safe(&first.unwrap_or_default());
            format!("{} {why}", paint(WARN, format!("not healthy, attempt {attempt} of {of}:")))
        }
    };
    Some(format!("{}  {text}\n", paint(STRONG, whose)))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::decide::testing::{id, member, process};
    use crate::model::action::Action;
    use crate::model::health::{HealthVerdict, Rule, RuleVerdict};
    use crate::model::names::GroupName;

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
                Some("shop  switch current to r2 done  3 ms\n"),
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
                let said = line(&app, &event, terminal).map(|line| anstream::adapter::strip_str(&line).to_string());
                assert_eq!(said.as_deref(), expected, "{event:?}");
            }
        }
    }
}
