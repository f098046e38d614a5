//! What is written for those who run the workers, and what is said of it.

use super::testing::{good_app, good_host, said, shop, written};
use super::*;
use crate::decide::testing::{group, systemd as by_systemd};
use crate::model::facts::{Configuration, Unit};
use crate::model::names::GroupName;
use crate::model::process::Known;

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
            &["warning supervisord.stopwaitsecs:5", "warning workers.stopTimeout"],
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
fn what_is_to_be_mended_in_the_manifest_is_no_place_in_a_configuration() {
    let rows = [("", 60, "Laravel's default: it has no `--timeout`"), (" --timeout=100", 100, "its `--timeout`")];
    for (option, job, by) in rows {
        let text = format!(
            "[program:shop-worker]\ncommand=php /srv/shop/current/artisan queue:work{option}\nstopwaitsecs=900"
        );
        let mut host = good_host();
        host.supervisord = vec![written(&text)];
        let found = app(&shop(), &host, &good_app());
        let one = found.iter().find(|one| one.check == "workers.stopTimeout").unwrap();
        assert_eq!(one.at, None);
        let said = format!("a job may take {job} s ({by}), by its command at ");
        assert!(one.found.contains(&said) && one.found.ends_with(":2; `stopTimeout` is 30 s"), "{}", one.found);
        let mend = format!("# in the manifest, at `default` of spec.workers:\nstopTimeout: {job}s");
        assert_eq!(one.mend.as_deref(), Some(mend.as_str()));
    }
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
            &["warning systemd.timeoutStopSec:1", "warning workers.stopTimeout"],
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
