//! Notices changes of files and links, through inotify.
//!
//! A link that is swapped, and a file that an editor replaces, are seen only from the directory that they stand in. So
//! of every path, the directory of each link on the way is watched, and of the last name; never a file itself, and
//! nothing recursively. An event says only *that* something has changed: whoever hears of it looks, and says anew what
//! to watch, for directories may have been replaced. Begin at [`Watch::arm`]; `places` follows the links.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use rustix::io::Errno;
use tokio::sync::Notify;

use crate::model::names::AppName;
use crate::ports::{HostError, HostErrorKind};

/// Links on one path beyond which the kernel itself would give up.
const LINKS: usize = 40;
/// Entries of one directory that are asked whether they are links.
const ENTRIES: usize = 1000;
/// Whose links are not read within this is not watched, for now: the loop waits for them.
const ANSWERS_WITHIN: Duration = Duration::from_millis(500);
/// Right after one that did not answer: a dead mount may have a hundred roots on it.
const ANSWERS_THEN: Duration = Duration::from_millis(20);
/// How long that is.
const RIGHT_AFTER: Duration = Duration::from_secs(5);

/// What a change is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Topic {
    /// The manifests.
    Manifests,
    /// The root of an App.
    App(AppName),
    /// Files that workers and services of an App read.
    Files(AppName),
}

/// What is watched of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// The last name itself: made, removed, replaced. Where it leads to, if it is a link, does not matter.
    Entry(PathBuf),
    /// What it leads to: a file, or whatever stands directly in a directory.
    Content(PathBuf),
}

impl What {
    fn path(&self) -> &Path {
        match self {
            Self::Entry(path) | Self::Content(path) => path,
        }
    }
}

/// A watch over places of the file system.
#[derive(Debug)]
pub struct Watch {
    watcher: RecommendedWatcher,
    shared: Arc<Shared>,
    armed: BTreeMap<Topic, BTreeSet<Place>>,
    /// Looks that a dead mount holds.
    held: BTreeMap<Topic, Receiver<BTreeSet<Place>>>,
    /// When one was given up last.
    silent: Option<Instant>,
}

/// A directory, and the name in it that counts; none: every name.
type Place = (PathBuf, Option<OsString>);

/// By directory, the names in it that count, none meaning every name, and who wants to know.
type Topics = BTreeMap<PathBuf, Vec<(Option<OsString>, Topic)>>;

/// Read and written by the watcher's own thread.
#[derive(Debug, Default)]
struct Shared {
    /// Who wants to know of what.
    topics: Mutex<Topics>,
    changed: Mutex<BTreeSet<Topic>>,
    bell: Notify,
}

impl Watch {
    /// Watches nothing yet.
    ///
    /// # Errors
    /// The kernel has no more of what it takes.
    pub fn new() -> Result<Self, HostError> {
        let shared = Arc::new(Shared::default());
        let hears = Arc::clone(&shared);
        let watcher = notify::recommended_watcher(move |event| hears.hear(event));
        let watcher = watcher.map_err(|error| failed(&error))?;
        Ok(Self { watcher, shared, armed: BTreeMap::new(), held: BTreeMap::new(), silent: None })
    }

    /// Watches this for the topic, and nothing else any more. What happens from here on is told; what happened before
    /// may not be, so look afterwards.
    ///
    /// # Errors
    /// Something cannot be watched; everything else is. [`HostErrorKind::Unreachable`]: a file system does not answer,
    /// and what was watched before is.
    pub fn arm(&mut self, topic: Topic, what: &[What]) -> Result<(), HostError> {
        let all = what.to_vec();
        let limit = patience(self.silent.map(|silent| silent.elapsed()));
        let Some(places) = self.within(limit, &topic, move || all.iter().flat_map(places).collect()) else {
            self.silent = Some(Instant::now());
            let paths: Vec<String> = what.iter().map(|what| format!("`{}`", what.path().display())).collect();
            let message = format!("cannot watch {}: its file system does not answer", paths.join(", "));
            return Err(HostError::new(HostErrorKind::Unreachable, message));
        };
        let directories: BTreeSet<PathBuf> = places.iter().map(|(directory, _)| directory.clone()).collect();
        self.armed.insert(topic, places);
        self.publish();
        let mut result = Ok(());
        for directory in directories {
            // Again where it is watched already: under the same name there may be another directory by now.
            match self.watcher.watch(&directory, RecursiveMode::NonRecursive) {
                // Gone since: its own parent tells of it, or the next look does.
                Err(error) if matches!(error.kind, notify::ErrorKind::PathNotFound) => {}
                watched => result = result.and(watched.map_err(|error| failed(&error))),
            }
        }
        result
    }

    /// What a look finds, if it comes to its end in time. While one is held for a topic, there is no other.
    fn within(
        &mut self,
        limit: Duration,
        topic: &Topic,
        look: impl FnOnce() -> BTreeSet<Place> + Send + 'static,
    ) -> Option<BTreeSet<Place>> {
        if self.held.get(topic).is_some_and(|before| matches!(before.try_recv(), Err(TryRecvError::Empty))) {
            return None;
        }
        self.held.remove(topic);
        let (tell, told) = channel();
        // Whoever gave it up has no use for it.
        let looks = std::thread::Builder::new().name("watch".to_owned()).spawn(move || drop(tell.send(look())));
        looks.ok()?;
        let found = told.recv_timeout(limit).ok();
        if found.is_none() {
            self.held.insert(topic.clone(), told);
        }
        found
    }

    /// Tells nothing of this topic any more.
    pub fn disarm(&mut self, topic: &Topic) {
        self.armed.remove(topic);
        self.publish();
    }

    /// Returns when something of a topic may have changed. Dropping it loses nothing; many changes may be told as one.
    pub async fn changed(&self) -> Topic {
        loop {
            let bell = self.shared.bell.notified();
            if let Some(topic) = held(&self.shared.changed).pop_first() {
                return topic;
            }
            bell.await;
        }
    }

    /// Lets the watcher's thread know what counts, and lets go of directories that nobody wants any more.
    fn publish(&mut self) {
        let mut topics = Topics::new();
        for (topic, places) in &self.armed {
            for (directory, name) in places {
                topics.entry(directory.clone()).or_default().push((name.clone(), topic.clone()));
            }
        }
        let before = std::mem::replace(&mut *held(&self.shared.topics), topics);
        let kept = held(&self.shared.topics);
        let unwanted: Vec<PathBuf> = before.into_keys().filter(|directory| !kept.contains_key(directory)).collect();
        drop(kept);
        for directory in unwanted {
            // One that was removed is not watched any more.
            let _ = self.watcher.unwatch(&directory);
        }
    }
}

impl Shared {
    fn hear(&self, event: notify::Result<Event>) {
        let heard = match event {
            Ok(event) if matters(event.kind) || event.need_rescan() => self.topics_of(&event),
            Ok(_) => return,
            // Something was lost: everything may have changed.
            Err(_) => self.all(),
        };
        if !heard.is_empty() {
            held(&self.changed).extend(heard);
            self.bell.notify_one();
        }
    }

    fn all(&self) -> Vec<Topic> {
        held(&self.topics).values().flatten().map(|(_, topic)| topic.clone()).collect()
    }

    fn topics_of(&self, event: &Event) -> Vec<Topic> {
        if event.need_rescan() || event.paths.is_empty() {
            return self.all();
        }
        let topics = held(&self.topics);
        let mut found = Vec::new();
        for path in &event.paths {
            // About a watched directory itself: it went, and with it all that was watched there.
            let own = topics.get(path).into_iter().flatten();
            found.extend(own.filter(|_| goes(event.kind)).map(|(_, topic)| topic.clone()));
            let above = path.parent().and_then(|parent| topics.get(parent)).into_iter().flatten();
            let name = path.file_name();
            let counts = |wanted: &Option<OsString>| wanted.is_none() || wanted.as_deref() == name;
            found.extend(above.filter(|(wanted, _)| counts(wanted)).map(|(_, topic)| topic.clone()));
        }
        found
    }
}

/// Opening and reading change nothing; our own looks do little else.
fn matters(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(access) => matches!(access, AccessKind::Close(AccessMode::Write)),
        EventKind::Any | EventKind::Create(_) | EventKind::Modify(_) | EventKind::Remove(_) | EventKind::Other => true,
    }
}

/// A watched directory that is named by such an event may have gone or come.
fn goes(kind: EventKind) -> bool {
    matches!(kind, EventKind::Remove(_) | EventKind::Modify(notify::event::ModifyKind::Name(_)) | EventKind::Create(_))
}

/// How long a look is waited for, so long after another one was given up; none: none was.
fn patience(given_up: Option<Duration>) -> Duration {
    if given_up.is_some_and(|ago| ago < RIGHT_AFTER) { ANSWERS_THEN } else { ANSWERS_WITHIN }
}

/// Where changes of this show.
fn places(what: &What) -> Vec<Place> {
    match what {
        What::Entry(path) => follow(path, false).1,
        What::Content(path) => {
            let (end, mut places) = follow(path, true);
            if let Some(directory) = end.filter(|end| end.is_dir()) {
                let entries = std::fs::read_dir(&directory).into_iter().flatten().flatten().take(ENTRIES);
                let links = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_symlink()));
                // A manifest may itself be a link to a file elsewhere.
                places.extend(links.flat_map(|entry| follow(&entry.path(), true).1));
                places.push((directory, None));
            }
            places
        }
    }
}

/// Where a path leads, if it leads anywhere, and the place of every link on the way and of its last name, or of the
/// first name that is not there.
fn follow(path: &Path, through_the_last: bool) -> (Option<PathBuf>, Vec<Place>) {
    let Ok(path) = std::path::absolute(path) else { return (None, Vec::new()) };
    let mut at = PathBuf::from("/");
    let mut rest: VecDeque<OsString> = names(&path).collect();
    let (mut links, mut places) = (0, Vec::new());
    while let Some(name) = rest.pop_front() {
        if name == ".." {
            at.pop();
            continue;
        }
        let here = at.join(&name);
        let last = rest.is_empty();
        let target = if last && !through_the_last { None } else { std::fs::read_link(&here).ok() };
        if let Some(target) = target {
            places.push((at.clone(), Some(name)));
            links += 1;
            if links > LINKS {
                return (None, places);
            }
            if target.is_absolute() {
                at = PathBuf::from("/");
            }
            let inner: Vec<OsString> = names(&target).collect();
            inner.into_iter().rev().for_each(|name| rest.push_front(name));
            continue;
        }
        let there = here.symlink_metadata().is_ok();
        if last || !there {
            places.push((at, Some(name)));
            return (there.then_some(here), places);
        }
        at = here;
    }
    (Some(at), places)
}

fn names(path: &Path) -> impl Iterator<Item = OsString> {
    path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    })
}

/// Nothing that holds such a lock can fail half-way.
fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn failed(error: &notify::Error) -> HostError {
    let paths: Vec<String> = error.paths.iter().map(|path| format!("`{}`", path.display())).collect();
    let place = if paths.is_empty() { String::new() } else { format!(" {}", paths.join(", ")) };
    match &error.kind {
        notify::ErrorKind::MaxFilesWatch => {
            HostError::new(HostErrorKind::Other, format!("cannot watch{place}: the kernel allows no more watches"))
                .with_help("raise the limit: `sysctl fs.inotify.max_user_watches=100000`")
        }
        notify::ErrorKind::Io(error) if error.raw_os_error() == Some(Errno::MFILE.raw_os_error()) => {
            HostError::new(HostErrorKind::Other, format!("cannot watch{place}: {error}"))
                .with_help("too many programs of this user watch files: `sysctl fs.inotify.max_user_instances=1024`")
        }
        notify::ErrorKind::Io(error) => HostError::io(format!("cannot watch{place}"), error),
        _ => HostError::new(HostErrorKind::Other, format!("cannot watch{place}: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_mount_holds_the_loop_once_and_is_watched_when_it_answers() {
        let mut watch = Watch::new().unwrap();
        let (topic, other) = (Topic::App(AppName::new("dead").unwrap()), Topic::Manifests);
        let (answer, answers) = channel::<()>();
        let hangs = move || {
            answers.recv().unwrap();
            BTreeSet::new()
        };
        assert_eq!(watch.within(Duration::from_millis(20), &topic, hangs), None);
        assert_eq!(watch.silent, None);
        let long = Duration::from_mins(1);
        assert_eq!(watch.within(long, &topic, || panic!("one thread is held already")), None);
        let error = watch.arm(topic.clone(), &[What::Entry("/srv/dead/current".into())]).unwrap_err();
        assert!(error.kind == HostErrorKind::Unreachable && error.message.contains("/srv/dead/current"), "{error}");
        assert!(watch.silent.is_some(), "the next one is not waited for as long");
        assert_eq!(watch.within(long, &other, BTreeSet::new), Some(BTreeSet::new()), "nobody else is held up");

        answer.send(()).unwrap();
        while watch.arm(topic.clone(), &[What::Entry("/srv/dead/current".into())]).is_err() {
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_hundred_roots_on_a_dead_mount_hold_the_loop_for_seconds_and_no_minute() {
        let next = (1..100).map(|_| patience(Some(Duration::ZERO)));
        let all: Duration = next.chain([patience(None)]).sum();
        assert!(all < Duration::from_secs(3), "{all:?}");
        let rows = [(None, 500), (Some(0), 20), (Some(4_999), 20), (Some(5_000), 500), (Some(600_000), 500)];
        for (ago, expected) in rows {
            assert_eq!(patience(ago.map(Duration::from_millis)).as_millis(), expected, "{ago:?}");
        }
    }
}
