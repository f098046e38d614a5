//! The process that the control side talks to: it may die at any moment, and what it has begun goes on.
//!
//! A signal ends it as any program, and so does a connection that is gone; the runner, in a session of its own,
//! hears neither.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};

use rustix::fs::{MemfdFlags, memfd_create};

use super::answer::Renderers;
use super::follow::{Followed, follow};
use super::input::{self, SIZE_LIMIT, TIME_LIMIT};
use super::looking::look;
use super::say::LineWriter;
use super::spool::{Spool, State};
use super::spool_directory::SpoolDirectory;
use super::{RUN, VERB, app_of};
use crate::documents::wire::{BEAT, Ended, FIRST, Failed, Fault, Operation, Request, What, read};
use crate::local::runtime::runtime;
use crate::ports::HostError;

/// So many runners that end without a word are followed by another one.
const VACANCIES: u32 = 1;

/// Answers one request; success when the answer came to its end.
#[must_use]
pub fn front(renderers: &Renderers) -> ExitCode {
    let text = input::read(io::stdin(), SIZE_LIMIT, TIME_LIMIT);
    let mut out = io::stdout().lock();
    match text.and_then(|text| read::request(&text)) {
        Ok(request) => done(answer(&request, renderers, &mut out).unwrap_or(false)),
        Err(failed) => {
            let mut speaker = LineWriter::new(&mut out);
            done(speaker.hello(false).and_then(|()| speaker.refuse(failed)).is_ok())
        }
    }
}

fn done(heard: bool) -> ExitCode {
    // Nobody is left to be told why.
    if heard { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Says all lines; false: nobody heard the last ones.
fn answer(request: &Request, renderers: &Renderers, out: &mut (impl Write + AsFd)) -> io::Result<bool> {
    if request.operation.changes() {
        return run(request, out);
    }
    let mut speaker = LineWriter::new(out);
    speaker.hello(false)?;
    match at_once(request, renderers) {
        Ok(what) => {
            speaker.say(what)?;
            speaker.say(What::End(Ended::Done))?;
        }
        Err(failed) => speaker.refuse(failed)?,
    }
    Ok(true)
}

/// What this process does itself.
fn at_once(request: &Request, renderers: &Renderers) -> Result<What, Failed> {
    let one = app_of(request)?;
    let runtime = runtime().map_err(|error| HostError::io("cannot begin", &error))?;
    let answered = runtime.block_on(Box::pin(look(request, &one, renderers)));
    // Whatever still blocks, such as a dead mount, changes nothing any more.
    runtime.shutdown_background();
    answered
}

/// Has a runner do it, or finds the one that does, and copies what that says.
fn run(request: &Request, out: &mut (impl Write + AsFd)) -> io::Result<bool> {
    let mut speaker = LineWriter::new(out);
    let mut greeted = false;
    let mut vacancies = 0;
    loop {
        let begun = place(request).and_then(|place| Ok((begin(&place, request)?, place)));
        let (attached, place) = match begun {
            Ok(begun) => begun,
            Err(failed) => {
                if !greeted {
                    speaker.hello(false)?;
                }
                return speaker.refuse(failed).map(|()| true);
            }
        };
        if !greeted {
            speaker.hello(attached)?;
            greeted = true;
        }
        match follow(&place.spool(&request.id), request.from, BEAT, speaker.out())? {
            Followed::Ended => return Ok(true),
            Followed::Unheard => return Ok(false),
            // Whoever was to start the runner died before that: it is ours to start, but not for ever.
            Followed::Vacant if vacancies < VACANCIES => vacancies += 1,
            Followed::Vacant => {
                let log = place.log(&request.id);
                let failed = Failed::new(Fault::Host, "the runner ends before it has said anything; no pass was made");
                let help = format!("look into `{}` on the host, and whether its disk is full", log.display());
                return speaker.refuse(failed.help(help)).map(|()| true);
            }
        }
    }
}

/// Where the run is kept; only for a request that this host can do.
fn place(request: &Request) -> Result<SpoolDirectory, Failed> {
    let loaded = app_of(request)?;
    if let Operation::TakeBack { release, .. } = &request.operation
        && *release != loaded.app.release.id
    {
        let message =
            format!("release `{release}` is to be taken back, and the manifest has `{}`", loaded.app.release.id);
        return Err(Failed::new(Fault::Request, message));
    }
    let place = SpoolDirectory::own()?;
    place.make()?;
    Ok(place)
}

/// Starts a runner, unless there is one or was one: true.
fn begin(place: &SpoolDirectory, request: &Request) -> Result<bool, Failed> {
    let path = place.spool(&request.id);
    let failed = |error: io::Error| HostError::io(format!("cannot keep the run in `{}`", path.display()), &error);
    // Whoever has heard lines of a run wants that one and no other.
    let known = request.from > FIRST;
    let forgotten = || {
        let message = format!("nothing is known here any more of the run `{}`", request.id);
        Failed::new(Fault::Unknown, message).help("see how the host is: `trueup status`")
    };
    let file = match Spool::open(&path, !known).map_err(failed)? {
        State::Free(file) => file,
        State::Taken => return Ok(true),
        State::Absent => return Err(forgotten()),
    };
    if file.metadata().map_err(failed)?.len() > 0 {
        return Ok(true);
    }
    // Its name was on disk when the host went down, and its lines were not.
    if known {
        return Err(forgotten());
    }
    // While we have it, too, nobody begins a run in a spool that is about to be removed.
    let kept = file.try_clone().map_err(failed)?;
    let started = Spool::reserve(&file).and_then(|()| start(file, request, &place.log(&request.id)));
    if let Err(error) = started {
        // Nobody has it any more: the next one begins anew.
        let _ = std::fs::remove_file(&path);
        let _ = std::fs::remove_file(place.log(&request.id));
        return Err(HostError::io("cannot start a runner", &error).into());
    }
    drop(kept);
    place.clean();
    Ok(false)
}

/// Starts the runner. The spool's lock goes over to it, as it is the lock of the open file.
fn start(spool: File, request: &Request, log: &Path) -> io::Result<()> {
    // Not through a pipe: half a request could reach it when we die. Not through a file: there may be secrets in it.
    let mut memory = File::from(memfd_create("trueup-request", MemfdFlags::CLOEXEC)?);
    memory.write_all(&serde_json::to_vec(request)?)?;
    memory.seek(SeekFrom::Start(0))?;
    let log = OpenOptions::new().append(true).create(true).mode(0o600).open(log)?;
    let mut command = Command::new("/proc/self/exe");
    command.arg0("trueup").args([VERB, RUN]).current_dir("/").stdin(memory).stdout(spool).stderr(log);
    // It is not waited for: it outlives us, or is left to whoever collects the dead.
    command.spawn().map(drop)
}
