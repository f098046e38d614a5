//! What a pass found and did.

use jiff::Timestamp;
use serde::Serialize;

use super::{API_VERSION, List};
use crate::decide::aim::aimed;
use crate::decide::plan::plan_for;
use crate::model::action::{Plan, Step};
use crate::model::app::App;
use crate::model::drift::{Blocker, Difference, Drift, Settling, Stalled};
use crate::model::health::HealthVerdict;
use crate::model::holder::Holder;
use crate::model::names::{AppName, ReleaseId, Root};
use crate::model::observed::{Aim, Link, Observed, Stray};
use crate::model::record::Quarantine;
use crate::model::report::{Mode, Outcome, PassReport, Problem, Tried};
use crate::model::sync::Withheld;

/// One pass over one App.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PassDocument<'a> {
    /// `trueup/v1`.
    pub api_version: &'static str,
    /// `PassReport`.
    pub kind: &'static str,
    /// The App.
    pub app: &'a AppName,
    /// Its root.
    pub root: &'a Root,
    /// The desired release.
    pub release: &'a ReleaseId,
    /// Names the pass in the journal.
    pub pass: &'a str,
    /// When it began.
    pub began: Timestamp,
    /// How long it took.
    pub took_ms: u128,
    /// `apply` or `dryRun`.
    pub mode: Mode,
    /// `converged`, `drift`, `withheld`, `unhealthy`, `rolledBack`, `quarantined`, `failed` or `interrupted`.
    pub outcome: Outcome,
    /// Why drift is only shown; null where it may be closed.
    pub withheld: Option<&'a Withheld>,
    /// Who made another pass over the root when this one looked; null where nobody did, or nobody can tell.
    pub at_work: Option<&'a Holder>,
    /// The release that is converged to; null when the host could not be looked at.
    pub aim: Option<&'a Aim>,
    /// Why the desired release is kept out; null when it is not.
    pub quarantine: Option<&'a Quarantine>,
    /// What `current` was before and is after; null when the host could not be looked at.
    pub current: Current<'a>,
    /// What differed at the first look.
    pub difference: DifferenceDocument<'a>,
    /// The first plan.
    pub plan: &'a [Step],
    /// What was tried, in the order in which it ended.
    pub tried: &'a [Tried],
    /// What differs at the last look.
    pub remaining: DifferenceDocument<'a>,
    /// What runs in the root's releases and belongs to no group, at the last look.
    pub strays: &'a [Stray],
    /// The health contract's verdict at the last look; null when nothing was probed.
    pub health: Option<&'a HealthVerdict>,
    /// How often health was asked for.
    pub health_attempts: u32,
    /// What went wrong.
    pub problems: &'a [Problem],
}

/// `current`, before and after.
#[derive(Debug, Serialize)]
pub struct Current<'a> {
    /// At the first look.
    pub before: Option<&'a Link>,
    /// At the last look.
    pub after: Option<&'a Link>,
}

/// What differs; every list is there, if empty.
#[derive(Debug, Serialize)]
pub struct DifferenceDocument<'a> {
    /// What actions can close.
    pub drift: &'a [Drift],
    /// What changes by itself.
    pub settling: &'a [Settling],
    /// What no action closes.
    pub stalled: &'a [Stalled],
    /// Why nothing may be touched.
    pub blockers: &'a [Blocker],
}

impl<'a> From<&'a Difference> for DifferenceDocument<'a> {
    fn from(difference: &'a Difference) -> Self {
        let Difference { drift, settling, stalled, blockers } = difference;
        Self { drift, settling, stalled, blockers }
    }
}

/// All passes as one document.
#[must_use]
pub fn passes(reports: &[PassReport]) -> List<PassDocument<'_>> {
    List::new("PassReportList", reports.iter().map(pass).collect())
}

/// One pass as a document.
#[must_use]
pub fn pass(report: &PassReport) -> PassDocument<'_> {
    // Blockers and stalled differences stand in `difference` already.
    let Plan { steps, stalled: _, blockers: _ } = &report.plan;
    PassDocument {
        api_version: API_VERSION,
        kind: "PassReport",
        app: &report.app,
        root: &report.root,
        release: &report.release,
        pass: &report.pass,
        began: report.began,
        took_ms: report.took.as_millis(),
        mode: report.mode,
        outcome: report.outcome,
        withheld: report.withheld.as_ref(),
        at_work: report.at_work.as_deref(),
        aim: report.after.as_ref().map(|after| &after.aim),
        quarantine: report
            .after
            .as_ref()
            .filter(|after| after.aim != Aim::Desired)
            .and_then(|after| after.records.iter().find(|record| record.id == report.release)?.kept_out()),
        current: Current {
            before: report.before.as_ref().map(|observed| &observed.layout.link),
            after: report.after.as_ref().map(|observed| &observed.layout.link),
        },
        difference: (&report.difference).into(),
        plan: steps,
        tried: &report.tried,
        remaining: (&report.remaining).into(),
        strays: report.after.as_ref().or(report.before.as_ref()).map_or(&[], |observed| &observed.strays),
        health: report.after.as_ref().and_then(Observed::health_in_force),
        health_attempts: report.health_attempts,
        problems: &report.problems,
    }
}

/// What a pass that changes nothing would tell, made now: what the last look of this one has left.
#[must_use]
pub fn as_left(app: &App, report: &PassReport) -> PassReport {
    let Some(observed) = &report.after else { return report.clone() };
    let remaining = &report.remaining;
    let outcome = match () {
        () if !remaining.blockers.is_empty() || !remaining.stalled.is_empty() => Outcome::Failed,
        () if !remaining.drift.is_empty() || !remaining.settling.is_empty() => Outcome::Drift,
        () if observed.aim != Aim::Desired => Outcome::Quarantined,
        () if observed.health.as_ref().is_some_and(|verdict| !verdict.healthy) => Outcome::Unhealthy,
        () => Outcome::Converged,
    };
    PassReport {
        mode: Mode::DryRun,
        outcome,
        before: report.after.clone(),
        difference: remaining.clone(),
        plan: plan_for(&aimed(app, &observed.aim), remaining),
        tried: Vec::new(),
        problems: Vec::new(),
        ..report.clone()
    }
}
