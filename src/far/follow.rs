//! Reading a spool along while it is written, until its end.
//!
//! Woken by the kernel when something is written, when the runner's last descriptor is closed (however it ended), and
//! when nobody listens any more; and each second in any case. While there is nothing to copy it says so, and for how
//! long the runner has not stirred: that is seen by the times of the spool, which the runner touches.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, inotify};
use rustix::io::Errno;
use serde::Deserialize;
use serde_json::Value;

use super::spool::{Spool, lock, unlock};
use crate::documents::wire::{Beat, Ended, FIRST, Failed, Fault, Line, What};

/// How long nothing is looked at when the kernel says nothing.
const PATIENCE: Duration = Duration::from_secs(1);
/// The same where the kernel cannot wake us.
const IMPATIENCE: Duration = Duration::from_millis(50);

/// Why following has come to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Followed {
    /// The end was said.
    Ended,
    /// Nobody listens any more.
    Unheard,
    /// No runner has ever begun: whoever was about to start it is gone.
    Vacant,
}

/// What every version of a line has.
#[derive(Deserialize)]
struct Numbered {
    seq: u64,
    what: Value,
}

/// Copies lines from that number on, as they come, with a beat each `beat` in which none came. A runner that has died
/// without an end is told, to this listener and to all later ones.
pub(super) fn follow(path: &Path, from: u64, beat: Duration, out: &mut (impl Write + AsFd)) -> io::Result<Followed> {
    let flags = i32::try_from((OFlags::NOFOLLOW | OFlags::CLOEXEC).bits()).unwrap_or_default();
    let file = match OpenOptions::new().read(true).append(true).custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Followed::Vacant),
        Err(error) => return Err(error),
    };
    // Before the first read: what is written after that one wakes us.
    let watch = watch(path);
    let mut reader = Reader { file, from, whole: 0, last: FIRST - 1, rest: Vec::new() };
    let mut pulse = Pulse::new(beat);
    loop {
        let read = reader.copy(out)?;
        match read {
            Copied::End => return Ok(Followed::Ended),
            Copied::Some => {
                pulse.said = Instant::now();
                continue;
            }
            Copied::None => {}
        }
        if lock(&reader.file)? {
            // Nobody writes any more, but somebody may have in between.
            match reader.copy(out)? {
                Copied::End => return Ok(Followed::Ended),
                Copied::Some => {}
                Copied::None => {
                    let found = reader.file.metadata()?;
                    if reader.last < FIRST && (found.nlink() == 0 || found.len() == 0) {
                        return Ok(Followed::Vacant);
                    }
                    if !reader.bury()? {
                        killed(|what| reader.tell(what, out))?;
                        return Ok(Followed::Ended);
                    }
                }
            }
            unlock(&reader.file)?;
        } else {
            if let Some(beat) = pulse.beat(&reader.file)? {
                line(0, What::Beat(beat), out)?;
            }
            if !wait(watch.as_ref(), beat, out)? {
                return Ok(Followed::Unheard);
            }
        }
    }
}

/// Whether the runner stirs, and when it is time to say so.
struct Pulse {
    every: Duration,
    /// When anything was said last.
    said: Instant,
    /// When the runner was seen to stir last; at the beginning, when it began to be looked at.
    stirred: Instant,
    /// By what that is seen: the times that the runner gives the spool. They may leap, as its clock may; only that they
    /// change counts.
    times: Option<(i64, i64)>,
}

impl Pulse {
    fn new(every: Duration) -> Self {
        let now = Instant::now();
        Self { every, said: now, stirred: now, times: None }
    }

    fn beat(&mut self, spool: &File) -> io::Result<Option<Beat>> {
        let now = Instant::now();
        let found = spool.metadata()?;
        let times = (found.mtime(), found.mtime_nsec());
        if self.times.replace(times).is_some_and(|before| before != times) {
            self.stirred = now;
        }
        if now.duration_since(self.said) < self.every {
            return Ok(None);
        }
        self.said = now;
        Ok(Some(Beat { silent: now.duration_since(self.stirred) }))
    }
}

enum Copied {
    None,
    Some,
    End,
}

struct Reader {
    file: File,
    from: u64,
    /// Bytes of the lines that were read.
    whole: u64,
    /// The number of the last one.
    last: u64,
    /// What was read of the next one.
    rest: Vec<u8>,
}

impl Reader {
    /// Copies what has come since.
    fn copy(&mut self, out: &mut impl Write) -> io::Result<Copied> {
        let before = self.rest.len();
        self.file.seek(SeekFrom::Start(self.whole + before as u64))?;
        self.file.read_to_end(&mut self.rest)?;
        let mut copied = Copied::None;
        while let Some(length) = self.rest.iter().position(|byte| *byte == b'\n').map(|at| at + 1) {
            let line: Vec<u8> = self.rest.drain(..length).collect();
            self.whole += length as u64;
            copied = Copied::Some;
            // Nobody but us writes there; what is no line all the same is not passed on.
            let Ok(read) = serde_json::from_slice::<Numbered>(&line) else { continue };
            self.last = read.seq;
            let is_end = read.what.get("end").is_some();
            // A host that went down may have lost lines that were heard: its end is news all the same.
            if read.seq >= self.from || is_end {
                out.write_all(&line)?;
            }
            if is_end {
                copied = Copied::End;
                break;
            }
        }
        out.flush()?;
        Ok(copied)
    }

    /// Writes down that the runner was killed; false where even that cannot be written. The lock is held.
    fn bury(&mut self) -> io::Result<bool> {
        // Half a line is the last that it wrote.
        self.file.set_len(self.whole)?;
        self.rest.clear();
        let mut spool = Spool::from(self.file.try_clone()?, self.last + 1);
        killed(|what| {
            spool.say(what);
            Ok(())
        })?;
        Ok(!spool.is_broken())
    }

    /// Says a line that is nowhere written.
    fn tell(&mut self, what: What, out: &mut impl Write) -> io::Result<()> {
        self.last += 1;
        line(self.last, what, out)
    }
}

/// Says a line of this process's own.
fn line(seq: u64, what: What, out: &mut impl Write) -> io::Result<()> {
    let mut text = serde_json::to_vec(&Line { seq, at: Timestamp::now(), what })?;
    text.push(b'\n');
    out.write_all(&text)?;
    out.flush()
}

fn killed(mut say: impl FnMut(What) -> io::Result<()>) -> io::Result<()> {
    let message = "the runner on the host was killed, or could not write what it did: the pass may be half done";
    let failed = Failed::new(Fault::Killed, message).cause("its journal tells how far it came: `trueup history`");
    say(What::Failed(failed.help("begin again: a pass goes on from what it finds")))?;
    say(What::End(Ended::Killed))
}

/// None where there are no more watches: then it is looked at often.
fn watch(path: &Path) -> Option<OwnedFd> {
    let watch = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK).ok()?;
    let of = inotify::WatchFlags::MODIFY | inotify::WatchFlags::CLOSE_WRITE;
    inotify::add_watch(&watch, path, of).ok()?;
    Some(watch)
}

/// Waits until something may have happened; false: nobody listens any more.
fn wait(watch: Option<&OwnedFd>, beat: Duration, out: &impl AsFd) -> io::Result<bool> {
    let limit = if watch.is_some() { PATIENCE.min(beat) } else { IMPATIENCE };
    let mut waiting = vec![PollFd::new(out, PollFlags::empty())];
    waiting.extend(watch.map(|watch| PollFd::new(watch, PollFlags::IN)));
    match poll(&mut waiting, Timespec::try_from(limit).ok().as_ref()) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    let gone = PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL;
    let heard = !waiting.first().is_some_and(|out| out.revents().intersects(gone));
    if let Some(watch) = watch {
        let mut events = [0; 4096];
        while rustix::io::read(watch, &mut events).is_ok_and(|read| read > 0) {}
    }
    Ok(heard)
}
