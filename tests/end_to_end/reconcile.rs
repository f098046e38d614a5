//! The fewest actions that make a group of supervisord what the manifest says, and none when it is.

use std::time::{Duration, Instant};

use crate::support::fixtures::{Program, Site, Workers};
use crate::support::passes::{Listing, Manifest};
use crate::support::{Host, SOON, Unit, require_host};

const FIRST: &str = "app-worker:app-worker_00";
const SECOND: &str = "app-worker:app-worker_01";

/// Releases r1 and r2 with `current` on r1.
fn two_releases(host: &Host) -> Site<'_> {
    Site::new(host, "/srv/app").owner("deploy").release("r1").release("r2").current("r1")
}

fn pair<'host>(site: &Site<'host>) -> Workers<'host> {
    Program::php("app-worker", site).numprocs(2).user("deploy").start()
}

fn manifest<'host>(host: &'host Host, site: &Site<'_>) -> Manifest<'host> {
    Manifest::new(host, "app", site, "r2").supervisord("app-worker", 2)
}

/// The pid of each worker, by its short name; none for one that does not run.
fn pids(workers: &Workers<'_>) -> [Option<u32>; 2] {
    let mut status = workers.status();
    status.sort_by(|a, b| a.name.cmp(&b.name));
    let [first, second] = &status[..] else { panic!("{status:?}") };
    [first.pid, second.pid]
}

/// Has supervisord write every call that it gets into its log.
fn log_calls(host: &Host) {
    host.sh("sed -i 's/^\\[supervisord\\]/&\\nloglevel=trace/' /etc/supervisor/supervisord.conf").ok();
    host.run(&["systemctl", "restart", "supervisor.service"]).ok();
    host.wait_until("supervisord's return", SOON, || host.run(&["supervisorctl", "pid"]).success());
}

/// The calls that supervisord got so far, without their arguments.
fn calls(host: &Host) -> Vec<String> {
    let log = host.read("/var/log/supervisor/supervisord.log");
    let called = log.lines().filter_map(|line| line.split_once("XML-RPC method called: "));
    called.map(|(_, call)| call.split('(').next().unwrap_or(call).to_owned()).collect()
}

#[test]
fn a_release_is_switched_to_once_and_then_nothing_is_done() {
    let host = require_host!("switch", [Unit::Supervisor]);
    log_calls(&host);
    let site = two_releases(&host);
    let workers = pair(&site);
    let manifest = manifest(&host, &site);
    assert_eq!(manifest.seen(), ["stale r1 entryScript"; 2], "without `directory=` only the open script tells");
    let old = pids(&workers);

    let pass = manifest.reconcile();
    pass.converged_by(&["switch r2", &format!("restart {FIRST}"), &format!("restart {SECOND}")]);
    assert_eq!(pass.tried()[0], "switch r2", "the link moves first");
    assert_eq!(site.current_release().as_deref(), Some("r2"));
    let new = pids(&workers);
    assert!(new[0] != old[0] && new[1] != old[1] && new[0].is_some() && new[1].is_some(), "{old:?} {new:?}");
    assert_eq!(manifest.seen(), ["fresh r2 entryScript"; 2]);
    assert!(calls(&host).contains(&"supervisor.getAllConfigInfo".to_owned()), "the log shows calls");

    let (before, asked) = (Listing::of(&host, &["/srv/app"]), calls(&host).len());
    let pass = manifest.reconcile();
    pass.converged_by(&[]);
    assert_eq!(pids(&workers), new);
    // The lock says who holds it, whatever there is to do.
    let mut changes = before.changes(&Listing::of(&host, &["/srv/app"]));
    changes.retain(|line| !line.starts_with("/srv/app/.trueup/lock "));
    assert_eq!(changes, [""; 0], "a pass with nothing to do writes nothing");
    // `supervisorctl`, by which this test looks, begins with two calls of its own.
    let of_trueup: Vec<String> = calls(&host)[asked..].iter().take(1).cloned().collect();
    let of_supervisorctl = ["supervisor.getVersion", "supervisor.getState", "supervisor.getAllProcessInfo"];
    assert_eq!(of_trueup, ["supervisor.getAllProcessInfo"]);
    let rest = &calls(&host)[asked + 1..];
    assert!(rest.iter().all(|call| of_supervisorctl.contains(&call.as_str())), "{rest:?}");
    assert_eq!(rest.iter().filter(|call| *call == "supervisor.getVersion").count(), 1, "{rest:?}");

    let quiet = manifest.reconcile_for_people();
    assert_eq!((quiet.code, quiet.stderr.as_str()), (0, ""), "{quiet}");
    assert_eq!(quiet.stdout.lines().count(), 1, "{quiet}");
}

#[test]
fn one_stale_worker_of_two_is_one_restart() {
    let host = require_host!("one-stale", [Unit::Supervisor]);
    let site = two_releases(&host);
    let workers = pair(&site);
    site.switch("r2");
    host.run(&["supervisorctl", "restart", SECOND]).ok();
    workers.wait_until_running();
    let [stale, fresh] = pids(&workers);

    manifest(&host, &site).reconcile().converged_by(&[&format!("restart {FIRST}")]);
    let now = pids(&workers);
    assert_eq!(now[1], fresh, "the fresh one is not touched");
    assert_ne!(now[0], stale);
    assert_eq!(manifest(&host, &site).seen(), ["fresh r2 entryScript"; 2]);
}

#[test]
fn one_stopped_worker_is_one_start() {
    let host = require_host!("one-stopped", [Unit::Supervisor]);
    let site = two_releases(&host).current("r2");
    let workers = pair(&site);
    host.run(&["supervisorctl", "stop", SECOND]).ok();
    let [fresh, _] = pids(&workers);

    manifest(&host, &site).reconcile().converged_by(&[&format!("start {SECOND}")]);
    assert_eq!(pids(&workers)[0], fresh);
    workers.wait_until_running();
}

#[test]
fn a_worker_given_up_is_tried_again_with_growing_pauses_and_reported() {
    let host = require_host!("one-fatal", [Unit::Supervisor]);
    let site = two_releases(&host).current("r2");
    // The second worker ends at once until the database is back.
    let script = "if [ \"$1\" = 1 ] && [ ! -e /srv/app/shared/database ]; then\n  \
                  date +%s%N >>/srv/app/shared/tries\n  echo 'MySQL server has gone away' >&2\n  exit 1\nfi\n\
                  exec php /srv/app/current/artisan queue:work\n";
    host.write("/usr/local/bin/work", script);
    let program = Program::new(&host, "app-worker", "sh /usr/local/bin/work %(process_num)d").numprocs(2);
    let workers = program.set("startretries", "0").install();
    host.run(&["supervisorctl", "update"]).ok();
    host.wait_until("one FATAL and one RUNNING", SOON, || {
        let states: Vec<String> = workers.status().into_iter().map(|worker| worker.state).collect();
        states == ["RUNNING", "FATAL"]
    });
    let [healthy, _] = pids(&workers);
    let manifest = manifest(&host, &site);
    host.run(&["truncate", "--size=0", "/srv/app/shared/tries"]).ok();

    let pass = manifest.reconcile();
    assert_eq!((pass.output.code, &pass.report["outcome"]), (1, &"failed".into()), "{pass}");
    assert_eq!(pass.tried(), [format!("start {SECOND}")], "{pass}");
    for said in [SECOND, "does not stay up", "MySQL server has gone away"] {
        assert!(pass.problems().contains(said), "{said}: {pass}");
    }
    for told in ["again in 1s", "again in 2s"] {
        assert!(pass.output.stderr.contains(told), "{told}: {pass}");
    }
    let tries: Vec<u64> =
        host.read("/srv/app/shared/tries").lines().map(|nanos| nanos.parse().expect("is a number")).collect();
    let [first, second, third] = tries[..] else { panic!("three tries, not {tries:?}: {pass}") };
    let pauses = [second - first, third - second].map(Duration::from_nanos);
    assert!(pauses[0] >= Duration::from_secs(1) && pauses[1] >= Duration::from_secs(2), "{pauses:?}");
    assert_eq!(pids(&workers)[0], healthy);
    let text = manifest.reconcile_for_people();
    assert!(text.code == 1 && text.stdout.contains("MySQL server has gone away"), "{text}");

    host.write("/srv/app/shared/database", "up");
    manifest.reconcile().converged_by(&[&format!("start {SECOND}")]);
    assert_eq!(pids(&workers)[0], healthy);
}

#[test]
fn the_number_of_workers_follows_the_count() {
    let host = require_host!("count", [Unit::Supervisor]);
    let site = two_releases(&host).current("r2");
    let workers = pair(&site);
    let [first, _] = pids(&workers);
    let manifest = |count| Manifest::new(&host, "app", &site, "r2").supervisord("app-worker", count);

    manifest(2).reconcile().converged_by(&[]);
    manifest(1).reconcile().converged_by(&[&format!("stop {SECOND}")]);
    assert_eq!(pids(&workers), [first, None]);
    manifest(1).reconcile().converged_by(&[]);
    manifest(2).reconcile().converged_by(&[&format!("start {SECOND}")]);
    let [kept, second] = pids(&workers);
    assert!(kept == first && second.is_some());

    // Down by one with a switch: who must go is stopped, not restarted first.
    site.switch("r1");
    manifest(1).reconcile().converged_by(&["switch r2", &format!("stop {SECOND}")]);
    assert_eq!(pids(&workers), [first, None]);
    manifest(0).reconcile().converged_by(&[&format!("stop {FIRST}")]);
    assert_eq!(pids(&workers), [None, None]);
}

#[test]
fn a_count_beyond_numprocs_names_both_and_touches_nothing() {
    let host = require_host!("numprocs", [Unit::Supervisor]);
    let site = two_releases(&host);
    let workers = pair(&site);
    let old = pids(&workers);
    let manifest = Manifest::new(&host, "app", &site, "r2").supervisord("app-worker", 3);

    let pass = manifest.reconcile();
    assert_eq!((pass.output.code, pass.tried().len()), (1, 0), "{pass}");
    let text = manifest.reconcile_for_people();
    for said in ["`app-worker` should have 3 workers", "supervisord has 2", "numprocs=3", "supervisorctl update"] {
        assert!(text.stdout.contains(said), "{said}: {text}");
    }
    assert_eq!(pids(&workers), old);
    assert_eq!(site.current_release().as_deref(), Some("r1"), "nothing is half-done");
}

#[test]
fn a_group_that_mixes_programs_needs_the_program_named() {
    let host = require_host!("mixed", [Unit::Supervisor]);
    let site = two_releases(&host);
    let queue = Program::php("queue", &site).numprocs(2).install();
    let mails = Program::python("mails", &site).directory("/srv/app/current").install();
    host.write("/etc/supervisor/conf.d/all.conf", "[group:all]\nprograms=queue,mails\n");
    host.run(&["supervisorctl", "update"]).ok();
    let all = || {
        let status = host.run(&["supervisorctl", "status"]).stdout;
        status.lines().filter(|line| line.starts_with("all:") && line.contains("RUNNING")).count()
    };
    host.wait_until("all three", SOON, || all() == 3);
    assert_eq!((queue.group(), mails.group()), ("queue", "mails"));

    let plain = Manifest::new(&host, "app", &site, "r2").supervisord("all", 3).reconcile_for_people();
    assert_eq!(plain.code, 1, "{plain}");
    assert!(plain.stdout.contains("program"), "{plain}");
    assert_eq!(site.current_release().as_deref(), Some("r1"));

    let of = |program: &str| format!("manager: {{supervisord: {{group: all, program: {program}}}}}");
    let named = Manifest::new(&host, "app", &site, "r2");
    let named = named.workers("queue", 2, &of("queue")).workers("mails", 1, &of("mails"));
    named.reconcile().converged_by(&["switch r2", "restart all:queue_00", "restart all:queue_01", "restart all:mails"]);
    assert_eq!(all(), 3);
    assert_eq!(named.seen(), ["fresh r2 entryScript", "fresh r2 entryScript", "fresh r2 workingDirectory"]);
    named.reconcile().converged_by(&[]);
}

#[test]
fn a_worker_in_the_middle_of_a_job_finishes_it() {
    let host = require_host!("busy", [Unit::Supervisor]);
    let site = two_releases(&host);
    // supervisord's own patience is far shorter than the job.
    let program = Program::php("app-worker", &site).numprocs(2).user("deploy");
    let workers = program.set("stopwaitsecs", "1").start();
    let busy = site.give_job(5.0);

    let pass = manifest(&host, &site).reconcile();
    pass.converged_by(&["switch r2", &format!("restart {FIRST}"), &format!("restart {SECOND}")]);
    let told: Vec<String> = site.events().into_iter().filter(|line| line.pid == busy).map(|line| line.event).collect();
    assert_eq!(told, ["started", "job-begun", "job-done", "stopped"]);
    assert!(!pids(&workers).contains(&Some(busy)));
}

#[test]
fn a_worker_that_does_not_end_is_killed_after_its_stop_timeout() {
    let host = require_host!("stubborn", [Unit::Supervisor]);
    let site = two_releases(&host);
    let workers = Program::php("app-worker", &site).user("deploy").start();
    let busy = site.give_job(100.0);
    let manifest = Manifest::new(&host, "app", &site, "r2").workers(
        "default",
        1,
        "manager: {supervisord: {group: app-worker}}, stopTimeout: 2s",
    );

    let begun = Instant::now();
    manifest.reconcile().converged_by(&["switch r2", "restart app-worker:app-worker"]);
    assert!((2..60).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
    assert!(!workers.pids().contains(&busy));
    assert_eq!(manifest.seen(), ["fresh r2 entryScript"]);
}
