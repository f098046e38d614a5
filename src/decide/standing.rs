//! What is known of an App beyond a snapshot of the host, by its agent or by its root's lock, put into the App's
//! conditions.

use jiff::Timestamp;

use crate::decide::schedule::ScheduleState;
use crate::model::holder::Holder;
use crate::model::names::Root;
use crate::model::status::{AppStatus, Condition, ConditionType, Reason, Truth};
use crate::model::wake::Wake;

/// What is known of an App beyond a snapshot of the host.
#[derive(Debug, Clone, Copy, Default)]
pub struct Standing<'a> {
    /// Why the pass is made that runs; none runs.
    pub running: Option<&'a [Wake]>,
    /// The last pass has only waited: for whom.
    pub waiting: Option<&'a str>,
    /// Who makes a pass over the root, as its lock tells, and when that was read.
    pub at_work: Option<(&'a Holder, Timestamp)>,
    /// The host was looked at for another manifest than the one that is in force now.
    pub behind: bool,
    /// The App has disappeared from the manifests.
    pub orphaned: bool,
    /// … and its workers are being stopped.
    pub leaving: bool,
    /// Roots that it had before, and at which everything was left as it was.
    pub former_roots: &'a [&'a Root],
    /// Why newer manifests cannot be used.
    pub refused: Option<&'a str>,
    /// Its turns.
    pub schedule: Option<&'a ScheduleState>,
}

/// Adds it to a status.
pub fn add(status: &mut AppStatus, standing: &Standing<'_>) {
    let running = standing.running.map(|wakes| {
        let words: Vec<String> = wakes.iter().map(Wake::to_string).collect();
        format!("a pass is under way: {}", words.join(", "))
    });
    // As it wishes itself: nothing stands still.
    let leaving = standing
        .leaving
        .then(|| "the App has disappeared from the manifests, and its workers are to be stopped".to_owned());
    let waiting = standing.waiting.map(str::to_owned);
    let at_work = standing.at_work.map(|(holder, now)| holder.words(now));
    if let Some((holder, _)) = standing.at_work {
        status.at_work = Some(holder.clone());
    }
    let reconciling: Vec<String> = running.into_iter().chain(waiting).chain(at_work).chain(leaving).collect();
    if !reconciling.is_empty() {
        set(status, ConditionType::Reconciling, Reason::Progressing, reconciling.join("; "));
    }
    if standing.behind {
        let message = "the manifest has changed, and no pass has ended since";
        object(status, ConditionType::Ready, Reason::Progressing, message);
    }
    if standing.orphaned && !standing.leaving {
        let message = "the App has disappeared from the manifests, and is left running";
        set(status, ConditionType::Stalled, Reason::Orphaned, message.to_owned());
    }
    if !standing.former_roots.is_empty() {
        // It is as ready as ever: what runs elsewhere is none of its own.
        let ready = status.conditions.iter_mut().find(|condition| condition.of == ConditionType::Ready);
        if let Some(ready) = ready {
            let roots: Vec<String> = standing.former_roots.iter().map(|root| format!("`{root}`")).collect();
            let (roots, it) = (roots.join(" and "), if roots.len() == 1 { "it" } else { "them" });
            ready.message =
                format!("{}; it has left {roots} for this root, and what ran at {it} was left running", ready.message);
        }
    }
    if let Some(why) = standing.refused {
        let message = format!("newer manifests cannot be used, and those before stay in force: {why}");
        set(status, ConditionType::Stalled, Reason::ManifestsRefused, message);
    }
    if let Some(schedule) = standing.schedule.filter(|schedule| schedule.stalled) {
        let message = format!(
            "drift was put right {} times within an hour, and came back: something works against this manifest",
            schedule.corrections
        );
        set(status, ConditionType::Stalled, Reason::TooManyCorrections, message);
    }
    // The last pass has started it again, which says nothing of the next minute.
    if let Some(message) = standing.schedule.filter(|_| !standing.orphaned).and_then(ScheduleState::crash_loop) {
        speak_against_ready(status, &message);
        set(status, ConditionType::Stalled, Reason::CrashLoop, message);
    }
}

/// The App is not ready; what spoke against that before is said first.
fn speak_against_ready(status: &mut AppStatus, message: &str) {
    let of = ConditionType::Ready;
    let Some(ready) = status.conditions.iter_mut().find(|condition| condition.of == of) else { return };
    *ready = match ready.status {
        Truth::False => Condition { message: format!("{}; {message}", ready.message), ..ready.clone() },
        Truth::True | Truth::Unknown => {
            Condition { of, status: Truth::False, reason: Reason::CrashLoop, message: message.to_owned() }
        }
    };
}

/// A condition that would hold does not. What speaks against it already says more.
fn object(status: &mut AppStatus, of: ConditionType, reason: Reason, message: &str) {
    let holds = |one: &&mut Condition| one.of == of && one.status == Truth::True;
    if let Some(condition) = status.conditions.iter_mut().find(holds) {
        *condition = Condition { of, status: Truth::False, reason, message: message.to_owned() };
    }
}

/// Makes a condition hold. What holds already keeps its reason, and gets the message added.
fn set(status: &mut AppStatus, of: ConditionType, reason: Reason, message: String) {
    let Some(condition) = status.conditions.iter_mut().find(|condition| condition.of == of) else { return };
    *condition = match condition.status {
        Truth::True if condition.reason != reason => {
            Condition { message: format!("{}; {message}", condition.message), ..condition.clone() }
        }
        Truth::True | Truth::False | Truth::Unknown => Condition { of, status: Truth::True, reason, message },
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::diff::diff;
    use crate::decide::schedule::Looping;
    use crate::decide::status::status;
    use crate::decide::testing::{app, group, id, running, seen, supervisord};
    use crate::model::names::{GroupName, MemberName};

    fn conditions(link: &str, standing: &Standing<'_>) -> String {
        let wanted = app("r2", vec![group("default", 1, supervisord())]);
        let observed = seen(link, vec![running(1, "r2")]);
        assert_eq!(wanted.release.id, id("r2"));
        let mut status = status(&wanted, "g".to_owned(), &observed, &diff(&wanted, &observed));
        add(&mut status, standing);
        let told = status
            .conditions
            .iter()
            .filter(|one| !matches!(one.of, ConditionType::Healthy | ConditionType::WorkersCurrent));
        told.map(|one| format!("{}={} {}: {}", one.of, one.status, one.reason, one.message))
            .collect::<Vec<_>>()
            .join("\n")
    }

    #[test]
    fn what_only_the_agent_knows_is_told_by_the_conditions() {
        let idle = conditions("r2", &Standing::default());
        assert!(idle.contains("Reconciling=False Idle") && idle.contains("Stalled=False NothingStalled"), "{idle}");
        let wakes = [Wake::Timer, Wake::Request { by: "anna".to_owned(), ignore_windows: false }];
        let running = conditions("r2", &Standing { running: Some(&wakes), ..Standing::default() });
        assert!(
            running.contains("Reconciling=True Progressing: a pass is under way: timer, request by anna"),
            "{running}"
        );
        let waiting = Some("waiting for somebody else's pass: held by 7");
        let told = conditions("r2", &Standing { running: Some(&wakes), waiting, ..Standing::default() });
        assert!(told.contains("timer, request by anna; waiting for somebody else's pass: held by 7"), "{told}");
        assert!(told.contains("Ready=True"), "{told}");
        let since = Timestamp::UNIX_EPOCH;
        let holder = Holder { pid: 7, since, host: "web1".to_owned(), command: "trueup reconcile".to_owned() };
        let told = conditions("r1", &Standing { at_work: Some((&holder, since)), ..Standing::default() });
        assert!(told.contains("Reconciling=True Progressing: pid 7 (`trueup reconcile`) has been at work"), "{told}");
        let behind = Standing { behind: true, ..Standing::default() };
        let told = conditions("r2", &behind);
        assert!(told.contains("Ready=False Progressing: the manifest has changed"), "{told}");
        let told = conditions("r1", &behind);
        assert!(
            told.contains("Ready=False ReleaseNotCurrent: current is r1, not r2") && !told.contains("changed"),
            "{told}"
        );
        let schedule = ScheduleState {
            running: false,
            next: None,
            pending: Vec::new(),
            failures: 0,
            backoff_until: None,
            corrections: 31,
            withheld: None,
            stalled: true,
            looping: Vec::new(),
        };
        let fought = conditions("r2", &Standing { schedule: Some(&schedule), ..Standing::default() });
        assert!(fought.contains("Stalled=True TooManyCorrections: drift was put right 31 times"), "{fought}");
        let looping =
            |member: &str| Looping { group: GroupName::new("q").unwrap(), member: MemberName::new(member).unwrap() };
        let one = ScheduleState { looping: vec![looping("q/1")], stalled: false, ..schedule.clone() };
        let standing = Standing { schedule: Some(&one), ..Standing::default() };
        let told = conditions("r2", &standing);
        assert!(
            told.contains("Ready=False CrashLoop: worker q/1 dies again and again, soon after its start"),
            "{told}"
        );
        assert!(told.contains("Stalled=True CrashLoop: worker q/1 dies"), "{told}");
        let told = conditions("r1", &standing);
        assert!(told.contains("Ready=False ReleaseNotCurrent: current is r1, not r2; worker q/1 dies"), "{told}");
        let two = ScheduleState { looping: vec![looping("q/1"), looping("q/2")], ..one.clone() };
        let told = conditions("r2", &Standing { schedule: Some(&two), ..Standing::default() });
        assert!(told.contains("worker q/1 and 1 more die again and again, soon after their start"), "{told}");
        let refused = Some("shop.yaml:3: unknown key");
        let told = conditions("r2", &Standing { refused, orphaned: true, ..Standing::default() });
        assert!(told.contains("Stalled=True Orphaned") && told.contains("shop.yaml:3: unknown key"), "{told}");
        let roots = ["/srv/old", "/srv/older"].map(|path| Root::new(path).unwrap());
        let moved = |roots: &[&Root]| conditions("r2", &Standing { former_roots: roots, ..Standing::default() });
        let told = moved(&[&roots[0]]);
        assert!(told.contains("Ready=True") && told.contains("Stalled=False"), "{told}");
        assert!(told.contains("; it has left `/srv/old` for this root, and what ran at it was left running"), "{told}");
        let told = moved(&[&roots[0], &roots[1]]);
        assert!(
            told.contains("; it has left `/srv/old` and `/srv/older` for this root, and what ran at them"),
            "{told}"
        );
        let leaving = Standing { orphaned: true, leaving: true, ..Standing::default() };
        let told = conditions("r2", &leaving);
        assert!(told.contains("Stalled=False") && !told.contains("left running"), "{told}");
        assert!(
            told.contains("Reconciling=True Progressing") && told.contains("its workers are to be stopped"),
            "{told}"
        );
        let told = conditions("r2", &Standing { running: Some(&wakes), ..leaving });
        assert!(told.contains("a pass is under way") && told.contains("its workers are to be stopped"), "{told}");
    }
}
