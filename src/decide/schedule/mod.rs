//! One App's turn-taking: when its next pass begins, why, and what it may do.
//!
//! In: what wakes it, how its passes end, and the time. Out: the moment of the next pass ([`Schedule::due`]) and a
//! [`Turn`]. One pass at a time: what comes meanwhile waits, and all that waits goes into one pass. A clock that is set
//! back only makes the waiting longer.
//!
//! - After a failure the next pass waits, longer each time; the timer waits with it, news does not.
//! - A worker that dies again and again makes its passes wait in the same way; one that lived for a while does not. The
//!   first kind is told until it has lived, which a pass is made to see.
//! - Passes that may only look keep a distance to each other, or what nobody may mend would make them without end.
//! - Passes that put right what nobody has asked for are counted: beyond the policy's limit none of them acts for an
//!   hour, but to start workers, or until a person asks. That is for two that fight about a host. A pass that only
//!   starts workers which were down is not counted, since most of those have ended by themselves, as queue workers do
//!   all day: the wait above is its brake. It holds as well for whoever stops workers again and again by their manager:
//!   they are started again, more and more slowly, until `suspend` says that they are meant to be down.

#[cfg(test)]
mod crowd_tests;
mod pace;
mod types;
mod waiting;

use std::collections::VecDeque;
use std::iter;
use std::time::Duration;

use jiff::Timestamp;

use self::pace::Spread;
#[cfg(test)]
use self::waiting::MOST;
use self::waiting::{Pending, may_go_on_for_ever};
use crate::decide::windows;
use crate::model::names::{GroupName, MemberName};
use crate::model::report::Outcome;
use crate::model::sync::{Counting, SyncPolicy, Withheld};
use crate::model::wake::Wake;

pub use self::types::{Ended, Looping, May, ScheduleState, Turn};

/// Corrections are counted over this, and withheld for as long.
const HOUR: Duration = Duration::from_hours(1);
/// A member may die so often in a row before its passes wait.
const DEATHS: u32 = 3;
/// A member that has lived for so long since it was last put right dies for the first time again: it may well be meant to
/// end, and a pass each time costs no more than the timer's.
const LIVED: Duration = Duration::from_secs(30);
/// A death so long ago is forgotten in any case.
const CALM: Duration = Duration::from_mins(10);
/// A pass changes the link and `releases/` itself; word of that may come so much later.
const ECHO: Duration = Duration::from_secs(2);
/// Between two passes that may only look, however fast what they cannot mend goes on.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// One App's turn-taking.
#[derive(Debug, Clone)]
pub struct Schedule {
    policy: SyncPolicy,
    spread: Spread,
    pending: Vec<Pending>,
    running: Option<Running>,
    timer: Option<Timestamp>,
    opens: Option<Timestamp>,
    failures: u32,
    backoff: Option<Timestamp>,
    ended: Option<Timestamp>,
    /// The last pass might only look: the next one for what goes on at the host begins no sooner.
    looks_again: Option<Timestamp>,
    /// The App has been as its manifest says since that changed: what is put right from now on, nobody has asked for.
    settled: bool,
    corrections: VecDeque<Timestamp>,
    stalled: Option<Timestamp>,
    deaths: Vec<Deaths>,
}

#[derive(Debug, Clone, Copy)]
struct Running {
    counting: Counting,
    /// It may only look.
    looks: bool,
}

/// How often a member has died lately.
#[derive(Debug, Clone)]
struct Deaths {
    group: GroupName,
    member: MemberName,
    times: u32,
    /// Its passes have waited for that, and it has not lived since.
    looping: bool,
    last: Timestamp,
    /// When the first pass after it ended: the member lives since then, if it does.
    seen_to: Option<Timestamp>,
}

impl Schedule {
    /// A schedule for an App of which nothing is known yet: it has no pass before it is woken. `seed` spreads its
    /// timers and pauses; another for each App.
    #[must_use]
    pub fn new(policy: SyncPolicy, seed: u64) -> Self {
        Self {
            policy,
            spread: Spread::new(seed),
            pending: Vec::new(),
            running: None,
            timer: None,
            opens: None,
            failures: 0,
            backoff: None,
            ended: None,
            looks_again: None,
            settled: false,
            corrections: VecDeque::new(),
            stalled: None,
            deaths: Vec::new(),
        }
    }

    /// What was written down before the agent began: whether the App has been as its manifest says since that changed, and
    /// when corrections were made. A restart is nobody's leave to begin counting anew.
    pub fn recall(&mut self, settled: bool, corrections: &[Timestamp], now: Timestamp) {
        self.settled |= settled;
        // A clock that was set back must not keep them for ever.
        self.corrections.extend(corrections.iter().map(|at| (*at).min(now)));
        self.corrections.make_contiguous().sort_unstable();
        self.forget(now);
        self.judge_corrections();
    }

    /// The manifest says something else now; that it has changed is told by a wake.
    pub fn renew(&mut self, policy: SyncPolicy) {
        self.policy = policy;
        self.opens = None;
    }

    /// The clock was set back to this. What was yet to come comes at once, and what is later than now by the old clock has
    /// just happened: nothing waits for times that were here already. Whoever stands still for too many corrections does so
    /// for an hour from now at most. When a window opens is seen anew.
    pub fn clock_was_set(&mut self, now: Timestamp) {
        let pending = self.pending.iter_mut().map(|waiting| &mut waiting.at);
        let deaths = self.deaths.iter_mut().flat_map(|known| iter::once(&mut known.last).chain(&mut known.seen_to));
        let other = [&mut self.timer, &mut self.backoff, &mut self.ended, &mut self.looks_again];
        let all = pending.chain(deaths).chain(other.into_iter().flatten()).chain(&mut self.corrections);
        all.for_each(|at| *at = (*at).min(now));
        self.stalled = self.stalled.map(|until| until.min(later(now, HOUR)));
        self.opens = None;
        self.look_out(now);
    }

    /// Something has happened. The next pass is made for all that has happened before it begins.
    pub fn wake(&mut self, wake: Wake, now: Timestamp) {
        let news = wake.brings_news() && !self.is_echo(&wake, now);
        if news {
            self.take_heart();
        }
        if wake.is_a_word() {
            self.start_counting_anew();
        }
        if matches!(wake, Wake::Manifest { .. }) {
            self.settled = false;
            // Only the last one will be there to be looked at.
            self.pending.retain(|waiting| !matches!(waiting.wake, Wake::Manifest { .. }));
        }
        let at = match &wake {
            Wake::Death { group, member } => later(now, self.after_death(group, member, now)),
            _ => now,
        };
        self.look_out(now);
        waiting::add(&mut self.pending, Pending { wake, news, at });
    }

    /// When the next pass should begin, timers included; none while one runs, and before the first wake.
    #[must_use]
    pub fn due(&self) -> Option<Timestamp> {
        if self.running.is_some() {
            return None;
        }
        let held = |at: Timestamp| self.backoff.map_or(at, |until| at.max(until));
        let woken = self.pending.iter().map(|waiting| {
            let at = if waiting.news { waiting.at } else { held(waiting.at) };
            let calm = self.looks_again.filter(|_| may_go_on_for_ever(&waiting.wake));
            calm.map_or(at, |calm| at.max(calm))
        });
        // After a failure the next try stands for the timer.
        let timer = self.backoff.or(self.timer);
        let lived = self.deaths.iter().filter_map(Deaths::proves_itself);
        woken.chain(timer).chain(self.opens).chain(self.stalled).chain(lived).min()
    }

    /// A mere timer is due within `slack`: the pass may go along with others that begin now.
    #[must_use]
    pub fn joins(&self, now: Timestamp, slack: Duration) -> bool {
        let waits = self.running.is_none() && self.pending.is_empty() && self.backoff.is_none();
        waits && self.timer.is_some_and(|timer| timer <= later(now, slack))
    }

    /// A pass begins: why, and what it may do. [`Schedule::end`] must follow.
    pub fn begin(&mut self, now: Timestamp) -> Turn {
        let mut wakes: Vec<Wake> = self.pending.drain(..).map(|waiting| waiting.wake).collect();
        let mut also = |wake: Wake, is_due: bool| {
            if is_due && !wakes.contains(&wake) {
                wakes.push(wake);
            }
        };
        let opened = self.opens.take_if(|opens| *opens <= now).is_some();
        also(Wake::Window, opened);
        also(Wake::Backoff, self.backoff.is_some_and(|until| until <= now));
        also(Wake::Timer, self.backoff.is_none() && self.timer.is_some_and(|timer| timer <= now));
        if wakes.is_empty() {
            // It goes along with others, an hour of standing still is over, or a worker has lived for once.
            wakes.push(Wake::Timer);
        }
        if opened {
            self.take_heart();
        }
        self.deaths.retain(|known| known.proves_itself().is_none_or(|at| at > now));
        let told = wakes.iter().any(Wake::is_a_word);
        // The limit may have been reached after a person's word, while the last pass ran.
        if told || self.stalled.is_some_and(|until| until <= now) {
            self.start_counting_anew();
        }
        let counting = match (told, self.settled) {
            (true, _) => Counting::Anew,
            (false, true) => Counting::Correction,
            (false, false) => Counting::Deployment,
        };
        let may = self.withheld(&wakes, now).map_or(May::Act, May::Observe);
        let looks = may != May::Act;
        (self.running, self.timer, self.backoff) = (Some(Running { counting, looks }), None, None);
        Turn { wakes, may, counting }
    }

    /// The pass has ended.
    pub fn end(&mut self, ended: &Ended, now: Timestamp) {
        let running = self.running.take();
        let heals = running.is_some_and(|running| running.counting == Counting::Correction);
        self.ended = Some(now);
        self.looks_again = running.filter(|running| running.looks).map(|_| later(now, LOOK_AGAIN));
        if ended.outcome != Outcome::Interrupted {
            for death in &mut self.deaths {
                death.seen_to.get_or_insert(now);
            }
        }
        // A newer manifest that waits has not been wished for by what has ended.
        let newer = self.pending.iter().any(|waiting| matches!(waiting.wake, Wake::Manifest { .. }));
        self.settled |= !newer
            && matches!(
                ended.outcome,
                Outcome::Converged | Outcome::Unhealthy | Outcome::RolledBack | Outcome::Quarantined
            );
        self.forget(now);
        if heals && ended.corrections > 0 {
            self.corrections.push_back(now);
            self.judge_corrections();
        }
        // Something that is new since may be what was missing.
        let try_now = self.pending.iter().any(|waiting| waiting.news);
        if matches!(ended.outcome, Outcome::Failed | Outcome::Unhealthy) && !try_now {
            self.failures = self.failures.saturating_add(1);
            self.backoff = Some(later(now, self.spread.pause(self.failures)));
        } else {
            (self.failures, self.backoff) = (0, None);
        }
        self.timer = Some(later(now, self.spread.interval(self.policy.interval)));
        self.look_out(now);
    }

    /// What others may know of it.
    #[must_use]
    pub fn state(&self, now: Timestamp) -> ScheduleState {
        let of_the_hour = self.corrections.iter().filter(|at| later(**at, HOUR) > now).count();
        ScheduleState {
            running: self.running.is_some(),
            next: self.due(),
            pending: self.pending.iter().map(|waiting| waiting.wake.clone()).collect(),
            failures: self.failures,
            backoff_until: self.backoff,
            corrections: u32::try_from(of_the_hour).unwrap_or(u32::MAX),
            withheld: self.withheld(&[], now),
            stalled: self.stalled.is_some_and(|until| until > now),
            looping: self.looping(),
        }
    }

    /// Members that die again and again.
    #[must_use]
    pub fn looping(&self) -> Vec<Looping> {
        let looping = self.deaths.iter().filter(|known| known.looping);
        looping.map(|known| Looping { group: known.group.clone(), member: known.member.clone() }).collect()
    }

    /// Why a pass for these reasons would not act. Of `selfHeal` the pass itself knows more: it acts nevertheless as long
    /// as the App has not been as its manifest says.
    fn withheld(&self, wakes: &[Wake], now: Timestamp) -> Option<Withheld> {
        let policy = &self.policy;
        let asked = wakes.iter().any(|wake| matches!(wake, Wake::Request { .. }));
        let told = wakes.iter().any(Wake::is_a_word);
        if policy.suspend {
            return Some(Withheld::Suspended { why: policy.reason.clone(), here: false });
        }
        if !policy.automatic && !asked {
            return Some(Withheld::NotAutomatic);
        }
        if let Some(outside) = windows::withheld(&policy.windows, now) {
            return Some(outside);
        }
        if let Some(until) = self.stalled.filter(|until| *until > now) {
            return Some(Withheld::TooManyCorrections { limit: policy.max_corrections, until });
        }
        (!policy.self_heal && !told).then_some(Withheld::NoSelfHeal)
    }

    /// What has failed may succeed now.
    fn take_heart(&mut self) {
        (self.failures, self.backoff) = (0, None);
        // It is not waited for any more; that it lives is yet to be seen.
        self.deaths.retain(|known| known.looping);
        for known in &mut self.deaths {
            known.times = 0;
        }
    }

    /// After so many of them, none for an hour.
    fn judge_corrections(&mut self) {
        if self.corrections.len() >= limit(&self.policy) {
            self.stalled = self.corrections.back().map(|last| later(*last, HOUR));
        }
    }

    fn start_counting_anew(&mut self) {
        self.corrections.clear();
        self.stalled = None;
    }

    /// Word of what a pass has done itself.
    fn is_echo(&self, wake: &Wake, now: Timestamp) -> bool {
        let lately = self.running.is_some() || self.ended.is_some_and(|ended| now < later(ended, ECHO));
        lately && matches!(wake, Wake::Link | Wake::Releases)
    }

    /// How long a death waits for its pass.
    fn after_death(&mut self, group: &GroupName, member: &MemberName, now: Timestamp) -> Duration {
        self.forget(now);
        let same = |known: &&mut Deaths| known.group == *group && known.member == *member;
        let times = if let Some(known) = self.deaths.iter_mut().find(same) {
            let lived = known.seen_to.take().is_some_and(|since| later(since, LIVED) <= now);
            (known.times, known.last) = (if lived { 1 } else { known.times.saturating_add(1) }, now);
            known.looping = !lived && (known.looping || known.times > DEATHS);
            known.times
        } else {
            let (group, member) = (group.clone(), member.clone());
            self.deaths.push(Deaths { group, member, times: 1, looping: false, last: now, seen_to: None });
            1
        };
        self.spread.pause(times.saturating_sub(DEATHS))
    }

    fn forget(&mut self, now: Timestamp) {
        self.deaths.retain(|known| later(known.last, CALM) > now);
        self.corrections.retain(|at| later(*at, HOUR) > now);
    }

    /// When a window opens, if none is open now.
    fn look_out(&mut self, now: Timestamp) {
        if self.opens.is_none() && !self.policy.windows.is_empty() {
            self.opens = windows::withheld(&self.policy.windows, now).and_then(|outside| outside.until());
        }
    }
}

impl Deaths {
    /// When it has lived for long enough, if it does; none: it is not one of those that die again and again.
    fn proves_itself(&self) -> Option<Timestamp> {
        self.seen_to.filter(|_| self.looping).map(|since| later(since, LIVED))
    }
}

fn limit(policy: &SyncPolicy) -> usize {
    usize::try_from(policy.max_corrections).unwrap_or(usize::MAX)
}

/// So much later; the end of time where that would be beyond it.
#[must_use]
pub fn later(at: Timestamp, by: Duration) -> Timestamp {
    at.checked_add(by).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
