//! The preview as a comment on a merge request.

use std::fmt::Write;

use super::health::is_not_asked;
use super::plan::{how, when};
use super::preview::DryRun;
use super::remedy::typed;
use super::shape;
use super::style::plain;
use super::unified::unified;
use super::words::{count, safe};
use crate::decide::aim::aimed;
use crate::decide::explain;
use crate::decide::withhold::words;
use crate::model::action::Plan;
use crate::model::app::App;
use crate::model::drift::Difference;
use crate::model::names::AppName;
use crate::model::observed::{Aim, Observed};
use crate::model::report::Problem;

/// What would be done to one App: a line that sums up, the difference folded away, a table of steps.
#[must_use]
pub fn preview(dry_run: &DryRun<'_>) -> String {
    let DryRun { app, observed, difference, plan, withheld } = *dry_run;
    let mut text =
        format!("### `{}` → `{}`\n\n{}\n", app.name, app.release.id, summary(app, observed, difference, plan));
    // Writing to a string cannot fail.
    let _ = text.write_str(&problems(app, observed, difference));
    if let Some(withheld) = withheld.filter(|_| !plan.steps.is_empty()) {
        let _ = write!(text, "\n:hourglass: Withheld: {}.\n", cell(&words(withheld)));
    }
    let aimed = aimed(app, &observed.aim);
    let app = &*aimed;
    if difference.is_empty() {
        return text;
    }
    if let Ok((observed, desired)) = shape::both(app, observed) {
        let diff = plain(&unified(&observed, &desired));
        let fence = fence(&diff);
        let _ = write!(
            text,
            "\n<details><summary>Observed against desired</summary>\n\n{fence}diff\n{diff}{fence}\n\n</details>\n"
        );
    }
    if !plan.steps.is_empty() {
        text.push_str("\n| # | Step | Why | How | When |\n| ---: | --- | --- | --- | --- |\n");
        for (number, step) in (1..).zip(&plan.steps) {
            let when = when(app, &plan.steps, number, step).unwrap_or_default();
            let cells =
                [step.action.to_string(), step.reason.clone(), how(app, &step.action), when].map(|it| cell(&it));
            let _ = writeln!(text, "| {number} | {} |", cells.join(" | "));
        }
    }
    text
}

/// The same for an App whose host could not be looked at.
#[must_use]
pub fn unobserved(app: &AppName, problems: &[Problem]) -> String {
    let mut text = format!("### `{app}`\n\n:x: **The host could not be looked at.**\n");
    if !problems.is_empty() {
        text.push('\n');
    }
    for problem in problems {
        text.push_str(&item(&problem.message, problem.help.as_deref()));
    }
    text
}

fn summary(app: &App, observed: &Observed, difference: &Difference, plan: &Plan) -> String {
    let healthy = observed.health.as_ref().is_none_or(|verdict| verdict.healthy);
    if !difference.blockers.is_empty() {
        return ":x: **Blocked**: nothing may be touched.".to_owned();
    }
    let kept_out = observed.aim != Aim::Desired;
    match plan.steps.len() {
        0 if difference.is_empty() && kept_out => {
            ":warning: **Kept out**: this release is not tried again, and nothing would be done.".to_owned()
        }
        0 if kept_out => {
            ":warning: **Kept out**: this release is not tried again, and nothing that trueup does would help."
                .to_owned()
        }
        0 if difference.is_empty() && is_not_asked(app, observed) => {
            ":white_check_mark: Nothing to do; health was not asked.".to_owned()
        }
        0 if difference.is_empty() && healthy => ":white_check_mark: Nothing to do.".to_owned(),
        0 if difference.is_empty() => ":warning: Nothing to do, but not healthy.".to_owned(),
        0 => ":warning: Nothing that trueup does would help.".to_owned(),
        steps => {
            let mut verbs: Vec<(&str, usize)> = Vec::new();
            for step in &plan.steps {
                match verbs.iter_mut().find(|(verb, _)| *verb == step.action.verb()) {
                    Some((_, number)) => *number += 1,
                    None => verbs.push((step.action.verb(), 1)),
                }
            }
            let verbs: Vec<String> = verbs.iter().map(|(verb, number)| format!("{number} × {verb}")).collect();
            let out = if kept_out { ":warning: **Kept out**: this release is not tried again. " } else { "" };
            format!("{out}**{}** would close the drift: {}.", count(steps, "action"), verbs.join(", "))
        }
    }
}

fn problems(app: &App, observed: &Observed, difference: &Difference) -> String {
    let kept_out = explain::kept_out(app, observed);
    let known = kept_out.as_ref().map(|problem| problem.message.clone()).unwrap_or_default();
    let blockers = kept_out.into_iter().chain(difference.blockers.iter().map(|one| explain::blocker(app, one)));
    let stalled = difference.stalled.iter().map(|one| explain::stalled(app, one));
    let mut items: Vec<String> =
        blockers.chain(stalled).map(|problem| item(&problem.message, problem.help.as_deref())).collect();
    items
        .extend(explain::warnings(app, observed).iter().map(|warning| item(&warning.message, warning.help.as_deref())));
    let sick = observed.health_in_force().and_then(crate::model::health::HealthVerdict::complaint);
    items.extend(sick.map(|why| {
        let why = if known.contains(&why) { ", for the same reason".to_owned() } else { format!(": {why}") };
        item(&format!("not healthy{why}"), None)
    }));
    if items.is_empty() { String::new() } else { format!("\n{}", items.concat()) }
}

fn item(message: &str, help: Option<&str>) -> String {
    let help = help.map(|help| format!("<br>{}", cell(&typed(help)))).unwrap_or_default();
    format!("- {}{help}\n", cell(message))
}

/// Text that stays inside of a table's cell and means nothing to Markdown but code in backticks.
pub(super) fn cell(text: &str) -> String {
    let text = safe(text);
    let paired = text.matches('`').count().is_multiple_of(2);
    let mut cell = String::new();
    let mut code = false;
    for c in text.chars() {
        match c {
            '`' if paired => {
                code = !code;
                cell.push(c);
            }
            '|' => cell.push_str("\\|"),
            c if code => cell.push(c),
            '`' | '*' | '_' | '[' | ']' | '\\' | '~' | '#' | '@' | '!' => {
                cell.push('\\');
                cell.push(c);
            }
            '<' => cell.push_str("&lt;"),
            '>' => cell.push_str("&gt;"),
            '&' => cell.push_str("&amp;"),
            c => cell.push(c),
        }
    }
    cell
}

/// A fence that nothing in the text closes.
pub(super) fn fence(text: &str) -> String {
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    "`".repeat(longest.max(2) + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_stays_in_its_cell() {
        assert_eq!(cell("a | b <img> *x* @all\nz"), "a \\| b &lt;img&gt; \\*x\\* \\@all z");
        assert_eq!(cell("`a_b | <c>` d_e"), "`a_b \\| <c>` d\\_e");
        assert_eq!(cell("one ` tick <b>"), "one \\` tick &lt;b&gt;");
        assert_eq!(fence("no ticks"), "```");
        assert_eq!(fence("```` four"), "`````");
    }
}
