//! Where manifests come from, and what there is at the moment.
//!
//! In: whatever a source looks at. Out: all that it holds ([`Found`]), or why that cannot be followed
//! ([`SourceProblem`]); then what was found before stays in force. A source decides nothing: the loop does.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{CWD, Stat, statat};
use serde::Serialize;
use tokio::task::JoinHandle;

use crate::documents::agent::Revision;
use crate::manifest::{self, LoadErrors, Loaded, Mistake};
use crate::model::agent::GitOptions;

/// How often a directory is looked at although nobody said that it has changed.
const LOOK_AGAIN: Duration = Duration::from_mins(1);
/// File systems tell the time of a change this coarsely at worst: what was written later than that before a look may
/// have been written again since with the same time.
const COARSE: Duration = Duration::from_secs(3);
/// A directory of manifests that is not read within this is on a mount whose server is gone.
const WITHIN: Duration = Duration::from_secs(20);

/// All that a source holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// The state's name; none where states have none.
    pub revision: Option<Revision>,
    /// Every App.
    pub apps: Vec<Loaded>,
}

/// Why what a source holds cannot be followed.
#[derive(Debug, Clone, Serialize, thiserror::Error)]
#[serde(rename_all = "camelCase")]
#[error("{message}")]
pub struct SourceProblem {
    /// What sort of problem.
    pub kind: SourceProblemKind,
    /// Which state has it, where it has a name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<Revision>,
    /// What happened and where, as a lower-case fragment.
    pub message: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// Every mistake in the manifests, with file and line; empty for the other kinds.
    pub mistakes: Vec<Mistake>,
}

impl SourceProblem {
    /// What to do, in one line: of several mistakes, what helps against each.
    #[must_use]
    pub fn remedy(&self) -> Option<String> {
        let mut each: Vec<&str> = Vec::new();
        for help in self.mistakes.iter().filter_map(|mistake| mistake.help.as_deref()) {
            if !each.contains(&help) {
                each.push(help);
            }
        }
        match each.as_slice() {
            [] => self.help.clone(),
            each => Some(each.join("; ")),
        }
    }
}

/// What sort of problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum SourceProblemKind {
    /// The source cannot be reached or read now; it may be later.
    Unreachable,
    /// The manifests are wrong.
    Wrong,
    /// The state is not to be trusted: unsigned, signed by a stranger, or history was rewritten.
    Untrusted,
}

impl From<LoadErrors> for SourceProblem {
    fn from(errors: LoadErrors) -> Self {
        let help = errors.mistakes.first().and_then(|mistake| mistake.help.clone());
        let (kind, message) = (SourceProblemKind::Wrong, errors.to_string());
        Self { kind, revision: None, message, help, mistakes: errors.mistakes }
    }
}

/// How the loop learns that it is time to look again.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Wakes {
    /// Files and directories whose changes are news, through all links.
    pub paths: Vec<PathBuf>,
    /// Look again after this in any case; none: never.
    pub every: Option<Duration>,
}

/// Where manifests come from.
pub trait Source {
    /// What was in force when the agent ended, without asking anybody; none where that is not known, or the source
    /// itself tells it as well.
    fn resume(&mut self) -> impl Future<Output = Option<Found>> {
        async { None }
    }

    /// What is there now.
    ///
    /// # Errors
    /// Why that cannot be followed.
    fn look(&mut self) -> impl Future<Output = Result<Found, SourceProblem>>;

    /// What was found last comes into force: a restart finds that again, and not what was before. A state that this
    /// host cannot follow must not take the place of the last good one.
    ///
    /// # Errors
    /// It cannot be written down; then it does not come into force.
    fn keep(&mut self) -> impl Future<Output = Result<(), SourceProblem>> {
        async { Ok(()) }
    }

    /// When to look again.
    fn wakes(&self) -> Wakes;

    /// A branch is followed in this way from now on; the same branch. Nothing to a source that is none.
    fn renew(&mut self, options: &GitOptions) {
        let _ = options;
    }

    /// What is found is never half-written: a commit is there, or it is not.
    fn is_whole(&self) -> bool;
}

/// Files and directories on this host.
#[derive(Debug)]
pub struct Directory {
    paths: Vec<PathBuf>,
    /// Files that the manifests found last take their hosts from.
    hosts: Vec<PathBuf>,
    /// What was found last, and what the files looked like right before.
    last: Option<Seen>,
    /// A look that a dead mount holds: no other is begun, for each would leave a thread there.
    held: Option<JoinHandle<Looked>>,
}

/// What a look has found, and what the files looked like right before.
type Seen = (Stamp, Vec<Loaded>);
type Looked = Result<Seen, LoadErrors>;

impl Directory {
    /// These files, and all manifests of these directories.
    #[must_use]
    pub fn new(paths: Vec<PathBuf>) -> Self {
        Self { paths, hosts: Vec::new(), last: None, held: None }
    }
}

impl Source for Directory {
    async fn look(&mut self) -> Result<Found, SourceProblem> {
        if self.held.as_ref().is_some_and(|held| !held.is_finished()) {
            return Err(silent(&self.paths));
        }
        let (paths, files, last) = (self.paths.clone(), self.wakes().paths, self.last.take());
        let mut looking: JoinHandle<Looked> = tokio::task::spawn_blocking(move || {
            let stamp = Stamp::of(&files);
            if let Some((_, apps)) = last.filter(|(earlier, _)| stamp.is_settled() && *earlier == stamp) {
                return Ok((stamp, apps));
            }
            manifest::load(&paths, &mut std::io::empty()).map(|apps| (stamp, apps))
        });
        let Ok(looked) = tokio::time::timeout(WITHIN, &mut looking).await else {
            self.held = Some(looking);
            return Err(silent(&self.paths));
        };
        let (stamp, apps) = looked.map_err(|error| unreadable(&error))??;
        self.hosts = apps.iter().filter_map(|one| one.hosts_file.clone()).collect();
        self.hosts.sort();
        self.hosts.dedup();
        self.last = Some((stamp, apps.clone()));
        Ok(Found { revision: None, apps })
    }

    fn wakes(&self) -> Wakes {
        Wakes { paths: [self.paths.as_slice(), &self.hosts].concat(), every: Some(LOOK_AGAIN) }
    }

    fn is_whole(&self) -> bool {
        false
    }
}

fn silent(paths: &[PathBuf]) -> SourceProblem {
    let paths: Vec<String> = paths.iter().map(|path| format!("`{}`", path.display())).collect();
    SourceProblem {
        kind: SourceProblemKind::Unreachable,
        revision: None,
        message: format!("the manifests in {} were not read: their file system does not answer", paths.join(", ")),
        help: Some("see to what is mounted there (`findmnt`)".to_owned()),
        mistakes: Vec::new(),
    }
}

pub(super) fn unreadable(error: &tokio::task::JoinError) -> SourceProblem {
    SourceProblem {
        kind: SourceProblemKind::Unreachable,
        revision: None,
        message: format!("the manifests were not read to their end: {error}"),
        help: None,
        mistakes: Vec::new(),
    }
}

/// What manifests look like from outside: equal stamps mean that nothing has changed.
#[derive(Debug, PartialEq, Eq, Default)]
struct Stamp {
    files: Vec<(PathBuf, Looks)>,
    /// The youngest change was long enough ago for times to tell.
    settled: bool,
}

/// Device, inode, size, and the times of the last writing and of the last change.
#[derive(Debug, PartialEq, Eq)]
struct Looks([i128; 7]);

impl Stamp {
    fn of(paths: &[PathBuf]) -> Self {
        let mut stamp = Self { files: Vec::new(), settled: true };
        for path in paths {
            stamp.add(path);
            let mut inside: Vec<PathBuf> =
                std::fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
            inside.sort();
            for path in inside {
                stamp.add(&path);
            }
        }
        stamp
    }

    fn add(&mut self, path: &Path) {
        // One that is not there has no looks, which differs from all others.
        let Ok(stat) = statat(CWD, path, rustix::fs::AtFlags::empty()) else { return };
        let age = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let changed = u64::try_from(stat.st_ctime).map(Duration::from_secs).unwrap_or_default();
        self.settled &= age.checked_sub(changed).is_some_and(|age| age > COARSE);
        self.files.push((path.to_owned(), Looks::of(&stat)));
    }

    fn is_settled(&self) -> bool {
        self.settled
    }
}

impl Looks {
    fn of(stat: &Stat) -> Self {
        Self([
            stat.st_dev.into(),
            stat.st_ino.into(),
            stat.st_size.into(),
            stat.st_mtime.into(),
            stat.st_mtime_nsec.into(),
            stat.st_ctime.into(),
            stat.st_ctime_nsec.into(),
        ])
    }
}

#[cfg(test)]
#[path = "source_tests.rs"]
mod tests;
