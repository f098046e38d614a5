//! The agent on a real host, asked by several users: by the verbs, and by curl.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test may fail on the spot")]

mod support;

use std::time::Duration;

use serde_json::Value;
use support::fixtures::Site;
use support::passes::Manifest;
use support::{Background, Host, require_host};

const SOCKET: &str = "/run/trueup/agent.sock";
const API: &str = "http://localhost/api/v1";
/// No wait in here is meant to be this long.
const GENEROUS: Duration = Duration::from_mins(1);

/// An App `app` with one worker, whose manifest is where the agent looks.
fn manifest<'host>(host: &'host Host, site: &Site<'_>, release: &str) -> Manifest<'host> {
    let manager = r#"manager: {builtin: {run: [php, artisan, "queue:work"]}}"#;
    let manifest = Manifest::new(host, "app", site, release).workers("default", 1, manager);
    manifest.write();
    manifest
}

fn ready(host: &Host) -> bool {
    host.run(&["curl", "-sf", "--unix-socket", SOCKET, "http://localhost/readyz"]).success()
}

fn agent<'host>(host: &'host Host, arguments: &[&str]) -> Background<'host> {
    let agent = host.spawn(&[&["trueup", "agent"], arguments].concat());
    host.wait_until("the agent", GENEROUS, || ready(host));
    agent
}

fn get(host: &Host, path: &str) -> Value {
    let answer = host.run(&["curl", "-s", "--unix-socket", SOCKET, &format!("{API}{path}")]);
    serde_json::from_str(answer.ok()).unwrap_or_else(|_| panic!("no document: {answer}"))
}

/// Without what two looks at the same host never agree on to the nanosecond.
fn timeless(app: &mut Value) -> Value {
    app["status"]["observedAt"] = Value::Null;
    for group in app["status"]["workers"].as_array_mut().unwrap() {
        for member in group["members"].as_array_mut().unwrap() {
            member["started"] = Value::Null;
        }
    }
    app.take()
}

#[test]
fn what_a_person_asks_for_is_done_by_the_agent_and_stands_in_the_history() {
    let host = require_host!("agent-socket", []);
    let site = Site::new(&host, "/srv/app").release("r1").release("r2").current("r1");
    manifest(&host, &site, "r1");
    let mut agent = agent(&host, &["--listen", "127.0.0.1:9180"]);
    let pass = host.run(&["trueup", "reconcile", "--request", "--app", "app", "--format", "json"]);
    let told: Value = serde_json::from_str(pass.ok()).unwrap();
    assert_eq!(
        (&told["kind"], &told["items"][0]["outcome"]),
        (&"PassReportList".into(), &"converged".into()),
        "{pass}"
    );
    assert!(host.run(&["trueup", "reconcile", "--request"]).ok().starts_with("app  r1  converged"));

    // As `status` sees it.
    host.wait_until("the agent to rest and to tell what status sees", GENEROUS, || {
        let seen = host.run(&["trueup", "status", "--format", "json"]);
        let mut seen: Value = serde_json::from_str(seen.ok()).unwrap();
        timeless(&mut seen["items"][0]) == timeless(&mut get(&host, "/apps/app"))
    });

    let suspended = host.run(&["trueup", "suspend", "app", "--reason", "a move"]);
    assert!(
        suspended.ok().contains("a move")
            && suspended.stderr.contains("the agent at `/run/trueup/agent.sock` has done it")
    );
    let history = host.run(&["trueup", "history", "app"]);
    assert!(history.ok().contains("a move"), "{history}");
    host.wait_until("the look that shows it", GENEROUS, || {
        get(&host, "/apps/app")["status"]["suspended"].as_str().is_some_and(|why| why.contains("a move"))
    });
    let resumed = host.run(&["trueup", "resume", "app"]);
    assert!(resumed.ok().contains("resumed"), "{resumed}");

    // A second release, and back again.
    manifest(&host, &site, "r2");
    host.wait_until("r2", GENEROUS, || site.current_release().as_deref() == Some("r2"));
    host.run(&["trueup", "reconcile", "--request"]).ok();
    let back = host.run(&["trueup", "rollback", "app", "--reason", "slow"]);
    assert!(back.ok().contains("rolled back"), "{back}");
    assert_eq!(site.current_release().as_deref(), Some("r1"));
    let again = host.run(&["trueup", "retry", "app"]);
    assert!(again.ok().contains("converged"), "{again}");
    assert_eq!(site.current_release().as_deref(), Some("r2"));
    let refused = host.run(&["trueup", "rollback", "app", "--to", "r9"]);
    assert!(refused.code == 1 && refused.stderr.contains("cannot go back to `r9`"), "{refused}");
    assert!(refused.stderr.contains("help: "), "{refused}");

    // Where there is none of that name, and where the root is another one, it is done here.
    let other = host.run(&["trueup", "suspend", "ap"]);
    assert!(other.code == 1 && other.stderr.contains("does not look after `ap`"), "{other}");
    let own = host.run(&["trueup", "suspend", "app", "--no-agent"]);
    assert!(own.success() && !own.stderr.contains("the agent"), "{own}");

    // The port reads, and no more.
    let ask = |method: &str, path: &str| {
        let url = format!("http://127.0.0.1:9180{path}");
        host.run(&["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-X", method, &url]).ok().to_owned()
    };
    assert_eq!(ask("GET", "/api/v1/apps/app"), "200");
    assert_eq!(ask("GET", "/metrics"), "200");
    assert_eq!(ask("POST", "/api/v1/apps/app/reconcile"), "403");
    agent.signal("TERM");
    assert_eq!(agent.wait(GENEROUS).code, 0);
    assert!(!host.run(&["test", "-e", SOCKET]).success(), "its socket goes with it");
    let without = host.run(&["trueup", "reconcile", "--request"]);
    assert!(without.code == 1 && without.stderr.contains("no agent listens"), "{without}");
}

#[test]
fn the_socket_is_for_root_and_operators_and_a_stale_one_is_replaced() {
    let host = require_host!("agent-users", []);
    for user in ["olga", "hans"] {
        host.add_user(user);
    }
    host.sh("groupadd operators; usermod --append --groups operators olga").ok();
    let site = Site::new(&host, "/srv/app").release("r1").current("r1");
    manifest(&host, &site, "r1");
    let first = agent(&host, &["--operator-group", "operators"]);
    assert_eq!(host.run(&["stat", "-c", "%a %U %G", SOCKET]).ok(), "660 root operators");
    let second = host.run(&["trueup", "agent", "--state-dir", "/tmp/another"]);
    assert!(second.code == 1 && second.stderr.contains("another agent"), "{second}");
    assert!(ready(&host), "the first one is unhurt");

    // Killed, it leaves its socket behind.
    drop(first);
    assert!(host.run(&["test", "-S", SOCKET]).success() && !ready(&host));
    let _again = agent(&host, &["--operator-group", "operators"]);

    let by_olga = host.run_as("olga", &["trueup", "suspend", "app", "--reason", "a party"]);
    assert!(by_olga.success() && by_olga.stderr.contains("has done it"), "{by_olga}");
    let history = host.run(&["trueup", "history", "app"]);
    assert!(history.ok().contains("a party") && history.ok().contains("olga"), "{history}");
    let by_hans = host.run_as("hans", &["trueup", "reconcile", "--request"]);
    assert!(by_hans.code == 1 && by_hans.stderr.contains("use sudo"), "{by_hans}");
    // Not even if the file's rights were changed by hand.
    host.run(&["chmod", "666", SOCKET]).ok();
    let by_hans = host.run_as("hans", &["trueup", "reconcile", "--request"]);
    assert!(by_hans.code == 1 && by_hans.stderr.contains("`hans` may not change anything here"), "{by_hans}");
}

#[test]
fn a_pass_by_a_path_warns_of_an_agent_that_puts_its_own_back() {
    let host = require_host!("agent-put-back", []);
    let site = Site::new(&host, "/srv/app").release("r1").release("r2").current("r1");
    manifest(&host, &site, "r1");
    let _agent = agent(&host, &[]);
    host.run(&["trueup", "reconcile", "--request"]).ok();
    host.sh("mkdir /srv/own && cp /etc/trueup/manifests/* /srv/own/app.yaml").ok();
    let by_path = &["trueup", "reconcile", "/srv/own/app.yaml"];
    let same = host.run(by_path);
    assert!(same.success() && !same.stderr.contains("warning"), "what it has in force: {same}");

    host.sh("sed -i 's/{id: r1}/{id: r2}/' /srv/own/app.yaml").ok();
    let other = host.run(by_path);
    assert!(other.ok().starts_with("app  r2  converged"), "{other}");
    assert_eq!(other.stderr.matches("warning: ").count(), 1, "{other}");
    for words in
        ["looks after `/srv/app`, too", "release `r1` by `/etc/trueup/manifests/app.yaml`", "   help: put the change"]
    {
        assert!(other.stderr.contains(words), "{words}: {other}");
    }
    host.wait_until("what was told", GENEROUS, || site.current_release().as_deref() == Some("r1"));

    // What it advises helps.
    host.sh("sed -i 's/^spec:$/spec:\\n  sync: {suspend: true}/' /etc/trueup/manifests/*").ok();
    host.wait_until("the agent to leave it alone", GENEROUS, || {
        get(&host, "/apps/app")["spec"]["sync"]["suspend"] == true
    });
    let meanwhile = host.run(by_path);
    assert!(meanwhile.ok().starts_with("app  r2  converged") && !meanwhile.stderr.contains("warning"), "{meanwhile}");
}

#[test]
fn without_a_path_what_the_agent_has_in_force_is_looked_at() {
    let host = require_host!("agent-in-force", []);
    let site = Site::new(&host, "/srv/app").release("r1").release("r2").current("r1");
    manifest(&host, &site, "r1");
    let _agent = agent(&host, &[]);
    host.run(&["trueup", "reconcile", "--request"]).ok();
    // What the agent refuses has no say, and is told with all that is wrong.
    let good = host.run(&["sh", "-c", "cat /etc/trueup/manifests/*"]).ok().to_owned();
    let bad = "cd /etc/trueup/manifests; sed -i 's/release:/relase:/; s/kind: App/kind: App\\nknd: 1/' *.yaml";
    host.sh(bad).ok();
    let asked = host.run(&["trueup", "reconcile", "--request"]);
    assert_eq!(asked.code, 1, "{asked}");
    for words in
        ["error: /etc/trueup/manifests/", "unknown key `knd`", "unknown key `relase`", "did you mean `release`?"]
    {
        assert!(asked.stderr.contains(words), "{words}: {asked}");
    }
    for verb in [&["status"][..], &["diff"], &["history"], &["history", "app"], &["releases", "app"], &["doctor"]] {
        let seen = host.run(&[&["trueup"], verb].concat());
        assert!(
            seen.stderr.contains("note: the agent at `/run/trueup/agent.sock` has this in force: `/etc/trueup"),
            "{seen}"
        );
        assert!(seen.stderr.contains("newer manifests cannot be used: ") && seen.stderr.lines().count() == 1, "{seen}");
        assert!(!seen.stdout.is_empty(), "{seen}");
        let own = host.run(&[&["trueup"], verb, &["--no-agent"]].concat());
        assert!(own.stderr.contains("unknown key `relase`") && !own.stderr.contains("the agent"), "{own}");
    }
    // Who acts goes by the same, sees the same before, and takes nothing back that the agent has brought.
    for words in [&["trueup", "reconcile", "--dry-run"][..], &["trueup", "reconcile"]] {
        let passed = host.run(words);
        assert!(passed.ok().starts_with("app  r1  ") && passed.stdout.contains("nothing to do"), "{passed}");
        assert!(passed.stderr.contains("note: the agent at `/run/trueup/agent.sock` has this in force: "), "{passed}");
        let own = host.run(&[words, &["--no-agent"]].concat());
        assert!(own.code == 1 && own.stderr.contains("unknown key `relase`"), "{own}");
    }
    // An App that it does not look after is that of the manifests here, and that is said.
    let blog = Site::new(&host, "/srv/blog").release("r1");
    host.write("/srv/manifests/blog.yaml", &good.replace("/srv/app", "/srv/blog").replace("name: app", "name: blog"));
    host.sh("mkdir -p /srv/here && ln -s ../manifests /srv/here/manifests").ok();
    let elsewhere = host.sh("cd /srv/here && trueup reconcile --app blog");
    assert!(elsewhere.ok().starts_with("blog  r1  converged"), "{elsewhere}");
    assert!(elsewhere.stderr.contains("does not look after `blog`: the manifests here count"), "{elsewhere}");
    assert_eq!(blog.current_release().as_deref(), Some("r1"));
    // As the API tells it.
    let seen = host.run(&["trueup", "status", "--format", "json"]);
    let told: Value = serde_json::from_str(&seen.stdout).unwrap();
    let stalled = &told["items"][0]["status"]["conditions"][4];
    assert_eq!((&stalled["reason"], seen.code), (&"ManifestsRefused".into(), 1), "{seen}");
    assert_eq!(*stalled, get(&host, "/apps/app")["status"]["conditions"][4]);
    // What was meant relative to its file is there, whoever asks from wherever.
    host.sh("rm /etc/trueup/manifests/*").ok();
    host.write("/etc/trueup/manifests/app.yaml", &good.replace("root: /srv/app", "root: ../../../srv/app"));
    host.wait_until("the manifests to be in force", GENEROUS, || get(&host, "/agent")["refused"].is_null());
    let seen = host.run(&["trueup", "releases", "app"]);
    assert!(seen.ok().contains("r1"), "{seen}");
    for verb in ["status", "retry"] {
        let words: &[&str] = if verb == "status" { &["status", "--app", "ap"] } else { &["retry", "ap"] };
        let unknown = host.run(&[&["trueup"], words].concat());
        assert!(unknown.code == 1 && unknown.stderr.contains("does not look after `ap`"), "{unknown}");
        assert!(unknown.stderr.contains("did you mean `app`?") && !unknown.stderr.contains("done here"), "{unknown}");
    }
    // A directory that is empty may be one whose disk is not mounted: nobody is seen off for that.
    host.sh("rm /etc/trueup/manifests/*").ok();
    host.wait_until("a word about it", GENEROUS, || !get(&host, "/agent")["refused"].is_null());
    assert_eq!(get(&host, "/agent")["apps"][0]["orphaned"], false);
    // One that has disappeared beside others is still known.
    host.write(
        "/etc/trueup/manifests/blog.yaml",
        &good.replace("name: app", "name: blog").replace("/srv/app", "/srv/blog"),
    );
    let is_orphaned = |app: &serde_json::Value| app["name"] == "app" && app["orphaned"] == true;
    host.wait_until("the App to be gone", GENEROUS, || {
        get(&host, "/agent")["apps"].as_array().unwrap().iter().any(is_orphaned)
    });
    let orphan = host.run(&["trueup", "history", "app"]);
    assert!(orphan.ok().contains("/srv/app") && orphan.stderr.contains("`app` disappeared from them"), "{orphan}");
    let left = host.run(&["trueup", "reconcile", "--app", "app"]);
    assert!(left.code == 1 && left.stderr.contains("does not look after `app`"), "{left}");
}
