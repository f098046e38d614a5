//! Tables without lines: columns as wide as their widest cell, one that gives way on a narrow terminal.
//!
//! Ours, because every table library counts colours as text unless it brings a whole terminal along.

use std::fmt::Write;

use anstyle::Style;
use unicode_width::UnicodeWidthStr;

use super::style::{DIM, PLAIN, paint};
use super::words::safe;

/// Between two columns.
const GAP: usize = 2;
/// A column that gives way stays at least this wide.
pub const NARROWEST: usize = 16;

/// One cell.
#[derive(Debug, Clone)]
pub struct Cell {
    text: String,
    style: Style,
    right: bool,
}

impl Cell {
    /// A cell in a colour.
    #[must_use]
    pub fn styled(style: Style, text: impl std::fmt::Display) -> Self {
        Self { text: safe(&text.to_string()), style, right: false }
    }

    /// A cell without colour.
    #[must_use]
    pub fn new(text: impl std::fmt::Display) -> Self {
        Self::styled(PLAIN, text)
    }

    /// The same, to the right: numbers.
    #[must_use]
    pub fn right(self) -> Self {
        Self { right: true, ..self }
    }
}

/// Rows of cells.
#[derive(Debug, Clone, Default)]
pub struct Table {
    header: Vec<&'static str>,
    rows: Vec<Vec<Cell>>,
    /// What is said below a row, by its number.
    notes: Vec<(usize, Cell)>,
    give_way: Vec<usize>,
    indent: usize,
}

impl Table {
    /// A table with these column names; empty for none.
    #[must_use]
    pub fn new(header: &[&'static str]) -> Self {
        Self { header: header.to_vec(), ..Self::default() }
    }

    /// The columns whose text is broken into lines where the terminal is too narrow, the widest first.
    #[must_use]
    pub fn give_way(self, columns: &[usize]) -> Self {
        Self { give_way: columns.to_vec(), ..self }
    }

    /// Moves all of it to the right.
    #[must_use]
    pub fn indented(self, by: usize) -> Self {
        Self { indent: by, ..self }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: impl IntoIterator<Item = Cell>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// Says something below the row that was added last, over all columns: what is too long for any of them.
    pub fn note(&mut self, cell: Cell) {
        self.notes.push((self.rows.len(), cell));
    }

    /// Whether there are any rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The table in at most `width` columns where that is possible; none: as wide as it likes.
    /// Every line ends with a line break and none with a space.
    #[must_use]
    pub fn render(&self, width: Option<usize>) -> String {
        let header: Vec<Cell> = self.header.iter().map(|name| Cell::styled(DIM, name)).collect();
        let rows: Vec<&Vec<Cell>> =
            Some(&header).filter(|header| !header.is_empty()).into_iter().chain(&self.rows).collect();
        let widths = self.widths(&rows, width);
        let headers = rows.len() - self.rows.len();
        let mut text = String::new();
        for (number, row) in rows.into_iter().enumerate() {
            let columns: Vec<Vec<String>> =
                row.iter().zip(&widths).map(|(cell, width)| wrap(&cell.text, *width)).collect();
            let height = columns.iter().map(Vec::len).max().unwrap_or(0);
            for at in 0..height {
                let mut line = " ".repeat(self.indent);
                let mut owed = 0;
                for ((cell, lines), width) in row.iter().zip(&columns).zip(&widths) {
                    let part = lines.get(at).map_or("", String::as_str);
                    let padding = width.saturating_sub(part.width());
                    let (before, after) = if cell.right { (padding, 0) } else { (0, padding) };
                    if part.is_empty() {
                        owed += before + after + GAP;
                        continue;
                    }
                    line.push_str(&" ".repeat(owed + before));
                    line.push_str(&if cell.style == PLAIN { part.to_owned() } else { paint(cell.style, part) });
                    owed = after + GAP;
                }
                text.push_str(line.trim_end());
                text.push('\n');
            }
            for (_, note) in self.notes.iter().filter(|(row, _)| row + headers == number + 1) {
                let indent = self.indent + GAP;
                let lines = match width {
                    Some(width) => wrap(&note.text, width.saturating_sub(indent).max(NARROWEST)),
                    None => vec![note.text.clone()],
                };
                for line in lines {
                    // Writing to a string cannot fail.
                    let _ = writeln!(text, "{}{}", " ".repeat(indent), paint(note.style, line));
                }
            }
        }
        text
    }

    fn widths(&self, rows: &[&Vec<Cell>], width: Option<usize>) -> Vec<usize> {
        let columns = rows.iter().map(|row| row.len()).max().unwrap_or(0);
        let widest = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.text.width()).max();
        let mut widths: Vec<usize> = (0..columns).map(|column| widest(column).unwrap_or(0)).collect();
        let total = self.indent + widths.iter().sum::<usize>() + GAP * columns.saturating_sub(1);
        let too_much = width.map_or(0, |width| total.saturating_sub(width));
        for _ in 0..too_much {
            let own = |column: &usize| widths.get(*column).copied().unwrap_or(0);
            let widest = self.give_way.iter().copied().max_by_key(own);
            match widest.and_then(|column| widths.get_mut(column)).filter(|width| **width > NARROWEST) {
                Some(width) => *width -= 1,
                None => break,
            }
        }
        widths
    }
}

/// Breaks text between words, and inside of a word that is too long by itself.
#[must_use]
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let width = width.max(1);
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split(' ') {
        let mut word = word;
        if !line.is_empty() && line.width() + 1 + word.width() > width {
            lines.push(std::mem::take(&mut line));
        } else if !line.is_empty() {
            line.push(' ');
        }
        while line.width() + word.width() > width {
            let (head, tail) = split_at_width(word, width - line.width().min(width - 1));
            line.push_str(head);
            lines.push(std::mem::take(&mut line));
            word = tail;
        }
        line.push_str(word);
    }
    if !line.is_empty() || lines.is_empty() {
        lines.push(line);
    }
    lines
}

/// As many characters as fit, at least one, and the rest; behind a slash where there is one.
fn split_at_width(text: &str, width: usize) -> (&str, &str) {
    let fits = |end: &usize| text.get(..*end).is_some_and(|head| head.width() <= width);
    let ends = text.char_indices().map(|(at, c)| at + c.len_utf8());
    let first = text.chars().next().map_or(0, char::len_utf8);
    let (head, tail) = text.split_at(ends.take_while(fits).last().unwrap_or(first));
    match head.rfind('/') {
        Some(slash) if slash > 0 && !tail.is_empty() => text.split_at(slash + 1),
        _ => (head, tail),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::render::style::{BAD, plain};

    fn table() -> Table {
        let mut table = Table::new(&["NAME", "SIZE", "WHY", "STATE"]).give_way(&[2]).indented(2);
        table.row([
            Cell::new("a"),
            Cell::new("7").right(),
            Cell::new("because of this and that and something else"),
            Cell::styled(BAD, "bad"),
        ]);
        table.row([Cell::new("日本"), Cell::new("1234567").right(), Cell::new(""), Cell::new("fine")]);
        table
    }

    #[test]
    fn columns_line_up_whatever_the_script() {
        let expected = "  NAME  SIZE     WHY                                          STATE\n  \
                        a           7  because of this and that and something else  bad\n  \
                        日本  1234567                                               fine\n";
        assert_eq!(plain(&table().render(None)), expected);
        assert!(table().render(None).contains("\u{1b}[1m\u{1b}[31mbad\u{1b}[0m"));
    }

    #[test]
    fn a_narrow_terminal_breaks_one_column() {
        let expected = "  NAME  SIZE     WHY                       STATE\n  \
                        a           7  because of this and that  bad\n                 \
                        and something else\n  \
                        日本  1234567                            fine\n";
        let narrow = plain(&table().render(Some(48)));
        assert_eq!(narrow, expected);
        assert!(narrow.lines().all(|line| line.width() <= 48), "{narrow}");
    }

    #[test]
    fn a_note_stands_below_its_row_and_makes_no_column_wider() {
        let mut table = Table::new(&["NAME", "SIZE"]).indented(2);
        table.row([Cell::new("a"), Cell::new("7").right()]);
        table.note(Cell::styled(BAD, "because of this and that and something else"));
        table.row([Cell::new("b"), Cell::new("8").right()]);
        let expected = "  NAME  SIZE\n  a        7\n    because of this and that and something else\n  b        8\n";
        assert_eq!(plain(&table.render(None)), expected);
        let narrow = plain(&table.render(Some(30)));
        let expected =
            "  NAME  SIZE\n  a        7\n    because of this and that\n    and something else\n  b        8\n";
        assert_eq!(narrow, expected);
    }

    #[test]
    fn words_are_broken_only_where_they_must() {
        let rows = [
            ("", 5, vec![""]),
            ("one two", 20, vec!["one two"]),
            ("one two", 5, vec!["one", "two"]),
            ("/a/very/long/pathology x", 6, vec!["/a/", "very/", "long/", "pathol", "ogy x"]),
            ("日本語", 4, vec!["日本", "語"]),
            ("日本", 1, vec!["日", "本"]),
        ];
        for (text, width, lines) in rows {
            assert_eq!(wrap(text, width), lines, "{text:?} in {width}");
        }
    }
}
