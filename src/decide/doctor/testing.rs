//! A good host and a good App, for tables that spoil one thing at a time.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::*;
use crate::decide::testing::{app as wanted, group, supervisord as by_supervisord};
use crate::model::app::{ConnectTo, Manager, Supervisord};
use crate::model::facts::{Configuration, FileKind, HostUser, PathFacts, Section, Setting, Space, Unit};
use crate::model::finding::Spot;
use crate::model::health::{HealthContract, Probe, Rule};
use crate::model::names::{GroupName, Root};
use crate::model::process::Known;
use crate::model::service::{OnRelease, Service, ServiceManager};

pub(super) fn spot(line: usize) -> Spot {
    Spot { file: PathBuf::from("/etc/file"), line: u32::try_from(line).unwrap() }
}

/// `[heading]` and `key=value` lines.
pub(super) fn written(text: &str) -> Configuration {
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

pub(super) fn deploy() -> HostUser {
    HostUser { name: "deploy".to_owned(), uid: 1000, groups: vec![1000], group_names: vec!["deploy".to_owned()] }
}

pub(super) fn directory(uid: u32) -> PathFacts {
    PathFacts { kind: FileKind::Directory, device: 1, uid, gid: uid, mode: 0o755 }
}

/// A host without fault, run by root.
pub(super) fn good_host() -> HostFacts {
    let root = HostUser { name: "root".to_owned(), uid: 0, groups: vec![0], group_names: vec!["root".to_owned()] };
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
pub(super) fn good_app() -> AppFacts {
    let link = PathFacts { kind: FileKind::Link, ..directory(1000) };
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
pub(super) fn shop() -> App {
    let mut shop = wanted("r1", vec![group("default", 2, by_named_supervisord("shop-worker"))]);
    shop.root = Root::new("/srv/shop").unwrap();
    shop.health = Some(contract("http://localhost/", None, "status == 200"));
    shop
}

pub(super) fn by_named_supervisord(name: &str) -> Manager {
    match by_supervisord() {
        Manager::Supervisord(manager) => Manager::Supervisord(Supervisord { group: name.to_owned(), ..manager }),
        other => other,
    }
}

pub(super) fn contract(url: &str, connect_to: Option<ConnectTo>, rule: &str) -> HealthContract {
    HealthContract {
        watch: None,
        probe: Probe::Http { url: url.to_owned(), headers: BTreeMap::new(), connect_to, ca_file: None },
        timeout: Duration::from_secs(10),
        attempts: 1,
        interval: Duration::ZERO,
        expect: vec![Rule(rule.to_owned())],
    }
}

pub(super) fn fpm_service(on_release: OnRelease) -> Service {
    Service {
        name: GroupName::new("fpm").unwrap(),
        manager: ServiceManager::Systemd { unit: "php8.2-fpm.service".to_owned() },
        on_release,
        timeout: Duration::from_secs(30),
        restart_on: vec![],
    }
}

/// `severity check:line`, of all that is not fine.
pub(super) fn said(findings: &[Finding]) -> Vec<String> {
    let bad = findings.iter().filter(|one| one.severity != Severity::Ok);
    let line = |one: &Finding| one.at.as_ref().map(|at| format!(":{}", at.line)).unwrap_or_default();
    bad.map(|one| format!("{} {}{}", one.severity.word(), one.check, line(one))).collect()
}
