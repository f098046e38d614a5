//! Processes of a root's releases that no group owns, and who left them behind.

use std::collections::BTreeSet;
use std::path::Path;

use crate::model::app::{App, Manager};
use crate::model::inventory::Witness;
use crate::model::names::{GroupName, Root};
use crate::model::observed::{Evidence, Layout, Rung, Stray};
use crate::model::process::{
    APP_VARIABLE, Known, Look, Pid, ProcessFacts, ProcessSummary, ProcessTable, ROOT_VARIABLE, WORKER_VARIABLE,
};
use crate::observe::evidence::{names_release, summary_names_release};
use crate::observe::suspects::Suspects;
use crate::observe::witnesses::of_process;
use crate::ports::Host;

/// How much of a command line is kept for people.
const COMMAND_SHOWN: usize = 120;

/// Where they are looked for.
pub struct Search<'a, H> {
    /// The host.
    pub host: &'a H,
    /// Whose strays.
    pub app: &'a App,
    /// Its root.
    pub layout: &'a Layout,
    /// All processes.
    pub table: &'a ProcessTable,
    /// Those of them that could be of a root.
    pub suspects: &'a Suspects<'a>,
    /// Those that a group owns.
    pub owned: &'a BTreeSet<Pid>,
    /// What is said of those that hide from us what they run.
    pub told: &'a [Witness],
}

impl<H: Host> Search<'_, H> {
    /// Finds them among all processes but those that are owned, ourselves and our ancestors, and what trueup has in
    /// hand.
    pub async fn find(&self) -> Vec<Stray> {
        let Self { host, app, layout, table, owned, told, .. } = *self;
        let ourselves = with_ancestors(table, host.own());
        let mut users: Option<BTreeSet<u32>> = None;
        let mut strays = Vec::new();
        for process in self.suspects.of(&app.root, layout, told) {
            let pid = process.id.pid;
            if process.zombie || process.command.is_empty() || owned.contains(&pid) || ourselves.contains(&pid) {
                continue;
            }
            let Some((evidence, orphan_of)) = self.look(process).await else { continue };
            // Asked for once, and only where there is a stray.
            let users = match &mut users {
                Some(users) => users,
                unknown => unknown.insert(self.users().await),
            };
            let (command, spared) = (shown(&process.command), spared(process, users));
            strays.push(Stray { process: process.id, evidence, command, orphan_of, spared });
        }
        strays
    }

    /// What shows that a process is of the root, and the group that has left it behind; none: it is no stray.
    async fn look(&self, process: &ProcessSummary) -> Option<(Evidence, Option<GroupName>)> {
        let Self { host, app, layout, table, owned, told, .. } = *self;
        let in_hand = is_in_hand(host, table, process);
        let told = of_process(told, process.id);
        // As if we saw it ourselves: of the rungs that everybody shows to root, this one says it by itself.
        let at_home = told.filter(|evidence| evidence.rung == Some(Rung::WorkingDirectory));
        let candidate = summary_names_release(&app.root, layout, process).or_else(|| at_home.cloned());
        // A script under `current` is held open by its interpreter; that takes a second, closer look.
        if candidate.is_none() && !mentions(&app.root, layout, process) {
            return None;
        }
        let facts = match host.facts(process.id.pid).await {
            Look::Seen(facts) if in_hand && !is_worker(&facts) => return None,
            Look::Seen(facts) if facts.summary.id == process.id => facts,
            Look::Unreadable(_) if in_hand => return None,
            // What everybody may see is still true of it.
            Look::Unreadable(_) => return candidate.map(|evidence| (evidence, None)),
            Look::Seen(_) | Look::Gone | Look::Hidden => return None,
        };
        let mut evidence = names_release(&app.root, layout, &facts).or_else(|| told.cloned()).or(candidate)?;
        if self.is_of_another_root(&facts).await {
            return None;
        }
        let orphan_of = if let Some(former) = former_worker(app, layout, &facts) {
            evidence.seen = format!("started by trueup as {} of {}, {}", former.member, former.app, evidence.seen);
            Some(former.group)
        } else {
            let left = orphan_of(app, table, owned, &facts);
            if left.is_some() {
                evidence.seen = format!("its supervisord is dead, {}", evidence.seen);
            }
            left
        };
        Some((evidence, orphan_of))
    }

    /// Whether what it calls the root is another directory, as in a container. Where it works counts, whatever it calls
    /// it.
    async fn is_of_another_root(&self, facts: &ProcessFacts) -> bool {
        let Self { host, app, layout, .. } = *self;
        let works_in = facts.summary.cwd.known().and_then(|cwd| cwd.inode);
        let works_here = works_in.is_some_and(|inode| layout.releases.iter().any(|release| release.inode == inode));
        !works_here && host.is_elsewhere(&app.root, facts.summary.id.pid, &layout.releases_path).await
    }

    /// The App's own user and those of its workers.
    async fn users(&self) -> BTreeSet<u32> {
        let workers = self.owned.iter().filter_map(|pid| self.table.get(*pid)).map(|process| process.uid);
        workers.chain(self.host.user(self.app).await.ok()).collect()
    }
}

/// Why a stray is not for trueup to stop: a person may have it in hand, or another application.
fn spared(process: &ProcessSummary, users: &BTreeSet<u32>) -> Option<String> {
    if !users.contains(&process.uid) {
        return Some(format!("it runs as the user {}, who is none of the App's", process.uid));
    }
    process.terminal.then(|| "it has a terminal: somebody may work there".to_owned())
}

/// Whether a living trueup, ourselves or another one, has started it, or what has started it. Unless it is a worker,
/// that is a step or a question for health, and ends with it.
fn is_in_hand<H: Host>(host: &H, table: &ProcessTable, process: &ProcessSummary) -> bool {
    let is_trueup = |above: &ProcessSummary| {
        above.id.pid == host.own() || above.executable.known().is_some_and(|place| names_trueup(&place.path))
    };
    let mut above = with_ancestors(table, process.id.pid);
    above.remove(&process.id.pid);
    // The first process inherits whatever was left behind.
    above.remove(&Pid(1));
    above.into_iter().filter_map(|pid| table.get(pid)).any(is_trueup)
}

/// By its own name, or by that of the cache that a control side keeps it in.
fn names_trueup(program: &Path) -> bool {
    let name = program.file_name().unwrap_or_default();
    name.as_encoded_bytes().starts_with(b"trueup")
        || program.parent().is_some_and(|above| above.ends_with("trueup/bin"))
}

fn is_worker(facts: &ProcessFacts) -> bool {
    let mut environment = facts.environment.known().into_iter().flatten();
    environment.any(|(key, _)| key == WORKER_VARIABLE)
}

/// Whether an argument speaks of this root.
pub(super) fn mentions(root: &Root, layout: &Layout, process: &ProcessSummary) -> bool {
    let written = root.path().to_string_lossy();
    let real = layout.releases_path.parent().map(|path| path.to_string_lossy()).unwrap_or_default();
    process
        .command
        .iter()
        .any(|argument| argument.contains(written.as_ref()) || (!real.is_empty() && argument.contains(real.as_ref())))
}

fn with_ancestors(table: &ProcessTable, pid: Pid) -> BTreeSet<Pid> {
    let mut found = BTreeSet::new();
    let mut next = Some(pid);
    while let Some(pid) = next {
        if !found.insert(pid) {
            break;
        }
        next = table.get(pid).map(|process| process.parent).filter(|parent| parent.0 > 0);
    }
    found
}

/// What a process was started as by trueup itself.
#[derive(Debug, PartialEq, Eq)]
struct Former {
    app: String,
    member: String,
    group: GroupName,
}

/// What trueup started for this root, and no group wants: the group was renamed, removed or given to another manager,
/// or the App was renamed.
fn former_worker(app: &App, layout: &Layout, facts: &ProcessFacts) -> Option<Former> {
    let Known::Known(environment) = &facts.environment else { return None };
    let value = |name: &str| environment.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    let (root, of, member) = (value(ROOT_VARIABLE)?, value(APP_VARIABLE)?, value(WORKER_VARIABLE)?);
    let is_ours = Path::new(root) == app.root.path() || Some(Path::new(root)) == layout.releases_path.parent();
    let group = GroupName::new(member.rsplit_once('/')?.0).ok()?;
    let wanted = app.group(&group).is_some_and(|group| matches!(group.manager, Manager::Builtin(_)));
    let former = || Former { app: of.to_owned(), member: member.to_owned(), group };
    (is_ours && !(wanted && of == app.name.as_str())).then(former)
}

/// The group whose supervisord died and left this process behind.
///
/// Its environment names the group, its parent is gone, and it is older than the supervisord that
/// runs the group now: a daemon that a present worker has put in the background is younger.
fn orphan_of(app: &App, table: &ProcessTable, owned: &BTreeSet<Pid>, facts: &ProcessFacts) -> Option<GroupName> {
    let Known::Known(environment) = &facts.environment else { return None };
    let value = |name: &str| environment.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    let (group, process) = (value("SUPERVISOR_GROUP_NAME")?, value("SUPERVISOR_PROCESS_NAME")?);
    let parent = facts.summary.parent;
    if parent != Pid(1) || table.get(parent).is_some_and(is_supervisord) {
        return None;
    }
    let left_by = app.workers.iter().find(|wanted| match &wanted.manager {
        Manager::Supervisord(supervisord) => {
            supervisord.group == group
                && supervisord.program.as_ref().is_none_or(|program| process.starts_with(program.as_str()))
        }
        Manager::Systemd(_) | Manager::Builtin(_) => false,
    })?;
    let of_members = table.processes.iter().filter(|process| {
        is_supervisord(process)
            && table.processes.iter().any(|child| child.parent == process.id.pid && owned.contains(&child.id.pid))
    });
    let running: Vec<&ProcessSummary> = of_members.collect();
    let candidates: Vec<&ProcessSummary> = if running.is_empty() {
        table.processes.iter().filter(|process| is_supervisord(process)).collect()
    } else {
        running
    };
    let started = candidates.iter().map(|process| process.started).min()?;
    (facts.summary.started < started).then(|| left_by.name.clone())
}

fn is_supervisord(process: &ProcessSummary) -> bool {
    process.command.iter().take(2).any(|argument| argument.rsplit('/').next().is_some_and(|name| name == "supervisord"))
}

fn shown(command: &[String]) -> String {
    let mut text = command.join(" ");
    if let Some((cut, _)) = text.char_indices().nth(COMMAND_SHOWN) {
        text.truncate(cut);
        text.push('…');
    }
    text
}
