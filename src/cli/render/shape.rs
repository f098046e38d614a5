//! Both sides of the diff: the host as it is and as it should be, in the manifest's own shape.
//!
//! Every line that differs is a difference that `decide::diff` names; what it does not look at is left out.

use std::collections::BTreeMap;

use serde::Serialize;

use super::words::{runs, safe};
use crate::decide::aim::aimed;
use crate::decide::diff::diff;
use crate::decide::freshness::{Content, Freshness, contents, freshness, leads_to_desired};
use crate::decide::select::{Selection, select};
use crate::decide::status::worker_status;
use crate::manifest;
use crate::model::app::{App, WorkerGroup};
use crate::model::drift::{Drift, ServiceStale, StaleBecause};
use crate::model::names::MemberName;
use crate::model::observed::{MemberState, Observed, Stray, Worker};
use crate::model::process::Known;
use crate::model::status::WorkerVerdict;

#[derive(Serialize)]
struct Shape<'a> {
    metadata: Metadata<'a>,
    spec: Spec<'a>,
}

#[derive(Serialize)]
struct Metadata<'a> {
    name: &'a str,
}

#[derive(Serialize)]
struct Spec<'a> {
    release: Release,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    services: Vec<Serving>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    workers: Vec<Group<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    strays: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    health: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Release {
    id: String,
    /// What is to be done for the one in force.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    lacks: Vec<String>,
    /// The one that is to be switched to, where something is to be done for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    to_come: Option<ToCome>,
    /// Releases that nobody needs any more.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    surplus: Vec<String>,
}

#[derive(Serialize)]
struct ToCome {
    id: String,
    /// What is to be done before and after the switch.
    lacks: Vec<String>,
}

#[derive(Serialize)]
struct Serving {
    name: String,
    serves: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Group<'a> {
    name: &'a str,
    count: Or<usize>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    restart_on: Vec<File>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    members: Vec<Member>,
}

/// A value, or the word for what could not be read.
#[derive(Serialize)]
#[serde(untagged)]
enum Or<T> {
    Value(T),
    Word(&'static str),
}

const UNKNOWN: &str = "unknown";

#[derive(Serialize)]
struct File {
    path: String,
    /// Whether its present content is known to the workers.
    applied: Or<bool>,
}

#[derive(Serialize)]
struct Member {
    name: String,
    state: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    release: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    config: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    enabled: Option<bool>,
}

/// The host as it is, and as it should be: two YAML documents.
///
/// # Errors
/// When one has no YAML form.
pub fn both(app: &App, observed: &Observed) -> Result<(String, String), String> {
    Ok((manifest::to_string(&seen(app, observed))?, manifest::to_string(&wanted(app, observed))?))
}

fn seen<'a>(app: &'a App, observed: &'a Observed) -> Shape<'a> {
    let health = app.health.as_ref().map(|_| match observed.health_in_force() {
        None if observed.is_blank() => "nothing is in force yet".to_owned(),
        None => "not asked".to_owned(),
        Some(verdict) => verdict.complaint().map_or_else(healthy, |why| format!("unhealthy: {}", safe(&why))),
    });
    let workers = app.workers.iter().map(|group| group_seen(app, observed, group)).collect();
    let drift = diff(app, observed).drift;
    let aimed = aimed(app, &observed.aim);
    let mut lacks: Vec<String> = drift.iter().filter_map(lack).collect();
    let to_come = !lacks.is_empty() && !leads_to_desired(&aimed, &observed.layout.link);
    let to_come = to_come.then(|| ToCome { id: aimed.release.id.to_string(), lacks: std::mem::take(&mut lacks) });
    let surplus = drift.iter().filter_map(|one| match one {
        Drift::ReleaseSurplus { release, .. } => Some(release.to_string()),
        _ => None,
    });
    let release = Release { id: observed.layout.link.to_string(), lacks, to_come, surplus: surplus.collect() };
    let services = services(&drift, |because| match because {
        ServiceStale::Serves(other) => safe(other),
        ServiceStale::OlderThanSwitch | ServiceStale::Switched => "what was there before the switch".to_owned(),
        ServiceStale::Config(path) => format!("what it read before {path} changed"),
    });
    shape(app, Spec { release, services, workers, strays: strays(observed, |_| true), health })
}

fn wanted<'a>(app: &'a App, observed: &'a Observed) -> Shape<'a> {
    let workers = app.workers.iter().map(|group| group_wanted(app, observed, group)).collect();
    let strays = strays(observed, |stray| !stray.is_stopped(app.strays));
    let release = Release { id: app.release.id.to_string(), lacks: Vec::new(), to_come: None, surplus: Vec::new() };
    let services = services(&diff(app, observed).drift, |_| app.release.id.to_string());
    shape(app, Spec { release, services, workers, strays, health: app.health.as_ref().map(|_| healthy()) })
}

/// What the release, or the record of the one in force, lacks by this drift.
fn lack(drift: &Drift) -> Option<String> {
    match drift {
        Drift::HoldOver { release } => Some(format!("a note that {release} may be tried again")),
        Drift::ReleaseNotFetched { .. } => Some("its files".to_owned()),
        Drift::SharedNotLinked { .. } => Some("what is shared".to_owned()),
        Drift::StageDue { stage, .. } => Some(stage.word().to_owned()),
        Drift::ReleaseNotProven { .. } => Some("its proof".to_owned()),
        _ => None,
    }
}

/// The services that are not right.
fn services(drift: &[Drift], serves: impl Fn(&ServiceStale) -> String) -> Vec<Serving> {
    let stale = drift.iter().filter_map(|one| match one {
        Drift::ServiceStale { service, because, .. } => {
            Some(Serving { name: service.to_string(), serves: serves(because) })
        }
        _ => None,
    });
    stale.collect()
}

fn shape<'a>(app: &'a App, spec: Spec<'a>) -> Shape<'a> {
    Shape { metadata: Metadata { name: app.name.as_str() }, spec }
}

fn healthy() -> String {
    "healthy".to_owned()
}

fn strays(observed: &Observed, shown: impl Fn(&Stray) -> bool) -> Vec<String> {
    let line = |stray: &Stray| {
        let runs = runs(&stray.evidence, &observed.layout.link);
        format!("{}, {runs}: {}", stray.process, safe(&stray.command))
    };
    observed.strays.iter().filter(|stray| shown(stray)).map(line).collect()
}

/// The members of a group, sorted; none where they could not be read.
fn members<'a>(app: &App, observed: &'a Observed, group: &WorkerGroup) -> Option<(&'a [Worker], Selection<'a>)> {
    let seen = observed.groups.iter().find(|seen| seen.group == group.name)?;
    let members = seen.members.as_ref().ok()?;
    Some((members, select(app, observed, group, members)))
}

fn group_seen<'a>(app: &'a App, observed: &'a Observed, group: &'a WorkerGroup) -> Group<'a> {
    let restart_on = files(app, observed, group, false);
    let Some((all, selection)) = members(app, observed, group) else {
        return Group { name: group.name.as_str(), count: Or::Word(UNKNOWN), restart_on, members: Vec::new() };
    };
    let shown = |worker: &&Worker| {
        selection.keep.iter().any(|(kept, _)| kept.member == worker.member)
            || selection.surplus.iter().any(|surplus| surplus.member == worker.member)
            || worker.state == MemberState::Stopping
    };
    let members = all.iter().filter(shown).map(|worker| member_seen(app, observed, group, worker)).collect();
    let up = all.iter().filter(|worker| worker.state.is_up()).count();
    Group { name: group.name.as_str(), count: Or::Value(up), restart_on, members }
}

fn member_seen(app: &App, observed: &Observed, group: &WorkerGroup, worker: &Worker) -> Member {
    let status = worker_status(app, observed, group, worker);
    let alive = status.verdict != WorkerVerdict::Down;
    Member {
        name: worker.member.to_string(),
        state: worker.state.to_string(),
        release: alive.then(|| runs(&worker.evidence, &observed.layout.link)),
        config: old_config(app, observed, group, worker),
        enabled: worker.enabled.filter(|enabled| !enabled || !worker.state.is_up()),
    }
}

/// Said only where the release is right and the configuration is not.
fn old_config(app: &App, observed: &Observed, group: &WorkerGroup, worker: &Worker) -> Option<String> {
    if !worker.state.is_up() {
        return None;
    }
    match freshness(app, observed, group, worker) {
        Freshness::Stale(StaleBecause::Config(path)) => Some(format!("older than {path}")),
        Freshness::Stale(StaleBecause::Command) => Some("an older command".to_owned()),
        Freshness::Unknown if worker.started.is_none() && !group.restart_on.is_empty() => Some("unknown".to_owned()),
        Freshness::Fresh | Freshness::Stale(StaleBecause::Release) | Freshness::Unknown => None,
    }
}

fn group_wanted<'a>(app: &'a App, observed: &'a Observed, group: &'a WorkerGroup) -> Group<'a> {
    let count = Or::Value(usize::try_from(group.count).unwrap_or(usize::MAX));
    let restart_on = files(app, observed, group, true);
    let running = |name: &MemberName, config: Option<String>, enabled: Option<bool>| Member {
        name: name.to_string(),
        state: MemberState::Running.to_string(),
        release: Some(app.release.id.to_string()),
        config,
        enabled,
    };
    let members = members(app, observed, group).map_or_else(Vec::new, |(_, selection)| {
        let kept = selection.keep.iter().map(|(worker, _)| {
            let config = old_config(app, observed, group, worker).map(|_| "current".to_owned());
            running(
                &worker.member,
                config,
                worker.enabled.filter(|enabled| !enabled || !worker.state.is_up()).map(|_| true),
            )
        });
        kept.chain(selection.missing.iter().map(|name| running(name, None, None))).collect()
    });
    Group { name: group.name.as_str(), count, restart_on, members }
}

fn files(app: &App, observed: &Observed, group: &WorkerGroup, wanted: bool) -> Vec<File> {
    let told: BTreeMap<_, _> = contents(app, observed, group).collect();
    let of_group = observed.config.iter().filter(|config| config.group == group.name);
    of_group
        .map(|config| {
            let applied = match (&config.content, told.get(&config.path)) {
                _ if wanted => Or::Value(true),
                (Known::Unknown(_), _) => Or::Word(UNKNOWN),
                (Known::Known(_), Some(Content::Changed(_))) => Or::Value(false),
                (Known::Known(_), _) => Or::Value(true),
            };
            File { path: config.path.to_string(), applied }
        })
        .collect()
}
