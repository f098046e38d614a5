//! Several Apps in one batch, over this very host: how many of them are prepared at the same time, and who waits for whom.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a helper that fails should fail its test on the spot")]

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::time::Duration;

use tokio::sync::Semaphore;
use trueup::engine::batch::reconcile_each;
use trueup::engine::events::{Event, Listener};
use trueup::engine::interrupt::Interrupt;
use trueup::engine::pass::Request;
use trueup::host::silence;
use trueup::host::spawn::Shim;
use trueup::local::LocalHost;
use trueup::manifest;
use trueup::model::action::Action;
use trueup::model::app::App;
use trueup::model::names::AppName;
use trueup::model::report::{Mode, Outcome, PassReport};
use trueup::model::sync::Counting;
use trueup::ports::Releases as _;

/// Nobody waits longer for anything.
const LIMIT: Duration = Duration::from_mins(1);

/// An App whose `current` leads to r1; without workers, so that all there is to do is to move the link.
fn app(room: &Path, name: &str, release: &str) -> App {
    with(room, name, &format!("release: {{id: {release}}}"))
}

/// One whose next release is to be made first, by this command.
fn made(room: &Path, name: &str, build: &str, more: &str) -> App {
    let source = room.join(format!("{name}.source"));
    fs::create_dir_all(&source).unwrap();
    fs::write(source.join("index"), "r3").unwrap();
    let release = format!("{{id: r3, source: {{dir: {{path: {}}}}}, build: [{{run: '{build}'}}]}}", source.display());
    with(room, name, &format!("release: {release}{more}"))
}

fn with(room: &Path, name: &str, spec: &str) -> App {
    let root = room.join(name);
    for release in ["r1", "r2"] {
        fs::create_dir_all(root.join("releases").join(release)).unwrap();
        fs::write(root.join("releases").join(release).join("index"), release).unwrap();
    }
    symlink("releases/r1", root.join("current")).unwrap();
    let text = format!(
        "apiVersion: trueup/v1\nkind: App\nmetadata: {{name: {name}}}\nspec: {{root: {}, {spec}}}\n",
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

/// Who is prepared, from the first action until the link moves.
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
        let Event::Begun { action, .. } = event else { return };
        let mut seen = self.0.lock().unwrap();
        if matches!(action, Action::SwitchCurrent { .. }) {
            seen.now.remove(app);
        } else if matches!(action, Action::FetchRelease { .. } | Action::RunStage { .. }) {
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

fn host() -> LocalHost {
    LocalHost::with_shim(Shim::new(env!("CARGO_BIN_EXE_trueup")), "test")
}

async fn reconcile(apps: &[App], slots: &Semaphore, done: impl Fn(&PassReport)) -> AtWork {
    let (host, work) = (host(), AtWork::default());
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
async fn no_more_apps_are_prepared_at_once_than_there_are_slots() {
    for slots in [1, 3] {
        let room = tempfile::tempdir().unwrap();
        let apps: Vec<App> = (0..8).map(|number| made(room.path(), &format!("app-{number}"), "true", "")).collect();
        let work = reconcile(&apps, &Semaphore::new(slots), |_| {}).await;
        assert_eq!(work.0.into_inner().unwrap().most, slots);
        for app in &apps {
            assert_eq!(fs::read_link(app.root.current()).unwrap(), Path::new("releases/r3"), "{}", app.name);
        }
    }
}

#[tokio::test]
async fn who_prepares_nothing_does_not_wait_for_a_slot() {
    let room = tempfile::tempdir().unwrap();
    let apps =
        [made(room.path(), "made", "true", ""), app(room.path(), "behind", "r2"), app(room.path(), "right", "r1")];
    // All slots are taken until those that need none are through, and one of these has something to do.
    let slots = Semaphore::new(0);
    let through = Mutex::new(0);
    let free = |_: &PassReport| {
        let mut through = through.lock().unwrap();
        *through += 1;
        if *through == 2 {
            slots.add_permits(1);
        }
    };
    let seen = reconcile(&apps, &slots, free).await.0.into_inner().unwrap();
    assert_eq!((seen.ended.last().map(AppName::as_str), seen.most), (Some("made"), 1));
    assert_eq!(fs::read_link(apps[1].root.current()).unwrap(), Path::new("releases/r2"));
}

#[tokio::test]
async fn a_slot_is_given_back_when_the_release_is_prepared() {
    let room = tempfile::tempdir().unwrap();
    let (one, other) = (room.path().join("one.built"), room.path().join("other.built"));
    // Each passes its gate only when the other one is built, whichever has the slot first.
    let app = |name: &str, build: &Path, needed: &Path| {
        let gate = format!("{{command: {{run: 'test -e {}'}}, attempts: 600, interval: 50ms}}", needed.display());
        made(room.path(), name, &format!("touch {}", build.display()), &format!(", health: {gate}"))
    };
    let apps = [app("one", &one, &other), app("other", &other, &one)];
    let seen = reconcile(&apps, &Semaphore::new(1), |_| {}).await.0.into_inner().unwrap();
    assert_eq!((seen.ended.len(), seen.most), (2, 1));
}

#[tokio::test]
async fn a_root_that_does_not_answer_is_nobody_elses_trouble() {
    let room = tempfile::tempdir().unwrap();
    let apps = [app(room.path(), "dead", "r2"), app(room.path(), "behind", "r2")];
    // As a mount whose server is gone: whoever looks there is held.
    let (answer, answers) = channel::<()>();
    let soon = Duration::from_millis(20);
    let dead = &apps[0].root;
    assert!(silence::within(soon, dead, move || answers.recv()).await.is_err());
    let (host, work) = (host(), AtWork::default());
    for mode in [Mode::DryRun, Mode::Apply] {
        let apps: Vec<(&App, Request)> = apps.iter().map(|app| (app, Request { mode, ..request() })).collect();
        let all = reconcile_each(&host, &apps, None, &work, |report| report);
        let reports = tokio::time::timeout(LIMIT, all).await.expect("nobody is held");
        let outcome = if mode == Mode::Apply { Outcome::Converged } else { Outcome::Drift };
        assert_eq!((reports[0].outcome, reports[1].outcome), (Outcome::Failed, outcome));
        let why = &reports[0].problems[0].message;
        assert!(why.contains("does not answer") && why.contains("/dead"), "{why}");
    }

    answer.send(()).unwrap();
    let again = async {
        while host.layout(&apps[0]).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LIMIT, again).await.expect("it answers again");
    reconcile(&apps, &Semaphore::new(1), |_| {}).await;
}
