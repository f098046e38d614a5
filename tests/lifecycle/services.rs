//! php-fpm beside a release: reloaded when, and only when, it serves another one.

use crate::shop::{FPM, Shop, phases};
use crate::support::passes::Manifest;
use crate::support::{Unit, require_host};

/// Asks often enough, and at once, that every child of php-fpm has its turn; what was answered.
fn served(shop: &Shop<'_>) -> Vec<String> {
    let ask = "seq 60 | xargs -P 12 -I _ curl -s 'http://localhost/' | grep -o '\"release\":\"[^\"]*' | cut -d'\"' -f4 | sort -u";
    shop.host.sh(ask).ok().lines().map(str::to_owned).collect()
}

/// How often php-fpm was reloaded or restarted by trueup.
fn renewals(manifest: &Manifest<'_>) -> usize {
    phases(manifest).iter().filter(|(action, _)| action.ends_with(" php-fpm")).count()
}

#[test]
fn with_the_real_path_the_new_release_is_served_at_once_without_a_reload() {
    let host = require_host!("realpath", [Unit::Supervisor, Unit::Nginx, Unit::PhpFpm]);
    let shop = Shop::new(&host, "$realpath_root").steady();
    shop.first();
    assert_eq!(served(&shop), ["r1"]);
    let reloaded = || host.run(&["systemctl", "show", "--property=ExecReload", FPM]).ok().to_owned();
    let before = reloaded();
    let manifest = shop.manifest("r2", &shop.commit(&[("change", "r2")]));
    let pass = manifest.reconcile();
    assert_eq!((pass.output.code, served(&shop)), (0, vec!["r2".to_owned()]), "{pass}");
    assert_eq!((renewals(&manifest), reloaded()), (0, before), "{pass}");
    manifest.reconcile().converged_by(&[]);
}

#[test]
fn with_the_document_root_it_is_reloaded_once_and_nothing_old_is_answered_after_that() {
    let host = require_host!("docroot", [Unit::Supervisor, Unit::Nginx, Unit::PhpFpm]);
    let shop = Shop::new(&host, "$document_root").steady();
    shop.first();
    let mut commit = String::new();
    for (number, id) in [(1, "r2"), (2, "r3"), (3, "r4")] {
        assert_ne!(served(&shop), [id]);
        commit = shop.commit(&[("change", id)]);
        let manifest = shop.manifest(id, &commit);
        let pass = manifest.reconcile();
        assert_eq!((pass.output.code, served(&shop)), (0, vec![id.to_owned()]), "{pass}");
        assert_eq!(renewals(&manifest), number, "{pass}");
    }
    let manifest = shop.manifest("r4", &commit);
    let children = shop.children();
    for _ in 0..2 {
        manifest.reconcile().converged_by(&[]);
    }
    assert_eq!((renewals(&manifest), shop.children()), (3, children), "nothing changed");
    // An application that is ill does not make php-fpm old.
    shop.site.sicken(500);
    let pass = manifest.reconcile();
    assert_eq!((pass.output.code, pass.tried().len()), (3, 0), "{pass}");
}

#[test]
fn reload_means_once_for_each_switch_whoever_does_it() {
    let host = require_host!("byhand", [Unit::Supervisor, Unit::Nginx, Unit::PhpFpm]);
    let shop = Shop::new(&host, "$document_root").steady();
    let first = shop.commit(&[]);
    let wanted = |id: &str, commit: &str| shop.served(id, commit, "reload");
    assert_eq!(wanted("r1", &first).reconcile().output.code, 0);
    let second = shop.commit(&[("change", "r2")]);
    let manifest = wanted("r2", &second);
    let so_far = renewals(&manifest);
    assert_eq!((manifest.reconcile().output.code, renewals(&manifest)), (0, so_far + 1));
    manifest.reconcile().converged_by(&[]);
    assert_eq!(served(&shop), ["r2"]);

    // Somebody goes back by hand and reloads: only the workers are left to do.
    let restarts = ["restart app-worker:app-worker_00", "restart app-worker:app-worker_01"];
    shop.site.switch("r1");
    host.run(&["systemctl", "reload", FPM]).ok();
    wanted("r1", &first).reconcile().converged_by(&restarts);
    assert_eq!(renewals(&manifest), so_far + 1, "it was reloaded already");
    // The same without: it is ours to do.
    shop.site.switch("r2");
    let pass = wanted("r2", &second).reconcile();
    pass.converged_by(&[&restarts[..], &["reload php-fpm"]].concat());
    assert_eq!(served(&shop), ["r2"]);
}
