//! A unified diff, with what changed inside of a line made plain.

use std::fmt::Write;

use anstyle::{AnsiColor, Style};
use similar::{ChangeTag, TextDiff};

use super::style::{ADDED, DIM, REMOVED, STRONG, paint};
use super::words::safe;

/// Lines of context around a change.
const CONTEXT: usize = 3;
const HUNK: Style = AnsiColor::Cyan.on_default();

/// How `observed` would become `desired`; empty when nothing differs. In colour.
#[must_use]
pub fn unified(observed: &str, desired: &str) -> String {
    if observed == desired {
        return String::new();
    }
    let diff = TextDiff::from_lines(observed, desired);
    let mut text = format!("{}\n{}\n", paint(STRONG, "--- observed"), paint(STRONG, "+++ desired"));
    for group in diff.grouped_ops(CONTEXT) {
        let hunk = similar::udiff::UnifiedHunkHeader::new(&group);
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{}", paint(HUNK, hunk));
        for op in &group {
            for change in diff.iter_inline_changes(op) {
                let (sign, style) = match change.tag() {
                    ChangeTag::Delete => ("-", REMOVED),
                    ChangeTag::Insert => ("+", ADDED),
                    ChangeTag::Equal => (" ", DIM),
                };
                let mut line = paint(style, sign);
                for (emphasized, part) in change.iter_strings_lossy() {
                    let part = safe(part.trim_end_matches('\n'));
                    if !part.is_empty() {
                        line.push_str(&paint(if emphasized { style.bold().underline() } else { style }, &part));
                    }
                }
                let _ = writeln!(text, "{line}");
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changed_inside_of_a_line_stands_out() {
        let text = unified("a: 1\nid: 20260110-1\nb: 2\n", "a: 1\nid: 20260111-1\nb: 2\n");
        let plain = anstream::adapter::strip_str(&text).to_string();
        assert_eq!(
            plain,
            "--- observed\n+++ desired\n@@ -1,3 +1,3 @@\n a: 1\n-id: 20260110-1\n+id: 20260111-1\n b: 2\n"
        );
        assert!(text.contains("\u{1b}[1m\u{1b}[4m\u{1b}[31m") || text.contains("\u{1b}[4m"), "{text:?}");
        assert_eq!(unified("same\n", "same\n"), "");
        assert!(!unified("a\u{9b}2J\n", "b\u{202e}\n").contains(['\u{9b}', '\u{202e}']));
    }
}
