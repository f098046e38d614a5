//! A trueup that is no root, and workers of another user: only their start time is to be seen, unless sudo tells more.

use crate::support::fixtures::{Program, Site, Workers};
use crate::support::passes::Manifest;
use crate::support::{Host, SOON, Unit, require_host};

const RESTART: &str = "restart app-worker:app-worker";

/// Workers of `worker` on a site of `deploy`, who may run supervisorctl.
fn strangers<'host>(host: &'host Host, sudoers: &str) -> (Site<'host>, Workers<'host>) {
    host.add_user("worker");
    let site = Site::new(host, "/srv/app").owner("deploy").release("r1").release("r2").current("r1");
    host.run(&["chmod", "-R", "a+rwX", "/srv/app/shared"]).ok();
    host.write("/etc/sudoers.d/deploy", sudoers);
    host.run(&["chmod", "440", "/etc/sudoers.d/deploy"]).ok();
    let workers = Program::php("app-worker", &site).user("worker").start();
    (site, workers)
}

fn manifest<'host>(host: &'host Host, site: &Site<'_>) -> Manifest<'host> {
    Manifest::new(host, "app", site, "r2").supervisord("app-worker", 1).user("deploy")
}

/// Waits until a worker has its script of this release open: a stranger is fresh by its start, before it has.
#[track_caller]
fn has_loaded(host: &Host, worker: u32, release: &str) {
    let script = format!("/srv/app/releases/{release}/artisan");
    host.wait_until("the worker's script", SOON, || {
        host.read_link(&format!("/proc/{worker}/fd/3")).as_deref() == Some(&*script)
    });
}

#[test]
fn through_sudo_a_stranger_is_judged_by_its_start() {
    let host = require_host!("stranger", [Unit::Supervisor]);
    let (site, workers) = strangers(&host, "deploy ALL=(root) NOPASSWD: /usr/bin/supervisorctl *\n");
    let manifest = manifest(&host, &site);
    let old = workers.pids();
    assert_eq!(manifest.seen(), ["stale afterSwitch startTime"], "it runs what current names, and that is r1");

    // Switched by hand: the worker is from before.
    site.switch("r2");
    assert_eq!(manifest.seen(), ["stale beforeSwitch startTime"], "never fresh: it runs r1");
    has_loaded(&host, old[0], "r1");

    manifest.reconcile().converged_by(&[RESTART]);
    let new = workers.pids();
    assert_ne!(new, old);
    has_loaded(&host, new[0], "r2");
    assert_eq!(manifest.seen(), ["fresh afterSwitch startTime"]);
    manifest.reconcile().converged_by(&[]);
    assert_eq!(workers.pids(), new, "a pass with nothing to do restarts nobody");

    // A whole pass of its own, with the switch.
    manifest.release("r1").reconcile().converged_by(&["switch r1", RESTART]);
    assert_eq!(site.current_release().as_deref(), Some("r1"));
    let last = workers.pids();
    has_loaded(&host, last[0], "r1");
}

#[test]
fn through_the_socket_a_stranger_is_judged_by_its_start() {
    let host = require_host!("stranger-socket", [Unit::Supervisor]);
    let (site, workers) = strangers(&host, "# nothing\n");
    host.sh("chown deploy: /run/supervisor.sock").ok();
    let manifest = manifest(&host, &site);
    let old = workers.pids();
    site.switch("r2");
    assert_eq!(manifest.seen(), ["stale beforeSwitch startTime"], "never fresh: it runs r1");
    manifest.reconcile().converged_by(&[RESTART]);
    let new = workers.pids();
    assert_ne!(new, old);
    has_loaded(&host, new[0], "r2");
    manifest.reconcile().converged_by(&[]);
    assert_eq!(workers.pids(), new);
}

#[test]
fn a_worker_started_just_before_the_switch_is_never_called_fresh() {
    let host = require_host!("stranger-close", [Unit::Supervisor]);
    let (site, workers) = strangers(&host, "deploy ALL=(root) NOPASSWD: /usr/bin/supervisorctl *\n");
    let manifest = manifest(&host, &site);
    for _ in 0..3 {
        // Just started from r1, then the link is moved.
        site.switch("r1");
        host.run(&["supervisorctl", "restart", "app-worker"]).ok();
        workers.wait_until_running();
        let pid = workers.pids()[0];
        host.wait_until("the worker to open its script", SOON, || {
            host.read_link(&format!("/proc/{pid}/fd/3")).as_deref() == Some("/srv/app/releases/r1/artisan")
        });
        site.switch("r2");
        let seen = manifest.seen();
        assert!(!seen[0].starts_with("fresh"), "{seen:?}");
    }
}

#[test]
fn where_nothing_may_be_asked_nothing_is_touched() {
    let host = require_host!("stranger-refused", [Unit::Supervisor]);
    let (site, workers) = strangers(&host, "# nothing\n");
    let old = workers.pids();
    let said = manifest(&host, &site).reconcile_for_people();
    assert_eq!(said.code, 1, "{said}");
    assert!(said.stdout.contains("sudo"), "it says what is lacking: {said}");
    assert_eq!((workers.pids(), site.current_release().as_deref()), (old, Some("r1")));
}

/// Allows `deploy` what `trueup sudoers` prints for this manifest, and nothing else.
fn allow(host: &Host, manifest: &Manifest<'_>) -> String {
    let printed = host.run(&["trueup", "sudoers", "--user", "deploy", &manifest.write()]);
    assert_eq!(printed.code, 0, "{printed}");
    host.write("/etc/sudoers.d/deploy", &printed.stdout);
    host.run(&["chmod", "440", "/etc/sudoers.d/deploy"]).ok();
    host.run(&["visudo", "-c"]).ok();
    printed.stdout
}

/// How often sudo let `deploy` ask; a refusal is not logged.
fn asked(host: &Host) -> usize {
    host.run(&["journalctl", "--sync"]).ok();
    let log = host.run(&["journalctl", "--no-pager", "--output=cat", "SYSLOG_IDENTIFIER=sudo"]).stdout;
    log.lines().filter(|line| line.contains("COMMAND=/usr/local/bin/trueup evidence /etc/trueup")).count()
}

#[test]
fn by_a_witness_a_stranger_is_judged_by_what_it_runs() {
    let host = require_host!("witness", [Unit::Supervisor]);
    let (site, workers) = strangers(&host, "# nothing\n");
    let manifest = manifest(&host, &site);
    allow(&host, &manifest);
    assert_eq!(manifest.seen(), ["stale r1 entryScript"]);

    // Switched by hand, under a worker that runs what is wanted already: by its start it would be stale.
    site.switch("r2");
    host.run(&["supervisorctl", "restart", "app-worker"]).ok();
    workers.wait_until_running();
    let pid = workers.pids()[0];
    host.wait_until("the worker to open its script", SOON, || {
        host.read_link(&format!("/proc/{pid}/fd/3")).as_deref() == Some("/srv/app/releases/r2/artisan")
    });
    site.switch("r2");
    assert_eq!(manifest.seen(), ["fresh r2 entryScript"]);
    manifest.reconcile().converged_by(&[]);
    assert_eq!(workers.pids(), [pid], "it is left alone");

    // Started after the switch, and all the same in the old release: by its start it would be fresh.
    Program::new(&host, "app-worker", "php /srv/app/releases/r1/artisan queue:work").user("worker").start();
    assert_eq!(manifest.seen(), ["stale r1 entryScript"]);
    Program::new(&host, "app-worker", "php artisan queue:work")
        .directory("/srv/app/releases/r1")
        .user("worker")
        .start();
    assert_eq!(manifest.seen(), ["stale r1 workingDirectory"]);

    // A whole pass, with a switch; a child of the worker on another release would be seen, too.
    Program::php("app-worker", &site).user("worker").start();
    let manifest = manifest.release("r1");
    manifest.reconcile().converged_by(&["switch r1", RESTART]);
    assert_eq!(manifest.seen(), ["fresh r1 entryScript"]);
}

#[test]
fn one_look_asks_once_and_without_the_rule_the_start_has_to_do() {
    let host = require_host!("witness-asked", [Unit::Supervisor]);
    let (site, _workers) = strangers(&host, "# nothing\n");
    Program::php("app-worker", &site).numprocs(3).user("worker").start();
    let manifest = Manifest::new(&host, "app", &site, "r1").supervisord("app-worker", 3).user("deploy");
    let rules = allow(&host, &manifest);
    manifest.reconcile();
    let before = asked(&host);
    manifest.reconcile().converged_by(&[]);
    host.wait_until("sudo's log", SOON, || asked(&host) > before);
    assert_eq!(asked(&host), before + 1, "a pass with nothing to do looks once");

    // Its own workers show it everything: nobody is asked.
    Program::php("app-worker", &site).numprocs(3).user("deploy").start();
    manifest.reconcile();
    manifest.reconcile().converged_by(&[]);
    assert_eq!(manifest.seen(), ["fresh r1 entryScript"; 3]);
    assert_eq!(asked(&host), before + 1);

    // Without the rule: the start has to do, and the reason is told.
    let rest: Vec<&str> = rules.lines().filter(|line| !line.contains("trueup evidence")).collect();
    host.write("/etc/sudoers.d/deploy", &format!("{}\n", rest.join("\n")));
    Program::php("app-worker", &site).numprocs(3).user("worker").start();
    let manifest = manifest.release("r2");
    let pass = manifest.reconcile();
    assert_eq!(pass.report["outcome"], "converged", "{pass}");
    let status = manifest.run(&["status", "--format", "json"]);
    assert!(status.stdout.contains("`sudo -n trueup evidence`: a password is required"), "{status}");
    assert_eq!(manifest.seen(), ["fresh afterSwitch startTime"; 3]);
}

#[test]
fn with_exactly_the_printed_rules_a_whole_pass_works() {
    let host = require_host!("sudoers", [Unit::Supervisor]);
    let (site, workers) = strangers(&host, "# nothing\n");
    let manifest = manifest(&host, &site);
    assert_eq!(manifest.reconcile().output.code, 1, "nothing is allowed yet");

    let printed = allow(&host, &manifest);
    let pass = manifest.reconcile();
    assert_eq!(pass.report["outcome"], "converged", "{}", pass.output);
    assert!(pass.tried().contains(&RESTART.to_owned()), "{}", pass.output);
    assert_eq!(site.current_release().as_deref(), Some("r2"));

    let pid = workers.pids()[0];
    let rule = printed.lines().last().expect("there are rules");
    let command: Vec<&str> = rule.split_once("NOPASSWD: ").expect("is a rule").1.split(' ').collect();
    let said = host.run_as("deploy", &[&["sudo", "-n"], command.as_slice()].concat());
    let found: serde_json::Value = serde_json::from_str(&said.stdout).unwrap_or_else(|_| panic!("{said}"));
    let processes = found["items"][0]["processes"].as_array().expect("is a list");
    let worker = processes.iter().find(|one| one["process"]["pid"] == pid).unwrap_or_else(|| panic!("{said}"));
    let evidence = &worker["evidence"];
    assert_eq!((&evidence["runs"]["id"], &evidence["rung"]), (&"r2".into(), &"entryScript".into()), "{said}");

    // Neither more arguments nor other programs.
    for more in [&["/usr/bin/supervisorctl", "status", "all"][..], &["/usr/bin/supervisorctl", "shutdown"]] {
        assert_ne!(host.run_as("deploy", &[&["sudo", "-n"], more].concat()).code, 0, "{more:?}");
    }
}
