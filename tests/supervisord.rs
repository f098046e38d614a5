//! The supervisord manager against real supervisords, each with a socket and workers of its own.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail on the spot")]

mod supervisord_support;

use std::time::{Duration, Instant};

use supervisord_support::{
    Daemon, alive, app_at, as_nobody, eventually, group, handed_socket, here, pid_of, process, state_of, table,
};
use trueup::managers::supervisord::Supervisord;
use trueup::model::names::MemberName;
use trueup::model::observed::MemberState;
use trueup::model::process::Pid;
use trueup::ports::{HostErrorKind, Managers};

macro_rules! needs_supervisord {
    () => {
        if !here() {
            return;
        }
    };
}

#[tokio::test]
async fn lists_members_with_their_states() {
    needs_supervisord!();
    let daemon = Daemon::start(|dir| {
        format!(
            "[program:w]\ncommand={worker}\nprocess_name=%(program_name)s_%(process_num)d\nnumprocs=11\nautostart=false\n\
             [program:lone]\ncommand={worker}\n",
            worker = dir.worker("")
        )
    });
    let manager = Supervisord::default();
    let (many, lone) = (daemon.app(group("w")), daemon.app(group("lone")));
    daemon.all_run(&manager, &lone).await;
    let groups = [many.of(), lone.of(), many.of()];
    let answers = manager.list(&groups, &table()).await;
    let members = answers[0].as_ref().unwrap();
    let names: Vec<String> = members.iter().map(|one| format!("{} {}", one.ordinal, one.member)).collect();
    assert_eq!(names, (0..11).map(|n| format!("{n} w:w_{n}")).collect::<Vec<_>>());
    for one in members {
        assert_eq!((one.state, one.detail.as_str()), (MemberState::Stopped, "Not started"));
        assert_eq!((one.pid, one.started), (None, None));
    }
    assert_eq!(answers[0], answers[2]);
    let lone = &answers[1].as_ref().unwrap()[0];
    assert_eq!((lone.member.as_str(), lone.state, lone.enabled), ("lone:lone", MemberState::Running, None));
    assert!(alive(lone.pid.unwrap()));
    let (since, coarse) = lone.started.unwrap();
    assert_eq!(coarse, Duration::from_secs(1));
    assert!(jiff::Timestamp::now().duration_since(since).as_secs() < 60, "{since}");
    let begun = Instant::now();
    for _ in 0..100 {
        for answer in manager.list(&groups, &table()).await {
            answer.unwrap();
        }
    }
    eprintln!("a listing of 3 groups with 12 processes: {:.2} ms", begun.elapsed().as_secs_f64() * 10.0);
}

#[tokio::test]
async fn starts_a_stopped_member_and_leaves_a_running_one_alone() {
    needs_supervisord!();
    let daemon = Daemon::start(|dir| format!("[program:w]\ncommand={}\nautostart=false\n", dir.worker("")));
    let (manager, app) = (Supervisord::default(), daemon.app(group("w")));
    let member = daemon.member(&manager, &app, 0).await.member;
    manager.start(app.of(), &member).await.unwrap();
    let first = pid_of(&manager, &app, 0).await;
    manager.start(app.of(), &member).await.unwrap();
    manager.enable(app.of(), &member).await.unwrap();
    assert_eq!(pid_of(&manager, &app, 0).await, first);
    let begun = Instant::now();
    manager.stop(app.of(), &member).await.unwrap();
    eprintln!("an idle worker: stopped after {} ms", begun.elapsed().as_millis());
    assert_eq!(state_of(&manager, &app, 0).await, MemberState::Stopped);
    assert!(!alive(first));
    manager.stop(app.of(), &member).await.unwrap();
}

#[tokio::test]
async fn a_worker_that_does_not_stay_up_fails_with_its_last_words() {
    needs_supervisord!();
    let daemon = Daemon::start(|dir| {
        format!(
            "[program:w]\ncommand=sh -c 'echo \"no such table: jobs\" >&2; exit 3'\nstartretries=1\nautostart=false\n\
             [program:gone]\ncommand={}/no-such-program\nautostart=false\n\
             [program:merged]\ncommand=sh -c 'echo merged words; exit 1'\nredirect_stderr=true\nstartretries=0\n",
            dir.path.display()
        )
    });
    let manager = Supervisord::default();
    let app = daemon.app(group("w"));
    let member = daemon.member(&manager, &app, 0).await.member;
    // The second time it begins FATAL.
    for _ in 0..2 {
        let error = manager.start(app.of(), &member).await.unwrap_err();
        assert_eq!(error.kind, HostErrorKind::WorkerFailed);
        assert!(error.message.contains("`w:w` does not stay up: it is failed (Exited too quickly"), "{error}");
        assert!(error.message.ends_with("no such table: jobs"), "{error}");
        assert!(error.help.unwrap().contains("supervisorctl tail w:w stderr"));
        assert_eq!(state_of(&manager, &app, 0).await, MemberState::Failed);
    }
    let app = daemon.app(group("gone"));
    let member = daemon.member(&manager, &app, 0).await.member;
    let error = manager.start(app.of(), &member).await.unwrap_err();
    assert_eq!(error.kind, HostErrorKind::WorkerFailed);
    assert!(error.message.contains("no-such-program"), "{error}");
    let app = daemon.app(group("merged"));
    eventually("given up", async || state_of(&manager, &app, 0).await == MemberState::Failed).await;
    let member = daemon.member(&manager, &app, 0).await.member;
    let error = manager.replace(app.of(), &member, None).await.unwrap_err();
    assert!(error.message.ends_with("merged words"), "{error}");
}

#[tokio::test]
async fn replaces_idle_workers_side_by_side_and_only_those() {
    needs_supervisord!();
    let daemon = Daemon::start(|dir| {
        format!(
            "[program:w]\ncommand={}\nprocess_name=w_%(process_num)02d\nnumprocs=3\nautorestart=true\n",
            dir.worker("")
        )
    });
    let (manager, app) = (Supervisord::default(), daemon.app(group("w")));
    daemon.all_run(&manager, &app).await;
    // Left alone, supervisord takes a second or more to notice, and a second more for the start. A busy machine may be late,
    // but not always.
    let mut tries = Vec::new();
    while tries.last().is_none_or(|took| *took >= Duration::from_millis(1800)) {
        assert!(tries.len() < 30, "{tries:?}");
        let before = daemon.members(&manager, &app).await;
        let (begun, wall) = (Instant::now(), jiff::Zoned::now().datetime());
        let (a, b) = tokio::join!(
            manager.replace(app.of(), &before[0].member, process(before[0].pid)),
            manager.replace(app.of(), &before[2].member, process(before[2].pid)),
        );
        a.and(b).unwrap();
        let took = begun.elapsed();
        let after = daemon.members(&manager, &app).await;
        assert!(after.iter().all(|one| one.state == MemberState::Running));
        let changed: Vec<bool> = before.iter().zip(&after).map(|(old, new)| old.pid != new.pid).collect();
        assert_eq!(changed, [true, false, true]);
        let spawned = daemon.spawned_after(wall);
        eprintln!("two idle workers: new processes after {spawned:?} ms, both running after {} ms", took.as_millis());
        assert_eq!(spawned.len(), 2);
        tries.push(took);
    }
}

#[tokio::test]
async fn a_process_that_is_gone_already_is_not_replaced_again() {
    needs_supervisord!();
    let daemon = Daemon::start(|dir| format!("[program:w]\ncommand={}\nautorestart=true\n", dir.worker("")));
    let (manager, app) = (Supervisord::default(), daemon.app(group("w")));
    daemon.all_run(&manager, &app).await;
    let old = daemon.member(&manager, &app, 0).await;
    let process = process(old.pid);
    manager.replace(app.of(), &old.member, process).await.unwrap();
    let new = pid_of(&manager, &app, 0).await;
    assert_ne!(Some(new), old.pid);
    manager.replace(app.of(), &old.member, process).await.unwrap();
    assert_eq!(pid_of(&manager, &app, 0).await, new);
}

#[tokio::test]
async fn a_worker_that_supervisord_leaves_exited_is_started() {
    needs_supervisord!();
    let daemon = Daemon::start(|dir| {
        let worker = dir.worker("");
        format!(
            "[program:expected]\ncommand={worker}\nautorestart=unexpected\n\
             [program:never]\ncommand={worker}\nautorestart=false\n"
        )
    });
    let manager = Supervisord::default();
    for name in ["expected", "never"] {
        let app = daemon.app(group(name));
        daemon.all_run(&manager, &app).await;
        let old = daemon.member(&manager, &app, 0).await;
        manager.replace(app.of(), &old.member, process(old.pid)).await.unwrap();
        let new = daemon.member(&manager, &app, 0).await;
        assert_eq!(new.state, MemberState::Running, "{name}");
        assert_ne!(new.pid, old.pid, "{name}");
    }
}

#[tokio::test]
async fn a_busy_worker_finishes_its_job() {
    needs_supervisord!();
    // supervisord itself would kill after a second; but a replaced worker is not stopped.
    let daemon = Daemon::start(|dir| {
        format!("[program:w]\ncommand={}\nautorestart=true\nstopwaitsecs=1\n", dir.worker("job=3"))
    });
    let (manager, app) = (Supervisord::default(), daemon.app(group("w")));
    daemon.all_run(&manager, &app).await;
    let old = daemon.member(&manager, &app, 0).await;
    let pid = old.pid.unwrap();
    let begun = || daemon.journal().matches(&format!("begun {pid}\n")).count();
    let finished = || daemon.journal().matches(&format!("finished {pid}\n")).count();
    eventually("a job is under way", async || begun() > finished()).await;
    let before = finished();
    manager.replace(app.of(), &old.member, process(old.pid)).await.unwrap();
    // On a busy machine it may have come to another job before it was asked.
    let (begun, finished) = (begun(), finished());
    assert!(begun == finished && finished > before, "{}", daemon.journal());
    assert_ne!(pid_of(&manager, &app, 0).await, pid);
}

#[tokio::test]
async fn a_deaf_worker_is_killed_after_the_stop_timeout_and_replaced() {
    needs_supervisord!();
    let daemon = Daemon::start(|dir| {
        let worker = dir.worker("deaf");
        format!(
            "[program:w]\ncommand={worker}\nautorestart=true\nstopwaitsecs=60\n\
             [program:never]\ncommand={worker}\nautorestart=false\nstopwaitsecs=60\n"
        )
    });
    let manager = Supervisord::default();
    // Long before supervisord would kill it.
    let in_time = Duration::from_secs(1)..Duration::from_secs(30);
    for name in ["w", "never"] {
        let mut app = daemon.app(group(name));
        app.stop_timeout(Duration::from_secs(1));
        let up = async || {
            daemon.all_run(&manager, &app).await;
            let pid = pid_of(&manager, &app, 0).await;
            eventually("it is deaf", async || daemon.journal().contains(&format!("up {pid}\n"))).await;
        };
        up().await;
        let old = daemon.member(&manager, &app, 0).await;
        let begun = Instant::now();
        manager.replace(app.of(), &old.member, process(old.pid)).await.unwrap();
        let took = begun.elapsed();
        assert!(in_time.contains(&took), "{name} {took:?}");
        assert_ne!(daemon.member(&manager, &app, 0).await.pid, old.pid);
        // A stop takes no longer either, whatever stopwaitsecs says.
        up().await;
        let begun = Instant::now();
        manager.stop(app.of(), &old.member).await.unwrap();
        let took = begun.elapsed();
        assert!(in_time.contains(&took), "{name} {took:?}");
        assert_eq!(state_of(&manager, &app, 0).await, MemberState::Stopped);
    }
}

#[tokio::test]
async fn what_a_wrapper_leaves_behind_is_ended() {
    needs_supervisord!();
    let daemon =
        Daemon::start(|dir| format!("[program:w]\ncommand=sh -c \"{} && true\"\nautorestart=true\n", dir.worker("")));
    let (manager, app) = (Supervisord::default(), daemon.app(group("w")));
    daemon.all_run(&manager, &app).await;
    let up = || daemon.journal().lines().filter_map(|line| line.strip_prefix("up ")?.parse().ok()).map(Pid).next_back();
    eventually("the child is up", async || up().is_some()).await;
    let (old, child) = (daemon.member(&manager, &app, 0).await, up().unwrap());
    assert_ne!(old.pid, Some(child), "the shell waits for its child");
    manager.replace(app.of(), &old.member, process(old.pid)).await.unwrap();
    assert!(!alive(child), "the child still runs the old release");
    let new = daemon.member(&manager, &app, 0).await;
    assert!(new.state == MemberState::Running && new.pid != old.pid);
    eventually("the next child is up", async || up() != Some(child)).await;
    let child = up().unwrap();
    assert!(alive(child));
    manager.stop(app.of(), &old.member).await.unwrap();
    assert!(!alive(child));
}

/// A program whose jobs are finished, however long they take.
fn patient(command: &str) -> String {
    format!("[program:w]\ncommand={command}\nautorestart=true\nstopwaitsecs=60\n")
}

#[tokio::test]
async fn one_that_is_being_stopped_is_waited_for_and_started() {
    needs_supervisord!();
    let daemon = Daemon::start(|dir| patient(&dir.worker("job=15")));
    let (manager, app) = (Supervisord::default(), daemon.app(group("w")));
    for replace in [false, true] {
        daemon.all_run(&manager, &app).await;
        let old = daemon.member(&manager, &app, 0).await;
        let begun = format!("begun {}\n", old.pid.unwrap());
        eventually("a job is under way", async || daemon.journal().ends_with(&begun)).await;
        let mut somebody = daemon.ctl(&["stop", "w"]);
        eventually("it is stopping", async || state_of(&manager, &app, 0).await == MemberState::Stopping).await;
        if replace {
            manager.replace(app.of(), &old.member, process(old.pid)).await.unwrap();
        } else {
            manager.start(app.of(), &old.member).await.unwrap();
        }
        let new = daemon.member(&manager, &app, 0).await;
        assert_eq!(new.state, MemberState::Running);
        assert_ne!(new.pid, old.pid);
        somebody.wait().unwrap();
    }
}

#[tokio::test]
async fn one_that_somebody_stops_while_it_is_replaced_is_started() {
    needs_supervisord!();
    let daemon = Daemon::start(|dir| patient(&dir.worker("job=15")));
    let (manager, app) = (Supervisord::default(), daemon.app(group("w")));
    daemon.all_run(&manager, &app).await;
    let old = daemon.member(&manager, &app, 0).await;
    let begun = format!("begun {}\n", old.pid.unwrap());
    eventually("a job is under way", async || daemon.journal().ends_with(&begun)).await;
    let somebody = async {
        let asked = format!("term {}\n", old.pid.unwrap());
        eventually("it was asked", async || daemon.journal().contains(&asked)).await;
        daemon.ctl(&["stop", "w"])
    };
    let (replaced, mut somebody) = tokio::join!(manager.replace(app.of(), &old.member, process(old.pid)), somebody);
    replaced.unwrap();
    somebody.wait().unwrap();
    let new = daemon.member(&manager, &app, 0).await;
    assert_eq!(new.state, MemberState::Running);
    assert_ne!(new.pid, old.pid);
}

#[tokio::test]
async fn a_starting_worker_is_replaced_through_backoff() {
    needs_supervisord!();
    let daemon = Daemon::start(|dir| {
        let worker = dir.worker("");
        format!(
            "[program:w]\ncommand={worker}\nstartsecs=2\nautostart=false\n\
             [program:once]\ncommand={worker}\nstartsecs=2\nstartretries=0\nautostart=false\n"
        )
    });
    let manager = Supervisord::default();
    for name in ["w", "once"] {
        let app = daemon.app(group(name));
        let mut somebody = daemon.ctl(&["start", name]);
        eventually("it is starting", async || state_of(&manager, &app, 0).await == MemberState::Starting).await;
        let old = daemon.member(&manager, &app, 0).await;
        manager.replace(app.of(), &old.member, process(old.pid)).await.unwrap();
        let new = daemon.member(&manager, &app, 0).await;
        assert_eq!(new.state, MemberState::Running, "{name}");
        assert_ne!(new.pid, old.pid, "{name}");
        somebody.wait().unwrap();
    }
}

#[tokio::test]
async fn the_programs_own_stop_signal_is_sent() {
    needs_supervisord!();
    let daemon = Daemon::start(|dir| {
        format!("[program:w]\ncommand={}\nautorestart=true\nstopsignal=USR1\n", dir.worker("deaf usr1"))
    });
    let (manager, app) = (Supervisord::default(), daemon.app(group("w")));
    daemon.all_run(&manager, &app).await;
    let old = daemon.member(&manager, &app, 0).await;
    eventually("it is up", async || daemon.journal().contains("up ")).await;
    manager.replace(app.of(), &old.member, process(old.pid)).await.unwrap();
    assert!(daemon.journal().contains(&format!("usr1 {}\n", old.pid.unwrap())), "{}", daemon.journal());
}

#[tokio::test]
async fn settings_that_cannot_be_had_do_not_hinder() {
    needs_supervisord!();
    // XML-RPC has no number of that size, so supervisord fails to answer for any program at all.
    let daemon = Daemon::start(|dir| {
        format!("[program:w]\ncommand={}\nautorestart=true\nstdout_logfile_maxbytes=5GB\n", dir.worker(""))
    });
    let (manager, app) = (Supervisord::default(), daemon.app(group("w")));
    daemon.all_run(&manager, &app).await;
    let old = daemon.member(&manager, &app, 0).await;
    manager.replace(app.of(), &old.member, process(old.pid)).await.unwrap();
    assert_ne!(Some(pid_of(&manager, &app, 0).await), old.pid);
    manager.stop(app.of(), &old.member).await.unwrap();
}

#[tokio::test]
async fn groups_that_do_not_fit_the_manifest_are_errors() {
    needs_supervisord!();
    let daemon = Daemon::start(|dir| {
        let worker = dir.worker("");
        format!(
            "[program:high]\ncommand={worker} high\nautostart=false\n\
             process_name=%(program_name)s_%(process_num)02d\nnumprocs=2\n\
             [program:low]\ncommand={worker} low\nautostart=false\n\
             [program:q1]\ncommand={worker} mail\nautostart=false\n\
             [program:q2]\ncommand={worker} pdf\nautostart=false\n\
             [group:mixed]\nprograms=high,low\n[group:queues]\nprograms=q1,q2\n"
        )
    });
    let manager = Supervisord::default();
    let (mixed, unknown) = (daemon.app(group("mixed")), daemon.app(group("mixd")));
    let (mut picked, mut builtin) = (daemon.app(group("mixed")), daemon.app(group("mixed")));
    picked.program("high");
    builtin.builtin();
    let groups = [mixed.of(), unknown.of(), picked.of(), builtin.of()];
    let answers = manager.list(&groups, &table()).await;
    let error = answers[0].as_ref().unwrap_err();
    assert_eq!(error.kind, HostErrorKind::Misconfigured);
    assert!(error.message.contains("`high`, `low`"), "{error}");
    let error = answers[1].as_ref().unwrap_err();
    assert_eq!(error.kind, HostErrorKind::Misconfigured);
    assert!(error.message.contains("no group `mixd`, only `mixed`, `queues`"), "{error}");
    assert!(error.help.as_ref().unwrap().contains("supervisorctl reread && supervisorctl update mixd"));
    let names: Vec<&str> = answers[2].as_ref().unwrap().iter().map(|one| one.member.as_str()).collect();
    assert_eq!(names, ["mixed:high_00", "mixed:high_01"]);
    assert_eq!(answers[3].as_ref().unwrap_err().kind, HostErrorKind::Misconfigured);
    // Names do not tell these apart, their commands do; it matters which one is stopped.
    let queues = daemon.app(group("queues"));
    let member = daemon.member(&manager, &queues, 1).await.member;
    let error = manager.stop(queues.of(), &member).await.unwrap_err();
    assert_eq!(error.kind, HostErrorKind::Misconfigured);
    let mut pdf = daemon.app(group("queues"));
    pdf.program("q2");
    manager.stop(pdf.of(), &member).await.unwrap();
    let missing = MemberName::new("queues:q9").unwrap();
    assert_eq!(manager.start(queues.of(), &missing).await.unwrap_err().kind, HostErrorKind::Misconfigured);
}

#[tokio::test]
async fn a_supervisord_that_is_not_there_is_unreachable() {
    needs_supervisord!();
    let mut daemon = Daemon::start(|dir| format!("[program:w]\ncommand={}\nautostart=false\n", dir.worker("")));
    let (manager, app) = (Supervisord::default(), daemon.app(group("w")));
    let member = daemon.member(&manager, &app, 0).await.member;
    daemon.kill();
    for manager in [&manager, &Supervisord::default(), &daemon.by_command()] {
        let error = manager.list(&[app.of()], &table()).await.remove(0).unwrap_err();
        assert_eq!(error.kind, HostErrorKind::Unreachable, "{error}");
        assert!(error.help.is_some());
    }
    let error = manager.start(app.of(), &member).await.unwrap_err();
    assert!(error.message.contains("nobody listens"), "{error}");
    std::fs::remove_file(daemon.socket()).unwrap();
    let error = manager.list(&[app.of()], &table()).await.remove(0).unwrap_err();
    assert_eq!(error.kind, HostErrorKind::Unreachable);
    assert!(error.message.contains("is not there"), "{error}");
}

#[tokio::test]
async fn a_password_is_asked_for() {
    needs_supervisord!();
    let daemon = Daemon::guarded(|dir| format!("[program:w]\ncommand={}\nautostart=false\n", dir.worker("")));
    let manager = Supervisord::default();
    let mut app = daemon.app(group("w"));
    let error = manager.list(&[app.of()], &table()).await.remove(0).unwrap_err();
    assert_eq!(error.kind, HostErrorKind::Denied);
    assert!(error.message.contains("asks for a user name"), "{error}");
    app.credentials("deploy", &daemon.secret("wrong\n"));
    let error = manager.list(&[app.of()], &table()).await.remove(0).unwrap_err();
    assert_eq!(error.kind, HostErrorKind::Denied);
    assert!(error.message.contains("refuses the user name `deploy`") && !error.message.contains("wrong"), "{error}");
    let by_command = daemon.by_command().list(&[app.of()], &table()).await.remove(0).unwrap_err();
    assert_eq!(by_command.kind, HostErrorKind::Denied, "{by_command}");
    // The file is corrected while the manager lives on.
    daemon.secret("s3cret\n");
    assert!(manager.list(&[app.of()], &table()).await.remove(0).is_ok());
}

#[tokio::test]
async fn the_other_door_does_the_same() {
    needs_supervisord!();
    let daemon = Daemon::start(|dir| {
        format!(
            "[program:w]\ncommand={}\nautorestart=true\nprocess_name=w_%(process_num)02d\nnumprocs=2\n\
             [program:expected]\ncommand={}\n[program:bad]\ncommand=false\nstartretries=0\nautostart=false\n",
            dir.worker("job=0.5"),
            dir.worker("")
        )
    });
    let (manager, app) = (daemon.by_command(), daemon.app(group("w")));
    daemon.all_run(&manager, &app).await;
    let listing = Instant::now();
    let before = daemon.members(&manager, &app).await;
    // What both doors show is the same, but for the rounding of the start, and for the time that a command takes to tell
    // for how long a worker has run.
    let coarse = 2 + i64::try_from(listing.elapsed().as_secs()).unwrap();
    let by_socket = daemon.members(&Supervisord::default(), &app).await;
    for (one, other) in before.iter().zip(&by_socket) {
        assert_eq!(
            (&one.member, one.ordinal, one.state, one.pid),
            (&other.member, other.ordinal, other.state, other.pid)
        );
        let apart = one.started.unwrap().0.duration_since(other.started.unwrap().0);
        assert!(apart.abs().as_secs() < coarse, "{apart:?}");
    }
    let begun = Instant::now();
    manager.replace(app.of(), &before[0].member, process(before[0].pid)).await.unwrap();
    eprintln!("by command: a worker with jobs of 0.5 s replaced in {} ms", begun.elapsed().as_millis());
    let after = daemon.members(&manager, &app).await;
    assert_eq!(before.iter().zip(&after).map(|(a, b)| a.pid == b.pid).collect::<Vec<_>>(), [false, true]);
    assert!(after.iter().all(|one| one.state == MemberState::Running));
    manager.stop(app.of(), &before[1].member).await.unwrap();
    assert_eq!(state_of(&manager, &app, 1).await, MemberState::Stopped);
    manager.stop(app.of(), &before[1].member).await.unwrap();
    manager.start(app.of(), &before[1].member).await.unwrap();
    manager.start(app.of(), &before[1].member).await.unwrap();
    assert_eq!(state_of(&manager, &app, 1).await, MemberState::Running);
    let expected = daemon.app(group("expected"));
    let old = daemon.member(&manager, &expected, 0).await;
    manager.replace(expected.of(), &old.member, process(old.pid)).await.unwrap();
    let new = daemon.member(&manager, &expected, 0).await;
    assert!(new.state == MemberState::Running && new.pid != old.pid);
    let bad = daemon.app(group("bad"));
    let member = daemon.member(&manager, &bad, 0).await.member;
    let error = manager.start(bad.of(), &member).await.unwrap_err();
    assert_eq!(error.kind, HostErrorKind::WorkerFailed, "{error}");
    let unknown = daemon.app(group("wx"));
    let error = manager.list(&[unknown.of()], &table()).await.remove(0).unwrap_err();
    assert_eq!(error.kind, HostErrorKind::Misconfigured);
}

#[tokio::test]
async fn without_sudo_the_other_door_says_which_rule_is_missing() {
    needs_supervisord!();
    let daemon = Daemon::start(|dir| format!("[program:w]\ncommand={}\nautostart=false\n", dir.worker("")));
    let app = daemon.app(group("w"));
    let refusing = daemon.script("refuse", "echo 'sudo: a password is required' >&2; exit 1");
    let missing = refusing.with_file_name("no-such-program");
    for command in [&refusing, &missing] {
        let manager = Supervisord::by_command(vec![command.display().to_string()]);
        let error = manager.list(&[app.of()], &table()).await.remove(0).unwrap_err();
        assert_eq!(error.kind, HostErrorKind::Denied, "{error}");
        let help = error.help.unwrap();
        assert!(command == &missing || (help.contains("NOPASSWD:") && help.contains("unix\\://")), "{help}");
    }
}

#[tokio::test]
async fn a_worker_of_another_user_is_signalled_by_supervisord() {
    needs_supervisord!();
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can become another user");
        return;
    }
    let daemon = Daemon::open(|dir| format!("[program:w]\ncommand={}\nautorestart=true\n", dir.worker("")));
    let (manager, app) = (Supervisord::default(), daemon.app(group("w")));
    daemon.all_run(&manager, &app).await;
    let old = pid_of(&manager, &app, 0).await;
    as_nobody("nobody_replaces_a_worker", &daemon.socket()).unwrap();
    assert!(!alive(old));
    assert_eq!(state_of(&manager, &app, 0).await, MemberState::Running);
}

#[tokio::test]
#[ignore = "run as nobody by another test"]
async fn nobody_replaces_a_worker() {
    let (manager, app) = (Supervisord::default(), app_at(&handed_socket(), group("w")));
    let old = manager.list(&[app.of()], &table()).await.remove(0).unwrap().remove(0);
    manager.replace(app.of(), &old.member, process(old.pid)).await.unwrap();
    assert_ne!(Some(pid_of(&manager, &app, 0).await), old.pid);
}

#[tokio::test]
async fn a_closed_socket_leads_to_sudo() {
    needs_supervisord!();
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can become another user");
        return;
    }
    let daemon = Daemon::start(|dir| format!("[program:w]\ncommand={}\nautostart=false\n", dir.worker("")));
    as_nobody("nobody_is_told_which_rule_is_missing", &daemon.socket()).unwrap();
}

#[tokio::test]
#[ignore = "run as nobody by another test"]
async fn nobody_is_told_which_rule_is_missing() {
    let (manager, app) = (Supervisord::default(), app_at(&handed_socket(), group("w")));
    let error = manager.list(&[app.of()], &table()).await.remove(0).unwrap_err();
    eprintln!("{error}; {:?}", error.help);
    assert_eq!(error.kind, HostErrorKind::Denied, "{error}");
    assert!(error.message.contains("sudo"), "{error}");
}
