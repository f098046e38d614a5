//! What went wrong on a host.

use crate::model::observed::Unreadable;

/// What went wrong on a host, in words for people; rooms turn their own errors into this at their door.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct HostError {
    /// What sort of failure.
    pub kind: HostErrorKind,
    /// What happened and where, with its causes, as a lower-case fragment.
    pub message: String,
    /// What to do.
    pub help: Option<String>,
}

/// What sort of failure; decides whether another try makes sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostErrorKind {
    /// Nobody answers: the daemon is down, the socket is not there.
    Unreachable,
    /// Not allowed.
    Denied,
    /// The manager knows no such thing, or its set-up does not fit the manifest.
    Misconfigured,
    /// No space left, or a read-only file system.
    Storage,
    /// The host is in the way, whatever the release: no descriptors or no memory left, something mounted where
    /// something is to be removed, a secret that is not there.
    Hindered,
    /// The worker does not stay up.
    WorkerFailed,
    /// The release itself does not do: a step of it failed, or its gate was not passed.
    ReleaseFailed,
    /// It took too long.
    TimedOut,
    /// Somebody else has the lock.
    Locked,
    /// An end was asked for in the middle of it.
    Interrupted,
    /// What was asked for does not fit what is: nothing to go back to, say.
    NotApplicable,
    /// Anything else.
    Other,
}

impl HostError {
    /// An error without advice.
    #[must_use]
    pub fn new(kind: HostErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), help: None }
    }

    /// The fault is in what the release is or runs: trying again as things are would fail again.
    #[must_use]
    pub fn speaks_against_release(&self) -> bool {
        matches!(self.kind, HostErrorKind::WorkerFailed | HostErrorKind::ReleaseFailed)
    }

    /// Why something could not be observed. Nothing that is only looked at speaks against a release: what lasts here is
    /// a fault of the host's set-up.
    #[must_use]
    pub fn into_unreadable(self) -> Unreadable {
        let lasting = matches!(self.kind, HostErrorKind::Misconfigured | HostErrorKind::Denied);
        Unreadable { message: self.message, help: self.help, lasting }
    }

    /// Adds what to do.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// An I/O error with what was being done, such as ``cannot read `/srv/app/current` ``.
    #[must_use]
    pub fn io(doing: impl std::fmt::Display, error: &std::io::Error) -> Self {
        use std::io::ErrorKind;
        let kind = match error.kind() {
            ErrorKind::PermissionDenied => HostErrorKind::Denied,
            ErrorKind::StorageFull | ErrorKind::ReadOnlyFilesystem | ErrorKind::QuotaExceeded => HostErrorKind::Storage,
            ErrorKind::TimedOut => HostErrorKind::TimedOut,
            _ if is_hindrance(error) => HostErrorKind::Hindered,
            _ => HostErrorKind::Other,
        };
        let help = match error.kind() {
            _ if is_hindrance(error) => {
                Some("see to the host's limits (`ulimit -n`, `LimitNOFILE=`, memory), then run again")
            }
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Some("free some space, then run again"),
            ErrorKind::ReadOnlyFilesystem => Some("mount it for writing, then run again"),
            ErrorKind::PermissionDenied => Some("run as root, or as the user that owns the root"),
            _ => None,
        };
        Self { kind, message: format!("{doing}: {error}"), help: help.map(str::to_owned) }
    }
}

/// Whether an error says that this host, or this process, has no more to give; nothing is said of what was to be done.
#[must_use]
pub fn is_hindrance(error: &std::io::Error) -> bool {
    use rustix::io::Errno;
    matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM))
}

#[cfg(test)]
mod tests {
    use std::io::Error;

    use rustix::io::Errno;

    use super::*;

    #[test]
    fn what_the_host_lacks_is_told_from_what_is_wrong() {
        let rows = [
            (Errno::MFILE, HostErrorKind::Hindered),
            (Errno::NFILE, HostErrorKind::Hindered),
            (Errno::NOMEM, HostErrorKind::Hindered),
            (Errno::NOSPC, HostErrorKind::Storage),
            (Errno::ROFS, HostErrorKind::Storage),
            (Errno::ACCESS, HostErrorKind::Denied),
            (Errno::TIMEDOUT, HostErrorKind::TimedOut),
            (Errno::IO, HostErrorKind::Other),
        ];
        for (errno, kind) in rows {
            let error = HostError::io("cannot read `x`", &Error::from(errno));
            assert_eq!(error.kind, kind, "{errno}");
            let helped = !matches!(errno, Errno::TIMEDOUT | Errno::IO);
            assert_eq!((error.help.is_some(), error.speaks_against_release()), (helped, false), "{errno}");
        }
    }
}
