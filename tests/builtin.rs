//! Workers of trueup's own, as real processes in temporary roots.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail on the spot")]

mod support;

use std::time::{Duration, Instant};

use support::local::{Site, python, requires_root, wait_for};
use trueup::host::proc;
use trueup::model::observed::MemberState;
use trueup::model::process::{Pid, ProcessId};
use trueup::ports::{GroupOf, HostErrorKind, Managers};

/// Says that it runs in its log, then waits.
const IDLE: &str = "echo up; exec sleep 600";

#[tokio::test(flavor = "multi_thread")]
async fn started_workers_are_listed_by_any_value_with_or_without_the_file() {
    let site = Site::new(IDLE);
    site.start(1).await.unwrap();
    site.start(2).await.unwrap();
    let listed = site.list().await;
    let pids = Site::pids(&listed);
    assert_eq!(pids.len(), 2);
    assert!(listed.iter().all(|member| member.state == MemberState::Running));
    assert_eq!(listed.iter().map(|member| member.ordinal).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(site.another().list().await, listed, "another value, the same file");

    std::fs::remove_file(site.state("workers.json")).unwrap();
    assert_eq!(site.another().list().await, listed, "by environment");
    site.another().start(1).await.unwrap();
    assert_eq!(site.list().await, listed, "a start finds the running one without the file");

    site.stop(1).await.unwrap();
    site.stop(1).await.unwrap();
    let left = site.list().await;
    assert_eq!(Site::pids(&left), [pids[1]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_gets_its_release_and_nothing_of_our_environment() {
    let site = Site::new("env; pwd; exec sleep 600");
    site.start(1).await.unwrap();
    let log = site.log_until(1, |log| log.contains("PWD=") && log.lines().last().is_some_and(|l| l.starts_with('/')));
    let real = site.root().canonicalize().unwrap();
    let release = real.join("releases/1");
    assert_eq!(log.lines().last(), Some(release.to_str().unwrap()));
    let expected = [
        format!("TRUEUP_ROOT={}", real.display()),
        "TRUEUP_APP=app".to_owned(),
        "TRUEUP_WORKER=default/1".to_owned(),
        "RELEASE_ID=1".to_owned(),
        format!("RELEASE_PATH={}", release.display()),
        "GREETING=hello world".to_owned(),
    ];
    for line in expected {
        assert!(log.lines().any(|found| found == line), "{line} in {log}");
    }
    assert!(!log.contains("CARGO_"), "{log}");
    let process = site.leader(1).await;
    let facts = proc::facts(process.pid).unwrap();
    assert_eq!(facts.summary.session, process.pid, "a session of its own");
    assert_eq!(facts.summary.cwd.known().unwrap().path, release);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replaced_worker_runs_what_the_link_names_now() {
    let site = Site::new(IDLE);
    site.start(1).await.unwrap();
    let first = site.leader(1).await;
    site.switch("2");
    site.replace(1, Some(first)).await.unwrap();
    let second = site.leader(1).await;
    assert_ne!(first, second);
    assert_eq!(proc::identify(first.pid), Ok(None));
    let cwd = proc::facts(second.pid).unwrap().summary.cwd;
    assert!(cwd.known().unwrap().path.ends_with("releases/2"));
    site.replace(1, Some(first)).await.unwrap();
    assert_eq!(site.leader(1).await, second, "it has happened already");
}

#[tokio::test(flavor = "multi_thread")]
async fn starts_side_by_side_make_one_process_each_and_lose_no_entry() {
    let site = Site::new("echo up; exec sleep 600");
    let starts = (1..=4).flat_map(|ordinal| [ordinal, ordinal]).map(|ordinal| site.start(ordinal));
    for started in futures_util::future::join_all(starts).await {
        started.unwrap();
    }
    for ordinal in 1..=4 {
        assert_eq!(site.log_until(ordinal, |log| log.contains("up")).matches("up").count(), 1, "{ordinal}");
    }
    let text = std::fs::read_to_string(site.state("workers.json")).unwrap();
    assert!((1..=4).all(|ordinal| text.contains(&format!("default/{ordinal}"))), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_used_again_is_never_signalled() {
    let site = Site::new(IDLE);
    let mut innocent = std::process::Command::new("sleep").arg("600").spawn().unwrap();
    let id = proc::identify(Pid(innocent.id())).unwrap().unwrap();
    // With a start that is not its own; then with its own, as whoever may write the file could forge it.
    for ticks in [id.start_ticks.0 - 1, id.start_ticks.0] {
        site.forge(1, id.pid.0, ticks);
        assert_eq!(Site::pids(&site.list().await), Vec::<Pid>::new());
        site.stop(1).await.unwrap();
        site.forge(1, id.pid.0, ticks);
        site.replace(1, Some(id)).await.unwrap();
        assert_ne!(site.leader(1).await.pid, id.pid);
        site.stop(1).await.unwrap();
        assert!(innocent.try_wait().unwrap().is_none(), "it was signalled");
    }
    innocent.kill().unwrap();
    innocent.wait().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_belongs_to_the_apps_user() {
    if !requires_root() {
        return;
    }
    let site = Site::new("id -un; id -Gn; echo $HOME; exec sleep 600").with_user("nobody");
    site.start(1).await.unwrap();
    let log = site.log_until(1, |log| log.lines().count() == 3);
    let home = trueup::host::users::User::named("nobody").unwrap().home;
    assert_eq!(log, format!("nobody\nnogroup\n{}\n", home.display()));
    let process = site.leader(1).await;
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.pid)).unwrap();
    assert!(status.lines().any(|line| line == "Uid:\t65534\t65534\t65534\t65534"), "{status}");
    std::fs::remove_file(site.state("workers.json")).unwrap();
    assert_eq!(site.leader(1).await, process, "by environment");
    site.stop(1).await.unwrap();
    assert_eq!(proc::identify(process.pid), Ok(None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_ends_children_and_what_a_dead_wrapper_left() {
    // The child of the child makes a session of its own; nothing of it may survive.
    let site = Site::new("sleep 600 & setsid sleep 600 & echo $!; wait");
    for wrapper_dies in [false, true] {
        site.start(1).await.unwrap();
        let leader = site.leader(1).await;
        let family = wait_for(|| {
            let table = proc::walk().unwrap();
            let below: Vec<ProcessId> = table.descendants(leader.pid).iter().map(|process| process.id).collect();
            let apart = below.iter().filter_map(|id| table.get(id.pid)).any(|child| child.session != leader.pid);
            (below.len() >= 2 && apart).then_some(below)
        });
        if wrapper_dies {
            support::local::kill(leader);
            wait_for(|| proc::identify(leader.pid).unwrap().is_none().then_some(()));
            let listed = site.list().await;
            assert_eq!(listed[0].state, MemberState::Exited, "{listed:?}");
            site.start(1).await.unwrap();
            assert_ne!(site.leader(1).await, leader);
        } else {
            site.stop(1).await.unwrap();
        }
        for id in family {
            assert_ne!(proc::identify(id.pid), Ok(Some(id)), "wrapper dies: {wrapper_dies}");
        }
        site.stop(1).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_dead_member_above_the_count_left_is_listed_to_be_stopped() {
    let site = Site::new("sleep 600 & wait");
    site.start(9).await.unwrap();
    let leader = site.leader(9).await;
    support::local::kill(leader);
    wait_for(|| proc::identify(leader.pid).unwrap().is_none().then_some(()));
    let listed = site.list().await;
    assert_eq!((listed[0].ordinal, listed[0].state), (9, MemberState::Running));
    assert_ne!(listed[0].pid, Some(leader.pid));
    site.stop(9).await.unwrap();
    assert_eq!(site.list().await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_will_not_end_is_killed_after_its_stop_timeout() {
    let site = Site::new(&python(
        "import signal, time\nsignal.signal(signal.SIGTERM, lambda *_: print('asked', flush=True))\n\
         print('up', flush=True)\nwhile True: time.sleep(600)",
    ))
    .with_stop_timeout(Duration::from_secs(3));
    site.start(1).await.unwrap();
    site.log_until(1, |log| log.contains("up"));
    let process = site.leader(1).await;
    let begun = Instant::now();
    site.stop(1).await.unwrap();
    assert!(begun.elapsed() >= Duration::from_secs(3), "{:?}", begun.elapsed());
    assert!(site.log_until(1, |log| log.contains("asked")).contains("asked"));
    assert_eq!(proc::identify(process.pid), Ok(None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_does_not_stay_up_says_why() {
    let site = Site::new("sleep 600 & echo $! > pid; echo starting; echo no database >&2; exit 3");
    site.log_put(1, "noise of an earlier start\n");
    // On a busy machine it may fail only after it has been trusted: then it is started once more.
    let begun = Instant::now();
    let error = loop {
        match site.start(1).await {
            Err(error) => break error,
            Ok(()) => assert!(begun.elapsed() < Duration::from_mins(1), "it is trusted again and again"),
        }
        while site.list().await[0].state == MemberState::Running {
            assert!(begun.elapsed() < Duration::from_mins(1), "it does not end");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert_eq!(error.kind, HostErrorKind::WorkerFailed);
    let (first, rest) = error.message.split_once('\n').unwrap();
    assert!(first.starts_with("worker `default/1` ended ") && first.contains("exit code 3"), "{first}");
    assert_eq!(rest, "starting\nno database");
    assert!(error.help.unwrap().contains("default-1.log"));
    let listed = site.list().await;
    assert_eq!((listed[0].state, listed[0].pid), (MemberState::Exited, None));
    let child = std::fs::read_to_string(site.root().join("releases/1/pid")).unwrap();
    assert_eq!(proc::identify(Pid(child.trim().parse().unwrap())), Ok(None), "what it started is ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_cannot_be_run_says_so() {
    let site = Site::with_arguments(&["no-such-program", "x"]);
    let error = site.start(1).await.unwrap_err();
    assert_eq!(error.kind, HostErrorKind::Misconfigured);
    assert!(error.message.contains("`default/1`") && error.message.contains("`no-such-program`"), "{error}");
    assert!(error.help.unwrap().contains("PATH"));

    let site = Site::new(IDLE);
    std::fs::remove_file(site.root().join("current")).unwrap();
    assert_eq!(site.start(1).await.unwrap_err().kind, HostErrorKind::Misconfigured);
    assert_eq!(site.list().await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ended_worker_leaves_no_zombie() {
    let site = Site::new("until [ -e ../../go ]; do sleep 0.05; done");
    site.start(1).await.unwrap();
    let process = site.leader(1).await;
    std::fs::write(site.root().join("go"), "").unwrap();
    wait_for(|| proc::identify(process.pid).unwrap().is_none().then_some(()));
    wait_for(|| proc::walk().unwrap().get(process.pid).is_none_or(|found| found.id != process).then_some(()));
    assert_eq!(site.list().await[0].state, MemberState::Exited);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_was_open_reaches_a_worker() {
    let site = Site::new(IDLE);
    // As `flock FILE trueup reconcile` leaves it: open, and not closed by an exec.
    let inherited = std::fs::File::create(site.root().join("inherited")).unwrap();
    rustix::io::fcntl_setfd(&inherited, rustix::io::FdFlags::empty()).unwrap();
    site.start(1).await.unwrap();
    let facts = proc::facts(site.leader(1).await.pid).unwrap();
    let open = facts.open_files.known().unwrap().clone();
    assert!(open.iter().all(|place| !place.path.ends_with("inherited")), "{open:?}");
    assert!(open.iter().any(|place| place.path.ends_with("default-1.log")), "{open:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_managers_group_is_refused() {
    let mut site = Site::new(IDLE);
    let unit = trueup::model::app::TemplateUnit::new("w@").unwrap();
    site.app.workers[0].manager = trueup::model::app::Manager::Systemd(trueup::model::app::Systemd { unit });
    let of = GroupOf { app: &site.app, group: &site.app.workers[0] };
    let table = proc::walk().unwrap();
    let listed = site.builtin.list(&[of], &table).await;
    assert_eq!(listed[0].as_ref().unwrap_err().kind, HostErrorKind::Misconfigured);
    assert_eq!(site.start(1).await.unwrap_err().kind, HostErrorKind::Misconfigured);
}
