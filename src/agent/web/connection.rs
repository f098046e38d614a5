//! Connections: how many there may be, and for how long, so that slow clients hold nothing up.
//!
//! Ports and the socket have places of their own: whoever takes all of the one does not keep the other's clients out.
//! Headers must arrive within seconds and be small; a connection ends after a minute, unless an answer is held back on
//! purpose. A client that does not read its answer is left.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{debug, warn};

use super::listen::{Port, Reach};
use super::peer::Peer;
use super::socket::Socket;

/// How connections are bounded.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// How many there may be at one door; more wait until they are let in.
    pub(super) connections: usize,
    /// How long the head of a request may take to arrive.
    pub(super) head: Duration,
    /// How long a connection may live.
    pub(super) life: Duration,
    /// How long an answer may then still take, and all of them once the agent ends.
    pub(super) grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 64,
            head: Duration::from_secs(10),
            life: Duration::from_mins(1),
            grace: Duration::from_secs(5),
        }
    }
}

/// Most bytes of a request's head that are kept in memory.
const HEAD: usize = 16 * 1024;
/// Most headers of a request.
const HEADERS: usize = 64;
/// How often a connection whose answer is held back is looked at again.
const LOOK: Duration = Duration::from_secs(1);
/// The pause after a connection could not be accepted: with no descriptors left, the next one would fail as well.
const PAUSE: Duration = Duration::from_millis(200);

/// Where connections come in.
#[derive(Debug)]
pub enum Door {
    /// The unix socket.
    Socket(Socket),
    /// A port.
    Port(Port),
}

/// While any of these is there, an answer is held back on purpose, and its connection may live on.
#[derive(Debug, Clone, Default)]
pub(super) struct Hold(Arc<AtomicUsize>);

/// One answer that is held back.
#[derive(Debug)]
pub(super) struct Held(Arc<AtomicUsize>);

impl Hold {
    pub(super) fn hold(&self) -> Held {
        self.0.fetch_add(1, Ordering::Relaxed);
        Held(Arc::clone(&self.0))
    }

    fn is_held(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 0
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Serves whoever comes in until `stop` turns true; then what is under way is ended.
pub(super) async fn serve(door: Door, router: Router, limits: Limits, mut stop: watch::Receiver<bool>) {
    let places = Arc::new(Semaphore::new(limits.connections));
    let mut open = JoinSet::new();
    loop {
        let next = async {
            // Never closed, so this is never an error.
            let place = Arc::clone(&places).acquire_owned().await.ok()?;
            Some((place, door.accept().await))
        };
        tokio::select! {
            () = stopped(&mut stop) => break,
            Some(_) = open.join_next(), if !open.is_empty() => {}
            accepted = next => match accepted {
                Some((place, Ok(stream))) => {
                    let (router, stop) = (router.clone(), stop.clone());
                    open.spawn(async move {
                        match stream {
                            Stream::Unix(stream, peer) => converse(stream, peer, router, limits, stop).await,
                            Stream::Tcp(stream, peer) => converse(stream, peer, router, limits, stop).await,
                        }
                        drop(place);
                    });
                }
                Some((place, Err(error))) => {
                    warn!(%error, "cannot accept a connection");
                    drop(place);
                    sleep(PAUSE).await;
                }
                None => break,
            },
        }
    }
    // Nobody new is let in.
    drop(door);
    while open.join_next().await.is_some() {}
}

/// Returns once it is to end; also when nobody is left who could say so.
pub(super) async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

enum Stream {
    Unix(UnixStream, Peer),
    Tcp(TcpStream, Peer),
}

impl Door {
    async fn accept(&self) -> std::io::Result<Stream> {
        match self {
            Self::Socket(socket) => {
                let (stream, _) = socket.listener.accept().await?;
                let peer = stream.peer_cred()?;
                Ok(Stream::Unix(stream, Peer::Local { uid: peer.uid(), gid: peer.gid() }))
            }
            Self::Port(Port { listener, reach }) => {
                let (stream, from) = listener.accept().await?;
                Ok(Stream::Tcp(stream, Peer::Network { from, reach: *reach }))
            }
        }
    }
}

async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    peer: Peer,
    router: Router,
    limits: Limits,
    mut stop: watch::Receiver<bool>,
) {
    let hold = Hold::default();
    let inner = TowerToHyperService::new(router);
    let told = hold.clone();
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer);
        request.extensions_mut().insert(told.clone());
        inner.call(request)
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(limits.head).max_buf_size(HEAD).max_headers(HEADERS);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let (mut deadline, mut closing, mut stopping) = (Instant::now() + limits.life, false, false);
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    debug!(?peer, %error, "a connection broke off");
                }
                return;
            }
            () = stopped(&mut stop), if !stopping => {
                (stopping, closing, deadline) = (true, true, Instant::now() + limits.grace);
                connection.as_mut().graceful_shutdown();
            }
            () = sleep_until(deadline) => {
                if hold.is_held() && !stopping {
                    deadline = Instant::now() + LOOK;
                } else if closing {
                    debug!(?peer, "a slow connection was left");
                    return;
                } else {
                    (closing, deadline) = (true, Instant::now() + limits.grace);
                    connection.as_mut().graceful_shutdown();
                }
            }
        }
    }
}

/// Whether a `Host` header names this host and not somebody's domain: a page in a browser on this host could else read
/// from the port by a name of its own that leads here.
pub(super) fn may_ask(peer: Peer, host: Option<&str>) -> bool {
    let Peer::Network { reach: Reach::Loopback, .. } = peer else { return true };
    let Some(host) = host else { return true };
    let name = match host.strip_prefix('[') {
        Some(bracketed) => bracketed.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<std::net::IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_others_are_refused_at_the_loopback_alone() {
        let network = |reach| Peer::Network { from: "127.0.0.1:1".parse().unwrap(), reach };
        let rows = [
            (Some("localhost:9180"), true),
            (Some("LOCALHOST"), true),
            (Some("127.0.0.1:9180"), true),
            (Some("[::1]:9180"), true),
            (None, true),
            (Some("evil.example:9180"), false),
            (Some("127.0.0.1.evil.example"), false),
            (Some(""), false),
        ];
        for (host, may) in rows {
            assert_eq!(may_ask(network(Reach::Loopback), host), may, "{host:?}");
            assert!(may_ask(network(Reach::Anywhere), host));
            assert!(may_ask(Peer::Local { uid: 0, gid: 0 }, host));
        }
    }
}
