//! Why an App is not healthy: the rules that do not hold, with the values that were seen.

use super::problem::Complaint;
use super::words::count;
use crate::model::app::App;
use crate::model::health::{HealthContract, HealthVerdict, Probe, RuleVerdict};
use crate::model::observed::Observed;
use crate::model::release::public;

/// What is wrong with the App's health, by the release that is in force; none when it is healthy or was not asked, or
/// when none ever was in force. `attempts`: how often it was asked, where that matters.
#[must_use]
pub fn complaint(app: &App, observed: &Observed, attempts: Option<u32>) -> Option<Complaint> {
    let sick = |verdict: &&HealthVerdict| !verdict.healthy;
    let verdict = observed.health_in_force().filter(sick)?;
    let after = match attempts.map(|attempts| usize::try_from(attempts).unwrap_or(usize::MAX)) {
        None | Some(0 | 1) => String::new(),
        Some(attempts) => format!(" after {}", count(attempts, "attempt")),
    };
    let mut complaint = Complaint::new(format!("{} is not healthy{after}", app.name));
    if let Some(failure) = &verdict.failure {
        complaint = complaint.cause(failure.clone());
    }
    for broken in verdict.rules.iter().filter_map(RuleVerdict::complaint) {
        complaint = complaint.cause(broken);
    }
    Some(match &app.health {
        Some(contract) => complaint.help(ask_yourself(contract)),
        None => complaint,
    })
}

/// Whether the App has a health contract by which it was not asked.
#[must_use]
pub fn is_not_asked(app: &App, observed: &Observed) -> bool {
    app.health.is_some() && observed.health.is_none()
}

/// How a person sees what the probe saw.
fn ask_yourself(contract: &HealthContract) -> String {
    match &contract.probe {
        Probe::Http { url, .. } => {
            format!("see for yourself what {} answers, and look into the application's log", public(url))
        }
        Probe::File { path, .. } => format!("look into `{}`, and into the log of what writes it", path.display()),
        Probe::Command { run } => format!("run `{run}` yourself in the release, and look into the application's log"),
    }
}

#[cfg(test)]
mod tests {
    use super::public;

    #[test]
    fn secrets_in_a_url_are_not_shown() {
        let rows = [
            ("https://shop.example/health", "https://shop.example/health"),
            ("https://me:secret@shop.example:8443/health?token=secret#x", "https://shop.example:8443/health"),
            ("http://shop.example?token=a/b", "http://shop.example"),
            ("http://shop.example/a@b", "http://shop.example/a@b"),
        ];
        for (url, shown) in rows {
            assert_eq!(public(url), shown);
        }
    }
}
