//! What is written for nginx and php-fpm, where health is asked, and what is said of it.

use std::collections::BTreeMap;

use super::testing::{contract, fpm_service, good_app, good_host, said, shop, spot, written};
use super::*;
use crate::model::facts::{Directive, Fpm, Nginx};
use crate::model::names::RelativePath;
use crate::model::process::Known;
use crate::model::service::OnRelease;

/// A block of nginx: its own words, and what is in it.
fn block(words: &str, inside: Vec<Directive>) -> Directive {
    Directive { words: words.split(' ').map(str::to_owned).collect(), at: spot(1), block: inside }
}

fn line(number: usize, words: &str) -> Directive {
    Directive { at: spot(number), ..block(words, vec![]) }
}

#[test]
fn scripts_are_named_as_nginx_s_blocks_inherit() {
    let root = || line(2, "root /srv/shop//current/public");
    let pass = || line(3, "fastcgi_pass unix:/run/fpm.sock");
    let script = |number, value: &str| line(number, &format!("fastcgi_param SCRIPT_FILENAME {value}"));
    let by_link = "$document_root$fastcgi_script_name";
    let real = "$realpath_root$fastcgi_script_name";
    let rows: Vec<(&str, Vec<Directive>, &[&str])> = vec![
        ("real", vec![root(), block("location /", vec![pass(), script(4, real)])], &[]),
        (
            "by link",
            vec![root(), block("location /", vec![pass(), script(4, by_link)])],
            &["error nginx.realpathRoot:4"],
        ),
        (
            "inherited",
            vec![root(), script(4, by_link), block("location /", vec![pass()])],
            &["error nginx.realpathRoot:4"],
        ),
        (
            "one of its own hides all above",
            vec![root(), script(4, by_link), block("location /", vec![pass(), script(5, real)])],
            &[],
        ),
        (
            "the last one counts",
            vec![root(), script(4, by_link), script(5, real), block("location /", vec![pass()])],
            &[],
        ),
        ("another root", vec![line(2, "root /srv/shop2/current"), script(4, by_link), pass()], &[]),
        (
            "without a root",
            vec![pass(), script(4, "/srv/shop/current/public/index.php")],
            &["error nginx.realpathRoot:4"],
        ),
        ("a variable", vec![root(), pass(), script(4, "$mine/index.php")], &["unknown nginx.realpathRoot:4"]),
        ("by its request", vec![root(), pass(), script(4, "$request_filename")], &["error nginx.realpathRoot:4"]),
        (
            "fixed",
            vec![line(2, "root /srv/shop/releases/r1/public"), pass(), script(4, by_link)],
            &["error nginx.root:2"],
        ),
        ("fixed script", vec![pass(), script(4, "/srv/shop/releases/r1/x.php")], &["error nginx.root:4"]),
        (
            "kept open",
            vec![line(7, "open_file_cache max=10"), root(), block("location /", vec![line(8, "open_file_cache off")])],
            &["warning nginx.openFileCache:7"],
        ),
        ("in an if", vec![root(), block("if ($x)", vec![pass(), script(4, by_link)])], &["error nginx.realpathRoot:4"]),
    ];
    for (name, server, expected) in rows {
        let directives = vec![block("http", vec![block("server", server)])];
        let mut host = good_host();
        host.nginx = Known::Known(Some(Nginx { file: "/etc/nginx/nginx.conf".into(), directives, unread: vec![] }));
        assert_eq!(said(&app(&shop(), &host, &good_app())), expected, "{name}");
    }
    let mut host = good_host();
    host.nginx = Known::Unknown("it took too long".to_owned());
    assert_eq!(said(&app(&shop(), &host, &good_app())), ["unknown nginx.realpathRoot"]);
}

/// nginx passes the shop's scripts to an upstream, by this path.
fn through_upstream(value: &str) -> Nginx {
    let server = vec![
        line(2, "root /srv/shop/current/public"),
        line(3, "fastcgi_pass php"),
        line(4, &format!("fastcgi_param SCRIPT_FILENAME {value}")),
    ];
    let upstream = block("upstream php", vec![line(5, "server unix:/run/shop.sock")]);
    let directives = vec![block("http", vec![upstream, block("server", server)])];
    Nginx { file: "/etc/nginx/nginx.conf".into(), directives, unread: vec![] }
}

#[test]
fn pools_of_php_fpm() {
    let global = "[global]\nprocess_control_timeout=10s\n";
    let pool = "[shop]\nuser=deploy\nlisten=/run/$pool.sock\n";
    let (real, by_link) = ("$realpath_root/index.php", "$document_root/index.php");
    let rows: Vec<(String, &str, &str, OnRelease, &[&str])> = vec![
        (format!("{global}{pool}"), "", real, OnRelease::Auto, &["note health.release"]),
        (format!("[global]\n{pool}"), "", real, OnRelease::Reload, &["warning php.controlTimeout:1"]),
        (
            format!("[global]\nprocess_control_timeout=0s\n{pool}"),
            "",
            real,
            OnRelease::Reload,
            &["warning php.controlTimeout:2"],
        ),
        (format!("[global]\n{pool}"), "", real, OnRelease::None, &[]),
        // Another pool is none of ours.
        (
            format!("{global}{pool}[www]\nuser=www-data\nlisten=/run/www.sock\nchdir=/srv/shop"),
            "",
            real,
            OnRelease::Reload,
            &[],
        ),
        (
            format!("{global}{}", pool.replace("deploy", "www-data")),
            "",
            real,
            OnRelease::Reload,
            &["warning php.user:4"],
        ),
        (format!("{global}{}", pool.replace("deploy", "web")), "", real, OnRelease::Reload, &[]),
        (format!("{global}{pool}chdir=/srv/shop/current"), "", real, OnRelease::Reload, &["warning php.chdir:6"]),
        (
            format!("{global}{pool}"),
            "[a]\nopcache.use_cwd=0",
            real,
            OnRelease::Reload,
            &["warning php.opcacheUseCwd:2"],
        ),
        (
            format!("{global}{pool}php_admin_value[opcache.use_cwd]=1"),
            "[a]\nopcache.use_cwd=0",
            real,
            OnRelease::Reload,
            &[],
        ),
        (format!("{global}{pool}"), "[a]\nopcache.enable=0\nopcache.use_cwd=0", real, OnRelease::Reload, &[]),
        (format!("{global}{pool}"), "[a]\nopcache.validate_timestamps=0", real, OnRelease::Reload, &[]),
        (
            format!("{global}{pool}"),
            "[a]\nopcache.validate_timestamps=0",
            by_link,
            OnRelease::Reload,
            &["warning nginx.realpathRoot:4", "warning php.opcacheTimestamps:2"],
        ),
        (
            format!("{global}{pool}"),
            "[a]\nopcache.validate_timestamps=0",
            by_link,
            OnRelease::None,
            &["error nginx.realpathRoot:4", "error php.opcacheTimestamps:2"],
        ),
        (
            format!("{global}{pool}"),
            "[a]\nopcache.preload=/srv/shop/current/preload.php",
            real,
            OnRelease::Reload,
            &["warning php.opcachePreload:2"],
        ),
    ];
    for (fpm, ini, script, on_release, expected) in rows {
        let groups =
            [("www-data", 33), ("web", 1000)].map(|(name, group)| (name.to_owned(), Known::Known(vec![group])));
        let mut host = good_host();
        host.nginx = Known::Known(Some(through_upstream(script)));
        host.fpm =
            Known::Known(vec![Fpm { configuration: written(&fpm), ini: Some(written(ini)), groups: groups.into() }]);
        let mut shop = shop();
        shop.release.shared.writable = vec![RelativePath::new("storage").unwrap()];
        shop.services = vec![fpm_service(on_release)];
        assert_eq!(said(&app(&shop, &host, &good_app())), expected, "{fpm}{ini} {script} {on_release:?}");
    }
}

#[test]
fn how_long_php_remembers_is_told() {
    let ini = Some(written("[a]\nrealpath_cache_ttl=600"));
    let configuration = written("[shop]\nuser=deploy\nlisten=/run/shop.sock");
    let mut host = good_host();
    host.nginx = Known::Known(Some(through_upstream("$document_root/index.php")));
    host.fpm = Known::Known(vec![Fpm { configuration, ini, groups: BTreeMap::new() }]);
    let found = app(&shop(), &host, &good_app());
    let why = found.iter().find_map(|one| one.why.clone().filter(|_| one.check == "nginx.realpathRoot"));
    assert!(why.as_ref().is_some_and(|why| why.contains("for 600 s")), "{why:?}");
    let mend = found.iter().find_map(|one| one.mend.clone());
    assert!(mend.unwrap().starts_with("fastcgi_param SCRIPT_FILENAME $realpath_root/index.php;\n"));
}

#[test]
fn where_health_is_asked() {
    let (own, other) = ("127.0.0.1".parse().unwrap(), "192.0.2.7".parse().unwrap());
    let rows: [(Option<Known<Vec<_>>>, &[&str]); 4] = [
        (None, &[]),
        (Some(Known::Known(vec![(own, true)])), &[]),
        (Some(Known::Known(vec![(own, true), (other, false)])), &["warning health.leavesHost"]),
        (Some(Known::Unknown("`x` does not resolve".to_owned())), &["warning health.leavesHost"]),
    ];
    for (addresses, expected) in rows {
        let facts = AppFacts { health: addresses.clone(), ..good_app() };
        assert_eq!(said(&app(&shop(), &good_host(), &facts)), expected, "{addresses:?}");
    }
    let mut shop = shop();
    shop.health = None;
    assert_eq!(said(&app(&shop, &good_host(), &good_app())), ["note health.contract"]);
    shop.health = Some(contract("http://localhost/", None, "body.release == release.id"));
    shop.services = vec![fpm_service(OnRelease::Auto)];
    assert_eq!(said(&app(&shop, &good_host(), &good_app())), Vec::<String>::new());
}
