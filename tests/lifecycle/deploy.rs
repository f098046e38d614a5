//! The ten steps by declaration, and back to the release before.

use crate::shop::{ROOT, SOON, Shop, phases};
use crate::support::passes::Listing;
use crate::support::{Host, Unit, require_host};

/// Everything that was done since the last `seen` actions, without times.
fn since(all: &[(String, u64)], seen: usize) -> Vec<&str> {
    all[seen..].iter().map(|(action, _)| action.as_str()).collect()
}

/// The workers' actions go side by side: whichever ends first.
fn in_any_order(mut actions: Vec<&str>) -> Vec<&str> {
    let is_worker = |action: &&str| action.starts_with("start ") || action.starts_with("restart ");
    if let Some(first) = actions.iter().position(&is_worker) {
        let end = actions.iter().rposition(is_worker).unwrap();
        actions[first..=end].sort_unstable();
    }
    actions
}

/// Has supervisord write every call that it gets into its log.
fn log_calls(host: &Host) {
    host.sh("sed -i 's/^\\[supervisord\\]/&\\nloglevel=trace/' /etc/supervisor/supervisord.conf").ok();
    host.run(&["systemctl", "restart", "supervisor.service"]).ok();
    host.wait_until("supervisord's return", SOON, || host.run(&["supervisorctl", "pid"]).success());
}

fn calls(host: &Host) -> Vec<String> {
    let log = host.read("/var/log/supervisor/supervisord.log");
    let called = log.lines().filter_map(|line| line.split_once("XML-RPC method called: "));
    called.map(|(_, call)| call.split('(').next().unwrap_or(call).to_owned()).collect()
}

#[test]
fn ten_steps_from_a_repository_to_a_proven_release_and_back() {
    let host = require_host!("deploy", [Unit::Supervisor, Unit::Nginx, Unit::PhpFpm]);
    log_calls(&host);
    let shop = Shop::new(&host, "$realpath_root").steady();
    let first = shop.commit(&[]);

    // From nothing.
    let manifest = shop.manifest("r1", &first);
    let pass = manifest.reconcile();
    assert_eq!(pass.output.code, 0, "{pass}");
    shop.is_well_in("r1");
    let done = phases(&manifest);
    let made = |id: &str| ["fetch", "link", "build", "verify", "migrate", "switch"].map(|word| format!("{word} {id}"));
    let workers = |word: &str| ["00", "01"].map(|number| format!("{word} app-worker:app-worker_{number}"));
    let expected = [&made("r1")[..], &workers("start"), &["prove r1".to_owned()]].concat();
    assert_eq!(in_any_order(since(&done, 0)), expected, "{pass}");

    // What is shared was there, or came out of the first release, and is linked.
    let shared = |path: &str| host.read(&format!("{ROOT}/shared/{path}"));
    assert_eq!((shared(".env").trim(), shared("storage/kept").trim()), ("APP_ENV=testing", "first"));
    for path in [".env", "storage"] {
        assert_eq!(host.read_link(&format!("{ROOT}/releases/r1/{path}")).unwrap(), format!("../../shared/{path}"));
    }
    let owner = host.run(&["find", &format!("{ROOT}/releases"), &format!("{ROOT}/shared"), "!", "-user", "deploy"]);
    assert_eq!(owner.ok(), "", "all belongs to the owner of the root");

    // The next two, all ten steps, of which `auto` finds that php-fpm needs none.
    let mut commit = first;
    for (id, before, pruned) in [("r2", done.len(), None), ("r3", done.len() + 9, Some("r1"))] {
        commit = shop.commit(&[("change", id)]);
        let manifest = shop.manifest(id, &commit);
        let (old, served) = (shop.workers.pids(), shop.children());
        let pass = manifest.reconcile();
        assert_eq!(pass.output.code, 0, "{pass}");
        shop.is_well_in(id);
        let done = phases(&manifest);
        let rest = [vec![format!("prove {id}")], pruned.map(|id| format!("prune {id}")).into_iter().collect()].concat();
        let expected = [&made(id)[..], &workers("restart"), &rest].concat();
        assert_eq!(in_any_order(since(&done, before)), expected, "{pass}");
        assert!(shop.workers.pids().iter().all(|pid| !old.contains(pid)), "{old:?}");
        assert_eq!(shop.children(), served, "php-fpm served the new release without a reload");
        assert_eq!(manifest.seen().len(), 2);
        assert!(manifest.seen().iter().all(|worker| worker.starts_with(&format!("fresh {id}"))));
        for (action, took) in &done[before..] {
            println!("{took:>6} ms {action}");
        }
        println!("{:>6} ms the whole pass to {id}", pass.report["tookMs"]);
    }
    assert_eq!(shop.releases(), ["r2", "r3"]);
    assert_eq!(shop.migrations(), ["r1", "r2", "r3"]);

    // The second pass looks, and that is all.
    let manifest = shop.manifest("r3", &commit);
    let pids = shop.pids();
    let (before, asked) = (Listing::of(&host, &[ROOT]), calls(&host).len());
    manifest.reconcile().converged_by(&[]);
    let mut changes = before.changes(&Listing::of(&host, &[ROOT]));
    // The lock says who holds it, whatever there is to do.
    changes.retain(|line| !line.starts_with(&format!("{ROOT}/.trueup/lock ")));
    assert_eq!(changes, [""; 0]);
    assert_eq!(calls(&host)[asked..], ["supervisor.getAllProcessInfo"]);
    assert_eq!(shop.pids(), pids);
}

#[test]
fn the_release_before_comes_back_at_once_and_is_not_built_again() {
    let host = require_host!("back", [Unit::Supervisor, Unit::Nginx, Unit::PhpFpm]);
    let shop = Shop::new(&host, "$realpath_root").steady();
    let first = shop.first();
    let built = host.run(&["stat", "-c", "%i %y", &format!("{ROOT}/releases/r1/built")]).stdout;

    // A release that is well by its contract, and bad for its users.
    let second = shop.commit(&[("change", "bad")]);
    let pass = shop.manifest("r2", &second).reconcile();
    assert_eq!(pass.output.code, 0, "{pass}");
    let manifest = shop.manifest("r1", &first);
    let before = phases(&manifest).len();
    let pass = manifest.reconcile();
    assert_eq!(pass.output.code, 0, "{pass}");
    let workers = ["00", "01"].map(|number| format!("restart app-worker:app-worker_{number}"));
    let expected = [&["switch r1".to_owned()][..], &workers].concat();
    let done = phases(&manifest);
    assert_eq!(in_any_order(since(&done, before)), expected, "{pass}");
    shop.is_well_in("r1");
    assert_eq!(host.run(&["stat", "-c", "%i %y", &format!("{ROOT}/releases/r1/built")]).stdout, built);
    println!("back in {} ms", pass.report["tookMs"]);
    assert_eq!(shop.migrations(), ["r1", "r2"]);
}
