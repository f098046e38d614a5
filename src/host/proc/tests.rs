use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};

use super::*;
use crate::host::testchild::{IDLE, TestChild};
use crate::model::process::{Inode, Place};

fn script(directory: &Path, text: &str) -> TestChild {
    TestChild::python(directory, text).0
}

fn inode(path: &Path) -> Inode {
    let found = std::fs::metadata(path).unwrap();
    Inode { device: found.dev(), number: found.ino() }
}

#[test]
fn the_walk_finds_this_very_process_and_its_child() {
    let room = tempfile::tempdir().unwrap();
    let before = Timestamp::now();
    let child = script(room.path(), IDLE);
    let table = walk().unwrap();
    let own = table.get(Pid(std::process::id())).unwrap();
    let seen = table.get(Pid(child.id())).unwrap();
    assert_eq!(seen.parent, own.id.pid);
    assert_eq!(seen.session, own.session);
    assert_eq!(seen.uid, nix::unistd::geteuid().as_raw());
    assert_eq!(seen.command.get(1..).unwrap(), ["-c", IDLE]);
    assert!(!seen.zombie);
    let place = seen.cwd.known().unwrap();
    assert_eq!((place.inode, place.deleted), (Some(inode(room.path())), false));
    assert_eq!(place.path, room.path().canonicalize().unwrap());
    assert!(seen.executable.known().unwrap().path.to_str().unwrap().contains("python3"));
    let late = seen.started.duration_since(before).as_millis().abs();
    assert!(late < 2_000, "{late} ms between the start seen and the start made");
    assert_eq!(identify(Pid(child.id())), Ok(Some(seen.id)));
    assert!(table.processes.is_sorted_by_key(|process| process.id.pid));
    drop(child);
}

#[test]
fn a_deleted_directory_is_told_from_one_that_is_called_so() {
    let room = tempfile::tempdir().unwrap();
    let cwd = |child: &TestChild| facts(Pid(child.id())).unwrap().summary.cwd.known().unwrap().clone();
    let called = room.path().canonicalize().unwrap().join("3 (deleted)");
    std::fs::create_dir(&called).unwrap();
    let child = script(&called, IDLE);
    assert_eq!(cwd(&child), Place { path: called.clone(), deleted: false, inode: Some(inode(&called)) });
    drop(child);

    let gone = called.with_file_name("3");
    std::fs::create_dir(&gone).unwrap();
    let was = inode(&gone);
    let child = script(&gone, IDLE);
    std::fs::remove_dir(&gone).unwrap();
    // `3 (deleted)` is there beside it and must not be taken for it.
    assert_eq!(cwd(&child), Place { path: gone, deleted: true, inode: Some(was) });
    drop(child);
}

#[test]
fn facts_name_open_and_mapped_files_and_the_environment() {
    let room = tempfile::tempdir().unwrap();
    let room = room.path().canonicalize().unwrap();
    std::fs::write(room.join("open"), "x").unwrap();
    std::fs::write(room.join("mapped"), "x".repeat(5000)).unwrap();
    let text = "
import mmap, os, time
a = open('open'); d = os.open('.', os.O_RDONLY); b = open('mapped')
m = mmap.mmap(b.fileno(), 0, prot=mmap.PROT_READ); n = mmap.mmap(b.fileno(), 0, prot=mmap.PROT_READ)
b.close(); r = os.pipe()
print('ready', flush=True); time.sleep(600)";
    let child = script(&room, text);
    let facts = facts(Pid(child.id())).unwrap();
    let here = |path: &Path| Place { path: path.to_owned(), deleted: false, inode: Some(inode(path)) };
    let open = facts.open_files.known().unwrap();
    assert!(open.contains(&here(&room.join("open"))) && open.contains(&here(&room)), "{open:?}");
    assert!(open.iter().all(|place| place.path.is_absolute()), "no pipes, no sockets: {open:?}");
    let mapped: Vec<&Place> =
        facts.mapped_files.known().unwrap().iter().filter(|place| place.path.starts_with(&room)).collect();
    // Python keeps a descriptor of its own for each map; the mapping is listed once nevertheless.
    assert_eq!(mapped, [&here(&room.join("mapped"))]);
    let pair = ("MARK".to_owned(), "a=b".to_owned());
    assert!(facts.environment.known().unwrap().contains(&pair));
    assert_eq!(environment(facts.summary.id), Ok(Some(facts.environment.clone())));
    let earlier = ProcessId { start_ticks: StartTicks(facts.summary.id.start_ticks.0 - 1), ..facts.summary.id };
    assert_eq!(environment(earlier), Ok(None));
    drop(child);
}

#[test]
fn a_program_may_have_any_name() {
    let room = tempfile::tempdir().unwrap();
    let program = room.path().join("a) R 1 (b");
    // By another process: a child that another test starts right now would inherit the file open for writing.
    assert!(Command::new("cp").arg("/bin/sleep").arg(&program).status().unwrap().success());
    let child = TestChild::spawn(Command::new(&program).arg("600"));
    let own = program.canonicalize().unwrap();
    let seen = || facts(Pid(child.id())).unwrap().summary;
    // Whoever started it may go on before it is that program.
    while seen().executable.known().is_none_or(|at| at.path != own) {
        std::thread::yield_now();
    }
    assert_eq!(seen().parent, Pid(std::process::id()));
    drop(child);
}

#[test]
fn of_one_that_is_just_ending_no_half_environment_is_told() {
    for _ in 0..100 {
        let mut child = TestChild::spawn(Command::new("sleep").arg("600").env("HERE", "1"));
        let process = identify(Pid(child.id())).unwrap().unwrap();
        let told = |environment: &Environment| matches!(environment, Known::Known(found) if found.iter().any(|(name, _)| name == "HERE"));
        while !environment(process).unwrap().is_some_and(|found| told(&found)) {
            std::thread::yield_now();
        }
        child.kill().unwrap();
        while let Some(found) = environment(process).unwrap() {
            assert!(told(&found), "{found:?}");
        }
        child.wait().unwrap();
    }
}

#[test]
fn a_zombie_is_flagged_and_has_no_facts() {
    let mut child = TestChild::spawn(Command::new("true").stdout(Stdio::piped()));
    // The pipe closes as it ends; the kernel makes it a zombie right after.
    child.stdout.take().unwrap().read_to_end(&mut Vec::new()).unwrap();
    let pid = Pid(child.id());
    while identify(pid).unwrap().is_some() {
        std::thread::yield_now();
    }
    assert!(walk().unwrap().get(pid).unwrap().zombie);
    assert_eq!(facts(pid), Err(Unseen::Gone));
    assert_eq!(identify_child(pid).unwrap().map(|id| id.pid), Some(pid));
    child.wait().unwrap();
    assert_eq!(walk().unwrap().get(pid), None);
}
