//! A simulated fleet: up to a thousand hosts in memory behind the port that SSH has, each with a habit from a seed.
//!
//! A far side here is what a real one is to the control side: it goes on by itself, whoever listens, makes one pass for
//! one id, and tells its lines again to whoever asks again. What must never be asked of a host is noted as a violation
//! when it is asked.

mod habit;
mod lines;
mod member;
mod rules;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

pub use self::habit::Habit;
use self::lines::{killed, killed_waiting, line, locked, unreached};
pub use self::member::{Release, SimMember};
use self::member::{report, summary};
pub use self::rules::Limits;
use crate::decide::testing::id;
use crate::documents::wire::{self, Ended, FIRST, Failed, Fault, Hello, Operation, Report, Request, What};
use crate::fleet::reach::{Broken, ConnectionNews, HostSaid, Reach, Unreached};
use crate::fleet::work::Target;
use crate::model::action::Action;
use crate::model::event::Event;
use crate::model::fleet::{FleetHost, HostName, SshTarget};
use crate::model::health::HealthVerdict;
use crate::model::report::Outcome;
use crate::sim::random::Random;

/// How long a control side asks anew before it gives a host up: longer than passes take.
const PATIENCE: Duration = Duration::from_mins(5);

/// The fleet.
pub struct SimFleet {
    state: Mutex<State>,
}

pub struct State {
    random: Random,
    pub members: HashMap<HostName, SimMember>,
    limits: Limits,
    asking: usize,
    /// A person has wished for the end.
    pub ended: bool,
    /// The host that ran the migrations.
    pub leader: Option<HostName>,
    pub violations: Vec<String>,
    /// How often each habit was met by a request to change.
    pub met: HashMap<Habit, u64>,
}

/// A pass that has begun.
struct Begun {
    ends: Instant,
    /// The host keeps the release out already, and has the earlier one in force.
    was_back: bool,
}

/// Counts a host that is being asked for as long as it is.
struct Asking<'a>(&'a SimFleet);

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.0.state().asking -= 1;
    }
}

impl SimFleet {
    pub fn new(seed: u64, habits: &[(HostName, Habit)], limits: Limits) -> Self {
        let mut random = Random::new(seed);
        let members = habits.iter().map(|(name, habit)| (name.clone(), SimMember::new(*habit, &mut random))).collect();
        let state = State {
            random,
            members,
            limits,
            asking: 0,
            ended: false,
            leader: None,
            violations: Vec::new(),
            met: HashMap::new(),
        };
        Self { state: Mutex::new(state) }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Returns when no host has a pass in hand any more.
    pub async fn settled(&self) {
        sleep(Duration::from_hours(10)).await;
        let now = Instant::now();
        self.state().members.values_mut().for_each(|member| member.settle(now));
    }

    async fn change(
        &self,
        host: &HostName,
        request: &Request,
        heard: &mut (dyn FnMut(HostSaid) + Send),
    ) -> Result<(), Unreached> {
        let back = matches!(request.operation, Operation::TakeBack { .. });
        let (habit, again, was_back, begun) = {
            let mut state = self.state();
            let member = &state.members[host];
            let (habit, again) = (member.habit, !back && member.applied.len() > 1);
            *state.met.entry(habit).or_default() += 1;
            if matches!(habit, Habit::Vanishing | Habit::Unreachable) || (habit == Habit::KilledAway && again) {
                return Err(unreached(host, Broken::Connect, false));
            }
            if habit == Habit::KilledLocked && again {
                locked(heard, report(host, Outcome::Failed, 0, &state.members[host]));
                return Ok(());
            }
            if habit == Habit::KilledWaiting && !back && !again {
                killed_waiting(heard);
                return Ok(());
            }
            let begun = state.begin(host, request);
            (habit, again, begun.as_ref().is_ok_and(|begun| begun.was_back), begun.map(|begun| begun.ends))
        };
        heard(line(0, What::Hello(Hello::own(false))));
        let ends = match begun {
            Ok(ends) => ends,
            Err(why) => {
                heard(line(FIRST, What::Failed(Failed::new(Fault::Host, why))));
                heard(line(FIRST + 1, What::End(Ended::Failed)));
                return Ok(());
            }
        };
        let action = Action::SwitchCurrent { to: id("r2") };
        heard(line(FIRST, What::Event(Event::Begun { action, reason: "r1 is in force".to_owned() })));
        let half = Instant::now() + (ends - Instant::now()) / 2;
        let first_back = self.state().members[host].taken_back.len() == 1;
        if let Some(leaves) = habit.killed(back, if back { first_back } else { !again }) {
            sleep_until(if leaves == Release::New { ends } else { half }).await;
            self.end(host, leaves);
            killed(heard);
            return Ok(());
        }
        match habit {
            Habit::Blinking => {
                sleep_until(half).await;
                let pause = Duration::from_secs(2);
                heard(HostSaid::Connection(ConnectionNews::Lost { why: "broken pipe".to_owned(), again_in: pause }));
                sleep(pause).await;
                heard(HostSaid::Connection(ConnectionNews::Back));
            }
            Habit::Lost if !back => {
                sleep_until(half).await;
                return Err(unreached(host, Broken::Lost, true));
            }
            Habit::Returned if !back => {
                sleep(PATIENCE).await;
                return Err(unreached(host, Broken::Lost, true));
            }
            Habit::Stopped => {
                sleep(PATIENCE).await;
                return Err(unreached(host, Broken::Lost, true));
            }
            Habit::Forgotten if !back => {
                sleep_until(half).await;
                self.end(host, Release::Half);
                let pause = Duration::from_secs(2);
                heard(HostSaid::Connection(ConnectionNews::Lost { why: "no route".to_owned(), again_in: pause }));
                sleep(pause).await;
                heard(HostSaid::Connection(ConnectionNews::Back));
                // Numbered as a front does that has no line of the run.
                let why = Failed::new(Fault::Unknown, "nothing is known here any more of the run");
                heard(line(FIRST, What::Failed(why)));
                heard(line(FIRST + 1, What::End(Ended::Failed)));
                return Ok(());
            }
            Habit::Stubborn if back => {
                sleep_until(half).await;
                return Err(unreached(host, Broken::Lost, true));
            }
            _ => {}
        }
        sleep_until(ends).await;
        let report = {
            let mut state = self.state();
            let member = state.members.get_mut(host).unwrap();
            member.settle(Instant::now());
            let outcome = member.outcome(back, was_back);
            if back {
                member.is_back = true;
            } else {
                member.told = Some((Instant::now(), outcome));
                member.healthy_at = Some(Instant::now());
            }
            let nothing = was_back || (habit == Habit::KilledWhole && !back);
            report(host, outcome, if nothing { 0 } else { 3 }, member)
        };
        heard(line(FIRST + 1, What::Report(Box::new(report))));
        heard(line(FIRST + 2, What::End(Ended::Done)));
        Ok(())
    }

    /// The pass in hand ends before its time, and leaves that release.
    fn end(&self, host: &HostName, leaves: Release) {
        let mut state = self.state();
        let member = state.members.get_mut(host).unwrap();
        (member.running, member.release) = (None, leaves);
    }

    fn look(&self, host: &HostName, retry: bool) -> Report {
        let mut state = self.state();
        let member = state.members.get_mut(host).unwrap();
        member.settle(Instant::now());
        let first = !std::mem::replace(&mut member.looked, true);
        // What nobody may act on, and a worker that is down beside a release that is kept out, is drift to a look.
        let outcome = match member {
            SimMember { habit: Habit::Withheld | Habit::KeptOutDrifted, .. } => Outcome::Drift,
            SimMember { habit: Habit::Dozing, .. } if first => Outcome::Unhealthy,
            SimMember { kept_out: true, .. } if !retry => Outcome::Quarantined,
            SimMember { habit: Habit::Drifted, .. } if member.applied.is_empty() => Outcome::Drift,
            SimMember { release: Release::New, .. } => Outcome::Converged,
            SimMember { release: Release::Old | Release::Half | Release::Other, .. } => Outcome::Drift,
        };
        report(host, outcome, 0, member)
    }

    fn health(&self, host: &HostName) -> wire::Health {
        let mut state = self.state();
        let (half, has_health) = (state.limits.healthy_for / 2, state.limits.has_health);
        let member = state.members.get_mut(host).unwrap();
        member.settle(Instant::now());
        let later = member.told.is_some_and(|(told, _)| Instant::now() >= told + half);
        member.asked += 1;
        let misses = member.habit == Habit::Missing && !member.asked.is_multiple_of(2);
        let ill = misses || (member.habit == Habit::Sickening && later);
        if member.habit == Habit::Overtaken && later {
            member.release = Release::Other;
        }
        if !ill && member.release == Release::New {
            member.healthy_at = Some(Instant::now());
        }
        let mut summary = summary(member);
        if ill && !has_health {
            summary.fresh = 1;
        }
        let well = HealthVerdict { healthy: true, ..HealthVerdict::unanswered("") };
        let verdict = if ill { HealthVerdict::unanswered("no answer") } else { well };
        wire::Health { verdict: has_health.then_some(verdict), summary }
    }
}

impl State {
    /// A pass begins, or why it cannot.
    fn begin(&mut self, host: &HostName, request: &Request) -> Result<Begun, String> {
        let now = Instant::now();
        let member = self.members.get_mut(host).unwrap();
        member.settle(now);
        if member.running.is_some() {
            return Err("another pass is in hand".to_owned());
        }
        if matches!(request.operation, Operation::Apply { retry: true, .. }) {
            member.kept_out = false;
        }
        if matches!(request.operation, Operation::TakeBack { .. }) {
            match (member.release, member.kept_out) {
                (Release::Other, _) => return Err("release `r2` is not in force: current is r3".to_owned()),
                (Release::Old, false) => return Err("release `r2` is not in force: current is r1".to_owned()),
                _ => {}
            }
        }
        let again = member.applied.len() > 1;
        let is_full = member.habit == Habit::Refusing || (member.habit == Habit::KilledRefused && again);
        if is_full && matches!(request.operation, Operation::Apply { .. }) {
            return Err("no space left on device".to_owned());
        }
        let was_back = member.kept_out && member.release == Release::Old;
        let to = match &request.operation {
            Operation::TakeBack { .. } => {
                member.kept_out = true;
                Release::Old
            }
            _ if matches!(member.habit, Habit::Failing | Habit::Returned) => {
                member.kept_out = true;
                Release::Old
            }
            _ if member.habit == Habit::Hindered => Release::Old,
            _ => Release::New,
        };
        let ends = now + member.takes;
        member.running = Some((request.id.clone(), ends, to));
        Ok(Begun { ends, was_back })
    }
}

impl Reach for SimFleet {
    async fn ask(
        &self,
        host: &FleetHost,
        request: &Request,
        heard: &mut (dyn FnMut(HostSaid) + Send),
    ) -> Result<(), Unreached> {
        let name = &host.name;
        let latency = {
            let mut state = self.state();
            state.asking += 1;
            let forks = state.limits.forks;
            if state.asking > forks {
                let asking = state.asking;
                state.violation(format!("{name}: {asking} hosts are asked at a time, and {forks} may be"));
            }
            if request.operation.changes() {
                state.check(name, request);
            }
            Duration::from_millis(1 + state.random.below(300))
        };
        let _asking = Asking(self);
        heard(HostSaid::Connection(ConnectionNews::Connecting));
        sleep(latency).await;
        let habit = self.state().members[name].habit;
        let done = match &request.operation {
            Operation::Apply { .. } | Operation::TakeBack { .. } => self.change(name, request, heard).await,
            _ if habit == Habit::Unreachable => Err(unreached(name, Broken::Connect, false)),
            Operation::Health if habit == Habit::Deaf => Err(unreached(name, Broken::Connect, false)),
            Operation::Health => {
                let health = self.health(name);
                heard(line(0, What::Hello(Hello::own(false))));
                heard(line(FIRST, What::Health(Box::new(health))));
                heard(line(FIRST + 1, What::End(Ended::Done)));
                Ok(())
            }
            Operation::Observe | Operation::DryRun { .. } => {
                let retry = matches!(request.operation, Operation::DryRun { retry: true, .. });
                let report = self.look(name, retry);
                heard(line(0, What::Hello(Hello::own(false))));
                heard(line(FIRST, What::Report(Box::new(report))));
                heard(line(FIRST + 1, What::End(Ended::Done)));
                Ok(())
            }
        };
        let mut state = self.state();
        let member = state.members.get_mut(name).unwrap();
        // What the control side knows from here on.
        let failing = [Habit::Sickening, Habit::Overtaken, Habit::Deaf];
        let ill = request.operation == Operation::Health && failing.contains(&habit);
        let gone_back = member.told.is_some_and(|(_, outcome)| outcome != Outcome::Converged);
        let ends_killed = [Habit::KilledAgain, Habit::KilledRefused, Habit::KilledLocked].contains(&habit);
        let killed = ends_killed && member.applied.len() > 1;
        let refuses = habit == Habit::Refusing && request.operation.changes();
        let forgotten = habit == Habit::Forgotten && request.operation.changes();
        let sick = ill && (done.is_err() || member.healthy_at.is_none_or(|at| at < Instant::now()));
        member.failed |= done.is_err() || gone_back || killed || refuses || forgotten || sick;
        // Where nothing was begun, nothing was migrated.
        if (refuses || habit == Habit::Vanishing) && state.leader.as_ref() == Some(name) {
            state.leader = None;
        }
        done
    }

    async fn close(&self) {}
}

/// A host of that name, as the control side has it.
pub fn target(name: &HostName) -> Target {
    let ssh = SshTarget::new(name.as_str()).unwrap();
    let host = FleetHost { name: name.clone(), ssh, labels: BTreeMap::new(), vars: BTreeMap::new() };
    Target { host, manifest: String::new() }
}
