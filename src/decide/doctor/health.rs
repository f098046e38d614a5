//! Whether the health contract judges this host, and this release.

use crate::model::app::App;
use crate::model::facts::AppFacts;
use crate::model::finding::{Finding, Severity};
use crate::model::health::{HealthContract, Probe};
use crate::model::process::Known;
use crate::model::release::public;
use crate::model::service::OnRelease;

pub(super) fn findings(app: &App, facts: &AppFacts) -> Vec<Finding> {
    let Some(health) = &app.health else {
        return vec![
            Finding::new("health.contract", Severity::Note, "there is no health contract")
                .why("the gate sees only that workers stay up: a release that answers every request with 500 is proven")
                .mend("health:\n  http: {url: \"http://localhost/health\"}"),
        ];
    };
    leaves(health, facts).into_iter().chain(release(app, health)).collect()
}

fn leaves(health: &HealthContract, facts: &AppFacts) -> Option<Finding> {
    const CHECK: &str = "health.leavesHost";
    let Probe::Http { url, connect_to, .. } = &health.probe else { return None };
    let shown = public(url);
    let port = if url.starts_with("https:") { 443 } else { 80 };
    let mend = format!("connectTo: \"127.0.0.1:{port}\"");
    let addresses = match facts.health.as_ref()? {
        Known::Known(addresses) => addresses,
        Known::Unknown(why) => {
            return Some(
                Finding::new(CHECK, Severity::Warning, format!("health: {why}"))
                    .why("a probe that finds no address fails the gate of every release")
                    .mend(mend),
            );
        }
    };
    let others: Vec<String> = addresses.iter().filter(|(_, own)| !own).map(|(ip, _)| ip.to_string()).collect();
    if others.is_empty() {
        return Some(Finding::ok(CHECK, format!("health: `{shown}` is asked of this host")));
    }
    let found = match connect_to {
        Some(_) => format!("health: `connectTo` leads to another host, {}", others.join(", ")),
        None => format!("health: `{shown}` leads to another host, {}", others.join(", ")),
    };
    Some(
        Finding::new(CHECK, Severity::Warning, found)
            .why(
                "the gate judges whoever answers there (a load balancer, the other host), and not what was \
                switched here",
            )
            .mend(mend),
    )
}

/// Whether the answer says which release it is of, where a service is reloaded by that.
fn release(app: &App, health: &HealthContract) -> Option<Finding> {
    const CHECK: &str = "health.release";
    let auto = app.services.iter().find(|service| service.on_release == OnRelease::Auto)?;
    if health.expect.iter().any(|rule| rule.0.contains("body.release")) {
        return Some(Finding::ok(CHECK, "health: a rule asks which release answers"));
    }
    let found = format!("health: no rule asks which release answers, and `{}` has `onRelease: auto`", auto.name);
    Some(
        Finding::new(CHECK, Severity::Note, found)
            .why(
                "the service is reloaded after every switch then, by the age of its processes, even where it \
                serves the new release already",
            )
            .mend("# the answer names its release, and in `health.expect`:\n- body.release == release.id"),
    )
}
