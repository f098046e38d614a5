//! The lines of a journal, put together into passes.
//!
//! A journal is bounded and may have lost its oldest lines; a pass that was killed has written no end. What is
//! not there stays unknown.

use std::collections::HashMap;

use jiff::Timestamp;

use crate::model::action::Action;
use crate::model::history::{Decision, PastAction, PastPass};
use crate::model::journal::{JournalEntry, JournalEvent};
use crate::model::names::AppName;
use crate::model::process::ProcessId;
use crate::model::report::Outcome;

/// The last `limit` passes of an App, the newest last; none: all of them.
#[must_use]
pub fn history(app: &AppName, entries: Vec<JournalEntry>, limit: Option<usize>) -> Vec<PastPass> {
    let mut passes: Vec<PastPass> = Vec::new();
    // One App's passes exclude each other, but clocks name them.
    let mut places: HashMap<String, usize> = HashMap::new();
    for entry in entries.into_iter().filter(|entry| entry.app == *app) {
        let at = places.get(&entry.pass).copied().unwrap_or_else(|| {
            places.insert(entry.pass.clone(), passes.len());
            passes.push(begun(&entry));
            passes.len() - 1
        });
        if let Some(pass) = passes.get_mut(at) {
            add(pass, entry.event, entry.at);
        }
    }
    let surplus = limit.map_or(0, |limit| passes.len().saturating_sub(limit));
    passes.split_off(surplus)
}

/// The processes that the last pass began to replace and has not done with, whether it goes on or was cut short.
#[must_use]
pub fn asked_to_end(app: &AppName, entries: Vec<JournalEntry>) -> Vec<ProcessId> {
    let last = history(app, entries, Some(1)).pop();
    let open = last.into_iter().flat_map(|pass| pass.actions).filter(|one| one.took_ms.is_none());
    open.filter_map(|one| match one.action {
        Action::RestartWorker { process, .. } => process,
        _ => None,
    })
    .collect()
}

fn begun(entry: &JournalEntry) -> PastPass {
    PastPass {
        pass: entry.pass.clone(),
        began: entry.at,
        release: None,
        trigger: None,
        outcome: None,
        summary: None,
        took_ms: None,
        actions: Vec::new(),
        decisions: Vec::new(),
    }
}

fn add(pass: &mut PastPass, event: JournalEvent, at: Timestamp) {
    match event {
        JournalEvent::PassStarted { release, trigger, pid: _ } => {
            (pass.release, pass.trigger) = (Some(release), Some(trigger));
        }
        JournalEvent::Begin { action, reason } => {
            pass.actions.push(PastAction { action, reason, took_ms: None, error: None });
        }
        JournalEvent::Done { action, took_ms, notes: _ } => end(pass, action, took_ms, None),
        JournalEvent::Failed { action, error, took_ms } => end(pass, action, took_ms, Some(error)),
        JournalEvent::Quarantined { release, reason, by } => {
            pass.decisions.push(Decision::Quarantined { release, reason, by });
        }
        JournalEvent::QuarantineLifted { release } => pass.decisions.push(Decision::QuarantineLifted { release }),
        JournalEvent::Suspended { reason } => pass.decisions.push(Decision::Suspended { reason }),
        JournalEvent::Resumed => pass.decisions.push(Decision::Resumed),
        JournalEvent::PassEnded { outcome, summary } => {
            // Older journals have it in small letters.
            let rolled_back = Outcome::RolledBack.word();
            let outcome = if outcome.eq_ignore_ascii_case(rolled_back) { rolled_back.to_owned() } else { outcome };
            (pass.outcome, pass.summary) = (Some(outcome), Some(summary));
            // A clock that was set back took no time.
            let took = u64::try_from(at.duration_since(pass.began).as_millis()).unwrap_or(0);
            pass.took_ms = pass.trigger.is_some().then_some(took);
        }
    }
}

/// Side by side, actions end in another order than they began.
fn end(pass: &mut PastPass, action: Action, took_ms: u64, error: Option<String>) {
    let open = pass.actions.iter_mut().rev().find(|known| known.action == action && known.took_ms.is_none());
    match open {
        Some(known) => (known.took_ms, known.error) = (Some(took_ms), error),
        None => pass.actions.push(PastAction { action, reason: String::new(), took_ms: Some(took_ms), error }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::testing::{id, member, noon, seconds_before};
    use crate::model::names::GroupName;
    use crate::model::record::Judge;

    fn app(name: &str) -> AppName {
        AppName::new(name).unwrap()
    }

    fn line(pass: &str, before_noon: i64, event: JournalEvent) -> JournalEntry {
        JournalEntry { at: seconds_before(noon(), before_noon), pass: pass.to_owned(), app: app("shop"), event }
    }

    fn start(ordinal: u32) -> Action {
        Action::StartWorker { group: GroupName::new("default").unwrap(), member: member(ordinal) }
    }

    fn begin(action: Action) -> JournalEvent {
        JournalEvent::Begin { action, reason: "it is down".to_owned() }
    }

    fn started() -> JournalEvent {
        JournalEvent::PassStarted { release: id("r2"), trigger: "timer".to_owned(), pid: 7 }
    }

    fn ended(outcome: &str) -> JournalEvent {
        JournalEvent::PassEnded { outcome: outcome.to_owned(), summary: "two of two".to_owned() }
    }

    #[test]
    fn lines_become_passes_with_what_was_done_side_by_side() {
        let lines = vec![
            line("p1", 60, started()),
            line("p1", 60, begin(start(1))),
            line("p1", 60, begin(start(2))),
            line("p1", 59, JournalEvent::Failed { action: start(2), error: "no".to_owned(), took_ms: 900 }),
            line("p1", 58, JournalEvent::Done { action: start(1), took_ms: 1800, notes: Vec::new() }),
            line("p1", 57, ended("failed")),
        ];
        let [pass] = <[PastPass; 1]>::try_from(history(&app("shop"), lines, None)).unwrap();
        assert_eq!((pass.began, pass.took_ms), (seconds_before(noon(), 60), Some(3000)));
        assert_eq!((pass.trigger.as_deref(), pass.outcome.as_deref()), (Some("timer"), Some("failed")));
        assert_eq!(pass.release, Some(id("r2")));
        let did: Vec<_> =
            pass.actions.iter().map(|one| (one.action.clone(), one.took_ms, one.error.as_deref())).collect();
        assert_eq!(did, [(start(1), Some(1800), None), (start(2), Some(900), Some("no"))]);
    }

    #[test]
    fn what_was_cut_off_at_either_end_stays_unknown() {
        let lines = vec![
            line("p1", 60, JournalEvent::Done { action: start(1), took_ms: 5, notes: Vec::new() }),
            line("p1", 60, ended("converged")),
            line("p2", 30, started()),
            line("p2", 30, begin(start(1))),
        ];
        let passes = history(&app("shop"), lines, None);
        let [first, second] = <[PastPass; 2]>::try_from(passes).unwrap();
        assert_eq!((&first.trigger, first.actions.len(), first.actions[0].reason.as_str()), (&None, 1, ""));
        assert_eq!((first.outcome.as_deref(), first.took_ms), (Some("converged"), None));
        assert_eq!((&second.outcome, second.took_ms, second.actions[0].took_ms), (&None, None, None));
    }

    #[test]
    fn a_rollback_has_one_word_in_journals_of_every_age() {
        for written in ["rolledback", "rolledBack"] {
            let passes = history(&app("shop"), vec![line("p1", 60, ended(written))], None);
            assert_eq!(passes[0].outcome.as_deref(), Some("rolledBack"));
        }
    }

    #[test]
    fn decisions_of_people_and_gates_are_told_apart() {
        let quarantined = |by| JournalEvent::Quarantined { release: id("r2"), reason: "slow".to_owned(), by };
        let lines = vec![
            line("p1", 60, quarantined(Judge::Operator)),
            line("p2", 50, quarantined(Judge::Gate)),
            line("p3", 40, JournalEvent::QuarantineLifted { release: id("r2") }),
            line("p4", 30, JournalEvent::Suspended { reason: "a move".to_owned() }),
            line("p5", 20, JournalEvent::Resumed),
        ];
        let passes = history(&app("shop"), lines, None);
        let decisions: Vec<Decision> = passes.into_iter().flat_map(|pass| pass.decisions).collect();
        let quarantined = |by| Decision::Quarantined { release: id("r2"), reason: "slow".to_owned(), by };
        assert_eq!(
            decisions,
            [
                quarantined(Judge::Operator),
                quarantined(Judge::Gate),
                Decision::QuarantineLifted { release: id("r2") },
                Decision::Suspended { reason: "a move".to_owned() },
                Decision::Resumed,
            ]
        );
    }

    /// Whoever may read may ask for all of it, as often as he likes: it must not cost more than its length.
    #[test]
    fn a_long_history_is_put_together_in_one_go() {
        let lines = (0..100_000).map(|n| line(&format!("p{n:06}"), 60, ended("converged"))).collect();
        let began = std::time::Instant::now();
        assert_eq!(history(&app("shop"), lines, Some(3)).len(), 3);
        // A comparison with each pass before takes minutes.
        assert!(began.elapsed() < std::time::Duration::from_secs(15), "{:?}", began.elapsed());
    }

    #[test]
    fn only_the_last_ones_of_this_app_are_told() {
        let mut lines: Vec<JournalEntry> = (0..5).map(|n| line(&format!("p{n}"), 60 - n, ended("converged"))).collect();
        lines.push(JournalEntry { app: app("blog"), ..line("b", 1, ended("failed")) });
        let names = |limit| -> Vec<String> {
            history(&app("shop"), lines.clone(), limit).into_iter().map(|pass| pass.pass).collect()
        };
        assert_eq!(names(Some(2)), ["p3", "p4"]);
        assert_eq!(names(Some(9)).len(), 5);
        assert_eq!(names(None).len(), 5);
    }
}
