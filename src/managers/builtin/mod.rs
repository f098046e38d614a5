//! Workers that trueup starts itself, without a daemon.
//!
//! A member is `GROUP/ORDINAL`. Its process is started through the shim in a session of its own, in the
//! release that `current` leads to at that moment, and is found again in two ways: by
//! `ROOT/.trueup/workers.json`, and by the mark in its environment (`family`). Nothing restarts a worker but
//! the next pass. Every act looks before it does anything, so doing it again changes nothing.
//!
//! Listed are the members that live; those of the file that have died, where the group still has room for
//! them, as exited; and what a dead member above the count has left running, as running. A member that is
//! not listed can be started.

mod family;
mod launch;
mod roster;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::join_all;

use crate::host::command::{describe, quote, tail};
use crate::host::spawn::Shim;
use crate::host::users::Users;
use crate::host::{blocking, proc, signal, silence};
use crate::model::app::{App, Builtin as Settings, Manager, WorkerGroup};
use crate::model::names::{MemberName, Root};
use crate::model::observed::MemberState;
use crate::model::process::{Pid, ProcessId, ProcessTable};
use crate::ports::{GroupOf, HostError, HostErrorKind, Listed, Managers};
use family::{Family, Label, Labels, Mark, Marks, Place};
use roster::Roster;

/// A worker that ends within this time of its start has failed to start.
pub const STARTUP_GRACE: Duration = Duration::from_millis(200);

/// So much of a failed worker's output is looked at for its error.
const TAIL_LIMIT: u64 = 4 * 1024;

/// The manager that is trueup itself. One value serves all Apps; it keeps nothing but locks.
#[derive(Debug)]
pub struct Builtin {
    shim: Shim,
    boot: String,
    /// One writer of any `workers.json` at a time.
    writing: Arc<Mutex<()>>,
    /// One act on a member at a time.
    acting: Mutex<BTreeMap<(Root, MemberName), Turn>>,
}

/// Held by whoever acts on one member.
type Turn = Arc<tokio::sync::Mutex<()>>;

impl Builtin {
    /// Starts its workers through this shim.
    #[must_use]
    pub fn new(shim: Shim) -> Self {
        let (writing, acting) = (Arc::default(), Mutex::default());
        Self { shim, boot: proc::boot_id(), writing, acting }
    }

    fn turn(&self, app: &App, member: &MemberName) -> Turn {
        let mut acting = self.acting.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(acting.entry((app.root.clone(), member.clone())).or_default())
    }

    /// Changes the file of one root.
    async fn edit<F>(&self, root: &Root, change: F) -> Result<(), HostError>
    where
        F: FnOnce(&mut Roster) -> bool + Send + 'static,
    {
        let (writing, root) = (Arc::clone(&self.writing), root.clone());
        blocking(move || {
            let _alone = writing.lock().unwrap_or_else(PoisonError::into_inner);
            let mut roster = Roster::read(&root)?;
            if change(&mut roster) { roster.write(&root) } else { Ok(()) }
        })
        .await?
    }

    /// Reads what all groups of these Apps need. What processes carry is read once for all of them: each App by itself
    /// would read nearly the same, and a hundred Apps a hundred times as much.
    async fn views(&self, apps: impl Iterator<Item = &App>, table: &ProcessTable) -> Vec<Result<View, HostError>> {
        let apps: Vec<App> = apps.cloned().collect();
        let count = apps.len();
        let nobody = |error: HostError| (0..count).map(|_| Err(error.clone())).collect();
        let sites = blocking(move || {
            let mut users = Users::default();
            let site = |app: &App| Ok((find(app, &mut users)?, Roster::read(&app.root)?));
            apps.iter().map(site).collect::<Vec<Result<(Place, Roster), HostError>>>()
        });
        let sites = match sites.await {
            Ok(sites) => sites,
            Err(error) => return nobody(error),
        };
        let found = || sites.iter().flatten();
        let recorded =
            |roster: &Roster| roster.members(&self.boot).filter_map(|(_, process)| process).collect::<Vec<_>>();
        let uids: BTreeSet<u32> = found().flat_map(|(place, _)| place.uids.iter().copied()).collect();
        let mut processes: BTreeSet<ProcessId> = family::candidates(table, &Vec::from_iter(uids)).collect();
        processes.extend(found().flat_map(|(_, roster)| recorded(roster)));
        let labels = match blocking(move || Labels::read(processes)).await {
            Ok(labels) => labels,
            Err(error) => return nobody(error),
        };
        let view = async |site: Result<(Place, Roster), HostError>| {
            let (place, roster) = site?;
            let recorded = recorded(&roster);
            let mut marks = labels.marks(table, &place, &recorded)?;
            if marks.keys().any(|id| !recorded.contains(id)) {
                // By its path, which may not answer: each App for itself.
                let real = place.real.clone();
                let looked = move || {
                    family::at_home(&mut marks, &recorded, |process| proc::is_elsewhere(process.pid, &real));
                    marks
                };
                marks = silence::at(&place.root, looked).await?;
            }
            Ok(View { place, roster, marks })
        };
        join_all(sites.into_iter().map(view)).await
    }

    /// Looks at one member now.
    async fn look(&self, place: &Place, member: &MemberName) -> Result<Family, HostError> {
        let (place, member, boot) = (place.clone(), member.clone(), self.boot.clone());
        blocking(move || {
            let recorded = Roster::read(&place.root)?.process(&member, &boot);
            members_family(&proc::walk()?, &place, &member, recorded, None)
        })
        .await?
    }

    /// Ends whatever there is of a member: asked gently, killed after the group's stop timeout.
    async fn clear(&self, of: GroupOf<'_>, place: &Place, member: &MemberName, seen: &Family) -> Result<(), HostError> {
        if seen.leader.is_none() && seen.others.is_empty() {
            return Ok(());
        }
        let (place, member, leader) = (place.clone(), member.clone(), seen.leader);
        let everything = move |table: &ProcessTable| {
            let found = members_family(table, &place, &member, leader, leader)?;
            Ok(found.leader.into_iter().chain(found.others).collect())
        };
        signal::terminate_all(everything, of.group.stop_timeout).await
    }

    /// Starts a member of which nothing runs; of one that does not stay up nothing is left.
    async fn launch(&self, of: GroupOf<'_>, place: &Place, member: &MemberName) -> Result<(), HostError> {
        let prepared = {
            let (place, settings, member) = (place.clone(), settings(of.group)?.clone(), member.clone());
            blocking(move || launch::prepare(&place, &settings, &member)).await??
        };
        let (launch, log) = prepared;
        let directory = launch.directory.clone();
        let begun = Instant::now();
        let mut child = self.shim.start(launch).await.map_err(|error| HostError {
            message: format!("worker `{member}` could not be started: {}", error.message),
            ..error
        })?;
        // Where nobody can tell, it carries its mark nevertheless.
        let process = child.id().map(Pid).and_then(|pid| proc::identify_child(pid).ok().flatten());
        if let Some(process) = process {
            // Before anything is waited for: a crash from here on finds it in the file.
            let (name, boot) = (member.clone(), self.boot.clone());
            let add = move |roster: &mut Roster| {
                roster.add(name, process, &boot);
                true
            };
            if let Err(error) = self.edit(&place.root, add).await {
                // It runs and carries its mark: no reason to end it, on a full disk least of all.
                tracing::warn!(worker = %member.as_str(), %error, "the worker runs, but was not recorded");
            }
        }
        match tokio::time::timeout(STARTUP_GRACE, child.wait()).await {
            Err(_) => {
                // Somebody has to wait for it, or it stays a zombie for as long as this process lives.
                tokio::spawn(async move { child.wait().await });
                Ok(())
            }
            Ok(status) => {
                let lived = begun.elapsed().as_millis();
                let status = status.map_or_else(|error| format!("an unknown status ({error})"), describe);
                let output = blocking(move || {
                    tail(&log.file, log.length, TAIL_LIMIT)
                        .map(|output| (output, log.path))
                        .map_err(|error| HostError::io("cannot read the worker's log", &error))
                });
                let (output, path) = output.await.and_then(|read| read).unwrap_or_default();
                self.clear(of, place, member, &Family { leader: process, others: Vec::new() }).await?;
                let quoted = quote(&output);
                let message = format!("worker `{member}` ended {lived} ms after its start with {status}{quoted}");
                Err(HostError::new(HostErrorKind::WorkerFailed, message).with_help(format!(
                    "run its command by hand in `{}` as `{}`; its whole log is `{}`",
                    directory.display(),
                    place.user.name,
                    path.display()
                )))
            }
        }
    }

    /// Starts a member after ending whatever there is of it.
    async fn start_anew(
        &self,
        of: GroupOf<'_>,
        place: &Place,
        member: &MemberName,
        seen: &Family,
    ) -> Result<(), HostError> {
        self.clear(of, place, member, seen).await?;
        self.launch(of, place, member).await
    }
}

impl Managers for Builtin {
    async fn list(&self, groups: &[GroupOf<'_>], table: &ProcessTable) -> Vec<Result<Vec<Listed>, HostError>> {
        let valid = |of: &&GroupOf<'_>| settings(of.group).is_ok();
        let apps: BTreeMap<&Root, &App> = groups.iter().rev().filter(valid).map(|of| (&of.app.root, of.app)).collect();
        let views = self.views(apps.values().copied(), table).await;
        let views: BTreeMap<&Root, Result<View, HostError>> = apps.into_keys().zip(views).collect();
        let list = |of: &GroupOf<'_>| {
            settings(of.group)?;
            match views.get(&of.app.root) {
                Some(Ok(view)) => Ok(view.members(of.group, table, &self.boot)),
                Some(Err(error)) => Err(error.clone()),
                None => Ok(Vec::new()),
            }
        };
        groups.iter().map(list).collect()
    }

    async fn start(&self, of: GroupOf<'_>, member: &MemberName) -> Result<(), HostError> {
        checked(of.group, member)?;
        let turn = self.turn(of.app, member);
        let _turn = turn.lock().await;
        let place = place(of.app).await?;
        let seen = self.look(&place, member).await?;
        if seen.leader.is_some() {
            return Ok(());
        }
        self.start_anew(of, &place, member, &seen).await
    }

    async fn replace(&self, of: GroupOf<'_>, member: &MemberName, process: Option<ProcessId>) -> Result<(), HostError> {
        checked(of.group, member)?;
        let turn = self.turn(of.app, member);
        let _turn = turn.lock().await;
        let place = place(of.app).await?;
        let seen = self.look(&place, member).await?;
        if seen.leader.is_some() && process.is_some() && seen.leader != process {
            return Ok(());
        }
        self.start_anew(of, &place, member, &seen).await
    }

    async fn stop(&self, of: GroupOf<'_>, member: &MemberName) -> Result<(), HostError> {
        checked(of.group, member)?;
        let turn = self.turn(of.app, member);
        let _turn = turn.lock().await;
        let place = place(of.app).await?;
        let seen = self.look(&place, member).await?;
        self.clear(of, &place, member, &seen).await?;
        let member = member.clone();
        self.edit(&place.root, move |roster| roster.remove(&member)).await
    }

    /// Has no notion of it: after a reboot the next pass starts the workers.
    async fn enable(&self, of: GroupOf<'_>, member: &MemberName) -> Result<(), HostError> {
        checked(of.group, member).map(|_| ())
    }
}

/// What was read for all groups of one App.
struct View {
    place: Place,
    roster: Roster,
    marks: Marks,
}

impl View {
    fn members(&self, group: &WorkerGroup, table: &ProcessTable, boot: &str) -> Vec<Listed> {
        let marked = self.marks.values().filter_map(|mark| match mark {
            Mark::Ours(label) => Some(label.worker.as_str()),
            Mark::Silent => None,
        });
        let known = self.roster.members(boot).map(|(member, _)| member.as_str());
        let ordinals: BTreeSet<u32> = marked.chain(known).filter_map(|name| ordinal(group, name)).collect();
        ordinals.into_iter().filter_map(|ordinal| self.member(group, ordinal, table, boot)).collect()
    }

    fn member(&self, group: &WorkerGroup, ordinal: u32, table: &ProcessTable, boot: &str) -> Option<Listed> {
        let member = group.member(ordinal)?;
        let recorded = self.roster.process(&member, boot);
        let family = family::family(table, &self.marks, &self.place, &member, recorded, None);
        let (state, pid, detail) = match (family.leader, family.others.first()) {
            (Some(leader), _) => (MemberState::Running, Some(leader.pid), ""),
            (None, Some(_)) if ordinal <= group.count => {
                (MemberState::Exited, None, "its first process has ended, what that started still runs")
            }
            (None, Some(left)) => (MemberState::Running, Some(left.pid), "left behind by its first process"),
            (None, None) if ordinal <= group.count => (MemberState::Exited, None, "its process has ended"),
            (None, None) => return None,
        };
        let outdated = family.leader.is_some_and(|leader| self.is_outdated(group, leader));
        let detail = detail.to_owned();
        Some(Listed { member, ordinal, state, detail, pid, started: None, enabled: None, outdated })
    }
}

impl View {
    /// Whether it was started with another command, environment or user than the manifest has now. One that has
    /// written over its environment is believed to be as it should.
    fn is_outdated(&self, group: &WorkerGroup, leader: ProcessId) -> bool {
        let Some(Mark::Ours(Label { recipe: Some(recipe), .. })) = self.marks.get(&leader) else { return false };
        settings(group).is_ok_and(|settings| launch::recipe(&self.place, settings) != *recipe)
    }
}

fn members_family(
    table: &ProcessTable,
    place: &Place,
    member: &MemberName,
    recorded: Option<ProcessId>,
    proven: Option<ProcessId>,
) -> Result<Family, HostError> {
    let labels = Labels::read(family::candidates(table, &place.uids).chain(recorded).collect::<BTreeSet<_>>());
    let mut marks = labels.marks(table, place, recorded.as_slice())?;
    family::at_home(&mut marks, recorded.as_slice(), |process| proc::is_elsewhere(process.pid, &place.real));
    Ok(family::family(table, &marks, place, member, recorded, proven))
}

async fn place(app: &App) -> Result<Place, HostError> {
    let app = app.clone();
    blocking(move || find(&app, &mut Users::default())).await?
}

/// Finds an App's place; blocks.
fn find(app: &App, users: &mut Users) -> Result<Place, HostError> {
    use std::os::unix::fs::MetadataExt;
    let user = users.of(app)?;
    let root = app.root.clone();
    let failed = |error: std::io::Error| HostError::io(format!("cannot look at `{root}`"), &error);
    let real = real(root.path()).map_err(failed)?;
    let mut uids = vec![user.uid, 0, nix::unistd::geteuid().as_raw()];
    match std::fs::metadata(&real) {
        Ok(found) => uids.push(found.uid()),
        // Not made yet, or removed under its workers: what they carry still names it.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    Ok(Place { root, real, app: app.name.as_str().to_owned(), user, uids })
}

/// The path without links in it; parts that are not there stay as they are.
fn real(path: &Path) -> std::io::Result<PathBuf> {
    match (path.canonicalize(), path.parent(), path.file_name()) {
        (Err(error), Some(above), Some(name)) if error.kind() == std::io::ErrorKind::NotFound => {
            Ok(real(above)?.join(name))
        }
        (resolved, _, _) => resolved,
    }
}

fn settings(group: &WorkerGroup) -> Result<&Settings, HostError> {
    match &group.manager {
        Manager::Builtin(settings) => Ok(settings),
        Manager::Supervisord(_) | Manager::Systemd(_) => Err(HostError::new(
            HostErrorKind::Misconfigured,
            format!("group `{}` is run by {}, not by trueup itself", group.name, group.manager.kind()),
        )),
    }
}

/// The number in one of the group's own member names, spelled as the group spells it.
fn ordinal(group: &WorkerGroup, name: &str) -> Option<u32> {
    let ordinal = name.strip_prefix(group.name.as_str())?.strip_prefix('/')?.parse().ok()?;
    (group.member(ordinal)?.as_str() == name).then_some(ordinal)
}

fn checked(group: &WorkerGroup, member: &MemberName) -> Result<u32, HostError> {
    settings(group)?;
    ordinal(group, member.as_str()).ok_or_else(|| {
        HostError::new(HostErrorKind::Misconfigured, format!("group `{}` has no member `{member}`", group.name))
            .with_help(format!("its members are `{}/1`, `{}/2` and so on", group.name, group.name))
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::model::app::CommandLine;
    use crate::model::names::GroupName;

    #[test]
    fn a_root_that_is_not_there_has_a_real_path() {
        let directory = tempfile::tempdir().unwrap();
        let here = directory.path().canonicalize().unwrap();
        std::fs::create_dir(here.join("real")).unwrap();
        std::os::unix::fs::symlink("real", here.join("alias")).unwrap();
        assert_eq!(real(&here.join("alias")).unwrap(), here.join("real"));
        assert_eq!(real(&here.join("alias/app/root")).unwrap(), here.join("real/app/root"));
    }

    #[test]
    fn only_the_groups_own_spelling_is_its_member() {
        let run = CommandLine::Shell("true".to_owned());
        let manager = Manager::Builtin(Settings { run, env: BTreeMap::new() });
        let group = WorkerGroup::new(GroupName::new("a-1").unwrap(), 1, manager);
        let rows =
            [("a-1/3", Some(3)), ("a-1/03", None), ("a-1/+3", None), ("a/3", None), ("a-1", None), ("a-1/../x", None)];
        for (name, expected) in rows {
            assert_eq!(ordinal(&group, name), expected, "{name}");
        }
        assert_eq!(checked(&group, &MemberName::new("b/1").unwrap()).unwrap_err().kind, HostErrorKind::Misconfigured);
    }
}
