//! How large what a host says may be.
//!
//! It is cut where it is made, so that every line fits, and again where it is heard, so that it does not matter who made
//! it. What is cut says so. Pure; begin at [`What::bound`] and [`line()`].

use std::fmt::Write;

use serde_json::{Map, Value, json};

use super::{Failed, Health, Line, Report, Shown, Status, Summary, What};
use crate::model::event::Event;
use crate::model::health::HealthVerdict;

/// Most bytes of a line. The report of a pass that has restarted 200 workers, with 50 problems, has 265 KiB, of which its
/// document has 197.
pub const LINE: usize = 1 << 20;

/// Most bytes of a document, in JSON: of a pass, or of an App with its status.
pub const DOCUMENT: usize = 384 << 10;

/// Most bytes of the note that something was cut.
const NOTE: usize = 120;

/// The key of a document that says what was left out of it.
const LEFT_OUT: &str = "leftOut";

/// How much of what is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Most bytes of a text of some lines: a message, a reason.
    pub text: usize,
    /// Most bytes of what is shown to people: a diff, a status.
    pub shown: usize,
    /// Most problems, and most rules of a verdict.
    pub problems: usize,
    /// Most causes of a failure.
    pub causes: usize,
    /// Most bytes of a document.
    pub document: usize,
}

impl Bounds {
    /// What everything keeps to.
    pub const USUAL: Self = Self { text: 4 << 10, shown: 64 << 10, problems: 64, causes: 8, document: DOCUMENT };
    /// What is left of a line that would be too long all the same, as when nearly every character is escaped.
    pub const NARROW: Self = Self { text: 512, shown: 8 << 10, problems: 16, causes: 8, document: 0 };
}

/// A line as it is written, with its break; no longer than [`LINE`] in all.
///
/// # Errors
/// It has no form in JSON.
pub fn line(mut line: Line) -> serde_json::Result<Vec<u8>> {
    let mut text = Vec::new();
    for bounds in [Bounds::USUAL, Bounds::NARROW] {
        line.what.bound(&bounds);
        text.clear();
        serde_json::to_writer(&mut text, &line)?;
        text.push(b'\n');
        if text.len() <= LINE {
            break;
        }
    }
    Ok(text)
}

/// A document as text: one that is too long without its longest texts, and then without its longest parts.
#[must_use]
pub fn document(mut document: Value) -> String {
    let text = document.to_string();
    if text.len() <= DOCUMENT {
        return text;
    }
    let mut texts = 0;
    shorten(&mut document, &mut texts);
    let mut parts: Vec<String> = Vec::new();
    loop {
        let Value::Object(keys) = &mut document else { return stub("") };
        keys.insert(LEFT_OUT.to_owned(), json!({"parts": parts, "texts": texts}));
        let longest = keys.iter().filter(|(key, _)| *key != LEFT_OUT).map(|(key, part)| (part.to_string().len(), key));
        let longest = longest.max().map(|(_, key)| key.clone());
        let text = document.to_string();
        match (text.len() <= DOCUMENT, longest) {
            (true, _) | (_, None) => return text,
            (false, Some(part)) => {
                if let Some(part) = document.get_mut(&part) {
                    *part = Value::Null;
                }
                parts.push(part);
            }
        }
    }
}

/// Cuts every text of it.
fn shorten(value: &mut Value, texts: &mut usize) {
    match value {
        Value::String(text) => *texts += usize::from(cut(text, Bounds::USUAL.text)),
        Value::Array(values) => values.iter_mut().for_each(|value| shorten(value, texts)),
        Value::Object(keys) => keys.values_mut().for_each(|value| shorten(value, texts)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// What stands for a document of which there is no room for anything.
#[must_use]
pub fn stub(kind: &str) -> String {
    let mut keys = Map::new();
    if !kind.is_empty() {
        keys.insert("apiVersion".to_owned(), json!(crate::documents::API_VERSION));
        keys.insert("kind".to_owned(), json!(kind));
    }
    keys.insert(LEFT_OUT.to_owned(), json!({"parts": ["all"], "texts": 0}));
    Value::Object(keys).to_string()
}

/// Cuts a text, and says how much of it is missing; whether it did. With that it is no longer than `most`, so that it is
/// not cut again.
pub fn cut(text: &mut String, most: usize) -> bool {
    if text.len() <= most {
        return false;
    }
    let end = text.floor_char_boundary(most.saturating_sub(NOTE));
    let missing = text.len() - end;
    text.truncate(end);
    // Writing to a string cannot fail.
    let _ = write!(text, "… ({missing} bytes more)");
    text.shrink_to_fit();
    true
}

/// The same behind a whole line.
fn cut_lines(text: &mut String, most: usize) {
    if text.len() <= most {
        return;
    }
    let end = text.floor_char_boundary(most.saturating_sub(NOTE));
    let end = text.get(..end).and_then(|kept| kept.rfind('\n')).map_or(end, |at| at + 1);
    let missing = text.get(end..).map_or(0, |rest| rest.lines().count());
    text.truncate(end);
    if !text.ends_with('\n') {
        text.push('\n');
    }
    // Writing to a string cannot fail.
    let _ = writeln!(text, "… ({missing} lines more, which `trueup diff` and `trueup status` show on the host)");
    text.shrink_to_fit();
}

fn cut_each<'a>(texts: impl IntoIterator<Item = &'a mut String>, most: usize) {
    texts.into_iter().for_each(|text| {
        cut(text, most);
    });
}

/// Leaves so many, and returns how many were more.
fn keep<T>(all: &mut Vec<T>, most: usize) -> usize {
    let more = all.len().saturating_sub(most);
    all.truncate(most);
    all.shrink_to_fit();
    more
}

impl What {
    /// Cuts what is longer than that, and says so there.
    pub fn bound(&mut self, by: &Bounds) {
        match self {
            Self::Waiting(why) => cut_each([why], by.text),
            Self::Event(event) => bound_event(event, by),
            Self::Status(status) => status.bound(by),
            Self::Report(report) => report.bound(by),
            Self::Health(health) => health.bound(by),
            Self::Failed(failed) => failed.bound(by),
            Self::Hello(_) | Self::Beat(_) | Self::Begun(_) | Self::Omitted(_) | Self::End(_) => {}
        }
    }
}

fn bound_event(event: &mut Event, by: &Bounds) {
    match event {
        Event::Begun { reason: text, .. }
        | Event::Failed { error: text, .. }
        | Event::Settling { what: text }
        | Event::KeptOut { reason: text, .. } => cut_each([text], by.text),
        Event::Unhealthy { verdict, .. } => bound_verdict(verdict, by),
        Event::Done { .. } => {}
    }
}

fn bound_verdict(verdict: &mut HealthVerdict, by: &Bounds) {
    keep(&mut verdict.rules, by.problems);
    let rules = verdict.rules.iter_mut();
    let rules = rules.flat_map(|rule| [&mut rule.rule.0, &mut rule.seen].into_iter().chain(&mut rule.reason));
    cut_each(rules.chain(&mut verdict.failure), by.text);
}

impl Summary {
    fn bound(&mut self, by: &Bounds) {
        let more = keep(&mut self.problems, by.problems);
        let problems = self.problems.iter_mut();
        let problems = problems.flat_map(|problem| std::iter::once(&mut problem.message).chain(&mut problem.help));
        let others = [&mut self.withheld, &mut self.kept_out, &mut self.complaint];
        cut_each(problems.chain(others.into_iter().flatten()), by.text);
        if more > 0
            && let Some(last) = self.problems.last_mut()
        {
            cut(&mut last.message, by.text.saturating_sub(NOTE));
            // Writing to a string cannot fail.
            let _ = write!(last.message, "; and {more} more problems, which `trueup status` shows on the host");
        }
    }
}

impl Failed {
    fn bound(&mut self, by: &Bounds) {
        keep(&mut self.causes, by.causes);
        cut_each(std::iter::once(&mut self.message).chain(&mut self.causes).chain(&mut self.help), by.text);
    }
}

impl Shown {
    fn bound(&mut self, by: &Bounds) {
        cut_lines(&mut self.diff, by.shown);
        cut_lines(&mut self.text, by.shown);
    }
}

fn bound_document(document: &mut String, kind: &str, by: &Bounds) {
    // What is made here fits. One that does not was made by somebody else: there is no saying what of it counts.
    if document.len() > by.document {
        *document = stub(kind);
    }
    document.shrink_to_fit();
}

impl Status {
    fn bound(&mut self, by: &Bounds) {
        self.summary.bound(by);
        cut_lines(&mut self.text, by.shown);
        bound_document(&mut self.document, "App", by);
    }
}

impl Report {
    fn bound(&mut self, by: &Bounds) {
        self.summary.bound(by);
        if let Some(shown) = &mut self.shown {
            shown.bound(by);
        }
        bound_document(&mut self.document, "PassReport", by);
    }
}

impl Health {
    fn bound(&mut self, by: &Bounds) {
        self.summary.bound(by);
        if let Some(verdict) = &mut self.verdict {
            bound_verdict(verdict, by);
        }
    }
}

#[cfg(test)]
#[path = "bounds_tests.rs"]
mod tests;
