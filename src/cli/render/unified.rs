//! A unified diff, with what changed inside of a line made plain.

use std::fmt::Write;
use std::ops::Range;

use anstyle::{AnsiColor, Style};
use similar::algorithms::{Capture, Compact, Replace, myers};
use similar::{DiffOp, DiffableStr, diff_ratio, group_diff_ops, udiff::UnifiedHunkHeader};

use super::style::{ADDED, DIM, REMOVED, STRONG, paint};
use super::words::safe;

/// Lines of context around a change.
const CONTEXT: usize = 3;
/// Lines that share fewer of their words than this were replaced, not changed.
const ALIKE: f32 = 0.5;
const HUNK: Style = AnsiColor::Cyan.on_default();

/// How `observed` would become `desired`; empty when nothing differs. In colour.
#[must_use]
pub fn unified(observed: &str, desired: &str) -> String {
    if observed == desired {
        return String::new();
    }
    let old: Vec<&str> = observed.split_inclusive('\n').collect();
    let new: Vec<&str> = desired.split_inclusive('\n').collect();
    let mut text = format!("{}\n{}\n", paint(STRONG, "--- observed"), paint(STRONG, "+++ desired"));
    for group in group_diff_ops(steps(&old, &new), CONTEXT) {
        let hunk = UnifiedHunkHeader::new(&group);
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{}", paint(HUNK, hunk));
        for step in &group {
            let (before, after) = (&old[step.old_range()], &new[step.new_range()]);
            match step {
                DiffOp::Equal { .. } => lines(&mut text, " ", DIM, &plain(before)),
                DiffOp::Delete { .. } => lines(&mut text, "-", REMOVED, &plain(before)),
                DiffOp::Insert { .. } => lines(&mut text, "+", ADDED, &plain(after)),
                DiffOp::Replace { .. } => {
                    let (before, after) = compared(before, after);
                    lines(&mut text, "-", REMOVED, &before);
                    lines(&mut text, "+", ADDED, &after);
                }
            }
        }
    }
    text
}

/// The steps from `old` to `new`. The library's `TextDiff` links each of its algorithms several times over, a megabyte
/// of program; this is one of them, once, for lines and for words.
fn steps(old: &[&str], new: &[&str]) -> Vec<DiffOp> {
    let mut hook = Compact::new(Replace::new(Capture::new()), old, new);
    let Ok(()) = myers::diff(&mut hook, old, 0..old.len(), new, 0..new.len());
    hook.into_inner().into_inner().into_ops()
}

/// A piece of a line, and whether it is what changed in it.
type Piece<'a> = (bool, &'a str);

fn plain<'a>(lines: &[&'a str]) -> Vec<Piece<'a>> {
    lines.iter().map(|line| (false, *line)).collect()
}

/// Word by word, what some lines and those in their place do not share.
fn compared<'a>(before: &[&'a str], after: &[&'a str]) -> (Vec<Piece<'a>>, Vec<Piece<'a>>) {
    // A line in the place of four is no change of one of them.
    if before.len().min(after.len()) * 4 < before.len() + after.len() {
        return (plain(before), plain(after));
    }
    let words = |lines: &[&'a str]| -> Vec<&'a str> { lines.iter().flat_map(|l| l.tokenize_unicode_words()).collect() };
    let (old, new) = (words(before), words(after));
    let steps = steps(&old, &new);
    if diff_ratio(&steps, old.len(), new.len()) < ALIKE {
        return (plain(before), plain(after));
    }
    let pieces = |words: &[&'a str], range: fn(&DiffOp) -> Range<usize>| -> Vec<Piece<'a>> {
        let marked = |step: &DiffOp| words[range(step)].iter().map(|word| (!is_equal(step), *word)).collect::<Vec<_>>();
        steps.iter().flat_map(marked).collect()
    };
    (pieces(&old, DiffOp::old_range), pieces(&new, DiffOp::new_range))
}

fn is_equal(step: &DiffOp) -> bool {
    matches!(step, DiffOp::Equal { .. })
}

/// Writes the lines that `pieces` are of, each behind `sign`.
fn lines(text: &mut String, sign: &str, style: Style, pieces: &[Piece<'_>]) {
    for line in pieces.split_inclusive(|(_, piece)| piece.ends_with('\n')) {
        text.push_str(&paint(style, sign));
        for run in line.chunk_by(|(one, _), (next, _)| one == next) {
            let changed = run.iter().any(|(changed, _)| *changed);
            let run: String = run.iter().map(|(_, piece)| *piece).collect();
            let run = safe(run.trim_end_matches('\n'));
            text.push_str(&paint(if changed { style.bold().underline() } else { style }, &run));
        }
        text.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::super::style;
    use super::*;

    #[test]
    fn what_changed_inside_of_a_line_stands_out() {
        let text = unified("a: 1\nid: 20260110-1\nb: 2\n", "a: 1\nid: 20260111-1\nb: 2\n");
        let plain = style::plain(&text);
        assert_eq!(
            plain,
            "--- observed\n+++ desired\n@@ -1,3 +1,3 @@\n a: 1\n-id: 20260110-1\n+id: 20260111-1\n b: 2\n"
        );
        for (style, word) in [(REMOVED, "20260110"), (ADDED, "20260111")] {
            let changed = paint(style.bold().underline(), word);
            assert!(text.contains(&format!("{}{changed}{}", paint(style, "id: "), paint(style, "-1"))), "{text:?}");
        }
        let replaced = unified("one two three\n", "quite another line\nand more\n");
        assert!(!replaced.contains(&ADDED.bold().underline().to_string()), "{replaced:?}");
        let shorter = unified("id: a-1\nb:\n- c\n- d\n", "id: a-2\n");
        assert!(!shorter.contains(&REMOVED.bold().underline().to_string()), "{shorter:?}");
        let plain = style::plain(&replaced);
        assert!(plain.ends_with("-one two three\n+quite another line\n+and more\n"), "{plain}");
        assert_eq!(unified("same\n", "same\n"), "");
        assert!(!unified("a\u{9b}2J\n", "b\u{202e}\n").contains(['\u{9b}', '\u{202e}']));
    }
}
