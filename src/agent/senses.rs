//! What tells the loop that something has happened on the host, as soon as it has.
//!
//! The loop says what it wants to be told of, and takes what it is told for a reason to look, never for a fact. The
//! timers remain, whatever goes unnoticed here.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tracing::{info, warn};

use super::deaths::Deaths;
use super::watch::{Topic, Watch, What};
use crate::model::app::App;
use crate::model::names::{AppName, GroupName, MemberName};
use crate::model::process::ProcessId;
use crate::ports::{HostError, HostErrorKind};

/// Something that has happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostNews {
    /// Where manifests are.
    Manifests,
    /// At `current`, or in `releases/`, of this App.
    Layout(AppName),
    /// At a file of `restartOn` of this App.
    Files(AppName),
    /// A worker's process has ended.
    Death {
        /// The App.
        app: AppName,
        /// Whose process.
        member: Member,
    },
}

/// A worker and its process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its group.
    pub group: GroupName,
    /// The member.
    pub member: MemberName,
    /// Its main process.
    pub process: ProcessId,
}

/// What the loop can be told of.
pub trait Senses {
    /// Manifests come from these files and directories. Said again before each look at them, since links may lead
    /// elsewhere by now.
    fn manifests(&mut self, paths: &[PathBuf]);

    /// This App is in force, with its root and its files of `restartOn`. Said again when something has happened there.
    fn app(&mut self, app: &App);

    /// These are all the workers of the App that live; the death of one that does not is told at once.
    fn workers(&mut self, app: &AppName, workers: &[Member]);

    /// The App is none of our business any more.
    fn forget(&mut self, app: &AppName);

    /// The next that happens. Dropping it loses nothing.
    fn news(&mut self) -> impl Future<Output = HostNews>;
}

type Arms = fn(&mut Watch, Topic, &[What]) -> Result<(), HostError>;

/// The kernel's own: inotify and pidfds.
#[derive(Debug)]
pub struct Kernel {
    /// None while the kernel has none left.
    watch: Option<Watch>,
    /// Makes one.
    make: fn() -> Result<Watch, HostError>,
    /// Has it watch something.
    arms: Arms,
    deaths: Deaths,
    told: UnboundedReceiver<HostNews>,
    /// Whether it was said that watching fails.
    complained: bool,
    /// Apps of which not everything is watched: tried again after each pass.
    unwatched: BTreeMap<AppName, App>,
    /// Not all of where manifests are is watched.
    manifests_unwatched: bool,
}

impl Kernel {
    /// Must be called within the runtime. A kernel that has nothing left to watch files with is asked again later: the
    /// timers remain.
    #[must_use]
    pub fn new() -> Self {
        Self::with(Watch::new, Watch::arm)
    }

    fn with(make: fn() -> Result<Watch, HostError>, arms: Arms) -> Self {
        let (news, told) = unbounded_channel();
        let deaths = Deaths::new(news);
        Self {
            watch: None,
            make,
            arms,
            deaths,
            told,
            complained: false,
            unwatched: BTreeMap::new(),
            manifests_unwatched: false,
        }
    }

    fn watch(&mut self) -> Result<&mut Watch, HostError> {
        match &mut self.watch {
            Some(watch) => Ok(watch),
            none => Ok(none.insert((self.make)()?)),
        }
    }

    /// What is not watched now is tried again: the kernel may have more to give then, and the file system may answer.
    fn arm(&mut self, topic: Topic, what: &[What]) -> Result<(), HostErrorKind> {
        let arms = self.arms;
        let armed = self.watch().and_then(|watch| arms(watch, topic, what));
        if let Err(error) = &armed {
            let help = error.help.as_deref().unwrap_or_default();
            if self.complained {
                tracing::debug!(%error, "changes will be noticed late");
            } else {
                warn!(%error, help, "changes will be noticed by the timers only");
            }
            self.complained = true;
        }
        armed.map_err(|error| error.kind)
    }

    /// Where nothing is left unwatched, that is worth a line, and so is the next failure.
    fn take_heart(&mut self) {
        if self.complained && !self.manifests_unwatched && self.unwatched.is_empty() {
            info!("changes are noticed at once again");
            self.complained = false;
        }
    }
}

impl Default for Kernel {
    fn default() -> Self {
        Self::new()
    }
}

impl Senses for Kernel {
    fn manifests(&mut self, paths: &[PathBuf]) {
        let what: Vec<What> = paths.iter().cloned().map(What::Content).collect();
        // They are looked at, and said again, every now and then.
        self.manifests_unwatched = self.arm(Topic::Manifests, &what).is_err();
        self.take_heart();
    }

    fn app(&mut self, app: &App) {
        let what = [What::Entry(app.root.current()), What::Content(app.root.releases())];
        let root = app.root.path();
        let files: Vec<What> = app.files().into_iter().map(|path| What::Content(root.join(path.as_path()))).collect();
        let mut armed = self.arm(Topic::App(app.name.clone()), &what);
        // Of a file system that does not answer, one question is enough.
        if armed != Err(HostErrorKind::Unreachable) {
            armed = armed.and(self.arm(Topic::Files(app.name.clone()), &files));
        }
        if armed.is_ok() {
            self.unwatched.remove(&app.name);
            self.take_heart();
        } else {
            self.unwatched.insert(app.name.clone(), app.clone());
        }
    }

    fn workers(&mut self, app: &AppName, workers: &[Member]) {
        if let Some(unwatched) = self.unwatched.remove(app) {
            self.app(&unwatched);
        }
        self.deaths.hold(app, workers);
    }

    fn forget(&mut self, app: &AppName) {
        if let Some(watch) = &mut self.watch {
            watch.disarm(&Topic::App(app.clone()));
            watch.disarm(&Topic::Files(app.clone()));
        }
        self.deaths.forget(app);
        self.unwatched.remove(app);
        self.take_heart();
    }

    async fn news(&mut self) -> HostNews {
        tokio::select! {
            topic = changed(self.watch.as_mut()) => match topic {
                Topic::Manifests => HostNews::Manifests,
                Topic::App(app) => HostNews::Layout(app),
                Topic::Files(app) => HostNews::Files(app),
            },
            news = self.told.recv() => match news {
                Some(news) => news,
                // The other end is ours.
                None => std::future::pending().await,
            },
        }
    }
}

async fn changed(watch: Option<&mut Watch>) -> Topic {
    match watch {
        Some(watch) => watch.changed().await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

    use super::*;
    use crate::decide::testing::{app, builtin, group};
    use crate::model::names::Root;

    /// Programs of the same user hold all of inotify's instances, and one of them ends.
    #[tokio::test]
    async fn a_kernel_without_watches_is_asked_again_and_holds_nothing_up() {
        static ASKED: AtomicU32 = AtomicU32::new(0);
        fn scarce() -> Result<Watch, HostError> {
            match ASKED.fetch_add(1, Ordering::SeqCst) {
                0..=2 => Err(HostError::new(HostErrorKind::Other, "too many open files")),
                _ => Watch::new(),
            }
        }
        let room = tempfile::tempdir().unwrap();
        let mut shop = app("r1", vec![group("default", 1, builtin())]);
        shop.root = Root::new(room.path()).unwrap();
        let mut kernel = Kernel::with(scarce, Watch::arm);
        kernel.manifests(&[room.path().to_owned()]);
        kernel.app(&shop);
        assert!(ASKED.load(Ordering::SeqCst) >= 2 && kernel.watch.is_none(), "it has failed");
        while kernel.watch.is_none() {
            // After each pass.
            kernel.workers(&shop.name, &[]);
        }
        std::os::unix::fs::symlink("releases/r1", shop.root.current()).unwrap();
        assert_eq!(kernel.news().await, HostNews::Layout(shop.name.clone()));
        kernel.forget(&shop.name);
    }

    /// All watches of the user are in use, and then some are let go of.
    #[tokio::test]
    async fn what_could_not_be_watched_is_watched_as_soon_as_it_can_be() {
        static USED_UP: AtomicBool = AtomicBool::new(true);
        fn arms(watch: &mut Watch, topic: Topic, what: &[What]) -> Result<(), HostError> {
            if USED_UP.load(Ordering::SeqCst) {
                Err(HostError::new(HostErrorKind::Other, "the kernel allows no more watches"))
            } else {
                watch.arm(topic, what)
            }
        }
        let room = tempfile::tempdir().unwrap();
        let mut shop = app("r1", vec![group("default", 1, builtin())]);
        shop.root = Root::new(room.path()).unwrap();
        let mut kernel = Kernel::with(Watch::new, arms);
        kernel.manifests(&[]);
        kernel.app(&shop);
        kernel.workers(&shop.name, &[]);
        assert!(kernel.complained && kernel.unwatched.contains_key(&shop.name));
        USED_UP.store(false, Ordering::SeqCst);
        kernel.manifests(&[]);
        assert!(kernel.complained, "the App is not watched yet");
        // After the next pass, for whatever reason that is made.
        kernel.workers(&shop.name, &[]);
        assert!(!kernel.complained && kernel.unwatched.is_empty());
        std::os::unix::fs::symlink("releases/r1", shop.root.current()).unwrap();
        assert_eq!(kernel.news().await, HostNews::Layout(shop.name.clone()));
        USED_UP.store(true, Ordering::SeqCst);
        kernel.app(&shop);
        assert!(kernel.complained, "it is said again");
        kernel.forget(&shop.name);
        assert!(kernel.unwatched.is_empty());
    }
}
