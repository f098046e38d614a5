//! A host that is called otherwise in its manifests than by its kernel, and its agent.

use serde_json::Value;

use crate::SOON;
use crate::support::fixtures::Site;
use crate::support::require_host;

#[test]
fn an_agent_has_in_force_what_is_for_the_name_of_its_host() {
    let host = require_host!("agent-own-name", []);
    let hostname = host.run(&["hostname"]).ok().trim().to_owned();
    assert_ne!(hostname, "web2");
    let _shop = Site::new(&host, "/srv/shop").release("r1").release("r2").current("r1");
    let _blog = Site::new(&host, "/srv/blog").release("r1");
    host.write("/etc/trueup/agent.yaml", "apiVersion: trueup/v1\nkind: Agent\nmetadata: {name: web2}\nspec: {}\n");
    // The hostname is one of another host's.
    let app = |name: &str, hosts: &str| {
        format!(
            "apiVersion: trueup/v1\nkind: App\nmetadata: {{name: {name}}}\nspec:\n  root: /srv/{name}\n  release:\n    \
             id: r2\n    hooks: {{afterSwitch: [{{run: 'echo $TRUEUP_HOST $OWN >/srv/called', \
             env: {{OWN: \"${{vars.own}}\"}}}}]}}\n  workers:\n    - {{name: q, count: \"${{vars.workers}}\", \
             rollout: {{minHealthy: 0s}}, manager: {{builtin: {{run: [sleep, '600']}}}}}}\n  hosts: [{hosts}]\n"
        )
    };
    let one = |name: &str, workers: u32| {
        format!("{{name: {name}, ssh: nobody@{name}.invalid, vars: {{workers: {workers}, own: of-{name}}}}}")
    };
    let shop = app("shop", &[one(&hostname, 1), one("web2", 3)].join(", "));
    host.write("/etc/trueup/manifests/shop.yaml", &shop);
    host.write("/etc/trueup/manifests/blog.yaml", &app("blog", &one(&hostname, 1)));
    // What this machine's own agent remembers is none of its business.
    let _agent = host.spawn(&["trueup", "agent", "--state-dir", "/srv/state"]);
    let get = |path: &str| -> Value {
        let url = format!("http://localhost/api/v1{path}");
        let told = host.run(&["curl", "-s", "--unix-socket", "/run/trueup/agent.sock", &url]);
        serde_json::from_str(&told.stdout).unwrap_or_default()
    };
    host.wait_until("it to converge", SOON, || get("/agent")["apps"][0]["last"]["outcome"] == "converged");
    let apps = get("/agent")["apps"].as_array().unwrap().iter().map(|app| app["name"].clone()).collect::<Vec<_>>();
    assert_eq!(apps, ["shop"], "what is for others only is none of its business");
    assert_eq!(host.read_link("/srv/shop/current").unwrap().rsplit('/').next(), Some("r2"));
    let workers = host.pids_of("sleep 600");
    assert_eq!(workers.len(), 3);
    assert_eq!(host.read("/srv/called").trim(), "web2 of-web2");

    // Who says the same name means the agent's App, with and without a PATH, and so does who says none.
    for words in [&["--as", "web2"][..], &[], &["/etc/trueup/manifests", "--as", "web2"], &["/etc/trueup/manifests"]] {
        let suspended = host.run(&[&["trueup", "suspend", "shop", "--reason", "a move"], words].concat());
        assert!(suspended.success() && suspended.stderr.contains("has done it"), "{words:?}: {suspended}");
        let releases = host.run(&[&["trueup", "releases", "shop"], words].concat());
        let current = releases.ok().lines().find(|line| line.contains("current")).unwrap_or_default().to_owned();
        assert!(
            current.starts_with("r2") && workers.iter().all(|pid| current.contains(&pid.to_string())),
            "{releases}"
        );
        let resumed = host.run(&[&["trueup", "resume", "shop"], words].concat());
        assert!(resumed.success() && resumed.stderr.contains("has done it"), "{words:?}: {resumed}");
    }
    // What is for others only is here for nobody.
    for words in [&["blog"][..], &["blog", "--as", "web2"], &["blog", "/etc/trueup/manifests", "--as", "web2"]] {
        let refused = host.run(&[&["trueup", "suspend"], words].concat());
        assert!(refused.code == 1 && !host.exists("/srv/blog/.trueup"), "{words:?}: {refused}");
    }
    assert_eq!(host.pids_of("sleep 600"), workers, "nobody was touched by all that");
}
