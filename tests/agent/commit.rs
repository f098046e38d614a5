//! A commit is a deployment, hands off: the packaged unit on a real host, a push, a forge that tells of it.
//!
//! Nobody runs a command on the host but `git push`. The forge is a bare repository whose hook tells the agent, in the
//! shapes that GitHub and GitLab publish, and a stand-in for their API that takes commit statuses.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::SOON;
use crate::support::fixtures::{self, FILES, Program, Site, Workers};
use crate::support::manifest::release_of;
use crate::support::{Background, Host, Unit, require_host};
use crate::unit::{AGENT, install};

const STATUSES: &str = "/run/statuses";
const HOOK: &str = include_str!("forge/post-receive");
const API: &str = include_str!("forge/api.py");

/// Which forge, and how its repository is reached.
struct Forge {
    name: &'static str,
    /// For the agent and for whoever pushes.
    url: &'static str,
    /// The bare repository on the host.
    repository: &'static str,
    /// Of the agent's configuration.
    status: &'static str,
    /// Its word for a commit that failed.
    failure: &'static str,
    /// The key of a status that names it.
    context: &'static str,
    token: &'static str,
}

const GITHUB: Forge = Forge {
    name: "github",
    url: "/srv/git/ops/hosts.git",
    repository: "/srv/git/ops/hosts.git",
    status: "github: {api: 'http://127.0.0.1:9000', repository: ops/hosts, token: {file: /etc/trueup/token}}",
    failure: "failure",
    context: "context",
    token: "Bearer t0ken",
};

const GITLAB: Forge = Forge {
    name: "gitlab",
    url: "git@localhost:ops/hosts.git",
    repository: "/home/git/ops/hosts.git",
    status: "gitlab: {api: 'http://127.0.0.1:9000/api/v4', project: ops/hosts, token: {file: /etc/trueup/token}}",
    failure: "failed",
    context: "name",
    token: "t0ken",
};

/// A host with a site, a forge, and somebody who commits.
struct Town<'host> {
    host: &'host Host,
    forge: Forge,
    site: Site<'host>,
    workers: Workers<'host>,
    _api: Background<'host>,
}

impl<'host> Town<'host> {
    fn new(host: &'host Host, forge: Forge) -> Self {
        let site = Site::new(host, "/srv/app").owner("deploy");
        let program = Program::php("app-worker", &site).numprocs(2).user("deploy").set("autostart", "false");
        let workers = program.install();
        host.run(&["supervisorctl", "update"]).ok();
        fixtures::configure(host, &site, "$realpath_root");
        host.write("/run/api.py", API);
        let api = host.spawn(&["python3", "/run/api.py", STATUSES]);
        let town = Town { host, forge, site, workers, _api: api };
        town.make_forge();
        town.configure_agent();
        town
    }

    fn make_forge(&self) {
        let Forge { name, url, repository, .. } = &self.forge;
        self.host.write("/run/hook", &HOOK.replace("FORGE", name));
        let script = r#"
            export HOME=/root
            git config --global user.name Test; git config --global user.email test@example.org
            owner=root
            if [[ $1 == git@* ]]; then
                owner=git
                useradd --create-home --shell /bin/bash git
                ssh-keygen -q -t ed25519 -N '' -f ~/.ssh/id_ed25519
                install -d -m 700 -o git -g git /home/git/.ssh
                install -m 600 -o git -g git ~/.ssh/id_ed25519.pub /home/git/.ssh/authorized_keys
                ssh-keyscan localhost >>~/.ssh/known_hosts
            fi
            git init --quiet --bare --initial-branch=main "$2"
            install -m 755 /run/hook "$2/hooks/post-receive"
            chown -R "$owner:" "$(dirname "$2")"
            git clone --quiet "$1" /root/hosts"#;
        self.host
            .run(&["bash", "-euc", &format!("mkdir -p ~/.ssh; chmod 700 ~/.ssh{script}"), "-", url, repository])
            .ok();
    }

    fn configure_agent(&self) {
        let Forge { name, url, status, .. } = &self.forge;
        // It is not asked before the end of the test: what is noticed, the webhook tells.
        let config = format!(
            "apiVersion: trueup/v1\nkind: Agent\nmetadata: {{name: web01}}\nspec:\n  \
             source: {{git: {{url: '{url}', branch: main, path: web01, poll: 10h}}}}\n  \
             listen: 127.0.0.1:9180\n  webhooks: {{{name}: {{secret: {{file: /etc/trueup/webhook}}}}}}\n  \
             commitStatus: {{{status}}}\n"
        );
        self.host.write("/etc/trueup/agent.yaml", &config);
        self.host.write("/etc/trueup/webhook", "s3cret\n");
        self.host.write("/etc/trueup/token", "t0ken\n");
    }

    /// What CI leaves for a release; `ill` answers that it is degraded.
    fn build(&self, id: &str, ill: bool) {
        for (path, contents) in FILES {
            let contents = if ill { contents.replace("'healthy'", "'degraded'") } else { contents.to_owned() };
            self.host.write(&format!("/srv/build/{id}/{path}"), &contents);
        }
        self.host.sh(&format!("chmod +x /srv/build/{id}/artisan; chown -R deploy: /srv/build")).ok();
    }

    /// Commits that this release is wanted, and pushes.
    fn push(&self, id: &str) -> Pushed {
        let manifest = format!(
            "apiVersion: trueup/v1\nkind: App\nmetadata: {{name: shop}}\nspec:\n  root: /srv/app\n  \
             release: {{id: {id}, source: {{dir: {{path: /srv/build/{id}}}}}}}\n  workers:\n    \
             - {{name: default, count: 2, manager: {{supervisord: {{group: app-worker}}}}}}\n  \
             health: {{http: {{url: 'http://localhost/'}}, attempts: 3, interval: 500ms, \
             expect: [status == 200, 'body.status == \"healthy\"', body.release == release.id]}}\n"
        );
        self.host.write("/root/hosts/web01/shop.yaml", &manifest);
        self.git(&format!("git add --all; git commit --quiet --message 'release {id}'"))
    }

    fn git(&self, script: &str) -> Pushed {
        self.host.run(&["env", "-C", "/root/hosts", "bash", "-euc", script]).ok();
        let commit = self.host.run(&["git", "-C", "/root/hosts", "rev-parse", "HEAD"]).ok().to_owned();
        let at = Instant::now();
        self.host.run(&["git", "-C", "/root/hosts", "push", "--quiet", "origin", "HEAD:main"]).ok();
        Pushed { commit, at }
    }

    /// The states and reasons that were posted for the App at a commit.
    fn posted(&self, commit: &str) -> Vec<(String, String)> {
        let Forge { context, token, .. } = &self.forge;
        let lines = self.host.run(&["cat", STATUSES]).stdout;
        let all = lines.lines().map(|line| serde_json::from_str::<Value>(line).expect("the API writes JSON"));
        let of_app = all.filter(|status| {
            let path = status["path"].as_str().unwrap_or_default();
            assert_eq!(status["token"], *token);
            path.ends_with(commit) && path.contains("statuses/") && status[context] == "trueup/web01/shop"
        });
        of_app.map(|status| (text(&status["state"]), text(&status["description"]))).collect()
    }

    /// Waits until the commit is judged, and returns the reason.
    #[track_caller]
    fn judged(&self, pushed: &Pushed, state: &str) -> String {
        let last = || self.posted(&pushed.commit).pop();
        let began = Instant::now();
        while last().is_none_or(|(posted, _)| posted != state) {
            let log = || self.host.run(&["journalctl", "--boot", "--no-pager", "-u", AGENT]).stdout;
            assert!(began.elapsed() < SOON, "no {state} for {}: {:?}\n{}", pushed.commit, last(), log());
            std::thread::sleep(Duration::from_millis(20));
        }
        println!("{}: {state} {:?} after the push", self.forge.name, pushed.at.elapsed());
        last().expect("just seen").1
    }

    #[track_caller]
    fn serves(&self, release: &str) -> Vec<u32> {
        assert_eq!(self.site.current_release().as_deref(), Some(release));
        let pids = self.workers.pids();
        let runs: Vec<_> = pids.iter().map(|pid| release_of(self.host, *pid)).collect();
        assert_eq!(runs, vec![Some(release.to_owned()); 2]);
        let answer = self.host.run(&["curl", "-s", "http://localhost/"]).stdout;
        assert!(answer.contains("\"healthy\"") && answer.contains(&format!("\"{release}\"")), "{answer}");
        pids
    }
}

/// A commit, and when it was pushed.
struct Pushed {
    commit: String,
    at: Instant,
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn a_commit_is_a_deployment(host: &Host, forge: Forge) {
    install(host);
    let failure = forge.failure;
    let town = Town::new(host, forge);
    for (id, ill) in [("r1", false), ("r2", false), ("r3", true), ("r4", false)] {
        town.build(id, ill);
    }
    // The agent is not there yet, so the hook finds nobody: the push succeeds all the same.
    let one = town.push("r1");
    host.run(&["systemctl", "enable", "--now", AGENT]).ok();
    town.judged(&one, "success");
    town.serves("r1");

    let two = town.push("r2");
    assert_eq!(town.judged(&two, "success"), "release r2 is in force");
    assert_eq!(town.posted(&two.commit)[0].0, "pending", "first it is pending");
    let workers = town.serves("r2");

    let bad = town.push("r3");
    let reason = town.judged(&bad, failure);
    assert!(reason.contains("healthy") || reason.contains("degraded"), "{reason}");
    town.serves("r2");

    let reverted = town.git("git revert --no-edit HEAD");
    town.judged(&reverted, "success");
    let again = town.serves("r2");

    let four = town.push("r4");
    town.judged(&four, "success");
    let last = town.serves("r4");
    assert!(last.iter().all(|pid| !workers.contains(pid) && !again.contains(pid)));
    // What was judged stays judged.
    for (pushed, state) in [(&one, "success"), (&two, "success"), (&bad, failure), (&reverted, "success")] {
        assert_eq!(town.posted(&pushed.commit).pop().map(|(state, _)| state).as_deref(), Some(state));
    }
    let metrics = host.run(&["curl", "-s", "http://127.0.0.1:9180/metrics"]).stdout;
    let counted = |line: String| assert!(metrics.contains(&line), "{line}: {metrics}");
    counted(format!("trueup_webhooks_total{{forge=\"{}\",result=\"accepted\"}} 4", town.forge.name));
    counted("trueup_rollbacks_total{app=\"shop\"} 1".to_owned());
}

#[test]
fn over_files_with_githubs_webhook() {
    let host = require_host!("commit-file", [Unit::Supervisor, Unit::Nginx, Unit::PhpFpm]);
    a_commit_is_a_deployment(&host, GITHUB);
}

#[test]
fn over_ssh_with_gitlabs_webhook() {
    let host = require_host!("commit-ssh", [Unit::Supervisor, Unit::Nginx, Unit::PhpFpm, Unit::Ssh]);
    a_commit_is_a_deployment(&host, GITLAB);
}
