//! Pictures of what would be done, of what is, and of what was done, over named hosts; reviewed like prose.

use std::time::Duration;

use crate::cli::render::preview::DryRun;
use crate::cli::render::status::Entry;
use crate::cli::render::testing::{
    Scene, blocked, by_script, coloured, denied, deploy, kept_out, mess, outside, plain, scenes, settled, stalled,
    suspended, unhealthy, well, window_open,
};
use crate::cli::render::{markdown, preview, report, status as text};
use crate::decide::diff::diff;
use crate::decide::plan::plan_for;
use crate::decide::schedule::{Looping, ScheduleState};
use crate::decide::standing::{self, Standing};
use crate::decide::testing::{self, id, in_state, member, noon, process, seen};
use crate::decide::withhold::{Permit, withheld};
use crate::decide::{explain, status as decide};
use crate::documents::pass;
use crate::model::action::{Action, Plan};
use crate::model::drift::Difference;
use crate::model::holder::Holder;
use crate::model::names::GroupName;
use crate::model::observed::{Link, MemberState};
use crate::model::report::{Outcome, PassReport, Problem, Tried};
use crate::model::sync::Withheld;

fn dry_run<'a>(
    scene: &'a Scene,
    difference: &'a Difference,
    plan: &'a Plan,
    withheld: Option<&'a Withheld>,
) -> DryRun<'a> {
    DryRun { app: &scene.app, observed: &scene.observed, difference, plan, withheld }
}

fn previewed(scene: &Scene, width: Option<usize>) -> String {
    let difference = diff(&scene.app, &scene.observed);
    let withheld = withheld(&scene.app, &scene.observed, &difference, Permit::default());
    let plan = plan_for(&scene.app, &difference);
    preview::preview(&dry_run(scene, &difference, &plan, withheld.as_ref()), width)
}

#[test]
fn previews() {
    for (name, scene) in scenes() {
        insta::assert_snapshot!(format!("preview_{name}"), plain(&previewed(&scene, None)));
    }
}

#[test]
fn a_preview_in_colour() {
    insta::assert_snapshot!("preview_coloured", coloured(&previewed(&deploy(), None)));
}

#[test]
fn a_preview_on_a_narrow_terminal() {
    insta::assert_snapshot!("preview_narrow", plain(&previewed(&mess(), Some(80))));
}

#[test]
fn previews_as_markdown() {
    for (name, scene) in scenes() {
        let difference = diff(&scene.app, &scene.observed);
        let plan = plan_for(&scene.app, &difference);
        let withheld = withheld(&scene.app, &scene.observed, &difference, Permit::default());
        let text = markdown::preview(&dry_run(&scene, &difference, &plan, withheld.as_ref()));
        assert!(!text.contains('\u{1b}'), "no colours in Markdown");
        insta::assert_snapshot!(format!("markdown_{name}"), text);
    }
}

#[test]
fn of_health_nobody_is_warned_before_anything_was_ever_in_force() {
    let without_link = |records: bool| {
        let mut scene = unhealthy();
        scene.observed.layout.link = Link::Absent;
        scene.observed.records.retain(|_| records);
        scene
    };
    for (scene, warned) in [(without_link(false), false), (without_link(true), true), (unhealthy(), true)] {
        let difference = diff(&scene.app, &scene.observed);
        let plan = plan_for(&scene.app, &difference);
        let comment = markdown::preview(&dry_run(&scene, &difference, &plan, None));
        for text in [plain(&previewed(&scene, None)), comment] {
            assert_eq!(text.contains("not healthy"), warned, "{text}");
        }
    }
}

fn status_of(scene: &Scene) -> crate::model::status::AppStatus {
    let difference = diff(&scene.app, &scene.observed);
    decide::status(&scene.app, "0123456789ab".to_owned(), &scene.observed, &difference)
}

#[test]
fn statuses() {
    for (name, scene) in scenes() {
        let difference = diff(&scene.app, &scene.observed);
        let status = status_of(&scene);
        let blockers = difference.blockers.iter().map(|one| explain::blocker(&scene.app, one));
        let problems = blockers.chain(difference.stalled.iter().map(|one| explain::stalled(&scene.app, one))).collect();
        let entry = Entry { app: &scene.app, status: &status, problems };
        insta::assert_snapshot!(format!("status_{name}"), plain(&text::status(&[entry], None)));
    }
}

/// The turns of an App one of whose workers dies again and again.
fn looping() -> ScheduleState {
    let looping = Looping { group: GroupName::new("web").unwrap(), member: member(1) };
    ScheduleState { looping: vec![looping], ..ScheduleState::default() }
}

#[test]
fn a_state_says_what_takes_a_person_first() {
    let holder = Holder { pid: 7, since: noon(), host: "web1".to_owned(), command: "trueup reconcile".to_owned() };
    let at_work = Standing { at_work: Some((&holder, noon())), ..Standing::default() };
    let refused = Standing { refused: Some("shop.yaml:3: unknown key"), ..Standing::default() };
    let orphaned = Standing { orphaned: true, ..Standing::default() };
    let looping = looping();
    let resting = |mut scene: Scene| {
        scene.observed.suspended = Some("moving the database".to_owned());
        scene
    };
    let rows = vec![
        (settled(), Standing::default(), "ready"),
        (settled(), refused, "manifests refused"),
        (settled(), orphaned, "orphaned"),
        (settled(), Standing { schedule: Some(&looping), ..refused }, "crash loop"),
        (resting(settled()), Standing::default(), "suspended"),
        (resting(kept_out()), Standing::default(), "kept out"),
        (deploy(), Standing::default(), "drift"),
        (deploy(), refused, "drift"),
        (deploy(), at_work, "at work"),
        (kept_out(), at_work, "kept out"),
        (outside(), Standing::default(), "outside window"),
        (blocked(), Standing::default(), "stalled"),
        (stalled(), Standing::default(), "stalled"),
        (unhealthy(), Standing::default(), "not healthy"),
    ];
    for (scene, standing, expected) in rows {
        let mut status = status_of(&scene);
        standing::add(&mut status, &standing);
        let text = plain(&text::status(&[Entry { app: &scene.app, status: &status, problems: Vec::new() }], None));
        let line = text.lines().nth(1).unwrap();
        assert!(line.ends_with(&format!("  {expected}")), "{expected}: {line}");
    }
}

#[test]
fn several_apps_and_one_that_could_not_be_seen() {
    let (one, two) = (settled(), deploy());
    let unseen =
        decide::unobserved(&two.app, "0123456789ab".to_owned(), "cannot read `/srv/app/releases`: permission denied");
    let problem = Problem {
        message: "cannot read `/srv/app/releases`: permission denied".to_owned(),
        help: Some("run as root, or as the user that owns the root".to_owned()),
        lasting: true,
    };
    let entries = [
        Entry { app: &one.app, status: &status_of(&one), problems: Vec::new() },
        Entry { app: &two.app, status: &unseen, problems: vec![problem] },
    ];
    insta::assert_snapshot!("status_several", plain(&text::status(&entries, None)));
}

#[test]
fn statuses_for_programs() {
    insta::assert_snapshot!("status_machine", serde_json::to_string_pretty(&status_of(&mess())).unwrap());
}

#[test]
fn a_status_tells_programs_why_drift_is_left() {
    let fought = Withheld::TooManyCorrections { limit: 30, until: noon() };
    let scene = deploy();
    let difference = diff(&scene.app, &scene.observed);
    let fought = decide::status_of(&scene.app, "0123456789ab".to_owned(), &scene.observed, &difference, Some(fought));
    let told = [status_of(&outside()), status_of(&suspended()), fought, status_of(&window_open())]
        .map(|status| serde_json::json!({"withheld": status.withheld, "conditions": status.conditions}));
    insta::assert_snapshot!("status_withheld", serde_json::to_string_pretty(&told).unwrap());
}

/// A report of a pass that began at `before` and ended at `after`.
fn passed(before: &Scene, after: &Scene, outcome: Outcome, tried: Vec<Tried>) -> PassReport {
    let difference = diff(&before.app, &before.observed);
    PassReport {
        pass: "20260501T120000.000-77".to_owned(),
        took: Duration::from_millis(2345),
        withheld: withheld(&before.app, &before.observed, &difference, Permit::default()),
        before: Some(before.observed.clone()),
        plan: plan_for(&before.app, &difference),
        difference,
        tried,
        after: Some(after.observed.clone()),
        remaining: diff(&after.app, &after.observed),
        ..testing::report(&before.app, outcome, &[])
    }
}

fn tried(action: Action, reason: &str, millis: u64, problem: Option<Problem>) -> Tried {
    Tried {
        action,
        reason: reason.to_owned(),
        began: noon(),
        took: Duration::from_millis(millis),
        problem,
        notes: Vec::new(),
    }
}

fn restart(ordinal: u32) -> Action {
    let group = GroupName::new("default").unwrap();
    Action::RestartWorker { group, member: member(ordinal), process: Some(process(100 + ordinal)) }
}

#[test]
fn equal_causes_are_told_once() {
    let fails = |action: Action, cause: &str| {
        let message = format!("{action}: {cause}");
        tried(action, "runs r1", 4, Some(Problem { message, help: Some("mend it".to_owned()), lasting: false }))
    };
    let misspelt = "there is no `phpp` here";
    let rows = [
        (vec![(1, misspelt)], vec!["could not restart web:web_01 (pid 101)"]),
        (vec![(1, misspelt), (1, misspelt)], vec!["could not restart web:web_01 (pid 101), in 2 attempts"]),
        (
            vec![(1, misspelt), (2, misspelt), (1, misspelt), (2, misspelt)],
            vec!["could not restart web:web_01 (pid 101), web:web_02, in 4 attempts"],
        ),
        (
            (1..=6).map(|ordinal| (ordinal, misspelt)).collect(),
            vec!["could not restart web:web_01 (pid 101), web:web_02, web:web_03, web:web_04 and 2 more"],
        ),
        (
            vec![(1, misspelt), (2, "it does not stay up")],
            vec!["could not restart web:web_01 (pid 101)", "could not restart web:web_02 (pid 102)"],
        ),
    ];
    for (failed, expected) in rows {
        let failed: Vec<Tried> = failed.into_iter().map(|(ordinal, cause)| fails(restart(ordinal), cause)).collect();
        let mut report = passed(&deploy(), &settled(), Outcome::Failed, failed);
        let other = Problem { message: "another one".to_owned(), help: None, lasting: false };
        report.problems = report.tried.iter().filter_map(|tried| tried.problem.clone()).collect();
        report.problems.extend([other.clone(), other]);
        let text = plain(&report::report(&deploy().app, &report, Some(100)));
        let errors: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("error: ")).collect();
        assert_eq!(errors, [expected, vec!["another one"]].concat(), "{text}");
        assert_eq!(text.matches("cause: ").count(), errors.len() - 1, "{text}");
    }
}

#[test]
fn reports() {
    let deployed = || {
        vec![
            tried(Action::SwitchCurrent { to: id("r2") }, "current leads to r1", 4, None),
            tried(restart(1), "runs r1 (open file /srv/app/releases/r1/artisan)", 1210, None),
            tried(restart(2), "runs r1 (open file /srv/app/releases/r1/artisan)", 30_800, None),
        ]
    };
    let trouble = Problem {
        message: "restart web:web_02 (pid 102): it does not stay up: PHP Fatal error: Uncaught Error".to_owned(),
        help: Some("read its log: `supervisorctl tail web:web_02 stderr`".to_owned()),
        lasting: true,
    };
    let mut half = settled();
    half.observed = seen("r2", vec![by_script(1, "r2"), in_state(2, MemberState::Failed)]);
    half.observed.health = Some(well());
    let mut failed = deployed();
    failed[2].problem = Some(trouble.clone());
    let mut failure = passed(&deploy(), &half, Outcome::Failed, failed);
    failure.problems = vec![trouble];
    let mut sick = passed(&deploy(), &unhealthy(), Outcome::Unhealthy, deployed());
    sick.health_attempts = 5;
    let mut stopped = deploy();
    stopped.observed.layout.link = Link::Release { id: id("r2") };
    let mut first = deployed();
    first.truncate(1);
    let fought = Withheld::TooManyCorrections { limit: 30, until: noon() + jiff::SignedDuration::from_mins(42) };
    let fought = PassReport { withheld: Some(fought), ..passed(&deploy(), &deploy(), Outcome::Withheld, vec![]) };
    let mut resting = settled();
    resting.observed.suspended = Some("moving the database".to_owned());
    let rows = vec![
        ("resting", settled(), passed(&resting, &resting, Outcome::Converged, vec![])),
        ("settled", settled(), passed(&settled(), &settled(), Outcome::Converged, vec![])),
        ("deployed", deploy(), passed(&deploy(), &settled(), Outcome::Converged, deployed())),
        ("failed", deploy(), failure),
        ("unhealthy", deploy(), sick),
        ("interrupted", deploy(), passed(&deploy(), &stopped, Outcome::Interrupted, first)),
        ("withheld", suspended(), passed(&suspended(), &suspended(), Outcome::Withheld, vec![])),
        ("outside", outside(), passed(&outside(), &outside(), Outcome::Withheld, vec![])),
        ("denied", denied(), passed(&denied(), &denied(), Outcome::Withheld, vec![])),
        ("fought", deploy(), fought),
        ("blocked", blocked(), passed(&blocked(), &blocked(), Outcome::Failed, vec![])),
        ("stalled", stalled(), passed(&stalled(), &stalled(), Outcome::Failed, vec![])),
        ("rolled_back", kept_out(), passed(&deploy(), &kept_out(), Outcome::RolledBack, deployed())),
        ("kept_out", kept_out(), passed(&kept_out(), &kept_out(), Outcome::Quarantined, vec![])),
    ];
    for (name, scene, passed) in rows {
        insta::assert_snapshot!(format!("report_{name}"), plain(&report::report(&scene.app, &passed, Some(100))));
    }
    let deployed = passed(&deploy(), &settled(), Outcome::Converged, deployed());
    insta::assert_snapshot!("report_coloured", coloured(&report::report(&deploy().app, &deployed, None)));
    let machine = serde_json::to_string_pretty(&pass::passes(&[deployed])).unwrap();
    insta::assert_snapshot!("report_machine", machine);
}
