//! Several Apps at once: they share one look at the host, and each goes on by itself from there.
//!
//! In: Apps, each with its request. Out: one [`PassReport`] for each, handed over as soon as that App's pass has ended.
//! What all share is what costs: one walk over the processes, one question to each manager. Nobody waits for another one's
//! lock, answer or steps.

use futures_util::future::join_all;
use tokio::sync::{Semaphore, SemaphorePermit, oneshot};
use tracing::{Instrument, info_span};

use crate::decide::aim::aimed;
use crate::decide::diff::diff;
use crate::decide::plan::plan_for;
use crate::engine::events::Listener;
use crate::engine::pass::{Pass, Request, lock};
use crate::model::app::App;
use crate::model::observed::Observed;
use crate::model::report::PassReport;
use crate::observe::{Probing, ask, hear, observe, unseen, view};
use crate::ports::{Host, HostError, HostErrorKind};

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
/// order of the Apps. With `slots`, an App that needs work waits for one of them; one that needs none does not.
pub async fn reconcile_each<H: Host, T>(
    host: &H,
    apps: &[(&App, Request)],
    slots: Option<&Semaphore>,
    listener: &dyn Listener,
    done: impl Fn(PassReport) -> T,
) -> Vec<T> {
    let started = host.now();
    let at_once = |request: &Request| Request { wait: std::time::Duration::ZERO, ..request.clone() };
    let locks = join_all(apps.iter().map(async |(app, request)| lock(host, app, &at_once(request)).await)).await;
    let (mut together, mut told) = (Vec::new(), Vec::new());
    let passes: Vec<_> = apps
        .iter()
        .zip(locks)
        .map(|((app, request), lock)| {
            let first = match lock {
                Ok(lock) => {
                    let (tell, view) = oneshot::channel();
                    together.push(*app);
                    told.push(tell);
                    First::Together { lock, view }
                }
                // Somebody else's pass is under way: only this App waits for its end.
                Err(error) if error.kind == HostErrorKind::TimedOut && !request.wait.is_zero() => First::Alone,
                Err(error) => First::Never(error),
            };
            let span = info_span!("reconcile", app = %app.name, trigger = %request.trigger);
            let done = &done;
            async move {
                let pass = Pass::new(host, app, request, listener, started);
                // The lock is held until this App's pass has ended, and not longer.
                let (lock, _slot, seen) = match begin(host, app, request, slots, first).await {
                    Ok((lock, slot, seen)) => (Some(lock), slot, seen),
                    Err(error) => (None, None, Err(error)),
                };
                let locked = matches!(&lock, Some(Some(_)));
                let report = pass.run(seen, locked).await;
                drop(lock);
                done(report)
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

/// The lock, a slot where there is work, and the first look.
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
    let Some(slots) = slots.filter(|_| seen.as_ref().is_ok_and(|seen| needs_work(app, seen))) else {
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

fn needs_work(app: &App, seen: &Observed) -> bool {
    let app = aimed(app, &seen.aim);
    plan_for(&app, &diff(&app, seen)).next().is_some()
}
