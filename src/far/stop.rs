//! Asking a run to end after the step in hand.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::spool::{Spool, State};
use crate::documents::wire::{Begun, Failed, Fault, What, read};
use crate::host::proc;
use crate::host::signal::Handle;
use crate::ports::HostError;

/// How long a runner may take to introduce itself.
const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(10);

/// Asks; false: there is no such run, or it has ended. Must be called within the runtime.
pub(super) async fn stop(spool: &Path) -> Result<bool, Failed> {
    let end = Instant::now() + PATIENCE;
    loop {
        let state = Spool::open(spool, false);
        let state = state.map_err(|error| HostError::io(format!("cannot look at `{}`", spool.display()), &error))?;
        if !matches!(state, State::Taken) {
            return Ok(false);
        }
        if let Some(begun) = begun(spool) {
            // Numbers of another boot are somebody else's now.
            if begun.boot != proc::boot_id() {
                return Ok(false);
            }
            let Some(runner) = Handle::open(begun.process)? else { return Ok(false) };
            runner.send(Signal::TERM)?;
            return Ok(true);
        }
        if Instant::now() >= end {
            return Err(Failed::new(Fault::Host, "the runner on the host is there, and does not say who it is")
                .help("see its log beside the spool"));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Who has begun; none: nobody yet.
fn begun(spool: &Path) -> Option<Begun> {
    let mut line = String::new();
    BufReader::new(File::open(spool).ok()?).read_line(&mut line).ok()?;
    match read::line(&line).ok()?.what {
        What::Begun(begun) => Some(begun),
        _ => None,
    }
}
