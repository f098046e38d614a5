//! Where spools are kept, and for how long.

use std::fs::{DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::process::geteuid;

use super::spool::{Spool, State};
use crate::documents::wire::RunId;
use crate::host::users::User;
use crate::ports::{HostError, HostErrorKind};

/// How many runs that have ended are kept.
const KEPT: usize = 64;

/// How long a run that has ended is kept.
const KEPT_FOR: Duration = Duration::from_hours(7 * 24);

/// A directory of spools, which belongs to one user and is nobody else's to read.
#[derive(Debug, Clone)]
pub struct SpoolDirectory {
    directory: PathBuf,
}

impl SpoolDirectory {
    /// That directory.
    #[must_use]
    pub fn at(directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into() }
    }

    /// That of the user who runs this: below `$XDG_STATE_HOME`, else `/var/lib` as root and `~/.local/state` as anybody
    /// else.
    ///
    /// # Errors
    /// Nobody knows where this user is at home.
    pub fn own() -> Result<Self, HostError> {
        let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let state = match (absolute("XDG_STATE_HOME"), geteuid().is_root()) {
            (Some(state), _) => state,
            (None, true) => PathBuf::from("/var/lib"),
            (None, false) => match absolute("HOME") {
                Some(home) => home.join(".local/state"),
                None => User::who_runs()?.home.join(".local/state"),
            },
        };
        Ok(Self::at(state.join("trueup/far")))
    }

    /// Makes it, or sees that it is as it should be.
    ///
    /// # Errors
    /// It cannot be made, or is not this user's alone.
    pub fn make(&self) -> Result<(), HostError> {
        let directory = &self.directory;
        let failed = |error: io::Error| {
            let help = "set XDG_STATE_HOME to a directory that this user may write to";
            let error = HostError::io(format!("cannot keep runs in `{}`", directory.display()), &error);
            if error.help.is_some() { error } else { error.with_help(help) }
        };
        if let Some(above) = directory.parent() {
            std::fs::create_dir_all(above).map_err(failed)?;
        }
        match DirBuilder::new().mode(0o700).create(directory) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(failed(error)),
        }
        let found = directory.symlink_metadata().map_err(failed)?;
        if !found.is_dir() || found.uid() != geteuid().as_raw() {
            let message = format!("`{}` is no directory of this user's own", directory.display());
            return Err(HostError::new(HostErrorKind::Denied, message).with_help("see who made it, and remove it"));
        }
        if found.mode() & 0o077 != 0 {
            std::fs::set_permissions(directory, Permissions::from_mode(0o700)).map_err(failed)?;
        }
        Ok(())
    }

    /// What the runner of that id says.
    #[must_use]
    pub fn spool(&self, id: &RunId) -> PathBuf {
        self.directory.join(format!("{id}.jsonl"))
    }

    /// What its log says.
    #[must_use]
    pub fn log(&self, id: &RunId) -> PathBuf {
        self.directory.join(format!("{id}.log"))
    }

    /// Removes what is left of old runs. One that goes on is not touched, however old; what cannot be removed stays.
    pub fn clean(&self) {
        let Ok(entries) = std::fs::read_dir(&self.directory) else { return };
        let mut runs: Vec<(SystemTime, PathBuf)> = entries
            .filter_map(|entry| {
                let path = entry.ok()?.path();
                let written = path.symlink_metadata().ok()?.modified().ok()?;
                path.extension().is_some_and(|extension| extension == "jsonl").then_some((written, path))
            })
            .collect();
        runs.sort_by(|one, other| other.cmp(one));
        let now = SystemTime::now();
        let old = |written: &SystemTime| now.duration_since(*written).is_ok_and(|age| age > KEPT_FOR);
        for (at, (written, path)) in runs.iter().enumerate() {
            if at >= KEPT || old(written) {
                remove(path);
            }
        }
    }
}

/// Under its lock: whoever is about to begin a run in it finds out.
fn remove(spool: &Path) {
    if let Ok(State::Free(file)) = Spool::open(spool, false)
        && std::fs::remove_file(spool).is_ok()
    {
        let _ = std::fs::remove_file(spool.with_extension("log"));
        drop(file);
    }
}
