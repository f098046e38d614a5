//! Each trap as a row: what is written, and what is said of it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::*;
use crate::decide::testing::{app as wanted, builtin, group, supervisord as by_supervisord, systemd as by_systemd};
use crate::model::app::{ConnectTo, RestartOn, Supervisord};
use crate::model::facts::{
    Configuration, Directive, Door, FileKind, Fpm, Nginx, Person, Right, Section, Setting, Space, Standing, Unit,
};
use crate::model::finding::Spot;
use crate::model::health::{HealthContract, Probe, Rule};
use crate::model::names::{GroupName, RelativePath};
use crate::model::process::Known;
use crate::model::service::{OnRelease, Service, ServiceManager};

fn spot(line: usize) -> Spot {
    Spot { file: PathBuf::from("/etc/file"), line: u32::try_from(line).unwrap() }
}

/// `[heading]` and `key=value` lines.
fn written(text: &str) -> Configuration {
    let mut sections: Vec<Section> = Vec::new();
    for (text, line) in text.lines().zip(1..) {
        match (text.strip_prefix('['), text.split_once('=')) {
            (Some(name), _) => {
                sections.push(Section {
                    name: name.trim_end_matches(']').to_owned(),
                    at: spot(line),
                    settings: vec![],
                });
            }
            (None, Some((key, value))) => sections.last_mut().unwrap().settings.push(Setting {
                key: key.to_owned(),
                value: value.to_owned(),
                at: spot(line),
            }),
            (None, None) => {}
        }
    }
    Configuration { file: PathBuf::from("/etc/php/8.2/fpm/file"), sections, unread: vec![] }
}

fn deploy() -> Person {
    Person { name: "deploy".to_owned(), uid: 1000, groups: vec![1000], group_names: vec!["deploy".to_owned()] }
}

fn directory(uid: u32) -> Standing {
    Standing { kind: FileKind::Directory, device: 1, uid, gid: uid, mode: 0o755 }
}

/// A host without fault, run by root.
fn good_host() -> HostFacts {
    let root = Person { name: "root".to_owned(), uid: 0, groups: vec![0], group_names: vec!["root".to_owned()] };
    let unit = "[Service]\nExecStart=/usr/local/bin/trueup reconcile\nKillMode=process";
    HostFacts {
        user: root,
        supervisord: vec![written(
            "[program:shop-worker]\ncommand=php /srv/shop/current/artisan queue:work --timeout=20\nnumprocs=2\n\
             directory=/srv/shop/current\nautorestart=true\nstopwaitsecs=30\nuser=deploy",
        )],
        nginx: Known::Known(None),
        fpm: Known::Known(vec![]),
        trueup_units: Known::Known(vec![Unit { name: "trueup.service".to_owned(), configuration: written(unit) }]),
        default_stop_timeout: None,
        inotify_watches: Known::Known(100_000),
        inotify_instances: Known::Known(128),
        clock_synchronised: Known::Known(true),
        hidden_processes: Known::Known(false),
    }
}

/// The same for an App at `/srv/shop`.
fn good_app() -> AppFacts {
    let link = Standing { kind: FileKind::Link, ..directory(1000) };
    let inside = [("current", link), ("releases", directory(1000)), ("shared", directory(1000))];
    let space = Space {
        bytes: 100 << 30,
        free_bytes: 50 << 30,
        inodes: 1_000_000,
        free_inodes: 900_000,
        read_only: false,
        no_exec: false,
    };
    AppFacts {
        user: Known::Known(deploy()),
        root: Known::Known(Some(directory(1000))),
        inside: inside.map(|(path, standing)| (path.to_owned(), Known::Known(Some(standing)))).into(),
        current: Some(PathBuf::from("releases/r1")),
        serving: Some(directory(1000)),
        release_sizes: vec![Some(100 << 20), None],
        space: Known::Known(space),
        health: None,
        units: BTreeMap::new(),
        rights: vec![],
        programs: vec![],
    }
}

/// An App with health, and one group that supervisord runs.
fn shop() -> App {
    let mut shop = wanted("r1", vec![group("default", 2, by_named_supervisord("shop-worker"))]);
    shop.root = crate::model::names::Root::new("/srv/shop").unwrap();
    shop.health = Some(contract("http://localhost/", None, "status == 200"));
    shop
}

fn by_named_supervisord(name: &str) -> crate::model::app::Manager {
    match by_supervisord() {
        crate::model::app::Manager::Supervisord(manager) => {
            crate::model::app::Manager::Supervisord(Supervisord { group: name.to_owned(), ..manager })
        }
        other => other,
    }
}

fn contract(url: &str, connect_to: Option<ConnectTo>, rule: &str) -> HealthContract {
    HealthContract {
        probe: Probe::Http { url: url.to_owned(), headers: BTreeMap::new(), connect_to, ca_file: None },
        timeout: Duration::from_secs(10),
        attempts: 1,
        interval: Duration::ZERO,
        expect: vec![Rule(rule.to_owned())],
    }
}

fn fpm_service(on_release: OnRelease) -> Service {
    Service {
        name: GroupName::new("fpm").unwrap(),
        manager: ServiceManager::Systemd { unit: "php8.2-fpm.service".to_owned() },
        on_release,
        timeout: Duration::from_secs(30),
        restart_on: vec![],
    }
}

/// `severity check:line`, of all that is not fine.
fn said(findings: &[Finding]) -> Vec<String> {
    let bad = findings.iter().filter(|one| one.severity != Severity::Ok);
    let line = |one: &Finding| one.at.as_ref().map(|at| format!(":{}", at.line)).unwrap_or_default();
    bad.map(|one| format!("{} {}{}", one.severity.word(), one.check, line(one))).collect()
}

#[test]
fn a_good_host_has_nothing_wrong() {
    let (shop, host, facts) = (shop(), good_host(), good_app());
    assert_eq!(said(&app(&shop, &host, &facts)), Vec::<String>::new());
    assert_eq!(said(&super::host(&host, &[&shop])), Vec::<String>::new());
}

#[test]
fn programs_of_supervisord() {
    let good = "[program:shop-worker]\ncommand=php /srv/shop/current/artisan queue:work --timeout=20\nnumprocs=2\n\
                directory=/srv/shop/current\nautorestart=true\nstopwaitsecs=30\nuser=deploy";
    let without = |key: &str| good.lines().filter(|line| !line.starts_with(key)).collect::<Vec<_>>().join("\n");
    let with = |key: &str, value: &str| without(key) + &format!("\n{key}={value}");
    let rows: Vec<(String, &[&str])> = vec![
        (good.to_owned(), &[]),
        (without("directory"), &["warning supervisord.directory:1"]),
        (with("directory", ""), &["warning supervisord.directory:1"]),
        (with("directory", "/srv/shop"), &["warning supervisord.directory:7"]),
        (with("directory", "/srv/shop/releases/r1"), &["error supervisord.directory:7"]),
        (with("command", "php /srv/shop/releases/r1/artisan"), &["error supervisord.directory:7"]),
        (without("autorestart"), &["warning supervisord.autorestart:1"]),
        (with("autorestart", "unexpected"), &["warning supervisord.autorestart:7"]),
        (with("autorestart", "False"), &["warning supervisord.autorestart:7"]),
        (without("stopwaitsecs"), &["warning supervisord.stopwaitsecs:1"]),
        (with("stopwaitsecs", "29"), &["warning supervisord.stopwaitsecs:7"]),
        (with("stopwaitsecs", "%(ENV_X)s"), &["unknown supervisord.stopwaitsecs"]),
        (
            with("command", "php /srv/shop/current/artisan queue:work"),
            &["warning supervisord.stopwaitsecs:5", "warning workers.stopTimeout:7"],
        ),
        (without("numprocs"), &["error supervisord.numprocs:1"]),
        (with("numprocs", "3"), &["note supervisord.numprocs:7"]),
        (without("user"), &["warning supervisord.user:1"]),
        (with("user", "1000"), &[]),
        (without("user") + "\n[supervisord]\nuser=deploy", &[]),
        (with("autostart", "false"), &["note supervisord.autostart:8"]),
        (with("stopsignal", "KILL"), &["warning supervisord.stopsignal:8"]),
        (with("command", "sh /srv/shop/current/run"), &["warning supervisord.wrapper:7"]),
        (with("command", "sh /srv/shop/current/run") + "\nstopasgroup=true", &[]),
        ("[program:other]".to_owned(), &["error supervisord.program"]),
        (good.replace("program:shop-worker", "program:a") + "\n[group:shop-worker]\nprograms=b, a", &[]),
    ];
    for (text, expected) in rows {
        let mut host = good_host();
        host.supervisord = vec![written("[program:else]"), written(&text)];
        assert_eq!(said(&app(&shop(), &host, &good_app())), expected, "{text}");
    }
    let mut host = good_host();
    host.supervisord = vec![];
    assert_eq!(said(&app(&shop(), &host, &good_app())), ["unknown supervisord.program"]);
    host.supervisord = vec![Configuration { unread: vec!["`x`: Permission denied".to_owned()], ..written("[a]") }];
    assert_eq!(said(&app(&shop(), &host, &good_app())), ["unknown supervisord.program"]);
}

#[test]
fn template_units() {
    let good = "[Service]\nExecStart=/usr/bin/php /srv/shop/current/artisan queue:work --timeout=20\nUser=deploy\n\
                WorkingDirectory=/srv/shop/current\nRestart=always\n[Install]\nWantedBy=multi-user.target";
    let with = |key: &str, value: &str| {
        let kept: Vec<&str> = good.lines().filter(|line| !line.starts_with(key)).collect();
        kept.join("\n") + &format!("\n[Service]\n{key}={value}")
    };
    let rows: Vec<(String, &[&str])> = vec![
        (good.to_owned(), &[]),
        (with("Restart", "no"), &["warning systemd.restart:8"]),
        (with("Restart", "on-failure"), &["warning systemd.restart:8"]),
        (with("TimeoutStopSec", "29"), &["warning systemd.timeoutStopSec:9"]),
        (with("TimeoutStopSec", "30s"), &[]),
        (with("TimeoutSec", "infinity"), &[]),
        (with("TimeoutStopSec", "soon"), &["unknown systemd.timeoutStopSec:9"]),
        (with("WorkingDirectory", "/srv/shop/releases/r1"), &["error systemd.directory:8"]),
        (with("WorkingDirectory", "/"), &["warning systemd.directory:8"]),
        (with("User", "www-data"), &["warning systemd.user:8"]),
        (with("KillMode", "process"), &["warning systemd.killMode:9"]),
        (good.replace("[Install]\nWantedBy=multi-user.target", ""), &["warning systemd.install:1"]),
        (
            with("ExecStart", "/usr/bin/php /srv/shop/current/artisan queue:work --timeout=100"),
            &["warning systemd.timeoutStopSec:1", "warning workers.stopTimeout:8"],
        ),
    ];
    let mut shop = shop();
    shop.workers = vec![group("default", 2, by_systemd())];
    for (text, expected) in rows {
        let unit = Unit { name: "w@.service".to_owned(), configuration: written(&text) };
        let mut facts = good_app();
        facts.units.insert(GroupName::new("default").unwrap(), Known::Known(Some(unit)));
        assert_eq!(said(&app(&shop, &good_host(), &facts)), expected, "{text}");
    }
    let mut facts = good_app();
    facts.units.insert(GroupName::new("default").unwrap(), Known::Known(None));
    assert_eq!(said(&app(&shop, &good_host(), &facts)), ["error systemd.unit"]);
    // A time that holds for all units is too short for this one.
    let unit = Unit { name: "w@.service".to_owned(), configuration: written(good) };
    facts.units.insert(GroupName::new("default").unwrap(), Known::Known(Some(unit)));
    let mut host = good_host();
    host.default_stop_timeout = written("[Manager]\nDefaultTimeoutStopSec=10").sections[0].settings.pop();
    assert_eq!(said(&app(&shop, &host, &facts)), ["warning systemd.timeoutStopSec:2"]);
}

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
    let rows: Vec<(Option<Known<Vec<_>>>, &[&str])> = vec![
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

#[test]
fn the_root_and_what_is_in_it() {
    let seen = |path: &str, standing: Option<Standing>| {
        let mut facts = good_app();
        facts.inside.insert(path.to_owned(), Known::Known(standing));
        facts
    };
    let open = Standing { mode: 0o777, ..directory(1000) };
    let rows: Vec<(&str, AppFacts, &[&str])> = vec![
        ("real directory", seen("current", Some(directory(1000))), &["error layout.current"]),
        ("no link", seen("current", None), &[]),
        ("dangling", AppFacts { serving: None, ..good_app() }, &["warning layout.current"]),
        ("outside", AppFacts { current: Some("/opt/x".into()), ..good_app() }, &["note layout.current"]),
        ("absolute", AppFacts { current: Some("/srv/shop/releases/r1".into()), ..good_app() }, &[]),
        ("elsewhere", seen("shared", Some(Standing { device: 2, ..directory(1000) })), &["warning layout.fileSystem"]),
        ("open releases", seen("releases", Some(open)), &["warning layout.openToAll"]),
        ("sticky", seen("releases", Some(Standing { mode: 0o1777, ..open })), &[]),
        ("of root", AppFacts { serving: Some(directory(0)), ..good_app() }, &["warning layout.owner"]),
        ("shared of root", seen("shared/storage", Some(directory(0))), &["warning layout.owner"]),
        ("absent", AppFacts { root: Known::Known(None), ..good_app() }, &["note layout.root"]),
        ("closed", AppFacts { root: Known::Unknown("EACCES".to_owned()), ..good_app() }, &["unknown layout.root"]),
        ("nobody", AppFacts { user: Known::Unknown("there is no user `x`".to_owned()), ..good_app() }, &["error user"]),
    ];
    for (name, facts, expected) in rows {
        assert_eq!(said(&app(&shop(), &good_host(), &facts)), expected, "{name}");
    }
    for (person, mode, expected) in [
        (deploy(), 0o755, vec![]),
        (Person { uid: 7, groups: vec![7], ..deploy() }, 0o755, vec!["error layout.writable"]),
        (Person { uid: 7, groups: vec![1000], ..deploy() }, 0o775, vec![]),
        (Person { uid: 7, groups: vec![1000], ..deploy() }, 0o755, vec!["error layout.writable"]),
    ] {
        let host = HostFacts { user: person, ..good_host() };
        let facts = AppFacts { root: Known::Known(Some(Standing { mode, ..directory(1000) })), ..good_app() };
        assert_eq!(said(&app(&shop(), &host, &facts)), expected, "{:?} {mode:o}", host.user);
    }
}

#[test]
fn room_for_the_next_releases() {
    let (mib, gib) = (1 << 20, 1 << 30);
    // Free bytes, free inodes, sizes of the releases that are there.
    let rows: Vec<(u64, u64, Vec<Option<u64>>, &[&str])> = vec![
        (50 * gib, 900_000, vec![], &[]),
        (10 * mib, 900_000, vec![], &["error disk.space"]),
        (gib, 900_000, vec![Some(2 * gib)], &["error disk.space"]),
        // Six more are to come with `keep: 5`.
        (8 * gib, 900_000, vec![Some(gib), Some(2 * gib)], &["warning disk.space"]),
        (11 * gib, 900_000, vec![Some(2 * gib), Some(gib)], &[]),
        (3 * gib, 900_000, vec![Some(2 * gib); 9], &["warning disk.space"]),
        (2 * gib, 900_000, vec![], &["warning disk.space"]),
        (50 * gib, 1_000, vec![], &["warning disk.inodes"]),
    ];
    for (free_bytes, free_inodes, release_sizes, expected) in rows {
        let Known::Known(space) = good_app().space else { unreachable!() };
        let space = Known::Known(Space { free_bytes, free_inodes, ..space });
        let facts = AppFacts { space, release_sizes, ..good_app() };
        assert_eq!(
            said(&app(&shop(), &good_host(), &facts)),
            expected,
            "{free_bytes} {free_inodes} {:?}",
            facts.release_sizes
        );
    }
    let Known::Known(space) = good_app().space else { unreachable!() };
    // Some file systems count no inodes.
    let odd = Space { inodes: 0, free_inodes: 0, read_only: true, no_exec: true, ..space };
    let facts = AppFacts { space: Known::Known(odd), ..good_app() };
    assert_eq!(said(&app(&shop(), &good_host(), &facts)), ["error disk.mount", "warning disk.mount"]);
}

#[test]
fn the_ways_to_managers() {
    let sudo = |refused: &[&str], password| Door::Sudo {
        needed: 9,
        refused: refused.iter().map(|&one| one.to_owned()).collect(),
        password,
    };
    let rows: Vec<(Door, &[&str])> = vec![
        (Door::Own, &[]),
        (Door::Socket("/run/s.sock".into()), &[]),
        (Door::Shut("no".to_owned(), None), &["error rights"]),
        (Door::Unknown("no sudo".to_owned()), &["unknown rights"]),
        (sudo(&[], false), &[]),
        (sudo(&[], true), &["error rights"]),
        (sudo(&["/usr/bin/supervisorctl status"], false), &["error rights"]),
    ];
    for (door, expected) in rows {
        let facts = AppFacts { rights: vec![Right { what: "x".to_owned(), door: door.clone() }], ..good_app() };
        assert_eq!(said(&app(&shop(), &good_host(), &facts)), expected, "{door:?}");
    }
}

#[test]
fn units_that_run_trueup() {
    let mut own = shop();
    own.workers = vec![group("own", 1, builtin())];
    let rows: Vec<(&str, Vec<&App>, &[&str])> = vec![
        ("[Service]\nKillMode=mixed", vec![&own], &["error trueup.killMode:2"]),
        ("[Service]\nKillMode=process", vec![&own], &[]),
        ("[Service]\nPrivateDevices=yes", vec![], &[]),
        ("[Service]\nProtectProc=ptraceable", vec![], &["error trueup.sight:2"]),
        ("[Service]\nProtectProc=default\nProcSubset=all", vec![], &[]),
        ("[Service]\nNice=5", vec![&own], &["error trueup.killMode:1"]),
    ];
    for (text, apps, expected) in rows {
        let unit = Unit { name: "trueup.service".to_owned(), configuration: written(text) };
        let facts = HostFacts { trueup_units: Known::Known(vec![unit]), ..good_host() };
        assert_eq!(said(&host(&facts, &apps)), expected, "{text}");
    }
    let shop = shop();
    let rows: [(&str, &[&str]); 7] = [
        ("User=deploy\nSystemCallFilter=@system-service", &["error trueup.noNewPrivileges:3"]),
        ("User=deploy\nNoNewPrivileges=no", &[]),
        ("NoNewPrivileges=yes", &[]),
        ("ProtectSystem=strict", &["error trueup.writing:2"]),
        ("ProtectSystem=strict\nReadWritePaths=/srv -/opt", &[]),
        ("ProtectSystem=full", &[]),
        ("ProtectHome=yes", &[]),
    ];
    for (text, expected) in rows {
        let unit = Unit { name: "t".to_owned(), configuration: written(&format!("[Service]\n{text}")) };
        let facts = HostFacts { trueup_units: Known::Known(vec![unit]), ..good_host() };
        assert_eq!(said(&host(&facts, &[&shop])), expected, "{text}");
    }
}

#[test]
fn the_machine_itself() {
    let rows: Vec<(HostFacts, &[&str])> = vec![
        (HostFacts { clock_synchronised: Known::Known(false), ..good_host() }, &["note host.clock"]),
        (HostFacts { inotify_watches: Known::Known(100), ..good_host() }, &["warning host.inotifyWatches"]),
        (
            HostFacts { inotify_instances: Known::Unknown("x".to_owned()), ..good_host() },
            &["unknown host.inotifyInstances"],
        ),
        (HostFacts { hidden_processes: Known::Known(true), ..good_host() }, &["warning host.hiddenProcesses"]),
        (HostFacts { trueup_units: Known::Known(vec![]), ..good_host() }, &["note trueup.unit"]),
    ];
    for (facts, expected) in rows {
        assert_eq!(said(&host(&facts, &[])), expected);
    }
}

#[test]
fn a_shared_env_is_to_be_noticed() {
    let mut shop = shop();
    shop.release.shared.files = vec![RelativePath::new(".env").unwrap()];
    assert_eq!(said(&app(&shop, &good_host(), &good_app())), ["note workers.restartOn"]);
    shop.workers[0].restart_on = vec![RestartOn { path: RelativePath::new("shared/.env").unwrap(), run: None }];
    assert_eq!(said(&app(&shop, &good_host(), &good_app())), Vec::<String>::new());
}

#[test]
fn the_worst_finding_is_first_and_is_the_exit_code() {
    let of = |severity| Finding::new("x", severity, "");
    use Severity::{Error, Note, Ok, Unknown, Warning};
    let rows: [(&[Severity], u8); 6] = [
        (&[], 0),
        (&[Ok, Note], 0),
        (&[Note, Unknown], 2),
        (&[Warning, Ok], 2),
        (&[Ok, Error, Warning], 3),
        (&[Error], 3),
    ];
    for (severities, code) in rows {
        let findings: Vec<Finding> = severities.iter().map(|&one| of(one)).collect();
        assert_eq!(exit_code(&findings), code, "{severities:?}");
        let sorted: Vec<Severity> = worst_first(findings).iter().map(|one| one.severity).collect();
        assert!(sorted.is_sorted_by(|a, b| a >= b), "{sorted:?}");
    }
}
