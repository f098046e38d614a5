//! The whole flow as the user `deploy`, who may do by sudo exactly what `trueup sudoers` prints, and nothing else.

use crate::shop::{MAKING, ROOT, SOON, Shop, phases, status};
use crate::support::fixtures::Program;
use crate::support::passes::Manifest;
use crate::support::{Host, Unit, require_host};

const WORKERS: [&str; 2] = ["app-worker:app-worker_00", "app-worker:app-worker_01"];

/// Rules for sudo that `visudo` is content with.
fn allow(host: &Host, rules: &str) {
    host.write("/etc/sudoers.d/trueup", rules);
    host.run(&["chmod", "440", "/etc/sudoers.d/trueup"]).ok();
    let checked = host.run(&["visudo", "-c"]);
    assert!(checked.success(), "{checked}");
}

/// What `deploy` may do by sudo, one command to a line.
fn rights(host: &Host) -> Vec<String> {
    let listed = host.run(&["sudo", "-l", "-U", "deploy"]);
    let rules = listed.ok().lines().filter_map(|line| line.split_once("NOPASSWD: "));
    rules.map(|(_, command)| command.to_owned()).collect()
}

/// As `deploy`: converged on this release, all of it well, and both workers judged by what they run.
#[track_caller]
fn deploys(shop: &Shop<'_>, manifest: &Manifest<'_>, id: &str) -> Vec<String> {
    let pass = manifest.reconcile();
    assert_eq!((pass.output.code, &pass.report["outcome"]), (0, &"converged".into()), "{id}: {pass}");
    assert_eq!(pass.problems(), "", "{id}: {pass}");
    shop.is_well_in(id);
    assert_eq!(manifest.seen(), [format!("fresh {id} entryScript"), format!("fresh {id} entryScript")], "{id}");
    println!("{id}: {} ms", pass.report["tookMs"]);
    pass.tried()
}

#[test]
fn with_exactly_the_printed_rules_everything_works() {
    let host = require_host!("narrow", [Unit::Supervisor, Unit::Nginx, Unit::PhpFpm]);
    // Without a reload php-fpm would go on to serve the old release here.
    let shop = Shop::new(&host, "$document_root");
    // Workers of somebody else, who may write their log.
    host.sh(&format!("mkdir -p {ROOT}/shared; chmod a+rwx {ROOT}/shared")).ok();
    let program = Program::php("app-worker", &shop.site).numprocs(2).user("www-data").set("startretries", "1");
    program.set("autostart", "false").install();
    host.run(&["supervisorctl", "update"]).ok();

    // From git, and from nothing: not even the rules are there.
    let first = shop.commit(&[]);
    let manifest = shop.manifest("r1", &first).user("deploy");
    let pass = manifest.reconcile();
    assert_eq!(pass.output.code, 1, "nothing is allowed yet: {pass}");
    assert_eq!(shop.site.current_release(), None);
    let printed = host.run(&["trueup", "sudoers", "--user", "deploy", &manifest.path()]);
    allow(&host, printed.ok());
    let rules = rights(&host);
    // Both workers, php-fpm, and the question what others run.
    assert_eq!(rules.len(), 1 + 2 * 4 + 3 + 1, "{rules:#?}");

    let tried = deploys(&shop, &manifest, "r1");
    assert!(WORKERS.iter().all(|worker| tried.contains(&format!("start {worker}"))), "{tried:?}");
    let owners = host.run(&["find", ROOT, "!", "-user", "deploy", "!", "-name", "worker.log"]);
    assert_eq!(owners.ok(), "", "nothing of root's is left behind");
    assert_eq!(host.read_link(&format!("{ROOT}/releases/r1/storage")).as_deref(), Some("../../shared/storage"));

    // From a directory, and from an archive; php-fpm is reloaded, and what is not needed any more goes.
    host.sh("cp -r /srv/git/shop /srv/tree; rm -rf /srv/tree/.git; chown -R deploy: /srv/tree").ok();
    host.sh("tar -C /srv/tree -czf /srv/shop.tar.gz .").ok();
    let sum = host.sh("sha256sum /srv/shop.tar.gz | cut -d' ' -f1");
    let archive = format!("{{archive: {{path: /srv/shop.tar.gz, sha256: {}}}}}", sum.ok());
    let sources = [("r2", "{dir: {path: /srv/tree}}"), ("r3", &archive)];
    for (id, source) in sources {
        let manifest = manifest_of(&shop, id, source);
        let before = phases(&manifest).len();
        let tried = deploys(&shop, &manifest, id);
        assert!(WORKERS.iter().all(|worker| tried.contains(&format!("restart {worker}"))), "{tried:?}");
        let done: Vec<String> = phases(&manifest).split_off(before).into_iter().map(|(action, _)| action).collect();
        for action in ["fetch", "link", "build", "verify", "migrate", "switch", "prove"] {
            assert!(done.contains(&format!("{action} {id}")), "{done:?}");
        }
        assert_eq!(done.iter().filter(|action| *action == "reload php-fpm").count(), 1, "{done:?}");
        manifest.reconcile().converged_by(&[]);
    }
    assert_eq!(shop.releases(), ["r2", "r3"]);
    assert_eq!(shop.migrations(), ["r1", "r2", "r3"]);

    // A release that does not serve: all goes back, and stays there.
    let commit = shop.commit(&[("public/index.php", "<?php http_response_code(500);")]);
    let manifest = shop.manifest("r4", &commit).user("deploy");
    let before = phases(&manifest).len();
    let pass = manifest.reconcile();
    assert_eq!((pass.output.code, &pass.report["outcome"]), (3, &"rolledBack".into()), "{pass}");
    shop.is_well_in("r3");
    let done = phases(&manifest).split_off(before);
    assert_eq!(done.iter().filter(|(action, _)| action == "reload php-fpm").count(), 2, "there and back: {done:?}");
    let again = manifest.reconcile();
    assert_eq!((again.output.code, again.tried().len()), (3, 0), "{again}");

    // By hand: back to the one before, and on again.
    let manifest = manifest_of(&shop, "r3", &archive);
    deploys(&shop, &manifest, "r3");
    let path = manifest.path();
    let back = host.run_as("deploy", &["trueup", "rollback", "app", &path, "--reason", "orders are lost"]);
    assert_eq!(back.code, 0, "{back}");
    shop.is_well_in("r2");
    let on = host.run_as("deploy", &["trueup", "retry", "app", &path]);
    assert_eq!(on.code, 0, "{on}");
    shop.is_well_in("r3");
    assert_eq!(status(&manifest)["services"][0]["current"], true);

    // Two things were edited meanwhile: nobody's rights have grown, and nobody was asked for more than there is.
    assert_eq!(rights(&host), rules);
    host.run(&["journalctl", "--sync"]).ok();
    let log = host.run(&["journalctl", "--no-pager", "--output=cat", "SYSLOG_IDENTIFIER=sudo"]).stdout;
    let odd: Vec<&str> =
        log.lines().filter(|line| line.contains("not allowed") || line.contains("password is required")).collect();
    assert_eq!(odd, [""; 0]);
    for more in [&["/usr/bin/systemctl", "stop", "php8.2-fpm.service"][..], &["/usr/bin/supervisorctl", "shutdown"]] {
        assert_ne!(host.run_as("deploy", &[&["sudo", "-n"], more].concat()).code, 0, "{more:?}");
    }
    host.wait_until("the workers to be at work", SOON, || shop.works_in("r3"));
}

/// The App as `deploy` wants it, from another source.
fn manifest_of<'host>(shop: &Shop<'host>, id: &str, source: &str) -> Manifest<'host> {
    shop.manifest(id, "unused").made(&format!("source: {source}, {MAKING}")).user("deploy")
}
