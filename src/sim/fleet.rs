//! A simulated fleet: up to a thousand hosts in memory behind the port that SSH has, each with a habit from a seed.
//!
//! A far side here is what a real one is to the control side: it goes on by itself, whoever listens, makes one pass for
//! one id, and tells its lines again to whoever asks again. What must never be asked of a host is noted as a violation
//! when it is asked.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use super::random::Random;
use crate::decide::testing::id;
use crate::documents::wire::{
    self, Ended, Failed, Fault, Hello, Line, Operation, Report, Request, RunId, Shown, Summary, What,
};
use crate::fleet::reach::{Broken, Heard, Reach, Unreached, Way};
use crate::model::action::Action;
use crate::model::event::Event;
use crate::model::fleet::{FleetHost, HostName};
use crate::model::health::HealthVerdict;
use crate::model::report::Outcome;

/// What a host does that others do not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Habit {
    /// Nothing.
    Plain,
    /// It has the new release already.
    Settled,
    /// Nobody answers, ever.
    Unreachable,
    /// It is there when it is looked at, and not when it is to be changed.
    Vanishing,
    /// The connection breaks in the middle of a pass, and comes back.
    Blinking,
    /// The connection breaks in the middle of a pass, and does not come back in time.
    Lost,
    /// The maker of a pass is stopped in the middle, and nobody lets it go on: what it holds, it keeps.
    Stopped,
    /// The new release fails its gate there.
    Failing,
    /// Its passes take minutes.
    Slow,
    /// The maker of its first pass is killed in the middle.
    Killed,
    /// So is every one.
    KilledAgain,
    /// It is well after its pass, and ill some time later.
    Sickening,
    /// It is as [`Habit::Plain`], and cannot be asked for its health.
    Deaf,
    /// Changes are withheld there.
    Withheld,
    /// The new release is kept out there already.
    KeptOut,
    /// It is as [`Habit::Plain`], and is lost while it is taken back.
    Stubborn,
}

impl Habit {
    /// All of them.
    pub const ALL: [Self; 16] = [
        Self::Plain,
        Self::Settled,
        Self::Unreachable,
        Self::Vanishing,
        Self::Blinking,
        Self::Lost,
        Self::Stopped,
        Self::Failing,
        Self::Slow,
        Self::Killed,
        Self::KilledAgain,
        Self::Sickening,
        Self::Deaf,
        Self::Withheld,
        Self::KeptOut,
        Self::Stubborn,
    ];
}

/// Which release is in force on a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Release {
    Old,
    New,
    /// The maker of a pass was killed in the middle.
    Half,
}

/// One host's truth.
#[derive(Debug)]
pub struct SimMember {
    pub habit: Habit,
    pub release: Release,
    pub kept_out: bool,
    /// A pass in hand, and when it ends.
    running: Option<(RunId, Instant, Release)>,
    /// How long a pass takes.
    takes: Duration,
    /// It was asked to look at itself.
    pub looked: bool,
    /// Ids of the passes that were asked for.
    pub applied: Vec<RunId>,
    /// Ids of those that were to take it back.
    pub taken_back: Vec<RunId>,
    /// When the control side heard how its pass ended.
    pub told: Option<(Instant, Outcome)>,
    /// When it last said that it was healthy.
    pub healthy_at: Option<Instant>,
    /// The control side knows that it failed.
    pub failed: bool,
}

/// What holds for a rollout whatever is decided.
#[derive(Debug, Clone)]
pub struct Limits {
    pub forks: usize,
    /// Most hosts that may be changed and not yet judged.
    pub wave: usize,
    pub max_failures: usize,
    pub healthy_for: Duration,
    pub migrates: bool,
}

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
        let mut member = |habit: Habit| SimMember {
            habit,
            release: if habit == Habit::Settled { Release::New } else { Release::Old },
            kept_out: habit == Habit::KeptOut,
            running: None,
            takes: Duration::from_millis(200 + random.below(20_000))
                * match habit {
                    Habit::Slow => 30,
                    Habit::Stopped => 1_000_000,
                    _ => 1,
                },
            looked: false,
            applied: Vec::new(),
            taken_back: Vec::new(),
            told: None,
            healthy_at: None,
            failed: false,
        };
        let members = habits.iter().map(|(name, habit)| (name.clone(), member(*habit))).collect();
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
        heard: &mut (dyn FnMut(Heard) + Send),
    ) -> Result<(), Unreached> {
        let (habit, begun) = {
            let mut state = self.state();
            let habit = state.members[host].habit;
            *state.met.entry(habit).or_default() += 1;
            if habit == Habit::Vanishing || habit == Habit::Unreachable {
                return Err(unreached(host, Broken::Connect, false));
            }
            (habit, state.begin(host, request))
        };
        heard(line(What::Hello(Hello::own(false))));
        let ends = match begun {
            Ok(ends) => ends,
            Err(why) => {
                heard(line(What::Failed(Failed::new(Fault::Host, why))));
                heard(line(What::End(Ended::Failed)));
                return Ok(());
            }
        };
        let action = Action::SwitchCurrent { to: id("r2") };
        heard(line(What::Event(Event::Begun { action, reason: "r1 is in force".to_owned() })));
        let half = Instant::now() + (ends - Instant::now()) / 2;
        let back = matches!(request.operation, Operation::TakeBack { .. });
        match habit {
            Habit::Blinking => {
                sleep_until(half).await;
                let pause = Duration::from_secs(2);
                heard(Heard::Way(Way::Lost { why: "broken pipe".to_owned(), again_in: pause }));
                sleep(pause).await;
                heard(Heard::Way(Way::Back));
            }
            Habit::Lost if !back => {
                sleep_until(half).await;
                return Err(unreached(host, Broken::Lost, true));
            }
            Habit::Stopped => {
                // Asked anew until patience is over.
                sleep(Duration::from_mins(5)).await;
                return Err(unreached(host, Broken::Lost, true));
            }
            Habit::Stubborn if back => {
                sleep_until(half).await;
                return Err(unreached(host, Broken::Lost, true));
            }
            Habit::Killed | Habit::KilledAgain if !back => {
                let again = self.state().members[host].applied.len() > 1;
                if habit == Habit::KilledAgain || !again {
                    sleep_until(half).await;
                    let mut state = self.state();
                    let member = state.members.get_mut(host).unwrap();
                    member.running = None;
                    member.release = Release::Half;
                    drop(state);
                    heard(line(What::Failed(Failed::new(Fault::Killed, "the runner was killed"))));
                    heard(line(What::End(Ended::Killed)));
                    return Ok(());
                }
            }
            _ => {}
        }
        sleep_until(ends).await;
        let report = {
            let mut state = self.state();
            let member = state.members.get_mut(host).unwrap();
            member.settle(Instant::now());
            let outcome = match (back, member.release) {
                (false, Release::New) => Outcome::Converged,
                _ => Outcome::RolledBack,
            };
            if !back {
                member.told = Some((Instant::now(), outcome));
                member.healthy_at = Some(Instant::now());
            }
            report(host, outcome, 3, member)
        };
        heard(line(What::Report(Box::new(report))));
        heard(line(What::End(Ended::Done)));
        Ok(())
    }

    fn look(&self, host: &HostName) -> Report {
        let mut state = self.state();
        let member = state.members.get_mut(host).unwrap();
        member.settle(Instant::now());
        member.looked = true;
        let outcome = match member {
            SimMember { kept_out: true, .. } => Outcome::Quarantined,
            SimMember { habit: Habit::Withheld, .. } => Outcome::Withheld,
            SimMember { release: Release::New, .. } => Outcome::Converged,
            SimMember { release: Release::Old | Release::Half, .. } => Outcome::Drift,
        };
        report(host, outcome, 0, member)
    }

    fn health(&self, host: &HostName) -> wire::Health {
        let mut state = self.state();
        let half = state.limits.healthy_for / 2;
        let member = state.members.get_mut(host).unwrap();
        member.settle(Instant::now());
        let ill =
            member.habit == Habit::Sickening && member.told.is_some_and(|(told, _)| Instant::now() >= told + half);
        if !ill {
            member.healthy_at = Some(Instant::now());
        }
        let verdict = if ill {
            HealthVerdict::unanswered("no answer")
        } else {
            HealthVerdict { healthy: true, ..HealthVerdict::unanswered("") }
        };
        wire::Health { verdict: Some(verdict), summary: summary(member) }
    }
}

impl State {
    fn violation(&mut self, what: String) {
        self.violations.push(what);
    }

    /// What must hold at the moment in which a host is asked to change.
    fn check(&mut self, host: &HostName, request: &Request) {
        let member = &self.members[host];
        let mut wrong = Vec::new();
        // One whose pass was killed is brought to its end.
        if self.ended && member.applied.is_empty() {
            wrong.push("asked after the wish to end");
        }
        if self.members.values().any(|one| !one.looked && one.habit != Habit::Unreachable) {
            wrong.push("changed before all were looked at");
        }
        if member.habit == Habit::Settled {
            wrong.push("touched although it was as it should be");
        }
        let Limits { wave, max_failures, migrates, .. } = self.limits;
        match &request.operation {
            Operation::Apply { .. } => {
                let killed = matches!(member.habit, Habit::Killed | Habit::KilledAgain);
                if member.applied.len() > usize::from(killed) {
                    wrong.push("changed twice");
                }
                if !member.taken_back.is_empty() {
                    wrong.push("changed after it was taken back");
                }
                let failures = self.members.values().filter(|one| one.failed).count();
                if failures > max_failures && member.applied.is_empty() {
                    wrong.push("changed although too many have failed");
                }
                let unjudged = |one: &&SimMember| !one.applied.is_empty() && !one.is_judged(self.limits.healthy_for);
                let unjudged = self.members.values().filter(unjudged).count();
                if unjudged + usize::from(member.applied.is_empty()) > wave {
                    wrong.push("changed while more than a wave is not judged");
                }
                let leads = self.leader.as_ref() == Some(host);
                if migrates && request.migrate && self.leader.is_some() && !leads {
                    wrong.push("a second host runs the migrations");
                }
                let led = self.leader.as_ref().and_then(|leader| self.members[leader].told);
                let led = led.is_some_and(|(_, outcome)| outcome == Outcome::Converged);
                if migrates && !request.migrate && !led {
                    wrong.push("changed before the migrations were run");
                }
            }
            Operation::TakeBack { .. } => {
                let gone_back = member.told.is_some_and(|(_, outcome)| outcome != Outcome::Converged);
                if member.applied.is_empty() || gone_back {
                    wrong.push("taken back although it was not changed");
                }
                if !member.taken_back.is_empty() {
                    wrong.push("taken back twice");
                }
            }
            Operation::Observe | Operation::DryRun { .. } | Operation::Health | Operation::Stop => {}
        }
        let habit = member.habit;
        for what in wrong {
            self.violation(format!("{host} ({habit:?}): {what}"));
        }
        if request.migrate && migrates && matches!(request.operation, Operation::Apply { .. }) {
            self.leader.get_or_insert_with(|| host.clone());
        }
        let member = self.members.get_mut(host).unwrap();
        match &request.operation {
            Operation::Apply { .. } => member.applied.push(request.id.clone()),
            Operation::TakeBack { .. } => member.taken_back.push(request.id.clone()),
            Operation::Observe | Operation::DryRun { .. } | Operation::Health | Operation::Stop => {}
        }
    }

    /// A pass begins; returns when it will have ended, or why it cannot.
    fn begin(&mut self, host: &HostName, request: &Request) -> Result<Instant, String> {
        let now = Instant::now();
        let member = self.members.get_mut(host).unwrap();
        member.settle(now);
        if member.running.is_some() {
            return Err("another pass is in hand".to_owned());
        }
        let to = match &request.operation {
            Operation::TakeBack { .. } => {
                member.kept_out = true;
                Release::Old
            }
            _ if member.habit == Habit::Failing => {
                member.kept_out = true;
                Release::Old
            }
            _ => Release::New,
        };
        let ends = now + member.takes;
        member.running = Some((request.id.clone(), ends, to));
        Ok(ends)
    }
}

impl SimMember {
    /// What its runner has done meanwhile.
    fn settle(&mut self, now: Instant) {
        if let Some((_, _, to)) = self.running.take_if(|(_, ends, _)| *ends <= now) {
            self.release = to;
        }
    }

    /// The control side knows how it went with it.
    fn is_judged(&self, healthy_for: Duration) -> bool {
        let held = |told: Instant| self.healthy_at.is_some_and(|at| at >= told + healthy_for);
        self.failed || self.told.is_some_and(|(told, _)| held(told))
    }
}

impl Reach for SimFleet {
    async fn ask(
        &self,
        host: &FleetHost,
        request: &Request,
        heard: &mut (dyn FnMut(Heard) + Send),
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
        heard(Heard::Way(Way::Connecting));
        sleep(latency).await;
        let habit = self.state().members[name].habit;
        let done = match &request.operation {
            Operation::Apply { .. } | Operation::TakeBack { .. } => self.change(name, request, heard).await,
            _ if habit == Habit::Unreachable => Err(unreached(name, Broken::Connect, false)),
            Operation::Health if habit == Habit::Deaf => Err(unreached(name, Broken::Connect, false)),
            Operation::Health => {
                let health = self.health(name);
                heard(line(What::Hello(Hello::own(false))));
                heard(line(What::Health(Box::new(health))));
                heard(line(What::End(Ended::Done)));
                Ok(())
            }
            Operation::Observe | Operation::DryRun { .. } | Operation::Stop => {
                let report = self.look(name);
                heard(line(What::Hello(Hello::own(false))));
                heard(line(What::Report(Box::new(report))));
                heard(line(What::End(Ended::Done)));
                Ok(())
            }
        };
        let mut state = self.state();
        let member = state.members.get_mut(name).unwrap();
        // What the control side knows from here on.
        let ill = request.operation == Operation::Health && (habit == Habit::Sickening || habit == Habit::Deaf);
        let gone_back = member.told.is_some_and(|(_, outcome)| outcome != Outcome::Converged);
        let killed = habit == Habit::KilledAgain && member.applied.len() > 1;
        let sick = ill && (done.is_err() || member.healthy_at.is_none_or(|at| at < Instant::now()));
        member.failed |= done.is_err() || gone_back || killed || sick;
        done
    }

    async fn close(&self) {}
}

fn line(what: What) -> Heard {
    Heard::Line(Box::new(Line { seq: 0, at: jiff::Timestamp::UNIX_EPOCH, what }))
}

fn unreached(host: &HostName, broken: Broken, in_hand: bool) -> Unreached {
    Unreached { broken, message: format!("cannot reach `{host}`"), help: None, in_hand }
}

fn summary(member: &SimMember) -> Summary {
    let fresh = if member.release == Release::New { 2 } else { 0 };
    Summary {
        release: id("r2"),
        current: Some(if fresh > 0 { id("r2") } else { id("r1") }),
        observed: true,
        differs: fresh == 0,
        actions: if fresh == 0 { 4 } else { 0 },
        withheld: None,
        kept_out: member.kept_out.then(|| "it failed".to_owned()),
        healthy: Some(true),
        complaint: None,
        migrated: false,
        desired: 2,
        running: 2,
        fresh,
        problems: Vec::new(),
    }
}

fn report(host: &HostName, outcome: Outcome, done: usize, member: &SimMember) -> Report {
    let summary = summary(member);
    let diff = if summary.differs { "-r1\n+r2\n".to_owned() } else { String::new() };
    Report {
        exit_code: 0,
        outcome,
        took: Duration::ZERO,
        done,
        failed: 0,
        summary,
        shown: Some(Shown { diff, text: String::new() }),
        document: serde_json::json!({"host": host.as_str()}).to_string(),
    }
}
