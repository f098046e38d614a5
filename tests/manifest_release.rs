//! What manifests say of a release, its steps and the services, and what is made of it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail on the spot")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use trueup::manifest::{Loaded, load};
use trueup::model::app::{App, CommandLine, OnFailure, SecretSource};
use trueup::model::names::RelativePath;
use trueup::model::release::{EnvValue, Location, Revision, Source};
use trueup::model::service::{OnRelease, ServiceManager};

fn line(text: &str) -> CommandLine {
    CommandLine::Shell(text.to_owned())
}

fn paths(texts: &[&str]) -> Vec<RelativePath> {
    texts.iter().map(|text| RelativePath::new(*text).unwrap()).collect()
}

fn full() -> App {
    load(&[PathBuf::from("tests/manifests/good/full.yaml")], &mut std::io::empty()).unwrap().remove(0).app
}

/// One App with these keys in `spec`; or what is wrong with it, a line each.
fn spec(keys: &str) -> Result<App, String> {
    let text =
        format!("{{apiVersion: trueup/v1, kind: App, metadata: {{name: web}}, spec: {{root: /srv/web, {keys}}}}}");
    let loaded: Result<Vec<Loaded>, _> = load(&[PathBuf::from("-")], &mut text.as_bytes());
    loaded.map(|mut loaded| loaded.remove(0).app).map_err(|errors| errors.to_string())
}

fn source(source: &str) -> Result<Source, String> {
    spec(&format!("release: {{id: 1, source: {source}}}")).map(|app| app.release.source.unwrap())
}

#[test]
fn every_key_of_a_release_arrives() {
    let app = full();
    let release = &app.release;
    let revision = Revision::Commit("0123456789abcdef".to_owned());
    let url = "git@host:team/yujix.git".to_owned();
    assert_eq!(release.source, Some(Source::Git { url, revision, submodules: true }));
    assert_eq!(release.shared.dirs, paths(&["storage"]));
    assert_eq!(release.shared.files, paths(&[".env"]));
    assert_eq!(release.shared.writable, paths(&["storage", "bootstrap/cache"]));
    let links = paths(&["public/storage", "storage/app/public"]);
    assert_eq!(release.links, BTreeMap::from([(links[0].clone(), links[1].clone())]));
    assert_eq!(release.keep, 3);

    let [install, build] = release.build.as_slice() else { panic!("{:?}", release.build) };
    assert_eq!((&install.run, install.timeout), (&line("composer install --no-dev"), Duration::from_mins(10)));
    assert_eq!((install.env.len(), &install.working_directory, &install.user), (0, &None, &None));
    assert_eq!(build.run.argv(), ["npm", "run", "build"]);
    assert_eq!(build.timeout, Duration::from_mins(20));
    assert_eq!(build.working_directory, Some(RelativePath::new("frontend").unwrap()));
    let env = [
        ("KEY", EnvValue::Secret(SecretSource::EnvironmentVariable("BUILD_KEY".to_owned()))),
        ("LEVEL", EnvValue::Plain("3".to_owned())),
        ("NODE_ENV", EnvValue::Plain("production".to_owned())),
        ("TOKEN", EnvValue::Secret(SecretSource::File("/etc/trueup/npm.token".into()))),
    ];
    assert_eq!(build.env, env.map(|(name, value)| (name.to_owned(), value)).into());
    assert_eq!(release.verify[0].timeout, Duration::from_secs(30));
    assert_eq!(release.migrate[0].user.as_ref().unwrap().as_str(), "dba");
    let hooks = [&release.hooks.before_switch, &release.hooks.after_switch, &release.hooks.after_rollback];
    let runs = hooks.map(|steps| steps[0].run.to_string());
    assert_eq!(runs, ["php artisan down", "php artisan up", "bin/tell rolled back"]);
}

#[test]
fn every_key_of_services_and_workers_arrives() {
    let app = full();
    assert_eq!(app.on_failure, OnFailure::Halt);
    let [fpm, octane, cdn] = app.services.as_slice() else { panic!("{:?}", app.services) };
    assert_eq!(fpm.manager, ServiceManager::Systemd { unit: "php8.2-fpm.service".to_owned() });
    assert_eq!((fpm.on_release, fpm.timeout), (OnRelease::Auto, Duration::from_secs(30)));
    let ServiceManager::Supervisord(supervisord) = &octane.manager else { panic!("{octane:?}") };
    assert_eq!((supervisord.group.as_str(), octane.on_release), ("octane", OnRelease::Restart));
    assert_eq!((octane.timeout, octane.restart_on.len()), (Duration::from_mins(1), 1));
    let ServiceManager::Command { reload, restart, user } = &cdn.manager else { panic!("{cdn:?}") };
    assert_eq!((reload.as_ref(), restart.as_ref().unwrap().argv().len()), (Some(&line("bin/purge")), 2));
    assert_eq!(user.as_ref().unwrap().as_str(), "purger");

    let [default, mail, _] = app.workers.as_slice() else { panic!("{:?}", app.workers) };
    let drain = default.drain.as_ref().unwrap();
    assert_eq!((&drain.run, drain.timeout), (&line("php artisan queue:restart"), Duration::from_secs(10)));
    assert_eq!((default.min_healthy, mail.min_healthy), (Duration::from_secs(10), Duration::from_secs(3)));
    assert_eq!(mail.drain, None);
    assert_eq!(spec("release: {id: 1}").unwrap().on_failure, OnFailure::Rollback);
    assert_eq!(spec("release: {id: 1}").unwrap().release.keep, 5);
}

#[test]
fn archives_have_defaults_and_a_digest() {
    let digest = "A".repeat(64);
    let made = source(&format!("{{archive: {{url: 'https://host/a.tar.gz', sha256: {digest}}}}}")).unwrap();
    let expected = Source::Archive {
        location: Location::Url("https://host/a.tar.gz".to_owned()),
        sha256: Some("a".repeat(64)),
        strip_components: 0,
        limit: 4 << 30,
    };
    assert_eq!(made, expected);
    let made = source("{archive: {path: /srv//a.tar, stripComponents: 1, maxSize: 500MiB}}").unwrap();
    let location = Location::Path("/srv/a.tar".into());
    assert_eq!(made, Source::Archive { location, sha256: None, strip_components: 1, limit: 500 << 20 });

    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("m.yaml");
    std::fs::write(
        &file,
        "{apiVersion: trueup/v1, kind: App, metadata: {name: web}, spec: {root: ./srv, release: {id: 1, \
         source: {archive: {path: ./a.tar}}}}}",
    )
    .unwrap();
    let app = load(&[file], &mut std::io::empty()).unwrap().remove(0).app;
    let Some(Source::Archive { location: Location::Path(path), .. }) = app.release.source else { panic!("no path") };
    assert_eq!(path, directory.path().canonicalize().unwrap().join("a.tar"));
    let rows = [
        ("{archive: {url: 'https://host/a.tar'}}", "lacks the key `sha256`"),
        ("{archive: {path: /a, url: 'https://host/a.tar', sha256: ''}}", "both `path` and `url`"),
        ("{archive: {}}", "does not say where"),
        ("{archive: {path: ./a.tar}}", "has no directory"),
        ("{archive: {path: /a, maxSize: 2 GB}}", "is no size"),
    ];
    for (text, words) in rows {
        let errors = source(text).unwrap_err();
        assert!(errors.contains(words), "{text}: {errors}");
    }
}

/// Nothing that git would take for an option or for a program to run.
#[test]
fn git_is_asked_for_plain_urls_only() {
    let good = [
        "https://host/team/repo.git",
        "https://user:token@host/repo.git",
        "ssh://git@[::1]:22/repo.git",
        "git@host:team/repo.git",
        "file:///srv/git/repo.git",
        "/srv/git/repo.git",
    ];
    for url in good {
        let Source::Git { url: made, .. } = source(&format!("{{git: {{url: '{url}', ref: main}}}}")).unwrap() else {
            panic!("{url}")
        };
        assert_eq!(made, url);
    }
    let rows = [
        ("-uhttps://host/x", "begins with `-`"),
        ("--upload-pack=touch /tmp/x", "begins with `-`"),
        ("ext::sh -c date", "helper"),
        ("fd::17", "helper"),
        ("foo+bar::x", "helper"),
        ("ssh://-oProxyCommand=date/x", "no host"),
        ("ftp://host/repo.git", "does not fetch"),
        ("https://", "no host"),
        ("", "is empty"),
        ("https://host/a b", "a space"),
        ("repo.git", "neither a URL nor"),
        ("host:", "neither a URL nor"),
        ("./repo", "has no directory"),
    ];
    for (url, words) in rows {
        let errors = source(&format!("{{git: {{url: '{url}', ref: main}}}}")).unwrap_err();
        assert!(errors.contains(words), "{url}: {errors}");
    }
    for name in ["main", "v1.4.2", "release/2026", "refs/tags/v1", "1.10", "a-b"] {
        let Source::Git { revision, .. } = source(&format!("{{git: {{url: /a, ref: {name}}}}}")).unwrap() else {
            panic!("{name}")
        };
        assert_eq!(revision, Revision::Ref(name.to_owned()));
    }
    for name in
        ["-f", "--all", "a..b", "a b", "a^", "HEAD~1", "a:b", "/a", "a/", "a//b", ".a", "a.lock", "@", "a@{1}", ""]
    {
        assert!(source(&format!("{{git: {{url: /a, ref: '{name}'}}}}")).is_err(), "{name}");
    }
    for commit in ["0123456", "0123456789", "00e1234", &"f".repeat(40), &"0".repeat(64)] {
        let Source::Git { revision, .. } = source(&format!("{{git: {{url: /a, commit: {commit}}}}}")).unwrap() else {
            panic!("{commit}")
        };
        assert_eq!(revision, Revision::Commit(commit.to_owned()));
    }
    for commit in ["012345", "main", &"f".repeat(65), "0x12345", "-1234567"] {
        assert!(source(&format!("{{git: {{url: /a, commit: {commit}}}}}")).is_err(), "{commit}");
    }
}

#[test]
fn no_link_stands_in_the_way_of_another() {
    let rows = [
        ("shared: {dirs: [storage, var/log], files: [.env, config/app.json]}, links: {public/x: storage/x}", None),
        ("shared: {dirs: [storage, storage2, storage-3]}", None),
        ("shared: {dirs: [a], writable: [a, a/b]}", None),
        ("shared: {dirs: [storage, ./storage/]}", Some("`./storage/` is linked already")),
        ("shared: {dirs: [storage, storage/logs]}", Some("`storage/logs` lies inside of `storage`")),
        ("shared: {dirs: [storage/logs, storage]}", Some("`storage/logs` lies inside of `storage`")),
        ("shared: {dirs: [a], files: [a/b]}", Some("`a/b` lies inside of `a`")),
        ("shared: {dirs: [a]}, links: {a/b: c}", Some("`a/b` lies inside of `a`")),
        ("shared: {files: [a]}, links: {a: c}", Some("`a` is linked already")),
        ("links: {a: b, a/c: d}", Some("`a/c` lies inside of `a`")),
        ("links: {a: ./a}", Some("leads to itself")),
        ("links: {a: a/b}", Some("leads to itself")),
        ("links: {../a: b}", Some("stays inside")),
        ("links: {a: ../b}", Some("stays inside")),
        ("links: {a: /b}", Some("stays inside")),
    ];
    for (keys, words) in rows {
        let made = spec(&format!("release: {{id: 1, {keys}}}"));
        match (made, words) {
            (Ok(_), None) => {}
            (Err(errors), Some(words)) => assert!(errors.contains(words), "{keys}: {errors}"),
            (made, words) => panic!("{keys}: {made:?}, not {words:?}"),
        }
    }
}

#[test]
fn services_are_units_that_run() {
    let rows = [
        ("php8.2-fpm", Ok("php8.2-fpm.service")),
        ("php8.2-fpm.service", Ok("php8.2-fpm.service")),
        ("web@blue", Ok("web@blue.service")),
        ("web@blue.service", Ok("web@blue.service")),
        ("a.socket.service", Ok("a.socket.service")),
        ("web@", Err("a template")),
        ("web@.service", Err("a template")),
        ("web.timer", Err("is a timer")),
        ("web fpm", Err("no name of a unit")),
        ("../fpm", Err("no name of a unit")),
        ("--no-block", Err("no name of a unit")),
        ("@1", Err("no name of a unit")),
        (".service", Err("no name of a unit")),
    ];
    for (unit, expected) in rows {
        let made =
            spec(&format!("release: {{id: 1}}, services: [{{name: a, manager: {{systemd: {{unit: '{unit}'}}}}}}]"));
        match (made, expected) {
            (Ok(app), Ok(unit)) => {
                assert_eq!(app.services[0].manager, ServiceManager::Systemd { unit: unit.to_owned() });
            }
            (Err(errors), Err(words)) => assert!(errors.contains(words), "{unit}: {errors}"),
            (made, _) => panic!("{unit}: {made:?}"),
        }
    }
    let rows = [
        ("{reload: a}", "auto", true),
        ("{reload: a}", "reload", true),
        ("{reload: a}", "none", true),
        ("{restart: a}", "restart", true),
        ("{restart: a}", "none", true),
        ("{restart: a}", "auto", false),
        ("{restart: a}", "reload", false),
        ("{reload: a}", "restart", false),
        ("{}", "none", false),
    ];
    for (command, on_release, fits) in rows {
        let service = format!("{{name: a, manager: {{command: {command}}}, onRelease: {on_release}}}");
        let made = spec(&format!("release: {{id: 1}}, services: [{service}]"));
        assert_eq!(made.is_ok(), fits, "{service}: {made:?}");
    }
}

/// Names of groups and services are unique together, in their App only.
#[test]
fn services_and_groups_do_not_share_a_name() {
    let group = "workers: [{name: a, manager: {builtin: {run: x}}}]";
    let service = "services: [{name: a, manager: {systemd: {unit: x}}}]";
    let errors = spec(&format!("release: {{id: 1}}, {group}, {service}")).unwrap_err();
    assert!(errors.contains("a worker group named `a` is there already"), "{errors}");
    let one = |name: &str| {
        format!(
            "---\n{{apiVersion: trueup/v1, kind: App, metadata: {{name: {name}}}, spec: {{root: /srv/{name}, release: {{id: 1}}, {service}}}}}\n"
        )
    };
    let two = one("one") + &one("two");
    assert_eq!(load(&[PathBuf::from("-")], &mut two.as_bytes()).unwrap().len(), 2, "several Apps may share php-fpm");
}

/// What a fingerprint speaks of, and what it does not.
#[test]
fn a_fingerprint_changes_with_what_is_said_and_with_nothing_else() {
    let text = std::fs::read_to_string("tests/manifests/good/full.yaml").unwrap();
    let of = |text: &str| {
        let loaded = load(&[PathBuf::from("-")], &mut text.as_bytes()).unwrap_or_else(|errors| panic!("{errors}"));
        loaded[0].app.fingerprint.clone()
    };
    let before = of(&text);
    let after = of(&text.replacen("automatic: false", "automatic: true", 1).replacen("watch: 30s", "watch: 1m", 1));
    assert_eq!(after, before, "when the host is looked at and changed is no wish");
    assert!([&before.trial, &before.recipe].iter().all(|digest| digest.len() == 64), "{before:?}");
    assert_ne!(before.trial, before.recipe);
    // They outlive the trueup that wrote them down: another digest of the same text would lift every quarantine, and
    // have releases made anew.
    let pinned = [
        "17c1589de1efbe8edb70e05989661c82de3d6e84422d74cf041949870bf9b3d4",
        "ebd1c5aeff69ee352eb958691243977488cb6423288169b3cc2adabc43148d2d",
    ];
    assert_eq!([before.trial.as_str(), before.recipe.as_str()], pinned, "digests of the same manifest");
    // What is replaced, by what, and whether that changes the trial and the recipe.
    let rows = [
        ("id: 1e3", "id: '1e3'", false, false),
        ("id: 1e3", "# the id\n    id:   1e3   # of the release", false, false),
        (
            "{url: \"git@host:team/yujix.git\", commit: 0123456789ABCDEF",
            "{commit: 0123456789ABCDEF, url: 'git@host:team/yujix.git'",
            false,
            false,
        ),
        ("NODE_ENV: production\n          LEVEL: 3", "LEVEL: \"3\"\n          NODE_ENV: production", false, false),
        ("root: /var/www/yujix", "root: /srv/yujix", false, false),
        ("team: web", "team: shop", false, false),
        ("strays: stop", "strays: report", false, false),
        ("suspend: true", "suspend: false", false, false),
        ("onFailure: halt", "onFailure: rollback", false, false),
        ("id: 1e3", "id: 1000", true, false),
        ("keep: 3", "keep: 4", false, false),
        ("requires: [vendor/autoload.php, .env]", "requires: [vendor/autoload.php]", true, false),
        ("php artisan --version", "php artisan about", true, false),
        ("php artisan migrate --force", "php artisan migrate", true, false),
        ("php artisan down", "php artisan down --retry=1", true, false),
        ("count: 2", "count: 3", true, false),
        ("timeout: 1m\n", "timeout: 2m\n", true, false),
        ("unit: php8.2-fpm", "unit: php8.3-fpm", true, false),
        ("body.status == \"healthy\"", "body.status == \"ok\"", true, false),
        ("attempts: 7", "attempts: 8", true, false),
        ("0123456789ABCDEF", "0123456789ABCDE0", true, true),
        ("submodules: true", "submodules: false", true, true),
        ("dirs: [storage]", "dirs: [storage, logs]", true, true),
        ("writable: [storage, bootstrap/cache]", "writable: [storage]", true, true),
        ("links: {public/storage: storage/app/public}", "links: {public/files: storage/app/public}", true, true),
        ("composer install --no-dev", "composer install", true, true),
        ("[npm, run, build]", "npm run build", true, true),
        ("LEVEL: 3", "LEVEL: 4", true, true),
        ("{envVar: BUILD_KEY}", "{envVar: OTHER_KEY}", true, true),
        ("{envVar: BUILD_KEY}", "BUILD_KEY", true, true),
        ("workingDirectory: frontend", "workingDirectory: web", true, true),
    ];
    for (old, new, trial, recipe) in rows {
        assert!(text.contains(old), "{old}");
        let after = of(&text.replacen(old, new, 1));
        assert_eq!(after.trial != before.trial, trial, "the trial: {new}");
        assert_eq!(after.recipe != before.recipe, recipe, "the recipe: {new}");
        assert!(!trial || after.wish != before.wish, "the wish: {new}");
    }
    // Another file in another directory says the same.
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("m.yaml");
    std::fs::copy(Path::new("tests/manifests/good/full.yaml"), &file).unwrap();
    assert_eq!(load(&[file], &mut std::io::empty()).unwrap()[0].app.fingerprint, before);
}
