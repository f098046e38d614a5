//! A worker in the middle of a long job finishes it; nobody else waits for that.

use crate::shop::{SOON, Shop, status};
use crate::support::{Unit, require_host};

#[test]
fn a_long_job_is_finished_while_the_other_worker_is_fresh_already() {
    let host = require_host!("job", [Unit::Supervisor, Unit::Nginx, Unit::PhpFpm]);
    let shop = Shop::new(&host, "$realpath_root");
    shop.first();
    let keys = "manager: {supervisord: {group: app-worker}}, stopTimeout: 10m, rollout: {minHealthy: 0s}";
    let manifest = shop.manifest("r2", &shop.commit(&[("change", "r2")])).without_workers();
    let manifest = manifest.workers("app-worker", 2, keys);
    let path = manifest.write();

    let long = std::env::var_os("TRUEUP_TESTS_LONG").is_some();
    let busy = shop.site.give_job(if long { 40.0 } else { 600.0 });
    let mut pass = host.spawn(&["trueup", "reconcile", &path]);
    let members = || status(&manifest)["workers"][0]["members"].as_array().unwrap().clone();
    host.wait_until("the idle worker to be fresh", SOON, || {
        members().iter().any(|member| member["verdict"] == "fresh" && member["state"] == "running")
    });
    // The job goes on, in the old release, and the status says who has it.
    assert!(pass.is_running() && host.is_alive(busy));
    let drains = members().into_iter().find(|member| member["process"]["pid"] == busy).unwrap();
    assert_eq!((&drains["verdict"], &drains["draining"]), (&"stale".into(), &true.into()), "{drains:#}");
    let text = host.run(&["trueup", "status", &path]);
    let name = drains["member"].as_str().unwrap();
    assert!(text.stdout.lines().any(|line| line.contains(name) && line.contains("finishing")), "{text}");

    // Otherwise it lasts longer than supervisord itself would wait for a worker.
    if !long {
        shop.site.end_job(busy);
    }
    let output = pass.wait(SOON * 2);
    assert_eq!(output.code, 0, "{output}");
    let events = shop.site.events();
    let of_busy: Vec<&str> = events.iter().filter(|one| one.pid == busy).map(|one| one.event.as_str()).collect();
    assert_eq!(of_busy, ["started", "job-begun", "job-done", "stopped"]);
    shop.is_well_in("r2");
}
