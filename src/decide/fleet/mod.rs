//! What comes next in a rollout over many hosts.
//!
//! In: what is agreed ([`Terms`]) and how far each host is ([`Progress`]). Out: what may be begun now, or how it ended.
//! It remembers nothing and has no clock: asked again with the same facts, it says the same.
//!
//! All hosts are looked at before anything is changed anywhere. Those that have something to be done take their turns
//! in waves, and a wave is judged before the next one begins. Too many failures stop it, and what was changed is taken
//! back. Begin at [`next`].

mod back;
mod ending;

pub use self::back::goes_back;
use self::ending::{ended, why};
use crate::model::amount::Amount;
use crate::model::app::OnFailure;
use crate::model::fleet::HostName;
use crate::model::report::Outcome;
use crate::model::rollout::{
    Applied, Doing, Found, HostState, HostVerdict, Next, Order, Progress, RolloutEnding, RolloutOutcome, Terms,
};

/// What may be begun now. An order is repeated, for whoever it is left for, until all of it has been begun; while
/// something is in hand and nothing more may be begun, that is [`Next::Wait`].
#[must_use]
pub fn next(terms: &Terms, progress: &Progress) -> Next {
    let decided = Course { terms, progress }.next();
    // What has failed is taken back all the same: a failed release that stays would be called changed.
    let goes_on = matches!(decided, Next::Done(_) | Next::Do(Order::TakeBack { .. }));
    if !progress.interrupted || goes_on {
        return decided;
    }
    // Passes go to their end, and are heard to it. To see whether somebody stays healthy is for who goes on.
    let awaited = progress.hosts.iter().any(|host| host.doing.is_some_and(|doing| doing != Doing::Hold));
    if awaited { Next::Wait } else { Next::Done(ended(RolloutOutcome::Interrupted, &progress.hosts)) }
}

/// How it ends where nobody waits any more for what is in hand: passes are lost, and who was to be taken back is not.
#[must_use]
pub fn abandoned(terms: &Terms, progress: &Progress) -> RolloutEnding {
    let mut ending = ended(RolloutOutcome::Interrupted, &progress.hosts);
    let course = Course { terms, progress };
    if course.is_failed() {
        let due = course.due();
        let due = ending.hosts.iter_mut().filter(|(name, _)| due.iter().any(|host| host.name == *name));
        due.for_each(|(_, verdict)| *verdict = HostVerdict::NotTakenBack);
    }
    ending
}

/// The hosts by whose records the migrations were run in an earlier rollout, or that have the release in force, so that
/// this one runs none, in the order in which they change; those that have recorded it first. Empty where that decides
/// nothing: there are no migrations, nobody has anything to do, or not all were looked at.
#[must_use]
pub fn migrated_by(terms: &Terms, progress: &Progress) -> Vec<HostName> {
    let hosts = &progress.hosts;
    let decides = terms.migrates && hosts.iter().all(|host| host.found.is_some()) && hosts.iter().any(has_drift);
    let mut known: Vec<&HostState> = hosts.iter().filter(|host| decides && has_migrated(host)).collect();
    known.sort_by_key(|host| !matches!(host.found, Some(Found::Seen { migrated: true, .. })));
    known.into_iter().map(|host| host.name.clone()).collect()
}

/// Hosts that change together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wave {
    /// It goes first, and the others only once it is proven.
    pub is_canary: bool,
    /// Those that have something to be done, in the order in which they change.
    pub hosts: Vec<HostName>,
}

/// The waves in which hosts would change that were all looked at; none where it would not be begun.
#[must_use]
pub fn waves(terms: &Terms, progress: &Progress) -> Vec<Wave> {
    let course = Course { terms, progress };
    if course.is_failed() {
        return Vec::new();
    }
    let drifting = |wave: Vec<&HostState>| -> Vec<HostName> {
        wave.into_iter().filter(|host| has_drift(host)).map(|host| host.name.clone()).collect()
    };
    let has_canary = course.terms.canary != Amount::Count(0) && course.terms.canary != Amount::Percent(0);
    let waves = course.divided().into_iter().enumerate();
    let waves = waves.map(|(at, wave)| Wave { is_canary: at == 0 && has_canary, hosts: drifting(wave) });
    waves.filter(|wave| !wave.hosts.is_empty()).collect()
}

struct Course<'a> {
    terms: &'a Terms,
    progress: &'a Progress,
}

impl<'a> Course<'a> {
    fn next(&self) -> Next {
        let hosts = &self.progress.hosts;
        let unseen: Vec<&HostState> = hosts.iter().filter(|host| host.found.is_none()).collect();
        if !unseen.is_empty() {
            return idle(&unseen).map_or(Next::Wait, |hosts| Next::Do(Order::Observe { hosts }));
        }
        let failed = self.is_failed();
        if failed && !hosts.iter().any(is_begun) {
            return Next::Done(ended(RolloutOutcome::NotBegun, hosts));
        }
        let is_over =
            |host: &HostState| matches!(host.applied, Some(Applied::Ended { outcome: Outcome::Withheld, .. }));
        if failed {
            self.stop()
        } else if hosts.iter().any(is_over) {
            if is_busy(hosts) { Next::Wait } else { Next::Done(ended(RolloutOutcome::Withheld, hosts)) }
        } else {
            self.waves()
        }
    }

    /// Nobody else may be changed.
    fn is_failed(&self) -> bool {
        let failures = self.progress.hosts.iter().filter(|host| has_failed(host)).count();
        // What was migrated for by a host that then failed is not for others to go on with.
        failures > self.terms.max_failures || self.leader().is_some_and(has_failed)
    }

    /// Those that are to be taken back of a rollout that has failed.
    fn due(&self) -> Vec<&'a HostState> {
        match self.terms.on_failure {
            OnFailure::Rollback => {
                self.progress.hosts.iter().filter(|host| is_changed(host) && host.taken_back.is_none()).collect()
            }
            OnFailure::Halt => Vec::new(),
        }
    }

    /// Nobody else is changed; those that were are taken back.
    fn stop(&self) -> Next {
        let hosts = &self.progress.hosts;
        if hosts.iter().any(|host| host.doing == Some(Doing::Apply)) {
            return Next::Wait;
        }
        let due = self.due();
        if due.is_empty() {
            return Next::Done(ended(RolloutOutcome::Stopped, hosts));
        }
        let reason = || why(hosts.iter().filter(|host| has_failed(host)));
        // Whether the others stay healthy decides nothing any more, and it may take long to know.
        let free = |host: &&&HostState| matches!(host.doing, None | Some(Doing::Hold));
        let hosts: Vec<HostName> = due.iter().filter(free).map(|host| host.name.clone()).collect();
        if hosts.is_empty() { Next::Wait } else { Next::Do(Order::TakeBack { hosts, reason: reason() }) }
    }

    fn waves(&self) -> Next {
        let leader = self.leader();
        let mut changed_before = false;
        for (position, wave) in self.divided().into_iter().enumerate() {
            let wave: Vec<&HostState> = wave.into_iter().filter(|host| has_drift(host)).collect();
            if wave.is_empty() {
                continue;
            }
            if !wave.iter().copied().any(is_begun) {
                let (after, length) = (position, self.terms.pause);
                if changed_before && !length.is_zero() && self.progress.pauses < after {
                    return Next::Do(Order::Pause { after, length });
                }
            }
            changed_before = true;
            let leads =
                |leader: &&HostState| leader.applied.is_none() && wave.iter().any(|host| host.name == leader.name);
            if let Some(leader) = leader.filter(leads) {
                let order = |hosts| Next::Do(Order::Apply { wave: position, hosts, migrate: true });
                return idle(&[leader]).map_or(Next::Wait, order);
            }
            let due: Vec<&HostState> = wave.iter().copied().filter(|host| host.applied.is_none()).collect();
            if !due.is_empty() {
                let order = |hosts| Next::Do(Order::Apply { wave: position, hosts, migrate: false });
                return idle(&due).map_or(Next::Wait, order);
            }
            let healthy_for = self.terms.healthy_for;
            let unproven: Vec<&HostState> =
                wave.into_iter().filter(|host| !has_failed(host) && host.held.is_none()).collect();
            if !healthy_for.is_zero() && !unproven.is_empty() {
                let order = |hosts| Next::Do(Order::Hold { wave: position, hosts, healthy_for });
                return idle(&unproven).map_or(Next::Wait, order);
            }
        }
        Next::Done(ended(RolloutOutcome::Complete, &self.progress.hosts))
    }

    /// The one that runs the migrations: the first that changes, which one where nothing was begun does not. None where
    /// there are none, or they were run before.
    fn leader(&self) -> Option<&'a HostState> {
        let hosts = &self.progress.hosts;
        let first = hosts.iter().find(|host| has_drift(host) && !is_out(host));
        first.filter(|_| self.terms.migrates && !hosts.iter().any(has_migrated))
    }

    /// The waves. Who cannot take part takes nobody's place: a canary that is out of reach would prove nothing, also
    /// where that shows only as its turn comes.
    fn divided(&self) -> Vec<Vec<&'a HostState>> {
        let hosts = &self.progress.hosts;
        let all = u32::try_from(hosts.len()).unwrap_or(u32::MAX);
        let size = |count: u32| usize::try_from(count).unwrap_or(usize::MAX);
        let canary = size(self.terms.canary.of(all));
        let (mut canaries, mut others) = (Vec::new(), Vec::new());
        for host in hosts.iter().filter(|host| takes_part(host)) {
            if canaries.len() == canary {
                others.push(host);
            } else if !is_out(host) {
                canaries.push(host);
            }
        }
        let batch = size(self.terms.batch.of(all)).max(1);
        let canaries = Some(canaries).filter(|canaries| !canaries.is_empty());
        canaries.into_iter().chain(others.chunks(batch).map(<[_]>::to_vec)).collect()
    }
}

/// Those at which nothing is in hand; none where there are none.
fn idle(hosts: &[&HostState]) -> Option<Vec<HostName>> {
    let idle: Vec<_> = hosts.iter().filter(|host| host.doing.is_none()).map(|host| host.name.clone()).collect();
    (!idle.is_empty()).then_some(idle)
}

fn is_busy(hosts: &[HostState]) -> bool {
    hosts.iter().any(|host| host.doing.is_some())
}

fn has_drift(host: &HostState) -> bool {
    matches!(host.found, Some(Found::Seen { outcome: Outcome::Drift, .. }))
}

/// By its record; or the release is in force and proven there, whoever has run them: as on one host, what is in force
/// has had its chance.
fn has_migrated(host: &HostState) -> bool {
    matches!(host.found, Some(Found::Seen { migrated: true, .. } | Found::Seen { had_release: true, .. }))
}

fn takes_part(host: &HostState) -> bool {
    has_drift(host) || matches!(host.found, Some(Found::Seen { outcome: Outcome::Converged, .. }))
}

/// Its turn came, and nothing was begun there.
fn is_out(host: &HostState) -> bool {
    matches!(host.applied, Some(Applied::NotBegun | Applied::Refused))
}

fn is_begun(host: &HostState) -> bool {
    host.applied.is_some() || host.doing == Some(Doing::Apply)
}

/// Counts as a failure: it cannot be looked at or changed, its pass did not come to a good end, or it did not stay
/// healthy. What waits for its hours has not failed.
fn has_failed(host: &HostState) -> bool {
    let found = match host.found {
        Some(Found::Unreachable | Found::Refused) => true,
        Some(Found::Seen { outcome, .. }) => {
            !matches!(outcome, Outcome::Converged | Outcome::Drift | Outcome::Withheld)
        }
        None => false,
    };
    let applied = match host.applied {
        Some(Applied::Ended { outcome, .. }) => !matches!(outcome, Outcome::Converged | Outcome::Withheld),
        Some(Applied::NotBegun | Applied::Refused | Applied::Lost) => true,
        None => false,
    };
    found || applied || host.held == Some(false)
}

/// This rollout has brought the release there, and it has not gone back by itself. Of one that was lost nobody knows:
/// it is asked to.
fn is_changed(host: &HostState) -> bool {
    if matches!(host.found, Some(Found::Seen { had_release: true, .. })) {
        return false;
    }
    match host.applied {
        Some(
            Applied::Ended { outcome: Outcome::RolledBack | Outcome::Quarantined, .. }
            | Applied::NotBegun
            | Applied::Refused,
        )
        | None => false,
        Some(Applied::Ended { changed, .. }) => changed,
        Some(Applied::Lost) => true,
    }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
