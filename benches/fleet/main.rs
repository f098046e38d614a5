//! Many hosts: `trueup reconcile` from a control host, against `ansible-playbook` on the same hosts in the same run:
//! `cargo bench --bench fleet [-- HOSTS…]` (root, sshd, `ansible-core`; 1, 10 and 50 hosts by default).
//!
//! Throwaway hosts with an sshd each, on one switch. Both sides have a site of their own on every host: a link, two releases
//! that are there already, two workers, a health command. A dry run with nothing to do, and a switch; each with new
//! connections (cold) and with those that the run before has left (warm), in turns. `TRUEUP_BENCH_ROUNDS`: of how many
//! rounds the medians are (5). `TRUEUP_BENCH_CABLES`: `short`, `long` for 100 ms there and back, or both, which is how
//! it is by default. `TRUEUP_BENCH_PROGRAM`: another trueup than the one that was just built.
//! `TRUEUP_BENCH_ANSIBLE`: another `ansible-playbook` than the one in the PATH.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark may fail on the spot")]
#![allow(clippy::cast_precision_loss, reason = "figures for people, rounded anyway")]

use std::fmt::Write as _;
use std::time::Duration;

use measure::{Sample, row};
use side::{Cost, Memory, Side};
use support::Host;
use support::cable::Cable;
use support::network::Network;

#[path = "../measure/mod.rs"]
mod measure;
mod side;
#[path = "../../tests/support/mod.rs"]
mod support;

/// One of the figures of a run.
type Figure = fn(&Cost) -> Duration;

/// How many hosts are worked on at a time, by both.
const FORKS: usize = 8;
const WORKERS: usize = 2;
const ROUNDS: usize = 5;
/// How long answers take over long cables.
const FAR: Duration = Duration::from_millis(100);
const RELEASES: [&str; 2] = ["r1", "r2"];
const CONFIG: &str = "[defaults]\ninventory = hosts\ngathering = explicit\ninterpreter_python = /usr/bin/python3\n\
                      [ssh_connection]\npipelining = True\n";

/// What is measured.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Work {
    /// A dry run that finds nothing to do.
    Look,
    /// From the one release to the other.
    Switch,
}

/// Who does it.
#[derive(Clone, Copy)]
enum Who {
    Trueup,
    Ansible,
}

impl Who {
    fn root(self) -> &'static str {
        match self {
            Who::Trueup => "/srv/by-trueup",
            Who::Ansible => "/srv/by-ansible",
        }
    }

    /// What a worker of theirs is known by.
    fn worker(self) -> &'static str {
        match self {
            Who::Trueup => "sleep 86399",
            Who::Ansible => "sleep 86398",
        }
    }
}

/// One of the two, with its part of the fleet.
struct Player<'net> {
    who: Who,
    side: Side<'net>,
    hosts: &'net [Host],
    control: &'net Host,
    ansible: String,
    /// Which release is in force.
    at: usize,
}

fn main() {
    let mut counts: Vec<usize> = std::env::args().skip(1).filter_map(|word| word.parse().ok()).collect();
    if counts.is_empty() {
        counts = vec![1, 10, 50];
    }
    let rounds = std::env::var("TRUEUP_BENCH_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(ROUNDS);
    let Some(network) = Network::bare(counts.iter().copied().max().unwrap_or(1)) else { return };
    furnish(&network);
    let control = &network.control;
    let ansible = ansible(control);
    println!("medians of {rounds} rounds, {FORKS} hosts at a time; {}", control.run(&["trueup", "--version"]).ok());
    match &ansible {
        Some(program) => println!("{}", control.run(&[program, "--version"]).ok().lines().next().unwrap_or_default()),
        None => println!("skipped: Ansible: no `ansible-playbook` in the PATH, nor in TRUEUP_BENCH_ANSIBLE"),
    }
    let side = |who, name| (who, Side::new(control, name));
    let mut players = vec![side(Who::Trueup, "trueup")];
    players.extend(ansible.as_ref().map(|_| side(Who::Ansible, "ansible")));
    let mut players: Vec<Player> = players
        .into_iter()
        .map(|(who, side)| {
            let ansible = ansible.clone().unwrap_or_default();
            Player { who, side, hosts: &[], control, ansible, at: 0 }
        })
        .collect();
    let cables = std::env::var("TRUEUP_BENCH_CABLES").unwrap_or_else(|_| "short,long".to_owned());
    for name in cables.split(',') {
        let cable = match name {
            "short" => Cable::default(),
            "long" => Cable::long(FAR),
            other => panic!("TRUEUP_BENCH_CABLES: `{other}` is neither `short` nor `long`"),
        };
        let means = (0..network.hosts().len()).map(|index| network.cable(index, cable)).last();
        let how = match means.filter(|_| name == "long") {
            Some(means) => format!(", {} ms there and back, {means}", FAR.as_millis()),
            None => String::new(),
        };
        for count in &counts {
            println!("\n{count} hosts{how}");
            of(&mut players, &network.hosts()[..*count], rounds);
        }
    }
}

/// Where `ansible-playbook` is, if it is anywhere.
fn ansible(control: &Host) -> Option<String> {
    let given = std::env::var("TRUEUP_BENCH_ANSIBLE").ok();
    given.or_else(|| {
        let found = control.run(&["bash", "-c", "command -v ansible-playbook"]);
        found.success().then(|| found.ok().to_owned())
    })
}

/// Both sites on every host, and what both sides read on the control host.
fn furnish(network: &Network) {
    for host in network.hosts().iter().chain([&network.control]) {
        if let Some(program) = std::env::var_os("TRUEUP_BENCH_PROGRAM") {
            host.run(&["mount", "--bind", &program.to_string_lossy(), "/usr/local/bin/trueup"]).ok();
        }
    }
    for host in network.hosts() {
        let mut script = String::new();
        for who in [Who::Trueup, Who::Ansible] {
            for release in RELEASES {
                let (root, worker) = (who.root(), who.worker());
                let _ = writeln!(
                    script,
                    "mkdir -p {root}/releases/{release}; cd {root}/releases/{release}; chmod 755 {root}
                     printf '#!/bin/sh\\nexec {worker}\\n' >worker; printf '#!/bin/sh\\nexit 0\\n' >healthy
                     chmod 755 worker healthy; chown -R deploy: {root}"
                );
            }
        }
        host.sh(&script).ok();
    }
    for (name, text) in
        [("look.yml", include_str!("look.yml")), ("switch.yml", include_str!("switch.yml")), ("ansible.cfg", CONFIG)]
    {
        network.control.write(&format!("/etc/bench/{name}"), text);
    }
}

/// All that is measured with so many hosts.
fn of<'net>(players: &mut [Player<'net>], hosts: &'net [Host], rounds: usize) {
    for player in &mut *players {
        player.begin(hosts);
    }
    for (work, title) in [(Work::Look, "a dry run with nothing to do"), (Work::Switch, "a switch")] {
        let mut costs: Vec<[Vec<Cost>; 2]> = players.iter().map(|_| Default::default()).collect();
        for _ in 0..rounds {
            for (player, costs) in players.iter_mut().zip(&mut costs) {
                player.side.disconnect();
                costs[0].push(player.turn(work));
                assert!(player.side.kept() > 0, "{} keeps no connections", player.side.name());
                costs[1].push(player.turn(work));
            }
        }
        for (index, warmth) in ["cold", "warm"].into_iter().enumerate() {
            println!(" {title}, {warmth}");
            let figures: [(&str, Figure); 2] = [("wall", |cost| cost.wall), ("cpu", |cost| cost.cpu)];
            for (figure, get) in figures {
                let mut first = None;
                for (player, costs) in players.iter().zip(&costs) {
                    let sample = Sample::new(costs[index].iter().map(get).collect());
                    row(&format!("  {figure}: {}", player.side.name()), &sample, first.as_ref());
                    first.get_or_insert(sample);
                }
            }
        }
        println!(" {title}, cold, memory at most");
        for player in &mut *players {
            player.side.disconnect();
            let Memory { own, largest, processes } = player.watched(work);
            let mb = |kb: u64| kb as f64 / 1000.0;
            let (name, own, largest) = (player.side.name(), mb(own), mb(largest));
            println!("  {name:<42}{own:9.1} MB of its own; the largest of {processes} processes {largest:.1} MB");
        }
    }
    for player in &mut *players {
        player.side.disconnect();
        player.is_whole();
    }
}

impl<'net> Player<'net> {
    /// Brings these hosts to one state, and reads all programs once.
    fn begin(&mut self, hosts: &'net [Host]) {
        self.hosts = hosts;
        let names: Vec<&str> = hosts.iter().map(Host::name).collect();
        let inventory = names.join("\n") + "\n";
        self.control.write("/etc/bench/hosts", &inventory);
        self.turn(Work::Switch);
        self.turn(Work::Look);
    }

    /// Does it once.
    fn turn(&mut self, work: Work) -> Cost {
        let command = self.prepare(work);
        let (cost, said) = self.side.run(&command);
        if work == Work::Look && matches!(self.who, Who::Ansible) {
            assert_eq!(said.matches("changed=0 ").count(), self.hosts.len(), "{said}");
        }
        self.is_in_force();
        cost
    }

    fn watched(&mut self, work: Work) -> Memory {
        let command = self.prepare(work);
        self.side.watched(&command)
    }

    fn prepare(&mut self, work: Work) -> Vec<String> {
        if work == Work::Switch {
            self.at = 1 - self.at;
        }
        let (release, worker, root) = (RELEASES[self.at], self.who.worker(), self.who.root());
        let words = match self.who {
            Who::Trueup => {
                self.control.write("/etc/bench/shop.yaml", &manifest(self.hosts, release, root));
                // 0 only when nothing differs.
                let look = if work == Work::Look { " --dry-run --detailed-exitcode" } else { "" };
                format!("trueup reconcile shop.yaml --forks {FORKS}{look}")
            }
            Who::Ansible => {
                let play = if work == Work::Look { "--check look.yml" } else { "switch.yml" };
                format!(
                    "{} --forks {FORKS} {play} -e count={WORKERS} -e root={root} -e release={release} -e",
                    self.ansible
                )
            }
        };
        let mut words: Vec<String> = words.split(' ').map(str::to_owned).collect();
        if matches!(self.who, Who::Ansible) {
            words.push(format!("worker='{worker}'"));
        }
        words
    }

    /// The links are as they should be.
    fn is_in_force(&self) {
        for host in self.hosts {
            let link = host.root_path().join(&self.who.root()[1..]).join("current");
            let to = std::fs::read_link(link).unwrap();
            assert!(to.ends_with(RELEASES[self.at]), "{}: {}", host.name(), to.display());
        }
    }

    /// So are the workers.
    fn is_whole(&self) {
        for host in self.hosts {
            let pids = host.pids_of(self.who.worker());
            assert_eq!(pids.len(), WORKERS, "{}", host.name());
            for pid in pids {
                let at = host.read_link(&format!("/proc/{pid}/cwd")).unwrap();
                assert!(at.ends_with(RELEASES[self.at]), "{}: {at}", host.name());
            }
        }
    }
}

fn manifest(hosts: &[Host], release: &str, root: &str) -> String {
    let hosts: Vec<String> = hosts.iter().map(|host| format!("    - {{name: {}}}\n", host.name())).collect();
    let hosts = hosts.concat();
    format!(
        "apiVersion: trueup/v1\nkind: App\nmetadata: {{name: shop}}\nspec:\n  hosts:\n{hosts}  \
         rollout: {{canary: 0, batch: 100%, healthyFor: 0s}}\n  root: {root}\n  release: {{id: {release}}}\n  workers:\n    \
         - name: default\n      count: {WORKERS}\n      manager: {{builtin: {{run: ./worker}}}}\n      \
         rollout: {{minHealthy: 0s}}\n  health:\n    command: {{run: ./healthy}}\n    attempts: 3\n    interval: 1s\n    \
         expect: [status == 0]\n"
    )
}
