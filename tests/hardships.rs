//! The program where the host is short of something, or where somebody has put a trap into the root.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail on the spot")]

mod support;

use std::path::PathBuf;
use std::process::{Command, Output};

use support::local::{kill, marked, wait_for};
use trueup::model::process::ProcessId;

/// A root with release 1 and two workers that trueup starts itself.
struct Shop {
    room: tempfile::TempDir,
}

impl Drop for Shop {
    fn drop(&mut self) {
        self.workers().into_iter().for_each(kill);
    }
}

impl Shop {
    fn new() -> Self {
        let room = tempfile::tempdir().unwrap();
        // Other users pass through it.
        std::fs::set_permissions(room.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        std::fs::create_dir_all(room.path().join("app/releases/1")).unwrap();
        std::fs::write(room.path().join("app/releases/1/index"), "1").unwrap();
        let shop = Self { room };
        shop.write("{builtin: {run: [sleep, \"600\"]}}", "");
        shop
    }

    fn root(&self) -> PathBuf {
        self.room.path().canonicalize().unwrap().join("app")
    }

    fn manifest(&self) -> PathBuf {
        self.room.path().join("shop.yaml")
    }

    /// Writes the manifest with that manager, and `more` lines of its spec.
    fn write(&self, manager: &str, more: &str) {
        let text = format!(
            "apiVersion: trueup/v1\nkind: App\nmetadata: {{name: shop}}\nspec:\n  root: {}\n  release: {{id: '1'}}\n  \
             workers: [{{name: default, count: 2, stopTimeout: 5s, manager: {manager}}}]\n{more}",
            self.root().display()
        );
        std::fs::write(self.manifest(), text).unwrap();
    }

    fn command(&self, verb: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_trueup"));
        command.args([verb, "--format", "json"]).arg(self.manifest());
        command
    }

    /// Runs a verb in a shell after some lines of preparation.
    fn after(&self, preparation: &str, verb: &str) -> Output {
        let line = format!("{preparation}; exec \"$@\"");
        let own = self.command(verb);
        let mut shell = Command::new("sh");
        shell.args(["-c", &line, "sh"]).arg(own.get_program()).args(own.get_args());
        shell.output().unwrap()
    }

    /// All processes that carry this root's mark.
    fn workers(&self) -> Vec<ProcessId> {
        marked(&self.root())
    }

    fn two_workers(&self) -> Vec<ProcessId> {
        let output = self.command("reconcile").output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        wait_for(|| Some(self.workers()).filter(|found| found.len() == 2))
    }

    /// The same manifest with another release.
    fn releases(&self, release: &str) {
        let manifest = std::fs::read_to_string(self.manifest()).unwrap();
        let lines = manifest.lines().map(|line| {
            if line.starts_with("  release: ") { format!("  release: {release}\n") } else { format!("{line}\n") }
        });
        std::fs::write(self.manifest(), lines.collect::<String>()).unwrap();
    }

    /// Whether a release is kept out.
    fn is_kept_out(&self, id: &str) -> bool {
        let record = std::fs::read_to_string(self.state(&format!("releases/{id}.json")));
        record.is_ok_and(|record| record.contains("quarantine"))
    }

    /// What trueup has hidden and not removed.
    fn hidden(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.root().join("releases")).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with('.')).collect()
    }

    fn state(&self, name: &str) -> PathBuf {
        self.root().join(".trueup").join(name)
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Makes so many directories in one another; `rm`, which has no limit, takes them away in the end.
struct Nest(PathBuf);

impl Nest {
    fn new(place: PathBuf, levels: u32) -> Self {
        use rustix::fs::{CWD, Mode, OFlags, mkdirat, openat};
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        std::fs::create_dir_all(&place).unwrap();
        let mut here = openat(CWD, &place, flags, Mode::empty()).unwrap();
        for _ in 0..levels {
            mkdirat(&here, "d", Mode::from_raw_mode(0o755)).unwrap();
            here = openat(&here, "d", flags, Mode::empty()).unwrap();
        }
        Self(place)
    }
}

impl Drop for Nest {
    fn drop(&mut self) {
        let _ = Command::new("rm").arg("-rf").arg(&self.0).status();
    }
}

/// So few descriptors that each level cannot have one, and so many that the stack would end first.
const LIMITS: [u32; 2] = [1024, 20_000];

#[test]
fn directories_of_any_depth_in_what_is_shared_are_told_of() {
    if !support::local::requires_root() {
        return;
    }
    let shop = Shop::new();
    shop.releases("{id: '1', shared: {dirs: [storage], writable: [storage]}}");
    let storage = shop.root().join("shared/storage");
    let nest = Nest::new(storage.clone(), 15_000);
    for limit in LIMITS {
        let output = shop.after(&format!("ulimit -n {limit}"), "reconcile");
        let all = format!("{} {}", text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.code(), Some(1), "{limit}: {all}");
        let told = format!("`{0}` has more than 200 directories in one another, from `{0}/d` on", storage.display());
        assert!(all.contains(&told) && !shop.is_kept_out("1"), "{limit}: {all}");
    }
    drop(nest);
    shop.two_workers();
}

#[test]
fn directories_of_any_depth_are_removed_and_never_copied() {
    if !support::local::requires_root() {
        return;
    }
    for limit in LIMITS {
        let shop = Shop::new();
        let build = shop.room.path().join("build");
        std::fs::create_dir(&build).unwrap();
        std::fs::write(build.join("index"), "").unwrap();
        let release = |id: &str| shop.root().join("releases").join(id);
        let deploy = |id: &str| {
            shop.releases(&format!("{{id: {id}, keep: 1, source: {{dir: {{path: {}}}}}}}", build.display()));
            let output = shop.after(&format!("ulimit -n {limit}"), "reconcile");
            (output.status.code(), format!("{} {}", text(&output.stdout), text(&output.stderr)))
        };
        assert_eq!(deploy("d1").0, Some(0));
        let _nest = Nest::new(release("d1").join("cache"), 15_000);
        assert_eq!(deploy("d2").0, Some(0));
        let (code, all) = deploy("d3");
        assert_eq!(code, Some(0), "{limit}: {all}");
        assert!(!release("d1").exists() && release("1").exists(), "{limit}: the uploaded one is nobody's to remove");
        assert_eq!(shop.hidden(), [""; 0], "{limit}");

        // What a person has put where a release is fetched to.
        let _half = Nest::new(release("d4").join("cache"), 3_000);
        let half = r#"{"id":"d4","made":"building","since":"2026-01-01T00:00:00Z"}"#;
        std::fs::write(shop.state("releases/d4.json"), half).unwrap();
        let (code, all) = deploy("d4");
        assert_eq!((code, release("d4").join("cache").exists()), (Some(0), false), "{limit}: {all}");

        let _source = Nest::new(build.join("vendor"), 15_000);
        let (code, all) = deploy("d5");
        assert!(matches!(code, Some(1 | 3)), "{limit}: {code:?} {all}");
        assert!(all.contains("more than 200 directories in one another"), "{limit}: {all}");
        assert_eq!((shop.hidden().len(), release("d5").exists()), (0, false), "{limit}");
    }
}

#[test]
fn a_release_is_not_blamed_for_the_descriptors_that_trueup_lacks() {
    let shop = Shop::new();
    let build = Nest::new(shop.room.path().join("build"), 150);
    shop.releases(&format!("{{id: d1, source: {{dir: {{path: {}}}}}}}", build.0.display()));
    let output = shop.after("ulimit -n 100", "reconcile");
    let all = format!("{} {}", text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{all}");
    assert!(all.contains("Too many open files") && all.contains("LimitNOFILE"), "{all}");
    assert!(!shop.is_kept_out("d1"), "{all}");
    shop.two_workers();
}

#[test]
fn what_is_left_of_a_removal_goes_with_the_next_pass_whatever_it_has_to_do() {
    let shop = Shop::new();
    shop.two_workers();
    let releases = shop.root().join("releases");
    for name in [".trueup-removing", ".trueup-removed-4711-0"] {
        std::fs::create_dir_all(releases.join(name).join("half")).unwrap();
    }
    let dry = shop.command("reconcile").arg("--dry-run").output().unwrap();
    assert_eq!((dry.status.code(), shop.hidden().len()), (Some(0), 2), "{dry:?}");
    let output = shop.command("reconcile").output().unwrap();
    let document: serde_json::Value = serde_json::from_str(&text(&output.stdout)).unwrap();
    assert_eq!(document.pointer("/items/0/tried"), Some(&serde_json::json!([])), "{document:#}");
    assert_eq!(shop.hidden(), [""; 0]);
}

#[test]
fn a_huge_journal_costs_no_memory_and_hides_nothing_that_comes_after_it() {
    let shop = Shop::new();
    shop.two_workers();
    let journal = shop.state("journal.jsonl");
    std::fs::OpenOptions::new().write(true).open(&journal).unwrap().set_len(1 << 40).unwrap();
    let began = std::time::Instant::now();
    let told = |output: &Output| -> usize {
        let all = format!("{} {}", text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.code(), Some(0), "{all}");
        let document: serde_json::Value = serde_json::from_str(&text(&output.stdout)).unwrap();
        document.pointer("/items/0/passes").and_then(serde_json::Value::as_array).map_or(0, Vec::len)
    };
    let output = shop.after("export TRUEUP_LOG=warn; ulimit -v 2000000", "history");
    assert_eq!(told(&output), 0);
    assert!(text(&output.stderr).contains("only its end is read"), "{output:?}");
    // To read all of it would take many minutes.
    assert!(began.elapsed() < std::time::Duration::from_mins(1), "{:?}", began.elapsed());
    shop.write("{builtin: {run: [sleep, \"601\"]}}", "");
    shop.two_workers();
    assert_eq!(told(&shop.after("ulimit -v 2000000", "history")), 1);
}

#[test]
fn without_descriptors_nothing_is_taken_for_dead() {
    let shop = Shop::new();
    let workers = shop.two_workers();
    let (mut refused, mut not_begun) = (0, 0);
    for limit in 4..40 {
        let output = shop.after(&format!("ulimit -n {limit}"), "history");
        not_begun += u32::from(text(&output.stderr).contains("`trueup history` cannot begin"));
        let output = shop.after(&format!("ulimit -n {limit}"), "status");
        let all = format!("{} {}", text(&output.stdout), text(&output.stderr));
        assert!(!all.contains("exited") && !all.contains("panicked"), "{limit}: {all}");
        refused += u32::from(all.contains("ObservationFailed"));
        let output = shop.after(&format!("ulimit -n {limit}"), "reconcile");
        assert_eq!(shop.workers(), workers, "{limit}: {output:?}");
    }
    assert!(refused > 0 && not_begun > 0, "{refused}, {not_begun}: no limit was too low, and the test shows nothing");
}

#[test]
fn a_trap_for_the_list_of_workers_is_a_damaged_list() {
    let shop = Shop::new();
    let workers = shop.two_workers();
    let (list, memory) = (shop.state("workers.json"), shop.state("memory.json"));
    for trap in ["mkfifo", "ln -s /dev/zero", "truncate -s 3G"] {
        for file in [&list, &memory] {
            let _ = std::fs::remove_file(file);
            let made = Command::new("sh").args(["-c", &format!("{trap} \"$0\"")]).arg(file).status().unwrap();
            assert!(made.success(), "{trap}");
        }
        // Far less memory than the sparse file would take, and no time for what waits for a writer.
        let output = shop.after("export TRUEUP_LOG=warn; ulimit -v 3000000", "status");
        let (shown, said) = (text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.code(), Some(0), "{trap}: {shown} {said}");
        assert!(said.contains("damaged list of workers"), "{trap}: {said}");
        assert_eq!(shop.two_workers(), workers, "{trap}");
    }
}

#[test]
fn whoever_may_not_read_the_list_of_workers_knows_nothing_of_them() {
    if !support::local::requires_root() {
        return;
    }
    let shop = Shop::new();
    shop.two_workers();
    let program = shop.room.path().join("trueup");
    // By another process: what a neighbouring test starts meanwhile would keep the file open for writing.
    let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_trueup")).arg(&program).status().unwrap();
    assert!(copied.success());
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]).arg(program);
    let output = command.args(["status", "--format", "json"]).arg(shop.manifest()).output().unwrap();
    let all = format!("{} {}", text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{all}");
    assert!(all.contains(".trueup") && !all.contains("\"state\": \"exited\""), "{all}");
}

#[test]
fn a_rule_that_takes_too_long_holds_nothing_up() {
    let shop = Shop::new();
    // Each step searches most of a mebibyte in vain.
    let body = serde_json::json!({"list": vec![0; 9_000], "text": "a".repeat(900_000)});
    std::fs::write(shop.root().join("health"), body.to_string()).unwrap();
    std::os::unix::fs::symlink("releases/1", shop.root().join("current")).unwrap();
    let rule = r#"body.list.all(x, !body.text.matches("(a|b)*c"))"#;
    let health = format!(
        "  health: {{file: {{path: {}/health, timeout: 1s}}, attempts: 1, expect: ['{rule}']}}\n",
        shop.root().display()
    );
    shop.write("{builtin: {run: [sleep, \"600\"]}}", &health);
    let began = std::time::Instant::now();
    let output = shop.command("status").output().unwrap();
    let all = format!("{} {}", text(&output.stdout), text(&output.stderr));
    assert!(all.contains("the rule took too long") || all.contains("the rules took longer than 1s"), "{all}");
    assert!(began.elapsed() < std::time::Duration::from_mins(1), "{:?}", began.elapsed());
}

#[test]
fn a_worker_of_a_group_that_is_gone_is_stopped() {
    let shop = Shop::new();
    let manifest = || std::fs::read_to_string(shop.manifest()).unwrap();
    let rows = [("name: default", "name: queue"), ("{name: shop}", "{name: store}")];
    for (former, present) in rows {
        let old = shop.two_workers();
        let changed = manifest().replace(former, present);
        assert_ne!(changed, manifest());
        std::fs::write(shop.manifest(), changed).unwrap();
        for verb in ["status", "diff"] {
            let output = shop.command(verb).output().unwrap();
            let shown = text(&output.stdout);
            assert!(shown.contains("started by trueup as"), "{verb}: {shown}");
            assert_ne!(output.status.code(), Some(0), "{verb}");
        }
        let new = shop.two_workers();
        assert!(old.iter().all(|process| !new.contains(process)), "{former}");
    }
    let calm = shop.two_workers();
    assert_eq!(shop.workers(), calm, "nothing more to do");
}

#[test]
fn a_stray_of_another_release_is_warned_of() {
    let shop = Shop::new();
    let other = shop.root().join("releases/0");
    std::fs::create_dir(&other).unwrap();
    shop.two_workers();
    let mut stray = Command::new("sleep").arg("600").current_dir(&other).spawn().unwrap();
    let pid = stray.id();
    let shown: Vec<(String, String)> = ["diff", "reconcile"]
        .map(|verb| {
            let people = Command::new(env!("CARGO_BIN_EXE_trueup")).arg(verb).arg(shop.manifest()).output().unwrap();
            let programs = shop.command(verb).output().unwrap();
            (text(&people.stdout), text(&programs.stdout))
        })
        .into();
    stray.kill().unwrap();
    stray.wait().unwrap();
    for (people, programs) in shown {
        assert!(people.contains(&format!("warning: pid {pid} belongs to no group")), "{people}");
        let document: serde_json::Value = serde_json::from_str(&programs).unwrap();
        assert_eq!(document.pointer("/items/0/strays/0/process/pid"), Some(&pid.into()), "{programs}");
    }
}

#[test]
fn a_worker_with_another_command_or_environment_is_stale() {
    let shop = Shop::new();
    let mut old = shop.two_workers();
    for manager in [
        "{builtin: {run: [sleep, \"601\"]}}",
        "{builtin: {run: [sleep, \"601\"], env: {A: b}}}",
        "{builtin: {run: [sleep, \"601\"], env: {A: c}}}",
    ] {
        shop.write(manager, "");
        let output = shop.command("diff").output().unwrap();
        assert!(text(&output.stdout).contains("its command has changed"), "{manager}: {output:?}");
        let new = shop.two_workers();
        assert!(old.iter().all(|process| !new.contains(process)), "{manager}");
        assert_eq!(shop.two_workers(), new, "once");
        old = new;
    }
}

#[test]
fn whoever_waits_for_a_lock_says_for_whom() {
    let shop = Shop::new();
    shop.two_workers();
    let lock = std::fs::File::open(shop.state("lock")).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let output = shop.command("reconcile").args(["--wait", "2s"]).output().unwrap();
    let said = text(&output.stderr);
    assert!(said.contains("waiting: ") && said.contains("is locked: held by"), "{said}");
    let calm = shop.command("reconcile").args(["--wait", "0s"]).output().unwrap();
    assert!(!text(&calm.stderr).contains("waiting: "), "{calm:?}");
}

#[test]
fn a_missing_root_says_what_to_do() {
    let shop = Shop::new();
    std::fs::remove_dir_all(shop.root()).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_trueup")).arg("reconcile").arg(shop.manifest()).output().unwrap();
    let said = format!("{}{}", text(&output.stdout), text(&output.stderr));
    assert!(said.contains("help: make it, or correct `spec.root`"), "{said}");
}

#[test]
fn a_suspended_app_says_so() {
    let shop = Shop::new();
    shop.two_workers();
    shop.write("{builtin: {run: [sleep, \"600\"]}}", "  sync: {suspend: true}\n");
    let output = Command::new(env!("CARGO_BIN_EXE_trueup")).arg("status").arg(shop.manifest()).output().unwrap();
    assert!(text(&output.stdout).contains("suspended: "), "{output:?}");
}

#[test]
fn a_job_that_is_killed_is_told_of() {
    let shop = Shop::new();
    let deaf = "{builtin: {run: \"trap '' TERM; touch deaf-$TRUEUP_PROCESS; while :; do sleep 1; done\"}}";
    shop.write(&deaf.replace("sleep 1", "sleep 0.1"), "");
    let ready = |at_least: usize| {
        let deaf = |entry: &std::fs::DirEntry| entry.file_name().to_string_lossy().starts_with("deaf-");
        wait_for(|| {
            let found = std::fs::read_dir(shop.root().join("releases/1")).unwrap().flatten();
            (found.filter(deaf).count() >= at_least).then_some(())
        });
    };
    assert_eq!(shop.command("reconcile").output().unwrap().status.code(), Some(0));
    ready(2);
    let quick = std::fs::read_to_string(shop.manifest()).unwrap().replace("stopTimeout: 5s", "stopTimeout: 300ms");
    std::fs::write(shop.manifest(), quick.replace("count: 2", "count: 1")).unwrap();
    let output = shop.command("reconcile").output().unwrap();
    let document: serde_json::Value = serde_json::from_str(&text(&output.stdout)).unwrap();
    let note = document.pointer("/items/0/tried/0/notes/0").and_then(serde_json::Value::as_str).unwrap_or_default();
    assert!(note.contains("was killed"), "{document:#}");
    let journal = std::fs::read_to_string(shop.state("journal.jsonl")).unwrap();
    assert!(journal.contains("was killed"), "{journal}");
    std::fs::write(shop.manifest(), quick.replace("count: 2", "count: 0")).unwrap();
    let people = Command::new(env!("CARGO_BIN_EXE_trueup")).arg("reconcile").arg(shop.manifest()).output().unwrap();
    assert!(text(&people.stdout).contains("was killed"), "{people:?}");
}
