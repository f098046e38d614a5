//! Which release every worker runs, how that is known, and what it makes of the worker.

use super::style::{BAD, DIM, GOOD, PLAIN, WARN};
use super::table::{Cell, Table};
use super::words::runs;
use crate::decide::status::worker_status;
use crate::model::app::App;
use crate::model::drift::StaleBecause;
use crate::model::observed::{MemberState, Observed};
use crate::model::status::{WorkerStatus, WorkerVerdict};

/// One row for each member of every group that could be read.
#[must_use]
pub fn evidence(app: &App, observed: &Observed) -> Table {
    let mut table =
        Table::new(&["MEMBER", "PID", "STATE", "RUNS", "RUNG", "SEEN", "VERDICT"]).give_way(&[5, 2]).indented(2);
    for group in &app.workers {
        let seen = observed.groups.iter().find(|seen| seen.group == group.name);
        for worker in seen.into_iter().flat_map(|seen| seen.members.iter().flatten()) {
            let status = worker_status(app, observed, group, worker);
            table.row([
                Cell::new(&status.member),
                pid(&status),
                state(&status),
                match status.verdict {
                    WorkerVerdict::Down => Cell::styled(DIM, "-"),
                    _ => Cell::new(runs(&status.evidence, &observed.layout.link)),
                },
                status.evidence.rung.map_or_else(|| Cell::styled(DIM, "-"), Cell::new),
                Cell::new(&status.evidence.seen),
                verdict(&status),
            ]);
        }
    }
    table
}

/// The process number, or a dash.
#[must_use]
pub fn pid(status: &WorkerStatus) -> Cell {
    status.process.map_or_else(|| Cell::styled(DIM, "-"), |process| Cell::new(process.pid)).right()
}

/// What the manager says, with its own words.
#[must_use]
pub fn state(status: &WorkerStatus) -> Cell {
    let style = match status.state {
        MemberState::Running => PLAIN,
        MemberState::Starting | MemberState::Backoff | MemberState::Stopping | MemberState::Unknown => WARN,
        MemberState::Stopped => DIM,
        MemberState::Exited | MemberState::Failed => BAD,
    };
    // supervisord's words for a running one repeat its pid and uptime.
    if status.detail.is_empty() || status.state == MemberState::Running {
        return Cell::styled(style, status.state);
    }
    // A moment is no reason.
    let colon = if status.detail.starts_with("since ") { "" } else { ":" };
    Cell::styled(style, format!("{}{colon} {}", status.state, status.detail))
}

/// Fresh, stale, unknown or down.
#[must_use]
pub fn verdict(status: &WorkerStatus) -> Cell {
    match (status.verdict, &status.stale_because) {
        (WorkerVerdict::Fresh, _) => Cell::styled(GOOD, "fresh"),
        (WorkerVerdict::Stale, _) if status.draining => Cell::styled(WARN, "stale, finishing its work"),
        (WorkerVerdict::Stale, Some(StaleBecause::Config(path))) => Cell::styled(WARN, format!("stale: {path}")),
        (WorkerVerdict::Stale, Some(StaleBecause::Command)) => Cell::styled(WARN, "stale: command"),
        (WorkerVerdict::Stale, _) => Cell::styled(WARN, "stale"),
        (WorkerVerdict::Unknown, _) => Cell::styled(WARN, "unknown"),
        (WorkerVerdict::Down, _) => Cell::styled(DIM, "down"),
    }
}
