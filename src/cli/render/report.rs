//! What a pass did, for people: one clear line for each App, then what was done, what is left, what is wrong.
//!
//! A settled App is one quiet line.

use std::borrow::Cow;

use super::health;
use super::preview::{kept_out, trouble};
use super::problem::Complaint;
use super::style::{BAD, DIM, GOOD, PLAIN, STRONG, WARN, paint};
use super::table::{Cell, Table};
use super::withheld;
use super::words::{count, safe};
use crate::decide::aim::aimed;
use crate::decide::explain;
use crate::decide::plan::plan_for;
use crate::model::action::Action;
use crate::model::app::App;
use crate::model::drift::Difference;
use crate::model::length::took;
use crate::model::report::{Outcome, PassReport, Problem};

/// The report of one pass, in colour, in at most `width` columns where that is possible.
#[must_use]
pub fn report(app: &App, report: &PassReport, width: Option<usize>) -> String {
    let mut text = {
        let release = safe(report.release.as_str());
        format!("{}  {release}  {}\n", paint(STRONG, &report.app), result(app, report))
    };
    if !report.tried.is_empty() {
        text.push_str(&done(report).render(width));
    }
    let wish = app;
    let aimed = report.after.as_ref().map_or(Cow::Borrowed(wish), |after| aimed(wish, &after.aim));
    let app = &*aimed;
    let left = left(app, report);
    if !left.is_empty() {
        text.push_str("  ");
        text.push_str(&paint(DIM, "left to do"));
        text.push('\n');
        text.push_str(&left.render(width));
    }
    if let Some(after) = &report.after {
        text.push_str(&kept_out(wish, after));
    }
    let problems = problems(app, report, &text);
    text.push_str(&problems);
    if let Some(withheld) = report.withheld.as_ref().filter(|_| report.outcome == Outcome::Withheld) {
        text.push_str(&withheld::way_out(wish, withheld));
    }
    text
}

fn result(app: &App, report: &PassReport) -> String {
    let time = if report.tried.is_empty() { String::new() } else { format!(" in {}", took(report.took)) };
    match report.outcome {
        Outcome::Converged if report.tried.is_empty() => {
            format!("{}, nothing to do{}", paint(GOOD, "converged"), suspended(app, report))
        }
        Outcome::Converged => {
            format!("{}{time}, {}", paint(GOOD, "converged"), count(report.tried.len(), "action"))
        }
        Outcome::Drift => {
            let actions = plan_for(app, &report.remaining).steps.len();
            paint(WARN, format!("{} would close the drift", count(actions, "action")))
        }
        Outcome::Withheld => {
            let now = report.after.as_ref().map_or(report.began, |after| after.at);
            let why = report.withheld.as_ref().map(|why| withheld::why(why, now)).unwrap_or_default();
            format!("{}: {why}", paint(WARN, "drift withheld"))
        }
        Outcome::Unhealthy => format!("{}{time}: the host is as it should be", paint(BAD, "not healthy")),
        Outcome::RolledBack => {
            format!("{}{time}: {} is kept out", paint(BAD, "rolled back"), safe(app.release.id.as_str()))
        }
        Outcome::Quarantined if report.tried.is_empty() => {
            format!("{}: nothing is tried again", paint(BAD, "quarantined"))
        }
        Outcome::Quarantined => {
            format!("{}{time}: {} is kept out", paint(BAD, "quarantined"), safe(app.release.id.as_str()))
        }
        Outcome::Failed => format!("{}{time}", paint(BAD, "failed")),
        Outcome::Interrupted => format!("{}{time}: the next pass goes on from here", paint(WARN, "interrupted")),
    }
}

/// That nothing would be done if there were something to do, as `(suspended: moving the database)`.
fn suspended(app: &App, report: &PassReport) -> String {
    let here = report.after.as_ref().or(report.before.as_ref()).and_then(|seen| seen.suspended.as_deref());
    let why = here.or(app.sync.reason.as_deref().filter(|_| app.sync.suspend));
    let told = match why {
        Some(why) => format!("(suspended: {})", safe(why)),
        None if app.sync.suspend => "(suspended)".to_owned(),
        None => return String::new(),
    };
    format!(" {}", paint(WARN, told))
}

/// What was tried: verb, target, why, took.
fn done(report: &PassReport) -> Table {
    let mut table = Table::new(&[]).give_way(&[2]).indented(2);
    for tried in &report.tried {
        let style = if tried.problem.is_some() { BAD } else { PLAIN };
        let end = if tried.problem.is_some() { "failed, " } else { "" };
        table.row([
            Cell::styled(style, tried.action.verb()),
            Cell::styled(style, target(&tried.action)),
            Cell::styled(DIM, &tried.reason),
            Cell::styled(style, format!("{end}{}", took(tried.took))).right(),
        ]);
    }
    table
}

/// What a plan made now would do; what no action closes is said among the problems.
fn left(app: &App, report: &PassReport) -> Table {
    let mut table = Table::new(&[]).give_way(&[2]).indented(4);
    // Blocked or not: what is left is worth knowing.
    let open = Difference { blockers: Vec::new(), ..report.remaining.clone() };
    for step in plan_for(app, &open).steps {
        table.row([Cell::new(step.action.verb()), Cell::new(target(&step.action)), Cell::styled(DIM, step.reason)]);
    }
    table
}

/// What an action acts on.
pub(super) fn target(action: &Action) -> String {
    match action {
        Action::LiftQuarantine { id }
        | Action::FetchRelease { id }
        | Action::LinkShared { id }
        | Action::RunStage { id, .. }
        | Action::ProveRelease { id }
        | Action::PruneRelease { id } => format!("releases/{id}"),
        Action::RenewService { service, .. } => service.to_string(),
        Action::SwitchCurrent { to } => format!("current → {to}"),
        Action::ApplyConfig { group, path } => format!("{path} to {group}"),
        Action::StartWorker { member, .. }
        | Action::RestartWorker { member, .. }
        | Action::StopWorker { member, .. }
        | Action::EnableWorker { member, .. } => member.to_string(),
        Action::StopStray { process } => process.to_string(),
    }
}

/// Actions of one sort that failed for one cause.
struct Failed<'r> {
    first: &'r Action,
    /// What they act on, each named once.
    targets: Vec<String>,
    times: usize,
    cause: &'r str,
    /// How the first of them failed.
    problem: &'r Problem,
}

impl Failed<'_> {
    /// How many are named at most.
    const NAMED: usize = 4;

    fn message(&self) -> String {
        let mut text = format!("could not {}", self.first);
        for target in self.targets.iter().take(Self::NAMED).skip(1) {
            text = format!("{text}, {target}");
        }
        let more = self.targets.len().saturating_sub(Self::NAMED);
        if more > 0 {
            text = format!("{text} and {more} more");
        }
        if self.times > self.targets.len() {
            text = format!("{text}, in {}", count(self.times, "attempt"));
        }
        text
    }
}

/// What failed, equal causes together: whoever misspelt one command reads of it once.
fn failed(report: &PassReport) -> Vec<Failed<'_>> {
    let mut all: Vec<Failed<'_>> = Vec::new();
    for tried in &report.tried {
        let Some(problem) = &tried.problem else { continue };
        let (action, target) = (&tried.action, target(&tried.action));
        // The message names the action, too; once is enough.
        let named = format!("{action}: ");
        let cause = problem.message.strip_prefix(&named).unwrap_or(&problem.message);
        match all.iter_mut().find(|failed| failed.first.verb() == action.verb() && failed.cause == cause) {
            Some(failed) => {
                failed.times += 1;
                if !failed.targets.contains(&target) {
                    failed.targets.push(target);
                }
            }
            None => all.push(Failed { first: action, targets: vec![target], times: 1, cause, problem }),
        }
    }
    all
}

/// What went wrong, and is not in what was `said` already.
fn problems(app: &App, report: &PassReport, said: &str) -> String {
    let mut text = String::new();
    for tried in &report.tried {
        for note in &tried.notes {
            text.push_str(&Complaint::new(format!("{}: {note}", tried.action)).render_as_warning());
        }
    }
    for failed in failed(report) {
        let complaint = Complaint::new(failed.message()).cause(failed.cause).untold(said);
        text.push_str(&Complaint { help: failed.problem.help.clone(), ..complaint }.render());
    }
    let mut told: Vec<&Problem> = report.tried.iter().filter_map(|tried| tried.problem.as_ref()).collect();
    for problem in &report.problems {
        if !told.contains(&problem) {
            told.push(problem);
            text.push_str(&Complaint::from(problem).render());
        }
    }
    text.push_str(&trouble(app, &report.remaining));
    for warning in report.after.iter().flat_map(|after| explain::warnings(app, after)) {
        text.push_str(&Complaint::from(&warning).render_as_warning());
    }
    let sick = report.after.as_ref().and_then(|after| health::complaint(app, after, Some(report.health_attempts)));
    if let Some(complaint) = sick.map(|complaint| complaint.untold(said).untold(&text)) {
        let outcome_is_about_it = report.outcome == Outcome::Unhealthy;
        text.push_str(&if outcome_is_about_it { complaint.render() } else { complaint.render_as_warning() });
    }
    text
}

/// The App whose host could not be looked at.
#[must_use]
pub fn unobserved(report: &PassReport) -> String {
    let mut text =
        format!("{}  {}  {}\n", paint(STRONG, &report.app), safe(report.release.as_str()), paint(BAD, "not observed"));
    for problem in &report.problems {
        text.push_str(&Complaint::from(problem).render());
    }
    text
}
