//! What is told, and what is not told again.

use super::*;
use crate::decide::testing::{self, app, group, id, member, noon, process, supervisord};
use crate::model::drift::{Difference, Drift};
use crate::model::names::GroupName;
use crate::model::report::Problem;

fn the_app(release: &str) -> App {
    app(release, vec![group("default", 2, supervisord())])
}

fn report(release: &str, outcome: Outcome, actions: &[Action]) -> PassReport {
    testing::report(&the_app(release), outcome, actions)
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
                (report("r1", Converged, &[]), None),
                (withheld("r1"), Some(News::DriftWithheld)),
                (withheld("r1"), None),
                (report("r1", Converged, &[restart(7)]), Some(News::DriftCorrected)),
                (withheld("r1"), Some(News::DriftWithheld)),
            ],
        ),
    ];
    for (story, passes) in stories {
        let (mut told, mut converged) = (ToldOfApp::default(), None);
        for (number, (report, expected)) in passes.iter().enumerate() {
            let besides = Besides { repair: converged.as_ref() == Some(&report.release), ..Besides::default() };
            let all = told.of(&the_app(report.release.as_str()), report, besides, Some("abc"));
            converged = Some(report.release.clone()).filter(|_| report.outcome == Converged).or(converged);
            let news: Vec<News> = all.iter().map(|telling| telling.news).collect();
            assert_eq!(news, expected.iter().copied().collect::<Vec<_>>(), "{story}, pass {number}");
            assert!(all.iter().all(|telling| !telling.message.is_empty()), "{story}");
            assert!(all.iter().all(|telling| telling.revision.as_deref() == Some("abc")), "{story}");
        }
    }
}

#[test]
fn corrections_are_told_without_pids() {
    let mut told = ToldOfApp::default();
    let (app, repair) = (the_app("r1"), Besides { repair: true, ..Besides::default() });
    let mut said = |pid| {
        let all = told.of(&app, &report("r1", Outcome::Converged, &[restart(pid)]), repair, None);
        all.first().map(Telling::key).unwrap_or_default()
    };
    assert_eq!(said(7), said(8));
    let many: Vec<Action> = (0..13).map(restart).collect();
    let all = ToldOfApp::default().of(&app, &report("r1", Outcome::Converged, &many), repair, None);
    assert!(all[0].message.contains("13 actions") && all[0].message.ends_with("\n- and 3 more"), "{}", all[0].message);
}

/// What the manifest has asked for since is no drift, and a worker that ended by itself is nobody's doing.
#[test]
fn what_nobody_has_changed_is_not_told_as_corrected() {
    let group = GroupName::new("default").unwrap();
    let start = || Action::StartWorker { group: group.clone(), member: member(0) };
    let rows = [
        ("more workers are wanted", false, vec![start(), start()], None),
        ("their command is another", false, vec![restart(7)], None),
        ("one has ended", true, vec![start()], None),
        ("one was restarted", true, vec![restart(7)], Some("drift was corrected by one action\n- restart web:web_00")),
        ("and one more was started", true, vec![restart(7), start()], Some("drift was corrected by 2 actions")),
    ];
    for (name, repair, actions, expected) in rows {
        let mut told = ToldOfApp { good: Some(id("r1")), ..ToldOfApp::default() };
        let report = report("r1", Outcome::Converged, &actions);
        let all = told.of(&the_app("r1"), &report, Besides { repair, ..Besides::default() }, None);
        assert_eq!(
            all.iter().map(|one| one.news).collect::<Vec<_>>(),
            vec![News::DriftCorrected; expected.iter().len()],
            "{name}"
        );
        assert!(expected.is_none_or(|words| all[0].message.starts_with(words)), "{name}: {all:?}");
    }
}

#[test]
fn a_stalled_app_is_told_when_it_becomes_so() {
    let mut told = ToldOfApp::default();
    let mut news = |stalled| {
        let besides = Besides { stalled, ..Besides::default() };
        let all = told.of(&the_app("r1"), &report("r1", Outcome::Converged, &[]), besides, None);
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
fn workers_that_die_again_and_again_are_told_once_and_when_they_live() {
    let group = GroupName::new("default").unwrap();
    let start = [Action::StartWorker { group, member: member(0) }];
    let converged = |actions: &[Action]| report("r1", Outcome::Converged, actions);
    let (dies, lives) = (Some("worker web_00 dies again and again"), None);
    let rows = vec![
        ("started anew", converged(&start), lives, vec![]),
        ("once too often", converged(&start), dies, vec![News::CrashLoop]),
        ("and again", converged(&start), dies, vec![]),
        ("somebody moves the link besides", converged(&[switch("r1")]), dies, vec![News::DriftCorrected]),
        ("it cannot be started", failed("r1", "no such file"), dies, vec![News::Failed]),
        ("it can", converged(&start), dies, vec![]),
        ("looked at only", report("r1", Outcome::Interrupted, &[]), lives, vec![]),
        ("it lives", converged(&[]), lives, vec![News::Recovered]),
        ("it goes on", converged(&[]), lives, vec![]),
    ];
    let mut told = ToldOfApp { good: Some(id("r1")), ..ToldOfApp::default() };
    for (name, report, crash_loop, expected) in rows {
        let besides = Besides { repair: true, crash_loop, ..Besides::default() };
        let all = told.of(&the_app("r1"), &report, besides, None);
        assert_eq!(all.iter().map(|telling| telling.news).collect::<Vec<_>>(), expected, "{name}");
        // As an agent reads it that begins in between, and as an older one has written it.
        let written = serde_json::to_value(&told).unwrap();
        assert_eq!(serde_json::from_value::<ToldOfApp>(written).unwrap(), told, "{name}");
    }
    let older = serde_json::json!({"good": "r1", "wrong": null, "withheld": false, "stalled": false});
    assert_eq!(serde_json::from_value::<ToldOfApp>(older).unwrap(), told);
}
