//! Manifest files in, Apps or all located mistakes out.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail on the spot")]

use std::fmt::Write as _;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::tz::TimeZone;
use trueup::manifest::schema::json_schema;
use trueup::manifest::{LoadErrors, Loaded, load, to_string};
use trueup::model::amount::Amount;
use trueup::model::app::{CommandLine, ConnectTo, Manager, SecretSource, StrayPolicy};
use trueup::model::health::Probe;
use trueup::model::sync::{SyncPolicy, Window, WindowKind};

fn fixture(name: &str) -> PathBuf {
    Path::new("tests/manifests").join(name)
}

fn load_files(paths: &[PathBuf]) -> Result<Vec<Loaded>, LoadErrors> {
    load(paths, &mut std::io::empty())
}

/// Through the standard input, where nothing is relative to a directory.
fn load_text(text: &str) -> Result<Vec<Loaded>, LoadErrors> {
    load(&[PathBuf::from("-")], &mut text.as_bytes())
}

fn refused(text: &str) -> LoadErrors {
    load_text(text).expect_err(text)
}

fn app(spec: &str) -> String {
    format!("apiVersion: trueup/v1\nkind: App\nmetadata: {{name: web}}\nspec:\n  root: /srv/web\n{spec}")
}

#[test]
fn the_least_manifest_gets_the_defaults() {
    let loaded = load_files(&[fixture("good/minimal.yaml")]).unwrap();
    let [one] = loaded.as_slice() else { panic!("{loaded:?}") };
    assert_eq!(one.app.name.as_str(), "web");
    assert_eq!(one.app.release.id.as_str(), "20260111-150000");
    assert_eq!(one.app.strays, StrayPolicy::Report);
    assert!(one.app.workers.is_empty() && one.app.health.is_none());
    assert_eq!(one.app.sync, SyncPolicy::default());
    let SyncPolicy { suspend, automatic, self_heal, interval, max_corrections, prune, .. } = one.app.sync;
    assert_eq!((suspend, automatic, self_heal, prune), (false, true, true, false));
    assert_eq!((interval, max_corrections), (Duration::from_mins(1), 30));
    assert_eq!(one.source.to_string(), "tests/manifests/good/minimal.yaml:2");

    let text = app(
        "  release: {id: 1}\n  workers: [{name: a, manager: {builtin: {run: x}}}]\n  health: {http: {url: 'http://x/'}}\n",
    );
    let app = load_text(&text).unwrap().remove(0).app;
    let group = &app.workers[0];
    assert_eq!((group.count, group.stop_timeout), (1, Duration::from_secs(30)));
    assert_eq!(group.max_unavailable, Amount::Percent(100));
    let health = app.health.unwrap();
    assert_eq!(
        (health.timeout, health.attempts, health.interval),
        (Duration::from_secs(10), 5, Duration::from_secs(3))
    );
    assert_eq!(health.expect[0].0, "status >= 200 && status < 300");
}

#[test]
fn every_key_arrives() {
    let app = load_files(&[fixture("good/full.yaml")]).unwrap().remove(0).app;
    assert_eq!(
        app.labels.into_iter().collect::<Vec<_>>(),
        [("canary", "true"), ("team", "web"), ("tier", "1")].map(|(a, b)| (a.to_owned(), b.to_owned()))
    );
    assert_eq!(app.user.unwrap().as_str(), "deploy");
    assert_eq!(app.release.id.as_str(), "1e3");
    assert_eq!(app.release.requires.len(), 2);
    assert_eq!(app.strays, StrayPolicy::Stop);
    let berlin = TimeZone::get("Europe/Berlin").unwrap();
    let window = |kind, schedule: &str, hours, time_zone| {
        let (schedule, duration) = (schedule.to_owned(), Duration::from_hours(hours));
        Window { kind, schedule, duration, time_zone }
    };
    let expected = SyncPolicy {
        suspend: true,
        reason: Some("moving the database".to_owned()),
        automatic: false,
        self_heal: false,
        interval: Duration::from_mins(5),
        windows: vec![
            window(WindowKind::Allow, "0 22 * * *", 8, berlin),
            window(WindowKind::Deny, "0 0 24 12 *", 72, TimeZone::UTC),
        ],
        max_corrections: 12,
        prune: true,
    };
    assert_eq!(app.sync, expected);

    let [default, mail, import] = app.workers.as_slice() else { panic!("{:?}", app.workers) };
    let Manager::Supervisord(supervisord) = &default.manager else { panic!("{default:?}") };
    assert_eq!(supervisord.program.as_deref(), Some("default"));
    assert_eq!(supervisord.password, Some(SecretSource::File("/etc/trueup/supervisor.password".into())));
    assert_eq!((default.count, default.stop_timeout), (2, Duration::from_secs(90)));
    assert_eq!(default.max_unavailable, Amount::Percent(50));
    assert_eq!(default.restart_on[0].run, Some(CommandLine::Shell("php artisan config:cache".to_owned())));
    assert_eq!(mail.max_unavailable, Amount::Count(1));
    assert_eq!(import.count, 0);
    let Manager::Builtin(builtin) = &import.manager else { panic!("{import:?}") };
    assert_eq!(builtin.run.argv(), ["php", "artisan", "queue:work", "--sleep", "3"]);
    assert_eq!(builtin.env["DEBUG"], "false");

    let health = app.health.unwrap();
    assert_eq!(
        (health.timeout, health.attempts, health.interval),
        (Duration::from_secs(5), 7, Duration::from_millis(500))
    );
    assert_eq!(health.watch, Some(Duration::from_secs(30)));
    let Probe::Http { headers, connect_to, .. } = &health.probe else { panic!("{health:?}") };
    assert_eq!(headers["x-probe"], "1");
    assert_eq!(*connect_to, Some(ConnectTo::Tcp("127.0.0.1:443".parse().unwrap())));
    assert_eq!(health.expect.len(), 4);
}

#[test]
fn one_file_may_hold_several_documents() {
    let loaded = load_files(&[fixture("good/several.yaml")]).unwrap();
    let [file, command, json] = loaded.as_slice() else { panic!("{}", loaded.len()) };
    let here = Path::new("tests/manifests/good").canonicalize().unwrap();
    assert_eq!(file.app.root.path(), here.join("several/file"));
    assert_eq!(file.app.release.id.as_str(), "007");
    let health = file.app.health.as_ref().unwrap();
    let path = here.join("several/file/shared/health.json");
    assert_eq!(health.probe, Probe::File { path, max_age: Some(Duration::from_secs(90)) });
    assert_eq!(command.app.workers[1].stop_timeout, Duration::from_mins(10));
    assert_eq!(command.app.health.as_ref().unwrap().timeout, Duration::from_secs(30));
    assert_eq!(command.source.line, 15);
    let Probe::Http { connect_to, .. } = &json.app.health.as_ref().unwrap().probe else { panic!("{json:?}") };
    assert_eq!(*connect_to, Some(ConnectTo::Unix("/run/app.sock".into())));
}

#[test]
fn release_ids_stay_as_typed() {
    for id in [
        "20260111085234",
        "1e3",
        "007",
        "0x10",
        "2026-01-11",
        "1.10",
        "12:30:45",
        "true",
        "no",
        "1_000",
        "+1",
        &"9".repeat(44),
    ] {
        for spelled in [id.to_owned(), format!("\"{id}\""), format!("'{id}'")] {
            let loaded = load_text(&app(&format!("  release: {{id: {spelled}}}\n"))).unwrap();
            assert_eq!(loaded[0].app.release.id.as_str(), id);
            // Printed and read again it is the same.
            let printed = to_string(&loaded[0].document).unwrap();
            assert_eq!(load_text(&printed).unwrap()[0].app, loaded[0].app, "{printed}");
        }
    }
}

#[test]
fn a_printed_document_is_the_same_manifest() {
    for loaded in load_files(&[fixture("good/full.yaml"), fixture("good/minimal.yaml")]).unwrap() {
        let printed = to_string(&loaded.document).unwrap();
        let again = load_text(&printed).unwrap().remove(0);
        assert_eq!((again.app, again.document), (loaded.app, loaded.document), "{printed}");
    }
}

#[test]
fn every_mistake_is_told_at_its_place() {
    let mut shown = String::new();
    for name in ["bad/eight.yaml", "bad/types.yaml", "bad/clashes.yaml", "bad/syntax.yaml", "bad/release.yaml"] {
        let errors = load_files(&[fixture(name)]).unwrap_err();
        let _ = writeln!(shown, "{errors}\n");
    }
    insta::assert_snapshot!("mistakes", shown);
}

#[test]
fn mistakes_are_shown_with_their_lines_and_a_remedy() {
    let errors = load_files(&[fixture("bad/eight.yaml"), fixture("bad/none.yaml")]).unwrap_err();
    insta::assert_snapshot!("plain", errors.render(false, 100));
    assert!(errors.render(true, 100).contains("\u{1b}["));
    let json = errors.to_json();
    assert_eq!(json.as_array().unwrap().len(), errors.mistakes.len());
    insta::assert_json_snapshot!("json", [&json[0], &json[errors.mistakes.len() - 1]]);
}

/// The mistakes of several documents and files come together, and a file reached twice counts once.
#[test]
fn directories_are_read_whole_and_every_file_once() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let manifest = |name: &str| {
        format!(
            "apiVersion: trueup/v1\nkind: App\nmetadata: {{name: {name}}}\nspec: {{root: /srv/{name}, release: {{id: 1}}}}\n"
        )
    };
    std::fs::write(path("b.yaml"), manifest("b")).unwrap();
    std::fs::write(path("a.yml"), manifest("a")).unwrap();
    std::fs::write(path(".#b.yaml"), "not: this").unwrap();
    std::fs::write(path("notes.txt"), "nor this").unwrap();
    std::fs::create_dir(path("deeper.yaml")).unwrap();
    std::os::unix::fs::symlink(path("b.yaml"), path("link.yaml")).unwrap();
    let loaded = load_files(&[directory.path().to_owned(), path("b.yaml"), path("link.yaml")]).unwrap();
    let names: Vec<_> = loaded.iter().map(|loaded| loaded.app.name.as_str()).collect();
    assert_eq!(names, ["a", "b"]);

    std::fs::write(path("c.yaml"), manifest("b").replace("/srv/b", "/srv/c")).unwrap();
    let errors = load_files(&[directory.path().to_owned()]).unwrap_err();
    let [clash] = errors.mistakes.as_slice() else { panic!("{errors}") };
    assert!(clash.file.ends_with("c.yaml"), "{clash:?}");
    assert!(clash.help.as_ref().unwrap().contains("b.yaml:3"), "{clash:?}");

    let empty = path("deeper.yaml");
    assert!(load_files(&[empty]).unwrap_err().to_string().contains("no *.yaml"));
}

#[test]
fn wrong_policies_are_told_at_their_place_with_a_remedy() {
    let with = |sync: &str| app(&format!("  release: {{id: 1}}\n  sync: {{{sync}}}\n"));
    let window = |schedule: &str, rest: &str| with(&format!("windows: [{{kind: deny, schedule: {schedule}, {rest}}}]"));
    let health =
        |watch: &str| app(&format!("  release: {{id: 1}}\n  health: {{http: {{url: 'http://x/'}}, watch: {watch}}}\n"));
    let rows = [
        ("zero interval", with("interval: 0s"), "`spec.sync.interval` is 0", "1s or more", "0s"),
        ("short interval", with("interval: 999ms"), "`spec.sync.interval` is too short: 999 ms", "1s or more", "999ms"),
        ("no unit", with("interval: 60"), "a number without a unit", "write `60s`", "60"),
        ("watch", health("0s"), "`spec.health.watch` is 0", "1s or more", "0s"),
        ("short watch", health("10ms"), "`spec.health.watch` is too short: 10 ms", "1s or more", "10ms"),
        ("hour", window("'0 24 * * *'", "duration: 1h"), "must be in range 0..=23; found 24", "minute, hour", "24 *"),
        ("fields", window("'0 24 * *'", "duration: 1h"), "it has 4 fields, not 5", "minute, hour", "'0 24"),
        ("never", window("'0 0 31 2 *'", "duration: 1h"), "such a day never comes", "minute, hour", "'0 0"),
        ("word", window("'@daily'", "duration: 1h"), "`@daily` is an abbreviation", "minute, hour", "'@daily"),
        (
            "zone in the schedule",
            window("'0 2 * * * Europe/Berlin'", "duration: 1h"),
            "it has 6 fields, not 5",
            "`timeZone: Europe/Berlin`",
            "'0 2",
        ),
        (
            "short",
            window("'0 2 * * *'", "duration: 59s"),
            "`spec.sync.windows[0].duration` is too short",
            "write 1m",
            "59s",
        ),
        ("long", window("'0 2 * * *'", "duration: 400d"), "longer than a year", "365d", "400d"),
        (
            "zone",
            window("'0 2 * * *'", "duration: 1h, timeZone: Europe/Belrin"),
            "`spec.sync.windows[0].timeZone` is no time zone: `Europe/Belrin`",
            "did you mean `Europe/Berlin`?",
            "Europe/Belrin",
        ),
        (
            "no zone",
            window("'0 2 * * *'", "duration: 1h, timeZone: Middle-earth/Rivendell"),
            "is no time zone",
            "IANA",
            "Middle-earth",
        ),
        ("limit", with("maxCorrectionsPerHour: 0"), "must be 1 or more", "1 or a larger", "0}"),
    ];
    for (name, text, message, help, place) in rows {
        let errors = refused(&text);
        let [mistake] = errors.mistakes.as_slice() else { panic!("{name}: {errors}") };
        assert!(mistake.message.contains(message), "{name}: {mistake}");
        assert!(mistake.help.as_ref().unwrap().contains(help), "{name}: {:?}", mistake.help);
        let column = text.lines().nth(6).unwrap().find(place).unwrap() + 1;
        assert_eq!((mistake.line, mistake.column), (Some(7), Some(column)), "{name}: {mistake}");
    }
}

/// The remedy is one for the mistake that was made.
#[test]
fn common_mistakes_are_told_with_what_to_do() {
    let release = "  release: {id: 1}\n";
    let probe = |url: &str| app(&format!("{release}  health: {{http: {{url: '{url}'}}}}\n"));
    let rollout = |share: &str| {
        app(&format!(
            "{release}  workers:\n    - {{name: a, manager: {{builtin: {{run: x}}}}, rollout: {{maxUnavailable: {share}}}}}\n"
        ))
    };
    let spaces = "YAML is indented with spaces only";
    let dash = "write each element behind `- `, as in `- run: …`, even if it is the only one";
    let whole = "write it whole, such as `http://localhost/health`";
    let nobody = "`spec.workers[0].rollout.maxUnavailable` is 0: no worker could ever be replaced";
    let version = |version: &str| app(release).replace("trueup/v1", version);
    let rows = [
        (
            app(&format!("{release}  health:\n    http:\n      url: http://x/\n\t\theaders: {{}}\n")),
            "10:1",
            "a tab in the indentation",
            spaces,
        ),
        (
            app(&format!("{release}  health:\n    http:\n      url: 'http://x/'\n\n      \theaders: {{}}\n")),
            "11:7",
            "a tab in the indentation",
            spaces,
        ),
        (
            app("  release:\n    id: 1\n    verify:\n      run: make test\n"),
            "9:7",
            "`spec.release.verify` must be a list, not a map",
            dash,
        ),
        (
            app("  release: {id: 1, verify: {run: make test}}\n"),
            "6:29",
            "`spec.release.verify` must be a list, not a map",
            dash,
        ),
        (
            app("  release: {id: 1, requires: {a: b}}\n"),
            "6:31",
            "`spec.release.requires` must be a list, not a map",
            "write each element behind `- `, even if it is the only one",
        ),
        (
            app(&format!("{release}  health:\n    - http: {{url: 'http://x/'}}\n")),
            "7:3",
            "`spec.health` must be a map, not a list",
            "write its keys below it, indented, without `- ` before them",
        ),
        (
            probe("127.0.0.1:8080/health"),
            "7:24",
            "`spec.health.http.url` is no URL: it does not begin with `http://`",
            "did you mean `http://127.0.0.1:8080/health`?",
        ),
        (
            probe("localhost:80"),
            "7:24",
            "`spec.health.http.url` is no URL: it does not begin with `http://`",
            "did you mean `http://localhost:80`?",
        ),
        (probe("health"), "7:24", "`spec.health.http.url` is no URL: it does not begin with `http://`", whole),
        (probe("u:1@h.example/"), "7:24", "`spec.health.http.url` is no URL: it does not begin with `http://`", whole),
        (probe("http://"), "7:24", "`spec.health.http.url` is no URL: empty host", whole),
        (
            version("trueup/v2"),
            "1:13",
            "`apiVersion` must be `trueup/v1`, not `trueup/v2`",
            "this trueup reads `trueup/v1` only: write it as that, or have a trueup that knows `trueup/v2` read it",
        ),
        (
            version("apps/v1"),
            "1:13",
            "`apiVersion` must be `trueup/v1`, not `apps/v1`",
            "keep documents of other programs in other files",
        ),
        (rollout("0"), "8:73", nobody, "write `1` or more"),
        (rollout("0%"), "8:73", nobody, "write `1` or more"),
    ];
    for (text, place, message, help) in rows {
        let errors = refused(&text);
        let [mistake] = errors.mistakes.as_slice() else { panic!("{text}: {errors}") };
        assert_eq!(errors.to_string(), format!("<stdin>:{place}: {message}"), "{text}");
        assert_eq!(mistake.help.as_deref(), Some(help), "{text}");
    }
    for share in ["1", "1%"] {
        assert!(load_text(&rollout(share)).is_ok(), "{share}");
    }
}

#[test]
fn a_root_is_absolute_or_beside_its_manifest() {
    let with_root = |root: &str| app("  release: {id: 1}\n").replace("/srv/web", root);
    for (root, message) in [
        ("srv/web", "`spec.root` is not an absolute path"),
        ("../web", "the standard input has no directory"),
        ("..web", "`spec.root` is not an absolute path"),
        ("~/web", "`spec.root` is not an absolute path"),
        ("/", "`spec.root` is `/`"),
        ("/srv/../etc", "`spec.root` is not a path that stays inside"),
        ("./web", "the standard input has no directory"),
    ] {
        let errors = refused(&with_root(root));
        let [mistake] = errors.mistakes.as_slice() else { panic!("{errors}") };
        assert!(mistake.message.contains(message), "{root}: {mistake}");
        assert_eq!((mistake.line, mistake.column), (Some(5), Some(9)), "{root}");
    }
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("m.yaml");
    std::fs::write(&file, with_root("./target/web")).unwrap();
    let root = load_files(std::slice::from_ref(&file)).unwrap().remove(0).app.root;
    assert_eq!(root.path(), directory.path().canonicalize().unwrap().join("target/web"));
    let nested = directory.path().join("manifests");
    std::fs::create_dir(&nested).unwrap();
    let beside = nested.join("m.yaml");
    std::fs::write(&beside, with_root("../target/web")).unwrap();
    let root = load_files(&[beside]).unwrap().remove(0).app.root;
    assert_eq!(root.path(), directory.path().canonicalize().unwrap().join("target/web"));
    std::fs::write(&file, with_root("./../web")).unwrap();
    assert!(load_files(&[file]).unwrap_err().to_string().contains("stays inside"));
}

#[test]
fn what_is_no_manifest_is_said_in_words() {
    let rows: [(&[u8], &str); 11] = [
        (b"", "there is no document in it"),
        (b"# nothing\n---\n# more of it\n", "there is no document in it"),
        (b"a: \xff\n", "<stdin>:1:4: the text is not UTF-8"),
        (b"\xff\xfea\0", "UTF-16"),
        (b"a: b\nc\0d: e\n", "<stdin>:2:2: a NUL byte"),
        (b"a: \"\\0\"\n", "<stdin>:1:4: a NUL character in a text"),
        (b"a:\n\tb: c\n", "<stdin>:2:1: a tab in the indentation"),
        (b"- a\n- b\n", "the document must be a map, not a list"),
        (b"text", "the document must be a map, not `text`"),
        (b"{", "this is no YAML"),
        (b"\"open", "the quote is never closed"),
    ];
    for (bytes, message) in rows {
        let errors = load(&[PathBuf::from("-")], &mut &bytes[..]).unwrap_err();
        assert!(errors.to_string().contains(message), "{:?}: {errors}", String::from_utf8_lossy(bytes));
    }
    let bom = format!("\u{feff}{}", app("  release: {id: 1}\n"));
    assert_eq!(load_text(&bom).unwrap().len(), 1);
    let crlf = app("  release: {id: 1}\n").replace('\n', "\r\n");
    assert_eq!(load_text(&crlf).unwrap()[0].app.root.path(), Path::new("/srv/web"));
}

/// Refused in bounded time and memory: the tests would hang or die otherwise.
#[test]
fn hostile_files_are_refused_quickly() {
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..20 {
        let inner = vec![format!("*a{}", level - 1); 10].join(", ");
        let _ = writeln!(bomb, "a{level}: &a{level} [{inner}]");
    }
    let rows = [
        (bomb, "more than 50000 values"),
        (format!("a: &a [{}]\nb: [{}]\n", "x, ".repeat(5000), "*a, ".repeat(20_000)), "more than 50000 values"),
        (format!("a: {}", "[".repeat(100_000)), "inside each other"),
        (format!("a: {}", "{a: ".repeat(100_000)), "inside each other"),
        (lines(200, |level| format!("{}a:", " ".repeat(level))), "inside each other"),
        ("- ".repeat(100_000), "inside each other"),
        ("---\na: b\n".repeat(5000), "mistakes"),
        ("---\n".repeat(5000), "more than 1000 documents"),
        ("a: b\n".repeat(50_000), "mistakes"),
        (lines(50_000, |key| format!("k{key}: v")), "more than 50000 values"),
        (
            app(&format!(
                "  release: {{id: 1}}\n  health: {{http: {{url: 'http://x/'}}, expect: [{}]}}\n",
                "body,".repeat(40_000)
            )),
            "at most 50 are allowed",
        ),
        ("a: &a [*a]".to_owned(), "an alias inside of what it stands for"),
        ("x".repeat(1024 * 1024 + 1), "larger than 1024 KiB"),
    ];
    for (text, message) in rows {
        let started = std::time::Instant::now();
        let errors = refused(&text);
        assert!(errors.to_string().contains(message), "{:.60}: {:.300}", text, errors.to_string());
        assert!(errors.mistakes.len() <= 101, "{}", errors.mistakes.len());
        assert!(errors.render(false, 80).len() < 4_000_000);
        assert!(started.elapsed() < Duration::from_secs(20), "{:.60}: {:?}", text, started.elapsed());
    }
    // Endless input is cut off.
    let errors = load(&[PathBuf::from("-")], &mut std::io::repeat(b'#')).unwrap_err();
    assert!(errors.to_string().contains("larger than"), "{errors}");
    let mut failing = Failing;
    assert!(load(&[PathBuf::from("-")], &mut failing).unwrap_err().to_string().contains("cannot read it"));
}

fn lines(count: usize, line: impl Fn(usize) -> String) -> String {
    (0..count).map(line).collect::<Vec<_>>().join("\n")
}

struct Failing;

impl Read for Failing {
    fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
        Err(std::io::Error::other("gone"))
    }
}

#[test]
fn the_committed_schema_is_the_one_of_the_types() {
    let made = format!("{}\n", serde_json::to_string_pretty(&json_schema()).unwrap());
    let path = Path::new("schemas/app.v1.json");
    if std::env::var_os("UPDATE_SCHEMA").is_some() {
        std::fs::write(path, &made).unwrap();
    }
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    assert_eq!(committed, made, "schemas/app.v1.json is stale; renew it: cargo run -- schema > schemas/app.v1.json");
}

fn manifests_below(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            manifests_below(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml") {
            found.push(path);
        }
    }
}

/// Writes every YAML block of a page into a file of its own.
fn blocks(page: &Path, directory: &Path) -> Vec<PathBuf> {
    let text = std::fs::read_to_string(page).unwrap();
    let blocks = text.split("\n```yaml\n").skip(1).map(|block| block.split("\n```").next().unwrap());
    let name = page.file_stem().unwrap().to_str().unwrap();
    let write = |(number, block): (usize, &str)| {
        let path = directory.join(format!("{name}-{number}.yaml"));
        std::fs::write(&path, block).unwrap();
        path
    };
    blocks.enumerate().map(write).collect()
}

/// An editor reads YAML into plain values and knows nothing of our loader: both must agree.
#[test]
fn the_schema_agrees_with_the_loader() {
    let schema = jsonschema::validator_for(&json_schema()).unwrap();
    let values = |path: &Path| -> Vec<serde_json::Value> {
        let text = std::fs::read_to_string(path).unwrap();
        let all: Vec<serde_json::Value> = serde_yaml::from_multiple(&text).unwrap();
        all.into_iter().filter(|value| !value.is_null()).collect()
    };
    let copies = tempfile::tempdir().unwrap();
    let mut files = blocks(Path::new("README.md"), copies.path());
    assert!(files.len() >= 2, "the README shows manifests");
    files.extend(blocks(Path::new("docs/fleet.md"), copies.path()));
    for page in std::fs::read_dir("docs/stacks").unwrap() {
        let shown = blocks(&page.unwrap().path(), copies.path());
        assert!(!shown.is_empty(), "each stack has a whole manifest");
        files.extend(shown);
    }
    for directory in ["tests/manifests/good", "manifests"] {
        manifests_below(Path::new(directory), &mut files);
    }
    assert!(files.len() >= 13, "{files:?}");
    for path in files {
        // Each for itself: examples of one host may stand beside each other without belonging together.
        let loaded = load_files(std::slice::from_ref(&path)).unwrap_or_else(|errors| panic!("{errors}"));
        let values = values(&path);
        assert_eq!(values.len(), loaded.len(), "{}", path.display());
        for value in values {
            let errors: Vec<String> =
                schema.iter_errors(&value).map(|error| format!("{}: {error}", error.instance_path())).collect();
            assert!(errors.is_empty(), "{}: {errors:?}", path.display());
        }
    }
    for value in values(&fixture("bad/types.yaml")) {
        assert!(!schema.is_valid(&value));
    }

    let good = values(&fixture("good/full.yaml")).remove(0);
    let refused = [
        ("/kind", serde_json::json!("Deployment")),
        ("/spec/unknown", serde_json::json!(1)),
        ("/spec/user", serde_json::Value::Null),
        ("/spec/release/id", serde_json::Value::Null),
        ("/spec/release/id", serde_json::json!(["a"])),
        ("/spec/workers/0/count", serde_json::json!(-1)),
        ("/spec/workers/0/count", serde_json::json!("2")),
        ("/spec/workers/0/stopTimeout", serde_json::json!(30)),
        ("/spec/workers/0/stopTimeout", serde_json::json!("30")),
        ("/spec/workers/0/stopTimeout", serde_json::json!("1 fortnight")),
        ("/spec/workers/0/rollout/maxUnavailable", serde_json::json!("120%")),
        ("/spec/workers/0/manager/systemd", serde_json::json!({"unit": "x@"})),
        ("/spec/workers/0/manager", serde_json::json!({})),
        ("/spec/workers/2/manager/builtin/run", serde_json::json!([])),
        ("/spec/health/file", serde_json::json!({"path": "x"})),
        ("/spec/health/attempts", serde_json::json!(0)),
        ("/spec/release/source/git/ref", serde_json::json!("main")),
        ("/spec/release/source/archive", serde_json::json!({"url": "https://host/a.tar"})),
        ("/spec/release/build/0", serde_json::json!("")),
        ("/spec/release/build/0", serde_json::json!([])),
        ("/spec/release/build/1/workingDirectory", serde_json::json!(["a"])),
        ("/spec/release/build/1/env/TOKEN", serde_json::json!({"file": "/a", "envVar": "B"})),
        ("/spec/release/build/1/env/TOKEN", serde_json::json!({})),
        ("/spec/release/verify/0/run", serde_json::json!({})),
        ("/spec/release/keep", serde_json::json!(0)),
        ("/spec/services/0/onRelease", serde_json::json!("never")),
        ("/spec/services/2/manager/command", serde_json::json!({})),
        ("/spec/onFailure", serde_json::json!("retry")),
        ("/spec/strays", serde_json::json!("kill")),
        ("/spec/sync/suspend", serde_json::json!("yes")),
        ("/spec/sync/interval", serde_json::json!(60)),
        ("/spec/sync/maxCorrectionsPerHour", serde_json::json!(0)),
        ("/spec/sync/windows/0/kind", serde_json::json!("maybe")),
        ("/spec/sync/windows/0/duration", serde_json::json!("8")),
        ("/spec/sync/windows/0", serde_json::json!({"kind": "allow", "schedule": "0 22 * * *"})),
    ];
    for (pointer, value) in refused {
        let mut changed = good.clone();
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        match changed.pointer_mut(parent).unwrap() {
            serde_json::Value::Array(list) => list[key.parse::<usize>().unwrap()] = value,
            map => map[key] = value,
        }
        assert!(!schema.is_valid(&changed), "{pointer}");
        let text = serde_json::to_string(&changed).unwrap();
        assert!(load_text(&text).is_err(), "{pointer}");
    }
}

/// `format` words that editors check otherwise than we do, and nulls, must not come back.
#[test]
fn the_schema_has_no_traps_for_editors() {
    let text = json_schema().to_string();
    assert!(!text.contains("\"format\""), "{text}");
    assert!(!text.contains("\"null\""), "{text}");
    for id in [serde_json::json!("a"), serde_json::json!(20_260_111), serde_json::json!(1e3)] {
        let schema = jsonschema::validator_for(&json_schema()).unwrap();
        let manifest = serde_json::json!({"apiVersion": "trueup/v1", "kind": "App", "metadata": {"name": "a"},
            "spec": {"root": "/a", "release": {"id": id}}});
        assert!(schema.is_valid(&manifest), "{id}");
    }
}

#[test]
fn a_long_line_is_shown_in_part() {
    for before in [10, 1000, 70_000, 500_000] {
        let text = app(&format!("  release: {{id: \"1\", requires: [\"{}\"], wrong: 1}}\n", "ä".repeat(before)));
        let errors = load_text(&text).unwrap_err();
        for shown in [errors.render(false, 80), errors.render(true, 80)] {
            let plain = shown.replace('\u{1b}', "");
            assert!(shown.len() < 5_000, "{before}: {} bytes", shown.len());
            let line = text.lines().find(|line| line.contains("wrong")).unwrap();
            let column = line.split("wrong").next().unwrap().chars().count() + 1;
            assert!(plain.contains("wrong: 1") && shown.contains(&format!(":{column}")), "{before}: {shown}");
        }
    }
}

#[test]
fn no_secret_is_echoed() {
    let text = app(
        "  release: {id: '1'}\n  health: {http: {url: \"http://user:hunter2@web/\", headers: {Authorization: \"Bearer hunter2\"}, wrong: 1}}\n",
    );
    let shown = load_text(&text).unwrap_err().render(false, 80);
    assert!(shown.contains("wrong: 1") && shown.contains("Authorization: \"**************\""), "{shown}");
    assert!(!shown.contains("hunter2"), "{shown}");
    let block = app(
        "  release: {id: '1'}\n  health:\n    http:\n      url: http://web/\n      headers:\n        X-Key: hunter2\n        Two: [a]\n",
    );
    let shown = load_text(&block).unwrap_err().render(false, 80);
    assert!(shown.contains("X-Key") && !shown.contains("hunter2"), "{shown}");
}

#[test]
fn no_secret_is_quoted_in_the_words_of_a_mistake() {
    let rows = [
        "  health: {http: {url: 'http://web/', headers: hunter2}}\n",
        "  health: {http: {url: 'http://web/', headers: {Cookie: [hunter2]}}}\n",
        "  release: {id: '1', build: [{run: make, env: hunter2}]}\n",
        "  release: {id: '1', build: [{run: make, env: {hunter2}}]}\n",
        "  release: {id: '1', build: [{run: make, env: {KEY: {hunter2}}}]}\n",
        "  workers: [{name: a, manager: {supervisord: {group: a, username: u, password: hunter2}}}]\n",
        "  workers: [{name: a, manager: {supervisord: {group: a, username: u, password: \"h\\x75nter2\"}}}]\n",
        "  workers: [{name: a, manager: {supervisord: {group: a, username: u, password: !hunter2 x}}}]\n",
        "  workers: [{name: a, manager: {supervisord: {group: a, username: u, password: *hunter2}}}]\n",
    ];
    for text in rows {
        let errors = load_text(&app(text)).unwrap_err();
        let told = format!("{errors}\n{}\n{}", errors.render(false, 200), errors.to_json());
        assert!(!told.contains("hunter") && !told.contains("nter2"), "{text}: {told}");
    }
}

#[test]
fn a_manifest_cannot_draw_on_the_terminal() {
    let text = app("  release: {id: '1'}\n  wrong: \"\u{9b}2J\u{202e}x\"\n");
    let shown = load_text(&text).unwrap_err().render(false, 80);
    assert!(shown.contains("wrong") && !shown.contains(['\u{9b}', '\u{202e}']), "{shown:?}");
}

#[test]
fn numbers_and_names_have_bounds() {
    let rows = [
        ("  release: {id: .hidden}\n", "begins with a dot", "name of one directory"),
        (
            "  release: {id: '1'}\n  workers: [{name: a, count: 10001, manager: {builtin: {run: x}}}]\n",
            "10000",
            "10000",
        ),
    ];
    for (lines, message, help) in rows {
        let errors = load_text(&app(lines)).unwrap_err();
        assert!(errors.mistakes[0].message.contains(message), "{errors}");
        let shown = errors.render(false, 200);
        assert!(shown.contains("help") && shown.contains(help), "{shown}");
    }
    let most = "  release: {id: '1'}\n  workers: [{name: a, count: 10000, manager: {builtin: {run: x}}}]\n";
    assert!(load_text(&app(most)).is_ok());
}

mod never_a_panic {
    use proptest::prelude::*;

    use super::load_text;

    /// What the mutations put into good manifests.
    const SPLICES: [&str; 24] = [
        "\n",
        " ",
        "  ",
        "\t",
        ": ",
        "- ",
        "[",
        "]",
        "{",
        "}",
        "\"",
        "'",
        "&a ",
        "*a",
        "!!str ",
        "|\n",
        ">\n",
        "#",
        "---\n",
        "\0",
        "ä",
        "null",
        "-1",
        "99999999999999999999",
    ];

    fn load_and_show(text: &str) {
        if let Err(errors) = load_text(text) {
            assert!(!errors.mistakes.is_empty());
            assert!(errors.mistakes.iter().all(|mistake| mistake.line != Some(0) && mistake.column != Some(0)));
            let _ = (errors.render(false, 80), errors.render(true, 80), errors.to_json(), errors.to_string());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

        #[test]
        fn whatever_bytes_come(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut bytes = bytes.as_slice();
            let _ = super::load(&["-".into()], &mut bytes).map_err(|errors| errors.render(false, 80));
        }

        #[test]
        fn whatever_text_comes(text in "[ -~\\n\\täö€]{0,300}") {
            load_and_show(&text);
        }

        #[test]
        fn however_a_manifest_is_mangled(
            whole in prop_oneof![
                Just(include_str!("manifests/good/full.yaml")),
                Just(include_str!("manifests/good/several.yaml")),
                Just(include_str!("manifests/bad/eight.yaml")),
                Just(include_str!("manifests/bad/types.yaml")),
            ],
            cuts in proptest::collection::vec((any::<prop::sample::Index>(), 0usize..12, 0..SPLICES.len()), 1..6),
        ) {
            let mut text: Vec<char> = whole.chars().collect();
            for (at, removed, splice) in cuts {
                let at = at.index(text.len() + 1);
                let end = (at + removed).min(text.len());
                text.splice(at..end, SPLICES[splice].chars());
            }
            load_and_show(&text.into_iter().collect::<String>());
        }
    }
}
