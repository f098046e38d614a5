//! Names and roots that change under a running agent: whoever has a root looks after what is there, and nobody else
//! does.

use serde_json::Value;

use crate::SOON;
use crate::support::fixtures::{Program, Site};
use crate::support::manifest::loaded;
use crate::support::passes::{Manifest, action, is_note};
use crate::support::{Background, Host, Unit, require_host};

const SOCKET: &str = "/run/trueup/agent.sock";
/// Workers of trueup itself.
const BUILTIN: &str = r#"manager: {builtin: {run: [php, artisan, "queue:work", "--builtin"]}}"#;

fn agent(host: &Host) -> Background<'_> {
    // What this machine's own agent remembers is none of its business.
    host.spawn(&["trueup", "agent", "--state-dir", "/srv/state"])
}

fn get(host: &Host, path: &str) -> Value {
    let url = format!("http://localhost/api/v1{path}");
    serde_json::from_str(&host.run(&["curl", "-s", "--unix-socket", SOCKET, &url]).stdout).unwrap_or_default()
}

/// These Apps are all that the agent knows, and each is as it should be.
#[track_caller]
fn has(host: &Host, apps: &[&str]) {
    host.wait_until(&format!("{apps:?} to converge"), SOON, || {
        let agent = get(host, "/agent");
        let known = agent["apps"].as_array().cloned().unwrap_or_default();
        let idle = |app: &Value| app["running"].is_null() && app["last"]["outcome"] == "converged";
        known.iter().map(|app| app["name"].as_str().unwrap_or_default()).eq(apps.iter().copied())
            && known.iter().all(idle)
    });
}

fn sorted(mut pids: Vec<u32>) -> Vec<u32> {
    pids.sort_unstable();
    pids
}

/// What was done at a root after so many lines of its journal, by whatever App.
fn done(manifest: &Manifest<'_>, from: usize) -> Vec<String> {
    let lines = manifest.journal();
    let done = lines[from..].iter().filter(|line| line["event"] == "done" && !is_note(line));
    let mut done: Vec<String> = done.map(action).collect();
    done.sort_unstable();
    done
}

/// The journal of a root after so many lines, for a failure's message.
fn since(manifest: &Manifest<'_>, from: usize) -> Vec<String> {
    manifest.journal()[from..].iter().map(ToString::to_string).collect()
}

#[test]
fn a_renamed_app_keeps_its_workers_and_its_link() {
    let host = require_host!("agent-rename", [Unit::Supervisor]);
    let site = Site::new(&host, "/srv/app").release("r1").release("r2").current("r1");
    let workers = Program::php("app-worker", &site).numprocs(2).set("autorestart", "false").start();
    let wish = |name: &str, release: &str| {
        let manifest = Manifest::new(&host, name, &site, release).supervisord("app-worker", 2);
        manifest.workers("own", 1, BUILTIN).with("sync: {prune: true}")
    };
    let shop = wish("shop", "r1");
    shop.write();
    let _agent = agent(&host);
    has(&host, &["shop"]);
    let own = || host.pids_of("queue:work --builtin");
    let (first, first_own, before) = (sorted(workers.pids()), own(), shop.journal().len());
    assert_eq!((first.len(), first_own.len()), (2, 1));

    // In one edit, as by git or an editor.
    let rename = |from: &str, to: &str, release: &str| {
        let script = "cd /etc/trueup/manifests; sed \"s/name: $1}/name: $2}/; s/id: r[12]/id: $3/\" shop.yaml >new; \
                      mv new shop.yaml";
        host.run(&["sh", "-euc", script, "-", from, to, release]).ok();
    };
    rename("shop", "store", "r1");
    has(&host, &["store"]);
    // What trueup itself runs bears the App's name: one is started, and the former one stopped, by its successor.
    let expected = ["start own/1".to_owned(), format!("stop stray {}", first_own[0])];
    assert_eq!(done(&shop, before), expected, "{:#?}", since(&shop, before));
    assert_eq!(sorted(workers.pids()), first, "they are the same group under whatever name");
    let (second_own, before) = (own(), shop.journal().len());
    assert!(second_own.len() == 1 && second_own != first_own, "{first_own:?} {second_own:?}");

    // Along with another release.
    rename("store", "market", "r2");
    has(&host, &["market"]);
    let expected = [
        "restart app-worker:app-worker_00".to_owned(),
        "restart app-worker:app-worker_01".to_owned(),
        "start own/1".to_owned(),
        format!("stop stray {}", second_own[0]),
        "switch r2".to_owned(),
    ];
    assert_eq!(done(&shop, before), expected, "each once, and no way back: {:#?}", since(&shop, before));
    assert_eq!(site.current_release().as_deref(), Some("r2"));
    loaded(&host, workers.pids().into_iter().chain(own()), "r2");
    let stopped = site.events().into_iter().filter(|line| line.event == "stopped").count();
    assert_eq!(stopped, 4, "two of the first release, and the two that were former workers of trueup itself");
    let apps: Vec<String> = shop.journal().iter().filter_map(|line| line["app"].as_str().map(str::to_owned)).collect();
    assert!(apps.is_sorted_by_key(|app| ["shop", "store", "market"].iter().position(|name| name == app)), "{apps:?}");
}

#[test]
fn what_ran_at_a_root_that_is_left_is_shown_until_somebody_has_it_or_stopped_once() {
    let host = require_host!("agent-moves", []);
    let [first, second, third] = ["/srv/first", "/srv/second", "/srv/third"]
        .map(|root| Site::new(&host, root).release("r1").release("r2").current("r2"));
    let wish = |site: &Site<'_>, more: &str| {
        let manifest = Manifest::new(&host, "shop", site, "r2").workers("own", 2, BUILTIN).with(more);
        manifest.write();
        manifest
    };
    // The command line says nothing of the root.
    let at = |site: &Site<'_>| {
        let here =
            |pid: &u32| host.read_link(&format!("/proc/{pid}/cwd")).is_some_and(|cwd| cwd.starts_with(site.root()));
        host.pids_of("queue:work").into_iter().filter(here).collect::<Vec<_>>()
    };
    let of = |site: &Site<'_>| {
        host.wait_until("its pass", SOON, || get(&host, "/agent")["apps"][0]["root"] == site.root());
        has(&host, &["shop"]);
        assert_eq!(at(site).len(), 2);
    };
    let left = || get(&host, "/agent")["apps"][0]["formerRoots"].clone();
    let ready = || {
        let conditions = get(&host, "/apps/shop")["status"]["conditions"].clone();
        conditions.as_array().unwrap().iter().find(|one| one["type"] == "Ready").unwrap().clone()
    };
    wish(&first, "sync: {prune: false}");
    let _agent = agent(&host);
    of(&first);
    assert_eq!(left(), serde_json::json!([]));
    let old = at(&first);

    let at_second = wish(&second, "sync: {prune: true}");
    of(&second);
    assert_eq!(at(&first), old, "nobody has said that they should be stopped");
    assert_eq!(left(), serde_json::json!(["/srv/first"]));
    assert_eq!(ready()["status"], "True");
    let said = ready()["message"].as_str().unwrap().to_owned();
    assert!(said.contains("it has left `/srv/first` for this root, and what ran at it was left running"), "{said}");
    let status = host.run(&["trueup", "status"]);
    assert!(status.ok().contains("/srv/second"), "{status}");
    assert!(status.stderr.contains("`shop` has left `/srv/first`, and what ran there was left running"), "{status}");

    // As its last manifest with that root says, its workers end there, and nothing else is touched.
    let before = at_second.journal().len();
    wish(&third, "");
    of(&third);
    // That is written down when they are gone.
    host.wait_until("its workers to be stopped", SOON, || done(&at_second, before).len() >= 2);
    assert_eq!(done(&at_second, before), ["stop own/1", "stop own/2"], "each once");
    assert_eq!((at(&second), at(&first)), (Vec::new(), old.clone()));
    assert_eq!(second.current_release().as_deref(), Some("r2"));
    assert_eq!(left(), serde_json::json!(["/srv/first"]));

    // Whoever has a root again has what runs there.
    wish(&first, "");
    of(&first);
    assert_eq!(at(&first), old);
    assert_eq!(left(), serde_json::json!(["/srv/third"]));
    assert_eq!(at(&third).len(), 2);
}
