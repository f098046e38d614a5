//! Several Apps at once: they share one look at the host, and each goes on by itself from there.
//!
//! In: Apps, each with its request. Out: one [`PassReport`] for each, handed over as soon as that App's pass has ended.
//! What all share is what costs: one walk over the processes, one question to each manager. Nobody waits for another one's
//! lock, answer or steps.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::{Semaphore, SemaphorePermit, oneshot};
use tracing::{Instrument, info_span};

use crate::decide::aim::aimed;
use crate::decide::diff::diff;
use crate::decide::plan::plan_for;
use crate::engine::events::Listener;
use crate::engine::lock::lock;
use crate::engine::pass::{Pass, Request};
use crate::model::action::Phase;
use crate::model::app::App;
use crate::model::observed::Observed;
use crate::model::report::PassReport;
use crate::observe::{Probing, ask, hear, observe, unseen, view};
use crate::ports::{Host, HostError, HostErrorKind};

/// Locks are there at once, or somebody else's; those that take longer are waited for apart.
const AT_ONCE: Duration = Duration::from_secs(1);

/// Makes one pass over each App. Reports come in the order of the Apps; one App's failure does not stop the others.
pub async fn reconcile<H: Host>(
    host: &H,
    apps: &[&App],
    request: &Request,
    listener: &dyn Listener,
) -> Vec<PassReport> {
    let apps: Vec<(&App, Request)> = apps.iter().map(|app| (*app, request.clone())).collect();
    reconcile_each(host, &apps, None, listener, |report| report).await
}

/// Makes one pass over each App and hands each report to `done` as soon as it is there; what that returns comes in the
/// order of the Apps. With `slots`, an App whose release is to be prepared waits for one of them, and gives it back when
/// that is done: fetching and building is what costs the machine, and may take long. No other one waits.
pub async fn reconcile_each<H: Host, T>(
    host: &H,
    apps: &[(&App, Request)],
    slots: Option<&Semaphore>,
    listener: &dyn Listener,
    done: impl Fn(PassReport) -> T,
) -> Vec<T> {
    let started = host.now();
    let at_once = async |(app, request): &(&App, Request)| {
        let request = Request { wait: Duration::ZERO, ..request.clone() };
        tokio::select! {
            biased;
            lock = lock(host, app, &request) => Some(lock),
            // A file system that does not answer is its own App's trouble.
            () = host.sleep(AT_ONCE) => None,
        }
    };
    let locks = join_all(apps.iter().map(at_once)).await;
    let (mut together, mut told) = (Vec::new(), Vec::new());
    let passes: Vec<_> = apps
        .iter()
        .zip(locks)
        .map(|((app, request), lock)| {
            let first = match lock {
                Some(Ok(lock)) => {
                    let (tell, view) = oneshot::channel();
                    together.push(*app);
                    told.push(tell);
                    First::Together { lock, view }
                }
                None => First::Alone,
                // Somebody else's pass is under way: only this App waits for its end.
                Some(Err(error)) if error.kind == HostErrorKind::Locked && !request.wait.is_zero() => First::Alone,
                Some(Err(error)) => First::Never(error),
            };
            let span = info_span!("reconcile", app = %app.name, trigger = %request.trigger);
            let done = &done;
            async move {
                let pass = Pass::new(host, app, request, listener, started);
                // The lock is held until this App's pass has ended, and not longer.
                let (lock, slot, seen) = match begin(host, app, request, slots, first).await {
                    Ok(began) => began,
                    Err(error) => (None, None, Err(error)),
                };
                done(pass.run(seen, lock.is_some(), slot).await)
            }
            .instrument(span)
        })
        .collect();
    let look = async {
        let views = if together.is_empty() { Vec::new() } else { view(host, &together).await };
        for (tell, seen) in told.into_iter().zip(views) {
            // An App whose pass is over has no use for it.
            let _ = tell.send(seen);
        }
    };
    tokio::join!(look, join_all(passes)).1
}

/// How an App comes to its first look.
enum First<L> {
    /// With the others, under its own lock.
    Together { lock: L, view: oneshot::Receiver<Result<Observed, HostError>> },
    /// By itself, once it has its lock.
    Alone,
    /// Not at all.
    Never(HostError),
}

type Beginning<'a, L> = (L, Option<SemaphorePermit<'a>>, Result<Observed, HostError>);

/// The lock, a slot where a release is to be prepared, and the first look.
async fn begin<'a, H: Host>(
    host: &H,
    app: &App,
    request: &Request,
    slots: Option<&'a Semaphore>,
    first: First<Option<H::Lock>>,
) -> Result<Beginning<'a, Option<H::Lock>>, HostError> {
    let (lock, seen) = match first {
        First::Never(error) => return Err(error),
        First::Alone => {
            let lock = tokio::select! {
                lock = lock(host, app, request) => lock?,
                () = request.interrupt.asked() => return Err(interrupted(app)),
            };
            (lock, observe(host, app, Probing::Once).await)
        }
        First::Together { lock, view } => {
            let (answers, view) = tokio::join!(ask(host, app, Probing::Once), view);
            let mut seen = view.unwrap_or_else(|_| Err(unseen()));
            if let Ok(observed) = &mut seen {
                hear(host, app, observed, answers).await;
            }
            (lock, seen)
        }
    };
    let prepares = || lock.is_some() && seen.as_ref().is_ok_and(|seen| seen.suspended.is_none() && prepares(app, seen));
    let Some(slots) = slots.filter(|_| prepares()) else {
        return Ok((lock, None, seen));
    };
    if let Ok(slot) = slots.try_acquire() {
        return Ok((lock, Some(slot), seen));
    }
    // A closed semaphore would mean that nobody counts any more.
    let slot = tokio::select! {
        slot = slots.acquire() => slot.ok(),
        () = request.interrupt.asked() => None,
    };
    // What was seen is old by now.
    Ok((lock, slot, observe(host, app, Probing::Once).await))
}

fn interrupted(app: &App) -> HostError {
    let message = format!("`{}` is locked by somebody else, and we were asked to end", app.root);
    HostError::new(HostErrorKind::Interrupted, message)
}

fn prepares(app: &App, seen: &Observed) -> bool {
    let app = aimed(app, &seen.aim);
    plan_for(&app, &diff(&app, seen)).next().is_some_and(Phase::is_preparation)
}
