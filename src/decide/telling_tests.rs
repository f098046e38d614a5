//! What is told, and what is not told again.

use std::time::Duration;

use super::*;
use crate::decide::testing::{app, group, id, member, noon, process, seen, supervisord};
use crate::model::action::Plan;
use crate::model::drift::{Difference, Drift};
use crate::model::names::GroupName;
use crate::model::report::{Mode, Problem};

fn the_app(release: &str) -> App {
    app(release, vec![group("default", 2, supervisord())])
}

fn report(release: &str, outcome: Outcome, actions: &[Action]) -> PassReport {
    let app = the_app(release);
    let tried = |action: &Action| Tried {
        action: action.clone(),
        reason: String::new(),
        began: noon(),
        took: Duration::ZERO,
        problem: None,
        notes: Vec::new(),
    };
    PassReport {
        withheld: None,
        app: app.name.clone(),
        root: app.root.clone(),
        release: app.release.id.clone(),
        pass: "p".to_owned(),
        began: noon(),
        took: Duration::from_secs(1),
        mode: Mode::Apply,
        outcome,
        before: None,
        difference: Difference::default(),
        plan: Plan::default(),
        tried: actions.iter().map(tried).collect(),
        after: Some(seen(release, Vec::new())),
        remaining: Difference::default(),
        health_attempts: 1,
        problems: Vec::new(),
    }
}

fn failed(release: &str, why: &str) -> PassReport {
    let problem = Problem { message: why.to_owned(), help: None, lasting: false };
    PassReport { problems: vec![problem], ..report(release, Outcome::Failed, &[]) }
}

fn switch(to: &str) -> Action {
    Action::SwitchCurrent { to: id(to) }
}

fn restart(pid: u32) -> Action {
    let group = GroupName::new("default").unwrap();
    Action::RestartWorker { group, member: member(0), process: Some(process(pid)) }
}

fn withheld(release: &str) -> PassReport {
    let drift = vec![Drift::ReleaseNotProven { release: id(release) }];
    let remaining = Difference { drift, ..Difference::default() };
    PassReport { remaining, ..report(release, Outcome::Withheld, &[]) }
}

#[test]
fn what_is_new_is_told_once() {
    use Outcome::{Converged, Interrupted, Quarantined, RolledBack, Unhealthy};
    type Story = Vec<(PassReport, Option<News>)>;
    let stories: [(&str, Story); 9] = [
        ("settled, found so", vec![(report("r1", Converged, &[]), None), (report("r1", Converged, &[]), None)]),
        (
            "deployed",
            vec![
                (report("r1", Converged, &[switch("r1")]), Some(News::Deployed)),
                (report("r1", Converged, &[]), None),
                (report("r2", Converged, &[switch("r2"), restart(7)]), Some(News::Deployed)),
            ],
        ),
        (
            "cut short, and done by the next pass",
            vec![
                (report("r1", Converged, &[]), None),
                (report("r2", Interrupted, &[switch("r2")]), None),
                (report("r2", Converged, &[restart(7)]), Some(News::Deployed)),
            ],
        ),
        (
            "rolled back, and reverted",
            vec![
                (report("r1", Converged, &[]), None),
                (report("r2", RolledBack, &[switch("r2"), switch("r1")]), Some(News::RolledBack)),
                (report("r2", Quarantined, &[]), None),
                (report("r3", RolledBack, &[]), Some(News::RolledBack)),
                (report("r1", Converged, &[]), Some(News::Recovered)),
            ],
        ),
        (
            "found in quarantine",
            vec![
                (report("r2", Quarantined, &[]), Some(News::Quarantined)),
                (report("r2", Quarantined, &[]), None),
                (report("r3", Converged, &[switch("r3")]), Some(News::Deployed)),
            ],
        ),
        (
            "unhealthy, and well again",
            vec![
                (report("r1", Unhealthy, &[]), Some(News::Unhealthy)),
                (report("r1", Unhealthy, &[restart(7)]), None),
                (report("r1", Interrupted, &[]), None),
                (report("r1", Converged, &[restart(8)]), Some(News::Recovered)),
                (report("r1", Converged, &[]), None),
            ],
        ),
        (
            "failing",
            vec![
                (failed("r1", "pid 12 took 3s"), Some(News::Failed)),
                (failed("r1", "pid 99 took 1m 4s"), None),
                (failed("r1", "another reason"), Some(News::Failed)),
                (report("r1", Unhealthy, &[]), Some(News::Unhealthy)),
            ],
        ),
        (
            "drift",
            vec![
                (report("r1", Converged, &[]), None),
                (report("r1", Converged, &[restart(7)]), Some(News::DriftCorrected)),
                (report("r1", Converged, &[Action::PruneRelease { id: id("r0") }]), None),
            ],
        ),
        (
            "withheld",
            vec![
                (withheld("r1"), Some(News::DriftWithheld)),
                (withheld("r1"), None),
                (report("r1", Converged, &[restart(7)]), Some(News::DriftCorrected)),
                (withheld("r1"), Some(News::DriftWithheld)),
            ],
        ),
    ];
    for (story, passes) in stories {
        let mut told = Told::default();
        for (number, (report, expected)) in passes.iter().enumerate() {
            let all = told.of(&the_app(report.release.as_str()), report, None, Some("abc"));
            let news: Vec<News> = all.iter().map(|telling| telling.news).collect();
            assert_eq!(news, expected.iter().copied().collect::<Vec<_>>(), "{story}, pass {number}");
            assert!(all.iter().all(|telling| !telling.message.is_empty()), "{story}");
            assert!(all.iter().all(|telling| telling.revision.as_deref() == Some("abc")), "{story}");
        }
    }
}

#[test]
fn corrections_are_told_without_pids() {
    let mut told = Told::default();
    let app = the_app("r1");
    let mut said = |pid| {
        let all = told.of(&app, &report("r1", Outcome::Converged, &[restart(pid)]), None, None);
        all.first().map(Telling::key).unwrap_or_default()
    };
    assert_eq!(said(7), said(8));
    let many: Vec<Action> = (0..13).map(restart).collect();
    let all = Told::default().of(&app, &report("r1", Outcome::Converged, &many), None, None);
    assert!(all[0].message.contains("13 actions") && all[0].message.ends_with("\n- and 3 more"), "{}", all[0].message);
}

#[test]
fn a_stalled_app_is_told_when_it_becomes_so() {
    let mut told = Told::default();
    let mut news = |stalled| {
        let all = told.of(&the_app("r1"), &report("r1", Outcome::Converged, &[]), stalled, None);
        all.iter().map(|telling| telling.news).collect::<Vec<_>>()
    };
    assert_eq!(news(Some("30 corrections within an hour")), [News::Stalled]);
    assert_eq!(news(Some("31 corrections within an hour")), []);
    assert_eq!(news(None), []);
    assert_eq!(news(Some("30 corrections within an hour")), [News::Stalled]);
}

#[test]
fn a_commit_fares_as_its_pass() {
    use Outcome::{Converged, Drift, Failed, Interrupted, Quarantined, RolledBack, Unhealthy, Withheld};
    let rows = [
        (Converged, Some(CommitState::Success)),
        (Withheld, Some(CommitState::Pending)),
        (Unhealthy, Some(CommitState::Failure)),
        (RolledBack, Some(CommitState::Failure)),
        (Quarantined, Some(CommitState::Failure)),
        (Failed, Some(CommitState::Failure)),
        (Drift, None),
        (Interrupted, None),
    ];
    for (outcome, expected) in rows {
        let found = commit_state(&the_app("r1"), &report("r1", outcome, &[]));
        assert_eq!(found.as_ref().map(|(state, _)| *state), expected, "{outcome:?}");
        assert!(found.is_none_or(|(_, why)| !why.is_empty()), "{outcome:?}");
    }
}

fn source(news: News, message: &str) -> Telling {
    Telling { app: None, news, message: message.to_owned(), release: None, revision: None, at: noon() }
}

#[test]
fn a_source_that_is_away_for_a_moment_alarms_nobody() {
    let away = || source(News::SourceUnreachable, "no answer");
    let mut told = ToldOfSource::default();
    let mut tell = |telling| told.wrong(telling).map(|telling| telling.news);
    assert_eq!((tell(away()), tell(away())), (None, None));
    assert_eq!(tell(away()), Some(News::SourceUnreachable));
    assert_eq!(tell(away()), None);
    assert_eq!(told.well(Some("abc"), noon()).map(|telling| telling.news), Some(News::SourceRecovered));
    assert_eq!(told.well(Some("abc"), noon()), None);

    let refused = || source(News::SourceRefused, "unsigned");
    assert_eq!(told.wrong(refused()).map(|telling| telling.news), Some(News::SourceRefused));
    assert_eq!(told.wrong(refused()), None);
    for _ in 0..5 {
        assert_eq!(told.wrong(away()), None);
    }
    assert_eq!(told.wrong(refused()), None, "still the same");
    assert!(told.wrong(source(News::ManifestsInvalid, "web.yaml:3: wrong")).is_some());
}

#[test]
fn what_goes_to_and_fro_is_told_at_the_end_of_the_window_if_it_still_is_so() {
    let minutes = |minutes: i64| noon().checked_add(SignedDuration::from_mins(minutes)).unwrap();
    let (sick, well) = (|| source(News::Unhealthy, "sick"), || source(News::Recovered, "well"));
    let mut repeats = Repeats::default();
    assert!(repeats.admit(sick(), minutes(0)).is_some());
    assert!(repeats.admit(sick(), minutes(1)).is_none(), "told already");
    assert_eq!(repeats.next(), None, "and that is what people think");
    assert!(repeats.admit(well(), minutes(1)).is_some());
    assert!(repeats.admit(sick(), minutes(2)).is_none());
    assert!(repeats.admit(well(), minutes(3)).is_none(), "people think so anyway");
    assert_eq!(repeats.due(minutes(60)), []);
    // The last word counts.
    let mut repeats = Repeats::default();
    repeats.admit(sick(), minutes(0));
    repeats.admit(well(), minutes(1));
    assert!(repeats.admit(sick(), minutes(2)).is_none());
    assert_eq!(repeats.next(), Some(minutes(5)));
    assert_eq!(repeats.due(minutes(4)), []);
    assert_eq!(repeats.due(minutes(5)), [sick()]);
    assert_eq!((repeats.due(minutes(60)), repeats.next()), (vec![], None));
    assert!(repeats.admit(sick(), minutes(60)).is_some(), "long after, it is news");
}
