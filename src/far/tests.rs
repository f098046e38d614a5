use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use super::follow::{Followed, follow};
use super::input;
use super::spool::{Spool, State};
use super::spool_directory::SpoolDirectory;
use crate::documents::wire::{Beat, Ended, Fault, Line, RunId, What, read};
use crate::model::event::Event;

const SOON: Duration = Duration::from_secs(20);

/// Takes a spool that nobody has. What another test starts right now may hold a copy of its lock until it is executed.
fn free(path: &Path, create: bool) -> Spool {
    let begun = Instant::now();
    loop {
        if let State::Free(file) = Spool::open(path, create).unwrap() {
            return Spool::new(file);
        }
        assert!(begun.elapsed() < SOON, "it is taken");
        std::thread::yield_now();
    }
}

fn taken(path: &Path) -> Spool {
    free(path, true)
}

fn waiting(text: &str) -> What {
    What::Waiting(text.to_owned())
}

/// Follows into a file.
fn followed(path: &Path, from: u64) -> (Followed, Vec<Line>) {
    let mut out = tempfile::tempfile().unwrap();
    let ended = follow(path, from, SOON, &mut out).unwrap();
    out.seek(SeekFrom::Start(0)).unwrap();
    let text = std::io::read_to_string(out).unwrap();
    (ended, text.lines().map(|line| read::line(line).unwrap()).collect())
}

fn numbers(lines: &[Line]) -> Vec<u64> {
    lines.iter().map(|line| line.seq).collect()
}

#[test]
fn a_request_is_read_within_a_size_and_a_time() {
    let rows = [
        ("{}\n", Ok("{}")),
        ("{}", Ok("{}")),
        ("{}\n{}\n", Ok("{}")),
        ("", Ok("")),
        ("0123456789abcdef\n", Ok("0123456789abcdef")),
        ("0123456789abcdefg", Err("longer than")),
    ];
    for (sent, expected) in rows {
        let (reader, mut writer) = std::io::pipe().unwrap();
        writer.write_all(sent.as_bytes()).unwrap();
        drop(writer);
        match (input::read(&reader, 16, SOON), expected) {
            (Ok(read), Ok(expected)) => assert_eq!(read, expected.as_bytes()),
            (Err(failed), Err(words)) => {
                assert_eq!(failed.fault, Fault::Request);
                assert!(failed.message.contains(words), "{failed:?}");
            }
            (read, expected) => panic!("{read:?} is not {expected:?}"),
        }
    }
    let (reader, mut writer) = std::io::pipe().unwrap();
    writer.write_all(b"{").unwrap();
    let failed = input::read(&reader, 16, Duration::from_millis(30)).unwrap_err();
    assert!(failed.message.contains("within 30ms"), "{failed:?}");
    // A line is whole although the other side keeps its end open.
    writer.write_all(b"}\n").unwrap();
    assert_eq!(input::read(&reader, 16, SOON).unwrap(), b"}");
}

#[test]
fn lines_are_followed_from_any_number_while_they_are_written() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("run.jsonl");
    let mut spool = taken(&path);
    assert!(matches!(Spool::open(&path, true).unwrap(), State::Taken));
    let (started, has_started) = std::sync::mpsc::channel();
    let writer = std::thread::spawn(move || {
        for number in 1..=40 {
            spool.say(waiting(&number.to_string()));
            if number == 20 {
                // The other half is written when somebody is there.
                has_started.recv_timeout(SOON).unwrap();
            }
        }
        spool.say(What::End(Ended::Done));
    });
    let readers: Vec<_> = [1, 1, 7, 20, 41, 42]
        .map(|from| {
            let path = path.clone();
            (from, std::thread::spawn(move || followed(&path, from)))
        })
        .into();
    started.send(()).unwrap();
    for (from, reader) in readers {
        let (ended, lines) = reader.join().unwrap();
        assert_eq!(ended, Followed::Ended);
        assert_eq!(numbers(&lines), (from.min(41)..=41).collect::<Vec<u64>>(), "the end is told to everybody");
    }
    writer.join().unwrap();
    assert_eq!(numbers(&followed(&path, 1).1), (1..=41).collect::<Vec<u64>>());
    drop(free(&path, false));
}

#[test]
fn a_runner_that_died_is_told_to_everybody_in_the_same_words() {
    let directory = tempfile::tempdir().unwrap();
    for (name, torn) in [("whole", ""), ("torn", "{\"seq\":3,\"at\":\"2026")] {
        let path = directory.path().join(name);
        let mut spool = taken(&path);
        spool.say(waiting("1"));
        spool.say(waiting("2"));
        let reader = {
            let path = path.clone();
            std::thread::spawn(move || followed(&path, 1))
        };
        fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(torn.as_bytes()).unwrap();
        // The kernel closes what a killed process had open, and lets its lock go.
        drop(spool);
        let (ended, lines) = reader.join().unwrap();
        assert_eq!((ended, numbers(&lines)), (Followed::Ended, vec![1, 2, 3, 4]), "{name}");
        assert!(matches!(&lines[2].what, What::Failed(failed) if failed.fault == Fault::Killed), "{lines:?}");
        assert_eq!(lines[3].what, What::End(Ended::Killed));
        assert_eq!(followed(&path, 1).1, lines, "{name}");
        assert_eq!(followed(&path, 4).1, lines[3..], "{name}");
        // The host went down with it, and lines that were heard have never come to its disk.
        assert_eq!(followed(&path, 9).1, lines[3..], "{name}");
    }
}

#[test]
fn who_never_began_and_who_no_longer_listens_is_noticed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("run.jsonl");
    assert_eq!(followed(&path, 1).0, Followed::Vacant);
    assert!(matches!(Spool::open(&path, false).unwrap(), State::Absent));
    // Made, taken, and left by whoever was to start a runner.
    let starter = taken(&path);
    let reader = {
        let path = path.clone();
        std::thread::spawn(move || followed(&path, 1).0)
    };
    drop(starter);
    assert_eq!(reader.join().unwrap(), Followed::Vacant);

    let mut spool = taken(&path);
    spool.say(waiting("1"));
    let (reader, mut out) = std::io::pipe().unwrap();
    drop(reader);
    // The first line breaks the pipe; of a silent run, the pipe itself tells.
    assert_eq!(follow(&path, 1, SOON, &mut out).unwrap_err().kind(), std::io::ErrorKind::BrokenPipe);
    assert_eq!(follow(&path, 2, SOON, &mut out).unwrap(), Followed::Unheard);
}

#[test]
fn events_are_bounded_and_the_report_is_not_lost_among_them() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("run.jsonl");
    let mut spool = taken(&path);
    for _ in 0..2000 {
        spool.say(What::Event(Event::Settling { what: "x".repeat(1000) }));
    }
    spool.say(waiting("more"));
    spool.say(What::End(Ended::Done));
    let (_, lines) = followed(&path, 1);
    assert_eq!(numbers(&lines), (1..=lines.len() as u64).collect::<Vec<_>>(), "no gaps");
    let told = lines.len() - 3;
    assert_eq!(lines[told].what, What::Omitted(2000 - told as u64));
    assert_eq!(lines[told + 1].what, waiting("more"));
    assert!(fs::metadata(&path).unwrap().len() < 512 * 1024);
}

#[test]
fn what_was_reserved_and_not_used_is_given_back() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("run.jsonl");
    let State::Free(file) = Spool::open(&path, true).unwrap() else { panic!("it is taken") };
    Spool::reserve(&file).unwrap();
    let held = || fs::metadata(&path).unwrap().blocks() * 512;
    let reserved = held();
    let mut spool = Spool::new(file);
    spool.say(What::End(Ended::Done));
    spool.give_back();
    // A file system that reserves nothing has nothing to give back.
    assert!(reserved == 0 || held() < reserved, "{reserved} bytes, then {}", held());
    assert_eq!(followed(&path, 1), (Followed::Ended, vec![followed(&path, 1).1[0].clone()]));
}

#[test]
fn the_place_is_its_users_alone_and_does_not_grow_for_ever() {
    let directory = tempfile::tempdir().unwrap();
    let place = SpoolDirectory::at(directory.path().join("state/trueup/far"));
    let inside = directory.path().join("state/trueup/far");
    let mode = || fs::symlink_metadata(&inside).unwrap().permissions().mode() & 0o777;
    place.make().unwrap();
    assert_eq!(mode(), 0o700);
    fs::set_permissions(&inside, fs::Permissions::from_mode(0o755)).unwrap();
    place.make().unwrap();
    assert_eq!(mode(), 0o700);

    let id = |number: usize| RunId::new(format!("run-{number:05}")).unwrap();
    let age = |path: &Path, days: u64| {
        let then = SystemTime::now() - Duration::from_hours(24 * days);
        File::options().append(true).open(path).unwrap().set_modified(then).unwrap();
    };
    for number in 0..80 {
        taken(&place.spool(&id(number))).say(What::End(Ended::Done));
        age(&place.spool(&id(number)), if number < 70 { 1 } else { 9 });
    }
    fs::write(place.log(&id(79)), "").unwrap();
    let running = taken(&place.spool(&id(100)));
    age(&place.spool(&id(100)), 400);
    place.clean();
    assert!(place.spool(&id(100)).exists(), "what goes on is kept");
    assert!((70..80).all(|number| !place.spool(&id(number)).exists()), "what is old is gone");
    assert!(!place.log(&id(79)).exists());
    let left = fs::read_dir(&inside).unwrap().count();
    assert_eq!(left, 64 + 1);
    drop(running);

    fs::remove_dir_all(&inside).unwrap();
    symlink(directory.path(), &inside).unwrap();
    let error = place.make().unwrap_err();
    assert!(error.message.contains("no directory of this user's own") && error.help.is_some(), "{error:?}");
}

/// Lines of a follower in a thread, read until its first beats have come that are so.
fn beats_until(out: &mut impl std::io::BufRead, is: impl Fn(Beat) -> bool) -> Vec<Beat> {
    let (mut beats, begun) = (Vec::new(), Instant::now());
    while begun.elapsed() < SOON {
        let mut text = String::new();
        out.read_line(&mut text).unwrap();
        let line = read::line(&text).unwrap();
        let What::Beat(beat) = line.what else { continue };
        assert_eq!(line.seq, 0, "it is none of the run's lines");
        beats.push(beat);
        if is(beat) {
            return beats;
        }
    }
    panic!("not within {SOON:?}: {beats:?}");
}

#[test]
fn a_quiet_runner_is_told_from_one_that_does_not_stir() {
    const EVERY: Duration = Duration::from_millis(200);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("run.jsonl");
    let mut spool = taken(&path);
    spool.say(waiting("1"));
    let (reader, mut out) = std::io::pipe().unwrap();
    let mut reader = std::io::BufReader::new(reader);
    let follower = {
        let path = path.clone();
        std::thread::spawn(move || follow(&path, 1, EVERY, &mut out).unwrap())
    };
    // Nothing touches the spool: each beat tells of a longer silence, from the first one on.
    let beats = beats_until(&mut reader, |beat| beat.silent > EVERY * 5);
    assert!(beats.iter().all(|beat| beat.silent >= EVERY), "{beats:?}");
    assert!(beats.is_sorted_by_key(|beat| beat.silent), "{beats:?}");
    // Touched, whatever the clock says, it is none.
    let touched = fs::File::open(&path).unwrap();
    for time in [SystemTime::UNIX_EPOCH, SystemTime::now()] {
        touched.set_modified(time).unwrap();
        beats_until(&mut reader, |beat| beat.silent < EVERY * 4);
        beats_until(&mut reader, |beat| beat.silent > EVERY * 5);
    }
    spool.say(What::End(Ended::Done));
    let rest = std::io::read_to_string(reader).unwrap();
    assert_eq!(follower.join().unwrap(), Followed::Ended);
    let last = read::line(rest.lines().last().unwrap()).unwrap();
    assert_eq!((last.seq, last.what), (2, What::End(Ended::Done)), "what counts is numbered as before");
}
