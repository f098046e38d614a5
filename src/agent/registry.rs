//! Which Apps there were, in the agent's own directory: what disappears while no agent runs is noticed all the same.
//!
//! `STATE/apps.json`: each App that is in force, leaves, or was left running, with its manifest. In: what the loop
//! knows after each change. Out, at the next start: what an earlier agent knew. A help, not a belief: a file that is
//! not there, or makes no sense, is an empty one, and the log says so.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tracing::{debug, info, warn};

use super::publisher::NotifiedState;
use super::state::{check_version, replace};
use crate::host::blocking;
use crate::manifest::shape::Document;
use crate::manifest::{self, Loaded, load_again};
use crate::model::names::{AppName, Root};
use crate::ports::HostError;

const NAME: &str = "apps.json";
/// Of the format.
const VERSION: u32 = 1;
/// How long roots that do not answer are waited for, all together.
const PATIENCE: Duration = Duration::from_secs(1);

/// How an App stands with the manifests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Lifecycle {
    /// They name it.
    InForce,
    /// They do not, and its workers are being stopped.
    Leaving,
    /// They do not, and it was left running.
    Orphaned,
}

/// An App that an earlier agent has known.
#[derive(Debug)]
pub(super) struct KnownApp {
    /// Its last manifest.
    pub(super) loaded: Loaded,
    pub(super) standing: Lifecycle,
    /// It came from where manifests come from now. Of one that did not, nobody has said that it should go.
    pub(super) here: bool,
    /// What people know of it.
    pub(super) heard: Option<NotifiedState>,
}

/// Which Apps there were, and are.
#[derive(Debug)]
pub struct AppRegistry {
    /// None: nothing is written down.
    directory: Option<PathBuf>,
    /// Where manifests come from, and what this host is called among them.
    from: String,
    /// What an earlier agent has known, until it is taken up.
    before: Vec<KnownApp>,
    /// Left running.
    orphans: BTreeMap<AppName, Arc<Loaded>>,
    /// Roots that their Apps have left for other ones, and at which everything was left as it was.
    former: Vec<Arc<Loaded>>,
    /// Something is other than what is written down.
    stale: bool,
    /// It is being written down.
    writing: bool,
    /// Whether it was said that this fails.
    complained: bool,
}

#[derive(Serialize)]
struct ToWrite<'a> {
    version: u32,
    from: &'a str,
    apps: Vec<Listed<'a, &'a Document>>,
}

#[derive(Deserialize)]
struct Written {
    version: u32,
    from: String,
    apps: Vec<Listed<'static, Value>>,
}

/// One App. Its name stands in the manifest as well, and here for those that do not load any more.
#[derive(Serialize, Deserialize)]
struct Listed<'a, D> {
    name: Cow<'a, str>,
    standing: Lifecycle,
    /// The file that it stood in; none: the standard input.
    file: Option<Cow<'a, str>>,
    line: usize,
    #[serde(default, rename = "told", skip_serializing_if = "Option::is_none")]
    heard: Option<NotifiedState>,
    manifest: D,
}

/// An App, how it stands, and what people know of it.
pub(super) type RegisteredApp<'s> = (&'s Loaded, Lifecycle, Option<NotifiedState>);

/// A file that is to be written.
pub(super) struct Writing {
    directory: PathBuf,
    text: Vec<u8>,
}

impl AppRegistry {
    /// Remembers nothing, and writes nothing down.
    #[must_use]
    pub fn none() -> Self {
        Self {
            directory: None,
            from: String::new(),
            before: Vec::new(),
            orphans: BTreeMap::new(),
            former: Vec::new(),
            stale: false,
            writing: false,
            complained: false,
        }
    }

    /// Reads what an earlier agent has left in its state directory. `from` says where manifests come from now. Blocks.
    #[must_use]
    pub fn open(state: &Path, from: String) -> Self {
        let path = state.join(NAME);
        let before = match fs::read(&path) {
            Ok(text) => read(&text, &from),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error.to_string()),
        };
        let before = before.unwrap_or_else(|why| {
            warn!(file = %path.display(), why, "which Apps there were cannot be read: none are known");
            Vec::new()
        });
        Self { directory: Some(state.to_owned()), from, before, ..Self::none() }
    }

    /// Apps that were in force when an earlier agent ended, until they are taken up.
    pub(super) fn expected(&self) -> impl Iterator<Item = &AppName> {
        let in_force = self.before.iter().filter(|known| known.standing == Lifecycle::InForce);
        in_force.map(|known| &known.loaded.app.name)
    }

    /// The manifests that were in force when an earlier agent ended, as far as they came from where they come from now;
    /// none once they are taken up.
    pub(super) fn in_force(&self) -> Vec<Loaded> {
        let known = self.before.iter().filter(|known| known.here && known.standing == Lifecycle::InForce);
        known.map(|known| known.loaded.clone()).collect()
    }

    /// What an earlier agent has known; once.
    pub(super) fn take_up(&mut self) -> Vec<KnownApp> {
        std::mem::take(&mut self.before)
    }

    /// An App is left running.
    pub(super) fn left_running(&mut self, loaded: Arc<Loaded>) {
        self.orphans.insert(loaded.app.name.clone(), loaded);
        self.stale = true;
    }

    /// An App has another root, and what is at this one is left as it is.
    pub(super) fn left_root(&mut self, loaded: Arc<Loaded>) {
        self.former.push(loaded);
        self.stale = true;
    }

    /// Roots that their Apps have left, and at which everything was left as it was.
    pub(super) fn former_roots(&self) -> Vec<(AppName, Root)> {
        self.former.iter().map(|loaded| (loaded.app.name.clone(), loaded.app.root.clone())).collect()
    }

    /// Those that were left running, and then the roots that were.
    fn left(&self) -> impl Iterator<Item = &Loaded> {
        self.orphans.values().chain(&self.former).map(|loaded| &**loaded)
    }

    /// All that an earlier agent has known and that was not taken up, and what was left running.
    pub(super) fn known(&self) -> impl Iterator<Item = &Loaded> {
        self.before.iter().map(|known| &known.loaded).chain(self.left())
    }

    /// Roots that were left have somebody again. Of the Apps that were left running, those that are somebody else's
    /// business now.
    pub(super) fn give_way(&mut self, succeeded: impl Fn(&Loaded) -> bool) -> Vec<AppName> {
        let before = self.former.len();
        self.former.retain(|loaded| !succeeded(loaded));
        self.stale |= self.former.len() < before;
        let gone: Vec<AppName> =
            self.orphans.iter().filter(|(_, orphan)| succeeded(orphan)).map(|(name, _)| name.clone()).collect();
        self.orphans.retain(|name, _| !gone.contains(name));
        self.stale |= !gone.is_empty();
        gone
    }

    /// Manifests are in force that name these.
    pub(super) fn named(&mut self, names: &BTreeSet<AppName>) {
        // One that has come back may have come back with another root.
        self.former.extend(self.orphans.extract_if(.., |name, _| names.contains(name)).map(|(_, orphan)| orphan));
        self.stale = true;
    }

    /// Something about the Apps has changed.
    pub(super) fn touch(&mut self) {
        self.stale = true;
    }

    /// What is to be written down, where something has changed and nothing is being written. `tracked` are the Apps that
    /// something is done for, with what people know of each.
    pub(super) fn due<'s>(&mut self, tracked: impl Iterator<Item = RegisteredApp<'s>>) -> Option<Writing> {
        let directory = self.directory.as_ref()?;
        if !self.stale || self.writing {
            return None;
        }
        let mut apps: Vec<Listed<'_, &Document>> = tracked.map(listed).collect();
        for loaded in self.left() {
            apps.push(listed((loaded, Lifecycle::Orphaned, None)));
        }
        let written = serde_json::to_vec(&ToWrite { version: VERSION, from: &self.from, apps });
        // A document is made of texts, numbers, lists and maps of texts: it always has a JSON form.
        let mut text = written.ok()?;
        text.push(b'\n');
        (self.stale, self.writing) = (false, true);
        Some(Writing { directory: directory.clone(), text })
    }

    /// It is written down, or that has failed: then it is tried again with the next change.
    pub(super) fn written(&mut self, result: &Result<(), HostError>) {
        self.writing = false;
        let Err(error) = result else { return };
        self.stale = true;
        if self.complained {
            debug!(%error, "which Apps there are is not written down");
        } else {
            warn!(%error, "which Apps there are is not written down: one that disappears while no agent runs goes unnoticed");
        }
        self.complained = true;
    }
}

impl Writing {
    /// Replaces the file: after a crash it is the old or the new one, whole.
    ///
    /// # Errors
    /// What the file system refuses; the old one is then still there.
    pub(super) async fn write(self) -> Result<(), HostError> {
        let path = self.directory.join(NAME);
        let wrote = blocking(move || replace(&self.directory, NAME, &self.text)).await?;
        wrote.map_err(|error| HostError::io(format!("cannot write `{}`", path.display()), &error))
    }
}

fn listed((loaded, standing, heard): RegisteredApp<'_>) -> Listed<'_, &Document> {
    Listed {
        heard,
        name: loaded.app.name.as_str().into(),
        standing,
        file: loaded.source.path.as_ref().map(|path| path.to_string_lossy()),
        line: loaded.source.line,
        manifest: &loaded.document,
    }
}

fn read(text: &[u8], from: &str) -> Result<Vec<KnownApp>, String> {
    let written: Written = serde_json::from_slice(text).map_err(|error| format!("it makes no sense: {error}"))?;
    check_version(written.version, VERSION)?;
    let here = written.from == from;
    let mut known: Vec<KnownApp> = written.apps.into_iter().filter_map(|listed| known(&listed, here)).collect();
    let orphaned = known.iter().filter(|one| one.standing == Lifecycle::Orphaned);
    let gone = gone(orphaned.map(|one| one.loaded.app.root.path().to_owned()).collect(), PATIENCE, is_gone);
    known.retain(|one| {
        let stays = one.standing != Lifecycle::Orphaned || !gone.contains(one.loaded.app.root.path());
        if !stays {
            let app = &one.loaded.app.name;
            info!(%app, "it is no longer in the manifests, and its root is gone: it is forgotten");
        }
        stays
    });
    Ok(known)
}

fn known(listed: &Listed<'_, Value>, here: bool) -> Option<KnownApp> {
    let source = manifest::Source { path: listed.file.as_ref().map(|file| PathBuf::from(&**file)), line: listed.line };
    let loaded = match load_again(&listed.manifest, source) {
        Ok(loaded) => loaded,
        Err(errors) => {
            warn!(app = &*listed.name, problem = %errors, "its last manifest cannot be used any more: it is forgotten");
            return None;
        }
    };
    Some(KnownApp { loaded, standing: listed.standing, here, heard: listed.heard.clone() })
}

/// Of which roots nothing is left, as far as that can be told in time: dead mounts hold up nobody, however many there
/// are, nor what is said of other roots.
fn gone(roots: BTreeSet<PathBuf>, patience: Duration, look: fn(&Path) -> bool) -> BTreeSet<PathBuf> {
    let (tell, told) = mpsc::channel();
    for root in roots {
        let tell = tell.clone();
        let looker = std::thread::Builder::new().spawn(move || {
            let absent = look(&root);
            // Nobody may wait for it any more.
            let _ = tell.send(absent.then_some(root));
        });
        // Where there are no more threads, the others are not looked at.
        if looker.is_err() {
            break;
        }
    }
    drop(tell);
    let began = Instant::now();
    let answers = std::iter::from_fn(|| told.recv_timeout(patience.saturating_sub(began.elapsed())).ok());
    answers.flatten().collect()
}

fn is_gone(root: &Path) -> bool {
    matches!(fs::symlink_metadata(root), Err(error) if error.kind() == ErrorKind::NotFound)
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn loaded(room: &Path, name: &str, root: &str) -> Loaded {
        let text = format!(
            "# Its root is meant relative to its file.\napiVersion: trueup/v1\nkind: App\nmetadata: {{name: {name}}}\n\
             spec:\n  root: {root}\n  release: {{id: r1}}\n  sync: {{prune: true}}\n  workers:\n    \
             - {{name: q, count: 2, manager: {{builtin: {{run: x, env: {{KEY: \"a\\u2028b\"}}}}}}}}\n"
        );
        let path = room.join(format!("{name}.yaml"));
        fs::write(&path, text).unwrap();
        manifest::load(&[path], &mut io::empty()).unwrap().remove(0)
    }

    fn rows(known: &[KnownApp]) -> Vec<(String, Lifecycle, bool, Option<NotifiedState>)> {
        let row = |one: &KnownApp| (one.loaded.app.name.to_string(), one.standing, one.here, one.heard.clone());
        known.iter().map(row).collect()
    }

    #[test]
    fn dead_mounts_are_waited_for_together_and_hide_nothing_of_other_roots() {
        let mounts: BTreeSet<PathBuf> = (0..20).map(|number| PathBuf::from(format!("/dead/{number}"))).collect();
        let left = PathBuf::from("/srv/left");
        let roots = || mounts.iter().cloned().chain([PathBuf::from("/srv/gone"), left.clone()]).collect();
        let look = |root: &Path| {
            while root.starts_with("/dead") {
                std::thread::park();
            }
            root.ends_with("gone")
        };
        let patience = Duration::from_secs(2);
        let began = Instant::now();
        assert_eq!(gone(roots(), patience, look), BTreeSet::from([PathBuf::from("/srv/gone")]));
        assert!(began.elapsed() < patience * 10, "one after the other");
        let began = Instant::now();
        assert_eq!(gone(BTreeSet::from([left]), Duration::from_mins(10), look), BTreeSet::new());
        assert!(began.elapsed() < Duration::from_mins(1), "all have answered");
    }

    #[tokio::test]
    async fn what_was_written_down_is_known_again() {
        let room = tempfile::tempdir().unwrap();
        let (manifests, state) = (room.path().join("m"), room.path().join("state"));
        fs::create_dir_all(manifests.join("old")).unwrap();
        fs::create_dir(&state).unwrap();
        let all = [("app", "./app"), ("leaves", "./leaves"), ("old", "./old"), ("vanished", "./vanished")];
        let all = all.map(|(name, root)| loaded(&manifests, name, root));
        let heard = NotifiedState::default();
        let mut registry = AppRegistry::open(&state, "here".to_owned());
        assert!(registry.before.is_empty() && registry.due(std::iter::empty()).is_none(), "nothing has changed");
        for orphan in &all[2..] {
            registry.left_running(Arc::new(orphan.clone()));
        }
        let tracked =
            || [(&all[0], Lifecycle::InForce, Some(heard.clone())), (&all[1], Lifecycle::Leaving, None)].into_iter();
        // What a killed agent has left half-written.
        fs::write(state.join("apps.json.new"), "{").unwrap();
        let writing = registry.due(tracked()).unwrap();
        registry.touch();
        assert!(registry.due(tracked()).is_none(), "one after the other");
        registry.written(&writing.write().await);
        assert!(registry.due(tracked()).is_some());

        assert_eq!(fs::metadata(state.join(NAME)).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(&state).unwrap().count(), 1);
        // Whatever has become of the files: what was meant stays the same.
        for name in ["app", "leaves", "old", "vanished"] {
            fs::remove_file(manifests.join(format!("{name}.yaml"))).unwrap();
        }
        for (from, here) in [("here", true), ("elsewhere", false)] {
            let mut registry = AppRegistry::open(&state, from.to_owned());
            assert_eq!(registry.expected().map(AppName::as_str).collect::<Vec<_>>(), ["app"]);
            let known = registry.take_up();
            let row = |name: &str, standing, heard| (name.to_owned(), standing, here, heard);
            let expected = [
                row("app", Lifecycle::InForce, Some(heard.clone())),
                row("leaves", Lifecycle::Leaving, None),
                row("old", Lifecycle::Orphaned, None),
            ];
            assert_eq!(rows(&known), expected, "but for what is gone altogether");
            assert!(known.iter().zip(&all).all(|(known, before)| known.loaded == *before), "{known:?}");
            assert!(registry.take_up().is_empty());
        }
    }

    #[tokio::test]
    async fn what_makes_no_sense_is_told_and_nothing_is_known() {
        let room = tempfile::tempdir().unwrap();
        let one = loaded(room.path(), "app", "/srv/app");
        let mut registry = AppRegistry::open(room.path(), String::new());
        registry.touch();
        let writing = registry.due([(&one, Lifecycle::InForce, None)].into_iter()).unwrap();
        writing.write().await.unwrap();
        let file = room.path().join(NAME);
        let good = fs::read_to_string(&file).unwrap();
        assert_eq!(AppRegistry::open(room.path(), String::new()).before.len(), 1);
        let rows = [
            String::new(),
            good[..good.len() / 2].to_owned(),
            good.replace("\"version\":1", "\"version\":7"),
            good.replace("\"count\":2", "\"cuont\":2"),
        ];
        for text in rows {
            assert_ne!(text, good);
            fs::write(&file, &text).unwrap();
            assert!(AppRegistry::open(room.path(), String::new()).before.is_empty(), "{text}");
        }
        fs::remove_file(&file).unwrap();
        fs::create_dir(&file).unwrap();
        let mut registry = AppRegistry::open(room.path(), String::new());
        registry.touch();
        let failed = registry.due(std::iter::empty()).unwrap().write().await;
        registry.written(&failed);
        assert!(failed.is_err() && registry.due(std::iter::empty()).is_some(), "it is tried again");
        assert!(AppRegistry::none().due(std::iter::empty()).is_none());
    }
}
