//! What a pass would do to one App: the difference, the evidence, the plan.
//!
//! Pure: the same App and snapshot give the same text, whoever took the snapshot.

use std::fmt::Write;

use super::evidence::evidence;
use super::health;
use super::plan::plan as steps;
use super::problem::Complaint;
use super::shape;
use super::style::{BAD, DIM, GOOD, STRONG, WARN, paint};
use super::unified::unified;
use super::withheld::{way_out, why};
use super::words::{count, safe};
use crate::decide::aim::{aimed, quarantine};
use crate::decide::explain;
use crate::model::action::Plan;
use crate::model::app::App;
use crate::model::drift::Difference;
use crate::model::observed::{Aim, Observed};
use crate::model::record::Judge;
use crate::model::sync::Withheld;

/// What a pass over an App would do, and why.
#[derive(Debug, Clone, Copy)]
pub struct DryRun<'a> {
    /// The App as it is wished for.
    pub app: &'a App,
    /// The host as it was seen.
    pub observed: &'a Observed,
    /// What differs between the two.
    pub difference: &'a Difference,
    /// What would close the drift.
    pub plan: &'a Plan,
    /// Why nothing would be done all the same.
    pub withheld: Option<&'a Withheld>,
}

/// What would be done, in colour, in at most `width` columns where that is possible.
/// Nothing to do: one line.
#[must_use]
pub fn preview(dry_run: &DryRun<'_>, width: Option<usize>) -> String {
    let mut text = format!("{}\n", headline(dry_run));
    let DryRun { app: wish, observed, difference, plan, withheld } = *dry_run;
    let aimed = aimed(wish, &observed.aim);
    let app = &*aimed;
    let warnings: String =
        explain::warnings(app, observed).iter().map(|warning| Complaint::from(warning).render_as_warning()).collect();
    if difference.is_empty() {
        text.push_str(&kept_out(wish, observed));
        text.push_str(&warnings);
        if let Some(complaint) = health::complaint(app, observed, None) {
            text.push_str(&complaint.untold(&text).render_as_warning());
        }
        return text;
    }
    let mut part = |part: &str| {
        if !part.is_empty() {
            text.push('\n');
            text.push_str(part);
        }
    };
    match shape::both(app, observed) {
        Ok((observed, desired)) => part(&unified(&observed, &desired)),
        Err(error) => part(&Complaint::new("cannot show the difference").cause(error).render()),
    }
    let evidence = evidence(app, observed);
    if !evidence.is_empty() {
        part(&evidence.render(width));
    }
    part(&steps(app, plan, width));
    let mut rest = kept_out(wish, observed);
    rest.push_str(&trouble(app, difference));
    rest.push_str(&warnings);
    if let Some(complaint) = health::complaint(app, observed, None) {
        rest.push_str(&complaint.untold(&rest).render_as_warning());
    }
    if let Some(withheld) = withheld.filter(|_| !plan.steps.is_empty() && difference.blockers.is_empty()) {
        rest.push_str(&way_out(wish, withheld));
    }
    part(&rest);
    text
}

/// One line: the App, the desired release, what there is to do.
fn headline(dry_run: &DryRun<'_>) -> String {
    let app = dry_run.app;
    format!("{}  {}  {}", paint(STRONG, &app.name), safe(app.release.id.as_str()), summary(dry_run))
}

fn summary(dry_run: &DryRun<'_>) -> String {
    let DryRun { app, observed, difference, plan, withheld } = *dry_run;
    let healthy = observed.health.as_ref().is_none_or(|verdict| verdict.healthy);
    let but = withheld.map(|withheld| format!(", but {}", why(withheld, observed.at))).unwrap_or_default();
    if !difference.blockers.is_empty() {
        return paint(BAD, "blocked: nothing may be touched");
    }
    match plan.steps.len() {
        0 if !difference.stalled.is_empty() => paint(WARN, "stalled: nothing that trueup does would help"),
        0 if !difference.settling.is_empty() => {
            let moving = difference.settling.len();
            let verb = if moving == 1 { "is" } else { "are" };
            paint(WARN, format!("settling: {} {verb} changing without us", count(moving, "worker")))
        }
        0 if observed.aim != Aim::Desired => paint(BAD, "kept out: nothing is tried again"),
        0 if !healthy => format!("nothing to do, {}", paint(WARN, "but not healthy")),
        0 if health::is_not_asked(app, observed) => paint(GOOD, "nothing to do; health was not asked"),
        0 => paint(GOOD, "nothing to do"),
        actions => {
            let out = if observed.aim == Aim::Desired { String::new() } else { paint(BAD, "kept out: ") };
            let drift = paint(WARN, format!("{} would close the drift", count(actions, "action")));
            format!("{out}{drift}{}", paint(DIM, but))
        }
    }
}

/// Why the desired release is kept out; nothing when it is not.
#[must_use]
pub fn kept_out(wish: &App, observed: &Observed) -> String {
    let by = quarantine(wish, &observed.records).map(|quarantine| quarantine.by);
    let said = explain::kept_out(wish, observed).as_ref().map(Complaint::from);
    // What a person has wanted is no error.
    let render = if by == Some(Judge::Operator) { Complaint::render_as_warning } else { Complaint::render };
    said.as_ref().map(render).unwrap_or_default()
}

/// What no action closes: blockers and stalled differences, with what to do about them.
#[must_use]
pub fn trouble(app: &App, difference: &Difference) -> String {
    let mut text = String::new();
    for blocker in &difference.blockers {
        text.push_str(&Complaint::from(&explain::blocker(app, blocker)).render());
    }
    for stalled in &difference.stalled {
        text.push_str(&Complaint::from(&explain::stalled(app, stalled)).render());
    }
    for settling in &difference.settling {
        let detail = if settling.detail.is_empty() { String::new() } else { format!(": {}", settling.detail) };
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "{}: {} is {}{}",
            paint(DIM, "note"),
            safe(settling.member.as_str()),
            settling.state,
            safe(&detail)
        );
    }
    text
}
