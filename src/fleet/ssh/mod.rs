//! Hosts reached by OpenSSH.
//!
//! In: a host and a request. Out: the lines of its far side, each once. One connection for each host is kept open
//! between requests, and for a while after the last one (`connection`), at a place that the next run finds
//! (`control`). Over it a shell looks for the program, and runs it at once where it is (`scripts`); where it is not,
//! it is copied first (`copy`). A connection that has ended meanwhile is made anew, and a conversation that breaks is
//! taken up again with the same id (`asking`).
//!
//! # Guarantees
//! A host whose key is not the known one is never spoken to. A program from the cache is run only when its digest is
//! that of ours. Nothing asks a person anything.

mod asking;
mod connection;
pub mod control;
mod conversation;
mod copy;
pub mod elf;
pub mod options;
pub mod program;
pub mod resolved;
pub mod scripts;
pub mod trouble;

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{Mutex, OnceCell};

use self::connection::Connection;
use self::control::ControlFolder;
use self::options::Options;
use self::program::Program;
use self::trouble::Trouble;
use super::reach::{Broken, HostSaid, Reach, Unreached};
use crate::documents::wire::Request;
use crate::model::fleet::FleetHost;
use crate::model::ssh::SshTarget;

/// The way to one host.
#[derive(Debug, Default)]
struct Slot {
    /// The connection, once there is one.
    open: Mutex<Option<Arc<Connection>>>,
    /// In this run the host was there: it let us in, or opened a conversation.
    stood: AtomicBool,
}

impl Slot {
    fn stood(&self) -> bool {
        self.stood.load(Ordering::Relaxed)
    }

    fn stands(&self) {
        self.stood.store(true, Ordering::Relaxed);
    }
}

/// A connection to be used.
#[derive(Debug)]
struct Given {
    connection: Arc<Connection>,
    /// Made a moment ago. Any other one may lead nowhere by now.
    fresh: bool,
}

/// All hosts, by SSH.
#[derive(Debug)]
pub struct Ssh {
    options: Options,
    control: ControlFolder,
    source: PathBuf,
    program: OnceCell<Program>,
    slots: std::sync::Mutex<HashMap<String, Arc<Slot>>>,
}

impl Ssh {
    /// Hosts that lack the program are given the running one.
    ///
    /// # Errors
    /// There is no safe place for the sockets of connections.
    pub fn new(options: Options) -> io::Result<Self> {
        Ok(Self::with(options, ControlFolder::of_user()?, Program::own()))
    }

    /// The same with another folder for its sockets, and another program for hosts.
    pub fn with(options: Options, control: ControlFolder, source: PathBuf) -> Self {
        control.sweep();
        Self { options, control, source, program: OnceCell::new(), slots: std::sync::Mutex::default() }
    }

    /// What hosts are given; read once.
    async fn program(&self) -> Result<&Program, Trouble> {
        let read = || async {
            let source = self.source.clone();
            let read = tokio::task::spawn_blocking(move || Program::read(&source)).await;
            read.map_err(io::Error::other).and_then(|read| read).map_err(|error| {
                let message = format!("cannot read the running program (`{}`): {error}", self.source.display());
                Trouble::new(Broken::Program, message)
            })
        };
        self.program.get_or_try_init(read).await
    }

    fn slot(&self, target: &SshTarget) -> Arc<Slot> {
        let mut slots = self.slots.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        Arc::clone(slots.entry(target.as_str().to_owned()).or_default())
    }

    /// The connection to a host: that of the last request unless it has ended, one that was kept, or a new one.
    /// `connecting` is called before it is looked for.
    async fn connection(&self, target: &SshTarget, connecting: impl FnOnce()) -> Result<Given, Trouble> {
        let slot = self.slot(target);
        let mut open = slot.open.lock().await;
        if let Some(connection) = open.as_ref().filter(|connection| !connection.is_gone()) {
            return Ok(Given { connection: Arc::clone(connection), fresh: false });
        }
        *open = None;
        connecting();
        let place = self.control.place(target, &self.options);
        let connection = Arc::new(Connection::open(target, &self.options, place).await?);
        let fresh = !connection.old;
        if fresh {
            slot.stands();
        }
        *open = Some(Arc::clone(&connection));
        Ok(Given { connection, fresh })
    }

    /// Uses a connection no more, unless it was replaced already.
    async fn give_up(&self, target: &SshTarget, broken: &Arc<Connection>) {
        let slot = self.slot(target);
        let mut open = slot.open.lock().await;
        if open.as_ref().is_some_and(|open| Arc::ptr_eq(open, broken)) {
            *open = None;
        }
        drop(open);
        broken.close().await;
    }
}

impl Reach for Ssh {
    async fn ask(
        &self,
        host: &FleetHost,
        request: &Request,
        heard: &mut (dyn FnMut(HostSaid) + Send),
    ) -> Result<(), Unreached> {
        asking::Asking::new(self, host, request, heard).ask().await
    }

    /// Connections that nobody uses end by themselves after [`Options::idle`]; the next run within that
    /// time need not log in again. Without such a time they are closed here.
    async fn close(&self) {
        let slots: Vec<Arc<Slot>> = {
            let mut slots = self.slots.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            slots.drain().map(|(_, slot)| slot).collect()
        };
        for slot in slots {
            let open = slot.open.lock().await.take();
            if let Some(open) = open.filter(|_| self.options.idle.is_zero()) {
                open.close().await;
            }
        }
    }
}
