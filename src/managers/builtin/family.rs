//! Which processes belong to a member: its first process, all of its session, everything below, and whatever
//! carries its mark in the environment.
//!
//! A mark names the root, the App, the member, and the process that was started as the member; a descendant
//! inherits it and is told from the first process by that last part. Only processes of users that could
//! have been started here are believed.

use std::collections::BTreeMap;
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

/// What a process's environment says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Mark {
    /// It was started as a member of this App, or by one.
    Ours {
        /// The member's name as it stands there.
        worker: String,
        /// The process that was started as the member.
        first: String,
        /// Digest of what it was started with; none where an older trueup started it.
        recipe: Option<String>,
    },
    /// It has an environment, and that is another one.
    Foreign,
    /// It may not be read, or the process has written over it.
    Silent,
}

/// What was read of a number of processes.
pub(super) type Marks = BTreeMap<ProcessId, Mark>;

/// What belongs to a member.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Family {
    /// The process that was started as the member, if it lives.
    pub(super) leader: Option<ProcessId>,
    /// What else belongs to it, or what it left behind; ordered.
    pub(super) others: Vec<ProcessId>,
}

/// Processes whose environment is worth reading: leaders of sessions, and those whose leader is gone. Others are
/// reached through their session.
pub(super) fn candidates(table: &ProcessTable, place: &Place) -> Vec<ProcessId> {
    let alive = |pid: Pid| table.get(pid).is_some_and(|process| !process.zombie);
    table
        .processes
        .iter()
        // Session 0 is the kernel's.
        .filter(|process| !process.zombie && process.session.0 != 0 && place.uids.contains(&process.uid))
        .filter(|process| process.session == process.id.pid || !alive(process.session))
        .map(|process| process.id)
        .collect()
}

/// Reads what the environments of these processes say; blocks.
///
/// # Errors
/// One of them cannot be looked at, and nobody knows whether it is a worker.
pub(super) fn read_marks(processes: impl IntoIterator<Item = ProcessId>, place: &Place) -> Result<Marks, HostError> {
    let mut marks = Marks::new();
    for process in processes {
        let environment = proc::environment(process)?;
        marks.extend(environment.map(|environment| (process, mark(&environment, place))));
    }
    Ok(marks)
}

fn mark(environment: &Known<Vec<(String, String)>>, place: &Place) -> Mark {
    let Known::Known(environment) = environment else { return Mark::Silent };
    let value = |name: &str| environment.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str());
    match (value(ROOT_VARIABLE), value(APP_VARIABLE), value(WORKER_VARIABLE), value(PROCESS_VARIABLE)) {
        (Some(root), Some(app), Some(worker), Some(first)) if place.real.as_os_str() == root && app == place.app => {
            let recipe = value(RECIPE_VARIABLE).map(str::to_owned);
            Mark::Ours { worker: worker.to_owned(), first: first.to_owned(), recipe }
        }
        // Programs that write their title over their environment begin at its front, where PATH is;
        // one with PATH and without a mark never had one.
        (None, _, _, _) if value("PATH").is_none() => Mark::Silent,
        _ => Mark::Foreign,
    }
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
        Some(Mark::Ours { worker, first, .. }) if worker == member.as_str() => Some(first.as_str()),
        _ => None,
    };
    let believed = |process: &&ProcessSummary| match marks.get(&process.id) {
        Some(Mark::Ours { worker, .. }) => worker == member.as_str(),
        Some(Mark::Silent) => process.uid == place.user.uid,
        Some(Mark::Foreign) | None => false,
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

    fn id(pid: u32) -> ProcessId {
        ProcessId { pid: Pid(pid), start_ticks: StartTicks(u64::from(pid) * 10) }
    }

    fn process(pid: u32, parent: u32, session: u32, uid: u32) -> ProcessSummary {
        ProcessSummary {
            id: id(pid),
            parent: Pid(parent),
            session: Pid(session),
            uid,
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
        Mark::Ours { worker: "g/1".to_owned(), first: process_mark(id(first)), recipe: None }
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
        let marks = [(10, ours(10)), (12, ours(10)), (20, Mark::Foreign)];
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
        assert_eq!(candidates(&table, &place()), [id(10), id(31)]);
    }

    #[test]
    fn a_mark_is_read_from_the_environment() {
        let set = |names: &[(&str, &str)]| {
            Known::Known(names.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
        };
        let full = [
            ("PATH", "/bin"),
            ("TRUEUP_APP", "app"),
            ("TRUEUP_PROCESS", "10@100"),
            ("TRUEUP_ROOT", "/srv/app"),
            ("TRUEUP_WORKER", "g/1"),
        ];
        assert_eq!(mark(&set(&full), &place()), ours(10));
        assert_eq!(mark(&set(&full[1..]), &place()), ours(10), "the front was written over");
        assert_eq!(mark(&set(&full[..4]), &place()), Mark::Foreign);
        assert_eq!(mark(&set(&[("PATH", "/bin")]), &place()), Mark::Foreign);
        assert_eq!(mark(&set(&[]), &place()), Mark::Silent);
        assert_eq!(mark(&Known::Unknown("not permitted".into()), &place()), Mark::Silent);
        let elsewhere = Place { real: "/srv/other".into(), ..place() };
        assert_eq!(mark(&set(&full), &elsewhere), Mark::Foreign);
    }
}
