//! The doctor: which known traps lie on this host for these Apps, and what puts each right.
//!
//! In: an App and what was read of the host. Out: findings, the worst first. Each file judges one subject; [`host`] and
//! [`app`] put them together. What could not be read is said as unknown, never as well.

mod command;
mod disk;
mod env;
mod health;
mod layout;
mod machine;
mod nginx;
mod own;
mod php;
pub mod programs;
mod rights;
mod supervisord;
mod systemd;

use crate::model::app::App;
use crate::model::facts::{AppFacts, HostFacts};
use crate::model::finding::{Finding, Severity};

/// What is to be said of the host, whatever the App.
#[must_use]
pub fn host(facts: &HostFacts, apps: &[&App]) -> Vec<Finding> {
    let found = [machine::findings(facts), own::findings(facts, apps)];
    worst_first(found.into_iter().flatten().collect())
}

/// What is to be said of one App.
#[must_use]
pub fn app(app: &App, host: &HostFacts, facts: &AppFacts) -> Vec<Finding> {
    let found = [
        layout::findings(app, host, facts),
        disk::findings(app, facts),
        programs::findings(facts),
        rights::findings(facts),
        supervisord::findings(app, host, facts),
        systemd::findings(app, host, facts),
        nginx::findings(app, host),
        php::findings(app, host, facts),
        health::findings(app, facts),
        env::findings(app).into_iter().collect(),
    ];
    worst_first(found.into_iter().flatten().collect())
}

/// The exit code: 3 for an error, 2 for a warning or what could not be told, else 0.
#[must_use]
pub fn exit_code<'a>(findings: impl IntoIterator<Item = &'a Finding>) -> u8 {
    match findings.into_iter().map(|finding| finding.severity).max() {
        Some(Severity::Error) => 3,
        Some(Severity::Warning | Severity::Unknown) => 2,
        Some(Severity::Note | Severity::Ok) | None => 0,
    }
}

fn worst_first(mut findings: Vec<Finding>) -> Vec<Finding> {
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    findings
}

#[cfg(test)]
mod manager_tests;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod web_tests;
