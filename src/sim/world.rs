//! The truth about a simulated host.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::faults::{Call, Faults};
use super::random::Random;
use crate::model::app::{App, Manager, RestartOn};
use crate::model::journal::JournalEntry;
use crate::model::memory::Memory;
use crate::model::names::{GroupName, MemberName, ReleaseId, Root};
use crate::model::observed::{Link, MemberState};
use crate::model::process::{Pid, ProcessId, StartTicks};
use crate::model::record::ReleaseRecord;
use crate::ports::{HostError, HostErrorKind};

/// Which rungs of the ladder a process speaks on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shows {
    WorkingDirectory,
    EntryScript,
    Executable,
    /// Nothing to us; a witness sees its entry script.
    Stranger,
    /// Nothing but its start time.
    Silent,
    /// Not even in `/proc`.
    Hidden,
}

#[derive(Debug, Clone)]
pub struct Process {
    pub id: ProcessId,
    pub parent: Pid,
    /// By the clock as it went then.
    pub started: Timestamp,
    /// What `/proc` makes of the start, by the clock as it goes now: off by some milliseconds.
    pub seen_started: Timestamp,
    pub runs: ReleaseId,
    pub shows: Shows,
    pub config_at_start: u64,
    /// Group and member whose process this is or was.
    pub owner: Option<(GroupName, MemberName)>,
    pub orphan: bool,
    /// Ends at this moment, whatever becomes of trueup.
    pub ends: Option<Timestamp>,
    pub asked_to_end: bool,
}

#[derive(Debug, Clone)]
pub struct Member {
    pub group: GroupName,
    pub name: MemberName,
    pub ordinal: u32,
    pub state: MemberState,
    pub pid: Option<Pid>,
    /// Its manager starts it again when it ends.
    pub restarts_itself: bool,
    /// Its manager has been told to keep it stopped.
    pub stopping: bool,
    pub enabled: Option<bool>,
    /// When its state next changes by itself.
    pub next: Option<Timestamp>,
    /// How often its start still fails.
    pub failing_starts: u32,
    pub shows: Shows,
    /// Its command names a release itself, so that no restart helps.
    pub pinned: Option<ReleaseId>,
    /// How long its job in hand takes after it was asked to end.
    pub job: Duration,
}

/// What may be wrong with a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    /// It cannot be fetched.
    Source,
    /// It cannot be built.
    Build,
    /// It says itself that it does not do.
    Verification,
    /// It answers, and is not well.
    Unhealthy,
    /// Its workers do not stay up.
    Crashing,
}

/// The one service.
pub const SERVICE: &str = "renewing the service";

/// The host.
#[derive(Debug)]
pub struct World {
    pub app: App,
    pub random: Random,
    pub faults: Faults,
    /// How long these calls take; the others take no time.
    pub lasts: BTreeMap<Call, Duration>,
    /// These fail each time.
    pub refused: BTreeSet<Call>,
    /// Whoever asks for the lock of one of these roots waits for ever: its file system does not answer.
    pub silent: BTreeSet<Root>,
    pub now: Timestamp,
    /// By so much somebody has set the clock.
    pub ahead: SignedDuration,
    pub link: Link,
    pub link_changed: Option<Timestamp>,
    pub releases: Vec<ReleaseId>,
    /// When they were made, but for one that was fetched.
    pub made: Timestamp,
    /// When the desired one was fetched.
    pub fetched: Option<Timestamp>,
    pub processes: BTreeMap<Pid, Process>,
    pub members: Vec<Member>,
    pub config_version: u64,
    pub config_written: Timestamp,
    /// Why trueup cannot read it.
    pub config_unreadable: Option<String>,
    /// The version that the `restartOn` step has last been run for, in each release.
    pub config_cached: BTreeMap<ReleaseId, u64>,
    pub healthy: bool,
    /// What the application answers before it answers as it is: whether it is well.
    pub moods: VecDeque<bool>,
    /// What is wrong with the desired release.
    pub flaw: Option<Flaw>,
    pub records: BTreeMap<ReleaseId, ReleaseRecord>,
    /// Releases whose files are not all there.
    pub half: BTreeSet<ReleaseId>,
    /// Releases with their links.
    pub linked: BTreeSet<ReleaseId>,
    /// How often each was migrated to.
    pub migrations: BTreeMap<ReleaseId, u32>,
    /// When the service was last renewed, and what it serves.
    pub service_renewed: Timestamp,
    pub service_serves: ReleaseId,
    pub journal: Vec<JournalEntry>,
    /// A line could not be written since trueup was last started.
    pub journal_failed: bool,
    pub memory: Memory,
    /// Groups and services that cannot be observed before a moment, and of what kind the refusal is.
    pub away: BTreeMap<GroupName, (Timestamp, HostErrorKind)>,
    /// One that cannot be observed any more once `current` leads to the desired release.
    pub away_after_switch: Option<(GroupName, HostErrorKind)>,
    pub lock_holders: u32,
    /// Trueup itself, run from a shell in the old release.
    pub own: Pid,
    pub next_pid: u32,
    pub free_pids: Vec<u32>,
    /// Changes made by trueup since the counter was last set to zero.
    pub changes: u64,
    pub violations: Vec<String>,
    /// Members taken down by trueup and not up again.
    pub down_by_us: BTreeSet<MemberName>,
    pub crashed: bool,
}

/// How long a process must last to be called running.
const STARTUP: Duration = Duration::from_secs(1);

impl World {
    /// A process of `member` begins, in whatever the link leads to now.
    pub fn spawn(&mut self, group: &GroupName, member: &MemberName) {
        let Some(at) = self.members.iter().position(|one| one.name == *member && one.group == *group) else { return };
        let Link::Release { id } = self.link.clone() else {
            // `current` leads nowhere: the command is not found, and the manager tries again.
            self.members[at].state = MemberState::Backoff;
            self.members[at].pid = None;
            self.members[at].next = Some(self.after(Duration::from_secs(2)));
            return;
        };
        let crashes = self.flaw == Some(Flaw::Crashing) && id == self.app.release.id;
        if crashes || self.members[at].failing_starts > 0 {
            self.members[at].failing_starts = self.members[at].failing_starts.saturating_sub(1);
            self.members[at].pid = None;
            let gives_up = self.random.percent(50);
            self.members[at].state = if gives_up { MemberState::Failed } else { MemberState::Backoff };
            self.members[at].next = (!gives_up).then(|| self.after(Duration::from_secs(2)));
            return;
        }
        let shows = self.members[at].shows;
        let id = self.members[at].pinned.clone().unwrap_or(id);
        let pid = self.new_process(Pid(2), id, shows, Some((group.clone(), member.clone())));
        let running_at = self.after(STARTUP);
        let one = &mut self.members[at];
        one.pid = Some(pid);
        one.state = MemberState::Starting;
        one.next = Some(running_at);
        one.stopping = false;
    }

    pub fn new_process(
        &mut self,
        parent: Pid,
        runs: ReleaseId,
        shows: Shows,
        owner: Option<(GroupName, MemberName)>,
    ) -> Pid {
        // Numbers are used again, at once and often.
        let number = match self.free_pids.pop() {
            Some(number) if self.random.percent(70) => number,
            _ => {
                self.next_pid += 1;
                self.next_pid
            }
        };
        let since_boot = self.now.duration_since(Timestamp::UNIX_EPOCH).as_millis() / 10;
        let off = SignedDuration::from_millis(i64::try_from(self.random.below(19)).unwrap() - 10);
        let process = Process {
            id: ProcessId { pid: Pid(number), start_ticks: StartTicks(u64::try_from(since_boot).unwrap()) },
            parent,
            started: self.clock(),
            seen_started: self.clock() + off,
            config_at_start: self.config_read_in(&runs),
            runs,
            shows,
            owner,
            orphan: false,
            ends: None,
            asked_to_end: false,
        };
        self.processes.insert(Pid(number), process);
        Pid(number)
    }

    /// What the clock shows.
    pub fn clock(&self) -> Timestamp {
        self.now + self.ahead
    }

    /// Somebody sets the clock; the kernel, which counts from the boot, tells other starts from then on.
    pub fn set_clock(&mut self, by: SignedDuration) {
        self.ahead += by;
        self.service_renewed += by;
        for process in self.processes.values_mut() {
            process.seen_started += by;
        }
    }

    fn restart_on(&self) -> Option<&RestartOn> {
        self.app.workers.iter().flat_map(|group| &group.restart_on).next()
    }

    pub fn has_step(&self) -> bool {
        self.restart_on().is_some_and(|file| file.run.is_some())
    }

    /// What a worker reads that starts in this release now: with a step, what that has last made known there.
    pub fn config_read_in(&self, release: &ReleaseId) -> u64 {
        if self.has_step() { self.config_cached.get(release).copied().unwrap_or(0) } else { self.config_version }
    }

    pub fn after(&self, duration: Duration) -> Timestamp {
        self.now + SignedDuration::try_from(duration).unwrap()
    }

    /// Why a group or service cannot be observed now.
    pub fn unobservable(&self, name: &GroupName) -> Option<HostError> {
        let now = self.away.get(name).filter(|(until, _)| self.now < *until).map(|(_, kind)| *kind);
        let after = self.away_after_switch.as_ref().filter(|(of, _)| of == name && self.leads_to(&self.app.release.id));
        let kind = now.or(after.map(|(_, kind)| *kind))?;
        Some(HostError::new(kind, "nobody knows it"))
    }

    /// Lets everything happen that happens by itself until `now`.
    pub fn advance(&mut self, now: Timestamp) {
        while let Some(at) = self.next_event().filter(|at| *at <= now) {
            self.now = self.now.max(at);
            let ended: Vec<Pid> = self
                .processes
                .values()
                .filter(|one| one.ends.is_some_and(|end| end <= at))
                .map(|one| one.id.pid)
                .collect();
            for pid in ended {
                self.end(pid);
            }
            let due: Vec<usize> =
                (0..self.members.len()).filter(|i| self.members[*i].next.is_some_and(|next| next <= at)).collect();
            for index in due {
                self.turn(index);
            }
        }
        self.now = self.now.max(now);
    }

    /// When something next happens by itself.
    pub fn next_event(&self) -> Option<Timestamp> {
        let ends = self.processes.values().filter_map(|process| process.ends);
        let turns = self.members.iter().filter_map(|member| member.next);
        ends.chain(turns).min()
    }

    /// A member's state changes by itself.
    fn turn(&mut self, index: usize) {
        self.members[index].next = None;
        let alive = self.members[index].pid.is_some_and(|pid| self.processes.contains_key(&pid));
        match self.members[index].state {
            MemberState::Starting if alive => {
                self.members[index].state = MemberState::Running;
                let name = self.members[index].name.clone();
                self.down_by_us.remove(&name);
            }
            // RUNNING with a dead process is a manager that has not noticed until now.
            MemberState::Backoff | MemberState::Running | MemberState::Starting => {
                self.free_pids.extend(self.members[index].pid.take().map(|pid| pid.0));
                let (group, name) = (self.members[index].group.clone(), self.members[index].name.clone());
                self.spawn(&group, &name);
            }
            _ => {}
        }
    }

    /// A process ends.
    pub fn end(&mut self, pid: Pid) {
        let Some(process) = self.processes.remove(&pid) else { return };
        let index = process.owner.and_then(|(group, name)| {
            self.members.iter().position(|one| one.group == group && one.name == name && one.pid == Some(pid))
        });
        let Some(index) = index else {
            self.free_pids.push(pid.0);
            return;
        };
        let noticed_late = self.random.percent(50);
        let noticing = Duration::from_millis(1 + self.random.below(1500));
        let soon = self.after(noticing);
        let member = &mut self.members[index];
        member.next = None;
        if member.restarts_itself && !member.stopping && noticed_late {
            // A zombie: still named, and its number is nobody else's until its manager has noticed.
            member.next = Some(soon);
            return;
        }
        member.pid = None;
        if member.stopping {
            member.state = MemberState::Stopped;
        } else if member.restarts_itself {
            member.state = MemberState::Backoff;
            member.next = Some(soon);
        } else {
            member.state = MemberState::Exited;
        }
        self.free_pids.push(pid.0);
    }

    pub fn member(&mut self, group: &GroupName, name: &MemberName) -> Option<&mut Member> {
        self.members.iter_mut().find(|one| one.group == *group && one.name == *name)
    }

    pub fn member_process(&self, group: &GroupName, name: &MemberName) -> Option<&Process> {
        let member = self.members.iter().find(|one| one.group == *group && one.name == *name)?;
        self.processes
            .get(&member.pid?)
            .filter(|process| process.owner.as_ref() == Some(&(group.clone(), name.clone())))
    }

    /// The release that should be in force: the desired one, or while that is kept out the one proven last.
    pub fn target(&self) -> ReleaseId {
        let desired = &self.app.release.id;
        let known = self.records.get(desired).filter(|record| record.proven.is_none());
        let kept_out = known.and_then(|record| record.quarantine.as_ref());
        if kept_out.is_none_or(|quarantine| quarantine.key != self.app.fingerprint.trial) {
            return desired.clone();
        }
        let others = self.records.values().filter(|record| record.id != *desired && record.proven.is_some());
        let others = others.filter(|record| self.releases.contains(&record.id));
        let last = others
            .max_by_key(|record| (self.leads_to(&record.id), record.proven.max(record.switched), record.id.clone()));
        match (last, &self.link) {
            (Some(record), _) => record.id.clone(),
            // No way back: what is there stays.
            (None, Link::Release { id }) => id.clone(),
            (None, _) => desired.clone(),
        }
    }

    /// The application is well, and so is the release that serves.
    pub fn is_healthy(&self) -> bool {
        let ill = self.flaw == Some(Flaw::Unhealthy) && self.leads_to(&self.app.release.id);
        self.healthy && !ill
    }

    fn leads_to(&self, release: &ReleaseId) -> bool {
        matches!(&self.link, Link::Release { id } if id == release)
    }

    /// The truth: this process runs what the App wants.
    pub fn is_right(&self, process: &Process) -> bool {
        let reads = process.owner.as_ref().and_then(|(group, _)| self.app.group(group)).map(|group| &group.restart_on);
        let current_config = reads.is_none_or(Vec::is_empty) || process.config_at_start == self.config_version;
        process.runs == self.target() && current_config && !process.asked_to_end
    }

    pub fn leads_to_desired(&self) -> bool {
        self.leads_to(&self.target())
    }

    /// The truth: nothing is left to be done.
    pub fn is_converged(&self) -> Result<(), String> {
        if !self.leads_to_desired() {
            return Err(format!("current leads to {}", self.link));
        }
        for group in &self.app.workers {
            let right = self
                .members
                .iter()
                // One that was replaced by its manager during the look may not have lasted its second yet.
                .filter(|one| one.group == group.name && one.state.is_up())
                .filter(|one| {
                    one.pid.and_then(|pid| self.processes.get(&pid)).is_some_and(|process| self.is_right(process))
                })
                .count();
            let up = self.members.iter().filter(|one| one.group == group.name && one.pid.is_some()).count();
            if right != group.count as usize || up != right {
                return Err(format!(
                    "{}: {right} of {up} run what they should, {} are wanted",
                    group.name, group.count
                ));
            }
            if let Manager::Systemd(_) = group.manager {
                let enabled = self.members.iter().filter(|one| one.group == group.name && one.enabled == Some(true));
                if enabled.count() != right {
                    return Err(format!("{}: not exactly the running ones are enabled", group.name));
                }
            }
        }
        if self.processes.values().any(|process| process.orphan) {
            return Err("an orphan is left".to_owned());
        }
        Ok(())
    }
}
