//! Work over hosts, from the command line: the runtime, the connections, the signals, and who watches.

use std::convert::Infallible;
use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::HostsOutcome;
use super::chosen::One;
use super::logged::Logged;
use super::never;
use super::screen::Screen;
use crate::cli::hang_up::{hang_ups, hung_up};
use crate::cli::host::cannot_begin;
use crate::cli::options::fleet::Hosts;
use crate::cli::options::{Global, LogFormat};
use crate::cli::own_name::names;
use crate::cli::person::person;
use crate::cli::render::problem::Complaint;
use crate::cli::{Failure, INTERRUPTED};
use crate::fleet::ask::Asker;
use crate::fleet::phase::{FleetListener, FleetNews};
use crate::fleet::reach::Reach;
use crate::fleet::ssh::Ssh;
use crate::fleet::ssh::options::Options;
use crate::fleet::work::{StopWish, Work};
use crate::local::runtime::runtime;

/// What is said where it cannot begin.
const WORK: &str = "work over hosts";

/// What is done with hosts, and with it what the first wish to stop means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Nothing is changed, so that it ends at once.
    Look,
    /// Hosts that were begun are awaited.
    Rollout,
}

impl Kind {
    /// What is said at the first wish to stop.
    const fn at_first(self) -> &'static str {
        match self {
            Self::Look => "stopped; the others are not looked at",
            Self::Rollout => "no more hosts are begun, and those at work finish; press again to leave them to it",
        }
    }
}

/// What work over hosts stands on.
pub struct HostsContext<'a> {
    kind: Kind,
    ssh: &'a Ssh,
    asker: Asker,
    forks: usize,
    logs: bool,
    wish: watch::Receiver<StopWish>,
}

impl HostsContext<'_> {
    /// What the person at the keyboard wishes now.
    #[must_use]
    pub fn wish(&self) -> StopWish {
        *self.wish.borrow()
    }

    fn work<'w>(&'w self, watch: &'w dyn FleetListener) -> Work<'w, Ssh> {
        Work::new(self.ssh, watch, &self.asker, self.forks, self.wish.clone())
    }

    /// Does something with the hosts of one App, watched.
    pub async fn with<T>(&self, one: &One<'_>, work: impl AsyncFnOnce(&Work<'_, Ssh>) -> T) -> T {
        let app = &one.loaded.app;
        let hosts = one.targets.iter().map(|target| &target.host);
        // A log in JSON tells the same; a program that reads it wants nothing else in between.
        if self.logs {
            let logged = Logged::new(&app.name);
            return tokio::select! {
                biased;
                ever = self.answer_wish(&logged) => never(ever),
                done = async { work(&self.work(&logged)).await } => done,
            };
        }
        let title = format!("{}  {}", app.name, app.release.id);
        let screen = Screen::new(&title, hosts, self.kind, self.wish.clone());
        let done = tokio::select! {
            biased;
            ever = self.answer_wish(&screen) => never(ever),
            done = async { work(&self.work(&screen)).await } => done,
            ever = screen.keep_up() => never(ever),
        };
        screen.clear();
        done
    }

    /// Says what the first wish to stop does, through whoever writes there: a line from elsewhere would tear the board
    /// apart, or a log in JSON. Never returns.
    async fn answer_wish(&self, watch: &dyn FleetListener) -> Infallible {
        let mut wish = self.wish.clone();
        if wish.wait_for(|wish| *wish > StopWish::GoOn).await.is_ok() {
            watch.news(None, &FleetNews::Stopping(self.kind.at_first()));
        }
        std::future::pending().await
    }
}

/// Does something with hosts and lets go of them.
///
/// # Errors
/// When it could not begin at all.
pub fn over_hosts<T>(
    kind: Kind,
    hosts: &Hosts,
    global: &Global,
    work: impl AsyncFnOnce(&HostsContext<'_>) -> Vec<T>,
) -> Result<HostsOutcome<T>, Failure> {
    let runtime = runtime().map_err(|error| cannot_begin(WORK, &error))?;
    let came = runtime.block_on(async {
        let wish = listen().map_err(|error| cannot_begin(WORK, &error))?;
        let usual = Options::default();
        let connect_timeout = hosts.connect_timeout.unwrap_or(usual.connect_timeout);
        let options = Options { accept_new: hosts.accept_new, connect_timeout, ..usual };
        let ssh = Ssh::new(options).map_err(|error| {
            let complaint = Complaint::new("there is no safe place for the sockets of connections");
            let help = "set XDG_RUNTIME_DIR to a directory that is this user's alone";
            Failure::Complaint(complaint.cause(error.to_string()).help(help))
        })?;
        let logs = global.log_format == LogFormat::Json;
        let context = HostsContext { kind, ssh: &ssh, asker: Asker::new(who()), forks: hosts.forks(), logs, wish };
        let each = work(&context).await;
        let wish = context.wish();
        // Who wants to leave waits for no connection.
        if wish < StopWish::Leave {
            ssh.close().await;
        }
        Ok(HostsOutcome { each, wish })
    });
    runtime.shutdown_background();
    came
}

/// The person and the machine, for the hosts' histories; a courtesy and no proof.
fn who() -> String {
    format!("{}@{}", person(), names().first().map_or("localhost", String::as_str))
}

/// The first signal wishes for no more, which ends a look; the second one leaves, the third one ends everything at
/// once. A hang-up wishes for no more, and for nothing else, however often it comes: shells pass on what the kernel
/// sends already.
fn listen() -> io::Result<watch::Receiver<StopWish>> {
    let mut int = signal(SignalKind::interrupt())?;
    let mut term = signal(SignalKind::terminate())?;
    let mut hang_ups = hang_ups()?;
    let (sender, wish) = watch::channel(StopWish::GoOn);
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = int.recv() => {}
                _ = term.recv() => {}
                () = hung_up(&mut hang_ups) => {
                    sender.send_if_modified(|wish| std::mem::replace(wish, (*wish).max(StopWish::NoMore)) < StopWish::NoMore);
                    continue;
                }
            }
            let now = *sender.borrow();
            match now {
                StopWish::GoOn => {
                    let _ = sender.send(StopWish::NoMore);
                }
                StopWish::NoMore => {
                    let _ = sender.send(StopWish::Leave);
                }
                StopWish::Leave => std::process::exit(INTERRUPTED.into()),
            }
        }
    });
    Ok(wish)
}
