//! Starts, replaces and stops one member through a [`Client`], and waits for the outcome.
//!
//! supervisord notices an exit at its own tick, up to a second or two later, unless somebody talks to it. So
//! while it has something to notice it is asked again and again; while a worker finishes its job, its pidfd
//! is waited for and supervisord is left alone. A replaced worker is signalled, never stopped: it ends its
//! job and supervisord starts it again, so nothing is ever STOPPED in between, and supervisord's own
//! `stopwaitsecs` does not cut the job short. Begin at [`Act::replace`].

use std::time::Duration;

use rustix::io::Errno;
use tokio::time::{Instant, sleep};

use super::client::{Client, Info, Pace, Settings, StartAnswer, StopSignal};
use super::process_tree::{KILL_GRACE, ProcessTree, ends_by};
use crate::host::proc::{identify, identify_child};
use crate::host::signal::killed;
use crate::model::names::MemberName;
use crate::model::observed::MemberState;
use crate::model::process::ProcessId;
use crate::ports::notes::note;
use crate::ports::{HostError, HostErrorKind};

/// How long a worker that exits too quickly may go on being tried, beyond the time that a start takes.
const PATIENCE: Duration = Duration::from_secs(15);
/// What is added to a wait for supervisord's own deadlines.
const MARGIN: Duration = Duration::from_secs(5);
/// supervisord goes from an exit to a new process in about three wakings: these first asks come quickly.
const QUICK_ASKS: u32 = 10;
/// How often a start that somebody else undid is repeated.
const STARTS: u32 = 3;
/// A worker that exited may be started again by supervisord at its next waking; so many looks tell.
const LOOKS_AT_EXITED: u32 = 3;

/// One member to act on.
pub(super) struct Act<'a, D> {
    client: &'a D,
    member: &'a MemberName,
    stop_timeout: Duration,
    settings: Settings,
}

/// Spaces the asks of one wait.
struct Asking {
    asks: u32,
    pace: Pace,
}

impl Asking {
    fn at(pace: Pace) -> Self {
        Self { asks: 0, pace }
    }

    async fn pause(&mut self) {
        self.asks += 1;
        sleep(if self.asks <= QUICK_ASKS { self.pace.first } else { self.pace.then }).await;
    }

    fn begin_anew(&mut self) {
        self.asks = 0;
    }
}

impl<'a, D: Client> Act<'a, D> {
    /// Prepares to act, which takes the program's settings.
    pub(super) async fn on(client: &'a D, member: &'a MemberName, stop_timeout: Duration) -> Self {
        Self { client, member, stop_timeout, settings: client.settings(member).await }
    }

    /// Returns when the member runs.
    ///
    /// # Errors
    /// `WorkerFailed` with the worker's last words when it does not stay up.
    pub(super) async fn start(&self) -> Result<(), HostError> {
        self.bring_up(None).await
    }

    /// Replaces `process` by a successor and returns when that runs; where the member's process is another
    /// one by now, only sees it run. Without `process` whatever runs now is replaced.
    ///
    /// # Errors
    /// `WorkerFailed` with the successor's last words when it does not stay up, `TimedOut` for a process that
    /// survives even SIGKILL.
    pub(super) async fn replace(&self, process: Option<ProcessId>) -> Result<(), HostError> {
        let info = self.shown().await?;
        let current = info.pid.map(identify_child).transpose()?.flatten();
        let (Some(current), false) = (current, info.state == MemberState::Stopping) else {
            return self.bring_up(current.or(process)).await;
        };
        if process.is_some_and(|process| process != current) {
            return self.bring_up(None).await;
        }
        let Some(family) = ProcessTree::hold(current).await? else {
            return self.bring_up(Some(current)).await;
        };
        self.signal(&family, self.settings.stop_signal).await?;
        let deadline = Instant::now() + self.stop_timeout;
        let killed = self.see_it_end(&family, deadline).await?;
        let rest = self.sweep(family, deadline, killed);
        let (up, swept) = tokio::join!(self.bring_up(Some(current)), rest);
        up.and(swept)
    }

    /// Stops the member for good and returns when nothing of it runs.
    ///
    /// # Errors
    /// `TimedOut` for a process that survives even SIGKILL.
    pub(super) async fn stop(&self) -> Result<(), HostError> {
        let deadline = Instant::now() + self.stop_timeout;
        let mut asking = Asking::at(self.client.pace());
        // More than one where supervisord starts it again before our stop reaches it.
        let mut families: Vec<ProcessTree> = Vec::new();
        let (mut exited, mut killed) = (0, false);
        loop {
            let info = self.client.info(self.member).await?;
            let process = info.pid.map(identify).transpose()?.flatten();
            if let Some(process) = process.filter(|process| families.last().map(ProcessTree::id) != Some(*process)) {
                families.extend(ProcessTree::hold(process).await?);
            }
            match info.state {
                MemberState::Stopped | MemberState::Failed => break,
                MemberState::Exited => {
                    exited += 1;
                    if exited >= LOOKS_AT_EXITED {
                        break;
                    }
                }
                MemberState::Running | MemberState::Starting | MemberState::Backoff => {
                    self.client.stop(self.member).await?;
                }
                MemberState::Stopping => {
                    if let Some(family) = families.last() {
                        killed |= self.see_it_end(family, deadline).await?;
                    } else if Instant::now() >= deadline && !killed {
                        self.client.signal(self.member, StopSignal::KILL).await?;
                        killed = true;
                    }
                }
                MemberState::Unknown => return Err(self.lost(&info)),
            }
            if Instant::now() >= deadline + KILL_GRACE + MARGIN {
                return Err(self.too_long(&info, "does not stop"));
            }
            asking.pause().await;
        }
        for family in families {
            self.sweep(family, deadline, killed).await?;
        }
        Ok(())
    }

    /// Signals the main process alone: by its pidfd, which cannot hit a successor, or through supervisord
    /// where it is not ours to signal.
    async fn signal(&self, family: &ProcessTree, signal: StopSignal) -> Result<(), HostError> {
        match signal.to_rustix().map(|signal| family.signal_main(signal)) {
            Some(Ok(())) => Ok(()),
            Some(Err(error)) if error != Errno::PERM => Err(HostError::io(
                format!("cannot signal {} of `{}`", family.id(), self.member),
                &std::io::Error::from(error),
            )),
            _ => self.client.signal(self.member, signal).await,
        }
    }

    /// Waits for the main process to end; kills it at the deadline and says so.
    async fn see_it_end(&self, family: &ProcessTree, deadline: Instant) -> Result<bool, HostError> {
        if family.main_ends_by(deadline).await {
            return Ok(false);
        }
        tracing::warn!(member = %self.member, process = %family.id(), timeout = ?self.stop_timeout, "killing a worker that does not end");
        self.signal(family, StopSignal::KILL).await?;
        note(killed(family.id(), self.stop_timeout));
        if family.main_ends_by(Instant::now() + KILL_GRACE).await {
            return Ok(true);
        }
        let message = format!("{} of `{}` does not die", family.id(), self.member);
        Err(HostError::new(HostErrorKind::TimedOut, message)
            .with_help("it hangs in the kernel: look at its state with `ps`"))
    }

    /// Ends what the main process left behind; at once where that had to be killed itself.
    async fn sweep(&self, family: ProcessTree, deadline: Instant, killed: bool) -> Result<(), HostError> {
        let signal = self.settings.stop_signal.to_rustix().filter(|_| !killed);
        family.sweep(signal, deadline).await
    }

    /// What supervisord shows of the member; through `supervisorctl` a starting process has no pid to be
    /// compared, so its start is waited for.
    async fn shown(&self) -> Result<Info, HostError> {
        let deadline = Instant::now() + self.settings.start_time + PATIENCE;
        let mut asking = Asking::at(self.client.pace());
        loop {
            let info = self.client.info(self.member).await?;
            if info.state != MemberState::Starting || info.pid.is_some() || Instant::now() >= deadline {
                return Ok(info);
            }
            asking.pause().await;
        }
    }

    /// Returns when the member runs by a process other than `old`; starts it where supervisord does not.
    async fn bring_up(&self, old: Option<ProcessId>) -> Result<(), HostError> {
        let (mut starts, mut tried) = (0, false);
        let mut deadline = Instant::now() + self.settings.start_time + PATIENCE;
        let mut asking = Asking::at(self.client.pace());
        // When the successor was first seen, so that supervisord is not asked before it can have lasted.
        let mut seen: Option<Instant> = None;
        loop {
            let info = self.client.info(self.member).await?;
            // Reaped between the answer and this look it is nobody's: only a living other one makes it a successor's.
            let is_old = match old.filter(|old| info.pid == Some(old.pid)) {
                Some(old) => identify(old.pid)?.is_none_or(|now| now == old),
                None => false,
            };
            match info.state {
                MemberState::Running if !is_old => return Ok(()),
                MemberState::Starting if !is_old => {
                    tried = true;
                    seen.get_or_insert_with(Instant::now);
                }
                MemberState::Running | MemberState::Starting => {}
                MemberState::Backoff => seen = None,
                MemberState::Stopping => {
                    self.see_stopped(&info).await?;
                    deadline = Instant::now() + self.settings.start_time + PATIENCE;
                    (asking, seen) = (Asking::at(self.client.pace()), None);
                    continue;
                }
                MemberState::Exited | MemberState::Failed if tried => return Err(self.failed(&info).await),
                MemberState::Stopped if starts >= STARTS => {
                    return Err(self.too_long(&info, "is stopped again and again by somebody else"));
                }
                MemberState::Stopped | MemberState::Exited | MemberState::Failed => {
                    if let StartAnswer::Refused(why) = self.client.start(self.member).await? {
                        return Err(self.refused(&why));
                    }
                    starts += 1;
                    tried = true;
                    deadline = Instant::now() + self.settings.start_time + PATIENCE;
                    (asking, seen) = (Asking::at(self.client.pace()), None);
                    continue;
                }
                MemberState::Unknown => return Err(self.lost(&info)),
            }
            if Instant::now() >= deadline {
                let blind = is_old.then(|| self.too_long(&info, "has ended, and supervisord does not notice"));
                return Err(match blind {
                    Some(error) => error,
                    None => self.failed(&info).await,
                });
            }
            self.rest(&info, &mut asking, seen).await?;
        }
    }

    /// Pauses before the next ask; as long as a starting process cannot count as running yet, until it ends.
    async fn rest(&self, info: &Info, asking: &mut Asking, seen: Option<Instant>) -> Result<(), HostError> {
        let ripe = seen.map(|seen| seen + self.settings.start_time).filter(|ripe| *ripe > Instant::now());
        match (ripe, info.pid.map(identify).transpose()?.flatten()) {
            (Some(ripe), Some(process)) => {
                ends_by(process, ripe).await?;
                asking.begin_anew();
            }
            _ => asking.pause().await,
        }
        Ok(())
    }

    /// Waits until what somebody else is stopping has stopped.
    async fn see_stopped(&self, info: &Info) -> Result<(), HostError> {
        let deadline = Instant::now() + self.stop_timeout.max(self.settings.stop_wait) + MARGIN;
        if let Some(process) = info.pid.map(identify).transpose()?.flatten() {
            ends_by(process, deadline).await?;
        }
        let mut asking = Asking::at(self.client.pace());
        loop {
            let info = self.client.info(self.member).await?;
            if info.state != MemberState::Stopping {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(self.too_long(&info, "is being stopped by somebody else, and does not end"));
            }
            asking.pause().await;
        }
    }

    async fn failed(&self, info: &Info) -> HostError {
        let mut message = format!("worker `{}` does not stay up: it is {}", self.member, info.state);
        if !info.detail.is_empty() {
            message = format!("{message} ({})", info.detail);
        }
        let words = self.client.last_words(self.member).await;
        if !words.is_empty() {
            message = format!("{message}; its log ends with:\n{words}");
        }
        HostError::new(HostErrorKind::WorkerFailed, message).with_help(self.tail())
    }

    fn refused(&self, why: &str) -> HostError {
        let message = format!("supervisord does not even try to start worker `{}`: {why}", self.member);
        HostError::new(HostErrorKind::WorkerFailed, message)
            .with_help("its command cannot be run: look at `command=` in supervisord's configuration")
    }

    fn lost(&self, info: &Info) -> HostError {
        let message = format!("supervisord has lost track of worker `{}` ({})", self.member, info.state);
        HostError::new(HostErrorKind::Other, message).with_help("its log says why: `supervisorctl maintail`")
    }

    fn too_long(&self, info: &Info, what: &str) -> HostError {
        let message = format!("worker `{}` {what}: it is {}", self.member, info.state);
        HostError::new(HostErrorKind::TimedOut, message).with_help(self.tail())
    }

    fn tail(&self) -> String {
        format!("see `supervisorctl tail {} stderr` and `supervisorctl maintail`", self.member)
    }
}
