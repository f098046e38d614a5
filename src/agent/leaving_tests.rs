//! Apps that disappear, over the simulated host, while agents come and go.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::mpsc;

use crate::agent::notify::NotificationQueue;
use crate::agent::publisher::Publisher;
use crate::agent::registry::AppRegistry;
use crate::agent::testing::{SECOND, Shelf, Stage, play_from};
use crate::decide::testing::{id, record};
use crate::manifest::{self, Loaded};
use crate::model::action::Action;
use crate::model::journal::JournalEvent;
use crate::model::names::Root;
use crate::model::observed::Link;
use crate::model::report::Outcome;
use crate::model::telling::{News, Severity, Telling};
use crate::sim::faults::Call;
use crate::sim::host::SimHost;
use crate::sim::populate::settled;

/// A host with two workers, and the state directory of its agents.
struct Site {
    room: tempfile::TempDir,
    host: SimHost,
    wish: Loaded,
    teller: NotificationQueue,
    tellings: Mutex<mpsc::Receiver<Telling>>,
}

const WORKERS: &str = "workers: [{name: g0, count: 2, manager: {builtin: {run: ./worker}}}]";

fn wish(name: &str, root: &Path, release: &str, more: &str) -> Loaded {
    let text = format!(
        "apiVersion: trueup/v1\nkind: App\nmetadata: {{name: {name}}}\nspec:\n  root: {}\n  release: {{id: {release}}}\n  \
         {more}\n",
        root.display()
    );
    manifest::load(&["-".into()], &mut text.as_bytes()).unwrap().remove(0)
}

impl Site {
    /// `sync` is what the manifest says of it.
    fn new(sync: &str) -> Self {
        Self::with(&format!("sync: {{{sync}}}"))
    }

    /// `more` stands in its spec.
    fn with(more: &str) -> Self {
        let room = tempfile::tempdir().unwrap();
        let wish = wish("web", room.path(), "r2", &format!("{more}\n  {WORKERS}"));
        let host = SimHost::new(settled(wish.app.clone(), vec![record("r1", 50), record("r2", 10)]));
        let (queue, tellings) = mpsc::channel(64);
        Self { room, host, wish, teller: NotificationQueue::into(queue), tellings: Mutex::new(tellings) }
    }

    /// What people were told since this was asked last.
    fn told(&self) -> Vec<News> {
        let mut tellings = self.tellings.lock().unwrap();
        std::iter::from_fn(|| tellings.try_recv().ok()).map(|telling| telling.news).collect()
    }

    fn registry(&self) -> AppRegistry {
        AppRegistry::open(self.room.path(), "here".to_owned())
    }

    /// An agent begins that finds these manifests.
    async fn agent(&self, named: bool, scene: impl AsyncFnOnce(&Stage)) {
        self.agent_with(self.shelf(named), self.registry(), scene).await;
    }

    async fn agent_with(&self, shelf: Shelf, registry: AppRegistry, scene: impl AsyncFnOnce(&Stage)) {
        let publisher = Publisher::new(Some(self.teller.clone()), None);
        play_from(&self.host, shelf, registry, publisher, async |stage| scene(&stage).await).await;
    }

    fn shelf(&self, named: bool) -> Shelf {
        Shelf::with(if named { vec![self.wish.clone()] } else { vec![] })
    }

    /// From now on the world finds nothing wrong with workers that are stopped.
    fn may_stop(&self, yes: bool) {
        self.host.world().app.workers[0].count = if yes { 0 } else { 2 };
    }

    fn remembers(&self) -> String {
        std::fs::read_to_string(self.room.path().join("apps.json")).unwrap()
    }
}

async fn looked_after(stage: &Stage) {
    let known = |stage: &Stage| stage.app().is_some_and(|app| !app.orphaned && !app.leaving);
    stage.until("a pass", |stage| known(stage) && stage.is_idle() && stage.running() == 2).await;
}

async fn left_running(stage: &Stage) {
    stage.until("it is an orphan", |stage| stage.app().is_some_and(|app| app.orphaned && !app.leaving)).await;
    assert_eq!(stage.passes_within(Duration::from_mins(5)).await, 0, "it is nobody's business any more");
    assert_eq!(stage.running(), 2);
}

async fn seen_off(stage: &Stage) {
    stage.until("its workers are stopped", |stage| stage.running() == 0).await;
    stage.until("it has left", |stage| stage.app().is_none()).await;
    stage.until("nothing else is to be looked at", |stage| stage.board.view().ready).await;
}

#[tokio::test(start_paused = true)]
async fn what_disappears_while_no_agent_runs_is_seen_off_or_told() {
    for prune in [false, true] {
        let site = Site::new(&format!("prune: {prune}"));
        site.agent(true, looked_after).await;
        assert!(site.remembers().contains("\"standing\":\"inForce\""), "{}", site.remembers());
        assert_eq!(site.told(), []);
        site.may_stop(prune);
        // However often the agent is started again: one that was left running is not forgotten, one that has left is.
        for number in 0..2 {
            let scene = async |stage: &Stage| if prune { seen_off(stage).await } else { left_running(stage).await };
            site.agent(false, scene).await;
            let news = if prune { News::Removed } else { News::Orphaned };
            assert_eq!(site.told(), if number == 0 { vec![news] } else { vec![] }, "{prune}");
            assert_eq!(news.severity(), if prune { Severity::Info } else { Severity::Error }, "a wish is no trouble");
        }
        assert_eq!(site.remembers().contains("web"), !prune, "{}", site.remembers());
        site.may_stop(false);
        site.agent(true, looked_after).await;
        assert!(site.remembers().contains("\"standing\":\"inForce\""), "{}", site.remembers());
    }
}

/// Whatever that pass starts would be nobody's afterwards.
#[tokio::test(start_paused = true)]
async fn one_that_disappears_during_its_first_pass_is_seen_off() {
    let site = Site::new("prune: true");
    site.host.world().lasts = BTreeMap::from([(Call::Lock, 30 * SECOND)]);
    site.agent(true, async |stage| {
        stage.until("its first pass", |stage| stage.app().is_some_and(|app| app.running.is_some())).await;
        stage.hold(Ok(vec![]));
        stage.until("it is to leave", |stage| stage.app().is_some_and(|app| app.leaving)).await;
        assert!(stage.app().is_some_and(|app| app.last.is_none()), "its first pass is still under way");
        site.host.world().lasts.clear();
        site.may_stop(true);
        seen_off(stage).await;
    })
    .await;
}

/// A branch: what was in force is taken up again first, and the look that follows finds the App gone before any pass.
#[tokio::test(start_paused = true)]
async fn a_commit_that_removes_an_app_while_no_agent_runs_counts() {
    let site = Site::new("prune: true");
    site.agent(true, looked_after).await;
    site.may_stop(true);
    let shelf = Shelf { before: Some(vec![site.wish.clone()]), whole: true, ..site.shelf(false) };
    site.agent_with(shelf, site.registry(), seen_off).await;
}

#[tokio::test(start_paused = true)]
async fn what_leaves_when_a_window_opens_leaves_then_whatever_becomes_of_the_agent() {
    // The scene begins at noon.
    let site = Site::new("prune: true, windows: [{kind: allow, schedule: '0 14 * * *', duration: 1h}]");
    site.agent(true, async |stage| {
        looked_after(stage).await;
        stage.holds(Ok(vec![]));
        let waits = |stage: &Stage| stage.app().is_some_and(|app| app.leaving) && stage.is_idle();
        stage.until("it is to leave", |stage| waits(stage) && stage.outcome() == Some(Outcome::Withheld)).await;
    })
    .await;
    site.may_stop(true);
    assert!(site.remembers().contains("\"standing\":\"leaving\""), "{}", site.remembers());
    site.agent(false, async |stage| {
        let waits = |stage: &Stage| stage.app().is_some_and(|app| app.leaving && app.orphaned);
        stage.until("it is still to leave", waits).await;
        assert!(stage.passes_within(Duration::from_hours(1)).await > 0 && stage.running() == 2, "it is outside");
        stage.until("a window", |stage| stage.host.world().now.strftime("%H").to_string() == "14").await;
        seen_off(stage).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_nobody_has_removed_is_not_stopped() {
    type Change = fn(&Site);
    let rows: [(&str, &str, Change); 3] = [
        ("other manifests are followed now", "elsewhere", |_| {}),
        ("nothing says what it runs", "here", |site| site.host.world().link = Link::Absent),
        ("what was written down is lost", "here", |site| {
            std::fs::write(site.room.path().join("apps.json"), "{").unwrap();
        }),
    ];
    for (what, from, change) in rows {
        let site = Site::new("prune: true");
        site.agent(true, looked_after).await;
        change(&site);
        let registry = AppRegistry::open(site.room.path(), from.to_owned());
        site.agent_with(site.shelf(false), registry, async |stage| {
            stage.until("its manifests", |stage| stage.board.view().ready).await;
            tokio::time::sleep(5 * SECOND).await;
            assert_eq!((stage.running(), stage.passes()), (2, 0), "{what}");
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn manifests_that_come_one_by_one_when_the_agent_begins_are_waited_for() {
    let site = Site::new("prune: true");
    site.agent(true, looked_after).await;
    site.agent(false, async |stage| {
        tokio::time::sleep(Duration::from_millis(600)).await;
        stage.holds(Ok(vec![site.wish.clone()]));
        looked_after(stage).await;
        assert_eq!(stage.passes_within(10 * SECOND).await, 0);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_was_in_force_stays_so_where_the_first_look_finds_nothing_that_can_be_used() {
    use crate::agent::source::SourceProblemKind::{Unreachable, Untrusted, Wrong};
    for (kind, whole) in [(Wrong, false), (Wrong, true), (Unreachable, false), (Unreachable, true), (Untrusted, true)] {
        let site = Site::new("prune: true");
        site.agent(true, looked_after).await;
        let dies = || {
            let mut world = site.host.world();
            let pid = world.processes.iter().find(|(_, process)| process.owner.is_some()).map(|(pid, _)| *pid);
            world.end(pid.unwrap());
        };
        let shelf = || {
            let shelf = Shelf { whole, ..site.shelf(true) };
            *shelf.holds.lock().unwrap() = Err((kind, "no use".to_owned()));
            shelf
        };
        // However often it is started again.
        for _ in 0..2 {
            dies();
            site.agent_with(shelf(), site.registry(), async |stage| {
                looked_after(stage).await;
                stage.until("it is ready", |stage| stage.board.view().ready).await;
                let told = |stage: &Stage| {
                    let view = stage.board.view();
                    let refused = view.refused.is_some_and(|problem| problem.message == "no use");
                    (refused, view.unreachable.is_some()) == (kind != Unreachable, kind == Unreachable)
                };
                stage.until("what is wrong is told", told).await;
                assert!(site.remembers().contains("\"standing\":\"inForce\""), "{}", site.remembers());
            })
            .await;
        }
        // Of manifests that come from elsewhere now, nothing is known.
        dies();
        site.agent_with(shelf(), AppRegistry::open(site.room.path(), "elsewhere".to_owned()), async |stage| {
            tokio::time::sleep(Duration::from_mins(10)).await;
            assert!(!stage.board.view().ready && stage.app().is_none() && stage.running() == 1, "{kind:?}");
        })
        .await;
        // Once they are mended, what they do not name any more is seen off.
        site.agent_with(shelf(), site.registry(), async |stage| {
            looked_after(stage).await;
            stage.holds(Ok(vec![site.wish.clone()]));
            let mended = |stage: &Stage| {
                let view = stage.board.view();
                view.refused.is_none() && view.unreachable.is_none()
            };
            stage.until("they are mended", mended).await;
            site.may_stop(true);
            stage.holds(Ok(vec![]));
            seen_off(stage).await;
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn people_hear_the_end_of_what_an_earlier_agent_has_told_them() {
    let site = Site::with("health: {http: {url: 'http://localhost/'}, attempts: 1, expect: [status == 200]}");
    let passed = async |stage: &Stage| stage.until("a pass", Stage::is_idle).await;
    for (healthy, told) in [(true, None), (false, Some(News::Unhealthy)), (false, None), (true, Some(News::Recovered))]
    {
        site.host.world().healthy = healthy;
        site.agent(true, passed).await;
        assert_eq!(site.told(), told.into_iter().collect::<Vec<_>>(), "{healthy}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_is_told_from_a_restart_on_hears_what_is_wrong_already() {
    let site = Site::with("health: {http: {url: 'http://localhost/'}, attempts: 1, expect: [status == 200]}");
    site.host.world().healthy = false;
    let ((queue, mut all), (apart, mut some)) = (mpsc::channel(64), mpsc::channel(64));
    for (names, to_all, to_some) in [(&["chat"][..], 1, 0), (&["chat", "mail"], 0, 1), (&["chat", "mail"], 0, 0)] {
        let publisher = Publisher::new(Some(NotificationQueue::into_both(queue.clone(), apart.clone(), names)), None);
        let passed = async |stage: Arc<Stage>| stage.until("a pass", Stage::is_idle).await;
        play_from(&site.host, site.shelf(true), site.registry(), publisher, passed).await;
        let all = std::iter::from_fn(|| all.try_recv().ok()).collect::<Vec<Telling>>();
        let some = std::iter::from_fn(|| some.try_recv().ok()).map(|(names, _)| names).collect::<Vec<_>>();
        assert_eq!((all.len(), some.len()), (to_all, to_some), "{names:?}: {all:?}, {some:?}");
        assert!(some.iter().all(|names| names.iter().eq(["mail"])), "{some:?}");
    }
}

/// One edit gives an App another name, and perhaps another release, or writes its root in another way.
#[tokio::test(start_paused = true)]
async fn a_renamed_app_is_not_seen_off_from_under_its_successor() {
    let rows =
        [(true, "r2", "."), (true, "r1", "."), (true, "r2", "alias"), (false, "r2", "."), (false, "r1", "alias")];
    for (lives, release, root) in rows {
        let what = format!("{lives}, {release}, {root}");
        let site = Site::new("prune: true");
        std::os::unix::fs::symlink(".", site.room.path().join("alias")).unwrap();
        let heir = wish("anew", &site.room.path().join(root), release, WORKERS);
        let takes_over = async |stage: &Stage| {
            let passed =
                |stage: &Stage| stage.board.app("anew").is_some_and(|app| app.running.is_none() && app.last.is_some());
            stage.until("its successor", |stage| stage.app().is_none() && passed(stage)).await;
            tokio::time::sleep(Duration::from_mins(5)).await;
            assert_eq!((stage.link(), stage.running()), (Link::Release { id: id(release) }, 2), "{what}");
            assert!(stage.app().is_none() && stage.board.view().ready, "{what}");
        };
        site.agent(true, async |stage| {
            looked_after(stage).await;
            if lives {
                site.host.world().app = heir.app.clone();
                stage.holds(Ok(vec![heir.clone()]));
                takes_over(stage).await;
            }
        })
        .await;
        site.host.world().app = heir.app.clone();
        site.agent_with(Shelf::with(vec![heir.clone()]), site.registry(), takes_over).await;
        let told = site.told();
        assert!(!told.iter().any(|news| matches!(news, News::Removed | News::Orphaned)), "{what}: {told:?}");
        assert!(!site.remembers().contains("web"), "{what}: {}", site.remembers());
    }
}

/// Somebody deploys by hand while the pass waits for the lock that stops the workers.
#[tokio::test(start_paused = true)]
async fn what_leaves_moves_no_link() {
    let site = Site::new("prune: true");
    site.agent(true, async |stage| {
        looked_after(stage).await;
        site.host.world().lock_holders += 1;
        stage.holds(Ok(vec![]));
        let waits = |stage: &Stage| stage.app().is_some_and(|app| app.leaving && app.running.is_some());
        stage.until("it waits for the lock", waits).await;
        site.may_stop(true);
        {
            let mut world = site.host.world();
            world.app.release.id = id("r1");
            (world.link, world.link_changed) = (Link::Release { id: id("r1") }, Some(world.now));
            world.lock_holders -= 1;
        }
        seen_off(stage).await;
        assert_eq!(stage.link(), Link::Release { id: id("r1") });
    })
    .await;
    let world = site.host.world();
    let begun = world.journal.iter().filter_map(|entry| match &entry.event {
        JournalEvent::Begin { action, .. } => Some(action),
        _ => None,
    });
    let begun: Vec<&Action> = begun.collect();
    assert_eq!(begun.len(), 2, "{begun:?}");
    assert!(begun.iter().all(|action| matches!(action, Action::StopWorker { .. })), "{begun:?}");
}

#[tokio::test(start_paused = true)]
async fn a_root_that_its_app_leaves_is_seen_off_or_told() {
    for (prune, lives) in [(false, true), (true, true), (false, false), (true, false)] {
        let what = format!("{prune}, {lives}");
        let site = Site::new(&format!("prune: {prune}"));
        // The simulated host knows but one root: what runs at it is the old one's.
        let moved = wish("web", &site.room.path().join("elsewhere"), "r2", "");
        let moves = async |stage: &Stage| {
            let settled = |stage: &Stage| stage.app().is_some_and(|app| !app.orphaned) && stage.is_idle();
            let left = if prune { 0 } else { 2 };
            stage.until("it has moved", |stage| settled(stage) && stage.running() == left).await;
            tokio::time::sleep(Duration::from_mins(5)).await;
            assert_eq!(stage.running(), left, "{what}");
            assert_eq!(stage.app().unwrap().loaded.app.root, moved.app.root, "{what}");
            assert!(stage.board.view().ready, "{what}");
            let former: Vec<Root> = stage.board.view().former_roots_of(&site.wish.app.name).cloned().collect();
            let left = if prune { vec![] } else { vec![site.wish.app.root.clone()] };
            assert_eq!(former, left, "{what}: shown for as long as it is so");
        };
        site.agent(true, async |stage| {
            looked_after(stage).await;
            if lives {
                site.host.world().app = moved.app.clone();
                stage.holds(Ok(vec![moved.clone()]));
                moves(stage).await;
            }
        })
        .await;
        site.host.world().app = moved.app.clone();
        for _ in 0..2 {
            site.agent_with(Shelf::with(vec![moved.clone()]), site.registry(), moves).await;
        }
        assert_eq!(site.told(), [if prune { News::Removed } else { News::Orphaned }], "{what}: once");
        assert!(!site.remembers().contains("leaving"), "{what}: {}", site.remembers());
    }
}

/// Back and forth, away and back with another root; as the last agent has left it, the next one shows it.
#[tokio::test(start_paused = true)]
async fn roots_that_were_left_are_shown_until_somebody_has_them() {
    let site = Site::new("prune: false");
    let [here, there, other] = ["", "there", "other"].map(|name| wish("web", &site.room.path().join(name), "r2", ""));
    for root in [&there, &other].map(|one| one.app.root.path()) {
        // One that is gone is forgotten.
        std::fs::create_dir(root).unwrap();
    }
    let blog = |at: &Loaded| wish("blog", at.app.root.path(), "r2", "");
    let rows: [(&str, Vec<Loaded>, &[&Loaded]); 8] = [
        ("at first", vec![here.clone()], &[]),
        ("away", vec![there.clone()], &[&here]),
        ("back", vec![here.clone()], &[&there]),
        ("away once more", vec![there.clone()], &[&here]),
        ("further", vec![other.clone()], &[&here, &there]),
        ("another one has the first", vec![other.clone(), blog(&here)], &[&there]),
        ("gone", vec![blog(&here)], &[&there]),
        ("come back at its second root", vec![there.clone(), blog(&here)], &[&other]),
    ];
    let shows = async |stage: &Stage, what: &str, roots: &[&Loaded]| {
        let expected: Vec<Root> = roots.iter().map(|one| one.app.root.clone()).collect();
        let former =
            |stage: &Stage| stage.board.view().former_roots_of(&site.wish.app.name).cloned().collect::<Vec<_>>();
        stage.until(what, |stage| stage.board.view().ready && former(stage) == expected).await;
    };
    site.agent_with(Shelf::with(rows[0].1.clone()), site.registry(), async |stage| {
        for (what, wishes, roots) in &rows {
            site.host.world().app = wishes[0].app.clone();
            stage.holds(Ok(wishes.clone()));
            shows(stage, what, roots).await;
            let named = |stage: &Stage| {
                stage.board.names().iter().eq(wishes.iter().map(|one| &one.app.name))
                    && wishes
                        .iter()
                        .all(|one| stage.board.app(one.app.name.as_str()).unwrap().loaded == one.clone().into())
            };
            stage.until(what, named).await;
        }
    })
    .await;
    let (what, wishes, roots) = &rows[7];
    site.agent_with(Shelf::with(wishes.clone()), site.registry(), async |stage| shows(stage, what, roots).await).await;
}

/// It goes while no agent runs, and another App gets a root that it had before.
#[tokio::test(start_paused = true)]
async fn an_app_is_seen_off_whoever_has_a_root_that_it_had_before() {
    let site = Site::new("prune: true");
    let there = site.room.path().join("there");
    std::fs::create_dir(&there).unwrap();
    let [before, blog] = ["web", "blog"].map(|name| wish(name, &there, "r2", ""));
    site.host.world().app = before.app.clone();
    site.agent_with(Shelf::with(vec![before]), site.registry(), async |stage| {
        stage.until("a pass", Stage::is_idle).await;
        site.host.world().app = site.wish.app.clone();
        stage.holds(Ok(vec![site.wish.clone()]));
        stage.until("it has moved", |stage| stage.board.view().former_roots.len() == 1).await;
        looked_after(stage).await;
    })
    .await;
    site.may_stop(true);
    site.agent_with(Shelf::with(vec![blog]), site.registry(), seen_off).await;
}

/// The agent ends before a window opens in which the workers at the old root may be stopped.
#[tokio::test(start_paused = true)]
async fn a_root_that_is_left_is_not_forgotten_over_a_restart() {
    let site = Site::new("prune: true, windows: [{kind: allow, schedule: '0 14 * * *', duration: 1h}]");
    let moved = wish("web", &site.room.path().join("elsewhere"), "r2", "");
    site.agent(true, async |stage| {
        looked_after(stage).await;
        site.host.world().app = moved.app.clone();
        stage.holds(Ok(vec![moved.clone()]));
        let is_there = |stage: &Stage| stage.app().is_some_and(|app| app.loaded.app.root == moved.app.root);
        stage.until("it has moved", |stage| is_there(stage) && stage.is_idle()).await;
        tokio::time::sleep(Duration::from_mins(10)).await;
        assert_eq!(stage.running(), 2);
    })
    .await;
    assert!(site.remembers().contains("leaving") && site.remembers().contains("inForce"), "{}", site.remembers());
    site.agent_with(Shelf::with(vec![moved.clone()]), site.registry(), async |stage| {
        tokio::time::sleep(Duration::from_hours(1)).await;
        assert_eq!(stage.running(), 2, "it is outside");
        stage.until("a window", |stage| stage.host.world().now.strftime("%H").to_string() == "14").await;
        stage.until("its workers are stopped", |stage| stage.running() == 0).await;
        stage.until("that is written down", |_| !site.remembers().contains("leaving")).await;
    })
    .await;
}

/// While no agent runs, an App gets another root, and another App the one that it had.
#[tokio::test(start_paused = true)]
async fn an_app_whose_old_root_is_another_ones_by_now_keeps_its_place() {
    let site = Site::new("prune: true");
    site.agent(true, looked_after).await;
    let moved = wish("web", &site.room.path().join("elsewhere"), "r2", "");
    let heir = wish("anew", site.room.path(), "r2", WORKERS);
    site.host.world().app = heir.app.clone();
    site.agent_with(Shelf::with(vec![moved.clone(), heir]), site.registry(), async |stage| {
        let has_passed = |name: &str| stage.board.app(name).is_some_and(|app| app.last.is_some());
        stage.until("a pass over each", |_| has_passed("web") && has_passed("anew")).await;
        let web = stage.board.app("web").unwrap();
        assert!(web.loaded.app.root == moved.app.root && !web.leaving && !web.orphaned);
        assert_eq!(stage.running(), 2);
    })
    .await;
    assert!(!site.told().iter().any(|news| matches!(news, News::Removed | News::Orphaned)), "{:?}", site.told());
}
