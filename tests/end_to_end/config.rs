//! `restartOn`: a file that workers read once, with and without a step that makes it known.

use crate::support::fixtures::{Program, Site, Workers};
use crate::support::passes::Manifest;
use crate::support::{Host, Unit, require_host};

const RESTART: &str = "restart app-worker:app-worker";

fn running(host: &Host) -> (Site<'_>, Workers<'_>) {
    let site = Site::new(host, "/srv/app").owner("deploy").release("r1").current("r1");
    let workers = Program::php("app-worker", &site).user("deploy").start();
    (site, workers)
}

fn manifest<'host>(host: &'host Host, site: &Site<'_>, restart_on: &str) -> Manifest<'host> {
    let keys = format!("manager: {{supervisord: {{group: app-worker}}}}, restartOn: [{{{restart_on}}}]");
    Manifest::new(host, "app", site, "r1").workers("default", 1, &keys)
}

#[test]
fn an_edited_file_restarts_the_workers_once() {
    let host = require_host!("config", [Unit::Supervisor]);
    let (site, workers) = running(&host);
    let manifest = manifest(&host, &site, "path: shared/.env");
    manifest.reconcile().converged_by(&[]);
    let old = workers.pids();

    host.sh("echo QUEUE=redis >>/srv/app/shared/.env").ok();
    let pass = manifest.reconcile();
    assert_eq!(pass.output.code, 0, "{pass}");
    assert!(pass.tried().contains(&RESTART.to_owned()), "{pass}");
    assert_ne!(workers.pids(), old);
    manifest.reconcile().converged_by(&[]);
}

#[test]
fn the_step_of_an_edited_file_runs_once_before_the_restart() {
    let host = require_host!("config-step", [Unit::Supervisor]);
    let (site, workers) = running(&host);
    let step = "path: shared/.env, run: 'pwd -P >>/srv/app/shared/cached; id -un >>/srv/app/shared/cached'";
    let manifest = manifest(&host, &site, step);
    manifest.reconcile();
    let told = host.sh("cat /srv/app/shared/cached 2>/dev/null || true").stdout;
    let old = workers.pids();

    host.sh("echo QUEUE=redis >>/srv/app/shared/.env").ok();
    manifest.reconcile().converged_by(&["apply default shared/.env", RESTART]);
    assert_eq!(
        host.read("/srv/app/shared/cached"),
        format!("{told}/srv/app/releases/r1\ndeploy\n"),
        "in the release, as the site's user"
    );
    assert_ne!(workers.pids(), old);
    let new = workers.pids();
    // Written again with the same words: the content is what counts.
    host.sh("cp /srv/app/shared/.env /srv/app/shared/copy; cat /srv/app/shared/copy >/srv/app/shared/.env").ok();
    manifest.reconcile().converged_by(&[]);
    assert_eq!(workers.pids(), new);
    let journaled = manifest.journaled();
    assert!(journaled.ends_with(&["apply default shared/.env".to_owned(), RESTART.to_owned()]), "{journaled:?}");
    manifest.reconcile().converged_by(&[]);
}

#[test]
fn a_step_that_fails_keeps_the_workers_as_they_are() {
    let host = require_host!("config-fails", [Unit::Supervisor]);
    let (site, workers) = running(&host);
    let manifest = manifest(&host, &site, "path: shared/.env, run: 'test -e /srv/app/shared/repaired'");
    let old = workers.pids();
    host.sh("echo QUEUE=redis >>/srv/app/shared/.env").ok();
    let pass = manifest.reconcile();
    assert_eq!((pass.output.code, pass.tried()), (1, vec!["apply default shared/.env".to_owned()]), "{pass}");
    assert_eq!(workers.pids(), old);
    host.write("/srv/app/shared/repaired", "");
    manifest.reconcile().converged_by(&["apply default shared/.env", RESTART]);
    assert_ne!(workers.pids(), old);
}
