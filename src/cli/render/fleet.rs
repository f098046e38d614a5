//! Many hosts, for people: what was done, what would be done, what is.

use std::fmt::Write;

use super::board::{colour, is_bad, word};
use super::markdown::{cell, fence};
use super::numbers::{Ran, numbers as numbers_of};
use super::shared::{Shared, shared, troubles};
use super::style::{ADDED, BAD, DIM, GOOD, REMOVED, STRONG, WARN, paint, plain};
use super::table::{Cell, Table, wrap};
use super::words::{count, safe};
use crate::decide::fleet::Wave;
use crate::documents::wire::Summary;
use crate::fleet::groups::{DETAILED, Group, Looked};
use crate::fleet::report::{HostReport, Rolled};
use crate::model::app::App;
use crate::model::fleet::{FleetHost, HostName};
use crate::model::length::took;
use crate::model::report::Outcome;
use crate::model::rollout::{HostVerdict, RolloutOutcome};

/// More hosts than that which were not touched and need nothing are one line.
const SETTLED: usize = 12;
/// Most failed hosts that the first line of a rollout names one by one.
const FAILED: usize = 3;
/// Most hosts that a heading names one by one.
const NAMED: usize = 12;

/// What a rollout came to: one clear line, then host by host, then what went wrong.
#[must_use]
pub fn rolled(app: &App, fleet: &[FleetHost], rolled: &Rolled, width: Option<usize>) -> String {
    let mut text = format!("{}  {}  {}\n", paint(STRONG, &app.name), safe(app.release.id.as_str()), result(rolled));
    if is_left_out(rolled) {
        return text;
    }
    text.push_str(&each(app, &rolled.hosts, width));
    text.push_str(&troubles(&rolled.hosts.iter().collect::<Vec<_>>(), fleet));
    if let Some(told) = rolled.migrations.spared() {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{}: {}", paint(DIM, "note"), safe(&told));
    }
    text
}

/// A line for each host; where too many of them need nothing, these are one.
pub(super) fn each(app: &App, hosts: &[HostReport], width: Option<usize>) -> String {
    let mut text = String::new();
    let settled = |host: &&HostReport| host.verdict == HostVerdict::Settled;
    let quiet = hosts.iter().filter(settled).count();
    let mut table = Table::new(&["HOST", "RELEASE", "STATE", "DONE", "TOOK"]).give_way(&[1]).indented(2);
    for host in hosts.iter().filter(|host| quiet <= SETTLED || !settled(host)) {
        table.row([
            Cell::styled(STRONG, &host.name),
            release(app, host.summary.as_ref()),
            Cell::styled(colour(host.verdict), word(host.verdict)),
            done(host),
            if host.took.is_zero() { Cell::styled(DIM, "-") } else { Cell::new(took(host.took)).right() },
        ]);
    }
    if quiet < hosts.len() || quiet <= SETTLED {
        text.push_str(&table.render(width));
    }
    if quiet > SETTLED && quiet < hosts.len() {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  {}", paint(DIM, format!("{} with nothing to do", count(quiet, "host"))));
    }
    text
}

/// A person wanted no more of it before anything was known of any host.
fn is_left_out(rolled: &Rolled) -> bool {
    rolled.ending.how == RolloutOutcome::Interrupted
        && rolled.hosts.iter().all(|host| host.verdict == HostVerdict::Unseen)
}

fn result(rolled: &Rolled) -> String {
    if is_left_out(rolled) {
        return format!("{}, {} not looked at", paint(WARN, "interrupted"), count(rolled.hosts.len(), "host"));
    }
    let number = |is: &dyn Fn(HostVerdict) -> bool| rolled.hosts.iter().filter(|host| is(host.verdict)).count();
    let all = rolled.hosts.len();
    let changed = number(&|verdict| verdict == HostVerdict::Changed);
    let bad = number(&is_bad);
    let withheld = number(&|verdict| word(verdict) == word(HostVerdict::Withheld));
    let left = number(&|verdict| matches!(verdict, HostVerdict::NotReached | HostVerdict::Unseen));
    let back = number(&|verdict| verdict == HostVerdict::TakenBack);
    let time = took(rolled.took);
    let waves = count(rolled.waves, "wave");
    let mut parts = Vec::new();
    let head = match rolled.ending.how {
        RolloutOutcome::Complete if bad == 0 && rolled.waves == 0 && withheld == 0 => {
            return format!("{}, nothing to do on {}", paint(GOOD, "converged"), count(all, "host"));
        }
        RolloutOutcome::Complete if bad == 0 && rolled.waves == 0 => {
            return format!("{} on {withheld} of {}", paint(WARN, "withheld"), count(all, "host"));
        }
        RolloutOutcome::Complete if bad == 0 => {
            parts.push(format!("{changed} of {} changed in {waves}", count(all, "host")));
            format!("{} in {time}", paint(if withheld > 0 { WARN } else { GOOD }, "converged"))
        }
        RolloutOutcome::Complete => {
            parts.push(format!("{} (`maxFailures` allows it)", not_well(rolled)));
            let well = number(&|verdict| matches!(verdict, HostVerdict::Changed | HostVerdict::Settled));
            format!("{} on {well} of {} in {time}", paint(WARN, "converged"), count(all, "host"))
        }
        RolloutOutcome::NotBegun => {
            let sick = number(&|verdict| verdict == HostVerdict::Refused(Outcome::Unhealthy));
            parts.push(format!("{}; nothing was touched anywhere", hindered(all, bad - sick, sick)));
            paint(BAD, "not begun")
        }
        RolloutOutcome::Stopped => {
            parts.push(format!("{} of {} failed in {waves}", rolled.ending.failed, count(all, "host")));
            format!("{} after {time}", paint(BAD, "stopped"))
        }
        RolloutOutcome::Withheld => {
            parts.push(format!("changes may not be made any more after {waves}"));
            format!("{} after {time}", paint(WARN, "stopped"))
        }
        RolloutOutcome::Interrupted => {
            parts.push(format!("{changed} of {} changed in {waves}", count(all, "host")));
            format!("{} after {time}", paint(WARN, "interrupted"))
        }
    };
    if back > 0 {
        parts.push(format!("{back} taken back"));
    }
    if withheld > 0 {
        parts.push(format!("{withheld} withheld"));
    }
    if left > 0 && rolled.ending.how != RolloutOutcome::NotBegun {
        parts.push(format!("{left} not touched"));
    }
    format!("{head}: {}", parts.join(", "))
}

/// What became of those that a rollout failed on, as `web2 not reached, web4 rolled back`; of many, how many they are.
fn not_well(rolled: &Rolled) -> String {
    let bad: Vec<&HostReport> = rolled.hosts.iter().filter(|host| is_bad(host.verdict)).collect();
    if bad.len() > FAILED {
        return format!("{} failed", count(bad.len(), "host"));
    }
    let told: Vec<String> =
        bad.iter().map(|host| format!("{} {}", safe(host.name.as_str()), word(host.verdict))).collect();
    told.join(", ")
}

/// What kept a rollout of so many hosts from being begun: those that cannot be changed, and those that are only
/// unhealthy.
fn hindered(all: usize, stuck: usize, sick: usize) -> String {
    let (all, are) = (count(all, "host"), if sick == 1 { "is" } else { "are" });
    match (stuck, sick) {
        (0, sick) => format!("{sick} of {all} {are} unhealthy"),
        (stuck, 0) => format!("{stuck} of {all} cannot be changed"),
        (stuck, sick) => format!("{stuck} of {all} cannot be changed, {sick} {are} unhealthy"),
    }
}

fn release(app: &App, summary: Option<&Summary>) -> Cell {
    match summary.filter(|summary| summary.observed) {
        None => Cell::styled(DIM, "unknown"),
        Some(Summary { current: None, .. }) => Cell::styled(WARN, "none"),
        Some(Summary { current: Some(current), .. }) => {
            Cell::styled(if *current == app.release.id { GOOD } else { WARN }, current)
        }
    }
}

fn done(host: &HostReport) -> Cell {
    match (host.done, host.failed) {
        (0, 0) => Cell::styled(DIM, "-"),
        (done, 0) => Cell::new(count(done, "action")),
        (done, failed) => Cell::styled(BAD, format!("{}, {failed} failed", count(done, "action"))),
    }
}

/// What would be done, equal hosts together.
#[must_use]
pub fn looked(app: &App, fleet: &[FleetHost], looked: &Looked, waves: &[Wave], width: Option<usize>) -> String {
    let mut text = format!("{}  {}  {}\n", paint(STRONG, &app.name), safe(app.release.id.as_str()), numbers(looked));
    if let Some(told) = turns(waves) {
        let lines = wrap(&format!("waves: {told}"), width.unwrap_or(usize::MAX));
        text.extend(lines.into_iter().flat_map(|line| [line, "\n".to_owned()]));
    }
    for group in &looked.groups {
        text.push('\n');
        text.push_str(&heading(&group.hosts, width));
        text.push_str(&painted(&shown(group)));
    }
    if let Some(note) = migrations(app, looked) {
        // Writing to a string cannot fail.
        let _ = write!(text, "\n{}: {note}\n", paint(DIM, "note"));
    }
    let silent = troubles(&silent(looked), fleet);
    if !silent.is_empty() {
        text.push('\n');
        text.push_str(&silent);
    }
    text
}

/// Who would change when, as `1 web1 (canary) · 2 web2, web3`; none where nobody would.
fn turns(waves: &[Wave]) -> Option<String> {
    let named = |wave: &Wave| {
        let hosts: Vec<String> = wave.hosts.iter().take(NAMED).map(|host| safe(host.as_str())).collect();
        let more = wave.hosts.len().saturating_sub(NAMED);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        format!("{}{more}{}", hosts.join(", "), if wave.is_canary { " (canary)" } else { "" })
    };
    let mut told: Vec<String> =
        waves.iter().take(NAMED).enumerate().map(|(at, wave)| format!("{} {}", at + 1, named(wave))).collect();
    if let Some(rest) = waves.get(NAMED..).filter(|rest| !rest.is_empty()) {
        told.push(format!("and {} more", rest.len()));
    }
    (!told.is_empty()).then(|| told.join(" · "))
}

/// What no host says by itself: that one of them is to run the migrations, or by whose record nobody is.
fn migrations(app: &App, looked: &Looked) -> Option<String> {
    let drifts = looked.hosts.iter().any(|host| host.verdict == HostVerdict::NotReached);
    if app.release.migrate.is_empty() || !drifts {
        return None;
    }
    let due = || "the first host that changes runs the migrations before the others begin".to_owned();
    Some(looked.migrations().spared().unwrap_or_else(due))
}

/// The same as Markdown, for a comment on a merge request.
#[must_use]
pub fn markdown(app: &App, fleet: &[FleetHost], looked: &Looked, waves: &[Wave]) -> String {
    let mut text = format!("### `{}` → `{}`\n\n{}\n", app.name, app.release.id, plain(&numbers(looked)));
    if let Some(told) = turns(waves) {
        // Writing to a string cannot fail.
        let _ = write!(text, "\nWaves: {}\n", cell(&told));
    }
    for group in &looked.groups {
        let hosts: Vec<String> = group.hosts.iter().map(|host| format!("`{host}`")).collect();
        let told = shown(group);
        let fence = fence(&told);
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "\n<details><summary>{}</summary>\n\n{}\n\n{fence}diff\n{told}{fence}\n\n</details>\n",
            count(group.hosts.len(), "host"),
            hosts.join(", ")
        );
    }
    if let Some(note) = migrations(app, looked) {
        let _ = write!(text, "\nNote: {note}.\n");
    }
    for Shared { host, trouble, others } in shared(&silent(looked), fleet) {
        let causes = trouble.causes.iter().map(|cause| format!("<br>cause: {}", cell(cause)));
        let help = trouble.help.iter().map(|help| format!("<br>help: {}", cell(help)));
        let named: Vec<String> = others.iter().map(|name| format!("`{name}`")).collect();
        let also = (!named.is_empty()).then(|| format!("<br>also: on {}", named.join(", ")));
        let more: String = causes.chain(help).chain(also).collect();
        let _ = write!(text, "\n:warning: `{}`: {}{more}\n", host.name, cell(&trouble.message));
    }
    text
}

/// Those that have not said how they are.
fn silent(looked: &Looked) -> Vec<&HostReport> {
    looked.hosts.iter().filter(|host| host.summary.is_none()).collect()
}

/// What a host says it would do, and whose processes that names.
fn shown(group: &Group) -> String {
    let mut lines = group.shown.text.lines();
    let first = lines.next().unwrap_or_default();
    let rest: String = lines.flat_map(|line| [safe(line), "\n".to_owned()]).collect();
    let first = safe(first);
    if rest.trim().is_empty() || group.hosts.len() < 2 {
        return format!("{first}\n{rest}");
    }
    format!("{first} (as on {})\n{rest}", group.teller)
}

/// Differences in their colours.
fn painted(text: &str) -> String {
    let line = |line: &str| match line.as_bytes().first() {
        Some(b'+') if !line.starts_with("+++") => format!("{}\n", paint(ADDED, line)),
        Some(b'-') if !line.starts_with("---") => format!("{}\n", paint(REMOVED, line)),
        _ => format!("{line}\n"),
    };
    text.lines().map(line).collect()
}

fn heading(hosts: &[HostName], width: Option<usize>) -> String {
    let named: Vec<&str> = hosts.iter().take(NAMED).map(HostName::as_str).collect();
    let more = hosts.len() - named.len();
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let told = format!("{}: {}{more}", count(hosts.len(), "host"), named.join(", "));
    wrap(&told, width.unwrap_or(usize::MAX)).iter().flat_map(|line| [paint(STRONG, line), "\n".to_owned()]).collect()
}

/// `14 hosts: 12 with drift, 1 with nothing to do, 1 not reached`.
fn numbers(looked: &Looked) -> String {
    let mut kinds: Vec<(HostVerdict, usize)> = Vec::new();
    for host in &looked.hosts {
        match kinds.iter_mut().find(|(verdict, _)| *verdict == host.verdict) {
            Some((_, number)) => *number += 1,
            None => kinds.push((host.verdict, 1)),
        }
    }
    kinds.sort_unstable();
    let kind = |(verdict, number): &(HostVerdict, usize)| {
        let word = match verdict {
            HostVerdict::NotReached => "with drift",
            HostVerdict::Settled => "with nothing to do",
            other => word(*other),
        };
        paint(colour(*verdict), format!("{number} {word}"))
    };
    let kinds: Vec<String> = kinds.iter().map(kind).collect();
    format!("{}: {}", count(looked.hosts.len(), "host"), kinds.join(", "))
}

/// What is: a line for each host, then those in full that are not as they should be.
#[must_use]
pub fn status(app: &App, fleet: &[FleetHost], looked: &Looked, width: Option<usize>) -> String {
    let mut text = format!("{}  {}  {}\n", paint(STRONG, &app.name), safe(app.release.id.as_str()), numbers(looked));
    let header = ["HOST", "RELEASE", "WORKERS", "FRESH", "HEALTH", "STATE"];
    let mut table = Table::new(&header).give_way(&[1]).indented(2);
    for host in &looked.hosts {
        let seen = host.summary.as_ref().filter(|summary| summary.observed);
        let state = match host.verdict {
            HostVerdict::Settled => Cell::styled(GOOD, "ready"),
            HostVerdict::NotReached => Cell::styled(WARN, "drift"),
            other => Cell::styled(colour(other), word(other)),
        };
        let [workers, fresh] = workers(seen);
        table.row([Cell::styled(STRONG, &host.name), release(app, seen), workers, fresh, health(seen), state]);
    }
    text.push_str(&table.render(width));
    for (at, detail) in looked.details.iter().take(DETAILED) {
        let Some(host) = looked.hosts.get(*at) else { continue };
        // Writing to a string cannot fail.
        let _ = write!(text, "\n{}", heading(std::slice::from_ref(&host.name), width));
        text.extend(detail.lines().map(|line| format!("{}\n", safe(line))));
    }
    let more = looked.details.len().saturating_sub(DETAILED);
    if more > 0 {
        let hint = format!(
            "and {} that {} not as it should be; `--hosts NAME` shows one",
            count(more, "host"),
            if more == 1 { "is" } else { "are" }
        );
        let _ = writeln!(text, "\n{}", paint(DIM, hint));
    }
    let silent = troubles(&silent(looked), fleet);
    if !silent.is_empty() {
        text.push('\n');
        text.push_str(&silent);
    }
    text
}

/// How many workers run of those that are wanted, and how many of those that run are fresh.
fn workers(seen: Option<&Summary>) -> [Cell; 2] {
    match seen {
        None | Some(Summary { desired: 0, running: 0, .. }) => numbers_of(0, None, true),
        Some(Summary { desired, running, fresh, .. }) => {
            let wanted = *running.min(desired);
            let ran = Ran { wanted, beyond: running - wanted, fresh: *fresh };
            numbers_of(*desired, Some(ran), fresh == desired && running == desired)
        }
    }
}

fn health(seen: Option<&Summary>) -> Cell {
    match seen.map(|summary| summary.healthy) {
        None | Some(None) => Cell::styled(DIM, "-"),
        Some(Some(true)) => Cell::styled(GOOD, "healthy"),
        Some(Some(false)) => Cell::styled(BAD, "unhealthy"),
    }
}

#[cfg(test)]
#[path = "fleet_tests.rs"]
mod tests;
