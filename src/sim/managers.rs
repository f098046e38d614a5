//! The simulated host's managers, with their bad habits.

use std::time::Duration;

use jiff::Timestamp;

use super::faults::{Call, Fault};
use super::host::SimHost;
use super::world::{Member, Shows, World};
use crate::model::action::Action;
use crate::model::app::Manager;
use crate::model::names::{GroupName, MemberName};
use crate::model::observed::MemberState;
use crate::model::process::{Pid, ProcessId, ProcessTable};
use crate::ports::{GroupOf, HostError, HostErrorKind, Listed, Managers};

/// How long a manager may take until a member runs, or is given up.
const PATIENCE: Duration = Duration::from_secs(20);

impl SimHost {
    /// Waits until the member runs; while its manager keeps trying, that may take a while.
    async fn until_running(&self, group: &GroupName, name: &MemberName) -> Result<(), HostError> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            {
                let mut world = self.world();
                let Some(member) = world.member(group, name).cloned() else {
                    return Err(HostError::new(HostErrorKind::Misconfigured, format!("no member {name}")));
                };
                match member.state {
                    MemberState::Running if world.member_process(group, name).is_some() => return Ok(()),
                    MemberState::Failed => {
                        return Err(HostError::new(HostErrorKind::WorkerFailed, format!("{name} was given up")));
                    }
                    MemberState::Exited | MemberState::Stopped if member.next.is_none() => {
                        world.spawn(group, name);
                    }
                    _ => {}
                }
            }
            if tokio::time::Instant::now() >= deadline {
                return Err(HostError::new(HostErrorKind::WorkerFailed, format!("{name} does not get to run")));
            }
            self.until_something_happens().await;
        }
    }

    pub(super) async fn until_gone(&self, pid: Pid, process: ProcessId) {
        while self.world().processes.get(&pid).is_some_and(|one| one.id == process) {
            self.until_something_happens().await;
        }
    }

    /// Waits for the world's next event, a second at most.
    async fn until_something_happens(&self) {
        let next = {
            let world = self.world();
            world.next_event().map(|at| at.duration_since(world.now))
        };
        let second = Duration::from_secs(1);
        let pause = next.and_then(|next| Duration::try_from(next).ok()).unwrap_or(second);
        tokio::time::sleep(pause.clamp(Duration::from_millis(1), second)).await;
    }

    /// Somebody else was quicker: the member's process is another one by the time that it is to be replaced.
    async fn overtaken(&self, group: &GroupName, name: &MemberName) {
        {
            let mut world = self.world();
            // Every other time.
            match world.member_process(group, name).map(|process| process.id.pid) {
                Some(pid) if pid.0 % 2 == 0 => world.end(pid),
                _ => return,
            }
        }
        while self.world().member(group, name).is_some_and(|member| member.next.is_some()) {
            self.until_something_happens().await;
        }
    }

    /// Asks a member's process to end; it takes its time for the job in hand, at most `grace`.
    fn ask_to_end(&self, group: &GroupName, name: &MemberName, grace: Duration) -> Option<ProcessId> {
        let mut world = self.world();
        let member = world.member(group, name)?.clone();
        let ends = world.after(member.job.min(grace));
        let process = world.processes.get_mut(&member.pid?)?;
        process.asked_to_end = true;
        process.ends = Some(process.ends.unwrap_or(ends).min(ends));
        let id = process.id;
        if world.member_process(group, name).is_none() {
            world.violation(format!("{name}: another process of that number was signalled"));
        }
        Some(id)
    }
}

impl Managers for SimHost {
    async fn list(&self, groups: &[GroupOf<'_>], _: &ProcessTable) -> Vec<Result<Vec<Listed>, HostError>> {
        let fault = self.before(Call::List).await;
        let world = self.world();
        let listed = |of: &GroupOf<'_>| {
            fault.clone()?;
            if let Some(error) = world.unobservable(&of.group.name) {
                return Err(error);
            }
            let members = world.members.iter().filter(|member| member.group == of.group.name).filter(|member| {
                // Only a fixed set shows what is not there.
                matches!(of.group.manager, Manager::Supervisord(_))
                    || member.pid.is_some()
                    || member.enabled == Some(true)
                    || member.state != MemberState::Stopped
            });
            Ok(members.map(|member| show(&world, member)).collect())
        };
        groups.iter().map(listed).collect()
    }

    async fn start(&self, of: GroupOf<'_>, name: &MemberName) -> Result<(), HostError> {
        let fault = self.before(Call::Start).await?;
        if fault == Some(Fault::Lie) {
            return Ok(());
        }
        let group = &of.group.name;
        {
            let mut world = self.world();
            // A further try of a restart is a start.
            world.check_action("a start", |action| matches!(action, Action::StartWorker { member, .. } | Action::RestartWorker { member, .. } if member == name));
            if world.member(group, name).is_none() {
                let member = new_member(&of, name);
                world.members.push(member);
            }
            if let Some(member) = world.member(group, name) {
                member.enabled = member.enabled.map(|_| true);
                let down = member.state.is_down();
                if down {
                    world.spawn(group, name);
                }
            }
        }
        if fault == Some(Fault::CrashAfter) {
            return self.die().await;
        }
        self.until_running(group, name).await?;
        self.after(Call::Start, fault).await
    }

    async fn replace(&self, of: GroupOf<'_>, name: &MemberName, old: Option<ProcessId>) -> Result<(), HostError> {
        let fault = self.before(Call::Restart).await?;
        if fault == Some(Fault::Lie) {
            return Ok(());
        }
        let group = &of.group.name;
        if fault == Some(Fault::Slow) {
            self.overtaken(group, name).await;
        }
        let present = self.world().member_process(group, name).map(|process| process.id);
        let is_still_it = present.is_some() && (old.is_none() || present == old);
        if is_still_it {
            {
                let mut world = self.world();
                world.check_action(
                    "a restart",
                    |action| matches!(action, Action::RestartWorker { member, .. } if member == name),
                );
                world.check_taking_down(group, name, false);
                world.down_by_us.insert(name.clone());
                world.check_unavailable(group);
            }
            let asked = self.ask_to_end(group, name, of.group.stop_timeout);
            if fault == Some(Fault::CrashAfter) {
                return self.die().await;
            }
            if let Some(process) = asked {
                self.until_gone(process.pid, process).await;
            }
        }
        self.until_running(group, name).await?;
        self.after(Call::Restart, fault).await
    }

    async fn stop(&self, of: GroupOf<'_>, name: &MemberName) -> Result<(), HostError> {
        let fault = self.before(Call::Stop).await?;
        if fault == Some(Fault::Lie) {
            return Ok(());
        }
        let group = &of.group.name;
        {
            let mut world = self.world();
            world
                .check_action("a stop", |action| matches!(action, Action::StopWorker { member, .. } if member == name));
            world.check_taking_down(group, name, true);
            if let Some(member) = world.member(group, name) {
                member.enabled = member.enabled.map(|_| false);
                if member.pid.is_none() {
                    member.state = MemberState::Stopped;
                    member.next = None;
                } else {
                    member.stopping = true;
                    member.state = MemberState::Stopping;
                    member.next = None;
                }
            }
            if world.member_process(group, name).is_none()
                && let Some(member) = world.member(group, name)
            {
                member.pid = None;
                member.state = MemberState::Stopped;
            }
        }
        let asked = self.ask_to_end(group, name, of.group.stop_timeout);
        if fault == Some(Fault::CrashAfter) {
            return self.die().await;
        }
        if let Some(process) = asked {
            self.until_gone(process.pid, process).await;
        }
        self.after(Call::Stop, fault).await
    }

    async fn enable(&self, of: GroupOf<'_>, name: &MemberName) -> Result<(), HostError> {
        let fault = self.before(Call::Enable).await?;
        if fault == Some(Fault::Lie) {
            return Ok(());
        }
        {
            let mut world = self.world();
            world.check_action(
                "enabling",
                |action| matches!(action, Action::EnableWorker { member, .. } if member == name),
            );
            if let Some(member) = world.member(&of.group.name, name) {
                member.enabled = Some(true);
            }
        }
        self.after(Call::Enable, fault).await
    }
}

fn show(world: &World, member: &Member) -> Listed {
    let process = member.pid.and_then(|pid| world.processes.get(&pid));
    // Managers tell starts in whole seconds.
    let started = process.map(|process| {
        let second = Timestamp::from_second(process.started.as_second()).unwrap();
        (second, Duration::from_secs(1))
    });
    Listed {
        member: member.name.clone(),
        ordinal: member.ordinal,
        state: member.state,
        detail: String::new(),
        pid: member.pid,
        started,
        enabled: member.enabled,
        outdated: false,
    }
}

fn new_member(of: &GroupOf<'_>, name: &MemberName) -> Member {
    let ordinal = (1..100).find(|ordinal| of.group.member(*ordinal).as_ref() == Some(name)).unwrap_or(100);
    Member {
        group: of.group.name.clone(),
        name: name.clone(),
        ordinal,
        state: MemberState::Stopped,
        pid: None,
        restarts_itself: !matches!(of.group.manager, Manager::Builtin(_)),
        stopping: false,
        enabled: matches!(of.group.manager, Manager::Systemd(_)).then_some(false),
        next: None,
        failing_starts: 0,
        shows: Shows::WorkingDirectory,
        pinned: None,
        job: Duration::from_millis(10),
    }
}
