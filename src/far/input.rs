//! The request, read within a size and a time: whoever connects and then says nothing holds nothing up.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::documents::wire::{Failed, Fault};

/// Most bytes of a request. A manifest may have a MiB; as a JSON text it is somewhat larger.
pub const SIZE_LIMIT: usize = 4 * 1024 * 1024;

/// How long a whole request may take.
pub const TIME_LIMIT: Duration = Duration::from_secs(30);

/// Reads one line, or all that there is.
///
/// # Errors
/// It is too long, takes too long, or cannot be read.
pub fn read(from: impl AsFd, size: usize, time: Duration) -> Result<Vec<u8>, Failed> {
    let failed = |why: String| Failed::new(Fault::Request, format!("there is no request on the standard input: {why}"));
    let end = Instant::now() + time;
    let (mut text, mut piece) = (Vec::new(), vec![0; 64 * 1024]);
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(failed(format!("it did not come to its end within {time:?}")));
        }
        let mut waiting = [PollFd::new(&from, PollFlags::IN)];
        match poll(&mut waiting, Timespec::try_from(left).ok().as_ref()) {
            Ok(0) | Err(Errno::INTR) => continue,
            Ok(_) => {}
            Err(error) => return Err(failed(error.to_string())),
        }
        let read = match rustix::io::read(&from, &mut *piece) {
            Ok(0) => return Ok(text),
            Ok(read) => read,
            Err(Errno::INTR | Errno::AGAIN) => continue,
            Err(error) => return Err(failed(error.to_string())),
        };
        let new = piece.get(..read).unwrap_or_default();
        let line = new.iter().position(|byte| *byte == b'\n');
        text.extend_from_slice(new.get(..line.unwrap_or(read)).unwrap_or_default());
        if text.len() > size {
            return Err(failed(format!("it is longer than {} KiB", size / 1024)));
        }
        if line.is_some() {
            return Ok(text);
        }
    }
}
