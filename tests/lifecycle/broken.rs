//! Releases that are broken in every way that we could think of: each is kept out, and the last good one serves.

use crate::shop::{MAKING, ROOT, Shop, from, status};
use crate::support::fixtures::{FILES, Program};
use crate::support::passes::Manifest;
use crate::support::{Unit, require_host};

/// A file of the fixture with one change.
fn changed(path: &str, from: &str, to: &str) -> String {
    let (_, contents) = FILES.iter().find(|(name, _)| *name == path).unwrap();
    assert!(contents.contains(from), "{path} has no {from}");
    contents.replace(from, to)
}

impl Shop<'_> {
    /// A pass over a release that cannot be: it ends on `r1`, all of it well, says why, and is not tried again.
    /// Returns what was tried.
    #[track_caller]
    fn keeps_out(&self, name: &str, manifest: &Manifest<'_>, why: &[&str]) -> Vec<String> {
        let pass = manifest.reconcile();
        // Where nothing was switched, nothing was rolled back.
        let outcome = if pass.tried().contains(&"switch r1".to_owned()) { "rolledBack" } else { "quarantined" };
        assert_eq!((pass.output.code, &pass.report["outcome"]), (3, &outcome.into()), "{name}: {pass}");
        self.is_well_in("r1");
        println!("{name}: {} ms, {}", pass.report["tookMs"], pass.report["quarantine"]["reason"]);

        let status = status(manifest);
        let quarantine = &status["quarantine"];
        let said = format!("{} {}", quarantine["reason"], quarantine["evidence"]);
        assert!(why.iter().all(|word| said.contains(word)), "{name}: {why:?} in {status:#}");
        assert_eq!(status["workers"][0]["numbers"]["fresh"], 2, "{name}: {status:#}");
        assert_eq!(status["health"]["healthy"], true, "{name}: {status:#}");
        assert_eq!(status["services"][0]["current"], true, "{name}: {status:#}");

        let pids = self.pids();
        for _ in 0..3 {
            let again = manifest.reconcile();
            assert_eq!((again.output.code, &again.report["outcome"]), (3, &"quarantined".into()), "{name}: {again}");
            assert_eq!(again.report["tried"].as_array().unwrap().len(), 0, "{name}: {again}");
            assert_eq!(again.report["plan"].as_array().unwrap().len(), 0, "{name}: {again}");
        }
        assert_eq!(self.pids(), pids, "{name}");
        pass.tried()
    }
}

#[test]
fn a_release_that_cannot_be_made_is_refused_and_nothing_is_touched() {
    let host = require_host!("refused", [Unit::Supervisor, Unit::Nginx, Unit::PhpFpm]);
    let shop = Shop::new(&host, "$realpath_root").steady();
    let first = shop.first();
    let pack = r#"
import hashlib, io, sys, tarfile
with tarfile.open("/srv/evil.tar", "w") as tar:
    for name in ("artisan", "../../etc/passwd"):
        entry = tarfile.TarInfo(name)
        entry.size = 4
        tar.addfile(entry, io.BytesIO(b"evil"))
"#;
    host.run(&["python3", "-c", pack]).ok();
    host.sh("git -c safe.directory=* -C /srv/git/shop archive --output /srv/good.tar HEAD").ok();
    let made = |from: &str, to: &str| {
        assert!(MAKING.contains(from), "{from}");
        self::from(&first).replace(from, to)
    };
    let source = |source: &str| format!("source: {source}, {MAKING}");
    let zeros = "0".repeat(64);
    let rows = [
        (
            "verify fails",
            made("php artisan --version", "'echo no such class >&2; exit 7'"),
            vec!["verify 1/1", "exit code 7", "no such class"],
        ),
        (
            "migrate fails",
            made("'echo $RELEASE_ID >>$ROOT/shared/migrations'", "'echo no such table; exit 1'"),
            vec!["migrate 1/1", "no such table"],
        ),
        ("a build step fails", made("cat .env >/dev/null", "cat absent"), vec!["build 2/2", "cat: absent"]),
        (
            "a build step hangs",
            made("php artisan --version", "true")
                .replace("build: [", "build: [{run: 'sleep 601 & wait', timeout: 2s}, "),
            vec!["build 1/3", "2s"],
        ),
        ("something is lacking", made("requires: [", "requires: [absent, "), vec!["lacks", "`absent`"]),
        (
            "checksum wrong",
            source(&format!("{{archive: {{path: /srv/good.tar, sha256: '{zeros}'}}}}")),
            vec!["SHA-256", &zeros],
        ),
        ("git ref missing", source("{git: {url: /srv/git/shop, ref: v9}}"), vec!["v9"]),
        (
            "git commit missing",
            source("{git: {url: /srv/git/shop, commit: 0123456789abcdef0123456789abcdef01234567}}"),
            vec!["0123456"],
        ),
        ("an archive that leads outside", source("{archive: {path: /srv/evil.tar}}"), vec!["../../etc/passwd"]),
    ];
    let passwd = host.read("/etc/passwd");
    let pids = shop.pids();
    for (number, (name, making, why)) in rows.iter().enumerate() {
        let id = format!("b{number}");
        let manifest = shop.manifest(&id, &first).made(making);
        let tried = shop.keeps_out(name, &manifest, why);
        assert!(!tried.contains(&format!("switch {id}")), "{name}: {tried:?}");
        assert_eq!(shop.pids(), pids, "{name}: nobody was touched");
        assert_eq!(host.pids_of("sleep 601"), [0; 0], "{name}: nothing goes on");
    }
    assert_eq!(host.read("/etc/passwd"), passwd);
    assert_eq!(host.run(&["find", "/srv", "-name", "passwd"]).ok(), "");
    assert_eq!(shop.migrations(), ["r1"], "none of them came so far");

    // What was not the release's fault is mended, and a person says so by a change.
    let manifest = shop.manifest("b9", &first);
    assert_eq!(manifest.reconcile().output.code, 0);
    shop.is_well_in("b9");
}

#[test]
fn a_build_that_fills_the_disk_is_refused() {
    let host = require_host!("full", [Unit::Supervisor, Unit::Nginx, Unit::PhpFpm]);
    host.sh(&format!("mkdir {ROOT}; mount -t tmpfs -o size=2m,mode=755 tmpfs {ROOT}")).ok();
    let shop = Shop::new(&host, "$realpath_root").steady();
    let first = shop.first();
    let pids = shop.pids();
    let making = from(&first).replace("build: [", "build: ['head -c 10M /dev/zero >big', ");
    let tried = shop.keeps_out("disk full", &shop.manifest("b1", &first).made(&making), &["No space left"]);
    assert!(!tried.contains(&"switch b1".to_owned()), "{tried:?}");
    assert_eq!(shop.pids(), pids);

    // A file of somebody else's takes what is left, and the source itself does not fit.
    host.sh(&format!("head -c 10M /dev/zero >{ROOT}/filler || true; truncate -s -64K {ROOT}/filler")).ok();
    host.sh("mkdir /srv/large; head -c 1M /dev/urandom >/srv/large/artisan; chown -R deploy: /srv/large").ok();
    let making = format!("source: {{dir: {{path: /srv/large}}}}, {MAKING}");
    shop.keeps_out("disk full at the fetch", &shop.manifest("b2", &first).made(&making), &["No space left"]);
    assert_eq!(shop.pids(), pids);
}

#[test]
fn a_release_that_fills_the_disk_is_taken_back() {
    let host = require_host!("filled", [Unit::Supervisor, Unit::Nginx, Unit::PhpFpm]);
    host.sh(&format!("mkdir {ROOT}; mount -t tmpfs -o size=2m,mode=755 tmpfs {ROOT}")).ok();
    let shop = Shop::new(&host, "$realpath_root").steady();
    shop.first();
    let started = "$tell('started');";
    let fill = format!("@file_put_contents(\"$shared/filler\", str_repeat('x', 10000000)); {started}");
    let artisan = changed("artisan", started, &fill);
    let index = changed("public/index.php", "$override['code'] ?? 200", "500");
    let manifest = shop.manifest("b1", &shop.commit(&[("artisan", &artisan), ("public/index.php", &index)]));
    let tried = shop.keeps_out("the disk is full when it is judged", &manifest, &["status == 200"]);
    assert!(host.run(&["stat", "-f", "-c", "%f", ROOT]).ok().parse::<u32>().unwrap() < 17, "it is full");
    assert!(tried.contains(&"switch r1".to_owned()), "{tried:?}");
}

#[test]
fn a_release_that_does_not_serve_is_taken_back() {
    let host = require_host!("ill", [Unit::Supervisor, Unit::Nginx, Unit::PhpFpm]);
    takes_back_what_does_not_serve(&Shop::new(&host, "$realpath_root").steady(), 4);
}

#[test]
fn a_release_that_does_not_serve_is_taken_back_where_php_fpm_must_be_reloaded() {
    let host = require_host!("ill-cached", [Unit::Supervisor, Unit::Nginx, Unit::PhpFpm]);
    takes_back_what_does_not_serve(&Shop::new(&host, "$document_root").steady(), 2);
}

/// The first so many of all rows.
fn takes_back_what_does_not_serve(shop: &Shop<'_>, rows: usize) {
    shop.first();
    let index = |from, to| changed("public/index.php", from, to);
    let release = "basename(dirname(__DIR__))";
    let all = [
        ("health 500", index("$override['code'] ?? 200", "500"), vec!["status == 200", "500"]),
        ("the old release", index(release, "'r1'"), vec!["body.release == release.id", "r1"]),
        ("no database", index("'connected'", "'disconnected'"), vec!["body.database", "disconnected"]),
        ("a syntax error", index("echo json", "echo echo json"), vec!["status == 200", "500"]),
    ];
    let mut migrated = vec!["r1".to_owned()];
    for (number, (name, index, why)) in all.iter().take(rows).enumerate() {
        let id = format!("b{number}");
        migrated.push(id.clone());
        let commit = shop.commit(&[("public/index.php", index)]);
        let tried = shop.keeps_out(name, &shop.manifest(&id, &commit), why);
        let switches: Vec<&String> = tried.iter().filter(|one| one.starts_with("switch ")).collect();
        assert_eq!(switches, [&format!("switch {id}"), "switch r1"], "{name}");
        let restarts = tried.iter().filter(|one| one.starts_with("restart ")).count();
        assert_eq!(restarts, 4, "{name}: both workers, there and back: {tried:?}");
    }
    assert_eq!(shop.migrations(), migrated, "never undone, never repeated");
}

#[test]
fn a_release_whose_workers_do_not_stay_up_is_taken_back() {
    let host = require_host!("crash", [Unit::Supervisor, Unit::Nginx, Unit::PhpFpm]);
    let shop = Shop::new(&host, "$realpath_root").steady();
    shop.first();
    let started = "$tell('started');";
    let crash = format!("{started} $crash = microtime(true) + 2;");
    let rows = [
        ("at start", changed("artisan", started, "fwrite(STDERR, 'no database'); exit(1);")),
        (
            "after 2 s",
            changed("artisan", started, &crash)
                .replace("while (!$stop) {", "while (!$stop) { if (microtime(true) > $crash) { exit(1); }"),
        ),
    ];
    for (number, (name, artisan)) in rows.iter().enumerate() {
        let commit = shop.commit(&[("artisan", artisan)]);
        let manifest = shop.manifest(&format!("b{number}"), &commit).without_workers();
        let keys = "manager: {supervisord: {group: app-worker}}, rollout: {minHealthy: 6s}";
        shop.keeps_out(name, &manifest.workers("app-worker", 2, keys), &["app-worker:app-worker_0"]);
    }
}

#[test]
fn workers_that_their_manager_has_given_up_are_not_insisted_on_while_a_release_is_judged() {
    let host = require_host!("crash-default", [Unit::Supervisor, Unit::Nginx, Unit::PhpFpm]);
    let shop = Shop::new(&host, "$realpath_root").steady();
    shop.first();
    // supervisord's own default: one start, and three more.
    Program::php("app-worker", &shop.site).numprocs(2).user("deploy").start();
    let crash = changed("artisan", "$tell('started');", "$tell('crashed'); exit(1);");
    let manifest = shop.manifest("b1", &shop.commit(&[("artisan", &crash)]));
    shop.keeps_out("given up", &manifest, &["app-worker:app-worker_0"]);
    let crashed = shop.site.events().iter().filter(|one| one.release == "b1" && one.event == "crashed").count();
    println!("{crashed} starts");
    assert!((2..=16).contains(&crashed), "two workers, four starts each, or twice that: {crashed}");
}

#[test]
fn where_the_old_release_is_no_healthier_neither_is_blamed() {
    let host = require_host!("both", [Unit::Supervisor, Unit::Nginx, Unit::PhpFpm]);
    let shop = Shop::new(&host, "$realpath_root").steady();
    shop.first();
    let commit = shop.commit(&[("change", "r2")]);
    shop.site.sicken(503);
    let manifest = shop.manifest("r2", &commit);
    let pass = manifest.reconcile();
    assert_eq!(pass.output.code, 3, "{pass}");
    assert_eq!(shop.site.current_release().as_deref(), Some("r1"), "{pass}");
    let pids = shop.pids();
    for _ in 0..2 {
        let again = manifest.reconcile();
        assert_eq!((again.output.code, again.tried().len()), (3, 0), "it does not flap: {again}");
    }
    assert_eq!(shop.pids(), pids);
    assert_eq!(status(&manifest)["quarantine"]["held"], true);
    // The database is back: the release has its turn, by itself.
    shop.site.heal();
    let pass = manifest.reconcile();
    assert_eq!(pass.output.code, 0, "{pass}");
    shop.is_well_in("r2");
}
