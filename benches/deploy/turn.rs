//! One deploy under load, by trueup or by the script: its phases, what the requests saw, how long workers were stale.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use super::window::Site;
use super::{Fallible, WORKERS};

/// Requests begun within this of the switch are nobody's fault: clocks of two programs are compared.
const GUARD: Duration = Duration::from_millis(20);
/// Ends the load.
const ENOUGH: &str = "/run/enough";
/// Requests go on for this long before and after a deploy.
const LEAD: Duration = Duration::from_millis(500);

/// One of the two that are compared.
pub struct Side {
    /// The workers' site.
    pub site: Site,
    /// Where the site is served.
    pub port: u16,
    /// Deploys a release and says how long each phase took.
    pub deploy: fn(&Side, &str) -> Fallible<Phases>,
}

/// How long each phase took.
pub type Phases = BTreeMap<&'static str, Duration>;

/// What came of one deploy.
pub struct Turn {
    /// From the start of the program to its end.
    pub whole: Duration,
    /// From the rename of `current` until each worker had opened the new release.
    pub stale: Duration,
    /// How long each phase took.
    pub phases: Phases,
    /// All requests.
    pub asked: usize,
    /// Those that were not answered by 200.
    pub failed: usize,
    /// Those that began after the rename and were answered by another release.
    pub old: usize,
}

/// Makes one deploy while requests come in.
pub fn turn(side: &Side, id: &str, rate: u32) -> Fallible<Turn> {
    let _ = std::fs::remove_file(ENOUGH);
    let load = Load::start(side.port, rate)?;
    thread::sleep(LEAD);
    let (mut phases, mut whole) = (Phases::new(), Duration::ZERO);
    let stale = side.site.window(id, || {
        let began = Instant::now();
        phases = (side.deploy)(side, id)?;
        whole = began.elapsed();
        Ok(())
    })?;
    let switched = std::fs::symlink_metadata(side.site.root.join("current"))?;
    let switched = std::os::unix::fs::MetadataExt::ctime(&switched) as f64
        + std::os::unix::fs::MetadataExt::ctime_nsec(&switched) as f64 / 1e9;
    thread::sleep(LEAD);
    let told = load.end()?;
    let mut turn = Turn { whole, stale, phases, asked: told.len(), failed: 0, old: 0 };
    for one in &told {
        let (began, status, release) = (one[0].as_f64().unwrap_or_default(), one[1].as_str(), one[2].as_str());
        let good = status == Some("200");
        turn.failed += usize::from(!good);
        turn.old += usize::from(good && release != Some(id) && began > switched + GUARD.as_secs_f64());
    }
    Ok(turn)
}

/// A program that sends requests. It ends with this.
struct Load(Child);

impl Load {
    fn start(port: u16, rate: u32) -> Fallible<Self> {
        let mut command = Command::new("python3");
        command.args(["/usr/local/bin/load.py", &rate.to_string(), "40", &port.to_string()]);
        Ok(Self(command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?))
    }

    fn end(mut self) -> Fallible<Vec<Value>> {
        std::fs::write(ENOUGH, "")?;
        let out = self.0.stdout.take().ok_or("the load has no output")?;
        Ok(serde_json::from_reader(out)?)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Deploys by trueup; the phases are those of its journal.
pub fn by_trueup(side: &Side, id: &str) -> Fallible<Phases> {
    let path = format!("/etc/trueup/manifests/{}.yaml", super::TRUEUP);
    std::fs::write(&path, super::manifest(id))?;
    let journal = side.site.root.join(".trueup/journal.jsonl");
    let before = std::fs::read_to_string(&journal).unwrap_or_default().lines().count();
    let done = Command::new("trueup").args(["reconcile", &path]).stdin(Stdio::null()).output()?;
    if !done.status.success() {
        let said = [done.stdout, done.stderr].concat();
        return Err(format!("trueup: {}", String::from_utf8_lossy(&said)).into());
    }
    let mut phases = Phases::new();
    for line in std::fs::read_to_string(&journal)?.lines().skip(before) {
        let line: Value = serde_json::from_str(line)?;
        let (Some("done"), Some(took)) = (line["event"].as_str(), line["tookMs"].as_u64()) else { continue };
        let phase = match (line["action"].as_str(), line["stage"].as_str()) {
            (Some("fetchRelease"), _) => "fetch",
            (Some("linkShared"), _) => "link",
            (Some("runStage"), Some("build")) => "build",
            (Some("runStage"), Some("verify")) => "verify",
            (Some("runStage"), Some("migrate")) => "migrate",
            (Some("switchCurrent"), _) => "switch",
            (Some("renewService"), _) => "services",
            (Some("startWorker" | "restartWorker"), _) => "workers",
            (Some("proveRelease"), _) => "gate",
            (Some("pruneRelease"), _) => "prune",
            other => return Err(format!("an action of no known phase: {other:?}").into()),
        };
        let took = Duration::from_millis(took);
        // Side by side: the slowest is how long it took.
        let longest = phases.entry(phase).or_insert(took);
        *longest = took.max(*longest);
    }
    Ok(phases)
}

/// Deploys by the script, which says when each phase begins.
pub fn by_script(side: &Side, id: &str) -> Fallible<Phases> {
    let root: PathBuf = side.site.root.clone();
    let url = format!("http://localhost:{}/", side.port);
    let done = Command::new("/usr/local/bin/scripted.sh")
        .arg(root)
        .args([id, super::REPOSITORY, super::SCRIPTED, &WORKERS.to_string(), &url])
        .envs(super::STEPS.map(|(name, _, line)| (format!("BENCH_{}", name.to_uppercase()), line)))
        .stdin(Stdio::null())
        .output()?;
    if !done.status.success() {
        return Err(format!("the script: {}", String::from_utf8_lossy(&done.stderr)).into());
    }
    let said = String::from_utf8(done.stdout)?;
    let mut began: Vec<(&str, f64)> = Vec::new();
    for line in said.lines().filter_map(|line| line.strip_prefix("phase ")) {
        let (name, at) = line.split_once(' ').ok_or("a phase without its time")?;
        began.push((name, at.parse()?));
    }
    let mut phases = Phases::new();
    for (one, next) in began.iter().zip(began.iter().skip(1)) {
        let name = super::PHASES.iter().find(|name| **name == one.0).ok_or("no such phase")?;
        *phases.entry(name).or_default() += Duration::from_secs_f64((next.1 - one.1).max(0.0));
    }
    Ok(phases)
}

/// A name that sorts by time.
pub fn next_id(number: usize) -> Fallible<String> {
    Ok(format!("{}-{number}", SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs()))
}
