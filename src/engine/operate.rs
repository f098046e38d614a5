//! What a person asks for: something is written down under the lock, and a pass follows from it.
//!
//! In: an App and what is asked for. Out: the pass that was made, or what has changed. Everything goes into the
//! journal under the name of that pass. A kill in between leaves a record that the next pass obeys.

use std::time::Duration;

use jiff::Timestamp;
use tracing::warn;

use crate::decide::operate::{take_back, try_again};
use crate::engine::events::Listener;
use crate::engine::pass::{Begun, Request, go_on, name};
use crate::model::app::App;
use crate::model::journal::{JournalEntry, JournalEvent};
use crate::model::names::ReleaseId;
use crate::model::record::Judge;
use crate::model::report::PassReport;
use crate::ports::{Host, HostError, HostErrorKind};

/// How a release is taken back.
#[derive(Debug, Clone)]
pub struct TakeBack {
    /// Which release to go back to; none: the last proven one.
    pub to: Option<ReleaseId>,
    /// Why.
    pub reason: String,
}

/// Why a release was taken back, for the status and the history.
#[must_use]
pub fn reason_to_take_back(reason: Option<&str>, by: &str) -> String {
    said(reason).map_or_else(|| format!("no reason was given by {by}"), str::to_owned)
}

/// A reason that says something.
fn said(reason: Option<&str>) -> Option<&str> {
    reason.filter(|reason| !reason.trim().is_empty())
}

/// Why an App is left alone, for the status and the history.
fn reason_to_suspend(reason: Option<&str>, by: &str, now: Timestamp) -> String {
    format!("{} ({by}, since {})", reason.unwrap_or("by hand"), now.strftime("%Y-%m-%d %H:%M:%S UTC"))
}

/// Keeps the desired release out and converges to a proven one.
///
/// # Errors
/// The App is suspended, the release is not in force, there is no way back, or the host refuses; then nothing
/// has changed.
pub async fn rollback<H: Host>(
    host: &H,
    app: &App,
    how: &TakeBack,
    request: &Request,
    listener: &dyn Listener,
) -> Result<PassReport, HostError> {
    let (lock, at) = begin(host, app, request.wait).await?;
    acts(host, app).await?;
    let (layout, records) = (host.layout(app).await?, host.records(&app.root).await?);
    let record = take_back(app, &layout, &records, how.to.as_ref(), &how.reason, at).map_err(|problem| HostError {
        kind: HostErrorKind::NotApplicable,
        message: problem.message,
        help: problem.help,
    })?;
    host.record(&app.root, &record).await?;
    let (release, reason) = (record.id, how.reason.clone());
    note(host, app, at, JournalEvent::Quarantined { release, reason, by: Judge::Operator }).await;
    // A way back is gone at any time.
    let request = Request { withheld: None, ignore_windows: true, ..request.clone() };
    Ok(go_on(host, app, Begun { lock, at, taken_back: true }, &request, listener).await)
}

/// Lets the desired release be tried again, and tries it; none when it is not kept out.
///
/// # Errors
/// What the host refuses; then nothing has changed.
pub async fn retry<H: Host>(
    host: &H,
    app: &App,
    request: &Request,
    listener: &dyn Listener,
) -> Result<Option<PassReport>, HostError> {
    let (lock, at) = begin(host, app, request.wait).await?;
    let records = host.records(&app.root).await?;
    let Some(record) = try_again(app, &records) else { return Ok(None) };
    host.record(&app.root, &record).await?;
    note(host, app, at, JournalEvent::QuarantineLifted { release: record.id }).await;
    Ok(Some(go_on(host, app, Begun { lock, at, taken_back: false }, request, listener).await))
}

/// Why an App is left alone on this host; none where it is not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suspended {
    /// Until now.
    pub before: Option<String>,
    /// From now on.
    pub now: Option<String>,
}

/// Leaves the App alone on this host from now on, for that reason; whoever gives none does not take away the reason
/// that stands.
///
/// # Errors
/// What the host refuses; then nothing has changed.
pub async fn suspend<H: Host>(
    host: &H,
    app: &App,
    reason: Option<&str>,
    by: &str,
    wait: Duration,
) -> Result<Suspended, HostError> {
    let (_lock, at) = begin(host, app, wait).await?;
    let mut memory = host.recall(&app.root).await?;
    let before = memory.suspended.take();
    let reason = said(reason);
    if reason.is_none() && before.is_some() {
        return Ok(Suspended { now: before.clone(), before });
    }
    let reason = reason_to_suspend(reason, by, at);
    memory.suspended = Some(reason.clone());
    host.remember(&app.root, &memory).await?;
    note(host, app, at, JournalEvent::Suspended { reason: reason.clone() }).await;
    Ok(Suspended { before, now: Some(reason) })
}

/// Acts on the App again.
///
/// # Errors
/// What the host refuses; then nothing has changed.
pub async fn resume<H: Host>(host: &H, app: &App, wait: Duration) -> Result<Suspended, HostError> {
    let (_lock, at) = begin(host, app, wait).await?;
    let mut memory = host.recall(&app.root).await?;
    let before = memory.suspended.take();
    if before.is_some() {
        host.remember(&app.root, &memory).await?;
        note(host, app, at, JournalEvent::Resumed).await;
    }
    Ok(Suspended { before, now: None })
}

async fn begin<H: Host>(host: &H, app: &App, wait: Duration) -> Result<(H::Lock, Timestamp), HostError> {
    let lock = host.lock(&app.root, wait).await?;
    Ok((lock, host.now()))
}

/// A pass over a suspended App would change nothing: better to say so before a record promises otherwise.
async fn acts<H: Host>(host: &H, app: &App) -> Result<(), HostError> {
    let (why, help) = match host.recall(&app.root).await?.suspended {
        Some(why) => (why, format!("let it be acted on again first: `trueup resume {}`", app.name)),
        None if app.sync.suspend => {
            let why = app.sync.reason.as_ref().map(|why| format!(" ({why})")).unwrap_or_default();
            (format!("`spec.sync.suspend`{why}"), "remove that from the manifest first".to_owned())
        }
        None => return Ok(()),
    };
    Err(HostError::new(HostErrorKind::NotApplicable, format!("`{}` is suspended: {why}", app.name)).with_help(help))
}

async fn note<H: Host>(host: &H, app: &App, at: Timestamp, event: JournalEvent) {
    let entry = JournalEntry { at, pass: name(host, at), app: app.name.clone(), event };
    if let Err(error) = host.journal(&app.root, &entry).await {
        // What was asked for counts more than its history, on a full disk most of all.
        warn!(%error, "cannot write the journal");
    }
}
