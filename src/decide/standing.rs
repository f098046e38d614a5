//! What the agent knows of an App beyond a snapshot of the host, put into the App's conditions.

use crate::decide::schedule::ScheduleState;
use crate::model::status::{AppStatus, Condition, ConditionType, Reason, Truth};
use crate::model::wake::Wake;

/// What the agent knows of an App beyond a snapshot of the host.
#[derive(Debug, Clone, Copy, Default)]
pub struct Standing<'a> {
    /// Why the pass is made that runs; none runs.
    pub running: Option<&'a [Wake]>,
    /// The App has disappeared from the manifests.
    pub orphaned: bool,
    /// Why newer manifests cannot be used.
    pub refused: Option<&'a str>,
    /// Its turns.
    pub schedule: Option<&'a ScheduleState>,
}

/// Adds it to a status.
pub fn add(status: &mut AppStatus, standing: &Standing<'_>) {
    if let Some(wakes) = standing.running {
        let words: Vec<String> = wakes.iter().map(Wake::to_string).collect();
        let message = format!("a pass is under way: {}", words.join(", "));
        set(status, ConditionType::Reconciling, Reason::Progressing, message);
    }
    if standing.orphaned {
        let message = "the App has disappeared from the manifests, and is left running";
        set(status, ConditionType::Stalled, Reason::Orphaned, message.to_owned());
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
    use crate::decide::status::status;
    use crate::decide::testing::{app, group, id, running, seen, supervisord};

    fn conditions(link: &str, standing: &Standing<'_>) -> String {
        let wanted = app("r2", vec![group("default", 1, supervisord())]);
        let observed = seen(link, vec![running(1, "r2")]);
        assert_eq!(wanted.release.id, id("r2"));
        let mut status = status(&wanted, "g".to_owned(), &observed, &diff(&wanted, &observed));
        add(&mut status, standing);
        let told = status
            .conditions
            .iter()
            .filter(|one| matches!(one.of, ConditionType::Reconciling | ConditionType::Stalled));
        told.map(|one| format!("{}={} {}: {}", one.of, one.status, one.reason, one.message))
            .collect::<Vec<_>>()
            .join("\n")
    }

    #[test]
    fn what_only_the_agent_knows_is_told_by_the_conditions() {
        let idle = conditions("r2", &Standing::default());
        assert!(idle.contains("Reconciling=False Idle") && idle.contains("Stalled=False NothingStalled"), "{idle}");
        let wakes = [Wake::Timer, Wake::Request { by: "anna".to_owned() }];
        let running = conditions("r2", &Standing { running: Some(&wakes), ..Standing::default() });
        assert!(
            running.contains("Reconciling=True Progressing: a pass is under way: timer, request by anna"),
            "{running}"
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
        };
        let fought = conditions("r2", &Standing { schedule: Some(&schedule), ..Standing::default() });
        assert!(fought.contains("Stalled=True TooManyCorrections: drift was put right 31 times"), "{fought}");
        let refused = Some("shop.yaml:3: unknown key");
        let told = conditions("r2", &Standing { refused, orphaned: true, ..Standing::default() });
        assert!(told.contains("Stalled=True Orphaned") && told.contains("shop.yaml:3: unknown key"), "{told}");
    }
}
