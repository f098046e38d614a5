//! How a pass ended, judged by what is left in the end.

use crate::engine::pass::Pass;
use crate::model::action::Action;
use crate::model::drift::Stalled;
use crate::model::observed::Aim;
use crate::model::report::{Mode, Outcome};
use crate::ports::Host;

impl<H: Host> Pass<'_, H> {
    /// How the pass ended, by what is left.
    pub(super) fn outcome(&self) -> Outcome {
        let report = &self.report;
        let remaining = &report.remaining;
        let wrong = !report.problems.is_empty() || !remaining.blockers.is_empty() || !remaining.stalled.is_empty();
        let drift = !remaining.drift.is_empty() || !remaining.settling.is_empty();
        let sick = report.after.as_ref().is_some_and(|after| after.health.as_ref().is_some_and(|v| !v.healthy));
        let kept_out = report.after.as_ref().is_some_and(|after| after.aim != Aim::Desired);
        // What failed of a release that was taken back is told, and is over.
        let stuck = remaining.stalled.iter().any(|one| !matches!(one, Stalled::NoWayBack { .. }));
        let wrong = if kept_out { stuck || !remaining.blockers.is_empty() } else { wrong };
        match () {
            () if wrong => Outcome::Failed,
            () if drift && report.mode == Mode::DryRun => Outcome::Drift,
            () if !remaining.drift.is_empty() && report.withheld.is_some() => Outcome::Withheld,
            () if drift && (self.cut_short || self.request.interrupt.is_asked()) => Outcome::Interrupted,
            () if drift => Outcome::Failed,
            () if kept_out && (self.taken_back || self.went_back()) => Outcome::RolledBack,
            () if kept_out || self.kept_out => Outcome::Quarantined,
            () if sick => Outcome::Unhealthy,
            () => Outcome::Converged,
        }
    }

    /// This pass has put the way back in force: a release that fails before the switch, or has no way back, moves nothing.
    fn went_back(&self) -> bool {
        let Some(Aim::Back { to: way_back }) = self.report.after.as_ref().map(|after| &after.aim) else { return false };
        let mut done = self.report.tried.iter().filter(|one| one.problem.is_none());
        done.any(|one| matches!(&one.action, Action::SwitchCurrent { to } if to == way_back))
    }
}
