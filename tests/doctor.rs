//! The doctor on throwaway hosts: nothing to say of a good one, each trap of a bad one with its place, and nothing is
//! touched on either.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a helper that fails should fail its test on the spot")]

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use support::fixtures::{Program, Site, configure};
use support::manifest::footprint;
use support::{Host, Unit, require_host};

const YUJIX: &str = include_str!("../manifests/yujix.yaml");
const MANIFEST: &str = "/etc/trueup/manifests/app.yaml";
const FPM: &str = "/etc/php/8.2/fpm";
const SOON: Duration = Duration::from_secs(30);

/// What the doctor says, without what depends on the machine that the test runs on.
struct Said {
    code: i32,
    /// `check@file:line` of everything from this severity on, with what was found.
    found: BTreeMap<String, String>,
    report: Value,
}

impl Said {
    fn by(host: &Host, user: &str) -> Self {
        let output = host.run_as(user, &["trueup", "doctor", "--format", "json", MANIFEST]);
        let report: Value = serde_json::from_str(&output.stdout).unwrap_or_else(|_| panic!("{output}"));
        assert_eq!(report["kind"], "DoctorReport", "{output}");
        let mut found = BTreeMap::new();
        for one in Self::all(&report) {
            let (check, severity) = (one["check"].as_str().unwrap(), one["severity"].as_str().unwrap());
            let of_the_machine = ["host.", "disk."].iter().any(|part| check.starts_with(part));
            if of_the_machine || matches!(severity, "ok" | "note") {
                continue;
            }
            let at = &one["at"];
            let at = at["file"].as_str().map(|file| format!("@{file}:{}", at["line"])).unwrap_or_default();
            let text = format!("{severity}: {}", one["found"].as_str().unwrap());
            assert!(severity == "unknown" || one["why"].is_string(), "{one}");
            assert!(one["mend"].is_string(), "{one}");
            let known = found.entry(format!("{check}{at}")).or_insert_with(String::new);
            known.push_str(&text);
            known.push('\n');
        }
        Self { code: output.code, found, report }
    }

    fn all(report: &Value) -> impl Iterator<Item = &Value> {
        let of_apps = report["items"].as_array().unwrap().iter().flat_map(|item| item["findings"].as_array().unwrap());
        of_apps.chain(report["host"].as_array().unwrap())
    }

    /// How often a check found nothing wrong.
    fn fine(&self, check: &str) -> usize {
        Self::all(&self.report).filter(|one| one["check"] == check && one["severity"] == "ok").count()
    }
}

/// nginx, php-fpm and supervisord as `manifests/yujix.yaml` wants them, and all that it names.
fn yujix(host: &Host) -> Site<'_> {
    host.sh("mkdir -p /var/www/yujix && mount -t tmpfs -o mode=755 tmpfs /var/www/yujix").ok();
    let site = Site::new(host, "/var/www/yujix").owner("deploy").release("20260111-150000").current("20260111-150000");
    host.run(&["usermod", "-aG", "deploy", "www-data"]).ok();
    for program in ["composer", "npm"] {
        let path = format!("/usr/local/bin/{program}");
        host.write(&path, "#!/bin/sh\n");
        host.run(&["chmod", "755", &path]).ok();
    }
    host.write(&format!("{FPM}/pool.d/z-global.conf"), "[global]\nprocess_control_timeout = 10s\n");
    configure(host, &site, "$realpath_root");
    let program = Program::php("yujix-worker", &site).numprocs(2).user("deploy").directory("/var/www/yujix/current");
    program.set("stopwaitsecs", "90").start();
    host.write(MANIFEST, YUJIX);
    host.write(
        "/etc/systemd/system/trueup.service",
        "[Service]\nType=oneshot\nExecStart=/usr/local/bin/trueup reconcile /etc/trueup/manifests\nKillMode=process\n",
    );
    site
}

#[test]
fn a_good_host_has_no_traps_and_is_left_as_it_is() {
    let host = require_host!("doctor-good", [Unit::Supervisor, Unit::Nginx, Unit::PhpFpm]);
    let site = yujix(&host);
    // Anybody may call a process what he likes, and name any file: this one would be read before the right one.
    host.write("/tmp/supervisord", "import time\nprint('up', flush=True)\ntime.sleep(600)\n");
    host.write("/dev/shm/s.conf", "[program:yujix-worker]\ncommand=true\nautorestart=false\n");
    let somebody = host.spawn_as("nobody", &["python3", "/tmp/supervisord", "-c", "/dev/shm/s.conf"]);
    host.wait_until("somebody's supervisord", SOON, || !somebody.stdout().is_empty());
    let etc = |host: &Host| footprint(host, "/etc");
    let (before, configured) = (footprint(&host, site.root()), etc(&host));
    let said = Said::by(&host, "root");
    assert_eq!(said.found, BTreeMap::new());
    for (check, times) in [
        ("nginx.realpathRoot", 1),
        ("php.controlTimeout", 1),
        ("php.user", 1),
        ("php.opcache", 1),
        ("supervisord.directory", 1),
        ("supervisord.autorestart", 1),
        ("supervisord.stopwaitsecs", 1),
        ("supervisord.numprocs", 1),
        ("supervisord.user", 1),
        ("workers.stopTimeout", 1),
        ("health.leavesHost", 1),
        ("health.release", 1),
        ("layout.current", 1),
        ("layout.owner", 1),
        ("systemd.unit", 1),
        ("rights", 2),
        ("programs", 4),
        ("trueup.unit", 1),
    ] {
        assert_eq!(said.fine(check), times, "{check}: {:#}", said.report);
    }
    // A fresh installation of the machine that runs this may well be short of space.
    assert!(said.code == 0 || Said::all(&said.report).any(|one| one["severity"] != "ok"), "{:#}", said.report);
    let text = host.run(&["trueup", "doctor", "--color", "never", MANIFEST]);
    assert!(text.stdout.starts_with("yujix  /var/www/yujix  "), "{text}");
    assert_eq!((footprint(&host, site.root()), etc(&host)), (before, configured), "it touched something");
}

#[test]
fn an_ordinary_user_is_told_which_rules_are_missing_and_loses_nothing_else() {
    let host = require_host!("doctor-user", [Unit::Supervisor, Unit::Nginx, Unit::PhpFpm]);
    yujix(&host);
    let said = Said::by(&host, "deploy");
    assert_eq!(said.code, 3, "{:#}", said.report);
    let checks: Vec<&str> = said.found.keys().map(String::as_str).collect();
    assert_eq!(checks, ["rights"], "{:#?}", said.found);
    let rights = &said.found["rights"];
    assert_eq!(rights.lines().count(), 2, "supervisord and php-fpm: {rights}");
    assert!(rights.contains("service `php-fpm`: sudo does not allow 3 of 3 commands"), "{rights}");
    let mends: Vec<&str> = Said::all(&said.report).filter_map(|one| one["mend"].as_str()).collect();
    assert!(
        mends.iter().any(|mend| mend.contains("NOPASSWD: /usr/bin/systemctl reload php8.2-fpm.service")),
        "{mends:?}"
    );

    let rules = host.run(&["trueup", "sudoers", MANIFEST]);
    rules.ok();
    let sudoers = "/etc/sudoers.d/trueup";
    host.write(sudoers, &(rules.stdout.clone() + "deploy ALL=(ALL:ALL) ALL\n"));
    host.run(&["chmod", "440", sudoers]).ok();
    let said = Said::by(&host, "deploy");
    assert!(
        said.found["rights"].contains("service `php-fpm`: sudo allows the commands, and asks"),
        "{:#?}",
        said.found
    );

    host.write(sudoers, &rules.stdout);
    let said = Said::by(&host, "deploy");
    assert_eq!(said.found, BTreeMap::new(), "{:#}", said.report);
    assert_eq!(said.fine("rights"), 2);

    // One that is no longer allowed is named.
    let fewer: Vec<&str> = rules.stdout.lines().filter(|line| !line.contains("start yujix")).collect();
    host.write(sudoers, &(fewer.join("\n") + "\n"));
    let said = Said::by(&host, "deploy");
    assert!(said.found["rights"].contains("workers `default`: sudo does not allow 2 of"), "{:#?}", said.found);
}

/// A host with everything wrong that can be wrong at once.
fn ruin(host: &Host) {
    host.sh("mkdir -p /srv/app/shared /srv/app/releases && mount -t tmpfs -o mode=755 tmpfs /srv/app/shared").ok();
    let site = Site::new(host, "/srv/app").release("r1");
    host.add_user("deploy");
    host.sh("mkdir -p /srv/app/current/public && chmod o+w /srv/app/releases").ok();
    configure(host, &site, "$document_root");
    host.sh("sed -i 's/root .*;/&\\nopen_file_cache max=100;/' /etc/nginx/sites-enabled/site-80").ok();
    host.write(
        "/etc/supervisor/conf.d/app.conf",
        "; workers\n[program:app-worker]\ncommand=php /srv/app/current/artisan queue:work \
            --timeout=120\nautostart=false\n\
         stopwaitsecs=5\n\n[program:app-mail]\ncommand=sh -c 'php /srv/app/releases/r1/artisan queue:work; true'\n\
         autostart=false\nautorestart=false\nuser=deploy\nstopwaitsecs=600\n",
    );
    host.run(&["supervisorctl", "update"]).ok();
    host.write(&format!("{FPM}/conf.d/99-bad.ini"), "; bad\nopcache.use_cwd=0\nopcache.validate_timestamps=Off\n");
    host.write(
        "/etc/systemd/system/w@.service",
        "[Unit]\nDescription=w\n[Service]\nExecStart=/usr/bin/php /srv/app/current/artisan queue:work\nUser=www-data\n\
         TimeoutStopSec=5\n",
    );
    host.write("/etc/systemd/system/w@.service.d/kill.conf", "[Service]\nKillMode=process\n");
    host.write(
        "/etc/systemd/system/reconciler.service",
        "[Service]\nType=oneshot\nUser=deploy\nExecStart=/usr/local/bin/trueup reconcile\nProtectProc=invisible\n\
         RestrictNamespaces=yes\nProtectSystem=strict\n",
    );
    host.write(
        MANIFEST,
        "apiVersion: trueup/v1\nkind: App\nmetadata: {name: app}\nspec:\n  root: /srv/app\n  user: deploy\n  \
         release:\n    id: r1\n    source: {dir: {path: /srv/build}}\n    build: ['no-such-tool --all && true']\n  \
         services: [{name: fpm, manager: {systemd: {unit: php8.2-fpm}}, onRelease: reload}]\n  workers:\n    \
         - {name: default, count: 2, manager: {supervisord: {group: app-worker}}}\n    \
         - {name: mail, count: 1, manager: {supervisord: {group: app-mail}}, stopTimeout: 60s}\n    \
         - {name: unit, count: 1, manager: {systemd: {unit: w@}}}\n    \
         - {name: none, count: 1, manager: {systemd: {unit: none@}}}\n    \
         - {name: own, count: 0, manager: {builtin: {run: ./worker}}}\n  \
         health: {http: {url: 'http://192.0.2.7/health'}}\n",
    );
}

#[test]
fn every_trap_is_found_where_it_lies() {
    let host = require_host!("doctor-bad", [Unit::Supervisor, Unit::Nginx, Unit::PhpFpm]);
    ruin(&host);
    let before = footprint(&host, "/srv/app");
    let said = Said::by(&host, "root");
    assert_eq!(said.code, 3);
    let (supervisord, nginx) = ("/etc/supervisor/conf.d/app.conf", "/etc/nginx/sites-enabled/site-80");
    let (unit, reconciler) = ("/etc/systemd/system/w@.service", "/etc/systemd/system/reconciler.service");
    let line = |file: &str, word: &str| {
        let text = host.read(file);
        let at = text.lines().position(|line| line.contains(word)).unwrap_or_else(|| panic!("{word}: {text}"));
        format!("{file}:{}", at + 1)
    };
    let expected = [
        ("layout.current".to_owned(), "error: `/srv/app/current` is a real directory"),
        ("layout.fileSystem".to_owned(), "warning: `shared` is on another file system"),
        ("layout.openToAll".to_owned(), "warning: everybody may write to `/srv/app/releases`"),
        ("layout.owner".to_owned(), "warning: `current`: of another user than deploy"),
        ("programs".to_owned(), "error: deploy has no `no-such-tool`, which build runs"),
        (
            format!("supervisord.numprocs@{supervisord}:2"),
            "error: workers `default`: `count: 2`, but supervisord has only 1",
        ),
        (format!("supervisord.directory@{supervisord}:2"), "`[program:app-worker]` has no `directory=`"),
        (
            format!("supervisord.directory@{supervisord}:8"),
            "error: workers `mail`: `[program:app-mail]` names the release r1",
        ),
        (format!("supervisord.autorestart@{supervisord}:2"), "`autorestart=unexpected`, supervisord's default"),
        (format!("supervisord.autorestart@{supervisord}:10"), "`autorestart=false`"),
        (
            format!("supervisord.stopwaitsecs@{supervisord}:5"),
            "`stopwaitsecs=5`; a job may take 120 s (its `--timeout`), and `stopTimeout` is 30 s",
        ),
        (format!("supervisord.user@{supervisord}:2"), "runs as root (it has no `user=`), the App's user is deploy"),
        (format!("supervisord.wrapper@{supervisord}:8"), "runs its worker behind a shell"),
        (format!("systemd.restart@{unit}:3"), "`Restart=no`, systemd's default"),
        (
            format!("systemd.timeoutStopSec@{unit}:6"),
            "kills a worker 5 s after it was asked to end; a job may take 60 s (Laravel's default: it has no `--timeout`)",
        ),
        (format!("systemd.directory@{unit}:3"), "has no `WorkingDirectory=`"),
        (format!("systemd.user@{unit}:5"), "runs as www-data, the App's user is deploy"),
        (format!("systemd.install@{unit}:1"), "has no section `[Install]`"),
        (format!("systemd.killMode@{unit}.d/kill.conf:2"), "`KillMode=process`"),
        // Its place is the manifest.
        ("workers.stopTimeout".to_owned(), "; `stopTimeout` is 30 s"),
        ("systemd.unit".to_owned(), "error: workers `none`: there is no unit `none@.service`"),
        (format!("nginx.realpathRoot@{}", line(nginx, "SCRIPT_FILENAME")), "through `current`: `$document_root`"),
        (format!("nginx.openFileCache@{}", line(nginx, "open_file_cache")), "keeps files of this root open"),
        (
            format!("php.controlTimeout@{}", line(&format!("{FPM}/php-fpm.conf"), "[global]")),
            "`process_control_timeout = 0`",
        ),
        (
            format!("php.user@{}", line(&format!("{FPM}/pool.d/www.conf"), "user = www-data")),
            "runs as www-data, the files belong to deploy",
        ),
        (format!("php.opcacheUseCwd@{FPM}/conf.d/99-bad.ini:2"), "`opcache.use_cwd=0`"),
        (format!("php.opcacheTimestamps@{FPM}/conf.d/99-bad.ini:3"), "`opcache.validate_timestamps=0`"),
        ("health.leavesHost".to_owned(), "`http://192.0.2.7/health` leads to another host, 192.0.2.7"),
        ("trueup.killMode".to_owned() + &format!("@{reconciler}:1"), "`KillMode=control-group`"),
        (format!("trueup.noNewPrivileges@{reconciler}:6"), "`RestrictNamespaces=yes`"),
        (format!("trueup.sight@{reconciler}:5"), "`ProtectProc=invisible`"),
        (format!("trueup.writing@{reconciler}:7"), "`ProtectSystem=strict`"),
    ];
    let mut wrong = Vec::new();
    for (key, words) in &expected {
        if !said.found.get(key).is_some_and(|text| text.contains(words)) {
            wrong.push(format!("not found: {key}: {words}"));
        }
    }
    let unexpected = said.found.iter().filter(|(key, _)| !expected.iter().any(|(known, _)| known == *key));
    wrong.extend(unexpected.map(|(key, text)| format!("not expected: {key}: {text}")));
    assert!(wrong.is_empty(), "{}\n{:#?}", wrong.join("\n"), said.found);
    assert_eq!(footprint(&host, "/srv/app"), before, "it touched something");

    // What nobody reloads serves the old release for as long as PHP remembers.
    host.sh(&format!("sed -i 's/onRelease: reload/onRelease: none/' {MANIFEST}")).ok();
    let said = Said::by(&host, "root");
    let key = format!("nginx.realpathRoot@{}", line(nginx, "SCRIPT_FILENAME"));
    assert!(said.found[&key].starts_with("error: "), "{:#?}", said.found);
    let why =
        Said::all(&said.report).filter(|one| one["check"] == "nginx.realpathRoot").map(|one| one["why"].to_string());
    assert!(why.collect::<String>().contains("for 120 s"), "{:#}", said.report);
}
