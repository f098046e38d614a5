//! What tells the loop that something has happened on the host, as soon as it has.
//!
//! The loop says what it wants to be told of, and takes what it is told for a reason to look, never for a fact. The
//! timers remain, whatever goes unnoticed here.

use std::future::Future;
use std::path::PathBuf;

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tracing::warn;

use super::deaths::Deaths;
use super::watch::{Topic, Watch, What};
use crate::model::app::App;
use crate::model::names::{AppName, GroupName, MemberName};
use crate::model::process::ProcessId;
use crate::ports::HostError;

/// Something that has happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
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
    fn news(&mut self) -> impl Future<Output = News>;
}

/// The kernel's own: inotify and pidfds.
#[derive(Debug)]
pub struct Kernel {
    watch: Watch,
    deaths: Deaths,
    told: UnboundedReceiver<News>,
    /// Whether it was said that watching fails.
    complained: bool,
}

impl Kernel {
    /// Must be called within the runtime.
    ///
    /// # Errors
    /// The kernel has no watches left.
    pub fn new() -> Result<Self, HostError> {
        let (news, told) = unbounded_channel();
        Ok(Self { watch: Watch::new()?, deaths: Deaths::new(news), told, complained: false })
    }

    fn arm(&mut self, topic: Topic, what: &[What]) {
        if let Err(error) = self.watch.arm(topic, what) {
            let help = error.help.as_deref().unwrap_or_default();
            if self.complained {
                tracing::debug!(%error, "changes will be noticed late");
            } else {
                warn!(%error, help, "changes will be noticed by the timers only");
            }
            self.complained = true;
        }
    }
}

impl Senses for Kernel {
    fn manifests(&mut self, paths: &[PathBuf]) {
        let what: Vec<What> = paths.iter().cloned().map(What::Content).collect();
        self.arm(Topic::Manifests, &what);
    }

    fn app(&mut self, app: &App) {
        let what = [What::Entry(app.root.current()), What::Content(app.root.releases())];
        self.arm(Topic::App(app.name.clone()), &what);
        let root = app.root.path();
        let files: Vec<What> = app.files().into_iter().map(|path| What::Content(root.join(path.as_path()))).collect();
        self.arm(Topic::Files(app.name.clone()), &files);
    }

    fn workers(&mut self, app: &AppName, workers: &[Member]) {
        self.deaths.hold(app, workers);
    }

    fn forget(&mut self, app: &AppName) {
        self.watch.disarm(&Topic::App(app.clone()));
        self.watch.disarm(&Topic::Files(app.clone()));
        self.deaths.forget(app);
    }

    async fn news(&mut self) -> News {
        tokio::select! {
            topic = self.watch.changed() => match topic {
                Topic::Manifests => News::Manifests,
                Topic::App(app) => News::Layout(app),
                Topic::Files(app) => News::Files(app),
            },
            news = self.told.recv() => match news {
                Some(news) => news,
                // The other end is ours.
                None => std::future::pending().await,
            },
        }
    }
}
