//! One agent at a time over a state directory. The socket sees to itself.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::FlockOperation;
use rustix::io::Errno;

use crate::ports::{HostError, HostErrorKind};

/// Keeps every other agent out for as long as it lives. The kernel lets go when its holder dies, however that is.
#[derive(Debug)]
pub struct AgentLock {
    lock: File,
}

impl AgentLock {
    /// Makes the directory where it is missing, and takes it.
    ///
    /// # Errors
    /// Another agent has it, or it cannot be made.
    pub fn claim(state: &Path) -> Result<Self, HostError> {
        directory(state)?;
        Ok(Self { lock: claim(&state.join("agent.lock"), state)? })
    }
}

impl Drop for AgentLock {
    fn drop(&mut self) {
        // Closing would do, but for a child that was forked in this moment and has not come to its program yet.
        let _ = rustix::fs::flock(&self.lock, FlockOperation::Unlock);
    }
}

fn directory(path: &Path) -> Result<(), HostError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|error| refused(HostError::io(format!("cannot make `{}`", path.display()), &error)))
}

/// What the kernel did not permit here has nothing to do with a root.
fn refused(error: HostError) -> HostError {
    match error.kind {
        HostErrorKind::Denied => {
            error.with_help("run as root, or name places of your own: `--state-dir DIR --socket PATH`")
        }
        _ => error,
    }
}

fn claim(path: &Path, what: &Path) -> Result<File, HostError> {
    let failed = |error: &io::Error| refused(HostError::io(format!("cannot lock `{}`", path.display()), error));
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o644);
    let mut file = options.open(path).map_err(|error| failed(&error))?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => return Err(taken(&mut file, what)),
        Err(error) => return Err(failed(&error.into())),
    }
    // A courtesy to who comes second; on a full disk it is left out.
    let _ = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
    Ok(file)
}

fn taken(file: &mut File, what: &Path) -> HostError {
    let mut text = String::new();
    let _ = file.take(64).read_to_string(&mut text);
    let who =
        text.trim().parse::<u32>().map_or_else(|_| "another agent".to_owned(), |pid| format!("an agent (pid {pid})"));
    HostError::new(HostErrorKind::Other, format!("{who} has `{}` already", what.display())).with_help(
        "stop that one first (`systemctl stop trueup-agent`), or give this one its own --state-dir and --socket",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_told_who_the_first_is() {
        let room = tempfile::tempdir().unwrap();
        let state = room.path().join("lib/state");
        let first = AgentLock::claim(&state).unwrap();
        let error = AgentLock::claim(&state).unwrap_err();
        let words = format!("an agent (pid {}) has `{}` already", std::process::id(), state.display());
        assert_eq!(error.message, words);
        AgentLock::claim(&room.path().join("other")).unwrap();
        drop(first);
        AgentLock::claim(&state).unwrap();
    }
}
