//! What people do to a host behind the agent's back: each is corrected or reported, as its policy says.
//!
//! The agent runs as its packaged unit. No timer comes to anybody's help, except for strays: nothing tells of a process that
//! begins. Times are printed, from the deed to what was waited for.

use std::time::Instant;

use crate::SOON;
use crate::support::fixtures::{FILES, Program, Site, Workers};
use crate::support::manifest::release_of;
use crate::support::passes::Manifest;
use crate::support::{Host, Unit, require_host};
use crate::unit::{AGENT, install};

/// A host that is right, and an agent that keeps it so.
struct Scene<'host> {
    host: &'host Host,
    site: Site<'host>,
    workers: Workers<'host>,
}

impl<'host> Scene<'host> {
    fn new(host: &'host Host) -> Self {
        install(host);
        let site = Site::new(host, "/srv/app").owner("deploy").release("r1").release("r2").current("r2");
        for (path, contents) in FILES {
            host.write(&format!("/srv/build/r2/{path}"), contents);
        }
        host.sh("chmod +x /srv/build/r2/artisan; chown -R deploy: /srv/build").ok();
        // Who is killed stays dead, but for the agent.
        let workers = Program::php("app-worker", &site).numprocs(2).user("deploy").set("autorestart", "false").start();
        Self { host, site, workers }
    }

    /// The manifest with these further lines.
    fn manifest(&self, making: &str, lines: &[&str]) {
        let told = "manager: {supervisord: {group: app-worker}}, \
                    restartOn: [{path: shared/.env, run: cp ../../shared/.env ../../shared/seen}]";
        let mut manifest = Manifest::new(self.host, "app", &self.site, "r2").workers("app-worker", 2, told);
        if !making.is_empty() {
            manifest = manifest.made(making);
        }
        lines.iter().fold(manifest, |manifest, line| manifest.with(line)).write();
    }

    fn metric(&self, line: &str) -> Option<u64> {
        let socket = ["curl", "-s", "--unix-socket", "/run/trueup/agent.sock", "http://localhost/metrics"];
        let all = self.host.run(&socket).stdout;
        all.lines().find_map(|found| found.strip_prefix(line)?.trim().parse().ok())
    }

    fn wakes(&self, cause: &str) -> u64 {
        self.metric(&format!("trueup_wakes_total{{app=\"app\",cause=\"{cause}\"}}")).unwrap_or_default()
    }

    fn is_ready(&self, yes: bool) -> bool {
        let status = if yes { "true" } else { "false" };
        let line = format!("trueup_app_condition{{app=\"app\",condition=\"Ready\",status=\"{status}\"}}");
        self.metric(&line) == Some(1) && self.metric("trueup_pass_running{app=\"app\"}") == Some(0)
    }

    /// The workers, without a question to supervisord.
    fn pids(&self) -> Vec<u32> {
        self.host.pids_of("artisan queue:work")
    }

    /// Two workers of r2, none of these.
    fn are_two(&self, not: &[u32]) -> bool {
        let pids = self.pids();
        pids.len() == 2
            && !pids.iter().any(|pid| not.contains(pid))
            && pids.iter().all(|pid| release_of(self.host, *pid).as_deref() == Some("r2"))
    }

    /// Does something and waits for what comes of it.
    #[track_caller]
    fn after(&self, what: &str, deed: impl FnOnce(), so: impl FnMut() -> bool) {
        deed();
        let done = Instant::now();
        self.host.wait_until(&format!("{what}\n{}", self.log()), SOON, so);
        println!("{what}: {:?}", done.elapsed());
        self.host.wait_until("the end of the pass", SOON, || self.is_ready(true));
    }

    fn log(&self) -> String {
        self.host.run(&["journalctl", "--boot", "--no-pager", "-u", AGENT]).stdout
    }
}

#[test]
fn each_deed_is_corrected_or_reported_as_its_policy_says() {
    let host = require_host!("agent-deeds", [Unit::Supervisor]);
    let scene = Scene::new(&host);
    let source = "source: {dir: {path: /srv/build/r2}}";
    scene.manifest(source, &["sync: {interval: 1h}"]);
    host.run(&["systemctl", "enable", "--now", AGENT]).ok();
    host.wait_until("the first pass", SOON, || scene.is_ready(true) && scene.are_two(&[]));

    let first = scene.pids();
    let dead = first[0].to_string();
    scene.after("a worker killed", || drop(host.run(&["kill", "-KILL", &dead])), || scene.are_two(&first[..1]));
    let second = scene.pids();
    assert!(second.contains(&first[1]), "the other one goes on");

    let stop = ["supervisorctl", "stop", "app-worker:app-worker_01"];
    scene.after("a worker stopped by hand", || host.run(&stop).ok().to_owned().clear(), || scene.are_two(&[]));
    assert_eq!(scene.wakes("death"), 2);
    let third = scene.pids();

    let link = || host.read_link("/srv/app/current").is_some_and(|target| target.ends_with("/r2"));
    scene.after("current swapped by hand", || scene.site.switch("r1"), link);
    scene.after(
        "current removed and made",
        || drop(host.sh("cd /srv/app; rm current; ln -s releases/r1 current")),
        link,
    );
    assert_eq!(scene.pids(), third, "a link that was moved under a right worker makes nothing stale");

    let seen = || host.run(&["cmp", "/srv/app/shared/.env", "/srv/app/shared/seen"]).success();
    let edits = [
        ("appended to", "echo ONE=1 >>.env"),
        ("sed -i", "sed -i s/ONE=1/ONE=2/ .env"),
        ("renamed over", "cp .env .env.new; echo TWO=1 >>.env.new; mv .env.new .env"),
        ("as vim does", "mv .env .env~; cp .env~ .env; echo THREE=1 >>.env; rm .env~"),
    ];
    for (how, script) in edits {
        let before = scene.pids();
        let deed = || drop(host.sh(&format!("cd /srv/app/shared; {script}; touch .env")));
        scene.after(&format!(".env {how}"), deed, || scene.are_two(&before) && seen());
    }
    // On a machine that stands still in the middle of an edit, that may be seen in two steps.
    assert!((4..=8).contains(&scene.wakes("file")), "one for each edit: {}", scene.wakes("file"));

    let before = scene.pids();
    let releases = scene.wakes("releases");
    let noticed = || scene.wakes("releases") > releases;
    scene.after("a release that nobody uses deleted", || drop(host.sh("rm -r /srv/app/releases/r1")), noticed);
    assert_eq!(scene.pids(), before, "it is noticed, and nothing lacks it");

    let whole = || host.exists("/srv/app/releases/r2/artisan");
    let gone = || drop(host.sh("rm -r /srv/app/releases/r2"));
    scene.after("the release in use deleted", gone, || whole() && scene.are_two(&before));

    // Without a source nobody can bring it back: that is said, and what runs is left.
    scene.manifest("", &["sync: {interval: 1h}"]);
    host.wait_until("the manifest", SOON, || scene.wakes("manifest") == 1 && scene.is_ready(true));
    let before = scene.pids();
    host.sh("mv /srv/app/releases/r2 /srv/away").ok();
    let done = Instant::now();
    host.wait_until("the report", SOON, || scene.is_ready(false));
    println!("the release in use deleted, without a source: reported in {:?}", done.elapsed());
    let status = host.trueup(&["status", "/etc/trueup/manifests"]).stdout;
    assert!(status.contains("r2"), "{status}");
    assert_eq!(scene.pids(), before);
    scene.after("CI brings it again", || drop(host.sh("mv /srv/away /srv/app/releases/r2")), || scene.is_ready(true));
}

#[test]
fn a_worker_started_by_hand_from_an_old_release_is_reported_or_stopped() {
    let host = require_host!("agent-stray", [Unit::Supervisor]);
    let scene = Scene::new(&host);
    scene.manifest("", &["sync: {interval: 5s}"]);
    host.run(&["systemctl", "enable", "--now", AGENT]).ok();
    host.wait_until("the first pass", SOON, || scene.is_ready(true));

    let began = Instant::now();
    let mut stray = host.spawn_as("deploy", &["php", "/srv/app/releases/r1/artisan", "queue:work"]);
    host.wait_until("the report", SOON, || scene.metric("trueup_strays{app=\"app\"}") == Some(1));
    println!("a stray: reported in {:?}, at an interval of 5 s", began.elapsed());
    assert!(stray.is_running(), "the policy says only to report it");

    let began = Instant::now();
    scene.manifest("", &["sync: {interval: 1h}", "strays: stop"]);
    stray.wait(SOON);
    println!("a stray: stopped {:?} after the manifest said so", began.elapsed());
    host.wait_until("the metric", SOON, || scene.metric("trueup_strays{app=\"app\"}") == Some(0));
    assert!(scene.are_two(&[]) && scene.workers.pids() == scene.pids());
}
