//! Several Apps in one batch, over this very host: how many of them act at the same time, and who waits for whom.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a helper that fails should fail its test on the spot")]

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use tokio::sync::Semaphore;
use trueup::engine::batch::reconcile_each;
use trueup::engine::events::{Event, Listener};
use trueup::engine::interrupt::Interrupt;
use trueup::engine::pass::Request;
use trueup::local::LocalHost;
use trueup::manifest;
use trueup::model::app::App;
use trueup::model::names::AppName;
use trueup::model::report::{Mode, Outcome, PassReport};
use trueup::model::sync::Counting;

/// Nobody waits longer for anything.
const LIMIT: Duration = Duration::from_mins(1);

/// An App whose `current` leads to r1; without workers, so that all there is to do is to move the link.
fn app(room: &Path, name: &str, release: &str) -> App {
    let root = room.join(name);
    for release in ["r1", "r2"] {
        fs::create_dir_all(root.join("releases").join(release)).unwrap();
        fs::write(root.join("releases").join(release).join("index"), release).unwrap();
    }
    symlink("releases/r1", root.join("current")).unwrap();
    let text = format!(
        "apiVersion: trueup/v1\nkind: App\nmetadata: {{name: {name}}}\nspec: {{root: {}, release: {{id: {release}}}}}\n",
        root.display()
    );
    manifest::load(&["-".into()], &mut text.as_bytes()).unwrap().remove(0).app
}

fn request() -> Request {
    Request {
        mode: Mode::Apply,
        wait: LIMIT,
        trigger: "test".to_owned(),
        interrupt: Interrupt::default(),
        withheld: None,
        ignore_windows: false,
        counting: Counting::Off,
    }
}

/// Who is at work, from the first action to the end of the pass.
#[derive(Default)]
struct AtWork(Mutex<Seen>);

#[derive(Default)]
struct Seen {
    now: BTreeSet<AppName>,
    most: usize,
    ended: Vec<AppName>,
}

impl Listener for AtWork {
    fn event(&self, app: &AppName, event: &Event) {
        if matches!(event, Event::Begun { .. }) {
            let mut seen = self.0.lock().unwrap();
            seen.now.insert(app.clone());
            seen.most = seen.most.max(seen.now.len());
        }
    }
}

impl AtWork {
    fn end(&self, report: &PassReport) {
        let mut seen = self.0.lock().unwrap();
        seen.now.remove(&report.app);
        seen.ended.push(report.app.clone());
    }
}

async fn reconcile(apps: &[App], slots: &Semaphore, done: impl Fn(&PassReport)) -> AtWork {
    let (host, work) = (LocalHost::new("test"), AtWork::default());
    let apps: Vec<(&App, Request)> = apps.iter().map(|app| (app, request())).collect();
    let all = reconcile_each(&host, &apps, Some(slots), &work, |report| {
        work.end(&report);
        done(&report);
        report.outcome
    });
    let outcomes = tokio::time::timeout(LIMIT, all).await.expect("nobody waits for ever");
    assert_eq!(outcomes, vec![Outcome::Converged; apps.len()]);
    work
}

#[tokio::test]
async fn no_more_apps_act_at_once_than_there_are_slots() {
    for slots in [1, 3] {
        let room = tempfile::tempdir().unwrap();
        let apps: Vec<App> = (0..8).map(|number| app(room.path(), &format!("app-{number}"), "r2")).collect();
        let work = reconcile(&apps, &Semaphore::new(slots), |_| {}).await;
        assert_eq!(work.0.into_inner().unwrap().most, slots);
        for app in &apps {
            assert_eq!(fs::read_link(app.root.current()).unwrap(), Path::new("releases/r2"), "{}", app.name);
        }
    }
}

#[tokio::test]
async fn who_needs_no_work_does_not_wait_for_a_slot() {
    let room = tempfile::tempdir().unwrap();
    let apps = [app(room.path(), "behind", "r2"), app(room.path(), "right", "r1")];
    // All slots are taken until the one that needs none is through.
    let slots = Semaphore::new(0);
    let free = |report: &PassReport| {
        if report.app.as_str() == "right" {
            slots.add_permits(1);
        }
    };
    let seen = reconcile(&apps, &slots, free).await.0.into_inner().unwrap();
    let ended: Vec<&str> = seen.ended.iter().map(AppName::as_str).collect();
    assert_eq!((ended, seen.most), (vec!["right", "behind"], 1));
}
