//! Rollouts over simulated fleets: whatever their hosts do, nothing forbidden may be asked of any, and what is reported
//! of each must be so.
//!
//! `TRUEUP_SIM_FLEETS=100000` runs more of them, `TRUEUP_SIM_SEED=N` replays one and prints it.

use std::collections::HashMap;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;

use super::fleet::{Habit, Limits, Release, SimFleet, SimMember, target};
use super::random::Random;
use crate::decide::testing::id;
use crate::fleet::ask::Asker;
use crate::fleet::phase::SilentFleet;
use crate::fleet::report::Rolled;
use crate::fleet::rollout::{RolloutOptions, roll_out};
use crate::fleet::work::{StopWish, Target, Work};
use crate::model::amount::Amount;
use crate::model::app::OnFailure;
use crate::model::fleet::HostName;
use crate::model::report::Outcome;
use crate::model::rollout::{HostVerdict, Patience, RolloutOutcome, Terms};

/// Rollouts in a normal test run, of up to forty hosts each.
const SCHEDULES: u64 = 3_000;
/// How many hosts a large fleet has, and how many of them have a fault that shows only as they are changed.
const LARGE: usize = 1_000;
const FAULTY: u64 = 40;
/// How often each habit must have met a request to change.
const COVERED: u64 = 20;

struct Schedule {
    habits: Vec<(HostName, Habit)>,
    terms: Terms,
    forks: usize,
    retry: bool,
    /// When a person wishes for the end, and for more than that.
    wishes: Vec<(Duration, StopWish)>,
}

fn name(number: usize) -> HostName {
    HostName::new(format!("web{number}")).unwrap()
}

fn schedule(seed: u64) -> Schedule {
    let mut random = Random::new(seed);
    let size = 1 + usize::try_from(random.below(40)).unwrap();
    // In most fleets most hosts are well, or no rollout would come far.
    let oddness = random.pick(&[0, 2, 10, 40]);
    let habit = |random: &mut Random| match random.below(100) {
        odd if odd < oddness => random.pick(&Habit::ALL),
        odd if odd < oddness + 20 => Habit::Settled,
        _ => Habit::Plain,
    };
    let habits: Vec<_> = (0..size).map(|number| (name(number), habit(&mut random))).collect();
    let amount = |random: &mut Random| match random.below(2) {
        0 => Amount::Count(u32::try_from(random.below(5)).unwrap()),
        _ => Amount::Percent(u8::try_from(1 + random.below(100)).unwrap()),
    };
    let has_health = random.percent(80);
    let interval = Duration::from_secs(random.pick(&[0, 3]));
    let patience = Patience { attempts: random.pick(&[2, 5]), interval };
    let terms = Terms {
        canary: amount(&mut random),
        batch: amount(&mut random),
        max_failures: usize::try_from(random.pick(&[0, 0, 1, 3, 100])).unwrap(),
        pause: Duration::from_secs(random.pick(&[0, 0, 30])),
        healthy_for: Duration::from_secs(random.pick(&[0, 1, 10, 300])),
        migrates: random.percent(40),
        has_health,
        patience,
        on_failure: if random.percent(70) { OnFailure::Rollback } else { OnFailure::Halt },
    };
    let mut wishes = Vec::new();
    if random.percent(25) {
        wishes.push((Duration::from_millis(random.below(120_000)), StopWish::NoMore));
        if random.percent(40) {
            wishes.push((Duration::from_millis(random.below(20_000)), StopWish::Leave));
        }
    }
    let forks = 1 + usize::try_from(random.below(16)).unwrap();
    Schedule { habits, terms, forks, retry: random.percent(40), wishes }
}

/// A rollout over many hosts that begins whatever becomes of it, since all can be looked at.
fn large(seed: u64, max_failures: usize, wishes: Vec<(Duration, StopWish)>) -> Schedule {
    let mut random = Random::new(seed);
    let faults = [
        Habit::Vanishing,
        Habit::Blinking,
        Habit::Lost,
        Habit::Forgotten,
        Habit::Failing,
        Habit::Hindered,
        Habit::Slow,
        Habit::Killed,
        Habit::KilledAway,
        Habit::KilledLocked,
        Habit::Refusing,
        Habit::Missing,
        Habit::Sickening,
        Habit::Stubborn,
    ];
    let mut habits: Vec<_> = (0..LARGE).map(|number| (name(number), Habit::Plain)).collect();
    for _ in 0..FAULTY {
        habits[usize::try_from(random.below(LARGE as u64)).unwrap()].1 = random.pick(&faults);
    }
    let terms = Terms {
        canary: Amount::Count(5),
        batch: Amount::Percent(10),
        max_failures,
        pause: Duration::from_secs(30),
        healthy_for: Duration::from_secs(10),
        migrates: false,
        has_health: true,
        patience: Patience::USUAL,
        on_failure: OnFailure::Rollback,
    };
    Schedule { habits, terms, forks: 32, retry: false, wishes }
}

/// What a rollout has come to.
struct Played {
    /// How often each habit was met by a request to change.
    met: HashMap<Habit, u64>,
    how: RolloutOutcome,
    /// How many hosts were changed and stay so, and how many were taken back.
    changed: usize,
    taken_back: usize,
}

/// Rolls out once, and checks what must hold. The error tells what must not have happened.
async fn run(seed: u64, schedule: Schedule) -> Result<Played, String> {
    let Schedule { habits, terms, forks, retry, wishes } = schedule;
    let all = u32::try_from(habits.len()).unwrap();
    let wave = terms.canary.of(all).max(terms.batch.of(all)).max(1);
    let limits = Limits {
        forks,
        wave: usize::try_from(wave).unwrap(),
        max_failures: terms.max_failures,
        healthy_for: terms.healthy_for,
        has_health: terms.has_health,
        migrates: terms.migrates,
        retry,
    };
    let fleet = SimFleet::new(seed, &habits, limits);
    let targets: Vec<Target> = habits.iter().map(|(name, _)| target(name)).collect();
    let order: Vec<HostName> = habits.iter().map(|(name, _)| name.clone()).collect();
    let (sender, wish) = watch::channel(StopWish::GoOn);
    let asker = Asker::new("test");
    let work = Work::new(&fleet, &SilentFleet, &asker, forks, wish);
    let way = RolloutOptions {
        release: id("r2"),
        wait: Duration::ZERO,
        ignore_windows: false,
        retry,
        back_to: None,
        others: 0,
        keep: false,
    };
    let wished = async {
        for (after, wish) in &wishes {
            sleep(*after).await;
            fleet.state().ended = true;
            let _ = sender.send(*wish);
        }
        std::future::pending::<()>().await;
    };
    let rolled = tokio::select! {
        rolled = roll_out(&work, &terms, &way, &targets, &order) => rolled,
        () = wished => return Err("nobody waits for a wish".to_owned()),
    };
    let left = *sender.borrow() == StopWish::Leave;
    fleet.settled().await;
    let mut state = fleet.state();
    let untrue = untrue(&state.members, &rolled, &terms, left);
    state.violations.extend(untrue);
    if state.violations.is_empty() {
        let number = |verdict| rolled.hosts.iter().filter(|host| host.verdict == verdict).count();
        let (changed, taken_back) = (number(HostVerdict::Changed), number(HostVerdict::TakenBack));
        return Ok(Played { met: state.met.clone(), how: rolled.ending.how, changed, taken_back });
    }
    let told = rolled.hosts.iter().map(|host| {
        let habit = state.members[&host.name].habit;
        format!("  {} {habit:?}: {:?} {:?}", host.name, host.verdict, host.troubles)
    });
    let told: Vec<String> = told.collect();
    let violations = state.violations.join("\n");
    Err(format!(
        "seed {seed}: {violations}\n{terms:?}, forks {forks}, retry {retry}, wishes {wishes:?}, ended {:?}\n{}",
        rolled.ending.how,
        told.join("\n")
    ))
}

/// What is reported and is not so.
fn untrue(members: &HashMap<HostName, SimMember>, rolled: &Rolled, terms: &Terms, left: bool) -> Vec<String> {
    let mut untrue = Vec::new();
    if rolled.hosts.len() != members.len() {
        untrue.push(format!("{} hosts are reported of {}", rolled.hosts.len(), members.len()));
    }
    let mut problem = 0;
    for host in &rolled.hosts {
        let member = &members[&host.name];
        let touched = !member.applied.is_empty();
        let is = |release| member.release == release;
        let so = match host.verdict {
            HostVerdict::Settled => matches!(member.habit, Habit::Settled | Habit::Dozing) && !touched,
            HostVerdict::Changed => touched && is(Release::New) && member.taken_back.is_empty(),
            HostVerdict::NotReached | HostVerdict::Unseen | HostVerdict::Withheld | HostVerdict::Refused(_) => !touched,
            // Only of what was to be looked at, or what a person took back.
            HostVerdict::Untold | HostVerdict::GoneBack => false,
            HostVerdict::RolledBack | HostVerdict::Failed(Outcome::RolledBack) => {
                touched && is(Release::Old) && member.habit == Habit::Failing
            }
            HostVerdict::TakenBack => is(Release::Old) && !member.taken_back.is_empty(),
            HostVerdict::NotTakenBack => (!member.taken_back.is_empty() && !member.is_back) || left,
            HostVerdict::NotHealthy => {
                touched && matches!(member.habit, Habit::Sickening | Habit::Overtaken | Habit::Deaf)
            }
            HostVerdict::Unreachable => matches!(member.habit, Habit::Unreachable | Habit::Vanishing),
            HostVerdict::Declined => member.habit == Habit::Refusing,
            HostVerdict::Lost => {
                let habits = [Habit::Lost, Habit::Returned, Habit::Forgotten, Habit::Stopped];
                let killed = [Habit::KilledAgain, Habit::KilledAway, Habit::KilledRefused];
                habits.contains(&member.habit) || killed.contains(&member.habit) || left
            }
            HostVerdict::Failed(_) => touched,
        };
        if !so {
            untrue.push(format!("{} is called {:?}, and {member:?}", host.name, host.verdict));
        }
        let ends_killed =
            [Habit::KilledAgain, Habit::KilledAway, Habit::KilledRefused, Habit::KilledLocked].contains(&member.habit);
        if member.release == Release::Half
            && !ends_killed
            && (member.habit, host.verdict) != (Habit::Forgotten, HostVerdict::Lost)
            && !(left && matches!(member.habit, Habit::Killed | Habit::Forgotten))
        {
            untrue.push(format!("{} was left half-way", host.name));
        }
        let held = |member: &SimMember| {
            let (told, _) = member.told?;
            Some(member.healthy_at? >= told + terms.healthy_for)
        };
        if host.verdict == HostVerdict::Changed
            && rolled.ending.how == RolloutOutcome::Complete
            && held(member) != Some(true)
        {
            untrue.push(format!("{} did not have to stay healthy", host.name));
        }
        problem += usize::from(!matches!(host.verdict, HostVerdict::Settled | HostVerdict::Changed));
    }
    if problem > 0 && rolled.ending.exit_code() == 0 {
        untrue.push("something is not as it should be, and the exit code is 0".to_owned());
    }
    // Too many have failed, whatever a person has wished since.
    let stopped = rolled.ending.how == RolloutOutcome::Stopped || rolled.ending.failed > terms.max_failures;
    if stopped && !left && terms.on_failure == OnFailure::Rollback {
        let drifted = |host: &&crate::fleet::report::HostReport| members[&host.name].habit == Habit::Drifted;
        let stays = |host: &&crate::fleet::report::HostReport| host.verdict == HostVerdict::Changed && !drifted(host);
        for host in rolled.hosts.iter().filter(stays) {
            untrue.push(format!("{} was not taken back", host.name));
        }
    }
    untrue
}

fn one(seed: u64, schedule: Schedule) -> Result<Played, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        // In simulated time: whoever waits this long waits for ever.
        let limit = Duration::from_hours(24 * 30);
        let ended = tokio::time::timeout(limit, run(seed, schedule)).await;
        ended.unwrap_or_else(|_| Err(format!("seed {seed}: never ends")))
    })
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|value| value.parse().ok())
}

#[test]
fn no_rollout_asks_for_what_is_forbidden_or_reports_what_is_not_so() {
    if let Some(seed) = number("TRUEUP_SIM_SEED") {
        one(seed, schedule(seed)).map_err(|story| println!("{story}")).unwrap();
        return;
    }
    let schedules = number("TRUEUP_SIM_FLEETS").unwrap_or(SCHEDULES);
    let mut met: HashMap<Habit, u64> = HashMap::new();
    for seed in 0..schedules {
        match one(seed, schedule(seed)) {
            Ok(played) => played.met.into_iter().for_each(|(habit, times)| *met.entry(habit).or_default() += times),
            Err(story) => panic!("{story}\nreplay with TRUEUP_SIM_SEED"),
        }
    }
    // What is as it should be, or may not be changed, is never asked to change; what is kept out, when it is tried again.
    let never = [Habit::Settled, Habit::Dozing, Habit::Unreachable, Habit::Withheld];
    for habit in Habit::ALL {
        let times = met.get(&habit).copied().unwrap_or_default();
        let expected = if never.contains(&habit) { times == 0 } else { times >= COVERED };
        assert!(expected, "{habit:?} was asked to change {times} times");
    }
}

#[test]
fn a_thousand_hosts_are_no_different() {
    let play = |seed, max_failures, wishes: &[(Duration, StopWish)]| {
        let played = one(seed, large(seed, max_failures, wishes.to_vec()));
        played.map_err(|story| story.chars().take(4000).collect::<String>()).unwrap_or_else(|story| panic!("{story}…"))
    };
    let all = usize::try_from(FAULTY).unwrap();
    let whole = play(1, all, &[]);
    assert!(whole.how == RolloutOutcome::Complete && whole.changed > LARGE - all, "{:?}, {}", whole.how, whole.changed);
    let stopped = play(2, 5, &[]);
    assert!(
        stopped.how == RolloutOutcome::Stopped && stopped.taken_back > 10,
        "{:?}, {}",
        stopped.how,
        stopped.taken_back
    );
    let (soon, later) = (Duration::from_mins(3), Duration::from_secs(1));
    let ended = play(3, all, &[(soon, StopWish::NoMore)]);
    assert!(ended.how == RolloutOutcome::Interrupted && ended.changed > 10, "{:?}, {}", ended.how, ended.changed);
    let left = play(4, all, &[(soon, StopWish::NoMore), (later, StopWish::Leave)]);
    assert_eq!(left.how, RolloutOutcome::Interrupted);
}
