//! What is said of a pass, and how large it is of a large App.

use std::time::Duration;

use super::*;
use crate::decide::aim::aimed;
use crate::decide::diff::diff;
use crate::decide::plan::plan_for;
use crate::decide::testing::{self, noon, running, seen};
use crate::documents::wire::bounds::{DOCUMENT, LINE};
use crate::documents::wire::{Line, What};
use crate::model::action::Step;
use crate::model::drift::Blocker;
use crate::model::health::HealthVerdict;
use crate::model::names::GroupName;
use crate::model::observed::Unreadable;
use crate::model::report::Tried;

/// 200 workers on an earlier release, of which 50 could not be restarted.
fn large() -> (Loaded, PassReport) {
    let manifest = r#"
apiVersion: trueup/v1
kind: App
metadata: {name: shop}
spec:
  root: /srv/app
  release: {id: r2}
  workers:
    - {name: default, count: 200, manager: {supervisord: {group: web}}}
  health: {http: {url: "http://127.0.0.1/health"}}
"#;
    let one = crate::manifest::load(&["-".into()], &mut manifest.as_bytes()).unwrap().remove(0);
    let observed = |release: &str| seen(release, (1..=200).map(|ordinal| running(ordinal, release)).collect());
    let (before, after) = (observed("r1"), observed("r2"));
    let difference = diff(&one.app, &before);
    let plan = plan_for(&aimed(&one.app, &before.aim), &difference);
    let problem = |number: usize| Problem {
        message: format!(
            "web:web_{number:03} does not stay up: exited after 1.2 s with status 255: PHP Fatal error: Uncaught \
             PDOException: SQLSTATE[HY000] [2002] Connection refused in /srv/app/releases/r2/vendor/doctrine/dbal/src/Driver.php:28"
        ),
        help: Some(format!("see its log: `supervisorctl tail web:web_{number:03} stderr`, or `trueup history`")),
        lasting: number.is_multiple_of(2),
    };
    let tried = |(number, step): (usize, &Step)| Tried {
        action: step.action.clone(),
        reason: step.reason.clone(),
        began: noon(),
        took: Duration::from_millis(1_210),
        problem: (number < 50).then(|| problem(number)),
        notes: Vec::new(),
    };
    let report = PassReport {
        pass: "20260501T120000.000-77".to_owned(),
        took: Duration::from_mins(3),
        mode: Mode::DryRun,
        tried: plan.steps.iter().enumerate().map(tried).collect(),
        plan,
        before: Some(before),
        remaining: difference.clone(),
        difference,
        after: Some(after),
        health_attempts: 5,
        problems: (0..50).map(problem).collect(),
        ..testing::report(&one.app, Outcome::Failed, &[])
    };
    (one, report)
}

#[test]
fn a_large_app_is_told_whole() {
    let (one, made) = large();
    let renderers = Renderers {
        diff: |_, _| "-    release: r1\n+    release: r2\n".repeat(400),
        preview: |_, made| "restart web:web_001 (pid 101), which runs r1\n".repeat(made.tried.len()),
        status: |_, _, _| String::new(),
    };
    let told = report(&one, &made, &HostName::new("web1").unwrap(), &renderers, false).unwrap();
    let document = told.document.len();
    assert!(made.tried.len() >= 200 && !told.document.contains("leftOut"), "{document}");
    let what = What::Report(Box::new(told));
    let line = bounds::line(Line { seq: 1, at: noon(), what: what.clone() }).unwrap();
    println!("the report of 200 workers and 50 problems: {} bytes, of these its document {document}", line.len());
    assert!(document * 3 / 2 < DOCUMENT && line.len() * 2 < LINE, "there is room for more: {}", line.len());
    let mut bounded = what.clone();
    bounded.bound(&bounds::Bounds::USUAL);
    assert!(bounded == what, "nothing of it is cut");
}

#[test]
fn what_could_not_be_looked_at_is_told_from_what_differs() {
    let (one, made) = large();
    let why = Unreadable { message: "supervisord does not answer".to_owned(), help: None, lasting: false };
    let unreadable = Blocker::GroupUnreadable { group: GroupName::new("default").unwrap(), why };
    let in_the_way = Blocker::CurrentIsNotALink { what: "directory".to_owned() };
    for (blockers, is_unreadable) in
        [(vec![], false), (vec![in_the_way.clone()], false), (vec![in_the_way, unreadable], true)]
    {
        let mut made = made.clone();
        made.remaining.blockers = blockers;
        let told = summary(&one, &made).unwrap();
        assert_eq!((told.unreadable, told.observed), (is_unreadable, true), "{:?}", made.remaining.blockers);
    }
    let unseen = summary(&one, &PassReport { after: None, ..made }).unwrap();
    assert!(!unseen.observed);
}

/// It waits for its first release: that nobody answers there yet is no illness.
#[test]
fn a_host_where_nothing_was_ever_in_force_is_not_called_unhealthy() {
    let (one, made) = large();
    for is_blank in [false, true] {
        let mut observed = made.before.clone().unwrap();
        observed.health = Some(HealthVerdict::unanswered("connection refused"));
        if is_blank {
            (observed.layout.link, observed.records) = (Link::Absent, Vec::new());
        }
        let made = PassReport { before: Some(observed.clone()), after: Some(observed), ..made.clone() };
        let told = summary(&one, &made).unwrap();
        let sick = (Some(false), Some("connection refused".to_owned()));
        assert_eq!((told.healthy, told.complaint), if is_blank { (None, None) } else { sick });
        assert_eq!(app::exit_code(&made), if is_blank { 2 } else { 3 });
    }
}
