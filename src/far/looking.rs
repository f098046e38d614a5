//! What changes nothing: one look at the host, and what is said of it.

use std::time::Duration;

use super::answer::{self, Renderers};
use super::who;
use crate::decide::history::asked_to_end;
use crate::decide::operate::as_tried_again;
use crate::decide::status::mark_draining;
use crate::documents::app;
use crate::documents::wire::{Failed, Fault, Operation, Request, What};
use crate::engine::batch::reconcile;
use crate::engine::events::Silent;
use crate::engine::interrupt::Interrupt;
use crate::engine::pass;
use crate::local::LocalHost;
use crate::manifest::Loaded;
use crate::model::report::{Mode, PassReport};
use crate::model::status::{AppStatus, WorkerVerdict};
use crate::model::sync::Counting;

/// Looks once, and says what was asked for.
pub(super) async fn look(request: &Request, one: &Loaded, renderers: &Renderers) -> Result<What, Failed> {
    let host = LocalHost::new("trueup far");
    let (ignore_windows, retry) = match request.operation {
        Operation::DryRun { ignore_windows, retry } => (ignore_windows, retry),
        _ => (false, false),
    };
    let again = retry.then(|| Loaded { app: as_tried_again(&one.app), ..one.clone() });
    let one = again.as_ref().unwrap_or(one);
    let wish = pass::Request {
        mode: Mode::DryRun,
        wait: Duration::ZERO,
        trigger: who(request),
        interrupt: Interrupt::default(),
        withheld: None,
        ignore_windows,
        counting: Counting::Off,
    };
    let mut reports = reconcile(&host, &[&one.app], &wish, &Silent).await;
    host.tell_who_is_at_work(&mut reports).await;
    let report = reports.into_iter().next().ok_or_else(|| Failed::new(Fault::Other, "there is no report"))?;
    Ok(match request.operation {
        Operation::DryRun { .. } => {
            What::Report(Box::new(answer::report(one, &report, &request.host, renderers, false)?))
        }
        Operation::Health => What::Health(Box::new(answer::health(one, &report)?)),
        _ => {
            let status = status(&host, one, &report).await?;
            What::Status(Box::new(answer::status(one, &report, &status, renderers)?))
        }
    })
}

/// With the workers that were asked to end, by the journal: of a stale worker nothing else shows that.
async fn status(host: &LocalHost, one: &Loaded, report: &PassReport) -> Result<AppStatus, Failed> {
    let status = app::status(one, report)
        .map_err(|error| Failed::new(Fault::Other, "the answer has no JSON form").cause(error.to_string()));
    let mut status = status?;
    let mut members = status.workers.iter().flat_map(|group| &group.members);
    if members.any(|member| member.verdict == WorkerVerdict::Stale) {
        // Without its journal the status is as true as before, and says less.
        let entries = host.journaled(&one.app.root).await.unwrap_or_default();
        mark_draining(&mut status, &asked_to_end(&one.app.name, entries));
    }
    Ok(status)
}
