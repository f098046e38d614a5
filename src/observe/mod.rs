//! Host to snapshot: one look at everything that an App speaks of.
//!
//! In: a [`Host`] and the Apps. Out: an [`Observed`] for each. All Apps share one walk over the
//! processes and one question to each manager; health probes run meanwhile. What cannot be read
//! comes back as unknown, never as absent. Begin at [`observe_all`]; [`evidence`] holds the ladder.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::{join_all, try_join_all};
use jiff::Timestamp;

use crate::decide::freshness::numbers;
use crate::decide::health::judge;
use crate::model::app::App;
use crate::model::health::{HealthVerdict, ProbeAnswer, ProbeFailure};
use crate::model::observed::{
    Evidence, Layout, MemberState, Observed, ObservedConfig, ObservedGroup, Unreadable, Worker,
};
use crate::model::process::{Look, Pid, ProcessTable};
use crate::model::record::Memory;
use crate::observe::evidence::Started;
use crate::ports::{GroupOf, Host, HostError, Listed};

pub mod evidence;
pub mod strays;

/// The kernel's start times are whole ticks of this length.
const TICK: Duration = Duration::from_millis(10);

/// Whether a look asks the applications how they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Probing {
    /// Once each.
    Once,
    /// Not at all; the snapshot says nothing of health.
    Not,
}

/// Looks at the host once for one App.
///
/// # Errors
/// [`HostError`] when the root itself cannot be read; everything less is unknown inside.
pub async fn observe<H: Host>(host: &H, app: &App, probing: Probing) -> Result<Observed, HostError> {
    let mut all = observe_all(host, &[app], probing).await;
    all.pop().unwrap_or_else(|| Err(HostError::new(crate::ports::HostErrorKind::Other, "nothing was observed")))
}

/// Looks at the host once for all these Apps; the answers are in their order.
pub async fn observe_all<H: Host>(host: &H, apps: &[&App], probing: Probing) -> Vec<Result<Observed, HostError>> {
    let probes = join_all(apps.iter().map(|app| probe(host, app, probing)));
    let layouts = join_all(apps.iter().map(|app| host.layout(&app.root, &app.release)));
    let memories = join_all(apps.iter().map(|app| host.recall(&app.root)));
    let (answers, (layouts, memories, table, boot, listings)) = tokio::join!(probes, async {
        let (layouts, memories, table, boot) = tokio::join!(layouts, memories, host.walk(), host.boot());
        let table = match table {
            Ok(table) => table,
            Err(error) => return (layouts, memories, Err(error), boot, Vec::new()),
        };
        let groups: Vec<GroupOf<'_>> =
            apps.iter().flat_map(|app| app.workers.iter().map(move |group| GroupOf { app, group })).collect();
        let listings = host.list(&groups, &table).await;
        (layouts, memories, Ok(table), boot, listings)
    });
    let table = match table {
        Ok(table) => table,
        Err(error) => return apps.iter().map(|_| Err(error.clone())).collect(),
    };
    let mut listings = listings.into_iter();
    let looks = apps.iter().zip(layouts).zip(memories).zip(answers).map(|(((app, layout), memory), answer)| {
        let listed: Vec<_> = listings.by_ref().take(app.workers.len()).collect();
        Glance { app, layout, memory, answer, listed }
    });
    let looks: Vec<Glance<'_>> = looks.collect();
    join_all(looks.into_iter().map(|glance| assemble(host, glance, &table, &boot))).await
}

type Answer = Option<Result<ProbeAnswer, ProbeFailure>>;

/// What one look brought for one App, before it is put together.
struct Glance<'a> {
    app: &'a App,
    layout: Result<Layout, HostError>,
    memory: Memory,
    answer: Answer,
    listed: Vec<Result<Vec<Listed>, HostError>>,
}

async fn probe<H: Host>(host: &H, app: &App, probing: Probing) -> Answer {
    match (&app.health, probing) {
        (Some(_), Probing::Once) => Some(host.probe(app).await),
        (None, _) | (_, Probing::Not) => None,
    }
}

/// The contract's verdict on an answer, with the workers as they were just seen. Judging takes no longer than the
/// answer might have taken.
pub async fn verdict<H: Host>(
    host: &H,
    app: &App,
    observed: &Observed,
    answer: Result<ProbeAnswer, ProbeFailure>,
) -> Option<HealthVerdict> {
    let contract = app.health.clone()?;
    let (id, path) = (app.release.id.clone(), app.root.release(&app.release.id));
    let (numbers, limit) = (numbers(app, observed), contract.timeout);
    let judged = host.aside(limit, move |stop| judge(&contract, &answer, (&id, &path), &numbers, stop)).await;
    Some(judged.unwrap_or_else(|| HealthVerdict::unanswered(format!("the rules took longer than {limit:?}"))))
}

async fn assemble<H: Host>(
    host: &H,
    glance: Glance<'_>,
    table: &ProcessTable,
    boot: &str,
) -> Result<Observed, HostError> {
    let Glance { app, layout, mut memory, answer, listed } = glance;
    let layout = layout?;
    // Processes of another boot are other processes, whatever their numbers.
    if memory.boot != boot {
        memory.helpless.clear();
    }
    let mut groups = Vec::new();
    let mut owned = BTreeSet::new();
    for (group, listed) in app.workers.iter().zip(listed) {
        let members = match listed {
            Err(error) => Err(Unreadable { message: error.message, help: error.help }),
            Ok(listed) => {
                let looks = listed.into_iter().map(|one| worker(host, app, &layout, table, one));
                try_join_all(looks).await.map(|workers| {
                    let mut members = Vec::new();
                    for (worker, family) in workers {
                        owned.extend(family);
                        members.push(worker);
                    }
                    members.sort_by_key(|worker| worker.ordinal);
                    members
                })
            }
        };
        groups.push(ObservedGroup { group: group.name.clone(), members });
    }
    let strays = strays::find(host, app, &layout, table, &owned).await;
    let config = config(host, app, &memory).await;
    let mut observed =
        Observed { at: host.now(), layout, groups, strays, config, health: None, helpless: memory.helpless };
    if let Some(answer) = answer {
        observed.health = verdict(host, app, &observed, answer).await;
    }
    Ok(observed)
}

/// One member with its evidence, and the processes that are its own.
///
/// Where looking at one of them failed, the member is not unknown, which would be a reason to restart it: the group is
/// unreadable.
async fn worker<H: Host>(
    host: &H,
    app: &App,
    layout: &Layout,
    table: &ProcessTable,
    listed: Listed,
) -> Result<(Worker, Vec<Pid>), Unreadable> {
    let mut worker = Worker {
        member: listed.member,
        ordinal: listed.ordinal,
        state: listed.state,
        detail: listed.detail,
        process: None,
        started: listed.started.map(|(at, _)| at),
        evidence: Evidence::unknown("no process"),
        enabled: listed.enabled,
        outdated: listed.outdated,
    };
    let Some(pid) = listed.pid else {
        if worker.state.is_up() {
            worker.evidence = Evidence::unknown("its manager names no process");
        }
        return Ok((worker, Vec::new()));
    };
    let told = listed.started.map(|(at, within)| Started { at, within });
    let mut family = vec![pid];
    match host.facts(pid).await {
        Look::Gone => {
            "its process has just ended".clone_into(&mut worker.detail);
            worker.evidence = Evidence::unknown("its process has just ended");
            // Its manager has not noticed yet. What comes of it will be seen at another look.
            if worker.state.is_up() {
                worker.state = MemberState::Backoff;
            }
        }
        Look::Unreadable(why) => return Err(why),
        Look::Hidden => {
            let silent = evidence::judge(&app.root, layout, &[], told);
            worker.evidence = silent;
        }
        Look::Seen(facts) => {
            worker.process = Some(facts.summary.id);
            worker.started = Some(facts.summary.started);
            let started = Started { at: facts.summary.started, within: TICK };
            let mut all = vec![*facts];
            for descendant in table.descendants(pid) {
                family.push(descendant.id.pid);
                match host.facts(descendant.id.pid).await {
                    Look::Seen(facts) if facts.summary.id == descendant.id => all.push(*facts),
                    Look::Unreadable(why) => return Err(why),
                    Look::Seen(_) | Look::Gone | Look::Hidden => {}
                }
            }
            worker.evidence = evidence::judge(&app.root, layout, &all, Some(started));
        }
    }
    Ok((worker, family))
}

async fn config<H: Host>(host: &H, app: &App, memory: &Memory) -> Vec<ObservedConfig> {
    let files = app.workers.iter().flat_map(|group| group.restart_on.iter().map(move |file| (group, file)));
    join_all(files.map(|(group, file)| async move {
        let applied = memory.config.iter().find(|known| known.group == group.name && known.path == file.path).cloned();
        let content = host.content(&app.root, &file.path).await;
        let modified: Option<Timestamp> = content.known().and_then(|content| content.as_ref()).map(|(_, at)| *at);
        ObservedConfig {
            group: group.name.clone(),
            path: file.path.clone(),
            content: content.map(|content| content.map(|(digest, _)| digest)),
            modified,
            applied,
        }
    }))
    .await
}
