//! The few lines that a mistake is shown in: cut around it, and without secrets.

use std::ops::Range;

use miette::{MietteError, MietteSpanContents, SourceCode, SourceSpan, SpanContents};

/// Most characters of a line; of longer ones a window around the mistake is shown.
const WINDOW: usize = 200;

/// A mistake's line with its neighbours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Snippet {
    name: String,
    text: String,
    /// The number of its first line, from 0.
    first: usize,
    /// The mistake's true column, from 0, in characters.
    column: usize,
    /// The mistake in `text`, in bytes.
    pub(super) span: SourceSpan,
}

impl Snippet {
    /// Cuts the line that `marked` begins in out of `text`, with a line before and after. `secrets` are in order.
    pub(super) fn cut(name: &str, text: &str, marked: Range<usize>, secrets: &[Range<usize>]) -> Self {
        let start = floor(text, marked.start);
        let line_start = text.get(..start).and_then(|before| before.rfind('\n')).map_or(0, |at| at + 1);
        let column = text.get(line_start..start).unwrap_or_default().chars().count();
        let line = text.get(..line_start).unwrap_or_default().bytes().filter(|byte| *byte == b'\n').count();
        let from = column.saturating_sub(WINDOW / 2);
        let mut snippet = Self { name: plain(name), text: String::new(), first: line, column, span: (0, 0).into() };

        let end = |from: usize| text.get(from..).and_then(|rest| rest.find('\n')).map_or(text.len(), |at| from + at);
        let before = line_start.checked_sub(1).map(|end| {
            let start = text.get(..end).and_then(|before| before.rfind('\n')).map_or(0, |at| at + 1);
            start..end
        });
        if let Some(before) = before {
            snippet.first -= 1;
            snippet.line(text, before, from, secrets);
        }
        let own = line_start..end(line_start);
        let length = text.get(start..marked.end.clamp(start, own.end)).map_or(0, |marked| marked.chars().count());
        let shown = snippet.line(text, own.clone(), from, secrets);
        let byte = |at: usize| -> usize { shown.char_indices().nth(at).map_or(shown.len(), |(byte, _)| byte) };
        let (first, last) = (byte(column - from), byte((column - from).saturating_add(length)));
        let begins = snippet.text.len() - shown.len() - 1;
        snippet.span = (begins + first, last - first).into();
        if own.end + 1 < text.len() {
            let next = own.end + 1;
            snippet.line(text, next..end(next), from, secrets);
        }
        snippet
    }

    /// Adds the window of a line; what was added, without its line break.
    fn line(&mut self, text: &str, range: Range<usize>, from: usize, secrets: &[Range<usize>]) -> String {
        let nearest = secrets.partition_point(|secret| secret.end <= range.start);
        let near: Vec<&Range<usize>> =
            secrets.iter().skip(nearest).take_while(|secret| secret.start < range.end).collect();
        let hidden = |at: usize| near.iter().any(|secret| secret.contains(&at));
        let line = text.get(range.clone()).unwrap_or_default();
        let mut shown = String::new();
        for (column, (at, c)) in line.char_indices().enumerate().skip(from) {
            match column - from {
                0 if from > 0 => shown.push('…'),
                WINDOW.. => {
                    shown.push('…');
                    break;
                }
                // What would draw on the terminal, or turn the text around.
                _ if (c.is_control() && c != '\t' && c != '\r') || turns(c) => shown.push('\u{fffd}'),
                _ if hidden(range.start + at) && c != '\r' => shown.push('*'),
                _ => shown.push(c),
            }
        }
        self.text.push_str(&shown);
        self.text.push('\n');
        shown
    }
}

/// A file's name as it may be shown.
pub(super) fn plain(name: &str) -> String {
    name.chars().map(|c| if c.is_control() || turns(c) { '\u{fffd}' } else { c }).collect()
}

/// Whether a character changes the direction in which the text around it is shown.
pub(crate) fn turns(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The last place where a character begins, not behind `at`.
fn floor(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

impl SourceCode for Snippet {
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        before: usize,
        after: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        let read = self.text.read_span(span, before, after)?;
        // Without lines around it, it is asked for to say where the mistake is: there, in the file.
        let column = if (before, after) == (0, 0) { self.column } else { read.column() };
        let line = self.first + read.line();
        let named = MietteSpanContents::new_named(
            self.name.clone(),
            read.data(),
            *read.span(),
            line,
            column,
            read.line_count(),
        );
        Ok(Box::new(named))
    }
}
