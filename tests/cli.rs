//! The program as people and scripts meet it: arguments, exit codes, colours, pipes.

#![allow(clippy::expect_used, reason = "a helper that fails should fail its test on the spot")]

use std::io::{BufRead, BufReader, pipe};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Child, Output, Stdio};

use assert_cmd::Command;

const MANIFEST: &str = "\
apiVersion: trueup/v1
kind: App
metadata: {name: shop}
spec:
  root: /nonexistent/shop
  release: {id: 20260111-150000}
  workers:
    - name: default
      count: 2
      manager: {supervisord: {group: shop-worker}}
";

/// The program in an empty environment, where nothing asks for colour or forbids it.
fn trueup(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_trueup"));
    command.env_clear().args(arguments);
    command
}

fn run(arguments: &[&str]) -> Output {
    trueup(arguments).output().expect("runs")
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("is UTF-8")
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("is UTF-8")
}

/// A directory with the manifest in `manifests/shop.yaml`.
fn place() -> tempfile::TempDir {
    let place = tempfile::tempdir().expect("makes a directory");
    std::fs::create_dir(place.path().join("manifests")).expect("makes a directory");
    std::fs::write(place.path().join("manifests/shop.yaml"), MANIFEST).expect("writes");
    place
}

fn in_place(place: &Path, arguments: &[&str]) -> Output {
    trueup(arguments).current_dir(place).output().expect("runs")
}

/// What people can ask for.
const VERBS: [&str; 17] = [
    "reconcile",
    "agent",
    "diff",
    "status",
    "rollback",
    "retry",
    "suspend",
    "resume",
    "history",
    "releases",
    "evidence",
    "sudoers",
    "doctor",
    "validate",
    "schema",
    "completions",
    "man",
];

#[test]
fn help_reads_well() {
    for verb in std::iter::once("").chain(VERBS) {
        let arguments: Vec<&str> = verb.split_whitespace().chain(["--help"]).collect();
        let output = run(&arguments);
        assert_eq!((output.status.code(), err(&output).as_str()), (Some(0), ""), "{verb}");
        let name = if verb.is_empty() { "trueup" } else { verb };
        insta::assert_snapshot!(format!("help_{name}"), out(&output));
    }
}

#[test]
fn help_is_a_verb_too() {
    for verb in ["reconcile", "status"] {
        assert_eq!(out(&run(&["help", verb])), out(&run(&[verb, "--help"])));
    }
    let place = place();
    let written = in_place(place.path(), &["man", "--out", "made/for/it"]);
    assert_eq!(written.status.code(), Some(0), "{}", err(&written));
    assert!(place.path().join("made/for/it/trueup-reconcile.1").exists());
    assert!(!place.path().join("made/for/it/trueup-help.1").exists());
}

#[test]
fn the_version_is_one_line() {
    let output = run(&["--version"]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(out(&output), format!("trueup {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn wrong_usage_exits_with_64_whatever_the_verb() {
    let place = place();
    let rows: [(&[&str], &str); 12] = [
        (&[], "Usage"),
        (&["recnocile"], "reconcile"),
        (&["diff", "--colour", "always"], "--color"),
        (&["reconcile", "--detailed-exitcode"], "--dry-run"),
        (&["reconcile", "--no-wait"], "--request"),
        (&["reconcile", "--no-wait", "manifests/shop.yaml"], "help: add `--request`"),
        (&["reconcile", "--request", "--wait", "2m"], "--wait"),
        (&["reconcile", "--wait", "30"], "write `30s` for seconds"),
        (&["reconcile", "--wait=-5s"], "remove the sign"),
        (&["reconcile", "--format", "markdown"], "help: add `--dry-run`"),
        (&["status", "--format", "markdown"], "help: choose text, json or yaml"),
        (&["validate", "--format", "markdown"], "help: choose text, json or yaml"),
    ];
    for (arguments, said) in rows {
        let output = in_place(place.path(), arguments);
        assert_eq!(output.status.code(), Some(64), "{arguments:?}");
        assert_eq!(out(&output), "", "{arguments:?}");
        assert!(err(&output).contains(said), "{arguments:?}: {}", err(&output));
    }
}

#[test]
fn validate_names_each_app_and_where_it_stands() {
    let place = place();
    let output = in_place(place.path(), &["validate"]);
    assert_eq!((output.status.code(), out(&output).as_str()), (Some(0), "ok  manifests/shop.yaml:1  shop\n"));
    let output = in_place(place.path(), &["validate", "--format", "json"]);
    let found: serde_json::Value = serde_json::from_str(&out(&output)).expect("is JSON");
    let app = serde_json::json!({"name": "shop", "file": "manifests/shop.yaml", "line": 1});
    let expected = serde_json::json!({
        "apiVersion": "trueup/v1", "kind": "ValidationReport", "valid": true, "apps": [app], "errors": [],
    });
    assert_eq!(found, expected);
    let output = trueup(&["validate", "-"]).write_stdin(MANIFEST).output().expect("runs");
    assert_eq!((output.status.code(), out(&output).as_str()), (Some(0), "ok  <stdin>:1  shop\n"));
}

#[test]
fn validate_checks_the_agents_own_configuration() {
    let place = place();
    let agent = "apiVersion: trueup/v1\nkind: Agent\nspec:\n  listen: 127.0.0.1:9180\n";
    std::fs::write(place.path().join("agent.yaml"), agent).expect("writes");
    let output = in_place(place.path(), &["validate", "agent.yaml", "manifests"]);
    let expected = "ok  manifests/shop.yaml:1  shop\nok  agent.yaml  the agent's own configuration\n";
    assert_eq!((output.status.code(), out(&output).as_str()), (Some(0), expected), "{}", err(&output));
    let output = in_place(place.path(), &["validate", "agent.yaml", "--format", "json"]);
    let found: serde_json::Value = serde_json::from_str(&out(&output)).expect("is JSON");
    assert_eq!((&found["valid"], &found["apps"]), (&true.into(), &serde_json::json!([])));
    assert_eq!(found["agents"], serde_json::json!([{"file": "agent.yaml"}]));
    // Mistakes of both kinds of documents are told together.
    std::fs::write(place.path().join("agent.yaml"), agent.replace("listen", "lisetn")).expect("writes");
    std::fs::write(place.path().join("manifests/shop.yaml"), MANIFEST.replace("count", "conut")).expect("writes");
    let output = in_place(place.path(), &["validate", "agent.yaml", "manifests"]);
    assert_eq!((output.status.code(), out(&output).as_str()), (Some(1), ""));
    for said in ["agent.yaml", "lisetn", "shop.yaml", "conut"] {
        assert!(err(&output).contains(said), "{said}: {}", err(&output));
    }
}

#[test]
fn wrong_manifests_are_an_error_of_every_verb() {
    let place = place();
    let wrong = MANIFEST.replace("count: 2", "conut: 2");
    std::fs::write(place.path().join("manifests/shop.yaml"), wrong).expect("writes");
    for (verb, code) in [("validate", 1), ("reconcile", 1), ("status", 1), ("diff", 2)] {
        let output = in_place(place.path(), &[verb]);
        assert_eq!(output.status.code(), Some(code), "{verb}");
        assert_eq!(out(&output), "", "{verb}");
        for said in ["shop.yaml", "conut", "count"] {
            assert!(err(&output).contains(said), "{verb}: {}", err(&output));
        }
    }
    let output = in_place(place.path(), &["validate", "--format", "json"]);
    assert_eq!(output.status.code(), Some(1));
    let found: serde_json::Value = serde_json::from_str(&out(&output)).expect("is JSON");
    assert_eq!((&found["kind"], &found["valid"]), (&"ValidationReport".into(), &false.into()));
    assert_eq!(found["errors"][0]["line"], 9, "{found}");
}

#[test]
fn without_manifests_the_usual_places_are_named() {
    let empty = tempfile::tempdir().expect("makes a directory");
    if Path::new("/etc/trueup/manifests").exists() {
        println!("skipped: this machine has manifests of its own");
        return;
    }
    for (arguments, code, advice) in [
        (&["diff"][..], 2, "diff shop.yaml"),
        (&["history"], 1, "history shop.yaml"),
        (&["releases", "shop"], 1, "releases shop shop.yaml"),
    ] {
        let output = in_place(empty.path(), arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}");
        let expected = format!(
            "error: there are no manifests in `manifests/` nor in `/etc/trueup/manifests/`\n   \
             help: name a file or a directory, such as `trueup {advice}`\n"
        );
        assert_eq!(err(&output), expected, "{arguments:?}");
    }
}

#[test]
fn an_app_that_is_not_there_is_an_error_with_a_suggestion() {
    let place = place();
    for (verb, code) in [("reconcile", 1), ("status", 1), ("diff", 2)] {
        let output = in_place(place.path(), &[verb, "--app", "shpo"]);
        assert_eq!(output.status.code(), Some(code), "{verb}");
        let expected = "error: there is no App `shpo` in these manifests\n   help: did you mean `shop`?\n";
        assert_eq!(err(&output), expected, "{verb}");
    }
}

#[test]
fn a_path_in_the_place_of_an_apps_name_is_told() {
    // With manifests in the usual place, and without.
    for usual in ["manifests", "elsewhere"] {
        let place = place();
        std::fs::rename(place.path().join("manifests"), place.path().join(usual)).expect("renames");
        std::fs::create_dir(place.path().join("m")).expect("makes a directory");
        for (arguments, advice) in [
            (&["history", "m"][..], "; write `./m`"),
            (&["releases", "m"], ", which comes before a path; write `trueup releases APP ./m`"),
            (&["rollback", "m", "--no-agent"], ", which comes before a path; write `trueup rollback APP ./m`"),
        ] {
            let output = in_place(place.path(), arguments);
            assert_eq!(output.status.code(), Some(1), "{arguments:?}");
            let expected = format!("error: there is no App `m`\n   help: `m` was taken for an App's name{advice}\n");
            assert_eq!(err(&output), expected, "{arguments:?}");
        }
    }
}

#[test]
fn a_host_that_cannot_be_looked_at_is_an_error_and_never_well() {
    let place = place();
    for (arguments, code) in [
        (&["reconcile"][..], 1),
        (&["reconcile", "--dry-run"], 1),
        (&["reconcile", "--dry-run", "--detailed-exitcode"], 1),
        (&["status"], 1),
        (&["diff"], 2),
    ] {
        let output = in_place(place.path(), arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", err(&output));
        assert!(out(&output).contains("/nonexistent/shop"), "{arguments:?}: {}", out(&output));
    }
    let output = in_place(place.path(), &["status", "--format", "json"]);
    assert_eq!(output.status.code(), Some(1));
    let found: serde_json::Value = serde_json::from_str(&out(&output)).expect("is JSON");
    let app = &found["items"][0];
    assert_eq!(app["metadata"]["name"], "shop");
    assert_eq!(app["spec"]["release"]["id"], "20260111-150000");
    let conditions = app["status"]["conditions"].as_array().expect("is a list");
    assert_eq!(conditions.len(), 5);
    assert!(conditions.iter().all(|condition| condition["status"] == "Unknown"), "{conditions:?}");
}

#[test]
fn the_schema_is_the_published_one() {
    let output = run(&["schema"]);
    assert_eq!(output.status.code(), Some(0));
    let published = include_str!("../schemas/app.v1.json");
    assert!(out(&output) == published, "run `just schemas`");
}

#[test]
fn there_are_completions_for_every_shell_and_a_page_for_every_verb() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = out(&run(&["completions", shell]));
        assert!(script.contains("detailed-exitcode"), "{shell}");
    }
    let manual = out(&run(&["man"]));
    for title in std::iter::once("trueup".to_owned()).chain(VERBS.map(|verb| format!("trueup-{verb}"))) {
        assert!(manual.contains(&format!(".TH {title} 1")), "{title}");
    }
    let pages = tempfile::tempdir().expect("makes a directory");
    let path = pages.path().to_str().expect("is UTF-8");
    assert_eq!(run(&["man", "--out", path]).status.code(), Some(0));
    assert!(pages.path().join("trueup-reconcile.1").is_file());
}

#[test]
fn a_page_keeps_the_lines_of_examples_and_of_exit_codes() {
    let pages = tempfile::tempdir().expect("makes a directory");
    let path = pages.path().to_str().expect("is UTF-8");
    assert_eq!(run(&["man", "--out", path]).status.code(), Some(0));
    let page = |name: &str| std::fs::read_to_string(pages.path().join(name)).expect("reads the page");
    for name in std::iter::once("trueup".to_owned()).chain(VERBS.map(|verb| format!("trueup-{verb}"))) {
        let page = page(&format!("{name}.1"));
        let headings: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix(".SH ")).collect();
        assert!(!headings.contains(&"EXTRA"), "{name}: {headings:?}");
        let of_a_verb = name != "trueup";
        for (heading, is_there) in [
            ("NAME", true),
            ("SYNOPSIS", true),
            ("EXAMPLES", true),
            ("\"EXIT STATUS\"", of_a_verb),
            ("\"SEE ALSO\"", of_a_verb),
        ] {
            assert_eq!(
                headings.iter().filter(|found| **found == heading).count(),
                usize::from(is_there),
                "{name}: {heading}"
            );
        }
    }
    assert!(
        page("trueup-diff.1").contains(&format!(".TH trueup-diff 1 \"\" \"trueup {}\"", env!("CARGO_PKG_VERSION")))
    );
    // Without the options, which have tests of their own.
    let page = page("trueup-status.1");
    let first = page.find(".SH NAME").expect("has a name");
    let (above, below) = (page.find(".SH OPTIONS").expect("has options"), page.find(".SH \"EXIT").expect("has codes"));
    insta::assert_snapshot!("manual_page", format!("{}[options]\n{}", &page[first..above], &page[below..]));
}

/// Options, environment, whether there is colour.
type Row<'a> = (&'a [&'a str], &'a [(&'a str, &'a str)], bool);

#[test]
fn colour_is_for_terminals_unless_it_is_asked_for() {
    let place = place();
    let rows: [Row<'_>; 7] = [
        (&[], &[], false),
        (&["--color", "always"], &[], true),
        (&["--color", "always"], &[("NO_COLOR", "1")], true),
        (&["--color", "never"], &[("CLICOLOR_FORCE", "1")], false),
        (&[], &[("CLICOLOR_FORCE", "1")], true),
        (&[], &[("NO_COLOR", "1"), ("CLICOLOR_FORCE", "1")], false),
        (&["--format", "json", "--color", "always"], &[], false),
    ];
    for (options, environment, coloured) in rows {
        let mut command = trueup(&["status"]);
        let output = command.args(options).envs(environment.iter().copied()).current_dir(place.path()).output();
        let output = output.expect("runs");
        assert_eq!(out(&output).contains('\u{1b}'), coloured, "{options:?} {environment:?}");
    }
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    for arguments in [&["schema"][..], &["man"], &["completions", "bash"], &["--help"], &["--version"]] {
        let (reader, writer) = pipe().expect("makes a pipe");
        drop(reader);
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_trueup"));
        let output = command.args(arguments).stdout(writer).stderr(Stdio::piped()).output().expect("runs");
        assert_eq!((output.status.code(), err(&output).as_str()), (Some(0), ""), "{arguments:?}");
    }
    // Errors that nobody hears are errors all the same, and no panic.
    let (reader, writer) = pipe().expect("makes a pipe");
    drop(reader);
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_trueup"));
    let status = command.args(["diff", "/nonexistent", "-vvv"]).stdout(Stdio::null()).stderr(writer).status();
    assert_eq!(status.expect("runs").code(), Some(2));
}

#[test]
fn a_full_disk_is_an_error() {
    for argument in ["schema", "--help", "--version"] {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("opens");
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_trueup"));
        let output = command.arg(argument).stdout(full).stderr(Stdio::piped()).output().expect("runs");
        assert_eq!(output.status.code(), Some(1), "{argument}");
        assert!(err(&output).starts_with("error: cannot write to the standard output\n  cause: "), "{}", err(&output));
    }
}

#[test]
fn a_schema_is_yaml_where_that_is_asked_for_and_never_markdown() {
    let yaml = run(&["schema", "--format", "yaml"]);
    assert!(yaml.status.success() && out(&yaml).starts_with("$defs:\n  Builtin:\n"), "{}", out(&yaml));
    let json = run(&["schema", "--format", "json"]);
    assert_eq!(out(&json), out(&run(&["schema"])));
    assert_eq!(run(&["schema", "--format", "markdown"]).status.code(), Some(64));
}

#[test]
fn an_empty_variable_is_none_and_numbers_are_explained() {
    let place = place();
    for (arguments, said) in [
        (&["reconcile", "--forks", "0"][..], "write a whole number, 1 at least"),
        (&["status", "--connect-timeout", "0s"], "write whole seconds, 1s at least"),
        (&["diff", "--connect-timeout", "1500ms"], "write whole seconds, 1s at least"),
        (&["diff", "--connect-timeout", "3"], "write `3s` for seconds"),
        (&["agent", "--concurrency", "many"], "write a whole number, 1 at least"),
        (&["agent", "-"], "help: name files or directories"),
    ] {
        let output = in_place(place.path(), arguments);
        assert_eq!(output.status.code(), Some(64), "{arguments:?}");
        assert!(err(&output).contains(said), "{arguments:?}: {}", err(&output));
    }
    let mut command = trueup(&["resume", "shop", "manifests/shop.yaml"]);
    let output = command.env("TRUEUP_SOCKET", "").current_dir(place.path()).output().expect("runs");
    assert_eq!(output.status.code(), Some(1), "{}", err(&output));
    assert!(err(&output).contains("/nonexistent/shop"), "{}", err(&output));
}

#[test]
fn a_pipe_among_manifests_is_waited_for_by_nobody() {
    let place = place();
    let pipe = place.path().join("manifests/z.yaml");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().expect("runs");
    assert!(made.success());
    let mut command = trueup(&["validate"]);
    let output = command.current_dir(place.path()).timeout(std::time::Duration::from_mins(1)).output().expect("runs");
    assert_eq!(output.status.code(), Some(1));
    assert!(err(&output).contains("cannot read it: it is no regular file"), "{}", err(&output));
}

/// A root of this test's own, and what the manifest says beside it.
fn with_root(place: &Path, release: &str, more: &str) {
    std::fs::create_dir_all(place.join("source")).expect("makes a directory");
    std::fs::write(place.join("source/app"), "1").expect("writes");
    let manifest = format!(
        "apiVersion: trueup/v1\nkind: App\nmetadata: {{name: shop}}\nspec:\n  root: {0}/shop\n  release:\n    id: r1\n    \
         source: {{dir: {{path: {0}/source}}}}\n{release}{more}",
        place.display(),
    );
    std::fs::write(place.join("shop.yaml"), manifest).expect("writes");
}

#[test]
fn a_first_release_that_fails_is_kept_out_and_not_rolled_back() {
    let build = "    build: [{run: 'echo no >&2; false'}]\n";
    let sick = "  health:\n    command: {run: 'false'}\n    attempts: 1\n";
    for (release, more, current) in [(build, sick, false), ("", sick, true)] {
        let place = tempfile::tempdir().expect("makes a directory");
        with_root(place.path(), release, more);
        let output = in_place(place.path(), &["reconcile", "shop.yaml", "--format", "json"]);
        assert_eq!(output.status.code(), Some(3), "{}", err(&output));
        let report: serde_json::Value = serde_json::from_str(&out(&output)).expect("is JSON");
        assert_eq!(report["items"][0]["outcome"], "quarantined", "{report:#}");
        assert_eq!(place.path().join("shop/current").exists(), current);
        // Of a release that was never switched to, the history tells no health.
        let told = |verb: &str| {
            let output = in_place(place.path(), &[verb, "shop.yaml", "--format", "json"]);
            serde_json::from_str::<serde_json::Value>(&out(&output)).expect("is JSON")["items"][0].clone()
        };
        let (status, history) = (told("status"), told("history"));
        let unhealthy = status["status"]["conditions"][1]["message"].as_str().expect("is not healthy");
        let summary = history["passes"][0]["summary"].as_str().expect("has ended");
        assert_eq!(summary.contains(unhealthy), current, "{summary}: {unhealthy}");

        // What is kept out looks like it everywhere, and no preview calls it fine.
        let diff = in_place(place.path(), &["diff", "shop.yaml"]);
        assert_eq!(diff.status.code(), Some(1), "{}", out(&diff));
        let preview = in_place(place.path(), &["reconcile", "--dry-run", "--format", "markdown", "shop.yaml"]);
        assert_eq!(preview.status.code(), Some(3), "{}", out(&preview));
        let preview = out(&preview);
        assert!(!preview.contains("white_check_mark"), "{preview}");
        for part in ["Kept out", "release `r1` failed", "`trueup retry shop shop.yaml`"] {
            assert!(preview.contains(part), "{part}: {preview}");
        }
    }
}

#[test]
fn nothing_is_run_or_connected_to_for_a_manifest_that_nobody_has_approved() {
    let place = tempfile::tempdir().expect("makes a directory");
    let at = |name: &str| place.path().join(name).display().to_string();
    let show = |more: &str, arguments: &[&str]| {
        with_root(place.path(), "", more);
        let manifest = std::fs::read(place.path().join("shop.yaml")).expect("reads");
        trueup(arguments).write_stdin(manifest).output().expect("runs")
    };
    assert_eq!(show("", &["reconcile", "-"]).status.code(), Some(0));
    std::fs::write(at("secret"), "hush").expect("writes");
    let door = TcpListener::bind("127.0.0.1:0").expect("listens");
    let socket = UnixListener::bind(at("own.sock")).expect("listens");
    door.set_nonblocking(true).and(socket.set_nonblocking(true)).expect("is set");
    let is_untouched = || {
        assert!(!place.path().join("trace").exists(), "it was run");
        assert!(door.accept().is_err() && socket.accept().is_err(), "it was connected to");
    };
    let command = format!("  health: {{command: {{run: ': > {}'}}, attempts: 1}}\n", at("trace"));
    let url = format!("http://{}/", door.local_addr().expect("has one"));
    let http = format!("  health: {{http: {{url: '{url}', timeout: 1s}}, attempts: 1}}\n");
    for health in [&command, &http] {
        let worker = format!("{health}  workers: [{{name: w, count: 1, manager: {{builtin: {{run: ./app}}}}}}]\n");
        let rows: [(&str, &[&str], i32, &str); 6] = [
            (health, &["diff"], 0, "nothing to do; health was not asked"),
            (health, &["diff", "--format", "markdown"], 0, "Nothing to do; health was not asked."),
            (health, &["reconcile", "--dry-run"], 0, "nothing to do; health was not asked"),
            (&worker, &["diff"], 1, "health: not asked"),
            (&worker, &["diff", "--format", "markdown"], 1, "health: not asked"),
            (&worker, &["reconcile", "--dry-run", "--detailed-exitcode"], 2, "health: not asked"),
        ];
        for (more, arguments, code, said) in rows {
            let arguments = [arguments, &["-", "--no-probe"]].concat();
            let output = show(more, &arguments);
            assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}{}", out(&output), err(&output));
            assert!(out(&output).contains(said), "{arguments:?}: {}", out(&output));
            is_untouched();
        }
    }
    // Nor are other addresses and files of it.
    let own = format!("supervisord: {{group: w, socket: {}, password: {{file: {}}}}}", at("own.sock"), at("secret"));
    let rows = [
        (format!("  workers: [{{name: w, count: 1, manager: {{{own}}}}}]\n"), 2, "is not asked: the manifest names it"),
        (format!("  services: [{{name: w, manager: {{{own}}}}}]\n"), 1, "is not asked: the manifest names it"),
        ("  hosts: [{name: web1, ssh: deploy@127.0.0.1}]\n".to_owned(), 2, "`--no-probe` connects to none"),
        (format!("  hosts: {{file: {}}}\n", at("secret")), 2, "is not read for a manifest that nobody has approved"),
    ];
    for (more, code, said) in rows {
        let output = show(&more, &["diff", "-", "--no-probe"]);
        let told = format!("{}{}", out(&output), err(&output));
        let told = told.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(output.status.code(), Some(code), "{more}: {told}");
        assert!(told.contains(said) && !told.contains("hush"), "{more}: {told}");
        is_untouched();
    }

    // What it spares: the same manifests otherwise.
    show(&http, &["diff", "-"]);
    assert!(door.accept().is_ok(), "it is asked");
    assert_eq!(show(&command, &["diff", "-"]).status.code(), Some(0));
    assert!(place.path().join("trace").exists(), "it is run");
}

#[test]
fn what_a_step_prints_forges_no_line_of_the_log() {
    let place = tempfile::tempdir().expect("makes a directory");
    let forged = "2026-01-01T00:00:00.000000Z  INFO pass ended app=shop outcome=converged";
    let build = format!("    build: [{{run: 'printf \"no\\n{forged}\\n\\033[2J\\n\"; exit 1'}}]\n");
    with_root(place.path(), &build, "");
    let output = in_place(place.path(), &["reconcile", "shop.yaml", "-vv"]);
    assert_eq!(output.status.code(), Some(3), "{}", err(&output));
    let said = err(&output);
    assert!(said.contains("outcome=converged") && !said.contains('\u{1b}'), "{said}");
    assert!(said.lines().all(|line| !line.trim_start().starts_with(forged)), "{said}");
}

#[test]
fn links_in_the_place_of_directories_of_the_root_are_named() {
    for (link, said) in [("releases", "/shop/releases` is a link"), (".trueup", "/shop/.trueup` is a link")] {
        let place = tempfile::tempdir().expect("makes a directory");
        with_root(place.path(), "", "");
        std::fs::create_dir_all(place.path().join("shop")).expect("makes a directory");
        std::fs::create_dir_all(place.path().join("elsewhere")).expect("makes a directory");
        std::os::unix::fs::symlink("../elsewhere", place.path().join("shop").join(link)).expect("makes a link");
        let output = in_place(place.path(), &["reconcile", "shop.yaml"]);
        assert_ne!(output.status.code(), Some(0), "{link}");
        let told = format!("{}{}", out(&output), err(&output));
        assert!(told.contains(said) && told.contains("help: "), "{link}: {told}");
        let doctor = in_place(place.path(), &["doctor", "shop.yaml"]);
        assert_eq!(doctor.status.code(), Some(3), "{}", out(&doctor));
        assert!(out(&doctor).contains(said), "{link}: {}", out(&doctor));
    }
}

#[test]
fn a_log_filter_that_is_none_is_told_and_not_obeyed() {
    let place = place();
    let output = trueup(&["validate"]).env("TRUEUP_LOG", "a=b=c").current_dir(place.path()).output().expect("runs");
    assert_eq!(output.status.code(), Some(0));
    assert!(err(&output).starts_with("warning: TRUEUP_LOG is no log filter"), "{}", err(&output));
}

#[test]
fn who_acts_by_hand_has_a_name_without_an_environment_too() {
    let place = tempfile::tempdir().expect("makes a directory");
    let root = place.path().join("shop");
    std::fs::create_dir_all(root.join("releases/r1")).expect("makes a directory");
    let manifest = format!(
        "apiVersion: trueup/v1\nkind: App\nmetadata: {{name: shop}}\nspec:\n  root: {}\n  release: {{id: r1}}\n",
        root.display(),
    );
    std::fs::write(place.path().join("shop.yaml"), manifest).expect("writes");
    let known = Command::new("id").arg("-un").output().expect("runs");
    let told = format!("({}, since ", out(&known).trim());
    let output = in_place(place.path(), &["suspend", "shop", "shop.yaml", "--no-agent"]);
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    assert!(known.status.success() && out(&output).contains(&told), "{told}: {}", out(&output));
    // Without the PATH it would be about no manifest.
    assert!(out(&output).contains("note: `trueup resume shop shop.yaml` lifts it"), "{}", out(&output));
}

/// A pass over a root of this test's own, asking for health at `address`, and what it says line by line.
fn begin_pass(place: &Path, address: &str) -> (Child, impl Iterator<Item = String> + use<>) {
    begin_pass_with("--default-signal=HUP", place, address)
}

/// The same with what `env` is told of hang-ups.
fn begin_pass_with(hang_ups: &str, place: &Path, address: &str) -> (Child, impl Iterator<Item = String> + use<>) {
    let root = place.join("shop");
    std::fs::create_dir_all(root.join("releases/r1/public")).expect("makes a directory");
    std::os::unix::fs::symlink("releases/r1", root.join("current")).expect("makes a link");
    let manifest = format!(
        "apiVersion: trueup/v1\nkind: App\nmetadata: {{name: shop}}\nspec:\n  root: {}\n  release: {{id: r1}}\n  \
         health:\n    http: {{url: \"http://{address}/\", timeout: 60s}}\n    attempts: 100\n    interval: 200ms\n",
        root.display(),
    );
    std::fs::write(place.join("shop.yaml"), manifest).expect("writes");
    let mut command = std::process::Command::new("env");
    command.args([hang_ups, env!("CARGO_BIN_EXE_trueup"), "reconcile", "shop.yaml"]);
    command.current_dir(place).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("starts");
    let said = BufReader::new(child.stderr.take().expect("is a pipe")).lines().map_while(Result::ok);
    (child, said)
}

fn interrupt(child: &Child) {
    send(child, rustix::process::Signal::INT);
}

fn send(child: &Child, signal: rustix::process::Signal) {
    rustix::process::kill_process(rustix::process::Pid::from_child(child), signal).expect("signals");
}

/// Where nobody listens, nor will while the socket is kept.
fn nobody() -> (tokio::net::TcpSocket, String) {
    // Taken, so that nobody else is given it.
    let taken = tokio::net::TcpSocket::new_v4().expect("makes a socket");
    taken.bind("127.0.0.1:0".parse().expect("is an address")).expect("binds");
    let address = taken.local_addr().expect("has an address").to_string();
    (taken, address)
}

const FINISHING: &str = "finishing the step in hand; press again to leave at once";

#[test]
fn the_first_interruption_ends_a_pass_between_two_steps() {
    let place = tempfile::tempdir().expect("makes a directory");
    let (_taken, address) = nobody();
    let (mut child, mut said) = begin_pass(place.path(), &address);
    assert!(said.any(|line| line.starts_with("shop  not healthy, attempt 2 of 100: ")), "health is asked for");
    interrupt(&child);
    assert!(said.any(|line| line == FINISHING), "it says what it does");
    assert_eq!(child.wait().expect("ends").code(), Some(3));
}

#[test]
fn the_second_interruption_ends_it_at_once() {
    let place = tempfile::tempdir().expect("makes a directory");
    // Takes the question and never answers.
    let deaf = TcpListener::bind("127.0.0.1:0").expect("binds");
    let address = deaf.local_addr().expect("has an address").to_string();
    let (mut child, mut said) = begin_pass(place.path(), &address);
    let _asked = deaf.accept().expect("is asked");
    interrupt(&child);
    assert!(said.any(|line| line == FINISHING), "it says what it does");
    interrupt(&child);
    assert_eq!(child.wait().expect("ends").code(), Some(130));
}

#[test]
fn a_terminal_that_goes_away_ends_a_pass_between_two_steps_however_often_it_is_told() {
    let place = tempfile::tempdir().expect("makes a directory");
    // Takes the question and does not answer yet.
    let slow = TcpListener::bind("127.0.0.1:0").expect("binds");
    let address = slow.local_addr().expect("has an address").to_string();
    let (mut child, mut said) = begin_pass(place.path(), &address);
    let (asked, _) = slow.accept().expect("is asked");
    send(&child, rustix::process::Signal::HUP);
    assert!(said.any(|line| line == "finishing the step in hand"), "it says what it does");
    send(&child, rustix::process::Signal::HUP);
    drop(asked);
    assert_eq!(child.wait().expect("ends").code(), Some(3));
}

#[test]
fn a_pass_that_is_told_to_ignore_hang_ups_goes_on() {
    let place = tempfile::tempdir().expect("makes a directory");
    let (_taken, address) = nobody();
    let (mut child, mut said) = begin_pass_with("--ignore-signal=HUP", place.path(), &address);
    assert!(said.any(|line| line.contains("attempt 2 of 100: ")), "health is asked for");
    send(&child, rustix::process::Signal::HUP);
    assert!(said.any(|line| line.contains("attempt 5 of 100: ")), "it is asked for again");
    interrupt(&child);
    assert!(said.any(|line| line == FINISHING), "it says what it does");
    assert_eq!(child.wait().expect("ends").code(), Some(3));
}

/// As `rsync --delete` does to a root that it mirrors a tree into.
#[test]
fn a_pass_whose_lock_is_removed_neither_switches_nor_removes() {
    let place = tempfile::tempdir().expect("makes a directory");
    let root = place.path().join("shop");
    for directory in [root.join("releases/r1"), place.path().join("made")] {
        std::fs::create_dir_all(&directory).expect("makes a directory");
        std::fs::write(directory.join("index.html"), "").expect("writes");
    }
    std::os::unix::fs::symlink("releases/r1", root.join("current")).expect("makes a link");
    let pass = |release: &str, keys: &str| {
        let text = format!(
            "apiVersion: trueup/v1\nkind: App\nmetadata: {{name: shop}}\nspec:\n  root: {}\n  release:\n    \
             id: {release}\n    source: {{dir: {{path: ./made}}}}\n    keep: 1\n    {keys}\n",
            root.display(),
        );
        std::fs::write(place.path().join("shop.yaml"), text).expect("writes");
        let output = in_place(place.path(), &["reconcile", "shop.yaml", "--color", "never"]);
        (output.status.code(), format!("{}{}", out(&output), err(&output)))
    };
    let ends = |release: &str, keys: &str| {
        let (code, told) = pass(release, keys);
        assert_eq!(code, Some(1), "{keys}: {told}");
        assert!(told.contains(".trueup/lock` was removed while this pass held it"), "{keys}: {told}");
        assert!(told.contains("rsync --exclude"), "{keys}: {told}");
    };
    let current = || std::fs::read_link(root.join("current")).expect("is a link");
    let whole = "build: [{run: \"rm -rf $ROOT/.trueup\"}]";
    let before = "hooks: {beforeSwitch: [{run: \"rm $ROOT/.trueup/lock\"}]}";
    for keys in [whole, before] {
        ends("r2", keys);
        assert_eq!(current(), Path::new("releases/r1"), "{keys}");
    }
    for release in ["r2", "r3"] {
        let (code, told) = pass(release, "build: [{run: \"true\"}]");
        assert_eq!((code, current()), (Some(0), Path::new("releases").join(release)), "{told}");
    }
    let (code, told) = pass("r4", "");
    assert_eq!((code, root.join("releases/r2").exists()), (Some(0), false), "{told}");
    ends("r5", "hooks: {afterSwitch: [{run: \"rm $ROOT/.trueup/lock\"}]}");
    assert!(root.join("releases/r3").exists(), "what is not needed any more is removed by whoever has the lock");
    assert_eq!(current(), Path::new("releases/r5"));
}
