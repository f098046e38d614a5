//! Which processes belong to a member: its first process, all of its session, everything below, and whatever
//! carries its mark in the environment.
//!
//! A mark names the root, the App, the member, and the process that was started as the member; a descendant
//! inherits it and is told from the first process by that last part. Only processes of users that could
//! have been started here are believed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use crate::host::proc;
use crate::host::spawn::{PROCESS_VARIABLE, process_mark};
use crate::host::users::User;
use crate::model::names::{MemberName, Root};
use crate::model::process::{
    APP_VARIABLE, Known, Pid, ProcessId, ProcessSummary, ProcessTable, RECIPE_VARIABLE, ROOT_VARIABLE, WORKER_VARIABLE,
};
use crate::ports::HostError;

/// One App's place on this host.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// The root.
    pub(super) root: Root,
    /// The root without any links in its path.
    pub(super) real: PathBuf,
    /// The App's name.
    pub(super) app: String,
    /// Whom the workers run as.
    pub(super) user: User,
    /// Whose processes may be workers: that user's, root's, the root's owner's, our own.
    pub(super) uids: Vec<u32>,
}

/// What a process's environment says to one App. One that says nothing of this App has no mark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Mark {
    /// It was started as a member of this App, or by one.
    Ours(Label),
    /// It may not be read, or the process has written over it.
    Silent,
}

/// What trueup writes into the environment of a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Label {
    /// The member's name as it stands there.
    pub(super) worker: String,
    /// The process that was started as the member.
    pub(super) first: String,
    /// Digest of what it was started with; none where an older trueup started it.
    pub(super) recipe: Option<String>,
}

/// What was read of a number of processes, as far as it means anything to one App.
pub(super) type Marks = BTreeMap<ProcessId, Mark>;

/// What belongs to a member.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Family {
    /// The process that was started as the member, if it lives.
    pub(super) leader: Option<ProcessId>,
    /// What else belongs to it, or what it left behind; ordered.
    pub(super) others: Vec<ProcessId>,
}

/// Processes whose environment is worth reading: leaders of sessions, and those whose leader is gone, of these users.
/// Others are reached through their session.
pub(super) fn candidates<'t>(table: &'t ProcessTable, uids: &'t [u32]) -> impl Iterator<Item = ProcessId> + 't {
    table.processes.iter().filter(|process| is_candidate(table, process, uids)).map(|process| process.id)
}

fn is_candidate(table: &ProcessTable, process: &ProcessSummary, uids: &[u32]) -> bool {
    let alive = |pid: Pid| table.get(pid).is_some_and(|process| !process.zombie);
    // Session 0 is the kernel's.
    let theirs = !process.zombie && process.session.0 != 0 && uids.contains(&process.uid);
    theirs && (process.session == process.id.pid || !alive(process.session))
}

/// What the environments of processes say. Each is read once, however many Apps there are.
#[derive(Debug, Default)]
pub(super) struct Labels {
    /// By the root and the App that they name.
    told: BTreeMap<(String, String), Vec<(ProcessId, Label)>>,
    silent: BTreeSet<ProcessId>,
    /// Those of which nobody knows whose they are.
    failed: Vec<(ProcessId, HostError)>,
}

impl Labels {
    /// Reads them; blocks.
    pub(super) fn read(processes: impl IntoIterator<Item = ProcessId>) -> Self {
        let mut read = Self::default();
        for process in processes {
            match proc::environment(process) {
                Ok(Some(environment)) => read.add(process, environment),
                Ok(None) => {}
                Err(error) => read.failed.push((process, error)),
            }
        }
        read
    }

    fn add(&mut self, process: ProcessId, environment: Known<Vec<(String, String)>>) {
        let Known::Known(environment) = environment else {
            self.silent.insert(process);
            return;
        };
        let value = |name: &str| environment.iter().find(|(found, _)| found == name).map(|(_, value)| value.to_owned());
        match (value(ROOT_VARIABLE), value(APP_VARIABLE), value(WORKER_VARIABLE), value(PROCESS_VARIABLE)) {
            (Some(root), Some(app), Some(worker), Some(first)) => {
                let label = Label { worker, first, recipe: value(RECIPE_VARIABLE) };
                self.told.entry((root, app)).or_default().push((process, label));
            }
            // Programs that write their title over their environment begin at its front, where PATH is;
            // one with PATH and without a mark never had one.
            (None, _, _, _) if value("PATH").is_none() => {
                self.silent.insert(process);
            }
            _ => {}
        }
    }

    /// What they are to this App: those that it could have started, and those that it is said to have `recorded`.
    ///
    /// # Errors
    /// One of them could not be looked at, and nobody knows whether it is a worker.
    pub(super) fn marks(
        &self,
        table: &ProcessTable,
        place: &Place,
        recorded: &[ProcessId],
    ) -> Result<Marks, HostError> {
        let concerns = |id: &ProcessId| {
            let there = table.get(id.pid).filter(|process| process.id == *id);
            recorded.contains(id) || there.is_some_and(|process| is_candidate(table, process, &place.uids))
        };
        if let Some((_, error)) = self.failed.iter().find(|(id, _)| concerns(id)) {
            return Err(error.clone());
        }
        let silent = recorded.iter().filter(|id| self.silent.contains(id)).map(|id| (*id, Mark::Silent));
        let key = place.real.to_str().map(|root| (root.to_owned(), place.app.clone()));
        let ours = key.and_then(|key| self.told.get(&key)).into_iter().flatten();
        let ours = ours.filter(|(id, _)| concerns(id)).map(|(id, label)| (*id, Mark::Ours(label.clone())));
        Ok(silent.chain(ours).collect())
    }
}

/// Sets aside what belongs to another root of the same path, as in a container; `is_elsewhere` says so of a process.
/// What is `recorded` was started here, and may have shut itself in since.
pub(super) fn at_home(marks: &mut Marks, recorded: &[ProcessId], is_elsewhere: impl Fn(ProcessId) -> bool) {
    marks.retain(|id, mark| matches!(mark, Mark::Silent) || recorded.contains(id) || !is_elsewhere(*id));
}

/// Puts a member's family together from what was seen and read.
///
/// `recorded` is its first process according to the file, believed only if its environment and user do not
/// contradict. `proven` is its first process as found earlier by this function: believed even
/// when it is gone by now, so that what it leaves in its session belongs to it.
pub(super) fn family(
    table: &ProcessTable,
    marks: &Marks,
    place: &Place,
    member: &MemberName,
    recorded: Option<ProcessId>,
    proven: Option<ProcessId>,
) -> Family {
    let living = |id: ProcessId| table.get(id.pid).filter(|process| process.id == id && !process.zombie);
    let marked = |id: &ProcessId| match marks.get(id) {
        Some(Mark::Ours(label)) if label.worker == member.as_str() => Some(label.first.as_str()),
        _ => None,
    };
    let believed = |process: &&ProcessSummary| match marks.get(&process.id) {
        Some(Mark::Ours(label)) => label.worker == member.as_str(),
        Some(Mark::Silent) => process.uid == place.user.uid,
        None => false,
    };
    let ours = || marks.keys().filter_map(|id| marked(id).map(|first| (*id, first)));
    let leader =
        recorded.and_then(living).filter(believed).map(|process| process.id).or_else(|| {
            ours().find(|(id, first)| *first == process_mark(*id) && living(*id).is_some()).map(|(id, _)| id)
        });

    let mut roots: Vec<ProcessId> = ours().map(|(id, _)| id).filter(|id| living(*id).is_some()).collect();
    roots.extend(leader);
    let mut sessions: Vec<Pid> = Vec::new();
    for known in [leader, proven].into_iter().flatten() {
        // A number is not given away while a session bears it; if another process has it, the session is over.
        if table.get(known.pid).is_none_or(|holder| holder.id == known) {
            sessions.push(known.pid);
        }
    }
    // A marked process that was read leads its session, or its session has no leader any more.
    sessions.extend(roots.iter().filter_map(|id| living(*id)).map(|process| process.session));
    let mut all: Vec<ProcessId> = roots.clone();
    for process in table.processes.iter().filter(|process| !process.zombie) {
        if sessions.contains(&process.session) {
            all.push(process.id);
        }
    }
    let below: Vec<ProcessId> = all.iter().flat_map(|id| table.descendants(id.pid)).map(|process| process.id).collect();
    all.extend(below);
    all.sort_unstable_by_key(|id| (id.start_ticks, id.pid));
    all.dedup();
    all.retain(|id| Some(*id) != leader);
    Family { leader, others: all }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::model::process::StartTicks;
    use crate::ports::HostErrorKind;

    fn id(pid: u32) -> ProcessId {
        ProcessId { pid: Pid(pid), start_ticks: StartTicks(u64::from(pid) * 10) }
    }

    fn process(pid: u32, parent: u32, session: u32, uid: u32) -> ProcessSummary {
        ProcessSummary {
            id: id(pid),
            parent: Pid(parent),
            session: Pid(session),
            uid,
            terminal: false,
            started: Timestamp::UNIX_EPOCH,
            zombie: false,
            command: vec!["x".to_owned()],
            cwd: Known::Unknown(String::new()),
            executable: Known::Unknown(String::new()),
        }
    }

    fn place() -> Place {
        let user =
            User { name: "deploy".into(), uid: 7, gid: 7, groups: vec![7], home: "/".into(), shell: "/bin/sh".into() };
        Place {
            root: Root::new("/srv/app").unwrap(),
            real: "/srv/app".into(),
            app: "app".into(),
            user,
            uids: vec![7, 0],
        }
    }

    fn ours(first: u32) -> Mark {
        Mark::Ours(Label { worker: "g/1".to_owned(), first: process_mark(id(first)), recipe: None })
    }

    /// `(leader, others)` by pid.
    fn seen(
        processes: &[ProcessSummary],
        marks: &[(u32, Mark)],
        recorded: Option<u32>,
        proven: Option<u32>,
    ) -> (Option<u32>, Vec<u32>) {
        let table = ProcessTable { processes: processes.to_vec() };
        let marks: Marks = marks.iter().map(|(pid, mark)| (id(*pid), mark.clone())).collect();
        let member = MemberName::new("g/1").unwrap();
        let found = family(&table, &marks, &place(), &member, recorded.map(id), proven.map(id));
        (found.leader.map(|id| id.pid.0), found.others.iter().map(|id| id.pid.0).collect())
    }

    #[test]
    fn a_member_is_found_by_the_file_or_by_its_mark() {
        let table = [process(10, 1, 10, 7), process(11, 10, 10, 7), process(12, 11, 12, 7), process(20, 1, 20, 7)];
        let marks = [(10, ours(10)), (12, ours(10))];
        let whole = (Some(10), vec![11, 12]);
        assert_eq!(seen(&table, &marks, Some(10), None), whole, "by the file");
        assert_eq!(seen(&table, &marks, None, None), whole, "by the mark, though 12 leads a session and is marked too");
        assert_eq!(seen(&table, &marks, Some(20), None), whole, "the file names an innocent process");
        assert_eq!(seen(&table[3..], &marks, Some(20), None), (None, vec![]), "only the innocent one is there");
    }

    #[test]
    fn a_silent_process_is_believed_only_for_the_apps_own_user() {
        for (uid, expected) in [(7, Some(10)), (0, None), (33, None)] {
            let found = seen(&[process(10, 1, 10, uid)], &[(10, Mark::Silent)], Some(10), None);
            assert_eq!(found, (expected, vec![]), "{uid}");
        }
    }

    #[test]
    fn what_a_dead_leader_left_belongs_to_it() {
        // 10 is dead; 11 is of its session, 12 below 11 has a session of its own, 13 has written over its environment.
        let table = [process(11, 1, 10, 7), process(12, 11, 12, 7), process(13, 1, 10, 7)];
        let marks = [(11, ours(10)), (12, ours(10)), (13, Mark::Silent)];
        assert_eq!(seen(&table, &marks, Some(10), None), (None, vec![11, 12, 13]));
        let silent = [(13, Mark::Silent)];
        assert_eq!(seen(&table[2..], &silent, Some(10), None), (None, vec![]), "nothing proves it");
        assert_eq!(seen(&table[2..], &silent, None, Some(10)), (None, vec![13]), "10 was seen leading it");
        let reused = [
            ProcessSummary { id: ProcessId { start_ticks: StartTicks(999), ..id(10) }, ..process(10, 1, 10, 7) },
            process(13, 10, 10, 7),
        ];
        assert_eq!(seen(&reused, &silent, Some(10), Some(10)), (None, vec![]), "the number is another one's");
    }

    #[test]
    fn only_what_could_be_a_worker_is_read() {
        let mut zombie = process(30, 1, 30, 7);
        zombie.zombie = true;
        let table = ProcessTable {
            processes: vec![
                process(2, 0, 0, 0),
                process(10, 1, 10, 7),
                process(11, 10, 10, 7),
                process(20, 1, 20, 33),
                zombie,
                process(31, 30, 30, 7),
            ],
        };
        assert_eq!(candidates(&table, &place().uids).collect::<Vec<_>>(), [id(10), id(31)]);
    }

    fn set(names: &[(&str, &str)]) -> Known<Vec<(String, String)>> {
        Known::Known(names.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    const FULL: [(&str, &str); 5] = [
        ("PATH", "/bin"),
        ("TRUEUP_APP", "app"),
        ("TRUEUP_PROCESS", "10@100"),
        ("TRUEUP_ROOT", "/srv/app"),
        ("TRUEUP_WORKER", "g/1"),
    ];

    #[test]
    fn a_mark_is_read_from_the_environment() {
        let elsewhere = Place { real: "/srv/other".into(), ..place() };
        let renamed = Place { app: "other".to_owned(), ..place() };
        let rows = [
            ("whole", set(&FULL), place(), Some(ours(10))),
            ("the front was written over", set(&FULL[1..]), place(), Some(ours(10))),
            ("it names no worker", set(&FULL[..4]), place(), None),
            ("it never had a mark", set(&[("PATH", "/bin")]), place(), None),
            ("nothing is left", set(&[]), place(), Some(Mark::Silent)),
            ("it may not be read", Known::Unknown("not permitted".into()), place(), Some(Mark::Silent)),
            ("of another root", set(&FULL), elsewhere, None),
            ("of another App", set(&FULL), renamed, None),
        ];
        let table = ProcessTable { processes: vec![process(10, 1, 10, 7)] };
        for (name, environment, place, expected) in rows {
            let mut labels = Labels::default();
            labels.add(id(10), environment);
            let marks = labels.marks(&table, &place, &[id(10)]).unwrap();
            assert_eq!(marks.get(&id(10)).cloned(), expected, "{name}");
        }
    }

    #[test]
    fn an_app_believes_what_it_could_have_started_or_has_recorded() {
        let table = ProcessTable { processes: vec![process(10, 1, 10, 7), process(20, 1, 20, 33)] };
        let mut labels = Labels::default();
        for pid in [10, 20] {
            labels.add(id(pid), set(&FULL));
        }
        let believed = |recorded: &[ProcessId]| -> Vec<u32> {
            labels.marks(&table, &place(), recorded).unwrap().keys().map(|id| id.pid.0).collect()
        };
        assert_eq!(believed(&[]), [10], "no worker of ours would run as that user");
        assert_eq!(believed(&[id(20)]), [10, 20]);
    }

    #[test]
    fn a_worker_of_a_container_is_not_of_this_root() {
        let marked = |recorded: &[ProcessId]| {
            let mut marks = Marks::from([(id(10), ours(10)), (id(20), ours(20)), (id(30), Mark::Silent)]);
            at_home(&mut marks, recorded, |process| process != id(10));
            marks.keys().map(|id| id.pid.0).collect::<Vec<_>>()
        };
        assert_eq!(marked(&[]), [10, 30]);
        assert_eq!(marked(&[id(20)]), [10, 20, 30], "started here, and shut in since");
    }

    #[test]
    fn one_that_cannot_be_looked_at_is_an_error_only_where_it_could_be_a_worker() {
        let table = ProcessTable { processes: vec![process(10, 1, 10, 7), process(20, 1, 20, 33)] };
        let failed = |pid| Labels {
            failed: vec![(id(pid), HostError::new(HostErrorKind::Other, "no descriptors"))],
            ..Labels::default()
        };
        assert!(failed(10).marks(&table, &place(), &[]).is_err());
        assert!(failed(20).marks(&table, &place(), &[]).is_ok());
        assert!(failed(20).marks(&table, &place(), &[id(20)]).is_err());
    }
}
