//! What the doctor found, for people: each App with what is wrong, why it matters, and the mend as it is pasted.

use std::fmt::Write;

use anstyle::Style;

use super::style::{BAD, DIM, GOOD, HELP, PLAIN, STRONG, WARN, paint};
use super::table::{NARROWEST, wrap};
use super::words::{count, safe};
use crate::model::app::App;
use crate::model::finding::{Finding, Severity};

/// Columns before what was found: the longest word for how something stands, and a gap.
const MARGIN: usize = 11;
/// Columns of the words that stand before further lines.
const LABEL: usize = 6;

/// What was found for an App, or for the host.
pub struct Checked<'a> {
    name: String,
    place: String,
    findings: &'a [Finding],
}

impl<'a> Checked<'a> {
    /// What was found for an App.
    #[must_use]
    pub fn app(app: &App, findings: &'a [Finding]) -> Self {
        Self { name: app.name.to_string(), place: app.root.to_string(), findings }
    }

    /// What was found for the host.
    #[must_use]
    pub fn host(findings: &'a [Finding]) -> Self {
        Self { name: "this host".to_owned(), place: String::new(), findings }
    }
}

/// All of it in colour, in at most `width` columns where that is possible; what is fine is counted, or shown if
/// `verbose`.
#[must_use]
pub fn doctor(all: &[Checked<'_>], verbose: bool, width: Option<usize>) -> String {
    let mut text = String::new();
    for checked in all {
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(&one(checked, verbose, width));
    }
    text
}

fn one(checked: &Checked<'_>, verbose: bool, width: Option<usize>) -> String {
    let mut text = paint(STRONG, safe(&checked.name));
    if !checked.place.is_empty() {
        let _ = write!(text, "  {}", paint(DIM, safe(&checked.place)));
    }
    let _ = writeln!(text, "  {}", summary(checked.findings));
    for finding in checked.findings {
        if verbose || finding.severity != Severity::Ok {
            text.push_str(&entry(finding, width));
        }
    }
    text
}

/// `2 errors, 1 note, 12 fine`.
fn summary(findings: &[Finding]) -> String {
    let number = |severity: Severity| findings.iter().filter(|one| one.severity == severity).count();
    let words =
        [(Severity::Error, "error", BAD), (Severity::Warning, "warning", WARN), (Severity::Note, "note", PLAIN)];
    let mut parts: Vec<String> = Vec::new();
    for (severity, word, style) in words {
        match number(severity) {
            0 => {}
            some => parts.push(paint(style, count(some, word))),
        }
        if severity == Severity::Warning && number(Severity::Unknown) > 0 {
            parts.push(paint(WARN, format!("{} unknown", number(Severity::Unknown))));
        }
    }
    if number(Severity::Ok) > 0 {
        parts.push(paint(GOOD, format!("{} fine", number(Severity::Ok))));
    }
    parts.join(", ")
}

fn entry(finding: &Finding, width: Option<usize>) -> String {
    let mut text = String::new();
    let word = finding.severity.word();
    let columns = |before: usize| width.map_or(usize::MAX, |width| width.saturating_sub(before).max(NARROWEST));
    let style = if finding.severity == Severity::Ok { DIM } else { PLAIN };
    let label = format!("  {}{}", paint(style_of(finding.severity), word), " ".repeat(MARGIN - 2 - word.len()));
    lines(&mut text, &label, MARGIN, &wrap(&safe(&finding.found), columns(MARGIN)), style);
    let inner = MARGIN + LABEL;
    let named = |name: &str| format!("{}{}{}", " ".repeat(MARGIN), paint(DIM, name), " ".repeat(LABEL - name.len()));
    if let Some(at) = &finding.at {
        // A path is not broken: it is clicked on.
        lines(&mut text, &named("at"), inner, &[safe(&at.to_string())], PLAIN);
    }
    if let Some(why) = &finding.why {
        lines(&mut text, &named("why"), inner, &wrap(&safe(why), columns(inner)), DIM);
    }
    if let Some(mend) = &finding.mend {
        // Neither is what is pasted.
        let pasted: Vec<String> = mend.lines().map(safe).collect();
        lines(&mut text, &named("mend"), inner, &pasted, HELP);
    }
    text
}

fn lines(text: &mut String, label: &str, indent: usize, lines: &[String], style: Style) {
    for (at, line) in lines.iter().enumerate() {
        let before = if at == 0 { label.to_owned() } else { " ".repeat(indent) };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{}", format!("{before}{}", paint(style, line)).trim_end());
    }
}

fn style_of(severity: Severity) -> Style {
    match severity {
        Severity::Ok => GOOD,
        Severity::Note => STRONG,
        Severity::Unknown | Severity::Warning => WARN,
        Severity::Error => BAD,
    }
}
