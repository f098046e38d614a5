//! Manifests for many hosts: what they mean on each of them, and where what is wrong stands.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail on the spot")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use proptest::prelude::*;
use trueup::manifest::{LoadErrors, Loaded, load, load_commit, of_this_host};
use trueup::model::amount::Amount;
use trueup::model::fleet::{Fleet, HostPattern, Rollout};
use trueup::model::health::Probe;
use trueup::model::release::EnvValue;

fn load_text(text: &str) -> Result<Vec<Loaded>, LoadErrors> {
    load(&[PathBuf::from("-")], &mut text.as_bytes())
}

fn shop(spec: &str) -> String {
    format!(
        "apiVersion: trueup/v1\nkind: App\nmetadata: {{name: shop}}\nspec:\n  root: /srv/shop\n  release: {{id: r1}}\n{spec}"
    )
}

fn one(text: &str) -> Loaded {
    load_text(text).unwrap().remove(0)
}

fn mistakes(text: &str) -> Vec<String> {
    load_text(text).expect_err(text).mistakes.iter().map(|one| format!("{}: {one}", one.line.unwrap_or(0))).collect()
}

#[test]
fn hosts_and_rollout_have_their_defaults() {
    let loaded = one(&shop("  hosts: [{name: web1}, {name: web2, ssh: 'deploy@[2001:db8::2]:2222'}]\n"));
    let Fleet { hosts, rollout } = loaded.fleet.unwrap();
    assert_eq!(rollout, Rollout::default());
    assert_eq!((rollout.canary, rollout.batch), (Amount::Count(1), Amount::Percent(25)));
    assert_eq!((rollout.max_failures, rollout.pause), (0, Duration::ZERO));
    assert_eq!(rollout.healthy_for, Duration::from_secs(10));
    assert_eq!(hosts[0].ssh.as_str(), "web1");
    assert_eq!((hosts[1].ssh.user(), hosts[1].ssh.host()), (Some("deploy"), "2001:db8::2"));

    let loaded = one(&shop(
        "  hosts: [{name: web1, labels: {zone: eu}}, {name: web2}]\n  rollout: {canary: 50%, batch: 3, maxFailures: 2, pause: 30s, healthyFor: 0s, order: [web2, zone=eu]}\n",
    ));
    let rollout = loaded.fleet.unwrap().rollout;
    let order = vec![HostPattern::Host("web2".to_owned().try_into().unwrap()), HostPattern::label("zone=eu").unwrap()];
    let expected = Rollout {
        canary: Amount::Percent(50),
        batch: Amount::Count(3),
        max_failures: 2,
        pause: Duration::from_secs(30),
        healthy_for: Duration::ZERO,
        order,
    };
    assert_eq!(rollout, expected);
}

const VARIED: &str = "  workers: [{name: q, count: '${vars.count}', manager: {builtin: {run: x}}}]
  health: {http: {url: 'http://${vars.ip}/health', connectTo: '${vars.ip}:80', headers: {X-Host: 'a-${host.name}', X-Plain: '$${host.name}'}}}
";

/// What a host gets is the manifest that somebody would have written for it alone.
#[test]
fn vars_are_filled_into_the_fields_that_may_name_them() {
    let hosts = "  hosts:\n  - {name: web1, vars: {count: 2, ip: 10.0.0.1}}\n  - {name: web2, vars: {count: 5, ip: 10.0.0.2, unused: x}}\n";
    let text = shop(&format!("{VARIED}{hosts}")).replace(
        "{id: r1}",
        "{id: r1, build: [make, {run: [a, b], env: {WHERE: '${host.name} ${vars.ip}'}}], hooks: {afterSwitch: [x]}}",
    );
    let loaded = one(&text);
    for (host, count, ip) in [("web1", 2, "10.0.0.1"), ("web2", 5, "10.0.0.2")] {
        let there = loaded.on_host(loaded.fleet.as_ref().unwrap().host(host).unwrap()).unwrap();
        let written = shop(VARIED)
            .replace("'${vars.count}'", &count.to_string())
            .replace("${vars.ip}", ip)
            .replace("$${host.name}", "$?")
            .replace("${host.name}", host)
            .replace("$?", "${host.name}")
            .replace(
                "{id: r1}",
                &format!(
                    "{{id: r1, build: [{{run: make, env: {{TRUEUP_HOST: {host}}}}}, {{run: [a, b], env: {{WHERE: {host} {ip}, TRUEUP_HOST: {host}}}}}], hooks: {{afterSwitch: [{{run: x, env: {{TRUEUP_HOST: {host}}}}}]}}}}"
                ),
            );
        let written = one(&written);
        assert_eq!(there.app, written.app, "{host}");
        assert_eq!(there.document, written.document);
        assert_eq!(there.fleet, None);
        assert_eq!(one(&there.wire()).app, written.app);
    }
    // The App of the whole is that of its first host.
    let first = loaded.fleet.as_ref().unwrap().hosts[0].clone();
    assert_eq!(loaded.app, loaded.on_host(&first).unwrap().app);
}

#[test]
fn without_hosts_nothing_is_filled_in() {
    let app = one(&shop("").replace("{id: r1}", "{id: r1, verify: [{run: x, env: {A: '${vars.x}'}}]}")).app;
    assert_eq!(app.release.verify[0].env["A"], EnvValue::Plain("${vars.x}".to_owned()));
    assert!(!app.release.verify[0].env.contains_key("TRUEUP_HOST"));
}

#[test]
fn every_mistake_is_told_at_its_place() {
    let group = |count: &str| format!("  workers: [{{name: q, count: '{count}', manager: {{builtin: {{run: x}}}}}}]\n");
    let hosts = |list: &str| shop(&format!("  hosts: [{list}]\n"));
    let rollout = |keys: &str| shop(&format!("  hosts: [{{name: web1}}]\n  rollout: {{{keys}}}\n"));
    let rows: Vec<(String, &[&str])> = vec![
        (hosts(""), &["7: `spec.hosts` is empty"]),
        (hosts("{ssh: web1}"), &["7: `spec.hosts[0]` lacks the key `name`"]),
        (hosts("{name: a b}"), &["7: `spec.hosts[0].name` is not allowed to contain ` `"]),
        (hosts("{name: a, ssh: x}, {name: a, ssh: y}"), &["7: a host named `a` is there already"]),
        (hosts("{name: a, ssh: x}, {name: b, ssh: 'X:22'}"), &["7: a host at `X:22` is there already"]),
        (
            hosts("{name: a, ssh: deploy@web1}, {name: b, ssh: root@web1}"),
            &["7: `root@web1` and `deploy@web1` are one host"],
        ),
        (hosts("{name: web1}, {name: b, ssh: root@web1}"), &["7: `root@web1` and `web1` are one host"]),
        (hosts("{name: a}, {name: b, ssh: a}"), &["7: a host at `a` is there already"]),
        (hosts("{name: a, ssh: ''}"), &["7: `spec.hosts[0].ssh` is empty"]),
        (
            hosts("{name: a, ssh: -oProxyCommand=x}"),
            &["7: `spec.hosts[0].ssh` is not allowed to begin with `-`, which ssh would take for an option"],
        ),
        (hosts("{name: a, ssh: 'x y'}"), &["7: `spec.hosts[0].ssh` is not allowed to contain a space"]),
        (hosts("{name: a, ssh: \"x\\ty\"}"), &["7: `spec.hosts[0].ssh` is not allowed to contain `\\t`"]),
        (hosts("{name: a, labels: {'b c': d}}"), &["7: the label `b c` is not allowed to contain ` `"]),
        (hosts("{name: a, labels: {b: 'c=d'}}"), &["7: `spec.hosts[0].labels.b` is not allowed to contain `=`"]),
        (hosts("{name: a, vars: {1x: y}}"), &["7: `1x` is no name of a var"]),
        (rollout("canary: 101%"), &["8: `spec.rollout.canary` is neither a number nor a percentage: `101%`"]),
        (rollout("batch: 0"), &["8: `spec.rollout.batch` is 0: nobody would follow those that go first"]),
        (rollout("batch: 0%"), &["8: `spec.rollout.batch` is 0: nobody would follow those that go first"]),
        (rollout("maxFailures: -1"), &["8: `spec.rollout.maxFailures` must be 0 or more, not `-1`"]),
        (rollout("order: [web2]"), &["8: `spec.rollout.order[0]` names no host: `web2`"]),
        (rollout("order: [zone=eu]"), &["8: `spec.rollout.order[0]` is for no host: none has `zone: eu`"]),
        (rollout("order: [zone=]"), &["8: `spec.rollout.order[0]` is no `LABEL=VALUE`"]),
        (rollout("bach: 1"), &["8: unknown key `bach` in `spec.rollout`"]),
        (shop("  rollout: {}\n"), &["7: `spec.rollout` is for manifests with `hosts`"]),
        (
            shop(&group("${vars.n}")),
            &["7: `spec.workers[0].count` names a var, and the manifest has no hosts: `${vars.n}`"],
        ),
        (
            shop(&format!("{}  hosts: [{{name: a}}, {{name: b, vars: {{n: 1}}}}]\n", group("${vars.n}"))),
            &["7: `spec.workers[0].count` names the var `n`, which is not there, on `a`"],
        ),
        (
            shop(&format!("{}  hosts: [{{name: a}}, {{name: b}}]\n", group("${vars.n}"))),
            &["7: `spec.workers[0].count` names the var `n`, which is not there"],
        ),
        (
            shop(&format!("{}  hosts: [{{name: a, vars: {{n: many}}}}]\n", group("${vars.n}"))),
            &["7: `spec.workers[0].count` must be a whole number up to 10000, and `vars.n` makes none of it"],
        ),
        (
            shop(
                "  health: {http: {url: 'http://x/', connectTo: '${vars.a}'}}\n  hosts: [{name: a, vars: {a: '10.0.0.1:80'}}, {name: b, vars: {a: x}}]\n",
            ),
            &["7: `spec.health.http.connectTo` is neither an address with a port nor a socket's path: `x`, on `b`"],
        ),
        (
            shop("  health: {http: {url: 'http://${host.ip}/'}}\n  hosts: [{name: a}]\n"),
            &["7: `spec.health.http.url` names `host.ip`, which nothing stands for"],
        ),
        (
            shop("  health: {http: {url: 'http://${vars.ip/'}}\n  hosts: [{name: a}]\n"),
            &["7: `spec.health.http.url` has `${` without `}`"],
        ),
        (
            shop("  user: '${vars.user}'\n  hosts: [{name: a, vars: {user: x}}]\n"),
            &["7: `spec.user` is not allowed to contain `$`", "7: `${vars.user}` is not filled in here"],
        ),
        (
            shop("  hosts: [{name: a}]\n").replace("{id: r1}", "{id: r1, build: [{run: x, env: {TRUEUP_HOST: y}}]}"),
            &["6: `TRUEUP_HOST` is set by trueup for every step of a manifest with `hosts`"],
        ),
        (
            shop("  hosts: [{name: a}]\n").replace("/srv/shop", "./shop"),
            &["5: `spec.root` is relative, and a manifest with `hosts` has no directory"],
        ),
        // What is wrong elsewhere is told once, and also where the hosts are wrong.
        (
            shop(&format!(
                "{}  health: {{attempts: 2}}\n  hosts: [{{name: a}}, {{name: b, ssh: -x}}]\n",
                group("${vars.n}")
            )),
            &[
                "8: `spec.health` lacks a probe",
                "9: `spec.hosts[1].ssh` is not allowed to begin with `-`, which ssh would take for an option",
            ],
        ),
    ];
    for (text, expected) in rows {
        let mut found = mistakes(&text);
        found.sort();
        let mut expected = expected.to_vec();
        expected.sort_unstable();
        assert_eq!(found, expected, "{text}");
    }
}

#[test]
fn the_example_is_right() {
    let loaded = load(&[PathBuf::from("manifests/examples/fleet.yaml")], &mut std::io::empty()).unwrap().remove(0);
    let fleet = loaded.fleet.as_ref().unwrap();
    let order: Vec<&str> = fleet.in_order().iter().map(|host| host.name.as_str()).collect();
    assert_eq!(order, ["small", "web3", "web1", "web2"]);
    let counts = fleet.hosts.iter().map(|host| loaded.on_host(host).unwrap().app.workers[0].count);
    assert_eq!(counts.collect::<Vec<_>>(), [4, 4, 8, 1]);
}

struct Room(tempfile::TempDir);

impl Room {
    fn new(files: &[(&str, &str)]) -> Self {
        let room = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = room.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        Self(room)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

#[test]
fn hosts_may_stand_in_a_file_of_their_own_even_among_the_manifests() {
    let manifest = shop("  hosts: {file: hosts.yaml}\n");
    let room = Room::new(&[("m/shop.yaml", &manifest), ("m/hosts.yaml", "- name: web1\n- {name: web2, ssh: b}\n")]);
    let loaded = load(&[room.path("m")], &mut std::io::empty()).unwrap();
    let [shop] = loaded.as_slice() else { panic!("{loaded:?}") };
    assert_eq!(shop.fleet.as_ref().unwrap().hosts.len(), 2);
    assert_eq!(shop.hosts_file.as_deref(), Some(room.path("m/hosts.yaml").as_path()));
    let committed = load_commit(room.0.path(), Some(Path::new("m")), false).unwrap();
    assert_eq!(committed[0].fleet, shop.fleet);

    let room = Room::new(&[
        ("shop.yaml", &manifest),
        ("hosts.yaml", "- name: web1\n- {name: web1, shh: x}\n- {name: c, ssh: -x}\n"),
    ]);
    let errors = load(&[room.0.path().to_owned()], &mut std::io::empty()).unwrap_err();
    let shown: Vec<String> = errors.mistakes.iter().map(|one| format!("{}: {one}", one.line.unwrap_or(0))).collect();
    let place = room.path("hosts.yaml").to_string_lossy().into_owned();
    assert!(errors.mistakes.iter().all(|one| one.file == place), "{errors}");
    assert_eq!(
        shown,
        [
            "2: a host named `web1` is there already",
            "2: a host at `web1` is there already",
            "2: unknown key `shh` in `[1]`",
            "3: `[2].ssh` is not allowed to begin with `-`, which ssh would take for an option",
        ]
    );
}

/// What is wrong is told where it is used; what to do names the file where it stands.
#[test]
fn what_is_wrong_with_a_var_says_in_which_file_it_is_to_be_mended() {
    for (list, help) in [
        ("- {name: a, vars: {n: many}}\n", "correct it in the `vars` of the host in `hosts.list`"),
        ("- {name: a}\n", "add it to the `vars` of the host in `hosts.list`"),
    ] {
        let group =
            "  workers: [{name: q, count: '${vars.n}', manager: {builtin: {run: x}}}]\n  hosts: {file: hosts.list}\n";
        let room = Room::new(&[("shop.yaml", &shop(group)), ("hosts.list", list)]);
        let errors = load(&[room.path("shop.yaml")], &mut std::io::empty()).unwrap_err();
        let [only] = errors.mistakes.as_slice() else { panic!("{errors}") };
        assert_eq!((only.line, only.help.as_deref()), (Some(7), Some(help)), "{errors}");
    }
}

#[test]
fn a_file_of_hosts_that_cannot_be_read_is_told_where_it_is_named() {
    let rows = [("none.list", "`spec.hosts.file` cannot be read"), ("", "`spec.hosts.file` is empty")];
    for (file, expected) in rows {
        let room = Room::new(&[("shop.yaml", &shop(&format!("  hosts: {{file: '{file}'}}\n")))]);
        let errors = load(&[room.path("shop.yaml")], &mut std::io::empty()).unwrap_err();
        let [only] = errors.mistakes.as_slice() else { panic!("{errors}") };
        assert!(only.to_string().starts_with(expected), "{errors}");
        assert_eq!(only.line, Some(7));
    }
    assert_eq!(
        mistakes(&shop("  hosts: {file: hosts.list}\n")),
        ["7: `spec.hosts.file` is relative, and the standard input has no directory"]
    );
    // Of a commit, only its own files count.
    let outside = Room::new(&[("hosts.list", "- name: web1\n")]);
    let (link, absolute) = (shop("  hosts: {file: link}\n"), outside.path("hosts.list"));
    let room = Room::new(&[
        ("shop.yaml", &link),
        ("abs.yaml", &shop(&format!("  hosts: {{file: {}}}\n", absolute.display()))),
    ]);
    std::os::unix::fs::symlink(&absolute, room.path("link")).unwrap();
    let shown = load_commit(room.0.path(), Some(Path::new("shop.yaml")), false).unwrap_err().to_string();
    assert!(shown.contains("leads out of the repository"), "{shown}");
    let shown = load_commit(room.0.path(), Some(Path::new("abs.yaml")), false).unwrap_err().to_string();
    assert!(shown.contains("a commit has only its own files"), "{shown}");
}

/// Two Apps may have one root, if no host has both.
#[test]
fn what_only_one_may_have_is_counted_for_each_host() {
    let app = |name: &str, hosts: &str| shop(hosts).replace("name: shop", &format!("name: {name}"));
    let both = |a: &str, b: &str| load_text(&format!("{}---\n{}", app("a", a), app("b", b)));
    assert!(both("  hosts: [{name: x}]\n", "  hosts: [{name: y}, {name: z}]\n").is_ok());
    for (a, b) in [("  hosts: [{name: x}]\n", "  hosts: [{name: y}, {name: x}]\n"), ("  hosts: [{name: x}]\n", "")] {
        let errors = both(a, b).unwrap_err();
        assert!(errors.to_string().contains("an App with the root `/srv/shop` is there already"), "{errors}");
    }
}

/// An agent knows its host by the name, whoever connects by the address: either tells that two are one.
#[test]
fn a_host_by_two_names_is_one() {
    let rows = [
        ("{name: a, ssh: x}", "{name: b, ssh: x}", true),
        ("{name: a, ssh: x}", "{name: a, ssh: y}", true),
        ("{name: a}", "{name: b, ssh: a}", true),
        ("{name: a, ssh: b}", "{name: b}", true),
        ("{name: a, ssh: 'deploy@x.example.org'}", "{name: b, ssh: 'deploy@X.Example.ORG:22'}", true),
        ("{name: a, ssh: '[2001:db8::2]:22'}", "{name: b, ssh: '[2001:db8::2]'}", true),
        ("{name: c}, {name: a, ssh: x}", "{name: d}, {name: b, ssh: x}", true),
        ("{name: a, ssh: x}", "{name: b, ssh: y}", false),
        ("{name: a, ssh: x}", "{name: x, ssh: y}", false),
        ("{name: a, ssh: 'x:2201'}", "{name: b, ssh: 'x:2202'}", false),
        ("{name: a, ssh: deploy@x}", "{name: b, ssh: root@x}", true),
        ("{name: a, ssh: deploy@web1@x}", "{name: b, ssh: deploy@web2@x}", false),
    ];
    for (a, b, is_one) in rows {
        let app = |name: &str, hosts: &str| {
            shop(&format!("  hosts: [{hosts}]\n")).replace("name: shop", &format!("name: {name}"))
        };
        let loaded = load_text(&format!("{}---\n{}", app("one", a), app("two", b)));
        let told = loaded.err().map(|errors| errors.to_string()).unwrap_or_default();
        assert_eq!(told.contains("an App with the root `/srv/shop` is there already"), is_one, "{a} {b}: {told}");
        assert!(is_one || told.is_empty(), "{a} {b}: {told}");
        // Each by itself is right.
        assert!([app("one", a), app("two", b)].iter().all(|text| load_text(text).is_ok()));
    }
}

/// One repository for all hosts: each takes what names it, as it is there, and what names nobody.
#[test]
fn a_host_picks_itself_by_name() {
    let here = app_named("here", "");
    let shop = app_named(
        "shop",
        "  workers: [{name: q, count: '${vars.n}', manager: {builtin: {run: x}}}]\n  hosts: [{name: web1, vars: {n: 1}}, {name: web2, vars: {n: 7}}]\n",
    );
    let other = app_named("other", "  hosts: [{name: db1}]\n");
    let loaded = load_text(&format!("{here}---\n{shop}---\n{other}")).unwrap();
    let names = |host: &[&str]| {
        let host: Vec<String> = host.iter().map(|name| (*name).to_owned()).collect();
        let own = of_this_host(loaded.clone(), &host).unwrap();
        own.iter()
            .map(|one| (one.app.name.to_string(), one.app.workers.first().map(|group| group.count)))
            .collect::<Vec<_>>()
    };
    let row = |name: &str, count| (name.to_owned(), count);
    assert_eq!(names(&["web2"]), [row("here", None), row("shop", Some(7))]);
    assert_eq!(names(&["web1.example.org", "web1"]), [row("here", None), row("shop", Some(1))]);
    assert_eq!(names(&["db1"]), [row("here", None), row("other", None)]);
    assert_eq!(names(&["web3"]), [row("here", None)]);
}

fn app_named(name: &str, spec: &str) -> String {
    shop(spec).replace("name: shop", &format!("name: {name}")).replace("/srv/shop", &format!("/srv/{name}"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    /// Whatever a var says, what a host gets is that text, and the way there changes nothing of it.
    #[test]
    fn any_text_arrives_as_it_is(value in "[^\0]{0,40}", name in "[A-Za-z_][A-Za-z0-9_-]{0,8}") {
        let document = serde_json::json!({
            "apiVersion": "trueup/v1", "kind": "App", "metadata": {"name": "shop"},
            "spec": {
                "root": "/srv/shop",
                "release": {"id": "r1", "verify": [{"run": "x", "env": {"A": format!("<${{vars.{name}}}>")}}]},
                "health": {"http": {"url": "http://x/"}},
                "hosts": [{"name": "web1", "vars": {name: value.clone()}}],
            },
        });
        // Whoever writes such a text in YAML escapes what JSON need not.
        let odd = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}');
        let text: String = document.to_string().chars()
            .map(|c| if odd(c) { format!("\\u{:04x}", u32::from(c)) } else { c.to_string() })
            .collect();
        let loaded = one(&text);
        let there = loaded.on_host(&loaded.fleet.as_ref().unwrap().hosts[0]).unwrap();
        prop_assert_eq!(&there.app.release.verify[0].env["A"], &EnvValue::Plain(format!("<{value}>")));
        let again = one(&there.wire());
        prop_assert_eq!(&again.app, &there.app);
        prop_assert_eq!(again.wire(), there.wire());
        let Some(Probe::Http { url, .. }) = again.app.health.map(|health| health.probe) else { panic!() };
        prop_assert_eq!(url, "http://x/");
    }
}

/// Wherever a manifest may name a variable of trueup's own environment, and nowhere else.
#[test]
fn what_is_read_from_ones_own_environment_stays_at_home() {
    let hosts = "  hosts: [{name: web1, labels: {envVar: x}, vars: {envVar: x}}]\n";
    let text = shop(&format!(
        "  workers: [{{name: q, count: 1, manager: {{supervisord: {{group: q, password: {{envVar: SHOP}}}}}}}}]\n{hosts}"
    ));
    let text = text.replace(
        "{id: r1}",
        "{id: r1, build: [make, {run: x, env: {envVar: plain, T: {file: /etc/t}}}], hooks: {afterSwitch: [{run: y, env: {U: {envVar: V}}}]}}",
    );
    let errors = one(&text).leaves_home().unwrap_err();
    let told: Vec<String> = errors.mistakes.iter().map(|mistake| mistake.message.clone()).collect();
    let expected = [
        ("`spec.release.hooks.afterSwitch[0].env.U`", "`V`"),
        ("`spec.workers[0].manager.supervisord.password`", "`SHOP`"),
    ];
    assert_eq!(told.len(), expected.len(), "{told:?}");
    for (said, (place, name)) in told.iter().zip(expected) {
        assert!(said.starts_with(place) && said.contains(name), "{said}");
    }
    assert!(one(&text.replace("envVar: SHOP", "file: /x").replace("envVar: V", "file: /y")).leaves_home().is_ok());
}
