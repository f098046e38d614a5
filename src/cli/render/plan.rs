//! A plan as numbered steps: what, together with which others, why, and what exactly would be done.

use std::fmt::Write;
use std::ops::RangeInclusive;

use super::style::{DIM, STRONG, paint};
use super::table::{NARROWEST, wrap};
use super::words::safe;
use crate::model::action::{Action, Plan, Step};
use crate::model::app::{App, Manager, WorkerGroup};
use crate::model::length::limit;
use crate::model::names::GroupName;
use crate::model::process::ProcessId;
use crate::model::release::Source;
use crate::model::service::{Renewal, ServiceManager};

/// The steps, numbered from 1; empty when there are none. In colour, in at most `width` columns where that
/// is possible.
#[must_use]
pub fn plan(app: &App, plan: &Plan, width: Option<usize>) -> String {
    let mut text = String::new();
    let digits = plan.steps.len().to_string().len();
    for (number, step) in (1..).zip(&plan.steps) {
        let margin = " ".repeat(digits + 4);
        let when =
            when(app, &plan.steps, number, step).map(|when| format!("  {}", paint(DIM, when))).unwrap_or_default();
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  {number:>digits$}  {}{when}", paint(STRONG, safe(&step.action.to_string())));
        for (word, told) in [("why", safe(&step.reason)), ("how", safe(&how(app, &step.action)))] {
            let room =
                width.map_or(usize::MAX, |width| width.saturating_sub(margin.len() + word.len() + 1).max(NARROWEST));
            let lines = wrap(&told, room).join(&format!("\n{margin}{:1$} ", "", word.len()));
            let _ = writeln!(text, "{margin}{} {lines}", paint(DIM, word));
        }
    }
    text
}

/// Which steps a step goes together with, or which it waits for.
#[must_use]
pub fn when(app: &App, steps: &[Step], number: usize, step: &Step) -> Option<String> {
    let same = |other: &Step| (other.phase, other.turn) == (step.phase, step.turn);
    let others: Vec<usize> =
        (1..).zip(steps).filter(|(at, other)| *at != number && same(other)).map(|(at, _)| at).collect();
    let together = (!others.is_empty()).then(|| format!("together with {}", numbers(&others)));
    if step.turn == 0 {
        return together;
    }
    let at_once = step.action.group().and_then(|group| app.group(group)).map_or(1, WorkerGroup::unavailable_limit);
    let later = format!("later: at most {at_once} of its group may be away at once");
    Some(together.map_or_else(|| later.clone(), |together| format!("{together}; {later}")))
}

/// `2`, `2 and 4`, `2-5 and 7`.
fn numbers(numbers: &[usize]) -> String {
    let mut runs: Vec<RangeInclusive<usize>> = Vec::new();
    for &number in numbers {
        match runs.last_mut() {
            Some(run) if run.end() + 1 == number => *run = *run.start()..=number,
            _ => runs.push(number..=number),
        }
    }
    let runs: Vec<String> = runs
        .iter()
        .flat_map(|run| match run.end() - run.start() {
            0 => vec![run.start().to_string()],
            1 => vec![run.start().to_string(), run.end().to_string()],
            _ => vec![format!("{}-{}", run.start(), run.end())],
        })
        .collect();
    match runs.as_slice() {
        [most @ .., last] if !most.is_empty() => format!("{} and {last}", most.join(", ")),
        _ => runs.concat(),
    }
}

/// What exactly an action does to this host.
#[must_use]
pub fn how(app: &App, action: &Action) -> String {
    match action {
        Action::LiftQuarantine { id } => format!("note that {id} may be tried again"),
        Action::FetchRelease { id } => {
            let to = app.root.release(id);
            match &app.release.source {
                Some(Source::Dir { path }) => format!("copy {} to {}", path.display(), to.display()),
                Some(source @ Source::Git { .. }) => format!("check out {source} into {}", to.display()),
                Some(source @ Source::Archive { .. }) => format!("unpack {source} into {}", to.display()),
                None => "bring it from its source".to_owned(),
            }
        }
        Action::LinkShared { id } => {
            let shared = app.root.path().join("shared");
            format!("link what {} has into {}", shared.display(), app.root.release(id).display())
        }
        Action::RunStage { id, stage } => {
            let steps: Vec<String> = stage.steps(&app.release).iter().map(|step| format!("`{}`", step.run)).collect();
            format!("run {} in {}", steps.join(", then "), app.root.release(id).display())
        }
        Action::RenewService { service, how } => renewal(app, service, *how),
        Action::ProveRelease { id } => match &app.health {
            Some(contract) => format!(
                "ask for health up to {} times, and see every worker last; then note that {id} is good",
                contract.attempts
            ),
            None => format!("see every worker last; then note that {id} is good"),
        },
        Action::PruneRelease { id } => format!("remove {}", app.root.release(id).display()),
        Action::SwitchCurrent { to } => {
            format!("rename a fresh link over {} → releases/{to}", app.root.current().display())
        }
        Action::ApplyConfig { group, path } => {
            let step = app.restart_on(group).iter().find(|one| one.path == *path);
            match step.and_then(|step| step.run.as_ref()) {
                Some(run) => format!("run `{run}` in the release, then note that {group} knows this content of {path}"),
                None => format!("note that {group} knows this content of {path}"),
            }
        }
        Action::StartWorker { group, .. } => match manager(app, group) {
            Some(Manager::Supervisord(_)) => "supervisord starts it; wait until it runs".to_owned(),
            Some(Manager::Systemd(_)) => "systemd starts and enables the unit; wait until it runs".to_owned(),
            Some(Manager::Builtin(builtin)) => format!("start `{}` in the release; wait until it runs", builtin.run),
            None => "start it".to_owned(),
        },
        Action::RestartWorker { group, process, .. } => restarted(app, group, *process),
        Action::StopWorker { group, .. } => stopped(app, group),
        Action::EnableWorker { .. } => "systemd enables the unit, so that it starts at boot".to_owned(),
        Action::StopStray { process } => {
            format!("SIGTERM to {process}, wait up to {}, then SIGKILL", limit(app.stray_grace()))
        }
    }
}

fn manager<'a>(app: &'a App, group: &GroupName) -> Option<&'a Manager> {
    app.group(group).map(|group| &group.manager)
}

fn patience(app: &App, group: &GroupName) -> String {
    app.group(group).map_or_else(|| "a while".to_owned(), |group| limit(group.stop_timeout))
}

fn restarted(app: &App, group: &GroupName, process: Option<ProcessId>) -> String {
    let whom = process.map_or_else(|| "its process".to_owned(), |process| process.to_string());
    let time = patience(app, group);
    let replaced = match manager(app, group) {
        Some(Manager::Supervisord(_)) => format!(
            "send {whom} its stop signal, wait up to {time} for its job, then kill it; supervisord starts its successor"
        ),
        Some(Manager::Systemd(_)) => {
            format!(
                "systemd restarts the unit: {whom} has up to {time} for its job, less if its `TimeoutStopSec` is shorter"
            )
        }
        Some(Manager::Builtin(builtin)) => format!(
            "SIGTERM to {whom}, wait up to {time} for its job, then SIGKILL; start `{}` in the release",
            builtin.run
        ),
        None => "restart it".to_owned(),
    };
    drained(app, group) + &replaced
}

fn stopped(app: &App, group: &GroupName) -> String {
    let time = patience(app, group);
    let stopped = match manager(app, group) {
        Some(Manager::Supervisord(_)) => {
            format!("supervisord stops it: up to {time} for its job, less if its `stopwaitsecs` is shorter")
        }
        Some(Manager::Systemd(_)) => {
            format!(
                "systemd stops and disables the unit: up to {time} for its job, less if its `TimeoutStopSec` is shorter"
            )
        }
        Some(Manager::Builtin(_)) | None => format!("SIGTERM, wait up to {time} for its job, then SIGKILL"),
    };
    drained(app, group) + &stopped
}

/// What is run before a group loses workers; once, for all that go together.
fn drained(app: &App, group: &GroupName) -> String {
    let drain = app.group(group).and_then(|group| group.drain.as_ref());
    drain.map_or_else(String::new, |drain| {
        let (run, time) = (&drain.run, limit(drain.timeout));
        format!("run `{run}` once in the release, up to {time}, so that workers of {group} finish by themselves; then ")
    })
}

/// What exactly renewing a service does.
fn renewal(app: &App, service: &GroupName, how: Renewal) -> String {
    let wanted = app.services.iter().find(|wanted| wanted.name == *service).map(|wanted| &wanted.manager);
    match (wanted, how) {
        (Some(ServiceManager::Systemd { unit }), Renewal::Reload) => {
            format!("systemd reloads {unit}; wait until its processes are new")
        }
        (Some(ServiceManager::Systemd { unit }), Renewal::Restart) => format!("systemd restarts {unit}"),
        (Some(ServiceManager::Supervisord(program)), _) => {
            format!("supervisord replaces the processes of {}", program.group)
        }
        (Some(ServiceManager::Command { reload: Some(run), user, .. }), Renewal::Reload)
        | (Some(ServiceManager::Command { restart: Some(run), user, .. }), Renewal::Restart) => {
            let whom = user.as_ref().map(|user| format!(" as {user}")).unwrap_or_default();
            format!("run `{run}`{whom}")
        }
        (Some(ServiceManager::Command { .. }) | None, _) => format!("{} it", how.word()),
    }
}

#[cfg(test)]
mod tests {
    use super::numbers;

    #[test]
    fn step_numbers_are_listed_in_runs() {
        let rows: [(&[usize], &str); 6] = [
            (&[2], "2"),
            (&[2, 3], "2 and 3"),
            (&[2, 4], "2 and 4"),
            (&[2, 3, 4], "2-4"),
            (&[2, 3, 4, 7], "2-4 and 7"),
            (&[1, 3, 4, 5, 9], "1, 3-5 and 9"),
        ];
        for (given, expected) in rows {
            assert_eq!(numbers(given), expected);
        }
    }
}
