//! Asking one host: the port between the rollout and whatever carries its requests.
//!
//! In: a host and one request. Out: every line that its far side says, once and in order, and in between what the way
//! there is like. SSH implements it, and so does a simulated fleet.

use std::future::Future;
use std::time::Duration;

use crate::documents::wire::{Line, Request};
use crate::model::fleet::FleetHost;

/// What is heard while a host is asked.
#[derive(Debug, Clone)]
pub enum HostSaid {
    /// Something about the way to it, for people who wait.
    Connection(ConnectionNews),
    /// The next line of the far side. A reconnection repeats none and leaves none out. Boxed: a report is large.
    Line(Box<Line>),
}

/// What the way to a host is like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConnectionNews {
    /// A connection is being made.
    Connecting,
    /// The program is being copied to it.
    Copying {
        /// How large it is, in bytes.
        size: u64,
    },
    /// The connection broke; another one is tried after that pause. The far side goes on by itself meanwhile.
    Lost {
        /// What broke.
        why: String,
        /// Until the next try.
        again_in: Duration,
    },
    /// It is there again.
    Back,
    /// Worth knowing, and no failure: a cached program was not as it should be and was replaced, say.
    Note(String),
}

/// Where asking a host came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Broken {
    /// No connection: no such name, nobody answers, it took too long.
    Connect,
    /// The host's key is unknown, or not the one that is known.
    HostKey,
    /// The host does not let us in.
    Auth,
    /// There is no program of this version on it, and none could be brought there.
    Program,
    /// What answered does not speak this version of the wire.
    Wire,
    /// The connection broke in the middle and did not come back in time.
    Lost,
}

/// Why a host has not said all that it was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Unreached {
    /// Where it came to its end.
    pub broken: Broken,
    /// What happened and where, as a lower-case fragment.
    pub message: String,
    /// What to do.
    pub help: Option<String>,
    /// A pass may be in hand there: it was asked for, and nobody has heard of its end.
    pub in_hand: bool,
}

/// How hosts are asked.
pub trait Reach: Send + Sync {
    /// Has a host do what the request says and returns after the last line of its far side. Connections that
    /// break are made again, with pauses, for a bounded time; the request keeps its id, so that the far side goes on with
    /// the pass that it has in hand. Asked twice with the same id, it makes one pass. Dropped half-way, it leaves the far
    /// side to finish alone.
    ///
    /// # Errors
    /// The host could not be reached, or was lost for too long.
    fn ask(
        &self,
        host: &FleetHost,
        request: &Request,
        heard: &mut (dyn FnMut(HostSaid) + Send),
    ) -> impl Future<Output = Result<(), Unreached>> + Send;

    /// Closes what is kept open between two requests. What is asked afterwards opens it again.
    fn close(&self) -> impl Future<Output = ()> + Send;
}
