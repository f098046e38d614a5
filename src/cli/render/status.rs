//! The state of Apps, for people: one table for all, then each App with its workers.

use std::fmt::Write;

use jiff::Timestamp;

use super::evidence::{pid, state as member_state, verdict};
use super::numbers::{Ran, numbers};
use super::problem::Complaint;
use super::style::{BAD, DIM, GOOD, STRONG, WARN, paint};
use super::table::{Cell, Table};
use super::withheld;
use super::words::{count, runs, safe};
use crate::model::app::App;
use crate::model::length::age;
use crate::model::observed::{Aim, Link};
use crate::model::record::Judge;
use crate::model::report::Problem;
use crate::model::status::{AppStatus, Condition, ConditionType, GroupNumbers, GroupStatus, Reason, Truth};
use crate::model::sync::Withheld;

/// An App, its status, and what stands in its way.
pub struct Entry<'a> {
    /// The App.
    pub app: &'a App,
    /// Its status.
    pub status: &'a AppStatus,
    /// What is wrong and no action closes, or why the host could not be looked at.
    pub problems: Vec<Problem>,
}

/// The table of all Apps and the details of each, in colour, in at most `width` columns where that is possible.
#[must_use]
pub fn status(entries: &[Entry<'_>], width: Option<usize>) -> String {
    let mut text = overview(entries).render(width);
    for entry in entries {
        text.push('\n');
        text.push_str(&details(entry, width));
    }
    text
}

fn overview(entries: &[Entry<'_>]) -> Table {
    let header = ["APP", "RELEASE", "DESIRED", "WORKERS", "FRESH", "HEALTH", "SINCE", "STATE"];
    let mut table = Table::new(&header).give_way(&[1]);
    for Entry { app, status, .. } in entries {
        let right = status.last_applied_revision.as_ref() == Some(&app.release.id);
        let [workers, fresh] = workers(status);
        let release = status.current.as_ref().map_or_else(|| "unknown".to_owned(), Link::to_string);
        table.row([
            Cell::styled(STRONG, &app.name),
            Cell::styled(if right { GOOD } else { WARN }, release),
            Cell::new(&app.release.id),
            workers,
            fresh,
            health(status),
            match (status.current_since, status.observed_at) {
                (Some(since), Some(now)) => Cell::new(age(since, now)),
                _ => Cell::styled(DIM, "-"),
            },
            state(status),
        ]);
    }
    table
}

/// What there is to be said of an App in a word or two: what takes a person first, then why nobody acts, then what goes
/// on.
fn state(status: &AppStatus) -> Cell {
    let holds = |of| status.condition(of).filter(|condition| condition.status == Truth::True);
    let ready = status.condition(ConditionType::Ready);
    let stalled = holds(ConditionType::Stalled).map(|stalled| stalled.reason);
    let (style, word) = match () {
        () if stalled == Some(Reason::Orphaned) => (WARN, "orphaned"),
        () if status.observed_at.is_none() => (BAD, "unknown"),
        () if status.aim.as_ref().is_some_and(|aim| *aim != Aim::Desired) => (BAD, "kept out"),
        () if stalled == Some(Reason::CrashLoop) || ready.is_some_and(|ready| ready.reason == Reason::CrashLoop) => {
            (BAD, "crash loop")
        }
        () if stalled.is_some_and(|why| why != Reason::ManifestsRefused) => (BAD, "stalled"),
        () if status.suspended.is_some() => (WARN, "suspended"),
        () if status.at_work.is_some() => (WARN, "at work"),
        () if holds(ConditionType::Reconciling).is_some() => (WARN, "settling"),
        () if ready.is_some_and(|ready| ready.reason == Reason::OutsideWindow) => (WARN, "outside window"),
        () if ready.is_some_and(|ready| is_left(ready.reason)) => (WARN, "withheld"),
        () if ready.is_some_and(|ready| ready.reason == Reason::HealthCheckFailed) => (BAD, "not healthy"),
        () if ready.is_some_and(|ready| ready.status == Truth::Unknown) => (WARN, "unknown"),
        () if !status.is(ConditionType::Ready) => (WARN, "drift"),
        () if stalled.is_some() => (WARN, "manifests refused"),
        () => (GOOD, "ready"),
    };
    Cell::styled(style, word)
}

/// There is drift, and nobody closes it.
fn is_left(reason: Reason) -> bool {
    matches!(reason, Reason::NotAutomatic | Reason::NoSelfHeal | Reason::TooManyCorrections)
}

/// How many workers run of those that are wanted, and how many of those that run are fresh.
fn workers(status: &AppStatus) -> [Cell; 2] {
    let desired = status.workers.iter().map(|group| group.desired).sum();
    if status.workers.is_empty() {
        return numbers(0, None, true);
    }
    let seen = status.workers.iter().map(|group| Some((group.desired, group.numbers?)));
    let seen = seen.collect::<Option<Vec<_>>>().map(|groups| {
        let sum =
            |of: fn(u32, GroupNumbers) -> u32| groups.iter().map(|(desired, numbers)| of(*desired, *numbers)).sum();
        Ran {
            wanted: sum(|desired, numbers| numbers.running.min(desired)),
            beyond: sum(|desired, numbers| numbers.running.saturating_sub(desired)),
            fresh: sum(|_, numbers| numbers.fresh),
        }
    });
    numbers(desired, seen, status.is(ConditionType::WorkersCurrent))
}

fn health(status: &AppStatus) -> Cell {
    match (&status.health, status.condition(ConditionType::Healthy).map(|one| one.status)) {
        (Some(_), Some(Truth::True)) => Cell::styled(GOOD, "healthy"),
        (Some(_), Some(Truth::False)) => Cell::styled(BAD, "unhealthy"),
        (None, _) if status.observed_at.is_some() => Cell::styled(DIM, "-"),
        _ => Cell::styled(WARN, "unknown"),
    }
}

fn details(entry: &Entry<'_>, width: Option<usize>) -> String {
    let Entry { app, status, problems } = entry;
    let mut text = format!("{}  {}\n", paint(STRONG, &app.name), paint(DIM, safe(&app.root.to_string())));
    if app.sync.suspend {
        let suspended = paint(WARN, "suspended: no pass changes anything while `sync.suspend` is true");
        let why = app.sync.reason.as_ref().map(|why| paint(DIM, format!("  {}", safe(why)))).unwrap_or_default();
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  {suspended}{why}");
    }
    text.push_str(&conditions(status, problems).render(width));
    if let Some(now) = status.observed_at {
        text.push_str(&withheld::windows(app, now));
        match &status.withheld {
            None | Some(Withheld::Suspended { .. } | Withheld::OutsideWindow { .. }) => {}
            Some(other) => {
                // Writing to a string cannot fail.
                let _ = writeln!(text, "  {} {}", paint(WARN, "withheld"), paint(DIM, withheld::why(other, now)));
            }
        }
    }
    if let Some(why) = status.suspended.as_ref().filter(|_| !app.sync.suspend) {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  {} {}", paint(WARN, "suspended"), paint(DIM, safe(why)));
    }
    if !status.services.is_empty() {
        text.push_str(&services(status).render(width));
    }
    if let Some(now) = status.observed_at {
        for group in &status.workers {
            text.push_str(&heading(group));
            if !group.members.is_empty() {
                text.push_str(&members(status, group, now).render(width));
            }
        }
    }
    if let Some(link) = status.current.as_ref().filter(|_| !status.strays.is_empty()) {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  {}", paint(WARN, count(status.strays.len(), "stray")));
        let mut table = Table::new(&["PID", "RUNS", "SEEN", "COMMAND"]).give_way(&[3, 2]).indented(4);
        for stray in &status.strays {
            table.row([
                Cell::new(stray.process.pid).right(),
                Cell::new(runs(&stray.evidence, link)),
                Cell::new(&stray.evidence.seen),
                Cell::new(&stray.command),
            ]);
        }
        text.push_str(&table.render(width));
    }
    for problem in problems {
        let complaint = Complaint::from(problem);
        text.push_str(&if is_wished(app, status, problem) {
            complaint.render_as_warning()
        } else {
            complaint.render()
        });
    }
    text
}

/// It is what a person has wanted: a release was taken back.
fn is_wished(app: &App, status: &AppStatus, problem: &Problem) -> bool {
    let by_hand = status.quarantine.as_ref().is_some_and(|quarantine| quarantine.by == Judge::Operator);
    by_hand && problem.message.starts_with(&format!("release `{}` was taken back at ", app.release.id))
}

/// In place of what a problem below says in full.
const BELOW: &str = "see below";

/// All conditions that say something beyond "all is well", and beyond what Ready says. What a problem below says in
/// full is left to it.
fn conditions(status: &AppStatus, problems: &[Problem]) -> Table {
    let told = |condition: &Condition| problems.iter().any(|problem| problem.message.contains(&condition.message));
    let mut table = Table::new(&[]).give_way(&[3]).indented(2);
    let ready = status.condition(ConditionType::Ready).map(|ready| (ready.reason, &ready.message));
    let says_something = |condition: &&Condition| match condition.of {
        ConditionType::Ready => true,
        _ if ready == Some((condition.reason, &condition.message)) => false,
        ConditionType::WorkersCurrent => condition.status != Truth::True,
        ConditionType::Healthy => condition.status != Truth::True && status.health.is_some(),
        ConditionType::Reconciling | ConditionType::Stalled => condition.status == Truth::True,
    };
    for condition in status.conditions.iter().filter(says_something) {
        let bad_when_true = matches!(condition.of, ConditionType::Stalled | ConditionType::Reconciling);
        let style = match condition.status {
            Truth::True if bad_when_true => WARN,
            Truth::True => GOOD,
            Truth::False => BAD,
            Truth::Unknown => WARN,
        };
        table.row([
            Cell::new(condition.of),
            Cell::styled(style, condition.status),
            Cell::new(condition.reason),
            Cell::styled(DIM, if told(condition) { BELOW } else { &condition.message }),
        ]);
    }
    table
}

/// The services, with what each serves.
fn services(status: &AppStatus) -> Table {
    let mut table = Table::new(&["SERVICE", "STATE", "SERVES", "RENEWED"]).give_way(&[1]).indented(2);
    for service in &status.services {
        let state = match (&service.unreadable, service.up) {
            (Some(_), _) => Cell::styled(WARN, "cannot be observed"),
            (None, Some(true)) => Cell::new(if service.detail.is_empty() { "up" } else { &service.detail }),
            (None, _) => Cell::styled(WARN, if service.detail.is_empty() { "down" } else { &service.detail }),
        };
        let serves = match (service.up, service.current) {
            // Nothing is in force that it could serve.
            _ if status.last_applied_revision.is_none() => Cell::styled(DIM, "-"),
            (Some(true), Some(true)) => Cell::styled(GOOD, "current"),
            (Some(true), Some(false)) => Cell::styled(WARN, "another release"),
            _ => Cell::styled(DIM, "-"),
        };
        let renewed = match (service.renewed, status.observed_at) {
            (Some(renewed), Some(now)) => Cell::new(age(renewed, now)),
            _ => Cell::styled(DIM, "-"),
        };
        table.row([Cell::styled(STRONG, &service.name), state, serves, renewed]);
        if let Some(why) = &service.unreadable {
            table.note(Cell::styled(DIM, &why.message));
        }
    }
    table
}

fn heading(group: &GroupStatus) -> String {
    let numbers = match (&group.numbers, &group.unreadable) {
        (Some(numbers), _) if numbers.running > group.desired => {
            format!("{} run, {} wanted", numbers.running, group.desired)
        }
        (Some(numbers), _) => format!("{} of {} fresh", numbers.fresh, group.desired),
        (None, Some(why)) => format!("cannot be observed: {}", safe(&why.message)),
        (None, None) => "not observed".to_owned(),
    };
    format!("  {} {}\n", group.name, paint(DIM, format!("({}) {numbers}", group.manager)))
}

fn members(status: &AppStatus, group: &GroupStatus, now: Timestamp) -> Table {
    let mut table = Table::new(&["MEMBER", "PID", "RUNS", "RUNG", "UP", "STATE", "VERDICT"]).give_way(&[5]).indented(4);
    for member in &group.members {
        let running = member.process.is_some() && member.started.is_some();
        let link = status.current.as_ref().filter(|_| member.process.is_some() || member.state.is_up());
        table.row([
            Cell::new(&member.member),
            pid(member),
            link.map_or_else(|| Cell::styled(DIM, "-"), |link| Cell::new(runs(&member.evidence, link))),
            member.evidence.rung.map_or_else(|| Cell::styled(DIM, "-"), Cell::new),
            match member.started.filter(|_| running) {
                Some(started) => Cell::new(age(started, now)).right(),
                None => Cell::styled(DIM, "-").right(),
            },
            member_state(member),
            verdict(member),
        ]);
    }
    table
}
