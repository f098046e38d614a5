//! The agent as others see it: health, metrics, the API, webhooks.
//!
//! In: the [`Board`], where the loop writes what it knows, and a way to give it orders. Out: answers over HTTP, on a
//! unix socket and, where that is asked for, on a port. Reading is for everybody who gets in; what changes things goes
//! through the socket alone, by what the kernel says of the peer; a webhook needs its secret. Nothing in here makes the
//! loop wait. `docs/api.md` describes it to those who use it. Begin at [`serve`].

mod answer;
mod api;
mod connection;
mod forges;
mod listen;
mod metrics;
mod operate;
mod past;
mod peer;
mod seen;
mod socket;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod webhooks;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::http::header::{CONTENT_LENGTH, HOST};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use tokio::sync::{Semaphore, watch};

pub use self::answer::{EXIT_CODE, NOTE};
pub use self::connection::Door;
pub use self::forges::Watched;
pub use self::listen::{Port, Reach};
pub use self::peer::{Operators, PERSON};
pub use self::socket::{PLACE, Socket};
pub use self::webhooks::Webhooks;

use self::answer::Refusal;
use self::connection::{Limits, may_ask, stopped};
use self::past::Archive;
use self::peer::Peer;
use self::webhooks::Inbox;
use super::board::Board;
use super::orders::Orders;
use crate::model::app::App;
use crate::model::journal::JournalEntry;
use crate::model::names::Root;
use crate::model::report::PassReport;
use crate::ports::HostError;

/// Reads the journal of a root, oldest first.
pub type Journals = Arc<
    dyn Fn(Root) -> Pin<Box<dyn Future<Output = Result<Vec<JournalEntry>, HostError>> + Send>>
        + Send
        + std::marker::Sync,
>;

/// How results look on a terminal: in colour, in at most so many columns where that is possible.
#[derive(Debug, Clone, Copy)]
pub struct Texts {
    /// A pass.
    pub pass: fn(&App, &PassReport, Option<usize>) -> String,
    /// A pass of a release that may be tried again.
    pub retried: fn(&App, &PassReport, Option<usize>) -> String,
    /// Why the App was left alone before, and why it is now.
    pub suspension: fn(&App, Option<&str>, Option<&str>) -> String,
    /// There was nothing to try again.
    pub not_kept_out: fn(&App) -> String,
}

/// What the web stands on.
#[derive(Clone)]
pub struct Web {
    /// What is told.
    pub board: Board,
    /// Where orders go.
    pub orders: Orders,
    /// Where history comes from.
    pub journals: Journals,
    /// The forges that are believed; others, once the agent's own configuration was read again.
    pub webhooks: watch::Receiver<Webhooks>,
    /// Who may change things, besides root and the agent's own user.
    pub operators: Operators,
    /// For terminals.
    pub texts: Texts,
}

/// What handlers share.
#[derive(Clone)]
struct WebState {
    web: Arc<Web>,
    inbox: Arc<Inbox>,
    archive: Archive,
    stop: watch::Receiver<bool>,
    /// Answers that may be held back at a time; fewer than connections, so that others are still let in.
    held: Arc<Semaphore>,
}

/// Most answers that are held back at a time.
const HELD: usize = 32;
/// Most bytes of a body, but for webhooks.
const BODY: usize = 16 * 1024;
/// Most bytes of a webhook's body.
const WEBHOOK_BODY: usize = 1024 * 1024;

/// Serves at these doors until `stop` is done, and then no longer than a few seconds.
pub async fn serve(doors: Vec<Door>, web: Web, stop: impl Future<Output = ()> + Send) {
    let (ending, ended) = watch::channel(false);
    let router = router(web, ended.clone());
    let serving =
        doors.into_iter().map(|door| connection::serve(door, router.clone(), Limits::default(), ended.clone()));
    let serving = futures_util::future::join_all(serving);
    let tell = async {
        stop.await;
        let _ = ending.send(true);
    };
    tokio::join!(serving, tell);
}

fn router(web: Web, stop: watch::Receiver<bool>) -> Router {
    let archive = Archive::new(Arc::clone(&web.journals));
    let held = Arc::new(Semaphore::new(HELD));
    let room = WebState { inbox: Arc::default(), archive, web: Arc::new(web), stop, held };
    let reading = Router::new()
        .route("/metrics", get(metrics::metrics))
        .route("/api/v1/agent", get(api::agent))
        .route("/api/v1/apps", get(api::apps))
        .route("/api/v1/apps/{name}", get(api::app))
        .route("/api/v1/apps/{name}/diff", get(api::diff))
        .route("/api/v1/apps/{name}/history", get(api::history))
        .route("/api/v1/reconcile", post(operate::reconcile_all))
        .route("/api/v1/apps/{name}/reconcile", post(operate::reconcile))
        .route("/api/v1/apps/{name}/rollback", post(operate::rollback))
        .route("/api/v1/apps/{name}/retry", post(operate::retry))
        .route("/api/v1/apps/{name}/suspend", post(operate::suspend))
        .route("/api/v1/apps/{name}/resume", post(operate::resume))
        .layer(DefaultBodyLimit::max(BODY))
        .route_layer(from_fn(bounded))
        .route_layer(from_fn_with_state(room.clone(), guard));
    let webhooks =
        Router::new().route("/webhooks/{forge}", post(webhooks::arrived)).layer(DefaultBodyLimit::max(WEBHOOK_BODY));
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .merge(reading)
        .merge(webhooks)
        .method_not_allowed_fallback(wrong_method)
        .fallback(unknown)
        .layer(from_fn_with_state(room.clone(), count))
        .with_state(room)
}

/// Whether the loop is there at all.
async fn healthz(State(room): State<WebState>) -> Response {
    if room.web.orders.is_closed() {
        let refusal = Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "the agent makes no passes any more");
        return refusal.help("look into its log, and restart it").into_response();
    }
    answer::answer("text/plain; charset=utf-8", "ok\n".to_owned())
}

/// Whether manifests are in force and the loop is at work.
async fn readyz(State(room): State<WebState>) -> Response {
    if !room.web.board.view().ready || room.web.orders.is_closed() {
        let refusal = Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "the agent is not at work yet, or about to end");
        return refusal.again(1).into_response();
    }
    answer::answer("text/plain; charset=utf-8", "ok\n".to_owned())
}

async fn wrong_method(request: Request) -> Refusal {
    let (method, path) = (request.method(), request.uri().path());
    let help = if *method == Method::POST {
        "this is only read: use GET"
    } else {
        "this changes something: use POST, through the unix socket; webhooks are POSTed, too"
    };
    Refusal::new(StatusCode::METHOD_NOT_ALLOWED, format!("`{path}` does not take {method}")).help(help)
}

async fn unknown(request: Request) -> Refusal {
    let message = format!("there is nothing at `{}`", request.uri().path());
    Refusal::new(StatusCode::NOT_FOUND, message).help(
        "there are /healthz, /readyz, /metrics, /api/v1/agent, /api/v1/apps, /api/v1/apps/NAME, .../diff and \
         .../history; for POST /api/v1/reconcile, /api/v1/apps/NAME/reconcile, .../rollback, .../retry, .../suspend \
         and .../resume, and /webhooks/gitlab, github and gitea",
    )
}

/// Keeps pages of others out of what is to be read on this host.
async fn guard(State(room): State<WebState>, request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<Peer>().copied();
    let host = request.headers().get(HOST).map(|host| host.to_str().unwrap_or_default());
    match peer {
        Some(peer) if may_ask(peer, host) => {
            // An agent that ends answers what it can, and begins nothing.
            if *request.method() == Method::POST && *room.stop.borrow() {
                return Refusal::stopping().into_response();
            }
            next.run(request).await
        }
        _ => {
            let message = "this port answers those who ask for this host by its loopback address";
            let help = "ask for 127.0.0.1 or localhost; let a reverse proxy send `Host: localhost`";
            Refusal::new(StatusCode::MISDIRECTED_REQUEST, message).help(help).into_response()
        }
    }
}

/// Refuses a body that says that it is too large before any of it is read; what says nothing is cut off later.
async fn bounded(request: Request, next: Next) -> Response {
    match too_large(BODY, request.headers()) {
        Some(refusal) => refusal.into_response(),
        None => next.run(request).await,
    }
}

fn too_large(limit: usize, headers: &HeaderMap) -> Option<Refusal> {
    let length = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    let message = || format!("a body may have {limit} bytes here");
    length.filter(|length| *length > limit as u64).map(|_| Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, message()))
}

async fn count(State(room): State<WebState>, request: Request, next: Next) -> Response {
    let path =
        request.extensions().get::<MatchedPath>().map_or_else(|| "other".to_owned(), |at| at.as_str().to_owned());
    let method = match *request.method() {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        _ => "other",
    };
    let response = next.run(request).await;
    room.web.board.counters().answered(&path, method, response.status().as_u16());
    response
}

impl WebState {
    /// Waits for something, unless the agent ends before.
    async fn unless_stopped<T>(&self, what: impl Future<Output = T>) -> Result<T, Refusal> {
        let mut stop = self.stop.clone();
        tokio::select! {
            biased;
            done = what => Ok(done),
            () = stopped(&mut stop) => Err(Refusal::stopping()),
        }
    }
}
