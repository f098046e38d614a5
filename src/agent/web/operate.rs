//! What changes things: through the unix socket, by the peer's credentials, and always by an order to the loop.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{Extension, FromRequest, FromRequestParts, Path, Query, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use futures_util::future::try_join_all;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::timeout;

use super::answer::{EXIT_CODE, Form, NOTE, Refusal, answer, document, note};
use super::api::find;
use super::connection::{Held, Hold};
use super::peer::Peer;
use super::{Texts, WebState};
use crate::agent::orders::{Asked, Operated, Operation, Order, Woken};
use crate::agent::view::Made;
use crate::documents::agent::Requested;
use crate::documents::pass::passes;
use crate::documents::suspension::Suspension;
use crate::documents::{List, pass};
use crate::model::app::App;
use crate::model::names::{AppName, ReleaseId};
use crate::model::report::{PassReport, worst};
use crate::model::wake::Wake;

/// How long an order may wait for its place.
const PATIENCE: Duration = Duration::from_secs(5);
/// Most bytes of a reason.
const REASON: usize = 1024;

/// How to wait and how wide the terminal is.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Manner {
    /// Wait for the end of the pass; true by default.
    wait: Option<bool>,
    /// Columns, for text.
    width: Option<usize>,
}

type Queried = Result<Query<Manner>, QueryRejection>;
type Body = Result<Bytes, BytesRejection>;

/// Which Apps.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Which {
    /// All of them by default.
    apps: Option<Vec<String>>,
    /// False by default.
    #[serde(default)]
    ignore_windows: bool,
}

/// How a release is taken back.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Back {
    to: Option<String>,
    reason: Option<String>,
}

/// Why an App is left alone.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Why {
    reason: Option<String>,
}

/// How a pass is made, or a release tried again.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Again {
    /// False by default.
    #[serde(default)]
    ignore_windows: bool,
}

/// Nothing is to be said.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}

/// Who asks, and how they want to be answered.
struct Caller {
    by: String,
    form: Form,
    wait: bool,
    width: Option<usize>,
    hold: Hold,
}

async fn caller(
    room: &WebState,
    peer: Peer,
    hold: Hold,
    asked: Queried,
    headers: &HeaderMap,
) -> Result<Caller, Refusal> {
    let by = room.web.operators.admit(peer, headers).await?;
    let Query(Manner { wait, width }) = asked.map_err(|error| {
        Refusal::new(StatusCode::BAD_REQUEST, error.body_text()).help("there are `wait=true|false` and `width=COLUMNS`")
    })?;
    Ok(Caller { by, form: Form::of(headers), wait: wait.unwrap_or(true), width, hold })
}

/// What somebody asks for who may change things.
pub(super) struct OperationRequest<T> {
    caller: Caller,
    /// What the body says.
    said: T,
}

impl<T: DeserializeOwned + Default> FromRequest<WebState> for OperationRequest<T> {
    type Rejection = Response;

    async fn from_request(request: Request, room: &WebState) -> Result<Self, Response> {
        let (mut parts, body) = request.into_parts();
        let Extension(peer) =
            Extension::from_request_parts(&mut parts, room).await.map_err(IntoResponse::into_response)?;
        let Extension(hold) =
            Extension::from_request_parts(&mut parts, room).await.map_err(IntoResponse::into_response)?;
        let asked = Query::from_request_parts(&mut parts, room).await;
        let caller = caller(room, peer, hold, asked, &parts.headers).await.map_err(IntoResponse::into_response)?;
        let body = Bytes::from_request(Request::from_parts(parts, body), room).await;
        Ok(Self { caller, said: said(body).map_err(IntoResponse::into_response)? })
    }
}

/// What a body says; an empty one says nothing.
fn said<T: DeserializeOwned + Default>(body: Body) -> Result<T, Refusal> {
    let bytes = body.map_err(|error| Refusal::new(error.status(), error.body_text()))?;
    if bytes.is_empty() {
        return Ok(T::default());
    }
    serde_json::from_slice(&bytes).map_err(|error| {
        Refusal::new(StatusCode::BAD_REQUEST, format!("the body is not as it should be: {error}"))
            .help("send a JSON object, or nothing; docs/api.md says what may be in it")
    })
}

fn reason(reason: Option<String>) -> Result<Option<String>, Refusal> {
    match reason {
        Some(long) if long.len() > REASON => {
            let message = format!("a reason may have {REASON} bytes, and this one has {}", long.len());
            Err(Refusal::new(StatusCode::BAD_REQUEST, message))
        }
        reason => Ok(reason.filter(|reason| !reason.trim().is_empty())),
    }
}

/// `POST /api/v1/reconcile`: passes over some Apps, or over all of them.
pub(super) async fn reconcile_all(
    State(room): State<WebState>,
    OperationRequest { caller, said: Which { apps, ignore_windows } }: OperationRequest<Which>,
) -> Result<Response, Refusal> {
    let apps = apps.map(|names| names.iter().map(|name| known(&room, name)).collect::<Result<_, _>>()).transpose()?;
    request(&room, &caller, apps, ignore_windows).await
}

/// `POST /api/v1/apps/NAME/reconcile`: a pass over one App.
pub(super) async fn reconcile(
    State(room): State<WebState>,
    Path(name): Path<String>,
    OperationRequest { caller, said: Again { ignore_windows } }: OperationRequest<Again>,
) -> Result<Response, Refusal> {
    let apps = vec![known(&room, &name)?];
    request(&room, &caller, Some(apps), ignore_windows).await
}

/// Without `apps`: over all that the manifests name.
async fn request(
    room: &WebState,
    caller: &Caller,
    apps: Option<Vec<AppName>>,
    ignore_windows: bool,
) -> Result<Response, Refusal> {
    let held = if caller.wait { Some(hold(room, caller)?) } else { None };
    let board = &room.web.board;
    let (woken, told) = oneshot::channel();
    let wake = Wake::Request { by: caller.by.clone(), ignore_windows };
    order(room, Order::Request(Asked { apps: apps.clone(), wake, woken })).await?;
    if held.is_none() {
        let names = apps.unwrap_or_else(|| board.names());
        let mut response = match caller.form {
            Form::Text => {
                let names: Vec<&str> = names.iter().map(AppName::as_str).collect();
                answer("text/plain; charset=utf-8", format!("asked for a pass over {}\n", names.join(", ")))
            }
            form => document(&Requested::new(&names), form)?,
        };
        *response.status_mut() = StatusCode::ACCEPTED;
        return Ok(response);
    }
    // When the loop ends it drops the reply channel.
    let Woken { apps, mark, problem } = room.unless_stopped(told).await?.map_err(|_| Refusal::stopping())?;
    let made = try_join_all(apps.iter().map(|name| board.requested(name, mark)));
    let made = room.unless_stopped(made).await?.map_err(|_| {
        Refusal::new(StatusCode::GONE, "an App has disappeared from the manifests before its pass was made")
    })?;
    let reports: Vec<(&App, &PassReport)> =
        made.iter().map(|made: &Arc<Made>| (&made.loaded.app, &*made.report)).collect();
    // What was done is not known to be what the newest manifests ask for.
    let not_the_newest = problem.is_some().then_some(1);
    let code = worst(reports.iter().map(|(_, report)| report.exit_code(false)).chain(not_the_newest));
    let mut response = if caller.form == Form::Text {
        let texts = reports.iter().map(|(app, report)| (room.web.texts.pass)(app, report, caller.width));
        answer("text/plain; charset=utf-8", texts.collect())
    } else {
        let items = reports.iter().map(|(_, report)| pass::pass(report)).collect();
        document(&List::new("PassReportList", items), caller.form)?
    };
    if let Some(note) = problem.and_then(|problem| note(&problem)) {
        response.headers_mut().insert(NOTE, note);
    }
    Ok(with_code(response, code))
}

/// `POST /api/v1/apps/NAME/rollback`: takes the desired release back.
pub(super) async fn rollback(
    State(room): State<WebState>,
    Path(name): Path<String>,
    OperationRequest { caller, said: Back { to, reason: why } }: OperationRequest<Back>,
) -> Result<Response, Refusal> {
    let to = to.map(ReleaseId::new).transpose();
    let to = to.map_err(|error| Refusal::new(StatusCode::BAD_REQUEST, format!("a release's id is {error}")))?;
    let what = Operation::Rollback { to, reason: reason(why)?, by: caller.by.clone() };
    operate(&room, &caller, &name, what).await
}

/// `POST /api/v1/apps/NAME/retry`: tries the desired release again.
pub(super) async fn retry(
    State(room): State<WebState>,
    Path(name): Path<String>,
    OperationRequest { caller, said: Again { ignore_windows } }: OperationRequest<Again>,
) -> Result<Response, Refusal> {
    let what = Operation::Retry { ignore_windows, by: caller.by.clone() };
    operate(&room, &caller, &name, what).await
}

/// `POST /api/v1/apps/NAME/suspend`: leaves the App alone.
pub(super) async fn suspend(
    State(room): State<WebState>,
    Path(name): Path<String>,
    OperationRequest { caller, said: Why { reason: why } }: OperationRequest<Why>,
) -> Result<Response, Refusal> {
    let what = Operation::Suspend { reason: reason(why)?, by: caller.by.clone() };
    operate(&room, &caller, &name, what).await
}

/// `POST /api/v1/apps/NAME/resume`: acts on the App again.
pub(super) async fn resume(
    State(room): State<WebState>,
    Path(name): Path<String>,
    OperationRequest { caller, said: Nothing {} }: OperationRequest<Nothing>,
) -> Result<Response, Refusal> {
    let what = Operation::Resume { by: caller.by.clone() };
    operate(&room, &caller, &name, what).await
}

async fn operate(room: &WebState, caller: &Caller, name: &str, what: Operation) -> Result<Response, Refusal> {
    let one = find(&room.web.board.view(), name)?.clone();
    let app = &one.loaded.app;
    let back = matches!(what, Operation::Rollback { .. });
    let texts = room.web.texts;
    // What a pass looks like on a terminal depends on what it was asked for.
    let texts = if matches!(what, Operation::Retry { .. }) { Texts { pass: texts.retried, ..texts } } else { texts };
    let _held = hold(room, caller)?;
    let (reply, replied) = oneshot::channel();
    order(room, Order::Operate { app: app.name.clone(), what, reply }).await?;
    // When the loop ends it drops the reply channel.
    let done = room.unless_stopped(replied).await?.map_err(|_| Refusal::stopping())??;
    answered(&texts, caller, app, &done, back)
}

fn answered(texts: &Texts, caller: &Caller, app: &App, done: &Operated, back: bool) -> Result<Response, Refusal> {
    let text = caller.form == Form::Text;
    let plain = |text: String| Ok(answer("text/plain; charset=utf-8", text));
    let (response, code) = match done {
        Operated::Passed(report) => {
            let response = if text {
                plain((texts.pass)(app, report, caller.width))
            } else {
                document(&passes(std::slice::from_ref(report)), caller.form)
            };
            (response, if back { report.exit_code_of_rollback() } else { report.exit_code(false) })
        }
        Operated::NotKeptOut if text => (plain((texts.not_kept_out)(app)), 0),
        Operated::NotKeptOut => (document(&passes(&[]), caller.form), 0),
        Operated::Suspension { before, now } if text => {
            (plain((texts.suspension)(app, before.as_deref(), now.as_deref())), 0)
        }
        Operated::Suspension { before, now } => {
            (document(&Suspension::new(app, before.as_deref(), now.as_deref()), caller.form), 0)
        }
    };
    Ok(with_code(response?, code))
}

/// Tells the loop; it is busy for moments only.
async fn order(room: &WebState, order: Order) -> Result<(), Refusal> {
    match timeout(PATIENCE, room.web.orders.send(order)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(Refusal::stopping()),
        Err(_) => {
            let refusal = Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "the agent is too busy to listen");
            Err(refusal.help("ask again in a moment; its log tells what it does").again(5))
        }
    }
}

/// An App over which passes are made; of one that leaves, those that stop its workers.
fn known(room: &WebState, name: &str) -> Result<AppName, Refusal> {
    let view = room.web.board.view();
    let one = find(&view, name)?;
    if !one.orphaned || one.leaving {
        return Ok(one.loaded.app.name.clone());
    }
    let message = format!("`{}` has disappeared from the manifests: no passes are made over it", one.loaded.app.name);
    Err(Refusal::new(StatusCode::CONFLICT, message).help("put it back into the manifests"))
}

/// A place among those whose answers are held back, and the connection's leave to live on.
fn hold(room: &WebState, caller: &Caller) -> Result<(OwnedSemaphorePermit, Held), Refusal> {
    let Ok(place) = Arc::clone(&room.held).try_acquire_owned() else {
        let refusal = Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "too many wait for the agent already");
        return Err(refusal.help("ask without waiting: `wait=false`, or `--no-wait`").again(5));
    };
    Ok((place, caller.hold.hold()))
}

fn with_code(mut response: Response, code: u8) -> Response {
    response.headers_mut().insert(EXIT_CODE, HeaderValue::from(u16::from(code)));
    response.into_response()
}
