//! `trueup` is killed outright in the middle of deploys and rollbacks: the next pass completes the work.
//!
//! Each trial deploys another release; every third one is ill, so that it is taken back. A watcher looks on all the
//! time whether `current` ever leads to a release that is not whole.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::shop::{ROOT, SOON, Shop, from};
use crate::support::passes::Manifest;
use crate::support::{Background, Host, Output, Unit, require_host};

/// What a killed command ends with.
const KILLED: i32 = 128 + 9;
/// More lines than any pass writes into its journal.
const TOO_MANY: u32 = 80;

/// Runs a command and kills it after so many microseconds: itself alone, or with everything that it has started.
const KILLER: &str = r#"
import os, signal, subprocess, sys, time
child = subprocess.Popen(sys.argv[3:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
time.sleep(int(sys.argv[2]) / 1e6)

def parents():
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            yield int(pid), int(open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()[1])
        except (OSError, IndexError):
            pass

tree = [child.pid]
if sys.argv[1] == "tree":
    below = list(parents())
    for pid in tree:
        tree += [one for one, parent in below if parent == pid]
for pid in tree if child.poll() is None else []:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
code = child.wait()
sys.exit(code if code >= 0 else 128 - code)
"#;

/// Notes every moment at which `current` leads to a release whose build has not come to its end.
const WATCHER: &str = r#"
import os, time
looks = 0
while not os.path.exists("/run/enough"):
    try:
        release = os.readlink("/srv/app/current")
        release = os.path.join("/srv/app", release)
        looks += 1
        with open(release + "/built") as built:
            whole = built.read().strip() == os.path.basename(release)
    except FileNotFoundError as error:
        # Before the first switch there is no link at all.
        whole = not os.path.lexists("/srv/app/current")
    if not whole:
        print("half a release was current:", release, flush=True)
    time.sleep(0.002)
print(looks, "looks")
"#;

struct Trials<'host> {
    host: &'host Host,
    shop: Shop<'host>,
    watcher: Background<'host>,
    number: u32,
    good: String,
    /// How long the last pass took that was not killed: to a good release, and to an ill one.
    took: [Duration; 2],
    /// Which migrations have run, and how often they may have.
    migrated: BTreeMap<String, usize>,
}

impl<'host> Trials<'host> {
    fn new(host: &'host Host) -> Self {
        let shop = Shop::unserved(host, "0");
        let watcher = host.spawn(&["python3", "-c", WATCHER]);
        let mut trials = Self {
            host,
            shop,
            watcher,
            number: 0,
            good: String::new(),
            took: [Duration::ZERO; 2],
            migrated: BTreeMap::new(),
        };
        for ill in [false, false, true] {
            assert!(!trials.trial(ill, "not killed", &["env"]));
        }
        trials
    }

    /// A release that is new, and ill or well.
    fn next(&mut self, ill: bool) -> (String, Manifest<'host>) {
        self.number += 1;
        let id = format!("k{:03}", self.number);
        let health = if ill { r#"{"status": "ill"}"# } else { r#"{"status": "healthy"}"# };
        let commit = self.shop.commit(&[("health.json", health), ("change", &id)]);
        let making = from(&commit).replace("cat .env", "sleep 0.1 && cat .env");
        let contract = "health: {command: {run: cat health.json}, attempts: 2, interval: 100ms, \
                        expect: ['body.status == \"healthy\"']}";
        (id.clone(), self.shop.bare(&id, &making).with(contract))
    }

    /// Deploys the next release with a pass that `killer` runs and may kill, then with one that lives. Tells whether
    /// the first was killed.
    fn trial(&mut self, ill: bool, what: &str, killer: &[&str]) -> bool {
        let (id, manifest) = self.next(ill);
        let what = format!("{id}, {}, {what}", if ill { "ill" } else { "well" });
        let path = manifest.write();
        let ends = if ill { 3 } else { 0 };
        let began = Instant::now();
        let output = self.host.run(&[killer, &["trueup", "reconcile", &path]].concat());
        if output.code != KILLED {
            self.took[usize::from(ill)] = began.elapsed();
        }
        assert!([ends, KILLED].contains(&output.code), "{what}: {output}");
        let killed = output.code == KILLED;
        let current = self.shop.site.current_release().unwrap_or_default();
        assert!([&id, &self.good].contains(&&current), "{what}: current is {current}");

        // A step that is left running holds the lock until it has ended.
        let next = self.host.trueup(&["reconcile", "--wait", "30s", &path]);
        assert_eq!(next.code, ends, "{what}: {next}");
        if !ill {
            self.good.clone_from(&id);
        }
        self.is_well(&what, &next);
        self.kept_what_is_shared(&what, &id, killed);
        killed
    }

    fn is_well(&self, what: &str, next: &Output) {
        assert_eq!(self.shop.site.current_release().as_ref(), Some(&self.good), "{what}: {next}");
        self.host.wait_until(&format!("{what}: workers in {}", self.good), SOON, || self.shop.works_in(&self.good));
        let releases = self.shop.releases();
        assert!(releases.contains(&self.good) && releases.len() <= 4, "{what}: {releases:?}");
        let left = self.host.sh(&format!(
            "find {ROOT} -path {ROOT}/.trueup/git -prune -o -name '.*' ! -name .trueup ! -name .env ! -name .trueup-aside ! -name '.trueup-removed-*' -print"
        ));
        // A removal that was cut short is finished by the next one.
        assert_eq!(left.ok(), "", "{what}: nothing is left lying about: {next}");
    }

    fn kept_what_is_shared(&mut self, what: &str, id: &str, killed: bool) {
        let shared = |path: &str| self.host.read(&format!("{ROOT}/shared/{path}"));
        assert_eq!((shared(".env").trim(), shared("storage/kept").trim()), ("APP_ENV=testing", "first"), "{what}");
        // Cut short, a migration runs again.
        self.migrated.insert(id.to_owned(), if killed { 2 } else { 1 });
        let run = self.shop.migrations();
        for (id, at_most) in &self.migrated {
            let times = run.iter().filter(|one| *one == id).count();
            assert!((1..=*at_most).contains(&times), "{what}: {id} was migrated {times} times");
        }
    }

    /// What the watcher has seen, and what is left after a last deploy that prunes.
    fn end(mut self) {
        assert!(!self.trial(false, "at the end", &["env"]));
        let left = self.host.sh(&format!("find {ROOT}/releases -maxdepth 1 -name '.*'"));
        assert_eq!(left.ok(), "");
        self.host.write("/run/enough", "");
        let output = self.watcher.wait(SOON);
        println!("the watcher: {}", output.ok());
        assert!(!output.stdout.contains("half a release"), "{output}");
    }
}

/// How many trials there are in a normal run and in a long one.
fn trials(normal: u32, long: u32) -> u32 {
    if std::env::var_os("TRUEUP_TESTS_LONG").is_some() { long } else { normal }
}

#[test]
fn killed_at_any_moment_of_a_deploy_or_a_rollback() {
    let host = require_host!("killed-deploy", [Unit::Supervisor]);
    let mut all = Trials::new(&host);
    println!("a deploy takes {:?}, one that is taken back {:?}", all.took[0], all.took[1]);
    let count = trials(30, 200);
    let mut killed = 0;
    for number in 1..=count {
        let ill = number % 3 == 0;
        let window = all.took[usize::from(ill)];
        // Steps of the golden ratio spread evenly however many there are.
        let pause = window.mul_f64((f64::from(number) * 0.618_034).fract()).as_micros().to_string();
        let whom = if number % 2 == 0 { "tree" } else { "alone" };
        let what = format!("killed {whom} after {pause} us");
        killed += u32::from(all.trial(ill, &what, &["python3", "-c", KILLER, whom, &pause]));
    }
    println!("killed {killed} of {count} times");
    assert!(killed * 3 > count, "{killed}");
    all.end();
}

#[test]
fn killed_at_each_line_of_the_journal() {
    let host = require_host!("killed-lines", [Unit::Supervisor]);
    let mut all = Trials::new(&host);
    // Every line in a long run; else every third one, beginning at another one for deploys and rollbacks.
    let step = if std::env::var_os("TRUEUP_TESTS_LONG").is_some() { 1 } else { 3 };
    for (ill, first) in [(false, 1), (true, 2)] {
        let mut lines = 0;
        for number in (first..TOO_MANY).step_by(step) {
            let journal = format!("{ROOT}/.trueup/journal.jsonl");
            let inject = format!("inject=write:signal=KILL:when={number}");
            let strace =
                ["strace", "-f", "-qq", "-o", "/run/strace.out", "-P", &journal, "-e", "trace=write", "-e", &inject];
            if !all.trial(ill, &format!("killed at line {number}"), &strace) {
                break;
            }
            lines = number;
        }
        println!("killed at lines up to {lines}");
        assert!(lines >= 12, "{lines}");
    }
    all.end();
}
