//! Processes of old releases that no group owns: reported, stopped where that is asked for; orphans always.

use crate::support::fixtures::{Program, Site};
use crate::support::passes::Manifest;
use crate::support::{SOON, Unit, require_host};

#[test]
fn a_worker_started_by_hand_is_reported_and_stopped_only_when_asked_for() {
    let host = require_host!("stray", [Unit::Supervisor]);
    let site = Site::new(&host, "/srv/app").release("r1").release("r2").current("r2");
    let workers = Program::php("app-worker", &site).start();
    let mut by_hand = host.spawn(&["php", "/srv/app/releases/r1/artisan", "queue:work"]);
    let pid = by_hand.pid();
    host.wait_until("the stray at work", SOON, || {
        site.events().iter().any(|line| line.release == "r1" && line.pid == pid)
    });
    let manifest = || Manifest::new(&host, "app", &site, "r2").supervisord("app-worker", 1);
    let owned = workers.pids();

    manifest().with("strays: report").reconcile().converged_by(&[]);
    assert!(by_hand.is_running());
    let status = manifest().run(&["status"]);
    assert!(status.stdout.contains(&pid.to_string()) && status.stdout.contains("r1"), "it is reported: {status}");

    let pass = manifest().with("strays: stop").reconcile();
    pass.converged_by(&[&format!("stop stray {pid}")]);
    let ended = by_hand.wait(SOON);
    assert_eq!(ended.code, 0, "gently: it ended by itself");
    assert!(site.events().iter().any(|line| line.pid == pid && line.event == "stopped"));
    assert_eq!(workers.pids(), owned);
    manifest().with("strays: stop").reconcile().converged_by(&[]);
}

#[test]
fn what_somebody_may_have_in_hand_is_left_and_said() {
    let host = require_host!("spared", []);
    let site = Site::new(&host, "/srv/app").owner("deploy").release("r1").release("r2").current("r2");
    host.add_user("anna");
    let there = "cd /srv/app/rel*/r1 && exec sleep 300";
    let mut ours = host.spawn_as("deploy", &["sh", "-c", there]);
    let mut annas = host.spawn_as("anna", &["sh", "-c", there]);
    let mut roots = host.spawn(&["sh", "-c", there]);
    let mut at_work = host.spawn_as("deploy", &["script", "--quiet", "--command", there, "/dev/null"]);
    host.wait_until("all of them", SOON, || host.sh("pgrep -xc sleep").stdout.trim() == "4");

    let manifest = Manifest::new(&host, "app", &site, "r2").with("strays: stop");
    manifest.reconcile().converged_by(&[&format!("stop stray {}", ours.pid())]);
    ours.wait(SOON);
    assert!(annas.is_running() && roots.is_running() && at_work.is_running());
    let said = manifest.reconcile_for_people();
    let said = format!("{}{}", said.stdout, said.stderr);
    let flat = said.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(flat.contains("it runs as the user 0, who is none of the App's"), "{said}");
    assert!(flat.contains("it has a terminal: somebody may work there"), "{said}");
    assert!(said.contains(&annas.pid().to_string()) && said.contains(&roots.pid().to_string()), "{said}");
}

#[test]
fn what_a_container_runs_at_the_same_path_is_no_stray() {
    let host = require_host!("contained", []);
    let site = Site::new(&host, "/srv/app").owner("deploy").release("r1").release("r2").current("r2");
    let at_work = "cd /srv/app/releases/r1 && exec setpriv --reuid deploy --regid deploy --init-groups sleep 300";
    let own_srv = format!("mount -t tmpfs none /srv && mkdir -p /srv/app/releases/r1 && {at_work}");
    let mut contained = host.spawn(&["unshare", "--mount", "sh", "-c", &own_srv]);
    // Mounts of its own, as a sandboxed service has, but the same releases.
    let mut sandboxed = host.spawn(&["unshare", "--mount", "sh", "-c", at_work]);
    host.wait_until("both", SOON, || host.sh("pgrep -xc sleep").stdout.trim() == "2");

    let manifest = Manifest::new(&host, "app", &site, "r2").with("strays: stop");
    manifest.reconcile().converged_by(&[&format!("stop stray {}", sandboxed.pid())]);
    sandboxed.wait(SOON);
    assert!(contained.is_running());
}

#[test]
fn what_is_removed_keeps_its_files_for_whoever_has_one_open_or_sees_them_mounted_elsewhere() {
    let host = require_host!("holders", []);
    let mut site = Site::new(&host, "/srv/app").current("r1");
    for id in ["r1", "r2", "r3", "r4"] {
        site = site.release(id);
    }
    let wanted = |release: &str, keep: u32| Manifest::new(&host, "app", &site, release).made(&format!("keep: {keep}"));
    for id in ["r1", "r2", "r3"] {
        let pass = wanted(id, 9).reconcile();
        assert_eq!(pass.report["outcome"], "converged", "{pass}");
    }
    // Neither works in the release, nor names it in an argument.
    let mut reader = host.spawn(&["sh", "-c", "cd / && exec sleep 301 <$(echo /srv/app/rel*/r1/artisan)"]);
    let bound = "mount --bind $(echo /srv/app/rel*/r2) /mnt && cd / && exec sleep 302";
    let mut other = host.spawn(&["unshare", "--mount", "--propagation", "private", "sh", "-c", bound]);
    host.wait_until("both of them", SOON, || host.sh("pgrep -xc sleep").stdout.trim() == "2");
    let pass = wanted("r4", 1).reconcile();
    assert_eq!(
        (&pass.report["outcome"], site.current_release().as_deref()),
        (&"converged".into(), Some("r4")),
        "{pass}"
    );
    let aside =
        || host.sh("find /srv/app/releases -mindepth 2 -name artisan -path '*/.*' | wc -l").stdout.trim().to_owned();
    assert_eq!(host.sh("ls /srv/app/releases").stdout.split_whitespace().collect::<Vec<_>>(), ["r3", "r4"]);
    assert_eq!(aside(), "2");
    assert!(reader.is_running() && other.is_running());

    reader.signal("KILL");
    reader.wait(SOON);
    wanted("r4", 1).reconcile().converged_by(&[]);
    assert_eq!(aside(), "1");
    other.signal("KILL");
    other.wait(SOON);
    wanted("r4", 1).reconcile().converged_by(&[]);
    assert_eq!(aside(), "0");
}

#[test]
fn orphans_of_a_killed_supervisord_are_stopped_beside_their_successors() {
    let host = require_host!("orphans", [Unit::Supervisor]);
    let site = Site::new(&host, "/srv/app").owner("deploy").release("r1").release("r2").current("r1");
    // Debian's unit waits for 50 s, and kills what supervisord leaves behind unless it is told not to.
    let unit = "[Service]\nRestartSec=100ms\nKillMode=process\n";
    host.write("/etc/systemd/system/supervisor.service.d/test.conf", unit);
    host.run(&["systemctl", "daemon-reload"]).ok();
    let workers = Program::php("app-worker", &site).numprocs(2).user("deploy").start();
    let orphans = workers.pids();
    let supervisord = host.run(&["supervisorctl", "pid"]).ok().to_owned();
    host.run(&["kill", "-KILL", &supervisord]).ok();
    host.wait_until("another supervisord with workers", SOON, || {
        let status = workers.status();
        status.len() == 2 && status.iter().all(|worker| worker.state == "RUNNING")
    });
    let successors = workers.pids();
    assert!(orphans.iter().all(|pid| host.is_alive(*pid) && !successors.contains(pid)));
    let manifest = Manifest::new(&host, "app", &site, "r1").supervisord("app-worker", 2);

    // They run the right release; they are too many all the same.
    let stops: Vec<String> = orphans.iter().map(|pid| format!("stop stray {pid}")).collect();
    let stops: Vec<&str> = stops.iter().map(String::as_str).collect();
    let pass = manifest.reconcile();
    pass.converged_by(&stops);
    assert!(orphans.iter().all(|pid| !host.is_alive(*pid)));
    for pid in &orphans {
        assert!(site.events().iter().any(|line| line.pid == *pid && line.event == "stopped"), "{pid} ended gently");
    }
    assert_eq!(workers.pids(), successors);
    manifest.reconcile().converged_by(&[]);
}

#[test]
fn while_supervisord_is_away_its_workers_are_left_alone() {
    let host = require_host!("away", [Unit::Supervisor]);
    let site = Site::new(&host, "/srv/app").release("r1").release("r2").current("r1");
    let unit = "[Service]\nRestart=no\nKillMode=process\n";
    host.write("/etc/systemd/system/supervisor.service.d/test.conf", unit);
    host.run(&["systemctl", "daemon-reload"]).ok();
    let workers = Program::php("app-worker", &site).start();
    let orphans = workers.pids();
    let supervisord = host.run(&["supervisorctl", "pid"]).ok().to_owned();
    host.run(&["kill", "-KILL", &supervisord]).ok();
    host.wait_until("its end", SOON, || !host.run(&["systemctl", "is-active", "supervisor.service"]).success());
    let said = Manifest::new(&host, "app", &site, "r2").supervisord("app-worker", 1).reconcile_for_people();
    assert_eq!(said.code, 1, "{said}");
    assert!(said.stdout.contains("supervisor"), "{said}");
    assert!(orphans.iter().all(|pid| host.is_alive(*pid)));
    assert_eq!(site.current_release().as_deref(), Some("r1"));
}

#[test]
fn what_another_trueup_has_in_hand_is_no_stray() {
    let host = require_host!("in-hand", [Unit::Supervisor]);
    let site = Site::new(&host, "/srv/app").release("r1").current("r1");
    let workers = Program::php("app-worker", &site).start();
    // The first one who asks waits for its answer, in the release.
    let question = "[ -e /tmp/asked ] || { touch /tmp/asked; while [ -e /tmp/hold ]; do sleep 0.05; done; }";
    let manifest = || {
        Manifest::new(&host, "app", &site, "r1")
            .supervisord("app-worker", 1)
            .with("strays: stop")
            .with(&format!("health: {{command: {{run: '{question}', timeout: 1m}}, expect: [status == 0]}}"))
    };
    host.run(&["touch", "/tmp/hold"]).ok();
    let path = manifest().write();
    let mut asking = host.spawn(&["trueup", "status", &path]);
    host.wait_until("the question", SOON, || host.exists("/tmp/asked"));
    let by_hand = host.spawn(&["php", "/srv/app/releases/r1/artisan", "queue:work"]);
    host.wait_until("the stray at work", SOON, || {
        site.events().iter().any(|line| line.event == "started" && line.pid == by_hand.pid())
    });
    let owned = workers.pids();
    manifest().reconcile().converged_by(&[&format!("stop stray {}", by_hand.pid())]);
    assert_eq!(workers.pids(), owned);
    assert!(asking.is_running());
    host.run(&["rm", "/tmp/hold"]).ok();
    let answer = asking.wait(SOON);
    assert!(answer.stdout.contains("healthy"), "{answer}");
}
