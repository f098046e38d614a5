//! A pass on a real host, against what the host itself costs: `cargo bench --bench host` (root and the
//! packages of `tests/run`).
//!
//! Boots a throwaway host with supervisord, two PHP workers of the commonest Laravel kind and a health answer
//! from nginx and php-fpm. What is compared is measured in turns, in one run, by this same program inside the
//! host, so that both sides suffer the same neighbours. Begin at [`main`]; [`inside`] measures.

#![allow(clippy::cast_precision_loss, reason = "figures for people, rounded anyway")]

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use measure::{Sample, ratio, row, timed};
use nix::sys::resource::{UsageWho, getrusage};
use support::fixtures::{Program, Site as Fixture, serve};
use support::{Host, Unit, host_or_skip};
use window::Site;

#[path = "../measure/mod.rs"]
mod measure;
mod raw;
#[path = "../../tests/support/mod.rs"]
mod support;
mod window;

/// What a benchmark does may fail, and then there is nothing to report.
pub type Fallible<T> = Result<T, Box<dyn Error>>;

const ROOT: &str = "/srv/app";
const HELPER: &str = "/run/bench";
const PASSES: usize = 40;
const SWITCHES: usize = 12;
const WORKERS: usize = 2;
/// Nobody waits longer for the health answer.
const SETTLE: Duration = Duration::from_secs(30);

/// Burns as much time as a Laravel application takes for its answer; `SPIN` is in milliseconds.
const ANSWER: &str = r"<?php
$until = hrtime(true) + SPIN * 1000000;
while (hrtime(true) < $until) {
}
header('Content-Type: application/json');
echo json_encode(['status' => 'healthy', 'release' => basename(dirname(__DIR__)), 'spin' => SPIN]);
";

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let done = match arguments.next().as_deref() {
        Some("inside") => inside(arguments.next().as_deref()),
        _ => outside(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("the benchmark failed: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Boots the host and has this program measure in it.
fn outside() -> Fallible<()> {
    let Some(host) = host_or_skip("bench", &[Unit::Supervisor, Unit::Nginx, Unit::PhpFpm]) else { return Ok(()) };
    let site = answering(&host, 9);
    Program::php("app-worker", &site).numprocs(2).start();
    serve(&host, &site);
    for release in ["r1", "r2"] {
        host.write(&manifest_path(release), &manifest(release));
    }
    std::fs::copy(std::env::current_exe()?, host.root_path().join(&HELPER[1..]))?;
    for (title, spin, part) in [
        ("a pass with nothing to do; the health answer takes 9 ms", 9, "passes"),
        ("a pass with nothing to do; the health answer is immediate", 0, "passes"),
        ("a switch of two idle workers", 0, "switches"),
        ("the program itself", 0, "program"),
    ] {
        answering(&host, spin);
        // It keeps compiled scripts, and looks for newer ones only every two seconds.
        host.run(&["systemctl", "restart", "php8.2-fpm.service"]).ok();
        host.wait_until("php-fpm to answer in that time", SETTLE, || {
            host.run(&["curl", "-s", "http://localhost/"]).stdout.contains(&format!(r#""spin":{spin}}}"#))
        });
        println!("\n{title}");
        let said = host.run(&[HELPER, "inside", part]);
        print!("{}", said.stdout);
        if !said.success() {
            return Err(said.to_string().into());
        }
    }
    Ok(())
}

/// The site, whose releases answer after so many milliseconds.
fn answering(host: &Host, spin: u32) -> Fixture<'_> {
    let answer = ANSWER.replace("SPIN", &spin.to_string());
    let site = Fixture::new(host, ROOT).release("r1").release("r2");
    site.file("r1", "public/index.php", &answer).file("r2", "public/index.php", &answer).current("r1")
}

fn manifest_path(release: &str) -> String {
    format!("/etc/trueup/manifests/{release}.yaml")
}

fn manifest(release: &str) -> String {
    format!(
        r#"apiVersion: trueup/v1
kind: App
metadata: {{name: app}}
spec:
  root: {ROOT}
  release: {{id: {release}}}
  workers:
    - name: default
      count: {WORKERS}
      manager: {{supervisord: {{group: app-worker}}}}
  health:
    http: {{url: "http://localhost/", connectTo: "127.0.0.1:80"}}
    expect:
      - status == 200
      - body.status == "healthy"
      - body.release == release.id
"#
    )
}

/// Measures one part in the host.
fn inside(part: Option<&str>) -> Fallible<()> {
    let names: Vec<String> = raw::processes()?.into_iter().map(|(name, _, _)| name).collect();
    let supervisord = std::fs::read_to_string("/run/supervisord.pid")?.trim().parse()?;
    let site = Site { root: PathBuf::from(ROOT), supervisord, workers: WORKERS };
    // Part by part the workers may be on either release.
    reconcile("r1")?;
    site.settle()?;
    match part {
        Some("passes") => passes(&site),
        Some("switches") => switches(&site, &names),
        Some("program") => program(),
        other => Err(format!("no such part: {other:?}").into()),
    }
}

fn reconcile(release: &str) -> Fallible<String> {
    let done = Command::new("trueup")
        .args(["reconcile", "--format", "json", &manifest_path(release)])
        .stdin(Stdio::null())
        .output()?;
    if done.status.success() {
        return Ok(String::from_utf8(done.stdout)?);
    }
    Err(format!("trueup: {}\n{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr)).into())
}

fn passes(site: &Site) -> Fallible<()> {
    let mut runs: [Vec<Duration>; 5] = Default::default();
    for round in 0..=PASSES {
        let (floor, done) = timed(|| raw::floor(&site.root));
        done?;
        let (process, report) = timed(|| reconcile("r1"));
        let report: serde_json::Value = serde_json::from_str(&report?)?;
        if find(&report, "outcome").and_then(serde_json::Value::as_str) != Some("converged") {
            return Err(format!("not a pass with nothing to do: {report}").into());
        }
        let took = find(&report, "tookMs").and_then(serde_json::Value::as_u64).ok_or("the report has no tookMs")?;
        let (get, answer) = timed(raw::get);
        answer?;
        let (start, _) = timed(|| Command::new("/bin/true").status());
        // The first round warms up caches that a host has warm all day.
        if round > 0 {
            for (runs, took) in runs.iter_mut().zip([floor, process, Duration::from_millis(took), get, start]) {
                runs.push(took);
            }
        }
    }
    let [floor, process, pass, get, start] = runs.map(Sample::new);
    row("  of the floor: the health answer", &get, None);
    row("floor: RPC + GET + readlink + walk", &floor, None);
    row("the pass by its own clock (tookMs)", &pass, Some(&floor));
    row("trueup reconcile, the whole process", &process, Some(&floor));
    row("  to compare: /bin/true", &start, None);
    Ok(())
}

/// The first value of that key, wherever it stands.
fn find<'a>(value: &'a serde_json::Value, key: &str) -> Option<&'a serde_json::Value> {
    match value {
        serde_json::Value::Object(map) => map.get(key).or_else(|| map.values().find_map(|value| find(value, key))),
        serde_json::Value::Array(items) => items.iter().find_map(|value| find(value, key)),
        _ => None,
    }
}

fn switches(site: &Site, names: &[String]) -> Fallible<()> {
    let mut runs: [Vec<Duration>; 3] = Default::default();
    let mut release = "r1";
    let mut next = || {
        release = if release == "r1" { "r2" } else { "r1" };
        release
    };
    for round in 0..=SWITCHES {
        let to = next();
        let ours = site.window(to, || reconcile(to).map(drop))?;
        site.settle()?;
        let to = next();
        let signalled = site.window(to, || site.rename(to).and_then(|()| signal_raw(names)))?;
        site.settle()?;
        // The slowest of them tells enough with fewer runs.
        let to = next();
        let restarted = site.window(to, || {
            site.rename(to)?;
            Command::new("supervisorctl").args(["restart", "app-worker:*"]).stdout(Stdio::null()).status()?;
            Ok(())
        })?;
        site.settle()?;
        if round > 0 {
            for (runs, took) in runs.iter_mut().zip([ours, signalled, restarted]) {
                runs.push(took);
            }
        }
    }
    let [ours, signalled, restarted] = runs.map(Sample::new);
    row("floor: rename + signals side by side", &signalled, None);
    row("trueup reconcile", &ours, Some(&signalled));
    row("supervisorctl restart GROUP:*", &restarted, Some(&signalled));
    println!("  the restart leaves workers stale {:.1} times as long as trueup", ratio(&restarted, &ours));
    Ok(())
}

use window::signal_raw;

/// Memory and start of the program alone.
fn program() -> Fallible<()> {
    let mut runs = Vec::new();
    for _ in 0..PASSES {
        let (took, done) = timed(|| Command::new("trueup").arg("--version").stdout(Stdio::null()).status());
        done?;
        runs.push(took);
    }
    row("trueup --version, the whole process", &Sample::new(runs), None);
    reconcile("r1")?;
    // In kilobytes, of whichever child took most; what this program itself held at the fork counts too.
    let most = getrusage(UsageWho::RUSAGE_CHILDREN)?.max_rss();
    println!("{:<44}{:9.1} MiB", "resident memory of a pass, at most", most as f64 / 1024.0);
    let size = std::fs::metadata(Path::new("/usr/local/bin/trueup"))?.len();
    println!("{:<44}{:9.1} MiB", "size of the program", size as f64 / 1_048_576.0);
    Ok(())
}
