//! What an error of the kernel says: of the process that is looked at, or of us who look.

use rustix::io::Errno;

use crate::model::process::Pid;
use crate::ports::HostError;

/// We have not the means to look: neither absence nor anything else may be read out of it.
pub(super) fn is_want(error: Errno) -> bool {
    matches!(error, Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::NOBUFS)
}

/// It is there and not shown to us (hidepid, or a security module).
pub(super) fn is_denied(error: Errno) -> bool {
    matches!(error, Errno::ACCESS | Errno::PERM)
}

/// `/proc`, or something in it, could not be read.
pub(crate) fn unreadable(what: &str, error: &std::io::Error) -> HostError {
    let help = match Errno::from_io_error(error) {
        Some(Errno::MFILE) => "raise the limit of open files: `ulimit -n 1024`, or LimitNOFILE= of the unit",
        Some(Errno::NFILE) => "raise the limit of open files of the whole machine: `sysctl fs.file-max`",
        Some(Errno::NOMEM | Errno::NOBUFS) => "the machine is out of memory: free some, then run again",
        _ => "see that the proc file system is mounted on /proc, then run again",
    };
    HostError::io(format!("cannot read `{what}`"), error).with_help(help)
}

/// Nobody can tell whether that process lives.
pub(super) fn cannot_look_at(pid: Pid, error: Errno) -> HostError {
    unreadable(&format!("/proc/{pid}"), &error.into())
}

/// Why something of a process is unknown.
pub(super) fn why(error: Errno) -> String {
    match error {
        Errno::ACCESS | Errno::PERM => "not permitted: another user's process".to_owned(),
        Errno::NOENT | Errno::SRCH => "it ended while it was read".to_owned(),
        other => std::io::Error::from(other).to_string(),
    }
}
