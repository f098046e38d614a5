//! What is to be read: the same documents that the verbs print, out of the loop's last look.

use std::borrow::Cow;
use std::path::{Path, absolute};
use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Extension, Path as InPath, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::WebState;
use super::answer::{Form, Refusal, document};
use super::past::Archive;
use super::peer::Peer;
use crate::agent::view::{AppView, View};
use crate::decide::history::{asked_to_end, history as passes};
use crate::decide::standing::{self, Standing};
use crate::decide::status::mark_draining;
use crate::documents::agent::{Agent, LastPass, Overview, Running};
use crate::documents::app::{self as apps_document, left_alone, unobserved};
use crate::documents::history::{History, PASSES, Past};
use crate::documents::{API_VERSION, List, pass};
use crate::manifest::mask;
use crate::model::names::Root;
use crate::model::nearest::suggestion;
use crate::model::status::{AppStatus, WorkerVerdict};

/// `/api/v1/apps`: all Apps, each with its status.
pub(super) async fn apps(
    State(room): State<WebState>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let view = room.web.board.view();
    let mut items = Vec::with_capacity(view.apps.len());
    for one in &view.apps {
        items.push(told(&apps_document::document(&one.loaded, &status(one, &view, &room.archive).await?), peer)?);
    }
    document(&List::new("AppList", items), Form::of(&headers))
}

/// `/api/v1/apps/NAME`: one App with its status.
pub(super) async fn app(
    State(room): State<WebState>,
    Extension(peer): Extension<Peer>,
    InPath(name): InPath<String>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let view = room.web.board.view();
    let one = find(&view, &name)?;
    let status = status(one, &view, &room.archive).await?;
    let whole = apps_document::document(&one.loaded, &status);
    match peer {
        Peer::Local { .. } => document(&whole, Form::of(&headers)),
        Peer::Network { .. } => document(&told(&whole, peer)?, Form::of(&headers)),
    }
}

/// `/api/v1/apps/NAME/diff`: what differs, and what would be done about it.
pub(super) async fn diff(
    State(room): State<WebState>,
    InPath(name): InPath<String>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let view = room.web.board.view();
    let one = find(&view, &name)?;
    if is_left_alone(one) {
        let refusal = Refusal::new(
            StatusCode::CONFLICT,
            format!("`{name}` has disappeared from the manifests: nothing looks after it"),
        );
        return Err(refusal.help("put it back into the manifests"));
    }
    let Some(made) = &one.last else {
        let refusal = Refusal::new(StatusCode::SERVICE_UNAVAILABLE, format!("`{name}` was not looked at yet"));
        return Err(refusal.help("ask again in a moment").again(1));
    };
    document(&pass::pass(&pass::as_left(&made.loaded.app, &made.report)), Form::of(&headers))
}

/// How much of a history; 0: all of it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Length {
    last: Option<usize>,
}

/// `/api/v1/apps/NAME/history`: what passes did.
pub(super) async fn history(
    State(room): State<WebState>,
    InPath(name): InPath<String>,
    length: Result<Query<Length>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let Query(Length { last }) = length.map_err(|error| {
        Refusal::new(StatusCode::BAD_REQUEST, error.body_text()).help("`last` is a number; 0 asks for all")
    })?;
    let view = room.web.board.view();
    let loaded = Arc::clone(&find(&view, &name)?.loaded);
    let last = Some(last.unwrap_or(PASSES)).filter(|last| *last > 0);
    let (root, form) = (loaded.app.root.clone(), Form::of(&headers));
    let told = room.archive.read(root, move |entries| {
        let app = &loaded.app;
        let passes = passes(&app.name, entries, last);
        document(&History::from(Past { app: &app.name, root: &app.root, passes: &passes }), form)
    });
    told.await?
}

/// `/api/v1/agent`: the agent itself.
pub(super) async fn agent(State(room): State<WebState>, headers: HeaderMap) -> Result<Response, Refusal> {
    let view = room.web.board.view();
    let agent = Agent {
        api_version: API_VERSION,
        kind: "Agent",
        version: &view.version,
        started: view.started,
        ready: view.ready,
        revision: view.revision.as_ref(),
        refused: view.refused.as_ref(),
        unreachable: view.unreachable.as_ref(),
        configuration: &view.configuration,
        apps: view.apps.iter().map(|one| overview(one, &view)).collect(),
    };
    document(&agent, Form::of(&headers))
}

fn overview<'a>(one: &'a AppView, view: &'a View) -> Overview<'a> {
    let of_a_commit = view.revision.is_some();
    let last = one.last.as_ref().map(|made| LastPass {
        pass: made.report.pass.clone(),
        began: made.report.began,
        took_ms: made.report.took.as_millis(),
        outcome: made.report.outcome,
    });
    let source = &one.loaded.source;
    // What the agent's own directory has to do with it, nobody outside could tell.
    let file = |path: &'a Path| match absolute(path) {
        Ok(full) if !of_a_commit => Cow::Owned(full),
        _ => Cow::Borrowed(path),
    };
    Overview {
        name: &one.loaded.app.name,
        root: &one.loaded.app.root,
        former_roots: view.former_roots_of(&one.loaded.app.name).collect(),
        file: source.path.as_deref().map(file),
        line: source.line,
        orphaned: one.orphaned,
        leaving: one.leaving,
        pending: &one.pending,
        running: one.running.as_ref().map(|running| Running { since: running.since, wakes: &running.turn.wakes }),
        last,
        waiting: one.waiting.as_deref(),
        last_success: one.last_success,
        schedule: one.schedule.as_ref(),
    }
}

/// The App of that name.
pub(super) fn find<'a>(view: &'a View, name: &str) -> Result<&'a AppView, Refusal> {
    view.apps.iter().find(|one| one.loaded.app.name.as_str() == name).ok_or_else(|| {
        let refusal = Refusal::new(StatusCode::NOT_FOUND, format!("the agent knows no App `{name}`"));
        let names: Vec<&str> = view.apps.iter().map(|one| one.loaded.app.name.as_str()).collect();
        if names.is_empty() {
            refusal.help("there are no manifests yet")
        } else {
            refusal.help(suggestion(name, &names))
        }
    })
}

/// What the last pass saw, and what the agent knows besides.
async fn status(one: &AppView, view: &View, archive: &Archive) -> Result<AppStatus, Refusal> {
    let mut status = quick_status(one, view)?;
    let mut members = status.workers.iter().flat_map(|group| &group.members);
    if members.any(|member| member.verdict == WorkerVerdict::Stale) {
        let (root, name) = (one.loaded.app.root.clone(), one.loaded.app.name.clone());
        let leaving = archive.read(root, move |entries| asked_to_end(&name, entries));
        // Without its journal the status is as true as before, and says less.
        mark_draining(&mut status, &leaving.await.unwrap_or_default());
    }
    Ok(status)
}

/// The same without a look into the journal.
pub(super) fn quick_status(one: &AppView, view: &View) -> Result<AppStatus, Refusal> {
    let status = match &one.last {
        _ if is_left_alone(one) => left_alone(&one.loaded),
        Some(made) => apps_document::status(&made.loaded, &made.report),
        None => unobserved(&one.loaded, "the agent has not looked yet"),
    };
    let mut status = status
        .map_err(|error| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, format!("cannot name the spec: {error}")))?;
    let former_roots: Vec<&Root> = view.former_roots_of(&one.loaded.app.name).collect();
    let standing = Standing {
        former_roots: &former_roots,
        running: one.running.as_ref().map(|running| running.turn.wakes.as_slice()),
        waiting: one.waiting.as_deref(),
        // Whoever asks often must not have the agent read a root each time.
        at_work: None,
        behind: one.last.as_ref().is_some_and(|made| made.behind),
        orphaned: one.orphaned,
        leaving: one.leaving,
        refused: view.refused.as_ref().map(|problem| problem.message.as_str()),
        schedule: one.schedule.as_ref(),
    };
    standing::add(&mut status, &standing);
    Ok(status)
}

/// It has disappeared from the manifests, and nothing looks after it; one that leaves is looked after to the end.
fn is_left_alone(one: &AppView) -> bool {
    one.orphaned && !one.leaving
}

/// A document as that peer may see it: a port is open to every user of the host, and manifests may not be.
fn told(whole: &impl Serialize, peer: Peer) -> Result<Value, Refusal> {
    let mut value = serde_json::to_value(whole).map_err(|error| {
        Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, format!("cannot write the document: {error}"))
    })?;
    if let (Peer::Network { .. }, Some(spec)) = (peer, value.get_mut("spec")) {
        mask(spec);
    }
    Ok(value)
}
