//! One application with a git repository of its own, two workers, php-fpm and nginx.

use std::time::Duration;

use serde_json::Value;

use crate::support::fixtures::{self, FILES, Program, Site, Workers};
use crate::support::passes::{Manifest, action};
use crate::support::{Host, Output};

pub const ROOT: &str = "/srv/app";
pub const FPM: &str = "php8.2-fpm.service";
pub const SOON: Duration = Duration::from_secs(30);
const REPOSITORY: &str = "/srv/git/shop";

/// What a release is made by. Each step leaves a trace: `built` at the build's end, a line for each migration.
pub const MAKING: &str = "requires: [vendor/autoload.php, .env], shared: {dirs: [storage], files: [.env]}, \
     build: ['mkdir vendor; echo \"<?php\" >vendor/autoload.php', 'cat .env >/dev/null && echo $RELEASE_ID >built'], \
     verify: [php artisan --version], migrate: ['echo $RELEASE_ID >>$ROOT/shared/migrations'], keep: 2";

/// Health: all is well, and it is this release that says so.
pub const EXPECT: &str = "status == 200, 'body.status == \"healthy\"', \
     'body.database == \"connected\"', body.release == release.id";

/// The application.
pub struct Shop<'host> {
    pub host: &'host Host,
    pub site: Site<'host>,
    pub workers: Workers<'host>,
}

impl<'host> Shop<'host> {
    /// A root without a release, programs of supervisord that are not started yet, a web server, and a repository.
    /// `web_root` is `$realpath_root` or `$document_root`.
    pub fn new(host: &'host Host, web_root: &str) -> Self {
        let shop = Self::unserved(host, "1");
        fixtures::configure(host, &shop.site, web_root);
        shop
    }

    /// The same, with a php-fpm that neither makes nor ends children by itself: a new one is somebody's doing.
    pub fn steady(self) -> Self {
        fixtures::fix_pool(self.host);
        self.host.run(&["systemctl", "restart", FPM]).ok();
        self
    }

    /// The same without a web server; supervisord trusts a worker after so many seconds.
    pub fn unserved(host: &'host Host, startsecs: &str) -> Self {
        let site = Site::new(host, ROOT).owner("deploy");
        // The first release brings its own.
        host.run(&["rmdir", &format!("{ROOT}/shared/storage")]).ok();
        let program = Program::php("app-worker", &site).numprocs(2).user("deploy").set("startsecs", startsecs);
        let workers = program.set("autostart", "false").set("startretries", "1").install();
        host.run(&["supervisorctl", "update"]).ok();
        for (path, contents) in FILES.iter().filter(|(path, _)| !path.starts_with("vendor/")) {
            host.write(&format!("{REPOSITORY}/{path}"), contents);
        }
        let script = r#"cd "$1"; chmod +x artisan wrapper.sh; mkdir storage; echo first >storage/kept
            git init --quiet --initial-branch=main
            git config user.name Test; git config user.email test@example.org
            chown -R deploy: ."#;
        host.run(&["bash", "-euc", script, "-", REPOSITORY]).ok();
        Shop { host, site, workers }
    }

    /// Commits the repository with these files changed, and returns the hash.
    pub fn commit(&self, files: &[(&str, &str)]) -> String {
        for (path, contents) in files {
            self.host.write(&format!("{REPOSITORY}/{path}"), contents);
        }
        let script = "git add --all; git commit --quiet --allow-empty --message next; git rev-parse HEAD";
        self.host.run(&["chown", "-R", "deploy:", REPOSITORY]).ok();
        let commit = ["env", "-C", REPOSITORY, "HOME=/home/deploy", "bash", "-euc", script];
        self.host.run_as("deploy", &commit).ok().to_owned()
    }

    /// The whole App, that wants release `id` from that commit.
    pub fn manifest(&self, id: &str, commit: &str) -> Manifest<'host> {
        self.served(id, commit, "auto")
    }

    /// The same with these words for `onRelease` of php-fpm.
    pub fn served(&self, id: &str, commit: &str, on_release: &str) -> Manifest<'host> {
        let manager = "manager: {systemd: {unit: php8.2-fpm}}";
        let services = format!("services: [{{name: php-fpm, {manager}, onRelease: {on_release}}}]");
        self.bare(id, &from(commit)).with(&health("")).with(&services)
    }

    /// The App without health contract and services, made by these keys.
    pub fn bare(&self, id: &str, making: &str) -> Manifest<'host> {
        Manifest::new(self.host, "app", &self.site, id).supervisord("app-worker", 2).made(making)
    }

    /// Deploys the first release, `r1`, from the repository as it is, and returns its commit.
    pub fn first(&self) -> String {
        let commit = self.commit(&[]);
        let pass = self.manifest("r1", &commit).reconcile();
        assert_eq!(pass.output.code, 0, "{pass}");
        commit
    }

    /// What the site answers, and in which release.
    pub fn answer(&self) -> (String, Value) {
        let output = self.host.run(&["curl", "-s", "-w", "\n%{http_code}", "http://localhost/"]);
        let (body, code) = output.stdout.rsplit_once('\n').unwrap_or_default();
        (code.to_owned(), serde_json::from_str(body).unwrap_or_default())
    }

    /// Everything is of this release and well: the link, the site, both workers.
    #[track_caller]
    pub fn is_well_in(&self, id: &str) {
        assert_eq!(self.site.current_release().as_deref(), Some(id));
        for _ in 0..8 {
            let (code, body) = self.answer();
            assert_eq!((code.as_str(), &body["release"], &body["status"]), ("200", &id.into(), &"healthy".into()));
        }
        // For supervisord they run before they have opened their script.
        self.host.wait_until("both workers in it", SOON, || self.works_in(id));
    }

    /// Both workers run this release, by the entry script that they have open.
    pub fn works_in(&self, id: &str) -> bool {
        let script = format!("{ROOT}/releases/{id}/artisan");
        let status = self.workers.status();
        let mut scripts = status.iter().map(|worker| worker.pid.and_then(|pid| self.script_of(pid)));
        status.len() == 2 && scripts.all(|seen| seen.as_deref() == Some(&script))
    }

    /// The entry script that a PHP worker has open.
    fn script_of(&self, pid: u32) -> Option<String> {
        self.host.read_link(&format!("/proc/{pid}/fd/3"))
    }

    /// The processes that serve: php-fpm's children and the workers.
    pub fn pids(&self) -> Vec<u32> {
        let mut pids = self.workers.pids();
        pids.extend(self.children());
        pids.sort_unstable();
        pids
    }

    /// php-fpm's children.
    pub fn children(&self) -> Vec<u32> {
        let main = fixtures::main_pid(self.host, FPM).to_string();
        let children = self.host.run(&["pgrep", "--parent", &main]).stdout;
        children.lines().map(|pid| pid.parse().unwrap()).collect()
    }

    /// The releases that are there.
    pub fn releases(&self) -> Vec<String> {
        let listed = self.host.run(&["ls", "-A", &format!("{ROOT}/releases")]);
        listed.ok().lines().map(str::to_owned).collect()
    }

    /// The releases whose migrations have run, in order.
    pub fn migrations(&self) -> Vec<String> {
        let listed = self.host.run(&["cat", &format!("{ROOT}/shared/migrations")]);
        listed.stdout.lines().map(str::to_owned).collect()
    }
}

/// How a release is made from a commit.
pub fn from(commit: &str) -> String {
    format!("source: {{git: {{url: {REPOSITORY}, commit: {commit}}}}}, {MAKING}")
}

/// The health contract, with these rules besides.
pub fn health(further: &str) -> String {
    format!("health: {{http: {{url: 'http://localhost/'}}, attempts: 3, interval: 200ms, expect: [{EXPECT}{further}]}}")
}

/// What the journal says was done, in the order in which it ended, with how long it took.
pub fn phases(manifest: &Manifest<'_>) -> Vec<(String, u64)> {
    let lines = manifest.journal();
    let done = lines.iter().filter(|line| line["event"] == "done");
    done.map(|line| (action(line), line["tookMs"].as_u64().unwrap())).collect()
}

/// `status --format json` of the one App.
#[track_caller]
pub fn status(manifest: &Manifest<'_>) -> Value {
    let output: Output = manifest.run(&["status", "--format", "json"]);
    let document: Value = serde_json::from_str(&output.stdout).unwrap_or_else(|_| panic!("no report: {output}"));
    document["items"][0]["status"].clone()
}
