//! A whole deploy by trueup and by a script, under load: `cargo bench --bench deploy [-- ROUNDS]` (root and the
//! packages of `tests/run`).
//!
//! Boots a throwaway host with nginx, php-fpm and supervisord, and two equal sites with two PHP workers each. In turns
//! trueup deploys a new commit to the one and `scripted.sh` to the other, with the same steps, while requests come in.
//! Printed are the time of each phase, the requests that failed or were answered by the old release after the switch, and
//! how long workers went on with it. Begin at [`main`]; [`inside`] measures.

#![allow(clippy::cast_precision_loss, reason = "figures for people, rounded anyway")]

use std::error::Error;
use std::fmt::Write;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Duration;

use measure::{Sample, ratio, row};
use support::fixtures::{FILES, LOAD, Program, Site as Fixture, configure_on};
use support::{Host, Unit, host_or_skip};
use turn::{Phases, Side, Turn, by_script, by_trueup, next_id, turn};
use window::Site;

#[path = "../measure/mod.rs"]
mod measure;
#[allow(dead_code, reason = "it is another benchmark's as well")]
#[path = "../host/raw.rs"]
mod raw;
#[path = "../../tests/support/mod.rs"]
mod support;
mod turn;
#[allow(dead_code, reason = "it is another benchmark's as well")]
#[path = "../host/window.rs"]
mod window;

/// What a benchmark does may fail, and then there is nothing to report.
pub type Fallible<T> = Result<T, Box<dyn Error>>;

const HELPER: &str = "/run/bench";
const REPOSITORY: &str = "/srv/git/shop";
/// The two sites; each is also the name of its supervisord group.
const TRUEUP: &str = "by-trueup";
const SCRIPTED: &str = "by-script";
const WORKERS: usize = 2;
/// Requests a second.
const RATE: u32 = 80;
/// Deploys by each side, by default otherwise.
const ROUNDS: usize = 7;
const PHASES: [&str; 10] =
    ["fetch", "link", "build", "verify", "migrate", "switch", "services", "workers", "gate", "prune"];
/// What both sides run in a release: a name for the script, the key of the manifest, the line.
const STEPS: [(&str, &str, &str); 4] = [
    ("install", "build", "mkdir vendor && echo '<?php' >vendor/autoload.php"),
    ("optimise", "build", "for file in artisan public/index.php; do php -l $file >/dev/null; done"),
    ("verify", "verify", "php artisan --version >/dev/null"),
    ("migrate", "migrate", "php artisan --version >>../../shared/migrations"),
];

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1).filter(|word| word != "--bench").peekable();
    let is_inside = arguments.next_if_eq("inside").is_some();
    let rounds = arguments.next().and_then(|word| word.parse().ok()).unwrap_or(ROUNDS);
    let done = if is_inside { inside(rounds) } else { outside(rounds) };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("the benchmark failed: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Boots the host and has this program measure in it.
fn outside(rounds: usize) -> Fallible<()> {
    let units = [Unit::Supervisor, Unit::Nginx, Unit::PhpFpm];
    let Some(host) = host_or_skip("bench-deploy", &units) else { return Ok(()) };
    repository(&host);
    for (name, port) in [(TRUEUP, 80), (SCRIPTED, 81)] {
        let site = Fixture::new(&host, &root(name).to_string_lossy()).owner("deploy");
        Program::php(name, &site).numprocs(2).user("deploy").set("autostart", "false").install();
        configure_on(&host, &site, "$realpath_root", port);
    }
    host.run(&["supervisorctl", "update"]).ok();
    host.write("/usr/local/bin/load.py", LOAD);
    host.write("/usr/local/bin/scripted.sh", include_str!("scripted.sh"));
    host.run(&["chmod", "+x", "/usr/local/bin/scripted.sh"]).ok();
    host.run(&["mkdir", "-p", "/etc/trueup/manifests"]).ok();
    std::fs::copy(std::env::current_exe()?, host.root_path().join(&HELPER[1..]))?;
    // A command in the foreground is not given as long as this takes.
    let mut said = host.spawn(&[HELPER, "inside", &rounds.to_string()]);
    let said = said.wait(Duration::from_mins(1) * u32::try_from(rounds + 1)?);
    print!("{}", said.stdout);
    if said.success() { Ok(()) } else { Err(said.to_string().into()) }
}

fn root(name: &str) -> PathBuf {
    PathBuf::from("/srv").join(name)
}

fn repository(host: &Host) {
    for (path, contents) in FILES.iter().filter(|(path, _)| !path.starts_with("vendor/")) {
        host.write(&format!("{REPOSITORY}/{path}"), contents);
    }
    host.add_user("deploy");
    let script = r#"cd "$1"; chmod +x artisan wrapper.sh; git init --quiet --initial-branch=main
        git config user.name Test; git config user.email test@example.org
        git config --system safe.directory '*'; chown -R deploy: ."#;
    host.run(&["bash", "-euc", script, "-", REPOSITORY]).ok();
}

/// The App, with the defaults of trueup wherever the script has no other wish.
fn manifest(id: &str) -> String {
    let mut steps = String::new();
    for key in ["build", "verify", "migrate"] {
        let _ = writeln!(steps, "    {key}:");
        for (_, _, line) in STEPS.iter().filter(|(_, of, _)| *of == key) {
            let _ = writeln!(steps, "      - {{run: \"{line}\"}}");
        }
    }
    format!(
        r#"apiVersion: trueup/v1
kind: App
metadata: {{name: shop}}
spec:
  root: /srv/{TRUEUP}
  user: deploy
  release:
    id: {id}
    source: {{git: {{url: {REPOSITORY}, ref: main}}}}
    requires: [vendor/autoload.php, .env]
    shared: {{dirs: [storage], files: [.env]}}
    keep: 5
{steps}  services:
    - {{name: php-fpm, manager: {{systemd: {{unit: php8.2-fpm}}}}}}
  workers:
    - name: default
      count: {WORKERS}
      manager: {{supervisord: {{group: {TRUEUP}}}}}
  health:
    http: {{url: "http://localhost/", connectTo: "127.0.0.1:80"}}
    expect:
      - status == 200
      - body.status == "healthy"
      - body.release == release.id
"#
    )
}

/// Deploys in turns, and prints what came of it.
fn inside(rounds: usize) -> Fallible<()> {
    let supervisord = std::fs::read_to_string("/run/supervisord.pid")?.trim().parse()?;
    let site = |name: &str| Site { root: root(name), supervisord, workers: WORKERS };
    let ours = Side { site: site(TRUEUP), port: 80, deploy: by_trueup };
    let script = Side { site: site(SCRIPTED), port: 81, deploy: by_script };
    let (mut of_ours, mut of_script) = (Vec::new(), Vec::new());
    for round in 0..=rounds {
        for (side, turns) in [(&ours, &mut of_ours), (&script, &mut of_script)] {
            commit(round)?;
            let id = next_id(round)?;
            if round == 0 {
                // From nothing; there is no site yet that requests could be sent to.
                (side.deploy)(side, &id)?;
            } else {
                turns.push(turn(side, &id, RATE)?);
            }
        }
    }
    report(&of_ours, &of_script);
    Ok(())
}

fn commit(round: usize) -> Fallible<()> {
    let script = r#"cd "$1"; echo "$2" >change; git add --all; git commit --quiet --message "$2""#;
    let what = format!("{round} {}", next_id(round)?);
    let done = Command::new("runuser")
        .args(["-u", "deploy", "--", "env", "HOME=/home/deploy", "bash", "-euc", script, "-", REPOSITORY, &what])
        .output()?;
    if done.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&done.stderr).into()) }
}

fn report(ours: &[Turn], script: &[Turn]) {
    let sample = |turns: &[Turn], of: &dyn Fn(&Turn) -> Duration| Sample::new(turns.iter().map(of).collect());
    let both = |of: &dyn Fn(&Turn) -> Duration| (sample(ours, of), sample(script, of));
    println!("\na deploy of a new commit, {RATE} requests a second: trueup, then the script");
    for phase in PHASES {
        let of = |turn: &Turn| Phases::get(&turn.phases, phase).copied().unwrap_or_default();
        let (ours, script) = both(&of);
        row(&format!("{phase}: trueup"), &ours, None);
        row(&format!("{phase}: script"), &script, None);
    }
    let (ours_whole, script_whole) = both(&|turn| turn.whole);
    row("the whole deploy: trueup", &ours_whole, None);
    row("the whole deploy: script", &script_whole, Some(&ours_whole));
    let (ours_stale, script_stale) = both(&|turn| turn.stale);
    row("workers on the old release: trueup", &ours_stale, None);
    row("workers on the old release: script", &script_stale, Some(&ours_stale));
    let (whole, stale) = (ratio(&script_whole, &ours_whole), ratio(&script_stale, &ours_stale));
    println!("  the script takes {whole:.1} times as long, and leaves workers stale {stale:.1} times as long");
    for (name, turns) in [("trueup", ours), ("script", script)] {
        let sum = |of: fn(&Turn) -> usize| turns.iter().map(of).sum::<usize>();
        let (asked, failed, old) = (sum(|turn| turn.asked), sum(|turn| turn.failed), sum(|turn| turn.old));
        println!("{name}: {asked} requests, {failed} failed, {old} answered by the old release after the switch");
    }
}
