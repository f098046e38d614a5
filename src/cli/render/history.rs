//! What passes did, for people: a line for each, then what was done and decided in it. The newest is last.

use std::fmt::Write;
use std::time::Duration;

use super::report::target;
use super::style::{BAD, DIM, GOOD, PLAIN, STRONG, WARN, paint};
use super::table::{Cell, Table};
use super::words::safe;
use crate::model::app::App;
use crate::model::history::{Decision, PastAction, PastPass};
use crate::model::length::took;
use crate::model::record::Judge;

/// The passes over one App, in colour, in at most `width` columns where that is possible.
#[must_use]
pub fn history(app: &App, passes: &[PastPass], width: Option<usize>) -> String {
    let mut text = format!("{}  {}\n", paint(STRONG, &app.name), paint(DIM, safe(&app.root.to_string())));
    if passes.is_empty() {
        text.push_str("  nothing was done here, as far as the journal goes back\n");
    }
    for pass in passes {
        text.push_str(&heading(pass));
        for decision in &pass.decisions {
            text.push_str(&decided(decision));
        }
        text.push_str(&done(&pass.actions, &text).render(width));
        if let Some(summary) = pass.summary.as_deref().filter(|_| pass.outcome.as_deref() != Some("converged")) {
            let summary = untold(summary, &text);
            // Writing to a string cannot fail.
            let _ = writeln!(text, "    {}", paint(DIM, safe(&summary)));
        }
    }
    text
}

fn heading(pass: &PastPass) -> String {
    let at = pass.began.strftime("%Y-%m-%d %H:%M:%S UTC");
    let mut words = vec![at.to_string()];
    match pass.outcome.as_deref() {
        Some(outcome @ "converged") => words.push(paint(GOOD, outcome)),
        Some(outcome @ ("interrupted" | "withheld" | "drift")) => words.push(paint(WARN, outcome)),
        Some("rolledBack") => words.push(paint(BAD, "rolled back")),
        Some(outcome) => words.push(paint(BAD, safe(outcome))),
        None if pass.trigger.is_some() || !pass.actions.is_empty() => {
            words.push(paint(WARN, "cut short, or under way"));
        }
        None => {}
    }
    words.extend(pass.release.as_ref().map(|release| safe(release.as_str())));
    words.extend(pass.trigger.as_ref().map(|trigger| paint(DIM, safe(trigger))));
    words.extend(pass.took_ms.map(|millis| took(Duration::from_millis(millis))));
    format!("  {}\n", words.join("  "))
}

fn decided(decision: &Decision) -> String {
    let (style, what, why) = match decision {
        Decision::Quarantined { release, reason, by } => {
            let how = match by {
                Judge::Gate => "failed and is kept out",
                Judge::Operator => "was taken back",
            };
            (BAD, format!("{release} {how}"), reason.as_str())
        }
        Decision::QuarantineLifted { release } => (GOOD, format!("{release} may be tried again"), ""),
        Decision::Suspended { reason } => (WARN, "suspended on this host".to_owned(), reason.as_str()),
        Decision::Resumed => (GOOD, "acted on again on this host".to_owned(), ""),
    };
    let line = format!("    {}  {}", paint(style, safe(&what)), paint(DIM, safe(why)));
    format!("{}\n", line.trim_end())
}

/// A summary without what was said in full before.
fn untold(summary: &str, said: &str) -> String {
    let Some((count, trouble)) = summary.split_once(": ") else { return summary.to_owned() };
    let new: Vec<&str> = trouble.split("; ").filter(|part| !said.contains(&safe(part))).collect();
    if new.is_empty() { count.to_owned() } else { format!("{count}: {}", new.join("; ")) }
}

fn done(actions: &[PastAction], said: &str) -> Table {
    let mut table = Table::new(&[]).give_way(&[2]).indented(4);
    for PastAction { action, reason, took_ms, error } in actions {
        let style = if error.is_some() { BAD } else { PLAIN };
        let time = took_ms.map(|millis| took(Duration::from_millis(millis)));
        let end = match (time, error) {
            (Some(time), Some(_)) => Cell::styled(BAD, format!("failed, {time}")),
            (Some(time), None) => Cell::new(time),
            (None, _) => Cell::styled(WARN, "no end"),
        };
        table.row([
            Cell::styled(style, action.verb()),
            Cell::styled(style, target(action)),
            Cell::styled(DIM, reason),
            end.right(),
        ]);
        if let Some(error) = error.as_ref().filter(|error| !said.contains(&safe(error))) {
            table.note(Cell::styled(BAD, error));
        }
    }
    table
}
