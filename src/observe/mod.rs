//! Host to snapshot: one look at everything that an App speaks of.
//!
//! In: a [`Host`] and the Apps. Out: an [`Observed`] for each. All Apps share one walk over the
//! processes and one question to each manager; health probes run meanwhile. What cannot be read
//! comes back as unknown, never as absent. Begin at [`observe`]; [`evidence`] holds the ladder.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::{join_all, try_join_all};
use futures_util::stream::{self, StreamExt};
use jiff::Timestamp;

use crate::decide::aim::{aim, aimed};
use crate::decide::freshness::numbers;
use crate::decide::health::judge;
use crate::decide::moment::by_now;
use crate::model::app::App;
use crate::model::boot::Boot;
use crate::model::health::{HealthVerdict, ProbeAnswer, ProbeFailure};
use crate::model::length;
use crate::model::memory::{AppliedConfig, Memory};
use crate::model::observed::{
    Aim, Evidence, Layout, Link, MemberState, Observed, ObservedConfig, ObservedGroup, Rung, Unreadable, Worker,
};
use crate::model::process::{Look, Pid, ProcessFacts, ProcessTable};
use crate::model::record::ReleaseRecord;
use crate::model::release::Release;
use crate::model::service::ObservedService;
use crate::observe::evidence::{Started, Teller};
use crate::observe::strays::Search;
use crate::observe::suspects::Suspects;
use crate::observe::witnesses::{Witnesses, of_process};
use crate::ports::{GroupOf, Host, HostError, HostErrorKind, Listed};

pub mod evidence;
pub mod strays;
pub mod suspects;
pub mod witnesses;

/// The kernel's start times are whole ticks of this length.
const TICK: Duration = Duration::from_millis(10);

/// The files of so many Apps are read at the same time. Each takes a few threads: more of them would only take memory.
const AT_ONCE: usize = 4;

/// What is remembered of an App is never taken for nothing; who does not answer for so long holds up all others.
const REMEMBERS_WITHIN: Duration = Duration::from_secs(30);

/// A name service that does not answer holds up no look.
const NAMES_WITHIN: Duration = Duration::from_secs(2);

/// Whether a look asks the applications how they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Probing {
    /// Once each.
    Once,
    /// So often at the same time that every process of theirs has its turn.
    Widely(u32),
    /// Not at all; the snapshot says nothing of health.
    Not,
}

/// Looks at the host once for one App.
///
/// # Errors
/// [`HostError`] when the root itself cannot be read; everything less is unknown inside.
pub async fn observe<H: Host>(host: &H, app: &App, probing: Probing) -> Result<Observed, HostError> {
    // An application may take long for its answer: everything else is seen meanwhile.
    let alone = [app];
    let (answers, mut views) = tokio::join!(ask(host, app, probing), view(host, &alone));
    let mut observed = views.pop().unwrap_or_else(|| Err(unseen()))?;
    hear(host, app, &mut observed, answers).await;
    Ok(observed)
}

/// What an application said when it was asked once.
pub type Answer = Result<ProbeAnswer, ProbeFailure>;

/// Adds what the application says of itself, asked once or more often.
pub async fn hear<H: Host>(host: &H, app: &App, observed: &mut Observed, answers: Vec<Answer>) {
    observed.serving = serving(&answers);
    observed.asked = !answers.is_empty();
    let in_force = match &observed.layout.link {
        Link::Release { id } => Some(id.clone()),
        _ => None,
    };
    let same = in_force.as_ref() == Some(&app.release.id) && observed.aim == Aim::Desired;
    observed.health = verdict(host, &aimed(app, &observed.aim), observed, answers.clone()).await;
    observed.well = match in_force {
        Some(id) if !same => {
            let in_force = App { release: Release::present(id), ..app.clone() };
            verdict(host, &in_force, observed, answers).await
        }
        Some(_) => observed.health.clone(),
        None => None,
    };
}

/// Looks at everything but the applications' own answers, once for all these Apps; the views are in their order.
pub async fn view<H: Host>(host: &H, apps: &[&App]) -> Vec<Result<Observed, HostError>> {
    // Lets the questions to the applications leave first: they are what takes longest.
    tokio::task::yield_now().await;
    let files = apps.iter().map(|app| async move {
        let memory = async {
            tokio::select! {
                memory = host.recall(&app.root) => memory,
                () = host.sleep(REMEMBERS_WITHIN) => Err(forgetful(app)),
            }
        };
        tokio::try_join!(host.layout(app), host.records(&app.root), memory)
    });
    let files = stream::iter(files).buffered(AT_ONCE).collect::<Vec<_>>();
    let (files, table, boot) = tokio::join!(files, host.walk(), host.boot());
    let table = match table {
        Ok(table) => table,
        Err(error) => return apps.iter().map(|_| Err(error.clone())).collect(),
    };
    // Where the root cannot be read, nothing more is looked at: whoever runs its workers may have to read there, too.
    let readable: Vec<&App> = apps.iter().zip(&files).filter(|(_, files)| files.is_ok()).map(|(app, _)| *app).collect();
    let groups: Vec<GroupOf<'_>> =
        readable.iter().flat_map(|app| app.workers.iter().map(move |group| GroupOf { app, group })).collect();
    let (listings, services) = tokio::join!(host.list(&groups, &table), host.services(&readable, &table));
    let (mut listings, mut services) = (listings.into_iter(), services.into_iter());
    let glances = apps.iter().zip(files).map(|(app, files)| {
        let (layout, records, memory) = files?;
        let listed: Vec<_> = listings.by_ref().take(app.workers.len()).collect();
        Ok(Glance { app, layout, records, memory, listed, services: services.next().unwrap_or_default() })
    });
    let glances: Vec<Result<Glance<'_>, HostError>> = glances.collect();
    let shared = Shared { suspects: Suspects::new(&table), table: &table, boot, witnesses: Witnesses::new(host, apps) };
    let views = glances.into_iter().map(async |glance| assemble(host, glance?, &shared).await);
    stream::iter(views).buffered(AT_ONCE).collect().await
}

fn forgetful(app: &App) -> HostError {
    let message = format!("what is remembered of `{}` cannot be read: its file system does not answer", app.root);
    HostError::new(HostErrorKind::Unreachable, message).with_help("see to what is mounted there (`findmnt`)")
}

/// What all Apps of one look share.
struct Shared<'a, H> {
    table: &'a ProcessTable,
    suspects: Suspects<'a>,
    boot: Boot,
    witnesses: Witnesses<'a, H>,
}

/// Nobody has looked; a safe answer for what cannot happen.
#[must_use]
pub fn unseen() -> HostError {
    HostError::new(HostErrorKind::Other, "the host was not looked at")
}

/// What one look brought for one App, before it is put together.
struct Glance<'a> {
    app: &'a App,
    layout: Layout,
    records: Vec<ReleaseRecord>,
    memory: Memory,
    listed: Vec<Result<Vec<Listed>, HostError>>,
    services: Vec<ObservedService>,
}

/// Asks an application how it is, on a host that asks any.
pub async fn ask<H: Host>(host: &H, app: &App, probing: Probing) -> Vec<Answer> {
    match (&app.health, probing) {
        _ if !host.asks() => Vec::new(),
        (Some(_), Probing::Once) => vec![host.probe(app).await],
        (Some(_), Probing::Widely(times)) => join_all((0..times).map(|_| host.probe(app))).await,
        (None, _) | (_, Probing::Not) => Vec::new(),
    }
}

/// The contract's verdict on several answers, with the workers as they were just seen: that on the worst of them.
/// Judging each takes no longer than the answer might have taken.
pub async fn verdict<H: Host>(host: &H, app: &App, observed: &Observed, answers: Vec<Answer>) -> Option<HealthVerdict> {
    let mut first = None;
    for answer in answers {
        let contract = app.health.clone()?;
        let (id, path) = (app.release.id.clone(), app.root.release(&app.release.id));
        let (numbers, limit) = (numbers(app, observed), contract.timeout);
        let judged = host.aside(limit, move |stop| judge(&contract, &answer, (&id, &path), &numbers, stop)).await;
        let late = || HealthVerdict::unanswered(format!("the rules took longer than {}", length::limit(limit)));
        let verdict = judged.unwrap_or_else(late);
        if !verdict.healthy {
            return Some(verdict);
        }
        first = first.or(Some(verdict));
    }
    first
}

/// Which releases the application names itself; none when no answer names one.
fn serving(answers: &[Answer]) -> Option<BTreeSet<String>> {
    let named = answers.iter().flatten().filter_map(|answer| answer.body.get("release")?.as_str());
    let named: BTreeSet<String> = named.map(str::to_owned).collect();
    (!named.is_empty()).then_some(named)
}

async fn assemble<H: Host>(host: &H, glance: Glance<'_>, shared: &Shared<'_, H>) -> Result<Observed, HostError> {
    let Shared { table, suspects, boot, witnesses } = shared;
    let Glance { app, mut layout, records, mut memory, listed, services } = glance;
    let aim = aim(app, &layout, &records);
    let aimed = aimed(app, &aim);
    if let Some(release) = layout.releases.iter_mut().find(|release| release.id == aimed.release.id) {
        let found = host.inspect(&aimed).await?;
        (release.empty, release.missing, release.unlinked) = (found.empty, found.missing, found.unlinked);
    }
    // Processes of another boot are other processes, whatever their numbers.
    if memory.boot != boot.id {
        memory.helpless.clear();
    }
    layout.changed_by_now = changed_by_now(&layout, &records, boot, host.now());
    let mut groups = Vec::new();
    let mut owned = BTreeSet::new();
    let mut asked = false;
    let around = Surroundings { host, app, layout: &layout, table, witnesses };
    for (group, listed) in app.workers.iter().zip(listed) {
        let members = match listed {
            Err(error) => Err(error.into_unreadable()),
            Ok(listed) => {
                let looks = listed.into_iter().map(|one| around.member(one));
                try_join_all(looks).await.map(|workers| {
                    let mut members = Vec::new();
                    for Member { worker, family, withheld } in workers {
                        owned.extend(family);
                        asked |= withheld;
                        members.push(worker);
                    }
                    members.sort_by_key(|worker| worker.ordinal);
                    members
                })
            }
        };
        groups.push(ObservedGroup { group: group.name.clone(), members });
    }
    // Whoever had to be asked for a worker's sake knows the strays of other users, too.
    let told = if asked { witnesses.of(app).await.unwrap_or_default() } else { &[] };
    let mut strays = Search { host, app, layout: &layout, table, suspects, owned: &owned, told }.find().await;
    let mut untold = 0;
    if groups.iter().any(|seen| seen.members.is_err()) {
        // Whose workers are not known cannot be told from strays, and would be stopped or offered to be killed.
        untold = strays.len();
        strays.clear();
    }
    let config = config(host, &aimed, &memory).await;
    Ok(Observed {
        groups,
        strays,
        untold,
        config,
        helpless: memory.helpless,
        records,
        aim,
        services,
        renewed: memory.renewed,
        due: memory.due,
        suspended: memory.suspended,
        nobody: nobody(host, app).await,
        settled: memory.settled,
        ..Observed::new(host.now(), layout)
    })
}

/// When the link was last changed by the clock as it goes now, as far as we noted that.
fn changed_by_now(layout: &Layout, records: &[ReleaseRecord], boot: &Boot, now: Timestamp) -> Option<Timestamp> {
    let Link::Release { id } = &layout.link else { return None };
    let noted = records.iter().find(|record| record.id == *id)?.switching.as_ref()?;
    by_now(layout.link_changed?, noted, boot, now)
}

/// Why there is no such user as the manifest names. One that a name service is slow to tell of may well exist.
async fn nobody<H: Host>(host: &H, app: &App) -> Option<Unreadable> {
    app.user.as_ref()?;
    let error = tokio::select! {
        user = host.user(app) => user.err()?,
        () = host.sleep(NAMES_WITHIN) => return None,
    };
    (error.kind == HostErrorKind::Misconfigured).then(|| error.into_unreadable())
}

/// One member as it was seen.
struct Member {
    worker: Worker,
    /// The processes that are its own.
    family: Vec<Pid>,
    /// One of them does not show us what it runs.
    withheld: bool,
}

/// The root of one App, and the host around it, as members are looked at.
struct Surroundings<'a, H> {
    host: &'a H,
    app: &'a App,
    layout: &'a Layout,
    table: &'a ProcessTable,
    witnesses: &'a Witnesses<'a, H>,
}

impl<H: Host> Surroundings<'_, H> {
    /// One member with its evidence.
    ///
    /// Where looking at one of them failed, the member is not unknown, which would be a reason to restart it: the group is
    /// unreadable.
    async fn member(&self, listed: Listed) -> Result<Member, Unreadable> {
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
            return Ok(Member { worker, family: Vec::new(), withheld: false });
        };
        match self.host.facts(pid).await {
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
                let told = listed.started.map(|(at, within)| Started { at, within, by: Teller::Manager });
                worker.evidence = evidence::judge(&self.app.root, self.layout, &[], &[], told);
            }
            Look::Seen(facts) => return self.seen(worker, *facts).await,
        }
        Ok(Member { worker, family: vec![pid], withheld: false })
    }

    /// The same of one whose process shows itself: that one and all below it tell what it runs.
    async fn seen(&self, mut worker: Worker, facts: ProcessFacts) -> Result<Member, Unreadable> {
        let main = facts.summary.id;
        worker.process = Some(main);
        worker.started = Some(facts.summary.started);
        let started = Started { at: facts.summary.started, within: TICK, by: Teller::Kernel };
        let mut family = vec![main.pid];
        let mut all = vec![facts];
        for descendant in self.table.descendants(main.pid) {
            family.push(descendant.id.pid);
            match self.host.facts(descendant.id.pid).await {
                Look::Seen(facts) if facts.summary.id == descendant.id => all.push(*facts),
                Look::Unreadable(why) => return Err(why),
                Look::Seen(_) | Look::Gone | Look::Hidden => {}
            }
        }
        let withheld = all.iter().any(ProcessFacts::is_withheld);
        let asked = if withheld { self.witnesses.of(self.app).await } else { Ok(&[][..]) };
        let spoke = all.iter().filter(|facts| facts.is_withheld());
        let told = asked.as_ref().copied().unwrap_or_default();
        let told: Vec<&Evidence> = spoke.filter_map(|facts| of_process(told, facts.summary.id)).collect();
        worker.evidence = evidence::judge(&self.app.root, self.layout, &all, &told, Some(started));
        if let (Err(error), None | Some(Rung::StartTime)) = (asked, worker.evidence.rung) {
            worker.evidence.seen = format!("{}; {error}", worker.evidence.seen);
        }
        Ok(Member { worker, family, withheld })
    }
}

async fn config<H: Host>(host: &H, app: &App, memory: &Memory) -> Vec<ObservedConfig> {
    join_all(app.restart_ons().map(|(name, file)| async move {
        let of = file.run.as_ref().map(|_| &app.release.id);
        let told =
            |known: &&AppliedConfig| known.group == *name && known.path == file.path && known.release.as_ref() == of;
        let applied = memory.config.iter().find(told).cloned();
        let content = host.content(&app.root, &file.path).await;
        let modified: Option<Timestamp> = content.known().and_then(|content| content.as_ref()).map(|(_, at)| *at);
        ObservedConfig {
            group: name.clone(),
            path: file.path.clone(),
            content: content.map(|content| content.map(|(digest, _)| digest)),
            modified,
            applied,
        }
    }))
    .await
}
