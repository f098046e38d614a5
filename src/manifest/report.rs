//! Mistakes with their places, and how they are shown.

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, SourceCode};
use serde::Serialize;

use super::mask::masked;
use super::secrets::secrets;
use super::snippet::{Snippet, plain};
use super::yaml::Finding;

/// One thing that is wrong, where, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{message}")]
pub struct Mistake {
    /// The file as it was named; `<stdin>` for the standard input.
    pub file: String,
    /// Counted from 1; none when the file could not be read.
    pub line: Option<usize>,
    /// Counted from 1, in characters; none when the file could not be read.
    pub column: Option<usize>,
    /// What is wrong, as a lower-case fragment.
    pub message: String,
    /// What to do.
    pub help: Option<String>,
    #[serde(skip)]
    marked: Option<Arc<Snippet>>,
}

impl Mistake {
    /// About a file as a whole.
    pub(super) fn unreadable(file: impl Into<String>, message: impl Into<String>, help: &str) -> Self {
        let help = (!help.is_empty()).then(|| help.to_owned());
        Self { file: file.into(), line: None, column: None, message: message.into(), help, marked: None }
    }
}

impl Mistake {
    /// `FILE:LINE:COLUMN: MESSAGE`.
    fn line_form(&self) -> String {
        let file = plain(&self.file);
        match (self.line, self.column) {
            (Some(line), Some(column)) => format!("{file}:{line}:{column}: {self}"),
            _ => format!("{file}: {self}"),
        }
    }
}

impl Diagnostic for Mistake {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.help.as_ref().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.marked.as_ref().map(|snippet| &**snippet as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let span = self.marked.as_ref()?.span;
        Some(Box::new(std::iter::once(LabeledSpan::new_with_span(None, span))))
    }
}

/// The text of one file, shared by its mistakes.
#[derive(Debug, Clone)]
pub(super) struct Text {
    pub name: String,
    source: Arc<str>,
    /// Where its secrets are; looked for at its first mistake.
    secrets: Arc<OnceLock<Vec<Range<usize>>>>,
}

impl Text {
    pub(super) fn new(name: &str, text: String) -> Self {
        Self { name: name.to_owned(), source: text.into(), secrets: Arc::default() }
    }

    pub(super) fn text(&self) -> &str {
        &self.source
    }

    /// Line and column of a byte, from 1; the column in characters.
    pub(super) fn position(&self, offset: usize) -> (usize, usize) {
        let before = self.text().get(..offset).unwrap_or(self.text());
        let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        (line, column)
    }

    pub(super) fn mistake(&self, finding: Finding) -> Mistake {
        let (line, column) = self.position(finding.span.start);
        let secrets = self.secrets.get_or_init(|| secrets(self.text()));
        let finding = masked(finding, self.text(), secrets);
        let snippet = Snippet::cut(&self.name, self.text(), finding.span, secrets);
        Mistake {
            file: self.name.clone(),
            line: Some(line),
            column: Some(column),
            message: finding.message,
            help: finding.help,
            marked: Some(Arc::new(snippet)),
        }
    }
}

/// All that is wrong with all files, in the order of the files and their lines. Never empty.
#[derive(Debug, Clone)]
pub struct LoadErrors {
    /// The mistakes.
    pub mistakes: Vec<Mistake>,
}

impl LoadErrors {
    /// For people: each mistake with the lines that it stands in and a remedy, wrapped to `width`
    /// columns; in colour and with drawn lines only if asked.
    #[must_use]
    pub fn render(&self, colour: bool, width: usize) -> String {
        let theme = if colour { GraphicalTheme::unicode() } else { GraphicalTheme::none() };
        let handler =
            GraphicalReportHandler::new_themed(theme).with_width(width.max(40)).with_context_lines(1).with_links(false);
        let shown = self.mistakes.iter().map(|mistake| {
            // Without lines to show, the words have to name the file.
            let whole = mistake.marked.is_none().then(|| Mistake { message: mistake.line_form(), ..mistake.clone() });
            let mut text = String::new();
            match handler.render_report(&mut text, whole.as_ref().unwrap_or(mistake)) {
                Ok(()) => text,
                Err(_) => format!("{}\n", mistake.line_form()),
            }
        });
        shown.collect::<Vec<_>>().join("\n")
    }

    /// For programs: a list of `file`, `line`, `column`, `message` and `help`.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::to_value(&self.mistakes).unwrap_or_default()
    }
}

/// One line a mistake: `FILE:LINE:COLUMN: MESSAGE`.
impl fmt::Display for LoadErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.mistakes.iter().map(Mistake::line_form).collect();
        f.write_str(&lines.join("\n"))
    }
}

impl std::error::Error for LoadErrors {}
