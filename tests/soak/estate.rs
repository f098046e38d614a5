//! Apps, the repository that says what they should be, and the agent that follows it.

use std::fmt::Write;
use std::fs;
use std::path::PathBuf;

use crate::net::{SECRET, get, move_into, push, talk};
use crate::support::fixtures::Program;
use crate::support::{Background, Host};
use crate::traces::{Process, names, processes};
use crate::{SOON, net};

/// Where releases come from: what their workers and their health check do. The first is the only good one.
const BUILDS: [(&str, &str, &str); 4] = [
    ("good", "exec sleep 1000000", "exit 0"),
    ("sick", "exec sleep 1000000", "exit 1"),
    ("crashing", "exit 3", "exit 0"),
    ("unbuilt", "exec sleep 1000000", "exit 0"),
];
const CONFIG: &str = "/etc/trueup/agent.yaml";
/// So many people wait for passes at a time.
const PATIENT: usize = 8;
/// Members that supervisord has of each group.
pub const NUMPROCS: u32 = 3;

/// What is wished of one App.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// Its number; all else of it follows from that.
    pub number: usize,
    /// The desired release.
    pub release: String,
    /// What that is made of, by [`BUILDS`].
    pub build: &'static str,
    /// How many workers.
    pub count: u32,
    /// There is a manifest for it.
    pub present: bool,
}

impl Wish {
    pub fn name(&self) -> String {
        format!("app{:02}", self.number)
    }

    pub fn root(&self) -> String {
        format!("/srv/app{:02}", self.number)
    }

    /// Its workers are supervisord's.
    pub fn is_supervised(&self) -> bool {
        self.number % 10 == 9
    }

    fn manifest(&self) -> String {
        let Self { number, release, build, count, .. } = self;
        let (name, root) = (self.name(), self.root());
        let steps = if number % 3 == 1 { ", build: ['test ! -e unbuilt']" } else { "" };
        let manager = match self.is_supervised() {
            true => format!("{{supervisord: {{group: {name}}}}}"),
            // By way of a shell, or not.
            false if number % 6 == 0 => "{builtin: {run: ./worker}}".to_owned(),
            false => "{builtin: {run: [./worker]}}".to_owned(),
        };
        let restart = if number % 4 == 0 { ", restartOn: [{path: shared/.env, run: 'true'}]" } else { "" };
        let slowly = if number % 5 == 2 { ", maxUnavailable: 1" } else { "" };
        format!(
            "apiVersion: trueup/v1\nkind: App\nmetadata: {{name: {name}}}\nspec:\n  root: {root}\n  \
             release: {{id: {release}, keep: 2, source: {{dir: {{path: /srv/build/{build}}}}}{steps}}}\n  workers:\n    \
             - {{name: w, count: {count}, stopTimeout: 10s, rollout: {{minHealthy: 200ms{slowly}}}, \
             manager: {manager}{restart}}}\n  \
             health: {{command: {{run: ./check, timeout: 30s}}, attempts: 3, interval: 200ms, expect: ['status == 0']}}\n  \
             strays: stop\n  sync: {{interval: 5s, maxCorrectionsPerHour: 3600, prune: {prune}}}\n",
            prune = number % 2 == 0,
        )
    }
}

/// All of it.
pub struct Estate<'host> {
    pub host: &'host Host,
    /// What the repository says, once it is committed.
    pub wishes: Vec<Wish>,
    /// The repository's last commit.
    pub head: String,
    pub agent: Option<Background<'host>>,
    /// People who wait for the passes that they have asked for.
    pub waiting: Vec<Background<'host>>,
    /// Numbers releases, commits and deliveries.
    counted: u64,
}

impl<'host> Estate<'host> {
    /// So many Apps with a first release each, committed, and no agent yet. Without webhooks, the agent asks each `poll`.
    pub fn new(host: &'host Host, apps: usize, poll: &str) -> Self {
        for (name, worker, check) in BUILDS {
            host.write(&format!("/srv/build/{name}/worker"), &format!("#!/bin/sh\n{worker}\n"));
            host.write(&format!("/srv/build/{name}/check"), &format!("#!/bin/sh\n{check}\n"));
        }
        host.sh("touch /srv/build/unbuilt/unbuilt; chmod +x /srv/build/*/*; mkdir -p /srv/origin/hosts/web01").ok();
        host.sh("cd /srv/origin; git init --quiet --initial-branch=main
             git config user.name Test; git config user.email test@example.org")
            .ok();
        host.write("/etc/trueup/secret", SECRET);
        let secret = "{secret: {file: /etc/trueup/secret}}";
        let config = format!(
            "apiVersion: trueup/v1\nkind: Agent\nmetadata: {{name: web01}}\nspec:\n  \
             source: {{git: {{url: /srv/origin, path: hosts/web01, poll: {poll}}}}}\n  listen: 127.0.0.1:{port}\n  \
             webhooks: {{gitlab: {secret}, github: {secret}, gitea: {secret}}}\n",
            port = net::PORT
        );
        host.write(CONFIG, &config);
        let wish = |number: usize| Wish {
            number,
            release: "r0".to_owned(),
            build: "good",
            count: u32::try_from(number % 3).unwrap() + 1,
            present: true,
        };
        let wishes: Vec<Wish> = (0..apps).map(wish).collect();
        for wish in &wishes {
            host.write(&format!("{}/shared/.env", wish.root()), "0\n");
            if wish.is_supervised() {
                let program = Program::new(host, &wish.name(), "sh worker").numprocs(NUMPROCS);
                program.directory(&format!("{}/current", wish.root())).set("autostart", "false").install();
            }
        }
        if wishes.iter().any(Wish::is_supervised) {
            host.run(&["supervisorctl", "update"]).ok();
        }
        let mut estate = Estate { host, wishes, head: String::new(), agent: None, waiting: Vec::new(), counted: 0 };
        estate.commit("the first releases");
        estate
    }

    /// A path inside the host, seen from here.
    pub fn path(&self, inside: &str) -> PathBuf {
        self.host.root_path().join(inside.trim_start_matches('/'))
    }

    /// Another number.
    pub fn count(&mut self) -> u64 {
        self.counted += 1;
        self.counted
    }

    /// Commits what is wished, and nothing else.
    pub fn commit(&mut self, message: &str) {
        for wish in &self.wishes {
            let path = self.path(&format!("srv/origin/hosts/web01/{}.yaml", wish.name()));
            if wish.present {
                fs::write(path, wish.manifest()).expect("the repository is there");
            } else {
                let _ = fs::remove_file(path);
            }
        }
        self.commit_what_is_there(message);
    }

    /// Commits whatever files there are.
    pub fn commit_what_is_there(&mut self, message: &str) {
        let script =
            r#"cd /srv/origin; git add --all; git commit --quiet --allow-empty --message "$0"; git rev-parse HEAD"#;
        self.host.run(&["bash", "-euc", script, message]).ok().clone_into(&mut self.head);
    }

    /// The forge tells of the last commit.
    pub fn tell(&mut self) -> String {
        let number = self.count();
        let (init, request) = (self.host.init_pid(), push(&self.head, number));
        std::thread::spawn(move || {
            move_into(init);
            net::connect().map(|stream| talk(stream, &request)).unwrap_or_default()
        })
        .join()
        .expect("it only talks")
    }

    /// Starts the agent, where none runs.
    pub fn start(&mut self) {
        if self.agent.is_none() {
            let words = ["env", "TRUEUP_LOG=trueup=info", "trueup", "agent", "--config", CONFIG];
            self.agent = Some(self.host.spawn(&words));
        }
    }

    /// Waits until the agent answers: from then on it takes a signal as what it means. One that has ended never will.
    pub fn until_it_answers(&mut self) {
        let Some(agent) = &mut self.agent else { return };
        let host = self.host;
        host.wait_until("the agent to answer", SOON, || get(host, "/healthz").is_some() || !agent.is_running());
    }

    /// Somebody asks for a pass over an App, and waits for it or does not. Not too many wait at a time.
    pub fn request(&mut self, app: &str, waits: bool) {
        let url = format!("http://localhost/api/v1/apps/{app}/reconcile?wait={waits}");
        let argv = ["curl", "-s", "-X", "POST", "--unix-socket", "/run/trueup/agent.sock", &url];
        self.waiting.retain_mut(Background::is_running);
        if waits && self.waiting.len() < PATIENT {
            self.waiting.push(self.host.spawn(&argv));
        } else if !waits {
            self.host.run(&argv);
        }
    }

    /// Waits until everybody who asked for a pass has been answered, or has seen the agent end.
    pub fn all_are_answered(&mut self) {
        for mut waiting in self.waiting.drain(..) {
            waiting.wait(SOON);
        }
    }

    /// Ends the agent by that signal, and waits until it has ended.
    pub fn end(&mut self, signal: &str) {
        if signal != "KILL" {
            self.until_it_answers();
        }
        let Some(mut agent) = self.agent.take() else { return };
        assert!(agent.is_running(), "the agent has ended by itself:\n{}", last_of(&agent.stderr()));
        agent.signal(signal);
        let ended = agent.wait(SOON);
        let expected = if signal == "TERM" { 0 } else { 137 };
        assert_eq!(ended.code, expected, "{}", last_of(&ended.stderr));
        assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
    }

    /// Where the agent's last commit in force is, by its own link.
    pub fn in_force(&self) -> Option<String> {
        let git = self.path("var/lib/trueup/git");
        let link = fs::read_link(git.join(names(&git).first()?).join("current")).ok()?;
        Some(link.file_name()?.to_str()?.to_owned())
    }

    /// What is not as it is wished, seen without trueup: the link, and where each worker works.
    pub fn differs(&self) -> Vec<String> {
        let processes = processes(self.host);
        let mut found = Vec::new();
        for wish in &self.wishes {
            let (name, wanted) = (wish.name(), format!("{}/releases/{}", wish.root(), wish.release));
            let link = fs::read_link(self.path(&format!("{}/current", wish.root())));
            let link = link.map(|link| link.to_string_lossy().into_owned()).unwrap_or_default();
            if !format!("/{link}").ends_with(&format!("/releases/{}", wish.release)) {
                found.push(format!("{name}: current leads to `{link}`, not {}", wish.release));
            }
            let own = within(&processes, &wish.root());
            let (right, wrong): (Vec<&Process>, _) =
                own.into_iter().partition(|process| process.cwd.as_ref() == Some(&wanted));
            // A shell may stand between trueup and a worker.
            let right = right.iter().filter(|process| process.name == "sleep").count();
            if right != wish.count as usize || !wrong.is_empty() {
                let mut line = format!("{name}: {right} of {} workers in {}", wish.count, wish.release);
                for process in wrong {
                    let _ = write!(line, ", {} in {}", process.name, process.cwd.as_deref().unwrap_or_default());
                }
                found.push(line);
            }
        }
        found
    }

    /// The Apps whose desired release is kept out, by their records.
    pub fn kept_out(&self) -> Vec<String> {
        let is_kept_out = |wish: &&Wish| {
            let record = self.path(&format!("{}/.trueup/releases/{}.json", wish.root(), wish.release));
            fs::read_to_string(record).is_ok_and(|record| record.contains("\"quarantine\""))
        };
        self.wishes.iter().filter(is_kept_out).map(Wish::name).collect()
    }

    /// What the agent says of itself, and the last lines of its log.
    pub fn said(&self) -> String {
        let apps = get(self.host, "/api/v1/apps").unwrap_or_default();
        let log = self.agent.as_ref().map(|agent| last_of(&agent.stderr()).to_owned()).unwrap_or_default();
        format!("{apps}\n{log}")
    }
}

/// The processes that work below a root.
fn within<'a>(processes: &'a std::collections::BTreeMap<u32, Process>, root: &str) -> Vec<&'a Process> {
    let below = format!("{root}/");
    let inside = |process: &&Process| process.cwd.as_ref().is_some_and(|cwd| cwd.starts_with(&below));
    processes.values().filter(|process| process.state != 'Z').filter(inside).collect()
}

/// The end of a log.
pub fn last_of(log: &str) -> &str {
    let start = log.len().saturating_sub(12_000);
    let start = (start..log.len()).find(|at| log.is_char_boundary(*at)).unwrap_or(0);
    &log[start..]
}
